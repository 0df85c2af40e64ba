/* SPDX-License-Identifier: MIT */
/*
 * unix: a stream socket in the file system. A socket file that a killed
 * program left is replaced; one that answers, or anything else at the path, is
 * left alone.
 */
#include "endpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static const struct stream_ops unix_stream_ops = {
	.read = socket_read,
	.write = socket_write,
	.shutdown_write = socket_shutdown_write,
	.close = socket_close,
};

static void unix_address(const char *path, struct sockaddr_un *out)
{
	memset(out, 0, sizeof(*out));
	out->sun_family = AF_UNIX;
	/* address_path.c let through only what fits. */
	strncpy(out->sun_path, path, sizeof(out->sun_path) - 1);
}

static int unix_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
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

/* ---- listening ----------------------------------------------------------- */

struct unix_listener {
	struct listener listener;
	struct acceptor *acceptor;
	char *path;
	dev_t device; /* of the socket file that we made */
	ino_t inode;
	listener_client_cb client_cb;
	void *arg;
};

static void unix_accepted(int fd, void *arg)
{
	struct unix_listener *listener = arg;
	char peer[STREAM_PEER_BYTES];
	struct stream *stream;

	describe_peer(fd, peer, sizeof(peer));
	stream = socket_stream_new(&unix_stream_ops, fd, peer);
	if (!stream)
		close(fd);
	else
		listener->client_cb(stream, listener->arg);
}

static void unix_listener_close(struct listener *base)
{
	struct unix_listener *listener = (struct unix_listener *)base;
	struct stat st;

	/* Only what is still ours: somebody may have put another one there. */
	if (lstat(listener->path, &st) == 0 && st.st_dev == listener->device &&
	    st.st_ino == listener->inode)
		unlink(listener->path);
	acceptor_free(listener->acceptor);
	free(listener->path);
	free(listener);
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
			   const struct address_access *access,
			   struct error *error)
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
	struct unix_listener *listener;
	struct sockaddr_un name;
	struct stat st = {0};
	int fd, code;

	unix_address(address->local.path, &name);
	code = clear_stale(&name, error);
	if (code)
		return code;
	fd = unix_socket();
	if (fd < 0)
		return error_set(error, fd, "cannot make a socket: %s",
				 strerror(-fd));
	code = bind_and_listen(fd, &name, &address->local.access, error);
	if (code)
		goto close_fd;
	lstat(name.sun_path, &st);

	code = error_set(error, -ENOMEM, "out of memory");
	listener = calloc(1, sizeof(*listener));
	if (!listener)
		goto unlink_path;
	listener->listener.ops = &ops;
	listener->device = st.st_dev;
	listener->inode = st.st_ino;
	listener->client_cb = client_cb;
	listener->arg = arg;
	snprintf(listener->listener.name, sizeof(listener->listener.name),
		 "unix:%.40s", name.sun_path);
	listener->path = strdup(name.sun_path);
	if (listener->path)
		listener->acceptor = acceptor_new(loop, fd,
						  listener->listener.name,
						  unix_accepted, listener);
	if (!listener->acceptor)
		goto free_listener;
	*out = &listener->listener;
	return 0;

free_listener:
	free(listener->path);
	free(listener);
unlink_path:
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
	const char *path = dial->target->address.sun_path;
	dial_done_cb done = dial->done;
	void *done_arg = dial->arg;
	struct stream *stream = NULL;
	char peer[STREAM_PEER_BYTES];
	struct error error = {""};

	free(dial);
	if (fd >= 0) {
		describe_peer(fd, peer, sizeof(peer));
		stream = socket_stream_new(&unix_stream_ops, fd, peer);
	}
	if (fd >= 0 && !stream) {
		close(fd);
		code = -ENOMEM;
	}
	if (code == -ECONNREFUSED)
		error_set(&error, code, "no program listens on %s", path);
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
	fd = unix_socket();
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
