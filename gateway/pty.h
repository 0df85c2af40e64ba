/* SPDX-License-Identifier: MIT */
/*
 * A pty of our own: its master, the name of its slave, and a slave that we
 * hold. The slave is held for what only a slave can tell or undo: what was
 * written and not read yet, TIOCEXCL, termios after a hang-up.
 *
 * Knows nothing of who has the slave open, nor of paths.
 *
 * What was measured (Linux 6.18):
 * - A raw slave that nobody reads keeps 13 to 22 KiB: 4095 bytes in the line
 *   discipline, the rest in flip buffers; 13.5 to 15.5 KiB of large writes,
 *   19 to 22 KiB of small ones. Then write(2) gives EAGAIN; POLLOUT goes with
 *   it and comes back when a program reads, so that a level-triggered EV_WRITE
 *   neither spins nor is forgotten. A program that asks for lines (ICANON) and
 *   gets no end of line never pushes back: its line discipline drops what is
 *   more than 4095 bytes, as on any tty.
 * - The bytes stay when the last slave closes. When the master closes, what
 *   the slave has not read is gone: its next read gives the end.
 * - TIOCOUTQ of a master is 0 whatever waits, and FIONREAD of a slave sees the
 *   line discipline only; POLLIN of a slave tells the truth, because it moves
 *   what is in flip buffers there first.
 * - vhangup(2), which agetty uses, kills our slave too and makes the termios
 *   cooked with echo. The master notices nothing while a dead slave is open.
 * - A master whose slave nobody has opened yet does not hang up.
 */
#ifndef BTGATE_PTY_H
#define BTGATE_PTY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <termios.h>

struct error;

#define PTY_SLAVE_DIRECTORY "/dev/pts/"
#define PTY_SLAVE_BYTES 32

struct pty {
	int master_fd;
	int slave_fd; /* ours, O_RDONLY; -1: not held now */
	char slave[PTY_SLAVE_BYTES];
	struct termios raw; /* what pty_make_raw makes it */
};

/* Nothing open: pty_close is legal. */
void pty_init(struct pty *pty);
/*
 * Make one and hold its slave, with the kernel's termios (cooked, with echo).
 * On an error pty_close is still to be called.
 */
int pty_open(struct pty *pty, struct error *error);
void pty_close(struct pty *pty);

/* 0, or -errno: EBUSY if a program has made it exclusive (TIOCEXCL). */
int pty_hold_slave(struct pty *pty);
void pty_let_slave_go(struct pty *pty);

/*
 * Raw, 8-bit clean, exclusive to nobody, output not stopped, whatever a program
 * has made of it. Needs the slave. 0, or -errno: it may not be raw.
 */
int pty_make_raw(const struct pty *pty);

/*
 * read(2) of a master, but as much as there is, where that gives less than a page:
 * where each read is passed on for itself, a Bluetooth link cuts it into packets, of
 * which the last has next to nothing in it and takes as long in the air as others.
 */
ssize_t pty_read(int master_fd, void *buffer, size_t bytes);

/* Whether a master's last slave has closed, or a slave was hung up. */
bool pty_is_hung_up(int fd);
/*
 * Written to the master and not read by a program: 0 if none, else at least so
 * many. Needs the slave, alive; else 0.
 */
size_t pty_unread_bytes(const struct pty *pty);
/* Read and forget it; returns how much it was. A program may get some of it. */
size_t pty_drop_unread(const struct pty *pty);
/* The same at the other end: what programs wrote and we have not read. */
size_t pty_drop_unheard(const struct pty *pty);

#endif
