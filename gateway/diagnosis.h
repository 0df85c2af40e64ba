/* SPDX-License-Identifier: MIT */
/*
 * What `btgate doctor` has found: things that are as they should be, things to
 * know, and problems, each with what to do about it. Printed as they come.
 *
 * Knows how findings look; what there is to find is in diagnosis_*.h.
 */
#ifndef BTGATE_DIAGNOSIS_H
#define BTGATE_DIAGNOSIS_H

#include <stdbool.h>
#include <stdio.h>

enum finding_level {
	FINDING_OK,
	FINDING_NOTE, /* may be as it is meant */
	FINDING_PROBLEM, /* something asked for does not work */
};

struct diagnosis {
	FILE *stream;
	bool is_json; /* one array of objects, one a line */
	bool is_brief; /* what is as it should be is left out */
	unsigned int count;
	unsigned int problems;
};

/* On top of what is printed, and below it. */
void diagnosis_begin(struct diagnosis *diagnosis);
void diagnosis_end(struct diagnosis *diagnosis);

/*
 * One finding: what it is about ("kernel", "route gps"), a sentence, and a
 * command or another cure (NULL: there is nothing to be done).
 */
void diagnosis_add(struct diagnosis *diagnosis, enum finding_level level,
		   const char *subject, const char *cure, const char *format,
		   ...) __attribute__((format(printf, 5, 6)));

/* The sentence of an error: what is behind its first "; " is the cure. */
void diagnosis_add_sentence(struct diagnosis *diagnosis,
			    enum finding_level level, const char *subject,
			    const char *sentence);

#endif
