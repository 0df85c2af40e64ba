/* SPDX-License-Identifier: MIT */
/*
 * How often something of one sort went wrong, and how it did the last time: who was
 * refused, whose session broke. Of a bounded size, whoever comes.
 */
#ifndef BTGATE_MISHAP_H
#define BTGATE_MISHAP_H

#include <stdint.h>

#include "error.h"

/* Zeroed at first. */
struct mishap {
	uint64_t count; /* 0: none yet */
	/* The last one. */
	uint64_t at_ms; /* loop_now_ms */
	char who[64]; /* for people */
	char why[ERROR_TEXT_BYTES];
};

/* One more, now. */
void mishap_note(struct mishap *mishap, const char *who, const char *why);
/* Those of @other as well; the last one is the later of the two. */
void mishap_add(struct mishap *mishap, const struct mishap *other);

#endif
