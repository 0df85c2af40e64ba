/* SPDX-License-Identifier: MIT */
#include "bt_socket.h"

#include <errno.h>
#include <sys/socket.h>

#include <bluetooth/bluetooth.h>

#include "error.h"

int bt_socket_open(int type, int protocol)
{
	int fd = socket(AF_BLUETOOTH, type | SOCK_NONBLOCK | SOCK_CLOEXEC,
			protocol);

	return fd < 0 ? -errno : fd;
}

int bt_socket_set_security(int fd, enum security_level level)
{
	static const uint8_t levels[] = {
		[SECURITY_LEVEL_LOW] = BT_SECURITY_LOW,
		[SECURITY_LEVEL_MEDIUM] = BT_SECURITY_MEDIUM,
		[SECURITY_LEVEL_HIGH] = BT_SECURITY_HIGH,
		[SECURITY_LEVEL_FIPS] = BT_SECURITY_FIPS,
	};
	const struct bt_security security = {.level = levels[level]};

	return setsockopt(fd, SOL_BLUETOOTH, BT_SECURITY, &security,
			  sizeof(security))
		       ? -errno
		       : 0;
}

const char *bt_socket_security_hint(enum security_level level)
{
	switch (level) {
	case SECURITY_LEVEL_LOW:
	case SECURITY_LEVEL_MEDIUM:
		break;
	case SECURITY_LEVEL_HIGH:
		return "; security = high needs a pairing in which a number "
		       "was compared or typed";
	case SECURITY_LEVEL_FIPS:
		return "; security = fips needs a pairing by Secure "
		       "Connections, in which a number was compared or typed";
	}
	return "";
}

bool bt_socket_is_missing(int code, struct error *error)
{
	if (code != -EAFNOSUPPORT && code != -EPROTONOSUPPORT)
		return false;
	error_set(error, code,
		  "Bluetooth sockets are not to be had here: in a container, "
		  "give it the host's network (--network host); else load "
		  "Bluetooth with 'modprobe rfcomm' (CONFIG_BT, "
		  "CONFIG_BT_RFCOMM)");
	return true;
}
