/* SPDX-License-Identifier: MIT */
/*
 * The commands of the program, one file command_NAME.c each. main.c reads argv
 * into the options; a command does its work and gives back the exit status.
 */
#ifndef BTGATE_COMMAND_H
#define BTGATE_COMMAND_H

#include <stdbool.h>

enum command_status {
	COMMAND_STATUS_OK = 0,
	COMMAND_STATUS_FAILED = 1, /* the work failed */
	COMMAND_STATUS_USAGE = 2, /* usage or configuration error */
};

/* What main.c read from argv; which of it a command takes is in its table. */
struct command_options {
	const char *config_path;
	char **arguments; /* behind the command's name */
	int argument_count;
	const char *adapter; /* -i: any, hciN, address; NULL: any */
	const char *security; /* -s; NULL: medium */
	const char *uuid; /* -u: service class to advertise; NULL: spp */
	const char *name; /* -n: service name to advertise; NULL: btgate */
	const char *timeout; /* -t: a duration; NULL: the command's default */
	const char *linger; /* --linger: a duration; NULL: 2 s */
	const char *period; /* --for: a duration; NULL: 2m */
	char *pin; /* --pin: wiped once it is read; NULL: none */
	const char *format; /* --format; NULL: hex */
	bool is_one_time_pin; /* --one-time-pin */
	bool is_confirmed; /* --confirm */
	bool is_once; /* -1 */
	bool is_json; /* --json */
	bool is_watched; /* --watch */
	bool needs_links; /* --links */
	bool is_quiet; /* -q, however often */
	bool is_kept_listening; /* -k */
	bool is_line; /* --line: the terminal's modes are left alone */
	bool is_raw; /* --raw: what is shown is left alone, too */
};

/* Run the gateway in the foreground until it is told to stop. */
int command_run(const struct command_options *options);

/*
 * Print the configuration as understood on stdout, or every error in it on
 * stderr. Opens nothing but that file and needs no privilege.
 */
int command_check(const struct command_options *options);

/*
 * What follows asks the running gateway (control_client.h). Print what it is
 * doing; OK only if all of its routes are up that are not disabled, and with
 * --links none of the links that they hold is away.
 */
int command_status(const struct command_options *options);
/* End the sessions of the argument: a session, a route or a peer. */
int command_kick(const struct command_options *options);
/* Stop the route that is the argument, or start it again. */
int command_disable(const struct command_options *options);
int command_enable(const struct command_options *options);
/* Have it read its configuration again; print what differs, or its errors. */
int command_reload(const struct command_options *options);
/* Have it log at the level that is the argument. */
int command_log_level(const struct command_options *options);

/*
 * Print what passes through the route that is the argument, from now on: in the
 * format that is given, or the gateway's lines of JSON.
 */
int command_trace(const struct command_options *options);

/*
 * Search for devices nearby for as long as the timeout says (12 s) or until
 * Ctrl-C, then print them with those that bluetoothd knows, sorted. Until then
 * nothing is written but to a terminal on stderr: a line that shows the latest.
 */
int command_scan(const struct command_options *options);

/*
 * Print what stands between this machine and a Bluetooth serial link, each
 * with its cure: COMMAND_STATUS_FAILED if there is a problem. Changes nothing.
 */
int command_doctor(const struct command_options *options);

/* Print the services of a device as endpoints ready to paste into a route. */
int command_services(const struct command_options *options);

/*
 * Let devices pair for a while (2m), and print each line by line as it does.
 * "Failed" where none did.
 */
int command_pair(const struct command_options *options);

/*
 * With a DEVICE: pair with it from this side, also if it is paired already.
 * "Failed" where it is not in the end.
 */
int command_pair_device(const struct command_options *options);

/*
 * netcat: join standard input and output to an endpoint. A signal that stops
 * either of these two ends the program, as the shell expects.
 */
int command_connect(const struct command_options *options);
/* netcat: wait for a client of an endpoint and join it to them. */
int command_listen(const struct command_options *options);

#endif
