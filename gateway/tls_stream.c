/* SPDX-License-Identifier: MIT */
#include "tls_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "endpoint.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "tls_link.h"

#define REASON_BYTES (STREAM_PEER_BYTES + ERROR_TEXT_BYTES)

struct tls_stream {
	struct stream stream;
	struct tls_link *link;
	/*
	 * What was taken and has not gone out goes by itself. It is a duplicate
	 * of the descriptor that is waited on, here and by who writes: libevent
	 * allows no two modes, level and edge, on one.
	 */
	struct event *writable;
	char reason[REASON_BYTES];
};

struct tls_handshake {
	struct tls_stream *stream; /* being made */
	/*
	 * One of them is waited for: while something is unsent, nothing is read
	 * that the other end says, and its being there must not wake us.
	 */
	struct event *readable;
	struct event *writable;
	tls_handshake_done_cb done;
	void *arg;
};

/* ---- the stream ------------------------------------------------------------------ */

static int push(struct tls_stream *stream)
{
	if (tls_link_unsent(stream->link) && event_add(stream->writable, NULL))
		return -ENOMEM;
	return 0;
}

static void tls_writable(evutil_socket_t fd, short what, void *arg)
{
	struct tls_stream *stream = arg;

	/* How it broke, its session learns when it reads or writes. */
	tls_link_flush(stream->link);
	push(stream);
}

static ssize_t tls_read(struct stream *base, void *buffer, size_t bytes)
{
	return tls_link_read(((struct tls_stream *)base)->link, buffer, bytes);
}

static ssize_t tls_write(struct stream *base, const void *buffer, size_t bytes)
{
	struct tls_stream *stream = (struct tls_stream *)base;
	ssize_t put = tls_link_write(stream->link, buffer, bytes);

	return push(stream) ? -ENOMEM : put;
}

static int tls_check(struct stream *base)
{
	return tls_link_check(((struct tls_stream *)base)->link);
}

static int tls_shutdown_write(struct stream *base)
{
	struct tls_stream *stream = (struct tls_stream *)base;
	int code = tls_link_end(stream->link);

	return code ? code : push(stream);
}

static size_t tls_finish(struct stream *base, bool is_stopping)
{
	struct tls_stream *stream = (struct tls_stream *)base;

	tls_link_end(stream->link);
	push(stream);
	return tls_link_unsent(stream->link);
}

static const char *tls_end_reason(const struct stream *base)
{
	const struct tls_stream *stream = (const struct tls_stream *)base;
	const char *trouble = tls_link_trouble(stream->link);

	if (!trouble)
		return NULL;
	snprintf((char *)stream->reason, sizeof(stream->reason), "%s: %s",
		 base->peer, trouble);
	return stream->reason;
}

static void tls_stream_free(struct tls_stream *stream, enum stream_close how)
{
	if (stream->writable)
		event_free(stream->writable);
	if (stream->stream.write_fd >= 0)
		close(stream->stream.write_fd);
	tls_link_free(stream->link, how);
	free(stream);
}

static void tls_close(struct stream *base, enum stream_close how)
{
	struct tls_stream *stream = (struct tls_stream *)base;

	if (how == STREAM_CLOSE_ORDERLY)
		tls_link_end(stream->link);
	if (how == STREAM_CLOSE_ORDERLY && tls_link_unsent(stream->link))
		log_info("%s: what was to be sent last, %zu bytes of TLS, is "
			 "lost: the other end did not take it",
			 base->peer, tls_link_unsent(stream->link));
	tls_stream_free(stream, how);
}

static const struct stream_ops tls_stream_ops = {
	.read = tls_read,
	.write = tls_write,
	.check = tls_check,
	.shutdown_write = tls_shutdown_write,
	.finish = tls_finish,
	.end_reason = tls_end_reason,
	.close = tls_close,
};

/* ---- the handshake ---------------------------------------------------------------- */

static void handshake_free(struct tls_handshake *handshake)
{
	if (handshake->readable)
		event_free(handshake->readable);
	if (handshake->writable)
		event_free(handshake->writable);
	free(handshake);
}

static void handshake_end(struct tls_handshake *handshake, int code,
			  const struct error *error)
{
	struct tls_stream *stream = handshake->stream;
	tls_handshake_done_cb done = handshake->done;
	void *arg = handshake->arg;

	handshake_free(handshake);
	if (code) {
		/* In order, or the alert that tells why may not arrive. */
		tls_stream_free(stream, STREAM_CLOSE_ORDERLY);
		done(NULL, code, error, arg);
	} else {
		done(&stream->stream, 0, NULL, arg);
	}
}

static int handshake_wait(struct tls_handshake *handshake)
{
	return event_add(tls_link_unsent(handshake->stream->link)
				 ? handshake->writable
				 : handshake->readable,
			 NULL);
}

static void handshake_step(evutil_socket_t fd, short what, void *arg)
{
	struct tls_handshake *handshake = arg;
	struct error error;
	int code = tls_link_handshake(handshake->stream->link, &error);

	if (code == -EAGAIN && handshake_wait(handshake) == 0)
		return;
	if (code == -EAGAIN || (code == 0 && push(handshake->stream)))
		code = error_set(&error, -ENOMEM, "out of memory");
	handshake_end(handshake, code, &error);
}

static struct tls_stream *tls_stream_new(struct loop *loop,
					 struct tls_context *context,
					 const char *name, struct stream *under)
{
	struct tls_stream *stream = calloc(1, sizeof(*stream));
	int code;

	if (!stream)
		return NULL;
	stream->stream.ops = &tls_stream_ops;
	stream->stream.read_bytes_min = TLS_LINK_RECORD_BYTES;
	stream->stream.read_fd = under->read_fd;
	stream->stream.peer = under->peer;
	stream->stream.write_fd = fcntl(under->write_fd, F_DUPFD_CLOEXEC, 0);
	if (stream->stream.write_fd < 0)
		goto fail;
	stream->writable = event_new(loop->base, stream->stream.write_fd,
				     EV_WRITE, tls_writable, stream);
	errno = ENOMEM;
	if (!stream->writable)
		goto fail;
	stream->link = tls_link_new(context, name, under);
	if (!stream->link)
		goto fail;
	return stream;

fail:
	code = errno;
	tls_stream_free(stream, STREAM_CLOSE_ABORT);
	errno = code;
	return NULL;
}

struct tls_handshake *tls_handshake_new(struct loop *loop,
					struct tls_context *context,
					const char *name, struct stream *under,
					tls_handshake_done_cb done, void *arg)
{
	struct tls_handshake *handshake = calloc(1, sizeof(*handshake));
	int code;

	if (!handshake)
		return NULL;
	handshake->done = done;
	handshake->arg = arg;
	handshake->readable = event_new(loop->base, under->read_fd, EV_READ,
					handshake_step, handshake);
	handshake->writable = event_new(loop->base, under->write_fd, EV_WRITE,
					handshake_step, handshake);
	errno = ENOMEM;
	if (!handshake->readable || !handshake->writable)
		goto fail;
	handshake->stream = tls_stream_new(loop, context, name, under);
	if (!handshake->stream)
		goto fail;
	/* A client speaks first. */
	event_active(handshake->readable, EV_READ, 0);
	return handshake;

fail:
	code = errno;
	handshake_free(handshake);
	errno = code;
	return NULL;
}

void tls_handshake_free(struct tls_handshake *handshake)
{
	struct tls_stream *stream;

	if (!handshake)
		return;
	stream = handshake->stream;
	handshake_free(handshake); /* its events first, then what they watch */
	tls_stream_free(stream, STREAM_CLOSE_ABORT);
}
