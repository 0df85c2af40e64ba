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
	code = config_print(config, stdout);
	config_free(config);
	if (code == 0)
		return COMMAND_STATUS_OK;
	fprintf(stderr, "cannot write to standard output: %s\n",
		strerror(-code));
	return COMMAND_STATUS_FAILED;
}
