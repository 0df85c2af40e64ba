/* SPDX-License-Identifier: MIT */
#include "config_findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FINDINGS_MAX 1000

struct config_finding {
	unsigned int line; /* 0: of the file as a whole */
	size_t order;
	char *text;
};

void config_findings_add_source(struct config_findings *findings,
				const char *name)
{
	struct config_source *larger = realloc(
		findings->sources,
		(findings->source_count + 1) * sizeof(*findings->sources));
	char *copy = strdup(name);

	if (larger)
		findings->sources = larger;
	if (!larger || !copy) {
		findings->is_out_of_memory = true;
		free(copy);
		return;
	}
	larger[findings->source_count++] = (struct config_source){
		.name = copy,
		.lines_before = findings->line_count,
	};
}

/* The file that @line is in. */
static const struct config_source *find_source(
	const struct config_findings *findings, unsigned int line)
{
	static const struct config_source none = {.name = (char *)""};
	const struct config_source *found = &none;

	for (size_t i = 0; i < findings->source_count; i++) {
		if (findings->sources[i].lines_before < line)
			found = &findings->sources[i];
	}
	return found;
}

unsigned int config_line_in_file(const struct config_findings *findings,
				 unsigned int line)
{
	return line - find_source(findings, line)->lines_before;
}

const char *config_where(const struct config_findings *findings,
			 unsigned int line, unsigned int from,
			 char out[CONFIG_WHERE_BYTES])
{
	const struct config_source *source = find_source(findings, line);
	unsigned int number = line - source->lines_before;

	if (source == find_source(findings, from))
		snprintf(out, CONFIG_WHERE_BYTES, "line %u", number);
	else
		snprintf(out, CONFIG_WHERE_BYTES, "line %u of %s", number,
			 source->name);
	return out;
}

void config_note(struct config_findings *findings, unsigned int line,
		 const char *format, ...)
{
	size_t count = findings->count;
	struct config_finding *finding;
	va_list args;

	findings->count++;
	if (count >= FINDINGS_MAX)
		return;
	if (!findings->list)
		findings->list = calloc(FINDINGS_MAX, sizeof(*findings->list));
	if (!findings->list) {
		findings->is_out_of_memory = true;
		return;
	}
	finding = &findings->list[count];
	finding->line = line;
	finding->order = count;
	va_start(args, format);
	if (vasprintf(&finding->text, format, args) < 0) {
		finding->text = NULL;
		findings->is_out_of_memory = true;
	}
	va_end(args);
	/* A quoted line may have tabs in it, and nothing else of their like. */
	for (char *c = finding->text; c && *c; c++) {
		if (*c == '\t')
			*c = ' ';
	}
}

static int compare_findings(const void *a, const void *b)
{
	const struct config_finding *x = a, *y = b;

	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

void config_report(config_error_cb report, void *arg, const char *format, ...)
{
	char *text;
	va_list args;
	int length;

	va_start(args, format);
	length = vasprintf(&text, format, args);
	va_end(args);
	report(length < 0 ? "out of memory" : text, arg);
	if (length >= 0)
		free(text);
}

/* A value of [defaults] is found wrong once for each route that inherits it. */
static bool is_repeated(const struct config_finding *finding,
			const struct config_finding *before)
{
	return before->line == finding->line && before->text && finding->text &&
	       strcmp(before->text, finding->text) == 0;
}

void config_findings_report(struct config_findings *findings, const char *name,
			    config_error_cb report, void *arg)
{
	size_t count = findings->count;
	size_t hidden = 0;

	if (count > FINDINGS_MAX) {
		hidden = count - FINDINGS_MAX;
		count = FINDINGS_MAX;
	}
	if (!findings->list)
		count = 0;
	if (count)
		qsort(findings->list, count, sizeof(*findings->list),
		      compare_findings);
	for (size_t i = 0; i < count; i++) {
		const struct config_finding *finding = &findings->list[i];
		const struct config_source *source;

		if (!finding->text || (i && is_repeated(finding, finding - 1)))
			continue;
		source = find_source(findings, finding->line);
		if (finding->line)
			config_report(report, arg, "%s:%u: %s", source->name,
				      finding->line - source->lines_before,
				      finding->text);
		else
			config_report(report, arg, "%s: %s", name,
				      finding->text);
	}
	if (hidden)
		config_report(report, arg, "%s: %zu more errors are not shown",
			      name, hidden);
}

void config_findings_clear(struct config_findings *findings)
{
	for (size_t i = 0; findings->list && i < FINDINGS_MAX; i++)
		free(findings->list[i].text);
	free(findings->list);
	for (size_t i = 0; i < findings->source_count; i++)
		free(findings->sources[i].name);
	free(findings->sources);
}
