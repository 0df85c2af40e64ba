/* SPDX-License-Identifier: MIT */
/*
 * A remote Bluetooth device as a person writes it: its address, or the name
 * that it shows.
 *
 * Looks at text only; who has a name is known to bluetoothd (device.h).
 * Parsers as in address.h.
 */
#ifndef BTGATE_ADDRESS_DEVICE_H
#define BTGATE_ADDRESS_DEVICE_H

#include <stddef.h>

#include "address.h"

struct error;

/* What HCI's Remote Name Request can bring (Core spec, Vol 4 part E, 7.1.19) */
#define ADDRESS_DEVICE_NAME_BYTES_MAX 248

/* By its address, or by its name. */
struct address_device {
	char *name; /* NULL: by address */
	struct address_bluetooth address;
};

/* Room for any device, printed. */
#define ADDRESS_DEVICE_TEXT_BYTES (2 * ADDRESS_DEVICE_NAME_BYTES_MAX + 3)

/*
 * "00:11:22:33:44:55" or a name, which may be in double quotes. What has a
 * colon or could be a slip of an address must be, to be a name. On success
 * @out owns memory until address_device_clear.
 */
int address_device_parse(const char *text, struct address_device *out,
			 struct error *error);
/* The address, or the name, always in quotes. */
void address_device_format(const struct address_device *device,
			   char text[ADDRESS_DEVICE_TEXT_BYTES]);
/* Free what @device owns and zero it. Legal on a zeroed one. */
void address_device_clear(struct address_device *device);

#endif
