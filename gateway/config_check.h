/* SPDX-License-Identifier: MIT */
/*
 * What a configuration says as a whole, once all of it was read: what routes
 * inherit, what they lack, and which of them exclude each other.
 *
 * Knows what fits together; neither lines and headers (config_read.h) nor the
 * text of values (config_draft.h).
 */
#ifndef BTGATE_CONFIG_CHECK_H
#define BTGATE_CONFIG_CHECK_H

struct config_drafts;

/* Complete the routes from [defaults] and [gateway], and find what is wrong. */
void config_check(struct config_drafts *drafts);

#endif
