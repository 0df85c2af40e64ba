/* SPDX-License-Identifier: MIT */
#include "config_places.h"

#include "config_draft.h"

uint32_t config_places_of(const struct config_draft *draft,
			  enum endpoint_role role)
{
	const struct address_endpoint *end = config_draft_end(
		draft, role == ENDPOINT_ROLE_LISTEN ? CONFIG_KEY_LISTEN
						    : CONFIG_KEY_CONNECT);

	return end ? address_endpoint_place(end, role) : 0;
}

static void add_holder(struct config_drafts *drafts, struct config_draft *draft,
		       enum endpoint_role role)
{
	struct config_holder *holder = &draft->holders[role];
	const uint32_t place = config_places_of(draft, role);

	if (!place && (role != ENDPOINT_ROLE_LISTEN ||
		       !config_draft_is_bluetooth_listen(draft)))
		return;
	holder->draft = draft;
	holder->role = role;
	holder->place = place;
	STAILQ_INSERT_TAIL(&drafts->holders[place % CONFIG_HOLDER_LISTS],
			   holder, link);
}

void config_places_add(struct config_drafts *drafts, struct config_draft *draft)
{
	add_holder(drafts, draft, ENDPOINT_ROLE_LISTEN);
	add_holder(drafts, draft, ENDPOINT_ROLE_CONNECT);
}

/* @holder, or the first one behind it, that has @place. */
static const struct config_holder *find_holder(
	const struct config_holder *holder, uint32_t place)
{
	while (holder && holder->place != place)
		holder = STAILQ_NEXT(holder, link);
	return holder;
}

const struct config_holder *config_places_first(
	const struct config_drafts *drafts, uint32_t place)
{
	return find_holder(
		STAILQ_FIRST(&drafts->holders[place % CONFIG_HOLDER_LISTS]),
		place);
}

const struct config_holder *config_places_next(
	const struct config_holder *holder)
{
	return find_holder(STAILQ_NEXT(holder, link), holder->place);
}
