/* SPDX-License-Identifier: MIT */
#include "session.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <event2/event.h>

#include "endpoint.h"
#include "loop.h"

/*
 * How much to read at once from a side whose other one has lately pushed back,
 * and so the most that a blocked direction holds. It doubles with each full
 * read that was taken whole, up to the loop's buffer, where the stream lets us
 * peek: what is not taken then stays in the kernel.
 */
#define READ_BYTES_MIN (32 * 1024)
/*
 * How much more to take from a side that must end and never falls silent; more
 * if more was there already.
 */
#define ENDING_BYTES_MIN (1024 * 1024)
/* How often a stream that is to close is asked whether it is through. */
#define FINISH_POLL_MS 10

/* Reading from one side. */
enum side_state {
	SIDE_STATE_OPEN, /* reading, or paused while the other is full */
	SIDE_STATE_ENDING, /* reading what is there, then no more */
	SIDE_STATE_ENDED, /* nothing comes any more */
};

/* What the loop tells us of one side. */
enum side_watch {
	SIDE_WATCH_NOTHING,
	SIDE_WATCH_READ, /* level-triggered: there is something to read */
	SIDE_WATCH_HANG_UP, /* edge-triggered: only whether it breaks */
};

/* One half of a session: a stream and what waits to be written to it. */
struct side {
	struct session *session;
	struct side *other;
	struct stream *stream;
	struct event *readable;
	struct event *writable; /* made when it first pushes back */
	uint8_t *waiting;
	uint32_t waiting_offset;
	uint32_t waiting_bytes; /* from the offset on */
	uint32_t read_bytes; /* how much to read from it at once */
	uint32_t ending_bytes; /* still to be read since it is ending */
	enum side_state state;
	enum side_watch watch;
	bool is_writing; /* the writable event is added */
	bool is_shut; /* the other's end was passed on to it */
	bool is_dead; /* nothing can be written to it any more */
};

enum session_timer {
	SESSION_TIMER_NONE,
	SESSION_TIMER_LINGER, /* for the answer to a half-closed client */
	SESSION_TIMER_DRAIN, /* for a side to take what it is owed */
	SESSION_TIMER_FINISH, /* for a stream to be ready to close */
};

struct session {
	struct loop *loop;
	struct side client;
	struct side target;
	struct session_settings settings;
	struct session_counters counters;
	struct event *timer; /* made when first needed */
	enum session_timer timer_is;
	struct loop_task finish;
	enum session_end end;
	int end_code;
	char replaced_by[STREAM_PEER_BYTES];
	bool has_end; /* the first reason is the one that counts */
	bool is_stopping;
	bool is_finishing; /* all is written; see stream_finish */
	size_t finish_left; /* as the streams said last */
	uint64_t finish_moved_ms; /* loop_now_ms when that last changed */
	bool is_over;
	enum stream_close close_how;
	session_ended_cb ended;
	void *arg;
};

/* ---- the one exit --------------------------------------------------------- */

static void side_forget_waiting(struct side *side)
{
	side->session->counters.lost_bytes += side->waiting_bytes;
	free(side->waiting);
	side->waiting = NULL;
	side->waiting_bytes = 0;
}

static void side_free(struct side *side)
{
	side_forget_waiting(side);
	if (side->readable)
		event_free(side->readable);
	if (side->writable)
		event_free(side->writable);
	side->readable = NULL;
	side->writable = NULL;
}

static void session_free(struct session *session)
{
	side_free(&session->client);
	side_free(&session->target);
	if (session->timer)
		event_free(session->timer);
	free(session);
}

static void session_finish(void *arg)
{
	struct session *session = arg;
	struct stream *client = session->client.stream;
	struct stream *target = session->target.stream;
	enum stream_close how = session->close_how;

	/* The streams still know who they are, for the line in the log. */
	session->ended(session, session->arg);
	session_free(session);
	stream_close(client, how);
	stream_close(target, how);
}

static void session_finish_with(struct session *session, enum stream_close how)
{
	if (session->is_over)
		return;
	session->is_over = true;
	session->close_how = how;
	side_free(&session->client);
	side_free(&session->target);
	if (session->timer)
		event_del(session->timer);
	loop_defer(session->loop, &session->finish);
}

static int session_start_timer(struct session *session,
			       enum session_timer timer);

static void session_finish_step(struct session *session)
{
	size_t left =
		stream_finish(session->client.stream, session->is_stopping) +
		stream_finish(session->target.stream, session->is_stopping);
	uint64_t now_ms = loop_now_ms();

	if (left != session->finish_left) {
		session->finish_left = left;
		session->finish_moved_ms = now_ms;
	}
	if (left == 0 ||
	    now_ms - session->finish_moved_ms >=
		    session->settings.drain_timeout_ms ||
	    session_start_timer(session, SESSION_TIMER_FINISH))
		session_finish_with(session, STREAM_CLOSE_ORDERLY);
}

/* All was written; close when it has also gone out. */
static void session_finish_in_order(struct session *session)
{
	if (session->is_finishing || session->is_over)
		return;
	session->is_finishing = true;
	session->finish_moved_ms = loop_now_ms();
	side_free(&session->client);
	side_free(&session->target);
	session_finish_step(session);
}

/* ---- why ------------------------------------------------------------------ */

static void set_end(struct session *session, enum session_end end, int code)
{
	if (session->has_end)
		return;
	session->has_end = true;
	session->end = end;
	session->end_code = code;
}

static void set_end_closed(struct side *side)
{
	struct session *session = side->session;

	set_end(session,
		side == &session->client ? SESSION_END_CLIENT_CLOSED
					 : SESSION_END_TARGET_CLOSED,
		0);
}

static void set_end_broken(struct side *side, int code)
{
	struct session *session = side->session;

	/* The other one has only half-closed: it was not the end of it. */
	if (session->has_end && !side->other->is_dead &&
	    session->end == (side == &session->client
				     ? SESSION_END_TARGET_CLOSED
				     : SESSION_END_CLIENT_CLOSED))
		session->has_end = false;
	set_end(session,
		side == &session->client ? SESSION_END_CLIENT_BROKEN
					 : SESSION_END_TARGET_BROKEN,
		code);
}

static void session_out_of_memory(struct session *session)
{
	set_end(session, SESSION_END_NO_MEMORY, -ENOMEM);
	session_finish_with(session, STREAM_CLOSE_ABORT);
}

/* Read what has arrived, and then no more. */
static void side_start_ending(struct side *side)
{
	int queued = 0;

	if (side->state != SIDE_STATE_OPEN)
		return;
	side->state = SIDE_STATE_ENDING;
	side->ending_bytes = ENDING_BYTES_MIN;
	if (ioctl(side->stream->read_fd, FIONREAD, &queued) == 0 &&
	    queued > ENDING_BYTES_MIN)
		side->ending_bytes = (uint32_t)queued;
}

/* Nothing can be written to it any more; what it sent may still be there. */
static void side_die(struct side *side)
{
	side->is_dead = true;
	side_forget_waiting(side);
	side_start_ending(side);
}

/* ---- what is watched -------------------------------------------------------- */

static void side_readable(evutil_socket_t fd, short what, void *arg);
static void side_hung_up(evutil_socket_t fd, short what, void *arg);
static void side_writable(evutil_socket_t fd, short what, void *arg);

static enum side_watch side_wanted_watch(const struct side *side)
{
	const struct side *other = side->other;

	if (side->state == SIDE_STATE_ENDED)
		return side->is_dead ? SIDE_WATCH_NOTHING : SIDE_WATCH_HANG_UP;
	if (other->waiting_bytes)
		return SIDE_WATCH_HANG_UP;
	/* The other is gone but not read out: nowhere to put more. */
	if (other->is_dead && other->state != SIDE_STATE_ENDED)
		return SIDE_WATCH_HANG_UP;
	return SIDE_WATCH_READ;
}

/*
 * While reading is paused a reset must still be noticed: a level-triggered
 * event would spin on the data that is left unread, EV_CLOSED misses a TCP
 * RST, an edge-triggered EV_READ does neither. libevent allows no two modes on
 * one descriptor, so the writing event follows the reading one.
 */
static int side_set_watch(struct side *side, enum side_watch watch,
			  bool is_writing)
{
	struct event_base *base = side->session->loop->base;
	const short edge = watch == SIDE_WATCH_HANG_UP ? EV_ET : 0;
	bool is_same = watch == side->watch;

	if (is_same && is_writing == side->is_writing)
		return 0;
	if (side->is_writing)
		event_del(side->writable);
	side->is_writing = false;
	if (!is_same) {
		event_del(side->readable);
		side->watch = watch;
	}
	if (!is_same && watch != SIDE_WATCH_NOTHING) {
		event_assign(side->readable, base, side->stream->read_fd,
			     EV_READ | EV_PERSIST | edge,
			     edge ? side_hung_up : side_readable, side);
		if (event_add(side->readable, NULL))
			return -ENOMEM;
	}
	if (!is_writing)
		return 0;
	if (!side->writable)
		side->writable = event_new(base, side->stream->write_fd,
					   EV_WRITE, side_writable, side);
	if (!side->writable)
		return -ENOMEM;
	event_assign(side->writable, base, side->stream->write_fd,
		     EV_WRITE | EV_PERSIST |
			     (side->stream->read_fd == side->stream->write_fd
				      ? edge
				      : 0),
		     side_writable, side);
	if (event_add(side->writable, NULL))
		return -ENOMEM;
	side->is_writing = true;
	return 0;
}

static int side_rearm(struct side *side)
{
	int code = side_set_watch(side, side_wanted_watch(side),
				  side->waiting_bytes > 0);

	/* Until it says that there is nothing more; no event would tell. */
	if (code == 0 && side->state == SIDE_STATE_ENDING &&
	    side->watch == SIDE_WATCH_READ)
		event_active(side->readable, EV_READ, 0);
	return code;
}

/* ---- timers ----------------------------------------------------------------- */

static bool session_owes(const struct session *session)
{
	return session->client.waiting_bytes || session->target.waiting_bytes;
}

static void session_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct session *session = arg;

	if (session->is_finishing)
		session_finish_step(session);
	else if (session_owes(session))
		session_finish_with(session, STREAM_CLOSE_ABORT);
	else
		session_finish_in_order(session);
}

static unsigned int timer_ms(const struct session *session,
			     enum session_timer timer)
{
	switch (timer) {
	case SESSION_TIMER_LINGER:
		return session->settings.linger_ms;
	case SESSION_TIMER_DRAIN:
		return session->settings.drain_timeout_ms;
	case SESSION_TIMER_FINISH:
		return FINISH_POLL_MS;
	case SESSION_TIMER_NONE:
		break;
	}
	return 0;
}

static int session_start_timer(struct session *session,
			       enum session_timer timer)
{
	session->timer_is = timer;
	if (!session->timer)
		session->timer = evtimer_new(session->loop->base,
					     session_timeout, session);
	if (!session->timer)
		return -ENOMEM;
	return loop_start_timer(session->timer, timer_ms(session, timer));
}

static int session_set_timer(struct session *session, enum session_timer timer)
{
	if (timer == session->timer_is)
		return 0;
	if (timer != SESSION_TIMER_NONE)
		return session_start_timer(session, timer);
	session->timer_is = timer;
	event_del(session->timer);
	return 0;
}

/* Something moved: whoever is waited for has earned its time anew. */
static void session_progress(struct session *session, enum session_timer timer)
{
	if (session->timer_is == timer && timer != SESSION_TIMER_NONE)
		session_start_timer(session, timer);
}

/* ---- where the session stands ------------------------------------------------ */

/* Tell @side that the other one ended, once it has everything it is owed. */
static void side_pass_end(struct side *side)
{
	if (side->other->state != SIDE_STATE_ENDED || side->waiting_bytes ||
	    side->is_shut || side->is_dead)
		return;
	side->is_shut = true;
	/* It may close the descriptor that was written to. */
	side_set_watch(side, side->watch, false);
	if (stream_has_half_close(side->stream) &&
	    stream_shutdown_write(side->stream) < 0)
		side_die(side);
}

/* Nothing more comes from @side, and all it sent is delivered or lost. */
static bool side_is_through(const struct side *side)
{
	return side->state == SIDE_STATE_ENDED && !side->other->waiting_bytes;
}

/*
 * Whether @side has ended and what the other one still sends is of no use:
 * it is gone in both directions, or the other cannot be told that it ended.
 */
static bool side_ends_session(const struct side *side)
{
	const struct side *other = side->other;

	if (!side_is_through(side) || side->waiting_bytes)
		return false;
	if (side->is_dead)
		return !stream_has_half_close(other->stream) || other->is_dead;
	/* Stopping, both were asked to end: each gets the other's last words. */
	if (side->session->is_stopping)
		return false;
	/* A target that closes has said all; a client may want an answer. */
	return !stream_has_half_close(other->stream) &&
	       (side == &side->session->target ||
		side->session->settings.linger_ms == 0);
}

static bool side_is_lingering(const struct side *side)
{
	return side == &side->session->client && side_is_through(side) &&
	       !side->waiting_bytes && !side->is_dead &&
	       !stream_has_half_close(side->other->stream);
}

/* It is gone, and the other has something to take or to say before it goes. */
static bool side_is_draining(const struct side *side)
{
	return side->is_dead &&
	       (side->state == SIDE_STATE_ENDED || side->other->waiting_bytes);
}

static enum session_timer session_wanted_timer(const struct session *session)
{
	if (session->is_stopping || side_is_draining(&session->client) ||
	    side_is_draining(&session->target))
		return SESSION_TIMER_DRAIN;
	if (side_is_lingering(&session->client))
		return SESSION_TIMER_LINGER;
	return SESSION_TIMER_NONE;
}

/* After anything happened: pass on ends, end, or go on. */
static void session_advance(struct session *session)
{
	struct side *client = &session->client, *target = &session->target;

	if (session->is_over || session->is_finishing)
		return;
	side_pass_end(client);
	side_pass_end(target);
	if ((side_is_through(client) && side_is_through(target)) ||
	    side_ends_session(client) || side_ends_session(target)) {
		session_finish_in_order(session);
		return;
	}
	if (session_set_timer(session, session_wanted_timer(session)) ||
	    side_rearm(client) || side_rearm(target))
		session_out_of_memory(session);
}

/* ---- moving bytes -------------------------------------------------------------- */

static void side_count(struct side *side, size_t bytes)
{
	struct session *session = side->session;

	if (side == &session->client)
		session->counters.down_bytes += bytes;
	else
		session->counters.up_bytes += bytes;
	if (bytes)
		session_progress(session, SESSION_TIMER_DRAIN);
}

/* How many bytes were taken; a side that broke takes none and is dead. */
static size_t side_write(struct side *side, const uint8_t *data, size_t bytes)
{
	ssize_t put = stream_write(side->stream, data, bytes);

	if (put < 0 && put != -EAGAIN) {
		/* EPIPE: it has closed; how, was said already. */
		if (put == -EPIPE)
			set_end_closed(side);
		else
			set_end_broken(side, (int)put);
		side_die(side);
	}
	side_count(side, put > 0 ? (size_t)put : 0);
	return put > 0 ? (size_t)put : 0;
}

static int side_keep(struct side *side, const uint8_t *data, size_t bytes)
{
	side->waiting = malloc(bytes);
	if (!side->waiting)
		return -ENOMEM;
	memcpy(side->waiting, data, bytes);
	side->waiting_offset = 0;
	side->waiting_bytes = (uint32_t)bytes;
	return 0;
}

static void side_grow_reads(struct side *side, size_t bytes)
{
	if (bytes == side->read_bytes && stream_can_peek(side->stream) &&
	    side->read_bytes < side->session->loop->buffer_bytes)
		side->read_bytes *= 2;
}

/*
 * Pass on what was read: straight through, keeping only what is not taken.
 * Returns how many of the bytes are done with: all, unless they were only
 * peeked at.
 */
static size_t side_deliver(struct side *from, const uint8_t *data, size_t bytes,
			   bool is_peek)
{
	struct session *session = from->session;
	struct side *to = from->other;
	size_t put = 0, keep;

	if (!to->is_dead && !to->is_shut)
		put = side_write(to, data, bytes);
	if (put == bytes) {
		side_grow_reads(from, bytes);
		return bytes;
	}
	keep = bytes - put;
	if (to->is_dead || to->is_shut) {
		session->counters.lost_bytes += keep;
		return bytes;
	}
	if (is_peek && keep > READ_BYTES_MIN)
		keep = READ_BYTES_MIN;
	from->read_bytes = READ_BYTES_MIN;
	if (side_keep(to, data + put, keep)) {
		session->counters.lost_bytes += keep;
		session_out_of_memory(session);
	}
	return put + keep;
}

static void side_received(struct side *side, size_t bytes, bool is_peek)
{
	struct session *session = side->session;

	if (side == &session->target)
		session_progress(session, SESSION_TIMER_LINGER);
	bytes = side_deliver(side, session->loop->buffer, bytes, is_peek);
	if (is_peek)
		stream_skip(side->stream, bytes);
	if (side->state != SIDE_STATE_ENDING)
		return;
	if (bytes >= side->ending_bytes)
		side->state = SIDE_STATE_ENDED;
	else
		side->ending_bytes -= (uint32_t)bytes;
}

/* The orderly end: where half-close is unknown it is the end of both ways. */
static void side_closed(struct side *side)
{
	set_end_closed(side);
	side->state = SIDE_STATE_ENDED;
	if (!stream_has_half_close(side->stream))
		side_die(side);
}

static void side_readable(evutil_socket_t fd, short what, void *arg)
{
	struct side *side = arg;
	struct session *session = side->session;
	bool is_peek = side->read_bytes > READ_BYTES_MIN;
	ssize_t got = (is_peek ? stream_peek : stream_read)(
		side->stream, session->loop->buffer, side->read_bytes);

	if (got > 0) {
		side_received(side, (size_t)got, is_peek);
	} else if (got == 0) {
		side_closed(side);
	} else if (got != -EAGAIN) {
		set_end_broken(side, (int)got);
		side->state = SIDE_STATE_ENDED;
		side_die(side);
	} else if (side->state == SIDE_STATE_ENDING) {
		side->state = SIDE_STATE_ENDED;
	} else {
		return;
	}
	session_advance(session);
}

static void side_hung_up(evutil_socket_t fd, short what, void *arg)
{
	struct side *side = arg;
	struct session *session = side->session;
	int code;

	if (side->is_dead || !stream_is_hung_up(side->stream))
		return;
	code = stream_check(side->stream);
	if (code)
		set_end_broken(side, code);
	else
		set_end_closed(side);
	side_die(side);
	session_advance(session);
}

static void side_writable(evutil_socket_t fd, short what, void *arg)
{
	struct side *side = arg;
	size_t put = side_write(side, side->waiting + side->waiting_offset,
				side->waiting_bytes);

	if (!side->is_dead) {
		side->waiting_offset += (uint32_t)put;
		side->waiting_bytes -= (uint32_t)put;
		if (side->waiting_bytes)
			return;
		side_forget_waiting(side);
	}
	session_advance(side->session);
}

/* ---- from outside ---------------------------------------------------------------- */

static int side_init(struct side *side, struct stream *stream)
{
	struct session *session = side->session;

	side->stream = stream;
	side->read_bytes = READ_BYTES_MIN;
	side->watch = SIDE_WATCH_READ;
	side->readable = event_new(session->loop->base, stream->read_fd,
				   EV_READ | EV_PERSIST, side_readable, side);
	if (!side->readable || event_add(side->readable, NULL))
		return -ENOMEM;
	return 0;
}

struct session *session_new(struct loop *loop, struct stream *client,
			    struct stream *target,
			    const struct session_settings *settings,
			    session_ended_cb ended, void *arg)
{
	struct session *session = calloc(1, sizeof(*session));

	if (!session)
		return NULL;
	session->loop = loop;
	session->settings = *settings;
	session->counters.started_ms = loop_now_ms();
	session->finish.run = session_finish;
	session->finish.arg = session;
	session->ended = ended;
	session->arg = arg;
	session->client.session = session->target.session = session;
	session->client.other = &session->target;
	session->target.other = &session->client;
	if (side_init(&session->client, client) ||
	    side_init(&session->target, target)) {
		session_free(session);
		errno = ENOMEM;
		return NULL;
	}
	return session;
}

void session_stop(struct session *session)
{
	if (session->is_over || session->is_stopping)
		return;
	set_end(session, SESSION_END_STOPPED, 0);
	session->is_stopping = true;
	side_start_ending(&session->client);
	side_start_ending(&session->target);
	session_advance(session);
}

void session_abort(struct session *session)
{
	set_end(session, SESSION_END_STOPPED, 0);
	session_finish_with(session, STREAM_CLOSE_ABORT);
}

void session_replace(struct session *session, const char *by)
{
	if (session->is_over)
		return;
	/* Also where it drains: this is what ends it. */
	session->has_end = false;
	set_end(session, SESSION_END_REPLACED, 0);
	snprintf(session->replaced_by, sizeof(session->replaced_by), "%s", by);
	/* Whoever takes over does not wait for what a port has yet to send. */
	session_finish_with(session, session_owes(session)
					     ? STREAM_CLOSE_ABORT
					     : STREAM_CLOSE_ORDERLY);
}

const struct session_counters *session_counters(const struct session *session)
{
	return &session->counters;
}

const char *session_client(const struct session *session)
{
	return session->client.stream->peer;
}

bool session_has_client(const struct session *session)
{
	return !session->client.is_dead;
}

/* What the side that ended it has to say itself, or NULL. */
static const char *session_end_phrase(const struct session *session)
{
	switch (session->end) {
	case SESSION_END_CLIENT_CLOSED:
	case SESSION_END_CLIENT_BROKEN:
		return stream_end_reason(session->client.stream);
	case SESSION_END_TARGET_CLOSED:
	case SESSION_END_TARGET_BROKEN:
		return stream_end_reason(session->target.stream);
	default:
		return NULL;
	}
}

void session_format_reason(const struct session *session,
			   char text[SESSION_REASON_BYTES])
{
	const char *why = strerror(-session->end_code);
	const char *phrase = session_end_phrase(session);

	if (phrase) {
		snprintf(text, SESSION_REASON_BYTES, "%s", phrase);
		return;
	}
	switch (session->end) {
	case SESSION_END_CLIENT_CLOSED:
		snprintf(text, SESSION_REASON_BYTES, "client closed");
		break;
	case SESSION_END_TARGET_CLOSED:
		snprintf(text, SESSION_REASON_BYTES, "target closed");
		break;
	case SESSION_END_CLIENT_BROKEN:
		snprintf(text, SESSION_REASON_BYTES, "client broke off: %s",
			 why);
		break;
	case SESSION_END_TARGET_BROKEN:
		snprintf(text, SESSION_REASON_BYTES, "target broke off: %s",
			 why);
		break;
	case SESSION_END_STOPPED:
		snprintf(text, SESSION_REASON_BYTES, "stopped");
		break;
	case SESSION_END_REPLACED:
		snprintf(text, SESSION_REASON_BYTES, "replaced by %s",
			 session->replaced_by);
		break;
	case SESSION_END_NO_MEMORY:
		snprintf(text, SESSION_REASON_BYTES, "out of memory");
		break;
	}
}
