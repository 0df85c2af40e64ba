/* SPDX-License-Identifier: MIT */
#include "config_draft.h"

#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address_path.h"
#include "error.h"
#include "text.h"

#define SERVICE_NAME_BYTES_MAX 128
#define HOLD_BUFFER_BYTES_MAX (16 * 1024 * 1024)
#define RETRY_MS_MIN 100
#define RETRY_MS_MAX (60 * 60 * 1000)
#define TRACE_PATH_BYTES_MAX 180
/* The largest piece, in hex, has room in the smallest file. */
#define TRACE_SIZE_KIB_MIN 512
#define TRACE_SIZE_KIB_MAX (1024 * 1024)
#define TRACE_FILES_MAX 100

/* The HCI local name; a longer line than that cannot be read anyway. */
_Static_assert(CONFIG_LINE_BYTES_MAX <= 248, "a name may exceed HCI's limit");

/* ---- values ---------------------------------------------------------- */

/* What a key is: where it may stand, how its value is read and passed on. */
struct key_info {
	const char *name;
	unsigned int sections; /* bits 1 << enum config_section */
	int (*parse)(const struct key_info *key, struct config_draft *draft,
		     const char *value, struct error *error);
	bool is_list; /* may be given again, to add to it */
	/* Inherited from [defaults]: which bytes of struct config_route, */
	size_t offset;
	size_t bytes;
	/* or how, where it owns memory; 0 or -ENOMEM. */
	int (*copy)(const struct config_route *from, struct config_route *to);
	unsigned int min_ms;
	unsigned int max_ms;
	bool may_be_off; /* a duration; off is 0 */
};

/* The shown text in @value, without its quotes. */
static int parse_shown_text(const struct key_info *key, const char *value,
			    size_t bytes_max, char **out, struct error *error)
{
	char *text = strdup(value);
	int code;

	if (!text)
		return error_set(error, -ENOMEM, "out of memory");
	code = text_parse_quoted(text, error);
	if (code == 0)
		code = text_check_shown(text, error);
	if (code == 0 && strlen(text) > bytes_max)
		code = error_set(error, -EINVAL, "%zu bytes long; at most %zu",
				 strlen(text), bytes_max);
	if (code < 0) {
		free(text);
		return error_prefix(error, code, "%s", key->name);
	}
	*out = text;
	return 0;
}

static int parse_adapter(const struct key_info *key, struct config_draft *draft,
			 const char *value, struct error *error)
{
	return address_adapter_parse(value, &draft->route.adapter, error);
}

static int parse_gateway_name(const struct key_info *key,
			      struct config_draft *draft, const char *value,
			      struct error *error)
{
	return parse_shown_text(key, value, CONFIG_LINE_BYTES_MAX,
				&draft->gateway.name, error);
}

static int parse_discoverable(const struct key_info *key,
			      struct config_draft *draft, const char *value,
			      struct error *error)
{
	static const char *const words[] = {"yes", "no", NULL};

	draft->gateway.is_discoverable = strcmp(value, "yes") == 0;
	if (draft->gateway.is_discoverable || strcmp(value, "no") == 0)
		return 0;
	return text_refuse_choice(error, value, words,
				  "'%s' is not a choice for %s", value,
				  key->name);
}

static int parse_control(const struct key_info *key, struct config_draft *draft,
			 const char *value, struct error *error)
{
	struct config_gateway *gateway = &draft->gateway;
	struct address_endpoint endpoint;
	int code;

	gateway->has_control = strcmp(value, "no") != 0;
	if (!gateway->has_control)
		return 0;
	code = address_endpoint_parse(value, ENDPOINT_ROLE_LISTEN, &endpoint,
				      error);
	if (code < 0)
		return error_prefix(error, code, "%s", key->name);
	if (endpoint.kind != ENDPOINT_KIND_UNIX ||
	    address_endpoint_has_records(&endpoint) ||
	    endpoint.packing.has_delimiter || endpoint.packing.gap_ms ||
	    endpoint.packing.bytes) {
		address_endpoint_clear(&endpoint);
		return error_set(error, -EINVAL,
				 "control is 'no' or a unix socket, like "
				 "unix:" CONFIG_CONTROL_PATH
				 ",mode=0660,group=dialout");
	}
	address_endpoint_clear(&gateway->control);
	gateway->control = endpoint;
	return 0;
}

static int parse_metrics(const struct key_info *key, struct config_draft *draft,
			 const char *value, struct error *error)
{
	struct config_gateway *gateway = &draft->gateway;
	struct address_endpoint endpoint;
	char text[CONFIG_LINE_BYTES_MAX + 8], quoted[TEXT_QUOTED_BYTES];
	int code;

	gateway->has_metrics = strcmp(value, "no") != 0;
	if (!gateway->has_metrics)
		return 0;
	snprintf(text, sizeof(text), "tcp:%s", value);
	code = strchr(value, ',')
		       ? -EINVAL
		       : address_endpoint_parse(text, ENDPOINT_ROLE_LISTEN,
						&endpoint, error);
	if (code == -EINVAL)
		return error_set(error, code,
				 "'%s' is no place to tell metrics at; write "
				 "[HOST:]PORT with an address of this machine, "
				 "like 9273 or *:9273, or no",
				 text_printable(value, quoted));
	if (code < 0)
		return code;
	address_endpoint_clear(&gateway->metrics);
	gateway->metrics = endpoint;
	return 0;
}

static int parse_pairing(const struct key_info *key, struct config_draft *draft,
			 const char *value, struct error *error)
{
	int index = text_parse_word(value, config_pairing_words,
				    "a choice for pairing", error);

	if (index < 0)
		return index;
	draft->gateway.pairing = (enum config_pairing)index;
	return 0;
}

static int parse_listen(const struct key_info *key, struct config_draft *draft,
			const char *value, struct error *error)
{
	return address_endpoint_parse(value, ENDPOINT_ROLE_LISTEN,
				      &draft->route.listen, error);
}

static int parse_connect(const struct key_info *key, struct config_draft *draft,
			 const char *value, struct error *error)
{
	return address_endpoint_parse(value, ENDPOINT_ROLE_CONNECT,
				      &draft->route.connect, error);
}

static int parse_service_name(const struct key_info *key,
			      struct config_draft *draft, const char *value,
			      struct error *error)
{
	return parse_shown_text(key, value, SERVICE_NAME_BYTES_MAX,
				&draft->route.service_name, error);
}

static int parse_service_uuid(const struct key_info *key,
			      struct config_draft *draft, const char *value,
			      struct error *error)
{
	return address_uuid_parse(value, &draft->route.service_uuid, error);
}

static int parse_security(const struct key_info *key,
			  struct config_draft *draft, const char *value,
			  struct error *error)
{
	return address_security_parse(value, &draft->route.security, error);
}

static int parse_max_sessions(const struct key_info *key,
			      struct config_draft *draft, const char *value,
			      struct error *error)
{
	size_t digits = strspn(value, "0123456789");
	unsigned long number;

	if (strcmp(value, "unlimited") == 0) {
		draft->route.max_sessions = 0;
		return 0;
	}
	number = digits < 10 ? strtoul(value, NULL, 10) : 0;
	if (!digits || value[digits] || number < 1 || number > 10000)
		return error_set(error, -EINVAL,
				 "max-sessions '%s' is not 1 to 10000, or "
				 "unlimited",
				 value);
	draft->route.max_sessions = (unsigned int)number;
	return 0;
}

static int parse_peers(const struct key_info *key, struct config_draft *draft,
		       const char *value, struct error *error)
{
	int code;

	if (draft->is_valid[CONFIG_KEY_PEERS] && !draft->route.peers.count)
		return error_set(error, -EINVAL,
				 "peers is 'any' already, by a line above");
	code = address_peers_add(value, &draft->route.peers, error);
	return code < 0 ? error_prefix(error, code, "%s", key->name) : 0;
}

static int parse_networks(const struct key_info *key, bool is_given,
			  struct address_networks *networks, const char *value,
			  struct error *error)
{
	int code;

	if (is_given && !networks->count)
		return error_set(error, -EINVAL,
				 "%s is 'any' already, by a line above",
				 key->name);
	code = address_networks_add(value, networks, error);
	return code < 0 ? error_prefix(error, code, "%s", key->name) : 0;
}

static int parse_clients(const struct key_info *key, struct config_draft *draft,
			 const char *value, struct error *error)
{
	return parse_networks(key, draft->is_valid[CONFIG_KEY_CLIENTS],
			      &draft->route.clients, value, error);
}

static int parse_metrics_clients(const struct key_info *key,
				 struct config_draft *draft, const char *value,
				 struct error *error)
{
	return parse_networks(key, draft->is_valid[CONFIG_KEY_METRICS_CLIENTS],
			      &draft->gateway.metrics_clients, value, error);
}

static int copy_peers(const struct config_route *from, struct config_route *to)
{
	return address_peers_copy(&from->peers, &to->peers);
}

static int parse_when_busy(const struct key_info *key,
			   struct config_draft *draft, const char *value,
			   struct error *error)
{
	int index = text_parse_word(value, config_when_busy_words,
				    "a choice for when-busy", error);

	if (index < 0)
		return index;
	draft->route.when_busy = (enum when_busy)index;
	return 0;
}

static int parse_share_write(const struct key_info *key,
			     struct config_draft *draft, const char *value,
			     struct error *error)
{
	int index = text_parse_word(value, config_share_write_words,
				    "a choice for share-write", error);

	if (index < 0)
		return index;
	draft->route.share_write = (enum share_write)index;
	return 0;
}

static int parse_duration(const struct key_info *key,
			  struct config_draft *draft, const char *value,
			  struct error *error)
{
	unsigned int *field = (unsigned int *)((char *)&draft->route +
					       key->offset);
	char least[24], most[24];
	unsigned int ms = 0;
	int code;

	if (key->may_be_off && strcmp(value, "off") == 0) {
		*field = 0;
		return 0;
	}
	code = address_duration_parse(value, &ms, error);
	if (code < 0)
		return error_prefix(error, code, "%s", key->name);
	address_duration_format(key->min_ms, least);
	address_duration_format(key->max_ms, most);
	if (ms < key->min_ms || ms > key->max_ms)
		return error_set(error, -EINVAL, "%s '%s' is not %s to %s%s",
				 key->name, value, least, most,
				 key->may_be_off ? ", or off" : "");
	*field = ms;
	return 0;
}

static int parse_hold(const struct key_info *key, struct config_draft *draft,
		      const char *value, struct error *error)
{
	int index = text_parse_word(value, config_hold_words,
				    "a choice for hold", error);

	if (index < 0)
		return index;
	draft->route.hold = (enum hold_mode)index;
	return 0;
}

static int parse_hold_buffer(const struct key_info *key,
			     struct config_draft *draft, const char *value,
			     struct error *error)
{
	unsigned long long bytes = 0;

	if (strcmp(value, "discard") != 0 &&
	    (!text_parse_number(value, HOLD_BUFFER_BYTES_MAX, &bytes) ||
	     !bytes))
		return error_set(error, -EINVAL,
				 "hold-buffer '%s' is not a number of bytes "
				 "from 1 to %d, or discard",
				 value, HOLD_BUFFER_BYTES_MAX);
	draft->route.hold_buffer_bytes = (unsigned int)bytes;
	return 0;
}

/* "1s..30s", the first pause and the longest; or one for both. */
static int parse_retry(const struct key_info *key, struct config_draft *draft,
		       const char *value, struct error *error)
{
	const char *dots = strstr(value, "..");
	char first[CONFIG_LINE_BYTES_MAX + 1];
	unsigned int min_ms = 0, max_ms = 0;
	int code;

	snprintf(first, sizeof(first), "%.*s",
		 (int)(dots ? dots - value : (ptrdiff_t)strlen(value)), value);
	code = address_duration_parse(first, &min_ms, error);
	if (code == 0)
		code = address_duration_parse(dots ? dots + 2 : first, &max_ms,
					      error);
	if (code < 0)
		return error_prefix(error, code, "%s", key->name);
	if (min_ms < RETRY_MS_MIN || max_ms > RETRY_MS_MAX || min_ms > max_ms)
		return error_set(error, -EINVAL,
				 "retry '%s' is not the shortest and the "
				 "longest pause, like 1s..30s, from 100ms to "
				 "1h",
				 value);
	draft->route.retry_min_ms = min_ms;
	draft->route.retry_max_ms = max_ms;
	return 0;
}

static int copy_retry(const struct config_route *from, struct config_route *to)
{
	to->retry_min_ms = from->retry_min_ms;
	to->retry_max_ms = from->retry_max_ms;
	return 0;
}

static int parse_trace(const struct key_info *key, struct config_draft *draft,
		       const char *value, struct error *error)
{
	char text[CONFIG_LINE_BYTES_MAX + 1];

	if (value[*value == '"'] != '/')
		return error_set(error, -EINVAL,
				 "trace '%s' is not an absolute path, like "
				 "/var/log/btgate/trace",
				 value);
	snprintf(text, sizeof(text), "%s", value);
	return address_path_parse(text, key->name, TRACE_PATH_BYTES_MAX,
				  &draft->route.trace.path, error);
}

static int parse_trace_format(const struct key_info *key,
			      struct config_draft *draft, const char *value,
			      struct error *error)
{
	int index = text_parse_word(value, config_trace_format_words,
				    "a choice for trace-format", error);

	if (index < 0)
		return index;
	draft->route.trace.format = (enum trace_format)index;
	return 0;
}

/* "10M" or "512K" */
static int parse_trace_size(const struct key_info *key,
			    struct config_draft *draft, const char *value,
			    struct error *error)
{
	char number[CONFIG_LINE_BYTES_MAX + 1];
	size_t length = strlen(value) - 1;
	unsigned long long kib = 0;
	bool is_mib = value[length] == 'M';

	snprintf(number, sizeof(number), "%.*s", (int)length, value);
	if ((!is_mib && value[length] != 'K') ||
	    !text_parse_number(number, TRACE_SIZE_KIB_MAX, &kib))
		kib = 0;
	if (is_mib)
		kib *= 1024;
	if (kib < TRACE_SIZE_KIB_MIN || kib > TRACE_SIZE_KIB_MAX)
		return error_set(error, -EINVAL,
				 "trace-size '%s' is not a size like 512K or "
				 "10M, from 512K to 1024M",
				 value);
	draft->route.trace.size_bytes = (unsigned int)kib * 1024;
	return 0;
}

static int parse_trace_files(const struct key_info *key,
			     struct config_draft *draft, const char *value,
			     struct error *error)
{
	unsigned long long files = 0;

	if (!text_parse_number(value, TRACE_FILES_MAX, &files) || !files)
		return error_set(error, -EINVAL,
				 "trace-files '%s' is not a number from 1 to "
				 "%d",
				 value, TRACE_FILES_MAX);
	draft->route.trace.files = (unsigned int)files;
	return 0;
}

/* ---- keys ------------------------------------------------------------ */

#define IN_GATEWAY (1u << CONFIG_SECTION_GATEWAY)
#define IN_DEFAULTS (1u << CONFIG_SECTION_DEFAULTS)
#define IN_ROUTE (1u << CONFIG_SECTION_ROUTE)

#define INHERITED(field)                                \
	.offset = offsetof(struct config_route, field), \
	.bytes = sizeof(((struct config_route *)NULL)->field)

/* clang-format off */
static const struct key_info keys[CONFIG_KEY_COUNT] = {
	[CONFIG_KEY_ADAPTER] = {
		.name = "adapter",
		.sections = IN_GATEWAY | IN_DEFAULTS | IN_ROUTE,
		.parse = parse_adapter,
		INHERITED(adapter),
	},
	[CONFIG_KEY_NAME] = {
		.name = "name",
		.sections = IN_GATEWAY,
		.parse = parse_gateway_name,
	},
	[CONFIG_KEY_DISCOVERABLE] = {
		.name = "discoverable",
		.sections = IN_GATEWAY,
		.parse = parse_discoverable,
	},
	[CONFIG_KEY_CONTROL] = {
		.name = "control",
		.sections = IN_GATEWAY,
		.parse = parse_control,
	},
	[CONFIG_KEY_METRICS] = {
		.name = "metrics",
		.sections = IN_GATEWAY,
		.parse = parse_metrics,
	},
	[CONFIG_KEY_METRICS_CLIENTS] = {
		.name = "metrics-clients",
		.sections = IN_GATEWAY,
		.parse = parse_metrics_clients,
		.is_list = true,
	},
	[CONFIG_KEY_PAIRING] = {
		.name = "pairing",
		.sections = IN_GATEWAY,
		.parse = parse_pairing,
	},
	[CONFIG_KEY_LISTEN] = {
		.name = "listen",
		.sections = IN_ROUTE,
		.parse = parse_listen,
	},
	[CONFIG_KEY_CONNECT] = {
		.name = "connect",
		.sections = IN_ROUTE,
		.parse = parse_connect,
	},
	[CONFIG_KEY_SERVICE_NAME] = {
		.name = "service-name",
		.sections = IN_ROUTE,
		.parse = parse_service_name,
	},
	[CONFIG_KEY_SERVICE_UUID] = {
		.name = "service-uuid",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_service_uuid,
		INHERITED(service_uuid),
	},
	[CONFIG_KEY_SECURITY] = {
		.name = "security",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_security,
		INHERITED(security),
	},
	[CONFIG_KEY_PEERS] = {
		.name = "peers",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_peers,
		.is_list = true,
		.copy = copy_peers,
	},
	[CONFIG_KEY_CLIENTS] = {
		.name = "clients",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_clients,
		.is_list = true,
		INHERITED(clients),
	},
	[CONFIG_KEY_MAX_SESSIONS] = {
		.name = "max-sessions",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_max_sessions,
		INHERITED(max_sessions),
	},
	[CONFIG_KEY_WHEN_BUSY] = {
		.name = "when-busy",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_when_busy,
		INHERITED(when_busy),
	},
	[CONFIG_KEY_SHARE_WRITE] = {
		.name = "share-write",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_share_write,
		INHERITED(share_write),
	},
	[CONFIG_KEY_CONNECT_TIMEOUT] = {
		.name = "connect-timeout",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_duration,
		INHERITED(connect_timeout_ms),
		.min_ms = 100,
		.max_ms = 10 * 60 * 1000,
	},
	[CONFIG_KEY_LINGER] = {
		.name = "linger",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_duration,
		INHERITED(linger_ms),
		.max_ms = 60 * 60 * 1000,
	},
	[CONFIG_KEY_DRAIN_TIMEOUT] = {
		.name = "drain-timeout",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_duration,
		INHERITED(drain_timeout_ms),
		.max_ms = 60 * 1000,
	},
	[CONFIG_KEY_IDLE_TIMEOUT] = {
		.name = "idle-timeout",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_duration,
		INHERITED(idle_timeout_ms),
		.min_ms = 1000,
		.max_ms = 24 * 60 * 60 * 1000,
		.may_be_off = true,
	},
	[CONFIG_KEY_HOLD] = {
		.name = "hold",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_hold,
		INHERITED(hold),
	},
	[CONFIG_KEY_HOLD_BUFFER] = {
		.name = "hold-buffer",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_hold_buffer,
		INHERITED(hold_buffer_bytes),
	},
	[CONFIG_KEY_RETRY] = {
		.name = "retry",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_retry,
		.copy = copy_retry,
	},
	[CONFIG_KEY_TRACE] = {
		.name = "trace",
		.sections = IN_ROUTE,
		.parse = parse_trace,
	},
	[CONFIG_KEY_TRACE_FORMAT] = {
		.name = "trace-format",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_trace_format,
		INHERITED(trace.format),
	},
	[CONFIG_KEY_TRACE_SIZE] = {
		.name = "trace-size",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_trace_size,
		INHERITED(trace.size_bytes),
	},
	[CONFIG_KEY_TRACE_FILES] = {
		.name = "trace-files",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_trace_files,
		INHERITED(trace.files),
	},
};
/* clang-format on */

const char *config_draft_title(const struct config_draft *draft, char *out,
			       size_t bytes)
{
	switch (draft->section) {
	case CONFIG_SECTION_GATEWAY:
		snprintf(out, bytes, "[gateway]");
		break;
	case CONFIG_SECTION_DEFAULTS:
		snprintf(out, bytes, "[defaults]");
		break;
	case CONFIG_SECTION_ROUTE:
		if (draft->route.name)
			snprintf(out, bytes, "[route %s]", draft->route.name);
		else
			snprintf(out, bytes, "this [route]");
		break;
	case CONFIG_SECTION_NONE:
		snprintf(out, bytes, "no section");
		break;
	}
	return out;
}

const char *config_draft_key_name(enum config_key key)
{
	return keys[key].name;
}

static enum config_key find_key(const char *name)
{
	enum config_key key = 0;

	while (key < CONFIG_KEY_COUNT && strcmp(keys[key].name, name) != 0)
		key++;
	return key;
}

enum config_key config_draft_first_key(const char *text)
{
	char word[CONFIG_LINE_BYTES_MAX + 1];

	snprintf(word, sizeof(word), "%.*s", (int)strcspn(text, " \t=:"), text);
	return find_key(word);
}

void config_draft_mark(struct config_draft *draft, enum config_key key)
{
	if (key < CONFIG_KEY_COUNT && draft)
		draft->is_meant[key] = true;
}

static void refuse_unknown_key(struct config_draft *draft, const char *name,
			       unsigned int line,
			       struct config_findings *findings)
{
	const char *words[CONFIG_KEY_COUNT + 1];
	char title[CONFIG_TITLE_BYTES];
	struct error error;
	const char *near;
	size_t count = 0;

	for (enum config_key key = 0; key < CONFIG_KEY_COUNT; key++) {
		if (keys[key].sections & 1u << draft->section)
			words[count++] = keys[key].name;
	}
	words[count] = NULL;
	near = text_suggest_word(name, words);
	if (near)
		config_draft_mark(draft, find_key(near));
	text_refuse_choice(&error, name, words, "unknown key '%.60s' in %s",
			   name,
			   config_draft_title(draft, title, sizeof(title)));
	config_note(findings, line, "%s", error.text);
}

/* A key that is none, or none of this section's. */
static void refuse_key(struct config_draft *draft, const char *name,
		       unsigned int line, struct config_findings *findings)
{
	enum config_key key = find_key(name);
	enum config_key word = config_draft_first_key(name);
	char title[CONFIG_TITLE_BYTES];

	if (key < CONFIG_KEY_COUNT) {
		const char *place = keys[key].sections & IN_ROUTE
					    ? "each [route NAME]"
					    : "[gateway]";

		config_note(findings, line,
			    "'%s' cannot be in %s; it goes into %s", name,
			    config_draft_title(draft, title, sizeof(title)),
			    place);
	} else if (word < CONFIG_KEY_COUNT) {
		/* inih takes a colon for '=': "listen tcp:80" has a key. */
		config_note(findings, line, "no '=' after '%s'",
			    keys[word].name);
		config_draft_mark(draft, word);
	} else {
		refuse_unknown_key(draft, name, line, findings);
	}
}

/* The longest one: each must fit on a line. */
static void format_longest_peer(const struct address_peers *peers,
				char longest[ADDRESS_PEER_TEXT_BYTES])
{
	char text[ADDRESS_PEER_TEXT_BYTES];

	for (size_t i = 0; i < peers->count; i++) {
		address_peer_format(&peers->items[i], text);
		if (strlen(text) > strlen(longest))
			strcpy(longest, text);
	}
}

/*
 * The printed config must be readable again. A value can grow a little when
 * it is written in full, in the one spelling.
 */
static void check_printed_length(struct config_draft *draft,
				 enum config_key key, unsigned int line,
				 struct config_findings *findings)
{
	char text[ADDRESS_ENDPOINT_TEXT_BYTES] = "";
	size_t length;

	if (key == CONFIG_KEY_LISTEN)
		address_endpoint_format(&draft->route.listen,
					ENDPOINT_ROLE_LISTEN, text);
	else if (key == CONFIG_KEY_CONNECT)
		address_endpoint_format(&draft->route.connect,
					ENDPOINT_ROLE_CONNECT, text);
	else if (key == CONFIG_KEY_CONTROL && draft->gateway.has_control)
		address_endpoint_format(&draft->gateway.control,
					ENDPOINT_ROLE_LISTEN, text);
	else if (key == CONFIG_KEY_NAME)
		text_format_quoted(draft->gateway.name, text, sizeof(text));
	else if (key == CONFIG_KEY_SERVICE_NAME)
		text_format_quoted(draft->route.service_name, text,
				   sizeof(text));
	else if (key == CONFIG_KEY_TRACE && draft->route.trace.path)
		text_format_quoted(draft->route.trace.path, text, sizeof(text));
	else if (key == CONFIG_KEY_PEERS)
		format_longest_peer(&draft->route.peers, text);
	length = strlen(keys[key].name) + strlen(" = ") + strlen(text);
	if (length <= CONFIG_LINE_BYTES_MAX)
		return;
	draft->is_valid[key] = false;
	config_note(findings, line,
		    "the value of '%s' is too long: written in full, the line "
		    "has %zu bytes; at most %d",
		    keys[key].name, length, CONFIG_LINE_BYTES_MAX);
}

static void set_value(struct config_draft *draft, enum config_key key,
		      const char *value, unsigned int line,
		      struct config_findings *findings)
{
	struct error error = {""};
	char where[CONFIG_WHERE_BYTES];
	int code;

	if (draft->lines[key] && !keys[key].is_list) {
		config_note(findings, line, "'%s' is already set on %s",
			    keys[key].name,
			    config_where(findings, draft->lines[key], line,
					 where));
		return;
	}
	if (!draft->lines[key])
		draft->lines[key] = line;
	if (!*value) {
		config_note(findings, line, "'%s' has no value",
			    keys[key].name);
		return;
	}
	code = keys[key].parse(&keys[key], draft, value, &error);
	if (code == -ENOMEM)
		findings->is_out_of_memory = true;
	draft->is_valid[key] = code == 0;
	if (code < 0)
		config_note(findings, line, "%s", error.text);
	else
		check_printed_length(draft, key, line, findings);
}

void config_draft_set(struct config_draft *draft, const char *name,
		      const char *value, unsigned int line,
		      struct config_findings *findings)
{
	enum config_key key = find_key(name);

	if (key < CONFIG_KEY_COUNT && keys[key].sections & 1u << draft->section)
		set_value(draft, key, value, line, findings);
	else
		refuse_key(draft, name, line, findings);
}

const struct address_endpoint *config_draft_end(
	const struct config_draft *draft, enum config_key key)
{
	if (!draft->is_valid[key])
		return NULL;
	return key == CONFIG_KEY_LISTEN ? &draft->route.listen
					: &draft->route.connect;
}

bool config_draft_is_bluetooth_listen(const struct config_draft *draft)
{
	return draft->is_valid[CONFIG_KEY_LISTEN] &&
	       address_endpoint_is_bluetooth(&draft->route.listen);
}

unsigned int config_draft_line_of(const struct config_drafts *drafts,
				  const struct config_draft *draft,
				  enum config_key key)
{
	return draft->lines[key] ? draft->lines[key]
				 : drafts->defaults.lines[key];
}

void config_draft_inherit(struct config_draft *draft,
			  const struct config_draft *defaults,
			  struct config_findings *findings)
{
	for (enum config_key key = 0; key < CONFIG_KEY_COUNT; key++) {
		char *to = (char *)&draft->route + keys[key].offset;
		const char *from = (const char *)&defaults->route +
				   keys[key].offset;

		if (draft->lines[key])
			continue;
		if (keys[key].bytes)
			memcpy(to, from, keys[key].bytes);
		if (keys[key].copy &&
		    keys[key].copy(&defaults->route, &draft->route) < 0)
			findings->is_out_of_memory = true;
	}
}

/* ---- all sections of a file ------------------------------------------ */

void config_drafts_init(struct config_drafts *drafts)
{
	struct error error;

	memset(drafts, 0, sizeof(*drafts));
	for (size_t i = 0; i < CONFIG_HOLDER_LISTS; i++)
		STAILQ_INIT(&drafts->holders[i]);
	drafts->gateway.section = CONFIG_SECTION_GATEWAY;
	drafts->gateway.gateway.is_discoverable = true;
	drafts->gateway.gateway.has_control = true;
	if (address_endpoint_parse(
		    "unix:" CONFIG_CONTROL_PATH, ENDPOINT_ROLE_LISTEN,
		    &drafts->gateway.gateway.control, &error) < 0)
		drafts->findings.is_out_of_memory = true;
	drafts->defaults.section = CONFIG_SECTION_DEFAULTS;
	address_uuid_parse("spp", &drafts->defaults.route.service_uuid, NULL);
	drafts->defaults.route.security = SECURITY_LEVEL_MEDIUM;
	drafts->defaults.route.linger_ms = 2000;
	drafts->defaults.route.drain_timeout_ms = 5000;
	drafts->defaults.route.hold_buffer_bytes = 64 * 1024;
	drafts->defaults.route.retry_min_ms = 1000;
	drafts->defaults.route.retry_max_ms = 30000;
	drafts->defaults.route.trace.size_bytes = 10 * 1024 * 1024;
	drafts->defaults.route.trace.files = 4;
}

struct config_draft *config_drafts_add_route(struct config_drafts *drafts,
					     unsigned int line)
{
	struct config_draft *draft;

	if (!drafts->routes)
		drafts->routes = calloc(CONFIG_ROUTES_MAX,
					sizeof(*drafts->routes));
	draft = drafts->routes ? calloc(1, sizeof(*draft)) : NULL;
	if (!draft) {
		drafts->findings.is_out_of_memory = true;
		return NULL;
	}
	draft->section = CONFIG_SECTION_ROUTE;
	draft->line = line;
	drafts->routes[drafts->route_count++] = draft;
	return draft;
}

static void leave_draft(void *draft)
{
}

void config_drafts_clear(struct config_drafts *drafts)
{
	tdestroy(drafts->names, leave_draft);
	for (size_t i = 0; i < drafts->route_count; i++) {
		config_route_clear(&drafts->routes[i]->route);
		free(drafts->routes[i]);
	}
	free(drafts->routes);
	config_findings_clear(&drafts->findings);
	config_route_clear(&drafts->defaults.route);
	config_gateway_clear(&drafts->gateway.gateway);
}
