/* SPDX-License-Identifier: MIT */
/*
 * Remote Bluetooth devices as targets: what rfcomm and l2cap share when they
 * dial. Each dial finds the device where it is given by name, asks it for the
 * service's channel or PSM where that is not given (a device may move it from
 * one day to the next), connects, and tries again what passes by itself.
 *
 * Knows the order of this and what is worth another try; does not know how a
 * socket of its kind is made, and has no deadline: it is cancelled.
 *
 * How a dial fails, each with a sentence that says who, why and what to do:
 *
 *   -ENODEV, -ENOTUNIQ  no device has that name, or several do (bluez.h)
 *   -ENOTCONN           no bluetoothd to find a name
 *   -EADDRNOTAVAIL      the adapter is not there
 *   -ENETDOWN           it is powered off
 *   -ENOENT             the device has no such service
 *   -ECONNREFUSED       it has nobody at that channel or PSM
 *   -EACCES             it wants to be paired, has lost its key, or the link to
 *                       it has a lesser one than the route needs
 *   -EPROTO and others  it cannot be asked for its services (sdp_query.h)
 *
 * What passes (a link that is just closing, a page that was not heard) is tried
 * again, after growing pauses: a device that is not there never fails by itself.
 */
#ifndef BTGATE_REMOTE_H
#define BTGATE_REMOTE_H

#include <stdint.h>
#include <sys/socket.h>

#include "address_device.h"
#include "endpoint.h"
#include "sdp_parse.h"

struct remote;

struct remote_ops {
	enum sdp_found_protocol protocol;
	const char *port_word; /* "channel", "PSM" */
	/*
	 * A non-blocking socket for a link from the adapter at @adapter (all
	 * zero: any), bound and set up but not connected, and in @to where it
	 * is to connect; or -errno, which is taken for the connection's.
	 */
	int (*open)(const struct remote *remote,
		    const struct address_bluetooth *adapter,
		    const struct address_bluetooth *device, uint16_t port,
		    struct sockaddr_storage *to, socklen_t *to_bytes);
	/*
	 * Of a connected @fd, taken over on success; NULL with errno set:
	 * EKEYREJECTED where its link has a lesser key than the route needs.
	 */
	struct stream *(*stream)(const struct remote *remote, int fd,
				 const char *peer);
};

/* What such a target begins with. */
struct remote {
	struct target target; /* its ops are the kind's */
	const struct remote_ops *ops;
	struct loop *loop;
	struct bluez *bluez; /* NULL: names cannot be found */
	struct address_adapter adapter;
	enum security_level security;
	struct address_device device; /* its own copy */
	uint16_t port; /* 0: by service */
	struct address_uuid service;
};

/*
 * Fill in @remote but for the two above, and name the target after @address. 0,
 * or -errno with a sentence: -EAFNOSUPPORT, -EPROTONOSUPPORT where this machine
 * has no sockets of that kind.
 */
int remote_init(struct remote *remote, const struct remote_ops *ops,
		struct loop *loop, const struct address_endpoint *address,
		const struct address_device *device, uint16_t port,
		const struct address_uuid *service,
		const struct endpoint_settings *settings, struct error *error);
/* Undoes it; does not free @remote. */
void remote_clear(struct remote *remote);

/* A target_ops' dial. */
struct dial *remote_dial(struct target *target, dial_done_cb done, void *arg);

#endif
