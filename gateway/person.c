/* SPDX-License-Identifier: MIT */
#include "person.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <event2/event.h>

#include "address.h"
#include "device.h"
#include "error.h"
#include "json.h"
#include "log.h"
#include "loop.h"
#include "text.h"
#include "tty.h"

/* ---- what is printed --------------------------------------------------------- */

static const char *name_of(const struct device *device)
{
	return device->alias ? device->alias : device->name;
}

void person_print_device(const struct person *person,
			 const struct device *device)
{
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES], quoted[TEXT_QUOTED_BYTES];

	address_bluetooth_format(&device->address, address);
	if (name_of(device))
		fprintf(person->output, "%s \"%s\"", address,
			text_printable(name_of(device), quoted));
	else
		fprintf(person->output, "%s (no name)", address);
}

void person_print_json_device(const struct person *person, const char *event,
			      const struct device *device)
{
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES];

	if (!device) {
		fprintf(person->output, "{\"event\": \"%s\"", event);
		return;
	}
	address_bluetooth_format(&device->address, address);
	fprintf(person->output,
		"{\"event\": \"%s\", \"address\": \"%s\", \"name\": ", event,
		address);
	json_print_string(person->output, name_of(device));
	fprintf(person->output, ", \"adapter\": \"%s\"", device->adapter);
}

void person_print_json_text(const struct person *person, const char *key,
			    const char *text)
{
	fprintf(person->output, ", \"%s\": ", key);
	json_print_string(person->output, text);
}

void person_print_paired(const struct person *person,
			 const struct device *device, enum pairing_how how)
{
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES];

	if (person->is_json) {
		person_print_json_device(person, "paired", device);
		person_print_json_text(person, "how",
				       pairing_how_to_string(how));
		fprintf(person->output, "}\n");
	} else {
		fprintf(person->output, "paired: ");
		person_print_device(person, device);
		fprintf(person->output, " (%s)\n", pairing_how_to_string(how));
	}
	if (how != PAIRING_HOW_UNASKED)
		return;
	address_bluetooth_format(&device->address, address);
	log_warning("%s paired and nobody here was asked: another "
		    "program's agent answered, or it can neither show "
		    "nor type a number; 'bluetoothctl remove %s' undoes "
		    "it",
		    address, address);
}

void person_show(struct person *person, const struct device *device,
		 const char *text)
{
	if (person->is_json) {
		person_print_json_device(person, "show", device);
		person_print_json_text(person, "type", text);
		fprintf(person->output, "}\n");
	} else if (device) {
		person_print_device(person, device);
		fprintf(person->output, ": type %s on it\n", text);
	} else {
		fprintf(person->output,
			"the PIN to type on the next device: %s\n", text);
	}
}

/* ---- what is asked --------------------------------------------------------------- */

/* In the background the terminal is another program's, and so is its input. */
static bool is_away(const struct person *person)
{
	return person->is_guest && !tty_is_foreground(STDIN_FILENO);
}

static bool has_input(void)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};

	return poll(&input, 1, 0) == 1;
}

/*
 * What was typed before it was asked answers nothing. Bounded, for who types
 * faster than is read.
 */
static void drop_input(void)
{
	char text[1024];

	if (isatty(STDIN_FILENO)) {
		tcflush(STDIN_FILENO, TCIFLUSH);
		return;
	}
	for (int i = 0; i < 64 && has_input(); i++)
		if (read(STDIN_FILENO, text, sizeof(text)) <= 0)
			return;
}

static void begin(struct person *person)
{
	drop_input();
	person->answer_bytes = 0;
	person->is_asking = true;
	if (person->is_guest)
		event_add(person->input, NULL);
}

static void end(struct person *person)
{
	person->is_asking = false;
	explicit_bzero(person->answer, sizeof(person->answer));
	if (!person->is_guest)
		return;
	event_del(person->input);
	if (!is_away(person))
		drop_input();
}

static void print_json_question(const struct person *person,
				const struct device *device,
				enum pairing_question question, uint32_t number)
{
	static const char *const words[] = {
		[PAIRING_QUESTION_PIN] = "pin",
		[PAIRING_QUESTION_NUMBER] = "number",
		[PAIRING_QUESTION_COMPARE] = "compare",
		[PAIRING_QUESTION_ALLOW] = "allow",
	};

	person_print_json_device(person, "ask", device);
	person_print_json_text(person, "question", words[question]);
	if (question == PAIRING_QUESTION_COMPARE)
		fprintf(person->output, ", \"number\": \"%06u\"", number);
	fprintf(person->output, "}\n");
}

static void print_question(const struct person *person,
			   const struct device *device,
			   enum pairing_question question, uint32_t number)
{
	FILE *output = person->output;

	person_print_device(person, device);
	switch (question) {
	case PAIRING_QUESTION_PIN:
		fprintf(output, " wants a PIN; which one? ");
		break;
	case PAIRING_QUESTION_NUMBER:
		fprintf(output, " shows a number; which one? ");
		break;
	case PAIRING_QUESTION_COMPARE:
		fprintf(output, " wants to pair; does it show %06u (yes, no)? ",
			number);
		break;
	case PAIRING_QUESTION_ALLOW:
		fprintf(output, " wants to pair, without a number (yes, no)? ");
		break;
	}
}

void person_ask(struct person *person, const struct device *device,
		enum pairing_question question, uint32_t number)
{
	if (person->is_end_of_input) {
		pairing_refuse(person->pairing);
		return;
	}
	if (is_away(person)) {
		log_warning("who wants to pair is refused: nobody can be asked "
			    "in the background");
		pairing_refuse(person->pairing);
		return;
	}
	begin(person);
	if (person->is_json)
		print_json_question(person, device, question, number);
	else
		print_question(person, device, question, number);
}

void person_withdraw(struct person *person)
{
	if (!person->is_asking)
		return;
	end(person);
	if (person->is_json)
		fprintf(person->output, "{\"event\": \"withdrawn\"}\n");
	else
		fprintf(person->output, "\nno longer asked\n");
}

void person_call_off(struct person *person)
{
	if (!person->is_asking)
		return;
	pairing_refuse(person->pairing);
	person_withdraw(person);
}

/* ---- answers ---------------------------------------------------------------------- */

static void take_answer(struct person *person)
{
	struct error error;
	char *line;

	person->answer[person->answer_bytes] = '\0';
	person->answer_bytes = 0;
	line = text_trim(person->answer);
	if (person->is_asking) {
		if (pairing_answer(person->pairing, line, &error) == 0)
			end(person);
		else
			log_say("%s", error.text);
	}
	explicit_bzero(person->answer, sizeof(person->answer));
}

/* A guest's is nothing but Ctrl-D: the terminal is there for the next one. */
static void take_end_of_input(struct person *person, bool is_failure)
{
	if (person->is_guest && !is_failure) {
		person_call_off(person);
		return;
	}
	person->is_end_of_input = true;
	event_del(person->input);
	if (person->is_asking)
		pairing_refuse(person->pairing);
	person->is_asking = false;
	log_warning("the end of input: nobody can confirm any more, "
		    "and who asks is refused");
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
	struct person *person = arg;
	char text[256];
	ssize_t bytes;

	if (is_away(person)) {
		person_call_off(person);
		return;
	}
	/* What woke us may have been dropped since, and read(2) would wait. */
	if (!has_input())
		return;
	bytes = read(fd, text, sizeof(text));
	if (bytes < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (bytes <= 0) {
		take_end_of_input(person, bytes < 0);
		return;
	}
	for (ssize_t i = 0; i < bytes; i++) {
		if (text[i] == '\n')
			take_answer(person);
		else if (person->answer_bytes < sizeof(person->answer) - 1)
			person->answer[person->answer_bytes++] = text[i];
	}
	explicit_bzero(text, sizeof(text));
}

/* ---- from the beginning to the end ------------------------------------------ */

int person_start(struct person *person, struct loop *loop)
{
	person->input = event_new(loop->base, STDIN_FILENO,
				  EV_READ | EV_PERSIST, on_input, person);
	if (!person->input)
		return -ENOMEM;
	if (person->is_guest)
		return 0;
	return event_add(person->input, NULL) ? -EPERM : 0;
}

void person_stop(struct person *person)
{
	person_call_off(person);
	if (person->input)
		event_free(person->input);
	person->input = NULL;
	explicit_bzero(person->answer, sizeof(person->answer));
}
