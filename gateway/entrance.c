/* SPDX-License-Identifier: MIT */
#include "entrance.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "address_network.h"
#include "address_peer.h"
#include "bluez.h"
#include "config.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "mishap.h"
#include "publish.h"
#include "refusals.h"
#include "sdp.h"

/*
 * A phone that pairs on its way in is here before bluetoothd has said so (0.1 s
 * later in an emulated machine, BlueZ 5.66): how long to wait for its name, and,
 * because without that it is not let in at all, for its bond.
 */
#define NAME_WAIT_MS 3000
#define BOND_WAIT_MS 10000
#define POLL_MS 50
/* Each has a descriptor; further ones are as they are known now. */
#define STRANGERS_MAX 64

TAILQ_HEAD(door_list, door);
TAILQ_HEAD(stranger_list, stranger);

struct door {
	TAILQ_ENTRY(door) link;
	struct entrance *entrance;
	const struct config_route *route;
	bool is_open;
	uint64_t refusals[DOOR_REFUSALS];
	struct mishap refused; /* all of them */
	listener_client_cb client_cb;
	void *arg;
};

/* A client of whom bluetoothd has not said yet what matters. */
struct stranger {
	TAILQ_ENTRY(stranger) link;
	struct entrance *entrance;
	struct stream *client;
	struct event *timer;
	uint64_t came_ms;
};

struct entrance {
	struct loop *loop;
	const struct config_route *first;
	struct bluez *bluez;
	struct publisher *publisher;
	struct door_list doors;
	unsigned int open_count; /* doors, and one if it is held */
	bool is_held;
	struct listener *listener; /* NULL: no door is open */
	struct publication *publication;
	bool has_said_waiting; /* of its record, and it was not up since */
	bool has_said_unasked; /* that phones are served without bluetoothd */
	struct stranger_list strangers;
	unsigned int stranger_count;
	struct refusals refusals;
};

/* ---- whom to take ----------------------------------------------------------- */

static const char *entrance_peer_name(const struct entrance *entrance,
				      const struct stream *client)
{
	if (!entrance->bluez || !client->has_peer_address)
		return NULL;
	return bluez_paired_name(entrance->bluez, &entrance->first->adapter,
				 &client->peer_address);
}

static bool entrance_can_ask(const struct entrance *entrance)
{
	return entrance->bluez &&
	       bluez_state(entrance->bluez) == BLUEZ_STATE_READY;
}

static bool door_is_for_ip(const struct door *door, const struct stream *client)
{
	const struct address_networks *networks = &door->route->clients;

	return !networks->count ||
	       (client->has_peer_ip &&
		address_networks_has(networks, &client->peer_ip));
}

/*
 * While names are not known, a device may be one that a route names: then no
 * later route is to take it for another.
 */
static struct door *entrance_find_door(const struct entrance *entrance,
				       const struct stream *client,
				       const char *name)
{
	struct door *door;

	for (door = TAILQ_FIRST(&entrance->doors); door;
	     door = TAILQ_NEXT(door, link)) {
		const struct address_peers *peers = &door->route->peers;

		if (!door_is_for_ip(door, client))
			continue;
		if (!peers->count ||
		    (client->has_peer_address &&
		     address_peers_has(peers, &client->peer_address, name)))
			return door;
		if (address_peers_has_names(peers) &&
		    !entrance_can_ask(entrance))
			return NULL;
	}
	return NULL;
}

/* Whether a name could have made a difference: for a door before @found. */
static bool entrance_asks_name(const struct entrance *entrance,
			       const struct door *found)
{
	const struct door *door;

	for (door = TAILQ_FIRST(&entrance->doors); door && door != found;
	     door = TAILQ_NEXT(door, link))
		if (address_peers_has_names(&door->route->peers))
			return true;
	return false;
}

/* What is to be said of the name of somebody whom no route takes. */
static void entrance_format_name(const struct entrance *entrance,
				 const char *name, char *text, size_t bytes)
{
	text[0] = '\0';
	if (!entrance_asks_name(entrance, NULL))
		return;
	if (name)
		snprintf(text, bytes, "; its name is \"%s\"", name);
	else if (entrance_can_ask(entrance))
		snprintf(text, bytes,
			 "; it is not paired, and goes by its "
			 "address alone");
	else
		snprintf(text, bytes, "; names of devices are not known: %s",
			 entrance->bluez ? bluez_reason(entrance->bluez)
					 : "no bluetoothd");
}

/* What is known of the bond that a client has to have. */
enum bond {
	BOND_NEEDLESS, /* it need not have one */
	BOND_UNKNOWN, /* without bluetoothd nobody can be told apart */
	BOND_MISSING,
	BOND_THERE,
};

/*
 * Medium is also met by whoever asks to pair for this one link: that the kernel
 * lets anybody, with nobody asked and whatever Pairable says
 * (hci_io_capa_request_evt, 6.12). Above medium somebody has compared a number.
 */
static enum bond entrance_bond(const struct entrance *entrance,
			       const struct stream *client)
{
	if (!entrance->bluez || !client->has_peer_address ||
	    entrance->first->security != SECURITY_LEVEL_MEDIUM ||
	    bluez_lets_pair(entrance->bluez))
		return BOND_NEEDLESS;
	if (!entrance_can_ask(entrance))
		return BOND_UNKNOWN;
	return bluez_is_bonded(entrance->bluez, &entrance->first->adapter,
			       &client->peer_address)
		       ? BOND_THERE
		       : BOND_MISSING;
}

/*
 * Why @client does not get in by @door, which is for it, if any is;
 * DOOR_REFUSALS: it does, also where its bond is not known: phones are served.
 */
static enum door_refusal entrance_refusal(const struct entrance *entrance,
					  const struct stream *client,
					  const struct door *door)
{
	if (!door)
		return DOOR_REFUSAL_STRANGER;
	if (!door->is_open)
		return DOOR_REFUSAL_DOWN;
	return entrance_bond(entrance, client) == BOND_MISSING
		       ? DOOR_REFUSAL_UNBONDED
		       : DOOR_REFUSALS;
}

/* Why, and what to do about it; @name: the client's, if it is known. */
static void entrance_format_refusal(const struct entrance *entrance,
				    enum door_refusal why, const char *name,
				    struct error *error)
{
	char about[ERROR_TEXT_BYTES];

	switch (why) {
	case DOOR_REFUSAL_STRANGER:
		entrance_format_name(entrance, name, about, sizeof(about));
		error_set(error, 0,
			  "it is not among the %s of any route (to let it in, "
			  "add it to one's)%s",
			  entrance->first->clients.count ? "clients" : "peers",
			  about);
		break;
	case DOOR_REFUSAL_DOWN:
		error_set(error, 0, "the route is not up");
		break;
	case DOOR_REFUSAL_UNBONDED:
		error_set(error, 0,
			  "it is not paired with this machine, or not for "
			  "longer than this one link; 'btgate pair --for 2m' "
			  "lets it (pairing = window)");
		break;
	case DOOR_REFUSAL_UNFINISHED: /* the listener tells of them */
		break;
	}
}

/* @door: for whose route it is, if for any. */
static void entrance_log_refusal(const struct entrance *entrance,
				 const struct stream *client,
				 const struct door *door,
				 const struct error *error)
{
	if (door)
		log_warning("route %s: refused %s: %s; it is not mentioned "
			    "again",
			    door->route->name, client->peer, error->text);
	else
		log_warning("%s: refused %s: %s; it is not mentioned again",
			    entrance->listener->name, client->peer,
			    error->text);
}

/* @door: for whose route it is, if for any. */
static void entrance_turn_away(struct entrance *entrance, struct stream *client,
			       enum door_refusal why, struct door *door,
			       const char *name)
{
	struct door *counts = door ? door : TAILQ_FIRST(&entrance->doors);
	struct error error = {""};
	char reason[96];

	entrance_format_refusal(entrance, why, name, &error);
	if (counts) {
		counts->refusals[why]++;
		mishap_note(&counts->refused, client->peer, error.text);
	}
	/* What it is remembered by: for another reason it is told again. */
	snprintf(reason, sizeof(reason), "%d %s", (int)why,
		 door ? door->route->name : "");
	if (refusals_remember(&entrance->refusals, refusals_key(client),
			      reason))
		entrance_log_refusal(entrance, client, door, &error);
	else
		log_debug("%s: refused %s, as before", entrance->listener->name,
			  client->peer);
	/* It has not been told that it is connected, and will not be. */
	stream_close(client, STREAM_CLOSE_ABORT);
}

/* The open door that is for @client; NULL: none, and it was turned away. */
static const struct door *entrance_choose(struct entrance *entrance,
					  struct stream *client)
{
	const char *name = entrance_peer_name(entrance, client);
	struct door *door = entrance_find_door(entrance, client, name);
	enum door_refusal why = entrance_refusal(entrance, client, door);

	if (why == DOOR_REFUSALS)
		return door;
	entrance_turn_away(entrance, client, why, door, name);
	return NULL;
}

/* Who is let in is as paired as the kernel has it, and nobody can tell. */
static void entrance_say_unasked(struct entrance *entrance,
				 const struct stream *client)
{
	enum bond bond = entrance_bond(entrance, client);

	if (bond == BOND_NEEDLESS)
		return;
	if (bond == BOND_UNKNOWN && !entrance->has_said_unasked)
		log_warning("%s: whether %s and others are paired for good "
			    "cannot be told, and they are let in: %s",
			    entrance->listener->name, client->peer,
			    bluez_reason(entrance->bluez));
	entrance->has_said_unasked = bond == BOND_UNKNOWN;
}

static bool entrance_let_in(struct stream *client, void *arg)
{
	return entrance_choose(arg, client);
}

static void entrance_take(struct entrance *entrance, struct stream *client)
{
	const struct door *door = entrance_choose(entrance, client);

	if (!door)
		return;
	entrance_say_unasked(entrance, client);
	refusals_forget(&entrance->refusals, refusals_key(client));
	door->client_cb(client, door->arg);
}

/* ---- phones that have just paired -------------------------------------------- */

static bool entrance_wants_name(const struct entrance *entrance,
				const struct stream *client,
				const struct door *door)
{
	return client->has_peer_address && entrance_can_ask(entrance) &&
	       !entrance_peer_name(entrance, client) &&
	       entrance_asks_name(entrance, door);
}

static bool entrance_wants_bond(const struct entrance *entrance,
				const struct stream *client,
				const struct door *door)
{
	if (!door || !door->is_open)
		return false;
	switch (entrance_bond(entrance, client)) {
	case BOND_MISSING:
		return true;
	case BOND_UNKNOWN: /* a restart of bluetoothd passes, too */
		return !bluez_is_settled(entrance->bluez);
	case BOND_NEEDLESS:
	case BOND_THERE:
		break;
	}
	return false;
}

/*
 * The shortest connect-timeout of those that a client may get: @found, and while
 * its name is not known the earlier ones that name any.
 */
static unsigned int entrance_timeout_ms(const struct entrance *entrance,
					const struct door *found,
					const char *name)
{
	unsigned int timeout_ms = found ? found->route->connect_timeout_ms
					: UINT_MAX;
	const struct door *door;

	for (door = TAILQ_FIRST(&entrance->doors);
	     !name && door && door != found; door = TAILQ_NEXT(door, link))
		if (address_peers_has_names(&door->route->peers) &&
		    door->route->connect_timeout_ms < timeout_ms)
			timeout_ms = door->route->connect_timeout_ms;
	return timeout_ms;
}

/* Whether it waits still: a quarter of connect-timeout is left for the target. */
static bool entrance_waits(const struct entrance *entrance,
			   const struct stream *client)
{
	const char *name = entrance_peer_name(entrance, client);
	const struct door *door = entrance_find_door(entrance, client, name);

	if (client->waited_ms >=
	    entrance_timeout_ms(entrance, door, name) / 4 * 3)
		return false;
	return (client->waited_ms < NAME_WAIT_MS &&
		entrance_wants_name(entrance, client, door)) ||
	       (client->waited_ms < BOND_WAIT_MS &&
		entrance_wants_bond(entrance, client, door));
}

/* Gives its client back. */
static struct stream *stranger_free(struct stranger *stranger)
{
	struct stream *client = stranger->client;

	TAILQ_REMOVE(&stranger->entrance->strangers, stranger, link);
	stranger->entrance->stranger_count--;
	if (stranger->timer)
		event_free(stranger->timer);
	free(stranger);
	return client;
}

static void stranger_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct stranger *stranger = arg;
	struct entrance *entrance = stranger->entrance;

	stranger->client->waited_ms = (unsigned int)(loop_now_ms() -
						     stranger->came_ms);
	if (stream_has_given_up(stranger->client)) {
		log_info("%s: %s left before it was let in",
			 entrance->listener->name, stranger->client->peer);
		stream_close(stranger_free(stranger), STREAM_CLOSE_ABORT);
		return;
	}
	if (entrance_waits(entrance, stranger->client) &&
	    loop_start_timer(stranger->timer, POLL_MS) == 0)
		return;
	entrance_take(entrance, stranger_free(stranger));
}

/* 0, or -errno with the client left to the caller. */
static int entrance_await(struct entrance *entrance, struct stream *client)
{
	struct stranger *stranger;

	if (entrance->stranger_count == STRANGERS_MAX)
		return -EBUSY;
	stranger = calloc(1, sizeof(*stranger));
	if (!stranger)
		return -ENOMEM;
	stranger->entrance = entrance;
	stranger->client = client;
	stranger->came_ms = loop_now_ms();
	TAILQ_INSERT_TAIL(&entrance->strangers, stranger, link);
	entrance->stranger_count++;
	stranger->timer = evtimer_new(entrance->loop->base, stranger_timeout,
				      stranger);
	if (stranger->timer && loop_start_timer(stranger->timer, POLL_MS) == 0)
		return 0;
	stranger_free(stranger);
	return -ENOMEM;
}

static void entrance_client(struct stream *client, void *arg)
{
	struct entrance *entrance = arg;

	if (entrance_waits(entrance, client) &&
	    entrance_await(entrance, client) == 0)
		return;
	entrance_take(entrance, client);
}

/* ---- the service record --------------------------------------------------------- */

static void entrance_published(struct publication *publication,
			       enum publication_state state, const char *detail,
			       void *arg)
{
	struct entrance *entrance = arg;
	const char *name = entrance->first->name;

	switch (state) {
	case PUBLICATION_STATE_WAITING:
		if (entrance->has_said_waiting)
			break;
		entrance->has_said_waiting = true;
		/* The publisher has said why, once for all routes. */
		log_info("route %s: service record waits; phones can still "
			 "connect to %s by number",
			 name, entrance->listener->name);
		break;
	case PUBLICATION_STATE_ASKED:
		log_debug("route %s: service record: %s", name, detail);
		break;
	case PUBLICATION_STATE_UP:
		entrance->has_said_waiting = false;
		log_info("route %s: service record up: %s", name, detail);
		break;
	}
}

static void entrance_publish(struct entrance *entrance)
{
	const struct config_route *config = entrance->first;
	const struct sdp_service service = {
		.protocol = entrance->listener->protocol,
		.port = entrance->listener->port,
		.uuid = config->service_uuid,
		.name = config->service_name,
	};

	if (service.protocol == SERVICE_PROTOCOL_NONE || !entrance->publisher)
		return;
	entrance->has_said_waiting = false;
	entrance->publication = publication_new(entrance->publisher, &service,
						entrance_published, entrance);
	if (!entrance->publication)
		log_error("route %s: cannot publish its service record: %s; "
			  "phones can connect by channel only",
			  config->name, strerror(errno));
}

/* ---- opening and closing --------------------------------------------------------- */

static int entrance_open(struct entrance *entrance, struct error *error)
{
	const struct config_route *config = entrance->first;
	const struct endpoint_settings settings = {
		.adapter = config->adapter,
		.security = config->security,
		.reserved_ports = config->reserved_ports,
		.bluez = entrance->bluez,
		.is_slow = address_endpoint_is_bluetooth(&config->listen) ||
			   address_endpoint_is_bluetooth(&config->connect),
		.let_in = entrance_let_in,
	};
	int code = listener_open(entrance->loop, &config->listen, &settings,
				 entrance_client, entrance, &entrance->listener,
				 error);

	if (code == 0)
		entrance_publish(entrance);
	return code;
}

/* What the listener has counted is the first door's, as long as that is first. */
static void entrance_collect(struct entrance *entrance)
{
	struct door *first = TAILQ_FIRST(&entrance->doors);

	if (!first || !entrance->listener)
		return;
	first->refusals[DOOR_REFUSAL_UNFINISHED] +=
		entrance->listener->unfinished.count;
	mishap_add(&first->refused, &entrance->listener->unfinished);
	entrance->listener->unfinished.count = 0;
}

static void entrance_close(struct entrance *entrance)
{
	struct stranger *stranger;

	while ((stranger = TAILQ_FIRST(&entrance->strangers)))
		stream_close(stranger_free(stranger), STREAM_CLOSE_ABORT);
	publication_free(entrance->publication);
	entrance_collect(entrance);
	listener_close(entrance->listener);
	entrance->publication = NULL;
	entrance->listener = NULL;
}

int door_open(struct door *door, struct error *error)
{
	struct entrance *entrance = door->entrance;
	int code = 0;

	if (door->is_open)
		return 0;
	if (!entrance->open_count)
		code = entrance_open(entrance, error);
	if (code)
		return code;
	door->is_open = true;
	entrance->open_count++;
	return 0;
}

/* One who wanted it open does no more. */
static void entrance_leave(struct entrance *entrance)
{
	if (--entrance->open_count == 0)
		entrance_close(entrance);
}

void door_close(struct door *door)
{
	if (!door->is_open)
		return;
	door->is_open = false;
	entrance_leave(door->entrance);
}

int door_check(const struct door *door, struct error *error)
{
	assert(door->is_open);
	return listener_check(door->entrance->listener, error);
}

void entrance_hold(struct entrance *entrance)
{
	if (entrance->is_held || !entrance->listener)
		return;
	entrance->is_held = true;
	entrance->open_count++;
}

void entrance_let_go(struct entrance *entrance)
{
	if (!entrance->is_held)
		return;
	entrance->is_held = false;
	entrance_leave(entrance);
}

const char *door_name(const struct door *door)
{
	assert(door->is_open);
	return door->entrance->listener->name;
}

uint64_t door_refusals(const struct door *door, enum door_refusal why)
{
	entrance_collect(door->entrance);
	return door->refusals[why];
}

const struct mishap *door_last_refusal(const struct door *door)
{
	entrance_collect(door->entrance);
	return &door->refused;
}

/* ---- from outside ------------------------------------------------------------------ */

struct door *door_new(struct entrance *entrance,
		      const struct config_route *route,
		      listener_client_cb client_cb, void *arg)
{
	struct door *door = calloc(1, sizeof(*door));

	if (!door)
		return NULL;
	door->entrance = entrance;
	door->route = route;
	door->client_cb = client_cb;
	door->arg = arg;
	TAILQ_INSERT_TAIL(&entrance->doors, door, link);
	return door;
}

void door_free(struct door *door)
{
	if (!door)
		return;
	door_close(door);
	entrance_collect(door->entrance);
	TAILQ_REMOVE(&door->entrance->doors, door, link);
	free(door);
}

void door_move_last(struct door *door)
{
	struct door_list *doors = &door->entrance->doors;

	entrance_collect(door->entrance);
	TAILQ_REMOVE(doors, door, link);
	TAILQ_INSERT_TAIL(doors, door, link);
}

bool entrance_is_empty(const struct entrance *entrance)
{
	return TAILQ_EMPTY(&entrance->doors);
}

uint16_t entrance_port(const struct entrance *entrance)
{
	return entrance->listener ? entrance->listener->port : 0;
}

void entrance_set_first(struct entrance *entrance,
			const struct config_route *first)
{
	const struct config_route *before = entrance->first;
	bool is_same = strcmp(first->service_name, before->service_name) == 0 &&
		       address_uuid_is_equal(&first->service_uuid,
					     &before->service_uuid);

	entrance->first = first;
	if (is_same || !entrance->listener)
		return;
	publication_free(entrance->publication);
	entrance->publication = NULL;
	entrance_publish(entrance);
}

struct entrance *entrance_new(struct loop *loop,
			      const struct config_route *first,
			      struct bluez *bluez, struct publisher *publisher)
{
	struct entrance *entrance = calloc(1, sizeof(*entrance));

	if (!entrance)
		return NULL;
	entrance->loop = loop;
	entrance->first = first;
	entrance->bluez = bluez;
	entrance->publisher = publisher;
	TAILQ_INIT(&entrance->doors);
	TAILQ_INIT(&entrance->strangers);
	return entrance;
}

void entrance_free(struct entrance *entrance)
{
	if (!entrance)
		return;
	assert(TAILQ_EMPTY(&entrance->doors));
	free(entrance);
}
