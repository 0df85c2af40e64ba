/* SPDX-License-Identifier: MIT */
/*
 * What stands between this machine and Bluetooth below bluetoothd: the kernel,
 * adapters, rfkill; whether this is a container; who runs this.
 */
#ifndef BTGATE_DIAGNOSIS_MACHINE_H
#define BTGATE_DIAGNOSIS_MACHINE_H

#include <stdbool.h>
#include <sys/types.h>

struct diagnosis;

/*
 * @root stands before the paths that are looked at: "" but in tests. Opens
 * Bluetooth sockets and nothing else. Whether the kernel has them.
 */
bool diagnosis_machine(struct diagnosis *diagnosis, const char *root);

/* "docker", "podman" or another word for what this runs in; NULL: a machine. */
const char *diagnosis_container(const char *root);

/* Whether that process is a gateway (btgate run), of whatever configuration. */
bool diagnosis_is_gateway(const char *root, pid_t pid);

/* Whether there is one, other than this process. */
bool diagnosis_is_gateway_running(const char *root);

/* Whether a pairing window (btgate pair) is open, or a device being paired. */
bool diagnosis_is_window_open(const char *root);

/*
 * Whether ModemManager runs that would write into the tty at @path, as far as
 * processes and udev's database tell (ID_MM_DEVICE_IGNORE, ID_MM_PORT_IGNORE).
 */
bool diagnosis_is_modem_manager_after(const char *root, const char *path);

#endif
