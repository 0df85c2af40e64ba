/* SPDX-License-Identifier: MIT */
/*
 * What both ways of btgate pair have in common, the window and the one device:
 * options, bluetoothd, the person who is asked, and what ends it.
 *
 * Knows bluetoothd as far as it has to be there; does not know who is to pair.
 */
#ifndef BTGATE_COMMAND_DIALOGUE_H
#define BTGATE_COMMAND_DIALOGUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "pairing.h"
#include "person.h"

struct bluez;
struct bluez_settings;
struct command_options;
struct event;
struct loop;

/* By when bluetoothd, an adapter, its power and our agent have to be there. */
#define DIALOGUE_START_MS 8000

enum dialogue_signal {
	DIALOGUE_SIGNAL_INT,
	DIALOGUE_SIGNAL_TERM,
	DIALOGUE_SIGNAL_HUP,
	DIALOGUE_SIGNALS,
};

/* Zeroed to begin with, but for the owner. */
struct dialogue {
	void *owner; /* for the owner's pairing_ops, whose @arg is this */
	struct loop *loop;
	struct bluez *bluez;
	struct person person; /* its pairing NULL: there is no agent of ours */
	struct pairing_settings settings;
	unsigned int duration_ms;
	bool is_called_off; /* by a signal */
	int code; /* 0, or why it came to nothing */
	struct error error;
	/* What follows is its own. */
	struct event *deadline;
	struct event *signals[DIALOGUE_SIGNALS];
	char *pin;
};

/* Adapter, method, PIN, --for and --json. 0, or -errno and a sentence. */
int dialogue_parse(struct dialogue *dialogue,
		   const struct command_options *options, struct error *error);
/*
 * Make the loop and follow bluetoothd; a signal stops the loop. 0, or -errno,
 * also as the dialogue's error where there is more to say.
 */
int dialogue_start(struct dialogue *dialogue,
		   const struct bluez_settings *settings);
/* Our agent from now on, by the dialogue's settings. 0 or -errno. */
int dialogue_register(struct dialogue *dialogue, const struct pairing_ops *ops);
/* Stop the loop after the dialogue's duration. */
void dialogue_limit(struct dialogue *dialogue);
/* It came to nothing: stop the loop. */
void dialogue_fail(struct dialogue *dialogue, int code,
		   const struct error *error);
/* Takes all of it down; what was said of it stays. */
void dialogue_clear(struct dialogue *dialogue);

/* What is missing at bluetoothd so that devices could pair; -errno. */
int dialogue_explain(const struct dialogue *dialogue, struct error *error);
/* "; do this" against a refusal, or "". */
const char *dialogue_advice(enum pairing_refusal why);

/* Who reads along has gone: that fails it. */
void dialogue_flush(struct dialogue *dialogue);
/* The line of a device that has paired. */
void dialogue_print_paired(struct dialogue *dialogue,
			   const struct device *device, enum pairing_how how);

/* For pairing_ops, with the dialogue as @arg. */
void dialogue_show(const struct device *device, const char *text, void *arg);
void dialogue_ask(const struct device *device, enum pairing_question question,
		  uint32_t number, void *arg);
void dialogue_withdrawn(void *arg);

#endif
