/* SPDX-License-Identifier: MIT */
/*
 * One route: listens at one end, admits clients by reaching the other, relays
 * each as a session, publishes its service. What cannot be had now is tried
 * again.
 *
 * Knows the life of a route and its limits; does not know kinds of endpoints.
 * Logs one line per state change, one per refusal, one per session end.
 */
#ifndef BTGATE_ROUTE_H
#define BTGATE_ROUTE_H

#include <stdbool.h>

#include "clients.h"
#include "entrance.h"
#include "mishap.h"

struct bluez;
struct config_route;
struct hold_status;
struct loop;
struct route;
struct trace;

enum route_state {
	ROUTE_STATE_STOPPED,
	ROUTE_STATE_WAITING, /* an end cannot be had now; tried again */
	ROUTE_STATE_LISTENING,
	ROUTE_STATE_STOPPING, /* no new clients; sessions drain */
};

const char *route_state_to_string(enum route_state state);

/* The last session of a stopping route has ended: it is STOPPED. */
typedef void (*route_stopped_cb)(struct route *route, void *arg);

/*
 * A route in state STOPPED, the next one behind its @entrance. @config,
 * @entrance, @bluez (NULL where no end of any route is Bluetooth) and @trace
 * must outlive it. NULL with errno set.
 */
struct route *route_new(struct loop *loop, const struct config_route *config,
			struct entrance *entrance, struct bluez *bluez,
			struct trace *trace, route_stopped_cb stopped,
			void *arg);
/* Its sessions must have ended: route_abort and loop_flush. NULL is legal. */
void route_free(struct route *route);

/* Listen, or wait for what is missing. */
void route_start(struct route *route);
/*
 * Something came or went: what listens where it should not any more waits, its
 * sessions untouched. For all routes of an entrance before route_retry for any.
 */
void route_check(struct route *route);
/* Try at once what is waited for: an adapter came. */
void route_retry(struct route *route);
/* No new clients, drain the sessions, then call back (from the loop). */
void route_stop(struct route *route);
/* The same, and it is no more behind its entrance: for good. */
void route_leave(struct route *route);
/* Put it behind all others of its entrance, as door_move_last. */
void route_move_last(struct route *route);
/*
 * Stop, and let go of the target once the last session has ended: others may
 * have its port. Stays so until it is enabled, whatever else is asked of it.
 */
void route_disable(struct route *route);
void route_enable(struct route *route);
bool route_is_disabled(const struct route *route);
/* Cut what still drains. */
void route_abort(struct route *route);

enum route_state route_state(const struct route *route);
const struct config_route *route_config(const struct route *route);
/* What it has to say of itself; NULL: it does not listen now. */
const char *route_listening_on(const struct route *route);
/* Why it waits, and what to do; NULL: it does not. */
const char *route_error(const struct route *route);
/* False: it holds none (hold=), or has no connect end now. */
bool route_held(const struct route *route, struct hold_status *out);
void route_each_client(const struct route *route, client_status_cb cb,
		       void *arg);
/* As clients_kick. */
void route_kick(struct route *route,
		bool (*is_meant)(const struct client_status *client, void *arg),
		void *arg);
struct client_totals route_totals(const struct route *route);
/* Whom its door did not let in (entrance.h). */
uint64_t route_refusals_at_door(const struct route *route,
				enum door_refusal why);
/* How often it tried again to have both its ends. */
uint64_t route_retries(const struct route *route);
/* All who were refused, at its door and behind it. */
struct mishap route_refusals(const struct route *route);
/* As clients_failures. */
const struct mishap *route_failures(const struct route *route);
/* Whether the last attempt failed for a reason that does not mend itself. */
bool route_is_hopeless(const struct route *route);

#endif
