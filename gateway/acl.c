/* SPDX-License-Identifier: MIT */
#include "acl.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bluetooth/bluetooth.h>
#include <bluetooth/hci.h>
#include <bluetooth/hci_lib.h>
#include <bluetooth/l2cap.h>
#include <event2/event.h>

#include "bt_socket.h"
#include "capability.h"
#include "error.h"
#include "loop.h"

/* Of Linux, not in BlueZ' header (include/net/bluetooth/hci.h, 6.12). */
#ifndef HCI_LM_FIPS
#define HCI_LM_FIPS 0x0040
#endif

#define ANSWER_MS 2000
/* HCI's unit for it is a slot of 0.625 ms; 0x07ff slots are the most. */
#define SLOTS_MAX 0x07ff
#define WRITE_FLUSH_TIMEOUT cmd_opcode_pack(OGF_HOST_CTL, 0x0028)

struct acl_flush {
	struct loop *loop;
	int hci_fd;
	uint16_t handle; /* of the link, at the controller */
	struct event *answered;
	acl_flush_cb done;
	void *arg;
};

static int open_hci(void)
{
	int fd = socket(AF_BLUETOOTH, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC,
			BTPROTO_HCI);

	return fd < 0 ? -errno : fd;
}

/* The number of the adapter at @adapter, or -ENODEV. */
static int find_index(int fd, const bdaddr_t *adapter)
{
	struct {
		struct hci_dev_list_req list;
		struct hci_dev_req room[HCI_MAX_DEV];
	} all = {.list = {.dev_num = HCI_MAX_DEV}};

	if (ioctl(fd, HCIGETDEVLIST, &all.list) < 0)
		return -errno;
	for (int i = 0; i < all.list.dev_num; i++) {
		struct hci_dev_info info = {
			.dev_id = all.list.dev_req[i].dev_id};

		if (ioctl(fd, HCIGETDEVINFO, &info) == 0 &&
		    !bacmp(&info.bdaddr, adapter))
			return info.dev_id;
	}
	return -ENODEV;
}

/* An HCI socket of the adapter at @adapter, or -errno. */
static int open_adapter(const bdaddr_t *adapter)
{
	struct sockaddr_hci address = {.hci_family = AF_BLUETOOTH};
	int fd = open_hci();
	int index, code;

	if (fd < 0)
		return fd;
	index = find_index(fd, adapter);
	address.hci_dev = (uint16_t)index;
	if (index < 0)
		code = index;
	else if (bind(fd, (const struct sockaddr *)&address, sizeof(address)))
		code = -errno;
	else
		return fd;
	close(fd);
	return code;
}

/* ---- channels ---------------------------------------------------------- */

/* One that waits to be admitted, or is being made. */
struct channel {
	struct sockaddr_l2 local;
	struct sockaddr_l2 remote;
};

static int channel_init(struct channel *channel, int fd)
{
	socklen_t bytes = sizeof(channel->local);

	if (getsockname(fd, (struct sockaddr *)&channel->local, &bytes) < 0)
		return -errno;
	bytes = sizeof(channel->remote);
	if (getpeername(fd, (struct sockaddr *)&channel->remote, &bytes) < 0)
		return errno == ENOTCONN ? -EAGAIN : -errno;
	return 0;
}

/* The link under it, as the kernel has it. 0 or -errno. */
static int get_link(const struct channel *channel, struct hci_conn_info *out)
{
	struct {
		struct hci_conn_info_req request;
		struct hci_conn_info room;
	} link = {.request = {.bdaddr = channel->remote.l2_bdaddr,
			      .type = ACL_LINK}};
	int fd = open_adapter(&channel->local.l2_bdaddr);
	int code = 0;

	if (fd < 0)
		return fd;
	if (ioctl(fd, HCIGETCONNINFO, &link.request) < 0)
		code = -errno;
	else
		*out = link.request.conn_info[0];
	close(fd);
	return code;
}

static bool is_l2cap(int fd)
{
	int domain = 0, protocol = 0;
	socklen_t bytes = sizeof(int);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) == 0 &&
	       getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &bytes) ==
		       0 &&
	       domain == AF_BLUETOOTH && protocol == BTPROTO_L2CAP;
}

void acl_close_connecting(struct loop *loop, int fd)
{
	struct channel channel;
	struct hci_conn_info link;

	if (fd < 0)
		return;
	if (is_l2cap(fd) && channel_init(&channel, fd) == 0 &&
	    get_link(&channel, &link) == 0 && link.state == BT_CONNECTED)
		loop_close_connecting(loop, fd);
	else
		close(fd);
}

/* ---- security ---------------------------------------------------------- */

/*
 * Of a connectionless socket only the old option sets a level. It knows none of
 * SECURITY_LEVEL_FIPS.
 */
static uint32_t link_mode(enum security_level level)
{
	switch (level) {
	case SECURITY_LEVEL_LOW:
		return L2CAP_LM_AUTH;
	case SECURITY_LEVEL_MEDIUM:
		return L2CAP_LM_AUTH | L2CAP_LM_ENCRYPT;
	case SECURITY_LEVEL_HIGH:
	case SECURITY_LEVEL_FIPS:
		break;
	}
	return L2CAP_LM_AUTH | L2CAP_LM_ENCRYPT | L2CAP_LM_SECURE;
}

/*
 * Whether the kernel would let a channel of @level go ahead. Nothing tells what
 * kind of key a link has, or which level it is good for (BT_SECURITY of a
 * socket gives the one that was asked for last); but a connectionless socket
 * is connected, which sends nothing, if the link is good enough, and else the
 * kernel begins to see to that (l2cap_chan_connect, l2cap_chan_check_security;
 * Linux 6.1, 6.12).
 */
static int try_level(const struct channel *channel, enum security_level level)
{
	const uint32_t mode = link_mode(level);
	struct sockaddr_l2 local = channel->local;
	struct sockaddr_l2 remote = channel->remote;
	int fd = bt_socket_open(SOCK_DGRAM, BTPROTO_L2CAP);
	int code = 0;

	if (fd < 0)
		return fd;
	local.l2_psm = 0;
	local.l2_cid = 0;
	/* Any that is not special would do. */
	remote.l2_psm = channel->local.l2_psm;
	remote.l2_cid = 0;
	if (bind(fd, (struct sockaddr *)&local, sizeof(local)) < 0 ||
	    setsockopt(fd, SOL_L2CAP, L2CAP_LM, &mode, sizeof(mode)) < 0 ||
	    connect(fd, (struct sockaddr *)&remote, sizeof(remote)) < 0)
		code = errno == EINPROGRESS ? -EAGAIN : -errno;
	close(fd);
	return code;
}

/*
 * An authenticated key of Secure Connections (P-256). The kernel notes it when
 * such a link is encrypted (hci_encrypt_change_evt).
 */
static int channel_check_fips(const struct channel *channel)
{
	struct hci_conn_info link;
	int code = get_link(channel, &link);

	if (code)
		return code;
	return link.link_mode & HCI_LM_FIPS ? 0 : -EAGAIN;
}

int acl_check_security(int fd, enum security_level level)
{
	struct channel channel;
	int code = channel_init(&channel, fd);

	/*
	 * Twice, because a connectionless socket is also connected when the
	 * device answers which features it has, which it does once on a link
	 * (l2cap_conn_start).
	 */
	for (int i = 0; code == 0 && i < 2; i++)
		code = try_level(&channel, level);
	if (code == 0 && level == SECURITY_LEVEL_FIPS)
		code = channel_check_fips(&channel);
	return code;
}

int acl_check_fips(int fd)
{
	struct channel channel;
	int code = channel_init(&channel, fd);

	return code ? code : channel_check_fips(&channel);
}

/* ---- the flush timeout ------------------------------------------------- */

bool acl_may_flush(void)
{
	return capability_has(CAP_NET_RAW);
}

static void flush_end(struct acl_flush *flush, int code,
		      const struct error *error)
{
	event_del(flush->answered);
	flush->done(code, error, flush->arg);
}

static void flush_fail(struct acl_flush *flush, int code)
{
	struct error error;

	error_set(&error, code, "%s", strerror(-code));
	flush_end(flush, code, &error);
}

/* Those that this command can have (Core spec, Vol 1 part F). */
static const char *status_name(uint8_t status)
{
	switch (status) {
	case HCI_UNKNOWN_COMMAND:
		return "it does not know this command";
	case HCI_NO_CONNECTION:
		return "there is no such link any more";
	case HCI_HARDWARE_FAILURE:
		return "hardware failure";
	case HCI_COMMAND_DISALLOWED:
		return "command disallowed";
	case HCI_UNSUPPORTED_FEATURE:
		return "unsupported feature";
	case HCI_INVALID_PARAMETERS:
		return "invalid parameters";
	default:
		return "an error";
	}
}

static void flush_take_status(struct acl_flush *flush, uint8_t status)
{
	struct error error = {""};
	int code = 0;

	if (status)
		code = error_set(&error, -EIO,
				 "the controller says: %s (HCI status 0x%02x)",
				 status_name(status), status);
	flush_end(flush, code, &error);
}

/* Command Complete, or for a command that it does not know Command Status. */
static void flush_answered(evutil_socket_t fd, short what, void *arg)
{
	struct acl_flush *flush = arg;
	uint8_t buffer[HCI_MAX_EVENT_SIZE + 1];
	ssize_t got;

	if (what & EV_TIMEOUT) {
		flush_fail(flush, -ETIMEDOUT);
		return;
	}
	got = recv(fd, buffer, sizeof(buffer), 0);
	if (got < 0) {
		if (errno != EAGAIN && errno != EINTR)
			flush_fail(flush, -errno);
		return;
	}
	/*
	 * Packet type, event code, length; then as the event has it. Another
	 * link's may be asked for at the same time.
	 */
	if (got >= 9 && buffer[1] == EVT_CMD_COMPLETE &&
	    (buffer[7] | buffer[8] << 8) == flush->handle)
		flush_take_status(flush, buffer[6]);
	else if (got >= 7 && buffer[1] == EVT_CMD_STATUS && buffer[3])
		flush_take_status(flush, buffer[3]);
}

/* Only the answers to this very command; others share the controller. */
static int flush_watch(struct acl_flush *flush)
{
	const struct timeval limit = {.tv_sec = ANSWER_MS / 1000};
	struct hci_filter filter;

	hci_filter_clear(&filter);
	hci_filter_set_ptype(HCI_EVENT_PKT, &filter);
	hci_filter_set_event(EVT_CMD_COMPLETE, &filter);
	hci_filter_set_event(EVT_CMD_STATUS, &filter);
	hci_filter_set_opcode(WRITE_FLUSH_TIMEOUT, &filter);
	if (setsockopt(flush->hci_fd, SOL_HCI, HCI_FILTER, &filter,
		       sizeof(filter)) < 0)
		return -errno;
	flush->answered = event_new(flush->loop->base, flush->hci_fd,
				    EV_READ | EV_PERSIST, flush_answered,
				    flush);
	if (!flush->answered || event_add(flush->answered, &limit))
		return -ENOMEM;
	return 0;
}

static int flush_send(const struct acl_flush *flush, unsigned int timeout_ms)
{
	const unsigned int wanted = timeout_ms * 1000 / 625;
	const unsigned int slots = wanted < SLOTS_MAX ? wanted : SLOTS_MAX;
	const uint8_t command[] = {
		HCI_COMMAND_PKT,	  WRITE_FLUSH_TIMEOUT & 0xff,
		WRITE_FLUSH_TIMEOUT >> 8, 4,
		(uint8_t)flush->handle,	  (uint8_t)(flush->handle >> 8),
		(uint8_t)slots,		  (uint8_t)(slots >> 8),
	};

	return send(flush->hci_fd, command, sizeof(command), 0) < 0 ? -errno
								    : 0;
}

/* The link's adapter, and its handle there. */
static int flush_find_link(struct acl_flush *flush, int fd)
{
	struct sockaddr_l2 local;
	struct l2cap_conninfo link;
	socklen_t bytes = sizeof(local), link_bytes = sizeof(link);

	if (getsockname(fd, (struct sockaddr *)&local, &bytes) < 0 ||
	    getsockopt(fd, SOL_L2CAP, L2CAP_CONNINFO, &link, &link_bytes) < 0)
		return -errno;
	flush->handle = link.hci_handle;
	flush->hci_fd = open_adapter(&local.l2_bdaddr);
	return flush->hci_fd < 0 ? flush->hci_fd : 0;
}

struct acl_flush *acl_flush_new(struct loop *loop, int fd,
				unsigned int timeout_ms, acl_flush_cb done,
				void *arg)
{
	struct acl_flush *flush = calloc(1, sizeof(*flush));
	int code;

	if (!flush)
		return NULL;
	flush->loop = loop;
	flush->hci_fd = -1;
	flush->done = done;
	flush->arg = arg;
	code = flush_find_link(flush, fd);
	if (code == 0)
		code = flush_watch(flush);
	if (code == 0)
		code = flush_send(flush, timeout_ms);
	if (code) {
		acl_flush_free(flush);
		errno = -code;
		return NULL;
	}
	return flush;
}

void acl_flush_free(struct acl_flush *flush)
{
	if (!flush)
		return;
	if (flush->answered)
		event_free(flush->answered);
	if (flush->hci_fd >= 0)
		close(flush->hci_fd);
	free(flush);
}
