/* SPDX-License-Identifier: MIT */
#include "operation.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "address_endpoint.h"
#include "bluez.h"
#include "clients.h"
#include "config.h"
#include "error.h"
#include "hold.h"
#include "json_text.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "mishap.h"
#include "route.h"
#include "route_set.h"
#include "text.h"
#include "trace.h"
#include "trace_feed.h"

static const char *const level_words[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARNING] = "warning",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
	NULL,
};

/* ---- answers ------------------------------------------------------------------- */

static json_t *refuse(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

static json_t *refuse(const char *format, ...)
{
	char text[ERROR_TEXT_BYTES];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return json_pack("{s:b, s:o}", "ok", 0, "error", json_text(text));
}

/* ---- status -------------------------------------------------------------------- */

struct listing {
	const struct operation *operation;
	const struct route *route;
	json_t *json; /* what is added to */
};

static void add_session(const struct client_status *client, void *arg)
{
	struct listing *listing = arg;
	const struct config_route *config = route_config(listing->route);
	struct bluez *bluez = *listing->operation->bluez;
	const char *name = NULL;

	if (bluez && client->address)
		name = bluez_paired_name(bluez, &config->adapter,
					 client->address);
	json_array_append_new(
		listing->json,
		json_pack("{s:I, s:o, s:o, s:o, s:I, s:I, s:I}", "number",
			  (json_int_t)client->number, "peer",
			  json_text(client->peer), "name", json_text(name),
			  "target", json_text(client->target), "age_ms",
			  (json_int_t)client->age_ms, "bytes_to_target",
			  (json_int_t)client->up_bytes, "bytes_to_client",
			  (json_int_t)client->down_bytes));
}

static json_t *list_sessions(const struct listing *route)
{
	struct listing sessions = *route;

	sessions.json = json_array();
	if (sessions.json)
		route_each_client(route->route, add_session, &sessions);
	return sessions.json;
}

static json_t *mishap_json(const struct mishap *mishap)
{
	if (!mishap->count)
		return json_null();
	return json_pack("{s:I, s:o, s:o, s:I}", "count",
			 (json_int_t)mishap->count, "peer",
			 json_text(mishap->who), "reason",
			 json_text(mishap->why), "age_ms",
			 (json_int_t)(loop_now_ms() - mishap->at_ms));
}

static json_t *held_json(const struct route *route)
{
	struct hold_status held;

	if (!route_held(route, &held))
		return json_null();
	return json_pack("{s:I, s:I, s:o, s:o}", "up", (json_int_t)held.up,
			 "away", (json_int_t)held.away, "away_ms",
			 held.away ? json_integer((json_int_t)held.away_ms)
				   : json_null(),
			 "error",
			 held.away ? json_text(held.why.text) : json_null());
}

/* @trace: NULL: there is none. */
static json_t *trace_json(struct trace *trace)
{
	struct error error = {""};
	bool is_failing;

	if (!trace || !trace_path(trace))
		return json_null();
	is_failing = trace_is_failing(trace, &error);
	return json_pack("{s:o, s:o}", "path", json_text(trace_path(trace)),
			 "error",
			 is_failing ? json_text(error.text) : json_null());
}

static void add_route(struct route *route, bool is_leaving, void *arg)
{
	struct listing *listing = arg;
	const struct config_route *config = route_config(route);
	char listen[ADDRESS_ENDPOINT_TEXT_BYTES];
	char connect[ADDRESS_ENDPOINT_TEXT_BYTES];
	const char *state = route_is_disabled(route)
				    ? "disabled"
				    : route_state_to_string(route_state(route));
	const struct mishap refusals = route_refusals(route);
	/* What drains writes into that of the route of its name, if there is one. */
	struct trace *trace = is_leaving ? NULL
					 : route_set_trace(
						   listing->operation->routes,
						   config->name);

	listing->route = route;
	address_endpoint_format(&config->listen, ENDPOINT_ROLE_LISTEN, listen);
	address_endpoint_format(&config->connect, ENDPOINT_ROLE_CONNECT,
				connect);
	json_array_append_new(
		listing->json,
		json_pack("{s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
			  "s:o}",
			  "name", json_text(config->name), "state",
			  is_leaving ? "leaving" : state, "listen",
			  json_text(listen), "listening_on",
			  json_text(route_listening_on(route)), "connect",
			  json_text(connect), "error",
			  json_text(route_error(route)), "held",
			  held_json(route), "trace", trace_json(trace),
			  "last_refusal", mishap_json(&refusals),
			  "last_failure", mishap_json(route_failures(route)),
			  "sessions", list_sessions(listing)));
}

static json_t *bluez_json(const struct operation *operation)
{
	const struct bluez *bluez = *operation->bluez;
	bool is_ready = bluez && bluez_state(bluez) == BLUEZ_STATE_READY;
	char error[ERROR_TEXT_BYTES];

	if (!bluez)
		return json_null();
	snprintf(error, sizeof(error), "%s%s", bluez_reason(bluez),
		 bluez_advice(bluez));
	return json_pack("{s:b, s:o, s:I}", "ready", is_ready, "error",
			 is_ready ? json_null() : json_text(error),
			 "adapters_powered",
			 (json_int_t)bluez_adapters_powered(bluez));
}

static json_t *metrics_json(const struct metrics *metrics)
{
	const char *listening_on = metrics_listening_on(metrics);
	struct error error = {""};
	bool is_failing = metrics_is_failing(metrics, &error);

	if (!listening_on && !is_failing)
		return json_null();
	return json_pack("{s:o, s:o}", "listening_on", json_text(listening_on),
			 "error",
			 is_failing ? json_text(error.text) : json_null());
}

static json_t *answer_status(const struct operation *operation,
			     struct control_client *client,
			     const char *argument)
{
	struct listing listing = {.operation = operation, .json = json_array()};

	if (!listing.json)
		return NULL;
	route_set_each(operation->routes, add_route, &listing);
	return json_pack("{s:b, s:s, s:I, s:s, s:I, s:o, s:o, s:o}", "ok", 1,
			 "version", BTGATE_VERSION, "pid", (json_int_t)getpid(),
			 "log_level", level_words[log_level()], "now_ms",
			 (json_int_t)loop_now_ms(), "bluetooth",
			 bluez_json(operation), "metrics",
			 metrics_json(operation->metrics), "routes",
			 listing.json);
}

/* ---- kick ------------------------------------------------------------------------ */

struct kick {
	const char *meant;
	const char *route;
	json_int_t count;
};

/* Only a port may follow, or a name: not the rest of an address. */
static bool is_host(const char *meant)
{
	return (strchr(meant, '.') && !strchr(meant, ':')) ||
	       (*meant && meant[strlen(meant) - 1] == ']');
}

/* "192.0.2.1" means "192.0.2.1 port 5" and "192.0.2.1:5". */
static bool is_peer(const char *peer, const char *meant)
{
	size_t bytes = strlen(meant);

	return *meant && strncasecmp(peer, meant, bytes) == 0 &&
	       (!peer[bytes] || peer[bytes] == ' ' ||
		(peer[bytes] == ':' && is_host(meant)));
}

static bool is_kicked(const struct client_status *client, void *arg)
{
	struct kick *kick = arg;
	char session[128];
	bool is_meant;

	snprintf(session, sizeof(session), "%s/%u", kick->route,
		 client->number);
	is_meant = strcmp(kick->meant, kick->route) == 0 ||
		   strcmp(kick->meant, session) == 0 ||
		   is_peer(client->peer, kick->meant);
	if (!is_meant)
		return false;
	kick->count++;
	log_info("route %s: session %u with %s is kicked", kick->route,
		 client->number, client->peer);
	return true;
}

static void kick_route(struct route *route, bool is_leaving, void *arg)
{
	struct kick *kick = arg;

	kick->route = route_config(route)->name;
	route_kick(route, is_kicked, kick);
}

static json_t *answer_kick(const struct operation *operation,
			   struct control_client *client, const char *argument)
{
	struct kick kick = {.meant = argument};

	route_set_each(operation->routes, kick_route, &kick);
	if (kick.count)
		return json_pack("{s:b, s:I}", "ok", 1, "count", kick.count);
	if (route_set_find(operation->routes, argument))
		return refuse("the route '%.100s' has no session", argument);
	return refuse("'%.100s' is no route, session (ROUTE/NUMBER) or peer "
		      "that there is; 'btgate status' lists them",
		      argument);
}

/* ---- routes, and the rest ------------------------------------------------------------ */

static json_t *refuse_route(const char *name)
{
	return refuse("there is no route '%.100s'; 'btgate status' lists them",
		      name);
}

static json_t *answer_enable(const struct operation *operation,
			     struct control_client *client,
			     const char *argument)
{
	struct route *route = route_set_find(operation->routes, argument);

	if (!route)
		return refuse_route(argument);
	if (route_set_is_stopping(operation->routes))
		return refuse("the gateway is stopping");
	route_enable(route);
	if (route_state(route) != ROUTE_STATE_WAITING)
		return json_pack("{s:b}", "ok", 1);
	return refuse("route %.100s waits: %s", argument, route_error(route));
}

static json_t *answer_disable(const struct operation *operation,
			      struct control_client *client,
			      const char *argument)
{
	struct route *route = route_set_find(operation->routes, argument);

	if (!route)
		return refuse_route(argument);
	route_disable(route);
	return json_pack("{s:b}", "ok", 1);
}

static json_t *answer_reload(const struct operation *operation,
			     struct control_client *client,
			     const char *argument)
{
	json_t *lines;
	int code;

	if (route_set_is_stopping(operation->routes))
		return refuse("the gateway is stopping");
	lines = json_array();
	code = lines ? operation->reload(lines, operation->arg) : -ENOMEM;
	return json_pack("{s:b, s:o}", "ok", code == 0, "lines", lines);
}

static json_t *answer_log_level(const struct operation *operation,
				struct control_client *client,
				const char *argument)
{
	struct error error = {""};
	int level = text_parse_word(argument, level_words, "a log level",
				    &error);

	if (level < 0)
		return refuse("%s", error.text);
	log_set_level((enum log_level)level);
	log_info("the log level is '%s' now", argument);
	return json_pack("{s:b}", "ok", 1);
}

static json_t *answer_trace(const struct operation *operation,
			    struct control_client *client, const char *argument)
{
	struct route *route = route_set_find(operation->routes, argument);

	if (!route)
		return refuse_route(argument);
	if (trace_feed_start(route_set_trace(operation->routes, argument),
			     client))
		return NULL;
	log_info("route %s: what passes is shown to a client (btgate trace)",
		 argument);
	return json_pack("{s:b}", "ok", 1);
}

static const struct {
	const char *name;
	bool has_argument;
	json_t *(*answer)(const struct operation *operation,
			  struct control_client *client, const char *argument);
} requests[] = {
	{"status", false, answer_status}, {"kick", true, answer_kick},
	{"enable", true, answer_enable},  {"disable", true, answer_disable},
	{"reload", false, answer_reload}, {"log-level", true, answer_log_level},
	{"trace", true, answer_trace},
};

json_t *operation_answer(struct control_client *client, json_t *request,
			 void *arg)
{
	const char *command = json_string_value(
		json_object_get(request, "command"));
	const char *argument = json_string_value(
		json_object_get(request, "argument"));

	if (!command)
		return refuse("the request has no \"command\"");
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		if (strcmp(command, requests[i].name) != 0)
			continue;
		if (requests[i].has_argument && !argument)
			return refuse("'%s' needs an \"argument\"", command);
		return requests[i].answer(arg, client, argument);
	}
	return refuse("this gateway knows no '%.100s'", command);
}
