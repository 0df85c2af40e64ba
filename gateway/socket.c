/* SPDX-License-Identifier: MIT */
#include "socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <event2/event.h>

#include "error.h"
#include "log.h"
#include "loop.h"

#define PAUSE_MS 1000
/* Clients taken in one turn, so that a flood leaves time for the sessions. */
#define ACCEPTS_PER_TURN 16
/*
 * Descriptors left for those that are in already: a client that came in only
 * to find none left for its target would be lost, where it could have waited.
 */
#define FDS_RESERVED 8

/* ---- a stream over one socket ------------------------------------------ */

struct stream *socket_stream_extend(const struct stream_ops *ops, size_t bytes,
				    int fd, const char *peer)
{
	const size_t length = strnlen(peer, STREAM_PEER_BYTES - 1);
	/* One piece of memory: there may be thousands of them. */
	struct socket_stream *self = calloc(1, bytes + length + 1);

	if (!self)
		return NULL;
	self->stream.ops = ops;
	self->stream.read_fd = fd;
	self->stream.write_fd = fd;
	self->stream.peer = memcpy((char *)self + bytes, peer, length);
	return &self->stream;
}

struct stream *socket_stream_new(const struct stream_ops *ops, int fd,
				 const char *peer)
{
	return socket_stream_extend(ops, sizeof(struct socket_stream), fd,
				    peer);
}

static ssize_t receive(int fd, void *buffer, size_t bytes, int flags)
{
	ssize_t got;

	do {
		got = recv(fd, buffer, bytes, flags);
	} while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

ssize_t socket_read(struct stream *stream, void *buffer, size_t bytes)
{
	return receive(stream->read_fd, buffer, bytes, 0);
}

ssize_t socket_peek(struct stream *stream, void *buffer, size_t bytes)
{
	return receive(stream->read_fd, buffer, bytes, MSG_PEEK);
}

void socket_skip(struct stream *stream, size_t bytes)
{
	/* More than one call only where urgent data split the queue. */
	while (bytes) {
		ssize_t got = receive(stream->read_fd, NULL, bytes, MSG_TRUNC);

		if (got <= 0)
			break;
		bytes -= (size_t)got;
	}
}

ssize_t socket_write(struct stream *stream, const void *buffer, size_t bytes)
{
	ssize_t put;

	do {
		put = send(stream->write_fd, buffer, bytes, MSG_NOSIGNAL);
	} while (put < 0 && errno == EINTR);
	/* The network's queue is full, not the socket's: the same remedy. */
	if (put < 0 && errno == ENOBUFS)
		return -EAGAIN;
	return put < 0 ? -errno : put;
}

int socket_shutdown_write(struct stream *stream)
{
	return shutdown(stream->write_fd, SHUT_WR) < 0 ? -errno : 0;
}

int socket_check(struct stream *stream)
{
	int code = 0;
	socklen_t bytes = sizeof(code);

	if (getsockopt(stream->read_fd, SOL_SOCKET, SO_ERROR, &code, &bytes))
		return -errno;
	return -code;
}

void socket_close(struct stream *stream, enum stream_close how)
{
	const struct linger reset = {.l_onoff = 1, .l_linger = 0};

	if (how == STREAM_CLOSE_ABORT)
		setsockopt(stream->read_fd, SOL_SOCKET, SO_LINGER, &reset,
			   sizeof(reset));
	close(stream->read_fd);
	free(stream);
}

/* ---- accepting ---------------------------------------------------------- */

struct acceptor {
	struct loop *loop;
	int fd;
	struct event *readable;
	struct event *resume;
	bool keeps_spare;
	int spare_fd; /* closed for a client when there is no other; or -1 */
	bool is_short; /* said so, and not accepted since */
	bool is_freed; /* by the callback that runs now */
	bool is_running;
	char name[STREAM_PEER_BYTES];
	acceptor_cb accepted;
	void *arg;
};

static bool is_exhausted(int code)
{
	return code == EMFILE || code == ENFILE || code == ENOBUFS ||
	       code == ENOMEM;
}

/* The kernel gives the lowest number that is free: near the limit, few are. */
static bool is_among_the_last(int fd)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
	       (rlim_t)fd + FDS_RESERVED >= limit.rlim_cur;
}

static void acceptor_pause(struct acceptor *acceptor, int code)
{
	if (!acceptor->is_short)
		log_warning(
			"%s: no more clients for now: %s%s", acceptor->name,
			strerror(code),
			is_exhausted(code)
				? "; raise the limit of open files "
				  "(LimitNOFILE=, ulimit -n); those who wait "
				  "are served as others leave"
				: "; tried again each second");
	acceptor->is_short = true;
	event_del(acceptor->readable);
	loop_start_timer(acceptor->resume, PAUSE_MS);
}

/* Whether one more client can be taken without want of descriptors. */
static bool acceptor_has_room(struct acceptor *acceptor)
{
	int probe = fcntl(acceptor->fd, F_DUPFD_CLOEXEC, 0);
	bool has_room = probe >= 0 && !is_among_the_last(probe);

	if (acceptor->keeps_spare && acceptor->spare_fd < 0) {
		acceptor->spare_fd = probe;
		return probe >= 0;
	}
	if (probe >= 0)
		close(probe);
	return has_room;
}

static void acceptor_resume(evutil_socket_t fd, short what, void *arg)
{
	struct acceptor *acceptor = arg;

	if (acceptor_has_room(acceptor))
		event_add(acceptor->readable, NULL);
	else
		loop_start_timer(acceptor->resume, PAUSE_MS);
}

/* Make room for a client; the timer sees to another one. */
static bool acceptor_give_spare(struct acceptor *acceptor)
{
	if (acceptor->spare_fd < 0)
		return false;
	close(acceptor->spare_fd);
	acceptor->spare_fd = -1;
	loop_start_timer(acceptor->resume, PAUSE_MS);
	return true;
}

static void acceptor_destroy(struct acceptor *acceptor)
{
	if (acceptor->readable)
		event_free(acceptor->readable);
	if (acceptor->resume)
		event_free(acceptor->resume);
	free(acceptor);
}

static void acceptor_readable(evutil_socket_t fd, short what, void *arg)
{
	struct acceptor *acceptor = arg;

	acceptor->is_running = true;
	for (int i = 0; i < ACCEPTS_PER_TURN && !acceptor->is_freed; i++) {
		/*
		 * No address asked for: with deferred setup the kernel's
		 * getname refuses one and the client is lost (rfcomm, 6.12).
		 */
		int client = accept4(fd, NULL, NULL,
				     SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (client >= 0) {
			bool is_last = !acceptor->keeps_spare &&
				       is_among_the_last(client);

			acceptor->accepted(client, acceptor->arg);
			if (is_last && !acceptor->is_freed)
				acceptor_pause(acceptor, EMFILE);
			/* accept(2) without a descriptor does not look who waits. */
			if (is_last ||
			    (acceptor->keeps_spare && acceptor->spare_fd < 0))
				break;
		} else if (errno == EAGAIN) {
			/* Nobody waits any more. */
			acceptor->is_short = false;
			break;
		} else if (errno != EINTR && errno != ECONNABORTED &&
			   !acceptor_give_spare(acceptor)) {
			acceptor_pause(acceptor, errno);
			break;
		}
	}
	acceptor->is_running = false;
	if (acceptor->is_freed)
		acceptor_destroy(acceptor);
}

struct acceptor *acceptor_new(struct loop *loop, int listen_fd,
			      const char *name, acceptor_cb accepted, void *arg)
{
	struct acceptor *acceptor = calloc(1, sizeof(*acceptor));

	if (!acceptor)
		return NULL;
	acceptor->loop = loop;
	acceptor->fd = listen_fd;
	acceptor->spare_fd = -1;
	acceptor->accepted = accepted;
	acceptor->arg = arg;
	strncpy(acceptor->name, name, sizeof(acceptor->name) - 1);
	acceptor->readable = event_new(loop->base, listen_fd,
				       EV_READ | EV_PERSIST, acceptor_readable,
				       acceptor);
	acceptor->resume = evtimer_new(loop->base, acceptor_resume, acceptor);
	if (!acceptor->readable || !acceptor->resume ||
	    event_add(acceptor->readable, NULL)) {
		acceptor_destroy(acceptor);
		errno = ENOMEM;
		return NULL;
	}
	return acceptor;
}

void acceptor_keep_spare(struct acceptor *acceptor)
{
	acceptor->keeps_spare = true;
	if (!acceptor_has_room(acceptor))
		loop_start_timer(acceptor->resume, PAUSE_MS);
}

void acceptor_free(struct acceptor *acceptor)
{
	if (!acceptor)
		return;
	if (acceptor->spare_fd >= 0)
		close(acceptor->spare_fd);
	event_del(acceptor->readable);
	event_del(acceptor->resume);
	close(acceptor->fd);
	acceptor->is_freed = true;
	if (!acceptor->is_running)
		acceptor_destroy(acceptor);
}

/* ---- listening ----------------------------------------------------------- */

int socket_listener_new(const struct socket_listen *listen, size_t bytes,
			int fd, const struct listener_ops *ops,
			const char *name, acceptor_cb accepted,
			struct socket_listener **out, struct error *error)
{
	struct socket_listener *self = calloc(1, bytes);

	if (!self)
		goto fail;
	self->listener.ops = ops;
	strncpy(self->listener.name, name, sizeof(self->listener.name) - 1);
	self->loop = listen->loop;
	self->client_cb = listen->client_cb;
	self->arg = listen->arg;
	self->acceptor = acceptor_new(listen->loop, fd, name, accepted, self);
	if (!self->acceptor)
		goto fail;
	*out = self;
	return 0;

fail:
	free(self);
	return error_set(error, -ENOMEM, "out of memory");
}

void socket_listener_give(struct socket_listener *listener,
			  struct stream *stream, int fd)
{
	if (stream) {
		listener->client_cb(stream, listener->arg);
		return;
	}
	log_warning("%s: refused a client: out of memory",
		    listener->listener.name);
	close(fd);
}

void socket_listener_close(struct listener *base)
{
	struct socket_listener *listener = (struct socket_listener *)base;

	acceptor_free(listener->acceptor);
	free(listener);
}

/* ---- connecting ---------------------------------------------------------- */

struct connector {
	int fd;
	int code; /* known at once; else asked for when writable */
	struct event *writable;
	connector_cb done;
	void *arg;
};

static void connector_destroy(struct connector *connector)
{
	if (connector->writable)
		event_free(connector->writable);
	free(connector);
}

static void connector_writable(evutil_socket_t fd, short what, void *arg)
{
	struct connector *connector = arg;
	connector_cb done = connector->done;
	void *done_arg = connector->arg;
	int code = connector->code;
	socklen_t bytes = sizeof(code);

	if (code == 0 &&
	    getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &bytes) < 0)
		code = errno;
	connector_destroy(connector);
	if (code) {
		close(fd);
		fd = -1;
	}
	done(fd, -code, done_arg);
}

struct connector *connector_new(struct loop *loop, int fd,
				const struct sockaddr *address,
				socklen_t address_bytes, connector_cb done,
				void *arg)
{
	struct connector *connector = calloc(1, sizeof(*connector));

	if (!connector)
		goto close_fd;
	connector->fd = fd;
	connector->done = done;
	connector->arg = arg;
	connector->writable = event_new(loop->base, fd, EV_WRITE,
					connector_writable, connector);
	if (!connector->writable)
		goto free_connector;
	if (connect(fd, address, address_bytes) < 0 && errno != EINPROGRESS &&
	    errno != EINTR)
		connector->code = errno;
	if (connector->code)
		event_active(connector->writable, EV_WRITE, 0);
	else if (event_add(connector->writable, NULL))
		goto free_connector;
	return connector;

free_connector:
	connector_destroy(connector);
close_fd:
	close(fd);
	errno = ENOMEM;
	return NULL;
}

int connector_release(struct connector *connector)
{
	int fd;

	if (!connector)
		return -1;
	fd = connector->fd;
	event_del(connector->writable);
	connector_destroy(connector);
	return fd;
}

void connector_free(struct connector *connector)
{
	int fd = connector_release(connector);

	if (fd >= 0)
		close(fd);
}
