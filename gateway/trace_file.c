/* SPDX-License-Identifier: MIT */
#include "trace_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "log.h"
#include "loop.h"
#include "trace_event.h"
#include "trace_format.h"

#define RETRY_MS 1000
#define FILE_MODE 0600

struct trace_file {
	const char *route;
	struct config_trace config;
	int fd; /* -1: not open */
	off_t size; /* of what is whole in it */
	bool has_events; /* not only what a file begins with */
	/* What is put until it is written. */
	uint8_t buffer[4096];
	size_t buffered;
	off_t put; /* bytes since @size, the buffered ones included */
	int code; /* the first one of them that failed */
	/* It cannot be written now. */
	bool is_failing;
	uint64_t retry_at_ms; /* loop_now_ms */
	uint64_t missed_events;
	uint64_t missed_bytes;
	/* Of them, those that the file has a note of. */
	uint64_t noted_events;
	uint64_t noted_bytes;
	int last_code; /* of the last time that it was tried */
	char why[96]; /* at first */
};

static void file_close(struct trace_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
}

/* ---- writing ---------------------------------------------------------------- */

static void write_all(struct trace_file *file, const uint8_t *data,
		      size_t bytes)
{
	while (bytes && file->code == 0) {
		ssize_t n = write(file->fd, data, bytes);

		if (n < 0 && errno != EINTR) {
			file->code = -errno;
		} else if (n > 0) {
			data += n;
			bytes -= (size_t)n;
		}
	}
}

static void file_flush(struct trace_file *file)
{
	write_all(file, file->buffer, file->buffered);
	file->buffered = 0;
}

/* A trace_put. */
static void file_put(const void *data, size_t bytes, void *arg)
{
	struct trace_file *file = arg;

	file->put += (off_t)bytes;
	if (file->buffered + bytes > sizeof(file->buffer))
		file_flush(file);
	if (bytes > sizeof(file->buffer)) {
		write_all(file, data, bytes);
		return;
	}
	memcpy(file->buffer + file->buffered, data, bytes);
	file->buffered += bytes;
}

/* Whole, or not at all: half an event would make the rest unreadable. */
static int file_end_put(struct trace_file *file)
{
	int code;

	file_flush(file);
	code = file->code;
	if (code == 0)
		file->size += file->put;
	else if (ftruncate(file->fd, file->size) < 0)
		/* Opened again it is found broken, and put aside. */
		file_close(file);
	file->put = 0;
	file->code = 0;
	return code;
}

/* ---- files ------------------------------------------------------------------ */

static void format_path(const struct trace_file *file, unsigned int number,
			char path[PATH_MAX])
{
	if (number)
		snprintf(path, PATH_MAX, "%s.%u", file->config.path, number);
	else
		snprintf(path, PATH_MAX, "%s", file->config.path);
}

/* Make room at the path; those that are too many go. 0 or -errno. */
static int file_rotate(struct trace_file *file)
{
	char from[PATH_MAX], to[PATH_MAX];
	unsigned int last = file->config.files;

	file_close(file);
	/* More than one if there were to be more before. */
	do
		format_path(file, last, to);
	while (unlink(to) == 0 && ++last);
	for (unsigned int i = file->config.files - 1; i > 0; i--) {
		format_path(file, i - 1, from);
		format_path(file, i, to);
		if (rename(from, to) < 0 && errno != ENOENT)
			return -errno;
	}
	if (file->config.files == 1 && unlink(file->config.path) < 0 &&
	    errno != ENOENT)
		return -errno;
	return 0;
}

/* For nobody else, also where it was there before. */
static int check_access(int fd, struct stat *st)
{
	if (fstat(fd, st) < 0)
		return -errno;
	if (!S_ISREG(st->st_mode))
		return -ENOTSUP;
	if ((st->st_mode & 07777) != FILE_MODE && fchmod(fd, FILE_MODE) < 0)
		return -errno;
	return 0;
}

static int open_path(struct trace_file *file)
{
	struct stat st;
	int code;

	/* O_NONBLOCK: open(2) would wait for whoever reads a FIFO. */
	file->fd = open(file->config.path,
			O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK |
				O_NOCTTY | O_CLOEXEC,
			FILE_MODE);
	if (file->fd < 0)
		return -errno;
	code = check_access(file->fd, &st);
	if (code) {
		file_close(file);
		return code;
	}
	file->size = st.st_size;
	file->has_events = st.st_size > 0;
	return 0;
}

static int file_open(struct trace_file *file)
{
	int code = open_path(file);

	if (code == 0 && file->size &&
	    !trace_format_can_follow(file->config.format, file->fd,
				     file->size)) {
		code = file_rotate(file);
		if (code == 0)
			code = open_path(file);
	}
	if (code)
		return code;
	trace_format_start(file->config.format, file->route, file_put, file);
	code = file_end_put(file);
	/* Without its beginning nothing may be added. */
	if (code)
		file_close(file);
	return code;
}

/* Somebody has moved or removed what is open (logrotate, rm). */
static bool is_moved(const struct trace_file *file)
{
	struct stat ours, theirs;

	return fstat(file->fd, &ours) < 0 ||
	       lstat(file->config.path, &theirs) < 0 ||
	       ours.st_dev != theirs.st_dev || ours.st_ino != theirs.st_ino;
}

static int file_write(struct trace_file *file, const struct trace_event *event)
{
	trace_format_event(file->config.format, file->route, event, file_put,
			   file);
	return file_end_put(file);
}

/*
 * The size of an event is known when it is written: one with which the file
 * would be too large is taken back, and is the next one's first.
 */
static int file_write_within(struct trace_file *file,
			     const struct trace_event *event)
{
	const off_t before = file->size;
	int code = file_write(file, event);

	if (code)
		return code;
	if (file->size > (off_t)file->config.size_bytes && file->has_events) {
		if (ftruncate(file->fd, before) < 0)
			return -errno;
		file->size = before;
		code = file_rotate(file);
		if (code == 0)
			code = file_open(file);
		if (code == 0)
			code = file_write(file, event);
	}
	if (code == 0)
		file->has_events = true;
	return code;
}

/* ---- when it cannot be written ---------------------------------------------- */

static const char *hint(int code)
{
	switch (code) {
	case -ENOENT:
		return " (its directory is not there, make it first)";
	case -EACCES:
	case -EPERM:
		return " (it is not the gateway's user's to write)";
	case -ELOOP:
		return " (it is a link)";
	case -ENOTSUP:
		return " (it is no file)";
	}
	return "";
}

static void file_failed(struct trace_file *file, int code)
{
	file->retry_at_ms = loop_now_ms() + RETRY_MS;
	file->last_code = code;
	if (file->is_failing)
		return;
	file->is_failing = true;
	snprintf(file->why, sizeof(file->why), "%s", strerror(-code));
	log_warning("route %s: the trace cannot be written to %s: %s%s; it is "
		    "tried again, and sessions go on without it",
		    file->route, file->config.path, file->why, hint(code));
}

static int note_missed(struct trace_file *file, uint64_t time_us)
{
	const struct trace_event missed = {
		.kind = TRACE_KIND_MISSED,
		.time_us = time_us,
		.text = file->why,
		.missed_events = file->missed_events - file->noted_events,
		.missed_bytes = file->missed_bytes - file->noted_bytes,
	};
	int code;

	if (!missed.missed_events)
		return 0;
	code = file_write_within(file, &missed);
	if (code == 0) {
		file->noted_events = file->missed_events;
		file->noted_bytes = file->missed_bytes;
	}
	return code;
}

static void file_recovered(struct trace_file *file)
{
	if (!file->is_failing)
		return;
	log_info("route %s: the trace in %s goes on; %llu pieces with %llu "
		 "bytes are missing in it",
		 file->route, file->config.path,
		 (unsigned long long)file->missed_events,
		 (unsigned long long)file->missed_bytes);
	file->is_failing = false;
	file->missed_events = file->noted_events = 0;
	file->missed_bytes = file->noted_bytes = 0;
}

/* Ready for an event, and with a note of what is missing before it. 0 or -errno. */
static int file_prepare(struct trace_file *file, uint64_t now_us)
{
	int code = file->fd < 0 ? file_open(file) : 0;

	return code ? code : note_missed(file, now_us);
}

static void file_tried(struct trace_file *file, int code)
{
	if (code)
		file_failed(file, code);
	else
		file_recovered(file);
}

/* ---- from outside ----------------------------------------------------------- */

void trace_file_add(struct trace_file *file, const struct trace_event *event)
{
	int code = -EAGAIN;

	if (!file->is_failing || loop_now_ms() >= file->retry_at_ms) {
		/* Not for each piece: that would be a system call more. */
		if (event->kind == TRACE_KIND_STARTED && file->fd >= 0 &&
		    is_moved(file))
			file_close(file);
		code = file_prepare(file, event->time_us);
		if (code == 0)
			code = file_write_within(file, event);
		/* The note alone may fit where no event does. */
		file_tried(file, code);
	}
	if (code) {
		file->missed_events++;
		file->missed_bytes += event->bytes;
	}
}

const char *trace_file_path(const struct trace_file *file)
{
	return file->config.path;
}

bool trace_file_is_failing(struct trace_file *file, uint64_t now_us,
			   struct error *error)
{
	/* Else there is no way to find out but an event. */
	if (file->is_failing && file->fd < 0 &&
	    loop_now_ms() >= file->retry_at_ms)
		file_tried(file, file_prepare(file, now_us));
	if (file->is_failing)
		error_set(error, 0, "%s%s", strerror(-file->last_code),
			  hint(file->last_code));
	return file->is_failing;
}

struct trace_file *trace_file_new(const char *route,
				  const struct config_trace *config)
{
	struct trace_file *file = calloc(1, sizeof(*file));
	char *path = strdup(config->path);
	int code;

	if (!file || !path) {
		free(file);
		free(path);
		return NULL;
	}
	file->route = route;
	file->config = *config;
	file->config.path = path;
	file->fd = -1;
	code = file_open(file);
	if (code)
		file_failed(file, code);
	return file;
}

void trace_file_free(struct trace_file *file)
{
	if (!file)
		return;
	file_close(file);
	free(file->config.path);
	free(file);
}

bool trace_file_is(const struct trace_file *file,
		   const struct config_trace *config)
{
	return config_trace_is_same(&file->config, config);
}
