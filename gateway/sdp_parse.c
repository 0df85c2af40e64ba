/* SPDX-License-Identifier: MIT */
#include "sdp_parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

/* Assigned numbers: universal attributes, protocols. */
#define ATTRIBUTE_HANDLE 0x0000
#define ATTRIBUTE_CLASSES 0x0001
#define ATTRIBUTE_PROTOCOLS 0x0004
#define ATTRIBUTE_LANGUAGES 0x0006
#define ATTRIBUTE_NAME 0x0100 /* where the primary language's texts begin */
#define ATTRIBUTE_GOEP_PSM 0x0200 /* in a record with OBEX */
#define PROTOCOL_RFCOMM 0x0003
#define PROTOCOL_OBEX 0x0008
#define PROTOCOL_L2CAP 0x0100

#define CHANNEL_MAX 30
/* Languages whose names are looked for. */
#define LANGUAGES_MAX 8

/* Vol 3 part B, 3.2: the upper five bits of an element's first byte. */
enum element_type {
	ELEMENT_TYPE_NIL = 0,
	ELEMENT_TYPE_UINT = 1,
	ELEMENT_TYPE_UUID = 3,
	ELEMENT_TYPE_TEXT = 4,
	ELEMENT_TYPE_SEQUENCE = 6,
	ELEMENT_TYPE_ALTERNATIVE = 7,
};

/* Bytes not read yet. */
struct span {
	const uint8_t *data;
	size_t bytes;
};

struct element {
	unsigned int type; /* also one that has no name here */
	struct span value;
};

static uint32_t read_big_endian(const uint8_t *data, size_t bytes)
{
	uint32_t value = 0;

	while (bytes--)
		value = value << 8 | *data++;
	return value;
}

/*
 * Take the next element off @rest; false at its end, or when the element is
 * longer than what is there. Its size follows from the first byte whatever
 * its type, so that those that mean nothing here are skipped.
 */
static bool read_element(struct span *rest, struct element *out)
{
	size_t head = 1, bytes;
	unsigned int size;

	if (!rest->bytes)
		return false;
	out->type = rest->data[0] >> 3;
	size = rest->data[0] & 7;
	if (size < 5) {
		bytes = (size_t)1 << size;
		if (out->type == ELEMENT_TYPE_NIL && size == 0)
			bytes = 0;
	} else {
		/* The length follows, in 1, 2 or 4 bytes. */
		head += (size_t)1 << (size - 5);
		if (rest->bytes < head)
			return false;
		bytes = read_big_endian(rest->data + 1, head - 1);
	}
	if (bytes > rest->bytes - head)
		return false;
	out->value = (struct span){rest->data + head, bytes};
	rest->data += head + bytes;
	rest->bytes -= head + bytes;
	return true;
}

static bool read_typed(struct span *rest, unsigned int type,
		       struct element *out)
{
	return read_element(rest, out) && out->type == type;
}

/* A uint16, or a uint8 where a device is sparing. */
static bool read_port(struct span *rest, uint16_t *out)
{
	struct element element;

	if (!read_typed(rest, ELEMENT_TYPE_UINT, &element) ||
	    element.value.bytes > 2)
		return false;
	*out = (uint16_t)read_big_endian(element.value.data,
					 element.value.bytes);
	return true;
}

static bool to_uuid(const struct element *element, struct address_uuid *out)
{
	const struct span *value = &element->value;

	if (element->type != ELEMENT_TYPE_UUID)
		return false;
	if (value->bytes == sizeof(out->octets))
		memcpy(out->octets, value->data, sizeof(out->octets));
	else if (value->bytes == 2 || value->bytes == 4)
		*out = address_uuid_from_short(
			read_big_endian(value->data, value->bytes));
	else
		return false;
	return true;
}

/* The first value of attribute @id in @record, up to where it breaks off. */
static bool find_attribute(struct span record, uint16_t id, unsigned int type,
			   struct span *out)
{
	struct element key, value;

	while (read_typed(&record, ELEMENT_TYPE_UINT, &key) &&
	       key.value.bytes == 2 && read_element(&record, &value)) {
		if (read_big_endian(key.value.data, 2) != id)
			continue;
		*out = value.value;
		return value.type == type;
	}
	return false;
}

/* ---- one attribute after the other -------------------------------------- */

static bool read_name(struct span record, uint16_t id, char *name)
{
	struct span text;
	size_t bytes;

	if (!find_attribute(record, id, ELEMENT_TYPE_TEXT, &text))
		return false;
	bytes = text.bytes;
	if (bytes >= SDP_FOUND_NAME_BYTES) {
		bytes = SDP_FOUND_NAME_BYTES - 1;
		/* Not in the middle of a UTF-8 sequence. */
		while (bytes && (text.data[bytes] & 0xc0) == 0x80)
			bytes--;
	}
	memcpy(name, text.data, bytes);
	name[bytes] = '\0';
	return *name != '\0';
}

/*
 * The primary language's texts are at 0x0100 (5.1.8), those of others where
 * the list says: language, encoding, base, and so on.
 */
static void find_name(struct span record, char *name)
{
	struct span list;
	struct element part;
	uint16_t base;

	if (read_name(record, ATTRIBUTE_NAME, name) ||
	    !find_attribute(record, ATTRIBUTE_LANGUAGES, ELEMENT_TYPE_SEQUENCE,
			    &list))
		return;
	for (size_t i = 0; i < LANGUAGES_MAX; i++) {
		if (!read_element(&list, &part) ||
		    !read_element(&list, &part) || !read_port(&list, &base) ||
		    read_name(record, base, name))
			return;
	}
}

static void find_classes(struct span record, struct sdp_service_found *found)
{
	struct span list;
	struct element element;

	if (!find_attribute(record, ATTRIBUTE_CLASSES, ELEMENT_TYPE_SEQUENCE,
			    &list))
		return;
	while (found->class_count < SDP_FOUND_UUIDS_MAX &&
	       read_element(&list, &element)) {
		if (to_uuid(&element, &found->classes[found->class_count]))
			found->class_count++;
	}
}

/* Vol 3 part A, 4.2: odd, and bit 8 clear. */
static bool is_psm(uint16_t psm)
{
	return (psm & 0x0101) == 0x0001;
}

/*
 * Protocols from the bottom up, each a sequence of its UUID and parameters.
 * With RFCOMM among them L2CAP's PSM is RFCOMM's own, never the service's.
 */
static void read_protocols(struct span list, struct sdp_service_found *found,
			   bool *has_obex)
{
	bool has_rfcomm = false;
	uint16_t channel = 0, psm = 0;
	struct element layer, id;
	struct address_uuid uuid;

	*has_obex = false;
	while (read_element(&list, &layer)) {
		if (layer.type != ELEMENT_TYPE_SEQUENCE ||
		    !read_element(&layer.value, &id) || !to_uuid(&id, &uuid))
			continue;
		switch (address_uuid_short(&uuid)) {
		case PROTOCOL_L2CAP:
			read_port(&layer.value, &psm);
			break;
		case PROTOCOL_RFCOMM:
			has_rfcomm = true;
			read_port(&layer.value, &channel);
			break;
		case PROTOCOL_OBEX:
			*has_obex = true;
			break;
		}
	}
	if (has_rfcomm && channel >= 1 && channel <= CHANNEL_MAX) {
		found->protocol = SDP_FOUND_PROTOCOL_RFCOMM;
		found->port = channel;
	} else if (!has_rfcomm && is_psm(psm)) {
		found->protocol = SDP_FOUND_PROTOCOL_L2CAP;
		found->port = psm;
	}
}

/* One way to get there, or alternative ones: then the first that is usable. */
static void find_protocols(struct span record, struct sdp_service_found *found)
{
	struct span list;
	struct element way;
	bool has_obex = false;

	if (find_attribute(record, ATTRIBUTE_PROTOCOLS, ELEMENT_TYPE_SEQUENCE,
			   &list)) {
		read_protocols(list, found, &has_obex);
	} else if (find_attribute(record, ATTRIBUTE_PROTOCOLS,
				  ELEMENT_TYPE_ALTERNATIVE, &list)) {
		while (found->protocol == SDP_FOUND_PROTOCOL_OTHER &&
		       read_typed(&list, ELEMENT_TYPE_SEQUENCE, &way))
			read_protocols(way.value, found, &has_obex);
	}
	/* The same number means other things in records of other profiles. */
	if (has_obex && found->protocol == SDP_FOUND_PROTOCOL_RFCOMM &&
	    find_attribute(record, ATTRIBUTE_GOEP_PSM, ELEMENT_TYPE_UINT,
			   &list) &&
	    list.bytes == 2 && is_psm((uint16_t)read_big_endian(list.data, 2)))
		found->goep_psm = (uint16_t)read_big_endian(list.data, 2);
}

static bool read_record(struct span record, struct sdp_service_found *found)
{
	struct span value;

	if (find_attribute(record, ATTRIBUTE_HANDLE, ELEMENT_TYPE_UINT,
			   &value) &&
	    value.bytes == 4)
		found->handle = read_big_endian(value.data, 4);
	find_name(record, found->name);
	find_classes(record, found);
	find_protocols(record, found);
	return found->name[0] || found->class_count ||
	       found->protocol != SDP_FOUND_PROTOCOL_OTHER;
}

/* ---- all of them ---------------------------------------------------------- */

/* The count of the records in @lists, or -EPROTO, -EMSGSIZE. */
static int count_records(struct span lists, struct error *error)
{
	struct element record;
	int count = 0;

	while (lists.bytes) {
		if (!read_typed(&lists, ELEMENT_TYPE_SEQUENCE, &record))
			return error_set(error, -EPROTO,
					 "the device's list of services cannot "
					 "be read: its record %d is cut short, "
					 "or is none",
					 count + 1);
		if (++count > SDP_FOUND_MAX)
			return error_set(error, -EMSGSIZE,
					 "the device says that it has more "
					 "than %d services",
					 SDP_FOUND_MAX);
	}
	return count;
}

int sdp_parse_records(const uint8_t *data, size_t bytes,
		      struct sdp_service_found **out, size_t *count,
		      struct error *error)
{
	struct span rest = {data, bytes};
	struct sdp_service_found *list;
	struct element lists, record;
	int records;

	if (!read_typed(&rest, ELEMENT_TYPE_SEQUENCE, &lists))
		return error_set(error, -EPROTO,
				 "the device's list of services cannot be "
				 "read: it is cut short, or is none");
	records = count_records(lists.value, error);
	if (records < 0)
		return records;
	*out = NULL;
	*count = 0;
	if (!records)
		return 0;
	list = calloc((size_t)records, sizeof(*list));
	if (!list)
		return error_set(error, -ENOMEM,
				 "no memory for the device's services");
	while (read_element(&lists.value, &record)) {
		if (read_record(record.value, &list[*count]))
			(*count)++;
		else
			memset(&list[*count], 0, sizeof(*list));
	}
	if (!*count) {
		free(list);
		list = NULL;
	}
	*out = list;
	return 0;
}

bool sdp_service_has_class(const struct sdp_service_found *service,
			   const struct address_uuid *uuid)
{
	for (size_t i = 0; i < service->class_count; i++) {
		if (address_uuid_is_equal(&service->classes[i], uuid))
			return true;
	}
	return false;
}

uint16_t sdp_service_port(const struct sdp_service_found *service,
			  enum sdp_found_protocol protocol)
{
	if (service->protocol == protocol)
		return service->port;
	return protocol == SDP_FOUND_PROTOCOL_L2CAP ? service->goep_psm : 0;
}
