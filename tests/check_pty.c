/* SPDX-License-Identifier: MIT */
/*
 * A pty as a target, with real programs at its other end: what arrives, what
 * the path looks like, and what programs may do to it without harm to the next.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <event2/event.h>

#include "address_endpoint.h"
#include "endpoint.h"
#include "error.h"
#include "loop.h"

#define NOBODY 65534
#define DEADLINE_S 20
/* More than the kernel keeps for a program that does not read. */
#define KEPT_MAX_BYTES (64 * 1024)

static char directory[64], path[128], lock_path[160], log_path[160];
static int saved_stderr;
static struct loop *loop;
static struct target *target;
static const struct endpoint_settings settings;
static struct address_endpoint address;

/* ---- the loop -------------------------------------------------------------- */

static void set_true(evutil_socket_t fd, short what, void *arg)
{
	*(bool *)arg = true;
}

/* Run the loop until is_done(arg). */
static void await(bool (*is_done)(void *arg), void *arg)
{
	struct timeval limit = {.tv_sec = DEADLINE_S};
	bool is_late = false;
	struct event *timer = evtimer_new(loop->base, set_true, &is_late);

	event_add(timer, &limit);
	while (!is_late && !is_done(arg))
		ck_assert_int_eq(event_base_loop(loop->base, EVLOOP_ONCE), 0);
	event_free(timer);
	ck_assert_msg(!is_late, "waited in vain");
}

/* Let the loop run for a while; returns how often it woke up. */
static int count_wakes(unsigned int for_ms)
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

/* ---- programs --------------------------------------------------------------- */

/* A process that does something with the port; fd 0 leads to the test. */
struct program {
	pid_t pid;
	int fd;
};

typedef int (*program_main)(const char *path);

static void close_the_rest(void)
{
	/* What a program that was not forked from the gateway has not got. */
	for (int fd = 3; fd < 256; fd++)
		close(fd);
}

static struct program start_program(program_main run)
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

static bool is_true(void *arg)
{
	return *(bool *)arg;
}

/* Run the loop until the program says something or ends. */
static ssize_t await_program(const struct program *program)
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

static void await_report(const struct program *program)
{
	ck_assert_int_eq(await_program(program), 1);
}

static void order(const struct program *program)
{
	ck_assert_int_eq(write(program->fd, "", 1), 1);
}

static int finish(struct program *program)
{
	int status;

	while (await_program(program) > 0)
		;
	close(program->fd);
	ck_assert_int_eq(waitpid(program->pid, &status, 0), program->pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* In a program: tell the test something; wait for its order. */
static void report(void)
{
	if (write(0, "", 1) != 1)
		_exit(90);
}

static void await_order(void)
{
	char byte;

	if (read(0, &byte, 1) != 1)
		_exit(91);
}

static int open_port(const char *name)
{
	int fd = open(name, O_RDWR | O_NOCTTY);

	if (fd < 0)
		_exit(92);
	return fd;
}

static void read_exactly(int fd, uint8_t *buffer, size_t bytes)
{
	while (bytes > 0) {
		ssize_t got = read(fd, buffer, bytes);

		if (got <= 0)
			_exit(93);
		buffer += got;
		bytes -= (size_t)got;
	}
}

static void write_exactly(int fd, const uint8_t *buffer, size_t bytes)
{
	while (bytes > 0) {
		ssize_t put = write(fd, buffer, bytes);

		if (put <= 0)
			_exit(94);
		buffer += put;
		bytes -= (size_t)put;
	}
}

/* ---- the gateway's side -------------------------------------------------------- */

/* What the gateway logs, to look into; stderr is itself again afterwards. */
static void start_log(void)
{
	int fd = open(log_path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC,
		      0600);

	ck_assert_int_ge(fd, 0);
	saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
	close(fd);
}

static void stop_log(void)
{
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	unlink(log_path);
}

static void setup(void)
{
	snprintf(directory, sizeof(directory), "/tmp/check_pty.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/port", directory);
	snprintf(lock_path, sizeof(lock_path), "%s.lock", path);
	snprintf(log_path, sizeof(log_path), "%s/log", directory);
	start_log();
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	memset(&address, 0, sizeof(address));
	address.kind = ENDPOINT_KIND_PTY;
	address.pty.path = path;
}

/* Every test ends with nothing left: a directory with files stays. */
static void teardown(void)
{
	loop_free(loop);
	stop_log();
	ck_assert_msg(rmdir(directory) == 0, "%s: %s", directory,
		      strerror(errno));
}

static int try_open_target(struct error *error)
{
	error->text[0] = '\0';
	return endpoint_pty_ops.open_target(loop, &address, &settings, &target,
					    error);
}

static void open_target(void)
{
	struct error error;

	ck_assert_msg(try_open_target(&error) == 0, "%s", error.text);
}

static void close_target(void)
{
	target->ops->close(target);
	target = NULL;
}

struct dialled {
	struct stream *stream;
	int code;
	bool is_done;
};

static void dial_done(struct stream *stream, int code,
		      const struct error *error, void *arg)
{
	struct dialled *dialled = arg;

	ck_assert(!dialled->is_done);
	ck_assert_int_eq(error->text[0] != '\0', stream == NULL);
	*dialled = (struct dialled){stream, code, true};
}

static struct stream *dial(void)
{
	struct dialled dialled = {NULL, 0, false};

	ck_assert_ptr_nonnull(target->ops->dial(target, dial_done, &dialled));
	ck_assert(!dialled.is_done);
	await(is_true, &dialled.is_done);
	ck_assert_ptr_nonnull(dialled.stream);
	return dialled.stream;
}

static void hang_up(struct stream *stream)
{
	stream->ops->close(stream, STREAM_CLOSE_ORDERLY);
}

/* What a session does to a stream: reads all, writes what it can. */
struct pump {
	struct stream *stream;
	struct event *read_event, *write_event;
	const uint8_t *out;
	size_t out_bytes, out_done;
	uint8_t *in;
	size_t in_bytes, in_done;
	unsigned int refusals; /* EAGAIN after an EV_WRITE */
};

static void pump_read(evutil_socket_t fd, short what, void *arg)
{
	struct pump *pump = arg;
	uint8_t buffer[4096];
	ssize_t got = pump->stream->ops->read(pump->stream, buffer,
					      sizeof(buffer));

	if (got == -EAGAIN)
		return;
	ck_assert_msg(got > 0, "read gave %zd", got);
	ck_assert_uint_le(pump->in_done + (size_t)got, pump->in_bytes);
	memcpy(pump->in + pump->in_done, buffer, (size_t)got);
	pump->in_done += (size_t)got;
}

static void pump_write(evutil_socket_t fd, short what, void *arg)
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
static void pump_start(struct pump *pump, struct stream *stream,
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

static void pump_stop(struct pump *pump)
{
	event_free(pump->read_event);
	event_free(pump->write_event);
	free(pump->in);
}

static bool has_sent(void *arg)
{
	struct pump *pump = arg;

	return pump->out_done == pump->out_bytes;
}

static bool has_received(void *arg)
{
	struct pump *pump = arg;

	return pump->in_done == pump->in_bytes;
}

/* Bytes that look like no pattern, and the same each time. */
static void fill(uint8_t *buffer, size_t bytes, uint32_t seed)
{
	for (size_t i = 0; i < bytes; i++) {
		seed = seed * 1664525 + 1013904223;
		buffer[i] = (uint8_t)(seed >> 24);
	}
}

static bool has_logged(void *words)
{
	static char text[65536];
	FILE *file = fopen(log_path, "r");

	ck_assert_ptr_nonnull(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	return strstr(text, words) != NULL;
}

static void assert_logged(const char *words)
{
	char copy[128];

	snprintf(copy, sizeof(copy), "%s", words);
	ck_assert_msg(has_logged(copy), "not logged: %s", words);
}

/* A pty's master shows the termios of its slave. */
static bool is_raw(void *arg)
{
	struct stream *stream = arg;
	struct termios now;

	ck_assert_int_eq(tcgetattr(stream->read_fd, &now), 0);
	return !(now.c_lflag & (ECHO | ICANON | ISIG | IEXTEN)) &&
	       !(now.c_iflag & (ICRNL | INLCR | IXON | IXOFF | ISTRIP)) &&
	       !(now.c_oflag & OPOST) && (now.c_cflag & CSIZE) == CS8 &&
	       !(now.c_cflag & PARENB) && now.c_cc[VMIN] == 1;
}

static void become_nobody(void)
{
	if (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY))
		_exit(95);
	/* The leak checker attaches to us at exit. */
	prctl(PR_SET_DUMPABLE, 1);
}

static void run_command(const char *command)
{
	int status;

	setenv("PORT", path, 1);
	status = system(command);
	ck_assert_msg(status == 0, "%s: %d", command, status);
}

/* ---- bytes ------------------------------------------------------------------- */

static int answer_every_byte(const char *name)
{
	uint8_t bytes[256], got[256];
	int fd = open_port(name);

	for (int i = 0; i < 256; i++)
		bytes[i] = (uint8_t)i;
	report();
	read_exactly(fd, got, sizeof(got));
	if (memcmp(got, bytes, sizeof(got)) != 0)
		return 1;
	for (int i = 0; i < 256; i++)
		bytes[i] = (uint8_t)(255 - i);
	write_exactly(fd, bytes, sizeof(bytes));
	await_order();
	return 0;
}

START_TEST(test_every_byte)
{
	struct program program;
	struct stream *stream;
	struct pump pump;
	uint8_t bytes[256];

	for (int i = 0; i < 256; i++)
		bytes[i] = (uint8_t)i;
	open_target();
	stream = dial();
	program = start_program(answer_every_byte);
	await_report(&program);
	pump_start(&pump, stream, bytes, sizeof(bytes), sizeof(bytes));
	await(has_received, &pump);
	for (int i = 0; i < 256; i++)
		ck_assert_uint_eq(pump.in[i], 255 - i);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	pump_stop(&pump);
	hang_up(stream);
	close_target();
}
END_TEST

#define BULK_BYTES (1024 * 1024)

/* Reads slowly at first, in odd pieces, and only then writes. */
static int exchange_bulk(const char *name)
{
	static uint8_t got[BULK_BYTES], expected[BULK_BYTES];
	int fd = open_port(name);
	size_t done = 0;

	fill(expected, BULK_BYTES, 1);
	while (done < BULK_BYTES) {
		size_t piece = 1 + (done * 7) % 5000;

		if (piece > BULK_BYTES - done)
			piece = BULK_BYTES - done;
		read_exactly(fd, got + done, piece);
		done += piece;
		if (done < 100000)
			usleep(1000);
	}
	if (memcmp(got, expected, BULK_BYTES) != 0)
		return 1;
	fill(expected, BULK_BYTES, 2);
	write_exactly(fd, expected, BULK_BYTES);
	await_order();
	return 0;
}

/* The program comes late: the first bytes wait for it in the kernel. */
START_TEST(test_bulk_with_a_late_program)
{
	static uint8_t out[BULK_BYTES], expected[BULK_BYTES];
	struct program program;
	struct stream *stream;
	struct pump pump;

	fill(out, BULK_BYTES, 1);
	fill(expected, BULK_BYTES, 2);
	open_target();
	stream = dial();
	pump_start(&pump, stream, out, BULK_BYTES, BULK_BYTES);
	count_wakes(50);
	ck_assert_uint_gt(pump.out_done, 0);
	ck_assert_uint_lt(pump.out_done, KEPT_MAX_BYTES);
	program = start_program(exchange_bulk);
	await(has_sent, &pump);
	await(has_received, &pump);
	ck_assert_int_eq(memcmp(pump.in, expected, BULK_BYTES), 0);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	/* EV_WRITE tells the truth; a few false alarms would do no harm. */
	ck_assert_uint_lt(pump.refusals, 100);
	pump_stop(&pump);
	hang_up(stream);
	close_target();
}
END_TEST

static int run_socat(const char *name)
{
	char option[160];

	/* Sends back what it reads, through a pipe to itself. */
	snprintf(option, sizeof(option), "OPEN:%s,rawer", name);
	execlp("socat", "socat", option, "PIPE", NULL);
	return 96;
}

struct relay {
	struct pump *pump;
	const struct program *program;
};

static bool has_received_or_ended(void *arg)
{
	struct relay *relay = arg;
	char byte;

	return has_received(relay->pump) ||
	       recv(relay->program->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}

START_TEST(test_socat)
{
	/*
	 * Less than a pipe holds, also in odd pieces (a page each): socat
	 * blocks for good on its own full one.
	 */
	static uint8_t out[30000];
	struct program program;
	struct stream *stream;
	struct pump pump;
	struct relay relay;

	fill(out, sizeof(out), 3);
	open_target();
	stream = dial();
	program = start_program(run_socat);
	pump_start(&pump, stream, out, sizeof(out), sizeof(out));
	relay.pump = &pump;
	relay.program = &program;
	await(has_received_or_ended, &relay);
	ck_assert_msg(has_received(&pump), "socat ended after %zu of %zu bytes",
		      pump.in_done, pump.in_bytes);
	ck_assert_int_eq(memcmp(pump.in, out, sizeof(out)), 0);
	kill(program.pid, SIGTERM);
	finish(&program);
	pump_stop(&pump);
	hang_up(stream);
	close_target();
}
END_TEST

#define REOPEN_COUNT 100
#define REOPEN_BYTES 1000

static int reopen_often(const char *name)
{
	static uint8_t expected[REOPEN_COUNT * REOPEN_BYTES];
	uint8_t got[REOPEN_BYTES];

	fill(expected, sizeof(expected), 4);
	for (int i = 0; i < REOPEN_COUNT; i++) {
		int fd = open_port(name);

		read_exactly(fd, got, sizeof(got));
		if (memcmp(got, expected + i * REOPEN_BYTES, sizeof(got)) != 0)
			return 1;
		write_exactly(fd, got, sizeof(got));
		close(fd);
	}
	return 0;
}

START_TEST(test_reopen_loses_nothing)
{
	static uint8_t out[REOPEN_COUNT * REOPEN_BYTES];
	struct program program;
	struct stream *stream;
	struct pump pump;

	fill(out, sizeof(out), 4);
	open_target();
	stream = dial();
	program = start_program(reopen_often);
	pump_start(&pump, stream, out, sizeof(out), sizeof(out));
	await(has_received, &pump);
	ck_assert_int_eq(memcmp(pump.in, out, sizeof(out)), 0);
	ck_assert_int_eq(finish(&program), 0);
	pump_stop(&pump);
	hang_up(stream);
	close_target();
}
END_TEST

/* ---- dialling ---------------------------------------------------------------- */

START_TEST(test_one_session)
{
	struct dialled second = {NULL, 0, false};
	struct stream *stream;

	open_target();
	ck_assert_uint_eq(target->sessions_max, 1);
	stream = dial();
	ck_assert_ptr_nonnull(target->ops->dial(target, dial_done, &second));
	await(is_true, &second.is_done);
	ck_assert_ptr_null(second.stream);
	ck_assert_int_eq(second.code, -EBUSY);
	hang_up(stream);
	hang_up(dial());
	close_target();
}
END_TEST

START_TEST(test_cancel)
{
	struct dialled dialled = {NULL, 0, false};
	struct dial *attempt;

	open_target();
	attempt = target->ops->dial(target, dial_done, &dialled);
	ck_assert_ptr_nonnull(attempt);
	attempt->ops->cancel(attempt);
	count_wakes(20);
	ck_assert(!dialled.is_done);
	close_target();
}
END_TEST

/* ---- nobody there -------------------------------------------------------------- */

static int write_7000(const char *name)
{
	uint8_t bytes[7000];
	int fd = open_port(name);

	memset(bytes, 'x', sizeof(bytes));
	write_exactly(fd, bytes, sizeof(bytes));
	report();
	await_order();
	write_exactly(fd, (const uint8_t *)"fresh", 5);
	await_order();
	return 0;
}

/* What was written to nobody is not for the next phone. */
START_TEST(test_unheard_is_discarded)
{
	char begins[] = "writes to it while nobody is connected";
	char total[] = "discarded 7000 bytes that were written";
	struct program program;
	struct stream *stream;
	struct pump pump;
	char byte;

	open_target();
	program = start_program(write_7000);
	/* Without a turn of the loop: what is queued is more than one read. */
	ck_assert_int_eq(read(program.fd, &byte, 1), 1);
	stream = dial();
	ck_assert(has_logged(begins));
	ck_assert(has_logged(total));
	pump_start(&pump, stream, NULL, 0, 5);
	order(&program);
	await(has_received, &pump);
	ck_assert_int_eq(memcmp(pump.in, "fresh", 5), 0);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	pump_stop(&pump);
	hang_up(stream);
	close_target();
}
END_TEST

static int write_without_reader(const char *name)
{
	static uint8_t bytes[1000000];
	int fd = open_port(name);

	write_exactly(fd, bytes, sizeof(bytes));
	return 0;
}

/* A program is never held up by nobody being there. */
START_TEST(test_unheard_does_not_block)
{
	struct program program;
	struct stream *stream;

	open_target();
	program = start_program(write_without_reader);
	ck_assert_int_eq(finish(&program), 0);
	stream = dial();
	assert_logged("discarded 1000000 bytes that were written");
	hang_up(stream);
	close_target();
}
END_TEST

static int read_all_kept(const char *name)
{
	static uint8_t bytes[KEPT_MAX_BYTES];
	int fd = open_port(name);

	report();
	await_order();
	read_exactly(fd, bytes, sizeof(bytes));
	return 0;
}

/* The kernel keeps what fits, then pushes back; no wake-ups meanwhile. */
START_TEST(test_keep_is_bounded)
{
	static uint8_t out[KEPT_MAX_BYTES];
	struct program program;
	struct stream *stream;
	struct pump pump;
	size_t kept;
	int wakes;

	open_target();
	stream = dial();
	pump_start(&pump, stream, out, sizeof(out), 0);
	count_wakes(100);
	kept = pump.out_done;
	ck_assert_uint_ge(kept, 8000);
	ck_assert_uint_lt(kept, sizeof(out));
	wakes = count_wakes(500);
	ck_assert_int_le(wakes, 2);
	ck_assert_uint_eq(pump.out_done, kept);
	program = start_program(read_all_kept);
	await_report(&program);
	wakes = count_wakes(500);
	ck_assert_int_le(wakes, 4);
	order(&program);
	await(has_sent, &pump);
	ck_assert_int_eq(finish(&program), 0);
	pump_stop(&pump);
	hang_up(stream);
	close_target();
}
END_TEST

static int read_hello(const char *name)
{
	uint8_t got[5];
	int fd = open_port(name);

	report();
	read_exactly(fd, got, sizeof(got));
	if (memcmp(got, "hello", 5) != 0)
		return 1;
	report();
	await_order();
	return 0;
}

/* when-closed=discard: all is taken, none is kept, and it is said. */
START_TEST(test_discard)
{
	static uint8_t out[KEPT_MAX_BYTES];
	struct program program;
	struct stream *stream;
	char byte;

	address.pty.when_closed = PTY_WHEN_CLOSED_DISCARD;
	open_target();
	stream = dial();
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(stream->ops->write(stream, out, sizeof(out)),
				 sizeof(out));
	program = start_program(read_hello);
	/* Without a turn of the loop: it must look for itself. */
	ck_assert_int_eq(read(program.fd, &byte, 1), 1);
	ck_assert_int_eq(stream->ops->write(stream, "hello", 5), 5);
	await_report(&program);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	hang_up(stream);
	assert_logged("discarded 655360 bytes that arrived while no program");
	close_target();
}
END_TEST

static int open_and_wait(const char *name)
{
	open_port(name);
	report();
	await_order();
	return 0;
}

/* A program that stops reading, then leaves: nothing stays stuck or stale. */
START_TEST(test_discard_after_stall)
{
	static uint8_t out[KEPT_MAX_BYTES];
	struct program program;
	struct stream *stream;
	struct pump pump;

	address.pty.when_closed = PTY_WHEN_CLOSED_DISCARD;
	open_target();
	stream = dial();
	program = start_program(open_and_wait);
	await_report(&program);
	pump_start(&pump, stream, out, sizeof(out), 0);
	count_wakes(100);
	ck_assert_uint_lt(pump.out_done, sizeof(out));
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	await(has_sent, &pump);
	program = start_program(read_hello);
	await_report(&program);
	ck_assert_int_eq(stream->ops->write(stream, "hello", 5), 5);
	await_report(&program);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	pump_stop(&pump);
	hang_up(stream);
	close_target();
}
END_TEST

START_TEST(test_idle)
{
	struct program program;
	struct stream *stream;

	open_target();
	ck_assert_int_le(count_wakes(300), 0);
	stream = dial();
	ck_assert_int_le(count_wakes(300), 0);
	hang_up(stream);
	program = start_program(open_and_wait);
	await_report(&program);
	count_wakes(50);
	ck_assert_int_le(count_wakes(300), 0);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	/* It closed: three more looks, then silence. */
	count_wakes(1200);
	ck_assert_int_le(count_wakes(300), 0);
	close_target();
}
END_TEST

/* ---- what programs do to a terminal ---------------------------------------------- */

static int make_a_mess(const char *name)
{
	int fd = open_port(name);
	struct termios mess;

	tcgetattr(fd, &mess);
	mess.c_lflag |= ECHO | ICANON | ISIG;
	mess.c_iflag |= ICRNL | ISTRIP | IXON;
	mess.c_oflag |= OPOST | ONLCR;
	/* CS7 and PARENB would change nothing: a pty has CS8 (pty.c). */
	tcsetattr(fd, TCSANOW, &mess);
	report();
	await_order();
	/* Before the test sees the end of this process. */
	close(fd);
	return 0;
}

START_TEST(test_termios)
{
	struct program program;
	struct stream *stream;

	open_target();
	stream = dial();
	ck_assert(is_raw(stream));
	program = start_program(make_a_mess);
	await_report(&program);
	/* While it has the port open it is its business. */
	ck_assert(!is_raw(stream));
	count_wakes(300);
	ck_assert(!is_raw(stream));
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	await(is_raw, stream);
	run_command("stty -F $PORT cooked echo");
	await(is_raw, stream);
	run_command("python3 -c 'import sys, termios, tty; "
		    "f = open(sys.argv[1], \"r+b\", buffering=0); "
		    "a = termios.tcgetattr(f); a[3] |= termios.ECHO; "
		    "termios.tcsetattr(f, termios.TCSANOW, a)' $PORT");
	await(is_raw, stream);
	hang_up(stream);
	close_target();
}
END_TEST

/*
 * A child that was forked and has not done its exec yet holds our slave too:
 * its end tells.
 */
START_TEST(test_forked_child)
{
	struct program program;
	struct stream *stream;
	pid_t holder;

	open_target();
	stream = dial();
	program = start_program(make_a_mess);
	await_report(&program);
	holder = fork();
	ck_assert_int_ge(holder, 0);
	if (holder == 0)
		for (;;)
			pause();
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	ck_assert(!is_raw(stream));
	ck_assert_int_eq(kill(holder, SIGKILL), 0);
	ck_assert_int_eq(waitpid(holder, NULL, 0), holder);
	await(is_raw, stream);
	hang_up(stream);
	close_target();
}
END_TEST

/* The last program but one closes: nothing changes for the last. */
static int open_twice(const char *name)
{
	struct termios mess;
	int first = open_port(name), second = open_port(name);

	tcgetattr(first, &mess);
	mess.c_lflag |= ECHO;
	tcsetattr(first, TCSANOW, &mess);
	ioctl(first, TIOCEXCL);
	close(first);
	report();
	await_order();
	close(second);
	return 0;
}

static int try_to_open(const char *name)
{
	if (getuid() == 0)
		become_nobody();
	return open(name, O_RDWR | O_NOCTTY) < 0 ? errno : 0;
}

static void check_last_close(void)
{
	struct program program, other;
	struct stream *stream;

	address.pty.access.mode = 0666;
	ck_assert_int_eq(chmod(directory, 0755), 0);
	open_target();
	stream = dial();
	program = start_program(open_twice);
	await_report(&program);
	count_wakes(400);
	ck_assert(!is_raw(stream));
	other = start_program(try_to_open);
	ck_assert_int_eq(finish(&other), EBUSY);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	await(is_raw, stream);
	/* It was exclusive; that is over too. */
	other = start_program(try_to_open);
	ck_assert_int_eq(finish(&other), 0);
	hang_up(stream);
	close_target();
}

START_TEST(test_last_close_only)
{
	check_last_close();
}
END_TEST

/* The same with a gateway that is not root either. */
START_TEST(test_exclusive_unprivileged)
{
	ck_assert_int_eq(chown(directory, NOBODY, NOBODY), 0);
	become_nobody();
	check_last_close();
}
END_TEST

static int stop_output(const char *name)
{
	struct termios xonxoff;
	int fd = open_port(name);

	tcgetattr(fd, &xonxoff);
	xonxoff.c_iflag |= IXON;
	tcsetattr(fd, TCSANOW, &xonxoff);
	report();
	await_order();
	tcflow(fd, TCOOFF);
	return 0;
}

static int say_hello(const char *name)
{
	write_exactly(open_port(name), (const uint8_t *)"hello", 5);
	await_order();
	return 0;
}

/* Output that a ^S or a program stopped goes on for the next. */
START_TEST(test_flow)
{
	struct program program;
	struct stream *stream;
	struct pump pump;

	open_target();
	stream = dial();
	program = start_program(stop_output);
	await_report(&program);
	ck_assert_int_eq(stream->ops->write(stream, "\x13", 1), 1);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	await(is_raw, stream);
	program = start_program(say_hello);
	pump_start(&pump, stream, NULL, 0, 5);
	await(has_received, &pump);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	pump_stop(&pump);
	hang_up(stream);
	close_target();
}
END_TEST

static int hang_up_like_getty(const char *name)
{
	int fd = open_port(name);

	if (ioctl(fd, TIOCVHANGUP) < 0)
		return 1;
	close(fd);
	fd = open_port(name);
	write_exactly(fd, (const uint8_t *)"login: ", 7);
	report();
	await_order();
	/* And once more while it is open, then out. */
	ioctl(fd, TIOCVHANGUP);
	return 0;
}

START_TEST(test_vhangup)
{
	struct program program;
	struct stream *stream;
	struct pump pump;

	open_target();
	stream = dial();
	pump_start(&pump, stream, NULL, 0, 7);
	program = start_program(hang_up_like_getty);
	await_report(&program);
	await(has_received, &pump);
	ck_assert_int_eq(memcmp(pump.in, "login: ", 7), 0);
	pump_stop(&pump);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	await(is_raw, stream);
	program = start_program(answer_every_byte);
	await_report(&program);
	kill(program.pid, SIGKILL);
	finish(&program);
	count_wakes(1200);
	ck_assert_int_le(count_wakes(300), 0);
	hang_up(stream);
	close_target();
}
END_TEST

/* Hung up by a process that had closed it: no event tells. */
static int hang_up_unseen(const char *name)
{
	signal(SIGHUP, SIG_IGN);
	setsid();
	close(open(name, O_RDWR));
	report();
	await_order();
	/* vhangup(2) is for the controlling terminal. */
	if (vhangup() < 0)
		return 1;
	return 0;
}

START_TEST(test_vhangup_unseen)
{
	struct program program;
	struct stream *stream;
	struct pump pump;

	open_target();
	stream = dial();
	program = start_program(hang_up_unseen);
	await_report(&program);
	count_wakes(400);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	/* Not a byte comes back as echo. */
	pump_start(&pump, stream, (const uint8_t *)"hello", 5, 0);
	await(has_sent, &pump);
	ck_assert(is_raw(stream));
	count_wakes(50);
	program = start_program(read_hello);
	await_report(&program);
	await_report(&program);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	pump_stop(&pump);
	hang_up(stream);
	close_target();
}
END_TEST

/* ---- the path --------------------------------------------------------------------- */

START_TEST(test_path)
{
	char link[64] = "";
	struct stat st;

	open_target();
	ck_assert_int_gt(readlink(path, link, sizeof(link) - 1), 0);
	ck_assert_int_eq(strncmp(link, "/dev/pts/", 9), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert(S_ISCHR(st.st_mode));
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_uint_eq(st.st_uid, geteuid());
	ck_assert_int_eq(lstat(lock_path, &st), 0);
	close_target();
	ck_assert_int_ne(lstat(path, &st), 0);
	ck_assert_int_ne(lstat(lock_path, &st), 0);
}
END_TEST

/* Needs root. */
START_TEST(test_path_access)
{
	char owner[] = "nobody", group[] = "daemon";
	struct stat st;

	address.pty.access = (struct address_access){owner, group, 0660};
	open_target();
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0660);
	ck_assert_uint_eq(st.st_uid, NOBODY);
	ck_assert_uint_eq(st.st_gid, getgrnam("daemon")->gr_gid);
	close_target();
}
END_TEST

START_TEST(test_path_access_refused)
{
	char group[] = "no-such-group";
	struct error error;

	address.pty.access.group = group;
	ck_assert_int_eq(try_open_target(&error), -EINVAL);
	ck_assert_msg(strstr(error.text, "group 'no-such-group'") != NULL, "%s",
		      error.text);
	ck_assert_msg(strstr(error.text, path) != NULL, "%s", error.text);
}
END_TEST

START_TEST(test_directory)
{
	char made[160], deep[192], file[192];
	struct error error;
	struct stat st;
	mode_t old_mask;

	snprintf(made, sizeof(made), "%s/made", directory);
	snprintf(deep, sizeof(deep), "%s/port", made);
	snprintf(file, sizeof(file), "%s/file", made);
	address.pty.path = deep;
	old_mask = umask(077);
	open_target();
	umask(old_mask);
	ck_assert_int_eq(stat(made, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0755);
	close_target();
	ck_assert_int_ne(stat(made, &st), 0);

	/* Not ours to remove once somebody uses it. */
	open_target();
	ck_assert_int_eq(mknod(file, S_IFREG | 0600, 0), 0);
	close_target();
	ck_assert_int_eq(unlink(file), 0);
	ck_assert_int_eq(rmdir(made), 0);

	/* One level only. */
	snprintf(deep, sizeof(deep), "%s/a/port", made);
	ck_assert_int_eq(try_open_target(&error), -ENOENT);
	ck_assert_ptr_nonnull(strstr(error.text, "cannot make the directory"));
}
END_TEST

static pid_t start_gateway(void)
{
	int ready[2];
	pid_t pid;
	char byte;

	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct error error;

		if (try_open_target(&error) == 0)
			(void)!write(ready[1], "", 1);
		for (;;)
			pause();
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void kill_gateway(pid_t pid)
{
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

START_TEST(test_killed_gateway)
{
	struct program program;
	struct stream *stream;
	struct stat st;

	kill_gateway(start_gateway());
	ck_assert_int_eq(lstat(path, &st), 0);
	ck_assert_int_eq(lstat(lock_path, &st), 0);
	open_target();
	stream = dial();
	program = start_program(read_hello);
	await_report(&program);
	ck_assert_int_eq(stream->ops->write(stream, "hello", 5), 5);
	await_report(&program);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	hang_up(stream);
	close_target();
}
END_TEST

/* A start that fails after a kill must not make the next one fail too. */
START_TEST(test_killed_gateway_and_a_mistake)
{
	char group[] = "no-such-group";
	struct error error;

	kill_gateway(start_gateway());
	address.pty.access.group = group;
	ck_assert_int_eq(try_open_target(&error), -EINVAL);
	address.pty.access.group = NULL;
	open_target();
	close_target();
}
END_TEST

START_TEST(test_held_by_another)
{
	pid_t pid = start_gateway();
	char words[64], link[64] = "";
	struct error error;

	ck_assert_int_eq(try_open_target(&error), -EADDRINUSE);
	snprintf(words, sizeof(words), "(pid %ld)", (long)pid);
	ck_assert_msg(strstr(error.text, words) != NULL, "%s", error.text);
	ck_assert_int_gt(readlink(path, link, sizeof(link) - 1), 0);
	kill_gateway(pid);
	unlink(path);
	unlink(lock_path);
}
END_TEST

enum thing {
	THING_FILE,
	THING_DIRECTORY,
	THING_FIFO,
	THING_SOCKET,
	THING_LINK,
	THING_DANGLING_LINK,
	THING_PTY_LINK,
	THING_DEVICE, /* needs root */
	THING_COUNT,
};

static void make_socket(void)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(name.sun_path, sizeof(name.sun_path), "%.100s", path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	close(fd);
}

static void make_thing(enum thing thing)
{
	switch (thing) {
	case THING_FILE:
		ck_assert_int_eq(mknod(path, S_IFREG | 0600, 0), 0);
		break;
	case THING_DIRECTORY:
		ck_assert_int_eq(mkdir(path, 0755), 0);
		break;
	case THING_FIFO:
		ck_assert_int_eq(mkfifo(path, 0600), 0);
		break;
	case THING_SOCKET:
		make_socket();
		break;
	case THING_LINK:
		ck_assert_int_eq(symlink("/dev/null", path), 0);
		break;
	case THING_DANGLING_LINK:
		ck_assert_int_eq(symlink("nowhere", path), 0);
		break;
	case THING_PTY_LINK:
		ck_assert_int_eq(symlink("/dev/pts/4711", path), 0);
		break;
	case THING_DEVICE:
		ck_assert_int_eq(mknod(path, S_IFCHR | 0600, 0x103), 0);
		break;
	case THING_COUNT:
		break;
	}
}

/* Whatever is there stays, also beside a killed gateway's lock file. */
START_TEST(test_refused)
{
	enum thing thing = (enum thing)(_i % THING_COUNT);
	bool has_lock = _i >= THING_COUNT;
	struct stat before, after;
	struct error error;

	if (has_lock && thing == THING_PTY_LINK)
		return;
	if (thing == THING_DEVICE && geteuid() != 0)
		return;
	if (has_lock) {
		kill_gateway(start_gateway());
		ck_assert_int_eq(unlink(path), 0);
	}
	make_thing(thing);
	ck_assert_int_eq(lstat(path, &before), 0);
	ck_assert_int_eq(try_open_target(&error), -EEXIST);
	ck_assert_msg(strstr(error.text, path) != NULL, "%s", error.text);
	ck_assert_msg(strstr(error.text, "is there already") != NULL, "%s",
		      error.text);
	ck_assert_int_eq(lstat(path, &after), 0);
	ck_assert_uint_eq(before.st_ino, after.st_ino);
	ck_assert_uint_eq(before.st_mode, after.st_mode);
	ck_assert_int_eq(remove(path), 0);
}
END_TEST

/* Somebody put another link there while we ran. */
START_TEST(test_close_leaves_what_is_not_ours)
{
	char link[64] = "";

	open_target();
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(symlink("/dev/pts/4711", path), 0);
	close_target();
	ck_assert_int_eq(readlink(path, link, sizeof(link) - 1), 13);
	ck_assert_str_eq(link, "/dev/pts/4711");
	unlink(path);
}
END_TEST

/* ---- the suite -------------------------------------------------------------------- */

static bool has_command(const char *name)
{
	char line[64];

	snprintf(line, sizeof(line), "command -v %s >/dev/null", name);
	return system(line) == 0;
}

static bool is_forking(void)
{
	const char *fork_mode = getenv("CK_FORK");

	return !fork_mode || strcmp(fork_mode, "no") != 0;
}

static void add_case(Suite *suite, TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	suite_add_tcase(suite, tcase);
}

static TCase *bytes_case(void)
{
	TCase *tcase = tcase_create("bytes");

	tcase_add_test(tcase, test_every_byte);
	tcase_add_test(tcase, test_bulk_with_a_late_program);
	if (has_command("socat"))
		tcase_add_test(tcase, test_socat);
	else
		puts("skipped, needs socat: test_socat");
	tcase_add_test(tcase, test_reopen_loses_nothing);
	tcase_add_test(tcase, test_one_session);
	tcase_add_test(tcase, test_cancel);
	return tcase;
}

static TCase *nobody_case(void)
{
	TCase *tcase = tcase_create("nobody there");

	tcase_add_test(tcase, test_unheard_is_discarded);
	tcase_add_test(tcase, test_unheard_does_not_block);
	tcase_add_test(tcase, test_keep_is_bounded);
	tcase_add_test(tcase, test_discard);
	tcase_add_test(tcase, test_discard_after_stall);
	tcase_add_test(tcase, test_idle);
	return tcase;
}

static TCase *terminal_case(void)
{
	TCase *tcase = tcase_create("terminal");

	if (has_command("python3"))
		tcase_add_test(tcase, test_termios);
	else
		puts("skipped, needs python3: test_termios");
	tcase_add_test(tcase, test_forked_child);
	tcase_add_test(tcase, test_last_close_only);
	tcase_add_test(tcase, test_flow);
	if (geteuid() == 0) {
		tcase_add_test(tcase, test_vhangup);
		tcase_add_test(tcase, test_vhangup_unseen);
	} else {
		puts("skipped, needs root: test_vhangup, test_vhangup_unseen");
	}
	/* A process that has become an ordinary user stays one. */
	if (geteuid() == 0 && is_forking())
		tcase_add_test(tcase, test_exclusive_unprivileged);
	else
		puts("skipped, needs root and CK_FORK: "
		     "test_exclusive_unprivileged");
	return tcase;
}

static TCase *path_case(void)
{
	TCase *tcase = tcase_create("path");

	tcase_add_test(tcase, test_path);
	if (geteuid() == 0)
		tcase_add_test(tcase, test_path_access);
	else
		puts("skipped, needs root: test_path_access");
	tcase_add_test(tcase, test_path_access_refused);
	tcase_add_test(tcase, test_directory);
	tcase_add_test(tcase, test_killed_gateway);
	tcase_add_test(tcase, test_killed_gateway_and_a_mistake);
	tcase_add_test(tcase, test_held_by_another);
	tcase_add_loop_test(tcase, test_refused, 0, 2 * THING_COUNT);
	tcase_add_test(tcase, test_close_leaves_what_is_not_ours);
	return tcase;
}

int main(void)
{
	Suite *suite = suite_create("pty");
	SRunner *runner;
	int failed;

	add_case(suite, bytes_case());
	add_case(suite, nobody_case());
	add_case(suite, terminal_case());
	add_case(suite, path_case());
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
