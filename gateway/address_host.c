/* SPDX-License-Identifier: MIT */
#include "address_host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "error.h"
#include "text.h"

bool address_host_is_wildcard(const char *host)
{
	return strcmp(host, "*") == 0 || strcmp(host, "0.0.0.0") == 0 ||
	       strcmp(host, "::") == 0;
}

static bool host_is_loopback(const char *host)
{
	return strcasecmp(host, "localhost") == 0 ||
	       strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

/* Whether a listener on the @wildcard gets what goes to the literal @host. */
static bool wildcard_takes(const char *wildcard, const char *host)
{
	return strcmp(wildcard, "0.0.0.0") != 0 || !strchr(host, ':');
}

/* Literals are stored in one spelling, so that text tells. */
static bool host_is_same(const char *a, const char *b)
{
	if (strcasecmp(a, b) == 0)
		return true;
	if (strcasecmp(b, "localhost") == 0) {
		const char *swap = a;

		a = b;
		b = swap;
	}
	return strcasecmp(a, "localhost") == 0 &&
	       (strcmp(b, "127.0.0.1") == 0 || strcmp(b, "::1") == 0);
}

/* Into the one spelling; a zone (%eth0) is kept. */
static int parse_ipv6(const char *text, char *out, size_t bytes,
		      struct error *error)
{
	char address[INET6_ADDRSTRLEN];
	const char *zone = strchrnul(text, '%');
	size_t length = (size_t)(zone - text);
	struct in6_addr binary;
	char quoted[TEXT_QUOTED_BYTES];
	bool is_good = length < sizeof(address) && strlen(zone) <= 16;

	for (const char *c = zone; is_good && *c; c++)
		is_good = c == zone ? c[1] != '\0' : text_is_name_char(*c);
	if (is_good) {
		memcpy(address, text, length);
		address[length] = '\0';
		is_good = inet_pton(AF_INET6, address, &binary) == 1;
	}
	if (!is_good)
		return error_set(error, -EINVAL, "'%s' is not an IPv6 address",
				 text_printable(text, quoted));
	inet_ntop(AF_INET6, &binary, address, sizeof(address));
	snprintf(out, bytes, "%s%s", address, zone);
	return 0;
}

bool address_host_is_listenable(const char *host)
{
	struct in6_addr binary;

	return strcmp(host, "*") == 0 || strcmp(host, "localhost") == 0 ||
	       inet_pton(AF_INET, host, &binary) == 1 ||
	       inet_pton(AF_INET6, host, &binary) == 1;
}

static int check_host(const char *host, struct error *error)
{
	struct in_addr binary;
	char quoted[TEXT_QUOTED_BYTES];
	bool is_good = *host && *host != '.' && *host != '-' &&
		       strlen(host) <= ADDRESS_HOST_BYTES_MAX &&
		       !strstr(host, "..");

	if (strcmp(host, "*") == 0)
		return 0;
	text_printable(host, quoted);
	if (strchr(host, ':'))
		return error_set(
			error, -EINVAL,
			"'%s' has more than one colon; an IPv6 address "
			"goes in brackets: [::1]:2000",
			quoted);
	for (const char *c = host; *c; c++)
		is_good = is_good && text_is_name_char(*c);
	if (!is_good)
		return error_set(error, -EINVAL,
				 "'%s' is not a host name or address", quoted);
	if (!host[strspn(host, "0123456789.")] &&
	    inet_pton(AF_INET, host, &binary) != 1)
		return error_set(error, -EINVAL, "'%s' is not an IPv4 address",
				 quoted);
	return 0;
}

int address_host_parse(char *address, const char *form, char *host,
		       size_t host_bytes, char **port, struct error *error)
{
	bool is_bracketed = *address == '[';
	char *end = is_bracketed ? strchr(address, ']') : strrchr(address, ':');
	char quoted[TEXT_QUOTED_BYTES];

	text_printable(address, quoted);
	if (!end)
		return error_set(error, -EINVAL, "%s in '%s'; write %s",
				 is_bracketed ? "no closing bracket"
					      : "no host",
				 quoted, form);
	*end++ = '\0';
	if (is_bracketed && *end++ != ':')
		return error_set(error, -EINVAL,
				 "no port after the bracket in '%s'; write %s",
				 quoted, form);
	*port = end;
	if (is_bracketed)
		return parse_ipv6(address + 1, host, host_bytes, error);
	if (!*address)
		return error_set(error, -EINVAL,
				 "no host before the colon in '%s'; write %s",
				 quoted, form);
	for (char *c = address; *c; c++)
		*c = text_lower(*c);
	snprintf(host, host_bytes, "%s", address);
	return check_host(address, error);
}

bool address_host_is_conflict(const char *a, const char *b)
{
	if (address_host_is_wildcard(a) && address_host_is_wildcard(b))
		return true;
	if (address_host_is_wildcard(a))
		return wildcard_takes(a, b);
	if (address_host_is_wildcard(b))
		return wildcard_takes(b, a);
	return host_is_same(a, b);
}

bool address_host_is_reached(const char *listen, const char *connect)
{
	if (address_host_is_wildcard(listen))
		return host_is_loopback(connect) &&
		       wildcard_takes(listen, connect);
	return host_is_same(listen, connect);
}
