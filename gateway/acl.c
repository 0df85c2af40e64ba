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

#include <bluetooth/hci.h>
#include <bluetooth/hci_lib.h>
#include <bluetooth/l2cap.h>
#include <event2/event.h>

#include "capability.h"
#include "loop.h"

#define ANSWER_MS 2000
/* HCI's unit for it is a slot of 0.625 ms; 0x07ff slots are the most. */
#define SLOTS_MAX 0x07ff

struct acl_flush {
	struct loop *loop;
	int hci_fd;
	struct event *answered;
	void (*done)(int code, void *arg);
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

int acl_check_encrypted(const bdaddr_t *adapter, const bdaddr_t *device)
{
	struct {
		struct hci_conn_info_req request;
		struct hci_conn_info room;
	} link = {.request = {.bdaddr = *device, .type = ACL_LINK}};
	int fd = open_hci();
	int index, code = 0;

	if (fd < 0)
		return fd;
	index = find_index(fd, adapter);
	/* The request goes to the adapter that the socket is bound to. */
	if (index >= 0) {
		const struct sockaddr_hci address = {
			.hci_family = AF_BLUETOOTH,
			.hci_dev = (uint16_t)index,
		};

		if (bind(fd, (const struct sockaddr *)&address,
			 sizeof(address)) < 0 ||
		    ioctl(fd, HCIGETCONNINFO, &link.request) < 0)
			code = -errno;
		else if (!(link.request.conn_info[0].link_mode &
			   (HCI_LM_ENCRYPT | HCI_LM_SECURE)))
			code = -EAGAIN;
	}
	close(fd);
	return index < 0 ? index : code;
}

bool acl_may_flush(void)
{
	return capability_has(CAP_NET_RAW);
}

/* ---- the flush timeout ------------------------------------------------- */

static void flush_end(struct acl_flush *flush, int code)
{
	event_del(flush->answered);
	flush->done(code, flush->arg);
}

/* Command Complete, or for a command that it does not know Command Status. */
static void flush_answered(evutil_socket_t fd, short what, void *arg)
{
	struct acl_flush *flush = arg;
	uint8_t buffer[HCI_MAX_EVENT_SIZE + 1];
	ssize_t got;

	if (what & EV_TIMEOUT) {
		flush_end(flush, -ETIMEDOUT);
		return;
	}
	got = recv(fd, buffer, sizeof(buffer), 0);
	if (got < 0) {
		if (errno != EAGAIN && errno != EINTR)
			flush_end(flush, -errno);
		return;
	}
	/* Packet type, event code, length; then as the event has it. */
	if (got >= 7 && buffer[1] == EVT_CMD_COMPLETE)
		flush_end(flush, buffer[6] ? -EIO : 0);
	else if (got >= 7 && buffer[1] == EVT_CMD_STATUS && buffer[3])
		flush_end(flush, -EIO);
}

/* Only the answers to this very command; others share the controller. */
static int flush_watch(struct acl_flush *flush, uint16_t opcode)
{
	const struct timeval limit = {.tv_sec = ANSWER_MS / 1000};
	struct hci_filter filter;

	hci_filter_clear(&filter);
	hci_filter_set_ptype(HCI_EVENT_PKT, &filter);
	hci_filter_set_event(EVT_CMD_COMPLETE, &filter);
	hci_filter_set_event(EVT_CMD_STATUS, &filter);
	hci_filter_set_opcode(opcode, &filter);
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

static int flush_ask(struct acl_flush *flush, int fd, unsigned int timeout_ms)
{
	const uint16_t opcode = cmd_opcode_pack(OGF_HOST_CTL, 0x0028);
	struct sockaddr_l2 local;
	struct l2cap_conninfo link;
	socklen_t bytes = sizeof(local), link_bytes = sizeof(link);
	struct sockaddr_hci address = {.hci_family = AF_BLUETOOTH};
	unsigned int slots = timeout_ms * 1000 / 625;
	int index, code;

	if (getsockname(fd, (struct sockaddr *)&local, &bytes) < 0 ||
	    getsockopt(fd, SOL_L2CAP, L2CAP_CONNINFO, &link, &link_bytes) < 0)
		return -errno;
	index = find_index(flush->hci_fd, &local.l2_bdaddr);
	if (index < 0)
		return index;
	address.hci_dev = (uint16_t)index;
	if (bind(flush->hci_fd, (struct sockaddr *)&address, sizeof(address)))
		return -errno;
	code = flush_watch(flush, opcode);
	if (code)
		return code;
	if (slots > SLOTS_MAX)
		slots = SLOTS_MAX;
	{
		const uint8_t command[] = {
			HCI_COMMAND_PKT,
			(uint8_t)opcode,
			(uint8_t)(opcode >> 8),
			4,
			(uint8_t)link.hci_handle,
			(uint8_t)(link.hci_handle >> 8),
			(uint8_t)slots,
			(uint8_t)(slots >> 8),
		};

		if (send(flush->hci_fd, command, sizeof(command), 0) < 0)
			return -errno;
	}
	return 0;
}

struct acl_flush *acl_flush_new(struct loop *loop, int fd,
				unsigned int timeout_ms,
				void (*done)(int code, void *arg), void *arg)
{
	struct acl_flush *flush = calloc(1, sizeof(*flush));
	int code;

	if (!flush)
		return NULL;
	flush->loop = loop;
	flush->done = done;
	flush->arg = arg;
	flush->hci_fd = open_hci();
	code = flush->hci_fd < 0 ? flush->hci_fd
				 : flush_ask(flush, fd, timeout_ms);
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
