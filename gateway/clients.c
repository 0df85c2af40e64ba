/* SPDX-License-Identifier: MIT */
#include "clients.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "admission.h"
#include "config.h"
#include "endpoint.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "mishap.h"
#include "refusals.h"
#include "session.h"
#include "share.h"
#include "trace.h"

/* Whom a client has to make room for, on its way to the log. */
#define REASON_BYTES (STREAM_PEER_BYTES + 16)

/* How far a client is; it only goes on. */
enum client_state {
	CLIENT_STATE_WAITING, /* until those whom it replaces are gone */
	CLIENT_STATE_ADMITTED, /* on its way in: its target is dialled */
	CLIENT_STATE_RELAYED, /* has a session */
};

/* One client. There may be thousands: what it no longer needs is overlaid. */
struct client {
	TAILQ_ENTRY(client) link; /* in the order in which they came */
	struct clients *clients;
	union { /* by state */
		struct stream *waiting;
		struct admission *admission;
		struct session *session;
	};
	union {
		struct target *target; /* until it is relayed */
		struct stream *target_stream; /* then: the session's */
	};
	uint64_t came_ms;
	unsigned int number; /* counts up, for the log */
	enum client_state state : 8;
	bool is_replaced; /* its session ends in this turn of the loop */
	bool is_absent; /* so, or gone, and only its target takes its time */
	bool has_address;
	struct address_bluetooth address;
};

TAILQ_HEAD(client_list, client);

struct clients {
	struct loop *loop;
	const struct config_route *config;
	struct session_settings session_settings;
	struct client_list list;
	unsigned int count;
	/* Of them; counted, so that who comes or goes costs the same in a crowd. */
	unsigned int replaced_count;
	unsigned int absent_count;
	unsigned int waiting_count;
	unsigned int next_number;
	struct mishap refused;
	struct mishap failed; /* whose session did not end in order */
	struct refusals refusals; /* for want of room */
	struct refusals target_refusals; /* of devices, since it was reached */
	struct client_totals totals; /* of sessions that are over */
	struct loop_task room_task;
	clients_gone_cb gone;
	void *arg;
};

static struct client *clients_first(const struct clients *clients)
{
	return TAILQ_FIRST(&clients->list);
}

static struct client *client_next(const struct client *client)
{
	return TAILQ_NEXT(client, link);
}

_Static_assert(sizeof((struct mishap){0}.who) >= STREAM_PEER_BYTES,
	       "whoever it is fits");

static void clients_note_refusal(struct clients *clients,
				 enum client_refusal_kind kind,
				 const char *peer, const char *reason)
{
	clients->totals.refusals[kind]++;
	mishap_note(&clients->refused, peer, reason);
}

static void clients_refuse(struct clients *clients,
			   enum client_refusal_kind kind, const char *peer,
			   const char *reason)
{
	clients_note_refusal(clients, kind, peer, reason);
	log_warning("route %s: refused %s: %s", clients->config->name, peer,
		    reason);
}

/* Not mentioned if it is no news: for the same reason as the last time. */
static void clients_refuse_if_news(struct clients *clients, bool is_news,
				   enum client_refusal_kind kind,
				   const char *peer, const char *reason)
{
	if (is_news) {
		clients_refuse(clients, kind, peer, reason);
		return;
	}
	clients_note_refusal(clients, kind, peer, reason);
	log_debug("route %s: refused %s, as before: %s", clients->config->name,
		  peer, reason);
}

/* There is no room: who tries again and again is mentioned once. */
static void clients_refuse_for_room(struct clients *clients,
				    const struct stream *stream,
				    const char *reason)
{
	bool is_news = refusals_remember(&clients->refusals,
					 refusals_key(stream), reason);

	clients_refuse_if_news(clients, is_news, CLIENT_REFUSAL_BUSY,
			       stream->peer, reason);
}

/* How long was left for the target differs each time. */
static void drop_numbers(const char *text, char *to)
{
	for (; *text; text++)
		if (*text < '0' || *text > '9')
			*to++ = *text;
	*to = '\0';
}

/*
 * The target was not reached. A phone tries again for as long as it is near, all
 * day long: each is mentioned once until the target was reached.
 */
static void client_refuse_for_target(const struct client *client,
				     const char *reason)
{
	struct clients *clients = client->clients;
	uint64_t who = client->has_address
			       ? refusals_device_key(&client->address)
			       : 0;
	char key[ERROR_TEXT_BYTES];

	drop_numbers(reason, key);
	clients_refuse_if_news(
		clients, refusals_remember(&clients->target_refusals, who, key),
		CLIENT_REFUSAL_TARGET, admission_client(client->admission),
		reason);
}

/* ---- ends ------------------------------------------------------------------- */

static void client_free(struct client *client)
{
	struct clients *clients = client->clients;

	TAILQ_REMOVE(&clients->list, client, link);
	clients->replaced_count -= client->is_replaced;
	clients->absent_count -= client->is_absent;
	clients->waiting_count -= client->state == CLIENT_STATE_WAITING;
	free(client);
	/* Later: a session's streams are closed after it has said its end. */
	loop_defer(clients->loop, &clients->room_task);
	if (--clients->count == 0)
		clients->gone(clients->arg);
}

/* It is not in yet, and never will be. */
static void client_turn_away(struct client *client)
{
	if (client->state == CLIENT_STATE_WAITING)
		stream_close(client->waiting, STREAM_CLOSE_ABORT);
	else
		admission_cancel(client->admission);
	client_free(client);
}

/* Taken by a shared target, but for nobody: not the first one's. */
static uint64_t client_discarded_bytes(const struct client *client)
{
	return client->clients->config->when_busy == WHEN_BUSY_SHARE
		       ? share_discarded_bytes(client->target_stream)
		       : 0;
}

/* That its session starts or has ended, for whoever looks on. */
static void client_trace(const struct client *client, enum trace_kind kind,
			 const char *text)
{
	struct trace *trace = client->clients->session_settings.trace;
	struct trace_event event = {
		.kind = kind,
		.session = client->number,
		.peer = session_client(client->session),
		.text = text,
	};

	if (trace && trace_is_on(trace))
		trace_tell(trace, &event);
}

static void client_tell_end(const struct client *client)
{
	const struct session_counters *counters = session_counters(
		client->session);
	uint64_t duration_ms = loop_now_ms() - counters->started_ms;
	uint64_t discarded_bytes = client_discarded_bytes(client);
	char reason[SESSION_REASON_BYTES], lost[64] = "", discarded[96] = "";

	session_format_reason(client->session, reason);
	client_trace(client, TRACE_KIND_ENDED, reason);
	if (session_has_failed(client->session))
		mishap_note(&client->clients->failed,
			    session_client(client->session), reason);
	if (counters->lost_bytes)
		snprintf(lost, sizeof(lost),
			 ", %llu bytes could not be delivered",
			 (unsigned long long)counters->lost_bytes);
	if (discarded_bytes)
		snprintf(discarded, sizeof(discarded),
			 ", %llu bytes from client discarded: it was not the "
			 "first (share-write)",
			 (unsigned long long)discarded_bytes);
	log_info("route %s: session %u with %s ended: %s; %llu.%01llu s, "
		 "%llu bytes to target, %llu bytes to client%s%s",
		 client->clients->config->name, client->number,
		 session_client(client->session), reason,
		 (unsigned long long)duration_ms / 1000,
		 (unsigned long long)duration_ms % 1000 / 100,
		 (unsigned long long)(counters->up_bytes - discarded_bytes),
		 (unsigned long long)counters->down_bytes, lost, discarded);
}

static void add_bytes(struct client_totals *totals,
		      const struct session_counters *counters)
{
	totals->up_bytes += counters->up_bytes;
	totals->down_bytes += counters->down_bytes;
	totals->lost_bytes += counters->lost_bytes;
}

static void client_session_ended(struct session *session, void *arg)
{
	struct client *client = arg;
	struct client_totals *totals = &client->clients->totals;

	client_tell_end(client);
	add_bytes(totals, session_counters(session));
	totals->ends[session_outcome(session)]++;
	client_free(client);
}

static const char *client_peer(const struct client *client)
{
	switch (client->state) {
	case CLIENT_STATE_WAITING:
		return client->waiting->peer;
	case CLIENT_STATE_ADMITTED:
		return admission_client(client->admission);
	case CLIENT_STATE_RELAYED:
		break;
	}
	return session_client(client->session);
}

/* It takes no place among max-sessions any more. */
static void client_make_absent(struct client *client)
{
	client->clients->absent_count += !client->is_absent;
	client->is_absent = true;
}

static void client_left(void *arg)
{
	client_make_absent(arg);
}

static void client_replace(struct client *client, const char *by)
{
	char reason[REASON_BYTES];

	if (client->state == CLIENT_STATE_RELAYED) {
		client->is_replaced = true;
		client->clients->replaced_count++;
		client_make_absent(client);
		session_replace(client->session, by);
		return;
	}
	snprintf(reason, sizeof(reason), "replaced by %s", by);
	clients_refuse(client->clients, CLIENT_REFUSAL_REPLACED,
		       client_peer(client), reason);
	client_turn_away(client);
}

/* ---- the way in --------------------------------------------------------------- */

static void client_admitted(struct admission *admission, struct stream *stream,
			    struct stream *target, const struct error *error,
			    void *arg)
{
	struct client *client = arg;
	struct clients *clients = client->clients;

	if (!stream) {
		client_refuse_for_target(client, error->text);
		client_free(client);
		return;
	}
	client->session = session_new(clients->loop, stream, target,
				      &clients->session_settings,
				      client->number, client);
	client->state = CLIENT_STATE_RELAYED;
	if (!client->session) {
		clients_refuse(clients, CLIENT_REFUSAL_RESOURCES, stream->peer,
			       strerror(errno));
		stream_close(stream, STREAM_CLOSE_ABORT);
		stream_close(target, STREAM_CLOSE_ABORT);
		client_free(client);
		return;
	}
	client->target_stream = target;
	refusals_forget(&clients->refusals, refusals_key(stream));
	clients->target_refusals = (struct refusals){0};
	clients->totals.sessions++;
	log_info("route %s: session %u: %s connected to %s",
		 clients->config->name, client->number, stream->peer,
		 target->peer);
	client_trace(client, TRACE_KIND_STARTED, target->peer);
}

static void client_admit(struct client *client)
{
	struct clients *clients = client->clients;
	struct admission *admission;

	admission = admission_new(clients->loop, client->waiting,
				  client->target,
				  clients->config->connect_timeout_ms,
				  client_admitted, client);
	if (admission) {
		client->admission = admission;
		client->state = CLIENT_STATE_ADMITTED;
		clients->waiting_count--;
		return;
	}
	clients_refuse(clients, CLIENT_REFUSAL_RESOURCES, client->waiting->peer,
		       strerror(errno));
	client_turn_away(client);
}

/* In with those who wait, once all whom they replace have let go. */
static void clients_make_room(void *arg)
{
	struct clients *clients = arg;
	struct client *client, *next;

	if (clients->replaced_count || !clients->waiting_count)
		return;
	for (client = clients_first(clients); client; client = next) {
		next = client_next(client);
		if (client->state == CLIENT_STATE_WAITING)
			client_admit(client);
	}
}

/* ---- who may come ------------------------------------------------------------- */

/* How many have not been told to go: each takes a place at the target. */
static unsigned int clients_count_staying(const struct clients *clients)
{
	return clients->count - clients->replaced_count;
}

static struct client *clients_oldest_staying(const struct clients *clients)
{
	struct client *client = clients_first(clients);

	while (client && client->is_replaced)
		client = client_next(client);
	return client;
}

static struct client *clients_oldest_present(const struct clients *clients)
{
	struct client *client = clients_first(clients);

	while (client && client->is_absent)
		client = client_next(client);
	return client;
}

/*
 * Why one more may not come in now, or NULL; in @oldest who would have to go
 * for it.
 */
static const char *clients_refusal(const struct clients *clients,
				   const struct target *target,
				   struct client **oldest)
{
	unsigned int own = clients->config->max_sessions;
	unsigned int targets = target->sessions_max;

	if (targets && clients_count_staying(clients) >= targets) {
		*oldest = clients_oldest_staying(clients);
		return "the target is in use by another client";
	}
	if (own && clients->count - clients->absent_count >= own) {
		*oldest = clients_oldest_present(clients);
		return "the route has as many sessions as max-sessions allows";
	}
	return NULL;
}

/* The same, after those were told to go who have to. */
static const char *clients_ask_room(struct clients *clients,
				    struct stream *stream,
				    const struct target *target)
{
	struct client *oldest = NULL;
	const char *refusal = clients_refusal(clients, target, &oldest);

	if (clients->config->when_busy != WHEN_BUSY_REPLACE)
		return refusal;
	/* Nobody has to go for one who has left already. */
	if (refusal && stream_has_given_up(stream))
		return refusal;
	while (refusal) {
		client_replace(oldest, stream->peer);
		refusal = clients_refusal(clients, target, &oldest);
	}
	return NULL;
}

void clients_take(struct clients *clients, struct stream *stream,
		  struct target *target)
{
	struct client *client = calloc(1, sizeof(*client));
	const char *refusal = client ? clients_ask_room(clients, stream, target)
				     : strerror(errno);

	if (refusal) {
		if (client)
			clients_refuse_for_room(clients, stream, refusal);
		else
			clients_refuse(clients, CLIENT_REFUSAL_RESOURCES,
				       stream->peer, refusal);
		stream_close(stream, STREAM_CLOSE_ABORT);
		free(client);
		return;
	}
	client->clients = clients;
	client->target = target;
	client->waiting = stream;
	client->has_address = stream->has_peer_address;
	client->address = stream->peer_address;
	client->came_ms = loop_now_ms();
	client->number = ++clients->next_number;
	TAILQ_INSERT_TAIL(&clients->list, client, link);
	clients->count++;
	clients->waiting_count++;
	if (!clients->replaced_count)
		client_admit(client);
}

/* ---- from outside --------------------------------------------------------------- */

struct clients *clients_new(struct loop *loop,
			    const struct config_route *config,
			    struct trace *trace, clients_gone_cb gone,
			    void *arg)
{
	struct clients *clients = calloc(1, sizeof(*clients));

	if (!clients)
		return NULL;
	clients->loop = loop;
	clients->config = config;
	clients->session_settings = (struct session_settings){
		.linger_ms = config->linger_ms,
		.drain_timeout_ms = config->drain_timeout_ms,
		.idle_timeout_ms = config->idle_timeout_ms,
		.client_packing = config->listen.packing,
		.target_packing = config->connect.packing,
		.trace = trace,
		.ended = client_session_ended,
		.client_left = client_left,
	};
	clients->gone = gone;
	clients->arg = arg;
	clients->room_task.run = clients_make_room;
	clients->room_task.arg = clients;
	TAILQ_INIT(&clients->list);
	return clients;
}

void clients_free(struct clients *clients)
{
	if (!clients)
		return;
	assert(!clients->count);
	loop_cancel(clients->loop, &clients->room_task);
	free(clients);
}

unsigned int clients_count(const struct clients *clients)
{
	return clients->count;
}

static struct client_status client_status(const struct client *client)
{
	struct client_status status = {
		.number = client->number,
		.peer = client_peer(client),
		.address = client->has_address ? &client->address : NULL,
		.age_ms = loop_now_ms() - client->came_ms,
	};

	if (client->state == CLIENT_STATE_RELAYED) {
		const struct session_counters *counters = session_counters(
			client->session);

		status.target = client->target_stream->peer;
		status.up_bytes = counters->up_bytes;
		status.down_bytes = counters->down_bytes;
	}
	return status;
}

void clients_each(const struct clients *clients, client_status_cb cb, void *arg)
{
	const struct client *client;

	for (client = clients_first(clients); client;
	     client = client_next(client)) {
		struct client_status status = client_status(client);

		/* One that ends in this turn is as good as gone. */
		if (!client->is_replaced)
			cb(&status, arg);
	}
}

void clients_kick(struct clients *clients,
		  bool (*is_meant)(const struct client_status *client,
				   void *arg),
		  void *arg)
{
	struct client *client, *next;

	for (client = clients_first(clients); client; client = next) {
		struct client_status status = client_status(client);

		next = client_next(client);
		if (!is_meant(&status, arg))
			continue;
		if (client->state == CLIENT_STATE_RELAYED)
			session_abort(client->session);
		else
			client_turn_away(client);
	}
}

const struct mishap *clients_refusals(const struct clients *clients)
{
	return &clients->refused;
}

const struct mishap *clients_failures(const struct clients *clients)
{
	return &clients->failed;
}

struct client_totals clients_totals(const struct clients *clients)
{
	struct client_totals totals = clients->totals;
	const struct client *client;

	for (client = clients_first(clients); client;
	     client = client_next(client)) {
		if (client->state != CLIENT_STATE_RELAYED)
			continue;
		add_bytes(&totals, session_counters(client->session));
		totals.open++;
	}
	return totals;
}

static void clients_end(struct clients *clients,
			void (*end_session)(struct session *session))
{
	struct client *client, *next;

	for (client = clients_first(clients); client; client = next) {
		next = client_next(client);
		if (client->state == CLIENT_STATE_RELAYED)
			end_session(client->session);
		else
			client_turn_away(client);
	}
}

void clients_stop(struct clients *clients)
{
	clients_end(clients, session_stop);
}

void clients_abort(struct clients *clients)
{
	clients_end(clients, session_abort);
}
