/* SPDX-License-Identifier: MIT */
#include "metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "backoff.h"
#include "config.h"
#include "endpoint_tcp.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "metrics_process.h"
#include "metrics_text.h"

struct metrics {
	struct route_set *routes;
	int listen_fd; /* -1: none */
	struct metrics_process *process; /* who serves there */
	struct address_endpoint address; /* where it is, */
	char text[ADDRESS_ENDPOINT_TEXT_BYTES]; /* the same */
	struct address_endpoint wanted; /* where it is to be, */
	char wanted_text[ADDRESS_ENDPOINT_TEXT_BYTES]; /* "": there */
	struct event *retry_timer;
	struct backoff retry;
	struct error last_error; /* a retry that fails alike is silent */
	struct address_networks clients; /* who may ask */
	double started_s; /* since the epoch */
};

static double wall_clock_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void print_numbers(FILE *file, void *arg)
{
	const struct metrics *metrics = arg;

	metrics_text_print(metrics->routes, metrics->started_s, file);
}

/* ---- the port -------------------------------------------------------------------- */

static void port_close(struct metrics *metrics)
{
	metrics_process_stop(metrics->process);
	if (metrics->listen_fd < 0)
		return;
	/* At once, also where the process still has it. */
	shutdown(metrics->listen_fd, SHUT_RD);
	close(metrics->listen_fd);
	metrics->listen_fd = -1;
}

static void port_serve(struct metrics *metrics)
{
	metrics_process_serve(metrics->process, metrics->listen_fd,
			      &metrics->clients);
}

/* As listener_change. */
static int port_change(struct metrics *metrics, struct error *error)
{
	const struct endpoint_tcp *from = &metrics->address.tcp;
	const struct endpoint_tcp *to = &metrics->wanted.tcp;
	int fd = endpoint_tcp_listen(to, false, error);

	if (fd == -EADDRINUSE && metrics->listen_fd >= 0 &&
	    from->port == to->port) {
		port_close(metrics);
		fd = endpoint_tcp_listen(to, false, error);
		if (fd < 0) {
			metrics->listen_fd = endpoint_tcp_listen(from, false,
								 NULL);
			if (metrics->listen_fd >= 0)
				port_serve(metrics);
		}
	}
	if (fd < 0)
		return fd;
	port_close(metrics);
	metrics->listen_fd = fd;
	port_serve(metrics);
	return 0;
}

/* It is not to be anywhere else than it is. */
static void metrics_want_no_more(struct metrics *metrics)
{
	event_del(metrics->retry_timer);
	backoff_reset(&metrics->retry);
	address_endpoint_clear(&metrics->wanted);
	metrics->wanted_text[0] = '\0';
	metrics->last_error.text[0] = '\0';
}

static void metrics_close(struct metrics *metrics)
{
	metrics_want_no_more(metrics);
	port_close(metrics);
	address_endpoint_clear(&metrics->address);
}

static void metrics_failed(struct metrics *metrics, const struct error *error)
{
	if (strcmp(error->text, metrics->last_error.text) == 0)
		log_debug("metrics: still not at %s", metrics->wanted_text);
	else if (metrics->listen_fd >= 0)
		log_warning(
			"metrics stay at http://%s/metrics: %s; it is tried "
			"again",
			metrics->text + strlen("tcp:"), error->text);
	else
		log_warning("no metrics: %s; it is tried again", error->text);
	metrics->last_error = *error;
	/* Without memory for the timer the next reload tries. */
	loop_start_timer(metrics->retry_timer,
			 backoff_next_ms(&metrics->retry));
}

static void metrics_move(struct metrics *metrics)
{
	struct error error;

	if (port_change(metrics, &error)) {
		metrics_failed(metrics, &error);
		return;
	}
	address_endpoint_clear(&metrics->address);
	metrics->address = metrics->wanted;
	memset(&metrics->wanted, 0, sizeof(metrics->wanted));
	memcpy(metrics->text, metrics->wanted_text, sizeof(metrics->text));
	metrics_want_no_more(metrics);
	log_info("metrics at http://%s/metrics",
		 metrics->text + strlen("tcp:"));
}

/* ---- from outside --------------------------------------------------------------- */

static void metrics_retry(evutil_socket_t fd, short what, void *arg)
{
	metrics_move(arg);
}

struct metrics *metrics_new(struct loop *loop, struct route_set *routes)
{
	struct metrics *metrics = calloc(1, sizeof(*metrics));

	if (!metrics)
		return NULL;
	metrics->routes = routes;
	metrics->started_s = wall_clock_s();
	metrics->listen_fd = -1;
	metrics->process = metrics_process_new(loop, print_numbers, metrics);
	metrics->retry_timer = evtimer_new(loop->base, metrics_retry, metrics);
	if (metrics->process && metrics->retry_timer)
		return metrics;
	metrics_process_free(metrics->process);
	if (metrics->retry_timer)
		event_free(metrics->retry_timer);
	free(metrics);
	errno = ENOMEM;
	return NULL;
}

void metrics_free(struct metrics *metrics)
{
	if (!metrics)
		return;
	metrics_close(metrics);
	metrics_process_free(metrics->process);
	event_free(metrics->retry_timer);
	free(metrics);
}

const char *metrics_listening_on(const struct metrics *metrics)
{
	return metrics->listen_fd >= 0 ? metrics->text : NULL;
}

bool metrics_is_failing(const struct metrics *metrics, struct error *error)
{
	if (!metrics->wanted_text[0])
		return metrics_process_is_failing(metrics->process, error);
	*error = metrics->last_error;
	return true;
}

void metrics_configure(struct metrics *metrics, struct config_gateway *config)
{
	char text[ADDRESS_ENDPOINT_TEXT_BYTES];

	if (!config->has_metrics) {
		metrics_close(metrics);
		return;
	}
	metrics->clients = config->metrics_clients;
	metrics_want_no_more(metrics);
	address_endpoint_format(&config->metrics, ENDPOINT_ROLE_LISTEN, text);
	/* Also while it cannot be had where it is to be. */
	if (metrics->listen_fd >= 0)
		port_serve(metrics);
	if (metrics->listen_fd >= 0 && strcmp(text, metrics->text) == 0)
		return;
	metrics->wanted = config->metrics;
	memset(&config->metrics, 0, sizeof(config->metrics));
	memcpy(metrics->wanted_text, text, sizeof(text));
	metrics_move(metrics);
}
