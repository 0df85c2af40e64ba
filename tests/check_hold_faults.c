/* SPDX-License-Identifier: MIT */
/*
 * A client that is held while its target is lost and comes back, with one thing
 * after the other going wrong once on the way: each allocation, libevent's too,
 * and each call for a descriptor. It may cost the client its session, but never
 * a byte of one that goes on, and nothing is left in the end. Linked with --wrap
 * for these functions.
 */
#include <stdlib.h>

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);

/* What the test itself is made of has to be there. */
#define calloc(count, bytes) __real_calloc(count, bytes)
#include "clients_fixture.h"
#undef calloc

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "hold.h"

int __real_epoll_create1(int flags);
int __real_epoll_ctl(int epoll_fd, int operation, int fd,
		     struct epoll_event *event);
int __real_eventfd(unsigned int value, int flags);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
int __wrap_epoll_create1(int flags);
int __wrap_epoll_ctl(int epoll_fd, int operation, int fd,
		     struct epoll_event *event);
int __wrap_eventfd(unsigned int value, int flags);

static int allocations_left = -1; /* until one fails; -1: none does */
static int calls_left = -1; /* the same of the others */
static bool has_failed; /* in the life that is over */

/* Where Check is in a test, which it takes memory to note. */
void __wrap__mark_point(const char *file, int line);
void __wrap__mark_point(const char *file, int line)
{
}

static bool is_refused(int *left, int code)
{
	if (*left < 0 || (*left)-- > 0)
		return false;
	errno = code;
	return true;
}

void *__wrap_malloc(size_t bytes)
{
	return is_refused(&allocations_left, ENOMEM) ? NULL
						     : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
	return is_refused(&allocations_left, ENOMEM)
		       ? NULL
		       : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
	return is_refused(&allocations_left, ENOMEM)
		       ? NULL
		       : __real_realloc(old, bytes);
}

int __wrap_epoll_create1(int flags)
{
	return is_refused(&calls_left, EMFILE) ? -1
					       : __real_epoll_create1(flags);
}

int __wrap_epoll_ctl(int epoll_fd, int operation, int fd,
		     struct epoll_event *event)
{
	if (operation == EPOLL_CTL_ADD && is_refused(&calls_left, ENOSPC))
		return -1;
	return __real_epoll_ctl(epoll_fd, operation, fd, event);
}

int __wrap_eventfd(unsigned int value, int flags)
{
	return is_refused(&calls_left, EMFILE) ? -1
					       : __real_eventfd(value, flags);
}

/* ---- one life ----------------------------------------------------------------- */

static int count_fds(void)
{
	int count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static bool has_ended(void)
{
	return clients_count(clients) == 0;
}

/* Turn the loop until @far has @text of it, or the client is no more. */
static bool gets(int *far, const char *text)
{
	uint64_t deadline = loop_now_ms() + DEADLINE_MS;
	size_t want = strlen(text), have = 0;
	char got[64];

	while (have < want && !has_ended()) {
		ssize_t n = *far < 0 ? -1
				     : recv(*far, got + have, want - have, 0);

		ck_assert_msg(loop_now_ms() < deadline, "'%s' did not come",
			      text);
		have += n > 0 ? (size_t)n : 0;
		turn();
	}
	ck_assert_mem_eq(got, text, have);
	return have == want;
}

static void hang_up(void)
{
	target.far_fds[target.far_count - 1] = -1;
	close(target.far_fd);
	target.far_fd = -1;
}

/* False if the client was gone before all of it was over. */
static bool live(int *fault, int nth)
{
	struct stream *stream;
	bool is_through = false;
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX,
				    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
				    0, ends),
			 0);
	far_fd[0] = ends[1];
	stream = socket_stream_new(&phone_ops, ends[0], "client-0");
	ck_assert_ptr_nonnull(stream);
	*fault = nth;
	clients_take(clients, stream, served);
	if (!gets(&far_fd[0], "+"))
		goto gone;
	put(far_fd[0], "before");
	if (!gets(&target.far_fd, "before"))
		goto gone;
	target.refusal = -EHOSTDOWN;
	hang_up();
	put(far_fd[0], "meanwhile");
	settle();
	target.refusal = 0;
	if (!gets(&target.far_fd, "meanwhile"))
		goto gone;
	put(target.far_fd, "after");
	is_through = gets(&far_fd[0], "after");
gone:
	has_failed = nth >= 0 && *fault < 0;
	*fault = -1;
	leave(0);
	while (!has_ended())
		turn();
	settle();
	ck_assert_uint_eq(target.open_count, 0);
	ck_assert(TAILQ_EMPTY(&target.dials));
	fake_clear(&target);
	target.far_count = 0;
	target.far_fd = -1;
	target.refusal = 0;
	return is_through;
}

/* One life for each thing that can fail, until one in which none does. */
static void live_with(int *fault)
{
	int nth = 0, through = 0, fds;

	/* What the loop keeps for ever is there after the first. */
	ck_assert(live(fault, -1));
	fds = count_fds();
	do {
		through += live(fault, nth++);
		ck_assert_int_eq(count_fds(), fds);
		ck_assert_int_lt(nth, 1000);
	} while (has_failed);
	/* There is something to fail, and it need not be the end. */
	ck_assert_int_gt(nth, 2);
	ck_assert_int_gt(through, 1);
}

static void setup_hold(void)
{
	struct hold_settings settings = {
		.route = "test",
		.hold = HOLD_YES,
		.buffer_bytes = 1000,
		.retry_min_ms = 1,
		.retry_max_ms = 2,
		.dial_timeout_ms = 5000,
	};

	event_set_mem_functions(__wrap_malloc, __wrap_realloc, free);
	setup();
	config.drain_timeout_ms = 20;
	served = hold_target_new(loop, &target.target, &settings);
	ck_assert_ptr_nonnull(served);
}

START_TEST(memory_runs_out)
{
	live_with(&allocations_left);
}
END_TEST

START_TEST(a_call_fails)
{
	live_with(&calls_left);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hold_faults");
	TCase *tests = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, setup_hold, teardown);
	tcase_set_timeout(tests, 60);
	suite_add_tcase(suite, tests);
	tcase_add_test(tests, memory_runs_out);
	tcase_add_test(tests, a_call_fails);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
