/* SPDX-License-Identifier: MIT */
#include "adapter.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>
#include <systemd/sd-bus.h>

#include "backoff.h"
#include "bus.h"
#include "controller.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "mgmt.h"

#define ADAPTER_INTERFACE "org.bluez.Adapter1"
/*
 * bluetoothd answers before it has found its adapters, shows one before it
 * powers it on, and switches all off before it ends: only what stays missing
 * or off is a complaint.
 */
#define GRACE_MS 5000
/* What bluetoothd is given to put everything back. */
#define GIVE_BACK_MS 1000

/* What is to be done to an adapter, in this order. */
enum adapter_step {
	ADAPTER_STEP_ALIAS = 1 << 0,
	/* First: bluetoothd takes Discoverable with the timeout it has. */
	ADAPTER_STEP_TIMEOUT = 1 << 1,
	ADAPTER_STEP_DISCOVERABLE = 1 << 2,
	/* After it: taking Discoverable away takes this with it. */
	ADAPTER_STEP_CONNECTABLE = 1 << 3,
	/* Before it, as above. */
	ADAPTER_STEP_PAIRABLE_LIMIT = 1 << 4,
	/* Last: a first agent makes bluetoothd do it by itself. */
	ADAPTER_STEP_PAIRABLE = 1 << 5,
};

#define ADAPTER_STEPS_ALL                                       \
	(ADAPTER_STEP_ALIAS | ADAPTER_STEP_TIMEOUT |            \
	 ADAPTER_STEP_DISCOVERABLE | ADAPTER_STEP_CONNECTABLE | \
	 ADAPTER_STEP_PAIRABLE_LIMIT | ADAPTER_STEP_PAIRABLE)

/* Adapter1's properties, those that matter here. */
struct adapter_properties {
	bool is_powered;
	bool is_discoverable;
	bool is_pairable;
	uint32_t timeout_s;
	uint32_t pairable_limit_s;
	char *alias;
	struct address_bluetooth address;
};

struct adapter {
	TAILQ_ENTRY(adapter) link;
	struct adapter_list *list;
	char *path;
	const char *name; /* hciN, in the path */
	uint16_t index;
	bool is_chosen; /* matches the settings */
	bool was_pairable; /* when there was no agent of ours yet */
	struct adapter_properties now;
	unsigned int todo; /* enum adapter_step bits */
	enum adapter_step step; /* asked, not answered */
	/* What was asked for: the settings may be others at the answer. */
	char *asked_alias;
	bool asked_discoverable;
	bool asked_pairable;
	uint32_t asked_pairable_limit_s;
	sd_bus_slot *call;
	struct mgmt_call *mgmt;
	struct event *timer; /* off: the grace; on: the next try */
	struct backoff retry;
	bool is_reported; /* as reachable, since it was powered on */
	uint64_t settled_ms; /* when bluetoothd has done with it */
	char complaint[ERROR_TEXT_BYTES]; /* logged already */
};

TAILQ_HEAD(adapter_queue, adapter);

/*
 * What an adapter was like before it was changed. bluetoothd keeps our changes
 * over a restart and a re-plug, so this outlives the adapter, too.
 */
struct adapter_before {
	struct address_bluetooth address;
	bool has_discoverable; /* changed, and nobody else did since */
	bool is_discoverable;
	bool was_made_discoverable; /* what it was changed to last */
	bool has_timeout;
	uint32_t timeout_s;
	bool has_pairable;
	bool is_pairable;
	bool has_pairable_limit;
	uint32_t pairable_limit_s;
	uint32_t made_pairable_limit_s; /* what it was changed to last */
};

struct adapter_list {
	struct loop *loop;
	struct bus *bus;
	const struct bluez_settings *settings;
	adapter_changed_cb changed;
	void *arg;
	sd_bus *handle; /* NULL: nothing is known */
	struct adapter_queue adapters;
	struct adapter_before before[CONTROLLERS_MAX];
	size_t before_count;
	bool has_agent;
	bool is_over; /* it is given back; nothing is reached any more */
	int give_back_code; /* what it failed with last; 0: with nothing */
	struct event *absence_timer;
	bool is_absence_logged;
	bool is_privilege_logged;
};

/* ---- reaching the wanted state, one step at a time --------------------- */

static void advance(struct adapter *adapter);
static void give_back_next(struct adapter *adapter);

/* Nothing is under way any more, whatever was. */
static void cancel_steps(struct adapter *adapter)
{
	adapter->call = sd_bus_slot_unref(adapter->call);
	mgmt_call_free(adapter->mgmt);
	adapter->mgmt = NULL;
	adapter->todo = 0;
	backoff_reset(&adapter->retry);
	event_del(adapter->timer);
}

static const char *step_to_string(enum adapter_step step)
{
	switch (step) {
	case ADAPTER_STEP_ALIAS:
		return "give it its name";
	case ADAPTER_STEP_TIMEOUT:
		return "keep it discoverable";
	case ADAPTER_STEP_DISCOVERABLE:
		return "change whether it is discoverable";
	case ADAPTER_STEP_CONNECTABLE:
		return "make it connectable";
	case ADAPTER_STEP_PAIRABLE_LIMIT:
		return "limit for how long devices can pair";
	case ADAPTER_STEP_PAIRABLE:
		return "let devices pair";
	}
	return "?";
}

static void fail_step(struct adapter *adapter, const struct error *error)
{
	char complaint[ERROR_TEXT_BYTES];

	snprintf(complaint, sizeof(complaint), "cannot %s: %.200s",
		 step_to_string(adapter->step), error->text);
	if (strcmp(complaint, adapter->complaint) != 0) {
		memcpy(adapter->complaint, complaint, sizeof(complaint));
		log_warning("adapter %s: %s", adapter->name, complaint);
	}
	loop_start_timer(adapter->timer, backoff_next_ms(&adapter->retry));
}

static void finish_step(struct adapter *adapter)
{
	/*
	 * Of the others advance() sees for itself whether they are still to be
	 * done: the settings may have changed since it was asked.
	 */
	if (adapter->step == ADAPTER_STEP_CONNECTABLE)
		adapter->todo &= ~(unsigned int)adapter->step;
	backoff_reset(&adapter->retry);
	advance(adapter);
}

static int on_set(sd_bus_message *answer, void *arg, sd_bus_error *unused)
{
	struct adapter *adapter = arg;
	const sd_bus_error *failure = sd_bus_message_get_error(answer);
	struct error error;

	adapter->call = sd_bus_slot_unref(adapter->call);
	if (failure && sd_bus_error_has_name(failure, "org.bluez.Error.Busy")) {
		/* It changes just that itself; not worth a word. */
		loop_start_timer(adapter->timer,
				 backoff_next_ms(&adapter->retry));
		return 0;
	}
	if (failure) {
		bus_explain(failure, &error);
		fail_step(adapter, &error);
		return 0;
	}
	/* The answer comes before the signal that tells of the new value. */
	switch (adapter->step) {
	case ADAPTER_STEP_ALIAS:
		free(adapter->now.alias);
		adapter->now.alias = adapter->asked_alias;
		adapter->asked_alias = NULL;
		break;
	case ADAPTER_STEP_TIMEOUT:
		adapter->now.timeout_s = adapter->list->settings->window_s;
		break;
	case ADAPTER_STEP_DISCOVERABLE:
		adapter->now.is_discoverable = adapter->asked_discoverable;
		break;
	case ADAPTER_STEP_PAIRABLE_LIMIT:
		adapter->now.pairable_limit_s = adapter->asked_pairable_limit_s;
		break;
	case ADAPTER_STEP_PAIRABLE:
		adapter->now.is_pairable = adapter->asked_pairable;
		adapter->list->changed(adapter->list->arg);
		break;
	case ADAPTER_STEP_CONNECTABLE:
		break;
	}
	finish_step(adapter);
	return 0;
}

/* NULL: nothing of it was changed, or there is no room for a new one. */
static struct adapter_before *find_before(const struct adapter *adapter,
					  bool is_to_make)
{
	struct adapter_list *list = adapter->list;
	struct adapter_before *before;

	for (size_t i = 0; i < list->before_count; i++) {
		before = &list->before[i];
		if (!memcmp(&before->address, &adapter->now.address,
			    sizeof(before->address)))
			return before;
	}
	if (!is_to_make || list->before_count == CONTROLLERS_MAX)
		return NULL;
	before = &list->before[list->before_count++];
	before->address = adapter->now.address;
	return before;
}

/* How long bluetoothd is to let devices pair: by the settings, or as before. */
static uint32_t wanted_pairable_limit_s(const struct adapter *adapter)
{
	const struct bluez_settings *settings = adapter->list->settings;
	const struct adapter_before *before = find_before(adapter, false);

	if (settings->is_pairable)
		return settings->pairable_s;
	if (before && before->has_pairable_limit &&
	    adapter->now.pairable_limit_s == before->made_pairable_limit_s)
		return before->pairable_limit_s;
	return adapter->now.pairable_limit_s;
}

static int append_value(sd_bus_message *call, const struct adapter *adapter)
{
	const struct bluez_settings *settings = adapter->list->settings;

	switch (adapter->step) {
	case ADAPTER_STEP_ALIAS:
		return sd_bus_message_append(call, "ssv", ADAPTER_INTERFACE,
					     "Alias", "s", settings->name);
	case ADAPTER_STEP_TIMEOUT:
		return sd_bus_message_append(call, "ssv", ADAPTER_INTERFACE,
					     "DiscoverableTimeout", "u",
					     settings->window_s);
	case ADAPTER_STEP_DISCOVERABLE:
		return sd_bus_message_append(call, "ssv", ADAPTER_INTERFACE,
					     "Discoverable", "b",
					     settings->is_discoverable);
	case ADAPTER_STEP_PAIRABLE_LIMIT:
		return sd_bus_message_append(call, "ssv", ADAPTER_INTERFACE,
					     "PairableTimeout", "u",
					     adapter->asked_pairable_limit_s);
	case ADAPTER_STEP_PAIRABLE:
		return sd_bus_message_append(call, "ssv", ADAPTER_INTERFACE,
					     "Pairable", "b",
					     settings->is_pairable);
	case ADAPTER_STEP_CONNECTABLE:
		break;
	}
	return -EINVAL;
}

/* Before the first change: whether bluetoothd carries it out is told late. */
static void remember(const struct adapter *adapter)
{
	struct adapter_before *before = find_before(adapter, true);

	if (!before)
		return;
	if (adapter->step == ADAPTER_STEP_DISCOVERABLE) {
		if (!before->has_discoverable)
			before->is_discoverable = adapter->now.is_discoverable;
		before->has_discoverable = true;
		before->was_made_discoverable =
			adapter->list->settings->is_discoverable;
	} else if (adapter->step == ADAPTER_STEP_TIMEOUT &&
		   !before->has_timeout) {
		before->has_timeout = true;
		before->timeout_s = adapter->now.timeout_s;
	} else if (adapter->step == ADAPTER_STEP_PAIRABLE_LIMIT) {
		if (!before->has_pairable_limit)
			before->pairable_limit_s =
				adapter->now.pairable_limit_s;
		before->has_pairable_limit =
			adapter->list->settings->is_pairable;
		before->made_pairable_limit_s = adapter->asked_pairable_limit_s;
	} else if (adapter->step == ADAPTER_STEP_PAIRABLE) {
		if (!before->has_pairable)
			before->is_pairable = adapter->now.is_pairable;
		before->has_pairable = adapter->list->settings->is_pairable;
	}
}

static int send_set(struct adapter *adapter, sd_bus_message *call,
		    sd_bus_message_handler_t answered)
{
	struct adapter_list *list = adapter->list;
	int code = sd_bus_call_async(list->handle, &adapter->call, call,
				     answered, adapter, 0);

	bus_watch(list->bus);
	return code;
}

static int set_property(struct adapter *adapter)
{
	struct adapter_list *list = adapter->list;
	sd_bus_message *call = NULL;
	int code = bus_new_call(list->handle, &call, adapter->path,
				"org.freedesktop.DBus.Properties", "Set");

	adapter->asked_discoverable = list->settings->is_discoverable;
	adapter->asked_pairable = list->settings->is_pairable;
	adapter->asked_pairable_limit_s = wanted_pairable_limit_s(adapter);
	if (code >= 0)
		code = append_value(call, adapter);
	if (code >= 0 && adapter->step == ADAPTER_STEP_ALIAS) {
		free(adapter->asked_alias);
		adapter->asked_alias = strdup(list->settings->name);
		if (!adapter->asked_alias)
			code = -ENOMEM;
	}
	if (code >= 0) {
		remember(adapter);
		code = send_set(adapter, call, on_set);
	}
	sd_bus_message_unref(call);
	return code;
}

/* Only root may; not for every try and adapter the same sentence. */
static void log_privilege(struct adapter *adapter)
{
	if (adapter->list->is_privilege_logged)
		return;
	adapter->list->is_privilege_logged = true;
	log_warning("adapter %s: with discoverable = no only phones that are "
		    "paired already can connect; to let others connect by "
		    "address, give btgate the capability CAP_NET_ADMIN or run "
		    "'btmgmt connectable on' as root",
		    adapter->name);
}

static void on_connectable(int code, const struct error *error, void *arg)
{
	struct adapter *adapter = arg;

	mgmt_call_free(adapter->mgmt);
	adapter->mgmt = NULL;
	if (code == -EPERM) {
		log_privilege(adapter);
		code = 0;
	}
	if (code < 0)
		fail_step(adapter, error);
	else
		finish_step(adapter);
}

static int make_connectable(struct adapter *adapter)
{
	int fd = mgmt_open();

	if (fd < 0)
		return fd;
	adapter->mgmt = mgmt_call_new(adapter->list->loop, fd, adapter->index,
				      on_connectable, adapter);
	return adapter->mgmt ? 0 : -errno;
}

/* A limit of ours is none for what is discoverable without one. */
static bool is_limit_needed(const struct adapter *adapter)
{
	const struct bluez_settings *settings = adapter->list->settings;

	return settings->is_discoverable &&
	       adapter->now.timeout_s != settings->window_s &&
	       !(adapter->now.is_discoverable && !adapter->now.timeout_s);
}

/* As above. What is none of ours (any more) stays as it is. */
static bool is_pairable_limit_wrong(const struct adapter *adapter)
{
	const struct adapter_properties *now = &adapter->now;

	if (adapter->list->settings->is_pairable &&
	    (!adapter->list->has_agent ||
	     (adapter->was_pairable && !now->pairable_limit_s)))
		return false;
	return now->pairable_limit_s != wanted_pairable_limit_s(adapter);
}

/* It is not as it is to be; no longer pairable only if it was made that. */
static bool is_pairable_wrong(const struct adapter *adapter)
{
	const struct adapter_before *before = find_before(adapter, false);

	if (adapter->list->settings->is_pairable)
		return adapter->list->has_agent && !adapter->now.is_pairable;
	return adapter->now.is_pairable && before && before->has_pairable &&
	       !before->is_pairable;
}

static bool is_step_needed(const struct adapter *adapter,
			   enum adapter_step step)
{
	const struct bluez_settings *settings = adapter->list->settings;

	switch (step) {
	case ADAPTER_STEP_ALIAS:
		return settings->name &&
		       (!adapter->now.alias ||
			strcmp(adapter->now.alias, settings->name) != 0);
	case ADAPTER_STEP_TIMEOUT:
		return is_limit_needed(adapter);
	case ADAPTER_STEP_DISCOVERABLE:
		return settings->is_discoverable !=
		       adapter->now.is_discoverable;
	case ADAPTER_STEP_CONNECTABLE:
		/* Discoverable takes connectable with it. */
		return !settings->is_discoverable;
	case ADAPTER_STEP_PAIRABLE_LIMIT:
		return is_pairable_limit_wrong(adapter);
	case ADAPTER_STEP_PAIRABLE:
		return is_pairable_wrong(adapter);
	}
	return false;
}

static void log_reachable(const struct adapter *adapter)
{
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES];

	address_bluetooth_format(&adapter->now.address, address);
	log_info("adapter %s: %s is %s as \"%s\"", adapter->name, address,
		 adapter->list->settings->is_discoverable ? "discoverable"
							  : "hidden",
		 adapter->now.alias ? adapter->now.alias : "");
}

static bool is_to_be_reached(const struct adapter *adapter)
{
	const struct bluez_settings *settings = adapter->list->settings;

	return adapter->is_chosen && settings->is_reachable &&
	       (!settings->window_s || adapter->list->has_agent);
}

/* Begin the next step, unless one is under way. */
static void advance(struct adapter *adapter)
{
	struct error error;
	int code;

	if (adapter->call || adapter->mgmt || adapter->list->is_over)
		return;
	event_del(adapter->timer);
	for (unsigned int bit = 1; bit <= ADAPTER_STEPS_ALL; bit <<= 1) {
		adapter->step = (enum adapter_step)bit;
		if (!(adapter->todo & bit))
			continue;
		if (!is_step_needed(adapter, adapter->step)) {
			adapter->todo &= ~bit;
			continue;
		}
		code = adapter->step == ADAPTER_STEP_CONNECTABLE
			       ? make_connectable(adapter)
			       : set_property(adapter);
		if (code < 0) {
			error_set(&error, code, "%s", strerror(-code));
			fail_step(adapter, &error);
		}
		return;
	}
	adapter->complaint[0] = '\0';
	if (!is_to_be_reached(adapter)) {
		give_back_next(adapter);
		return;
	}
	if (adapter->is_reported || !adapter->now.is_powered)
		return;
	log_reachable(adapter);
	adapter->is_reported = true;
	adapter->list->changed(adapter->list->arg);
}

static void begin(struct adapter *adapter)
{
	cancel_steps(adapter);
	adapter->is_reported = false;
	if (!is_to_be_reached(adapter))
		return;
	adapter->todo = ADAPTER_STEPS_ALL;
	advance(adapter);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct adapter *adapter = arg;

	if (adapter->now.is_powered)
		advance(adapter);
	else
		(adapter->list->settings->is_reachable ? log_warning
						       : log_info)(
			"adapter %s is powered off and %s: 'bluetoothctl "
			"power on', or if rfkill blocks it 'rfkill unblock "
			"bluetooth'",
			adapter->name,
			adapter->list->settings->is_reachable
				? "no phone can reach it"
				: "reaches no device");
}

/* ---- what bluetoothd tells --------------------------------------------- */

static int read_property(sd_bus_message *message, const char *name, void *arg)
{
	struct adapter_properties *out = arg; /* what is not told stays */
	const char *text;
	char *alias;
	int flag, code;

	if (strcmp(name, "Powered") == 0) {
		code = sd_bus_message_read(message, "v", "b", &flag);
		if (code >= 0)
			out->is_powered = flag;
	} else if (strcmp(name, "Discoverable") == 0) {
		code = sd_bus_message_read(message, "v", "b", &flag);
		if (code >= 0)
			out->is_discoverable = flag;
	} else if (strcmp(name, "Pairable") == 0) {
		code = sd_bus_message_read(message, "v", "b", &flag);
		if (code >= 0)
			out->is_pairable = flag;
	} else if (strcmp(name, "DiscoverableTimeout") == 0) {
		code = sd_bus_message_read(message, "v", "u", &out->timeout_s);
	} else if (strcmp(name, "PairableTimeout") == 0) {
		code = sd_bus_message_read(message, "v", "u",
					   &out->pairable_limit_s);
	} else if (strcmp(name, "Alias") == 0) {
		code = sd_bus_message_read(message, "v", "s", &text);
		alias = code >= 0 ? strdup(text) : NULL;
		if (alias) {
			free(out->alias);
			out->alias = alias;
		}
	} else if (strcmp(name, "Address") == 0) {
		code = sd_bus_message_read(message, "v", "s", &text);
		if (code >= 0)
			code = address_bluetooth_parse(text, &out->address,
						       NULL);
	} else {
		code = sd_bus_message_skip(message, "v");
	}
	return code;
}

static struct adapter *find(struct adapter_list *list, const char *path)
{
	struct adapter *adapter;

	for (adapter = TAILQ_FIRST(&list->adapters); adapter;
	     adapter = TAILQ_NEXT(adapter, link)) {
		if (strcmp(adapter->path, path) == 0)
			return adapter;
	}
	return NULL;
}

static bool is_match(const struct adapter *adapter,
		     const struct address_adapter *choice)
{
	switch (choice->choice) {
	case ADAPTER_CHOICE_ANY:
		return true;
	case ADAPTER_CHOICE_INDEX:
		return choice->index == adapter->index;
	case ADAPTER_CHOICE_ADDRESS:
		return memcmp(&choice->address, &adapter->now.address,
			      sizeof(choice->address)) == 0;
	}
	return false;
}

static void adapter_free(struct adapter *adapter)
{
	TAILQ_REMOVE(&adapter->list->adapters, adapter, link);
	if (adapter->timer) {
		cancel_steps(adapter);
		event_free(adapter->timer);
	}
	free(adapter->now.alias);
	free(adapter->asked_alias);
	free(adapter->path);
	free(adapter);
}

static struct adapter *adapter_new(struct adapter_list *list, const char *path)
{
	struct adapter *adapter = calloc(1, sizeof(*adapter));
	unsigned int index = UINT16_MAX;
	const char *name;

	if (!adapter)
		return NULL;
	adapter->list = list;
	TAILQ_INSERT_TAIL(&list->adapters, adapter, link);
	adapter->path = strdup(path);
	adapter->timer = event_new(list->loop->base, -1, 0, on_timer, adapter);
	if (!adapter->path || !adapter->timer) {
		adapter_free(adapter);
		return NULL;
	}
	name = strrchr(adapter->path, '/');
	adapter->name = name ? name + 1 : adapter->path;
	if (sscanf(adapter->name, "hci%u", &index) == 1)
		adapter->index = (uint16_t)index;
	return adapter;
}

static bool has_chosen(const struct adapter_list *list)
{
	const struct adapter *adapter;

	for (adapter = TAILQ_FIRST(&list->adapters); adapter;
	     adapter = TAILQ_NEXT(adapter, link)) {
		if (adapter->is_chosen)
			return true;
	}
	return false;
}

/* Tell of a missing adapter, once until one comes. */
static void check_presence(struct adapter_list *list)
{
	if (has_chosen(list)) {
		event_del(list->absence_timer);
		list->is_absence_logged = false;
	} else if (!list->is_absence_logged) {
		loop_start_timer(list->absence_timer, GRACE_MS);
	}
}

static void on_absent(evutil_socket_t fd, short what, void *arg)
{
	struct adapter_list *list = arg;
	char wanted[ADDRESS_ADAPTER_TEXT_BYTES];
	struct error text;

	list->is_absence_logged = true;
	address_adapter_format(&list->settings->adapter, wanted);
	if (list->settings->adapter.choice == ADAPTER_CHOICE_ANY)
		error_set(&text, 0,
			  "there is no Bluetooth adapter; it is used as soon "
			  "as one is plugged in");
	else if (TAILQ_EMPTY(&list->adapters))
		error_set(&text, 0,
			  "the adapter %s is not there, nor any other; it is "
			  "used as soon as it is plugged in",
			  wanted);
	else
		error_set(&text, 0,
			  "the adapter %s is not there, only others; "
			  "'bluetoothctl list' shows them",
			  wanted);
	/* Who only dials is told by each dial that fails, too. */
	(list->settings->is_reachable ? log_warning : log_info)("%s",
								text.text);
}

/* A power change, or the first sight of the adapter. */
static void take_power(struct adapter *adapter)
{
	if (!adapter->is_chosen) {
		/* Its power matters only to those who wait for it. */
	} else if (adapter->now.is_powered) {
		adapter->settled_ms = loop_now_ms() + GRACE_MS;
		begin(adapter);
	} else {
		cancel_steps(adapter);
		loop_start_timer(adapter->timer, GRACE_MS);
	}
	adapter->list->changed(adapter->list->arg);
}

static int add_adapter(sd_bus_message *message, const char *path, void *arg)
{
	struct adapter_list *list = arg;
	struct adapter *adapter = find(list, path);
	int code;

	if (adapter)
		adapter_free(adapter);
	adapter = adapter_new(list, path);
	if (!adapter)
		return -ENOMEM;
	code = bus_read_properties(message, read_property, &adapter->now);
	if (code < 0) {
		adapter_free(adapter);
		return code;
	}
	adapter->is_chosen = is_match(adapter, &list->settings->adapter);
	adapter->was_pairable = adapter->now.is_pairable;
	take_power(adapter);
	return 0;
}

int adapter_list_load(struct adapter_list *list, struct sd_bus *handle,
		      struct sd_bus_message *answer)
{
	int code;

	list->handle = handle;
	code = bus_read_objects(answer, ADAPTER_INTERFACE, add_adapter, list);
	if (code >= 0)
		check_presence(list);
	return code;
}

int adapter_list_take_added(struct adapter_list *list,
			    struct sd_bus_message *signal)
{
	int code;

	if (!list->handle)
		return 0;
	code = bus_read_added(signal, ADAPTER_INTERFACE, add_adapter, list);
	check_presence(list);
	return code;
}

int adapter_list_take_removed(struct adapter_list *list,
			      struct sd_bus_message *signal)
{
	struct adapter *adapter;
	const char *path;
	int code = bus_read_removed(signal, ADAPTER_INTERFACE, &path);

	adapter = code > 0 ? find(list, path) : NULL;
	if (!adapter)
		return code;
	if (adapter->is_chosen)
		log_info("adapter %s: gone", adapter->name);
	adapter_free(adapter);
	check_presence(list);
	list->changed(list->arg);
	return 0;
}

/*
 * It was on and something switched it off. bluetoothd itself does when it
 * takes an adapter over, and mostly puts it right again (bluez src/adapter.c,
 * adapter_register): look again a little later. With a time limit set by
 * another program that was probably the limit, and it is set right, once: the
 * limit is gone then. Else somebody wanted it so.
 */
static void take_hidden(struct adapter *adapter)
{
	struct adapter_before *before;

	if (loop_now_ms() < adapter->settled_ms) {
		adapter->todo |= ADAPTER_STEP_DISCOVERABLE;
		loop_start_timer(adapter->timer, BACKOFF_FIRST_MS);
	} else if (adapter->now.timeout_s &&
		   adapter->now.timeout_s !=
			   adapter->list->settings->window_s) {
		log_info("adapter %s: no longer discoverable after another "
			 "program's limit of %u s; making it discoverable "
			 "again",
			 adapter->name, adapter->now.timeout_s);
		adapter->todo |= ADAPTER_STEP_TIMEOUT |
				 ADAPTER_STEP_DISCOVERABLE;
		advance(adapter);
	} else {
		log_warning("adapter %s: another program made it "
			    "undiscoverable, and unpaired phones can neither "
			    "find it nor connect; 'bluetoothctl discoverable "
			    "on' undoes that",
			    adapter->name);
		before = find_before(adapter, false);
		if (before)
			before->has_discoverable = false;
	}
}

/* What ended another program's "discoverable" has ended this, too. */
static void take_connectable(struct adapter *adapter)
{
	const struct bluez_settings *settings = adapter->list->settings;

	if (!adapter->is_chosen || !settings->is_reachable ||
	    settings->is_discoverable || !adapter->now.is_powered)
		return;
	adapter->todo |= ADAPTER_STEP_CONNECTABLE;
	advance(adapter);
}

int adapter_list_take_changed(struct adapter_list *list,
			      struct sd_bus_message *signal)
{
	struct adapter *adapter = find(list, sd_bus_message_get_path(signal));
	bool was_powered, was_discoverable, was_pairable;
	const char *interface;
	int code;

	if (!adapter)
		return 0;
	was_powered = adapter->now.is_powered;
	was_discoverable = adapter->now.is_discoverable;
	was_pairable = adapter->now.is_pairable;
	code = sd_bus_message_read(signal, "s", &interface);
	if (code >= 0)
		code = bus_read_properties(signal, read_property,
					   &adapter->now);
	if (code < 0)
		return code;
	if (adapter->now.is_powered != was_powered) {
		if (adapter->is_chosen)
			log_info("adapter %s: powered %s", adapter->name,
				 adapter->now.is_powered ? "on" : "off");
		take_power(adapter);
	} else if (adapter->is_chosen && !list->is_over &&
		   adapter->now.is_powered && was_discoverable &&
		   !adapter->now.is_discoverable &&
		   list->settings->is_reachable &&
		   list->settings->is_discoverable) {
		take_hidden(adapter);
	} else if (was_discoverable && !adapter->now.is_discoverable) {
		take_connectable(adapter);
	}
	if (adapter->now.is_pairable != was_pairable)
		list->changed(list->arg);
	return 0;
}

unsigned int adapter_list_powered(const struct adapter_list *list)
{
	const struct adapter *adapter;
	unsigned int count = 0;

	for (adapter = TAILQ_FIRST(&list->adapters); adapter;
	     adapter = TAILQ_NEXT(adapter, link))
		count += adapter->is_chosen && adapter->now.is_powered;
	return count;
}

size_t adapter_list_paths(const struct adapter_list *list,
			  const struct address_adapter *choice,
			  const char **paths, size_t count)
{
	const struct adapter *adapter;
	size_t used = 0;

	for (adapter = TAILQ_FIRST(&list->adapters); adapter && used < count;
	     adapter = TAILQ_NEXT(adapter, link))
		if (is_match(adapter, choice) && adapter->now.is_powered)
			paths[used++] = adapter->path;
	return used;
}

static const struct adapter *find_name(const struct adapter_list *list,
				       const char *name)
{
	const struct adapter *adapter;

	for (adapter = TAILQ_FIRST(&list->adapters); adapter;
	     adapter = TAILQ_NEXT(adapter, link))
		if (strcmp(adapter->name, name) == 0)
			return adapter;
	return NULL;
}

const struct address_bluetooth *adapter_list_address(
	const struct adapter_list *list, const char *name)
{
	const struct adapter *adapter = find_name(list, name);

	return adapter && adapter->now.is_powered ? &adapter->now.address
						  : NULL;
}

bool adapter_list_has(const struct adapter_list *list,
		      const struct address_adapter *choice, const char *name)
{
	const struct adapter *adapter = find_name(list, name);

	return adapter && is_match(adapter, choice);
}

bool adapter_list_is_pairable(const struct adapter_list *list,
			      const struct address_adapter *choice)
{
	const struct adapter *adapter;

	for (adapter = TAILQ_FIRST(&list->adapters); adapter;
	     adapter = TAILQ_NEXT(adapter, link))
		if (is_match(adapter, choice) && adapter->now.is_powered &&
		    adapter->now.is_pairable)
			return true;
	return false;
}

static void take_agent(struct adapter *adapter)
{
	const struct bluez_settings *settings = adapter->list->settings;

	if (settings->window_s) {
		begin(adapter);
	} else if (settings->is_reachable && settings->is_pairable) {
		adapter->todo |= ADAPTER_STEP_PAIRABLE_LIMIT |
				 ADAPTER_STEP_PAIRABLE;
		advance(adapter);
	}
}

void adapter_list_set_agent(struct adapter_list *list, bool is_there)
{
	struct adapter *adapter;

	if (list->has_agent == is_there)
		return;
	list->has_agent = is_there;
	for (adapter = TAILQ_FIRST(&list->adapters); adapter;
	     adapter = TAILQ_NEXT(adapter, link)) {
		if (!is_there)
			continue;
		/* What a first one changes bluetoothd tells later. */
		adapter->was_pairable = adapter->now.is_pairable;
		if (adapter->is_chosen && adapter->now.is_powered)
			take_agent(adapter);
	}
}

bool adapter_list_shown(const struct adapter_list *list, size_t index,
			struct adapter_shown *out)
{
	const struct adapter *adapter;

	for (adapter = TAILQ_FIRST(&list->adapters); adapter;
	     adapter = TAILQ_NEXT(adapter, link))
		if (adapter->is_chosen && adapter->now.is_powered &&
		    adapter->is_reported && index-- == 0)
			break;
	if (!adapter)
		return false;
	*out = (struct adapter_shown){
		.name = adapter->name,
		.alias = adapter->now.alias ? adapter->now.alias : "",
		.address = adapter->now.address,
	};
	return true;
}

/* ---- the end ------------------------------------------------------------- */

static int on_given_back(sd_bus_message *answer, void *arg,
			 sd_bus_error *unused)
{
	struct adapter *adapter = arg;
	const sd_bus_error *failure = sd_bus_message_get_error(answer);
	struct error error;

	adapter->call = sd_bus_slot_unref(adapter->call);
	if (failure) {
		bus_explain(failure, &error);
		log_warning("adapter %s: it cannot be made as discoverable as "
			    "it was before: %s",
			    adapter->name, error.text);
	}
	/* It may be wanted again by now. */
	if (!adapter->list->is_over)
		advance(adapter);
	return 0;
}

/* @type and @value as sd_bus_message_append takes them. */
static void give_back_property(struct adapter *adapter, const char *name,
			       const char *type, uint32_t value)
{
	sd_bus_message *call = NULL;
	int code = bus_new_call(adapter->list->handle, &call, adapter->path,
				"org.freedesktop.DBus.Properties", "Set");

	if (code >= 0)
		code = sd_bus_message_append(call, "ssv", ADAPTER_INTERFACE,
					     name, type, value);
	if (code >= 0)
		code = send_set(adapter, call, on_given_back);
	if (code < 0) {
		log_debug("adapter %s: %s: %s", adapter->name, name,
			  strerror(-code));
		adapter->list->give_back_code = code;
	}
	sd_bus_message_unref(call);
}

/*
 * The next thing of it that is ours still. Hidden first: bluetoothd applies a
 * new limit at once to what is discoverable, and refuses with one to change an
 * adapter that is off (5.66); while one change is under way it takes a second
 * for done (property_set_mode, src/adapter.c).
 */
static void give_back_next(struct adapter *adapter)
{
	const struct bluez_settings *settings = adapter->list->settings;
	const struct adapter_properties *now = &adapter->now;
	struct adapter_before *before = find_before(adapter, false);

	if (adapter->call || !before)
		return;
	if (before->has_discoverable) {
		before->has_discoverable = false;
		/* Without a limit: somebody wants more than a window now. */
		if (now->is_discoverable == before->was_made_discoverable &&
		    now->is_discoverable != before->is_discoverable &&
		    (now->timeout_s || !settings->window_s)) {
			log_info("adapter %s: %s again, as before",
				 adapter->name,
				 before->is_discoverable ? "discoverable"
							 : "hidden");
			give_back_property(adapter, "Discoverable", "b",
					   before->is_discoverable);
		}
	}
	if (!adapter->call && before->has_timeout) {
		before->has_timeout = false;
		if (now->timeout_s == settings->window_s)
			give_back_property(adapter, "DiscoverableTimeout", "u",
					   before->timeout_s);
	}
	if (!adapter->call && before->has_pairable) {
		before->has_pairable = false;
		if (now->is_pairable && !before->is_pairable)
			give_back_property(adapter, "Pairable", "b", 0);
	}
	if (!adapter->call && before->has_pairable_limit) {
		before->has_pairable_limit = false;
		if (now->pairable_limit_s == before->made_pairable_limit_s)
			give_back_property(adapter, "PairableTimeout", "u",
					   before->pairable_limit_s);
	}
}

/*
 * Ours from now on, or no more. What was asked is waited for first: only then
 * is it known what it is like. What is told late of an earlier state is put
 * right (take_hidden).
 */
static void take_settings(struct adapter *adapter)
{
	adapter->is_chosen = is_match(adapter,
				      &adapter->list->settings->adapter);
	adapter->complaint[0] = '\0';
	adapter->todo = 0;
	adapter->is_reported = false;
	mgmt_call_free(adapter->mgmt);
	adapter->mgmt = NULL;
	backoff_reset(&adapter->retry);
	if (is_to_be_reached(adapter) && adapter->now.is_powered) {
		adapter->todo = ADAPTER_STEPS_ALL;
		adapter->settled_ms = loop_now_ms() + GRACE_MS;
	}
	advance(adapter);
	if (adapter->is_chosen && !adapter->now.is_powered)
		loop_start_timer(adapter->timer, GRACE_MS);
}

void adapter_list_take_settings(struct adapter_list *list)
{
	struct adapter *adapter;

	for (adapter = TAILQ_FIRST(&list->adapters); adapter;
	     adapter = TAILQ_NEXT(adapter, link))
		take_settings(adapter);
	list->is_absence_logged = false;
	if (list->handle)
		check_presence(list);
	list->changed(list->arg);
}

/* True while an answer is due. */
static bool give_back_more(struct adapter_list *list)
{
	struct adapter *adapter;
	bool is_asked = false;

	for (adapter = TAILQ_FIRST(&list->adapters); adapter;
	     adapter = TAILQ_NEXT(adapter, link)) {
		give_back_next(adapter);
		is_asked |= adapter->call != NULL;
	}
	return is_asked;
}

/* As far as can be told without bluetoothd. */
static bool may_be_left_changed(const struct adapter_list *list)
{
	for (size_t i = 0; i < list->before_count; i++) {
		const struct adapter_before *before = &list->before[i];

		/* What was made discoverable for a while is hidden by itself. */
		if ((before->has_discoverable &&
		     before->is_discoverable != before->was_made_discoverable &&
		     !list->settings->window_s) ||
		    (before->has_pairable && !before->is_pairable))
			return true;
	}
	return false;
}

void adapter_list_give_back(struct adapter_list *list)
{
	uint64_t until_ms = loop_now_ms() + GIVE_BACK_MS, now_ms;
	const char *why = NULL;
	bool is_asked = false;
	int code = 1;

	list->is_over = true;
	while (code >= 0 && list->handle) {
		is_asked = give_back_more(list);
		if (!is_asked)
			break;
		now_ms = loop_now_ms();
		if (now_ms >= until_ms) {
			why = "bluetoothd does not answer";
			break;
		}
		code = sd_bus_process(list->handle, NULL);
		if (code == 0)
			code = sd_bus_wait(list->handle,
					   (until_ms - now_ms) * 1000);
		if (code == -EINTR)
			code = 0;
	}
	if (!list->handle && (is_asked || may_be_left_changed(list)))
		why = "bluetoothd cannot be asked";
	else if (code < 0)
		why = strerror(-code);
	else if (list->give_back_code)
		why = strerror(-list->give_back_code);
	if (why)
		log_warning("the adapter may not be as discoverable as it was "
			    "before: %s",
			    why);
}

int adapter_list_check(const struct adapter_list *list,
		       const struct address_adapter *choice,
		       struct error *error)
{
	const struct adapter *adapter, *off = NULL;
	char wanted[ADDRESS_ADAPTER_TEXT_BYTES];

	for (adapter = TAILQ_FIRST(&list->adapters); adapter;
	     adapter = TAILQ_NEXT(adapter, link)) {
		if (!is_match(adapter, choice))
			continue;
		if (adapter->now.is_powered)
			return 0;
		off = adapter;
	}
	if (off)
		return error_set(error, -ENETDOWN,
				 "the adapter %s is powered off: 'bluetoothctl "
				 "power on', or if rfkill blocks it 'rfkill "
				 "unblock bluetooth'",
				 off->name);
	if (choice->choice == ADAPTER_CHOICE_ANY)
		return error_set(error, -ENODEV,
				 "there is no Bluetooth adapter; plug one in");
	address_adapter_format(choice, wanted);
	return error_set(error, -ENODEV,
			 "the adapter %s is not there; 'bluetoothctl list' "
			 "shows those that are",
			 wanted);
}

void adapter_list_clear(struct adapter_list *list)
{
	struct adapter *adapter;

	list->handle = NULL;
	list->is_absence_logged = false;
	event_del(list->absence_timer);
	while ((adapter = TAILQ_FIRST(&list->adapters)))
		adapter_free(adapter);
}

struct adapter_list *adapter_list_new(struct loop *loop, struct bus *bus,
				      const struct bluez_settings *settings,
				      adapter_changed_cb changed, void *arg)
{
	struct adapter_list *list = calloc(1, sizeof(*list));

	if (!list)
		return NULL;
	list->loop = loop;
	list->bus = bus;
	list->settings = settings;
	list->changed = changed;
	list->arg = arg;
	TAILQ_INIT(&list->adapters);
	list->absence_timer = event_new(loop->base, -1, 0, on_absent, list);
	if (!list->absence_timer) {
		free(list);
		errno = ENOMEM;
		return NULL;
	}
	return list;
}

void adapter_list_free(struct adapter_list *list)
{
	if (!list)
		return;
	adapter_list_clear(list);
	event_free(list->absence_timer);
	free(list);
}
