/* SPDX-License-Identifier: MIT */
#include "command.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "config_load.h"

static void print_error(const char *text, void *arg)
{
	unsigned int *count = arg;

	(*count)++;
	fprintf(stderr, "%s\n", text);
}

/* In the words of a configuration: what is printed can be read as one. */
static void print_files(const struct config *config)
{
	if (config->file_count < 2)
		return;
	for (size_t i = 0; i < config->file_count; i++)
		printf("; from %s\n", config->files[i]);
}

int command_check(const struct command_options *options)
{
	struct config *config;
	unsigned int count = 0;
	int code;

	code = config_load(options->config_path, &config, print_error, &count);
	if (code < 0) {
		/* A file that could not be read was one finding, and said. */
		if (code == -EINVAL && count)
			fprintf(stderr, "%s: %u error%s; it cannot be used\n",
				options->config_path, count,
				count == 1 ? "" : "s");
		return COMMAND_STATUS_USAGE;
	}
	print_files(config);
	code = config_print(config, stdout);
	config_free(config);
	if (code == 0)
		return COMMAND_STATUS_OK;
	fprintf(stderr, "cannot write to standard output: %s\n",
		strerror(-code));
	return COMMAND_STATUS_FAILED;
}
