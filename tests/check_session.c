/* SPDX-License-Identifier: MIT */
/*
 * The pump, on socketpairs: unix pairs for kinds with half-close, the same
 * pairs behind ops without it for RFCOMM's manners, TCP pairs for resets.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "endpoint.h"
#include "loop.h"
#include "session.h"
#include "socket.h"
#include "tcp_end.h"

#define DEADLINE_MS 20000
#define MEGABYTE (1024 * 1024)

static struct loop *loop;
static struct session *session;
static struct session_settings settings;
static int client_fd, target_fd; /* the far ends */
static bool is_ended;
static char reason[SESSION_REASON_BYTES];
static struct session_counters counters;

/* ---- streams to test with --------------------------------------------------- */

static ssize_t link_read(struct stream *stream, void *buffer, size_t bytes)
{
	ssize_t got = socket_read(stream, buffer, bytes);

	return got == -ECONNRESET ? 0 : got;
}

static const struct stream_ops whole_ops = {
	.read = socket_read,
	.write = socket_write,
	.check = socket_check,
	.shutdown_write = socket_shutdown_write,
	.close = socket_close,
};

static unsigned int peeks, reads, parts; /* parts: of what a peek saw */
static size_t peeked_bytes;

static ssize_t counted_read(struct stream *stream, void *buffer, size_t bytes)
{
	reads++;
	return socket_read(stream, buffer, bytes);
}

static ssize_t counted_peek(struct stream *stream, void *buffer, size_t bytes)
{
	ssize_t got = socket_peek(stream, buffer, bytes);

	peeks++;
	peeked_bytes = got > 0 ? (size_t)got : 0;
	return got;
}

static void counted_skip(struct stream *stream, size_t bytes)
{
	parts += bytes > 0 && bytes < peeked_bytes;
	socket_skip(stream, bytes);
}

static const struct stream_ops tcp_ops = {
	.read = counted_read,
	.peek = counted_peek,
	.skip = counted_skip,
	.write = socket_write,
	.check = socket_check,
	.shutdown_write = socket_shutdown_write,
	.close = socket_close,
};

/* A serial link: no half-close, no reset. */
static const struct stream_ops link_ops = {
	.read = link_read,
	.write = socket_write,
	.close = socket_close,
};

/* A port: what was written goes out at its own pace. */
static size_t port_left, port_step;
static unsigned int port_asked;
static bool port_was_stopping, port_was_closed;

static size_t port_finish(struct stream *stream, bool is_stopping)
{
	port_asked++;
	port_was_stopping = is_stopping;
	port_left -= port_step < port_left ? port_step : port_left;
	return port_left;
}

static void port_close(struct stream *stream, enum stream_close how)
{
	port_was_closed = true;
	socket_close(stream, how);
}

static const struct stream_ops port_ops = {
	.read = link_read,
	.write = socket_write,
	.finish = port_finish,
	.close = port_close,
};

static struct stream *unix_end(const struct stream_ops *ops, int *far)
{
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX,
				    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
				    0, ends),
			 0);
	*far = ends[1];
	return socket_stream_new(ops, ends[0], "peer");
}

static void on_end(struct session *ended, void *arg)
{
	is_ended = true;
	counters = *session_counters(ended);
	session_format_reason(ended, reason);
	session = NULL;
}

static void on_other_end(struct session *ended, void *arg)
{
	*(bool *)arg = true;
}

static void start_with(struct stream *client, struct stream *target,
		       unsigned int linger_ms, unsigned int drain_timeout_ms)
{
	settings = (struct session_settings){
		.linger_ms = linger_ms,
		.drain_timeout_ms = drain_timeout_ms,
		.ended = on_end,
	};
	is_ended = false;
	session = session_new(loop, client, target, &settings, 0, NULL);
	ck_assert_ptr_nonnull(session);
}

static void start(const struct stream_ops *client,
		  const struct stream_ops *target)
{
	start_with(unix_end(client, &client_fd), unix_end(target, &target_fd),
		   2000, 5000);
}

static void setup(void)
{
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	client_fd = target_fd = -1;
	peeks = reads = parts = 0;
}

static void teardown(void)
{
	if (session)
		session_abort(session);
	loop_flush(loop);
	loop_free(loop);
	if (client_fd >= 0)
		close(client_fd);
	if (target_fd >= 0)
		close(target_fd);
}

/* ---- the world outside ------------------------------------------------------ */

static void turn(void)
{
	event_base_loop(loop->base, EVLOOP_NONBLOCK);
}

/* Turn the loop until nothing more happens by itself. */
static void settle(void)
{
	for (int i = 0; i < 50; i++)
		turn();
}

static void await_end(void)
{
	uint64_t deadline = loop_now_ms() + DEADLINE_MS;

	while (!is_ended) {
		ck_assert_msg(loop_now_ms() < deadline, "no end came");
		event_base_loop(loop->base, EVLOOP_ONCE);
	}
}

static void hang_up(int *fd)
{
	close(*fd);
	*fd = -1;
}

static void put(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL),
			 (ssize_t)strlen(text));
}

/* Exactly @text comes, and no more for now. */
static void expect(int fd, const char *text)
{
	uint64_t deadline = loop_now_ms() + DEADLINE_MS;
	size_t want = strlen(text), have = 0;
	char got[256];

	while (have < want) {
		ssize_t n = recv(fd, got + have, sizeof(got) - have, 0);

		ck_assert_msg(loop_now_ms() < deadline, "'%s' did not come",
			      text);
		ck_assert_msg(n != 0, "closed before '%s'", text);
		if (n > 0)
			have += (size_t)n;
		else
			turn();
	}
	ck_assert_mem_eq(got, text, want);
	ck_assert_uint_eq(have, want);
}

static void expect_closed(int fd)
{
	uint64_t deadline = loop_now_ms() + DEADLINE_MS;
	char byte;
	ssize_t n;

	while ((n = recv(fd, &byte, 1, 0)) < 0 && errno == EAGAIN) {
		ck_assert_msg(loop_now_ms() < deadline, "it stayed open");
		turn();
	}
	ck_assert_msg(n == 0, "not the end: %zd, %s", n, strerror(errno));
}

static void expect_silence(int fd)
{
	char byte;

	settle();
	ck_assert_int_eq(recv(fd, &byte, 1, 0), -1);
	ck_assert_int_eq(errno, EAGAIN);
}

/* Write until the session takes no more; how much it swallowed. */
static size_t fill(int fd)
{
	static const uint8_t chunk[16384];
	size_t total = 0;
	int idle = 0;

	while (idle < 5) {
		ssize_t n = send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL);

		if (n > 0) {
			total += (size_t)n;
			idle = 0;
		} else {
			idle++;
			settle();
		}
	}
	return total;
}

/* Until nothing more comes, but not before there were @bytes_min. */
static size_t read_all(int fd, size_t bytes_min)
{
	static uint8_t buffer[65536];
	uint64_t deadline = loop_now_ms() + DEADLINE_MS;
	size_t total = 0;
	int idle = 0;

	while (idle < 5 || (total < bytes_min && loop_now_ms() < deadline)) {
		ssize_t n = recv(fd, buffer, sizeof(buffer), 0);

		total += n > 0 ? (size_t)n : 0;
		idle = n > 0 ? 0 : idle + 1;
		settle();
	}
	return total;
}

/* ---- bytes -------------------------------------------------------------------- */

struct pieces {
	size_t send, read; /* at most */
	bool in_floods; /* nothing is read as long as more can be sent */
};

/* Push pseudo-random bytes in odd pieces one way and compare what comes out. */
static void transfer_pieces(int from, int to, size_t total,
			    const struct pieces *pieces)
{
	uint8_t *sent = malloc(total), *got = malloc(total);
	uint64_t deadline;
	size_t in = 0, out = 0;
	unsigned int seed = 7;

	for (size_t i = 0; i < total; i++)
		sent[i] = (uint8_t)(rand_r(&seed) >> 4);
	deadline = loop_now_ms() + DEADLINE_MS;
	while (out < total) {
		size_t piece = 1 + (size_t)rand_r(&seed) % pieces->send;
		ssize_t n;

		ck_assert_msg(loop_now_ms() < deadline, "stuck at %zu", out);
		if (piece > total - in)
			piece = total - in;
		n = piece ? send(from, sent + in, piece, MSG_NOSIGNAL) : 0;
		in += n > 0 ? (size_t)n : 0;
		turn();
		if (n > 0 && pieces->in_floods)
			continue;
		piece = pieces->read < total - out ? pieces->read : total - out;
		n = recv(to, got + out, piece, 0);
		out += n > 0 ? (size_t)n : 0;
	}
	ck_assert_mem_eq(sent, got, total);
	free(sent);
	free(got);
}

static void transfer(int from, int to, size_t total, size_t read_piece)
{
	const struct pieces pieces = {.send = 30000, .read = read_piece};

	transfer_pieces(from, to, total, &pieces);
}

START_TEST(every_byte_value)
{
	char all[256];

	start(&link_ops, &whole_ops);
	for (int i = 0; i < 256; i++)
		all[i] = (char)(255 - i);
	for (int way = 0; way < 2; way++) {
		char got[256];
		int from = way ? target_fd : client_fd;
		int to = way ? client_fd : target_fd;

		ck_assert_int_eq(send(from, all, 256, 0), 256);
		settle();
		ck_assert_int_eq(recv(to, got, 256, 0), 256);
		ck_assert_mem_eq(got, all, 256);
	}
}
END_TEST

START_TEST(megabytes_up_to_a_slow_reader)
{
	start(&link_ops, &whole_ops);
	transfer(client_fd, target_fd, 3 * MEGABYTE, 5000);
	hang_up(&client_fd);
	expect_closed(target_fd);
	hang_up(&target_fd);
	await_end();
	ck_assert_uint_eq(counters.up_bytes, 3 * MEGABYTE);
	ck_assert_uint_eq(counters.lost_bytes, 0);
}
END_TEST

START_TEST(megabytes_down_to_a_slow_reader)
{
	start(&link_ops, &whole_ops);
	transfer(target_fd, client_fd, 3 * MEGABYTE, 5000);
	hang_up(&target_fd);
	await_end();
	ck_assert_str_eq(reason, "target closed");
	ck_assert_uint_eq(counters.down_bytes, 3 * MEGABYTE);
}
END_TEST

START_TEST(a_byte_at_a_time)
{
	start(&whole_ops, &link_ops);
	transfer(client_fd, target_fd, 2000, 1);
	transfer(target_fd, client_fd, 2000, 1);
}
END_TEST

/* Large reads, which stalls turn into small ones and back. */
START_TEST(megabytes_over_tcp_with_stalls)
{
	start_with(tcp_end(&tcp_ops, "peer", &client_fd),
		   tcp_end(&tcp_ops, "peer", &target_fd), 2000, 5000);
	for (int i = 0; i < 3; i++) {
		size_t swallowed;

		transfer(client_fd, target_fd, 8 * MEGABYTE, 4 * MEGABYTE);
		swallowed = fill(client_fd);
		ck_assert_uint_eq(read_all(target_fd, swallowed), swallowed);
		transfer(target_fd, client_fd, 8 * MEGABYTE, 70000);
	}
	fill(client_fd);
	session_abort(session);
	loop_flush(loop);
	/*
	 * What it held is all that it can lose. Nothing, if the target had just
	 * taken a whole piece: the next one is only looked at where it is.
	 */
	ck_assert_uint_le(counters.lost_bytes, 32 * 1024);
	session = NULL;
}
END_TEST

/* Of what was looked at some was passed on, and the rest comes again. */
START_TEST(megabytes_over_tcp_peeked_at_in_part)
{
	const struct pieces floods = {
		.send = MEGABYTE,
		.read = 4 * MEGABYTE,
		.in_floods = true,
	};

	start_with(tcp_end(&tcp_ops, "peer", &client_fd),
		   tcp_end(&tcp_ops, "peer", &target_fd), 2000, 5000);
	transfer_pieces(client_fd, target_fd, 32 * MEGABYTE, &floods);
	ck_assert_uint_gt(parts, 0);
	parts = 0;
	transfer_pieces(target_fd, client_fd, 32 * MEGABYTE, &floods);
	ck_assert_uint_gt(parts, 0);
}
END_TEST

/* More than the smallest peek, less than the kernel takes at once. */
#define SOME_BYTES 400000

static void put_zeros(int fd, size_t bytes)
{
	static const uint8_t zeros[SOME_BYTES];

	ck_assert_int_eq(send(fd, zeros, bytes, MSG_NOSIGNAL), (int)bytes);
}

/* Large reads are peeks: what is not taken stays where it is. */
START_TEST(reads_are_large_where_one_way_or_others_are_busy)
{
	enum {
		ONE_WAY,
		BOTH_WAYS,
		BESIDE_OTHERS,
		LOADS
	};

	start_with(tcp_end(&tcp_ops, "peer", &client_fd),
		   tcp_end(&tcp_ops, "peer", &target_fd), 2000, 5000);
	for (int load = ONE_WAY; load < LOADS; load++) {
		for (int round = 0; round < 10; round++) {
			if (round == 8)
				peeks = 0; /* the rule has settled by now */
			if (load == BESIDE_OTHERS)
				loop_count_read(loop, &peeks);
			put_zeros(client_fd, SOME_BYTES);
			if (load != ONE_WAY)
				put_zeros(target_fd, SOME_BYTES);
			ck_assert_uint_eq(read_all(target_fd, SOME_BYTES),
					  SOME_BYTES);
			if (load != ONE_WAY)
				ck_assert_uint_eq(read_all(client_fd,
							   SOME_BYTES),
						  SOME_BYTES);
		}
		ck_assert_int_eq(peeks > 0, load != BOTH_WAYS);
	}
}
END_TEST

/* A peek that finds little is one system call more and keeps the window small. */
START_TEST(what_comes_in_small_windows_is_read)
{
	const size_t window = 100000; /* more than a read, less than a peek */

	start_with(tcp_end(&tcp_ops, "peer", &client_fd),
		   tcp_end(&tcp_ops, "peer", &target_fd), 2000, 5000);
	/* Also where there was more of it before. */
	for (int round = 0; round < 10; round++) {
		put_zeros(client_fd, SOME_BYTES);
		ck_assert_uint_eq(read_all(target_fd, SOME_BYTES), SOME_BYTES);
	}
	for (int round = 0; round < 40; round++) {
		if (round == 10)
			reads = peeks = 0;
		put_zeros(client_fd, window);
		ck_assert_uint_eq(read_all(target_fd, window), window);
	}
	/* A read between two of them. */
	ck_assert_uint_gt(peeks, 1);
	ck_assert_msg(peeks - 1 <= reads, "%u peeks and %u reads", peeks,
		      reads);
}
END_TEST

/* A message takes a read, not a look and a read. */
START_TEST(messages_after_megabytes_are_not_peeked_at)
{
	start_with(tcp_end(&tcp_ops, "peer", &client_fd),
		   tcp_end(&tcp_ops, "peer", &target_fd), 2000, 5000);
	for (int round = 0; round < 10; round++) {
		put_zeros(client_fd, SOME_BYTES);
		ck_assert_uint_eq(read_all(target_fd, SOME_BYTES), SOME_BYTES);
	}
	ck_assert_uint_gt(peeks, 0);
	for (int message = 0; message < 10; message++) {
		if (message == 5)
			peeks = 0;
		ck_assert_int_eq(send(client_fd, "message", 7, 0), 7);
		ck_assert_uint_eq(read_all(target_fd, 7), 7);
	}
	ck_assert_uint_eq(peeks, 0);
}
END_TEST

/* ---- back-pressure ---------------------------------------------------------------- */

START_TEST(a_target_that_never_reads_stops_the_client)
{
	size_t swallowed;
	int wakeups = 0;

	start(&link_ops, &whole_ops);
	swallowed = fill(client_fd);
	/* Two socket buffers of about 200 KiB, and what the session holds. */
	ck_assert_msg(swallowed < MEGABYTE, "%zu bytes", swallowed);
	/* Stalled, it sleeps. */
	for (int i = 0; i < 100; i++)
		wakeups += event_base_loop(loop->base, EVLOOP_NONBLOCK) == 0 &&
			   event_base_get_num_events(loop->base,
						     EVENT_BASE_COUNT_ACTIVE);
	ck_assert_int_eq(wakeups, 0);
	/* The other way still works. */
	put(target_fd, "still here");
	expect(client_fd, "still here");
	/* And nothing was lost. */
	ck_assert_uint_eq(read_all(target_fd, swallowed), swallowed);
}
END_TEST

START_TEST(both_ways_stalled_then_released)
{
	size_t up, down;

	start(&whole_ops, &whole_ops);
	up = fill(client_fd);
	down = fill(target_fd);
	ck_assert_uint_eq(read_all(target_fd, up), up);
	ck_assert_uint_eq(read_all(client_fd, down), down);
}
END_TEST

START_TEST(a_stalled_session_leaves_others_alone)
{
	int other_client, other_target;
	struct stream *client = unix_end(&link_ops, &other_client);
	struct stream *target = unix_end(&whole_ops, &other_target);
	const struct session_settings others = {
		.linger_ms = 2000,
		.drain_timeout_ms = 5000,
		.ended = on_other_end,
	};
	struct session *other;
	bool is_other_ended = false;

	start(&link_ops, &whole_ops);
	fill(client_fd);
	other = session_new(loop, client, target, &others, 0, &is_other_ended);
	transfer(other_client, other_target, MEGABYTE, 60000);
	session_abort(other);
	loop_flush(loop);
	ck_assert(is_other_ended);
	close(other_client);
	close(other_target);
}
END_TEST

static void reset_client(void)
{
	const struct linger reset = {.l_onoff = 1, .l_linger = 0};

	setsockopt(client_fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	hang_up(&client_fd);
}

/* The usual end of one who did not read all of the answer: not a cut. */
START_TEST(what_came_before_a_reset_is_delivered)
{
	size_t delivered;

	start_with(tcp_end(&tcp_ops, "peer", &client_fd),
		   unix_end(&whole_ops, &target_fd), 2000, 60000);
	fill(client_fd);
	reset_client();
	settle();
	ck_assert(!session_has_client(session));
	delivered = read_all(target_fd, 0);
	ck_assert_uint_gt(delivered, 0);
	expect_closed(target_fd);
	hang_up(&target_fd);
	await_end();
	ck_assert_str_eq(reason, "client broke off: Connection reset by peer");
	ck_assert_uint_eq(counters.up_bytes, delivered);
	ck_assert_uint_eq(counters.lost_bytes, 0);
}
END_TEST

START_TEST(a_reset_while_stalled_is_noticed)
{
	start_with(tcp_end(&tcp_ops, "peer", &client_fd),
		   unix_end(&whole_ops, &target_fd), 2000, 50);
	fill(client_fd);
	reset_client();
	await_end();
	ck_assert_str_eq(reason, "client broke off: Connection reset by peer");
	ck_assert_uint_gt(counters.lost_bytes, 0);
}
END_TEST

/* Both gone, one while it was paused: nobody is left to wait for. */
START_TEST(both_reset_while_stalled)
{
	const struct linger reset = {.l_onoff = 1, .l_linger = 0};

	start_with(tcp_end(&tcp_ops, "peer", &client_fd),
		   tcp_end(&tcp_ops, "peer", &target_fd), 2000, 60000);
	fill(client_fd);
	if (_i & 1)
		fill(target_fd);
	setsockopt(target_fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (_i & 2)
		hang_up(&target_fd);
	else
		reset_client();
	settle();
	if (_i & 2)
		reset_client();
	else
		hang_up(&target_fd);
	await_end();
}
END_TEST

/* What it says to nobody is not read for as long as it likes. */
START_TEST(a_target_that_never_falls_silent_is_let_go_at_once)
{
	start_with(tcp_end(&tcp_ops, "peer", &client_fd),
		   unix_end(&whole_ops, &target_fd), 2000, 60000);
	reset_client();
	for (int i = 0; i < 20 && !is_ended; i++)
		fill(target_fd);
	ck_assert(is_ended);
	session = NULL;
	ck_assert_uint_le(counters.lost_bytes, 2 * MEGABYTE);
}
END_TEST

START_TEST(a_client_of_a_broken_target_is_told_at_once)
{
	char byte;

	start_with(tcp_end(&tcp_ops, "peer", &client_fd),
		   tcp_end(&tcp_ops, "peer", &target_fd), 2000, 60000);
	put(target_fd, "half");
	expect(client_fd, "half");
	{
		const struct linger reset = {.l_onoff = 1, .l_linger = 0};

		setsockopt(target_fd, SOL_SOCKET, SO_LINGER, &reset,
			   sizeof(reset));
		hang_up(&target_fd);
	}
	await_end();
	ck_assert_str_eq(reason, "target broke off: Connection reset by peer");
	ck_assert_int_eq(recv(client_fd, &byte, 1, 0), -1);
	ck_assert_int_eq(errno, ECONNRESET);
}
END_TEST

START_TEST(a_link_that_ends_while_stalled_is_delivered)
{
	size_t swallowed;

	start(&link_ops, &whole_ops);
	swallowed = fill(client_fd);
	hang_up(&client_fd);
	settle();
	ck_assert_uint_eq(read_all(target_fd, swallowed), swallowed);
	hang_up(&target_fd);
	await_end();
	ck_assert_str_eq(reason, "client closed");
	ck_assert_uint_eq(counters.up_bytes, swallowed);
	ck_assert_uint_eq(counters.lost_bytes, 0);
}
END_TEST

START_TEST(a_drain_that_does_not_get_on_ends)
{
	start_with(unix_end(&link_ops, &client_fd),
		   unix_end(&whole_ops, &target_fd), 2000, 50);
	fill(client_fd);
	hang_up(&client_fd);
	await_end();
	ck_assert_str_eq(reason, "client closed");
	ck_assert_uint_gt(counters.lost_bytes, 0);
}
END_TEST

/* ---- ends ------------------------------------------------------------------------- */

START_TEST(half_close_up_and_a_late_answer)
{
	start_with(unix_end(&whole_ops, &client_fd),
		   unix_end(&whole_ops, &target_fd), 1, 1);
	put(client_fd, "question");
	shutdown(client_fd, SHUT_WR);
	expect(target_fd, "question");
	expect_closed(target_fd);
	/* Longer than either timer: neither may apply. */
	usleep(20000);
	expect_silence(client_fd);
	put(target_fd, "answer");
	expect(client_fd, "answer");
	hang_up(&target_fd);
	expect_closed(client_fd);
	await_end();
	ck_assert_str_eq(reason, "client closed");
}
END_TEST

START_TEST(half_close_down_and_more_to_say)
{
	start(&whole_ops, &whole_ops);
	put(target_fd, "banner");
	shutdown(target_fd, SHUT_WR);
	expect(client_fd, "banner");
	expect_closed(client_fd);
	put(client_fd, "and another thing");
	expect(target_fd, "and another thing");
	hang_up(&client_fd);
	expect_closed(target_fd);
	await_end();
}
END_TEST

START_TEST(a_link_gets_all_before_its_target_s_end)
{
	start(&link_ops, &whole_ops);
	put(target_fd, "last words");
	hang_up(&target_fd);
	expect(client_fd, "last words");
	expect_closed(client_fd);
	await_end();
	ck_assert_str_eq(reason, "target closed");
}
END_TEST

START_TEST(a_client_half_closed_to_a_link_gets_its_answer)
{
	start_with(unix_end(&whole_ops, &client_fd),
		   unix_end(&link_ops, &target_fd), 100, 5000);
	put(client_fd, "ATI\r");
	shutdown(client_fd, SHUT_WR);
	expect(target_fd, "ATI\r");
	expect_silence(target_fd);
	put(target_fd, "ELM327");
	expect(client_fd, "ELM327");
	/* Silence for linger_ms, and then the link is hung up. */
	await_end();
	expect_closed(target_fd);
	ck_assert_str_eq(reason, "client closed");
}
END_TEST

START_TEST(what_a_broken_side_sent_is_delivered)
{
	start(&link_ops, &whole_ops);
	put(client_fd, "goodbye");
	hang_up(&client_fd);
	/* Its end is found by writing to it, before it is read. */
	put(target_fd, "hello?");
	expect(target_fd, "goodbye");
	expect_closed(target_fd);
	hang_up(&target_fd);
	await_end();
}
END_TEST

START_TEST(a_target_that_goes_on_after_the_link_ended_is_let_go)
{
	start_with(unix_end(&link_ops, &client_fd),
		   unix_end(&whole_ops, &target_fd), 2000, 50);
	put(client_fd, "x");
	hang_up(&client_fd);
	expect(target_fd, "x");
	expect_closed(target_fd);
	put(target_fd, "chatter");
	await_end();
	ck_assert_uint_eq(counters.lost_bytes, 7);
}
END_TEST

START_TEST(links_at_both_ends)
{
	start(&link_ops, &link_ops);
	put(client_fd, "over");
	hang_up(&client_fd);
	expect(target_fd, "over");
	expect_closed(target_fd);
	await_end();
}
END_TEST

/* ---- stopping ------------------------------------------------------------------------ */

START_TEST(stop_delivers_what_has_arrived)
{
	start(&link_ops, &whole_ops);
	put(client_fd, "up");
	put(target_fd, "down");
	session_stop(session);
	await_end();
	ck_assert_str_eq(reason, "stopped");
	expect(target_fd, "up");
	expect(client_fd, "down");
	expect_closed(client_fd);
	expect_closed(target_fd);
}
END_TEST

START_TEST(stop_while_stalled_waits_for_the_reader)
{
	size_t swallowed;

	start(&link_ops, &whole_ops);
	swallowed = fill(client_fd);
	session_stop(session);
	settle();
	ck_assert(!is_ended);
	ck_assert_uint_eq(read_all(target_fd, swallowed), swallowed);
	await_end();
	ck_assert_uint_eq(counters.lost_bytes, 0);
}
END_TEST

START_TEST(stop_with_a_reader_that_never_reads_is_bounded)
{
	start_with(unix_end(&link_ops, &client_fd),
		   unix_end(&whole_ops, &target_fd), 2000, 50);
	fill(client_fd);
	session_stop(session);
	await_end();
	ck_assert_uint_gt(counters.lost_bytes, 0);
}
END_TEST

/* epoll(7) knows no regular files: there is nothing to watch. */
START_TEST(a_session_that_cannot_be_made)
{
	const struct session_settings useless = {.ended = on_end};
	struct stream *good = unix_end(&whole_ops, &client_fd);
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	struct stream *bad = socket_stream_new(&whole_ops, fd, "file");

	is_ended = false;
	ck_assert_ptr_null(session_new(loop, good, bad, &useless, 0, NULL));
	ck_assert_ptr_null(session_new(loop, bad, good, &useless, 0, NULL));
	settle();
	ck_assert(!is_ended);
	/* Both are still the caller's. */
	put(client_fd, "x");
	stream_close(good, STREAM_CLOSE_ORDERLY);
	stream_close(bad, STREAM_CLOSE_ORDERLY);
}
END_TEST

START_TEST(the_side_that_broke_its_answer_off_is_the_reason)
{
	const struct linger reset = {.l_onoff = 1, .l_linger = 0};

	start_with(unix_end(&whole_ops, &client_fd),
		   tcp_end(&whole_ops, "peer", &target_fd), 2000, 5000);
	put(client_fd, "question");
	shutdown(client_fd, SHUT_WR);
	expect(target_fd, "question");
	expect_closed(target_fd);
	put(target_fd, "half an ans");
	expect(client_fd, "half an ans");
	setsockopt(target_fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	hang_up(&target_fd);
	await_end();
	ck_assert_str_eq(reason, "target broke off: Connection reset by peer");
}
END_TEST

static void start_to_port(size_t left, size_t step,
			  unsigned int drain_timeout_ms)
{
	port_left = left;
	port_step = step;
	port_asked = 0;
	port_was_closed = false;
	start_with(unix_end(&link_ops, &client_fd),
		   unix_end(&port_ops, &target_fd), 2000, drain_timeout_ms);
}

/* It gets as long as it needs while it gets on: longer than the timeout. */
START_TEST(a_port_sends_what_it_has_before_it_closes)
{
	uint64_t begin_ms = loop_now_ms();

	start_to_port(30, 1, 150);
	put(client_fd, "hello");
	expect(target_fd, "hello");
	hang_up(&client_fd);
	await_end();
	ck_assert_uint_ge(port_asked, 30);
	ck_assert(port_was_closed);
	ck_assert(!port_was_stopping);
	ck_assert_uint_ge(loop_now_ms() - begin_ms, 150);
	ck_assert_str_eq(reason, "client closed");
}
END_TEST

START_TEST(a_port_that_does_not_get_on_is_closed)
{
	start_to_port(30, 0, 50);
	hang_up(&client_fd);
	await_end();
	ck_assert_uint_gt(port_asked, 1);
	ck_assert(port_was_closed);
}
END_TEST

/* Stopped while it waits, and cut off at last. */
START_TEST(a_port_is_told_of_the_stop)
{
	start_to_port(30, 0, 5000);
	hang_up(&client_fd);
	while (port_asked == 0)
		event_base_loop(loop->base, EVLOOP_ONCE);
	session_stop(session);
	port_asked = 0;
	while (port_asked == 0)
		event_base_loop(loop->base, EVLOOP_ONCE);
	ck_assert(port_was_stopping);
	ck_assert(!is_ended);
	session_abort(session);
	await_end();
	ck_assert(port_was_closed);
}
END_TEST

/* ---- nothing passes ----------------------------------------------------------- */

static void start_idling(unsigned int idle_timeout_ms)
{
	settings = (struct session_settings){
		.linger_ms = 2000,
		.drain_timeout_ms = 100,
		.idle_timeout_ms = idle_timeout_ms,
		.ended = on_end,
	};
	is_ended = false;
	session = session_new(loop, unix_end(&whole_ops, &client_fd),
			      unix_end(&whole_ops, &target_fd), &settings, 0,
			      NULL);
	ck_assert_ptr_nonnull(session);
}

START_TEST(an_idle_session_ends)
{
	start_idling(50);
	await_end();
	ck_assert_str_eq(reason, "nothing passed for 50ms (idle-timeout)");
	expect_closed(client_fd);
	expect_closed(target_fd);
}
END_TEST

/* Either way, for several times as long as it may be silent. */
START_TEST(what_passes_keeps_a_session)
{
	const uint64_t idle_ms = 200, end_ms = loop_now_ms() + 3 * idle_ms;
	uint64_t put_ms = loop_now_ms(), gap_ms = 0;
	bool is_up = false;

	start_idling((unsigned int)idle_ms);
	while (put_ms < end_ms && gap_ms < idle_ms) {
		ck_assert(!is_ended);
		put(is_up ? client_fd : target_fd, "x");
		expect(is_up ? target_fd : client_fd, "x");
		is_up = !is_up;
		/* A machine that stood still for so long is not its fault. */
		gap_ms = loop_now_ms() - put_ms;
		put_ms += gap_ms;
	}
	await_end();
	ck_assert_str_eq(reason, "nothing passed for 200ms (idle-timeout)");
}
END_TEST

START_TEST(a_session_that_is_stuck_is_idle)
{
	size_t sent;

	/* Filling it must not take so long on the slowest machine. */
	start_idling(1000);
	sent = fill(client_fd);
	await_end();
	ck_assert_str_eq(reason, "nothing passed for 1s (idle-timeout)");
	/* What neither is in the target's hands nor was read is not its loss. */
	ck_assert_uint_gt(counters.lost_bytes, 0);
	ck_assert_uint_le(counters.up_bytes + counters.lost_bytes, sent);
}
END_TEST

START_TEST(abort_ends_at_once)
{
	start(&link_ops, &whole_ops);
	fill(client_fd);
	session_abort(session);
	loop_flush(loop);
	ck_assert(is_ended);
	session = NULL;
}
END_TEST

/* ---- a client that is this program's own terminal ----------------------------------- */

/* client_fd is what it types into, output_fd where it reads. */
static int output_fd;

static ssize_t pipes_read(struct stream *stream, void *buffer, size_t bytes)
{
	ssize_t got = read(stream->read_fd, buffer, bytes);

	return got < 0 ? -errno : got;
}

static ssize_t pipes_write(struct stream *stream, const void *buffer,
			   size_t bytes)
{
	ssize_t put_bytes = write(stream->write_fd, buffer, bytes);

	return put_bytes < 0 ? -errno : put_bytes;
}

static int pipes_shutdown_write(struct stream *stream)
{
	return 0;
}

/* The test has the descriptors: what was not read must still be there. */
static void pipes_close(struct stream *stream, enum stream_close how)
{
	free(stream);
}

static int pipes_in[2], pipes_out[2];

static struct stream *pipes_end(void)
{
	static const struct stream_ops ops = {
		.read = pipes_read,
		.write = pipes_write,
		.shutdown_write = pipes_shutdown_write,
		.close = pipes_close,
	};
	struct stream *stream = calloc(1, sizeof(*stream));

	ck_assert_int_eq(pipe2(pipes_in, O_NONBLOCK | O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(pipes_out, O_NONBLOCK | O_CLOEXEC), 0);
	stream->ops = &ops;
	stream->read_fd = pipes_in[0];
	stream->write_fd = pipes_out[1];
	client_fd = pipes_in[1];
	output_fd = pipes_out[0];
	signal(SIGPIPE, SIG_IGN);
	return stream;
}

static void start_local(const struct stream_ops *target,
			unsigned int client_linger_ms)
{
	struct stream *local = pipes_end();

	settings = (struct session_settings){
		.linger_ms = 100,
		.drain_timeout_ms = 50,
		.is_client_local = true,
		.client_linger_ms = client_linger_ms,
		.ended = on_end,
	};
	is_ended = false;
	session = session_new(loop, local, unix_end(target, &target_fd),
			      &settings, 0, NULL);
	ck_assert_ptr_nonnull(session);
}

static void end_local(void)
{
	if (output_fd >= 0)
		close(output_fd);
	close(pipes_in[0]);
	close(pipes_out[1]);
}

static void type(const char *text)
{
	ck_assert_int_eq(write(client_fd, text, strlen(text)),
			 (ssize_t)strlen(text));
}

static size_t output_all(void)
{
	static uint8_t buffer[65536];
	size_t total = 0;
	ssize_t got;

	do {
		settle();
		got = read(output_fd, buffer, sizeof(buffer));
		total += got > 0 ? (size_t)got : 0;
	} while (got > 0);
	return total;
}

START_TEST(a_local_client_leaves_when_all_is_said)
{
	start_local(&whole_ops, 0);
	put(target_fd, "banner");
	shutdown(target_fd, SHUT_WR);
	await_end();
	ck_assert_uint_eq(output_all(), 6);
	ck_assert_str_eq(reason, "target closed");
	end_local();
}
END_TEST

START_TEST(a_local_client_may_finish_what_it_sends)
{
	start_local(&whole_ops, 1000);
	shutdown(target_fd, SHUT_WR);
	for (int i = 0; i < 6; i++) {
		usleep(250000);
		type("more");
		expect(target_fd, "more");
	}
	await_end();
	expect_closed(target_fd);
	ck_assert_uint_eq(counters.lost_bytes, 0);
	end_local();
}
END_TEST

START_TEST(a_local_client_may_take_its_time)
{
	size_t sent;

	start_local(&link_ops, 0);
	sent = fill(target_fd);
	hang_up(&target_fd);
	settle();
	/* Longer than the drain-timeout. */
	usleep(200000);
	settle();
	ck_assert(!is_ended);
	ck_assert_uint_eq(output_all(), sent);
	await_end();
	ck_assert_uint_eq(counters.lost_bytes, 0);
	end_local();
}
END_TEST

START_TEST(the_end_of_input_is_not_that_of_output)
{
	size_t sent = 0;
	ssize_t put_bytes;

	start_local(&whole_ops, 0);
	/* Pushed back, so that nobody reads when it hangs up. */
	for (int i = 0; i < 50; i++) {
		put_bytes = write(client_fd, (char[65536]){0}, 65536);
		sent += put_bytes > 0 ? (size_t)put_bytes : 0;
		settle();
	}
	hang_up(&client_fd);
	settle();
	put(target_fd, "answer");
	ck_assert_uint_eq(output_all(), 6);
	ck_assert(!is_ended);
	ck_assert_uint_eq(read_all(target_fd, sent), sent);
	hang_up(&target_fd);
	await_end();
	ck_assert_uint_eq(counters.up_bytes, sent);
	ck_assert_uint_eq(counters.lost_bytes, 0);
	end_local();
}
END_TEST

START_TEST(what_a_local_client_has_not_sent_stays)
{
	char byte;

	start_local(&link_ops, 0);
	fill(target_fd);
	hang_up(&target_fd);
	settle();
	type("for the next program");
	settle();
	output_all();
	await_end();
	ck_assert_uint_eq(counters.lost_bytes, 0);
	ck_assert_int_eq(read(pipes_in[0], &byte, 1), 1);
	ck_assert_int_eq(byte, 'f');
	end_local();
}
END_TEST

START_TEST(a_local_client_without_output_is_over)
{
	start_local(&whole_ops, 0);
	for (int i = 0; i < 50; i++) {
		if (write(client_fd, (char[65536]){0}, 65536) < 0)
			ck_assert_int_eq(errno, EAGAIN);
		settle();
	}
	hang_up(&output_fd);
	put(target_fd, "anybody there?");
	settle();
	ck_assert(is_ended);
	ck_assert_uint_gt(counters.lost_bytes, 0);
	end_local();
}
END_TEST

START_TEST(linger_forever)
{
	struct stream *local = pipes_end();

	settings = (struct session_settings){
		.linger_ms = SESSION_LINGER_FOREVER,
		.is_client_local = true,
		.ended = on_end,
	};
	is_ended = false;
	session = session_new(loop, local, unix_end(&link_ops, &target_fd),
			      &settings, 0, NULL);
	hang_up(&client_fd);
	settle();
	usleep(50000);
	settle();
	ck_assert(!is_ended);
	put(target_fd, "late");
	ck_assert_uint_eq(output_all(), 4);
	hang_up(&target_fd);
	await_end();
	end_local();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("session");
	TCase *tests = tcase_create("session");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, every_byte_value);
	tcase_add_test(tests, megabytes_up_to_a_slow_reader);
	tcase_add_test(tests, megabytes_down_to_a_slow_reader);
	tcase_add_test(tests, a_byte_at_a_time);
	tcase_add_test(tests, megabytes_over_tcp_with_stalls);
	tcase_add_test(tests, reads_are_large_where_one_way_or_others_are_busy);
	tcase_add_test(tests, megabytes_over_tcp_peeked_at_in_part);
	tcase_add_test(tests, what_comes_in_small_windows_is_read);
	tcase_add_test(tests, messages_after_megabytes_are_not_peeked_at);
	tcase_add_test(tests, a_target_that_never_reads_stops_the_client);
	tcase_add_test(tests, both_ways_stalled_then_released);
	tcase_add_test(tests, a_stalled_session_leaves_others_alone);
	tcase_add_test(tests, what_came_before_a_reset_is_delivered);
	tcase_add_test(tests, a_reset_while_stalled_is_noticed);
	tcase_add_loop_test(tests, both_reset_while_stalled, 0, 4);
	tcase_add_test(tests,
		       a_target_that_never_falls_silent_is_let_go_at_once);
	tcase_add_test(tests, a_client_of_a_broken_target_is_told_at_once);
	tcase_add_test(tests, a_link_that_ends_while_stalled_is_delivered);
	tcase_add_test(tests, a_drain_that_does_not_get_on_ends);
	tcase_add_test(tests, half_close_up_and_a_late_answer);
	tcase_add_test(tests, half_close_down_and_more_to_say);
	tcase_add_test(tests, a_link_gets_all_before_its_target_s_end);
	tcase_add_test(tests, a_client_half_closed_to_a_link_gets_its_answer);
	tcase_add_test(tests, what_a_broken_side_sent_is_delivered);
	tcase_add_test(tests,
		       a_target_that_goes_on_after_the_link_ended_is_let_go);
	tcase_add_test(tests, links_at_both_ends);
	tcase_add_test(tests, stop_delivers_what_has_arrived);
	tcase_add_test(tests, stop_while_stalled_waits_for_the_reader);
	tcase_add_test(tests, stop_with_a_reader_that_never_reads_is_bounded);
	tcase_add_test(tests, a_session_that_cannot_be_made);
	tcase_add_test(tests, the_side_that_broke_its_answer_off_is_the_reason);
	tcase_add_test(tests, a_port_sends_what_it_has_before_it_closes);
	tcase_add_test(tests, a_port_that_does_not_get_on_is_closed);
	tcase_add_test(tests, a_port_is_told_of_the_stop);
	tcase_add_test(tests, an_idle_session_ends);
	tcase_add_test(tests, what_passes_keeps_a_session);
	tcase_add_test(tests, a_session_that_is_stuck_is_idle);
	tcase_add_test(tests, abort_ends_at_once);
	tcase_add_test(tests, a_local_client_leaves_when_all_is_said);
	tcase_add_test(tests, a_local_client_may_finish_what_it_sends);
	tcase_add_test(tests, a_local_client_may_take_its_time);
	tcase_add_test(tests, the_end_of_input_is_not_that_of_output);
	tcase_add_test(tests, what_a_local_client_has_not_sent_stays);
	tcase_add_test(tests, a_local_client_without_output_is_over);
	tcase_add_test(tests, linger_forever);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
