/* SPDX-License-Identifier: MIT */
#include "metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include <event2/event.h>

#include "backoff.h"
#include "clients.h"
#include "config.h"
#include "endpoint.h"
#include "entrance.h"
#include "error.h"
#include "hold.h"
#include "log.h"
#include "loop.h"
#include "refusals.h"
#include "route.h"
#include "route_set.h"
#include "session.h"

#define CLIENTS_MAX 8
/* Prometheus' own are a few hundred. */
#define REQUEST_BYTES_MAX 8192
/* For the request and the answer together; Prometheus gives up after 10 s. */
#define DEADLINE_MS 10000

TAILQ_HEAD(scraper_list, scraper);

struct metrics {
	struct loop *loop;
	struct route_set *routes;
	struct listener *listener; /* NULL: none */
	struct address_endpoint address; /* where it is, */
	char text[ADDRESS_ENDPOINT_TEXT_BYTES]; /* the same */
	struct address_endpoint wanted; /* where it is to be, */
	char wanted_text[ADDRESS_ENDPOINT_TEXT_BYTES]; /* "": there */
	struct event *retry_timer;
	struct backoff retry;
	struct error last_error; /* a retry that fails alike is silent */
	struct address_networks clients; /* who may ask */
	struct refusals refusals; /* of the others */
	struct scraper_list scrapers; /* the one longest there first */
	unsigned int scraper_count;
	double started_s; /* since the epoch */
};

/* Who asks. */
struct scraper {
	TAILQ_ENTRY(scraper) link;
	struct metrics *metrics;
	struct stream *stream;
	struct event *readable;
	struct event *writable;
	struct event *deadline;
	char request[REQUEST_BYTES_MAX + 1];
	size_t request_bytes;
	char *answer;
	size_t answer_bytes;
	size_t sent_bytes;
};

/* ---- the numbers ------------------------------------------------------------- */

static const char *const outcome_words[SESSION_OUTCOMES] = {
	[SESSION_OUTCOME_CLOSED] = "closed",
	[SESSION_OUTCOME_BROKEN] = "broken",
	[SESSION_OUTCOME_GAP] = "gap",
	[SESSION_OUTCOME_IDLE] = "idle",
	[SESSION_OUTCOME_REPLACED] = "replaced",
	[SESSION_OUTCOME_STOPPED] = "stopped",
	[SESSION_OUTCOME_RESOURCES] = "resources",
};

static const char *const refusal_words[CLIENT_REFUSALS] = {
	[CLIENT_REFUSAL_BUSY] = "busy",
	[CLIENT_REFUSAL_TARGET] = "target",
	[CLIENT_REFUSAL_REPLACED] = "replaced",
	[CLIENT_REFUSAL_RESOURCES] = "resources",
};

static const char *const door_words[DOOR_REFUSALS] = {
	[DOOR_REFUSAL_STRANGER] = "stranger",
	[DOOR_REFUSAL_DOWN] = "down",
	[DOOR_REFUSAL_UNBONDED] = "unpaired",
	[DOOR_REFUSAL_UNFINISHED] = "unfinished",
};

/* One metric of all routes: Prometheus wants the lines of one together. */
struct family {
	const char *name;
	const char *type;
	const char *help;
	/* The lines of one route, whose name is safe in quotes. */
	void (*print)(FILE *file, const char *name, const char *route_name,
		      const struct route *route);
};

static void print_state(FILE *file, const char *name, const char *route_name,
			const struct route *route)
{
	for (int state = ROUTE_STATE_STOPPED; state <= ROUTE_STATE_STOPPING;
	     state++)
		fprintf(file, "%s{route=\"%s\",state=\"%s\"} %d\n", name,
			route_name,
			route_state_to_string((enum route_state)state),
			route_state(route) == (enum route_state)state);
}

static void print_retries(FILE *file, const char *name, const char *route_name,
			  const struct route *route)
{
	fprintf(file, "%s{route=\"%s\"} %" PRIu64 "\n", name, route_name,
		route_retries(route));
}

static void print_held(FILE *file, const char *name, const char *route_name,
		       const struct route *route)
{
	struct hold_status held;

	if (!route_held(route, &held))
		return;
	fprintf(file, "%s{route=\"%s\",state=\"up\"} %u\n", name, route_name,
		held.up);
	fprintf(file, "%s{route=\"%s\",state=\"away\"} %u\n", name, route_name,
		held.away);
}

static void print_open(FILE *file, const char *name, const char *route_name,
		       const struct route *route)
{
	fprintf(file, "%s{route=\"%s\"} %u\n", name, route_name,
		route_totals(route).open);
}

static void print_sessions(FILE *file, const char *name, const char *route_name,
			   const struct route *route)
{
	fprintf(file, "%s{route=\"%s\"} %" PRIu64 "\n", name, route_name,
		route_totals(route).sessions);
}

static void print_ends(FILE *file, const char *name, const char *route_name,
		       const struct route *route)
{
	const struct client_totals totals = route_totals(route);

	for (size_t i = 0; i < SESSION_OUTCOMES; i++)
		fprintf(file, "%s{route=\"%s\",reason=\"%s\"} %" PRIu64 "\n",
			name, route_name, outcome_words[i], totals.ends[i]);
}

static void print_refusals(FILE *file, const char *name, const char *route_name,
			   const struct route *route)
{
	const struct client_totals totals = route_totals(route);

	for (size_t i = 0; i < CLIENT_REFUSALS; i++)
		fprintf(file, "%s{route=\"%s\",reason=\"%s\"} %" PRIu64 "\n",
			name, route_name, refusal_words[i], totals.refusals[i]);
	for (size_t i = 0; i < DOOR_REFUSALS; i++)
		fprintf(file, "%s{route=\"%s\",reason=\"%s\"} %" PRIu64 "\n",
			name, route_name, door_words[i],
			route_refusals_at_door(route, (enum door_refusal)i));
}

static void print_delivered(FILE *file, const char *name,
			    const char *route_name, const struct route *route)
{
	const struct client_totals totals = route_totals(route);

	fprintf(file, "%s{route=\"%s\",to=\"target\"} %" PRIu64 "\n", name,
		route_name, totals.up_bytes);
	fprintf(file, "%s{route=\"%s\",to=\"client\"} %" PRIu64 "\n", name,
		route_name, totals.down_bytes);
}

static void print_lost(FILE *file, const char *name, const char *route_name,
		       const struct route *route)
{
	fprintf(file, "%s{route=\"%s\"} %" PRIu64 "\n", name, route_name,
		route_totals(route).lost_bytes);
}

static const struct family families[] = {
	{"btgate_route_state", "gauge",
	 "Which state the route is in: 1 for that one.", print_state},
	{"btgate_route_retries_total", "counter",
	 "How often the route tried again to have both its ends.",
	 print_retries},
	{"btgate_held_links", "gauge",
	 "Links that a route with hold keeps, and those it dials again.",
	 print_held},
	{"btgate_sessions", "gauge", "Sessions that are open.", print_open},
	{"btgate_sessions_total", "counter", "Sessions that began.",
	 print_sessions},
	{"btgate_session_ends_total", "counter",
	 "Sessions that ended, and how.", print_ends},
	{"btgate_refusals_total", "counter",
	 "Clients that were refused, and why.", print_refusals},
	{"btgate_delivered_bytes_total", "counter",
	 "Bytes that were delivered to an end.", print_delivered},
	{"btgate_lost_bytes_total", "counter",
	 "Bytes that were read and could not be delivered.", print_lost},
};

#define FAMILIES (sizeof(families) / sizeof(families[0]))

struct printing {
	FILE *file;
	const struct family *family;
};

/* A changed route has the name of the one that drains: one line for both. */
static void print_route(struct route *route, bool is_leaving, void *arg)
{
	const struct printing *printing = arg;
	const struct family *family = printing->family;

	if (!is_leaving)
		family->print(printing->file, family->name,
			      route_config(route)->name, route);
}

static void print_all(const struct metrics *metrics, FILE *file)
{
	fputs("# HELP btgate_build_info Which btgate this is.\n"
	      "# TYPE btgate_build_info gauge\n"
	      "btgate_build_info{version=\"" BTGATE_VERSION "\"} 1\n",
	      file);
	fprintf(file,
		"# HELP process_start_time_seconds When the gateway started, "
		"since the epoch.\n"
		"# TYPE process_start_time_seconds gauge\n"
		"process_start_time_seconds %.3f\n",
		metrics->started_s);
	for (size_t i = 0; i < FAMILIES; i++) {
		struct printing printing = {file, &families[i]};

		fprintf(file, "# HELP %s %s\n# TYPE %s %s\n", families[i].name,
			families[i].help, families[i].name, families[i].type);
		route_set_each(metrics->routes, print_route, &printing);
	}
}

/* ---- HTTP -------------------------------------------------------------------- */

/* 0, or -ENOMEM: some of @text is missing, or all; fclose is content without. */
static int close_text(FILE *file, char *const *text)
{
	bool is_whole = !ferror(file);

	return fclose(file) == 0 && is_whole && *text ? 0 : -ENOMEM;
}

/* 0, or -ENOMEM. */
static int set_answer(struct scraper *scraper, const char *status,
		      const char *type, const char *body, size_t body_bytes,
		      bool is_head)
{
	FILE *file = open_memstream(&scraper->answer, &scraper->answer_bytes);

	if (!file)
		return -ENOMEM;
	fprintf(file,
		"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
		"Connection: close\r\n\r\n",
		status, type, body_bytes);
	if (!is_head)
		fwrite(body, 1, body_bytes, file);
	return close_text(file, &scraper->answer);
}

static int refuse(struct scraper *scraper, const char *status)
{
	char body[80];
	int bytes = snprintf(body, sizeof(body), "%s; ask for /metrics\n",
			     status);

	return set_answer(scraper, status, "text/plain; charset=utf-8", body,
			  (size_t)bytes, false);
}

static int tell(struct scraper *scraper, bool is_head)
{
	char *body = NULL;
	size_t bytes = 0;
	FILE *file = open_memstream(&body, &bytes);
	int code;

	if (!file)
		return -ENOMEM;
	print_all(scraper->metrics, file);
	code = close_text(file, &body);
	if (code == 0)
		code = set_answer(scraper, "200 OK",
				  "text/plain; version=0.0.4; charset=utf-8",
				  body, bytes, is_head);
	free(body);
	return code;
}

/* Whether @text begins with @word, and a blank or what a query follows. */
static bool is_path(const char *text, const char *word)
{
	const size_t length = strlen(word);

	return strncmp(text, word, length) == 0 &&
	       (text[length] == ' ' || text[length] == '?');
}

/* The head of a request is there; what else is in it does not matter. */
static int take_request(struct scraper *scraper)
{
	const char *request = scraper->request;
	bool is_head = strncmp(request, "HEAD ", 5) == 0;

	if (memchr(request, '\0', scraper->request_bytes) ||
	    !strstr(request, " HTTP/1."))
		return refuse(scraper, "400 Bad Request");
	if (!is_head && strncmp(request, "GET ", 4) != 0)
		return refuse(scraper, "405 Method Not Allowed");
	if (!is_path(request + (is_head ? 5 : 4), "/metrics"))
		return refuse(scraper, "404 Not Found");
	return tell(scraper, is_head);
}

/* ---- who asks ------------------------------------------------------------------ */

static void scraper_free(struct scraper *scraper, enum stream_close how)
{
	struct metrics *metrics = scraper->metrics;

	TAILQ_REMOVE(&metrics->scrapers, scraper, link);
	metrics->scraper_count--;
	if (scraper->readable)
		event_free(scraper->readable);
	if (scraper->writable)
		event_free(scraper->writable);
	if (scraper->deadline)
		event_free(scraper->deadline);
	stream_close(scraper->stream, how);
	free(scraper->answer);
	free(scraper);
}

static void scraper_send(struct scraper *scraper)
{
	ssize_t put = stream_write(scraper->stream,
				   scraper->answer + scraper->sent_bytes,
				   scraper->answer_bytes - scraper->sent_bytes);

	if (put > 0)
		scraper->sent_bytes += (size_t)put;
	if (scraper->sent_bytes == scraper->answer_bytes)
		scraper_free(scraper, STREAM_CLOSE_ORDERLY);
	else if ((put < 0 && put != -EAGAIN) ||
		 event_add(scraper->writable, NULL))
		scraper_free(scraper, STREAM_CLOSE_ABORT);
}

static void scraper_writable(evutil_socket_t fd, short what, void *arg)
{
	scraper_send(arg);
}

static void scraper_readable(evutil_socket_t fd, short what, void *arg)
{
	struct scraper *scraper = arg;
	char *end = scraper->request + scraper->request_bytes;
	ssize_t got = stream_read(scraper->stream, end,
				  REQUEST_BYTES_MAX - scraper->request_bytes);
	int code;

	if (got == -EAGAIN)
		return;
	if (got <= 0) {
		scraper_free(scraper, STREAM_CLOSE_ORDERLY);
		return;
	}
	scraper->request_bytes += (size_t)got;
	end[got] = '\0';
	if (memmem(scraper->request, scraper->request_bytes, "\r\n\r\n", 4))
		code = take_request(scraper);
	else if (scraper->request_bytes == REQUEST_BYTES_MAX)
		code = refuse(scraper, "431 Request Header Fields Too Large");
	else
		return;
	event_del(scraper->readable);
	if (code)
		scraper_free(scraper, STREAM_CLOSE_ABORT);
	else
		scraper_send(scraper);
}

static void scraper_deadline(evutil_socket_t fd, short what, void *arg)
{
	scraper_free(arg, STREAM_CLOSE_ABORT);
}

/* Others do not even take a place. */
static bool is_for(struct metrics *metrics, const struct stream *stream)
{
	static const char reason[] = "it is not among metrics-clients";

	if (!metrics->clients.count ||
	    (stream->has_peer_ip &&
	     address_networks_has(&metrics->clients, &stream->peer_ip)))
		return true;
	if (refusals_remember(&metrics->refusals, refusals_key(stream), reason))
		log_warning("metrics: refused %s: %s; it is not mentioned "
			    "again",
			    stream->peer, reason);
	return false;
}

static void metrics_client(struct stream *stream, void *arg)
{
	struct metrics *metrics = arg;
	struct event_base *base = metrics->loop->base;
	struct scraper *scraper = is_for(metrics, stream)
					  ? calloc(1, sizeof(*scraper))
					  : NULL;

	if (!scraper) {
		stream_close(stream, STREAM_CLOSE_ABORT);
		return;
	}
	/* A new one is worth more than one that takes its time. */
	if (metrics->scraper_count >= CLIENTS_MAX)
		scraper_free(TAILQ_FIRST(&metrics->scrapers),
			     STREAM_CLOSE_ABORT);
	scraper->metrics = metrics;
	scraper->stream = stream;
	TAILQ_INSERT_TAIL(&metrics->scrapers, scraper, link);
	metrics->scraper_count++;
	scraper->readable = event_new(base, stream->read_fd,
				      EV_READ | EV_PERSIST, scraper_readable,
				      scraper);
	scraper->writable = event_new(base, stream->write_fd, EV_WRITE,
				      scraper_writable, scraper);
	scraper->deadline = evtimer_new(base, scraper_deadline, scraper);
	if (!scraper->readable || !scraper->writable || !scraper->deadline ||
	    loop_start_timer(scraper->deadline, DEADLINE_MS) ||
	    event_add(scraper->readable, NULL))
		scraper_free(scraper, STREAM_CLOSE_ABORT);
}

/* ---- from outside --------------------------------------------------------------- */

static double wall_clock_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void end_scrapers(struct metrics *metrics)
{
	while (!TAILQ_EMPTY(&metrics->scrapers))
		scraper_free(TAILQ_FIRST(&metrics->scrapers),
			     STREAM_CLOSE_ABORT);
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
	listener_close(metrics->listener);
	metrics->listener = NULL;
	end_scrapers(metrics);
	address_endpoint_clear(&metrics->address);
}

static void metrics_failed(struct metrics *metrics, const struct error *error)
{
	if (strcmp(error->text, metrics->last_error.text) == 0)
		log_debug("metrics: still not at %s", metrics->wanted_text);
	else if (metrics->listener)
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
	static const struct endpoint_settings settings;
	struct error error;

	if (listener_change(metrics->loop, &metrics->address, &metrics->wanted,
			    &settings, metrics_client, metrics,
			    &metrics->listener, &error)) {
		metrics_failed(metrics, &error);
		return;
	}
	end_scrapers(metrics);
	address_endpoint_clear(&metrics->address);
	metrics->address = metrics->wanted;
	memset(&metrics->wanted, 0, sizeof(metrics->wanted));
	memcpy(metrics->text, metrics->wanted_text, sizeof(metrics->text));
	metrics_want_no_more(metrics);
	log_info("metrics at http://%s/metrics",
		 metrics->text + strlen("tcp:"));
}

static void metrics_retry(evutil_socket_t fd, short what, void *arg)
{
	metrics_move(arg);
}

struct metrics *metrics_new(struct loop *loop, struct route_set *routes)
{
	struct metrics *metrics = calloc(1, sizeof(*metrics));

	if (!metrics)
		return NULL;
	metrics->loop = loop;
	metrics->routes = routes;
	metrics->started_s = wall_clock_s();
	TAILQ_INIT(&metrics->scrapers);
	metrics->retry_timer = evtimer_new(loop->base, metrics_retry, metrics);
	if (metrics->retry_timer)
		return metrics;
	free(metrics);
	errno = ENOMEM;
	return NULL;
}

void metrics_free(struct metrics *metrics)
{
	if (!metrics)
		return;
	metrics_close(metrics);
	event_free(metrics->retry_timer);
	free(metrics);
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
	if (metrics->listener && strcmp(text, metrics->text) == 0)
		return;
	metrics->wanted = config->metrics;
	memset(&config->metrics, 0, sizeof(config->metrics));
	memcpy(metrics->wanted_text, text, sizeof(text));
	metrics_move(metrics);
}
