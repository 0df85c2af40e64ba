/* SPDX-License-Identifier: MIT */
/*
 * The link to a device (ACL) under an L2CAP channel, as the kernel and the
 * controller have it: how secure it is; its automatic flush timeout.
 *
 * Knows HCI; does not know channels, nor what is sent on them.
 */
#ifndef BTGATE_ACL_H
#define BTGATE_ACL_H

#include <stdbool.h>

#include "address.h"

struct acl_flush;
struct error;
struct loop;

/*
 * Whether the kernel holds the link under @fd for good enough for @level: 0;
 * -EAGAIN if not (yet); or -errno. @fd is an L2CAP socket that was accepted with
 * deferred setup, which may be before its authentication has ended, and waits
 * to be admitted. Needs no privilege. For SECURITY_LEVEL_FIPS a link that was
 * encrypted with a lesser key before has to be made anew.
 */
int acl_check_security(int fd, enum security_level level);

/*
 * The same for SECURITY_LEVEL_FIPS and an L2CAP socket @fd that has connected: the
 * kernel lets it, also on a link that was encrypted with a lesser key before, which
 * it has only authenticated again (hci_auth_complete_evt, Linux 6.12).
 */
int acl_check_fips(int fd);

/*
 * Close a socket whose connect(2) is under way. In the middle of an L2CAP
 * connect the kernel would forget the channel without a word to the device,
 * which keeps its half for 40 s, and refuses all others that get the same
 * number until then (l2cap_chan_close; L2CAP_CR_SCID_IN_USE in l2cap_connect;
 * Linux 6.12): once the link is up it is let finish. Before that nothing was
 * said yet, and to close is what ends the paging. Of -1 nothing is closed.
 */
void acl_close_connecting(struct loop *loop, int fd);

/* Whether this process may set a flush timeout: CAP_NET_RAW, in force. */
bool acl_may_flush(void);

/* 0; or -errno with why: -ETIMEDOUT no answer, -EIO the controller refused. */
typedef void (*acl_flush_cb)(int code, const struct error *error, void *arg);

/*
 * Set the automatic flush timeout of the link of a connected L2CAP socket @fd
 * (Core spec, Vol 4 part E, 7.3.29): what the controller could not deliver
 * for so long it drops. @done comes once, from the loop. NULL with errno set:
 * EPERM without CAP_NET_RAW.
 */
struct acl_flush *acl_flush_new(struct loop *loop, int fd,
				unsigned int timeout_ms, acl_flush_cb done,
				void *arg);
/* No callback comes any more. After the callback as before it; NULL is legal. */
void acl_flush_free(struct acl_flush *flush);

#endif
