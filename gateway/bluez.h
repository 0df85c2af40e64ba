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
#include "agent.h"
#include "device.h"
#include "loop.h"

struct address_device;
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
 * Other settings from now on, copied; what is made of it stays as it is. 0, or
 * -ENOMEM with nothing changed.
 */
int bluez_change(struct bluez *bluez, const struct bluez_settings *settings);
/*
 * Closes the connection: bluetoothd drops our records at once. Before that the
 * adapters are made as discoverable as they were, which may take a moment, 1 s
 * at most. All that was made of it (records, watchers, lookups, discoveries)
 * must have been freed. NULL is legal.
 */
void bluez_free(struct bluez *bluez);

/*
 * The state or the reason for it changed, an adapter came, went, was powered on
 * or off, or made reachable, lets devices pair or does no more, or a device was
 * paired.
 * Runs from the loop only, once for what changed in one turn. What this callback does, freeing the bluez included, is its own
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

struct loop *bluez_loop(const struct bluez *bluez);
enum bluez_state bluez_state(const struct bluez *bluez);
/* Why it is in this state, for a person; "" until the first answer. */
const char *bluez_reason(const struct bluez *bluez);
/*
 * Whether that is likely to stay: bluetoothd is not just being restarted, nor
 * has it still to give its first answer.
 */
bool bluez_is_settled(const struct bluez *bluez);
/* "; do this" against the state; "" where there is nothing to be done. */
const char *bluez_advice(const struct bluez *bluez);
/* Adapters that match the settings and are powered. */
unsigned int bluez_adapters_powered(const struct bluez *bluez);
/* 0 if one that @choice means can be used; else -errno, and what to do. */
int bluez_check_adapter(const struct bluez *bluez,
			const struct address_adapter *choice,
			struct error *error);
/* Whether the settings say that devices may pair. */
bool bluez_lets_pair(const struct bluez *bluez);
/* Whether one that @choice means, and is powered, lets devices pair. */
bool bluez_is_pairable(const struct bluez *bluez,
		       const struct address_adapter *choice);
/*
 * Whether there is a number @index, from 0, that is made as reachable and
 * pairable as the settings say. Valid until the loop's next turn.
 */
bool bluez_adapter_shown(const struct bluez *bluez, size_t index,
			 struct adapter_shown *out);

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

/*
 * In all that follows @choice says by which adapters, whatever the settings
 * say: each adapter has devices and keys of its own.
 *
 * Every device that bluetoothd knows now: paired, or seen lately. One that
 * several adapters know comes several times. @cb runs from within the call, and
 * must free nothing of the bluez.
 */
void bluez_devices(const struct bluez *bluez,
		   const struct address_adapter *choice, device_cb cb,
		   void *arg);
/*
 * What this machine calls the paired device at @address (its Alias, which is
 * the name that the device gave itself unless somebody set another). NULL: not
 * paired, or not known. Valid until the loop's next turn.
 */
const char *bluez_paired_name(const struct bluez *bluez,
			      const struct address_adapter *choice,
			      const struct address_bluetooth *address);

/* Whether the device at @address is_bonded; false: or not known. */
bool bluez_is_bonded(const struct bluez *bluez,
		     const struct address_adapter *choice,
		     const struct address_bluetooth *address);

/* Of the last device that paired; struct device. */
uint64_t bluez_pairings(const struct bluez *bluez);
/* The one whose object is @path, as told to the agent; NULL: not known. */
const struct device *bluez_device_at(const struct bluez *bluez,
				     const char *path);

/*
 * Have an agent at bluetoothd from now on, also when that is restarted: one for
 * each bluez at most. While it is there adapters are pairable if the settings
 * say so. NULL with errno set.
 */
struct agent *bluez_agent_new(struct bluez *bluez,
			      enum agent_capability capability,
			      const struct agent_ops *ops, void *arg);
/* Before the bluez: what is asked from now on is refused. */
void bluez_agent_free(struct bluez *bluez);

/*
 * The adapter that is to call the device at @address, of those that are
 * powered: one that is paired with it, because each has keys of its own, else
 * one that has seen it. False if none has.
 */
bool bluez_adapter_of(const struct bluez *bluez,
		      const struct address_adapter *choice,
		      const struct address_bluetooth *address,
		      struct address_bluetooth *adapter);

struct bluez_discovery;

/* All run from the loop, and may free anything, the bluez included. */
struct bluez_discovery_ops {
	/* A device was found, or told more of itself. */
	device_cb seen;
	/*
	 * The search cannot be made: there is no bluetoothd (-ENOTCONN) or no
	 * such adapter (-ENODEV), it is powered off (-ENETDOWN), or bluetoothd
	 * refuses. While bluetoothd or an adapter has just gone or come, that
	 * is waited for first. Nothing comes after it.
	 */
	void (*failed)(int code, const struct error *error, void *arg);
	/*
	 * After bluez_discovery_stop; nothing comes after it. NULL where that
	 * is not called.
	 */
	void (*stopped)(void *arg);
};

/*
 * Search for devices nearby (BR/EDR) until it is freed. Several share one
 * search; it goes on by itself after bluetoothd was restarted. NULL with errno
 * set.
 */
struct bluez_discovery *bluez_discovery_new(
	struct bluez *bluez, const struct address_adapter *choice,
	const struct bluez_discovery_ops *ops, void *arg);
/*
 * End it, and be told when no search of ours is in the way of a connection
 * any more, or others still want one.
 */
void bluez_discovery_stop(struct bluez_discovery *discovery);
/* NULL is legal. */
void bluez_discovery_free(struct bluez_discovery *discovery);

/* ---- devices by name or address (bluez_lookup.c) ------------------------- */

/*
 * The device was found, or -errno with a sentence: -ENODEV nobody nearby has
 * that name, -ENOTUNIQ several do (it lists them), -ETIMEDOUT no answer from
 * the system bus, or what a discovery fails with. The lookup is gone after it.
 * Runs from the loop, and may free anything, the bluez included.
 */
typedef void (*bluez_lookup_cb)(int code,
				const struct address_bluetooth *address,
				const struct error *error, void *arg);
struct bluez_lookup;

/*
 * Find the device at an address, so that bluetoothd knows it: at once if it
 * does, else by discovery, for 20 s at most. Or who has a name, by the name that it gives itself or the one that
 * this machine has for it: a paired device, else a known one, else by
 * discovery, for 20 s at most; who is found so is compared with who else is
 * found within 5 s. The same name comes before one that differs in case only;
 * that is logged. Devices without BR/EDR are none. @target is copied. Waits for bluetoothd's first
 * answer; the search is over when the callback comes. NULL with errno set.
 */
struct bluez_lookup *bluez_lookup_new(struct bluez *bluez,
				      const struct address_adapter *choice,
				      const struct address_device *target,
				      bluez_lookup_cb done, void *arg);
/* No callback comes. NULL is legal. */
void bluez_lookup_cancel(struct bluez_lookup *lookup);

#endif
