/* SPDX-License-Identifier: MIT */
/* trace: what passes through a route of the running gateway, live. */
#include "command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control_client.h"
#include "error.h"
#include "text.h"
#include "trace_format.h"
#include "trace_json.h"

struct tracing {
	const struct command_options *options;
	const char *route;
	enum trace_format format;
	struct control_client client;
	uint8_t data[TRACE_DATA_BYTES_MAX];
};

/* A trace_put; what goes wrong shows when it is flushed. */
static void print_bytes(const void *data, size_t bytes, void *arg)
{
	fwrite(data, 1, bytes, stdout);
}

static void print_line(struct tracing *tracing, const json_t *line)
{
	struct trace_event event;

	if (tracing->options->is_json) {
		json_dumpf(line, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
		putchar('\n');
	} else if (trace_json_parse(line, &event, tracing->data)) {
		trace_format_event(tracing->format, tracing->route, &event,
				   print_bytes, NULL);
	}
}

/* At once: somebody watches, or a program does. */
static int flush(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return COMMAND_STATUS_OK;
	fprintf(stderr, "btgate: cannot write: %s\n", strerror(errno));
	return COMMAND_STATUS_FAILED;
}

static int follow(struct tracing *tracing)
{
	int status;
	json_t *line;

	if (!tracing->options->is_json)
		trace_format_start(tracing->format, tracing->route, print_bytes,
				   NULL);
	if (isatty(STDERR_FILENO) && !tracing->options->is_quiet)
		fprintf(stderr,
			"btgate: what passes through %s from now on; Ctrl-C "
			"ends it\n",
			tracing->route);
	status = flush();
	while (status == COMMAND_STATUS_OK &&
	       (line = control_client_next(&tracing->client))) {
		print_line(tracing, line);
		json_decref(line);
		status = flush();
	}
	return COMMAND_STATUS_FAILED;
}

/* 0, or that of a usage error. */
static int take_format(struct tracing *tracing)
{
	const char *word = tracing->options->format;
	struct error error = {""};
	int index = word ? text_parse_word(word, config_trace_format_words,
					   "a format", &error)
			 : TRACE_FORMAT_HEX;

	if (word && tracing->options->is_json)
		index = error_set(&error, -EINVAL,
				  "--json and --format are two formats");
	else if (index == TRACE_FORMAT_PCAPNG && isatty(STDOUT_FILENO))
		index = error_set(&error, -EINVAL,
				  "pcapng is not for a terminal: write it to a "
				  "file, or to 'wireshark -k -i -'");
	if (index < 0) {
		fprintf(stderr, "btgate trace: %s\n", error.text);
		return COMMAND_STATUS_USAGE;
	}
	tracing->format = (enum trace_format)index;
	return COMMAND_STATUS_OK;
}

int command_trace(const struct command_options *options)
{
	static struct tracing tracing;
	json_t *answer = NULL;
	int status;

	tracing.options = options;
	tracing.route = options->arguments[0];
	status = take_format(&tracing);
	if (status)
		return status;
	status = COMMAND_STATUS_FAILED;
	if (control_client_open(&tracing.client, options) == 0)
		answer = control_client_agreed(
			&tracing.client,
			control_client_ask(&tracing.client, "trace",
					   tracing.route));
	if (answer)
		status = follow(&tracing);
	json_decref(answer);
	control_client_close(&tracing.client);
	return status;
}
