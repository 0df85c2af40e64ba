/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "hash.h"
#include "log_limit.h"

/* Lines of one kind in LOG_LIMIT_WINDOW_MS. */
#define FAILURES_MAX 30
#define EVENTS_MAX 300

static enum log_level current_level = LOG_LEVEL_INFO;
static enum log_style current_style = LOG_STYLE_SERVICE;
static unsigned int lost_lines;
static struct log_limits limits;
static log_due_cb due_cb;
static void *due_arg;

void log_set_level(enum log_level level)
{
	current_level = level;
}

enum log_level log_level(void)
{
	return current_level;
}

void log_set_style(enum log_style style)
{
	current_style = style;
}

/* systemd.exec(5): the variable holds the device:inode of our stderr. */
static bool is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device &&
	       st.st_ino == inode;
}

static int level_to_priority(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return 3;
	case LOG_LEVEL_WARNING:
		return 4;
	case LOG_LEVEL_INFO:
		return 6;
	case LOG_LEVEL_DEBUG:
		return 7;
	}
	return 6;
}

static size_t format_prefix(char *line, size_t bytes, enum log_level level)
{
	static const char *const words[] = {
		[LOG_LEVEL_ERROR] = "error: ",
		[LOG_LEVEL_WARNING] = "warning: ",
		[LOG_LEVEL_INFO] = "",
		[LOG_LEVEL_DEBUG] = "debug: ",
	};
	struct timespec now;
	struct tm local;
	size_t used;

	if (is_journal())
		return (size_t)snprintf(line, bytes, "<%d>",
					level_to_priority(level));
	if (current_style == LOG_STYLE_COMMAND)
		return (size_t)snprintf(
			line, bytes, "btgate: %s",
			level == LOG_LEVEL_ERROR ? "" : words[level]);
	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &local);
	used = strftime(line, bytes, "%Y-%m-%d %H:%M:%S", &local);
	used += (size_t)snprintf(line + used, bytes - used, ".%03ld %s",
				 now.tv_nsec / 1000000, words[level]);
	return used;
}

/*
 * One write a line, so that lines of several processes do not mix; and none to
 * a reader that has stopped (a pipe that is full, a terminal after ^S): it must
 * not stop the gateway. O_NONBLOCK is no way, others share our stderr.
 */
static bool write_line(const char *line, size_t bytes)
{
	struct pollfd stderr_poll = {.fd = STDERR_FILENO, .events = POLLOUT};

	if (poll(&stderr_poll, 1, 0) != 1 || !(stderr_poll.revents & POLLOUT))
		return false;
	while (write(STDERR_FILENO, line, bytes) < 0) {
		if (errno != EINTR)
			return false;
	}
	return true;
}

/*
 * C0 and DEL; and C1 (U+0080 to U+009F), two bytes of UTF-8 of which xterm
 * takes U+009B for an escape.
 */
static size_t control_bytes(const char *text)
{
	unsigned char byte = (unsigned char)text[0];

	if (byte == 0xc2)
		return ((unsigned char)text[1] & 0xe0) == 0x80 ? 2 : 0;
	return byte < 0x20 || byte == 0x7f;
}

/* The line for @text, ended; a pipe takes 4096 bytes at once (pipe(7)). */
static size_t format_line(char *line, size_t bytes, enum log_level level,
			  const char *text)
{
	size_t used = format_prefix(line, bytes, level);

	while (*text && used + 10 < bytes) {
		size_t escaped = control_bytes(text);

		if (!escaped)
			line[used++] = *text++;
		while (escaped--)
			used += (size_t)snprintf(line + used, 5, "\\x%02x",
						 (unsigned char)*text++);
	}
	line[used++] = '\n';
	return used;
}

static void put_line(enum log_level level, const char *text)
{
	char line[2048];

	if (!write_line(line, format_line(line, sizeof(line), level, text)))
		lost_lines++;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void tell_left_out(uint64_t until_ms)
{
	char text[256];
	const char *like;
	unsigned int count;

	while ((count = log_limit_left_out(&limits, until_ms, &like))) {
		snprintf(text, sizeof(text),
			 "%u more lines were left out that are like: %s", count,
			 like);
		put_line(LOG_LEVEL_WARNING, text);
	}
}

void log_flush(void)
{
	tell_left_out(UINT64_MAX);
}

static void ask_to_be_called(uint64_t now)
{
	int due_ms = log_limit_due_ms(&limits, now);

	if (due_ms >= 0 && due_cb)
		due_cb((unsigned int)due_ms, due_arg);
}

void log_set_due(log_due_cb due, void *arg)
{
	due_cb = due;
	due_arg = arg;
}

void log_tell(void)
{
	const uint64_t now = now_ms();

	tell_left_out(now);
	ask_to_be_called(now);
}

/*
 * Lines are of one kind if they are worded alike and about one route ("route
 * gps: ..."): a hash of both. Other lines may begin with a stranger's address,
 * and a flood can come from as many as there are.
 */
static uint64_t kind_of(const char *format, const char *text)
{
	static const char about_route[] = "route %s: ";
	bool is_about_route = strncmp(format, about_route,
				      strlen(about_route)) == 0;
	size_t subject = is_about_route ? strcspn(text, ":") : 0;

	return hash_add(hash_add(HASH_START, format, strlen(format)), text,
			subject);
}

/* Whether the line is to be written; adds to @text that it is the last one. */
static bool is_within_limit(enum log_level level, const char *format,
			    char *text, size_t bytes)
{
	unsigned int most = level < LOG_LEVEL_INFO ? FAILURES_MAX : EVENTS_MAX;
	size_t used = strlen(text);
	bool was_untold;
	uint64_t now;

	/* Who asks for every step gets it, and a command says little. */
	if (current_style == LOG_STYLE_COMMAND ||
	    current_level == LOG_LEVEL_DEBUG)
		return true;
	now = now_ms();
	tell_left_out(now);
	was_untold = limits.untold;
	switch (log_limit_ask(&limits, kind_of(format, text), most, now,
			      text)) {
	case LOG_LIMIT_LEAVE_OUT:
		if (!was_untold)
			ask_to_be_called(now);
		return false;
	case LOG_LIMIT_WRITE_LAST:
		snprintf(text + used, bytes - used,
			 " (more lines like this are left out for %d s)",
			 LOG_LIMIT_WINDOW_MS / 1000);
		break;
	case LOG_LIMIT_WRITE:
		break;
	}
	return true;
}

static void tell_lost(void)
{
	const unsigned int lost = lost_lines;
	char text[80];

	if (!lost)
		return;
	snprintf(text, sizeof(text), "%u log lines were lost: nobody read them",
		 lost);
	lost_lines = 0;
	put_line(LOG_LEVEL_WARNING, text);
	if (lost_lines) /* this one is none of them */
		lost_lines = lost;
}

static void log_line(enum log_level level, const char *format, va_list args)
{
	int saved = errno;
	char text[1024];

	tell_lost();
	vsnprintf(text, sizeof(text), format, args);
	if (is_within_limit(level, format, text, sizeof(text)))
		put_line(level, text);
	errno = saved;
}

#define DEFINE_LOG(name, level)                  \
	void log_##name(const char *format, ...) \
	{                                        \
		va_list args;                    \
                                                 \
		if (level > current_level)       \
			return;                  \
		va_start(args, format);          \
		log_line(level, format, args);   \
		va_end(args);                    \
	}

DEFINE_LOG(error, LOG_LEVEL_ERROR)
DEFINE_LOG(warning, LOG_LEVEL_WARNING)
DEFINE_LOG(info, LOG_LEVEL_INFO)
DEFINE_LOG(debug, LOG_LEVEL_DEBUG)

void log_say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_line(LOG_LEVEL_INFO, format, args);
	va_end(args);
}
