/* SPDX-License-Identifier: MIT */
/*
 * argv to a command and its options. Knows the names of both and which command
 * takes which; each command is a file of its own.
 */
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "log.h"
#include "metrics_server.h"
#include "text.h"

#define CONFIG_PATH "/etc/btgate/btgate.conf"

/* ---- the tables -------------------------------------------------------- */

enum option_index {
	OPTION_ADAPTER,
	OPTION_SECURITY,
	OPTION_UUID,
	OPTION_NAME,
	OPTION_TIMEOUT,
	OPTION_KEEP_OPEN,
	OPTION_LINGER,
	OPTION_LINE,
	OPTION_RAW,
	OPTION_FOR,
	OPTION_PIN,
	OPTION_ONE_TIME_PIN,
	OPTION_CONFIRM,
	OPTION_ONCE,
	OPTION_FORMAT,
	OPTION_JSON,
	OPTION_WATCH,
	OPTION_LINKS,
	OPTION_CONFIG,
	OPTION_VERBOSE,
	OPTION_QUIET,
	OPTION_HELP,
	OPTION_VERSION,
	OPTION_COUNT,
};

struct option_row {
	char letter; /* 0: none */
	const char *name;
	const char *value; /* what stands for its value; NULL: it has none */
	const char *help;
};

static const struct option_row option_rows[] = {
	[OPTION_ADAPTER] = {'i', "adapter", "ADAPTER",
			    "any, hciN or an adapter's address (default any)"},
	[OPTION_SECURITY] = {'s', "security", "LEVEL",
			     "low, medium, high or fips (default medium)"},
	[OPTION_UUID] = {'u', "uuid", "UUID",
			 "the service to advertise (default spp)"},
	[OPTION_NAME] = {'n', "name", "NAME",
			 "the name to advertise it by (default btgate)"},
	[OPTION_TIMEOUT] = {'t', "timeout", "TIME",
			    "give up after it, like 10s or 2m"},
	[OPTION_KEEP_OPEN] = {'k', "keep-open", NULL,
			      "when a client has left, wait for the next"},
	[OPTION_LINGER] =
		{0, "linger", "TIME",
		 "after the end of input, leave when nothing has come "
		 "for it (default 2s)"},
	[OPTION_LINE] = {0, "line", NULL,
			 "leave the terminal's modes alone: lines, echo, "
			 "Ctrl-C, Ctrl-D"},
	[OPTION_RAW] = {0, "raw", NULL,
			"show what comes without turning LF into CR LF"},
	[OPTION_FOR] = {0, "for", "TIME", "how long (default 2m, at most 1h)"},
	[OPTION_PIN] = {0, "pin", "PIN",
			"old devices: let in who knows it, and nobody else"},
	[OPTION_ONE_TIME_PIN] = {0, "one-time-pin", NULL,
				 "the same with a new PIN for each attempt, "
				 "which is shown before the device comes"},
	[OPTION_CONFIRM] = {0, "confirm", NULL,
			    "compare a number, or say yes, for each device"},
	[OPTION_ONCE] = {'1', "once", NULL, "end after the first device"},
	[OPTION_FORMAT] = {0, "format", "FORMAT",
			   "hex, text or pcapng (default hex)"},
	[OPTION_JSON] = {0, "json", NULL, "print JSON"},
	[OPTION_WATCH] = {0, "watch", NULL, "go on, once a second"},
	[OPTION_LINKS] = {0, "links", NULL,
			  "exit with 1 also while a held link is away"},
	[OPTION_CONFIG] = {'c', "config", "FILE",
			   "the configuration (default " CONFIG_PATH ")"},
	[OPTION_VERBOSE] = {'v', "verbose", NULL, "say more"},
	[OPTION_QUIET] = {'q', "quiet", NULL,
			  "say only what is wrong; twice: only errors"},
	[OPTION_HELP] = {'h', "help", NULL, "this help"},
	[OPTION_VERSION] = {'V', "version", NULL, "the version"},
};

#define BIT(option) (1u << (option))
/* Every command takes these. */
#define OPTIONS_COMMON                                                  \
	(BIT(OPTION_CONFIG) | BIT(OPTION_VERBOSE) | BIT(OPTION_QUIET) | \
	 BIT(OPTION_HELP) | BIT(OPTION_VERSION))

struct command {
	const char *name;
	/* The one that it must have; in brackets: may have; NULL: it has none */
	const char *argument;
	unsigned int options; /* bits; OPTIONS_COMMON come on top */
	const char *summary;
	const char *help;
	int (*run)(const struct command_options *options);
};

#define OPTIONS_NETCAT                                                   \
	(BIT(OPTION_ADAPTER) | BIT(OPTION_SECURITY) | BIT(OPTION_LINE) | \
	 BIT(OPTION_RAW))
#define NETCAT_TERMINAL_HELP                                               \
	"On a terminal every key is passed on as it is, without an echo; " \
	"Ctrl-] and\n"                                                     \
	"then q leaves, Ctrl-] ? tells more.\n"

static const struct command commands[] = {
	{"run", NULL, 0, "run the gateway in the foreground",
	 "Runs the routes of the configuration until SIGTERM or SIGINT, and\n"
	 "then delivers what is under way before it ends; a second signal "
	 "cuts\n"
	 "that short. SIGHUP has it read the configuration again. Logs to "
	 "stderr.\n",
	 command_run},
	{"check", NULL, 0,
	 "print the configuration as understood, or its errors",
	 "Prints the configuration as understood, defaults included, or every\n"
	 "error in it with file and line. Needs neither Bluetooth nor\n"
	 "privileges.\n",
	 command_check},
	{"doctor", NULL, BIT(OPTION_JSON),
	 "what stands in the way of a link, and what to do about it",
	 "Looks at the kernel, the adapters, rfkill, bluetoothd and the system "
	 "bus, and\n"
	 "at what each route of the configuration needs: free channels and "
	 "ports, paths,\n"
	 "paired devices, capabilities. Changes nothing. Exit status 1 if "
	 "there is a\n"
	 "problem; -q leaves out what is as it should be.\n",
	 command_doctor},
	{"status", NULL,
	 BIT(OPTION_JSON) | BIT(OPTION_WATCH) | BIT(OPTION_LINKS),
	 "what the running gateway is doing",
	 "Prints the routes of the running gateway and their sessions. Exits "
	 "with 0 if\n"
	 "all routes that are not disabled are up, and with 1 if not; with -q "
	 "it says\n"
	 "nothing else. --watch shows it anew each second until Ctrl-C. With "
	 "--links it\n"
	 "also exits with 1 while a link that a route holds (hold=) is away.\n",
	 command_status},
	{"kick", "WHOM", 0, "end sessions of the running gateway",
	 "Ends the sessions of WHOM: one as 'btgate status' has it "
	 "(console/3), all of a\n"
	 "route, or those of a peer, by its address. Who is kicked may come "
	 "again.\n",
	 command_kick},
	{"disable", "ROUTE", 0, "stop a route of the running gateway",
	 "Takes no more clients for ROUTE, ends its sessions in order, and "
	 "lets "
	 "go of its\n"
	 "port or path, until it is enabled or the gateway restarted.\n",
	 command_disable},
	{"enable", "ROUTE", 0, "start a disabled route again",
	 "Has the running gateway take clients for ROUTE again.\n",
	 command_enable},
	{"reload", NULL, 0, "have the gateway read its configuration again",
	 "Has the running gateway read its configuration again, and prints "
	 "what is\n"
	 "different now, or the errors: then nothing has changed.\n",
	 command_reload},
	{"log-level", "LEVEL", 0, "have the gateway log more, or less",
	 "Has the running gateway log at LEVEL: error, warning, info or "
	 "debug.\n",
	 command_log_level},
	{"trace", "ROUTE", BIT(OPTION_FORMAT) | BIT(OPTION_JSON),
	 "what passes through a route, live",
	 "Prints what passes through ROUTE of the running gateway, with its "
	 "time, session,\n"
	 "peer and direction, until Ctrl-C:\n"
	 "\n"
	 "  btgate trace gps\n"
	 "  btgate trace gps --format text | grep GPGGA\n"
	 "  btgate trace gps --format pcapng | wireshark -k -i -\n"
	 "\n"
	 "It never slows the sessions down: what is not read in time is left "
	 "out, and said.\n"
	 "'trace' in a route of the configuration keeps the same in files.\n",
	 command_trace},
	{"scan", NULL,
	 BIT(OPTION_ADAPTER) | BIT(OPTION_TIMEOUT) | BIT(OPTION_JSON),
	 "devices nearby and known: address, name, class, paired",
	 "Searches for devices nearby, for --timeout (12s) or until Ctrl-C, "
	 "and prints\n"
	 "them with those that this machine is paired with. Needs a "
	 "bluetoothd, and\n"
	 "changes nothing.\n",
	 command_scan},
	{"services", "DEVICE",
	 BIT(OPTION_ADAPTER) | BIT(OPTION_TIMEOUT) | BIT(OPTION_JSON),
	 "print what a device offers, as endpoints for a route",
	 "Asks DEVICE, an address or a name, which services it has, and\n"
	 "prints each with the line that reaches it from a route. Gives up\n"
	 "after --timeout, 15s, or 35s where it has to find a name first.\n",
	 command_services},
	{"pair", "[DEVICE]",
	 BIT(OPTION_ADAPTER) | BIT(OPTION_FOR) | BIT(OPTION_PIN) |
		 BIT(OPTION_ONE_TIME_PIN) | BIT(OPTION_CONFIRM) |
		 BIT(OPTION_ONCE) | BIT(OPTION_JSON),
	 "let devices pair for a while, or pair with DEVICE",
	 "Makes this machine discoverable and lets devices pair, for --for "
	 "(2m) or\n"
	 "until Ctrl-C, and prints each that does. Or, with DEVICE, an address "
	 "or a name,\n"
	 "finds it and pairs with it from this side; for that it has to be "
	 "ready to pair.\n"
	 "Nothing is asked on either way unless you say how:\n"
	 "\n"
	 "  btgate pair\n"
	 "  btgate pair -1 --confirm              # a number, on both sides\n"
	 "  btgate pair HC-05 --pin 1234          # what the device has built "
	 "in\n"
	 "\n"
	 "Needs a bluetoothd. Afterwards everything is as it was. Exit status "
	 "1 if\n"
	 "nothing was paired; DEVICE may have been paired before.\n",
	 command_pair},
	{"connect", "ENDPOINT",
	 OPTIONS_NETCAT | BIT(OPTION_TIMEOUT) | BIT(OPTION_LINGER),
	 "netcat: join this terminal to ENDPOINT",
	 "Connects to ENDPOINT, written as in a route, and joins standard "
	 "input and\n"
	 "output to it:\n"
	 "\n"
	 "  btgate connect rfcomm:00:11:22:33:44:55\n"
	 "  btgate connect rfcomm:HC-05/spp\n"
	 "  echo ATI | btgate connect rfcomm:HC-05\n"
	 "  btgate connect tcp:localhost:7000 <file >answer\n"
	 "\n" NETCAT_TERMINAL_HELP
	 "The end of input is passed on where the other end can be told, and "
	 "else\n"
	 "awaited for --linger. Gives up connecting after --timeout, 30s.\n",
	 command_connect},
	{"listen", "ENDPOINT",
	 OPTIONS_NETCAT | BIT(OPTION_UUID) | BIT(OPTION_NAME) |
		 BIT(OPTION_KEEP_OPEN),
	 "netcat: wait for a client and join it to this terminal",
	 "Listens on ENDPOINT, written as in a route, and joins standard input "
	 "and\n"
	 "output to the first client; further ones are refused while it is "
	 "there.\n"
	 "For Bluetooth the machine is made discoverable, the service "
	 "published, and\n"
	 "you are asked, at a terminal and for 2m, about phones that want to "
	 "pair:\n"
	 "\n"
	 "  btgate listen rfcomm\n"
	 "  btgate listen rfcomm:22 --name 'My terminal' >received\n"
	 "  btgate listen -k tcp:7000\n"
	 "\n" NETCAT_TERMINAL_HELP
	 "Ends when its client has left, or with -k waits for the next one. "
	 "The end\n"
	 "of input does not end it.\n",
	 command_listen},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

/* ---- help ---------------------------------------------------------------- */

static void print_options(unsigned int bits, FILE *stream)
{
	for (int i = 0; i < OPTION_COUNT; i++) {
		const struct option_row *row = &option_rows[i];
		char text[40], letter[5] = "    ";

		if (!(bits & BIT(i)))
			continue;
		if (row->letter)
			snprintf(letter, sizeof(letter), "-%c, ", row->letter);
		snprintf(text, sizeof(text), "%s--%s %s", letter, row->name,
			 row->value ? row->value : "");
		fprintf(stream, "  %-24s %s\n", text, row->help);
	}
}

static void print_help(FILE *stream)
{
	fprintf(stream,
		"Usage: btgate [OPTION]... COMMAND\n"
		"Bluetooth serial links to TCP sockets and serial ports.\n\n"
		"Commands:\n");
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		char text[40];

		snprintf(text, sizeof(text), "%s %s", commands[i].name,
			 commands[i].argument ? commands[i].argument : "");
		fprintf(stream, "  %-18s %s\n", text, commands[i].summary);
	}
	fprintf(stream, "\nOptions of all commands:\n");
	print_options(OPTIONS_COMMON, stream);
	fprintf(stream, "\n'btgate help COMMAND' tells more of one of them.\n"
			"Exit status: 0 success, 1 the work failed, 2 usage or "
			"configuration error.\n"
			"See btgate(8) and btgate.conf(5).\n");
}

static void print_command_help(const struct command *command)
{
	printf("Usage: btgate %s [OPTION]...%s%s\n%s\nOptions:\n",
	       command->name, command->argument ? " " : "",
	       command->argument ? command->argument : "", command->help);
	print_options(command->options | OPTIONS_COMMON, stdout);
}

/* ---- what is wrong --------------------------------------------------------- */

/* @command is NULL where none is known. */
static int usage_error(const struct command *command)
{
	if (command)
		fprintf(stderr, "Try 'btgate help %s'.\n", command->name);
	else
		fprintf(stderr, "Try 'btgate --help'.\n");
	return COMMAND_STATUS_USAGE;
}

static const struct command *find_command(const char *name)
{
	const char *names[COMMAND_COUNT + 1] = {NULL};
	const char *suggestion;
	char quoted[TEXT_QUOTED_BYTES];

	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (!strcmp(name, commands[i].name))
			return &commands[i];
		names[i] = commands[i].name;
	}
	suggestion = text_suggest_word(name, names);
	text_printable(name, quoted);
	if (suggestion)
		fprintf(stderr,
			"btgate: unknown command '%s'; did you mean '%s'?\n",
			quoted, suggestion);
	else
		fprintf(stderr,
			"btgate: unknown command '%s'; 'btgate --help' lists "
			"them\n",
			quoted);
	return NULL;
}

static void refuse_unknown_option(const char *text)
{
	const char *names[OPTION_COUNT + 1] = {NULL};
	const char *suggestion;
	char name[24], quoted[TEXT_QUOTED_BYTES];

	for (int i = 0; i < OPTION_COUNT; i++)
		names[i] = option_rows[i].name;
	snprintf(name, sizeof(name), "%s", text + strspn(text, "-"));
	name[strcspn(name, "=")] = '\0';
	suggestion = text_suggest_word(name, names);
	fprintf(stderr, "btgate: unknown option '%s'",
		text_printable(text, quoted));
	if (suggestion)
		fprintf(stderr, "; did you mean '--%s'?", suggestion);
	fprintf(stderr, "\n");
}

/* "-k (--keep-open)" */
static void print_option_name(int index)
{
	const struct option_row *row = &option_rows[index];

	if (row->letter)
		fprintf(stderr, "-%c (--%s)", row->letter, row->name);
	else
		fprintf(stderr, "--%s", row->name);
}

/* 0, or that of a usage error: an option that the command does not take. */
static int check_options(const struct command *command, unsigned int given)
{
	unsigned int bad = given & ~(command->options | OPTIONS_COMMON);

	for (int i = 0; i < OPTION_COUNT; i++) {
		if (!(bad & BIT(i)))
			continue;
		fprintf(stderr, "btgate %s: takes no option ", command->name);
		print_option_name(i);
		for (size_t j = 0, count = 0; j < COMMAND_COUNT; j++)
			if (commands[j].options & BIT(i))
				fprintf(stderr, "%s%s",
					count++ ? ", " : "; it is for ",
					commands[j].name);
		fprintf(stderr, "\n");
	}
	return bad ? usage_error(command) : 0;
}

static int check_arguments(const struct command *command,
			   const struct command_options *options)
{
	int wanted = command->argument ? 1 : 0;
	bool is_optional = wanted && *command->argument == '[';
	char quoted[TEXT_QUOTED_BYTES];

	if (options->argument_count < wanted && !is_optional)
		fprintf(stderr, "btgate %s: %s is missing\n", command->name,
			command->argument);
	else if (options->argument_count > wanted)
		fprintf(stderr,
			"btgate %s: what is '%s'? This command takes %s%s.\n",
			command->name,
			text_printable(options->arguments[wanted], quoted),
			wanted ? "only one " : "options only",
			wanted ? command->argument : "");
	else
		return 0;
	return usage_error(command);
}

/* ---- reading argv ------------------------------------------------------------ */

/* What getopt_long gives for rows without a letter. */
#define LONG_ONLY (UCHAR_MAX + 1)

static int row_value(int index)
{
	return option_rows[index].letter ? option_rows[index].letter
					 : LONG_ONLY + index;
}

/* The row of what getopt_long gave, or -1. */
static int find_row(int value)
{
	for (int i = 0; i < OPTION_COUNT; i++)
		if (row_value(i) == value)
			return i;
	return -1;
}

static void set_option(int index, char *value, struct command_options *options,
		       int *verbosity)
{
	switch ((enum option_index)index) {
	case OPTION_ADAPTER:
		options->adapter = value;
		break;
	case OPTION_SECURITY:
		options->security = value;
		break;
	case OPTION_UUID:
		options->uuid = value;
		break;
	case OPTION_NAME:
		options->name = value;
		break;
	case OPTION_TIMEOUT:
		options->timeout = value;
		break;
	case OPTION_KEEP_OPEN:
		options->is_kept_listening = true;
		break;
	case OPTION_LINGER:
		options->linger = value;
		break;
	case OPTION_LINE:
		options->is_line = true;
		break;
	case OPTION_RAW:
		options->is_raw = true;
		break;
	case OPTION_FOR:
		options->period = value;
		break;
	case OPTION_PIN:
		options->pin = value;
		break;
	case OPTION_ONE_TIME_PIN:
		options->is_one_time_pin = true;
		break;
	case OPTION_CONFIRM:
		options->is_confirmed = true;
		break;
	case OPTION_ONCE:
		options->is_once = true;
		break;
	case OPTION_FORMAT:
		options->format = value;
		break;
	case OPTION_JSON:
		options->is_json = true;
		break;
	case OPTION_WATCH:
		options->is_watched = true;
		break;
	case OPTION_LINKS:
		options->needs_links = true;
		break;
	case OPTION_CONFIG:
		options->config_path = value;
		break;
	case OPTION_VERBOSE:
		(*verbosity)++;
		break;
	case OPTION_QUIET:
		options->is_quiet = true;
		(*verbosity)--;
		break;
	case OPTION_HELP:
	case OPTION_VERSION:
	case OPTION_COUNT:
		break;
	}
}

/* getopt_long did not like it: ':' or '?', and optopt. */
static int refuse_option(int problem, char **argv)
{
	int index = find_row(optopt);
	char letter[] = {'-', (char)optopt, '\0'};

	if (index < 0) {
		refuse_unknown_option(optopt ? letter : argv[optind - 1]);
	} else {
		fprintf(stderr, "btgate: option ");
		print_option_name(index);
		if (problem == ':')
			fprintf(stderr, " needs a value: %s\n",
				option_rows[index].value);
		else
			fprintf(stderr, " takes no value\n");
	}
	return usage_error(NULL);
}

/* Which options were given, as bits, or -1 after saying what is wrong. */
static int parse_options(int argc, char **argv, struct command_options *options,
			 int *verbosity)
{
	struct option longs[OPTION_COUNT + 1] = {{0}};
	char shorts[2 * OPTION_COUNT + 2] = ":";
	unsigned int given = 0;
	int value;

	for (int i = 0; i < OPTION_COUNT; i++) {
		const struct option_row *row = &option_rows[i];

		longs[i] = (struct option){
			row->name, row->value ? required_argument : no_argument,
			NULL, row_value(i)};
		if (row->letter)
			text_append(shorts, sizeof(shorts), "%c%s", row->letter,
				    row->value ? ":" : "");
	}
	opterr = 0;
	while ((value = getopt_long(argc, argv, shorts, longs, NULL)) >= 0) {
		int index = find_row(value);

		if (index < 0) {
			refuse_option(value, argv);
			return -1;
		}
		given |= BIT(index);
		set_option(index, optarg, options, verbosity);
	}
	return (int)given;
}

/* Only the gateway tells of everything that goes well. */
static void set_log(const struct command *command, int verbosity)
{
	bool is_gateway = command->run == command_run;
	int level = (is_gateway ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING) +
		    verbosity;

	if (level < LOG_LEVEL_ERROR)
		level = LOG_LEVEL_ERROR;
	if (level > LOG_LEVEL_DEBUG)
		level = LOG_LEVEL_DEBUG;
	log_set_level((enum log_level)level);
	log_set_style(is_gateway ? LOG_STYLE_SERVICE : LOG_STYLE_COMMAND);
}

/* ---- main ---------------------------------------------------------------------- */

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

/* @arguments start with the command's name. */
static int run_command(int count, char **arguments, unsigned int given,
		       int verbosity, struct command_options *options)
{
	bool wants_help = given & BIT(OPTION_HELP);
	const struct command *command;
	int status;

	if (count && strcmp(arguments[0], "help") == 0) {
		wants_help = true;
		arguments++;
		count--;
	}
	if (!count) {
		print_help(wants_help ? stdout : stderr);
		return wants_help ? COMMAND_STATUS_OK : COMMAND_STATUS_USAGE;
	}
	command = find_command(arguments[0]);
	if (!command)
		return COMMAND_STATUS_USAGE;
	if (wants_help) {
		print_command_help(command);
		return COMMAND_STATUS_OK;
	}
	options->arguments = arguments + 1;
	options->argument_count = count - 1;
	status = check_options(command, given);
	if (!status)
		status = check_arguments(command, options);
	if (status)
		return status;
	set_log(command, verbosity);
	return command->run(options);
}

int main(int argc, char **argv)
{
	struct command_options options = {.config_path = CONFIG_PATH};
	int verbosity = 0, given;

	open_standard_streams();
	/* Nobody's to give: the gateway's own. */
	if (argc > 1 && strcmp(argv[1], METRICS_SERVER_COMMAND) == 0)
		return metrics_server_run(argc - 2, argv + 2);
	given = parse_options(argc, argv, &options, &verbosity);
	if (given < 0)
		return COMMAND_STATUS_USAGE;
	if (given & (int)BIT(OPTION_VERSION)) {
		printf("btgate " BTGATE_VERSION "\n");
		return COMMAND_STATUS_OK;
	}
	return run_command(argc - optind, argv + optind, (unsigned int)given,
			   verbosity, &options);
}
