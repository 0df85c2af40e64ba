/* SPDX-License-Identifier: MIT */
/* The lock beside a path, and the owner, group and mode of a path. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "access.h"
#include "address_path.h"
#include "error.h"
#include "lockfile.h"

#define NOBODY 65534

static char directory[64], path[128], lock_path[192];

static void setup(void)
{
	snprintf(directory, sizeof(directory), "/tmp/check_lockfile.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/port", directory);
	snprintf(lock_path, sizeof(lock_path), "%s.lock", path);
}

/* Nothing of a test's is left: rmdir fails on a directory with files. */
static void teardown(void)
{
	ck_assert_msg(rmdir(directory) == 0, "%s: %s", directory,
		      strerror(errno));
}

static void write_file(const char *name, const char *text)
{
	FILE *file = fopen(name, "w");

	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
}

static void read_file(const char *name, char *text, size_t bytes)
{
	FILE *file = fopen(name, "r");

	ck_assert_ptr_nonnull(file);
	text[fread(text, 1, bytes - 1, file)] = '\0';
	fclose(file);
}

/* A process that holds the lock; it is there when this returns. */
static pid_t start_holder(void)
{
	int ready[2];
	pid_t pid;
	char byte;

	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct error error;
		bool was_stale;

		if (lockfile_acquire(path, &was_stale, &error))
			(void)!write(ready[1], "", 1);
		for (;;)
			pause();
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void kill_holder(pid_t pid)
{
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

START_TEST(test_acquire_release)
{
	struct error error = {""};
	struct lockfile *lockfile;
	char text[64], expected[64];
	bool was_stale = true;
	struct stat st;

	lockfile = lockfile_acquire(path, &was_stale, &error);
	ck_assert_msg(lockfile != NULL, "%s", error.text);
	ck_assert(!was_stale);
	read_file(lock_path, text, sizeof(text));
	snprintf(expected, sizeof(expected), "%ld\n", (long)getpid());
	ck_assert_str_eq(text, expected);
	lockfile_release(lockfile);
	ck_assert_int_ne(lstat(lock_path, &st), 0);
	lockfile_release(NULL);
}
END_TEST

START_TEST(test_held)
{
	struct error error = {""};
	pid_t pid = start_holder();
	char expected[64];
	bool was_stale;

	ck_assert_ptr_null(lockfile_acquire(path, &was_stale, &error));
	ck_assert_int_eq(errno, EADDRINUSE);
	snprintf(expected, sizeof(expected), "(pid %ld)", (long)pid);
	ck_assert_msg(strstr(error.text, expected) != NULL, "%s", error.text);
	ck_assert_msg(strstr(error.text, path) != NULL, "%s", error.text);
	kill_holder(pid);
	unlink(lock_path);
}
END_TEST

START_TEST(test_held_by_ourselves)
{
	struct error error = {""};
	bool was_stale;
	struct lockfile *first = lockfile_acquire(path, &was_stale, &error);

	ck_assert_ptr_nonnull(first);
	ck_assert_ptr_null(lockfile_acquire(path, &was_stale, &error));
	ck_assert_int_eq(errno, EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(error.text, "this gateway already"));
	lockfile_release(first);
}
END_TEST

START_TEST(test_stale)
{
	struct error error = {""};
	struct lockfile *lockfile;
	bool was_stale = false;

	kill_holder(start_holder());
	lockfile = lockfile_acquire(path, &was_stale, &error);
	ck_assert_msg(lockfile != NULL, "%s", error.text);
	ck_assert(was_stale);
	lockfile_release(lockfile);
}
END_TEST

/* Killed between making the file and writing it: it had left no path yet. */
START_TEST(test_empty_is_not_stale)
{
	struct error error = {""};
	struct lockfile *lockfile;
	bool was_stale = true;

	write_file(lock_path, "");
	lockfile = lockfile_acquire(path, &was_stale, &error);
	ck_assert_msg(lockfile != NULL, "%s", error.text);
	ck_assert(!was_stale);
	lockfile_release(lockfile);
}
END_TEST

static int looker;

static void stop_looking(int number)
{
	close(looker);
}

/* Whoever looks shares the lock for a moment, and is not taken for a holder. */
START_TEST(test_looked_at)
{
	const struct sigaction action = {.sa_handler = stop_looking};
	const struct itimerval moment = {.it_value.tv_usec = 2000};
	struct error error = {""};
	struct lockfile *lockfile;
	bool was_stale = false;

	kill_holder(start_holder());
	looker = open(lock_path, O_RDONLY);
	ck_assert_int_eq(flock(looker, LOCK_SH | LOCK_NB), 0);
	ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &moment, NULL), 0);
	lockfile = lockfile_acquire(path, &was_stale, &error);
	ck_assert_msg(lockfile != NULL, "%s", error.text);
	ck_assert(was_stale);
	lockfile_release(lockfile);
}
END_TEST

static const char *const foreign_texts[] = {
	"my notes\n", "12 monkeys\n", "123", "-5\n", "0\n", "12\n34\n",
};

START_TEST(test_foreign_file)
{
	struct error error = {""};
	char text[64];
	bool was_stale;

	write_file(lock_path, foreign_texts[_i]);
	ck_assert_ptr_null(lockfile_acquire(path, &was_stale, &error));
	ck_assert_int_eq(errno, EEXIST);
	ck_assert_ptr_nonnull(strstr(error.text, lock_path));
	read_file(lock_path, text, sizeof(text));
	ck_assert_str_eq(text, foreign_texts[_i]);
	unlink(lock_path);
}
END_TEST

enum foreign {
	FOREIGN_DIRECTORY,
	FOREIGN_LINK,
	FOREIGN_FIFO,
	FOREIGN_COUNT,
};

START_TEST(test_foreign_kind)
{
	struct error error = {""};
	struct stat before, after;
	bool was_stale;

	if (_i == FOREIGN_DIRECTORY)
		ck_assert_int_eq(mkdir(lock_path, 0755), 0);
	else if (_i == FOREIGN_LINK)
		ck_assert_int_eq(symlink("elsewhere", lock_path), 0);
	else
		ck_assert_int_eq(mkfifo(lock_path, 0644), 0);
	ck_assert_int_eq(lstat(lock_path, &before), 0);
	ck_assert_ptr_null(lockfile_acquire(path, &was_stale, &error));
	ck_assert_int_eq(errno, EEXIST);
	ck_assert_ptr_nonnull(strstr(error.text, lock_path));
	ck_assert_int_eq(lstat(lock_path, &after), 0);
	ck_assert_uint_eq(before.st_ino, after.st_ino);
	remove(lock_path);
}
END_TEST

START_TEST(test_no_directory)
{
	struct error error = {""};
	char missing[192];
	bool was_stale;

	snprintf(missing, sizeof(missing), "%s/none/port", directory);
	ck_assert_ptr_null(lockfile_acquire(missing, &was_stale, &error));
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_ptr_nonnull(strstr(error.text, "No such file"));
}
END_TEST

/* Somebody removed our file and made another: it is not ours to remove. */
START_TEST(test_release_leaves_what_is_not_ours)
{
	struct error error = {""};
	struct lockfile *lockfile;
	bool was_stale;
	char text[16];

	lockfile = lockfile_acquire(path, &was_stale, &error);
	ck_assert_ptr_nonnull(lockfile);
	/* By rename: a fresh file could get the inode number of the old. */
	write_file(path, "other\n");
	ck_assert_int_eq(rename(path, lock_path), 0);
	lockfile_release(lockfile);
	read_file(lock_path, text, sizeof(text));
	ck_assert_str_eq(text, "other\n");
	unlink(lock_path);
}
END_TEST

/*
 * Processes that take and drop the lock all the time: never two at once, which
 * a flag file made with O_EXCL tells.
 */
static int contend(const char *flag)
{
	struct error error;
	bool was_stale;

	for (int taken = 0; taken < 500;) {
		struct lockfile *lockfile = lockfile_acquire(path, &was_stale,
							     &error);
		int fd;

		if (!lockfile) {
			if (errno != EADDRINUSE)
				return 2;
			continue;
		}
		fd = open(flag, O_CREAT | O_EXCL | O_WRONLY, 0600);
		if (fd < 0)
			return 1;
		close(fd);
		unlink(flag);
		lockfile_release(lockfile);
		taken++;
	}
	return 0;
}

START_TEST(test_contention)
{
	char flag[192];
	int status;

	snprintf(flag, sizeof(flag), "%s/flag", directory);
	for (int i = 0; i < 4; i++) {
		pid_t pid = fork();

		ck_assert_int_ge(pid, 0);
		if (pid == 0)
			_exit(contend(flag));
	}
	for (int i = 0; i < 4; i++) {
		ck_assert_int_gt(wait(&status), 0);
		ck_assert_int_eq(status, 0);
	}
}
END_TEST

/* ---- access ---------------------------------------------------------------- */

static int apply(const struct address_access *wanted, struct error *error)
{
	struct access access;
	int code = access_find(&access, wanted, 0, error);

	return code ? code : access_apply(path, &access, error);
}

static void assert_refused(const struct address_access *wanted, int code,
			   const char *words)
{
	struct error error = {""};

	ck_assert_int_eq(apply(wanted, &error), code);
	ck_assert_msg(strstr(error.text, words) != NULL, "%s", error.text);
}

static char *text(const char *name)
{
	static char copies[4][64];
	static unsigned int next;
	char *copy = copies[next++ % 4];

	snprintf(copy, sizeof(copies[0]), "%s", name);
	return copy;
}

START_TEST(test_mode)
{
	struct address_access access = {.mode = 0640};
	struct access found;
	struct error error = {""};
	struct stat before, st;

	write_file(path, "");
	ck_assert_int_eq(stat(path, &before), 0);
	ck_assert_int_eq(apply(&access, &error), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0640);
	ck_assert_uint_eq(st.st_uid, before.st_uid);
	ck_assert_uint_eq(st.st_gid, before.st_gid);
	access.mode = 0;
	ck_assert_int_eq(apply(&access, &error), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0640);
	/* What holds where nothing was said. */
	ck_assert_int_eq(access_find(&found, &access, 0604, &error), 0);
	ck_assert_uint_eq(found.mode, 0604);
	access.mode = 0640;
	ck_assert_int_eq(access_find(&found, &access, 0604, &error), 0);
	ck_assert_uint_eq(found.mode, 0640);
	unlink(path);
}
END_TEST

START_TEST(test_unknown_names)
{
	struct address_access owner = {.owner = text("no-such-user")};
	struct address_access group = {.group = text("no-such-group")};
	struct address_access number = {.group = text("4294967295")};

	write_file(path, "");
	assert_refused(&owner, -EINVAL, "user 'no-such-user' does not exist");
	assert_refused(&group, -EINVAL, "group 'no-such-group' does not exist");
	assert_refused(&number, -EINVAL, "group '4294967295' does not exist");
	unlink(path);
}
END_TEST

/* A link is not followed: its target keeps what it had. */
START_TEST(test_link_not_followed)
{
	struct address_access access = {.mode = 0666};
	struct error error = {""};
	char target[192];
	struct stat st;

	snprintf(target, sizeof(target), "%s/target", directory);
	write_file(target, "");
	ck_assert_int_eq(chmod(target, 0600), 0);
	ck_assert_int_eq(symlink(target, path), 0);
	ck_assert_int_lt(apply(&access, &error), 0);
	ck_assert_int_eq(stat(target, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	unlink(path);
	unlink(target);
}
END_TEST

/* Everything at once, by name and by number. Needs root. */
START_TEST(test_owner_and_group)
{
	struct address_access access = {
		.owner = _i ? text("65534") : text("nobody"),
		.group = _i ? text("12345") : text("daemon"),
		.mode = 0660,
	};
	struct group *group = getgrnam("daemon");
	struct error error = {""};
	struct stat st;

	ck_assert_ptr_nonnull(group);
	write_file(path, "");
	ck_assert_msg(apply(&access, &error) == 0, "%s", error.text);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_uid, NOBODY);
	ck_assert_uint_eq(st.st_gid, _i ? 12345 : group->gr_gid);
	ck_assert_uint_eq(st.st_mode & 07777, 0660);
	unlink(path);
}
END_TEST

/* An ordinary user gives nothing away. Needs root, to become one. */
START_TEST(test_not_permitted)
{
	struct address_access owner = {.owner = text("root")};
	struct address_access group = {.group = text("root")};

	write_file(path, "");
	ck_assert_int_eq(chown(path, NOBODY, NOBODY), 0);
	ck_assert_int_eq(chown(directory, NOBODY, NOBODY), 0);
	ck_assert_int_eq(setgroups(0, NULL), 0);
	ck_assert_int_eq(setegid(NOBODY), 0);
	ck_assert_int_eq(seteuid(NOBODY), 0);
	assert_refused(&owner, -EPERM, "to user 'root': the gateway is");
	assert_refused(&group, -EPERM,
		       "to group 'root': the gateway is not a member of it");
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(setegid(0), 0);
	unlink(path);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lockfile");
	TCase *lock = tcase_create("lock");
	TCase *access = tcase_create("access");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(lock, setup, teardown);
	tcase_add_test(lock, test_acquire_release);
	tcase_add_test(lock, test_held);
	tcase_add_test(lock, test_held_by_ourselves);
	tcase_add_test(lock, test_stale);
	tcase_add_test(lock, test_looked_at);
	tcase_add_test(lock, test_empty_is_not_stale);
	tcase_add_loop_test(lock, test_foreign_file, 0,
			    sizeof(foreign_texts) / sizeof(foreign_texts[0]));
	tcase_add_loop_test(lock, test_foreign_kind, 0, FOREIGN_COUNT);
	tcase_add_test(lock, test_no_directory);
	tcase_add_test(lock, test_release_leaves_what_is_not_ours);
	tcase_add_test(lock, test_contention);
	tcase_set_timeout(lock, 60);
	suite_add_tcase(suite, lock);

	tcase_add_checked_fixture(access, setup, teardown);
	tcase_add_test(access, test_mode);
	tcase_add_test(access, test_unknown_names);
	tcase_add_test(access, test_link_not_followed);
	if (geteuid() == 0)
		tcase_add_loop_test(access, test_owner_and_group, 0, 2);
	else
		puts("skipped, needs root: test_owner_and_group");
	if (geteuid() == 0)
		tcase_add_test(access, test_not_permitted);
	else
		puts("skipped, needs root: test_not_permitted");
	suite_add_tcase(suite, access);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
