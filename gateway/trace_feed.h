/* SPDX-License-Identifier: MIT */
/*
 * A trace, live, for one client of the control socket. What it does not take in
 * time is left out and counted; it is told how much that was when it takes more.
 */
#ifndef BTGATE_TRACE_FEED_H
#define BTGATE_TRACE_FEED_H

struct control_client;
struct trace;

/*
 * From now on, until the client leaves or the trace is freed; from inside the
 * control_request_cb of its request. 0 or -ENOMEM.
 */
int trace_feed_start(struct trace *trace, struct control_client *client);

#endif
