/* SPDX-License-Identifier: MIT */
#include "config_read.h"

#include <ini.h>
#include <search.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_draft.h"
#include "config_findings.h"
#include "text.h"

struct reader {
	const char *cursor; /* what is still to be read */
	const char *end;
	unsigned int lines_before; /* of the files before this one */
	unsigned int line; /* the one that was taken last, of all files */
	/* That line, while inih has it and has not called back. */
	char pending[CONFIG_LINE_BYTES_MAX + 1];
	struct config_drafts *drafts;
	struct config_findings *findings; /* in @drafts */
	struct config_draft *current; /* NULL: no section */
	bool is_skipping; /* keys of a section that was refused */
};

/* ---- section headers ------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct config_draft *)a)->route.name,
		      ((const struct config_draft *)b)->route.name);
}

/* Give @draft its name. The one that has it already, or NULL. */
static const struct config_draft *take_name(struct reader *reader,
					    struct config_draft *draft,
					    const char *name)
{
	struct config_draft **node;

	draft->route.name = strdup(name);
	node = draft->route.name
		       ? tsearch(draft, &reader->drafts->names, compare_names)
		       : NULL;
	if (!node)
		reader->findings->is_out_of_memory = true;
	if (node && *node == draft)
		return NULL;
	free(draft->route.name);
	draft->route.name = NULL;
	return node ? *node : NULL;
}

static void check_route_name(struct reader *reader, const char *name,
			     struct config_draft *draft)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "abcdefghijklmnopqrstuvwxyz"
				      "0123456789._-";
	const struct config_draft *first;
	char where[CONFIG_WHERE_BYTES];

	if (!*name) {
		config_note(reader->findings, reader->line,
			    "a route needs a name, like [route console]");
	} else if (name[strspn(name, allowed)]) {
		config_note(reader->findings, reader->line,
			    "'%s' is not a route's name; use A-Z a-z 0-9 . _ -",
			    name);
	} else if (strlen(name) > CONFIG_ROUTE_NAME_BYTES_MAX) {
		config_note(
			reader->findings, reader->line,
			"the route's name '%s' is %zu bytes long; at most %d",
			name, strlen(name), CONFIG_ROUTE_NAME_BYTES_MAX);
	} else if ((first = take_name(reader, draft, name))) {
		config_note(reader->findings, reader->line,
			    "[route %s] is already there on %s", name,
			    config_where(reader->findings, first->line,
					 reader->line, where));
	}
}

static void start_route(struct reader *reader, const char *name)
{
	if (reader->drafts->route_count == CONFIG_ROUTES_MAX) {
		config_note(reader->findings, reader->line,
			    "more than %d routes", CONFIG_ROUTES_MAX);
		/* Once is enough. */
		reader->cursor = reader->end;
		return;
	}
	reader->current = config_drafts_add_route(reader->drafts, reader->line);
	if (reader->current)
		check_route_name(reader, name, reader->current);
	reader->is_skipping = !reader->current;
}

/* [gateway] and [defaults]: once in each file. */
static void start_single(struct reader *reader, struct config_draft *draft)
{
	char title[CONFIG_TITLE_BYTES], where[CONFIG_WHERE_BYTES];

	if (draft->line > reader->lines_before)
		config_note(reader->findings, reader->line,
			    "%s is already there on %s",
			    config_draft_title(draft, title, sizeof(title)),
			    config_where(reader->findings, draft->line,
					 reader->line, where));
	else
		draft->line = reader->line;
	reader->current = draft;
}

static void refuse_section(struct reader *reader, const char *text,
			   size_t word_length)
{
	static const char *const words[] = {"gateway", "defaults", "route",
					    NULL};
	char word[CONFIG_LINE_BYTES_MAX + 1];
	const char *near;

	snprintf(word, sizeof(word), "%.*s", (int)word_length, text);
	near = text_suggest_word(word, words);
	reader->is_skipping = true;
	if (near)
		config_note(reader->findings, reader->line,
			    "unknown section [%s]; did you mean '%s'?", text,
			    near);
	else
		config_note(
			reader->findings, reader->line,
			"unknown section [%s]; use [gateway], [defaults] or "
			"[route NAME]",
			text);
}

/* @text is what stands between the brackets. */
static void start_section(struct reader *reader, char *text)
{
	size_t length;
	char *name;

	text = text_trim(text);
	length = strcspn(text, " \t");
	name = text + length + strspn(text + length, " \t");
	reader->current = NULL;
	reader->is_skipping = false;
	if (strcmp(text, "gateway") == 0)
		start_single(reader, &reader->drafts->gateway);
	else if (strcmp(text, "defaults") == 0)
		start_single(reader, &reader->drafts->defaults);
	else if (length == strlen("route") && strncmp(text, "route", 5) == 0)
		start_route(reader, name);
	else
		refuse_section(reader, text, length);
}

/*
 * Headers are read here and not by inih, which keeps 49 bytes of them, takes
 * anything behind the bracket, and tells of a section only with its keys.
 */
static void read_header(struct reader *reader, char *text)
{
	char *close = strchr(text, ']');
	char *rest;

	if (!close) {
		config_note(reader->findings, reader->line,
			    "no closing ']' in '%s'", text);
		/* Its keys are still read, so that their errors show now. */
		text[strcspn(text, ";#")] = '\0';
	} else {
		rest = close + 1 + strspn(close + 1, " \t");
		if (*rest && *rest != ';' && *rest != '#')
			config_note(reader->findings, reader->line,
				    "text after the section's header: '%s'",
				    rest);
		*close = '\0';
	}
	start_section(reader, text + 1);
}

/* ---- lines ----------------------------------------------------------- */

/* inih says nothing about a line that it makes nothing of. */
static void finish_pending(struct reader *reader)
{
	enum config_key key = config_draft_first_key(reader->pending);

	if (reader->pending[0] && !reader->is_skipping) {
		if (key < CONFIG_KEY_COUNT)
			config_note(reader->findings, reader->line,
				    "no '=' after '%s'",
				    config_draft_key_name(key));
		else
			config_note(
				reader->findings, reader->line,
				"'%s' is no 'key = value', no [section] and no "
				"comment",
				reader->pending);
		config_draft_mark(reader->current, key);
	}
	reader->pending[0] = '\0';
}

/* After a line that was not read: what would be blamed on its absence. */
static void skip_line(struct reader *reader, const char *text, size_t length)
{
	char start[32];

	if (length && *text == '[') {
		reader->current = NULL;
		reader->is_skipping = true;
		return;
	}
	snprintf(start, sizeof(start), "%.*s", (int)(length < 31 ? length : 31),
		 text);
	config_draft_mark(reader->current, config_draft_first_key(start));
}

static bool has_bad_bytes(struct reader *reader, const char *text,
			  size_t length)
{
	for (size_t i = 0; i < length; i++) {
		unsigned char c = text[i];

		if ((c >= ' ' || c == '\t') && c != 0x7f)
			continue;
		if (c)
			config_note(reader->findings, reader->line,
				    "a control character (0x%02x) at byte %zu",
				    c, i + 1);
		else
			config_note(reader->findings, reader->line,
				    "a NUL byte at byte %zu; this is no text "
				    "in UTF-8",
				    i + 1);
		return true;
	}
	return false;
}

/* Take one line off the data, without its end (LF or CR LF). */
static size_t take_line(struct reader *reader, const char **text)
{
	static const char mark[] = "\xef\xbb\xbf"; /* byte order, UTF-8 */
	size_t rest = (size_t)(reader->end - reader->cursor);
	const char *newline = memchr(reader->cursor, '\n', rest);
	size_t length = newline ? (size_t)(newline - reader->cursor) : rest;

	*text = reader->cursor;
	reader->cursor += length + (newline ? 1 : 0);
	reader->line++;
	if (length && (*text)[length - 1] == '\r')
		length--;
	if (reader->line == reader->lines_before + 1 && length >= 3 &&
	    !memcmp(*text, mark, 3)) {
		*text += 3;
		length -= 3;
	}
	return length;
}

/*
 * One line for inih, into @buffer: without white space at its ends (an
 * indented line would go on with the last value), and never longer than inih
 * can take (it would read the tail as a line of its own). False if there is
 * nothing in it for inih.
 */
static bool prepare_line(struct reader *reader, const char *text, size_t length,
			 char *buffer, size_t room)
{
	size_t limit = CONFIG_LINE_BYTES_MAX;
	bool is_bad;

	is_bad = has_bad_bytes(reader, text, length);
	while (length && (*text == ' ' || *text == '\t')) {
		text++;
		length--;
	}
	while (length && (text[length - 1] == ' ' || text[length - 1] == '\t'))
		length--;
	if (is_bad)
		skip_line(reader, text, length);
	if (is_bad || !length || *text == ';' || *text == '#')
		return false;
	if (room < limit + 2)
		limit = room - 2;
	if (length > limit) {
		config_note(reader->findings, reader->line,
			    "the line is %zu bytes long; at most %zu", length,
			    limit);
		skip_line(reader, text, length);
		return false;
	}
	memcpy(buffer, text, length);
	buffer[length] = '\0';
	if (*buffer == '[') {
		read_header(reader, buffer);
		return false;
	}
	strcpy(reader->pending, buffer);
	strcpy(buffer + length, "\n");
	return true;
}

/* ini_reader: like fgets. */
static char *read_line(char *buffer, int room, void *arg)
{
	struct reader *reader = arg;
	const char *text;
	size_t length;

	finish_pending(reader);
	while (reader->cursor < reader->end) {
		length = take_line(reader, &text);
		if (prepare_line(reader, text, length, buffer, (size_t)room))
			return buffer;
	}
	return NULL;
}

/* ini_handler; what inih takes for the section is of no interest. */
static int on_key(void *arg, const char *section, const char *name,
		  const char *value)
{
	struct reader *reader = arg;
	struct config_draft *draft = reader->current;

	reader->pending[0] = '\0';
	if (reader->is_skipping)
		return 1;
	if (!*name)
		config_note(reader->findings, reader->line,
			    "no key before '='");
	else if (!draft)
		config_note(reader->findings, reader->line,
			    "'%s' is outside of a section; start one above it, "
			    "like [route NAME]",
			    name);
	else
		config_draft_set(draft, name, value, reader->line,
				 reader->findings);
	return 1;
}

void config_read(const char *name, const char *data, size_t size,
		 struct config_drafts *drafts)
{
	struct config_findings *findings = &drafts->findings;
	struct reader reader = {
		.cursor = data,
		.end = data + size,
		.lines_before = findings->line_count,
		.line = findings->line_count,
		.drafts = drafts,
		.findings = findings,
	};

	config_findings_add_source(findings, name);
	ini_parse_stream(read_line, &reader, on_key, &reader);
	finish_pending(&reader);
	findings->line_count = reader.line;
}
