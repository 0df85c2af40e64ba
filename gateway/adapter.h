/* SPDX-License-Identifier: MIT */
/*
 * The adapters as bluetoothd shows them, those of the settings kept
 * reachable where they are to be: named, discoverable without a time limit, or
 * else connectable; again whenever one appears or is powered on. In the end
 * they are no more discoverable than they were before.
 *
 * Knows org.bluez.Adapter1; does not know whether bluetoothd is there: it is
 * given the objects and signals, and told when they are void.
 */
#ifndef BTGATE_ADAPTER_H
#define BTGATE_ADAPTER_H

#include <stdbool.h>
#include <stddef.h>

#include "address.h"

struct adapter_list;
struct bus;
struct error;
struct loop;
struct sd_bus;
struct sd_bus_message;

struct bluez_settings {
	struct address_adapter adapter; /* which ones to use */
	/*
	 * Make them reachable; what follows matters only then. Without, nothing
	 * of theirs is changed: who only dials out must not show this machine
	 * to everybody.
	 */
	bool is_reachable;
	const char *name; /* Alias; NULL: leave it alone */
	bool is_discoverable;
	bool is_pairable; /* while there is an agent: adapter_list_set_agent */
	/*
	 * Not 0: all of this only while there is an agent, too, and in case
	 * nobody is left to give it back bluetoothd ends "discoverable" after
	 * so many seconds.
	 */
	unsigned int window_s;
	/*
	 * Not 0: in case nobody is left to do it bluetoothd ends "pairable" after
	 * so many seconds; but not what was so before, and without a limit.
	 */
	unsigned int pairable_s;
};

/* One that is as the settings want it. */
struct adapter_shown {
	const char *name; /* "hci0" */
	const char *alias;
	struct address_bluetooth address;
};

/*
 * An adapter, of the settings or not, came, went, was powered on or off, lets
 * devices pair or does no more, or is as the settings want it.
 */
typedef void (*adapter_changed_cb)(void *arg);

/*
 * @settings stays the caller's and must stay. @changed may run from within
 * the calls below. NULL with errno set.
 */
struct adapter_list *adapter_list_new(struct loop *loop, struct bus *bus,
				      const struct bluez_settings *settings,
				      adapter_changed_cb changed, void *arg);
void adapter_list_free(struct adapter_list *list);

/*
 * Read the answer to GetManagedObjects, which came over @handle; from now on
 * the adapters are worked on. 0, or -errno of an answer that cannot be read.
 */
int adapter_list_load(struct adapter_list *list, struct sd_bus *handle,
		      struct sd_bus_message *answer);
/* bluetoothd or the connection to it is gone: forget what it told. */
void adapter_list_clear(struct adapter_list *list);

/* Whether somebody is there to answer devices that pair. At first nobody is. */
void adapter_list_set_agent(struct adapter_list *list, bool is_there);
/* Whether there is a number @index, from 0, that is as the settings want it. */
bool adapter_list_shown(const struct adapter_list *list, size_t index,
			struct adapter_shown *out);

/*
 * The settings have been changed: the adapters are worked on by the new ones;
 * those that are not to be reachable any more are as discoverable again as they
 * were before, and keep their name.
 */
void adapter_list_take_settings(struct adapter_list *list);

/*
 * At the end: give Discoverable, Pairable and their time limits the values that
 * they had before they were changed here, also by way of a restart of
 * bluetoothd;
 * not where another program has changed them since. Waits for bluetoothd's
 * answers, 1 s at most, handling all that comes over the bus meanwhile; nothing
 * else is done to an adapter afterwards. Not to be called from a callback of
 * the handle's.
 */
void adapter_list_give_back(struct adapter_list *list);

/* The signals of ObjectManager, and Adapter1's PropertiesChanged. */
int adapter_list_take_added(struct adapter_list *list,
			    struct sd_bus_message *signal);
int adapter_list_take_removed(struct adapter_list *list,
			      struct sd_bus_message *signal);
int adapter_list_take_changed(struct adapter_list *list,
			      struct sd_bus_message *signal);

/* Adapters that match the settings and are powered. */
unsigned int adapter_list_powered(const struct adapter_list *list);
/*
 * What follows is about the adapters that are meant by @choice, whatever the
 * settings say: those are for what is to be reachable.
 *
 * The object paths of up to @count that are powered, valid until the list
 * changes. Returns how many.
 */
size_t adapter_list_paths(const struct adapter_list *list,
			  const struct address_adapter *choice,
			  const char **paths, size_t count);
/* The address of the adapter @name ("hci0") if it is powered; or NULL. */
const struct address_bluetooth *adapter_list_address(
	const struct adapter_list *list, const char *name);
/* Whether the adapter @name is there and one of them. */
bool adapter_list_has(const struct adapter_list *list,
		      const struct address_adapter *choice, const char *name);
/* Whether one that is powered lets devices pair. */
bool adapter_list_is_pairable(const struct adapter_list *list,
			      const struct address_adapter *choice);
/* 0 if one can be used; else -ENODEV or -ENETDOWN, and what to do about it. */
int adapter_list_check(const struct adapter_list *list,
		       const struct address_adapter *choice,
		       struct error *error);

#endif
