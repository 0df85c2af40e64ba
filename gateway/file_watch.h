/* SPDX-License-Identifier: MIT */
/*
 * inotify(7), one instance for all who watch files and directories in a loop:
 * a user has 128 of them by default, for all of his programs.
 *
 * The kernel has one watch for each file, however many ask for it, and merges
 * events that are alike and follow each other. So does this: what happened to a
 * file is told as a set of events, once, from the loop.
 */
#ifndef BTGATE_FILE_WATCH_H
#define BTGATE_FILE_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/inotify.h>
#include <sys/queue.h>

#include "loop.h"

struct error;
struct file_watch_hub;

/*
 * Whether @event matters; it may be one that was not asked for. Called while
 * events are read: it only looks.
 */
typedef bool (*file_watch_filter_cb)(const struct inotify_event *event,
				     void *arg);
/*
 * @events happened (IN_xxx bits), also while they were watched that have been
 * aimed elsewhere since; with IN_Q_OVERFLOW others may have, too. From the
 * loop; may stop or free any watch.
 */
typedef void (*file_watch_cb)(uint32_t events, void *arg);

/* Embedded in who watches. */
struct file_watch {
	TAILQ_ENTRY(file_watch) link;
	struct loop *loop;
	struct file_watch_hub *hub; /* NULL: it watches nothing */
	int number; /* the kernel's, of the file */
	uint32_t wanted; /* IN_xxx */
	uint32_t events; /* happened, and not told */
	struct loop_task task;
	file_watch_filter_cb filter;
	file_watch_cb happened;
	void *arg;
};

/* Watches nothing yet. @filter may be NULL: all that was asked for matters. */
void file_watch_init(struct file_watch *watch, struct loop *loop,
		     uint32_t wanted, file_watch_filter_cb filter,
		     file_watch_cb happened, void *arg);
/*
 * Watch @path, and no longer what it watched before, if anything. 0, or
 * -errno: -EMFILE no instance is left, -ENOSPC no watch, or there is no such
 * file; then all is as it was.
 */
int file_watch_aim(struct file_watch *watch, const char *path);
/* No callback comes. Does nothing to one that watches nothing. */
void file_watch_stop(struct file_watch *watch);

/* What has happened until now: told by this, and not by the callback. */
uint32_t file_watch_take(struct file_watch *watch);

/*
 * "cannot watch PATH: ..." of such an error, and what to do about it. Returns
 * @code.
 */
int file_watch_explain(int code, const char *path, struct error *error);

#endif
