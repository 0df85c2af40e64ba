/* SPDX-License-Identifier: MIT */
/*
 * What waits to be written to a stream: bytes in the order in which they came,
 * in one block of memory that is there only while something waits. Where pieces
 * are kept (records, packets) each keeps its length.
 *
 * Knows bytes; does not know streams, and sets no bound of its own.
 */
#ifndef BTGATE_BACKLOG_H
#define BTGATE_BACKLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed it is empty and keeps no pieces. */
struct backlog {
	uint8_t *memory;
	uint32_t start; /* where in the memory the first piece is */
	uint32_t used; /* from there on, lengths of pieces included */
	uint32_t room;
	uint32_t bytes : 31; /* that wait, without the lengths */
	bool keeps_pieces : 1;
};

/*
 * The memory that it needs with one more piece: what a bound must count, or
 * the lengths of a great many small pieces escape it.
 */
size_t backlog_cost(const struct backlog *backlog, size_t bytes);
/* Add a piece of one byte or more at the end. 0, or -ENOMEM: nothing added. */
int backlog_add(struct backlog *backlog, const uint8_t *data, size_t bytes);
/*
 * The first piece, or all that waits where pieces are not kept. Its size, 0
 * when nothing waits; the data is valid until the next change.
 */
size_t backlog_first(const struct backlog *backlog, const uint8_t **data);
/* Drop so many bytes of the first piece: what is left stays one piece. */
void backlog_take(struct backlog *backlog, size_t bytes);
/* Forget everything; returns how many bytes waited. */
size_t backlog_clear(struct backlog *backlog);

#endif
