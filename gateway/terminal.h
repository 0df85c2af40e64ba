/* SPDX-License-Identifier: MIT */
/*
 * The program's own standard input and output as a stream, whatever each of
 * them is: terminal, pipe, socket, file, /dev/null.
 *
 * Where both are terminals, every key goes out as it is, but for an escape:
 * Ctrl-] and then q or '.' leaves, z suspends, ? shows this, Ctrl-] once more
 * sends one. The modes are given back whenever no stream is open, while it is
 * suspended, and however the program ends (tty.h).
 *
 * Knows what a person types; does not know what it is joined to.
 */
#ifndef BTGATE_TERMINAL_H
#define BTGATE_TERMINAL_H

#include <stdbool.h>

struct error;
struct loop;
struct stream;
struct terminal;

enum terminal_mode {
	TERMINAL_MODE_KEYS, /* TTY_MODE_KEYS, where both are terminals */
	TERMINAL_MODE_RAW, /* TTY_MODE_RAW, where both are terminals */
	TERMINAL_MODE_LINES, /* as the terminal is */
};

/*
 * It is time to leave: by the escape, or because nobody reads the output any
 * more (terminal_failure). Comes from the loop, maybe more than once.
 */
typedef void (*terminal_leave_cb)(void *arg);

/* One a process. NULL with @error set. */
struct terminal *terminal_new(struct loop *loop, enum terminal_mode mode,
			      terminal_leave_cb leave, void *arg,
			      struct error *error);
/* Its stream must have been closed. NULL is legal. */
void terminal_free(struct terminal *terminal);

/* A person is there: standard input is a terminal. */
bool terminal_is_interactive(const struct terminal *terminal);
/* The escape works: every key is passed on while a stream is open. */
bool terminal_has_escape(const struct terminal *terminal);
/* Standard input is /dev/null, or was closed: there was never any. */
bool terminal_has_no_input(const struct terminal *terminal);
/* The end of input was read, or terminal_end_input called. */
bool terminal_is_input_over(const struct terminal *terminal);

/*
 * The stream, one at a time; several, one after the other, go on reading where
 * the last one stopped. After the end of input the next ones are silent: they
 * neither read nor end. NULL with errno set.
 */
struct stream *terminal_stream_new(struct terminal *terminal);

/*
 * What is typed now is for nobody, up to the end of the line, or until nothing
 * more of it comes for a second.
 */
void terminal_drop_line(struct terminal *terminal);
/* Read no more; what has not been read stays for who comes after us. */
void terminal_end_input(struct terminal *terminal);
/* Give the modes back now; the stream can still be written to. */
void terminal_restore(struct terminal *terminal);

/* What went wrong with either, as a sentence; NULL: nothing. */
const char *terminal_failure(const struct terminal *terminal);

#endif
