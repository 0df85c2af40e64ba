/* SPDX-License-Identifier: MIT */
/* status: what the running gateway is doing. */
#include "command.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control_client.h"
#include "text.h"

#define WATCH_INTERVAL_MS 1000
/* ECMA-48: from the top, and what is below the end of a line or of all away. */
#define SCREEN_HOME "\033[H"
#define SCREEN_LINE_END "\033[K\n"
#define SCREEN_REST "\033[J"

/* One look at it, and the one before, for rates. */
struct view {
	const json_t *now;
	const json_t *before; /* NULL: none */
	const char *line_end;
};

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static long long number_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

/* ---- how it is ---------------------------------------------------------------- */

static bool is_up(const json_t *route)
{
	const char *state = text_of(route, "state");

	return state && (strcmp(state, "listening") == 0 ||
			 strcmp(state, "disabled") == 0 ||
			 strcmp(state, "leaving") == 0);
}

static bool is_away(const json_t *route)
{
	return number_of(json_object_get(route, "held"), "away");
}

/* All that is to listen does: routes, and the port for metrics. */
static bool is_healthy(const json_t *status, bool needs_links)
{
	const json_t *routes = json_object_get(status, "routes");

	if (text_of(json_object_get(status, "metrics"), "error"))
		return false;
	for (size_t i = 0; i < json_array_size(routes); i++) {
		const json_t *route = json_array_get(routes, i);

		if (!is_up(route) || (needs_links && is_away(route)))
			return false;
	}
	return json_is_true(json_object_get(status, "ok"));
}

/* ---- numbers for people --------------------------------------------------------- */

static void format_age(long long ms, char out[24])
{
	long long s = ms / 1000;

	if (s < 60)
		snprintf(out, 24, "%llds", s);
	else if (s < 3600)
		snprintf(out, 24, "%lldm%02llds", s / 60, s % 60);
	else if (s < 86400)
		snprintf(out, 24, "%lldh%02lldm", s / 3600, s / 60 % 60);
	else
		snprintf(out, 24, "%lldd%02lldh", s / 86400, s / 3600 % 24);
}

static void format_bytes(long long bytes, char out[24])
{
	static const char units[] = "kMGTPE";
	double value = (double)bytes / 1000;
	size_t unit = 0;

	if (bytes < 1000) {
		snprintf(out, 24, "%lld B", bytes);
		return;
	}
	while (value >= 999.95 && units[unit + 1]) {
		value /= 1000;
		unit++;
	}
	snprintf(out, 24, "%.1f %cB", value, units[unit]);
}

/* ---- sessions -------------------------------------------------------------------- */

static const json_t *find_route(const json_t *status, const char *name)
{
	const json_t *routes = json_object_get(status, "routes");

	for (size_t i = 0; i < json_array_size(routes); i++) {
		const json_t *route = json_array_get(routes, i);

		if (strcmp(text_of(route, "name"), name) == 0)
			return route;
	}
	return NULL;
}

static const json_t *find_session(const json_t *route, long long number)
{
	const json_t *sessions = json_object_get(route, "sessions");

	for (size_t i = 0; i < json_array_size(sessions); i++) {
		const json_t *session = json_array_get(sessions, i);

		if (number_of(session, "number") == number)
			return session;
	}
	return NULL;
}

/* Between the two looks; with one only, since the session began. */
static long long rate_of(const struct view *view, const json_t *route,
			 const json_t *session, const char *key)
{
	const json_t *old_route = view->before
					  ? find_route(view->before,
						       text_of(route, "name"))
					  : NULL;
	const json_t *old = old_route
				    ? find_session(old_route,
						   number_of(session, "number"))
				    : NULL;
	long long bytes = number_of(session, key);
	long long ms = number_of(session, "age_ms");

	if (old) {
		bytes -= number_of(old, key);
		ms -= number_of(old, "age_ms");
	}
	return ms > 0 ? bytes * 1000 / ms : 0;
}

static void print_flow(const struct view *view, const json_t *route,
		       const json_t *session, const char *key,
		       const char *where)
{
	char bytes[24], rate[24];

	format_bytes(number_of(session, key), bytes);
	format_bytes(rate_of(view, route, session, key), rate);
	printf(", %s %s (%s/s)", bytes, where, rate);
}

static void print_session(const struct view *view, const json_t *route,
			  const json_t *session)
{
	const char *peer = text_of(session, "peer");
	const char *name = text_of(session, "name");
	const char *target = text_of(session, "target");
	char quoted[TEXT_QUOTED_BYTES], age[24];

	format_age(number_of(session, "age_ms"), age);
	printf("    %s/%lld  %s", text_of(route, "name"),
	       number_of(session, "number"), text_printable(peer, quoted));
	if (name)
		printf(" \"%s\"", text_printable(name, quoted));
	if (!target) {
		printf(", connecting for %s%s", age, view->line_end);
		return;
	}
	printf(" with %s, %s", text_printable(target, quoted), age);
	print_flow(view, route, session, "bytes_to_target", "to target");
	print_flow(view, route, session, "bytes_to_client", "to client");
	printf("%s", view->line_end);
}

/* ---- routes ----------------------------------------------------------------------- */

/* What may be long: a path, or one of the gateway's own sentences. */
static void print_text(const char *text)
{
	for (; *text; text++)
		putchar((unsigned char)*text < ' ' || *text == 0x7f ? '?'
								    : *text);
}

static void print_sentence(const struct view *view, const char *what,
			   const char *text)
{
	printf("    %s: ", what);
	print_text(text);
	printf("%s", view->line_end);
}

/* Of some that something happened to: how many, and the last one. */
static void print_last(const struct view *view, const char *happened,
		       const json_t *last)
{
	char what[128], age[24], quoted[TEXT_QUOTED_BYTES];
	long long count = number_of(last, "count");

	if (!json_is_object(last))
		return;
	format_age(number_of(last, "age_ms"), age);
	snprintf(what, sizeof(what), "%s %lld, last %s ago %.72s", happened,
		 count, age, text_printable(text_of(last, "peer"), quoted));
	print_sentence(view, what, text_of(last, "reason"));
}

static void print_trace(const struct view *view, const json_t *trace)
{
	const char *error = text_of(trace, "error");

	if (!error)
		return;
	printf("    trace cannot be written to ");
	print_text(text_of(trace, "path"));
	printf(": ");
	print_text(error);
	printf("%s", view->line_end);
}

static void print_held(const struct view *view, const json_t *held)
{
	const long long up = number_of(held, "up");
	const long long away = number_of(held, "away");
	char what[80], age[24];

	if (!away)
		return;
	format_age(number_of(held, "away_ms"), age);
	snprintf(what, sizeof(what), "%lld of %lld held links away, for %s",
		 away, up + away, age);
	print_sentence(view, what, text_of(held, "error"));
}

static void print_route(const struct view *view, const json_t *route)
{
	const char *listening_on = text_of(route, "listening_on");
	const char *error = text_of(route, "error");
	const json_t *sessions = json_object_get(route, "sessions");

	printf("%s: %s, %s => %s%s", text_of(route, "name"),
	       text_of(route, "state"),
	       listening_on ? listening_on : text_of(route, "listen"),
	       text_of(route, "connect"), view->line_end);
	if (error)
		print_sentence(view, "error", error);
	print_held(view, json_object_get(route, "held"));
	print_trace(view, json_object_get(route, "trace"));
	print_last(view, "refused", json_object_get(route, "last_refusal"));
	print_last(view, "failed sessions",
		   json_object_get(route, "last_failure"));
	for (size_t i = 0; i < json_array_size(sessions); i++)
		print_session(view, route, json_array_get(sessions, i));
}

static void print_status(const struct view *view)
{
	const json_t *routes = json_object_get(view->now, "routes");
	const json_t *bluetooth = json_object_get(view->now, "bluetooth");
	const char *error = text_of(bluetooth, "error");
	const char *metrics = text_of(json_object_get(view->now, "metrics"),
				      "error");
	size_t sessions = 0, up = 0;

	for (size_t i = 0; i < json_array_size(routes); i++) {
		const json_t *route = json_array_get(routes, i);

		up += is_up(route);
		sessions += json_array_size(json_object_get(route, "sessions"));
	}
	printf("btgate %s, process %lld: %zu of %zu routes up, %zu session%s%s",
	       text_of(view->now, "version"), number_of(view->now, "pid"), up,
	       json_array_size(routes), sessions, sessions == 1 ? "" : "s",
	       view->line_end);
	if (error)
		print_sentence(view, "Bluetooth", error);
	if (metrics)
		print_sentence(view, "metrics", metrics);
	for (size_t i = 0; i < json_array_size(routes); i++)
		print_route(view, json_array_get(routes, i));
}

static int print_json(const json_t *status)
{
	if (json_dumpf(status, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII) < 0)
		return -1;
	printf("\n");
	return 0;
}

/* ---- the command --------------------------------------------------------------------- */

static int show(const struct command_options *options, const struct view *view)
{
	if (options->is_json)
		print_json(view->now);
	else if (!options->is_quiet)
		print_status(view);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "btgate: cannot write to standard output\n");
		return COMMAND_STATUS_FAILED;
	}
	return is_healthy(view->now, options->needs_links)
		       ? COMMAND_STATUS_OK
		       : COMMAND_STATUS_FAILED;
}

/* Until somebody ends it, or the gateway is gone. */
static int watch(const struct command_options *options,
		 struct control_client *client)
{
	const struct timespec interval = {.tv_sec = WATCH_INTERVAL_MS / 1000};
	bool is_screen = isatty(STDOUT_FILENO) && !options->is_json;
	struct view view = {
		.line_end = is_screen ? SCREEN_LINE_END : "\n",
	};
	json_t *before = NULL, *now;

	if (is_screen)
		printf(SCREEN_HOME SCREEN_REST);
	while ((now = control_client_ask(client, "status", NULL))) {
		view.now = now;
		view.before = before;
		if (is_screen)
			printf(SCREEN_HOME);
		show(options, &view);
		printf("%s", is_screen ? SCREEN_REST : "\n");
		if (fflush(stdout) != 0)
			break;
		json_decref(before);
		before = now;
		now = NULL;
		nanosleep(&interval, NULL);
	}
	json_decref(now);
	json_decref(before);
	return COMMAND_STATUS_FAILED;
}

int command_status(const struct command_options *options)
{
	struct control_client client;
	struct view view = {.line_end = "\n"};
	int status = COMMAND_STATUS_FAILED;
	json_t *now;

	if (control_client_open(&client, options)) {
		control_client_close(&client);
		return status;
	}
	if (options->is_watched) {
		status = watch(options, &client);
	} else {
		now = control_client_ask(&client, "status", NULL);
		view.now = now;
		if (now)
			status = show(options, &view);
		json_decref(now);
	}
	control_client_close(&client);
	return status;
}
