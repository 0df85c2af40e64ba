/* SPDX-License-Identifier: MIT */
/*
 * What TLS is spoken with at one end of a route: certificate and key, whom to
 * trust, at least TLS 1.2. Read from files, and again when they have changed.
 *
 * Knows OpenSSL's settings and files; does not know connections.
 */
#ifndef BTGATE_TLS_CONTEXT_H
#define BTGATE_TLS_CONTEXT_H

#include <stdbool.h>

#include <openssl/types.h>

struct endpoint_tls;
struct error;
struct tls_context;

/*
 * Read the files that @settings name, whose strings must outlive the context.
 * A key that everybody can read and a certificate that has expired are used,
 * with a warning in the log. 0, or -errno with a sentence.
 */
int tls_context_new(const struct endpoint_tls *settings, bool is_server,
		    struct tls_context **out, struct error *error);
/* Connections that were made from it go on. NULL is legal. */
void tls_context_free(struct tls_context *context);

bool tls_context_is_server(const struct tls_context *context);
/* The file with the authorities to trust; NULL: this machine's. */
const char *tls_context_ca(const struct tls_context *context);

/*
 * What a new connection is made of; the caller owns it. Where a file has
 * changed all are read again first: if they are of no use (a certificate is
 * there and its key is not yet), that is logged once, and what was read before
 * goes on being used. NULL without memory.
 *
 * A client's checks that the certificate is for @name, a host's name or an
 * address, and tells a name to the server; NULL for a server.
 */
SSL *tls_context_make(struct tls_context *context, const char *name);

#endif
