/* SPDX-License-Identifier: MIT */
/*
 * The pump where pieces matter: records, links without flow control, packets.
 * The far ends are SOCK_SEQPACKET, which shows what was one write, also where
 * the stream is said to be one of bytes.
 */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "endpoint.h"
#include "loop.h"
#include "packer.h"
#include "session.h"
#include "socket.h"

#define DEADLINE_MS 50000
#define RECORD_BYTES_MAX 65535

static struct loop *loop;
static struct session *session;
static struct session_settings settings;
static int client_fd, target_fd; /* the far ends */
static bool is_ended;
static char reason[SESSION_REASON_BYTES];
static struct session_counters counters;

/* ---- streams to test with --------------------------------------------------- */

struct link {
	struct stream stream;
	size_t mtu;
	int read_code; /* what the next read says; 0: what the socket does */
};

static ssize_t link_read(struct stream *stream, void *buffer, size_t bytes)
{
	struct link *link = (struct link *)stream;
	const int code = link->read_code;

	link->read_code = 0;
	return code ? code : socket_read(stream, buffer, bytes);
}

static ssize_t link_write(struct stream *stream, const void *buffer,
			  size_t bytes)
{
	const size_t mtu = ((struct link *)stream)->mtu;
	const uint8_t *data = buffer;
	size_t total = 0;
	ssize_t put = 0;

	while (total < bytes && put >= 0) {
		size_t piece = bytes - total < mtu ? bytes - total : mtu;

		put = socket_write(stream, data + total, piece);
		total += put > 0 ? (size_t)put : 0;
	}
	return total ? (ssize_t)total : put;
}

static int link_write_record(struct stream *stream, const void *buffer,
			     size_t bytes)
{
	ssize_t put;

	if (bytes > ((struct link *)stream)->mtu)
		return -EMSGSIZE;
	put = socket_write(stream, buffer, bytes);
	return put < 0 ? (int)put : 0;
}

/* A link that keeps records, as L2CAP does, and one of bytes. */
static const struct stream_ops record_ops = {
	.read = link_read,
	.write = link_write,
	.write_record = link_write_record,
	.close = socket_close,
};

static const struct stream_ops byte_ops = {
	.read = link_read,
	.write = socket_write,
	.shutdown_write = socket_shutdown_write,
	.close = socket_close,
};

static struct link *link_new(const struct stream_ops *ops, int type, int *far)
{
	/* Its doubled value holds the longest record. */
	const int queue_bytes = 70000;
	struct link *link = calloc(1, sizeof(*link));
	int ends[2];

	ck_assert_ptr_nonnull(link);
	ck_assert_int_eq(socketpair(AF_UNIX,
				    type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
				    ends),
			 0);
	setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &queue_bytes,
		   sizeof(queue_bytes));
	setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &queue_bytes,
		   sizeof(queue_bytes));
	link->stream.ops = ops;
	link->stream.read_fd = link->stream.write_fd = ends[0];
	link->stream.peer = "peer";
	link->mtu = RECORD_BYTES_MAX;
	*far = ends[1];
	return link;
}

static struct link *record_link(int *far)
{
	return link_new(&record_ops, SOCK_SEQPACKET, far);
}

/* Bytes to the session; outside it is seen what was one write. */
static struct link *byte_link(int *far)
{
	return link_new(&byte_ops, SOCK_SEQPACKET, far);
}

static void on_end(struct session *ended, void *arg)
{
	is_ended = true;
	counters = *session_counters(ended);
	session_format_reason(ended, reason);
	session = NULL;
}

static void start_with(struct link *client, struct link *target,
		       const struct endpoint_packing *client_packing,
		       unsigned int drain_timeout_ms)
{
	settings = (struct session_settings){
		.linger_ms = 2000,
		.drain_timeout_ms = drain_timeout_ms,
		.ended = on_end,
	};
	if (client_packing)
		settings.client_packing = *client_packing;
	session = session_new(loop, &client->stream, &target->stream, &settings,
			      0, NULL);
	ck_assert_ptr_nonnull(session);
}

static void start(struct link *client, struct link *target)
{
	start_with(client, target, NULL, 5000);
}

/* Packed from a client of bytes to a target where writes are seen. */
static void start_packing(const struct endpoint_packing *packing)
{
	start_with(link_new(&byte_ops, SOCK_STREAM, &client_fd),
		   byte_link(&target_fd), packing, 5000);
}

static void setup(void)
{
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	client_fd = target_fd = -1;
	is_ended = false;
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
	settle();
}

/*
 * The next write that arrives; 0 at the end. SOCK_SEQPACKET says first that the
 * other side closed without having read all, then gives what it had sent.
 */
static size_t await_record(int fd, void *buffer, size_t bytes)
{
	uint64_t deadline = loop_now_ms() + DEADLINE_MS;
	ssize_t n;

	while ((n = recv(fd, buffer, bytes, 0)) < 0 &&
	       (errno == EAGAIN || errno == ECONNRESET)) {
		ck_assert_msg(loop_now_ms() < deadline, "nothing came");
		turn();
	}
	ck_assert_msg(n >= 0, "%s", strerror(errno));
	return (size_t)n;
}

static void expect(int fd, const char *text)
{
	char got[256];
	size_t bytes = await_record(fd, got, sizeof(got) - 1);

	got[bytes] = '\0';
	ck_assert_str_eq(got, text);
}

static void expect_silence(int fd)
{
	char byte;

	settle();
	ck_assert_int_eq(recv(fd, &byte, 1, MSG_PEEK), -1);
	ck_assert_int_eq(errno, EAGAIN);
}

static void pass_time_ms(unsigned int ms)
{
	uint64_t until = loop_now_ms() + ms;

	while (loop_now_ms() < until) {
		turn();
		poll(NULL, 0, 1);
	}
}

/* Records of @bytes until the session takes no more, or has ended. */
static size_t fill(int fd, size_t bytes)
{
	static const uint8_t record[RECORD_BYTES_MAX];
	size_t count = 0;
	int idle = 0;

	while (idle < 5 && !is_ended) {
		if (send(fd, record, bytes, MSG_NOSIGNAL) > 0) {
			count++;
			idle = 0;
			turn();
		} else {
			idle++;
			settle();
		}
	}
	return count;
}

/* ---- records ------------------------------------------------------------------ */

struct traffic {
	unsigned int seed;
	size_t lengths[300];
	size_t in, out;
	int from, to;
};

static void traffic_turn(struct traffic *traffic, uint8_t *buffer)
{
	const size_t count = sizeof(traffic->lengths) /
			     sizeof(traffic->lengths[0]);
	ssize_t n;

	/* In bursts each, so that it stalls now and then. */
	for (int i = rand_r(&traffic->seed) % 30; i && traffic->in < count;
	     i--) {
		size_t bytes = 1 + (size_t)rand_r(&traffic->seed) %
					   (rand_r(&traffic->seed) % 4
						    ? 100
						    : RECORD_BYTES_MAX);

		memset(buffer, (int)traffic->in, bytes);
		if (send(traffic->from, buffer, bytes, MSG_NOSIGNAL) < 0)
			break;
		traffic->lengths[traffic->in++] = bytes;
	}
	turn();
	for (int i = rand_r(&traffic->seed) % 30; i; i--) {
		n = recv(traffic->to, buffer, RECORD_BYTES_MAX, MSG_TRUNC);
		if (n < 0)
			break;
		ck_assert_uint_lt(traffic->out, traffic->in);
		ck_assert_uint_eq((size_t)n, traffic->lengths[traffic->out]);
		ck_assert_uint_eq(buffer[0], (uint8_t)traffic->out);
		ck_assert_uint_eq(buffer[n - 1], (uint8_t)traffic->out);
		traffic->out++;
	}
}

START_TEST(records_stay_records_both_ways)
{
	struct traffic up = {.seed = (unsigned int)_i + 1};
	struct traffic down = {.seed = (unsigned int)_i + 1000};
	uint8_t *buffer = malloc(RECORD_BYTES_MAX);
	uint64_t deadline = loop_now_ms() + DEADLINE_MS;

	start(record_link(&client_fd), record_link(&target_fd));
	up.from = down.to = client_fd;
	up.to = down.from = target_fd;
	while (up.out < 300 || down.out < 300) {
		ck_assert_uint_lt(loop_now_ms(), deadline);
		traffic_turn(&up, buffer);
		traffic_turn(&down, buffer);
	}
	hang_up(&client_fd);
	await_end();
	ck_assert_str_eq(reason, "client closed");
	ck_assert_uint_eq(counters.lost_bytes, 0);
	free(buffer);
}
END_TEST

START_TEST(the_longest_record)
{
	static uint8_t record[RECORD_BYTES_MAX], got[RECORD_BYTES_MAX];

	start(record_link(&client_fd), record_link(&target_fd));
	memset(record, 0xa5, sizeof(record));
	ck_assert_int_eq(send(client_fd, record, sizeof(record), 0),
			 sizeof(record));
	ck_assert_uint_eq(await_record(target_fd, got, sizeof(got)),
			  sizeof(record));
	ck_assert_mem_eq(record, got, sizeof(record));
}
END_TEST

START_TEST(a_record_that_the_other_link_cannot_carry)
{
	struct link *target = record_link(&target_fd);

	target->mtu = 5;
	start(record_link(&client_fd), target);
	put(target_fd, "before, from the target");
	put(client_fd, "12345");
	ck_assert_int_eq(send(target_fd, "last words", 10, 0), 10);
	ck_assert_int_eq(send(client_fd, "123456", 6, 0), 6);
	ck_assert_int_eq(send(client_fd, "after", 5, 0), 5);
	await_end();
	ck_assert_str_eq(reason, "a record of 6 bytes from client is longer "
				 "than the link to target can carry");
	ck_assert_uint_eq(counters.lost_bytes, 6 + strlen("after"));
	/* What came before the gap, and nothing after it. */
	expect(target_fd, "12345");
	expect(target_fd, "");
	/* And the other way what had arrived. */
	expect(client_fd, "before, from the target");
	expect(client_fd, "last words");
}
END_TEST

/* The same, found only when it is its turn. */
START_TEST(a_record_too_long_that_had_to_wait)
{
	struct link *client = record_link(&client_fd);
	struct link *target = record_link(&target_fd);
	static uint8_t got[RECORD_BYTES_MAX];
	size_t records;

	target->mtu = 1000;
	client->stream.has_no_flow_control = true;
	start(client, target);
	records = fill(target_fd, 100);
	for (int i = 0; i < 150; i++) {
		send(client_fd, got, 1000, 0);
		turn();
	}
	ck_assert_int_eq(send(client_fd, got, 1001, 0), 1001);
	put(client_fd, "after");
	ck_assert(!is_ended);
	for (int i = 0; i < 150; i++)
		ck_assert_uint_eq(await_record(target_fd, got, sizeof(got)),
				  1000);
	for (; records; records--)
		ck_assert_uint_eq(await_record(client_fd, got, sizeof(got)),
				  100);
	await_end();
	ck_assert_str_eq(reason, "a record of 1001 bytes from client is longer "
				 "than the link to target can carry");
	ck_assert_uint_eq(counters.lost_bytes, 1001 + 5);
}
END_TEST

START_TEST(a_record_that_could_not_be_read_whole)
{
	struct link *client = record_link(&client_fd);

	start(client, record_link(&target_fd));
	put(client_fd, "whole");
	client->read_code = -EMSGSIZE;
	put(client_fd, "too long");
	await_end();
	ck_assert_str_eq(reason,
			 "client sent a record of more than 262144 bytes");
	ck_assert_uint_eq(counters.lost_bytes, strlen("too long"));
	expect(target_fd, "whole");
	expect(target_fd, "");
}
END_TEST

START_TEST(records_to_a_stream_of_bytes)
{
	static uint8_t got[4 * RECORD_BYTES_MAX], record[RECORD_BYTES_MAX];
	size_t want = 0, seen = 0;

	start(record_link(&client_fd),
	      link_new(&byte_ops, SOCK_STREAM, &target_fd));
	for (size_t bytes = 1; bytes < sizeof(record); bytes = bytes * 3 + 1) {
		memset(record, (int)bytes, bytes);
		ck_assert_int_eq(send(client_fd, record, bytes, 0),
				 (ssize_t)bytes);
		settle();
		want += bytes;
	}
	while (seen < want)
		seen += await_record(target_fd, got + seen, want - seen);
	for (size_t bytes = 1, at = 0; bytes < sizeof(record);
	     at += bytes, bytes = bytes * 3 + 1) {
		ck_assert_uint_eq(got[at], (uint8_t)bytes);
		ck_assert_uint_eq(got[at + bytes - 1], (uint8_t)bytes);
	}
}
END_TEST

/* Cut to what the link carries, also out of what had to wait. */
START_TEST(bytes_to_a_link_of_records)
{
	static uint8_t sent[300000];
	struct link *target = record_link(&target_fd);
	uint64_t deadline = loop_now_ms() + DEADLINE_MS;
	size_t in = 0, out = 0;
	uint8_t got[1000];

	target->mtu = 672;
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (uint8_t)(i * 7 + i / 256);
	start(link_new(&byte_ops, SOCK_STREAM, &client_fd), target);
	while (out < sizeof(sent)) {
		ssize_t n = send(client_fd, sent + in, sizeof(sent) - in,
				 MSG_NOSIGNAL);
		size_t piece;

		ck_assert_uint_lt(loop_now_ms(), deadline);
		in += n > 0 ? (size_t)n : 0;
		piece = await_record(target_fd, got, sizeof(got));
		ck_assert_uint_le(piece, 672);
		ck_assert_mem_eq(got, sent + out, piece);
		out += piece;
	}
}
END_TEST

/* ---- links without flow control -------------------------------------------------- */

START_TEST(it_is_read_on_while_the_other_end_stalls)
{
	struct link *client = record_link(&client_fd);
	static uint8_t got[RECORD_BYTES_MAX];
	size_t sent;

	client->stream.has_no_flow_control = true;
	start(client, record_link(&target_fd));
	/* More than the queues in the kernel hold, less than the bound. */
	for (sent = 0; sent < 450; sent++) {
		memset(got, (int)sent, 600);
		ck_assert_int_eq(send(client_fd, got, 600, 0), 600);
		turn();
	}
	/* It is all out of the kernel, and would be lost there. */
	settle();
	ck_assert_int_eq(poll(&(struct pollfd){.fd = client->stream.read_fd,
					       .events = POLLIN},
			      1, 0),
			 0);
	for (size_t i = 0; i < sent; i++) {
		ck_assert_uint_eq(await_record(target_fd, got, sizeof(got)),
				  600);
		ck_assert_uint_eq(got[599], (uint8_t)i);
	}
	put(client_fd, "on it goes");
	expect(target_fd, "on it goes");
	hang_up(&client_fd);
	await_end();
	ck_assert_uint_eq(counters.lost_bytes, 0);
}
END_TEST

/* Exactly what was not delivered is counted, whatever the size of a record. */
START_TEST(at_the_bound_it_ends)
{
	static const size_t sizes[] = {1, 13, 600, 20000};
	struct link *client = record_link(&client_fd);
	const size_t bytes = sizes[_i / 2];
	/* The bound counts the 4 bytes of a record's length as well. */
	const size_t waiting = SESSION_WAITING_BYTES_MAX / (bytes + 4) * bytes;
	static uint8_t got[RECORD_BYTES_MAX];
	char want[SESSION_REASON_BYTES];
	size_t sent, seen = 0;

	client->stream.has_no_flow_control = true;
	/* Read at last, or never. */
	start_with(client, record_link(&target_fd), NULL, _i % 2 ? 5000 : 50);
	sent = fill(client_fd, bytes);
	if (_i % 2)
		while (await_record(target_fd, got, sizeof(got)))
			seen++;
	await_end();
	snprintf(want, sizeof(want),
		 "client sends faster than target takes it, and the link has "
		 "no flow control: %zu bytes were waiting",
		 waiting);
	ck_assert_str_eq(reason, want);
	/* In order and without a gap: the rest is lost, and nothing else. */
	if (_i % 2)
		ck_assert_uint_eq(counters.lost_bytes, bytes);
	else
		ck_assert_uint_eq(counters.lost_bytes, waiting + bytes);
	ck_assert_uint_le(counters.up_bytes + counters.lost_bytes,
			  sent * bytes);
	if (_i % 2)
		ck_assert_uint_eq(counters.up_bytes, seen * bytes);
}
END_TEST

START_TEST(bytes_without_flow_control_are_bounded_too)
{
	struct link *target = link_new(&byte_ops, SOCK_STREAM, &target_fd);

	target->stream.has_no_flow_control = true;
	start_with(link_new(&byte_ops, SOCK_STREAM, &client_fd), target, NULL,
		   50);
	fill(target_fd, 1000);
	await_end();
	ck_assert_msg(strstr(reason, "target sends faster than client takes"),
		      "%s", reason);
	ck_assert_uint_le(counters.lost_bytes,
			  SESSION_WAITING_BYTES_MAX + 32 * 1024);
	ck_assert_uint_gt(counters.lost_bytes, SESSION_WAITING_BYTES_MAX / 2);
}
END_TEST

START_TEST(what_the_kernel_dropped_ends_it)
{
	struct link *target = record_link(&target_fd);

	target->stream.has_no_flow_control = true;
	start(record_link(&client_fd), target);
	put(target_fd, "before");
	target->read_code = -ENOBUFS;
	put(target_fd, "after");
	await_end();
	ck_assert_str_eq(reason,
			 "target sends faster than it can be read, and the "
			 "link has no flow control: the kernel dropped some of "
			 "it");
	expect(client_fd, "before");
	expect(client_fd, "");
	ck_assert_uint_eq(counters.lost_bytes, strlen("after"));
}
END_TEST

START_TEST(a_stop_without_flow_control)
{
	struct link *client = record_link(&client_fd);
	static uint8_t got[RECORD_BYTES_MAX];
	size_t seen = 0;

	client->stream.has_no_flow_control = true;
	start(client, record_link(&target_fd));
	for (int i = 0; i < 400; i++) {
		send(client_fd, got, 600, 0);
		turn();
	}
	session_stop(session);
	while (await_record(target_fd, got, sizeof(got)))
		seen++;
	await_end();
	ck_assert_uint_eq(seen, 400);
	ck_assert_str_eq(reason, "stopped");
	ck_assert_uint_eq(counters.lost_bytes, 0);
}
END_TEST

/* ---- packets ------------------------------------------------------------------ */

#define UNTIL(c) .has_delimiter = true, .delimiter = (c)

START_TEST(each_packet_is_one_write)
{
	const struct endpoint_packing packing = {UNTIL('\n')};

	start_packing(&packing);
	put(client_fd, "$GPGGA,1");
	put(client_fd, "23*4");
	expect_silence(target_fd);
	put(client_fd, "7\r\n$GPRMC\r\n$GP");
	expect(target_fd, "$GPGGA,123*47\r\n");
	expect(target_fd, "$GPRMC\r\n");
	expect_silence(target_fd);
	/* The other way nothing is put together. */
	put(target_fd, "answer");
	expect(client_fd, "answer");
	put(client_fd, "VTG");
	/* The rest goes at the end. */
	hang_up(&client_fd);
	expect(target_fd, "$GPVTG");
	expect(target_fd, "");
	hang_up(&target_fd);
	await_end();
	ck_assert_uint_eq(counters.lost_bytes, 0);
}
END_TEST

START_TEST(each_packet_is_one_record)
{
	const struct endpoint_packing packing = {UNTIL('\n'), .bytes = 10};
	struct link *target = record_link(&target_fd);

	target->mtu = 7;
	start_with(link_new(&byte_ops, SOCK_STREAM, &client_fd), target,
		   &packing, 5000);
	put(client_fd, "one\nthree\n");
	expect(target_fd, "one\n");
	expect(target_fd, "three\n");
	/* Only what the link cannot carry is cut, and only there. */
	put(client_fd, "elevens\nx\n0123456789");
	expect(target_fd, "elevens");
	expect(target_fd, "\n");
	expect(target_fd, "x\n");
	expect(target_fd, "0123456");
	expect(target_fd, "789");
}
END_TEST

/* Packing says what is one, also where records come. */
START_TEST(records_are_put_together_where_it_is_asked_for)
{
	const struct endpoint_packing packing = {.bytes = 4};

	start_with(record_link(&client_fd), record_link(&target_fd), &packing,
		   5000);
	put(client_fd, "abc");
	put(client_fd, "defgh");
	expect(target_fd, "abcd");
	expect(target_fd, "efgh");
}
END_TEST

START_TEST(a_silence_sends)
{
	const struct endpoint_packing packing = {.gap_ms = 200};
	uint64_t last_ms = 0;

	start_packing(&packing);
	for (int i = 0; i < 2; i++) {
		put(client_fd, "\x01\x03");
		pass_time_ms(50);
		put(client_fd, "\x02\x55");
		pass_time_ms(50);
		last_ms = loop_now_ms();
		put(client_fd, "\x7f");
		expect_silence(target_fd);
		expect(target_fd, "\x01\x03\x02\x55\x7f");
		/* From the last byte on. */
		ck_assert_uint_ge(loop_now_ms() - last_ms, 200);
	}
	/* Then it sleeps. */
	ck_assert_int_eq(event_base_get_num_events(loop->base,
						   EVENT_BASE_COUNT_ADDED),
			 2);
}
END_TEST

/* Stalled, it cannot know of any silence: the packet is not cut for it. */
START_TEST(a_silence_that_nobody_listened_to)
{
	const struct endpoint_packing packing = {.gap_ms = 20, .bytes = 1000};
	static uint8_t bytes[1000], got[2000];
	size_t full = 0;

	start_packing(&packing);
	while (poll(&(struct pollfd){.fd = client_fd, .events = POLLOUT}, 1,
		    0) == 1 &&
	       full < 1000) {
		full += send(client_fd, bytes, sizeof(bytes), 0) > 0;
		turn();
	}
	/* Half a packet is read or waits in the kernel, and all is stalled. */
	ck_assert_uint_lt(full, 1000);
	settle();
	for (size_t i = 0; i < 2; i++) {
		await_record(target_fd, got, sizeof(got));
		full--;
	}
	settle();
	ck_assert_int_eq(send(client_fd, bytes, 500, 0), 500);
	pass_time_ms(60);
	ck_assert_int_eq(send(client_fd, bytes, 500, 0), 500);
	for (full += 1; full; full--)
		ck_assert_uint_eq(await_record(target_fd, got, sizeof(got)),
				  1000);
	expect_silence(target_fd);
	/* And when it is taken up again, it counts again. */
	put(client_fd, "rest");
	expect(target_fd, "rest");
}
END_TEST

START_TEST(a_packet_with_no_end_in_sight)
{
	const struct endpoint_packing packing = {UNTIL('\n')};
	static uint8_t bytes[30000], got[PACKER_BYTES_MAX + 1];

	memset(bytes, 'x', sizeof(bytes));
	start_packing(&packing);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(send(client_fd, bytes, sizeof(bytes), 0),
				 sizeof(bytes));
		settle();
	}
	ck_assert_uint_eq(await_record(target_fd, got, sizeof(got)),
			  PACKER_BYTES_MAX);
	expect_silence(target_fd);
	session_abort(session);
	loop_flush(loop);
	ck_assert_uint_eq(counters.lost_bytes, 90000 - PACKER_BYTES_MAX);
}
END_TEST

/* Of the longest packets there are, while the target takes none. */
START_TEST(what_a_stalled_direction_holds)
{
	const struct endpoint_packing packing = {UNTIL('\n')};
	static char line[PACKER_BYTES_MAX];
	size_t sent = 0;
	int idle = 0;

	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	start_packing(&packing);
	while (idle < 5) {
		size_t at = sent % sizeof(line);
		ssize_t n = send(client_fd, line + at, sizeof(line) - at,
				 MSG_NOSIGNAL);

		sent += n > 0 ? (size_t)n : 0;
		idle = n > 0 ? 0 : idle + 1;
		settle();
	}
	session_abort(session);
	loop_flush(loop);
	ck_assert_uint_gt(counters.lost_bytes, 0);
	ck_assert_uint_le(counters.lost_bytes, PACKER_BYTES_MAX + 4096);
}
END_TEST

START_TEST(a_stop_sends_what_was_put_together)
{
	const struct endpoint_packing packing = {UNTIL('\n')};

	start_packing(&packing);
	put(client_fd, "one\ntw");
	ck_assert_int_eq(send(client_fd, "o", 1, 0), 1);
	session_stop(session);
	await_end();
	expect(target_fd, "one\n");
	expect(target_fd, "two");
	expect(target_fd, "");
	ck_assert_uint_eq(counters.lost_bytes, 0);
}
END_TEST

/* The one that stays has begun a packet when the other closes for good. */
START_TEST(half_a_packet_of_the_side_that_stays)
{
	const struct endpoint_packing packing = {UNTIL('\n')};

	start_with(link_new(&record_ops, SOCK_STREAM, &client_fd),
		   byte_link(&target_fd), &packing, 5000);
	put(client_fd, "half");
	shutdown(target_fd, SHUT_WR);
	await_end();
	ck_assert_str_eq(reason, "target closed");
	expect(target_fd, "half");
	ck_assert_uint_eq(counters.lost_bytes, 0);
}
END_TEST

/* The client's answer to a half-close is late, and no packet: linger ends it. */
START_TEST(half_an_answer_before_the_linger_ends)
{
	static const struct session_settings lingering = {
		/* Both halves have to come before it is over. */
		.linger_ms = 1000,
		.drain_timeout_ms = 5000,
		.target_packing = {UNTIL('\n')},
		.ended = on_end,
	};
	struct link *client = byte_link(&client_fd);
	struct link *target = link_new(&record_ops, SOCK_STREAM, &target_fd);

	session = session_new(loop, &client->stream, &target->stream,
			      &lingering, 0, NULL);
	shutdown(client_fd, SHUT_WR);
	put(target_fd, "answ");
	put(target_fd, "er");
	await_end();
	expect(client_fd, "answer");
	ck_assert_uint_eq(counters.lost_bytes, 0);
	ck_assert_uint_eq(counters.down_bytes, 6);
}
END_TEST

START_TEST(packing_without_flow_control)
{
	const struct endpoint_packing packing = {UNTIL('\n')};
	struct link *client = record_link(&client_fd);
	static uint8_t record[600];
	size_t lines = 0;
	char got[8];

	client->stream.has_no_flow_control = true;
	start_with(client, byte_link(&target_fd), &packing, 50);
	memset(record, '\n', sizeof(record));
	while (!is_ended && lines < 1000) {
		lines += send(client_fd, record, sizeof(record), 0) > 0;
		turn();
	}
	await_end();
	ck_assert_msg(strstr(reason, "client sends faster"), "%s", reason);
	lines = 0;
	while (await_record(target_fd, got, sizeof(got)) == 1)
		lines++;
	ck_assert_uint_eq(lines, counters.up_bytes);
	ck_assert_uint_ge(counters.lost_bytes, SESSION_WAITING_BYTES_MAX / 5);
}
END_TEST

/* valgrind is slow, and sees the same in less. */
static size_t volume(size_t bytes)
{
	return getenv("BTGATE_VALGRIND") ? bytes / 10 : bytes;
}

/*
 * Whatever comes in whatever pieces, however the other end takes it: the
 * packets are the ones that a packer makes of the whole, each in one write.
 */
START_TEST(random_packets)
{
	const size_t total = volume(400000);
	unsigned int seed = (unsigned int)_i + 1;
	const struct endpoint_packing packing = {
		.has_delimiter = rand_r(&seed) % 4 != 0,
		.delimiter = (uint8_t)(rand_r(&seed) % 4),
		.gap_ms = rand_r(&seed) % 2 ? 60000 : 0,
		.bytes = (unsigned int)(1 + rand_r(&seed) % (rand_r(&seed) % 2
								     ? 100
								     : 40000)),
	};
	uint8_t *in = malloc(total), got[PACKER_BYTES_MAX];
	uint64_t deadline = loop_now_ms() + DEADLINE_MS;
	size_t sent = 0, reference_bytes = total, out = 0;
	const uint8_t *reference = in;
	struct packer packer;
	struct packet want;

	for (size_t i = 0; i < total; i++)
		in[i] = (uint8_t)(rand_r(&seed) % (_i % 2 ? 300 : 4000));
	start_packing(&packing);
	packer_init(&packer, &packing);
	while (out < total) {
		size_t piece = 1 + (size_t)rand_r(&seed) %
					   (rand_r(&seed) % 2 ? 50 : 30000);
		ssize_t n = 0;

		ck_assert_uint_lt(loop_now_ms(), deadline);
		if (piece > total - sent)
			piece = total - sent;
		if (piece)
			n = send(client_fd, in + sent, piece, MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
		if (sent == total && piece)
			shutdown(client_fd, SHUT_WR);
		for (int i = rand_r(&seed) % 3; i; i--)
			turn();
		for (int i = rand_r(&seed) % 200; i && out < total; i--) {
			n = recv(target_fd, got, sizeof(got), 0);
			if (n < 0)
				break;
			if (!packer_next(&packer, &reference, &reference_bytes,
					 &want))
				ck_assert(packer_flush(&packer, &want));
			ck_assert_uint_eq((size_t)n, want.bytes);
			ck_assert_mem_eq(got, want.data, want.bytes);
			out += want.bytes;
		}
	}
	packer_clear(&packer);
	free(in);
}
END_TEST

/* As bytes to a stream that takes them in parts: none is lost or moved. */
START_TEST(random_packets_to_a_stream)
{
	const size_t total = volume(600000);
	unsigned int seed = (unsigned int)_i + 1;
	const struct endpoint_packing packing = {
		UNTIL(0),
		.gap_ms = (unsigned int)(rand_r(&seed) % 3),
		.bytes = (unsigned int)(rand_r(&seed) % 5000),
	};
	uint8_t *in = malloc(total), *got = malloc(total);
	uint64_t deadline = loop_now_ms() + DEADLINE_MS;
	size_t sent = 0, seen = 0;

	for (size_t i = 0; i < total; i++)
		in[i] = (uint8_t)rand_r(&seed);
	start_with(link_new(&byte_ops, SOCK_STREAM, &client_fd),
		   link_new(&byte_ops, SOCK_STREAM, &target_fd), &packing,
		   5000);
	while (seen < total) {
		size_t piece = 1 + (size_t)rand_r(&seed) % 20000;
		ssize_t n = 0;

		ck_assert_uint_lt(loop_now_ms(), deadline);
		if (piece > total - sent)
			piece = total - sent;
		if (piece)
			n = send(client_fd, in + sent, piece, MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
		if (sent == total && piece)
			shutdown(client_fd, SHUT_WR);
		turn();
		if (rand_r(&seed) % 3 == 0)
			continue;
		n = recv(target_fd, got + seen,
			 1 + (size_t)rand_r(&seed) % (total - seen), 0);
		seen += n > 0 ? (size_t)n : 0;
	}
	ck_assert_mem_eq(in, got, total);
	free(in);
	free(got);
}
END_TEST

static TCase *case_records(void)
{
	TCase *tests = tcase_create("records");

	tcase_add_loop_test(tests, records_stay_records_both_ways, 0, 5);
	tcase_add_test(tests, the_longest_record);
	tcase_add_test(tests, a_record_that_the_other_link_cannot_carry);
	tcase_add_test(tests, a_record_too_long_that_had_to_wait);
	tcase_add_test(tests, a_record_that_could_not_be_read_whole);
	tcase_add_test(tests, records_to_a_stream_of_bytes);
	tcase_add_test(tests, bytes_to_a_link_of_records);
	return tests;
}

static TCase *case_no_flow_control(void)
{
	TCase *tests = tcase_create("no flow control");

	tcase_add_test(tests, it_is_read_on_while_the_other_end_stalls);
	/* Under valgrind not by the single byte: that takes a minute. */
	tcase_add_loop_test(tests, at_the_bound_it_ends,
			    getenv("BTGATE_VALGRIND") ? 4 : 0, 8);
	tcase_add_test(tests, bytes_without_flow_control_are_bounded_too);
	tcase_add_test(tests, what_the_kernel_dropped_ends_it);
	tcase_add_test(tests, a_stop_without_flow_control);
	return tests;
}

static TCase *case_packets(void)
{
	TCase *tests = tcase_create("packets");

	tcase_add_test(tests, each_packet_is_one_write);
	tcase_add_test(tests, each_packet_is_one_record);
	tcase_add_test(tests, records_are_put_together_where_it_is_asked_for);
	tcase_add_test(tests, a_silence_sends);
	tcase_add_test(tests, a_silence_that_nobody_listened_to);
	tcase_add_test(tests, a_packet_with_no_end_in_sight);
	tcase_add_test(tests, what_a_stalled_direction_holds);
	tcase_add_test(tests, a_stop_sends_what_was_put_together);
	tcase_add_test(tests, half_a_packet_of_the_side_that_stays);
	tcase_add_test(tests, half_an_answer_before_the_linger_ends);
	tcase_add_test(tests, packing_without_flow_control);
	tcase_add_loop_test(tests, random_packets, 0, 10);
	tcase_add_loop_test(tests, random_packets_to_a_stream, 0, 5);
	return tests;
}

int main(void)
{
	TCase *cases[] = {case_records(), case_no_flow_control(),
			  case_packets()};
	Suite *suite = suite_create("session_pieces");
	SRunner *runner = srunner_create(suite);
	int failed;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		suite_add_tcase(suite, cases[i]);
		tcase_set_timeout(cases[i], 60);
		tcase_add_checked_fixture(cases[i], setup, teardown);
	}
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
