/* SPDX-License-Identifier: MIT */
/*
 * A pty as a listener, with real programs that open it: who is a client, what
 * each side gets before the other hangs up, and that the path is always there.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <event2/event.h>

#include "address_endpoint.h"
#include "counted_lookups.h"
#include "endpoint.h"
#include "error.h"
#include "loop.h"
#include "programs.h"

#define BULK_BYTES (1024 * 1024)

static struct listener *listener;
static struct address_endpoint address;
static const struct endpoint_settings settings;
/* What listens got: the last client, and how many there were. */
static struct stream *client;
static unsigned int clients;
static bool is_refusing;

static void setup(void)
{
	start_scene("port");
	memset(&address, 0, sizeof(address));
	address.kind = ENDPOINT_KIND_PTY;
	address.pty.path = path;
	client = NULL;
	clients = 0;
	is_refusing = false;
}

static void teardown(void)
{
	stop_scene();
}

static void client_came(struct stream *stream, void *arg)
{
	clients++;
	if (is_refusing)
		stream_close(stream, STREAM_CLOSE_ABORT);
	else
		client = stream;
}

static void open_listener(void)
{
	struct error error = {""};

	ck_assert_msg(listener_open(loop, &address, &settings, client_came,
				    NULL, &listener, &error) == 0,
		      "%s", error.text);
	ck_assert_int_eq(listener->protocol, SERVICE_PROTOCOL_NONE);
}

static bool has_client(void *arg)
{
	return client != NULL;
}

static struct stream *take_client(void)
{
	struct stream *taken;

	await(has_client, NULL);
	taken = client;
	client = NULL;
	return taken;
}

static bool is_client_hung_up(void *stream)
{
	return stream_is_hung_up(stream);
}

static bool has_clients(void *count)
{
	return clients >= *(unsigned int *)count;
}

/* Where the path leads now. */
static void read_path(char slave[32])
{
	ssize_t got = readlink(path, slave, 31);

	ck_assert_int_gt(got, 0);
	slave[got] = '\0';
	ck_assert_int_eq(strncmp(slave, "/dev/pts/", 9), 0);
}

static char path_before[32];

static bool is_path_renewed(void *arg)
{
	char now[32];

	read_path(now);
	return strcmp(now, path_before) != 0;
}

/* ---- in programs ------------------------------------------------------------- */

/* How a hang-up looks: the end, or EIO; anything else is none. */
static bool is_hang_up(int fd)
{
	char byte;
	ssize_t got = read(fd, &byte, 1);

	return got == 0 || (got < 0 && errno == EIO);
}

static int open_and_wait(const char *name)
{
	int fd = open_port(name);

	report();
	await_order();
	close(fd);
	return 0;
}

static int see_hang_up(const char *name)
{
	int fd = open_port(name);

	report();
	return is_hang_up(fd) ? 0 : 1;
}

static int try_twice(const char *name)
{
	int fd = open_port(name);

	if (!is_hang_up(fd))
		return 1;
	/* Without closing the first: only the path counts. */
	return is_hang_up(open_port(name)) ? 0 : 2;
}

/* ---- bytes ------------------------------------------------------------------- */

static int exchange_bulk(const char *name)
{
	static uint8_t got[BULK_BYTES], expected[BULK_BYTES];
	int fd = open_port(name);

	fill(expected, BULK_BYTES, 2);
	write_exactly(fd, expected, BULK_BYTES);
	fill(expected, BULK_BYTES, 1);
	read_exactly(fd, got, BULK_BYTES);
	return memcmp(got, expected, BULK_BYTES) ? 1 : 0;
}

START_TEST(test_bulk)
{
	static uint8_t out[BULK_BYTES], expected[BULK_BYTES];
	struct program program;
	struct stream *stream;
	struct pump pump;

	fill(out, BULK_BYTES, 1);
	fill(expected, BULK_BYTES, 2);
	open_listener();
	program = start_program(exchange_bulk);
	stream = take_client();
	pump_start(&pump, stream, out, BULK_BYTES, BULK_BYTES);
	pump.may_end = true;
	await(has_received, &pump);
	await(has_sent, &pump);
	await(has_ended, &pump);
	ck_assert_int_eq(pump.end, 0);
	ck_assert_int_eq(memcmp(pump.in, expected, BULK_BYTES), 0);
	ck_assert_int_eq(finish(&program), 0);
	pump_stop(&pump);
	hang_up(stream);
	listener_close(listener);
}
END_TEST

/* Less than a pty holds. */
#define LAST_WORDS_BYTES 8000

static int write_and_leave(const char *name)
{
	static uint8_t words[LAST_WORDS_BYTES];
	int fd = open_port(name);

	report();
	await_order();
	fill(words, sizeof(words), 5);
	write_exactly(fd, words, sizeof(words));
	close(fd);
	report();
	await_order();
	return 0;
}

/* All that it wrote, also what was read only after it had closed. */
START_TEST(test_last_words_of_a_program)
{
	static uint8_t expected[LAST_WORDS_BYTES];
	struct program program;
	struct stream *stream;
	struct pump pump;

	fill(expected, sizeof(expected), 5);
	open_listener();
	program = start_program(write_and_leave);
	await_report(&program);
	stream = take_client();
	order(&program);
	await_report(&program);
	await(is_client_hung_up, stream);
	ck_assert_int_eq(stream_check(stream), 0);
	pump_start(&pump, stream, NULL, 0, sizeof(expected));
	pump.may_end = true;
	await(has_ended, &pump);
	ck_assert_int_eq(pump.end, 0);
	ck_assert_uint_eq(pump.in_done, sizeof(expected));
	ck_assert_int_eq(memcmp(pump.in, expected, sizeof(expected)), 0);
	ck_assert_int_eq(stream_write(stream, "x", 1), -EPIPE);
	pump_stop(&pump);
	hang_up(stream);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	listener_close(listener);
}
END_TEST

/* Slowly, and only when everything has arrived: then the end. */
static int read_last_words(const char *name)
{
	static uint8_t got[LAST_WORDS_BYTES], expected[LAST_WORDS_BYTES];
	int fd = open_port(name);

	report();
	await_order();
	for (size_t done = 0; done < sizeof(got); done += 1000) {
		read_exactly(fd, got + done, 1000);
		usleep(2000);
	}
	fill(expected, sizeof(expected), 6);
	if (memcmp(got, expected, sizeof(got)) != 0)
		return 1;
	return is_hang_up(fd) ? 0 : 2;
}

START_TEST(test_last_words_of_the_other_side)
{
	static uint8_t words[LAST_WORDS_BYTES];
	struct program program;
	struct stream *stream;

	fill(words, sizeof(words), 6);
	open_listener();
	program = start_program(read_last_words);
	await_report(&program);
	stream = take_client();
	ck_assert_int_eq(stream_finish(stream, false), 0);
	ck_assert_int_eq(stream_write(stream, words, sizeof(words)),
			 sizeof(words));
	ck_assert_uint_gt(stream_finish(stream, false), 0);
	count_wakes(100);
	ck_assert_uint_gt(stream_finish(stream, false), 0);
	order(&program);
	finish_and_hang_up(stream);
	ck_assert_int_eq(finish(&program), 0);
	ck_assert(!has_logged("lost"));
	listener_close(listener);
}
END_TEST

/* It leaves without having read: nobody waits for that. */
START_TEST(test_a_program_that_reads_nothing_and_leaves)
{
	struct program program;
	struct stream *stream;

	open_listener();
	program = start_program(open_and_wait);
	await_report(&program);
	stream = take_client();
	ck_assert_int_eq(stream_write(stream, "hello", 5), 5);
	ck_assert_uint_gt(stream_finish(stream, false), 0);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	finish_and_hang_up(stream);
	listener_close(listener);
}
END_TEST

static int read_nothing(const char *name)
{
	int fd = open_port(name);
	char byte;

	write_exactly(fd, (const uint8_t *)"ATZ\r", 4);
	report();
	await_order();
	return is_hang_up(fd) && read(fd, &byte, 1) <= 0 ? 0 : 1;
}

/* Cut off: what neither side got is said. */
START_TEST(test_what_is_lost_is_said)
{
	static uint8_t words[8000];
	struct program program;
	struct stream *stream;

	open_listener();
	program = start_program(read_nothing);
	await_report(&program);
	stream = take_client();
	ck_assert_int_eq(stream_write(stream, words, sizeof(words)),
			 sizeof(words));
	stream_close(stream, STREAM_CLOSE_ABORT);
	assert_logged("8000 bytes that no program had read are lost");
	assert_logged("discarded 4 bytes that a program wrote");
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	listener_close(listener);
}
END_TEST

/* ---- who is a client ----------------------------------------------------------- */

START_TEST(test_one_call_after_the_other)
{
	char before[32], after[32];
	struct program program;
	struct stream *stream;
	struct stat st;

	open_listener();
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	for (unsigned int i = 1; i <= 3; i++) {
		read_path(before);
		program = start_program(open_and_wait);
		await_report(&program);
		stream = take_client();
		ck_assert_uint_eq(clients, i);
		ck_assert(!stream_is_hung_up(stream));
		order(&program);
		ck_assert_int_eq(finish(&program), 0);
		await(is_client_hung_up, stream);
		hang_up(stream);
		ck_assert_int_eq(stat(path, &st), 0);
		read_path(after);
		ck_assert_str_ne(before, after);
	}
	listener_close(listener);
	ck_assert_int_ne(lstat(path, &st), 0);
}
END_TEST

/* The next call need not wait until the session of the last one is drained. */
START_TEST(test_the_next_call_comes_at_once)
{
	struct program first, second;
	/* Static: valgrind looks for leaks in the second program too. */
	static struct stream *stream;

	open_listener();
	first = start_program(open_and_wait);
	await_report(&first);
	stream = take_client();
	read_path(path_before);
	order(&first);
	ck_assert_int_eq(finish(&first), 0);
	await(is_path_renewed, NULL);
	second = start_program(open_and_wait);
	await_report(&second);
	await(has_client, NULL);
	ck_assert_ptr_ne(client, stream);
	hang_up(stream);
	ck_assert(!stream_is_hung_up(client));
	order(&second);
	ck_assert_int_eq(finish(&second), 0);
	hang_up(client);
	listener_close(listener);
}
END_TEST

/* Two programs at one port are one call: it ends with the last of them. */
START_TEST(test_programs_share_a_call)
{
	struct program first, second;
	struct stream *stream;

	open_listener();
	first = start_program(open_and_wait);
	await_report(&first);
	stream = take_client();
	second = start_program(open_and_wait);
	await_report(&second);
	order(&first);
	ck_assert_int_eq(finish(&first), 0);
	/* Longer than the last look after a close. */
	count_wakes(1200);
	ck_assert(!stream_is_hung_up(stream));
	await_quiet(300, 0);
	order(&second);
	ck_assert_int_eq(finish(&second), 0);
	await(is_client_hung_up, stream);
	ck_assert_uint_eq(clients, 1);
	hang_up(stream);
	listener_close(listener);
}
END_TEST

static int look_only(const char *name)
{
	struct termios now;
	int fd = open(name, O_RDONLY | O_NOCTTY | O_NONBLOCK);

	if (fd < 0)
		return 1;
	/* On a busy machine it may be taken for a call, and be hung up. */
	if (tcgetattr(fd, &now) == 0) {
		now.c_lflag |= ECHO;
		tcsetattr(fd, TCSANOW, &now);
	}
	close(fd);
	return 0;
}

static int check_raw(const char *name)
{
	int fd = open_port(name);
	struct termios now;

	if (tcgetattr(fd, &now) < 0)
		return 1;
	return now.c_lflag & (ECHO | ICANON) || now.c_oflag & OPOST ? 2 : 0;
}

/* stty, ModemManager: gone again at once, without a word. */
START_TEST(test_a_look_is_no_call)
{
	struct program program;

	is_refusing = true;
	open_listener();
	for (int i = 0; i < 20; i++) {
		read_path(path_before);
		program = start_program(look_only);
		ck_assert_int_eq(finish(&program), 0);
		await(is_path_renewed, NULL);
	}
	/* On a busy machine a look may take its time. */
	ck_assert_uint_lt(clients, 10);
	is_refusing = false;
	/* And what it did to the port does not hit the next. */
	program = start_program(check_raw);
	ck_assert_int_eq(finish(&program), 0);
	if (client)
		hang_up(take_client());
	listener_close(listener);
}
END_TEST

static int say_hello(const char *name)
{
	write_exactly(open_port(name), (const uint8_t *)"hello", 5);
	return 0;
}

/* echo hello >PORT: over before anybody looked, and all the same a call. */
START_TEST(test_words_without_waiting)
{
	struct program program;
	struct stream *stream;
	struct pump pump;

	open_listener();
	program = start_program(say_hello);
	ck_assert_int_eq(finish(&program), 0);
	stream = take_client();
	await(is_client_hung_up, stream);
	ck_assert(!stream_has_given_up(stream));
	pump_start(&pump, stream, NULL, 0, 5);
	pump.may_end = true;
	await(has_ended, &pump);
	ck_assert_uint_eq(pump.in_done, 5);
	ck_assert_int_eq(memcmp(pump.in, "hello", 5), 0);
	pump_stop(&pump);
	hang_up(stream);
	ck_assert_uint_eq(clients, 1);
	listener_close(listener);
}
END_TEST

static bool given_up;

static void look_whether_it_left(evutil_socket_t fd, short what, void *arg)
{
	given_up = stream_has_given_up(arg);
}

/* What admission.c watches, and how: an edge-triggered event. */
START_TEST(test_a_program_that_does_not_wait)
{
	struct program program;
	struct stream *stream;
	struct event *event;

	open_listener();
	program = start_program(open_and_wait);
	await_report(&program);
	stream = take_client();
	given_up = false;
	event = event_new(loop->base, stream->read_fd,
			  EV_READ | EV_ET | EV_PERSIST, look_whether_it_left,
			  stream);
	event_add(event, NULL);
	count_wakes(50);
	ck_assert(!stream_has_given_up(stream));
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	await(is_true, &given_up);
	event_free(event);
	stream_close(stream, STREAM_CLOSE_ABORT);
	listener_close(listener);
}
END_TEST

#define CALLS 100

/* Each open is a call, or fails: none waits for ever. */
static int call_again_and_again(const char *name)
{
	alarm(DEADLINE_S);
	for (int i = 0; i < CALLS; i++) {
		int fd = open(name, O_RDWR | O_NOCTTY);

		if (fd < 0 && errno != EIO && errno != ENOENT)
			return 1;
		if (fd >= 0 && !is_hang_up(fd))
			return 2;
		close(fd);
	}
	report();
	return 0;
}

static int look_again_and_again(const char *name)
{
	for (;;)
		close(open(name, O_RDWR | O_NOCTTY | O_NONBLOCK));
	return 0;
}

/* A program that comes the moment another one goes is not forgotten. */
START_TEST(test_no_call_is_forgotten)
{
	struct program caller, looker;

	is_refusing = true;
	open_listener();
	looker = start_program(look_again_and_again);
	caller = start_program(call_again_and_again);
	ck_assert_int_eq(finish(&caller), 0);
	kill(looker.pid, SIGKILL);
	finish(&looker);
	ck_assert_uint_gt(clients, 0);
	listener_close(listener);
}
END_TEST

/* ---- hanging up ------------------------------------------------------------------ */

START_TEST(test_a_refusal_is_a_hang_up)
{
	struct program program;

	is_refusing = true;
	open_listener();
	program = start_program(try_twice);
	ck_assert_int_eq(finish(&program), 0);
	ck_assert_uint_eq(clients, 2);
	is_refusing = false;
	program = start_program(open_and_wait);
	await_report(&program);
	hang_up(take_client());
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	listener_close(listener);
}
END_TEST

START_TEST(test_the_other_side_hangs_up)
{
	struct program first, second;

	open_listener();
	first = start_program(see_hang_up);
	await_report(&first);
	hang_up(take_client());
	second = start_program(see_hang_up);
	await_report(&second);
	ck_assert_int_eq(finish(&first), 0);
	hang_up(take_client());
	ck_assert_int_eq(finish(&second), 0);
	ck_assert_uint_eq(clients, 2);
	listener_close(listener);
}
END_TEST

static volatile sig_atomic_t hang_ups;

static void count_hang_up(int number)
{
	hang_ups++;
}

static int await_sighup(const char *name)
{
	sigset_t mask, old;

	signal(SIGHUP, count_hang_up);
	sigemptyset(&mask);
	sigaddset(&mask, SIGHUP);
	sigprocmask(SIG_BLOCK, &mask, &old);
	setsid();
	if (open(name, O_RDWR) < 0)
		return 1;
	report();
	while (!hang_ups)
		sigsuspend(&old);
	return 0;
}

/* As a terminal's: whoever has it as controlling terminal gets SIGHUP. */
START_TEST(test_sighup)
{
	struct program program;

	open_listener();
	program = start_program(await_sighup);
	await_report(&program);
	hang_up(take_client());
	ck_assert_int_eq(finish(&program), 0);
	listener_close(listener);
}
END_TEST

/* Stopping: the path goes, the call stays until its session has ended. */
START_TEST(test_a_call_outlives_its_listener)
{
	struct program program;
	struct stream *stream;
	struct stat st;

	open_listener();
	program = start_program(see_hang_up);
	await_report(&program);
	stream = take_client();
	listener_close(listener);
	ck_assert_int_ne(lstat(path, &st), 0);
	ck_assert(!stream_is_hung_up(stream));
	hang_up(stream);
	ck_assert_int_eq(finish(&program), 0);

	open_listener();
	program = start_program(open_and_wait);
	await_report(&program);
	stream = take_client();
	listener_close(listener);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	await(is_client_hung_up, stream);
	hang_up(stream);
}
END_TEST

/* Whoever has opened it and is no client yet is not forgotten either. */
START_TEST(test_closed_while_a_program_comes)
{
	struct program program;
	char byte;

	open_listener();
	program = start_program(see_hang_up);
	ck_assert_int_eq(read(program.fd, &byte, 1), 1);
	event_base_loop(loop->base, EVLOOP_NONBLOCK);
	listener_close(listener);
	/* A slow machine: it has settled meanwhile. */
	if (client)
		hang_up(client);
	ck_assert_int_eq(finish(&program), 0);
}
END_TEST

/* ---- the port --------------------------------------------------------------------- */

static int lock_and_leave(const char *name)
{
	int fd = open_port(name);

	if (ioctl(fd, TIOCEXCL) < 0)
		return 1;
	report();
	await_order();
	return 0;
}

static void check_exclusive(void)
{
	struct program program;
	struct stream *stream;

	open_listener();
	program = start_program(lock_and_leave);
	await_report(&program);
	stream = take_client();
	/* What is unread can be told all the same. */
	ck_assert_int_eq(stream_write(stream, "hello", 5), 5);
	ck_assert_uint_eq(stream_finish(stream, false), 5);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	await(is_client_hung_up, stream);
	hang_up(stream);
	program = start_program(open_and_wait);
	await_report(&program);
	hang_up(take_client());
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	listener_close(listener);
}

START_TEST(test_exclusive)
{
	check_exclusive();
}
END_TEST

/* The same with a gateway that is not root. */
START_TEST(test_exclusive_unprivileged)
{
	ck_assert_int_eq(chown(directory, NOBODY, NOBODY), 0);
	become_nobody();
	check_exclusive();
}
END_TEST

/* Each new port is for the same people. */
START_TEST(test_access)
{
	char owner[] = "nobody", group[] = "daemon";
	struct stat st;

	address.pty.access = (struct address_access){owner, group, 0660};
	open_listener();
	memset(owner, 'x', sizeof(owner) - 1);
	memset(group, 'x', sizeof(group) - 1);
	for (unsigned int i = 1; i <= 3; i++) {
		struct program program = start_program(see_hang_up);

		await_report(&program);
		hang_up(take_client());
		ck_assert_int_eq(finish(&program), 0);
		ck_assert_int_eq(stat(path, &st), 0);
		ck_assert_uint_eq(st.st_mode & 07777, 0660);
		ck_assert_uint_eq(st.st_uid, NOBODY);
		ck_assert_uint_eq(st.st_gid, getgrnam("daemon")->gr_gid);
	}
	ck_assert_uint_eq(lookups, 1);
	listener_close(listener);
}
END_TEST

START_TEST(test_many_calls_leave_nothing)
{
	unsigned int count = 0, before;

	open_listener();
	before = count_descriptors();
	is_refusing = true;
	for (unsigned int i = 1; i <= 50; i++) {
		struct program program = start_program(see_hang_up);

		await_report(&program);
		count = i;
		await(has_clients, &count);
		ck_assert_int_eq(finish(&program), 0);
	}
	ck_assert_uint_eq(count_descriptors(), before);
	await_quiet(300, 0);
	listener_close(listener);
}
END_TEST

static bool is_path_usable(void *arg)
{
	struct stat st;

	return stat(path, &st) == 0;
}

/* No descriptors for a new port: said once, and made when there are some. */
START_TEST(test_no_port_to_be_had)
{
	struct rlimit before, none;
	struct program program;
	struct stream *stream;

	open_listener();
	program = start_program(open_and_wait);
	await_report(&program);
	stream = take_client();
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 3;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	hang_up(stream);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_logged("no program can open it now: cannot make a pty: Too many "
		      "open files");
	ck_assert(!is_path_usable(NULL));
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	await(is_path_usable, NULL);
	program = start_program(open_and_wait);
	await_report(&program);
	hang_up(take_client());
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	listener_close(listener);
}
END_TEST

/* Another put something there meanwhile: that stays. */
START_TEST(test_a_path_that_is_taken_away)
{
	struct program program;
	char slave[32];

	open_listener();
	program = start_program(see_hang_up);
	await_report(&program);
	await(has_client, NULL);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(symlink("/dev/pts/4711", path), 0);
	hang_up(take_client());
	ck_assert_int_eq(finish(&program), 0);
	assert_logged("no program can open it now: cannot make the link");
	read_path(slave);
	ck_assert_str_eq(slave, "/dev/pts/4711");
	/* Until it is gone. */
	ck_assert_int_eq(unlink(path), 0);
	await(is_path_usable, NULL);
	listener_close(listener);
}
END_TEST

/* A gateway that was killed while it led the path to a new port. */
START_TEST(test_a_half_made_link)
{
	char next[160], lock[160];
	FILE *file;

	snprintf(next, sizeof(next), "%s.next", path);
	snprintf(lock, sizeof(lock), "%s.lock", path);
	ck_assert_int_eq(symlink("/dev/pts/4711", path), 0);
	ck_assert_int_eq(symlink("/dev/pts/4712", next), 0);
	file = fopen(lock, "w");
	fprintf(file, "99999999\n");
	fclose(file);
	open_listener();
	for (unsigned int i = 1; i <= 2; i++) {
		struct program program = start_program(see_hang_up);

		await_report(&program);
		hang_up(take_client());
		ck_assert_int_eq(finish(&program), 0);
	}
	listener_close(listener);
}
END_TEST

/* That what is at PATH.next leads to @target still. */
static void assert_left(const char *next, const char *target)
{
	char left[32] = "";

	ck_assert_int_gt(readlink(next, left, sizeof(left) - 1), 0);
	ck_assert_str_eq(left, target);
}

/* A link to a pty that comes to PATH.next while the gateway runs. */
START_TEST(test_a_link_in_the_way)
{
	struct program program;
	char next[160];

	snprintf(next, sizeof(next), "%s.next", path);
	open_listener();
	ck_assert_int_eq(symlink("/dev/pts/4712", next), 0);
	program = start_program(see_hang_up);
	await_report(&program);
	hang_up(take_client());
	ck_assert_int_eq(finish(&program), 0);
	assert_logged(".next is there already: a link to /dev/pts/4712 that "
		      "another program made");
	await(is_path_usable, NULL);
	assert_left(next, "/dev/pts/4712");
	ck_assert_int_eq(unlink(next), 0);
	listener_close(listener);
}
END_TEST

/* PATH.next is the path of another pty, also where a killed gateway had PATH. */
START_TEST(test_next_is_held)
{
	static const char complaint[] = ".next is held by this gateway, and is "
					"needed for ";
	struct address_endpoint other = {.kind = ENDPOINT_KIND_PTY};
	struct error error = {""};
	struct program program;
	struct target *target, *second;
	char next[160], lock[160], slave[32] = "";
	FILE *file;

	snprintf(next, sizeof(next), "%s.next", path);
	snprintf(lock, sizeof(lock), "%s.lock", path);
	other.pty.path = next;
	ck_assert_int_eq(target_open(loop, &other, &settings, &target, &error),
			 0);
	ck_assert_int_gt(readlink(next, slave, sizeof(slave) - 1), 0);
	for (int is_stale = 0; is_stale < 2; is_stale++) {
		if (is_stale) {
			file = fopen(lock, "w");
			fprintf(file, "99999999\n");
			fclose(file);
		}
		ck_assert_int_eq(listener_open(loop, &address, &settings,
					       client_came, NULL, &listener,
					       &error),
				 -EADDRINUSE);
		ck_assert_msg(strstr(error.text, complaint), "%s", error.text);
		assert_left(next, slave);
	}
	/* It is not in the way of a pty that is never replaced. */
	file = fopen(lock, "w");
	fprintf(file, "99999999\n");
	fclose(file);
	ck_assert_int_eq(
		target_open(loop, &address, &settings, &second, &error), 0);
	assert_left(next, slave);
	target_close(second);
	target_close(target);
	/* Or it comes later. */
	open_listener();
	ck_assert_int_eq(target_open(loop, &other, &settings, &target, &error),
			 0);
	memset(slave, 0, sizeof(slave));
	ck_assert_int_gt(readlink(next, slave, sizeof(slave) - 1), 0);
	program = start_program(see_hang_up);
	await_report(&program);
	hang_up(take_client());
	ck_assert_int_eq(finish(&program), 0);
	assert_logged(complaint);
	assert_left(next, slave);
	target_close(target);
	listener_close(listener);
}
END_TEST

/* Anything else at PATH.next stays, and is told of before the first call. */
START_TEST(test_something_in_the_way)
{
	static const struct {
		const char *target; /* NULL: it is a file */
		const char *complaint;
	} table[] = {
		{NULL, ".next is there already: a file, not a link of the "
		       "gateway; move it away, or choose another path"},
		{"/dev/null", ".next is there already: a link that is not the "
			      "gateway's; move it away, or choose another "
			      "path"},
		{"/dev/pts/4712", ".next is there already: a link to "
				  "/dev/pts/4712 that another program made (no "
				  "stale lock tells of a killed gateway); move "
				  "it away, or remove it if nothing uses it"},
	};
	struct error error = {""};
	struct target *target;
	struct stat status;
	char next[160];

	snprintf(next, sizeof(next), "%s.next", path);
	if (table[_i].target)
		ck_assert_int_eq(symlink(table[_i].target, next), 0);
	else
		ck_assert_int_eq(mknod(next, S_IFREG | 0600, 0), 0);
	ck_assert_int_eq(listener_open(loop, &address, &settings, client_came,
				       NULL, &listener, &error),
			 -EEXIST);
	ck_assert_msg(strstr(error.text, table[_i].complaint), "%s",
		      error.text);
	ck_assert_int_eq(lstat(next, &status), 0);
	/* It is not in the way of a pty that is never replaced. */
	ck_assert_int_eq(
		target_open(loop, &address, &settings, &target, &error), 0);
	target_close(target);
	ck_assert_int_eq(lstat(next, &status), 0);
	ck_assert_int_eq(unlink(next), 0);
}
END_TEST

static int hang_up_like_getty(const char *name)
{
	int fd = open_port(name);

	if (ioctl(fd, TIOCVHANGUP) < 0)
		return 1;
	close(fd);
	report();
	await_order();
	fd = open_port(name);
	if (ioctl(fd, TIOCVHANGUP) < 0)
		return 2;
	report();
	await_order();
	return 0;
}

/* A getty's hang-up of its own does no harm, and closing ends the call. */
START_TEST(test_vhangup)
{
	struct program program;
	struct stream *stream;

	open_listener();
	read_path(path_before);
	program = start_program(hang_up_like_getty);
	await_report(&program);
	await(is_path_renewed, NULL);
	if (client)
		hang_up(take_client());
	order(&program);
	await_report(&program);
	stream = take_client();
	ck_assert_int_eq(stream_write(stream, "hello", 5), 5);
	stream_finish(stream, false);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	await(is_client_hung_up, stream);
	finish_and_hang_up(stream);
	program = start_program(open_and_wait);
	await_report(&program);
	hang_up(take_client());
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	listener_close(listener);
}
END_TEST

START_TEST(test_idle)
{
	struct program program;
	struct stream *stream;

	open_listener();
	await_quiet(300, 0);
	program = start_program(open_and_wait);
	await_report(&program);
	stream = take_client();
	count_wakes(50);
	await_quiet(300, 0);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	await(is_client_hung_up, stream);
	hang_up(stream);
	await_quiet(300, 1);
	listener_close(listener);
}
END_TEST

START_TEST(test_held_by_another)
{
	struct listener *second = NULL;
	struct error error = {""};

	open_listener();
	ck_assert_int_eq(listener_open(loop, &address, &settings, client_came,
				       NULL, &second, &error),
			 -EADDRINUSE);
	ck_assert_ptr_null(second);
	ck_assert_msg(strstr(error.text, "held by this gateway") != NULL, "%s",
		      error.text);
	listener_close(listener);
}
END_TEST

/* ---- the suite -------------------------------------------------------------------- */

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, test_bulk);
	tcase_add_test(tcase, test_last_words_of_a_program);
	tcase_add_test(tcase, test_last_words_of_the_other_side);
	tcase_add_test(tcase, test_a_program_that_reads_nothing_and_leaves);
	tcase_add_test(tcase, test_what_is_lost_is_said);
	tcase_add_test(tcase, test_one_call_after_the_other);
	tcase_add_test(tcase, test_the_next_call_comes_at_once);
	tcase_add_test(tcase, test_programs_share_a_call);
	tcase_add_test(tcase, test_a_look_is_no_call);
	tcase_add_test(tcase, test_words_without_waiting);
	tcase_add_test(tcase, test_a_program_that_does_not_wait);
	tcase_add_test(tcase, test_no_call_is_forgotten);
	tcase_add_test(tcase, test_a_refusal_is_a_hang_up);
	tcase_add_test(tcase, test_the_other_side_hangs_up);
	tcase_add_test(tcase, test_sighup);
	tcase_add_test(tcase, test_a_call_outlives_its_listener);
	tcase_add_test(tcase, test_closed_while_a_program_comes);
	tcase_add_test(tcase, test_exclusive);
	tcase_add_test(tcase, test_many_calls_leave_nothing);
	tcase_add_test(tcase, test_no_port_to_be_had);
	tcase_add_test(tcase, test_a_path_that_is_taken_away);
	tcase_add_test(tcase, test_a_half_made_link);
	tcase_add_test(tcase, test_a_link_in_the_way);
	tcase_add_test(tcase, test_next_is_held);
	tcase_add_loop_test(tcase, test_something_in_the_way, 0, 3);
	tcase_add_test(tcase, test_idle);
	tcase_add_test(tcase, test_held_by_another);
}

static void add_root_tests(TCase *tcase)
{
	if (geteuid() == 0) {
		tcase_add_test(tcase, test_access);
		tcase_add_test(tcase, test_vhangup);
	} else {
		puts("skipped, needs root: test_access, test_vhangup");
	}
	if (geteuid() == 0)
		tcase_add_test(tcase, test_exclusive_unprivileged);
	else
		puts("skipped, needs root: test_exclusive_unprivileged");
}

int main(void)
{
	Suite *suite = suite_create("pty listen");
	TCase *tcase = tcase_create("pty listen");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	suite_add_tcase(suite, tcase);
	add_tests(tcase);
	add_root_tests(tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
