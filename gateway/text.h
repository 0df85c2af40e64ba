/* SPDX-License-Identifier: MIT */
/*
 * What all readers of a person's text need: quoting for messages, numbers,
 * words, "did you mean", and the double quotes around a value.
 *
 * Knows characters and words, not what they stand for; never logs. Links
 * without libevent and BlueZ. Parsers that take an error return 0 or a
 * negative errno with a sentence in it.
 */
#ifndef BTGATE_TEXT_H
#define BTGATE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct error;

/* Room for any text as text_printable shows it. */
#define TEXT_QUOTED_BYTES 72

/*
 * Bytes of the UTF-8 sequence at @text (RFC 3629), or 0: not one. Stops at a
 * NUL.
 */
size_t text_utf8_bytes(const char *text);

/*
 * @text as it may stand in a message, whoever sent it: one line, not endless,
 * with '?' for what is not UTF-8, for what a terminal obeys, and for marks that
 * turn the direction of writing.
 */
const char *text_printable(const char *text, char out[TEXT_QUOTED_BYTES]);

/* A-Z in lower case, whatever the locale. */
char text_lower(char c);
/* 0 to 15, or -1. */
int text_hex_value(char c);
/* A-Z a-z 0-9 . _ - */
bool text_is_name_char(char c);

/* Decimal digits and nothing else, at most @max; no sign, no space. */
bool text_parse_number(const char *text, unsigned long long max,
		       unsigned long long *out);

/* Cut blanks off the end, in place, and return what follows those in front. */
char *text_trim(char *text);

/* snprintf behind what @text holds already; @bytes is the room of the whole. */
void text_append(char *text, size_t bytes, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* "A, B or C", of the NULL-ended @words. */
void text_format_words(const char *const *words, char *out, size_t bytes);

/*
 * The index of @text in @words (NULL-ended), or -EINVAL with "'TEXT' is not
 * WHAT; ..." as text_refuse_choice ends it.
 */
int text_parse_word(const char *text, const char *const *words,
		    const char *what, struct error *error);

/* What is shown to people: valid UTF-8, not empty, no control characters. */
int text_check_shown(const char *text, struct error *error);

/*
 * Cut the next part off at a comma that is not in quotes, in place; *@cursor is
 * then what follows it, NULL after the last part. NULL if it was NULL.
 */
char *text_next_part(char **cursor);

/*
 * Hand each part of "A, B, ..." to @add, trimmed and @add's to change, with
 * @list, until it fails; "any", where that @is_any, has none. What @add
 * returned, or -ENOMEM.
 */
int text_each_part(const char *text, bool is_any,
		   int (*add)(char *part, void *list, struct error *error),
		   void *list, struct error *error);

/*
 * Take the double quotes off @text, in place: "..." around the whole of it,
 * with a backslash inside taking the next character as it is. Text without
 * quotes stays as it is. Needed where a comma, a leading space or " ;" (which
 * starts a comment in an INI file) is part of the value.
 */
int text_parse_quoted(char *text, struct error *error);
/* Quoted if it must be. Room for 2 * strlen(@text) + 3 bytes is enough. */
void text_format_quoted(const char *text, char *out, size_t out_bytes);

/* Quoted in any case, with the same room. */
void text_quote(const char *text, char *out, size_t out_bytes);

/*
 * Set "WHAT; did you mean 'X'?" if @text is near to one of @words (NULL-ended),
 * else "WHAT; use A, B or C". Returns -EINVAL.
 */
int text_refuse_choice(struct error *error, const char *text,
		       const char *const *words, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/*
 * The word of @words (NULL-ended) that @text is most likely a slip of, or
 * NULL: at most two edits away, and fewer than half its letters.
 */
const char *text_suggest_word(const char *text, const char *const *words);

#endif
