/* SPDX-License-Identifier: MIT */
/*
 * What a TCP listener is made of, for who takes its clients in another way than
 * as streams.
 *
 * Knows addresses and what the kernel says of them; nothing of clients.
 */
#ifndef BTGATE_ENDPOINT_TCP_H
#define BTGATE_ENDPOINT_TCP_H

#include <stdbool.h>

#include "endpoint.h"

struct address_ip;
struct endpoint_tcp;
struct error;

/*
 * What listens at @tcp: a descriptor, non-blocking and close-on-exec; or errors as
 * for listener_open. @is_slow as in endpoint_settings.
 */
int endpoint_tcp_listen(const struct endpoint_tcp *tcp, bool is_slow,
			struct error *error);
/*
 * Who is at the other end of @fd: for people, "unknown" at worst, and for
 * comparing. False: @ip is not known.
 */
bool endpoint_tcp_peer(int fd, char text[STREAM_PEER_BYTES],
		       struct address_ip *ip);

#endif
