/* SPDX-License-Identifier: MIT */
/*
 * The trace of one route: where sessions tell what passes, for those who look
 * on. Where nobody does, telling is not worth an event: nothing is copied, and
 * no clock is read.
 *
 * Knows its file, and who else looks on; does not know sessions.
 */
#ifndef BTGATE_TRACE_H
#define BTGATE_TRACE_H

#include <stdbool.h>
#include <sys/queue.h>

#include "trace_event.h"

struct config_trace;
struct error;
struct trace;
struct trace_file;

/* One who looks on. */
struct trace_watcher {
	TAILQ_ENTRY(trace_watcher) link;
	/* All of it is gone after the call. Must not unwatch. */
	void (*tell)(const struct trace_event *event, void *arg);
	/* The trace is freed, and this one unwatched already. */
	void (*gone)(void *arg);
	void *arg;
};

struct trace {
	TAILQ_ENTRY(trace) link; /* its owner's */
	unsigned int users; /* its owner's */
	char *route;
	struct trace_file *file; /* NULL: none */
	TAILQ_HEAD(trace_watchers, trace_watcher) watchers;
};

/* Of the route of that name. NULL with errno set. */
struct trace *trace_new(const char *route);
/* No session may be left that tells it anything. NULL is legal. */
void trace_free(struct trace *trace);

/* Write it to a file, to another one, or no more. Logs what differs. */
void trace_set_file(struct trace *trace, const struct config_trace *config);

/* Where it is written; NULL: nowhere. */
const char *trace_path(const struct trace *trace);
/* As trace_file_is_failing. */
bool trace_is_failing(struct trace *trace, struct error *error);

void trace_watch(struct trace *trace, struct trace_watcher *watcher);
void trace_unwatch(struct trace *trace, struct trace_watcher *watcher);

/* Whether telling it anything is of use. */
static inline bool trace_is_on(const struct trace *trace)
{
	return trace->file || !TAILQ_EMPTY(&trace->watchers);
}

/* For an event's time. */
uint64_t trace_now_us(void);
/* @event's time is set here; it is the callee's to change. */
void trace_tell(struct trace *trace, struct trace_event *event);

#endif
