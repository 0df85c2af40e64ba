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

struct device_list;
struct sd_bus_message;

/*
 * One device as one adapter knows it: another adapter may know it, too, and
 * more or less of it. Valid until the loop's next turn. Strings are as the
 * device sent them.
 */
struct device {
	struct address_bluetooth address;
	const char *path; /* its object */
	const char *adapter; /* "hci0" */
	const char *name; /* what it calls itself; NULL: not known (yet) */
	const char *alias; /* what this machine calls it: the name, unless
			      somebody gave it another; NULL: nothing */
	uint32_t class; /* class of device (Baseband assigned numbers); 0: ? */
	int16_t rssi; /* dBm of the last inquiry; 0: not seen in one */
	bool is_paired;
	/*
	 * Paired for more than this one link: both ends keep the key. Where
	 * bluetoothd does not tell that (before 5.66), whether it is paired.
	 */
	bool is_bonded;
	uint64_t pairing; /* counts, for each that was seen to pair; 0: not */
	bool is_trusted;
	bool is_connected;
	/*
	 * It has a random address, or says that it knows no BR/EDR. Of one with
	 * a public address and no class bluetoothd (5.66) does not tell.
	 */
	bool is_le_only;
};

typedef void (*device_cb)(const struct device *device, void *arg);

/* What there is to know changed; runs from within the calls below. */
typedef void (*device_changed_cb)(void *arg);

/*
 * NULL with errno set. Holds at most 1,000 devices: a newcomer takes the place
 * of the one that said nothing for longest, of those that are not paired.
 */
struct device_list *device_list_new(device_changed_cb changed, void *arg);
void device_list_free(struct device_list *list);

/* Read the answer to GetManagedObjects. 0, or -errno if it cannot be read. */
int device_list_load(struct device_list *list, struct sd_bus_message *answer);
/* bluetoothd or the connection to it is gone: forget everything. */
void device_list_clear(struct device_list *list);

/* The signals of ObjectManager, and Device1's PropertiesChanged. */
int device_list_take_added(struct device_list *list,
			   struct sd_bus_message *signal);
int device_list_take_removed(struct device_list *list,
			     struct sd_bus_message *signal);
int device_list_take_changed(struct device_list *list,
			     struct sd_bus_message *signal);

/* The one whose object is @path; NULL: none. */
const struct device *device_list_find(const struct device_list *list,
				      const char *path);
/* The number of the last pairing that was seen; struct device. */
uint64_t device_list_pairings(const struct device_list *list);
/* All of them. @cb must leave the list alone. */
void device_list_each(const struct device_list *list, device_cb cb, void *arg);
/*
 * The next one that told something after *@serial, which is moved on; NULL if
 * none did.
 */
const struct device *device_list_next(const struct device_list *list,
				      uint64_t *serial);
/* That of the last thing that was told. */
uint64_t device_list_serial(const struct device_list *list);

#endif
