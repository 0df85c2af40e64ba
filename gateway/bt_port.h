/* SPDX-License-Identifier: MIT */
/*
 * Binding a Bluetooth socket to a port of the chosen adapter: an RFCOMM channel,
 * an L2CAP PSM; a fixed one, or one that is free.
 *
 * The kernel compares one bound address only, and a listener on one adapter's
 * address silently takes the devices of a listener on all of them: what is to be
 * had must be free on all addresses that overlap.
 */
#ifndef BTGATE_BT_PORT_H
#define BTGATE_BT_PORT_H

#include <stdint.h>

struct address_bluetooth;
struct address_ports;

struct bt_port_kind {
	/* A socket of the kind, or -errno. */
	int (*open)(void);
	/* 0 or -errno. */
	int (*bind)(int fd, const struct address_bluetooth *adapter,
		    uint16_t port);
	/* What "auto" chooses from, from the lowest on. */
	uint16_t auto_min;
	uint16_t auto_max;
	uint16_t auto_step;
};

/*
 * Bind @fd to @fixed, or where that is 0 to the lowest port that is free and not
 * in @reserved. The port, or -errno; -EADDRINUSE: it is not free, or none is.
 */
int bt_port_bind(const struct bt_port_kind *kind, int fd,
		 const struct address_bluetooth *adapter, uint16_t fixed,
		 const struct address_ports *reserved);

/*
 * Bind an L2CAP socket that is to dial to @adapter; all zero: any, not at all. 0
 * or -errno. One that is bound has a PSM of its own, too: given none it takes the
 * first of those for "auto", and while its link is up nobody can listen there
 * (l2cap_add_psm, Linux 6.12). Here it is the last one that is free.
 */
int bt_port_bind_dialling(int fd, const struct address_bluetooth *adapter);

#endif
