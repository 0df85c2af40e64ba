/* SPDX-License-Identifier: MIT */
/*
 * The text of one file of a configuration, line by line, into drafts of its sections.
 * Reads headers itself and gives inih only what it cannot misread.
 *
 * Knows lines and headers; leaves keys and their values to config_draft.h.
 */
#ifndef BTGATE_CONFIG_READ_H
#define BTGATE_CONFIG_READ_H

#include <stddef.h>

struct config_drafts;

/*
 * Read all of @data, which is what is in file @name, on top of what was read
 * before; what is wrong with it is among the drafts' findings.
 */
void config_read(const char *name, const char *data, size_t size,
		 struct config_drafts *drafts);

#endif
