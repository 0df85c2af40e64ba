/* SPDX-License-Identifier: MIT */
/*
 * A preload for programs under test: an allocation of their lives fails, and
 * those before and after it do not. A program is loaded once and has as many
 * lives as are asked for: before main it forks for each number that comes in at
 * the socket FAIL_MALLOC_SOCKET, which is of the allocation to fail, counted
 * from there. The answers are the life's process number, and in the end a
 * struct end.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct end {
	int status; /* of waitpid(2) */
	int has_failed; /* there was an allocation with that number */
};

static atomic_long left; /* allocations until one fails; 0: none does */
static atomic_int *has_failed; /* shared with whoever forks */

static int is_next(void)
{
	long before = left;

	while (before &&
	       !atomic_compare_exchange_weak(&left, &before, before - 1))
		;
	if (before != 1)
		return 0;
	*has_failed = 1;
	errno = ENOMEM;
	return 1;
}

__attribute__((constructor)) static void live(void)
{
	const char *text = getenv("FAIL_MALLOC_SOCKET");
	int socket = text ? atoi(text) : -1;
	struct end end;
	int number;

	if (!text)
		return;
	unsetenv("FAIL_MALLOC_SOCKET"); /* nor are its programs to take it */
	has_failed = mmap(NULL, sizeof(*has_failed), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (has_failed == MAP_FAILED)
		abort();
	while (recv(socket, &number, sizeof(number), 0) == sizeof(number)) {
		pid_t pid = fork();

		if (pid == 0) {
			close(socket);
			left = number;
			return;
		}
		send(socket, &pid, sizeof(pid), 0);
		waitpid(pid, &end.status, 0);
		end.has_failed = atomic_exchange(has_failed, 0);
		send(socket, &end, sizeof(end), 0);
	}
	_exit(0);
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
