/* SPDX-License-Identifier: MIT */
#include "route.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "backoff.h"
#include "clients.h"
#include "config.h"
#include "endpoint.h"
#include "entrance.h"
#include "error.h"
#include "hold.h"
#include "log.h"
#include "loop.h"
#include "mishap.h"
#include "share.h"

struct route {
	struct loop *loop;
	const struct config_route *config;
	struct bluez *bluez;
	enum route_state state;
	bool is_disabled;
	uint64_t retries;
	struct target *target;
	const struct target *held; /* what in it holds links, or NULL */
	struct door *door; /* where its clients come in */
	struct event *retry_timer;
	struct backoff retry;
	int last_code;
	struct error last_error; /* a retry that fails alike is silent */
	struct clients *clients;
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

	if (state != ROUTE_STATE_WAITING)
		event_del(route->retry_timer);
	else if (loop_start_timer(route->retry_timer,
				  backoff_next_ms(&route->retry)))
		/* Without memory for a timer there is no pause. */
		event_active(route->retry_timer, EV_TIMEOUT, 0);
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

static void route_client(struct stream *stream, void *arg)
{
	const struct route *route = arg;

	clients_take(route->clients, stream, route->target);
}

static void route_clients_gone(void *arg)
{
	struct route *route = arg;

	if (route->state == ROUTE_STATE_STOPPING)
		route_set_state(route, ROUTE_STATE_STOPPED, "drained",
				"the last session ended");
}

/* ---- both ends --------------------------------------------------------------- */

static struct target *hold_target(const struct route *route,
				  struct target *target)
{
	const struct config_route *config = route->config;
	const struct hold_settings settings = {
		.route = config->name,
		.hold = config->hold,
		.buffer_bytes = config->hold_buffer_bytes,
		.retry_min_ms = config->retry_min_ms,
		.retry_max_ms = config->retry_max_ms,
		.dial_timeout_ms = config->connect_timeout_ms,
	};

	return hold_target_new(route->loop, target, &settings);
}

/* Around the target itself: what holds it, and around that, what shares it. */
static int route_open_target(struct route *route,
			     const struct endpoint_settings *settings,
			     struct error *error)
{
	const struct config_route *config = route->config;
	struct target *target, *outer;
	int code = target_open(route->loop, &config->connect, settings, &target,
			       error);

	if (code)
		return code;
	outer = target;
	if (config->hold != HOLD_NO)
		outer = hold_target(route, target);
	if (outer)
		target = outer;
	route->held = config->hold != HOLD_NO ? outer : NULL;
	if (outer && config->when_busy == WHEN_BUSY_SHARE)
		outer = share_target_new(route->loop, target,
					 config->share_write);
	if (!outer) {
		code = error_set(error, -errno, "%s", strerror(errno));
		target_close(target);
		route->held = NULL;
	}
	route->target = outer;
	return code;
}

/* The target first: a pty is there before the first phone. */
static int route_open_ends(struct route *route, struct error *error)
{
	const struct config_route *config = route->config;
	const struct endpoint_settings settings = {
		.adapter = config->adapter,
		.security = config->security,
		.reserved_ports = config->reserved_ports,
		.bluez = route->bluez,
		.is_slow = address_endpoint_is_bluetooth(&config->listen) ||
			   address_endpoint_is_bluetooth(&config->connect),
	};
	int code = 0;

	if (!route->target)
		code = route_open_target(route, &settings, error);
	if (code == 0)
		code = door_open(route->door, error);
	return code;
}

static void route_wait(struct route *route, const char *event, int code,
		       const struct error *error)
{
	route->last_code = code;
	route->last_error = *error;
	route_set_state(route, ROUTE_STATE_WAITING, event, error->text);
}

static void route_try(struct route *route, const char *event)
{
	char reason[2 * STREAM_PEER_BYTES + 8];
	struct error error = {""};
	int code;

	if (route->state == ROUTE_STATE_WAITING)
		route->retries++;
	code = route_open_ends(route, &error);
	if (code) {
		bool is_news = strcmp(error.text, route->last_error.text) != 0;

		if (is_news && route->state == ROUTE_STATE_WAITING)
			log_warning("route %s: still waiting: %s",
				    route->config->name, error.text);
		route_wait(route, event, code, &error);
		return;
	}
	route->last_code = 0;
	route->last_error.text[0] = '\0';
	backoff_reset(&route->retry);
	snprintf(reason, sizeof(reason), "%s => %s", door_name(route->door),
		 route->target->name);
	route_set_state(route, ROUTE_STATE_LISTENING, event, reason);
}

static void route_retry_timeout(evutil_socket_t fd, short what, void *arg)
{
	route_try(arg, "tried again");
}

static void route_is_stopped(void *arg)
{
	struct route *route = arg;

	if (route->is_disabled) {
		target_close(route->target);
		route->target = NULL;
		route->held = NULL;
	}
	/* Else the target stays: those of several routes go in order (route_set.c). */
	route->stopped(route, route->arg);
}

/* ---- from outside ------------------------------------------------------------- */

struct route *route_new(struct loop *loop, const struct config_route *config,
			struct entrance *entrance, struct bluez *bluez,
			struct trace *trace, route_stopped_cb stopped,
			void *arg)
{
	struct route *route = calloc(1, sizeof(*route));

	if (!route)
		return NULL;
	route->loop = loop;
	route->config = config;
	route->bluez = bluez;
	route->stopped = stopped;
	route->arg = arg;
	route->stopped_task.run = route_is_stopped;
	route->stopped_task.arg = route;
	route->retry_timer = evtimer_new(loop->base, route_retry_timeout,
					 route);
	route->clients = clients_new(loop, config, trace, route_clients_gone,
				     route);
	route->door = door_new(entrance, config, route_client, route);
	if (!route->retry_timer || !route->clients || !route->door) {
		route_free(route);
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
	door_free(route->door);
	clients_free(route->clients);
	target_close(route->target);
	if (route->retry_timer)
		event_free(route->retry_timer);
	free(route);
}

void route_start(struct route *route)
{
	if (!route->is_disabled)
		route_try(route, "start");
}

void route_disable(struct route *route)
{
	route->is_disabled = true;
	route->last_code = 0;
	route->last_error.text[0] = '\0';
	if (route->state == ROUTE_STATE_STOPPED)
		return;
	log_info("route %s: disabled", route->config->name);
	route_stop(route);
}

void route_enable(struct route *route)
{
	if (!route->is_disabled)
		return;
	route->is_disabled = false;
	log_info("route %s: enabled", route->config->name);
	route_try(route, "enabled");
}

bool route_is_disabled(const struct route *route)
{
	return route->is_disabled;
}

const struct config_route *route_config(const struct route *route)
{
	return route->config;
}

const char *route_listening_on(const struct route *route)
{
	return route->state == ROUTE_STATE_LISTENING ? door_name(route->door)
						     : NULL;
}

const char *route_error(const struct route *route)
{
	return route->state == ROUTE_STATE_WAITING ? route->last_error.text
						   : NULL;
}

bool route_held(const struct route *route, struct hold_status *out)
{
	if (route->held)
		*out = hold_status(route->held);
	return route->held;
}

void route_each_client(const struct route *route, client_status_cb cb,
		       void *arg)
{
	clients_each(route->clients, cb, arg);
}

void route_kick(struct route *route,
		bool (*is_meant)(const struct client_status *client, void *arg),
		void *arg)
{
	clients_kick(route->clients, is_meant, arg);
}

struct client_totals route_totals(const struct route *route)
{
	return clients_totals(route->clients);
}

uint64_t route_refusals_at_door(const struct route *route,
				enum door_refusal why)
{
	return route->door ? door_refusals(route->door, why) : 0;
}

uint64_t route_retries(const struct route *route)
{
	return route->retries;
}

const struct mishap *route_failures(const struct route *route)
{
	return clients_failures(route->clients);
}

struct mishap route_refusals(const struct route *route)
{
	struct mishap refusals = *clients_refusals(route->clients);

	if (route->door)
		mishap_add(&refusals, door_last_refusal(route->door));
	return refusals;
}

void route_check(struct route *route)
{
	struct error error = {""};
	int code;

	if (route->state != ROUTE_STATE_LISTENING)
		return;
	code = door_check(route->door, &error);
	/* Where that cannot be found out now it is left as it is. */
	if (code != -ENODEV)
		return;
	door_close(route->door);
	route_wait(route, "lost", code, &error);
}

void route_retry(struct route *route)
{
	if (route->state != ROUTE_STATE_WAITING)
		return;
	backoff_reset(&route->retry);
	route_try(route, "tried again");
}

void route_leave(struct route *route)
{
	door_free(route->door);
	route->door = NULL;
	route_stop(route);
}

void route_move_last(struct route *route)
{
	door_move_last(route->door);
}

void route_stop(struct route *route)
{
	if (route->state == ROUTE_STATE_STOPPING)
		return;
	if (route->door)
		door_close(route->door);
	clients_stop(route->clients);
	if (clients_count(route->clients))
		route_set_state(route, ROUTE_STATE_STOPPING, "stop",
				"sessions drain");
	else
		route_set_state(route, ROUTE_STATE_STOPPED, "stop",
				"no session left");
}

void route_abort(struct route *route)
{
	clients_abort(route->clients);
}

enum route_state route_state(const struct route *route)
{
	return route->state;
}

bool route_is_hopeless(const struct route *route)
{
	return route->last_code && route->last_code != -ENODEV;
}
