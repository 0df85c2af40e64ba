/* SPDX-License-Identifier: MIT */
/*
 * Reads service records as a stranger sent them (Core spec, Vol 3 part B,
 * section 3): every length is checked, nothing recurses, nothing is allocated
 * that the input's size does not pay for.
 *
 * Bytes to structs; knows neither libevent nor BlueZ, so that it fuzzes alone.
 */
#ifndef BTGATE_SDP_PARSE_H
#define BTGATE_SDP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address.h"

struct error;

#define SDP_FOUND_NAME_BYTES 256
#define SDP_FOUND_UUIDS_MAX 8
/* Phones have some twenty. */
#define SDP_FOUND_MAX 512

/* How a service is reached. */
enum sdp_found_protocol {
	SDP_FOUND_PROTOCOL_OTHER, /* neither of these, or a port out of range */
	SDP_FOUND_PROTOCOL_RFCOMM, /* whatever is above it */
	/*
	 * A PSM and no RFCOMM. What is above it (HIDP, AVDTP, ATT) is for the
	 * one who connects to know.
	 */
	SDP_FOUND_PROTOCOL_L2CAP,
};

struct sdp_service_found {
	uint32_t handle; /* names the record at that device; 0: none said */
	char name[SDP_FOUND_NAME_BYTES]; /* as sent, cut; "" if none */
	struct address_uuid
		classes[SDP_FOUND_UUIDS_MAX]; /* most special first */
	size_t class_count;
	enum sdp_found_protocol protocol;
	uint16_t port; /* channel 1..30, or a valid PSM; 0: OTHER */
	/* The L2CAP PSM of OBEX beside RFCOMM (GoepL2capPsm), 0 without one. */
	uint16_t goep_psm;
};

/*
 * The records in an AttributeLists parameter: a sequence of sequences of
 * attribute id and value. On success *@out is malloc'd, NULL where there are
 * none. -EPROTO with a sentence for bytes that are not that, -EMSGSIZE for
 * more than SDP_FOUND_MAX records, -ENOMEM.
 *
 * A record that breaks off inside is used as far as it goes; a value of the
 * wrong type counts as not there, a record without anything is left out.
 */
int sdp_parse_records(const uint8_t *data, size_t bytes,
		      struct sdp_service_found **out, size_t *count,
		      struct error *error);

/* Whether it is of this service class: a search finds UUIDs anywhere. */
bool sdp_service_has_class(const struct sdp_service_found *service,
			   const struct address_uuid *uuid);
/* Its channel or PSM, that of OBEX included; 0: not reached by @protocol. */
uint16_t sdp_service_port(const struct sdp_service_found *service,
			  enum sdp_found_protocol protocol);

#endif
