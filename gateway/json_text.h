/* SPDX-License-Identifier: MIT */
/*
 * Any text as a string of jansson's, which takes UTF-8 only.
 */
#ifndef BTGATE_JSON_TEXT_H
#define BTGATE_JSON_TEXT_H

#include <jansson.h>

/*
 * @text, which may be a stranger's, or cut within a character: where it is not
 * UTF-8 there is '?' for all that is not ASCII. NULL of it: null. NULL: out of
 * memory.
 */
json_t *json_text(const char *text);

#endif
