/* SPDX-License-Identifier: MIT */
/*
 * A process of its own that speaks HTTP, by libevent's evhttp, with whoever reaches
 * the port for metrics: what goes wrong in there costs no session anything. It holds
 * no session and no key, and asks the gateway for the numbers of each answer.
 *
 * Knows HTTP, and that a client may be slow or hostile: it has a bounded number of
 * them, each with a bounded request and a deadline. Does not know what it tells.
 */
#ifndef BTGATE_METRICS_SERVER_H
#define BTGATE_METRICS_SERVER_H

/* What argv names it by. */
#define METRICS_SERVER_COMMAND "metrics-server"

/* Its descriptors: what listens, and the channel to the gateway, */
#define METRICS_SERVER_LISTEN_FD 0
/*
 * a SOCK_SEQPACKET: a byte is a question; the answer is the same byte, with the
 * numbers as a file, or without, where the gateway has no memory for them. More than
 * a byte is the name of a client that was refused, for the log, once for each.
 */
#define METRICS_SERVER_CHANNEL_FD 1

/*
 * The whole life of the process: it ends when the gateway does, which closes the
 * channel. Its argument is whom it serves: "any", or networks. Gives back the exit
 * status where there was no beginning.
 */
int metrics_server_run(int argument_count, char **arguments);

#endif
