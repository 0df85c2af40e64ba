/* SPDX-License-Identifier: MIT */
/*
 * A hostile device. The first byte says what the rest is: records; or packets,
 * each behind its length in two bytes, that answer one search: what they say
 * is read as records, too.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "sdp_parse.h"
#include "sdp_transaction.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(int code, const struct error *error)
{
	if (code >= 0)
		return;
	if (!error->text[0])
		abort();
	for (const char *c = error->text; *c; c++) {
		if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
			abort();
	}
}

/* A port is one that can be connected to, or none. */
static bool is_port(const struct sdp_service_found *found)
{
	switch (found->protocol) {
	case SDP_FOUND_PROTOCOL_OTHER:
		return !found->port;
	case SDP_FOUND_PROTOCOL_RFCOMM:
		return found->port >= 1 && found->port <= 30;
	case SDP_FOUND_PROTOCOL_L2CAP:
		return (found->port & 0x101) == 1;
	}
	return false;
}

static void fuzz_records(const uint8_t *data, size_t size)
{
	struct sdp_service_found *found;
	struct error error = {""};
	size_t count;
	int code = sdp_parse_records(data, size, &found, &count, &error);

	check_error(code, &error);
	if (code < 0)
		return;
	if (code > 0 || !count != !found || count > SDP_FOUND_MAX ||
	    2 * count > size)
		abort();
	for (size_t i = 0; i < count; i++) {
		if (!memchr(found[i].name, '\0', sizeof(found[i].name)) ||
		    found[i].class_count > SDP_FOUND_UUIDS_MAX ||
		    !is_port(&found[i]) ||
		    (found[i].goep_psm && (found[i].goep_psm & 0x101) != 1))
			abort();
	}
	free(found);
}

static void fuzz_packets(const uint8_t *data, size_t size)
{
	const struct address_uuid uuid = address_uuid_from_short(0x1101);
	struct sdp_transaction transaction;
	struct error error = {""};
	uint8_t request[SDP_REQUEST_MAX_BYTES];
	int code = SDP_ANSWER_CONTINUED;

	sdp_transaction_init(&transaction, &uuid);
	while (code == SDP_ANSWER_CONTINUED && size >= 2) {
		size_t bytes = (size_t)(data[0] << 8 | data[1]);
		uint8_t *packet;

		data += 2;
		size -= 2;
		if (bytes > size)
			bytes = size;
		/* Of its own, so that ASan sees a byte too far. */
		packet = malloc(bytes ? bytes : 1);
		if (!packet)
			abort();
		memcpy(packet, data, bytes);
		code = sdp_transaction_take(&transaction, packet, bytes,
					    &error);
		free(packet);
		check_error(code, &error);
		if (transaction.lists_bytes > SDP_LISTS_MAX_BYTES ||
		    transaction.answers > SDP_ANSWERS_MAX ||
		    sdp_transaction_format_request(&transaction, request) >
			    sizeof(request))
			abort();
		data += bytes;
		size -= bytes;
	}
	if (code == SDP_ANSWER_WHOLE)
		fuzz_records(transaction.lists, transaction.lists_bytes);
	sdp_transaction_clear(&transaction);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	if (data[0] % 2)
		fuzz_packets(data + 1, size - 1);
	else
		fuzz_records(data + 1, size - 1);
	return 0;
}
