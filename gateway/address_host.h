/* SPDX-License-Identifier: MIT */
/*
 * The host of a TCP endpoint, as text: a name, an IPv4 address, an IPv6 one
 * (without its brackets, in one spelling), or "*".
 *
 * Knows what the text can tell of which host takes whose connections; never
 * looks a name up (resolve.h). Parsers as in address.h.
 */
#ifndef BTGATE_ADDRESS_HOST_H
#define BTGATE_ADDRESS_HOST_H

#include <stdbool.h>
#include <stddef.h>

struct error;

#define ADDRESS_HOST_BYTES_MAX 253

/*
 * Take HOST: off the front of @address (which is written to) into @host; *@port
 * is what is left. @form is what to write instead, for the messages.
 */
int address_host_parse(char *address, const char *form, char *host,
		       size_t host_bytes, char **port, struct error *error);

/* "*", or the address that stands for every one of its family. */
bool address_host_is_wildcard(const char *host);
/* Names are looked up to connect, never to listen: that must work at boot. */
bool address_host_is_listenable(const char *host);

/* Whether listeners on one port of both exclude each other. */
bool address_host_is_conflict(const char *a, const char *b);
/* Whether who dials @connect reaches a listener of that port on @listen. */
bool address_host_is_reached(const char *listen, const char *connect);

#endif
