/* SPDX-License-Identifier: MIT */
#include "diagnosis_machine.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <bluetooth/bluetooth.h>

#include "address.h"
#include "controller.h"
#include "diagnosis.h"

#define SERVICE_USER "btgate"

/* The first line of ROOT/PATH, without its end. False if there is none. */
static bool read_line(const char *root, const char *path, char *line,
		      size_t bytes)
{
	char whole[PATH_MAX];
	FILE *file;
	bool is_read;

	snprintf(whole, sizeof(whole), "%s%s", root, path);
	file = fopen(whole, "re");
	if (!file)
		return false;
	is_read = fgets(line, (int)bytes, file);
	if (is_read)
		line[strcspn(line, "\n")] = '\0';
	fclose(file);
	return is_read;
}

static bool exists(const char *root, const char *path)
{
	char whole[PATH_MAX];

	snprintf(whole, sizeof(whole), "%s%s", root, path);
	return access(whole, F_OK) == 0;
}

/* ---- where, and as whom --------------------------------------------------- */

const char *diagnosis_container(const char *root)
{
	/* systemd's Container Interface: told to process 1, and kept there. */
	if (exists(root, "/run/systemd/container"))
		return "a container";
	if (exists(root, "/run/.containerenv"))
		return "a Podman container";
	if (exists(root, "/.dockerenv"))
		return "a Docker container";
	return NULL;
}

static void look_at_container(struct diagnosis *diagnosis, const char *root)
{
	const char *what = diagnosis_container(root);

	if (!what)
		return;
	if (exists(root, "/run/dbus/system_bus_socket"))
		diagnosis_add(diagnosis, FINDING_OK, "container", NULL,
			      "this is %s, with a system bus", what);
	else
		diagnosis_add(diagnosis, FINDING_PROBLEM, "container",
			      "docker run --network host -v "
			      "/run/dbus:/run/dbus:ro ...",
			      "this is %s without the host's system bus", what);
}

static void look_at_user(struct diagnosis *diagnosis)
{
	const struct passwd *service = getpwnam(SERVICE_USER);

	if (service && service->pw_uid != geteuid())
		diagnosis_add(
			diagnosis, FINDING_NOTE, "user",
			"sudo -u " SERVICE_USER " btgate doctor",
			"the service runs as user " SERVICE_USER
			"; what is said here of permissions is about user "
			"%u",
			(unsigned int)geteuid());
}

/* ---- the kernel ---------------------------------------------------------- */

static bool look_at_protocol(struct diagnosis *diagnosis, const char *root,
			     int type, int protocol, const char *name,
			     const char *cure)
{
	int fd = socket(AF_BLUETOOTH, type | SOCK_CLOEXEC, protocol);

	if (fd >= 0) {
		close(fd);
		return true;
	}
	if (errno == EAFNOSUPPORT)
		diagnosis_add(diagnosis, FINDING_PROBLEM, "kernel",
			      diagnosis_container(root)
				      ? "docker run --network host ..."
				      : "sudo modprobe bluetooth",
			      "there are no Bluetooth sockets%s",
			      diagnosis_container(root)
				      ? " in this network namespace"
				      : " (CONFIG_BT)");
	else
		diagnosis_add(diagnosis, FINDING_PROBLEM, "kernel", cure,
			      "there are no %s sockets: %s", name,
			      strerror(errno));
	return false;
}

static bool look_at_kernel(struct diagnosis *diagnosis, const char *root)
{
	if (!look_at_protocol(diagnosis, root, SOCK_STREAM, BTPROTO_RFCOMM,
			      "RFCOMM", "sudo modprobe rfcomm") ||
	    !look_at_protocol(diagnosis, root, SOCK_SEQPACKET, BTPROTO_L2CAP,
			      "L2CAP", "sudo modprobe bluetooth"))
		return false;
	diagnosis_add(diagnosis, FINDING_OK, "kernel", NULL,
		      "it has RFCOMM and L2CAP sockets");
	return true;
}

/* ---- adapters -------------------------------------------------------------- */

static void look_at_adapters(struct diagnosis *diagnosis)
{
	struct controller controllers[CONTROLLERS_MAX];
	size_t count = controllers_read(controllers);

	if (!count)
		diagnosis_add(diagnosis, FINDING_PROBLEM, "adapter",
			      "plug one in; 'lsusb' and 'sudo dmesg | grep -i "
			      "bluetooth' tell whether it is seen",
			      "there is no Bluetooth adapter");
	for (size_t i = 0; i < count; i++) {
		char address[ADDRESS_BLUETOOTH_TEXT_BYTES];
		char subject[24];

		snprintf(subject, sizeof(subject), "adapter hci%u",
			 controllers[i].index);
		address_bluetooth_format(&controllers[i].address, address);
		if (controllers[i].is_up)
			diagnosis_add(diagnosis, FINDING_OK, subject, NULL,
				      "%s, powered on", address);
		else
			diagnosis_add(diagnosis, FINDING_PROBLEM, subject,
				      "bluetoothctl power on",
				      "%s is powered off", address);
	}
}

/* Documentation/ABI/stable/sysfs-class-rfkill: "0" or "1". */
static bool is_set(const char *root, const char *name, const char *attribute)
{
	char path[PATH_MAX], line[64];

	snprintf(path, sizeof(path), "/sys/class/rfkill/%s/%s", name,
		 attribute);
	return read_line(root, path, line, sizeof(line)) && *line == '1';
}

static void look_at_rfkill_of(struct diagnosis *diagnosis, const char *root,
			      const char *name)
{
	char path[PATH_MAX], line[NAME_MAX + 1];

	snprintf(path, sizeof(path), "/sys/class/rfkill/%s/type", name);
	if (!read_line(root, path, line, sizeof(line)) ||
	    strcmp(line, "bluetooth"))
		return;
	snprintf(path, sizeof(path), "/sys/class/rfkill/%s/name", name);
	if (!read_line(root, path, line, sizeof(line)))
		snprintf(line, sizeof(line), "%s", name);
	if (is_set(root, name, "hard"))
		diagnosis_add(diagnosis, FINDING_PROBLEM, "rfkill",
			      "turn on the wireless switch or key of this "
			      "machine",
			      "a switch blocks %s", line);
	else if (is_set(root, name, "soft"))
		diagnosis_add(diagnosis, FINDING_PROBLEM, "rfkill",
			      "sudo rfkill unblock bluetooth", "%s is blocked",
			      line);
}

static void look_at_rfkill(struct diagnosis *diagnosis, const char *root)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *directory;

	snprintf(path, sizeof(path), "%s/sys/class/rfkill", root);
	directory = opendir(path);
	if (!directory)
		return; /* a kernel without it blocks nothing */
	while ((entry = readdir(directory)))
		if (entry->d_name[0] != '.')
			look_at_rfkill_of(diagnosis, root, entry->d_name);
	closedir(directory);
}

/* ---- other programs -------------------------------------------------------- */

/* Whether @argument is among those that it was started with. */
static bool has_argument(const char *root, const char *pid,
			 const char *argument)
{
	char path[PATH_MAX], line[512] = "";
	size_t got = 0, at;
	FILE *file;

	snprintf(path, sizeof(path), "%s/proc/%s/cmdline", root, pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	got = fread(line, 1, sizeof(line) - 1, file);
	fclose(file);
	/* NULs stand between them (proc(5)). */
	for (at = strlen(line) + 1; at < got; at += strlen(line + at) + 1)
		if (strcmp(line + at, argument) == 0)
			return true;
	return false;
}

/* Whether it is called @name (comm: 15 characters), and has @argument if given. */
static bool is_process(const char *root, const char *pid, const char *name,
		       const char *argument)
{
	char path[PATH_MAX], line[64];

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	return read_line(root, path, line, sizeof(line)) &&
	       strcmp(line, name) == 0 &&
	       (!argument || has_argument(root, pid, argument));
}

/* Whether there is such a process, other than this one. */
static bool is_running(const char *root, const char *name, const char *argument)
{
	char path[PATH_MAX];
	struct dirent *entry;
	bool is_found = false;
	DIR *directory;

	snprintf(path, sizeof(path), "%s/proc", root);
	directory = opendir(path);
	while (directory && !is_found && (entry = readdir(directory))) {
		const char *pid = entry->d_name;

		is_found = strcmp(pid, "self") != 0 && atoi(pid) != getpid() &&
			   is_process(root, pid, name, argument);
	}
	if (directory)
		closedir(directory);
	return is_found;
}

bool diagnosis_is_gateway(const char *root, pid_t pid)
{
	char text[24];

	snprintf(text, sizeof(text), "%d", pid);
	return is_process(root, text, "btgate", "run");
}

bool diagnosis_is_gateway_running(const char *root)
{
	return is_running(root, "btgate", "run");
}

bool diagnosis_is_window_open(const char *root)
{
	return is_running(root, "btgate", "pair");
}

/* udev's database, /run/udev/data: lines "E:KEY=VALUE". */
static bool is_ignored(const char *root, dev_t device)
{
	char path[PATH_MAX], line[512];
	bool is_found = false;
	FILE *file;

	snprintf(path, sizeof(path), "%s/run/udev/data/c%u:%u", root,
		 major(device), minor(device));
	file = fopen(path, "re");
	while (file && !is_found && fgets(line, sizeof(line), file))
		is_found = strncmp(line, "E:ID_MM_DEVICE_IGNORE=1", 23) == 0 ||
			   strncmp(line, "E:ID_MM_PORT_IGNORE=1", 21) == 0;
	if (file)
		fclose(file);
	return is_found;
}

bool diagnosis_is_modem_manager_after(const char *root, const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 && S_ISCHR(status.st_mode) &&
	       is_running(root, "ModemManager", NULL) &&
	       !is_ignored(root, status.st_rdev);
}

bool diagnosis_machine(struct diagnosis *diagnosis, const char *root)
{
	bool has_bluetooth;

	look_at_container(diagnosis, root);
	look_at_user(diagnosis);
	has_bluetooth = look_at_kernel(diagnosis, root);
	/* What it blocks cannot be powered on. */
	look_at_rfkill(diagnosis, root);
	if (has_bluetooth)
		look_at_adapters(diagnosis);
	return has_bluetooth;
}
