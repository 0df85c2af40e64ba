/* SPDX-License-Identifier: MIT */
#include "json.h"

#include <stdint.h>

#include "text.h"

/* The value of the UTF-8 sequence; only those of two bytes matter here. */
static unsigned int code_point(const char *text, size_t bytes)
{
	const unsigned char *byte = (const unsigned char *)text;

	if (bytes == 1)
		return byte[0];
	if (bytes == 2)
		return (byte[0] & 0x1fu) << 6 | (byte[1] & 0x3fu);
	return UINT16_MAX;
}

void json_print_string(FILE *stream, const char *text)
{
	if (!text) {
		fputs("null", stream);
		return;
	}
	putc('"', stream);
	while (*text) {
		size_t bytes = text_utf8_bytes(text);
		unsigned int code = code_point(text, bytes);

		if (!bytes) {
			fputs("\\ufffd", stream);
			bytes = 1;
		} else if (code == '"' || code == '\\') {
			fprintf(stream, "\\%c", (char)code);
		} else if (code < 0x20 || (code >= 0x7f && code < 0xa0)) {
			fprintf(stream, "\\u%04x", code);
		} else {
			fwrite(text, 1, bytes, stream);
		}
		text += bytes;
	}
	putc('"', stream);
}
