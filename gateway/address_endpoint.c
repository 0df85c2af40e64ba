/* SPDX-License-Identifier: MIT */
#include "address_endpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address_endpoint_kind.h"
#include "address_path.h"
#include "error.h"
#include "text.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

static const char *const role_words[] = {
	[ENDPOINT_ROLE_LISTEN] = "listen",
	[ENDPOINT_ROLE_CONNECT] = "connect",
};

static const struct address_endpoint_kind *const kinds[] = {
	[ENDPOINT_KIND_RFCOMM] = &address_endpoint_rfcomm,
	[ENDPOINT_KIND_L2CAP] = &address_endpoint_l2cap,
	[ENDPOINT_KIND_TCP] = &address_endpoint_tcp,
	[ENDPOINT_KIND_TLS] = &address_endpoint_tls,
	[ENDPOINT_KIND_UNIX] = &address_endpoint_unix,
	[ENDPOINT_KIND_PTY] = &address_endpoint_pty,
	[ENDPOINT_KIND_SERIAL] = &address_endpoint_serial,
	[ENDPOINT_KIND_FILE] = &address_endpoint_file,
	[ENDPOINT_KIND_EXEC] = &address_endpoint_exec,
	[ENDPOINT_KIND_ECHO] = &address_endpoint_echo,
};

static const struct address_endpoint_kind *kind_of(
	const struct address_endpoint *endpoint)
{
	return kinds[endpoint->kind];
}

/* The names of the kinds that can play @role, NULL-ended. */
static void list_kinds(enum endpoint_role role,
		       const char *words[ARRAY_SIZE(kinds) + 1])
{
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i]->roles & 1u << role)
			words[count++] = kinds[i]->name;
	}
	words[count] = NULL;
}

/* 0 with the kind in @out. */
static int find_kind(const char *text, enum endpoint_role role,
		     enum endpoint_kind *out, struct error *error)
{
	const char *words[ARRAY_SIZE(kinds) + 1];
	char list[80], quoted[TEXT_QUOTED_BYTES];

	list_kinds(role, words);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strcmp(text, kinds[i]->name) != 0)
			continue;
		*out = (enum endpoint_kind)i;
		if (kinds[i]->roles & 1u << role)
			return 0;
		text_format_words(words, list, sizeof(list));
		return error_set(error, -EINVAL,
				 "'%s' is for %s only; %s takes %s", text,
				 role_words[!role], role_words[role], list);
	}
	if (!*text)
		return text_refuse_choice(error, text, words,
					  "no endpoint kind");
	return text_refuse_choice(error, text, words,
				  "unknown endpoint kind '%s'",
				  text_printable(text, quoted));
}

/* ---- options --------------------------------------------------------- */

#define OPTIONS_MAX (ENDPOINT_OPTIONS_MAX + 4)

/* Those of the kind, then those that many kinds share; NULL-ended. */
static void list_options(const struct address_endpoint_kind *kind,
			 const struct endpoint_option *options[OPTIONS_MAX])
{
	const struct endpoint_option *option;
	size_t count = 0;

	for (option = kind->options; option->name; option++)
		options[count++] = option;
	option = address_endpoint_packing;
	for (; kind->has_packing && option->name; option++)
		options[count++] = option;
	options[count] = NULL;
}

static int refuse_option(const struct address_endpoint_kind *kind,
			 enum endpoint_role role, const char *name,
			 struct error *error)
{
	const struct endpoint_option *options[OPTIONS_MAX];
	const char *words[OPTIONS_MAX + 1];
	size_t count = 0;
	char quoted[TEXT_QUOTED_BYTES];

	text_printable(name, quoted);
	list_options(kind, options);
	if (kind->figures_example)
		words[count++] = kind->figures_example;
	for (size_t i = 0; options[i]; i++) {
		if (options[i]->roles & 1u << role)
			words[count++] = options[i]->name;
		else if (strcmp(options[i]->name, name) == 0)
			return error_set(error, -EINVAL,
					 "option '%s' of %s is for %s only",
					 name, kind->name, role_words[!role]);
	}
	words[count] = NULL;
	if (!count)
		return error_set(error, -EINVAL,
				 "unknown option '%s'; %s takes no options",
				 quoted, kind->name);
	return text_refuse_choice(error, name, words,
				  "unknown option '%s' of %s%s%s", quoted,
				  kind->name, kind->comma_hint ? "; " : "",
				  kind->comma_hint ? kind->comma_hint : "");
}

static int parse_option_value(const struct endpoint_option *option, char *value,
			      struct address_endpoint *endpoint,
			      struct error *error)
{
	char quoted[TEXT_QUOTED_BYTES];
	int code;

	if (!option->example && value)
		return error_set(error, -EINVAL,
				 "option '%s' takes no value ('%s'); write %s "
				 "alone, or leave it out",
				 option->name, text_printable(value, quoted),
				 option->name);
	if (option->example && (!value || !*value))
		return error_set(error, -EINVAL,
				 "option '%s' needs a value, like %s=%s",
				 option->name, option->name, option->example);
	if (value && !option->is_raw) {
		code = text_parse_quoted(value, error);
		if (code < 0)
			return code;
	}
	return option->parse(endpoint, value, error);
}

/* The bit of @seen that stands for figures. */
#define FIGURES_BIT OPTIONS_MAX

static int mark_seen(unsigned int *seen, unsigned int bit, const char *text,
		     struct error *error)
{
	char quoted[TEXT_QUOTED_BYTES];

	if (*seen & 1u << bit)
		return error_set(error, -EINVAL, "option '%s' is given twice",
				 text_printable(text, quoted));
	*seen |= 1u << bit;
	return 0;
}

static int parse_option(const struct address_endpoint_kind *kind,
			enum endpoint_role role, char *text,
			struct address_endpoint *endpoint, unsigned int *seen,
			struct error *error)
{
	const struct endpoint_option *options[OPTIONS_MAX];
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
	if (kind->parse_figures && !equals && *text >= '0' && *text <= '9') {
		code = kind->parse_figures(endpoint, text, error);
		return code ? code : mark_seen(seen, FIGURES_BIT, text, error);
	}
	list_options(kind, options);
	while (options[i] && (strcmp(options[i]->name, text) != 0 ||
			      !(options[i]->roles & 1u << role)))
		i++;
	if (!options[i])
		return refuse_option(kind, role, text, error);
	code = mark_seen(seen, i, text, error);
	return code ? code
		    : parse_option_value(options[i], value, endpoint, error);
}

/* ---- the whole ------------------------------------------------------- */

static int parse_kind_and_address(char *text, enum endpoint_role role,
				  struct address_endpoint *endpoint,
				  struct error *error)
{
	char *address = strchr(text, ':');
	const struct address_endpoint_kind *kind;
	char quoted[TEXT_QUOTED_BYTES];
	int code;

	if (address) {
		*address = '\0';
		address = text_trim(address + 1);
	}
	code = find_kind(text_trim(text), role, &endpoint->kind, error);
	if (code < 0)
		return code;
	kind = kind_of(endpoint);
	if (kind->needs[role] == ADDRESS_NEED_NONE && address)
		return error_set(error, -EINVAL, "%s takes no address ('%s')",
				 kind->name, text_printable(address, quoted));
	if (address && !*address)
		return error_set(error, -EINVAL,
				 "nothing after '%s:'; write %s", kind->name,
				 kind->forms[role]);
	if (kind->needs[role] == ADDRESS_NEED_REQUIRED && !address)
		return error_set(error, -EINVAL, "%s needs more; write %s",
				 kind->name, kind->forms[role]);
	return kind->parse ? kind->parse(endpoint, role, address, error) : 0;
}

bool address_endpoint_has_records(const struct address_endpoint *endpoint)
{
	return kind_of(endpoint)->has_records &&
	       kind_of(endpoint)->has_records(endpoint);
}

static int check_whole(const struct address_endpoint *endpoint,
		       enum endpoint_role role, struct error *error)
{
	const struct address_endpoint_kind *kind = kind_of(endpoint);
	const struct endpoint_packing *packing = &endpoint->packing;

	if (address_endpoint_has_records(endpoint) &&
	    (packing->has_delimiter || packing->gap_ms || packing->bytes))
		return error_set(error, -EINVAL,
				 "%s is for a stream of bytes; with seqpacket, "
				 "what arrives is in packets already",
				 packing->has_delimiter ? "pack-until"
				 : packing->gap_ms	? "pack-gap"
							: "pack-size");
	return kind->check ? kind->check(endpoint, role, error) : 0;
}

static int parse_parts(char *text, enum endpoint_role role,
		       struct address_endpoint *endpoint, struct error *error)
{
	unsigned int seen = 0;
	char *cursor = text;
	char *part = text_next_part(&cursor);
	int code = parse_kind_and_address(part, role, endpoint, error);

	while (code == 0 && (part = text_next_part(&cursor)))
		code = parse_option(kind_of(endpoint), role, part, endpoint,
				    &seen, error);
	return code ? code : check_whole(endpoint, role, error);
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
	const struct address_endpoint_kind *kind = kind_of(endpoint);
	const struct endpoint_option *options[OPTIONS_MAX];
	size_t used;

	text[0] = '\0';
	text_append(text, ADDRESS_ENDPOINT_TEXT_BYTES, "%s%s", kind->name,
		    kind->format ? ":" : "");
	used = strlen(text);
	if (kind->format)
		kind->format(endpoint, role, text + used,
			     ADDRESS_ENDPOINT_TEXT_BYTES - used);
	list_options(kind, options);
	for (size_t i = 0; options[i]; i++) {
		bool is_flag = !options[i]->example;
		char value[OPTION_VALUE_BYTES] = "";

		if ((options[i]->roles & 1u << role) &&
		    options[i]->format(endpoint, value, sizeof(value)))
			text_append(text, ADDRESS_ENDPOINT_TEXT_BYTES,
				    ",%s%s%s", options[i]->name,
				    is_flag ? "" : "=", value);
	}
}

void address_endpoint_clear(struct address_endpoint *endpoint)
{
	const struct address_endpoint_kind *kind = kind_of(endpoint);

	if (kind->clear)
		kind->clear(endpoint);
	memset(endpoint, 0, sizeof(*endpoint));
}

static const char *held_path_of(const struct address_endpoint *endpoint,
				enum endpoint_role role)
{
	const struct address_endpoint_kind *kind = kind_of(endpoint);

	return kind->held_path ? kind->held_path(endpoint, role) : NULL;
}

bool address_endpoint_needs_next(const struct address_endpoint *endpoint,
				 enum endpoint_role role,
				 const struct address_endpoint *other,
				 enum endpoint_role other_role)
{
	const char *path = held_path_of(endpoint, role);
	const char *other_path = held_path_of(other, other_role);

	return kind_of(endpoint)->has_next && role == ENDPOINT_ROLE_LISTEN &&
	       path && other_path && address_path_is_next(path, other_path);
}

bool address_endpoint_is_conflict(const struct address_endpoint *a,
				  enum endpoint_role a_role,
				  const struct address_adapter *a_adapter,
				  const struct address_endpoint *b,
				  enum endpoint_role b_role,
				  const struct address_adapter *b_adapter)
{
	const struct address_endpoint_kind *a_kind = kind_of(a);
	const struct address_endpoint_kind *b_kind = kind_of(b);
	const char *a_path = held_path_of(a, a_role);
	const char *b_path = held_path_of(b, b_role);

	if (address_endpoint_needs_next(a, a_role, b, b_role) ||
	    address_endpoint_needs_next(b, b_role, a, a_role))
		return true;
	if (a_path && b_path)
		return address_path_is_same(a_path, b_path) &&
		       !(a_kind == b_kind && a_kind->is_shareable);
	return a_kind->is_conflict &&
	       a_kind->is_conflict == b_kind->is_conflict &&
	       a_kind->is_conflict(a, a_role, a_adapter, b, b_role, b_adapter);
}

uint32_t address_endpoint_place(const struct address_endpoint *endpoint,
				enum endpoint_role role)
{
	const struct address_endpoint_kind *kind = kind_of(endpoint);
	const char *path = held_path_of(endpoint, role);

	if (path)
		return address_path_place(path);
	return kind->place ? kind->place(endpoint, role) : 0;
}

bool address_endpoint_is_loop(const struct address_endpoint *listen,
			      const struct address_endpoint *connect)
{
	return kind_of(listen)->is_loop &&
	       kind_of(listen)->is_loop == kind_of(connect)->is_loop &&
	       kind_of(listen)->is_loop(listen, connect);
}

bool address_endpoint_is_ip(const struct address_endpoint *endpoint)
{
	return endpoint->kind == ENDPOINT_KIND_TCP ||
	       endpoint->kind == ENDPOINT_KIND_TLS;
}

bool address_endpoint_is_bluetooth(const struct address_endpoint *endpoint)
{
	return kind_of(endpoint)->is_bluetooth;
}

uint16_t address_endpoint_port(const struct address_endpoint *endpoint)
{
	switch (endpoint->kind) {
	case ENDPOINT_KIND_RFCOMM:
		return endpoint->rfcomm.channel;
	case ENDPOINT_KIND_L2CAP:
		return endpoint->l2cap.psm;
	default:
		return 0;
	}
}

const struct address_device *address_endpoint_device(
	const struct address_endpoint *endpoint)
{
	switch (endpoint->kind) {
	case ENDPOINT_KIND_RFCOMM:
		return &endpoint->rfcomm.device;
	case ENDPOINT_KIND_L2CAP:
		return &endpoint->l2cap.device;
	default:
		return NULL;
	}
}

int address_endpoint_check_security(const struct address_endpoint *endpoint,
				    enum security_level level,
				    struct error *error)
{
	const struct address_endpoint_kind *kind = kind_of(endpoint);

	if (level <= kind->security_max)
		return 0;
	return error_set(error, -EINVAL,
			 "security '%s' is not to be had with %s; the most is "
			 "'%s'",
			 address_security_to_string(level), kind->name,
			 address_security_to_string(kind->security_max));
}
