/* SPDX-License-Identifier: MIT */
/*
 * The search for devices nearby, on each adapter of bluetoothd for as long as
 * somebody wants it there (Adapter1.StartDiscovery, BR/EDR only). What is found
 * shows as devices.
 *
 * Knows the calls and when to try again; does not know who wants it, nor which
 * adapters there are: it is told.
 */
#ifndef BTGATE_DISCOVERY_H
#define BTGATE_DISCOVERY_H

#include <stdbool.h>
#include <stddef.h>

struct bus;
struct discovery;
struct error;
struct loop;
struct sd_bus;

enum discovery_state {
	DISCOVERY_STATE_IDLE, /* not wanted, and nothing is under way */
	DISCOVERY_STATE_STOPPING, /* not wanted; bluetoothd has yet to answer */
	DISCOVERY_STATE_NO_ADAPTER, /* none to search with */
	DISCOVERY_STATE_STARTING, /* not heard of yet, or just busy */
	DISCOVERY_STATE_RUNNING, /* on one adapter at least */
	DISCOVERY_STATE_FAILED, /* refused on each; tried again */
};

/* A state changed; runs from within the calls below and from the loop. */
typedef void (*discovery_changed_cb)(void *arg);

/* NULL with errno set. */
struct discovery *discovery_new(struct loop *loop, struct bus *bus,
				discovery_changed_cb changed, void *arg);
/* Asks nothing of bluetoothd, which stops when the connection is closed. */
void discovery_free(struct discovery *discovery);

/*
 * The adapters that can search, by object path, over the connection @handle.
 * One that is not among them any more is off, gone, or bluetoothd is:
 * whatever was under way on it is void, and the wish with it.
 */
void discovery_set_adapters(struct discovery *discovery, struct sd_bus *handle,
			    const char *const *paths, size_t count);
void discovery_set_wanted(struct discovery *discovery, const char *path,
			  bool is_wanted);

/* Of the search with these adapters together. */
enum discovery_state discovery_state(const struct discovery *discovery,
				     const char *const *paths, size_t count);
/* Why, in DISCOVERY_STATE_FAILED. Returns its -errno. */
int discovery_explain(const struct discovery *discovery,
		      const char *const *paths, size_t count,
		      struct error *error);

#endif
