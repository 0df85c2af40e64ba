/* SPDX-License-Identifier: MIT */
/*
 * IP addresses and networks of them, as text and as what can be compared: whom
 * a route takes that listens on TCP. Parsers as in address.h.
 */
#ifndef BTGATE_ADDRESS_NETWORK_H
#define BTGATE_ADDRESS_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct sockaddr;

/* IPv4 as IPv6 has it, ::ffff:192.0.2.1: a socket for both shows it so, too. */
struct address_ip {
	uint8_t bytes[16];
};

struct address_network {
	struct address_ip ip; /* what is behind the prefix is zero */
	uint8_t prefix_bits; /* of the 128 */
};

#define ADDRESS_NETWORKS_MAX 32

/* None: everybody. Owns nothing. */
struct address_networks {
	struct address_network items[ADDRESS_NETWORKS_MAX];
	size_t count;
};

#define ADDRESS_NETWORK_TEXT_BYTES 64

/*
 * Add "A, B, ..." to @networks, zeroed at first: 192.0.2.0/24, 2001:db8::/32, or
 * single addresses. "any", alone, adds nothing. On an error it is as before.
 */
int address_networks_add(const char *text, struct address_networks *networks,
			 struct error *error);
void address_network_format(const struct address_network *network,
			    char text[ADDRESS_NETWORK_TEXT_BYTES]);
/* Whether @ip is in one of them (none named: yes). */
bool address_networks_has(const struct address_networks *networks,
			  const struct address_ip *ip);

/* False if @address is not IP. */
bool address_ip_of_socket(const struct sockaddr *address,
			  struct address_ip *out);

#endif
