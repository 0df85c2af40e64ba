/* SPDX-License-Identifier: MIT */
#include "config_check.h"

#include <stdbool.h>
#include <string.h>

#include "config_draft.h"
#include "config_findings.h"
#include "error.h"

#define RFCOMM_CHANNELS 30
/* A phone that waits in deferred setup is given up by the kernel after 25 s. */
#define BLUETOOTH_CONNECT_TIMEOUT_MS_MAX 24000

/* Where the value in force was given: in the route, or inherited. */
static unsigned int line_of(const struct config_drafts *drafts,
			    const struct config_draft *draft,
			    enum config_key key)
{
	return draft->lines[key] ? draft->lines[key]
				 : drafts->defaults.lines[key];
}

static void check_missing(struct config_drafts *drafts,
			  const struct config_draft *draft)
{
	bool has_listen = draft->lines[CONFIG_KEY_LISTEN] ||
			  draft->is_meant[CONFIG_KEY_LISTEN];
	bool has_connect = draft->lines[CONFIG_KEY_CONNECT] ||
			   draft->is_meant[CONFIG_KEY_CONNECT];
	char title[CONFIG_TITLE_BYTES];

	if (has_listen && has_connect)
		return;
	config_note(&drafts->findings, draft->line, "%s needs %s%s%s",
		    config_draft_title(draft, title, sizeof(title)),
		    has_listen ? "" : "'listen'",
		    has_listen || has_connect ? "" : " and ",
		    has_connect ? "" : "'connect'");
}

/* Keys that would promise something without any effect. */
static void check_idle_keys(struct config_drafts *drafts,
			    const struct config_draft *draft)
{
	const struct config_route *route = &draft->route;
	static const enum config_key of_listen[] = {CONFIG_KEY_SERVICE_NAME,
						    CONFIG_KEY_SERVICE_UUID};
	static const enum config_key of_either[] = {CONFIG_KEY_ADAPTER,
						    CONFIG_KEY_SECURITY};
	bool is_bluetooth = address_endpoint_is_bluetooth(&route->listen);

	for (size_t i = 0; i < 2 && !is_bluetooth; i++) {
		if (draft->lines[of_listen[i]])
			config_note(
				&drafts->findings, draft->lines[of_listen[i]],
				"'%s' is for routes that listen on Bluetooth; "
				"this one does not",
				config_draft_key_name(of_listen[i]));
	}
	if (is_bluetooth || !draft->is_valid[CONFIG_KEY_CONNECT] ||
	    address_endpoint_is_bluetooth(&route->connect))
		return;
	for (size_t i = 0; i < 2; i++) {
		if (draft->lines[of_either[i]])
			config_note(
				&drafts->findings, draft->lines[of_either[i]],
				"'%s' is for Bluetooth; neither end of this "
				"route is",
				config_draft_key_name(of_either[i]));
	}
}

static void check_bluetooth(struct config_drafts *drafts,
			    const struct config_draft *draft)
{
	const struct config_route *route = &draft->route;
	struct error error;
	char text[24];

	if (!address_endpoint_is_bluetooth(&route->listen))
		return;
	if (address_endpoint_check_security(&route->listen, route->security,
					    &error) < 0)
		config_note(&drafts->findings,
			    line_of(drafts, draft, CONFIG_KEY_SECURITY), "%s",
			    error.text);
	if (route->connect_timeout_ms <= BLUETOOTH_CONNECT_TIMEOUT_MS_MAX)
		return;
	address_duration_format(route->connect_timeout_ms, text);
	config_note(
		&drafts->findings,
		line_of(drafts, draft, CONFIG_KEY_CONNECT_TIMEOUT),
		"connect-timeout '%s' is too long for a route that listens on "
		"Bluetooth: at most %us, a waiting phone is given up after 25s",
		text, BLUETOOTH_CONNECT_TIMEOUT_MS_MAX / 1000);
}

/* The end of @draft that is listed under @key, if it was understood. */
static const struct address_endpoint *end_of(const struct config_draft *draft,
					     enum config_key key)
{
	if (!draft->is_valid[key])
		return NULL;
	return key == CONFIG_KEY_LISTEN ? &draft->route.listen
					: &draft->route.connect;
}

static bool ends_conflict(const struct config_draft *a, enum config_key a_key,
			  const struct config_draft *b, enum config_key b_key)
{
	const struct address_endpoint *a_end = end_of(a, a_key);
	const struct address_endpoint *b_end = end_of(b, b_key);

	return a_end && b_end &&
	       address_endpoint_is_conflict(
		       a_end,
		       a_key == CONFIG_KEY_LISTEN ? ENDPOINT_ROLE_LISTEN
						  : ENDPOINT_ROLE_CONNECT,
		       &a->route.adapter, b_end,
		       b_key == CONFIG_KEY_LISTEN ? ENDPOINT_ROLE_LISTEN
						  : ENDPOINT_ROLE_CONNECT,
		       &b->route.adapter);
}

static void note_conflict(struct config_drafts *drafts,
			  const struct config_draft *draft, enum config_key key,
			  const struct config_draft *earlier,
			  enum config_key earlier_key)
{
	char text[ADDRESS_ENDPOINT_TEXT_BYTES];
	char title[CONFIG_TITLE_BYTES];

	address_endpoint_format(end_of(earlier, earlier_key),
				earlier_key == CONFIG_KEY_LISTEN
					? ENDPOINT_ROLE_LISTEN
					: ENDPOINT_ROLE_CONNECT,
				text);
	config_note(&drafts->findings, draft->lines[key],
		    "'%s' is in use already: %s has %s = %s on line %u",
		    config_draft_key_name(key),
		    config_draft_title(earlier, title, sizeof(title)),
		    config_draft_key_name(earlier_key), text,
		    earlier->lines[earlier_key]);
}

/* What one end of route @index holds, against all earlier routes. */
static void check_conflict(struct config_drafts *drafts, size_t index,
			   enum config_key key)
{
	const struct config_draft *draft = drafts->routes[index];
	static const enum config_key ends[] = {CONFIG_KEY_LISTEN,
					       CONFIG_KEY_CONNECT};

	for (size_t i = 0; i < index; i++) {
		for (size_t j = 0; j < 2; j++) {
			const struct config_draft *earlier = drafts->routes[i];

			if (!ends_conflict(earlier, ends[j], draft, key))
				continue;
			note_conflict(drafts, draft, key, earlier, ends[j]);
			return;
		}
	}
}

static void check_loop(struct config_drafts *drafts,
		       const struct config_draft *draft)
{
	if (!draft->is_valid[CONFIG_KEY_LISTEN] ||
	    !draft->is_valid[CONFIG_KEY_CONNECT])
		return;
	if (address_endpoint_is_loop(&draft->route.listen,
				     &draft->route.connect))
		config_note(&drafts->findings, draft->lines[CONFIG_KEY_CONNECT],
			    "'connect' leads back to the route's own 'listen'");
}

static void check_route(struct config_drafts *drafts, size_t index)
{
	struct config_draft *draft = drafts->routes[index];

	config_draft_inherit(draft, &drafts->defaults);
	check_missing(drafts, draft);
	if (draft->is_valid[CONFIG_KEY_LISTEN]) {
		check_idle_keys(drafts, draft);
		check_bluetooth(drafts, draft);
	}
	check_loop(drafts, draft);
	check_conflict(drafts, index, CONFIG_KEY_LISTEN);
	check_conflict(drafts, index, CONFIG_KEY_CONNECT);
}

/* Whether no adapter can be meant by both; hci0 may have any address. */
static bool adapter_is_other(const struct address_adapter *a,
			     const struct address_adapter *b)
{
	if (a->choice != b->choice)
		return false;
	return a->index != b->index ||
	       memcmp(&a->address, &b->address, sizeof(a->address)) != 0;
}

/* Nobody would make that adapter reachable, and no phone would find it. */
static void check_adapter(struct config_drafts *drafts,
			  const struct config_draft *draft)
{
	const struct address_adapter *gateway = &drafts->gateway.route.adapter;
	char own[ADDRESS_ADAPTER_TEXT_BYTES],
		theirs[ADDRESS_ADAPTER_TEXT_BYTES];

	if (!draft->is_valid[CONFIG_KEY_LISTEN] ||
	    !address_endpoint_is_bluetooth(&draft->route.listen) ||
	    !adapter_is_other(&draft->route.adapter, gateway))
		return;
	address_adapter_format(&draft->route.adapter, own);
	address_adapter_format(gateway, theirs);
	config_note(&drafts->findings,
		    line_of(drafts, draft, CONFIG_KEY_ADAPTER),
		    "adapter '%s' is not the one that [gateway] makes "
		    "reachable, '%s'; write 'adapter = any' there",
		    own, theirs);
}

static bool adapter_is_same(const struct address_adapter *a,
			    const struct address_adapter *b)
{
	return a->choice == b->choice && a->index == b->index &&
	       memcmp(&a->address, &b->address, sizeof(a->address)) == 0;
}

static bool is_rfcomm_listen(const struct config_draft *draft)
{
	return draft->is_valid[CONFIG_KEY_LISTEN] &&
	       draft->route.listen.kind == ENDPOINT_KIND_RFCOMM;
}

/* An adapter has 30 RFCOMM channels, and each listening route needs its own. */
static void check_channels(struct config_drafts *drafts)
{
	for (size_t i = 0; i < drafts->route_count; i++) {
		const struct config_draft *draft = drafts->routes[i];
		size_t used = 0;

		if (!is_rfcomm_listen(draft))
			continue;
		for (size_t j = 0; j < i; j++) {
			const struct config_draft *other = drafts->routes[j];

			used += is_rfcomm_listen(other) &&
				adapter_is_same(&draft->route.adapter,
						&other->route.adapter);
		}
		if (used < RFCOMM_CHANNELS)
			continue;
		config_note(
			&drafts->findings, draft->lines[CONFIG_KEY_LISTEN],
			"no RFCOMM channel is left: an adapter has %d, and %zu "
			"earlier routes listen on the same",
			RFCOMM_CHANNELS, used);
		return;
	}
}

/* An automatic channel is not one that another route names, up or not yet. */
static void reserve_channels(struct config_drafts *drafts,
			     struct config_draft *draft)
{
	for (size_t i = 0; i < drafts->route_count; i++) {
		const struct config_draft *other = drafts->routes[i];

		if (other != draft && is_rfcomm_listen(other) &&
		    other->route.listen.rfcomm.channel &&
		    !adapter_is_other(&other->route.adapter,
				      &draft->route.adapter))
			draft->route.reserved_channels |=
				1u << other->route.listen.rfcomm.channel;
	}
}

void config_check(struct config_drafts *drafts)
{
	if (!drafts->defaults.lines[CONFIG_KEY_ADAPTER])
		drafts->defaults.route.adapter = drafts->gateway.route.adapter;
	for (size_t i = 0; i < drafts->route_count; i++)
		check_route(drafts, i);
	check_channels(drafts);
	for (size_t i = 0; i < drafts->route_count; i++) {
		check_adapter(drafts, drafts->routes[i]);
		if (is_rfcomm_listen(drafts->routes[i]))
			reserve_channels(drafts, drafts->routes[i]);
	}
	if (!drafts->route_count && !drafts->findings.count)
		config_note(&drafts->findings, 0,
			    "no routes; add one, like [route echo] with "
			    "'listen = rfcomm' and 'connect = echo'");
}
