/* SPDX-License-Identifier: MIT */
#include "diagnosis_bluez.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "bluez.h"
#include "config.h"
#include "diagnosis.h"
#include "text.h"

#define SUBJECT_BYTES 96

void diagnosis_bluez(struct diagnosis *diagnosis, const struct bluez *bluez)
{
	char sentence[400];

	snprintf(sentence, sizeof(sentence), "%s%s", bluez_reason(bluez),
		 bluez_advice(bluez));
	if (!*bluez_reason(bluez))
		diagnosis_add(diagnosis, FINDING_PROBLEM, "system bus",
			      "systemctl status dbus", "it does not answer");
	else if (bluez_state(bluez) != BLUEZ_STATE_READY)
		diagnosis_add_sentence(diagnosis, FINDING_PROBLEM, "bluetoothd",
				       sentence);
	else if (!bluez_adapters_powered(bluez))
		diagnosis_add(diagnosis, FINDING_PROBLEM, "bluetoothd",
			      "bluetoothctl power on",
			      "it runs, and has no adapter that is powered on");
	else
		diagnosis_add(diagnosis, FINDING_OK, "bluetoothd", NULL,
			      "it runs and answers, with %u adapter%s",
			      bluez_adapters_powered(bluez),
			      bluez_adapters_powered(bluez) == 1 ? "" : "s");
}

/* ---- the agent --------------------------------------------------------------- */

static void look_at_always(struct diagnosis *diagnosis, bool is_pairable,
			   bool has_gateway)
{
	if (!has_gateway)
		diagnosis_add(diagnosis, FINDING_NOTE, "pairing",
			      "start the gateway, 'btgate run'",
			      "pairing = always lets devices pair while the "
			      "gateway runs, and none is running");
	else if (!is_pairable)
		diagnosis_add(diagnosis, FINDING_PROBLEM, "pairing",
			      "its log says why: 'journalctl -u btgate'; a "
			      "reload or restart makes it try again",
			      "pairing = always, and nobody can pair: the "
			      "gateway has no agent at bluetoothd, or "
			      "'pairable' was turned off");
	else
		diagnosis_add(diagnosis, FINDING_OK, "pairing", NULL,
			      "devices can pair, as pairing = always says");
}

void diagnosis_agent(struct diagnosis *diagnosis, const struct bluez *bluez,
		     const struct config *config, bool has_gateway,
		     bool has_window)
{
	static const char cure[] =
		"end that program (a desktop, bluetoothctl), "
		"or 'bluetoothctl pairable off'";
	bool is_pairable = bluez_is_pairable(bluez, &config->gateway.adapter);

	if (bluez_state(bluez) != BLUEZ_STATE_READY ||
	    !bluez_adapters_powered(bluez) ||
	    !config_listens_on_bluetooth(config))
		return;
	if (config->gateway.pairing == CONFIG_PAIRING_ALWAYS)
		look_at_always(diagnosis, is_pairable, has_gateway);
	else if (is_pairable && has_window)
		diagnosis_add(diagnosis, FINDING_OK, "pairing", NULL,
			      "devices can pair, while btgate pair runs");
	else if (is_pairable &&
		 config->gateway.pairing == CONFIG_PAIRING_WINDOW)
		diagnosis_add(diagnosis, FINDING_NOTE, "pairing", cure,
			      "devices can pair without btgate pair: another "
			      "program has an agent, which is asked instead "
			      "of ours, or 'pairable' is on");
	else if (is_pairable)
		diagnosis_add(diagnosis, FINDING_NOTE, "pairing", cure,
			      "devices can pair although pairing = never: "
			      "another program has an agent, or 'pairable' is "
			      "on");
	else
		diagnosis_add(diagnosis, FINDING_OK, "pairing", NULL,
			      "devices cannot pair now");
}

/* ---- devices --------------------------------------------------------------- */

/* Who is looked for among the devices, and what is known of it. */
struct search {
	const struct address_bluetooth *address; /* NULL: by name */
	const char *name;
	unsigned int known;
	unsigned int paired;
	unsigned int trusted; /* of those that are paired */
};

static bool is_called(const struct device *device, const char *name)
{
	return (device->name && strcasecmp(device->name, name) == 0) ||
	       (device->alias && strcasecmp(device->alias, name) == 0);
}

static void take_device(const struct device *device, void *arg)
{
	struct search *search = arg;

	if (search->address ? memcmp(search->address, &device->address,
				     sizeof(device->address)) != 0
			    : !is_called(device, search->name))
		return;
	search->known++;
	if (device->is_paired) {
		search->paired++;
		search->trusted += device->is_trusted;
	}
}

/*
 * Trust is for services at which bluetoothd itself listens: it then asks no agent.
 * People look for it all the same when a device does not get in.
 */
static const char *search_trust(const struct search *search)
{
	return search->trusted ? "and trusted"
			       : "not trusted, which no route asks for";
}

static void look_at_target(struct diagnosis *diagnosis,
			   const struct bluez *bluez,
			   const struct config_route *route,
			   const char *subject)
{
	const struct address_device *device = address_endpoint_device(
		&route->connect);
	struct search search = {0};
	char text[ADDRESS_DEVICE_TEXT_BYTES], shown[TEXT_QUOTED_BYTES];
	char cure[16 + TEXT_QUOTED_BYTES];

	if (!device)
		return;
	search.name = device->name;
	search.address = device->name ? NULL : &device->address;
	bluez_devices(bluez, &route->adapter, take_device, &search);
	address_device_format(device, text);
	text_printable(text, shown);
	snprintf(cure, sizeof(cure), "btgate pair %s", shown);
	if (search.paired == 1)
		diagnosis_add(diagnosis, FINDING_OK, subject, NULL,
			      "%s is paired, %s", shown, search_trust(&search));
	else if (search.paired > 1 && device->name)
		diagnosis_add(diagnosis, FINDING_PROBLEM, subject,
			      "write the address, as 'btgate scan' shows it",
			      "%u paired devices are called %s", search.paired,
			      shown);
	else if (search.paired > 1)
		diagnosis_add(diagnosis, FINDING_OK, subject, NULL,
			      "%s is paired with %u adapters", shown,
			      search.paired);
	else if (route->security > SECURITY_LEVEL_LOW)
		diagnosis_add(diagnosis, FINDING_PROBLEM, subject, cure,
			      "%s is %s, and security = %s needs a pairing",
			      shown, search.known ? "not paired" : "not known",
			      address_security_to_string(route->security));
	else
		diagnosis_add(diagnosis, FINDING_NOTE, subject, cure,
			      "%s is %s; security = low may do without a "
			      "pairing",
			      shown, search.known ? "not paired" : "not known");
}

static void look_at_peers(struct diagnosis *diagnosis,
			  const struct bluez *bluez,
			  const struct config_route *route, const char *subject)
{
	for (size_t i = 0; i < route->peers.count; i++) {
		const struct address_peer *peer = &route->peers.items[i];
		struct search search = {0};
		char text[ADDRESS_PEER_TEXT_BYTES], shown[TEXT_QUOTED_BYTES];
		char cure[40 + TEXT_QUOTED_BYTES];

		if (peer->choice == PEER_CHOICE_PREFIX)
			continue;
		search.name = peer->name;
		search.address = peer->choice == PEER_CHOICE_ADDRESS
					 ? &peer->address
					 : NULL;
		bluez_devices(bluez, &route->adapter, take_device, &search);
		address_peer_format(peer, text);
		text_printable(text, shown);
		snprintf(cure, sizeof(cure), "btgate pair %s, or correct peers",
			 shown);
		if (search.paired)
			diagnosis_add(diagnosis, FINDING_OK, subject, NULL,
				      "peers names %s, which is paired, %s",
				      shown, search_trust(&search));
		else if (peer->choice == PEER_CHOICE_NAME ||
			 route->security > SECURITY_LEVEL_LOW)
			diagnosis_add(diagnosis, FINDING_NOTE, subject, cure,
				      "peers names %s, which is not paired",
				      shown);
	}
}

void diagnosis_devices(struct diagnosis *diagnosis, const struct bluez *bluez,
		       const struct config_route *route)
{
	char subject[SUBJECT_BYTES];

	if (bluez_state(bluez) != BLUEZ_STATE_READY)
		return;
	snprintf(subject, sizeof(subject), "route %s", route->name);
	look_at_target(diagnosis, bluez, route, subject);
	if (address_endpoint_is_bluetooth(&route->listen))
		look_at_peers(diagnosis, bluez, route, subject);
}
