/* SPDX-License-Identifier: MIT */
/*
 * The ends that are things of this machine: a file that is appended to, a
 * program for each session.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/event.h>

#include "address_endpoint.h"
#include "counted_lookups.h"
#include "endpoint.h"
#include "error.h"
#include "loop.h"
#include "programs.h"
#include "session.h"
#include "socket.h"

#define BULK_BYTES (1024 * 1024)

static struct target *target;
static struct address_endpoint address;
static const struct endpoint_settings settings;

static void setup(void)
{
	start_scene("out");
	memset(&address, 0, sizeof(address));
	/* As gateway.c does. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
}

static void teardown(void)
{
	unlink(path);
	stop_scene();
}

static void open_target(void)
{
	struct error error = {""};

	ck_assert_msg(target_open(loop, &address, &settings, &target, &error) ==
			      0,
		      "%s", error.text);
	ck_assert_uint_eq(target->sessions_max, 0);
}

static void assert_says(const struct error *error, const char *words)
{
	ck_assert_msg(strstr(error->text, words) != NULL, "'%s' is not in: %s",
		      words, error->text);
}

/* ---- a whole session -------------------------------------------------------------- */

static struct session *session;
static bool is_over, has_failed;
static char reason[SESSION_REASON_BYTES];
static struct session_counters counters;

static void session_over(struct session *ended, void *arg)
{
	is_over = true;
	has_failed = session_has_failed(ended);
	counters = *session_counters(ended);
	session_format_reason(ended, reason);
}

/* Returns the client's far end. */
static int start_session(struct stream *stream)
{
	static const struct session_settings limits = {
		.linger_ms = 2000,
		.drain_timeout_ms = 1000,
		.ended = session_over,
	};
	static const struct stream_ops ops = {
		.read = socket_read,
		.write = socket_write,
		.check = socket_check,
		.shutdown_write = socket_shutdown_write,
		.close = socket_close,
	};
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX,
				    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
				    0, ends),
			 0);
	is_over = false;
	session = session_new(loop, socket_stream_new(&ops, ends[0], "client"),
			      stream, &limits, 0, NULL);
	ck_assert_ptr_nonnull(session);
	return ends[1];
}

static void send_all(int fd, const uint8_t *data, size_t bytes)
{
	while (bytes > 0) {
		ssize_t put = send(fd, data, bytes, MSG_NOSIGNAL);

		if (put > 0) {
			data += put;
			bytes -= (size_t)put;
		} else {
			ck_assert_int_eq(errno, EAGAIN);
			event_base_loop(loop->base, EVLOOP_ONCE);
		}
	}
}

/* ---- file: bytes ------------------------------------------------------------------- */

static void setup_file(void)
{
	setup();
	address.kind = ENDPOINT_KIND_FILE;
	address.file.path = path;
}

static void append(const char *text)
{
	struct stream *stream = dial(target);
	size_t bytes = strlen(text);

	ck_assert_int_eq(stream_write(stream, text, bytes), (ssize_t)bytes);
	hang_up(stream);
}

static void assert_holds(const char *name, const char *text)
{
	char got[256];
	FILE *file = fopen(name, "r");

	ck_assert_msg(file != NULL, "%s: %s", name, strerror(errno));
	got[fread(got, 1, sizeof(got) - 1, file)] = '\0';
	fclose(file);
	ck_assert_str_eq(got, text);
}

START_TEST(test_file_is_appended_to)
{
	struct stat st;

	umask(0);
	open_target();
	append("one\n");
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(chmod(path, 0640), 0);
	append("two\n");
	assert_holds(path, "one\ntwo\n");
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0640);
	target_close(target);
}
END_TEST

START_TEST(test_file_of_several)
{
	struct stream *one, *other;

	open_target();
	one = dial(target);
	other = dial(target);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(stream_write(one, "one ", 4), 4);
		ck_assert_int_eq(stream_write(other, "other ", 6), 6);
	}
	hang_up(one);
	ck_assert_int_eq(stream_write(other, "last", 4), 4);
	hang_up(other);
	assert_holds(path, "one other one other one other last");
	target_close(target);
}
END_TEST

/* logrotate: who writes goes on in the old one, who comes gets a new one. */
START_TEST(test_file_that_is_moved)
{
	char old[192];
	struct stream *stream;

	snprintf(old, sizeof(old), "%s.1", path);
	open_target();
	stream = dial(target);
	ck_assert_int_eq(stream_write(stream, "a", 1), 1);
	ck_assert_int_eq(rename(path, old), 0);
	ck_assert_int_eq(stream_write(stream, "b", 1), 1);
	append("c");
	hang_up(stream);
	assert_holds(old, "ab");
	assert_holds(path, "c");
	unlink(old);
	target_close(target);
}
END_TEST

/* What is there may go up to where it is whole and no further. */
static void check_content(const uint8_t *data, size_t bytes)
{
	uint8_t *got = malloc(bytes + 1);
	FILE *file = fopen(path, "r");

	ck_assert_uint_eq(fread(got, 1, bytes + 1, file), bytes);
	ck_assert_int_eq(memcmp(got, data, bytes), 0);
	fclose(file);
	free(got);
}

/* The session ends when its client does, and everything is in the file. */
START_TEST(test_file_session)
{
	static uint8_t data[BULK_BYTES];
	int fd;

	fill(data, sizeof(data), 1);
	open_target();
	fd = start_session(dial(target));
	await_quiet(100, 0);
	send_all(fd, data, sizeof(data));
	shutdown(fd, SHUT_WR);
	await(is_true, &is_over);
	ck_assert_str_eq(reason, "client closed");
	ck_assert_uint_eq(counters.up_bytes, sizeof(data));
	ck_assert_uint_eq(counters.lost_bytes, 0);
	check_content(data, sizeof(data));
	close(fd);
	loop_flush(loop);
	target_close(target);
}
END_TEST

/* ---- file: what cannot be ------------------------------------------------------------ */

START_TEST(test_file_full_device)
{
	char device[] = "/dev/full";
	struct stream *stream;
	int fd;

	address.file.path = device;
	open_target();
	stream = dial(target);
	ck_assert_int_eq(stream_write(stream, "x", 1), -ENOSPC);
	hang_up(stream);
	fd = start_session(dial(target));
	send_all(fd, (const uint8_t *)"hello", 5);
	await(is_true, &is_over);
	ck_assert_str_eq(reason, "target broke off: No space left on device");
	ck_assert_uint_eq(counters.up_bytes, 0);
	ck_assert_uint_eq(counters.lost_bytes, 5);
	close(fd);
	loop_flush(loop);
	target_close(target);
}
END_TEST

/* As much as fits is there, and no more is counted. Needs root. */
START_TEST(test_file_full_disk)
{
	static uint8_t data[256 * 1024];
	char small[128], file[160];
	struct stat st;
	int fd;

	snprintf(small, sizeof(small), "%s/small", directory);
	snprintf(file, sizeof(file), "%s/out", small);
	ck_assert_int_eq(mkdir(small, 0700), 0);
	ck_assert_int_eq(mount("tmpfs", small, "tmpfs", 0, "size=64k"), 0);
	address.file.path = file;
	fill(data, sizeof(data), 2);
	open_target();
	fd = start_session(dial(target));
	send_all(fd, data, 100 * 1024);
	await(is_true, &is_over);
	ck_assert_str_eq(reason, "target broke off: No space left on device");
	ck_assert_int_eq(stat(file, &st), 0);
	ck_assert_int_eq(st.st_size, 64 * 1024);
	ck_assert_uint_eq(counters.up_bytes, 64 * 1024);
	close(fd);
	loop_flush(loop);
	target_close(target);
	ck_assert_int_eq(umount(small), 0);
	ck_assert_int_eq(rmdir(small), 0);
}
END_TEST

START_TEST(test_file_limit)
{
	struct rlimit before, small;
	struct stream *stream;

	open_target();
	stream = dial(target);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = 3;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	ck_assert_int_eq(stream_write(stream, "hello", 5), 3);
	ck_assert_int_eq(stream_write(stream, "lo", 2), -EFBIG);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
	hang_up(stream);
	assert_holds(path, "hel");
	target_close(target);
}
END_TEST

static void check_refused(int code, const char *words)
{
	struct dialled dialled;
	unsigned int before;

	open_target();
	before = count_descriptors();
	dialled = try_dial(target);
	ck_assert_ptr_null(dialled.stream);
	ck_assert_int_eq(dialled.code, code);
	assert_says(&dialled.error, words);
	assert_says(&dialled.error, address.file.path);
	ck_assert_uint_eq(count_descriptors(), before);
	target_close(target);
}

START_TEST(test_file_that_is_none)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	char missing[192], pty[] = "/dev/ptmx";
	int fd;

	address.file.path = directory;
	check_refused(-EISDIR, "Is a directory; name a file in it");
	snprintf(missing, sizeof(missing), "%s/no/file", directory);
	address.file.path = missing;
	check_refused(-ENOENT, "its directory is not there");
	address.file.path = path;
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	check_refused(-ENXIO, "a FIFO that no program reads");
	unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(name.sun_path, sizeof(name.sun_path), "%.100s", path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	check_refused(-ENXIO, "or a socket");
	close(fd);
	address.file.path = pty;
	check_refused(-ENOTSUP,
		      "/dev/ptmx is a terminal; use serial:/dev/ptmx");
}
END_TEST

START_TEST(test_file_of_a_group_that_is_not_there)
{
	char group[] = "no-such-group";
	struct error error = {""};

	address.file.access.group = group;
	ck_assert_int_eq(target_open(loop, &address, &settings, &target,
				     &error),
			 -EINVAL);
	assert_says(&error, "group 'no-such-group' does not exist");
	assert_says(&error, path);
}
END_TEST

/* Needs root, to become another for a moment. */
START_TEST(test_file_that_cannot_be_given)
{
	char owner[] = "root";
	struct stat st;

	address.file.access.owner = owner;
	ck_assert_int_eq(chown(directory, NOBODY, NOBODY), 0);
	ck_assert_int_eq(setresuid(NOBODY, NOBODY, 0), 0);
	check_refused(-EPERM, "to user 'root': the gateway is another user");
	ck_assert_int_eq(setresuid(0, 0, 0), 0);
	/* Not left half made. */
	ck_assert_int_ne(lstat(path, &st), 0);
}
END_TEST

/* Needs root. */
START_TEST(test_file_access)
{
	char owner[] = "nobody", group[] = "daemon";
	struct stat st;

	umask(077);
	address.file.access = (struct address_access){owner, group, 0664};
	open_target();
	memset(owner, 'x', sizeof(owner) - 1);
	append("x");
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0664);
	ck_assert_uint_eq(st.st_uid, NOBODY);
	ck_assert_uint_eq(st.st_gid, getgrnam("daemon")->gr_gid);
	/* Rotated: it is made again. */
	ck_assert_int_eq(unlink(path), 0);
	append("x");
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_uid, NOBODY);
	ck_assert_uint_eq(lookups, 1);
	target_close(target);
}
END_TEST

/* Its reader pushes back, and is not asked again and again meanwhile. */
START_TEST(test_file_fifo)
{
	static uint8_t data[300 * 1024], got[sizeof(data)];
	size_t done = 0;
	int fd, reader;

	fill(data, sizeof(data), 3);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	open_target();
	fd = start_session(dial(target));
	for (size_t sent = 0; sent < sizeof(data);) {
		ssize_t put = send(fd, data + sent, sizeof(data) - sent,
				   MSG_NOSIGNAL);
		ssize_t n;

		sent += put > 0 ? (size_t)put : 0;
		if (put < 0 && done == 0)
			await_quiet(200, 3);
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
		n = put < 0 ? read(reader, got + done, 5000) : 0;
		done += n > 0 ? (size_t)n : 0;
	}
	close(fd);
	while (done < sizeof(got)) {
		ssize_t n = read(reader, got + done, sizeof(got) - done);

		done += n > 0 ? (size_t)n : 0;
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
	}
	ck_assert_int_eq(memcmp(got, data, sizeof(data)), 0);
	await(is_true, &is_over);
	loop_flush(loop);
	close(reader);
	target_close(target);
}
END_TEST

/* ---- exec: bytes ------------------------------------------------------------------ */

static void run_pty(const char *command)
{
	address.kind = ENDPOINT_KIND_EXEC;
	address.exec.command = strdup(command);
	address.exec.is_pipe = false;
	open_target();
	free(address.exec.command);
}

static void run_pipe(const char *command)
{
	address.kind = ENDPOINT_KIND_EXEC;
	address.exec.command = strdup(command);
	address.exec.is_pipe = true;
	open_target();
	free(address.exec.command);
}

/* All that a stream gives until its end, as text. */
static void read_all(struct stream *stream, char *text, size_t bytes)
{
	struct pump pump;

	pump_start(&pump, stream, NULL, 0, bytes - 1);
	pump.may_end = true;
	await(has_ended, &pump);
	ck_assert_int_eq(pump.end, 0);
	memcpy(text, pump.in, pump.in_done);
	text[pump.in_done] = '\0';
	pump_stop(&pump);
}

/* A line that the program says, without its end. */
static void read_line(struct stream *stream, char *line, size_t bytes)
{
	uint64_t limit_ms = loop_now_ms() + DEADLINE_S * 1000;
	size_t done = 0;

	for (;;) {
		ssize_t got = stream_read(stream, line + done, 1);

		ck_assert_msg(got == 1 || got == -EAGAIN, "read gave %zd", got);
		ck_assert_msg(loop_now_ms() < limit_ms, "no line came");
		if (got == -EAGAIN) {
			count_wakes(5);
			continue;
		}
		if (line[done] == '\n')
			break;
		done++;
		ck_assert_msg(done < bytes, "a long line: %.*s", (int)done,
			      line);
	}
	if (done > 0 && line[done - 1] == '\r')
		done--;
	line[done] = '\0';
}

static pid_t read_pid(struct stream *stream)
{
	char line[32];

	read_line(stream, line, sizeof(line));
	ck_assert_int_gt(atoi(line), 1);
	return (pid_t)atoi(line);
}

/* Gone, or a zombie that somebody else is to reap. */
static bool is_gone(pid_t pid)
{
	char name[64], state = 'Z';
	FILE *file;

	if (kill(pid, 0) < 0)
		return errno == ESRCH;
	snprintf(name, sizeof(name), "/proc/%d/stat", pid);
	file = fopen(name, "r");
	if (file && fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = 'Z';
	if (file)
		fclose(file);
	return state == 'Z';
}

static void await_gone(pid_t pid)
{
	uint64_t limit_ms = loop_now_ms() + DEADLINE_S * 1000;

	while (!is_gone(pid)) {
		ck_assert_msg(loop_now_ms() < limit_ms, "%d is still there",
			      pid);
		count_wakes(10);
	}
}

START_TEST(test_exec_pipe_bulk)
{
	static uint8_t out[BULK_BYTES];
	char ended[] = "exited with status 0";
	struct stream *stream;
	struct pump pump;

	fill(out, sizeof(out), 1);
	run_pipe("cat");
	stream = dial(target);
	ck_assert(stream_has_half_close(stream));
	pump_start(&pump, stream, out, sizeof(out), sizeof(out));
	pump.may_end = true;
	await(has_sent, &pump);
	await(has_received, &pump);
	ck_assert(!pump.has_ended);
	ck_assert_int_eq(stream_shutdown_write(stream), 0);
	await(has_ended, &pump);
	ck_assert_int_eq(pump.end, 0);
	ck_assert_int_eq(memcmp(pump.in, out, sizeof(out)), 0);
	await(is_logged, ended);
	pump_stop(&pump);
	hang_up(stream);
	target_close(target);
}
END_TEST

START_TEST(test_exec_pty_bulk)
{
	static uint8_t out[BULK_BYTES];
	struct stream *stream;
	struct pump pump;
	char line[16];

	fill(out, sizeof(out), 2);
	run_pty("stty raw -echo; echo ready; exec cat");
	stream = dial(target);
	ck_assert(!stream_has_half_close(stream));
	read_line(stream, line, sizeof(line));
	ck_assert_str_eq(line, "ready");
	pump_start(&pump, stream, out, sizeof(out), sizeof(out));
	await(has_sent, &pump);
	await(has_received, &pump);
	ck_assert_int_eq(memcmp(pump.in, out, sizeof(out)), 0);
	pump_stop(&pump);
	hang_up(stream);
	target_close(target);
}
END_TEST

/* The session is over when the program is, not when it has nothing to say. */
START_TEST(test_exec_closes_its_output)
{
	struct stream *stream;
	char text[64], kept[160];

	snprintf(kept, sizeof(kept), "exec cat >%s", path);
	run_pipe(kept);
	stream = dial(target);
	count_wakes(100);
	ck_assert_int_eq(stream_read(stream, text, 1), -EAGAIN);
	/* And it is not asked again and again. */
	await_quiet(100, 0);
	ck_assert_int_eq(stream_write(stream, "hello", 5), 5);
	ck_assert_int_eq(stream_shutdown_write(stream), 0);
	read_all(stream, text, sizeof(text));
	ck_assert_str_eq(text, "");
	hang_up(stream);
	assert_holds(path, "hello");
	target_close(target);
}
END_TEST

/* The end of its input leaves its output open. */
START_TEST(test_exec_half_close)
{
	struct stream *stream;
	char text[64];

	run_pipe("cat; echo after");
	stream = dial(target);
	ck_assert_int_eq(stream_write(stream, "before\n", 7), 7);
	ck_assert_int_eq(stream_shutdown_write(stream), 0);
	read_all(stream, text, sizeof(text));
	ck_assert_str_eq(text, "before\nafter\n");
	hang_up(stream);
	target_close(target);
}
END_TEST

/* Whoever reads only after the exit gets everything. */
static void check_last_words(const char *command)
{
	static char text[64 * 1024];
	char ended[] = "exited with status 3";
	struct stream *stream = dial(target);

	await(is_logged, ended);
	assert_logged(command);
	read_all(stream, text, sizeof(text));
	ck_assert_uint_eq(strlen(text), 8001);
	ck_assert_str_eq(text + 8000, "!");
	ck_assert_int_eq(stream_write(stream, "x", 1), -EPIPE);
	ck_assert(!stream_has_half_close(stream));
	hang_up(stream);
	target_close(target);
}

#define SAY_8001_BYTES "head -c 8000 /dev/zero | tr '\\0' x; printf '!'; exit 3"

START_TEST(test_exec_last_words)
{
	run_pty(SAY_8001_BYTES);
	check_last_words("exec: 'head -c 8000");
}
END_TEST

START_TEST(test_exec_last_words_on_pipes)
{
	run_pipe(SAY_8001_BYTES);
	check_last_words("exec: 'head -c 8000");
}
END_TEST

/* More than fits: it waits for us to read, then ends. */
START_TEST(test_exec_long_answer)
{
	struct stream *stream;
	struct pump pump;

	run_pty("stty -opost; head -c 1000000 /dev/zero");
	stream = dial(target);
	pump_start(&pump, stream, NULL, 0, 1000000);
	pump.may_end = true;
	await(has_ended, &pump);
	ck_assert_uint_eq(pump.in_done, 1000000);
	pump_stop(&pump);
	hang_up(stream);
	target_close(target);
}
END_TEST

/* ---- exec: what it gets -------------------------------------------------------------- */

START_TEST(test_exec_terminal)
{
	struct stream *stream;
	char line[128], pid[16];

	ck_assert_int_eq(setenv("TERM", "xterm", 1), 0);
	ck_assert_int_eq(setenv("NOTIFY_SOCKET", "/nowhere", 1), 0);
	ck_assert_int_eq(setenv("BTGATE_TEST", "kept", 1), 0);
	run_pty("tty; stty size; echo $TERM $BTGATE_TEST $NOTIFY_SOCKET.; "
		"ps -o tpgid=,sid= -p $$ | tr -s ' '; echo $$; read x; "
		"echo got $x");
	stream = dial(target);
	read_line(stream, line, sizeof(line));
	ck_assert_msg(strncmp(line, "/dev/pts/", 9) == 0, "%s", line);
	read_line(stream, line, sizeof(line));
	ck_assert_str_eq(line, "0 0");
	read_line(stream, line, sizeof(line));
	ck_assert_str_eq(line, "dumb kept .");
	read_line(stream, line, sizeof(line));
	read_line(stream, pid, sizeof(pid));
	/* It leads its session, whose terminal this is. */
	ck_assert_msg(atoi(line + strspn(line, " ")) == atoi(pid), "%s / %s",
		      line, pid);
	ck_assert_ptr_nonnull(strchr(line, ' '));
	ck_assert_int_eq(atoi(strrchr(line, ' ')), atoi(pid));
	ck_assert_int_eq(stream_write(stream, "hello\r", 6), 6);
	read_line(stream, line, sizeof(line));
	ck_assert_str_eq(line, "hello");
	read_line(stream, line, sizeof(line));
	ck_assert_str_eq(line, "got hello");
	hang_up(stream);
	target_close(target);
}
END_TEST

/* No descriptor of ours, and no signal that is blocked or ignored. */
static void check_clean(void)
{
	struct stream *stream;
	sigset_t mask;
	char line[64];
	int leak = open("/dev/null", O_RDONLY);

	sigfillset(&mask);
	sigdelset(&mask, SIGALRM);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	stream = dial(target);
	sigprocmask(SIG_UNBLOCK, &mask, NULL);
	read_line(stream, line, sizeof(line));
	ck_assert_str_eq(line, "0 1 2 3 ");
	read_line(stream, line, sizeof(line));
	/* Signal numbers 32 and 33 are libc's own. */
	ck_assert_str_eq(line, "0000000000000000");
	read_line(stream, line, sizeof(line));
	ck_assert_msg(strtoull(line, NULL, 16) % 0x80000000 == 0, "%s", line);
	hang_up(stream);
	close(leak);
	target_close(target);
}

#define SHOW_INHERITED                            \
	"ls /proc/self/fd | tr '\\n' ' '; echo; " \
	"sed -n 's/^Sig\\(Blk\\|Ign\\):.//p' /proc/self/status"

START_TEST(test_exec_inherits_nothing)
{
	run_pty(SHOW_INHERITED);
	check_clean();
}
END_TEST

START_TEST(test_exec_inherits_nothing_on_pipes)
{
	run_pipe(SHOW_INHERITED);
	check_clean();
}
END_TEST

/* A path with arguments leads the session itself (a getty must). */
START_TEST(test_exec_takes_the_shell_s_place)
{
	struct stream *stream;
	char line[16];

	run_pty("/bin/sh -c \"ps -o comm= -p `cut -d' ' -f6 "
		"/proc/self/stat`\"");
	stream = dial(target);
	read_line(stream, line, sizeof(line));
	ck_assert_str_eq(line, "sh");
	hang_up(stream);
	target_close(target);

	run_pty("/bin/sleep 1000");
	stream = dial(target);
	count_wakes(1);
	hang_up(stream);
	target_close(target);
	assert_logged("exec: '/bin/sleep 1000'");
}
END_TEST

/* ---- exec: how it ends ----------------------------------------------------------------- */

static void check_status(const char *command, const char *words)
{
	char text[256], copy[128];
	struct stream *stream;

	run_pipe(command);
	stream = dial(target);
	read_all(stream, text, sizeof(text));
	hang_up(stream);
	snprintf(copy, sizeof(copy), "%s", words);
	await(is_logged, copy);
	target_close(target);
}

START_TEST(test_exec_status)
{
	check_status("exit 3", "exec: 'exit 3' (pid ");
	assert_logged(") exited with status 3\n");
	check_status("kill -9 $$", ") was killed by signal 9 (Killed)\n");
	check_status("no-such-program 2>/dev/null",
		     ") exited with status 127: command not found\n");
	check_status("/dev/null 2>/dev/null",
		     ") exited with status 126: found");
}
END_TEST

/* What it leaves behind keeps the pty open, not the session; and goes too. */
static void check_left_behind(void)
{
	char text[16], ended[] = "exited with status 0";
	struct stream *stream = dial(target);
	pid_t left = read_pid(stream);

	read_all(stream, text, sizeof(text));
	ck_assert_str_eq(text, "");
	ck_assert(has_logged(ended));
	ck_assert_int_eq(stream_finish(stream, false), 0);
	hang_up(stream);
	await_gone(left);
	target_close(target);
}

START_TEST(test_exec_leaves_something_behind)
{
	run_pty("trap '' HUP; sleep 1000 & echo $!");
	check_left_behind();
}
END_TEST

START_TEST(test_exec_leaves_something_behind_on_pipes)
{
	run_pipe("trap '' HUP; sleep 1000 & echo $!");
	check_left_behind();
}
END_TEST

/* It goes on writing for ever, and does not keep the session. */
START_TEST(test_exec_leaves_a_writer_behind)
{
	struct stream *stream;
	struct pump pump;
	size_t limit = 16 * 1024 * 1024;

	run_pipe("cat /dev/zero & exit 0");
	stream = dial(target);
	pump_start(&pump, stream, NULL, 0, limit);
	pump.may_end = true;
	await(has_ended, &pump);
	pump_stop(&pump);
	hang_up(stream);
	target_close(target);
}
END_TEST

static void check_ends_with_its_session(void)
{
	struct stream *stream = dial(target);
	pid_t pid = read_pid(stream);

	ck_assert(!is_gone(pid));
	hang_up(stream);
	await_gone(pid);
	target_close(target);
}

START_TEST(test_exec_ends_with_its_session)
{
	run_pty("echo $$; exec sleep 1000");
	check_ends_with_its_session();
	assert_logged("was killed by signal 1 (Hangup)");
}
END_TEST

START_TEST(test_exec_ends_with_its_session_on_pipes)
{
	run_pipe("echo $$; exec sleep 1000");
	check_ends_with_its_session();
	assert_logged("was killed by signal 1 (Hangup)");
}
END_TEST

/* It will not hear, so it has to feel. */
START_TEST(test_exec_ignores_the_hang_up)
{
	run_pty("trap '' HUP; echo $$; while :; do sleep 1000; done");
	check_ends_with_its_session();
	assert_logged("was killed by signal 9 (Killed)");
}
END_TEST

START_TEST(test_exec_ignores_the_hang_up_on_pipes)
{
	run_pipe("trap '' HUP; echo $$; while :; do sleep 1000; done");
	check_ends_with_its_session();
	assert_logged("was killed by signal 9 (Killed)");
}
END_TEST

START_TEST(test_exec_stopped)
{
	run_pipe("echo $$; kill -STOP $$");
	check_ends_with_its_session();
}
END_TEST

/* The gateway stops: nothing is left, whatever it would like. */
START_TEST(test_exec_gateway_stops)
{
	struct stream *stream;
	pid_t pid, left;

	run_pty("trap '' HUP; echo $$; sleep 1000 & echo $!; wait; wait");
	stream = dial(target);
	pid = read_pid(stream);
	left = read_pid(stream);
	hang_up(stream);
	ck_assert(!is_gone(pid));
	target_close(target);
	ck_assert_int_eq(kill(pid, 0), -1);
	await_gone(left);
	assert_logged("was killed by signal 9 (Killed)");
}
END_TEST

/* As with sudo: it is not ours to kill. Needs root. */
START_TEST(test_exec_of_another_user)
{
	struct stream *stream;
	pid_t pid;

	ck_assert_int_eq(chown(directory, NOBODY, NOBODY), 0);
	run_pipe("trap '' HUP; echo $$; while :; do sleep 1000; done");
	stream = dial(target);
	pid = read_pid(stream);
	ck_assert_int_eq(setresuid(NOBODY, NOBODY, 0), 0);
	hang_up(stream);
	target_close(target);
	ck_assert_int_eq(setresuid(0, 0, 0), 0);
	ck_assert(!is_gone(pid));
	assert_logged("runs as another user and cannot be killed");
	ck_assert_int_eq(kill(-pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	prctl(PR_SET_DUMPABLE, 1);
}
END_TEST

/*
 * In order: it gets time to read what was sent, and to end. It reads once somebody
 * opens the other end of the FIFO it writes to.
 */
static void check_reads_all(void)
{
	static uint8_t words[5000], read_words[sizeof(words)];
	struct stream *stream;
	char line[16];
	int fd;

	memset(words, 'w', sizeof(words));
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	stream = dial(target);
	read_line(stream, line, sizeof(line));
	ck_assert_str_eq(line, "ready");
	ck_assert_int_eq(stream_write(stream, words, sizeof(words)),
			 sizeof(words));
	ck_assert_uint_gt(stream_finish(stream, false), 1);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	finish_and_hang_up(stream);
	read_exactly(fd, read_words, sizeof(read_words));
	ck_assert_mem_eq(read_words, words, sizeof(words));
	ck_assert_int_eq(read(fd, read_words, 1), 0);
	close(fd);
	ck_assert(!has_logged("lost"));
	target_close(target);
}

#define READ_LATE(setup) setup "echo ready; exec cat >%s"

START_TEST(test_exec_reads_all)
{
	char command[256];

	snprintf(command, sizeof(command), READ_LATE("stty raw -echo; "), path);
	run_pty(command);
	check_reads_all();
}
END_TEST

START_TEST(test_exec_reads_all_on_pipes)
{
	char command[256];

	snprintf(command, sizeof(command), READ_LATE(""), path);
	run_pipe(command);
	check_reads_all();
}
END_TEST

/* What it never reads is lost, and that is said. */
START_TEST(test_exec_reads_nothing)
{
	static const char *const setups[] = {"stty raw -echo; ", ""};

	for (int i = 0; i < 2; i++) {
		static uint8_t words[3000 + 1];
		char command[64], line[16];
		struct stream *stream;
		size_t bytes = sizeof(words) - (size_t)i;

		snprintf(command, sizeof(command), "%secho ready; sleep 1000",
			 setups[i]);
		i ? run_pipe(command) : run_pty(command);
		stream = dial(target);
		read_line(stream, line, sizeof(line));
		ck_assert_int_eq(stream_write(stream, words, bytes),
				 (ssize_t)bytes);
		stream_close(stream, STREAM_CLOSE_ABORT);
		target_close(target);
	}
	assert_logged("3001 bytes that the program had not read are lost");
	assert_logged("3000 bytes that the program had not read are lost");
}
END_TEST

/* A getty hangs its terminal up (TIOCVHANGUP) and opens it; needs root. */
START_TEST(test_exec_vhangup)
{
	struct stream *stream;
	char line[32];

	run_pty("exec python3 -c \"import fcntl, os, signal\n"
		"signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
		"name = os.ttyname(0)\n"
		"fcntl.ioctl(0, 0x5437)\n"
		"[os.close(fd) for fd in (0, 1, 2)]\n"
		"fd = os.open(name, os.O_RDWR)\n"
		"os.write(fd, b'again\\n')\n"
		"os.read(fd, 100)\n\"");
	stream = dial(target);
	read_line(stream, line, sizeof(line));
	ck_assert_str_eq(line, "again");
	ck_assert_int_eq(stream_write(stream, "bye\n", 4), 4);
	finish_and_hang_up(stream);
	assert_logged("exited with status 0");
	target_close(target);
}
END_TEST

/* ---- exec: sessions -------------------------------------------------------------------- */

/* A client that stays when the program has gone does not keep the session. */
START_TEST(test_exec_session_ends_with_its_program)
{
	char got[64];
	int fd;

	run_pipe("echo hello");
	fd = start_session(dial(target));
	await(is_true, &is_over);
	ck_assert_str_eq(reason, "target closed");
	ck_assert_uint_eq(counters.down_bytes, 6);
	ck_assert_int_eq(recv(fd, got, sizeof(got), 0), 6);
	ck_assert_int_eq(recv(fd, got, sizeof(got), 0), 0);
	close(fd);
	loop_flush(loop);
	target_close(target);
}
END_TEST

/* A status of its own is why the session ended, and it did not go well. */
START_TEST(test_exec_session_of_a_failure)
{
	int fd;

	run_pipe("exit 3");
	fd = start_session(dial(target));
	await(is_true, &is_over);
	ck_assert_str_eq(reason, "the program exited with status 3");
	ck_assert(has_failed);
	close(fd);
	loop_flush(loop);
	target_close(target);

	run_pty("kill -9 $$");
	fd = start_session(dial(target));
	await(is_true, &is_over);
	ck_assert_str_eq(reason, "the program was killed by signal 9 (Killed)");
	ck_assert(has_failed);
	close(fd);
	loop_flush(loop);
	target_close(target);

	run_pty("exit 0");
	fd = start_session(dial(target));
	await(is_true, &is_over);
	ck_assert_str_eq(reason, "target closed");
	ck_assert(!has_failed);
	close(fd);
	loop_flush(loop);
	target_close(target);
}
END_TEST

static bool has_something(void *arg)
{
	struct pollfd client = {.fd = *(int *)arg, .events = POLLIN};

	return poll(&client, 1, 0) == 1;
}

/* The program is there, and then gone, while its client takes nothing. */
START_TEST(test_exec_stalled_client)
{
	struct stream *stream;
	int fd;

	run_pipe("echo $$ >&2; exec cat /dev/zero");
	stream = dial(target);
	fd = start_session(stream);
	await(has_something, &fd);
	await_quiet(300, 2);
	session_abort(session);
	await(is_true, &is_over);
	loop_flush(loop);
	close(fd);
	target_close(target);
}
END_TEST

/* Stopped in order: both sides are through before it ends. */
START_TEST(test_exec_session_is_stopped)
{
	struct stream *stream;
	pid_t pid;
	int fd;

	run_pty("echo $$; exec sleep 1000");
	stream = dial(target);
	pid = read_pid(stream);
	fd = start_session(stream);
	count_wakes(50);
	session_stop(session);
	await(is_true, &is_over);
	ck_assert(is_gone(pid));
	loop_flush(loop);
	close(fd);
	target_close(target);
}
END_TEST

START_TEST(test_exec_cancel)
{
	struct dialled dialled = {NULL, 0, false, {""}};
	unsigned int before;
	struct dial *attempt;

	run_pty("sleep 1000");
	before = count_descriptors();
	attempt = target_dial(target, dial_done, &dialled);
	ck_assert_ptr_nonnull(attempt);
	dial_cancel(attempt);
	count_wakes(20);
	ck_assert(!dialled.is_done);
	target_close(target);
	ck_assert_uint_eq(count_descriptors(), before);
	assert_logged("exec: 'sleep 1000' (pid ");
}
END_TEST

START_TEST(test_exec_many_leave_nothing)
{
	unsigned int before;
	char text[16];

	run_pty("echo hi");
	before = count_descriptors();
	for (int i = 0; i < 20; i++) {
		struct stream *stream = dial(target);

		read_all(stream, text, sizeof(text));
		ck_assert_str_eq(text, "hi\r\n");
		finish_and_hang_up(stream);
	}
	/* The last of them are reaped when their groups' time is over. */
	count_wakes(2500);
	ck_assert_uint_eq(count_descriptors(), before);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	ck_assert_int_eq(errno, ECHILD);
	await_quiet(200, 0);
	target_close(target);
}
END_TEST

/* No process may be made: the dial fails. Needs root, to become nobody. */
START_TEST(test_exec_cannot_be_started)
{
	struct rlimit limit, none;
	struct dialled dialled;
	unsigned int before;

	ck_assert_int_eq(chown(directory, NOBODY, NOBODY), 0);
	run_pty("echo hi");
	before = count_descriptors();
	become_nobody();
	ck_assert_int_eq(getrlimit(RLIMIT_NPROC, &limit), 0);
	none = limit;
	none.rlim_cur = 0;
	ck_assert_int_eq(setrlimit(RLIMIT_NPROC, &none), 0);
	dialled = try_dial(target);
	/* The leak checker makes a process too. */
	ck_assert_int_eq(setrlimit(RLIMIT_NPROC, &limit), 0);
	ck_assert_ptr_null(dialled.stream);
	ck_assert_int_eq(dialled.code, -EAGAIN);
	assert_says(&dialled.error, "cannot start /bin/sh: ");
	ck_assert_uint_eq(count_descriptors(), before);
	target_close(target);
}
END_TEST

START_TEST(test_exec_without_descriptors)
{
	struct rlimit before, none;
	struct dialled dialled = {NULL, 0, false, {""}};

	run_pipe("echo hi");
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = count_descriptors() + 3;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_ptr_nonnull(target_dial(target, dial_done, &dialled));
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	await(is_true, &dialled.is_done);
	ck_assert_ptr_null(dialled.stream);
	ck_assert_int_eq(dialled.code, -EMFILE);
	target_close(target);
}
END_TEST

/* ---- the suite -------------------------------------------------------------------- */

static TCase *file_case(void)
{
	TCase *tcase = tcase_create("file");

	tcase_add_checked_fixture(tcase, setup_file, teardown);
	tcase_add_test(tcase, test_file_is_appended_to);
	tcase_add_test(tcase, test_file_of_several);
	tcase_add_test(tcase, test_file_that_is_moved);
	tcase_add_test(tcase, test_file_session);
	tcase_add_test(tcase, test_file_full_device);
	tcase_add_test(tcase, test_file_limit);
	tcase_add_test(tcase, test_file_that_is_none);
	tcase_add_test(tcase, test_file_of_a_group_that_is_not_there);
	tcase_add_test(tcase, test_file_fifo);
	if (geteuid() == 0) {
		tcase_add_test(tcase, test_file_access);
		tcase_add_test(tcase, test_file_that_cannot_be_given);
		tcase_add_test(tcase, test_file_full_disk);
	} else {
		puts("skipped, needs root: test_file_access, "
		     "test_file_that_cannot_be_given, "
		     "test_file_full_disk");
	}
	return tcase;
}

static void add_exec_tests(TCase *tcase)
{
	tcase_add_test(tcase, test_exec_pipe_bulk);
	tcase_add_test(tcase, test_exec_pty_bulk);
	tcase_add_test(tcase, test_exec_half_close);
	tcase_add_test(tcase, test_exec_closes_its_output);
	tcase_add_test(tcase, test_exec_last_words);
	tcase_add_test(tcase, test_exec_last_words_on_pipes);
	tcase_add_test(tcase, test_exec_long_answer);
	tcase_add_test(tcase, test_exec_terminal);
	tcase_add_test(tcase, test_exec_inherits_nothing);
	tcase_add_test(tcase, test_exec_inherits_nothing_on_pipes);
	tcase_add_test(tcase, test_exec_takes_the_shell_s_place);
	tcase_add_test(tcase, test_exec_reads_all);
	tcase_add_test(tcase, test_exec_reads_all_on_pipes);
	tcase_add_test(tcase, test_exec_reads_nothing);
	tcase_add_test(tcase, test_exec_session_ends_with_its_program);
	tcase_add_test(tcase, test_exec_session_of_a_failure);
	tcase_add_test(tcase, test_exec_stalled_client);
	tcase_add_test(tcase, test_exec_session_is_stopped);
	tcase_add_test(tcase, test_exec_cancel);
	tcase_add_test(tcase, test_exec_many_leave_nothing);
	tcase_add_test(tcase, test_exec_without_descriptors);
}

static void add_end_tests(TCase *tcase)
{
	tcase_add_test(tcase, test_exec_status);
	tcase_add_test(tcase, test_exec_leaves_something_behind);
	tcase_add_test(tcase, test_exec_leaves_something_behind_on_pipes);
	tcase_add_test(tcase, test_exec_leaves_a_writer_behind);
	tcase_add_test(tcase, test_exec_ends_with_its_session);
	tcase_add_test(tcase, test_exec_ends_with_its_session_on_pipes);
	tcase_add_test(tcase, test_exec_ignores_the_hang_up);
	tcase_add_test(tcase, test_exec_ignores_the_hang_up_on_pipes);
	tcase_add_test(tcase, test_exec_stopped);
	tcase_add_test(tcase, test_exec_gateway_stops);
}

static TCase *exec_case(void)
{
	TCase *tcase = tcase_create("exec");

	tcase_add_checked_fixture(tcase, setup, teardown);
	add_exec_tests(tcase);
	add_end_tests(tcase);
	if (geteuid() == 0) {
		tcase_add_test(tcase, test_exec_vhangup);
		tcase_add_test(tcase, test_exec_of_another_user);
	} else {
		puts("skipped, needs root: test_exec_vhangup, "
		     "test_exec_of_another_user");
	}
	if (geteuid() == 0)
		tcase_add_test(tcase, test_exec_cannot_be_started);
	else
		puts("skipped, needs root: test_exec_cannot_be_started");
	return tcase;
}

int main(void)
{
	Suite *suite = suite_create("local");
	TCase *cases[] = {file_case(), exec_case()};
	SRunner *runner;
	int failed;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		tcase_set_timeout(cases[i], 60);
		suite_add_tcase(suite, cases[i]);
	}
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
