/* SPDX-License-Identifier: MIT */
/* connect: this terminal joined to an endpoint that is dialled. */
#include "command.h"

#include <errno.h>
#include <string.h>

#include <event2/event.h>

#include "command_netcat.h"
#include "error.h"
#include "log.h"
#include "loop.h"

#define TIMEOUT_MS 30000

struct connect {
	struct netcat netcat;
	struct target *target;
	struct dial *dial;
	struct event *deadline;
	unsigned int timeout_ms;
};

static void dialled(struct stream *stream, int code, const struct error *error,
		    void *arg)
{
	struct connect *self = arg;

	self->dial = NULL;
	event_del(self->deadline);
	if (!stream)
		log_error("%s", error->text);
	if (!stream || netcat_join(&self->netcat, stream))
		netcat_end(&self->netcat, COMMAND_STATUS_FAILED);
}

static void timed_out(evutil_socket_t fd, short what, void *arg)
{
	struct connect *self = arg;
	struct error error;
	char limit[24];

	address_duration_format(self->timeout_ms, limit);
	error_set(&error, -ETIMEDOUT, "%s did not answer within %s (--timeout)",
		  self->target->name, limit);
	dial_explain(self->dial, &error);
	dial_cancel(self->dial);
	self->dial = NULL;
	log_error("%s", error.text);
	netcat_end(&self->netcat, COMMAND_STATUS_FAILED);
}

static int start(struct connect *self, struct error *error)
{
	struct netcat *netcat = &self->netcat;
	int code;

	if (netcat->is_chatty)
		log_say("connecting to %s", netcat->text);
	code = target_open(netcat->loop, &netcat->endpoint, &netcat->settings,
			   &self->target, error);
	if (code)
		return code;
	self->deadline = evtimer_new(netcat->loop->base, timed_out, self);
	if (self->deadline &&
	    loop_start_timer(self->deadline, self->timeout_ms) == 0)
		self->dial = target_dial(self->target, dialled, self);
	if (self->dial)
		return 0;
	return error_set(error, -errno, "cannot connect to %s: %s",
			 netcat->text, strerror(errno));
}

int command_connect(const struct command_options *options)
{
	struct connect self = {.timeout_ms = TIMEOUT_MS};
	struct error error = {""};
	int code = 0, status;

	if (options->timeout)
		code = address_duration_parse(options->timeout,
					      &self.timeout_ms, &error);
	if (code) {
		log_error("%s", error.text);
		return COMMAND_STATUS_USAGE;
	}
	status = netcat_open(&self.netcat, options, ENDPOINT_ROLE_CONNECT);
	if (!status && start(&self, &error)) {
		log_error("%s", error.text);
		status = COMMAND_STATUS_FAILED;
	}
	if (status)
		self.netcat.status = status;
	else
		netcat_run(&self.netcat);
	dial_cancel(self.dial);
	target_close(self.target);
	if (self.deadline)
		event_free(self.deadline);
	return netcat_close(&self.netcat);
}
