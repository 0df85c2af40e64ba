/* SPDX-License-Identifier: MIT */
/*
 * The clients of one route: whom there is room for and who has to go for whom
 * (max-sessions, when-busy), each one's way in and then its session.
 *
 * Does not know where clients come from, nor which route they should take.
 * Logs one line per refusal, per session start and per session end.
 */
#ifndef BTGATE_CLIENTS_H
#define BTGATE_CLIENTS_H

struct clients;
struct config_route;
struct loop;
struct stream;
struct target;

/* The last one is gone; may come from inside clients_stop and _abort. */
typedef void (*clients_gone_cb)(void *arg);

/* @config must outlive it. NULL with errno set. */
struct clients *clients_new(struct loop *loop,
			    const struct config_route *config,
			    clients_gone_cb gone, void *arg);
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

/* Sessions drain, who is not in yet is refused. */
void clients_stop(struct clients *clients);
/* Cut what still drains. */
void clients_abort(struct clients *clients);

#endif
