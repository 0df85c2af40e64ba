/* SPDX-License-Identifier: MIT */
/* scan: who is known, and who is nearby. */
#include "command.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "address.h"
#include "bluez.h"
#include "device_table.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "text.h"

/* A round of inquiry is 10.24 s; the rest is for names. */
#define SCAN_MS 12000
#define STATUS_MS 500
/* With it the status line fits into the narrowest terminal. */
#define STATUS_NAME_BYTES 24

static const int stop_signals[] = {SIGINT, SIGTERM};

#define STOP_SIGNALS (sizeof(stop_signals) / sizeof(stop_signals[0]))

struct scan {
	struct loop *loop;
	struct bluez *bluez;
	struct bluez_watcher watcher;
	struct bluez_discovery *discovery;
	struct device_table *table;
	struct event *deadline;
	struct event *signals[STOP_SIGNALS];
	struct event *status_timer; /* NULL: stderr is no terminal */
	bool has_status; /* a status line stands there */
	bool has_known; /* what bluetoothd knew is in the table */
	char latest[STATUS_NAME_BYTES + 1];
	unsigned int timeout_ms;
	uint64_t end_ms;
	struct address_adapter adapter;
	bool is_full;
	int code; /* 0, or why it came to nothing */
	struct error error;
};

static void scan_end(struct scan *scan, int code, const struct error *error)
{
	scan->code = code;
	if (error)
		scan->error = *error;
	loop_stop(scan->loop);
}

/* ---- the line that shows that something happens ------------------------------- */

static bool is_terminal(void)
{
	const char *kind = getenv("TERM");

	return isatty(STDERR_FILENO) && kind && *kind && strcmp(kind, "dumb");
}

static void clear_status(struct scan *scan)
{
	if (scan->has_status)
		fputs("\r\x1b[K", stderr);
	scan->has_status = false;
}

static void show_status(struct scan *scan)
{
	uint64_t now_ms = loop_now_ms();
	unsigned int left_ms = scan->end_ms > now_ms
				       ? (unsigned int)(scan->end_ms - now_ms)
				       : 0;

	clear_status(scan);
	fprintf(stderr, "%s, %u s left: %zu found%s%s",
		bluez_adapters_powered(scan->bluez) ? "Searching" : "Waiting",
		(left_ms + 999) / 1000, device_table_count(scan->table),
		*scan->latest ? ", " : "", scan->latest);
	fflush(stderr);
	scan->has_status = true;
	loop_start_timer(scan->status_timer, STATUS_MS);
}

static void on_status_timer(evutil_socket_t fd, short what, void *arg)
{
	show_status(arg);
}

static void set_latest(struct scan *scan, const struct device *device)
{
	char quoted[TEXT_QUOTED_BYTES];
	size_t bytes = 0, next;

	if (!device->name)
		return;
	text_printable(device->name, quoted);
	/* Not in the middle of a UTF-8 sequence. */
	while ((next = text_utf8_bytes(quoted + bytes)) && quoted[bytes] &&
	       bytes + next <= STATUS_NAME_BYTES)
		bytes += next;
	memcpy(scan->latest, quoted, bytes);
	scan->latest[bytes] = '\0';
}

/* ---- searching ------------------------------------------------------------------- */

static void take_device(const struct device *device, void *arg)
{
	struct scan *scan = arg;

	if (device_table_take(scan->table, device))
		scan->is_full = true;
}

static void on_seen(const struct device *device, void *arg)
{
	struct scan *scan = arg;

	take_device(device, scan);
	if (!device->is_le_only)
		set_latest(scan, device);
	if (scan->status_timer)
		show_status(scan);
}

static void on_failed(int code, const struct error *error, void *arg)
{
	scan_end(arg, code, error);
}

static void on_bluez_changed(struct bluez *bluez, void *arg)
{
	struct scan *scan = arg;

	if (bluez_state(bluez) != BLUEZ_STATE_READY || scan->has_known)
		return;
	scan->has_known = true;
	bluez_devices(bluez, &scan->adapter, take_device, scan);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct scan *scan = arg;
	struct error error;

	/* It may have gone only just now, or never have been there. */
	if (!*bluez_reason(scan->bluez))
		scan_end(scan,
			 error_set(&error, -ETIMEDOUT,
				   "the system bus does not answer"),
			 &error);
	else if (bluez_state(scan->bluez) != BLUEZ_STATE_READY)
		scan_end(scan,
			 error_set(&error, -ENOTCONN, "%.200s%s",
				   bluez_reason(scan->bluez),
				   bluez_advice(scan->bluez)),
			 &error);
	else
		loop_stop(scan->loop);
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
	struct scan *scan = arg;

	/* Whoever is impatient must not have to press it twice. */
	clear_status(scan);
	loop_stop(scan->loop);
}

/* ---- from the beginning to the end ------------------------------------------ */

static int scan_start_events(struct scan *scan)
{
	struct event_base *base = scan->loop->base;

	scan->deadline = evtimer_new(base, on_deadline, scan);
	if (!scan->deadline ||
	    loop_start_timer(scan->deadline, scan->timeout_ms))
		return -ENOMEM;
	scan->end_ms = loop_now_ms() + scan->timeout_ms;
	for (size_t i = 0; i < STOP_SIGNALS; i++) {
		scan->signals[i] = evsignal_new(base, stop_signals[i],
						on_signal, scan);
		if (!scan->signals[i] || event_add(scan->signals[i], NULL))
			return -ENOMEM;
	}
	if (!is_terminal())
		return 0;
	scan->status_timer = evtimer_new(base, on_status_timer, scan);
	return scan->status_timer ? 0 : -ENOMEM;
}

static int scan_start(struct scan *scan, const struct bluez_settings *settings)
{
	static const struct bluez_discovery_ops ops = {
		.seen = on_seen,
		.failed = on_failed,
	};
	int code;

	scan->loop = loop_new();
	scan->table = device_table_new();
	if (!scan->loop || !scan->table)
		return -ENOMEM;
	code = scan_start_events(scan);
	if (code)
		return code;
	scan->adapter = settings->adapter;
	scan->bluez = bluez_new(scan->loop, settings);
	if (!scan->bluez)
		return -errno;
	bluez_watch(scan->bluez, &scan->watcher, on_bluez_changed, scan);
	scan->discovery = bluez_discovery_new(scan->bluez, &scan->adapter, &ops,
					      scan);
	if (!scan->discovery)
		return -errno;
	if (scan->status_timer)
		show_status(scan);
	return 0;
}

static void scan_clear(struct scan *scan)
{
	bluez_discovery_free(scan->discovery);
	bluez_unwatch(&scan->watcher);
	bluez_free(scan->bluez);
	device_table_free(scan->table);
	if (scan->deadline)
		event_free(scan->deadline);
	if (scan->status_timer)
		event_free(scan->status_timer);
	for (size_t i = 0; i < STOP_SIGNALS; i++)
		if (scan->signals[i])
			event_free(scan->signals[i]);
	loop_free(scan->loop);
}

static void say_rest(const struct scan *scan)
{
	size_t count = device_table_count(scan->table);
	size_t le = device_table_count_le(scan->table);
	size_t nameless = device_table_count_nameless(scan->table);

	if (!count)
		log_say("no device was found; switch yours on and make it "
			"visible: on a phone that lasts only as long as its "
			"Bluetooth settings are open");
	if (nameless)
		log_say("%zu of them %s not said %s name yet; a longer search "
			"may bring it: -t 30s",
			nameless, nameless == 1 ? "has" : "have",
			nameless == 1 ? "its" : "their");
	if (le)
		log_say("%zu device%s left out that %s only Bluetooth LE, "
			"which has no serial ports",
			le, le == 1 ? " is" : "s are",
			le == 1 ? "knows" : "know");
	if (scan->is_full)
		log_say("there are more devices than could be kept");
}

/* What was found is worth printing also where it is not all. */
static int scan_print(struct scan *scan, bool is_json)
{
	clear_status(scan);
	if (scan->table &&
	    (scan->code == 0 || device_table_count(scan->table))) {
		if (is_json)
			device_table_print_json(scan->table, stdout);
		else
			device_table_print(scan->table, stdout);
		if (fflush(stdout) || ferror(stdout)) {
			log_error("cannot write to standard output: %s",
				  strerror(errno));
			return COMMAND_STATUS_FAILED;
		}
	}
	if (scan->code) {
		log_error("%s: %s",
			  scan->table && device_table_count(scan->table)
				  ? "the search ended early"
				  : "cannot search for devices",
			  scan->error.text[0] ? scan->error.text
					      : strerror(-scan->code));
		return COMMAND_STATUS_FAILED;
	}
	if (!is_json)
		say_rest(scan);
	return COMMAND_STATUS_OK;
}

static int parse_options(const struct command_options *options,
			 struct scan *scan, struct bluez_settings *settings,
			 struct error *error)
{
	int code = 0;

	scan->timeout_ms = SCAN_MS;
	if (options->adapter)
		code = address_adapter_parse(options->adapter,
					     &settings->adapter, error);
	if (code || !options->timeout)
		return code;
	code = address_duration_parse(options->timeout, &scan->timeout_ms,
				      error);
	if (code == 0 && !scan->timeout_ms)
		code = error_set(error, -EINVAL, "no time at all");
	return code ? error_prefix(error, code, "timeout") : 0;
}

int command_scan(const struct command_options *options)
{
	struct bluez_settings settings = {0};
	struct scan scan = {0};
	struct error error;
	int status, code;

	if (parse_options(options, &scan, &settings, &error)) {
		log_error("%s", error.text);
		return COMMAND_STATUS_USAGE;
	}
	code = scan_start(&scan, &settings);
	if (code == 0)
		code = loop_run(scan.loop);
	if (code < 0)
		scan.code = code;
	status = scan_print(&scan, options->is_json);
	scan_clear(&scan);
	return status;
}
