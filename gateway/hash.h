/* SPDX-License-Identifier: MIT */
/*
 * A short number for bytes (FNV-1a, 64 bits): to tell them apart from others,
 * not from those that somebody chose to have the same.
 */
#ifndef BTGATE_HASH_H
#define BTGATE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* That of no bytes. */
#define HASH_START 0xcbf29ce484222325u

/* That of what @hash is of, and of @data behind it. */
uint64_t hash_add(uint64_t hash, const void *data, size_t bytes);

#endif
