/* SPDX-License-Identifier: MIT */
/* Service records as good, sloppy and hostile devices send them. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "sdp.h"
#include "sdp_parse.h"

static struct sdp_service_found *found;
static size_t found_count;
static struct error error;

static int parse(const void *data, size_t bytes)
{
	/* On the heap, so that ASan and valgrind see a byte too far. */
	uint8_t *copy = malloc(bytes ? bytes : 1);
	int code;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, data, bytes);
	free(found);
	found = NULL;
	found_count = 0;
	error.text[0] = '\0';
	code = sdp_parse_records(copy, bytes, &found, &found_count, &error);
	free(copy);
	return code;
}

static void teardown(void)
{
	free(found);
	found = NULL;
}

static int class_of(const struct sdp_service_found *service, size_t i)
{
	return address_uuid_short(&service->classes[i]);
}

/* ---- one record: what comes of its attributes ----------------------------- */

#define HANDLE(h) "\x09\x00\x00\x0a" h
#define CLASS_SPP "\x09\x00\x01\x35\x03\x19\x11\x01"
#define PROTOCOLS(length, list) "\x09\x00\x04\x35" length list
#define L2CAP "\x35\x03\x19\x01\x00"
#define L2CAP_PSM(psm) "\x35\x06\x19\x01\x00\x09" psm
#define RFCOMM(channel) "\x35\x05\x19\x00\x03\x08" channel
#define OBEX "\x35\x03\x19\x00\x08"
#define HIDP "\x35\x03\x19\x00\x11"
#define NAME(length, text) "\x09\x01\x00\x25" length text
#define GOEP_PSM(psm) "\x09\x02\x00\x09" psm

#define BYTES(...) .bytes = __VA_ARGS__, .count = sizeof(__VA_ARGS__) - 1
#define OTHER SDP_FOUND_PROTOCOL_OTHER

static const struct {
	const char *what;
	const char *bytes;
	size_t count;
	const char *name;
	enum sdp_found_protocol protocol;
	unsigned int port;
	unsigned int goep_psm;
} records[] = {
	{"a serial port", BYTES(PROTOCOLS("\x0c", L2CAP RFCOMM("\x16"))), "",
	 SDP_FOUND_PROTOCOL_RFCOMM, 22},
	{"channel 30", BYTES(PROTOCOLS("\x0c", L2CAP RFCOMM("\x1e"))), "",
	 SDP_FOUND_PROTOCOL_RFCOMM, 30},
	{"channel 31", BYTES(CLASS_SPP PROTOCOLS("\x0c", L2CAP RFCOMM("\x1f"))),
	 "", OTHER, 0},
	{"channel 0", BYTES(CLASS_SPP PROTOCOLS("\x0c", L2CAP RFCOMM("\x00"))),
	 "", OTHER, 0},
	{"channel 257 as a uint16",
	 BYTES(CLASS_SPP PROTOCOLS("\x0d",
				   L2CAP "\x35\x06\x19\x00\x03\x09\x01\x01")),
	 "", OTHER, 0},
	{"channel 5 as a uint16",
	 BYTES(CLASS_SPP PROTOCOLS("\x0d",
				   L2CAP "\x35\x06\x19\x00\x03\x09\x00\x05")),
	 "", SDP_FOUND_PROTOCOL_RFCOMM, 5},
	{"a channel that is a text",
	 BYTES(CLASS_SPP PROTOCOLS("\x0d",
				   L2CAP "\x35\x06\x19\x00\x03\x25\x01\x05")),
	 "", OTHER, 0},
	{"RFCOMM without a channel, over its own PSM",
	 BYTES(CLASS_SPP PROTOCOLS(
		 "\x0d", L2CAP_PSM("\x00\x03") "\x35\x03\x19\x00\x03")),
	 "", OTHER, 0},
	{"L2CAP", BYTES(PROTOCOLS("\x08", L2CAP_PSM("\x10\x01"))), "",
	 SDP_FOUND_PROTOCOL_L2CAP, 0x1001},
	{"HIDP above L2CAP",
	 BYTES(PROTOCOLS("\x0d", L2CAP_PSM("\x00\x11") HIDP)), "",
	 SDP_FOUND_PROTOCOL_L2CAP, 0x11},
	{"an even PSM",
	 BYTES(CLASS_SPP PROTOCOLS("\x08", L2CAP_PSM("\x10\x02"))), "", OTHER,
	 0},
	{"a PSM with bit 8 set",
	 BYTES(CLASS_SPP PROTOCOLS("\x08", L2CAP_PSM("\x11\x01"))), "", OTHER,
	 0},
	{"UUIDs of 32 and 128 bits",
	 BYTES(PROTOCOLS("\x1d",
			 "\x35\x05\x1a\x00\x00\x01\x00"
			 "\x35\x14\x1c\x00\x00\x00\x03\x00\x00\x10\x00"
			 "\x80\x00\x00\x80\x5f\x9b\x34\xfb\x08\x07\x00")),
	 "", SDP_FOUND_PROTOCOL_RFCOMM, 7},
	{"alternatives, the first of no use",
	 BYTES("\x09\x00\x04\x3d\x1c"
	       "\x35\x0c" L2CAP RFCOMM("\x40") "\x35\x0c" L2CAP RFCOMM("\x04")),
	 "", SDP_FOUND_PROTOCOL_RFCOMM, 4},
	{"a push service with a PSM",
	 BYTES(PROTOCOLS("\x11", L2CAP RFCOMM("\x0c") OBEX)
		       GOEP_PSM("\x10\x05")),
	 "", SDP_FOUND_PROTOCOL_RFCOMM, 12, 0x1005},
	{"the same attribute without OBEX",
	 BYTES(PROTOCOLS("\x0c", L2CAP RFCOMM("\x0c")) GOEP_PSM("\x10\x05")),
	 "", SDP_FOUND_PROTOCOL_RFCOMM, 12, 0},
	{"a name", BYTES(NAME("\x03", "gps")), "gps", OTHER, 0},
	{"a name of no length, and the NUL that some send",
	 BYTES(CLASS_SPP NAME("\x01", "\x00")), "", OTHER, 0},
	{"a name of the wrong type",
	 BYTES(CLASS_SPP "\x09\x01\x00\x35\x03\x25\x01x"), "", OTHER, 0},
	{"a name with a NUL in it", BYTES(NAME("\x05", "ab\0cd")), "ab", OTHER,
	 0},
	{"a name where the second language has it",
	 BYTES("\x09\x00\x06\x35\x12"
	       "\x09\x65\x6e\x09\x00\x6a\x09\x01\x00"
	       "\x09\x64\x65\x09\x00\x6a\x09\x01\x10"
	       "\x09\x01\x10\x25\x03xyz"),
	 "xyz", OTHER, 0},
	{"a language list that breaks off",
	 BYTES(CLASS_SPP "\x09\x00\x06\x35\x04\x09\x65\x6e\x09"
			 "\x09\x01\x10\x25\x03xyz"),
	 "", OTHER, 0},
	{"a record that breaks off behind its protocols",
	 BYTES(PROTOCOLS("\x0c", L2CAP RFCOMM("\x16")) "\x09\x01\x00\x25\x7f"
						       "x"),
	 "", SDP_FOUND_PROTOCOL_RFCOMM, 22},
	{"unknown types before the name",
	 BYTES("\x09\x00\xf0\xff\x00\x00\x00\x02hi\x09\x00\xf1\x00"
	       "\x09\x00\xf2\x45\x01/" NAME("\x03", "end")),
	 "end", OTHER, 0},
};

static int parse_record(const char *bytes, size_t count)
{
	uint8_t data[512] = {0x36, 0, 0, 0x36, 0, 0};

	ck_assert_uint_lt(count, sizeof(data) - 6);
	data[1] = (uint8_t)((count + 3) >> 8);
	data[2] = (uint8_t)(count + 3);
	data[4] = (uint8_t)(count >> 8);
	data[5] = (uint8_t)count;
	memcpy(data + 6, bytes, count);
	return parse(data, 6 + count);
}

START_TEST(test_record)
{
	ck_assert_int_eq(parse_record(records[_i].bytes, records[_i].count), 0);
	ck_assert_msg(found_count == 1, "%s: %zu records", records[_i].what,
		      found_count);
	ck_assert_str_eq(found->name, records[_i].name);
	ck_assert_msg(found->protocol == records[_i].protocol &&
			      found->port == records[_i].port,
		      "%s: protocol %d port %u", records[_i].what,
		      found->protocol, found->port);
	ck_assert_uint_eq(found->goep_psm, records[_i].goep_psm);
}
END_TEST

START_TEST(test_classes)
{
	static const char many[] =
		"\x09\x00\x01\x35\x1e\x19\x00\x01\x19\x00\x02\x19\x00\x03"
		"\x19\x00\x04\x19\x00\x05\x19\x00\x06\x19\x00\x07\x19\x00\x08"
		"\x19\x00\x09\x19\x00\x0a";
	static const char mixed[] =
		"\x09\x00\x01\x35\x1d\x1a\x00\x00\x11\x05\x08\x05\x25\x01x"
		"\x1c\x8c\xe2\x55\xc0\x20\x0a\x11\xe0\xac\x64\x08\x00\x20\x0c"
		"\x9a\x66\x19\x11";
	char text[ADDRESS_UUID_TEXT_BYTES];

	ck_assert_int_eq(parse_record(many, sizeof(many) - 1), 0);
	ck_assert_uint_eq(found->class_count, SDP_FOUND_UUIDS_MAX);
	ck_assert_int_eq(class_of(found, 0), 1);
	ck_assert_int_eq(class_of(found, 7), 8);

	/* What is no UUID is left out, and what breaks off ends it. */
	ck_assert_int_eq(parse_record(mixed, sizeof(mixed) - 1), 0);
	ck_assert_uint_eq(found->class_count, 2);
	ck_assert_int_eq(class_of(found, 0), 0x1105);
	address_uuid_format(&found->classes[1], text);
	ck_assert_str_eq(text, "8ce255c0-200a-11e0-ac64-0800200c9a66");
}
END_TEST

START_TEST(test_name_is_cut_between_characters)
{
	uint8_t record[300] = {0x36, 1, 0x29, 0x36, 1, 0x26,
			       0x09, 1, 0,    0x26, 1, 0x20};

	memset(record + 12, 'x', 288);
	memcpy(record + 12 + 253, "\xe2\x82\xac", 3);
	ck_assert_int_eq(parse(record, sizeof(record)), 0);
	ck_assert_uint_eq(found_count, 1);
	ck_assert_uint_eq(strlen(found->name), 253);
}
END_TEST

/* ---- several records -------------------------------------------------------- */

START_TEST(test_several)
{
	static const char lists[] =
		"\x35\x31"
		"\x35\x21" HANDLE("\x00\x01\x00\x01")
			CLASS_SPP PROTOCOLS("\x0c", L2CAP RFCOMM("\x01"))
		/* nothing in it, then none of the attributes */
		"\x35\x00"
		"\x35\x00"
		"\x35\x08" CLASS_SPP;

	ck_assert_int_eq(parse(lists, sizeof(lists) - 1), 0);
	ck_assert_uint_eq(found_count, 2);
	ck_assert_uint_eq(found[0].handle, 0x10001);
	ck_assert_uint_eq(found[0].port, 1);
	ck_assert_uint_eq(found[1].handle, 0);
	ck_assert_int_eq(class_of(&found[1], 0), 0x1101);
}
END_TEST

START_TEST(test_none)
{
	ck_assert_int_eq(parse("\x35\x00", 2), 0);
	ck_assert_ptr_null(found);
	ck_assert_uint_eq(found_count, 0);
	/* Records, but nothing in them. */
	ck_assert_int_eq(parse("\x35\x04\x35\x00\x35\x00", 6), 0);
	ck_assert_ptr_null(found);
	ck_assert_uint_eq(found_count, 0);
}
END_TEST

/* What this machine publishes is read as it was meant. */
START_TEST(test_own_record)
{
	struct sdp_service service = {
		.protocol = SERVICE_PROTOCOL_RFCOMM,
		.port = 22,
		.name = "Workshop console",
	};
	uint8_t *record, lists[256];
	size_t bytes;

	ck_assert_int_eq(address_uuid_parse("spp", &service.uuid, NULL), 0);
	ck_assert_int_eq(sdp_record_build(&service, &record, &bytes, NULL), 0);
	ck_assert_uint_lt(bytes, sizeof(lists) - 2);
	lists[0] = 0x35;
	lists[1] = (uint8_t)bytes;
	memcpy(lists + 2, record, bytes);
	free(record);
	ck_assert_int_eq(parse(lists, bytes + 2), 0);
	ck_assert_uint_eq(found_count, 1);
	ck_assert_str_eq(found->name, "Workshop console");
	ck_assert_int_eq(class_of(found, 0), 0x1101);
	ck_assert_int_eq(found->protocol, SDP_FOUND_PROTOCOL_RFCOMM);
	ck_assert_uint_eq(found->port, 22);
}
END_TEST

/* ---- what is no list -------------------------------------------------------- */

static const struct {
	const char *bytes;
	size_t count;
} broken[] = {
	{BYTES("")},
	{BYTES("\x35")},
	{BYTES("\x36\x00")},
	{BYTES("\x37\x00\x00\x00")},
	{BYTES("\x35\x01")},
	{BYTES("\x37\xff\xff\xff\xff\x35\x00")},
	{BYTES("\x08\x05")},
	{BYTES("\x3d\x00")}, /* an alternative */
	{BYTES("\x35\x01\x35")},
	{BYTES("\x35\x02\x35\x01")},
	{BYTES("\x35\x02\x35\x10" CLASS_SPP PROTOCOLS("\x0c",
						      L2CAP RFCOMM("\x16")))},
	{BYTES("\x35\x02\x08\x05")},
	{BYTES("\x35\x06\x35\x00\x37\xff\xff\xff\xff")},
};

START_TEST(test_broken)
{
	ck_assert_int_eq(parse(broken[_i].bytes, broken[_i].count), -EPROTO);
	ck_assert_ptr_nonnull(strstr(error.text, "cannot be read"));
	ck_assert_ptr_null(found);
}
END_TEST

/* Cut anywhere, a good answer is an error. */
START_TEST(test_cut)
{
	static const char lists[] = "\x35\x2b\x35\x29" HANDLE(
		"\x00\x01\x00\x01")
		CLASS_SPP PROTOCOLS("\x0c", L2CAP RFCOMM("\x01"))
			NAME("\x03", "gps");

	ck_assert_int_eq(parse(lists, sizeof(lists) - 1), 0);
	ck_assert_str_eq(found->name, "gps");
	for (size_t bytes = 0; bytes < sizeof(lists) - 1; bytes++)
		ck_assert_int_eq(parse(lists, bytes), -EPROTO);
}
END_TEST

START_TEST(test_absurd_count)
{
	static uint8_t lists[3 + 2 * (SDP_FOUND_MAX + 1)] = {0x36};

	for (size_t i = 3; i < sizeof(lists); i += 2)
		lists[i] = 0x35;
	lists[1] = (2 * SDP_FOUND_MAX) >> 8;
	lists[2] = (uint8_t)(2 * SDP_FOUND_MAX);
	ck_assert_int_eq(parse(lists, sizeof(lists) - 2), 0);
	lists[1] = (2 * (SDP_FOUND_MAX + 1)) >> 8;
	lists[2] = (uint8_t)(2 * (SDP_FOUND_MAX + 1));
	ck_assert_int_eq(parse(lists, sizeof(lists)), -EMSGSIZE);
	ck_assert_ptr_nonnull(strstr(error.text, "more than 512 services"));
}
END_TEST

/* Sequences in sequences, as many as there are bytes. */
START_TEST(test_deep)
{
	static uint8_t lists[30000];
	const size_t size = sizeof(lists);

	for (size_t i = 0; i + 3 <= size; i += 3) {
		lists[i] = 0x36;
		lists[i + 1] = (uint8_t)((size - i - 3) >> 8);
		lists[i + 2] = (uint8_t)(size - i - 3);
	}
	ck_assert_int_eq(parse(lists, size), 0);
	ck_assert_uint_eq(found_count, 0);
	/* The same as the value of the protocols. */
	memcpy(lists + 6, "\x09\x00\x04", 3);
	ck_assert_int_eq(parse(lists, size), 0);
	ck_assert_uint_eq(found_count, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sdp_parse");
	TCase *tcase;
	SRunner *runner;
	int failed;

	tcase = tcase_create("record");
	tcase_add_checked_fixture(tcase, NULL, teardown);
	tcase_add_loop_test(tcase, test_record, 0,
			    sizeof(records) / sizeof(records[0]));
	tcase_add_test(tcase, test_classes);
	tcase_add_test(tcase, test_name_is_cut_between_characters);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("records");
	tcase_add_checked_fixture(tcase, NULL, teardown);
	tcase_add_test(tcase, test_several);
	tcase_add_test(tcase, test_none);
	tcase_add_test(tcase, test_own_record);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("broken");
	tcase_add_checked_fixture(tcase, NULL, teardown);
	tcase_add_loop_test(tcase, test_broken, 0,
			    sizeof(broken) / sizeof(broken[0]));
	tcase_add_test(tcase, test_cut);
	tcase_add_test(tcase, test_absurd_count);
	tcase_add_test(tcase, test_deep);
	suite_add_tcase(suite, tcase);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
