/* SPDX-License-Identifier: MIT */
/*
 * exec: a program for each session, on a pty of its own, which is its
 * controlling terminal (what a getty or a shell expects), or on pipes, where
 * the end of one direction leaves the other open.
 *
 * The session is over when the program has exited and what it wrote until then
 * was read, also if something that it left behind holds the pty or pipe open.
 * The program's exit shows on no descriptor of those: the one that is watched
 * for reading is an epoll(7) instance over its output and its exit.
 */
#include "endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "address_endpoint.h"
#include "answer.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "program.h"
#include "pty.h"

/*
 * More than a pty or pipe holds: what is read after the exit beyond that is
 * not from the program any more.
 */
#define LAST_BYTES_MAX (2 * 1024 * 1024)
/*
 * For a program to deal with the last of what it has read, before it is hung
 * up: "cat >file" has read it all a moment before it has written it.
 */
#define READ_OUT_MS 200

struct exec_target {
	struct target target;
	struct programs programs;
	char *command;
	bool is_pipe;
};

struct exec_stream {
	struct stream stream;
	struct program *program;
	struct pty pty; /* nothing open in it on pipes */
	int input_fd; /* the program's; -1: closed */
	int output_fd;
	bool is_silent; /* it has closed its output */
	size_t last_bytes; /* read since it exited */
	uint64_t read_out_ms; /* loop_now_ms when it had read all; 0: not yet */
};

/* ---- bytes ----------------------------------------------------------------- */

static ssize_t exec_write(struct stream *base, const void *buffer, size_t bytes)
{
	const struct exec_stream *stream = (struct exec_stream *)base;
	ssize_t put;

	if (program_has_exited(stream->program))
		return -EPIPE;
	put = write(stream->input_fd, buffer, bytes);
	return put < 0 ? -errno : put;
}

static int exec_shutdown_write(struct stream *base)
{
	struct exec_stream *stream = (struct exec_stream *)base;

	close(stream->input_fd);
	stream->input_fd = base->write_fd = -1;
	return 0;
}

/* What a pty or a pipe loses without telling its writer. */
static size_t unread_bytes(struct exec_stream *stream)
{
	int bytes = 0;

	if (stream->input_fd < 0 || !stream->program ||
	    program_has_exited(stream->program))
		return 0;
	if (stream->pty.master_fd < 0)
		return ioctl(stream->input_fd, FIONREAD, &bytes) == 0
			       ? (size_t)bytes
			       : 0;
	/* A getty hangs all up (vhangup(2)) before it opens its terminal. */
	if (stream->pty.slave_fd < 0 || pty_is_hung_up(stream->pty.slave_fd)) {
		pty_let_slave_go(&stream->pty);
		pty_hold_slave(&stream->pty);
	}
	return pty_unread_bytes(&stream->pty);
}

/* Closing a pty's master hangs up all who have it as their terminal. */
static void hang_up(struct exec_stream *stream)
{
	size_t unread = unread_bytes(stream);

	if (stream->pty.master_fd >= 0) {
		if (unread > 0)
			unread = pty_drop_unread(&stream->pty);
		pty_close(&stream->pty);
	} else {
		if (stream->input_fd >= 0)
			close(stream->input_fd);
		if (stream->output_fd >= 0)
			close(stream->output_fd);
	}
	stream->input_fd = stream->output_fd = stream->stream.write_fd = -1;
	if (unread > 0)
		log_info("%s: %zu bytes that the program had not read are lost",
			 stream->stream.peer, unread);
	if (stream->program)
		program_hang_up(stream->program);
}

/* On pipes it is told, and ends by itself if it is one that does. */
static void exec_has_read_all(struct exec_stream *stream)
{
	stream->read_out_ms = loop_now_ms();
	if (stream->pty.master_fd >= 0 || stream->input_fd < 0)
		return;
	close(stream->input_fd);
	stream->input_fd = stream->stream.write_fd = -1;
}

static size_t exec_finish(struct stream *base, bool is_stopping)
{
	struct exec_stream *stream = (struct exec_stream *)base;
	size_t unread = unread_bytes(stream);

	if (unread > 0)
		return 1 + unread;
	if (program_has_exited(stream->program))
		return 0;
	if (!stream->read_out_ms)
		exec_has_read_all(stream);
	if (loop_now_ms() - stream->read_out_ms >= READ_OUT_MS)
		hang_up(stream);
	return 1;
}

static void exec_close(struct stream *base, enum stream_close how)
{
	struct exec_stream *stream = (struct exec_stream *)base;

	hang_up(stream);
	if (base->read_fd >= 0)
		close(base->read_fd);
	program_release(stream->program);
	free(stream);
}

static const char *exec_end_reason(const struct stream *base)
{
	const struct exec_stream *stream = (const struct exec_stream *)base;

	return program_failure(stream->program);
}

static ssize_t exec_read(struct stream *base, void *buffer, size_t bytes);

static const struct stream_ops whole_ops = {
	.read = exec_read,
	.write = exec_write,
	.finish = exec_finish,
	.end_reason = exec_end_reason,
	.close = exec_close,
};

static const struct stream_ops half_close_ops = {
	.read = exec_read,
	.write = exec_write,
	.shutdown_write = exec_shutdown_write,
	.finish = exec_finish,
	.end_reason = exec_end_reason,
	.close = exec_close,
};

static ssize_t exec_read(struct stream *base, void *buffer, size_t bytes)
{
	struct exec_stream *stream = (struct exec_stream *)base;
	bool has_exited = program_has_exited(stream->program);
	const bool is_pty = stream->pty.master_fd >= 0;
	ssize_t got = 0;

	if (!stream->is_silent && stream->last_bytes < LAST_BYTES_MAX)
		got = (is_pty ? pty_read : read)(stream->output_fd, buffer,
						 bytes);
	if (got > 0) {
		stream->last_bytes += has_exited ? (size_t)got : 0;
		return got;
	}
	if (has_exited) {
		/* Nobody is there who could take more. */
		base->ops = &whole_ops;
		return 0;
	}
	/* A pty says so that nobody has it open. */
	if (got < 0 && (errno != EIO || !is_pty))
		return -errno;
	/* Somebody has again. */
	if (got < 0 && !pty_is_hung_up(stream->pty.master_fd))
		return -EAGAIN;
	/* Its exit tells; its output would be ready for ever. */
	stream->is_silent = true;
	epoll_ctl(base->read_fd, EPOLL_CTL_DEL, stream->output_fd, NULL);
	return -EAGAIN;
}

/* ---- a session's program ------------------------------------------------------ */

static int open_pty(struct exec_stream *stream, struct error *error)
{
	int code = pty_open(&stream->pty, error);

	if (code == 0)
		stream->input_fd = stream->output_fd = stream->pty.master_fd;
	return code;
}

/* The program's ends of the pipes are in @files, to be closed. */
static int open_pipes(struct exec_stream *stream, struct program_files *files,
		      struct error *error)
{
	int input[2] = {-1, -1}, output[2] = {-1, -1}, code = 0;

	if (pipe2(input, O_CLOEXEC) < 0 || pipe2(output, O_CLOEXEC) < 0)
		code = error_set(error, -errno, "cannot make a pipe: %s",
				 strerror(errno));
	files->input_fd = input[0];
	files->output_fd = output[1];
	stream->input_fd = input[1];
	stream->output_fd = output[0];
	if (code < 0)
		return code;
	/* Ours alone: the program's ends are as it expects them. */
	fcntl(input[1], F_SETFL, O_NONBLOCK);
	fcntl(output[0], F_SETFL, O_NONBLOCK);
	return 0;
}

static int watch(int epoll_fd, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static int open_watch(struct exec_stream *stream, struct error *error)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);

	stream->stream.read_fd = fd;
	if (fd < 0 || watch(fd, stream->output_fd) < 0 ||
	    watch(fd, program_fd(stream->program)) < 0)
		return error_set(error, -errno, "cannot watch the program: %s",
				 strerror(errno));
	return 0;
}

static int run(struct exec_stream *stream, struct exec_target *target,
	       struct error *error)
{
	struct program_files files = {.input_fd = -1, .output_fd = -1};
	int code = target->is_pipe ? open_pipes(stream, &files, error)
				   : open_pty(stream, error);

	if (code < 0)
		goto close_files;
	if (!target->is_pipe)
		files.tty = stream->pty.slave;
	stream->program = program_start(&target->programs, target->command,
					&files, error);
	code = stream->program ? open_watch(stream, error) : -errno;

close_files:
	if (files.input_fd >= 0)
		close(files.input_fd);
	if (files.output_fd >= 0)
		close(files.output_fd);
	return code;
}

static struct stream *stream_new(struct exec_target *target, int *code,
				 struct error *error)
{
	struct exec_stream *stream = calloc(1, sizeof(*stream));

	if (!stream) {
		*code = error_set(error, -ENOMEM, "out of memory");
		return NULL;
	}
	stream->stream.ops = target->is_pipe ? &half_close_ops : &whole_ops;
	pty_init(&stream->pty);
	stream->stream.read_fd = stream->input_fd = stream->output_fd = -1;
	stream->stream.peer = target->target.name;
	*code = run(stream, target, error);
	if (*code < 0) {
		exec_close(&stream->stream, STREAM_CLOSE_ABORT);
		return NULL;
	}
	stream->stream.write_fd = stream->input_fd;
	return &stream->stream;
}

/* ---- the target ---------------------------------------------------------------- */

static struct dial *exec_dial(struct target *base, dial_done_cb done, void *arg)
{
	struct exec_target *target = (struct exec_target *)base;
	struct error error = {""};
	struct stream *stream;
	int code = 0;

	/* At once: acceptors count on a client's descriptors being taken. */
	stream = stream_new(target, &code, &error);
	return answer_new(target->programs.loop, stream, code, &error, done,
			  arg);
}

static void exec_target_close(struct target *base)
{
	struct exec_target *target = (struct exec_target *)base;

	programs_clear(&target->programs);
	free(target->command);
	free(target);
}

static int exec_open_target(struct loop *loop,
			    const struct address_endpoint *address,
			    const struct endpoint_settings *settings,
			    struct target **out, struct error *error)
{
	static const struct target_ops ops = {
		.dial = exec_dial,
		.close = exec_target_close,
	};
	struct exec_target *target = calloc(1, sizeof(*target));

	if (!target)
		return error_set(error, -ENOMEM, "out of memory");
	target->target.ops = &ops;
	snprintf(target->target.name, sizeof(target->target.name), "exec:%s",
		 address->exec.command);
	target->is_pipe = address->exec.is_pipe;
	target->command = strdup(address->exec.command);
	if (programs_init(&target->programs, loop) || !target->command) {
		exec_target_close(&target->target);
		return error_set(error, -ENOMEM, "out of memory");
	}
	*out = &target->target;
	return 0;
}

const struct endpoint_ops endpoint_exec_ops = {
	.open_target = exec_open_target,
};
