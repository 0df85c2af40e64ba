/* SPDX-License-Identifier: MIT */
/*
 * One inotify instance for all: who is told of what, and what watchers that
 * have a file in common do to each other.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <event2/event.h>

#include "error.h"
#include "file_watch.h"
#include "loop.h"
#include "path_watch.h"

struct watcher {
	struct file_watch watch;
	const char *name; /* of interest; NULL: all */
	uint32_t events; /* told since the last look */
	unsigned int calls;
	struct watcher *victim; /* to be stopped when called */
};

static struct loop *loop;
static char directory[32];
static char path[PATH_MAX]; /* of the last file that was named */

static const char *at(const char *name)
{
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static void touch(const char *name)
{
	int fd = open(at(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	close(fd);
}

static unsigned int count_instances(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int count = 0;
	struct dirent *entry;
	char target[64];
	ssize_t bytes;

	while ((entry = readdir(dir))) {
		bytes = readlinkat(dirfd(dir), entry->d_name, target,
				   sizeof(target) - 1);
		if (bytes > 0) {
			target[bytes] = '\0';
			count += strstr(target, "inotify") != NULL;
		}
	}
	closedir(dir);
	return count;
}

/* How many files the kernel watches for us. */
static unsigned int count_kernel_watches(void)
{
	DIR *dir = opendir("/proc/self/fdinfo");
	unsigned int count = 0;
	struct dirent *entry;
	char line[256];

	while ((entry = readdir(dir))) {
		int fd = openat(dirfd(dir), entry->d_name, O_RDONLY);
		FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;

		while (file && fgets(line, sizeof(line), file))
			count += strncmp(line, "inotify wd:", 11) == 0;
		if (file)
			fclose(file);
		else if (fd >= 0)
			close(fd);
	}
	closedir(dir);
	return count;
}

static void happened(uint32_t events, void *arg)
{
	struct watcher *watcher = arg;

	ck_assert_uint_ne(events, 0);
	watcher->events |= events;
	watcher->calls++;
	if (watcher->victim)
		file_watch_stop(&watcher->victim->watch);
}

static bool has_its_name(const struct inotify_event *event, void *arg)
{
	const struct watcher *watcher = arg;

	return event->len && strcmp(event->name, watcher->name) == 0;
}

static void start_watcher(struct watcher *watcher, uint32_t wanted,
			  const char *name)
{
	memset(watcher, 0, sizeof(*watcher));
	watcher->name = name;
	file_watch_init(&watcher->watch, loop, wanted,
			name ? has_its_name : NULL, happened, watcher);
	ck_assert_int_eq(file_watch_aim(&watcher->watch, directory), 0);
}

/* Whatever is there already has been told. */
static void settle(void)
{
	for (int i = 0; i < 5; i++)
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
}

static uint32_t told(struct watcher *watcher)
{
	uint32_t events;

	settle();
	events = watcher->events;
	watcher->events = 0;
	watcher->calls = 0;
	return events;
}

static void setup(void)
{
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	strcpy(directory, "/tmp/btgate-check-watch-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
}

static void teardown(void)
{
	DIR *dir = opendir(directory);
	struct dirent *entry;

	ck_assert_uint_eq(count_instances(), 0);
	while (dir && (entry = readdir(dir)))
		unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(directory);
	loop_free(loop);
}

START_TEST(one_instance_for_all)
{
	struct watcher watchers[300];

	for (int i = 0; i < 300; i++)
		start_watcher(&watchers[i], IN_CREATE, NULL);
	ck_assert_uint_eq(count_instances(), 1);
	ck_assert_uint_eq(count_kernel_watches(), 1);
	touch("a");
	for (int i = 0; i < 300; i++)
		ck_assert_uint_eq(told(&watchers[i]), IN_CREATE);
	for (int i = 0; i < 300; i++) {
		ck_assert_uint_eq(count_kernel_watches(), 1);
		file_watch_stop(&watchers[i].watch);
	}
	ck_assert_uint_eq(count_instances(), 0);
	/* And all over again. */
	start_watcher(&watchers[0], IN_CREATE, NULL);
	touch("b");
	ck_assert_uint_eq(told(&watchers[0]), IN_CREATE);
	file_watch_stop(&watchers[0].watch);
}
END_TEST

/* Of one directory each is told what it asked for, whoever comes and goes. */
START_TEST(each_its_own)
{
	struct watcher creations, deletions, named;

	start_watcher(&creations, IN_CREATE, NULL);
	start_watcher(&deletions, IN_DELETE, NULL);
	start_watcher(&named, IN_CREATE | IN_DELETE, "b");
	touch("a");
	ck_assert_uint_eq(told(&creations), IN_CREATE);
	ck_assert_uint_eq(told(&deletions), 0);
	ck_assert_uint_eq(told(&named), 0);
	touch("b");
	unlink(at("b"));
	touch("c");
	/* Merged, and told once. */
	settle();
	ck_assert_uint_eq(named.calls, 1);
	ck_assert_uint_eq(told(&named), IN_CREATE | IN_DELETE);
	ck_assert_uint_eq(told(&creations), IN_CREATE);
	ck_assert_uint_eq(told(&deletions), IN_DELETE);
	file_watch_stop(&creations.watch);
	unlink(at("a"));
	ck_assert_uint_eq(told(&creations), 0);
	ck_assert_uint_eq(told(&deletions), IN_DELETE);
	file_watch_stop(&deletions.watch);
	touch("b");
	ck_assert_uint_eq(told(&named), IN_CREATE);
	file_watch_stop(&named.watch);
}
END_TEST

/* Taken is told; what was read for one on the way is not lost for another. */
START_TEST(taking)
{
	struct watcher first, second;

	start_watcher(&first, IN_CREATE, NULL);
	start_watcher(&second, IN_CREATE, NULL);
	touch("a");
	ck_assert_uint_eq(file_watch_take(&first.watch), IN_CREATE);
	ck_assert_uint_eq(file_watch_take(&first.watch), 0);
	ck_assert_uint_eq(first.calls + second.calls, 0);
	ck_assert_uint_eq(told(&first), 0);
	ck_assert_uint_eq(told(&second), IN_CREATE);
	/* So is what was read, but not told yet. */
	touch("b");
	file_watch_take(&second.watch);
	ck_assert_uint_eq(file_watch_take(&first.watch), IN_CREATE);
	ck_assert_uint_eq(told(&first), 0);
	file_watch_stop(&first.watch);
	ck_assert_uint_eq(file_watch_take(&first.watch), 0);
	file_watch_stop(&second.watch);
}
END_TEST

/* Two that stop each other: only one is called. */
START_TEST(stopped_by_another)
{
	struct watcher first, second;

	start_watcher(&first, IN_CREATE, NULL);
	start_watcher(&second, IN_CREATE, NULL);
	first.victim = _i ? &first : &second;
	second.victim = _i ? &second : &first;
	touch("a");
	settle();
	ck_assert_uint_eq(first.calls + second.calls, _i ? 2 : 1);
	file_watch_stop(&first.watch);
	file_watch_stop(&second.watch);
}
END_TEST

START_TEST(aimed_elsewhere)
{
	struct watcher moving, staying;
	char deeper[PATH_MAX];

	start_watcher(&moving, IN_CREATE | IN_ONLYDIR, NULL);
	start_watcher(&staying, IN_CREATE, NULL);
	/* Nowhere: as it was. */
	ck_assert_int_eq(file_watch_aim(&moving.watch, at("none")), -ENOENT);
	touch("a");
	ck_assert_uint_eq(told(&moving), IN_CREATE);
	ck_assert_uint_eq(told(&staying), IN_CREATE);
	ck_assert_int_eq(file_watch_aim(&moving.watch, at("a")), -ENOTDIR);
	/* The same again: nothing is lost, and nothing told twice. */
	touch("b");
	ck_assert_int_eq(file_watch_aim(&moving.watch, directory), 0);
	settle();
	ck_assert_uint_eq(moving.calls, 1);
	ck_assert_uint_eq(told(&moving), IN_CREATE);
	snprintf(deeper, sizeof(deeper), "%s", at("deeper"));
	ck_assert_int_eq(mkdir(deeper, 0700), 0);
	ck_assert_int_eq(file_watch_aim(&moving.watch, deeper), 0);
	ck_assert_uint_eq(count_kernel_watches(), 2);
	told(&moving);
	told(&staying);
	touch("c");
	ck_assert_uint_eq(told(&moving), 0);
	ck_assert_uint_eq(told(&staying), IN_CREATE);
	touch("deeper/d");
	ck_assert_uint_eq(told(&moving), IN_CREATE);
	ck_assert_uint_eq(told(&staying), 0);
	unlink(at("deeper/d"));
	/* The directory goes, and the kernel's watch with it. */
	ck_assert_int_eq(rmdir(deeper), 0);
	settle();
	ck_assert_uint_eq(count_kernel_watches(), 1);
	ck_assert_int_eq(file_watch_aim(&moving.watch, directory), 0);
	touch("e");
	ck_assert_uint_eq(told(&moving), IN_CREATE);
	file_watch_stop(&moving.watch);
	file_watch_stop(&staying.watch);
}
END_TEST

/* More than the kernel keeps (max_queued_events): all may have missed some. */
START_TEST(overflow)
{
	struct watcher first, second;
	unsigned long most = 0;
	FILE *file = fopen("/proc/sys/fs/inotify/max_queued_events", "r");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%lu", &most), 1);
	fclose(file);
	if (most > 100000)
		return;
	start_watcher(&first, IN_CREATE | IN_DELETE, NULL);
	start_watcher(&second, IN_MOVED_TO, NULL);
	/* Unlike ones: they do not merge. */
	for (unsigned long i = 0; i <= most / 2 + 1; i++) {
		touch("a");
		unlink(path);
	}
	ck_assert_uint_eq(told(&second), IN_Q_OVERFLOW);
	ck_assert_uint_eq(told(&first), IN_CREATE | IN_DELETE | IN_Q_OVERFLOW);
	touch("a");
	ck_assert_uint_eq(told(&first), IN_CREATE);
	ck_assert_uint_eq(told(&second), 0);
	file_watch_stop(&first.watch);
	file_watch_stop(&second.watch);
}
END_TEST

START_TEST(a_failure_leaves_nothing)
{
	struct file_watch watch;
	struct error error;

	file_watch_init(&watch, loop, IN_CREATE, NULL, happened, NULL);
	file_watch_stop(&watch);
	ck_assert_int_eq(file_watch_aim(&watch, at("none")), -ENOENT);
	ck_assert_uint_eq(count_instances(), 0);
	ck_assert_uint_eq(file_watch_take(&watch), 0);
	ck_assert_int_eq(file_watch_explain(-EMFILE, "/x", &error), -EMFILE);
	ck_assert_ptr_nonnull(strstr(error.text, "max_user_instances"));
	ck_assert_int_eq(file_watch_explain(-ENOSPC, "/x", &error), -ENOSPC);
	ck_assert_ptr_nonnull(strstr(error.text, "max_user_watches"));
}
END_TEST

/* ---- who waits for a path ----------------------------------------------------- */

static void path_changed(void *arg)
{
	unsigned int *calls = arg;

	++*calls;
}

/* Several for one path, and others in the same directories. */
START_TEST(paths_side_by_side)
{
	struct path_watch *near, *again, *far;
	unsigned int calls[3] = {0};

	near = path_watch_new(loop, at("port"), path_changed, &calls[0]);
	again = path_watch_new(loop, at("port"), path_changed, &calls[1]);
	far = path_watch_new(loop, at("x/y/port"), path_changed, &calls[2]);
	ck_assert(near && again && far);
	ck_assert_uint_eq(count_instances(), 1);
	touch("port");
	settle();
	ck_assert_uint_gt(calls[0], 0);
	ck_assert_uint_eq(calls[0], calls[1]);
	ck_assert_uint_eq(calls[2], 0);
	path_watch_free(near);
	ck_assert_int_eq(mkdir(at("x"), 0700), 0);
	settle();
	ck_assert_uint_eq(calls[2], 1);
	ck_assert_int_eq(mkdir(at("x/y"), 0700), 0);
	settle();
	ck_assert_uint_eq(calls[2], 2);
	touch("x/y/port");
	settle();
	ck_assert_uint_eq(calls[2], 3);
	/* And the way back. */
	unlink(at("x/y/port"));
	rmdir(at("x/y"));
	rmdir(at("x"));
	settle();
	ck_assert_int_eq(mkdir(at("x"), 0700), 0);
	calls[2] = 0;
	settle();
	ck_assert_uint_gt(calls[2], 0);
	rmdir(at("x"));
	path_watch_free(again);
	path_watch_free(far);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("file_watch");
	TCase *tcase = tcase_create("file_watch");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, one_instance_for_all);
	tcase_add_test(tcase, each_its_own);
	tcase_add_test(tcase, taking);
	tcase_add_loop_test(tcase, stopped_by_another, 0, 2);
	tcase_add_test(tcase, aimed_elsewhere);
	tcase_add_test(tcase, overflow);
	tcase_add_test(tcase, a_failure_leaves_nothing);
	tcase_add_test(tcase, paths_side_by_side);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
