/* SPDX-License-Identifier: MIT */
/*
 * The one event loop: libevent's base, the one read buffer that every session
 * shares while its callback runs, and work put off to the next turn.
 *
 * Knows nothing of what is done in it.
 */
#ifndef BTGATE_LOOP_H
#define BTGATE_LOOP_H

#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

struct event;
struct event_base;
struct file_watch_hub;
struct loop_closing;

/*
 * Work for the next turn of the loop, embedded in the object that it is for:
 * putting it off allocates nothing and cannot fail.
 */
struct loop_task {
	TAILQ_ENTRY(loop_task) link;
	void (*run)(void *arg);
	void *arg;
	bool is_queued;
};

/*
 * A timer for what there are thousands of, embedded in the object that it is
 * for: 24 bytes, and 8 of the loop's, where an event takes 144. Zeroed it is not
 * set.
 */
struct loop_alarm {
	uint64_t due_ms; /* loop_now_ms */
	void (*run)(struct loop_alarm *alarm);
	uint32_t place; /* in the loop's heap, from 1; 0: not set */
};

struct loop {
	struct event_base *base;
	uint8_t *buffer; /* valid only inside one callback */
	size_t buffer_bytes;
	/* Whose read was last, and how many in a row were. It may be gone. */
	const void *last_reader;
	unsigned int reads_in_row;
	TAILQ_HEAD(loop_task_list, loop_task) tasks;
	struct event *task_event;
	TAILQ_HEAD(loop_closing_list, loop_closing)
	closings; /* as far as is known */
	struct event *closing_event;
	struct loop_alarm **alarms; /* a heap: due first is first */
	uint32_t alarm_count;
	uint32_t alarm_room;
	struct event *alarm_event;
	struct file_watch_hub *file_watch_hub; /* file_watch.c's; or NULL */
};

/* NULL with errno set when memory or descriptors are short. */
struct loop *loop_new(void);
void loop_free(struct loop *loop);

/* Run until loop_stop. 0, or -errno of a loop that cannot go on. */
int loop_run(struct loop *loop);
/* Leave loop_run after the callback that runs now. */
void loop_stop(struct loop *loop);

/* Say that @reader was read into the buffer. */
void loop_count_read(struct loop *loop, const void *reader);

/*
 * Call run(arg) on the next turn, after every callback of this one. Queueing
 * a queued task does nothing. This is how an object frees itself: no callback
 * returns into freed memory.
 */
void loop_defer(struct loop *loop, struct loop_task *task);
void loop_cancel(struct loop *loop, struct loop_task *task);

/*
 * Start a timer, or start it anew, to fire once in @delay_ms. 0, or -ENOMEM:
 * then it does not run.
 */
int loop_start_timer(struct event *timer, unsigned int delay_ms);

/*
 * Call run once, not before @delay_ms have passed; not set any more by then. One
 * that is set already is set anew. What it costs does not grow with how many
 * there are, but for its logarithm. 0, or -ENOMEM: then it is not set.
 */
int loop_set_alarm(struct loop *loop, struct loop_alarm *alarm,
		   unsigned int delay_ms);
bool loop_alarm_is_set(const struct loop_alarm *alarm);
/* Legal on one that is not set. */
void loop_unset_alarm(struct loop *loop, struct loop_alarm *alarm);

/*
 * Close @fd, whose close(2) may wait for something, without waiting for it: in a
 * thread. Where none can be had now that is tried again each second; what is
 * left is closed by loop_free, which waits.
 */
void loop_close_apart(struct loop *loop, int fd);
/*
 * The same for @fd whose connect(2) is under way, and may not be broken off: once
 * it is connected or has failed, or has done neither for a minute. Behind 16 of
 * those it is closed as it is.
 */
void loop_close_connecting(struct loop *loop, int fd);
/*
 * Whether that device is still being closed so (st_rdev): the kernel lets nobody
 * open it meanwhile without waiting for the close.
 */
bool loop_is_closing(struct loop *loop, dev_t device);

/* Run what was put off, now: for taking things down outside loop_run. */
void loop_flush(struct loop *loop);

/* Monotonic milliseconds (CLOCK_MONOTONIC): a changed clock changes nothing. */
uint64_t loop_now_ms(void);

#endif
