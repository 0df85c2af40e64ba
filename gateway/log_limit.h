/* SPDX-License-Identifier: MIT */
/*
 * How often lines of one kind are written: a flood of them gives a few, and then
 * how many there were. A kind is what the caller takes for one.
 *
 * Knows counts and time; does not know what is written, or where.
 */
#ifndef BTGATE_LOG_LIMIT_H
#define BTGATE_LOG_LIMIT_H

#include <stdint.h>

/* A kind's lines are counted anew after this. */
#define LOG_LIMIT_WINDOW_MS 10000
/* The latest of them are known. */
#define LOG_LIMIT_KINDS_MAX 64

/* Zeroed at first. */
struct log_limits {
	struct log_limit_kind {
		uint64_t key;
		uint64_t begin_ms; /* of its window */
		unsigned int count; /* of lines in it; 0: nothing is here */
		unsigned int left_out; /* not told yet */
		char text[100]; /* the last line that was written */
	} kinds[LOG_LIMIT_KINDS_MAX];
	unsigned int untold; /* kinds that have left something out */
};

enum log_limit {
	LOG_LIMIT_WRITE,
	LOG_LIMIT_WRITE_LAST, /* say that more of them are left out */
	LOG_LIMIT_LEAVE_OUT, /* and counted */
};

/*
 * What is to become of a line of kind @key, of which at most @most are written
 * in a window. @now_ms is monotonic. @text, which is copied, stands for the kind
 * when it is told how many were left out.
 */
enum log_limit log_limit_ask(struct log_limits *limits, uint64_t key,
			     unsigned int most, uint64_t now_ms,
			     const char *text);

/*
 * What was left out and not told yet, of kinds whose window is over, or of all
 * (UINT64_MAX): the count, with the line it began with in *@text, valid until
 * the next call of log_limit_ask. 0: nothing more.
 */
unsigned int log_limit_left_out(struct log_limits *limits, uint64_t now_ms,
				const char **text);

/* Time until there is something to tell; -1: nothing was left out. */
int log_limit_due_ms(const struct log_limits *limits, uint64_t now_ms);

#endif
