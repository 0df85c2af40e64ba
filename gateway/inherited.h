/* SPDX-License-Identifier: MIT */
/*
 * A descriptor that this program was started with, read or written without
 * waiting. Others share it (the shell, programs before and after this one), and
 * O_NONBLOCK belongs to the open file that they share: it is never set.
 *
 * Knows the sorts of descriptors there are; does not know what they are for.
 */
#ifndef BTGATE_INHERITED_H
#define BTGATE_INHERITED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum inherited_way {
	INHERITED_WAY_CAREFUL, /* looked at first, and written a bit at a time */
	INHERITED_WAY_OWN, /* a terminal or pipe, opened anew for us alone */
	INHERITED_WAY_SOCKET, /* asked not to wait at each call */
	INHERITED_WAY_DIRECT, /* never waits: a file, /dev/zero */
};

struct inherited {
	enum inherited_way way;
	int fd; /* to read or write */
	int watch_fd; /* to watch for when to try; never -1 while open */
	bool is_tty;
	bool is_pipe;
	bool is_null; /* /dev/null: reading it says at once that it ended */
};

/*
 * Find out how to deal with @fd, which stays the caller's, for reading
 * (O_RDONLY) or writing (O_WRONLY). 0 or -errno when descriptors are short.
 */
int inherited_open(struct inherited *inherited, int fd, int direction);
/* @fd itself stays open. */
void inherited_close(struct inherited *inherited);

/* As read(2) and write(2), but -errno; -EAGAIN when it would have to wait. */
ssize_t inherited_read(struct inherited *inherited, void *buffer, size_t bytes);
ssize_t inherited_write(struct inherited *inherited, const void *buffer,
			size_t bytes);

#endif
