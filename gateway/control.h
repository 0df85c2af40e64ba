/* SPDX-License-Identifier: MIT */
/*
 * The control socket: requests of other programs of this machine, one line of
 * JSON each, and an answer to each, in order.
 *
 * Knows lines, JSON and that a client may be slow or hostile: it has a bounded
 * number of them, takes the next request of one only when its last answer has
 * gone, and ends one that stalls. Does not know what is asked.
 */
#ifndef BTGATE_CONTROL_H
#define BTGATE_CONTROL_H

#include <jansson.h>

struct address_endpoint;
struct control;
struct error;
struct loop;

/*
 * The answer to @request, an object; the callee's reference goes to the caller,
 * NULL is "out of memory". Must not free the control.
 */
typedef json_t *(*control_request_cb)(json_t *request, void *arg);

/* Listen at @address, a unix socket. 0, or -errno as for listener_open. */
int control_open(struct loop *loop, const struct address_endpoint *address,
		 control_request_cb cb, void *arg, struct control **out,
		 struct error *error);
/* NULL is legal. */
void control_close(struct control *control);

#endif
