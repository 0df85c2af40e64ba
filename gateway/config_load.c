/* SPDX-License-Identifier: MIT */
#include "config_load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config_check.h"
#include "config_draft.h"
#include "config_files.h"
#include "config_findings.h"
#include "config_read.h"

/* Move the drafts' contents into a config; NULL when memory is short. */
static struct config *build(struct config_drafts *drafts)
{
	struct config_findings *findings = &drafts->findings;
	struct config *config = calloc(1, sizeof(*config));

	if (!config)
		return NULL;
	config->gateway = drafts->gateway.gateway;
	config->gateway.adapter = drafts->gateway.route.adapter;
	memset(&drafts->gateway.gateway, 0, sizeof(drafts->gateway.gateway));
	config->routes = calloc(drafts->route_count, sizeof(*config->routes));
	if (!config->routes)
		goto free_config;
	for (size_t i = 0; i < drafts->route_count; i++) {
		struct config_route *route = &config->routes[i];

		*route = drafts->routes[i]->route;
		memset(&drafts->routes[i]->route, 0, sizeof(*route));
		config->route_count++;
		route->line = config_line_in_file(findings,
						  drafts->routes[i]->line);
		if (!route->service_name)
			route->service_name = strdup(route->name);
		if (!route->service_name)
			goto free_config;
	}
	config->files = calloc(findings->source_count, sizeof(*config->files));
	if (!config->files)
		goto free_config;
	for (size_t i = 0; i < findings->source_count; i++) {
		config->files[config->file_count++] = findings->sources[i].name;
		findings->sources[i].name = NULL;
	}
	return config;

free_config:
	config_free(config);
	return NULL;
}

static int parse_texts(const struct config_text *texts, size_t count,
		       struct config **out, config_error_cb report, void *arg)
{
	const char *name = texts[0].name;
	struct config_drafts drafts;
	int code = 0;

	*out = NULL;
	config_drafts_init(&drafts);
	for (size_t i = 0; i < count; i++)
		config_read(texts[i].name, texts[i].data, texts[i].size,
			    &drafts);
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

int config_parse(const char *name, const char *data, size_t size,
		 struct config **out, config_error_cb report, void *arg)
{
	/* What is read is not written to. */
	const struct config_text text = {
		.name = (char *)name,
		.data = (char *)data,
		.size = size,
	};

	return parse_texts(&text, 1, out, report, arg);
}

int config_load(const char *path, struct config **out, config_error_cb report,
		void *arg)
{
	struct config_files files = {0};
	int code = config_files_read(path, &files, report, arg);

	*out = NULL;
	if (code == 0)
		code = parse_texts(files.texts, files.count, out, report, arg);
	config_files_clear(&files);
	return code;
}

int config_load_if_there(const char *path, struct config **out,
			 config_error_cb report, void *arg)
{
	*out = NULL;
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	return config_load(path, out, report, arg);
}

static void ignore_error(const char *text, void *arg)
{
}

int config_load_control(const char *path, char *out, size_t bytes)
{
	const struct config_gateway *gateway;
	struct config_files files = {0};
	struct config_drafts drafts;
	int code = 0;

	config_drafts_init(&drafts);
	config_files_read(path, &files, ignore_error, NULL);
	for (size_t i = 0; i < files.count; i++)
		config_read(files.texts[i].name, files.texts[i].data,
			    files.texts[i].size, &drafts);
	gateway = &drafts.gateway.gateway;
	snprintf(out, bytes, "%s",
		 gateway->control.local.path ? gateway->control.local.path
					     : CONFIG_CONTROL_PATH);
	if (!gateway->has_control)
		code = -ENOTSUP;
	config_drafts_clear(&drafts);
	config_files_clear(&files);
	return code;
}
