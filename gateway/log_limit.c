/* SPDX-License-Identifier: MIT */
#include "log_limit.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define KINDS_MAX 64

struct kind {
	uint64_t key;
	uint64_t begin_ms; /* of its window */
	unsigned int count; /* of lines in it; 0: nothing is here */
	unsigned int left_out; /* not told yet */
	char text[100]; /* the last line that was written */
};

static struct kind kinds[KINDS_MAX];
static unsigned int untold; /* kinds that have left something out */

static bool is_over(const struct kind *kind, uint64_t now_ms)
{
	return now_ms - kind->begin_ms >= LOG_LIMIT_WINDOW_MS;
}

/*
 * Its own, or the one that says least when it is forgotten: nothing left out,
 * and longest ago.
 */
static struct kind *find(uint64_t key)
{
	struct kind *best = &kinds[0];

	for (size_t i = 0; i < KINDS_MAX; i++) {
		struct kind *kind = &kinds[i];

		if (kind->count && kind->key == key)
			return kind;
		if (!kind->left_out != !best->left_out
			    ? !kind->left_out
			    : kind->begin_ms < best->begin_ms)
			best = kind;
	}
	if (best->left_out) /* 64 floods at a time: one goes untold */
		untold--;
	*best = (struct kind){.key = key};
	return best;
}

enum log_limit log_limit_ask(uint64_t key, unsigned int most, uint64_t now_ms,
			     const char *text)
{
	struct kind *kind = find(key);

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
		untold++;
	return LOG_LIMIT_LEAVE_OUT;
}

unsigned int log_limit_left_out(uint64_t now_ms, const char **text)
{
	/* Nearly always, and each line asks. */
	if (!untold)
		return 0;
	for (size_t i = 0; i < KINDS_MAX; i++) {
		struct kind *kind = &kinds[i];
		unsigned int count = kind->left_out;

		if (!count || (now_ms != UINT64_MAX && !is_over(kind, now_ms)))
			continue;
		kind->left_out = 0;
		untold--;
		*text = kind->text;
		return count;
	}
	return 0;
}
