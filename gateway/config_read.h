/* SPDX-License-Identifier: MIT */
/*
 * The text of a configuration file, line by line, into drafts of its sections.
 * Reads headers itself and gives inih only what it cannot misread.
 *
 * Knows lines and headers; leaves keys and their values to config_draft.h.
 */
#ifndef BTGATE_CONFIG_READ_H
#define BTGATE_CONFIG_READ_H

#include <stddef.h>

struct config_drafts;

/* Read all of @data; what is wrong with it is among the drafts' findings. */
void config_read(const char *data, size_t size, struct config_drafts *drafts);

#endif
