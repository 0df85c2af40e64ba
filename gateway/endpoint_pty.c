/* SPDX-License-Identifier: MIT */
/*
 * A pty with a path: a serial port for local programs, there for as long as
 * the gateway runs.
 *
 * As a target it is a cable: one port for all programs, whoever comes and goes
 * at either end of it. As a listener it is a modem: a program that opens the
 * path calls, closing hangs up, and so does the other side. Nothing but closing
 * the master hangs a program up without CAP_SYS_ADMIN (TIOCVHANGUP), so each
 * call has a port of its own: the path leads to the next one before the
 * program sees the end of this one.
 */
#include "endpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "access.h"
#include "address_endpoint.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "pty_path.h"
#include "pty_port.h"

/* Not the kernel's 0620 of group tty: write(1) has no business here. */
#define SLAVE_MODE 0600

/* Before it is closed: whatever was not taken is gone with it. */
static void report_lost(const char *path, struct pty_port *port)
{
	size_t unread = pty_port_drop_unread(port);

	if (unread > 0)
		log_info("%s: %zu bytes that no program had read are lost",
			 path, unread);
}

/* ---- the target ---------------------------------------------------------- */

struct pty_target {
	struct target target;
	struct loop *loop;
	struct pty_path *path;
	struct pty_port *port;
	enum pty_when_closed when_closed;
	struct pty_stream *stream; /* the session's, or NULL */
	struct event *read_event; /* pending while there is no stream */
	uint64_t unheard_bytes; /* written by programs to nobody, discarded */
};

struct pty_stream {
	struct stream stream;
	struct pty_target *target;
	uint64_t unread_bytes; /* arrived for no program, discarded */
};

struct pty_dial {
	struct dial dial;
	struct pty_target *target;
	struct loop_task task;
	dial_done_cb done;
	void *arg;
};

static void count_unheard(struct pty_target *target, size_t bytes)
{
	if (target->unheard_bytes == 0)
		log_info("%s: a program writes to it while nobody is "
			 "connected; that is discarded",
			 pty_path_text(target->path));
	target->unheard_bytes += bytes;
}

static void report_unheard(struct pty_target *target)
{
	if (target->unheard_bytes > 0)
		log_info("%s: discarded %" PRIu64 " bytes that were written "
			 "while nobody was connected",
			 pty_path_text(target->path), target->unheard_bytes);
	target->unheard_bytes = 0;
}

/* A cable that is not plugged in: nobody keeps what is sent into it. */
static void discard_unheard(evutil_socket_t fd, short what, void *arg)
{
	struct pty_target *target = arg;
	struct loop *loop = target->loop;
	ssize_t got = pty_port_read(target->port, loop->buffer,
				    loop->buffer_bytes);

	if (got > 0)
		count_unheard(target, (size_t)got);
	else if (got != -EAGAIN)
		/* It would be ready for ever; the next dial tries again. */
		event_del(target->read_event);
}

/*
 * What was written before this moment is not for the session that begins. A
 * program that writes without a pause does not hold us up.
 */
static void discard_queued(struct pty_target *target)
{
	struct loop *loop = target->loop;
	size_t most = 1024 * 1024;
	ssize_t got;

	do {
		got = pty_port_read(target->port, loop->buffer,
				    loop->buffer_bytes);
		if (got <= 0)
			break;
		count_unheard(target, (size_t)got);
		most -= (size_t)got < most ? (size_t)got : most;
	} while (most > 0);
}

static void programs_changed(void *arg)
{
	struct pty_target *target = arg;

	/* The next program is to get only what arrives for it. */
	if (!pty_port_is_open(target->port) &&
	    target->when_closed == PTY_WHEN_CLOSED_DISCARD)
		pty_port_drop_unread(target->port);
}

static ssize_t pty_read(struct stream *base, void *buffer, size_t bytes)
{
	struct pty_stream *stream = (struct pty_stream *)base;

	return pty_port_read(stream->target->port, buffer, bytes);
}

static ssize_t pty_write(struct stream *base, const void *buffer, size_t bytes)
{
	struct pty_stream *stream = (struct pty_stream *)base;
	struct pty_target *target = stream->target;

	if (target->when_closed == PTY_WHEN_CLOSED_DISCARD) {
		/* A program may have opened it since the loop last looked. */
		if (!pty_port_is_open(target->port))
			pty_port_update(target->port);
		if (!pty_port_is_open(target->port)) {
			stream->unread_bytes += bytes;
			return (ssize_t)bytes;
		}
	}
	return pty_port_write(target->port, buffer, bytes);
}

/* The port stays, and what is in it: unless the gateway goes. */
static size_t pty_finish(struct stream *base, bool is_stopping)
{
	struct pty_port *port = ((struct pty_stream *)base)->target->port;

	if (!is_stopping)
		return 0;
	/* A program may have opened it since the loop last looked. */
	if (!pty_port_is_open(port))
		pty_port_update(port);
	return pty_port_unread_bytes(port);
}

static void pty_close(struct stream *base, enum stream_close how)
{
	struct pty_stream *stream = (struct pty_stream *)base;
	struct pty_target *target = stream->target;

	if (stream->unread_bytes > 0)
		log_info("%s: discarded %" PRIu64 " bytes that arrived while "
			 "no program had it open",
			 pty_path_text(target->path), stream->unread_bytes);
	target->stream = NULL;
	event_add(target->read_event, NULL);
	free(stream);
}

static const struct stream_ops pty_stream_ops = {
	.read = pty_read,
	.write = pty_write,
	.finish = pty_finish,
	.close = pty_close,
};

/* NULL with *@code and @error set. */
static struct pty_stream *stream_new(struct pty_target *target, int *code,
				     struct error *error)
{
	struct pty_stream *stream;

	if (target->stream) {
		*code = error_set(error, -EBUSY, "%s has a session already",
				  pty_path_text(target->path));
		return NULL;
	}
	*code = pty_port_mend(target->port);
	if (*code < 0) {
		error_set(error, *code, "cannot open %s (%s) again: %s%s",
			  pty_path_text(target->path),
			  pty_port_slave(target->port), strerror(-*code),
			  *code == -EBUSY
				  ? "; a program left it locked (TIOCEXCL)"
				  : "");
		return NULL;
	}
	stream = calloc(1, sizeof(*stream));
	if (!stream) {
		*code = error_set(error, -ENOMEM, "out of memory");
		return NULL;
	}
	stream->stream.ops = &pty_stream_ops;
	stream->stream.read_fd = pty_port_fd(target->port);
	stream->stream.write_fd = pty_port_fd(target->port);
	stream->stream.peer = target->target.name;
	stream->target = target;
	return stream;
}

static void pty_answer(void *arg)
{
	struct pty_dial *dial = arg;
	struct pty_target *target = dial->target;
	struct error error = {""};
	struct pty_stream *stream;
	int code = 0;

	stream = stream_new(target, &code, &error);
	if (stream) {
		discard_queued(target);
		report_unheard(target);
		event_del(target->read_event);
		target->stream = stream;
	}
	dial->done(stream ? &stream->stream : NULL, code, &error, dial->arg);
	free(dial);
}

static void pty_dial_cancel(struct dial *base)
{
	struct pty_dial *dial = (struct pty_dial *)base;

	loop_cancel(dial->target->loop, &dial->task);
	free(dial);
}

static struct dial *pty_dial(struct target *base, dial_done_cb done, void *arg)
{
	static const struct dial_ops ops = {.cancel = pty_dial_cancel};
	struct pty_dial *dial = calloc(1, sizeof(*dial));

	if (!dial)
		return NULL;
	dial->dial.ops = &ops;
	dial->target = (struct pty_target *)base;
	dial->task.run = pty_answer;
	dial->task.arg = dial;
	dial->done = done;
	dial->arg = arg;
	loop_defer(dial->target->loop, &dial->task);
	return &dial->dial;
}

static void pty_target_close(struct target *base)
{
	struct pty_target *target = (struct pty_target *)base;

	report_unheard(target);
	if (target->read_event)
		event_free(target->read_event);
	if (target->port)
		report_lost(pty_path_text(target->path), target->port);
	/* First the path: after the pty, its number may be another's. */
	pty_path_release(target->path);
	pty_port_free(target->port);
	free(target);
}

/* Everything but the link: whoever sees that finds a port that is ready. */
static int target_prepare(struct pty_target *target,
			  const struct endpoint_pty *pty, struct error *error)
{
	struct access access;
	int code = access_find(&access, &pty->access, SLAVE_MODE, error);

	if (code)
		return error_prefix(error, code, "%s", pty->path);
	target->path = pty_path_acquire(pty->path, PTY_PATH_LIFE_ONE_PTY,
					error);
	if (!target->path)
		return -errno;
	target->port = pty_port_new(target->loop, &access,
				    PTY_PORT_LIFE_LASTING, programs_changed,
				    target, error);
	if (!target->port)
		return error_prefix(error, -errno, "%s", pty->path);
	target->read_event = event_new(target->loop->base,
				       pty_port_fd(target->port),
				       EV_READ | EV_PERSIST, discard_unheard,
				       target);
	if (!target->read_event || event_add(target->read_event, NULL) < 0)
		return error_set(error, -ENOMEM, "out of memory");
	return 0;
}

static int pty_open_target(struct loop *loop,
			   const struct address_endpoint *address,
			   const struct endpoint_settings *settings,
			   struct target **out, struct error *error)
{
	static const struct target_ops ops = {
		.dial = pty_dial,
		.close = pty_target_close,
	};
	struct pty_target *target = calloc(1, sizeof(*target));
	int code;

	if (!target)
		return error_set(error, -ENOMEM, "out of memory");
	target->target.ops = &ops;
	target->target.sessions_max = 1;
	snprintf(target->target.name, sizeof(target->target.name), "pty:%s",
		 address->pty.path);
	target->loop = loop;
	target->when_closed = address->pty.when_closed;
	code = target_prepare(target, &address->pty, error);
	if (code == 0)
		code = pty_path_link(target->path, pty_port_slave(target->port),
				     error);
	if (code < 0)
		pty_target_close(&target->target);
	else
		*out = &target->target;
	return code;
}

/* ---- the listener -------------------------------------------------------- */

/*
 * A program that is gone again so soon has only looked (stty), or written what
 * is to be sent (echo AT >PORT).
 */
#define SETTLE_MS 20
/* When a new port could not be made. */
#define RETRY_MS 1000

struct pty_listener {
	struct listener listener;
	struct loop *loop;
	struct pty_path *path;
	struct access access; /* of each port */
	struct pty_port *port; /* that the path leads to; NULL: none now */
	struct pty_call *call; /* who has that port, or NULL */
	struct event *timer; /* to settle, or to try again */
	struct loop_task look;
	char last_error[ERROR_TEXT_BYTES]; /* said already */
	listener_client_cb client_cb;
	void *arg;
};

/* The stream of one call. */
struct pty_call {
	struct stream stream;
	char peer[STREAM_PEER_BYTES]; /* the path may be taken down before */
	struct pty_listener *listener; /* while the path leads here */
	struct pty_port *port;
	bool is_relayed; /* a session has read or written */
};

static void port_changed(void *arg)
{
	struct pty_listener *listener = arg;

	loop_defer(listener->loop, &listener->look);
}

/* Lead the path to a new port. The one it led to must have an owner. */
static void listener_renew(struct pty_listener *listener)
{
	struct error error = {""};
	struct pty_port *port;

	if (listener->call)
		listener->call->listener = NULL;
	if (listener->port)
		pty_port_ignore_changes(listener->port);
	listener->call = NULL;
	listener->port = NULL;
	event_del(listener->timer);
	port = pty_port_new(listener->loop, &listener->access,
			    PTY_PORT_LIFE_ONE_CALL, port_changed, listener,
			    &error);
	if (port &&
	    pty_path_link(listener->path, pty_port_slave(port), &error) == 0) {
		listener->port = port;
		listener->last_error[0] = '\0';
		return;
	}
	/* Nor is it to open the pty that the path led to: that one is going. */
	pty_path_unlink(listener->path);
	pty_port_free(port);
	if (strcmp(error.text, listener->last_error) != 0)
		log_warning("%s: no program can open it now: %s",
			    pty_path_text(listener->path), error.text);
	strcpy(listener->last_error, error.text);
	loop_start_timer(listener->timer, RETRY_MS);
}

static ssize_t call_read(struct stream *base, void *buffer, size_t bytes)
{
	struct pty_call *call = (struct pty_call *)base;

	call->is_relayed = true;
	return pty_port_read(call->port, buffer, bytes);
}

static ssize_t call_write(struct stream *base, const void *buffer, size_t bytes)
{
	struct pty_call *call = (struct pty_call *)base;

	call->is_relayed = true;
	return pty_port_write(call->port, buffer, bytes);
}

/* A program that says all it has to say and leaves has not given up. */
static int call_check(struct stream *base)
{
	struct pty_call *call = (struct pty_call *)base;

	return call->is_relayed || pty_port_has_unheard(call->port)
		       ? 0
		       : -ECONNRESET;
}

static size_t call_finish(struct stream *base, bool is_stopping)
{
	struct pty_call *call = (struct pty_call *)base;

	pty_port_update(call->port);
	pty_port_mend(call->port);
	return pty_port_unread_bytes(call->port);
}

static void call_close(struct stream *base, enum stream_close how)
{
	struct pty_call *call = (struct pty_call *)base;
	size_t unheard;

	/* First: whoever tries again at once is the next caller. */
	if (call->listener)
		listener_renew(call->listener);
	if (!pty_port_is_over(call->port))
		report_lost(base->peer, call->port);
	unheard = pty_port_drop_unheard(call->port);
	if (unheard > 0)
		log_info("%s: discarded %zu bytes that a program wrote: the "
			 "other side had hung up",
			 base->peer, unheard);
	pty_port_free(call->port);
	free(call);
}

static const struct stream_ops call_ops = {
	.read = call_read,
	.write = call_write,
	.check = call_check,
	.finish = call_finish,
	.close = call_close,
};

/* The program at the port is a client from now on; last of all. */
static void listener_hand_over(struct pty_listener *listener,
			       struct pty_port *port)
{
	struct pty_call *call = calloc(1, sizeof(*call));

	if (!call) {
		log_warning("%s: hung up on a program: out of memory",
			    pty_path_text(listener->path));
		if (port == listener->port)
			listener_renew(listener);
		pty_port_free(port);
		return;
	}
	call->stream.ops = &call_ops;
	call->stream.read_fd = call->stream.write_fd = pty_port_fd(port);
	memcpy(call->peer, listener->listener.name, sizeof(call->peer));
	call->stream.peer = call->peer;
	call->port = port;
	if (port == listener->port) {
		call->listener = listener;
		listener->call = call;
	}
	listener->client_cb(&call->stream, listener->arg);
}

/* Something changed at the port. */
static void listener_look(void *arg)
{
	struct pty_listener *listener = arg;
	struct pty_port *port = listener->port;

	if (!port)
		return;
	if (!pty_port_is_over(port)) {
		if (pty_port_is_open(port) && !listener->call)
			loop_start_timer(listener->timer, SETTLE_MS);
	} else if (listener->call) {
		listener_renew(listener);
	} else {
		/* It only looked, or has said all and gone; or another came. */
		listener_renew(listener);
		if (pty_port_revive(port) || pty_port_has_unheard(port))
			listener_hand_over(listener, port);
		else
			pty_port_free(port);
	}
}

static void listener_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct pty_listener *listener = arg;

	if (!listener->port) {
		listener_renew(listener);
		return;
	}
	pty_port_update(listener->port);
	if (!listener->call && pty_port_is_open(listener->port))
		listener_hand_over(listener, listener->port);
}

static void pty_listener_close(struct listener *base)
{
	struct pty_listener *listener = (struct pty_listener *)base;

	loop_cancel(listener->loop, &listener->look);
	if (listener->timer)
		event_free(listener->timer);
	pty_path_release(listener->path);
	if (listener->call) {
		listener->call->listener = NULL;
		pty_port_ignore_changes(listener->port);
	} else {
		pty_port_free(listener->port);
	}
	free(listener);
}

static int listener_prepare(struct pty_listener *listener,
			    const struct endpoint_pty *pty, struct error *error)
{
	int code = access_find(&listener->access, &pty->access, SLAVE_MODE,
			       error);

	if (code)
		return error_prefix(error, code, "%s", pty->path);
	listener->timer = evtimer_new(listener->loop->base, listener_timeout,
				      listener);
	if (!listener->timer)
		return error_set(error, -ENOMEM, "out of memory");
	listener->path = pty_path_acquire(pty->path, PTY_PATH_LIFE_MANY_PTYS,
					  error);
	if (!listener->path)
		return -errno;
	listener->port = pty_port_new(listener->loop, &listener->access,
				      PTY_PORT_LIFE_ONE_CALL, port_changed,
				      listener, error);
	if (!listener->port)
		return error_prefix(error, -errno, "%s", pty->path);
	return pty_path_link(listener->path, pty_port_slave(listener->port),
			     error);
}

static int pty_listen(struct loop *loop, const struct address_endpoint *address,
		      const struct endpoint_settings *settings,
		      listener_client_cb client_cb, void *arg,
		      struct listener **out, struct error *error)
{
	static const struct listener_ops ops = {.close = pty_listener_close};
	struct pty_listener *listener = calloc(1, sizeof(*listener));
	int code;

	if (!listener)
		return error_set(error, -ENOMEM, "out of memory");
	listener->listener.ops = &ops;
	snprintf(listener->listener.name, sizeof(listener->listener.name),
		 "pty:%s", address->pty.path);
	listener->loop = loop;
	listener->look.run = listener_look;
	listener->look.arg = listener;
	listener->client_cb = client_cb;
	listener->arg = arg;
	code = listener_prepare(listener, &address->pty, error);
	if (code < 0)
		pty_listener_close(&listener->listener);
	else
		*out = &listener->listener;
	return code;
}

const struct endpoint_ops endpoint_pty_ops = {
	.listen = pty_listen,
	.open_target = pty_open_target,
};
