/* SPDX-License-Identifier: MIT */
/* log-level: have the running gateway say more, or less. */
#include "command.h"

#include "control_client.h"

int command_log_level(const struct command_options *options)
{
	json_t *answer = control_client_do(options, "log-level",
					   options->arguments[0]);

	json_decref(answer);
	return answer ? COMMAND_STATUS_OK : COMMAND_STATUS_FAILED;
}
