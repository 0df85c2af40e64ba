/* SPDX-License-Identifier: MIT */
/* file: to come. */
#include "endpoint.h"

const struct endpoint_ops endpoint_file_ops = {
	.listen = NULL,
	.open_target = NULL,
};
