/* SPDX-License-Identifier: MIT */
#include "address_ports.h"

/* Behind the channels. */
#define FIRST_PSM_BIT 32

/* The bit of @port; 0, which is no channel's: none. */
static unsigned int bit_of(uint16_t port)
{
	if (port <= ADDRESS_CHANNEL_MAX)
		return port;
	if (port < ADDRESS_PSM_AUTO_MIN || port > ADDRESS_PSM_AUTO_MAX ||
	    port % 2 == 0)
		return 0;
	return FIRST_PSM_BIT + (port - ADDRESS_PSM_AUTO_MIN) / 2u;
}

void address_ports_add(struct address_ports *ports, uint16_t port)
{
	const unsigned int bit = bit_of(port);

	if (bit)
		ports->bits[bit / 8] |= (uint8_t)(1u << bit % 8);
}

bool address_ports_has(const struct address_ports *ports, uint16_t port)
{
	const unsigned int bit = bit_of(port);

	return bit && ports->bits[bit / 8] & 1u << bit % 8;
}
