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
#include "address_device.h"

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

/* Room for any peer, printed. */
#define ADDRESS_PEER_TEXT_BYTES ADDRESS_DEVICE_TEXT_BYTES

/*
 * Add "A, B, ..." to @peers, zeroed at first; an item with a comma or spaces at
 * its ends, or that looks like an address and is a name, is in double quotes.
 * "any", alone, adds nothing. On success @peers owns memory until
 * address_peers_clear; on an error it is as before.
 */
int address_peers_add(const char *text, struct address_peers *peers,
		      struct error *error);
/* One of them, as address_peers_add takes it. */
void address_peer_format(const struct address_peer *peer,
			 char text[ADDRESS_PEER_TEXT_BYTES]);
/* 0, or -ENOMEM with nothing in @to. */
int address_peers_copy(const struct address_peers *from,
		       struct address_peers *to);
/* Free what @peers owns and zero it. Legal on a zeroed one. */
void address_peers_clear(struct address_peers *peers);

/*
 * Whether @address is among them (nobody named: yes). @name is that of a
 * paired device, or NULL; names are compared byte by byte.
 */
bool address_peers_has(const struct address_peers *peers,
		       const struct address_bluetooth *address,
		       const char *name);

/* Whether names are among them: without one, addresses are enough. */
bool address_peers_has_names(const struct address_peers *peers);

/*
 * Whether whoever @peer stands for is among @peers, as far as the text tells:
 * a name and an address may be of one device, and that is a no.
 */
bool address_peers_covers(const struct address_peers *peers,
			  const struct address_peer *peer);

#endif
