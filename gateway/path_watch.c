/* SPDX-License-Identifier: MIT */
#include "path_watch.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <event2/event.h>

#include "loop.h"

/* It comes, by any name; it is made usable (udev's chmod); its place goes. */
#define EVENTS                                                                 \
	(IN_CREATE | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | \
	 IN_ONLYDIR)

/* Against directories that come and go all the time. */
#define AIM_TRIES_MAX 10

struct path_watch {
	char *path;
	char *directory; /* room for any directory above it */
	const char *next; /* what comes next in the path */
	bool is_parent; /* not one further up */
	int notify_fd;
	int watch;
	struct event *event;
	path_watch_cb changed;
	void *arg;
};

/* Watch the nearest directory that is there now. 0 or -errno. */
static int watch_nearest(struct path_watch *watch)
{
	char *slash = watch->directory + strlen(watch->path);

	strcpy(watch->directory, watch->path);
	watch->is_parent = true;
	for (;;) {
		while (slash > watch->directory && *--slash != '/')
			;
		watch->next = watch->path + (slash - watch->directory) + 1;
		/* The root's name is its slash. */
		slash[slash == watch->directory] = '\0';
		watch->watch = inotify_add_watch(watch->notify_fd,
						 watch->directory, EVENTS);
		if (watch->watch >= 0)
			return 0;
		if ((errno != ENOENT && errno != ENOTDIR) ||
		    slash == watch->directory)
			return -errno;
		watch->is_parent = false;
	}
}

/* Whether the next step came before it was watched for. */
static bool has_come(struct path_watch *watch)
{
	size_t bytes = (size_t)(watch->next - watch->path) +
		       strcspn(watch->next, "/");

	if (watch->is_parent)
		return false;
	memcpy(watch->directory, watch->path, bytes);
	watch->directory[bytes] = '\0';
	return access(watch->directory, F_OK) == 0;
}

static int path_watch_aim(struct path_watch *watch)
{
	int tries = AIM_TRIES_MAX, code;

	while ((code = watch_nearest(watch)) == 0 && has_come(watch) && --tries)
		inotify_rm_watch(watch->notify_fd, watch->watch);
	return code;
}

/*
 * In the last directory anything may be news: what the path leads to if it is
 * a link. Further up only the next step is.
 */
static bool is_news(const struct path_watch *watch,
		    const struct inotify_event *event)
{
	size_t bytes = strcspn(watch->next, "/");

	if (event->mask & (IN_Q_OVERFLOW | IN_DELETE_SELF | IN_MOVE_SELF))
		return true;
	if (event->mask & IN_IGNORED || event->len == 0)
		return false;
	return watch->is_parent ||
	       (strlen(event->name) == bytes &&
		memcmp(event->name, watch->next, bytes) == 0);
}

static void path_watch_notified(evutil_socket_t fd, short what, void *arg)
{
	char buffer[4096]
		__attribute__((aligned(__alignof__(struct inotify_event))));
	const struct inotify_event *event;
	struct path_watch *watch = arg;
	bool has_news = false;
	ssize_t got;

	while ((got = read(fd, buffer, sizeof(buffer))) > 0) {
		for (char *p = buffer; p < buffer + got;
		     p += sizeof(*event) + event->len) {
			event = (const struct inotify_event *)p;
			has_news = has_news || is_news(watch, event);
		}
	}
	if (!has_news)
		return;
	/* A step nearer, or further off; a dead watch is gone already. */
	inotify_rm_watch(watch->notify_fd, watch->watch);
	path_watch_aim(watch);
	watch->changed(watch->arg);
}

void path_watch_free(struct path_watch *watch)
{
	if (!watch)
		return;
	if (watch->event)
		event_free(watch->event);
	if (watch->notify_fd >= 0)
		close(watch->notify_fd);
	free(watch->directory);
	free(watch->path);
	free(watch);
}

struct path_watch *path_watch_new(struct loop *loop, const char *path,
				  path_watch_cb changed, void *arg)
{
	struct path_watch *watch = calloc(1, sizeof(*watch));
	int code = -ENOMEM;

	if (!watch)
		return NULL;
	watch->changed = changed;
	watch->arg = arg;
	watch->path = strdup(path);
	watch->directory = malloc(strlen(path) + 2);
	watch->notify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (watch->notify_fd < 0)
		code = -errno;
	else if (watch->path && watch->directory)
		code = path_watch_aim(watch);
	if (code == 0) {
		watch->event = event_new(loop->base, watch->notify_fd,
					 EV_READ | EV_PERSIST,
					 path_watch_notified, watch);
		if (!watch->event || event_add(watch->event, NULL))
			code = -ENOMEM;
	}
	if (code == 0)
		return watch;
	path_watch_free(watch);
	errno = -code;
	return NULL;
}
