/* SPDX-License-Identifier: MIT */
#include "sdp_query.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bluetooth/bluetooth.h>
#include <bluetooth/l2cap.h>
#include <bluetooth/sdp.h>
#include <event2/event.h>

#include "acl.h"
#include "bdaddr.h"
#include "bt_port.h"
#include "bt_socket.h"
#include "controller.h"
#include "error.h"
#include "loop.h"
#include "sdp_transaction.h"
#include "socket.h"

struct sdp_query {
	struct loop *loop;
	struct address_bluetooth adapter; /* asked by it; all zero: any */
	struct address_bluetooth device;
	struct connector *connector; /* while it connects, then NULL */
	int fd; /* -1 until it is connected */
	struct event *readable;
	bool is_closing; /* the device closed; an answer may be queued yet */
	struct sdp_transaction transaction;
	struct loop_task end_task;
	int code;
	struct error error;
	sdp_query_done_cb done;
	void *arg;
};

static void query_free(struct sdp_query *query)
{
	loop_cancel(query->loop, &query->end_task);
	acl_close_connecting(query->loop, connector_release(query->connector));
	if (query->readable)
		event_free(query->readable);
	if (query->fd >= 0)
		close(query->fd);
	sdp_transaction_clear(&query->transaction);
	free(query);
}

/* The only way out, but for being cancelled. */
static void run_end(void *arg)
{
	struct sdp_query *query = arg;
	const sdp_query_done_cb done = query->done;
	void *const done_arg = query->arg;
	struct sdp_service_found *list = NULL;
	char device[ADDRESS_BLUETOOTH_TEXT_BYTES];
	size_t count = 0;
	int code = query->code;
	struct error error;

	if (code == 0)
		code = sdp_parse_records(query->transaction.lists,
					 query->transaction.lists_bytes, &list,
					 &count, &query->error);
	error = query->error;
	if (code < 0) {
		address_bluetooth_format(&query->device, device);
		error_prefix(&error, code, "%s", device);
	}
	query_free(query);
	done(code, list, count, &error, done_arg);
	free(list);
}

/* The error's text is set, if it is one. */
static void query_end(struct sdp_query *query, int code)
{
	if (query->readable)
		event_del(query->readable);
	query->code = code;
	loop_defer(query->loop, &query->end_task);
}

/* ---- asking and being answered ------------------------------------------- */

static int closed_error(int code, struct error *error)
{
	switch (-code) {
	case ECONNRESET:
	case EPIPE:
	case ENOTCONN:
		return error_set(error, -ECONNRESET,
				 "the device closed the connection before it "
				 "had said which services it has");
	default:
		return error_set(error, code,
				 "the link broke before the device had said "
				 "which services it has: %s",
				 strerror(-code));
	}
}

/*
 * One small packet, sent only after the last one was answered: the socket's
 * buffer always has room for it, whatever the device does.
 */
static void send_request(struct sdp_query *query)
{
	uint8_t request[SDP_REQUEST_MAX_BYTES];
	size_t bytes = sdp_transaction_format_request(&query->transaction,
						      request);

	if (send(query->fd, request, bytes, MSG_NOSIGNAL) < 0)
		query_end(query, closed_error(-errno, &query->error));
}

static void take_answer(struct sdp_query *query, const uint8_t *data,
			size_t bytes)
{
	int code = sdp_transaction_take(&query->transaction, data, bytes,
					&query->error);

	if (code == SDP_ANSWER_CONTINUED)
		send_request(query);
	else
		query_end(query, code == SDP_ANSWER_WHOLE ? 0 : code);
}

static bool is_hung_up(int fd)
{
	struct pollfd pollfd = {.fd = fd, .events = POLLRDHUP};

	return poll(&pollfd, 1, 0) == 1;
}

/*
 * 0 from a SOCK_SEQPACKET socket is an empty packet or the end. When L2CAP
 * closes, the first recv says 0 although packets are still queued, which the
 * next ones bring (6.1, 6.12).
 */
static void query_readable(evutil_socket_t fd, short what, void *arg)
{
	struct sdp_query *query = arg;
	uint8_t *buffer = query->loop->buffer;
	ssize_t got = recv(fd, buffer, query->loop->buffer_bytes, 0);

	if (got > 0) {
		take_answer(query, buffer, (size_t)got);
	} else if (got < 0 && errno != EAGAIN && errno != EINTR) {
		query_end(query, closed_error(-errno, &query->error));
	} else if (!is_hung_up(fd)) {
		if (got == 0)
			take_answer(query, buffer, 0);
	} else if (got == 0 && !query->is_closing) {
		query->is_closing = true;
	} else {
		query_end(query, closed_error(-ECONNRESET, &query->error));
	}
}

/* @fd is the query's now. */
static void query_start(struct sdp_query *query, int fd)
{
	query->fd = fd;
	query->readable = event_new(query->loop->base, fd, EV_READ | EV_PERSIST,
				    query_readable, query);
	if (!query->readable || event_add(query->readable, NULL)) {
		query_end(query, error_set(&query->error, -ENOMEM,
					   "no memory to ask the device"));
		return;
	}
	send_request(query);
}

/* ---- connecting ------------------------------------------------------------ */

static int connect_error(int code, const struct address_bluetooth *adapter,
			 struct error *error)
{
	if (bt_socket_is_missing(code, error))
		return code;
	switch (-code) {
	case EHOSTDOWN:
	case ETIMEDOUT:
		return error_set(error, code,
				 "the device does not answer: it is off, or "
				 "out of range");
	case EHOSTUNREACH:
		return controller_unreachable(adapter, error);
	case ECONNREFUSED:
		return error_set(error, code,
				 "the device refuses to be asked for its "
				 "services");
	case ECONNRESET: /* a link that was just closing (6.12) */
	case EBUSY:
		return error_set(error, -EBUSY,
				 "the link to the device is busy; try again");
	case EACCES: /* bt_to_errno: authentication failure, key missing */
	case EBADE:
		return error_set(error, code,
				 "the device refuses this machine's key; "
				 "remove the pairing at both ends, and pair "
				 "again");
	default:
		return error_set(error, code,
				 "cannot ask the device for its services: %s",
				 strerror(-code));
	}
}

static void query_connected(int fd, int code, void *arg)
{
	struct sdp_query *query = arg;

	query->connector = NULL;
	if (fd < 0)
		query_end(query,
			  connect_error(code, &query->adapter, &query->error));
	else
		query_start(query, fd);
}

static struct sockaddr_l2 to_sockaddr(const struct address_bluetooth *address,
				      uint16_t psm)
{
	struct sockaddr_l2 out = {
		.l2_family = AF_BLUETOOTH,
		.l2_psm = htobs(psm),
		.l2_bdaddr_type = BDADDR_BREDR,
	};

	bdaddr_from_address(address, &out.l2_bdaddr);
	return out;
}

/*
 * A socket from @adapter, or -errno. Its security stays as it is, low: the
 * kernel then asks nothing of a link for PSM 1, as devices expect it.
 */
static int open_socket(const struct address_bluetooth *adapter)
{
	int fd = socket(AF_BLUETOOTH,
			SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC,
			BTPROTO_L2CAP);
	int code;

	if (fd < 0)
		return -errno;
	code = bt_port_bind_dialling(fd, adapter);
	if (code == 0)
		return fd;
	close(fd);
	return code;
}

static struct sdp_query *query_alloc(struct loop *loop,
				     const struct address_bluetooth *device,
				     const struct address_uuid *uuid,
				     sdp_query_done_cb done, void *arg)
{
	const struct address_uuid root = address_uuid_from_short(
		PUBLIC_BROWSE_GROUP);
	struct sdp_query *query = calloc(1, sizeof(*query));

	if (!query)
		return NULL;
	query->loop = loop;
	query->device = *device;
	query->fd = -1;
	query->done = done;
	query->arg = arg;
	query->end_task = (struct loop_task){.run = run_end, .arg = query};
	sdp_transaction_init(&query->transaction, uuid ? uuid : &root);
	return query;
}

struct sdp_query *sdp_query_new_on_fd(struct loop *loop, int fd,
				      const struct address_bluetooth *device,
				      const struct address_uuid *uuid,
				      sdp_query_done_cb done, void *arg)
{
	struct sdp_query *query = query_alloc(loop, device, uuid, done, arg);

	if (query)
		query_start(query, fd);
	else
		close(fd);
	return query;
}

struct sdp_query *sdp_query_new(struct loop *loop,
				const struct address_bluetooth *adapter,
				const struct address_bluetooth *device,
				const struct address_uuid *uuid,
				sdp_query_done_cb done, void *arg)
{
	struct sdp_query *query = query_alloc(loop, device, uuid, done, arg);
	struct sockaddr_l2 remote = to_sockaddr(device, SDP_PSM);
	int fd;

	if (!query)
		return NULL;
	query->adapter = *adapter;
	fd = open_socket(adapter);
	if (fd < 0) {
		query_end(query, connect_error(fd, adapter, &query->error));
		return query;
	}
	query->connector = connector_new(loop, fd, (struct sockaddr *)&remote,
					 sizeof(remote), query_connected,
					 query);
	if (!query->connector) {
		query_free(query);
		errno = ENOMEM;
		return NULL;
	}
	return query;
}

void sdp_query_cancel(struct sdp_query *query)
{
	if (query)
		query_free(query);
}
