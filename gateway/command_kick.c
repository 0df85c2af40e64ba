/* SPDX-License-Identifier: MIT */
/* kick: end sessions of the running gateway. */
#include "command.h"

#include <stdio.h>

#include "control_client.h"

int command_kick(const struct command_options *options)
{
	json_t *answer = control_client_do(options, "kick",
					   options->arguments[0]);
	json_int_t count;

	if (!answer)
		return COMMAND_STATUS_FAILED;
	count = json_integer_value(json_object_get(answer, "count"));
	if (!options->is_quiet)
		printf("%lld session%s ended\n", (long long)count,
		       count == 1 ? "" : "s");
	json_decref(answer);
	return COMMAND_STATUS_OK;
}
