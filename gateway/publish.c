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
 * of a connection (dbus-daemon max_replies_per_connection), which others need, too;
 * and with each record bluetoothd takes longer for the next one, seconds when there
 * are hundreds, while every call has the same time from when it was sent.
 */
#define ASKED_MAX 4

/*
 * Up, or asked for, by whichever of @record and @local is there; never both.
 */
struct publication {
	TAILQ_ENTRY(publication) link;
	struct publisher *publisher;
	char place[24]; /* "channel 22" */
	char *xml;
	uint8_t *binary;
	size_t binary_bytes;
	enum publication_state state;
	char detail[DETAIL_BYTES];
	bool is_due; /* to be tried in this round */
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
	unsigned int asked; /* by ASKED_MAX */
	/*
	 * Whose answer the local server owes. One at a time: its backlog is 5
	 * (bluez src/sdpd-server.c), and more would be turned away.
	 */
	struct publication *local_asker;
	struct event *retry_event;
	struct backoff retry;
	struct loop_task round_task;
	bool is_settled;
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

/* ---- how it ended -------------------------------------------------------- */

static void settle(struct publisher *publisher)
{
	const struct publication *publication;

	if (publisher->is_settled || !*bluez_reason(publisher->bluez))
		return;
	for (publication = TAILQ_FIRST(&publisher->publications); publication;
	     publication = TAILQ_NEXT(publication, link)) {
		if (!publication->is_answered)
			return;
	}
	publisher->is_settled = true;
}

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
	settle(publisher);
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
	settle(publisher);
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

static void on_local(int code, const struct error *error, void *arg)
{
	struct publication *publication = arg;
	struct publisher *publisher = publication->publisher;
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
	explain_local(&publication->local_error, code, error);
	sdp_local_free(publication->local);
	publication->local = NULL;
	if (publication->state == PUBLICATION_STATE_UP) {
		lose(publication, &publication->local_error);
	} else if (bluez_state(publisher->bluez) == BLUEZ_STATE_READY &&
		   !*publication->bus_error.text) {
		/* It has come meanwhile, and was not asked yet. */
		publication->is_due = true;
		loop_defer(publisher->loop, &publisher->round_task);
	} else {
		fail(publication);
	}
}

static void start_local(struct publication *publication)
{
	struct publisher *publisher = publication->publisher;

	publication->is_due = publisher->local_asker;
	if (publication->is_due)
		return;
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
	if (is_asked)
		publisher->asked++;
	else if (publisher->asked-- == ASKED_MAX)
		loop_defer(publisher->loop, &publisher->round_task);
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
		start_local(publication);
}

static void start(struct publication *publication)
{
	struct publisher *publisher = publication->publisher;

	publication->is_due = false;
	if (bluez_state(publisher->bluez) == BLUEZ_STATE_READY &&
	    !*publication->bus_error.text) {
		if (publisher->asked == ASKED_MAX) {
			publication->is_due = true;
			return;
		}
		publication->record = bluez_record_new(publisher->bluez,
						       publication->xml,
						       on_record, publication);
		if (publication->record) {
			set_asked(publication, true);
			/* A retry that fails as before is nobody's news. */
			if (!publication->is_answered)
				set_state(publication, PUBLICATION_STATE_ASKED,
					  "bluetoothd was asked");
			return;
		}
		error_set(&publication->bus_error, -errno,
			  "bluetoothd cannot be asked (%s)", strerror(errno));
	}
	start_local(publication);
}

/* ---- rounds --------------------------------------------------------------- */

/* Try what is due, as soon as it is known whether there is a bus. */
static void run_round(void *arg)
{
	struct publisher *publisher = arg;
	struct publication *publication;

	if (!*bluez_reason(publisher->bluez))
		return;
	for (publication = TAILQ_FIRST(&publisher->publications); publication;
	     publication = TAILQ_NEXT(publication, link)) {
		if (publication->is_due)
			start(publication);
	}
	settle(publisher);
}

static void begin_round(struct publisher *publisher)
{
	struct publication *publication;

	for (publication = TAILQ_FIRST(&publisher->publications); publication;
	     publication = TAILQ_NEXT(publication, link)) {
		if (publication->record || publication->local)
			continue;
		publication->is_due = true;
		publication->bus_error.text[0] = '\0';
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

bool publisher_is_settled(const struct publisher *publisher)
{
	return publisher->is_settled;
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
	publication->is_due = true;
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
	loop_defer(publisher->loop, &publisher->round_task);
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
	bluez_record_free(publication->record);
	sdp_local_free(publication->local);
	free(publication->binary);
	free(publication->xml);
	free(publication);
}
