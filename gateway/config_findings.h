/* SPDX-License-Identifier: MIT */
/*
 * What is wrong in a configuration: kept with the line until all of it was
 * read, then reported in the order of the lines.
 *
 * Knows lines and sentences, not what they are about; never logs.
 */
#ifndef BTGATE_CONFIG_FINDINGS_H
#define BTGATE_CONFIG_FINDINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"

struct config_finding;

/* Zeroed at first. */
struct config_findings {
	struct config_finding *list;
	size_t count; /* more than are kept, if there are too many */
	bool is_out_of_memory; /* then they do not tell everything */
};

/* Keep a finding for @line, or for the file as a whole if that is 0. */
void config_note(struct config_findings *findings, unsigned int line,
		 const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Sort them, and report each as "NAME:LINE: TEXT". */
void config_findings_report(struct config_findings *findings, const char *name,
			    config_error_cb report, void *arg);
void config_findings_clear(struct config_findings *findings);

/* Report one sentence, at once. */
void config_report(config_error_cb report, void *arg, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
