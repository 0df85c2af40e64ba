/* SPDX-License-Identifier: MIT */
/*
 * Clients on socketpairs, the module that lets them in, and a fake target: what
 * the suites about sessions beside each other are made of.
 */
#ifndef BTGATE_TESTS_CLIENTS_FIXTURE_H
#define BTGATE_TESTS_CLIENTS_FIXTURE_H

#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "clients.h"
#include "config.h"
#include "endpoint.h"
#include "fake_target.h"
#include "log_lines.h"
#include "loop.h"
#include "socket.h"

#define DEADLINE_MS 20000
#define CLIENTS 8

static struct loop *loop;
static struct fake_target target;
static struct target *served; /* it, or what is around it */
static struct config_route config;
static struct clients *clients;
static unsigned int gone_count;
static int far_fd[CLIENTS]; /* the clients' own ends */
static unsigned int waited_ms; /* what those who come were kept waiting */
static bool are_devices; /* those who come have addresses */

/* A serial link: no half-close. */
static const struct stream_ops link_ops = {
	.read = socket_read,
	.write = socket_write,
	.close = socket_close,
};

static int do_admit(struct stream *stream)
{
	return send(stream->write_fd, "+", 1, MSG_NOSIGNAL) == 1 ? 0 : -EPIPE;
}

/* A phone's: told that it is connected when it is, here by a plus sign. */
static const struct stream_ops phone_ops = {
	.admit = do_admit,
	.read = socket_read,
	.write = socket_write,
	.close = socket_close,
};

static void on_gone(void *arg)
{
	gone_count++;
}

static void setup(void)
{
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	fake_init(&target, loop, &link_ops);
	served = &target.target;
	config = (struct config_route){
		.name = (char *)"test",
		.connect_timeout_ms = 5000,
		.linger_ms = 2000,
		.drain_timeout_ms = 5000,
	};
	clients = clients_new(loop, &config, NULL, on_gone, NULL);
	ck_assert_ptr_nonnull(clients);
	gone_count = 0;
	waited_ms = 0;
	are_devices = false;
	log_line_count = 0;
	for (int i = 0; i < CLIENTS; i++)
		far_fd[i] = -1;
}

static void teardown(void)
{
	clients_abort(clients);
	loop_flush(loop);
	ck_assert_uint_eq(clients_count(clients), 0);
	clients_free(clients);
	target_close(served);
	ck_assert(target.is_closed);
	fake_clear(&target);
	loop_free(loop);
	for (int i = 0; i < CLIENTS; i++)
		if (far_fd[i] >= 0)
			close(far_fd[i]);
}

/* ---- the world outside ------------------------------------------------------ */

static void turn(void)
{
	event_base_loop(loop->base, EVLOOP_NONBLOCK);
}

static void settle(void)
{
	for (int i = 0; i < 30; i++)
		turn();
}

static inline void come(int number)
{
	char peer[] = "client-0";
	struct stream *stream;
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX,
				    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
				    0, ends),
			 0);
	peer[7] = (char)('0' + number);
	far_fd[number] = ends[1];
	stream = socket_stream_new(&phone_ops, ends[0], peer);
	ck_assert_ptr_nonnull(stream);
	stream->waited_ms = waited_ms;
	stream->has_peer_address = are_devices;
	stream->peer_address.octets[5] = (uint8_t)number;
	clients_take(clients, stream, served);
}

static void leave(int number)
{
	close(far_fd[number]);
	far_fd[number] = -1;
}

static void put(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL),
			 (ssize_t)strlen(text));
}

static void expect(int fd, const char *text)
{
	uint64_t deadline = loop_now_ms() + DEADLINE_MS;
	size_t want = strlen(text), have = 0;
	char got[64];

	while (have < want) {
		ssize_t n = recv(fd, got + have, want - have, 0);

		ck_assert_msg(loop_now_ms() < deadline, "'%s' did not come",
			      text);
		ck_assert_msg(n != 0, "closed before '%s'", text);
		if (n > 0)
			have += (size_t)n;
		else
			turn();
	}
	ck_assert_mem_eq(got, text, want);
}

/* Nothing (more) was said to it, and it was closed. */
static inline void expect_closed(int fd)
{
	uint64_t deadline = loop_now_ms() + DEADLINE_MS;
	char byte;
	ssize_t n;

	while ((n = recv(fd, &byte, 1, 0)) < 0 && errno == EAGAIN) {
		ck_assert_msg(loop_now_ms() < deadline, "it stayed open");
		turn();
	}
	ck_assert_msg(n == 0 || errno == ECONNRESET, "not the end: %zd, %s", n,
		      strerror(errno));
}

static inline void expect_silence(int fd)
{
	char byte;

	settle();
	ck_assert_int_eq(recv(fd, &byte, 1, 0), -1);
	ck_assert_int_eq(errno, EAGAIN);
}

static inline void await_log(const char *text)
{
	uint64_t deadline = loop_now_ms() + DEADLINE_MS;

	while (!log_has(text)) {
		ck_assert_msg(loop_now_ms() < deadline, "no '%s' in the log",
			      text);
		turn();
	}
}

/* It is in, and the target hears it. */
static inline void expect_in(int number)
{
	expect(far_fd[number], "+");
	put(far_fd[number], "hello");
	expect(target.far_fd, "hello");
}

#endif
