/* SPDX-License-Identifier: MIT */
/*
 * This machine's Bluetooth adapters as the kernel lists them (HCIGETDEVLIST),
 * without D-Bus and without privilege.
 */
#ifndef BTGATE_CONTROLLER_H
#define BTGATE_CONTROLLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address.h"

struct error;

#define CONTROLLERS_MAX 16 /* HCI_MAX_DEV */

struct controller {
	uint16_t index; /* N of hciN */
	struct address_bluetooth address; /* all zero: it was never up */
	bool is_up;
};

/* All that are there, also those without an address yet; the count. */
size_t controllers_read(struct controller controllers[CONTROLLERS_MAX]);

/* The addresses of those that have one; the count. */
size_t controller_list(struct address_bluetooth addresses[CONTROLLERS_MAX]);

/*
 * The address to bind a socket to: all zero for "any". 0, or -ENODEV when a
 * chosen hciN is not there now. A chosen address needs no adapter yet: the
 * kernel takes the bind, and serves once the adapter comes.
 */
int controller_choose(const struct address_adapter *adapter,
		      struct address_bluetooth *out, struct error *error);

/*
 * Whether @adapter still means the one at @chosen: 0, or -ENODEV when a chosen
 * hciN is not there, or another one is there now.
 */
int controller_check(const struct address_adapter *adapter,
		     const struct address_bluetooth *chosen,
		     struct error *error);

/*
 * The kernel found no adapter for a link that was to be made from @chosen
 * (EHOSTUNREACH): none, not that one, or none that is on. -ENETDOWN where one is
 * off, else -EADDRNOTAVAIL.
 */
int controller_unreachable(const struct address_bluetooth *chosen,
			   struct error *error);

#endif
