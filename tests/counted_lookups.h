/* SPDX-License-Identifier: MIT */
/*
 * getpwnam(3), counted: names may live far away, and are to be looked up once.
 * The linker takes this definition, so it is for one file of a suite.
 */
#ifndef BTGATE_TESTS_COUNTED_LOOKUPS_H
#define BTGATE_TESTS_COUNTED_LOOKUPS_H

#include <errno.h>
#include <pwd.h>
#include <stddef.h>

static unsigned int lookups;

struct passwd *getpwnam(const char *name)
{
	static struct passwd entry;
	static char buffer[4096];
	struct passwd *found = NULL;

	lookups++;
	errno = getpwnam_r(name, &entry, buffer, sizeof(buffer), &found);
	return found;
}

#endif
