/* SPDX-License-Identifier: MIT */
/*
 * A command of the program, run beside a mock of bluetoothd: what it is given,
 * what it says, how it ends.
 */
#ifndef BTGATE_TESTS_MOCK_COMMAND_H
#define BTGATE_TESTS_MOCK_COMMAND_H

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mock_bluez.h"

static struct {
	pid_t pid;
	int in;
	int out;
	int err;
	char out_text[8192];
	char err_text[8192];
} program;

/* A pty for stderr, where there is to be a terminal. */
static inline void open_stderr(bool is_terminal, int ends[2])
{
	if (!is_terminal) {
		ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
		return;
	}
	ends[0] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	ck_assert_int_ge(ends[0], 0);
	ck_assert_int_eq(grantpt(ends[0]), 0);
	ck_assert_int_eq(unlockpt(ends[0]), 0);
	ends[1] = open(ptsname(ends[0]), O_RDWR | O_NOCTTY | O_CLOEXEC);
	ck_assert_int_ge(ends[1], 0);
}

/* @options end with NULL, or are NULL. */
static inline void run_command(const char *name, bool is_terminal,
			       const char *const *options)
{
	const char *argv[12] = {getenv("BTGATE"), name};
	int in[2], out[2], err[2];

	memset(&program, 0, sizeof(program));
	ck_assert_ptr_nonnull(argv[0]);
	for (int i = 0; options && options[i]; i++)
		argv[2 + i] = options[i];
	ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	open_stderr(is_terminal, err);
	program.pid = fork();
	if (program.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setenv("TERM", "vt100", 1);
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		dup2(err[1], STDERR_FILENO);
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	close(err[1]);
	program.in = in[1];
	program.out = out[0];
	program.err = err[0];
}

/* True while there may be more. */
static inline bool read_some(int fd, char *text, size_t bytes)
{
	size_t used = strlen(text);
	ssize_t count = read(fd, text + used, bytes - 1 - used);

	/* A pty whose other end is closed says EIO. */
	if (count <= 0)
		return false;
	text[used + (size_t)count] = '\0';
	return true;
}

static inline void wait_for_stderr(const char *part)
{
	while (!strstr(program.err_text, part))
		ck_assert_msg(read_some(program.err, program.err_text,
					sizeof(program.err_text)),
			      "no \"%s\" in: %s", part, program.err_text);
}

static inline void wait_for_stdout(const char *part)
{
	while (!strstr(program.out_text, part))
		ck_assert_msg(read_some(program.out, program.out_text,
					sizeof(program.out_text)),
			      "no \"%s\" in: %s", part, program.out_text);
}

static inline void type_line(const char *line)
{
	ck_assert_int_eq(write(program.in, line, strlen(line)),
			 (ssize_t)strlen(line));
}

static inline void run_to_the_end(int status)
{
	int got;

	while (read_some(program.out, program.out_text,
			 sizeof(program.out_text)))
		;
	while (read_some(program.err, program.err_text,
			 sizeof(program.err_text)))
		;
	ck_assert_int_eq(waitpid(program.pid, &got, 0), program.pid);
	ck_assert_msg(WIFEXITED(got) && WEXITSTATUS(got) == status,
		      "status 0x%x: %s", got, program.err_text);
	close(program.in);
	close(program.out);
	close(program.err);
}

static inline void assert_has(const char *text, const char *part)
{
	ck_assert_msg(strstr(text, part), "\"%s\" is not in: %s", part, text);
}

/* What a command needs that is about bluetoothd's adapters, one by one. */
#define MISSING_COUNT 5

/*
 * Without number @i of them: @command, with @argument or NULL, says @complaint,
 * what is missing and what to do, and nothing else.
 */
static inline void run_without(struct mock *mock, int i, const char *command,
			       const char *argument, const char *complaint)
{
	static const struct {
		const char *adapter;
		const char *text;
	} table[MISSING_COUNT] = {
		{"any", "the system bus is not there"},
		{"any", "bluetoothd is not running; start it with 'systemctl"},
		{"any", "there is no Bluetooth adapter"},
		{"hci7", "the adapter hci7 is not there"},
		{"any", "the adapter hci0 is powered off: 'bluetoothctl power"},
	};
	const char *options[] = {"-i", table[i].adapter, argument, NULL};

	if (i >= 1)
		mock_bus_start(mock, "");
	if (i >= 2)
		mock_daemon_start(mock);
	if (i >= 3)
		mock_tell(mock, i == 3 ? "adapter 0 1" : "adapter 0 0");
	run_command(command, false, options);
	run_to_the_end(1);
	ck_assert_str_eq(program.out_text, "");
	assert_has(program.err_text, complaint);
	assert_has(program.err_text, table[i].text);
}

#endif
