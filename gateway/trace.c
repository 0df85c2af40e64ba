/* SPDX-License-Identifier: MIT */
#include "trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config.h"
#include "log.h"
#include "trace_file.h"

struct trace *trace_new(const char *route)
{
	struct trace *trace = calloc(1, sizeof(*trace));

	if (!trace)
		return NULL;
	TAILQ_INIT(&trace->watchers);
	trace->route = strdup(route);
	if (!trace->route) {
		free(trace);
		return NULL;
	}
	return trace;
}

void trace_free(struct trace *trace)
{
	struct trace_watcher *watcher;

	if (!trace)
		return;
	while ((watcher = TAILQ_FIRST(&trace->watchers))) {
		TAILQ_REMOVE(&trace->watchers, watcher, link);
		watcher->gone(watcher->arg);
	}
	trace_file_free(trace->file);
	free(trace->route);
	free(trace);
}

void trace_set_file(struct trace *trace, const struct config_trace *config)
{
	bool was_there = trace->file;

	if (config->path && was_there && trace_file_is(trace->file, config))
		return;
	trace_file_free(trace->file);
	trace->file = NULL;
	if (!config->path) {
		if (was_there)
			log_info("route %s: no longer traced to a file",
				 trace->route);
		return;
	}
	log_info("route %s: traced to %s: all data of its sessions",
		 trace->route, config->path);
	trace->file = trace_file_new(trace->route, config);
	if (!trace->file)
		log_error("route %s: no trace: %s", trace->route,
			  strerror(errno));
}

const char *trace_path(const struct trace *trace)
{
	return trace->file ? trace_file_path(trace->file) : NULL;
}

bool trace_is_failing(struct trace *trace, struct error *error)
{
	return trace->file &&
	       trace_file_is_failing(trace->file, trace_now_us(), error);
}

void trace_watch(struct trace *trace, struct trace_watcher *watcher)
{
	TAILQ_INSERT_TAIL(&trace->watchers, watcher, link);
}

void trace_unwatch(struct trace *trace, struct trace_watcher *watcher)
{
	TAILQ_REMOVE(&trace->watchers, watcher, link);
}

uint64_t trace_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void tell_all(const struct trace *trace, const struct trace_event *event)
{
	struct trace_watcher *watcher;

	if (trace->file)
		trace_file_add(trace->file, event);
	for (watcher = TAILQ_FIRST(&trace->watchers); watcher;
	     watcher = TAILQ_NEXT(watcher, link))
		watcher->tell(event, watcher->arg);
}

void trace_tell(struct trace *trace, struct trace_event *event)
{
	size_t left = event->bytes;

	event->time_us = trace_now_us();
	while (left > TRACE_DATA_BYTES_MAX) {
		event->bytes = TRACE_DATA_BYTES_MAX;
		tell_all(trace, event);
		event->data += TRACE_DATA_BYTES_MAX;
		left -= TRACE_DATA_BYTES_MAX;
	}
	event->bytes = left;
	tell_all(trace, event);
}
