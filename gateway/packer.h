/* SPDX-License-Identifier: MIT */
/*
 * Puts bytes that come in any pieces together into packets: up to and with a
 * delimiter, or up to a size, whichever comes first. What is short of either
 * is held until more comes, or until it is asked for: at the end, or after a
 * silence, whose time is the caller's to measure.
 *
 * Knows bytes; no clock, no stream. Holds at most one packet, and no memory
 * between packets.
 */
#ifndef BTGATE_PACKER_H
#define BTGATE_PACKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address_endpoint.h"

/* A packet that no delimiter and no size ends is sent as it is at this size. */
#define PACKER_BYTES_MAX 65536

struct packer {
	struct endpoint_packing packing;
	uint8_t *held; /* of the packet that is being put together */
	uint32_t held_bytes;
	uint32_t held_room;
	bool is_given; /* what is held was given out: it is done with */
};

struct packet {
	const uint8_t *data;
	size_t bytes;
};

/* Whether anything is to be put together at all. */
bool packing_is_on(const struct endpoint_packing *packing);

void packer_init(struct packer *packer, const struct endpoint_packing *packing);
/*
 * Move on through *@bytes at *@data. 1: @packet is complete, valid until the
 * next call, and more may follow; 0: all bytes are held; -ENOMEM: those that
 * are left at *@data could not be.
 */
int packer_next(struct packer *packer, const uint8_t **data, size_t *bytes,
		struct packet *packet);
/* As packer_next, for what is held, short as it is. 1, or 0: nothing is. */
int packer_flush(struct packer *packer, struct packet *packet);
/* How many bytes are held, and not given out. */
size_t packer_held(const struct packer *packer);
/* Forget what is held. */
void packer_clear(struct packer *packer);

#endif
