/* SPDX-License-Identifier: MIT */
/*
 * What listeners for phones and devices have in common, RFCOMM's and L2CAP's:
 * which adapter was meant, and those whose link is still being set up.
 *
 * Does not know how a socket is bound, nor what is read from it.
 */
#ifndef BTGATE_BT_LISTENER_H
#define BTGATE_BT_LISTENER_H

#include "address.h"
#include "endpoint.h"
#include "link_setup.h"
#include "socket.h"

struct error;

struct bt_listener {
	struct socket_listener base;
	struct address_adapter choice;
	struct address_bluetooth adapter; /* what was meant by it */
	struct link_setups setups;
};

struct bt_listener_kind {
	enum service_protocol protocol;
	/* Of the setups; given the listener. */
	link_setup_check_cb check;
	link_setup_ready_cb ready;
};

/*
 * As for socket_listener_new; @fd listens at @port of @adapter, which is what
 * the choice in @settings meant (controller_choose). A kind's own struct begins
 * with a struct bt_listener.
 */
int bt_listener_new(const struct bt_listener_kind *kind,
		    const struct socket_listen *listen, size_t bytes, int fd,
		    const char *name, uint16_t port,
		    const struct endpoint_settings *settings,
		    const struct address_bluetooth *adapter,
		    struct bt_listener **out, struct error *error);

#endif
