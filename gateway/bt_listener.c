/* SPDX-License-Identifier: MIT */
#include "bt_listener.h"

#include "bt_socket.h"
#include "controller.h"

static void bt_listener_accepted(int fd, void *arg)
{
	struct bt_listener *listener = arg;

	link_setups_add(&listener->setups, fd);
}

static int bt_listener_check(const struct listener *base, struct error *error)
{
	const struct bt_listener *listener = (const struct bt_listener *)base;

	return controller_check(&listener->choice, &listener->adapter, error);
}

static void bt_listener_close(struct listener *base)
{
	struct bt_listener *listener = (struct bt_listener *)base;

	link_setups_clear(&listener->setups);
	socket_listener_close(base);
}

int bt_listener_new(const struct bt_listener_kind *kind,
		    const struct socket_listen *listen, size_t bytes, int fd,
		    const char *name, uint16_t port,
		    const struct endpoint_settings *settings,
		    const struct address_bluetooth *adapter,
		    struct bt_listener **out, struct error *error)
{
	static const struct listener_ops ops = {
		.check = bt_listener_check,
		.close = bt_listener_close,
	};
	struct socket_listener *base;
	struct bt_listener *listener;
	int code = socket_listener_new(listen, bytes, fd, &ops, name,
				       bt_listener_accepted, &base, error);

	if (code)
		return code;
	listener = (struct bt_listener *)base;
	listener->choice = settings->adapter;
	listener->adapter = *adapter;
	base->listener.protocol = kind->protocol;
	base->listener.port = port;
	link_setups_init(&listener->setups, listen->loop, &base->listener,
			 bt_socket_security_hint(settings->security),
			 kind->check, kind->ready, listener);
	*out = listener;
	return 0;
}
