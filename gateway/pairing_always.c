/* SPDX-License-Identifier: MIT */
#include "pairing_always.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "address.h"
#include "device.h"
#include "error.h"
#include "log.h"
#include "pairing.h"
#include "route_set.h"
#include "text.h"

struct pairing_always {
	struct pairing *pairing;
	const struct route_set *routes;
};

#define DEVICE_TEXT_BYTES (ADDRESS_BLUETOOTH_TEXT_BYTES + TEXT_QUOTED_BYTES + 4)

/* 00:11:22:33:44:55 "Name" */
static const char *format_device(const struct device *device,
				 char text[DEVICE_TEXT_BYTES])
{
	const char *name = device->alias ? device->alias : device->name;
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES], quoted[TEXT_QUOTED_BYTES];

	address_bluetooth_format(&device->address, address);
	if (name)
		snprintf(text, DEVICE_TEXT_BYTES, "%s \"%s\"", address,
			 text_printable(name, quoted));
	else
		snprintf(text, DEVICE_TEXT_BYTES, "%s", address);
	return text;
}

static void on_paired(const struct device *device, enum pairing_how how,
		      void *arg)
{
	char text[DEVICE_TEXT_BYTES];

	log_info("pairing: %s is paired with %s (%s)",
		 format_device(device, text), device->adapter,
		 pairing_how_to_string(how));
}

static void on_refused(const struct device *device, enum pairing_refusal why,
		       void *arg)
{
	char text[DEVICE_TEXT_BYTES];

	log_warning(
		"pairing: refused %s: %s%s", format_device(device, text),
		pairing_refusal_to_string(why),
		why == PAIRING_REFUSAL_PIN
			? "; with pairing = window, 'btgate pair --pin' can "
			  "give one"
			: "");
}

static bool offers(const struct address_uuid *uuid,
		   const struct address_bluetooth *address, const char *name,
		   void *arg)
{
	const struct pairing_always *always = arg;

	return route_set_offers(always->routes, uuid, address, name);
}

/* What is asked of a person: nobody is there, and pairing.c does not. */
static void on_show(const struct device *device, const char *text, void *arg)
{
}

static void on_ask(const struct device *device, enum pairing_question question,
		   uint32_t number, void *arg)
{
}

static void on_withdrawn(void *arg)
{
}

static void on_registered(int code, const struct error *error, void *arg)
{
	if (code)
		log_warning("pairing: devices cannot pair: bluetoothd takes no "
			    "agent: %s",
			    error->text);
	else
		log_info("pairing: devices can pair, as pairing = always says");
}

struct pairing_always *pairing_always_new(struct bluez *bluez,
					  const struct address_adapter *adapter,
					  const struct route_set *routes)
{
	static const struct pairing_ops ops = {
		.paired = on_paired,
		.refused = on_refused,
		.offers = offers,
		.show = on_show,
		.ask = on_ask,
		.withdrawn = on_withdrawn,
		.registered = on_registered,
	};
	const struct pairing_settings settings = {
		.adapter = *adapter,
		.method = PAIRING_METHOD_FREE,
	};
	struct pairing_always *always = calloc(1, sizeof(*always));

	if (!always)
		return NULL;
	always->routes = routes;
	always->pairing = pairing_new(bluez, &settings, &ops, always);
	if (!always->pairing) {
		free(always);
		errno = ENOMEM;
		return NULL;
	}
	return always;
}

void pairing_always_free(struct pairing_always *always)
{
	if (!always)
		return;
	pairing_free(always->pairing);
	free(always);
}
