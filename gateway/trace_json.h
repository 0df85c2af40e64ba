/* SPDX-License-Identifier: MIT */
/*
 * Events of a trace as JSON and back: what 'trace' sends over the control socket,
 * one object a line (btgate(8), CONTROL SOCKET).
 */
#ifndef BTGATE_TRACE_JSON_H
#define BTGATE_TRACE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "trace_event.h"

/* NULL: out of memory. */
json_t *trace_json(const struct trace_event *event);
/*
 * What @json says. False: it is no event. @event's texts are @json's, and its
 * data is in @data, which must have room for TRACE_DATA_BYTES_MAX.
 */
bool trace_json_parse(const json_t *json, struct trace_event *event,
		      uint8_t *data);

#endif
