/* SPDX-License-Identifier: MIT */
/*
 * Host names to addresses without blocking the loop: getaddrinfo(3) in a
 * thread of its own, so that everything nsswitch.conf knows (files, DNS, mDNS)
 * works as it does for other programs. The only thread there is beside the
 * loop's; it shares one request with it and nothing else.
 */
#ifndef BTGATE_RESOLVE_H
#define BTGATE_RESOLVE_H

#include <stdint.h>

struct addrinfo;
struct loop;
struct resolve;

/*
 * The answer, from the loop: @list is valid during the call, or it is NULL and
 * @why says what the resolver said.
 */
typedef void (*resolve_done_cb)(const struct addrinfo *list, const char *why,
				void *arg);

/*
 * Look up TCP addresses of @host, with @port filled in. NULL with errno set.
 * There is no deadline: cancel it.
 */
struct resolve *resolve_new(struct loop *loop, const char *host, uint16_t port,
			    resolve_done_cb done, void *arg);
/*
 * No callback comes. The thread may still be waiting for a server: what it
 * needs is freed when it is done. NULL is legal.
 */
void resolve_cancel(struct resolve *resolve);

#endif
