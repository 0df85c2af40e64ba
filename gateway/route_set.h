/* SPDX-License-Identifier: MIT */
/*
 * The routes that run, with the entrances that they are behind, and their
 * exchange for others: what is not different is left alone.
 *
 * Knows which routes there are and what each may take over from one that goes;
 * does not know where a configuration comes from, nor bluetoothd.
 */
#ifndef BTGATE_ROUTE_SET_H
#define BTGATE_ROUTE_SET_H

#include <stdbool.h>
#include <stddef.h>

struct address_bluetooth;
struct address_uuid;
struct bluez;
struct config;
struct loop;
struct publisher;
struct route;
struct route_change;
struct route_set;
struct trace;

/* All routes of a set that stops have stopped, those that left before, too. */
typedef void (*route_set_stopped_cb)(void *arg);

/* Empty. NULL with errno set. */
struct route_set *route_set_new(struct loop *loop, route_set_stopped_cb stopped,
				void *arg);
/* Cuts off what sessions are left. NULL is legal. */
void route_set_free(struct route_set *set);

/* ---- other routes --------------------------------------------------------- */

/*
 * Everything that it takes to have the routes of @config instead, made ready,
 * and nothing changed yet. A route is the same if its name and all that it says
 * are; one that has changed is a new one, which takes over the listener of the
 * old one if that can stay. @bluez and @publisher are those of new routes, as
 * for route_new and entrance_new. Its trace is not a part of a route: it stays
 * with the name, and can be another without any session noticing. NULL with
 * errno set.
 */
struct route_change *route_change_new(struct route_set *set,
				      struct config *config,
				      struct bluez *bluez,
				      struct publisher *publisher);
/*
 * Do it: takes the routes' contents out of the config, which is to be freed
 * by its owner all the same. Routes that are gone let go of their listeners and
 * drain, for drain-timeout and a little; new ones start. Frees the change, as
 * the other does without doing it.
 */
void route_change_commit(struct route_change *change);
void route_change_free(struct route_change *change);

enum route_difference {
	ROUTE_IS_SAME,
	ROUTE_IS_ADDED,
	ROUTE_IS_CHANGED,
	ROUTE_IS_REMOVED,
	ROUTE_IS_RETRACED, /* the same, with another trace */
	ROUTE_DIFFERENCES,
};

const char *route_difference_to_string(enum route_difference difference);

typedef void (*route_difference_cb)(const char *route,
				    enum route_difference difference,
				    void *arg);
/* Each route before or after: those of the file in its order, then removed. */
void route_change_list(const struct route_change *change,
		       route_difference_cb cb, void *arg);

/*
 * Whether one of them offers the service to the device at @address; @name is
 * that of a paired device, or NULL.
 */
bool route_set_offers(const struct route_set *set,
		      const struct address_uuid *uuid,
		      const struct address_bluetooth *address,
		      const char *name);

/* ---- all of them ---------------------------------------------------------- */

/* Those that are to be there: without any that still drains. */
size_t route_set_count(const struct route_set *set);
/* How many of them failed for a reason that does not mend itself. */
size_t route_set_hopeless(const struct route_set *set);
typedef void (*route_set_cb)(struct route *route, bool is_leaving, void *arg);
/* Each, in the order of the configuration, then those that still drain. */
void route_set_each(struct route_set *set, route_set_cb cb, void *arg);
/* NULL: none of that name, that is to be there. */
struct route *route_set_find(const struct route_set *set, const char *name);
/* Its trace, which stays when the route is changed; NULL: there is none such. */
struct trace *route_set_trace(const struct route_set *set, const char *name);
/*
 * Something came or went: who listens at an adapter that is not meant any more
 * leaves it, and all who wait try at once.
 */
void route_set_retry(struct route_set *set);
/* From route_set_stop on: nothing may be started any more. */
bool route_set_is_stopping(const struct route_set *set);
/* Stop all, and call back once the last one has (from the loop). */
void route_set_stop(struct route_set *set);
/* Cut what still drains. */
void route_set_abort(struct route_set *set);
/* The longest drain-timeout. */
unsigned int route_set_drain_ms(const struct route_set *set);

#endif
