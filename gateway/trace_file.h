/* SPDX-License-Identifier: MIT */
/*
 * The trace of a route in files that take each other's place: PATH is written;
 * when it is full it becomes PATH.1, that PATH.2, and the last one goes. They
 * are for the gateway's user alone.
 *
 * What cannot be written (a full disk) is counted, said once, tried again each
 * second, and noted in the file when that works. Never more than a write to a
 * file in the page's cache: whoever is traced does not wait.
 */
#ifndef BTGATE_TRACE_FILE_H
#define BTGATE_TRACE_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"

struct error;
struct trace_event;
struct trace_file;

/*
 * @route, its name, must outlive it; @config, which names a path, is copied.
 * Opens the file, and goes on with one that is there. NULL with errno set.
 */
struct trace_file *trace_file_new(const char *route,
				  const struct config_trace *config);
/* NULL is legal. */
void trace_file_free(struct trace_file *file);
/* Whether it does what @config says. */
bool trace_file_is(const struct trace_file *file,
		   const struct config_trace *config);
const char *trace_file_path(const struct trace_file *file);
/*
 * Why it cannot be written, and what to do; false: it can. What could not be opened
 * is tried once more, at @now_us as for an event.
 */
bool trace_file_is_failing(struct trace_file *file, uint64_t now_us,
			   struct error *error);
void trace_file_add(struct trace_file *file, const struct trace_event *event);

#endif
