/* SPDX-License-Identifier: MIT */
/*
 * Whether the other end of a TCP connection is still there. While nothing is
 * underway the kernel asks it (keepalive); what is underway the kernel would
 * repeat for a quarter of an hour, which is looked after here.
 *
 * TCP_USER_TIMEOUT is not the answer: it also cuts off a peer that is alive and
 * keeps its window closed, a printer without paper (Linux 6.18). What tells the
 * two apart is whether anything at all is answered (TCP_INFO).
 *
 * Knows one socket; does not know streams. A connection on which nothing is
 * sent costs nothing and wakes nobody up.
 */
#ifndef BTGATE_TCP_PEER_H
#define BTGATE_TCP_PEER_H

#include <stdbool.h>

#include "loop.h"

struct tcp_peer {
	struct loop_alarm alarm; /* set while something may be underway */
	struct loop *loop;
	int fd;
	/* Twice a keepalive of 32,767 s at most; 0: it may be silent for ever. */
	unsigned int limit_ms : 31;
	bool is_gone : 1;
};

/*
 * Watch over the peer of @fd: after @keepalive_s of silence it is asked, three
 * times, and after twice that time it is given up. 0: not at all.
 */
void tcp_peer_init(struct tcp_peer *peer, struct loop *loop, int fd,
		   unsigned int keepalive_s);
/* Before the descriptor is closed. Legal on a zeroed one. */
void tcp_peer_clear(struct tcp_peer *peer);

/* Something was sent. */
void tcp_peer_sent(struct tcp_peer *peer);
/*
 * Whether it was given up for not answering to what was sent. The socket is
 * shut down then, and so wakes up whoever waits for it.
 */
bool tcp_peer_is_gone(const struct tcp_peer *peer);

#endif
