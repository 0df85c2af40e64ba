/* SPDX-License-Identifier: MIT */
/*
 * What suites with real programs at the other end have in common: a loop with
 * deadlines, child processes that report and take orders, the gateway's log to
 * look into, and a pump for one stream.
 */
#ifndef BTGATE_PROGRAMS_H
#define BTGATE_PROGRAMS_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "endpoint.h"
#include "error.h"
#include "loop.h"

#define NOBODY 65534
#define DEADLINE_S 20

/* Of the test that runs; made by start_scene. */
static char directory[64], path[128], log_path[160];
static int saved_stderr;
static struct loop *loop;

/* ---- the loop -------------------------------------------------------------- */

static inline void set_true(evutil_socket_t fd, short what, void *arg)
{
	*(bool *)arg = true;
}

/* Run the loop until is_done(arg). */
static inline void await(bool (*is_done)(void *arg), void *arg)
{
	/* Patience, not a bound: under valgrind it takes its time. */
	struct timeval limit = {.tv_sec = getenv("BTGATE_VALGRIND")
						  ? 10 * DEADLINE_S
						  : DEADLINE_S};
	bool is_late = false;
	struct event *timer = evtimer_new(loop->base, set_true, &is_late);

	event_add(timer, &limit);
	while (!is_late && !is_done(arg))
		ck_assert_int_eq(event_base_loop(loop->base, EVLOOP_ONCE), 0);
	event_free(timer);
	ck_assert_msg(!is_late, "waited in vain");
}

/* Let the loop run for a while; returns how often it woke up. */
static inline int count_wakes(unsigned int for_ms)
{
	bool is_late = false;
	struct timeval limit = {
		.tv_sec = for_ms / 1000,
		.tv_usec = (suseconds_t)(for_ms % 1000) * 1000,
	};
	struct event *timer = evtimer_new(loop->base, set_true, &is_late);
	int wakes = 0;

	event_add(timer, &limit);
	for (; !is_late; wakes++)
		ck_assert_int_eq(event_base_loop(loop->base, EVLOOP_ONCE), 0);
	event_free(timer);
	return wakes - 1;
}

/* Until it wakes up so often at most in for_ms: who spins never does. */
static inline void await_quiet(unsigned int for_ms, int wakes)
{
	unsigned int turns = 0;

	while (count_wakes(for_ms) > wakes)
		ck_assert_msg(++turns < DEADLINE_S * 1000 / for_ms,
			      "does not come to rest");
}

/* ---- programs --------------------------------------------------------------- */

/* A process that does something with the port; fd 0 leads to the test. */
struct program {
	pid_t pid;
	int fd;
};

typedef int (*program_main)(const char *path);

static inline void close_the_rest(void)
{
	/* What a program that was not forked from the gateway has not got. */
	for (int fd = 3; fd < 256; fd++)
		close(fd);
}

static inline struct program start_program(program_main run)
{
	struct program program;
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	program.pid = fork();
	ck_assert_int_ge(program.pid, 0);
	if (program.pid == 0) {
		dup2(ends[1], 0);
		close_the_rest();
		_exit(run(path));
	}
	close(ends[1]);
	program.fd = ends[0];
	return program;
}

static inline bool is_true(void *arg)
{
	return *(bool *)arg;
}

/* Run the loop until the program says something or ends. */
static inline ssize_t await_program(const struct program *program)
{
	bool is_ready = false;
	struct event *event = event_new(loop->base, program->fd, EV_READ,
					set_true, &is_ready);
	char byte;

	event_add(event, NULL);
	await(is_true, &is_ready);
	event_free(event);
	return read(program->fd, &byte, 1);
}

static inline void await_report(const struct program *program)
{
	ck_assert_int_eq(await_program(program), 1);
}

static inline void order(const struct program *program)
{
	ck_assert_int_eq(write(program->fd, "", 1), 1);
}

static inline int finish(struct program *program)
{
	int status;

	while (await_program(program) > 0)
		;
	close(program->fd);
	ck_assert_int_eq(waitpid(program->pid, &status, 0), program->pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* In a program: tell the test something; wait for its order. */
static inline void report(void)
{
	if (write(0, "", 1) != 1)
		_exit(90);
}

static inline void await_order(void)
{
	char byte;

	if (read(0, &byte, 1) != 1)
		_exit(91);
}

static inline int open_port(const char *name)
{
	int fd = open(name, O_RDWR | O_NOCTTY);

	if (fd < 0)
		_exit(92);
	return fd;
}

static inline void read_exactly(int fd, uint8_t *buffer, size_t bytes)
{
	while (bytes > 0) {
		ssize_t got = read(fd, buffer, bytes);

		if (got <= 0)
			_exit(93);
		buffer += got;
		bytes -= (size_t)got;
	}
}

static inline void write_exactly(int fd, const uint8_t *buffer, size_t bytes)
{
	while (bytes > 0) {
		ssize_t put = write(fd, buffer, bytes);

		if (put <= 0)
			_exit(94);
		buffer += put;
		bytes -= (size_t)put;
	}
}

/* ---- the log ----------------------------------------------------------------- */

/* What the gateway logs, to look into; stderr is itself again afterwards. */
static inline void start_log(void)
{
	int fd = open(log_path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC,
		      0600);

	ck_assert_int_ge(fd, 0);
	saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
	close(fd);
}

static inline void stop_log(void)
{
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	unlink(log_path);
}

static inline bool has_logged(const char *words)
{
	static char text[65536];
	FILE *file = fopen(log_path, "r");

	ck_assert_ptr_nonnull(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	return strstr(text, words) != NULL;
}

static inline bool is_logged(void *words)
{
	return has_logged(words);
}

static inline void assert_logged(const char *words)
{
	ck_assert_msg(has_logged(words), "not logged: %s", words);
}

/* Until the end of the test, which may be one of many in its process. */
static inline void become_nobody(void)
{
	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, 0) ||
	    setresuid(NOBODY, NOBODY, 0))
		_exit(95);
	/* The leak checker attaches to us at exit. */
	prctl(PR_SET_DUMPABLE, 1);
}

static inline void become_root_again(void)
{
	uid_t real, effective, saved;

	ck_assert_int_eq(getresuid(&real, &effective, &saved), 0);
	if (saved == effective)
		return;
	ck_assert_int_eq(setresuid(0, 0, 0), 0);
	ck_assert_int_eq(setresgid(0, 0, 0), 0);
	prctl(PR_SET_DUMPABLE, 1);
}

/* ---- the scene ----------------------------------------------------------------- */

/* A directory with @name in it, a log and a loop. */
static inline void start_scene(const char *name)
{
	snprintf(directory, sizeof(directory), "/tmp/btgate-check.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	snprintf(log_path, sizeof(log_path), "%s/log", directory);
	start_log();
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
}

/* Every test ends with nothing left: a directory with files stays. */
static inline void stop_scene(void)
{
	become_root_again();
	loop_free(loop);
	stop_log();
	ck_assert_msg(rmdir(directory) == 0, "%s: %s", directory,
		      strerror(errno));
}

/* ---- streams ----------------------------------------------------------------- */

struct dialled {
	struct stream *stream;
	int code;
	bool is_done;
	struct error error;
};

static inline void dial_done(struct stream *stream, int code,
			     const struct error *error, void *arg)
{
	struct dialled *dialled = arg;

	ck_assert(!dialled->is_done);
	ck_assert_int_eq(code != 0, stream == NULL);
	dialled->stream = stream;
	dialled->code = code;
	dialled->is_done = true;
	if (error)
		dialled->error = *error;
	ck_assert_int_eq(dialled->error.text[0] != '\0', stream == NULL);
}

static inline struct dialled try_dial(struct target *target)
{
	struct dialled dialled = {NULL, 0, false, {""}};

	ck_assert_ptr_nonnull(target->ops->dial(target, dial_done, &dialled));
	ck_assert(!dialled.is_done);
	await(is_true, &dialled.is_done);
	return dialled;
}

static inline struct stream *dial(struct target *target)
{
	struct dialled dialled = try_dial(target);

	ck_assert_msg(dialled.stream != NULL, "%s", dialled.error.text);
	return dialled.stream;
}

static inline void hang_up(struct stream *stream)
{
	stream->ops->close(stream, STREAM_CLOSE_ORDERLY);
}

/* Close it as a session does, once it is through. */
static inline void finish_and_hang_up(struct stream *stream)
{
	uint64_t limit_ms = loop_now_ms() + DEADLINE_S * 1000;

	while (stream_finish(stream, false) > 0) {
		ck_assert_msg(loop_now_ms() < limit_ms, "never through");
		count_wakes(5);
	}
	hang_up(stream);
}

static inline unsigned int count_descriptors(void)
{
	unsigned int count = 0;

	for (int fd = 0; fd < 1024; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			count++;
	return count;
}

/* ---- a pump ----------------------------------------------------------------- */

/* What a session does to a stream: reads all, writes what it can. */
struct pump {
	struct stream *stream;
	struct event *read_event, *write_event;
	const uint8_t *out;
	size_t out_bytes, out_done;
	uint8_t *in;
	size_t in_bytes, in_done;
	unsigned int refusals; /* EAGAIN after an EV_WRITE */
	bool may_end;
	bool has_ended;
	ssize_t end; /* what the last read gave: 0 or -errno */
};

static inline void pump_read(evutil_socket_t fd, short what, void *arg)
{
	struct pump *pump = arg;
	uint8_t buffer[4096];
	ssize_t got = pump->stream->ops->read(pump->stream, buffer,
					      sizeof(buffer));

	if (got == -EAGAIN)
		return;
	if (got <= 0 && pump->may_end) {
		pump->has_ended = true;
		pump->end = got;
		event_del(pump->read_event);
		return;
	}
	ck_assert_msg(got > 0, "read gave %zd", got);
	ck_assert_uint_le(pump->in_done + (size_t)got, pump->in_bytes);
	memcpy(pump->in + pump->in_done, buffer, (size_t)got);
	pump->in_done += (size_t)got;
}

static inline void pump_write(evutil_socket_t fd, short what, void *arg)
{
	struct pump *pump = arg;
	ssize_t put;

	put = pump->stream->ops->write(pump->stream, pump->out + pump->out_done,
				       pump->out_bytes - pump->out_done);
	if (put == -EAGAIN) {
		pump->refusals++;
		return;
	}
	ck_assert_msg(put > 0, "write gave %zd", put);
	pump->out_done += (size_t)put;
	if (pump->out_done == pump->out_bytes)
		event_del(pump->write_event);
}

/* Start relaying @bytes of @out, and expect @in_bytes. */
static inline void pump_start(struct pump *pump, struct stream *stream,
			      const uint8_t *out, size_t bytes, size_t in_bytes)
{
	memset(pump, 0, sizeof(*pump));
	pump->stream = stream;
	pump->out = out;
	pump->out_bytes = bytes;
	pump->in = malloc(in_bytes + 1);
	pump->in_bytes = in_bytes;
	pump->read_event = event_new(loop->base, stream->read_fd,
				     EV_READ | EV_PERSIST, pump_read, pump);
	pump->write_event = event_new(loop->base, stream->write_fd,
				      EV_WRITE | EV_PERSIST, pump_write, pump);
	event_add(pump->read_event, NULL);
	if (bytes > 0)
		event_add(pump->write_event, NULL);
}

static inline void pump_stop(struct pump *pump)
{
	event_free(pump->read_event);
	event_free(pump->write_event);
	free(pump->in);
}

static inline bool has_sent(void *arg)
{
	struct pump *pump = arg;

	return pump->out_done == pump->out_bytes;
}

static inline bool has_received(void *arg)
{
	struct pump *pump = arg;

	return pump->in_done == pump->in_bytes;
}

static inline bool has_ended(void *arg)
{
	struct pump *pump = arg;

	return pump->has_ended;
}

/* Bytes that look like no pattern, and the same each time. */
static inline void fill(uint8_t *buffer, size_t bytes, uint32_t seed)
{
	for (size_t i = 0; i < bytes; i++) {
		seed = seed * 1664525 + 1013904223;
		buffer[i] = (uint8_t)(seed >> 24);
	}
}

#endif
