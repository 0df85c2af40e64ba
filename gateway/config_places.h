/* SPDX-License-Identifier: MIT */
/*
 * Which ends of routes hold the same: a path, a port, or any port. Only those can
 * be in each other's way, and of thousands of routes each finds them at once.
 *
 * Knows an end's place, as address_endpoint_place has it; does not know what two
 * with the same one mean.
 */
#ifndef BTGATE_CONFIG_PLACES_H
#define BTGATE_CONFIG_PLACES_H

#include <stdint.h>

#include "address_endpoint.h"

struct config_draft;
struct config_drafts;
struct config_holder;

/*
 * What an end of @draft holds; 0: nothing, it was not understood, or its place is
 * not known yet (rfcomm:auto).
 */
uint32_t config_places_of(const struct config_draft *draft,
			  enum endpoint_role role);

/*
 * From here on the ends of @draft are among the holders: those that hold
 * something, and one that listens on Bluetooth in any case. Call it once for each.
 */
void config_places_add(struct config_drafts *drafts,
		       struct config_draft *draft);

/* The holders of @place, in the order in which they were added; NULL: no more. */
const struct config_holder *config_places_first(
	const struct config_drafts *drafts, uint32_t place);
const struct config_holder *config_places_next(
	const struct config_holder *holder);

#endif
