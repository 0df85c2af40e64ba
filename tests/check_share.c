/* SPDX-License-Identifier: MIT */
/*
 * One thing for many clients, with real sessions between: who hears what, who
 * may write, who waits for whom, and when it is opened and let go.
 */
#include "clients_fixture.h"

#include <fcntl.h>
#include <sys/resource.h>

#include "share.h"

#define MEGABYTE (1024 * 1024)
/* A unix pair, a session's share of a blocked direction, and another pair. */
#define SWALLOWED_BYTES_MAX (2 * MEGABYTE)

static enum share_write share_write = SHARE_WRITE_ALL;
static bool is_broken; /* the thing fails what is written to it */
static unsigned int reads_when_broken;
static unsigned int finish_count;

static void setup_share(void)
{
	setup();
	is_broken = false;
	reads_when_broken = finish_count = 0;
	config.when_busy = WHEN_BUSY_SHARE;
	config.share_write = share_write;
	served = share_target_new(loop, &target.target, share_write);
	ck_assert_ptr_nonnull(served);
	ck_assert_uint_eq(served->sessions_max, 0);
}

static void setup_first_writes(void)
{
	share_write = SHARE_WRITE_FIRST;
	setup_share();
	share_write = SHARE_WRITE_ALL;
}

static size_t swallow(int fd)
{
	static uint8_t buffer[65536];
	ssize_t n = recv(fd, buffer, sizeof(buffer), 0);

	return n > 0 ? (size_t)n : 0;
}

/* Until no more comes by itself; how much it was. */
static size_t read_all(int fd)
{
	size_t total = 0;
	int idle = 0;

	while (idle < 5) {
		size_t n = swallow(fd);

		total += n;
		idle = n ? 0 : idle + 1;
		settle();
	}
	return total;
}

/* Write until no more is taken; how much it was. */
static size_t fill(int fd)
{
	static const uint8_t chunk[16384];
	size_t total = 0;
	int idle = 0;

	while (idle < 5) {
		ssize_t n = send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL);

		total += n > 0 ? (size_t)n : 0;
		idle = n > 0 ? 0 : idle + 1;
		settle();
	}
	return total;
}

static void hang_up(void)
{
	for (unsigned int i = 0; i < target.far_count; i++)
		if (target.far_fds[i] == target.far_fd)
			target.far_fds[i] = -1;
	close(target.far_fd);
	target.far_fd = -1;
}

/* ---- opening and letting go ----------------------------------------------------- */

START_TEST(dialled_with_the_first_let_go_with_the_last)
{
	come(0);
	expect_in(0);
	come(1);
	expect_in(1);
	ck_assert_uint_eq(target.dial_count, 1);
	leave(0);
	await_log("session 1 with client-0 ended: client closed");
	put(far_fd[1], "alone");
	expect(target.far_fd, "alone");
	leave(1);
	await_log("session 2 with client-1 ended: client closed");
	settle();
	ck_assert_uint_eq(target.open_count, 0);
	come(2);
	expect_in(2);
	ck_assert_uint_eq(target.dial_count, 2);
	ck_assert_uint_eq(target.open_most, 1);
}
END_TEST

START_TEST(all_who_come_while_it_is_dialled_get_in)
{
	target.is_silent = true;
	come(0);
	come(1);
	settle();
	expect_silence(far_fd[0]);
	fake_answer(&target);
	expect_in(0);
	expect_in(1);
	ck_assert_uint_eq(target.dial_count, 1);
	put(target.far_fd, "welcome");
	expect(far_fd[0], "welcome");
	expect(far_fd[1], "welcome");
}
END_TEST

START_TEST(a_dial_that_fails_is_told_to_all_who_wait)
{
	target.is_silent = true;
	target.refusal = -EIO;
	come(0);
	come(1);
	fake_answer(&target);
	expect_closed(far_fd[0]);
	expect_closed(far_fd[1]);
	ck_assert_uint_eq(log_count("the fake refused: Input/output error"), 2);
	target.refusal = 0;
	target.is_silent = false;
	come(2);
	expect_in(2);
}
END_TEST

START_TEST(one_who_gives_up_leaves_the_dial_to_the_other)
{
	target.is_silent = true;
	come(0);
	come(1);
	leave(0);
	await_log("refused client-0: the client left");
	fake_answer(&target);
	expect_in(1);
	ck_assert_uint_eq(target.dial_count, 1);
}
END_TEST

START_TEST(the_last_who_gives_up_ends_the_dial)
{
	target.is_silent = true;
	come(0);
	come(1);
	leave(0);
	leave(1);
	await_log("refused client-1: the client left");
	await_log("refused client-0: the client left");
	ck_assert(TAILQ_EMPTY(&target.dials));
}
END_TEST

/* It is open already, and nobody ever gets as far as to use it. */
START_TEST(let_go_when_who_waits_gives_up_between_dial_and_answer)
{
	struct stream *stream;
	int ends[2];

	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	stream = socket_stream_new(&phone_ops, ends[0], "hasty");
	clients_take(clients, stream, served);
	/* phone_ops tells it on admission, and finds that it is gone. */
	close(ends[1]);
	settle();
	ck_assert_uint_eq(clients_count(clients), 0);
	ck_assert_uint_eq(target.open_count, 0);
}
END_TEST

START_TEST(max_sessions_bounds_the_clients)
{
	config.max_sessions = 2;
	come(0);
	expect_in(0);
	come(1);
	expect_in(1);
	come(2);
	expect_closed(far_fd[2]);
	ck_assert(log_has("refused client-2: the route has as many sessions"));
}
END_TEST

START_TEST(no_descriptors_left)
{
	struct rlimit limit, none;

	come(0);
	expect_in(0);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	/* A socketpair for the client, and none for its pipe. */
	none.rlim_cur = (rlim_t)dup(0) + 2;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	close((int)none.rlim_cur - 2);
	come(1);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	expect_closed(far_fd[1]);
	ck_assert(log_has("refused client-1: Too many open files"));
	put(far_fd[0], "still here");
	expect(target.far_fd, "still here");
}
END_TEST

/* ---- who hears what --------------------------------------------------------------- */

START_TEST(everybody_hears_from_when_they_came)
{
	come(0);
	expect_in(0);
	put(target.far_fd, "one ");
	expect(far_fd[0], "one ");
	come(1);
	expect_in(1);
	put(target.far_fd, "two");
	expect(far_fd[0], "two");
	expect(far_fd[1], "two");
	expect_silence(far_fd[0]);
	expect_silence(far_fd[1]);
}
END_TEST

/* Odd pieces, at odd times, to three who read at their own pace. */
START_TEST(megabytes_to_all_who_keep_up)
{
	const size_t total = 4 * MEGABYTE;
	uint8_t *sent = malloc(total), *got = malloc(3 * total);
	size_t in = 0, out[3] = {0}, least = 0;
	uint64_t deadline = loop_now_ms() + DEADLINE_MS;
	unsigned int seed = 11;

	for (size_t i = 0; i < total; i++)
		sent[i] = (uint8_t)(rand_r(&seed) >> 5);
	for (int i = 0; i < 3; i++) {
		come(i);
		expect_in(i);
	}
	while (least < total) {
		size_t piece = 1 + (size_t)rand_r(&seed) % 20000;
		ssize_t n;

		ck_assert_msg(loop_now_ms() < deadline, "stuck at %zu", least);
		if (piece > total - in)
			piece = total - in;
		n = piece ? send(target.far_fd, sent + in, piece, MSG_NOSIGNAL)
			  : 0;
		in += n > 0 ? (size_t)n : 0;
		turn();
		least = total;
		for (int i = 0; i < 3; i++) {
			size_t most = 1 + (size_t)rand_r(&seed) % 40000;

			if (most > total - out[i])
				most = total - out[i];
			n = recv(far_fd[i], got + (size_t)i * total + out[i],
				 most, 0);
			out[i] += n > 0 ? (size_t)n : 0;
			least = out[i] < least ? out[i] : least;
		}
	}
	for (size_t i = 0; i < 3; i++)
		ck_assert_mem_eq(sent, got + i * total, total);
	free(sent);
	free(got);
}
END_TEST

START_TEST(a_slow_client_is_dropped_and_the_others_go_on)
{
	size_t said = 0, heard = 0;

	come(0);
	expect_in(0);
	come(1);
	expect_in(1);
	while (!log_has("client-0 ended: client too slow: ")) {
		said += fill(target.far_fd);
		heard += read_all(far_fd[1]);
		ck_assert_uint_lt(said, 8 * MEGABYTE);
		/* It is told when it does not take even what is on its way. */
		if (said > 4 * MEGABYTE)
			read_all(far_fd[0]);
	}
	heard += read_all(far_fd[1]);
	ck_assert_uint_eq(heard, said);
	ck_assert_uint_gt(said, SHARE_BEHIND_BYTES_MAX);
	put(far_fd[1], "still here");
	expect(target.far_fd, "still here");
	ck_assert_uint_eq(clients_count(clients), 1);
}
END_TEST

START_TEST(nobody_is_dropped_while_all_are_slow)
{
	size_t said, heard[2] = {0};

	come(0);
	expect_in(0);
	come(1);
	expect_in(1);
	said = fill(target.far_fd);
	/* It is pushed back, as a single client would do. */
	ck_assert_uint_lt(said, SWALLOWED_BYTES_MAX);
	for (int i = 0; i < 40; i++) {
		heard[0] += swallow(far_fd[0]);
		heard[1] += swallow(far_fd[1]);
		settle();
	}
	ck_assert_uint_eq(heard[0], said);
	ck_assert_uint_eq(heard[1], said);
	ck_assert_uint_eq(clients_count(clients), 2);
}
END_TEST

START_TEST(a_thing_that_cannot_be_slowed_down)
{
	uint64_t begin_ms = loop_now_ms();

	target.has_no_flow_control = true;
	config.drain_timeout_ms = 50;
	come(0);
	expect_in(0);
	/* How much it says in that time depends on the machine. */
	while (!log_has("client-0 ended: client too slow: ")) {
		fill(target.far_fd);
		ck_assert_uint_lt(loop_now_ms() - begin_ms, 20000);
	}
}
END_TEST

/* ---- who may write ------------------------------------------------------------------ */

START_TEST(all_write_as_it_comes)
{
	come(0);
	expect_in(0);
	come(1);
	expect_in(1);
	put(far_fd[0], "a");
	expect(target.far_fd, "a");
	put(far_fd[1], "b");
	expect(target.far_fd, "b");
	put(far_fd[0], "c");
	expect(target.far_fd, "c");
}
END_TEST

START_TEST(only_the_first_writes)
{
	come(0);
	expect_in(0);
	come(1);
	expect(far_fd[1], "+");
	put(far_fd[1], "nobody hears this");
	expect_silence(target.far_fd);
	put(far_fd[0], "heard");
	expect(target.far_fd, "heard");
	put(target.far_fd, "answer");
	expect(far_fd[0], "answer");
	expect(far_fd[1], "answer");
	leave(0);
	await_log("session 1 with client-0 ended");
	ck_assert(!log_has("discarded"));
	/* Now it is the one that is there longest. */
	put(far_fd[1], "at last");
	expect(target.far_fd, "at last");
	leave(1);
	await_log("session 2 with client-1 ended: client closed");
	ck_assert(log_has("7 bytes to target, 6 bytes to client, 17 bytes "
			  "from client discarded: it was not the first"));
}
END_TEST

START_TEST(a_client_that_floods_is_slowed_down_alone)
{
	size_t flood = 0, taken, more;

	come(0);
	expect_in(0);
	come(1);
	expect_in(1);
	flood = fill(far_fd[0]);
	ck_assert_uint_lt(flood, SWALLOWED_BYTES_MAX);
	/* What the thing says still comes. */
	put(target.far_fd, "news");
	expect(far_fd[0], "news");
	expect(far_fd[1], "news");
	/* And who waits to write gets a turn, though the flood goes on. */
	put(far_fd[1], "!");
	for (taken = 0; taken < 16 * MEGABYTE; taken += more) {
		static uint8_t buffer[4096];
		ssize_t n = recv(target.far_fd, buffer, sizeof(buffer), 0);

		more = n > 0 ? (size_t)n : 0;
		if (more && memchr(buffer, '!', more))
			break;
		while (send(far_fd[0], "\0\0\0\0\0\0\0\0", 8, MSG_NOSIGNAL) > 0)
			;
		settle();
	}
	ck_assert_uint_lt(taken, 16 * MEGABYTE);
}
END_TEST

START_TEST(last_bytes_of_the_last_client_arrive)
{
	size_t sent, got;

	come(0);
	expect_in(0);
	sent = fill(far_fd[0]);
	leave(0);
	got = read_all(target.far_fd);
	ck_assert_uint_eq(got, sent);
	await_log("session 1 with client-0 ended: client closed");
	ck_assert(!log_has("could not be delivered"));
	settle();
	ck_assert_uint_eq(target.open_count, 0);
}
END_TEST

/* ---- the thing ends ------------------------------------------------------------------- */

START_TEST(its_end_is_everybody_s_after_its_last_words)
{
	come(0);
	expect_in(0);
	come(1);
	expect_in(1);
	put(target.far_fd, "last words");
	hang_up();
	expect(far_fd[0], "last words");
	expect(far_fd[1], "last words");
	expect_closed(far_fd[0]);
	expect_closed(far_fd[1]);
	ck_assert_uint_eq(log_count("ended: target closed"), 2);
	settle();
	ck_assert_uint_eq(target.open_count, 0);
}
END_TEST

START_TEST(it_ends_while_all_are_stalled)
{
	size_t said, heard[2] = {0};

	come(0);
	expect_in(0);
	come(1);
	expect_in(1);
	said = fill(target.far_fd);
	hang_up();
	settle();
	for (int i = 0; i < 40; i++) {
		heard[0] += swallow(far_fd[0]);
		heard[1] += swallow(far_fd[1]);
		settle();
	}
	ck_assert_uint_eq(heard[0], said);
	ck_assert_uint_eq(heard[1], said);
	settle();
	ck_assert_uint_eq(log_count("ended: target closed"), 2);
	ck_assert(!log_has("could not be delivered"));
	ck_assert_uint_eq(target.open_count, 0);
}
END_TEST

/* As a session of its own would: noticed at once, drained, and cut. */
START_TEST(it_ends_while_all_are_stuck_for_good)
{
	config.drain_timeout_ms = 50;
	come(0);
	expect_in(0);
	fill(target.far_fd);
	hang_up();
	await_log("session 1 with client-0 ended: target closed");
	ck_assert(log_has("could not be delivered"));
	settle();
	ck_assert_uint_eq(target.open_count, 0);
}
END_TEST

START_TEST(one_that_comes_while_it_ends_gets_a_new_one)
{
	size_t said;

	come(0);
	expect_in(0);
	said = fill(target.far_fd);
	hang_up();
	settle();
	come(1);
	expect_silence(far_fd[1]);
	ck_assert_uint_eq(target.dial_count, 1);
	ck_assert_uint_eq(read_all(far_fd[0]), said);
	expect_in(1);
	ck_assert_uint_eq(target.dial_count, 2);
	ck_assert_uint_eq(target.open_most, 1);
}
END_TEST

START_TEST(what_came_behind_a_gap_is_lost_to_all)
{
	target.has_no_flow_control = true;
	come(0);
	expect_in(0);
	come(1);
	expect_in(1);
	put(target.far_fd, "before");
	expect(far_fd[0], "before");
	expect(far_fd[1], "before");
	target.has_gap = true;
	put(target.far_fd, "after");
	expect_closed(far_fd[0]);
	expect_closed(far_fd[1]);
	ck_assert_uint_eq(log_count(", 5 bytes could not be delivered"), 2);
	settle();
	ck_assert_uint_eq(target.open_count, 0);
}
END_TEST

START_TEST(a_gap_in_its_last_words)
{
	char lost[64];
	size_t said;

	come(0);
	expect_in(0);
	said = fill(target.far_fd);
	hang_up();
	settle();
	target.has_gap = true;
	said -= read_all(far_fd[0]);
	ck_assert_uint_gt(said, 0);
	snprintf(lost, sizeof(lost), ", %zu bytes could not be delivered",
		 said);
	await_log(lost);
}
END_TEST

static ssize_t broken_read(struct stream *stream, void *buffer, size_t bytes)
{
	if (is_broken) {
		reads_when_broken++;
		return -EAGAIN;
	}
	return socket_read(stream, buffer, bytes);
}

static ssize_t broken_write(struct stream *stream, const void *buffer,
			    size_t bytes)
{
	if (*(const char *)buffer != 'X')
		return socket_write(stream, buffer, bytes);
	is_broken = true;
	shutdown(stream->read_fd, SHUT_RDWR);
	return -EIO;
}

/* RFCOMM's manners: it says so once, to who writes; then EAGAIN for ever. */
START_TEST(a_write_that_fails_ends_all)
{
	static const struct stream_ops ops = {
		.read = broken_read,
		.write = broken_write,
		.close = socket_close,
	};

	target.stream_ops = &ops;
	come(0);
	expect_in(0);
	come(1);
	expect_in(1);
	put(far_fd[1], "X");
	expect_closed(far_fd[0]);
	expect_closed(far_fd[1]);
	ck_assert_uint_eq(log_count("ended: target broke off: Input/output "
				    "error"),
			  2);
	settle();
	ck_assert_uint_lt(reads_when_broken, 4);
	ck_assert_uint_eq(target.open_count, 0);
}
END_TEST

static const char *last_reason(const struct stream *stream)
{
	return "the program ended with status 3";
}

static size_t slow_finish(struct stream *stream, bool is_stopping)
{
	return finish_count++ < 3 ? 1 : 0;
}

START_TEST(its_own_reason_is_everybody_s)
{
	static const struct stream_ops ops = {
		.read = socket_read,
		.write = socket_write,
		.end_reason = last_reason,
		.close = socket_close,
	};

	target.stream_ops = &ops;
	come(0);
	expect_in(0);
	come(1);
	expect_in(1);
	hang_up();
	expect_closed(far_fd[0]);
	expect_closed(far_fd[1]);
	ck_assert_uint_eq(log_count("ended: the program ended with status 3"),
			  2);
}
END_TEST

START_TEST(only_the_last_waits_for_it_to_finish)
{
	static const struct stream_ops ops = {
		.read = socket_read,
		.write = socket_write,
		.finish = slow_finish,
		.close = socket_close,
	};

	target.stream_ops = &ops;
	come(0);
	expect_in(0);
	come(1);
	expect_in(1);
	leave(0);
	await_log("session 1 with client-0 ended");
	ck_assert_uint_eq(finish_count, 0);
	leave(1);
	settle();
	ck_assert_uint_gt(finish_count, 0);
	/* It is on its way out: a new client does not get hold of it. */
	come(2);
	await_log("session 2 with client-1 ended");
	ck_assert_uint_eq(finish_count, 4);
	finish_count = 100;
	expect_in(2);
	ck_assert_uint_eq(target.dial_count, 2);
	ck_assert_uint_eq(target.open_most, 1);
}
END_TEST

/* All leave at once: somebody is the last of them. */
START_TEST(who_leave_together_wait_for_it_to_finish)
{
	static const struct stream_ops ops = {
		.read = socket_read,
		.write = socket_write,
		.finish = slow_finish,
		.close = socket_close,
	};

	target.stream_ops = &ops;
	for (int i = 0; i < 3; i++) {
		come(i);
		expect_in(i);
	}
	clients_stop(clients);
	await_log("session 1 with client-0 ended: stopped");
	await_log("session 2 with client-1 ended: stopped");
	await_log("session 3 with client-2 ended: stopped");
	ck_assert_uint_eq(finish_count, 4);
	settle();
	ck_assert_uint_eq(target.open_count, 0);
}
END_TEST

/* A pty's program is hung up when the last descriptor of its master closes. */
static size_t closing_finish(struct stream *stream, bool is_stopping)
{
	char byte;

	if (finish_count++ == 0) {
		close(stream->read_fd);
		stream->read_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		ck_assert_int_ge(stream->read_fd, 0);
	}
	if (finish_count > 3)
		return 0;
	ck_assert_int_eq(recv(target.far_fd, &byte, 1, 0), 0);
	return 1;
}

START_TEST(nothing_of_ours_holds_it_open_while_it_finishes)
{
	static const struct stream_ops ops = {
		.read = socket_read,
		.write = socket_write,
		.finish = closing_finish,
		.close = socket_close,
	};

	target.stream_ops = &ops;
	come(0);
	expect_in(0);
	leave(0);
	await_log("session 1 with client-0 ended: client closed");
	ck_assert_uint_gt(finish_count, 3);
}
END_TEST

static void on_dialled(struct stream *stream, int code,
		       const struct error *error, void *arg)
{
	ck_assert_ptr_nonnull(stream);
	*(struct stream **)arg = stream;
}

/* Nobody is left whose going would have it dialled anew. */
START_TEST(it_ends_just_when_only_a_dial_is_left)
{
	struct stream *first = NULL, *second = NULL;

	ck_assert_ptr_nonnull(target_dial(served, on_dialled, &first));
	settle();
	ck_assert_ptr_nonnull(target_dial(served, on_dialled, &second));
	stream_close(first, STREAM_CLOSE_ORDERLY);
	ck_assert_uint_eq(target.open_count, 1);
	hang_up();
	settle();
	ck_assert_ptr_nonnull(second);
	ck_assert_uint_eq(target.dial_count, 2);
	ck_assert_uint_eq(target.open_most, 1);
	stream_close(second, STREAM_CLOSE_ORDERLY);
	ck_assert_uint_eq(target.open_count, 0);
}
END_TEST

START_TEST(it_ends_just_when_only_a_dial_is_left_and_is_gone)
{
	struct stream *first = NULL, *second = NULL;
	struct dial *dial;

	ck_assert_ptr_nonnull(target_dial(served, on_dialled, &first));
	settle();
	dial = target_dial(served, on_dialled, &second);
	ck_assert_ptr_nonnull(dial);
	stream_close(first, STREAM_CLOSE_ORDERLY);
	hang_up();
	target.is_silent = true;
	settle();
	ck_assert_ptr_null(second);
	ck_assert_uint_eq(target.open_count, 0);
	ck_assert_uint_eq(target.dial_count, 2);
	dial_cancel(dial);
	ck_assert(TAILQ_EMPTY(&target.dials));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("share");
	TCase *tests = tcase_create("share");
	TCase *first = tcase_create("first writes");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	suite_add_tcase(suite, first);
	tcase_set_timeout(tests, 60);
	tcase_set_timeout(first, 60);
	tcase_add_checked_fixture(tests, setup_share, teardown);
	tcase_add_checked_fixture(first, setup_first_writes, teardown);
	tcase_add_test(tests, dialled_with_the_first_let_go_with_the_last);
	tcase_add_test(tests, all_who_come_while_it_is_dialled_get_in);
	tcase_add_test(tests, a_dial_that_fails_is_told_to_all_who_wait);
	tcase_add_test(tests, one_who_gives_up_leaves_the_dial_to_the_other);
	tcase_add_test(tests, the_last_who_gives_up_ends_the_dial);
	tcase_add_test(tests,
		       let_go_when_who_waits_gives_up_between_dial_and_answer);
	tcase_add_test(tests, max_sessions_bounds_the_clients);
	tcase_add_test(tests, no_descriptors_left);
	tcase_add_test(tests, everybody_hears_from_when_they_came);
	tcase_add_test(tests, megabytes_to_all_who_keep_up);
	tcase_add_test(tests, a_slow_client_is_dropped_and_the_others_go_on);
	tcase_add_test(tests, nobody_is_dropped_while_all_are_slow);
	tcase_add_test(tests, a_thing_that_cannot_be_slowed_down);
	tcase_add_test(tests, all_write_as_it_comes);
	tcase_add_test(tests, a_client_that_floods_is_slowed_down_alone);
	tcase_add_test(tests, last_bytes_of_the_last_client_arrive);
	tcase_add_test(tests, its_end_is_everybody_s_after_its_last_words);
	tcase_add_test(tests, it_ends_while_all_are_stalled);
	tcase_add_test(tests, it_ends_while_all_are_stuck_for_good);
	tcase_add_test(tests, one_that_comes_while_it_ends_gets_a_new_one);
	tcase_add_test(tests, what_came_behind_a_gap_is_lost_to_all);
	tcase_add_test(tests, a_gap_in_its_last_words);
	tcase_add_test(tests, a_write_that_fails_ends_all);
	tcase_add_test(tests, its_own_reason_is_everybody_s);
	tcase_add_test(tests, only_the_last_waits_for_it_to_finish);
	tcase_add_test(tests, who_leave_together_wait_for_it_to_finish);
	tcase_add_test(tests, nothing_of_ours_holds_it_open_while_it_finishes);
	tcase_add_test(tests, it_ends_just_when_only_a_dial_is_left);
	tcase_add_test(tests,
		       it_ends_just_when_only_a_dial_is_left_and_is_gone);
	tcase_add_test(first, only_the_first_writes);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
