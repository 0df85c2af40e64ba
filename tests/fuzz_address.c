/* SPDX-License-Identifier: MIT */
/*
 * Whatever parses must print, and parse again to the same print. The first
 * byte says which parser; the rest is the text.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "address_endpoint.h"
#include "address_peer.h"
#include "error.h"
#include "text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(int code, const struct error *error)
{
	if (code == 0)
		return;
	if (code > 0 || !error->text[0])
		abort();
	for (const char *c = error->text; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			abort();
	}
}

static void fuzz_endpoint(const char *text, enum endpoint_role role)
{
	const struct address_adapter any = {.choice = ADAPTER_CHOICE_ANY};
	char first[ADDRESS_ENDPOINT_TEXT_BYTES];
	char second[ADDRESS_ENDPOINT_TEXT_BYTES];
	struct address_endpoint endpoint, again;
	struct error error = {""};
	int code = address_endpoint_parse(text, role, &endpoint, &error);

	check_error(code, &error);
	if (code < 0)
		return;
	address_endpoint_format(&endpoint, role, first);
	if (strlen(first) > sizeof(first) - 2 ||
	    address_endpoint_parse(first, role, &again, &error) < 0)
		abort();
	address_endpoint_format(&again, role, second);
	if (strcmp(first, second) != 0)
		abort();
	if (address_endpoint_is_conflict(&endpoint, role, &any, &again, role,
					 &any) !=
	    address_endpoint_is_conflict(&again, role, &any, &endpoint, role,
					 &any))
		abort();
	address_endpoint_clear(&again);
	address_endpoint_clear(&endpoint);
}

/* Each, printed, is the same one again. */
static void fuzz_peers(const char *text)
{
	struct address_peers peers = {NULL, 0}, copy;
	char first[ADDRESS_PEER_TEXT_BYTES], second[ADDRESS_PEER_TEXT_BYTES];
	struct error error = {""};
	int code = address_peers_add(text, &peers, &error);

	check_error(code, &error);
	if (code < 0 && (peers.items || peers.count))
		abort();
	for (size_t i = 0; i < peers.count; i++) {
		struct address_peers again = {NULL, 0};

		address_peer_format(&peers.items[i], first);
		if (strlen(first) > sizeof(first) - 2 ||
		    address_peers_add(first, &again, &error) < 0 ||
		    again.count != 1)
			abort();
		address_peer_format(&again.items[0], second);
		if (strcmp(first, second) != 0 ||
		    !address_peers_covers(&again, &peers.items[i]) ||
		    !address_peers_covers(&peers, &again.items[0]))
			abort();
		address_peers_clear(&again);
	}
	if (address_peers_copy(&peers, &copy) < 0 || copy.count != peers.count)
		abort();
	address_peers_clear(&copy);
	address_peers_clear(&peers);
}

static void fuzz_bluetooth(const char *text)
{
	char first[ADDRESS_BLUETOOTH_TEXT_BYTES];
	char second[ADDRESS_BLUETOOTH_TEXT_BYTES];
	struct address_bluetooth address;
	struct error error = {""};
	int code = address_bluetooth_parse(text, &address, &error);

	check_error(code, &error);
	if (code < 0)
		return;
	address_bluetooth_format(&address, first);
	if (address_bluetooth_parse(first, &address, NULL) < 0)
		abort();
	address_bluetooth_format(&address, second);
	if (strcmp(first, second) != 0)
		abort();
}

static void fuzz_uuid(const char *text)
{
	struct address_uuid uuid, again;
	char first[ADDRESS_UUID_TEXT_BYTES];
	struct error error = {""};
	int code = address_uuid_parse(text, &uuid, &error);

	check_error(code, &error);
	if (code < 0)
		return;
	address_uuid_format(&uuid, first);
	if (address_uuid_parse(first, &again, NULL) < 0 ||
	    !address_uuid_is_equal(&uuid, &again))
		abort();
}

static void fuzz_adapter(const char *text)
{
	char first[ADDRESS_ADAPTER_TEXT_BYTES];
	char second[ADDRESS_ADAPTER_TEXT_BYTES];
	struct address_adapter adapter;
	struct error error = {""};
	int code = address_adapter_parse(text, &adapter, &error);

	check_error(code, &error);
	if (code < 0)
		return;
	address_adapter_format(&adapter, first);
	if (address_adapter_parse(first, &adapter, NULL) < 0)
		abort();
	address_adapter_format(&adapter, second);
	if (strcmp(first, second) != 0)
		abort();
}

static void fuzz_duration(const char *text)
{
	struct error error = {""};
	unsigned int ms, again;
	char first[24];
	int code = address_duration_parse(text, &ms, &error);

	check_error(code, &error);
	if (code < 0)
		return;
	address_duration_format(ms, first);
	if (address_duration_parse(first, &again, NULL) < 0 || ms != again)
		abort();
}

static void fuzz_quotes(char *text)
{
	size_t room = 2 * strlen(text) + 3;
	char *printed = malloc(room);
	char *first = strdup(text);
	struct error error = {""};
	int code;

	if (!printed || !first)
		abort();
	text_format_quoted(text, printed, room);
	if (text_parse_quoted(printed, &error) < 0 ||
	    strcmp(printed, text) != 0)
		abort();
	code = text_parse_quoted(first, &error);
	check_error(code, &error);
	free(first);
	free(printed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum security_level level;
	struct error error = {""};
	char *text;

	if (!size)
		return 0;
	text = strndup((const char *)data + 1, size - 1);
	if (!text)
		return 0;
	switch (data[0] % 8) {
	case 0:
		fuzz_endpoint(text, ENDPOINT_ROLE_LISTEN);
		fuzz_endpoint(text, ENDPOINT_ROLE_CONNECT);
		break;
	case 1:
		fuzz_peers(text);
		break;
	case 2:
		fuzz_bluetooth(text);
		break;
	case 3:
		fuzz_uuid(text);
		break;
	case 4:
		fuzz_adapter(text);
		break;
	case 5:
		fuzz_duration(text);
		break;
	case 6:
		fuzz_quotes(text);
		break;
	case 7:
		check_error(address_security_parse(text, &level, &error),
			    &error);
		break;
	}
	free(text);
	return 0;
}
