/* SPDX-License-Identifier: MIT */
/*
 * What is wrong in a configuration: kept with the line until all of it was
 * read, then reported in the order of the lines.
 *
 * Lines are counted through all of its files, as if they were one: a number
 * tells the file, too, and only here it is turned into one of that file.
 *
 * Knows files by their names, lines and sentences, not what they are about;
 * never logs.
 */
#ifndef BTGATE_CONFIG_FINDINGS_H
#define BTGATE_CONFIG_FINDINGS_H

#include <stdbool.h>
#include <limits.h>
#include <stddef.h>

#include "config.h"

struct config_finding;

/* A file: lines above @lines_before, up to those of the next one, are its. */
struct config_source {
	char *name;
	unsigned int lines_before;
};

/* Zeroed at first. */
struct config_findings {
	struct config_source *sources;
	size_t source_count;
	unsigned int line_count; /* of all that was read */
	struct config_finding *list;
	size_t count; /* more than are kept, if there are too many */
	bool is_out_of_memory; /* then they do not tell everything */
};

/*
 * What is read from now on is of the file @name, and line_count + 1 its first
 * line. Without memory for it that is noted, and it has no name.
 */
void config_findings_add_source(struct config_findings *findings,
				const char *name);

#define CONFIG_WHERE_BYTES (PATH_MAX + 32)
/* "line 3", or "line 3 of FILE" if that is not the file that @from is in. */
const char *config_where(const struct config_findings *findings,
			 unsigned int line, unsigned int from,
			 char out[CONFIG_WHERE_BYTES]);
/* @line as it is counted in its own file. */
unsigned int config_line_in_file(const struct config_findings *findings,
				 unsigned int line);

/* Keep a finding for @line, or for the file as a whole if that is 0. */
void config_note(struct config_findings *findings, unsigned int line,
		 const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Sort them, and report each as "FILE:LINE: TEXT"; without one "NAME: TEXT". */
void config_findings_report(struct config_findings *findings, const char *name,
			    config_error_cb report, void *arg);
void config_findings_clear(struct config_findings *findings);

/* Report one sentence, at once. */
void config_report(config_error_cb report, void *arg, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
