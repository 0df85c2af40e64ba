/* SPDX-License-Identifier: MIT */
/*
 * rfcomm: Bluetooth's serial link. Own listening sockets with deferred setup:
 * a phone is told that it is connected only once it is admitted.
 */
#include "endpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bluetooth/bluetooth.h>
#include <bluetooth/rfcomm.h>

#include "address_endpoint.h"
#include "address_ports.h"
#include "bdaddr.h"
#include "bt_listener.h"
#include "bt_port.h"
#include "bt_socket.h"
#include "controller.h"
#include "error.h"
#include "holder.h"
#include "remote.h"
#include "socket.h"

/* The kernel refuses phones beyond this many that wait to be accepted. */
#define BACKLOG 64

/* ---- streams ---------------------------------------------------------- */

/*
 * net/bluetooth/rfcomm/sock.c, rfcomm_sock_recvmsg: on a socket with deferred
 * setup the first recv authorises the channel and returns 0.
 */
static int rfcomm_admit(struct stream *stream)
{
	uint8_t byte;

	if (stream_is_hung_up(stream))
		return -ECONNRESET;
	return recv(stream->read_fd, &byte, 1, 0) < 0 ? -errno : 0;
}

static ssize_t rfcomm_read(struct stream *stream, void *buffer, size_t bytes)
{
	ssize_t got = socket_read(stream, buffer, bytes);

	/* A DISC from the peer: this is how RFCOMM says goodbye. */
	return got == -ECONNRESET ? 0 : got;
}

static ssize_t rfcomm_write(struct stream *stream, const void *buffer,
			    size_t bytes)
{
	ssize_t put = socket_write(stream, buffer, bytes);

	/* The same goodbye, met while writing; after it ENOTCONN. */
	return put == -ECONNRESET || put == -ENOTCONN ? -EPIPE : put;
}

static const struct stream_ops rfcomm_stream_ops = {
	.admit = rfcomm_admit,
	.read = rfcomm_read,
	.write = rfcomm_write,
	.close = socket_close,
};

/* ---- listening ----------------------------------------------------------- */

/*
 * A socket in BT_CONFIG, where security is still being seen to: ENOTCONN
 * (net/bluetooth/rfcomm/sock.c, rfcomm_sock_getname).
 */
static int rfcomm_check_setup(int fd, void *arg)
{
	struct sockaddr_rc address;
	socklen_t bytes = sizeof(address);

	if (getpeername(fd, (struct sockaddr *)&address, &bytes) == 0)
		return 0;
	return errno == ENOTCONN ? -EAGAIN : -errno;
}

static void rfcomm_ready(int fd, void *arg)
{
	struct bt_listener *listener = arg;
	struct sockaddr_rc address = {0};
	socklen_t bytes = sizeof(address);
	struct address_bluetooth phone;
	char peer[STREAM_PEER_BYTES];
	struct stream *stream;

	/* It answered a moment ago; unless the link went down since then. */
	if (getpeername(fd, (struct sockaddr *)&address, &bytes) < 0) {
		close(fd);
		return;
	}
	bdaddr_to_address(&address.rc_bdaddr, &phone);
	address_bluetooth_format(&phone, peer);
	stream = socket_stream_new(&rfcomm_stream_ops, fd, peer);
	if (stream) {
		stream->has_peer_address = true;
		stream->peer_address = phone;
	}
	socket_listener_give(&listener->base, stream, fd);
}

static void fill_address(struct sockaddr_rc *out,
			 const struct address_bluetooth *address,
			 uint8_t channel)
{
	memset(out, 0, sizeof(*out));
	out->rc_family = AF_BLUETOOTH;
	out->rc_channel = channel;
	bdaddr_from_address(address, &out->rc_bdaddr);
}

static int rfcomm_socket(void)
{
	return bt_socket_open(SOCK_STREAM, BTPROTO_RFCOMM);
}

static int bind_channel(int fd, const struct address_bluetooth *adapter,
			uint16_t channel)
{
	struct sockaddr_rc address;

	fill_address(&address, adapter, (uint8_t)channel);
	return bind(fd, (struct sockaddr *)&address, sizeof(address)) ? -errno
								      : 0;
}

static int start_listening(int fd, enum security_level level)
{
	const int on = 1;
	int code = bt_socket_set_security(fd, level);

	if (code)
		return code;
	if (setsockopt(fd, SOL_BLUETOOTH, BT_DEFER_SETUP, &on, sizeof(on)) <
		    0 ||
	    listen(fd, BACKLOG) < 0)
		return -errno;
	return 0;
}

static int listen_error(int code, uint8_t channel, struct error *error)
{
	char holder[HOLDER_TEXT_BYTES];

	if (bt_socket_is_missing(code, error))
		return code;
	switch (-code) {
	case EADDRINUSE:
		if (!channel)
			return error_set(error, code,
					 "all 30 RFCOMM channels are taken");
		holder_of_rfcomm_channel(channel, holder);
		return error_set(error, code,
				 "RFCOMM channel %u is held by %s; choose "
				 "another, or 'rfcomm:auto'",
				 channel, holder);
	default:
		return error_set(error, code,
				 "cannot listen on RFCOMM channel %u: %s",
				 channel, strerror(-code));
	}
}

static int rfcomm_listen(struct loop *loop,
			 const struct address_endpoint *address,
			 const struct endpoint_settings *settings,
			 listener_client_cb client_cb, void *arg,
			 struct listener **out, struct error *error)
{
	static const struct bt_listener_kind kind = {
		.protocol = SERVICE_PROTOCOL_RFCOMM,
		.check = rfcomm_check_setup,
		.ready = rfcomm_ready,
	};
	static const struct bt_port_kind port_kind = {
		.open = rfcomm_socket,
		.bind = bind_channel,
		.auto_min = ADDRESS_CHANNEL_MIN,
		.auto_max = ADDRESS_CHANNEL_MAX,
		.auto_step = 1,
	};
	const struct socket_listen listen = {loop, client_cb, arg};
	struct bt_listener *listener;
	struct address_bluetooth adapter;
	char name[STREAM_PEER_BYTES];
	int fd, channel, code;

	code = controller_choose(&settings->adapter, &adapter, error);
	if (code)
		return code;
	fd = rfcomm_socket();
	if (fd < 0)
		return listen_error(fd, address->rfcomm.channel, error);
	channel = bt_port_bind(&port_kind, fd, &adapter,
			       address->rfcomm.channel,
			       &settings->reserved_ports);
	code = channel < 0 ? channel : start_listening(fd, settings->security);
	if (code) {
		listen_error(code, address->rfcomm.channel, error);
		goto close_fd;
	}
	snprintf(name, sizeof(name), "rfcomm:%d", channel);
	code = bt_listener_new(&kind, &listen, sizeof(*listener), fd, name,
			       (uint16_t)channel, settings, &adapter, &listener,
			       error);
	if (code)
		goto close_fd;
	*out = &listener->base.listener;
	return 0;

close_fd:
	close(fd);
	return code;
}

/* ---- connecting ----------------------------------------------------------- */

static int rfcomm_open_link(const struct remote *remote,
			    const struct address_bluetooth *adapter,
			    const struct address_bluetooth *device,
			    uint16_t channel, struct sockaddr_storage *to,
			    socklen_t *to_bytes)
{
	int fd = rfcomm_socket();
	int code;

	if (fd < 0)
		return fd;
	code = bind_channel(fd, adapter, 0);
	if (code == 0)
		code = bt_socket_set_security(fd, remote->security);
	if (code) {
		close(fd);
		return code;
	}
	fill_address((struct sockaddr_rc *)to, device, (uint8_t)channel);
	*to_bytes = sizeof(struct sockaddr_rc);
	return fd;
}

static struct stream *rfcomm_stream(const struct remote *remote, int fd,
				    const char *peer)
{
	return socket_stream_new(&rfcomm_stream_ops, fd, peer);
}

static void rfcomm_target_close(struct target *target)
{
	remote_clear((struct remote *)target);
	free(target);
}

static int rfcomm_open_target(struct loop *loop,
			      const struct address_endpoint *address,
			      const struct endpoint_settings *settings,
			      struct target **out, struct error *error)
{
	static const struct target_ops ops = {
		.dial = remote_dial,
		.close = rfcomm_target_close,
	};
	static const struct remote_ops remote_ops = {
		.protocol = SDP_FOUND_PROTOCOL_RFCOMM,
		.port_word = "channel",
		.open = rfcomm_open_link,
		.stream = rfcomm_stream,
	};
	const struct endpoint_rfcomm *rfcomm = &address->rfcomm;
	struct remote *remote;
	int fd = rfcomm_socket();
	int code;

	if (fd < 0 && bt_socket_is_missing(fd, error))
		return fd;
	if (fd >= 0)
		close(fd);
	remote = calloc(1, sizeof(*remote));
	if (!remote)
		return error_set(error, -ENOMEM, "out of memory");
	code = remote_init(remote, &remote_ops, loop, address, &rfcomm->device,
			   rfcomm->channel, &rfcomm->service, settings, error);
	if (code) {
		rfcomm_target_close(&remote->target);
		return code;
	}
	remote->target.ops = &ops;
	*out = &remote->target;
	return 0;
}

const struct endpoint_ops endpoint_rfcomm_ops = {
	.listen = rfcomm_listen,
	.open_target = rfcomm_open_target,
};
