/* SPDX-License-Identifier: MIT */
#include "config_entrance.h"

#include <stdbool.h>
#include <string.h>

#include "config_draft.h"
#include "config_findings.h"
#include "config_places.h"
#include "text.h"

/* The route of @entrance above route @index that takes @peer, or NULL. */
static const struct config_draft *find_taker(const struct config_drafts *drafts,
					     size_t index, size_t entrance,
					     const struct address_peer *peer)
{
	for (size_t i = entrance; i < index; i++) {
		const struct config_draft *draft = drafts->routes[i];

		if (draft->route.entrance == entrance &&
		    draft->route.peers.count &&
		    address_peers_covers(&draft->route.peers, peer))
			return draft;
	}
	return NULL;
}

/* Whether those above it take all of the peers of route @index. */
static bool is_left_nobody(const struct config_drafts *drafts, size_t index,
			   size_t entrance)
{
	const struct address_peers *peers = &drafts->routes[index]->route.peers;

	for (size_t i = 0; i < peers->count; i++) {
		if (!find_taker(drafts, index, entrance, &peers->items[i]))
			return false;
	}
	return peers->count;
}

static const char *number_word(const struct config_draft *draft)
{
	return draft->route.listen.kind == ENDPOINT_KIND_RFCOMM ? "channel"
								: "PSM";
}

static bool is_fixed(const struct address_endpoint *listen)
{
	return listen->kind == ENDPOINT_KIND_RFCOMM ? listen->rfcomm.channel
						    : listen->l2cap.psm;
}

/*
 * Whether who comes to route @index comes to @a, the first of some. An automatic
 * channel is shared where that leaves the later route somebody: two services for
 * the same devices remain two.
 */
static bool is_entrance_of(const struct config_drafts *drafts,
			   const struct config_draft *a, size_t index)
{
	const struct config_draft *b = drafts->routes[index];
	const size_t entrance = a->route.entrance;

	if (drafts->routes[entrance] != a ||
	    !config_draft_is_bluetooth_listen(a) ||
	    a->route.listen.kind != b->route.listen.kind)
		return false;
	if (is_fixed(&a->route.listen) || is_fixed(&b->route.listen))
		return address_endpoint_is_conflict(
			&a->route.listen, ENDPOINT_ROLE_LISTEN,
			&a->route.adapter, &b->route.listen,
			ENDPOINT_ROLE_LISTEN, &b->route.adapter);
	return a->route.peers.count &&
	       address_adapter_is_same(&a->route.adapter, &b->route.adapter) &&
	       a->route.security == b->route.security &&
	       address_uuid_is_equal(&a->route.service_uuid,
				     &b->route.service_uuid) &&
	       !is_left_nobody(drafts, index, entrance);
}

/* What belongs to the listener: the key that @b has otherwise, or _COUNT. */
static enum config_key find_difference(const struct config_route *a,
				       const struct config_route *b)
{
	struct address_endpoint a_listen = a->listen, b_listen = b->listen;
	char a_text[ADDRESS_ENDPOINT_TEXT_BYTES];
	char b_text[ADDRESS_ENDPOINT_TEXT_BYTES];

	/* Packing is each session's own. */
	memset(&a_listen.packing, 0, sizeof(a_listen.packing));
	memset(&b_listen.packing, 0, sizeof(b_listen.packing));
	address_endpoint_format(&a_listen, ENDPOINT_ROLE_LISTEN, a_text);
	address_endpoint_format(&b_listen, ENDPOINT_ROLE_LISTEN, b_text);
	if (strcmp(a_text, b_text) != 0)
		return CONFIG_KEY_LISTEN;
	if (!address_adapter_is_same(&a->adapter, &b->adapter))
		return CONFIG_KEY_ADAPTER;
	if (a->security != b->security)
		return CONFIG_KEY_SECURITY;
	if (!address_uuid_is_equal(&a->service_uuid, &b->service_uuid))
		return CONFIG_KEY_SERVICE_UUID;
	return CONFIG_KEY_COUNT;
}

static void check_agreement(struct config_drafts *drafts,
			    const struct config_draft *first,
			    const struct config_draft *draft)
{
	enum config_key key = find_difference(&first->route, &draft->route);
	char text[ADDRESS_ENDPOINT_TEXT_BYTES];
	char title[CONFIG_TITLE_BYTES], where[CONFIG_WHERE_BYTES];
	unsigned int line = draft->lines[CONFIG_KEY_SERVICE_NAME];

	config_draft_title(first, title, sizeof(title));
	config_where(&drafts->findings, first->line, draft->line, where);
	if (line)
		config_note(&drafts->findings, line,
			    "'service-name' has no effect here: phones see one "
			    "service, by the name of %s on %s; leave it "
			    "out, or give this one another %s",
			    title, where, number_word(draft));
	if (key == CONFIG_KEY_COUNT)
		return;
	line = config_draft_line_of(drafts, draft, key);
	address_endpoint_format(&first->route.listen, ENDPOINT_ROLE_LISTEN,
				text);
	config_note(&drafts->findings,
		    line ? line : draft->lines[CONFIG_KEY_LISTEN],
		    "'%s' must be as in %s on %s, which listens on %s, too",
		    config_draft_key_name(key), title, where, text);
}

/* The first of those that share with route @index and take every device. */
static const struct config_draft *find_greedy(
	const struct config_drafts *drafts, size_t index)
{
	size_t entrance = drafts->routes[index]->route.entrance;

	for (size_t i = entrance; i < index; i++) {
		const struct config_draft *draft = drafts->routes[i];
		bool has_peers = draft->route.peers.count ||
				 (draft->lines[CONFIG_KEY_PEERS] &&
				  !draft->is_valid[CONFIG_KEY_PEERS]);

		if (draft->route.entrance == entrance && !has_peers)
			return draft;
	}
	return NULL;
}

/* Peers that the route names itself, and never gets. */
static void check_peers(struct config_drafts *drafts,
			const struct config_draft *draft, size_t index)
{
	const struct address_peers *peers = &draft->route.peers;
	char text[ADDRESS_PEER_TEXT_BYTES];
	char title[CONFIG_TITLE_BYTES], quoted[TEXT_QUOTED_BYTES];
	char where[CONFIG_WHERE_BYTES];

	if (!draft->lines[CONFIG_KEY_PEERS])
		return;
	for (size_t i = 0; i < peers->count; i++) {
		const struct config_draft *taker = find_taker(
			drafts, index, draft->route.entrance, &peers->items[i]);

		if (!taker)
			continue;
		address_peer_format(&peers->items[i], text);
		config_note(&drafts->findings, draft->lines[CONFIG_KEY_PEERS],
			    "peers: %s never gets here: %s on %s is tried "
			    "before, and takes it",
			    text_printable(text, quoted),
			    config_draft_title(taker, title, sizeof(title)),
			    config_where(&drafts->findings, taker->line,
					 draft->lines[CONFIG_KEY_PEERS],
					 where));
	}
}

/* Whether those above it leave anybody to route @index; if not, a finding. */
static bool check_reachable(struct config_drafts *drafts, size_t index)
{
	const struct config_draft *draft = drafts->routes[index];
	const struct config_draft *greedy = find_greedy(drafts, index);
	char text[ADDRESS_ENDPOINT_TEXT_BYTES];
	char title[CONFIG_TITLE_BYTES], where[CONFIG_WHERE_BYTES];

	if (greedy) {
		address_endpoint_format(&greedy->route.listen,
					ENDPOINT_ROLE_LISTEN, text);
		config_note(&drafts->findings, draft->lines[CONFIG_KEY_LISTEN],
			    "nobody gets here: %s on %s listens on %s, "
			    "too, and takes every device; give it 'peers', or "
			    "this one another %s",
			    config_draft_title(greedy, title, sizeof(title)),
			    config_where(&drafts->findings, greedy->line,
					 draft->line, where),
			    text, number_word(draft));
		return false;
	}
	if (!is_left_nobody(drafts, index, draft->route.entrance)) {
		check_peers(drafts, draft, index);
		return true;
	}
	config_note(&drafts->findings,
		    config_draft_line_of(drafts, draft, CONFIG_KEY_PEERS),
		    "nobody gets to %s: all of its 'peers' are taken by routes "
		    "above it that listen on the same %s",
		    config_draft_title(draft, title, sizeof(title)),
		    number_word(draft));
	return false;
}

void config_entrance_find(struct config_drafts *drafts, size_t index)
{
	struct config_draft *draft = drafts->routes[index];
	const uint32_t place = config_places_of(draft, ENDPOINT_ROLE_LISTEN);
	const struct config_holder *holder;

	draft->route.entrance = index;
	if (!config_draft_is_bluetooth_listen(draft))
		return;
	for (holder = config_places_first(drafts, place); holder;
	     holder = config_places_next(holder)) {
		const struct config_draft *first = holder->draft;

		if (holder->role != ENDPOINT_ROLE_LISTEN ||
		    !is_entrance_of(drafts, first, index))
			continue;
		draft->route.entrance = first->route.entrance;
		if (check_reachable(drafts, index))
			check_agreement(drafts, first, draft);
		return;
	}
}
