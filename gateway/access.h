/* SPDX-License-Identifier: MIT */
/*
 * The owner, group and mode of a path that the gateway made, as a route asks
 * for them: sockets and the slaves of ptys.
 *
 * Knows users, groups and permissions; does not know what the path is.
 */
#ifndef BTGATE_ACCESS_H
#define BTGATE_ACCESS_H

struct address_access;
struct error;

/*
 * Give @path what @access asks for and leave alone what it does not. Owner and
 * group are names or numbers. A symbolic link is not followed. 0, or -errno
 * with a sentence; then some of it may have been done.
 *
 * Looks names up (getpwnam), which may block where they live on a network: for
 * opening, not for sessions.
 */
int access_apply(const char *path, const struct address_access *access,
		 struct error *error);

#endif
