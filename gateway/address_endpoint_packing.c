/* SPDX-License-Identifier: MIT */
/* How bytes are put together into packets: options of every stream. */
#include "address_endpoint_kind.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "text.h"

#define GAP_MS_MAX 10000
#define BYTES_MAX 65536

static const struct {
	char letter;
	uint8_t byte;
} escapes[] = {
	{'n', '\n'},
	{'r', '\r'},
	{'t', '\t'},
	{'0', '\0'},
};

#define ESCAPE_COUNT (sizeof(escapes) / sizeof(escapes[0]))

/* What follows a backslash; how many characters of it, or 0. */
static size_t parse_escape(const char *text, uint8_t *out)
{
	for (size_t i = 0; i < ESCAPE_COUNT; i++) {
		if (*text != escapes[i].letter)
			continue;
		*out = escapes[i].byte;
		return 1;
	}
	if (*text == 'x' && text_hex_value(text[1]) >= 0 &&
	    text_hex_value(text[2]) >= 0) {
		*out = (uint8_t)(text_hex_value(text[1]) << 4 |
				 text_hex_value(text[2]));
		return 3;
	}
	if (*text && strchr("\\\";, ", *text)) {
		*out = (uint8_t)*text;
		return 1;
	}
	return 0;
}

/* The one byte that @length characters of @text stand for. */
static bool parse_byte(const char *text, size_t length, uint8_t *out)
{
	if (*text == '\\')
		return parse_escape(text + 1, out) == length - 1 && length > 1;
	*out = (uint8_t)*text;
	return length == 1 && *out >= ' ' && *out < 0x7f;
}

/* Quotes are taken off here: "\n" is to be a newline in them, too. */
static int parse_until(struct address_endpoint *endpoint, const char *value,
		       struct error *error)
{
	size_t length = strlen(value);
	const char *text = value;
	char quoted[TEXT_QUOTED_BYTES];

	if (length > 2 && text[0] == '"' && text[length - 1] == '"') {
		text++;
		length -= 2;
	}
	if (length == 4 && strncmp(text, "\\r\\n", length) == 0)
		return error_set(error, -EINVAL,
				 "pack-until takes one character; for lines "
				 "that end in \\r\\n write pack-until=\\n");
	if (!parse_byte(text, length, &endpoint->packing.delimiter))
		return error_set(error, -EINVAL,
				 "pack-until '%s' is not one character; write "
				 "it as it is (a comma in double quotes), or "
				 "\\n, \\r, \\t, \\0 or, in hex, \\x1B",
				 text_printable(value, quoted));
	endpoint->packing.has_delimiter = true;
	return 0;
}

static bool format_until(const struct address_endpoint *endpoint, char *text,
			 size_t bytes)
{
	uint8_t byte = endpoint->packing.delimiter;

	if (byte > ' ' && byte < 0x7f && !strchr("\\\";,", byte))
		snprintf(text, bytes, "%c", byte);
	else
		snprintf(text, bytes, "\\x%02X", byte);
	for (size_t i = 0; i < ESCAPE_COUNT; i++) {
		if (byte == escapes[i].byte)
			snprintf(text, bytes, "\\%c", escapes[i].letter);
	}
	return endpoint->packing.has_delimiter;
}

static int parse_gap(struct address_endpoint *endpoint, const char *value,
		     struct error *error)
{
	char quoted[TEXT_QUOTED_BYTES];
	unsigned int ms = 0;
	int code = address_duration_parse(value, &ms, error);

	if (code < 0)
		return error_prefix(error, code, "pack-gap");
	if (!ms || ms > GAP_MS_MAX)
		return error_set(error, -EINVAL,
				 "pack-gap '%s' is not 1ms to %ds",
				 text_printable(value, quoted),
				 GAP_MS_MAX / 1000);
	endpoint->packing.gap_ms = ms;
	return 0;
}

static bool format_gap(const struct address_endpoint *endpoint, char *text,
		       size_t bytes)
{
	address_duration_format(endpoint->packing.gap_ms, text);
	return endpoint->packing.gap_ms;
}

static int parse_size(struct address_endpoint *endpoint, const char *value,
		      struct error *error)
{
	char quoted[TEXT_QUOTED_BYTES];
	unsigned long long number;

	if (!text_parse_number(value, BYTES_MAX, &number) || !number)
		return error_set(error, -EINVAL,
				 "pack-size '%s' is not a number of bytes, 1 "
				 "to %d",
				 text_printable(value, quoted), BYTES_MAX);
	endpoint->packing.bytes = (unsigned int)number;
	return 0;
}

static bool format_size(const struct address_endpoint *endpoint, char *text,
			size_t bytes)
{
	snprintf(text, bytes, "%u", endpoint->packing.bytes);
	return endpoint->packing.bytes;
}

const struct endpoint_option address_endpoint_packing[] = {
	{"pack-until", ROLE_BOTH, "\\n", true, parse_until, format_until},
	{"pack-gap", ROLE_BOTH, "20ms", false, parse_gap, format_gap},
	{"pack-size", ROLE_BOTH, "512", false, parse_size, format_size},
	{NULL},
};
