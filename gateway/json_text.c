/* SPDX-License-Identifier: MIT */
#include "json_text.h"

#include <stdlib.h>
#include <string.h>

json_t *json_text(const char *text)
{
	char *copy;
	json_t *json = text ? json_string(text) : json_null();

	if (json)
		return json;
	copy = strdup(text);
	for (char *c = copy; c && *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	json = copy ? json_string(copy) : NULL;
	free(copy);
	return json;
}
