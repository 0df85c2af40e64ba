/* SPDX-License-Identifier: MIT */
/*
 * PATH.lock beside a path that one gateway at a time may own: who holds it,
 * and whether a gateway that was killed left the path behind. The lock is
 * flock(2)'s, which the kernel drops with its holder; the text in the file,
 * the holder's process id, is for people.
 *
 * Knows nothing of what is at PATH.
 */
#ifndef BTGATE_LOCKFILE_H
#define BTGATE_LOCKFILE_H

#include <stdbool.h>

struct error;
struct lockfile;

/*
 * Hold PATH.lock. *@was_stale tells that it was there and nobody held it: a
 * gateway was killed, and may have left PATH. NULL with errno set and a
 * sentence: EADDRINUSE names the holder, EEXIST is a PATH.lock that no gateway
 * made. A child that is forked and does not exec goes on holding the lock.
 */
struct lockfile *lockfile_acquire(const char *path, bool *was_stale,
				  struct error *error);
/* Remove PATH.lock and let go. NULL is legal. */
void lockfile_release(struct lockfile *lockfile);

#endif
