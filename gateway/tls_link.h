/* SPDX-License-Identifier: MIT */
/*
 * One TLS connection over a stream: the handshake, bytes both ways, and its
 * goodbye (close_notify), by which an end is told from a cut.
 *
 * What is taken to be written is encrypted and offered to the stream at once;
 * what that does not take, one record at most, is kept here and goes first.
 * Nothing that came in is ever kept here, as long as whoever reads has room for
 * a record: so the stream's own descriptor tells when there is more.
 *
 * Knows OpenSSL; does not know the loop, and never logs. Errors are negative
 * errno with a sentence about "the other end".
 */
#ifndef BTGATE_TLS_LINK_H
#define BTGATE_TLS_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "endpoint.h"

struct error;
struct tls_context;
struct tls_link;

/* Room that tls_link_read must be given: the longest record (RFC 8446, 5.1). */
#define TLS_LINK_RECORD_BYTES 16384

/*
 * Takes over @under on success. @name as in tls_context_make; it and @context
 * must be there until the handshake is over. NULL without memory.
 */
struct tls_link *tls_link_new(struct tls_context *context, const char *name,
			      struct stream *under);
/* Closes the stream under it. NULL is legal. */
void tls_link_free(struct tls_link *link, enum stream_close how);

/*
 * Get on with the handshake. 0: done; -EAGAIN: when there is more to read, or
 * when what is unsent can be written; else why there is none.
 */
int tls_link_handshake(struct tls_link *link, struct error *error);

/*
 * As stream_read. An end without a goodbye is no end: -ECONNABORTED, and
 * tls_link_trouble has the sentence.
 */
ssize_t tls_link_read(struct tls_link *link, void *buffer, size_t bytes);
/* As stream_write. */
ssize_t tls_link_write(struct tls_link *link, const void *data, size_t bytes);
/* As stream_check. */
int tls_link_check(const struct tls_link *link);
/* Bytes, encrypted, that the stream has not taken yet. */
size_t tls_link_unsent(const struct tls_link *link);
/* Offer it what is unsent. 0 if it took all, -EAGAIN, or how it broke. */
int tls_link_flush(struct tls_link *link);
/*
 * Say goodbye, once: nothing is written after it. The stream under it is told
 * the end of writing when that has gone out. 0, or how it broke.
 */
int tls_link_end(struct tls_link *link);

/* What went wrong, where it was TLS: a sentence, or NULL. */
const char *tls_link_trouble(const struct tls_link *link);

#endif
