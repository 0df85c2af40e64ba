/* SPDX-License-Identifier: MIT */
/* enable: have the running gateway use a route again. */
#include "command.h"

#include "control_client.h"

int command_enable(const struct command_options *options)
{
	json_t *answer = control_client_do(options, "enable",
					   options->arguments[0]);

	json_decref(answer);
	return answer ? COMMAND_STATUS_OK : COMMAND_STATUS_FAILED;
}
