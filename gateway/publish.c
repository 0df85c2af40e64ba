/* SPDX-License-Identifier: MIT */
#include "publish.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <bluetooth/sdp.h>
#include <event2/event.h>

#include "backoff.h"
#include "bluez.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "sdp.h"
#include "sdp_local.h"

#define DETAIL_BYTES 900
/*
 * So many answers bluetoothd may owe at once. The system bus refuses more than 128
 * of a connection (dbus-daemon 1.14, max_replies_per_connection), which others need,
 * too. And calls that are sent together run out of time together: bluetoothd (5.66)
 * takes longer with each record that it has.
 */
#define ASKED_MAX 8

/* Whom to ask for a record, once it is its turn. */
enum turn {
	TURN_BUS, /* bluetoothd */
	TURN_LOCAL, /* the local SDP server */
	TURNS,
	TURN_NONE = TURNS, /* is up, being asked for, or failed */
};

/*
 * Up, or asked for, by whichever of @record and @local is there; never both.
 */
struct publication {
	TAILQ_ENTRY(publication) link;
	TAILQ_ENTRY(publication) turn_link;
	struct publisher *publisher;
	char place[24]; /* "channel 22" */
	char *xml;
	uint8_t *binary;
	size_t binary_bytes;
	enum publication_state state;
	char detail[DETAIL_BYTES];
	enum turn turn;
	bool is_answered; /* ever */
	bool is_asked; /* bluetoothd owes the answer for @record */
	struct bluez_record *record;
	struct error
		bus_error; /* of this round; "" if bluetoothd is to be asked */
	struct sdp_local *local;
	struct error local_error;
	publication_changed_cb changed;
	void *arg;
	struct loop_task changed_task;
};

TAILQ_HEAD(publication_queue, publication);

struct publisher {
	struct loop *loop;
	struct bluez *bluez;
	struct bluez_watcher watcher;
	const char *sdp_path;
	struct publication_queue publications;
	/* Those with a turn: who came first is asked first, also by a retry. */
	struct publication_queue turns[TURNS];
	unsigned int asked; /* how many answers bluetoothd owes */
	/*
	 * Whose answer the local server owes. One at a time: its backlog is 5
	 * (bluez src/sdpd-server.c), and more would be turned away.
	 */
	struct publication *local_asker;
	struct event *retry_event;
	struct backoff retry;
	struct loop_task round_task;
	char report[DETAIL_BYTES]; /* logged last */
};

static void run_changed(void *arg)
{
	struct publication *publication = arg;

	publication->changed(publication, publication->state,
			     publication->detail, publication->arg);
}

/* The one place where the state changes. */
static void set_state(struct publication *publication,
		      enum publication_state state, const char *detail)
{
	if (state == publication->state &&
	    strcmp(detail, publication->detail) == 0)
		return;
	publication->state = state;
	snprintf(publication->detail, sizeof(publication->detail), "%s",
		 detail);
	loop_defer(publication->publisher->loop, &publication->changed_task);
}

/* True if @text is news, and then kept as what was reported last. */
static bool is_news(struct publisher *publisher, const char *text)
{
	if (strcmp(text, publisher->report) == 0)
		return false;
	snprintf(publisher->report, sizeof(publisher->report), "%s", text);
	return true;
}

/* The one place where a turn changes; it comes with the next round. */
static void set_turn(struct publication *publication, enum turn turn)
{
	struct publisher *publisher = publication->publisher;

	if (publication->turn != TURN_NONE)
		TAILQ_REMOVE(&publisher->turns[publication->turn], publication,
			     turn_link);
	publication->turn = turn;
	if (turn == TURN_NONE)
		return;
	TAILQ_INSERT_TAIL(&publisher->turns[turn], publication, turn_link);
	loop_defer(publisher->loop, &publisher->round_task);
}

/* ---- how it ended -------------------------------------------------------- */

static void retry_later(struct publisher *publisher)
{
	if (!event_pending(publisher->retry_event, EV_TIMEOUT, NULL))
		loop_start_timer(publisher->retry_event,
				 backoff_next_ms(&publisher->retry));
}

static void succeed(struct publication *publication, const char *way)
{
	struct publisher *publisher = publication->publisher;
	char text[DETAIL_BYTES];

	publication->is_answered = true;
	backoff_reset(&publisher->retry);
	snprintf(text, sizeof(text), "published through %s", way);
	if (is_news(publisher, text))
		log_info("service records are %s", text);
	set_state(publication, PUBLICATION_STATE_UP, text);
}

static void fail(struct publication *publication)
{
	struct publisher *publisher = publication->publisher;
	const char *bus = bluez_state(publisher->bluez) == BLUEZ_STATE_READY
				  ? publication->bus_error.text
				  : bluez_reason(publisher->bluez);
	char text[DETAIL_BYTES];

	publication->is_answered = true;
	snprintf(text, sizeof(text),
		 "no service record can be published: %s, and %s; phones find "
		 "nothing and can only connect by number%s",
		 bus, publication->local_error.text,
		 bluez_advice(publisher->bluez));
	if (is_news(publisher, text))
		log_warning("%s", text);
	snprintf(text, sizeof(text),
		 "no service record: %s, and %s; phones can still connect to "
		 "%s by number%s",
		 bus, publication->local_error.text, publication->place,
		 bluez_advice(publisher->bluez));
	set_state(publication, PUBLICATION_STATE_WAITING, text);
	retry_later(publisher);
}

/* It was up and is not any more; what comes next is another round's. */
static void lose(struct publication *publication, const struct error *error)
{
	set_state(publication, PUBLICATION_STATE_WAITING, error->text);
	retry_later(publication->publisher);
}

/* ---- the local SDP server, when bluetoothd cannot be asked --------------- */

static void explain_local(struct error *out, int code,
			  const struct error *error)
{
	switch (code) {
	case -ENOENT:
		error_set(out, code,
			  "there is no local SDP server (%.150s; bluetoothd "
			  "--compat has one)",
			  error->text);
		break;
	case -EACCES:
		error_set(out, code,
			  "the local SDP server is for root only (%.150s)",
			  error->text);
		break;
	case -ECONNREFUSED:
		error_set(out, code, "the local SDP server has ended (%.150s)",
			  error->text);
		break;
	default:
		*out = *error;
	}
}

static void fail_local(struct publication *publication,
		       const struct error *error)
{
	publication->local_error = *error;
	/* bluetoothd may have come meanwhile, and was not asked yet. */
	if (bluez_state(publication->publisher->bluez) == BLUEZ_STATE_READY &&
	    !*publication->bus_error.text)
		set_turn(publication, TURN_BUS);
	else
		fail(publication);
}

/* It is not about the record: nobody else needs to try. */
static bool is_server_absent(int code)
{
	return code == -ENOENT || code == -EACCES || code == -ECONNREFUSED;
}

static void on_local(int code, const struct error *error, void *arg)
{
	struct publication *publication = arg;
	struct publisher *publisher = publication->publisher;
	struct error explained = {""};
	struct publication *next;
	char way[160];

	if (publisher->local_asker == publication) {
		publisher->local_asker = NULL;
		loop_defer(publisher->loop, &publisher->round_task);
	}
	if (code == 0) {
		snprintf(way, sizeof(way), "the local SDP server %.120s",
			 publisher->sdp_path);
		succeed(publication, way);
		return;
	}
	explain_local(&explained, code, error);
	sdp_local_free(publication->local);
	publication->local = NULL;
	if (publication->state == PUBLICATION_STATE_UP)
		lose(publication, &explained);
	else
		fail_local(publication, &explained);
	while (is_server_absent(code) &&
	       (next = TAILQ_FIRST(&publisher->turns[TURN_LOCAL]))) {
		set_turn(next, TURN_NONE);
		fail_local(next, &explained);
	}
}

static void start_local(struct publication *publication)
{
	struct publisher *publisher = publication->publisher;

	set_turn(publication, TURN_NONE);
	publication->local = sdp_local_new(publisher->loop, publisher->sdp_path,
					   publication->binary,
					   publication->binary_bytes, on_local,
					   publication);
	if (publication->local) {
		publisher->local_asker = publication;
		return;
	}
	error_set(&publication->local_error, -errno, "%s", strerror(errno));
	fail(publication);
}

/* ---- bluetoothd over D-Bus ----------------------------------------------- */

/* The one place where it changes. Others may wait for this one's answer. */
static void set_asked(struct publication *publication, bool is_asked)
{
	struct publisher *publisher = publication->publisher;

	if (is_asked == publication->is_asked)
		return;
	publication->is_asked = is_asked;
	if (is_asked) {
		publisher->asked++;
	} else {
		publisher->asked--;
		loop_defer(publisher->loop, &publisher->round_task);
	}
}

static void on_record(int code, const struct error *error, void *arg)
{
	struct publication *publication = arg;

	set_asked(publication, false);
	if (code == 0) {
		succeed(publication, "bluetoothd on D-Bus");
		return;
	}
	publication->bus_error = *error;
	bluez_record_free(publication->record);
	publication->record = NULL;
	if (publication->state == PUBLICATION_STATE_UP)
		lose(publication, &publication->bus_error);
	else
		set_turn(publication, TURN_LOCAL);
}

static void start(struct publication *publication)
{
	struct publisher *publisher = publication->publisher;

	if (bluez_state(publisher->bluez) != BLUEZ_STATE_READY) {
		set_turn(publication, TURN_LOCAL);
		return;
	}
	publication->record = bluez_record_new(
		publisher->bluez, publication->xml, on_record, publication);
	if (!publication->record) {
		error_set(&publication->bus_error, -errno,
			  "bluetoothd cannot be asked (%s)", strerror(errno));
		set_turn(publication, TURN_LOCAL);
		return;
	}
	set_turn(publication, TURN_NONE);
	set_asked(publication, true);
	/* A retry that fails as before is nobody's news. */
	if (!publication->is_answered)
		set_state(publication, PUBLICATION_STATE_ASKED,
			  "bluetoothd was asked");
}

/* ---- rounds --------------------------------------------------------------- */

/* As many as may be asked for, as soon as it is known whether there is a bus. */
static void run_round(void *arg)
{
	struct publisher *publisher = arg;
	struct publication *publication;

	if (!*bluez_reason(publisher->bluez))
		return;
	while (publisher->asked < ASKED_MAX &&
	       (publication = TAILQ_FIRST(&publisher->turns[TURN_BUS])))
		start(publication);
	while (!publisher->local_asker &&
	       (publication = TAILQ_FIRST(&publisher->turns[TURN_LOCAL])))
		start_local(publication);
}

/* Whatever is neither up nor being asked for. */
static void begin_round(struct publisher *publisher)
{
	struct publication *publication;

	for (publication = TAILQ_FIRST(&publisher->publications); publication;
	     publication = TAILQ_NEXT(publication, link)) {
		if (publication->record || publication->local ||
		    publication->turn == TURN_BUS)
			continue;
		publication->bus_error.text[0] = '\0';
		set_turn(publication, TURN_BUS);
	}
	run_round(publisher);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	begin_round(arg);
}

static void on_bluez_changed(struct bluez *bluez, void *arg)
{
	begin_round(arg);
}

struct publisher *publisher_new(struct loop *loop, struct bluez *bluez)
{
	struct publisher *publisher = calloc(1, sizeof(*publisher));

	if (!publisher)
		return NULL;
	publisher->loop = loop;
	publisher->bluez = bluez;
	publisher->sdp_path = SDP_UNIX_PATH;
	publisher->round_task = (struct loop_task){.run = run_round,
						   .arg = publisher};
	TAILQ_INIT(&publisher->publications);
	for (int turn = 0; turn < TURNS; turn++)
		TAILQ_INIT(&publisher->turns[turn]);
	publisher->retry_event = event_new(loop->base, -1, 0, on_retry,
					   publisher);
	if (!publisher->retry_event) {
		free(publisher);
		errno = ENOMEM;
		return NULL;
	}
	bluez_watch(bluez, &publisher->watcher, on_bluez_changed, publisher);
	return publisher;
}

void publisher_free(struct publisher *publisher)
{
	if (!publisher)
		return;
	assert(TAILQ_EMPTY(&publisher->publications));
	loop_cancel(publisher->loop, &publisher->round_task);
	bluez_unwatch(&publisher->watcher);
	event_free(publisher->retry_event);
	free(publisher);
}

void publisher_set_sdp_path(struct publisher *publisher, const char *path)
{
	publisher->sdp_path = path;
}

struct publication *publication_new(struct publisher *publisher,
				    const struct sdp_service *service,
				    publication_changed_cb changed, void *arg)
{
	struct publication *publication = calloc(1, sizeof(*publication));
	int code;

	if (!publication)
		return NULL;
	publication->publisher = publisher;
	publication->changed = changed;
	publication->arg = arg;
	publication->changed_task = (struct loop_task){.run = run_changed,
						       .arg = publication};
	publication->turn = TURN_NONE;
	snprintf(publication->place, sizeof(publication->place),
		 service->protocol == SERVICE_PROTOCOL_L2CAP ? "PSM %u"
							     : "channel %u",
		 service->port);
	TAILQ_INSERT_TAIL(&publisher->publications, publication, link);
	code = sdp_record_build(service, &publication->binary,
				&publication->binary_bytes, NULL);
	if (code == 0) {
		publication->xml = sdp_record_to_xml(service, NULL);
		code = publication->xml ? 0 : -errno;
	}
	if (code < 0) {
		publication_free(publication);
		errno = -code;
		return NULL;
	}
	set_turn(publication, TURN_BUS);
	return publication;
}

void publication_free(struct publication *publication)
{
	struct publisher *publisher;

	if (!publication)
		return;
	publisher = publication->publisher;
	if (publisher->local_asker == publication)
		publisher->local_asker = NULL;
	/* Others may have waited for this one. */
	loop_defer(publisher->loop, &publisher->round_task);
	TAILQ_REMOVE(&publisher->publications, publication, link);
	loop_cancel(publisher->loop, &publication->changed_task);
	set_asked(publication, false);
	set_turn(publication, TURN_NONE);
	bluez_record_free(publication->record);
	sdp_local_free(publication->local);
	free(publication->binary);
	free(publication->xml);
	free(publication);
}
