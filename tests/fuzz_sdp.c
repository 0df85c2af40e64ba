/* SPDX-License-Identifier: MIT */
/*
 * A hostile device. The first byte says what the rest is: records; or packets,
 * each behind its length in two bytes, that answer one search: what they say
 * is read as records, too. What was read is printed, for people and as JSON.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address_endpoint.h"
#include "error.h"
#include "sdp_parse.h"
#include "sdp_transaction.h"
#include "service_list.h"
#include "text.h"

#define PASTED "    connect = "

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

/* To a string, which is the caller's. */
static char *print(void (*list_print)(FILE *, const struct address_bluetooth *,
				      const struct sdp_service_found *, size_t),
		   const struct sdp_service_found *list, size_t count)
{
	const struct address_bluetooth device = {{1, 2, 3, 4, 5, 6}};
	char *printed = NULL;
	size_t bytes = 0;
	FILE *stream = open_memstream(&printed, &bytes);

	if (!stream)
		abort();
	list_print(stream, &device, list, count);
	if (fclose(stream) != 0 || strlen(printed) != bytes)
		abort();
	return printed;
}

/* Nothing that moves a cursor or forges a line: UTF-8 without controls. */
static void check_line(const char *line)
{
	while (*line) {
		size_t bytes = text_utf8_bytes(line);
		unsigned char c = (unsigned char)*line;

		if (!bytes || c < ' ' || c == 0x7f ||
		    (c == 0xc2 && (unsigned char)line[1] < 0xa0))
			abort();
		line += bytes;
	}
}

/* What is there to be pasted is an endpoint, and prints as it did. */
static void check_pasted(const char *text)
{
	struct address_endpoint endpoint;
	char again[ADDRESS_ENDPOINT_TEXT_BYTES];
	struct error error;

	if (address_endpoint_parse(text, ENDPOINT_ROLE_CONNECT, &endpoint,
				   &error) < 0)
		abort();
	address_endpoint_format(&endpoint, ENDPOINT_ROLE_CONNECT, again);
	if (strcmp(again, text) != 0)
		abort();
	address_endpoint_clear(&endpoint);
}

static void check_printed(const struct sdp_service_found *list, size_t count)
{
	char *people = print(service_list_print, list, count);
	char *json = print(service_list_print_json, list, count);
	char *rest = people, *line;
	size_t names = 0, objects = 0;

	while ((line = strsep(&rest, "\n"))) {
		check_line(line);
		names += line[0] == '"' || !strcmp(line, "(no name)");
		if (!strncmp(line, PASTED, strlen(PASTED)))
			check_pasted(line + strlen(PASTED));
	}
	rest = json;
	while ((line = strsep(&rest, "\n"))) {
		check_line(line);
		objects += line[0] == '{';
	}
	if (names != count || objects != count)
		abort();
	free(json);
	free(people);
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
	check_printed(found, count);
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
