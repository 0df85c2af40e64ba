/* SPDX-License-Identifier: MIT */
#include "gateway.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>
#include <systemd/sd-daemon.h>

#include "backoff.h"
#include "bluez.h"
#include "config.h"
#include "config_load.h"
#include "control.h"
#include "error.h"
#include "json_text.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "mgmt.h"
#include "operation.h"
#include "pairing_always.h"
#include "publish.h"
#include "route_set.h"

static const int signal_numbers[] = {SIGTERM, SIGINT, SIGHUP};

#define SIGNALS (sizeof(signal_numbers) / sizeof(signal_numbers[0]))
/* What the longest drain-timeout is given on top before it is cut short. */
#define STOP_GRACE_MS 500

struct gateway {
	const char *config_path;
	struct loop *loop;
	struct bluez *bluez; /* NULL: no end is Bluetooth, nor ever was */
	struct bluez_watcher bluez_watcher;
	struct mgmt_watch *adapters; /* NULL: as bluez, or no Bluetooth */
	struct publisher *publisher; /* NULL: nobody listens on Bluetooth */
	struct pairing_always *pairing; /* NULL: not always */
	struct address_adapter pairing_adapter; /* with which devices pair */
	struct route_set *routes;
	struct operation operation;
	struct metrics *metrics;
	struct control *control; /* NULL: none, or none is to be had */
	struct address_endpoint control_address; /* where it is */
	struct address_endpoint control_wanted; /* where it is to be, */
	bool is_control_wanted; /* if anywhere, after the */
	struct loop_task control_task; /* or, where that failed, the */
	struct event *control_timer;
	struct backoff control_retry;
	struct error control_error; /* a retry that fails alike is silent */
	struct event *signals[SIGNALS];
	struct event *stop_deadline;
	struct event *log_timer; /* until what the log left out is told */
	bool is_on_terminal[STDERR_FILENO + 1]; /* the standard streams */
	bool is_stopping;
};

/* ---- stopping ------------------------------------------------------------- */

static void routes_have_stopped(void *arg)
{
	struct gateway *gateway = arg;

	loop_stop(gateway->loop);
}

static void stop_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct gateway *gateway = arg;

	log_warning("stopping: some sessions did not drain in time; they are "
		    "cut off");
	route_set_abort(gateway->routes);
}

static void gateway_stop(struct gateway *gateway, int number)
{
	if (gateway->is_stopping) {
		route_set_abort(gateway->routes);
		return;
	}
	gateway->is_stopping = true;
	log_info("stopping: %s", strsignal(number));
	sd_notify(0, "STOPPING=1");
	loop_start_timer(gateway->stop_deadline,
			 route_set_drain_ms(gateway->routes) + STOP_GRACE_MS);
	route_set_stop(gateway->routes);
}

/* ---- bluetoothd ------------------------------------------------------------ */

/* An adapter may have come that somebody waits for, or gone. */
static void adapters_changed(void *arg)
{
	struct gateway *gateway = arg;

	if (!gateway->is_stopping)
		route_set_retry(gateway->routes);
}

static void bluez_changed(struct bluez *bluez, void *arg)
{
	adapters_changed(arg);
}

/* bluetoothd tells of adapters, too, but it need not be there. */
static void gateway_watch_adapters(struct gateway *gateway)
{
	gateway->adapters = mgmt_watch_new(gateway->loop, mgmt_open,
					   adapters_changed, gateway);
	if (!gateway->adapters)
		log_debug("adapters that come and go show by bluetoothd only: "
			  "%s",
			  strerror(errno));
}

static bool needs_bluez(const struct config *config)
{
	for (size_t i = 0; i < config->route_count; i++)
		if (address_endpoint_is_bluetooth(&config->routes[i].connect))
			return true;
	return config_listens_on_bluetooth(config);
}

static struct bluez_settings settings_of(const struct config *config)
{
	return (struct bluez_settings){
		.adapter = config->gateway.adapter,
		.is_reachable = config_listens_on_bluetooth(config),
		.name = config->gateway.name,
		.is_discoverable = config->gateway.is_discoverable,
		.is_pairable = config->gateway.pairing == CONFIG_PAIRING_ALWAYS,
	};
}

/*
 * What the routes of @config need; what is there already stays as it is. The
 * publisher watches first: routes are retried after its round.
 */
static int gateway_provide_bluez(struct gateway *gateway,
				 const struct config *config)
{
	const struct bluez_settings settings = settings_of(config);
	bool is_new = false;

	if (needs_bluez(config) && !gateway->bluez) {
		gateway->bluez = bluez_new(gateway->loop, &settings);
		if (!gateway->bluez)
			return -errno;
		gateway_watch_adapters(gateway);
	}
	if (config_listens_on_bluetooth(config) && !gateway->publisher) {
		gateway->publisher = publisher_new(gateway->loop,
						   gateway->bluez);
		if (!gateway->publisher)
			return -errno;
		is_new = true;
	}
	if (gateway->bluez && (is_new || !gateway->bluez_watcher.bluez)) {
		bluez_unwatch(&gateway->bluez_watcher);
		bluez_watch(gateway->bluez, &gateway->bluez_watcher,
			    bluez_changed, gateway);
	}
	return 0;
}

/* Without it everything else works: no reason to stop. */
static void gateway_take_pairing(struct gateway *gateway,
				 const struct bluez_settings *settings)
{
	bool is_wanted = settings->is_pairable && settings->is_reachable;

	if (is_wanted && gateway->pairing &&
	    address_adapter_is_same(&gateway->pairing_adapter,
				    &settings->adapter))
		return;
	pairing_always_free(gateway->pairing);
	gateway->pairing = NULL;
	if (!is_wanted)
		return;
	gateway->pairing_adapter = settings->adapter;
	gateway->pairing = pairing_always_new(
		gateway->bluez, &settings->adapter, gateway->routes);
	if (!gateway->pairing)
		log_error("devices cannot pair: %s", strerror(errno));
}

/* ---- routes ----------------------------------------------------------------- */

static void notify_ready(const struct gateway *gateway)
{
	size_t count = route_set_count(gateway->routes);

	sd_notifyf(0, "READY=1\nSTATUS=%zu of %zu routes up",
		   count - route_set_hopeless(gateway->routes), count);
}

/* It is not to be anywhere else than it is, if it is anywhere. */
static void control_want_no_more(struct gateway *gateway)
{
	event_del(gateway->control_timer);
	backoff_reset(&gateway->control_retry);
	gateway->control_error.text[0] = '\0';
	address_endpoint_clear(&gateway->control_wanted);
	gateway->is_control_wanted = false;
}

static void close_control(struct gateway *gateway)
{
	control_close(gateway->control);
	gateway->control = NULL;
	address_endpoint_clear(&gateway->control_address);
}

/* It is not what the gateway is for: without it everything else goes on. */
static void control_failed(struct gateway *gateway, const struct error *error)
{
	const char *path = gateway->control_wanted.local.path;
	/* The usual path is for a service; who just tries it out has none. */
	bool is_usual = strcmp(path, CONFIG_CONTROL_PATH) == 0;

	if (strcmp(error->text, gateway->control_error.text) == 0)
		log_debug("still no control socket at %s", path);
	else if (gateway->control)
		log_warning("the control socket stays at %s: %s; it is tried "
			    "again",
			    gateway->control_address.local.path, error->text);
	else
		(is_usual ? log_info : log_warning)(
			"no control socket, and no 'btgate status': %s; it is "
			"tried again",
			error->text);
	gateway->control_error = *error;
	/* Without memory for the timer the next reload tries. */
	loop_start_timer(gateway->control_timer,
			 backoff_next_ms(&gateway->control_retry));
}

static void open_control(void *arg)
{
	struct gateway *gateway = arg;
	struct error error = {""};
	int code;

	if (!gateway->is_control_wanted) {
		close_control(gateway);
		return;
	}
	if (gateway->control)
		code = control_move(gateway->control, &gateway->control_address,
				    &gateway->control_wanted, &error);
	else
		code = control_open(gateway->loop, &gateway->control_wanted,
				    operation_answer, &gateway->operation,
				    &gateway->control, &error);
	if (code) {
		if (gateway->control && !control_is_listening(gateway->control))
			close_control(gateway);
		control_failed(gateway, &error);
		return;
	}
	address_endpoint_clear(&gateway->control_address);
	gateway->control_address = gateway->control_wanted;
	memset(&gateway->control_wanted, 0, sizeof(gateway->control_wanted));
	if (gateway->control_error.text[0])
		log_info("the control socket is at %s now",
			 gateway->control_address.local.path);
	control_want_no_more(gateway);
}

static void control_retry(evutil_socket_t fd, short what, void *arg)
{
	const struct gateway *gateway = arg;

	if (!gateway->is_stopping)
		open_control(arg);
}

/*
 * Another control socket, if it is to be another, or none could be had; later,
 * because it may be the one that asked for it.
 */
static void gateway_take_control(struct gateway *gateway, struct config *config)
{
	struct config_gateway *new = &config->gateway;
	char old_text[ADDRESS_ENDPOINT_TEXT_BYTES] = "";
	char new_text[ADDRESS_ENDPOINT_TEXT_BYTES] = "";

	if (gateway->control)
		address_endpoint_format(&gateway->control_address,
					ENDPOINT_ROLE_LISTEN, old_text);
	if (new->has_control)
		address_endpoint_format(&new->control, ENDPOINT_ROLE_LISTEN,
					new_text);
	control_want_no_more(gateway);
	loop_cancel(gateway->loop, &gateway->control_task);
	if (strcmp(old_text, new_text) == 0)
		return;
	gateway->control_wanted = new->control;
	gateway->is_control_wanted = new->has_control;
	memset(&new->control, 0, sizeof(new->control));
	loop_defer(gateway->loop, &gateway->control_task);
}

/*
 * Run the routes of @config instead of those that there are. 0, or -errno with
 * nothing changed. What differs is told before it is done, whose lines follow.
 */
static int gateway_take_config(struct gateway *gateway, struct config *config,
			       route_difference_cb differs, void *arg)
{
	const struct bluez_settings settings = settings_of(config);
	struct route_change *change;
	int code = gateway_provide_bluez(gateway, config);

	if (code)
		return code;
	change = route_change_new(gateway->routes, config, gateway->bluez,
				  gateway->publisher);
	if (!change)
		return -errno;
	if (gateway->bluez)
		code = bluez_change(gateway->bluez, &settings);
	if (code) {
		route_change_free(change);
		return code;
	}
	if (differs)
		route_change_list(change, differs, arg);
	route_change_commit(change);
	gateway_take_control(gateway, config);
	metrics_configure(gateway->metrics, &config->gateway);
	gateway_take_pairing(gateway, &settings);
	return 0;
}

/* A path and a sentence about it. */
#define REPORT_BYTES (PATH_MAX + ERROR_TEXT_BYTES)

/* What a reload has to tell: to the log, and to whoever asked for it. */
struct report {
	json_t *lines; /* NULL: nobody did */
	unsigned int counts[ROUTE_DIFFERENCES];
};

static void report_line(struct report *report,
			void (*log)(const char *format, ...),
			const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void report_line(struct report *report,
			void (*log)(const char *format, ...),
			const char *format, ...)
{
	char text[REPORT_BYTES];
	va_list args;

	/* Without memory it is said all the same. */
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log("%s", text);
	if (report->lines)
		json_array_append_new(report->lines, json_text(text));
}

static void report_finding(const char *text, void *arg)
{
	report_line(arg, log_error, "%s", text);
}

static void report_difference(const char *route,
			      enum route_difference difference, void *arg)
{
	struct report *report = arg;

	report->counts[difference == ROUTE_IS_RETRACED ? ROUTE_IS_SAME
						       : difference]++;
	if (difference != ROUTE_IS_SAME)
		report_line(report, log_info, "route %s: %s", route,
			    route_difference_to_string(difference));
}

static int gateway_reload(json_t *lines, void *arg)
{
	struct gateway *gateway = arg;
	struct report report = {.lines = lines};
	const unsigned int *counts = report.counts;
	struct config *config;
	int code;

	log_info("reading %s again", gateway->config_path);
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
		   (unsigned long long)loop_now_ms() * 1000);
	code = config_load(gateway->config_path, &config, report_finding,
			   &report);
	if (code == 0)
		code = gateway_take_config(gateway, config, report_difference,
					   &report);
	if (code)
		report_line(&report, log_error,
			    "the configuration cannot be used%s%s; everything "
			    "goes on as before",
			    code == -EINVAL ? "" : ": ",
			    code == -EINVAL ? "" : strerror(-code));
	else
		report_line(&report, log_info,
			    "the new configuration is in force; routes: %u "
			    "added, %u changed, %u removed, %u unchanged",
			    counts[ROUTE_IS_ADDED], counts[ROUTE_IS_CHANGED],
			    counts[ROUTE_IS_REMOVED], counts[ROUTE_IS_SAME]);
	config_free(config);
	/* What a route waits for may be what was put right. */
	route_set_retry(gateway->routes);
	notify_ready(gateway);
	return code;
}

/* -EADDRNOTAVAIL when not one route is up or has something to wait for. */
static int gateway_start(struct gateway *gateway, struct config *config)
{
	size_t count, hopeless;
	int code = gateway_take_config(gateway, config, NULL, NULL);

	if (code) {
		log_error("cannot start: %s", strerror(-code));
		return code;
	}
	count = route_set_count(gateway->routes);
	hopeless = route_set_hopeless(gateway->routes);
	if (hopeless == count) {
		log_error("no route could be started; see above");
		return -EADDRNOTAVAIL;
	}
	if (hopeless)
		log_warning("%zu of %zu routes could not be started and are "
			    "tried again every so often",
			    hopeless, count);
	notify_ready(gateway);
	return 0;
}

/* ---- signals ------------------------------------------------------------------ */

static void find_terminals(struct gateway *gateway)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		gateway->is_on_terminal[fd] = isatty(fd);
}

/* Whoever looked at it has closed the window. */
static bool is_terminal_gone(const struct gateway *gateway)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		struct pollfd poller = {.fd = fd};

		if (gateway->is_on_terminal[fd] && poll(&poller, 1, 0) == 1 &&
		    poller.revents & POLLHUP)
			return true;
	}
	return false;
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
	struct gateway *gateway = arg;

	if (number != SIGHUP || is_terminal_gone(gateway))
		gateway_stop(gateway, (int)number);
	else if (!gateway->is_stopping)
		gateway_reload(NULL, gateway);
}

/* From here on the exit status is to tell how it went, not a late signal. */
static void block_signals(void)
{
	sigset_t blocked;

	sigemptyset(&blocked);
	for (size_t i = 0; i < SIGNALS; i++)
		sigaddset(&blocked, signal_numbers[i]);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
}

/* ---- the log ------------------------------------------------------------------- */

static void log_due(unsigned int delay_ms, void *arg)
{
	const struct gateway *gateway = arg;

	/* Without memory for the timer it is told with the next line. */
	loop_start_timer(gateway->log_timer, delay_ms);
}

static void on_log_due(evutil_socket_t fd, short what, void *arg)
{
	log_tell();
}

/* ---- the whole ------------------------------------------------------------------ */

static int gateway_init(struct gateway *gateway)
{
	gateway->loop = loop_new();
	if (!gateway->loop)
		return -ENOMEM;
	gateway->routes = route_set_new(gateway->loop, routes_have_stopped,
					gateway);
	gateway->stop_deadline = evtimer_new(gateway->loop->base, stop_deadline,
					     gateway);
	gateway->log_timer = evtimer_new(gateway->loop->base, on_log_due, NULL);
	gateway->control_timer = evtimer_new(gateway->loop->base, control_retry,
					     gateway);
	if (!gateway->routes || !gateway->stop_deadline ||
	    !gateway->log_timer || !gateway->control_timer)
		return -ENOMEM;
	log_set_due(log_due, gateway);
	gateway->metrics = metrics_new(gateway->loop, gateway->routes);
	if (!gateway->metrics)
		return -ENOMEM;
	for (size_t i = 0; i < SIGNALS; i++) {
		gateway->signals[i] = evsignal_new(gateway->loop->base,
						   signal_numbers[i], on_signal,
						   gateway);
		if (!gateway->signals[i] ||
		    event_add(gateway->signals[i], NULL))
			return -ENOMEM;
	}
	find_terminals(gateway);
	gateway->control_task = (struct loop_task){.run = open_control,
						   .arg = gateway};
	gateway->operation = (struct operation){
		.routes = gateway->routes,
		.metrics = gateway->metrics,
		.bluez = &gateway->bluez,
		.reload = gateway_reload,
		.arg = gateway,
	};
	return 0;
}

static void gateway_clear(struct gateway *gateway)
{
	block_signals();
	if (gateway->loop)
		loop_cancel(gateway->loop, &gateway->control_task);
	control_close(gateway->control);
	metrics_free(gateway->metrics);
	address_endpoint_clear(&gateway->control_address);
	address_endpoint_clear(&gateway->control_wanted);
	pairing_always_free(gateway->pairing);
	route_set_free(gateway->routes);
	publisher_free(gateway->publisher);
	bluez_unwatch(&gateway->bluez_watcher);
	mgmt_watch_free(gateway->adapters);
	bluez_free(gateway->bluez);
	for (size_t i = 0; i < SIGNALS; i++)
		if (gateway->signals[i])
			event_free(gateway->signals[i]);
	if (gateway->stop_deadline)
		event_free(gateway->stop_deadline);
	if (gateway->control_timer)
		event_free(gateway->control_timer);
	log_set_due(NULL, NULL);
	if (gateway->log_timer)
		event_free(gateway->log_timer);
	loop_free(gateway->loop);
}

int gateway_run(const char *path, struct config *config)
{
	struct gateway gateway = {.config_path = path};
	int code = gateway_init(&gateway);

	/* A client that left shows as EPIPE where it is written to. */
	signal(SIGPIPE, SIG_IGN);
	/* A file that may grow no more as EFBIG. */
	signal(SIGXFSZ, SIG_IGN);
	if (code)
		log_error("cannot start: %s", strerror(-code));
	else
		code = gateway_start(&gateway, config);
	if (code == 0) {
		code = loop_run(gateway.loop);
		if (code)
			log_error("the event loop failed: %s", strerror(-code));
		else
			log_info("stopped");
		log_flush();
	}
	gateway_clear(&gateway);
	return code;
}
