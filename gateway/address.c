/* SPDX-License-Identifier: MIT */
#include "address.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "error.h"
#include "text.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#define HCI_INDEX_MAX 65534 /* 65535 is HCI_DEV_NONE */

/* ---- Bluetooth addresses --------------------------------------------- */

static bool parse_hex(const char *text, uint8_t *octets, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int high = text_hex_value(text[2 * i]);
		int low = high < 0 ? -1 : text_hex_value(text[2 * i + 1]);

		if (low < 0)
			return false;
		octets[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

int address_bluetooth_parse(const char *text, struct address_bluetooth *out,
			    struct error *error)
{
	static const struct address_bluetooth any;
	struct address_bluetooth address;
	char quoted[TEXT_QUOTED_BYTES];
	bool is_good = strlen(text) == ADDRESS_BLUETOOTH_TEXT_BYTES - 1;

	for (size_t i = 0; is_good && i < sizeof(address.octets); i++) {
		is_good = parse_hex(text + 3 * i, &address.octets[i], 1) &&
			  (i == 5 || text[3 * i + 2] == ':');
	}
	if (!is_good)
		return error_set(error, -EINVAL,
				 "'%s' is not a Bluetooth address; write it "
				 "like 00:11:22:AA:BB:CC",
				 text_printable(text, quoted));
	/* The kernel takes it for "any". */
	if (memcmp(&address, &any, sizeof(any)) == 0)
		return error_set(error, -EINVAL,
				 "'%s' is no device's Bluetooth address", text);
	*out = address;
	return 0;
}

void address_bluetooth_format(const struct address_bluetooth *address,
			      char text[ADDRESS_BLUETOOTH_TEXT_BYTES])
{
	const uint8_t *o = address->octets;

	snprintf(text, ADDRESS_BLUETOOTH_TEXT_BYTES,
		 "%02X:%02X:%02X:%02X:%02X:%02X", o[0], o[1], o[2], o[3], o[4],
		 o[5]);
}

/* ---- UUIDs ----------------------------------------------------------- */

/*
 * Core spec, Vol 3 part B, 2.5.1; a 16-bit UUID goes into octets 2 and 3, one
 * of 32 bits into the first four.
 */
static const struct address_uuid uuid_base = {
	{0, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0x80, 0x5f, 0x9b, 0x34, 0xfb}};

static const uint8_t uuid_spp[2] = {0x11, 0x01};

static bool parse_uuid_full(const char *text, struct address_uuid *out)
{
	static const uint8_t groups[] = {4, 2, 2, 2, 6};
	uint8_t *octets = out->octets;

	if (strlen(text) != ADDRESS_UUID_TEXT_BYTES - 1)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
		if (i && *text++ != '-')
			return false;
		if (!parse_hex(text, octets, groups[i]))
			return false;
		text += 2 * groups[i];
		octets += groups[i];
	}
	return true;
}

int address_uuid_parse(const char *text, struct address_uuid *out,
		       struct error *error)
{
	struct address_uuid uuid = uuid_base;
	const char *digits = text;
	char quoted[TEXT_QUOTED_BYTES];

	if (strncasecmp(text, "0x", 2) == 0)
		digits += 2;
	if (strcasecmp(text, "spp") == 0)
		memcpy(&uuid.octets[2], uuid_spp, sizeof(uuid_spp));
	else if (!(strlen(digits) == 4 &&
		   parse_hex(digits, &uuid.octets[2], 2)) &&
		 !parse_uuid_full(text, &uuid))
		return error_set(error, -EINVAL,
				 "'%s' is not a UUID; write spp, four hex "
				 "digits (0x1101) or all 36 characters "
				 "(00001101-0000-1000-8000-00805f9b34fb)",
				 text_printable(text, quoted));
	*out = uuid;
	return 0;
}

int address_uuid_short(const struct address_uuid *uuid)
{
	struct address_uuid base = uuid_base;

	memcpy(&base.octets[2], &uuid->octets[2], 2);
	if (!address_uuid_is_equal(&base, uuid))
		return -1;
	return uuid->octets[2] << 8 | uuid->octets[3];
}

struct address_uuid address_uuid_from_short(uint32_t value)
{
	struct address_uuid uuid = uuid_base;

	for (size_t i = 0; i < 4; i++)
		uuid.octets[i] = (uint8_t)(value >> (24 - 8 * i));
	return uuid;
}

void address_uuid_format(const struct address_uuid *uuid,
			 char text[ADDRESS_UUID_TEXT_BYTES])
{
	int value = address_uuid_short(uuid);

	text[0] = '\0';
	if (value >= 0) {
		text_append(text, ADDRESS_UUID_TEXT_BYTES, "0x%04x",
			    (unsigned int)value);
		return;
	}
	for (size_t i = 0; i < sizeof(uuid->octets); i++) {
		bool is_group = i == 4 || i == 6 || i == 8 || i == 10;

		text_append(text, ADDRESS_UUID_TEXT_BYTES, "%s%02x",
			    is_group ? "-" : "", uuid->octets[i]);
	}
}

bool address_uuid_is_equal(const struct address_uuid *a,
			   const struct address_uuid *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* ---- adapters, security ---------------------------------------------- */

int address_adapter_parse(const char *text, struct address_adapter *out,
			  struct error *error)
{
	struct address_adapter adapter = {.choice = ADAPTER_CHOICE_ANY};
	unsigned long long index;
	char quoted[TEXT_QUOTED_BYTES];

	if (strncmp(text, "hci", 3) == 0 &&
	    text_parse_number(text + 3, HCI_INDEX_MAX, &index)) {
		adapter.choice = ADAPTER_CHOICE_INDEX;
		adapter.index = (uint16_t)index;
	} else if (address_bluetooth_parse(text, &adapter.address, NULL) == 0) {
		adapter.choice = ADAPTER_CHOICE_ADDRESS;
	} else if (strcmp(text, "any") != 0) {
		return error_set(error, -EINVAL,
				 "'%s' is not an adapter; write any, hci0 (or "
				 "another number), or the adapter's own "
				 "address like 00:11:22:AA:BB:CC",
				 text_printable(text, quoted));
	}
	*out = adapter;
	return 0;
}

void address_adapter_format(const struct address_adapter *adapter,
			    char text[ADDRESS_ADAPTER_TEXT_BYTES])
{
	switch (adapter->choice) {
	case ADAPTER_CHOICE_ANY:
		strcpy(text, "any");
		break;
	case ADAPTER_CHOICE_INDEX:
		snprintf(text, ADDRESS_ADAPTER_TEXT_BYTES, "hci%u",
			 adapter->index);
		break;
	case ADAPTER_CHOICE_ADDRESS:
		address_bluetooth_format(&adapter->address, text);
		break;
	}
}

bool address_adapter_is_same(const struct address_adapter *a,
			     const struct address_adapter *b)
{
	return a->choice == b->choice && a->index == b->index &&
	       memcmp(&a->address, &b->address, sizeof(a->address)) == 0;
}

bool address_adapter_is_overlap(const struct address_adapter *a,
				const struct address_adapter *b)
{
	if (a->choice == ADAPTER_CHOICE_ANY || b->choice == ADAPTER_CHOICE_ANY)
		return true;
	return address_adapter_is_same(a, b); /* else the text cannot tell */
}

static const char *const security_words[] = {
	[SECURITY_LEVEL_LOW] = "low",
	[SECURITY_LEVEL_MEDIUM] = "medium",
	[SECURITY_LEVEL_HIGH] = "high",
	[SECURITY_LEVEL_FIPS] = "fips",
	NULL,
};

int address_security_parse(const char *text, enum security_level *out,
			   struct error *error)
{
	int index = text_parse_word(text, security_words, "a security level",
				    error);

	if (index < 0)
		return index;
	*out = (enum security_level)index;
	return 0;
}

const char *address_security_to_string(enum security_level level)
{
	return security_words[level];
}

/* ---- durations ------------------------------------------------------- */

static const struct duration_unit {
	const char *name;
	unsigned int ms;
} duration_units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

int address_duration_parse(const char *text, unsigned int *out_ms,
			   struct error *error)
{
	size_t digits = strspn(text, "0123456789");
	unsigned long long value;
	char number[24], quoted[TEXT_QUOTED_BYTES];

	text_printable(text, quoted);
	if (digits && !text[digits])
		return error_set(error, -EINVAL,
				 "'%s' has no unit; write ms, s, m or h after "
				 "it, like 500ms or 5s",
				 quoted);
	for (size_t i = 0; digits && i < ARRAY_SIZE(duration_units); i++) {
		if (strcmp(text + digits, duration_units[i].name) != 0)
			continue;
		snprintf(number, sizeof(number), "%.*s", (int)digits, text);
		if (digits >= sizeof(number) ||
		    !text_parse_number(number, UINT_MAX, &value) ||
		    value > UINT_MAX / duration_units[i].ms)
			return error_set(error, -EINVAL, "'%s' is too long",
					 quoted);
		*out_ms = (unsigned int)value * duration_units[i].ms;
		return 0;
	}
	return error_set(error, -EINVAL,
			 "'%s' is not a duration; write a whole number and its "
			 "unit (ms, s, m or h), like 500ms or 5s",
			 quoted);
}

void address_duration_format(unsigned int duration_ms, char text[24])
{
	for (size_t i = 0; i < ARRAY_SIZE(duration_units); i++) {
		unsigned int unit_ms = duration_units[i].ms;

		if (duration_ms && duration_ms % unit_ms == 0) {
			snprintf(text, 24, "%u%s", duration_ms / unit_ms,
				 duration_units[i].name);
			return;
		}
	}
	strcpy(text, "0s");
}
