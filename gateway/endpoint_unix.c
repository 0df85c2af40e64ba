/* SPDX-License-Identifier: MIT */
/*
 * unix: a socket in the file system, of bytes (SOCK_STREAM) or, where seqpacket
 * is asked for, of records (SOCK_SEQPACKET). A socket file that a killed program
 * left is replaced; one that answers, or anything else at the path, is left
 * alone.
 */
#include "endpoint.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "access.h"
#include "address_endpoint.h"
#include "error.h"
#include "holder.h"
#include "loop.h"
#include "socket.h"

#define BACKLOG 128
/*
 * What bytes are cut to that go to a socket of records: no longer than what
 * programs mostly read at once, for the kernel drops the rest of a record.
 */
#define CUT_BYTES 4096
/* More records than a socket's queue holds: the smallest takes some 700 bytes. */
#define SKIPS_MAX 1024

/* ---- streams ------------------------------------------------------------- */

static const struct stream_ops unix_stream_ops = {
	.read = socket_read,
	.write = socket_write,
	.shutdown_write = socket_shutdown_write,
	.close = socket_close,
};

struct record_stream {
	struct stream stream;
	int broken; /* the errno that came before what is still queued */
};

/* Whether the other side has shut down and no byte of it is left. */
static bool is_read_out(int fd)
{
	struct pollfd hang_up = {.fd = fd, .events = POLLRDHUP};
	int queued = 0;

	return poll(&hang_up, 1, 0) == 1 && hang_up.revents & POLLRDHUP &&
	       (ioctl(fd, FIONREAD, &queued) < 0 || queued == 0);
}

/*
 * An empty record is read as 0, as the end is. And what broke the connection
 * is said once, before the records that came first (Linux 6.18, net/unix).
 */
static ssize_t record_read(struct stream *stream, void *buffer, size_t bytes)
{
	struct record_stream *self = (struct record_stream *)stream;
	const int fd = stream->read_fd;

	for (int skips = 0; skips < SKIPS_MAX; skips++) {
		/* MSG_TRUNC gives the length that it really has. */
		ssize_t got = recv(fd, buffer, bytes, MSG_TRUNC);

		if (got > 0)
			return (size_t)got <= bytes ? got : -EMSGSIZE;
		if (got == 0 && is_read_out(fd))
			return -self->broken;
		if (got < 0 && errno == ECONNRESET)
			self->broken = errno;
		else if (got < 0 && errno != EINTR)
			return -errno;
	}
	return -EAGAIN;
}

static ssize_t record_write(struct stream *stream, const void *buffer,
			    size_t bytes)
{
	const uint8_t *data = buffer;
	size_t total = 0;
	ssize_t put = 0;

	while (total < bytes && put >= 0) {
		size_t piece = bytes - total;

		put = socket_write(stream, data + total,
				   piece < CUT_BYTES ? piece : CUT_BYTES);
		total += put > 0 ? (size_t)put : 0;
	}
	return total ? (ssize_t)total : put;
}

/* The kernel takes what fits into the send buffer, less 32 bytes (unix(7)). */
static int record_write_record(struct stream *stream, const void *buffer,
			       size_t bytes)
{
	ssize_t put = socket_write(stream, buffer, bytes);

	return put < 0 ? (int)put : 0;
}

static const struct stream_ops record_stream_ops = {
	.read = record_read,
	.write = record_write,
	.write_record = record_write_record,
	.shutdown_write = socket_shutdown_write,
	.close = socket_close,
};

static struct stream *record_stream_new(int fd, const char *peer)
{
	return socket_stream_extend(&record_stream_ops,
				    sizeof(struct record_stream), fd, peer);
}

/* The process at the other end, as the kernel knows it (unix(7)). */
static void describe_peer(int fd, char *text, size_t text_bytes)
{
	struct ucred peer;
	socklen_t bytes = sizeof(peer);
	char holder[HOLDER_TEXT_BYTES];

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) < 0 ||
	    peer.pid == 0) {
		snprintf(text, text_bytes, "a local program");
		return;
	}
	holder_of_pid(peer.pid, holder);
	snprintf(text, text_bytes, "%.*s", (int)text_bytes - 1, holder);
}

static struct stream *unix_stream_new(int fd, bool is_seqpacket)
{
	char peer[STREAM_PEER_BYTES];

	describe_peer(fd, peer, sizeof(peer));
	return is_seqpacket ? record_stream_new(fd, peer)
			    : socket_stream_new(&unix_stream_ops, fd, peer);
}

/* ---- addresses ----------------------------------------------------------- */

static void unix_address(const char *path, struct sockaddr_un *out)
{
	memset(out, 0, sizeof(*out));
	out->sun_family = AF_UNIX;
	/* address_path.c let through only what fits. */
	strncpy(out->sun_path, path, sizeof(out->sun_path) - 1);
}

static int unix_socket(bool is_seqpacket)
{
	int fd = socket(AF_UNIX,
			(is_seqpacket ? SOCK_SEQPACKET : SOCK_STREAM) |
				SOCK_NONBLOCK | SOCK_CLOEXEC,
			0);

	return fd < 0 ? -errno : fd;
}

/* ---- listening ----------------------------------------------------------- */

struct unix_listener {
	struct socket_listener base;
	char *path;
	bool is_seqpacket;
	dev_t device; /* of the socket file that we made */
	ino_t inode;
};

static void unix_accepted(int fd, void *arg)
{
	struct unix_listener *listener = arg;
	socket_listener_give(&listener->base,
			     unix_stream_new(fd, listener->is_seqpacket), fd);
}

static void unix_listener_close(struct listener *base)
{
	struct unix_listener *listener = (struct unix_listener *)base;
	struct stat st;

	/* Only what is still ours: somebody may have put another one there. */
	if (lstat(listener->path, &st) == 0 && st.st_dev == listener->device &&
	    st.st_ino == listener->inode)
		unlink(listener->path);
	free(listener->path);
	socket_listener_close(base);
}

/*
 * Whether a socket file is stale is asked with a socket of another type, which
 * whoever listens does not notice: EPROTOTYPE means that it is held, and
 * ECONNREFUSED that nobody has it any more (net/unix, unix_find_other).
 */
static int knock(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int code = 0;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)))
		code = -errno;
	close(fd);
	return code;
}

/* Make room at the path, if what is there is a socket that nobody holds. */
static int clear_stale(const struct sockaddr_un *address, struct error *error)
{
	const char *path = address->sun_path;
	char holder[HOLDER_TEXT_BYTES];
	struct stat st;
	int code;

	if (lstat(path, &st) < 0)
		return 0; /* bind tells what is wrong, if anything */
	if (!S_ISSOCK(st.st_mode))
		return error_set(error, -EEXIST,
				 "%s is there already and is not a socket; "
				 "move it away or choose another path",
				 path);
	code = knock(address);
	if (code == 0 || code == -EPROTOTYPE) {
		holder_of_unix_path(path, holder);
		return error_set(error, -EADDRINUSE, "%s is held by %s", path,
				 holder);
	}
	if (code != -ECONNREFUSED)
		return error_set(error, code,
				 "%s is there already, and whether a program "
				 "holds it cannot be seen: %s",
				 path, strerror(-code));
	if (unlink(path) < 0)
		return error_set(error, -errno,
				 "%s was left by a program that is gone and "
				 "cannot be removed: %s",
				 path, strerror(errno));
	return 0;
}

static int bind_and_listen(int fd, const struct sockaddr_un *address,
			   const struct access *access, struct error *error)
{
	const char *path = address->sun_path;
	mode_t old_mask;
	int code;

	/* Nobody else gets in before the mode is what was asked for. */
	old_mask = umask(0177);
	code = bind(fd, (const struct sockaddr *)address, sizeof(*address))
		       ? -errno
		       : 0;
	umask(old_mask);
	if (code)
		return error_set(
			error, code, "cannot make the socket %s: %s%s", path,
			strerror(-code),
			code == -ENOENT ? "; its directory is not there" : "");
	code = access_apply(path, access, error);
	if (code == 0 && listen(fd, BACKLOG) < 0)
		code = error_set(error, -errno, "cannot listen on %s: %s", path,
				 strerror(errno));
	if (code)
		unlink(path);
	return code;
}

static int unix_listen(struct loop *loop,
		       const struct address_endpoint *address,
		       const struct endpoint_settings *settings,
		       listener_client_cb client_cb, void *arg,
		       struct listener **out, struct error *error)
{
	static const struct listener_ops ops = {.close = unix_listener_close};
	const struct socket_listen listen = {loop, client_cb, arg};
	struct unix_listener *listener;
	struct socket_listener *base;
	struct sockaddr_un name;
	struct access access;
	char text[STREAM_PEER_BYTES];
	struct stat st = {0};
	char *path = NULL;
	int fd, code;

	unix_address(address->local.path, &name);
	code = access_find(&access, &address->local.access, 0, error);
	if (code == 0)
		code = clear_stale(&name, error);
	if (code)
		return code;
	fd = unix_socket(address->local.is_seqpacket);
	if (fd < 0)
		return error_set(error, fd, "cannot make a socket: %s",
				 strerror(-fd));
	code = bind_and_listen(fd, &name, &access, error);
	if (code)
		goto close_fd;
	lstat(name.sun_path, &st);

	code = error_set(error, -ENOMEM, "out of memory");
	path = strdup(name.sun_path);
	if (!path)
		goto unlink_path;
	snprintf(text, sizeof(text), "unix:%.40s", path);
	code = socket_listener_new(&listen, sizeof(*listener), fd, &ops, text,
				   unix_accepted, &base, error);
	if (code)
		goto unlink_path;
	listener = (struct unix_listener *)base;
	listener->path = path;
	if (settings->keeps_spare)
		acceptor_keep_spare(base->acceptor);
	listener->device = st.st_dev;
	listener->inode = st.st_ino;
	listener->is_seqpacket = address->local.is_seqpacket;
	*out = &base->listener;
	return 0;

unlink_path:
	free(path);
	unlink(name.sun_path);
close_fd:
	close(fd);
	return code;
}

/* ---- connecting ----------------------------------------------------------- */

struct unix_target {
	struct target target;
	struct loop *loop;
	struct sockaddr_un address;
	bool is_seqpacket;
};

struct unix_dial {
	struct dial dial;
	struct unix_target *target;
	struct connector *connector;
	dial_done_cb done;
	void *arg;
};

static void unix_dial_cancel(struct dial *base)
{
	struct unix_dial *dial = (struct unix_dial *)base;

	connector_free(dial->connector);
	free(dial);
}

static void unix_connected(int fd, int code, void *arg)
{
	struct unix_dial *dial = arg;
	const struct unix_target *target = dial->target;
	const char *path = target->address.sun_path;
	dial_done_cb done = dial->done;
	void *done_arg = dial->arg;
	struct stream *stream = NULL;
	struct error error = {""};

	free(dial);
	if (fd >= 0)
		stream = unix_stream_new(fd, target->is_seqpacket);
	if (fd >= 0 && !stream) {
		close(fd);
		code = -ENOMEM;
	}
	if (code == -ECONNREFUSED)
		error_set(&error, code, "no program listens on %s", path);
	else if (code == -EPROTOTYPE)
		error_set(&error, code, "%s is %s; %s seqpacket", path,
			  target->is_seqpacket
				  ? "not a socket of records"
				  : "a socket of records or datagrams",
			  target->is_seqpacket ? "leave out the option"
					       : "try the option");
	else if (code == -EAGAIN)
		error_set(&error, code,
			  "the program that listens on %s does not take its "
			  "clients: its queue is full",
			  path);
	else if (code)
		error_set(&error, code, "cannot connect to %s: %s", path,
			  strerror(-code));
	done(stream, code, &error, done_arg);
}

static struct dial *unix_dial(struct target *base, dial_done_cb done, void *arg)
{
	static const struct dial_ops ops = {.cancel = unix_dial_cancel};
	struct unix_target *target = (struct unix_target *)base;
	struct unix_dial *dial = calloc(1, sizeof(*dial));
	int fd;

	if (!dial)
		return NULL;
	dial->dial.ops = &ops;
	dial->target = target;
	dial->done = done;
	dial->arg = arg;
	fd = unix_socket(target->is_seqpacket);
	if (fd >= 0)
		dial->connector = connector_new(
			target->loop, fd,
			(const struct sockaddr *)&target->address,
			sizeof(target->address), unix_connected, dial);
	else
		errno = -fd;
	if (!dial->connector) {
		free(dial);
		return NULL;
	}
	return &dial->dial;
}

static void unix_target_close(struct target *target)
{
	free(target);
}

static int unix_open_target(struct loop *loop,
			    const struct address_endpoint *address,
			    const struct endpoint_settings *settings,
			    struct target **out, struct error *error)
{
	static const struct target_ops ops = {
		.dial = unix_dial,
		.close = unix_target_close,
	};
	struct unix_target *target = calloc(1, sizeof(*target));

	if (!target)
		return error_set(error, -ENOMEM, "out of memory");
	target->target.ops = &ops;
	target->loop = loop;
	target->is_seqpacket = address->local.is_seqpacket;
	unix_address(address->local.path, &target->address);
	snprintf(target->target.name, sizeof(target->target.name), "unix:%.40s",
		 target->address.sun_path);
	*out = &target->target;
	return 0;
}

const struct endpoint_ops endpoint_unix_ops = {
	.listen = unix_listen,
	.open_target = unix_open_target,
};
