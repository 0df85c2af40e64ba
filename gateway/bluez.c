/* SPDX-License-Identifier: MIT */
#include "bluez.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>

#include <event2/event.h>
#include <systemd/sd-bus.h>

#include "bus.h"
#include "controller.h"
#include "discovery.h"
#include "error.h"
#include "log.h"
#include "loop.h"

#define BLUEZ_NAME "org.bluez"
#define PROFILE_MANAGER_PATH "/org/bluez"
#define PROFILE_MANAGER "org.bluez.ProfileManager1"
#define MATCHES 5
/*
 * After bluetoothd or an adapter has come or gone: so long it may take until
 * both are there and powered again.
 */
#define GRACE_MS 5000

static const char not_running[] = "bluetoothd is not running";
static const struct address_adapter any_adapter = {
	.choice = ADAPTER_CHOICE_ANY,
};

enum record_state {
	RECORD_STATE_ASKED,
	RECORD_STATE_UP,
	RECORD_STATE_OVER, /* refused, released, or bluetoothd is gone */
};

struct bluez_record {
	TAILQ_ENTRY(bluez_record) link;
	struct bluez *bluez;
	enum record_state state;
	char path[40]; /* of the Profile1 object that stands for it */
	sd_bus_slot *object;
	sd_bus_slot *call;
	bluez_record_cb done;
	void *arg;
	struct loop_task done_task;
	int code;
	struct error error;
};

enum seek_state {
	SEEK_STATE_SEARCHING,
	SEEK_STATE_FAILED,
	SEEK_STATE_STOPPING, /* until no search is under way */
	SEEK_STATE_STOPPED,
};

struct bluez_discovery {
	TAILQ_ENTRY(bluez_discovery) link;
	struct bluez *bluez;
	struct address_adapter choice;
	enum seek_state state;
	const struct bluez_discovery_ops *ops;
	void *arg;
	struct loop_task task; /* tell what is new */
	uint64_t serial; /* of the device that was told of last */
	int code;
	struct error error;
};

TAILQ_HEAD(record_queue, bluez_record);
TAILQ_HEAD(discovery_queue, bluez_discovery);
TAILQ_HEAD(watcher_queue, bluez_watcher);

struct bluez {
	struct loop *loop;
	struct bluez_settings settings;
	char *name; /* the settings' one */
	struct watcher_queue watchers;
	enum bluez_state state;
	char reason[ERROR_TEXT_BYTES];
	struct bus *bus;
	sd_bus *handle; /* NULL while there is no connection */
	bool is_given_up; /* the connection is about to be dropped */
	char *owner; /* bluetoothd's unique name, NULL without one */
	sd_bus_slot *matches[MATCHES];
	sd_bus_slot *owner_call;
	sd_bus_slot *objects_call;
	struct adapter_list *adapters;
	struct device_list *devices;
	uint64_t pairings; /* of the devices, that watchers were told of */
	struct agent *agent; /* NULL: none is wanted */
	const struct agent_ops *agent_ops; /* of whoever wants it */
	void *agent_arg;
	struct discovery *discovery;
	struct discovery_queue discoveries; /* who wants it */
	struct loop_task seek_task; /* look after them */
	struct event *grace_timer;
	uint64_t changed_ms; /* when anything came or went; 0: not yet */
	struct record_queue records;
	unsigned int records_made;
};

const char *bluez_state_to_string(enum bluez_state state)
{
	switch (state) {
	case BLUEZ_STATE_NO_BUS:
		return "no bus";
	case BLUEZ_STATE_NO_DAEMON:
		return "no bluetoothd";
	case BLUEZ_STATE_READY:
		return "ready";
	}
	return "?";
}

static void tell_watchers(struct bluez *bluez)
{
	struct bluez_watcher *watcher;

	for (watcher = TAILQ_FIRST(&bluez->watchers); watcher;
	     watcher = TAILQ_NEXT(watcher, link))
		loop_defer(bluez->loop, &watcher->task);
}

/* The one place where the state changes. */
static void set_state(struct bluez *bluez, enum bluez_state state,
		      const char *reason)
{
	if (state == bluez->state && strcmp(reason, bluez->reason) == 0)
		return;
	if (state != bluez->state || !*bluez->reason)
		log_info("bluez: %s -> %s (%s)",
			 *bluez->reason ? bluez_state_to_string(bluez->state)
					: "starting",
			 bluez_state_to_string(state), reason);
	bluez->state = state;
	snprintf(bluez->reason, sizeof(bluez->reason), "%s", reason);
	tell_watchers(bluez);
	loop_defer(bluez->loop, &bluez->seek_task);
}

/* What holds now may not hold for long. */
static void note_change(struct bluez *bluez)
{
	bluez->changed_ms = loop_now_ms();
}

/* At once: what was asked of an adapter that went off and on again is void. */
static void update_discovery(struct bluez *bluez)
{
	const char *paths[CONTROLLERS_MAX];
	size_t count = adapter_list_paths(bluez->adapters, &any_adapter, paths,
					  CONTROLLERS_MAX);

	discovery_set_adapters(bluez->discovery, bluez->handle, paths, count);
}

static void on_adapter_changed(void *arg)
{
	struct bluez *bluez = arg;

	/* The first ones are no change. */
	if (bluez->state == BLUEZ_STATE_READY)
		note_change(bluez);
	update_discovery(bluez);
	tell_watchers(bluez);
}

static void run_watcher(void *arg)
{
	struct bluez_watcher *watcher = arg;

	watcher->changed(watcher->bluez, watcher->arg);
}

void bluez_watch(struct bluez *bluez, struct bluez_watcher *watcher,
		 bluez_changed_cb changed, void *arg)
{
	*watcher = (struct bluez_watcher){
		.bluez = bluez,
		.task = {.run = run_watcher, .arg = watcher},
		.changed = changed,
		.arg = arg,
	};
	TAILQ_INSERT_TAIL(&bluez->watchers, watcher, link);
}

void bluez_unwatch(struct bluez_watcher *watcher)
{
	if (!watcher->bluez)
		return;
	TAILQ_REMOVE(&watcher->bluez->watchers, watcher, link);
	loop_cancel(watcher->bluez->loop, &watcher->task);
	watcher->bluez = NULL;
}

/* ---- records ------------------------------------------------------------ */

static void run_done(void *arg)
{
	struct bluez_record *record = arg;

	record->done(record->code, &record->error, record->arg);
}

/* The one place where a record's state changes. */
static void record_set_state(struct bluez_record *record,
			     enum record_state state, int code)
{
	record->state = state;
	record->code = code;
	record->call = sd_bus_slot_unref(record->call);
	if (state == RECORD_STATE_OVER)
		record->object = sd_bus_slot_unref(record->object);
	loop_defer(record->bluez->loop, &record->done_task);
}

static void records_end(struct bluez *bluez, const char *reason)
{
	struct bluez_record *record;

	for (record = TAILQ_FIRST(&bluez->records); record;
	     record = TAILQ_NEXT(record, link)) {
		if (record->state != RECORD_STATE_OVER)
			record_set_state(record, RECORD_STATE_OVER,
					 error_set(&record->error, -ECONNRESET,
						   "%s", reason));
	}
}

static bool is_from_daemon(const struct bluez *bluez, sd_bus_message *message)
{
	const char *sender = sd_bus_message_get_sender(message);

	return sender && bluez->owner && strcmp(sender, bluez->owner) == 0;
}

/* bluetoothd ends (SIGTERM), and takes its leave of each record first. */
static int on_release(sd_bus_message *call, void *arg, sd_bus_error *error)
{
	struct bluez_record *record = arg;

	if (!is_from_daemon(record->bluez, call))
		return sd_bus_error_set(error, SD_BUS_ERROR_ACCESS_DENIED,
					"only bluetoothd may");
	/* Before the state: that takes the object away that was called. */
	sd_bus_reply_method_return(call, NULL);
	record_set_state(record, RECORD_STATE_OVER,
			 error_set(&record->error, -ECONNRESET,
				   "bluetoothd is ending"));
	return 1;
}

/* It opens no socket for us, so there is no connection that it could bring. */
static int on_unwanted(sd_bus_message *call, void *arg, sd_bus_error *error)
{
	return sd_bus_error_set(error, "org.bluez.Error.Rejected",
				"btgate listens by itself");
}

static const sd_bus_vtable profile_vtable[] = {
	SD_BUS_VTABLE_START(0),
	/* Unprivileged: sd-bus would block to ask for the caller's. */
	SD_BUS_METHOD("Release", "", "", on_release,
		      SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("NewConnection", "oha{sv}", "", on_unwanted,
		      SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("RequestDisconnection", "o", "", on_unwanted,
		      SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

static int on_registered(sd_bus_message *answer, void *arg,
			 sd_bus_error *unused)
{
	struct bluez_record *record = arg;
	const sd_bus_error *failure = sd_bus_message_get_error(answer);

	if (failure)
		record_set_state(record, RECORD_STATE_OVER,
				 bus_explain(failure, &record->error));
	else
		record_set_state(record, RECORD_STATE_UP, 0);
	return 0;
}

/*
 * A version 4 UUID of our own: bluetoothd takes each only once, and compares
 * it with nothing in the record (bluez src/profile.c).
 */
static int make_uuid(char text[ADDRESS_UUID_TEXT_BYTES])
{
	struct address_uuid uuid;

	if (getrandom(uuid.octets, sizeof(uuid.octets), GRND_NONBLOCK) !=
	    (ssize_t)sizeof(uuid.octets))
		return errno ? -errno : -EIO;
	uuid.octets[6] = (uint8_t)((uuid.octets[6] & 0x0f) | 0x40);
	uuid.octets[8] = (uint8_t)((uuid.octets[8] & 0x3f) | 0x80);
	address_uuid_format(&uuid, text);
	return 0;
}

static int ask_to_register(struct bluez_record *record, const char *xml)
{
	struct bluez *bluez = record->bluez;
	char uuid[ADDRESS_UUID_TEXT_BYTES];
	sd_bus_message *call = NULL;
	int code = make_uuid(uuid);

	if (code < 0)
		return code;
	code = bus_new_call(bluez->handle, &call, PROFILE_MANAGER_PATH,
			    PROFILE_MANAGER, "RegisterProfile");
	if (code >= 0)
		code = sd_bus_message_append(call, "osa{sv}", record->path,
					     uuid, 2, "Role", "s", "server",
					     "ServiceRecord", "s", xml);
	if (code >= 0)
		code = sd_bus_call_async(bluez->handle, &record->call, call,
					 on_registered, record, 0);
	sd_bus_message_unref(call);
	return code;
}

/* Answers to nobody: what could be done about a refusal? */
static void ask_to_unregister(const struct bluez_record *record)
{
	struct bluez *bluez = record->bluez;
	sd_bus_message *call = NULL;
	int code = bus_new_call(bluez->handle, &call, PROFILE_MANAGER_PATH,
				PROFILE_MANAGER, "UnregisterProfile");

	if (code >= 0)
		code = sd_bus_message_append(call, "o", record->path);
	if (code >= 0)
		code = sd_bus_message_set_expect_reply(call, 0);
	if (code >= 0)
		code = sd_bus_send(bluez->handle, call, NULL);
	if (code < 0)
		log_debug("bluez: UnregisterProfile: %s", strerror(-code));
	sd_bus_message_unref(call);
	bus_watch(bluez->bus);
}

struct bluez_record *bluez_record_new(struct bluez *bluez, const char *xml,
				      bluez_record_cb done, void *arg)
{
	struct bluez_record *record;
	int code;

	if (bluez->state != BLUEZ_STATE_READY) {
		errno = ENOTCONN;
		return NULL;
	}
	record = calloc(1, sizeof(*record));
	if (!record)
		return NULL;
	record->bluez = bluez;
	record->done = done;
	record->arg = arg;
	record->done_task = (struct loop_task){.run = run_done, .arg = record};
	snprintf(record->path, sizeof(record->path), "/btgate/record%u",
		 ++bluez->records_made);
	TAILQ_INSERT_TAIL(&bluez->records, record, link);
	code = sd_bus_add_object_vtable(bluez->handle, &record->object,
					record->path, "org.bluez.Profile1",
					profile_vtable, record);
	if (code >= 0)
		code = ask_to_register(record, xml);
	bus_watch(bluez->bus);
	if (code < 0) {
		record->state = RECORD_STATE_OVER;
		bluez_record_free(record);
		errno = -code;
		return NULL;
	}
	return record;
}

void bluez_record_free(struct bluez_record *record)
{
	if (!record)
		return;
	/* An unanswered request may still be carried out. */
	if (record->bluez->owner &&
	    (record->state != RECORD_STATE_OVER || record->code == -ETIMEDOUT))
		ask_to_unregister(record);
	TAILQ_REMOVE(&record->bluez->records, record, link);
	loop_cancel(record->bluez->loop, &record->done_task);
	sd_bus_slot_unref(record->call);
	sd_bus_slot_unref(record->object);
	free(record);
}

/* ---- devices ------------------------------------------------------------- */

struct device_walk {
	const struct bluez *bluez;
	const struct address_adapter *choice;
	device_cb cb;
	void *arg;
};

static void walk_device(const struct device *device, void *arg)
{
	const struct device_walk *walk = arg;

	if (adapter_list_has(walk->bluez->adapters, walk->choice,
			     device->adapter))
		walk->cb(device, walk->arg);
}

void bluez_devices(const struct bluez *bluez,
		   const struct address_adapter *choice, device_cb cb,
		   void *arg)
{
	struct device_walk walk = {
		.bluez = bluez,
		.choice = choice,
		.cb = cb,
		.arg = arg,
	};

	device_list_each(bluez->devices, walk_device, &walk);
}

struct paired_name {
	const struct address_bluetooth *address;
	const char *name;
};

static void take_paired_name(const struct device *device, void *arg)
{
	struct paired_name *paired = arg;

	if (device->is_paired &&
	    !memcmp(&device->address, paired->address, sizeof(device->address)))
		paired->name = device->alias ? device->alias : device->name;
}

const char *bluez_paired_name(const struct bluez *bluez,
			      const struct address_adapter *choice,
			      const struct address_bluetooth *address)
{
	struct paired_name paired = {.address = address};

	bluez_devices(bluez, choice, take_paired_name, &paired);
	return paired.name;
}

struct bond {
	const struct address_bluetooth *address;
	bool is_there;
};

static void take_bond(const struct device *device, void *arg)
{
	struct bond *bond = arg;

	if (device->is_bonded &&
	    !memcmp(&device->address, bond->address, sizeof(device->address)))
		bond->is_there = true;
}

bool bluez_is_bonded(const struct bluez *bluez,
		     const struct address_adapter *choice,
		     const struct address_bluetooth *address)
{
	struct bond bond = {.address = address};

	bluez_devices(bluez, choice, take_bond, &bond);
	return bond.is_there;
}

uint64_t bluez_pairings(const struct bluez *bluez)
{
	return device_list_pairings(bluez->devices);
}

const struct device *bluez_device_at(const struct bluez *bluez,
				     const char *path)
{
	return device_list_find(bluez->devices, path);
}

struct adapter_of {
	const struct bluez *bluez;
	const struct address_bluetooth *address;
	const struct address_bluetooth *adapter;
	bool is_paired;
};

static void take_adapter(const struct device *device, void *arg)
{
	struct adapter_of *of = arg;
	const struct address_bluetooth *adapter;

	if (memcmp(&device->address, of->address, sizeof(device->address)) ||
	    (of->adapter && (of->is_paired || !device->is_paired)))
		return;
	adapter = adapter_list_address(of->bluez->adapters, device->adapter);
	if (!adapter)
		return;
	of->adapter = adapter;
	of->is_paired = device->is_paired;
}

bool bluez_adapter_of(const struct bluez *bluez,
		      const struct address_adapter *choice,
		      const struct address_bluetooth *address,
		      struct address_bluetooth *adapter)
{
	struct adapter_of of = {.bluez = bluez, .address = address};

	bluez_devices(bluez, choice, take_adapter, &of);
	if (of.adapter)
		*adapter = *of.adapter;
	return of.adapter;
}

/* The one place where the state of one who searches changes. */
static void seek_set_state(struct bluez_discovery *seek, enum seek_state state)
{
	struct bluez *bluez = seek->bluez;

	seek->state = state;
	loop_defer(bluez->loop, &bluez->seek_task);
	if (state == SEEK_STATE_FAILED || state == SEEK_STATE_STOPPED)
		loop_defer(bluez->loop, &seek->task);
}

/* Whether somebody searches with the adapter @name. */
static bool is_wanted(const struct bluez *bluez, const char *name)
{
	const struct bluez_discovery *seek;

	for (seek = TAILQ_FIRST(&bluez->discoveries); seek;
	     seek = TAILQ_NEXT(seek, link))
		if (seek->state == SEEK_STATE_SEARCHING &&
		    adapter_list_has(bluez->adapters, &seek->choice, name))
			return true;
	return false;
}

/* One that nobody asked for stays quiet: a search disturbs its links. */
static void want_searches(struct bluez *bluez)
{
	const char *paths[CONTROLLERS_MAX];
	size_t count = adapter_list_paths(bluez->adapters, &any_adapter, paths,
					  CONTROLLERS_MAX);

	for (size_t i = 0; i < count; i++)
		discovery_set_wanted(bluez->discovery, paths[i],
				     is_wanted(bluez,
					       strrchr(paths[i], '/') + 1));
}

/* How long what is wrong may still pass by itself. */
static unsigned int grace_ms(const struct bluez *bluez)
{
	uint64_t until_ms = bluez->changed_ms + GRACE_MS,
		 now_ms = loop_now_ms();

	return bluez->changed_ms && until_ms > now_ms
		       ? (unsigned int)(until_ms - now_ms)
		       : 0;
}

/* True if what is wrong is not likely to pass; else it is looked at again. */
static bool is_settled(struct bluez *bluez)
{
	unsigned int left_ms = grace_ms(bluez);

	if (left_ms)
		loop_start_timer(bluez->grace_timer, left_ms);
	return !left_ms;
}

/* 0 while there is hope, or why nothing can be searched for. */
static int check_search(const struct bluez_discovery *seek, struct error *error)
{
	struct bluez *bluez = seek->bluez;
	const char *paths[CONTROLLERS_MAX];
	size_t count = adapter_list_paths(bluez->adapters, &seek->choice, paths,
					  CONTROLLERS_MAX);

	if (bluez->state != BLUEZ_STATE_READY)
		return *bluez->reason && is_settled(bluez)
			       ? error_set(error, -ENOTCONN, "%.200s%s",
					   bluez->reason, bluez_advice(bluez))
			       : 0;
	switch (discovery_state(bluez->discovery, paths, count)) {
	case DISCOVERY_STATE_NO_ADAPTER:
		return is_settled(bluez)
			       ? adapter_list_check(bluez->adapters,
						    &seek->choice, error)
			       : 0;
	case DISCOVERY_STATE_FAILED:
		return discovery_explain(bluez->discovery, paths, count, error);
	case DISCOVERY_STATE_IDLE:
	case DISCOVERY_STATE_STOPPING:
	case DISCOVERY_STATE_STARTING:
	case DISCOVERY_STATE_RUNNING:
		break;
	}
	return 0;
}

/* Whether bluetoothd has yet to answer that it does not search any more. */
static bool is_ending(const struct bluez_discovery *seek)
{
	const struct bluez *bluez = seek->bluez;
	const char *paths[CONTROLLERS_MAX];
	size_t count = adapter_list_paths(bluez->adapters, &seek->choice, paths,
					  CONTROLLERS_MAX);

	return discovery_state(bluez->discovery, paths, count) ==
	       DISCOVERY_STATE_STOPPING;
}

/* Something changed for those who search: what, is looked up here. */
static void run_seek(void *arg)
{
	struct bluez *bluez = arg;
	struct bluez_discovery *seek;

	event_del(bluez->grace_timer);
	want_searches(bluez);
	for (seek = TAILQ_FIRST(&bluez->discoveries); seek;
	     seek = TAILQ_NEXT(seek, link)) {
		if (seek->state == SEEK_STATE_STOPPING && !is_ending(seek))
			seek_set_state(seek, SEEK_STATE_STOPPED);
		if (seek->state != SEEK_STATE_SEARCHING)
			continue;
		seek->code = check_search(seek, &seek->error);
		if (seek->code)
			seek_set_state(seek, SEEK_STATE_FAILED);
		else if (seek->serial < device_list_serial(bluez->devices))
			loop_defer(bluez->loop, &seek->task);
	}
}

static void on_grace_over(evutil_socket_t fd, short what, void *arg)
{
	run_seek(arg);
}

static void on_devices_changed(void *arg)
{
	struct bluez *bluez = arg;
	uint64_t pairings = device_list_pairings(bluez->devices);

	if (pairings != bluez->pairings)
		tell_watchers(bluez);
	bluez->pairings = pairings;
	loop_defer(bluez->loop, &bluez->seek_task);
}

static void on_search_changed(void *arg)
{
	struct bluez *bluez = arg;

	loop_defer(bluez->loop, &bluez->seek_task);
}

static const struct device *next_seen(struct bluez_discovery *seek)
{
	const struct bluez *bluez = seek->bluez;
	const struct device *device;

	do
		device = device_list_next(bluez->devices, &seek->serial);
	while (device && !adapter_list_has(bluez->adapters, &seek->choice,
					   device->adapter));
	return device;
}

/* One callback a turn: it may free all this. */
static void run_tell(void *arg)
{
	struct bluez_discovery *seek = arg;
	const struct device *device;

	switch (seek->state) {
	case SEEK_STATE_SEARCHING:
		device = next_seen(seek);
		if (!device)
			break;
		loop_defer(seek->bluez->loop, &seek->task);
		seek->ops->seen(device, seek->arg);
		break;
	case SEEK_STATE_FAILED:
		seek->ops->failed(seek->code, &seek->error, seek->arg);
		break;
	case SEEK_STATE_STOPPED:
		seek->ops->stopped(seek->arg);
		break;
	case SEEK_STATE_STOPPING:
		break;
	}
}

struct bluez_discovery *bluez_discovery_new(
	struct bluez *bluez, const struct address_adapter *choice,
	const struct bluez_discovery_ops *ops, void *arg)
{
	struct bluez_discovery *seek = calloc(1, sizeof(*seek));

	if (!seek)
		return NULL;
	seek->bluez = bluez;
	seek->choice = *choice;
	seek->ops = ops;
	seek->arg = arg;
	seek->task = (struct loop_task){.run = run_tell, .arg = seek};
	seek->serial = device_list_serial(bluez->devices);
	TAILQ_INSERT_TAIL(&bluez->discoveries, seek, link);
	seek_set_state(seek, SEEK_STATE_SEARCHING);
	return seek;
}

void bluez_discovery_stop(struct bluez_discovery *discovery)
{
	if (discovery->state == SEEK_STATE_SEARCHING ||
	    discovery->state == SEEK_STATE_FAILED)
		seek_set_state(discovery, SEEK_STATE_STOPPING);
}

void bluez_discovery_free(struct bluez_discovery *discovery)
{
	struct bluez *bluez;

	if (!discovery)
		return;
	bluez = discovery->bluez;
	TAILQ_REMOVE(&bluez->discoveries, discovery, link);
	loop_cancel(bluez->loop, &discovery->task);
	loop_defer(bluez->loop, &bluez->seek_task);
	free(discovery);
}

/* ---- the agent ----------------------------------------------------------- */

static void on_agent_registered(int code, const struct error *error, void *arg)
{
	struct bluez *bluez = arg;

	adapter_list_set_agent(bluez->adapters, code == 0);
	bluez->agent_ops->registered(code, error, bluez->agent_arg);
}

static void on_agent_asked(const struct agent_request *request, void *arg)
{
	struct bluez *bluez = arg;

	bluez->agent_ops->asked(request, bluez->agent_arg);
}

static bool on_agent_shown(const struct agent_request *request, void *arg)
{
	struct bluez *bluez = arg;

	return bluez->agent_ops->shown(request, bluez->agent_arg);
}

static void on_agent_withdrawn(void *arg)
{
	struct bluez *bluez = arg;

	bluez->agent_ops->withdrawn(bluez->agent_arg);
}

static void attach_agent(struct bluez *bluez)
{
	if (bluez->agent && bluez->state == BLUEZ_STATE_READY)
		agent_attach(bluez->agent, bluez->handle, bluez->owner);
}

static void detach_agent(struct bluez *bluez)
{
	adapter_list_set_agent(bluez->adapters, false);
	if (bluez->agent)
		agent_detach(bluez->agent);
}

struct agent *bluez_agent_new(struct bluez *bluez,
			      enum agent_capability capability,
			      const struct agent_ops *ops, void *arg)
{
	static const struct agent_ops between = {
		.asked = on_agent_asked,
		.shown = on_agent_shown,
		.withdrawn = on_agent_withdrawn,
		.registered = on_agent_registered,
	};

	assert(!bluez->agent);
	bluez->agent_ops = ops;
	bluez->agent_arg = arg;
	bluez->agent = agent_new(bluez->loop, bluez->bus, capability, &between,
				 bluez);
	attach_agent(bluez);
	return bluez->agent;
}

void bluez_agent_free(struct bluez *bluez)
{
	agent_free(bluez->agent);
	bluez->agent = NULL;
	adapter_list_set_agent(bluez->adapters, false);
}

/* ---- bluetoothd comes and goes ------------------------------------------ */

static void lose_daemon(struct bluez *bluez, enum bluez_state state,
			const char *reason)
{
	if (bluez->state == BLUEZ_STATE_READY)
		note_change(bluez);
	bluez->objects_call = sd_bus_slot_unref(bluez->objects_call);
	detach_agent(bluez);
	free(bluez->owner);
	bluez->owner = NULL;
	adapter_list_clear(bluez->adapters);
	update_discovery(bluez);
	device_list_clear(bluez->devices);
	records_end(bluez, reason);
	set_state(bluez, state, reason);
}

/*
 * bluetoothd answers, but not as it should: try it all again later. Until
 * something else is found that stays the state and the reason.
 */
static void give_up(struct bluez *bluez, const char *reason)
{
	bluez->is_given_up = true;
	lose_daemon(bluez, BLUEZ_STATE_NO_DAEMON, reason);
	bus_drop(bluez->bus, reason);
}

static int on_objects(sd_bus_message *answer, void *arg, sd_bus_error *unused)
{
	struct bluez *bluez = arg;
	const sd_bus_error *failure = sd_bus_message_get_error(answer);
	struct error error;
	int code;

	bluez->objects_call = sd_bus_slot_unref(bluez->objects_call);
	if (failure) {
		bus_explain(failure, &error);
		error_prefix(&error, 0, "bluetoothd cannot be asked");
		give_up(bluez, error.text);
		return 0;
	}
	code = adapter_list_load(bluez->adapters, bluez->handle, answer);
	if (code >= 0)
		code = sd_bus_message_rewind(answer, 1);
	if (code >= 0)
		code = device_list_load(bluez->devices, answer);
	if (code < 0) {
		error_set(&error, code, "bluetoothd cannot be understood (%s)",
			  strerror(-code));
		give_up(bluez, error.text);
		return 0;
	}
	set_state(bluez, BLUEZ_STATE_READY, "bluetoothd is on the system bus");
	attach_agent(bluez);
	return 0;
}

static int ask_for_objects(struct bluez *bluez)
{
	sd_bus_message *call = NULL;
	int code = bus_new_call(bluez->handle, &call, "/",
				"org.freedesktop.DBus.ObjectManager",
				"GetManagedObjects");

	if (code >= 0)
		code = sd_bus_call_async(bluez->handle, &bluez->objects_call,
					 call, on_objects, bluez, 0);
	sd_bus_message_unref(call);
	return code;
}

static void take_owner(struct bluez *bluez, const char *owner)
{
	int code;

	if (!*owner) {
		lose_daemon(bluez, BLUEZ_STATE_NO_DAEMON, not_running);
		return;
	}
	if (bluez->owner)
		lose_daemon(bluez, BLUEZ_STATE_NO_DAEMON,
			    "bluetoothd was restarted");
	bluez->owner = strdup(owner);
	code = bluez->owner ? ask_for_objects(bluez) : -ENOMEM;
	if (code < 0)
		give_up(bluez, strerror(-code));
}

static int on_owner(sd_bus_message *answer, void *arg, sd_bus_error *unused)
{
	struct bluez *bluez = arg;
	const sd_bus_error *failure = sd_bus_message_get_error(answer);
	const char *owner = "";
	struct error error;

	bluez->owner_call = sd_bus_slot_unref(bluez->owner_call);
	if (failure && strcmp(failure->name, SD_BUS_ERROR_NAME_HAS_NO_OWNER)) {
		bus_explain(failure, &error);
		give_up(bluez, error.text);
		return 0;
	}
	if (!failure && sd_bus_message_read(answer, "s", &owner) < 0)
		owner = "";
	/* A signal that came in between may have told the same. */
	if (!bluez->owner || strcmp(owner, bluez->owner) != 0)
		take_owner(bluez, owner);
	return 0;
}

static int on_owner_changed(sd_bus_message *signal, void *arg,
			    sd_bus_error *unused)
{
	struct bluez *bluez = arg;
	const char *name, *old, *new;

	if (sd_bus_message_read(signal, "sss", &name, &old, &new) > 0 &&
	    strcmp(name, BLUEZ_NAME) == 0) {
		note_change(bluez);
		take_owner(bluez, new);
	}
	return 0;
}

static int on_signal(sd_bus_message *signal, void *arg, sd_bus_error *unused)
{
	struct bluez *bluez = arg;
	const char *member = sd_bus_message_get_member(signal);
	int code = 0;

	if (!is_from_daemon(bluez, signal))
		return 0;
	/* Until the objects are told all signals are older than these. */
	if (bluez->objects_call)
		return 0;
	if (strcmp(member, "InterfacesAdded") == 0) {
		code = adapter_list_take_added(bluez->adapters, signal);
		if (code >= 0)
			code = sd_bus_message_rewind(signal, 1);
		if (code >= 0)
			code = device_list_take_added(bluez->devices, signal);
	} else if (strcmp(member, "InterfacesRemoved") == 0) {
		code = adapter_list_take_removed(bluez->adapters, signal);
		if (code >= 0)
			code = sd_bus_message_rewind(signal, 1);
		if (code >= 0)
			code = device_list_take_removed(bluez->devices, signal);
	} else if (strcmp(member, "PropertiesChanged") == 0) {
		code = adapter_list_take_changed(bluez->adapters, signal);
		if (code >= 0)
			code = sd_bus_message_rewind(signal, 1);
		if (code >= 0)
			code = device_list_take_changed(bluez->devices, signal);
	}
	/* What is known is not what there is any more: all is asked for again. */
	if (code == -ENOMEM)
		give_up(bluez, "out of memory");
	else if (code < 0)
		log_debug("bluez: %s: %s", member, strerror(-code));
	return 0;
}

/*
 * Without an install callback sd-bus closes the connection when a match is
 * refused, so there is nothing to check later.
 */
static int on_opened(sd_bus *handle, void *arg)
{
	static const struct {
		const char *rule;
		sd_bus_message_handler_t handler;
	} rules[MATCHES] = {
		{"type='signal',sender='org.freedesktop.DBus',"
		 "interface='org.freedesktop.DBus',member='NameOwnerChanged',"
		 "arg0='" BLUEZ_NAME "'",
		 on_owner_changed},
		{"type='signal',sender='" BLUEZ_NAME "',"
		 "interface='org.freedesktop.DBus.ObjectManager',"
		 "member='InterfacesAdded'",
		 on_signal},
		{"type='signal',sender='" BLUEZ_NAME "',"
		 "interface='org.freedesktop.DBus.ObjectManager',"
		 "member='InterfacesRemoved'",
		 on_signal},
		{"type='signal',sender='" BLUEZ_NAME "',"
		 "interface='org.freedesktop.DBus.Properties',"
		 "member='PropertiesChanged',arg0='org.bluez.Adapter1'",
		 on_signal},
		{"type='signal',sender='" BLUEZ_NAME "',"
		 "interface='org.freedesktop.DBus.Properties',"
		 "member='PropertiesChanged',arg0='org.bluez.Device1'",
		 on_signal},
	};
	struct bluez *bluez = arg;
	int code = 0;

	bluez->handle = handle;
	for (int i = 0; code >= 0 && i < MATCHES; i++)
		code = sd_bus_add_match_async(handle, &bluez->matches[i],
					      rules[i].rule, rules[i].handler,
					      NULL, bluez);
	if (code < 0)
		return code;
	return sd_bus_call_method_async(handle, &bluez->owner_call,
					"org.freedesktop.DBus",
					"/org/freedesktop/DBus",
					"org.freedesktop.DBus", "GetNameOwner",
					on_owner, bluez, "s", BLUEZ_NAME);
}

static void on_closed(const char *reason, void *arg)
{
	struct bluez *bluez = arg;

	if (!bluez->is_given_up)
		lose_daemon(bluez, BLUEZ_STATE_NO_BUS, reason);
	bluez->is_given_up = false;
	for (int i = 0; i < MATCHES; i++)
		bluez->matches[i] = sd_bus_slot_unref(bluez->matches[i]);
	bluez->owner_call = sd_bus_slot_unref(bluez->owner_call);
	bluez->handle = NULL;
}

/* ---- the whole ----------------------------------------------------------- */

struct bluez *bluez_new(struct loop *loop,
			const struct bluez_settings *settings)
{
	struct bluez *bluez = calloc(1, sizeof(*bluez));

	if (!bluez)
		return NULL;
	bluez->loop = loop;
	bluez->settings = *settings;
	TAILQ_INIT(&bluez->watchers);
	TAILQ_INIT(&bluez->records);
	TAILQ_INIT(&bluez->discoveries);
	bluez->seek_task = (struct loop_task){.run = run_seek, .arg = bluez};
	if (settings->name) {
		bluez->name = strdup(settings->name);
		bluez->settings.name = bluez->name;
	}
	bluez->bus = bus_new(loop, on_opened, on_closed, bluez);
	if (bluez->bus)
		bluez->adapters = adapter_list_new(loop, bluez->bus,
						   &bluez->settings,
						   on_adapter_changed, bluez);
	if (bluez->adapters)
		bluez->devices = device_list_new(on_devices_changed, bluez);
	if (bluez->devices)
		bluez->discovery = discovery_new(loop, bluez->bus,
						 on_search_changed, bluez);
	if (bluez->discovery)
		bluez->grace_timer = event_new(loop->base, -1, 0, on_grace_over,
					       bluez);
	if (!bluez->grace_timer || (settings->name && !bluez->name)) {
		bluez_free(bluez);
		errno = ENOMEM;
		return NULL;
	}
	return bluez;
}

static bool is_same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

int bluez_change(struct bluez *bluez, const struct bluez_settings *settings)
{
	const struct bluez_settings *now = &bluez->settings;
	char *name = settings->name ? strdup(settings->name) : NULL;
	bool is_same = address_adapter_is_same(&now->adapter,
					       &settings->adapter) &&
		       now->is_reachable == settings->is_reachable &&
		       now->is_discoverable == settings->is_discoverable &&
		       now->is_pairable == settings->is_pairable &&
		       now->window_s == settings->window_s &&
		       now->pairable_s == settings->pairable_s &&
		       is_same_text(now->name, settings->name);

	if (settings->name && !name)
		return -ENOMEM;
	if (is_same) {
		free(name);
		return 0;
	}
	free(bluez->name);
	bluez->name = name;
	bluez->settings = *settings;
	bluez->settings.name = name;
	adapter_list_take_settings(bluez->adapters);
	return 0;
}

void bluez_free(struct bluez *bluez)
{
	if (!bluez)
		return;
	assert(TAILQ_EMPTY(&bluez->watchers));
	assert(TAILQ_EMPTY(&bluez->records));
	assert(TAILQ_EMPTY(&bluez->discoveries));
	assert(!bluez->agent);
	if (bluez->adapters)
		adapter_list_give_back(bluez->adapters);
	loop_cancel(bluez->loop, &bluez->seek_task);
	if (bluez->grace_timer)
		event_free(bluez->grace_timer);
	/* Before the connection that they are slots of. */
	discovery_free(bluez->discovery);
	adapter_list_free(bluez->adapters);
	device_list_free(bluez->devices);
	for (int i = 0; i < MATCHES; i++)
		sd_bus_slot_unref(bluez->matches[i]);
	sd_bus_slot_unref(bluez->owner_call);
	sd_bus_slot_unref(bluez->objects_call);
	if (bluez->bus)
		bus_free(bluez->bus);
	free(bluez->owner);
	free(bluez->name);
	free(bluez);
}

struct loop *bluez_loop(const struct bluez *bluez)
{
	return bluez->loop;
}

enum bluez_state bluez_state(const struct bluez *bluez)
{
	return bluez->state;
}

const char *bluez_reason(const struct bluez *bluez)
{
	return bluez->reason;
}

bool bluez_is_settled(const struct bluez *bluez)
{
	return *bluez->reason && !grace_ms(bluez);
}

const char *bluez_advice(const struct bluez *bluez)
{
	switch (bluez->state) {
	case BLUEZ_STATE_NO_BUS:
		return "; start both with 'systemctl start dbus bluetooth'; "
		       "in a container, mount /run/dbus into it and run as a "
		       "user that the host has";
	case BLUEZ_STATE_NO_DAEMON:
		if (strcmp(bluez->reason, not_running) == 0)
			return "; start it with 'systemctl start bluetooth'";
		break;
	case BLUEZ_STATE_READY:
		break;
	}
	return ""; /* what refused us said why */
}

unsigned int bluez_adapters_powered(const struct bluez *bluez)
{
	return adapter_list_powered(bluez->adapters);
}

int bluez_check_adapter(const struct bluez *bluez,
			const struct address_adapter *choice,
			struct error *error)
{
	return adapter_list_check(bluez->adapters, choice, error);
}

bool bluez_lets_pair(const struct bluez *bluez)
{
	return bluez->settings.is_pairable;
}

bool bluez_is_pairable(const struct bluez *bluez,
		       const struct address_adapter *choice)
{
	return adapter_list_is_pairable(bluez->adapters, choice);
}

bool bluez_adapter_shown(const struct bluez *bluez, size_t index,
			 struct adapter_shown *out)
{
	return adapter_list_shown(bluez->adapters, index, out);
}
