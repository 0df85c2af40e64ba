/* SPDX-License-Identifier: MIT */
#include "lockfile.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "holder.h"

#define PID_TEXT_BYTES 24
/* Of those who only look (lockfile_look), for a moment each. */
#define LOOKERS_TRIES 5
#define LOOKERS_WAIT_US 10000

struct lockfile {
	int fd;
	char *path; /* with the .lock */
};

/* Whether the file that is open is the one that the path leads to. */
static bool is_same_file(int fd, const char *path)
{
	struct stat opened, named;

	return fstat(fd, &opened) == 0 && lstat(path, &named) == 0 &&
	       opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

/*
 * The text of a lock file: the holder's process id, or 0 for an empty one
 * (its maker has not written yet, or died before it could). -1: not a lock
 * file of ours.
 */
static long read_holder(int fd)
{
	char text[PID_TEXT_BYTES];
	struct stat st;
	ssize_t got;
	long pid;
	char *end;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return -1;
	got = pread(fd, text, sizeof(text) - 1, 0);
	if (got <= 0)
		return got;
	text[got] = '\0';
	if (!isdigit((unsigned char)text[0]))
		return -1;
	pid = strtol(text, &end, 10);
	return pid > 0 && strcmp(end, "\n") == 0 ? pid : -1;
}

static void set_held_error(const char *path, long pid, struct error *error)
{
	char holder[HOLDER_TEXT_BYTES];

	if (pid <= 0) {
		error_set(error, 0, "%s is held by another process", path);
		return;
	}
	if (pid == getpid()) {
		error_set(error, 0, "%s is held by this gateway already", path);
		return;
	}
	holder_of_pid((pid_t)pid, holder);
	error_set(error, 0, "%s is held by %s", path, holder);
}

static int open_file(const char *path, struct error *error)
{
	/* O_NONBLOCK: a FIFO of that name must not hang us. */
	int fd = open(path,
		      O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK |
			      O_NOCTTY,
		      0644);
	int code = errno;

	if (fd >= 0)
		return fd;
	if (code == EISDIR || code == ELOOP || code == ENXIO) {
		error_set(error, 0,
			  "%s is there and is no lock file of a gateway; move "
			  "it away, or choose another path",
			  path);
		code = EEXIST;
	} else {
		error_set(error, 0, "cannot make the lock file %s: %s", path,
			  strerror(code));
	}
	errno = code;
	return -1;
}

/*
 * Whether it is not held but looked at, after waiting until that may be over.
 * One who holds it is not waited for.
 */
static bool wait_for_lookers(int fd)
{
	if (flock(fd, LOCK_SH | LOCK_NB) < 0)
		return false;
	flock(fd, LOCK_UN);
	usleep(LOOKERS_WAIT_US);
	return true;
}

/*
 * Open and lock the file at lockfile->path. The holder removes the file before
 * it lets go, so the one that we waited for may be no longer the one at that
 * path: then try again with the new one. 0 or -errno.
 */
static int lock(struct lockfile *lockfile, const char *path, long *holder,
		struct error *error)
{
	for (int tries = LOOKERS_TRIES;;) {
		int fd = open_file(lockfile->path, error);
		int code;

		if (fd < 0)
			return -errno;
		*holder = read_holder(fd);
		if (*holder < 0) {
			close(fd);
			return error_set(error, -EEXIST,
					 "%s is there and is no lock file of a "
					 "gateway; move it away, or choose "
					 "another path",
					 lockfile->path);
		}
		if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
			if (is_same_file(fd, lockfile->path)) {
				/* It may have been written since. */
				*holder = read_holder(fd);
				lockfile->fd = fd;
				return 0;
			}
			close(fd);
			continue;
		}
		code = -errno;
		if (code == -EWOULDBLOCK && tries-- > 0 &&
		    wait_for_lookers(fd)) {
			close(fd);
			continue;
		}
		close(fd);
		if (code == -EWOULDBLOCK) {
			set_held_error(path, *holder, error);
			return -EADDRINUSE;
		}
		return error_set(error, code, "cannot lock %s: %s",
				 lockfile->path, strerror(-code));
	}
}

static int write_holder(struct lockfile *lockfile, struct error *error)
{
	char text[PID_TEXT_BYTES];
	int bytes = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	int code = 0;

	if (ftruncate(lockfile->fd, 0) < 0)
		code = -errno;
	else if (pwrite(lockfile->fd, text, (size_t)bytes, 0) != bytes)
		code = errno ? -errno : -EIO;
	if (code < 0)
		error_set(error, code, "cannot write the lock file %s: %s",
			  lockfile->path, strerror(-code));
	return code;
}

struct lockfile *lockfile_acquire(const char *path, bool *was_stale,
				  struct error *error)
{
	struct lockfile *lockfile = calloc(1, sizeof(*lockfile));
	long holder = 0;
	int code;

	*was_stale = false;
	if (!lockfile || asprintf(&lockfile->path, "%s.lock", path) < 0) {
		free(lockfile);
		error_set(error, 0, "out of memory");
		errno = ENOMEM;
		return NULL;
	}
	code = lock(lockfile, path, &holder, error);
	if (code < 0)
		goto free_lockfile;
	code = write_holder(lockfile, error);
	if (code < 0)
		goto remove_file;
	*was_stale = holder > 0;
	return lockfile;

remove_file:
	unlink(lockfile->path);
	close(lockfile->fd);
free_lockfile:
	free(lockfile->path);
	free(lockfile);
	errno = -code;
	return NULL;
}

void lockfile_release(struct lockfile *lockfile)
{
	if (!lockfile)
		return;
	/* Before letting go: after that it may be somebody else's. */
	if (is_same_file(lockfile->fd, lockfile->path))
		unlink(lockfile->path);
	close(lockfile->fd);
	free(lockfile->path);
	free(lockfile);
}

enum lockfile_state lockfile_look(const char *path, pid_t *holder)
{
	enum lockfile_state state = LOCKFILE_STALE;
	char name[PATH_MAX];
	long pid;
	int fd;

	*holder = 0;
	snprintf(name, sizeof(name), "%s.lock", path);
	fd = open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == EACCES || errno == EMFILE || errno == ENFILE
			       ? LOCKFILE_UNREADABLE
			       : LOCKFILE_MISSING;
	if (flock(fd, LOCK_SH | LOCK_NB) < 0)
		state = LOCKFILE_HELD;
	pid = read_holder(fd);
	if (pid > 0)
		*holder = (pid_t)pid;
	close(fd);
	return state;
}
