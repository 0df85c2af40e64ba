/* SPDX-License-Identifier: MIT */
/*
 * tcp: listens on loopback unless told otherwise; connects to the first of the
 * host's addresses that answers. Nagle's algorithm is off at both ends: what
 * was read is passed on at once.
 */
#include "endpoint_tcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "address_endpoint.h"
#include "error.h"
#include "holder.h"
#include "loop.h"
#include "resolve.h"
#include "socket.h"
#include "tcp_peer.h"

#define BACKLOG 128
#define ADDRESSES_MAX 8
/*
 * How long one address may keep the next one waiting: a host whose IPv6 route
 * leads nowhere must not use up the whole deadline.
 */
#define ATTEMPT_MS 2000
/* About a second of what a Bluetooth link carries, doubled by the kernel. */
#define SLOW_BUFFER_BYTES (64 * 1024)

/* ---- streams ------------------------------------------------------------- */

struct tcp_stream {
	struct socket_stream base;
	struct tcp_peer peer;
};

static bool is_gone(const struct stream *stream)
{
	return tcp_peer_is_gone(&((const struct tcp_stream *)stream)->peer);
}

/* What it sent before it was given up is worth as much as ever. */
static ssize_t tcp_read(struct stream *stream, void *buffer, size_t bytes)
{
	ssize_t got = socket_read(stream, buffer, bytes);

	return got == 0 && is_gone(stream) ? -ETIMEDOUT : got;
}

static ssize_t tcp_peek(struct stream *stream, void *buffer, size_t bytes)
{
	ssize_t got = socket_peek(stream, buffer, bytes);

	return got == 0 && is_gone(stream) ? -ETIMEDOUT : got;
}

static ssize_t tcp_write(struct stream *stream, const void *buffer,
			 size_t bytes)
{
	ssize_t put;

	if (is_gone(stream))
		return -ETIMEDOUT;
	put = socket_write(stream, buffer, bytes);
	if (put > 0)
		tcp_peer_sent(&((struct tcp_stream *)stream)->peer);
	return put;
}

static int tcp_check(struct stream *stream)
{
	return is_gone(stream) ? -ETIMEDOUT : socket_check(stream);
}

static void tcp_close(struct stream *stream, enum stream_close how)
{
	/* Nobody is there to take an orderly end. */
	if (is_gone(stream))
		how = STREAM_CLOSE_ABORT;
	tcp_peer_clear(&((struct tcp_stream *)stream)->peer);
	socket_close(stream, how);
}

static const struct stream_ops tcp_stream_ops = {
	.read = tcp_read,
	.peek = tcp_peek,
	.skip = socket_skip,
	.write = tcp_write,
	.check = tcp_check,
	.shutdown_write = socket_shutdown_write,
	.close = tcp_close,
};

/* Takes over @fd; NULL, and @fd left open, without memory. */
static struct stream *tcp_stream_new(struct loop *loop, int fd,
				     unsigned int keepalive_s, const char *peer)
{
	const int on = 1;
	struct stream *stream = socket_stream_extend(
		&tcp_stream_ops, sizeof(struct tcp_stream), fd, peer);

	if (!stream)
		return NULL;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	tcp_peer_init(&((struct tcp_stream *)stream)->peer, loop, fd,
		      keepalive_s);
	return stream;
}

/*
 * Left alone, the kernel takes megabytes from a server before a stalled phone
 * is felt. The receive buffer is a listener's or a dialling socket's, because
 * the window is agreed on while connecting (tcp(7)); the kernel doubles it.
 */
static void keep_queue_short(int fd)
{
	const int receive_bytes = SLOW_BUFFER_BYTES;
	const int unsent_bytes = SLOW_BUFFER_BYTES;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes,
		   sizeof(receive_bytes));
	setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_bytes,
		   sizeof(unsent_bytes));
}

static void format_sockaddr(const struct sockaddr *address, socklen_t bytes,
			    char *text, size_t text_bytes)
{
	static const char mapped[] = "::ffff:"; /* IPv4 on a socket for both */
	char host[INET6_ADDRSTRLEN + 1], port[8];

	if (getnameinfo(address, bytes, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(text, text_bytes, "unknown");
	else if (!strncmp(host, mapped, strlen(mapped)) && strchr(host, '.'))
		snprintf(text, text_bytes, "%s:%s", host + strlen(mapped),
			 port);
	else
		snprintf(text, text_bytes,
			 strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

/* ---- listening ----------------------------------------------------------- */

struct tcp_listener {
	struct socket_listener base;
	unsigned int keepalive_s;
};

bool endpoint_tcp_peer(int fd, char text[STREAM_PEER_BYTES],
		       struct address_ip *ip)
{
	struct sockaddr_storage storage;
	struct sockaddr *address = (struct sockaddr *)&storage;
	socklen_t bytes = sizeof(storage);

	snprintf(text, STREAM_PEER_BYTES, "unknown");
	if (getpeername(fd, address, &bytes))
		return false;
	format_sockaddr(address, bytes, text, STREAM_PEER_BYTES);
	return address_ip_of_socket(address, ip);
}

static void tcp_accepted(int fd, void *arg)
{
	struct tcp_listener *listener = arg;
	char peer[STREAM_PEER_BYTES];
	struct address_ip ip;
	bool is_known = endpoint_tcp_peer(fd, peer, &ip);
	struct stream *stream = tcp_stream_new(listener->base.loop, fd,
					       listener->keepalive_s, peer);

	if (stream && is_known) {
		stream->has_peer_ip = true;
		stream->peer_ip = ip;
	}
	socket_listener_give(&listener->base, stream, fd);
}

/* The wildcard takes IPv4 too where the kernel has IPv6, else IPv4 alone. */
static socklen_t listen_address(const struct endpoint_tcp *tcp,
				struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
	const char *host = tcp->host;

	memset(out, 0, sizeof(*out));
	if (!strcmp(host, "localhost"))
		host = "127.0.0.1";
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(tcp->port);
		return sizeof(*v4);
	}
	memset(out, 0, sizeof(*out));
	if (!strcmp(host, "*") ||
	    inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(tcp->port);
		return sizeof(*v6);
	}
	return 0;
}

static int open_listen_socket(const struct endpoint_tcp *tcp, bool is_slow)
{
	struct sockaddr_storage address;
	socklen_t bytes = listen_address(tcp, &address);
	const int on = 1, off = 0;
	int fd, code;

	if (!bytes)
		return -EINVAL;
	fd = socket(address.ss_family,
		    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 && errno == EAFNOSUPPORT && !strcmp(tcp->host, "*")) {
		const struct endpoint_tcp v4 = {.host = (char *)"0.0.0.0",
						.port = tcp->port};

		return open_listen_socket(&v4, is_slow);
	}
	if (fd < 0)
		return -errno;
	if (is_slow)
		keep_queue_short(fd);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (!strcmp(tcp->host, "*"))
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, (struct sockaddr *)&address, bytes) == 0 &&
	    listen(fd, BACKLOG) == 0)
		return fd;
	code = -errno;
	close(fd);
	return code;
}

static int listen_error(const struct endpoint_tcp *tcp, int code,
			struct error *error)
{
	char holder[HOLDER_TEXT_BYTES];

	switch (-code) {
	case EADDRINUSE:
		holder_of_tcp_port(tcp->port, holder);
		return error_set(error, code,
				 "TCP port %u is held by %s; end that program "
				 "('sudo ss -ltnp sport = :%u' shows it), or "
				 "choose another port",
				 tcp->port, holder, tcp->port);
	case EACCES:
		return error_set(error, code,
				 "not allowed to listen on TCP port %u: ports "
				 "below 1024 need CAP_NET_BIND_SERVICE; choose "
				 "a higher one",
				 tcp->port);
	case EADDRNOTAVAIL:
		return error_set(error, code,
				 "cannot listen on %s: this machine has no "
				 "such address now; see 'ip address'",
				 tcp->host);
	case EINVAL:
		return error_set(error, code,
				 "cannot listen on '%s': give one of this "
				 "machine's addresses, 'localhost', or '*' for "
				 "all of them",
				 tcp->host);
	default:
		return error_set(error, code, "cannot listen on %s port %u: %s",
				 tcp->host, tcp->port, strerror(-code));
	}
}

int endpoint_tcp_listen(const struct endpoint_tcp *tcp, bool is_slow,
			struct error *error)
{
	int fd = open_listen_socket(tcp, is_slow);

	return fd < 0 ? listen_error(tcp, fd, error) : fd;
}

static int tcp_listen(struct loop *loop, const struct address_endpoint *address,
		      const struct endpoint_settings *settings,
		      listener_client_cb client_cb, void *arg,
		      struct listener **out, struct error *error)
{
	static const struct listener_ops ops = {.close = socket_listener_close};
	const struct socket_listen listen = {loop, client_cb, arg};
	const struct endpoint_tcp *tcp = &address->tcp;
	struct socket_listener *listener;
	char name[STREAM_PEER_BYTES];
	int fd = endpoint_tcp_listen(tcp, settings->is_slow, error);
	int code;

	if (fd < 0)
		return fd;
	snprintf(name, sizeof(name),
		 strchr(tcp->host, ':') ? "tcp:[%s]:%u" : "tcp:%s:%u",
		 tcp->host, tcp->port);
	code = socket_listener_new(&listen, sizeof(struct tcp_listener), fd,
				   &ops, name, tcp_accepted, &listener, error);
	if (code) {
		close(fd);
		return code;
	}
	((struct tcp_listener *)listener)->keepalive_s = tcp->keepalive_s;
	*out = &listener->listener;
	return 0;
}

/* ---- connecting ----------------------------------------------------------- */

TAILQ_HEAD(tcp_dial_list, tcp_dial);

struct tcp_target {
	struct target target;
	struct loop *loop;
	/*
	 * One look-up at a time for all who wait for it: a name server that
	 * does not answer costs one thread, however many clients call.
	 */
	struct resolve *resolve;
	struct tcp_dial_list looking_up;
	char *host;
	uint16_t port;
	unsigned int keepalive_s;
	bool is_slow;
};

/* Addresses tried one after the other; the last error is the one reported. */
struct tcp_dial {
	struct dial dial;
	struct tcp_target *target;
	TAILQ_ENTRY(tcp_dial) link;
	bool is_looking_up; /* linked */
	struct connector *connector;
	struct event *attempt_timer;
	struct sockaddr_storage addresses[ADDRESSES_MAX];
	socklen_t address_bytes[ADDRESSES_MAX];
	size_t address_count;
	size_t next;
	dial_done_cb done;
	void *arg;
};

static void tcp_dial_free(struct tcp_dial *dial)
{
	if (dial->is_looking_up)
		TAILQ_REMOVE(&dial->target->looking_up, dial, link);
	connector_free(dial->connector);
	if (dial->attempt_timer)
		event_free(dial->attempt_timer);
	free(dial);
}

static void tcp_dial_cancel(struct dial *base)
{
	tcp_dial_free((struct tcp_dial *)base);
}

static void tcp_dial_end(struct tcp_dial *dial, struct stream *stream, int code,
			 const struct error *error)
{
	dial_done_cb done = dial->done;
	void *arg = dial->arg;

	tcp_dial_free(dial);
	done(stream, code, error, arg);
}

static void tcp_dial_fail(struct tcp_dial *dial, int code)
{
	const struct tcp_target *target = dial->target;
	struct error error;

	if (code == -ECONNREFUSED)
		error_set(&error, code,
			  "%s port %u refused the connection: no program "
			  "listens there",
			  target->host, target->port);
	else
		error_set(&error, code, "cannot reach %s port %u: %s",
			  target->host, target->port, strerror(-code));
	tcp_dial_end(dial, NULL, code, &error);
}

static void tcp_dial_attempt(struct tcp_dial *dial);

static void tcp_connected(int fd, int code, void *arg)
{
	struct tcp_dial *dial = arg;
	char peer[STREAM_PEER_BYTES];
	struct stream *stream;
	size_t used = dial->next - 1;

	dial->connector = NULL;
	if (fd < 0 && dial->next < dial->address_count) {
		tcp_dial_attempt(dial);
		return;
	}
	if (fd < 0) {
		tcp_dial_fail(dial, code);
		return;
	}
	format_sockaddr((struct sockaddr *)&dial->addresses[used],
			dial->address_bytes[used], peer, sizeof(peer));
	stream = tcp_stream_new(dial->target->loop, fd,
				dial->target->keepalive_s, peer);
	if (!stream) {
		close(fd);
		tcp_dial_fail(dial, -ENOMEM);
		return;
	}
	tcp_dial_end(dial, stream, 0, NULL);
}

static void tcp_attempt_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct tcp_dial *dial = arg;

	connector_free(dial->connector);
	dial->connector = NULL;
	tcp_dial_attempt(dial);
}

/* Try the next address; in the end, fail with the last one's error. */
static void tcp_dial_attempt(struct tcp_dial *dial)
{
	int code = -EADDRNOTAVAIL;

	event_del(dial->attempt_timer);
	while (dial->next < dial->address_count) {
		struct sockaddr_storage *address = &dial->addresses[dial->next];
		int fd = socket(address->ss_family,
				SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

		dial->next++;
		if (fd >= 0 && dial->target->is_slow)
			keep_queue_short(fd);
		if (fd >= 0)
			dial->connector = connector_new(
				dial->target->loop, fd,
				(struct sockaddr *)address,
				dial->address_bytes[dial->next - 1],
				tcp_connected, dial);
		if (dial->connector) {
			if (dial->next < dial->address_count)
				loop_start_timer(dial->attempt_timer,
						 ATTEMPT_MS);
			return;
		}
		code = -errno;
	}
	tcp_dial_fail(dial, code);
}

static void tcp_dial_resolved(struct tcp_dial *dial,
			      const struct addrinfo *list, const char *why)
{
	struct error error;

	if (!list) {
		error_set(&error, -EHOSTUNREACH,
			  "cannot find the address of host '%s': %s",
			  dial->target->host, why);
		tcp_dial_end(dial, NULL, -EHOSTUNREACH, &error);
		return;
	}
	for (; list && dial->address_count < ADDRESSES_MAX;
	     list = list->ai_next) {
		memcpy(&dial->addresses[dial->address_count], list->ai_addr,
		       list->ai_addrlen);
		dial->address_bytes[dial->address_count++] = list->ai_addrlen;
	}
	tcp_dial_attempt(dial);
}

static void tcp_resolved(const struct addrinfo *list, const char *why,
			 void *arg)
{
	struct tcp_target *target = arg;
	struct tcp_dial *dial;

	target->resolve = NULL;
	while ((dial = TAILQ_FIRST(&target->looking_up))) {
		TAILQ_REMOVE(&target->looking_up, dial, link);
		dial->is_looking_up = false;
		tcp_dial_resolved(dial, list, why);
	}
}

static struct dial *tcp_dial(struct target *base, dial_done_cb done, void *arg)
{
	static const struct dial_ops ops = {.cancel = tcp_dial_cancel};
	struct tcp_target *target = (struct tcp_target *)base;
	struct tcp_dial *dial = calloc(1, sizeof(*dial));

	if (!dial)
		return NULL;
	dial->dial.ops = &ops;
	dial->target = target;
	dial->done = done;
	dial->arg = arg;
	dial->attempt_timer = evtimer_new(target->loop->base,
					  tcp_attempt_timeout, dial);
	if (dial->attempt_timer && !target->resolve)
		target->resolve = resolve_new(target->loop, target->host,
					      target->port, tcp_resolved,
					      target);
	if (!dial->attempt_timer || !target->resolve) {
		tcp_dial_free(dial);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&target->looking_up, dial, link);
	dial->is_looking_up = true;
	return &dial->dial;
}

static void tcp_target_close(struct target *base)
{
	struct tcp_target *target = (struct tcp_target *)base;

	resolve_cancel(target->resolve);
	free(target->host);
	free(target);
}

static int tcp_open_target(struct loop *loop,
			   const struct address_endpoint *address,
			   const struct endpoint_settings *settings,
			   struct target **out, struct error *error)
{
	static const struct target_ops ops = {
		.dial = tcp_dial,
		.close = tcp_target_close,
	};
	struct tcp_target *target = calloc(1, sizeof(*target));

	if (target)
		target->host = strdup(address->tcp.host);
	if (!target || !target->host) {
		free(target);
		return error_set(error, -ENOMEM, "out of memory");
	}
	target->target.ops = &ops;
	TAILQ_INIT(&target->looking_up);
	target->loop = loop;
	target->port = address->tcp.port;
	target->keepalive_s = address->tcp.keepalive_s;
	target->is_slow = settings->is_slow;
	snprintf(target->target.name, sizeof(target->target.name),
		 strchr(target->host, ':') ? "tcp:[%s]:%u" : "tcp:%s:%u",
		 target->host, target->port);
	*out = &target->target;
	return 0;
}

const struct endpoint_ops endpoint_tcp_ops = {
	.listen = tcp_listen,
	.open_target = tcp_open_target,
};
