/* SPDX-License-Identifier: MIT */
/*
 * One thing for many clients: a target around another one, which is dialled
 * with the first client and let go with the last. Everybody sees what it says.
 *
 * Knows one real stream and who looks at it; does not know clients' names,
 * routes or kinds. Does not log.
 *
 * The pace is the fastest client's: the thing is read as long as one of them
 * keeps up, and not when all push back, unless it cannot be slowed down. What
 * it said last is kept for all together (SHARE_BEHIND_BYTES_MAX); a client that
 * is further behind than that is dropped, and its stream says so
 * (stream_end_reason). Nobody else waits for it.
 *
 * What clients write goes straight to the real stream and is pushed back by it.
 * The boundaries of records are not kept.
 */
#ifndef BTGATE_SHARE_H
#define BTGATE_SHARE_H

#include <stdint.h>

#include "config.h"

struct loop;
struct stream;
struct target;

/* How far a client may be behind what the thing has said. */
#define SHARE_BEHIND_BYTES_MAX (256 * 1024)

/*
 * Takes over @real on success; NULL with errno set. New clients see what comes
 * from then on. One that comes while the real stream has ended and others are
 * still being given its last words waits for them, then it is dialled anew.
 */
struct target *share_target_new(struct loop *loop, struct target *real,
				enum share_write write);

/*
 * What the client of @stream, which must be of such a target, has sent without
 * being the one who may: taken and dropped.
 */
uint64_t share_discarded_bytes(const struct stream *stream);

#endif
