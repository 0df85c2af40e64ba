/* SPDX-License-Identifier: MIT */
#include "serial_port.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include "address_endpoint.h"
#include "address_serial.h"
#include "error.h"
#include "holder.h"
#include "loop.h"

/* O_NONBLOCK: also without a carrier (tty_port_block_til_ready). */
#define OPEN_FLAGS (O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)
/* UNIX98_PTY_SLAVE_MAJOR and _COUNT (include/uapi/linux/major.h). */
#define PTY_MAJOR 136
#define PTY_MAJORS 8

struct serial_port {
	struct loop *loop;
	int fd;
	char *path;
	bool has_flow_control;
};

/* ---- opening ---------------------------------------------------------------- */

static void explain_access(const char *path, int code, struct error *error)
{
	struct group *group;
	struct stat st;

	if (stat(path, &st) < 0 || !(st.st_mode & S_IWGRP) ||
	    !(group = getgrgid(st.st_gid))) {
		error_set(error, code,
			  "cannot open %s: %s; give the gateway's "
			  "user the right to use it",
			  path, strerror(-code));
		return;
	}
	error_set(error, code,
		  "cannot open %s: %s; add the gateway's user to the group "
		  "'%s'",
		  path, strerror(-code), group->gr_name);
}

/*
 * open(2) of a device whose mode is not for us is EACCES; this is the list of
 * devices of a service or a container (security/device_cgroup.c).
 */
static void explain_filter(const char *path, int code, struct error *error)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		explain_access(path, code, error);
		return;
	}
	error_set(error, code,
		  "%s is not among the devices that this process may open: "
		  "for a service add DeviceAllow=char-%u rw to its [Service] "
		  "('systemctl edit btgate'), and restart it; start a "
		  "container with --device %s",
		  path, major(st.st_rdev), path);
}

/* Returns @code, or what is meant by it: gone is gone. */
static int explain(const char *path, int code, struct error *error)
{
	char holder[HOLDER_TEXT_BYTES];

	switch (code) {
	case -ENOENT:
	case -ENODEV:
	case -ENXIO:
		return error_set(error, -ENOENT,
				 "%s is not there; is the adapter plugged in?",
				 path);
	case -EACCES:
		explain_access(path, code, error);
		return code;
	case -EPERM:
		explain_filter(path, code, error);
		return code;
	case -EBUSY:
	case -EWOULDBLOCK:
		holder_of_device(path, holder);
		return error_set(error, -EBUSY, "%s is held by %s", path,
				 holder);
	case -EIO:
		return error_set(error, code,
				 "%s does not work: %s; there may be no "
				 "hardware behind it",
				 path, strerror(-code));
	case -ENOTTY:
		return error_set(error, code, "%s is no serial port", path);
	}
	return error_set(error, code, "cannot open %s: %s", path,
			 strerror(-code));
}

static void set_modes(struct termios *to, const struct endpoint_serial *serial)
{
	static const tcflag_t sizes[] = {CS5, CS6, CS7, CS8};

	cfmakeraw(to);
	to->c_iflag &= ~(tcflag_t)(IXOFF | IXANY | INPCK | IUTF8);
	if (serial->has_xonxoff)
		to->c_iflag |= IXON | IXOFF;
	to->c_cflag &= ~(tcflag_t)(CSIZE | CSTOPB | PARENB | PARODD | CMSPAR |
				   CRTSCTS | CLOCAL);
	to->c_cflag |= CREAD | HUPCL | sizes[serial->data_bits - 5];
	if (serial->stop_bits == 2)
		to->c_cflag |= CSTOPB;
	if (serial->parity != SERIAL_PARITY_NONE)
		to->c_cflag |= PARENB;
	if (serial->parity == SERIAL_PARITY_ODD)
		to->c_cflag |= PARODD;
	if (serial->has_rtscts)
		to->c_cflag |= CRTSCTS;
	if (serial->is_local)
		to->c_cflag |= CLOCAL;
	/* With 0 a read that finds nothing would look like the end. */
	to->c_cc[VMIN] = 1;
	to->c_cc[VTIME] = 0;
	to->c_cc[VSTART] = 'Q' & 0x1f;
	to->c_cc[VSTOP] = 'S' & 0x1f;
}

/* tcsetattr(3) succeeds if any of it could be done: see what came of it. */
static const char *find_refused(const struct termios *want,
				const struct termios *got)
{
	tcflag_t c_flags = want->c_cflag ^ got->c_cflag;

	if (cfgetospeed(want) != cfgetospeed(got))
		return "speed";
	if (c_flags & CSIZE)
		return "number of data bits";
	if (c_flags & (PARENB | PARODD))
		return "parity";
	if (c_flags & CSTOPB)
		return "number of stop bits";
	if (c_flags & CRTSCTS)
		return "flow control by RTS and CTS";
	if ((want->c_iflag ^ got->c_iflag) & (IXON | IXOFF))
		return "flow control by XON and XOFF";
	return NULL;
}

static int configure(int fd, const struct endpoint_serial *serial,
		     struct error *error)
{
	struct termios want, got;
	const char *refused;
	speed_t speed;
	int code = 0;

	if (tcgetattr(fd, &want) < 0)
		return explain(serial->path, -errno, error);
	set_modes(&want, serial);
	if (!address_serial_find_speed(serial->baud, &speed))
		return error_set(error, -EINVAL,
				 "%u is no speed of a serial "
				 "port",
				 serial->baud);
	cfsetispeed(&want, speed);
	cfsetospeed(&want, speed);
	/* EINVAL: glibc has seen some of it refused. */
	if (tcsetattr(fd, TCSANOW, &want) < 0)
		code = -errno;
	if ((code < 0 && code != -EINVAL) || tcgetattr(fd, &got) < 0)
		return error_set(error, -errno, "cannot set %s up: %s",
				 serial->path, strerror(errno));
	refused = find_refused(&want, &got);
	if (!refused && code == 0)
		return 0;
	return error_set(error, -EINVAL,
			 "the driver of %s does not know the %s that is asked "
			 "for",
			 serial->path, refused ? refused : "setting");
}

/* For us alone: TIOCEXCL for all who come later, flock(2) for who asks. */
static int hold(int fd, const char *path, struct error *error)
{
	if (!isatty(fd))
		return explain(path, errno == EIO ? -EIO : -ENOTTY, error);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return explain(path, -errno, error);
	ioctl(fd, TIOCEXCL);
	return 0;
}

static bool is_pty(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && major(st.st_rdev) >= PTY_MAJOR &&
	       major(st.st_rdev) < PTY_MAJOR + PTY_MAJORS;
}

bool serial_port_is_closing(struct loop *loop, const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISCHR(st.st_mode) &&
	       loop_is_closing(loop, st.st_rdev);
}

struct serial_port *serial_port_new(struct loop *loop,
				    const struct endpoint_serial *serial,
				    struct error *error)
{
	struct serial_port *port = calloc(1, sizeof(*port));
	int code = -ENOMEM;

	if (!port || !(port->path = strdup(serial->path))) {
		error_set(error, code, "out of memory");
		goto free_port;
	}
	port->loop = loop;
	port->fd = open(serial->path, OPEN_FLAGS);
	if (port->fd < 0) {
		code = explain(serial->path, -errno, error);
		goto free_port;
	}
	code = hold(port->fd, serial->path, error);
	if (code < 0)
		goto close_fd;
	code = configure(port->fd, serial, error);
	if (code < 0)
		goto let_go;
	port->has_flow_control = serial->has_rtscts || serial->has_xonxoff ||
				 is_pty(port->fd);
	return port;

let_go:
	ioctl(port->fd, TIOCNXCL);
close_fd:
	close(port->fd);
free_port:
	if (port)
		free(port->path);
	free(port);
	errno = -code;
	return NULL;
}

bool serial_port_is_hung_up(const struct serial_port *port)
{
	struct pollfd hang_up = {.fd = port->fd};

	return poll(&hang_up, 1, 0) == 1 &&
	       hang_up.revents & (POLLERR | POLLHUP);
}

/*
 * A driver waits in close(2) until its own buffers are empty, and some for longer
 * (tty_port_drain_delay, 6.12: up to 2 s). Meanwhile open(2) of the same port waits
 * too, whatever O_NONBLOCK says (tty_lock in tty_release and tty_open). What has
 * hung up it closes at once, and only then TIOCEXCL is gone.
 */
static void close_device(struct serial_port *port)
{
	if (serial_port_is_hung_up(port)) {
		close(port->fd);
		return;
	}
	if (serial_port_unsent(port) > 0)
		tcflush(port->fd, TCOFLUSH);
	/* Who opens it while it is closed waits, and then is to have it. */
	ioctl(port->fd, TIOCNXCL);
	flock(port->fd, LOCK_UN);
	loop_close_apart(port->loop, port->fd);
}

void serial_port_free(struct serial_port *port)
{
	if (!port)
		return;
	close_device(port);
	free(port->path);
	free(port);
}

int serial_port_fd(const struct serial_port *port)
{
	return port->fd;
}

bool serial_port_is_shared(const struct serial_port *port, char *text)
{
	return holder_of_device(port->path, text);
}

bool serial_port_has_flow_control(const struct serial_port *port)
{
	return port->has_flow_control;
}

/* ---- bytes ------------------------------------------------------------------- */

/*
 * A hang-up looks the same whether the carrier or the device is gone, and a
 * device that is just being removed still has its name: opening it tells, if it
 * is not EBUSY: it still knows that we have it for ourselves (6.12).
 */
static bool is_gone(const struct serial_port *port)
{
	struct stat opened, named;
	int fd;

	if (fstat(port->fd, &opened) < 0 || stat(port->path, &named) < 0 ||
	    opened.st_rdev != named.st_rdev)
		return true;
	fd = open(port->path, OPEN_FLAGS);
	if (fd < 0)
		return errno == ENODEV || errno == ENXIO || errno == ENOENT ||
		       errno == EIO;
	close(fd);
	return false;
}

ssize_t serial_port_read(struct serial_port *port, void *buffer, size_t bytes)
{
	ssize_t got = read(port->fd, buffer, bytes);

	if (got > 0)
		return got;
	if (got < 0 && errno != EIO && errno != ENXIO && errno != ENODEV)
		return -errno;
	return is_gone(port) ? -ENODEV : 0;
}

ssize_t serial_port_write(struct serial_port *port, const void *buffer,
			  size_t bytes)
{
	ssize_t put = write(port->fd, buffer, bytes);

	if (put >= 0)
		return put;
	if (errno != EIO && errno != ENXIO && errno != ENODEV)
		return -errno;
	return is_gone(port) ? -ENODEV : -EPIPE;
}

size_t serial_port_unsent(const struct serial_port *port)
{
	int bytes = 0;

	return ioctl(port->fd, TIOCOUTQ, &bytes) == 0 && bytes > 0
		       ? (size_t)bytes
		       : 0;
}
