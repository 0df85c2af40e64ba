/* SPDX-License-Identifier: MIT */
#include "bt_port.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bluetooth/bluetooth.h>
#include <bluetooth/l2cap.h>

#include "address_ports.h"
#include "bdaddr.h"
#include "controller.h"

#define PSM_MAX 0xfeff

static int probe(const struct bt_port_kind *kind,
		 const struct address_bluetooth *adapter, uint16_t port)
{
	int fd = kind->open();
	int code;

	if (fd < 0)
		return fd;
	code = kind->bind(fd, adapter, port);
	close(fd);
	return code;
}

/* 0 if it is free on @chosen and on all that overlap with it. */
static int probe_overlapping(const struct bt_port_kind *kind,
			     const struct address_bluetooth *chosen,
			     uint16_t port)
{
	const struct address_bluetooth any = {{0}};
	struct address_bluetooth adapters[CONTROLLERS_MAX];
	bool is_any = !memcmp(chosen, &any, sizeof(any));
	size_t count = is_any ? controller_list(adapters) : 0;
	int code = is_any ? 0 : probe(kind, &any, port);

	for (size_t i = 0; code == 0 && i < count; i++)
		code = probe(kind, &adapters[i], port);
	return code;
}

int bt_port_bind(const struct bt_port_kind *kind, int fd,
		 const struct address_bluetooth *adapter, uint16_t fixed,
		 const struct address_ports *reserved)
{
	const unsigned int first = fixed ? fixed : kind->auto_min;
	const unsigned int last = fixed ? fixed : kind->auto_max;
	int code = -EADDRINUSE;

	for (unsigned int port = first; port <= last; port += kind->auto_step) {
		if (!fixed && address_ports_has(reserved, (uint16_t)port))
			continue;
		code = probe_overlapping(kind, adapter, (uint16_t)port);
		if (code == 0)
			code = kind->bind(fd, adapter, (uint16_t)port);
		if (code != -EADDRINUSE)
			return code ? code : (int)port;
	}
	return code;
}

int bt_port_bind_dialling(int fd, const struct address_bluetooth *adapter)
{
	static const struct address_bluetooth any;
	struct sockaddr_l2 address = {
		.l2_family = AF_BLUETOOTH,
		.l2_bdaddr_type = BDADDR_BREDR,
	};
	unsigned int psm = PSM_MAX;

	if (!memcmp(adapter, &any, sizeof(any)))
		return 0;
	bdaddr_from_address(adapter, &address.l2_bdaddr);
	while (psm > ADDRESS_PSM_AUTO_MAX) {
		address.l2_psm = htobs((uint16_t)psm);
		if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
			return 0;
		if (errno != EADDRINUSE)
			return -errno;
		/* The low byte is odd, the high one even. */
		psm -= (psm & 0xff) == 1 ? 0x102 : 2;
	}
	return -EADDRINUSE;
}
