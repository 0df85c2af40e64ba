/* SPDX-License-Identifier: MIT */
#include "tty.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

/*
 * What ends a process without asking it, and is not dealt with elsewhere
 * (command_netcat.c).
 */
static const int fatal_signals[] = {
	SIGABRT, SIGALRM, SIGBUS,  SIGFPE,    SIGILL,	 SIGIO,
	SIGPROF, SIGPWR,  SIGQUIT, SIGSEGV,   SIGSTKFLT, SIGSYS,
	SIGTRAP, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU,
};

#define FATAL_SIGNALS (sizeof(fatal_signals) / sizeof(fatal_signals[0]))

static struct {
	int fd;
	struct termios modes; /* as they were */
	volatile sig_atomic_t is_changed;
	struct sigaction actions[FATAL_SIGNALS]; /* as they were */
	bool is_registered; /* with atexit */
} saved;

/* In the background it is the shell's own modes that are in effect. */
bool tty_is_foreground(int fd)
{
	pid_t group = tcgetpgrp(fd);

	/* Not our controlling terminal: nobody stops us. */
	return group < 0 || group == getpgrp();
}

/* Async-signal-safe (POSIX 2.4.3): tcgetpgrp, getpgrp, tcsetattr. */
static void give_back(void)
{
	if (saved.is_changed && tty_is_foreground(saved.fd))
		tcsetattr(saved.fd, TCSANOW, &saved.modes);
	saved.is_changed = 0;
}

static void fatal_signal(int number)
{
	int code = errno;

	give_back();
	for (size_t i = 0; i < FATAL_SIGNALS; i++)
		if (fatal_signals[i] == number)
			sigaction(number, &saved.actions[i], NULL);
	/* It comes when this handler has returned. */
	raise(number);
	errno = code;
}

static void watch_fatal_signals(void)
{
	struct sigaction action = {.sa_handler = fatal_signal};

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < FATAL_SIGNALS; i++) {
		sigaction(fatal_signals[i], &action, &saved.actions[i]);
		if (saved.actions[i].sa_handler == SIG_IGN)
			sigaction(fatal_signals[i], &saved.actions[i], NULL);
	}
}

static void unwatch_fatal_signals(void)
{
	for (size_t i = 0; i < FATAL_SIGNALS; i++)
		sigaction(fatal_signals[i], &saved.actions[i], NULL);
}

int tty_enter(int fd, enum tty_mode mode)
{
	struct termios modes;

	if (!tty_is_foreground(fd))
		return -EAGAIN;
	if (!saved.is_changed) {
		if (tcgetattr(fd, &saved.modes) < 0)
			return -errno;
		saved.fd = fd;
		saved.is_changed = 1;
		watch_fatal_signals();
		if (!saved.is_registered)
			saved.is_registered = atexit(tty_leave) == 0;
	}
	modes = saved.modes;
	cfmakeraw(&modes);
	if (mode == TTY_MODE_KEYS)
		modes.c_oflag = saved.modes.c_oflag;
	modes.c_cc[VMIN] = 1;
	modes.c_cc[VTIME] = 0;
	/* Not TCSADRAIN: it waits for a terminal that was stopped with ^S. */
	return tcsetattr(fd, TCSANOW, &modes) < 0 ? -errno : 0;
}

bool tty_is_changed(void)
{
	return saved.is_changed;
}

void tty_leave(void)
{
	if (!saved.is_changed)
		return;
	give_back();
	unwatch_fatal_signals();
}
