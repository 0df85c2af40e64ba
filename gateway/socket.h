/* SPDX-License-Identifier: MIT */
/*
 * What endpoints over sockets have in common: a stream over one descriptor,
 * accepting without spinning when descriptors run out, connecting without
 * blocking.
 *
 * Knows sockets of any family; does not know addresses or who is calling.
 */
#ifndef BTGATE_SOCKET_H
#define BTGATE_SOCKET_H

#include <sys/socket.h>
#include <sys/types.h>

#include "endpoint.h"

struct error;
struct loop;

/* ---- a stream over one socket ------------------------------------------ */

struct socket_stream {
	struct stream stream;
};

/*
 * Takes over @fd; NULL with errno set, and @fd left open, without memory. @peer
 * is copied, at most STREAM_PEER_BYTES of it.
 */
struct stream *socket_stream_new(const struct stream_ops *ops, int fd,
				 const char *peer);
/* The same for one that begins something larger: @bytes of it, zeroed. */
struct stream *socket_stream_extend(const struct stream_ops *ops, size_t bytes,
				    int fd, const char *peer);

/* Ops to fill a stream_ops with. The write never raises SIGPIPE. */
ssize_t socket_read(struct stream *stream, void *buffer, size_t bytes);
/* For TCP alone: elsewhere MSG_TRUNC does not drop (recv(2)). */
ssize_t socket_peek(struct stream *stream, void *buffer, size_t bytes);
void socket_skip(struct stream *stream, size_t bytes);
ssize_t socket_write(struct stream *stream, const void *buffer, size_t bytes);
int socket_shutdown_write(struct stream *stream);
/* The error that is waiting on a socket, taken from it: 0 or -errno. */
int socket_check(struct stream *stream);
/* STREAM_CLOSE_ABORT is a reset where the family has one (SO_LINGER 0). */
void socket_close(struct stream *stream, enum stream_close how);

/* ---- accepting ---------------------------------------------------------- */

/* @fd, non-blocking and close-on-exec, now belongs to the callee. */
typedef void (*acceptor_cb)(int fd, void *arg);

struct acceptor;

/*
 * Accept on @listen_fd, which it takes over on success. Out of descriptors or
 * memory it says so once, pauses, and tries again each second: the waiting
 * clients stay in the kernel's queue. NULL with errno set.
 */
struct acceptor *acceptor_new(struct loop *loop, int listen_fd,
			      const char *name, acceptor_cb accepted,
			      void *arg);
/*
 * From now on it goes on when descriptors run out: it does not leave the last
 * ones to others, and has one more in reserve, for one client at a time.
 */
void acceptor_keep_spare(struct acceptor *acceptor);
void acceptor_free(struct acceptor *acceptor);

/* ---- listening ----------------------------------------------------------- */

/* What every listener over a socket begins with. */
struct socket_listener {
	struct listener listener;
	struct loop *loop;
	struct acceptor *acceptor;
	listener_client_cb client_cb;
	void *arg;
};

/* What the kinds' listen op is given, in one piece. */
struct socket_listen {
	struct loop *loop;
	listener_client_cb client_cb;
	void *arg;
};

/*
 * A listener over @fd, which it takes over on success: @bytes zeroed bytes that
 * begin with a struct socket_listener, the rest of them the kind's own.
 * @accepted is given each client's socket, and the listener as its argument.
 * -ENOMEM with a sentence.
 */
int socket_listener_new(const struct socket_listen *listen, size_t bytes,
			int fd, const struct listener_ops *ops,
			const char *name, acceptor_cb accepted,
			struct socket_listener **out, struct error *error);
/*
 * Give a client away: @stream was made of @fd, which is closed where that did
 * not work out and @stream is NULL.
 */
void socket_listener_give(struct socket_listener *listener,
			  struct stream *stream, int fd);
/* Stop listening and free it: an op where there is nothing else to do. */
void socket_listener_close(struct listener *listener);

/* ---- connecting ---------------------------------------------------------- */

/* @fd belongs to the callee; or it is -1 and @code is -errno. */
typedef void (*connector_cb)(int fd, int code, void *arg);

struct connector;

/*
 * Connect the non-blocking @fd, which it takes over whatever happens. Calls
 * back once, from the loop. NULL with errno set without memory.
 */
struct connector *connector_new(struct loop *loop, int fd,
				const struct sockaddr *address,
				socklen_t address_bytes, connector_cb done,
				void *arg);
/* Gives up the attempt. NULL is legal. */
void connector_free(struct connector *connector);
/*
 * Frees it, and leaves the descriptor to the caller, in the middle of its
 * attempt; -1 for NULL.
 */
int connector_release(struct connector *connector);

#endif
