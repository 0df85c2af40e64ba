/* SPDX-License-Identifier: MIT */
/*
 * What loop.h, socket.h, resolve.h, endpoint.h and admission.h promise, for
 * ends without Bluetooth and without ptys. The resolver is one of our own
 * where the test says when and what it answers.
 */
#include <arpa/inet.h>
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/event.h>

#include "address_endpoint.h"
#include "admission.h"
#include "endpoint.h"
#include "error.h"
#include "loop.h"
#include "resolve.h"
#include "socket.h"
#include "tcp_peer.h"

#define DEADLINE_MS 20000

static struct loop *loop;
static char directory[] = "/tmp/check-endpoint-XXXXXX";

static void setup(void)
{
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	strcpy(directory, "/tmp/check-endpoint-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
}

static void teardown(void)
{
	loop_free(loop);
	/* Nothing may be left in it. */
	ck_assert_int_eq(rmdir(directory), 0);
}

static void turn(void)
{
	event_base_loop(loop->base, EVLOOP_NONBLOCK);
}

static void settle(void)
{
	for (int i = 0; i < 50; i++)
		turn();
}

#define AWAIT(condition)                                             \
	do {                                                         \
		uint64_t deadline = loop_now_ms() + DEADLINE_MS;     \
                                                                     \
		while (!(condition)) {                               \
			ck_assert_msg(loop_now_ms() < deadline,      \
				      "not within the deadline: %s", \
				      #condition);                   \
			turn();                                      \
			usleep(500);                                 \
		}                                                    \
	} while (0)

static void ck_assert_contains(const char *text, const char *part)
{
	ck_assert_msg(strstr(text, part) != NULL, "no '%s' in '%s'", part,
		      text);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* How many descriptors the process has. */
static int count_fds(void)
{
	int count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += is_open(fd);
	return count;
}

static char *path_of(const char *name)
{
	static char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

/* ---- the loop ----------------------------------------------------------------- */

static char trace[64];

struct note_task {
	struct loop_task task;
	char name;
	struct loop_task *defers;
	struct loop_task *cancels;
	int times; /* defers itself that often */
};

static void note_run(void *arg)
{
	struct note_task *note = arg;
	size_t used = strlen(trace);

	ck_assert(!note->task.is_queued);
	if (used + 1 < sizeof(trace))
		trace[used] = note->name;
	if (note->cancels)
		loop_cancel(loop, note->cancels);
	if (note->defers)
		loop_defer(loop, note->defers);
	if (note->times-- > 0)
		loop_defer(loop, &note->task);
}

static struct note_task notes[4];

static void setup_notes(void)
{
	setup();
	memset(notes, 0, sizeof(notes));
	memset(trace, 0, sizeof(trace));
	for (int i = 0; i < 4; i++) {
		notes[i].name = (char)('a' + i);
		notes[i].task.run = note_run;
		notes[i].task.arg = &notes[i];
	}
}

START_TEST(tasks_run_later_and_in_order)
{
	loop_defer(loop, &notes[1].task);
	loop_defer(loop, &notes[0].task);
	loop_defer(loop, &notes[2].task);
	ck_assert_str_eq(trace, "");
	turn();
	ck_assert_str_eq(trace, "bac");
	settle();
	ck_assert_str_eq(trace, "bac");
}
END_TEST

START_TEST(a_queued_task_is_not_queued_again)
{
	loop_defer(loop, &notes[0].task);
	loop_defer(loop, &notes[1].task);
	loop_defer(loop, &notes[0].task);
	settle();
	ck_assert_str_eq(trace, "ab");
	/* And it can be used anew. */
	loop_defer(loop, &notes[0].task);
	settle();
	ck_assert_str_eq(trace, "aba");
}
END_TEST

START_TEST(a_cancelled_task_does_not_run)
{
	loop_defer(loop, &notes[0].task);
	loop_defer(loop, &notes[1].task);
	loop_cancel(loop, &notes[0].task);
	loop_cancel(loop, &notes[2].task);
	settle();
	ck_assert_str_eq(trace, "b");
	loop_cancel(loop, &notes[1].task);
}
END_TEST

START_TEST(a_task_cancels_the_next_one)
{
	notes[0].cancels = &notes[1].task;
	loop_defer(loop, &notes[0].task);
	loop_defer(loop, &notes[1].task);
	loop_defer(loop, &notes[2].task);
	settle();
	ck_assert_str_eq(trace, "ac");
}
END_TEST

START_TEST(a_task_cancels_the_last_one)
{
	notes[0].cancels = &notes[1].task;
	loop_defer(loop, &notes[0].task);
	loop_defer(loop, &notes[1].task);
	settle();
	ck_assert_str_eq(trace, "a");
}
END_TEST

START_TEST(a_task_moves_another_to_the_next_turn)
{
	notes[0].cancels = &notes[1].task;
	notes[0].defers = &notes[1].task;
	loop_defer(loop, &notes[0].task);
	loop_defer(loop, &notes[1].task);
	loop_defer(loop, &notes[2].task);
	settle();
	ck_assert_str_eq(trace, "acb");
}
END_TEST

static void note_readable(evutil_socket_t fd, short what, void *arg)
{
	size_t used = strlen(trace);
	char byte;

	ck_assert_int_eq(read(fd, &byte, 1), 1);
	if (used + 1 < sizeof(trace))
		trace[used] = '!';
}

static void write_byte(void *arg)
{
	ck_assert_int_eq(write(*(int *)arg, "x", 1), 1);
}

/* "On the next turn" means that the loop looks at descriptors in between. */
START_TEST(what_a_task_defers_waits_for_a_turn_of_the_loop)
{
	int ends[2];
	struct event *readable;

	ck_assert_int_eq(pipe(ends), 0);
	readable = event_new(loop->base, ends[0], EV_READ | EV_PERSIST,
			     note_readable, NULL);
	event_add(readable, NULL);
	notes[0].times = 40;
	notes[1].task.run = write_byte;
	notes[1].task.arg = &ends[1];
	loop_defer(loop, &notes[0].task);
	loop_defer(loop, &notes[1].task);
	settle();
	ck_assert_msg(strchr(trace, '!') && strchr(trace, '!') < trace + 4,
		      "descriptors had to wait: %s", trace);
	event_free(readable);
	close(ends[0]);
	close(ends[1]);
}
END_TEST

static void free_and_note(void *arg)
{
	free(arg);
	trace[strlen(trace)] = 'f';
}

START_TEST(a_task_frees_what_it_is_in)
{
	struct note_task *own = calloc(1, sizeof(*own));

	own->task.run = free_and_note;
	own->task.arg = own;
	loop_defer(loop, &own->task);
	loop_defer(loop, &notes[0].task);
	settle();
	ck_assert_str_eq(trace, "fa");
}
END_TEST

START_TEST(flush_runs_what_tasks_defer_too)
{
	notes[0].defers = &notes[1].task;
	notes[1].defers = &notes[2].task;
	notes[2].times = 3;
	loop_defer(loop, &notes[0].task);
	loop_flush(loop);
	ck_assert_str_eq(trace, "abcccc");
	loop_flush(loop);
	settle();
	ck_assert_str_eq(trace, "abcccc");
}
END_TEST

START_TEST(a_loop_that_is_freed_runs_what_was_put_off)
{
	struct note_task *own = calloc(1, sizeof(*own));
	struct loop *other = loop_new();

	own->task.run = free_and_note;
	own->task.arg = own;
	loop_defer(other, &own->task);
	loop_free(other);
	ck_assert_str_eq(trace, "f");
	loop_free(NULL);
}
END_TEST

static void stop_run(void *arg)
{
	loop_stop(loop);
}

START_TEST(stop_leaves_run)
{
	notes[0].task.run = stop_run;
	loop_defer(loop, &notes[0].task);
	ck_assert_int_eq(loop_run(loop), 0);
	/* And it can be run again. */
	loop_defer(loop, &notes[0].task);
	ck_assert_int_eq(loop_run(loop), 0);
}
END_TEST

/* ---- streams over sockets ------------------------------------------------------- */

static const struct stream_ops plain_ops = {
	.read = socket_read,
	.write = socket_write,
	.check = socket_check,
	.shutdown_write = socket_shutdown_write,
	.close = socket_close,
};

static int loopback_listener(struct sockaddr_in *address, int backlog)
{
	socklen_t bytes = sizeof(*address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	memset(address, 0, sizeof(*address));
	address->sin_family = AF_INET;
	address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)address, bytes), 0);
	ck_assert_int_eq(listen(fd, backlog), 0);
	getsockname(fd, (struct sockaddr *)address, &bytes);
	return fd;
}

/* A connected client that does not block. */
static int call(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(connect(fd, (const struct sockaddr *)address,
				 sizeof(*address)),
			 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static struct stream *tcp_stream(int *far)
{
	struct sockaddr_in address;
	int listener = loopback_listener(&address, 1), near;

	*far = call(&address);
	near = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	ck_assert_int_ge(near, 0);
	close(listener);
	return socket_stream_new(&plain_ops, near, "peer");
}

static void reset(int fd)
{
	const struct linger now = {.l_onoff = 1, .l_linger = 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

START_TEST(a_stream_reads_writes_and_ends)
{
	char buffer[16];
	int far;
	struct stream *stream = tcp_stream(&far);

	ck_assert_int_eq(stream_admit(stream), 0);
	ck_assert(stream_has_half_close(stream));
	ck_assert_int_eq(stream_read(stream, buffer, sizeof(buffer)), -EAGAIN);
	ck_assert_int_eq(stream_write(stream, "hello", 5), 5);
	ck_assert_int_eq(recv(far, buffer, sizeof(buffer), 0), 5);
	ck_assert_int_eq(stream_shutdown_write(stream), 0);
	ck_assert_int_eq(recv(far, buffer, sizeof(buffer), 0), 0);
	ck_assert_int_eq(send(far, "answer", 6, 0), 6);
	ck_assert_int_eq(stream_read(stream, buffer, sizeof(buffer)), 6);
	ck_assert(!stream_is_hung_up(stream));
	close(far);
	ck_assert_int_eq(stream_read(stream, buffer, sizeof(buffer)), 0);
	ck_assert(stream_is_hung_up(stream));
	ck_assert_int_eq(stream_check(stream), 0);
	stream_close(stream, STREAM_CLOSE_ORDERLY);
	stream_close(NULL, STREAM_CLOSE_ABORT);
}
END_TEST

START_TEST(a_full_stream_takes_no_more)
{
	static const char chunk[65536];
	int far;
	struct stream *stream = tcp_stream(&far);
	ssize_t put;

	while ((put = stream_write(stream, chunk, sizeof(chunk))) > 0)
		;
	ck_assert_int_eq(put, -EAGAIN);
	stream_close(stream, STREAM_CLOSE_ABORT);
	close(far);
}
END_TEST

START_TEST(a_reset_is_told_by_check_and_by_read)
{
	char buffer[16];
	int far;
	struct stream *stream = tcp_stream(&far);

	reset(far);
	ck_assert(stream_is_hung_up(stream));
	ck_assert_int_eq(stream_check(stream), -ECONNRESET);
	ck_assert_int_eq(stream_check(stream), 0);
	stream_close(stream, STREAM_CLOSE_ORDERLY);

	stream = tcp_stream(&far);
	reset(far);
	ck_assert_int_eq(stream_read(stream, buffer, sizeof(buffer)),
			 -ECONNRESET);
	stream_close(stream, STREAM_CLOSE_ORDERLY);
}
END_TEST

START_TEST(writing_to_nobody_raises_no_signal)
{
	int far;
	struct stream *stream = tcp_stream(&far);

	signal(SIGPIPE, SIG_DFL);
	reset(far);
	stream_check(stream);
	ck_assert_int_eq(stream_write(stream, "x", 1), -EPIPE);
	stream_close(stream, STREAM_CLOSE_ORDERLY);
}
END_TEST

START_TEST(an_abort_is_a_reset_and_an_orderly_close_is_not)
{
	char buffer[16];
	int far;
	struct stream *stream = tcp_stream(&far);

	ck_assert_int_eq(stream_write(stream, "bye", 3), 3);
	stream_close(stream, STREAM_CLOSE_ORDERLY);
	ck_assert_int_eq(recv(far, buffer, sizeof(buffer), 0), 3);
	ck_assert_int_eq(recv(far, buffer, sizeof(buffer), 0), 0);
	close(far);

	stream = tcp_stream(&far);
	stream_close(stream, STREAM_CLOSE_ABORT);
	ck_assert_int_eq(recv(far, buffer, sizeof(buffer), 0), -1);
	ck_assert_int_eq(errno, ECONNRESET);
	close(far);
}
END_TEST

/* ---- whether the other end is there -------------------------------------------- */

/* From now on it is as if its cable were cut. */
static void cut_cable(int fd)
{
	struct sock_filter drop_all = BPF_STMT(BPF_RET | BPF_K, 0);
	const struct sock_fprog program = {1, &drop_all};

	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program,
				    sizeof(program)),
			 0);
}

static void watch_peer(struct tcp_peer *peer, const struct stream *stream)
{
	tcp_peer_init(peer, loop, stream->write_fd, 1);
	/* 1 s, and three questions. */
	ck_assert_uint_eq(peer->limit_ms, 4000);
	peer->limit_ms = 500;
}

static bool is_watched(const struct tcp_peer *peer)
{
	return loop_alarm_is_set(&peer->alarm);
}

/* The alarm was set anew: it has looked. */
static void await_look(const struct tcp_peer *peer)
{
	const uint64_t before_ms = peer->alarm.due_ms;

	ck_assert(is_watched(peer));
	AWAIT(!is_watched(peer) || peer->alarm.due_ms != before_ms);
}

START_TEST(a_peer_that_does_not_answer_is_gone)
{
	struct tcp_peer peer;
	char buffer[16];
	int far;
	struct stream *stream = tcp_stream(&far);

	watch_peer(&peer, stream);
	cut_cable(far);
	ck_assert_int_eq(send(far, "last words", 10, 0), 10);
	ck_assert_int_eq(stream_write(stream, "hello", 5), 5);
	tcp_peer_sent(&peer);
	AWAIT(tcp_peer_is_gone(&peer));
	ck_assert(stream_is_hung_up(stream));
	ck_assert_int_eq(stream_read(stream, buffer, sizeof(buffer)), 10);
	ck_assert(!is_watched(&peer));
	tcp_peer_clear(&peer);
	stream_close(stream, STREAM_CLOSE_ABORT);
	close(far);
}
END_TEST

START_TEST(a_peer_that_does_not_read_is_there)
{
	static const char chunk[65536];
	static char buffer[65536];
	struct tcp_peer peer;
	int far;
	struct stream *stream = tcp_stream(&far);

	watch_peer(&peer, stream);
	while (stream_write(stream, chunk, sizeof(chunk)) > 0)
		tcp_peer_sent(&peer);
	/* Its window has been closed for longer than it may be silent. */
	for (int i = 0; i < 3; i++)
		await_look(&peer);
	ck_assert(!tcp_peer_is_gone(&peer));
	ck_assert(is_watched(&peer));
	/* What is answered needs no watching. */
	AWAIT(recv(far, buffer, sizeof(buffer), 0) < 0 && !is_watched(&peer));
	ck_assert(!tcp_peer_is_gone(&peer));
	tcp_peer_clear(&peer);
	stream_close(stream, STREAM_CLOSE_ORDERLY);
	close(far);
}
END_TEST

START_TEST(a_peer_may_be_left_alone)
{
	struct tcp_peer peer;
	int far, on = 1;
	socklen_t bytes = sizeof(on);
	struct stream *stream = tcp_stream(&far);

	tcp_peer_init(&peer, loop, stream->write_fd, 0);
	tcp_peer_sent(&peer);
	ck_assert(!is_watched(&peer));
	getsockopt(stream->write_fd, SOL_SOCKET, SO_KEEPALIVE, &on, &bytes);
	ck_assert(!on);
	tcp_peer_clear(&peer);
	stream_close(stream, STREAM_CLOSE_ORDERLY);
	close(far);
}
END_TEST

START_TEST(a_long_name_is_cut)
{
	char name[300];
	int ends[2];
	struct stream *stream;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	stream = socket_stream_new(&plain_ops, ends[0], name);
	ck_assert_uint_eq(strlen(stream->peer), STREAM_PEER_BYTES - 1);
	stream_close(stream, STREAM_CLOSE_ORDERLY);
	close(ends[1]);
}
END_TEST

/* ---- accepting ---------------------------------------------------------------------- */

#define CLIENTS_MAX 64

static int accepted_fds[CLIENTS_MAX];
static int accepted_count;
static struct acceptor *acceptor;
static bool frees_itself;

static void on_accepted(int fd, void *arg)
{
	ck_assert_ptr_eq(arg, &accepted_count);
	ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_int_lt(accepted_count, CLIENTS_MAX);
	accepted_fds[accepted_count++] = fd;
	if (frees_itself)
		acceptor_free(acceptor);
}

static void start_acceptor(int fd)
{
	accepted_count = 0;
	frees_itself = false;
	acceptor = acceptor_new(loop, fd, "test", on_accepted, &accepted_count);
	ck_assert_ptr_nonnull(acceptor);
}

static void close_all(const int *fds, int count)
{
	for (int i = 0; i < count; i++)
		close(fds[i]);
}

START_TEST(an_acceptor_calls_back_from_the_loop)
{
	struct sockaddr_in address;
	int fd = loopback_listener(&address, 8), client = call(&address);

	start_acceptor(fd);
	ck_assert_int_eq(accepted_count, 0);
	AWAIT(accepted_count == 1);
	settle();
	ck_assert_int_eq(accepted_count, 1);
	acceptor_free(acceptor);
	ck_assert(!is_open(fd));
	/* What it gave away is left alone. */
	ck_assert_int_eq(send(accepted_fds[0], "x", 1, 0), 1);
	close_all(accepted_fds, accepted_count);
	close(client);
	acceptor_free(NULL);
}
END_TEST

START_TEST(an_acceptor_is_freed_by_its_own_callback)
{
	struct sockaddr_in address;
	int fd = loopback_listener(&address, 8), clients[3];

	for (int i = 0; i < 3; i++)
		clients[i] = call(&address);
	start_acceptor(fd);
	frees_itself = true;
	AWAIT(accepted_count > 0);
	settle();
	ck_assert_int_eq(accepted_count, 1);
	ck_assert(!is_open(fd));
	close_all(accepted_fds, accepted_count);
	close_all(clients, 3);
}
END_TEST

START_TEST(a_flood_leaves_time_for_others)
{
	struct sockaddr_in address;
	int fd = loopback_listener(&address, CLIENTS_MAX), clients[40];

	for (int i = 0; i < 40; i++)
		clients[i] = call(&address);
	start_acceptor(fd);
	event_base_loop(loop->base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
	ck_assert_int_gt(accepted_count, 0);
	ck_assert_int_lt(accepted_count, 40);
	AWAIT(accepted_count == 40);
	acceptor_free(acceptor);
	close_all(accepted_fds, accepted_count);
	close_all(clients, 40);
}
END_TEST

/* Whether the loop is asleep: no event in so many turns. */
static bool is_asleep(void)
{
	for (int i = 0; i < 50; i++) {
		turn();
		if (event_base_get_num_events(loop->base,
					      EVENT_BASE_COUNT_ACTIVE))
			return false;
	}
	return true;
}

/* The hard limit stays: valgrind lets nobody touch it. */
static void limit_descriptors(void)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = 64;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

START_TEST(without_descriptors_clients_wait)
{
	struct sockaddr_in address;
	int fd = loopback_listener(&address, 8), clients[2], hoard[256];
	int log_fd = open(directory, O_TMPFILE | O_RDWR, 0600), count = 0;
	int old_stderr = dup(2), lines = 0;
	char log[4096] = "";

	/* valgrind has descriptors of its own and bends the limit for them. */
	if (getenv("BTGATE_VALGRIND"))
		return;
	for (int i = 0; i < 2; i++)
		clients[i] = call(&address);
	start_acceptor(fd);
	limit_descriptors();
	dup2(log_fd, 2);
	while ((hoard[count] = dup(0)) >= 0)
		count++;
	settle();
	ck_assert_int_eq(accepted_count, 0);
	ck_assert(is_asleep());
	/* Two more attempts of one a second. */
	for (uint64_t end = loop_now_ms() + 2500; loop_now_ms() < end;) {
		turn();
		usleep(10000);
	}
	close_all(hoard, count);
	AWAIT(accepted_count == 2);
	dup2(old_stderr, 2);
	ck_assert_int_gt(pread(log_fd, log, sizeof(log) - 1, 0), 0);
	for (char *p = log; (p = strchr(p, '\n')); p++)
		lines++;
	ck_assert_msg(lines == 1, "said %d times: %s", lines, log);
	ck_assert_contains(log, "test: no more clients for now");
	acceptor_free(acceptor);
	close_all(accepted_fds, accepted_count);
	close_all(clients, 2);
	close(log_fd);
	close(old_stderr);
}
END_TEST

START_TEST(an_acceptor_that_waits_for_descriptors_is_freed)
{
	struct sockaddr_in address;
	int fd = loopback_listener(&address, 8), client = call(&address);
	int hoard[256], count = 0;

	start_acceptor(fd);
	limit_descriptors();
	while ((hoard[count] = dup(0)) >= 0)
		count++;
	settle();
	acceptor_free(acceptor);
	close_all(hoard, count);
	settle();
	ck_assert_int_eq(accepted_count, 0);
	close(client);
}
END_TEST

/* ---- connecting ----------------------------------------------------------------------- */

static int connected_fd, connected_code, connected_count;

static void on_connected(int fd, int code, void *arg)
{
	ck_assert_ptr_eq(arg, &connected_fd);
	connected_count++;
	connected_fd = fd;
	connected_code = code;
}

static struct connector *start_connector(int fd, const void *address,
					 size_t bytes)
{
	struct connector *connector;

	connected_count = 0;
	connected_fd = -2;
	connector = connector_new(loop, fd, address, (socklen_t)bytes,
				  on_connected, &connected_fd);
	ck_assert_ptr_nonnull(connector);
	ck_assert_int_eq(connected_count, 0);
	return connector;
}

static int client_socket(int family)
{
	return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static int record_socket(void)
{
	return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC,
		      0);
}

static struct sockaddr_un unix_address(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memcpy(address.sun_path, path, strlen(path));
	return address;
}

START_TEST(a_connector_connects)
{
	struct sockaddr_in address;
	int listener = loopback_listener(&address, 1);
	int fd = client_socket(AF_INET);

	start_connector(fd, &address, sizeof(address));
	AWAIT(connected_count == 1);
	ck_assert_int_eq(connected_fd, fd);
	ck_assert_int_eq(connected_code, 0);
	settle();
	ck_assert_int_eq(connected_count, 1);
	close(fd);
	close(listener);
}
END_TEST

START_TEST(a_connector_that_is_done_at_once_calls_back_later)
{
	struct sockaddr_un address = unix_address(path_of("socket"));
	int listener = client_socket(AF_UNIX), fd = client_socket(AF_UNIX);

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address,
			      sizeof(address)),
			 0);
	listen(listener, 1);
	start_connector(fd, &address, sizeof(address));
	AWAIT(connected_count == 1);
	ck_assert_int_eq(connected_fd, fd);
	close(fd);
	close(listener);
	unlink(address.sun_path);
}
END_TEST

START_TEST(a_connector_that_fails_closes_and_tells)
{
	struct sockaddr_in address;
	struct sockaddr_un nowhere = unix_address(path_of("nowhere"));
	int fd = client_socket(AF_INET);

	close(loopback_listener(&address, 1));
	start_connector(fd, &address, sizeof(address));
	AWAIT(connected_count == 1);
	ck_assert_int_eq(connected_fd, -1);
	ck_assert_int_eq(connected_code, -ECONNREFUSED);
	ck_assert(!is_open(fd));

	fd = client_socket(AF_UNIX);
	start_connector(fd, &nowhere, sizeof(nowhere));
	AWAIT(connected_count == 1);
	ck_assert_int_eq(connected_fd, -1);
	ck_assert_int_eq(connected_code, -ENOENT);
	ck_assert(!is_open(fd));
}
END_TEST

START_TEST(a_connector_that_is_given_up_never_calls)
{
	struct sockaddr_in address;
	struct sockaddr_un nowhere = unix_address(path_of("nowhere"));
	int listener = loopback_listener(&address, 1);
	int fd = client_socket(AF_INET);

	connector_free(start_connector(fd, &address, sizeof(address)));
	ck_assert(!is_open(fd));
	fd = client_socket(AF_UNIX);
	connector_free(start_connector(fd, &nowhere, sizeof(nowhere)));
	ck_assert(!is_open(fd));
	settle();
	ck_assert_int_eq(connected_count, 0);
	connector_free(NULL);
	close(listener);
}
END_TEST

/* ---- a resolver that does as it is told ------------------------------------------------- */

/*
 * These take the place of the C library's: a look-up of a name that ends in
 * ".test" waits in its thread for answer(), and thread_refusal keeps threads
 * from starting.
 */
static sem_t answers;
static struct addrinfo *answer_list;
static int answer_code, thread_refusal, threads_asked;

__attribute__((constructor)) static void init_answers(void)
{
	sem_init(&answers, 0, 0);
}

static bool is_ours(const char *host)
{
	size_t length = host ? strlen(host) : 0;

	return length > 5 && !strcmp(host + length - 5, ".test");
}

int getaddrinfo(const char *restrict host, const char *restrict service,
		const struct addrinfo *restrict hints,
		struct addrinfo **restrict out)
{
	int (*real)(const char *, const char *, const struct addrinfo *,
		    struct addrinfo **);

	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	if (!is_ours(host))
		return real(host, service, hints, out);
	if (hints->ai_flags & AI_NUMERICHOST)
		return EAI_NONAME;
	while (sem_wait(&answers))
		;
	*out = answer_list;
	errno = EIO;
	return answer_code;
}

int pthread_create(pthread_t *restrict thread,
		   const pthread_attr_t *restrict attributes,
		   void *(*run)(void *), void *restrict arg)
{
	int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *),
		    void *);

	*(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
	threads_asked++;
	return thread_refusal ? thread_refusal
			      : real(thread, attributes, run, arg);
}

/* One of our lists, as getaddrinfo makes them: freeaddrinfo takes it. */
static struct addrinfo *lookup(const char *host, uint16_t port)
{
	const struct addrinfo hints = {
		.ai_flags = AI_NUMERICHOST,
		.ai_socktype = SOCK_STREAM,
	};
	struct addrinfo *list = NULL;
	char service[8];

	snprintf(service, sizeof(service), "%u", port);
	ck_assert_int_eq(getaddrinfo(host, service, &hints, &list), 0);
	return list;
}

static void answer(int code, struct addrinfo *list)
{
	answer_code = code;
	answer_list = list;
	sem_post(&answers);
}

/* ---- closing what makes one wait ------------------------------------------------- */

/* Takes all that it is still sent. */
static void expect_end(int fd)
{
	char buffer[65536];
	ssize_t got;

	while ((got = read(fd, buffer, sizeof(buffer))) > 0)
		;
	ck_assert_int_eq(got, 0);
	close(fd);
}

/* close(2) of @ends[1] waits for an hour, or until @ends[0] has read it all. */
static void connect_lingering(int ends[2])
{
	const struct linger linger = {.l_onoff = 1, .l_linger = 3600};
	char filling[65536] = {0};
	struct sockaddr_in address;
	int listener = loopback_listener(&address, 1);

	ends[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(ends[1], (struct sockaddr *)&address,
				 sizeof(address)),
			 0);
	ends[0] = accept(listener, NULL, NULL);
	ck_assert_int_ge(ends[0], 0);
	close(listener);
	ck_assert_int_eq(setsockopt(ends[1], SOL_SOCKET, SO_LINGER, &linger,
				    sizeof(linger)),
			 0);
	ck_assert_int_eq(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
	while (write(ends[1], filling, sizeof(filling)) > 0)
		;
	ck_assert_int_eq(errno, EAGAIN);
}

START_TEST(a_close_that_waits_does_not_hold_up_the_loop)
{
	int ends[2];

	connect_lingering(ends);
	loop_close_apart(loop, ends[1]);
	ck_assert_int_eq(threads_asked, 1);
	expect_end(ends[0]);
}
END_TEST

START_TEST(a_close_waits_for_a_thread)
{
	int first[2], second[2];

	connect_lingering(first);
	connect_lingering(second);
	thread_refusal = EAGAIN;
	loop_close_apart(loop, first[1]);
	loop_close_apart(loop, second[1]);
	ck_assert_int_eq(threads_asked, 2);
	/* Again, in vain; and then there is one. */
	while (threads_asked < 3)
		turn();
	ck_assert(is_open(first[1]) && is_open(second[1]));
	thread_refusal = 0;
	while (threads_asked < 5)
		turn();
	expect_end(first[0]);
	expect_end(second[0]);
}
END_TEST

/* A listener takes the second when it has room, with its SYN's repetition. */
START_TEST(what_connects_is_closed_once_it_has)
{
	struct sockaddr_in address;
	int listener = loopback_listener(&address, 0);
	struct pollfd queue = {.fd = listener, .events = POLLIN};
	int fds[2], taken;

	for (int i = 0; i < 2; i++) {
		fds[i] = socket(AF_INET,
				SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		ck_assert_int_eq(connect(fds[i], (struct sockaddr *)&address,
					 sizeof(address)),
				 -1);
		ck_assert_int_eq(errno, EINPROGRESS);
	}
	loop_close_connecting(loop, fds[1]);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(poll(&queue, 1, DEADLINE_MS), 1);
		taken = accept(listener, NULL, NULL);
		ck_assert_int_ge(taken, 0);
		if (i == 0)
			close(fds[0]);
		expect_end(taken);
	}
	close(listener);
}
END_TEST

/* Nobody can be kept waiting any more. */
START_TEST(the_end_of_the_loop_closes_what_is_left)
{
	struct loop *other = loop_new();
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	thread_refusal = EAGAIN;
	loop_close_apart(other, ends[1]);
	ck_assert(is_open(ends[1]));
	loop_free(other);
	expect_end(ends[0]);
}
END_TEST

/* ---- host names ------------------------------------------------------------------ */

static int resolved_count;
static char resolved_why[200];
static struct sockaddr_in resolved;

static void on_resolved(const struct addrinfo *list, const char *why, void *arg)
{
	ck_assert_ptr_eq(arg, &resolved_count);
	resolved_count++;
	ck_assert((list == NULL) == (why != NULL));
	snprintf(resolved_why, sizeof(resolved_why), "%s", why ? why : "");
	if (list)
		memcpy(&resolved, list->ai_addr, sizeof(resolved));
}

static struct resolve *start_resolve(const char *host)
{
	struct resolve *resolve;

	resolved_count = 0;
	resolve = resolve_new(loop, host, 7000, on_resolved, &resolved_count);
	ck_assert_int_eq(resolved_count, 0);
	return resolve;
}

START_TEST(an_address_is_its_own_answer)
{
	ck_assert_ptr_nonnull(start_resolve("127.0.0.1"));
	AWAIT(resolved_count == 1);
	ck_assert_int_eq(resolved.sin_port, htons(7000));
	settle();
	ck_assert_int_eq(resolved_count, 1);
}
END_TEST

START_TEST(localhost_needs_no_hosts_file)
{
	ck_assert_ptr_nonnull(start_resolve("localhost"));
	AWAIT(resolved_count == 1);
	ck_assert_str_eq(resolved_why, "");
	ck_assert_int_eq(resolved.sin_port, htons(7000));
}
END_TEST

START_TEST(a_name_without_an_answer)
{
	ck_assert_ptr_nonnull(start_resolve("nobody.test"));
	answer(EAI_NONAME, NULL);
	AWAIT(resolved_count == 1);
	ck_assert_str_eq(resolved_why, gai_strerror(EAI_NONAME));
}
END_TEST

/* Its errno is another thread's. */
START_TEST(a_system_error_is_named)
{
	ck_assert_ptr_nonnull(start_resolve("nobody.test"));
	answer(EAI_SYSTEM, NULL);
	AWAIT(resolved_count == 1);
	ck_assert_str_eq(resolved_why, strerror(EIO));
}
END_TEST

START_TEST(a_cancelled_look_up_never_calls)
{
	int before = count_fds();
	struct resolve *resolve = start_resolve("slow.test");

	resolve_cancel(resolve);
	settle();
	answer(0, lookup("127.0.0.1", 7000));
	settle();
	/* All of it is freed: LeakSanitizer and this look. */
	AWAIT(count_fds() == before);
	resolve = start_resolve("127.0.0.1");
	resolve_cancel(resolve);
	AWAIT(count_fds() == before);
	ck_assert_int_eq(resolved_count, 0);
	resolve_cancel(NULL);
}
END_TEST

START_TEST(a_look_up_without_a_thread)
{
	int before = count_fds();

	thread_refusal = EAGAIN;
	ck_assert_ptr_null(start_resolve("busy.test"));
	ck_assert_int_eq(errno, EAGAIN);
	thread_refusal = ENOMEM;
	ck_assert_ptr_null(start_resolve("busy.test"));
	ck_assert_int_eq(errno, ENOMEM);
	settle();
	ck_assert_int_eq(resolved_count, 0);
	ck_assert_int_eq(count_fds(), before);
}
END_TEST

/* ---- listeners ------------------------------------------------------------------------------ */

static struct stream *clients[CLIENTS_MAX];
static int client_count;
static struct listener *listener;
static bool closes_listener;

static void on_client(struct stream *client, void *arg)
{
	ck_assert_ptr_eq(arg, &client_count);
	clients[client_count++] = client;
	if (closes_listener)
		listener_close(listener);
}

static void parse(const char *text, enum endpoint_role role,
		  struct address_endpoint *out)
{
	struct error error = {""};

	ck_assert_msg(address_endpoint_parse(text, role, out, &error) == 0,
		      "%s: %s", text, error.text);
}

static struct endpoint_settings settings = {
	.security = SECURITY_LEVEL_MEDIUM,
};

static int listen_on(const char *text, struct error *error)
{
	struct address_endpoint address;
	int code;

	client_count = 0;
	closes_listener = false;
	parse(text, ENDPOINT_ROLE_LISTEN, &address);
	code = listener_open(loop, &address, &settings, on_client,
			     &client_count, &listener, error);
	/* What it needs of the address it has copied. */
	address_endpoint_clear(&address);
	ck_assert((code == 0) == (listener != NULL));
	ck_assert_int_eq(client_count, 0);
	return code;
}

static void expect_refusal(const char *text, int code, const char *reason)
{
	struct error error = {""};

	ck_assert_int_eq(listen_on(text, &error), code);
	ck_assert_contains(error.text, reason);
}

static void must_listen(const char *text)
{
	struct error error = {""};

	ck_assert_msg(listen_on(text, &error) == 0, "%s: %s", text, error.text);
}

static void close_clients(void)
{
	for (int i = 0; i < client_count; i++)
		stream_close(clients[i], STREAM_CLOSE_ORDERLY);
}

/* A port that was free a moment ago. */
static uint16_t free_port(void)
{
	struct sockaddr_in address;

	close(loopback_listener(&address, 1));
	return ntohs(address.sin_port);
}

static struct sockaddr_in loopback(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(port)};

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

static int option_of(int fd, int level, int option)
{
	int value = 0;
	socklen_t bytes = sizeof(value);

	ck_assert_int_eq(getsockopt(fd, level, option, &value, &bytes), 0);
	return value;
}

START_TEST(tcp_clients_come)
{
	uint16_t port = free_port();
	struct sockaddr_in address = loopback(port), own;
	socklen_t bytes = sizeof(own);
	char text[64], peer[64];
	int fd;

	snprintf(text, sizeof(text), "tcp:%u,keepalive=30s", port);
	must_listen(text);
	snprintf(text, sizeof(text), "tcp:127.0.0.1:%u", port);
	ck_assert_str_eq(listener->name, text);
	ck_assert_int_eq(listener->protocol, SERVICE_PROTOCOL_NONE);
	fd = call(&address);
	AWAIT(client_count == 1);
	getsockname(fd, (struct sockaddr *)&own, &bytes);
	snprintf(peer, sizeof(peer), "127.0.0.1:%u", ntohs(own.sin_port));
	ck_assert_str_eq(clients[0]->peer, peer);
	ck_assert(option_of(clients[0]->read_fd, IPPROTO_TCP, TCP_NODELAY));
	ck_assert(option_of(clients[0]->read_fd, SOL_SOCKET, SO_KEEPALIVE));
	ck_assert_int_eq(
		option_of(clients[0]->read_fd, IPPROTO_TCP, TCP_KEEPIDLE), 30);
	listener_close(listener);
	listener_close(NULL);
	/* The client stays; others are refused. */
	ck_assert_int_eq(stream_write(clients[0], "x", 1), 1);
	close(fd);
	fd = client_socket(AF_INET);
	fcntl(fd, F_SETFL, 0);
	ck_assert_int_eq(
		connect(fd, (struct sockaddr *)&address, sizeof(address)), -1);
	ck_assert_int_eq(errno, ECONNREFUSED);
	close(fd);
	close_clients();
}
END_TEST

START_TEST(a_tcp_client_that_vanishes_is_noticed)
{
	uint16_t port = free_port();
	struct sockaddr_in address = loopback(port);
	char text[64], buffer[16];
	int fd;

	snprintf(text, sizeof(text), "tcp:%u,keepalive=1s", port);
	must_listen(text);
	fd = call(&address);
	AWAIT(client_count == 1);
	cut_cable(fd);
	ck_assert_int_eq(send(fd, "last words", 10, 0), 10);
	ck_assert_int_eq(stream_write(clients[0], "x", 1), 1);
	AWAIT(stream_is_hung_up(clients[0]));
	ck_assert_int_eq(stream_check(clients[0]), -ETIMEDOUT);
	ck_assert_int_eq(stream_write(clients[0], "x", 1), -ETIMEDOUT);
	ck_assert_int_eq(stream_read(clients[0], buffer, sizeof(buffer)), 10);
	ck_assert_int_eq(stream_read(clients[0], buffer, sizeof(buffer)),
			 -ETIMEDOUT);
	ck_assert_int_eq(stream_peek(clients[0], buffer, sizeof(buffer)),
			 -ETIMEDOUT);
	listener_close(listener);
	close(fd);
	close_clients();
}
END_TEST

START_TEST(a_listener_is_closed_by_its_own_callback)
{
	uint16_t port = free_port();
	struct sockaddr_in address = loopback(port);
	char text[64];
	int fds[3];

	snprintf(text, sizeof(text), "tcp:%u", port);
	must_listen(text);
	closes_listener = true;
	for (int i = 0; i < 3; i++)
		fds[i] = call(&address);
	AWAIT(client_count > 0);
	settle();
	ck_assert_int_eq(client_count, 1);
	close_clients();
	close_all(fds, 3);
}
END_TEST

START_TEST(every_address_takes_both_families)
{
	uint16_t port = free_port();
	struct sockaddr_in v4 = loopback(port);
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
				  .sin6_port = htons(port),
				  .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	char text[64];
	int fd, fd6;

	snprintf(text, sizeof(text), "tcp:*:%u", port);
	must_listen(text);
	fd = call(&v4);
	AWAIT(client_count == 1);
	/* A machine without IPv6 listens on IPv4 alone. */
	fd6 = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd6 >= 0 && connect(fd6, (struct sockaddr *)&v6, sizeof(v6)) == 0) {
		AWAIT(client_count == 2);
		ck_assert_contains(clients[1]->peer, "[::1]:");
	}
	listener_close(listener);
	close_clients();
	close(fd);
	if (fd6 >= 0)
		close(fd6);
}
END_TEST

START_TEST(a_port_in_use_says_by_whom)
{
	struct sockaddr_in address;
	int fd = loopback_listener(&address, 1);
	char text[64], pid[32];

	snprintf(text, sizeof(text), "tcp:%u", ntohs(address.sin_port));
	snprintf(pid, sizeof(pid), "(pid %d)", getpid());
	expect_refusal(text, -EADDRINUSE, pid);
	close(fd);
	must_listen(text);
	listener_close(listener);
}
END_TEST

START_TEST(addresses_that_cannot_be_listened_on)
{
	char host[] = "no-such-host.test";
	const struct address_endpoint name = {
		.kind = ENDPOINT_KIND_TCP,
		.tcp = {.host = host, .port = 7000},
	};
	struct error error = {""};
	int before = count_fds();

	expect_refusal("tcp:192.0.2.1:7000", -EADDRNOTAVAIL,
		       "this machine has no such address");
	/* The parser lets no name through; nor does this. */
	ck_assert_int_eq(listener_open(loop, &name, &settings, on_client, NULL,
				       &listener, &error),
			 -EINVAL);
	ck_assert_ptr_null(listener);
	ck_assert_contains(error.text, "cannot listen on 'no-such-host.test'");
	ck_assert_int_eq(count_fds(), before);
}
END_TEST

START_TEST(kinds_that_do_not_listen)
{
	struct address_endpoint echo = {.kind = ENDPOINT_KIND_ECHO};
	struct error error = {""};

	ck_assert_int_eq(listener_open(loop, &echo, &settings, on_client, NULL,
				       &listener, &error),
			 -EOPNOTSUPP);
	ck_assert_ptr_null(listener);
	ck_assert_str_ne(error.text, "");
}
END_TEST

START_TEST(unix_clients_come)
{
	struct sockaddr_un address = unix_address(path_of("socket"));
	char text[200], pid[32];
	struct stat st;
	int fd = client_socket(AF_UNIX);

	snprintf(text, sizeof(text), "unix:%s,mode=0620", address.sun_path);
	must_listen(text);
	ck_assert_int_eq(lstat(address.sun_path, &st), 0);
	ck_assert(S_ISSOCK(st.st_mode));
	ck_assert_int_eq(st.st_mode & 07777, 0620);
	ck_assert_int_eq(
		connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	AWAIT(client_count == 1);
	snprintf(pid, sizeof(pid), "(pid %d)", getpid());
	ck_assert_contains(clients[0]->peer, pid);
	/* A second one is told who holds it. */
	{
		struct listener *first = listener;

		expect_refusal(text, -EADDRINUSE, pid);
		listener = first;
	}
	listener_close(listener);
	ck_assert_int_eq(lstat(address.sun_path, &st), -1);
	for (int i = 0; i < client_count; i++)
		stream_close(clients[i], STREAM_CLOSE_ORDERLY);
	close(fd);
}
END_TEST

START_TEST(whoever_asks_who_holds_a_socket_is_no_client)
{
	char text[200];
	struct listener *first;

	snprintf(text, sizeof(text), "unix:%s", path_of("socket"));
	must_listen(text);
	first = listener;
	expect_refusal(text, -EADDRINUSE, "is held by");
	settle();
	listener_close(first);
	ck_assert_int_eq(client_count, 0);
}
END_TEST

START_TEST(a_socket_of_the_longest_path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char text[200];
	size_t used;
	int fd = client_socket(AF_UNIX);

	used = (size_t)snprintf(address.sun_path, sizeof(address.sun_path),
				"%s/", directory);
	memset(address.sun_path + used, 'x',
	       sizeof(address.sun_path) - 1 - used);
	snprintf(text, sizeof(text), "unix:%s", address.sun_path);
	must_listen(text);
	ck_assert_int_eq(
		connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	AWAIT(client_count == 1);
	listener_close(listener);
	close_clients();
	close(fd);
}
END_TEST

START_TEST(a_stale_socket_is_replaced_and_anything_else_is_not)
{
	struct sockaddr_un address = unix_address(path_of("socket"));
	int fd = client_socket(AF_UNIX), before;
	char text[200];
	struct stat st;

	snprintf(text, sizeof(text), "unix:%s", address.sun_path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)),
			 0);
	close(fd);
	before = count_fds();
	must_listen(text);
	listener_close(listener);

	close(open(address.sun_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	expect_refusal(text, -EEXIST, "not a socket");
	ck_assert_int_eq(unlink(address.sun_path), 0);
	mkdir(address.sun_path, 0700);
	expect_refusal(text, -EEXIST, "not a socket");
	ck_assert_int_eq(rmdir(address.sun_path), 0);
	ck_assert_int_eq(symlink("/nowhere", address.sun_path), 0);
	expect_refusal(text, -EEXIST, "not a socket");
	ck_assert_int_eq(unlink(address.sun_path), 0);

	snprintf(text, sizeof(text), "unix:%s/nowhere/socket", directory);
	expect_refusal(text, -ENOENT, "directory is not there");
	snprintf(text, sizeof(text), "unix:%s,group=no-such-group",
		 address.sun_path);
	expect_refusal(text, -EINVAL, "no-such-group");
	ck_assert_int_eq(lstat(address.sun_path, &st), -1);
	ck_assert_int_eq(count_fds(), before);
}
END_TEST

/* ---- targets ----------------------------------------------------------------------------------- */

static struct target *target;
static struct stream *dialled;
static int dialled_count, dialled_code;
static char dialled_why[ERROR_TEXT_BYTES];

static void on_dialled(struct stream *stream, int code,
		       const struct error *error, void *arg)
{
	ck_assert_ptr_eq(arg, &dialled_count);
	dialled_count++;
	dialled = stream;
	dialled_code = code;
	ck_assert((stream == NULL) == (code < 0));
	snprintf(dialled_why, sizeof(dialled_why), "%s",
		 error ? error->text : "");
}

static void open_target(const char *text)
{
	struct address_endpoint address;
	struct error error = {""};

	parse(text, ENDPOINT_ROLE_CONNECT, &address);
	ck_assert_msg(target_open(loop, &address, &settings, &target, &error) ==
			      0,
		      "%s: %s", text, error.text);
	address_endpoint_clear(&address);
}

static struct dial *start_dial(void)
{
	struct dial *dial;

	dialled_count = 0;
	dial = target_dial(target, on_dialled, &dialled_count);
	ck_assert_int_eq(dialled_count, 0);
	return dial;
}

static void expect_dial_failure(int code, const char *why)
{
	AWAIT(dialled_count == 1);
	ck_assert_int_eq(dialled_code, code);
	ck_assert_contains(dialled_why, why);
	settle();
	ck_assert_int_eq(dialled_count, 1);
}

static void open_tcp_target(const char *host, uint16_t port)
{
	char text[128];

	snprintf(text, sizeof(text), "tcp:%s:%u", host, port);
	open_target(text);
}

START_TEST(tcp_is_dialled)
{
	struct sockaddr_in address;
	int fd = loopback_listener(&address, 4), far;
	char peer[64];

	open_tcp_target("127.0.0.1", ntohs(address.sin_port));
	ck_assert_uint_eq(target->sessions_max, 0);
	ck_assert_ptr_nonnull(start_dial());
	AWAIT(dialled_count == 1);
	ck_assert_ptr_nonnull(dialled);
	ck_assert_int_eq(dialled_code, 0);
	snprintf(peer, sizeof(peer), "127.0.0.1:%u", ntohs(address.sin_port));
	ck_assert_str_eq(dialled->peer, peer);
	ck_assert(option_of(dialled->read_fd, IPPROTO_TCP, TCP_NODELAY));
	far = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(far, 0);
	stream_close(dialled, STREAM_CLOSE_ORDERLY);
	target_close(target);
	target_close(NULL);
	close(far);
	close(fd);
}
END_TEST

/* Some 64 KiB, doubled by the kernel, and not the megabytes it would take. */
START_TEST(tcp_beside_a_radio_has_a_short_queue)
{
	struct sockaddr_in address;
	int fd = loopback_listener(&address, 4), far;

	settings.is_slow = true;
	open_tcp_target("127.0.0.1", ntohs(address.sin_port));
	settings.is_slow = false;
	ck_assert_ptr_nonnull(start_dial());
	AWAIT(dialled_count == 1);
	ck_assert_int_eq(option_of(dialled->read_fd, SOL_SOCKET, SO_RCVBUF),
			 2 * 64 * 1024);
	ck_assert_int_eq(option_of(dialled->read_fd, IPPROTO_TCP,
				   TCP_NOTSENT_LOWAT),
			 64 * 1024);
	far = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	stream_close(dialled, STREAM_CLOSE_ORDERLY);
	target_close(target);
	close(far);
	close(fd);
}
END_TEST

START_TEST(tcp_is_down)
{
	uint16_t port = free_port();
	char why[128];
	int before;

	open_tcp_target("127.0.0.1", port);
	before = count_fds();
	ck_assert_ptr_nonnull(start_dial());
	snprintf(why, sizeof(why), "127.0.0.1 port %u refused", port);
	expect_dial_failure(-ECONNREFUSED, why);
	ck_assert_int_eq(count_fds(), before);
	target_close(target);
}
END_TEST

START_TEST(tcp_host_is_unknown)
{
	open_tcp_target("nobody.test", 7000);
	ck_assert_ptr_nonnull(start_dial());
	answer(EAI_NONAME, NULL);
	expect_dial_failure(-EHOSTUNREACH,
			    "cannot find the address of host 'nobody.test'");
	thread_refusal = EAGAIN;
	ck_assert_ptr_null(start_dial());
	target_close(target);
}
END_TEST

/* ::1 refuses, or the machine has no IPv6; 127.0.0.1 answers. */
START_TEST(tcp_takes_the_first_address_that_answers)
{
	struct sockaddr_in address;
	int fd = loopback_listener(&address, 4), before;
	uint16_t port = ntohs(address.sin_port);
	struct addrinfo *list = lookup("::1", port);

	open_tcp_target("localhost.test", port);
	before = count_fds();
	ck_assert_ptr_nonnull(start_dial());
	list->ai_next = lookup("127.0.0.1", port);
	answer(0, list);
	AWAIT(dialled_count == 1);
	ck_assert_ptr_nonnull(dialled);
	ck_assert_contains(dialled->peer, "127.0.0.1:");
	stream_close(dialled, STREAM_CLOSE_ORDERLY);
	ck_assert_int_eq(count_fds(), before);
	target_close(target);
	close(fd);
}
END_TEST

START_TEST(tcp_has_more_addresses_than_are_tried)
{
	uint16_t port = free_port();
	struct addrinfo *list = lookup("127.0.0.1", port), *last = list;

	for (int i = 0; i < 30; i++) {
		last->ai_next = lookup("127.0.0.1", port);
		last = last->ai_next;
	}
	open_tcp_target("many.test", port);
	ck_assert_ptr_nonnull(start_dial());
	answer(0, list);
	expect_dial_failure(-ECONNREFUSED, "many.test port");
	target_close(target);
}
END_TEST

/* A listener with a full queue: it never answers. */
static int black_hole(struct sockaddr_in *address, int *fillers, int count)
{
	int fd = loopback_listener(address, 0);

	for (int i = 0; i < count; i++) {
		fillers[i] = client_socket(AF_INET);
		connect(fillers[i], (struct sockaddr *)address,
			sizeof(*address));
	}
	usleep(50000);
	return fd;
}

START_TEST(tcp_passes_over_an_address_that_does_not_answer)
{
	struct sockaddr_in hole, address;
	int fillers[4], hole_fd = black_hole(&hole, fillers, 4);
	int fd = loopback_listener(&address, 4);
	struct addrinfo *list = lookup("127.0.0.1", ntohs(hole.sin_port));

	open_tcp_target("holes.test", ntohs(hole.sin_port));
	ck_assert_ptr_nonnull(start_dial());
	list->ai_next = lookup("127.0.0.1", ntohs(address.sin_port));
	answer(0, list);
	AWAIT(dialled_count == 1);
	ck_assert_ptr_nonnull(dialled);
	stream_close(dialled, STREAM_CLOSE_ORDERLY);
	target_close(target);
	close(fd);
	close(hole_fd);
	close_all(fillers, 4);
}
END_TEST

START_TEST(a_cancelled_tcp_dial_never_calls)
{
	struct sockaddr_in hole;
	int fillers[4], fd = black_hole(&hole, fillers, 4), before;
	struct dial *dial;

	/* Before the loop turned. */
	open_tcp_target("127.0.0.1", ntohs(hole.sin_port));
	before = count_fds();
	dial_cancel(start_dial());
	AWAIT(count_fds() == before);
	/* While it connects. */
	dial = start_dial();
	settle();
	dial_cancel(dial);
	AWAIT(count_fds() == before);
	target_close(target);
	/* While its name is looked up; and the target is gone by the answer. */
	open_tcp_target("slow.test", 7000);
	dial_cancel(start_dial());
	target_close(target);
	settle();
	answer(0, lookup("127.0.0.1", 7000));
	AWAIT(count_fds() == before);
	ck_assert_int_eq(dialled_count, 0);
	dial_cancel(NULL);
	close(fd);
	close_all(fillers, 4);
}
END_TEST

START_TEST(tcp_is_dialled_without_descriptors)
{
	int hoard[256], count = 0;

	open_tcp_target("127.0.0.1", 7000);
	limit_descriptors();
	while ((hoard[count] = dup(0)) >= 0)
		count++;
	ck_assert_ptr_null(start_dial());
	ck_assert_int_eq(errno, EMFILE);
	/* One for the resolver, and none for the socket. */
	close(hoard[--count]);
	ck_assert_ptr_nonnull(start_dial());
	expect_dial_failure(-EMFILE, strerror(EMFILE));
	close_all(hoard, count);
	target_close(target);
}
END_TEST

START_TEST(unix_is_dialled)
{
	struct sockaddr_un address = unix_address(path_of("target"));
	int listener_fd = client_socket(AF_UNIX), before, filler[8];
	char text[200], pid[32];

	snprintf(text, sizeof(text), "unix:%s", address.sun_path);
	open_target(text);
	ck_assert_ptr_nonnull(start_dial());
	expect_dial_failure(-ENOENT, address.sun_path);
	bind(listener_fd, (struct sockaddr *)&address, sizeof(address));
	before = count_fds();
	ck_assert_ptr_nonnull(start_dial());
	expect_dial_failure(-ECONNREFUSED, "no program listens on");
	ck_assert_int_eq(count_fds(), before);
	listen(listener_fd, 1);
	ck_assert_ptr_nonnull(start_dial());
	AWAIT(dialled_count == 1);
	ck_assert_ptr_nonnull(dialled);
	snprintf(pid, sizeof(pid), "(pid %d)", getpid());
	ck_assert_contains(dialled->peer, pid);
	stream_close(dialled, STREAM_CLOSE_ORDERLY);
	dial_cancel(start_dial());
	settle();
	ck_assert_int_eq(dialled_count, 0);
	ck_assert_int_eq(count_fds(), before);
	for (int i = 0; i < 8; i++) {
		filler[i] = client_socket(AF_UNIX);
		connect(filler[i], (struct sockaddr *)&address,
			sizeof(address));
	}
	ck_assert_ptr_nonnull(start_dial());
	expect_dial_failure(-EAGAIN, "its queue is full");
	close_all(filler, 8);
	close(listener_fd);
	unlink(address.sun_path);
	target_close(target);
}
END_TEST

/* ---- sockets of records ------------------------------------------------------------- */

/* A client of @path in, and its far end; SOCK_SEQPACKET at both. */
static struct stream *record_client(const char *path, int *far)
{
	struct sockaddr_un address = unix_address(path);
	char text[200];

	snprintf(text, sizeof(text), "unix:%s,seqpacket", path);
	must_listen(text);
	*far = record_socket();
	ck_assert_int_eq(
		connect(*far, (struct sockaddr *)&address, sizeof(address)), 0);
	AWAIT(client_count == 1);
	listener_close(listener);
	return clients[0];
}

static void expect_record(struct stream *stream, const char *text)
{
	char got[64];

	ck_assert_int_eq(stream_read(stream, got, sizeof(got)),
			 (ssize_t)strlen(text));
	ck_assert_mem_eq(got, text, strlen(text));
}

START_TEST(unix_records_come_one_by_one)
{
	char small[4];
	int fd;
	struct stream *stream = record_client(path_of("socket"), &fd);

	ck_assert(stream_keeps_records(stream));
	ck_assert_int_eq(stream_read(stream, small, sizeof(small)), -EAGAIN);
	send(fd, "one", 3, 0);
	send(fd, "", 0, 0);
	send(fd, "", 0, 0);
	send(fd, "three", 5, 0);
	send(fd, "", 0, 0);
	expect_record(stream, "one");
	/* An empty record is not the end. */
	expect_record(stream, "three");
	ck_assert_int_eq(stream_read(stream, small, sizeof(small)), -EAGAIN);
	/* One that does not fit is not cut without a word. */
	send(fd, "12345", 5, 0);
	send(fd, "1234", 4, 0);
	ck_assert_int_eq(stream_read(stream, small, sizeof(small)), -EMSGSIZE);
	ck_assert_int_eq(stream_read(stream, small, sizeof(small)), 4);
	/* And what comes behind empty ones is not lost at the end. */
	send(fd, "", 0, 0);
	send(fd, "last", 4, 0);
	send(fd, "", 0, 0);
	shutdown(fd, SHUT_WR);
	expect_record(stream, "last");
	ck_assert_int_eq(stream_read(stream, small, sizeof(small)), 0);
	/* The other way goes on. */
	ck_assert_int_eq(stream_write_record(stream, "still", 5), 0);
	ck_assert_int_eq(recv(fd, small, sizeof(small), MSG_TRUNC), 5);
	stream_shutdown_write(stream);
	ck_assert_int_eq(recv(fd, small, sizeof(small), 0), 0);
	close_clients();
	close(fd);
}
END_TEST

/* As many as a queue holds: neither the end nor a reason to stop reading. */
START_TEST(unix_records_behind_a_great_many_empty_ones)
{
	int fd, empty = 0;
	struct stream *stream = record_client(path_of("socket"), &fd);
	char got[4];

	while (send(fd, "", 0, 0) == 0)
		empty++;
	ck_assert_int_gt(empty, 50);
	ck_assert_int_eq(stream_read(stream, got, sizeof(got)), -EAGAIN);
	while (empty-- > 1)
		ck_assert_int_eq(send(fd, "", 0, 0), 0);
	send(fd, "x", 1, 0);
	close(fd);
	expect_record(stream, "x");
	ck_assert_int_eq(stream_read(stream, got, sizeof(got)), 0);
	close_clients();
}
END_TEST

/* The kernel says it first; what was sent before is not lost for it. */
START_TEST(unix_records_before_a_reset)
{
	int fd;
	struct stream *stream = record_client(path_of("socket"), &fd);
	char got[8];

	ck_assert_int_eq(stream_write_record(stream, "unread", 6), 0);
	send(fd, "before", 6, 0);
	send(fd, "it", 2, 0);
	close(fd);
	expect_record(stream, "before");
	expect_record(stream, "it");
	ck_assert_int_eq(stream_read(stream, got, sizeof(got)), -ECONNRESET);
	ck_assert_int_eq(stream_write_record(stream, "x", 1), -EPIPE);
	close_clients();
}
END_TEST

START_TEST(unix_records_are_written_whole)
{
	int fd, longest, code, count = 0;
	struct stream *stream = record_client(path_of("socket"), &fd);
	char *record = calloc(1, 16 * 1024 * 1024);
	ssize_t n;

	/* Bytes are cut to what programs read at once. */
	ck_assert_int_eq(stream_write(stream, record, 10000), 10000);
	ck_assert_int_eq(stream_write(stream, record, 10), 10);
	ck_assert_int_eq(recv(fd, record, 10000, MSG_TRUNC), 4096);
	ck_assert_int_eq(recv(fd, record, 10000, MSG_TRUNC), 4096);
	ck_assert_int_eq(recv(fd, record, 10000, MSG_TRUNC), 10000 - 8192);
	ck_assert_int_eq(recv(fd, record, 10000, MSG_TRUNC), 10);
	/* As many as there is room for, and no error for the rest. */
	n = stream_write(stream, record, 16 * 1024 * 1024);
	ck_assert_int_gt(n, 0);
	ck_assert_int_lt(n, 16 * 1024 * 1024);
	ck_assert_int_eq(stream_write(stream, record, 1), -EAGAIN);
	while (n > 0)
		n -= recv(fd, record, 10000, MSG_TRUNC);
	ck_assert_int_eq(n, 0);
	/* Records are not: all of it or nothing. */
	longest = option_of(stream->write_fd, SOL_SOCKET, SO_SNDBUF) - 32;
	ck_assert_int_eq(stream_write_record(stream, record,
					     (size_t)longest + 1),
			 -EMSGSIZE);
	ck_assert_int_eq(stream_write_record(stream, record, (size_t)longest),
			 0);
	ck_assert_int_eq(stream_write_record(stream, record, (size_t)longest),
			 -EAGAIN);
	ck_assert_int_eq(recv(fd, record, (size_t)longest, MSG_TRUNC), longest);
	while ((code = stream_write_record(stream, record, 1000)) == 0)
		count++;
	ck_assert_int_eq(code, -EAGAIN);
	while ((n = recv(fd, record, 1001, 0)) == 1000)
		count--;
	ck_assert_int_eq(count, 0);
	free(record);
	close_clients();
	close(fd);
}
END_TEST

START_TEST(unix_records_and_bytes_do_not_mix)
{
	struct sockaddr_un address = unix_address(path_of("socket"));
	int fd = client_socket(AF_UNIX), other = record_socket();
	struct listener *first;
	char text[200];

	/* Left by a program that is gone, of the other type. */
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)),
			 0);
	close(fd);
	snprintf(text, sizeof(text), "unix:%s,seqpacket", address.sun_path);
	must_listen(text);
	first = listener;
	/* Held is held, by whatever type. */
	expect_refusal(text, -EADDRINUSE, "is held by");
	snprintf(text, sizeof(text), "unix:%s", address.sun_path);
	expect_refusal(text, -EADDRINUSE, "is held by");
	open_target(text);
	ck_assert_ptr_nonnull(start_dial());
	expect_dial_failure(-EPROTOTYPE, "try the option seqpacket");
	target_close(target);
	settle();
	ck_assert_int_eq(client_count, 0);
	listener_close(first);

	/* And the other way round, with a listener of bytes. */
	must_listen(text);
	ck_assert_int_eq(connect(other, (struct sockaddr *)&address,
				 sizeof(address)),
			 -1);
	ck_assert_int_eq(errno, EPROTOTYPE);
	close(other);
	snprintf(text, sizeof(text), "unix:%s,seqpacket", address.sun_path);
	open_target(text);
	ck_assert_ptr_nonnull(start_dial());
	expect_dial_failure(-EPROTOTYPE, "leave out the option seqpacket");
	target_close(target);
	listener_close(listener);

	must_listen(text);
	open_target(text);
	ck_assert_ptr_nonnull(start_dial());
	AWAIT(dialled_count == 1 && client_count == 1);
	ck_assert(stream_keeps_records(dialled));
	ck_assert_int_eq(stream_write_record(dialled, "one", 3), 0);
	ck_assert_int_eq(stream_write_record(dialled, "two", 3), 0);
	expect_record(clients[0], "one");
	expect_record(clients[0], "two");
	stream_close(dialled, STREAM_CLOSE_ORDERLY);
	close_clients();
	listener_close(listener);
	target_close(target);
}
END_TEST

START_TEST(echo_returns_what_it_got)
{
	static char chunk[65536], back[65536];
	size_t in = 0, out = 0;
	ssize_t n;
	int before;

	open_target("echo");
	before = count_fds();
	ck_assert_ptr_nonnull(start_dial());
	AWAIT(dialled_count == 1);
	ck_assert_ptr_nonnull(dialled);
	ck_assert_str_eq(dialled->peer, "echo");
	ck_assert_int_eq(stream_read(dialled, back, sizeof(back)), -EAGAIN);
	memset(chunk, 'e', sizeof(chunk));
	while ((n = stream_write(dialled, chunk, sizeof(chunk))) > 0)
		in += (size_t)n;
	ck_assert_int_eq(n, -EAGAIN);
	ck_assert(stream_has_half_close(dialled));
	ck_assert_int_eq(stream_shutdown_write(dialled), 0);
	while ((n = stream_read(dialled, back, sizeof(back))) > 0)
		out += (size_t)n;
	ck_assert_int_eq(n, 0);
	ck_assert_uint_eq(in, out);
	stream_close(dialled, STREAM_CLOSE_ORDERLY);
	ck_assert_ptr_nonnull(start_dial());
	AWAIT(dialled_count == 1);
	stream_close(dialled, STREAM_CLOSE_ABORT);
	dial_cancel(start_dial());
	settle();
	ck_assert_int_eq(dialled_count, 0);
	ck_assert_int_eq(count_fds(), before);
	target_close(target);
}
END_TEST

START_TEST(echo_without_descriptors)
{
	int hoard[256], count = 0;

	open_target("echo");
	limit_descriptors();
	while ((hoard[count] = dup(0)) >= 0)
		count++;
	/* Told at once or later, as the contract has it. */
	if (start_dial())
		expect_dial_failure(-EMFILE, "cannot make a pipe");
	else
		ck_assert_int_eq(errno, EMFILE);
	settle();
	ck_assert_ptr_null(dialled);
	close_all(hoard, count);
	target_close(target);
}
END_TEST

/* ---- admission ------------------------------------------------------------------------------------ */

/* A target and a client that write down what is done to them. */
struct fake_stream {
	struct stream stream;
	int admit_code;
	int admitted;
	int closed;
	enum stream_close how;
};

static int fake_admit(struct stream *stream)
{
	struct fake_stream *fake = (struct fake_stream *)stream;

	fake->admitted++;
	return fake->admit_code;
}

static void fake_close(struct stream *stream, enum stream_close how)
{
	struct fake_stream *fake = (struct fake_stream *)stream;

	fake->closed++;
	fake->how = how;
}

static const struct stream_ops fake_stream_ops = {
	.admit = fake_admit,
	.close = fake_close,
};

static struct fake_stream fake_client, fake_answer;
static int client_far;
static dial_done_cb dial_done;
static void *dial_arg;
static int cancelled_count;
static bool is_dial_short;

static void fake_dial_cancel(struct dial *dial)
{
	cancelled_count++;
	dial_done = NULL;
}

static struct dial *fake_dial(struct target *unused, dial_done_cb done,
			      void *arg)
{
	static const struct dial_ops ops = {.cancel = fake_dial_cancel};
	static struct dial dial = {.ops = &ops};

	if (is_dial_short) {
		errno = EMFILE;
		return NULL;
	}
	dial_done = done;
	dial_arg = arg;
	return &dial;
}

static const struct target_ops fake_target_ops = {.dial = fake_dial};
static struct target fake_target = {.ops = &fake_target_ops,
				    .name = "fake:target"};

static int admission_ended;
static struct stream *admitted_client, *admitted_target;
static char admission_why[ERROR_TEXT_BYTES];

static void on_admission(struct admission *admission, struct stream *client,
			 struct stream *to, const struct error *error,
			 void *arg)
{
	ck_assert_ptr_eq(arg, &admission_ended);
	ck_assert_str_eq(admission_client(admission), "somebody");
	admission_ended++;
	admitted_client = client;
	admitted_target = to;
	ck_assert((client == NULL) == (to == NULL));
	/* What happens to the client happens after this was told. */
	ck_assert_int_eq(fake_client.closed, 0);
	snprintf(admission_why, sizeof(admission_why), "%s",
		 client ? "" : error->text);
}

static struct admission *start_admission(unsigned int timeout_ms)
{
	int ends[2];
	struct admission *admission;

	memset(&fake_client, 0, sizeof(fake_client));
	memset(&fake_answer, 0, sizeof(fake_answer));
	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	fake_client.stream.ops = &fake_stream_ops;
	fake_client.stream.read_fd = fake_client.stream.write_fd = ends[0];
	fake_client.stream.peer = "somebody";
	fake_answer.stream.ops = &fake_stream_ops;
	client_far = ends[1];
	admission_ended = cancelled_count = 0;
	admission = admission_new(loop, &fake_client.stream, &fake_target,
				  timeout_ms, on_admission, &admission_ended);
	ck_assert_int_eq(admission_ended, 0);
	return admission;
}

static void end_admission(void)
{
	settle();
	ck_assert_int_le(admission_ended, 1);
	close(fake_client.stream.read_fd);
	if (client_far >= 0)
		close(client_far);
}

static void expect_refused(const char *why)
{
	AWAIT(admission_ended == 1);
	ck_assert_ptr_null(admitted_client);
	ck_assert_contains(admission_why, why);
	ck_assert_int_eq(fake_client.closed, 1);
	ck_assert_int_eq(fake_client.how, STREAM_CLOSE_ABORT);
	end_admission();
}

START_TEST(a_client_is_admitted_once_its_target_is_reached)
{
	ck_assert_ptr_nonnull(start_admission(DEADLINE_MS));
	settle();
	ck_assert_int_eq(fake_client.admitted, 0);
	dial_done(&fake_answer.stream, 0, NULL, dial_arg);
	ck_assert_int_eq(fake_client.admitted, 1);
	ck_assert_int_eq(admission_ended, 1);
	ck_assert_ptr_eq(admitted_client, &fake_client.stream);
	ck_assert_ptr_eq(admitted_target, &fake_answer.stream);
	end_admission();
	ck_assert_int_eq(fake_client.closed, 0);
	ck_assert_int_eq(fake_answer.closed, 0);
	ck_assert_int_eq(cancelled_count, 0);
}
END_TEST

START_TEST(a_client_whose_target_fails_is_refused)
{
	struct error error = {"the target has a headache"};

	ck_assert_ptr_nonnull(start_admission(DEADLINE_MS));
	dial_done(NULL, -EIO, &error, dial_arg);
	expect_refused("headache");
	ck_assert_int_eq(fake_client.admitted, 0);
	ck_assert_int_eq(cancelled_count, 0);
}
END_TEST

START_TEST(a_target_has_its_deadline)
{
	uint64_t begin = loop_now_ms();

	ck_assert_ptr_nonnull(start_admission(100));
	AWAIT(admission_ended == 1);
	ck_assert_uint_ge(loop_now_ms() - begin, 95);
	expect_refused("fake:target did not answer within 100ms");
	ck_assert_int_eq(cancelled_count, 1);
	ck_assert_int_eq(fake_client.admitted, 0);
}
END_TEST

START_TEST(a_client_leaves_while_it_waits)
{
	ck_assert_ptr_nonnull(start_admission(DEADLINE_MS));
	settle();
	close(client_far);
	client_far = -1;
	expect_refused("the client left before the target was reached");
	ck_assert_int_eq(cancelled_count, 1);
}
END_TEST

START_TEST(a_client_that_sends_and_half_closes_goes_on_waiting)
{
	ck_assert_ptr_nonnull(start_admission(DEADLINE_MS));
	ck_assert_int_eq(send(client_far, "early", 5, 0), 5);
	settle();
	shutdown(client_far, SHUT_WR);
	settle();
	ck_assert(is_asleep());
	ck_assert_int_eq(admission_ended, 0);
	dial_done(&fake_answer.stream, 0, NULL, dial_arg);
	ck_assert_ptr_nonnull(admitted_client);
	end_admission();
}
END_TEST

START_TEST(a_client_leaves_at_the_last_moment)
{
	ck_assert_ptr_nonnull(start_admission(DEADLINE_MS));
	fake_client.admit_code = -ECONNABORTED;
	dial_done(&fake_answer.stream, 0, NULL, dial_arg);
	expect_refused("the client left");
	ck_assert_int_eq(fake_answer.closed, 1);
}
END_TEST

START_TEST(a_cancelled_admission_never_calls)
{
	admission_cancel(start_admission(100));
	ck_assert_int_eq(cancelled_count, 1);
	ck_assert_int_eq(fake_client.closed, 1);
	ck_assert_int_eq(fake_client.how, STREAM_CLOSE_ABORT);
	usleep(150000);
	settle();
	ck_assert_int_eq(admission_ended, 0);
	admission_cancel(NULL);
	end_admission();
}
END_TEST

START_TEST(a_target_that_cannot_be_dialled)
{
	is_dial_short = true;
	ck_assert_ptr_null(start_admission(100));
	ck_assert_int_eq(errno, EMFILE);
	/* Still the caller's. */
	ck_assert_int_eq(fake_client.closed, 0);
	end_admission();
	ck_assert_int_eq(admission_ended, 0);
}
END_TEST

/* ---- all of it --------------------------------------------------------------------------------------- */

static TCase *add_case(Suite *suite, const char *name, SFun before)
{
	TCase *tests = tcase_create(name);

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, before, teardown);
	return tests;
}

static void add_loop(Suite *suite)
{
	TCase *tests = add_case(suite, "loop", setup_notes);

	tcase_add_test(tests, tasks_run_later_and_in_order);
	tcase_add_test(tests, a_queued_task_is_not_queued_again);
	tcase_add_test(tests, a_cancelled_task_does_not_run);
	tcase_add_test(tests, a_task_cancels_the_next_one);
	tcase_add_test(tests, a_task_cancels_the_last_one);
	tcase_add_test(tests, a_task_moves_another_to_the_next_turn);
	tcase_add_test(tests, what_a_task_defers_waits_for_a_turn_of_the_loop);
	tcase_add_test(tests, a_task_frees_what_it_is_in);
	tcase_add_test(tests, flush_runs_what_tasks_defer_too);
	tcase_add_test(tests, a_loop_that_is_freed_runs_what_was_put_off);
	tcase_add_test(tests, stop_leaves_run);
	/* Under valgrind (3.19) no other thread runs while one waits in close. */
	if (!getenv("BTGATE_VALGRIND")) {
		tcase_add_test(tests,
			       a_close_that_waits_does_not_hold_up_the_loop);
		tcase_add_test(tests, a_close_waits_for_a_thread);
		tcase_add_test(tests, what_connects_is_closed_once_it_has);
	}
	tcase_add_test(tests, the_end_of_the_loop_closes_what_is_left);
}

static void add_sockets(Suite *suite)
{
	TCase *tests = add_case(suite, "socket", setup);

	tcase_add_test(tests, a_stream_reads_writes_and_ends);
	tcase_add_test(tests, a_full_stream_takes_no_more);
	tcase_add_test(tests, a_reset_is_told_by_check_and_by_read);
	tcase_add_test(tests, writing_to_nobody_raises_no_signal);
	tcase_add_test(tests, an_abort_is_a_reset_and_an_orderly_close_is_not);
	tcase_add_test(tests, a_peer_that_does_not_answer_is_gone);
	tcase_add_test(tests, a_peer_that_does_not_read_is_there);
	tcase_add_test(tests, a_peer_may_be_left_alone);
	tcase_add_test(tests, a_long_name_is_cut);
	tcase_add_test(tests, an_acceptor_calls_back_from_the_loop);
	tcase_add_test(tests, an_acceptor_is_freed_by_its_own_callback);
	tcase_add_test(tests, a_flood_leaves_time_for_others);
	tcase_add_test(tests, without_descriptors_clients_wait);
	tcase_add_test(tests, an_acceptor_that_waits_for_descriptors_is_freed);
	tcase_add_test(tests, a_connector_connects);
	tcase_add_test(tests,
		       a_connector_that_is_done_at_once_calls_back_later);
	tcase_add_test(tests, a_connector_that_fails_closes_and_tells);
	tcase_add_test(tests, a_connector_that_is_given_up_never_calls);
}

static void add_resolver(Suite *suite)
{
	TCase *tests = add_case(suite, "resolve", setup);

	tcase_add_test(tests, an_address_is_its_own_answer);
	tcase_add_test(tests, localhost_needs_no_hosts_file);
	tcase_add_test(tests, a_name_without_an_answer);
	tcase_add_test(tests, a_system_error_is_named);
	tcase_add_test(tests, a_cancelled_look_up_never_calls);
	tcase_add_test(tests, a_look_up_without_a_thread);
}

static void add_listeners(Suite *suite)
{
	TCase *tests = add_case(suite, "listeners", setup);

	tcase_add_test(tests, tcp_clients_come);
	tcase_add_test(tests, a_tcp_client_that_vanishes_is_noticed);
	tcase_add_test(tests, a_listener_is_closed_by_its_own_callback);
	tcase_add_test(tests, every_address_takes_both_families);
	tcase_add_test(tests, a_port_in_use_says_by_whom);
	tcase_add_test(tests, addresses_that_cannot_be_listened_on);
	tcase_add_test(tests, kinds_that_do_not_listen);
	tcase_add_test(tests, unix_clients_come);
	tcase_add_test(tests, whoever_asks_who_holds_a_socket_is_no_client);
	tcase_add_test(tests, a_socket_of_the_longest_path);
	tcase_add_test(tests,
		       a_stale_socket_is_replaced_and_anything_else_is_not);
}

static void add_targets(Suite *suite)
{
	TCase *tests = add_case(suite, "targets", setup);

	tcase_add_test(tests, tcp_is_dialled);
	tcase_add_test(tests, tcp_beside_a_radio_has_a_short_queue);
	tcase_add_test(tests, tcp_is_down);
	tcase_add_test(tests, tcp_host_is_unknown);
	tcase_add_test(tests, tcp_takes_the_first_address_that_answers);
	tcase_add_test(tests, tcp_has_more_addresses_than_are_tried);
	tcase_add_test(tests, tcp_passes_over_an_address_that_does_not_answer);
	tcase_add_test(tests, a_cancelled_tcp_dial_never_calls);
	tcase_add_test(tests, tcp_is_dialled_without_descriptors);
	tcase_add_test(tests, unix_is_dialled);
	tcase_add_test(tests, unix_records_come_one_by_one);
	tcase_add_test(tests, unix_records_behind_a_great_many_empty_ones);
	tcase_add_test(tests, unix_records_before_a_reset);
	tcase_add_test(tests, unix_records_are_written_whole);
	tcase_add_test(tests, unix_records_and_bytes_do_not_mix);
	tcase_add_test(tests, echo_returns_what_it_got);
	tcase_add_test(tests, echo_without_descriptors);
}

static void add_admission(Suite *suite)
{
	TCase *tests = add_case(suite, "admission", setup);

	tcase_add_test(tests, a_client_is_admitted_once_its_target_is_reached);
	tcase_add_test(tests, a_client_whose_target_fails_is_refused);
	tcase_add_test(tests, a_target_has_its_deadline);
	tcase_add_test(tests, a_client_leaves_while_it_waits);
	tcase_add_test(tests,
		       a_client_that_sends_and_half_closes_goes_on_waiting);
	tcase_add_test(tests, a_client_leaves_at_the_last_moment);
	tcase_add_test(tests, a_cancelled_admission_never_calls);
	tcase_add_test(tests, a_target_that_cannot_be_dialled);
}

int main(void)
{
	Suite *suite = suite_create("endpoint");
	SRunner *runner = srunner_create(suite);
	int failed;

	add_loop(suite);
	add_sockets(suite);
	add_resolver(suite);
	add_listeners(suite);
	add_targets(suite);
	add_admission(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
