/* SPDX-License-Identifier: MIT */
/*
 * What connect and listen share: an endpoint and options read from argv, this
 * program's terminal joined to one stream, signals, what is told on the way,
 * and the exit status.
 *
 * Knows a terminal and the stream that it is joined to; does not know how that
 * one came about.
 */
#ifndef BTGATE_COMMAND_NETCAT_H
#define BTGATE_COMMAND_NETCAT_H

#include <stdbool.h>

#include "adapter.h"
#include "address_endpoint.h"
#include "endpoint.h"
#include "loop.h"
#include "session.h"

struct bluez;
struct command_options;
struct event;
struct terminal;

#define NETCAT_SIGNALS 3

/* Belongs to the command, which reads the first part. */
struct netcat {
	struct loop *loop;
	const char *text; /* the endpoint as it was given */
	struct address_endpoint endpoint;
	struct endpoint_settings settings;
	struct bluez *bluez; /* NULL: the endpoint is no Bluetooth one */
	struct bluez_settings bluez_settings;
	struct terminal *terminal;
	struct session *session; /* NULL: nobody is connected */
	char peer[STREAM_PEER_BYTES]; /* who is, or was last */
	bool is_chatty; /* tell what goes well, too */
	/* The command's own: */
	enum endpoint_role role;
	struct session_settings session_settings;
	struct event *signals[NETCAT_SIGNALS];
	int signal; /* the one that is to end us; 0: none */
	bool is_leaving;
	bool is_kept_going; /* a session's end is not the end */
	struct loop_task next; /* queued then; set by the command, if at all */
	int status;
};

/*
 * Read the options and get ready. Returns 0, or the exit status after having
 * said why; netcat_close either way.
 */
int netcat_open(struct netcat *netcat, const struct command_options *options,
		enum endpoint_role role);

/*
 * Join the terminal to @remote, which it takes over whatever happens. At the
 * end of that session netcat_run returns, unless is_kept_going. 0, or -errno
 * after having said why.
 */
int netcat_join(struct netcat *netcat, struct stream *remote);

/* Run the loop until it is over: a session, or as netcat_end or a signal say. */
void netcat_run(struct netcat *netcat);
/* No session is there, and none will come. */
void netcat_end(struct netcat *netcat, int status);

/*
 * Free everything and return the exit status. After a signal it does not
 * return: the program ends by it, as the shell expects.
 */
int netcat_close(struct netcat *netcat);

#endif
