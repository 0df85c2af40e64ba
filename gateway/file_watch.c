/* SPDX-License-Identifier: MIT */
#include "file_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "error.h"

TAILQ_HEAD(file_watch_list, file_watch);

/* Is there as long as anything is watched. */
struct file_watch_hub {
	struct loop *loop;
	int fd;
	struct event *event;
	struct file_watch_list watches;
};

static void take_event(struct file_watch_hub *hub,
		       const struct inotify_event *event)
{
	bool is_for_all = event->mask & IN_Q_OVERFLOW;
	struct file_watch *watch;

	for (watch = TAILQ_FIRST(&hub->watches); watch;
	     watch = TAILQ_NEXT(watch, link)) {
		if (!is_for_all && watch->number != event->wd)
			continue;
		/* Another one may have asked for more of the same file. */
		if (!(event->mask & (watch->wanted | IN_Q_OVERFLOW)) ||
		    (watch->filter && !watch->filter(event, watch->arg)))
			continue;
		watch->events |= event->mask;
		loop_defer(hub->loop, &watch->task);
	}
}

static void hub_read(struct file_watch_hub *hub)
{
	char buffer[4096]
		__attribute__((aligned(__alignof__(struct inotify_event))));
	const struct inotify_event *event;
	ssize_t got;

	while ((got = read(hub->fd, buffer, sizeof(buffer))) > 0) {
		for (char *p = buffer; p < buffer + got;
		     p += sizeof(*event) + event->len) {
			event = (const struct inotify_event *)p;
			take_event(hub, event);
		}
	}
}

static void hub_readable(evutil_socket_t fd, short what, void *arg)
{
	hub_read(arg);
}

static void hub_free(struct file_watch_hub *hub)
{
	hub->loop->file_watch_hub = NULL;
	if (hub->event)
		event_free(hub->event);
	if (hub->fd >= 0)
		close(hub->fd);
	free(hub);
}

/* 0 or -errno. */
static int hub_make(struct loop *loop)
{
	struct file_watch_hub *hub = calloc(1, sizeof(*hub));
	int code = 0;

	if (!hub)
		return -ENOMEM;
	hub->loop = loop;
	TAILQ_INIT(&hub->watches);
	hub->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (hub->fd < 0)
		code = -errno;
	else
		hub->event = event_new(loop->base, hub->fd,
				       EV_READ | EV_PERSIST, hub_readable, hub);
	if (!code && (!hub->event || event_add(hub->event, NULL)))
		code = -ENOMEM;
	if (code)
		hub_free(hub);
	else
		loop->file_watch_hub = hub;
	return code;
}

/* The kernel's watch goes with the last one that needs it. */
static void let_go(const struct file_watch_hub *hub, int number)
{
	const struct file_watch *watch;

	for (watch = TAILQ_FIRST(&hub->watches); watch;
	     watch = TAILQ_NEXT(watch, link))
		if (watch->number == number)
			return;
	/* Of a file that is gone, it is gone already: EINVAL. */
	inotify_rm_watch(hub->fd, number);
}

static void run_happened(void *arg)
{
	struct file_watch *watch = arg;
	uint32_t events = watch->events;

	watch->events = 0;
	watch->happened(events, watch->arg);
}

void file_watch_init(struct file_watch *watch, struct loop *loop,
		     uint32_t wanted, file_watch_filter_cb filter,
		     file_watch_cb happened, void *arg)
{
	*watch = (struct file_watch){
		.loop = loop,
		.number = -1,
		.wanted = wanted,
		.task = {.run = run_happened, .arg = watch},
		.filter = filter,
		.happened = happened,
		.arg = arg,
	};
}

int file_watch_aim(struct file_watch *watch, const char *path)
{
	struct file_watch_hub *hub = watch->loop->file_watch_hub;
	int number, before = watch->number, code = 0;

	if (!hub)
		code = hub_make(watch->loop);
	if (code)
		return code;
	hub = watch->loop->file_watch_hub;
	/* The others of the same file go on being told what they asked for. */
	number = inotify_add_watch(hub->fd, path, watch->wanted | IN_MASK_ADD);
	if (number < 0) {
		code = -errno;
		if (TAILQ_EMPTY(&hub->watches))
			hub_free(hub);
		return code;
	}
	watch->number = number;
	if (!watch->hub)
		TAILQ_INSERT_TAIL(&hub->watches, watch, link);
	else if (number != before)
		let_go(hub, before);
	watch->hub = hub;
	return 0;
}

void file_watch_stop(struct file_watch *watch)
{
	struct file_watch_hub *hub = watch->hub;

	if (!hub)
		return;
	TAILQ_REMOVE(&hub->watches, watch, link);
	loop_cancel(watch->loop, &watch->task);
	let_go(hub, watch->number);
	watch->hub = NULL;
	watch->number = -1;
	watch->events = 0;
	if (TAILQ_EMPTY(&hub->watches))
		hub_free(hub);
}

uint32_t file_watch_take(struct file_watch *watch)
{
	uint32_t events;

	if (watch->hub)
		hub_read(watch->hub);
	loop_cancel(watch->loop, &watch->task);
	events = watch->events;
	watch->events = 0;
	return events;
}

int file_watch_explain(int code, const char *path, struct error *error)
{
	const char *advice = "";

	if (code == -EMFILE)
		advice = "; raise fs.inotify.max_user_instances";
	else if (code == -ENOSPC)
		advice = "; raise fs.inotify.max_user_watches";
	return error_set(error, code, "cannot watch %s: %s%s", path,
			 strerror(-code), advice);
}
