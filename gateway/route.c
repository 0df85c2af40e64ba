/* SPDX-License-Identifier: MIT */
#include "route.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "admission.h"
#include "backoff.h"
#include "config.h"
#include "endpoint.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "publish.h"
#include "sdp.h"
#include "session.h"

/* A client on its way in, and then its session: in one list each. */
struct client {
	TAILQ_ENTRY(client) link;
	struct route *route;
	struct admission *admission; /* one of the two is set */
	struct session *session;
	unsigned int number; /* counts up, for the log */
};

TAILQ_HEAD(client_list, client);

struct route {
	struct loop *loop;
	const struct config_route *config;
	struct bluez *bluez;
	struct publisher *publisher;
	enum route_state state;
	struct target *target;
	struct listener *listener;
	struct publication *publication;
	struct event *retry_timer;
	struct backoff retry;
	int last_code;
	struct error last_error; /* a retry that fails alike is silent */
	struct client_list clients;
	unsigned int client_count;
	unsigned int next_number;
	struct loop_task stopped_task;
	route_stopped_cb stopped;
	void *arg;
};

const char *route_state_to_string(enum route_state state)
{
	switch (state) {
	case ROUTE_STATE_STOPPED:
		return "stopped";
	case ROUTE_STATE_WAITING:
		return "waiting";
	case ROUTE_STATE_LISTENING:
		return "listening";
	case ROUTE_STATE_STOPPING:
		return "stopping";
	}
	return "?";
}

/* The one state setter: stores, logs, and schedules what the state needs. */
static void route_set_state(struct route *route, enum route_state state,
			    const char *event, const char *reason)
{
	enum route_state old = route->state;

	if (state == ROUTE_STATE_WAITING)
		loop_start_timer(route->retry_timer,
				 backoff_next_ms(&route->retry));
	else
		event_del(route->retry_timer);
	if (state == ROUTE_STATE_STOPPED)
		loop_defer(route->loop, &route->stopped_task);
	if (old == state)
		return;
	route->state = state;
	(state == ROUTE_STATE_WAITING ? log_warning : log_info)(
		"route %s: %s -> %s (%s: %s)", route->config->name,
		route_state_to_string(old), route_state_to_string(state), event,
		reason);
}

/* ---- clients ---------------------------------------------------------------- */

static void client_free(struct client *client)
{
	struct route *route = client->route;

	TAILQ_REMOVE(&route->clients, client, link);
	route->client_count--;
	free(client);
	if (route->state == ROUTE_STATE_STOPPING && route->client_count == 0)
		route_set_state(route, ROUTE_STATE_STOPPED, "drained",
				"the last session ended");
}

static void client_log_end(const struct client *client)
{
	const struct session_counters *counters = session_counters(
		client->session);
	uint64_t duration_ms = loop_now_ms() - counters->started_ms;
	char reason[SESSION_REASON_BYTES], lost[64] = "";

	session_format_reason(client->session, reason);
	if (counters->lost_bytes)
		snprintf(lost, sizeof(lost),
			 ", %llu bytes could not be delivered",
			 (unsigned long long)counters->lost_bytes);
	log_info("route %s: session %u with %s ended: %s; %llu.%01llu s, "
		 "%llu bytes to target, %llu bytes to client%s",
		 client->route->config->name, client->number,
		 session_client(client->session), reason,
		 (unsigned long long)duration_ms / 1000,
		 (unsigned long long)duration_ms % 1000 / 100,
		 (unsigned long long)counters->up_bytes,
		 (unsigned long long)counters->down_bytes, lost);
}

static void client_session_ended(struct session *session, void *arg)
{
	struct client *client = arg;

	client_log_end(client);
	client_free(client);
}

static void client_refuse(const struct route *route, const char *peer,
			  const char *reason)
{
	log_warning("route %s: refused %s: %s", route->config->name, peer,
		    reason);
}

static void client_admitted(struct admission *admission, struct stream *stream,
			    struct stream *target, const struct error *error,
			    void *arg)
{
	struct client *client = arg;
	struct route *route = client->route;
	const struct session_settings settings = {
		.linger_ms = route->config->linger_ms,
		.drain_timeout_ms = route->config->drain_timeout_ms,
	};

	client->admission = NULL;
	if (!stream) {
		client_refuse(route, admission_client(admission), error->text);
		client_free(client);
		return;
	}
	client->session = session_new(route->loop, stream, target, &settings,
				      client_session_ended, client);
	if (!client->session) {
		client_refuse(route, stream->peer, strerror(errno));
		stream_close(stream, STREAM_CLOSE_ABORT);
		stream_close(target, STREAM_CLOSE_ABORT);
		client_free(client);
		return;
	}
	log_info("route %s: session %u: %s connected to %s",
		 route->config->name, client->number, stream->peer,
		 target->peer);
}

/* Without those who are gone and whose target only takes its time. */
static unsigned int route_count_present(const struct route *route)
{
	const struct client *client;
	unsigned int count = 0;

	for (client = TAILQ_FIRST(&route->clients); client;
	     client = TAILQ_NEXT(client, link))
		if (!client->session || session_has_client(client->session))
			count++;
	return count;
}

/* Why the client may not come in now, or NULL. */
static const char *route_refusal(const struct route *route)
{
	unsigned int own = route->config->max_sessions;
	unsigned int targets = route->target->sessions_max;

	if (targets && route->client_count >= targets)
		return "the target is in use by another client";
	if (own && route_count_present(route) >= own)
		return "the route has as many sessions as max-sessions allows";
	return NULL;
}

static void route_client(struct stream *stream, void *arg)
{
	struct route *route = arg;
	const char *refusal = route_refusal(route);
	struct client *client = NULL;

	if (!refusal) {
		client = calloc(1, sizeof(*client));
		if (client)
			client->admission = admission_new(
				route->loop, stream, route->target,
				route->config->connect_timeout_ms,
				client_admitted, client);
		if (!client || !client->admission)
			refusal = strerror(errno);
	}
	if (refusal) {
		client_refuse(route, stream->peer, refusal);
		stream_close(stream, STREAM_CLOSE_ABORT);
		free(client);
		return;
	}
	client->route = route;
	client->number = ++route->next_number;
	TAILQ_INSERT_TAIL(&route->clients, client, link);
	route->client_count++;
}

/* ---- both ends --------------------------------------------------------------- */

static void route_published(struct publication *publication,
			    enum publication_state state, const char *detail,
			    void *arg)
{
	struct route *route = arg;
	const char *name = route->config->name;

	switch (state) {
	case PUBLICATION_STATE_WAITING:
		/* The publisher has said why, once for all routes. */
		log_info("route %s: service record waits; phones can still "
			 "connect to %s by number",
			 name, route->listener->name);
		break;
	case PUBLICATION_STATE_ASKED:
		log_debug("route %s: service record: %s", name, detail);
		break;
	case PUBLICATION_STATE_UP:
		log_info("route %s: service record up: %s", name, detail);
		break;
	}
}

static void route_publish(struct route *route)
{
	const struct config_route *config = route->config;
	const struct sdp_service service = {
		.protocol = route->listener->protocol,
		.port = route->listener->port,
		.uuid = config->service_uuid,
		.name = config->service_name,
	};

	if (service.protocol == SERVICE_PROTOCOL_NONE || !route->publisher)
		return;
	route->publication = publication_new(route->publisher, &service,
					     route_published, route);
	if (!route->publication)
		log_error("route %s: cannot publish its service record: %s; "
			  "phones can connect by channel only",
			  config->name, strerror(errno));
}

static void route_close_ends(struct route *route)
{
	publication_free(route->publication);
	listener_close(route->listener);
	route->publication = NULL;
	route->listener = NULL;
}

/* The target first: a pty is there before the first phone. */
static int route_open_ends(struct route *route, struct error *error)
{
	const struct config_route *config = route->config;
	const struct endpoint_settings settings = {
		.adapter = config->adapter,
		.security = config->security,
		.reserved_channels = config->reserved_channels,
		.bluez = route->bluez,
		.is_slow = address_endpoint_is_bluetooth(&config->listen) ||
			   address_endpoint_is_bluetooth(&config->connect),
	};
	int code = 0;

	if (!route->target)
		code = target_open(route->loop, &config->connect, &settings,
				   &route->target, error);
	if (code == 0)
		code = listener_open(route->loop, &config->listen, &settings,
				     route_client, route, &route->listener,
				     error);
	return code;
}

static void route_try(struct route *route, const char *event)
{
	char reason[2 * STREAM_PEER_BYTES + 8];
	struct error error = {""};
	int code = route_open_ends(route, &error);

	route->last_code = code;
	if (code) {
		bool is_news = strcmp(error.text, route->last_error.text) != 0;

		if (is_news && route->state == ROUTE_STATE_WAITING)
			log_warning("route %s: still waiting: %s",
				    route->config->name, error.text);
		route->last_error = error;
		route_set_state(route, ROUTE_STATE_WAITING, event, error.text);
		return;
	}
	route->last_error.text[0] = '\0';
	backoff_reset(&route->retry);
	snprintf(reason, sizeof(reason), "%s => %s", route->listener->name,
		 route->target->name);
	route_set_state(route, ROUTE_STATE_LISTENING, event, reason);
	route_publish(route);
}

static void route_retry_timeout(evutil_socket_t fd, short what, void *arg)
{
	route_try(arg, "tried again");
}

static void route_is_stopped(void *arg)
{
	struct route *route = arg;

	/* The target stays: those of several routes go in order (gateway.c). */
	route->stopped(route, route->arg);
}

/* ---- from outside ------------------------------------------------------------- */

struct route *route_new(struct loop *loop, const struct config_route *config,
			struct bluez *bluez, struct publisher *publisher,
			route_stopped_cb stopped, void *arg)
{
	struct route *route = calloc(1, sizeof(*route));

	if (!route)
		return NULL;
	route->loop = loop;
	route->config = config;
	route->bluez = bluez;
	route->publisher = publisher;
	route->stopped = stopped;
	route->arg = arg;
	route->stopped_task.run = route_is_stopped;
	route->stopped_task.arg = route;
	TAILQ_INIT(&route->clients);
	route->retry_timer = evtimer_new(loop->base, route_retry_timeout,
					 route);
	if (!route->retry_timer) {
		free(route);
		errno = ENOMEM;
		return NULL;
	}
	return route;
}

void route_free(struct route *route)
{
	if (!route)
		return;
	loop_cancel(route->loop, &route->stopped_task);
	route_close_ends(route);
	target_close(route->target);
	event_free(route->retry_timer);
	free(route);
}

void route_start(struct route *route)
{
	route_try(route, "start");
}

void route_retry(struct route *route)
{
	if (route->state != ROUTE_STATE_WAITING)
		return;
	backoff_reset(&route->retry);
	route_try(route, "tried again");
}

/* Whoever is still on the way in is refused. */
static void route_end_clients(struct route *route,
			      void (*end_session)(struct session *session))
{
	struct client *client, *next;

	for (client = TAILQ_FIRST(&route->clients); client; client = next) {
		next = TAILQ_NEXT(client, link);
		if (client->session) {
			end_session(client->session);
		} else {
			admission_cancel(client->admission);
			client_free(client);
		}
	}
}

void route_stop(struct route *route)
{
	if (route->state == ROUTE_STATE_STOPPING)
		return;
	route_close_ends(route);
	route_end_clients(route, session_stop);
	if (route->client_count)
		route_set_state(route, ROUTE_STATE_STOPPING, "stop",
				"sessions drain");
	else
		route_set_state(route, ROUTE_STATE_STOPPED, "stop",
				"no session left");
}

void route_abort(struct route *route)
{
	route_end_clients(route, session_abort);
}

enum route_state route_state(const struct route *route)
{
	return route->state;
}

bool route_is_hopeless(const struct route *route)
{
	return route->last_code && route->last_code != -ENODEV;
}
