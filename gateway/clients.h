/* SPDX-License-Identifier: MIT */
/*
 * The clients of one route: whom there is room for and who has to go for whom
 * (max-sessions, when-busy), each one's way in and then its session.
 *
 * Does not know where clients come from, nor which route they should take.
 * Logs one line per session start and per session end, and one per refusal; but
 * not again for whoever finds no room again, nor for a device whose target is not
 * reached again.
 */
#ifndef BTGATE_CLIENTS_H
#define BTGATE_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "session.h"

struct address_bluetooth;
struct clients;
struct config_route;
struct loop;
struct mishap;
struct stream;
struct target;
struct trace;

/* The last one is gone; may come from inside clients_stop and _abort. */
typedef void (*clients_gone_cb)(void *arg);

/*
 * @config, and @trace, which is told of the sessions (NULL: nobody is), must
 * outlive it. NULL with errno set.
 */
struct clients *clients_new(struct loop *loop,
			    const struct config_route *config,
			    struct trace *trace, clients_gone_cb gone,
			    void *arg);
/* None may be left: clients_abort and loop_flush. NULL is legal. */
void clients_free(struct clients *clients);

/*
 * Takes over the stream of a client, and refuses it if there is no room.
 * @target must stay open until the last client is gone; with when-busy = share
 * it is one of share.h.
 */
void clients_take(struct clients *clients, struct stream *stream,
		  struct target *target);
unsigned int clients_count(const struct clients *clients);

/* One that is there now; all of it is gone after the call that it came with. */
struct client_status {
	unsigned int number;
	const char *peer;
	const struct address_bluetooth *address; /* NULL: it has none */
	const char *target; /* NULL: it is not in yet */
	uint64_t age_ms; /* since it came */
	uint64_t up_bytes; /* delivered to the target */
	uint64_t down_bytes; /* delivered to the client */
};

typedef void (*client_status_cb)(const struct client_status *client, void *arg);
void clients_each(const struct clients *clients, client_status_cb cb,
		  void *arg);
/* Cut those off that @is_meant. */
void clients_kick(struct clients *clients,
		  bool (*is_meant)(const struct client_status *client,
				   void *arg),
		  void *arg);

/* Those that were refused. */
const struct mishap *clients_refusals(const struct clients *clients);
/* Those whose session broke, or else did not end in order (session_has_failed). */
const struct mishap *clients_failures(const struct clients *clients);

/* Why clients were refused, as far as numbers tell. */
enum client_refusal_kind {
	CLIENT_REFUSAL_BUSY, /* no room at the target, or by max-sessions */
	CLIENT_REFUSAL_TARGET, /* it was not reached, or the client left */
	CLIENT_REFUSAL_REPLACED, /* by another one, before it was in */
	CLIENT_REFUSAL_RESOURCES, /* memory, descriptors */
};

#define CLIENT_REFUSALS (CLIENT_REFUSAL_RESOURCES + 1)

/* What passed and happened since the clients were made. */
struct client_totals {
	uint64_t sessions; /* that began */
	uint64_t ends[SESSION_OUTCOMES];
	uint64_t refusals[CLIENT_REFUSALS];
	uint64_t up_bytes; /* delivered to the target */
	uint64_t down_bytes; /* delivered to the client */
	uint64_t lost_bytes; /* of sessions that are over */
	unsigned int open; /* sessions now */
};

struct client_totals clients_totals(const struct clients *clients);

/* Sessions drain, who is not in yet is refused. */
void clients_stop(struct clients *clients);
/* Cut what still drains. */
void clients_abort(struct clients *clients);

#endif
