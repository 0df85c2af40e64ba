/* SPDX-License-Identifier: MIT */
#include "command_dialogue.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "address.h"
#include "bluez.h"
#include "command.h"
#include "log.h"
#include "loop.h"

#define DURATION_MS_MAX (60 * 60 * 1000)

static const int signal_numbers[DIALOGUE_SIGNALS] = {
	[DIALOGUE_SIGNAL_INT] = SIGINT,
	[DIALOGUE_SIGNAL_TERM] = SIGTERM,
	[DIALOGUE_SIGNAL_HUP] = SIGHUP,
};

void dialogue_fail(struct dialogue *dialogue, int code,
		   const struct error *error)
{
	dialogue->code = code;
	dialogue->error = *error;
	loop_stop(dialogue->loop);
}

/* ---- what is printed --------------------------------------------------------- */

void dialogue_flush(struct dialogue *dialogue)
{
	struct error error;

	if (fflush(stdout) == 0 && !ferror(stdout))
		return;
	dialogue_fail(dialogue,
		      error_set(&error, -EPIPE,
				"cannot write to standard output: %s",
				strerror(errno)),
		      &error);
}

void dialogue_print_paired(struct dialogue *dialogue,
			   const struct device *device, enum pairing_how how)
{
	person_print_paired(&dialogue->person, device, how);
	dialogue_flush(dialogue);
}

const char *dialogue_advice(enum pairing_refusal why)
{
	switch (why) {
	case PAIRING_REFUSAL_PIN:
		return "; an old device has one built in (--pin), or keys to "
		       "type one (--one-time-pin)";
	case PAIRING_REFUSAL_NUMBER:
		return "; with --confirm you can";
	case PAIRING_REFUSAL_NO_PIN:
		return "; --pin is there to keep it out; let it in without, or "
		       "with --confirm";
	case PAIRING_REFUSAL_NONE:
	case PAIRING_REFUSAL_SERVICE:
	case PAIRING_REFUSAL_OTHER:
	case PAIRING_REFUSAL_ADAPTER:
	case PAIRING_REFUSAL_NO_RANDOM:
		break;
	}
	return "";
}

void dialogue_show(const struct device *device, const char *text, void *arg)
{
	struct dialogue *dialogue = arg;

	person_show(&dialogue->person, device, text);
	dialogue_flush(dialogue);
}

void dialogue_ask(const struct device *device, enum pairing_question question,
		  uint32_t number, void *arg)
{
	struct dialogue *dialogue = arg;

	person_ask(&dialogue->person, device, question, number);
	dialogue_flush(dialogue);
}

void dialogue_withdrawn(void *arg)
{
	struct dialogue *dialogue = arg;

	person_withdraw(&dialogue->person);
	dialogue_flush(dialogue);
}

/* ---- from the beginning to the end ------------------------------------------ */

int dialogue_explain(const struct dialogue *dialogue, struct error *error)
{
	const struct bluez *bluez = dialogue->bluez;
	int code;

	if (!*bluez_reason(bluez))
		return error_set(error, -ETIMEDOUT,
				 "the system bus does not answer");
	if (bluez_state(bluez) != BLUEZ_STATE_READY)
		return error_set(error, -ENOTCONN, "%.200s%s",
				 bluez_reason(bluez), bluez_advice(bluez));
	code = bluez_check_adapter(bluez, &dialogue->settings.adapter, error);
	if (code)
		return code;
	return error_set(error, -ETIMEDOUT,
			 "bluetoothd does not let devices pair; its log may "
			 "say why: 'journalctl -u bluetooth'");
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct dialogue *dialogue = arg;

	loop_stop(dialogue->loop);
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
	struct dialogue *dialogue = arg;

	dialogue->is_called_off = true;
	loop_stop(dialogue->loop);
}

static int start_person(struct dialogue *dialogue)
{
	int code = person_start(&dialogue->person, dialogue->loop);
	struct error error;

	if (code != -EPERM)
		return code;
	dialogue_fail(dialogue,
		      error_set(&error, code,
				"--confirm asks on standard input, which is "
				"none that can be waited for"),
		      &error);
	return code;
}

static int start_events(struct dialogue *dialogue)
{
	struct event_base *base = dialogue->loop->base;

	dialogue->deadline = evtimer_new(base, on_deadline, dialogue);
	if (!dialogue->deadline)
		return -ENOMEM;
	for (size_t i = 0; i < DIALOGUE_SIGNALS; i++) {
		dialogue->signals[i] = evsignal_new(base, signal_numbers[i],
						    on_signal, dialogue);
		if (!dialogue->signals[i] ||
		    event_add(dialogue->signals[i], NULL))
			return -ENOMEM;
	}
	return dialogue->settings.method == PAIRING_METHOD_ASK
		       ? start_person(dialogue)
		       : 0;
}

int dialogue_start(struct dialogue *dialogue,
		   const struct bluez_settings *settings)
{
	int code;

	/* Who reads along may leave: EPIPE says so. */
	signal(SIGPIPE, SIG_IGN);
	dialogue->loop = loop_new();
	if (!dialogue->loop)
		return -errno;
	code = start_events(dialogue);
	if (code)
		return code;
	dialogue->bluez = bluez_new(dialogue->loop, settings);
	return dialogue->bluez ? 0 : -errno;
}

int dialogue_register(struct dialogue *dialogue, const struct pairing_ops *ops)
{
	dialogue->person.pairing = pairing_new(
		dialogue->bluez, &dialogue->settings, ops, dialogue);
	return dialogue->person.pairing ? 0 : -errno;
}

void dialogue_limit(struct dialogue *dialogue)
{
	loop_start_timer(dialogue->deadline, dialogue->duration_ms);
}

void dialogue_clear(struct dialogue *dialogue)
{
	person_stop(&dialogue->person);
	pairing_free(dialogue->person.pairing);
	bluez_free(dialogue->bluez);
	if (dialogue->deadline)
		event_free(dialogue->deadline);
	for (size_t i = 0; i < DIALOGUE_SIGNALS; i++)
		if (dialogue->signals[i])
			event_free(dialogue->signals[i]);
	loop_free(dialogue->loop);
	if (dialogue->pin)
		explicit_bzero(dialogue->pin, strlen(dialogue->pin));
	free(dialogue->pin);
}

/* ---- options ---------------------------------------------------------------------- */

static int parse_method(struct dialogue *dialogue,
			const struct command_options *options,
			struct error *error)
{
	struct pairing_settings *settings = &dialogue->settings;
	int code;

	if ((options->pin != NULL) + options->is_one_time_pin +
		    options->is_confirmed >
	    1)
		return error_set(error, -EINVAL,
				 "only one of --pin, --one-time-pin and "
				 "--confirm");
	if (options->is_confirmed)
		settings->method = PAIRING_METHOD_ASK;
	else if (options->is_one_time_pin)
		settings->method = PAIRING_METHOD_PIN;
	if (!options->pin)
		return 0;
	settings->method = PAIRING_METHOD_PIN;
	code = pairing_check_pin(options->pin, error);
	if (code)
		return error_prefix(error, code, "--pin");
	dialogue->pin = strdup(options->pin);
	if (!dialogue->pin)
		return error_set(error, -ENOMEM, "out of memory");
	settings->pin = dialogue->pin;
	/* Not for everybody who can list processes. */
	memset(options->pin, '*', strlen(options->pin));
	return 0;
}

int dialogue_parse(struct dialogue *dialogue,
		   const struct command_options *options, struct error *error)
{
	int code = parse_method(dialogue, options, error);

	dialogue->duration_ms = PAIRING_WINDOW_MS;
	dialogue->person.output = stdout;
	dialogue->person.is_json = options->is_json;
	if (code == 0 && options->adapter)
		code = address_adapter_parse(
			options->adapter, &dialogue->settings.adapter, error);
	if (code || !options->period)
		return code;
	code = address_duration_parse(options->period, &dialogue->duration_ms,
				      error);
	if (code == 0 && (dialogue->duration_ms < 1000 ||
			  dialogue->duration_ms > DURATION_MS_MAX))
		code = error_set(error, -EINVAL, "'%.40s' is not 1s to 1h",
				 options->period);
	return code ? error_prefix(error, code, "--for") : 0;
}
