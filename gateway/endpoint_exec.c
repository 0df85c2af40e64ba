/* SPDX-License-Identifier: MIT */
/* exec: to come. */
#include "endpoint.h"

const struct endpoint_ops endpoint_exec_ops = {
	.listen = NULL,
	.open_target = NULL,
};
