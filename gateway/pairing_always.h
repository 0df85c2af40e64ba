/* SPDX-License-Identifier: MIT */
/*
 * pairing = always: the gateway lets devices pair as long as it runs, without a
 * question, and logs who does. Services of other programs are for those devices
 * only that a route has the same service for.
 */
#ifndef BTGATE_PAIRING_ALWAYS_H
#define BTGATE_PAIRING_ALWAYS_H

struct address_adapter;
struct bluez;
struct pairing_always;
struct route_set;

/* @bluez and @routes must outlive it. NULL with errno set. */
struct pairing_always *pairing_always_new(struct bluez *bluez,
					  const struct address_adapter *adapter,
					  const struct route_set *routes);
/* NULL is legal. */
void pairing_always_free(struct pairing_always *always);

#endif
