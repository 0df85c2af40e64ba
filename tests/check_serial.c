/* SPDX-License-Identifier: MIT */
/*
 * Serial ports, on ptys behind a path of their own: the test has the master,
 * which is the device. Closing it is unplugging it.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include <event2/event.h>

#include "address_endpoint.h"
#include "endpoint.h"
#include "error.h"
#include "loop.h"
#include "programs.h"

#define BULK_BYTES (1024 * 1024)

static struct target *target;
static struct listener *listener;
static struct address_endpoint address;
static const struct endpoint_settings settings;
/* The device: a stream for the pump's sake. */
static struct stream device;
static char slave[32];
/* What listens got. */
static struct stream *client;
static unsigned int clients;
static bool is_refusing;

/* ---- the device ---------------------------------------------------------------- */

/* What a driver does that waits in close(2); 0: none does. */
static dev_t slow_device;
static sem_t slow_close;
static atomic_uint closing; /* where the kernel has its lock */

/* Of the whole program, gateway and all. */
int close(int fd)
{
	struct stat st;

	if (slow_device && fstat(fd, &st) == 0 && st.st_rdev == slow_device) {
		closing++;
		sem_wait(&slow_close);
		closing--;
	}
	return (int)syscall(SYS_close, fd);
}

static void make_slow(void)
{
	struct stat st;

	ck_assert_int_eq(sem_init(&slow_close, 0, 0), 0);
	ck_assert_int_eq(stat(slave, &st), 0);
	slow_device = st.st_rdev;
}

static ssize_t device_read(struct stream *stream, void *buffer, size_t bytes)
{
	ssize_t got = read(stream->read_fd, buffer, bytes);

	return got < 0 ? -errno : got;
}

static ssize_t device_write(struct stream *stream, const void *buffer,
			    size_t bytes)
{
	ssize_t put = write(stream->write_fd, buffer, bytes);

	return put < 0 ? -errno : put;
}

static const struct stream_ops device_ops = {
	.read = device_read,
	.write = device_write,
};

static void make_device(void)
{
	int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(grantpt(fd), 0);
	ck_assert_int_eq(unlockpt(fd), 0);
	ck_assert_int_eq(ptsname_r(fd, slave, sizeof(slave)), 0);
	device.ops = &device_ops;
	device.read_fd = device.write_fd = fd;
}

static void plug_in(void)
{
	make_device();
	ck_assert_int_eq(symlink(slave, path), 0);
}

static void unplug(void)
{
	close(device.read_fd);
	device.read_fd = -1;
	unlink(path);
}

static void say(const char *text)
{
	ck_assert_int_eq(write(device.write_fd, text, strlen(text)),
			 (ssize_t)strlen(text));
}

static void setup(void)
{
	start_scene("tty");
	memset(&address, 0, sizeof(address));
	address.kind = ENDPOINT_KIND_SERIAL;
	address.serial.path = path;
	address.serial.baud = 115200;
	address.serial.data_bits = 8;
	address.serial.stop_bits = 1;
	client = NULL;
	clients = 0;
	is_refusing = false;
	plug_in();
}

static void teardown(void)
{
	if (device.read_fd >= 0)
		unplug();
	stop_scene();
}

static void assert_says(const char *text, const char *words)
{
	ck_assert_msg(strstr(text, words) != NULL, "'%s' is not in: %s", words,
		      text);
}

/* A port is closed by a thread, of which no event tells. */
static void await_descriptors(unsigned int count)
{
	for (int i = 0; i < 100 * DEADLINE_S && count_descriptors() != count;
	     i++)
		count_wakes(10);
	ck_assert_uint_eq(count_descriptors(), count);
}

static void await_closing(unsigned int count)
{
	for (int i = 0; i < 100 * DEADLINE_S && closing != count; i++)
		count_wakes(10);
	ck_assert_uint_eq(closing, count);
}

static void expect(struct stream *stream, const char *text)
{
	size_t bytes = strlen(text);
	struct pump pump;

	pump_start(&pump, stream, NULL, 0, bytes);
	await(has_received, &pump);
	ck_assert_int_eq(memcmp(pump.in, text, bytes), 0);
	pump_stop(&pump);
}

/* ---- as a target ----------------------------------------------------------------- */

static void open_target(void)
{
	struct error error = {""};

	ck_assert_msg(target_open(loop, &address, &settings, &target, &error) ==
			      0,
		      "%s", error.text);
	ck_assert_uint_eq(target->sessions_max, 1);
}

static void check_refused(int code, const char *words)
{
	struct dialled dialled;
	unsigned int before;

	open_target();
	before = count_descriptors();
	dialled = try_dial(target);
	ck_assert_ptr_null(dialled.stream);
	assert_says(dialled.error.text, words);
	ck_assert_int_eq(dialled.code, code);
	ck_assert_uint_eq(count_descriptors(), before);
	target_close(target);
}

START_TEST(test_bulk)
{
	static uint8_t out[BULK_BYTES], in[BULK_BYTES];
	struct pump ours, theirs;
	struct stream *stream;

	fill(out, sizeof(out), 1);
	fill(in, sizeof(in), 2);
	open_target();
	stream = dial(target);
	ck_assert(!stream_has_half_close(stream));
	pump_start(&ours, stream, out, sizeof(out), sizeof(in));
	pump_start(&theirs, &device, in, sizeof(in), sizeof(out));
	await(has_sent, &ours);
	await(has_sent, &theirs);
	await(has_received, &ours);
	await(has_received, &theirs);
	ck_assert_int_eq(memcmp(ours.in, in, sizeof(in)), 0);
	ck_assert_int_eq(memcmp(theirs.in, out, sizeof(out)), 0);
	pump_stop(&ours);
	pump_stop(&theirs);
	finish_and_hang_up(stream);
	target_close(target);
}
END_TEST

/* A pty's master shows the termios of its slave. */
static struct termios dial_and_look(void)
{
	struct stream *stream;
	struct termios now;

	open_target();
	stream = dial(target);
	ck_assert_int_eq(tcgetattr(device.read_fd, &now), 0);
	ck_assert_uint_eq(now.c_lflag & (ECHO | ICANON | ISIG | IEXTEN), 0);
	ck_assert_uint_eq(now.c_iflag & (ICRNL | INLCR | ISTRIP | BRKINT), 0);
	ck_assert_uint_eq(now.c_oflag & OPOST, 0);
	ck_assert_uint_eq(now.c_cflag & (CSIZE | CREAD), CS8 | CREAD);
	/* A pty pushes back by itself. */
	ck_assert(!stream->has_no_flow_control);
	hang_up(stream);
	target_close(target);
	return now;
}

START_TEST(test_settings)
{
	struct termios now = dial_and_look();

	ck_assert_uint_eq(cfgetospeed(&now), B115200);
	ck_assert_uint_eq(cfgetispeed(&now), B115200);
	ck_assert_uint_eq(now.c_cflag & (CSTOPB | CRTSCTS | CLOCAL), 0);
	ck_assert_uint_eq(now.c_iflag & (IXON | IXOFF), 0);
	address.serial.baud = 9600;
	address.serial.stop_bits = 2;
	address.serial.has_rtscts = true;
	address.serial.has_xonxoff = true;
	address.serial.is_local = true;
	now = dial_and_look();
	ck_assert_uint_eq(cfgetospeed(&now), B9600);
	ck_assert_uint_eq(now.c_cflag & (CSTOPB | CLOCAL), CSTOPB | CLOCAL);
	ck_assert_uint_eq(now.c_cflag & CRTSCTS, CRTSCTS);
	ck_assert_uint_eq(now.c_iflag & (IXON | IXOFF), IXON | IXOFF);
	/* And nothing of that is left. */
	address.serial.baud = 4000000;
	address.serial.stop_bits = 1;
	address.serial.has_rtscts = false;
	address.serial.has_xonxoff = false;
	address.serial.is_local = false;
	now = dial_and_look();
	ck_assert_uint_eq(cfgetospeed(&now), B4000000);
	ck_assert_uint_eq(now.c_cflag & (CSTOPB | CRTSCTS | CLOCAL), 0);
	ck_assert_uint_eq(now.c_iflag & (IXON | IXOFF), 0);
}
END_TEST

/* A pty has 8 bits and no parity, whatever it is asked for. */
START_TEST(test_settings_that_the_driver_refuses)
{
	address.serial.data_bits = 7;
	check_refused(-EINVAL, "does not know the number of data bits");
	address.serial.data_bits = 8;
	address.serial.parity = SERIAL_PARITY_EVEN;
	check_refused(-EINVAL, "does not know the parity that is asked for");
	address.serial.parity = SERIAL_PARITY_ODD;
	check_refused(-EINVAL, "does not know the parity");
}
END_TEST

START_TEST(test_no_serial_port)
{
	char null[] = "/dev/null";

	unplug();
	check_refused(-ENOENT, "tty is not there; is the adapter plugged in?");
	ck_assert_int_eq(mknod(path, S_IFREG | 0600, 0), 0);
	check_refused(-ENOTTY, "is no serial port");
	unlink(path);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	check_refused(-EISDIR, "cannot open");
	ck_assert_int_eq(rmdir(path), 0);
	address.serial.path = null;
	check_refused(-ENOTTY, "/dev/null is no serial port");
}
END_TEST

/* Needs root, to become nobody. */
START_TEST(test_no_right_to_it)
{
	char words[64];

	ck_assert_int_eq(chmod(directory, 0755), 0);
	ck_assert_int_eq(chown(slave, 0, getgrnam("dialout")->gr_gid), 0);
	ck_assert_int_eq(chmod(slave, 0660), 0);
	ck_assert_int_eq(chown(log_path, NOBODY, NOBODY), 0);
	ck_assert_int_eq(chown(directory, NOBODY, NOBODY), 0);
	become_nobody();
	snprintf(words, sizeof(words), "user to the group 'dialout'");
	check_refused(-EACCES, words);
}
END_TEST

/* ---- for us alone ------------------------------------------------------------------ */

static int try_to_open(const char *name)
{
	if (getuid() == 0)
		become_nobody();
	return open(name, O_RDWR | O_NOCTTY) < 0 ? errno : 0;
}

/* Needs root: nobody is kept out as long as it is ours. */
START_TEST(test_exclusive)
{
	struct program program;
	/* Static: valgrind looks for leaks in the programs too. */
	static struct stream *stream;

	ck_assert_int_eq(chmod(directory, 0755), 0);
	ck_assert_int_eq(chmod(slave, 0666), 0);
	open_target();
	stream = dial(target);
	program = start_program(try_to_open);
	ck_assert_int_eq(finish(&program), EBUSY);
	hang_up(stream);
	program = start_program(try_to_open);
	ck_assert_int_eq(finish(&program), 0);
	target_close(target);
}
END_TEST

static int hold_it(const char *name)
{
	int fd = open_port(name);

	if (flock(fd, LOCK_EX) < 0)
		return 1;
	report();
	await_order();
	return 0;
}

static int only_open_it(const char *name)
{
	int fd = open_port(name);

	report();
	await_order();
	close(fd);
	return 0;
}

START_TEST(test_held_by_another)
{
	struct program program = start_program(hold_it);
	char words[64];

	await_report(&program);
	snprintf(words, sizeof(words), "(pid %d)", program.pid);
	check_refused(-EBUSY, words);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
}
END_TEST

START_TEST(test_held_by_ourselves)
{
	struct dialled second;
	struct stream *stream;

	open_target();
	stream = dial(target);
	second = try_dial(target);
	ck_assert_ptr_null(second.stream);
	ck_assert_int_eq(second.code, -EBUSY);
	assert_says(second.error.text, "is held by another program");
	hang_up(stream);
	hang_up(dial(target));
	target_close(target);
}
END_TEST

/* It was there first and asks for nothing: said, that is all. */
START_TEST(test_open_in_another)
{
	struct program program = start_program(only_open_it);
	struct stream *stream;
	char words[64];

	await_report(&program);
	open_target();
	stream = dial(target);
	snprintf(words, sizeof(words), "(pid %d) too", program.pid);
	assert_logged(words);
	hang_up(stream);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	target_close(target);
}
END_TEST

/* ---- gone ----------------------------------------------------------------------------- */

START_TEST(test_unplugged)
{
	struct stream *stream;
	struct pump pump;

	open_target();
	stream = dial(target);
	ck_assert_int_eq(stream_check(stream), 0);
	pump_start(&pump, stream, NULL, 0, 5);
	pump.may_end = true;
	say("hello");
	await(has_received, &pump);
	unplug();
	await(has_ended, &pump);
	ck_assert_int_eq(pump.end, -ENODEV);
	ck_assert(stream_is_hung_up(stream));
	ck_assert_int_eq(stream_check(stream), -ENODEV);
	ck_assert_int_eq(stream_write(stream, "x", 1), -ENODEV);
	ck_assert_int_eq(stream_finish(stream, false), 0);
	pump_stop(&pump);
	hang_up(stream);
	target_close(target);
}
END_TEST

/* A port that takes nothing does not hold anybody up. */
START_TEST(test_stuck)
{
	static uint8_t out[BULK_BYTES];
	struct stream *stream;
	uint64_t begin_ms;
	struct pump pump;

	open_target();
	stream = dial(target);
	pump_start(&pump, stream, out, sizeof(out), 0);
	count_wakes(100);
	ck_assert_uint_lt(pump.out_done, sizeof(out));
	await_quiet(300, 2);
	pump_stop(&pump);
	begin_ms = loop_now_ms();
	stream_close(stream, STREAM_CLOSE_ABORT);
	ck_assert_uint_lt(loop_now_ms() - begin_ms, 1000);
	target_close(target);
}
END_TEST

/* The loop does not wait for the driver; the next dial does. */
START_TEST(test_slow_to_close)
{
	struct dialled next = {NULL, 0, false, {""}};
	unsigned int before = count_descriptors();
	struct error late = {"no answer"};
	struct stream *stream;
	struct dial *dialling;

	open_target();
	stream = dial(target);
	make_slow();
	stream_close(stream, STREAM_CLOSE_ORDERLY);
	dialling = target_dial(target, dial_done, &next);
	ck_assert_ptr_nonnull(dialling);
	await_closing(1);
	count_wakes(100);
	ck_assert(!next.is_done);
	dial_explain(dialling, &late);
	assert_says(late.text, "is still closing it");
	sem_post(&slow_close);
	await(is_true, &next.is_done);
	ck_assert_uint_eq(closing, 0);
	ck_assert_msg(next.stream != NULL, "%s", next.error.text);
	say("hello");
	expect(next.stream, "hello");
	stream_close(next.stream, STREAM_CLOSE_ORDERLY);
	/* Who has no time for that leaves nothing behind. */
	dialling = target_dial(target, dial_done, &next);
	ck_assert_ptr_nonnull(dialling);
	dial_cancel(dialling);
	sem_post(&slow_close);
	await_descriptors(before);
	slow_device = 0;
	target_close(target);
}
END_TEST

/* ---- as a listener ---------------------------------------------------------------------- */

static void client_came(struct stream *stream, void *arg)
{
	clients++;
	if (is_refusing)
		stream_close(stream, STREAM_CLOSE_ABORT);
	else
		client = stream;
}

static int try_to_listen(struct error *error)
{
	error->text[0] = '\0';
	return listener_open(loop, &address, &settings, client_came, NULL,
			     &listener, error);
}

static void listen_to_it(void)
{
	struct error error;

	ck_assert_msg(try_to_listen(&error) == 0, "%s", error.text);
	ck_assert_int_eq(listener->protocol, SERVICE_PROTOCOL_NONE);
	ck_assert_uint_eq(clients, 0);
}

static bool has_client(void *arg)
{
	return client != NULL;
}

static bool has_clients(void *count)
{
	return clients >= *(unsigned int *)count;
}

static void await_clients(unsigned int count)
{
	await(has_clients, &count);
}

static struct stream *take_client(void)
{
	struct stream *taken;

	await(has_client, NULL);
	taken = client;
	client = NULL;
	return taken;
}

static bool is_hung_up(void *stream)
{
	return stream_is_hung_up(stream);
}

START_TEST(test_listen)
{
	struct stream *stream;

	listen_to_it();
	stream = take_client();
	say("hello");
	expect(stream, "hello");
	ck_assert_int_eq(stream_write(stream, "there", 5), 5);
	expect(&device, "there");
	hang_up(stream);
	listener_close(listener);
	ck_assert_uint_eq(clients, 1);
}
END_TEST

/* After a session that lasted: as soon as there is something to say. */
START_TEST(test_listen_again_with_bytes)
{
	struct stream *stream;
	uint64_t begin_ms;

	listen_to_it();
	stream = take_client();
	count_wakes(1100);
	hang_up(stream);
	begin_ms = loop_now_ms();
	await_quiet(100, 0);
	ck_assert_ptr_null(client);
	say("more");
	stream = take_client();
	ck_assert_uint_lt(loop_now_ms() - begin_ms, 900);
	expect(stream, "more");
	hang_up(stream);
	listener_close(listener);
}
END_TEST

/* And without, a second later. */
START_TEST(test_listen_again)
{
	uint64_t begin_ms;

	listen_to_it();
	for (int i = 0; i < 2; i++) {
		struct stream *stream = take_client();

		/* Short, but with an answer: that is no failure. */
		ck_assert_int_eq(stream_write(stream, "x", 1), 1);
		begin_ms = loop_now_ms();
		hang_up(stream);
		say("not yet");
		await_clients((unsigned int)i + 2);
		ck_assert_uint_ge(loop_now_ms() - begin_ms, 990);
	}
	hang_up(take_client());
	listener_close(listener);
}
END_TEST

/* The other end is not there: it is not asked without a pause. */
START_TEST(test_listen_to_be_refused)
{
	uint64_t begin_ms;

	is_refusing = true;
	listen_to_it();
	/* The pause begins with the refusal, before we hear of it. */
	begin_ms = loop_now_ms();
	await_clients(1);
	say("hello");
	await_clients(2);
	ck_assert_uint_ge(loop_now_ms() - begin_ms, 990);
	is_refusing = false;
	await_clients(3);
	ck_assert_uint_ge(loop_now_ms() - begin_ms, 2980);
	/* Nothing was lost meanwhile. */
	expect(client, "hello");
	hang_up(take_client());
	listener_close(listener);
}
END_TEST

START_TEST(test_listen_before_it_is_there)
{
	struct stream *stream;

	unplug();
	listen_to_it();
	assert_logged(
		"tty is not there; is the adapter plugged in? It is taken "
		"when it comes");
	count_wakes(20);
	await_quiet(500, 0);
	plug_in();
	say("hello");
	stream = take_client();
	expect(stream, "hello");
	assert_logged("tty: it is there");
	hang_up(stream);
	listener_close(listener);
}
END_TEST

START_TEST(test_unplugged_and_back)
{
	struct stream *stream;

	listen_to_it();
	for (unsigned int i = 1; i <= 3; i++) {
		stream = take_client();
		ck_assert_uint_eq(clients, i);
		say("hello");
		expect(stream, "hello");
		unplug();
		await(is_hung_up, stream);
		ck_assert_int_eq(stream_read(stream, &(char){0}, 1), -ENODEV);
		hang_up(stream);
		count_wakes(20);
		await_quiet(200, 0);
		plug_in();
	}
	hang_up(take_client());
	listener_close(listener);
}
END_TEST

START_TEST(test_unplugged_between_sessions)
{
	struct stream *stream;

	listen_to_it();
	stream = take_client();
	count_wakes(1100);
	hang_up(stream);
	unplug();
	count_wakes(50);
	assert_logged("tty is not there");
	ck_assert_uint_eq(clients, 1);
	plug_in();
	hang_up(take_client());
	listener_close(listener);
}
END_TEST

/* The link stays, and leads to nowhere until it is replaced. */
START_TEST(test_back_by_another_link)
{
	struct stream *stream;
	char other[160];

	snprintf(other, sizeof(other), "%s.new", path);
	listen_to_it();
	stream = take_client();
	close(device.read_fd);
	await(is_hung_up, stream);
	hang_up(stream);
	count_wakes(20);
	make_device();
	ck_assert_int_eq(symlink(slave, other), 0);
	ck_assert_int_eq(rename(other, path), 0);
	hang_up(take_client());
	listener_close(listener);
}
END_TEST

/* Its directory comes and goes with it (/dev/serial/by-id). */
START_TEST(test_directory_comes_and_goes)
{
	char serial[128], by_id[160], deep[192];

	snprintf(serial, sizeof(serial), "%s/serial", directory);
	snprintf(by_id, sizeof(by_id), "%s/by-id", serial);
	snprintf(deep, sizeof(deep), "%s/tty", by_id);
	address.serial.path = deep;
	listen_to_it();
	count_wakes(20);
	for (int i = 0; i < 2; i++) {
		struct stream *stream;

		ck_assert_int_eq(mkdir(serial, 0700), 0);
		if (i == 0)
			count_wakes(20);
		ck_assert_int_eq(mkdir(by_id, 0700), 0);
		if (i == 0)
			count_wakes(20);
		ck_assert_int_eq(symlink(slave, deep), 0);
		stream = take_client();
		close(device.read_fd);
		ck_assert_int_eq(unlink(deep), 0);
		ck_assert_int_eq(rmdir(by_id), 0);
		ck_assert_int_eq(rmdir(serial), 0);
		await(is_hung_up, stream);
		hang_up(stream);
		count_wakes(20);
		await_quiet(200, 0);
		make_device();
	}
	listener_close(listener);
}
END_TEST

/* Held by another when it comes back: tried again, and said once. */
START_TEST(test_back_in_other_hands)
{
	struct program program;
	struct stream *stream;

	listen_to_it();
	stream = take_client();
	unplug();
	await(is_hung_up, stream);
	plug_in();
	program = start_program(hold_it);
	await_report(&program);
	hang_up(stream);
	assert_logged(" is held by ");
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
	hang_up(take_client());
	listener_close(listener);
}
END_TEST

START_TEST(test_listen_to_what_is_held)
{
	struct program program = start_program(hold_it);
	struct error error;
	unsigned int before;

	await_report(&program);
	before = count_descriptors();
	ck_assert_int_eq(try_to_listen(&error), -EBUSY);
	assert_says(error.text, " is held by ");
	ck_assert_ptr_null(listener);
	ck_assert_uint_eq(count_descriptors(), before);
	order(&program);
	ck_assert_int_eq(finish(&program), 0);
}
END_TEST

/* Stopping: the session goes on, and the port with it. */
START_TEST(test_session_outlives_its_listener)
{
	struct stream *stream;
	unsigned int before = count_descriptors();

	listen_to_it();
	stream = take_client();
	listener_close(listener);
	say("hello");
	expect(stream, "hello");
	finish_and_hang_up(stream);
	await_descriptors(before);
	ck_assert_uint_eq(clients, 1);
}
END_TEST

/* As for a dial: a reload may close it and listen on it again. */
START_TEST(test_listen_to_what_is_being_closed)
{
	listen_to_it();
	hang_up(take_client());
	make_slow();
	listener_close(listener);
	clients = 0;
	listen_to_it();
	await_closing(1);
	count_wakes(100);
	ck_assert_uint_eq(clients, 0);
	sem_post(&slow_close);
	hang_up(take_client());
	sem_post(&slow_close);
	listener_close(listener);
	await_closing(0);
	slow_device = 0;
}
END_TEST

START_TEST(test_closed_in_every_state)
{
	unsigned int before = count_descriptors();
	struct stream *stream;

	listen_to_it();
	listener_close(listener);
	await_descriptors(before);
	listen_to_it();
	stream = take_client();
	hang_up(stream);
	listener_close(listener);
	await_descriptors(before);
	count_wakes(20);
	unplug();
	clients = 0;
	listen_to_it();
	listener_close(listener);
	/* Without the device. */
	ck_assert_uint_eq(count_descriptors(), before - 1);
	plug_in();
	count_wakes(20);
	ck_assert_uint_eq(clients, 0);
}
END_TEST

/* ---- the suite -------------------------------------------------------------------------- */

static TCase *target_case(void)
{
	TCase *tcase = tcase_create("target");

	tcase_add_test(tcase, test_bulk);
	tcase_add_test(tcase, test_settings);
	tcase_add_test(tcase, test_settings_that_the_driver_refuses);
	tcase_add_test(tcase, test_no_serial_port);
	tcase_add_test(tcase, test_held_by_another);
	tcase_add_test(tcase, test_held_by_ourselves);
	tcase_add_test(tcase, test_open_in_another);
	tcase_add_test(tcase, test_unplugged);
	tcase_add_test(tcase, test_stuck);
	tcase_add_test(tcase, test_slow_to_close);
	if (geteuid() == 0)
		tcase_add_test(tcase, test_exclusive);
	else
		puts("skipped, needs root: test_exclusive");
	if (geteuid() == 0)
		tcase_add_test(tcase, test_no_right_to_it);
	else
		puts("skipped, needs root: test_no_right_to_it");
	return tcase;
}

static TCase *listener_case(void)
{
	TCase *tcase = tcase_create("listener");

	tcase_add_test(tcase, test_listen);
	tcase_add_test(tcase, test_listen_again_with_bytes);
	tcase_add_test(tcase, test_listen_again);
	tcase_add_test(tcase, test_listen_to_be_refused);
	tcase_add_test(tcase, test_listen_before_it_is_there);
	tcase_add_test(tcase, test_unplugged_and_back);
	tcase_add_test(tcase, test_unplugged_between_sessions);
	tcase_add_test(tcase, test_back_by_another_link);
	tcase_add_test(tcase, test_directory_comes_and_goes);
	tcase_add_test(tcase, test_back_in_other_hands);
	tcase_add_test(tcase, test_listen_to_what_is_held);
	tcase_add_test(tcase, test_session_outlives_its_listener);
	tcase_add_test(tcase, test_listen_to_what_is_being_closed);
	tcase_add_test(tcase, test_closed_in_every_state);
	return tcase;
}

int main(void)
{
	Suite *suite = suite_create("serial");
	TCase *cases[] = {target_case(), listener_case()};
	SRunner *runner;
	int failed;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		tcase_add_checked_fixture(cases[i], setup, teardown);
		tcase_set_timeout(cases[i], 60);
		suite_add_tcase(suite, cases[i]);
	}
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
