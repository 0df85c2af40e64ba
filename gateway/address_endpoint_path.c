/* SPDX-License-Identifier: MIT */
/* The kinds that are paths: unix, pty, file. */
#include "address_endpoint_kind.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address_path.h"
#include "error.h"
#include "text.h"

/* struct sockaddr_un's sun_path takes 108, the last one for the NUL. */
#define UNIX_PATH_BYTES_MAX 107
#define PATH_BYTES_MAX 255

/* ---- owner, group, mode ---------------------------------------------- */

static struct address_access *access_of(struct address_endpoint *endpoint)
{
	switch (endpoint->kind) {
	case ENDPOINT_KIND_UNIX:
		return &endpoint->local.access;
	case ENDPOINT_KIND_FILE:
		return &endpoint->file.access;
	default:
		return &endpoint->pty.access;
	}
}

static const struct address_access *const_access_of(
	const struct address_endpoint *endpoint)
{
	switch (endpoint->kind) {
	case ENDPOINT_KIND_UNIX:
		return &endpoint->local.access;
	case ENDPOINT_KIND_FILE:
		return &endpoint->file.access;
	default:
		return &endpoint->pty.access;
	}
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

static void format_unix(const struct address_endpoint *endpoint,
			enum endpoint_role role, char *text, size_t bytes)
{
	text_format_quoted(endpoint->local.path, text, bytes);
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

static int parse_unix_seqpacket(struct address_endpoint *endpoint,
				const char *value, struct error *error)
{
	endpoint->local.is_seqpacket = true;
	return 0;
}

static bool format_unix_seqpacket(const struct address_endpoint *endpoint,
				  char *text, size_t bytes)
{
	return endpoint->local.is_seqpacket;
}

static bool unix_has_records(const struct address_endpoint *endpoint)
{
	return endpoint->local.is_seqpacket;
}

/* clang-format off */
const struct address_endpoint_kind address_endpoint_unix = {
	.name = "unix",
	.roles = ROLE_BOTH,
	.needs = {ADDRESS_NEED_REQUIRED, ADDRESS_NEED_REQUIRED},
	.has_packing = true,
	.security_max = SECURITY_LEVEL_FIPS,
	.forms = {"unix:/PATH", "unix:/PATH"},
	.parse = parse_unix,
	.format = format_unix,
	.clear = clear_unix,
	.held_path = unix_held_path,
	.is_loop = unix_is_loop,
	.has_records = unix_has_records,
	.options = {
		{"mode", ROLE_LISTEN, "0660", false, parse_mode, format_mode},
		{"owner", ROLE_LISTEN, "root", false, parse_owner,
		 format_owner},
		{"group", ROLE_LISTEN, "dialout", false, parse_group,
		 format_group},
		{"seqpacket", ROLE_BOTH, NULL, false, parse_unix_seqpacket,
		 format_unix_seqpacket},
	},
};
/* clang-format on */

/* ---- pty ------------------------------------------------------------- */

static const char *const when_closed_words[] = {
	[PTY_WHEN_CLOSED_KEEP] = "keep",
	[PTY_WHEN_CLOSED_DISCARD] = "discard",
	NULL,
};

static int parse_pty(struct address_endpoint *endpoint, enum endpoint_role role,
		     char *address, struct error *error)
{
	return address_path_parse(address, "pty", PATH_BYTES_MAX,
				  &endpoint->pty.path, error);
}

static void format_pty(const struct address_endpoint *endpoint,
		       enum endpoint_role role, char *text, size_t bytes)
{
	text_format_quoted(endpoint->pty.path, text, bytes);
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

/* clang-format off */
const struct address_endpoint_kind address_endpoint_pty = {
	.name = "pty",
	.roles = ROLE_BOTH,
	.needs = {ADDRESS_NEED_REQUIRED, ADDRESS_NEED_REQUIRED},
	.has_packing = true,
	.security_max = SECURITY_LEVEL_FIPS,
	.forms = {"pty:/PATH", "pty:/PATH"},
	.parse = parse_pty,
	.format = format_pty,
	.clear = clear_pty,
	.held_path = pty_held_path,
	.has_next = true,
	.options = {
		{"mode", ROLE_BOTH, "0660", false, parse_mode, format_mode},
		{"owner", ROLE_BOTH, "root", false, parse_owner, format_owner},
		{"group", ROLE_BOTH, "dialout", false, parse_group,
		 format_group},
		{"when-closed", ROLE_CONNECT, "discard", false,
		 parse_when_closed, format_when_closed},
	},
};
/* clang-format on */

/* ---- file ------------------------------------------------------------ */

static int parse_file(struct address_endpoint *endpoint,
		      enum endpoint_role role, char *address,
		      struct error *error)
{
	return address_path_parse(address, "file", PATH_BYTES_MAX,
				  &endpoint->file.path, error);
}

static void format_file(const struct address_endpoint *endpoint,
			enum endpoint_role role, char *text, size_t bytes)
{
	text_format_quoted(endpoint->file.path, text, bytes);
}

static void clear_file(struct address_endpoint *endpoint)
{
	free(endpoint->file.path);
	address_access_clear(&endpoint->file.access);
}

static const char *file_held_path(const struct address_endpoint *endpoint,
				  enum endpoint_role role)
{
	return endpoint->file.path;
}

/* clang-format off */
const struct address_endpoint_kind address_endpoint_file = {
	.name = "file",
	.roles = ROLE_CONNECT,
	.needs = {ADDRESS_NEED_REQUIRED, ADDRESS_NEED_REQUIRED},
	.is_shareable = true,
	.security_max = SECURITY_LEVEL_FIPS,
	.forms = {NULL, "file:/PATH"},
	.parse = parse_file,
	.format = format_file,
	.clear = clear_file,
	.held_path = file_held_path,
	.options = {
		{"mode", ROLE_CONNECT, "0640", false, parse_mode, format_mode},
		{"owner", ROLE_CONNECT, "root", false, parse_owner,
		 format_owner},
		{"group", ROLE_CONNECT, "adm", false, parse_group,
		 format_group},
	},
};
/* clang-format on */
