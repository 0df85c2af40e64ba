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

struct bluez;
struct config_route;
struct entrance;
struct loop;
struct route;

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
 * @entrance and @bluez (NULL where no end of any route is Bluetooth) must
 * outlive it. NULL with errno set.
 */
struct route *route_new(struct loop *loop, const struct config_route *config,
			struct entrance *entrance, struct bluez *bluez,
			route_stopped_cb stopped, void *arg);
/* Its sessions must have ended: route_abort and loop_flush. NULL is legal. */
void route_free(struct route *route);

/* Listen, or wait for what is missing. */
void route_start(struct route *route);
/* Try at once what is waited for: an adapter came. */
void route_retry(struct route *route);
/* No new clients, drain the sessions, then call back (from the loop). */
void route_stop(struct route *route);
/* The same, and it is no more behind its entrance: for good. */
void route_leave(struct route *route);
/* Put it behind all others of its entrance, as door_move_last. */
void route_move_last(struct route *route);
/* Cut what still drains. */
void route_abort(struct route *route);

enum route_state route_state(const struct route *route);
/* Whether the last attempt failed for a reason that does not mend itself. */
bool route_is_hopeless(const struct route *route);

#endif
