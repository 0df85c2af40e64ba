/* SPDX-License-Identifier: MIT */
#include "config_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_findings.h"
#include "error.h"

#define CONFIG_FILE_BYTES_MAX (16u << 20)
#define CONFIG_DIRECTORY "conf.d"
#define CONFIG_SUFFIX ".conf"
/* Whoever pipes a configuration in has this long to go on. */
#define CONFIG_PIPE_WAIT_MS 10000

/* ---- one file --------------------------------------------------------- */

/* A pipe that we were started with, as opposed to a FIFO somewhere. */
static bool is_inherited(const char *path)
{
	return strcmp(path, "/dev/stdin") == 0 ||
	       strncmp(path, "/dev/fd/", 8) == 0 ||
	       strncmp(path, "/proc/self/fd/", 14) == 0;
}

/* @code with what to do about it. */
static int refuse_open(int code, struct error *error)
{
	const char *advice;

	switch (code) {
	case -ENOENT:
		advice = "create it, or name another with -c FILE";
		break;
	case -EACCES:
		advice = "make it readable for the user that runs btgate";
		break;
	default:
		advice = "name another with -c FILE";
		break;
	}
	return error_set(error, code, "cannot read it: %s; %s", strerror(-code),
			 advice);
}

/* Looked at before it is opened: opening some devices does something. */
static int open_file(const char *path, struct error *error)
{
	struct stat status;
	int fd;

	if (stat(path, &status) < 0)
		return refuse_open(-errno, error);
	if (S_ISDIR(status.st_mode))
		return refuse_open(-EISDIR, error);
	if (!S_ISREG(status.st_mode) &&
	    !(S_ISFIFO(status.st_mode) && is_inherited(path)))
		return error_set(error, -ENOTSUP,
				 "is a %s and not a file; name another with "
				 "-c FILE",
				 S_ISFIFO(status.st_mode) ? "FIFO"
							  : "device or socket");
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? refuse_open(-errno, error) : fd;
}

/* read(), but for a pipe wait a while for more. */
static ssize_t read_some(int fd, char *buffer, size_t bytes)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};
	ssize_t got;
	int ready;

	for (;;) {
		got = read(fd, buffer, bytes);
		if (got >= 0)
			return got;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		ready = poll(&poller, 1, CONFIG_PIPE_WAIT_MS);
		if (ready == 0)
			return -ETIMEDOUT;
		if (ready < 0 && errno != EINTR)
			return -errno;
	}
}

/* All of @fd, in a buffer that grows; malloc'd. */
static int read_all(int fd, char **out, size_t *out_bytes, struct error *error)
{
	size_t room = 4096, used = 0;
	char *buffer = malloc(room);
	ssize_t got = buffer ? 1 : -ENOMEM;

	while (got > 0) {
		got = read_some(fd, buffer + used, room - used);
		if (got > 0)
			used += (size_t)got;
		if (used > CONFIG_FILE_BYTES_MAX) {
			got = -EFBIG;
		} else if (used == room) {
			char *larger = realloc(buffer, room * 2);

			if (!larger) {
				got = -ENOMEM;
				break;
			}
			buffer = larger;
			room *= 2;
		}
	}
	if (got == 0) {
		*out = buffer;
		*out_bytes = used;
		return 0;
	}
	free(buffer);
	if (got == -EFBIG)
		return error_set(error, -EFBIG,
				 "is larger than %u MB; that is no "
				 "configuration",
				 CONFIG_FILE_BYTES_MAX >> 20);
	return error_set(error, (int)got, "cannot read it: %s",
			 strerror((int)-got));
}

/* One more; in any case it is reported if it cannot be had. */
static int read_file(const char *path, struct config_files *files,
		     config_error_cb report, void *arg)
{
	struct config_text text = {.name = strdup(path)};
	struct config_text *larger = realloc(files->texts,
					     (files->count + 1) * sizeof(text));
	struct error error = {""};
	int code, fd;

	if (larger)
		files->texts = larger;
	if (!larger || !text.name) {
		free(text.name);
		config_report(report, arg, "%s: out of memory", path);
		return -ENOMEM;
	}
	fd = open_file(path, &error);
	code = fd < 0 ? fd : read_all(fd, &text.data, &text.size, &error);
	if (fd >= 0)
		close(fd);
	if (code < 0) {
		config_report(report, arg, "%s: %s", path, error.text);
		free(text.name);
		return code;
	}
	larger[files->count++] = text;
	return 0;
}

/* ---- the directory beside it ------------------------------------------ */

static int is_named_as_config(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name), end = strlen(CONFIG_SUFFIX);

	return entry->d_name[0] != '.' && length > end &&
	       strcmp(entry->d_name + length - end, CONFIG_SUFFIX) == 0;
}

/* By bytes, wherever it runs: alphasort(3) goes by the locale. */
static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* All that can be read, so that all that cannot is said. */
static int read_entries(const char *directory, struct dirent **entries,
			int count, struct config_files *files,
			config_error_cb report, void *arg)
{
	char path[PATH_MAX + sizeof("/") + NAME_MAX];
	int code = 0, one;

	for (int i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "%s/%s", directory,
			 entries[i]->d_name);
		one = read_file(path, files, report, arg);
		if (code == 0)
			code = one;
	}
	return code;
}

/* None is as good as an empty one. */
static int read_directory(const char *directory, struct config_files *files,
			  config_error_cb report, void *arg)
{
	struct dirent **entries = NULL;
	int count = scandir(directory, &entries, is_named_as_config,
			    compare_names);
	int code = count < 0 ? -errno : 0;

	if (code == -ENOENT)
		return 0;
	if (code < 0) {
		config_report(report, arg, "%s: cannot read the directory: %s",
			      directory, strerror(-code));
		return code;
	}
	code = read_entries(directory, entries, count, files, report, arg);
	for (int i = 0; i < count; i++)
		free(entries[i]);
	free(entries);
	return code;
}

int config_files_read(const char *path, struct config_files *files,
		      config_error_cb report, void *arg)
{
	const char *slash = strrchr(path, '/');
	char directory[PATH_MAX];
	int code, others;

	code = read_file(path, files, report, arg);
	if (code < 0 || is_inherited(path))
		return code;
	others = snprintf(directory, sizeof(directory), "%.*s" CONFIG_DIRECTORY,
			  slash ? (int)(slash + 1 - path) : 0, path);
	if (others < 0 || (size_t)others >= sizeof(directory))
		return 0; /* nobody can have made one */
	return read_directory(directory, files, report, arg);
}

void config_files_clear(struct config_files *files)
{
	for (size_t i = 0; i < files->count; i++) {
		free(files->texts[i].name);
		free(files->texts[i].data);
	}
	free(files->texts);
}
