/* SPDX-License-Identifier: MIT */
#include "metrics_process.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "address_network.h"
#include "backoff.h"
#include "endpoint.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "metrics_server.h"
#include "program.h"
#include "text.h"

/* The least there is, for a few answers: the process need not take them. */
#define ANSWERS_BYTES 1
#define CLIENTS_BYTES (ADDRESS_NETWORKS_MAX * ADDRESS_NETWORK_TEXT_BYTES)

#ifndef MFD_NOEXEC_SEAL /* glibc 2.36 has no name for it */
#define MFD_NOEXEC_SEAL 0x0008U
#endif

struct metrics_process {
	struct loop *loop;
	metrics_print_cb print;
	void *arg;
	int listen_fd; /* -1: there is to be none */
	char clients[CLIENTS_BYTES]; /* as it is told whom to serve */
	pid_t pid; /* 0: none */
	bool is_killed; /* by us */
	int channel_fd; /* while there is one */
	struct event *asked;
	struct event *ended; /* SIGCHLD */
	struct event *retry_timer;
	struct backoff retry;
	uint64_t started_ms;
	struct error last_error; /* what fails alike again is silent */
};

/* ---- answering it -------------------------------------------------------------- */

/*
 * Linux 6.3 to 6.5 give none that could be executed where vm.memfd_noexec is 2; before
 * 6.3 they do not know the flag.
 */
static int make_memory_file(void)
{
	int fd = memfd_create("metrics", MFD_CLOEXEC | MFD_NOEXEC_SEAL);

	return fd < 0 && errno == EINVAL ? memfd_create("metrics", MFD_CLOEXEC)
					 : fd;
}

/* The numbers as they are now. NULL: no memory or descriptor for them. */
static FILE *print_numbers(const struct metrics_process *process)
{
	int fd = make_memory_file();
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");

	if (!file) {
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	process->print(file, process->arg);
	if (fflush(file) == 0 && !ferror(file))
		return file;
	fclose(file);
	return NULL;
}

/* What it does not take is lost: it has gone on without. */
static void answer(const struct metrics_process *process, uint8_t question)
{
	FILE *file = print_numbers(process);
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {
		.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
			   .cmsg_level = SOL_SOCKET,
			   .cmsg_type = SCM_RIGHTS},
	};
	struct iovec piece = {&question, sizeof(question)};
	struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
	int fd;

	if (file) {
		fd = fileno(file);
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
	}
	sendmsg(process->channel_fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (file)
		fclose(file);
}

static void process_asked(evutil_socket_t fd, short what, void *arg)
{
	struct metrics_process *process = arg;
	char text[STREAM_PEER_BYTES], quoted[TEXT_QUOTED_BYTES];
	ssize_t got = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	if (got == 1) {
		answer(process, (uint8_t)text[0]);
	} else if (got > 0) {
		text[got] = '\0';
		log_warning("metrics: refused %s: it is not among "
			    "metrics-clients; it is not mentioned again",
			    text_printable(text, quoted));
	} else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
		/* It ends; if not, it is of no use any more. */
		event_del(process->asked);
		kill(process->pid, SIGKILL);
	}
}

/* ---- its start ------------------------------------------------------------------ */

/* Has it killed, if there is one; the rest is done once it is reaped. */
static void process_kill(struct metrics_process *process)
{
	if (!process->pid)
		return;
	event_del(process->asked);
	process->is_killed = true;
	kill(process->pid, SIGKILL);
}

static void process_failed(struct metrics_process *process,
			   const struct error *error)
{
	if (strcmp(error->text, process->last_error.text) != 0)
		log_warning("metrics: their server %s; it is started again",
			    error->text);
	else
		log_debug("metrics: their server %s again", error->text);
	process->last_error = *error;
	/* Without memory for the timer the next reload tries. */
	loop_start_timer(process->retry_timer,
			 backoff_next_ms(&process->retry));
}

/*
 * By our own program, wherever it is by now, so that nothing of our memory is left
 * in it, with the two descriptors and stderr. 0 or -errno.
 */
static int spawn(struct metrics_process *process, int channel_fd)
{
	static char name[] = "btgate", command[] = METRICS_SERVER_COMMAND;
	char *arguments[] = {name, command, process->clients, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t all, blocked;
	int code;

	/* What ends us is sent to all that we have started, and ours to tell. */
	sigfillset(&all);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGINT);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGHUP);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setsigmask(&attributes, &blocked);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF |
						      POSIX_SPAWN_SETSIGMASK);
	posix_spawn_file_actions_init(&actions);
	code = posix_spawn_file_actions_adddup2(&actions, process->listen_fd,
						METRICS_SERVER_LISTEN_FD);
	if (!code)
		code = posix_spawn_file_actions_adddup2(
			&actions, channel_fd, METRICS_SERVER_CHANNEL_FD);
	if (!code)
		code = posix_spawn_file_actions_addclosefrom_np(
			&actions, STDERR_FILENO + 1);
	if (!code)
		code = posix_spawn(&process->pid, "/proc/self/exe", &actions,
				   &attributes, arguments, environ);
	if (code)
		process->pid = 0;
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return -code;
}

/* 0 or -errno. */
static int process_begin(struct metrics_process *process)
{
	const int answers_bytes = ANSWERS_BYTES;
	int pair[2], code;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &answers_bytes,
		   sizeof(answers_bytes));
	process->channel_fd = pair[0];
	process->is_killed = false;
	process->started_ms = loop_now_ms();
	process->asked = event_new(process->loop->base, pair[0],
				   EV_READ | EV_PERSIST, process_asked,
				   process);
	code = -ENOMEM;
	if (process->asked && event_add(process->ended, NULL) == 0 &&
	    event_add(process->asked, NULL) == 0)
		code = spawn(process, pair[1]);
	close(pair[1]);
	if (code == 0)
		return 0;
	if (process->asked)
		event_free(process->asked);
	process->asked = NULL;
	close(process->channel_fd);
	return code;
}

static void process_start(struct metrics_process *process)
{
	struct error error;
	int code;

	event_del(process->retry_timer);
	code = process_begin(process);
	if (code == 0)
		return;
	error_set(&error, code, "cannot be started: %s", strerror(-code));
	process_failed(process, &error);
}

static void process_retry(evutil_socket_t fd, short what, void *arg)
{
	process_start(arg);
}

/* ---- its end -------------------------------------------------------------------- */

static void process_clear(struct metrics_process *process)
{
	event_free(process->asked);
	process->asked = NULL;
	close(process->channel_fd);
	process->pid = 0;
}

static void process_ended(evutil_socket_t number, short what, void *arg)
{
	struct metrics_process *process = arg;
	char text[PROGRAM_STATUS_BYTES] = "is gone";
	siginfo_t info = {0};
	struct error error;

	if (!process->pid)
		return;
	if (waitid(P_PID, (id_t)process->pid, &info, WEXITED | WNOHANG) == 0) {
		if (info.si_pid == 0)
			return;
		program_format_status(&info, text);
	}
	process_clear(process);
	if (process->listen_fd < 0)
		return;
	if (process->is_killed) {
		process_start(process);
		return;
	}
	/* It was well for a while: this is another matter. */
	if (loop_now_ms() - process->started_ms > 2 * BACKOFF_MAX_MS) {
		backoff_reset(&process->retry);
		process->last_error.text[0] = '\0';
	}
	error_set(&error, 0, "%s", text);
	process_failed(process, &error);
}

/* ---- from outside --------------------------------------------------------------- */

struct metrics_process *metrics_process_new(struct loop *loop,
					    metrics_print_cb print, void *arg)
{
	struct metrics_process *process = calloc(1, sizeof(*process));

	if (!process)
		return NULL;
	process->loop = loop;
	process->print = print;
	process->arg = arg;
	process->listen_fd = -1;
	process->ended = evsignal_new(loop->base, SIGCHLD, process_ended,
				      process);
	process->retry_timer = evtimer_new(loop->base, process_retry, process);
	if (process->ended && process->retry_timer)
		return process;
	metrics_process_free(process);
	errno = ENOMEM;
	return NULL;
}

void metrics_process_free(struct metrics_process *process)
{
	if (!process)
		return;
	if (process->pid) {
		process_kill(process);
		waitid(P_PID, (id_t)process->pid, &(siginfo_t){0}, WEXITED);
		process_clear(process);
	}
	if (process->ended)
		event_free(process->ended);
	if (process->retry_timer)
		event_free(process->retry_timer);
	free(process);
}

static void format_networks(const struct address_networks *networks,
			    char text[CLIENTS_BYTES])
{
	char one[ADDRESS_NETWORK_TEXT_BYTES];

	strcpy(text, networks->count ? "" : "any");
	for (size_t i = 0; i < networks->count; i++) {
		address_network_format(&networks->items[i], one);
		text_append(text, CLIENTS_BYTES, "%s%s", i ? "," : "", one);
	}
}

void metrics_process_serve(struct metrics_process *process, int listen_fd,
			   const struct address_networks *clients)
{
	char text[CLIENTS_BYTES];

	format_networks(clients, text);
	if (process->pid && !process->is_killed &&
	    listen_fd == process->listen_fd &&
	    strcmp(text, process->clients) == 0)
		return;
	process->listen_fd = listen_fd;
	memcpy(process->clients, text, sizeof(text));
	backoff_reset(&process->retry);
	if (process->pid)
		process_kill(process);
	else
		process_start(process);
}

bool metrics_process_is_failing(const struct metrics_process *process,
				struct error *error)
{
	if (process->listen_fd < 0 || process->pid)
		return false;
	error_set(error, 0, "their server %s; it is started again",
		  process->last_error.text);
	return true;
}

void metrics_process_stop(struct metrics_process *process)
{
	process->listen_fd = -1;
	event_del(process->retry_timer);
	process->last_error.text[0] = '\0';
	process_kill(process);
}
