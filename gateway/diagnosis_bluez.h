/* SPDX-License-Identifier: MIT */
/*
 * What stands between this machine and Bluetooth at bluetoothd and on the
 * system bus, and which devices it knows that routes are about.
 */
#ifndef BTGATE_DIAGNOSIS_BLUEZ_H
#define BTGATE_DIAGNOSIS_BLUEZ_H

#include <stdbool.h>

struct address_device;
struct address_peers;
struct bluez;
struct config;
struct config_route;
struct diagnosis;

/* @bluez has had its time to answer. */
void diagnosis_bluez(struct diagnosis *diagnosis, const struct bluez *bluez);

/*
 * Whether devices can pair as @config has it. bluetoothd does not tell who has
 * registered an agent; but while anybody has, adapters are pairable.
 */
void diagnosis_agent(struct diagnosis *diagnosis, const struct bluez *bluez,
		     const struct config *config, bool has_gateway,
		     bool has_window);

/* The device that @route dials, if any, and those that its peers name. */
void diagnosis_devices(struct diagnosis *diagnosis, const struct bluez *bluez,
		       const struct config_route *route);

#endif
