/* SPDX-License-Identifier: MIT */
/*
 * The commands of the program, one file command_NAME.c each. main.c reads argv
 * into the options; a command does its work and gives back the exit status.
 */
#ifndef BTGATE_COMMAND_H
#define BTGATE_COMMAND_H

enum command_status {
	COMMAND_STATUS_OK = 0,
	COMMAND_STATUS_FAILED = 1, /* the work failed */
	COMMAND_STATUS_USAGE = 2, /* usage or configuration error */
};

struct command_options {
	const char *config_path;
};

/* Run the gateway in the foreground until it is told to stop. */
int command_run(const struct command_options *options);

/*
 * Print the configuration as understood on stdout, or every error in it on
 * stderr. Opens nothing but that file and needs no privilege.
 */
int command_check(const struct command_options *options);

#endif
