/* SPDX-License-Identifier: MIT */
/*
 * Strings as JSON has them (RFC 8259, section 7), for what the commands print
 * with --json. Brackets and commas are written by whoever knows the shape.
 */
#ifndef BTGATE_JSON_H
#define BTGATE_JSON_H

#include <stdio.h>

/*
 * @text with its quotes; NULL: null. Bytes that are not UTF-8 become U+FFFD
 * one by one; what a terminal obeys is escaped, DEL and C1 included.
 */
void json_print_string(FILE *stream, const char *text);

#endif
