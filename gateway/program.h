/* SPDX-License-Identifier: MIT */
/*
 * Child processes: a command of the shell's as the leader of a session and a
 * process group of its own, which is hung up, killed and reaped without
 * waiting. How it ended is logged, once.
 *
 * Knows processes; does not know what goes in and out of them.
 */
#ifndef BTGATE_PROGRAM_H
#define BTGATE_PROGRAM_H

#include <signal.h>
#include <stdbool.h>
#include <sys/queue.h>

struct error;
struct event;
struct loop;
struct program;

/* The programs of one owner. */
struct programs {
	struct loop *loop;
	struct event *child_ended; /* SIGCHLD */
	struct event *look_again; /* timer */
	TAILQ_HEAD(program_list, program) list;
};

/* 0 or -ENOMEM; programs_clear is legal in any case. */
int programs_init(struct programs *programs, struct loop *loop);
/*
 * Kill what is left, with all of its process group, and reap it: waits, but
 * only for the kernel to carry out SIGKILL. What runs as another user by now
 * may not be killed, and is left.
 */
void programs_clear(struct programs *programs);

/* What it has as its standard descriptors. */
struct program_files {
	const char *tty; /* all three, its controlling terminal; or NULL: */
	int input_fd;
	int output_fd; /* what it writes to stderr goes to ours */
};

/*
 * Run @command with /bin/sh -c: no descriptor, signal mask or disposition of
 * ours is left to it. A path with arguments and nothing else takes the shell's
 * place, and so leads the session: agetty(8) gets no input otherwise. NULL with
 * errno set and a sentence if the shell cannot be started; what the shell
 * cannot start shows in its status.
 */
struct program *program_start(struct programs *programs, const char *command,
			      const struct program_files *files,
			      struct error *error);
/*
 * It is to end: SIGHUP to its process group, unless it has a terminal, whose
 * hang-up tells it and all whom it may have to tell (bash ends at a second
 * SIGHUP without hanging up its jobs). What is left of the group 2 s later is
 * killed, also if the program itself has exited. Once; then it does nothing.
 */
void program_hang_up(struct program *program);
/* Hang it up and forget it: it is freed when it is gone. NULL is legal. */
void program_release(struct program *program);

bool program_has_exited(const struct program *program);
/*
 * "the program exited with status 3", or NULL: it has not, or all was well, or
 * it was hung up before.
 */
const char *program_failure(const struct program *program);
/* To watch: readable once it has exited. */
int program_fd(const struct program *program);

#define PROGRAM_STATUS_BYTES 96

/*
 * How a child process ended, as waitid(2) tells: the end of a sentence whose subject
 * it is, as "was killed by signal 9 (Killed)".
 */
void program_format_status(const siginfo_t *info,
			   char text[PROGRAM_STATUS_BYTES]);

#endif
