/* SPDX-License-Identifier: MIT */
/*
 * What was measured (Linux 6.18), beside pty.h:
 * - inotify merges equal events that follow each other: two opens can show as
 *   one. Counting them goes wrong; see port_look for what does not.
 * - TIOCEXCL outlives the last close while the master is open, and then not
 *   even our own open succeeds without CAP_SYS_ADMIN; a slave that is open
 *   already can take it back. Hence the slave that is held all the time.
 */
#include "pty_port.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <event2/event.h>

#include "access.h"
#include "error.h"
#include "file_watch.h"
#include "loop.h"
#include "pty.h"

/*
 * When to look again after a program closed the slave: the event comes before
 * the close has its effect (fs/file_table.c: fsnotify_close, then release).
 */
static const unsigned int port_recheck_ms[] = {10, 100, 900};

#define PORT_RECHECKS (sizeof(port_recheck_ms) / sizeof(port_recheck_ms[0]))

struct pty_port {
	struct loop *loop;
	enum pty_port_life life;
	struct pty pty;
	struct file_watch watch; /* of the slave */
	struct event *recheck_event;
	unsigned int rechecks; /* done since the last event */
	bool is_open; /* by a program */
	bool is_over;
	pty_port_changed_cb changed;
	void *arg;
};

static void port_tell(const struct pty_port *port)
{
	if (port->changed)
		port->changed(port->arg);
}

static void port_set_open(struct pty_port *port, bool is_open)
{
	if (port->is_open == is_open)
		return;
	port->is_open = is_open;
	port_tell(port);
}

/* Its slave is let go of for good: the master tells everybody who watches. */
static void port_set_over(struct pty_port *port)
{
	file_watch_stop(&port->watch);
	event_del(port->recheck_event);
	port->is_over = true;
	port->is_open = false;
	port_tell(port);
}

/*
 * Find out whether a program has the port open: let go of our own slave for a
 * moment, and the master hangs up if it was the only one. It also replaces a
 * slave that was hung up. -errno: it could not be opened again, or made raw.
 *
 * Nobody sees the moment: this thread is the only one that uses the master,
 * and what is queued in either direction stays.
 */
static int port_look(struct pty_port *port)
{
	bool is_open;
	int exclusive = 0, code;

	if (port->pty.slave_fd >= 0) {
		ioctl(port->pty.slave_fd, TIOCGEXCL, &exclusive);
		if (exclusive)
			ioctl(port->pty.slave_fd, TIOCNXCL);
		pty_let_slave_go(&port->pty);
	}
	file_watch_take(&port->watch);
	is_open = !pty_is_hung_up(port->pty.master_fd);
	if (!is_open && port->life == PTY_PORT_LIFE_ONE_CALL) {
		port_set_over(port);
		return 0;
	}
	code = pty_hold_slave(&port->pty);
	/* Our own events, and those of whoever came this very moment. */
	file_watch_take(&port->watch);
	if (code == 0 && !is_open) {
		code = pty_make_raw(&port->pty);
		/* As if it could not be opened: it is tried again. */
		if (code < 0) {
			pty_let_slave_go(&port->pty);
			file_watch_take(&port->watch);
		}
	} else if (code == 0 && exclusive) {
		ioctl(port->pty.slave_fd, TIOCEXCL);
	}
	port_set_open(port, is_open);
	return code;
}

static void port_start_recheck(struct pty_port *port)
{
	loop_start_timer(port->recheck_event, port_recheck_ms[port->rechecks]);
}

static void port_recheck(evutil_socket_t fd, short what, void *arg)
{
	struct pty_port *port = arg;

	port_look(port);
	if (!port->is_over && ++port->rechecks < PORT_RECHECKS)
		port_start_recheck(port);
}

/* Look now, and again when what is under way just now has happened. */
static int port_probe(struct pty_port *port)
{
	int code = port_look(port);

	port->rechecks = 0;
	if (!port->is_over)
		port_start_recheck(port);
	return code;
}

/*
 * Opens, closes or both may stand for several, or for our own. An overflow
 * counts as a close: the truth must be found out.
 */
static void port_happened(uint32_t events, void *arg)
{
	struct pty_port *port = arg;

	if (port->is_over)
		return;
	if (events & (IN_CLOSE | IN_Q_OVERFLOW))
		port_probe(port);
	else if (events & IN_OPEN)
		port_set_open(port, true);
}

void pty_port_update(struct pty_port *port)
{
	port_happened(file_watch_take(&port->watch), port);
}

bool pty_port_revive(struct pty_port *port)
{
	if (pty_is_hung_up(port->pty.master_fd))
		return false;
	/* Without our own, its end is seen all the same, by the hang-up. */
	if (file_watch_aim(&port->watch, port->pty.slave) ||
	    pty_hold_slave(&port->pty) < 0)
		return true;
	port->is_over = false;
	port->is_open = true;
	/* It may have gone just now. */
	port_probe(port);
	return true;
}

int pty_port_mend(struct pty_port *port)
{
	if (port->is_over ||
	    (port->pty.slave_fd >= 0 && !pty_is_hung_up(port->pty.slave_fd) &&
	     !pty_is_hung_up(port->pty.master_fd)))
		return 0;
	return port_probe(port);
}

ssize_t pty_port_read(struct pty_port *port, void *buffer, size_t bytes)
{
	ssize_t got = pty_read(port->pty.master_fd, buffer, bytes);

	if (got > 0)
		return got;
	if (got == 0)
		return -EIO; /* not known to happen to a master */
	if (errno != EIO)
		return -errno;
	/* No slave is open, not even ours. */
	if (port->is_over)
		return 0;
	return port_probe(port) < 0 ? -EIO : -EAGAIN;
}

ssize_t pty_port_write(struct pty_port *port, const void *buffer, size_t bytes)
{
	ssize_t put;
	int code = 0;

	/* A hang-up has made it cooked: the bytes would come back as echo. */
	if (!port->is_open)
		code = pty_port_mend(port);
	if (port->is_over)
		return -EPIPE;
	if (code < 0)
		return -EAGAIN;
	put = write(port->pty.master_fd, buffer, bytes);
	return put < 0 ? -errno : put;
}

bool pty_port_has_unheard(const struct pty_port *port)
{
	struct pollfd readable = {
		.fd = port->pty.master_fd,
		.events = POLLIN,
	};

	return poll(&readable, 1, 0) == 1 && readable.revents & POLLIN;
}

size_t pty_port_unread_bytes(const struct pty_port *port)
{
	return port->is_open ? pty_unread_bytes(&port->pty) : 0;
}

size_t pty_port_drop_unread(struct pty_port *port)
{
	return pty_drop_unread(&port->pty);
}

size_t pty_port_drop_unheard(struct pty_port *port)
{
	return pty_drop_unheard(&port->pty);
}

void pty_port_ignore_changes(struct pty_port *port)
{
	port->changed = NULL;
}

const char *pty_port_slave(const struct pty_port *port)
{
	return port->pty.slave;
}

int pty_port_fd(const struct pty_port *port)
{
	return port->pty.master_fd;
}

bool pty_port_is_open(const struct pty_port *port)
{
	return port->is_open;
}

bool pty_port_is_over(const struct pty_port *port)
{
	return port->is_over;
}

void pty_port_free(struct pty_port *port)
{
	if (!port)
		return;
	file_watch_stop(&port->watch);
	if (port->recheck_event)
		event_free(port->recheck_event);
	pty_close(&port->pty);
	free(port);
}

static int port_watch(struct pty_port *port, struct error *error)
{
	int code;

	port->recheck_event = evtimer_new(port->loop->base, port_recheck, port);
	if (!port->recheck_event)
		return error_set(error, -ENOMEM, "out of memory");
	code = file_watch_aim(&port->watch, port->pty.slave);
	return code ? file_watch_explain(code, port->pty.slave, error) : 0;
}

static int port_open(struct pty_port *port, const struct access *access,
		     struct error *error)
{
	int code = pty_open(&port->pty, error);

	if (code == 0) {
		code = pty_make_raw(&port->pty);
		if (code < 0)
			error_set(error, code, "cannot make %s raw: %s",
				  port->pty.slave, strerror(-code));
	}
	if (code == 0)
		code = port_watch(port, error);
	if (code == 0)
		code = access_apply(port->pty.slave, access, error);
	return code;
}

struct pty_port *pty_port_new(struct loop *loop, const struct access *access,
			      enum pty_port_life life,
			      pty_port_changed_cb changed, void *arg,
			      struct error *error)
{
	struct pty_port *port = calloc(1, sizeof(*port));
	int code;

	if (!port) {
		error_set(error, 0, "out of memory");
		errno = ENOMEM;
		return NULL;
	}
	port->loop = loop;
	port->life = life;
	port->changed = changed;
	port->arg = arg;
	file_watch_init(&port->watch, loop, IN_OPEN | IN_CLOSE, NULL,
			port_happened, port);
	code = port_open(port, access, error);
	if (code == 0)
		return port;
	pty_port_free(port);
	errno = -code;
	return NULL;
}
