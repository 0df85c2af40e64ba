/* SPDX-License-Identifier: MIT */
#include "command.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "config_load.h"
#include "endpoint.h"
#include "error.h"

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

static void warn_of_endpoint(const struct config_route *route,
			     const struct address_endpoint *endpoint,
			     enum endpoint_role role)
{
	struct error error;

	if (endpoint_inspect(endpoint, role, &error) < 0)
		fprintf(stderr, "warning: route %s, %s: %s\n", route->name,
			role == ENDPOINT_ROLE_LISTEN ? "listen" : "connect",
			error.text);
}

/* What is missing may be there where, or for whom, the gateway is to run. */
static void print_warnings(const struct config *config)
{
	for (size_t i = 0; i < config->route_count; i++) {
		const struct config_route *route = &config->routes[i];

		warn_of_endpoint(route, &route->listen, ENDPOINT_ROLE_LISTEN);
		warn_of_endpoint(route, &route->connect, ENDPOINT_ROLE_CONNECT);
	}
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
	print_warnings(config);
	print_files(config);
	code = config_print(config, stdout);
	config_free(config);
	if (code == 0)
		return COMMAND_STATUS_OK;
	fprintf(stderr, "cannot write to standard output: %s\n",
		strerror(-code));
	return COMMAND_STATUS_FAILED;
}
