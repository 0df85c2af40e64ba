/* SPDX-License-Identifier: MIT */
#include "trace_format.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "text.h"

/* ---- lines ------------------------------------------------------------------ */

#define HEX_COLUMNS 16
/* So many bytes of data at most stand on a line of text. */
#define TEXT_COLUMNS 256
/* Time, session and peer; a route's name has 64 bytes at most. */
#define HEAD_BYTES 512

static const char hex_digits[] = "0123456789abcdef";

/* What a stranger is called cannot forge a line, nor command a terminal. */
static void append_safe(char *line, size_t bytes, const char *text)
{
	for (; *text; text++) {
		unsigned char byte = (unsigned char)*text;

		text_append(line, bytes,
			    byte < ' ' || byte >= 0x7f ? "\\x%02x" : "%c",
			    byte);
	}
}

static void format_head(char *line, const char *route,
			const struct trace_event *event)
{
	time_t seconds = (time_t)(event->time_us / 1000000);
	struct tm local;

	localtime_r(&seconds, &local);
	strftime(line, HEAD_BYTES, "%Y-%m-%d %H:%M:%S", &local);
	text_append(line, HEAD_BYTES, ".%06u %s",
		    (unsigned int)(event->time_us % 1000000), route);
	if (event->kind == TRACE_KIND_MISSED)
		return;
	text_append(line, HEAD_BYTES, "/%u ", event->session);
	append_safe(line, HEAD_BYTES, event->peer);
}

static void put_line(const char *line, trace_put put, void *arg)
{
	put(line, strlen(line), arg);
	put("\n", 1, arg);
}

/* What it says, behind the session and the peer. */
static void append_note(char *line, size_t bytes,
			const struct trace_event *event)
{
	switch (event->kind) {
	case TRACE_KIND_DATA:
		text_append(line, bytes, " to %s, %zu byte%s",
			    event->is_from_client ? "target" : "client",
			    event->bytes, event->bytes == 1 ? "" : "s");
		return;
	case TRACE_KIND_STARTED:
		text_append(line, bytes, " connected to ");
		break;
	case TRACE_KIND_ENDED:
		text_append(line, bytes, " ended: ");
		break;
	case TRACE_KIND_MISSED:
		text_append(line, bytes,
			    " %llu pieces with %llu bytes are missing here: ",
			    (unsigned long long)event->missed_events,
			    (unsigned long long)event->missed_bytes);
		break;
	}
	append_safe(line, bytes, event->text);
}

/* All but data: one line. */
static void format_note(const char *route, const struct trace_event *event,
			trace_put put, void *arg)
{
	char line[2 * HEAD_BYTES];

	format_head(line, route, event);
	append_note(line, sizeof(line), event);
	put_line(line, put, arg);
}

/* "  0010  48 65 6c 6c 6f                                    |Hello|" */
static size_t format_hex_line(char *line, const uint8_t *data, size_t bytes,
			      size_t offset)
{
	char *end = line + sprintf(line, "  %04zx  ", offset);

	for (size_t i = 0; i < HEX_COLUMNS; i++) {
		*end++ = i < bytes ? hex_digits[data[i] >> 4] : ' ';
		*end++ = i < bytes ? hex_digits[data[i] & 15] : ' ';
		*end++ = ' ';
		if (i == HEX_COLUMNS / 2 - 1)
			*end++ = ' ';
	}
	*end++ = ' ';
	*end++ = '|';
	for (size_t i = 0; i < bytes; i++)
		*end++ = data[i] < ' ' || data[i] >= 0x7f ? '.' : (char)data[i];
	*end++ = '|';
	*end++ = '\n';
	return (size_t)(end - line);
}

static void format_hex(const char *route, const struct trace_event *event,
		       trace_put put, void *arg)
{
	char line[2 * HEAD_BYTES];

	format_head(line, route, event);
	append_note(line, sizeof(line), event);
	text_append(line, sizeof(line), ":");
	put_line(line, put, arg);
	for (size_t at = 0; at < event->bytes; at += HEX_COLUMNS) {
		size_t left = event->bytes - at;

		put(line,
		    format_hex_line(line, event->data + at,
				    left < HEX_COLUMNS ? left : HEX_COLUMNS,
				    at),
		    arg);
	}
}

/* As in C, so that each byte can be told. */
static char *escape(char *end, uint8_t byte)
{
	static const char plain[] = "\r\n\t\\", letters[] = "rnt\\";
	const char *found = byte ? strchr(plain, byte) : NULL;

	if (found) {
		*end++ = '\\';
		*end++ = letters[found - plain];
	} else if (byte < ' ' || byte >= 0x7f) {
		*end++ = '\\';
		*end++ = 'x';
		*end++ = hex_digits[byte >> 4];
		*end++ = hex_digits[byte & 15];
	} else {
		*end++ = (char)byte;
	}
	return end;
}

/* How much of @data goes on one line: to the end of the one that it has. */
static size_t text_line_bytes(const uint8_t *data, size_t bytes)
{
	size_t length = 0;

	while (length < bytes && length < TEXT_COLUMNS) {
		uint8_t byte = data[length++];
		bool is_end = byte == '\n' || byte == '\r';

		if (byte == '\r' && length < bytes && data[length] == '\n')
			continue;
		if (is_end)
			break;
	}
	return length;
}

static void format_text(const char *route, const struct trace_event *event,
			trace_put put, void *arg)
{
	char line[2 * HEAD_BYTES + 4 * TEXT_COLUMNS];
	size_t at = 0, head;

	format_head(line, route, event);
	text_append(line, sizeof(line),
		    " to %s: ", event->is_from_client ? "target" : "client");
	head = strlen(line);
	while (at < event->bytes) {
		size_t bytes = text_line_bytes(event->data + at,
					       event->bytes - at);
		char *end = line + head;

		for (size_t i = 0; i < bytes; i++)
			end = escape(end, event->data[at + i]);
		*end++ = '\n';
		put(line, (size_t)(end - line), arg);
		at += bytes;
	}
}

/* ---- pcapng ----------------------------------------------------------------- */

#define BLOCK_SECTION 0x0a0d0d0au
#define BLOCK_INTERFACE 1u
#define BLOCK_PACKET 6u
#define BYTE_ORDER_MAGIC 0x1a2b3c4du
/* In front of the data: which dissector, and what it cannot know (wireshark's
 * wsutil/exported_pdu_tlvs.h; https://www.tcpdump.org/linktypes.html). */
#define LINKTYPE_WIRESHARK_UPPER_PDU 252
#define TAG_DISSECTOR_NAME 12
#define TAG_COL_PROT_TEXT 33
#define TAG_P2P_DIRECTION 35
#define TAG_COL_INFO_TEXT 36 /* shown since Wireshark 4.2 */
#define OPTION_COMMENT 1
#define OPTION_EPB_FLAGS 2
#define OPTION_IF_NAME 2
#define OPTION_SHB_USERAPPL 4
#define FLAG_INBOUND 1u
#define FLAG_OUTBOUND 2u

/* What stands around a packet's data: small, and of a bounded size. */
struct block {
	uint8_t bytes[4 * HEAD_BYTES];
	size_t used;
};

static void block_add(struct block *block, const void *data, size_t bytes)
{
	size_t room = sizeof(block->bytes) - block->used;

	memcpy(block->bytes + block->used, data, bytes < room ? bytes : room);
	block->used += bytes < room ? bytes : room;
}

static void block_pad(struct block *block, size_t bytes)
{
	static const uint8_t zeros[4];

	block_add(block, zeros, (4 - bytes % 4) % 4);
}

/* In this machine's order, which the section's header tells. */
static void block_add_u16(struct block *block, uint16_t value)
{
	block_add(block, &value, sizeof(value));
}

static void block_add_u32(struct block *block, uint32_t value)
{
	block_add(block, &value, sizeof(value));
}

static void block_add_option(struct block *block, uint16_t code,
			     const void *value, size_t bytes)
{
	block_add_u16(block, code);
	block_add_u16(block, (uint16_t)bytes);
	block_add(block, value, bytes);
	block_pad(block, bytes);
}

/* Tags are in the network's order. */
static void block_add_tag(struct block *block, unsigned int tag,
			  const void *value, size_t bytes)
{
	size_t padded = (bytes + 3) / 4 * 4;
	const uint8_t head[] = {(uint8_t)(tag >> 8), (uint8_t)tag,
				(uint8_t)(padded >> 8), (uint8_t)padded};

	block_add(block, head, sizeof(head));
	block_add(block, value, bytes);
	block_pad(block, bytes);
}

/* The end of the options, and the block's size at its end and its start. */
static void block_put(struct block *block, trace_put put, void *arg)
{
	uint32_t bytes = (uint32_t)block->used + 8;

	block_add_u32(block, 0);
	block_add_u32(block, bytes);
	memcpy(block->bytes + 4, &bytes, sizeof(bytes));
	put(block->bytes, block->used, arg);
}

static void start_pcapng(const char *route, trace_put put, void *arg)
{
	static const char program[] = "btgate " BTGATE_VERSION;
	struct block block = {.used = 0};

	block_add_u32(&block, BLOCK_SECTION);
	block_add_u32(&block, 0);
	block_add_u32(&block, BYTE_ORDER_MAGIC);
	block_add_u16(&block, 1);
	block_add_u16(&block, 0);
	/* How long the section is going to be is not known. */
	block_add_u32(&block, UINT32_MAX);
	block_add_u32(&block, UINT32_MAX);
	block_add_option(&block, OPTION_SHB_USERAPPL, program, strlen(program));
	block_put(&block, put, arg);
	block.used = 0;
	block_add_u32(&block, BLOCK_INTERFACE);
	block_add_u32(&block, 0);
	block_add_u16(&block, LINKTYPE_WIRESHARK_UPPER_PDU);
	block_add_u16(&block, 0);
	block_add_u32(&block, 0); /* packets are not cut */
	block_add_option(&block, OPTION_IF_NAME, route, strlen(route));
	block_put(&block, put, arg);
}

/* What the list of packets shows beside the session. */
static void format_info(const struct trace_event *event, char *text)
{
	text[0] = '\0';
	append_safe(text, HEAD_BYTES, event->peer ? event->peer : "");
	append_note(text, HEAD_BYTES, event);
}

/* The tags; the column of the protocol shows which session it is. */
static void make_tags(struct block *tags, const char *route, const char *info,
		      const struct trace_event *event)
{
	static const char dissector[] = "data";
	const uint8_t direction[] = {0, 0, 0, event->is_from_client};
	char session[128];

	snprintf(session, sizeof(session),
		 event->kind == TRACE_KIND_MISSED ? "%s" : "%s/%u", route,
		 event->session);
	block_add_tag(tags, TAG_DISSECTOR_NAME, dissector, strlen(dissector));
	block_add_tag(tags, TAG_COL_PROT_TEXT, session, strlen(session));
	if (event->kind == TRACE_KIND_DATA)
		block_add_tag(tags, TAG_P2P_DIRECTION, direction,
			      sizeof(direction));
	block_add_tag(tags, TAG_COL_INFO_TEXT, info, strlen(info));
	block_add_u32(tags, 0);
}

static void format_pcapng(const char *route, const struct trace_event *event,
			  trace_put put, void *arg)
{
	const uint32_t flags = event->is_from_client ? FLAG_INBOUND
						     : FLAG_OUTBOUND;
	struct block head = {.used = 0}, tail = {.used = 0}, tags = {.used = 0};
	char info[HEAD_BYTES];
	uint32_t captured, total;

	format_info(event, info);
	make_tags(&tags, route, info, event);
	captured = (uint32_t)(tags.used + event->bytes);
	block_pad(&tail, event->bytes);
	/* What is no data is a packet without any, and stands out. */
	if (event->kind == TRACE_KIND_DATA)
		block_add_option(&tail, OPTION_EPB_FLAGS, &flags,
				 sizeof(flags));
	else
		block_add_option(&tail, OPTION_COMMENT, info, strlen(info));
	block_add_u32(&tail, 0);
	total = (uint32_t)(28 + tags.used + event->bytes + tail.used + 4);
	block_add_u32(&tail, total);
	block_add_u32(&head, BLOCK_PACKET);
	block_add_u32(&head, total);
	block_add_u32(&head, 0); /* the interface */
	block_add_u32(&head, (uint32_t)(event->time_us >> 32));
	block_add_u32(&head, (uint32_t)event->time_us);
	block_add_u32(&head, captured);
	block_add_u32(&head, captured);
	block_add(&head, tags.bytes, tags.used);
	put(head.bytes, head.used, arg);
	if (event->bytes)
		put(event->data, event->bytes, arg);
	put(tail.bytes, tail.used, arg);
}

/* ---- from outside ----------------------------------------------------------- */

void trace_format_start(enum trace_format format, const char *route,
			trace_put put, void *arg)
{
	if (format == TRACE_FORMAT_PCAPNG)
		start_pcapng(route, put, arg);
}

void trace_format_event(enum trace_format format, const char *route,
			const struct trace_event *event, trace_put put,
			void *arg)
{
	switch (format) {
	case TRACE_FORMAT_PCAPNG:
		format_pcapng(route, event, put, arg);
		return;
	case TRACE_FORMAT_HEX:
	case TRACE_FORMAT_TEXT:
		break;
	}
	if (event->kind != TRACE_KIND_DATA)
		format_note(route, event, put, arg);
	else if (format == TRACE_FORMAT_HEX)
		format_hex(route, event, put, arg);
	else
		format_text(route, event, put, arg);
}

static bool read_u32(int fd, off_t at, uint32_t *value)
{
	return pread(fd, value, sizeof(*value), at) == sizeof(*value);
}

/* The size of a block stands at its start as well as at its end. */
static bool ends_with_block(int fd, off_t size)
{
	uint32_t bytes, again;

	return read_u32(fd, size - 4, &bytes) && bytes >= 12 && bytes <= size &&
	       read_u32(fd, size - bytes + 4, &again) && again == bytes;
}

bool trace_format_can_follow(enum trace_format format, int fd, off_t size)
{
	uint32_t first = 0;
	bool is_pcapng = read_u32(fd, 0, &first) && first == BLOCK_SECTION;
	char last;

	if (is_pcapng || format == TRACE_FORMAT_PCAPNG)
		return is_pcapng && format == TRACE_FORMAT_PCAPNG &&
		       ends_with_block(fd, size);
	return pread(fd, &last, 1, size - 1) == 1 && last == '\n';
}
