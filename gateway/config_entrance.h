/* SPDX-License-Identifier: MIT */
/*
 * Routes that listen at one place over Bluetooth and are told apart by their
 * peers: who brings whose clients, and whether anybody is left for each.
 *
 * Knows listen ends, peers and what must agree; nothing else of a route.
 */
#ifndef BTGATE_CONFIG_ENTRANCE_H
#define BTGATE_CONFIG_ENTRANCE_H

#include <stddef.h>

struct config_drafts;

/*
 * Set the entrance of route @index, once those of all routes before it are set,
 * they are among the holders (config_places_add), and it has inherited what it
 * does not say itself. What is wrong with sharing it becomes a finding.
 */
void config_entrance_find(struct config_drafts *drafts, size_t index);

#endif
