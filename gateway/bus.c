/* SPDX-License-Identifier: MIT */
#include "bus.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "backoff.h"
#include "error.h"
#include "loop.h"

/* A bus that does not get through its greeting in this time is stuck. */
#define GREETING_MS 10000
#define CALL_TIMEOUT_MS 10000
/* Messages handled in one go, so that a flood does not hold up the data. */
#define BATCH 32

struct bus {
	struct loop *loop;
	bus_opened_cb opened;
	bus_closed_cb closed;
	void *arg;
	sd_bus *handle; /* NULL between tries */
	bool is_greeted;
	struct event *fd_event;
	int watched_fd;
	short watched_events;
	struct event *wake_event; /* sd-bus wants to be called again */
	struct event
		*pause_event; /* the next try, or the greeting's deadline */
	struct backoff retry;
	struct loop_task drop_task;
	struct loop_task retry_task; /* in place of a pause */
	char drop_reason[160];
};

static int add_timer(struct event *timer, uint64_t delay_us)
{
	struct timeval delay = {
		.tv_sec = (time_t)(delay_us / 1000000),
		.tv_usec = (suseconds_t)(delay_us % 1000000),
	};

	return event_add(timer, &delay);
}

static void close_handle(struct bus *bus)
{
	event_del(bus->fd_event);
	event_del(bus->wake_event);
	event_del(bus->pause_event);
	loop_cancel(bus->loop, &bus->drop_task);
	bus->watched_fd = -1;
	bus->watched_events = 0;
	bus->is_greeted = false;
	bus->handle = sd_bus_close_unref(bus->handle);
}

/* The one way from connected, or trying to be, to waiting for the next try. */
static void lose(struct bus *bus, const char *reason)
{
	/* Slots must go before the connection that they are slots of. */
	bus->closed(reason, bus->arg);
	close_handle(bus);
	/* Without memory for a timer there is no pause. */
	if (add_timer(bus->pause_event,
		      (uint64_t)backoff_next_ms(&bus->retry) * 1000))
		loop_defer(bus->loop, &bus->retry_task);
}

static void lose_with_errno(struct bus *bus, int code)
{
	char reason[160];

	if (bus->is_greeted)
		snprintf(reason, sizeof(reason),
			 "the system bus closed the connection");
	else if (code == -EACCES || code == -EPERM)
		snprintf(reason, sizeof(reason),
			 "the system bus does not let us in (%s)",
			 strerror(-code));
	else if (code == -ECONNRESET || code == -ENOTCONN)
		/* Seen where a container's user is none of the host's. */
		snprintf(reason, sizeof(reason),
			 "the system bus hung up on user %u, whom its system "
			 "may not know",
			 (unsigned int)geteuid());
	else
		snprintf(reason, sizeof(reason),
			 "the system bus is not there (%s)", strerror(-code));
	lose(bus, reason);
}

static void run_drop(void *arg)
{
	struct bus *bus = arg;

	if (bus->handle)
		lose(bus, bus->drop_reason);
}

void bus_drop(struct bus *bus, const char *reason)
{
	snprintf(bus->drop_reason, sizeof(bus->drop_reason), "%s", reason);
	loop_defer(bus->loop, &bus->drop_task);
}

static void on_ready(evutil_socket_t fd, short what, void *arg);

void bus_watch(struct bus *bus)
{
	int fd, poll_events, code = 0;
	uint64_t until_us, now_us = loop_now_ms() * 1000;
	short events;

	if (!bus->handle || bus->drop_task.is_queued)
		return;
	fd = sd_bus_get_fd(bus->handle);
	poll_events = sd_bus_get_events(bus->handle);
	if (fd < 0 || poll_events < 0 ||
	    sd_bus_get_timeout(bus->handle, &until_us) < 0) {
		bus_drop(bus, "the system bus closed the connection");
		return;
	}
	events = (poll_events & POLLIN ? EV_READ : 0) |
		 (poll_events & POLLOUT ? EV_WRITE : 0);
	if (fd != bus->watched_fd || events != bus->watched_events) {
		event_del(bus->fd_event);
		event_assign(bus->fd_event, bus->loop->base, fd,
			     (short)(events | EV_PERSIST), on_ready, bus);
		code = events ? event_add(bus->fd_event, NULL) : 0;
		bus->watched_fd = fd;
		bus->watched_events = events;
	}
	if (until_us == UINT64_MAX)
		event_del(bus->wake_event);
	else if (add_timer(bus->wake_event,
			   until_us > now_us ? until_us - now_us : 0))
		code = -ENOMEM;
	/* It would be deaf. */
	if (code)
		bus_drop(bus, "out of memory");
}

static void greet(struct bus *bus)
{
	int code;

	bus->is_greeted = true;
	backoff_reset(&bus->retry);
	event_del(bus->pause_event);
	code = bus->opened(bus->handle, bus->arg);
	if (code < 0)
		bus_drop(bus, strerror(-code));
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct bus *bus = arg;
	int code = 1;

	/*
	 * What is to be dropped is asked for nothing more: a match that there
	 * was no memory for stays half made, and sd-bus aborts when a signal
	 * comes to it (bus_match_run, libsystemd 252).
	 */
	for (int i = 0; code > 0 && i < BATCH && !bus->drop_task.is_queued;
	     i++) {
		code = sd_bus_process(bus->handle, NULL);
		/*
		 * It would now tell each call that it got no reply, as if that
		 * were bluetoothd's fault, before it says that it was closed.
		 */
		if (code > 0 && sd_bus_is_open(bus->handle) <= 0)
			code = -ECONNRESET;
	}
	if (code < 0) {
		lose_with_errno(bus, code);
		return;
	}
	if (!bus->is_greeted && sd_bus_is_ready(bus->handle) > 0)
		greet(bus);
	bus_watch(bus);
}

/*
 * sd_bus_open_system only starts: the connect is non-blocking, authentication
 * and Hello go on in sd_bus_process (libsystemd 252).
 */
static void connect_bus(struct bus *bus)
{
	int code = sd_bus_open_system_with_description(&bus->handle, "btgate");

	if (code < 0) {
		bus->handle = NULL;
		lose_with_errno(bus, code);
		return;
	}
	sd_bus_set_method_call_timeout(bus->handle,
				       (uint64_t)CALL_TIMEOUT_MS * 1000);
	if (add_timer(bus->pause_event, (uint64_t)GREETING_MS * 1000))
		lose(bus, "out of memory");
	else
		bus_watch(bus);
}

static void run_retry(void *arg)
{
	struct bus *bus = arg;

	if (!bus->handle)
		connect_bus(bus);
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg)
{
	struct bus *bus = arg;

	if (bus->handle)
		lose(bus, "the system bus does not answer");
	else
		connect_bus(bus);
}

struct bus *bus_new(struct loop *loop, bus_opened_cb opened,
		    bus_closed_cb closed, void *arg)
{
	struct bus *bus = calloc(1, sizeof(*bus));

	if (!bus)
		return NULL;
	bus->loop = loop;
	bus->opened = opened;
	bus->closed = closed;
	bus->arg = arg;
	bus->watched_fd = -1;
	bus->drop_task = (struct loop_task){.run = run_drop, .arg = bus};
	bus->retry_task = (struct loop_task){.run = run_retry, .arg = bus};
	bus->fd_event = event_new(loop->base, -1, 0, on_ready, bus);
	bus->wake_event = event_new(loop->base, -1, 0, on_ready, bus);
	bus->pause_event = event_new(loop->base, -1, 0, on_pause_over, bus);
	if (!bus->fd_event || !bus->wake_event || !bus->pause_event ||
	    add_timer(bus->pause_event, 0)) {
		bus_free(bus);
		errno = ENOMEM;
		return NULL;
	}
	return bus;
}

void bus_free(struct bus *bus)
{
	struct event **events[] = {
		&bus->fd_event,
		&bus->wake_event,
		&bus->pause_event,
	};

	if (bus->handle)
		close_handle(bus);
	loop_cancel(bus->loop, &bus->drop_task);
	loop_cancel(bus->loop, &bus->retry_task);
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		if (*events[i])
			event_free(*events[i]);
	}
	free(bus);
}

int bus_new_call(sd_bus *handle, sd_bus_message **call, const char *path,
		 const char *interface, const char *member)
{
	int code = sd_bus_message_new_method_call(handle, call, "org.bluez",
						  path, interface, member);

	if (code < 0)
		return code;
	return sd_bus_message_set_auto_start(*call, 0);
}

int bus_read_properties(sd_bus_message *message, bus_property_cb property,
			void *arg)
{
	const char *name;
	int code = sd_bus_message_enter_container(message, 'a', "{sv}");

	if (code < 0)
		return code;
	while ((code = sd_bus_message_enter_container(message, 'e', "sv")) >
	       0) {
		code = sd_bus_message_read(message, "s", &name);
		if (code >= 0)
			code = property(message, name, arg);
		if (code >= 0)
			code = sd_bus_message_exit_container(message);
		if (code < 0)
			return code;
	}
	return code < 0 ? code : sd_bus_message_exit_container(message);
}

int bus_read_added(sd_bus_message *signal, const char *interface,
		   bus_object_cb object, void *arg)
{
	const char *path, *name;
	int code = sd_bus_message_read(signal, "o", &path);

	if (code >= 0)
		code = sd_bus_message_enter_container(signal, 'a', "{sa{sv}}");
	if (code < 0)
		return code;
	while ((code = sd_bus_message_enter_container(signal, 'e', "sa{sv}")) >
	       0) {
		code = sd_bus_message_read(signal, "s", &name);
		if (code < 0)
			return code;
		if (strcmp(name, interface) == 0)
			code = object(signal, path, arg);
		else
			code = sd_bus_message_skip(signal, "a{sv}");
		if (code >= 0)
			code = sd_bus_message_exit_container(signal);
		if (code < 0)
			return code;
	}
	return code < 0 ? code : sd_bus_message_exit_container(signal);
}

int bus_read_objects(sd_bus_message *answer, const char *interface,
		     bus_object_cb object, void *arg)
{
	int code = sd_bus_message_enter_container(answer, 'a', "{oa{sa{sv}}}");

	if (code < 0)
		return code;
	while ((code = sd_bus_message_enter_container(answer, 'e',
						      "oa{sa{sv}}")) > 0) {
		/* What is in an entry is what InterfacesAdded has. */
		code = bus_read_added(answer, interface, object, arg);
		if (code >= 0)
			code = sd_bus_message_exit_container(answer);
		if (code < 0)
			return code;
	}
	return code < 0 ? code : sd_bus_message_exit_container(answer);
}

int bus_read_removed(sd_bus_message *signal, const char *interface,
		     const char **path)
{
	const char *name;
	int code = sd_bus_message_read(signal, "o", path);

	if (code >= 0)
		code = sd_bus_message_enter_container(signal, 'a', "s");
	if (code < 0)
		return code;
	while ((code = sd_bus_message_read(signal, "s", &name)) > 0) {
		if (strcmp(name, interface) == 0)
			return 1;
	}
	return code;
}

int bus_explain(const sd_bus_error *failure, struct error *error)
{
	static const struct {
		const char *name;
		const char *words;
	} known[] = {
		{SD_BUS_ERROR_ACCESS_DENIED,
		 "the system bus's policy forbids it to this user; allow "
		 "send_destination=\"org.bluez\" for it in "
		 "/etc/dbus-1/system.d/bluetooth.conf"},
		{SD_BUS_ERROR_SERVICE_UNKNOWN, "bluetoothd is not running"},
		{SD_BUS_ERROR_NAME_HAS_NO_OWNER, "bluetoothd is not running"},
		{SD_BUS_ERROR_NO_REPLY, "bluetoothd does not answer"},
		{SD_BUS_ERROR_TIMEOUT, "bluetoothd does not answer"},
		{SD_BUS_ERROR_UNKNOWN_OBJECT,
		 "this bluetoothd does not know it: BlueZ 5 is needed"},
		{SD_BUS_ERROR_UNKNOWN_METHOD,
		 "this bluetoothd does not know it: BlueZ 5 is needed"},
		{"org.bluez.Error.NotReady",
		 "the adapter is powered off; 'bluetoothctl power on'"},
		{"org.bluez.Error.InProgress",
		 "bluetoothd is busy with another program's request"},
		{"org.bluez.Error.Blocked",
		 "rfkill blocks the adapter; 'rfkill unblock bluetooth'"},
	};
	int code = sd_bus_error_get_errno(failure);
	const char *name = failure->name ? failure->name : "no name";

	code = code > 0 ? -code : -EIO;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(known[i].name, name) == 0)
			return error_set(error, code, "%s", known[i].words);
	}
	if (strncmp(name, "org.bluez.Error.", 16) == 0)
		name += 16;
	return error_set(error, code, "bluetoothd says %s%s%s", name,
			 failure->message && *failure->message ? ": " : "",
			 failure->message ? failure->message : "");
}
