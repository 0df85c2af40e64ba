/* SPDX-License-Identifier: MIT */
/*
 * The log: how often lines of one kind are written, and what a flood of them
 * looks like to whoever reads it.
 */
#include <check.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "log_limit.h"

/* Each test is a process of its own: the limits start empty. */
static struct log_limits limits;

START_TEST(test_limit)
{
	const char *text = "";

	ck_assert_int_eq(log_limit_ask(&limits, 1, 3, 5, "one"),
			 LOG_LIMIT_WRITE);
	ck_assert_int_eq(log_limit_ask(&limits, 1, 3, 6, "two"),
			 LOG_LIMIT_WRITE);
	ck_assert_int_eq(log_limit_ask(&limits, 1, 3, 7, "three"),
			 LOG_LIMIT_WRITE_LAST);
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(log_limit_ask(&limits, 1, 3, 8, "more"),
				 LOG_LIMIT_LEAVE_OUT);
	/* Others are not in its way. */
	ck_assert_int_eq(log_limit_ask(&limits, 2, 3, 8, "else"),
			 LOG_LIMIT_WRITE);
	/* It is told when its window is over, once. */
	ck_assert_int_eq(log_limit_due_ms(&limits, 8), LOG_LIMIT_WINDOW_MS - 3);
	ck_assert_int_eq(log_limit_due_ms(&limits, LOG_LIMIT_WINDOW_MS + 9), 0);
	ck_assert_uint_eq(
		log_limit_left_out(&limits, LOG_LIMIT_WINDOW_MS + 4, &text), 0);
	ck_assert_uint_eq(log_limit_left_out(&limits, LOG_LIMIT_WINDOW_MS + 5,
					     &text),
			  1000);
	ck_assert_str_eq(text, "three");
	ck_assert_uint_eq(
		log_limit_left_out(&limits, LOG_LIMIT_WINDOW_MS + 5, &text), 0);
	ck_assert_int_eq(log_limit_due_ms(&limits, LOG_LIMIT_WINDOW_MS + 5),
			 -1);
	ck_assert_int_eq(log_limit_ask(&limits, 1, 3, LOG_LIMIT_WINDOW_MS + 5,
				       "new"),
			 LOG_LIMIT_WRITE);
}
END_TEST

START_TEST(test_limit_end)
{
	const char *text;

	log_limit_ask(&limits, 1, 1, 5, "a");
	log_limit_ask(&limits, 1, 1, 5, "a");
	log_limit_ask(&limits, 2, 1, 5, "b");
	log_limit_ask(&limits, 2, 1, 5, "b");
	log_limit_ask(&limits, 2, 1, 5, "b");
	ck_assert_uint_eq(log_limit_left_out(&limits, 6, &text), 0);
	ck_assert_uint_eq(log_limit_left_out(&limits, UINT64_MAX, &text), 1);
	ck_assert_str_eq(text, "a");
	ck_assert_uint_eq(log_limit_left_out(&limits, UINT64_MAX, &text), 2);
	ck_assert_str_eq(text, "b");
	ck_assert_uint_eq(log_limit_left_out(&limits, UINT64_MAX, &text), 0);
}
END_TEST

/* More kinds than there is room for: who has something to tell stays. */
START_TEST(test_limit_kinds)
{
	const char *text;

	log_limit_ask(&limits, 0, 1, 5, "flood");
	log_limit_ask(&limits, 0, 1, 5, "flood");
	for (uint64_t key = 1; key < 1000; key++)
		ck_assert_int_eq(log_limit_ask(&limits, key, 2, 5 + key,
					       "other"),
				 LOG_LIMIT_WRITE);
	ck_assert_uint_eq(log_limit_left_out(&limits, UINT64_MAX, &text), 1);
	ck_assert_str_eq(text, "flood");
}
END_TEST

/* ---- as it is read --------------------------------------------------------------- */

static char lines[256 * 1024];

/* What @flood writes to the log. */
static void read_log(void (*flood)(void))
{
	char path[] = "/tmp/btgate-log-XXXXXX";
	int fd = mkstemp(path), kept = dup(STDERR_FILENO);
	ssize_t bytes;

	unlink(path);
	ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
	flood();
	dup2(kept, STDERR_FILENO);
	bytes = pread(fd, lines, sizeof(lines) - 1, 0);
	ck_assert_int_ge(bytes, 0);
	lines[bytes] = '\0';
	close(fd);
	close(kept);
}

static unsigned int count(const char *part)
{
	unsigned int found = 0;

	for (const char *at = lines; (at = strstr(at, part)); at++)
		found++;
	return found;
}

static void fail_often(void)
{
	for (int i = 0; i < 10000; i++) {
		log_warning("route %s: refused client %d: %s", "gps", i, "no");
		if (i % 1000 == 0)
			log_warning("route %s: refused client %d: %s", "obd", i,
				    "no");
	}
	log_info("stopped");
	log_flush();
}

START_TEST(test_flood)
{
	log_set_level(LOG_LEVEL_INFO);
	read_log(fail_often);
	ck_assert_uint_eq(count("route gps: refused client"), 30 + 1);
	ck_assert_uint_eq(count("client 29: no (more lines like this are left "
				"out for 10 s)\n"),
			  1);
	/* Another route's are seen, and so is the end. */
	ck_assert_uint_eq(count("route obd: refused client"), 10);
	ck_assert_uint_eq(count("stopped\n"), 1);
	ck_assert_uint_eq(count("9970 more lines were left out that are like: "
				"route gps: refused client 29: no\n"),
			  1);
	ck_assert_uint_eq(count("\n"), 30 + 10 + 1 + 1);
}
END_TEST

static unsigned int due_ms, due_count;

static void on_due(unsigned int delay_ms, void *arg)
{
	due_ms = delay_ms;
	due_count++;
}

/* A line each from as many addresses as there are. */
static void strangers_fail(void)
{
	log_set_due(on_due, NULL);
	for (int i = 0; i < 1000; i++) {
		char peer[40];

		snprintf(peer, sizeof(peer), "198.51.100.%d:%d", i % 256, i);
		log_warning("%s: it was cut off", peer);
	}
	/* Nothing is due yet. */
	log_tell();
	ck_assert_uint_eq(count("left out that"), 0);
}

START_TEST(test_flood_of_strangers)
{
	read_log(strangers_fail);
	ck_assert_uint_eq(count("it was cut off"), 30);
	ck_assert_uint_eq(count("\n"), 30);
	/* Asked for once, and by log_tell, which was early. */
	ck_assert_uint_eq(due_count, 2);
	ck_assert_uint_gt(due_ms, LOG_LIMIT_WINDOW_MS / 2);
	ck_assert_uint_le(due_ms, LOG_LIMIT_WINDOW_MS);
}
END_TEST

static void say_often(void)
{
	for (int i = 0; i < 1000; i++)
		log_debug("step %d", i);
	for (int i = 0; i < 1000; i++)
		log_warning("failure %d", i);
}

/* Who asks for everything, and who waits for a command, gets it. */
START_TEST(test_no_limit)
{
	log_set_level(_i ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG);
	log_set_style(_i ? LOG_STYLE_COMMAND : LOG_STYLE_SERVICE);
	read_log(say_often);
	ck_assert_uint_eq(count("failure "), 1000);
	ck_assert_uint_eq(count("step "), _i ? 0 : 1000);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log");
	TCase *tcase = tcase_create("log");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tcase, test_limit);
	tcase_add_test(tcase, test_limit_end);
	tcase_add_test(tcase, test_limit_kinds);
	tcase_add_test(tcase, test_flood);
	tcase_add_test(tcase, test_flood_of_strangers);
	tcase_add_loop_test(tcase, test_no_limit, 0, 2);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
