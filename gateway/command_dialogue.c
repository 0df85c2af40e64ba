/* SPDX-License-Identifier: MIT */
#include "command_dialogue.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <event2/event.h>

#include "address.h"
#include "bluez.h"
#include "command.h"
#include "json.h"
#include "log.h"
#include "loop.h"
#include "text.h"

#define DURATION_MS (2 * 60 * 1000)
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

static const char *name_of(const struct device *device)
{
	return device->alias ? device->alias : device->name;
}

void dialogue_print_device(const struct device *device)
{
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES], quoted[TEXT_QUOTED_BYTES];

	address_bluetooth_format(&device->address, address);
	if (name_of(device))
		printf("%s \"%s\"", address,
		       text_printable(name_of(device), quoted));
	else
		printf("%s (no name)", address);
}

void dialogue_print_json_device(const char *event, const struct device *device)
{
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES];

	address_bluetooth_format(&device->address, address);
	printf("{\"event\": \"%s\", \"address\": \"%s\", \"name\": ", event,
	       address);
	json_print_string(stdout, name_of(device));
	printf(", \"adapter\": \"%s\"", device->adapter);
}

void dialogue_print_json_text(const char *key, const char *text)
{
	printf(", \"%s\": ", key);
	json_print_string(stdout, text);
}

void dialogue_print_paired(struct dialogue *dialogue,
			   const struct device *device, enum pairing_how how)
{
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES];

	if (dialogue->is_json) {
		dialogue_print_json_device("paired", device);
		dialogue_print_json_text("how", pairing_how_to_string(how));
		printf("}\n");
	} else {
		printf("paired: ");
		dialogue_print_device(device);
		printf(" (%s)\n", pairing_how_to_string(how));
	}
	dialogue_flush(dialogue);
	if (how != PAIRING_HOW_UNASKED)
		return;
	address_bluetooth_format(&device->address, address);
	log_warning("%s paired and nobody here was asked: another "
		    "program's agent answered, or it can neither show "
		    "nor type a number; 'bluetoothctl remove %s' undoes "
		    "it",
		    address, address);
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

/* ---- what is asked --------------------------------------------------------------- */

void dialogue_show(const struct device *device, const char *text, void *arg)
{
	struct dialogue *dialogue = arg;

	if (dialogue->is_json) {
		dialogue_print_json_device("show", device);
		dialogue_print_json_text("type", text);
		printf("}\n");
	} else {
		dialogue_print_device(device);
		printf(": type %s on it\n", text);
	}
	dialogue_flush(dialogue);
}

/*
 * What was typed before it was asked answers nothing. Bounded, for who types
 * faster than is read.
 */
static void drop_input(void)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	char text[1024];

	if (isatty(STDIN_FILENO)) {
		tcflush(STDIN_FILENO, TCIFLUSH);
		return;
	}
	for (int i = 0; i < 64 && poll(&input, 1, 0) == 1; i++)
		if (read(STDIN_FILENO, text, sizeof(text)) <= 0)
			return;
}

static void print_json_question(const struct device *device,
				enum pairing_question question, uint32_t number)
{
	static const char *const words[] = {
		[PAIRING_QUESTION_PIN] = "pin",
		[PAIRING_QUESTION_NUMBER] = "number",
		[PAIRING_QUESTION_COMPARE] = "compare",
		[PAIRING_QUESTION_ALLOW] = "allow",
	};

	dialogue_print_json_device("ask", device);
	dialogue_print_json_text("question", words[question]);
	if (question == PAIRING_QUESTION_COMPARE)
		printf(", \"number\": \"%06u\"", number);
	printf("}\n");
}

static void print_question(const struct device *device,
			   enum pairing_question question, uint32_t number)
{
	dialogue_print_device(device);
	switch (question) {
	case PAIRING_QUESTION_PIN:
		printf(" wants a PIN; which one? ");
		break;
	case PAIRING_QUESTION_NUMBER:
		printf(" shows a number; which one? ");
		break;
	case PAIRING_QUESTION_COMPARE:
		printf(" wants to pair; does it show %06u (yes, no)? ", number);
		break;
	case PAIRING_QUESTION_ALLOW:
		printf(" wants to pair, without a number (yes, no)? ");
		break;
	}
}

void dialogue_ask(const struct device *device, enum pairing_question question,
		  uint32_t number, void *arg)
{
	struct dialogue *dialogue = arg;

	if (dialogue->is_end_of_input) {
		pairing_refuse(dialogue->pairing);
		return;
	}
	drop_input();
	dialogue->answer_bytes = 0;
	dialogue->is_asking = true;
	if (dialogue->is_json)
		print_json_question(device, question, number);
	else
		print_question(device, question, number);
	dialogue_flush(dialogue);
}

void dialogue_withdrawn(void *arg)
{
	struct dialogue *dialogue = arg;

	if (!dialogue->is_asking)
		return;
	dialogue->is_asking = false;
	if (dialogue->is_json)
		printf("{\"event\": \"withdrawn\"}\n");
	else
		printf("\nno longer asked\n");
	dialogue_flush(dialogue);
}

/* ---- answers ---------------------------------------------------------------------- */

static void take_answer(struct dialogue *dialogue)
{
	struct error error;
	char *line;

	dialogue->answer[dialogue->answer_bytes] = '\0';
	dialogue->answer_bytes = 0;
	line = text_trim(dialogue->answer);
	if (!dialogue->is_asking)
		return;
	if (pairing_answer(dialogue->pairing, line, &error) == 0)
		dialogue->is_asking = false;
	else
		log_say("%s", error.text);
	explicit_bzero(dialogue->answer, sizeof(dialogue->answer));
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
	struct dialogue *dialogue = arg;
	char text[256];
	ssize_t bytes = read(fd, text, sizeof(text));

	if (bytes < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (bytes <= 0) {
		dialogue->is_end_of_input = true;
		event_del(dialogue->input);
		if (dialogue->is_asking)
			pairing_refuse(dialogue->pairing);
		dialogue->is_asking = false;
		log_warning("the end of input: nobody can confirm any more, "
			    "and who asks is refused");
		return;
	}
	for (ssize_t i = 0; i < bytes; i++) {
		if (text[i] == '\n')
			take_answer(dialogue);
		else if (dialogue->answer_bytes < sizeof(dialogue->answer) - 1)
			dialogue->answer[dialogue->answer_bytes++] = text[i];
	}
	explicit_bzero(text, sizeof(text));
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

static int start_input(struct dialogue *dialogue)
{
	struct error error;

	dialogue->input = event_new(dialogue->loop->base, STDIN_FILENO,
				    EV_READ | EV_PERSIST, on_input, dialogue);
	if (!dialogue->input)
		return -ENOMEM;
	if (event_add(dialogue->input, NULL) == 0)
		return 0;
	dialogue_fail(dialogue,
		      error_set(&error, -EPERM,
				"--confirm asks on standard input, which is "
				"none that can be waited for"),
		      &error);
	return -EPERM;
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
		       ? start_input(dialogue)
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
	dialogue->pairing = pairing_new(dialogue->bluez, &dialogue->settings,
					ops, dialogue);
	return dialogue->pairing ? 0 : -errno;
}

void dialogue_limit(struct dialogue *dialogue)
{
	loop_start_timer(dialogue->deadline, dialogue->duration_ms);
}

void dialogue_clear(struct dialogue *dialogue)
{
	pairing_free(dialogue->pairing);
	bluez_free(dialogue->bluez);
	if (dialogue->deadline)
		event_free(dialogue->deadline);
	if (dialogue->input)
		event_free(dialogue->input);
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

	dialogue->duration_ms = DURATION_MS;
	dialogue->is_json = options->is_json;
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
