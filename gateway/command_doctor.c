/* SPDX-License-Identifier: MIT */
/* doctor: what stands between this machine and a Bluetooth serial link. */
#include "command.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "bluez.h"
#include "capability.h"
#include "config_load.h"
#include "control_client.h"
#include "diagnosis.h"
#include "diagnosis_bluez.h"
#include "diagnosis_machine.h"
#include "diagnosis_route.h"
#include "holder.h"
#include "log.h"
#include "loop.h"

/* bluetoothd answers in milliseconds; one that is being activated does not. */
#define ANSWER_MS 5000
/* So does a gateway. */
#define GATEWAY_ANSWER_S 3

struct doctor {
	struct diagnosis diagnosis;
	struct loop *loop;
	struct bluez *bluez;
	struct bluez_watcher watcher;
	struct event *deadline;
	struct config *config; /* NULL: there is none to be used */
	json_t *status; /* what the gateway says of itself, or NULL */
};

static void on_bluez_changed(struct bluez *bluez, void *arg)
{
	struct doctor *doctor = arg;

	if (*bluez_reason(bluez))
		loop_stop(doctor->loop);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct doctor *doctor = arg;

	loop_stop(doctor->loop);
}

static void add_config_error(const char *text, void *arg)
{
	diagnosis_add(arg, FINDING_PROBLEM, "configuration",
		      "correct it; 'btgate check' tells when it is right", "%s",
		      text);
}

/* Without a file there is still the machine to be looked at. */
static void look_at_config(struct doctor *doctor, const char *path)
{
	struct diagnosis *diagnosis = &doctor->diagnosis;

	if (access(path, F_OK) < 0 && errno == ENOENT)
		diagnosis_add(
			diagnosis, FINDING_NOTE, "configuration",
			"write one, as in btgate.conf(5), or name it with "
			"-c",
			"there is no %s", path);
	else if (config_load(path, &doctor->config, add_config_error,
			     diagnosis) == 0)
		diagnosis_add(diagnosis, FINDING_OK, "configuration", NULL,
			      "%s is valid, %zu route%s", path,
			      doctor->config->route_count,
			      doctor->config->route_count == 1 ? "" : "s");
}

static void look_at_gateway(struct doctor *doctor)
{
	const struct config *config = doctor->config;

	if (config && !config->gateway.is_discoverable &&
	    config_listens_on_bluetooth(config) &&
	    !capability_has(CAP_NET_ADMIN))
		diagnosis_add(&doctor->diagnosis, FINDING_NOTE, "configuration",
			      "AmbientCapabilities=CAP_NET_ADMIN in a drop-in, "
			      "'sudo systemctl edit btgate'",
			      "discoverable = no lets in paired devices only, "
			      "and strangers by its address only with "
			      "CAP_NET_ADMIN");
}

/* What is at the control socket, which @code of connecting to it tells. */
static enum diagnosis_gateway look_at_answer(struct doctor *doctor,
					     const char *path, pid_t pid,
					     int code)
{
	struct diagnosis *diagnosis = &doctor->diagnosis;
	bool is_running = diagnosis_is_gateway_running("");
	char holder[HOLDER_TEXT_BYTES];

	switch (code) {
	case 0:
		if (doctor->status) {
			diagnosis_add(diagnosis, FINDING_OK, "gateway", NULL,
				      "process %d is running, and answers at "
				      "%s",
				      pid, path);
			return GATEWAY_ANSWERS;
		}
		break;
	case -ENOENT:
	case -ECONNREFUSED:
		if (is_running)
			diagnosis_add(diagnosis, FINDING_NOTE, "gateway",
				      "name its configuration with -c; its log "
				      "says so if it has no control socket",
				      "one is running, and nothing answers at "
				      "%s",
				      path);
		return is_running ? GATEWAY_MUTE : GATEWAY_NONE;
	case -ENOTSUP: /* control = no */
	case -EACCES: /* which diagnosis_gateway tells */
		if (is_running)
			diagnosis_add(diagnosis, FINDING_OK, "gateway", NULL,
				      "one is running");
		return is_running ? GATEWAY_MUTE : GATEWAY_NONE;
	case -EAGAIN: /* its queue is full, or it is no stream */
	case -EPROTOTYPE:
		break;
	default: /* which tells nothing of who is there */
		diagnosis_add(diagnosis, FINDING_PROBLEM, "gateway",
			      "set that right, and try again",
			      "it cannot be asked at %s: %s", path,
			      strerror(-code));
		return is_running ? GATEWAY_MUTE : GATEWAY_NONE;
	}
	if (pid)
		holder_of_pid(pid, holder);
	else
		holder_of_unix_path(path, holder);
	diagnosis_add(diagnosis, FINDING_PROBLEM, "gateway",
		      "sudo systemctl restart btgate, or end that program",
		      "%s is held by %s, which does not answer", path, holder);
	return GATEWAY_MUTE;
}

/* Whoever is asked may hang. */
static void ask_gateway(struct doctor *doctor,
			const struct command_options *options,
			struct diagnosis_surroundings *around)
{
	struct command_options quiet = *options;
	struct control_client client;
	int code;

	quiet.is_quiet = true;
	code = control_client_open_within(&client, &quiet, GATEWAY_ANSWER_S);
	if (code == 0) {
		doctor->status = control_client_agreed(
			&client, control_client_ask(&client, "status", NULL));
		around->gateway_pid = control_client_pid(&client);
	}
	around->status = doctor->status;
	around->gateway = look_at_answer(doctor, client.path,
					 around->gateway_pid, code);
	control_client_close(&client);
}

static void look_at_routes(struct doctor *doctor,
			   const struct command_options *options,
			   bool has_bluetooth)
{
	struct diagnosis_surroundings around = {
		.root = "",
		.has_bluetooth = has_bluetooth,
	};

	ask_gateway(doctor, options, &around);
	if (doctor->config)
		diagnosis_agent(&doctor->diagnosis, doctor->bluez,
				doctor->config, around.gateway != GATEWAY_NONE,
				diagnosis_is_window_open(""));
	if (doctor->config)
		diagnosis_gateway(&doctor->diagnosis, doctor->loop,
				  &doctor->config->gateway, &around);
	for (size_t i = 0; doctor->config && i < doctor->config->route_count;
	     i++) {
		const struct config_route *route = &doctor->config->routes[i];

		diagnosis_route(&doctor->diagnosis, doctor->loop, route,
				&around);
		diagnosis_devices(&doctor->diagnosis, doctor->bluez, route);
	}
}

static void look_around(struct doctor *doctor,
			const struct command_options *options)
{
	bool has_bluetooth;

	diagnosis_begin(&doctor->diagnosis);
	has_bluetooth = diagnosis_machine(&doctor->diagnosis, "");
	diagnosis_bluez(&doctor->diagnosis, doctor->bluez);
	look_at_config(doctor, options->config_path);
	look_at_gateway(doctor);
	look_at_routes(doctor, options, has_bluetooth);
	diagnosis_end(&doctor->diagnosis);
}

static int doctor_start(struct doctor *doctor)
{
	static const struct bluez_settings settings = {0};

	doctor->loop = loop_new();
	if (!doctor->loop)
		return -ENOMEM;
	doctor->deadline = evtimer_new(doctor->loop->base, on_deadline, doctor);
	if (!doctor->deadline || loop_start_timer(doctor->deadline, ANSWER_MS))
		return -ENOMEM;
	doctor->bluez = bluez_new(doctor->loop, &settings);
	if (!doctor->bluez)
		return -errno;
	bluez_watch(doctor->bluez, &doctor->watcher, on_bluez_changed, doctor);
	return loop_run(doctor->loop);
}

static void doctor_clear(struct doctor *doctor)
{
	json_decref(doctor->status);
	config_free(doctor->config);
	bluez_unwatch(&doctor->watcher);
	bluez_free(doctor->bluez);
	if (doctor->deadline)
		event_free(doctor->deadline);
	loop_free(doctor->loop);
}

int command_doctor(const struct command_options *options)
{
	struct doctor doctor = {
		.diagnosis =
			{
				.stream = stdout,
				.is_json = options->is_json,
				.is_brief = log_level() < LOG_LEVEL_WARNING,
			},
	};
	int code, status = COMMAND_STATUS_FAILED;

	code = doctor_start(&doctor);
	if (code < 0) {
		log_error("cannot look around: %s", strerror(-code));
	} else {
		look_around(&doctor, options);
		if (fflush(stdout) || ferror(stdout))
			log_error("cannot write to standard output: %s",
				  strerror(errno));
		else if (!doctor.diagnosis.problems)
			status = COMMAND_STATUS_OK;
	}
	doctor_clear(&doctor);
	return status;
}
