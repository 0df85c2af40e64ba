/* SPDX-License-Identifier: MIT */
/*
 * file: what arrives is appended. Opened anew for each session, so that a file
 * that was moved away (logrotate) is left alone from the next one on; several
 * sessions may append, each write is whole (O_APPEND).
 *
 * epoll(7) knows no regular files: an eventfd that is always writable stands
 * for the file, and one that becomes readable at the end for what comes from it.
 */
#include "endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access.h"
#include "address_endpoint.h"
#include "answer.h"
#include "error.h"

#define FILE_MODE 0600
#define OPEN_FLAGS (O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

struct file_target {
	struct target target;
	struct loop *loop;
	char *path;
	struct access access; /* of a file that it makes */
};

struct file_stream {
	struct stream stream;
	int fd;
	int ready_fd; /* stands for a file, always writable; else -1 */
};

/* Nothing comes from it; once its input has ended, neither does more. */
static ssize_t file_read(struct stream *base, void *buffer, size_t bytes)
{
	uint64_t ends;

	return read(base->read_fd, &ends, sizeof(ends)) < 0 ? -errno : 0;
}

static ssize_t file_write(struct stream *base, const void *buffer, size_t bytes)
{
	const struct file_stream *stream = (struct file_stream *)base;
	ssize_t put = write(stream->fd, buffer, bytes);

	return put < 0 ? -errno : put;
}

static int file_shutdown_write(struct stream *base)
{
	const uint64_t end = 1;

	return write(base->read_fd, &end, sizeof(end)) < 0 ? -errno : 0;
}

static void file_close(struct stream *base, enum stream_close how)
{
	struct file_stream *stream = (struct file_stream *)base;

	if (base->read_fd >= 0)
		close(base->read_fd);
	if (stream->ready_fd >= 0)
		close(stream->ready_fd);
	close(stream->fd);
	free(stream);
}

static const struct stream_ops file_stream_ops = {
	.read = file_read,
	.write = file_write,
	.shutdown_write = file_shutdown_write,
	.close = file_close,
};

static int explain(const char *path, int code, struct error *error)
{
	const char *hint = "";

	switch (code) {
	case -EISDIR:
		hint = "; name a file in it";
		break;
	case -ENOENT:
		hint = "; its directory is not there, make it first";
		break;
	case -ENXIO:
		hint = "; a FIFO that no program reads, or a socket";
		break;
	case -EACCES:
		hint = "; the gateway's user may not write there";
		break;
	}
	return error_set(error, code, "cannot open %s: %s%s", path,
			 strerror(-code), hint);
}

/* As @access says, whatever the umask. */
static int create(const struct file_target *target, struct error *error)
{
	int fd = open(target->path, OPEN_FLAGS | O_CREAT | O_EXCL, FILE_MODE);
	int code;

	if (fd < 0)
		return -errno;
	code = access_apply(target->path, &target->access, error);
	if (code == 0)
		return fd;
	unlink(target->path);
	close(fd);
	return error_prefix(error, code, "%s", target->path);
}

/* The descriptor, or -errno. */
static int open_file(const struct file_target *target, struct error *error)
{
	const char *path = target->path;
	int fd = open(path, OPEN_FLAGS);

	if (fd >= 0)
		return fd;
	if (errno != ENOENT)
		return explain(path, -errno, error);
	error->text[0] = '\0';
	fd = create(target, error);
	if (fd == -EEXIST) {
		/* Another made it just now, or it is a link to nowhere yet. */
		fd = open(path, OPEN_FLAGS | O_CREAT, FILE_MODE);
		if (fd < 0)
			fd = -errno;
	}
	return fd < 0 && !error->text[0] ? explain(path, fd, error) : fd;
}

/* Whether what is open can be appended to. */
static int check_kind(int fd, const char *path, bool *is_always_ready,
		      struct error *error)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return explain(path, -errno, error);
	*is_always_ready = true;
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:
		return 0;
	case S_IFIFO:
		*is_always_ready = false;
		return 0;
	case S_IFCHR:
		/* /dev/null; a tty has settings and says when it is full. */
		if (!isatty(fd))
			return 0;
		return error_set(error, -ENOTSUP,
				 "%s is a terminal; use serial:%s", path, path);
	}
	return error_set(error, -ENOTSUP, "%s is no file to append to", path);
}

static struct stream *stream_new(const struct file_target *target, int *code,
				 struct error *error)
{
	const char *path = target->path;
	struct file_stream *stream;
	bool is_always_ready;
	int fd = open_file(target, error);

	*code = fd < 0 ? fd : check_kind(fd, path, &is_always_ready, error);
	if (*code < 0)
		goto close_fd;
	stream = calloc(1, sizeof(*stream));
	if (!stream) {
		*code = error_set(error, -ENOMEM, "out of memory");
		goto close_fd;
	}
	stream->stream.ops = &file_stream_ops;
	stream->fd = fd;
	stream->stream.read_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	stream->ready_fd = is_always_ready
				   ? eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
				   : -1;
	stream->stream.write_fd = is_always_ready ? stream->ready_fd : fd;
	if (stream->stream.read_fd < 0 || stream->stream.write_fd < 0) {
		*code = explain(path, -errno, error);
		file_close(&stream->stream, STREAM_CLOSE_ABORT);
		return NULL;
	}
	stream->stream.peer = target->target.name;
	return &stream->stream;

close_fd:
	if (fd >= 0)
		close(fd);
	return NULL;
}

static struct dial *file_dial(struct target *base, dial_done_cb done, void *arg)
{
	struct file_target *target = (struct file_target *)base;
	struct error error = {""};
	struct stream *stream;
	int code = 0;

	/* At once: acceptors count on a client's descriptors being taken. */
	stream = stream_new(target, &code, &error);
	return answer_new(target->loop, stream, code, &error, done, arg);
}

static void file_target_close(struct target *base)
{
	struct file_target *target = (struct file_target *)base;

	free(target->path);
	free(target);
}

static int file_open_target(struct loop *loop,
			    const struct address_endpoint *address,
			    const struct endpoint_settings *settings,
			    struct target **out, struct error *error)
{
	static const struct target_ops ops = {
		.dial = file_dial,
		.close = file_target_close,
	};
	struct file_target *target = calloc(1, sizeof(*target));
	int code;

	if (!target)
		return error_set(error, -ENOMEM, "out of memory");
	target->target.ops = &ops;
	snprintf(target->target.name, sizeof(target->target.name), "file:%s",
		 address->file.path);
	target->loop = loop;
	target->path = strdup(address->file.path);
	code = access_find(&target->access, &address->file.access, FILE_MODE,
			   error);
	if (code)
		error_prefix(error, code, "%s", address->file.path);
	else if (!target->path)
		code = error_set(error, -ENOMEM, "out of memory");
	if (code == 0)
		*out = &target->target;
	else
		file_target_close(&target->target);
	return code;
}

const struct endpoint_ops endpoint_file_ops = {
	.open_target = file_open_target,
};
