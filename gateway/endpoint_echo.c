/* SPDX-License-Identifier: MIT */
/*
 * echo: sends back what arrives. A pipe is an echo: what goes in at one end
 * comes out at the other, the kernel's buffer pushes back, and closing the
 * input gives the end of stream once everything came back.
 */
#include "endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "error.h"

struct echo_target {
	struct target target;
	struct loop *loop;
};

static ssize_t echo_read(struct stream *stream, void *buffer, size_t bytes)
{
	ssize_t got = read(stream->read_fd, buffer, bytes);

	return got < 0 ? -errno : got;
}

static ssize_t echo_write(struct stream *stream, const void *buffer,
			  size_t bytes)
{
	ssize_t put = write(stream->write_fd, buffer, bytes);

	return put < 0 ? -errno : put;
}

static int echo_shutdown_write(struct stream *stream)
{
	close(stream->write_fd);
	stream->write_fd = -1;
	return 0;
}

static void echo_close(struct stream *stream, enum stream_close how)
{
	if (stream->write_fd >= 0)
		close(stream->write_fd);
	close(stream->read_fd);
	free(stream);
}

static const struct stream_ops echo_stream_ops = {
	.read = echo_read,
	.write = echo_write,
	.shutdown_write = echo_shutdown_write,
	.close = echo_close,
};

static struct stream *echo_stream_new(void)
{
	struct stream *stream = calloc(1, sizeof(*stream));
	int ends[2];

	if (!stream)
		return NULL;
	if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0) {
		free(stream);
		return NULL;
	}
	stream->ops = &echo_stream_ops;
	stream->read_fd = ends[0];
	stream->write_fd = ends[1];
	stream->peer = "echo";
	return stream;
}

static struct dial *echo_dial(struct target *base, dial_done_cb done, void *arg)
{
	struct echo_target *target = (struct echo_target *)base;
	/* At once: acceptors count on a client's descriptors being taken. */
	struct stream *stream = echo_stream_new();

	return stream ? answer_new(target->loop, stream, 0, NULL, done, arg)
		      : NULL;
}

static void echo_target_close(struct target *target)
{
	free(target);
}

static int echo_open_target(struct loop *loop,
			    const struct address_endpoint *address,
			    const struct endpoint_settings *settings,
			    struct target **out, struct error *error)
{
	static const struct target_ops ops = {
		.dial = echo_dial,
		.close = echo_target_close,
	};
	struct echo_target *target = calloc(1, sizeof(*target));

	if (!target)
		return error_set(error, -ENOMEM, "out of memory");
	target->target.ops = &ops;
	target->loop = loop;
	strcpy(target->target.name, "echo");
	*out = &target->target;
	return 0;
}

const struct endpoint_ops endpoint_echo_ops = {
	.open_target = echo_open_target,
};
