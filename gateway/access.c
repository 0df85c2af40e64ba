/* SPDX-License-Identifier: MIT */
#include "access.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "address_path.h"
#include "capability.h"
#include "error.h"

/* A number below 2^32 - 1, which chown(2) takes for "unchanged". */
static bool is_id(const char *text, unsigned int *id)
{
	unsigned long value;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || value >= ACCESS_ID_ANY)
		return false;
	*id = (unsigned int)value;
	return true;
}

static int lookup_failed(const char *what, const char *name, int code,
			 struct error *error)
{
	/* getpwnam(3): "not found" shows as 0, ENOENT, ESRCH, EBADF, EPERM. */
	if (code == EIO || code == EMFILE || code == ENFILE || code == ENOMEM)
		return error_set(error, -code, "cannot look up %s '%s': %s",
				 what, name, strerror(code));
	/* What is all digits is too large, and cannot be made. */
	if (!name[strspn(name, "0123456789")])
		return error_set(error, -EINVAL, "%s '%s' does not exist", what,
				 name);
	return error_set(error, -EINVAL,
			 "%s '%s' does not exist; make it with 'sudo add%s "
			 "--system %s', or write another",
			 what, name, what, name);
}

static int find_user(const char *name, uid_t *uid, struct error *error)
{
	struct passwd *user;

	/* As chown(1) does: a name of digits is a name first. */
	errno = 0;
	user = getpwnam(name);
	if (user)
		*uid = user->pw_uid;
	else if (!is_id(name, uid))
		return lookup_failed("user", name, errno, error);
	return 0;
}

static int find_group(const char *name, gid_t *gid, struct error *error)
{
	struct group *group;

	errno = 0;
	group = getgrnam(name);
	if (group)
		*gid = group->gr_gid;
	else if (!is_id(name, gid))
		return lookup_failed("group", name, errno, error);
	return 0;
}

int access_find(struct access *access, const struct address_access *wanted,
		mode_t mode, struct error *error)
{
	int code = 0;

	*access = (struct access){
		.mode = wanted->mode ? wanted->mode : mode,
		.uid = ACCESS_ID_ANY,
		.gid = ACCESS_ID_ANY,
	};
	if (wanted->group) {
		snprintf(access->group, sizeof(access->group), "%s",
			 wanted->group);
		code = find_group(wanted->group, &access->gid, error);
	}
	if (code == 0 && wanted->owner) {
		snprintf(access->owner, sizeof(access->owner), "%s",
			 wanted->owner);
		code = find_user(wanted->owner, &access->uid, error);
	}
	return code;
}

static int may_not_set_owner(const char *path, const struct access *access,
			     struct error *error)
{
	return error_set(error, -EPERM,
			 "cannot give %s to user '%s': the gateway is another "
			 "user and has no CAP_CHOWN; leave owner= out, or use "
			 "group=",
			 path, access->owner);
}

static int may_not_set_group(const char *path, const struct access *access,
			     struct error *error)
{
	const struct passwd *user = getpwuid(geteuid());

	return error_set(error, -EPERM,
			 "cannot give %s to group '%s': the gateway is not a "
			 "member of it and has no CAP_CHOWN; 'sudo adduser %s "
			 "%s' and log in again, or restart the service; or "
			 "leave group= out",
			 path, access->group, user ? user->pw_name : "$USER",
			 access->group);
}

static int set_owner(const char *path, const struct access *access,
		     struct error *error)
{
	int code;

	if (lchown(path, access->uid, ACCESS_ID_ANY) == 0)
		return 0;
	code = -errno;
	if (code == -EPERM)
		return may_not_set_owner(path, access, error);
	return error_set(error, code, "cannot give %s to user '%s': %s", path,
			 access->owner, strerror(-code));
}

static int set_group(const char *path, const struct access *access,
		     struct error *error)
{
	int code;

	if (lchown(path, ACCESS_ID_ANY, access->gid) == 0)
		return 0;
	code = -errno;
	if (code == -EPERM)
		return may_not_set_group(path, access, error);
	return error_set(error, code, "cannot give %s to group '%s': %s", path,
			 access->group, strerror(-code));
}

int access_check(const char *path, const struct access *access,
		 struct error *error)
{
	if (capability_has(CAP_CHOWN))
		return 0;
	if (access->gid != ACCESS_ID_ANY && access->gid != getegid() &&
	    !group_member(access->gid))
		return may_not_set_group(path, access, error);
	if (access->uid != ACCESS_ID_ANY && access->uid != geteuid())
		return may_not_set_owner(path, access, error);
	return 0;
}

int access_apply(const char *path, const struct access *access,
		 struct error *error)
{
	int code = 0;

	/* The group first: whoever gives the file away can do no more to it. */
	if (access->gid != ACCESS_ID_ANY)
		code = set_group(path, access, error);
	if (code == 0 && access->mode &&
	    fchmodat(AT_FDCWD, path, access->mode, AT_SYMLINK_NOFOLLOW) < 0) {
		code = -errno;
		error_set(error, code, "cannot give %s the mode %04o: %s", path,
			  (unsigned int)access->mode, strerror(-code));
	}
	if (code == 0 && access->uid != ACCESS_ID_ANY)
		code = set_owner(path, access, error);
	return code;
}
