/* SPDX-License-Identifier: MIT */
#include "sdp_local.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <bluetooth/sdp.h>
#include <event2/event.h>

#include "error.h"
#include "loop.h"

#define ANSWER_S 10
#define REQUEST_MAX_BYTES 2048
/* A PDU's header: identifier, transaction, length of the rest. */
#define HEADER_BYTES 5
#define HANDLE_BYTES 4

struct sdp_local {
	struct loop *loop;
	int fd;
	bool is_up;
	struct event *event;
	uint8_t answer[HEADER_BYTES + HANDLE_BYTES];
	size_t answer_bytes;
	sdp_local_cb done;
	void *arg;
	struct loop_task fail_task; /* what failed before the loop ran */
	int code;
	struct error error;
};

static int connect_server(const char *path, struct error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, code;

	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(error, -ENAMETOOLONG, "%.120s: too long",
				 path);
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(error, -errno, "socket: %s", strerror(errno));
	/* At once, or not: EAGAIN is a full backlog (unix(7)). */
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		code = error_set(error, -errno, "%.120s: %s", path,
				 strerror(errno));
		close(fd);
		return code;
	}
	return fd;
}

static int send_request(int fd, const uint8_t *record, size_t bytes,
			struct error *error)
{
	uint8_t request[REQUEST_MAX_BYTES];
	size_t rest = 1 + bytes; /* flags, record */
	ssize_t sent;

	if (HEADER_BYTES + rest > sizeof(request))
		return error_set(error, -EMSGSIZE, "the record is too long");
	request[0] = SDP_SVC_REGISTER_REQ;
	request[1] = 0;
	request[2] = 1;
	request[3] = (uint8_t)(rest >> 8);
	request[4] = (uint8_t)rest;
	request[5] = 0; /* it goes when the connection does */
	memcpy(request + 6, record, bytes);
	/* A new socket's buffer takes it whole. */
	sent = send(fd, request, HEADER_BYTES + rest, MSG_NOSIGNAL);
	if (sent < 0)
		return error_set(error, -errno,
				 "writing to the local SDP server: %s",
				 strerror(errno));
	if ((size_t)sent != HEADER_BYTES + rest)
		return error_set(error, -EAGAIN,
				 "the local SDP server takes nothing");
	return 0;
}

static void run_fail(void *arg)
{
	struct sdp_local *local = arg;

	local->done(local->code, &local->error, local->arg);
}

static void fail(struct sdp_local *local, int code)
{
	if (local->event)
		event_del(local->event);
	local->code = code;
	loop_defer(local->loop, &local->fail_task);
}

/* The answer is whole, or it is clear that it will be none. */
static void take_answer(struct sdp_local *local)
{
	if (local->answer[0] != SDP_SVC_REGISTER_RSP ||
	    local->answer_bytes < sizeof(local->answer)) {
		fail(local, error_set(&local->error, -EPROTO,
				      "the local SDP server refuses the "
				      "record (answer 0x%02x)",
				      local->answer[0]));
		return;
	}
	local->is_up = true;
	event_del(local->event);
	event_add(local->event, NULL);
	local->done(0, &local->error, local->arg);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct sdp_local *local = arg;
	uint8_t unwanted;
	ssize_t bytes;

	if (what & EV_TIMEOUT) {
		fail(local, error_set(&local->error, -ETIMEDOUT,
				      "the local SDP server does not answer"));
		return;
	}
	bytes = local->is_up
			? recv(fd, &unwanted, 1, 0)
			: recv(fd, local->answer + local->answer_bytes,
			       sizeof(local->answer) - local->answer_bytes, 0);
	if (bytes < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (bytes <= 0 || local->is_up) {
		fail(local, error_set(&local->error, -ECONNRESET,
				      "the local SDP server has gone"));
		return;
	}
	local->answer_bytes += (size_t)bytes;
	if (local->answer_bytes == sizeof(local->answer) ||
	    local->answer[0] != SDP_SVC_REGISTER_RSP)
		take_answer(local);
}

struct sdp_local *sdp_local_new(struct loop *loop, const char *path,
				const uint8_t *record, size_t bytes,
				sdp_local_cb done, void *arg)
{
	static const struct timeval deadline = {.tv_sec = ANSWER_S};
	struct sdp_local *local = calloc(1, sizeof(*local));
	int code;

	if (!local)
		return NULL;
	local->loop = loop;
	local->done = done;
	local->arg = arg;
	local->fail_task = (struct loop_task){.run = run_fail, .arg = local};
	local->fd = connect_server(path, &local->error);
	if (local->fd < 0) {
		fail(local, local->fd);
		return local;
	}
	local->event = event_new(loop->base, local->fd, EV_READ | EV_PERSIST,
				 on_event, local);
	if (!local->event) {
		sdp_local_free(local);
		errno = ENOMEM;
		return NULL;
	}
	code = send_request(local->fd, record, bytes, &local->error);
	if (code < 0)
		fail(local, code);
	else
		event_add(local->event, &deadline);
	return local;
}

void sdp_local_free(struct sdp_local *local)
{
	if (!local)
		return;
	loop_cancel(local->loop, &local->fail_task);
	if (local->event)
		event_free(local->event);
	if (local->fd >= 0)
		close(local->fd);
	free(local);
}
