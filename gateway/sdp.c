/* SPDX-License-Identifier: MIT */
#include "sdp.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bluetooth/sdp.h>
#include <bluetooth/sdp_lib.h>

#include "error.h"
#include "text.h"

#define RFCOMM_CHANNEL_MAX 30
/* The Serial Port Profile's version, SPP 1.2. */
#define SERIAL_PORT_VERSION 0x0102
/* Of a service class that is the user's own, 1.0. */
#define OWN_VERSION 0x0100
/* IANA's MIBenum for UTF-8, as the language base attribute wants it. */
#define CHARSET_UTF8 106
#define LANGUAGE_ENGLISH 0x656e

int sdp_check_name(const char *name, struct error *error)
{
	const unsigned char *text = (const unsigned char *)name;
	size_t bytes;

	if (!name || !*name)
		return error_set(error, -EINVAL, "a service needs a name");
	if (strlen(name) > SDP_NAME_MAX_BYTES)
		return error_set(error, -EINVAL,
				 "the service name has more than %d bytes",
				 SDP_NAME_MAX_BYTES);
	for (; *text; text += bytes) {
		bytes = text_utf8_bytes((const char *)text);
		if (!bytes)
			return error_set(error, -EINVAL,
					 "the service name is not UTF-8");
		if (*text < 0x20 || *text == 0x7f)
			return error_set(error, -EINVAL,
					 "the service name has a control "
					 "character in it");
	}
	return 0;
}

static int check_service(const struct sdp_service *service, struct error *error)
{
	switch (service->protocol) {
	case SERVICE_PROTOCOL_RFCOMM:
		if (service->port < 1 || service->port > RFCOMM_CHANNEL_MAX)
			return error_set(error, -EINVAL,
					 "there is no RFCOMM channel %u: "
					 "they go from 1 to %d",
					 service->port, RFCOMM_CHANNEL_MAX);
		break;
	case SERVICE_PROTOCOL_L2CAP:
		/* Vol 3 part A, 4.2: odd, and bit 8 clear. */
		if ((service->port & 0x0101) != 0x0001)
			return error_set(
				error, -EINVAL,
				"there is no PSM 0x%04x: they are odd, "
				"with bit 8 clear",
				service->port);
		break;
	case SERVICE_PROTOCOL_NONE:
		return error_set(error, -EINVAL,
				 "no Bluetooth endpoint, no service record");
	}
	return sdp_check_name(service->name, error);
}

static sdp_data_t *new_uuid16(uint16_t uuid)
{
	return sdp_data_alloc(SDP_UUID16, &uuid);
}

static sdp_data_t *new_uint16(uint16_t value)
{
	return sdp_data_alloc(SDP_UINT16, &value);
}

static sdp_data_t *new_uuid(const struct address_uuid *uuid)
{
	int value = address_uuid_short(uuid);

	return value < 0 ? sdp_data_alloc(SDP_UUID128, uuid->octets)
			 : new_uuid16((uint16_t)value);
}

/* Takes the items, also on failure; a NULL among them is one. */
static sdp_data_t *new_sequence(sdp_data_t *const items[], size_t count)
{
	sdp_data_t *chain = NULL, *sequence = NULL;
	bool is_whole = true;

	for (size_t i = 0; i < count; i++)
		is_whole = is_whole && items[i];
	if (is_whole) {
		for (size_t i = 0; i < count; i++)
			chain = sdp_seq_append(chain, items[i]);
		sequence = sdp_data_alloc(SDP_SEQ8, chain);
	}
	for (size_t i = 0; !sequence && i < count; i++) {
		if (items[i])
			sdp_data_free(items[i]);
	}
	return sequence;
}

#define NEW_SEQUENCE(...)                                         \
	new_sequence((sdp_data_t *const[]){__VA_ARGS__},          \
		     sizeof((sdp_data_t *const[]){__VA_ARGS__}) / \
			     sizeof(sdp_data_t *))

/* ProtocolDescriptorList: how to get there, from the bottom up. */
static sdp_data_t *new_protocols(const struct sdp_service *service)
{
	uint8_t channel = (uint8_t)service->port;

	if (service->protocol == SERVICE_PROTOCOL_L2CAP)
		return NEW_SEQUENCE(NEW_SEQUENCE(new_uuid16(L2CAP_UUID),
						 new_uint16(service->port)));
	return NEW_SEQUENCE(NEW_SEQUENCE(new_uuid16(L2CAP_UUID)),
			    NEW_SEQUENCE(new_uuid16(RFCOMM_UUID),
					 sdp_data_alloc(SDP_UINT8, &channel)));
}

static void add_attribute(sdp_record_t *record, uint16_t id, sdp_data_t *value,
			  bool *is_whole)
{
	if (!value) {
		*is_whole = false;
	} else if (sdp_attr_add(record, id, value) < 0) {
		sdp_data_free(value);
		*is_whole = false;
	}
}

/*
 * A search matches a UUID anywhere in a record, and phones take the first
 * match (bluez src/sdpd-request.c; Android). So 0x1101 stands only in the
 * record of a serial port: a terminal that looks for one must not end up at
 * an application's own service. The browse group is what `sdptool browse`
 * asks for.
 */
static sdp_record_t *new_record(const struct sdp_service *service)
{
	const bool is_serial_port = address_uuid_short(&service->uuid) ==
				    SERIAL_PORT_SVCLASS_ID;
	sdp_record_t *record = sdp_record_alloc();
	bool is_whole = true;

	if (!record)
		return NULL;
	add_attribute(record, SDP_ATTR_SVCLASS_ID_LIST,
		      NEW_SEQUENCE(new_uuid(&service->uuid)), &is_whole);
	add_attribute(record, SDP_ATTR_PROTO_DESC_LIST, new_protocols(service),
		      &is_whole);
	add_attribute(record, SDP_ATTR_BROWSE_GRP_LIST,
		      NEW_SEQUENCE(new_uuid16(PUBLIC_BROWSE_GROUP)), &is_whole);
	add_attribute(record, SDP_ATTR_LANG_BASE_ATTR_ID_LIST,
		      NEW_SEQUENCE(new_uint16(LANGUAGE_ENGLISH),
				   new_uint16(CHARSET_UTF8),
				   new_uint16(SDP_PRIMARY_LANG_BASE)),
		      &is_whole);
	/*
	 * Never Serial Port beside another class: a search matches a UUID
	 * anywhere in a record, and phones take the first match.
	 */
	add_attribute(record, SDP_ATTR_PFILE_DESC_LIST,
		      NEW_SEQUENCE(NEW_SEQUENCE(
			      new_uuid(&service->uuid),
			      new_uint16(is_serial_port ? SERIAL_PORT_VERSION
							: OWN_VERSION))),
		      &is_whole);
	add_attribute(
		record, SDP_ATTR_SVCNAME_PRIMARY,
		sdp_data_alloc_with_length(SDP_TEXT_STR8, service->name,
					   (uint32_t)strlen(service->name)),
		&is_whole);
	if (!is_whole) {
		sdp_record_free(record);
		return NULL;
	}
	return record;
}

int sdp_record_build(const struct sdp_service *service, uint8_t **out,
		     size_t *out_bytes, struct error *error)
{
	int code = check_service(service, error);
	sdp_record_t *record;
	sdp_buf_t pdu;

	if (code < 0)
		return code;
	record = new_record(service);
	if (!record)
		return error_set(error, -ENOMEM, "out of memory");
	if (sdp_gen_record_pdu(record, &pdu) < 0) {
		code = error_set(error, -ENOMEM, "out of memory");
	} else {
		*out = pdu.data;
		*out_bytes = pdu.data_size;
	}
	sdp_record_free(record);
	return code;
}

static void print_text(FILE *out, const char *text, size_t bytes)
{
	for (const char *end = text + bytes; text < end; text++) {
		switch (*text) {
		case '&':
			fputs("&amp;", out);
			break;
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		default:
			putc(*text, out);
		}
	}
}

static void print_uuid128(FILE *out, const uint8_t octets[16])
{
	for (int i = 0; i < 16; i++)
		fprintf(out, "%s%02x",
			i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
			octets[i]);
}

/* The types that new_record uses, as bluez src/sdp-xml.c reads them. */
static void print_data(FILE *out, const sdp_data_t *data, int depth)
{
	for (; data; data = data->next) {
		fprintf(out, "%*s", 2 * depth, "");
		switch (data->dtd) {
		case SDP_UINT8:
			fprintf(out, "<uint8 value=\"0x%02x\"/>\n",
				data->val.uint8);
			break;
		case SDP_UINT16:
			fprintf(out, "<uint16 value=\"0x%04x\"/>\n",
				data->val.uint16);
			break;
		case SDP_UUID16:
			fprintf(out, "<uuid value=\"0x%04x\"/>\n",
				data->val.uuid.value.uuid16);
			break;
		case SDP_UUID128:
			fputs("<uuid value=\"", out);
			print_uuid128(out, data->val.uuid.value.uuid128.data);
			fputs("\"/>\n", out);
			break;
		case SDP_TEXT_STR8:
			fputs("<text value=\"", out);
			/* Without a NUL, libbluetooth 5.66. */
			print_text(out, data->val.str,
				   (size_t)data->unitSize - 1);
			fputs("\"/>\n", out);
			break;
		case SDP_SEQ8:
			fputs("<sequence>\n", out);
			print_data(out, data->val.dataseq, depth + 1);
			fprintf(out, "%*s</sequence>\n", 2 * depth, "");
			break;
		}
	}
}

static void print_attribute(void *value, void *arg)
{
	const sdp_data_t *data = value;
	sdp_data_t alone = *data;
	FILE *out = arg;

	alone.next = NULL;
	fprintf(out, "  <attribute id=\"0x%04x\">\n", data->attrId);
	print_data(out, &alone, 2);
	fputs("  </attribute>\n", out);
}

char *sdp_record_to_xml(const struct sdp_service *service, struct error *error)
{
	int code = check_service(service, error);
	sdp_record_t *record = NULL;
	char *text = NULL;
	bool is_whole;
	size_t bytes;
	FILE *out;

	if (code < 0) {
		errno = -code;
		return NULL;
	}
	record = new_record(service);
	if (!record)
		goto no_memory;
	out = open_memstream(&text, &bytes);
	if (!out)
		goto no_memory;
	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<record>\n", out);
	sdp_list_foreach(record->attrlist, print_attribute, out);
	fputs("</record>\n", out);
	is_whole = !ferror(out);
	/* glibc's fclose is content without memory for the text (2.36). */
	if (fclose(out) || !is_whole || !text)
		goto no_memory;
	sdp_record_free(record);
	return text;

no_memory:
	free(text);
	if (record)
		sdp_record_free(record);
	errno = -error_set(error, -ENOMEM, "out of memory");
	return NULL;
}
