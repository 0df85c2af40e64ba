/* SPDX-License-Identifier: MIT */
/* The kinds that need nothing but themselves: exec, echo. */
#include "address_endpoint_kind.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "text.h"

#define COMMAND_BYTES_MAX 400

/* ---- exec ------------------------------------------------------------ */

/*
 * The shell has quotes of its own: only a command that starts with one is
 * quoted as a whole, in all others they are the shell's.
 */
static int unquote_command(char *command, struct error *error)
{
	char quoted[TEXT_QUOTED_BYTES];
	bool is_open = false;

	if (*command == '"')
		return text_parse_quoted(command, error);
	for (const char *c = command; *c; c++) {
		if (is_open && *c == '\\' && c[1])
			c++;
		else if (*c == '"')
			is_open = !is_open;
	}
	if (!is_open)
		return 0;
	return error_set(error, -EINVAL,
			 "a quote in '%s' is never closed (\" ;\" starts a "
			 "comment: put the whole command in double quotes, and "
			 "write \\\" and \\; in it)",
			 text_printable(command, quoted));
}

static int parse_exec(struct address_endpoint *endpoint,
		      enum endpoint_role role, char *address,
		      struct error *error)
{
	char quoted[TEXT_QUOTED_BYTES];
	int code = unquote_command(address, error);

	if (code < 0)
		return code;
	text_printable(address, quoted);
	for (const char *c = address; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return error_set(error, -EINVAL,
					 "a control character in the command "
					 "'%s'",
					 quoted);
	}
	if (!address[strspn(address, " ")])
		return error_set(error, -EINVAL,
				 "no command between the quotes; write "
				 "exec:COMMAND");
	if (strlen(address) > COMMAND_BYTES_MAX)
		return error_set(error, -EINVAL,
				 "the command '%s' is %zu bytes long; at most "
				 "%d: put it into a script",
				 quoted, strlen(address), COMMAND_BYTES_MAX);
	endpoint->exec.command = strdup(address);
	return endpoint->exec.command
		       ? 0
		       : error_set(error, -ENOMEM, "out of memory");
}

static void format_exec(const struct address_endpoint *endpoint,
			enum endpoint_role role, char *text, size_t bytes)
{
	text_format_quoted(endpoint->exec.command, text, bytes);
}

static void clear_exec(struct address_endpoint *endpoint)
{
	free(endpoint->exec.command);
}

static int parse_pipe(struct address_endpoint *endpoint, const char *value,
		      struct error *error)
{
	endpoint->exec.is_pipe = true;
	return 0;
}

static bool format_pipe(const struct address_endpoint *endpoint, char *text,
			size_t bytes)
{
	return endpoint->exec.is_pipe;
}

/* clang-format off */
const struct address_endpoint_kind address_endpoint_exec = {
	.name = "exec",
	.roles = ROLE_CONNECT,
	.needs = {ADDRESS_NEED_REQUIRED, ADDRESS_NEED_REQUIRED},
	.has_packing = true,
	.security_max = SECURITY_LEVEL_FIPS,
	.forms = {NULL, "exec:COMMAND"},
	.parse = parse_exec,
	.format = format_exec,
	.clear = clear_exec,
	.comma_hint = "a command with a comma goes in double quotes",
	.options = {
		{"pipe", ROLE_CONNECT, NULL, false, parse_pipe, format_pipe},
	},
};

/* ---- echo ------------------------------------------------------------ */

const struct address_endpoint_kind address_endpoint_echo = {
	.name = "echo",
	.roles = ROLE_CONNECT,
	.needs = {ADDRESS_NEED_NONE, ADDRESS_NEED_NONE},
	.security_max = SECURITY_LEVEL_FIPS,
	.forms = {"echo", "echo"},
};
/* clang-format on */
