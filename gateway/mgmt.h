/* SPDX-License-Identifier: MIT */
/*
 * The kernel's management socket (bluez doc/mgmt-protocol), for the two things
 * that bluetoothd's D-Bus interface cannot do: make an adapter connectable
 * without making it discoverable, and tell of adapters while there is no
 * bluetoothd.
 *
 * Knows that exchange and those events; does not know why anybody wants them.
 */
#ifndef BTGATE_MGMT_H
#define BTGATE_MGMT_H

#include <stdint.h>

struct error;
struct loop;
struct mgmt_call;
struct mgmt_watch;

/*
 * The answer: 0 when the adapter is connectable now (or was before), else
 * -errno; -EPERM when only CAP_NET_ADMIN was missing.
 */
typedef void (*mgmt_done_cb)(int code, const struct error *error, void *arg);

/* A management socket, non-blocking, or -errno. Needs no privilege. */
int mgmt_open(void);

/*
 * Make adapter hci@index connectable, on a management socket @fd, which is
 * the call's from now on, also on failure. Calls back once, from the loop;
 * NULL with errno set.
 */
struct mgmt_call *mgmt_call_new(struct loop *loop, int fd, uint16_t index,
				mgmt_done_cb done, void *arg);
/* To be called after the answer as before it. NULL is legal. */
void mgmt_call_free(struct mgmt_call *call);

/*
 * An adapter came, with its address known, went, or was switched: which, and
 * what it is now, is there to be asked (controller.h). Runs from the loop, and
 * may free the watch.
 */
typedef void (*mgmt_changed_cb)(void *arg);

/*
 * Be told of that from now on, on a management socket that @open makes
 * (mgmt_open). Should there be none, or should it break, that is logged, and @open
 * is asked for another one until it has one; that is news as well. NULL with errno
 * set: no memory, or EAFNOSUPPORT, which stays so.
 */
struct mgmt_watch *mgmt_watch_new(struct loop *loop, int (*open)(void),
				  mgmt_changed_cb changed, void *arg);
/* NULL is legal. */
void mgmt_watch_free(struct mgmt_watch *watch);

#endif
