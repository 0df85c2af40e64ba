/* SPDX-License-Identifier: MIT */
#include "device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <systemd/sd-bus.h>

#include "bus.h"
#include "log.h"

#define DEVICE_INTERFACE "org.bluez.Device1"
#define DEVICES_MAX 1000
/* AD type "flags", bit 2 (Supplement to the Core spec, part A, 1.3) */
#define FLAG_NO_BREDR 0x04

struct entry {
	TAILQ_ENTRY(entry) link;
	char *path; /* /org/bluez/hci0/dev_00_11_22_33_44_55 */
	char adapter[16];
	char *name;
	char *alias;
	bool is_random;
	/*
	 * Bonded is told at once, Paired only when bluetoothd has asked for the
	 * device's services, seconds later (5.66). Older versions know
	 * Paired alone.
	 */
	bool is_paired;
	bool is_bonded;
	bool has_bonded; /* was told either way */
	uint8_t flags; /* of its advertisements; 0: not told */
	uint64_t serial; /* of the last time that it told something */
	struct device device;
};

TAILQ_HEAD(entry_queue, entry);

struct device_list {
	struct entry_queue entries; /* by serial */
	size_t count;
	uint64_t serial;
	uint64_t pairings;
	device_changed_cb changed;
	void *arg;
};

static struct entry *find(const struct device_list *list, const char *path)
{
	struct entry *entry;

	for (entry = TAILQ_FIRST(&list->entries); entry;
	     entry = TAILQ_NEXT(entry, link)) {
		if (strcmp(entry->path, path) == 0)
			return entry;
	}
	return NULL;
}

static void entry_free(struct device_list *list, struct entry *entry)
{
	TAILQ_REMOVE(&list->entries, entry, link);
	list->count--;
	free(entry->path);
	free(entry->name);
	free(entry->alias);
	free(entry);
}

/* The last in line, and as such unseen by whoever looked before. */
static void entry_add(struct device_list *list, struct entry *entry)
{
	entry->serial = ++list->serial;
	TAILQ_INSERT_TAIL(&list->entries, entry, link);
}

/* "hci0" of /org/bluez/hci0/dev_00_11_22_33_44_55 */
static int read_adapter(const char *path, char *out, size_t bytes)
{
	const char *end = strrchr(path, '/'), *begin = end;

	while (begin && begin > path && begin[-1] != '/')
		begin--;
	if (!begin || begin == end || (size_t)(end - begin) >= bytes)
		return -EINVAL;
	memcpy(out, begin, (size_t)(end - begin));
	out[end - begin] = '\0';
	return 0;
}

static bool make_room(struct device_list *list)
{
	struct entry *entry = TAILQ_FIRST(&list->entries);

	if (list->count < DEVICES_MAX)
		return true;
	while (entry && entry->device.is_paired)
		entry = TAILQ_NEXT(entry, link);
	if (entry)
		entry_free(list, entry);
	return entry;
}

static int entry_new(struct device_list *list, const char *path,
		     struct entry **out)
{
	struct entry *entry;
	int code;

	if (!make_room(list))
		return -ENOSPC;
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return -ENOMEM;
	code = read_adapter(path, entry->adapter, sizeof(entry->adapter));
	if (code == 0)
		entry->path = strdup(path);
	if (!entry->path) {
		free(entry);
		return code ? code : -ENOMEM;
	}
	entry_add(list, entry);
	list->count++;
	*out = entry;
	return 0;
}

/* ---- reading --------------------------------------------------------------- */

static int read_flag(sd_bus_message *message, bool *out)
{
	int flag, code = sd_bus_message_read(message, "v", "b", &flag);

	if (code >= 0)
		*out = flag;
	return code;
}

static int read_text(sd_bus_message *message, char **out)
{
	const char *text;
	char *copy;
	int code = sd_bus_message_read(message, "v", "s", &text);

	if (code < 0)
		return code;
	copy = *text ? strdup(text) : NULL;
	if (*text && !copy)
		return -ENOMEM;
	free(*out);
	*out = copy;
	return 0;
}

static int read_flags(sd_bus_message *message, uint8_t *out)
{
	const void *octets;
	size_t bytes;
	int code = sd_bus_message_enter_container(message, 'v', "ay");

	if (code < 0)
		return code;
	code = sd_bus_message_read_array(message, 'y', &octets, &bytes);
	if (code < 0)
		return code;
	*out = bytes ? *(const uint8_t *)octets : 0;
	return sd_bus_message_exit_container(message);
}

static int read_property(sd_bus_message *message, const char *name, void *arg)
{
	struct entry *entry = arg; /* what is not told stays */
	struct device *device = &entry->device;
	const char *text;
	int code;

	if (strcmp(name, "Address") == 0) {
		code = sd_bus_message_read(message, "v", "s", &text);
		if (code >= 0)
			code = address_bluetooth_parse(text, &device->address,
						       NULL);
		return code;
	}
	if (strcmp(name, "AddressType") == 0) {
		code = sd_bus_message_read(message, "v", "s", &text);
		if (code >= 0)
			entry->is_random = strcmp(text, "random") == 0;
		return code;
	}
	if (strcmp(name, "Name") == 0)
		return read_text(message, &entry->name);
	if (strcmp(name, "Alias") == 0)
		return read_text(message, &entry->alias);
	if (strcmp(name, "Class") == 0)
		return sd_bus_message_read(message, "v", "u", &device->class);
	if (strcmp(name, "RSSI") == 0)
		return sd_bus_message_read(message, "v", "n", &device->rssi);
	if (strcmp(name, "Paired") == 0)
		return read_flag(message, &entry->is_paired);
	if (strcmp(name, "Bonded") == 0) {
		entry->has_bonded = true;
		return read_flag(message, &entry->is_bonded);
	}
	if (strcmp(name, "Trusted") == 0)
		return read_flag(message, &device->is_trusted);
	if (strcmp(name, "Connected") == 0)
		return read_flag(message, &device->is_connected);
	if (strcmp(name, "AdvertisingFlags") == 0)
		return read_flags(message, &entry->flags);
	return sd_bus_message_skip(message, "v");
}

/* The names of properties that have no value any more. */
static int read_invalidated(sd_bus_message *message, struct entry *entry)
{
	const char *name;
	int code = sd_bus_message_enter_container(message, 'a', "s");

	if (code < 0)
		return code;
	while ((code = sd_bus_message_read(message, "s", &name)) > 0) {
		/* The search is over. */
		if (strcmp(name, "RSSI") == 0)
			entry->device.rssi = 0;
	}
	return code < 0 ? code : sd_bus_message_exit_container(message);
}

/* bluetoothd's alias for one without a name: "00-11-22-33-44-55" */
static bool is_only_address(const struct entry *entry)
{
	char text[ADDRESS_BLUETOOTH_TEXT_BYTES];

	address_bluetooth_format(&entry->device.address, text);
	for (char *c = text; *c; c++)
		if (*c == ':')
			*c = '-';
	return strcmp(entry->alias, text) == 0;
}

static void entry_finish(struct device_list *list, struct entry *entry)
{
	struct device *device = &entry->device;
	bool was_paired = device->is_paired;

	device->path = entry->path;
	device->adapter = entry->adapter;
	device->name = entry->name;
	device->alias = entry->alias && !is_only_address(entry) ? entry->alias
								: NULL;
	device->is_paired = entry->is_paired || entry->is_bonded;
	device->is_bonded = entry->has_bonded ? entry->is_bonded
					      : entry->is_paired;
	device->is_le_only = !device->class &&
			     (entry->is_random || entry->flags & FLAG_NO_BREDR);
	if (device->is_paired && !was_paired)
		device->pairing = ++list->pairings;
}

/*
 * bluetoothd tells of a device when it has nothing else to do: of one that came
 * and paired at once, only then (seen in 5.66). What it loads itself when it starts
 * is told of before it asks the kernel who is connected.
 */
static int add_device(struct device_list *list, sd_bus_message *message,
		      const char *path, bool is_loaded)
{
	static const struct address_bluetooth none;
	struct entry *entry = find(list, path);
	int code;

	if (entry)
		entry_free(list, entry);
	code = entry_new(list, path, &entry);
	if (code == -ENOMEM)
		return code; /* all is asked for again */
	if (code < 0) {
		log_debug("bluez: device %s: %s", path, strerror(-code));
		return sd_bus_message_skip(message, "a{sv}");
	}
	code = bus_read_properties(message, read_property, entry);
	if (code >= 0 && !memcmp(&entry->device.address, &none, sizeof(none)))
		code = -EBADMSG;
	if (code < 0) {
		entry_free(list, entry);
		return code;
	}
	entry_finish(list, entry);
	/* It has not paired now. */
	if (is_loaded || !entry->device.is_connected)
		entry->device.pairing = 0;
	list->changed(list->arg);
	return 0;
}

static int load_device(sd_bus_message *message, const char *path, void *arg)
{
	return add_device(arg, message, path, true);
}

static int take_added_device(sd_bus_message *message, const char *path,
			     void *arg)
{
	return add_device(arg, message, path, false);
}

int device_list_load(struct device_list *list, struct sd_bus_message *answer)
{
	return bus_read_objects(answer, DEVICE_INTERFACE, load_device, list);
}

int device_list_take_added(struct device_list *list,
			   struct sd_bus_message *signal)
{
	return bus_read_added(signal, DEVICE_INTERFACE, take_added_device,
			      list);
}

int device_list_take_removed(struct device_list *list,
			     struct sd_bus_message *signal)
{
	struct entry *entry;
	const char *path;
	int code = bus_read_removed(signal, DEVICE_INTERFACE, &path);

	entry = code > 0 ? find(list, path) : NULL;
	if (!entry)
		return code;
	entry_free(list, entry);
	list->changed(list->arg);
	return 0;
}

int device_list_take_changed(struct device_list *list,
			     struct sd_bus_message *signal)
{
	struct entry *entry = find(list, sd_bus_message_get_path(signal));
	const char *interface;
	int code;

	if (!entry)
		return 0;
	code = sd_bus_message_read(signal, "s", &interface);
	if (code >= 0)
		code = bus_read_properties(signal, read_property, entry);
	if (code >= 0)
		code = read_invalidated(signal, entry);
	/* What could be read before an error has been taken. */
	entry_finish(list, entry);
	TAILQ_REMOVE(&list->entries, entry, link);
	entry_add(list, entry);
	list->changed(list->arg);
	return code;
}

/* ---- asking ------------------------------------------------------------------ */

void device_list_each(const struct device_list *list, device_cb cb, void *arg)
{
	const struct entry *entry;

	for (entry = TAILQ_FIRST(&list->entries); entry;
	     entry = TAILQ_NEXT(entry, link))
		cb(&entry->device, arg);
}

const struct device *device_list_next(const struct device_list *list,
				      uint64_t *serial)
{
	const struct entry *entry = TAILQ_LAST(&list->entries, entry_queue);
	const struct entry *next = NULL;

	while (entry && entry->serial > *serial) {
		next = entry;
		entry = TAILQ_PREV(entry, entry_queue, link);
	}
	if (!next)
		return NULL;
	*serial = next->serial;
	return &next->device;
}

uint64_t device_list_serial(const struct device_list *list)
{
	return list->serial;
}

const struct device *device_list_find(const struct device_list *list,
				      const char *path)
{
	const struct entry *entry = find(list, path);

	return entry ? &entry->device : NULL;
}

uint64_t device_list_pairings(const struct device_list *list)
{
	return list->pairings;
}

void device_list_clear(struct device_list *list)
{
	struct entry *entry;

	while ((entry = TAILQ_FIRST(&list->entries)))
		entry_free(list, entry);
}

struct device_list *device_list_new(device_changed_cb changed, void *arg)
{
	struct device_list *list = calloc(1, sizeof(*list));

	if (!list)
		return NULL;
	list->changed = changed;
	list->arg = arg;
	TAILQ_INIT(&list->entries);
	return list;
}

void device_list_free(struct device_list *list)
{
	if (!list)
		return;
	device_list_clear(list);
	free(list);
}
