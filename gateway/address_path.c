/* SPDX-License-Identifier: MIT */
#include "address_path.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "hash.h"
#include "text.h"

#define ACCOUNT_BYTES_MAX 64

static bool has_control(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return true;
	}
	return false;
}

int address_path_parse(char *text, const char *kind, size_t bytes_max,
		       char **out, struct error *error)
{
	char quoted[TEXT_QUOTED_BYTES];
	const char *last;
	int code = text_parse_quoted(text, error);

	if (code < 0)
		return code;
	text_printable(text, quoted);
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

bool address_path_is_same(const char *a, const char *b)
{
	/* A quick no: the parser saw to it that the last part is a name. */
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

bool address_path_is_next(const char *path, const char *other)
{
	char next[PATH_MAX];

	snprintf(next, sizeof(next), "%s" ADDRESS_PATH_NEXT, path);
	return address_path_is_same(next, other);
}

uint32_t address_path_place(const char *path)
{
	const char *name = strrchr(path, '/');
	size_t length = strlen(name), end = strlen(ADDRESS_PATH_NEXT);
	uint32_t place;

	while (length > end &&
	       memcmp(name + length - end, ADDRESS_PATH_NEXT, end) == 0)
		length -= end;
	place = (uint32_t)hash_add(HASH_START, name, length);
	return place ? place : 1;
}

/* ---- owner, group, mode ---------------------------------------------- */

int address_mode_parse(const char *value, mode_t *out, struct error *error)
{
	size_t digits = strspn(value, "01234567");
	unsigned int mode = 0;
	char quoted[TEXT_QUOTED_BYTES];

	for (size_t i = 0; i < digits && i < 5; i++)
		mode = mode << 3 | (unsigned int)(value[i] - '0');
	if (!digits || digits > 4 || value[digits] || !mode || mode > 0777)
		return error_set(error, -EINVAL,
				 "mode '%s' is not octal 0001 to 0777, like "
				 "0660",
				 text_printable(value, quoted));
	*out = (mode_t)mode;
	return 0;
}

int address_account_parse(const char *value, const char *what, char **out,
			  struct error *error)
{
	char quoted[TEXT_QUOTED_BYTES];
	bool is_good = *value && *value != '-';

	for (const char *c = value; *c; c++)
		is_good = is_good &&
			  (text_is_name_char(*c) || strchr("@$+", *c));
	if (!is_good || strlen(value) > ACCOUNT_BYTES_MAX)
		return error_set(error, -EINVAL,
				 "'%s' is not a %s; write a name or number, at "
				 "most %d of A-Z a-z 0-9 . _ - @ $ +",
				 text_printable(value, quoted), what,
				 ACCOUNT_BYTES_MAX);
	*out = strdup(value);
	return *out ? 0 : error_set(error, -ENOMEM, "out of memory");
}

void address_access_clear(struct address_access *access)
{
	free(access->owner);
	free(access->group);
}
