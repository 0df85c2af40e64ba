/* SPDX-License-Identifier: MIT */
/*
 * A sentence for the person, carried up with an error code.
 *
 * Whoever finds a problem describes it here and returns; whoever handles it
 * adds the place (file:line, route) and logs it. Nothing in here logs.
 */
#ifndef BTGATE_ERROR_H
#define BTGATE_ERROR_H

#define ERROR_TEXT_BYTES 320

struct error {
	char text[ERROR_TEXT_BYTES]; /* one line, no newline; "" if unset */
};

/*
 * Set the text (cut to fit) and return @code, so that a caller can write
 * `return error_set(error, -EINVAL, "...")`. @error may be NULL.
 */
int error_set(struct error *error, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Put "format: " in front of what the text says already. Returns @code. */
int error_prefix(struct error *error, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
