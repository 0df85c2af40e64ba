/* SPDX-License-Identifier: MIT */
/*
 * One search in a device's service records, as it goes over the wire: a
 * ServiceSearchAttribute request, its answer, and the requests and answers by
 * which a long answer is continued (Core spec, Vol 3 part B, 4.2 to 4.4, 4.7).
 *
 * Bytes to bytes, each length that the device says is checked and the whole
 * bounded; knows neither sockets nor what is in a record, so that it fuzzes
 * alone.
 */
#ifndef BTGATE_SDP_TRANSACTION_H
#define BTGATE_SDP_TRANSACTION_H

#include <stddef.h>
#include <stdint.h>

#include "address.h"

struct error;

#define SDP_CONTINUATION_MAX_BYTES 16
/* Of all requests; the UUID and the continuation decide how many it takes. */
#define SDP_REQUEST_MAX_BYTES \
	(5 + (2 + 17) + 2 + (2 + 5) + (1 + SDP_CONTINUATION_MAX_BYTES))
/*
 * What a device may say in all, and in how many pieces: phones take 4 KiB, in
 * pieces of our L2CAP MTU, 672 bytes; small devices use pieces of 48.
 */
#define SDP_LISTS_MAX_BYTES 65536
#define SDP_ANSWERS_MAX 256

struct sdp_transaction {
	struct address_uuid uuid;
	uint16_t id; /* of the request that waits for its answer */
	unsigned int answers;
	uint8_t continuation[SDP_CONTINUATION_MAX_BYTES];
	uint8_t continuation_bytes;
	uint8_t *lists; /* AttributeLists as far as it has come; malloc'd */
	size_t lists_bytes;
};

/* A search for all records with @uuid anywhere in them. */
void sdp_transaction_init(struct sdp_transaction *transaction,
			  const struct address_uuid *uuid);
void sdp_transaction_clear(struct sdp_transaction *transaction);

/* The request to send now; its length. */
size_t sdp_transaction_format_request(const struct sdp_transaction *transaction,
				      uint8_t request[SDP_REQUEST_MAX_BYTES]);

enum sdp_answer {
	SDP_ANSWER_WHOLE, /* @lists is all there is */
	SDP_ANSWER_CONTINUED, /* there is a request to send */
};

/*
 * Take the one PDU in @data: an sdp_answer, or -errno with a sentence: -EPROTO
 * for what is no answer to the request, -EREMOTEIO for one that says that it
 * is refused, -EMSGSIZE for one without end, -ENOMEM.
 */
int sdp_transaction_take(struct sdp_transaction *transaction,
			 const uint8_t *data, size_t bytes,
			 struct error *error);

#endif
