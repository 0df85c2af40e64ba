/* SPDX-License-Identifier: MIT */
/*
 * A dial whose answer is known at once: the callback comes on the loop's next
 * turn, as the contract of target_dial asks.
 */
#ifndef BTGATE_ANSWER_H
#define BTGATE_ANSWER_H

#include "endpoint.h"

struct error;
struct loop;

/*
 * Call @done with @stream, or with @code and @error where it is NULL. Takes
 * over @stream whatever happens; a cancelled dial aborts it. NULL with errno
 * set without memory.
 */
struct dial *answer_new(struct loop *loop, struct stream *stream, int code,
			const struct error *error, dial_done_cb done,
			void *arg);

#endif
