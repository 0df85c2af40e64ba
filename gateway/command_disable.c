/* SPDX-License-Identifier: MIT */
/* disable: have the running gateway use a route no more. */
#include "command.h"

#include "control_client.h"

int command_disable(const struct command_options *options)
{
	json_t *answer = control_client_do(options, "disable",
					   options->arguments[0]);

	json_decref(answer);
	return answer ? COMMAND_STATUS_OK : COMMAND_STATUS_FAILED;
}
