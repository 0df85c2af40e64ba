/* SPDX-License-Identifier: MIT */
#include "admission.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "endpoint.h"
#include "error.h"
#include "loop.h"

struct admission {
	struct loop *loop;
	struct stream *client;
	struct target *target;
	struct dial *dial;
	struct event *hang_up; /* the client leaves while it waits */
	struct event *deadline;
	unsigned int timeout_ms;
	admission_done_cb done;
	void *arg;
};

static void admission_free(struct admission *admission)
{
	dial_cancel(admission->dial);
	if (admission->hang_up)
		event_free(admission->hang_up);
	if (admission->deadline)
		event_free(admission->deadline);
	free(admission);
}

/* The one exit: both streams, or neither and a reason. */
static void admission_end(struct admission *admission, struct stream *target,
			  const struct error *error)
{
	struct stream *client = admission->client;
	admission_done_cb done = admission->done;
	void *arg = admission->arg;

	event_del(admission->hang_up);
	done(admission, target ? client : NULL, target, error, arg);
	/* Refused: a phone never was connected, TCP gets a reset. */
	if (!target)
		stream_close(client, STREAM_CLOSE_ABORT);
	admission_free(admission);
}

static void admission_dialled(struct stream *target, int code,
			      const struct error *error, void *arg)
{
	struct admission *admission = arg;
	struct error left;

	admission->dial = NULL;
	if (!target) {
		admission_end(admission, NULL, error);
		return;
	}
	code = stream_admit(admission->client);
	if (code) {
		error_set(&left, code,
			  "the client left before the target was "
			  "reached: %s",
			  strerror(-code));
		stream_close(target, STREAM_CLOSE_ORDERLY);
		admission_end(admission, NULL, &left);
		return;
	}
	admission_end(admission, target, NULL);
}

static void admission_hung_up(evutil_socket_t fd, short what, void *arg)
{
	struct admission *admission = arg;
	struct error error;

	if (!stream_has_given_up(admission->client))
		return;
	error_set(&error, -ECONNRESET,
		  "the client left before the target was reached");
	admission_end(admission, NULL, &error);
}

/* One deadline for all of it: a phone does not wait for ever. */
static unsigned int admission_left_ms(const struct admission *admission)
{
	unsigned int waited_ms = admission->client->waited_ms;

	return waited_ms < admission->timeout_ms
		       ? admission->timeout_ms - waited_ms
		       : 1;
}

static void admission_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct admission *admission = arg;
	struct error error;
	char limit[24], left[24];

	address_duration_format(admission->timeout_ms, limit);
	address_duration_format(admission_left_ms(admission), left);
	if (admission->client->waited_ms)
		error_set(&error, -ETIMEDOUT,
			  "%s did not answer within %s, what was left of %s "
			  "(connect-timeout) once it was known who the client "
			  "is",
			  admission->target->name, left, limit);
	else
		error_set(&error, -ETIMEDOUT,
			  "%s did not answer within %s (connect-timeout)",
			  admission->target->name, limit);
	dial_explain(admission->dial, &error);
	admission_end(admission, NULL, &error);
}

struct admission *admission_new(struct loop *loop, struct stream *client,
				struct target *target, unsigned int timeout_ms,
				admission_done_cb done, void *arg)
{
	struct admission *admission = calloc(1, sizeof(*admission));
	int code;

	if (!admission)
		return NULL;
	admission->loop = loop;
	admission->client = client;
	admission->target = target;
	admission->timeout_ms = timeout_ms;
	admission->done = done;
	admission->arg = arg;
	/* Edge-triggered: what it sends meanwhile waits in the kernel. */
	admission->hang_up = event_new(loop->base, client->read_fd,
				       EV_READ | EV_ET | EV_PERSIST,
				       admission_hung_up, admission);
	admission->deadline = evtimer_new(loop->base, admission_timeout,
					  admission);
	errno = ENOMEM;
	if (!admission->hang_up || !admission->deadline ||
	    event_add(admission->hang_up, NULL) ||
	    loop_start_timer(admission->deadline, admission_left_ms(admission)))
		goto fail;
	admission->dial = target_dial(target, admission_dialled, admission);
	if (!admission->dial)
		goto fail;
	return admission;

fail:
	code = errno;
	admission_free(admission);
	errno = code;
	return NULL;
}

void admission_cancel(struct admission *admission)
{
	struct stream *client;

	if (!admission)
		return;
	client = admission->client;
	admission_free(admission);
	stream_close(client, STREAM_CLOSE_ABORT);
}

const char *admission_client(const struct admission *admission)
{
	return admission->client->peer;
}
