/* SPDX-License-Identifier: MIT */
/*
 * Waiting for a path that is not there: inotify(7) on the nearest directory
 * above it that is. Directories may come and go too (/dev/serial/by-id does
 * with the last adapter).
 *
 * A hint, not the truth: whoever waits looks for himself, and looks now and
 * then without being told (a link to elsewhere, no watches left).
 */
#ifndef BTGATE_PATH_WATCH_H
#define BTGATE_PATH_WATCH_H

struct loop;
struct path_watch;

/* Something changed where @path would be: from the loop; may free the watch. */
typedef void (*path_watch_cb)(void *arg);

/*
 * Watch from now on: look once after it was made. NULL with errno set, if the
 * kernel gives no watch.
 */
struct path_watch *path_watch_new(struct loop *loop, const char *path,
				  path_watch_cb changed, void *arg);
/* NULL is legal. */
void path_watch_free(struct path_watch *watch);

#endif
