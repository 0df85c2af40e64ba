/* SPDX-License-Identifier: MIT */
/*
 * argv to a command. Knows names and options; each command is a file of its
 * own.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "log.h"
#include "text.h"

#define CONFIG_PATH "/etc/btgate/btgate.conf"

struct command {
	const char *name;
	const char *summary;
	const char *help;
	int (*run)(const struct command_options *options);
};

static const struct command commands[] = {
	{"run", "run the gateway in the foreground",
	 "Runs the routes of the configuration until SIGTERM or SIGINT, and\n"
	 "then delivers what is under way before it ends; a second signal "
	 "cuts\n"
	 "that short. Logs to stderr.\n",
	 command_run},
	{"check", "print the configuration as understood, or its errors",
	 "Prints the configuration as understood, defaults included, or every\n"
	 "error in it with file and line. Needs neither Bluetooth nor\n"
	 "privileges.\n",
	 command_check},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static const char options_help[] =
	"Options:\n"
	"  -c, --config FILE  the configuration (default " CONFIG_PATH ")\n"
	"  -v, --verbose      say more\n"
	"  -q, --quiet        say only what is wrong; twice: only errors\n"
	"  -h, --help         this help, or that of the command\n"
	"  -V, --version      the version\n";

static void print_help(FILE *stream)
{
	fprintf(stream,
		"Usage: btgate [OPTION]... COMMAND\n"
		"Bluetooth serial links to TCP sockets and serial ports.\n\n"
		"Commands:\n");
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		fprintf(stream, "  %-18s %s\n", commands[i].name,
			commands[i].summary);
	fprintf(stream,
		"\n%s\n"
		"Exit status: 0 success, 1 the work failed, 2 usage or "
		"configuration error.\n"
		"See btgate(8) and btgate.conf(5).\n",
		options_help);
}

static void print_command_help(const struct command *command)
{
	printf("Usage: btgate %s [OPTION]...\n%s\n%s", command->name,
	       command->help, options_help);
}

static const struct command *find_command(const char *name)
{
	const char *names[COMMAND_COUNT + 1] = {NULL};
	const char *suggestion;

	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (!strcmp(name, commands[i].name))
			return &commands[i];
		names[i] = commands[i].name;
	}
	suggestion = address_suggest(name, names);
	if (suggestion)
		fprintf(stderr,
			"btgate: unknown command '%s'; did you mean '%s'?\n",
			name, suggestion);
	else
		fprintf(stderr,
			"btgate: unknown command '%s'; 'btgate --help' lists "
			"them\n",
			name);
	return NULL;
}

static int usage_error(void)
{
	fprintf(stderr, "Try 'btgate --help'.\n");
	return COMMAND_STATUS_USAGE;
}

/* What the options say; -1 to go on, or the exit status. */
static int parse_options(int argc, char **argv, struct command_options *options,
			 bool *wants_help)
{
	static const struct option longs[] = {
		{"config", required_argument, NULL, 'c'},
		{"verbose", no_argument, NULL, 'v'},
		{"quiet", no_argument, NULL, 'q'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	int level = LOG_LEVEL_INFO, option;

	while ((option = getopt_long(argc, argv, "c:vqhV", longs, NULL)) >= 0) {
		switch (option) {
		case 'c':
			options->config_path = optarg;
			break;
		case 'v':
			level++;
			break;
		case 'q':
			level--;
			break;
		case 'h':
			*wants_help = true;
			break;
		case 'V':
			printf("btgate " BTGATE_VERSION "\n");
			return COMMAND_STATUS_OK;
		default:
			return usage_error();
		}
	}
	if (level < LOG_LEVEL_ERROR)
		level = LOG_LEVEL_ERROR;
	if (level > LOG_LEVEL_DEBUG)
		level = LOG_LEVEL_DEBUG;
	log_set_level((enum log_level)level);
	return -1;
}

/*
 * A socket of ours must not get the number of a standard stream that is
 * closed. Opened the wrong way round, so that using it is still an error.
 */
static void open_standard_streams(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDONLY);
		if (fd == STDIN_FILENO) {
			close(fd);
			fd = open("/dev/null", O_WRONLY);
		}
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	struct command_options options = {.config_path = CONFIG_PATH};
	const struct command *command;
	bool wants_help = false;
	int status;

	open_standard_streams();
	status = parse_options(argc, argv, &options, &wants_help);
	if (status >= 0)
		return status;
	if (optind == argc) {
		print_help(wants_help ? stdout : stderr);
		return wants_help ? COMMAND_STATUS_OK : COMMAND_STATUS_USAGE;
	}
	command = find_command(argv[optind]);
	if (!command)
		return COMMAND_STATUS_USAGE;
	if (wants_help) {
		print_command_help(command);
		return COMMAND_STATUS_OK;
	}
	if (optind + 1 < argc) {
		fprintf(stderr,
			"btgate %s: what is '%s'? This command takes "
			"options only.\n",
			command->name, argv[optind + 1]);
		return usage_error();
	}
	return command->run(&options);
}
