/* SPDX-License-Identifier: MIT */
#include "control_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "command.h"
#include "config_load.h"

/* A reload looks accounts and adapters up, which may take a while. */
#define ANSWER_TIMEOUT_S 60
/* More than a status of all that a gateway can hold. */
#define ANSWER_BYTES_MAX (256u << 20)

static void complain(const struct control_client *client, const char *what,
		     const char *why)
{
	if (!client->is_quiet)
		fprintf(stderr, "btgate: %s%s%s\n", what, why ? ": " : "",
			why ? why : "");
}

static void refuse_connect(const struct control_client *client, int code)
{
	char text[400];

	switch (code) {
	case ENOENT:
	case ECONNREFUSED:
		snprintf(text, sizeof(text),
			 "no gateway runs here (nothing answers at %s); start "
			 "it with 'systemctl start btgate' or 'btgate run', or "
			 "name its configuration with -c",
			 client->path);
		complain(client, text, NULL);
		break;
	case EACCES:
		snprintf(
			text, sizeof(text),
			"%s is not for this user: use sudo, or give it a group "
			"with 'control = unix:%s,mode=0660,group=...' in "
			"[gateway]",
			client->path, client->path);
		complain(client, text, NULL);
		break;
	default:
		snprintf(text, sizeof(text), "cannot connect to %s",
			 client->path);
		complain(client, text, strerror(code));
		break;
	}
}

int control_client_open(struct control_client *client,
			const struct command_options *options)
{
	return control_client_open_within(client, options, ANSWER_TIMEOUT_S);
}

int control_client_open_within(struct control_client *client,
			       const struct command_options *options,
			       unsigned int timeout_s)
{
	const struct timeval patience = {.tv_sec = timeout_s};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int code;

	memset(client, 0, sizeof(*client));
	client->fd = -1;
	client->is_quiet = options->is_quiet;
	code = config_load_control(options->config_path, client->path,
				   sizeof(client->path));
	if (code < 0) {
		complain(client,
			 "the configuration says 'control = no': the gateway "
			 "cannot be asked anything",
			 NULL);
		return code;
	}
	/* Ended: as long as a configuration's may be (address_endpoint_path.c). */
	memcpy(address.sun_path, client->path, sizeof(address.sun_path));
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* Before: a gateway that hangs has a full queue. */
	if (client->fd < 0 ||
	    setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &patience,
		       sizeof(patience)) < 0 ||
	    connect(client->fd, (const struct sockaddr *)&address,
		    sizeof(address)) < 0) {
		code = errno;
		refuse_connect(client, code);
		return -code;
	}
	setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
		   sizeof(patience));
	return 0;
}

void control_client_close(struct control_client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
	free(client->buffer);
	client->buffer = NULL;
}

pid_t control_client_pid(const struct control_client *client)
{
	struct ucred peer = {0};
	socklen_t bytes = sizeof(peer);

	/* unix(7): of whoever called listen. */
	if (getsockopt(client->fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) < 0)
		return 0;
	return peer.pid;
}

static int send_request(struct control_client *client, const char *command,
			const char *argument)
{
	json_t *request = json_pack("{s:s, s:s*}", "command", command,
				    "argument", argument);
	char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	size_t bytes = text ? strlen(text) : 0, sent = 0;
	int code = text ? 0 : -EINVAL;

	json_decref(request);
	if (text)
		text[bytes++] = '\n';
	while (code == 0 && sent < bytes) {
		ssize_t put = send(client->fd, text + sent, bytes - sent,
				   MSG_NOSIGNAL);

		if (put >= 0)
			sent += (size_t)put;
		else if (errno != EINTR)
			code = -errno;
	}
	free(text);
	return code;
}

static int make_buffer_larger(struct control_client *client)
{
	size_t room = client->room ? 2 * client->room : 65536;
	char *larger;

	if (client->bytes < client->room)
		return 0;
	if (room > ANSWER_BYTES_MAX)
		return -EMSGSIZE;
	larger = realloc(client->buffer, room);
	if (!larger)
		return -ENOMEM;
	client->buffer = larger;
	client->room = room;
	return 0;
}

/* The bytes of the next line, with its end, or -errno. */
static ssize_t read_line(struct control_client *client)
{
	size_t searched = 0;

	for (;;) {
		char *end = client->bytes
				    ? memchr(client->buffer + searched, '\n',
					     client->bytes - searched)
				    : NULL;
		ssize_t got;
		int code;

		if (end)
			return end + 1 - client->buffer;
		searched = client->bytes;
		code = make_buffer_larger(client);
		if (code)
			return code;
		got = recv(client->fd, client->buffer + client->bytes,
			   client->room - client->bytes, 0);
		if (got == 0)
			return -ECONNRESET;
		if (got < 0 && errno != EINTR)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		client->bytes += got > 0 ? (size_t)got : 0;
	}
}

/* The next line, or NULL after saying that it makes no sense. */
static json_t *take_line(struct control_client *client, size_t bytes)
{
	json_error_t problem;
	json_t *answer;

	answer = json_loadb(client->buffer, bytes, 0, &problem);
	client->bytes -= bytes;
	memmove(client->buffer, client->buffer + bytes, client->bytes);
	if (!json_is_object(answer)) {
		complain(client, "the gateway's answer makes no sense",
			 problem.text);
		json_decref(answer);
		return NULL;
	}
	return answer;
}

json_t *control_client_ask(struct control_client *client, const char *command,
			   const char *argument)
{
	int code = send_request(client, command, argument);
	ssize_t bytes = code ? code : read_line(client);

	if (bytes >= 0)
		return take_line(client, (size_t)bytes);
	complain(client, "the gateway did not answer",
		 bytes == -EINVAL ? "the request is not UTF-8"
				  : strerror((int)-bytes));
	return NULL;
}

json_t *control_client_next(struct control_client *client)
{
	const struct timeval endless = {.tv_sec = 0};
	ssize_t bytes;

	setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &endless,
		   sizeof(endless));
	bytes = read_line(client);
	if (bytes >= 0)
		return take_line(client, (size_t)bytes);
	complain(client, "the gateway tells no more",
		 bytes == -ECONNRESET ? NULL : strerror((int)-bytes));
	return NULL;
}

/* What it says why it did not. */
static void complain_of(const struct control_client *client,
			const json_t *answer)
{
	const char *error = json_string_value(json_object_get(answer, "error"));
	const json_t *lines = json_object_get(answer, "lines");

	if (error)
		complain(client, error, NULL);
	for (size_t i = 0; i < json_array_size(lines); i++)
		complain(client, json_string_value(json_array_get(lines, i)),
			 NULL);
}

json_t *control_client_agreed(const struct control_client *client,
			      json_t *answer)
{
	if (!answer || json_is_true(json_object_get(answer, "ok")))
		return answer;
	complain_of(client, answer);
	json_decref(answer);
	return NULL;
}

json_t *control_client_do(const struct command_options *options,
			  const char *command, const char *argument)
{
	struct control_client client;
	json_t *answer = NULL;

	if (control_client_open(&client, options) == 0)
		answer = control_client_agreed(
			&client,
			control_client_ask(&client, command, argument));
	control_client_close(&client);
	return answer;
}
