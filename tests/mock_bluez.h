/* SPDX-License-Identifier: MIT */
/*
 * A bus and a bluetoothd to test against: a real dbus-daemon of our own, and
 * on it mock_bluetoothd.c. The test tells it what to do and hears what it was
 * asked, one datagram each; everything is awaited, nothing slept for.
 */
#ifndef BTGATE_TESTS_MOCK_BLUEZ_H
#define BTGATE_TESTS_MOCK_BLUEZ_H

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "loop.h"

#define MOCK_TEXT_BYTES 4096
#define MOCK_UNREAD 64

struct mock {
	struct loop *loop;
	char directory[32];
	pid_t bus;
	pid_t daemon;
	int control;
	char *unread[MOCK_UNREAD];
};

static inline void mock_setup(struct mock *mock, struct loop *loop)
{
	char address[64];

	memset(mock, 0, sizeof(*mock));
	mock->loop = loop;
	mock->control = -1;
	strcpy(mock->directory, "/tmp/btgate-mock-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(mock->directory));
	snprintf(address, sizeof(address), "unix:path=%s/bus", mock->directory);
	setenv("DBUS_SYSTEM_BUS_ADDRESS", address, 1);
}

/* @policy: what the bus forbids, as its configuration says it; or "". */
static inline void mock_bus_start(struct mock *mock, const char *policy)
{
	char config[64], argument[80];
	int ready[2];
	FILE *file;

	snprintf(config, sizeof(config), "%s/config", mock->directory);
	file = fopen(config, "w");
	ck_assert_ptr_nonnull(file);
	fprintf(file,
		"<busconfig><type>system</type>"
		"<listen>unix:path=%s/bus</listen><auth>EXTERNAL</auth>"
		"<policy context='default'><allow user='*'/><allow own='*'/>"
		"<allow send_destination='*'/><allow receive_sender='*'/>"
		"%s</policy></busconfig>\n",
		mock->directory, policy);
	fclose(file);
	ck_assert_int_eq(pipe(ready), 0);
	mock->bus = fork();
	if (mock->bus == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ready[0]);
		/* Its complaints of what it is told to refuse. */
		if (!getenv("V"))
			dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
		snprintf(config, sizeof(config), "--config-file=%s/config",
			 mock->directory);
		snprintf(argument, sizeof(argument), "--print-address=%d",
			 ready[1]);
		execlp("dbus-daemon", "dbus-daemon", config, "--nofork",
		       "--nosyslog", argument, (char *)NULL);
		_exit(127);
	}
	close(ready[1]);
	ck_assert_msg(read(ready[0], argument, sizeof(argument)) > 0,
		      "dbus-daemon did not start");
	close(ready[0]);
}

static inline void mock_reap(pid_t *pid)
{
	if (*pid <= 0)
		return;
	kill(*pid, SIGKILL);
	waitpid(*pid, NULL, 0);
	*pid = 0;
}

static inline void mock_bus_stop(struct mock *mock)
{
	mock_reap(&mock->bus);
}

static inline void mock_on_report(evutil_socket_t fd, short what, void *arg)
{
	struct mock *mock = arg;
	char text[MOCK_TEXT_BYTES];
	ssize_t bytes = recv(fd, text, sizeof(text), 0);
	int i = 0;

	ck_assert_msg(bytes > 0, "the mock bluetoothd ended by itself");
	while (i < MOCK_UNREAD - 1 && mock->unread[i])
		i++;
	ck_assert_ptr_null(mock->unread[i]);
	mock->unread[i] = strdup(text);
}

static inline char *mock_take(struct mock *mock, const char *prefix)
{
	char *found;

	for (int i = 0; i < MOCK_UNREAD && mock->unread[i]; i++) {
		if (strncmp(mock->unread[i], prefix, strlen(prefix)) != 0)
			continue;
		found = mock->unread[i];
		memmove(&mock->unread[i], &mock->unread[i + 1],
			sizeof(mock->unread[0]) *
				(size_t)(MOCK_UNREAD - 1 - i));
		mock->unread[MOCK_UNREAD - 1] = NULL;
		return found;
	}
	return NULL;
}

/*
 * Run the loop until the mock reports something that begins so; malloc'd. The
 * suite's time limit ends a wait in vain.
 */
static inline char *mock_await(struct mock *mock, const char *prefix)
{
	struct event *event = event_new(mock->loop->base, mock->control,
					EV_READ | EV_PERSIST, mock_on_report,
					mock);
	char *found;

	event_add(event, NULL);
	while (!(found = mock_take(mock, prefix)))
		event_base_loop(mock->loop->base, EVLOOP_ONCE);
	event_free(event);
	return found;
}

static inline void mock_expect(struct mock *mock, const char *prefix)
{
	free(mock_await(mock, prefix));
}

/* Do it, and wait until it is done. */
static inline void mock_tell(struct mock *mock, const char *command)
{
	char done[512];

	send(mock->control, command, strlen(command) + 1, MSG_NOSIGNAL);
	snprintf(done, sizeof(done), "done %s", command);
	mock_expect(mock, done);
}

/* It is built beside the suites. */
static inline void mock_daemon_exec(int control)
{
	static const char name[] = "mock_bluetoothd";
	char path[512], argument[12];
	ssize_t bytes = readlink("/proc/self/exe", path,
				 sizeof(path) - sizeof(name));

	if (bytes < 0)
		_exit(127);
	path[bytes] = '\0';
	strcpy(strrchr(path, '/') + 1, name);
	snprintf(argument, sizeof(argument), "%d", control);
	execl(path, name, argument, (char *)NULL);
	_exit(127);
}

static inline void mock_daemon_start(struct mock *mock)
{
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	mock->daemon = fork();
	if (mock->daemon == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* The test's connections must not live on in here. */
		for (int fd = 3; fd < 256; fd++) {
			if (fd != ends[1])
				close(fd);
		}
		mock_daemon_exec(ends[1]);
	}
	close(ends[1]);
	mock->control = ends[0];
	mock_expect(mock, "ready");
}

/* As by SIGKILL; after "quit" as by SIGTERM. */
static inline void mock_daemon_stop(struct mock *mock)
{
	mock_reap(&mock->daemon);
	if (mock->control >= 0)
		close(mock->control);
	mock->control = -1;
	for (int i = 0; i < MOCK_UNREAD; i++) {
		free(mock->unread[i]);
		mock->unread[i] = NULL;
	}
}

/* bluetoothd gets SIGTERM: says good-bye to its clients, and ends. */
static inline void mock_daemon_quit(struct mock *mock)
{
	send(mock->control, "quit", 5, MSG_NOSIGNAL);
	waitpid(mock->daemon, NULL, 0);
	mock->daemon = 0;
	mock_daemon_stop(mock);
}

static inline void mock_teardown(struct mock *mock)
{
	static const char *const names[] = {"bus", "config", "sdp"};
	char path[64];

	mock_daemon_stop(mock);
	mock_bus_stop(mock);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", mock->directory,
			 names[i]);
		unlink(path);
	}
	rmdir(mock->directory);
}

#endif
