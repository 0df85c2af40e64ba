/* SPDX-License-Identifier: MIT */
/* Service records: byte for byte, and the same record as XML. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "sdp.h"

static struct sdp_service make_service(enum service_protocol protocol,
				       uint16_t port, const char *uuid,
				       const char *name)
{
	struct sdp_service service = {
		.protocol = protocol,
		.port = port,
		.name = name,
	};

	ck_assert_int_eq(address_uuid_parse(uuid, &service.uuid, NULL), 0);
	return service;
}

#define CUSTOM_UUID "8ce255c0-200a-11e0-ac64-0800200c9a66"

/* Core spec, Vol 3 part B: elements are type and size, then the value. */
#define CLASS_SPP "\x09\x00\x01\x35\x03\x19\x11\x01"
#define CLASS_OBEX_PUSH "\x09\x00\x01\x35\x03\x19\x11\x05"
#define CLASS_CUSTOM               \
	"\x09\x00\x01\x35\x11\x1c" \
	"\x8c\xe2\x55\xc0\x20\x0a\x11\xe0\xac\x64\x08\x00\x20\x0c\x9a\x66"
#define RFCOMM_CHANNEL(channel)                                        \
	"\x09\x00\x04\x35\x0c\x35\x03\x19\x01\x00\x35\x05\x19\x00\x03" \
	"\x08" channel
#define L2CAP_PSM(psm) "\x09\x00\x04\x35\x08\x35\x06\x19\x01\x00\x09" psm
#define BROWSE_ROOT "\x09\x00\x05\x35\x03\x19\x10\x02"
#define ENGLISH_UTF8 "\x09\x00\x06\x35\x09\x09\x65\x6e\x09\x00\x6a\x09\x01\x00"
#define PROFILE_SPP_1_2 "\x09\x00\x09\x35\x08\x35\x06\x19\x11\x01\x09\x01\x02"
#define PROFILE_CUSTOM_1_0                                                 \
	"\x09\x00\x09\x35\x16\x35\x14\x1c"                                 \
	"\x8c\xe2\x55\xc0\x20\x0a\x11\xe0\xac\x64\x08\x00\x20\x0c\x9a\x66" \
	"\x09\x01\x00"
#define PROFILE_OBEX_PUSH_1_0 \
	"\x09\x00\x09\x35\x08\x35\x06\x19\x11\x05\x09\x01\x00"
#define NAME(length, text) "\x09\x01\x00\x25" length text

#define BYTES(...) .bytes = __VA_ARGS__, .count = sizeof(__VA_ARGS__) - 1

static const struct {
	enum service_protocol protocol;
	uint16_t port;
	const char *uuid;
	const char *name;
	const char *bytes;
	size_t count;
} tables[] = {
	{SERVICE_PROTOCOL_RFCOMM, 1, "spp", "gps",
	 BYTES("\x35\x44" CLASS_SPP RFCOMM_CHANNEL("\x01")
		       BROWSE_ROOT ENGLISH_UTF8 PROFILE_SPP_1_2 NAME("\x03",
								     "gps"))},
	{SERVICE_PROTOCOL_RFCOMM, 22, "0x1101", "Workshop console",
	 BYTES("\x35\x51" CLASS_SPP RFCOMM_CHANNEL("\x16")
		       BROWSE_ROOT ENGLISH_UTF8 PROFILE_SPP_1_2 NAME(
			       "\x10", "Workshop console"))},
	{SERVICE_PROTOCOL_RFCOMM, 30, "spp", "a<b>&\"\xc3\xbc\xe2\x82\xac",
	 BYTES("\x35\x4c" CLASS_SPP RFCOMM_CHANNEL("\x1e")
		       BROWSE_ROOT ENGLISH_UTF8 PROFILE_SPP_1_2 NAME(
			       "\x0b", "a<b>&\"\xc3\xbc\xe2\x82\xac"))},
	/* Only a serial port says 0x1101: a search matches it anywhere. */
	{SERVICE_PROTOCOL_RFCOMM, 5, CUSTOM_UUID, "app",
	 BYTES("\x35\x60" CLASS_CUSTOM RFCOMM_CHANNEL("\x05")
		       BROWSE_ROOT ENGLISH_UTF8 PROFILE_CUSTOM_1_0 NAME(
			       "\x03", "app"))},
	{SERVICE_PROTOCOL_RFCOMM, 9, "0x1105", "push",
	 BYTES("\x35\x45" CLASS_OBEX_PUSH RFCOMM_CHANNEL("\x09")
		       BROWSE_ROOT ENGLISH_UTF8 PROFILE_OBEX_PUSH_1_0 NAME(
			       "\x04", "push"))},
	{SERVICE_PROTOCOL_L2CAP, 0x1001, CUSTOM_UUID, "app",
	 BYTES("\x35\x5c" CLASS_CUSTOM L2CAP_PSM("\x10\x01")
		       BROWSE_ROOT ENGLISH_UTF8 PROFILE_CUSTOM_1_0 NAME(
			       "\x03", "app"))},
};

START_TEST(test_bytes)
{
	struct sdp_service service = make_service(tables[_i].protocol,
						  tables[_i].port,
						  tables[_i].uuid,
						  tables[_i].name);
	uint8_t *record = NULL;
	size_t bytes = 0;

	ck_assert_int_eq(sdp_record_build(&service, &record, &bytes, NULL), 0);
	ck_assert_uint_eq(bytes, tables[_i].count);
	ck_assert_mem_eq(record, tables[_i].bytes, bytes);
	free(record);
}
END_TEST

/* A name as long as it may be: the sequence's length takes two bytes. */
START_TEST(test_longest_name)
{
	char name[SDP_NAME_MAX_BYTES + 2];
	struct sdp_service service;
	uint8_t *record = NULL;
	size_t bytes = 0;

	memset(name, 'x', sizeof(name));
	name[SDP_NAME_MAX_BYTES] = '\0';
	service = make_service(SERVICE_PROTOCOL_RFCOMM, 1, "spp", name);
	ck_assert_int_eq(sdp_record_build(&service, &record, &bytes, NULL), 0);
	ck_assert_int_eq(record[0], 0x36);
	ck_assert_uint_eq(record[1] * 256u + record[2], bytes - 3);
	ck_assert_mem_eq(record + bytes - 256, "\xff", 1);
	ck_assert_mem_eq(record + bytes - 255, name, 255);
	free(record);
}
END_TEST

#define XML_HEAD "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<record>\n"
#define XML_CLASS(uuid)                      \
	"  <attribute id=\"0x0001\">\n"      \
	"    <sequence>\n"                   \
	"      <uuid value=\"" uuid "\"/>\n" \
	"    </sequence>\n"                  \
	"  </attribute>\n"
#define XML_RFCOMM(channel)                        \
	"  <attribute id=\"0x0004\">\n"            \
	"    <sequence>\n"                         \
	"      <sequence>\n"                       \
	"        <uuid value=\"0x0100\"/>\n"       \
	"      </sequence>\n"                      \
	"      <sequence>\n"                       \
	"        <uuid value=\"0x0003\"/>\n"       \
	"        <uint8 value=\"" channel "\"/>\n" \
	"      </sequence>\n"                      \
	"    </sequence>\n"                        \
	"  </attribute>\n"
#define XML_L2CAP(psm)                          \
	"  <attribute id=\"0x0004\">\n"         \
	"    <sequence>\n"                      \
	"      <sequence>\n"                    \
	"        <uuid value=\"0x0100\"/>\n"    \
	"        <uint16 value=\"" psm "\"/>\n" \
	"      </sequence>\n"                   \
	"    </sequence>\n"                     \
	"  </attribute>\n"
#define XML_BROWSE_AND_LANGUAGE              \
	"  <attribute id=\"0x0005\">\n"      \
	"    <sequence>\n"                   \
	"      <uuid value=\"0x1002\"/>\n"   \
	"    </sequence>\n"                  \
	"  </attribute>\n"                   \
	"  <attribute id=\"0x0006\">\n"      \
	"    <sequence>\n"                   \
	"      <uint16 value=\"0x656e\"/>\n" \
	"      <uint16 value=\"0x006a\"/>\n" \
	"      <uint16 value=\"0x0100\"/>\n" \
	"    </sequence>\n"                  \
	"  </attribute>\n"
#define XML_PROFILE(uuid, version)                  \
	"  <attribute id=\"0x0009\">\n"             \
	"    <sequence>\n"                          \
	"      <sequence>\n"                        \
	"        <uuid value=\"" uuid "\"/>\n"      \
	"        <uint16 value=\"" version "\"/>\n" \
	"      </sequence>\n"                       \
	"    </sequence>\n"                         \
	"  </attribute>\n"
#define XML_NAME_AND_TAIL(name)            \
	"  <attribute id=\"0x0100\">\n"    \
	"    <text value=\"" name "\"/>\n" \
	"  </attribute>\n"                 \
	"</record>\n"

static const struct {
	enum service_protocol protocol;
	uint16_t port;
	const char *uuid;
	const char *name;
	const char *xml;
} texts[] = {
	{SERVICE_PROTOCOL_RFCOMM, 22, "spp", "R&D <\"a\"> 'b' \xc3\xbc",
	 XML_HEAD XML_CLASS("0x1101") XML_RFCOMM("0x16")
		 XML_BROWSE_AND_LANGUAGE XML_PROFILE("0x1101", "0x0102")
			 XML_NAME_AND_TAIL(
				 "R&amp;D &lt;&quot;a&quot;&gt; 'b' \xc3\xbc")},
	{SERVICE_PROTOCOL_L2CAP, 0x1235, CUSTOM_UUID, "app",
	 XML_HEAD XML_CLASS(CUSTOM_UUID) XML_L2CAP("0x1235")
		 XML_BROWSE_AND_LANGUAGE XML_PROFILE(CUSTOM_UUID, "0x0100")
			 XML_NAME_AND_TAIL("app")},
};

START_TEST(test_xml)
{
	struct sdp_service service = make_service(texts[_i].protocol,
						  texts[_i].port,
						  texts[_i].uuid,
						  texts[_i].name);
	char *xml = sdp_record_to_xml(&service, NULL);

	ck_assert_ptr_nonnull(xml);
	ck_assert_str_eq(xml, texts[_i].xml);
	free(xml);
}
END_TEST

static const struct {
	enum service_protocol protocol;
	uint16_t port;
	const char *name;
	const char *words; /* in the error */
} wrong[] = {
	{SERVICE_PROTOCOL_NONE, 1, "x", "endpoint"},
	{SERVICE_PROTOCOL_RFCOMM, 0, "x", "channel 0"},
	{SERVICE_PROTOCOL_RFCOMM, 31, "x", "channel 31"},
	{SERVICE_PROTOCOL_L2CAP, 0, "x", "PSM 0x0000"},
	{SERVICE_PROTOCOL_L2CAP, 0x1002, "x", "PSM 0x1002"},
	{SERVICE_PROTOCOL_L2CAP, 0x1101, "x", "PSM 0x1101"},
	{SERVICE_PROTOCOL_RFCOMM, 1, NULL, "name"},
	{SERVICE_PROTOCOL_RFCOMM, 1, "", "name"},
	{SERVICE_PROTOCOL_RFCOMM, 1, "a\nb", "control"},
	{SERVICE_PROTOCOL_RFCOMM, 1, "a\x7f", "control"},
	{SERVICE_PROTOCOL_RFCOMM, 1, "\xff", "UTF-8"},
	{SERVICE_PROTOCOL_RFCOMM, 1, "\xc3", "UTF-8"},
	{SERVICE_PROTOCOL_RFCOMM, 1, "\xc0\xaf", "UTF-8"},
	{SERVICE_PROTOCOL_RFCOMM, 1, "\xe0\x9f\xbf", "UTF-8"},
	{SERVICE_PROTOCOL_RFCOMM, 1, "\xed\xa0\x80", "UTF-8"},
	{SERVICE_PROTOCOL_RFCOMM, 1, "\xf0\x8f\xbf\xbf", "UTF-8"},
	{SERVICE_PROTOCOL_RFCOMM, 1, "\xf4\x90\x80\x80", "UTF-8"},
	{SERVICE_PROTOCOL_RFCOMM, 1, "\xe2\x82", "UTF-8"},
};

START_TEST(test_wrong)
{
	struct sdp_service service = make_service(
		wrong[_i].protocol, wrong[_i].port, "spp", wrong[_i].name);
	struct error error = {""};
	uint8_t *record;
	size_t bytes;

	ck_assert_int_eq(sdp_record_build(&service, &record, &bytes, &error),
			 -EINVAL);
	ck_assert_ptr_nonnull(strstr(error.text, wrong[_i].words));
	errno = 0;
	ck_assert_ptr_null(sdp_record_to_xml(&service, &error));
	ck_assert_int_eq(errno, EINVAL);
}
END_TEST

START_TEST(test_name_too_long)
{
	char name[SDP_NAME_MAX_BYTES + 2];
	struct sdp_service service;
	uint8_t *record;
	size_t bytes;

	memset(name, 'x', sizeof(name));
	name[SDP_NAME_MAX_BYTES + 1] = '\0';
	service = make_service(SERVICE_PROTOCOL_RFCOMM, 1, "spp", name);
	ck_assert_int_eq(sdp_record_build(&service, &record, &bytes, NULL),
			 -EINVAL);
}
END_TEST

START_TEST(test_utf8_edges)
{
	/* U+0080, U+07FF, U+0800, U+D7FF, U+FFFF, U+10000, U+10FFFF */
	struct sdp_service service = make_service(
		SERVICE_PROTOCOL_RFCOMM, 1, "spp",
		"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xef\xbf\xbf"
		"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf");
	uint8_t *record = NULL;
	size_t bytes;

	ck_assert_int_eq(sdp_record_build(&service, &record, &bytes, NULL), 0);
	free(record);
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

int main(void)
{
	Suite *suite = suite_create("sdp");
	TCase *tcase = tcase_create("sdp");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tcase, test_bytes, 0, COUNT(tables));
	tcase_add_test(tcase, test_longest_name);
	tcase_add_loop_test(tcase, test_xml, 0, COUNT(texts));
	tcase_add_loop_test(tcase, test_wrong, 0, COUNT(wrong));
	tcase_add_test(tcase, test_name_too_long);
	tcase_add_test(tcase, test_utf8_edges);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
