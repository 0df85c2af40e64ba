/* SPDX-License-Identifier: MIT */
/*
 * A target for tests: its dials are answered when the test says so, each
 * stream is one end of a socket whose other one the test holds, and it counts
 * what is open, so that a thing that bears one session notices a second.
 */
#ifndef BTGATE_TESTS_FAKE_TARGET_H
#define BTGATE_TESTS_FAKE_TARGET_H

#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "endpoint.h"
#include "error.h"
#include "loop.h"
#include "socket.h"

#define FAKE_STREAMS 16

TAILQ_HEAD(fake_dial_list, fake_dial);

struct fake_target {
	struct target target;
	struct loop *loop;
	const struct stream_ops *stream_ops; /* their close is not called */
	bool has_no_flow_control;
	bool has_gap; /* something is missing where a stream is read next */
	bool is_silent; /* dials wait for fake_answer */
	int refusal; /* -errno that dials get; 0: a stream */
	struct fake_dial_list dials;
	unsigned int dial_count; /* all that there were */
	unsigned int open_count; /* streams now */
	unsigned int open_most;
	int far_fds[FAKE_STREAMS]; /* the other ends */
	unsigned int far_count;
	int far_fd; /* the latest of them */
	bool is_closed;
};

struct fake_dial {
	struct dial dial;
	TAILQ_ENTRY(fake_dial) link;
	struct fake_target *target;
	struct loop_task task;
	dial_done_cb done;
	void *arg;
};

struct fake_stream {
	struct stream stream;
	struct stream_ops ops;
	struct fake_target *target;
};

static ssize_t fake_stream_read(struct stream *base, void *buffer, size_t bytes)
{
	struct fake_target *target = ((struct fake_stream *)base)->target;

	if (!target->has_gap)
		return target->stream_ops->read(base, buffer, bytes);
	target->has_gap = false;
	return -ENOBUFS;
}

static void fake_stream_close(struct stream *base, enum stream_close how)
{
	struct fake_stream *stream = (struct fake_stream *)base;

	stream->target->open_count--;
	close(base->read_fd);
	free(stream);
}

static struct stream *fake_stream_new(struct fake_target *target)
{
	struct fake_stream *stream = calloc(1, sizeof(*stream));
	int ends[2];

	ck_assert_ptr_nonnull(stream);
	ck_assert_int_eq(socketpair(AF_UNIX,
				    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
				    0, ends),
			 0);
	stream->ops = *target->stream_ops;
	stream->ops.read = fake_stream_read;
	stream->ops.close = fake_stream_close;
	stream->stream.ops = &stream->ops;
	stream->stream.read_fd = stream->stream.write_fd = ends[0];
	stream->stream.peer = target->target.name;
	stream->stream.has_no_flow_control = target->has_no_flow_control;
	stream->target = target;
	ck_assert_uint_lt(target->far_count, FAKE_STREAMS);
	target->far_fds[target->far_count++] = ends[1];
	target->far_fd = ends[1];
	if (++target->open_count > target->open_most)
		target->open_most = target->open_count;
	return &stream->stream;
}

static void fake_dial_free(struct fake_dial *dial)
{
	TAILQ_REMOVE(&dial->target->dials, dial, link);
	loop_cancel(dial->target->loop, &dial->task);
	free(dial);
}

static void fake_dial_answer(void *arg)
{
	struct fake_dial *dial = arg;
	struct fake_target *target = dial->target;
	dial_done_cb done = dial->done;
	void *done_arg = dial->arg;
	struct stream *stream = NULL;
	struct error error = {""};
	int code = target->refusal;

	fake_dial_free(dial);
	if (code)
		error_set(&error, code, "the fake refused: %s",
			  strerror(-code));
	else
		stream = fake_stream_new(target);
	done(stream, code, &error, done_arg);
}

static void fake_dial_cancel(struct dial *base)
{
	fake_dial_free((struct fake_dial *)base);
}

static struct dial *fake_dial(struct target *base, dial_done_cb done, void *arg)
{
	static const struct dial_ops ops = {.cancel = fake_dial_cancel};
	struct fake_target *target = (struct fake_target *)base;
	struct fake_dial *dial = calloc(1, sizeof(*dial));

	ck_assert_ptr_nonnull(dial);
	dial->dial.ops = &ops;
	dial->target = target;
	dial->task.run = fake_dial_answer;
	dial->task.arg = dial;
	dial->done = done;
	dial->arg = arg;
	TAILQ_INSERT_TAIL(&target->dials, dial, link);
	target->dial_count++;
	if (!target->is_silent)
		loop_defer(target->loop, &dial->task);
	return &dial->dial;
}

/* Answer the dials that wait, on the next turn. */
static inline void fake_answer(struct fake_target *target)
{
	struct fake_dial *dial;

	for (dial = TAILQ_FIRST(&target->dials); dial;
	     dial = TAILQ_NEXT(dial, link))
		loop_defer(target->loop, &dial->task);
}

static void fake_close(struct target *base)
{
	struct fake_target *target = (struct fake_target *)base;

	ck_assert_uint_eq(target->open_count, 0);
	ck_assert(TAILQ_EMPTY(&target->dials));
	target->is_closed = true;
}

static inline void fake_init(struct fake_target *target, struct loop *loop,
			     const struct stream_ops *stream_ops)
{
	static const struct target_ops ops = {
		.dial = fake_dial,
		.close = fake_close,
	};

	memset(target, 0, sizeof(*target));
	target->target.ops = &ops;
	target->target.sessions_max = 1;
	strcpy(target->target.name, "fake");
	target->loop = loop;
	target->stream_ops = stream_ops;
	target->far_fd = -1;
	TAILQ_INIT(&target->dials);
}

static inline void fake_clear(struct fake_target *target)
{
	for (unsigned int i = 0; i < target->far_count; i++)
		if (target->far_fds[i] >= 0)
			close(target->far_fds[i]);
}

#endif
