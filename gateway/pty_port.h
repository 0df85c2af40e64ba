/* SPDX-License-Identifier: MIT */
/*
 * A pty as a serial port: which programs have it open, what they read and
 * write, and that nothing which one does to it harms the next.
 *
 * Two lives: one port for all programs that come and go, or one port for one
 * call, which is over when the last program closes it.
 *
 * Knows programs at the slave; does not know sessions or the path.
 */
#ifndef BTGATE_PTY_PORT_H
#define BTGATE_PTY_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct access;
struct error;
struct loop;
struct pty_port;

enum pty_port_life {
	PTY_PORT_LIFE_LASTING, /* raw again when the last program closes it */
	/*
	 * When the last program closes it, it hangs up and is over: what was
	 * written can still be read, then comes the end.
	 */
	PTY_PORT_LIFE_ONE_CALL,
};

/*
 * The first program opened the port, or the last one closed it. Comes from the
 * loop or from inside pty_port_read, _write, _update and _mend; the port is not
 * to be freed in it.
 */
typedef void (*pty_port_changed_cb)(void *arg);

/*
 * A raw port with a slave that @access allows to use. NULL with errno set and a
 * sentence.
 */
struct pty_port *pty_port_new(struct loop *loop, const struct access *access,
			      enum pty_port_life life,
			      pty_port_changed_cb changed, void *arg,
			      struct error *error);
/* Programs that still have it open see a hang-up. NULL is legal. */
void pty_port_free(struct pty_port *port);

/* Nobody is to be told of changes any more. */
void pty_port_ignore_changes(struct pty_port *port);

/* Where programs find it. */
const char *pty_port_slave(const struct pty_port *port);
/* To watch; it hangs up once a one-call port is over. */
int pty_port_fd(const struct pty_port *port);

bool pty_port_is_open(const struct pty_port *port);
bool pty_port_is_over(const struct pty_port *port);
/*
 * Somebody may have opened a port that is over before its path led elsewhere:
 * then it is open again, and this is true.
 */
bool pty_port_revive(struct pty_port *port);
/* Bring both up to date with what has happened until now. */
void pty_port_update(struct pty_port *port);
/*
 * The slave may be dead or gone, by vhangup(2) or because it could not be
 * opened again: put that right. 0, or -errno if it cannot be done now.
 */
int pty_port_mend(struct pty_port *port);

/*
 * Bytes read; 0 at the end of a port that is over; -EAGAIN when there are none;
 * -EIO once it is beyond repair.
 */
ssize_t pty_port_read(struct pty_port *port, void *buffer, size_t bytes);
/* Bytes taken; -EAGAIN when it is full; -EPIPE when the port is over. */
ssize_t pty_port_write(struct pty_port *port, const void *buffer, size_t bytes);

/* Whether a program has written what was not read yet. */
bool pty_port_has_unheard(const struct pty_port *port);
/* 0, or at least so many bytes that programs which have it open did not read. */
size_t pty_port_unread_bytes(const struct pty_port *port);
/* Forget what was written either way; how much it was. */
size_t pty_port_drop_unread(struct pty_port *port);
size_t pty_port_drop_unheard(struct pty_port *port);

#endif
