/* SPDX-License-Identifier: MIT */
#include "packer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A line of text or a frame of a field bus fits without growing. */
#define HELD_BYTES_MIN 256

bool packing_is_on(const struct endpoint_packing *packing)
{
	return packing->has_delimiter || packing->gap_ms || packing->bytes;
}

void packer_init(struct packer *packer, const struct endpoint_packing *packing)
{
	*packer = (struct packer){.packing = *packing};
}

static size_t packet_bytes_max(const struct packer *packer)
{
	const uint32_t bytes = packer->packing.bytes;

	return bytes && bytes < PACKER_BYTES_MAX ? bytes : PACKER_BYTES_MAX;
}

/* How much of @data belongs to the packet at hand, and whether that ends it. */
static size_t packet_part(const struct packer *packer, const uint8_t *data,
			  size_t bytes, bool *is_end)
{
	const size_t left = packet_bytes_max(packer) - packer->held_bytes;
	const uint8_t *delimiter = NULL;

	*is_end = bytes >= left;
	if (bytes > left)
		bytes = left;
	if (packer->packing.has_delimiter)
		delimiter = memchr(data, packer->packing.delimiter, bytes);
	if (!delimiter)
		return bytes;
	*is_end = true;
	return (size_t)(delimiter - data) + 1;
}

static int packer_hold(struct packer *packer, const uint8_t *data, size_t bytes)
{
	const size_t need = packer->held_bytes + bytes;
	size_t room = packer->held_room ? packer->held_room : HELD_BYTES_MIN;
	uint8_t *held;

	while (room < need)
		room *= 2;
	if (room != packer->held_room) {
		held = realloc(packer->held, room);
		if (!held)
			return -ENOMEM;
		packer->held = held;
		packer->held_room = (uint32_t)room;
	}
	memcpy(packer->held + packer->held_bytes, data, bytes);
	packer->held_bytes = (uint32_t)need;
	return 0;
}

int packer_next(struct packer *packer, const uint8_t **data, size_t *bytes,
		struct packet *packet)
{
	bool is_end;
	size_t part;
	int code;

	if (packer->is_given)
		packer_clear(packer);
	if (!*bytes)
		return 0;
	part = packet_part(packer, *data, *bytes, &is_end);
	if (is_end && !packer->held_bytes) {
		*packet = (struct packet){*data, part};
	} else {
		code = packer_hold(packer, *data, part);
		if (code)
			return code;
	}
	*data += part;
	*bytes -= part;
	if (is_end && packer->held_bytes)
		packer_flush(packer, packet);
	return is_end;
}

int packer_flush(struct packer *packer, struct packet *packet)
{
	if (packer->is_given)
		packer_clear(packer);
	if (!packer->held_bytes)
		return 0;
	*packet = (struct packet){packer->held, packer->held_bytes};
	packer->is_given = true;
	return 1;
}

size_t packer_held(const struct packer *packer)
{
	return packer->is_given ? 0 : packer->held_bytes;
}

void packer_clear(struct packer *packer)
{
	const struct endpoint_packing packing = packer->packing;

	free(packer->held);
	packer_init(packer, &packing);
}
