/* SPDX-License-Identifier: MIT */
/*
 * One listener and the routes behind it: who comes is taken by the first of
 * them, in file order, whose peers it is among, whether that one is up or not.
 * It is open as long as one of them is, and published once: the routes of one
 * entrance have one service (config_check.c), and phones see one of it.
 *
 * Where names are among the peers, and where whoever comes has to be paired for
 * good (security = medium, unless pairing = always), one who is not waits for a
 * while: bluetoothd may be about to say that it is.
 *
 * Knows listeners, peers and the service record; does not know limits,
 * targets, or what becomes of a client. Logs whom it turns away, once for each
 * device as long as it remembers it, and what becomes of the record.
 */
#ifndef BTGATE_ENTRANCE_H
#define BTGATE_ENTRANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "endpoint.h"

struct bluez;
struct config_route;
struct door;
struct entrance;
struct error;
struct loop;
struct mishap;
struct publisher;

/*
 * Closed. @first, the first of its routes, @bluez (NULL: no names of devices)
 * and @publisher (NULL: no record) must outlive it. NULL with errno set.
 */
struct entrance *entrance_new(struct loop *loop,
			      const struct config_route *first,
			      struct bluez *bluez, struct publisher *publisher);
/* Its doors must have been freed. NULL is legal. */
void entrance_free(struct entrance *entrance);

/* Whether no door is left. */
bool entrance_is_empty(const struct entrance *entrance);
/* The channel or PSM that it has now; 0: none. */
uint16_t entrance_port(const struct entrance *entrance);

/*
 * While its routes are exchanged: what listens now goes on although all doors
 * are closed, until entrance_let_go.
 */
void entrance_hold(struct entrance *entrance);
void entrance_let_go(struct entrance *entrance);
/*
 * Another route is its first from now on, with the same listener
 * (config_listener_is_same). Its service is published anew if it has changed.
 */
void entrance_set_first(struct entrance *entrance,
			const struct config_route *first);

/*
 * The place of one more route, closed; the order of these calls is the file's.
 * @client_cb is for those it takes while it is open. NULL with errno set.
 */
struct door *door_new(struct entrance *entrance,
		      const struct config_route *route,
		      listener_client_cb client_cb, void *arg);
/* Closes it. NULL is legal. */
void door_free(struct door *door);
/* Put it behind all others: for each of them in turn, a new order. */
void door_move_last(struct door *door);

/* Whom a door did not let in: nobody's client yet, or that of a route that is off. */
enum door_refusal {
	DOOR_REFUSAL_STRANGER, /* not among the peers or clients of any route */
	DOOR_REFUSAL_DOWN, /* the route that is for it was not up */
	DOOR_REFUSAL_UNBONDED, /* it had to be paired for good */
	DOOR_REFUSAL_UNFINISHED, /* its link, pairing or TLS was not */
};

#define DOOR_REFUSALS (DOOR_REFUSAL_UNFINISHED + 1)

/* How many; those who were no route's are counted at the first door. */
uint64_t door_refusals(const struct door *door, enum door_refusal why);
/* All of them, and the last one, with what to do about it. */
const struct mishap *door_last_refusal(const struct door *door);

/* Errors as for listener_open; an open door stays so. */
int door_open(struct door *door, struct error *error);
void door_close(struct door *door);
/*
 * Of an open one: 0, or as for listener_check; then all doors of the entrance
 * have to be closed before one is opened again.
 */
int door_check(const struct door *door, struct error *error);
/* What is listened on, for people; only while it is open. */
const char *door_name(const struct door *door);

#endif
