/* SPDX-License-Identifier: MIT */
/*
 * Events of a trace as bytes of a file: lines for people, or pcapng for
 * Wireshark (draft-ietf-opsawg-pcapng), where each event is a packet of the
 * link type WIRESHARK_UPPER_PDU, the one for data of no layer below.
 *
 * Knows the formats; does not know where the bytes go, and
 * looks only at how a file ends that is there already.
 */
#ifndef BTGATE_TRACE_FORMAT_H
#define BTGATE_TRACE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "config.h"
#include "trace_event.h"

/* Takes the next bytes; called as often as it takes, in order. */
typedef void (*trace_put)(const void *data, size_t bytes, void *arg);

/* What a file begins with; where one goes on it may come again. */
void trace_format_start(enum trace_format format, const char *route,
			trace_put put, void *arg);
void trace_format_event(enum trace_format format, const char *route,
			const struct trace_event *event, trace_put put,
			void *arg);

/*
 * Whether events in @format can be added to the file that is open as @fd and has
 * @size bytes, one or more: it is of that format, and whole at its end.
 */
bool trace_format_can_follow(enum trace_format format, int fd, off_t size);

#endif
