/* SPDX-License-Identifier: MIT */
#include "backoff.h"

#include <sys/random.h>

static unsigned int next_ms(struct backoff *backoff, unsigned int min_ms,
			    unsigned int max_ms)
{
	if (!backoff->last_ms)
		backoff->last_ms = min_ms;
	else if (backoff->last_ms > max_ms / 2)
		backoff->last_ms = max_ms;
	else
		backoff->last_ms *= 2;
	return backoff->last_ms;
}

unsigned int backoff_next_ms(struct backoff *backoff)
{
	return next_ms(backoff, BACKOFF_FIRST_MS, BACKOFF_MAX_MS);
}

unsigned int backoff_next_between_ms(struct backoff *backoff,
				     unsigned int min_ms, unsigned int max_ms)
{
	unsigned int wait_ms = next_ms(backoff, min_ms, max_ms);
	unsigned int random = 0;

	/* Without random numbers it is as good as ever, and not at random. */
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		random = 0;
	wait_ms -= random % (wait_ms / 4 + 1);
	return wait_ms < min_ms ? min_ms : wait_ms;
}

void backoff_reset(struct backoff *backoff)
{
	backoff->last_ms = 0;
}
