/* SPDX-License-Identifier: MIT */
#include "trace_feed.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "control.h"
#include "trace.h"
#include "trace_json.h"

/* So much may wait for a client; one event, which is 128 KiB at most, may be on
 * top. It has to take half of it before it is told more. */
#define WAITING_BYTES_MAX (512 * 1024)

struct trace_feed {
	struct trace *trace;
	struct trace_watcher watcher;
	struct control_client *client;
	uint64_t missed_events; /* since it was last told */
	uint64_t missed_bytes;
};

static bool feed_has_room(const struct trace_feed *feed)
{
	size_t most = feed->missed_events ? WAITING_BYTES_MAX / 2
					  : WAITING_BYTES_MAX;

	return control_waiting(feed->client) <= most;
}

static void feed_tell_missed(struct trace_feed *feed)
{
	const struct trace_event missed = {
		.kind = TRACE_KIND_MISSED,
		.time_us = trace_now_us(),
		.text = "they were not read in time",
		.missed_events = feed->missed_events,
		.missed_bytes = feed->missed_bytes,
	};

	if (!feed->missed_events)
		return;
	feed->missed_events = 0;
	feed->missed_bytes = 0;
	control_tell(feed->client, trace_json(&missed));
}

static void feed_tell(const struct trace_event *event, void *arg)
{
	struct trace_feed *feed = arg;

	if (!feed_has_room(feed)) {
		feed->missed_events++;
		feed->missed_bytes += event->bytes;
		return;
	}
	feed_tell_missed(feed);
	control_tell(feed->client, trace_json(event));
}

/* It has read all that there was: also where nothing more passes. */
static void feed_drained(void *arg)
{
	feed_tell_missed(arg);
}

static void feed_left(void *arg)
{
	struct trace_feed *feed = arg;

	trace_unwatch(feed->trace, &feed->watcher);
	free(feed);
}

static void feed_gone(void *arg)
{
	struct trace_feed *feed = arg;

	feed_tell_missed(feed);
	control_end(feed->client);
	free(feed);
}

int trace_feed_start(struct trace *trace, struct control_client *client)
{
	struct trace_feed *feed = calloc(1, sizeof(*feed));

	if (!feed)
		return -ENOMEM;
	feed->trace = trace;
	feed->client = client;
	feed->watcher = (struct trace_watcher){
		.tell = feed_tell,
		.gone = feed_gone,
		.arg = feed,
	};
	trace_watch(trace, &feed->watcher);
	control_follow(client, &(const struct control_follower){
				       .drained = feed_drained,
				       .left = feed_left,
				       .arg = feed,
			       });
	return 0;
}
