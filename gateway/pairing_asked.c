/* SPDX-License-Identifier: MIT */
#include "pairing_asked.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "address.h"
#include "bluez.h"
#include "device.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "pairing.h"
#include "person.h"
#include "tty.h"

struct pairing_asked {
	struct bluez *bluez;
	struct bluez_settings settings; /* of the bluez, without this */
	struct person person; /* its pairing NULL: the time is over */
	struct event *limit;
	unsigned int duration_ms;
	struct bluez_watcher watcher;
	bool is_registered; /* bluetoothd has our agent */
	bool is_open; /* devices can pair, and the time runs */
	bool is_paused;
	bool is_refusal_told; /* bluetoothd's, of our agent */
	bool is_end_untold;
	struct address_bluetooth refused; /* beside a client, the last one */
	bool is_refused_untold;
};

static void log_refused(const struct device *device, const char *why)
{
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES];

	address_bluetooth_format(&device->address, address);
	log_info("refused %s: %s", address, why);
}

/* To whoever tries in vain, maybe by a btgate pair in another terminal. */
static void tell_refused(struct pairing_asked *asked)
{
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES];

	if (!asked->is_refused_untold)
		return;
	asked->is_refused_untold = false;
	address_bluetooth_format(&asked->refused, address);
	log_say("refused %s, which wanted to pair: nobody is asked while a "
		"client has the terminal",
		address);
}

/* ---- what happens ------------------------------------------------------------ */

static void on_paired(const struct device *device, enum pairing_how how,
		      void *arg)
{
	const struct pairing_asked *asked = arg;

	person_print_paired(&asked->person, device, how);
}

static void on_refused(const struct device *device, enum pairing_refusal why,
		       void *arg)
{
	log_refused(device, pairing_refusal_to_string(why));
}

/* What nobody sees nobody types: it is a refusal, too. */
static void on_show(const struct device *device, const char *text, void *arg)
{
	struct pairing_asked *asked = arg;

	if (!asked->is_paused)
		person_show(&asked->person, device, text);
}

static void on_ask(const struct device *device, enum pairing_question question,
		   uint32_t number, void *arg)
{
	struct pairing_asked *asked = arg;

	if (asked->is_paused) {
		asked->refused = device->address;
		asked->is_refused_untold = true;
		if (!tty_is_changed())
			tell_refused(asked);
		pairing_refuse(asked->person.pairing);
		return;
	}
	person_ask(&asked->person, device, question, number);
}

static void on_withdrawn(void *arg)
{
	struct pairing_asked *asked = arg;

	person_withdraw(&asked->person);
}

/* Once there is an adapter with which they can. */
static void open_window(struct pairing_asked *asked)
{
	char time[24];

	if (asked->is_open || !asked->is_registered ||
	    !bluez_is_pairable(asked->bluez, &asked->settings.adapter))
		return;
	asked->is_open = true;
	bluez_unwatch(&asked->watcher);
	loop_start_timer(asked->limit, asked->duration_ms);
	address_duration_format(asked->duration_ms, time);
	log_say("phones can pair with this machine for %s: you are asked "
		"about each that can show or type a number",
		time);
}

static void on_registered(int code, const struct error *error, void *arg)
{
	struct pairing_asked *asked = arg;

	if (code && !asked->is_refusal_told) {
		asked->is_refusal_told = true;
		log_warning("nobody can pair: bluetoothd takes no agent: %s",
			    error->text);
	}
	asked->is_registered = !code;
	open_window(asked);
}

static void on_bluez_changed(struct bluez *bluez, void *arg)
{
	open_window(arg);
}

/* ---- from the beginning to the end ------------------------------------------ */

static void tell_end(struct pairing_asked *asked)
{
	if (!asked->is_end_untold || asked->is_paused)
		return;
	asked->is_end_untold = false;
	log_say("the time in which phones could pair is over: 'btgate pair' "
		"lets more of them");
}

static int end(struct pairing_asked *asked)
{
	person_stop(&asked->person);
	pairing_free(asked->person.pairing);
	asked->person.pairing = NULL;
	return bluez_change(asked->bluez, &asked->settings);
}

static void on_limit(evutil_socket_t fd, short what, void *arg)
{
	struct pairing_asked *asked = arg;
	int code = end(asked);

	if (code)
		log_warning("adapters stay pairable: %s", strerror(-code));
	asked->is_end_untold = true;
	tell_end(asked);
}

bool pairing_asked_pause(struct pairing_asked *asked, bool is_paused)
{
	bool was_asking;

	if (!asked)
		return false;
	was_asking = asked->person.is_asking;
	asked->is_paused = is_paused;
	if (is_paused)
		person_call_off(&asked->person);
	else
		tell_refused(asked);
	tell_end(asked);
	return is_paused && was_asking;
}

static int start(struct pairing_asked *asked)
{
	static const struct pairing_ops ops = {
		.paired = on_paired,
		.refused = on_refused,
		.show = on_show,
		.ask = on_ask,
		.withdrawn = on_withdrawn,
		.registered = on_registered,
	};
	const struct pairing_settings settings = {
		.adapter = asked->settings.adapter,
		.method = PAIRING_METHOD_ASK,
	};
	struct loop *loop = bluez_loop(asked->bluez);
	struct bluez_settings pairable = asked->settings;
	int code;

	asked->limit = evtimer_new(loop->base, on_limit, asked);
	if (!asked->limit)
		return -ENOMEM;
	code = person_start(&asked->person, loop);
	if (code)
		return code;
	/* This process may be stopped (Ctrl-Z), and no timer of its own runs. */
	pairable.is_pairable = true;
	pairable.pairable_s = asked->duration_ms / 1000 +
			      PAIRING_WINDOW_GRACE_S;
	code = bluez_change(asked->bluez, &pairable);
	if (code)
		return code;
	asked->person.pairing = pairing_new(asked->bluez, &settings, &ops,
					    asked);
	bluez_watch(asked->bluez, &asked->watcher, on_bluez_changed, asked);
	return asked->person.pairing ? 0 : -errno;
}

struct pairing_asked *pairing_asked_new(struct bluez *bluez,
					const struct bluez_settings *settings,
					unsigned int duration_ms)
{
	struct pairing_asked *asked = calloc(1, sizeof(*asked));
	int code;

	if (!asked)
		return NULL;
	asked->bluez = bluez;
	asked->settings = *settings;
	asked->duration_ms = duration_ms;
	asked->person.output = stderr;
	asked->person.is_guest = true;
	code = start(asked);
	if (!code)
		return asked;
	pairing_asked_free(asked);
	errno = -code;
	return NULL;
}

void pairing_asked_free(struct pairing_asked *asked)
{
	if (!asked)
		return;
	bluez_unwatch(&asked->watcher);
	tell_refused(asked);
	person_stop(&asked->person);
	pairing_free(asked->person.pairing);
	if (asked->limit)
		event_free(asked->limit);
	free(asked);
}
