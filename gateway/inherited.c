/* SPDX-License-Identifier: MIT */
#include "inherited.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/*
 * What a terminal takes without waiting once poll() says that it takes
 * something: tty_poll() asks for 256 bytes of room (WAKEUP_CHARS).
 */
#define CAREFUL_BYTES_MAX 256

static bool is_device(const struct stat *status, unsigned int major_number,
		      unsigned int minor_number)
{
	return S_ISCHR(status->st_mode) &&
	       major(status->st_rdev) == major_number &&
	       minor(status->st_rdev) == minor_number;
}

/* epoll refuses what never waits (EPERM): files, /dev/null, /dev/zero. */
static bool is_pollable(int fd)
{
	struct epoll_event event = {.events = 0};
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	bool result = true;

	if (epoll_fd < 0)
		return true;
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		result = errno != EPERM && errno != EBADF;
	close(epoll_fd);
	return result;
}

/*
 * The same terminal or pipe with an open file of our own. -1 where that is not
 * to be had: it belongs to somebody else, as after su or setpriv, or nobody
 * reads the pipe any more.
 */
static int open_anew(int fd, int direction)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, direction | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static void choose_way(struct inherited *inherited, int fd, int direction,
		       const struct stat *status)
{
	if (S_ISSOCK(status->st_mode)) {
		inherited->way = INHERITED_WAY_SOCKET;
		return;
	}
	if (!is_pollable(fd)) {
		inherited->way = INHERITED_WAY_DIRECT;
		return;
	}
	inherited->way = INHERITED_WAY_CAREFUL;
	/* Opening ptmx anew would make another pty. */
	if (!inherited->is_pipe &&
	    (!inherited->is_tty || is_device(status, 5, 2)))
		return;
	fd = open_anew(fd, direction);
	if (fd < 0)
		return;
	inherited->way = INHERITED_WAY_OWN;
	inherited->fd = fd;
}

int inherited_open(struct inherited *inherited, int fd, int direction)
{
	struct stat status = {0};

	*inherited = (struct inherited){.fd = fd};
	if (fstat(fd, &status) == 0) {
		inherited->is_pipe = S_ISFIFO(status.st_mode);
		inherited->is_tty = isatty(fd);
		inherited->is_null = is_device(&status, 1, 3);
	}
	choose_way(inherited, fd, direction, &status);
	inherited->watch_fd = inherited->fd;
	/* Stands in for what is always ready. */
	if (inherited->way == INHERITED_WAY_DIRECT)
		inherited->watch_fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
	return inherited->watch_fd < 0 ? -errno : 0;
}

void inherited_close(struct inherited *inherited)
{
	if (inherited->way == INHERITED_WAY_OWN ||
	    inherited->way == INHERITED_WAY_DIRECT)
		close(inherited->watch_fd);
	inherited->fd = -1;
	inherited->watch_fd = -1;
}

static bool is_ready(int fd, short events)
{
	struct pollfd poller = {.fd = fd, .events = events};

	return poll(&poller, 1, 0) == 1;
}

ssize_t inherited_read(struct inherited *inherited, void *buffer, size_t bytes)
{
	ssize_t got;

	/* Where it was closed, one that cannot be read stands in for it. */
	if (inherited->is_null)
		return 0;
	if (inherited->way == INHERITED_WAY_CAREFUL &&
	    !is_ready(inherited->fd, POLLIN))
		return -EAGAIN;
	if (inherited->way == INHERITED_WAY_SOCKET)
		got = recv(inherited->fd, buffer, bytes, MSG_DONTWAIT);
	else
		got = read(inherited->fd, buffer, bytes);
	if (got < 0 && errno == EINTR)
		return -EAGAIN;
	return got < 0 ? -errno : got;
}

ssize_t inherited_write(struct inherited *inherited, const void *buffer,
			size_t bytes)
{
	size_t bytes_max = inherited->is_pipe ? PIPE_BUF : CAREFUL_BYTES_MAX;
	ssize_t put;

	if (inherited->way == INHERITED_WAY_CAREFUL) {
		if (!is_ready(inherited->fd, POLLOUT))
			return -EAGAIN;
		if (bytes > bytes_max)
			bytes = bytes_max;
	}
	if (inherited->way == INHERITED_WAY_SOCKET)
		put = send(inherited->fd, buffer, bytes,
			   MSG_DONTWAIT | MSG_NOSIGNAL);
	else
		put = write(inherited->fd, buffer, bytes);
	if (put < 0 && errno == EINTR)
		return -EAGAIN;
	return put < 0 ? -errno : put;
}
