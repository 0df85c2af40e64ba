/* SPDX-License-Identifier: MIT */
/*
 * A log that keeps its lines for a test to look at, instead of log.c: the
 * linker takes these definitions, so it is for one file of a suite.
 */
#ifndef BTGATE_TESTS_LOG_LINES_H
#define BTGATE_TESTS_LOG_LINES_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "log.h"

#define LOG_LINES_MAX 256
#define LOG_LINE_BYTES 512

static char log_lines[LOG_LINES_MAX][LOG_LINE_BYTES];
static enum log_level log_line_levels[LOG_LINES_MAX];
static unsigned int log_line_count;

static void log_keep(enum log_level level, const char *format, va_list args)
{
	char *line = log_lines[log_line_count % LOG_LINES_MAX];

	log_line_levels[log_line_count % LOG_LINES_MAX] = level;
	log_line_count++;
	vsnprintf(line, LOG_LINE_BYTES, format, args);
	fprintf(stderr, "%s\n", line);
}

#define LOG_KEEPER(name, level)                \
	void name(const char *format, ...)     \
	{                                      \
		va_list args;                  \
                                               \
		va_start(args, format);        \
		log_keep(level, format, args); \
		va_end(args);                  \
	}

LOG_KEEPER(log_error, LOG_LEVEL_ERROR)
LOG_KEEPER(log_warning, LOG_LEVEL_WARNING)
LOG_KEEPER(log_info, LOG_LEVEL_INFO)
LOG_KEEPER(log_debug, LOG_LEVEL_DEBUG)

void log_set_level(enum log_level level)
{
}

enum log_level log_level(void)
{
	return LOG_LEVEL_DEBUG;
}

/* How many lines so far have @text in them. */
static unsigned int log_count(const char *text)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < log_line_count && i < LOG_LINES_MAX; i++)
		count += strstr(log_lines[i], text) != NULL;
	return count;
}

static bool log_has(const char *text)
{
	return log_count(text) > 0;
}

/* That of the first line with @text in it, which there must be. */
static inline enum log_level log_level_of(const char *text)
{
	for (unsigned int i = 0; i < log_line_count && i < LOG_LINES_MAX; i++)
		if (strstr(log_lines[i], text))
			return log_line_levels[i];
	ck_abort_msg("no '%s' in the log", text);
}

#endif
