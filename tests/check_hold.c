/* SPDX-License-Identifier: MIT */
/*
 * A target that goes and comes back, with real sessions between: who stays,
 * what is kept and what is lost, and when it is dialled.
 */
#include "clients_fixture.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/resource.h>

#include "backoff.h"
#include "hold.h"
#include "share.h"

#define RETRY_MIN_MS 1
#define RETRY_MAX_MS 8

static ssize_t refuse_write(struct stream *stream, const void *buffer,
			    size_t bytes)
{
	return -ECONNRESET;
}

static void hold(enum hold_mode mode, unsigned int buffer_bytes)
{
	const struct hold_settings settings = {
		.route = "test",
		.hold = mode,
		.buffer_bytes = buffer_bytes,
		.retry_min_ms = RETRY_MIN_MS,
		.retry_max_ms = RETRY_MAX_MS,
		.dial_timeout_ms = 5000,
	};

	served = hold_target_new(loop, &target.target, &settings);
	ck_assert_ptr_nonnull(served);
}

#define AWAIT(condition)                                             \
	do {                                                         \
		uint64_t deadline = loop_now_ms() + DEADLINE_MS;     \
                                                                     \
		while (!(condition)) {                               \
			ck_assert_msg(loop_now_ms() < deadline,      \
				      "not within the deadline: %s", \
				      #condition);                   \
			turn();                                      \
		}                                                    \
	} while (0)

/* The target is lost: in order, and what it was sent is gone. */
static void hang_up(void)
{
	target.far_fds[target.far_count - 1] = -1;
	close(target.far_fd);
	target.far_fd = -1;
}

/* From now on it cannot be reached. */
static void lose(void)
{
	target.refusal = -EHOSTDOWN;
	hang_up();
	await_log("fake is not reached again yet: the fake refused: "
		  "Host is down");
}

static void come_back(void)
{
	unsigned int before = target.far_count;

	target.refusal = 0;
	AWAIT(target.far_count > before);
}

/* ---- it goes and comes back -------------------------------------------------- */

START_TEST(a_client_stays_while_its_target_is_away)
{
	hold(HOLD_YES, 1000);
	come(0);
	expect_in(0);
	lose();
	ck_assert(log_has("fake is lost: it closed; it is dialled again, and "
			  "its client held"));
	come_back();
	put(far_fd[0], "still here");
	expect(target.far_fd, "still here");
	put(target.far_fd, "so am I");
	expect(far_fd[0], "so am I");
	await_log("fake is reached again after");
	/* Once, however often it was tried in vain. */
	ck_assert_uint_eq(log_count("is not reached"), 1);
	ck_assert_uint_eq(target.open_most, 1);
	leave(0);
	await_log("session 1 with client-0 ended: client closed");
	settle();
	ck_assert_uint_eq(target.open_count, 0);
}
END_TEST

START_TEST(its_last_words_come_first)
{
	hold(HOLD_YES, 1000);
	come(0);
	expect_in(0);
	put(target.far_fd, "last words");
	hang_up();
	AWAIT(target.far_count == 2);
	put(target.far_fd, ", first words");
	expect(far_fd[0], "last words, first words");
}
END_TEST

START_TEST(what_came_behind_a_gap_is_lost)
{
	hold(HOLD_YES, 1000);
	come(0);
	expect_in(0);
	put(target.far_fd, "before");
	expect(far_fd[0], "before");
	target.has_gap = true;
	put(target.far_fd, "after");
	AWAIT(target.far_count == 2);
	put(target.far_fd, ", again");
	expect(far_fd[0], ", again");
	leave(0);
	await_log("session 1 with client-0 ended: client closed");
	ck_assert(log_has(", 5 bytes could not be delivered"));
}
END_TEST

START_TEST(what_a_link_lost_before_is_not_its_next_client_s)
{
	hold(HOLD_LINK, 1000);
	AWAIT(target.far_count == 1);
	come(0);
	expect_in(0);
	target.has_gap = true;
	put(target.far_fd, "after");
	AWAIT(target.far_count == 2);
	leave(0);
	await_log("session 1 with client-0 ended: client closed");
	ck_assert(log_has(", 5 bytes could not be delivered"));
	come(1);
	expect_in(1);
	leave(1);
	await_log("session 2 with client-1 ended: client closed");
	ck_assert_uint_eq(log_count("could not be delivered"), 1);
}
END_TEST

START_TEST(what_is_sent_meanwhile_is_kept)
{
	hold(HOLD_YES, 1000);
	come(0);
	expect_in(0);
	lose();
	put(far_fd[0], "kept");
	settle();
	put(far_fd[0], ", in order");
	settle();
	come_back();
	put(far_fd[0], ", once");
	expect(target.far_fd, "kept, in order, once");
	expect_silence(target.far_fd);
	ck_assert(log_has("; 14 bytes were kept for it"));
}
END_TEST

START_TEST(what_is_kept_is_bounded)
{
	static uint8_t chunk[65536], got[65536];
	size_t sent = 0, received = 0;
	ssize_t n;

	hold(HOLD_YES, 5000);
	come(0);
	expect_in(0);
	lose();
	for (int idle = 0; idle < 3; settle()) {
		for (size_t i = 0; i < sizeof(chunk); i++)
			chunk[i] = (uint8_t)((sent + i) % 251);
		n = send(far_fd[0], chunk, sizeof(chunk), MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
		idle = n > 0 ? 0 : idle + 1;
	}
	/* The client waits: a socket's buffers, a session's share, and 5000. */
	ck_assert_uint_lt(sent, 2 * 1024 * 1024);
	come_back();
	while (received < sent) {
		turn();
		n = recv(target.far_fd, got, sizeof(got), 0);
		for (ssize_t i = 0; i < n; i++)
			ck_assert_uint_eq(got[i], (received + (size_t)i) % 251);
		received += n > 0 ? (size_t)n : 0;
	}
	ck_assert_uint_eq(received, sent);
	expect_silence(target.far_fd);
	ck_assert(log_has("; 5000 bytes were kept for it"));
}
END_TEST

START_TEST(what_is_sent_meanwhile_is_discarded)
{
	hold(HOLD_YES, 0);
	come(0);
	expect_in(0);
	lose();
	put(far_fd[0], "lost");
	settle();
	come_back();
	await_log("; 4 bytes for it were discarded");
	put(far_fd[0], "not lost");
	expect(target.far_fd, "not lost");
}
END_TEST

/* Whatever is not in its hands when it goes arrives at the next one, once. */
START_TEST(nothing_is_lost_repeated_or_reordered)
{
	size_t sent = 0, received = 0;
	uint8_t buffer[512];

	hold(HOLD_YES, 700);
	come(0);
	expect(far_fd[0], "+");
	for (int round = 0; round < 10; round++) {
		for (int step = 0; step < 40; step++) {
			size_t bytes = (size_t)(rand() % 300) + 1;
			ssize_t n;

			for (size_t i = 0; i < bytes; i++)
				buffer[i] = (uint8_t)(sent + i);
			n = send(far_fd[0], buffer, bytes, MSG_NOSIGNAL);
			sent += n > 0 ? (size_t)n : 0;
			turn();
			while (target.far_fd >= 0 &&
			       (n = recv(target.far_fd, buffer, sizeof(buffer),
					 0)) > 0)
				for (ssize_t i = 0; i < n; i++)
					ck_assert_uint_eq(buffer[i],
							  (uint8_t)received++);
			/* With nothing of it unread. */
			if (step == 20)
				hang_up();
		}
		AWAIT(target.far_fd >= 0);
	}
	while (received < sent) {
		turn();
		if (recv(target.far_fd, buffer, 1, 0) == 1)
			ck_assert_uint_eq(buffer[0], (uint8_t)received++);
	}
	expect_silence(target.far_fd);
	ck_assert_uint_eq(log_count("is lost"), 10);
}
END_TEST

START_TEST(one_that_pushes_back_slows_its_client_down)
{
	static uint8_t chunk[65536];
	size_t sent = 0, received = 0;
	ssize_t n;

	hold(HOLD_YES, 100);
	come(0);
	expect_in(0);
	for (int idle = 0; idle < 3; settle()) {
		n = send(far_fd[0], chunk, sizeof(chunk), MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
		idle = n > 0 ? 0 : idle + 1;
	}
	ck_assert_uint_lt(sent, 2 * 1024 * 1024);
	while (received < sent) {
		turn();
		n = recv(target.far_fd, chunk, sizeof(chunk), 0);
		received += n > 0 ? (size_t)n : 0;
	}
	ck_assert_uint_eq(log_count("is lost"), 0);
}
END_TEST

/* A program that closes its input may have more to say. */
START_TEST(one_that_takes_no_more_says_its_last_words)
{
	static struct stream_ops deaf_ops;

	deaf_ops = link_ops;
	deaf_ops.write = refuse_write;
	target.stream_ops = &deaf_ops;
	hold(HOLD_YES, 1000);
	come(0);
	expect(far_fd[0], "+");
	put(target.far_fd, "last words");
	target.stream_ops = &link_ops;
	put(far_fd[0], "kept");
	AWAIT(target.far_count == 2);
	expect(far_fd[0], "last words");
	expect(target.far_fd, "kept");
	ck_assert(log_has("fake is lost: Connection reset by peer"));
}
END_TEST

START_TEST(a_write_that_fails_is_enough)
{
	static struct stream_ops deaf_ops;

	deaf_ops = link_ops;
	deaf_ops.write = refuse_write;
	target.stream_ops = &deaf_ops;
	hold(HOLD_YES, 1000);
	come(0);
	expect(far_fd[0], "+");
	target.stream_ops = &link_ops;
	put(far_fd[0], "kept");
	AWAIT(target.far_count == 2);
	expect(target.far_fd, "kept");
}
END_TEST

START_TEST(another_failure_is_news)
{
	hold(HOLD_YES, 1000);
	come(0);
	expect_in(0);
	lose();
	target.refusal = -ECONNREFUSED;
	await_log("fake is not reached again yet: the fake refused: "
		  "Connection refused");
	come_back();
	await_log("is reached again");
	ck_assert_uint_eq(log_count("is not reached"), 2);
}
END_TEST

/* ---- the first dial ------------------------------------------------------------- */

START_TEST(a_client_is_refused_that_was_never_in)
{
	target.refusal = -EHOSTDOWN;
	hold(HOLD_YES, 1000);
	come(0);
	expect_closed(far_fd[0]);
	await_log("refused client-0: the fake refused: Host is down");
	ck_assert_uint_eq(target.dial_count, 1);
	target.refusal = 0;
	come(1);
	expect_in(1);
	ck_assert_uint_eq(log_count("is reached"), 0);
}
END_TEST

START_TEST(one_that_leaves_before_ends_the_dial)
{
	target.is_silent = true;
	hold(HOLD_YES, 1000);
	come(0);
	leave(0);
	await_log("refused client-0: the client left");
	ck_assert(TAILQ_EMPTY(&target.dials));
}
END_TEST

START_TEST(always_lets_a_client_in_at_once)
{
	target.refusal = -EHOSTDOWN;
	hold(HOLD_ALWAYS, 1000);
	come(0);
	expect(far_fd[0], "+");
	put(far_fd[0], "early");
	await_log("fake is not reached yet: the fake refused: Host is down; "
		  "tried again");
	come_back();
	expect(target.far_fd, "early");
	ck_assert(log_has("fake is reached after"));
}
END_TEST

START_TEST(always_with_a_dial_that_takes_its_time)
{
	target.is_silent = true;
	hold(HOLD_ALWAYS, 1000);
	come(0);
	expect(far_fd[0], "+");
	leave(0);
	await_log("session 1 with client-0 ended");
	settle();
	ck_assert(TAILQ_EMPTY(&target.dials));
}
END_TEST

/* ---- the client goes -------------------------------------------------------------- */

START_TEST(without_a_client_it_is_not_dialled)
{
	unsigned int dials;

	config.drain_timeout_ms = 20;
	hold(HOLD_YES, 1000);
	come(0);
	expect_in(0);
	lose();
	put(far_fd[0], "in vain");
	leave(0);
	await_log("session 1 with client-0 ended: client closed");
	await_log("of what it sent to fake 7 bytes that were kept are lost, "
		  "and 0 were discarded");
	dials = target.dial_count;
	for (uint64_t end_ms = loop_now_ms() + 5 * RETRY_MAX_MS;
	     loop_now_ms() < end_ms;)
		turn();
	ck_assert_uint_eq(target.dial_count, dials);
}
END_TEST

/* As long as drain-timeout, it may still come back for them. */
START_TEST(the_last_words_of_a_client_are_delivered)
{
	hold(HOLD_YES, 1000);
	come(0);
	expect_in(0);
	lose();
	put(far_fd[0], "last words");
	leave(0);
	settle();
	come_back();
	expect(target.far_fd, "last words");
	expect_closed(target.far_fd);
	ck_assert_uint_eq(log_count("are lost"), 0);
}
END_TEST

START_TEST(a_stop_while_it_is_away)
{
	config.drain_timeout_ms = 20;
	hold(HOLD_YES, 1000);
	come(0);
	expect_in(0);
	lose();
	put(far_fd[0], "in vain");
	settle();
	clients_stop(clients);
	await_log("session 1 with client-0 ended: stopped");
	await_log("7 bytes that were kept are lost");
	expect_closed(far_fd[0]);
}
END_TEST

START_TEST(a_stop_while_its_dial_hangs)
{
	hold(HOLD_YES, 1000);
	come(0);
	expect_in(0);
	target.is_silent = true;
	hang_up();
	AWAIT(!TAILQ_EMPTY(&target.dials));
	clients_stop(clients);
	await_log("session 1 with client-0 ended: stopped");
	settle();
	ck_assert(TAILQ_EMPTY(&target.dials));
}
END_TEST

START_TEST(each_client_has_its_own)
{
	int lost;

	target.target.sessions_max = 0;
	hold(HOLD_YES, 1000);
	come(0);
	expect_in(0);
	lost = target.far_fd;
	come(1);
	expect_in(1);
	target.far_fds[0] = -1;
	close(lost);
	AWAIT(target.far_count == 3);
	put(far_fd[1], "one");
	expect(target.far_fds[1], "one");
	put(far_fd[0], "zero");
	expect(target.far_fds[2], "zero");
}
END_TEST

/* ---- a link that stands -------------------------------------------------------------- */

START_TEST(a_link_is_there_before_its_clients)
{
	hold(HOLD_LINK, 1000);
	AWAIT(target.far_count == 1);
	await_log("fake is reached after");
	come(0);
	expect_in(0);
	leave(0);
	await_log("session 1 with client-0 ended");
	put(target.far_fd, "unheard");
	settle();
	come(1);
	expect_in(1);
	ck_assert(log_has("fake said 7 bytes while it had no client; they were "
			  "discarded"));
	put(target.far_fd, "heard");
	expect(far_fd[1], "heard");
	ck_assert_uint_eq(target.dial_count, 1);
	ck_assert_uint_eq(served->sessions_max, 1);
}
END_TEST

START_TEST(a_link_that_is_lost_comes_back_without_a_client)
{
	hold(HOLD_LINK, 1000);
	AWAIT(target.far_count == 1);
	lose();
	ck_assert(log_has("fake is lost: it closed; it is dialled again"));
	come_back();
	come(0);
	expect_in(0);
	lose();
	come_back();
	put(far_fd[0], "held");
	expect(target.far_fd, "held");
}
END_TEST

static uint64_t redials(void)
{
	return hold_status(served).redials;
}

START_TEST(each_dial_but_the_first_is_counted)
{
	uint64_t before;

	hold(HOLD_LINK, 1000);
	AWAIT(target.far_count == 1);
	ck_assert_uint_eq(redials(), 0);
	lose();
	AWAIT(redials() >= 3);
	before = redials();
	come_back();
	await_log("is reached again");
	ck_assert_uint_ge(redials(), before + 1);
	ck_assert_uint_eq(redials(), target.dial_count - 1);
}
END_TEST

/* Those of clients of its own are none, until one is lost. */
START_TEST(a_client_s_own_dial_is_not_counted)
{
	target.target.sessions_max = 0;
	hold(HOLD_YES, 1000);
	come(0);
	expect_in(0);
	come(1);
	expect_in(1);
	ck_assert_uint_eq(redials(), 0);
	hang_up();
	await_log("is reached again");
	ck_assert_uint_eq(redials(), 1);
	leave(0);
	leave(1);
	AWAIT(!clients_count(clients));
	ck_assert_uint_eq(redials(), 1);
}
END_TEST

START_TEST(a_client_waits_for_a_link)
{
	target.refusal = -EHOSTDOWN;
	hold(HOLD_LINK, 1000);
	come(0);
	await_log("fake is not reached yet");
	expect_silence(far_fd[0]);
	come_back();
	expect_in(0);
}
END_TEST

START_TEST(a_client_does_not_wait_for_ever_for_a_link)
{
	config.connect_timeout_ms = 30;
	target.refusal = -EHOSTDOWN;
	hold(HOLD_LINK, 1000);
	come(0);
	expect_closed(far_fd[0]);
	await_log("refused client-0: fake did not answer within 30ms "
		  "(connect-timeout): the fake refused: Host is down");
	come_back();
	come(1);
	expect_in(1);
}
END_TEST

START_TEST(a_client_that_leaves_takes_no_link_along)
{
	hold(HOLD_LINK, 1000);
	AWAIT(target.far_count == 1);
	/* Given up after it was told, and before: phone_ops finds it gone. */
	come(0);
	leave(0);
	await_log("refused client-0");
	put(target.far_fd, "unheard");
	settle();
	come(1);
	expect_in(1);
	ck_assert_uint_eq(target.dial_count, 1);
}
END_TEST

START_TEST(a_client_leaves_what_is_kept_for_a_link)
{
	config.drain_timeout_ms = 20;
	hold(HOLD_LINK, 1000);
	come(0);
	expect_in(0);
	lose();
	put(far_fd[0], "in vain");
	leave(0);
	await_log("7 bytes that were kept are lost");
	come_back();
	come(1);
	expect_in(1);
}
END_TEST

/* ---- with others ------------------------------------------------------------------------ */

START_TEST(a_shared_one_holds_all)
{
	struct target *held;

	hold(HOLD_YES, 1000);
	held = served;
	config.when_busy = WHEN_BUSY_SHARE;
	served = share_target_new(loop, held, SHARE_WRITE_ALL);
	ck_assert_ptr_nonnull(served);
	come(0);
	expect_in(0);
	come(1);
	expect_in(1);
	lose();
	put(far_fd[0], "zero");
	settle();
	put(far_fd[1], "one");
	settle();
	come_back();
	expect(target.far_fd, "zeroone");
	put(target.far_fd, "both");
	expect(far_fd[0], "both");
	expect(far_fd[1], "both");
	ck_assert_uint_eq(target.open_most, 1);
}
END_TEST

START_TEST(a_link_is_shared_and_outlives_all)
{
	struct target *held;

	hold(HOLD_LINK, 1000);
	held = served;
	config.when_busy = WHEN_BUSY_SHARE;
	served = share_target_new(loop, held, SHARE_WRITE_ALL);
	ck_assert_ptr_nonnull(served);
	for (int round = 1; round <= 2; round++) {
		come(0);
		expect_in(0);
		come(1);
		expect_in(1);
		leave(0);
		leave(1);
		AWAIT(log_count("ended: client closed") ==
		      2 * (unsigned int)round);
	}
	ck_assert_uint_eq(target.dial_count, 1);
}
END_TEST

START_TEST(no_descriptors_left)
{
	struct rlimit limit, none;

	target.target.sessions_max = 0;
	hold(HOLD_YES, 1000);
	come(0);
	expect_in(0);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	/* A socketpair for the client, and one more, where two are needed. */
	none.rlim_cur = (rlim_t)dup(0) + 3;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	close((int)none.rlim_cur - 3);
	come(1);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	expect_closed(far_fd[1]);
	ck_assert(log_has("refused client-1: Too many open files"));
	put(far_fd[0], "still here");
	expect(target.far_fd, "still here");
}
END_TEST

START_TEST(pauses_grow_and_are_bounded)
{
	struct backoff backoff = {0};
	unsigned int last_ms = 0, wait_ms = 0;

	for (int i = 0; i < 12; i++) {
		wait_ms = backoff_next_between_ms(&backoff, 100, 3000);
		ck_assert_uint_ge(wait_ms, 100);
		ck_assert_uint_le(wait_ms, 3000);
		/* At least half as long again, up to the longest. */
		ck_assert(wait_ms >= last_ms + last_ms / 2 || wait_ms >= 2250);
		last_ms = wait_ms;
	}
	ck_assert_uint_ge(wait_ms, 2250);
	backoff_reset(&backoff);
	ck_assert_uint_eq(backoff_next_between_ms(&backoff, 100, 3000), 100);
	ck_assert_uint_eq(backoff_next_between_ms(&backoff, 100, 100), 100);
}
END_TEST

/* Many that have lost one thing at one moment. */
START_TEST(pauses_differ)
{
	unsigned int shortest_ms = UINT_MAX, longest_ms = 0;

	for (int i = 0; i < 200; i++) {
		struct backoff backoff = {.last_ms = 2000};
		unsigned int wait_ms = backoff_next_between_ms(&backoff, 100,
							       4000);

		/* Up to a quarter shorter. */
		ck_assert_uint_ge(wait_ms, 3000);
		ck_assert_uint_le(wait_ms, 4000);
		if (wait_ms < shortest_ms)
			shortest_ms = wait_ms;
		if (wait_ms > longest_ms)
			longest_ms = wait_ms;
	}
	/* That none is in one half of it is a chance of 1 to 2 to the 199th. */
	ck_assert_uint_lt(shortest_ms, 3500);
	ck_assert_uint_gt(longest_ms, 3500);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hold");
	TCase *tests = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_set_timeout(tests, 60);
	suite_add_tcase(suite, tests);
	tcase_add_test(tests, a_client_stays_while_its_target_is_away);
	tcase_add_test(tests, its_last_words_come_first);
	tcase_add_test(tests, what_came_behind_a_gap_is_lost);
	tcase_add_test(tests, what_a_link_lost_before_is_not_its_next_client_s);
	tcase_add_test(tests, what_is_sent_meanwhile_is_kept);
	tcase_add_test(tests, what_is_kept_is_bounded);
	tcase_add_test(tests, what_is_sent_meanwhile_is_discarded);
	tcase_add_test(tests, nothing_is_lost_repeated_or_reordered);
	tcase_add_test(tests, one_that_pushes_back_slows_its_client_down);
	tcase_add_test(tests, one_that_takes_no_more_says_its_last_words);
	tcase_add_test(tests, a_write_that_fails_is_enough);
	tcase_add_test(tests, another_failure_is_news);
	tcase_add_test(tests, a_client_is_refused_that_was_never_in);
	tcase_add_test(tests, one_that_leaves_before_ends_the_dial);
	tcase_add_test(tests, always_lets_a_client_in_at_once);
	tcase_add_test(tests, always_with_a_dial_that_takes_its_time);
	tcase_add_test(tests, without_a_client_it_is_not_dialled);
	tcase_add_test(tests, the_last_words_of_a_client_are_delivered);
	tcase_add_test(tests, a_stop_while_it_is_away);
	tcase_add_test(tests, a_stop_while_its_dial_hangs);
	tcase_add_test(tests, each_client_has_its_own);
	tcase_add_test(tests, a_link_is_there_before_its_clients);
	tcase_add_test(tests, a_link_that_is_lost_comes_back_without_a_client);
	tcase_add_test(tests, each_dial_but_the_first_is_counted);
	tcase_add_test(tests, a_client_s_own_dial_is_not_counted);
	tcase_add_test(tests, a_client_waits_for_a_link);
	tcase_add_test(tests, a_client_does_not_wait_for_ever_for_a_link);
	tcase_add_test(tests, a_client_that_leaves_takes_no_link_along);
	tcase_add_test(tests, a_client_leaves_what_is_kept_for_a_link);
	tcase_add_test(tests, a_shared_one_holds_all);
	tcase_add_test(tests, a_link_is_shared_and_outlives_all);
	tcase_add_test(tests, no_descriptors_left);
	tcase_add_test(tests, pauses_grow_and_are_bounded);
	tcase_add_test(tests, pauses_differ);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
