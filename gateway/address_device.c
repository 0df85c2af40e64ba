/* SPDX-License-Identifier: MIT */
#include "address_device.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "text.h"

#define ADDRESS_DIGITS 12

/* Whether @text can only be meant as an address, well written or not. */
static bool is_like_address(const char *text)
{
	size_t digits = 0;

	if (strchr(text, ':'))
		return true;
	for (; *text; text++) {
		if (strchr("0123456789abcdefABCDEF", *text))
			digits++;
		else if (!strchr("-_.", *text))
			return false;
	}
	return digits == ADDRESS_DIGITS;
}

static int check_name(const char *name, struct error *error)
{
	char quoted[TEXT_QUOTED_BYTES];
	int code = text_check_shown(name, error);

	if (code < 0)
		return error_prefix(error, code, "the device's name '%s'",
				    text_printable(name, quoted));
	if (strlen(name) > ADDRESS_DEVICE_NAME_BYTES_MAX)
		return error_set(error, -EINVAL,
				 "the device's name '%s' is %zu bytes long; at "
				 "most %d",
				 text_printable(name, quoted), strlen(name),
				 ADDRESS_DEVICE_NAME_BYTES_MAX);
	return 0;
}

static int parse_name(const char *text, char **out, struct error *error)
{
	char *name = strdup(text);
	int code;

	if (!name)
		return error_set(error, -ENOMEM, "out of memory");
	code = text_parse_quoted(name, error);
	if (code == 0)
		code = check_name(name, error);
	if (code < 0) {
		free(name);
		return code;
	}
	*out = name;
	return 0;
}

int address_device_parse(const char *text, struct address_device *out,
			 struct error *error)
{
	struct address_device device = {NULL};
	char quoted[TEXT_QUOTED_BYTES];
	int code;

	if (address_bluetooth_parse(text, &device.address, NULL) == 0) {
		*out = device;
		return 0;
	}
	if (*text != '"' && is_like_address(text))
		return error_set(error, -EINVAL,
				 "'%s' is not a Bluetooth address; write it "
				 "like 00:11:22:AA:BB:CC (if it is a name, in "
				 "double quotes)",
				 text_printable(text, quoted));
	code = parse_name(text, &device.name, error);
	if (code == 0)
		*out = device;
	return code;
}

void address_device_format(const struct address_device *device,
			   char text[ADDRESS_DEVICE_TEXT_BYTES])
{
	if (device->name)
		text_quote(device->name, text, ADDRESS_DEVICE_TEXT_BYTES);
	else
		address_bluetooth_format(&device->address, text);
}

void address_device_clear(struct address_device *device)
{
	free(device->name);
	memset(device, 0, sizeof(*device));
}
