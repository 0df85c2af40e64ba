/* SPDX-License-Identifier: MIT */
/*
 * Paths that a route names, and who may use what we make there: owner, group
 * and mode, as text.
 *
 * Looks at text only: whether a path or an account exists is known when it is
 * opened (access.h). Parsers as in address.h.
 */
#ifndef BTGATE_ADDRESS_PATH_H
#define BTGATE_ADDRESS_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct error;

/* Owner and mode of a path that we make; NULL and 0 where nothing is asked. */
struct address_access {
	char *owner;
	char *group;
	mode_t mode; /* 0: not given */
};

/*
 * The absolute path in @text, whose quotes are taken off in place; @kind is the
 * endpoint's, for the messages. On success the caller owns *@out.
 */
int address_path_parse(char *text, const char *kind, size_t bytes_max,
		       char **out, struct error *error);
/* Whether two parsed paths are one, links aside. */
bool address_path_is_same(const char *a, const char *b);
/* Behind a path: where the link to the next pty of a listener is made. */
#define ADDRESS_PATH_NEXT ".next"

/* Whether @other is PATH.next. */
bool address_path_is_next(const char *path, const char *other);
/* A number, not 0, that is the same for both of them in either case. */
uint32_t address_path_place(const char *path);

/* Octal, 0001 to 0777. */
int address_mode_parse(const char *value, mode_t *out, struct error *error);
/*
 * A name or number; @what ("user", "group") is for the message. On success the
 * caller owns *@out.
 */
int address_account_parse(const char *value, const char *what, char **out,
			  struct error *error);
/* Free what @access owns. */
void address_access_clear(struct address_access *access);

#endif
