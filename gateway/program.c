/* SPDX-License-Identifier: MIT */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "error.h"
#include "log.h"
#include "loop.h"
#include "text.h"

#define KILL_MS 2000
#define TELL_AGAIN_MS 100

struct program {
	TAILQ_ENTRY(program) link;
	struct programs *programs;
	char *command;
	pid_t pid; /* and process group */
	int exited_fd; /* eventfd(2) */
	struct event *kill_timer;
	bool has_terminal;
	bool has_exited; /* a zombie: its number is nobody else's yet */
	bool is_told; /* that it has exited, by exited_fd */
	bool is_hung_up;
	char failure[PROGRAM_STATUS_BYTES]; /* "" for none */
	bool is_released;
};

static void program_free(struct program *program)
{
	if (program->kill_timer)
		event_free(program->kill_timer);
	if (program->exited_fd >= 0)
		close(program->exited_fd);
	free(program->command);
	free(program);
}

/* ---- its end ------------------------------------------------------------- */

void program_format_status(const siginfo_t *info,
			   char text[PROGRAM_STATUS_BYTES])
{
	const char *hint = "";

	if (info->si_code != CLD_EXITED) {
		snprintf(text, PROGRAM_STATUS_BYTES,
			 "was killed by signal %d (%s)", info->si_status,
			 strsignal(info->si_status));
		return;
	}
	/* POSIX, Shell Command Language, 2.8.2. */
	if (info->si_status == 126)
		hint = ": found, and cannot be executed";
	else if (info->si_status == 127)
		hint = ": command not found";
	snprintf(text, PROGRAM_STATUS_BYTES, "exited with status %d%s",
		 info->si_status, hint);
}

static void note_status(struct program *program, const siginfo_t *info)
{
	bool has_failed = info->si_code != CLD_EXITED || info->si_status != 0;
	char quoted[TEXT_QUOTED_BYTES], text[PROGRAM_STATUS_BYTES];

	program_format_status(info, text);
	log_info("exec: '%s' (pid %d) %s",
		 text_printable(program->command, quoted), program->pid, text);
	if (has_failed && !program->is_hung_up)
		snprintf(program->failure, sizeof(program->failure),
			 "the program %.80s", text);
}

/* Leaves it a zombie, so that its group can be killed without a mistake. */
static void program_look(struct program *program, int flags)
{
	siginfo_t info = {0};

	if (program->has_exited)
		return;
	if (waitid(P_PID, (id_t)program->pid, &info,
		   WEXITED | WNOWAIT | flags) < 0) {
		/* Somebody has set SIGCHLD to be ignored: it is gone. */
		program->has_exited = errno == ECHILD;
		return;
	}
	if (info.si_pid == 0)
		return;
	program->has_exited = true;
	note_status(program, &info);
}

static void program_reap(struct program *program)
{
	waitid(P_PID, (id_t)program->pid, &(siginfo_t){0}, WEXITED | WNOHANG);
	TAILQ_REMOVE(&program->programs->list, program, link);
	program_free(program);
}

static void program_look_again(struct program *program)
{
	program_look(program, WNOHANG);
	if (!program->has_exited || program->is_told)
		return;
	program->is_told = eventfd_write(program->exited_fd, 1) == 0;
	/* Whoever waits for it has nothing else to wake up by. */
	if (!program->is_told)
		loop_start_timer(program->programs->look_again, TELL_AGAIN_MS);
	/* Its group has had its time already. */
	if (program->is_released &&
	    !event_pending(program->kill_timer, EV_TIMEOUT, NULL))
		program_reap(program);
}

/* One signal may stand for several; a pidfd is unknown to valgrind 3.19. */
static void child_ended(evutil_socket_t number, short what, void *arg)
{
	struct programs *programs = arg;
	struct program *program, *next;

	for (program = TAILQ_FIRST(&programs->list); program; program = next) {
		next = TAILQ_NEXT(program, link);
		program_look_again(program);
	}
}

/* False if it may not be killed: sudo(8) makes it another user's. */
static bool kill_group(const struct program *program)
{
	char quoted[TEXT_QUOTED_BYTES];

	kill(-program->pid, SIGKILL);
	if (program->has_exited || kill(program->pid, SIGKILL) == 0 ||
	    errno != EPERM)
		return true;
	log_warning("exec: '%s' (pid %d) runs as another user and cannot be "
		    "killed; it is left to itself",
		    text_printable(program->command, quoted), program->pid);
	return false;
}

static void program_kill(evutil_socket_t fd, short what, void *arg)
{
	struct program *program = arg;

	kill_group(program);
	if (program->is_released && program->has_exited)
		program_reap(program);
}

void program_hang_up(struct program *program)
{
	if (program->is_hung_up)
		return;
	program->is_hung_up = true;
	if (!program->has_terminal) {
		kill(-program->pid, SIGHUP);
		/* What is stopped would not notice. */
		kill(-program->pid, SIGCONT);
	}
	if (loop_start_timer(program->kill_timer, KILL_MS))
		event_active(program->kill_timer, EV_TIMEOUT, 0);
}

void program_release(struct program *program)
{
	if (!program)
		return;
	program->is_released = true;
	program_hang_up(program);
	if (program->has_exited &&
	    !event_pending(program->kill_timer, EV_TIMEOUT, NULL))
		program_reap(program);
}

int programs_init(struct programs *programs, struct loop *loop)
{
	programs->loop = loop;
	TAILQ_INIT(&programs->list);
	programs->child_ended = evsignal_new(loop->base, SIGCHLD, child_ended,
					     programs);
	programs->look_again = evtimer_new(loop->base, child_ended, programs);
	return programs->child_ended && programs->look_again &&
			       event_add(programs->child_ended, NULL) == 0
		       ? 0
		       : -ENOMEM;
}

void programs_clear(struct programs *programs)
{
	struct program *program;

	while ((program = TAILQ_FIRST(&programs->list))) {
		program_look(program, kill_group(program) ? 0 : WNOHANG);
		program_reap(program);
	}
	if (programs->child_ended)
		event_free(programs->child_ended);
	if (programs->look_again)
		event_free(programs->look_again);
	programs->child_ended = programs->look_again = NULL;
}

/* ---- its start ------------------------------------------------------------ */

/* Not for whoever it runs: they are about this process and its terminal. */
static const char *const withheld[] = {
	"TERM=",
	"COLUMNS=",
	"LINES=",
	"NOTIFY_SOCKET=",
	"LISTEN_PID=",
	"LISTEN_FDS=",
	"LISTEN_FDNAMES=",
	"WATCHDOG_PID=",
	"WATCHDOG_USEC=",
	"JOURNAL_STREAM=",
	NULL,
};

static bool is_withheld(const char *variable)
{
	for (const char *const *name = withheld; *name; name++)
		if (strncmp(variable, *name, strlen(*name)) == 0)
			return true;
	return false;
}

/* An array that borrows its strings; NULL without memory. */
static char **make_environment(bool has_terminal)
{
	static char dumb[] = "TERM=dumb";
	char **made, **to;
	size_t count = 0;

	while (environ && environ[count])
		count++;
	to = made = calloc(count + 2, sizeof(*made));
	if (!made)
		return NULL;
	for (size_t i = 0; i < count; i++)
		if (!is_withheld(environ[i]))
			*to++ = environ[i];
	/* Nobody knows what is at the other end. */
	if (has_terminal)
		*to = dumb;
	return made;
}

static int set_files(posix_spawn_file_actions_t *actions,
		     const struct program_files *files)
{
	int code;

	if (files->tty) {
		/* A session's leader gets it as its controlling terminal. */
		code = posix_spawn_file_actions_addopen(actions, 0, files->tty,
							O_RDWR, 0);
		if (!code)
			code = posix_spawn_file_actions_adddup2(actions, 0, 1);
		if (!code)
			code = posix_spawn_file_actions_adddup2(actions, 0, 2);
	} else {
		code = posix_spawn_file_actions_adddup2(actions,
							files->input_fd, 0);
		if (!code)
			code = posix_spawn_file_actions_adddup2(
				actions, files->output_fd, 1);
	}
	if (!code)
		code = posix_spawn_file_actions_addclosefrom_np(actions, 3);
	return code;
}

static int set_attributes(posix_spawnattr_t *attributes)
{
	sigset_t all, none;
	int code;

	sigfillset(&all);
	sigemptyset(&none);
	code = posix_spawnattr_setsigdefault(attributes, &all);
	if (!code)
		code = posix_spawnattr_setsigmask(attributes, &none);
	if (!code)
		code = posix_spawnattr_setflags(
			attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF |
					    POSIX_SPAWN_SETSIGMASK);
	return code;
}

/* For the shell: "exec" where that is what a person means. NULL: no memory. */
static char *make_script(const char *command)
{
	bool is_simple = command[0] == '/' && !strpbrk(command, ";&|\n");
	char *script;

	return asprintf(&script, "%s%s", is_simple ? "exec " : "", command) < 0
		       ? NULL
		       : script;
}

/* 0 or -errno. */
static int spawn(struct program *program, const struct program_files *files)
{
	static char shell[] = "/bin/sh", name[] = "sh", option[] = "-c";
	char *script = make_script(program->command);
	char *arguments[] = {name, option, script, NULL};
	char **environment = make_environment(files->tty != NULL);
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int code;

	if (!environment || !script) {
		code = ENOMEM;
		goto free_strings;
	}
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	code = set_files(&actions, files);
	if (!code)
		code = set_attributes(&attributes);
	if (!code)
		code = posix_spawn(&program->pid, shell, &actions, &attributes,
				   arguments, environment);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);

free_strings:
	free(environment);
	free(script);
	return -code;
}

struct program *program_start(struct programs *programs, const char *command,
			      const struct program_files *files,
			      struct error *error)
{
	struct program *program = calloc(1, sizeof(*program));
	int code = -ENOMEM;

	if (!program)
		goto fail;
	program->programs = programs;
	program->exited_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	program->has_terminal = files->tty != NULL;
	if (program->exited_fd < 0) {
		code = -errno;
		goto free_program;
	}
	program->command = strdup(command);
	program->kill_timer = evtimer_new(programs->loop->base, program_kill,
					  program);
	if (!program->command || !program->kill_timer)
		goto free_program;
	code = spawn(program, files);
	if (code < 0)
		goto free_program;
	TAILQ_INSERT_TAIL(&programs->list, program, link);
	return program;

free_program:
	program_free(program);
fail:
	error_set(error, code, "cannot start /bin/sh: %s", strerror(-code));
	errno = -code;
	return NULL;
}

bool program_has_exited(const struct program *program)
{
	return program->has_exited;
}

const char *program_failure(const struct program *program)
{
	return program->failure[0] ? program->failure : NULL;
}

int program_fd(const struct program *program)
{
	return program->exited_fd;
}
