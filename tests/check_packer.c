/* SPDX-License-Identifier: MIT */
/*
 * Bytes in pieces to packets, and what waits in order, by tables and by chance.
 */
#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backlog.h"
#include "packer.h"

/* ---- packets ------------------------------------------------------------------ */

/* What went in, piece by piece, and what must come out: "|" separates. */
struct packing_case {
	struct endpoint_packing packing;
	const char *in;
	const char *out;
	const char *held;
};

#define UNTIL(c) .has_delimiter = true, .delimiter = (c)

static const struct packing_case cases[] = {
	/* whole, several in a piece, one in several pieces */
	{{UNTIL('\n')}, "one\n", "one\n", ""},
	{{UNTIL('\n')}, "one\ntwo\nthree\n", "one\n|two\n|three\n", ""},
	{{UNTIL('\n')}, "o|n|e|\n|two", "one\n", "two"},
	{{UNTIL('\n')},
	 "on|e\ntwo\nth|ree\nfour",
	 "one\n|two\n|three\n",
	 "four"},
	/* empty packets are packets */
	{{UNTIL('\n')}, "\n\n|\na\n", "\n|\n|\n|a\n", ""},
	/* only the delimiter counts */
	{{UNTIL('\r')}, "a\nb|\r\nc", "a\nb\r", "\nc"},
	/* a size */
	{{.bytes = 3}, "abc", "abc", ""},
	{{.bytes = 3}, "abcdefgh", "abc|def", "gh"},
	{{.bytes = 3}, "a|b|c|d", "abc", "d"},
	{{.bytes = 3}, "ab|cdefg|hi", "abc|def|ghi", ""},
	{{.bytes = 1}, "ab|c", "a|b|c", ""},
	/* both: the first that applies */
	{{UNTIL('\n'), .bytes = 4}, "ab\ncdefgh\n", "ab\n|cdef|gh\n", ""},
	{{UNTIL('\n'), .bytes = 4}, "abc\ndef", "abc\n", "def"},
	{{UNTIL('\n'), .bytes = 4}, "ab|cd|\n", "abcd|\n", ""},
	/* a gap alone holds everything until it is asked for */
	{{.gap_ms = 5}, "ab|cd|ef", "", "abcdef"},
	{{.gap_ms = 5, .bytes = 4}, "ab|cdef", "abcd", "ef"},
};

static void append(char *text, const char *separator, const uint8_t *data,
		   size_t bytes)
{
	if (*text)
		strcat(text, separator);
	strncat(text, (const char *)data, bytes);
}

START_TEST(packets_by_table)
{
	const struct packing_case *c = &cases[_i];
	char in[64], out[64] = "", held[64] = "", *save = NULL;
	struct packer packer;
	struct packet packet;

	ck_assert(packing_is_on(&c->packing));
	packer_init(&packer, &c->packing);
	strcpy(in, c->in);
	for (char *piece = strtok_r(in, "|", &save); piece;
	     piece = strtok_r(NULL, "|", &save)) {
		const uint8_t *data = (const uint8_t *)piece;
		size_t bytes = strlen(piece);

		while (packer_next(&packer, &data, &bytes, &packet) == 1)
			append(out, "|", packet.data, packet.bytes);
		ck_assert_uint_eq(bytes, 0);
	}
	ck_assert_str_eq(out, c->out);
	ck_assert_uint_eq(packer_held(&packer), strlen(c->held));
	if (packer_flush(&packer, &packet))
		append(held, "", packet.data, packet.bytes);
	ck_assert_str_eq(held, c->held);
	/* Given out, it is held no more. */
	ck_assert_uint_eq(packer_held(&packer), 0);
	ck_assert_int_eq(packer_flush(&packer, &packet), 0);
	ck_assert_ptr_null(packer.held);
}
END_TEST

START_TEST(no_packing_is_off)
{
	const struct endpoint_packing packing = {0};

	ck_assert(!packing_is_on(&packing));
}
END_TEST

/* NUL is a delimiter like any other, and a byte like any other. */
START_TEST(every_byte_is_a_delimiter)
{
	uint8_t all[256];

	for (int i = 0; i < 256; i++)
		all[i] = (uint8_t)i;
	for (int i = 0; i < 256; i++) {
		const struct endpoint_packing packing = {UNTIL((uint8_t)i)};
		const uint8_t *data = all;
		size_t bytes = sizeof(all);
		struct packer packer;
		struct packet packet;

		packer_init(&packer, &packing);
		ck_assert_int_eq(packer_next(&packer, &data, &bytes, &packet),
				 1);
		ck_assert_ptr_eq(packet.data, all);
		ck_assert_uint_eq(packet.bytes, (size_t)i + 1);
		ck_assert_int_eq(packer_next(&packer, &data, &bytes, &packet),
				 0);
		ck_assert_uint_eq(packer_held(&packer), 255 - (size_t)i);
		packer_clear(&packer);
	}
}
END_TEST

START_TEST(without_a_delimiter_in_sight)
{
	const struct endpoint_packing packing = {UNTIL('\n'), .gap_ms = 1};
	const size_t total = 3 * PACKER_BYTES_MAX + 1000;
	uint8_t *bytes = malloc(total);
	size_t left = total, seen = 0;
	struct packer packer;
	struct packet packet;

	memset(bytes, 'x', total);
	packer_init(&packer, &packing);
	while (left) {
		size_t piece = left < 7777 ? left : 7777;
		const uint8_t *data = bytes + total - left;

		left -= piece;
		while (packer_next(&packer, &data, &piece, &packet) == 1) {
			ck_assert_uint_eq(packet.bytes, PACKER_BYTES_MAX);
			seen += packet.bytes;
		}
		ck_assert_uint_lt(packer_held(&packer), PACKER_BYTES_MAX);
	}
	ck_assert_uint_eq(seen + packer_held(&packer), total);
	packer_clear(&packer);
	ck_assert_uint_eq(packer_held(&packer), 0);
	free(bytes);
}
END_TEST

/* The cuts depend on what comes, never on the pieces in which it comes. */
START_TEST(pieces_make_no_difference)
{
	enum {
		TOTAL = 4000
	};
	unsigned int seed = (unsigned int)_i;
	const struct endpoint_packing packing = {
		.has_delimiter = rand_r(&seed) % 4 != 0,
		.delimiter = (uint8_t)(rand_r(&seed) % 4),
		.bytes = (unsigned int)(1 + rand_r(&seed) % 100),
	};
	uint8_t in[TOTAL], out[TOTAL];
	size_t ends[2][TOTAL], counts[2] = {0};

	for (int i = 0; i < TOTAL; i++)
		in[i] = (uint8_t)(rand_r(&seed) % 40);
	for (int way = 0; way < 2; way++) {
		struct packer packer;
		struct packet packet;
		size_t at = 0, seen = 0;

		packer_init(&packer, &packing);
		while (at < TOTAL) {
			size_t piece = way ? (size_t)TOTAL
					   : 1 + (size_t)rand_r(&seed) % 150;
			const uint8_t *data = in + at;

			if (piece > TOTAL - at)
				piece = TOTAL - at;
			at += piece;
			while (packer_next(&packer, &data, &piece, &packet)) {
				memcpy(out + seen, packet.data, packet.bytes);
				seen += packet.bytes;
				ends[way][counts[way]++] = seen;
			}
		}
		if (packer_flush(&packer, &packet)) {
			memcpy(out + seen, packet.data, packet.bytes);
			seen += packet.bytes;
		}
		packer_clear(&packer);
		ck_assert_uint_eq(seen, TOTAL);
		ck_assert_mem_eq(in, out, TOTAL);
	}
	ck_assert_uint_eq(counts[0], counts[1]);
	ck_assert_mem_eq(ends[0], ends[1], counts[0] * sizeof(ends[0][0]));
}
END_TEST

/* ---- the backlog -------------------------------------------------------------- */

START_TEST(pieces_keep_their_lengths)
{
	struct backlog backlog = {.keeps_pieces = true};
	const uint8_t *data;

	ck_assert_uint_eq(backlog_first(&backlog, &data), 0);
	ck_assert_int_eq(backlog_add(&backlog, (const uint8_t *)"one", 3), 0);
	ck_assert_int_eq(backlog_add(&backlog, (const uint8_t *)"three", 5), 0);
	ck_assert_uint_eq(backlog.bytes, 8);
	ck_assert_uint_eq(backlog_first(&backlog, &data), 3);
	ck_assert_mem_eq(data, "one", 3);
	/* What is left of a piece is still one. */
	backlog_take(&backlog, 1);
	ck_assert_uint_eq(backlog_first(&backlog, &data), 2);
	ck_assert_mem_eq(data, "ne", 2);
	backlog_take(&backlog, 2);
	ck_assert_uint_eq(backlog_first(&backlog, &data), 5);
	ck_assert_mem_eq(data, "three", 5);
	backlog_take(&backlog, 5);
	ck_assert_uint_eq(backlog_first(&backlog, &data), 0);
	ck_assert_uint_eq(backlog.bytes, 0);
	ck_assert_ptr_null(backlog.memory);
	ck_assert(backlog.keeps_pieces);
}
END_TEST

START_TEST(bytes_run_together)
{
	struct backlog backlog = {0};
	const uint8_t *data;

	ck_assert_int_eq(backlog_add(&backlog, (const uint8_t *)"one", 3), 0);
	ck_assert_uint_eq(backlog.room, 3);
	ck_assert_int_eq(backlog_add(&backlog, (const uint8_t *)"two", 3), 0);
	backlog_take(&backlog, 2);
	ck_assert_uint_eq(backlog_first(&backlog, &data), 4);
	ck_assert_mem_eq(data, "etwo", 4);
	ck_assert_uint_eq(backlog_clear(&backlog), 4);
	ck_assert_uint_eq(backlog_clear(&backlog), 0);
}
END_TEST

/* Against a plain list of pieces; the memory stays near what is asked for. */
START_TEST(a_backlog_of_random_pieces)
{
	enum {
		PIECES = 400,
		BOUND = 100000
	};
	struct backlog backlog = {.keeps_pieces = _i % 2};
	size_t lengths[PIECES], in = 0, out = 0, wrong = 0;
	uint8_t put = 0, want = 0;
	unsigned int seed = (unsigned int)_i;
	uint8_t piece[3000];
	const uint8_t *data;

	while (out < PIECES) {
		size_t bytes = 1 +
			       (size_t)rand_r(&seed) %
				       (rand_r(&seed) % 3 ? 20 : sizeof(piece));
		size_t first;

		if (in < PIECES && rand_r(&seed) % 5 &&
		    backlog_cost(&backlog, bytes) <= BOUND) {
			for (size_t i = 0; i < bytes; i++)
				piece[i] = put++;
			ck_assert_int_eq(backlog_add(&backlog, piece, bytes),
					 0);
			ck_assert_uint_le(backlog.used, BOUND);
			ck_assert_uint_le(backlog.room, BOUND + 65536);
			lengths[in++] = bytes;
			continue;
		}
		first = backlog_first(&backlog, &data);
		if (!first) {
			ck_assert_uint_eq(in, out);
			continue;
		}
		if (backlog.keeps_pieces)
			ck_assert_uint_eq(first, lengths[out]);
		if (rand_r(&seed) % 2 && first > 1)
			first = 1 + (size_t)rand_r(&seed) % (first - 1);
		for (size_t i = 0; i < first; i++)
			wrong += data[i] != want++;
		backlog_take(&backlog, first);
		while (first) {
			size_t part = first < lengths[out] ? first
							   : lengths[out];

			lengths[out] -= part;
			first -= part;
			out += lengths[out] == 0;
		}
	}
	ck_assert_ptr_null(backlog.memory);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_eq(want, put);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("packer");
	TCase *tests = tcase_create("packer");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_loop_test(tests, packets_by_table, 0,
			    sizeof(cases) / sizeof(cases[0]));
	tcase_add_test(tests, no_packing_is_off);
	tcase_add_test(tests, every_byte_is_a_delimiter);
	tcase_add_test(tests, without_a_delimiter_in_sight);
	tcase_add_loop_test(tests, pieces_make_no_difference, 0, 50);
	tcase_add_test(tests, pieces_keep_their_lengths);
	tcase_add_test(tests, bytes_run_together);
	tcase_add_loop_test(tests, a_backlog_of_random_pieces, 0, 20);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
