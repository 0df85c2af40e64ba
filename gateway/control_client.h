/* SPDX-License-Identifier: MIT */
/*
 * Asking the running gateway: the other end of control.h, for the commands.
 * Waits for the answer; it has no loop. Says on stderr what went wrong.
 */
#ifndef BTGATE_CONTROL_CLIENT_H
#define BTGATE_CONTROL_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <jansson.h>

struct command_options;

struct control_client {
	int fd; /* -1: not connected */
	char path[108];
	bool is_quiet; /* say nothing */
	/* What came behind the last answer. */
	char *buffer;
	size_t bytes;
	size_t room;
};

/*
 * Connect to the socket that the configuration names, or to the usual one if it
 * cannot be read. 0, or -errno; control_client_close either way.
 */
int control_client_open(struct control_client *client,
			const struct command_options *options);
/* The same, with an end to the patience for each step, also of what is asked. */
int control_client_open_within(struct control_client *client,
			       const struct command_options *options,
			       unsigned int timeout_s);
void control_client_close(struct control_client *client);

/* Who listens there, by its number in our namespace; 0: it has none in it. */
pid_t control_client_pid(const struct control_client *client);

/*
 * Send a request (@argument may be NULL) and give the answer, an object that is
 * the caller's; NULL after saying why none came. It may be one that says no.
 */
json_t *control_client_ask(struct control_client *client, const char *command,
			   const char *argument);

/*
 * What a gateway that said yes tells after its answer, the next line of it, for
 * which this waits as long as it takes. An object that is the caller's; NULL after
 * saying why none will come.
 */
json_t *control_client_next(struct control_client *client);

/*
 * The answer of control_client_ask, if it says yes; NULL after saying why not,
 * and without the reference.
 */
json_t *control_client_agreed(const struct control_client *client,
			      json_t *answer);

/*
 * All of it for a command that only wants something done. The answer, which is
 * the caller's, of a gateway that said yes; NULL after saying why not.
 */
json_t *control_client_do(const struct command_options *options,
			  const char *command, const char *argument);

#endif
