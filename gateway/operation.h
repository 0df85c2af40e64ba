/* SPDX-License-Identifier: MIT */
/*
 * What a person asks of the running gateway over the control socket, as
 * requests and answers in JSON: btgate(8) lists them.
 *
 * Knows routes and their sessions as people see them; does not know how a
 * request came here, nor what a configuration is read from.
 */
#ifndef BTGATE_OPERATION_H
#define BTGATE_OPERATION_H

#include <jansson.h>

struct bluez;
struct control_client;
struct metrics;
struct route_set;

struct operation {
	struct route_set *routes;
	struct bluez *const *bluez; /* at it NULL: there is none */
	struct metrics *metrics;
	/*
	 * Read the configuration again, and put the lines that tell of it, which
	 * are strings, into @lines. 0 or -errno.
	 */
	int (*reload)(json_t *lines, void *arg);
	void *arg;
};

/* A control_request_cb; @arg is a struct operation. */
json_t *operation_answer(struct control_client *client, json_t *request,
			 void *arg);

#endif
