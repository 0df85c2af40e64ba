/* SPDX-License-Identifier: MIT */
/*
 * The path that a pty of ours has: a link to its slave, a lock beside it, and
 * the directory if that was missing.
 *
 * Knows what may stand in its way; does not know what the pty is for.
 */
#ifndef BTGATE_PTY_PATH_H
#define BTGATE_PTY_PATH_H

struct error;
struct pty_path;

enum pty_path_life {
	PTY_PATH_LIFE_ONE_PTY, /* it is led to a pty once */
	PTY_PATH_LIFE_MANY_PTYS, /* and then to others, by a link at PATH.next */
};

/*
 * Hold the path @text for us alone, with nothing there yet. Removes only what a
 * gateway that was killed left there and at PATH.next, which are links to ptys
 * beside a lock file, PATH.lock, that nobody held. Where PATH.next is needed
 * nothing else may be there. NULL with errno set and a sentence.
 */
struct pty_path *pty_path_acquire(const char *text, enum pty_path_life life,
				  struct error *error);
/*
 * Lead the path to @slave: at once, also where it leads to another pty of ours
 * already. A program finds the one or the other. 0 or -errno; it never takes
 * the place of what somebody else put there meanwhile.
 */
int pty_path_link(struct pty_path *path, const char *slave,
		  struct error *error);
/* The pty that it leads to goes, and its number may be another's. */
void pty_path_unlink(struct pty_path *path);
/* Remove what is ours. NULL is legal. */
void pty_path_release(struct pty_path *path);

const char *pty_path_text(const struct pty_path *path);

#endif
