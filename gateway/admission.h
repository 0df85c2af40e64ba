/* SPDX-License-Identifier: MIT */
/*
 * One client between being seen and being connected: its target is dialled
 * under a deadline, and only then is it told that it is connected.
 *
 * Knows the order of these steps; does not decide who may come, nor relay.
 */
#ifndef BTGATE_ADMISSION_H
#define BTGATE_ADMISSION_H

struct admission;
struct error;
struct loop;
struct stream;
struct target;

/*
 * It ended: @client and @target are admitted and belong to the callee, or both
 * are NULL and @error says why the client is refused. The admission is freed
 * when this returns.
 */
typedef void (*admission_done_cb)(struct admission *admission,
				  struct stream *client, struct stream *target,
				  const struct error *error, void *arg);

/*
 * Takes over @client. NULL with errno set and @client left to the caller;
 * else the callback comes, from the loop.
 */
struct admission *admission_new(struct loop *loop, struct stream *client,
				struct target *target, unsigned int timeout_ms,
				admission_done_cb done, void *arg);
/* Refuse the client now, without the callback. NULL is legal. */
void admission_cancel(struct admission *admission);

/* Who it is; valid until it ended. */
const char *admission_client(const struct admission *admission);

#endif
