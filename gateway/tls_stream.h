/* SPDX-License-Identifier: MIT */
/*
 * TLS on the loop: the handshake over a stream, and the stream that comes of
 * it. Half-close, back-pressure and resets are those of the stream under it.
 *
 * Knows streams and the loop; does not know who is at the other end.
 */
#ifndef BTGATE_TLS_STREAM_H
#define BTGATE_TLS_STREAM_H

struct error;
struct loop;
struct stream;
struct tls_context;
struct tls_handshake;

/*
 * @stream belongs to the callee; or it is NULL, and @error says why in a
 * sentence about "the other end". The handshake is gone.
 */
typedef void (*tls_handshake_done_cb)(struct stream *stream, int code,
				      const struct error *error, void *arg);

/*
 * Begin: takes over @under on success, and calls back once, from the loop;
 * there is no deadline. @name as in tls_context_make; it and @context must be
 * there until the handshake is over. NULL with errno set: memory or descriptors are short.
 */
struct tls_handshake *tls_handshake_new(struct loop *loop,
					struct tls_context *context,
					const char *name, struct stream *under,
					tls_handshake_done_cb done, void *arg);
/* Give it up: the stream under it is aborted. NULL is legal. */
void tls_handshake_free(struct tls_handshake *handshake);

#endif
