/* SPDX-License-Identifier: MIT */
/*
 * Who holds an endpoint that we cannot have: the sentence that "Address
 * already in use" leaves out. Reads /proc; as another user than the holder it
 * may see that there is one and not who.
 */
#ifndef BTGATE_HOLDER_H
#define BTGATE_HOLDER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define HOLDER_TEXT_BYTES 160

/*
 * "socat (pid 123)", or "another program (run as root to see which)". @text
 * is always set.
 */
void holder_of_tcp_port(uint16_t port, char text[HOLDER_TEXT_BYTES]);
/*
 * The same for a socket in the file system, by the path that it is bound to. False:
 * no socket of this network namespace is.
 */
bool holder_of_unix_path(const char *path, char text[HOLDER_TEXT_BYTES]);
/*
 * The port of another program's socket can be asked only with the right to
 * trace it (pidfd_getfd(2)); else everyone who has such sockets is named:
 * "one of: bluetoothd (pid 1), rfcomm (pid 2)".
 */
void holder_of_rfcomm_channel(uint8_t channel, char text[HOLDER_TEXT_BYTES]);
void holder_of_l2cap_psm(uint16_t psm, char text[HOLDER_TEXT_BYTES]);
/*
 * Whether another process has the device at @path open: as for the others, who
 * they are, as far as can be seen.
 */
bool holder_of_device(const char *path, char text[HOLDER_TEXT_BYTES]);
/* "socat (pid 123)", or "pid 123" of a process that cannot be looked at. */
void holder_of_pid(pid_t pid, char text[HOLDER_TEXT_BYTES]);

#endif
