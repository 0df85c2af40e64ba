/* SPDX-License-Identifier: MIT */
/*
 * Remote devices as bluetoothd shows them: who is known, who is paired, who is
 * called what.
 *
 * Knows org.bluez.Device1; does not know whether bluetoothd is there: it is
 * given the objects and signals by bluez.c, and told when they are void.
 */
#ifndef BTGATE_DEVICE_H
#define BTGATE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address.h"

/* Valid until the loop's next turn. Strings are as the device sent them. */
struct device {
	struct address_bluetooth address;
	const char *name; /* what it calls itself; NULL: not known (yet) */
	const char *alias; /* what this machine calls it */
	uint32_t class; /* class of device (Baseband assigned numbers); 0: ? */
	int16_t rssi; /* dBm of the last inquiry; 0: not seen in one */
	bool is_paired;
	bool is_trusted;
	bool is_connected;
	bool is_le_only; /* AddressType random, or no BR/EDR class and name */
};

typedef void (*device_cb)(const struct device *device, void *arg);

#endif
