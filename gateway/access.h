/* SPDX-License-Identifier: MIT */
/*
 * The owner, group and mode of a path that the gateway made, as a route asks
 * for them: sockets and the slaves of ptys.
 *
 * Knows users, groups and permissions; does not know what the path is.
 */
#ifndef BTGATE_ACCESS_H
#define BTGATE_ACCESS_H

#include <sys/types.h>

struct address_access;
struct error;

/* As much of a name as a message needs. */
#define ACCESS_NAME_BYTES 65

/* What a route asks for, its names looked up. Owns nothing. */
struct access {
	mode_t mode; /* 0: as it is */
	uid_t uid; /* ACCESS_ID_ANY: as it is */
	gid_t gid;
	char owner[ACCESS_NAME_BYTES];
	char group[ACCESS_NAME_BYTES];
};

#define ACCESS_ID_ANY ((unsigned int)-1) /* chown(2) */

/*
 * Look owner and group up, which are names or numbers. @mode is for where
 * @wanted says none; 0: none either. 0, or -errno with a sentence.
 *
 * getpwnam(3) and getgrnam(3) may block where names live on a network: once,
 * when an endpoint is opened.
 */
int access_find(struct access *access, const struct address_access *wanted,
		mode_t mode, struct error *error);
/*
 * Whether this process may give a path that it makes to the owner and the group of
 * @access: 0, or -EPERM with the sentence of access_apply. Nothing is touched.
 */
int access_check(const char *path, const struct access *access,
		 struct error *error);
/*
 * Give @path what @access says and leave alone what it does not. A symbolic
 * link is not followed. 0, or -errno with a sentence; then some of it may have
 * been done.
 */
int access_apply(const char *path, const struct access *access,
		 struct error *error);

#endif
