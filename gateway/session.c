/* SPDX-License-Identifier: MIT */
#include "session.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "backlog.h"
#include "endpoint.h"
#include "loop.h"
#include "packer.h"
#include "trace.h"

/*
 * How much to read at once. It doubles with each full read that was taken whole,
 * and is halved with each that was not, or that found half as much at most. Up to
 * READ_BYTES_PLAIN it is read, and what is not taken is kept. More than that is
 * looked at, where the stream lets us peek, as far as the loop's buffer goes: then
 * no more than READ_BYTES_MIN is kept, and the rest stays in the kernel. So a
 * stalled direction of bytes holds less than 64 KB, and what waits for a slow link
 * is half of it.
 */
#define READ_BYTES_MIN (28 * 1024)
#define READ_BYTES_PLAIN (2 * READ_BYTES_MIN)
#define READ_BYTES_PEEK_MIN (2 * READ_BYTES_PLAIN)
/*
 * Bytes that were looked at stay in the receive buffer, and its sender's window
 * small, until they are written. Other sessions' work hides that. A session that
 * is alone with both ways busy waits for it: there we only read. It is alone if so
 * many reads of the loop were its own, and one way only is busy if so many of the
 * session's were of one side.
 */
#define READS_ALONE_MIN 8
#define READS_IN_ROW_MIN 4
/* The longest record that there may be. */
#define READ_BYTES_RECORD (256 * 1024)
/* As many single writes, at most, keep the other sessions waiting. */
#define READ_BYTES_PACKING 4096
/*
 * How much more to take from a side that must end and never falls silent; more
 * if more was there already.
 */
#define ENDING_BYTES_MIN (1024 * 1024)
/* When to try again where a write takes nothing although it should. */
#define WRITE_RETRY_MS 10
/*
 * How often to read in one turn from a link without flow control. Elsewhere it
 * is once, which is fair to the others; here the kernel drops what waits too
 * long, and a read gives one packet of the link at most.
 */
#define READS_WITHOUT_FLOW_CONTROL 16
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

/* How what comes from one side is passed on. */
enum side_form {
	SIDE_FORM_BYTES, /* as many as were read */
	SIDE_FORM_RECORDS, /* each read is one record, and stays one */
	SIDE_FORM_PACKETS, /* as its packer puts them together */
};

/* Where what comes from a side is put together. */
struct packing {
	struct packer packer;
	struct event *gap; /* made when first needed */
	uint64_t read_ms; /* loop_now_ms when something last came */
};

/*
 * One half of a session: a stream and what waits to be written to it. There may
 * be ten thousand that do nothing: what an idle one needs is in it, in as little
 * room as it takes, and all else is made when first needed.
 */
struct side {
	struct stream *stream;
	struct event readable;
	struct event *writable; /* there while it is added */
	struct packing *packing; /* with SIDE_FORM_PACKETS only */
	struct backlog waiting;
	uint32_t read_bytes; /* how much to read from it at once */
	uint32_t ending_bytes; /* still to be read since it is ending */
	enum side_form form : 8;
	enum side_state state : 8;
	enum side_watch watch : 8;
	uint8_t reads_in_row; /* up to READS_IN_ROW_MIN */
	bool skips_peek; /* the next one is no peek */
	bool is_client; /* the session's client, not its target */
	bool is_shut; /* the other's end was passed on to it */
	bool is_dead; /* nothing can be written to it any more */
};

/* Where it is in its life; it only goes on (session_enter). */
enum session_phase {
	SESSION_PHASE_RELAYING,
	SESSION_PHASE_ENDING, /* both sides are to end: a stop, a gap */
	SESSION_PHASE_FINISHING, /* all is written; see stream_finish */
	SESSION_PHASE_OVER, /* to be closed and freed in the next turn */
};

enum session_timer {
	SESSION_TIMER_NONE,
	SESSION_TIMER_LINGER, /* for the answer to a half-closed client */
	SESSION_TIMER_DRAIN, /* for a side to take what it is owed */
	SESSION_TIMER_FINISH, /* for a stream to be ready to close */
};

enum session_end {
	SESSION_END_NONE, /* not yet known */
	SESSION_END_CLOSED, /* one side */
	SESSION_END_BROKEN, /* one side, with an errno */
	SESSION_END_TOO_FAST, /* one side, with how much waited */
	SESSION_END_OVERRUN, /* one side: the kernel has dropped some of it */
	SESSION_END_TOO_LONG, /* one side cannot carry a record: its length */
	SESSION_END_TRUNCATED, /* one side's record could not be read whole */
	SESSION_END_STOPPED, /* session_stop */
	SESSION_END_REPLACED, /* session_replace */
	SESSION_END_IDLE, /* nothing passed for idle_timeout_ms */
	SESSION_END_NO_MEMORY,
};

struct session {
	struct loop *loop;
	struct side client;
	struct side target;
	const struct session_settings *settings;
	struct session_counters counters;
	struct event *timer; /* made when first needed */
	struct event *idle; /* NULL where off */
	/* loop_now_ms when something last passed, or finishing got on. */
	uint64_t moved_ms;
	unsigned int number; /* in the trace */
	int end_detail; /* an errno or a number of bytes */
	uint32_t finish_left; /* as the streams said last */
	char *replaced_by; /* whom it had to make room for, as far as known */
	struct loop_task finish;
	enum session_timer timer_is : 8;
	enum session_phase phase : 8;
	enum session_end end : 8; /* the first reason is the one that counts */
	enum stream_close close_how : 8;
	bool has_end_side; /* it is the end of one, */
	bool is_end_client; /* the client */
	bool is_stopping; /* by session_stop, in whatever phase */
	void *arg;
};

/* Neither keeps a pointer to where it is: there may be ten thousand. */
static struct session *side_session(const struct side *side)
{
	const size_t offset = side->is_client
				      ? offsetof(struct session, client)
				      : offsetof(struct session, target);

	return (struct session *)((char *)side - offset);
}

static struct side *side_other(const struct side *side)
{
	struct session *session = side_session(side);

	return side->is_client ? &session->target : &session->client;
}

/*
 * The one setter of the phase. False if it is there already, or further: then
 * what belongs to entering it is done.
 */
static bool session_enter(struct session *session, enum session_phase phase)
{
	if (session->phase >= phase)
		return false;
	session->phase = phase;
	return true;
}

static bool session_is_over(const struct session *session)
{
	return session->phase == SESSION_PHASE_OVER;
}

/* ---- the one exit --------------------------------------------------------- */

static void side_lose(struct side *side, size_t bytes)
{
	side_session(side)->counters.lost_bytes += bytes;
}

static void side_forget_waiting(struct side *side)
{
	side_lose(side, backlog_clear(&side->waiting));
}

/* What it sent and is still being put together. */
static void side_forget_held(struct side *side)
{
	if (!side->packing)
		return;
	side_lose(side, packer_held(&side->packing->packer));
	packer_clear(&side->packing->packer);
}

static void side_free_packing(struct side *side)
{
	side_forget_held(side);
	if (side->packing && side->packing->gap)
		event_free(side->packing->gap);
	free(side->packing);
	side->packing = NULL;
}

static void side_stop_writing(struct side *side)
{
	if (side->writable)
		event_free(side->writable);
	side->writable = NULL;
}

static void side_free(struct side *side)
{
	side_forget_waiting(side);
	side_free_packing(side);
	if (event_initialized(&side->readable))
		event_del(&side->readable);
	side_stop_writing(side);
}

static void session_free(struct session *session)
{
	side_free(&session->client);
	side_free(&session->target);
	if (session->timer)
		event_free(session->timer);
	if (session->idle)
		event_free(session->idle);
	free(session->replaced_by);
	free(session);
}

static void session_finish(void *arg)
{
	struct session *session = arg;
	struct stream *client = session->client.stream;
	struct stream *target = session->target.stream;
	enum stream_close how = session->close_how;

	session->counters.lost_bytes += client->lost_bytes + target->lost_bytes;
	/* The streams still know who they are, for the line in the log. */
	session->settings->ended(session, session->arg);
	session_free(session);
	stream_close(client, how);
	stream_close(target, how);
}

static void session_finish_with(struct session *session, enum stream_close how)
{
	if (!session_enter(session, SESSION_PHASE_OVER))
		return;
	session->close_how = how;
	side_free(&session->client);
	side_free(&session->target);
	if (session->timer)
		event_del(session->timer);
	if (session->idle)
		event_del(session->idle);
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

	if ((uint32_t)left != session->finish_left) {
		session->finish_left = (uint32_t)left;
		session->moved_ms = now_ms;
	}
	if (left == 0 ||
	    now_ms - session->moved_ms >= session->settings->drain_timeout_ms ||
	    session_start_timer(session, SESSION_TIMER_FINISH))
		session_finish_with(session, STREAM_CLOSE_ORDERLY);
}

/* All was written; close when it has also gone out. */
static void session_finish_in_order(struct session *session)
{
	if (!session_enter(session, SESSION_PHASE_FINISHING))
		return;
	session->moved_ms = loop_now_ms();
	side_free(&session->client);
	side_free(&session->target);
	session_finish_step(session);
}

/* ---- why ------------------------------------------------------------------ */

static void set_end(struct session *session, enum session_end end,
		    const struct side *side, int detail)
{
	if (session->end != SESSION_END_NONE)
		return;
	session->end = end;
	session->has_end_side = side != NULL;
	session->is_end_client = side && side->is_client;
	session->end_detail = detail;
}

static void set_end_closed(struct side *side)
{
	set_end(side_session(side), SESSION_END_CLOSED, side, 0);
}

static void set_end_broken(struct side *side, int code)
{
	struct session *session = side_session(side);

	/* The other one has only half-closed: it was not the end of it. */
	if (session->end == SESSION_END_CLOSED && session->has_end_side &&
	    session->is_end_client != side->is_client &&
	    !side_other(side)->is_dead)
		session->end = SESSION_END_NONE;
	set_end(session, SESSION_END_BROKEN, side, code);
}

static void session_out_of_memory(struct session *session)
{
	set_end(session, SESSION_END_NO_MEMORY, NULL, 0);
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

/*
 * There is a gap in what @side sent: nothing of it may follow, and the rest
 * ends as in an orderly stop. The loop's buffer is overwritten.
 */
static void side_break_off(struct side *side)
{
	struct loop *loop = side_session(side)->loop;

	side_forget_held(side);
	if (side->state != SIDE_STATE_ENDED)
		side_lose(side, stream_discard_rest(side->stream, loop->buffer,
						    loop->buffer_bytes));
	side->state = SIDE_STATE_ENDED;
	session_enter(side_session(side), SESSION_PHASE_ENDING);
	side_start_ending(side_other(side));
}

/*
 * Nothing can be written to it any more; what it sent may still be there. Of
 * the other one so much is read that it may end in order, for one that is
 * closed with something unread is reset, and may lose what it was sent.
 */
static void side_die(struct side *side)
{
	if (!side->is_dead && side_other(side)->state == SIDE_STATE_OPEN)
		side_other(side)->ending_bytes = ENDING_BYTES_MIN;
	if (!side->is_dead && side->is_client &&
	    side_session(side)->settings->client_left)
		side_session(side)->settings->client_left(
			side_session(side)->arg);
	side->is_dead = true;
	side_forget_waiting(side);
	side_start_ending(side);
}

/* ---- what is watched -------------------------------------------------------- */

static void side_readable(evutil_socket_t fd, short what, void *arg);
static void side_hung_up(evutil_socket_t fd, short what, void *arg);
static void side_writable(evutil_socket_t fd, short what, void *arg);
static void side_gap_over(evutil_socket_t fd, short what, void *arg);

static enum side_watch side_wanted_watch(const struct side *side)
{
	const struct side *other = side_other(side);

	if (side->state == SIDE_STATE_ENDED)
		return side->is_dead ? SIDE_WATCH_NOTHING : SIDE_WATCH_HANG_UP;
	/* The kernel would drop what is not read. */
	if (side->stream->has_no_flow_control)
		return SIDE_WATCH_READ;
	if (other->waiting.bytes)
		return SIDE_WATCH_HANG_UP;
	/*
	 * The other is gone but not read out: nowhere to put more. Nor is there
	 * ever for what a local client has, which stays where it is.
	 */
	if (other->is_dead && (other->state != SIDE_STATE_ENDED ||
			       side_session(side)->settings->is_client_local))
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
	struct event_base *base = side_session(side)->loop->base;
	const short edge = watch == SIDE_WATCH_HANG_UP ? EV_ET : 0;
	bool is_same = watch == side->watch;

	if (is_same && is_writing == (side->writable != NULL))
		return 0;
	side_stop_writing(side);
	if (!is_same) {
		event_del(&side->readable);
		side->watch = watch;
	}
	if (!is_same && watch != SIDE_WATCH_NOTHING) {
		event_assign(&side->readable, base, side->stream->read_fd,
			     EV_READ | EV_PERSIST | edge,
			     edge ? side_hung_up : side_readable, side);
		if (event_add(&side->readable, NULL))
			return -ENOMEM;
	}
	if (!is_writing)
		return 0;
	side->writable = event_new(
		base, side->stream->write_fd,
		EV_WRITE | EV_PERSIST |
			(side->stream->read_fd == side->stream->write_fd ? edge
									 : 0),
		side_writable, side);
	if (!side->writable || event_add(side->writable, NULL))
		return -ENOMEM;
	return 0;
}

/*
 * Time the silence after what is being put together. It is silence only where
 * somebody listens: it starts anew when reading is taken up again.
 */
static int side_time_gap(struct side *side, bool is_resumed)
{
	struct packing *packing = side->packing;
	const unsigned int gap_ms = packing->packer.packing.gap_ms;

	if (!gap_ms || !packer_held(&packing->packer))
		return 0;
	if (is_resumed)
		packing->read_ms = loop_now_ms();
	if (!packing->gap)
		packing->gap = evtimer_new(side_session(side)->loop->base,
					   side_gap_over, side);
	if (!packing->gap)
		return -ENOMEM;
	return evtimer_pending(packing->gap, NULL)
		       ? 0
		       : loop_start_timer(packing->gap, gap_ms + 1);
}

static int side_rearm(struct side *side)
{
	bool is_resumed = side->watch != SIDE_WATCH_READ;
	int code = side_set_watch(side, side_wanted_watch(side),
				  side->waiting.bytes > 0);

	if (code || side->watch != SIDE_WATCH_READ)
		return code;
	/* Until it says that there is nothing more; no event would tell. */
	if (side->state == SIDE_STATE_ENDING)
		event_active(&side->readable, EV_READ, 0);
	return side->packing ? side_time_gap(side, is_resumed) : 0;
}

/* ---- timers ----------------------------------------------------------------- */

static void session_timeout(evutil_socket_t fd, short what, void *arg);

static unsigned int timer_ms(const struct session *session,
			     enum session_timer timer)
{
	switch (timer) {
	case SESSION_TIMER_LINGER:
		return session->target.state == SIDE_STATE_ENDED
			       ? session->settings->client_linger_ms
			       : session->settings->linger_ms;
	case SESSION_TIMER_DRAIN:
		return session->settings->drain_timeout_ms;
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

/*
 * The idle timer is not moved by what passes: it looks at the time when it
 * fires, which is as seldom as idle_timeout_ms.
 */
static void session_passed(struct session *session)
{
	if (session->settings->idle_timeout_ms)
		session->moved_ms = loop_now_ms();
}

/* ---- passing on --------------------------------------------------------------- */

static void side_count(struct side *side, size_t bytes)
{
	struct session *session = side_session(side);

	if (side->is_client)
		session->counters.down_bytes += bytes;
	else
		session->counters.up_bytes += bytes;
	if (!bytes)
		return;
	session_passed(session);
	session_progress(session, SESSION_TIMER_DRAIN);
}

static bool side_takes_more(const struct side *side)
{
	return !side->is_dead && !side->is_shut;
}

/* As stream_write, in the form that the other side's pieces have. */
static ssize_t side_write_piece(struct side *side, const uint8_t *data,
				size_t bytes)
{
	const enum side_form form = side_other(side)->form;
	int code;

	if (form == SIDE_FORM_BYTES || !stream_keeps_records(side->stream))
		return stream_write(side->stream, data, bytes);
	code = stream_write_record(side->stream, data, bytes);
	/* Nobody made this record but we: it may be cut. */
	if (code == -EMSGSIZE && form == SIDE_FORM_PACKETS)
		return stream_write(side->stream, data, bytes);
	return code ? code : (ssize_t)bytes;
}

/*
 * 0 if all was taken, -EAGAIN if @put bytes were and no more go for now; else
 * none will go any more: side_write_failed.
 */
static int side_write(struct side *side, const uint8_t *data, size_t bytes,
		      size_t *put)
{
	ssize_t n = side_write_piece(side, data, bytes);

	*put = n > 0 ? (size_t)n : 0;
	side_count(side, *put);
	if (*put == bytes)
		return 0;
	return n >= 0 ? -EAGAIN : (int)n;
}

/* @bytes: of the piece that was to be written. */
static void side_write_failed(struct side *side, int code, size_t bytes)
{
	if (code == -EMSGSIZE && side_other(side)->form == SIDE_FORM_RECORDS) {
		set_end(side_session(side), SESSION_END_TOO_LONG, side,
			(int)bytes);
		side_forget_waiting(side);
		side_break_off(side_other(side));
		return;
	}
	/* EPIPE: it has closed; how, was said already. */
	if (code == -EPIPE)
		set_end_closed(side);
	else
		set_end_broken(side, code);
	side_die(side);
}

/* The rest of a piece from @from waits for the other side. */
static void side_keep_waiting(struct side *from, const uint8_t *data,
			      size_t bytes)
{
	struct session *session = side_session(from);
	struct backlog *waiting = &side_other(from)->waiting;

	if (from->stream->has_no_flow_control &&
	    backlog_cost(waiting, bytes) > SESSION_WAITING_BYTES_MAX) {
		set_end(session, SESSION_END_TOO_FAST, from,
			(int)waiting->bytes);
		side_lose(from, bytes);
		side_break_off(from);
	} else if (backlog_add(waiting, data, bytes)) {
		side_lose(from, bytes);
		session_out_of_memory(session);
	}
}

static uint32_t side_read_bytes_min(const struct side *side)
{
	if (stream_keeps_records(side->stream))
		return READ_BYTES_RECORD;
	return side->packing ? READ_BYTES_PACKING : READ_BYTES_MIN;
}

/* Whether to look at more than can be kept. */
static bool side_may_peek(const struct side *side)
{
	bool is_alone = side_session(side)->loop->reads_in_row >=
			READS_ALONE_MIN;
	bool is_one_way = side->reads_in_row == READS_IN_ROW_MIN;

	return !side->skips_peek && (is_one_way || !is_alone);
}

static void side_count_read(struct side *side)
{
	loop_count_read(side_session(side)->loop, side_session(side));
	if (side->reads_in_row < READS_IN_ROW_MIN)
		side->reads_in_row++;
	side_other(side)->reads_in_row = 0;
}

/* A record is read whole, and packets are made of what is there. */
static bool side_reads_vary(const struct side *side)
{
	return side->form == SIDE_FORM_BYTES &&
	       !stream_keeps_records(side->stream);
}

static uint32_t side_read_bytes_max(const struct side *side)
{
	return stream_can_peek(side->stream) && side_may_peek(side)
		       ? (uint32_t)side_session(side)->loop->buffer_bytes
		       : READ_BYTES_PLAIN;
}

static void side_shrink_reads(struct side *side)
{
	if (side_reads_vary(side) && side->read_bytes > READ_BYTES_MIN)
		side->read_bytes /= 2;
}

/* All of @bytes was taken. */
static void side_grow_reads(struct side *side, size_t bytes)
{
	if (!side_reads_vary(side))
		return;
	side->skips_peek = false;
	/*
	 * While what is peeked at is written the window is closed, and a kernel
	 * that sees that little is taken in a round trip does not enlarge the
	 * receive buffer (tcp_rcv_space_adjust). Where even the smallest peek is
	 * not filled we read once before we look again: mostly there is more
	 * then. After more reads a hundred sessions' receive buffers grow to
	 * the kernel's limit for TCP.
	 */
	if (side->read_bytes == READ_BYTES_PEEK_MIN &&
	    bytes < READ_BYTES_PEEK_MIN) {
		side->read_bytes = READ_BYTES_PLAIN;
		side->skips_peek = true;
	}
	if (bytes <= side->read_bytes / 2)
		side_shrink_reads(side);
	else if (bytes == side->read_bytes &&
		 2 * side->read_bytes <= side_read_bytes_max(side))
		side->read_bytes *= 2;
	else if (side->read_bytes > side_read_bytes_max(side))
		side->read_bytes = READ_BYTES_PLAIN;
}

/*
 * Pass on a piece: straight through, unless others wait already. What is not
 * taken is kept, but no more than @keep_bytes_max of it. Returns how many bytes
 * are done with.
 */
static size_t side_pass(struct side *from, const uint8_t *data, size_t bytes,
			size_t keep_bytes_max)
{
	struct side *to = side_other(from);
	size_t put = 0, keep;
	int code = -EAGAIN;

	if (!side_takes_more(to)) {
		side_lose(from, bytes);
		return bytes;
	}
	if (!to->waiting.bytes)
		code = side_write(to, data, bytes, &put);
	if (code == 0) {
		side_grow_reads(from, bytes);
		return bytes;
	}
	keep = bytes - put;
	if (code != -EAGAIN) {
		side_lose(from, keep);
		side_write_failed(to, code, keep);
		return bytes;
	}
	side_shrink_reads(from);
	if (keep > keep_bytes_max)
		keep = keep_bytes_max;
	side_keep_waiting(from, data + put, keep);
	return put + keep;
}

/* Put together what was read, and pass on what is complete. */
static void side_pack(struct side *side, const uint8_t *data, size_t bytes)
{
	struct packing *packing = side->packing;
	struct packet packet;
	int code;

	packing->read_ms = loop_now_ms();
	while ((code = packer_next(&packing->packer, &data, &bytes, &packet)) >
	       0) {
		side_pass(side, packet.data, packet.bytes, packet.bytes);
		/* Over, or broken off: then the packing may be gone. */
		if (session_is_over(side_session(side)) ||
		    side->state == SIDE_STATE_ENDED)
			break;
	}
	if (code)
		side_lose(side, bytes);
	if (code < 0)
		session_out_of_memory(side_session(side));
}

/* What is being put together is not to wait for more. */
static void side_flush(struct side *side)
{
	struct packet packet;

	if (!side->packing ||
	    packer_flush(&side->packing->packer, &packet) == 0)
		return;
	side_pass(side, packet.data, packet.bytes, packet.bytes);
	if (side->packing)
		packer_clear(&side->packing->packer);
}

/* Nothing comes from it any more. */
static void side_end(struct side *side)
{
	side->state = SIDE_STATE_ENDED;
	side_flush(side);
}

/* ---- where the session stands ------------------------------------------------ */

/* Tell @side that the other one ended, once it has everything it is owed. */
static void side_pass_end(struct side *side)
{
	if (side_other(side)->state != SIDE_STATE_ENDED ||
	    side->waiting.bytes || side->is_shut || side->is_dead)
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
	return side->state == SIDE_STATE_ENDED &&
	       !side_other(side)->waiting.bytes;
}

/*
 * Whether @side has ended and what the other one still sends is of no use:
 * it is gone in both directions, or the other cannot be told that it ended.
 */
static bool side_ends_session(const struct side *side)
{
	const struct session *session = side_session(side);
	const struct side *other = side_other(side);
	bool is_local = session->settings->is_client_local;

	if (is_local && side->is_dead && side->is_client)
		return true;
	if (!side_is_through(side) || side->waiting.bytes)
		return false;
	if (side->is_dead)
		return !stream_has_half_close(other->stream) ||
		       other->is_dead || is_local;
	/* Both were asked to end: each gets the other's last words. */
	if (session->phase == SESSION_PHASE_ENDING)
		return false;
	/* A target that closes has said all; a client may want an answer. */
	if (side == &session->target)
		return !stream_has_half_close(other->stream) ||
		       (is_local && session->settings->client_linger_ms == 0);
	return !stream_has_half_close(other->stream) &&
	       session->settings->linger_ms == 0;
}

/* It has said all, and waits for the other, who cannot tell when it has. */
static bool side_is_lingering(const struct side *side)
{
	const struct session *session = side_session(side);

	if (!side_is_through(side) || side->waiting.bytes || side->is_dead)
		return false;
	if (side == &session->target)
		return session->settings->is_client_local;
	return !stream_has_half_close(side_other(side)->stream) &&
	       session->settings->linger_ms != SESSION_LINGER_FOREVER;
}

/* It is gone, and the other has something to take or to say before it goes. */
static bool side_is_draining(const struct side *side)
{
	return side->is_dead && (side->state == SIDE_STATE_ENDED ||
				 side_other(side)->waiting.bytes);
}

static enum session_timer session_wanted_timer(const struct session *session)
{
	if (session->phase == SESSION_PHASE_ENDING ||
	    side_is_draining(&session->client))
		return SESSION_TIMER_DRAIN;
	if (side_is_draining(&session->target))
		return session->settings->is_client_local ? SESSION_TIMER_NONE
							  : SESSION_TIMER_DRAIN;
	if (side_is_lingering(&session->client) ||
	    side_is_lingering(&session->target))
		return SESSION_TIMER_LINGER;
	return SESSION_TIMER_NONE;
}

static bool session_is_through(const struct session *session)
{
	const struct side *client = &session->client;
	const struct side *target = &session->target;

	/* Both gone: nobody is left to take anything. */
	if (client->is_dead && target->is_dead)
		return true;
	return (side_is_through(client) && side_is_through(target)) ||
	       side_ends_session(client) || side_ends_session(target);
}

/*
 * Whether the target broke off, and the client has all that came of it: a
 * client that goes on sending learns nothing from an end of stream.
 */
static bool session_is_broken(const struct session *session)
{
	const struct side *client = &session->client;
	const struct side *target = &session->target;
	int unsent = 0;

	return session->phase == SESSION_PHASE_RELAYING &&
	       session->end == SESSION_END_BROKEN && session->has_end_side &&
	       !session->is_end_client && target->is_dead &&
	       side_is_through(target) && !client->is_shut &&
	       stream_has_half_close(client->stream) &&
	       ioctl(client->stream->write_fd, TIOCOUTQ, &unsent) == 0 &&
	       unsent == 0;
}

/* Send what is short of a packet: nobody waits any longer. */
static void session_flush(struct session *session)
{
	side_flush(&session->client);
	side_flush(&session->target);
}

/* Whether all is done, with what a side that has not ended said last. */
static bool session_try_finish(struct session *session)
{
	if (!session_is_through(session))
		return false;
	session_flush(session);
	if (!session_is_through(session))
		return session_is_over(session);
	session_finish_in_order(session);
	return true;
}

/* After anything happened: pass on ends, end, or go on. */
static void session_advance(struct session *session)
{
	struct side *client = &session->client, *target = &session->target;

	if (session->phase >= SESSION_PHASE_FINISHING)
		return;
	if (session_is_broken(session)) {
		session_finish_with(session, STREAM_CLOSE_ABORT);
		return;
	}
	side_pass_end(client);
	side_pass_end(target);
	if (session_try_finish(session))
		return;
	if (session_set_timer(session, session_wanted_timer(session)) ||
	    side_rearm(client) || side_rearm(target))
		session_out_of_memory(session);
}

static bool session_owes(const struct session *session)
{
	return session->client.waiting.bytes || session->target.waiting.bytes;
}

/* Whoever was waited for had its time. */
static void session_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct session *session = arg;

	if (session->phase == SESSION_PHASE_FINISHING) {
		session_finish_step(session);
		return;
	}
	session_flush(session);
	if (session_owes(session))
		session_finish_with(session, STREAM_CLOSE_ABORT);
	else
		session_finish_in_order(session);
}

/* ---- what the loop tells ------------------------------------------------------- */

static void side_trace(const struct side *side, const uint8_t *data,
		       size_t bytes)
{
	const struct session *session = side_session(side);
	struct trace_event event = {
		.kind = TRACE_KIND_DATA,
		.session = session->number,
		.peer = session->client.stream->peer,
		.is_from_client = side->is_client,
		.data = data,
		.bytes = bytes,
	};

	trace_tell(session->settings->trace, &event);
}

static void side_received(struct side *side, size_t bytes, bool is_peek)
{
	struct session *session = side_session(side);
	const uint8_t *data = session->loop->buffer;
	const bool is_traced = session->settings->trace &&
			       trace_is_on(session->settings->trace);

	session_passed(session);
	session_progress(session, SESSION_TIMER_LINGER);
	side_count_read(side);
	/* Before what cannot be passed on is read over it. */
	if (is_traced && !is_peek)
		side_trace(side, data, bytes);
	if (side->packing)
		side_pack(side, data, bytes);
	else
		bytes = side_pass(side, data, bytes,
				  is_peek ? READ_BYTES_MIN : bytes);
	if (is_peek)
		stream_skip(side->stream, bytes);
	/* Only now: what was looked at and not taken comes again. */
	if (is_traced && is_peek)
		side_trace(side, data, bytes);
	if (side->state == SIDE_STATE_ENDED ||
	    (side->state == SIDE_STATE_OPEN && !side_other(side)->is_dead))
		return;
	if (bytes >= side->ending_bytes)
		side_end(side);
	else
		side->ending_bytes -= (uint32_t)bytes;
}

/* The orderly end: where half-close is unknown it is the end of both ways. */
static void side_closed(struct side *side)
{
	set_end_closed(side);
	side_end(side);
	if (!stream_has_half_close(side->stream))
		side_die(side);
}

static void side_read_failed(struct side *side, int code)
{
	struct session *session = side_session(side);

	if (code == -ENOBUFS && side->stream->has_no_flow_control) {
		set_end(session, SESSION_END_OVERRUN, side, 0);
		side_break_off(side);
	} else if (code == -EMSGSIZE && stream_keeps_records(side->stream)) {
		set_end(session, SESSION_END_TRUNCATED, side,
			(int)side->read_bytes);
		side_break_off(side);
	} else {
		set_end_broken(side, code);
		side_end(side);
		side_die(side);
	}
}

/* Whether there was something, and there may be more. */
static bool side_read(struct side *side)
{
	bool is_peek = side_reads_vary(side) &&
		       side->read_bytes > READ_BYTES_PLAIN;
	size_t bytes = side->read_bytes > side->stream->read_bytes_min
			       ? side->read_bytes
			       : side->stream->read_bytes_min;
	ssize_t got = (is_peek ? stream_peek : stream_read)(
		side->stream, side_session(side)->loop->buffer, bytes);

	if (got > 0) {
		side_received(side, (size_t)got, is_peek);
		return side->state != SIDE_STATE_ENDED &&
		       !session_is_over(side_session(side));
	}
	if (got == 0)
		side_closed(side);
	else if (got != -EAGAIN)
		side_read_failed(side, (int)got);
	else if (side->state == SIDE_STATE_ENDING)
		side_end(side);
	return false;
}

static void side_readable(evutil_socket_t fd, short what, void *arg)
{
	struct side *side = arg;
	int reads = side->stream->has_no_flow_control
			    ? READS_WITHOUT_FLOW_CONTROL
			    : 1;

	while (side_read(side) && --reads > 0)
		;
	session_advance(side_session(side));
}

static void side_hung_up(evutil_socket_t fd, short what, void *arg)
{
	struct side *side = arg;
	struct session *session = side_session(side);
	int code;

	if (side->is_dead || !stream_is_hung_up(side->stream))
		return;
	/* That input has ended, which is read in time, says nothing of output. */
	if (session->settings->is_client_local && side->is_client)
		return;
	code = stream_check(side->stream);
	if (code)
		set_end_broken(side, code);
	else
		set_end_closed(side);
	side_die(side);
	session_advance(session);
}

/*
 * It is writable and takes nothing, because the kernel is short of memory
 * (ENOBUFS): asked again at once, it would say so for ever.
 */
static void side_pause_writing(struct side *side)
{
	struct session *session = side_session(side);

	event_del(side->writable);
	event_assign(side->writable, session->loop->base, -1, 0, side_writable,
		     side);
	if (loop_start_timer(side->writable, WRITE_RETRY_MS))
		session_out_of_memory(session);
}

static void side_writable(evutil_socket_t fd, short what, void *arg)
{
	struct side *side = arg;
	const uint32_t before = side->waiting.bytes;
	const uint8_t *data;
	size_t bytes, put = 0;
	int code = 0;

	while (code == 0 &&
	       (bytes = backlog_first(&side->waiting, &data)) > 0) {
		code = side_write(side, data, bytes, &put);
		backlog_take(&side->waiting, put);
	}
	if (code == -EAGAIN && side->waiting.bytes == before) {
		side_pause_writing(side);
		return;
	}
	/* Back from a pause. */
	if (fd < 0)
		side_stop_writing(side);
	else if (code == -EAGAIN)
		return;
	if (code && code != -EAGAIN)
		side_write_failed(side, code, bytes - put);
	session_advance(side_session(side));
}

/* It has been silent for so long that what was put together is a packet. */
static void side_gap_over(evutil_socket_t fd, short what, void *arg)
{
	struct side *side = arg;
	const struct packing *packing = side->packing;
	const unsigned int gap_ms = packing->packer.packing.gap_ms;
	uint64_t silent_ms = loop_now_ms() - packing->read_ms;

	/* Not listened to: side_rearm starts it anew. */
	if (side->watch != SIDE_WATCH_READ)
		return;
	/* More came meanwhile; and the loop's clock may be some ms ahead. */
	if (silent_ms <= gap_ms) {
		if (loop_start_timer(packing->gap,
				     gap_ms + 1 - (unsigned int)silent_ms))
			session_out_of_memory(side_session(side));
		return;
	}
	side_flush(side);
	session_advance(side_session(side));
}

/* Take what has arrived, deliver it, and end. */
static void session_end_in_order(struct session *session)
{
	session_enter(session, SESSION_PHASE_ENDING);
	side_start_ending(&session->client);
	side_start_ending(&session->target);
	session_advance(session);
}

static void session_look_idle(evutil_socket_t fd, short what, void *arg)
{
	struct session *session = arg;
	uint64_t idle_ms = loop_now_ms() - session->moved_ms;

	if (session->phase != SESSION_PHASE_RELAYING)
		return;
	/* The loop's clock may be some ms ahead. */
	if (idle_ms < session->settings->idle_timeout_ms) {
		if (loop_start_timer(session->idle,
				     session->settings->idle_timeout_ms + 1 -
					     (unsigned int)idle_ms))
			session_out_of_memory(session);
		return;
	}
	set_end(session, SESSION_END_IDLE, NULL, 0);
	session_end_in_order(session);
}

/* ---- from outside ---------------------------------------------------------------- */

static int side_init(struct side *side, const struct endpoint_packing *packing)
{
	struct session *session = side_session(side);
	struct stream *stream = side->stream;

	if (packing_is_on(packing)) {
		side->form = SIDE_FORM_PACKETS;
		side->packing = calloc(1, sizeof(*side->packing));
		if (!side->packing)
			return -ENOMEM;
		packer_init(&side->packing->packer, packing);
	} else if (stream_keeps_records(stream) &&
		   stream_keeps_records(side_other(side)->stream)) {
		side->form = SIDE_FORM_RECORDS;
	}
	side_other(side)->waiting.keeps_pieces = side->form != SIDE_FORM_BYTES;
	side->read_bytes = side_read_bytes_min(side);
	side->watch = SIDE_WATCH_READ;
	event_assign(&side->readable, session->loop->base, stream->read_fd,
		     EV_READ | EV_PERSIST, side_readable, side);
	return event_add(&side->readable, NULL) ? -ENOMEM : 0;
}

static int session_start_idle(struct session *session)
{
	const unsigned int timeout_ms = session->settings->idle_timeout_ms;

	if (!timeout_ms)
		return 0;
	session->moved_ms = session->counters.started_ms;
	session->idle = evtimer_new(session->loop->base, session_look_idle,
				    session);
	return session->idle ? loop_start_timer(session->idle, timeout_ms + 1)
			     : -ENOMEM;
}

struct session *session_new(struct loop *loop, struct stream *client,
			    struct stream *target,
			    const struct session_settings *settings,
			    unsigned int number, void *arg)
{
	struct session *session = calloc(1, sizeof(*session));

	if (!session)
		return NULL;
	session->loop = loop;
	session->settings = settings;
	session->number = number;
	session->counters.started_ms = loop_now_ms();
	session->finish.run = session_finish;
	session->finish.arg = session;
	session->arg = arg;
	session->client.is_client = true;
	session->client.stream = client;
	session->target.stream = target;
	if (side_init(&session->client, &settings->client_packing) ||
	    side_init(&session->target, &settings->target_packing) ||
	    session_start_idle(session)) {
		session_free(session);
		errno = ENOMEM;
		return NULL;
	}
	return session;
}

void session_stop(struct session *session)
{
	if (session_is_over(session) || session->is_stopping)
		return;
	set_end(session, SESSION_END_STOPPED, NULL, 0);
	session->is_stopping = true;
	session_end_in_order(session);
}

void session_abort(struct session *session)
{
	set_end(session, SESSION_END_STOPPED, NULL, 0);
	session_finish_with(session, STREAM_CLOSE_ABORT);
}

void session_replace(struct session *session, const char *by)
{
	if (session_is_over(session))
		return;
	/* Also where it drains: this is what ends it. */
	session->end = SESSION_END_NONE;
	set_end(session, SESSION_END_REPLACED, NULL, 0);
	free(session->replaced_by);
	session->replaced_by = strdup(by);
	session_flush(session);
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
	if (session->end != SESSION_END_CLOSED &&
	    session->end != SESSION_END_BROKEN)
		return NULL;
	return stream_end_reason(session->is_end_client
					 ? session->client.stream
					 : session->target.stream);
}

enum session_outcome session_outcome(const struct session *session)
{
	switch (session->end) {
	case SESSION_END_CLOSED:
		return session_end_phrase(session) ? SESSION_OUTCOME_BROKEN
						   : SESSION_OUTCOME_CLOSED;
	case SESSION_END_BROKEN:
		return SESSION_OUTCOME_BROKEN;
	case SESSION_END_TOO_FAST:
	case SESSION_END_OVERRUN:
	case SESSION_END_TOO_LONG:
	case SESSION_END_TRUNCATED:
		return SESSION_OUTCOME_GAP;
	case SESSION_END_IDLE:
		return SESSION_OUTCOME_IDLE;
	case SESSION_END_REPLACED:
		return SESSION_OUTCOME_REPLACED;
	case SESSION_END_NO_MEMORY:
		return SESSION_OUTCOME_RESOURCES;
	case SESSION_END_STOPPED:
	case SESSION_END_NONE:
		break;
	}
	return SESSION_OUTCOME_STOPPED;
}

bool session_has_failed(const struct session *session)
{
	switch (session->end) {
	case SESSION_END_CLOSED:
		/* A program that ended with a status of its own. */
		return session_end_phrase(session) != NULL;
	case SESSION_END_STOPPED:
	case SESSION_END_REPLACED:
	case SESSION_END_IDLE:
		return false;
	default:
		return true;
	}
}

void session_format_reason(const struct session *session,
			   char text[SESSION_REASON_BYTES])
{
	const bool is_client = session->is_end_client;
	const char *client = session->settings->is_client_local ? "input"
								: "client";
	const char *target = session->settings->target_name
				     ? session->settings->target_name
				     : "target";
	const char *who = is_client ? client : target;
	const char *other = is_client ? target : client;
	const int detail = session->end_detail;
	const char *phrase = session_end_phrase(session);
	char limit[24];

	if (phrase) {
		snprintf(text, SESSION_REASON_BYTES, "%s", phrase);
		return;
	}
	switch (session->end) {
	case SESSION_END_NONE:
		snprintf(text, SESSION_REASON_BYTES, "not over");
		break;
	case SESSION_END_CLOSED:
		snprintf(text, SESSION_REASON_BYTES, "%s closed", who);
		break;
	case SESSION_END_BROKEN:
		snprintf(text, SESSION_REASON_BYTES, "%s broke off: %s", who,
			 strerror(-detail));
		break;
	case SESSION_END_TOO_FAST:
		snprintf(text, SESSION_REASON_BYTES,
			 "%s sends faster than %s takes it, and the link has "
			 "no flow control: %d bytes were waiting",
			 who, other, detail);
		break;
	case SESSION_END_OVERRUN:
		snprintf(text, SESSION_REASON_BYTES,
			 "%s sends faster than it can be read, and the link "
			 "has no flow control: the kernel dropped some of it",
			 who);
		break;
	case SESSION_END_TOO_LONG:
		snprintf(text, SESSION_REASON_BYTES,
			 "a record of %d bytes from %s is longer than the link "
			 "to %s can carry",
			 detail, other, who);
		break;
	case SESSION_END_TRUNCATED:
		snprintf(text, SESSION_REASON_BYTES,
			 "%s sent a record of more than %d bytes", who, detail);
		break;
	case SESSION_END_STOPPED:
		snprintf(text, SESSION_REASON_BYTES, "stopped");
		break;
	case SESSION_END_REPLACED:
		snprintf(text, SESSION_REASON_BYTES, "replaced by %s",
			 session->replaced_by ? session->replaced_by
					      : "another client");
		break;
	case SESSION_END_IDLE:
		address_duration_format(session->settings->idle_timeout_ms,
					limit);
		snprintf(text, SESSION_REASON_BYTES,
			 "nothing passed for %s (idle-timeout)", limit);
		break;
	case SESSION_END_NO_MEMORY:
		snprintf(text, SESSION_REASON_BYTES, "out of memory");
		break;
	}
}
