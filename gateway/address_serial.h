/* SPDX-License-Identifier: MIT */
/*
 * The speeds of a serial port: those that termios(3) has a constant for.
 */
#ifndef BTGATE_ADDRESS_SERIAL_H
#define BTGATE_ADDRESS_SERIAL_H

#include <stdbool.h>
#include <termios.h>

/*
 * termios' constant for @baud; false if there is none. Of 0, which hangs up,
 * there is none here either.
 */
bool address_serial_find_speed(unsigned int baud, speed_t *out);

/* The speed that is nearest to @baud. */
unsigned int address_serial_nearest_baud(unsigned int baud);

#endif
