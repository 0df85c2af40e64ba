/* SPDX-License-Identifier: MIT */
/*
 * Service records up and kept up: through bluetoothd on the system bus, or
 * where that is not to be had through bluetoothd's local SDP server (--compat,
 * /var/run/sdp), or, where neither is, retried until one comes.
 *
 * A record stays with the way that it went up by until that is lost: it is
 * never in two places, and no phone sees it flicker for a better way.
 *
 * Knows which way is open and when to try again; does not know what a record
 * is for.
 */
#ifndef BTGATE_PUBLISH_H
#define BTGATE_PUBLISH_H

#include <stdbool.h>

struct bluez;
struct loop;
struct publication;
struct publisher;
struct sdp_service;

enum publication_state {
	PUBLICATION_STATE_WAITING, /* for its turn, or, if it was told, for a way */
	PUBLICATION_STATE_ASKED, /* bluetoothd has not answered yet */
	PUBLICATION_STATE_UP, /* phones can find it */
};

/*
 * The state, or the reason for it, changed; @detail says by what way, or why
 * not and what to do. Told is what holds now: a state that lasted less than a
 * turn of the loop is not. A retry that fails the same way is not told. May
 * free the publication and the publisher.
 */
typedef void (*publication_changed_cb)(struct publication *publication,
				       enum publication_state state,
				       const char *detail, void *arg);

/*
 * NULL with errno set. @bluez must outlive it. Logs the ways that open and
 * close, once each.
 */
struct publisher *publisher_new(struct loop *loop, struct bluez *bluez);
/* Withdraws everything. Publications must have been freed. NULL is legal. */
void publisher_free(struct publisher *publisher);

/* For the tests: another path for the local SDP server's socket; kept. */
void publisher_set_sdp_path(struct publisher *publisher, const char *path);

/*
 * Publish a copy of @service from now on. @changed never runs from inside
 * this call. NULL with errno set: EINVAL for a service that cannot be put in
 * a record.
 */
struct publication *publication_new(struct publisher *publisher,
				    const struct sdp_service *service,
				    publication_changed_cb changed, void *arg);
/* Withdraws the record. NULL is legal. */
void publication_free(struct publication *publication);

#endif
