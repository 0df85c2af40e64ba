/* SPDX-License-Identifier: MIT */
#include "address_endpoint_kind.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address_path.h"
#include "address_serial.h"
#include "error.h"
#include "text.h"

#define PATH_BYTES_MAX 255
#define DEFAULT_BAUD 115200

static const char parity_letters[] = {
	[SERIAL_PARITY_NONE] = 'n',
	[SERIAL_PARITY_EVEN] = 'e',
	[SERIAL_PARITY_ODD] = 'o',
	'\0',
};

static int parse_serial(struct address_endpoint *endpoint,
			enum endpoint_role role, char *address,
			struct error *error)
{
	endpoint->serial.baud = DEFAULT_BAUD;
	endpoint->serial.parity = SERIAL_PARITY_NONE;
	endpoint->serial.data_bits = 8;
	endpoint->serial.stop_bits = 1;
	return address_path_parse(address, "serial", PATH_BYTES_MAX,
				  &endpoint->serial.path, error);
}

/* "n81": parity, data bits, stop bits. */
static bool parse_frame(const char *text, struct endpoint_serial *serial)
{
	char parity = text_lower(text[0]);
	const char *letter = parity ? strchr(parity_letters, parity) : NULL;

	if (!letter || text[1] < '5' || text[1] > '8' || text[2] < '1' ||
	    text[2] > '2' || text[3])
		return false;
	serial->parity = (enum serial_parity)(letter - parity_letters);
	serial->data_bits = (uint8_t)(text[1] - '0');
	serial->stop_bits = (uint8_t)(text[2] - '0');
	return true;
}

/* 115200n81: as ser2net's users know it. */
static int parse_figures(struct address_endpoint *endpoint, const char *text,
			 struct error *error)
{
	struct endpoint_serial *serial = &endpoint->serial;
	size_t digits = strspn(text, "0123456789");
	unsigned long long baud = 0;
	char number[16], quoted[TEXT_QUOTED_BYTES];
	speed_t speed;

	text_printable(text, quoted);
	snprintf(number, sizeof(number), "%.*s", (int)digits, text);
	if (digits >= sizeof(number) ||
	    !text_parse_number(number, UINT_MAX, &baud))
		baud = UINT_MAX;
	if (text[digits] && !parse_frame(text + digits, serial))
		return error_set(
			error, -EINVAL,
			"'%s' is not the speed and form of a serial "
			"line; write the speed, then n, e or o "
			"(parity), 5 to 8 data bits, 1 or 2 stop bits: "
			"115200n81 for 115200 8N1",
			quoted);
	if (!address_serial_find_speed((unsigned int)baud, &speed))
		return error_set(
			error, -EINVAL,
			"'%s' has no speed of a serial port in it; the nearest "
			"is %u",
			quoted,
			address_serial_nearest_baud((unsigned int)baud));
	serial->baud = (unsigned int)baud;
	return 0;
}

static void format_serial(const struct address_endpoint *endpoint,
			  enum endpoint_role role, char *text, size_t bytes)
{
	const struct endpoint_serial *serial = &endpoint->serial;

	text_format_quoted(serial->path, text, bytes);
	text_append(text, bytes, ",%u%c%u%u", serial->baud,
		    parity_letters[serial->parity], serial->data_bits,
		    serial->stop_bits);
}

static void clear_serial(struct address_endpoint *endpoint)
{
	free(endpoint->serial.path);
}

static int parse_rtscts(struct address_endpoint *endpoint, const char *value,
			struct error *error)
{
	endpoint->serial.has_rtscts = true;
	return 0;
}

static bool format_rtscts(const struct address_endpoint *endpoint, char *text,
			  size_t bytes)
{
	return endpoint->serial.has_rtscts;
}

static int parse_xonxoff(struct address_endpoint *endpoint, const char *value,
			 struct error *error)
{
	endpoint->serial.has_xonxoff = true;
	return 0;
}

static bool format_xonxoff(const struct address_endpoint *endpoint, char *text,
			   size_t bytes)
{
	return endpoint->serial.has_xonxoff;
}

static int parse_local(struct address_endpoint *endpoint, const char *value,
		       struct error *error)
{
	endpoint->serial.is_local = true;
	return 0;
}

static bool format_local(const struct address_endpoint *endpoint, char *text,
			 size_t bytes)
{
	return endpoint->serial.is_local;
}

/* A port is opened by one only, to wait on it or to talk to it. */
static bool serial_is_conflict(const struct address_endpoint *a,
			       enum endpoint_role a_role,
			       const struct address_adapter *a_adapter,
			       const struct address_endpoint *b,
			       enum endpoint_role b_role,
			       const struct address_adapter *b_adapter)
{
	return address_path_is_same(a->serial.path, b->serial.path);
}

static uint32_t serial_place(const struct address_endpoint *endpoint,
			     enum endpoint_role role)
{
	return address_path_place(endpoint->serial.path);
}

/* clang-format off */
const struct address_endpoint_kind address_endpoint_serial = {
	.name = "serial",
	.roles = ROLE_BOTH,
	.needs = {ADDRESS_NEED_REQUIRED, ADDRESS_NEED_REQUIRED},
	.has_packing = true,
	.security_max = SECURITY_LEVEL_FIPS,
	.forms = {"serial:/dev/TTY[,115200n81]", "serial:/dev/TTY[,115200n81]"},
	.parse = parse_serial,
	.parse_figures = parse_figures,
	.figures_example = "115200n81",
	.format = format_serial,
	.clear = clear_serial,
	.is_conflict = serial_is_conflict,
	.place = serial_place,
	.options = {
		{"rtscts", ROLE_BOTH, NULL, false, parse_rtscts, format_rtscts},
		{"xonxoff", ROLE_BOTH, NULL, false, parse_xonxoff,
		 format_xonxoff},
		{"local", ROLE_BOTH, NULL, false, parse_local, format_local},
	},
};
/* clang-format on */
