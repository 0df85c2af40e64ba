/* SPDX-License-Identifier: MIT */
#include "endpoint.h"

#include <errno.h>
#include <poll.h>

#include "address_endpoint.h"
#include "error.h"
#include "text.h"

/* Who sends without end is not listened to without end. */
#define REST_BYTES_MAX (1024 * 1024)

static const struct endpoint_ops *endpoint_ops(enum endpoint_kind kind)
{
	switch (kind) {
	case ENDPOINT_KIND_RFCOMM:
		return &endpoint_rfcomm_ops;
	case ENDPOINT_KIND_L2CAP:
		return &endpoint_l2cap_ops;
	case ENDPOINT_KIND_TCP:
		return &endpoint_tcp_ops;
	case ENDPOINT_KIND_TLS:
		return &endpoint_tls_ops;
	case ENDPOINT_KIND_UNIX:
		return &endpoint_unix_ops;
	case ENDPOINT_KIND_PTY:
		return &endpoint_pty_ops;
	case ENDPOINT_KIND_SERIAL:
		return &endpoint_serial_ops;
	case ENDPOINT_KIND_FILE:
		return &endpoint_file_ops;
	case ENDPOINT_KIND_EXEC:
		return &endpoint_exec_ops;
	case ENDPOINT_KIND_ECHO:
		return &endpoint_echo_ops;
	}
	return NULL;
}

int endpoint_inspect(const struct address_endpoint *address,
		     enum endpoint_role role, struct error *error)
{
	const struct endpoint_ops *ops = endpoint_ops(address->kind);

	return ops->inspect ? ops->inspect(address, role, error) : 0;
}

int listener_open(struct loop *loop, const struct address_endpoint *address,
		  const struct endpoint_settings *settings,
		  listener_client_cb client_cb, void *arg,
		  struct listener **out, struct error *error)
{
	const struct endpoint_ops *ops = endpoint_ops(address->kind);

	*out = NULL;
	if (!ops->listen)
		return error_set(error, -EOPNOTSUPP,
				 "this kind of endpoint cannot listen");
	return ops->listen(loop, address, settings, client_cb, arg, out, error);
}

void listener_close(struct listener *listener)
{
	if (listener)
		listener->ops->close(listener);
}

int listener_change(struct loop *loop, const struct address_endpoint *from,
		    const struct address_endpoint *to,
		    const struct endpoint_settings *settings,
		    listener_client_cb client_cb, void *arg,
		    struct listener **listener, struct error *error)
{
	struct listener *changed;
	struct error ignored;
	int code = listener_open(loop, to, settings, client_cb, arg, &changed,
				 error);

	/* By itself, it may be: a port on one address, and on all. */
	if (code == -EADDRINUSE && *listener &&
	    address_endpoint_place(from, ENDPOINT_ROLE_LISTEN) ==
		    address_endpoint_place(to, ENDPOINT_ROLE_LISTEN)) {
		listener_close(*listener);
		code = listener_open(loop, to, settings, client_cb, arg,
				     &changed, error);
		*listener = NULL;
		if (code)
			listener_open(loop, from, settings, client_cb, arg,
				      listener, &ignored);
	}
	if (code)
		return code;
	listener_close(*listener);
	*listener = changed;
	return 0;
}

int listener_check(const struct listener *listener, struct error *error)
{
	return listener->ops->check ? listener->ops->check(listener, error) : 0;
}

int target_open(struct loop *loop, const struct address_endpoint *address,
		const struct endpoint_settings *settings, struct target **out,
		struct error *error)
{
	const struct endpoint_ops *ops = endpoint_ops(address->kind);

	*out = NULL;
	if (!ops->open_target)
		return error_set(
			error, -EOPNOTSUPP,
			"this kind of endpoint cannot be connected to");
	return ops->open_target(loop, address, settings, out, error);
}

void target_close(struct target *target)
{
	if (target)
		target->ops->close(target);
}

struct dial *target_dial(struct target *target, dial_done_cb done, void *arg)
{
	return target->ops->dial(target, done, arg);
}

void dial_cancel(struct dial *dial)
{
	if (dial)
		dial->ops->cancel(dial);
}

void dial_explain(const struct dial *dial, struct error *error)
{
	struct error delay;

	if (dial->ops->describe && dial->ops->describe(dial, &delay))
		text_append(error->text, sizeof(error->text), ": %s",
			    delay.text);
}

int stream_admit(struct stream *stream)
{
	return stream->ops->admit ? stream->ops->admit(stream) : 0;
}

ssize_t stream_read(struct stream *stream, void *buffer, size_t bytes)
{
	ssize_t n;

	do {
		n = stream->ops->read(stream, buffer, bytes);
	} while (n == -EINTR);
	return n;
}

size_t stream_discard_rest(struct stream *stream, void *buffer, size_t bytes)
{
	bool has_told = false;
	size_t total = 0;
	ssize_t got;

	while (total < REST_BYTES_MAX) {
		got = stream_read(stream, buffer, bytes);
		if (got == -ENOBUFS && !has_told) {
			has_told = true; /* of a gap of its own */
			continue;
		}
		if (got <= 0)
			break;
		total += (size_t)got;
	}
	return total;
}

bool stream_can_peek(const struct stream *stream)
{
	return stream->ops->peek != NULL;
}

ssize_t stream_peek(struct stream *stream, void *buffer, size_t bytes)
{
	ssize_t n;

	do {
		n = stream->ops->peek(stream, buffer, bytes);
	} while (n == -EINTR);
	return n;
}

void stream_skip(struct stream *stream, size_t bytes)
{
	stream->ops->skip(stream, bytes);
}

ssize_t stream_write(struct stream *stream, const void *buffer, size_t bytes)
{
	ssize_t n;

	do {
		n = stream->ops->write(stream, buffer, bytes);
	} while (n == -EINTR);
	return n;
}

bool stream_keeps_records(const struct stream *stream)
{
	return stream->ops->write_record != NULL;
}

int stream_write_record(struct stream *stream, const void *buffer, size_t bytes)
{
	int code;

	do {
		code = stream->ops->write_record(stream, buffer, bytes);
	} while (code == -EINTR);
	return code;
}

bool stream_has_half_close(const struct stream *stream)
{
	return stream->ops->shutdown_write != NULL;
}

int stream_shutdown_write(struct stream *stream)
{
	return stream->ops->shutdown_write(stream);
}

size_t stream_finish(struct stream *stream, bool is_stopping)
{
	return stream->ops->finish ? stream->ops->finish(stream, is_stopping)
				   : 0;
}

const char *stream_end_reason(const struct stream *stream)
{
	return stream->ops->end_reason ? stream->ops->end_reason(stream) : NULL;
}

void stream_close(struct stream *stream, enum stream_close how)
{
	if (stream)
		stream->ops->close(stream, how);
}

bool stream_is_hung_up(const struct stream *stream)
{
	struct pollfd hang_up = {.fd = stream->read_fd};

	return poll(&hang_up, 1, 0) == 1 &&
	       hang_up.revents & (POLLERR | POLLHUP);
}

bool stream_has_given_up(struct stream *stream)
{
	if (!stream_is_hung_up(stream))
		return false;
	return stream->ops->admit || stream_check(stream) != 0;
}

int stream_check(struct stream *stream)
{
	return stream->ops->check ? stream->ops->check(stream) : 0;
}
