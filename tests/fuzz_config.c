/* SPDX-License-Identifier: MIT */
/*
 * Whatever parses must print, and parse again to the same print. Errors must
 * be single lines, in the order of their lines, and there must be one if
 * nothing came of it.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct findings {
	unsigned long line;
	size_t count;
};

static void on_error(const char *text, void *arg)
{
	struct findings *findings = arg;
	unsigned long line = 0;

	findings->count++;
	if (strncmp(text, "fuzz:", 5) != 0 || strpbrk(text, "\r\n\t\x7f"))
		abort();
	if (strstr(text, "more errors are not shown"))
		return;
	if (text[5] != ' ')
		line = strtoul(text + 5, NULL, 10);
	if (line < findings->line)
		abort();
	findings->line = line;
}

/* The printed form, malloc'd; NULL if it does not parse. */
static char *print(const char *data, size_t size, struct findings *findings)
{
	struct config *config;
	char *text = NULL;
	size_t bytes = 0;
	FILE *stream;
	int code;

	code = config_parse("fuzz", data, size, &config, on_error, findings);
	if ((code < 0) != !config || (code < 0) != (findings->count > 0))
		abort();
	if (!config)
		return NULL;
	stream = open_memstream(&text, &bytes);
	if (!stream || config_print(config, stream) < 0)
		abort();
	fclose(stream);
	config_free(config);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct findings findings = {0};
	char *first, *second;

	first = print((const char *)data, size, &findings);
	if (!first)
		return 0;
	second = print(first, strlen(first), &findings);
	if (!second || strcmp(first, second) != 0)
		abort();
	free(second);
	free(first);
	return 0;
}
