/* SPDX-License-Identifier: MIT */
#include "pairing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "agent.h"
#include "bluez.h"
#include "device.h"
#include "error.h"
#include "text.h"

/* Devices whose last answer, or refusal, is remembered. */
#define NOTES_MAX 16
#define NUMBER_MAX 999999

/* What became of a device that asked. */
struct note {
	struct address_bluetooth address;
	bool is_answered;
	enum pairing_how how; /* if it was */
	enum pairing_refusal why; /* it was refused last */
};

struct pairing {
	struct bluez *bluez;
	struct bluez_watcher watcher;
	struct pairing_settings settings;
	const struct pairing_ops *ops;
	void *arg;
	struct agent *agent;
	uint64_t pairings; /* that were told of */
	struct note notes[NOTES_MAX]; /* a ring */
	unsigned int notes_made;
	char next_pin[PAIRING_PIN_BYTES]; /* that was shown ahead; "": none */
	bool is_asking;
	enum pairing_question question;
	struct address_bluetooth asked; /* who is asked about */
};

const char *pairing_how_to_string(enum pairing_how how)
{
	switch (how) {
	case PAIRING_HOW_FREE:
		return "just works";
	case PAIRING_HOW_PIN:
		return "PIN";
	case PAIRING_HOW_COMPARED:
		return "number compared";
	case PAIRING_HOW_TYPED:
		return "number typed";
	case PAIRING_HOW_ALLOWED:
		return "allowed";
	case PAIRING_HOW_UNASKED:
		return "unasked";
	}
	return "?";
}

const char *pairing_refusal_to_string(enum pairing_refusal refusal)
{
	switch (refusal) {
	case PAIRING_REFUSAL_NONE:
		break;
	case PAIRING_REFUSAL_PIN:
		return "it asks for a PIN";
	case PAIRING_REFUSAL_NUMBER:
		return "it shows a number to be typed here";
	case PAIRING_REFUSAL_NO_PIN:
		return "it wants to pair without a PIN";
	case PAIRING_REFUSAL_SERVICE:
		return "it wants a service that no route has for it";
	case PAIRING_REFUSAL_OTHER:
		return "another device is being paired";
	case PAIRING_REFUSAL_ADAPTER:
		return "it came to an adapter that is not to be paired with";
	case PAIRING_REFUSAL_NO_RANDOM:
		return "there is no random PIN to be had";
	}
	return "?";
}

/* ---- what became of whom ------------------------------------------------------ */

static struct note *find_note(struct pairing *pairing,
			      const struct address_bluetooth *address)
{
	struct note *note;

	for (unsigned int i = 0; i < NOTES_MAX && i < pairing->notes_made; i++)
		if (!memcmp(&pairing->notes[i].address, address,
			    sizeof(*address)))
			return &pairing->notes[i];
	note = &pairing->notes[pairing->notes_made++ % NOTES_MAX];
	*note = (struct note){.address = *address};
	return note;
}

static void note_answer(struct note *note, enum pairing_how how)
{
	note->is_answered = true;
	note->how = how;
	note->why = PAIRING_REFUSAL_NONE;
}

static void note_refusal(struct pairing *pairing, const struct device *device,
			 enum pairing_refusal why)
{
	struct note *note = find_note(pairing, &device->address);
	bool is_news = note->why != why;

	note->is_answered = false;
	note->why = why;
	if (is_news)
		pairing->ops->refused(device, why, pairing->arg);
}

/* What is being asked. */
static void refuse(struct pairing *pairing, const struct device *device,
		   enum pairing_refusal why)
{
	agent_refuse(pairing->agent);
	note_refusal(pairing, device, why);
}

/* ---- who is paired ------------------------------------------------------------- */

static void tell_paired(struct pairing *pairing, const struct device *device)
{
	struct note *note = find_note(pairing, &device->address);
	enum pairing_how how = PAIRING_HOW_UNASKED;

	if (note->is_answered)
		how = note->how;
	else if (pairing->settings.method == PAIRING_METHOD_FREE)
		how = PAIRING_HOW_FREE;
	*note = (struct note){.address = device->address};
	pairing->ops->paired(device, how, pairing->arg);
}

static void take_device(const struct device *device, void *arg)
{
	struct pairing *pairing = arg;

	if (device->pairing > pairing->pairings)
		tell_paired(pairing, device);
}

static void on_bluez_changed(struct bluez *bluez, void *arg)
{
	struct pairing *pairing = arg;

	bluez_devices(bluez, &pairing->settings.adapter, take_device, pairing);
	pairing->pairings = bluez_pairings(bluez);
}

/* ---- what is asked --------------------------------------------------------------- */

/* Whether a route offers the service to the device. */
static bool is_service_allowed(const struct pairing *pairing,
			       const struct device *device, const char *text)
{
	const char *name = device->alias ? device->alias : device->name;
	struct address_uuid uuid;
	struct error error;

	return pairing->ops->offers &&
	       address_uuid_parse(text, &uuid, &error) == 0 &&
	       pairing->ops->offers(&uuid, &device->address,
				    device->is_paired ? name : NULL,
				    pairing->arg);
}

/* 000000 to 999999, each as likely. -errno if the kernel has no such number. */
static int draw_pin(char pin[PAIRING_PIN_BYTES])
{
	const uint32_t limit = UINT32_MAX - UINT32_MAX % (NUMBER_MAX + 1);
	uint32_t number;

	do {
		if (getrandom(&number, sizeof(number), GRND_NONBLOCK) !=
		    (ssize_t)sizeof(number))
			return -EIO;
	} while (number >= limit);
	snprintf(pin, PAIRING_PIN_BYTES, "%06u", number % (NUMBER_MAX + 1));
	return 0;
}

/* For the next attempt; what has none is asked for one when it comes. */
static void announce_pin(struct pairing *pairing)
{
	const struct pairing_settings *settings = &pairing->settings;

	if (settings->method != PAIRING_METHOD_PIN || settings->pin ||
	    settings->only || *pairing->next_pin)
		return;
	if (draw_pin(pairing->next_pin) == 0)
		pairing->ops->show(NULL, pairing->next_pin, pairing->arg);
}

static void give_next_pin(struct pairing *pairing, const struct device *device)
{
	bool is_announced = *pairing->next_pin;

	if (!is_announced && draw_pin(pairing->next_pin)) {
		refuse(pairing, device, PAIRING_REFUSAL_NO_RANDOM);
		return;
	}
	note_answer(find_note(pairing, &device->address), PAIRING_HOW_PIN);
	if (!is_announced)
		pairing->ops->show(device, pairing->next_pin, pairing->arg);
	agent_give_pin(pairing->agent, pairing->next_pin);
	explicit_bzero(pairing->next_pin, sizeof(pairing->next_pin));
	announce_pin(pairing);
}

static void give_pin(struct pairing *pairing, const struct device *device)
{
	if (!pairing->settings.pin) {
		give_next_pin(pairing, device);
		return;
	}
	note_answer(find_note(pairing, &device->address), PAIRING_HOW_PIN);
	agent_give_pin(pairing->agent, pairing->settings.pin);
}

static void ask(struct pairing *pairing, const struct device *device,
		enum pairing_question question, uint32_t number)
{
	pairing->is_asking = true;
	pairing->question = question;
	pairing->asked = device->address;
	/* What was answered before was another attempt's. */
	find_note(pairing, &device->address)->is_answered = false;
	pairing->ops->ask(device, question, number, pairing->arg);
}

static void take_request_free(struct pairing *pairing,
			      const struct device *device,
			      const struct agent_request *request)
{
	switch (request->kind) {
	case AGENT_REQUEST_CONFIRM:
	case AGENT_REQUEST_ALLOW:
		note_answer(find_note(pairing, &device->address),
			    PAIRING_HOW_FREE);
		agent_accept(pairing->agent);
		break;
	case AGENT_REQUEST_PIN:
		refuse(pairing, device, PAIRING_REFUSAL_PIN);
		break;
	case AGENT_REQUEST_NUMBER:
		refuse(pairing, device, PAIRING_REFUSAL_NUMBER);
		break;
	case AGENT_REQUEST_SHOW_PIN:
	case AGENT_REQUEST_SHOW_NUMBER:
	case AGENT_REQUEST_SERVICE:
		break;
	}
}

static void take_request_pin(struct pairing *pairing,
			     const struct device *device,
			     const struct agent_request *request)
{
	switch (request->kind) {
	case AGENT_REQUEST_PIN:
		give_pin(pairing, device);
		break;
	case AGENT_REQUEST_CONFIRM:
	case AGENT_REQUEST_ALLOW:
	case AGENT_REQUEST_NUMBER:
		refuse(pairing, device, PAIRING_REFUSAL_NO_PIN);
		break;
	case AGENT_REQUEST_SHOW_PIN:
	case AGENT_REQUEST_SHOW_NUMBER:
	case AGENT_REQUEST_SERVICE:
		break;
	}
}

static void take_request_ask(struct pairing *pairing,
			     const struct device *device,
			     const struct agent_request *request)
{
	switch (request->kind) {
	case AGENT_REQUEST_PIN:
		ask(pairing, device, PAIRING_QUESTION_PIN, 0);
		break;
	case AGENT_REQUEST_NUMBER:
		ask(pairing, device, PAIRING_QUESTION_NUMBER, 0);
		break;
	case AGENT_REQUEST_CONFIRM:
		ask(pairing, device, PAIRING_QUESTION_COMPARE, request->number);
		break;
	case AGENT_REQUEST_ALLOW:
		ask(pairing, device, PAIRING_QUESTION_ALLOW, 0);
		break;
	case AGENT_REQUEST_SHOW_PIN:
	case AGENT_REQUEST_SHOW_NUMBER:
	case AGENT_REQUEST_SERVICE:
		break;
	}
}

struct search {
	const struct device *device;
	bool is_found;
};

static void take_known(const struct device *device, void *arg)
{
	struct search *search = arg;

	if (!memcmp(&device->address, &search->device->address,
		    sizeof(device->address)) &&
	    strcmp(device->adapter, search->device->adapter) == 0)
		search->is_found = true;
}

/* bluetoothd asks one agent for all adapters, and makes all of them pairable. */
static bool is_at_adapter(const struct pairing *pairing,
			  const struct device *device)
{
	struct search search = {.device = device};

	bluez_devices(pairing->bluez, &pairing->settings.adapter, take_known,
		      &search);
	return search.is_found;
}

/* Who may not pair, whatever the method. */
static enum pairing_refusal refusal_of(const struct pairing *pairing,
				       const struct device *device)
{
	const struct address_bluetooth *only = pairing->settings.only;

	if (!is_at_adapter(pairing, device))
		return PAIRING_REFUSAL_ADAPTER;
	if (only && memcmp(only, &device->address, sizeof(*only)) != 0)
		return PAIRING_REFUSAL_OTHER;
	return PAIRING_REFUSAL_NONE;
}

static void on_asked(const struct agent_request *request, void *arg)
{
	struct pairing *pairing = arg;
	const struct device *device = bluez_device_at(pairing->bluez,
						      request->path);
	enum pairing_refusal why;

	if (!device) {
		agent_refuse(pairing->agent);
		return;
	}
	if (request->kind == AGENT_REQUEST_SERVICE) {
		if (is_service_allowed(pairing, device, request->text))
			agent_accept(pairing->agent);
		else
			refuse(pairing, device, PAIRING_REFUSAL_SERVICE);
		return;
	}
	why = refusal_of(pairing, device);
	if (why) {
		refuse(pairing, device, why);
		return;
	}
	switch (pairing->settings.method) {
	case PAIRING_METHOD_FREE:
		take_request_free(pairing, device, request);
		break;
	case PAIRING_METHOD_PIN:
		take_request_pin(pairing, device, request);
		break;
	case PAIRING_METHOD_ASK:
		take_request_ask(pairing, device, request);
		break;
	}
}

static void show(struct pairing *pairing, const struct device *device,
		 const struct agent_request *request)
{
	bool is_pin = request->kind == AGENT_REQUEST_SHOW_PIN;
	char number[PAIRING_PIN_BYTES];

	snprintf(number, sizeof(number), "%06u", request->number);
	note_answer(find_note(pairing, &device->address),
		    is_pin ? PAIRING_HOW_PIN : PAIRING_HOW_TYPED);
	pairing->ops->show(device, is_pin ? request->text : number,
			   pairing->arg);
}

/* bluetoothd makes a PIN up for keyboards, and the kernel a number. */
static bool on_shown(const struct agent_request *request, void *arg)
{
	struct pairing *pairing = arg;
	const struct device *device = bluez_device_at(pairing->bluez,
						      request->path);
	enum pairing_refusal why;

	if (!device)
		return false;
	why = refusal_of(pairing, device);
	if (!why && pairing->settings.method == PAIRING_METHOD_FREE)
		why = PAIRING_REFUSAL_PIN;
	else if (!why && pairing->settings.method == PAIRING_METHOD_PIN)
		why = PAIRING_REFUSAL_NO_PIN;
	if (why)
		note_refusal(pairing, device, why);
	else
		show(pairing, device, request);
	return !why;
}

static void on_withdrawn(void *arg)
{
	struct pairing *pairing = arg;

	pairing->is_asking = false;
	pairing->ops->withdrawn(pairing->arg);
}

static void on_registered(int code, const struct error *error, void *arg)
{
	struct pairing *pairing = arg;

	if (code == 0)
		announce_pin(pairing);
	pairing->ops->registered(code, error, pairing->arg);
}

/* ---- what is answered --------------------------------------------------------------- */

int pairing_check_pin(const char *pin, struct error *error)
{
	size_t bytes = strlen(pin);

	if (bytes < 1 || bytes > PAIRING_PIN_BYTES_MAX)
		return error_set(error, -EINVAL, "a PIN has 1 to %d bytes",
				 PAIRING_PIN_BYTES_MAX);
	if (text_check_shown(pin, error))
		return error_set(error, -EINVAL,
				 "a PIN is digits, or other characters that "
				 "can be shown");
	return 0;
}

static int answer_yes_or_no(struct pairing *pairing, const char *text,
			    enum pairing_how how, struct error *error)
{
	static const char *const words[] = {"no", "yes", "n", "y", NULL};
	size_t i = 0;

	while (words[i] && strcmp(words[i], text) != 0)
		i++;
	if (!words[i])
		return error_set(error, -EINVAL, "answer yes or no");
	if (i % 2) {
		note_answer(find_note(pairing, &pairing->asked), how);
		agent_accept(pairing->agent);
	} else {
		agent_refuse(pairing->agent);
	}
	return 0;
}

static int answer_pin(struct pairing *pairing, const char *text,
		      struct error *error)
{
	int code = pairing_check_pin(text, error);

	if (code)
		return code;
	note_answer(find_note(pairing, &pairing->asked), PAIRING_HOW_PIN);
	agent_give_pin(pairing->agent, text);
	return 0;
}

static int answer_number(struct pairing *pairing, const char *text,
			 struct error *error)
{
	unsigned long long number;

	if (!text_parse_number(text, NUMBER_MAX, &number))
		return error_set(error, -EINVAL,
				 "type the number of six digits that the "
				 "device shows");
	note_answer(find_note(pairing, &pairing->asked), PAIRING_HOW_TYPED);
	agent_give_number(pairing->agent, (uint32_t)number);
	return 0;
}

int pairing_answer(struct pairing *pairing, const char *text,
		   struct error *error)
{
	int code = 0;

	if (!pairing->is_asking)
		return error_set(error, -ENOENT, "nothing is being asked");
	switch (pairing->question) {
	case PAIRING_QUESTION_PIN:
		code = answer_pin(pairing, text, error);
		break;
	case PAIRING_QUESTION_NUMBER:
		code = answer_number(pairing, text, error);
		break;
	case PAIRING_QUESTION_COMPARE:
		code = answer_yes_or_no(pairing, text, PAIRING_HOW_COMPARED,
					error);
		break;
	case PAIRING_QUESTION_ALLOW:
		code = answer_yes_or_no(pairing, text, PAIRING_HOW_ALLOWED,
					error);
		break;
	}
	pairing->is_asking = code != 0;
	return code;
}

void pairing_refuse(struct pairing *pairing)
{
	pairing->is_asking = false;
	agent_refuse(pairing->agent);
}

/* ---- from outside ---------------------------------------------------------------------- */

static void on_ended(int code, const struct error *error, void *arg)
{
	struct pairing *pairing = arg;

	/* bluetoothd has told of the device before it answers. */
	if (code == 0)
		on_bluez_changed(pairing->bluez, pairing);
	pairing->ops->ended(code, error, pairing->arg);
}

int pairing_begin(struct pairing *pairing, const char *path)
{
	return agent_pair(pairing->agent, path, on_ended, pairing);
}

static enum agent_capability capability_of(enum pairing_method method)
{
	switch (method) {
	case PAIRING_METHOD_FREE:
		return AGENT_CAPABILITY_NONE;
	case PAIRING_METHOD_PIN:
		/* So that who could pair without one has to ask. */
		return AGENT_CAPABILITY_DISPLAY;
	case PAIRING_METHOD_ASK:
		break;
	}
	return AGENT_CAPABILITY_KEYBOARD;
}

struct pairing *pairing_new(struct bluez *bluez,
			    const struct pairing_settings *settings,
			    const struct pairing_ops *ops, void *arg)
{
	static const struct agent_ops agent_ops = {
		.asked = on_asked,
		.shown = on_shown,
		.withdrawn = on_withdrawn,
		.registered = on_registered,
	};
	struct pairing *pairing = calloc(1, sizeof(*pairing));

	if (!pairing)
		return NULL;
	pairing->bluez = bluez;
	pairing->settings = *settings;
	pairing->ops = ops;
	pairing->arg = arg;
	pairing->agent = bluez_agent_new(bluez, capability_of(settings->method),
					 &agent_ops, pairing);
	if (!pairing->agent) {
		free(pairing);
		return NULL;
	}
	pairing->pairings = bluez_pairings(bluez);
	bluez_watch(bluez, &pairing->watcher, on_bluez_changed, pairing);
	return pairing;
}

void pairing_free(struct pairing *pairing)
{
	if (!pairing)
		return;
	bluez_unwatch(&pairing->watcher);
	bluez_agent_free(pairing->bluez);
	explicit_bzero(pairing->next_pin, sizeof(pairing->next_pin));
	free(pairing);
}
