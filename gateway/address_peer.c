/* SPDX-License-Identifier: MIT */
#include "address_peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "text.h"

#define OCTETS 6
#define PEERS_MAX 1000

static void clear_peer(struct address_peer *peer)
{
	free(peer->name);
}

/* "00:11:22:*" */
static bool parse_prefix(const char *text, struct address_peer *peer)
{
	while (*text != '*') {
		int high = text_hex_value(text[0]);
		int low = high < 0 ? -1 : text_hex_value(text[1]);

		if (low < 0 || text[2] != ':' ||
		    peer->prefix_octets == OCTETS - 1)
			return false;
		peer->address.octets[peer->prefix_octets++] =
			(uint8_t)(high << 4 | low);
		text += 3;
	}
	return peer->prefix_octets && !text[1];
}

static int parse_peer(const char *text, struct address_peer *out,
		      struct error *error)
{
	struct address_peer peer = {.choice = PEER_CHOICE_PREFIX};
	struct address_device device;
	char quoted[TEXT_QUOTED_BYTES];
	int code;

	if (*text != '"' && strchr(text, '*')) {
		if (!parse_prefix(text, &peer))
			return error_set(
				error, -EINVAL,
				"'%s' is not the beginning of an address; "
				"write whole octets, like 00:11:22:* (if it "
				"is a name, in double quotes)",
				text_printable(text, quoted));
		*out = peer;
		return 0;
	}
	code = address_device_parse(text, &device, error);
	if (code < 0)
		return code;
	peer.choice = device.name ? PEER_CHOICE_NAME : PEER_CHOICE_ADDRESS;
	peer.address = device.address;
	peer.name = device.name;
	*out = peer;
	return 0;
}

void address_peer_format(const struct address_peer *peer,
			 char text[ADDRESS_PEER_TEXT_BYTES])
{
	switch (peer->choice) {
	case PEER_CHOICE_ADDRESS:
		address_bluetooth_format(&peer->address, text);
		break;
	case PEER_CHOICE_PREFIX:
		text[0] = '\0';
		for (unsigned int i = 0; i < peer->prefix_octets; i++)
			text_append(text, ADDRESS_PEER_TEXT_BYTES,
				    "%02X:", peer->address.octets[i]);
		text_append(text, ADDRESS_PEER_TEXT_BYTES, "*");
		break;
	case PEER_CHOICE_NAME:
		text_quote(peer->name, text, ADDRESS_PEER_TEXT_BYTES);
		break;
	}
}

static bool covers(const struct address_peer *a, const struct address_peer *b)
{
	size_t octets = a->choice == PEER_CHOICE_PREFIX ? a->prefix_octets
							: OCTETS;

	if (a->choice == PEER_CHOICE_NAME || b->choice == PEER_CHOICE_NAME)
		return a->choice == b->choice && strcmp(a->name, b->name) == 0;
	if (b->choice == PEER_CHOICE_PREFIX && b->prefix_octets < octets)
		return false;
	return memcmp(&a->address, &b->address, octets) == 0;
}

bool address_peers_covers(const struct address_peers *peers,
			  const struct address_peer *peer)
{
	for (size_t i = 0; i < peers->count; i++) {
		if (covers(&peers->items[i], peer))
			return true;
	}
	return !peers->items;
}

bool address_peers_has(const struct address_peers *peers,
		       const struct address_bluetooth *address,
		       const char *name)
{
	struct address_peer peer = {
		.choice = PEER_CHOICE_ADDRESS,
		.address = *address,
	};

	for (size_t i = 0; name && i < peers->count; i++) {
		const struct address_peer *item = &peers->items[i];

		if (item->choice == PEER_CHOICE_NAME &&
		    strcmp(item->name, name) == 0)
			return true;
	}
	return address_peers_covers(peers, &peer);
}

bool address_peers_has_names(const struct address_peers *peers)
{
	for (size_t i = 0; i < peers->count; i++) {
		if (peers->items[i].choice == PEER_CHOICE_NAME)
			return true;
	}
	return false;
}

/* ---- lists ----------------------------------------------------------- */

/* @peer belongs to @peers on success. */
static int append(struct address_peers *peers, const struct address_peer *peer,
		  struct error *error)
{
	struct address_peer *larger;

	if (peers->count == PEERS_MAX)
		return error_set(error, -EINVAL,
				 "more than %d devices; write the beginning "
				 "that their addresses share, like 00:11:22:*",
				 PEERS_MAX);
	larger = reallocarray(peers->items, peers->count + 1, sizeof(*larger));
	if (!larger)
		return error_set(error, -ENOMEM, "out of memory");
	peers->items = larger;
	peers->items[peers->count++] = *peer;
	return 0;
}

static int add_one(char *text, void *list, struct error *error)
{
	struct address_peers *peers = list;
	struct address_peer peer;
	char quoted[TEXT_QUOTED_BYTES];
	int code;

	text_printable(text, quoted);
	if (!*text)
		return error_set(error, -EINVAL,
				 "an empty place between the commas");
	if (strcmp(text, "any") == 0)
		return error_set(error, -EINVAL,
				 "'any' stands alone; leave out the others (if "
				 "it is a name, write it in double quotes)");
	code = parse_peer(text, &peer, error);
	if (code < 0)
		return code;
	if (peers->count && address_peers_covers(peers, &peer))
		code = error_set(error, -EINVAL,
				 "'%s' is among those before it already",
				 quoted);
	else
		code = append(peers, &peer, error);
	if (code < 0)
		clear_peer(&peer);
	return code;
}

static void cut_to(struct address_peers *peers, size_t count)
{
	while (peers->count > count)
		clear_peer(&peers->items[--peers->count]);
	if (count)
		return;
	free(peers->items);
	peers->items = NULL;
}

int address_peers_add(const char *text, struct address_peers *peers,
		      struct error *error)
{
	const size_t before = peers->count;
	int code = text_each_part(text, !before, add_one, peers, error);

	if (code < 0)
		cut_to(peers, before);
	return code;
}

int address_peers_copy(const struct address_peers *from,
		       struct address_peers *to)
{
	memset(to, 0, sizeof(*to));
	for (size_t i = 0; i < from->count; i++) {
		struct address_peer peer = from->items[i];

		if (peer.name) {
			peer.name = strdup(peer.name);
			if (!peer.name)
				goto clear;
		}
		if (append(to, &peer, NULL) < 0) {
			clear_peer(&peer);
			goto clear;
		}
	}
	return 0;

clear:
	address_peers_clear(to);
	return -ENOMEM;
}

void address_peers_clear(struct address_peers *peers)
{
	cut_to(peers, 0);
}
