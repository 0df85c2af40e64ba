/* SPDX-License-Identifier: MIT */
/*
 * bluetoothd over the system bus: is it there, which adapters it has, keep
 * them reachable, hand it service records. It keeps the connection up by
 * itself: a bus or a bluetoothd that goes away and comes back is followed.
 *
 * Does not know routes, sockets or what is in a record.
 */
#ifndef BTGATE_BLUEZ_H
#define BTGATE_BLUEZ_H

#include <stdbool.h>
#include <sys/queue.h>

#include "adapter.h"
#include "device.h"
#include "loop.h"

struct bluez;
struct bluez_record;
struct error;

enum bluez_state {
	BLUEZ_STATE_NO_BUS, /* no system bus to be had; retried */
	BLUEZ_STATE_NO_DAEMON, /* the bus is there, bluetoothd is not */
	BLUEZ_STATE_READY,
};

const char *bluez_state_to_string(enum bluez_state state);

/*
 * Start following bluetoothd. Never fails for want of a bus: that is a state.
 * Copies @settings. NULL with errno when memory is short.
 */
struct bluez *bluez_new(struct loop *loop,
			const struct bluez_settings *settings);
/*
 * Closes the connection: bluetoothd drops our records at once. All that was
 * made of it (records, watchers, lookups, discoveries) must have been freed.
 * NULL is legal.
 */
void bluez_free(struct bluez *bluez);

/*
 * The state or the reason for it changed, or an adapter came, went, or was
 * powered on or off. Runs from the loop only, once for what changed in one
 * turn. What this callback does, freeing the bluez included, is its own
 * affair.
 */
typedef void (*bluez_changed_cb)(struct bluez *bluez, void *arg);

/* Somebody who wants to be told; embedded, so that watching cannot fail. */
struct bluez_watcher {
	TAILQ_ENTRY(bluez_watcher) link;
	struct bluez *bluez; /* NULL: watches nothing */
	struct loop_task task;
	bluez_changed_cb changed;
	void *arg;
};

void bluez_watch(struct bluez *bluez, struct bluez_watcher *watcher,
		 bluez_changed_cb changed, void *arg);
/* No callback comes any more. Does nothing to one that watches nothing. */
void bluez_unwatch(struct bluez_watcher *watcher);

enum bluez_state bluez_state(const struct bluez *bluez);
/* Why it is in this state, for a person; "" until the first answer. */
const char *bluez_reason(const struct bluez *bluez);
/* Adapters that match the settings and are powered. */
unsigned int bluez_adapters_powered(const struct bluez *bluez);

/*
 * The answer to a registration: code 0, or -errno with bluetoothd's words.
 * After 0 it may come once more, with -ECONNRESET, when bluetoothd has
 * dropped the record or is gone. With an error the record is nothing any
 * more but for being freed, which this callback may do.
 */
typedef void (*bluez_record_cb)(int code, const struct error *error, void *arg);

/*
 * Give bluetoothd a service record (ProfileManager1.RegisterProfile with a
 * private random UUID, Role=server, ServiceRecord and no Channel or PSM: it
 * publishes and opens no socket). NULL with errno set: ENOTCONN unless in
 * BLUEZ_STATE_READY.
 */
struct bluez_record *bluez_record_new(struct bluez *bluez, const char *xml,
				      bluez_record_cb done, void *arg);
/* Withdraws the record if it stands. NULL is legal. */
void bluez_record_free(struct bluez_record *record);

/* ---- devices ------------------------------------------------------------ */

/* Every device that bluetoothd knows now: paired, or seen lately. */
void bluez_devices(const struct bluez *bluez, device_cb cb, void *arg);
/* The name of the paired device at @address; NULL: not paired, or not known. */
const char *bluez_paired_name(const struct bluez *bluez,
			      const struct address_bluetooth *address);

/*
 * The device was found, or -errno with a sentence: -ENODEV nobody nearby has
 * that name, -ENOTUNIQ several do (it lists them), -ENOTCONN without
 * bluetoothd. The lookup is gone after it.
 */
typedef void (*bluez_lookup_cb)(int code,
				const struct address_bluetooth *address,
				const struct error *error, void *arg);
struct bluez_lookup;

/*
 * Find who is called @name: a paired device, else a known one, else by
 * discovery for a while (BR/EDR). Waits for bluetoothd's first answer. NULL
 * with errno set.
 */
struct bluez_lookup *bluez_lookup_new(struct bluez *bluez, const char *name,
				      bluez_lookup_cb done, void *arg);
/* No callback comes. NULL is legal. */
void bluez_lookup_cancel(struct bluez_lookup *lookup);

struct bluez_discovery;

/*
 * Search for devices until it is freed: @seen for each one that is found or
 * tells more of itself, @failed when it cannot go on. Several share one
 * search. NULL with errno set.
 */
struct bluez_discovery *bluez_discovery_new(
	struct bluez *bluez, device_cb seen,
	void (*failed)(const struct error *error, void *arg), void *arg);
/* NULL is legal. */
void bluez_discovery_free(struct bluez_discovery *discovery);

#endif
