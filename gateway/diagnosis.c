/* SPDX-License-Identifier: MIT */
#include "diagnosis.h"

#include <stdarg.h>
#include <string.h>

#include "error.h"
#include "json.h"

static const char *const level_words[] = {
	[FINDING_OK] = "ok",
	[FINDING_NOTE] = "note",
	[FINDING_PROBLEM] = "problem",
};

void diagnosis_begin(struct diagnosis *diagnosis)
{
	if (diagnosis->is_json)
		fputs("[", diagnosis->stream);
}

void diagnosis_end(struct diagnosis *diagnosis)
{
	if (diagnosis->is_json)
		fputs(diagnosis->count ? "\n]\n" : "]\n", diagnosis->stream);
	else if (diagnosis->problems)
		fprintf(diagnosis->stream, "%u problem%s found\n",
			diagnosis->problems,
			diagnosis->problems == 1 ? "" : "s");
	else
		fputs("no problem found\n", diagnosis->stream);
}

static void print_json(struct diagnosis *diagnosis, enum finding_level level,
		       const char *subject, const char *text, const char *cure)
{
	FILE *stream = diagnosis->stream;

	fputs(diagnosis->count ? ",\n  {" : "\n  {", stream);
	fprintf(stream, "\"level\": \"%s\", \"subject\": ", level_words[level]);
	json_print_string(stream, subject);
	fputs(", \"finding\": ", stream);
	json_print_string(stream, text);
	fputs(", \"cure\": ", stream);
	json_print_string(stream, cure);
	fputs("}", stream);
}

/* A terminal is not to obey what stands in somebody's name or path. */
static void print_safely(FILE *stream, const char *text)
{
	for (; *text; text++)
		putc((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text,
		     stream);
}

static void print_text(FILE *stream, enum finding_level level,
		       const char *subject, const char *text, const char *cure)
{
	fprintf(stream, "%-8s ", level_words[level]);
	print_safely(stream, subject);
	fputs(": ", stream);
	print_safely(stream, text);
	putc('\n', stream);
	if (!cure)
		return;
	fprintf(stream, "%-8s -> ", "");
	print_safely(stream, cure);
	putc('\n', stream);
}

static void print(struct diagnosis *diagnosis, enum finding_level level,
		  const char *subject, const char *text, const char *cure)
{
	if (diagnosis->is_brief && level == FINDING_OK)
		return;
	if (level == FINDING_PROBLEM)
		diagnosis->problems++;
	if (diagnosis->is_json)
		print_json(diagnosis, level, subject, text, cure);
	else
		print_text(diagnosis->stream, level, subject, text, cure);
	diagnosis->count++;
}

void diagnosis_add(struct diagnosis *diagnosis, enum finding_level level,
		   const char *subject, const char *cure, const char *format,
		   ...)
{
	char text[ERROR_TEXT_BYTES];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	print(diagnosis, level, subject, text, cure);
}

void diagnosis_add_sentence(struct diagnosis *diagnosis,
			    enum finding_level level, const char *subject,
			    const char *sentence)
{
	char text[2 * ERROR_TEXT_BYTES];
	char *cure;

	snprintf(text, sizeof(text), "%s", sentence);
	cure = strstr(text, "; ");
	if (cure) {
		*cure = '\0';
		cure += strlen("; ");
	}
	print(diagnosis, level, subject, text, cure);
}
