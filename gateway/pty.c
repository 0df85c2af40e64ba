/* SPDX-License-Identifier: MIT */
#include "pty.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "error.h"

/* More than a pty holds: a program that goes on writing does not hold us up. */
#define DROP_BYTES_MAX (1024 * 1024)
/* What one read(2) gives at most (n_tty_read; seen on 6.12 and 6.18). */
#define TTY_READ_BYTES_MAX 4095

void pty_init(struct pty *pty)
{
	memset(pty, 0, sizeof(*pty));
	pty->master_fd = pty->slave_fd = -1;
}

int pty_hold_slave(struct pty *pty)
{
	/* O_RDONLY: ioctls need no more. */
	pty->slave_fd = open(pty->slave,
			     O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	return pty->slave_fd < 0 ? -errno : 0;
}

void pty_let_slave_go(struct pty *pty)
{
	if (pty->slave_fd >= 0)
		close(pty->slave_fd);
	pty->slave_fd = -1;
}

int pty_open(struct pty *pty, struct error *error)
{
	int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	int code;

	pty_init(pty);
	pty->master_fd = fd;
	if (fd < 0)
		return error_set(error, -errno, "cannot make a pty: %s%s",
				 strerror(errno),
				 errno == ENOSPC ? "; raise kernel.pty.max"
						 : "");
	if (grantpt(fd) < 0 || unlockpt(fd) < 0 ||
	    ptsname_r(fd, pty->slave, sizeof(pty->slave)) != 0)
		return error_set(error, -errno,
				 "cannot make a pty ready: %s; is devpts "
				 "mounted on /dev/pts?",
				 strerror(errno));
	code = pty_hold_slave(pty);
	if (code == 0 && tcgetattr(pty->slave_fd, &pty->raw) < 0)
		code = -errno;
	if (code < 0)
		return error_set(error, code, "cannot open %s: %s", pty->slave,
				 strerror(-code));
	cfmakeraw(&pty->raw);
	pty->raw.c_cflag |= CLOCAL | CREAD;
	pty->raw.c_cc[VMIN] = 1;
	pty->raw.c_cc[VTIME] = 0;
	return 0;
}

void pty_close(struct pty *pty)
{
	pty_let_slave_go(pty);
	if (pty->master_fd >= 0)
		close(pty->master_fd);
	pty->master_fd = -1;
}

int pty_make_raw(const struct pty *pty)
{
	int fd = pty->slave_fd, discipline = 0, code;

	/* A pppd or slattach that was killed. */
	if (ioctl(fd, TIOCGETD, &discipline) == 0 && discipline != N_TTY) {
		discipline = N_TTY;
		ioctl(fd, TIOCSETD, &discipline);
	}
	ioctl(fd, TIOCNXCL);
	/* Without IXON the kernel lifts a stop that a ^S made... */
	do
		code = tcsetattr(fd, TCSANOW, &pty->raw) < 0 ? -errno : 0;
	while (code == -EINTR);
	/* ...and this one a program's own TCOOFF. */
	tcflow(fd, TCOON);
	return code;
}

ssize_t pty_read(int master_fd, void *buffer, size_t bytes)
{
	size_t done = 0;
	ssize_t got;

	do {
		got = read(master_fd, (uint8_t *)buffer + done, bytes - done);
		if (got > 0)
			done += (size_t)got;
	} while (got == TTY_READ_BYTES_MAX && done < bytes);
	return done ? (ssize_t)done : got;
}

bool pty_is_hung_up(int fd)
{
	struct pollfd hang_up = {.fd = fd};

	return poll(&hang_up, 1, 0) == 1 && hang_up.revents & POLLHUP;
}

size_t pty_unread_bytes(const struct pty *pty)
{
	struct pollfd readable = {.fd = pty->slave_fd, .events = POLLIN};
	int bytes = 0;

	if (pty->slave_fd < 0 || poll(&readable, 1, 0) != 1 ||
	    readable.revents != POLLIN)
		return 0;
	if (ioctl(pty->slave_fd, FIONREAD, &bytes) < 0 || bytes <= 0)
		return 1;
	return (size_t)bytes;
}

static size_t drop(int fd)
{
	char buffer[4096];
	size_t total = 0;
	ssize_t got;

	while (total < DROP_BYTES_MAX &&
	       (got = read(fd, buffer, sizeof(buffer))) > 0)
		total += (size_t)got;
	return total;
}

size_t pty_drop_unread(const struct pty *pty)
{
	if (pty->slave_fd < 0)
		return 0;
	/* A program that asked for lines may have got half of one. */
	pty_make_raw(pty);
	return drop(pty->slave_fd);
}

size_t pty_drop_unheard(const struct pty *pty)
{
	return drop(pty->master_fd);
}
