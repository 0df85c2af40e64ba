/* SPDX-License-Identifier: MIT */
#include "path_watch.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file_watch.h"

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
	struct file_watch watch;
	path_watch_cb changed;
	void *arg;
};

/* Watch the nearest directory that is there now. 0 or -errno. */
static int watch_nearest(struct path_watch *watch)
{
	char *slash = watch->directory + strlen(watch->path);
	int code;

	strcpy(watch->directory, watch->path);
	watch->is_parent = true;
	for (;;) {
		while (slash > watch->directory && *--slash != '/')
			;
		watch->next = watch->path + (slash - watch->directory) + 1;
		/* The root's name is its slash. */
		slash[slash == watch->directory] = '\0';
		code = file_watch_aim(&watch->watch, watch->directory);
		if ((code != -ENOENT && code != -ENOTDIR) ||
		    slash == watch->directory)
			return code;
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
		;
	return code;
}

/*
 * In the last directory anything may be news: what the path leads to if it is
 * a link. Further up only the next step is.
 */
static bool is_news(const struct inotify_event *event, void *arg)
{
	const struct path_watch *watch = arg;
	size_t bytes = strcspn(watch->next, "/");

	if (event->mask & (IN_Q_OVERFLOW | IN_DELETE_SELF | IN_MOVE_SELF))
		return true;
	if (event->len == 0)
		return false;
	return watch->is_parent ||
	       (strlen(event->name) == bytes &&
		memcmp(event->name, watch->next, bytes) == 0);
}

static void path_watch_happened(uint32_t events, void *arg)
{
	struct path_watch *watch = arg;

	/* A step nearer, or further off. */
	path_watch_aim(watch);
	watch->changed(watch->arg);
}

void path_watch_free(struct path_watch *watch)
{
	if (!watch)
		return;
	file_watch_stop(&watch->watch);
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
	file_watch_init(&watch->watch, loop, EVENTS, is_news,
			path_watch_happened, watch);
	if (watch->path && watch->directory)
		code = path_watch_aim(watch);
	if (code == 0)
		return watch;
	path_watch_free(watch);
	errno = -code;
	return NULL;
}
