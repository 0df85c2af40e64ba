/* SPDX-License-Identifier: MIT */
/*
 * Which remote devices a route is for, as a person writes them: addresses,
 * the first octets of addresses, names of paired devices.
 *
 * Looks at text only; who has a name is known to bluetoothd (device.h).
 * Parsers as in address.h.
 */
#ifndef BTGATE_ADDRESS_PEER_H
#define BTGATE_ADDRESS_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address.h"

struct error;

enum peer_choice {
	PEER_CHOICE_ADDRESS, /* "00:11:22:33:44:55" */
	PEER_CHOICE_PREFIX, /* "00:11:22:*" */
	PEER_CHOICE_NAME, /* of a paired device, "HC-05" */
};

struct address_peer {
	enum peer_choice choice;
	struct address_bluetooth address;
	uint8_t prefix_octets; /* 1..5 */
	char *name;
};

struct address_peers {
	struct address_peer *items; /* NULL: everybody */
	size_t count;
};

/*
 * "A, B, ..."; an item with a comma or spaces at its ends is in double quotes.
 * On success @out owns memory until address_peers_clear.
 */
int address_peers_parse(const char *text, struct address_peers *out,
			struct error *error);
/* Room for what parsed from N bytes: 3 * N + 1. */
void address_peers_format(const struct address_peers *peers, char *text,
			  size_t bytes);
/* 0 or -ENOMEM. */
int address_peers_copy(const struct address_peers *from,
		       struct address_peers *to);
void address_peers_clear(struct address_peers *peers);

/*
 * Whether @address is among them (nobody named: yes). @name is that of a
 * paired device, or NULL.
 */
bool address_peers_has(const struct address_peers *peers,
		       const struct address_bluetooth *address,
		       const char *name);

#endif
