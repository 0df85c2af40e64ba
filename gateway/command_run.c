/* SPDX-License-Identifier: MIT */
/* run: the gateway in the foreground. */
#include "command.h"

#include "config_load.h"
#include "gateway.h"
#include "log.h"

static void log_config_error(const char *text, void *arg)
{
	log_error("%s", text);
}

int command_run(const struct command_options *options)
{
	struct config *config;
	int code;

	if (config_load(options->config_path, &config, log_config_error, NULL))
		return COMMAND_STATUS_USAGE;
	code = gateway_run(options->config_path, config);
	config_free(config);
	return code ? COMMAND_STATUS_FAILED : COMMAND_STATUS_OK;
}
