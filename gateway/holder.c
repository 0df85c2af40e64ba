/* SPDX-License-Identifier: MIT */
#include "holder.h"

#include <ctype.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bluetooth/bluetooth.h>
#include <bluetooth/l2cap.h>
#include <bluetooth/rfcomm.h>

#define INODES_MAX 256
#define NAMED_MAX 3

/* The channel or PSM of a Bluetooth socket. */
typedef uint16_t (*port_of_fn)(const struct sockaddr_storage *address);

/* What the holder has open: one of these sockets, or this device. */
struct suspects {
	const char *device; /* NULL: a socket, by inode (proc(5): /proc/net) */
	unsigned long inodes[INODES_MAX];
	size_t count;
	port_of_fn port_of; /* to tell sockets apart; NULL: each is it */
	uint16_t port;
};

/* The processes found: one that surely is it, or some that may be. */
struct findings {
	pid_t pids[NAMED_MAX];
	size_t count;
	bool is_certain;
};

static void suspect(struct suspects *suspects, unsigned long inode)
{
	if (inode && suspects->count < INODES_MAX)
		suspects->inodes[suspects->count++] = inode;
}

static bool is_suspect(const struct suspects *suspects, unsigned long inode)
{
	for (size_t i = 0; i < suspects->count; i++)
		if (suspects->inodes[i] == inode)
			return true;
	return false;
}

/* net/ipv4/tcp_ipv4.c, get_tcp4_sock: state 0A is LISTEN. */
static void suspect_tcp(struct suspects *suspects, const char *path,
			uint16_t port)
{
	char line[512];
	FILE *file = fopen(path, "re");

	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		unsigned int local_port, state;
		unsigned long inode;

		if (sscanf(line,
			   " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s "
			   "%*s %*s %*u %*u %lu",
			   &local_port, &state, &inode) == 3 &&
		    local_port == port && state == 0x0a)
			suspect(suspects, inode);
	}
	fclose(file);
}

/* net/unix/af_unix.c, unix_seq_show: the seventh field, then the path. */
static void suspect_unix(struct suspects *suspects, const char *path)
{
	char line[512];
	FILE *file = fopen("/proc/net/unix", "re");

	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		unsigned long inode;
		int at = 0;

		line[strcspn(line, "\n")] = '\0';
		if (sscanf(line, "%*s %*s %*s %*s %*s %*s %lu %n", &inode,
			   &at) == 1 &&
		    at && !strcmp(line + at, path))
			suspect(suspects, inode);
	}
	fclose(file);
}

/* net/bluetooth/af_bluetooth.c, bt_seq_show: the sixth field. */
static void suspect_bluetooth(struct suspects *suspects, const char *path)
{
	char line[512];
	FILE *file = fopen(path, "re");

	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		unsigned long inode;

		if (sscanf(line, "%*s %*u %*u %*u %*u %lu", &inode) == 1)
			suspect(suspects, inode);
	}
	fclose(file);
}

static uint16_t rfcomm_channel_of(const struct sockaddr_storage *address)
{
	return ((const struct sockaddr_rc *)address)->rc_channel;
}

static uint16_t l2cap_psm_of(const struct sockaddr_storage *address)
{
	return btohs(((const struct sockaddr_l2 *)address)->l2_psm);
}

/* 1: it is that port; 0: it is another; -1: we may not ask. */
static int has_port(pid_t pid, int their_fd, const struct suspects *suspects)
{
	struct sockaddr_storage address = {0};
	socklen_t bytes = sizeof(address);
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int fd, result = -1;

	if (pidfd < 0)
		return -1;
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, their_fd, 0);
	close(pidfd);
	if (fd < 0)
		return -1;
	if (getsockname(fd, (struct sockaddr *)&address, &bytes) == 0)
		result = suspects->port_of(&address) == suspects->port;
	close(fd);
	return result;
}

static void find(struct findings *findings, pid_t pid, bool is_certain)
{
	if (is_certain) {
		findings->pids[0] = pid;
		findings->count = 1;
		findings->is_certain = true;
	} else if (findings->count < NAMED_MAX &&
		   (findings->count == 0 ||
		    findings->pids[findings->count - 1] != pid)) {
		findings->pids[findings->count++] = pid;
	}
}

static void search_process(struct findings *findings, pid_t pid,
			   const struct suspects *suspects)
{
	char path[64], link[64];
	struct dirent *entry;
	unsigned long inode;
	DIR *fds;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	fds = opendir(path);
	if (!fds)
		return;
	while (!findings->is_certain && (entry = readdir(fds))) {
		ssize_t length = readlinkat(dirfd(fds), entry->d_name, link,
					    sizeof(link) - 1);
		int answer;

		if (length < 0)
			continue;
		link[length] = '\0';
		if (suspects->device) {
			if (strcmp(link, suspects->device) == 0)
				find(findings, pid, false);
			continue;
		}
		if (sscanf(link, "socket:[%lu]", &inode) != 1 ||
		    !is_suspect(suspects, inode))
			continue;
		answer = suspects->port_of
				 ? has_port(pid, atoi(entry->d_name), suspects)
				 : 1;
		if (answer)
			find(findings, pid, answer > 0);
	}
	closedir(fds);
}

/* Whether there is any. */
static bool describe(const struct suspects *suspects,
		     char text[HOLDER_TEXT_BYTES])
{
	struct findings findings = {0};
	struct dirent *entry;
	size_t used = 0;
	DIR *processes = opendir("/proc");

	while (processes && !findings.is_certain &&
	       (entry = readdir(processes))) {
		pid_t pid = (pid_t)atoi(entry->d_name);

		/* Of a device we have it open ourselves. */
		if (isdigit((unsigned char)entry->d_name[0]) &&
		    !(suspects->device && pid == getpid()))
			search_process(&findings, pid, suspects);
	}
	if (processes)
		closedir(processes);
	if (findings.count == 0) {
		snprintf(text, HOLDER_TEXT_BYTES, "another program%s",
			 geteuid() ? " (run as root to see which)" : "");
		return false;
	}
	/* Of a device all of them may have it. */
	if (findings.count > 1 && !suspects->device)
		used = (size_t)snprintf(text, HOLDER_TEXT_BYTES, "one of: ");
	for (size_t i = 0; i < findings.count; i++) {
		char one[HOLDER_TEXT_BYTES];

		holder_of_pid(findings.pids[i], one);
		snprintf(text + used, HOLDER_TEXT_BYTES - used, "%s%s",
			 i ? ", " : "", one);
		used = strlen(text);
	}
	return true;
}

void holder_of_tcp_port(uint16_t port, char text[HOLDER_TEXT_BYTES])
{
	struct suspects suspects = {0};

	suspect_tcp(&suspects, "/proc/net/tcp", port);
	suspect_tcp(&suspects, "/proc/net/tcp6", port);
	describe(&suspects, text);
}

bool holder_of_unix_path(const char *path, char text[HOLDER_TEXT_BYTES])
{
	struct suspects suspects = {0};

	suspect_unix(&suspects, path);
	describe(&suspects, text);
	return suspects.count;
}

void holder_of_rfcomm_channel(uint8_t channel, char text[HOLDER_TEXT_BYTES])
{
	struct suspects suspects = {
		.port_of = rfcomm_channel_of,
		.port = channel,
	};

	suspect_bluetooth(&suspects, "/proc/net/rfcomm");
	describe(&suspects, text);
}

void holder_of_l2cap_psm(uint16_t psm, char text[HOLDER_TEXT_BYTES])
{
	struct suspects suspects = {.port_of = l2cap_psm_of, .port = psm};

	suspect_bluetooth(&suspects, "/proc/net/l2cap");
	describe(&suspects, text);
}

bool holder_of_device(const char *path, char text[HOLDER_TEXT_BYTES])
{
	char *real = realpath(path, NULL);
	struct suspects suspects = {
		.device = real ? real : path,
	};
	bool is_found = describe(&suspects, text);

	free(real);
	return is_found;
}

void holder_of_pid(pid_t pid, char text[HOLDER_TEXT_BYTES])
{
	char path[64], name[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	file = fopen(path, "re");
	if (file) {
		if (fgets(name, sizeof(name), file))
			name[strcspn(name, "\n")] = '\0';
		fclose(file);
	}
	if (name[0])
		snprintf(text, HOLDER_TEXT_BYTES, "%s (pid %d)", name, pid);
	else
		snprintf(text, HOLDER_TEXT_BYTES, "pid %d", pid);
}
