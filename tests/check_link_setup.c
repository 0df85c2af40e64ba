/* SPDX-License-Identifier: MIT */
/*
 * Phones whose link is still being set up: which become clients, which are let
 * go of, and what is said of those.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "endpoint.h"
#include "link_setup.h"
#include "log_lines.h"
#include "loop.h"

#define LEFT "rfcomm:1: a phone left, or did not finish pairing, "

static struct loop *loop;
static struct listener listener = {.name = "rfcomm:1"};
static struct link_setups setups;
static int answer; /* to whether one is ready */
static unsigned int ready_count;
static int phone_fd; /* the latest one's end */
static unsigned int callocs_left; /* until one fails; 0: none does */

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);

void *__wrap_calloc(size_t count, size_t bytes)
{
	if (callocs_left && --callocs_left == 0) {
		errno = ENOMEM;
		return NULL;
	}
	return __real_calloc(count, bytes);
}

static int check_setup(int fd, void *arg)
{
	return answer;
}

static void ready(int fd, void *arg)
{
	ready_count++;
	close(fd);
}

static void setup(void)
{
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	link_setups_init(&setups, loop, &listener, "; a hint", check_setup,
			 ready, NULL);
	listener.unfinished = (struct mishap){0};
	answer = -EAGAIN;
	ready_count = log_line_count = 0;
}

static void teardown(void)
{
	link_setups_clear(&setups);
	loop_free(loop);
}

static void call(void)
{
	int ends[2];

	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	phone_fd = ends[1];
	link_setups_add(&setups, ends[0]);
}

/* Until it has let go of the phone, or given it away. */
static void await_end(void)
{
	while (!TAILQ_EMPTY(&setups.list))
		event_base_loop(loop->base, EVLOOP_ONCE);
}

static void leave(void)
{
	call();
	ck_assert(!TAILQ_EMPTY(&setups.list));
	close(phone_fd);
	await_end();
}

static void get_in(void)
{
	call();
	answer = 0;
	await_end();
	answer = -EAGAIN;
	close(phone_fd);
}

START_TEST(one_that_is_ready_after_a_while)
{
	get_in();
	ck_assert_uint_eq(ready_count, 1);
	ck_assert_uint_eq(log_line_count, 0);
}
END_TEST

START_TEST(one_that_there_is_no_memory_for_is_told_of)
{
	char byte;

	callocs_left = 1;
	call();
	ck_assert(TAILQ_EMPTY(&setups.list));
	ck_assert_uint_eq(log_line_count, 1);
	ck_assert(log_has("rfcomm:1: refused a phone: out of memory"));
	ck_assert_int_eq(recv(phone_fd, &byte, 1, 0), 0);
	close(phone_fd);
}
END_TEST

START_TEST(one_that_leaves_is_told_of_without_v)
{
	leave();
	ck_assert_uint_eq(ready_count, 0);
	ck_assert_uint_eq(listener.unfinished.count, 1);
	ck_assert_str_eq(listener.unfinished.who, "a phone");
	ck_assert_str_eq(listener.unfinished.why,
			 "left, or did not finish pairing, before its link "
			 "was up; a hint");
	ck_assert_uint_eq(log_count(LEFT "before its link was up; a hint"), 1);
	ck_assert_int_eq(log_level_of(LEFT), LOG_LEVEL_WARNING);
}
END_TEST

START_TEST(one_that_will_never_be_ready_is_let_go_of)
{
	char byte;

	answer = -ECONNABORTED;
	call();
	ck_assert(TAILQ_EMPTY(&setups.list));
	ck_assert(log_has(LEFT));
	ck_assert_int_eq(recv(phone_fd, &byte, 1, 0), 0);
	close(phone_fd);
}
END_TEST

START_TEST(those_after_it_are_no_news_until_one_gets_in)
{
	leave();
	for (int i = 0; i < 3; i++) {
		log_line_count = 0;
		leave();
		ck_assert_int_eq(log_level_of(LEFT), LOG_LEVEL_INFO);
	}
	get_in();
	log_line_count = 0;
	leave();
	ck_assert_int_eq(log_level_of(LEFT), LOG_LEVEL_WARNING);
}
END_TEST

START_TEST(those_that_wait_are_closed_with_the_listener)
{
	char byte;

	call();
	link_setups_clear(&setups);
	ck_assert_int_eq(recv(phone_fd, &byte, 1, 0), 0);
	ck_assert_uint_eq(log_line_count, 0);
	close(phone_fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("link_setup");
	TCase *tests = tcase_create("link_setup");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, one_that_is_ready_after_a_while);
	tcase_add_test(tests, one_that_leaves_is_told_of_without_v);
	tcase_add_test(tests, one_that_there_is_no_memory_for_is_told_of);
	tcase_add_test(tests, one_that_will_never_be_ready_is_let_go_of);
	tcase_add_test(tests, those_after_it_are_no_news_until_one_gets_in);
	tcase_add_test(tests, those_that_wait_are_closed_with_the_listener);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
