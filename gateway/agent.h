/* SPDX-License-Identifier: MIT */
/*
 * Our pairing agent at bluetoothd (AgentManager1, Agent1): what it asks while a
 * device pairs, and what it is answered; and pairing that begins here
 * (Device1.Pair).
 *
 * It never asks to be the default agent: bluetoothd (5.51 and later) makes it
 * that if it is the only one, and else goes on asking the one that was there
 * before (bluez src/agent.c). What we begin ourselves is asked of us always.
 *
 * Knows the calls and their deadlines; does not know whether bluetoothd is
 * there (it is told), nor what is to be answered. Logs no PIN and no number.
 */
#ifndef BTGATE_AGENT_H
#define BTGATE_AGENT_H

#include <stdbool.h>
#include <stdint.h>

struct agent;
struct bus;
struct error;
struct loop;
struct sd_bus;

/* What whoever answers can do: it decides how devices pair, or whether. */
enum agent_capability {
	/* Nothing: who comes pairs, and bluetoothd asks for PINs only. */
	AGENT_CAPABILITY_NONE,
	/* Show a number and say yes or no. */
	AGENT_CAPABILITY_DISPLAY,
	/* And type one. */
	AGENT_CAPABILITY_KEYBOARD,
};

enum agent_request_kind {
	AGENT_REQUEST_PIN, /* of 1 to 16 bytes; for devices before 2.1 */
	AGENT_REQUEST_NUMBER, /* the one that the device shows */
	AGENT_REQUEST_CONFIRM, /* whether the device shows @number, too */
	AGENT_REQUEST_ALLOW, /* pairing without a number */
	AGENT_REQUEST_SERVICE, /* connecting to the service @text */
	/* What is to be typed on the device: see agent_ops.shown. */
	AGENT_REQUEST_SHOW_PIN,
	AGENT_REQUEST_SHOW_NUMBER,
};

struct agent_request {
	enum agent_request_kind kind;
	const char *path; /* the device's object */
	uint32_t number; /* 0 to 999999 */
	const char
		*text; /* the PIN to show, or the UUID as bluetoothd has it */
};

/* All run from the loop, and must not free the agent. */
struct agent_ops {
	/*
	 * Answer it by one of the calls below, now or within 50 s; after that
	 * it is refused. There is one at a time. @request is gone afterwards.
	 */
	void (*asked)(const struct agent_request *request, void *arg);
	/*
	 * To be shown, whatever else is being asked. False: it is not, and a
	 * device whose PIN it is may not pair (bluetoothd waits for the person
	 * who types a number no matter what it is told here, 5.66).
	 */
	bool (*shown)(const struct agent_request *request, void *arg);
	/* What was asked last needs no answer any more. */
	void (*withdrawn)(void *arg);
	/*
	 * bluetoothd has it (0), or has refused it (-errno, and a sentence): it
	 * is tried again.
	 */
	void (*registered)(int code, const struct error *error, void *arg);
};

/* Not known to any bluetoothd yet. NULL with errno set. */
struct agent *agent_new(struct loop *loop, struct bus *bus,
			enum agent_capability capability,
			const struct agent_ops *ops, void *arg);
/* What is being asked is refused, and pairing that we began called off. */
void agent_free(struct agent *agent);

/*
 * A bluetoothd is there, @owner on the bus, to which @handle leads: register
 * with it, again and again until it has it. Both must stay until agent_detach.
 */
void agent_attach(struct agent *agent, struct sd_bus *handle,
		  const char *owner);
/* It, or the connection to it, is gone. */
void agent_detach(struct agent *agent);
bool agent_is_registered(const struct agent *agent);

/* The answers. Each does nothing when nothing is being asked. */
void agent_accept(struct agent *agent);
void agent_refuse(struct agent *agent);
void agent_give_pin(struct agent *agent, const char *pin);
void agent_give_number(struct agent *agent, uint32_t number);

/* 0, or -errno and a sentence; -EEXIST: it was paired already. */
typedef void (*agent_paired_cb)(int code, const struct error *error, void *arg);
/*
 * Pair with the device whose object is @path, which may take a minute. One at a
 * time. 0, or -errno: -ENOTCONN while not registered.
 */
int agent_pair(struct agent *agent, const char *path, agent_paired_cb done,
	       void *arg);

#endif
