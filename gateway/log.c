/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static enum log_level current_level = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
	current_level = level;
}

enum log_level log_level(void)
{
	return current_level;
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
	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &local);
	used = strftime(line, bytes, "%Y-%m-%d %H:%M:%S", &local);
	used += (size_t)snprintf(line + used, bytes - used, ".%03ld %s",
				 now.tv_nsec / 1000000, words[level]);
	return used;
}

static void log_line(enum log_level level, const char *format, va_list args)
{
	int saved = errno;
	char text[1024], line[2048];
	size_t used;

	if (level > current_level)
		return;
	vsnprintf(text, sizeof(text), format, args);
	used = format_prefix(line, sizeof(line), level);
	for (const char *p = text; *p && used + 6 < sizeof(line); p++) {
		unsigned char byte = (unsigned char)*p;

		if (byte < 0x20 || byte == 0x7f)
			used += (size_t)snprintf(line + used, 5, "\\x%02x",
						 byte);
		else
			line[used++] = *p;
	}
	line[used++] = '\n';
	/* One write a line: lines of several processes do not mix. */
	while (write(STDERR_FILENO, line, used) < 0 && errno == EINTR)
		;
	errno = saved;
}

#define DEFINE_LOG(name, level)                  \
	void log_##name(const char *format, ...) \
	{                                        \
		va_list args;                    \
                                                 \
		va_start(args, format);          \
		log_line(level, format, args);   \
		va_end(args);                    \
	}

DEFINE_LOG(error, LOG_LEVEL_ERROR)
DEFINE_LOG(warning, LOG_LEVEL_WARNING)
DEFINE_LOG(info, LOG_LEVEL_INFO)
DEFINE_LOG(debug, LOG_LEVEL_DEBUG)
