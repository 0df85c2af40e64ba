/*
 * A preload library for BlueZ's l2test: gives the mode that `-X` names the number
 * that the kernel knows it by.
 *
 * l2test (seen in 5.66) has the numbers of BT_MODE (bluetooth.h: ERTM 1, streaming
 * 2) and hands them to L2CAP_OPTIONS, which counts otherwise (l2cap.h: 1 and 2 are
 * modes that the kernel does not have, ERTM is 3, streaming 4). It ends with EINVAL.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* From BlueZ' lib/bluetooth.h and lib/l2cap.h. */
#define SOL_L2CAP 6
#define L2CAP_OPTIONS 1
#define MODE_OFFSET 6 /* in struct l2cap_options, behind three 16-bit numbers */

static const uint8_t kernel_modes[] = {0, 3, 4};

int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
	uint8_t options[64];

	if (level == SOL_L2CAP && name == L2CAP_OPTIONS && size > MODE_OFFSET &&
	    size <= sizeof(options)) {
		memcpy(options, value, size);
		if (options[MODE_OFFSET] < sizeof(kernel_modes))
			options[MODE_OFFSET] =
				kernel_modes[options[MODE_OFFSET]];
		value = options;
	}
	return syscall(SYS_setsockopt, fd, level, name, value, size);
}
