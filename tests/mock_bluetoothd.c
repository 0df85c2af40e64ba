/* SPDX-License-Identifier: MIT */
/*
 * A bluetoothd to test against: owns org.bluez on the system bus and behaves like
 * BlueZ 5.66 as far as the gateway can see. By the socket that is its argument it is
 * told what to do, and tells what it was asked: see mock_bluez.h.
 *
 * A program of its own: valgrind and sanitizers look at the gateway, not at it.
 */
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <systemd/sd-bus.h>

#include "mock_bluez.h"

#define MOCK_RECORDS 16
#define MOCK_ADAPTERS 2
#define MOCK_DEVICES 16

struct mock_adapter {
	bool is_there;
	char path[32];
	char address[18];
	int powered;
	int discoverable;
	int pairable;
	uint32_t timeout;
	uint32_t pairable_timeout;
	char alias[64];
	bool is_discovering; /* for its one client */
	sd_bus_slot *slot;
};

struct mock_device {
	char path[64];
	char adapter[32];
	char address[18];
	const char *type;
	char name[256]; /* "": has none yet */
	char alias[256];
	uint32_t class;
	int16_t rssi;
	int paired;
	int trusted;
	int connected;
	int bonded;
	sd_bus_slot *slot;
	sd_bus_slot *bonded_slot;
};

struct mock_daemon {
	sd_bus *bus;
	int control;
	struct mock_adapter adapters[MOCK_ADAPTERS];
	struct mock_device devices[MOCK_ADAPTERS][MOCK_DEVICES];
	char start_error[128];
	char stop_error[128];
	char records[MOCK_RECORDS][64]; /* "" is free */
	char client[64];
	char register_error[128]; /* "" to accept, "silence" for no answer */
	char set_error[128];
	char agent[64]; /* its object; "" without one */
	char agent_error[128];
	char agent_client[64];
	bool has_other_agent; /* and ours is not the default one */
	sd_bus_message *pair; /* Device1.Pair, not answered yet */
};

static void mock_report(struct mock_daemon *daemon, const char *format, ...)
{
	char text[MOCK_TEXT_BYTES];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	send(daemon->control, text, strlen(text) + 1, MSG_NOSIGNAL);
}

static int mock_on_register(sd_bus_message *call, void *arg,
			    sd_bus_error *error)
{
	struct mock_daemon *daemon = arg;
	const char *path, *uuid, *key, *value, *role = "", *xml = "";
	int free_one = -1;

	sd_bus_message_read(call, "os", &path, &uuid);
	sd_bus_message_enter_container(call, 'a', "{sv}");
	while (sd_bus_message_read(call, "{sv}", &key, "s", &value) > 0) {
		if (strcmp(key, "Role") == 0)
			role = value;
		else if (strcmp(key, "ServiceRecord") == 0)
			xml = value;
		else
			mock_report(daemon, "unexpected option %s", key);
	}
	mock_report(daemon, "register %s %s %s %s", path, uuid, role, xml);
	if (strcmp(daemon->register_error, "silence") == 0)
		return 1;
	if (*daemon->register_error)
		return sd_bus_error_set(error, daemon->register_error,
					"the mock was told so");
	for (int i = 0; i < MOCK_RECORDS; i++) {
		if (strcmp(daemon->records[i], path) == 0)
			return sd_bus_error_set(
				error, "org.bluez.Error.AlreadyExists", "");
		if (!*daemon->records[i])
			free_one = i;
	}
	snprintf(daemon->records[free_one], sizeof(daemon->records[0]), "%s",
		 path);
	snprintf(daemon->client, sizeof(daemon->client), "%s",
		 sd_bus_message_get_sender(call));
	return sd_bus_reply_method_return(call, NULL);
}

static int mock_on_unregister(sd_bus_message *call, void *arg,
			      sd_bus_error *error)
{
	struct mock_daemon *daemon = arg;
	const char *path;

	sd_bus_message_read(call, "o", &path);
	mock_report(daemon, "unregister %s", path);
	for (int i = 0; i < MOCK_RECORDS; i++) {
		if (strcmp(daemon->records[i], path) == 0)
			daemon->records[i][0] = '\0';
	}
	return sd_bus_reply_method_return(call, NULL);
}

static struct mock_daemon mock_the_daemon; /* of the child */

static void mock_set_pairable(struct mock_adapter *adapter, int value)
{
	if (!adapter->slot || adapter->pairable == value)
		return;
	adapter->pairable = value;
	sd_bus_emit_properties_changed(mock_the_daemon.bus, adapter->path,
				       "org.bluez.Adapter1", "Pairable", NULL);
}

/* With the last one that is over. */
static void mock_lose_agent(struct mock_daemon *daemon)
{
	daemon->agent[0] = '\0';
	for (int n = 0; n < MOCK_ADAPTERS && !daemon->has_other_agent; n++)
		mock_set_pairable(&daemon->adapters[n], 0);
	mock_report(daemon, "agent gone");
}

static int mock_on_agent_over(sd_bus_message *call, void *arg,
			      sd_bus_error *error)
{
	mock_lose_agent(arg);
	return sd_bus_reply_method_return(call, NULL);
}

static int mock_on_agent_gone(sd_bus_message *signal, void *arg,
			      sd_bus_error *error)
{
	struct mock_daemon *daemon = arg;
	const char *name, *before, *now;

	sd_bus_message_read(signal, "sss", &name, &before, &now);
	if (*now || !*daemon->agent || strcmp(name, daemon->agent_client))
		return 0;
	mock_lose_agent(daemon);
	return 0;
}

/* The first agent makes all adapters pairable (adapter_set_io_capability). */
static int mock_on_agent(sd_bus_message *call, void *arg, sd_bus_error *error)
{
	struct mock_daemon *daemon = arg;
	const char *path, *capability;
	int code;

	sd_bus_message_read(call, "os", &path, &capability);
	mock_report(daemon, "agent %s %s %s", path, capability,
		    sd_bus_message_get_sender(call));
	if (*daemon->agent_error)
		return sd_bus_error_set(error, daemon->agent_error,
					"the mock was told so");
	snprintf(daemon->agent, sizeof(daemon->agent), "%s", path);
	snprintf(daemon->agent_client, sizeof(daemon->agent_client), "%s",
		 sd_bus_message_get_sender(call));
	code = sd_bus_reply_method_return(call, NULL);
	for (int n = 0; n < MOCK_ADAPTERS && !daemon->has_other_agent; n++)
		mock_set_pairable(&daemon->adapters[n], 1);
	return code;
}

static int mock_on_get(sd_bus *bus, const char *path, const char *interface,
		       const char *property, sd_bus_message *reply, void *arg,
		       sd_bus_error *error)
{
	struct mock_adapter *adapter = arg;

	if (strcmp(property, "Address") == 0)
		return sd_bus_message_append(reply, "s", adapter->address);
	if (strcmp(property, "Alias") == 0)
		return sd_bus_message_append(reply, "s", adapter->alias);
	if (strcmp(property, "Powered") == 0)
		return sd_bus_message_append(reply, "b", adapter->powered);
	if (strcmp(property, "Discoverable") == 0)
		return sd_bus_message_append(reply, "b", adapter->discoverable);
	if (strcmp(property, "Pairable") == 0)
		return sd_bus_message_append(reply, "b", adapter->pairable);
	if (strcmp(property, "PairableTimeout") == 0)
		return sd_bus_message_append(reply, "u",
					     adapter->pairable_timeout);
	return sd_bus_message_append(reply, "u", adapter->timeout);
}

static int mock_on_set(sd_bus *bus, const char *path, const char *interface,
		       const char *property, sd_bus_message *value, void *arg,
		       sd_bus_error *error)
{
	struct mock_daemon *daemon = &mock_the_daemon;
	struct mock_adapter *adapter = arg;
	const char *text;

	if (*daemon->set_error) {
		mock_report(daemon, "refused %s %s", path, property);
		return sd_bus_error_set(error, daemon->set_error,
					"the mock was told so");
	}
	if (strcmp(property, "Alias") == 0) {
		sd_bus_message_read(value, "s", &text);
		snprintf(adapter->alias, sizeof(adapter->alias), "%s", text);
		mock_report(daemon, "set %s Alias %s", path, text);
	} else if (strcmp(property, "DiscoverableTimeout") == 0) {
		sd_bus_message_read(value, "u", &adapter->timeout);
		mock_report(daemon, "set %s DiscoverableTimeout %u", path,
			    adapter->timeout);
	} else if (strcmp(property, "PairableTimeout") == 0) {
		sd_bus_message_read(value, "u", &adapter->pairable_timeout);
		mock_report(daemon, "set %s PairableTimeout %u", path,
			    adapter->pairable_timeout);
	} else if (strcmp(property, "Pairable") == 0) {
		sd_bus_message_read(value, "b", &adapter->pairable);
		mock_report(daemon, "set %s Pairable %d", path,
			    adapter->pairable);
	} else {
		if (adapter->timeout && !adapter->powered)
			return sd_bus_error_set(error, "org.bluez.Error.Failed",
						"Not Powered");
		sd_bus_message_read(value, "b", &adapter->discoverable);
		mock_report(daemon, "set %s Discoverable %d", path,
			    adapter->discoverable);
	}
	sd_bus_emit_properties_changed(bus, path, interface, property, NULL);
	return 1;
}

static int mock_on_filter(sd_bus_message *call, void *arg, sd_bus_error *error)
{
	struct mock_daemon *daemon = &mock_the_daemon;
	const char *key = "", *value = "";

	sd_bus_message_enter_container(call, 'a', "{sv}");
	sd_bus_message_read(call, "{sv}", &key, "s", &value);
	mock_report(daemon, "filter %s %s %s", sd_bus_message_get_path(call),
		    key, value);
	return sd_bus_reply_method_return(call, NULL);
}

static int mock_on_start(sd_bus_message *call, void *arg, sd_bus_error *error)
{
	struct mock_daemon *daemon = &mock_the_daemon;
	struct mock_adapter *adapter = arg;

	mock_report(daemon, "start %s", adapter->path);
	if (strcmp(daemon->start_error, "silence") == 0) {
		adapter->is_discovering = true;
		return 1;
	}
	if (*daemon->start_error)
		return sd_bus_error_set(error, daemon->start_error,
					"the mock was told so");
	if (!adapter->powered)
		return sd_bus_error_set(error, "org.bluez.Error.NotReady",
					"Resource Not Ready");
	if (adapter->is_discovering)
		return sd_bus_error_set(error, "org.bluez.Error.InProgress",
					"Operation already in progress");
	adapter->is_discovering = true;
	return sd_bus_reply_method_return(call, NULL);
}

static int mock_on_stop(sd_bus_message *call, void *arg, sd_bus_error *error)
{
	struct mock_daemon *daemon = &mock_the_daemon;
	struct mock_adapter *adapter = arg;

	mock_report(daemon, "stop %s", adapter->path);
	if (strcmp(daemon->stop_error, "silence") == 0)
		return 1;
	if (!adapter->is_discovering)
		return sd_bus_error_set(error, "org.bluez.Error.Failed",
					"No discovery started");
	adapter->is_discovering = false;
	return sd_bus_reply_method_return(call, NULL);
}

static int mock_on_get_device(sd_bus *bus, const char *path,
			      const char *interface, const char *property,
			      sd_bus_message *reply, void *arg,
			      sd_bus_error *error)
{
	struct mock_device *device = arg;

	if (strcmp(property, "Address") == 0)
		return sd_bus_message_append(reply, "s", device->address);
	if (strcmp(property, "AddressType") == 0)
		return sd_bus_message_append(reply, "s", device->type);
	if (strcmp(property, "Adapter") == 0)
		return sd_bus_message_append(reply, "o", device->adapter);
	if (strcmp(property, "Name") == 0)
		return sd_bus_message_append(reply, "s", device->name);
	if (strcmp(property, "Alias") == 0)
		return sd_bus_message_append(reply, "s", device->alias);
	if (strcmp(property, "Class") == 0)
		return sd_bus_message_append(reply, "u", device->class);
	if (strcmp(property, "RSSI") == 0)
		return sd_bus_message_append(reply, "n", device->rssi);
	if (strcmp(property, "Paired") == 0)
		return sd_bus_message_append(reply, "b", device->paired);
	if (strcmp(property, "Trusted") == 0)
		return sd_bus_message_append(reply, "b", device->trusted);
	if (strcmp(property, "Bonded") == 0)
		return sd_bus_message_append(reply, "b", device->bonded);
	if (strcmp(property, "Connected") == 0)
		return sd_bus_message_append(reply, "b", device->connected);
	return sd_bus_message_append(reply, "b", 0);
}

/* It is asked for what is to be asked, and how it ends: "ask", "pair-end". */
static int mock_on_pair(sd_bus_message *call, void *arg, sd_bus_error *error)
{
	const struct mock_device *device = arg;

	mock_report(&mock_the_daemon, "pair %s", device->path);
	if (device->paired || device->bonded)
		return sd_bus_error_set(error, "org.bluez.Error.AlreadyExists",
					"Already Exists");
	mock_the_daemon.pair = sd_bus_message_ref(call);
	return 1;
}

static const sd_bus_vtable mock_manager_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("RegisterProfile", "osa{sv}", "", mock_on_register,
		      SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("UnregisterProfile", "o", "", mock_on_unregister,
		      SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

static const sd_bus_vtable mock_agents_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("RegisterAgent", "os", "", mock_on_agent,
		      SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("UnregisterAgent", "o", "", mock_on_agent_over,
		      SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

#define MOCK_DEVICE_PROPERTY(name, type)                   \
	SD_BUS_PROPERTY(name, type, mock_on_get_device, 0, \
			SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)

static const sd_bus_vtable mock_device_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("Pair", "", "", mock_on_pair, SD_BUS_VTABLE_UNPRIVILEGED),
	MOCK_DEVICE_PROPERTY("Address", "s"),
	MOCK_DEVICE_PROPERTY("AddressType", "s"),
	MOCK_DEVICE_PROPERTY("Adapter", "o"),
	MOCK_DEVICE_PROPERTY("Name", "s"),
	MOCK_DEVICE_PROPERTY("Alias", "s"),
	MOCK_DEVICE_PROPERTY("Class", "u"),
	MOCK_DEVICE_PROPERTY("RSSI", "n"),
	MOCK_DEVICE_PROPERTY("Paired", "b"),
	MOCK_DEVICE_PROPERTY("Trusted", "b"),
	MOCK_DEVICE_PROPERTY("Connected", "b"),
	SD_BUS_VTABLE_END,
};

/* What bluetoothd did not tell before 5.66. */
static const sd_bus_vtable mock_bonded_vtable[] = {
	SD_BUS_VTABLE_START(0),
	MOCK_DEVICE_PROPERTY("Bonded", "b"),
	SD_BUS_VTABLE_END,
};

static const sd_bus_vtable mock_adapter_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("SetDiscoveryFilter", "a{sv}", "", mock_on_filter,
		      SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("StartDiscovery", "", "", mock_on_start,
		      SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("StopDiscovery", "", "", mock_on_stop,
		      SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_PROPERTY("Address", "s", mock_on_get, 0, 0),
	SD_BUS_PROPERTY("Powered", "b", mock_on_get, 0,
			SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_WRITABLE_PROPERTY("Alias", "s", mock_on_get, mock_on_set, 0,
				 SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE |
					 SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_WRITABLE_PROPERTY("Discoverable", "b", mock_on_get, mock_on_set,
				 0,
				 SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE |
					 SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_WRITABLE_PROPERTY("Pairable", "b", mock_on_get, mock_on_set, 0,
				 SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE |
					 SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_WRITABLE_PROPERTY("PairableTimeout", "u", mock_on_get,
				 mock_on_set, 0,
				 SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE |
					 SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_WRITABLE_PROPERTY("DiscoverableTimeout", "u", mock_on_get,
				 mock_on_set, 0,
				 SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE |
					 SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

/* "adapter N 0|1": plug it in, powered off or on. */
static void mock_add_adapter(struct mock_daemon *daemon, int n, int powered)
{
	struct mock_adapter *adapter = &daemon->adapters[n];

	memset(adapter, 0, sizeof(*adapter));
	snprintf(adapter->path, sizeof(adapter->path), "/org/bluez/hci%d", n);
	snprintf(adapter->address, sizeof(adapter->address),
		 "00:AA:01:%02X:00:%02X", (unsigned int)n & 0xff,
		 (unsigned int)n & 0xff);
	snprintf(adapter->alias, sizeof(adapter->alias), "BlueZ 5.66");
	adapter->timeout = 180;
	adapter->powered = powered & 1;
	if (powered & 2) { /* discoverable without a limit, from before */
		adapter->timeout = 0;
		adapter->discoverable = 1;
	}
	sd_bus_add_object_vtable(daemon->bus, &adapter->slot, adapter->path,
				 "org.bluez.Adapter1", mock_adapter_vtable,
				 adapter);
	sd_bus_emit_interfaces_added(daemon->bus, adapter->path,
				     "org.bluez.Adapter1", NULL);
}

static void mock_remove_adapter(struct mock_daemon *daemon, int n)
{
	struct mock_adapter *adapter = &daemon->adapters[n];

	sd_bus_emit_interfaces_removed(daemon->bus, adapter->path,
				       "org.bluez.Adapter1", NULL);
	adapter->slot = sd_bus_slot_unref(adapter->slot);
}

static void mock_forget(struct mock_daemon *daemon, struct mock_device *device)
{
	sd_bus_emit_interfaces_removed(daemon->bus, device->path,
				       "org.bluez.Device1", NULL);
	device->slot = sd_bus_slot_unref(device->slot);
	device->bonded_slot = sd_bus_slot_unref(device->bonded_slot);
}

/* "crowd N FIRST COUNT": strangers called "stranger", which are only told of. */
static void mock_crowd(struct mock_daemon *daemon, int n, int first, int count)
{
	char path[80], address[18];

	for (int i = first; i < first + count; i++) {
		snprintf(path, sizeof(path),
			 "/org/bluez/hci%d/dev_20_00_00_00_%02X_%02X", n,
			 (unsigned int)i / 256 & 0xff, (unsigned int)i & 0xff);
		snprintf(address, sizeof(address), "20:00:00:00:%02X:%02X",
			 (unsigned int)i / 256 & 0xff, (unsigned int)i & 0xff);
		sd_bus_emit_signal(daemon->bus, "/",
				   "org.freedesktop.DBus.ObjectManager",
				   "InterfacesAdded", "oa{sa{sv}}", path, 2,
				   "org.freedesktop.DBus.Properties", 0,
				   "org.bluez.Device1", 2, "Address", "s",
				   address, "Name", "s", "stranger");
	}
}

/*
 * "device ADAPTER NUMBER MANNER [NAME]": known, 10:00:00:00:ADAPTER:NUMBER;
 * "paired"; "trusted" is that as well; "le" is one with a random address; "old" one that is paired with a bluetoothd
 * before 5.66, which says no more; "bonded" one that came and was paired
 * before bluetoothd told of it; "common" one that is paired with several adapters,
 * 10:00:00:00:FF:NUMBER at each.
 */
static void mock_add_device(struct mock_daemon *daemon, int n, int number,
			    const char *manner, const char *name)
{
	struct mock_device *device = &daemon->devices[n][number];
	bool is_common = strcmp(manner, "common") == 0;
	unsigned int octet = is_common ? 0xff : (unsigned int)n & 0xff;

	memset(device, 0, sizeof(*device));
	snprintf(device->adapter, sizeof(device->adapter), "/org/bluez/hci%d",
		 n);
	snprintf(device->path, sizeof(device->path),
		 "/org/bluez/hci%d/dev_10_00_00_00_%02X_%02X", n, octet,
		 (unsigned int)number & 0xff);
	snprintf(device->address, sizeof(device->address),
		 "10:00:00:00:%02X:%02X", octet, (unsigned int)number & 0xff);
	snprintf(device->name, sizeof(device->name), "%s", name);
	snprintf(device->alias, sizeof(device->alias), "%s", name);
	if (!*name) {
		memcpy(device->alias, device->address, sizeof(device->address));
		for (char *c = device->alias; *c; c++)
			if (*c == ':')
				*c = '-';
	}
	device->trusted = strcmp(manner, "trusted") == 0;
	device->paired = is_common || device->trusted ||
			 strcmp(manner, "paired") == 0 ||
			 strcmp(manner, "old") == 0;
	device->bonded = device->connected = strcmp(manner, "bonded") == 0;
	device->type = strcmp(manner, "le") ? "public" : "random";
	device->class = strcmp(manner, "le") ? 0x1f00 : 0;
	device->rssi = device->paired ? 0 : -60;
	sd_bus_add_object_vtable(daemon->bus, &device->slot, device->path,
				 "org.bluez.Device1", mock_device_vtable,
				 device);
	if (strcmp(manner, "old") != 0)
		sd_bus_add_object_vtable(daemon->bus, &device->bonded_slot,
					 device->path, "org.bluez.Device1",
					 mock_bonded_vtable, device);
	sd_bus_emit_interfaces_added(daemon->bus, device->path,
				     "org.bluez.Device1", NULL);
}

/* What becomes of a device that is there; false if that is no such command. */
static bool mock_obey_about_device(struct mock_daemon *daemon, int n,
				   const char *command)
{
	char text[256] = "", manner[16];
	struct mock_device *device;
	int number = 0, value;

	sscanf(command, "%*s %*d %d", &number);
	device = &daemon->devices[n][number % MOCK_DEVICES];
	if (sscanf(command, "crowd %*d %*d %d", &value) == 1) {
		mock_crowd(daemon, n, number, value);
	} else if (sscanf(command, "device %*d %*d %15s %255[^\n]", manner,
			  text) >= 1) {
		mock_add_device(daemon, n, number, manner, text);
	} else if (strncmp(command, "forget", 6) == 0) {
		mock_forget(daemon, device);
	} else if (sscanf(command, "name %*d %*d %255[^\n]", text) == 1) {
		strcpy(device->name, text);
		strcpy(device->alias, text);
		sd_bus_emit_properties_changed(daemon->bus, device->path,
					       "org.bluez.Device1", "Name",
					       "Alias", NULL);
	} else if (sscanf(command, "alias %*d %*d %255[^\n]", text) == 1) {
		strcpy(device->alias, text);
		sd_bus_emit_properties_changed(daemon->bus, device->path,
					       "org.bluez.Device1", "Alias",
					       NULL);
	} else if (strncmp(command, "bond", 4) == 0) {
		/* bluetoothd says that it is paired in its own good time. */
		device->bonded = 1;
		sd_bus_emit_properties_changed(daemon->bus, device->path,
					       "org.bluez.Device1", "Bonded",
					       NULL);
	} else if (sscanf(command, "rssi %*d %*d %d", &value) == 1) {
		device->rssi = (int16_t)value;
		if (value)
			sd_bus_emit_properties_changed(daemon->bus,
						       device->path,
						       "org.bluez.Device1",
						       "RSSI", NULL);
		else
			sd_bus_emit_signal(daemon->bus, device->path,
					   "org.freedesktop.DBus.Properties",
					   "PropertiesChanged", "sa{sv}as",
					   "org.bluez.Device1", 0, 1, "RSSI");
	} else {
		return false;
	}
	return true;
}

/* bluetoothd on SIGTERM. */
static void mock_release(struct mock_daemon *daemon)
{
	sd_bus_message *call;

	for (int i = 0; i < MOCK_RECORDS; i++) {
		if (!*daemon->records[i])
			continue;
		sd_bus_message_new_method_call(daemon->bus, &call,
					       daemon->client,
					       daemon->records[i],
					       "org.bluez.Profile1", "Release");
		sd_bus_message_set_expect_reply(call, 0);
		sd_bus_send(daemon->bus, call, NULL);
		sd_bus_message_unref(call);
	}
	sd_bus_flush(daemon->bus);
}

/* "connect PATH": a phone came, which cannot be. */
static void mock_connect(struct mock_daemon *daemon, const char *path)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;

	sd_bus_call_method(daemon->bus, daemon->client, path,
			   "org.bluez.Profile1", "NewConnection", &error, NULL,
			   "oha{sv}", "/org/bluez/hci0/dev_1", 0, 0);
	mock_report(daemon, "answer %s", error.name ? error.name : "none");
	sd_bus_error_free(&error);
}

static int mock_on_agent_answer(sd_bus_message *answer, void *arg,
				sd_bus_error *unused)
{
	struct mock_daemon *daemon = &mock_the_daemon;
	const sd_bus_error *failure = sd_bus_message_get_error(answer);
	const char *text;
	uint32_t number;

	if (failure)
		mock_report(daemon, "answer %s", failure->name);
	else if (sd_bus_message_is_empty(answer))
		mock_report(daemon, "answer yes");
	else if (sd_bus_message_read(answer, "s", &text) > 0)
		mock_report(daemon, "answer %s", text);
	else if (sd_bus_message_read(answer, "u", &number) > 0)
		mock_report(daemon, "answer %u", number);
	return 0;
}

/* "ask ADAPTER DEVICE METHOD [ARGUMENT]": of the agent, without waiting. */
static void mock_ask(struct mock_daemon *daemon, const char *command)
{
	char method[32], text[64] = "";
	sd_bus_message *call;
	uint32_t number;
	int n, device;

	sscanf(command, "ask %d %d %31s %63s", &n, &device, method, text);
	number = (uint32_t)strtoul(text, NULL, 10);
	sd_bus_message_new_method_call(daemon->bus, &call, daemon->agent_client,
				       daemon->agent, "org.bluez.Agent1",
				       method);
	if (strcmp(method, "Cancel"))
		sd_bus_message_append(call, "o",
				      daemon->devices[n][device].path);
	if (strcmp(method, "RequestConfirmation") == 0)
		sd_bus_message_append(call, "u", number);
	else if (strcmp(method, "DisplayPasskey") == 0)
		sd_bus_message_append(call, "uq", number, 0);
	else if (*text)
		sd_bus_message_append(call, "s", text);
	sd_bus_call_async(daemon->bus, NULL, call, mock_on_agent_answer, NULL,
			  0);
	sd_bus_message_unref(call);
}

/* "pair-end [ERROR]": after "bond", if it has come to that. */
static void mock_end_pair(struct mock_daemon *daemon, const char *name)
{
	if (*name)
		sd_bus_reply_method_errorf(daemon->pair, name,
					   "the mock was told so");
	else
		sd_bus_reply_method_return(daemon->pair, NULL);
	daemon->pair = sd_bus_message_unref(daemon->pair);
}

/* Of the agent; false if that is no such command. */
static bool mock_obey_about_agent(struct mock_daemon *daemon,
				  const char *command)
{
	char text[128] = "";

	if (strncmp(command, "ask ", 4) == 0)
		mock_ask(daemon, command);
	else if (strcmp(command, "pair-end") == 0 ||
		 sscanf(command, "pair-end %127s", text) == 1)
		mock_end_pair(daemon, text);
	else if (strcmp(command, "other-agent") == 0)
		daemon->has_other_agent = true;
	else if (sscanf(command, "agent-error %127s", text) == 1)
		snprintf(daemon->agent_error, sizeof(daemon->agent_error), "%s",
			 strcmp(text, "none") ? text : "");
	else
		return false;
	return true;
}

static void mock_obey(struct mock_daemon *daemon, const char *command)
{
	char text[128], path[128];
	struct mock_adapter *adapter;
	unsigned int number;
	int n = 0;

	sscanf(command, "%*s %d", &n);
	adapter = &daemon->adapters[n];
	if (mock_obey_about_device(daemon, n, command) ||
	    mock_obey_about_agent(daemon, command)) {
		/* done */
	} else if (sscanf(command, "adapter %*d %u", &number) == 1) {
		mock_add_adapter(daemon, n, (int)number);
	} else if (strncmp(command, "remove", 6) == 0) {
		mock_remove_adapter(daemon, n);
	} else if (sscanf(command, "power %*d %u", &number) == 1) {
		adapter->powered = (int)number;
		adapter->discoverable = 0;
		adapter->is_discovering = false;
		sd_bus_emit_properties_changed(daemon->bus, adapter->path,
					       "org.bluez.Adapter1", "Powered",
					       "Discoverable", NULL);
	} else if (sscanf(command, "hide %*d %u", &number) == 1 ||
		   sscanf(command, "show %*d %u", &number) == 1) {
		/* After a limit of so many seconds; 0: without one. */
		adapter->discoverable = *command == 's';
		adapter->timeout = number;
		sd_bus_emit_properties_changed(daemon->bus, adapter->path,
					       "org.bluez.Adapter1",
					       "DiscoverableTimeout",
					       "Discoverable", NULL);
	} else if (sscanf(command, "pairable %*d %u", &number) == 1) {
		mock_set_pairable(adapter, (int)number);
	} else if (strncmp(command, "look", 4) == 0) {
		mock_report(daemon,
			    "look: discoverable %d, limit %u, pairable %d, "
			    "limit %u",
			    adapter->discoverable, adapter->timeout,
			    adapter->pairable, adapter->pairable_timeout);
	} else if (sscanf(command, "register-error %127s", text) == 1) {
		snprintf(daemon->register_error, sizeof(daemon->register_error),
			 "%s", strcmp(text, "none") ? text : "");
	} else if (sscanf(command, "set-error %127s", text) == 1) {
		snprintf(daemon->set_error, sizeof(daemon->set_error), "%s",
			 strcmp(text, "none") ? text : "");
	} else if (sscanf(command, "start-error %127s", text) == 1) {
		snprintf(daemon->start_error, sizeof(daemon->start_error), "%s",
			 strcmp(text, "none") ? text : "");
	} else if (sscanf(command, "stop-error %127s", text) == 1) {
		snprintf(daemon->stop_error, sizeof(daemon->stop_error), "%s",
			 strcmp(text, "none") ? text : "");
	} else if (sscanf(command, "connect %127s", path) == 1) {
		mock_connect(daemon, path);
	} else if (strcmp(command, "release") == 0) {
		mock_release(daemon);
	} else if (strcmp(command, "quit") == 0) {
		mock_release(daemon);
		_exit(0);
	}
	sd_bus_flush(daemon->bus);
	mock_report(daemon, "done %s", command);
}

static void mock_daemon_main(int control)
{
	struct mock_daemon *daemon = &mock_the_daemon;
	char command[512];
	uint64_t until;

	daemon->control = control;
	if (sd_bus_open_system(&daemon->bus) < 0)
		_exit(1);
	sd_bus_add_object_manager(daemon->bus, NULL, "/");
	sd_bus_add_object_vtable(daemon->bus, NULL, "/org/bluez",
				 "org.bluez.ProfileManager1",
				 mock_manager_vtable, daemon);
	sd_bus_add_object_vtable(daemon->bus, NULL, "/org/bluez",
				 "org.bluez.AgentManager1", mock_agents_vtable,
				 daemon);
	sd_bus_add_match(daemon->bus, NULL,
			 "type='signal',sender='org.freedesktop.DBus',"
			 "member='NameOwnerChanged'",
			 mock_on_agent_gone, daemon);
	if (sd_bus_request_name(daemon->bus, "org.bluez", 0) < 0)
		_exit(1);
	mock_report(daemon, "ready");
	for (;;) {
		struct pollfd fds[2] = {
			{.fd = sd_bus_get_fd(daemon->bus), .events = POLLIN},
			{.fd = control, .events = POLLIN},
		};

		while (sd_bus_process(daemon->bus, NULL) > 0)
			;
		if (sd_bus_is_open(daemon->bus) <= 0)
			_exit(0);
		sd_bus_flush(daemon->bus);
		sd_bus_get_timeout(daemon->bus, &until);
		poll(fds, 2, until == 0 ? 0 : -1);
		if (!fds[1].revents)
			continue;
		if (recv(control, command, sizeof(command), 0) <= 0)
			_exit(0);
		mock_obey(daemon, command);
	}
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	mock_daemon_main(atoi(argv[1]));
}
