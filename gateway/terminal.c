/* SPDX-License-Identifier: MIT */
#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/event.h>

#include "endpoint.h"
#include "error.h"
#include "inherited.h"
#include "log.h"
#include "loop.h"
#include "tty.h"

#define ESCAPE 0x1d /* Ctrl-], as in telnet */
#define CTRL_Z 0x1a
/* Nothing tells that a job in the background comes to the fore. */
#define FOREGROUND_POLL_MS 300
/* Between two keys of one word. */
#define DROP_MS 1000

struct terminal {
	struct loop *loop;
	enum terminal_mode mode;
	struct inherited input;
	struct inherited output;
	int silent_fd; /* never readable */
	struct stream *stream;
	bool is_input_over;
	bool is_raw; /* the modes are to be changed */
	bool is_escaping; /* the last key was the escape */
	uint64_t drop_until_ms; /* drop the line; 0: do not */
	struct event *suspended; /* SIGTSTP */
	struct event *continued; /* SIGCONT */
	struct event *foreground; /* a timer */
	struct event *output_gone;
	struct error failure;
	struct loop_task leave_task;
	terminal_leave_cb leave;
	void *arg;
};

/* ---- modes --------------------------------------------------------------- */

static void enter(struct terminal *terminal)
{
	int code = tty_enter(STDIN_FILENO, terminal->mode == TERMINAL_MODE_RAW
						   ? TTY_MODE_RAW
						   : TTY_MODE_KEYS);

	event_del(terminal->foreground);
	if (code == -EAGAIN)
		loop_start_timer(terminal->foreground, FOREGROUND_POLL_MS);
	else if (code)
		log_warning("cannot change the terminal's modes: %s",
			    strerror(-code));
}

static void look_for_foreground(evutil_socket_t fd, short what, void *arg)
{
	enter(arg);
}

/* Stop as if nobody had caught it, with the terminal as the shell wants it. */
static void suspend_signal(evutil_socket_t number, short what, void *arg)
{
	struct terminal *terminal = arg;
	struct sigaction ours, plain = {.sa_handler = SIG_DFL};

	tty_leave();
	sigaction(SIGTSTP, &plain, &ours);
	raise(SIGTSTP);
	/* Continued. */
	sigaction(SIGTSTP, &ours, NULL);
	if (terminal->is_raw)
		enter(terminal);
}

/* After SIGSTOP, or in the foreground again: the shell has set its own. */
static void continue_signal(evutil_socket_t number, short what, void *arg)
{
	struct terminal *terminal = arg;

	if (terminal->is_raw)
		enter(terminal);
}

void terminal_restore(struct terminal *terminal)
{
	terminal->is_raw = false;
	if (terminal->foreground)
		event_del(terminal->foreground);
	tty_leave();
}

/* ---- the escape ------------------------------------------------------------ */

static void run_leave(void *arg)
{
	struct terminal *terminal = arg;

	terminal->leave(terminal->arg);
}

static void show_escapes(void)
{
	log_say("Ctrl-] and then: q or . leaves, z suspends, Ctrl-] sends one, "
		"? shows this");
}

/* The key behind the escape. False if it was none of ours. */
static bool take_escape(struct terminal *terminal, uint8_t key)
{
	switch (key) {
	case 'q':
	case '.':
		terminal->is_input_over = true;
		/* While the rest drains Ctrl-C is to work again. */
		terminal_restore(terminal);
		loop_defer(terminal->loop, &terminal->leave_task);
		return true;
	case 'z':
	case CTRL_Z:
		/* The whole job; it comes back as suspend_signal. */
		kill(0, SIGTSTP);
		return true;
	case '?':
		show_escapes();
		return true;
	default:
		return false;
	}
}

/*
 * Take the escapes out of @bytes at @from, which is one behind @to: an escape
 * that was held back and was none goes in front. How much is left at @to.
 */
static size_t take_escapes(struct terminal *terminal, uint8_t *to,
			   const uint8_t *from, size_t bytes)
{
	size_t kept = 0;

	for (size_t i = 0; i < bytes && !terminal->is_input_over; i++) {
		uint8_t key = from[i];

		if (!terminal->is_escaping) {
			terminal->is_escaping = key == ESCAPE;
			if (!terminal->is_escaping)
				to[kept++] = key;
			continue;
		}
		terminal->is_escaping = false;
		if (take_escape(terminal, key))
			continue;
		to[kept++] = ESCAPE;
		if (key != ESCAPE)
			to[kept++] = key;
	}
	return kept;
}

/* ---- the stream ------------------------------------------------------------ */

struct terminal_stream {
	struct stream stream;
	struct terminal *terminal;
};

static struct terminal *terminal_of(struct stream *stream)
{
	return ((struct terminal_stream *)stream)->terminal;
}

static ssize_t read_keys(struct terminal *terminal, uint8_t *buffer,
			 size_t bytes)
{
	ssize_t got = inherited_read(&terminal->input, buffer + 1, bytes - 1);
	size_t kept;

	if (got <= 0)
		return got;
	kept = take_escapes(terminal, buffer, buffer + 1, (size_t)got);
	return kept ? (ssize_t)kept : -EAGAIN;
}

/* How much of @bytes is left, at @buffer. */
static size_t drop_line(struct terminal *terminal, uint8_t *buffer,
			size_t bytes)
{
	uint64_t now_ms = loop_now_ms();
	size_t dropped = 0;

	if (now_ms >= terminal->drop_until_ms) {
		terminal->drop_until_ms = 0;
		return bytes;
	}
	terminal->drop_until_ms = now_ms + DROP_MS;
	while (dropped < bytes && terminal->drop_until_ms) {
		if (buffer[dropped] == '\n' || buffer[dropped] == '\r')
			terminal->drop_until_ms = 0;
		dropped++;
	}
	memmove(buffer, buffer + dropped, bytes - dropped);
	return bytes - dropped;
}

static ssize_t terminal_read(struct stream *stream, void *buffer, size_t bytes)
{
	struct terminal *terminal = terminal_of(stream);
	ssize_t got;

	if (terminal->is_input_over)
		return -EAGAIN;
	if (terminal->is_raw)
		got = read_keys(terminal, buffer, bytes);
	else
		got = inherited_read(&terminal->input, buffer, bytes);
	if (got > 0 && terminal->drop_until_ms) {
		got = (ssize_t)drop_line(terminal, buffer, (size_t)got);
		return got ? got : -EAGAIN;
	}
	/* A terminal that was hung up, or is another session's by now. */
	if (got == -EIO && terminal->input.is_tty)
		got = 0;
	if (got == 0)
		terminal->is_input_over = true;
	else if (got < 0 && got != -EAGAIN)
		error_set(&terminal->failure, (int)got,
			  "cannot read standard input: %s",
			  strerror((int)-got));
	return got;
}

static int set_output_failure(struct terminal *terminal, int code)
{
	if (code == -EPIPE)
		return error_set(&terminal->failure, code,
				 "standard output was closed by its reader");
	return error_set(&terminal->failure, code,
			 "cannot write to standard output: %s",
			 strerror(-code));
}

static ssize_t terminal_write(struct stream *stream, const void *buffer,
			      size_t bytes)
{
	struct terminal *terminal = terminal_of(stream);
	ssize_t put = inherited_write(&terminal->output, buffer, bytes);

	if (put < 0 && put != -EAGAIN)
		set_output_failure(terminal, (int)put);
	return put;
}

/*
 * That nothing more comes is for who reads our output to see when we are gone:
 * others may have it open, and go on writing to it.
 */
static int terminal_shutdown_write(struct stream *stream)
{
	return 0;
}

static const char *terminal_end_reason(const struct stream *stream)
{
	return terminal_failure(
		((const struct terminal_stream *)stream)->terminal);
}

static void terminal_stream_close(struct stream *stream, enum stream_close how)
{
	struct terminal *terminal = terminal_of(stream);

	terminal_restore(terminal);
	terminal->stream = NULL;
	free(stream);
}

struct stream *terminal_stream_new(struct terminal *terminal)
{
	static const struct stream_ops ops = {
		.read = terminal_read,
		.write = terminal_write,
		.shutdown_write = terminal_shutdown_write,
		.end_reason = terminal_end_reason,
		.close = terminal_stream_close,
	};
	struct terminal_stream *self = calloc(1, sizeof(*self));

	if (!self)
		return NULL;
	self->stream.ops = &ops;
	self->stream.read_fd = terminal->is_input_over
				       ? terminal->silent_fd
				       : terminal->input.watch_fd;
	self->stream.write_fd = terminal->output.watch_fd;
	self->stream.peer = "standard input";
	self->terminal = terminal;
	terminal->stream = &self->stream;
	terminal->is_raw = terminal_has_escape(terminal) &&
			   !terminal->is_input_over;
	terminal->is_escaping = false;
	if (terminal->is_raw)
		enter(terminal);
	return &self->stream;
}

/* ---- the whole --------------------------------------------------------------- */

/*
 * A pipe that we write to never becomes readable: this is its reader closing
 * it (EPOLLERR), which would otherwise show at the next write only.
 */
static void output_is_gone(evutil_socket_t fd, short what, void *arg)
{
	struct terminal *terminal = arg;
	struct pollfd poller = {.fd = fd};

	event_del(terminal->output_gone);
	/* A FIFO that the shell opened for both has something to read. */
	if (poll(&poller, 1, 0) != 1 || !(poller.revents & POLLERR))
		return;
	set_output_failure(terminal, -EPIPE);
	loop_defer(terminal->loop, &terminal->leave_task);
}

/* One that is ignored, as nohup and sh's & do, stays ignored. */
static bool is_ignored(int number)
{
	struct sigaction action;

	return sigaction(number, NULL, &action) == 0 &&
	       action.sa_handler == SIG_IGN;
}

static int watch(struct terminal *terminal)
{
	struct event_base *base = terminal->loop->base;

	if (terminal->output.is_pipe) {
		terminal->output_gone = event_new(base,
						  terminal->output.watch_fd,
						  EV_READ | EV_PERSIST,
						  output_is_gone, terminal);
		if (!terminal->output_gone ||
		    event_add(terminal->output_gone, NULL))
			return -ENOMEM;
	}
	if (!terminal_has_escape(terminal))
		return 0;
	terminal->foreground = evtimer_new(base, look_for_foreground, terminal);
	terminal->continued = evsignal_new(base, SIGCONT, continue_signal,
					   terminal);
	if (!terminal->foreground || !terminal->continued ||
	    event_add(terminal->continued, NULL))
		return -ENOMEM;
	if (is_ignored(SIGTSTP))
		return 0;
	terminal->suspended = evsignal_new(base, SIGTSTP, suspend_signal,
					   terminal);
	if (!terminal->suspended || event_add(terminal->suspended, NULL))
		return -ENOMEM;
	return 0;
}

struct terminal *terminal_new(struct loop *loop, enum terminal_mode mode,
			      terminal_leave_cb leave, void *arg,
			      struct error *error)
{
	struct terminal *terminal = calloc(1, sizeof(*terminal));
	int code;

	if (!terminal) {
		error_set(error, -ENOMEM, "out of memory");
		return NULL;
	}
	terminal->loop = loop;
	terminal->mode = mode;
	terminal->leave_task = (struct loop_task){.run = run_leave,
						  .arg = terminal};
	terminal->leave = leave;
	terminal->arg = arg;
	terminal->silent_fd = -1;
	code = inherited_open(&terminal->input, STDIN_FILENO, O_RDONLY);
	if (!code)
		code = inherited_open(&terminal->output, STDOUT_FILENO,
				      O_WRONLY);
	if (!code)
		terminal->silent_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (!code && terminal->silent_fd < 0)
		code = -errno;
	if (!code)
		code = watch(terminal);
	if (!code)
		return terminal;
	error_set(error, code, "cannot use standard input and output: %s",
		  strerror(-code));
	terminal_free(terminal);
	return NULL;
}

void terminal_free(struct terminal *terminal)
{
	struct event *events[4];

	if (!terminal)
		return;
	tty_leave();
	loop_cancel(terminal->loop, &terminal->leave_task);
	events[0] = terminal->suspended;
	events[1] = terminal->continued;
	events[2] = terminal->foreground;
	events[3] = terminal->output_gone;
	for (int i = 0; i < 4; i++)
		if (events[i])
			event_free(events[i]);
	if (terminal->silent_fd >= 0)
		close(terminal->silent_fd);
	inherited_close(&terminal->input);
	inherited_close(&terminal->output);
	free(terminal);
}

bool terminal_is_interactive(const struct terminal *terminal)
{
	return terminal->input.is_tty;
}

bool terminal_has_escape(const struct terminal *terminal)
{
	return terminal->mode != TERMINAL_MODE_LINES &&
	       terminal->input.is_tty && terminal->output.is_tty;
}

bool terminal_has_no_input(const struct terminal *terminal)
{
	return terminal->input.is_null;
}

bool terminal_is_input_over(const struct terminal *terminal)
{
	return terminal->is_input_over;
}

void terminal_end_input(struct terminal *terminal)
{
	terminal->is_input_over = true;
}

void terminal_drop_line(struct terminal *terminal)
{
	terminal->drop_until_ms = loop_now_ms() + DROP_MS;
}

const char *terminal_failure(const struct terminal *terminal)
{
	return terminal->failure.text[0] ? terminal->failure.text : NULL;
}
