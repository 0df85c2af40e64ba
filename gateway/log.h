/* SPDX-License-Identifier: MIT */
/*
 * Log lines to stderr, one event a line, made for a person and for journald.
 *
 * Knows levels, time stamps and how to print text that came from a stranger;
 * knows nothing of routes or Bluetooth, nor of the loop. Holds the mutable
 * globals: the level and the style, which main sets from -v and -q and the
 * command, and what is known of floods.
 */
#ifndef BTGATE_LOG_H
#define BTGATE_LOG_H

#include <stddef.h>

enum log_level {
	LOG_LEVEL_ERROR, /* something asked for cannot be done */
	LOG_LEVEL_WARNING, /* works, but not as it should */
	LOG_LEVEL_INFO, /* one line per state change, session end */
	LOG_LEVEL_DEBUG, /* steps on the way */
};

void log_set_level(enum log_level level);
enum log_level log_level(void);

enum log_style {
	LOG_STYLE_SERVICE, /* lines start with the time; under journald not */
	LOG_STYLE_COMMAND, /* with "btgate: ": somebody waits and reads */
};

void log_set_style(enum log_style style);

/*
 * Write one line. Under journald (JOURNAL_STREAM names our stderr) it starts
 * with the priority, sd-daemon(3); else as the style says. Control
 * characters are printed as \xNN, so that no name can forge a line. Never
 * fails or waits: lines that nobody reads are counted and dropped. A flood of
 * lines of one kind gives a few, and later how many more there were; at the
 * debug level all are written. Keeps errno.
 */
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Tell what was left out and not told yet: the end has come. */
void log_flush(void);
/*
 * Whoever has a loop is told when something has been left out, and calls
 * log_tell after @delay_ms, so that it is not told only with the next line.
 * NULL: nobody.
 */
typedef void (*log_due_cb)(unsigned int delay_ms, void *arg);
void log_set_due(log_due_cb due, void *arg);
/* Tell what was left out and is due; may ask to be called again. */
void log_tell(void);
/* For the person at the terminal, whatever the level; written like log_info. */
void log_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
