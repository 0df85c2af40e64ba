/* SPDX-License-Identifier: MIT */
/*
 * Bluetooth addresses as the kernel has them (bdaddr_t): the octets the other
 * way round.
 */
#ifndef BTGATE_BDADDR_H
#define BTGATE_BDADDR_H

#include <bluetooth/bluetooth.h>

#include "address.h"

void bdaddr_from_address(const struct address_bluetooth *address,
			 bdaddr_t *out);
void bdaddr_to_address(const bdaddr_t *bdaddr, struct address_bluetooth *out);

#endif
