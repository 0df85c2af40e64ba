/* SPDX-License-Identifier: MIT */
/*
 * A person at the terminal lets devices pair, for a while and beside something
 * else: asked about each, on standard error, and answering on standard input.
 * While the terminal serves a client nobody is asked, and who would be is
 * refused.
 *
 * Knows its time; does not know whether the machine's configuration allows it,
 * nor whether a person is there.
 */
#ifndef BTGATE_PAIRING_ASKED_H
#define BTGATE_PAIRING_ASKED_H

#include <stdbool.h>

struct bluez;
struct bluez_settings;
struct pairing_asked;

/*
 * For @duration_ms from when an adapter lets devices pair. @settings are the bluez's
 * without this, and copied: it has them again afterwards. NULL with errno set.
 */
struct pairing_asked *pairing_asked_new(struct bluez *bluez,
					const struct bluez_settings *settings,
					unsigned int duration_ms);
/* Before the bluez. NULL is legal. */
void pairing_asked_free(struct pairing_asked *asked);

/*
 * A client has the terminal, or no more. Once that is said nothing else reads
 * standard input. True: what is typed may still be meant for a question, which
 * has just been called off. NULL is legal.
 */
bool pairing_asked_pause(struct pairing_asked *asked, bool is_paused);

#endif
