/* SPDX-License-Identifier: MIT */
/*
 * A preload for programs under test: the allocation with the number in
 * FAIL_MALLOC_AT fails, counted from the start, and those before and after it do
 * not. Says in the file FAIL_MALLOC_TOLD that it did.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_long left = -1; /* allocations that still succeed; -1: not read */

static int is_next(void)
{
	long before;

	if (left < 0) {
		const char *at = getenv("FAIL_MALLOC_AT");

		left = at ? strtol(at, NULL, 10) : 0;
	}
	before = atomic_fetch_sub(&left, left > 0);
	if (before != 1)
		return 0;
	if (getenv("FAIL_MALLOC_TOLD"))
		close(open(getenv("FAIL_MALLOC_TOLD"), O_WRONLY | O_CREAT,
			   0600));
	errno = ENOMEM;
	return 1;
}

void *malloc(size_t bytes)
{
	static void *(*real)(size_t);

	if (!real)
		real = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
	return is_next() ? NULL : real(bytes);
}

void *realloc(void *old, size_t bytes)
{
	static void *(*real)(void *, size_t);

	if (!real)
		real = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
	return is_next() ? NULL : real(old, bytes);
}

/* dlsym(3) itself may call it, before there is anything to be called. */
void *calloc(size_t count, size_t bytes)
{
	static void *(*real)(size_t, size_t);
	static char first[4096];
	static atomic_int is_looking;

	if (!real) {
		if (atomic_exchange(&is_looking, 1))
			return first;
		real = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
	}
	return is_next() ? NULL : real(count, bytes);
}
