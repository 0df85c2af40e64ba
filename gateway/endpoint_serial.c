/* SPDX-License-Identifier: MIT */
/* serial: to come. */
#include "endpoint.h"

const struct endpoint_ops endpoint_serial_ops = {
	.listen = NULL,
	.open_target = NULL,
};
