/* SPDX-License-Identifier: MIT */
/*
 * Service records: what a phone reads before it connects (Core spec, Vol 3
 * part B). Builds one record with libbluetooth and gives it in the two forms
 * in which a daemon takes it.
 *
 * Knows the record's content; does not know how it is published.
 */
#ifndef BTGATE_SDP_H
#define BTGATE_SDP_H

#include <stddef.h>
#include <stdint.h>

#include "address.h"
#include "endpoint.h"

struct error;

/* The longest name that fits an 8-bit length; no phone shows more. */
#define SDP_NAME_MAX_BYTES 255

struct sdp_service {
	enum service_protocol protocol;
	uint16_t port; /* RFCOMM channel, or PSM */
	struct address_uuid uuid; /* service class */
	const char *name; /* UTF-8, 1..SDP_NAME_MAX_BYTES bytes */
};

/* Whether a service may have that name; else -EINVAL with a sentence. */
int sdp_check_name(const char *name, struct error *error);

/*
 * The record as an attribute list in SDP's binary form, without a handle.
 * *out is malloc'd. 0 or -errno; -EINVAL for a port out of range, a missing
 * or too long name, control characters or text that is not UTF-8: bluetoothd
 * would take those in silence.
 */
int sdp_record_build(const struct sdp_service *service, uint8_t **out,
		     size_t *out_bytes, struct error *error);

/*
 * The same record as the XML that ProfileManager1's ServiceRecord takes
 * (bluez doc/profile-api). malloc'd; NULL with errno set.
 */
char *sdp_record_to_xml(const struct sdp_service *service, struct error *error);

#endif
