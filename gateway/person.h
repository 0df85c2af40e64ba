/* SPDX-License-Identifier: MIT */
/*
 * A person at the terminal while devices pair: what is printed, what is asked,
 * and the lines that answer it on standard input.
 *
 * Knows one question at a time; does not know who may pair, for how long, or
 * what else the terminal is for.
 */
#ifndef BTGATE_PERSON_H
#define BTGATE_PERSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "pairing.h"

struct event;
struct loop;

/* Zeroed to begin with, but for the first part, which is the owner's. */
struct person {
	FILE *output; /* not flushed here */
	struct pairing *pairing; /* what is answered; the owner frees it */
	bool is_json;
	/*
	 * Standard input, a terminal, is somebody else's: it is read while
	 * something is asked, and what was typed for either is not the other's.
	 */
	bool is_guest;
	/* What follows is its own. */
	struct event *input;
	char answer[64]; /* the line so far */
	size_t answer_bytes;
	bool is_asking;
	bool is_end_of_input;
};

/*
 * Ready to ask. 0, or -errno: -EPERM where standard input is nothing that can
 * be waited for.
 */
int person_start(struct person *person, struct loop *loop);
/* What is being asked is called off. */
void person_stop(struct person *person);

/* For the owner's pairing_ops; a question that nobody can answer is refused. */
void person_show(struct person *person, const struct device *device,
		 const char *text);
void person_ask(struct person *person, const struct device *device,
		enum pairing_question question, uint32_t number);
void person_withdraw(struct person *person);
/* What is being asked, if anything is, is refused, and withdrawn. */
void person_call_off(struct person *person);

/* 00:11:22:33:44:55 "Name" */
void person_print_device(const struct person *person,
			 const struct device *device);
/* {"event": "EVENT", "address": ..., without the end. */
void person_print_json_device(const struct person *person, const char *event,
			      const struct device *device);
void person_print_json_text(const struct person *person, const char *key,
			    const char *text);
/* The line of a device that has paired; and a warning if nobody was asked. */
void person_print_paired(const struct person *person,
			 const struct device *device, enum pairing_how how);

#endif
