/* SPDX-License-Identifier: MIT */
/*
 * How often lines of one kind are written: a flood of them gives a few, and then
 * how many there were. A kind is what the caller takes for one.
 *
 * Knows counts and time; does not know what is written, or where. One of it for
 * the process, as the log is.
 */
#ifndef BTGATE_LOG_LIMIT_H
#define BTGATE_LOG_LIMIT_H

#include <stdint.h>

/* A kind's lines are counted anew after this. */
#define LOG_LIMIT_WINDOW_MS 10000

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
enum log_limit log_limit_ask(uint64_t key, unsigned int most, uint64_t now_ms,
			     const char *text);

/*
 * What was left out and not told yet, of kinds whose window is over, or of all
 * (UINT64_MAX): the count, with the line it began with in *@text, valid until
 * the next call of log_limit_ask. 0: nothing more.
 */
unsigned int log_limit_left_out(uint64_t now_ms, const char **text);

#endif
