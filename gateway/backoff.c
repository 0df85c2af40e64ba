/* SPDX-License-Identifier: MIT */
#include "backoff.h"

unsigned int backoff_next_ms(struct backoff *backoff)
{
	backoff->last_ms = backoff->last_ms ? backoff->last_ms * 2
					    : BACKOFF_FIRST_MS;
	if (backoff->last_ms > BACKOFF_MAX_MS)
		backoff->last_ms = BACKOFF_MAX_MS;
	return backoff->last_ms;
}

void backoff_reset(struct backoff *backoff)
{
	backoff->last_ms = 0;
}
