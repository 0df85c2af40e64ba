/* SPDX-License-Identifier: MIT */
#include "link_setup.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <event2/event.h>

#include "endpoint.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "mishap.h"

/*
 * A phone that pairs first takes as long as its user does; the kernel itself
 * gives up on an RFCOMM channel after RFCOMM_CONN_TIMEOUT, 30 s, and on
 * authentication after 25 s.
 */
#define DEADLINE_MS 60000
#define POLL_FIRST_MS 2
#define POLL_MAX_MS 250

struct link_setup {
	TAILQ_ENTRY(link_setup) link;
	struct link_setups *setups;
	int fd;
	struct event *timer;
	unsigned int wait_ms;
	unsigned int waited_ms;
};

static void setup_free(struct link_setup *setup)
{
	TAILQ_REMOVE(&setup->setups->list, setup, link);
	if (setup->timer)
		event_free(setup->timer);
	free(setup);
}

static void setup_wait(struct link_setup *setup)
{
	loop_start_timer(setup->timer, setup->wait_ms);
	setup->waited_ms += setup->wait_ms;
	setup->wait_ms *= 2;
	if (setup->wait_ms > POLL_MAX_MS)
		setup->wait_ms = POLL_MAX_MS;
}

/*
 * Somebody who waits for a phone must hear of it without asking for more (-v),
 * but not each time that the phone tries again.
 */
static void setups_tell_loss(struct link_setups *setups)
{
	char why[ERROR_TEXT_BYTES];

	snprintf(why, sizeof(why),
		 "left, or did not finish pairing, before its link was up%s",
		 setups->hint);
	mishap_note(&setups->listener->unfinished, "a phone", why);
	(setups->has_warned ? log_info : log_warning)(
		"%s: a phone %s", setups->listener->name, why);
	setups->has_warned = true;
}

static void setup_poll(evutil_socket_t unused, short what, void *arg)
{
	struct link_setup *setup = arg;
	struct link_setups *setups = setup->setups;
	struct pollfd hang_up = {.fd = setup->fd};
	int fd = setup->fd;
	int code = setups->check(fd, setups->arg);

	if (code == -EAGAIN && setup->waited_ms < DEADLINE_MS &&
	    poll(&hang_up, 1, 0) == 0) {
		setup_wait(setup);
		return;
	}
	setup_free(setup);
	if (code == 0) {
		setups->has_warned = false;
		setups->ready(fd, setups->arg);
		return;
	}
	setups_tell_loss(setups);
	close(fd);
}

void link_setups_init(struct link_setups *setups, struct loop *loop,
		      struct listener *listener, const char *hint,
		      link_setup_check_cb check, link_setup_ready_cb ready,
		      void *arg)
{
	setups->loop = loop;
	setups->listener = listener;
	setups->hint = hint;
	setups->check = check;
	setups->ready = ready;
	setups->arg = arg;
	setups->has_warned = false;
	TAILQ_INIT(&setups->list);
}

void link_setups_add(struct link_setups *setups, int fd)
{
	struct link_setup *setup = calloc(1, sizeof(*setup));

	if (!setup)
		goto refuse;
	setup->setups = setups;
	setup->fd = fd;
	setup->wait_ms = POLL_FIRST_MS;
	TAILQ_INSERT_TAIL(&setups->list, setup, link);
	setup->timer = evtimer_new(setups->loop->base, setup_poll, setup);
	if (setup->timer) {
		setup_poll(-1, 0, setup);
		return;
	}
	setup_free(setup);

refuse:
	log_warning("%s: refused a phone: out of memory",
		    setups->listener->name);
	close(fd);
}

void link_setups_clear(struct link_setups *setups)
{
	struct link_setup *setup;

	while ((setup = TAILQ_FIRST(&setups->list))) {
		close(setup->fd);
		setup_free(setup);
	}
}
