/* SPDX-License-Identifier: MIT */
/*
 * A set of ports that "auto" is not to take: RFCOMM channels, or L2CAP PSMs out
 * of those that are given to whoever asks for any.
 */
#ifndef BTGATE_ADDRESS_PORTS_H
#define BTGATE_ADDRESS_PORTS_H

#include <stdbool.h>
#include <stdint.h>

#define ADDRESS_CHANNEL_MIN 1
#define ADDRESS_CHANNEL_MAX 30
/* The odd ones (L2CAP_PSM_DYN_START, L2CAP_PSM_AUTO_END of Linux). */
#define ADDRESS_PSM_AUTO_MIN 0x1001
#define ADDRESS_PSM_AUTO_MAX 0x10ff

/* Empty where zeroed. */
struct address_ports {
	uint8_t bits[20];
};

/* Without effect on a port that "auto" never takes. */
void address_ports_add(struct address_ports *ports, uint16_t port);
bool address_ports_has(const struct address_ports *ports, uint16_t port);

#endif
