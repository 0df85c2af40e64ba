/* SPDX-License-Identifier: MIT */
#include "mgmt.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bluetooth/bluetooth.h>
#include <bluetooth/hci.h>
#include <event2/event.h>

#include "backoff.h"
#include "error.h"
#include "log.h"
#include "loop.h"

/* bluez lib/mgmt.h is not installed; the protocol's numbers are stable. */
#define OP_READ_INFO 0x0004
#define OP_SET_CONNECTABLE 0x0007
#define EV_COMMAND_COMPLETE 0x0001
#define EV_COMMAND_STATUS 0x0002
#define EV_INDEX_ADDED 0x0004
#define EV_INDEX_REMOVED 0x0005
#define EV_NEW_SETTINGS 0x0006
#define STATUS_SUCCESS 0x00
#define STATUS_PERMISSION_DENIED 0x14
#define SETTING_CONNECTABLE (1u << 1)

/* In READ_INFO's answer, after address, version and manufacturer. */
#define INFO_SETTINGS_OFFSET (6 + 1 + 2 + 4)

#define ANSWER_S 5

struct header {
	uint16_t code; /* opcode, or event */
	uint16_t index;
	uint16_t bytes;
} __attribute__((packed));

struct answer {
	struct header header;
	uint16_t opcode;
	uint8_t status;
	uint8_t data[512];
} __attribute__((packed));

#define ANSWER_MIN_BYTES offsetof(struct answer, data)

struct mgmt_call {
	int fd;
	uint16_t index;
	uint16_t opcode; /* asked, not answered */
	struct event *event;
	mgmt_done_cb done;
	void *arg;
};

int mgmt_open(void)
{
	struct sockaddr_hci address = {
		.hci_family = AF_BLUETOOTH,
		.hci_dev = HCI_DEV_NONE,
		.hci_channel = HCI_CHANNEL_CONTROL,
	};
	int fd = socket(AF_BLUETOOTH, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC,
			BTPROTO_HCI);
	int code;

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		code = -errno;
		close(fd);
		return code;
	}
	return fd;
}

static int ask(struct mgmt_call *call, uint16_t opcode, const void *data,
	       uint16_t bytes)
{
	uint8_t request[sizeof(struct header) + 1];
	struct header header = {
		.code = htole16(opcode),
		.index = htole16(call->index),
		.bytes = htole16(bytes),
	};

	call->opcode = opcode;
	memcpy(request, &header, sizeof(header));
	if (bytes)
		memcpy(request + sizeof(header), data, bytes);
	/* One datagram, taken whole or not at all. */
	if (write(call->fd, request, sizeof(header) + bytes) < 0)
		return -errno;
	return 0;
}

static void finish(struct mgmt_call *call, int code, const struct error *error)
{
	event_del(call->event);
	call->done(code, error, call->arg);
}

static bool is_connectable(const struct answer *answer, size_t bytes)
{
	uint32_t settings;

	if (bytes < INFO_SETTINGS_OFFSET + sizeof(settings))
		return false;
	memcpy(&settings, answer->data + INFO_SETTINGS_OFFSET,
	       sizeof(settings));
	return le32toh(settings) & SETTING_CONNECTABLE;
}

static void take_answer(struct mgmt_call *call, const struct answer *answer,
			size_t data_bytes)
{
	static const uint8_t on = 1;
	struct error error = {""};
	int code = 0;

	if (answer->status == STATUS_PERMISSION_DENIED) {
		code = error_set(&error, -EPERM,
				 "it needs the capability CAP_NET_ADMIN");
	} else if (answer->status != STATUS_SUCCESS) {
		code = error_set(&error, -EIO,
				 "the kernel refuses with management status "
				 "0x%02x",
				 answer->status);
	} else if (call->opcode == OP_READ_INFO &&
		   !is_connectable(answer, data_bytes)) {
		code = ask(call, OP_SET_CONNECTABLE, &on, sizeof(on));
		if (code == 0)
			return;
		error_set(&error, code, "writing to the management socket: %s",
			  strerror(-code));
	}
	finish(call, code, &error);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct mgmt_call *call = arg;
	struct answer answer;
	struct error error = {""};
	ssize_t bytes;
	uint16_t event;

	if (what & EV_TIMEOUT) {
		finish(call,
		       error_set(&error, -ETIMEDOUT,
				 "the management socket does not answer"),
		       &error);
		return;
	}
	bytes = read(fd, &answer, sizeof(answer));
	if (bytes < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (bytes <= 0) {
		finish(call,
		       error_set(&error, -EIO,
				 "the management socket was closed"),
		       &error);
		return;
	}
	event = le16toh(answer.header.code);
	/* Anything else is news for whoever follows the adapters. */
	if ((size_t)bytes >= ANSWER_MIN_BYTES &&
	    (event == EV_COMMAND_COMPLETE || event == EV_COMMAND_STATUS) &&
	    le16toh(answer.header.index) == call->index &&
	    le16toh(answer.opcode) == call->opcode)
		take_answer(call, &answer, (size_t)bytes - ANSWER_MIN_BYTES);
}

struct mgmt_call *mgmt_call_new(struct loop *loop, int fd, uint16_t index,
				mgmt_done_cb done, void *arg)
{
	static const struct timeval deadline = {.tv_sec = ANSWER_S};
	struct mgmt_call *call = calloc(1, sizeof(*call));
	int code = -ENOMEM;

	if (!call) {
		close(fd);
		return NULL;
	}
	call->fd = fd;
	call->index = index;
	call->done = done;
	call->arg = arg;
	call->event = event_new(loop->base, fd, EV_READ | EV_PERSIST, on_event,
				call);
	if (call->event)
		code = ask(call, OP_READ_INFO, NULL, 0);
	if (code < 0) {
		mgmt_call_free(call);
		errno = -code;
		return NULL;
	}
	event_add(call->event, &deadline);
	return call;
}

void mgmt_call_free(struct mgmt_call *call)
{
	if (!call)
		return;
	if (call->event)
		event_free(call->event);
	close(call->fd);
	free(call);
}

/* ---- adapters that come and go ------------------------------------------ */

struct mgmt_watch {
	struct loop *loop;
	int (*open)(void);
	int fd; /* -1: none to be had, or it broke; it is tried again */
	struct event *event; /* on that */
	struct event *retry_timer;
	struct backoff retry;
	unsigned int failures; /* without news between; the first is told */
	mgmt_changed_cb changed;
	void *arg;
};

/*
 * "Added" comes once the address is known (hci_power_on, Linux 6.12). It is
 * read again whenever the adapter is powered on, hence the settings.
 */
static bool is_change(uint16_t event)
{
	return event == EV_INDEX_ADDED || event == EV_INDEX_REMOVED ||
	       event == EV_NEW_SETTINGS;
}

static void watch_close(struct mgmt_watch *watch)
{
	if (watch->event)
		event_free(watch->event);
	watch->event = NULL;
	if (watch->fd >= 0)
		close(watch->fd);
	watch->fd = -1;
}

static void on_news(evutil_socket_t fd, short what, void *arg);

static int watch_open(struct mgmt_watch *watch)
{
	watch->fd = watch->open();
	if (watch->fd < 0)
		return watch->fd;
	watch->event = event_new(watch->loop->base, watch->fd,
				 EV_READ | EV_PERSIST, on_news, watch);
	if (watch->event && event_add(watch->event, NULL) == 0)
		return 0;
	watch_close(watch);
	return -ENOMEM;
}

static void watch_wait(struct mgmt_watch *watch)
{
	/* Without memory for the timer bluetoothd is left to tell. */
	loop_start_timer(watch->retry_timer, backoff_next_ms(&watch->retry));
}

/* @what happened to it; the first time in a row is told. */
static void watch_failed(struct mgmt_watch *watch, const char *what, int code)
{
	const char *why = code ? strerror(-code) : "it was closed";

	if (watch->failures++)
		log_debug("the kernel's management socket %s again: %s", what,
			  why);
	else
		log_warning("the kernel's management socket %s: %s; until "
			    "there is another one, adapters that come and go "
			    "show by bluetoothd only",
			    what, why);
	watch_close(watch);
	watch_wait(watch);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct mgmt_watch *watch = arg;

	if (watch_open(watch)) {
		watch_wait(watch);
		return;
	}
	if (watch->failures == 1)
		log_info("the kernel's management socket tells of adapters "
			 "now");
	/* What has happened meanwhile was not told. */
	watch->changed(watch->arg);
}

static void on_news(evutil_socket_t fd, short what, void *arg)
{
	struct mgmt_watch *watch = arg;
	struct header header;
	ssize_t bytes = read(fd, &header, sizeof(header));

	if (bytes < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (bytes <= 0) {
		watch_failed(watch, "broke", bytes < 0 ? -errno : 0);
		return;
	}
	/* It works, which one that was only opened need not do. */
	watch->failures = 0;
	backoff_reset(&watch->retry);
	if ((size_t)bytes == sizeof(header) && is_change(le16toh(header.code)))
		watch->changed(watch->arg);
}

struct mgmt_watch *mgmt_watch_new(struct loop *loop, int (*open)(void),
				  mgmt_changed_cb changed, void *arg)
{
	struct mgmt_watch *watch = calloc(1, sizeof(*watch));
	int code = -ENOMEM;

	if (!watch)
		return NULL;
	watch->loop = loop;
	watch->open = open;
	watch->fd = -1;
	watch->changed = changed;
	watch->arg = arg;
	watch->retry_timer = evtimer_new(loop->base, on_retry, watch);
	if (watch->retry_timer)
		code = watch_open(watch);
	/* Without Bluetooth in the kernel, or here, there is nothing to wait for. */
	if (!watch->retry_timer || code == -EAFNOSUPPORT) {
		mgmt_watch_free(watch);
		errno = -code;
		return NULL;
	}
	if (code)
		watch_failed(watch, "cannot be had", code);
	return watch;
}

void mgmt_watch_free(struct mgmt_watch *watch)
{
	if (!watch)
		return;
	watch_close(watch);
	if (watch->retry_timer)
		event_free(watch->retry_timer);
	free(watch);
}
