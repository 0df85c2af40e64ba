/* SPDX-License-Identifier: MIT */
/*
 * Whom there is room for at a target, and who has to go for whom: clients on
 * socketpairs, and a target that bears one session and notices a second.
 */
#include "clients_fixture.h"

/* ---- refuse ------------------------------------------------------------------- */

START_TEST(one_thing_takes_one)
{
	come(0);
	expect_in(0);
	come(1);
	expect_closed(far_fd[1]);
	ck_assert(log_has("refused client-1: the target is in use"));
	expect_silence(far_fd[0]);
	leave(0);
	await_log("session 1 with client-0 ended: client closed");
	come(2);
	expect_in(2);
	ck_assert_uint_eq(target.open_most, 1);
}
END_TEST

START_TEST(one_that_is_still_dialling_holds_it_too)
{
	target.is_silent = true;
	come(0);
	settle();
	come(1);
	expect_closed(far_fd[1]);
	fake_answer(&target);
	expect_in(0);
}
END_TEST

START_TEST(max_sessions)
{
	target.target.sessions_max = 0;
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

/* The target does not read; whoever is on the other end is gone. */
static void fill_and_leave(int number)
{
	static const char chunk[16384];
	int idle = 0;

	while (idle < 3) {
		idle = send(far_fd[number], chunk, sizeof(chunk),
			    MSG_NOSIGNAL) > 0
			       ? 0
			       : idle + 1;
		settle();
	}
	leave(number);
	settle();
}

START_TEST(who_only_drains_takes_no_place)
{
	target.target.sessions_max = 0;
	config.max_sessions = 1;
	for (int i = 0; i < 3; i++) {
		come(i);
		expect_in(i);
		fill_and_leave(i);
		ck_assert_uint_eq(clients_count(clients), (unsigned int)i + 1);
	}
	come(3);
	expect_in(3);
	come(4);
	expect_closed(far_fd[4]);
	/* One of them goes at last: that makes no more room. */
	close(target.far_fds[0]);
	target.far_fds[0] = -1;
	await_log("session 1 with client-0 ended");
	come(5);
	expect_closed(far_fd[5]);
	leave(3);
	await_log("session 4 with client-3 ended");
	come(6);
	expect_in(6);
}
END_TEST

START_TEST(what_it_was_kept_waiting_is_of_its_time)
{
	config.connect_timeout_ms = 60000;
	target.is_silent = true;
	waited_ms = 59950;
	come(0);
	expect_closed(far_fd[0]);
	ck_assert(log_has("did not answer within 50ms, what was left of 1m "
			  "(connect-timeout)"));
}
END_TEST

/* ---- replace -------------------------------------------------------------------- */

START_TEST(the_newcomer_replaces)
{
	config.when_busy = WHEN_BUSY_REPLACE;
	come(0);
	expect_in(0);
	come(1);
	expect_in(1);
	expect_closed(far_fd[0]);
	ck_assert(log_has("session 1 with client-0 ended: replaced by "
			  "client-1; "));
	ck_assert(log_has("5 bytes to target"));
	/* Never two at once at a thing that bears one. */
	ck_assert_uint_eq(target.open_most, 1);
	ck_assert_uint_eq(clients_count(clients), 1);
}
END_TEST

START_TEST(the_newcomer_is_told_when_its_own_dial_succeeded)
{
	config.when_busy = WHEN_BUSY_REPLACE;
	come(0);
	expect_in(0);
	target.is_silent = true;
	come(1);
	expect_closed(far_fd[0]);
	expect_silence(far_fd[1]);
	fake_answer(&target);
	expect_in(1);
}
END_TEST

START_TEST(the_newcomer_s_dial_fails)
{
	config.when_busy = WHEN_BUSY_REPLACE;
	come(0);
	expect_in(0);
	target.refusal = -EIO;
	come(1);
	expect_closed(far_fd[1]);
	ck_assert(log_has("refused client-1: the fake refused"));
	settle();
	ck_assert_uint_eq(clients_count(clients), 0);
	target.refusal = 0;
	come(2);
	expect_in(2);
}
END_TEST

/* A phone tries all day long; TCP clients are mentioned each time. */
START_TEST(a_device_is_mentioned_once_until_the_target_was_reached)
{
	unsigned int before;

	target.target.sessions_max = 0;
	are_devices = _i == 0;
	for (int round = 1; round <= 2; round++) {
		target.refusal = -EIO;
		for (int i = 0; i < 3; i++) {
			come(1);
			expect_closed(far_fd[1]);
			leave(1);
		}
		come(2);
		expect_closed(far_fd[2]);
		leave(2);
		ck_assert_uint_eq(log_count("refused client-1: the fake"),
				  are_devices ? round : 3 * round);
		ck_assert_uint_eq(log_count("refused client-2: the fake"),
				  round);
		ck_assert_uint_eq(clients_refusals(clients)->count, 4 * round);
		/* It is well in between: for anybody. */
		target.refusal = 0;
		come(2);
		expect_in(2);
		leave(2);
		settle();
	}
	/* Another reason is told; how long it took is none. */
	before = log_count("refused client-1: ");
	target.is_silent = true;
	config.connect_timeout_ms = 30;
	for (waited_ms = 11; waited_ms <= 13; waited_ms++) {
		come(1);
		expect_closed(far_fd[1]);
		leave(1);
	}
	ck_assert_uint_eq(log_count("refused client-1: ") - before,
			  are_devices ? 1 : 3);
	ck_assert(log_has("did not answer within 19ms, what was left of 30ms"));
}
END_TEST

START_TEST(one_that_still_dials_is_replaced)
{
	config.when_busy = WHEN_BUSY_REPLACE;
	target.is_silent = true;
	come(0);
	settle();
	come(1);
	expect_closed(far_fd[0]);
	ck_assert(log_has("refused client-0: replaced by client-1"));
	settle();
	ck_assert_uint_eq(target.dial_count, 2);
	fake_answer(&target);
	expect_in(1);
	ck_assert_uint_eq(target.open_most, 1);
}
END_TEST

START_TEST(one_that_waits_for_another_to_go_is_replaced_in_turn)
{
	config.when_busy = WHEN_BUSY_REPLACE;
	come(0);
	expect_in(0);
	/* All before the loop turns: the first one's session has yet to end. */
	come(1);
	come(2);
	come(3);
	expect_in(3);
	for (int i = 0; i < 3; i++)
		expect_closed(far_fd[i]);
	ck_assert(log_has("session 1 with client-0 ended: replaced by "
			  "client-1"));
	ck_assert(log_has("refused client-1: replaced by client-2"));
	ck_assert(log_has("refused client-2: replaced by client-3"));
	ck_assert_uint_eq(target.dial_count, 2);
	ck_assert_uint_eq(target.open_most, 1);
	ck_assert_uint_eq(clients_count(clients), 1);
}
END_TEST

START_TEST(one_that_has_left_already_replaces_nobody)
{
	config.when_busy = WHEN_BUSY_REPLACE;
	come(0);
	expect_in(0);
	struct stream *stream;
	int ends[2];

	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	stream = socket_stream_new(&phone_ops, ends[0], "ghost");
	close(ends[1]);
	clients_take(clients, stream, served);
	expect_silence(far_fd[0]);
	ck_assert(log_has("refused ghost"));
	put(far_fd[0], "still here");
	expect(target.far_fd, "still here");
}
END_TEST

START_TEST(one_that_leaves_while_it_waits_is_let_go)
{
	config.when_busy = WHEN_BUSY_REPLACE;
	come(0);
	expect_in(0);
	target.is_silent = true;
	come(1);
	leave(1);
	await_log("refused client-1: the client left");
	ck_assert_uint_eq(clients_count(clients), 0);
}
END_TEST

/* Its client is gone; only a target that does not read keeps it. */
START_TEST(a_session_that_drains_is_replaced)
{
	config.when_busy = WHEN_BUSY_REPLACE;
	come(0);
	expect_in(0);
	fill_and_leave(0);
	ck_assert_uint_eq(clients_count(clients), 1);
	come(1);
	expect_in(1);
	ck_assert(log_has("session 1 with client-0 ended: replaced by "
			  "client-1"));
	ck_assert(log_has("bytes could not be delivered"));
}
END_TEST

START_TEST(the_one_that_is_there_longest_goes)
{
	target.target.sessions_max = 0;
	config.max_sessions = 2;
	config.when_busy = WHEN_BUSY_REPLACE;
	come(0);
	expect_in(0);
	come(1);
	expect_in(1);
	come(2);
	expect_in(2);
	expect_closed(far_fd[0]);
	put(far_fd[1], "x");
	expect_silence(far_fd[1]);
	come(3);
	expect_in(3);
	expect_closed(far_fd[1]);
	ck_assert_uint_eq(clients_count(clients), 2);
}
END_TEST

START_TEST(a_stop_refuses_one_that_waits)
{
	config.when_busy = WHEN_BUSY_REPLACE;
	come(0);
	expect_in(0);
	come(1);
	clients_stop(clients);
	expect_closed(far_fd[0]);
	expect_closed(far_fd[1]);
	ck_assert_uint_eq(gone_count, 1);
	ck_assert_uint_eq(target.dial_count, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("clients");
	TCase *tests = tcase_create("clients");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, one_thing_takes_one);
	tcase_add_test(tests, one_that_is_still_dialling_holds_it_too);
	tcase_add_test(tests, max_sessions);
	tcase_add_test(tests, who_only_drains_takes_no_place);
	tcase_add_test(tests, what_it_was_kept_waiting_is_of_its_time);
	tcase_add_test(tests, the_newcomer_replaces);
	tcase_add_test(tests, the_newcomer_is_told_when_its_own_dial_succeeded);
	tcase_add_test(tests, the_newcomer_s_dial_fails);
	tcase_add_loop_test(
		tests, a_device_is_mentioned_once_until_the_target_was_reached,
		0, 2);
	tcase_add_test(tests, one_that_still_dials_is_replaced);
	tcase_add_test(tests,
		       one_that_waits_for_another_to_go_is_replaced_in_turn);
	tcase_add_test(tests, one_that_has_left_already_replaces_nobody);
	tcase_add_test(tests, one_that_leaves_while_it_waits_is_let_go);
	tcase_add_test(tests, a_session_that_drains_is_replaced);
	tcase_add_test(tests, the_one_that_is_there_longest_goes);
	tcase_add_test(tests, a_stop_refuses_one_that_waits);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
