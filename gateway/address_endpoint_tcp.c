/* SPDX-License-Identifier: MIT */
#include "address_endpoint_kind.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address_host.h"
#include "error.h"
#include "text.h"

#define KEEPALIVE_S_MAX 32767 /* MAX_TCP_KEEPIDLE in the kernel */
#define KEEPALIVE_S_DEFAULT 60

static int parse_tcp(struct address_endpoint *endpoint, enum endpoint_role role,
		     char *address, struct error *error)
{
	bool is_listen = role == ENDPOINT_ROLE_LISTEN;
	const char *form = is_listen ? "tcp:[HOST:]PORT, with * as HOST for "
				       "every address"
				     : "tcp:HOST:PORT";
	char host[ADDRESS_HOST_BYTES_MAX + 1] = "127.0.0.1";
	unsigned long long number;
	char *port = address;
	char quoted[TEXT_QUOTED_BYTES];
	int code;

	/* An own default for listening, so that nothing is opened unasked. */
	if (!is_listen || address[strcspn(address, ":[")]) {
		code = address_host_parse(address, form, host, sizeof(host),
					  &port, error);
		if (code < 0)
			return code;
	}
	if (!text_parse_number(port, UINT16_MAX, &number) || !number)
		return error_set(error, -EINVAL,
				 "'%s' is not a TCP port (1 to 65535); write "
				 "%s",
				 text_printable(port, quoted), form);
	if (is_listen && !address_host_is_listenable(host))
		return error_set(error, -EINVAL,
				 "cannot listen on '%s'; write one of this "
				 "machine's addresses, localhost, or * for "
				 "every address",
				 text_printable(host, quoted));
	if (!is_listen && address_host_is_wildcard(host))
		return error_set(error, -EINVAL,
				 "'%s' is for listening; to connect, write the "
				 "host's name or address",
				 host);
	endpoint->tcp.port = (uint16_t)number;
	endpoint->tcp.keepalive_s = KEEPALIVE_S_DEFAULT;
	endpoint->tcp.host = strdup(host);
	return endpoint->tcp.host ? 0
				  : error_set(error, -ENOMEM, "out of memory");
}

static void format_tcp(const struct address_endpoint *endpoint,
		       enum endpoint_role role, char *text, size_t bytes)
{
	const struct endpoint_tcp *tcp = &endpoint->tcp;
	bool is_ipv6 = strchr(tcp->host, ':');

	snprintf(text, bytes, "%s%s%s:%u", is_ipv6 ? "[" : "", tcp->host,
		 is_ipv6 ? "]" : "", tcp->port);
}

static void clear_tcp(struct address_endpoint *endpoint)
{
	free(endpoint->tcp.host);
}

static int parse_keepalive(struct address_endpoint *endpoint, const char *value,
			   struct error *error)
{
	char quoted[TEXT_QUOTED_BYTES];
	unsigned int ms = 0;
	int code = strcmp(value, "off") == 0
			   ? 0
			   : address_duration_parse(value, &ms, error);

	if (code < 0)
		return error_prefix(error, code, "keepalive");
	if (ms % 1000 || ms / 1000 > KEEPALIVE_S_MAX)
		return error_set(error, -EINVAL,
				 "keepalive '%s' is not in whole seconds from "
				 "1s to %ds, or off",
				 text_printable(value, quoted),
				 KEEPALIVE_S_MAX);
	endpoint->tcp.keepalive_s = ms / 1000;
	return 0;
}

static bool format_keepalive(const struct address_endpoint *endpoint,
			     char *text, size_t bytes)
{
	if (endpoint->tcp.keepalive_s)
		address_duration_format(endpoint->tcp.keepalive_s * 1000, text);
	else
		snprintf(text, bytes, "off");
	return endpoint->tcp.keepalive_s != KEEPALIVE_S_DEFAULT;
}

static bool tcp_is_conflict(const struct address_endpoint *a,
			    enum endpoint_role a_role,
			    const struct address_adapter *a_adapter,
			    const struct address_endpoint *b,
			    enum endpoint_role b_role,
			    const struct address_adapter *b_adapter)
{
	return a_role == ENDPOINT_ROLE_LISTEN &&
	       b_role == ENDPOINT_ROLE_LISTEN && a->tcp.port == b->tcp.port &&
	       address_host_is_conflict(a->tcp.host, b->tcp.host);
}

static bool tcp_is_loop(const struct address_endpoint *listen,
			const struct address_endpoint *connect)
{
	return listen->tcp.port == connect->tcp.port &&
	       address_host_is_reached(listen->tcp.host, connect->tcp.host);
}

/* clang-format off */
const struct address_endpoint_kind address_endpoint_tcp = {
	.name = "tcp",
	.roles = ROLE_BOTH,
	.needs = {ADDRESS_NEED_REQUIRED, ADDRESS_NEED_REQUIRED},
	.has_packing = true,
	.security_max = SECURITY_LEVEL_FIPS,
	.forms = {"tcp:[HOST:]PORT", "tcp:HOST:PORT"},
	.parse = parse_tcp,
	.format = format_tcp,
	.clear = clear_tcp,
	.is_conflict = tcp_is_conflict,
	.is_loop = tcp_is_loop,
	.options = {
		{"keepalive", ROLE_BOTH, "60s", false, parse_keepalive,
		 format_keepalive},
	},
};
/* clang-format on */
