/* SPDX-License-Identifier: MIT */
#include "control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>

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
	char *answer; /* NULL: none is under way */
	size_t answer_bytes;
	size_t sent_bytes;
};

TAILQ_HEAD(control_client_list, control_client);

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
	free(client->answer);
	free(client);
}

/* It has done something. */
static void client_touch(struct control_client *client)
{
	struct control_client_list *clients = &client->control->clients;

	TAILQ_REMOVE(clients, client, link);
	TAILQ_INSERT_TAIL(clients, client, link);
	loop_start_timer(client->stall, STALL_MS);
}

/* ---- answers ---------------------------------------------------------------- */

static json_t *make_answer(struct control_client *client, const char *line,
			   size_t bytes)
{
	struct control *control = client->control;
	json_error_t problem;
	json_t *request = json_loadb(line, bytes, 0, &problem);
	json_t *answer;

	if (json_is_object(request))
		answer = control->cb(request, control->arg);
	else
		answer = json_pack("{s:b, s:s}", "ok", 0, "error",
				   "a request is an object in JSON, on a line "
				   "of its own");
	json_decref(request);
	return answer;
}

/* 0, or -ENOMEM. */
static int set_answer(struct control_client *client, json_t *answer)
{
	char *text = answer ? json_dumps(answer,
					 JSON_COMPACT | JSON_ENSURE_ASCII)
			    : NULL;
	size_t bytes = text ? strlen(text) : 0;

	json_decref(answer);
	if (!text)
		return -ENOMEM;
	/* The end of the line in place of the string's. */
	text[bytes] = '\n';
	client->answer = text;
	client->answer_bytes = bytes + 1;
	client->sent_bytes = 0;
	return 0;
}

/* 0, 1 when there is more to send, or -errno. */
static int send_answer(struct control_client *client)
{
	ssize_t put = stream_write(client->stream,
				   client->answer + client->sent_bytes,
				   client->answer_bytes - client->sent_bytes);

	if (put == -EAGAIN)
		return 1;
	if (put < 0)
		return (int)put;
	client_touch(client);
	client->sent_bytes += (size_t)put;
	if (client->sent_bytes < client->answer_bytes)
		return 1;
	free(client->answer);
	client->answer = NULL;
	return 0;
}

/* Answer a line that is there as a whole. As for send_answer; 0: none is. */
static int take_line(struct control_client *client)
{
	char *end = memchr(client->request, '\n', client->request_bytes);
	size_t line_bytes;
	int code;

	if (!end)
		return client->request_bytes == REQUEST_BYTES_MAX ? -EMSGSIZE
								  : 0;
	line_bytes = (size_t)(end - client->request);
	code = set_answer(client,
			  make_answer(client, client->request, line_bytes));
	client->request_bytes -= line_bytes + 1;
	memmove(client->request, end + 1, client->request_bytes);
	return code ? code : send_answer(client);
}

/* Go on until there is nothing to do; then wait for the one or the other. */
static void client_advance(struct control_client *client)
{
	struct control_client_list *clients = &client->control->clients;
	bool has_line = true;
	int code = 0;

	while (code == 0 && has_line) {
		code = client->answer ? send_answer(client) : take_line(client);
		has_line = memchr(client->request, '\n',
				  client->request_bytes) != NULL;
	}
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
	/* When all is taken is when it must be asked who has it. */
	static const struct endpoint_settings settings = {.keeps_spare = true};
	struct control *control = calloc(1, sizeof(*control));
	int code;

	*out = NULL;
	if (!control)
		return error_set(error, -ENOMEM, "out of memory");
	control->loop = loop;
	control->cb = cb;
	control->arg = arg;
	TAILQ_INIT(&control->clients);
	code = listener_open(loop, address, &settings, control_client, control,
			     &control->listener, error);
	if (code)
		free(control);
	else
		*out = control;
	return code;
}

void control_close(struct control *control)
{
	if (!control)
		return;
	/* First: who is told the end finds it gone. */
	listener_close(control->listener);
	while (!TAILQ_EMPTY(&control->clients))
		client_free(TAILQ_FIRST(&control->clients));
	free(control);
}
