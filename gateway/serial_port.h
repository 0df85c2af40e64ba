/* SPDX-License-Identifier: MIT */
/*
 * A serial port of this machine, held for us alone and set as a route says:
 * raw, with its speed, bits and flow control. Nothing in here waits, neither
 * for a carrier nor for bytes to go out.
 *
 * Knows ttys; does not know sessions, nor when to try again.
 *
 * From the kernel (drivers/tty/tty_port.c, Linux 6.1): close(2) of a tty waits
 * up to 30 s for what was not sent. serial_port_free drops it, so ask for it
 * with serial_port_unsent before.
 */
#ifndef BTGATE_SERIAL_PORT_H
#define BTGATE_SERIAL_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct endpoint_serial;
struct error;
struct loop;
struct serial_port;

/*
 * Whether this gateway has closed it and its driver is not through with that: then
 * serial_port_new would wait.
 */
bool serial_port_is_closing(struct loop *loop, const char *path);

/*
 * NULL with errno set and a sentence: ENOENT when the device is not there, or
 * not any more; EBUSY names who holds it, as far as can be known.
 */
struct serial_port *serial_port_new(struct loop *loop,
				    const struct endpoint_serial *serial,
				    struct error *error);
/*
 * What was not sent is dropped, but for what the driver has taken already: it
 * may wait for that, and only who opens this port again waits with it
 * (serial_port_is_closing). NULL is legal.
 */
void serial_port_free(struct serial_port *port);

int serial_port_fd(const struct serial_port *port);
/*
 * "cat (pid 1)" in @text if somebody else has it open too, who was there
 * before: then bytes go to the one or the other.
 */
bool serial_port_is_shared(const struct serial_port *port, char *text);
/* Without flow control the kernel drops what nobody reads. */
bool serial_port_has_flow_control(const struct serial_port *port);
/* Whether it hung up: unplugged, or the carrier is gone. */
bool serial_port_is_hung_up(const struct serial_port *port);

/*
 * Bytes read; -EAGAIN when there are none; 0 when it hung up: the carrier was
 * lost, or the device is just going; -ENODEV when that is sure.
 */
ssize_t serial_port_read(struct serial_port *port, void *buffer, size_t bytes);
/* Bytes taken; -EAGAIN when it is full; -EPIPE and -ENODEV as for reading. */
ssize_t serial_port_write(struct serial_port *port, const void *buffer,
			  size_t bytes);
/* Written and not sent yet. */
size_t serial_port_unsent(const struct serial_port *port);

#endif
