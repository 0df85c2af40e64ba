/* SPDX-License-Identifier: MIT */
/*
 * The system bus in our loop: connects without blocking, follows the
 * connection, and makes it again with a growing pause when it is lost. An
 * idle connection wakes nobody up.
 *
 * Knows sd-bus and what its errors mean to a person; does not know what is
 * said on the bus.
 */
#ifndef BTGATE_BUS_H
#define BTGATE_BUS_H

#include <systemd/sd-bus.h>

struct bus;
struct error;
struct loop;

/*
 * The connection is there: subscribe and ask. -errno when that cannot be
 * done: the connection is dropped, to be tried again.
 */
typedef int (*bus_opened_cb)(sd_bus *handle, void *arg);
/*
 * The connection is gone, or could not be made (said again at every try);
 * everything that hung on the handle must be let go of.
 */
typedef void (*bus_closed_cb)(const char *reason, void *arg);

/* NULL with errno set. The callbacks run from the loop only. */
struct bus *bus_new(struct loop *loop, bus_opened_cb opened,
		    bus_closed_cb closed, void *arg);
/*
 * Closes the connection without calling back. Not to be called from a
 * callback of the handle's (a reply, a signal): defer it.
 */
void bus_free(struct bus *bus);

/* To be called after anything was sent from outside the handle's callbacks. */
void bus_watch(struct bus *bus);
/* Drop the connection at the loop's next turn, and make it again later. */
void bus_drop(struct bus *bus, const char *reason);

/*
 * A call to org.bluez, for sd_bus_call_async; it never starts bluetoothd
 * (it may be stopped on purpose).
 */
int bus_new_call(sd_bus *handle, sd_bus_message **call, const char *path,
		 const char *interface, const char *member);

/*
 * Reading what ObjectManager and Properties send. Each returns 0 or more, or
 * -errno of a message that cannot be read, or of the callback.
 */

/* @message is at the variant of property @name: read it, or skip it. */
typedef int (*bus_property_cb)(sd_bus_message *message, const char *name,
			       void *arg);
/* a{sv} */
int bus_read_properties(sd_bus_message *message, bus_property_cb property,
			void *arg);

/* @message is at the a{sv} of an object's interface: read it, or skip it. */
typedef int (*bus_object_cb)(sd_bus_message *message, const char *path,
			     void *arg);
/* InterfacesAdded, oa{sa{sv}}: if it is about @interface. */
int bus_read_added(sd_bus_message *signal, const char *interface,
		   bus_object_cb object, void *arg);
/* GetManagedObjects, a{oa{sa{sv}}}: those that have @interface. */
int bus_read_objects(sd_bus_message *answer, const char *interface,
		     bus_object_cb object, void *arg);
/* InterfacesRemoved, oas: 1 and its @path if it is about @interface, else 0. */
int bus_read_removed(sd_bus_message *signal, const char *interface,
		     const char **path);

/* What a failed call means and what to do; returns its -errno. */
int bus_explain(const sd_bus_error *failure, struct error *error);

#endif
