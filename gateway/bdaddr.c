/* SPDX-License-Identifier: MIT */
#include "bdaddr.h"

#include <stddef.h>

void bdaddr_from_address(const struct address_bluetooth *address, bdaddr_t *out)
{
	for (size_t i = 0; i < sizeof(out->b); i++)
		out->b[i] = address->octets[sizeof(out->b) - 1 - i];
}

void bdaddr_to_address(const bdaddr_t *bdaddr, struct address_bluetooth *out)
{
	for (size_t i = 0; i < sizeof(bdaddr->b); i++)
		out->octets[i] = bdaddr->b[sizeof(bdaddr->b) - 1 - i];
}
