/* SPDX-License-Identifier: MIT */
/*
 * Phones whose link is still being set up: with deferred setup a socket can be
 * accepted before the kernel knows what must be known of it, and poll(2) does
 * not tell when that changes (seen on 6.12). So each one is asked on a timer.
 *
 * Does not know what is asked, nor what becomes of those that are ready.
 */
#ifndef BTGATE_LINK_SETUP_H
#define BTGATE_LINK_SETUP_H

#include <stdbool.h>
#include <sys/queue.h>

struct listener;
struct loop;

/* 0: it is ready; -EAGAIN: ask again; anything else: it will not be. */
typedef int (*link_setup_check_cb)(int fd, void *arg);
/* @fd belongs to the callee. */
typedef void (*link_setup_ready_cb)(int fd, void *arg);

TAILQ_HEAD(link_setup_list, link_setup);

/* Embedded in a listener. */
struct link_setups {
	struct loop *loop;
	struct listener *listener; /* its name, and who was not finished */
	const char *hint; /* behind the line that one did not get there */
	struct link_setup_list list;
	link_setup_check_cb check;
	link_setup_ready_cb ready;
	void *arg;
	bool has_warned; /* of one that did not get there, and none has since */
};

/*
 * @listener, which they are in, counts those who do not get there; @hint, which may
 * be "", must stay. Nothing to undo before the first link_setups_add.
 */
void link_setups_init(struct link_setups *setups, struct loop *loop,
		      struct listener *listener, const char *hint,
		      link_setup_check_cb check, link_setup_ready_cb ready,
		      void *arg);
/*
 * Takes over @fd, and closes it if the link goes down or is not ready within
 * the time that people take to pair; says so in the log: as a warning, and as
 * mere information from then on, until one is ready. May call back at once.
 */
void link_setups_add(struct link_setups *setups, int fd);
/* Closes all that are not ready. */
void link_setups_clear(struct link_setups *setups);

#endif
