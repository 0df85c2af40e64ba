/* SPDX-License-Identifier: MIT */
/*
 * The text forms of everything that a person writes into a route: endpoints,
 * Bluetooth addresses, UUIDs, durations, adapters. Text to validated struct
 * and back; the printed form parses to the same struct.
 *
 * Knows no libevent, BlueZ or D-Bus, opens nothing and never logs, so that it
 * can be fuzzed alone. Parsers return 0, or a negative errno with a sentence
 * that quotes the offending text in @error; on an error the output is unset
 * and owns nothing.
 */
#ifndef BTGATE_ADDRESS_H
#define BTGATE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

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

/* Owner and mode of a path that we make; NULL and 0 where nothing is asked. */
struct address_access {
	char *owner;
	char *group;
	mode_t mode; /* 0: not given */
};

enum endpoint_kind {
	ENDPOINT_KIND_RFCOMM,
	ENDPOINT_KIND_TCP,
	ENDPOINT_KIND_UNIX,
	ENDPOINT_KIND_PTY,
	ENDPOINT_KIND_ECHO,
};

enum endpoint_role {
	ENDPOINT_ROLE_LISTEN,
	ENDPOINT_ROLE_CONNECT,
};

/* What a pty does with bytes that arrive while no program has it open. */
enum pty_when_closed {
	PTY_WHEN_CLOSED_KEEP, /* as many as the kernel holds, then push back */
	PTY_WHEN_CLOSED_DISCARD, /* drop them, count them, say so */
};

struct endpoint_rfcomm {
	uint8_t channel; /* listen: 1..30, 0 is "auto" */
};

struct endpoint_tcp {
	char *host; /* name or address without brackets; "*": every */
	uint16_t port; /* 1..65535 */
	unsigned int keepalive_s; /* 0: off; at most 32767 (tcp(7)) */
};

struct endpoint_unix {
	char *path; /* absolute, at most 107 bytes: sun_path */
	struct address_access access; /* listen only */
};

struct endpoint_pty {
	char *path; /* absolute */
	struct address_access access;
	enum pty_when_closed when_closed;
};

/* KIND[:ADDRESS][,OPTION[=VALUE]]... */
struct address_endpoint {
	enum endpoint_kind kind;
	union {
		struct endpoint_rfcomm rfcomm;
		struct endpoint_tcp tcp;
		struct endpoint_unix local;
		struct endpoint_pty pty;
	};
};

/* Room for any endpoint that address_endpoint_parse accepts, printed. */
#define ADDRESS_ENDPOINT_TEXT_BYTES 1024

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
bool address_uuid_is_equal(const struct address_uuid *a,
			   const struct address_uuid *b);

int address_adapter_parse(const char *text, struct address_adapter *out,
			  struct error *error);
void address_adapter_format(const struct address_adapter *adapter,
			    char text[ADDRESS_ADAPTER_TEXT_BYTES]);

int address_security_parse(const char *text, enum security_level *out,
			   struct error *error);
const char *address_security_to_string(enum security_level level);

/* "500ms", "5s", "2m", "1h"; a bare number is an error that says so. */
int address_duration_parse(const char *text, unsigned int *out_ms,
			   struct error *error);
void address_duration_format(unsigned int duration_ms, char text[24]);

/*
 * Parse @text for the given role: a kind that cannot play that role is an
 * error, as is an option that belongs to the other one. On success @out owns
 * strings until address_endpoint_clear.
 */
int address_endpoint_parse(const char *text, enum endpoint_role role,
			   struct address_endpoint *out, struct error *error);
/*
 * The canonical text, NUL-ended. Options left to default are left out; the
 * host and "auto" are shown, because a reader wants to know them.
 */
void address_endpoint_format(const struct address_endpoint *endpoint,
			     enum endpoint_role role,
			     char text[ADDRESS_ENDPOINT_TEXT_BYTES]);
/* Free what @endpoint owns and zero it. Legal on a zeroed one. */
void address_endpoint_clear(struct address_endpoint *endpoint);

/*
 * Whether two endpoints of the given roles cannot both be held by gateways at
 * the same time: one channel (a fixed one, on adapters that overlap), one TCP
 * port (a wildcard host takes every address of its family), one path. Only
 * what the text can tell: hci0 may or may not be the adapter with a given
 * address, and a host name may stand for any address but localhost's.
 */
bool address_endpoint_is_conflict(const struct address_endpoint *a,
				  enum endpoint_role a_role,
				  const struct address_adapter *a_adapter,
				  const struct address_endpoint *b,
				  enum endpoint_role b_role,
				  const struct address_adapter *b_adapter);

/* Whether dialling @connect reaches @listen: a route that feeds itself. */
bool address_endpoint_is_loop(const struct address_endpoint *listen,
			      const struct address_endpoint *connect);

bool address_endpoint_is_bluetooth(const struct address_endpoint *endpoint);

/* 0, or -EINVAL where that kind's sockets do not know that level. */
int address_endpoint_check_security(const struct address_endpoint *endpoint,
				    enum security_level level,
				    struct error *error);

/*
 * Take the double quotes off @text, in place: "..." around the whole of it,
 * with a backslash inside taking the next character as it is. Text without
 * quotes stays as it is. Needed where a comma, a leading space or " ;" (which
 * starts a comment in an INI file) is part of the value.
 */
int address_quoted_parse(char *text, struct error *error);
/* Quoted if it must be. Room for 2 * strlen(@text) + 3 bytes is enough. */
void address_quoted_format(const char *text, char *out, size_t out_bytes);

/*
 * Set "WHAT; did you mean 'X'?" if @text is near to one of @words (NULL-ended),
 * else "WHAT; use A, B or C". Returns -EINVAL.
 */
int address_error_choice(struct error *error, const char *text,
			 const char *const *words, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/*
 * The word of @words (NULL-ended) that @text is most likely a slip of, or
 * NULL: at most two edits away, and fewer than half its letters.
 */
const char *address_suggest(const char *text, const char *const *words);

#endif
