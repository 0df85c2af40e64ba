/* SPDX-License-Identifier: MIT */
/* pair DEVICE: pair with one device, from this side. */
#include "command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "address_device.h"
#include "bluez.h"
#include "command_dialogue.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "pairing.h"
#include "text.h"

struct call {
	struct dialogue dialogue;
	struct address_device target; /* as it was asked for */
	char shown[TEXT_QUOTED_BYTES]; /* the same, for messages */
	struct bluez_lookup *lookup;
	struct address_bluetooth address;
	char *path; /* of its object at bluetoothd; NULL: not found yet */
	struct event *start_timer; /* until our agent is registered */
	bool is_begun;
	bool is_paired; /* in the end */
	enum pairing_refusal why; /* we refused it */
};

static void call_fail(struct call *call, int code, struct error *error)
{
	error_prefix(error, code, "cannot pair with %s", call->shown);
	dialogue_fail(&call->dialogue, code, error);
}

/* ---- what it comes to ------------------------------------------------------------ */

static void call_end_already(struct call *call, const struct device *device)
{
	struct dialogue *dialogue = &call->dialogue;
	const struct person *person = &dialogue->person;

	if (person->is_json) {
		person_print_json_device(person, "paired", device);
		person_print_json_text(person, "how", "already");
		printf("}\n");
	} else {
		printf("paired already: ");
		person_print_device(person, device);
		printf("\n");
	}
	call->is_paired = true;
	dialogue_flush(dialogue);
	loop_stop(dialogue->loop);
}

static void on_ended(int code, const struct error *error, void *arg)
{
	struct dialogue *dialogue = arg;
	struct call *call = dialogue->owner;
	const struct device *device = bluez_device_at(dialogue->bluez,
						      call->path);
	struct error said = *error;

	if (code == -EEXIST && device) {
		call_end_already(call, device);
	} else if (code && call->why) {
		code = error_set(&said, -EACCES, "%s%s",
				 pairing_refusal_to_string(call->why),
				 dialogue_advice(call->why));
		call_fail(call, code, &said);
	} else if (code) {
		call_fail(call, code, &said);
	} else {
		/* That it is paired was told before. */
		loop_stop(dialogue->loop);
	}
}

static bool is_target(const struct call *call, const struct device *device)
{
	return memcmp(&call->address, &device->address,
		      sizeof(device->address)) == 0;
}

static void on_paired(const struct device *device, enum pairing_how how,
		      void *arg)
{
	struct dialogue *dialogue = arg;
	struct call *call = dialogue->owner;
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES];

	if (is_target(call, device)) {
		call->is_paired = true;
		dialogue_print_paired(dialogue, device, how);
		return;
	}
	address_bluetooth_format(&device->address, address);
	log_warning("%s paired meanwhile, too; 'bluetoothctl remove %s' "
		    "undoes it",
		    address, address);
}

/* Others are no news here. */
static void on_refused(const struct device *device, enum pairing_refusal why,
		       void *arg)
{
	struct dialogue *dialogue = arg;
	struct call *call = dialogue->owner;
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES];

	address_bluetooth_format(&device->address, address);
	log_info("refused %s: %s", address, pairing_refusal_to_string(why));
	if (is_target(call, device))
		call->why = why;
}

/* ---- from the beginning to the end ------------------------------------------ */

static void on_registered(int code, const struct error *error, void *arg)
{
	struct dialogue *dialogue = arg;
	struct call *call = dialogue->owner;
	struct error said = *error;

	event_del(call->start_timer);
	if (code) {
		error_prefix(&said, code, "bluetoothd takes no agent");
		call_fail(call, code, &said);
		return;
	}
	if (call->is_begun)
		return;
	call->is_begun = true;
	code = pairing_begin(dialogue->person.pairing, call->path);
	if (code)
		call_fail(call, error_set(&said, code, "%s", strerror(-code)),
			  &said);
}

static void on_start_timer(evutil_socket_t fd, short what, void *arg)
{
	struct call *call = arg;
	struct error error;
	int code = dialogue_explain(&call->dialogue, &error);

	call_fail(call, code, &error);
}

/* The device as one of the adapters has it. */
struct sighting {
	const struct call *call;
	const struct device *device;
};

static void take_paired(const struct device *device, void *arg)
{
	struct sighting *sighting = arg;

	if (device->is_paired && is_target(sighting->call, device))
		sighting->device = device;
}

static void take_any(const struct device *device, void *arg)
{
	struct sighting *sighting = arg;

	if (is_target(sighting->call, device))
		sighting->device = device;
}

/* By which adapter: one that is on, and has seen it. 0, or -errno. */
static int choose_adapter(struct call *call, struct error *error)
{
	struct dialogue *dialogue = &call->dialogue;
	struct address_adapter *choice = &dialogue->settings.adapter;
	struct address_adapter one = {.choice = ADAPTER_CHOICE_ADDRESS};
	struct sighting sighting = {.call = call};
	int code;

	if (!bluez_adapter_of(dialogue->bluez, choice, &call->address,
			      &one.address)) {
		code = bluez_check_adapter(dialogue->bluez, choice, error);
		return code ? code
			    : error_set(error, -ENODEV,
					"no adapter that is on has seen it; "
					"try again");
	}
	*choice = one;
	bluez_devices(dialogue->bluez, choice, take_any, &sighting);
	call->path = strdup(sighting.device->path);
	return call->path ? 0 : error_set(error, -ENOMEM, "out of memory");
}

/* Only now is there an agent: while there is one, others may pair as well. */
static int call_begin(struct call *call, struct error *error)
{
	static const struct pairing_ops ops = {
		.paired = on_paired,
		.refused = on_refused,
		.show = dialogue_show,
		.ask = dialogue_ask,
		.withdrawn = dialogue_withdrawn,
		.registered = on_registered,
		.ended = on_ended,
	};
	struct dialogue *dialogue = &call->dialogue;
	int code = choose_adapter(call, error);

	if (code)
		return code;
	dialogue->settings.only = &call->address;
	code = dialogue_register(dialogue, &ops);
	if (code == 0)
		code = loop_start_timer(call->start_timer, DIALOGUE_START_MS);
	return code ? error_set(error, code, "%s", strerror(-code)) : 0;
}

static void on_found(int code, const struct address_bluetooth *address,
		     const struct error *error, void *arg)
{
	struct call *call = arg;
	struct dialogue *dialogue = &call->dialogue;
	struct sighting sighting = {.call = call};
	struct error said;

	call->lookup = NULL;
	if (code) {
		/* It says what was looked for. */
		dialogue_fail(dialogue, code, error);
		return;
	}
	call->address = *address;
	bluez_devices(dialogue->bluez, &dialogue->settings.adapter, take_paired,
		      &sighting);
	if (sighting.device) {
		call_end_already(call, sighting.device);
		return;
	}
	code = call_begin(call, &said);
	if (code)
		call_fail(call, code, &said);
}

static int call_start(struct call *call)
{
	struct dialogue *dialogue = &call->dialogue;
	const struct bluez_settings settings = {
		.adapter = dialogue->settings.adapter,
	};
	int code = dialogue_start(dialogue, &settings);

	if (code)
		return code;
	dialogue_limit(dialogue);
	call->start_timer = evtimer_new(dialogue->loop->base, on_start_timer,
					call);
	if (!call->start_timer)
		return -ENOMEM;
	call->lookup = bluez_lookup_new(dialogue->bluez,
					&dialogue->settings.adapter,
					&call->target, on_found, call);
	return call->lookup ? 0 : -errno;
}

static void call_clear(struct call *call)
{
	bluez_lookup_cancel(call->lookup);
	if (call->start_timer)
		event_free(call->start_timer);
	dialogue_clear(&call->dialogue);
	free(call->path);
	address_device_clear(&call->target);
}

/* It was stopped, and nothing has failed. */
static void explain_stop(struct call *call)
{
	struct dialogue *dialogue = &call->dialogue;
	struct error *error = &dialogue->error;
	char time[24];

	address_duration_format(dialogue->duration_ms, time);
	if (dialogue->is_called_off)
		dialogue->code = error_set(error, -ECANCELED,
					   "%s was not paired: called off",
					   call->shown);
	else
		dialogue->code = error_set(error, -ETIMEDOUT,
					   "%s was not paired within %s",
					   call->shown, time);
}

int command_pair_device(const struct command_options *options)
{
	struct call call = {0};
	struct dialogue *dialogue = &call.dialogue;
	char text[ADDRESS_DEVICE_TEXT_BYTES];
	int code;

	dialogue->owner = &call;
	code = address_device_parse(options->arguments[0], &call.target,
				    &dialogue->error);
	if (code == 0)
		code = dialogue_parse(dialogue, options, &dialogue->error);
	if (code) {
		log_error("%s", dialogue->error.text);
		call_clear(&call);
		return COMMAND_STATUS_USAGE;
	}
	address_device_format(&call.target, text);
	text_printable(text, call.shown);
	code = call_start(&call);
	if (code == 0)
		code = loop_run(dialogue->loop);
	if (code < 0 && !dialogue->code)
		dialogue->code = error_set(&dialogue->error, code, "%s",
					   strerror(-code));
	if (!dialogue->code && !call.is_paired)
		explain_stop(&call);
	call_clear(&call);
	if (dialogue->code)
		log_error("%s", dialogue->error.text);
	return dialogue->code ? COMMAND_STATUS_FAILED : COMMAND_STATUS_OK;
}
