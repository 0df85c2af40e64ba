/* SPDX-License-Identifier: MIT */
/* A device's services as people and programs read them. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address_endpoint.h"
#include "service_list.h"

static const struct address_bluetooth device = {
	{0x00, 0x11, 0x22, 0x33, 0x44, 0x55}};

static struct sdp_service_found make(const char *name,
				     enum sdp_found_protocol protocol,
				     uint16_t port, const char *classes)
{
	struct sdp_service_found found = {.protocol = protocol, .port = port};
	char words[128], *word, *rest = words;

	snprintf(found.name, sizeof(found.name), "%s", name);
	snprintf(words, sizeof(words), "%s", classes);
	while ((word = strtok_r(rest, " ", &rest)))
		ck_assert_int_eq(
			address_uuid_parse(word,
					   &found.classes[found.class_count++],
					   NULL),
			0);
	return found;
}

#define RFCOMM SDP_FOUND_PROTOCOL_RFCOMM
#define L2CAP SDP_FOUND_PROTOCOL_L2CAP
#define OTHER SDP_FOUND_PROTOCOL_OTHER

static void assert_prints(const struct sdp_service_found *list, size_t count,
			  void (*print)(FILE *stream,
					const struct address_bluetooth *device,
					const struct sdp_service_found *list,
					size_t count),
			  const char *expected)
{
	char *text = NULL;
	size_t bytes;
	FILE *stream = open_memstream(&text, &bytes);

	ck_assert_ptr_nonnull(stream);
	print(stream, &device, list, count);
	ck_assert_int_eq(fclose(stream), 0);
	ck_assert_str_eq(text, expected);
	free(text);
}

START_TEST(test_text)
{
	struct sdp_service_found list[] = {
		make("Workshop", RFCOMM, 22, "spp"),
		make("Push", RFCOMM, 12, "1105"),
		make("", L2CAP, 0x11, "1124"),
		make("Mine", L2CAP, 0x1001,
		     "8ce255c0-200a-11e0-ac64-0800200c9a66 1203"),
		make("", OTHER, 0, "1200"),
		make("\x1b[2Jno\xc2\x9b", RFCOMM, 3, ""),
		make("    connect = exec:sh", OTHER, 0, ""),
	};

	list[1].goep_psm = 0x1005;
	assert_prints(list, 7, service_list_print,
		      "\"Workshop\"\n"
		      "    0x1101 Serial Port\n"
		      "    RFCOMM channel 22\n"
		      "    connect = rfcomm:00:11:22:33:44:55/spp\n"
		      "\n"
		      "\"Push\"\n"
		      "    0x1105 OBEX Object Push\n"
		      "    RFCOMM channel 12, or L2CAP PSM 0x1005\n"
		      "    connect = rfcomm:00:11:22:33:44:55/uuid:1105\n"
		      "    connect = l2cap:00:11:22:33:44:55/uuid:1105\n"
		      "\n"
		      "(no name)\n"
		      "    0x1124 Keyboard, Mouse\n"
		      "    L2CAP PSM 0x0011\n"
		      "    connect = l2cap:00:11:22:33:44:55/uuid:1124\n"
		      "\n"
		      "\"Mine\"\n"
		      "    8ce255c0-200a-11e0-ac64-0800200c9a66\n"
		      "    0x1203 Audio\n"
		      "    L2CAP PSM 0x1001\n"
		      "    connect = l2cap:00:11:22:33:44:55/"
		      "8ce255c0-200a-11e0-ac64-0800200c9a66\n"
		      "\n"
		      "(no name)\n"
		      "    0x1200 Device Information (PnP)\n"
		      "    neither RFCOMM nor L2CAP\n"
		      "\n"
		      "\"?[2Jno?\"\n"
		      "    RFCOMM channel 3\n"
		      "    connect = rfcomm:00:11:22:33:44:55/3\n"
		      "\n"
		      "\"    connect = exec:sh\"\n"
		      "    neither RFCOMM nor L2CAP\n");
}
END_TEST

/* Where a class would find another service, only the number tells them apart. */
START_TEST(test_same_class)
{
	struct sdp_service_found list[] = {
		make("a", RFCOMM, 1, "spp"),
		make("b", RFCOMM, 2, "1203 spp"),
		make("c", L2CAP, 0x1001, "spp"),
		make("d", RFCOMM, 3, "1105"),
		make("e", L2CAP, 0x1003, "1105"),
	};

	list[3].goep_psm = 0x1005;
	assert_prints(list, 5, service_list_print,
		      "\"a\"\n"
		      "    0x1101 Serial Port\n"
		      "    RFCOMM channel 1\n"
		      "    connect = rfcomm:00:11:22:33:44:55/1\n"
		      "\n"
		      "\"b\"\n"
		      "    0x1203 Audio\n"
		      "    0x1101 Serial Port\n"
		      "    RFCOMM channel 2\n"
		      "    connect = rfcomm:00:11:22:33:44:55/uuid:1203\n"
		      "\n"
		      "\"c\"\n"
		      "    0x1101 Serial Port\n"
		      "    L2CAP PSM 0x1001\n"
		      "    connect = l2cap:00:11:22:33:44:55/spp\n"
		      "\n"
		      "\"d\"\n"
		      "    0x1105 OBEX Object Push\n"
		      "    RFCOMM channel 3, or L2CAP PSM 0x1005\n"
		      "    connect = rfcomm:00:11:22:33:44:55/uuid:1105\n"
		      "    connect = l2cap:00:11:22:33:44:55/0x1005\n"
		      "\n"
		      "\"e\"\n"
		      "    0x1105 OBEX Object Push\n"
		      "    L2CAP PSM 0x1003\n"
		      "    connect = l2cap:00:11:22:33:44:55/0x1003\n");
}
END_TEST

START_TEST(test_json)
{
	struct sdp_service_found list[] = {
		make("Push \"it\"", RFCOMM, 12, "1105"),
		make("", L2CAP, 0x11, "1124"),
		make("\xff\x1b", OTHER, 0, ""),
	};

	list[0].goep_psm = 0x1005;
	assert_prints(
		list, 3, service_list_print_json,
		"[\n"
		"{\"name\": \"Push \\\"it\\\"\", \"uuids\": [\"0x1105\"], "
		"\"protocol\": \"rfcomm\", \"channel\": 12, \"psm\": 4101, "
		"\"endpoints\": [\"rfcomm:00:11:22:33:44:55/uuid:1105\", "
		"\"l2cap:00:11:22:33:44:55/uuid:1105\"]},\n"
		"{\"name\": null, \"uuids\": [\"0x1124\"], "
		"\"protocol\": \"l2cap\", \"psm\": 17, "
		"\"endpoints\": [\"l2cap:00:11:22:33:44:55/uuid:1124\"]},\n"
		"{\"name\": \"\\ufffd\\u001b\", \"uuids\": [], "
		"\"protocol\": null, \"endpoints\": []}\n"
		"]\n");
}
END_TEST

START_TEST(test_none)
{
	assert_prints(NULL, 0, service_list_print, "");
	assert_prints(NULL, 0, service_list_print_json, "[]\n");
}
END_TEST

/* Each line means what the record said. */
START_TEST(test_lines_parse)
{
	const struct sdp_service_found list[] = {
		make("", RFCOMM, 30, ""),
		make("", L2CAP, 0xfeff, ""),
		make("", RFCOMM, 7, "0003"),
		make("", L2CAP, 0x19, "00000000-0000-1000-8000-00805f9b34fc"),
	};
	struct address_endpoint endpoint;
	char *text = NULL, *line, *rest;
	size_t bytes, lines = 0;
	FILE *stream = open_memstream(&text, &bytes);

	service_list_print(stream, &device, list, 4);
	fclose(stream);
	for (line = strtok_r(text, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest)) {
		if (strncmp(line, "    connect = ", 14) != 0)
			continue;
		ck_assert_int_eq(address_endpoint_parse(line + 14,
							ENDPOINT_ROLE_CONNECT,
							&endpoint, NULL),
				 0);
		if (endpoint.kind == ENDPOINT_KIND_RFCOMM)
			ck_assert_uint_eq(endpoint.rfcomm.channel,
					  lines ? 0 : 30);
		else
			ck_assert_uint_eq(endpoint.l2cap.psm,
					  lines == 1 ? 0xfeff : 0);
		if (lines == 2)
			ck_assert(address_uuid_is_equal(
				&endpoint.rfcomm.service, &list[2].classes[0]));
		if (lines == 3)
			ck_assert(address_uuid_is_equal(&endpoint.l2cap.service,
							&list[3].classes[0]));
		address_endpoint_clear(&endpoint);
		lines++;
	}
	ck_assert_uint_eq(lines, 4);
	free(text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("service_list");
	TCase *tcase = tcase_create("service_list");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, test_text);
	tcase_add_test(tcase, test_same_class);
	tcase_add_test(tcase, test_json);
	tcase_add_test(tcase, test_none);
	tcase_add_test(tcase, test_lines_parse);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
