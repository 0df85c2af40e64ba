/* SPDX-License-Identifier: MIT */
#include "hash.h"

uint64_t hash_add(uint64_t hash, const void *data, size_t bytes)
{
	const uint8_t *byte = data;

	while (bytes--)
		hash = (hash ^ *byte++) * 0x100000001b3u;
	return hash;
}
