/* SPDX-License-Identifier: MIT */
#include "log_limit.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool is_over(const struct log_limit_kind *kind, uint64_t now_ms)
{
	return now_ms - kind->begin_ms >= LOG_LIMIT_WINDOW_MS;
}

/*
 * Its own, or the one that says least when it is forgotten: nothing left out,
 * and longest ago.
 */
static struct log_limit_kind *find(struct log_limits *limits, uint64_t key)
{
	struct log_limit_kind *best = &limits->kinds[0];

	for (size_t i = 0; i < LOG_LIMIT_KINDS_MAX; i++) {
		struct log_limit_kind *kind = &limits->kinds[i];

		if (kind->count && kind->key == key)
			return kind;
		if (!kind->left_out != !best->left_out
			    ? !kind->left_out
			    : kind->begin_ms < best->begin_ms)
			best = kind;
	}
	if (best->left_out) /* 64 floods at a time: one goes untold */
		limits->untold--;
	*best = (struct log_limit_kind){.key = key};
	return best;
}

enum log_limit log_limit_ask(struct log_limits *limits, uint64_t key,
			     unsigned int most, uint64_t now_ms,
			     const char *text)
{
	struct log_limit_kind *kind = find(limits, key);

	if (!kind->count || is_over(kind, now_ms)) {
		kind->begin_ms = now_ms;
		kind->count = 0;
	}
	if (kind->count < most) {
		kind->count++;
		snprintf(kind->text, sizeof(kind->text), "%s", text);
		return kind->count < most ? LOG_LIMIT_WRITE
					  : LOG_LIMIT_WRITE_LAST;
	}
	if (!kind->left_out++)
		limits->untold++;
	return LOG_LIMIT_LEAVE_OUT;
}

unsigned int log_limit_left_out(struct log_limits *limits, uint64_t now_ms,
				const char **text)
{
	/* Nearly always, and each line asks. */
	if (!limits->untold)
		return 0;
	for (size_t i = 0; i < LOG_LIMIT_KINDS_MAX; i++) {
		struct log_limit_kind *kind = &limits->kinds[i];
		unsigned int count = kind->left_out;

		if (!count || (now_ms != UINT64_MAX && !is_over(kind, now_ms)))
			continue;
		kind->left_out = 0;
		limits->untold--;
		*text = kind->text;
		return count;
	}
	return 0;
}

int log_limit_due_ms(const struct log_limits *limits, uint64_t now_ms)
{
	int due_ms = -1;

	for (size_t i = 0; limits->untold && i < LOG_LIMIT_KINDS_MAX; i++) {
		const struct log_limit_kind *kind = &limits->kinds[i];
		int left_ms = 0;

		if (!kind->left_out)
			continue;
		if (!is_over(kind, now_ms))
			left_ms = (int)(kind->begin_ms + LOG_LIMIT_WINDOW_MS -
					now_ms);
		if (due_ms < 0 || left_ms < due_ms)
			due_ms = left_ms;
	}
	return due_ms;
}
