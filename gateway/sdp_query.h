/* SPDX-License-Identifier: MIT */
/*
 * Asks a remote device for its services (Core spec, Vol 3 part B): a
 * ServiceSearchAttribute transaction over L2CAP PSM 1, in the loop, without
 * privilege or bluetoothd. The device may be hostile: what it answers is
 * bounded and read by sdp_transaction.h and sdp_parse.h, never by
 * libbluetooth.
 *
 * Knows the connection; does not know names, deadlines, when to try again or
 * what the answer is wanted for.
 */
#ifndef BTGATE_SDP_QUERY_H
#define BTGATE_SDP_QUERY_H

#include <stddef.h>

#include "address.h"
#include "sdp_parse.h"

struct error;
struct loop;
struct sdp_query;

/*
 * The answer, from the loop: code 0 and the records that have the UUID
 * anywhere in them (none is an answer, too), valid during the call; or -errno
 * with a sentence that begins with the device's address:
 * -EHOSTDOWN for a device that is off or out of range, -EHOSTUNREACH without
 * an adapter, -ECONNRESET when it closes before it has answered, -EREMOTEIO
 * when it says that it will not, -EPROTO for an answer that cannot be read,
 * -EMSGSIZE for one without end, and whatever else the kernel's connect says.
 * The query is gone after it.
 *
 * Right after a close of another link to the device, EBUSY and EHOSTDOWN can
 * mean that it is still going (6.1, 6.12): asking again helps.
 */
typedef void (*sdp_query_done_cb)(int code,
				  const struct sdp_service_found *list,
				  size_t count, const struct error *error,
				  void *arg);

/*
 * Ask @device, from the adapter at @adapter (all zero: any), for the records
 * that have @uuid; NULL: all in the public browse group. NULL with errno set
 * when memory is short; all else comes by callback. No deadline: cancel it.
 */
struct sdp_query *sdp_query_new(struct loop *loop,
				const struct address_bluetooth *adapter,
				const struct address_bluetooth *device,
				const struct address_uuid *uuid,
				sdp_query_done_cb done, void *arg);
/*
 * The same over a connected, non-blocking SOCK_SEQPACKET socket, which the
 * query takes over whatever happens: for tests without Bluetooth.
 */
struct sdp_query *sdp_query_new_on_fd(struct loop *loop, int fd,
				      const struct address_bluetooth *device,
				      const struct address_uuid *uuid,
				      sdp_query_done_cb done, void *arg);
/* No callback comes. NULL is legal. */
void sdp_query_cancel(struct sdp_query *query);

#endif
