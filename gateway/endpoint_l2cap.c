/* SPDX-License-Identifier: MIT */
/* l2cap: to come. */
#include "endpoint.h"

const struct endpoint_ops endpoint_l2cap_ops = {
	.listen = NULL,
	.open_target = NULL,
};
