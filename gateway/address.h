/* SPDX-License-Identifier: MIT */
/*
 * Single values that a person writes into a route: Bluetooth addresses, UUIDs,
 * adapters, security levels, durations. Text to validated struct and back; the
 * printed form parses to the same struct.
 *
 * Knows no libevent, BlueZ or D-Bus, opens nothing and never logs, so that it
 * can be fuzzed alone. Parsers return 0, or a negative errno with a sentence
 * that quotes the offending text in @error; on an error the output is unset.
 */
#ifndef BTGATE_ADDRESS_H
#define BTGATE_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

struct error;

/* A Bluetooth device address in the order it is printed: AA is octets[0]. */
struct address_bluetooth {
	uint8_t octets[6];
};

#define ADDRESS_BLUETOOTH_TEXT_BYTES 18

/* A UUID in the order it is printed (RFC 4122, network order). */
struct address_uuid {
	uint8_t octets[16];
};

#define ADDRESS_UUID_TEXT_BYTES 37

/* Which local adapter. */
enum adapter_choice {
	ADAPTER_CHOICE_ANY,
	ADAPTER_CHOICE_INDEX, /* hciN; the number can change on a re-plug */
	ADAPTER_CHOICE_ADDRESS, /* survives renumbering */
};

struct address_adapter {
	enum adapter_choice choice;
	uint16_t index;
	struct address_bluetooth address;
};

#define ADDRESS_ADAPTER_TEXT_BYTES 24

/* What the link must have, as BT_SECURITY means it (bluetooth.h). */
enum security_level {
	SECURITY_LEVEL_LOW, /* encrypted where both ends can */
	SECURITY_LEVEL_MEDIUM, /* encrypted, paired */
	SECURITY_LEVEL_HIGH, /* and protected against a man in the middle */
	SECURITY_LEVEL_FIPS, /* L2CAP only */
};

int address_bluetooth_parse(const char *text, struct address_bluetooth *out,
			    struct error *error);
void address_bluetooth_format(const struct address_bluetooth *address,
			      char text[ADDRESS_BLUETOOTH_TEXT_BYTES]);

/*
 * "spp", "0x1101", "1101" or the 36-character form. Short forms become the
 * full one over the Bluetooth base UUID (Core spec, Vol 3 part B, 2.5.1), and
 * print short again.
 */
int address_uuid_parse(const char *text, struct address_uuid *out,
		       struct error *error);
void address_uuid_format(const struct address_uuid *uuid,
			 char text[ADDRESS_UUID_TEXT_BYTES]);
/* The 16-bit value of @uuid, or -1 if it is not over the base UUID. */
int address_uuid_short(const struct address_uuid *uuid);
/* The UUID that a 16- or 32-bit one stands for. */
struct address_uuid address_uuid_from_short(uint32_t value);
bool address_uuid_is_equal(const struct address_uuid *a,
			   const struct address_uuid *b);

int address_adapter_parse(const char *text, struct address_adapter *out,
			  struct error *error);
void address_adapter_format(const struct address_adapter *adapter,
			    char text[ADDRESS_ADAPTER_TEXT_BYTES]);

/* Whether both are written alike. */
bool address_adapter_is_same(const struct address_adapter *a,
			     const struct address_adapter *b);

/*
 * Whether the two overlap, as far as the text can tell: hci0 may or may not be
 * the adapter with a given address, and that is a no.
 */
bool address_adapter_is_overlap(const struct address_adapter *a,
				const struct address_adapter *b);

int address_security_parse(const char *text, enum security_level *out,
			   struct error *error);
const char *address_security_to_string(enum security_level level);

/* "500ms", "5s", "2m", "1h"; a bare number is an error that says so. */
int address_duration_parse(const char *text, unsigned int *out_ms,
			   struct error *error);
void address_duration_format(unsigned int duration_ms, char text[24]);

#endif
