/* SPDX-License-Identifier: MIT */
#include "config_check.h"

#include <stdbool.h>
#include <string.h>

#include "address_path.h"
#include "address_ports.h"
#include "config_draft.h"
#include "config_entrance.h"
#include "config_findings.h"
#include "config_places.h"
#include "error.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* A phone that waits in deferred setup is given up by the kernel after 25 s. */
#define BLUETOOTH_CONNECT_TIMEOUT_MS_MAX 24000
#define CONNECT_TIMEOUT_MS 10000
/* A device is searched by its name (20 s), paged (5.12 s), and asked by SDP. */
#define DEVICE_CONNECT_TIMEOUT_MS 30000

static bool dials_bluetooth(const struct config_draft *draft)
{
	return draft->is_valid[CONFIG_KEY_CONNECT] &&
	       address_endpoint_is_bluetooth(&draft->route.connect);
}

static bool is_never_lost(const struct config_draft *draft)
{
	return draft->is_valid[CONFIG_KEY_CONNECT] &&
	       (draft->route.connect.kind == ENDPOINT_KIND_PTY ||
		draft->route.connect.kind == ENDPOINT_KIND_ECHO);
}

/* What is not the same for all routes. */
static void set_defaults(struct config_drafts *drafts,
			 struct config_draft *draft)
{
	config_draft_inherit(draft, &drafts->defaults, &drafts->findings);
	if (!config_draft_is_bluetooth_listen(draft) &&
	    !draft->lines[CONFIG_KEY_PEERS])
		address_peers_clear(&draft->route.peers);
	if (!address_endpoint_is_ip(&draft->route.listen) &&
	    !draft->lines[CONFIG_KEY_CLIENTS])
		draft->route.clients.count = 0;
	if (is_never_lost(draft) && !draft->lines[CONFIG_KEY_HOLD])
		draft->route.hold = HOLD_NO;
	if (config_draft_line_of(drafts, draft, CONFIG_KEY_CONNECT_TIMEOUT))
		return;
	if (!dials_bluetooth(draft))
		draft->route.connect_timeout_ms = CONNECT_TIMEOUT_MS;
	else if (config_draft_is_bluetooth_listen(draft))
		draft->route.connect_timeout_ms =
			BLUETOOTH_CONNECT_TIMEOUT_MS_MAX;
	else
		draft->route.connect_timeout_ms = DEVICE_CONNECT_TIMEOUT_MS;
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
	static const enum config_key of_listen[] = {CONFIG_KEY_SERVICE_NAME,
						    CONFIG_KEY_SERVICE_UUID,
						    CONFIG_KEY_PEERS};
	static const enum config_key of_either[] = {CONFIG_KEY_ADAPTER,
						    CONFIG_KEY_SECURITY};

	if (!draft->is_valid[CONFIG_KEY_LISTEN] ||
	    config_draft_is_bluetooth_listen(draft))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(of_listen); i++) {
		if (draft->lines[of_listen[i]])
			config_note(
				&drafts->findings, draft->lines[of_listen[i]],
				"'%s' is for routes that listen on Bluetooth; "
				"this one does not",
				config_draft_key_name(of_listen[i]));
	}
	if (!draft->is_valid[CONFIG_KEY_CONNECT] || dials_bluetooth(draft))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(of_either); i++) {
		if (draft->lines[of_either[i]])
			config_note(
				&drafts->findings, draft->lines[of_either[i]],
				"'%s' is for Bluetooth; neither end of this "
				"route is",
				config_draft_key_name(of_either[i]));
	}
}

/* Whom to refuse by an IP address that it does not have. */
static void check_clients(struct config_drafts *drafts,
			  const struct config_draft *draft)
{
	if (draft->is_valid[CONFIG_KEY_LISTEN] &&
	    !address_endpoint_is_ip(&draft->route.listen) &&
	    draft->lines[CONFIG_KEY_CLIENTS])
		config_note(&drafts->findings, draft->lines[CONFIG_KEY_CLIENTS],
			    "'clients' is for routes that listen on TCP or "
			    "TLS; this "
			    "one does not");
}

static void check_timeout(struct config_drafts *drafts,
			  const struct config_draft *draft)
{
	char text[24];

	if (!config_draft_is_bluetooth_listen(draft) ||
	    draft->route.connect_timeout_ms <= BLUETOOTH_CONNECT_TIMEOUT_MS_MAX)
		return;
	address_duration_format(draft->route.connect_timeout_ms, text);
	config_note(
		&drafts->findings,
		config_draft_line_of(drafts, draft, CONFIG_KEY_CONNECT_TIMEOUT),
		"connect-timeout '%s' is too long for a route that listens on "
		"Bluetooth: at most %us, a waiting phone is given up after 25s",
		text, BLUETOOTH_CONNECT_TIMEOUT_MS_MAX / 1000);
}

/* Both ends get the route's security; the first that cannot is enough. */
static void check_security(struct config_drafts *drafts,
			   const struct config_draft *draft)
{
	const struct config_route *route = &draft->route;
	struct error error = {""};

	if ((!config_draft_is_bluetooth_listen(draft) ||
	     address_endpoint_check_security(&route->listen, route->security,
					     &error) == 0) &&
	    (!dials_bluetooth(draft) ||
	     address_endpoint_check_security(&route->connect, route->security,
					     &error) == 0))
		return;
	config_note(&drafts->findings,
		    config_draft_line_of(drafts, draft, CONFIG_KEY_SECURITY),
		    "%s", error.text);
}

static void check_sharing(struct config_drafts *drafts,
			  const struct config_draft *draft)
{
	const struct config_route *route = &draft->route;
	bool has_records = (draft->is_valid[CONFIG_KEY_LISTEN] &&
			    address_endpoint_has_records(&route->listen)) ||
			   (draft->is_valid[CONFIG_KEY_CONNECT] &&
			    address_endpoint_has_records(&route->connect));
	bool is_valid = draft->is_valid[CONFIG_KEY_WHEN_BUSY] ||
			!draft->lines[CONFIG_KEY_WHEN_BUSY];

	if (route->when_busy == WHEN_BUSY_SHARE && has_records)
		config_note(&drafts->findings,
			    config_draft_line_of(drafts, draft,
						 CONFIG_KEY_WHEN_BUSY),
			    "'when-busy = share' is for streams of bytes; an "
			    "end of this route is seqpacket");
	if (route->when_busy != WHEN_BUSY_SHARE && is_valid &&
	    draft->lines[CONFIG_KEY_SHARE_WRITE])
		config_note(&drafts->findings,
			    draft->lines[CONFIG_KEY_SHARE_WRITE],
			    "'share-write' is for routes with 'when-busy = "
			    "share'; this one has '%s'",
			    config_when_busy_words[route->when_busy]);
}

static void check_holding(struct config_drafts *drafts,
			  const struct config_draft *draft)
{
	const struct config_route *route = &draft->route;

	if (route->hold == HOLD_NO || !draft->is_valid[CONFIG_KEY_CONNECT])
		return;
	if (address_endpoint_has_records(&route->connect))
		config_note(&drafts->findings,
			    config_draft_line_of(drafts, draft,
						 CONFIG_KEY_HOLD),
			    "'hold' is for streams of bytes; this route's "
			    "'connect' "
			    "is seqpacket");
	if (draft->lines[CONFIG_KEY_HOLD] && is_never_lost(draft))
		config_note(&drafts->findings, draft->lines[CONFIG_KEY_HOLD],
			    "'hold' is for a 'connect' that can be lost; a pty "
			    "and echo are there as long as the route");
}

/* Without 'hold', or one that was not understood, which is said already. */
static void check_hold_keys(struct config_drafts *drafts,
			    const struct config_draft *draft)
{
	static const enum config_key of_hold[] = {CONFIG_KEY_HOLD_BUFFER,
						  CONFIG_KEY_RETRY};

	if (draft->route.hold != HOLD_NO || (draft->lines[CONFIG_KEY_HOLD] &&
					     !draft->is_valid[CONFIG_KEY_HOLD]))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(of_hold); i++) {
		if (draft->lines[of_hold[i]])
			config_note(&drafts->findings, draft->lines[of_hold[i]],
				    "'%s' is for routes with 'hold'; this one "
				    "has 'no'",
				    config_draft_key_name(of_hold[i]));
	}
}

/* Without 'trace', or one that was not understood, which is said already. */
static void check_trace_keys(struct config_drafts *drafts,
			     const struct config_draft *draft)
{
	static const enum config_key of_trace[] = {CONFIG_KEY_TRACE_FORMAT,
						   CONFIG_KEY_TRACE_SIZE,
						   CONFIG_KEY_TRACE_FILES};

	if (draft->lines[CONFIG_KEY_TRACE])
		return;
	for (size_t i = 0; i < ARRAY_SIZE(of_trace); i++) {
		if (draft->lines[of_trace[i]])
			config_note(&drafts->findings,
				    draft->lines[of_trace[i]],
				    "'%s' is for routes with 'trace'; this one "
				    "has none",
				    config_draft_key_name(of_trace[i]));
	}
}

/* An adapter cannot call itself: the kernel refuses that at once. */
static void check_own_adapter(struct config_drafts *drafts,
			      const struct config_draft *draft)
{
	const struct address_adapter *adapter = &draft->route.adapter;
	const struct address_device *device;
	char text[ADDRESS_BLUETOOTH_TEXT_BYTES];

	if (!draft->is_valid[CONFIG_KEY_CONNECT] ||
	    adapter->choice != ADAPTER_CHOICE_ADDRESS)
		return;
	device = address_endpoint_device(&draft->route.connect);
	if (!device || device->name ||
	    memcmp(&device->address, &adapter->address,
		   sizeof(adapter->address)) != 0)
		return;
	address_bluetooth_format(&device->address, text);
	config_note(&drafts->findings, draft->lines[CONFIG_KEY_CONNECT],
		    "'connect' dials the route's own adapter, %s", text);
}

static enum endpoint_role role_of(enum config_key key)
{
	return key == CONFIG_KEY_LISTEN ? ENDPOINT_ROLE_LISTEN
					: ENDPOINT_ROLE_CONNECT;
}

static enum config_key key_of(enum endpoint_role role)
{
	return role == ENDPOINT_ROLE_LISTEN ? CONFIG_KEY_LISTEN
					    : CONFIG_KEY_CONNECT;
}

static bool ends_conflict(const struct config_draft *a, enum config_key a_key,
			  const struct config_draft *b, enum config_key b_key)
{
	const struct address_endpoint *a_end = config_draft_end(a, a_key);
	const struct address_endpoint *b_end = config_draft_end(b, b_key);

	return a_end && b_end &&
	       address_endpoint_is_conflict(a_end, role_of(a_key),
					    &a->route.adapter, b_end,
					    role_of(b_key), &b->route.adapter);
}

static void note_conflict(struct config_drafts *drafts,
			  const struct config_draft *draft, enum config_key key,
			  const struct config_draft *earlier,
			  enum config_key earlier_key)
{
	const struct address_endpoint *end = config_draft_end(draft, key);
	const struct address_endpoint *earlier_end = config_draft_end(
		earlier, earlier_key);
	bool is_next = address_endpoint_needs_next(end, role_of(key),
						   earlier_end,
						   role_of(earlier_key)) ||
		       address_endpoint_needs_next(earlier_end,
						   role_of(earlier_key), end,
						   role_of(key));
	char text[ADDRESS_ENDPOINT_TEXT_BYTES];
	char title[CONFIG_TITLE_BYTES], where[CONFIG_WHERE_BYTES];

	address_endpoint_format(earlier_end, role_of(earlier_key), text);
	config_note(&drafts->findings, draft->lines[key],
		    "'%s' is in use already: %s has %s = %s on %s%s",
		    config_draft_key_name(key),
		    config_draft_title(earlier, title, sizeof(title)),
		    config_draft_key_name(earlier_key), text,
		    config_where(&drafts->findings, earlier->lines[earlier_key],
				 draft->lines[key], where),
		    is_next ? "; a pty in 'listen' needs PATH.next, too" : "");
}

/* What one end of @draft holds, against those of all earlier routes. */
static void check_conflict(struct config_drafts *drafts,
			   const struct config_draft *draft,
			   enum config_key key)
{
	const uint32_t place = config_places_of(draft, role_of(key));
	const struct config_holder *holder = place ? config_places_first(drafts,
									 place)
						   : NULL;

	for (; holder; holder = config_places_next(holder)) {
		const struct config_draft *earlier = holder->draft;
		enum config_key earlier_key = key_of(holder->role);

		if (!ends_conflict(earlier, earlier_key, draft, key))
			continue;
		/* One listener for both, see config_entrance.h. */
		if (key == CONFIG_KEY_LISTEN && earlier_key == key &&
		    earlier->route.entrance == draft->route.entrance)
			continue;
		note_conflict(drafts, draft, key, earlier, earlier_key);
		return;
	}
}

/* Whether @end is at the path where @draft is traced to. */
static bool is_traced_to(const struct config_draft *draft,
			 const struct address_endpoint *end,
			 enum endpoint_role role)
{
	const struct address_adapter *adapter = &draft->route.adapter;
	const struct address_endpoint file = {
		.kind = ENDPOINT_KIND_FILE,
		.file.path = draft->route.trace.path,
	};

	if (!end)
		return false;
	if (end->kind == ENDPOINT_KIND_FILE)
		return address_path_is_same(end->file.path, file.file.path);
	return address_endpoint_is_conflict(end, role, adapter, &file,
					    ENDPOINT_ROLE_CONNECT, adapter);
}

static bool is_trace_taken(const struct config_draft *draft,
			   const struct config_draft *other)
{
	return is_traced_to(draft, config_draft_end(other, CONFIG_KEY_LISTEN),
			    ENDPOINT_ROLE_LISTEN) ||
	       is_traced_to(draft, config_draft_end(other, CONFIG_KEY_CONNECT),
			    ENDPOINT_ROLE_CONNECT) ||
	       (other != draft && other->is_valid[CONFIG_KEY_TRACE] &&
		other->line < draft->line &&
		address_path_is_same(other->route.trace.path,
				     draft->route.trace.path));
}

/* A trace has its path for itself: full files are moved away from there. */
static void check_trace(struct config_drafts *drafts,
			const struct config_draft *draft)
{
	const struct config_gateway *gateway = &drafts->gateway.gateway;
	char title[CONFIG_TITLE_BYTES];

	if (!draft->is_valid[CONFIG_KEY_TRACE])
		return;
	if (gateway->has_control &&
	    is_traced_to(draft, &gateway->control, ENDPOINT_ROLE_LISTEN))
		config_note(&drafts->findings, draft->lines[CONFIG_KEY_TRACE],
			    "'trace' is the control socket's path; choose "
			    "another");
	for (size_t i = 0; i < drafts->route_count; i++) {
		if (!is_trace_taken(draft, drafts->routes[i]))
			continue;
		config_note(&drafts->findings, draft->lines[CONFIG_KEY_TRACE],
			    "'trace' needs a path of its own: %s uses it, too",
			    config_draft_title(drafts->routes[i], title,
					       sizeof(title)));
		return;
	}
}

/* The control socket's path is not for a route, too. */
static void check_control(struct config_drafts *drafts,
			  const struct config_draft *draft, enum config_key key)
{
	const struct config_gateway *gateway = &drafts->gateway.gateway;
	const struct address_endpoint *end = config_draft_end(draft, key);

	if (end && gateway->has_control &&
	    address_endpoint_is_conflict(
		    end, role_of(key), &draft->route.adapter, &gateway->control,
		    ENDPOINT_ROLE_LISTEN, &draft->route.adapter))
		config_note(&drafts->findings, draft->lines[key],
			    "'%s' is the control socket's path; choose "
			    "another, or give 'control' in [gateway] one",
			    config_draft_key_name(key));
}

/* Nor is the port where the numbers are told. */
static void check_metrics(struct config_drafts *drafts,
			  const struct config_draft *draft)
{
	const struct config_gateway *gateway = &drafts->gateway.gateway;
	const struct address_endpoint *end = config_draft_end(
		draft, CONFIG_KEY_LISTEN);

	if (end && gateway->has_metrics &&
	    address_endpoint_is_conflict(
		    end, ENDPOINT_ROLE_LISTEN, &draft->route.adapter,
		    &gateway->metrics, ENDPOINT_ROLE_LISTEN,
		    &draft->route.adapter))
		config_note(&drafts->findings, draft->lines[CONFIG_KEY_LISTEN],
			    "'listen' is the port that 'metrics' in [gateway] "
			    "is told at; choose another for one of them");
}

/* Whom to refuse what is told to nobody. */
static void check_metrics_clients(struct config_drafts *drafts)
{
	const struct config_draft *draft = &drafts->gateway;

	if (draft->lines[CONFIG_KEY_METRICS_CLIENTS] &&
	    !draft->gateway.has_metrics && !draft->is_meant[CONFIG_KEY_METRICS])
		config_note(&drafts->findings,
			    draft->lines[CONFIG_KEY_METRICS_CLIENTS],
			    "'metrics-clients' is of no use without 'metrics'");
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
	else if (ends_conflict(draft, CONFIG_KEY_LISTEN, draft,
			       CONFIG_KEY_CONNECT))
		config_note(&drafts->findings, draft->lines[CONFIG_KEY_CONNECT],
			    "'connect' needs the same path as the route's own "
			    "'listen'");
}

static void check_route(struct config_drafts *drafts, size_t index)
{
	struct config_draft *draft = drafts->routes[index];

	set_defaults(drafts, draft);
	check_missing(drafts, draft);
	check_idle_keys(drafts, draft);
	check_clients(drafts, draft);
	check_timeout(drafts, draft);
	check_security(drafts, draft);
	check_sharing(drafts, draft);
	check_holding(drafts, draft);
	check_hold_keys(drafts, draft);
	check_trace_keys(drafts, draft);
	check_own_adapter(drafts, draft);
	check_loop(drafts, draft);
	config_entrance_find(drafts, index);
	check_conflict(drafts, draft, CONFIG_KEY_LISTEN);
	check_conflict(drafts, draft, CONFIG_KEY_CONNECT);
	config_places_add(drafts, draft);
	check_control(drafts, draft, CONFIG_KEY_LISTEN);
	check_control(drafts, draft, CONFIG_KEY_CONNECT);
	check_metrics(drafts, draft);
}

/* Whether no adapter can be meant by both; hci0 may have any address. */
static bool adapter_is_other(const struct address_adapter *a,
			     const struct address_adapter *b)
{
	return a->choice == b->choice && !address_adapter_is_same(a, b);
}

/* Nobody would make that adapter reachable, and no phone would find it. */
static void check_adapter(struct config_drafts *drafts,
			  const struct config_draft *draft)
{
	const struct address_adapter *gateway = &drafts->gateway.route.adapter;
	char own[ADDRESS_ADAPTER_TEXT_BYTES],
		theirs[ADDRESS_ADAPTER_TEXT_BYTES];

	if (!config_draft_is_bluetooth_listen(draft) ||
	    !adapter_is_other(&draft->route.adapter, gateway))
		return;
	address_adapter_format(&draft->route.adapter, own);
	address_adapter_format(gateway, theirs);
	config_note(&drafts->findings,
		    config_draft_line_of(drafts, draft, CONFIG_KEY_ADAPTER),
		    "adapter '%s' is not the one that [gateway] makes "
		    "reachable, '%s'; write 'adapter = any' there",
		    own, theirs);
}

static bool is_rfcomm_listen(const struct config_draft *draft)
{
	return draft->is_valid[CONFIG_KEY_LISTEN] &&
	       draft->route.listen.kind == ENDPOINT_KIND_RFCOMM;
}

static bool has_own_channel(const struct config_drafts *drafts, size_t index)
{
	return is_rfcomm_listen(drafts->routes[index]) &&
	       drafts->routes[index]->route.entrance == index;
}

/* How many entrances above it have a channel of the same adapter. */
static size_t channels_before(const struct config_drafts *drafts, size_t index)
{
	const struct config_draft *draft = drafts->routes[index];

	/* The nearest of them knows the others. */
	for (size_t i = index; i-- > 0;) {
		const struct config_draft *other = drafts->routes[i];

		if (has_own_channel(drafts, i) &&
		    address_adapter_is_same(&draft->route.adapter,
					    &other->route.adapter))
			return other->channels_before + 1;
	}
	return 0;
}

/* An adapter has 30 RFCOMM channels, and each entrance needs its own. */
static void check_channels(struct config_drafts *drafts)
{
	for (size_t i = 0; i < drafts->route_count; i++) {
		struct config_draft *draft = drafts->routes[i];

		if (!has_own_channel(drafts, i))
			continue;
		draft->channels_before = channels_before(drafts, i);
		if (draft->channels_before < ADDRESS_CHANNEL_MAX)
			continue;
		config_note(
			&drafts->findings, draft->lines[CONFIG_KEY_LISTEN],
			"no RFCOMM channel is left: an adapter has %d, and %zu "
			"earlier routes listen on the same",
			ADDRESS_CHANNEL_MAX, draft->channels_before);
		return;
	}
}

/* An automatic port is not one that another route names, up or not yet. */
static void reserve_ports(struct config_drafts *drafts,
			  struct config_draft *draft)
{
	if (!config_draft_is_bluetooth_listen(draft) ||
	    address_endpoint_port(&draft->route.listen))
		return;
	for (size_t i = 0; i < drafts->route_count; i++) {
		const struct config_draft *other = drafts->routes[i];

		if (config_draft_is_bluetooth_listen(other) &&
		    other->route.listen.kind == draft->route.listen.kind &&
		    !adapter_is_other(&other->route.adapter,
				      &draft->route.adapter))
			address_ports_add(
				&draft->route.reserved_ports,
				address_endpoint_port(&other->route.listen));
	}
}

void config_check(struct config_drafts *drafts)
{
	if (!drafts->defaults.lines[CONFIG_KEY_ADAPTER])
		drafts->defaults.route.adapter = drafts->gateway.route.adapter;
	for (size_t i = 0; i < drafts->route_count; i++)
		check_route(drafts, i);
	check_metrics_clients(drafts);
	check_channels(drafts);
	for (size_t i = 0; i < drafts->route_count; i++) {
		check_trace(drafts, drafts->routes[i]);
		check_adapter(drafts, drafts->routes[i]);
		reserve_ports(drafts, drafts->routes[i]);
	}
	if (!drafts->route_count && !drafts->findings.count)
		config_note(&drafts->findings, 0,
			    "no routes; add one, like [route echo] with "
			    "'listen = rfcomm' and 'connect = echo'");
}
