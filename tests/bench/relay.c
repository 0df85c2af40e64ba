/* SPDX-License-Identifier: MIT */
/*
 * The benchmark's reference: as small as a correct relay on libevent's events can
 * be. One buffer for all, what was read is written at once, and only what was not
 * taken is kept; then that side is not read until it is gone. TCP to TCP, nothing
 * else: no limits, no timeouts, no log, no half-close but both at once. A larger
 * buffer shows what that alone is worth, where all of it may be kept.
 * usage: relay LISTEN-PORT CONNECT-PORT [BUFFER-KIB]
 */
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_KIB 64

struct side {
	int fd;
	struct event *readable, *writable;
	struct side *other;
	uint8_t *kept; /* for this one, not taken yet */
	size_t kept_from, kept_bytes;
};

struct pair {
	struct side client, target;
};

static struct event_base *base;
static uint8_t *buffer;
static size_t buffer_bytes;
static struct sockaddr_in target_address = { .sin_family = AF_INET };

static void side_clear(struct side *side)
{
	if (side->readable)
		event_free(side->readable);
	if (side->writable)
		event_free(side->writable);
	free(side->kept);
	close(side->fd);
}

static void pair_free(struct side *side)
{
	/* The client is the first in it. */
	struct pair *pair = (struct pair *)(side < side->other ? side
							       : side->other);

	side_clear(&pair->client);
	side_clear(&pair->target);
	free(pair);
}

static void readable(evutil_socket_t fd, short what, void *arg)
{
	struct side *side = arg, *other = side->other;
	ssize_t n = read(fd, buffer, buffer_bytes), written;

	(void)what;
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		pair_free(side);
		return;
	}
	written = write(other->fd, buffer, (size_t)n);
	if (written < 0 && errno == EAGAIN)
		written = 0;
	if (written < 0) {
		pair_free(side);
		return;
	}
	if (written == n)
		return;
	other->kept_from = 0;
	other->kept_bytes = (size_t)(n - written);
	other->kept = malloc(other->kept_bytes);
	if (!other->kept)
		abort();
	memcpy(other->kept, buffer + written, other->kept_bytes);
	event_del(side->readable);
	event_add(other->writable, NULL);
}

static void writable(evutil_socket_t fd, short what, void *arg)
{
	struct side *side = arg;
	ssize_t n = write(fd, side->kept + side->kept_from, side->kept_bytes);

	(void)what;
	if (n < 0 && errno == EAGAIN)
		n = 0;
	if (n < 0) {
		pair_free(side);
		return;
	}
	side->kept_from += (size_t)n;
	side->kept_bytes -= (size_t)n;
	if (side->kept_bytes)
		return;
	free(side->kept);
	side->kept = NULL;
	event_del(side->writable);
	event_add(side->other->readable, NULL);
}

static void side_init(struct side *side, int fd, struct side *other)
{
	int one = 1;

	evutil_make_socket_nonblocking(fd);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	side->fd = fd;
	side->other = other;
	side->readable = event_new(base, fd, EV_READ | EV_PERSIST, readable,
				   side);
	side->writable = event_new(base, fd, EV_WRITE | EV_PERSIST, writable,
				   side);
	if (!side->readable || !side->writable)
		abort();
	event_add(side->readable, NULL);
}

static void acceptable(evutil_socket_t fd, short what, void *arg)
{
	int client = accept(fd, NULL, NULL), target;
	struct pair *pair;

	(void)what;
	(void)arg;
	if (client < 0)
		return;
	/* Loopback: a connection is there or refused at once. */
	target = socket(AF_INET, SOCK_STREAM, 0);
	if (target < 0 ||
	    connect(target, (struct sockaddr *)&target_address,
		    sizeof(target_address)) < 0) {
		perror("relay: connect");
		close(client);
		if (target >= 0)
			close(target);
		return;
	}
	pair = calloc(1, sizeof(*pair));
	if (!pair)
		abort();
	side_init(&pair->client, client, &pair->target);
	side_init(&pair->target, target, &pair->client);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	struct rlimit files;
	int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
	struct event *event;

	if (argc != 3 && argc != 4) {
		fputs("usage: relay LISTEN-PORT CONNECT-PORT [BUFFER-KIB]\n",
		      stderr);
		return 2;
	}
	buffer_bytes = 1024 * (argc == 4 ? strtoul(argv[3], NULL, 10)
					 : BUFFER_KIB);
	buffer = malloc(buffer_bytes);
	if (!buffer)
		abort();
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	signal(SIGPIPE, SIG_IGN);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons((uint16_t)atoi(argv[1]));
	target_address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	target_address.sin_port = htons((uint16_t)atoi(argv[2]));
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 4096) < 0) {
		perror("relay: listen");
		return 1;
	}
	base = event_base_new();
	event = event_new(base, listener, EV_READ | EV_PERSIST, acceptable,
			  NULL);
	if (!event || event_add(event, NULL) < 0)
		abort();
	return event_base_dispatch(base) < 0;
}
