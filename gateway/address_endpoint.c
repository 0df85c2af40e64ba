/* SPDX-License-Identifier: MIT */
#include "address_endpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address_host.h"
#include "address_path.h"
#include "error.h"
#include "text.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* struct sockaddr_un's sun_path takes 108, the last one for the NUL. */
#define UNIX_PATH_BYTES_MAX 107
#define PTY_PATH_BYTES_MAX 255
#define RFCOMM_CHANNEL_MAX 30
#define KEEPALIVE_S_MAX 32767 /* MAX_TCP_KEEPIDLE in the kernel */

/* ---- options of paths ------------------------------------------------ */

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
	return address_mode_parse(value, &access_of(endpoint)->mode, error);
}

static bool format_mode(const struct address_endpoint *endpoint, char *text,
			size_t bytes)
{
	mode_t mode = const_access_of(endpoint)->mode;

	snprintf(text, bytes, "%04o", (unsigned int)mode);
	return mode;
}

static int parse_owner(struct address_endpoint *endpoint, const char *value,
		       struct error *error)
{
	return address_account_parse(value, "user", &access_of(endpoint)->owner,
				     error);
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
	return address_account_parse(value, "group",
				     &access_of(endpoint)->group, error);
}

static bool format_group(const struct address_endpoint *endpoint, char *text,
			 size_t bytes)
{
	const char *group = const_access_of(endpoint)->group;

	snprintf(text, bytes, "%s", group ? group : "");
	return group;
}

/* ---- rfcomm ---------------------------------------------------------- */

static int parse_rfcomm(struct address_endpoint *endpoint,
			enum endpoint_role role, char *address,
			struct error *error)
{
	unsigned long long channel;
	char quoted[TEXT_QUOTED_BYTES];

	if (!address || strcmp(address, "auto") == 0)
		return 0;
	if (!text_parse_number(address, RFCOMM_CHANNEL_MAX, &channel) ||
	    !channel)
		return error_set(error, -EINVAL,
				 "'%s' is not an RFCOMM channel; write 1 to "
				 "%d, or auto for the first free one",
				 text_printable(address, quoted),
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
	       address_adapter_is_overlap(a_adapter, b_adapter);
}

/* ---- tcp ------------------------------------------------------------- */

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
	char quoted[TEXT_QUOTED_BYTES];
	unsigned int ms = 0;
	int code = address_duration_parse(value, &ms, error);

	if (code < 0)
		return error_prefix(error, code, "keepalive");
	if (!ms || ms % 1000 || ms / 1000 > KEEPALIVE_S_MAX)
		return error_set(error, -EINVAL,
				 "keepalive '%s' is not in whole seconds from "
				 "1s to %ds",
				 text_printable(value, quoted),
				 KEEPALIVE_S_MAX);
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
	return a->tcp.port == b->tcp.port &&
	       address_host_is_conflict(a->tcp.host, b->tcp.host);
}

static bool tcp_is_loop(const struct address_endpoint *listen,
			const struct address_endpoint *connect)
{
	return listen->tcp.port == connect->tcp.port &&
	       address_host_is_reached(listen->tcp.host, connect->tcp.host);
}

/* ---- unix ------------------------------------------------------------ */

static int parse_unix(struct address_endpoint *endpoint,
		      enum endpoint_role role, char *address,
		      struct error *error)
{
	char quoted[TEXT_QUOTED_BYTES];

	if (*address == '@')
		return error_set(error, -EINVAL,
				 "'%s' is an abstract socket, which has no "
				 "owner and no mode: not supported; write "
				 "unix:/PATH",
				 text_printable(address, quoted));
	return address_path_parse(address, "unix", UNIX_PATH_BYTES_MAX,
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
	address_access_clear(&endpoint->local.access);
}

static const char *unix_held_path(const struct address_endpoint *endpoint,
				  enum endpoint_role role)
{
	return role == ENDPOINT_ROLE_LISTEN ? endpoint->local.path : NULL;
}

static bool unix_is_loop(const struct address_endpoint *listen,
			 const struct address_endpoint *connect)
{
	return address_path_is_same(listen->local.path, connect->local.path);
}

/* ---- pty ------------------------------------------------------------- */

static const char *const when_closed_words[] = {
	[PTY_WHEN_CLOSED_KEEP] = "keep",
	[PTY_WHEN_CLOSED_DISCARD] = "discard",
	NULL,
};

static int parse_pty(struct address_endpoint *endpoint, enum endpoint_role role,
		     char *address, struct error *error)
{
	return address_path_parse(address, "pty", PTY_PATH_BYTES_MAX,
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
	address_access_clear(&endpoint->pty.access);
}

static int parse_when_closed(struct address_endpoint *endpoint,
			     const char *value, struct error *error)
{
	int index = text_parse_word(value, when_closed_words,
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

/* ---- the kinds ------------------------------------------------------- */

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
	[ENDPOINT_KIND_L2CAP] = {
		.name = "l2cap",
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
	[ENDPOINT_KIND_SERIAL] = {
		.name = "serial",
	},
	[ENDPOINT_KIND_FILE] = {
		.name = "file",
	},
	[ENDPOINT_KIND_EXEC] = {
		.name = "exec",
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
	char list[80], quoted[TEXT_QUOTED_BYTES];

	list_kinds(role, words);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		/* A row without roles is still to come. */
		if (!kinds[i].roles || strcmp(text, kinds[i].name) != 0)
			continue;
		if (kinds[i].roles & 1u << role)
			return &kinds[i];
		text_format_words(words, list, sizeof(list));
		error_set(error, -EINVAL, "'%s' is for %s only; %s takes %s",
			  text, role_words[!role], role_words[role], list);
		return NULL;
	}
	if (!*text)
		address_error_choice(error, text, words, "no endpoint kind");
	else
		address_error_choice(error, text, words,
				     "unknown endpoint kind '%s'",
				     text_printable(text, quoted));
	return NULL;
}

static int refuse_option(const struct kind *kind, enum endpoint_role role,
			 const char *name, struct error *error)
{
	const char *words[OPTIONS_MAX + 1];
	size_t count = 0;
	char quoted[TEXT_QUOTED_BYTES];

	text_printable(name, quoted);
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
		value = text_trim(equals + 1);
	}
	text = text_trim(text);
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
	char quoted[TEXT_QUOTED_BYTES];

	if (address) {
		*address = '\0';
		address = text_trim(address + 1);
	}
	kind = find_kind(text_trim(text), role, error);
	if (!kind)
		return -EINVAL;
	endpoint->kind = (enum endpoint_kind)(kind - kinds);
	if (kind->address == ADDRESS_NEED_NONE && address)
		return error_set(error, -EINVAL, "%s takes no address ('%s')",
				 kind->name, text_printable(address, quoted));
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
	text_append(text, ADDRESS_ENDPOINT_TEXT_BYTES, "%s%s", kind->name,
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
			text_append(text, ADDRESS_ENDPOINT_TEXT_BYTES, ",%s=%s",
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
		return address_path_is_same(a_path, b_path);
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
