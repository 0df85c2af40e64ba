/* SPDX-License-Identifier: MIT */
#include "sdp_transaction.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

#define PDU_ERROR_RESPONSE 0x01
#define PDU_SEARCH_ATTRIBUTE_REQUEST 0x06
#define PDU_SEARCH_ATTRIBUTE_RESPONSE 0x07
/* Identifier, transaction, length of the parameters. */
#define HEADER_BYTES 5

#define ELEMENT_UINT32 0x0a
#define ELEMENT_UUID16 0x19
#define ELEMENT_UUID128 0x1c
#define ELEMENT_SEQUENCE8 0x35

static uint16_t get_be16(const uint8_t *data)
{
	return (uint16_t)(data[0] << 8 | data[1]);
}

static uint8_t *put_be16(uint8_t *to, uint16_t value)
{
	*to++ = (uint8_t)(value >> 8);
	*to++ = (uint8_t)value;
	return to;
}

void sdp_transaction_init(struct sdp_transaction *transaction,
			  const struct address_uuid *uuid)
{
	memset(transaction, 0, sizeof(*transaction));
	transaction->uuid = *uuid;
	transaction->id = 1;
}

void sdp_transaction_clear(struct sdp_transaction *transaction)
{
	free(transaction->lists);
	transaction->lists = NULL;
	transaction->lists_bytes = 0;
}

/* ServiceSearchPattern: a sequence of one UUID, in its short form if it has one. */
static uint8_t *put_pattern(uint8_t *to, const struct address_uuid *uuid)
{
	int value = address_uuid_short(uuid);

	*to++ = ELEMENT_SEQUENCE8;
	if (value >= 0) {
		*to++ = 1 + 2;
		*to++ = ELEMENT_UUID16;
		return put_be16(to, (uint16_t)value);
	}
	*to++ = 1 + sizeof(uuid->octets);
	*to++ = ELEMENT_UUID128;
	memcpy(to, uuid->octets, sizeof(uuid->octets));
	return to + sizeof(uuid->octets);
}

size_t sdp_transaction_format_request(const struct sdp_transaction *transaction,
				      uint8_t request[SDP_REQUEST_MAX_BYTES])
{
	uint8_t *to = request + HEADER_BYTES;

	to = put_pattern(to, &transaction->uuid);
	/* Bytes in one answer: as many as its L2CAP MTU lets it. */
	to = put_be16(to, 0xffff);
	/* AttributeIDList: the range of all. */
	*to++ = ELEMENT_SEQUENCE8;
	*to++ = 1 + 4;
	*to++ = ELEMENT_UINT32;
	to = put_be16(to, 0x0000);
	to = put_be16(to, 0xffff);
	*to++ = transaction->continuation_bytes;
	memcpy(to, transaction->continuation, transaction->continuation_bytes);
	to += transaction->continuation_bytes;

	request[0] = PDU_SEARCH_ATTRIBUTE_REQUEST;
	put_be16(request + 1, transaction->id);
	put_be16(request + 3, (uint16_t)(to - request - HEADER_BYTES));
	return (size_t)(to - request);
}

/* 4.4.1's codes. */
static const char *refusal_to_string(unsigned int code)
{
	switch (code) {
	case 1:
		return "unsupported SDP version";
	case 2:
		return "invalid service record handle";
	case 3:
		return "invalid request syntax";
	case 4:
		return "invalid PDU size";
	case 5:
		return "invalid continuation state";
	case 6:
		return "insufficient resources";
	}
	return "unknown reason";
}

static int take_lists(struct sdp_transaction *transaction, const uint8_t *data,
		      size_t bytes, struct error *error)
{
	uint8_t *grown;

	if (!bytes)
		return 0;
	if (bytes > SDP_LISTS_MAX_BYTES - transaction->lists_bytes)
		return error_set(error, -EMSGSIZE,
				 "the device's list of services has no end: "
				 "%d KiB of it came",
				 SDP_LISTS_MAX_BYTES / 1024);
	grown = realloc(transaction->lists, transaction->lists_bytes + bytes);
	if (!grown)
		return error_set(error, -ENOMEM,
				 "no memory for the device's services");
	memcpy(grown + transaction->lists_bytes, data, bytes);
	transaction->lists = grown;
	transaction->lists_bytes += bytes;
	return 0;
}

static int error_unreadable(struct error *error, const char *why)
{
	return error_set(error, -EPROTO,
			 "the device's answer about its services cannot be "
			 "read: %s",
			 why);
}

/*
 * AttributeListsByteCount, AttributeLists, length of the continuation state,
 * continuation state.
 */
static int take_response(struct sdp_transaction *transaction,
			 const uint8_t *data, size_t bytes, struct error *error)
{
	size_t lists_bytes, continuation_bytes;
	const uint8_t *continuation;
	int code;

	lists_bytes = bytes < 2 ? 0 : get_be16(data);
	if (bytes < 2 + lists_bytes + 1)
		return error_unreadable(error, "it is cut short");
	continuation = data + 2 + lists_bytes;
	continuation_bytes = *continuation++;
	if (continuation_bytes > SDP_CONTINUATION_MAX_BYTES)
		return error_unreadable(error,
					"its continuation state is too long");
	if (bytes < 2 + lists_bytes + 1 + continuation_bytes)
		return error_unreadable(error, "it is cut short");
	code = take_lists(transaction, data + 2, lists_bytes, error);
	if (code < 0)
		return code;
	if (!continuation_bytes)
		return SDP_ANSWER_WHOLE;
	if (++transaction->answers >= SDP_ANSWERS_MAX)
		return error_set(error, -EMSGSIZE,
				 "the device's list of services has no end: "
				 "%d pieces of it came",
				 SDP_ANSWERS_MAX);
	memcpy(transaction->continuation, continuation, continuation_bytes);
	transaction->continuation_bytes = (uint8_t)continuation_bytes;
	transaction->id++;
	return SDP_ANSWER_CONTINUED;
}

int sdp_transaction_take(struct sdp_transaction *transaction,
			 const uint8_t *data, size_t bytes, struct error *error)
{
	size_t rest;
	unsigned int code;

	if (bytes < HEADER_BYTES)
		return error_unreadable(error, "it is cut short");
	rest = get_be16(data + 3);
	if (rest > bytes - HEADER_BYTES)
		return error_unreadable(error, "it is cut short");
	if (get_be16(data + 1) != transaction->id)
		return error_unreadable(error, "it answers something else");
	switch (data[0]) {
	case PDU_SEARCH_ATTRIBUTE_RESPONSE:
		return take_response(transaction, data + HEADER_BYTES, rest,
				     error);
	case PDU_ERROR_RESPONSE:
		code = rest < 2 ? 0 : get_be16(data + HEADER_BYTES);
		return error_set(error, -EREMOTEIO,
				 "the device refuses to say which services it "
				 "has: %s (0x%04x)",
				 refusal_to_string(code), code);
	}
	return error_unreadable(error, "it is of another kind");
}
