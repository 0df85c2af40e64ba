/* SPDX-License-Identifier: MIT */
#include "discovery.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>
#include <systemd/sd-bus.h>

#include "bus.h"
#include "error.h"
#include "log.h"
#include "loop.h"

#define ADAPTER_INTERFACE "org.bluez.Adapter1"
#define RETRY_MS 500
/* For so many tries in a row bluetoothd may be busy with something else. */
#define TRIES 10
#define RETRY_LATER_MS 5000

enum search_state {
	SEARCH_STATE_IDLE,
	SEARCH_STATE_FILTERING, /* SetDiscoveryFilter is asked */
	SEARCH_STATE_STARTING, /* StartDiscovery is asked */
	SEARCH_STATE_RUNNING,
	SEARCH_STATE_STOPPING, /* StopDiscovery is asked */
	SEARCH_STATE_PAUSING, /* it did not start; the timer runs */
};

/* The search with one adapter. */
struct search {
	TAILQ_ENTRY(search) link;
	struct discovery *discovery;
	char *path;
	bool is_wanted;
	enum search_state state;
	sd_bus_slot *call;
	struct event *timer;
	unsigned int failures; /* in a row */
	bool is_refused; /* and not just put off */
	int code;
	struct error error; /* of the last failure */
};

TAILQ_HEAD(search_queue, search);

struct discovery {
	struct loop *loop;
	struct bus *bus;
	sd_bus *handle;
	struct search_queue searches;
	discovery_changed_cb changed;
	void *arg;
};

/* ---- with one adapter --------------------------------------------------------- */

static void search_advance(struct search *search);

/* The one place where the state changes. */
static void search_set_state(struct search *search, enum search_state state)
{
	if (state == SEARCH_STATE_PAUSING)
		loop_start_timer(search->timer, search->failures < TRIES
							? RETRY_MS
							: RETRY_LATER_MS);
	else
		event_del(search->timer);
	if (state == SEARCH_STATE_RUNNING)
		search->failures = 0;
	search->state = state;
}

/*
 * bluetoothd (5.66) says InProgress for all that it could not start, and also
 * where it has started one for us and we were not told.
 */
static void search_fail(struct search *search, const sd_bus_error *failure)
{
	static const char *const passing[] = {
		"org.bluez.Error.InProgress",
		"org.bluez.Error.NotReady",
	};

	search->is_refused = true;
	for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++)
		if (sd_bus_error_has_name(failure, passing[i]))
			search->is_refused = false;
	search->failures++;
	search->code = bus_explain(failure, &search->error);
	log_debug("bluez: %s: the search could not be started: %s",
		  search->path, search->error.text);
	search_set_state(search, SEARCH_STATE_PAUSING);
}

static int on_answer(sd_bus_message *answer, void *arg, sd_bus_error *unused)
{
	struct search *search = arg;
	struct discovery *discovery = search->discovery;
	const sd_bus_error *failure = sd_bus_message_get_error(answer);

	search->call = sd_bus_slot_unref(search->call);
	switch (search->state) {
	case SEARCH_STATE_STARTING:
		if (failure)
			search_fail(search, failure);
		else
			search_set_state(search, SEARCH_STATE_RUNNING);
		break;
	case SEARCH_STATE_STOPPING:
		/* There is nothing else to be done about a refusal. */
		search_set_state(search, SEARCH_STATE_IDLE);
		break;
	case SEARCH_STATE_FILTERING:
		/* Refused, it finds more than is needed. */
	case SEARCH_STATE_IDLE:
	case SEARCH_STATE_RUNNING:
	case SEARCH_STATE_PAUSING:
		break;
	}
	search_advance(search);
	discovery->changed(discovery->arg);
	return 0;
}

static int append_filter(sd_bus_message *call)
{
	return sd_bus_message_append(call, "a{sv}", 1, "Transport", "s",
				     "bredr");
}

static void search_ask(struct search *search, enum search_state state,
		       const char *member)
{
	struct discovery *discovery = search->discovery;
	sd_bus_error failure = SD_BUS_ERROR_NULL;
	sd_bus_message *call = NULL;
	int code = bus_new_call(discovery->handle, &call, search->path,
				ADAPTER_INTERFACE, member);

	if (code >= 0 && state == SEARCH_STATE_FILTERING)
		code = append_filter(call);
	if (code >= 0)
		code = sd_bus_call_async(discovery->handle, &search->call, call,
					 on_answer, search, 0);
	sd_bus_message_unref(call);
	bus_watch(discovery->bus);
	if (code >= 0) {
		search_set_state(search, state);
		return;
	}
	sd_bus_error_set_errno(&failure, code);
	search_fail(search, &failure);
	sd_bus_error_free(&failure);
}

/* Take the next step to what is wanted, unless one is under way. */
static void search_advance(struct search *search)
{
	if (search->call)
		return;
	switch (search->state) {
	case SEARCH_STATE_IDLE:
		if (search->is_wanted)
			search_ask(search, SEARCH_STATE_FILTERING,
				   "SetDiscoveryFilter");
		break;
	case SEARCH_STATE_FILTERING:
		if (search->is_wanted)
			search_ask(search, SEARCH_STATE_STARTING,
				   "StartDiscovery");
		else
			search_set_state(search, SEARCH_STATE_IDLE);
		break;
	case SEARCH_STATE_RUNNING:
	case SEARCH_STATE_PAUSING:
		/* After a failure, too: it may run without our knowing. */
		if (!search->is_wanted)
			search_ask(search, SEARCH_STATE_STOPPING,
				   "StopDiscovery");
		break;
	case SEARCH_STATE_STARTING:
	case SEARCH_STATE_STOPPING:
		break; /* there is a call */
	}
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct search *search = arg;

	search_ask(search, SEARCH_STATE_STOPPING, "StopDiscovery");
}

static void search_free(struct search *search)
{
	TAILQ_REMOVE(&search->discovery->searches, search, link);
	sd_bus_slot_unref(search->call);
	if (search->timer)
		event_free(search->timer);
	free(search->path);
	free(search);
}

static struct search *search_new(struct discovery *discovery, const char *path)
{
	struct search *search = calloc(1, sizeof(*search));

	if (!search)
		return NULL;
	search->discovery = discovery;
	TAILQ_INSERT_TAIL(&discovery->searches, search, link);
	search->path = strdup(path);
	search->timer = event_new(discovery->loop->base, -1, 0, on_timer,
				  search);
	if (!search->path || !search->timer) {
		search_free(search);
		return NULL;
	}
	return search;
}

/* ---- with all of them ----------------------------------------------------------- */

static bool is_among(const char *path, const char *const *paths, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(path, paths[i]) == 0)
			return true;
	return false;
}

static struct search *find(struct discovery *discovery, const char *path)
{
	struct search *search;

	for (search = TAILQ_FIRST(&discovery->searches); search;
	     search = TAILQ_NEXT(search, link))
		if (strcmp(search->path, path) == 0)
			return search;
	return NULL;
}

void discovery_set_adapters(struct discovery *discovery, struct sd_bus *handle,
			    const char *const *paths, size_t count)
{
	struct search *search, *next;

	for (search = TAILQ_FIRST(&discovery->searches); search;
	     search = next) {
		next = TAILQ_NEXT(search, link);
		if (!is_among(search->path, paths, count))
			search_free(search);
	}
	discovery->handle = handle;
	for (size_t i = 0; i < count; i++) {
		if (!find(discovery, paths[i]) &&
		    !search_new(discovery, paths[i]))
			log_warning("no memory to search with %s", paths[i]);
	}
	discovery->changed(discovery->arg);
}

void discovery_set_wanted(struct discovery *discovery, const char *path,
			  bool is_wanted)
{
	struct search *search = find(discovery, path);

	if (!search || is_wanted == search->is_wanted)
		return;
	search->is_wanted = is_wanted;
	if (is_wanted)
		search->failures = 0;
	search_advance(search);
	discovery->changed(discovery->arg);
}

static enum discovery_state search_report(const struct search *search)
{
	bool is_wanted = search->is_wanted;

	switch (search->state) {
	case SEARCH_STATE_IDLE:
		return is_wanted ? DISCOVERY_STATE_STARTING
				 : DISCOVERY_STATE_IDLE;
	case SEARCH_STATE_RUNNING:
		return is_wanted ? DISCOVERY_STATE_RUNNING
				 : DISCOVERY_STATE_STOPPING;
	case SEARCH_STATE_FILTERING:
	case SEARCH_STATE_STARTING:
	case SEARCH_STATE_STOPPING:
	case SEARCH_STATE_PAUSING:
		if (!is_wanted)
			return DISCOVERY_STATE_STOPPING;
		return search->failures && (search->is_refused ||
					    search->failures >= TRIES)
			       ? DISCOVERY_STATE_FAILED
			       : DISCOVERY_STATE_STARTING;
	}
	return DISCOVERY_STATE_IDLE;
}

enum discovery_state discovery_state(const struct discovery *discovery,
				     const char *const *paths, size_t count)
{
	const struct search *search;
	unsigned int counts[DISCOVERY_STATE_FAILED + 1] = {0};
	bool has_any = false;

	for (search = TAILQ_FIRST(&discovery->searches); search;
	     search = TAILQ_NEXT(search, link)) {
		if (!is_among(search->path, paths, count))
			continue;
		has_any = true;
		counts[search_report(search)]++;
	}
	if (!has_any)
		return DISCOVERY_STATE_NO_ADAPTER;
	if (counts[DISCOVERY_STATE_STOPPING])
		return DISCOVERY_STATE_STOPPING;
	if (counts[DISCOVERY_STATE_RUNNING])
		return DISCOVERY_STATE_RUNNING;
	if (counts[DISCOVERY_STATE_STARTING])
		return DISCOVERY_STATE_STARTING;
	return counts[DISCOVERY_STATE_FAILED] ? DISCOVERY_STATE_FAILED
					      : DISCOVERY_STATE_IDLE;
}

int discovery_explain(const struct discovery *discovery,
		      const char *const *paths, size_t count,
		      struct error *error)
{
	const struct search *search;

	for (search = TAILQ_FIRST(&discovery->searches); search;
	     search = TAILQ_NEXT(search, link)) {
		if (!search->failures || !is_among(search->path, paths, count))
			continue;
		*error = search->error;
		return search->code;
	}
	return error_set(error, -EIO, "the search failed");
}

struct discovery *discovery_new(struct loop *loop, struct bus *bus,
				discovery_changed_cb changed, void *arg)
{
	struct discovery *discovery = calloc(1, sizeof(*discovery));

	if (!discovery)
		return NULL;
	discovery->loop = loop;
	discovery->bus = bus;
	discovery->changed = changed;
	discovery->arg = arg;
	TAILQ_INIT(&discovery->searches);
	return discovery;
}

void discovery_free(struct discovery *discovery)
{
	struct search *search;

	if (!discovery)
		return;
	while ((search = TAILQ_FIRST(&discovery->searches)))
		search_free(search);
	free(discovery);
}
