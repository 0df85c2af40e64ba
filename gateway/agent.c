/* SPDX-License-Identifier: MIT */
#include "agent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <systemd/sd-bus.h>

#include "backoff.h"
#include "bus.h"
#include "error.h"
#include "log.h"
#include "loop.h"

#define AGENT_PATH "/btgate/agent"
#define MANAGER_PATH "/org/bluez"
#define MANAGER_INTERFACE "org.bluez.AgentManager1"
#define DEVICE_INTERFACE "org.bluez.Device1"
#define REJECTED "org.bluez.Error.Rejected"
/* bluetoothd waits for 60 s (REQUEST_TIMEOUT, src/agent.c). */
#define ANSWER_MS 50000
/* Finding the device, its question, and whoever answers that. */
#define PAIR_MS 100000

struct agent {
	struct loop *loop;
	struct bus *bus;
	enum agent_capability capability;
	const struct agent_ops *ops;
	void *arg;
	sd_bus *handle; /* NULL: no bluetoothd */
	const char *owner; /* its unique name */
	sd_bus_slot *object;
	sd_bus_slot *call; /* RegisterAgent */
	bool is_registered;
	struct event *retry_timer;
	struct backoff retry;
	sd_bus_message *question; /* not answered yet; NULL: none */
	enum agent_request_kind kind; /* of the question */
	struct event *answer_timer;
	sd_bus_slot *pair_call;
	char *pair_path;
	agent_paired_cb paired;
	void *paired_arg;
};

static const char *capability_to_string(enum agent_capability capability)
{
	switch (capability) {
	case AGENT_CAPABILITY_NONE:
		return "NoInputNoOutput";
	case AGENT_CAPABILITY_DISPLAY:
		return "DisplayYesNo";
	case AGENT_CAPABILITY_KEYBOARD:
		return "KeyboardDisplay";
	}
	return "?";
}

/* ---- questions and answers ------------------------------------------------ */

static void forget_question(struct agent *agent)
{
	agent->question = sd_bus_message_unref(agent->question);
	event_del(agent->answer_timer);
}

/* The one way in which a question gets its answer; @code is of the sending. */
static void finish_question(struct agent *agent, int code)
{
	if (code < 0)
		log_debug("bluez: answering it: %s", strerror(-code));
	forget_question(agent);
	bus_watch(agent->bus);
}

void agent_accept(struct agent *agent)
{
	if (agent->question)
		finish_question(agent, sd_bus_reply_method_return(
					       agent->question, NULL));
}

void agent_refuse(struct agent *agent)
{
	if (agent->question)
		finish_question(agent, sd_bus_reply_method_errorf(
					       agent->question, REJECTED,
					       "not allowed here"));
}

void agent_give_pin(struct agent *agent, const char *pin)
{
	if (!agent->question || agent->kind != AGENT_REQUEST_PIN)
		return;
	/* So is its answer: wiped when it is freed. */
	sd_bus_message_sensitive(agent->question);
	finish_question(agent,
			sd_bus_reply_method_return(agent->question, "s", pin));
}

void agent_give_number(struct agent *agent, uint32_t number)
{
	if (agent->question && agent->kind == AGENT_REQUEST_NUMBER)
		finish_question(agent, sd_bus_reply_method_return(
					       agent->question, "u", number));
}

static void on_answer_timer(evutil_socket_t fd, short what, void *arg)
{
	struct agent *agent = arg;

	agent_refuse(agent);
	agent->ops->withdrawn(agent->arg);
}

/* Signature and kind of what bluetoothd calls; "o" is the device. */
static const struct method {
	const char *member;
	enum agent_request_kind kind;
} methods[] = {
	{"RequestPinCode", AGENT_REQUEST_PIN},
	{"RequestPasskey", AGENT_REQUEST_NUMBER},
	{"RequestConfirmation", AGENT_REQUEST_CONFIRM},
	{"RequestAuthorization", AGENT_REQUEST_ALLOW},
	{"AuthorizeService", AGENT_REQUEST_SERVICE},
	{"DisplayPinCode", AGENT_REQUEST_SHOW_PIN},
	{"DisplayPasskey", AGENT_REQUEST_SHOW_NUMBER},
};

/* Read what comes with a question; -errno of a message that is none. */
static int read_request(sd_bus_message *call, struct agent_request *request)
{
	const char *member = sd_bus_message_get_member(call);
	size_t i = 0;
	int code = sd_bus_message_read(call, "o", &request->path);

	/* sd-bus calls only what is in the vtable. */
	while (strcmp(methods[i].member, member) != 0)
		i++;
	request->kind = methods[i].kind;
	if (code < 0)
		return code;
	switch (request->kind) {
	case AGENT_REQUEST_CONFIRM:
	case AGENT_REQUEST_SHOW_NUMBER:
		return sd_bus_message_read(call, "u", &request->number);
	case AGENT_REQUEST_SERVICE:
	case AGENT_REQUEST_SHOW_PIN:
		return sd_bus_message_read(call, "s", &request->text);
	case AGENT_REQUEST_PIN:
	case AGENT_REQUEST_NUMBER:
	case AGENT_REQUEST_ALLOW:
		break;
	}
	return code;
}

static bool is_from_daemon(const struct agent *agent, sd_bus_message *message)
{
	const char *sender = sd_bus_message_get_sender(message);

	return sender && agent->owner && strcmp(sender, agent->owner) == 0;
}

static int refuse_stranger(sd_bus_error *error)
{
	return sd_bus_error_set(error, SD_BUS_ERROR_ACCESS_DENIED,
				"only bluetoothd may");
}

static int refuse_device(sd_bus_error *error)
{
	return sd_bus_error_set(error, REJECTED, "not allowed here");
}

static int on_question(sd_bus_message *call, void *arg, sd_bus_error *error)
{
	struct agent *agent = arg;
	struct agent_request request = {0};
	int code;

	if (!is_from_daemon(agent, call))
		return refuse_stranger(error);
	code = read_request(call, &request);
	if (code < 0)
		return code;
	if (request.kind == AGENT_REQUEST_SHOW_PIN ||
	    request.kind == AGENT_REQUEST_SHOW_NUMBER) {
		if (!agent->ops->shown(&request, agent->arg))
			return refuse_device(error);
		return sd_bus_reply_method_return(call, NULL);
	}
	/* bluetoothd asks one thing at a time; a second one is not lost. */
	if (agent->question)
		return sd_bus_error_set(error, "org.bluez.Error.Canceled",
					"busy with another device");
	agent->question = sd_bus_message_ref(call);
	agent->kind = request.kind;
	loop_start_timer(agent->answer_timer, ANSWER_MS);
	agent->ops->asked(&request, agent->arg);
	return 1;
}

static int on_cancel(sd_bus_message *call, void *arg, sd_bus_error *error)
{
	struct agent *agent = arg;

	if (!is_from_daemon(agent, call))
		return refuse_stranger(error);
	forget_question(agent);
	agent->ops->withdrawn(agent->arg);
	return sd_bus_reply_method_return(call, NULL);
}

/* bluetoothd ends, or has thrown it out: when it is back, from the beginning. */
static int on_release(sd_bus_message *call, void *arg, sd_bus_error *error)
{
	struct agent *agent = arg;

	if (!is_from_daemon(agent, call))
		return refuse_stranger(error);
	agent->is_registered = false;
	return sd_bus_reply_method_return(call, NULL);
}

/* Unprivileged: sd-bus would block to ask for the caller's. */
#define METHOD(name, signature, result, handler)        \
	SD_BUS_METHOD(name, signature, result, handler, \
		      SD_BUS_VTABLE_UNPRIVILEGED)

static const sd_bus_vtable agent_vtable[] = {
	SD_BUS_VTABLE_START(0),
	METHOD("RequestPinCode", "o", "s", on_question),
	METHOD("RequestPasskey", "o", "u", on_question),
	METHOD("RequestConfirmation", "ou", "", on_question),
	METHOD("RequestAuthorization", "o", "", on_question),
	METHOD("AuthorizeService", "os", "", on_question),
	METHOD("DisplayPinCode", "os", "", on_question),
	METHOD("DisplayPasskey", "ouq", "", on_question),
	METHOD("Cancel", "", "", on_cancel),
	METHOD("Release", "", "", on_release),
	SD_BUS_VTABLE_END,
};

/* ---- registration --------------------------------------------------------- */

static int on_registered(sd_bus_message *answer, void *arg,
			 sd_bus_error *unused)
{
	struct agent *agent = arg;
	const sd_bus_error *failure = sd_bus_message_get_error(answer);
	struct error error = {""};
	int code = 0;

	agent->call = sd_bus_slot_unref(agent->call);
	if (failure) {
		code = bus_explain(failure, &error);
		loop_start_timer(agent->retry_timer,
				 backoff_next_ms(&agent->retry));
	} else {
		agent->is_registered = true;
		backoff_reset(&agent->retry);
	}
	agent->ops->registered(code, &error, agent->arg);
	return 0;
}

static int ask_to_register(struct agent *agent)
{
	sd_bus_message *call = NULL;
	int code = bus_new_call(agent->handle, &call, MANAGER_PATH,
				MANAGER_INTERFACE, "RegisterAgent");

	if (code >= 0)
		code = sd_bus_message_append(
			call, "os", AGENT_PATH,
			capability_to_string(agent->capability));
	if (code >= 0)
		code = sd_bus_call_async(agent->handle, &agent->call, call,
					 on_registered, agent, 0);
	sd_bus_message_unref(call);
	bus_watch(agent->bus);
	return code;
}

/* One attempt, and when it cannot even be made the next one later. */
static void try_to_register(struct agent *agent)
{
	int code = 0;

	if (!agent->object)
		code = sd_bus_add_object_vtable(agent->handle, &agent->object,
						AGENT_PATH, "org.bluez.Agent1",
						agent_vtable, agent);
	if (code >= 0)
		code = ask_to_register(agent);
	if (code >= 0)
		return;
	log_warning("bluez: no pairing agent yet: %s", strerror(-code));
	loop_start_timer(agent->retry_timer, backoff_next_ms(&agent->retry));
}

static void on_retry_timer(evutil_socket_t fd, short what, void *arg)
{
	try_to_register(arg);
}

void agent_attach(struct agent *agent, struct sd_bus *handle, const char *owner)
{
	agent_detach(agent);
	agent->owner = owner;
	agent->handle = handle;
	try_to_register(agent);
}

static void finish_pair(struct agent *agent, int code,
			const struct error *error)
{
	agent->pair_call = sd_bus_slot_unref(agent->pair_call);
	free(agent->pair_path);
	agent->pair_path = NULL;
	agent->paired(code, error, agent->paired_arg);
}

void agent_detach(struct agent *agent)
{
	struct error error;
	bool was_asking = agent->question;

	forget_question(agent);
	event_del(agent->retry_timer);
	backoff_reset(&agent->retry);
	agent->call = sd_bus_slot_unref(agent->call);
	agent->object = sd_bus_slot_unref(agent->object);
	agent->is_registered = false;
	agent->handle = NULL;
	agent->owner = NULL;
	if (was_asking)
		agent->ops->withdrawn(agent->arg);
	if (agent->pair_path)
		finish_pair(agent,
			    error_set(&error, -ECONNRESET,
				      "bluetoothd went away meanwhile"),
			    &error);
}

bool agent_is_registered(const struct agent *agent)
{
	return agent->is_registered;
}

/* ---- pairing that begins here ---------------------------------------------- */

static int explain_pair(const sd_bus_error *failure, struct error *error)
{
	static const struct {
		const char *name;
		int code;
		const char *words;
	} known[] = {
		{"org.bluez.Error.AlreadyExists", -EEXIST,
		 "it is paired already"},
		{"org.bluez.Error.ConnectionAttemptFailed", -EHOSTDOWN,
		 "it does not answer; switch it on, bring it near, and make it "
		 "ready to pair"},
		{"org.bluez.Error.AuthenticationFailed", -EACCES,
		 "it, or this machine, did not agree: a wrong PIN or number, "
		 "or "
		 "an old pairing that only one of them remembers "
		 "('bluetoothctl remove ADDRESS' here, and forget it there)"},
		{"org.bluez.Error.AuthenticationRejected", -EACCES,
		 "it was rejected; make the device ready to pair"},
		{"org.bluez.Error.AuthenticationCanceled", -ECANCELED,
		 "it was cancelled"},
		{"org.bluez.Error.AuthenticationTimeout", -ETIMEDOUT,
		 "nobody confirmed it on the device in time"},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (failure->name && !strcmp(failure->name, known[i].name))
			return error_set(error, known[i].code, "%s",
					 known[i].words);
	return bus_explain(failure, error);
}

static int on_paired(sd_bus_message *answer, void *arg, sd_bus_error *unused)
{
	struct agent *agent = arg;
	const sd_bus_error *failure = sd_bus_message_get_error(answer);
	struct error error = {""};

	finish_pair(agent, failure ? explain_pair(failure, &error) : 0, &error);
	return 0;
}

int agent_pair(struct agent *agent, const char *path, agent_paired_cb done,
	       void *arg)
{
	sd_bus_message *call = NULL;
	int code;

	if (!agent->is_registered)
		return -ENOTCONN;
	if (agent->pair_path)
		return -EBUSY;
	agent->pair_path = strdup(path);
	if (!agent->pair_path)
		return -ENOMEM;
	agent->paired = done;
	agent->paired_arg = arg;
	code = bus_new_call(agent->handle, &call, path, DEVICE_INTERFACE,
			    "Pair");
	if (code >= 0)
		code = sd_bus_call_async(agent->handle, &agent->pair_call, call,
					 on_paired, agent,
					 (uint64_t)PAIR_MS * 1000);
	sd_bus_message_unref(call);
	bus_watch(agent->bus);
	if (code < 0) {
		free(agent->pair_path);
		agent->pair_path = NULL;
	}
	return code < 0 ? code : 0;
}

/* ---- the whole -------------------------------------------------------------- */

struct agent *agent_new(struct loop *loop, struct bus *bus,
			enum agent_capability capability,
			const struct agent_ops *ops, void *arg)
{
	struct agent *agent = calloc(1, sizeof(*agent));

	if (!agent)
		return NULL;
	agent->loop = loop;
	agent->bus = bus;
	agent->capability = capability;
	agent->ops = ops;
	agent->arg = arg;
	agent->retry_timer = evtimer_new(loop->base, on_retry_timer, agent);
	agent->answer_timer = evtimer_new(loop->base, on_answer_timer, agent);
	if (!agent->retry_timer || !agent->answer_timer) {
		agent_free(agent);
		errno = ENOMEM;
		return NULL;
	}
	return agent;
}

/* Answers to nobody: it is forgotten with the connection in any case. */
static void ask_to_unregister(struct agent *agent)
{
	sd_bus_message *call = NULL;
	int code = bus_new_call(agent->handle, &call, MANAGER_PATH,
				MANAGER_INTERFACE, "UnregisterAgent");

	if (code >= 0)
		code = sd_bus_message_append(call, "o", AGENT_PATH);
	if (code >= 0)
		code = sd_bus_message_set_expect_reply(call, 0);
	if (code >= 0)
		code = sd_bus_send(agent->handle, call, NULL);
	if (code < 0)
		log_debug("bluez: UnregisterAgent: %s", strerror(-code));
	sd_bus_message_unref(call);
	bus_watch(agent->bus);
}

/* What bluetoothd asked is answered, so that the device knows at once. */
void agent_free(struct agent *agent)
{
	if (!agent)
		return;
	if (agent->answer_timer)
		agent_refuse(agent);
	if (agent->is_registered)
		ask_to_unregister(agent);
	sd_bus_slot_unref(agent->pair_call);
	sd_bus_slot_unref(agent->call);
	sd_bus_slot_unref(agent->object);
	free(agent->pair_path);
	if (agent->retry_timer)
		event_free(agent->retry_timer);
	if (agent->answer_timer)
		event_free(agent->answer_timer);
	free(agent);
}
