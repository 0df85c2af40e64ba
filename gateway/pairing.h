/* SPDX-License-Identifier: MIT */
/*
 * Who may pair, and who has: answers what bluetoothd asks of our agent by one
 * method, and tells of each device that is newly paired, by whatever way.
 *
 * Knows methods, and the routes as far as they say who may use which service;
 * does not know whose window it is, how long it is open, or where a person sits.
 * Logs nothing: PINs and numbers go to whoever is told.
 *
 * A device that says that it can neither show nor type a number is let in by the
 * kernel without a question, whatever the method (hci_user_confirm_request_evt,
 * Linux 6.12): PAIRING_HOW_UNASKED tells.
 */
#ifndef BTGATE_PAIRING_H
#define BTGATE_PAIRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address.h"

struct bluez;
struct device;
struct error;
struct pairing;

/* What Bluetooth's legacy pairing takes, in bytes (Core spec, Vol 2 part C) */
#define PAIRING_PIN_BYTES_MAX 16
#define PAIRING_PIN_BYTES (PAIRING_PIN_BYTES_MAX + 1)

/* How long a person lets devices pair who has not said. */
#define PAIRING_WINDOW_MS (2 * 60 * 1000)
/* What bluetoothd is given on top to close the window if nobody else does. */
#define PAIRING_WINDOW_GRACE_S 10

enum pairing_method {
	PAIRING_METHOD_FREE, /* who comes pairs; who wants a PIN does not */
	PAIRING_METHOD_PIN, /* who knows the PIN; who wants none does not */
	PAIRING_METHOD_ASK, /* a person decides, on every device */
};

enum pairing_how {
	PAIRING_HOW_FREE, /* without a question, as PAIRING_METHOD_FREE has it */
	PAIRING_HOW_PIN,
	PAIRING_HOW_COMPARED, /* both showed the same number */
	PAIRING_HOW_TYPED, /* one showed a number, the other typed it */
	PAIRING_HOW_ALLOWED, /* without a number, and a person said yes */
	/*
	 * Ours was not asked, against the method: another program's agent
	 * answered, or it can neither show nor type a number.
	 */
	PAIRING_HOW_UNASKED,
};

const char *pairing_how_to_string(enum pairing_how how);

enum pairing_refusal {
	PAIRING_REFUSAL_NONE,
	PAIRING_REFUSAL_PIN, /* it asks for a PIN, against the method */
	PAIRING_REFUSAL_NUMBER, /* it shows a number that nobody types */
	PAIRING_REFUSAL_NO_PIN, /* it would pair without one */
	PAIRING_REFUSAL_SERVICE, /* none of the routes has it for this device */
	PAIRING_REFUSAL_OTHER, /* it is not the only one that may */
	PAIRING_REFUSAL_ADAPTER, /* it came to another adapter */
	PAIRING_REFUSAL_NO_RANDOM, /* the kernel has no PIN to offer */
};

const char *pairing_refusal_to_string(enum pairing_refusal refusal);

struct pairing_settings {
	struct address_adapter adapter; /* whose devices are told of */
	enum pairing_method method;
	/*
	 * PAIRING_METHOD_PIN; NULL: one for each attempt. Who comes has to type
	 * it before we are asked, so it is shown ahead, unless there is an @only.
	 */
	const char *pin;
	const struct address_bluetooth *only; /* all others are refused */
};

enum pairing_question {
	PAIRING_QUESTION_PIN, /* which one? */
	PAIRING_QUESTION_NUMBER, /* the one that the device shows? */
	PAIRING_QUESTION_COMPARE, /* does it show this one? yes or no */
	PAIRING_QUESTION_ALLOW, /* yes or no */
};

/*
 * All run from the loop, and must not free it. A device's name is as the device
 * sent it.
 */
struct pairing_ops {
	void (*paired)(const struct device *device, enum pairing_how how,
		       void *arg);
	/*
	 * Whether a route offers the service to the device: bluetoothd asks
	 * where it listens itself, not for routes' own sockets. NULL: none.
	 */
	bool (*offers)(const struct address_uuid *uuid,
		       const struct address_bluetooth *address,
		       const char *name, void *arg);
	/* Once for each device and reason, as long as it is remembered. */
	void (*refused)(const struct device *device, enum pairing_refusal why,
			void *arg);
	/*
	 * To be typed on the device: a PIN or a number; a PIN for whoever comes
	 * next without a @device.
	 */
	void (*show)(const struct device *device, const char *text, void *arg);
	/* For pairing_answer; PAIRING_METHOD_ASK only. */
	void (*ask)(const struct device *device, enum pairing_question question,
		    uint32_t number, void *arg);
	/* What was asked or shown last is over. */
	void (*withdrawn)(void *arg);
	/* bluetoothd has our agent (0), or not: -errno and a sentence. */
	void (*registered)(int code, const struct error *error, void *arg);
	/*
	 * What pairing_begin began: 0, after it was told that the device is
	 * paired, or -errno and a sentence; -EEXIST: it was already.
	 */
	void (*ended)(int code, const struct error *error, void *arg);
};

/*
 * @settings is copied; what it points to must stay. NULL with errno set.
 */
struct pairing *pairing_new(struct bluez *bluez,
			    const struct pairing_settings *settings,
			    const struct pairing_ops *ops, void *arg);
/* Before the bluez; the agent itself ends with that. NULL is legal. */
void pairing_free(struct pairing *pairing);

/*
 * Pair with the device whose object is @path from this side; one at a time, and
 * only while bluetoothd has our agent. 0, or -errno.
 */
int pairing_begin(struct pairing *pairing, const char *path);

/*
 * Answer what was asked last, by what a person typed. 0, or -EINVAL with what
 * is wrong with it: then it is still being asked. -ENOENT: nothing is.
 */
int pairing_answer(struct pairing *pairing, const char *text,
		   struct error *error);
/* Nobody can answer (any more): refuse what is asked. */
void pairing_refuse(struct pairing *pairing);

/* 0, or -EINVAL: @pin is none. */
int pairing_check_pin(const char *pin, struct error *error);

#endif
