/* SPDX-License-Identifier: MIT */
/*
 * A name to an address, or an address to a device: who of those that bluetoothd
 * knows, or finds, is meant.
 */
#include "bluez.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <event2/event.h>

#include "address_device.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "text.h"

/*
 * One round of inquiry is 10.24 s (bluez src/adapter.c leaves it to the
 * kernel, DISCOV_BREDR_INQUIRY_LEN); after it the kernel asks those for their
 * names that did not say them, old serial adapters among them.
 */
#define LOOKUP_MS 20000
/*
 * How long to search on once a stranger was found, for others of that name: an
 * inquiry changes its frequencies every 2.56 s, and a device listens for it as
 * often (Core spec, Vol 2 part B, 8.4.2, and Vol 4 part E, 6.2).
 */
#define NAMESAKES_MS 5120
/* What bluetoothd is given to end a search. */
#define STOP_MS 2000
/* Who is counted; and as many as an error can list. */
#define CANDIDATES_MAX 32
#define LISTED_MAX 8

/*
 * How well a device fits, from bad to good. Anybody can take any name, so one
 * that is paired comes before strangers even if only the case differs.
 */
enum fit {
	FIT_NONE,
	FIT_KNOWN_ALMOST, /* but for upper and lower case */
	FIT_KNOWN,
	FIT_PAIRED_ALMOST,
	FIT_PAIRED,
	FIT_ADDRESS, /* nobody else can be meant */
};

/* Who fits best. */
struct match {
	const struct address_device *target;
	enum fit fit;
	struct address_bluetooth candidates[CANDIDATES_MAX];
	unsigned int count; /* of different addresses, CANDIDATES_MAX at most */
	bool is_le; /* one of that name knows no BR/EDR */
	char suggestion[TEXT_QUOTED_BYTES]; /* of a similar name, or "" */
};

enum lookup_state {
	LOOKUP_STATE_ASKED, /* bluetoothd has not been heard of */
	LOOKUP_STATE_SEARCHING,
	LOOKUP_STATE_COMPARING, /* found one; are there more of that name? */
	LOOKUP_STATE_STOPPING, /* decided; the search must not be in the way */
	LOOKUP_STATE_OVER, /* the callback is due */
};

struct bluez_lookup {
	struct loop *loop;
	struct bluez *bluez;
	struct address_adapter choice;
	struct address_device target; /* who */
	char shown[TEXT_QUOTED_BYTES]; /* the same, for messages */
	enum lookup_state state;
	struct bluez_watcher watcher;
	struct bluez_discovery *discovery;
	struct event *deadline;
	struct loop_task done_task;
	int code;
	struct address_bluetooth address;
	struct error error;
	bluez_lookup_cb done;
	void *arg;
};

/* ---- who is meant ------------------------------------------------------------- */

static enum fit fit_of(const struct device *device,
		       const struct address_device *target)
{
	const char *names[] = {device->name, device->alias};
	enum fit fit = FIT_NONE;

	if (!target->name)
		return memcmp(&device->address, &target->address,
			      sizeof(device->address))
			       ? FIT_NONE
			       : FIT_ADDRESS;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!names[i])
			continue;
		if (strcmp(names[i], target->name) == 0)
			return device->is_paired ? FIT_PAIRED : FIT_KNOWN;
		if (strcasecmp(names[i], target->name) == 0)
			fit = device->is_paired ? FIT_PAIRED_ALMOST
						: FIT_KNOWN_ALMOST;
	}
	return fit;
}

static void match_add(struct match *match,
		      const struct address_bluetooth *address)
{
	/* Two adapters may know the same device. */
	for (unsigned int i = 0; i < match->count; i++)
		if (!memcmp(&match->candidates[i], address, sizeof(*address)))
			return;
	if (match->count < CANDIDATES_MAX)
		match->candidates[match->count++] = *address;
}

static void match_suggest(struct match *match, const struct device *device)
{
	const char *words[] = {device->alias ? device->alias : device->name,
			       NULL};

	if (!*match->suggestion && words[0] && match->target->name &&
	    text_suggest_word(match->target->name, words))
		text_printable(words[0], match->suggestion);
}

static void match_take(const struct device *device, void *arg)
{
	struct match *match = arg;
	enum fit fit = fit_of(device, match->target);

	if (fit == FIT_NONE) {
		match_suggest(match, device);
		return;
	}
	if (device->is_le_only) {
		match->is_le = true;
		return;
	}
	if (fit > match->fit) {
		match->fit = fit;
		match->count = 0;
	}
	if (fit == match->fit)
		match_add(match, &device->address);
}

static void match_make(struct match *match, const struct bluez_lookup *lookup)
{
	*match = (struct match){.target = &lookup->target};
	bluez_devices(lookup->bluez, &lookup->choice, match_take, match);
}

static int explain_ambiguous(const struct bluez_lookup *lookup,
			     const struct match *match, struct error *error)
{
	bool is_paired = match->fit >= FIT_PAIRED_ALMOST;
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES];

	error_set(error, 0,
		  "%u %s devices are called '%s'; use the address of "
		  "one of them:",
		  match->count, is_paired ? "paired" : "unpaired",
		  lookup->shown);
	for (unsigned int i = 0; i < match->count && i < LISTED_MAX; i++) {
		address_bluetooth_format(&match->candidates[i], address);
		text_append(error->text, sizeof(error->text), "%s %s",
			    i ? "," : "", address);
	}
	if (match->count > LISTED_MAX)
		text_append(error->text, sizeof(error->text), " and %u more",
			    match->count - LISTED_MAX);
	return -ENOTUNIQ;
}

static int explain_absent(const struct bluez_lookup *lookup,
			  const struct match *match, struct error *error)
{
	if (match->is_le)
		return error_set(error, -ENODEV,
				 "'%s' is a Bluetooth LE device: it has no "
				 "serial port or other classic service",
				 lookup->shown);
	if (!lookup->target.name)
		return error_set(error, -ENODEV,
				 "%s is not known, and does not answer nearby: "
				 "switch it on, and make it visible; 'btgate "
				 "scan' shows who is there",
				 lookup->shown);
	if (*match->suggestion)
		return error_set(error, -ENODEV,
				 "no device called '%s' is known or answers "
				 "nearby; did you mean '%s'?",
				 lookup->shown, match->suggestion);
	return error_set(error, -ENODEV,
			 "no device called '%s' is known or answers nearby: "
			 "switch it on and make it visible, or pair with it "
			 "once; 'btgate scan' shows who is there",
			 lookup->shown);
}

/* ---- one look-up --------------------------------------------------------------- */

static void lookup_free(struct bluez_lookup *lookup)
{
	bluez_unwatch(&lookup->watcher);
	bluez_discovery_free(lookup->discovery);
	loop_cancel(lookup->loop, &lookup->done_task);
	if (lookup->deadline)
		event_free(lookup->deadline);
	address_device_clear(&lookup->target);
	free(lookup);
}

static void run_done(void *arg)
{
	struct bluez_lookup *lookup = arg;
	const struct address_bluetooth address = lookup->address;
	const struct error error = lookup->error;
	bluez_lookup_cb done = lookup->done;
	void *done_arg = lookup->arg;
	int code = lookup->code;

	lookup_free(lookup);
	done(code, code ? NULL : &address, &error, done_arg);
}

/* The one place where the state changes. */
static void lookup_set_state(struct bluez_lookup *lookup,
			     enum lookup_state state)
{
	lookup->state = state;
	if (state != LOOKUP_STATE_OVER)
		return;
	bluez_unwatch(&lookup->watcher);
	bluez_discovery_free(lookup->discovery);
	lookup->discovery = NULL;
	event_del(lookup->deadline);
	loop_defer(lookup->loop, &lookup->done_task);
}

static void lookup_fail(struct bluez_lookup *lookup, int code)
{
	lookup->code = code;
	lookup_set_state(lookup, LOOKUP_STATE_OVER);
}

static void lookup_find(struct bluez_lookup *lookup, const struct match *match)
{
	char text[ADDRESS_BLUETOOTH_TEXT_BYTES];

	lookup->address = match->candidates[0];
	address_bluetooth_format(&lookup->address, text);
	if (match->fit == FIT_KNOWN_ALMOST || match->fit == FIT_PAIRED_ALMOST)
		log_info("bluez: '%s' is %s, whose name differs in upper and "
			 "lower case",
			 lookup->shown, text);
	else
		log_debug("bluez: '%s' is %s", lookup->shown, text);
	if (lookup->discovery) {
		lookup_set_state(lookup, LOOKUP_STATE_STOPPING);
		loop_start_timer(lookup->deadline, STOP_MS);
		bluez_discovery_stop(lookup->discovery);
	} else {
		lookup_set_state(lookup, LOOKUP_STATE_OVER);
	}
}

/* True if that was an answer. */
static bool lookup_match(struct bluez_lookup *lookup)
{
	struct match match;

	match_make(&match, lookup);
	if (match.fit == FIT_NONE ||
	    (match.fit == FIT_KNOWN_ALMOST && match.count > 1))
		return false;
	if (match.count > 1)
		lookup_fail(lookup,
			    explain_ambiguous(lookup, &match, &lookup->error));
	else
		lookup_find(lookup, &match);
	return true;
}

/*
 * Nobody comes before one that is paired. A stranger is not to be taken for
 * having answered first where there are more of that name.
 */
static void on_seen(const struct device *device, void *arg)
{
	struct bluez_lookup *lookup = arg;
	enum fit fit = fit_of(device, &lookup->target);

	if (device->is_le_only)
		return;
	if (fit >= FIT_PAIRED_ALMOST) {
		lookup_match(lookup);
	} else if (fit == FIT_KNOWN &&
		   lookup->state == LOOKUP_STATE_SEARCHING) {
		lookup_set_state(lookup, LOOKUP_STATE_COMPARING);
		loop_start_timer(lookup->deadline, NAMESAKES_MS);
	}
}

static void on_failed(int code, const struct error *error, void *arg)
{
	struct bluez_lookup *lookup = arg;

	lookup->error = *error;
	error_prefix(&lookup->error, code, "cannot look for '%s'",
		     lookup->shown);
	lookup_fail(lookup, code);
}

static void on_stopped(void *arg)
{
	lookup_set_state(arg, LOOKUP_STATE_OVER);
}

static void lookup_search(struct bluez_lookup *lookup)
{
	static const struct bluez_discovery_ops ops = {
		.seen = on_seen,
		.failed = on_failed,
		.stopped = on_stopped,
	};

	lookup_set_state(lookup, LOOKUP_STATE_SEARCHING);
	lookup->discovery = bluez_discovery_new(lookup->bluez, &lookup->choice,
						&ops, lookup);
	if (!lookup->discovery)
		lookup_fail(lookup, error_set(&lookup->error, -errno, "%s",
					      strerror(errno)));
}

/* With the first answer of bluetoothd, or at once if it has come. */
static void lookup_begin(struct bluez_lookup *lookup)
{
	if (!*bluez_reason(lookup->bluez))
		return;
	bluez_unwatch(&lookup->watcher);
	if (bluez_state(lookup->bluez) != BLUEZ_STATE_READY ||
	    !lookup_match(lookup))
		lookup_search(lookup);
}

static void on_bluez_changed(struct bluez *bluez, void *arg)
{
	lookup_begin(arg);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct bluez_lookup *lookup = arg;
	struct match match;

	switch (lookup->state) {
	case LOOKUP_STATE_ASKED:
		lookup_fail(lookup,
			    error_set(&lookup->error, -ETIMEDOUT,
				      "the system bus does not answer"));
		break;
	case LOOKUP_STATE_SEARCHING:
	case LOOKUP_STATE_COMPARING:
		if (lookup_match(lookup))
			break;
		match_make(&match, lookup);
		lookup_fail(lookup, match.count
					    ? explain_ambiguous(lookup, &match,
								&lookup->error)
					    : explain_absent(lookup, &match,
							     &lookup->error));
		break;
	case LOOKUP_STATE_STOPPING:
		/* bluetoothd does not answer; the address is good. */
		lookup_set_state(lookup, LOOKUP_STATE_OVER);
		break;
	case LOOKUP_STATE_OVER:
		break;
	}
}

struct bluez_lookup *bluez_lookup_new(struct bluez *bluez,
				      const struct address_adapter *choice,
				      const struct address_device *target,
				      bluez_lookup_cb done, void *arg)
{
	struct bluez_lookup *lookup = calloc(1, sizeof(*lookup));

	if (!lookup)
		return NULL;
	lookup->loop = bluez_loop(bluez);
	lookup->bluez = bluez;
	lookup->choice = *choice;
	lookup->done = done;
	lookup->arg = arg;
	lookup->done_task = (struct loop_task){.run = run_done, .arg = lookup};
	lookup->target.address = target->address;
	if (target->name) {
		lookup->target.name = strdup(target->name);
		text_printable(target->name, lookup->shown);
	} else {
		address_bluetooth_format(&target->address, lookup->shown);
	}
	lookup->deadline = evtimer_new(lookup->loop->base, on_deadline, lookup);
	if ((target->name && !lookup->target.name) || !lookup->deadline ||
	    loop_start_timer(lookup->deadline, LOOKUP_MS)) {
		lookup_free(lookup);
		errno = ENOMEM;
		return NULL;
	}
	bluez_watch(bluez, &lookup->watcher, on_bluez_changed, lookup);
	lookup_begin(lookup);
	return lookup;
}

void bluez_lookup_cancel(struct bluez_lookup *lookup)
{
	if (lookup)
		lookup_free(lookup);
}
