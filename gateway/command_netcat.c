/* SPDX-License-Identifier: MIT */
#include "command_netcat.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "bluez.h"
#include "command.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "terminal.h"

/* For the answer of an end that cannot be told that input has ended. */
#define LINGER_MS 2000
#define DRAIN_TIMEOUT_MS 5000

static const int stop_signals[NETCAT_SIGNALS] = {SIGINT, SIGTERM, SIGHUP};

/* ---- the end of a session -------------------------------------------------- */

static void report_end(struct netcat *netcat)
{
	const struct session_counters *counters = session_counters(
		netcat->session);
	const char *failure = terminal_failure(netcat->terminal);
	uint64_t duration_ms = loop_now_ms() - counters->started_ms;
	char text[ERROR_TEXT_BYTES], lost[64] = "";
	bool is_bad = failure || counters->lost_bytes ||
		      session_has_failed(netcat->session);

	session_format_reason(netcat->session, text);
	if (failure)
		snprintf(text, sizeof(text), "%s", failure);
	if (counters->lost_bytes)
		snprintf(lost, sizeof(lost),
			 "; %llu bytes could not be delivered",
			 (unsigned long long)counters->lost_bytes);
	netcat->status = is_bad ? COMMAND_STATUS_FAILED : COMMAND_STATUS_OK;
	if (netcat->is_chatty)
		log_say("%s; %llu bytes sent, %llu received in %llu.%llu s%s",
			text, (unsigned long long)counters->up_bytes,
			(unsigned long long)counters->down_bytes,
			(unsigned long long)duration_ms / 1000,
			(unsigned long long)duration_ms % 1000 / 100, lost);
	else if (is_bad)
		log_error("%s%s", text, lost);
}

static void end(struct netcat *netcat)
{
	netcat->is_leaving = true;
	loop_stop(netcat->loop);
}

static void session_has_ended(struct session *session, void *arg)
{
	struct netcat *netcat = arg;

	terminal_restore(netcat->terminal);
	report_end(netcat);
	netcat->session = NULL;
	/* Nothing can be done for the next one without an output. */
	if (!netcat->is_kept_going || netcat->is_leaving ||
	    terminal_failure(netcat->terminal))
		end(netcat);
	else if (netcat->next.run)
		loop_defer(netcat->loop, &netcat->next);
}

int netcat_join(struct netcat *netcat, struct stream *remote)
{
	struct stream *local = terminal_stream_new(netcat->terminal);

	snprintf(netcat->peer, sizeof(netcat->peer), "%s", remote->peer);
	if (netcat->is_chatty)
		log_say("%s %s%s",
			netcat->role == ENDPOINT_ROLE_CONNECT ? "connected to"
							      : "connected:",
			netcat->peer,
			terminal_has_escape(netcat->terminal)
				? "; Ctrl-] and then q leaves"
				: "");
	/* Nor is one waited for who has nothing to say. */
	if (terminal_is_input_over(netcat->terminal))
		netcat->session_settings.client_linger_ms = 0;
	if (local)
		netcat->session = session_new(netcat->loop, local, remote,
					      &netcat->session_settings, 0,
					      netcat);
	if (netcat->session)
		return 0;
	log_error("cannot go on with %s: %s", netcat->peer, strerror(ENOMEM));
	stream_close(local, STREAM_CLOSE_ABORT);
	stream_close(remote, STREAM_CLOSE_ABORT);
	return -ENOMEM;
}

/* ---- leaving ------------------------------------------------------------------ */

static void leave(struct netcat *netcat)
{
	if (netcat->is_leaving && netcat->session) {
		session_abort(netcat->session);
		return;
	}
	netcat->is_leaving = true;
	terminal_end_input(netcat->terminal);
	if (netcat->session)
		session_stop(netcat->session);
	else
		end(netcat);
}

static void terminal_left(void *arg)
{
	struct netcat *netcat = arg;
	const char *failure = terminal_failure(netcat->terminal);

	if (netcat->is_leaving)
		return;
	if (failure && !netcat->session) {
		log_error("%s", failure);
		netcat->status = COMMAND_STATUS_FAILED;
	}
	leave(netcat);
}

static void stop_signal(evutil_socket_t number, short what, void *arg)
{
	struct netcat *netcat = arg;

	netcat->signal = (int)number;
	leave(netcat);
}

/* One that is ignored, as nohup and sh's & do, stays ignored. */
static int watch_signals(struct netcat *netcat)
{
	struct sigaction action;

	for (int i = 0; i < NETCAT_SIGNALS; i++) {
		if (sigaction(stop_signals[i], NULL, &action) == 0 &&
		    action.sa_handler == SIG_IGN)
			continue;
		netcat->signals[i] = evsignal_new(netcat->loop->base,
						  stop_signals[i], stop_signal,
						  netcat);
		if (!netcat->signals[i] || event_add(netcat->signals[i], NULL))
			return -ENOMEM;
	}
	return 0;
}

void netcat_end(struct netcat *netcat, int status)
{
	netcat->status = status;
	end(netcat);
}

void netcat_run(struct netcat *netcat)
{
	int code = loop_run(netcat->loop);

	if (!code)
		return;
	log_error("the event loop failed: %s", strerror(-code));
	if (netcat->session)
		session_abort(netcat->session);
	loop_flush(netcat->loop);
	netcat->status = COMMAND_STATUS_FAILED;
}

/* ---- getting ready --------------------------------------------------------------- */

/* As people try it first: "btgate connect 00:11:22:33:44:55". */
static void suggest_kind(const char *text, struct error *error)
{
	struct address_bluetooth address;

	if (address_bluetooth_parse(text, &address, NULL) == 0)
		error_set(error, -EINVAL,
			  "'%s' is a device's address; write rfcomm:%s", text,
			  text);
}

static int parse_endpoint(struct netcat *netcat,
			  const struct command_options *options,
			  struct error *error)
{
	struct endpoint_settings *settings = &netcat->settings;
	bool is_bluetooth;
	int code;

	netcat->text = options->arguments[0];
	code = address_endpoint_parse(netcat->text, netcat->role,
				      &netcat->endpoint, error);
	if (code) {
		suggest_kind(netcat->text, error);
		return code;
	}
	is_bluetooth = address_endpoint_is_bluetooth(&netcat->endpoint);
	if (!is_bluetooth && (options->adapter || options->security ||
			      options->uuid || options->name))
		return error_set(error, -EINVAL,
				 "%s is for Bluetooth endpoints only, and "
				 "'%s' is none",
				 options->adapter    ? "-i (--adapter)"
				 : options->security ? "-s (--security)"
				 : options->uuid     ? "-u (--uuid)"
						     : "-n (--name)",
				 netcat->text);
	settings->security = SECURITY_LEVEL_MEDIUM;
	if (options->adapter)
		code = address_adapter_parse(options->adapter,
					     &settings->adapter, error);
	if (!code && options->security)
		code = address_security_parse(options->security,
					      &settings->security, error);
	if (!code && is_bluetooth)
		code = address_endpoint_check_security(
			&netcat->endpoint, settings->security, error);
	return code;
}

/* connect lingers for an answer, listen stays for as long as its client. */
static int parse_session(struct netcat *netcat,
			 const struct command_options *options,
			 struct error *error)
{
	struct session_settings *settings = &netcat->session_settings;

	settings->ended = session_has_ended;
	settings->is_client_local = true;
	settings->target_name = netcat->peer;
	settings->target_packing = netcat->endpoint.packing;
	settings->drain_timeout_ms = DRAIN_TIMEOUT_MS;
	settings->client_linger_ms = LINGER_MS;
	settings->linger_ms = netcat->role == ENDPOINT_ROLE_CONNECT
				      ? LINGER_MS
				      : SESSION_LINGER_FOREVER;
	if (options->is_raw && options->is_line)
		return error_set(error, -EINVAL,
				 "--raw and --line exclude each other");
	if (options->linger)
		return address_duration_parse(options->linger,
					      &settings->linger_ms, error);
	return 0;
}

static int open_terminal(struct netcat *netcat,
			 const struct command_options *options,
			 struct error *error)
{
	struct session_settings *settings = &netcat->session_settings;
	enum terminal_mode mode = options->is_line  ? TERMINAL_MODE_LINES
				  : options->is_raw ? TERMINAL_MODE_RAW
						    : TERMINAL_MODE_KEYS;

	netcat->terminal = terminal_new(netcat->loop, mode, terminal_left,
					netcat, error);
	if (!netcat->terminal)
		return -ENOMEM;
	/* A person who still types is not waited for. */
	if (terminal_is_interactive(netcat->terminal))
		settings->client_linger_ms = 0;
	if (terminal_has_no_input(netcat->terminal)) {
		if (!options->linger)
			settings->linger_ms = SESSION_LINGER_FOREVER;
		/* Not an end to tell a client of, who may leave for it. */
		if (netcat->role == ENDPOINT_ROLE_LISTEN)
			terminal_end_input(netcat->terminal);
	}
	netcat->is_chatty = log_level() >= LOG_LEVEL_INFO ||
			    (log_level() == LOG_LEVEL_WARNING &&
			     terminal_is_interactive(netcat->terminal));
	return 0;
}

static int open_bluez(struct netcat *netcat)
{
	netcat->bluez_settings = (struct bluez_settings){
		.adapter = netcat->settings.adapter,
		.is_reachable = netcat->role == ENDPOINT_ROLE_LISTEN,
		.is_discoverable = true,
	};
	if (!address_endpoint_is_bluetooth(&netcat->endpoint))
		return 0;
	netcat->bluez = bluez_new(netcat->loop, &netcat->bluez_settings);
	netcat->settings.bluez = netcat->bluez;
	return netcat->bluez ? 0 : -errno;
}

int netcat_open(struct netcat *netcat, const struct command_options *options,
		enum endpoint_role role)
{
	struct error error = {""};
	int code;

	*netcat = (struct netcat){.role = role};
	code = parse_endpoint(netcat, options, &error);
	if (!code)
		code = parse_session(netcat, options, &error);
	if (code) {
		log_error("%s", error.text);
		return COMMAND_STATUS_USAGE;
	}
	/* Whoever does not read us any more shows where it is written to. */
	signal(SIGPIPE, SIG_IGN);
	/* And so does a file that may grow no more (EFBIG). */
	signal(SIGXFSZ, SIG_IGN);
	netcat->loop = loop_new();
	code = netcat->loop ? open_terminal(netcat, options, &error) : -errno;
	if (!code)
		code = watch_signals(netcat);
	if (!code)
		code = open_bluez(netcat);
	if (!code)
		return COMMAND_STATUS_OK;
	if (!error.text[0])
		error_set(&error, code, "cannot start: %s", strerror(-code));
	log_error("%s", error.text);
	return COMMAND_STATUS_FAILED;
}

/* Etiquette: a shell's loop stops only for a program that died of Ctrl-C. */
static void die_of(int number)
{
	sigset_t set;

	signal(number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, number);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(number);
}

int netcat_close(struct netcat *netcat)
{
	for (int i = 0; i < NETCAT_SIGNALS; i++)
		if (netcat->signals[i])
			event_free(netcat->signals[i]);
	terminal_free(netcat->terminal);
	bluez_free(netcat->bluez);
	loop_free(netcat->loop);
	address_endpoint_clear(&netcat->endpoint);
	if (netcat->signal)
		die_of(netcat->signal);
	return netcat->status;
}
