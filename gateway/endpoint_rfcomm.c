/* SPDX-License-Identifier: MIT */
/*
 * rfcomm: Bluetooth's serial link. Own listening sockets with deferred setup:
 * a phone is told that it is connected only once it is admitted.
 */
#include "endpoint.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include <bluetooth/bluetooth.h>
#include <bluetooth/rfcomm.h>

#include "address_endpoint.h"
#include "controller.h"
#include "error.h"
#include "holder.h"
#include "log.h"
#include "loop.h"
#include "socket.h"

#define CHANNEL_MIN 1
#define CHANNEL_MAX 30
/* The kernel refuses phones beyond this many that wait to be accepted. */
#define BACKLOG 64
/*
 * A phone that pairs first stays in BT_CONFIG for as long as its user takes;
 * the kernel itself gives up on the channel after RFCOMM_CONN_TIMEOUT, 30 s,
 * and on authentication after 25 s.
 */
#define SETUP_DEADLINE_MS 60000
#define SETUP_POLL_FIRST_MS 2
#define SETUP_POLL_MAX_MS 250

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

/* ---- phones whose link is still being set up ------------------------------ */

TAILQ_HEAD(rfcomm_setup_list, rfcomm_setup);

struct rfcomm_listener {
	struct listener listener;
	struct loop *loop;
	struct acceptor *acceptor;
	struct rfcomm_setup_list setups;
	listener_client_cb client_cb;
	void *arg;
};

/*
 * A socket in BT_CONFIG: getpeername says ENOTCONN, and poll says nothing when
 * that changes (seen on 6.12), so a timer asks.
 */
struct rfcomm_setup {
	TAILQ_ENTRY(rfcomm_setup) link;
	struct rfcomm_listener *listener;
	int fd;
	struct event *timer;
	unsigned int wait_ms;
	unsigned int waited_ms;
};

static void setup_free(struct rfcomm_setup *setup)
{
	TAILQ_REMOVE(&setup->listener->setups, setup, link);
	if (setup->timer)
		event_free(setup->timer);
	free(setup);
}

static void setup_wait(struct rfcomm_setup *setup)
{
	loop_start_timer(setup->timer, setup->wait_ms);
	setup->waited_ms += setup->wait_ms;
	setup->wait_ms *= 2;
	if (setup->wait_ms > SETUP_POLL_MAX_MS)
		setup->wait_ms = SETUP_POLL_MAX_MS;
}

/* A bdaddr_t has its octets the other way round. */
static void read_address(const bdaddr_t *address, struct address_bluetooth *out)
{
	for (size_t i = 0; i < sizeof(out->octets); i++)
		out->octets[i] = address->b[sizeof(out->octets) - 1 - i];
}

static void setup_done(struct rfcomm_setup *setup,
		       const struct sockaddr_rc *address)
{
	struct rfcomm_listener *listener = setup->listener;
	char peer[STREAM_PEER_BYTES];
	struct stream *stream;
	int fd = setup->fd;

	setup_free(setup);
	ba2str(&address->rc_bdaddr, peer);
	stream = socket_stream_new(&rfcomm_stream_ops, fd, peer);
	if (!stream) {
		close(fd);
		return;
	}
	stream->has_peer_address = true;
	read_address(&address->rc_bdaddr, &stream->peer_address);
	listener->client_cb(stream, listener->arg);
}

static void setup_poll(evutil_socket_t unused, short what, void *arg)
{
	struct rfcomm_setup *setup = arg;
	struct sockaddr_rc address = {0};
	socklen_t bytes = sizeof(address);
	struct pollfd hang_up = {.fd = setup->fd};

	if (getpeername(setup->fd, (struct sockaddr *)&address, &bytes) == 0) {
		setup_done(setup, &address);
		return;
	}
	if (errno == ENOTCONN && setup->waited_ms < SETUP_DEADLINE_MS &&
	    (poll(&hang_up, 1, 0) == 0)) {
		setup_wait(setup);
		return;
	}
	log_info("%s: a phone left, or did not finish pairing, before its "
		 "link was up",
		 setup->listener->listener.name);
	close(setup->fd);
	setup_free(setup);
}

static void rfcomm_accepted(int fd, void *arg)
{
	struct rfcomm_listener *listener = arg;
	struct rfcomm_setup *setup = calloc(1, sizeof(*setup));

	if (!setup) {
		close(fd);
		return;
	}
	setup->listener = listener;
	setup->fd = fd;
	setup->wait_ms = SETUP_POLL_FIRST_MS;
	TAILQ_INSERT_TAIL(&listener->setups, setup, link);
	setup->timer = evtimer_new(listener->loop->base, setup_poll, setup);
	if (!setup->timer) {
		close(fd);
		setup_free(setup);
		return;
	}
	setup_poll(-1, 0, setup);
}

/* ---- listening ----------------------------------------------------------- */

static void rfcomm_listener_close(struct listener *base)
{
	struct rfcomm_listener *listener = (struct rfcomm_listener *)base;
	struct rfcomm_setup *setup;

	while ((setup = TAILQ_FIRST(&listener->setups))) {
		close(setup->fd);
		setup_free(setup);
	}
	acceptor_free(listener->acceptor);
	free(listener);
}

static void fill_address(struct sockaddr_rc *out,
			 const struct address_bluetooth *adapter,
			 uint8_t channel)
{
	memset(out, 0, sizeof(*out));
	out->rc_family = AF_BLUETOOTH;
	out->rc_channel = channel;
	for (size_t i = 0; i < sizeof(adapter->octets); i++)
		out->rc_bdaddr.b[sizeof(adapter->octets) - 1 - i] =
			adapter->octets[i];
}

static int rfcomm_socket(void)
{
	int fd = socket(AF_BLUETOOTH,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			BTPROTO_RFCOMM);

	return fd < 0 ? -errno : fd;
}

static bool can_bind(const struct address_bluetooth *adapter, uint8_t channel)
{
	struct sockaddr_rc address;
	int fd = rfcomm_socket();
	bool result;

	fill_address(&address, adapter, channel);
	result = fd >= 0 &&
		 bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
	if (fd >= 0)
		close(fd);
	return result;
}

/*
 * Whether the channel is free on the chosen adapter and on all that overlap
 * with it. The kernel compares one bound address only, and a listener on one
 * adapter's address silently takes the phones of a listener on all of them.
 */
static bool is_channel_free(const struct address_bluetooth *chosen,
			    uint8_t channel)
{
	const struct address_bluetooth any = {{0}};
	struct address_bluetooth adapters[CONTROLLERS_MAX];
	bool is_any = !memcmp(chosen, &any, sizeof(any));
	size_t count = is_any ? controller_list(adapters) : 0;

	if (!can_bind(&any, channel) || !can_bind(chosen, channel))
		return false;
	for (size_t i = 0; i < count; i++)
		if (!can_bind(&adapters[i], channel))
			return false;
	return true;
}

static int bind_channel(int fd, const struct address_bluetooth *adapter,
			uint8_t channel)
{
	struct sockaddr_rc address;

	if (!is_channel_free(adapter, channel))
		return -EADDRINUSE;
	fill_address(&address, adapter, channel);
	return bind(fd, (struct sockaddr *)&address, sizeof(address)) ? -errno
								      : 0;
}

/*
 * The channel bound: the fixed one, or the lowest that is free and nobody has
 * reserved; or -errno.
 */
static int choose_channel(int fd, const struct address_bluetooth *adapter,
			  uint8_t fixed, uint32_t reserved)
{
	uint8_t first = fixed ? fixed : CHANNEL_MIN;
	uint8_t last = fixed ? fixed : CHANNEL_MAX;
	int code = -EADDRINUSE;

	for (uint8_t channel = first; channel <= last; channel++) {
		if (!fixed && reserved & 1u << channel)
			continue;
		code = bind_channel(fd, adapter, channel);
		if (code != -EADDRINUSE)
			return code ? code : channel;
	}
	return code;
}

static int start_listening(int fd, enum security_level level)
{
	static const uint8_t levels[] = {
		[SECURITY_LEVEL_LOW] = BT_SECURITY_LOW,
		[SECURITY_LEVEL_MEDIUM] = BT_SECURITY_MEDIUM,
		[SECURITY_LEVEL_HIGH] = BT_SECURITY_HIGH,
		[SECURITY_LEVEL_FIPS] = BT_SECURITY_FIPS,
	};
	const struct bt_security security = {.level = levels[level]};
	const int on = 1;

	if (setsockopt(fd, SOL_BLUETOOTH, BT_SECURITY, &security,
		       sizeof(security)) < 0 ||
	    setsockopt(fd, SOL_BLUETOOTH, BT_DEFER_SETUP, &on, sizeof(on)) <
		    0 ||
	    listen(fd, BACKLOG) < 0)
		return -errno;
	return 0;
}

static int listen_error(int code, uint8_t channel, struct error *error)
{
	char holder[HOLDER_TEXT_BYTES];

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
	case EAFNOSUPPORT:
	case EPROTONOSUPPORT:
		return error_set(
			error, code,
			"Bluetooth sockets are not to be had here: in a "
			"container, give it the host's network "
			"(--network host); else load RFCOMM with "
			"'modprobe rfcomm' (CONFIG_BT_RFCOMM)");
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
	static const struct listener_ops ops = {.close = rfcomm_listener_close};
	struct rfcomm_listener *listener;
	struct address_bluetooth adapter;
	int fd, channel, code;

	code = controller_choose(&settings->adapter, &adapter, error);
	if (code)
		return code;
	fd = rfcomm_socket();
	if (fd < 0)
		return listen_error(fd, address->rfcomm.channel, error);
	channel = choose_channel(fd, &adapter, address->rfcomm.channel,
				 settings->reserved_channels);
	code = channel < 0 ? channel : start_listening(fd, settings->security);
	if (code) {
		listen_error(code, address->rfcomm.channel, error);
		goto close_fd;
	}
	code = error_set(error, -ENOMEM, "out of memory");
	listener = calloc(1, sizeof(*listener));
	if (!listener)
		goto close_fd;
	TAILQ_INIT(&listener->setups);
	listener->listener.ops = &ops;
	listener->listener.protocol = SERVICE_PROTOCOL_RFCOMM;
	listener->listener.port = (uint16_t)channel;
	snprintf(listener->listener.name, sizeof(listener->listener.name),
		 "rfcomm:%d", channel);
	listener->loop = loop;
	listener->client_cb = client_cb;
	listener->arg = arg;
	listener->acceptor = acceptor_new(loop, fd, listener->listener.name,
					  rfcomm_accepted, listener);
	if (!listener->acceptor)
		goto free_listener;
	*out = &listener->listener;
	return 0;

free_listener:
	free(listener);
close_fd:
	close(fd);
	return code;
}

const struct endpoint_ops endpoint_rfcomm_ops = {
	.listen = rfcomm_listen,
};
