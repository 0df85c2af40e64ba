/* SPDX-License-Identifier: MIT */
/*
 * l2cap: the layer below RFCOMM, as a stream of bytes or of records. With
 * retransmission (ERTM, the default) it slows down a sender and loses nothing;
 * in basic and in streaming mode it does neither.
 *
 * net/bluetooth/l2cap_sock.c and l2cap_core.c, Linux 6.12:
 * - A write longer than the outgoing MTU is EMSGSIZE in every mode, also on a
 *   SOCK_STREAM socket.
 * - An admitted client is still in BT_CONFIG for a while: MTU and mode are not
 *   agreed on yet, and a write is ENOTCONN.
 * - When a SOCK_SEQPACKET channel closes, the first recv says 0 although
 *   records are queued, which the next ones bring. An empty record is 0, too.
 * - What finds the receive queue full in a mode without flow control is
 *   dropped, and counted in sk_drops.
 * - close(2) of an ERTM channel waits up to 10 s for what is not acknowledged.
 */
#include "endpoint.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bluetooth/bluetooth.h>
#include <bluetooth/l2cap.h>

#include "acl.h"
#include "address_endpoint.h"
#include "address_ports.h"
#include "bdaddr.h"
#include "bt_listener.h"
#include "bt_port.h"
#include "bt_socket.h"
#include "controller.h"
#include "error.h"
#include "holder.h"
#include "log.h"
#include "loop.h"
#include "remote.h"
#include "socket.h"

#define BACKLOG 64
/* For bursts in modes without flow control; the kernel has a limit of its own. */
#define RECEIVE_BUFFER_BYTES (1024 * 1024)
/* Empty records that one read passes over. */
#define SKIPS_MAX 64
/* Of a stream, in one packet: what surely fits an empty send buffer. */
#define PIECE_MAX_BYTES 16384

/* ---- streams ---------------------------------------------------------- */

/* What the text of an end says that its links must know. */
struct l2cap_link {
	struct loop *loop;
	enum l2cap_mode mode; /* asked for */
	uint16_t mtu; /* incoming; 0: the kernel's */
	unsigned int flush_timeout_ms;
	bool is_seqpacket;
};

struct l2cap_stream {
	struct stream stream;
	struct l2cap_link link;
	bool is_agreed; /* MTU and mode are known */
	uint16_t mtu; /* outgoing */
	uint32_t drops; /* as of the last read */
	bool has_lost; /* what comes next is not what was sent next */
	bool has_told; /* of that */
	struct acl_flush *flush;
	bool is_flush_answered;
};

static struct l2cap_stream *of(struct stream *stream)
{
	return (struct l2cap_stream *)stream;
}

static void flush_done(int code, const struct error *error, void *arg)
{
	struct l2cap_stream *self = arg;

	self->is_flush_answered = true;
	if (code)
		log_warning("%s: the flush timeout could not be set: %s; "
			    "nothing is flushed on this link",
			    self->stream.peer, error->text);
	else
		log_debug("%s: what could not be sent for %u ms is dropped",
			  self->stream.peer, self->link.flush_timeout_ms);
}

/*
 * The flushing itself is the controller's: it drops what the kernel has marked as
 * such (the packet boundary flag of HCI, Vol 4 part E, 5.4.2) after that time.
 */
static void start_flushing(struct l2cap_stream *self)
{
	const int fd = self->stream.read_fd;
	const uint32_t flushable = BT_FLUSHABLE_ON;
	struct error error;

	if (setsockopt(fd, SOL_BLUETOOTH, BT_FLUSHABLE, &flushable,
		       sizeof(flushable)) == 0)
		self->flush = acl_flush_new(self->link.loop, fd,
					    self->link.flush_timeout_ms,
					    flush_done, self);
	if (!self->flush)
		flush_done(error_set(&error, -errno, "%s", strerror(errno)),
			   &error, self);
}

/*
 * Where one end asks for ERTM and the other for streaming mode, Linux gives each
 * what the other one asked for (6.12): one waits for acknowledgements that the
 * other does not send. A device with another stack may really have agreed.
 */
static void take_mode(struct l2cap_stream *self, uint8_t mode)
{
	const enum l2cap_mode asked = self->link.mode;

	if (mode != L2CAP_MODE_ERTM)
		self->stream.has_no_flow_control = true;
	if (mode == L2CAP_MODE_BASIC && asked != L2CAP_LINK_MODE_BASIC)
		log_warning("%s: the device knows basic mode only: without "
			    "flow control, a slow end ends the session",
			    self->stream.peer);
	else if (mode == L2CAP_MODE_STREAMING && asked == L2CAP_LINK_MODE_ERTM)
		log_warning("%s: the device asked for streaming mode, this end "
			    "for ERTM; if it stalls, set mode=streaming",
			    self->stream.peer);
	else if (mode == L2CAP_MODE_ERTM && asked == L2CAP_LINK_MODE_STREAMING)
		log_warning("%s: the device asked for ERTM, this end for "
			    "streaming mode; if it stalls, set mode=ertm",
			    self->stream.peer);
}

/* What both sides agreed on, once they have. */
static bool is_agreed(struct l2cap_stream *self)
{
	const int fd = self->stream.read_fd;
	struct l2cap_conninfo info;
	struct l2cap_options options;
	socklen_t info_bytes = sizeof(info), bytes = sizeof(options);

	if (self->is_agreed)
		return true;
	if (getsockopt(fd, SOL_L2CAP, L2CAP_CONNINFO, &info, &info_bytes) < 0 ||
	    getsockopt(fd, SOL_L2CAP, L2CAP_OPTIONS, &options, &bytes) < 0)
		return false;
	self->is_agreed = true;
	self->mtu = options.omtu;
	take_mode(self, options.mode);
	if (self->link.flush_timeout_ms)
		start_flushing(self);
	return true;
}

/* As for rfcomm: the first recv answers the device. */
static int l2cap_admit(struct stream *stream)
{
	uint8_t byte;

	if (stream_is_hung_up(stream))
		return -ECONNRESET;
	if (recv(stream->read_fd, &byte, 1, 0) < 0 && errno != EAGAIN)
		return -errno;
	return 0;
}

/* What the kernel dropped was sent after all that it still has. */
static void look_for_loss(struct l2cap_stream *self)
{
	uint32_t info[SK_MEMINFO_VARS] = {0};
	socklen_t bytes = sizeof(info);

	if (!self->stream.has_no_flow_control ||
	    getsockopt(self->stream.read_fd, SOL_SOCKET, SO_MEMINFO, info,
		       &bytes) < 0)
		return;
	if (info[SK_MEMINFO_DROPS] != self->drops)
		self->has_lost = true;
	self->drops = info[SK_MEMINFO_DROPS];
}

/* Once; what is still there may have come after the gap. */
static bool tells_of_loss(struct l2cap_stream *self)
{
	const bool is_first = self->has_lost && !self->has_told;

	self->has_told = self->has_lost;
	return is_first;
}

/* The end in good order is ECONNRESET on a stream, as it is on RFCOMM. */
static ssize_t l2cap_read(struct stream *stream, void *buffer, size_t bytes)
{
	ssize_t got;

	if (tells_of_loss(of(stream)))
		return -ENOBUFS;
	is_agreed(of(stream));
	got = socket_read(stream, buffer, bytes);
	look_for_loss(of(stream));
	return got == -ECONNRESET ? 0 : got;
}

static bool has_left(int fd)
{
	struct pollfd hang_up = {.fd = fd, .events = POLLRDHUP};

	return poll(&hang_up, 1, 0) == 1 &&
	       hang_up.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

static ssize_t l2cap_read_record(struct stream *stream, void *buffer,
				 size_t bytes)
{
	const int fd = stream->read_fd;
	bool has_said_end = false;

	if (tells_of_loss(of(stream)))
		return -ENOBUFS;
	is_agreed(of(stream));
	look_for_loss(of(stream));
	for (int skips = 0; skips < SKIPS_MAX; skips++) {
		/* MSG_TRUNC gives the length that it really has. */
		ssize_t got = recv(fd, buffer, bytes, MSG_TRUNC);

		if (got > 0)
			return (size_t)got <= bytes ? got : -EMSGSIZE;
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN && !has_said_end)
			return -EAGAIN;
		if (got < 0 && errno != ECONNRESET && errno != EAGAIN)
			return -errno;
		if (!has_left(fd))
			continue; /* an empty record */
		/* Once it says so, and once more when nothing is left. */
		if (has_said_end)
			return 0;
		has_said_end = true;
	}
	return -EAGAIN;
}

/*
 * Closed is ENOTCONN, and so is not agreed yet: then POLLOUT tells, because
 * bt_sock_poll has none before that.
 */
static ssize_t write_failed(const struct stream *stream, ssize_t code)
{
	if (code == -ENOTCONN && !stream_is_hung_up(stream))
		return -EAGAIN;
	return code == -ECONNRESET || code == -ENOTCONN ? -EPIPE : code;
}

static size_t unsent_bytes(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = {0};
	socklen_t bytes = sizeof(info);

	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &bytes) < 0)
		return 0;
	return info[SK_MEMINFO_WMEM_ALLOC];
}

/*
 * A record goes to the controller in pieces, each of which the send buffer
 * counts with all that the kernel adds. One that does not fit when nothing else
 * is in it is EAGAIN for ever, and POLLOUT says that there is room (6.12).
 */
static ssize_t write_whole(struct stream *stream, const void *buffer,
			   size_t bytes)
{
	ssize_t put = socket_write(stream, buffer, bytes);

	if (put != -EAGAIN || unsent_bytes(stream->write_fd))
		return put;
	/* What was in it may have gone since. */
	put = socket_write(stream, buffer, bytes);
	return put == -EAGAIN ? -EMSGSIZE : put;
}

static ssize_t l2cap_write(struct stream *stream, const void *buffer,
			   size_t bytes)
{
	struct l2cap_stream *self = of(stream);
	size_t done = 0, piece_max;

	if (!is_agreed(self))
		return write_failed(stream, -ENOTCONN);
	piece_max = self->mtu < PIECE_MAX_BYTES ? self->mtu : PIECE_MAX_BYTES;
	while (done < bytes) {
		size_t left = bytes - done;
		ssize_t put = socket_write(stream,
					   (const uint8_t *)buffer + done,
					   left < piece_max ? left : piece_max);

		if (put < 0)
			return done ? (ssize_t)done : write_failed(stream, put);
		done += (size_t)put;
	}
	return (ssize_t)done;
}

static int l2cap_write_record(struct stream *stream, const void *buffer,
			      size_t bytes)
{
	ssize_t put;

	if (!is_agreed(of(stream)))
		return (int)write_failed(stream, -ENOTCONN);
	put = write_whole(stream, buffer, bytes);
	return put < 0 ? (int)write_failed(stream, put) : 0;
}

/*
 * What is not sent, or with ERTM not acknowledged: closing would wait for it.
 * TIOCOUTQ does not tell, it gives the room that is left (bt_sock_ioctl, 6.12).
 */
static size_t l2cap_finish(struct stream *stream, bool is_stopping)
{
	return stream_is_hung_up(stream) ? 0 : unsent_bytes(stream->write_fd);
}

static const char *l2cap_end_reason(const struct stream *stream)
{
	const struct l2cap_stream *self = (const struct l2cap_stream *)stream;

	return self->has_told ? "the device sends faster than it can be read, "
				"and the link has no flow control: the kernel "
				"dropped some of it"
			      : NULL;
}

static void l2cap_close(struct stream *stream, enum stream_close how)
{
	const int fd = stream->read_fd;

	if (of(stream)->flush && !of(stream)->is_flush_answered)
		log_debug("%s: the session is over before the controller has "
			  "answered whether it sets the flush timeout",
			  stream->peer);
	acl_flush_free(of(stream)->flush);
	/* With ERTM it waits for what is not acknowledged, up to 10 s. */
	if (l2cap_finish(stream, false))
		loop_close_apart(of(stream)->link.loop, fd);
	else
		close(fd);
	free(stream);
}

static const struct stream_ops stream_ops = {
	.admit = l2cap_admit,
	.read = l2cap_read,
	.write = l2cap_write,
	.finish = l2cap_finish,
	.end_reason = l2cap_end_reason,
	.close = l2cap_close,
};

static const struct stream_ops record_stream_ops = {
	.admit = l2cap_admit,
	.read = l2cap_read_record,
	.write = l2cap_write,
	.write_record = l2cap_write_record,
	.finish = l2cap_finish,
	.end_reason = l2cap_end_reason,
	.close = l2cap_close,
};

static struct stream *l2cap_stream_new(const struct l2cap_link *link, int fd,
				       const char *peer)
{
	struct stream *stream = socket_stream_extend(
		link->is_seqpacket ? &record_stream_ops : &stream_ops,
		sizeof(struct l2cap_stream), fd, peer);

	if (!stream)
		return NULL;
	of(stream)->link = *link;
	stream->has_no_flow_control = link->mode != L2CAP_LINK_MODE_ERTM;
	return stream;
}

/* ---- sockets ------------------------------------------------------------ */

static struct l2cap_link link_of(struct loop *loop,
				 const struct endpoint_l2cap *l2cap)
{
	return (struct l2cap_link){
		.loop = loop,
		.mode = l2cap->mode,
		.mtu = l2cap->mtu,
		.flush_timeout_ms = l2cap->flush_timeout_ms,
		.is_seqpacket = l2cap->is_seqpacket,
	};
}

/* Of either type a socket can be in every mode (l2cap_sock_setsockopt_old). */
static int set_options(int fd, const struct l2cap_link *link)
{
	static const uint8_t modes[] = {
		[L2CAP_LINK_MODE_ERTM] = L2CAP_MODE_ERTM,
		[L2CAP_LINK_MODE_STREAMING] = L2CAP_MODE_STREAMING,
		[L2CAP_LINK_MODE_BASIC] = L2CAP_MODE_BASIC,
	};
	struct l2cap_options options;
	socklen_t bytes = sizeof(options);

	if (getsockopt(fd, SOL_L2CAP, L2CAP_OPTIONS, &options, &bytes) < 0)
		return -errno;
	options.mode = modes[link->mode];
	if (link->mtu)
		options.imtu = link->mtu;
	/* Without end: until the link itself fails (Vol 3 part A, 5.4). */
	if (link->mode == L2CAP_LINK_MODE_ERTM)
		options.max_tx = 0;
	if (setsockopt(fd, SOL_L2CAP, L2CAP_OPTIONS, &options,
		       sizeof(options)) < 0)
		return -errno;
	return 0;
}

/* An accepted socket does not inherit it (l2cap_sock_init, 6.12). */
static void widen_buffer(int fd, const struct l2cap_link *link)
{
	const int bytes = RECEIVE_BUFFER_BYTES;

	if (link->mode != L2CAP_LINK_MODE_ERTM)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

static void fill_address(struct sockaddr_l2 *out,
			 const struct address_bluetooth *address, uint16_t psm)
{
	memset(out, 0, sizeof(*out));
	out->l2_family = AF_BLUETOOTH;
	out->l2_psm = htobs(psm);
	out->l2_bdaddr_type = BDADDR_BREDR;
	bdaddr_from_address(address, &out->l2_bdaddr);
}

static int l2cap_socket(void)
{
	return bt_socket_open(SOCK_SEQPACKET, BTPROTO_L2CAP);
}

static int bind_psm(int fd, const struct address_bluetooth *adapter,
		    uint16_t psm)
{
	struct sockaddr_l2 address;

	fill_address(&address, adapter, psm);
	return bind(fd, (struct sockaddr *)&address, sizeof(address)) ? -errno
								      : 0;
}

static int set_up(int fd, const struct l2cap_link *link,
		  enum security_level security)
{
	int code = set_options(fd, link);

	return code ? code : bt_socket_set_security(fd, security);
}

static int link_socket(const struct l2cap_link *link)
{
	return bt_socket_open(link->is_seqpacket ? SOCK_SEQPACKET : SOCK_STREAM,
			      BTPROTO_L2CAP);
}

static int check_flush(const struct endpoint_l2cap *l2cap, struct error *error)
{
	if (!l2cap->flush_timeout_ms || acl_may_flush())
		return 0;
	return error_set(error, -EPERM,
			 "flush-timeout needs the capability CAP_NET_RAW, "
			 "which btgate does not have; see PERMISSIONS in "
			 "btgate(8), or leave it out");
}

/* ---- listening ----------------------------------------------------------- */

struct l2cap_listener {
	struct bt_listener base;
	struct l2cap_link link;
	enum security_level security;
};

/*
 * Answering a device admits it whether its authentication has ended or not
 * (__l2cap_connect_rsp_defer), and nothing on the socket tells: the link does.
 */
static int l2cap_check_setup(int fd, void *arg)
{
	const struct l2cap_listener *listener = arg;

	return acl_check_security(fd, listener->security);
}

static void l2cap_ready(int fd, void *arg)
{
	struct l2cap_listener *listener = arg;
	struct sockaddr_l2 address = {0};
	socklen_t bytes = sizeof(address);
	struct address_bluetooth device;
	char peer[STREAM_PEER_BYTES];
	struct stream *stream;

	if (getpeername(fd, (struct sockaddr *)&address, &bytes) < 0) {
		close(fd); /* it has just gone */
		return;
	}
	widen_buffer(fd, &listener->link);
	bdaddr_to_address(&address.l2_bdaddr, &device);
	address_bluetooth_format(&device, peer);
	stream = l2cap_stream_new(&listener->link, fd, peer);
	if (stream) {
		stream->has_peer_address = true;
		stream->peer_address = device;
	}
	socket_listener_give(&listener->base.base, stream, fd);
}

static int listen_error(int code, uint16_t psm, struct error *error)
{
	char holder[HOLDER_TEXT_BYTES];

	if (bt_socket_is_missing(code, error))
		return code;
	switch (-code) {
	case EADDRINUSE:
		if (!psm)
			return error_set(error, code,
					 "all L2CAP PSMs for 'auto' are "
					 "taken, 0x%04x to 0x%04x",
					 ADDRESS_PSM_AUTO_MIN,
					 ADDRESS_PSM_AUTO_MAX);
		holder_of_l2cap_psm(psm, holder);
		return error_set(error, code,
				 "L2CAP PSM 0x%04x is held by %s; choose "
				 "another, or 'l2cap:auto'",
				 psm, holder);
	case EACCES:
		return error_set(error, code,
				 "not allowed to listen on L2CAP PSM 0x%04x: "
				 "those below 0x1001 need the capability "
				 "CAP_NET_BIND_SERVICE; choose a higher one, "
				 "or 'l2cap:auto'",
				 psm);
	default:
		return error_set(error, code,
				 "cannot listen on L2CAP PSM 0x%04x: %s", psm,
				 strerror(-code));
	}
}

static int start_listening(int fd, const struct l2cap_link *link,
			   enum security_level security)
{
	const int on = 1;
	int code = set_up(fd, link, security);

	if (code)
		return code;
	if (setsockopt(fd, SOL_BLUETOOTH, BT_DEFER_SETUP, &on, sizeof(on)) <
		    0 ||
	    listen(fd, BACKLOG) < 0)
		return -errno;
	return 0;
}

static int l2cap_listen(struct loop *loop,
			const struct address_endpoint *address,
			const struct endpoint_settings *settings,
			listener_client_cb client_cb, void *arg,
			struct listener **out, struct error *error)
{
	static const struct bt_listener_kind kind = {
		.protocol = SERVICE_PROTOCOL_L2CAP,
		.check = l2cap_check_setup,
		.ready = l2cap_ready,
	};
	static const struct bt_port_kind port_kind = {
		.open = l2cap_socket,
		.bind = bind_psm,
		.auto_min = ADDRESS_PSM_AUTO_MIN,
		.auto_max = ADDRESS_PSM_AUTO_MAX,
		.auto_step = 2,
	};
	const struct socket_listen listen = {loop, client_cb, arg};
	const struct endpoint_l2cap *l2cap = &address->l2cap;
	const struct l2cap_link link = link_of(loop, l2cap);
	struct l2cap_listener *listener;
	struct bt_listener *base;
	struct address_bluetooth adapter;
	char name[STREAM_PEER_BYTES];
	int fd, psm, code;

	code = check_flush(l2cap, error);
	if (code == 0)
		code = controller_choose(&settings->adapter, &adapter, error);
	if (code)
		return code;
	fd = link_socket(&link);
	if (fd < 0)
		return listen_error(fd, l2cap->psm, error);
	psm = bt_port_bind(&port_kind, fd, &adapter, l2cap->psm,
			   &settings->reserved_ports);
	code = psm < 0 ? psm : start_listening(fd, &link, settings->security);
	if (code) {
		listen_error(code, l2cap->psm, error);
		goto close_fd;
	}
	snprintf(name, sizeof(name), "l2cap:0x%04x", (unsigned int)psm);
	code = bt_listener_new(&kind, &listen, sizeof(*listener), fd, name,
			       (uint16_t)psm, settings, &adapter, &base, error);
	if (code)
		goto close_fd;
	listener = (struct l2cap_listener *)base;
	listener->link = link;
	listener->security = settings->security;
	*out = &base->base.listener;
	return 0;

close_fd:
	close(fd);
	return code;
}

/* ---- connecting ----------------------------------------------------------- */

struct l2cap_target {
	struct remote remote;
	struct l2cap_link link;
};

static int l2cap_open_link(const struct remote *remote,
			   const struct address_bluetooth *adapter,
			   const struct address_bluetooth *device, uint16_t psm,
			   struct sockaddr_storage *to, socklen_t *to_bytes)
{
	const struct l2cap_target *target = (const struct l2cap_target *)remote;
	int fd = link_socket(&target->link);
	int code;

	if (fd < 0)
		return fd;
	code = bt_port_bind_dialling(fd, adapter);
	if (code == 0)
		code = set_up(fd, &target->link, remote->security);
	if (code) {
		close(fd);
		return code;
	}
	widen_buffer(fd, &target->link);
	fill_address((struct sockaddr_l2 *)to, device, psm);
	*to_bytes = sizeof(struct sockaddr_l2);
	return fd;
}

static struct stream *l2cap_stream(const struct remote *remote, int fd,
				   const char *peer)
{
	const struct l2cap_target *target = (const struct l2cap_target *)remote;
	struct stream *stream;
	int code = remote->security == SECURITY_LEVEL_FIPS ? acl_check_fips(fd)
							   : 0;

	if (code) {
		errno = code == -EAGAIN ? EKEYREJECTED : -code;
		return NULL;
	}
	stream = l2cap_stream_new(&target->link, fd, peer);
	/* Whoever is given it may ask at once whether it has flow control. */
	if (stream)
		is_agreed(of(stream));
	return stream;
}

static void l2cap_target_close(struct target *target)
{
	remote_clear((struct remote *)target);
	free(target);
}

static int l2cap_open_target(struct loop *loop,
			     const struct address_endpoint *address,
			     const struct endpoint_settings *settings,
			     struct target **out, struct error *error)
{
	static const struct target_ops ops = {
		.dial = remote_dial,
		.close = l2cap_target_close,
	};
	static const struct remote_ops remote_ops = {
		.protocol = SDP_FOUND_PROTOCOL_L2CAP,
		.port_word = "PSM",
		.open = l2cap_open_link,
		.stream = l2cap_stream,
	};
	const struct endpoint_l2cap *l2cap = &address->l2cap;
	struct l2cap_target *self;
	int fd = l2cap_socket();
	int code;

	if (fd < 0 && bt_socket_is_missing(fd, error))
		return fd;
	if (fd >= 0)
		close(fd);
	code = check_flush(l2cap, error);
	if (code)
		return code;
	self = calloc(1, sizeof(*self));
	if (!self)
		return error_set(error, -ENOMEM, "out of memory");
	self->link = link_of(loop, l2cap);
	code = remote_init(&self->remote, &remote_ops, loop, address,
			   &l2cap->device, l2cap->psm, &l2cap->service,
			   settings, error);
	if (code) {
		l2cap_target_close(&self->remote.target);
		return code;
	}
	self->remote.target.ops = &ops;
	*out = &self->remote.target;
	return 0;
}

const struct endpoint_ops endpoint_l2cap_ops = {
	.listen = l2cap_listen,
	.open_target = l2cap_open_target,
};
