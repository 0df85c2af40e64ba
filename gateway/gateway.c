/* SPDX-License-Identifier: MIT */
#include "gateway.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <systemd/sd-daemon.h>

#include "bluez.h"
#include "config.h"
#include "entrance.h"
#include "log.h"
#include "loop.h"
#include "publish.h"
#include "route.h"

static const int stop_signals[] = {SIGTERM, SIGINT, SIGHUP};

#define STOP_SIGNALS (sizeof(stop_signals) / sizeof(stop_signals[0]))
/* What the longest drain-timeout is given on top before it is cut short. */
#define STOP_GRACE_MS 500

struct gateway {
	struct loop *loop;
	const struct config *config;
	struct bluez *bluez; /* NULL: no end is Bluetooth */
	struct bluez_watcher bluez_watcher;
	struct publisher *publisher; /* NULL: nobody listens on Bluetooth */
	struct entrance **entrances; /* of the route with that index, or NULL */
	struct route **routes;
	size_t route_count; /* made */
	size_t running_count; /* started and not stopped yet */
	struct event *signals[STOP_SIGNALS];
	struct event *stop_deadline;
	bool is_stopping;
};

static void route_has_stopped(struct route *route, void *arg)
{
	struct gateway *gateway = arg;

	if (--gateway->running_count == 0 && gateway->is_stopping)
		loop_stop(gateway->loop);
}

static void abort_routes(struct gateway *gateway)
{
	for (size_t i = 0; i < gateway->route_count; i++)
		route_abort(gateway->routes[i]);
}

static void stop_deadline(evutil_socket_t fd, short what, void *arg)
{
	log_warning("stopping: some sessions did not drain in time; they are "
		    "cut off");
	abort_routes(arg);
}

static void start_stop_deadline(struct gateway *gateway)
{
	unsigned int ms = 0;

	for (size_t i = 0; i < gateway->config->route_count; i++)
		if (gateway->config->routes[i].drain_timeout_ms > ms)
			ms = gateway->config->routes[i].drain_timeout_ms;
	loop_start_timer(gateway->stop_deadline, ms + STOP_GRACE_MS);
}

static void stop_signal(evutil_socket_t number, short what, void *arg)
{
	struct gateway *gateway = arg;

	if (gateway->is_stopping) {
		abort_routes(gateway);
		return;
	}
	gateway->is_stopping = true;
	log_info("stopping: %s", strsignal((int)number));
	sd_notify(0, "STOPPING=1");
	start_stop_deadline(gateway);
	for (size_t i = 0; i < gateway->route_count; i++)
		route_stop(gateway->routes[i]);
}

/* An adapter may have come that somebody waits for. */
static void bluez_changed(struct bluez *bluez, void *arg)
{
	struct gateway *gateway = arg;

	for (size_t i = 0; i < gateway->route_count; i++)
		route_retry(gateway->routes[i]);
}

static bool needs_publisher(const struct config *config)
{
	for (size_t i = 0; i < config->route_count; i++)
		if (address_endpoint_is_bluetooth(&config->routes[i].listen))
			return true;
	return false;
}

static bool needs_bluez(const struct config *config)
{
	for (size_t i = 0; i < config->route_count; i++)
		if (address_endpoint_is_bluetooth(&config->routes[i].connect))
			return true;
	return needs_publisher(config);
}

/* The publisher watches first: routes are retried after its round. */
static int gateway_init_bluez(struct gateway *gateway)
{
	const struct config *config = gateway->config;
	const struct bluez_settings settings = {
		.adapter = config->gateway.adapter,
		.is_reachable = needs_publisher(config),
		.name = config->gateway.name,
		.is_discoverable = config->gateway.is_discoverable,
	};

	if (!needs_bluez(config))
		return 0;
	gateway->bluez = bluez_new(gateway->loop, &settings);
	if (!gateway->bluez)
		return -errno;
	if (settings.is_reachable) {
		gateway->publisher = publisher_new(gateway->loop,
						   gateway->bluez);
		if (!gateway->publisher)
			return -errno;
	}
	bluez_watch(gateway->bluez, &gateway->bluez_watcher, bluez_changed,
		    gateway);
	return 0;
}

/* Behind an entrance of its own, unless an earlier one has the same. */
static int gateway_add_route(struct gateway *gateway, size_t index)
{
	const struct config_route *config = &gateway->config->routes[index];

	if (config->entrance == index) {
		gateway->entrances[index] = entrance_new(gateway->loop, config,
							 gateway->bluez,
							 gateway->publisher);
		if (!gateway->entrances[index])
			return -errno;
	}
	gateway->routes[index] = route_new(gateway->loop, config,
					   gateway->entrances[config->entrance],
					   gateway->bluez, route_has_stopped,
					   gateway);
	if (!gateway->routes[index])
		return -errno;
	gateway->route_count++;
	return 0;
}

static int gateway_init(struct gateway *gateway, const struct config *config)
{
	int code;

	gateway->config = config;
	gateway->loop = loop_new();
	gateway->routes = calloc(config->route_count, sizeof(struct route *));
	gateway->entrances = calloc(config->route_count,
				    sizeof(struct entrance *));
	if (!gateway->loop || !gateway->routes || !gateway->entrances)
		return -ENOMEM;
	gateway->stop_deadline = evtimer_new(gateway->loop->base, stop_deadline,
					     gateway);
	if (!gateway->stop_deadline)
		return -ENOMEM;
	for (size_t i = 0; i < STOP_SIGNALS; i++) {
		gateway->signals[i] = evsignal_new(gateway->loop->base,
						   stop_signals[i], stop_signal,
						   gateway);
		if (!gateway->signals[i] ||
		    event_add(gateway->signals[i], NULL))
			return -ENOMEM;
	}
	code = gateway_init_bluez(gateway);
	if (code)
		return code;
	for (size_t i = 0; i < config->route_count; i++) {
		code = gateway_add_route(gateway, i);
		if (code)
			return code;
	}
	return 0;
}

/* -EADDRNOTAVAIL when not one route is up or has something to wait for. */
static int gateway_start(struct gateway *gateway)
{
	size_t hopeless = 0;

	for (size_t i = 0; i < gateway->route_count; i++) {
		route_start(gateway->routes[i]);
		gateway->running_count++;
		if (route_is_hopeless(gateway->routes[i]))
			hopeless++;
	}
	if (hopeless == gateway->route_count) {
		log_error("no route could be started; see above");
		return -EADDRNOTAVAIL;
	}
	if (hopeless)
		log_warning("%zu of %zu routes could not be started and are "
			    "tried again every so often",
			    hopeless, gateway->route_count);
	sd_notifyf(0, "READY=1\nSTATUS=%zu of %zu routes up",
		   gateway->route_count - hopeless, gateway->route_count);
	return 0;
}

/* From here on the exit status is to tell how it went, not a late signal. */
static void block_stop_signals(void)
{
	sigset_t blocked;

	sigemptyset(&blocked);
	for (size_t i = 0; i < STOP_SIGNALS; i++)
		sigaddset(&blocked, stop_signals[i]);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
}

static void gateway_clear(struct gateway *gateway)
{
	const struct config *config = gateway->config;

	block_stop_signals();
	/* What failed half-way may have sessions: they end before the routes. */
	abort_routes(gateway);
	if (gateway->loop)
		loop_flush(gateway->loop);
	/* The last one first: what one made, the next may have used. */
	while (gateway->route_count)
		route_free(gateway->routes[--gateway->route_count]);
	free(gateway->routes);
	for (size_t i = 0; gateway->entrances && i < config->route_count; i++)
		entrance_free(gateway->entrances[i]);
	free(gateway->entrances);
	publisher_free(gateway->publisher);
	bluez_unwatch(&gateway->bluez_watcher);
	bluez_free(gateway->bluez);
	for (size_t i = 0; i < STOP_SIGNALS; i++)
		if (gateway->signals[i])
			event_free(gateway->signals[i]);
	if (gateway->stop_deadline)
		event_free(gateway->stop_deadline);
	loop_free(gateway->loop);
}

int gateway_run(const struct config *config)
{
	struct gateway gateway = {0};
	int code = gateway_init(&gateway, config);

	/* A client that left shows as EPIPE where it is written to. */
	signal(SIGPIPE, SIG_IGN);
	/* A file that may grow no more as EFBIG. */
	signal(SIGXFSZ, SIG_IGN);
	if (code)
		log_error("cannot start: %s", strerror(-code));
	else
		code = gateway_start(&gateway);
	if (code == 0) {
		code = loop_run(gateway.loop);
		if (code)
			log_error("the event loop failed: %s", strerror(-code));
		else
			log_info("stopped");
	}
	gateway_clear(&gateway);
	return code;
}
