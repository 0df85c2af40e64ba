/* SPDX-License-Identifier: MIT */
/*
 * What all Bluetooth sockets have in common: made without blocking, a level of
 * security, and what to tell a person where there are none.
 */
#ifndef BTGATE_BT_SOCKET_H
#define BTGATE_BT_SOCKET_H

#include "address.h"

struct error;

/* Non-blocking and close-on-exec: the descriptor, or -errno. */
int bt_socket_open(int type, int protocol);

/*
 * What the link must have (BT_SECURITY): before listen(2) of every link that
 * comes, before connect(2) of the one that is made. 0 or -errno.
 */
int bt_socket_set_security(int fd, enum security_level level);

/* "; security = high needs ...", to go behind a sentence; "" up to medium. */
const char *bt_socket_security_hint(enum security_level level);

/*
 * If @code says that this machine has no such sockets (a container, a kernel
 * without), set the sentence that says so, and return true.
 */
bool bt_socket_is_missing(int code, struct error *error);

#endif
