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
#include "programs.h"

/* More than the kernel keeps for a program that does not read. */
#define KEPT_MAX_BYTES (64 * 1024)

static char lock_path[160];
static struct target *target;
static const struct endpoint_settings settings;
static struct address_endpoint address;

/* ---- the gateway's side -------------------------------------------------------- */

static void setup(void)
{
	start_scene("port");
	snprintf(lock_path, sizeof(lock_path), "%s.lock", path);
	memset(&address, 0, sizeof(address));
	address.kind = ENDPOINT_KIND_PTY;
	address.pty.path = path;
}

static void teardown(void)
{
	stop_scene();
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
	stream = dial(target);
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
	stream = dial(target);
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

#define BURST_BYTES \
	9000 /* the kernel holds more for a master, but gives less at once */

static int write_burst(const char *name)
{
	static uint8_t burst[BURST_BYTES];
	int fd = open_port(name);

	fill(burst, sizeof(burst), 3);
	write_exactly(fd, burst, sizeof(burst));
	report();
	await_order();
	return 0;
}

/* What is passed on in pieces is cut into packets piece by piece. */
START_TEST(test_burst_is_one_read)
{
	static uint8_t got[BULK_BYTES], expected[BURST_BYTES];
	struct program program;
	struct stream *stream;

	fill(expected, sizeof(expected), 3);
	open_target();
	stream = dial(target);
	program = start_program(write_burst);
	await_report(&program);
	ck_assert_int_eq(stream_read(stream, got, sizeof(got)), BURST_BYTES);
	ck_assert_mem_eq(got, expected, BURST_BYTES);
	ck_assert_int_eq(stream_read(stream, got, sizeof(got)), -EAGAIN);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
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
	stream = dial(target);
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
	stream = dial(target);
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
	struct dialled second;
	struct stream *stream;

	open_target();
	ck_assert_uint_eq(target->sessions_max, 1);
	stream = dial(target);
	second = try_dial(target);
	ck_assert_ptr_null(second.stream);
	ck_assert_int_eq(second.code, -EBUSY);
	hang_up(stream);
	hang_up(dial(target));
	close_target();
}
END_TEST

START_TEST(test_cancel)
{
	struct dialled dialled = {NULL, 0, false, {""}};
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
	stream = dial(target);
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
	stream = dial(target);
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

	open_target();
	stream = dial(target);
	pump_start(&pump, stream, out, sizeof(out), 0);
	count_wakes(100);
	kept = pump.out_done;
	ck_assert_uint_ge(kept, 8000);
	ck_assert_uint_lt(kept, sizeof(out));
	await_quiet(500, 2);
	ck_assert_uint_eq(pump.out_done, kept);
	program = start_program(read_all_kept);
	await_report(&program);
	await_quiet(500, 4);
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
	stream = dial(target);
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
	stream = dial(target);
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
	await_quiet(300, 0);
	stream = dial(target);
	await_quiet(300, 0);
	hang_up(stream);
	program = start_program(open_and_wait);
	await_report(&program);
	count_wakes(50);
	await_quiet(300, 0);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	/* It closed: three more looks, then silence. */
	count_wakes(1200);
	await_quiet(300, 0);
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
	stream = dial(target);
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
	stream = dial(target);
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
	stream = dial(target);
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
	stream = dial(target);
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
	stream = dial(target);
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
	await_quiet(300, 0);
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
	stream = dial(target);
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
	stream = dial(target);
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
	tcase_add_test(tcase, test_burst_is_one_read);
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
	if (geteuid() == 0)
		tcase_add_test(tcase, test_exclusive_unprivileged);
	else
		puts("skipped, needs root: test_exclusive_unprivileged");
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
