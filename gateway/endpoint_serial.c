/* SPDX-License-Identifier: MIT */
/*
 * serial: a serial port of this machine.
 *
 * As a target it is opened for each session. As a listener the port itself is
 * the client: it is held for as long as it is there, handed over at once, and
 * again after each session. An adapter that is unplugged ends the session; it
 * is taken again when it comes back.
 */
#include "endpoint.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "address_endpoint.h"
#include "answer.h"
#include "backoff.h"
#include "error.h"
#include "holder.h"
#include "log.h"
#include "loop.h"
#include "path_watch.h"
#include "serial_port.h"

/* A session that is over sooner, without an answer, counts as failed. */
#define SHORT_SESSION_MS 1000
#define PAUSE_MS 1000
/* How often to look for a device without having been told of anything. */
#define LOOK_MS 10000
/* How long events are gathered before it is looked for. */
#define EVENT_MS 50
/* How often to look whether the driver is through with closing it. */
#define CLOSING_MS 10

/* ---- streams ------------------------------------------------------------------ */

struct serial_stream {
	struct stream stream;
	char peer[STREAM_PEER_BYTES]; /* a listener may be closed before */
	struct serial_port *port;
	struct serial_listener *listener; /* whom the port goes back to */
	bool is_relayed; /* a session has read or written */
	bool is_answered; /* something was written to it */
};

static void listener_take_back(struct serial_listener *listener,
			       enum stream_close how);

static ssize_t serial_read(struct stream *base, void *buffer, size_t bytes)
{
	struct serial_stream *stream = (struct serial_stream *)base;
	ssize_t got = serial_port_read(stream->port, buffer, bytes);

	stream->is_relayed = true;
	if (got == 0)
		log_info("%s: it hung up: the carrier was lost, or it was "
			 "unplugged",
			 base->peer);
	return got;
}

static ssize_t serial_write(struct stream *base, const void *buffer,
			    size_t bytes)
{
	struct serial_stream *stream = (struct serial_stream *)base;
	ssize_t put = serial_port_write(stream->port, buffer, bytes);

	stream->is_relayed = true;
	stream->is_answered = stream->is_answered || put > 0;
	return put;
}

/* Nothing can be read from a port that hung up. */
static int serial_check(struct stream *base)
{
	const struct serial_stream *stream = (struct serial_stream *)base;

	return serial_port_is_hung_up(stream->port) ? -ENODEV : 0;
}

/* A port that is kept goes on sending meanwhile. */
static size_t serial_finish(struct stream *base, bool is_stopping)
{
	const struct serial_stream *stream = (struct serial_stream *)base;

	return stream->listener ? 0 : serial_port_unsent(stream->port);
}

static void close_port(struct serial_port *port, const char *name)
{
	size_t unsent = serial_port_unsent(port);

	if (unsent > 0)
		log_info("%s: %zu bytes could not be sent in time and are lost",
			 name, unsent);
	serial_port_free(port);
}

static void serial_close(struct stream *base, enum stream_close how)
{
	struct serial_stream *stream = (struct serial_stream *)base;

	if (stream->listener)
		listener_take_back(stream->listener, how);
	else
		close_port(stream->port, base->peer);
	free(stream);
}

/* Takes over @port on success; NULL without memory. */
static struct serial_stream *stream_new(struct serial_port *port,
					const char *peer)
{
	static const struct stream_ops ops = {
		.read = serial_read,
		.write = serial_write,
		.check = serial_check,
		.finish = serial_finish,
		.close = serial_close,
	};
	struct serial_stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	stream->stream.ops = &ops;
	stream->stream.read_fd = stream->stream.write_fd = serial_port_fd(port);
	stream->stream.has_no_flow_control = !serial_port_has_flow_control(
		port);
	memcpy(stream->peer, peer, sizeof(stream->peer));
	stream->stream.peer = stream->peer;
	stream->port = port;
	return stream;
}

/*
 * Others who were there before us cannot be kept out. Looked for once: it means
 * to read all of /proc.
 */
static struct serial_port *open_port(struct loop *loop,
				     const struct endpoint_serial *serial,
				     bool *has_looked, struct error *error)
{
	struct serial_port *port = serial_port_new(loop, serial, error);
	char holder[HOLDER_TEXT_BYTES];
	bool is_first = port && !*has_looked;

	*has_looked = *has_looked || port;
	if (is_first && serial_port_is_shared(port, holder))
		log_warning("%s is open in %s too, which takes some of what "
			    "arrives",
			    serial->path, holder);
	return port;
}

static int copy_serial(struct endpoint_serial *to,
		       const struct endpoint_serial *from)
{
	*to = *from;
	to->path = strdup(from->path);
	return to->path ? 0 : -ENOMEM;
}

/* ---- the target ----------------------------------------------------------------- */

struct serial_target {
	struct target target;
	struct loop *loop;
	struct endpoint_serial serial;
	bool has_looked; /* who else has it open */
};

/* NULL with @code and @error. */
static struct stream *target_connect(struct serial_target *target, int *code,
				     struct error *error)
{
	struct serial_port *port = open_port(target->loop, &target->serial,
					     &target->has_looked, error);
	struct serial_stream *stream;

	*code = 0;
	if (!port) {
		*code = -errno;
		return NULL;
	}
	stream = stream_new(port, target->target.name);
	if (!stream) {
		*code = error_set(error, -ENOMEM, "out of memory");
		serial_port_free(port);
		return NULL;
	}
	return &stream->stream;
}

/* A dial that waits until the port is closed. */
struct serial_wait {
	struct dial dial;
	struct serial_target *target;
	struct event *timer;
	dial_done_cb done;
	void *arg;
};

static void wait_free(struct serial_wait *wait)
{
	if (wait->timer)
		event_free(wait->timer);
	free(wait);
}

static void wait_look(evutil_socket_t fd, short what, void *arg)
{
	struct serial_wait *wait = arg;
	struct serial_target *target = wait->target;
	struct error error = {""};
	struct stream *stream = NULL;
	int code;

	if (!serial_port_is_closing(target->loop, target->serial.path))
		stream = target_connect(target, &code, &error);
	else if (loop_start_timer(wait->timer, CLOSING_MS) == 0)
		return;
	else
		code = error_set(&error, -ENOMEM, "out of memory");
	wait->done(stream, code, &error, wait->arg);
	wait_free(wait);
}

static void wait_cancel(struct dial *dial)
{
	wait_free((struct serial_wait *)dial);
}

static bool wait_describe(const struct dial *dial, struct error *error)
{
	const struct serial_wait *wait = (const struct serial_wait *)dial;

	error_set(error, -EBUSY, "the driver of %s is still closing it",
		  wait->target->serial.path);
	return true;
}

static struct dial *wait_new(struct serial_target *target, dial_done_cb done,
			     void *arg)
{
	static const struct dial_ops ops = {
		.cancel = wait_cancel,
		.describe = wait_describe,
	};
	struct serial_wait *wait = calloc(1, sizeof(*wait));

	if (!wait)
		return NULL;
	wait->dial.ops = &ops;
	wait->target = target;
	wait->done = done;
	wait->arg = arg;
	wait->timer = evtimer_new(target->loop->base, wait_look, wait);
	if (!wait->timer || loop_start_timer(wait->timer, CLOSING_MS)) {
		wait_free(wait);
		errno = ENOMEM;
		return NULL;
	}
	return &wait->dial;
}

static struct dial *serial_dial(struct target *base, dial_done_cb done,
				void *arg)
{
	struct serial_target *target = (struct serial_target *)base;
	struct error error = {""};
	struct stream *stream;
	int code;

	if (serial_port_is_closing(target->loop, target->serial.path))
		return wait_new(target, done, arg);
	/* At once: acceptors count on a client's descriptors being taken. */
	stream = target_connect(target, &code, &error);
	return answer_new(target->loop, stream, code, &error, done, arg);
}

static void serial_target_close(struct target *base)
{
	struct serial_target *target = (struct serial_target *)base;

	free(target->serial.path);
	free(target);
}

static int serial_open_target(struct loop *loop,
			      const struct address_endpoint *address,
			      const struct endpoint_settings *settings,
			      struct target **out, struct error *error)
{
	static const struct target_ops ops = {
		.dial = serial_dial,
		.close = serial_target_close,
	};
	struct serial_target *target = calloc(1, sizeof(*target));

	if (!target || copy_serial(&target->serial, &address->serial)) {
		free(target);
		return error_set(error, -ENOMEM, "out of memory");
	}
	target->target.ops = &ops;
	target->target.sessions_max = 1;
	snprintf(target->target.name, sizeof(target->target.name), "serial:%s",
		 target->serial.path);
	target->loop = loop;
	*out = &target->target;
	return 0;
}

/* ---- the listener ------------------------------------------------------------------ */

enum serial_state {
	SERIAL_STATE_ABSENT, /* no port: looked for, or tried again */
	SERIAL_STATE_PAUSED, /* a port and no session: soon the next */
	SERIAL_STATE_BUSY, /* the session has the port */
};

struct serial_listener {
	struct listener listener;
	struct loop *loop;
	struct endpoint_serial serial;
	enum serial_state state;
	struct serial_port *port; /* while PAUSED */
	struct serial_stream *stream; /* while BUSY */
	struct path_watch *watch; /* while ABSENT, if to be had */
	struct event *timer;
	struct event *readable; /* while PAUSED, if bytes end the pause */
	struct backoff backoff;
	uint64_t handed_ms; /* loop_now_ms of the last client */
	bool has_looked; /* who else has it open */
	bool is_soon; /* the timer was set by an event */
	char last_error[ERROR_TEXT_BYTES]; /* said already */
	struct loop_task begin;
	listener_client_cb client_cb;
	void *arg;
};

/* The one state setter: what belongs to the old state goes. */
static void listener_set_state(struct serial_listener *listener,
			       enum serial_state state)
{
	event_del(listener->timer);
	listener->is_soon = false;
	if (listener->readable)
		event_free(listener->readable);
	listener->readable = NULL;
	if (state != SERIAL_STATE_ABSENT) {
		path_watch_free(listener->watch);
		listener->watch = NULL;
	}
	listener->state = state;
}

/* Soon, and not at each of many events. */
static void path_changed(void *arg)
{
	struct serial_listener *listener = arg;

	if (listener->is_soon)
		return;
	listener->is_soon = true;
	loop_start_timer(listener->timer, EVENT_MS);
}

static void listener_set_absent(struct serial_listener *listener, int code,
				const struct error *error)
{
	bool is_missing = code == -ENOENT;

	listener_set_state(listener, SERIAL_STATE_ABSENT);
	if (strcmp(error->text, listener->last_error) != 0)
		log_warning("%s: %s%s", listener->listener.name, error->text,
			    is_missing ? " It is taken when it comes" : "");
	strcpy(listener->last_error, error->text);
	if (!listener->watch)
		listener->watch = path_watch_new(listener->loop,
						 listener->serial.path,
						 path_changed, listener);
	loop_start_timer(listener->timer,
			 is_missing ? LOOK_MS
				    : backoff_next_ms(&listener->backoff));
}

static void listener_hand_over(struct serial_listener *listener)
{
	struct serial_port *port = listener->port;
	struct serial_stream *stream = stream_new(port,
						  listener->listener.name);

	if (!stream) {
		/* Later, when there may be memory. */
		loop_start_timer(listener->timer, PAUSE_MS);
		return;
	}
	listener_set_state(listener, SERIAL_STATE_BUSY);
	listener->port = NULL;
	listener->stream = stream;
	stream->listener = listener;
	listener->handed_ms = loop_now_ms();
	listener->client_cb(&stream->stream, listener->arg);
}

/* Whether it has to wait until the port is closed. */
static bool listener_waits(struct serial_listener *listener)
{
	if (!serial_port_is_closing(listener->loop, listener->serial.path))
		return false;
	listener_set_state(listener, SERIAL_STATE_ABSENT);
	loop_start_timer(listener->timer, CLOSING_MS);
	return true;
}

/* Open the port; it is PAUSED then, or ABSENT. */
static void listener_open_port(struct serial_listener *listener)
{
	struct error error = {""};
	struct serial_port *port;

	if (listener_waits(listener))
		return;
	port = open_port(listener->loop, &listener->serial,
			 &listener->has_looked, &error);
	if (!port) {
		listener_set_absent(listener, -errno, &error);
		return;
	}
	if (listener->last_error[0])
		log_info("%s: it is there", listener->listener.name);
	listener->last_error[0] = '\0';
	listener_set_state(listener, SERIAL_STATE_PAUSED);
	listener->port = port;
}

static void listener_try(struct serial_listener *listener)
{
	listener_open_port(listener);
	if (listener->state == SERIAL_STATE_PAUSED) {
		backoff_reset(&listener->backoff);
		listener_hand_over(listener);
	}
}

/* The pause is over. */
static void listener_resume(struct serial_listener *listener)
{
	if (!serial_port_is_hung_up(listener->port)) {
		listener_hand_over(listener);
		return;
	}
	serial_port_free(listener->port);
	listener->port = NULL;
	listener_try(listener);
}

static void bytes_came(evutil_socket_t fd, short what, void *arg)
{
	listener_resume(arg);
}

static void listener_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct serial_listener *listener = arg;

	if (listener->state == SERIAL_STATE_ABSENT)
		listener_try(listener);
	else
		listener_resume(listener);
}

static void listener_begin(void *arg)
{
	listener_timeout(-1, 0, arg);
}

/*
 * Between two sessions. One that went well is followed by the next as soon as
 * the port has something to say; after one that failed at once the other end
 * is left in peace for longer and longer.
 */
static void listener_pause(struct serial_listener *listener, bool is_failed,
			   bool is_short)
{
	unsigned int pause_ms = PAUSE_MS;

	if (is_failed)
		pause_ms = backoff_next_ms(&listener->backoff);
	else
		backoff_reset(&listener->backoff);
	loop_start_timer(listener->timer, pause_ms);
	if (is_failed || is_short)
		return;
	listener->readable = event_new(listener->loop->base,
				       serial_port_fd(listener->port), EV_READ,
				       bytes_came, listener);
	if (listener->readable)
		event_add(listener->readable, NULL);
}

static void listener_take_back(struct serial_listener *listener,
			       enum stream_close how)
{
	const struct serial_stream *stream = listener->stream;
	uint64_t lasted_ms = loop_now_ms() - listener->handed_ms;
	bool is_short = lasted_ms < SHORT_SESSION_MS;
	bool is_refused = !stream->is_relayed && how == STREAM_CLOSE_ABORT;

	listener->port = stream->port;
	listener->stream = NULL;
	listener_set_state(listener, SERIAL_STATE_PAUSED);
	if (serial_port_is_hung_up(listener->port)) {
		serial_port_free(listener->port);
		listener->port = NULL;
		listener_open_port(listener);
	}
	if (listener->state == SERIAL_STATE_PAUSED)
		listener_pause(listener,
			       is_refused || (is_short && !stream->is_answered),
			       is_short);
}

static void serial_listener_close(struct listener *base)
{
	struct serial_listener *listener = (struct serial_listener *)base;

	loop_cancel(listener->loop, &listener->begin);
	if (listener->timer) {
		listener_set_state(listener, SERIAL_STATE_ABSENT);
		event_free(listener->timer);
	}
	path_watch_free(listener->watch);
	if (listener->port)
		close_port(listener->port, base->name);
	if (listener->stream)
		listener->stream->listener = NULL;
	free(listener->serial.path);
	free(listener);
}

static int listener_start(struct serial_listener *listener, struct error *error)
{
	int code;

	if (listener_waits(listener))
		return 0;
	listener->port = open_port(listener->loop, &listener->serial,
				   &listener->has_looked, error);
	if (listener->port) {
		listener->state = SERIAL_STATE_PAUSED;
		loop_defer(listener->loop, &listener->begin);
		return 0;
	}
	code = -errno;
	/* One that is not there may come; the rest is for the route. */
	if (code != -ENOENT)
		return code;
	listener_set_absent(listener, code, error);
	return 0;
}

static int serial_listen(struct loop *loop,
			 const struct address_endpoint *address,
			 const struct endpoint_settings *settings,
			 listener_client_cb client_cb, void *arg,
			 struct listener **out, struct error *error)
{
	static const struct listener_ops ops = {.close = serial_listener_close};
	struct serial_listener *listener = calloc(1, sizeof(*listener));
	int code;

	if (!listener)
		return error_set(error, -ENOMEM, "out of memory");
	listener->listener.ops = &ops;
	snprintf(listener->listener.name, sizeof(listener->listener.name),
		 "serial:%s", address->serial.path);
	listener->loop = loop;
	listener->begin.run = listener_begin;
	listener->begin.arg = listener;
	listener->client_cb = client_cb;
	listener->arg = arg;
	listener->timer = evtimer_new(loop->base, listener_timeout, listener);
	if (!listener->timer ||
	    copy_serial(&listener->serial, &address->serial)) {
		code = error_set(error, -ENOMEM, "out of memory");
		goto close_listener;
	}
	code = listener_start(listener, error);
	if (code)
		goto close_listener;
	*out = &listener->listener;
	return 0;

close_listener:
	serial_listener_close(&listener->listener);
	return code;
}

const struct endpoint_ops endpoint_serial_ops = {
	.listen = serial_listen,
	.open_target = serial_open_target,
};
