/* SPDX-License-Identifier: MIT */
/*
 * Service records up and kept up: through bluetoothd on the system bus, or
 * where that is not to be had through libbluetooth's local SDP server
 * (/run/sdp), or, where neither is, retried until one comes.
 *
 * Knows which way is open and when to try again; does not know what a record
 * is for.
 */
#ifndef BTGATE_PUBLISH_H
#define BTGATE_PUBLISH_H

#include <stdbool.h>

struct bluez_settings;
struct loop;
struct publication;
struct publisher;
struct sdp_service;

enum publication_state {
	PUBLICATION_STATE_WAITING,	/* no way to publish now; retried */
	PUBLICATION_STATE_ASKED,	/* bluetoothd has not answered yet */
	PUBLICATION_STATE_UP,		/* phones can find it */
};

const char *publication_state_to_string(enum publication_state state);

/*
 * The state changed; @detail says by what way, or why not and what to do.
 */
typedef void (*publication_changed_cb)(struct publication *publication,
				       enum publication_state state,
				       const char *detail, void *arg);

/* Adapters came, went, or changed their power: a waiting listener may try. */
typedef void (*publisher_adapters_cb)(void *arg);

/*
 * NULL with errno set. Owns its struct bluez, which is made reachable as the
 * settings say. Logs the ways that open and close, once each.
 */
struct publisher *publisher_new(struct loop *loop,
				const struct bluez_settings *settings,
				publisher_adapters_cb adapters_cb, void *arg);
/* Withdraws everything. Publications must have been freed. */
void publisher_free(struct publisher *publisher);

/* True once the first attempt was answered, either way: readiness. */
bool publisher_is_settled(const struct publisher *publisher);

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
