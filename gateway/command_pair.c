/* SPDX-License-Identifier: MIT */
/* pair: let devices pair with this machine, for a while. */
#include "command.h"

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
#include "config.h"
#include "config_load.h"
#include "error.h"
#include "json.h"
#include "log.h"
#include "loop.h"
#include "pairing.h"
#include "text.h"

#define WINDOW_MS (2 * 60 * 1000)
#define WINDOW_MS_MAX (60 * 60 * 1000)
/* What bluetoothd is given on top to close the window if nobody else does. */
#define WINDOW_GRACE_S 10
/* By then bluetoothd, an adapter, its power have to be there. */
#define START_MS 8000
#define ANSWER_BYTES 64

static const int stop_signals[] = {SIGINT, SIGTERM, SIGHUP};

#define STOP_SIGNALS (sizeof(stop_signals) / sizeof(stop_signals[0]))

struct window {
	struct loop *loop;
	struct bluez *bluez;
	struct bluez_watcher watcher;
	struct pairing *pairing;
	struct event *deadline;
	struct event *start_timer;
	struct event *signals[STOP_SIGNALS];
	struct event *input; /* answers; NULL: nobody is asked */
	char answer[ANSWER_BYTES]; /* the line so far */
	size_t answer_bytes;
	bool is_asking;
	unsigned int duration_ms;
	struct address_adapter adapter;
	struct pairing_settings settings;
	struct config *config; /* NULL: there is none */
	char *pin;
	bool is_once;
	bool is_json;
	bool is_open; /* has been */
	bool is_end_of_input;
	struct error refusal; /* of our agent, as long as that stands */
	unsigned int paired_count;
	int code; /* 0, or why it came to nothing */
	struct error error;
};

static void window_fail(struct window *window, int code,
			const struct error *error)
{
	window->code = code;
	window->error = *error;
	loop_stop(window->loop);
}

/* ---- what is printed --------------------------------------------------------- */

/* Who reads along has gone; nobody would learn who paired. */
static void flush_output(struct window *window)
{
	struct error error;

	if (fflush(stdout) == 0 && !ferror(stdout))
		return;
	window_fail(window,
		    error_set(&error, -EPIPE,
			      "cannot write to standard output: %s",
			      strerror(errno)),
		    &error);
}

static const char *name_of(const struct device *device)
{
	return device->alias ? device->alias : device->name;
}

static void print_device(const struct device *device)
{
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES], quoted[TEXT_QUOTED_BYTES];

	address_bluetooth_format(&device->address, address);
	if (name_of(device))
		printf("%s \"%s\"", address,
		       text_printable(name_of(device), quoted));
	else
		printf("%s (no name)", address);
}

/* {"event": "EVENT", "address": ..., without the end. */
static void print_json_device(const char *event, const struct device *device)
{
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES];

	address_bluetooth_format(&device->address, address);
	printf("{\"event\": \"%s\", \"address\": \"%s\", \"name\": ", event,
	       address);
	json_print_string(stdout, name_of(device));
	printf(", \"adapter\": \"%s\"", device->adapter);
}

static void print_json_text(const char *key, const char *text)
{
	printf(", \"%s\": ", key);
	json_print_string(stdout, text);
}

static void print_open(struct window *window,
		       const struct adapter_shown *adapter)
{
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES], quoted[TEXT_QUOTED_BYTES];
	char time[24];

	address_bluetooth_format(&adapter->address, address);
	if (window->is_json) {
		printf("{\"event\": \"open\", \"adapter\": \"%s\", "
		       "\"address\": \"%s\", \"name\": ",
		       adapter->name, address);
		json_print_string(stdout, adapter->alias);
		printf(", \"seconds\": %u}\n", window->duration_ms / 1000);
		return;
	}
	address_duration_format(window->duration_ms, time);
	printf("devices can pair with \"%s\" (%s, %s) for %s; Ctrl-C ends "
	       "that\n",
	       text_printable(adapter->alias, quoted), adapter->name, address,
	       time);
}

static void print_closed(const struct window *window)
{
	if (window->is_json)
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
	struct window *window = arg;
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES];

	window->paired_count++;
	if (window->is_json) {
		print_json_device("paired", device);
		print_json_text("how", pairing_how_to_string(how));
		printf("}\n");
	} else {
		printf("paired: ");
		print_device(device);
		printf(" (%s)\n", pairing_how_to_string(how));
	}
	flush_output(window);
	if (how == PAIRING_HOW_UNASKED) {
		address_bluetooth_format(&device->address, address);
		log_warning(
			"%s paired and nobody here was asked: another "
			"program's agent answered, or it can neither show "
			"nor type a number; 'bluetoothctl remove %s' undoes "
			"it",
			address, address);
	}
	if (window->is_once)
		loop_stop(window->loop);
}

/* What would let it in. */
static const char *advice_for(enum pairing_refusal why)
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

static void on_refused(const struct device *device, enum pairing_refusal why,
		       void *arg)
{
	struct window *window = arg;

	if (window->is_json) {
		print_json_device("refused", device);
		print_json_text("why", pairing_refusal_to_string(why));
		printf("}\n");
	} else {
		printf("refused: ");
		print_device(device);
		printf(": %s%s\n", pairing_refusal_to_string(why),
		       advice_for(why));
	}
	flush_output(window);
}

static void on_show(const struct device *device, const char *text, void *arg)
{
	struct window *window = arg;

	if (window->is_json) {
		print_json_device("show", device);
		print_json_text("type", text);
		printf("}\n");
	} else {
		print_device(device);
		printf(": type %s on it\n", text);
	}
	flush_output(window);
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

static void on_ask(const struct device *device, enum pairing_question question,
		   uint32_t number, void *arg)
{
	static const char *const words[] = {
		[PAIRING_QUESTION_PIN] = "pin",
		[PAIRING_QUESTION_NUMBER] = "number",
		[PAIRING_QUESTION_COMPARE] = "compare",
		[PAIRING_QUESTION_ALLOW] = "allow",
	};
	struct window *window = arg;

	if (window->is_end_of_input) {
		pairing_refuse(window->pairing);
		return;
	}
	drop_input();
	window->answer_bytes = 0;
	window->is_asking = true;
	if (window->is_json) {
		print_json_device("ask", device);
		print_json_text("question", words[question]);
		if (question == PAIRING_QUESTION_COMPARE)
			printf(", \"number\": \"%06u\"", number);
		printf("}\n");
		flush_output(window);
		return;
	}
	print_device(device);
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
	flush_output(window);
}

static void on_withdrawn(void *arg)
{
	struct window *window = arg;

	if (!window->is_asking)
		return;
	window->is_asking = false;
	if (window->is_json)
		printf("{\"event\": \"withdrawn\"}\n");
	else
		printf("\nno longer asked\n");
	flush_output(window);
}

static void on_registered(int code, const struct error *error, void *arg)
{
	struct window *window = arg;

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
	const struct window *window = arg;

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
	.show = on_show,
	.ask = on_ask,
	.withdrawn = on_withdrawn,
	.registered = on_registered,
};

/* ---- answers ---------------------------------------------------------------------- */

static void take_answer(struct window *window)
{
	struct error error;
	char *line;

	window->answer[window->answer_bytes] = '\0';
	window->answer_bytes = 0;
	line = text_trim(window->answer);
	if (!window->is_asking)
		return;
	if (pairing_answer(window->pairing, line, &error) == 0)
		window->is_asking = false;
	else
		log_say("%s", error.text);
	explicit_bzero(window->answer, sizeof(window->answer));
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
	struct window *window = arg;
	char text[256];
	ssize_t bytes = read(fd, text, sizeof(text));

	if (bytes < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (bytes <= 0) {
		window->is_end_of_input = true;
		event_del(window->input);
		if (window->is_asking)
			pairing_refuse(window->pairing);
		window->is_asking = false;
		log_warning("the end of input: nobody can confirm any more, "
			    "and who asks is refused");
		return;
	}
	for (ssize_t i = 0; i < bytes; i++) {
		if (text[i] == '\n')
			take_answer(window);
		else if (window->answer_bytes < ANSWER_BYTES - 1)
			window->answer[window->answer_bytes++] = text[i];
	}
	explicit_bzero(text, sizeof(text));
}

/* ---- from the beginning to the end ------------------------------------------ */

/* Once: later nothing is different, but for what adapter.c logs. */
static void window_open(struct window *window)
{
	struct adapter_shown adapter;

	window->is_open = true;
	event_del(window->start_timer);
	loop_start_timer(window->deadline, window->duration_ms);
	for (size_t i = 0; bluez_adapter_shown(window->bluez, i, &adapter); i++)
		print_open(window, &adapter);
	flush_output(window);
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

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct window *window = arg;

	loop_stop(window->loop);
}

/* What is missing so that it cannot be opened. */
static void on_start_timer(evutil_socket_t fd, short what, void *arg)
{
	struct window *window = arg;
	struct adapter_shown adapter;
	struct error error;
	int code;

	if (bluez_adapter_shown(window->bluez, 0, &adapter)) {
		window_open(window);
		return;
	}
	if (!*bluez_reason(window->bluez))
		code = error_set(&error, -ETIMEDOUT,
				 "the system bus does not answer");
	else if (bluez_state(window->bluez) != BLUEZ_STATE_READY)
		code = error_set(&error, -ENOTCONN, "%.200s%s",
				 bluez_reason(window->bluez),
				 bluez_advice(window->bluez));
	else if (*window->refusal.text)
		code = error_set(&error, -EACCES,
				 "bluetoothd takes no agent: %.200s",
				 window->refusal.text);
	else
		code = bluez_check_adapter(window->bluez, &window->adapter,
					   &error);
	if (!code)
		code = error_set(&error, -ETIMEDOUT,
				 "bluetoothd does not let devices pair; its "
				 "log may say why: 'journalctl -u bluetooth'");
	window_fail(window, code, &error);
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
	struct window *window = arg;

	loop_stop(window->loop);
}

static int window_start_input(struct window *window)
{
	struct error error;

	window->input = event_new(window->loop->base, STDIN_FILENO,
				  EV_READ | EV_PERSIST, on_input, window);
	if (!window->input)
		return -ENOMEM;
	if (event_add(window->input, NULL) == 0)
		return 0;
	window_fail(window,
		    error_set(&error, -EPERM,
			      "--confirm asks on standard input, which is "
			      "none that can be waited for"),
		    &error);
	return -EPERM;
}

static int window_start_events(struct window *window)
{
	struct event_base *base = window->loop->base;

	window->deadline = evtimer_new(base, on_deadline, window);
	window->start_timer = evtimer_new(base, on_start_timer, window);
	if (!window->deadline || !window->start_timer ||
	    loop_start_timer(window->start_timer, START_MS))
		return -ENOMEM;
	for (size_t i = 0; i < STOP_SIGNALS; i++) {
		window->signals[i] = evsignal_new(base, stop_signals[i],
						  on_signal, window);
		if (!window->signals[i] || event_add(window->signals[i], NULL))
			return -ENOMEM;
	}
	return window->settings.method == PAIRING_METHOD_ASK
		       ? window_start_input(window)
		       : 0;
}

static int window_start(struct window *window)
{
	const struct bluez_settings settings = {
		.adapter = window->adapter,
		.is_reachable = true,
		.is_discoverable = true,
		.is_pairable = true,
		.window_s = window->duration_ms / 1000 + WINDOW_GRACE_S,
	};
	int code;

	/* Who reads along may leave: EPIPE says so. */
	signal(SIGPIPE, SIG_IGN);
	window->loop = loop_new();
	if (!window->loop)
		return -errno;
	code = window_start_events(window);
	if (code)
		return code;
	window->bluez = bluez_new(window->loop, &settings);
	if (!window->bluez)
		return -errno;
	bluez_watch(window->bluez, &window->watcher, on_bluez_changed, window);
	window->settings.adapter = window->adapter;
	window->pairing = pairing_new(window->bluez, &window->settings,
				      &pairing_ops, window);
	return window->pairing ? 0 : -errno;
}

/* Nobody is told "closed" before it is. */
static void window_close(struct window *window)
{
	pairing_free(window->pairing);
	bluez_unwatch(&window->watcher);
	bluez_free(window->bluez);
	if (window->deadline)
		event_free(window->deadline);
	if (window->start_timer)
		event_free(window->start_timer);
	if (window->input)
		event_free(window->input);
	for (size_t i = 0; i < STOP_SIGNALS; i++)
		if (window->signals[i])
			event_free(window->signals[i]);
	if (window->loop)
		loop_free(window->loop);
	if (window->pin)
		explicit_bzero(window->pin, strlen(window->pin));
	free(window->pin);
	config_free(window->config);
}

static int parse_method(const struct command_options *options,
			struct window *window, struct error *error)
{
	struct pairing_settings *settings = &window->settings;
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
	window->pin = strdup(options->pin);
	if (!window->pin)
		return error_set(error, -ENOMEM, "out of memory");
	settings->pin = window->pin;
	/* Not for everybody who can list processes. */
	memset(options->pin, '*', strlen(options->pin));
	return 0;
}

static int parse_options(const struct command_options *options,
			 struct window *window, struct error *error)
{
	int code = parse_method(options, window, error);

	window->duration_ms = WINDOW_MS;
	window->is_once = options->is_once;
	window->is_json = options->is_json;
	if (code == 0 && options->adapter)
		code = address_adapter_parse(options->adapter, &window->adapter,
					     error);
	if (code || !options->period)
		return code;
	code = address_duration_parse(options->period, &window->duration_ms,
				      error);
	if (code == 0 &&
	    (window->duration_ms < 1000 || window->duration_ms > WINDOW_MS_MAX))
		code = error_set(error, -EINVAL, "'%.40s' is not 1s to 1h",
				 options->period);
	return code ? error_prefix(error, code, "--for") : 0;
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
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	if (config_load(path, &window->config, log_finding, NULL))
		return -EINVAL;
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
		if (window->settings.method == PAIRING_METHOD_FREE)
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
	struct window window = {0};
	struct error error;
	int code;

	code = parse_options(options, &window, &error);
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
		code = loop_run(window.loop);
	window_close(&window);
	if (code < 0 && !window.code)
		window.code = error_set(&window.error, code, "%s",
					strerror(-code));
	if (window.code)
		log_error("cannot let devices pair: %s", window.error.text);
	if (window.is_open) {
		print_closed(&window);
		fflush(stdout);
	}
	return window.code || !window.paired_count ? COMMAND_STATUS_FAILED
						   : COMMAND_STATUS_OK;
}
