/* SPDX-License-Identifier: MIT */
/*
 * A pty with a path: a serial port for local programs, there for as long as
 * the gateway runs and whoever comes and goes at either end of it.
 *
 * Three parts: the path (a link, its lock, its directory), the port (the pty
 * and which programs have it open), and the target with its one stream.
 *
 * What was measured (Linux 6.18):
 * - A raw slave that nobody reads keeps 13 to 21 KiB: 4095 bytes in the line
 *   discipline, the rest in flip buffers; 13.5 to 15.5 KiB of large writes,
 *   19 to 20 KiB of small ones. Then write(2) gives EAGAIN; POLLOUT goes with
 *   it and comes back when a program reads, so that a level-triggered EV_WRITE
 *   neither spins nor is forgotten. A program that asks for lines (ICANON) and
 *   gets no end of line never pushes back: its line discipline drops what is
 *   more than 4095 bytes, as on any tty.
 * - The bytes stay when the last slave closes.
 * - inotify merges equal events that follow each other: two opens can show as
 *   one. Counting them goes wrong; see port_look for what does not.
 * - vhangup(2), which agetty uses, kills our slave too and makes the termios
 *   cooked with echo. The master notices nothing while a dead slave is open.
 * - TIOCEXCL outlives the last close while the master is open, and then not
 *   even our own open succeeds without CAP_SYS_ADMIN; a slave that is open
 *   already can take it back. Hence the slave that is held all the time.
 */
#include "endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <event2/event.h>

#include "access.h"
#include "address_endpoint.h"
#include "error.h"
#include "lockfile.h"
#include "log.h"
#include "loop.h"

#define SLAVE_DIRECTORY "/dev/pts/"
#define SLAVE_PATH_BYTES 32
#define DIRECTORY_MODE 0755
#define SLAVE_MODE 0600

/* ---- the path ------------------------------------------------------------ */

struct pty_path {
	char *path;
	char *directory; /* the one we made, or NULL */
	struct lockfile *lock;
	bool is_linked;
};

static const char *describe_mode(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "a file";
	case S_IFDIR:
		return "a directory";
	case S_IFCHR:
	case S_IFBLK:
		return "a device";
	case S_IFSOCK:
		return "a socket";
	case S_IFIFO:
		return "a FIFO";
	}
	return "something";
}

/*
 * Make way for our link: 0 if nothing is at @path any more. Removes only what
 * a gateway that was killed left there, which is a link to a pty beside a lock
 * file that nobody held.
 */
static int path_clear(const char *path, bool was_stale, struct error *error)
{
	char target[SLAVE_PATH_BYTES];
	struct stat st;
	ssize_t got;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0
				       : error_set(error, -errno,
						   "cannot look at %s: %s",
						   path, strerror(errno));
	if (!S_ISLNK(st.st_mode))
		return error_set(
			error, -EEXIST,
			"%s is there already: %s, not a link of the "
			"gateway; move it away, or choose another path",
			path, describe_mode(st.st_mode));
	got = readlink(path, target, sizeof(target) - 1);
	target[got > 0 ? got : 0] = '\0';
	if (strncmp(target, SLAVE_DIRECTORY, strlen(SLAVE_DIRECTORY)) != 0)
		return error_set(error, -EEXIST,
				 "%s is there already: a link that is not the "
				 "gateway's; move it away, or choose another "
				 "path",
				 path);
	if (!was_stale)
		return error_set(
			error, -EEXIST,
			"%s is there already: a link to %s that another "
			"program made (no gateway left %s.lock beside "
			"it); remove it if nothing uses it",
			path, target, path);
	if (unlink(path) < 0 && errno != ENOENT)
		return error_set(
			error, -errno,
			"cannot remove %s, which a killed gateway left "
			"behind: %s",
			path, strerror(errno));
	return 0;
}

/* Make the directory that @path is in, if only that one is missing. */
static int path_make_directory(struct pty_path *path, struct error *error)
{
	char *slash = strrchr(path->path, '/');
	char *directory;

	if (!slash || slash == path->path)
		return 0;
	directory = strndup(path->path, (size_t)(slash - path->path));
	if (!directory)
		return error_set(error, -ENOMEM, "out of memory");
	if (mkdir(directory, DIRECTORY_MODE) < 0) {
		int code = -errno;

		if (code == -EEXIST)
			code = 0;
		else
			error_set(error, code,
				  "cannot make the directory %s: %s; make it "
				  "for the gateway's user: sudo install -d -o "
				  "USER %s",
				  directory, strerror(-code), directory);
		free(directory);
		return code;
	}
	/* Whatever the umask: others are to find the port in it. */
	chmod(directory, DIRECTORY_MODE);
	path->directory = directory;
	return 0;
}

static void path_release(struct pty_path *path, const char *slave)
{
	char target[SLAVE_PATH_BYTES];
	ssize_t got;

	if (path->is_linked) {
		got = readlink(path->path, target, sizeof(target));
		if (got == (ssize_t)strlen(slave) &&
		    memcmp(target, slave, (size_t)got) == 0)
			unlink(path->path);
	}
	lockfile_release(path->lock);
	/* Fails, as it should, if it is not empty. */
	if (path->directory)
		rmdir(path->directory);
	free(path->directory);
	free(path->path);
}

/* Hold @text for us alone, with nothing there yet. */
static int path_acquire(struct pty_path *path, const char *text,
			struct error *error)
{
	bool was_stale;
	int code;

	path->path = strdup(text);
	if (!path->path)
		return error_set(error, -ENOMEM, "out of memory");
	code = path_make_directory(path, error);
	if (code < 0)
		return code;
	path->lock = lockfile_acquire(path->path, &was_stale, error);
	if (!path->lock)
		return -errno;
	/* At once: if we fail later, the proof that it is stale is gone. */
	return path_clear(path->path, was_stale, error);
}

static int path_link(struct pty_path *path, const char *slave,
		     struct error *error)
{
	/* Atomic, and never replaces what came there meanwhile. */
	if (symlink(slave, path->path) < 0)
		return error_set(error, -errno, "cannot make the link %s: %s",
				 path->path, strerror(errno));
	path->is_linked = true;
	return 0;
}

/* ---- the port ------------------------------------------------------------ */

/*
 * When to look again after a program closed the slave: the event comes before
 * the close has its effect (fs/file_table.c: fsnotify_close, then release).
 */
static const unsigned int port_recheck_ms[] = {10, 100, 900};

#define PORT_RECHECKS (sizeof(port_recheck_ms) / sizeof(port_recheck_ms[0]))

struct pty_port {
	struct loop *loop;
	int master_fd;
	int slave_fd; /* held, never read; -1: could not be opened again */
	int notify_fd;
	struct event *notify_event;
	struct event *recheck_event;
	unsigned int rechecks; /* done since the last event */
	struct termios raw;
	char slave[SLAVE_PATH_BYTES];
	bool is_open; /* by a program */
	/* The first program opened the port, or the last one closed it. */
	void (*changed)(bool is_open, void *arg);
	void *arg;
};

static bool is_hung_up(int fd)
{
	struct pollfd hang_up = {.fd = fd};

	return poll(&hang_up, 1, 0) == 1 && hang_up.revents & POLLHUP;
}

/*
 * Take the events that are there. Opens, closes or both may stand for several,
 * or for our own. An overflow counts as a close: the truth must be found out.
 */
static void port_drain_events(const struct pty_port *port, bool *opened,
			      bool *closed)
{
	char buffer[16 * sizeof(struct inotify_event)]
		__attribute__((aligned(__alignof__(struct inotify_event))));
	const struct inotify_event *event;
	ssize_t got;

	*opened = *closed = false;
	while ((got = read(port->notify_fd, buffer, sizeof(buffer))) > 0) {
		for (char *p = buffer; p < buffer + got;
		     p += sizeof(*event) + event->len) {
			event = (const struct inotify_event *)p;
			if (event->mask & IN_OPEN)
				*opened = true;
			if (event->mask & (IN_CLOSE | IN_Q_OVERFLOW))
				*closed = true;
		}
	}
}

static int port_open_slave(struct pty_port *port)
{
	/* O_RDONLY: ioctls need no more. */
	port->slave_fd = open(port->slave,
			      O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	return port->slave_fd < 0 ? -errno : 0;
}

/* As the next program expects a serial port, whatever the last one did. */
static void port_reset(struct pty_port *port)
{
	int fd = port->slave_fd, discipline = 0;

	/* A pppd or slattach that was killed. */
	if (ioctl(fd, TIOCGETD, &discipline) == 0 && discipline != N_TTY) {
		discipline = N_TTY;
		ioctl(fd, TIOCSETD, &discipline);
	}
	ioctl(fd, TIOCNXCL);
	/* Without IXON the kernel lifts a stop that a ^S made... */
	tcsetattr(fd, TCSANOW, &port->raw);
	/* ...and this one a program's own TCOOFF. */
	tcflow(fd, TCOON);
}

static void port_set_open(struct pty_port *port, bool is_open)
{
	if (port->is_open == is_open)
		return;
	port->is_open = is_open;
	if (port->changed)
		port->changed(is_open, port->arg);
}

/*
 * Find out whether a program has the port open: let go of our own slave for a
 * moment, and the master hangs up if it was the only one. It also replaces a
 * slave that was hung up. -errno: it could not be opened again.
 *
 * Nobody sees the moment: this thread is the only one that uses the master,
 * and what is queued in either direction stays.
 */
static int port_look(struct pty_port *port)
{
	bool is_open, opened, closed;
	int exclusive = 0, code;

	if (port->slave_fd >= 0) {
		ioctl(port->slave_fd, TIOCGEXCL, &exclusive);
		if (exclusive)
			ioctl(port->slave_fd, TIOCNXCL);
		close(port->slave_fd);
	}
	port_drain_events(port, &opened, &closed);
	is_open = !is_hung_up(port->master_fd);
	code = port_open_slave(port);
	/* Our own events, and those of whoever came this very moment. */
	port_drain_events(port, &opened, &closed);
	if (code == 0 && !is_open)
		port_reset(port);
	else if (code == 0 && exclusive)
		ioctl(port->slave_fd, TIOCEXCL);
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
	if (++port->rechecks < PORT_RECHECKS)
		port_start_recheck(port);
}

/* Look now, and again when what is under way just now has happened. */
static int port_probe(struct pty_port *port)
{
	int code = port_look(port);

	port->rechecks = 0;
	port_start_recheck(port);
	return code;
}

/* Bring is_open up to date with what has happened until now. */
static void port_update(struct pty_port *port)
{
	bool opened, closed;

	port_drain_events(port, &opened, &closed);
	if (closed)
		port_probe(port);
	else if (opened)
		port_set_open(port, true);
}

static void port_notified(evutil_socket_t fd, short what, void *arg)
{
	port_update(arg);
}

/*
 * The slave is dead or gone, by vhangup(2) or because it could not be opened
 * again: put that right. 0, or -errno if it cannot be done now.
 */
static int port_mend(struct pty_port *port)
{
	if (port->slave_fd >= 0 && !is_hung_up(port->slave_fd) &&
	    !is_hung_up(port->master_fd))
		return 0;
	return port_probe(port);
}

/* Bytes read; -EAGAIN when there are none; -EIO once it is beyond repair. */
static ssize_t port_read(struct pty_port *port, void *buffer, size_t bytes)
{
	ssize_t got = read(port->master_fd, buffer, bytes);

	if (got > 0)
		return got;
	if (got == 0)
		return -EIO; /* not known to happen to a master */
	if (errno != EIO)
		return -errno;
	/* No slave is open, not even ours. */
	return port_probe(port) < 0 ? -EIO : -EAGAIN;
}

static ssize_t port_write(struct pty_port *port, const void *buffer,
			  size_t bytes)
{
	ssize_t put;

	/* A hang-up has made it cooked: the bytes would come back as echo. */
	if (!port->is_open)
		port_mend(port);
	put = write(port->master_fd, buffer, bytes);
	return put < 0 ? -errno : put;
}

/* Drop what no program has read, and give room to whoever waits for it. */
static void port_flush(struct pty_port *port)
{
	tcflush(port->slave_fd, TCIFLUSH);
}

static void port_close(struct pty_port *port)
{
	if (port->notify_event)
		event_free(port->notify_event);
	if (port->recheck_event)
		event_free(port->recheck_event);
	if (port->slave_fd >= 0)
		close(port->slave_fd);
	if (port->notify_fd >= 0)
		close(port->notify_fd);
	if (port->master_fd >= 0)
		close(port->master_fd);
}

static int port_open_master(struct pty_port *port, struct error *error)
{
	int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);

	port->master_fd = fd;
	if (fd < 0)
		return error_set(error, -errno, "cannot make a pty: %s%s",
				 strerror(errno),
				 errno == ENOSPC ? "; raise kernel.pty.max"
						 : "");
	if (grantpt(fd) < 0 || unlockpt(fd) < 0 ||
	    ptsname_r(fd, port->slave, sizeof(port->slave)) != 0)
		return error_set(error, -errno,
				 "cannot make a pty ready: %s; is devpts "
				 "mounted on /dev/pts?",
				 strerror(errno));
	return 0;
}

static int port_watch(struct pty_port *port, struct error *error)
{
	port->notify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (port->notify_fd < 0)
		return error_set(error, -errno,
				 "cannot watch for programs that open it: "
				 "%s%s",
				 strerror(errno),
				 errno == EMFILE
					 ? "; raise "
					   "fs.inotify.max_user_instances"
					 : "");
	if (inotify_add_watch(port->notify_fd, port->slave,
			      IN_OPEN | IN_CLOSE) < 0)
		return error_set(error, -errno, "cannot watch %s: %s%s",
				 port->slave, strerror(errno),
				 errno == ENOSPC
					 ? "; raise fs.inotify.max_user_watches"
					 : "");
	port->notify_event = event_new(port->loop->base, port->notify_fd,
				       EV_READ | EV_PERSIST, port_notified,
				       port);
	port->recheck_event = evtimer_new(port->loop->base, port_recheck, port);
	if (!port->notify_event || !port->recheck_event ||
	    event_add(port->notify_event, NULL) < 0)
		return error_set(error, -ENOMEM, "out of memory");
	return 0;
}

/* On an error port_close is still to be called. */
static int port_open(struct pty_port *port, struct loop *loop,
		     const struct address_access *access, struct error *error)
{
	struct address_access slave_access = *access;
	bool opened, closed;
	int code;

	port->loop = loop;
	port->master_fd = port->slave_fd = port->notify_fd = -1;
	code = port_open_master(port, error);
	if (code == 0)
		code = port_watch(port, error);
	if (code < 0)
		return code;
	/* Not the kernel's 0620 of group tty: write(1) has no business here. */
	if (slave_access.mode == 0)
		slave_access.mode = SLAVE_MODE;
	code = port_open_slave(port);
	if (code == 0 && tcgetattr(port->slave_fd, &port->raw) < 0)
		code = -errno;
	if (code < 0)
		return error_set(error, code, "cannot open %s: %s", port->slave,
				 strerror(-code));
	cfmakeraw(&port->raw);
	port->raw.c_cflag |= CLOCAL | CREAD;
	port->raw.c_cc[VMIN] = 1;
	port->raw.c_cc[VTIME] = 0;
	port_reset(port);
	port_drain_events(port, &opened, &closed);
	return access_apply(port->slave, &slave_access, error);
}

/* ---- the target ---------------------------------------------------------- */

struct pty_target {
	struct target target;
	struct pty_path path;
	struct pty_port port;
	enum pty_when_closed when_closed;
	struct pty_stream *stream; /* the session's, or NULL */
	struct event *read_event; /* pending while there is no stream */
	uint64_t unheard_bytes; /* written by programs to nobody, discarded */
};

struct pty_stream {
	struct stream stream;
	struct pty_target *target;
	uint64_t unread_bytes; /* arrived for no program, discarded */
};

struct pty_dial {
	struct dial dial;
	struct pty_target *target;
	struct loop_task task;
	dial_done_cb done;
	void *arg;
};

static void count_unheard(struct pty_target *target, size_t bytes)
{
	if (target->unheard_bytes == 0)
		log_info("%s: a program writes to it while nobody is "
			 "connected; that is discarded",
			 target->path.path);
	target->unheard_bytes += bytes;
}

static void report_unheard(struct pty_target *target)
{
	if (target->unheard_bytes > 0)
		log_info("%s: discarded %" PRIu64 " bytes that were written "
			 "while nobody was connected",
			 target->path.path, target->unheard_bytes);
	target->unheard_bytes = 0;
}

/* A cable that is not plugged in: nobody keeps what is sent into it. */
static void discard_unheard(evutil_socket_t fd, short what, void *arg)
{
	struct pty_target *target = arg;
	struct loop *loop = target->port.loop;
	ssize_t got = port_read(&target->port, loop->buffer,
				loop->buffer_bytes);

	if (got > 0)
		count_unheard(target, (size_t)got);
	else if (got != -EAGAIN)
		/* It would be ready for ever; the next dial tries again. */
		event_del(target->read_event);
}

/*
 * What was written before this moment is not for the session that begins. A
 * program that writes without a pause does not hold us up.
 */
static void discard_queued(struct pty_target *target)
{
	struct loop *loop = target->port.loop;
	size_t most = 1024 * 1024;
	ssize_t got;

	do {
		got = port_read(&target->port, loop->buffer,
				loop->buffer_bytes);
		if (got <= 0)
			break;
		count_unheard(target, (size_t)got);
		most -= (size_t)got < most ? (size_t)got : most;
	} while (most > 0);
}

static void programs_changed(bool is_open, void *arg)
{
	struct pty_target *target = arg;

	/* The next program is to get only what arrives for it. */
	if (!is_open && target->when_closed == PTY_WHEN_CLOSED_DISCARD)
		port_flush(&target->port);
}

static ssize_t pty_read(struct stream *base, void *buffer, size_t bytes)
{
	struct pty_stream *stream = (struct pty_stream *)base;

	return port_read(&stream->target->port, buffer, bytes);
}

static ssize_t pty_write(struct stream *base, const void *buffer, size_t bytes)
{
	struct pty_stream *stream = (struct pty_stream *)base;
	struct pty_target *target = stream->target;

	if (target->when_closed == PTY_WHEN_CLOSED_DISCARD) {
		/* A program may have opened it since the loop last looked. */
		if (!target->port.is_open)
			port_update(&target->port);
		if (!target->port.is_open) {
			stream->unread_bytes += bytes;
			return (ssize_t)bytes;
		}
	}
	return port_write(&target->port, buffer, bytes);
}

static void pty_close(struct stream *base, enum stream_close how)
{
	struct pty_stream *stream = (struct pty_stream *)base;
	struct pty_target *target = stream->target;

	if (stream->unread_bytes > 0)
		log_info("%s: discarded %" PRIu64 " bytes that arrived while "
			 "no program had it open",
			 target->path.path, stream->unread_bytes);
	target->stream = NULL;
	event_add(target->read_event, NULL);
	free(stream);
}

static const struct stream_ops pty_stream_ops = {
	.read = pty_read,
	.write = pty_write,
	.close = pty_close,
};

/* NULL with *@code and @error set. */
static struct pty_stream *stream_new(struct pty_target *target, int *code,
				     struct error *error)
{
	struct pty_stream *stream;

	if (target->stream) {
		*code = error_set(error, -EBUSY, "%s has a session already",
				  target->path.path);
		return NULL;
	}
	*code = port_mend(&target->port);
	if (*code < 0) {
		error_set(error, *code, "cannot open %s (%s) again: %s%s",
			  target->path.path, target->port.slave,
			  strerror(-*code),
			  *code == -EBUSY
				  ? "; a program left it locked (TIOCEXCL)"
				  : "");
		return NULL;
	}
	stream = calloc(1, sizeof(*stream));
	if (!stream) {
		*code = error_set(error, -ENOMEM, "out of memory");
		return NULL;
	}
	stream->stream.ops = &pty_stream_ops;
	stream->stream.read_fd = target->port.master_fd;
	stream->stream.write_fd = target->port.master_fd;
	memcpy(stream->stream.peer, target->target.name, STREAM_PEER_BYTES);
	stream->target = target;
	return stream;
}

static void pty_answer(void *arg)
{
	struct pty_dial *dial = arg;
	struct pty_target *target = dial->target;
	struct error error = {""};
	struct pty_stream *stream;
	int code = 0;

	stream = stream_new(target, &code, &error);
	if (stream) {
		discard_queued(target);
		report_unheard(target);
		event_del(target->read_event);
		target->stream = stream;
	}
	dial->done(stream ? &stream->stream : NULL, code, &error, dial->arg);
	free(dial);
}

static void pty_dial_cancel(struct dial *base)
{
	struct pty_dial *dial = (struct pty_dial *)base;

	loop_cancel(dial->target->port.loop, &dial->task);
	free(dial);
}

static struct dial *pty_dial(struct target *base, dial_done_cb done, void *arg)
{
	static const struct dial_ops ops = {.cancel = pty_dial_cancel};
	struct pty_dial *dial = calloc(1, sizeof(*dial));

	if (!dial)
		return NULL;
	dial->dial.ops = &ops;
	dial->target = (struct pty_target *)base;
	dial->task.run = pty_answer;
	dial->task.arg = dial;
	dial->done = done;
	dial->arg = arg;
	loop_defer(dial->target->port.loop, &dial->task);
	return &dial->dial;
}

static void pty_target_close(struct target *base)
{
	struct pty_target *target = (struct pty_target *)base;

	report_unheard(target);
	if (target->read_event)
		event_free(target->read_event);
	/* First the path: after the pty, its number may be another's. */
	path_release(&target->path, target->port.slave);
	port_close(&target->port);
	free(target);
}

static int pty_open_target(struct loop *loop,
			   const struct address_endpoint *address,
			   const struct endpoint_settings *settings,
			   struct target **out, struct error *error)
{
	static const struct target_ops ops = {
		.dial = pty_dial,
		.close = pty_target_close,
	};
	struct pty_target *target = calloc(1, sizeof(*target));
	int code;

	if (!target)
		return error_set(error, -ENOMEM, "out of memory");
	target->target.ops = &ops;
	target->target.sessions_max = 1;
	snprintf(target->target.name, sizeof(target->target.name), "pty:%s",
		 address->pty.path);
	target->when_closed = address->pty.when_closed;
	target->port.master_fd = target->port.slave_fd = -1;
	target->port.notify_fd = -1;
	target->port.changed = programs_changed;
	target->port.arg = target;
	code = path_acquire(&target->path, address->pty.path, error);
	if (code < 0)
		goto close_target;
	code = port_open(&target->port, loop, &address->pty.access, error);
	if (code < 0) {
		error_prefix(error, code, "%s", target->path.path);
		goto close_target;
	}
	target->read_event = event_new(loop->base, target->port.master_fd,
				       EV_READ | EV_PERSIST, discard_unheard,
				       target);
	if (!target->read_event || event_add(target->read_event, NULL) < 0) {
		code = error_set(error, -ENOMEM, "out of memory");
		goto close_target;
	}
	/* Last: whoever sees the path finds a port that is ready. */
	code = path_link(&target->path, target->port.slave, error);
	if (code < 0)
		goto close_target;
	*out = &target->target;
	return 0;

close_target:
	pty_target_close(&target->target);
	return code;
}

const struct endpoint_ops endpoint_pty_ops = {
	.open_target = pty_open_target,
};
