/* SPDX-License-Identifier: MIT */
/*
 * A device's services for people and programs: each with the endpoint that
 * reaches it, ready to be pasted behind "connect =".
 *
 * Knows what is worth telling of a record; does not know how it was got.
 */
#ifndef BTGATE_SERVICE_LIST_H
#define BTGATE_SERVICE_LIST_H

#include <stddef.h>
#include <stdio.h>

#include "address.h"
#include "sdp_parse.h"

/*
 * Both name a service by its class, which stays when a device moves its
 * channel or PSM, unless another service is reached by the same; then by the
 * channel or PSM. Names are the device's own and printed safely.
 */

/* A paragraph for each; nothing where there are none. */
void service_list_print(FILE *stream, const struct address_bluetooth *device,
			const struct sdp_service_found *list, size_t count);
/* An array of objects, one a line; btgate(8) says what is in them. */
void service_list_print_json(FILE *stream,
			     const struct address_bluetooth *device,
			     const struct sdp_service_found *list,
			     size_t count);

#endif
