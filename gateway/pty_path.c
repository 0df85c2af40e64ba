/* SPDX-License-Identifier: MIT */
#include "pty_path.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "address_path.h"
#include "error.h"
#include "holder.h"
#include "lockfile.h"
#include "pty.h"

#define DIRECTORY_MODE 0755

struct pty_path {
	char *path;
	char *next; /* where a link is made that is to take its place */
	char *directory; /* the one we made, or NULL */
	struct lockfile *lock;
	char slave[PTY_SLAVE_BYTES]; /* where our link leads; "": none */
	char left[PTY_SLAVE_BYTES]; /* the same of one of ours at @next */
};

static const char *describe_mode(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "a file";
	case S_IFDIR:
		return "a directory";
	case S_IFCHR:
	case S_IFBLK:
		return "a device";
	case S_IFSOCK:
		return "a socket";
	case S_IFIFO:
		return "a FIFO";
	}
	return "something";
}

/* Make way for our link: 0 if nothing is at @path any more. */
static int clear(const char *path, bool was_stale, struct error *error)
{
	char target[PTY_SLAVE_BYTES];
	struct stat st;
	ssize_t got;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0
				       : error_set(error, -errno,
						   "cannot look at %s: %s",
						   path, strerror(errno));
	if (!S_ISLNK(st.st_mode))
		return error_set(
			error, -EEXIST,
			"%s is there already: %s, not a link of the "
			"gateway; move it away, or choose another path",
			path, describe_mode(st.st_mode));
	got = readlink(path, target, sizeof(target) - 1);
	target[got > 0 ? got : 0] = '\0';
	if (strncmp(target, PTY_SLAVE_DIRECTORY, strlen(PTY_SLAVE_DIRECTORY)) !=
	    0)
		return error_set(error, -EEXIST,
				 "%s is there already: a link that is not the "
				 "gateway's; move it away, or choose another "
				 "path",
				 path);
	if (!was_stale)
		return error_set(
			error, -EEXIST,
			"%s is there already: a link to %s that another "
			"program made (no stale lock tells of a killed "
			"gateway); move it away, or remove it if nothing uses "
			"it",
			path, target);
	if (unlink(path) < 0 && errno != ENOENT)
		return error_set(
			error, -errno,
			"cannot remove %s, which a killed gateway left "
			"behind: %s",
			path, strerror(errno));
	return 0;
}

/* Whether PATH.next is the path of another pty, which somebody holds. */
static bool is_next_held(const struct pty_path *path,
			 char who[HOLDER_TEXT_BYTES])
{
	enum lockfile_state state;
	pid_t pid;

	state = lockfile_look(path->next, &pid);
	if (pid == getpid())
		strcpy(who, "this gateway");
	else if (pid)
		holder_of_pid(pid, who);
	else
		strcpy(who, "another process");
	return state == LOCKFILE_HELD || state == LOCKFILE_UNREADABLE;
}

/* The same for PATH.next, which may be the path of another pty. */
static int clear_next(const struct pty_path *path, bool was_stale,
		      struct error *error)
{
	char who[HOLDER_TEXT_BYTES];

	if (is_next_held(path, who))
		return error_set(error, -EADDRINUSE,
				 "%s is held by %s, and is needed for %s, too; "
				 "choose another path for one of them",
				 path->next, who, path->path);
	return clear(path->next, was_stale, error);
}

/* Make the directory that the path is in, if only that one is missing. */
static int make_directory(struct pty_path *path, struct error *error)
{
	char *slash = strrchr(path->path, '/');
	char *directory;

	if (!slash || slash == path->path)
		return 0;
	directory = strndup(path->path, (size_t)(slash - path->path));
	if (!directory)
		return error_set(error, -ENOMEM, "out of memory");
	if (mkdir(directory, DIRECTORY_MODE) < 0) {
		int code = -errno;

		if (code == -EEXIST)
			code = 0;
		else
			error_set(error, code,
				  "cannot make the directory %s: %s; make it "
				  "for the gateway's user: sudo install -d -o "
				  "USER %s",
				  directory, strerror(-code), directory);
		free(directory);
		return code;
	}
	/* Whatever the umask: others are to find the port in it. */
	chmod(directory, DIRECTORY_MODE);
	path->directory = directory;
	return 0;
}

/* Whether the link at @text is one that we made to @slave. */
static bool leads_to(const char *text, const char *slave)
{
	char target[PTY_SLAVE_BYTES];
	ssize_t got = readlink(text, target, sizeof(target));

	return slave[0] && got == (ssize_t)strlen(slave) &&
	       memcmp(target, slave, (size_t)got) == 0;
}

struct pty_path *pty_path_acquire(const char *text, enum pty_path_life life,
				  struct error *error)
{
	struct pty_path *path = calloc(1, sizeof(*path));
	struct error ignored;
	bool was_stale;
	int code;

	if (path)
		path->path = strdup(text);
	if (!path || !path->path ||
	    asprintf(&path->next, "%s" ADDRESS_PATH_NEXT, text) < 0) {
		if (path)
			path->next = NULL;
		code = error_set(error, -ENOMEM, "out of memory");
		goto release;
	}
	code = make_directory(path, error);
	if (code < 0)
		goto release;
	path->lock = lockfile_acquire(path->path, &was_stale, error);
	if (!path->lock) {
		code = -errno;
		goto release;
	}
	/* At once: if we fail later, the proof that it is stale is gone. */
	code = clear(path->path, was_stale, error);
	if (code == 0 && life == PTY_PATH_LIFE_MANY_PTYS)
		code = clear_next(path, was_stale, error);
	else if (code == 0 && was_stale)
		/* It may be left, and is in nobody's way. */
		clear_next(path, true, &ignored);
	if (code == 0)
		return path;

release:
	pty_path_release(path);
	errno = -code;
	return NULL;
}

/* A link of ours at PATH.next that could not take the place of the other. */
static void remove_next(struct pty_path *path)
{
	char who[HOLDER_TEXT_BYTES];

	if (!path->left[0])
		return;
	if (!leads_to(path->next, path->left) || is_next_held(path, who) ||
	    unlink(path->next) == 0 || errno == ENOENT)
		path->left[0] = '\0';
}

/* Somebody may have put something there since the path was acquired. */
static int make_next(struct pty_path *path, const char *slave,
		     struct error *error)
{
	int code;

	remove_next(path);
	if (symlink(slave, path->next) == 0) {
		snprintf(path->left, sizeof(path->left), "%s", slave);
		return 0;
	}
	code = -errno;
	/* 0: it has gone meanwhile, and the next try will do. */
	if (code == -EEXIST && clear_next(path, false, error) < 0)
		return code;
	return error_set(error, code, "cannot make the link %s: %s", path->next,
			 strerror(-code));
}

int pty_path_link(struct pty_path *path, const char *slave, struct error *error)
{
	bool is_ours = leads_to(path->path, path->slave);
	int code = 0;

	if (is_ours)
		code = make_next(path, slave, error);
	else if (symlink(slave, path->path) < 0)
		/* Where nothing of ours is, nothing is replaced. */
		code = error_set(error, -errno, "cannot make the link %s: %s",
				 path->path, strerror(errno));
	if (code < 0)
		return code;
	if (is_ours && rename(path->next, path->path) < 0) {
		code = -errno;
		remove_next(path);
		return error_set(error, code, "cannot replace the link %s: %s",
				 path->path, strerror(-code));
	}
	path->left[0] = '\0';
	snprintf(path->slave, sizeof(path->slave), "%s", slave);
	return 0;
}

void pty_path_unlink(struct pty_path *path)
{
	if (leads_to(path->path, path->slave))
		unlink(path->path);
	path->slave[0] = '\0';
}

void pty_path_release(struct pty_path *path)
{
	if (!path)
		return;
	if (path->path)
		pty_path_unlink(path);
	if (path->next)
		remove_next(path);
	lockfile_release(path->lock);
	/* Fails, as it should, if it is not empty. */
	if (path->directory)
		rmdir(path->directory);
	free(path->directory);
	free(path->next);
	free(path->path);
	free(path);
}

const char *pty_path_text(const struct pty_path *path)
{
	return path->path;
}
