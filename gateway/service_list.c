/* SPDX-License-Identifier: MIT */
#include "service_list.h"

#include "address_endpoint.h"
#include "json.h"
#include "text.h"

/* The most ways to one service. */
#define ENDPOINTS_MAX 2

struct service_endpoints {
	char texts[ENDPOINTS_MAX][ADDRESS_ENDPOINT_TEXT_BYTES];
	size_t count;
};

/* Assigned numbers, service classes; those that people meet. */
static const struct {
	uint16_t uuid;
	const char *name;
} class_names[] = {
	{0x1000, "Service Discovery Server"},
	{0x1001, "Browse Group"},
	{0x1101, "Serial Port"},
	{0x1102, "LAN Access"},
	{0x1103, "Dialup Networking"},
	{0x1104, "IrMC Sync"},
	{0x1105, "OBEX Object Push"},
	{0x1106, "OBEX File Transfer"},
	{0x1108, "Headset"},
	{0x110a, "Audio Source"},
	{0x110b, "Audio Sink"},
	{0x110c, "Remote Control Target"},
	{0x110d, "Advanced Audio"},
	{0x110e, "Remote Control"},
	{0x110f, "Remote Control Controller"},
	{0x1112, "Headset Audio Gateway"},
	{0x1115, "Network User"},
	{0x1116, "Network Access Point"},
	{0x1117, "Group Network"},
	{0x111e, "Hands-Free"},
	{0x111f, "Hands-Free Audio Gateway"},
	{0x1124, "Keyboard, Mouse"},
	{0x112d, "SIM Access"},
	{0x112f, "Phone Book"},
	{0x1132, "Messages"},
	{0x1133, "Message Notification"},
	{0x1200, "Device Information (PnP)"},
	{0x1203, "Audio"},
	{0x1800, "Generic Access (GAP)"},
	{0x1801, "Generic Attribute (GATT)"},
};

/* NULL: nothing that is known here. */
static const char *class_name(const struct address_uuid *uuid)
{
	int value = address_uuid_short(uuid);

	for (size_t i = 0; i < sizeof(class_names) / sizeof(class_names[0]);
	     i++) {
		if (class_names[i].uuid == value)
			return class_names[i].name;
	}
	return NULL;
}

/* Its first class, if a look for that finds it by @protocol, and no other. */
static const struct address_uuid *find_class(
	const struct sdp_service_found *service,
	enum sdp_found_protocol protocol, const struct sdp_service_found *list,
	size_t count)
{
	const struct address_uuid *class = &service->classes[0];
	size_t found = 0;

	if (!service->class_count)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		if (sdp_service_port(&list[i], protocol) &&
		    sdp_service_has_class(&list[i], class))
			found++;
	}
	return found == 1 ? class : NULL;
}

static void add_endpoint(const struct address_endpoint *endpoint,
			 struct service_endpoints *out)
{
	address_endpoint_format(endpoint, ENDPOINT_ROLE_CONNECT,
				out->texts[out->count++]);
}

/* @class is NULL: by channel. */
static void add_rfcomm(const struct address_bluetooth *device, uint16_t channel,
		       const struct address_uuid *class,
		       struct service_endpoints *out)
{
	struct address_endpoint endpoint = {
		.kind = ENDPOINT_KIND_RFCOMM,
		.rfcomm = {.device = {.address = *device}},
	};

	if (class)
		endpoint.rfcomm.service = *class;
	else
		endpoint.rfcomm.channel = (uint8_t)channel;
	add_endpoint(&endpoint, out);
}

/* @class is NULL: by PSM. */
static void add_l2cap(const struct address_bluetooth *device, uint16_t psm,
		      const struct address_uuid *class,
		      struct service_endpoints *out)
{
	struct address_endpoint endpoint = {
		.kind = ENDPOINT_KIND_L2CAP,
		.l2cap = {.device = {.address = *device}},
	};

	if (class)
		endpoint.l2cap.service = *class;
	else
		endpoint.l2cap.psm = psm;
	add_endpoint(&endpoint, out);
}

static void make_endpoints(const struct address_bluetooth *device,
			   const struct sdp_service_found *service,
			   const struct sdp_service_found *list, size_t count,
			   struct service_endpoints *out)
{
	uint16_t channel = sdp_service_port(service, SDP_FOUND_PROTOCOL_RFCOMM);
	uint16_t psm = sdp_service_port(service, SDP_FOUND_PROTOCOL_L2CAP);

	out->count = 0;
	if (channel)
		add_rfcomm(device, channel,
			   find_class(service, SDP_FOUND_PROTOCOL_RFCOMM, list,
				      count),
			   out);
	if (psm)
		add_l2cap(device, psm,
			  find_class(service, SDP_FOUND_PROTOCOL_L2CAP, list,
				     count),
			  out);
}

/* ---- for people ------------------------------------------------------------ */

static void print_reached(FILE *stream, const struct sdp_service_found *service)
{
	switch (service->protocol) {
	case SDP_FOUND_PROTOCOL_OTHER:
		fprintf(stream, "    neither RFCOMM nor L2CAP\n");
		break;
	case SDP_FOUND_PROTOCOL_RFCOMM:
		fprintf(stream, "    RFCOMM channel %u", service->port);
		if (service->goep_psm)
			fprintf(stream, ", or L2CAP PSM 0x%04x",
				service->goep_psm);
		fprintf(stream, "\n");
		break;
	case SDP_FOUND_PROTOCOL_L2CAP:
		fprintf(stream, "    L2CAP PSM 0x%04x\n", service->port);
		break;
	}
}

static void print_service(FILE *stream, const struct sdp_service_found *service,
			  const struct service_endpoints *endpoints)
{
	char text[TEXT_QUOTED_BYTES], uuid[ADDRESS_UUID_TEXT_BYTES];

	/* In quotes, or a name like "    connect = ..." would be one of ours. */
	if (service->name[0])
		fprintf(stream, "\"%s\"\n",
			text_printable(service->name, text));
	else
		fprintf(stream, "(no name)\n");
	for (size_t i = 0; i < service->class_count; i++) {
		const char *name = class_name(&service->classes[i]);

		address_uuid_format(&service->classes[i], uuid);
		fprintf(stream, "    %s%s%s\n", uuid, name ? " " : "",
			name ? name : "");
	}
	print_reached(stream, service);
	for (size_t i = 0; i < endpoints->count; i++)
		fprintf(stream, "    connect = %s\n", endpoints->texts[i]);
}

void service_list_print(FILE *stream, const struct address_bluetooth *device,
			const struct sdp_service_found *list, size_t count)
{
	struct service_endpoints endpoints;

	for (size_t i = 0; i < count; i++) {
		make_endpoints(device, &list[i], list, count, &endpoints);
		if (i)
			fprintf(stream, "\n");
		print_service(stream, &list[i], &endpoints);
	}
}

/* ---- for programs ---------------------------------------------------------- */

static void print_json_uuids(FILE *stream,
			     const struct sdp_service_found *service)
{
	char uuid[ADDRESS_UUID_TEXT_BYTES];

	fprintf(stream, "\"uuids\": [");
	for (size_t i = 0; i < service->class_count; i++) {
		address_uuid_format(&service->classes[i], uuid);
		fprintf(stream, "%s\"%s\"", i ? ", " : "", uuid);
	}
	fprintf(stream, "]");
}

static void print_json_reached(FILE *stream,
			       const struct sdp_service_found *service)
{
	switch (service->protocol) {
	case SDP_FOUND_PROTOCOL_OTHER:
		fprintf(stream, "\"protocol\": null");
		break;
	case SDP_FOUND_PROTOCOL_RFCOMM:
		fprintf(stream, "\"protocol\": \"rfcomm\", \"channel\": %u",
			service->port);
		if (service->goep_psm)
			fprintf(stream, ", \"psm\": %u", service->goep_psm);
		break;
	case SDP_FOUND_PROTOCOL_L2CAP:
		fprintf(stream, "\"protocol\": \"l2cap\", \"psm\": %u",
			service->port);
		break;
	}
}

void service_list_print_json(FILE *stream,
			     const struct address_bluetooth *device,
			     const struct sdp_service_found *list, size_t count)
{
	struct service_endpoints endpoints;

	fprintf(stream, "[");
	for (size_t i = 0; i < count; i++) {
		make_endpoints(device, &list[i], list, count, &endpoints);
		fprintf(stream, "%s\n{\"name\": ", i ? "," : "");
		json_print_string(stream,
				  list[i].name[0] ? list[i].name : NULL);
		fprintf(stream, ", ");
		print_json_uuids(stream, &list[i]);
		fprintf(stream, ", ");
		print_json_reached(stream, &list[i]);
		fprintf(stream, ", \"endpoints\": [");
		for (size_t j = 0; j < endpoints.count; j++) {
			fprintf(stream, "%s", j ? ", " : "");
			json_print_string(stream, endpoints.texts[j]);
		}
		fprintf(stream, "]}");
	}
	fprintf(stream, "%s]\n", count ? "\n" : "");
}
