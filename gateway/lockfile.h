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
#include <sys/types.h>

struct error;
struct lockfile;

/* Of PATH.lock, as others see it. */
enum lockfile_state {
	LOCKFILE_MISSING,
	LOCKFILE_STALE, /* nobody holds it any more */
	LOCKFILE_HELD,
	LOCKFILE_UNREADABLE, /* not for this user, mostly: it may be held */
};

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

/*
 * Look, for which it is shared for a moment; whoever acquires it waits that long.
 * *@holder is who says to hold it, or held it, by its number in its own namespace;
 * 0: not said.
 */
enum lockfile_state lockfile_look(const char *path, pid_t *holder);

#endif
