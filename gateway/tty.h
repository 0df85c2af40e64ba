/* SPDX-License-Identifier: MIT */
/*
 * The modes of the terminal, changed for a while and always given back: also
 * when the program is aborted, faults or is ended by a signal that it does not
 * handle (but not after SIGKILL).
 *
 * Knows termios; does not know what is typed. What is changed is the process's
 * own, because signal handlers must find it: file-scope state.
 */
#ifndef BTGATE_TTY_H
#define BTGATE_TTY_H

#include <stdbool.h>

enum tty_mode {
	/* Every key is passed on as it is, nothing is echoed. */
	TTY_MODE_KEYS,
	/* And what is shown is not changed either: LF is no CR LF. */
	TTY_MODE_RAW,
};

/*
 * Change the modes of the terminal @fd and remember what they were. Where they
 * are changed already, change them again. 0 or -errno; -EAGAIN for a process in
 * the background, which would be stopped for it (SIGTTOU).
 */
int tty_enter(int fd, enum tty_mode mode);
/*
 * Whether this process may use the terminal @fd: in the background it is stopped
 * for that.
 */
bool tty_is_foreground(int fd);
/* Whether they are changed now. */
bool tty_is_changed(void);
/* Give back what was there, if it was changed. */
void tty_leave(void);

#endif
