/* SPDX-License-Identifier: MIT */
/*
 * The control socket: requests of other programs of this machine, one line of
 * JSON each, and an answer to each, in order; or after an answer lines without
 * an end.
 *
 * Knows lines, JSON and that a client may be slow or hostile: it has a bounded
 * number of them, takes the next request of one only when its last answer has
 * gone, and ends one that stalls. Does not know what is asked.
 */
#ifndef BTGATE_CONTROL_H
#define BTGATE_CONTROL_H

#include <jansson.h>
#include <stdbool.h>

struct address_endpoint;
struct control;
struct control_client;
struct error;
struct loop;

/*
 * The answer to @request of @client, an object; the callee's reference goes to
 * the caller, NULL is "out of memory". Must not free the control.
 */
typedef json_t *(*control_request_cb)(struct control_client *client,
				      json_t *request, void *arg);

/* Listen at @address, a unix socket. 0, or -errno as for listener_open. */
int control_open(struct loop *loop, const struct address_endpoint *address,
		 control_request_cb cb, void *arg, struct control **out,
		 struct error *error);
/*
 * Listen at @to instead of at @from, and end the clients of that. 0, or -errno
 * as for listener_change.
 */
int control_move(struct control *control, const struct address_endpoint *from,
		 const struct address_endpoint *to, struct error *error);
/* Not if control_move has lost it. */
bool control_is_listening(const struct control *control);
/* NULL is legal. */
void control_close(struct control *control);

/* Whoever tells a client more than answers. */
struct control_follower {
	void (*drained)(void *arg); /* the client has taken all of it */
	void (*left)(
		void *arg); /* the client is gone; nothing is called again */
	void *arg;
};

/*
 * From inside the control_request_cb: after the answer the client asks nothing
 * more, and is told lines until it leaves or control_end. It may be silent, and
 * slow, for as long as it likes.
 */
void control_follow(struct control_client *client,
		    const struct control_follower *follower);
/* A line; takes the reference over. NULL, "out of memory", ends the client. */
void control_tell(struct control_client *client, json_t *line);
/* Bytes that it has not taken yet. */
size_t control_waiting(const struct control_client *client);
/* It gets what waits, and is then ended. The follower is not called any more. */
void control_end(struct control_client *client);

#endif
