/* SPDX-License-Identifier: MIT */
#include "resolve.h"

#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/event.h>

#include "loop.h"

struct resolve {
	struct gaicb request;
	struct addrinfo hints;
	char service[8];
	char *host;
	int answered_fd; /* eventfd that the resolver's thread writes to */
	struct event *answered;
	resolve_done_cb done; /* NULL: cancelled */
	void *arg;
};

static void resolve_free(struct resolve *resolve)
{
	if (resolve->answered)
		event_free(resolve->answered);
	if (resolve->answered_fd >= 0)
		close(resolve->answered_fd);
	if (resolve->request.ar_result)
		freeaddrinfo(resolve->request.ar_result);
	free(resolve->host);
	free(resolve);
}

/* In a thread of glibc's: only passes the word on. */
static void on_answer(union sigval value)
{
	eventfd_write(value.sival_int, 1);
}

static void answered(evutil_socket_t fd, short what, void *arg)
{
	struct resolve *resolve = arg;
	int code = gai_error(&resolve->request);

	if (!resolve->done)
		;
	else if (code)
		/* EAI_SYSTEM's errno stayed in the resolver's thread. */
		resolve->done(NULL, gai_strerror(code), resolve->arg);
	else
		resolve->done(resolve->request.ar_result, NULL, resolve->arg);
	resolve_free(resolve);
}

static int start(struct resolve *resolve)
{
	struct gaicb *list[1] = {&resolve->request};
	struct sigevent notify = {
		.sigev_notify = SIGEV_THREAD,
		.sigev_notify_function = on_answer,
		.sigev_value.sival_int = resolve->answered_fd,
	};

	/* An address needs no resolver: answered by the time this returns. */
	resolve->hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
	if (getaddrinfo(resolve->host, resolve->service, &resolve->hints,
			&resolve->request.ar_result) == 0) {
		event_active(resolve->answered, EV_READ, 0);
		return 0;
	}
	resolve->hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
	switch (getaddrinfo_a(GAI_NOWAIT, list, 1, &notify)) {
	case 0:
		return 0;
	case EAI_AGAIN:
		return -EAGAIN;
	default:
		return -ENOMEM;
	}
}

struct resolve *resolve_new(struct loop *loop, const char *host, uint16_t port,
			    resolve_done_cb done, void *arg)
{
	struct resolve *resolve = calloc(1, sizeof(*resolve));
	int code = -ENOMEM;

	if (!resolve)
		return NULL;
	resolve->done = done;
	resolve->arg = arg;
	snprintf(resolve->service, sizeof(resolve->service), "%u", port);
	resolve->hints.ai_socktype = SOCK_STREAM;
	resolve->host = strdup(host);
	resolve->request.ar_name = resolve->host;
	resolve->request.ar_service = resolve->service;
	resolve->request.ar_request = &resolve->hints;
	resolve->answered_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (resolve->answered_fd < 0)
		code = -errno;
	else
		resolve->answered = event_new(loop->base, resolve->answered_fd,
					      EV_READ, answered, resolve);
	if (!resolve->host || !resolve->answered ||
	    event_add(resolve->answered, NULL))
		goto fail;
	code = start(resolve);
	if (code)
		goto fail;
	return resolve;

fail:
	resolve_free(resolve);
	errno = -code;
	return NULL;
}

void resolve_cancel(struct resolve *resolve)
{
	if (resolve)
		resolve->done = NULL;
}
