/* SPDX-License-Identifier: MIT */
#include "remote.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "acl.h"
#include "address_endpoint.h"
#include "bluez.h"
#include "bt_socket.h"
#include "controller.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "sdp_query.h"
#include "socket.h"
#include "text.h"

/* Between two attempts; twice as long each time. */
#define PAUSE_FIRST_MS 50
#define PAUSE_MAX_MS 1000
/* So much of a name that the address still fits behind it. */
#define PEER_NAME_BYTES (STREAM_PEER_BYTES - ADDRESS_BLUETOOTH_TEXT_BYTES - 3)
#define PORT_TEXT_BYTES 32

enum remote_step {
	REMOTE_STEP_FIND, /* who is called so */
	REMOTE_STEP_ASK, /* for the channel or PSM of the service */
	REMOTE_STEP_CONNECT,
	REMOTE_STEP_PAUSE, /* after an attempt that failed */
};

struct remote_dial {
	struct dial dial;
	const struct remote *remote;
	enum remote_step step;
	struct loop_task start;
	/* One of these, by the step. */
	struct bluez_lookup *lookup;
	struct sdp_query *query;
	struct connector *connector;
	struct event *pause;
	unsigned int pause_ms;
	struct address_bluetooth adapter; /* all zero: any */
	struct address_bluetooth device;
	uint16_t port;
	char who[STREAM_PEER_BYTES]; /* "HC-05 (00:11:22:33:44:55)" */
	unsigned int attempts;
	struct error error; /* of the last attempt */
	dial_done_cb done;
	void *arg;
};

/* What is too long is cut between two characters. */
static void copy_shown(char *out, size_t bytes, const char *text)
{
	char printable[TEXT_QUOTED_BYTES];
	size_t used = 0;

	text_printable(text, printable);
	while (printable[used]) {
		size_t step = text_utf8_bytes(printable + used);

		if (used + step >= bytes)
			break;
		used += step;
	}
	memcpy(out, printable, used);
	out[used] = '\0';
}

/* ---- the way out ------------------------------------------------------------ */

static void remote_dial_free(struct remote_dial *dial)
{
	loop_cancel(dial->remote->loop, &dial->start);
	bluez_lookup_cancel(dial->lookup);
	sdp_query_cancel(dial->query);
	acl_close_connecting(dial->remote->loop,
			     connector_release(dial->connector));
	if (dial->pause)
		event_free(dial->pause);
	free(dial);
}

static void remote_dial_cancel(struct dial *base)
{
	remote_dial_free((struct remote_dial *)base);
}

static void remote_dial_end(struct remote_dial *dial, struct stream *stream,
			    int code)
{
	const struct error error = dial->error;
	dial_done_cb done = dial->done;
	void *arg = dial->arg;

	remote_dial_free(dial);
	done(stream, code, &error, arg);
}

/* ---- what went wrong, for a person --------------------------------------------- */

static bool is_any(const struct address_bluetooth *address)
{
	static const struct address_bluetooth any;

	return !memcmp(address, &any, sizeof(any));
}

/* "channel 7", "PSM 0x1001": the number as endpoints have it. */
static void port_format(const struct remote_dial *dial,
			char text[PORT_TEXT_BYTES])
{
	const struct remote_ops *ops = dial->remote->ops;

	if (ops->protocol == SDP_FOUND_PROTOCOL_L2CAP)
		snprintf(text, PORT_TEXT_BYTES, "%s 0x%04x", ops->port_word,
			 dial->port);
	else
		snprintf(text, PORT_TEXT_BYTES, "%s %u", ops->port_word,
			 dial->port);
}

enum pairing {
	PAIRING_UNKNOWN, /* there is no bluetoothd to tell */
	PAIRING_NONE,
	PAIRING_DONE,
};

static enum pairing ask_pairing(const struct remote_dial *dial)
{
	const struct remote *remote = dial->remote;

	if (!remote->bluez || bluez_state(remote->bluez) != BLUEZ_STATE_READY)
		return PAIRING_UNKNOWN;
	return bluez_paired_name(remote->bluez, &remote->adapter, &dial->device)
		       ? PAIRING_DONE
		       : PAIRING_NONE;
}

/* A device refuses whom it is not paired with just as it refuses anybody. */
static int refused_error(const struct remote_dial *dial, struct error *error)
{
	const enum pairing pairing = ask_pairing(dial);
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES];
	char port[PORT_TEXT_BYTES];

	port_format(dial, port);
	address_bluetooth_format(&dial->device, address);
	if (dial->remote->port)
		error_set(error, 0, "%s refuses %s", dial->who, port);
	else
		error_set(error, 0,
			  "%s says that its service is on %s and refuses that",
			  dial->who, port);
	if (pairing == PAIRING_NONE)
		text_append(error->text, sizeof(error->text),
			    ": it is not paired, and may want to be ("
			    "'btgate pair %s'); or ",
			    address);
	else
		text_append(error->text, sizeof(error->text), ": ");
	if (dial->remote->port)
		text_append(error->text, sizeof(error->text),
			    "nothing listens there ('btgate services %s' shows "
			    "what does)",
			    address);
	else
		text_append(error->text, sizeof(error->text),
			    "its program is not running");
	if (pairing == PAIRING_UNKNOWN)
		text_append(error->text, sizeof(error->text),
			    ", or it wants to be paired first ('btgate pair "
			    "%s')",
			    address);
	return -ECONNREFUSED;
}

static int pairing_error(const struct remote_dial *dial, struct error *error)
{
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES];

	address_bluetooth_format(&dial->device, address);
	return error_set(error, -EACCES,
			 "%s and this machine have no key in common: pair "
			 "them, 'btgate pair %s'; if they were paired, "
			 "remove that at both ends first ('bluetoothctl "
			 "remove %s')%s",
			 dial->who, address, address,
			 bt_socket_security_hint(dial->remote->security));
}

static int lesser_key_error(const struct remote_dial *dial, struct error *error)
{
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES];

	address_bluetooth_format(&dial->device, address);
	return error_set(error, -EACCES,
			 "the link to %s is encrypted with a lesser key, and "
			 "has to be made anew: 'bluetoothctl disconnect %s' "
			 "ends it%s",
			 dial->who, address,
			 bt_socket_security_hint(dial->remote->security));
}

/*
 * The codes are what net/bluetooth/lib.c, bt_to_errno, makes of the
 * controller's. @said is what the query said, or NULL. Returns the code that
 * the dial fails with.
 */
static int describe_failure(const struct remote_dial *dial, int code,
			    const struct error *said, struct error *error)
{
	char port[PORT_TEXT_BYTES];

	port_format(dial, port);
	if (bt_socket_is_missing(code, error))
		return code;
	switch (-code) {
	case EHOSTUNREACH:
	case ENETDOWN:
		return controller_unreachable(&dial->adapter, error);
	case EACCES:
	case EBADE:
		return pairing_error(dial, error);
	case EKEYREJECTED:
		return lesser_key_error(dial, error);
	case EHOSTDOWN:
	case ETIMEDOUT:
		return error_set(error, code,
				 "%s does not answer: it is off, out of range, "
				 "or talks to another machine",
				 dial->who);
	case EBUSY:
	case EALREADY:
		return error_set(error, code,
				 "the link to %s is busy: another one of this "
				 "machine has it, or is just closing",
				 dial->who);
	}
	if (said)
		return error_set(error, code, "%s", said->text);
	switch (-code) {
	case ECONNREFUSED:
		return refused_error(dial, error);
	case ECONNRESET:
		return error_set(error, code,
				 "%s hung up while the link to its %s was "
				 "being made",
				 dial->who, port);
	default:
		return error_set(error, code, "cannot connect to %s, %s: %s",
				 dial->who, port, strerror(-code));
	}
}

/* ---- attempts ------------------------------------------------------------------- */

/*
 * Whether it passes by itself: seen right after a close are EBUSY, EHOSTDOWN
 * and ECONNRESET (6.1, 6.12); EHOSTDOWN is also a page that was not heard, EIO
 * and the like a controller that has its hands full.
 */
static bool is_passing(int code)
{
	switch (-code) {
	case EBUSY:
	case EALREADY:
	case EHOSTDOWN:
	case ECONNRESET:
	case ECONNABORTED:
	case ETIMEDOUT:
	case EMLINK:
	case EIO:
	case EAGAIN:
		return true;
	default:
		return false;
	}
}

static void attempt_failed(struct remote_dial *dial, int code,
			   const struct error *said)
{
	bool is_asked_again = code != -EBUSY && code != -EALREADY;

	dial->attempts++;
	if (!is_passing(code)) {
		code = describe_failure(dial, code, said, &dial->error);
		remote_dial_end(dial, NULL, code);
		return;
	}
	describe_failure(dial, code, said, &dial->error);
	log_debug("%s: attempt %u: %s; once more in %u ms",
		  dial->remote->target.name, dial->attempts, dial->error.text,
		  dial->pause_ms);
	/* The channel was right; else it may have moved by the next attempt. */
	if (is_asked_again)
		dial->port = dial->remote->port;
	dial->step = REMOTE_STEP_PAUSE;
	loop_start_timer(dial->pause, dial->pause_ms);
	dial->pause_ms *= 2;
	if (dial->pause_ms > PAUSE_MAX_MS)
		dial->pause_ms = PAUSE_MAX_MS;
}

static void remote_connected(int fd, int code, void *arg)
{
	struct remote_dial *dial = arg;
	struct stream *stream;

	dial->connector = NULL;
	if (fd < 0) {
		attempt_failed(dial, code, NULL);
		return;
	}
	stream = dial->remote->ops->stream(dial->remote, fd, dial->who);
	if (stream) {
		dial->error.text[0] = '\0';
		remote_dial_end(dial, stream, 0);
		return;
	}
	code = -errno;
	close(fd);
	attempt_failed(dial, code, NULL);
}

static void remote_connect(struct remote_dial *dial)
{
	const struct remote *remote = dial->remote;
	struct sockaddr_storage to;
	socklen_t bytes = 0;
	int fd;

	dial->step = REMOTE_STEP_CONNECT;
	fd = remote->ops->open(remote, &dial->adapter, &dial->device,
			       dial->port, &to, &bytes);
	if (fd < 0) {
		attempt_failed(dial, fd, NULL);
		return;
	}
	dial->connector = connector_new(remote->loop, fd,
					(struct sockaddr *)&to, bytes,
					remote_connected, dial);
	if (!dial->connector)
		attempt_failed(dial, -errno, NULL);
}

/* ---- the service ------------------------------------------------------------------ */

static int no_service_error(const struct remote_dial *dial, bool is_elsewhere,
			    struct error *error)
{
	const struct remote *remote = dial->remote;
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES];
	char uuid[ADDRESS_UUID_TEXT_BYTES];

	address_bluetooth_format(&dial->device, address);
	address_uuid_format(&remote->service, uuid);
	if (is_elsewhere)
		return error_set(error, -ENOENT,
				 "%s has the service %s, but not by a %s; "
				 "'btgate services %s' shows how it is reached",
				 dial->who, uuid, remote->ops->port_word,
				 address);
	return error_set(error, -ENOENT,
			 "%s has no service %s now; 'btgate services %s' shows "
			 "what it has",
			 dial->who, uuid, address);
}

/*
 * A search finds a UUID anywhere in a record (Core spec, Vol 3 part B, 2.5.2):
 * only a record whose class it is is meant.
 */
static void remote_answered(int code, const struct sdp_service_found *list,
			    size_t count, const struct error *error, void *arg)
{
	struct remote_dial *dial = arg;
	const struct remote *remote = dial->remote;
	bool is_elsewhere = false;

	dial->query = NULL;
	if (code) {
		attempt_failed(dial, code, error);
		return;
	}
	for (size_t i = 0; i < count && !dial->port; i++) {
		if (!sdp_service_has_class(&list[i], &remote->service))
			continue;
		dial->port = sdp_service_port(&list[i], remote->ops->protocol);
		is_elsewhere = !dial->port;
	}
	if (dial->port) {
		remote_connect(dial);
		return;
	}
	code = no_service_error(dial, is_elsewhere, &dial->error);
	remote_dial_end(dial, NULL, code);
}

static void remote_ask(struct remote_dial *dial)
{
	const struct remote *remote = dial->remote;

	dial->step = REMOTE_STEP_ASK;
	dial->query = sdp_query_new(remote->loop, &dial->adapter, &dial->device,
				    &remote->service, remote_answered, dial);
	if (!dial->query)
		attempt_failed(dial, -errno, NULL);
}

static void remote_attempt(struct remote_dial *dial)
{
	if (dial->port)
		remote_connect(dial);
	else
		remote_ask(dial);
}

static void remote_pause_over(evutil_socket_t fd, short what, void *arg)
{
	remote_attempt(arg);
}

/* ---- the device --------------------------------------------------------------------- */

/* From here on the device is known; it is as well to call it by its name. */
static void remote_found(struct remote_dial *dial,
			 const struct address_bluetooth *device)
{
	const struct remote *remote = dial->remote;
	const char *name = remote->device.name;
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES];
	char cut[PEER_NAME_BYTES];

	dial->device = *device;
	/* Left to itself the kernel takes the first adapter. */
	if (is_any(&dial->adapter) && remote->bluez)
		bluez_adapter_of(remote->bluez, &remote->adapter, device,
				 &dial->adapter);
	address_bluetooth_format(device, address);
	if (!name && remote->bluez)
		name = bluez_paired_name(remote->bluez, &remote->adapter,
					 device);
	if (name) {
		copy_shown(cut, sizeof(cut), name);
		snprintf(dial->who, sizeof(dial->who), "%s (%s)", cut, address);
	} else {
		snprintf(dial->who, sizeof(dial->who), "%s", address);
	}
	remote_attempt(dial);
}

static void remote_looked_up(int code, const struct address_bluetooth *address,
			     const struct error *error, void *arg)
{
	struct remote_dial *dial = arg;

	dial->lookup = NULL;
	if (code == 0) {
		remote_found(dial, address);
		return;
	}
	dial->error = *error;
	remote_dial_end(dial, NULL, code);
}

static int remote_find(struct remote_dial *dial)
{
	const struct remote *remote = dial->remote;

	if (!remote->device.name) {
		remote_found(dial, &remote->device.address);
		return 0;
	}
	if (!remote->bluez)
		return error_set(&dial->error, -ENOTCONN,
				 "devices are found by name with the help of "
				 "bluetoothd, which is not to be had; give the "
				 "device's address");
	dial->lookup = bluez_lookup_new(remote->bluez, &remote->adapter,
					&remote->device, remote_looked_up,
					dial);
	if (!dial->lookup)
		return error_set(&dial->error, -errno,
				 "cannot look for the device: %s",
				 strerror(errno));
	return 0;
}

/* bind(2) takes the address of an adapter that is not there. */
static int choose_adapter(struct remote_dial *dial)
{
	const struct address_adapter *choice = &dial->remote->adapter;
	struct address_bluetooth adapters[CONTROLLERS_MAX];
	size_t count;
	int code = controller_choose(choice, &dial->adapter, &dial->error);

	if (code == -ENODEV)
		return -EADDRNOTAVAIL;
	if (code || choice->choice != ADAPTER_CHOICE_ADDRESS)
		return code;
	count = controller_list(adapters);
	for (size_t i = 0; i < count; i++)
		if (!memcmp(&adapters[i], &dial->adapter, sizeof(adapters[i])))
			return 0;
	return controller_unreachable(&dial->adapter, &dial->error);
}

static void remote_start(void *arg)
{
	struct remote_dial *dial = arg;
	int code = choose_adapter(dial);

	if (code == 0)
		code = remote_find(dial);
	if (code)
		remote_dial_end(dial, NULL, code);
}

/* ---- from outside ------------------------------------------------------------------- */

static bool remote_describe(const struct dial *base, struct error *error)
{
	const struct remote_dial *dial = (const struct remote_dial *)base;

	if (dial->attempts)
		error_set(error, 0, "%s (tried %u %s)", dial->error.text,
			  dial->attempts,
			  dial->attempts == 1 ? "time" : "times");
	else if (dial->step == REMOTE_STEP_FIND)
		error_set(error, 0, "it was still being looked for");
	else if (dial->step == REMOTE_STEP_ASK)
		error_set(error, 0, "%s had not said which services it has",
			  dial->who);
	else
		error_set(error, 0, "the link to %s was still being made",
			  dial->who);
	return true;
}

struct dial *remote_dial(struct target *target, dial_done_cb done, void *arg)
{
	static const struct dial_ops ops = {
		.cancel = remote_dial_cancel,
		.describe = remote_describe,
	};
	const struct remote *remote = (const struct remote *)target;
	struct remote_dial *dial = calloc(1, sizeof(*dial));

	if (!dial)
		return NULL;
	dial->dial.ops = &ops;
	dial->remote = remote;
	dial->port = remote->port;
	dial->pause_ms = PAUSE_FIRST_MS;
	dial->start.run = remote_start;
	dial->start.arg = dial;
	dial->done = done;
	dial->arg = arg;
	dial->pause = evtimer_new(remote->loop->base, remote_pause_over, dial);
	if (!dial->pause) {
		free(dial);
		errno = ENOMEM;
		return NULL;
	}
	loop_defer(remote->loop, &dial->start);
	return &dial->dial;
}

int remote_init(struct remote *remote, const struct remote_ops *ops,
		struct loop *loop, const struct address_endpoint *address,
		const struct address_device *device, uint16_t port,
		const struct address_uuid *service,
		const struct endpoint_settings *settings, struct error *error)
{
	char text[ADDRESS_ENDPOINT_TEXT_BYTES];

	remote->ops = ops;
	remote->loop = loop;
	remote->bluez = settings->bluez;
	remote->adapter = settings->adapter;
	remote->security = settings->security;
	remote->port = port;
	remote->service = *service;
	remote->device.address = device->address;
	address_endpoint_format(address, ENDPOINT_ROLE_CONNECT, text);
	copy_shown(remote->target.name, sizeof(remote->target.name), text);
	/*
	 * A device is one thing: a second RFCOMM link to its channel is EBUSY.
	 * L2CAP would make more channels, but it is one thing all the same.
	 */
	remote->target.sessions_max = 1;
	if (!device->name)
		return 0;
	remote->device.name = strdup(device->name);
	return remote->device.name ? 0
				   : error_set(error, -ENOMEM, "out of memory");
}

void remote_clear(struct remote *remote)
{
	address_device_clear(&remote->device);
}
