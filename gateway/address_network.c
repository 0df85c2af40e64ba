/* SPDX-License-Identifier: MIT */
#include "address_network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "error.h"
#include "text.h"

/* How IPv4 begins, as IPv6 (RFC 4291, section 2.5.5.2). */
static const uint8_t mapped[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

#define MAPPED_BITS (8 * sizeof(mapped))
#define IP_BITS 128

static bool is_v4(const struct address_ip *ip)
{
	return memcmp(ip->bytes, mapped, sizeof(mapped)) == 0;
}

static void set_v4(struct address_ip *ip, const void *address)
{
	memcpy(ip->bytes, mapped, sizeof(mapped));
	memcpy(ip->bytes + sizeof(mapped), address, 4);
}

bool address_ip_of_socket(const struct sockaddr *address,
			  struct address_ip *out)
{
	switch (address->sa_family) {
	case AF_INET:
		set_v4(out, &((const struct sockaddr_in *)address)->sin_addr);
		return true;
	case AF_INET6:
		memcpy(out->bytes,
		       &((const struct sockaddr_in6 *)address)->sin6_addr,
		       sizeof(out->bytes));
		return true;
	default:
		return false;
	}
}

/* With what is behind the prefix taken off. */
static struct address_ip cut(const struct address_ip *ip,
			     unsigned int prefix_bits)
{
	struct address_ip out = {{0}};

	memcpy(out.bytes, ip->bytes, prefix_bits / 8);
	if (prefix_bits % 8)
		out.bytes[prefix_bits / 8] = ip->bytes[prefix_bits / 8] &
					     (uint8_t)(0xff00 >>
						       prefix_bits % 8);
	return out;
}

static bool has(const struct address_network *network,
		const struct address_ip *ip)
{
	struct address_ip start = cut(ip, network->prefix_bits);

	return memcmp(&start, &network->ip, sizeof(start)) == 0;
}

bool address_networks_has(const struct address_networks *networks,
			  const struct address_ip *ip)
{
	for (size_t i = 0; i < networks->count; i++) {
		if (has(&networks->items[i], ip))
			return true;
	}
	return !networks->count;
}

void address_network_format(const struct address_network *network,
			    char text[ADDRESS_NETWORK_TEXT_BYTES])
{
	bool is_short = network->prefix_bits >= MAPPED_BITS &&
			is_v4(&network->ip);
	unsigned int bits = network->prefix_bits;

	if (is_short)
		inet_ntop(AF_INET, network->ip.bytes + sizeof(mapped), text,
			  ADDRESS_NETWORK_TEXT_BYTES);
	else
		inet_ntop(AF_INET6, network->ip.bytes, text,
			  ADDRESS_NETWORK_TEXT_BYTES);
	if (bits < IP_BITS)
		text_append(text, ADDRESS_NETWORK_TEXT_BYTES, "/%u",
			    is_short ? bits - (unsigned int)MAPPED_BITS : bits);
}

/* ---- reading ---------------------------------------------------------- */

static bool parse_ip(const char *text, struct address_ip *out, bool *is_short)
{
	struct in_addr v4;

	*is_short = inet_pton(AF_INET, text, &v4) == 1;
	if (*is_short) {
		set_v4(out, &v4);
		return true;
	}
	return inet_pton(AF_INET6, text, out->bytes) == 1;
}

static int parse_network(char *text, struct address_network *out,
			 struct error *error)
{
	char *slash = strchr(text, '/');
	char quoted[TEXT_QUOTED_BYTES], network[ADDRESS_NETWORK_TEXT_BYTES];
	unsigned long long bits = IP_BITS;
	struct address_ip ip;
	bool is_short;

	text_printable(text, quoted);
	if (slash)
		*slash++ = '\0';
	if (!parse_ip(text, &ip, &is_short) ||
	    (slash &&
	     !text_parse_number(slash, is_short ? 32 : IP_BITS, &bits)))
		return error_set(
			error, -EINVAL,
			"'%s' is no IP address and no network of them; "
			"write it like 192.168.1.0/24, fd00::/8 or "
			"192.168.1.7",
			quoted);
	if (slash && is_short)
		bits += MAPPED_BITS;
	out->prefix_bits = (uint8_t)bits;
	out->ip = cut(&ip, out->prefix_bits);
	if (memcmp(&out->ip, &ip, sizeof(ip)) == 0)
		return 0;
	address_network_format(out, network);
	return error_set(
		error, -EINVAL,
		"'%s' is an address within a network; write %s for the "
		"network, or leave '/%s' out",
		quoted, network, slash);
}

static int add_one(char *text, void *list, struct error *error)
{
	struct address_networks *networks = list;
	struct address_network network;
	int code;

	if (!*text)
		return error_set(error, -EINVAL,
				 "an empty place between the commas");
	if (strcmp(text, "any") == 0)
		return error_set(error, -EINVAL,
				 "'any' stands alone; leave out the others");
	code = parse_network(text, &network, error);
	if (code < 0)
		return code;
	for (size_t i = 0; i < networks->count; i++) {
		const struct address_network *other = &networks->items[i];
		char wide[ADDRESS_NETWORK_TEXT_BYTES];
		char narrow[ADDRESS_NETWORK_TEXT_BYTES];

		if (other->prefix_bits > network.prefix_bits ||
		    !has(other, &network.ip))
			continue;
		address_network_format(&network, narrow);
		address_network_format(other, wide);
		return error_set(error, -EINVAL, "%s is in %s already", narrow,
				 wide);
	}
	if (networks->count == ADDRESS_NETWORKS_MAX)
		return error_set(error, -EINVAL, "more than %d networks",
				 ADDRESS_NETWORKS_MAX);
	networks->items[networks->count++] = network;
	return 0;
}

int address_networks_add(const char *text, struct address_networks *networks,
			 struct error *error)
{
	const size_t before = networks->count;
	int code = text_each_part(text, !before, add_one, networks, error);

	if (code < 0)
		networks->count = before;
	return code;
}
