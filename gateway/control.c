/* SPDX-License-Identifier: MIT */
#include "control.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "backlog.h"
#include "endpoint.h"
#include "error.h"
#include "loop.h"

#define CLIENTS_MAX 32
/* No request is longer; who sends more is no client of ours. */
#define REQUEST_BYTES_MAX 4096
/* How long one may take to ask something, or to take some of its answer. */
#define STALL_MS 30000

struct control_client {
	TAILQ_ENTRY(control_client)
	link; /* the one that is idle longest first */
	struct control *control;
	struct stream *stream;
	struct event *readable;
	struct event *writable;
	struct event *stall;
	char request[REQUEST_BYTES_MAX];
	size_t request_bytes;
	struct backlog waiting; /* lines to it */
	bool is_following; /* it is told more, and asks nothing */
	struct control_follower follower; /* zeroes: it is to end */
	int code; /* why it cannot go on: a line was lost */
};

TAILQ_HEAD(control_client_list, control_client);

/* When all is taken is when it must be asked who has it. */
static const struct endpoint_settings endpoint_settings = {.keeps_spare = true};

struct control {
	struct loop *loop;
	struct listener *listener;
	struct control_client_list clients;
	unsigned int client_count;
	control_request_cb cb;
	void *arg;
};

static void client_free(struct control_client *client)
{
	struct control *control = client->control;

	TAILQ_REMOVE(&control->clients, client, link);
	control->client_count--;
	if (client->readable)
		event_free(client->readable);
	if (client->writable)
		event_free(client->writable);
	if (client->stall)
		event_free(client->stall);
	stream_close(client->stream, STREAM_CLOSE_ORDERLY);
	backlog_clear(&client->waiting);
	if (client->follower.left)
		client->follower.left(client->follower.arg);
	free(client);
}

/* It has done something. */
static void client_touch(struct control_client *client)
{
	struct control_client_list *clients = &client->control->clients;

	TAILQ_REMOVE(clients, client, link);
	TAILQ_INSERT_TAIL(clients, client, link);
	if (!client->follower.drained)
		loop_start_timer(client->stall, STALL_MS);
}

/* ---- answers ---------------------------------------------------------------- */

static json_t *make_answer(struct control_client *client, const char *line,
			   size_t bytes)
{
	struct control *control = client->control;
	json_error_t problem;
	json_t *request = json_loadb(line, bytes, 0, &problem);
	const char *error = "a request is an object in JSON, on a line of its "
			    "own";
	json_t *answer;

	if (json_is_object(request)) {
		answer = control->cb(client, request, control->arg);
	} else {
		if (!request &&
		    json_error_code(&problem) == json_error_out_of_memory)
			error = "out of memory";
		answer = json_pack("{s:b, s:s}", "ok", 0, "error", error);
	}
	json_decref(request);
	return answer;
}

/*
 * 0, or -ENOMEM. Takes the reference over. Not json_dumps, which leaves keys out
 * when its memory cannot grow, and says nothing (jansson 2.14).
 */
static int add_line(struct control_client *client, json_t *line)
{
	const size_t flags = JSON_COMPACT | JSON_ENSURE_ASCII;
	size_t bytes = line ? json_dumpb(line, NULL, 0, flags) : 0;
	char *text = bytes ? malloc(bytes + 1) : NULL;
	int code = -ENOMEM;

	if (text && json_dumpb(line, text, bytes, flags) == bytes) {
		text[bytes] = '\n';
		code = backlog_add(&client->waiting, (const uint8_t *)text,
				   bytes + 1);
	}
	json_decref(line);
	free(text);
	return code;
}

/* 0, 1 when there is more to send, or -errno. */
static int send_waiting(struct control_client *client)
{
	const uint8_t *data;
	size_t bytes = backlog_first(&client->waiting, &data);
	ssize_t put = stream_write(client->stream, data, bytes);

	if (put == -EAGAIN)
		return 1;
	if (put < 0)
		return (int)put;
	client_touch(client);
	backlog_take(&client->waiting, (size_t)put);
	if (client->waiting.bytes)
		return 1;
	if (client->is_following && !client->follower.drained)
		return -EPIPE;
	if (client->is_following)
		client->follower.drained(client->follower.arg);
	return client->waiting.bytes ? 1 : 0;
}

/* Answer a line that is there as a whole. As for send_waiting; 0: none is. */
static int take_line(struct control_client *client)
{
	char *end = memchr(client->request, '\n', client->request_bytes);
	size_t line_bytes;
	int code;

	if (!end)
		return client->request_bytes == REQUEST_BYTES_MAX ? -EMSGSIZE
								  : 0;
	line_bytes = (size_t)(end - client->request);
	code = add_line(client,
			make_answer(client, client->request, line_bytes));
	client->request_bytes -= line_bytes + 1;
	memmove(client->request, end + 1, client->request_bytes);
	return code ? code : send_waiting(client);
}

/* Go on until there is nothing to do; then wait for the one or the other. */
static void client_advance(struct control_client *client)
{
	struct control_client_list *clients = &client->control->clients;
	bool has_line = true;
	int code = client->code;

	while (code == 0 && has_line) {
		/* Who follows is not listened to any more. */
		if (client->is_following)
			client->request_bytes = 0;
		code = client->waiting.bytes ? send_waiting(client)
					     : take_line(client);
		has_line = memchr(client->request, '\n',
				  client->request_bytes) != NULL;
	}
	if (code == 0)
		code = client->code;
	/* Who asks without an end lets others be served between. */
	if (code == 1) {
		event_del(client->readable);
		code = event_add(client->writable, NULL);
	} else if (code == 0) {
		event_del(client->writable);
		code = event_add(client->readable, NULL);
	}
	if (code < 0 && !TAILQ_EMPTY(clients))
		client_free(client);
}

/* ---- what happens ------------------------------------------------------------- */

static void client_readable(evutil_socket_t fd, short what, void *arg)
{
	struct control_client *client = arg;
	ssize_t got = stream_read(client->stream,
				  client->request + client->request_bytes,
				  REQUEST_BYTES_MAX - client->request_bytes);

	if (got == -EAGAIN)
		return;
	if (got <= 0) {
		client_free(client);
		return;
	}
	client->request_bytes += (size_t)got;
	client_advance(client);
}

static void client_writable(evutil_socket_t fd, short what, void *arg)
{
	client_advance(arg);
}

static void client_stalled(evutil_socket_t fd, short what, void *arg)
{
	client_free(arg);
}

/* A new one is worth more than one that does nothing. */
static void control_make_room(struct control *control)
{
	if (control->client_count >= CLIENTS_MAX)
		client_free(TAILQ_FIRST(&control->clients));
}

static void control_client(struct stream *stream, void *arg)
{
	struct control *control = arg;
	struct control_client *client = calloc(1, sizeof(*client));

	if (!client || stream_admit(stream)) {
		stream_close(stream, STREAM_CLOSE_ABORT);
		free(client);
		return;
	}
	control_make_room(control);
	client->control = control;
	client->stream = stream;
	TAILQ_INSERT_TAIL(&control->clients, client, link);
	control->client_count++;
	client->readable = event_new(control->loop->base, stream->read_fd,
				     EV_READ | EV_PERSIST, client_readable,
				     client);
	client->writable = event_new(control->loop->base, stream->write_fd,
				     EV_WRITE | EV_PERSIST, client_writable,
				     client);
	client->stall = evtimer_new(control->loop->base, client_stalled,
				    client);
	if (!client->readable || !client->writable || !client->stall ||
	    loop_start_timer(client->stall, STALL_MS) ||
	    event_add(client->readable, NULL))
		client_free(client);
}

/* ---- from outside --------------------------------------------------------------- */

int control_open(struct loop *loop, const struct address_endpoint *address,
		 control_request_cb cb, void *arg, struct control **out,
		 struct error *error)
{
	struct control *control = calloc(1, sizeof(*control));
	int code;

	*out = NULL;
	if (!control)
		return error_set(error, -ENOMEM, "out of memory");
	control->loop = loop;
	control->cb = cb;
	control->arg = arg;
	TAILQ_INIT(&control->clients);
	code = listener_open(loop, address, &endpoint_settings, control_client,
			     control, &control->listener, error);
	if (code)
		free(control);
	else
		*out = control;
	return code;
}

void control_follow(struct control_client *client,
		    const struct control_follower *follower)
{
	client->is_following = true;
	client->follower = *follower;
	event_del(client->stall);
}

void control_tell(struct control_client *client, json_t *line)
{
	if (client->code == 0)
		client->code = add_line(client, line);
	else
		json_decref(line);
	/* Later: whoever tells it something must not find it gone. */
	if (client->code || event_add(client->writable, NULL))
		event_active(client->writable, EV_WRITE, 0);
}

size_t control_waiting(const struct control_client *client)
{
	return client->waiting.bytes;
}

void control_end(struct control_client *client)
{
	memset(&client->follower, 0, sizeof(client->follower));
	if (!client->waiting.bytes)
		client->code = -EPIPE;
	loop_start_timer(client->stall, STALL_MS);
	event_active(client->writable, EV_WRITE, 0);
}

static void control_end_clients(struct control *control)
{
	while (!TAILQ_EMPTY(&control->clients))
		client_free(TAILQ_FIRST(&control->clients));
}

int control_move(struct control *control, const struct address_endpoint *from,
		 const struct address_endpoint *to, struct error *error)
{
	int code = listener_change(control->loop, from, to, &endpoint_settings,
				   control_client, control, &control->listener,
				   error);

	/* Whom the new one lets in may be others. */
	if (code == 0)
		control_end_clients(control);
	return code;
}

bool control_is_listening(const struct control *control)
{
	return control->listener;
}

void control_close(struct control *control)
{
	if (!control)
		return;
	/* First: who is told the end finds it gone. */
	listener_close(control->listener);
	control_end_clients(control);
	free(control);
}
