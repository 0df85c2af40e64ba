/* SPDX-License-Identifier: MIT */
#include "metrics_server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>

#include "address_network.h"
#include "capability.h"
#include "endpoint_tcp.h"
#include "loop.h"
#include "refusals.h"

#define CLIENTS_MAX 8
/* Prometheus' own are a few hundred. */
#define HEADERS_BYTES_MAX 8192
/* evhttp refuses what does not fit before so much waits to be looked at. */
#define UNREAD_BYTES_MAX (4 * HEADERS_BYTES_MAX)
/* For the request and the answer together; Prometheus gives up after 10 s. */
#define DEADLINE_S 10
/* The gateway's, which has nothing to wait for. */
#define ANSWER_MS 5000
#define PAUSE_S 1

TAILQ_HEAD(scraper_list, scraper);

struct server {
	struct event_base *base;
	struct address_networks clients; /* who may ask */
	struct refusals refusals; /* of the others */
	struct scraper_list newcomers; /* not looked at yet */
	struct event *look;
	struct scraper_list scrapers; /* the one longest there first */
	unsigned int scraper_count;
	uint8_t question; /* the latest */
};

/* Who asks. */
struct scraper {
	TAILQ_ENTRY(scraper) link;
	struct server *server;
	struct bufferevent *bev; /* ours too, while it is a newcomer */
	struct evhttp_connection *connection; /* since then; evhttp's */
	struct event *deadline;
};

/* ---- the gateway ------------------------------------------------------------- */

/*
 * What has come of it: the number of the question, and the numbers, which the caller
 * closes; -1: there are none.
 */
static uint8_t take_answer(int *fd)
{
	uint8_t question = 0;
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec piece = {&question, sizeof(question)};
	struct msghdr message = {.msg_iov = &piece,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	ssize_t got = recvmsg(METRICS_SERVER_CHANNEL_FD, &message,
			      MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;

	*fd = -1;
	/* The gateway has ended. */
	if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
		_exit(0);
	if (header && header->cmsg_level == SOL_SOCKET &&
	    header->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(header), sizeof(*fd));
	return question;
}

/* Of a question that was not waited for any more; or its end. */
static void channel_readable(evutil_socket_t channel, short what, void *arg)
{
	int fd;

	take_answer(&fd);
	if (fd >= 0)
		close(fd);
}

/* Waits: nobody here has anything better to do. The numbers, or -1. */
static int ask_gateway(struct server *server)
{
	struct pollfd poller = {.fd = METRICS_SERVER_CHANNEL_FD,
				.events = POLLIN};
	const uint64_t end_ms = loop_now_ms() + ANSWER_MS;
	uint64_t now_ms;
	int fd;

	/* 0 is no question. */
	if (++server->question == 0)
		server->question++;
	if (send(METRICS_SERVER_CHANNEL_FD, &server->question, 1,
		 MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
		return -1;
	while ((now_ms = loop_now_ms()) < end_ms) {
		if (poll(&poller, 1, (int)(end_ms - now_ms)) <= 0)
			continue;
		if (take_answer(&fd) == server->question)
			return fd;
		if (fd >= 0)
			close(fd);
	}
	return -1;
}

/* ---- the answer -------------------------------------------------------------- */

/* HEAD is told how long @body is, and not given it. */
static void reply(struct evhttp_request *request, int code, const char *reason,
		  const char *type, struct evbuffer *body)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	bool is_head = evhttp_request_get_command(request) == EVHTTP_REQ_HEAD;
	char length[24];

	snprintf(length, sizeof(length), "%zu", evbuffer_get_length(body));
	if (evhttp_add_header(headers, "Content-Type", type) ||
	    evhttp_add_header(headers, "Content-Length", length) ||
	    evhttp_add_header(headers, "Connection", "close"))
		abort();
	evhttp_send_reply(request, code, reason, is_head ? NULL : body);
}

static void refuse(struct evhttp_request *request, int code, const char *reason,
		   const char *hint)
{
	struct evbuffer *body = evbuffer_new();

	if (!body ||
	    evbuffer_add_printf(body, "%d %s; %s\n", code, reason, hint) < 0)
		abort();
	reply(request, code, reason, "text/plain; charset=utf-8", body);
	evbuffer_free(body);
}

static void asked_for_metrics(struct evhttp_request *request, void *arg)
{
	int fd = ask_gateway(arg);
	struct evbuffer *body;
	struct stat status;

	if (fd >= 0 && fstat(fd, &status)) {
		close(fd);
		fd = -1;
	}
	if (fd < 0) {
		refuse(request, HTTP_SERVUNAVAIL, "Service Unavailable",
		       "the gateway has no numbers now");
		return;
	}
	body = evbuffer_new();
	/* Never "OK" with half of them, or none. */
	if (!body || evbuffer_add_file(body, fd, 0, status.st_size) ||
	    evbuffer_get_length(body) != (size_t)status.st_size)
		abort();
	reply(request, HTTP_OK, "OK",
	      "text/plain; version=0.0.4; charset=utf-8", body);
	evbuffer_free(body);
}

static void asked_for_else(struct evhttp_request *request, void *arg)
{
	refuse(request, HTTP_NOTFOUND, "Not Found", "ask for /metrics");
}

/* ---- who asks ------------------------------------------------------------------ */

/*
 * evhttp has no bound for its connections, and its timeout begins anew with each
 * byte. It tells of a new one only by asking for a bufferevent, which has no
 * descriptor yet: it is looked at behind that callback, before anything is read.
 */

/* evhttp frees the connection. */
static void scraper_closed(struct evhttp_connection *connection, void *arg)
{
	struct scraper *scraper = arg;
	struct server *server = scraper->server;

	TAILQ_REMOVE(&server->scrapers, scraper, link);
	server->scraper_count--;
	event_free(scraper->deadline);
	free(scraper);
}

/* It is told that it was cut off: by itself evhttp would end it in good order. */
static void scraper_end(struct scraper *scraper)
{
	const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

	connect(bufferevent_getfd(scraper->bev), &nobody, sizeof(nobody));
	evhttp_connection_free(scraper->connection);
}

static void scraper_deadline(evutil_socket_t fd, short what, void *arg)
{
	scraper_end(arg);
}

static bool is_for(struct server *server, int fd)
{
	char peer[STREAM_PEER_BYTES];
	struct address_ip ip;
	bool is_known;

	if (!server->clients.count)
		return true;
	is_known = endpoint_tcp_peer(fd, peer, &ip);
	if (is_known && address_networks_has(&server->clients, &ip))
		return true;
	/* There is one reason, and the gateway has the words for it. */
	if (refusals_remember(&server->refusals,
			      is_known ? refusals_ip_key(&ip) : 0, ""))
		send(METRICS_SERVER_CHANNEL_FD, peer, strlen(peer),
		     MSG_DONTWAIT | MSG_NOSIGNAL);
	return false;
}

static void scraper_begin(struct scraper *scraper)
{
	const struct timeval deadline = {.tv_sec = DEADLINE_S};
	struct server *server = scraper->server;
	void *connection;

	/* What evhttp has set its callbacks with; NULL: it is gone already. */
	bufferevent_getcb(scraper->bev, NULL, NULL, NULL, &connection);
	bufferevent_decref(scraper->bev);
	if (!connection) {
		free(scraper);
		return;
	}
	scraper->connection = connection;
	scraper->deadline = evtimer_new(server->base, scraper_deadline,
					scraper);
	evtimer_add(scraper->deadline, &deadline);
	evhttp_connection_set_closecb(connection, scraper_closed, scraper);
	TAILQ_INSERT_TAIL(&server->scrapers, scraper, link);
	server->scraper_count++;
	if (!is_for(server, bufferevent_getfd(scraper->bev)))
		scraper_end(scraper);
	/* A new one is worth more than one that takes its time. */
	else if (server->scraper_count > CLIENTS_MAX)
		scraper_end(TAILQ_FIRST(&server->scrapers));
}

static void look_at_newcomers(evutil_socket_t fd, short what, void *arg)
{
	struct server *server = arg;
	struct scraper *scraper;

	while ((scraper = TAILQ_FIRST(&server->newcomers))) {
		TAILQ_REMOVE(&server->newcomers, scraper, link);
		scraper_begin(scraper);
	}
}

static struct bufferevent *somebody_comes(struct event_base *base, void *arg)
{
	struct server *server = arg;
	struct scraper *scraper = calloc(1, sizeof(*scraper));

	if (!scraper)
		abort();
	scraper->server = server;
	scraper->bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	/* evhttp has none for the line of a chunk, and reads while it writes. */
	bufferevent_setwatermark(scraper->bev, EV_READ, 0, UNREAD_BYTES_MAX);
	bufferevent_incref(scraper->bev);
	TAILQ_INSERT_TAIL(&server->newcomers, scraper, link);
	event_active(server->look, EV_TIMEOUT, 0);
	return scraper->bev;
}

/* ---- the port ------------------------------------------------------------------ */

static void listener_resume(evutil_socket_t fd, short what, void *arg)
{
	evconnlistener_enable(arg);
}

/* Descriptors have run out. By itself it would try again without end. */
static void listener_failed(struct evconnlistener *listener, void *http)
{
	const struct timeval pause = {.tv_sec = PAUSE_S};

	evconnlistener_disable(listener);
	event_base_once(evconnlistener_get_base(listener), -1, EV_TIMEOUT,
			listener_resume, listener, &pause);
}

/* ---- the whole ------------------------------------------------------------------ */

static bool socket_is(int fd, int option, int value)
{
	int found = -1;
	socklen_t bytes = sizeof(found);

	return getsockopt(fd, SOL_SOCKET, option, &found, &bytes) == 0 &&
	       found == value;
}

static bool is_started_by_gateway(int argument_count)
{
	return argument_count == 1 &&
	       socket_is(METRICS_SERVER_LISTEN_FD, SO_ACCEPTCONN, 1) &&
	       socket_is(METRICS_SERVER_CHANNEL_FD, SO_TYPE, SOCK_SEQPACKET);
}

/*
 * Memory that there is none of is not looked for: whatever fails here, the process
 * ends, as it would in evhttp, and the gateway starts another one.
 */
static int server_run(struct server *server)
{
	struct evhttp_bound_socket *bound;
	struct event *readable;
	struct evhttp *http;

	server->base = event_base_new();
	http = evhttp_new(server->base);
	evhttp_set_bevcb(http, somebody_comes, server);
	evhttp_set_allowed_methods(http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
	evhttp_set_max_headers_size(http, HEADERS_BYTES_MAX);
	evhttp_set_max_body_size(http, 0);
	evhttp_set_cb(http, "/metrics", asked_for_metrics, server);
	evhttp_set_gencb(http, asked_for_else, server);
	server->look = event_new(server->base, -1, 0, look_at_newcomers,
				 server);
	readable = event_new(server->base, METRICS_SERVER_CHANNEL_FD,
			     EV_READ | EV_PERSIST, channel_readable, server);
	event_add(readable, NULL);
	bound = evhttp_accept_socket_with_handle(http,
						 METRICS_SERVER_LISTEN_FD);
	evconnlistener_set_error_cb(evhttp_bound_socket_get_listener(bound),
				    listener_failed);
	event_base_dispatch(server->base);
	return EXIT_FAILURE;
}

/* Where memory runs out for good, it is not the sessions that pay. */
static void go_first(void)
{
	static const char most[] = "1000";
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	/* Without /proc it is one among others. */
	if (fd < 0)
		return;
	if (write(fd, most, strlen(most)) < 0)
		errno = 0;
	close(fd);
}

int metrics_server_run(int argument_count, char **arguments)
{
	struct server server = {
		.newcomers = TAILQ_HEAD_INITIALIZER(server.newcomers),
		.scrapers = TAILQ_HEAD_INITIALIZER(server.scrapers),
	};

	if (!is_started_by_gateway(argument_count) ||
	    address_networks_add(arguments[0], &server.clients, NULL)) {
		fprintf(stderr, "btgate: " METRICS_SERVER_COMMAND
				" is for 'btgate run' alone, which starts it "
				"where there are to be metrics\n");
		return 2;
	}
	prctl(PR_SET_NAME, "btgate-metrics");
	signal(SIGPIPE, SIG_IGN);
	capability_drop_all();
	go_first();
	return server_run(&server);
}
