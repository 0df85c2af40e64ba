/* SPDX-License-Identifier: MIT */
#include "config_load.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_check.h"
#include "config_draft.h"
#include "config_findings.h"
#include "config_read.h"
#include "error.h"

#define CONFIG_FILE_BYTES_MAX (16u << 20)
/* Whoever pipes a configuration in has this long to go on. */
#define CONFIG_PIPE_WAIT_MS 10000

/* Move the drafts' contents into a config; NULL when memory is short. */
static struct config *build(struct config_drafts *drafts)
{
	struct config *config = calloc(1, sizeof(*config));

	if (!config)
		return NULL;
	config->gateway = drafts->gateway.gateway;
	config->gateway.adapter = drafts->gateway.route.adapter;
	drafts->gateway.gateway.name = NULL;
	config->routes = calloc(drafts->route_count, sizeof(*config->routes));
	if (!config->routes)
		goto free_config;
	for (size_t i = 0; i < drafts->route_count; i++) {
		struct config_route *route = &config->routes[i];

		*route = drafts->routes[i]->route;
		memset(&drafts->routes[i]->route, 0, sizeof(*route));
		config->route_count++;
		route->line = drafts->routes[i]->line;
		if (!route->service_name)
			route->service_name = strdup(route->name);
		if (!route->service_name)
			goto free_config;
	}
	return config;

free_config:
	config_free(config);
	return NULL;
}

int config_parse(const char *name, const char *data, size_t size,
		 struct config **out, config_error_cb report, void *arg)
{
	struct config_drafts drafts;
	int code = 0;

	*out = NULL;
	config_drafts_init(&drafts);
	config_read(data, size, &drafts);
	config_check(&drafts);
	if (drafts.findings.count)
		code = -EINVAL;
	else if (!drafts.findings.is_out_of_memory)
		*out = build(&drafts);
	if (drafts.findings.is_out_of_memory || (!code && !*out)) {
		code = -ENOMEM;
		config_report(report, arg, "%s: out of memory", name);
	} else {
		config_findings_report(&drafts.findings, name, report, arg);
	}
	config_drafts_clear(&drafts);
	return code;
}

/* ---- files ----------------------------------------------------------- */

/* A pipe that we were started with, as opposed to a FIFO somewhere. */
static bool is_inherited(const char *path)
{
	return strcmp(path, "/dev/stdin") == 0 ||
	       strncmp(path, "/dev/fd/", 8) == 0 ||
	       strncmp(path, "/proc/self/fd/", 14) == 0;
}

/* @code with what to do about it. */
static int refuse_open(int code, struct error *error)
{
	const char *advice;

	switch (code) {
	case -ENOENT:
		advice = "create it, or name another with -c FILE";
		break;
	case -EACCES:
		advice = "make it readable for the user that runs btgate";
		break;
	default:
		advice = "name another with -c FILE";
		break;
	}
	return error_set(error, code, "cannot read it: %s; %s", strerror(-code),
			 advice);
}

/* Looked at before it is opened: opening some devices does something. */
static int open_file(const char *path, struct error *error)
{
	struct stat status;
	int fd;

	if (stat(path, &status) < 0)
		return refuse_open(-errno, error);
	if (S_ISDIR(status.st_mode))
		return refuse_open(-EISDIR, error);
	if (!S_ISREG(status.st_mode) &&
	    !(S_ISFIFO(status.st_mode) && is_inherited(path)))
		return error_set(error, -ENOTSUP,
				 "is a %s and not a file; name another with "
				 "-c FILE",
				 S_ISFIFO(status.st_mode) ? "FIFO"
							  : "device or socket");
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? refuse_open(-errno, error) : fd;
}

/* read(), but for a pipe wait a while for more. */
static ssize_t read_some(int fd, char *buffer, size_t bytes)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};
	ssize_t got;
	int ready;

	for (;;) {
		got = read(fd, buffer, bytes);
		if (got >= 0)
			return got;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		ready = poll(&poller, 1, CONFIG_PIPE_WAIT_MS);
		if (ready == 0)
			return -ETIMEDOUT;
		if (ready < 0 && errno != EINTR)
			return -errno;
	}
}

/* All of @fd, in a buffer that grows; malloc'd. */
static int read_all(int fd, char **out, size_t *out_bytes, struct error *error)
{
	size_t room = 4096, used = 0;
	char *buffer = malloc(room);
	ssize_t got = buffer ? 1 : -ENOMEM;

	while (got > 0) {
		got = read_some(fd, buffer + used, room - used);
		if (got > 0)
			used += (size_t)got;
		if (used > CONFIG_FILE_BYTES_MAX) {
			got = -EFBIG;
		} else if (used == room) {
			char *larger = realloc(buffer, room * 2);

			if (!larger) {
				got = -ENOMEM;
				break;
			}
			buffer = larger;
			room *= 2;
		}
	}
	if (got == 0) {
		*out = buffer;
		*out_bytes = used;
		return 0;
	}
	free(buffer);
	if (got == -EFBIG)
		return error_set(error, -EFBIG,
				 "is larger than %u MB; that is no "
				 "configuration",
				 CONFIG_FILE_BYTES_MAX >> 20);
	return error_set(error, (int)got, "cannot read it: %s",
			 strerror((int)-got));
}

int config_load(const char *path, struct config **out, config_error_cb report,
		void *arg)
{
	struct error error = {""};
	char *data = NULL;
	size_t size = 0;
	int code, fd;

	*out = NULL;
	fd = open_file(path, &error);
	code = fd < 0 ? fd : read_all(fd, &data, &size, &error);
	if (fd >= 0)
		close(fd);
	if (code < 0) {
		config_report(report, arg, "%s: %s", path, error.text);
		return code;
	}
	code = config_parse(path, data, size, out, report, arg);
	free(data);
	return code;
}
