/* SPDX-License-Identifier: MIT */
#include "loop.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "log.h"

/*
 * One read a wake-up into a large buffer beats several into a small one; only
 * one such buffer exists however many sessions there are.
 */
#define LOOP_BUFFER_BYTES (512 * 1024)
#define CLOSE_AGAIN_MS 1000
#define CONNECTING_MAX_MS (60 * 1000)
/* Each is a thread and a descriptor. */
#define CONNECTING_MAX 16
#define ALARMS_ROOM_MIN 16
#define TIMERS_RESERVED 64

/*
 * A descriptor that is closed in a thread, or waits for one. From then on it is
 * the thread's and the loop's, which may go first, and the last to leave frees it.
 */
struct loop_closing {
	TAILQ_ENTRY(loop_closing) link;
	int fd;
	dev_t device; /* 0: none */
	bool is_connecting; /* that ends first */
	bool is_started;
	atomic_bool is_left; /* by one of the two */
};

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

static void closing_leave(struct loop_closing *closing)
{
	if (atomic_exchange(&closing->is_left, true))
		free(closing);
}

static void *close_in_thread(void *arg)
{
	struct loop_closing *closing = arg;
	struct pollfd connected = {.fd = closing->fd, .events = POLLOUT};

	if (closing->is_connecting)
		poll(&connected, 1, CONNECTING_MAX_MS);
	close(closing->fd);
	closing_leave(closing);
	return NULL;
}

/* Signals are for the loop's thread. */
static bool closing_start(struct loop_closing *closing)
{
	sigset_t all, old;
	pthread_attr_t attributes;
	pthread_t thread;
	int code;

	if (pthread_attr_init(&attributes))
		return false;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	code = pthread_create(&thread, &attributes, close_in_thread, closing);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attributes);
	closing->is_started = code == 0;
	return closing->is_started;
}

static void closing_remove(struct loop *loop, struct loop_closing *closing)
{
	TAILQ_REMOVE(&loop->closings, closing, link);
	closing_leave(closing);
}

/* No event tells when a thread is done: it would take a descriptor. */
static void forget_closed(struct loop *loop)
{
	struct loop_closing *closing, *next;

	for (closing = TAILQ_FIRST(&loop->closings); closing; closing = next) {
		next = TAILQ_NEXT(closing, link);
		if (atomic_load(&closing->is_left))
			closing_remove(loop, closing);
	}
}

static void close_again(evutil_socket_t fd, short what, void *arg)
{
	struct loop *loop = arg;
	struct loop_closing *closing;

	for (closing = TAILQ_FIRST(&loop->closings); closing;
	     closing = TAILQ_NEXT(closing, link)) {
		if (!closing->is_started && !closing_start(closing)) {
			loop_start_timer(loop->closing_event, CLOSE_AGAIN_MS);
			return;
		}
	}
}

/* ---- alarms ----------------------------------------------------------------- */

static void alarm_put(struct loop *loop, struct loop_alarm *alarm,
		      uint32_t place)
{
	loop->alarms[place - 1] = alarm;
	alarm->place = place;
}

/* To where it belongs from @place, which is free: later ones move down. */
static void alarm_rise(struct loop *loop, struct loop_alarm *alarm,
		       uint32_t place)
{
	while (place > 1) {
		struct loop_alarm *parent = loop->alarms[place / 2 - 1];

		if (parent->due_ms <= alarm->due_ms)
			break;
		alarm_put(loop, parent, place);
		place /= 2;
	}
	alarm_put(loop, alarm, place);
}

/* The same the other way: earlier ones move up. */
static void alarm_sink(struct loop *loop, struct loop_alarm *alarm,
		       uint32_t place)
{
	while (2 * place <= loop->alarm_count) {
		uint32_t next = 2 * place;

		if (next < loop->alarm_count &&
		    loop->alarms[next]->due_ms < loop->alarms[next - 1]->due_ms)
			next++;
		if (alarm->due_ms <= loop->alarms[next - 1]->due_ms)
			break;
		alarm_put(loop, loop->alarms[next - 1], place);
		place = next;
	}
	alarm_put(loop, alarm, place);
}

static int alarms_reserve(struct loop *loop)
{
	uint32_t room = ALARMS_ROOM_MIN + loop->alarm_room * 5 / 4;
	struct loop_alarm **alarms;

	if (loop->alarm_count < loop->alarm_room)
		return 0;
	alarms = realloc(loop->alarms, room * sizeof(struct loop_alarm *));
	if (!alarms)
		return -ENOMEM;
	loop->alarms = alarms;
	loop->alarm_room = room;
	return 0;
}

/* Wake up for the first one. */
static int alarms_rearm(struct loop *loop)
{
	uint64_t now_ms = loop_now_ms(), due_ms;

	if (!loop->alarm_count)
		return event_del(loop->alarm_event);
	due_ms = loop->alarms[0]->due_ms;
	return loop_start_timer(
		loop->alarm_event,
		due_ms > now_ms ? (unsigned int)(due_ms - now_ms) : 0);
}

static void alarm_remove(struct loop *loop, struct loop_alarm *alarm)
{
	uint32_t place = alarm->place;
	struct loop_alarm *last = loop->alarms[--loop->alarm_count];

	alarm->place = 0;
	if (last == alarm)
		return;
	alarm_rise(loop, last, place);
	alarm_sink(loop, last, last->place);
}

/* What these set is not due yet, and waits for the next turn. */
static void run_alarms(evutil_socket_t fd, short what, void *arg)
{
	struct loop *loop = arg;
	uint64_t now_ms = loop_now_ms();

	while (loop->alarm_count && loop->alarms[0]->due_ms <= now_ms) {
		struct loop_alarm *alarm = loop->alarms[0];

		alarm_remove(loop, alarm);
		alarm->run(alarm);
	}
	alarms_rearm(loop);
}

int loop_set_alarm(struct loop *loop, struct loop_alarm *alarm,
		   unsigned int delay_ms)
{
	loop_unset_alarm(loop, alarm);
	if (alarms_reserve(loop))
		return -ENOMEM;
	/* The clock's millisecond may be over at once. */
	alarm->due_ms = loop_now_ms() + delay_ms + 1;
	alarm_rise(loop, alarm, ++loop->alarm_count);
	if (alarm->place != 1 || alarms_rearm(loop) == 0)
		return 0;
	alarm_remove(loop, alarm);
	return -ENOMEM;
}

bool loop_alarm_is_set(const struct loop_alarm *alarm)
{
	return alarm->place;
}

void loop_unset_alarm(struct loop *loop, struct loop_alarm *alarm)
{
	bool was_first = alarm->place == 1;

	if (!alarm->place)
		return;
	alarm_remove(loop, alarm);
	if (was_first)
		alarms_rearm(loop);
}

/* ---- the loop --------------------------------------------------------------- */

static void log_libevent(int severity, const char *text)
{
	if (severity == EVENT_LOG_DEBUG)
		return;
	log_warning("libevent: %s", text);
}

static void ignore(evutil_socket_t fd, short what, void *arg)
{
}

/*
 * Room for so many timers at once, which then do not fail for want of memory: that
 * one of the gateway's own could not be started, nobody would notice. libevent's
 * heap of timers grows when it is full and never shrinks (minheap-internal.h, 2.1).
 */
static int reserve_timers(struct event_base *base)
{
	const struct timeval delay = {.tv_sec = 1};
	struct event timers[TIMERS_RESERVED];
	size_t count = 0;
	int code = 0;

	while (code == 0 && count < TIMERS_RESERVED) {
		evtimer_assign(&timers[count], base, ignore, NULL);
		code = event_add(&timers[count], &delay);
		count++;
	}
	while (count > 0)
		event_del(&timers[--count]);
	return code;
}

struct loop *loop_new(void)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return NULL;
	event_set_log_callback(log_libevent);
	TAILQ_INIT(&loop->tasks);
	TAILQ_INIT(&loop->closings);
	loop->buffer_bytes = LOOP_BUFFER_BYTES;
	loop->buffer = malloc(loop->buffer_bytes);
	loop->base = event_base_new();
	if (loop->base) {
		loop->task_event = event_new(loop->base, -1, 0, run_tasks,
					     loop);
		loop->closing_event = evtimer_new(loop->base, close_again,
						  loop);
		loop->alarm_event = evtimer_new(loop->base, run_alarms, loop);
	}
	if (!loop->buffer || !loop->task_event || !loop->closing_event ||
	    !loop->alarm_event || reserve_timers(loop->base)) {
		loop_free(loop);
		errno = ENOMEM;
		return NULL;
	}
	return loop;
}

void loop_free(struct loop *loop)
{
	struct loop_closing *closing;

	if (!loop)
		return;
	loop_flush(loop);
	while ((closing = TAILQ_FIRST(&loop->closings))) {
		if (!closing->is_started) {
			close(closing->fd);
			closing_leave(closing); /* for the thread */
		}
		closing_remove(loop, closing);
	}
	if (loop->alarm_event)
		event_free(loop->alarm_event);
	free(loop->alarms);
	if (loop->closing_event)
		event_free(loop->closing_event);
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

void loop_count_read(struct loop *loop, const void *reader)
{
	if (loop->last_reader != reader)
		loop->reads_in_row = 0;
	loop->last_reader = reader;
	if (loop->reads_in_row < UINT_MAX)
		loop->reads_in_row++;
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

static void close_apart(struct loop *loop, int fd, bool is_connecting)
{
	struct loop_closing *closing = calloc(1, sizeof(*closing));
	struct stat st;

	forget_closed(loop);
	if (!closing) {
		close(fd); /* without memory it has to wait */
		return;
	}
	closing->fd = fd;
	closing->is_connecting = is_connecting;
	if (fstat(fd, &st) == 0)
		closing->device = st.st_rdev;
	TAILQ_INSERT_TAIL(&loop->closings, closing, link);
	if (!closing_start(closing) &&
	    !evtimer_pending(loop->closing_event, NULL))
		loop_start_timer(loop->closing_event, CLOSE_AGAIN_MS);
}

void loop_close_apart(struct loop *loop, int fd)
{
	close_apart(loop, fd, false);
}

void loop_close_connecting(struct loop *loop, int fd)
{
	const struct loop_closing *closing;
	unsigned int count = 0;

	forget_closed(loop);
	for (closing = TAILQ_FIRST(&loop->closings); closing;
	     closing = TAILQ_NEXT(closing, link))
		count += closing->is_connecting;
	if (count < CONNECTING_MAX)
		close_apart(loop, fd, true);
	else
		close(fd);
}

bool loop_is_closing(struct loop *loop, dev_t device)
{
	const struct loop_closing *closing;

	forget_closed(loop);
	for (closing = TAILQ_FIRST(&loop->closings); closing;
	     closing = TAILQ_NEXT(closing, link))
		if (device && closing->device == device)
			return true;
	return false;
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
