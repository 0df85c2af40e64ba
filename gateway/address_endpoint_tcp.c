/* SPDX-License-Identifier: MIT */
/* The kinds that are TCP ports: tcp, tls. */
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
#define FILE_BYTES_MAX 255

/* ---- what both have ------------------------------------------------------ */

static const char *form_of(const struct address_endpoint *endpoint,
			   enum endpoint_role role)
{
	bool is_tls = endpoint->kind == ENDPOINT_KIND_TLS;

	if (role == ENDPOINT_ROLE_LISTEN)
		return is_tls ? "tls:[HOST:]PORT, with * as HOST for every "
				"address"
			      : "tcp:[HOST:]PORT, with * as HOST for every "
				"address";
	return is_tls ? "tls:HOST:PORT" : "tcp:HOST:PORT";
}

static int parse_tcp(struct address_endpoint *endpoint, enum endpoint_role role,
		     char *address, struct error *error)
{
	bool is_listen = role == ENDPOINT_ROLE_LISTEN;
	const char *form = form_of(endpoint, role);
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

static uint32_t tcp_place(const struct address_endpoint *endpoint,
			  enum endpoint_role role)
{
	return role == ENDPOINT_ROLE_LISTEN ? endpoint->tcp.port : 0;
}

static bool tcp_is_loop(const struct address_endpoint *listen,
			const struct address_endpoint *connect)
{
	return listen->tcp.port == connect->tcp.port &&
	       address_host_is_reached(listen->tcp.host, connect->tcp.host);
}

/* ---- tcp ------------------------------------------------------------------ */

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
	.place = tcp_place,
	.is_loop = tcp_is_loop,
	.options = {
		{"keepalive", ROLE_BOTH, "60s", false, parse_keepalive,
		 format_keepalive},
	},
};
/* clang-format on */

/* ---- tls ------------------------------------------------------------------ */

static int parse_tls_file(const char *value, const char *option, char **out,
			  struct error *error)
{
	char quoted[TEXT_QUOTED_BYTES];

	for (const char *c = value; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return error_set(error, -EINVAL,
					 "a control character in %s '%s'",
					 option, text_printable(value, quoted));
	}
	if (*value != '/')
		return error_set(error, -EINVAL,
				 "%s '%s' is not an absolute path; write "
				 "%s=/PATH",
				 option, text_printable(value, quoted), option);
	if (strlen(value) > FILE_BYTES_MAX)
		return error_set(error, -EINVAL,
				 "the path '%s' is %zu bytes long; %s takes at "
				 "most %d",
				 text_printable(value, quoted), strlen(value),
				 option, FILE_BYTES_MAX);
	*out = strdup(value);
	return *out ? 0 : error_set(error, -ENOMEM, "out of memory");
}

static bool format_file(const char *path, char *text, size_t bytes)
{
	if (path)
		text_format_quoted(path, text, bytes);
	return path;
}

static int parse_ca(struct address_endpoint *endpoint, const char *value,
		    struct error *error)
{
	return parse_tls_file(value, "ca", &endpoint->tls.ca, error);
}

static bool format_ca(const struct address_endpoint *endpoint, char *text,
		      size_t bytes)
{
	return format_file(endpoint->tls.ca, text, bytes);
}

static int parse_cert(struct address_endpoint *endpoint, const char *value,
		      struct error *error)
{
	return parse_tls_file(value, "cert", &endpoint->tls.cert, error);
}

static bool format_cert(const struct address_endpoint *endpoint, char *text,
			size_t bytes)
{
	return format_file(endpoint->tls.cert, text, bytes);
}

static int parse_key(struct address_endpoint *endpoint, const char *value,
		     struct error *error)
{
	return parse_tls_file(value, "key", &endpoint->tls.key, error);
}

static bool format_key(const struct address_endpoint *endpoint, char *text,
		       size_t bytes)
{
	return format_file(endpoint->tls.key, text, bytes);
}

static int parse_name(struct address_endpoint *endpoint, const char *value,
		      struct error *error)
{
	char quoted[TEXT_QUOTED_BYTES];
	const char *c = value;

	/* A host's name, or an address of either family. */
	while (text_is_name_char(*c) || *c == ':')
		c++;
	if (*c || strlen(value) > ADDRESS_HOST_BYTES_MAX)
		return error_set(error, -EINVAL,
				 "name '%s' is not a host's name or address",
				 text_printable(value, quoted));
	endpoint->tls.name = strdup(value);
	return endpoint->tls.name ? 0
				  : error_set(error, -ENOMEM, "out of memory");
}

static bool format_name(const struct address_endpoint *endpoint, char *text,
			size_t bytes)
{
	const char *name = endpoint->tls.name;

	snprintf(text, bytes, "%s", name ? name : "");
	return name;
}

static int check_tls(const struct address_endpoint *endpoint,
		     enum endpoint_role role, struct error *error)
{
	const struct endpoint_tls *tls = &endpoint->tls;

	if (!tls->cert != !tls->key)
		return error_set(error, -EINVAL,
				 "%s needs %s=FILE beside it, which may be the "
				 "same file",
				 tls->cert ? "cert" : "key",
				 tls->cert ? "key" : "cert");
	if (role == ENDPOINT_ROLE_LISTEN && !tls->cert)
		return error_set(error, -EINVAL,
				 "who listens needs a certificate: add "
				 "cert=FILE,key=FILE");
	return 0;
}

static void clear_tls(struct address_endpoint *endpoint)
{
	free(endpoint->tls.tcp.host);
	free(endpoint->tls.ca);
	free(endpoint->tls.cert);
	free(endpoint->tls.key);
	free(endpoint->tls.name);
}

/* clang-format off */
const struct address_endpoint_kind address_endpoint_tls = {
	.name = "tls",
	.roles = ROLE_BOTH,
	.needs = {ADDRESS_NEED_REQUIRED, ADDRESS_NEED_REQUIRED},
	.has_packing = true,
	.security_max = SECURITY_LEVEL_FIPS,
	.forms = {"tls:[HOST:]PORT,cert=FILE,key=FILE", "tls:HOST:PORT"},
	.parse = parse_tcp,
	.check = check_tls,
	.format = format_tcp,
	.clear = clear_tls,
	.is_conflict = tcp_is_conflict,
	.place = tcp_place,
	.is_loop = tcp_is_loop,
	.options = {
		{"cert", ROLE_BOTH, "/etc/btgate/cert.pem", false, parse_cert,
		 format_cert},
		{"key", ROLE_BOTH, "/etc/btgate/key.pem", false, parse_key,
		 format_key},
		{"ca", ROLE_BOTH, "/etc/btgate/ca.pem", false, parse_ca,
		 format_ca},
		{"name", ROLE_CONNECT, "meter.lan", false, parse_name,
		 format_name},
		{"keepalive", ROLE_BOTH, "60s", false, parse_keepalive,
		 format_keepalive},
	},
};
/* clang-format on */
