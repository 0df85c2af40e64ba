/* SPDX-License-Identifier: MIT */
/*
 * What there is to see of a route: its sessions, and what passes through them.
 */
#ifndef BTGATE_TRACE_EVENT_H
#define BTGATE_TRACE_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* No event has more data: what is read at once is told in as many as it takes. */
#define TRACE_DATA_BYTES_MAX (64 * 1024)

enum trace_kind {
	TRACE_KIND_STARTED, /* a session */
	TRACE_KIND_DATA, /* what was read from one end of it */
	TRACE_KIND_ENDED,
	TRACE_KIND_MISSED, /* data that was not traced */
};

struct trace_event {
	enum trace_kind kind;
	uint64_t time_us; /* since the epoch */
	unsigned int session; /* its number, as in the log; not of MISSED */
	const char *peer; /* the session's client; not of MISSED */
	const char *text; /* STARTED: the target; ENDED, MISSED: why */
	bool is_from_client; /* of DATA: towards the target */
	const uint8_t *data; /* of DATA */
	size_t bytes; /* of DATA */
	uint64_t missed_events; /* of MISSED, */
	uint64_t missed_bytes; /* with so much data */
};

#endif
