/* SPDX-License-Identifier: MIT */
#include "diagnosis_route.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access.h"
#include "acl.h"
#include "config.h"
#include "diagnosis.h"
#include "diagnosis_machine.h"
#include "endpoint.h"
#include "error.h"
#include "holder.h"

/* What is looked at. */
struct visit {
	struct diagnosis *diagnosis;
	struct loop *loop;
	const struct config_route *route; /* NULL: the gateway's own */
	const struct diagnosis_surroundings *around;
	char subject[96]; /* "route NAME" */
};

/* ---- sockets --------------------------------------------------------------- */

static void forget_client(struct stream *client, void *arg)
{
	stream_close(client, STREAM_CLOSE_ABORT);
}

/* Of another user's processes no more is seen than that there are some. */
static bool is_gateways(const struct visit *visit, const char *holder)
{
	return visit->around->has_gateway &&
	       (strstr(holder, "btgate (pid ") ||
		strstr(holder, "btgate-metrics (pid ") ||
		strstr(holder, "another program"));
}

static void look_at_socket(const struct visit *visit,
			   const struct address_endpoint *address,
			   const struct endpoint_settings *settings)
{
	struct listener *listener;
	struct error error = {""};
	int code = listener_open(visit->loop, address, settings, forget_client,
				 NULL, &listener, &error);

	if (code == 0) {
		diagnosis_add(visit->diagnosis, FINDING_OK, visit->subject,
			      NULL, "%s is free", listener->name);
		listener_close(listener);
	} else if (code == -EADDRINUSE && is_gateways(visit, error.text)) {
		/* Its cure would be to choose another one. */
		error.text[strcspn(error.text, ";")] = '\0';
		diagnosis_add(visit->diagnosis, FINDING_OK, visit->subject,
			      NULL, "%s (a gateway is running)", error.text);
	} else {
		diagnosis_add_sentence(visit->diagnosis, FINDING_PROBLEM,
				       visit->subject, error.text);
	}
}

/* ---- paths ----------------------------------------------------------------- */

/* The directory that @path is in, or the nearest one above it that is there. */
static void find_directory(const char *path, char directory[PATH_MAX])
{
	char *slash;

	snprintf(directory, PATH_MAX, "%s", path);
	do {
		slash = strrchr(directory, '/');
		if (!slash || slash == directory) {
			strcpy(directory, "/");
			return;
		}
		*slash = '\0';
	} while (access(directory, F_OK) < 0 && errno == ENOENT);
}

/* Whether something can be made at @path. */
static void look_at_room(const struct visit *visit, const char *path)
{
	char directory[PATH_MAX], cure[PATH_MAX + 64];

	find_directory(path, directory);
	snprintf(cure, sizeof(cure),
		 "sudo setfacl -m u:%u:rwx '%s', or another path",
		 (unsigned int)geteuid(), directory);
	if (faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) < 0)
		diagnosis_add(visit->diagnosis, FINDING_PROBLEM, visit->subject,
			      cure, "%s cannot be made: %s in %s", path,
			      strerror(errno), directory);
	else
		diagnosis_add(visit->diagnosis, FINDING_OK, visit->subject,
			      NULL, "%s can be made", path);
}

/* Whether @path can be given to whom it is to belong. */
static void look_at_access(const struct visit *visit, const char *path,
			   const struct address_access *wanted)
{
	struct access access;
	struct error error;
	struct stat status;
	int code = access_find(&access, wanted, 0, &error);

	/* What is there has its owner, or goes another way. */
	if (code == 0 && lstat(path, &status) < 0)
		code = access_check(path, &access, &error);
	if (code)
		diagnosis_add_sentence(visit->diagnosis, FINDING_PROBLEM,
				       visit->subject, error.text);
}

/* Whether a gateway holds the lock beside @path (lockfile.h). */
static bool is_locked(const char *path, bool *is_there)
{
	char lock[PATH_MAX];
	bool is_held = false;
	int fd;

	snprintf(lock, sizeof(lock), "%s.lock", path);
	fd = open(lock, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	*is_there = fd >= 0 || errno == EACCES;
	if (fd >= 0) {
		is_held = flock(fd, LOCK_SH | LOCK_NB) < 0;
		close(fd);
	}
	return is_held;
}

static void look_at_pty(const struct visit *visit,
			const struct endpoint_pty *pty)
{
	const char *path = pty->path;
	char cure[PATH_MAX + 16];
	struct stat status;
	bool has_lock, is_held = is_locked(path, &has_lock);

	look_at_access(visit, path, &pty->access);
	snprintf(cure, sizeof(cure), "sudo mv '%s' '%s.old'", path, path);
	if (lstat(path, &status) < 0 && errno == ENOENT)
		look_at_room(visit, path);
	else if (is_held)
		diagnosis_add(visit->diagnosis,
			      visit->around->has_gateway ? FINDING_OK
							 : FINDING_PROBLEM,
			      visit->subject, NULL,
			      "%s is held by a gateway that runs", path);
	else if (has_lock && S_ISLNK(status.st_mode))
		diagnosis_add(visit->diagnosis, FINDING_NOTE, visit->subject,
			      "the gateway replaces it when it starts",
			      "%s is stale: a gateway that was killed left it",
			      path);
	else
		diagnosis_add(visit->diagnosis, FINDING_PROBLEM, visit->subject,
			      cure,
			      "%s is there already, and is not the gateway's",
			      path);
}

static void look_at_unix(const struct visit *visit,
			 const struct endpoint_unix *local)
{
	const char *path = local->path;
	char holder[HOLDER_TEXT_BYTES], cure[PATH_MAX + 16];
	struct stat status;

	look_at_access(visit, path, &local->access);
	snprintf(cure, sizeof(cure), "sudo mv '%s' '%s.old'", path, path);
	if (lstat(path, &status) < 0) {
		look_at_room(visit, path);
	} else if (!S_ISSOCK(status.st_mode)) {
		diagnosis_add(visit->diagnosis, FINDING_PROBLEM, visit->subject,
			      cure, "%s is there already, and is no socket",
			      path);
	} else {
		holder_of_unix_path(path, holder);
		diagnosis_add(visit->diagnosis, FINDING_NOTE, visit->subject,
			      NULL, "%s is there; held by %s", path, holder);
	}
}

static void look_at_serial(const struct visit *visit, const char *path)
{
	char holder[HOLDER_TEXT_BYTES];

	if (access(path, F_OK) < 0) {
		diagnosis_add(
			visit->diagnosis, FINDING_NOTE, visit->subject,
			"plug it in; 'ls -l /dev/serial/by-id' shows what "
			"there is",
			"%s is not there", path);
		return;
	}
	if (faccessat(AT_FDCWD, path, R_OK | W_OK, AT_EACCESS) < 0)
		diagnosis_add(visit->diagnosis, FINDING_PROBLEM, visit->subject,
			      "sudo adduser $USER dialout, and log in again",
			      "%s: %s", path, strerror(errno));
	else if (holder_of_device(path, holder) && !visit->around->has_gateway)
		diagnosis_add(visit->diagnosis, FINDING_PROBLEM, visit->subject,
			      "end that program", "%s is held by %s", path,
			      holder);
	else
		diagnosis_add(visit->diagnosis, FINDING_OK, visit->subject,
			      NULL, "%s is there", path);
	if (diagnosis_is_modem_manager_after(visit->around->root, path))
		diagnosis_add(visit->diagnosis, FINDING_PROBLEM, visit->subject,
			      "the rule in 77-btgate-modemmanager.rules, or "
			      "'sudo systemctl disable --now ModemManager'",
			      "ModemManager will try whether %s is a modem",
			      path);
}

static void look_at_file(const struct visit *visit, const char *path)
{
	char cure[PATH_MAX + 64];

	snprintf(cure, sizeof(cure),
		 "sudo setfacl -m u:%u:rw '%s', or another path",
		 (unsigned int)geteuid(), path);
	if (access(path, F_OK) < 0)
		look_at_room(visit, path);
	else if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) < 0)
		diagnosis_add(visit->diagnosis, FINDING_PROBLEM, visit->subject,
			      cure, "%s cannot be written: %s", path,
			      strerror(errno));
	else
		diagnosis_add(visit->diagnosis, FINDING_OK, visit->subject,
			      NULL, "%s can be written", path);
}

/* Its files take turns by being renamed, or made anew. */
static void look_at_trace(const struct visit *visit, const char *path)
{
	char next[PATH_MAX + 4];

	look_at_file(visit, path);
	snprintf(next, sizeof(next), "%s.1", path);
	if (access(path, F_OK) == 0)
		look_at_room(visit, next);
}

/* The program, where the command begins with the path of one. */
static void look_at_program(const struct visit *visit, const char *command)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%.*s",
		 (int)strcspn(command, " \t\"'\\$;&|<>"), command);
	if (*path != '/')
		return;
	if (access(path, X_OK) < 0)
		diagnosis_add(visit->diagnosis, FINDING_PROBLEM, visit->subject,
			      "install it, or correct the path",
			      "%s cannot be run: %s", path, strerror(errno));
	else
		diagnosis_add(visit->diagnosis, FINDING_OK, visit->subject,
			      NULL, "%s is there", path);
}

/* ---- tls -------------------------------------------------------------------- */

static void look_at_certificates(const struct visit *visit,
				 const struct address_endpoint *connect)
{
	struct error error;

	if (endpoint_inspect(connect, ENDPOINT_ROLE_CONNECT, &error) < 0)
		diagnosis_add(visit->diagnosis, FINDING_PROBLEM, visit->subject,
			      "put the file there, readable for the user that "
			      "the gateway runs as, or correct the path",
			      "%s", error.text);
}

/* ---- both ends ------------------------------------------------------------- */

static void look_at_flush_timeout(const struct visit *visit,
				  const struct address_endpoint *endpoint)
{
	if (endpoint->kind == ENDPOINT_KIND_L2CAP &&
	    endpoint->l2cap.flush_timeout_ms && !acl_may_flush())
		diagnosis_add(visit->diagnosis, FINDING_PROBLEM, visit->subject,
			      "AmbientCapabilities=CAP_NET_RAW in a drop-in, "
			      "'sudo systemctl edit btgate'",
			      "flush-timeout needs the capability CAP_NET_RAW");
}

static void look_at_listen(const struct visit *visit)
{
	const struct config_route *route = visit->route;
	const struct address_endpoint *listen = &route->listen;
	const struct endpoint_settings settings = {
		.adapter = route->adapter,
		.security = route->security,
		.reserved_ports = route->reserved_ports,
	};

	switch (listen->kind) {
	case ENDPOINT_KIND_RFCOMM:
	case ENDPOINT_KIND_L2CAP:
		if (visit->around->has_bluetooth)
			look_at_socket(visit, listen, &settings);
		break;
	case ENDPOINT_KIND_TCP:
	case ENDPOINT_KIND_TLS:
		look_at_socket(visit, listen, &settings);
		break;
	case ENDPOINT_KIND_UNIX:
		look_at_unix(visit, &listen->local);
		break;
	case ENDPOINT_KIND_PTY:
		look_at_pty(visit, &listen->pty);
		break;
	case ENDPOINT_KIND_SERIAL:
		look_at_serial(visit, listen->serial.path);
		break;
	case ENDPOINT_KIND_FILE:
	case ENDPOINT_KIND_EXEC:
	case ENDPOINT_KIND_ECHO:
		break;
	}
	look_at_flush_timeout(visit, listen);
}

static void look_at_connect(const struct visit *visit)
{
	const struct address_endpoint *connect = &visit->route->connect;

	switch (connect->kind) {
	case ENDPOINT_KIND_PTY:
		look_at_pty(visit, &connect->pty);
		break;
	case ENDPOINT_KIND_SERIAL:
		look_at_serial(visit, connect->serial.path);
		break;
	case ENDPOINT_KIND_FILE:
		look_at_access(visit, connect->file.path,
			       &connect->file.access);
		look_at_file(visit, connect->file.path);
		break;
	case ENDPOINT_KIND_EXEC:
		look_at_program(visit, connect->exec.command);
		break;
	case ENDPOINT_KIND_TLS:
		look_at_certificates(visit, connect);
		break;
	/* Whether somebody answers is seen when a client comes. */
	case ENDPOINT_KIND_RFCOMM:
	case ENDPOINT_KIND_L2CAP:
	case ENDPOINT_KIND_TCP:
	case ENDPOINT_KIND_UNIX:
	case ENDPOINT_KIND_ECHO:
		break;
	}
	look_at_flush_timeout(visit, connect);
}

void diagnosis_route(struct diagnosis *diagnosis, struct loop *loop,
		     const struct config_route *route,
		     const struct diagnosis_surroundings *surroundings)
{
	struct visit visit = {
		.diagnosis = diagnosis,
		.loop = loop,
		.route = route,
		.around = surroundings,
	};

	snprintf(visit.subject, sizeof(visit.subject), "route %s", route->name);
	look_at_listen(&visit);
	look_at_connect(&visit);
	if (route->trace.path)
		look_at_trace(&visit, route->trace.path);
}

/* ---- the gateway ------------------------------------------------------------ */

/* Whether whoever looks may ask it; what is not there may be on its way. */
static void look_at_control(const struct visit *visit,
			    const struct endpoint_unix *local)
{
	const struct address_access *access = &local->access;
	const char *path = local->path;
	char cure[PATH_MAX + 128];

	look_at_access(visit, path, access);
	if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0 || errno != EACCES)
		return;
	if (access->group && access->mode & S_IWGRP)
		snprintf(cure, sizeof(cure),
			 "sudo adduser $USER %s, and log in again",
			 access->group);
	else
		snprintf(cure, sizeof(cure),
			 "sudo btgate status; or 'control = unix:%s,mode=0660,"
			 "group=...' in [gateway]",
			 path);
	diagnosis_add(
		visit->diagnosis, FINDING_NOTE, visit->subject, cure,
		"%s is not for this user, nor is what asks a gateway that "
		"runs, like btgate status",
		path);
}

void diagnosis_gateway(struct diagnosis *diagnosis, struct loop *loop,
		       const struct config_gateway *gateway,
		       const struct diagnosis_surroundings *surroundings)
{
	static const struct endpoint_settings settings = {0};
	struct visit visit = {
		.diagnosis = diagnosis,
		.loop = loop,
		.around = surroundings,
	};

	if (gateway->has_control) {
		strcpy(visit.subject, "control");
		look_at_control(&visit, &gateway->control.local);
	}
	if (gateway->has_metrics) {
		strcpy(visit.subject, "metrics");
		look_at_socket(&visit, &gateway->metrics, &settings);
	}
}
