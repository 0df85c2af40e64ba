/* SPDX-License-Identifier: MIT */
/* pair: let devices pair with this machine, for a while. */
#include "command.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <event2/event.h>

#include "address.h"
#include "bluez.h"
#include "command_dialogue.h"
#include "config.h"
#include "config_load.h"
#include "error.h"
#include "json.h"
#include "log.h"
#include "loop.h"
#include "pairing.h"
#include "text.h"

struct window {
	struct dialogue dialogue;
	struct bluez_watcher watcher;
	struct event *start_timer;
	struct config *config; /* NULL: there is none */
	bool is_once;
	bool is_open; /* has been */
	struct error refusal; /* of our agent, as long as that stands */
	unsigned int paired_count;
};

/* ---- what is printed --------------------------------------------------------- */

static void print_open(struct window *window,
		       const struct adapter_shown *adapter)
{
	const struct dialogue *dialogue = &window->dialogue;
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES], quoted[TEXT_QUOTED_BYTES];
	char time[24];

	address_bluetooth_format(&adapter->address, address);
	if (dialogue->person.is_json) {
		printf("{\"event\": \"open\", \"adapter\": \"%s\", "
		       "\"address\": \"%s\", \"name\": ",
		       adapter->name, address);
		json_print_string(stdout, adapter->alias);
		printf(", \"seconds\": %u}\n", dialogue->duration_ms / 1000);
		return;
	}
	address_duration_format(dialogue->duration_ms, time);
	printf("devices can pair with \"%s\" (%s, %s) for %s; Ctrl-C ends "
	       "that\n",
	       text_printable(adapter->alias, quoted), adapter->name, address,
	       time);
}

static void print_closed(const struct window *window)
{
	if (window->dialogue.person.is_json)
		printf("{\"event\": \"closed\", \"paired\": %u}\n",
		       window->paired_count);
	else if (window->paired_count)
		printf("closed; %u device%s paired\n", window->paired_count,
		       window->paired_count == 1 ? "" : "s");
	else
		printf("closed; nothing was paired\n");
}

/* ---- what happens in it --------------------------------------------------------- */

static void on_paired(const struct device *device, enum pairing_how how,
		      void *arg)
{
	struct dialogue *dialogue = arg;
	struct window *window = dialogue->owner;

	window->paired_count++;
	dialogue_print_paired(dialogue, device, how);
	if (window->is_once)
		loop_stop(dialogue->loop);
}

static void on_refused(const struct device *device, enum pairing_refusal why,
		       void *arg)
{
	struct dialogue *dialogue = arg;
	const struct person *person = &dialogue->person;

	if (person->is_json) {
		person_print_json_device(person, "refused", device);
		person_print_json_text(person, "why",
				       pairing_refusal_to_string(why));
		printf("}\n");
	} else {
		printf("refused: ");
		person_print_device(person, device);
		printf(": %s%s\n", pairing_refusal_to_string(why),
		       dialogue_advice(why));
	}
	dialogue_flush(dialogue);
}

static void on_registered(int code, const struct error *error, void *arg)
{
	struct dialogue *dialogue = arg;
	struct window *window = dialogue->owner;

	window->refusal = *error;
	if (!code)
		window->refusal.text[0] = '\0';
	else if (window->is_open)
		log_warning("nobody can pair now: %s", error->text);
}

static bool offers(const struct address_uuid *uuid,
		   const struct address_bluetooth *address, const char *name,
		   void *arg)
{
	const struct dialogue *dialogue = arg;
	const struct window *window = dialogue->owner;

	for (size_t i = 0; window->config && i < window->config->route_count;
	     i++)
		if (config_route_offers(&window->config->routes[i], uuid,
					address, name))
			return true;
	return false;
}

static const struct pairing_ops pairing_ops = {
	.offers = offers,
	.paired = on_paired,
	.refused = on_refused,
	.show = dialogue_show,
	.ask = dialogue_ask,
	.withdrawn = dialogue_withdrawn,
	.registered = on_registered,
};

/* ---- from the beginning to the end ------------------------------------------ */

/* Once: later nothing is different, but for what adapter.c logs. */
static void window_open(struct window *window)
{
	struct dialogue *dialogue = &window->dialogue;
	struct adapter_shown adapter;

	window->is_open = true;
	event_del(window->start_timer);
	dialogue_limit(dialogue);
	for (size_t i = 0; bluez_adapter_shown(dialogue->bluez, i, &adapter);
	     i++)
		print_open(window, &adapter);
	dialogue_flush(dialogue);
}

static void on_bluez_changed(struct bluez *bluez, void *arg)
{
	struct window *window = arg;
	unsigned int powered = bluez_adapters_powered(bluez);
	struct adapter_shown adapter;

	if (!window->is_open && powered &&
	    bluez_adapter_shown(bluez, powered - 1, &adapter))
		window_open(window);
}

static void on_start_timer(evutil_socket_t fd, short what, void *arg)
{
	struct window *window = arg;
	struct dialogue *dialogue = &window->dialogue;
	struct adapter_shown adapter;
	struct error error;
	int code;

	if (bluez_adapter_shown(dialogue->bluez, 0, &adapter)) {
		window_open(window);
		return;
	}
	if (*window->refusal.text &&
	    bluez_state(dialogue->bluez) == BLUEZ_STATE_READY)
		code = error_set(&error, -EACCES,
				 "bluetoothd takes no agent: %.200s",
				 window->refusal.text);
	else
		code = dialogue_explain(dialogue, &error);
	dialogue_fail(dialogue, code, &error);
}

static int window_start(struct window *window)
{
	struct dialogue *dialogue = &window->dialogue;
	const unsigned int window_s = dialogue->duration_ms / 1000 +
				      PAIRING_WINDOW_GRACE_S;
	const struct bluez_settings settings = {
		.adapter = dialogue->settings.adapter,
		.is_reachable = true,
		.is_discoverable = true,
		.is_pairable = true,
		.window_s = window_s,
		.pairable_s = window_s,
	};
	int code = dialogue_start(dialogue, &settings);

	if (code)
		return code;
	bluez_watch(dialogue->bluez, &window->watcher, on_bluez_changed,
		    window);
	window->start_timer = evtimer_new(dialogue->loop->base, on_start_timer,
					  window);
	if (!window->start_timer ||
	    loop_start_timer(window->start_timer, DIALOGUE_START_MS))
		return -ENOMEM;
	return dialogue_register(dialogue, &pairing_ops);
}

/* Nobody is told "closed" before it is. */
static void window_close(struct window *window)
{
	bluez_unwatch(&window->watcher);
	if (window->start_timer)
		event_free(window->start_timer);
	dialogue_clear(&window->dialogue);
	config_free(window->config);
}

static void log_finding(const char *text, void *arg)
{
	log_error("%s", text);
}

/*
 * What the machine's configuration says of pairing, if there is one. @path is
 * for messages. 0, or -errno that has been logged.
 */
static int read_config(struct window *window, const char *path)
{
	if (config_load_if_there(path, &window->config, log_finding, NULL))
		return -EINVAL;
	if (!window->config)
		return 0;
	switch (window->config->gateway.pairing) {
	case CONFIG_PAIRING_NEVER:
		log_error(
			"devices may not pair here: pairing is 'never' in %s, "
			"which is also what holds without the key; "
			"'pairing = window' in its [gateway] allows it",
			path);
		return -EPERM;
	case CONFIG_PAIRING_WINDOW:
		break;
	case CONFIG_PAIRING_ALWAYS:
		if (window->dialogue.settings.method == PAIRING_METHOD_FREE)
			break;
		log_error("pairing is 'always' in %s: the gateway lets devices "
			  "pair without a PIN or a question; 'pairing = "
			  "window' leaves it to this command",
			  path);
		return -EPERM;
	}
	return 0;
}

int command_pair(const struct command_options *options)
{
	struct window window = {.is_once = options->is_once};
	struct dialogue *dialogue = &window.dialogue;
	struct error error;
	int code;

	if (options->argument_count)
		return command_pair_device(options);
	dialogue->owner = &window;
	code = dialogue_parse(dialogue, options, &error);
	if (code)
		log_error("%s", error.text);
	else
		code = read_config(&window, options->config_path);
	if (code) {
		window_close(&window);
		return code == -EPERM ? COMMAND_STATUS_FAILED
				      : COMMAND_STATUS_USAGE;
	}
	code = window_start(&window);
	if (code == 0)
		code = loop_run(dialogue->loop);
	window_close(&window);
	if (code < 0 && !dialogue->code)
		dialogue->code = error_set(&dialogue->error, code, "%s",
					   strerror(-code));
	if (dialogue->code)
		log_error("cannot let devices pair: %s", dialogue->error.text);
	if (window.is_open) {
		print_closed(&window);
		fflush(stdout);
	}
	return dialogue->code || !window.paired_count ? COMMAND_STATUS_FAILED
						      : COMMAND_STATUS_OK;
}
