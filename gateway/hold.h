/* SPDX-License-Identifier: MIT */
/*
 * One end that stays while the other is away: a target around another one,
 * whose streams survive the real ones. When a real stream is lost, in whatever
 * way, the target is dialled again, with growing pauses (backoff.h), until it is
 * reached or the client leaves.
 *
 * Knows one real stream at a time and the client that it is for; does not know
 * kinds or sessions. Logs, for its route, what has no caller: a loss, a redial
 * that fails in another way than the last one, the return, and what was lost.
 *
 * - What a lost stream has left is read to its end before it is dialled again.
 * - What the client sends meanwhile is kept, up to a bound, and then it is not
 *   read any more; or it is discarded. What is kept goes out first, in order and
 *   once. What was given to the lost stream is never sent again: whether it
 *   arrived nobody knows.
 * - The boundaries of records are not kept, nor is half-close.
 */
#ifndef BTGATE_HOLD_H
#define BTGATE_HOLD_H

#include <stdint.h>

#include "config.h"
#include "error.h"

struct loop;
struct target;

struct hold_settings {
	const char *route; /* its name, for the log; must outlive it */
	enum hold_mode hold; /* not HOLD_NO */
	unsigned int buffer_bytes; /* 0: what comes meanwhile is discarded */
	unsigned int retry_min_ms; /* the first pause, and the longest */
	unsigned int retry_max_ms;
	unsigned int dial_timeout_ms; /* of each attempt but a client's own */
};

/*
 * Takes over @real on success; NULL with errno set. With HOLD_LINK the first
 * dial is under way then, and there is one client at a time; what the target
 * says while there is none is discarded.
 */
struct target *hold_target_new(struct loop *loop, struct target *real,
			       const struct hold_settings *settings);

/* How the links are that it keeps, or would. */
struct hold_status {
	unsigned int up;
	unsigned int away;
	/* Since it was made: dials of what was lost, or was not reached before. */
	uint64_t redials;
	uint64_t away_ms; /* the one that is away longest, */
	struct error why; /* and what keeps it so */
};

/* @target must be of hold_target_new. */
struct hold_status hold_status(const struct target *target);

#endif
