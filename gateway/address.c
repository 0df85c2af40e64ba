/* SPDX-License-Identifier: MIT */
#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "error.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* struct sockaddr_un's sun_path takes 108, the last one for the NUL. */
#define UNIX_PATH_BYTES_MAX 107
#define PTY_PATH_BYTES_MAX 255
#define ACCOUNT_BYTES_MAX 64
#define HOST_BYTES_MAX 253
#define RFCOMM_CHANNEL_MAX 30
#define KEEPALIVE_S_MAX 32767 /* MAX_TCP_KEEPIDLE in the kernel */
#define HCI_INDEX_MAX 65534 /* 65535 is HCI_DEV_NONE */

/* ---- text -------------------------------------------------------------- */

#define QUOTED_BYTES 72

/* @text as it may stand in a message: one line, printable, not endless. */
static const char *printable(const char *text, char out[QUOTED_BYTES])
{
	size_t length = strlen(text);
	size_t kept = length;

	if (length >= QUOTED_BYTES) {
		kept = QUOTED_BYTES - sizeof("...");
		/* Not in the middle of a UTF-8 sequence. */
		while (kept && ((unsigned char)text[kept] & 0xc0) == 0x80)
			kept--;
	}
	for (size_t i = 0; i < kept; i++) {
		unsigned char c = text[i];

		out[i] = c < ' ' || c == 0x7f ? '?' : text[i];
	}
	strcpy(out + kept, kept < length ? "..." : "");
	return out;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_name_char(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') ||
	       (c >= 'A' && c <= 'Z') || c == '_' || c == '-' || c == '.';
}

static int hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool parse_hex(const char *text, uint8_t *octets, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int high = hex_value(text[2 * i]);
		int low = high < 0 ? -1 : hex_value(text[2 * i + 1]);

		if (low < 0)
			return false;
		octets[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* Decimal digits and nothing else; no sign, no space. */
static bool parse_number(const char *text, unsigned long long max,
			 unsigned long long *out)
{
	unsigned long long value = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		if (!is_digit(*text))
			return false;
		value = value * 10 + (unsigned int)(*text - '0');
		if (value > max)
			return false;
	}
	*out = value;
	return true;
}

static bool has_control(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return true;
	}
	return false;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static char *trim(char *text)
{
	char *end;

	while (is_blank(*text))
		text++;
	end = text + strlen(text);
	while (end > text && is_blank(end[-1]))
		end--;
	*end = '\0';
	return text;
}

__attribute__((format(printf, 3, 4))) static void append(char *text,
							 size_t bytes,
							 const char *format,
							 ...)
{
	size_t used = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + used, bytes - used, format, args);
	va_end(args);
}

/* ---- did you mean ------------------------------------------------------- */

#define SUGGEST_LETTERS_MAX 32
#define SUGGEST_EDITS_MAX 2

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/*
 * Letters to insert, delete, replace or swap with their neighbour (optimal
 * string alignment), whatever their case.
 */
static size_t edit_distance(const char *a, size_t a_length, const char *b,
			    size_t b_length)
{
	size_t rows[3][SUGGEST_LETTERS_MAX + 1];
	size_t *before = rows[0], *last = rows[1], *row = rows[2];

	for (size_t j = 0; j <= b_length; j++)
		last[j] = j;
	for (size_t i = 1; i <= a_length; i++) {
		size_t *spare = before;

		row[0] = i;
		for (size_t j = 1; j <= b_length; j++) {
			char x = lower(a[i - 1]), y = lower(b[j - 1]);

			row[j] = min_size(last[j - 1] + (x != y),
					  min_size(last[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && x == lower(b[j - 2]) &&
			    y == lower(a[i - 2]))
				row[j] = min_size(row[j], before[j - 2] + 1);
		}
		before = last;
		last = row;
		row = spare;
	}
	return last[b_length];
}

const char *address_suggest(const char *text, const char *const *words)
{
	size_t length = strlen(text);
	size_t best_edits = SUGGEST_EDITS_MAX + 1;
	const char *best = NULL;

	if (length > SUGGEST_LETTERS_MAX)
		return NULL;
	for (; *words; words++) {
		size_t word_length = strlen(*words);
		size_t edits;

		if (word_length > SUGGEST_LETTERS_MAX)
			continue;
		edits = edit_distance(text, length, *words, word_length);
		if (edits < best_edits && edits * 2 < length) {
			best_edits = edits;
			best = *words;
		}
	}
	return best;
}

/* "A, B or C" */
static void format_words(const char *const *words, char *out, size_t bytes)
{
	out[0] = '\0';
	for (size_t i = 0; words[i]; i++) {
		const char *between = !i ? "" : words[i + 1] ? ", " : " or ";

		append(out, bytes, "%s%s", between, words[i]);
	}
}

int address_error_choice(struct error *error, const char *text,
			 const char *const *words, const char *format, ...)
{
	const char *near = address_suggest(text, words);
	char what[ERROR_TEXT_BYTES];
	char list[ERROR_TEXT_BYTES];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	if (near)
		return error_set(error, -EINVAL, "%s; did you mean '%s'?", what,
				 near);
	format_words(words, list, sizeof(list));
	return error_set(error, -EINVAL, "%s; use %s", what, list);
}

/* The index of @text in @words, or -EINVAL with "'TEXT' is not WHAT; ...". */
static int parse_word(const char *text, const char *const *words,
		      const char *what, struct error *error)
{
	char quoted[QUOTED_BYTES];

	for (int i = 0; words[i]; i++) {
		if (strcmp(text, words[i]) == 0)
			return i;
	}
	return address_error_choice(error, text, words, "'%s' is not %s",
				    printable(text, quoted), what);
}

/* ---- quotes -------------------------------------------------------------- */

int address_quoted_parse(char *text, struct error *error)
{
	char quoted[QUOTED_BYTES];
	const char *from = text + 1;
	char *to = text;

	printable(text, quoted);
	if (*text != '"') {
		if (!strchr(text, '"'))
			return 0;
		return error_set(error, -EINVAL,
				 "the quotes in '%s' must be around the whole "
				 "value (inside of them, write \\\")",
				 quoted);
	}
	while (*from && *from != '"') {
		if (*from == '\\' && from[1])
			from++;
		*to++ = *from++;
	}
	if (!*from)
		return error_set(error, -EINVAL,
				 "the quote in '%s' is never closed (\" ;\" "
				 "starts a comment: write \" \\;\")",
				 quoted);
	if (from[1])
		return error_set(error, -EINVAL,
				 "there is more text after the closing quote "
				 "in '%s'",
				 quoted);
	*to = '\0';
	return 0;
}

void address_quoted_format(const char *text, char *out, size_t out_bytes)
{
	size_t length = strlen(text);
	size_t used = 0;

	if (length && !strpbrk(text, ",;\"\\") && !is_blank(text[0]) &&
	    !is_blank(text[length - 1])) {
		snprintf(out, out_bytes, "%s", text);
		return;
	}
	out[used++] = '"';
	for (; *text && used + 4 <= out_bytes; text++) {
		if (strchr(";\"\\", *text))
			out[used++] = '\\';
		out[used++] = *text;
	}
	out[used++] = '"';
	out[used] = '\0';
}

/* ---- Bluetooth addresses -------------------------------------------------- */

int address_bluetooth_parse(const char *text, struct address_bluetooth *out,
			    struct error *error)
{
	static const struct address_bluetooth any;
	struct address_bluetooth address;
	char quoted[QUOTED_BYTES];
	bool is_good = strlen(text) == ADDRESS_BLUETOOTH_TEXT_BYTES - 1;

	for (size_t i = 0; is_good && i < sizeof(address.octets); i++) {
		is_good = parse_hex(text + 3 * i, &address.octets[i], 1) &&
			  (i == 5 || text[3 * i + 2] == ':');
	}
	if (!is_good)
		return error_set(error, -EINVAL,
				 "'%s' is not a Bluetooth address; write it "
				 "like 00:11:22:AA:BB:CC",
				 printable(text, quoted));
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

/* ---- UUIDs ---------------------------------------------------------------- */

/* Core spec, Vol 3 part B, 2.5.1; a short UUID goes into octets 2 and 3. */
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
	char quoted[QUOTED_BYTES];

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
				 printable(text, quoted));
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

void address_uuid_format(const struct address_uuid *uuid,
			 char text[ADDRESS_UUID_TEXT_BYTES])
{
	int value = address_uuid_short(uuid);

	text[0] = '\0';
	if (value >= 0) {
		append(text, ADDRESS_UUID_TEXT_BYTES, "0x%04x",
		       (unsigned int)value);
		return;
	}
	for (size_t i = 0; i < sizeof(uuid->octets); i++) {
		bool is_group = i == 4 || i == 6 || i == 8 || i == 10;

		append(text, ADDRESS_UUID_TEXT_BYTES, "%s%02x",
		       is_group ? "-" : "", uuid->octets[i]);
	}
}

bool address_uuid_is_equal(const struct address_uuid *a,
			   const struct address_uuid *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* ---- adapters, security --------------------------------------------------- */

int address_adapter_parse(const char *text, struct address_adapter *out,
			  struct error *error)
{
	struct address_adapter adapter = {.choice = ADAPTER_CHOICE_ANY};
	unsigned long long index;
	char quoted[QUOTED_BYTES];

	if (strncmp(text, "hci", 3) == 0 &&
	    parse_number(text + 3, HCI_INDEX_MAX, &index)) {
		adapter.choice = ADAPTER_CHOICE_INDEX;
		adapter.index = (uint16_t)index;
	} else if (address_bluetooth_parse(text, &adapter.address, NULL) == 0) {
		adapter.choice = ADAPTER_CHOICE_ADDRESS;
	} else if (strcmp(text, "any") != 0) {
		return error_set(error, -EINVAL,
				 "'%s' is not an adapter; write any, hci0 (or "
				 "another number), or the adapter's own "
				 "address like 00:11:22:AA:BB:CC",
				 printable(text, quoted));
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

static bool adapters_overlap(const struct address_adapter *a,
			     const struct address_adapter *b)
{
	if (a->choice == ADAPTER_CHOICE_ANY || b->choice == ADAPTER_CHOICE_ANY)
		return true;
	if (a->choice != b->choice)
		return false; /* the text cannot tell */
	if (a->choice == ADAPTER_CHOICE_INDEX)
		return a->index == b->index;
	return memcmp(&a->address, &b->address, sizeof(a->address)) == 0;
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
	int index = parse_word(text, security_words, "a security level", error);

	if (index < 0)
		return index;
	*out = (enum security_level)index;
	return 0;
}

const char *address_security_to_string(enum security_level level)
{
	return security_words[level];
}

/* ---- durations ------------------------------------------------------------ */

static const struct duration_unit {
	const char *name;
	unsigned int ms;
} duration_units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

int address_duration_parse(const char *text, unsigned int *out_ms,
			   struct error *error)
{
	size_t digits = strspn(text, "0123456789");
	unsigned long long value;
	char number[24], quoted[QUOTED_BYTES];

	printable(text, quoted);
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
		    !parse_number(number, UINT_MAX, &value) ||
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

/* ---- paths ---------------------------------------------------------------- */

static int parse_path(char *text, const char *kind, size_t bytes_max,
		      char **out, struct error *error)
{
	char quoted[QUOTED_BYTES];
	const char *last;
	int code = address_quoted_parse(text, error);

	if (code < 0)
		return code;
	printable(text, quoted);
	if (has_control(text))
		return error_set(error, -EINVAL,
				 "a control character in the path '%s'",
				 quoted);
	if (*text != '/')
		return error_set(error, -EINVAL,
				 "'%s' is not an absolute path; write %s:/PATH",
				 quoted, kind);
	last = strrchr(text, '/') + 1;
	if (!*last || strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
		return error_set(error, -EINVAL,
				 "'%s' is a directory; add a file's name to it",
				 quoted);
	if (strlen(text) > bytes_max)
		return error_set(error, -EINVAL,
				 "the path '%s' is %zu bytes long; %s takes at "
				 "most %zu",
				 quoted, strlen(text), kind, bytes_max);
	*out = strdup(text);
	return *out ? 0 : error_set(error, -ENOMEM, "out of memory");
}

/* The next component that counts ("//" and "/./" do not), its length. */
static size_t next_component(const char **cursor)
{
	for (;;) {
		size_t length;

		*cursor += strspn(*cursor, "/");
		length = strcspn(*cursor, "/");
		if (length != 1 || **cursor != '.')
			return length;
		*cursor += length;
	}
}

static bool path_is_same(const char *a, const char *b)
{
	/* A quick no: parse_path saw to it that the last part is a name. */
	if (strcmp(strrchr(a, '/'), strrchr(b, '/')) != 0)
		return false;
	for (;;) {
		size_t a_length = next_component(&a);
		size_t b_length = next_component(&b);

		if (a_length != b_length || memcmp(a, b, a_length) != 0)
			return false;
		if (!a_length)
			return true;
		a += a_length;
		b += b_length;
	}
}

/* ---- options of paths ------------------------------------------------------ */

static struct address_access *access_of(struct address_endpoint *endpoint)
{
	return endpoint->kind == ENDPOINT_KIND_UNIX ? &endpoint->local.access
						    : &endpoint->pty.access;
}

static const struct address_access *const_access_of(
	const struct address_endpoint *endpoint)
{
	return endpoint->kind == ENDPOINT_KIND_UNIX ? &endpoint->local.access
						    : &endpoint->pty.access;
}

static int parse_mode(struct address_endpoint *endpoint, const char *value,
		      struct error *error)
{
	size_t digits = strspn(value, "01234567");
	unsigned int mode = 0;
	char quoted[QUOTED_BYTES];

	for (size_t i = 0; i < digits && i < 5; i++)
		mode = mode << 3 | (unsigned int)(value[i] - '0');
	if (!digits || digits > 4 || value[digits] || !mode || mode > 0777)
		return error_set(error, -EINVAL,
				 "mode '%s' is not octal 0001 to 0777, like "
				 "0660",
				 printable(value, quoted));
	access_of(endpoint)->mode = (mode_t)mode;
	return 0;
}

static bool format_mode(const struct address_endpoint *endpoint, char *text,
			size_t bytes)
{
	mode_t mode = const_access_of(endpoint)->mode;

	snprintf(text, bytes, "%04o", (unsigned int)mode);
	return mode;
}

/* Who it is, and whether there is such an account, is known when it opens. */
static int parse_account(const char *value, const char *what, char **out,
			 struct error *error)
{
	char quoted[QUOTED_BYTES];
	bool is_good = *value && *value != '-';

	for (const char *c = value; *c; c++)
		is_good = is_good && (is_name_char(*c) || strchr("@$+", *c));
	if (!is_good || strlen(value) > ACCOUNT_BYTES_MAX)
		return error_set(error, -EINVAL,
				 "'%s' is not a %s; write a name or number, at "
				 "most %d of A-Z a-z 0-9 . _ - @ $ +",
				 printable(value, quoted), what,
				 ACCOUNT_BYTES_MAX);
	*out = strdup(value);
	return *out ? 0 : error_set(error, -ENOMEM, "out of memory");
}

static int parse_owner(struct address_endpoint *endpoint, const char *value,
		       struct error *error)
{
	return parse_account(value, "user", &access_of(endpoint)->owner, error);
}

static bool format_owner(const struct address_endpoint *endpoint, char *text,
			 size_t bytes)
{
	const char *owner = const_access_of(endpoint)->owner;

	snprintf(text, bytes, "%s", owner ? owner : "");
	return owner;
}

static int parse_group(struct address_endpoint *endpoint, const char *value,
		       struct error *error)
{
	return parse_account(value, "group", &access_of(endpoint)->group,
			     error);
}

static bool format_group(const struct address_endpoint *endpoint, char *text,
			 size_t bytes)
{
	const char *group = const_access_of(endpoint)->group;

	snprintf(text, bytes, "%s", group ? group : "");
	return group;
}

static void clear_access(struct address_access *access)
{
	free(access->owner);
	free(access->group);
}

/* ---- rfcomm ----------------------------------------------------------------- */

static int parse_rfcomm(struct address_endpoint *endpoint,
			enum endpoint_role role, char *address,
			struct error *error)
{
	unsigned long long channel;
	char quoted[QUOTED_BYTES];

	if (!address || strcmp(address, "auto") == 0)
		return 0;
	if (!parse_number(address, RFCOMM_CHANNEL_MAX, &channel) || !channel)
		return error_set(error, -EINVAL,
				 "'%s' is not an RFCOMM channel; write 1 to "
				 "%d, or auto for the first free one",
				 printable(address, quoted),
				 RFCOMM_CHANNEL_MAX);
	endpoint->rfcomm.channel = (uint8_t)channel;
	return 0;
}

static void format_rfcomm(const struct address_endpoint *endpoint, char *text,
			  size_t bytes)
{
	if (endpoint->rfcomm.channel)
		snprintf(text, bytes, "%u", endpoint->rfcomm.channel);
	else
		snprintf(text, bytes, "auto");
}

static bool rfcomm_is_conflict(const struct address_endpoint *a,
			       const struct address_adapter *a_adapter,
			       const struct address_endpoint *b,
			       const struct address_adapter *b_adapter)
{
	return a->rfcomm.channel && a->rfcomm.channel == b->rfcomm.channel &&
	       adapters_overlap(a_adapter, b_adapter);
}

/* ---- tcp -------------------------------------------------------------------- */

static bool host_is_wildcard(const char *host)
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
	char quoted[QUOTED_BYTES];
	bool is_good = length < sizeof(address) && strlen(zone) <= 16;

	for (const char *c = zone; is_good && *c; c++)
		is_good = c == zone ? c[1] != '\0' : is_name_char(*c);
	if (is_good) {
		memcpy(address, text, length);
		address[length] = '\0';
		is_good = inet_pton(AF_INET6, address, &binary) == 1;
	}
	if (!is_good)
		return error_set(error, -EINVAL, "'%s' is not an IPv6 address",
				 printable(text, quoted));
	inet_ntop(AF_INET6, &binary, address, sizeof(address));
	snprintf(out, bytes, "%s%s", address, zone);
	return 0;
}

/* Names are looked up to connect, never to listen: that must work at boot. */
static bool host_is_listenable(const char *host)
{
	struct in6_addr binary;

	return strcmp(host, "*") == 0 || strcmp(host, "localhost") == 0 ||
	       inet_pton(AF_INET, host, &binary) == 1 ||
	       inet_pton(AF_INET6, host, &binary) == 1;
}

static int check_host(const char *host, struct error *error)
{
	struct in_addr binary;
	char quoted[QUOTED_BYTES];
	bool is_good = *host && *host != '.' && *host != '-' &&
		       strlen(host) <= HOST_BYTES_MAX && !strstr(host, "..");

	if (strcmp(host, "*") == 0)
		return 0;
	printable(host, quoted);
	if (strchr(host, ':'))
		return error_set(
			error, -EINVAL,
			"'%s' has more than one colon; an IPv6 address "
			"goes in brackets: [::1]:2000",
			quoted);
	for (const char *c = host; *c; c++)
		is_good = is_good && is_name_char(*c);
	if (!is_good)
		return error_set(error, -EINVAL,
				 "'%s' is not a host name or address", quoted);
	if (!host[strspn(host, "0123456789.")] &&
	    inet_pton(AF_INET, host, &binary) != 1)
		return error_set(error, -EINVAL, "'%s' is not an IPv4 address",
				 quoted);
	return 0;
}

/* Take HOST: off the front of @address; the port is what is left. */
static int split_host(char *address, const char *form, char *host,
		      size_t host_bytes, char **port, struct error *error)
{
	bool is_bracketed = *address == '[';
	char *end = is_bracketed ? strchr(address, ']') : strrchr(address, ':');
	char quoted[QUOTED_BYTES];

	printable(address, quoted);
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
		*c = lower(*c);
	snprintf(host, host_bytes, "%s", address);
	return check_host(address, error);
}

static int parse_tcp(struct address_endpoint *endpoint, enum endpoint_role role,
		     char *address, struct error *error)
{
	bool is_listen = role == ENDPOINT_ROLE_LISTEN;
	const char *form = is_listen ? "tcp:[HOST:]PORT, with * as HOST for "
				       "every address"
				     : "tcp:HOST:PORT";
	char host[HOST_BYTES_MAX + 1] = "127.0.0.1";
	unsigned long long number;
	char *port = address;
	char quoted[QUOTED_BYTES];
	int code;

	/* An own default for listening, so that nothing is opened unasked. */
	if (!is_listen || address[strcspn(address, ":[")]) {
		code = split_host(address, form, host, sizeof(host), &port,
				  error);
		if (code < 0)
			return code;
	}
	if (!parse_number(port, UINT16_MAX, &number) || !number)
		return error_set(error, -EINVAL,
				 "'%s' is not a TCP port (1 to 65535); write "
				 "%s",
				 printable(port, quoted), form);
	if (is_listen && !host_is_listenable(host))
		return error_set(error, -EINVAL,
				 "cannot listen on '%s'; write one of this "
				 "machine's addresses, localhost, or * for "
				 "every address",
				 printable(host, quoted));
	if (!is_listen && host_is_wildcard(host))
		return error_set(error, -EINVAL,
				 "'%s' is for listening; to connect, write the "
				 "host's name or address",
				 host);
	endpoint->tcp.port = (uint16_t)number;
	endpoint->tcp.host = strdup(host);
	return endpoint->tcp.host ? 0
				  : error_set(error, -ENOMEM, "out of memory");
}

static void format_tcp(const struct address_endpoint *endpoint, char *text,
		       size_t bytes)
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
	char quoted[QUOTED_BYTES];
	unsigned int ms = 0;
	int code = address_duration_parse(value, &ms, error);

	if (code < 0)
		return error_prefix(error, code, "keepalive");
	if (!ms || ms % 1000 || ms / 1000 > KEEPALIVE_S_MAX)
		return error_set(error, -EINVAL,
				 "keepalive '%s' is not in whole seconds from "
				 "1s to %ds",
				 printable(value, quoted), KEEPALIVE_S_MAX);
	endpoint->tcp.keepalive_s = ms / 1000;
	return 0;
}

static bool format_keepalive(const struct address_endpoint *endpoint,
			     char *text, size_t bytes)
{
	address_duration_format(endpoint->tcp.keepalive_s * 1000, text);
	return endpoint->tcp.keepalive_s;
}

static bool tcp_is_conflict(const struct address_endpoint *a,
			    const struct address_adapter *a_adapter,
			    const struct address_endpoint *b,
			    const struct address_adapter *b_adapter)
{
	const char *a_host = a->tcp.host, *b_host = b->tcp.host;

	if (a->tcp.port != b->tcp.port)
		return false;
	if (host_is_wildcard(a_host) && host_is_wildcard(b_host))
		return true;
	if (host_is_wildcard(a_host))
		return wildcard_takes(a_host, b_host);
	if (host_is_wildcard(b_host))
		return wildcard_takes(b_host, a_host);
	return host_is_same(a_host, b_host);
}

static bool tcp_is_loop(const struct address_endpoint *listen,
			const struct address_endpoint *connect)
{
	const char *host = listen->tcp.host;

	if (listen->tcp.port != connect->tcp.port)
		return false;
	if (host_is_wildcard(host))
		return host_is_loopback(connect->tcp.host) &&
		       wildcard_takes(host, connect->tcp.host);
	return host_is_same(host, connect->tcp.host);
}

/* ---- unix ------------------------------------------------------------------- */

static int parse_unix(struct address_endpoint *endpoint,
		      enum endpoint_role role, char *address,
		      struct error *error)
{
	char quoted[QUOTED_BYTES];

	if (*address == '@')
		return error_set(error, -EINVAL,
				 "'%s' is an abstract socket, which has no "
				 "owner and no mode: not supported; write "
				 "unix:/PATH",
				 printable(address, quoted));
	return parse_path(address, "unix", UNIX_PATH_BYTES_MAX,
			  &endpoint->local.path, error);
}

static void format_unix(const struct address_endpoint *endpoint, char *text,
			size_t bytes)
{
	address_quoted_format(endpoint->local.path, text, bytes);
}

static void clear_unix(struct address_endpoint *endpoint)
{
	free(endpoint->local.path);
	clear_access(&endpoint->local.access);
}

static const char *unix_held_path(const struct address_endpoint *endpoint,
				  enum endpoint_role role)
{
	return role == ENDPOINT_ROLE_LISTEN ? endpoint->local.path : NULL;
}

static bool unix_is_loop(const struct address_endpoint *listen,
			 const struct address_endpoint *connect)
{
	return path_is_same(listen->local.path, connect->local.path);
}

/* ---- pty -------------------------------------------------------------------- */

static const char *const when_closed_words[] = {
	[PTY_WHEN_CLOSED_KEEP] = "keep",
	[PTY_WHEN_CLOSED_DISCARD] = "discard",
	NULL,
};

static int parse_pty(struct address_endpoint *endpoint, enum endpoint_role role,
		     char *address, struct error *error)
{
	return parse_path(address, "pty", PTY_PATH_BYTES_MAX,
			  &endpoint->pty.path, error);
}

static void format_pty(const struct address_endpoint *endpoint, char *text,
		       size_t bytes)
{
	address_quoted_format(endpoint->pty.path, text, bytes);
}

static void clear_pty(struct address_endpoint *endpoint)
{
	free(endpoint->pty.path);
	clear_access(&endpoint->pty.access);
}

static int parse_when_closed(struct address_endpoint *endpoint,
			     const char *value, struct error *error)
{
	int index = parse_word(value, when_closed_words,
			       "a choice for when-closed", error);

	if (index < 0)
		return index;
	endpoint->pty.when_closed = (enum pty_when_closed)index;
	return 0;
}

static bool format_when_closed(const struct address_endpoint *endpoint,
			       char *text, size_t bytes)
{
	snprintf(text, bytes, "%s",
		 when_closed_words[endpoint->pty.when_closed]);
	return endpoint->pty.when_closed != PTY_WHEN_CLOSED_KEEP;
}

static const char *pty_held_path(const struct address_endpoint *endpoint,
				 enum endpoint_role role)
{
	return endpoint->pty.path;
}

/* ---- the kinds ---------------------------------------------------------------- */

#define LISTEN (1u << ENDPOINT_ROLE_LISTEN)
#define CONNECT (1u << ENDPOINT_ROLE_CONNECT)

static const char *const role_words[] = {
	[ENDPOINT_ROLE_LISTEN] = "listen",
	[ENDPOINT_ROLE_CONNECT] = "connect",
};

#define OPTION_VALUE_BYTES 80

struct option {
	const char *name;
	unsigned int roles;
	const char *example;
	int (*parse)(struct address_endpoint *endpoint, const char *value,
		     struct error *error);
	/* False where it is at its default and need not be written. */
	bool (*format)(const struct address_endpoint *endpoint, char *text,
		       size_t bytes);
};

enum address_need {
	ADDRESS_NEED_NONE,
	ADDRESS_NEED_OPTIONAL,
	ADDRESS_NEED_REQUIRED,
};

#define OPTIONS_MAX 8 /* room, with the end mark */

struct kind {
	const char *name;
	unsigned int roles;
	enum address_need address;
	bool is_bluetooth;
	enum security_level security_max;
	const char *forms[2]; /* by role: what to write */
	/* @address is NULL if none was given; may be written to. */
	int (*parse)(struct address_endpoint *endpoint, enum endpoint_role role,
		     char *address, struct error *error);
	void (*format)(const struct address_endpoint *endpoint, char *text,
		       size_t bytes);
	void (*clear)(struct address_endpoint *endpoint);
	/* The path that it makes in that role, or NULL. */
	const char *(*held_path)(const struct address_endpoint *endpoint,
				 enum endpoint_role role);
	/* Of two listening ones. */
	bool (*is_conflict)(const struct address_endpoint *a,
			    const struct address_adapter *a_adapter,
			    const struct address_endpoint *b,
			    const struct address_adapter *b_adapter);
	bool (*is_loop)(const struct address_endpoint *listen,
			const struct address_endpoint *connect);
	struct option options[OPTIONS_MAX]; /* ended by a NULL name */
};

/* clang-format off */
static const struct kind kinds[] = {
	[ENDPOINT_KIND_RFCOMM] = {
		.name = "rfcomm",
		.roles = LISTEN,
		.address = ADDRESS_NEED_OPTIONAL,
		.is_bluetooth = true,
		/* The kernel's rfcomm_sock_setsockopt: EINVAL above it. */
		.security_max = SECURITY_LEVEL_HIGH,
		.forms = {"rfcomm:auto or rfcomm:CHANNEL (1 to 30)"},
		.parse = parse_rfcomm,
		.format = format_rfcomm,
		.is_conflict = rfcomm_is_conflict,
	},
	[ENDPOINT_KIND_TCP] = {
		.name = "tcp",
		.roles = LISTEN | CONNECT,
		.address = ADDRESS_NEED_REQUIRED,
		.security_max = SECURITY_LEVEL_FIPS,
		.forms = {"tcp:[HOST:]PORT", "tcp:HOST:PORT"},
		.parse = parse_tcp,
		.format = format_tcp,
		.clear = clear_tcp,
		.is_conflict = tcp_is_conflict,
		.is_loop = tcp_is_loop,
		.options = {
			{"keepalive", LISTEN | CONNECT, "60s", parse_keepalive,
			 format_keepalive},
		},
	},
	[ENDPOINT_KIND_UNIX] = {
		.name = "unix",
		.roles = LISTEN | CONNECT,
		.address = ADDRESS_NEED_REQUIRED,
		.security_max = SECURITY_LEVEL_FIPS,
		.forms = {"unix:/PATH", "unix:/PATH"},
		.parse = parse_unix,
		.format = format_unix,
		.clear = clear_unix,
		.held_path = unix_held_path,
		.is_loop = unix_is_loop,
		.options = {
			{"mode", LISTEN, "0660", parse_mode, format_mode},
			{"owner", LISTEN, "root", parse_owner, format_owner},
			{"group", LISTEN, "dialout", parse_group, format_group},
		},
	},
	[ENDPOINT_KIND_PTY] = {
		.name = "pty",
		.roles = CONNECT,
		.address = ADDRESS_NEED_REQUIRED,
		.security_max = SECURITY_LEVEL_FIPS,
		.forms = {"pty:/PATH", "pty:/PATH"},
		.parse = parse_pty,
		.format = format_pty,
		.clear = clear_pty,
		.held_path = pty_held_path,
		.options = {
			{"mode", CONNECT, "0660", parse_mode, format_mode},
			{"owner", CONNECT, "root", parse_owner, format_owner},
			{"group", CONNECT, "dialout", parse_group,
			 format_group},
			{"when-closed", CONNECT, "discard", parse_when_closed,
			 format_when_closed},
		},
	},
	[ENDPOINT_KIND_ECHO] = {
		.name = "echo",
		.roles = CONNECT,
		.address = ADDRESS_NEED_NONE,
		.security_max = SECURITY_LEVEL_FIPS,
		.forms = {"echo", "echo"},
	},
};
/* clang-format on */

static const struct kind *kind_of(const struct address_endpoint *endpoint)
{
	return &kinds[endpoint->kind];
}

/* The names of the kinds that can play @role, NULL-ended. */
static void list_kinds(enum endpoint_role role,
		       const char *words[ARRAY_SIZE(kinds) + 1])
{
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i].roles & 1u << role)
			words[count++] = kinds[i].name;
	}
	words[count] = NULL;
}

/* NULL with the reason in @error. */
static const struct kind *find_kind(const char *text, enum endpoint_role role,
				    struct error *error)
{
	const char *words[ARRAY_SIZE(kinds) + 1];
	char list[80], quoted[QUOTED_BYTES];

	list_kinds(role, words);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strcmp(text, kinds[i].name) != 0)
			continue;
		if (kinds[i].roles & 1u << role)
			return &kinds[i];
		format_words(words, list, sizeof(list));
		error_set(error, -EINVAL, "'%s' is for %s only; %s takes %s",
			  text, role_words[!role], role_words[role], list);
		return NULL;
	}
	if (!*text)
		address_error_choice(error, text, words, "no endpoint kind");
	else
		address_error_choice(error, text, words,
				     "unknown endpoint kind '%s'",
				     printable(text, quoted));
	return NULL;
}

static int refuse_option(const struct kind *kind, enum endpoint_role role,
			 const char *name, struct error *error)
{
	const char *words[OPTIONS_MAX + 1];
	size_t count = 0;
	char quoted[QUOTED_BYTES];

	printable(name, quoted);
	for (const struct option *option = kind->options; option->name;
	     option++) {
		if (option->roles & 1u << role)
			words[count++] = option->name;
		else if (strcmp(option->name, name) == 0)
			return error_set(error, -EINVAL,
					 "option '%s' of %s is for %s only",
					 name, kind->name, role_words[!role]);
	}
	words[count] = NULL;
	if (!count)
		return error_set(error, -EINVAL,
				 "unknown option '%s'; %s takes no options%s",
				 quoted, kind->name,
				 kind->options[0].name ? " here" : "");
	return address_error_choice(error, name, words,
				    "unknown option '%s' of %s", quoted,
				    kind->name);
}

static int parse_option(const struct kind *kind, enum endpoint_role role,
			char *text, struct address_endpoint *endpoint,
			unsigned int *seen, struct error *error)
{
	char *equals = strchr(text, '=');
	char *value = NULL;
	unsigned int i = 0;
	int code;

	if (equals) {
		*equals = '\0';
		value = trim(equals + 1);
	}
	text = trim(text);
	if (!*text)
		return error_set(error, -EINVAL, "no option's name %s",
				 equals ? "before '='" : "after a comma");
	while (kind->options[i].name &&
	       (strcmp(kind->options[i].name, text) != 0 ||
		!(kind->options[i].roles & 1u << role)))
		i++;
	if (!kind->options[i].name)
		return refuse_option(kind, role, text, error);
	if (*seen & 1u << i)
		return error_set(error, -EINVAL, "option '%s' is given twice",
				 text);
	*seen |= 1u << i;
	if (!value || !*value)
		return error_set(error, -EINVAL,
				 "option '%s' needs a value, like %s=%s", text,
				 text, kind->options[i].example);
	code = address_quoted_parse(value, error);
	if (code < 0)
		return code;
	return kind->options[i].parse(endpoint, value, error);
}

/* Cut the next part off at a comma that is not in quotes. */
static char *next_part(char **cursor)
{
	char *part = *cursor;
	bool is_quoted = false;

	if (!part)
		return NULL;
	for (char *c = part; *c; c++) {
		if (is_quoted && *c == '\\' && c[1]) {
			c++;
		} else if (*c == '"') {
			is_quoted = !is_quoted;
		} else if (*c == ',' && !is_quoted) {
			*c = '\0';
			*cursor = c + 1;
			return part;
		}
	}
	*cursor = NULL;
	return part;
}

static int parse_kind_and_address(char *text, enum endpoint_role role,
				  struct address_endpoint *endpoint,
				  struct error *error)
{
	char *address = strchr(text, ':');
	const struct kind *kind;
	char quoted[QUOTED_BYTES];

	if (address) {
		*address = '\0';
		address = trim(address + 1);
	}
	kind = find_kind(trim(text), role, error);
	if (!kind)
		return -EINVAL;
	endpoint->kind = (enum endpoint_kind)(kind - kinds);
	if (kind->address == ADDRESS_NEED_NONE && address)
		return error_set(error, -EINVAL, "%s takes no address ('%s')",
				 kind->name, printable(address, quoted));
	if (address && !*address)
		return error_set(error, -EINVAL,
				 "nothing after '%s:'; write %s", kind->name,
				 kind->forms[role]);
	if (kind->address == ADDRESS_NEED_REQUIRED && !address)
		return error_set(error, -EINVAL, "%s needs more; write %s",
				 kind->name, kind->forms[role]);
	return kind->parse ? kind->parse(endpoint, role, address, error) : 0;
}

static int parse_parts(char *text, enum endpoint_role role,
		       struct address_endpoint *endpoint, struct error *error)
{
	unsigned int seen = 0;
	char *cursor = text;
	char *part = next_part(&cursor);
	int code = parse_kind_and_address(part, role, endpoint, error);

	while (code == 0 && (part = next_part(&cursor)))
		code = parse_option(kind_of(endpoint), role, part, endpoint,
				    &seen, error);
	return code;
}

int address_endpoint_parse(const char *text, enum endpoint_role role,
			   struct address_endpoint *out, struct error *error)
{
	struct address_endpoint endpoint = {.kind = ENDPOINT_KIND_ECHO};
	char *copy = strdup(text);
	int code;

	if (!copy)
		return error_set(error, -ENOMEM, "out of memory");
	code = parse_parts(copy, role, &endpoint, error);
	free(copy);
	if (code < 0)
		address_endpoint_clear(&endpoint);
	else
		*out = endpoint;
	return code;
}

void address_endpoint_format(const struct address_endpoint *endpoint,
			     enum endpoint_role role,
			     char text[ADDRESS_ENDPOINT_TEXT_BYTES])
{
	const struct kind *kind = kind_of(endpoint);
	size_t used;

	text[0] = '\0';
	append(text, ADDRESS_ENDPOINT_TEXT_BYTES, "%s%s", kind->name,
	       kind->format ? ":" : "");
	used = strlen(text);
	if (kind->format)
		kind->format(endpoint, text + used,
			     ADDRESS_ENDPOINT_TEXT_BYTES - used);
	for (const struct option *option = kind->options; option->name;
	     option++) {
		char value[OPTION_VALUE_BYTES];

		if ((option->roles & 1u << role) &&
		    option->format(endpoint, value, sizeof(value)))
			append(text, ADDRESS_ENDPOINT_TEXT_BYTES, ",%s=%s",
			       option->name, value);
	}
}

void address_endpoint_clear(struct address_endpoint *endpoint)
{
	const struct kind *kind = kind_of(endpoint);

	if (kind->clear)
		kind->clear(endpoint);
	memset(endpoint, 0, sizeof(*endpoint));
}

bool address_endpoint_is_conflict(const struct address_endpoint *a,
				  enum endpoint_role a_role,
				  const struct address_adapter *a_adapter,
				  const struct address_endpoint *b,
				  enum endpoint_role b_role,
				  const struct address_adapter *b_adapter)
{
	const struct kind *a_kind = kind_of(a), *b_kind = kind_of(b);
	const char *a_path = NULL, *b_path = NULL;

	if (a_kind->held_path)
		a_path = a_kind->held_path(a, a_role);
	if (b_kind->held_path)
		b_path = b_kind->held_path(b, b_role);
	if (a_path && b_path)
		return path_is_same(a_path, b_path);
	return a_kind == b_kind && a_kind->is_conflict &&
	       a_role == ENDPOINT_ROLE_LISTEN &&
	       b_role == ENDPOINT_ROLE_LISTEN &&
	       a_kind->is_conflict(a, a_adapter, b, b_adapter);
}

bool address_endpoint_is_loop(const struct address_endpoint *listen,
			      const struct address_endpoint *connect)
{
	return listen->kind == connect->kind && kind_of(listen)->is_loop &&
	       kind_of(listen)->is_loop(listen, connect);
}

bool address_endpoint_is_bluetooth(const struct address_endpoint *endpoint)
{
	return kind_of(endpoint)->is_bluetooth;
}

int address_endpoint_check_security(const struct address_endpoint *endpoint,
				    enum security_level level,
				    struct error *error)
{
	const struct kind *kind = kind_of(endpoint);

	if (level <= kind->security_max)
		return 0;
	return error_set(error, -EINVAL,
			 "security '%s' is not to be had with %s; the most is "
			 "'%s'",
			 address_security_to_string(level), kind->name,
			 address_security_to_string(kind->security_max));
}
