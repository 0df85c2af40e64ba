/* SPDX-License-Identifier: MIT */
/*
 * Reads service records as a stranger sent them (Core spec, Vol 3 part B,
 * section 3): every length is checked, nesting and sizes are bounded, nothing
 * is allocated that the input's size does not pay for.
 *
 * Bytes to structs; knows neither libevent nor BlueZ, so that it fuzzes alone.
 */
#ifndef BTGATE_SDP_PARSE_H
#define BTGATE_SDP_PARSE_H

#include <stddef.h>
#include <stdint.h>

#include "address.h"

struct error;

#define SDP_FOUND_NAME_BYTES 256
#define SDP_FOUND_UUIDS_MAX 8

/* How a service is reached. */
enum sdp_found_protocol {
	SDP_FOUND_PROTOCOL_OTHER, /* neither of these, or none said */
	SDP_FOUND_PROTOCOL_RFCOMM,
	SDP_FOUND_PROTOCOL_L2CAP, /* and nothing above it */
};

struct sdp_service_found {
	char name[SDP_FOUND_NAME_BYTES]; /* as sent, cut; "" if none */
	struct address_uuid
		classes[SDP_FOUND_UUIDS_MAX]; /* most special first */
	size_t class_count;
	enum sdp_found_protocol protocol;
	uint16_t port; /* channel 1..30, or PSM */
	/* GOEP's and others' L2CAP PSM beside RFCOMM, 0 without one. */
	uint16_t goep_psm;
};

/*
 * The records in an AttributeLists parameter: a sequence of sequences of
 * attribute id and value. On success *@out is malloc'd, NULL where there are
 * none. -EPROTO with a sentence for bytes that are not that, -ENOMEM.
 */
int sdp_parse_records(const uint8_t *data, size_t bytes,
		      struct sdp_service_found **out, size_t *count,
		      struct error *error);

#endif
