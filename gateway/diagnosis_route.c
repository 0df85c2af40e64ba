/* SPDX-License-Identifier: MIT */
#include "diagnosis_route.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access.h"
#include "acl.h"
#include "address_endpoint.h"
#include "address_path.h"
#include "capability.h"
#include "config.h"
#include "diagnosis.h"
#include "diagnosis_machine.h"
#include "endpoint.h"
#include "error.h"
#include "holder.h"
#include "lockfile.h"
#include "pty.h"

/* What is looked at. */
struct visit {
	struct diagnosis *diagnosis;
	struct loop *loop;
	const struct config_route *route; /* NULL: the gateway's own */
	const struct diagnosis_surroundings *around;
	char subject[96]; /* "route NAME" */
};

/* As long as two paths, and what to do with them. */
#define CURE_BYTES (2 * PATH_MAX + 96)
#define USER_BYTES 65

/* Who looks: what is said of permissions is about him. */
static const char *name_user(char name[USER_BYTES])
{
	const struct passwd *user = getpwuid(geteuid());

	if (user)
		snprintf(name, USER_BYTES, "%s", user->pw_name);
	else
		snprintf(name, USER_BYTES, "%u", (unsigned int)geteuid());
	return name;
}

/* ---- whose it is ------------------------------------------------------------- */

/* What the gateway that runs says of the thing that is looked at. */
enum claim {
	CLAIM_NONE, /* nothing */
	CLAIM_HELD,
	CLAIM_NOT_HELD,
};

/* Who holds what cannot be had. */
enum holding {
	HOLDING_GATEWAYS, /* as it should be */
	HOLDING_FOREIGN,
	HOLDING_UNKNOWN, /* the one or the other */
};

/* Of an end of the route, by its name, if it is the same there. */
static enum claim find_claim(const struct visit *visit, enum endpoint_role role)
{
	const struct config_route *route = visit->route;
	const json_t *routes = json_object_get(visit->around->status, "routes");
	bool is_listen = role == ENDPOINT_ROLE_LISTEN;
	char text[ADDRESS_ENDPOINT_TEXT_BYTES];

	address_endpoint_format(is_listen ? &route->listen : &route->connect,
				role, text);
	for (size_t i = 0; i < json_array_size(routes); i++) {
		const json_t *one = json_array_get(routes, i);
		const char *name, *end, *state;

		if (json_unpack((json_t *)one, "{s:s, s:s, s:s}", "name", &name,
				is_listen ? "listen" : "connect", &end, "state",
				&state) == 0 &&
		    strcmp(name, route->name) == 0 && strcmp(end, text) == 0 &&
		    strcmp(state, "leaving") != 0)
			return strcmp(state, "listening") == 0 ? CLAIM_HELD
							       : CLAIM_NOT_HELD;
	}
	return CLAIM_NONE;
}

static enum claim find_metrics_claim(const struct visit *visit,
				     const struct address_endpoint *metrics)
{
	const json_t *said = json_object_get(visit->around->status, "metrics");
	const char *listening_on = json_string_value(
		json_object_get(said, "listening_on"));
	char text[ADDRESS_ENDPOINT_TEXT_BYTES];

	address_endpoint_format(metrics, ENDPOINT_ROLE_LISTEN, text);
	if (!said)
		return CLAIM_NONE;
	return listening_on && strcmp(listening_on, text) == 0 ? CLAIM_HELD
							       : CLAIM_NOT_HELD;
}

/*
 * Whether a gateway is among those that @holder names (holder.h), or may be: of
 * another user's processes no more is seen than that there are some.
 */
static bool may_be_gateway(const struct visit *visit, const char *holder)
{
	static const char named[] = "btgate (pid ";

	if (strstr(holder, "another program") ||
	    strstr(holder, "btgate-metrics (pid "))
		return true;
	while ((holder = strstr(holder, named))) {
		holder += strlen(named);
		if (diagnosis_is_gateway(visit->around->root,
					 (pid_t)strtol(holder, NULL, 10)))
			return true;
	}
	return false;
}

static enum holding find_holding(const struct visit *visit, enum claim claim,
				 const char *holder)
{
	const struct diagnosis_surroundings *around = visit->around;
	bool is_one_of = strncmp(holder, "one of: ", 8) == 0;
	char own[HOLDER_TEXT_BYTES];

	if (around->gateway == GATEWAY_NONE)
		return HOLDING_FOREIGN;
	if (claim == CLAIM_HELD)
		return HOLDING_GATEWAYS;
	/* A device that several have open. */
	if (!is_one_of && strstr(holder, ", "))
		return HOLDING_FOREIGN;
	if (around->gateway == GATEWAY_MUTE)
		return may_be_gateway(visit, holder) ? HOLDING_UNKNOWN
						     : HOLDING_FOREIGN;
	holder_of_pid(around->gateway_pid, own);
	if (strcmp(holder, own) == 0)
		return HOLDING_GATEWAYS;
	if (claim == CLAIM_NOT_HELD)
		return HOLDING_FOREIGN;
	return strstr(holder, "another program") ||
			       (is_one_of && strstr(holder, own))
		       ? HOLDING_UNKNOWN
		       : HOLDING_FOREIGN;
}

/* @thing is held; @cure is what to do if that is not by the gateway. */
static void add_held(const struct visit *visit, enum claim claim,
		     const char *thing, const char *holder, const char *cure)
{
	switch (find_holding(visit, claim, holder)) {
	case HOLDING_GATEWAYS:
		diagnosis_add(visit->diagnosis, FINDING_OK, visit->subject,
			      NULL, "%s is held by the gateway that runs",
			      thing);
		break;
	case HOLDING_FOREIGN:
		diagnosis_add(visit->diagnosis, FINDING_PROBLEM, visit->subject,
			      cure, "%s is held by %s", thing, holder);
		break;
	case HOLDING_UNKNOWN:
		diagnosis_add(visit->diagnosis, FINDING_NOTE, visit->subject,
			      geteuid() ? "sudo btgate doctor"
					: "'systemctl status btgate' shows "
					  "the gateway's processes",
			      "%s is held by %s, which may be the gateway that "
			      "runs",
			      thing, holder);
		break;
	}
}

/* ---- sockets --------------------------------------------------------------- */

static void forget_client(struct stream *client, void *arg)
{
	stream_close(client, STREAM_CLOSE_ABORT);
}

/* The sentence of a listener: "THING is held by HOLDER; CURE". */
static void add_held_sentence(const struct visit *visit, enum claim claim,
			      char *sentence)
{
	static const char verb[] = " is held by ", end[] = "; ";
	char *holder = strstr(sentence, verb);
	char *cure = strstr(sentence, end);

	if (!holder || !cure) {
		diagnosis_add_sentence(visit->diagnosis, FINDING_PROBLEM,
				       visit->subject, sentence);
		return;
	}
	*holder = *cure = '\0';
	add_held(visit, claim, sentence, holder + strlen(verb),
		 cure + strlen(end));
}

static void look_at_socket(const struct visit *visit, enum claim claim,
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
	} else if (code == -EADDRINUSE) {
		add_held_sentence(visit, claim, error.text);
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

/*
 * What to do about the @mode that @path is wanted in: by its group, where that
 * may. False: nothing. What is said is to be had everywhere, as setfacl is not.
 */
static bool advise_group(const char *path, mode_t mode, char cure[CURE_BYTES])
{
	const struct group *group = NULL;
	struct stat status;
	char user[USER_BYTES];

	/* Nobody is to be of root's. */
	if (stat(path, &status) == 0 && (status.st_mode & mode) == mode &&
	    status.st_gid)
		group = getgrgid(status.st_gid);
	if (group)
		snprintf(cure, CURE_BYTES,
			 "sudo adduser %s %s, and log in again",
			 name_user(user), group->gr_name);
	return group;
}

/* The same where something cannot be made at @path, for want of @directory. */
static void advise_directory(const char *path, const char *directory,
			     char cure[CURE_BYTES])
{
	const char *end = strrchr(path, '/');
	int bytes = end ? (int)(end - path) : 0;
	char user[USER_BYTES];

	if (advise_group(directory, S_IWGRP | S_IXGRP, cure))
		return;
	name_user(user);
	/* What is missing may be this user's, what is there stays as it is. */
	if (bytes && (strncmp(path, directory, (size_t)bytes) ||
		      directory[bytes] != '\0'))
		snprintf(cure, CURE_BYTES, "sudo install -d -o %s '%.*s'", user,
			 bytes, path);
	else
		snprintf(cure, CURE_BYTES,
			 "sudo install -d -o %s '%.*s/btgate', and a path in "
			 "that",
			 user, bytes, path);
}

/* Whether something can be made at @path. */
static void look_at_room(const struct visit *visit, const char *path)
{
	char directory[PATH_MAX], cure[CURE_BYTES] = "another path";

	find_directory(path, directory);
	if (faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) < 0) {
		int code = errno;

		if (code == EACCES)
			advise_directory(path, directory, cure);
		diagnosis_add(visit->diagnosis, FINDING_PROBLEM, visit->subject,
			      cure, "%s cannot be made: %s in %s", path,
			      strerror(code), directory);
	} else {
		diagnosis_add(visit->diagnosis, FINDING_OK, visit->subject,
			      NULL, "%s can be made", path);
	}
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

static const char end_holder[] = "end that program, or choose another path";

/* Beside something that is there: whether a gateway holds it. */
static void look_at_lock(const struct visit *visit, enum claim claim,
			 const char *path, bool is_link)
{
	const json_t *own = json_object_get(visit->around->status, "pid");
	char holder[HOLDER_TEXT_BYTES] = "another program";
	char cure[PATH_MAX + 16];
	pid_t pid;

	snprintf(cure, sizeof(cure), "sudo mv '%s' '%s.old'", path, path);
	switch (lockfile_look(path, &pid)) {
	case LOCKFILE_HELD:
		if (pid)
			holder_of_pid(pid, holder);
		/* Both as that process sees itself. */
		if (pid && pid == json_integer_value(own))
			claim = CLAIM_HELD;
		add_held(visit, claim, path, holder, end_holder);
		return;
	case LOCKFILE_UNREADABLE:
		if (claim == CLAIM_HELD)
			add_held(visit, claim, path, holder, end_holder);
		else
			diagnosis_add(visit->diagnosis, FINDING_NOTE,
				      visit->subject, "sudo btgate doctor",
				      "%s is there; by whom it is held cannot "
				      "be seen: %s.lock is not for this user",
				      path, path);
		return;
	case LOCKFILE_STALE:
		if (!is_link)
			break;
		diagnosis_add(visit->diagnosis, FINDING_NOTE, visit->subject,
			      "the gateway replaces it when it starts",
			      "%s is stale: a gateway that was killed left it",
			      path);
		return;
	case LOCKFILE_MISSING:
		break;
	}
	diagnosis_add(visit->diagnosis, FINDING_PROBLEM, visit->subject, cure,
		      "%s is there already, and is not the gateway's", path);
}

/* Where the links to its next ptys are made, and nothing else may be. */
static void look_at_next(const struct visit *visit, const char *path)
{
	char next[PATH_MAX], cure[CURE_BYTES], target[32] = "";
	char holder[HOLDER_TEXT_BYTES] = "another program";
	bool is_stale;
	pid_t pid;

	is_stale = lockfile_look(path, &pid) == LOCKFILE_STALE;
	snprintf(next, sizeof(next), "%s" ADDRESS_PATH_NEXT, path);
	if (lockfile_look(next, &pid) == LOCKFILE_HELD) {
		if (pid)
			holder_of_pid(pid, holder);
		diagnosis_add(visit->diagnosis, FINDING_PROBLEM, visit->subject,
			      "another path for one of them",
			      "%s is held by %s, and is needed for %s, too",
			      next, holder, path);
		return;
	}
	if (faccessat(AT_FDCWD, next, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	/* The gateway removes what a killed one left. */
	if (is_stale && readlink(next, target, sizeof(target) - 1) > 0 &&
	    strncmp(target, PTY_SLAVE_DIRECTORY, strlen(PTY_SLAVE_DIRECTORY)) ==
		    0)
		return;
	snprintf(cure, sizeof(cure), "sudo mv '%s' '%s.old'", next, next);
	diagnosis_add(visit->diagnosis, FINDING_PROBLEM, visit->subject, cure,
		      "%s is there already, and is needed for %s", next, path);
}

static void look_at_pty(const struct visit *visit, enum claim claim,
			const struct endpoint_pty *pty)
{
	struct stat status = {0};

	look_at_access(visit, pty->path, &pty->access);
	if (lstat(pty->path, &status) < 0 && errno == ENOENT)
		look_at_room(visit, pty->path);
	else
		look_at_lock(visit, claim, pty->path, S_ISLNK(status.st_mode));
}

static void look_at_unix(const struct visit *visit, enum claim claim,
			 const struct endpoint_unix *local)
{
	const char *path = local->path;
	char holder[HOLDER_TEXT_BYTES], cure[PATH_MAX + 16];
	struct stat status;

	look_at_access(visit, path, &local->access);
	snprintf(cure, sizeof(cure), "sudo mv '%s' '%s.old'", path, path);
	if (lstat(path, &status) < 0)
		look_at_room(visit, path);
	else if (!S_ISSOCK(status.st_mode))
		diagnosis_add(visit->diagnosis, FINDING_PROBLEM, visit->subject,
			      cure, "%s is there already, and is no socket",
			      path);
	else if (holder_of_unix_path(path, holder))
		add_held(visit, claim, path, holder, end_holder);
	else
		diagnosis_add(visit->diagnosis, FINDING_NOTE, visit->subject,
			      "the gateway replaces it when it starts",
			      "%s is there, and no program is seen that "
			      "listens there",
			      path);
}

static void look_at_serial(const struct visit *visit, const char *path)
{
	char holder[HOLDER_TEXT_BYTES], cure[CURE_BYTES], user[USER_BYTES];

	if (access(path, F_OK) < 0) {
		diagnosis_add(
			visit->diagnosis, FINDING_NOTE, visit->subject,
			"plug it in; 'ls -l /dev/serial/by-id' shows what "
			"there is",
			"%s is not there", path);
		return;
	}
	snprintf(cure, sizeof(cure),
		 "sudo adduser %s dialout, and log in again", name_user(user));
	if (faccessat(AT_FDCWD, path, R_OK | W_OK, AT_EACCESS) < 0)
		diagnosis_add(visit->diagnosis, FINDING_PROBLEM, visit->subject,
			      cure, "%s: %s", path, strerror(errno));
	else if (holder_of_device(path, holder))
		add_held(visit, CLAIM_NONE, path, holder, "end that program");
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
	char cure[CURE_BYTES];

	if (access(path, F_OK) < 0) {
		look_at_room(visit, path);
	} else if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) < 0) {
		int code = errno;

		if (!advise_group(path, S_IWGRP, cure))
			snprintf(cure, sizeof(cure),
				 "sudo chgrp %u '%s' && sudo chmod g+w '%s', "
				 "or another path",
				 (unsigned int)getegid(), path, path);
		diagnosis_add(visit->diagnosis, FINDING_PROBLEM, visit->subject,
			      cure, "%s cannot be written: %s", path,
			      strerror(code));
	} else {
		diagnosis_add(visit->diagnosis, FINDING_OK, visit->subject,
			      NULL, "%s can be written", path);
	}
}

/* Its files take turns by being renamed, or made anew. */
static void look_at_trace(const struct visit *visit, const char *path)
{
	char next[PATH_MAX + 4], cure[CURE_BYTES], user[USER_BYTES];
	struct stat status;

	/* It gets its mode at each start (trace_file.c). */
	if (stat(path, &status) == 0 && status.st_uid != geteuid() &&
	    !capability_has(CAP_FOWNER)) {
		snprintf(cure, sizeof(cure),
			 "sudo chown %s '%s', or move it away", name_user(user),
			 path);
		diagnosis_add(visit->diagnosis, FINDING_PROBLEM, visit->subject,
			      cure,
			      "%s cannot be written: it is another user's",
			      path);
	} else {
		look_at_file(visit, path);
	}
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
	enum claim claim = find_claim(visit, ENDPOINT_ROLE_LISTEN);
	const struct endpoint_settings settings = {
		.adapter = route->adapter,
		.security = route->security,
		.reserved_ports = route->reserved_ports,
	};

	switch (listen->kind) {
	case ENDPOINT_KIND_RFCOMM:
	case ENDPOINT_KIND_L2CAP:
		if (visit->around->has_bluetooth)
			look_at_socket(visit, claim, listen, &settings);
		break;
	case ENDPOINT_KIND_TCP:
	case ENDPOINT_KIND_TLS:
		look_at_socket(visit, claim, listen, &settings);
		break;
	case ENDPOINT_KIND_UNIX:
		look_at_unix(visit, claim, &listen->local);
		break;
	case ENDPOINT_KIND_PTY:
		look_at_pty(visit, claim, &listen->pty);
		look_at_next(visit, listen->pty.path);
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
		look_at_pty(visit, find_claim(visit, ENDPOINT_ROLE_CONNECT),
			    &connect->pty);
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
	char cure[CURE_BYTES], user[USER_BYTES];

	look_at_access(visit, path, access);
	if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0 || errno != EACCES)
		return;
	if (access->group && access->mode & S_IWGRP)
		snprintf(cure, sizeof(cure),
			 "sudo adduser %s %s, and log in again",
			 name_user(user), access->group);
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
		look_at_socket(&visit,
			       find_metrics_claim(&visit, &gateway->metrics),
			       &gateway->metrics, &settings);
	}
}
