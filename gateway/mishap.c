/* SPDX-License-Identifier: MIT */
#include "mishap.h"

#include <stdio.h>

#include "loop.h"

void mishap_note(struct mishap *mishap, const char *who, const char *why)
{
	mishap->count++;
	mishap->at_ms = loop_now_ms();
	snprintf(mishap->who, sizeof(mishap->who), "%s", who);
	snprintf(mishap->why, sizeof(mishap->why), "%s", why);
}

void mishap_add(struct mishap *mishap, const struct mishap *other)
{
	const uint64_t count = mishap->count + other->count;

	if (other->count && other->at_ms >= mishap->at_ms)
		*mishap = *other;
	mishap->count = count;
}
