/* SPDX-License-Identifier: MIT */
/*
 * How long to wait before what failed is tried again: 1 s at first, twice as
 * long each time, 30 s at most, unless said otherwise. Zeroed, it is at its
 * start.
 *
 * Knows the numbers; the timer is whoever waits'.
 */
#ifndef BTGATE_BACKOFF_H
#define BTGATE_BACKOFF_H

#define BACKOFF_FIRST_MS 1000
#define BACKOFF_MAX_MS 30000

struct backoff {
	unsigned int last_ms; /* 0: none yet */
};

/* The wait before the next attempt; longer with every call. */
unsigned int backoff_next_ms(struct backoff *backoff);
/*
 * The same between other bounds, and at random up to a quarter shorter, but not
 * shorter than @min_ms: many that lost one thing do not all come back at once.
 */
unsigned int backoff_next_between_ms(struct backoff *backoff,
				     unsigned int min_ms, unsigned int max_ms);
/* It succeeded, or something changed: start anew. */
void backoff_reset(struct backoff *backoff);

#endif
