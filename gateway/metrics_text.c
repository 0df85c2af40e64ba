/* SPDX-License-Identifier: MIT */
#include "metrics_text.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>

#include "clients.h"
#include "config.h"
#include "entrance.h"
#include "hold.h"
#include "route.h"
#include "route_set.h"
#include "session.h"

static const char *const outcome_words[SESSION_OUTCOMES] = {
	[SESSION_OUTCOME_CLOSED] = "closed",
	[SESSION_OUTCOME_BROKEN] = "broken",
	[SESSION_OUTCOME_GAP] = "gap",
	[SESSION_OUTCOME_IDLE] = "idle",
	[SESSION_OUTCOME_REPLACED] = "replaced",
	[SESSION_OUTCOME_STOPPED] = "stopped",
	[SESSION_OUTCOME_RESOURCES] = "resources",
};

static const char *const refusal_words[CLIENT_REFUSALS] = {
	[CLIENT_REFUSAL_BUSY] = "busy",
	[CLIENT_REFUSAL_TARGET] = "target",
	[CLIENT_REFUSAL_REPLACED] = "replaced",
	[CLIENT_REFUSAL_RESOURCES] = "resources",
};

static const char *const door_words[DOOR_REFUSALS] = {
	[DOOR_REFUSAL_STRANGER] = "stranger",
	[DOOR_REFUSAL_DOWN] = "down",
	[DOOR_REFUSAL_UNBONDED] = "unpaired",
	[DOOR_REFUSAL_UNFINISHED] = "unfinished",
};

/* One metric of all routes: Prometheus wants the lines of one together. */
struct family {
	const char *name;
	const char *type;
	const char *help;
	/* The lines of one route, whose name is safe in quotes. */
	void (*print)(FILE *file, const char *name, const char *route_name,
		      const struct route *route);
};

static void print_state(FILE *file, const char *name, const char *route_name,
			const struct route *route)
{
	for (int state = ROUTE_STATE_STOPPED; state <= ROUTE_STATE_STOPPING;
	     state++)
		fprintf(file, "%s{route=\"%s\",state=\"%s\"} %d\n", name,
			route_name,
			route_state_to_string((enum route_state)state),
			route_state(route) == (enum route_state)state);
}

static void print_retries(FILE *file, const char *name, const char *route_name,
			  const struct route *route)
{
	fprintf(file, "%s{route=\"%s\"} %" PRIu64 "\n", name, route_name,
		route_retries(route));
}

static void print_held(FILE *file, const char *name, const char *route_name,
		       const struct route *route)
{
	struct hold_status held;

	if (!route_held(route, &held))
		return;
	fprintf(file, "%s{route=\"%s\",state=\"up\"} %u\n", name, route_name,
		held.up);
	fprintf(file, "%s{route=\"%s\",state=\"away\"} %u\n", name, route_name,
		held.away);
}

static void print_redials(FILE *file, const char *name, const char *route_name,
			  const struct route *route)
{
	struct hold_status held;

	if (route_held(route, &held))
		fprintf(file, "%s{route=\"%s\"} %" PRIu64 "\n", name,
			route_name, held.redials);
}

static void print_open(FILE *file, const char *name, const char *route_name,
		       const struct route *route)
{
	fprintf(file, "%s{route=\"%s\"} %u\n", name, route_name,
		route_totals(route).open);
}

static void print_sessions(FILE *file, const char *name, const char *route_name,
			   const struct route *route)
{
	fprintf(file, "%s{route=\"%s\"} %" PRIu64 "\n", name, route_name,
		route_totals(route).sessions);
}

static void print_ends(FILE *file, const char *name, const char *route_name,
		       const struct route *route)
{
	const struct client_totals totals = route_totals(route);

	for (size_t i = 0; i < SESSION_OUTCOMES; i++)
		fprintf(file, "%s{route=\"%s\",reason=\"%s\"} %" PRIu64 "\n",
			name, route_name, outcome_words[i], totals.ends[i]);
}

static void print_refusals(FILE *file, const char *name, const char *route_name,
			   const struct route *route)
{
	const struct client_totals totals = route_totals(route);

	for (size_t i = 0; i < CLIENT_REFUSALS; i++)
		fprintf(file, "%s{route=\"%s\",reason=\"%s\"} %" PRIu64 "\n",
			name, route_name, refusal_words[i], totals.refusals[i]);
	for (size_t i = 0; i < DOOR_REFUSALS; i++)
		fprintf(file, "%s{route=\"%s\",reason=\"%s\"} %" PRIu64 "\n",
			name, route_name, door_words[i],
			route_refusals_at_door(route, (enum door_refusal)i));
}

static void print_delivered(FILE *file, const char *name,
			    const char *route_name, const struct route *route)
{
	const struct client_totals totals = route_totals(route);

	fprintf(file, "%s{route=\"%s\",to=\"target\"} %" PRIu64 "\n", name,
		route_name, totals.up_bytes);
	fprintf(file, "%s{route=\"%s\",to=\"client\"} %" PRIu64 "\n", name,
		route_name, totals.down_bytes);
}

static void print_lost(FILE *file, const char *name, const char *route_name,
		       const struct route *route)
{
	fprintf(file, "%s{route=\"%s\"} %" PRIu64 "\n", name, route_name,
		route_totals(route).lost_bytes);
}

static const struct family families[] = {
	{"btgate_route_state", "gauge",
	 "Which state the route is in: 1 for that one.", print_state},
	{"btgate_route_retries_total", "counter",
	 "How often the route tried again to have both its ends.",
	 print_retries},
	{"btgate_held_links", "gauge",
	 "Links that a route with hold keeps, and those it dials again.",
	 print_held},
	{"btgate_held_link_redials_total", "counter",
	 "How often links that a route with hold keeps were dialled again.",
	 print_redials},
	{"btgate_sessions", "gauge", "Sessions that are open.", print_open},
	{"btgate_sessions_total", "counter", "Sessions that began.",
	 print_sessions},
	{"btgate_session_ends_total", "counter",
	 "Sessions that ended, and how.", print_ends},
	{"btgate_refusals_total", "counter",
	 "Clients that were refused, and why.", print_refusals},
	{"btgate_delivered_bytes_total", "counter",
	 "Bytes that were delivered to an end.", print_delivered},
	{"btgate_lost_bytes_total", "counter",
	 "Bytes that were read and could not be delivered.", print_lost},
};

#define FAMILIES (sizeof(families) / sizeof(families[0]))

struct printing {
	FILE *file;
	const struct family *family;
};

/* A changed route has the name of the one that drains: one line for both. */
static void print_route(struct route *route, bool is_leaving, void *arg)
{
	const struct printing *printing = arg;
	const struct family *family = printing->family;

	if (!is_leaving)
		family->print(printing->file, family->name,
			      route_config(route)->name, route);
}

void metrics_text_print(struct route_set *routes, double started_s, FILE *file)
{
	fputs("# HELP btgate_build_info Which btgate this is.\n"
	      "# TYPE btgate_build_info gauge\n"
	      "btgate_build_info{version=\"" BTGATE_VERSION "\"} 1\n",
	      file);
	fprintf(file,
		"# HELP process_start_time_seconds When the gateway started, "
		"since the epoch.\n"
		"# TYPE process_start_time_seconds gauge\n"
		"process_start_time_seconds %.3f\n",
		started_s);
	for (size_t i = 0; i < FAMILIES; i++) {
		struct printing printing = {file, &families[i]};

		fprintf(file, "# HELP %s %s\n# TYPE %s %s\n", families[i].name,
			families[i].help, families[i].name, families[i].type);
		route_set_each(routes, print_route, &printing);
	}
}
