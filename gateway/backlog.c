/* SPDX-License-Identifier: MIT */
#include "backlog.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* It doubles, but by no more than this: what is asked for is a bound, nearly. */
#define GROWTH_BYTES_MAX (64 * 1024)

/* The length that stands before each piece that is kept. */
typedef uint32_t piece_length;

static size_t length_bytes(const struct backlog *backlog)
{
	return backlog->keeps_pieces ? sizeof(piece_length) : 0;
}

size_t backlog_cost(const struct backlog *backlog, size_t bytes)
{
	return backlog->used + length_bytes(backlog) + bytes;
}

/* Make room behind what waits, so that @need bytes from the start on fit. */
static int backlog_grow(struct backlog *backlog, size_t need)
{
	const size_t room = backlog->room;
	const size_t more = room < GROWTH_BYTES_MAX ? room : GROWTH_BYTES_MAX;
	uint8_t *memory;

	if (backlog->start + need <= room)
		return 0;
	if (need <= room) {
		memmove(backlog->memory, backlog->memory + backlog->start,
			backlog->used);
		backlog->start = 0;
		return 0;
	}
	/* Exactly at first: mostly it is the rest of one read. */
	if (need < room + more)
		need = room + more;
	memory = malloc(need);
	if (!memory)
		return -ENOMEM;
	if (backlog->used)
		memcpy(memory, backlog->memory + backlog->start, backlog->used);
	free(backlog->memory);
	backlog->memory = memory;
	backlog->start = 0;
	backlog->room = (uint32_t)need;
	return 0;
}

int backlog_add(struct backlog *backlog, const uint8_t *data, size_t bytes)
{
	const piece_length length = (piece_length)bytes;
	uint8_t *end;
	int code = backlog_grow(backlog, backlog_cost(backlog, bytes));

	if (code)
		return code;
	end = backlog->memory + backlog->start + backlog->used;
	backlog->used = (uint32_t)backlog_cost(backlog, bytes);
	backlog->bytes += length;
	if (backlog->keeps_pieces) {
		memcpy(end, &length, sizeof(length));
		end += sizeof(length);
	}
	memcpy(end, data, bytes);
	return 0;
}

size_t backlog_first(const struct backlog *backlog, const uint8_t **data)
{
	piece_length length = 0;

	if (!backlog->used)
		return 0;
	*data = backlog->memory + backlog->start + length_bytes(backlog);
	if (!backlog->keeps_pieces)
		return backlog->used;
	memcpy(&length, backlog->memory + backlog->start, sizeof(length));
	return length;
}

void backlog_take(struct backlog *backlog, size_t bytes)
{
	const uint8_t *data;
	size_t first = backlog_first(backlog, &data);
	const piece_length left = (piece_length)(first - bytes);
	uint32_t gone = (uint32_t)bytes;

	assert(bytes <= first);
	backlog->bytes -= (uint32_t)bytes;
	if (left == 0)
		gone += (uint32_t)length_bytes(backlog);
	backlog->start += gone;
	backlog->used -= gone;
	if (!backlog->used)
		backlog_clear(backlog);
	else if (backlog->keeps_pieces && left)
		/* Over the end of what was taken. */
		memcpy(backlog->memory + backlog->start, &left, sizeof(left));
}

size_t backlog_clear(struct backlog *backlog)
{
	const size_t bytes = backlog->bytes;

	free(backlog->memory);
	*backlog = (struct backlog){.keeps_pieces = backlog->keeps_pieces};
	return bytes;
}
