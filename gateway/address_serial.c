/* SPDX-License-Identifier: MIT */
#include "address_serial.h"

#include <stddef.h>

#define SPEED(baud)           \
	{                     \
		baud, B##baud \
	}

static const struct {
	unsigned int baud;
	speed_t speed;
} speeds[] = {
	SPEED(50),	SPEED(75),	SPEED(110),	SPEED(134),
	SPEED(150),	SPEED(200),	SPEED(300),	SPEED(600),
	SPEED(1200),	SPEED(1800),	SPEED(2400),	SPEED(4800),
	SPEED(9600),	SPEED(19200),	SPEED(38400),	SPEED(57600),
	SPEED(115200),	SPEED(230400),	SPEED(460800),	SPEED(500000),
	SPEED(576000),	SPEED(921600),	SPEED(1000000), SPEED(1152000),
	SPEED(1500000), SPEED(2000000), SPEED(2500000), SPEED(3000000),
	SPEED(3500000), SPEED(4000000),
};

bool address_serial_find_speed(unsigned int baud, speed_t *out)
{
	for (size_t i = 0; i < sizeof(speeds) / sizeof(speeds[0]); i++) {
		if (speeds[i].baud != baud)
			continue;
		*out = speeds[i].speed;
		return true;
	}
	return false;
}

static unsigned int distance(unsigned int a, unsigned int b)
{
	return a < b ? b - a : a - b;
}

unsigned int address_serial_nearest_baud(unsigned int baud)
{
	unsigned int nearest = speeds[0].baud;

	for (size_t i = 1; i < sizeof(speeds) / sizeof(speeds[0]); i++) {
		if (distance(speeds[i].baud, baud) < distance(nearest, baud))
			nearest = speeds[i].baud;
	}
	return nearest;
}
