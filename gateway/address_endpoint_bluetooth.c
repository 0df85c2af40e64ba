/* SPDX-License-Identifier: MIT */
/* The kinds over Bluetooth: rfcomm, l2cap. */
#include "address_endpoint_kind.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "address_ports.h"
#include "error.h"
#include "text.h"

/* Odd, bit 8 clear (Core spec, Vol 3 part A, 4.2). */
#define PSM_MAX 0xfeff
#define PSM_BITS_MASK 0x0101
#define PSM_BITS 0x0001
#define MTU_MIN 48 /* Vol 3 part A, 5.1 */
/*
 * HCI's Write Automatic Flush Timeout takes 0x0001 to 0x07ff slots of 0.625 ms
 * (Vol 4 part E, 7.3.30).
 */
#define FLUSH_TIMEOUT_MS_MAX 1279

#define UUID_PREFIX "uuid:"

/* ---- devices and their services -------------------------------------- */

/* Cut DEVICE off DEVICE/REST, in place; NULL if there is no slash. */
static char *cut_device(char *address)
{
	bool is_quoted = *address == '"';

	for (char *c = is_quoted ? address + 1 : address; *c; c++) {
		if (is_quoted && *c == '\\' && c[1]) {
			c++;
		} else if (is_quoted && *c == '"') {
			is_quoted = false;
		} else if (!is_quoted && *c == '/') {
			*c = '\0';
			return text_trim(c + 1);
		}
	}
	return NULL;
}

/* What is meant for the other role, or for the other side of the slash. */
static bool is_no_device(const char *text)
{
	return !text[strspn(text, "0123456789")] ||
	       strncasecmp(text, "0x", 2) == 0 || strcmp(text, "auto") == 0 ||
	       strcasecmp(text, "spp") == 0;
}

/* "DEVICE[/REST]"; @form is what to write instead, for the messages. */
static int parse_device(char *address, const char *form,
			struct address_device *device, char **rest,
			struct error *error)
{
	char quoted[TEXT_QUOTED_BYTES];

	*rest = cut_device(address);
	address = text_trim(address);
	text_printable(address, quoted);
	if (!*address)
		return error_set(error, -EINVAL,
				 "no device before the slash; write %s", form);
	if (is_no_device(address))
		return error_set(
			error, -EINVAL,
			"'%s' is no device; write %s, with its address "
			"or name (a name like that in double quotes)",
			quoted, form);
	if (*rest && !**rest)
		return error_set(error, -EINVAL,
				 "nothing after the slash behind '%s'; write "
				 "%s",
				 quoted, form);
	return address_device_parse(address, device, error);
}

static bool is_uuid(const char *text)
{
	struct address_uuid uuid;

	return strncmp(text, UUID_PREFIX, strlen(UUID_PREFIX)) == 0 ||
	       strchr(text, '-') || address_uuid_parse(text, &uuid, NULL) == 0;
}

static int parse_service(const char *text, struct address_uuid *out,
			 struct error *error)
{
	if (strncmp(text, UUID_PREFIX, strlen(UUID_PREFIX)) == 0)
		text += strlen(UUID_PREFIX);
	return address_uuid_parse(text, out, error);
}

/* In a form that is no number: "spp", "uuid:1203", or 36 characters. */
static void format_service(const struct address_uuid *uuid,
			   char text[ADDRESS_UUID_TEXT_BYTES])
{
	int value = address_uuid_short(uuid);

	if (value == 0x1101)
		strcpy(text, "spp");
	else if (value >= 0)
		snprintf(text, ADDRESS_UUID_TEXT_BYTES, UUID_PREFIX "%04x",
			 (unsigned int)value);
	else
		address_uuid_format(uuid, text);
}

/* "DEVICE/NUMBER", or "DEVICE/SERVICE" where there is no number. */
static void format_dialled(const struct address_device *device,
			   const char *number, const struct address_uuid *uuid,
			   char *text, size_t bytes)
{
	char name[ADDRESS_DEVICE_TEXT_BYTES];
	char service[ADDRESS_UUID_TEXT_BYTES];

	address_device_format(device, name);
	format_service(uuid, service);
	snprintf(text, bytes, "%s/%s", name, number ? number : service);
}

/* ---- rfcomm ---------------------------------------------------------- */

static int parse_channel(const char *text, const char *or_what,
			 struct endpoint_rfcomm *rfcomm, struct error *error)
{
	unsigned long long channel;
	char quoted[TEXT_QUOTED_BYTES];

	if (!text_parse_number(text, ADDRESS_CHANNEL_MAX, &channel) || !channel)
		return error_set(error, -EINVAL,
				 "'%s' is not an RFCOMM channel; write 1 to "
				 "%d, or %s",
				 text_printable(text, quoted),
				 ADDRESS_CHANNEL_MAX, or_what);
	rfcomm->channel = (uint8_t)channel;
	return 0;
}

static int parse_rfcomm_device(struct endpoint_rfcomm *rfcomm, char *address,
			       struct error *error)
{
	char *rest;
	int code = parse_device(address, address_endpoint_rfcomm.forms[1],
				&rfcomm->device, &rest, error);

	if (code < 0)
		return code;
	if (!rest)
		return parse_service("spp", &rfcomm->service, error);
	if (is_uuid(rest))
		return parse_service(rest, &rfcomm->service, error);
	return parse_channel(rest, "a service: spp or a UUID", rfcomm, error);
}

static int parse_rfcomm(struct address_endpoint *endpoint,
			enum endpoint_role role, char *address,
			struct error *error)
{
	if (role == ENDPOINT_ROLE_CONNECT)
		return parse_rfcomm_device(&endpoint->rfcomm, address, error);
	if (!address || strcmp(address, "auto") == 0)
		return 0;
	return parse_channel(address, "auto for the first free one",
			     &endpoint->rfcomm, error);
}

static void format_rfcomm(const struct address_endpoint *endpoint,
			  enum endpoint_role role, char *text, size_t bytes)
{
	const struct endpoint_rfcomm *rfcomm = &endpoint->rfcomm;
	char number[8];

	snprintf(number, sizeof(number), "%u", rfcomm->channel);
	if (role == ENDPOINT_ROLE_CONNECT)
		format_dialled(&rfcomm->device, rfcomm->channel ? number : NULL,
			       &rfcomm->service, text, bytes);
	else
		snprintf(text, bytes, "%s", rfcomm->channel ? number : "auto");
}

static void clear_rfcomm(struct address_endpoint *endpoint)
{
	address_device_clear(&endpoint->rfcomm.device);
}

static bool rfcomm_is_conflict(const struct address_endpoint *a,
			       enum endpoint_role a_role,
			       const struct address_adapter *a_adapter,
			       const struct address_endpoint *b,
			       enum endpoint_role b_role,
			       const struct address_adapter *b_adapter)
{
	return a_role == ENDPOINT_ROLE_LISTEN &&
	       b_role == ENDPOINT_ROLE_LISTEN && a->rfcomm.channel &&
	       a->rfcomm.channel == b->rfcomm.channel &&
	       address_adapter_is_overlap(a_adapter, b_adapter);
}

static uint32_t rfcomm_place(const struct address_endpoint *endpoint,
			     enum endpoint_role role)
{
	return role == ENDPOINT_ROLE_LISTEN ? endpoint->rfcomm.channel : 0;
}

/* clang-format off */
const struct address_endpoint_kind address_endpoint_rfcomm = {
	.name = "rfcomm",
	.roles = ROLE_BOTH,
	.needs = {ADDRESS_NEED_OPTIONAL, ADDRESS_NEED_REQUIRED},
	.is_bluetooth = true,
	.has_packing = true,
	/* The kernel's rfcomm_sock_setsockopt: EINVAL above it. */
	.security_max = SECURITY_LEVEL_HIGH,
	.forms = {"rfcomm:auto or rfcomm:CHANNEL (1 to 30)",
		  "rfcomm:DEVICE, rfcomm:DEVICE/CHANNEL or "
		  "rfcomm:DEVICE/SERVICE"},
	.parse = parse_rfcomm,
	.format = format_rfcomm,
	.clear = clear_rfcomm,
	.is_conflict = rfcomm_is_conflict,
	.place = rfcomm_place,
};
/* clang-format on */

/* ---- l2cap ----------------------------------------------------------- */

static const char *const mode_words[] = {
	[L2CAP_LINK_MODE_ERTM] = "ertm",
	[L2CAP_LINK_MODE_STREAMING] = "streaming",
	[L2CAP_LINK_MODE_BASIC] = "basic",
	NULL,
};

static bool parse_any_number(const char *text, unsigned long long max,
			     unsigned long long *out)
{
	unsigned long long value = 0;
	size_t digits;

	if (strncasecmp(text, "0x", 2) != 0)
		return text_parse_number(text, max, out);
	text += 2;
	digits = strspn(text, "0123456789abcdefABCDEF");
	if (!digits || digits > 8 || text[digits])
		return false;
	value = strtoull(text, NULL, 16);
	*out = value;
	return value <= max;
}

/* @psm is below the highest there is. */
static unsigned int next_psm(unsigned int psm)
{
	do
		psm++;
	while ((psm & PSM_BITS_MASK) != PSM_BITS);
	return psm;
}

static int parse_psm(const char *text, const char *or_what,
		     struct endpoint_l2cap *l2cap, struct error *error)
{
	unsigned long long psm = 0;
	char quoted[TEXT_QUOTED_BYTES];

	text_printable(text, quoted);
	if (!parse_any_number(text, PSM_MAX, &psm) || !psm)
		return error_set(error, -EINVAL,
				 "'%s' is not a PSM; write 0x0001 to 0x%04X "
				 "(or decimal), or %s",
				 quoted, PSM_MAX, or_what);
	if ((psm & PSM_BITS_MASK) != PSM_BITS)
		return error_set(error, -EINVAL,
				 "'%s' is not a PSM: those are odd, and bit 8 "
				 "(0x0100) is clear; the next one is 0x%04X",
				 quoted, next_psm((unsigned int)psm));
	l2cap->psm = (uint16_t)psm;
	return 0;
}

/*
 * 0x1203 could be a PSM as well as a service: a number is always the former,
 * and four hex digits without 0x are decimal, or nothing.
 */
static int parse_l2cap_device(struct endpoint_l2cap *l2cap, char *address,
			      struct error *error)
{
	const char *form = address_endpoint_l2cap.forms[1];
	char quoted[TEXT_QUOTED_BYTES];
	char *rest;
	int code;

	text_printable(address, quoted);
	code = parse_device(address, form, &l2cap->device, &rest, error);
	if (code < 0)
		return code;
	if (!rest)
		return error_set(error, -EINVAL,
				 "'%s' says the device only; write %s, like "
				 "l2cap:%s/0x1003",
				 quoted, form, quoted);
	if (strcasecmp(rest, "spp") == 0 || strchr(rest, '-') ||
	    strncmp(rest, UUID_PREFIX, strlen(UUID_PREFIX)) == 0)
		return parse_service(rest, &l2cap->service, error);
	return parse_psm(rest,
			 "a service: spp, uuid:1203, or a UUID's 36 "
			 "characters",
			 l2cap, error);
}

static int parse_l2cap(struct address_endpoint *endpoint,
		       enum endpoint_role role, char *address,
		       struct error *error)
{
	if (role == ENDPOINT_ROLE_CONNECT)
		return parse_l2cap_device(&endpoint->l2cap, address, error);
	if (!address || strcmp(address, "auto") == 0)
		return 0;
	return parse_psm(address, "auto for the first free one",
			 &endpoint->l2cap, error);
}

static void format_l2cap(const struct address_endpoint *endpoint,
			 enum endpoint_role role, char *text, size_t bytes)
{
	const struct endpoint_l2cap *l2cap = &endpoint->l2cap;
	char number[8];

	snprintf(number, sizeof(number), "0x%04x", l2cap->psm);
	if (role == ENDPOINT_ROLE_CONNECT)
		format_dialled(&l2cap->device, l2cap->psm ? number : NULL,
			       &l2cap->service, text, bytes);
	else
		snprintf(text, bytes, "%s", l2cap->psm ? number : "auto");
}

static void clear_l2cap(struct address_endpoint *endpoint)
{
	address_device_clear(&endpoint->l2cap.device);
}

static int parse_link_mode(struct address_endpoint *endpoint, const char *value,
			   struct error *error)
{
	int index = text_parse_word(value, mode_words, "a mode of l2cap",
				    error);

	if (index < 0)
		return index;
	endpoint->l2cap.mode = (enum l2cap_mode)index;
	return 0;
}

static bool format_link_mode(const struct address_endpoint *endpoint,
			     char *text, size_t bytes)
{
	snprintf(text, bytes, "%s", mode_words[endpoint->l2cap.mode]);
	return endpoint->l2cap.mode != L2CAP_LINK_MODE_ERTM;
}

static int parse_mtu(struct address_endpoint *endpoint, const char *value,
		     struct error *error)
{
	char quoted[TEXT_QUOTED_BYTES];
	unsigned long long mtu;

	if (!text_parse_number(value, UINT16_MAX, &mtu) || mtu < MTU_MIN)
		return error_set(error, -EINVAL,
				 "mtu '%s' is not a number of bytes, %d to %d",
				 text_printable(value, quoted), MTU_MIN,
				 UINT16_MAX);
	endpoint->l2cap.mtu = (uint16_t)mtu;
	return 0;
}

static bool format_mtu(const struct address_endpoint *endpoint, char *text,
		       size_t bytes)
{
	snprintf(text, bytes, "%u", endpoint->l2cap.mtu);
	return endpoint->l2cap.mtu;
}

static int parse_flush_timeout(struct address_endpoint *endpoint,
			       const char *value, struct error *error)
{
	char quoted[TEXT_QUOTED_BYTES];
	unsigned int ms = 0;
	int code = address_duration_parse(value, &ms, error);

	if (code < 0)
		return error_prefix(error, code, "flush-timeout");
	if (!ms || ms > FLUSH_TIMEOUT_MS_MAX)
		return error_set(error, -EINVAL,
				 "flush-timeout '%s' is not 1ms to %dms, which "
				 "is what an adapter can do; without it "
				 "nothing is dropped",
				 text_printable(value, quoted),
				 FLUSH_TIMEOUT_MS_MAX);
	endpoint->l2cap.flush_timeout_ms = ms;
	return 0;
}

static bool format_flush_timeout(const struct address_endpoint *endpoint,
				 char *text, size_t bytes)
{
	address_duration_format(endpoint->l2cap.flush_timeout_ms, text);
	return endpoint->l2cap.flush_timeout_ms;
}

static int parse_seqpacket(struct address_endpoint *endpoint, const char *value,
			   struct error *error)
{
	endpoint->l2cap.is_seqpacket = true;
	return 0;
}

static bool format_seqpacket(const struct address_endpoint *endpoint,
			     char *text, size_t bytes)
{
	return endpoint->l2cap.is_seqpacket;
}

static bool l2cap_has_records(const struct address_endpoint *endpoint)
{
	return endpoint->l2cap.is_seqpacket;
}

static int check_l2cap(const struct address_endpoint *endpoint,
		       enum endpoint_role role, struct error *error)
{
	if (!endpoint->l2cap.flush_timeout_ms ||
	    endpoint->l2cap.mode != L2CAP_LINK_MODE_ERTM)
		return 0;
	return error_set(error, -EINVAL,
			 "flush-timeout needs mode=streaming or mode=basic: "
			 "ertm would send again what was dropped");
}

static bool l2cap_is_conflict(const struct address_endpoint *a,
			      enum endpoint_role a_role,
			      const struct address_adapter *a_adapter,
			      const struct address_endpoint *b,
			      enum endpoint_role b_role,
			      const struct address_adapter *b_adapter)
{
	return a_role == ENDPOINT_ROLE_LISTEN &&
	       b_role == ENDPOINT_ROLE_LISTEN && a->l2cap.psm &&
	       a->l2cap.psm == b->l2cap.psm &&
	       address_adapter_is_overlap(a_adapter, b_adapter);
}

static uint32_t l2cap_place(const struct address_endpoint *endpoint,
			    enum endpoint_role role)
{
	return role == ENDPOINT_ROLE_LISTEN ? endpoint->l2cap.psm : 0;
}

/* clang-format off */
const struct address_endpoint_kind address_endpoint_l2cap = {
	.name = "l2cap",
	.roles = ROLE_BOTH,
	.needs = {ADDRESS_NEED_OPTIONAL, ADDRESS_NEED_REQUIRED},
	.is_bluetooth = true,
	.has_packing = true,
	.security_max = SECURITY_LEVEL_FIPS,
	.forms = {"l2cap:auto or l2cap:PSM",
		  "l2cap:DEVICE/PSM or l2cap:DEVICE/SERVICE"},
	.parse = parse_l2cap,
	.check = check_l2cap,
	.format = format_l2cap,
	.clear = clear_l2cap,
	.is_conflict = l2cap_is_conflict,
	.place = l2cap_place,
	.has_records = l2cap_has_records,
	.options = {
		{"mode", ROLE_BOTH, "basic", false, parse_link_mode,
		 format_link_mode},
		{"mtu", ROLE_BOTH, "1024", false, parse_mtu, format_mtu},
		{"flush-timeout", ROLE_BOTH, "100ms", false,
		 parse_flush_timeout, format_flush_timeout},
		{"seqpacket", ROLE_BOTH, NULL, false, parse_seqpacket,
		 format_seqpacket},
	},
};
/* clang-format on */
