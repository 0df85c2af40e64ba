/* SPDX-License-Identifier: MIT */
/*
 * The pump between a client's stream and a target's: byte for byte, with
 * back-pressure, and everything delivered before it closes.
 *
 * Knows streams; does not know routes, kinds or configuration, and never logs.
 *
 * What is read from one side is passed on at once, as it came. Then:
 * - Where both sides keep records, a record stays one: whole, alone, in order.
 *   One that the other side's link cannot carry ends the session. From or to a
 *   side that keeps none it is just bytes.
 * - Bytes that are to be put together leave as packets (packer.h), each as one
 *   write, and as one record where the other side keeps them; it is cut only
 *   where that takes no record so long. What is short of a packet goes at the
 *   end of the stream.
 * - A side that takes no more stops the reading from the other. One that has no
 *   flow control is read on, into at most SESSION_WAITING_BYTES_MAX.
 *
 * How a session ends:
 * - The end of one side is passed on once what it sent was delivered. Where
 *   both sides know half-close the other direction goes on for as long as it
 *   likes.
 * - A client that has half-closed towards a target that knows none still gets
 *   its answer: until the target was silent for linger_ms.
 * - What was read from a side that is gone is still delivered, for as long as
 *   the other side takes some of it every drain_timeout_ms.
 * - What was written and has not gone out yet (a slow port, a program that does
 *   not read at once) gets the same time before the streams are closed.
 * - A reset is noticed at once, also while the other side pushes back: what
 *   the kernel still holds of that side is delivered under the same bound.
 * - When a side is gone, the other is read on without anybody to give it to,
 *   so that it can end in order, but 1 MiB at most. Once a client with
 *   half-close has all that came from a target that broke, it is reset.
 * - A gap in what one side sent (a record that cannot be carried or read, a
 *   link without flow control that is too fast) ends the session as a stop
 *   does: what came before the gap is delivered, nothing that comes after.
 * - So does idle_timeout_ms in which nothing was read and nothing delivered,
 *   also where something waits.
 */
#ifndef BTGATE_SESSION_H
#define BTGATE_SESSION_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "address_endpoint.h"

struct loop;
struct session;
struct stream;
struct trace;

/* For linger_ms: as long as it takes. */
#define SESSION_LINGER_FOREVER UINT_MAX

/* The session is over and both streams are closed; it frees itself. */
typedef void (*session_ended_cb)(struct session *session, void *arg);

/* What sessions may share; it must outlive them. */
struct session_settings {
	unsigned int linger_ms;
	unsigned int drain_timeout_ms;
	/* 0: never. */
	unsigned int idle_timeout_ms;
	/*
	 * The client is this program's own terminal, and nobody is there who
	 * would hang up: it is over when the target has said all and the client
	 * was silent for client_linger_ms, and at once when either is gone in
	 * both directions; what it has not sent by then stays unread. It may
	 * take its time with what the target said: it is not cut off unless the
	 * session is stopped.
	 */
	bool is_client_local;
	unsigned int client_linger_ms;
	/*
	 * In reasons; NULL: "target". A local client is "input", others
	 * "client".
	 */
	const char *target_name;
	/* What comes from either side; off where zeroed. */
	struct endpoint_packing client_packing;
	struct endpoint_packing target_packing;
	/* Who is told what is read from either side, as it came; NULL: nobody. */
	struct trace *trace;
	/* With the session's @arg, once, from the loop, whatever ends it. */
	session_ended_cb ended;
	/*
	 * session_has_client is false from now on. With the session's @arg, at
	 * most once, from the loop; nothing may be done to the session from
	 * here. NULL: nobody wants to know.
	 */
	void (*client_left)(void *arg);
};

/*
 * What waits for one side, with all that it takes to keep it apart, where the
 * other cannot be slowed down.
 */
#define SESSION_WAITING_BYTES_MAX (256 * 1024)

struct session_counters {
	uint64_t started_ms; /* loop_now_ms */
	uint64_t up_bytes; /* delivered to the target */
	uint64_t down_bytes; /* delivered to the client */
	uint64_t lost_bytes; /* read, and not delivered in the end */
};

/*
 * Start relaying, as the session of that @number in the trace. Takes over both
 * streams on success; NULL with errno set.
 */
struct session *session_new(struct loop *loop, struct stream *client,
			    struct stream *target,
			    const struct session_settings *settings,
			    unsigned int number, void *arg);

/*
 * Take what has arrived, deliver it and end: an orderly stop. Not bounded in
 * time as long as it gets on; session_abort is.
 */
void session_stop(struct session *session);
/* End now; what was not delivered is counted as lost. */
void session_abort(struct session *session);
/* End now, for the sake of another client; @by is who it is. */
void session_replace(struct session *session, const char *by);

/* Valid until the ended callback returns. */
const struct session_counters *session_counters(const struct session *session);
const char *session_client(const struct session *session);
/* False once the client is gone in both directions and only its rest drains. */
bool session_has_client(const struct session *session);

/* How it ended, as far as numbers tell. */
enum session_outcome {
	SESSION_OUTCOME_CLOSED, /* in order, by one side */
	SESSION_OUTCOME_BROKEN, /* one side broke, or said that it failed */
	SESSION_OUTCOME_GAP, /* one side was too fast, or a record too long */
	SESSION_OUTCOME_IDLE,
	SESSION_OUTCOME_REPLACED,
	SESSION_OUTCOME_STOPPED,
	SESSION_OUTCOME_RESOURCES, /* out of memory */
};

#define SESSION_OUTCOMES (SESSION_OUTCOME_RESOURCES + 1)

enum session_outcome session_outcome(const struct session *session);
/* Whether it ended for want of something, and not in order. */
bool session_has_failed(const struct session *session);

#define SESSION_REASON_BYTES 240

/* Why it ended, in words: "client closed", "target broke: ...". */
void session_format_reason(const struct session *session,
			   char text[SESSION_REASON_BYTES]);

#endif
