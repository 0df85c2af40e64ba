/* SPDX-License-Identifier: MIT */
#include "text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

size_t text_utf8_bytes(const char *text)
{
	const unsigned char *byte = (const unsigned char *)text;
	unsigned char low = 0x80, high = 0xbf;
	size_t bytes;

	if (byte[0] < 0x80)
		return 1;
	if (byte[0] < 0xc2 || byte[0] > 0xf4)
		return 0;
	bytes = byte[0] < 0xe0 ? 2 : byte[0] < 0xf0 ? 3 : 4;
	if (byte[0] == 0xe0)
		low = 0xa0; /* overlong */
	else if (byte[0] == 0xed)
		high = 0x9f; /* surrogates */
	else if (byte[0] == 0xf0)
		low = 0x90;
	else if (byte[0] == 0xf4)
		high = 0x8f; /* past U+10FFFF */
	for (size_t i = 1; i < bytes; i++) {
		if (byte[i] < low || byte[i] > high)
			return 0;
		low = 0x80;
		high = 0xbf;
	}
	return bytes;
}

/* C0, DEL, and C1 (U+0080 to U+009F), which xterm takes for escapes, too. */
static bool is_control(const char *text, size_t bytes)
{
	unsigned char first = (unsigned char)text[0];

	if (bytes == 2)
		return first == 0xc2 && (unsigned char)text[1] < 0xa0;
	return bytes == 1 && (first < ' ' || first == 0x7f);
}

/*
 * Marks that turn the direction of what follows (UAX 9): with them one name can
 * look like another, or like the rest of a line.
 */
static bool is_direction(const char *text, size_t bytes)
{
	const unsigned char *byte = (const unsigned char *)text;

	if (bytes == 2)
		return byte[0] == 0xd8 && byte[1] == 0x9c; /* U+061C */
	if (bytes != 3 || byte[0] != 0xe2)
		return false;
	if (byte[1] == 0x80) /* U+200E, U+200F, U+202A to U+202E */
		return byte[2] == 0x8e || byte[2] == 0x8f ||
		       (byte[2] >= 0xaa && byte[2] <= 0xae);
	/* U+2066 to U+2069 */
	return byte[1] == 0x81 && byte[2] >= 0xa6 && byte[2] <= 0xa9;
}

const char *text_printable(const char *text, char out[TEXT_QUOTED_BYTES])
{
	size_t length = strlen(text);
	size_t kept = length, used = 0;

	if (length >= TEXT_QUOTED_BYTES) {
		kept = TEXT_QUOTED_BYTES - sizeof("...");
		/* Not in the middle of a UTF-8 sequence. */
		while (kept && ((unsigned char)text[kept] & 0xc0) == 0x80)
			kept--;
	}
	for (size_t i = 0; i < kept;) {
		size_t bytes = text_utf8_bytes(text + i);

		/* A sequence that was cut off is none either. */
		if (!bytes || i + bytes > kept || is_control(text + i, bytes) ||
		    is_direction(text + i, bytes)) {
			out[used++] = '?';
			i += bytes && i + bytes <= kept ? bytes : 1;
			continue;
		}
		memcpy(out + used, text + i, bytes);
		used += bytes;
		i += bytes;
	}
	strcpy(out + used, kept < length ? "..." : "");
	return out;
}

char text_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

int text_hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	c = text_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool text_is_name_char(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') ||
	       (c >= 'A' && c <= 'Z') || c == '_' || c == '-' || c == '.';
}

bool text_parse_number(const char *text, unsigned long long max,
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

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

char *text_trim(char *text)
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

void text_append(char *text, size_t bytes, const char *format, ...)
{
	size_t used = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + used, bytes - used, format, args);
	va_end(args);
}

/* ---- did you mean ---------------------------------------------------- */

#define SUGGEST_LETTERS_MAX 32
#define SUGGEST_EDITS_MAX 2

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
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
			char x = text_lower(a[i - 1]), y = text_lower(b[j - 1]);

			row[j] = min_size(last[j - 1] + (x != y),
					  min_size(last[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && x == text_lower(b[j - 2]) &&
			    y == text_lower(a[i - 2]))
				row[j] = min_size(row[j], before[j - 2] + 1);
		}
		before = last;
		last = row;
		row = spare;
	}
	return last[b_length];
}

const char *text_suggest_word(const char *text, const char *const *words)
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

void text_format_words(const char *const *words, char *out, size_t bytes)
{
	out[0] = '\0';
	for (size_t i = 0; words[i]; i++) {
		const char *between = !i ? "" : words[i + 1] ? ", " : " or ";

		text_append(out, bytes, "%s%s", between, words[i]);
	}
}

int text_refuse_choice(struct error *error, const char *text,
		       const char *const *words, const char *format, ...)
{
	const char *near = text_suggest_word(text, words);
	char what[ERROR_TEXT_BYTES];
	char list[ERROR_TEXT_BYTES];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	if (near)
		return error_set(error, -EINVAL, "%s; did you mean '%s'?", what,
				 near);
	text_format_words(words, list, sizeof(list));
	return error_set(error, -EINVAL, "%s; use %s", what, list);
}

int text_parse_word(const char *text, const char *const *words,
		    const char *what, struct error *error)
{
	char quoted[TEXT_QUOTED_BYTES];

	for (int i = 0; words[i]; i++) {
		if (strcmp(text, words[i]) == 0)
			return i;
	}
	return text_refuse_choice(error, text, words, "'%s' is not %s",
				  text_printable(text, quoted), what);
}

/* ---- text that is shown ----------------------------------------------- */

int text_check_shown(const char *text, struct error *error)
{
	if (!*text)
		return error_set(error, -EINVAL, "empty");
	while (*text) {
		size_t bytes = text_utf8_bytes(text);

		if (!bytes)
			return error_set(error, -EINVAL,
					 "not UTF-8 text (byte 0x%02x); "
					 "save the file as UTF-8",
					 (unsigned char)*text);
		if (is_control(text, bytes))
			return error_set(error, -EINVAL,
					 "a control character in it");
		text += bytes;
	}
	return 0;
}

/* ---- quotes ---------------------------------------------------------- */

char *text_next_part(char **cursor)
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

int text_each_part(const char *text, bool is_any,
		   int (*add)(char *part, void *list, struct error *error),
		   void *list, struct error *error)
{
	char *copy = strdup(text);
	char *cursor = copy;
	int code = 0;

	if (!copy)
		return error_set(error, -ENOMEM, "out of memory");
	if (!is_any || strcmp(text_trim(copy), "any") != 0) {
		while (code == 0 && cursor)
			code = add(text_trim(text_next_part(&cursor)), list,
				   error);
	}
	free(copy);
	return code;
}

int text_parse_quoted(char *text, struct error *error)
{
	char quoted[TEXT_QUOTED_BYTES];
	const char *from = text + 1;
	char *to = text;

	text_printable(text, quoted);
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

void text_quote(const char *text, char *out, size_t out_bytes)
{
	size_t used = 0;

	out[used++] = '"';
	for (; *text && used + 4 <= out_bytes; text++) {
		if (strchr(";\"\\", *text))
			out[used++] = '\\';
		out[used++] = *text;
	}
	out[used++] = '"';
	out[used] = '\0';
}

void text_format_quoted(const char *text, char *out, size_t out_bytes)
{
	size_t length = strlen(text);

	if (length && !strpbrk(text, ",;\"\\") && !is_blank(text[0]) &&
	    !is_blank(text[length - 1]))
		snprintf(out, out_bytes, "%s", text);
	else
		text_quote(text, out, out_bytes);
}
