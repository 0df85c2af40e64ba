/* SPDX-License-Identifier: MIT */
#include "hold.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#include <event2/event.h>

#include "backlog.h"
#include "backoff.h"
#include "endpoint.h"
#include "error.h"
#include "log.h"
#include "loop.h"

/* Discarded at once while nobody listens. */
#define READ_BYTES (64 * 1024)
/* An eventfd with that in it is not writable (eventfd(2)). */
#define EVENTFD_FULL (UINT64_MAX - 1)

enum line_state {
	LINE_STATE_AWAY, /* the timer runs until the next dial */
	LINE_STATE_DIALLING,
	LINE_STATE_UP,
	LINE_STATE_LOST, /* nothing can be written; its rest is to be read */
};

LIST_HEAD(line_list, line);

struct hold {
	struct target target;
	struct loop *loop;
	struct target *real;
	struct hold_settings settings;
	/*
	 * Always readable: among what a session waits for, it has it read what
	 * a lost stream has left, even if that is nothing.
	 */
	int ready_fd;
	struct line_list lines;
	struct line *standing; /* one of them, with HOLD_LINK */
	uint64_t redials; /* by all lines that there were */
};

/*
 * What a client's session has instead of the real stream. Its descriptors must
 * stay while that comes and goes: an epoll instance with the real one in it is
 * readable when that is; an eventfd is writable unless it is full.
 */
struct line {
	struct stream stream;
	char peer[STREAM_PEER_BYTES]; /* the last one's */
	struct dial dial; /* the client's, until it is answered */
	struct hold *hold;
	LIST_ENTRY(line) link;
	enum line_state state;
	bool is_taken; /* a session has it */
	bool is_blocked; /* the eventfd is full */
	bool is_redial; /* it was up once, and lost */
	/* A client that waits for it; NULL: none. */
	dial_done_cb done;
	void *done_arg;
	struct loop_task answer;
	/* The real one. */
	struct dial *real_dial;
	struct stream *real;
	struct event *unheard; /* read while there is no client */
	struct event *writable; /* it pushes back */
	struct event *timer; /* to the next dial, or the end of this one */
	struct backoff backoff;
	unsigned int attempts; /* since it was lost */
	struct error last_error; /* an attempt that fails alike is silent */
	struct error why; /* it is away */
	int lost_code; /* how writing to it failed */
	uint64_t up_ms; /* loop_now_ms when it was reached, */
	uint64_t lost_ms; /* and when it was lost */
	struct backlog kept;
	/* Since it was lost, and what was said while there was no client. */
	uint64_t discarded_bytes;
	uint64_t unheard_bytes;
};

static const struct stream_ops line_ops;

static struct line *line_of(struct stream *base)
{
	return (struct line *)base;
}

/* ---- what the session waits for ---------------------------------------------- */

static void line_block(struct line *line)
{
	const uint64_t full = EVENTFD_FULL;

	if (!line->is_blocked)
		line->is_blocked = write(line->stream.write_fd, &full,
					 sizeof(full)) == sizeof(full);
}

static void line_unblock(struct line *line)
{
	uint64_t full;

	if (line->is_blocked)
		line->is_blocked = read(line->stream.write_fd, &full,
					sizeof(full)) != sizeof(full);
}

static int line_watch(const struct line *line, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};

	return epoll_ctl(line->stream.read_fd, EPOLL_CTL_ADD, fd, &event) < 0
		       ? -errno
		       : 0;
}

static void line_unwatch(const struct line *line, int fd)
{
	epoll_ctl(line->stream.read_fd, EPOLL_CTL_DEL, fd, NULL);
}

/* ---- a line and its descriptors ---------------------------------------------- */

static void line_timeout(evutil_socket_t fd, short what, void *arg);
static void line_writable(evutil_socket_t fd, short what, void *arg);
static void line_unheard(evutil_socket_t fd, short what, void *arg);
static void line_answer(void *arg);

static void line_free(struct line *line)
{
	LIST_REMOVE(line, link);
	if (line->timer)
		event_free(line->timer);
	if (line->writable)
		event_free(line->writable);
	if (line->unheard)
		event_free(line->unheard);
	if (line->stream.read_fd >= 0)
		close(line->stream.read_fd);
	if (line->stream.write_fd >= 0)
		close(line->stream.write_fd);
	backlog_clear(&line->kept);
	free(line);
}

static struct line *line_new(struct hold *hold)
{
	struct event_base *base = hold->loop->base;
	struct line *line = calloc(1, sizeof(*line));
	int code;

	if (!line)
		return NULL;
	line->hold = hold;
	LIST_INSERT_HEAD(&hold->lines, line, link);
	line->stream.ops = &line_ops;
	line->stream.peer = line->peer;
	memcpy(line->peer, hold->target.name, sizeof(line->peer));
	line->answer.run = line_answer;
	line->answer.arg = line;
	line->lost_ms = loop_now_ms();
	line->stream.read_fd = epoll_create1(EPOLL_CLOEXEC);
	line->stream.write_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	code = errno;
	line->timer = evtimer_new(base, line_timeout, line);
	line->writable = event_new(base, -1, 0, line_writable, line);
	line->unheard = event_new(base, -1, 0, line_unheard, line);
	if (line->stream.read_fd >= 0 && line->stream.write_fd >= 0) {
		if (line->timer && line->writable && line->unheard)
			return line;
		code = ENOMEM;
	}
	line_free(line);
	errno = code;
	return NULL;
}

/* ---- the real stream ----------------------------------------------------------- */

/* Nobody listens: what it says is thrown away, until there is a client. */
static int line_listen(struct line *line)
{
	event_assign(line->unheard, line->hold->loop->base, line->real->read_fd,
		     EV_READ | EV_PERSIST, line_unheard, line);
	return event_add(line->unheard, NULL) ? -ENOMEM : 0;
}

static int line_await_room(struct line *line)
{
	if (event_pending(line->writable, EV_WRITE, NULL))
		return 0;
	event_assign(line->writable, line->hold->loop->base,
		     line->real->write_fd, EV_WRITE, line_writable, line);
	return event_add(line->writable, NULL) ? -ENOMEM : 0;
}

static int line_attach(struct line *line, struct stream *real)
{
	int code;

	line->real = real;
	line->stream.read_bytes_min = real->read_bytes_min;
	code = line_watch(line, real->read_fd);
	if (code == 0 && !line->is_taken && !line->done)
		code = line_listen(line);
	if (code)
		return code;
	snprintf(line->peer, sizeof(line->peer), "%s", real->peer);
	line->stream.has_no_flow_control = real->has_no_flow_control;
	line->state = LINE_STATE_UP;
	line->up_ms = loop_now_ms();
	return 0;
}

static void line_detach(struct line *line, enum stream_close how)
{
	if (!line->real)
		return;
	if (line->state == LINE_STATE_LOST)
		line_unwatch(line, line->hold->ready_fd);
	event_del(line->writable);
	event_del(line->unheard);
	line_unwatch(line, line->real->read_fd);
	stream_close(line->real, how);
	line->real = NULL;
}

/* ---- dialling it ------------------------------------------------------------------ */

/* But for numbers: "tried 23 times". */
static bool are_alike(const char *a, const char *b)
{
	static const char digits[] = "0123456789";

	while (*a && *a == *b) {
		a++;
		b++;
		a += strspn(a, digits);
		b += strspn(b, digits);
	}
	return *a == *b;
}

static void line_log_failure(struct line *line, const struct error *error)
{
	bool is_news = !are_alike(line->last_error.text, error->text);

	line->last_error = *error;
	line->why = *error;
	if (!is_news)
		return;
	log_warning("route %s: %s is not reached %s: %s; tried again",
		    line->hold->settings.route, line->hold->target.name,
		    line->is_redial ? "again yet" : "yet", error->text);
}

static void line_dialled(struct stream *stream, int code,
			 const struct error *error, void *arg);

static void line_wait(struct line *line)
{
	const struct hold_settings *settings = &line->hold->settings;

	line->state = LINE_STATE_AWAY;
	/* Without memory for a timer there is no pause. */
	if (loop_start_timer(line->timer,
			     backoff_next_between_ms(&line->backoff,
						     settings->retry_min_ms,
						     settings->retry_max_ms)))
		event_active(line->timer, EV_TIMEOUT, 0);
}

static void line_failed(struct line *line, const struct error *error)
{
	line_log_failure(line, error);
	line_wait(line);
}

/* The next attempt; a client's own first one has the client's deadline. */
static int line_dial(struct line *line, bool has_deadline)
{
	line->hold->redials += line->attempts || line->is_redial;
	line->attempts++;
	line->real_dial = target_dial(line->hold->real, line_dialled, line);
	if (!line->real_dial)
		return -errno;
	line->state = LINE_STATE_DIALLING;
	if (!has_deadline)
		return 0;
	return loop_start_timer(line->timer,
				line->hold->settings.dial_timeout_ms);
}

static void line_redial(struct line *line)
{
	struct error error;
	int code = line_dial(line, true);

	if (code == 0)
		return;
	dial_cancel(line->real_dial);
	line->real_dial = NULL;
	error_set(&error, code, "%s", strerror(-code));
	line_failed(line, &error);
}

/* To the next dial, or the end of the one that runs. */
static void line_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct line *line = arg;
	struct error error;
	char limit[24];

	if (line->state == LINE_STATE_AWAY) {
		line_redial(line);
		return;
	}
	address_duration_format(line->hold->settings.dial_timeout_ms, limit);
	error_set(&error, -ETIMEDOUT,
		  "it did not answer within %s (connect-timeout)", limit);
	dial_explain(line->real_dial, &error);
	dial_cancel(line->real_dial);
	line->real_dial = NULL;
	line_failed(line, &error);
}

/* A client's own first dial: it is told how that ended. */
static bool line_is_first(const struct line *line)
{
	return line->hold->settings.hold == HOLD_YES && !line->is_redial;
}

static void line_log_up(const struct line *line)
{
	uint64_t away_ms = line->up_ms - line->lost_ms;
	char kept[48] = "", discarded[80] = "";

	if (line->kept.bytes)
		snprintf(kept, sizeof(kept), "; %u bytes were kept for it",
			 line->kept.bytes);
	if (line->discarded_bytes)
		snprintf(discarded, sizeof(discarded),
			 "; %llu bytes for it were discarded",
			 (unsigned long long)line->discarded_bytes);
	log_info("route %s: %s is reached%s after %llu.%01llu s, at attempt "
		 "%u%s%s",
		 line->hold->settings.route, line->stream.peer,
		 line->is_redial ? " again" : "",
		 (unsigned long long)away_ms / 1000,
		 (unsigned long long)away_ms % 1000 / 100, line->attempts, kept,
		 discarded);
}

static void line_flush(struct line *line);

static void line_reached(struct line *line)
{
	if (!line_is_first(line))
		line_log_up(line);
	line->last_error.text[0] = '\0';
	line->attempts = 0;
	line->discarded_bytes = 0;
	if (line->done)
		loop_defer(line->hold->loop, &line->answer);
	line_flush(line);
}

static void line_dialled(struct stream *stream, int code,
			 const struct error *error, void *arg)
{
	struct line *line = arg;
	dial_done_cb done = line->done;
	void *done_arg = line->done_arg;
	struct error own = {""};

	line->real_dial = NULL;
	event_del(line->timer);
	if (stream) {
		code = line_attach(line, stream);
		if (code)
			error_set(&own, code, "%s", strerror(-code));
	} else {
		own = *error;
	}
	if (code == 0) {
		line_reached(line);
		return;
	}
	line_detach(line, STREAM_CLOSE_ABORT);
	if (!line_is_first(line)) {
		line_failed(line, &own);
		return;
	}
	line_free(line);
	done(NULL, code, &own, done_arg);
}

/* ---- losing it -------------------------------------------------------------------- */

/* Nothing is left in it: dial again. @code: how it was lost, 0 in order. */
static void line_lose(struct line *line, int code)
{
	const struct hold_settings *settings = &line->hold->settings;
	struct loop *loop = line->hold->loop;
	const char *reason = stream_end_reason(line->real);

	if (!reason)
		reason = code ? strerror(-code) : "it closed";
	error_set(&line->why, code, "%s", reason);
	/* What came behind a gap may not be passed on: the gap is the end. */
	if (code == -ENOBUFS)
		line->stream.lost_bytes += stream_discard_rest(
			line->real, loop->buffer, loop->buffer_bytes);
	line_detach(line, STREAM_CLOSE_ORDERLY);
	line->lost_ms = loop_now_ms();
	line->is_redial = true;
	/* One that never lasts is dialled less and less often. */
	if (line->lost_ms - line->up_ms >= settings->retry_max_ms)
		backoff_reset(&line->backoff);
	line_wait(line);
	line_unblock(line);
	log_warning("route %s: %s is lost: %s; it is dialled again%s",
		    settings->route, line->stream.peer, line->why.text,
		    line->is_taken ? ", and its client held" : "");
}

/* It takes nothing any more. Its last words, if somebody wants them, come first. */
static void line_break(struct line *line, int code)
{
	event_del(line->writable);
	line->state = LINE_STATE_LOST;
	line->lost_code = code == -EPIPE ? 0 : code;
	if (line->is_taken && line_watch(line, line->hold->ready_fd) == 0)
		line_unblock(line);
	else
		line_lose(line, line->lost_code);
}

/* ---- what the loop tells ------------------------------------------------------------ */

/* What was kept goes out first; then the session may write again. */
static void line_flush(struct line *line)
{
	const uint8_t *data;
	size_t bytes;
	ssize_t put;

	while ((bytes = backlog_first(&line->kept, &data)) > 0) {
		put = stream_write(line->real, data, bytes);
		if (put == -EAGAIN)
			put = line_await_room(line);
		if (put < 0) {
			line_break(line, (int)put);
			return;
		}
		if (put == 0)
			return;
		backlog_take(&line->kept, (size_t)put);
	}
	line_unblock(line);
}

static void line_writable(evutil_socket_t fd, short what, void *arg)
{
	line_flush(arg);
}

static void line_unheard(evutil_socket_t fd, short what, void *arg)
{
	struct line *line = arg;
	ssize_t got = stream_read(line->real, line->hold->loop->buffer,
				  READ_BYTES);

	if (got > 0)
		line->unheard_bytes += (uint64_t)got;
	else if (got != -EAGAIN)
		line_lose(line, (int)got);
}

/* ---- what its session does with it ---------------------------------------------------- */

static ssize_t line_read(struct stream *base, void *buffer, size_t bytes)
{
	struct line *line = line_of(base);
	ssize_t got = -EAGAIN;

	if (line->state == LINE_STATE_UP) {
		got = stream_read(line->real, buffer, bytes);
		if (got <= 0 && got != -EAGAIN)
			line_lose(line, (int)got);
	} else if (line->state == LINE_STATE_LOST) {
		got = stream_read(line->real, buffer, bytes);
		if (got <= 0)
			line_lose(line,
				  got == -ENOBUFS ? -ENOBUFS : line->lost_code);
	}
	return got > 0 ? got : -EAGAIN;
}

/* As much as there is room for, where it is not discarded. */
static ssize_t line_keep(struct line *line, const uint8_t *data, size_t bytes)
{
	size_t room = line->hold->settings.buffer_bytes;
	size_t take;

	if (!room) {
		line->discarded_bytes += bytes;
		return (ssize_t)bytes;
	}
	room -= line->kept.bytes;
	take = bytes < room ? bytes : room;
	if (take && backlog_add(&line->kept, data, take))
		take = 0;
	if (take < bytes)
		line_block(line);
	return take ? (ssize_t)take : -EAGAIN;
}

static ssize_t line_write(struct stream *base, const void *buffer, size_t bytes)
{
	struct line *line = line_of(base);
	ssize_t put;
	int code = 0;

	if (line->state != LINE_STATE_UP || line->kept.bytes)
		return line_keep(line, buffer, bytes);
	put = stream_write(line->real, buffer, bytes);
	if (put == (ssize_t)bytes)
		return put;
	if (put >= 0 || put == -EAGAIN)
		code = line_await_room(line);
	else
		code = (int)put;
	if (code == 0) {
		line_block(line);
		return put;
	}
	line_break(line, code);
	/* What it took is its own, lost with it or not. */
	return put > 0 ? put : line_keep(line, buffer, bytes);
}

/* A standing one is not finished with: the next client gets it. */
static size_t line_finish(struct stream *base, bool is_stopping)
{
	struct line *line = line_of(base);

	if (line->kept.bytes || line->state != LINE_STATE_UP ||
	    line == line->hold->standing)
		return line->kept.bytes;
	return stream_finish(line->real, is_stopping);
}

/* ---- letting go of it ------------------------------------------------------------------ */

static void line_log_loss(struct line *line)
{
	uint64_t kept_bytes = backlog_clear(&line->kept);

	if (kept_bytes || line->discarded_bytes)
		log_warning("route %s: the client left, and of what it sent to "
			    "%s %llu bytes that were kept are lost, and %llu "
			    "were discarded",
			    line->hold->settings.route, line->hold->target.name,
			    (unsigned long long)kept_bytes,
			    (unsigned long long)line->discarded_bytes);
	line->discarded_bytes = 0;
}

static void line_end(struct line *line, enum stream_close how)
{
	loop_cancel(line->hold->loop, &line->answer);
	dial_cancel(line->real_dial);
	line_detach(line, how);
	line_free(line);
}

/* The client is gone, and the link stays. */
static void line_stand(struct line *line)
{
	line->is_taken = false;
	line->done = NULL;
	loop_cancel(line->hold->loop, &line->answer);
	line_unblock(line);
	if (line->state == LINE_STATE_LOST)
		line_lose(line, line->lost_code);
	else if (line->state == LINE_STATE_UP && line_listen(line))
		line_lose(line, -ENOMEM);
}

static void line_close(struct stream *base, enum stream_close how)
{
	struct line *line = line_of(base);

	line_log_loss(line);
	if (line == line->hold->standing)
		line_stand(line);
	else
		line_end(line, how);
}

static const struct stream_ops line_ops = {
	.read = line_read,
	.write = line_write,
	.finish = line_finish,
	.close = line_close,
};

/* ---- a client's dial --------------------------------------------------------------------- */

static struct line *line_of_dial(const struct dial *dial)
{
	return (struct line *)((char *)dial - offsetof(struct line, dial));
}

static void hold_dial_cancel(struct dial *dial)
{
	struct line *line = line_of_dial(dial);

	if (line == line->hold->standing)
		line_stand(line);
	else
		line_end(line, STREAM_CLOSE_ORDERLY);
}

static bool hold_dial_describe(const struct dial *dial, struct error *error)
{
	const struct line *line = line_of_dial(dial);

	if (line->real_dial && line->real_dial->ops->describe &&
	    line->real_dial->ops->describe(line->real_dial, error))
		return true;
	*error = line->last_error;
	return *error->text;
}

static void line_answer(void *arg)
{
	struct line *line = arg;
	dial_done_cb done = line->done;

	line->done = NULL;
	line->is_taken = true;
	if (line->unheard_bytes)
		log_info("route %s: %s said %llu bytes while it had no client; "
			 "they were discarded",
			 line->hold->settings.route, line->stream.peer,
			 (unsigned long long)line->unheard_bytes);
	line->unheard_bytes = 0;
	line->stream.lost_bytes = 0;
	done(&line->stream, 0, NULL, line->done_arg);
}

/* There already, or awaited; it need not wait for the next attempt. */
static void line_join(struct line *line)
{
	assert(!line->is_taken);
	event_del(line->unheard);
	if (line->state == LINE_STATE_UP) {
		loop_defer(line->hold->loop, &line->answer);
	} else if (line->state == LINE_STATE_AWAY) {
		event_del(line->timer);
		backoff_reset(&line->backoff);
		line_redial(line);
	}
}

static struct dial *hold_dial(struct target *base, dial_done_cb done, void *arg)
{
	static const struct dial_ops ops = {
		.cancel = hold_dial_cancel,
		.describe = hold_dial_describe,
	};
	struct hold *hold = (struct hold *)base;
	struct line *line = hold->standing ? hold->standing : line_new(hold);
	int code = 0;

	if (!line)
		return NULL;
	assert(!line->done);
	line->dial.ops = &ops;
	line->done = done;
	line->done_arg = arg;
	switch (hold->settings.hold) {
	case HOLD_ALWAYS:
		loop_defer(hold->loop, &line->answer);
		line_redial(line);
		break;
	case HOLD_LINK:
		line_join(line);
		break;
	default:
		/* The client's own deadline is this one's. */
		code = line_dial(line, false);
	}
	if (code == 0)
		return &line->dial;
	line_free(line);
	errno = -code;
	return NULL;
}

/* ---- the target ---------------------------------------------------------------------------- */

static void hold_free(struct hold *hold)
{
	if (hold->standing)
		line_end(hold->standing, STREAM_CLOSE_ORDERLY);
	if (hold->ready_fd >= 0)
		close(hold->ready_fd);
	free(hold);
}

static void hold_target_close(struct target *base)
{
	struct hold *hold = (struct hold *)base;
	struct target *real = hold->real;

	assert(!hold->standing || !hold->standing->is_taken);
	hold_free(hold);
	target_close(real);
}

struct target *hold_target_new(struct loop *loop, struct target *real,
			       const struct hold_settings *settings)
{
	static const struct target_ops ops = {
		.dial = hold_dial,
		.close = hold_target_close,
	};
	struct hold *hold = calloc(1, sizeof(*hold));
	int code;

	if (!hold)
		return NULL;
	hold->target.ops = &ops;
	hold->target.sessions_max = real->sessions_max;
	memcpy(hold->target.name, real->name, sizeof(hold->target.name));
	LIST_INIT(&hold->lines);
	hold->loop = loop;
	hold->real = real;
	hold->settings = *settings;
	hold->ready_fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
	if (hold->ready_fd >= 0 && settings->hold != HOLD_LINK)
		return &hold->target;
	if (hold->ready_fd >= 0)
		hold->standing = line_new(hold);
	if (hold->standing) {
		hold->target.sessions_max = 1;
		line_redial(hold->standing);
		return &hold->target;
	}
	code = errno;
	hold_free(hold);
	errno = code;
	return NULL;
}

struct hold_status hold_status(const struct target *target)
{
	const struct hold *hold = (const struct hold *)target;
	struct hold_status status = {.redials = hold->redials};
	const struct line *line, *longest = NULL;

	for (line = LIST_FIRST(&hold->lines); line;
	     line = LIST_NEXT(line, link)) {
		if (line->state == LINE_STATE_UP ||
		    line->state == LINE_STATE_LOST) {
			status.up++;
		} else if (!line_is_first(line)) {
			status.away++;
			if (!longest || line->lost_ms < longest->lost_ms)
				longest = line;
		}
	}
	if (longest) {
		status.away_ms = loop_now_ms() - longest->lost_ms;
		status.why = longest->why;
		if (!*status.why.text)
			error_set(&status.why, 0, "it is being dialled");
	}
	return status;
}
