/* SPDX-License-Identifier: MIT */
#include "loop.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include <event2/event.h>

#include "log.h"

/*
 * One read a wake-up into a large buffer beats several into a small one; only
 * one such buffer exists however many sessions there are.
 */
#define LOOP_BUFFER_BYTES (256 * 1024)

static void run_tasks(evutil_socket_t fd, short what, void *arg)
{
	struct loop *loop = arg;
	struct loop_task turn_end = {.is_queued = true};
	struct loop_task *task;

	/* What these tasks defer is queued behind the mark: the next turn's. */
	TAILQ_INSERT_TAIL(&loop->tasks, &turn_end, link);
	while ((task = TAILQ_FIRST(&loop->tasks)) != &turn_end) {
		loop_cancel(loop, task);
		task->run(task->arg);
	}
	loop_cancel(loop, &turn_end);
}

static void log_libevent(int severity, const char *text)
{
	if (severity == EVENT_LOG_DEBUG)
		return;
	log_warning("libevent: %s", text);
}

struct loop *loop_new(void)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return NULL;
	event_set_log_callback(log_libevent);
	TAILQ_INIT(&loop->tasks);
	loop->buffer_bytes = LOOP_BUFFER_BYTES;
	loop->buffer = malloc(loop->buffer_bytes);
	loop->base = event_base_new();
	if (loop->base)
		loop->task_event = event_new(loop->base, -1, 0, run_tasks,
					     loop);
	if (!loop->buffer || !loop->task_event) {
		loop_free(loop);
		errno = ENOMEM;
		return NULL;
	}
	return loop;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	loop_flush(loop);
	if (loop->task_event)
		event_free(loop->task_event);
	if (loop->base)
		event_base_free(loop->base);
	free(loop->buffer);
	free(loop);
}

int loop_run(struct loop *loop)
{
	return event_base_dispatch(loop->base) < 0 ? -EIO : 0;
}

void loop_stop(struct loop *loop)
{
	event_base_loopbreak(loop->base);
}

void loop_defer(struct loop *loop, struct loop_task *task)
{
	static const struct timeval at_once = {0};

	if (task->is_queued)
		return;
	task->is_queued = true;
	TAILQ_INSERT_TAIL(&loop->tasks, task, link);
	/*
	 * A timer, because libevent runs what is made active by a callback in
	 * that same turn, and descriptors would have to wait for ever for
	 * tasks that defer others. Without memory for it, that has to do.
	 */
	if (event_add(loop->task_event, &at_once))
		event_active(loop->task_event, EV_TIMEOUT, 0);
}

void loop_cancel(struct loop *loop, struct loop_task *task)
{
	if (!task->is_queued)
		return;
	task->is_queued = false;
	TAILQ_REMOVE(&loop->tasks, task, link);
}

int loop_start_timer(struct event *timer, unsigned int delay_ms)
{
	const struct timeval delay = {
		.tv_sec = delay_ms / 1000,
		.tv_usec = (suseconds_t)(delay_ms % 1000) * 1000,
	};

	return event_add(timer, &delay) ? -ENOMEM : 0;
}

void loop_flush(struct loop *loop)
{
	while (!TAILQ_EMPTY(&loop->tasks))
		run_tasks(-1, 0, loop);
}

uint64_t loop_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
