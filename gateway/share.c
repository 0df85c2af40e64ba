/* SPDX-License-Identifier: MIT */
#include "share.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include <event2/event.h>

#include "endpoint.h"
#include "error.h"
#include "loop.h"

/* At once; as long as the longest record that an L2CAP link can carry. */
#define READ_BYTES (64 * 1024)
/*
 * How far behind the fastest client may be before the thing is not read any
 * more. With what one read brings it is never far enough to be dropped.
 */
#define PAUSE_BYTES (64 * 1024)
#define REASON_BYTES 128

enum share_state {
	SHARE_STATE_IDLE, /* nothing is open */
	SHARE_STATE_DIALLING,
	SHARE_STATE_OPEN,
	SHARE_STATE_ENDING, /* it is gone; what it left is still to be read */
	SHARE_STATE_ENDED, /* until the last client has let go */
};

enum share_watch {
	SHARE_WATCH_NOTHING,
	SHARE_WATCH_READ,
	SHARE_WATCH_HANG_UP, /* edge-triggered: only whether it breaks */
};

TAILQ_HEAD(share_dial_list, share_dial);
TAILQ_HEAD(share_stream_list, share_stream);

struct share {
	struct target target;
	struct loop *loop;
	struct target *real;
	enum share_write write;
	enum share_state state;
	struct dial *dial; /* of the real one */
	struct stream *stream; /* the real one */
	struct event *readable;
	enum share_watch watch;
	/*
	 * For the clients' sessions to wait on. Not the stream's own: libevent
	 * allows no two modes, level and edge, on one descriptor.
	 */
	int write_fd;
	/* What it said last: byte N of all is at N modulo the size. */
	uint8_t *ring;
	uint64_t said_bytes;
	int end_code;
	char end_reason[REASON_BYTES]; /* "" for none */
	bool is_finishing; /* the last client closes it; see stream_finish */
	struct share_dial_list dials;
	struct share_stream_list streams; /* the one longest there first */
};

/* A client's way to it. */
struct share_stream {
	struct stream stream;
	char peer[STREAM_PEER_BYTES]; /* the real one's, as it was */
	TAILQ_ENTRY(share_stream) link;
	struct share *share;
	uint64_t seen_bytes; /* of what was said */
	/*
	 * The other end of the pipe that its session waits on: a byte is in it
	 * while there is something to read, and it is closed with the thing.
	 */
	int signal_fd;
	bool is_signalled;
	bool is_leaving; /* its session closes it, and waits for nothing */
	char drop_reason[REASON_BYTES]; /* "" unless it was dropped */
	uint64_t discarded_bytes;
};

struct share_dial {
	struct dial dial;
	TAILQ_ENTRY(share_dial) link;
	struct share *share;
	struct share_stream *stream;
	struct loop_task task;
	int code;
	struct error error;
	dial_done_cb done;
	void *arg;
};

static const struct stream_ops share_stream_ops;

/* ---- a client's stream ---------------------------------------------------------- */

static struct share_stream *first_stream(const struct share *share)
{
	return TAILQ_FIRST(&share->streams);
}

static struct share_stream *next_stream(const struct share_stream *stream)
{
	return TAILQ_NEXT(stream, link);
}

static bool stream_is_last(const struct share_stream *stream)
{
	const struct share_stream *other;

	for (other = first_stream(stream->share); other;
	     other = next_stream(other))
		if (other != stream && !other->is_leaving)
			return false;
	return true;
}

static bool stream_is_dropped(const struct share_stream *stream)
{
	return *stream->drop_reason;
}

static size_t stream_behind_bytes(const struct share_stream *stream)
{
	return (size_t)(stream->share->said_bytes - stream->seen_bytes);
}

static void stream_unsignal(struct share_stream *stream)
{
	char byte;

	if (stream->is_signalled)
		stream->is_signalled = read(stream->stream.read_fd, &byte, 1) !=
				       1;
}

/* Its session sees a hang-up. */
static void stream_hang_up(struct share_stream *stream)
{
	if (stream->signal_fd >= 0)
		close(stream->signal_fd);
	stream->signal_fd = -1;
}

static void stream_signal(struct share_stream *stream)
{
	if (stream->is_signalled || stream->signal_fd < 0)
		return;
	stream->is_signalled = write(stream->signal_fd, "", 1) == 1;
	if (stream->is_signalled)
		return;
	/* Else it would wait for what is there already. */
	snprintf(stream->drop_reason, sizeof(stream->drop_reason),
		 "its session cannot be woken up: %s", strerror(errno));
	stream_hang_up(stream);
}

static void stream_drop(struct share_stream *stream)
{
	snprintf(stream->drop_reason, sizeof(stream->drop_reason),
		 "client too slow: %zu bytes behind",
		 stream_behind_bytes(stream));
	stream_hang_up(stream);
}

static struct share_stream *stream_new(struct share *share)
{
	struct share_stream *stream = calloc(1, sizeof(*stream));
	int ends[2];

	if (!stream)
		return NULL;
	if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0) {
		free(stream);
		return NULL;
	}
	stream->stream.ops = &share_stream_ops;
	stream->stream.read_fd = ends[0];
	stream->signal_fd = ends[1];
	stream->share = share;
	return stream;
}

static void stream_free(struct share_stream *stream)
{
	stream_hang_up(stream);
	close(stream->stream.read_fd);
	free(stream);
}

/* ---- reading the thing ------------------------------------------------------------ */

static void share_readable(evutil_socket_t fd, short what, void *arg);
static void share_hung_up(evutil_socket_t fd, short what, void *arg);

/* Whether one of the clients keeps up, or nothing is gained by not reading. */
static bool share_wants_more(const struct share *share)
{
	const struct share_stream *stream;

	for (stream = first_stream(share); stream; stream = next_stream(stream))
		if (share->stream->has_no_flow_control ||
		    (!stream_is_dropped(stream) &&
		     stream_behind_bytes(stream) < PAUSE_BYTES))
			return true;
	return false;
}

static enum share_watch share_wanted_watch(const struct share *share)
{
	if (share->state != SHARE_STATE_OPEN || !first_stream(share))
		return SHARE_WATCH_NOTHING;
	return share_wants_more(share) ? SHARE_WATCH_READ : SHARE_WATCH_HANG_UP;
}

/* There is a gap in what it said: nothing of it may follow, to anybody. */
static void share_lose_rest(struct share *share)
{
	const size_t bytes = stream_discard_rest(
		share->stream, share->loop->buffer, share->loop->buffer_bytes);
	struct share_stream *stream;

	for (stream = first_stream(share); stream; stream = next_stream(stream))
		stream->stream.lost_bytes = bytes;
}

/* It is gone: @code is how, 0 in good order. What it left is read on demand. */
static void share_end(struct share *share, enum share_state state, int code)
{
	const char *reason = stream_end_reason(share->stream);
	struct share_stream *stream;

	event_del(share->readable);
	share->watch = SHARE_WATCH_NOTHING;
	share->state = state;
	share->end_code = code;
	if (reason)
		snprintf(share->end_reason, sizeof(share->end_reason), "%s",
			 reason);
	if (code == -ENOBUFS)
		share_lose_rest(share);
	for (stream = first_stream(share); stream; stream = next_stream(stream))
		stream_hang_up(stream);
}

/* As in session.c: paused it is watched for a hang-up alone, by its edge. */
static void share_update_watch(struct share *share)
{
	enum share_watch watch = share_wanted_watch(share);
	bool is_paused = watch == SHARE_WATCH_HANG_UP;

	if (watch == share->watch)
		return;
	event_del(share->readable);
	share->watch = watch;
	if (watch == SHARE_WATCH_NOTHING)
		return;
	event_assign(share->readable, share->loop->base, share->stream->read_fd,
		     EV_READ | EV_PERSIST | (is_paused ? EV_ET : 0),
		     is_paused ? share_hung_up : share_readable, share);
	if (event_add(share->readable, NULL))
		share_end(share, SHARE_STATE_ENDED, -ENOMEM);
}

static void ring_put(struct share *share, const uint8_t *data, size_t bytes)
{
	size_t at = share->said_bytes % SHARE_BEHIND_BYTES_MAX;
	size_t first = SHARE_BEHIND_BYTES_MAX - at;

	if (first > bytes)
		first = bytes;
	memcpy(share->ring + at, data, first);
	memcpy(share->ring, data + first, bytes - first);
	share->said_bytes += bytes;
}

static void ring_get(const struct share *share, uint64_t from, uint8_t *data,
		     size_t bytes)
{
	size_t at = from % SHARE_BEHIND_BYTES_MAX;
	size_t first = SHARE_BEHIND_BYTES_MAX - at;

	if (first > bytes)
		first = bytes;
	memcpy(data, share->ring + at, first);
	memcpy(data + first, share->ring, bytes - first);
}

/* What was read, for all; whoever would miss some of it is dropped. */
static void share_spread(struct share *share, const uint8_t *data, size_t bytes)
{
	struct share_stream *stream;

	for (stream = first_stream(share); stream; stream = next_stream(stream))
		if (!stream_is_dropped(stream) &&
		    stream_behind_bytes(stream) + bytes >
			    SHARE_BEHIND_BYTES_MAX)
			stream_drop(stream);
	ring_put(share, data, bytes);
	for (stream = first_stream(share); stream; stream = next_stream(stream))
		if (!stream_is_dropped(stream))
			stream_signal(stream);
}

static void share_readable(evutil_socket_t fd, short what, void *arg)
{
	struct share *share = arg;
	ssize_t got = stream_read(share->stream, share->loop->buffer,
				  READ_BYTES);

	if (got > 0) {
		share_spread(share, share->loop->buffer, (size_t)got);
		share_update_watch(share);
	} else if (got != -EAGAIN) {
		share_end(share, SHARE_STATE_ENDED, (int)got);
	}
}

static void share_hung_up(evutil_socket_t fd, short what, void *arg)
{
	struct share *share = arg;

	if (stream_is_hung_up(share->stream))
		share_end(share, SHARE_STATE_ENDING,
			  stream_check(share->stream));
}

/* Some of what a thing that is gone has left, or nothing: the very end. */
static void share_read_rest(struct share *share)
{
	ssize_t got = stream_read(share->stream, share->loop->buffer,
				  READ_BYTES);

	if (got > 0) {
		share_spread(share, share->loop->buffer, (size_t)got);
		return;
	}
	share->state = SHARE_STATE_ENDED;
	if (got == -ENOBUFS)
		share_lose_rest(share);
	if (got != -EAGAIN && !share->end_code)
		share->end_code = (int)got;
}

/* ---- opening and letting go -------------------------------------------------------- */

static void share_dialled(struct stream *stream, int code,
			  const struct error *error, void *arg);

static void share_fail_dials(struct share *share, int code,
			     const struct error *error)
{
	struct share_dial *dial;

	for (dial = TAILQ_FIRST(&share->dials); dial;
	     dial = TAILQ_NEXT(dial, link)) {
		if (dial->code)
			continue;
		dial->code = code;
		dial->error = *error;
		loop_defer(share->loop, &dial->task);
	}
}

static bool share_has_waiting_dial(const struct share *share)
{
	const struct share_dial *dial;

	for (dial = TAILQ_FIRST(&share->dials); dial;
	     dial = TAILQ_NEXT(dial, link))
		if (!dial->code)
			return true;
	return false;
}

static int share_start_dial(struct share *share)
{
	share->dial = target_dial(share->real, share_dialled, share);
	if (!share->dial)
		return -errno;
	share->state = SHARE_STATE_DIALLING;
	return 0;
}

/*
 * Before the stream itself is closed, or closes something to finish: RFCOMM
 * says goodbye, and a pty's program is hung up, with the last descriptor.
 */
static void share_close_write_fd(struct share *share)
{
	struct share_stream *stream;

	if (share->write_fd >= 0)
		close(share->write_fd);
	share->write_fd = -1;
	for (stream = first_stream(share); stream; stream = next_stream(stream))
		stream->stream.write_fd = -1;
}

static void share_close_stream(struct share *share, enum stream_close how)
{
	if (share->readable)
		event_free(share->readable);
	share->readable = NULL;
	share->watch = SHARE_WATCH_NOTHING;
	share_close_write_fd(share);
	stream_close(share->stream, how);
	share->stream = NULL;
	free(share->ring);
	share->ring = NULL;
	share->end_code = 0;
	share->end_reason[0] = '\0';
	share->is_finishing = false;
	share->state = SHARE_STATE_IDLE;
}

/* Nobody looks at it any more: close it, unless somebody is about to. */
static void share_let_go(struct share *share, enum stream_close how)
{
	bool is_wanted = share_has_waiting_dial(share);
	struct error error;
	int code;

	if (share->state == SHARE_STATE_DIALLING && !is_wanted) {
		dial_cancel(share->dial);
		share->dial = NULL;
		share->state = SHARE_STATE_IDLE;
	}
	if (!share->stream || first_stream(share))
		return;
	if (is_wanted && share->state == SHARE_STATE_OPEN &&
	    !share->is_finishing)
		return;
	share_close_stream(share, how);
	code = is_wanted ? share_start_dial(share) : 0;
	if (code) {
		error_set(&error, code, "%s", strerror(-code));
		share_fail_dials(share, code, &error);
	}
}

static int share_open(struct share *share, struct stream *stream)
{
	share->stream = stream;
	share->write_fd = fcntl(stream->write_fd, F_DUPFD_CLOEXEC, 0);
	if (share->write_fd < 0)
		return -errno;
	share->ring = malloc(SHARE_BEHIND_BYTES_MAX);
	share->readable = event_new(share->loop->base, stream->read_fd, EV_READ,
				    share_readable, share);
	if (!share->ring || !share->readable)
		return -ENOMEM;
	share->state = SHARE_STATE_OPEN;
	return 0;
}

static void share_dialled(struct stream *stream, int code,
			  const struct error *error, void *arg)
{
	struct share *share = arg;
	struct share_dial *dial;
	struct error own;

	share->dial = NULL;
	share->state = SHARE_STATE_IDLE;
	if (!stream) {
		share_fail_dials(share, code, error);
		return;
	}
	code = share_open(share, stream);
	if (code) {
		error_set(&own, code, "%s cannot be shared: %s",
			  share->target.name, strerror(-code));
		share_close_stream(share, STREAM_CLOSE_ABORT);
		share_fail_dials(share, code, &own);
		return;
	}
	for (dial = TAILQ_FIRST(&share->dials); dial;
	     dial = TAILQ_NEXT(dial, link))
		loop_defer(share->loop, &dial->task);
}

/* ---- what its session does with a client's stream --------------------------------------- */

static ssize_t share_read(struct stream *base, void *buffer, size_t bytes)
{
	struct share_stream *stream = (struct share_stream *)base;
	struct share *share = stream->share;

	if (stream_is_dropped(stream))
		return -ENOBUFS;
	while (!stream_behind_bytes(stream) &&
	       share->state == SHARE_STATE_ENDING)
		share_read_rest(share);
	if (!stream_behind_bytes(stream)) {
		stream_unsignal(stream); /* which may have failed before */
		return share->state == SHARE_STATE_ENDED ? share->end_code
							 : -EAGAIN;
	}
	if (bytes > stream_behind_bytes(stream))
		bytes = stream_behind_bytes(stream);
	ring_get(share, stream->seen_bytes, buffer, bytes);
	stream->seen_bytes += bytes;
	if (!stream_behind_bytes(stream))
		stream_unsignal(stream);
	share_update_watch(share);
	return (ssize_t)bytes;
}

static bool stream_may_write(const struct share_stream *stream)
{
	const struct share_stream *first = first_stream(stream->share);

	if (stream->share->write == SHARE_WRITE_ALL)
		return true;
	while (stream_is_dropped(first))
		first = next_stream(first);
	return stream == first;
}

static ssize_t share_write(struct stream *base, const void *buffer,
			   size_t bytes)
{
	struct share_stream *stream = (struct share_stream *)base;
	struct share *share = stream->share;
	ssize_t put;

	if (stream_is_dropped(stream))
		return -ENOBUFS;
	if (share->state != SHARE_STATE_OPEN)
		return share->end_code ? share->end_code : -EPIPE;
	if (!stream_may_write(stream)) {
		stream->discarded_bytes += bytes;
		return (ssize_t)bytes;
	}
	put = stream_write(share->stream, buffer, bytes);
	/*
	 * The other clients are told now: a stream may say only once that it
	 * is broken, and reading then gives EAGAIN for ever (RFCOMM).
	 */
	if (put < 0 && put != -EAGAIN)
		share_end(share, SHARE_STATE_ENDING,
			  put == -EPIPE ? 0 : (int)put);
	return put;
}

static int share_check(struct stream *base)
{
	const struct share_stream *stream = (struct share_stream *)base;

	return stream_is_dropped(stream) ? -ENOBUFS : stream->share->end_code;
}

static const char *share_end_reason(const struct stream *base)
{
	const struct share_stream *stream = (const struct share_stream *)base;

	if (stream_is_dropped(stream))
		return stream->drop_reason;
	return *stream->share->end_reason ? stream->share->end_reason : NULL;
}

/* The thing goes with the last one, who waits for it; the others need not. */
static size_t share_finish(struct stream *base, bool is_stopping)
{
	struct share_stream *stream = (struct share_stream *)base;
	struct share *share = stream->share;

	stream->is_leaving = true;
	if (!stream_is_last(stream))
		return 0;
	if (share->state == SHARE_STATE_OPEN && share_has_waiting_dial(share) &&
	    !share->is_finishing)
		return 0;
	share->is_finishing = true;
	/* Nobody writes any more: all who are left are closing theirs. */
	share_close_write_fd(share);
	return stream_finish(share->stream, is_stopping);
}

static void share_close(struct stream *base, enum stream_close how)
{
	struct share_stream *stream = (struct share_stream *)base;
	struct share *share = stream->share;

	TAILQ_REMOVE(&share->streams, stream, link);
	stream_free(stream);
	if (first_stream(share))
		share_update_watch(share);
	else
		share_let_go(share, how);
}

static const struct stream_ops share_stream_ops = {
	.read = share_read,
	.write = share_write,
	.check = share_check,
	.end_reason = share_end_reason,
	.finish = share_finish,
	.close = share_close,
};

uint64_t share_discarded_bytes(const struct stream *base)
{
	assert(base->ops == &share_stream_ops);
	return ((const struct share_stream *)base)->discarded_bytes;
}

/* ---- the target -------------------------------------------------------------------------- */

static void share_dial_free(struct share_dial *dial)
{
	struct share *share = dial->share;

	TAILQ_REMOVE(&share->dials, dial, link);
	loop_cancel(share->loop, &dial->task);
	if (dial->stream)
		stream_free(dial->stream);
	free(dial);
}

static struct share_stream *share_join(struct share *share,
				       struct share_stream *stream)
{
	stream->stream.write_fd = share->write_fd;
	snprintf(stream->peer, sizeof(stream->peer), "%s", share->stream->peer);
	stream->stream.peer = stream->peer;
	stream->seen_bytes = share->said_bytes;
	TAILQ_INSERT_TAIL(&share->streams, stream, link);
	share_update_watch(share);
	return stream;
}

static void share_answer(void *arg)
{
	struct share_dial *dial = arg;
	struct share *share = dial->share;
	struct share_stream *stream = NULL;
	dial_done_cb done = dial->done;
	void *done_arg = dial->arg;
	struct error error = dial->error;
	int code = dial->code;

	/* It ended meanwhile, and is dialled anew when all have let it go. */
	if (!code &&
	    (share->state != SHARE_STATE_OPEN || share->is_finishing)) {
		share_let_go(share, STREAM_CLOSE_ORDERLY);
		return;
	}
	if (!code) {
		stream = share_join(share, dial->stream);
		dial->stream = NULL;
	}
	share_dial_free(dial);
	done(stream ? &stream->stream : NULL, code, &error, done_arg);
}

static void share_dial_cancel(struct dial *base)
{
	struct share_dial *dial = (struct share_dial *)base;
	struct share *share = dial->share;

	share_dial_free(dial);
	share_let_go(share, STREAM_CLOSE_ORDERLY);
}

static bool share_dial_describe(const struct dial *base, struct error *error)
{
	const struct share *share = ((const struct share_dial *)base)->share;

	if (!share->dial || !share->dial->ops->describe)
		return false;
	return share->dial->ops->describe(share->dial, error);
}

static struct dial *share_dial(struct target *base, dial_done_cb done,
			       void *arg)
{
	static const struct dial_ops ops = {
		.cancel = share_dial_cancel,
		.describe = share_dial_describe,
	};
	struct share *share = (struct share *)base;
	struct share_dial *dial = calloc(1, sizeof(*dial));
	int code;

	if (!dial)
		return NULL;
	dial->dial.ops = &ops;
	dial->share = share;
	dial->task.run = share_answer;
	dial->task.arg = dial;
	dial->done = done;
	dial->arg = arg;
	TAILQ_INSERT_TAIL(&share->dials, dial, link);
	/* At once: acceptors count on a client's descriptors being taken. */
	dial->stream = stream_new(share);
	code = dial->stream ? 0 : -errno;
	if (code == 0 && share->state == SHARE_STATE_IDLE)
		code = share_start_dial(share);
	if (code) {
		share_dial_free(dial);
		errno = -code;
		return NULL;
	}
	if (share->state == SHARE_STATE_OPEN)
		loop_defer(share->loop, &dial->task);
	return &dial->dial;
}

static void share_target_close(struct target *base)
{
	struct share *share = (struct share *)base;

	assert(share->state == SHARE_STATE_IDLE && !share->dial);
	target_close(share->real);
	free(share);
}

struct target *share_target_new(struct loop *loop, struct target *real,
				enum share_write write)
{
	static const struct target_ops ops = {
		.dial = share_dial,
		.close = share_target_close,
	};
	struct share *share = calloc(1, sizeof(*share));

	if (!share)
		return NULL;
	share->target.ops = &ops;
	memcpy(share->target.name, real->name, sizeof(share->target.name));
	share->loop = loop;
	share->real = real;
	share->write = write;
	share->write_fd = -1;
	TAILQ_INIT(&share->dials);
	TAILQ_INIT(&share->streams);
	return &share->target;
}
