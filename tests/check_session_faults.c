/* SPDX-License-Identifier: MIT */
/*
 * The pump when things go wrong: every call of a stream fails once in every
 * way, either end goes away after every step, memory runs out at every
 * allocation. Whatever happens, what comes out is the beginning of what went
 * in, all that was read is delivered or counted as lost, and the session ends
 * once. Linked with --wrap for malloc, calloc and realloc.
 */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "endpoint.h"
#include "loop.h"
#include "session.h"
#include "socket.h"

#define DEADLINE_MS 20000

/* ---- memory that runs out ------------------------------------------------------ */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);

static int allocations_left = -1; /* until one fails; -1: none does */
static bool is_inside; /* the loop or the session, not Check */

static bool is_refused(void)
{
	if (!is_inside || allocations_left < 0 || allocations_left-- > 0)
		return false;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t bytes)
{
	return is_refused() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
	return is_refused() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
	return is_refused() ? NULL : __real_realloc(old, bytes);
}

/* ---- streams that fail --------------------------------------------------------- */

struct faulty {
	struct stream stream;
	uint64_t read_bytes, written_bytes;
	int closings;
};

static int calls_left = -1; /* until one fails; -1: none does */
static int fault_code;
static bool are_writes_stuck; /* they say it always */
static unsigned int calls;

/* 0, or what the call has to say instead of doing anything. */
static int fault(void)
{
	calls++;
	return calls_left >= 0 && calls_left-- == 0 ? fault_code : 0;
}

static ssize_t faulty_read(struct stream *stream, void *buffer, size_t bytes)
{
	int code = fault();
	ssize_t got = code ? code : socket_read(stream, buffer, bytes);

	((struct faulty *)stream)->read_bytes += got > 0 ? (size_t)got : 0;
	return got;
}

static ssize_t faulty_peek(struct stream *stream, void *buffer, size_t bytes)
{
	int code = fault();

	return code ? code : socket_peek(stream, buffer, bytes);
}

static void faulty_skip(struct stream *stream, size_t bytes)
{
	static uint8_t skipped[256 * 1024];

	ssize_t got = socket_read(stream, skipped, bytes);

	((struct faulty *)stream)->read_bytes += got > 0 ? (size_t)got : 0;
}

static ssize_t faulty_write(struct stream *stream, const void *buffer,
			    size_t bytes)
{
	int code = are_writes_stuck ? fault_code : fault();
	ssize_t put = code ? code : socket_write(stream, buffer, bytes);

	calls += are_writes_stuck;
	((struct faulty *)stream)->written_bytes += put > 0 ? (size_t)put : 0;
	return put;
}

static int faulty_write_record(struct stream *stream, const void *buffer,
			       size_t bytes)
{
	ssize_t put = faulty_write(stream, buffer, bytes);

	return put < 0 ? (int)put : 0;
}

static int faulty_check(struct stream *stream)
{
	int code = fault();

	return code ? code : socket_check(stream);
}

static int faulty_shutdown_write(struct stream *stream)
{
	int code = fault();

	return code ? code : socket_shutdown_write(stream);
}

static void faulty_close(struct stream *stream, enum stream_close how)
{
	((struct faulty *)stream)->closings++;
	close(stream->read_fd);
}

/* With half-close, as TCP; without, as a serial link; of records. */
static const struct stream_ops whole_ops = {
	.read = faulty_read,
	.peek = faulty_peek,
	.skip = faulty_skip,
	.write = faulty_write,
	.check = faulty_check,
	.shutdown_write = faulty_shutdown_write,
	.close = faulty_close,
};

static const struct stream_ops link_ops = {
	.read = faulty_read,
	.write = faulty_write,
	.close = faulty_close,
};

static const struct stream_ops record_ops = {
	.read = faulty_read,
	.write = faulty_write,
	.write_record = faulty_write_record,
	.close = faulty_close,
};

/* ---- lives -------------------------------------------------------------------- */

struct kind {
	const char *name;
	const struct stream_ops *client, *target;
	bool has_no_flow_control; /* the target */
	bool is_large; /* much at once, for reads that grow */
	struct endpoint_packing client_packing, target_packing;
};

#define UNTIL(c) .has_delimiter = true, .delimiter = (c)

static const struct kind kinds[] = {
	{.name = "whole to whole", .client = &whole_ops, .target = &whole_ops},
	{.name = "much from whole to link",
	 .client = &whole_ops,
	 .target = &link_ops,
	 .is_large = true},
	{.name = "link to whole", .client = &link_ops, .target = &whole_ops},
	{.name = "whole to link", .client = &whole_ops, .target = &link_ops},
	{.name = "records", .client = &record_ops, .target = &record_ops},
	{.name = "link to records without flow control",
	 .client = &link_ops,
	 .target = &record_ops,
	 .has_no_flow_control = true},
	{.name = "records without flow control",
	 .client = &record_ops,
	 .target = &record_ops,
	 .has_no_flow_control = true},
	{.name = "packed both ways",
	 .client = &whole_ops,
	 .target = &link_ops,
	 .client_packing = {UNTIL('k'), .gap_ms = 2},
	 .target_packing = {.bytes = 700, .gap_ms = 1}},
	{.name = "packed to records, from a link without flow control",
	 .client = &record_ops,
	 .target = &link_ops,
	 .has_no_flow_control = true,
	 .client_packing = {UNTIL('k')},
	 .target_packing = {UNTIL('q'), .bytes = 900, .gap_ms = 1}},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* A far end: what it sent and what it got. Byte N is the same at all of them. */
struct far {
	int fd;
	uint64_t sent_bytes, got_bytes;
};

static const struct kind *kind; /* of the life that is lived */
static struct loop *loop;
static struct session *session;
static struct session_settings settings;
static struct faulty client, target;
static struct far client_far, target_far;
static int endings;
static struct session_counters counters;
static char reason[SESSION_REASON_BYTES];

static void on_end(struct session *ended, void *arg)
{
	endings++;
	counters = *session_counters(ended);
	session_format_reason(ended, reason);
	session = NULL;
}

static void make_end(struct faulty *near, struct far *far,
		     const struct stream_ops *ops)
{
	const int type = ops->write_record ? SOCK_SEQPACKET : SOCK_STREAM;
	/* To be full soon. */
	const int queue_bytes = kind->is_large ? 300000 : 4096;
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX,
				    type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
				    ends),
			 0);
	for (int i = 0; i < 2; i++)
		setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &queue_bytes,
			   sizeof(queue_bytes));
	*near = (struct faulty){.stream = {.ops = ops,
					   .read_fd = ends[0],
					   .write_fd = ends[0],
					   .peer = "peer"}};
	*far = (struct far){.fd = ends[1]};
}

static uint8_t byte_at(uint64_t position)
{
	return (uint8_t)('a' + (position * 7 + position / 31) % 26);
}

static void far_send(struct far *far, size_t bytes)
{
	uint8_t data[4096];
	ssize_t put;

	if (far->fd < 0)
		return;
	for (size_t i = 0; i < bytes; i++)
		data[i] = byte_at(far->sent_bytes + i);
	put = send(far->fd, data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
	far->sent_bytes += put > 0 ? (size_t)put : 0;
}

/* Whether something came. */
static bool far_receive(struct far *far)
{
	static uint8_t data[65536];
	int wrong = 0;
	ssize_t got;

	if (far->fd < 0)
		return false;
	do {
		got = recv(far->fd, data, sizeof(data), MSG_DONTWAIT);
	} while (got < 0 && errno == ECONNRESET); /* said before the rest */
	for (ssize_t i = 0; i < got; i++)
		wrong += data[i] != byte_at(far->got_bytes + (uint64_t)i);
	ck_assert_int_eq(wrong, 0);
	far->got_bytes += got > 0 ? (size_t)got : 0;
	return got > 0;
}

/* A unix socket that closes with something unread resets the other one. */
static void far_close(struct far *far)
{
	if (far->fd >= 0)
		close(far->fd);
	far->fd = -1;
}

static void turn(void)
{
	is_inside = true;
	event_base_loop(loop->base, EVLOOP_NONBLOCK);
	is_inside = false;
}

/* All that comes now, at both ends. */
static void receive_all(void)
{
	bool is_quiet = false;

	while (!is_quiet) {
		is_quiet = true;
		for (int i = 0; i < 4; i++)
			turn();
		while (far_receive(&client_far) || far_receive(&target_far))
			is_quiet = false;
	}
}

/* What both ends do, whatever becomes of it. */
#define STEPS 22

static void step(int i)
{
	if (i < 5) { /* talk */
		far_send(&client_far, 1 + (size_t)i * 397);
		far_send(&target_far, 1 + (size_t)i * 261);
		turn();
		far_receive(&target_far);
		far_receive(&client_far);
	} else if (i < 12) { /* stall */
		for (int j = kind->is_large ? 100 : 1; j; j--)
			far_send(&client_far, 2000);
		far_send(&target_far, i < 9 ? 2000 : 100);
		for (int j = 0; j < 5; j++)
			turn();
		far_send(&client_far, 1000);
	} else if (i < 16) { /* be released, by and by */
		far_receive(&target_far);
		if (i % 2)
			far_receive(&client_far);
		turn();
	} else if (i == 17 || i == 18) {
		receive_all();
		if (kind->client_packing.gap_ms || kind->target_packing.gap_ms)
			poll(NULL, 0, 3); /* for the gaps */
		far_send(&target_far, 33);
	} else if (i == 19 && client_far.fd >= 0) {
		receive_all();
		shutdown(client_far.fd, SHUT_WR);
	} else if (i == 20 && client.stream.ops->shutdown_write) {
		receive_all();
		far_send(&target_far, 44);
	} else if (i == 21) {
		receive_all();
		far_close(&target_far);
	}
	turn();
}

static void await_end(void)
{
	uint64_t deadline = loop_now_ms() + DEADLINE_MS;

	while (!endings) {
		ck_assert_uint_lt(loop_now_ms(), deadline);
		receive_all();
		if (!endings)
			poll(NULL, 0, 1);
	}
	receive_all();
}

static void check_life(void)
{
	turn();
	ck_assert_int_eq(endings, 1);
	ck_assert_int_eq(client.closings, 1);
	ck_assert_int_eq(target.closings, 1);
	/* All that was read was delivered, or is counted as lost. */
	ck_assert_msg(client.read_bytes + target.read_bytes ==
			      counters.up_bytes + counters.down_bytes +
				      counters.lost_bytes,
		      "%s: read %llu and %llu, up %llu, down %llu, lost %llu: "
		      "%s",
		      kind->name, (unsigned long long)client.read_bytes,
		      (unsigned long long)target.read_bytes,
		      (unsigned long long)counters.up_bytes,
		      (unsigned long long)counters.down_bytes,
		      (unsigned long long)counters.lost_bytes, reason);
	ck_assert_uint_eq(counters.up_bytes, target.written_bytes);
	ck_assert_uint_eq(counters.down_bytes, client.written_bytes);
	/* It did not spin: each call has something to do, or waits 10 ms. */
	ck_assert_msg(calls < 1000, "%u calls: %s", calls, reason);
}

/* One life; what is done to it is the caller's. NULL was made of it: false. */
static bool begin_life(void)
{
	settings = (struct session_settings){
		.linger_ms = 2,
		.drain_timeout_ms = 10,
		.client_packing = kind->client_packing,
		.target_packing = kind->target_packing,
		.ended = on_end,
	};
	make_end(&client, &client_far, kind->client);
	make_end(&target, &target_far, kind->target);
	target.stream.has_no_flow_control = kind->has_no_flow_control;
	endings = 0;
	calls = 0;
	is_inside = true;
	session = session_new(loop, &client.stream, &target.stream, &settings,
			      0, NULL);
	is_inside = false;
	return session;
}

static void end_life(void)
{
	await_end();
	check_life();
	far_close(&client_far);
	far_close(&target_far);
}

static void setup(void)
{
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
}

static void teardown(void)
{
	loop_free(loop);
}

/* valgrind is slow, and a life is a life. */
static int stride(int nth)
{
	return getenv("BTGATE_VALGRIND") ? 1 + nth : 1 + nth / 10;
}

START_TEST(nothing_goes_wrong)
{
	kind = &kinds[_i];

	ck_assert(begin_life());
	for (int i = 0; i < STEPS; i++)
		step(i);
	end_life();
	if (!kind->has_no_flow_control)
		ck_assert_uint_eq(counters.lost_bytes, 0);
	ck_assert_uint_eq(target_far.got_bytes, counters.up_bytes);
	ck_assert_uint_gt(counters.up_bytes, 6000);
	ck_assert_uint_gt(counters.down_bytes, 5000);
}
END_TEST

START_TEST(every_call_fails_once)
{
	static const int codes[] = {EINTR,	EAGAIN,	      EIO,
				    ENOBUFS,	ENOMEM,	      EPIPE,
				    ECONNRESET, ECONNABORTED, EMSGSIZE};
	const size_t code_count = sizeof(codes) / sizeof(codes[0]);
	kind = &kinds[(size_t)_i / code_count];
	bool has_failed = true;

	fault_code = -codes[(size_t)_i % code_count];
	for (int nth = 0; has_failed; nth += stride(nth)) {
		calls_left = nth;
		ck_assert(begin_life());
		for (int i = 0; i < STEPS; i++)
			step(i);
		end_life();
		has_failed = calls_left < 0;
		/* A signal or a full queue is no reason for anything. */
		if (fault_code == -EINTR && !kind->has_no_flow_control)
			ck_assert_uint_eq(counters.lost_bytes, 0);
	}
}
END_TEST

/* With something unread, which is a reset, and without. */
START_TEST(either_end_goes_after_every_step)
{
	kind = &kinds[(size_t)_i / 4];
	struct far *far = _i & 1 ? &client_far : &target_far;

	for (int when = 0; when < STEPS; when++) {
		ck_assert(begin_life());
		for (int i = 0; i < STEPS; i++) {
			if (i == when && _i & 2)
				while (far_receive(far))
					;
			if (i == when)
				far_close(far);
			step(i);
		}
		end_life();
	}
}
END_TEST

/* One soon after the other, with everything unread that there is. */
START_TEST(both_ends_go_after_every_step)
{
	struct far *first = _i & 1 ? &client_far : &target_far;
	struct far *second = _i & 1 ? &target_far : &client_far;

	kind = &kinds[(size_t)_i / 2];
	for (int when = 0; when < STEPS; when++) {
		ck_assert(begin_life());
		for (int i = 0; i < when; i++)
			step(i);
		far_close(first);
		turn();
		turn();
		far_close(second);
		end_life();
	}
}
END_TEST

/* Stopped, stopped and aborted, or replaced after every step. */
START_TEST(it_is_stopped_after_every_step)
{
	kind = &kinds[(size_t)_i / 3];

	for (int when = 0; when < STEPS; when++) {
		ck_assert(begin_life());
		for (int i = 0; i < STEPS; i++) {
			if (i == when && session && _i % 3 == 2)
				session_replace(session, "another");
			else if (i == when && session)
				session_stop(session);
			if (i == when + 3 && session && _i % 3 == 1)
				session_abort(session);
			step(i);
		}
		end_life();
	}
}
END_TEST

/* From some time on a side takes nothing, although it is said to. */
START_TEST(writes_never_go)
{
	kind = &kinds[(size_t)_i / 2];
	fault_code = _i % 2 ? -EAGAIN : -ENOBUFS;
	ck_assert(begin_life());
	for (int i = 0; i < 16; i++) {
		are_writes_stuck = i > 8;
		step(i);
	}
	for (int i = 0; i < 100; i++) {
		turn();
		poll(NULL, 0, 1);
	}
	if (session)
		session_stop(session);
	end_life();
	are_writes_stuck = false;
}
END_TEST

START_TEST(every_allocation_fails)
{
	kind = &kinds[_i];
	bool has_failed = true;
	int nth, refusals = 0;

	for (nth = 0; has_failed; nth += stride(nth)) {
		allocations_left = nth;
		if (begin_life()) {
			for (int i = 0; i < STEPS; i++)
				step(i);
			end_life();
		} else {
			ck_assert_int_eq(errno, ENOMEM);
			ck_assert_int_eq(client.closings + target.closings, 0);
			stream_close(&client.stream, STREAM_CLOSE_ORDERLY);
			stream_close(&target.stream, STREAM_CLOSE_ORDERLY);
			far_close(&client_far);
			far_close(&target_far);
			refusals++;
		}
		has_failed = allocations_left < 0;
		allocations_left = -1;
	}
	ck_assert_int_gt(refusals, 0);
	ck_assert_int_gt(nth, refusals + 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("session_faults");
	TCase *tests = tcase_create("faults");
	SRunner *runner;
	int failed;

	event_set_mem_functions(__wrap_malloc, __wrap_realloc, free);
	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 120);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_loop_test(tests, nothing_goes_wrong, 0, KINDS);
	tcase_add_loop_test(tests, every_call_fails_once, 0, KINDS * 9);
	tcase_add_loop_test(tests, either_end_goes_after_every_step, 0,
			    KINDS * 4);
	tcase_add_loop_test(tests, both_ends_go_after_every_step, 0, KINDS * 2);
	tcase_add_loop_test(tests, it_is_stopped_after_every_step, 0,
			    KINDS * 3);
	tcase_add_loop_test(tests, writes_never_go, 0, KINDS * 2);
	tcase_add_loop_test(tests, every_allocation_fails, 0, KINDS);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
