/* SPDX-License-Identifier: MIT */
/* reload: have the running gateway read its configuration again. */
#include "command.h"

#include <stdio.h>

#include "control_client.h"

int command_reload(const struct command_options *options)
{
	json_t *answer = control_client_do(options, "reload", NULL);
	const json_t *lines;

	if (!answer)
		return COMMAND_STATUS_FAILED;
	lines = json_object_get(answer, "lines");
	for (size_t i = 0; i < json_array_size(lines); i++)
		if (!options->is_quiet)
			printf("%s\n",
			       json_string_value(json_array_get(lines, i)));
	json_decref(answer);
	return COMMAND_STATUS_OK;
}
