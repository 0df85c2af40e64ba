/* SPDX-License-Identifier: MIT */
#include "resolve.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/event.h>

#include "loop.h"

/* NSS modules are not sparing with it; untouched pages cost nothing. */
#define STACK_BYTES (1024 * 1024)

struct resolve {
	/* The thread's, until answered_fd says that it is done. */
	char *host;
	char service[8];
	struct addrinfo hints;
	struct addrinfo *list;
	int code; /* of getaddrinfo */
	int system_errno; /* where that is EAI_SYSTEM */
	int answered_fd; /* eventfd: the last thing that the thread touches */
	/* The loop's. */
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
	if (resolve->list)
		freeaddrinfo(resolve->list);
	free(resolve->host);
	free(resolve);
}

static void *look_up(void *arg)
{
	struct resolve *resolve = arg;

	resolve->code = getaddrinfo(resolve->host, resolve->service,
				    &resolve->hints, &resolve->list);
	resolve->system_errno = errno;
	eventfd_write(resolve->answered_fd, 1);
	return NULL;
}

static void answered(evutil_socket_t fd, short what, void *arg)
{
	struct resolve *resolve = arg;

	if (!resolve->done)
		;
	else if (resolve->code)
		resolve->done(NULL,
			      resolve->code == EAI_SYSTEM
				      ? strerror(resolve->system_errno)
				      : gai_strerror(resolve->code),
			      resolve->arg);
	else
		resolve->done(resolve->list, NULL, resolve->arg);
	resolve_free(resolve);
}

/*
 * Not getaddrinfo_a(3): its thread loads libgcc_s when it ends, which aborts
 * the program if descriptors have run out by then, and some of its failures
 * leave the request queued (glibc 2.36, both seen).
 */
static int start_thread(struct resolve *resolve)
{
	pthread_attr_t attributes;
	pthread_t thread;
	sigset_t all, old;
	int code = pthread_attr_init(&attributes);

	if (code)
		return -code;
	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	code = pthread_create(&thread, &attributes, look_up, resolve);
	pthread_attr_destroy(&attributes);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -code;
}

static int start(struct resolve *resolve)
{
	/*
	 * An address needs no thread, nor does localhost, which is the loopback
	 * also where no hosts file says so (RFC 6761, 6.3).
	 */
	bool is_localhost = !strcasecmp(resolve->host, "localhost");

	resolve->hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
	if (getaddrinfo(is_localhost ? NULL : resolve->host, resolve->service,
			&resolve->hints, &resolve->list) == 0) {
		event_active(resolve->answered, EV_READ, 0);
		return 0;
	}
	resolve->hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
	return start_thread(resolve);
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
