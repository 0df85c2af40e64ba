/* SPDX-License-Identifier: MIT */
/*
 * A record at bluetoothd's local SDP server: the unix socket that it opens
 * for root when it runs with --compat. libbluetooth's sdp_record_register
 * waits for the answer, for ever if need be; this does the same exchange in
 * the loop (bluez lib/sdp.c, src/sdpd-service.c).
 *
 * Does not know what is in a record, nor when to try again.
 */
#ifndef BTGATE_SDP_LOCAL_H
#define BTGATE_SDP_LOCAL_H

#include <stddef.h>
#include <stdint.h>

struct error;
struct loop;
struct sdp_local;

/*
 * 0: the record stands. It may come once more with -ECONNRESET, when the
 * server has gone. With an error the object is nothing any more but for being
 * freed, which this callback may do. The sentence has no "what to do".
 */
typedef void (*sdp_local_cb)(int code, const struct error *error, void *arg);

/*
 * Register a record (sdp_record_build's form) at the server on @path. NULL
 * with errno set when memory is short; all else comes by callback.
 */
struct sdp_local *sdp_local_new(struct loop *loop, const char *path,
				const uint8_t *record, size_t bytes,
				sdp_local_cb done, void *arg);
/* Withdraws the record: it lives as long as the connection. NULL is legal. */
void sdp_local_free(struct sdp_local *local);

#endif
