/* SPDX-License-Identifier: MIT */
/*
 * A configuration while it is being read: its sections, and which of their keys
 * were given on which line. Knows every key: where it may stand, how its value
 * is read, whether it is inherited, its default.
 *
 * Knows neither lines of a file (config_read.h) nor what fits together in a
 * route (config_check.h).
 */
#ifndef BTGATE_CONFIG_DRAFT_H
#define BTGATE_CONFIG_DRAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "config.h"
#include "config_findings.h"

#define CONFIG_ROUTES_MAX 4096
#define CONFIG_ROUTE_NAME_BYTES_MAX 64
/* So many lists that of CONFIG_ROUTES_MAX with places of their own none is long. */
#define CONFIG_HOLDER_LISTS 1024

enum config_section {
	CONFIG_SECTION_NONE, /* before the first header, or under a bad one */
	CONFIG_SECTION_GATEWAY,
	CONFIG_SECTION_DEFAULTS,
	CONFIG_SECTION_ROUTE,
};

enum config_key {
	CONFIG_KEY_ADAPTER,
	CONFIG_KEY_NAME,
	CONFIG_KEY_DISCOVERABLE,
	CONFIG_KEY_CONTROL,
	CONFIG_KEY_METRICS,
	CONFIG_KEY_METRICS_CLIENTS,
	CONFIG_KEY_PAIRING,
	CONFIG_KEY_LISTEN,
	CONFIG_KEY_CONNECT,
	CONFIG_KEY_SERVICE_NAME,
	CONFIG_KEY_SERVICE_UUID,
	CONFIG_KEY_SECURITY,
	CONFIG_KEY_PEERS,
	CONFIG_KEY_CLIENTS,
	CONFIG_KEY_MAX_SESSIONS,
	CONFIG_KEY_WHEN_BUSY,
	CONFIG_KEY_SHARE_WRITE,
	CONFIG_KEY_CONNECT_TIMEOUT,
	CONFIG_KEY_LINGER,
	CONFIG_KEY_DRAIN_TIMEOUT,
	CONFIG_KEY_IDLE_TIMEOUT,
	CONFIG_KEY_HOLD,
	CONFIG_KEY_HOLD_BUFFER,
	CONFIG_KEY_RETRY,
	CONFIG_KEY_TRACE,
	CONFIG_KEY_TRACE_FORMAT,
	CONFIG_KEY_TRACE_SIZE,
	CONFIG_KEY_TRACE_FILES,
	CONFIG_KEY_COUNT,
};

/* An end of a route, among those that hold the same; config_places.c's. */
struct config_holder {
	STAILQ_ENTRY(config_holder) link;
	const struct config_draft *draft;
	enum endpoint_role role;
	uint32_t place;
};

STAILQ_HEAD(config_holder_list, config_holder);

/* One section. */
struct config_draft {
	enum config_section section;
	unsigned int line; /* of its header, the last one if there are some */
	unsigned int lines[CONFIG_KEY_COUNT]; /* the first; 0: not given */
	bool is_valid[CONFIG_KEY_COUNT]; /* given, and understood */
	bool is_meant[CONFIG_KEY_COUNT]; /* by a line that was refused */
	struct config_gateway gateway;
	struct config_route route;
	struct config_holder holders[2]; /* its ends, by role */
	size_t channels_before; /* taken on its adapter; config_check.c's */
};

/* All sections of all files, and what is wrong with them. */
struct config_drafts {
	struct config_draft gateway;
	struct config_draft defaults;
	struct config_draft **routes; /* in file order */
	size_t route_count;
	void *names; /* those with a name, for tsearch(3); config_read.c's */
	struct config_holder_list holders[CONFIG_HOLDER_LISTS];
	struct config_findings findings;
};

/* Room for any draft's title. */
#define CONFIG_TITLE_BYTES (CONFIG_ROUTE_NAME_BYTES_MAX + sizeof("[route ]"))

/* "[route console]" */
const char *config_draft_title(const struct config_draft *draft, char *out,
			       size_t bytes);
const char *config_draft_key_name(enum config_key key);

/*
 * The key that @text starts with, before white space, '=' or ':', or
 * CONFIG_KEY_COUNT if that is none.
 */
enum config_key config_draft_first_key(const char *text);

/* What "NAME = VALUE" on @line says, or a finding. */
void config_draft_set(struct config_draft *draft, const char *name,
		      const char *value, unsigned int line,
		      struct config_findings *findings);

/*
 * A line that was refused meant @key, so that a refused 'listen' is not
 * reported as a missing one, too. @draft may be NULL, @key CONFIG_KEY_COUNT.
 */
void config_draft_mark(struct config_draft *draft, enum config_key key);

/* Its end under @key, 'listen' or 'connect'; NULL if it was not understood. */
const struct address_endpoint *config_draft_end(
	const struct config_draft *draft, enum config_key key);

/* Whether its 'listen' was understood, and is Bluetooth. */
bool config_draft_is_bluetooth_listen(const struct config_draft *draft);

/* Where the value in force was given: in the route, or inherited; or 0. */
unsigned int config_draft_line_of(const struct config_drafts *drafts,
				  const struct config_draft *draft,
				  enum config_key key);

/* Take from @defaults what @draft does not say itself. */
void config_draft_inherit(struct config_draft *draft,
			  const struct config_draft *defaults,
			  struct config_findings *findings);

/* No routes, and [defaults] and [gateway] as btgate.conf(5) has them. */
void config_drafts_init(struct config_drafts *drafts);
/* NULL when memory is short. At most CONFIG_ROUTES_MAX times. */
struct config_draft *config_drafts_add_route(struct config_drafts *drafts,
					     unsigned int line);
void config_drafts_clear(struct config_drafts *drafts);

#endif
