/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"

#define CONFIG_FILE_BYTES_MAX (16u << 20)
/* Whoever pipes a configuration in has this long to go on. */
#define CONFIG_PIPE_WAIT_MS 10000
#define CONFIG_ROUTES_MAX 4096
#define CONFIG_FINDINGS_MAX 1000
#define ROUTE_NAME_BYTES_MAX 64
#define SERVICE_NAME_BYTES_MAX 128
#define RFCOMM_CHANNELS 30
/* A phone that waits in deferred setup is given up by the kernel after 25 s. */
#define BLUETOOTH_CONNECT_TIMEOUT_MS_MAX 24000

/* The HCI local name; a longer line than that cannot be read anyway. */
_Static_assert(CONFIG_LINE_BYTES_MAX <= 248, "a name may exceed HCI's limit");

enum section {
	SECTION_NONE, /* before the first header, or under a bad one */
	SECTION_GATEWAY,
	SECTION_DEFAULTS,
	SECTION_ROUTE,
};

enum key {
	KEY_ADAPTER,
	KEY_NAME,
	KEY_DISCOVERABLE,
	KEY_LISTEN,
	KEY_CONNECT,
	KEY_SERVICE_NAME,
	KEY_SERVICE_UUID,
	KEY_SECURITY,
	KEY_MAX_SESSIONS,
	KEY_CONNECT_TIMEOUT,
	KEY_LINGER,
	KEY_DRAIN_TIMEOUT,
	KEY_COUNT,
};

/* One section while it is being read. */
struct draft {
	enum section section;
	unsigned int line;
	unsigned int lines[KEY_COUNT]; /* 0: not given */
	bool is_valid[KEY_COUNT]; /* given, and understood */
	bool is_meant[KEY_COUNT]; /* by a line that was refused */
	struct config_gateway gateway;
	struct config_route route;
};

struct finding {
	unsigned int line; /* 0: of the file as a whole */
	size_t order;
	char *text;
};

struct loader {
	const char *name;
	const char *cursor; /* what is still to be read */
	const char *end;
	unsigned int line; /* the one that was taken last */
	/* That line, while inih has it and has not called back. */
	char pending[CONFIG_LINE_BYTES_MAX + 1];
	struct draft gateway;
	struct draft defaults;
	struct draft **routes;
	size_t route_count;
	struct draft *current; /* NULL: no section */
	bool is_skipping; /* keys of a section that was refused */
	struct finding *findings;
	size_t finding_count;
	bool is_out_of_memory;
};

/* ---- findings ------------------------------------------------------------ */

/* Keep a finding for @line; they are put in order at the end. */
__attribute__((format(printf, 3, 4))) static void note(struct loader *loader,
						       unsigned int line,
						       const char *format, ...)
{
	size_t count = loader->finding_count;
	struct finding *finding;
	va_list args;

	loader->finding_count++;
	if (count >= CONFIG_FINDINGS_MAX)
		return;
	if (!loader->findings)
		loader->findings = calloc(CONFIG_FINDINGS_MAX,
					  sizeof(*loader->findings));
	if (!loader->findings) {
		loader->is_out_of_memory = true;
		return;
	}
	finding = &loader->findings[count];
	finding->line = line;
	finding->order = count;
	va_start(args, format);
	if (vasprintf(&finding->text, format, args) < 0) {
		finding->text = NULL;
		loader->is_out_of_memory = true;
	}
	va_end(args);
	/* A quoted line may have tabs in it, and nothing else of their like. */
	for (char *c = finding->text; c && *c; c++) {
		if (*c == '\t')
			*c = ' ';
	}
}

static int compare_findings(const void *a, const void *b)
{
	const struct finding *x = a, *y = b;

	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

__attribute__((format(printf, 3, 4))) static void report_text(
	config_error_cb report, void *arg, const char *format, ...)
{
	char *text;
	va_list args;
	int length;

	va_start(args, format);
	length = vasprintf(&text, format, args);
	va_end(args);
	report(length < 0 ? "out of memory" : text, arg);
	if (length >= 0)
		free(text);
}

/* A value of [defaults] is found wrong once for each route that inherits it. */
static bool is_repeated(const struct finding *finding,
			const struct finding *before)
{
	return before->line == finding->line && before->text && finding->text &&
	       strcmp(before->text, finding->text) == 0;
}

static void report_findings(struct loader *loader, config_error_cb report,
			    void *arg)
{
	size_t count = loader->finding_count;
	size_t hidden = 0;

	if (count > CONFIG_FINDINGS_MAX) {
		hidden = count - CONFIG_FINDINGS_MAX;
		count = CONFIG_FINDINGS_MAX;
	}
	if (!loader->findings)
		count = 0;
	if (count)
		qsort(loader->findings, count, sizeof(*loader->findings),
		      compare_findings);
	for (size_t i = 0; i < count; i++) {
		const struct finding *finding = &loader->findings[i];

		if (!finding->text || (i && is_repeated(finding, finding - 1)))
			continue;
		if (finding->line)
			report_text(report, arg, "%s:%u: %s", loader->name,
				    finding->line, finding->text);
		else
			report_text(report, arg, "%s: %s", loader->name,
				    finding->text);
	}
	if (hidden)
		report_text(report, arg, "%s: %zu more errors are not shown",
			    loader->name, hidden);
}

/* ---- values --------------------------------------------------------------- */

/* One UTF-8 sequence's length at @text, 0 if it is none (RFC 3629). */
static size_t utf8_length(const unsigned char *text)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t point;
	size_t length;

	if (text[0] < 0x80)
		return 1;
	length = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
	if (text[0] < 0xc2 || text[0] > 0xf4)
		return 0;
	point = text[0] & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (text[i] & 0x3f);
	}
	if (point < least[length] || point > 0x10ffff ||
	    (point >= 0xd800 && point <= 0xdfff))
		return 0;
	return length;
}

/* Text that is shown on phones: no bad UTF-8, no control characters. */
static int check_shown_text(const char *text, struct error *error)
{
	const unsigned char *c = (const unsigned char *)text;

	if (!*c)
		return error_set(error, -EINVAL, "empty");
	while (*c) {
		size_t length = utf8_length(c);

		if (!length)
			return error_set(error, -EINVAL,
					 "not UTF-8 text (byte 0x%02x); "
					 "save the file as UTF-8",
					 *c);
		/* C0, DEL and C1 (U+0080 to U+009F). */
		if (*c < ' ' || *c == 0x7f || (*c == 0xc2 && c[1] < 0xa0))
			return error_set(error, -EINVAL,
					 "a control character in it");
		c += length;
	}
	return 0;
}

/* What a key is: where it may stand, how its value is read and passed on. */
struct key_info {
	const char *name;
	unsigned int sections; /* bits 1 << enum section */
	int (*parse)(const struct key_info *key, struct draft *draft,
		     const char *value, struct error *error);
	/* Inherited from [defaults]: which bytes of struct config_route. */
	size_t offset;
	size_t bytes;
	unsigned int min_ms;
	unsigned int max_ms;
};

/* The shown text in @value, without its quotes. */
static int parse_shown_text(const struct key_info *key, const char *value,
			    size_t bytes_max, char **out, struct error *error)
{
	char *text = strdup(value);
	int code;

	if (!text)
		return error_set(error, -ENOMEM, "out of memory");
	code = address_quoted_parse(text, error);
	if (code == 0)
		code = check_shown_text(text, error);
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

static int parse_adapter(const struct key_info *key, struct draft *draft,
			 const char *value, struct error *error)
{
	return address_adapter_parse(value, &draft->route.adapter, error);
}

static int parse_gateway_name(const struct key_info *key, struct draft *draft,
			      const char *value, struct error *error)
{
	return parse_shown_text(key, value, CONFIG_LINE_BYTES_MAX,
				&draft->gateway.name, error);
}

static int parse_discoverable(const struct key_info *key, struct draft *draft,
			      const char *value, struct error *error)
{
	static const char *const words[] = {"yes", "no", NULL};

	draft->gateway.is_discoverable = strcmp(value, "yes") == 0;
	if (draft->gateway.is_discoverable || strcmp(value, "no") == 0)
		return 0;
	return address_error_choice(error, value, words,
				    "'%s' is not a choice for %s", value,
				    key->name);
}

static int parse_listen(const struct key_info *key, struct draft *draft,
			const char *value, struct error *error)
{
	return address_endpoint_parse(value, ENDPOINT_ROLE_LISTEN,
				      &draft->route.listen, error);
}

static int parse_connect(const struct key_info *key, struct draft *draft,
			 const char *value, struct error *error)
{
	return address_endpoint_parse(value, ENDPOINT_ROLE_CONNECT,
				      &draft->route.connect, error);
}

static int parse_service_name(const struct key_info *key, struct draft *draft,
			      const char *value, struct error *error)
{
	return parse_shown_text(key, value, SERVICE_NAME_BYTES_MAX,
				&draft->route.service_name, error);
}

static int parse_service_uuid(const struct key_info *key, struct draft *draft,
			      const char *value, struct error *error)
{
	return address_uuid_parse(value, &draft->route.service_uuid, error);
}

static int parse_security(const struct key_info *key, struct draft *draft,
			  const char *value, struct error *error)
{
	return address_security_parse(value, &draft->route.security, error);
}

static int parse_max_sessions(const struct key_info *key, struct draft *draft,
			      const char *value, struct error *error)
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

static int parse_duration(const struct key_info *key, struct draft *draft,
			  const char *value, struct error *error)
{
	unsigned int *field = (unsigned int *)((char *)&draft->route +
					       key->offset);
	char least[24], most[24];
	unsigned int ms = 0;
	int code = address_duration_parse(value, &ms, error);

	if (code < 0)
		return error_prefix(error, code, "%s", key->name);
	address_duration_format(key->min_ms, least);
	address_duration_format(key->max_ms, most);
	if (ms < key->min_ms || ms > key->max_ms)
		return error_set(error, -EINVAL, "%s '%s' is not %s to %s",
				 key->name, value, least, most);
	*field = ms;
	return 0;
}

/* ---- keys ------------------------------------------------------------------ */

#define IN_GATEWAY (1u << SECTION_GATEWAY)
#define IN_DEFAULTS (1u << SECTION_DEFAULTS)
#define IN_ROUTE (1u << SECTION_ROUTE)

#define INHERITED(field)                                \
	.offset = offsetof(struct config_route, field), \
	.bytes = sizeof(((struct config_route *)NULL)->field)

/* clang-format off */
static const struct key_info keys[KEY_COUNT] = {
	[KEY_ADAPTER] = {
		.name = "adapter",
		.sections = IN_GATEWAY | IN_DEFAULTS | IN_ROUTE,
		.parse = parse_adapter,
		INHERITED(adapter),
	},
	[KEY_NAME] = {
		.name = "name",
		.sections = IN_GATEWAY,
		.parse = parse_gateway_name,
	},
	[KEY_DISCOVERABLE] = {
		.name = "discoverable",
		.sections = IN_GATEWAY,
		.parse = parse_discoverable,
	},
	[KEY_LISTEN] = {
		.name = "listen",
		.sections = IN_ROUTE,
		.parse = parse_listen,
	},
	[KEY_CONNECT] = {
		.name = "connect",
		.sections = IN_ROUTE,
		.parse = parse_connect,
	},
	[KEY_SERVICE_NAME] = {
		.name = "service-name",
		.sections = IN_ROUTE,
		.parse = parse_service_name,
	},
	[KEY_SERVICE_UUID] = {
		.name = "service-uuid",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_service_uuid,
		INHERITED(service_uuid),
	},
	[KEY_SECURITY] = {
		.name = "security",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_security,
		INHERITED(security),
	},
	[KEY_MAX_SESSIONS] = {
		.name = "max-sessions",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_max_sessions,
		INHERITED(max_sessions),
	},
	[KEY_CONNECT_TIMEOUT] = {
		.name = "connect-timeout",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_duration,
		INHERITED(connect_timeout_ms),
		.min_ms = 100,
		.max_ms = 10 * 60 * 1000,
	},
	[KEY_LINGER] = {
		.name = "linger",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_duration,
		INHERITED(linger_ms),
		.max_ms = 60 * 60 * 1000,
	},
	[KEY_DRAIN_TIMEOUT] = {
		.name = "drain-timeout",
		.sections = IN_DEFAULTS | IN_ROUTE,
		.parse = parse_duration,
		INHERITED(drain_timeout_ms),
		.max_ms = 60 * 1000,
	},
};
/* clang-format on */

/* "[route console]" */
static const char *title_of(const struct draft *draft, char *out, size_t bytes)
{
	switch (draft->section) {
	case SECTION_GATEWAY:
		snprintf(out, bytes, "[gateway]");
		break;
	case SECTION_DEFAULTS:
		snprintf(out, bytes, "[defaults]");
		break;
	case SECTION_ROUTE:
		if (draft->route.name)
			snprintf(out, bytes, "[route %s]", draft->route.name);
		else
			snprintf(out, bytes, "this [route]");
		break;
	case SECTION_NONE:
		snprintf(out, bytes, "no section");
		break;
	}
	return out;
}

#define TITLE_BYTES (ROUTE_NAME_BYTES_MAX + sizeof("[route ]"))

static enum key find_key(const char *name)
{
	enum key key = 0;

	while (key < KEY_COUNT && strcmp(keys[key].name, name) != 0)
		key++;
	return key;
}

/* The key that @text starts with, before white space, '=' or ':'. */
static enum key first_word(const char *text)
{
	char word[CONFIG_LINE_BYTES_MAX + 1];

	snprintf(word, sizeof(word), "%.*s", (int)strcspn(text, " \t=:"), text);
	return find_key(word);
}

/* So that a refused 'listen' is not reported as a missing one, too. */
static void mark_meant(struct loader *loader, enum key key)
{
	if (key < KEY_COUNT && loader->current)
		loader->current->is_meant[key] = true;
}

static void refuse_unknown_key(struct loader *loader, const struct draft *draft,
			       const char *name)
{
	const char *words[KEY_COUNT + 1];
	char title[TITLE_BYTES];
	struct error error;
	const char *near;
	size_t count = 0;

	for (enum key key = 0; key < KEY_COUNT; key++) {
		if (keys[key].sections & 1u << draft->section)
			words[count++] = keys[key].name;
	}
	words[count] = NULL;
	near = address_suggest(name, words);
	if (near)
		mark_meant(loader, find_key(near));
	address_error_choice(&error, name, words, "unknown key '%.60s' in %s",
			     name, title_of(draft, title, sizeof(title)));
	note(loader, loader->line, "%s", error.text);
}

/* A key that is none, or none of this section's. */
static void refuse_key(struct loader *loader, const struct draft *draft,
		       const char *name)
{
	enum key key = find_key(name);
	enum key word = first_word(name);
	char title[TITLE_BYTES];

	if (key < KEY_COUNT) {
		const char *place = keys[key].sections & IN_ROUTE
					    ? "each [route NAME]"
					    : "[gateway]";

		note(loader, loader->line,
		     "'%s' cannot be in %s; it goes into %s", name,
		     title_of(draft, title, sizeof(title)), place);
	} else if (word < KEY_COUNT) {
		/* inih takes a colon for '=': "listen tcp:80" has a key. */
		note(loader, loader->line, "no '=' after '%s'",
		     keys[word].name);
		mark_meant(loader, word);
	} else {
		refuse_unknown_key(loader, draft, name);
	}
}

/*
 * The printed config must be readable again. A value can grow a little when
 * it is written in full, in the one spelling.
 */
static void check_printed_length(struct loader *loader, struct draft *draft,
				 enum key key)
{
	char text[ADDRESS_ENDPOINT_TEXT_BYTES] = "";
	size_t length;

	if (key == KEY_LISTEN)
		address_endpoint_format(&draft->route.listen,
					ENDPOINT_ROLE_LISTEN, text);
	else if (key == KEY_CONNECT)
		address_endpoint_format(&draft->route.connect,
					ENDPOINT_ROLE_CONNECT, text);
	else if (key == KEY_NAME)
		address_quoted_format(draft->gateway.name, text, sizeof(text));
	else if (key == KEY_SERVICE_NAME)
		address_quoted_format(draft->route.service_name, text,
				      sizeof(text));
	length = strlen(keys[key].name) + strlen(" = ") + strlen(text);
	if (length <= CONFIG_LINE_BYTES_MAX)
		return;
	draft->is_valid[key] = false;
	note(loader, loader->line,
	     "the value of '%s' is too long: written in full, the line has %zu "
	     "bytes; at most %d",
	     keys[key].name, length, CONFIG_LINE_BYTES_MAX);
}

static void set_value(struct loader *loader, struct draft *draft, enum key key,
		      const char *value)
{
	struct error error = {""};
	int code;

	if (draft->lines[key]) {
		note(loader, loader->line, "'%s' is already set on line %u",
		     keys[key].name, draft->lines[key]);
		return;
	}
	draft->lines[key] = loader->line;
	if (!*value) {
		note(loader, loader->line, "'%s' has no value", keys[key].name);
		return;
	}
	code = keys[key].parse(&keys[key], draft, value, &error);
	if (code == -ENOMEM)
		loader->is_out_of_memory = true;
	draft->is_valid[key] = code == 0;
	if (code < 0)
		note(loader, loader->line, "%s", error.text);
	else
		check_printed_length(loader, draft, key);
}

/* ini_handler; what inih takes for the section is of no interest. */
static int on_key(void *arg, const char *section, const char *name,
		  const char *value)
{
	struct loader *loader = arg;
	struct draft *draft = loader->current;
	enum key key = find_key(name);

	loader->pending[0] = '\0';
	if (loader->is_skipping)
		return 1;
	if (!*name)
		note(loader, loader->line, "no key before '='");
	else if (!draft)
		note(loader, loader->line,
		     "'%s' is outside of a section; start one above it, like "
		     "[route NAME]",
		     name);
	else if (key < KEY_COUNT && keys[key].sections & 1u << draft->section)
		set_value(loader, draft, key, value);
	else
		refuse_key(loader, draft, name);
	return 1;
}

/* ---- section headers -------------------------------------------------------- */

static const struct draft *find_route(const struct loader *loader,
				      const char *name)
{
	for (size_t i = 0; i < loader->route_count; i++) {
		const struct draft *draft = loader->routes[i];

		if (draft->route.name && strcmp(draft->route.name, name) == 0)
			return draft;
	}
	return NULL;
}

static struct draft *add_route(struct loader *loader)
{
	struct draft *draft;

	if (!loader->routes)
		loader->routes = calloc(CONFIG_ROUTES_MAX,
					sizeof(*loader->routes));
	draft = loader->routes ? calloc(1, sizeof(*draft)) : NULL;
	if (!draft) {
		loader->is_out_of_memory = true;
		return NULL;
	}
	draft->section = SECTION_ROUTE;
	draft->line = loader->line;
	loader->routes[loader->route_count++] = draft;
	return draft;
}

static void check_route_name(struct loader *loader, const char *name,
			     struct draft *draft)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "abcdefghijklmnopqrstuvwxyz"
				      "0123456789._-";
	const struct draft *first = find_route(loader, name);

	if (!*name) {
		note(loader, loader->line,
		     "a route needs a name, like [route console]");
	} else if (name[strspn(name, allowed)]) {
		note(loader, loader->line,
		     "'%s' is not a route's name; use A-Z a-z 0-9 . _ -", name);
	} else if (strlen(name) > ROUTE_NAME_BYTES_MAX) {
		note(loader, loader->line,
		     "the route's name '%s' is %zu bytes long; at most %d",
		     name, strlen(name), ROUTE_NAME_BYTES_MAX);
	} else if (first) {
		note(loader, loader->line,
		     "[route %s] is already there on line %u", name,
		     first->line);
	} else {
		draft->route.name = strdup(name);
		if (!draft->route.name)
			loader->is_out_of_memory = true;
	}
}

static void start_route(struct loader *loader, const char *name)
{
	if (loader->route_count == CONFIG_ROUTES_MAX) {
		note(loader, loader->line, "more than %d routes",
		     CONFIG_ROUTES_MAX);
		/* Once is enough. */
		loader->cursor = loader->end;
		return;
	}
	loader->current = add_route(loader);
	if (loader->current)
		check_route_name(loader, name, loader->current);
	loader->is_skipping = !loader->current;
}

/* [gateway] and [defaults]: once each. */
static void start_single(struct loader *loader, struct draft *draft)
{
	char title[TITLE_BYTES];

	if (draft->line)
		note(loader, loader->line, "%s is already there on line %u",
		     title_of(draft, title, sizeof(title)), draft->line);
	else
		draft->line = loader->line;
	loader->current = draft;
}

static void refuse_section(struct loader *loader, const char *text,
			   size_t word_length)
{
	static const char *const words[] = {"gateway", "defaults", "route",
					    NULL};
	char word[CONFIG_LINE_BYTES_MAX + 1];
	const char *near;

	snprintf(word, sizeof(word), "%.*s", (int)word_length, text);
	near = address_suggest(word, words);
	loader->is_skipping = true;
	if (near)
		note(loader, loader->line,
		     "unknown section [%s]; did you mean '%s'?", text, near);
	else
		note(loader, loader->line,
		     "unknown section [%s]; use [gateway], [defaults] or "
		     "[route NAME]",
		     text);
}

/* @text is what stands between the brackets. */
static void start_section(struct loader *loader, char *text)
{
	size_t length;
	char *name;

	text += strspn(text, " \t");
	length = strlen(text);
	while (length && (text[length - 1] == ' ' || text[length - 1] == '\t'))
		text[--length] = '\0';
	length = strcspn(text, " \t");
	name = text + length + strspn(text + length, " \t");
	loader->current = NULL;
	loader->is_skipping = false;
	if (strcmp(text, "gateway") == 0)
		start_single(loader, &loader->gateway);
	else if (strcmp(text, "defaults") == 0)
		start_single(loader, &loader->defaults);
	else if (length == strlen("route") && strncmp(text, "route", 5) == 0)
		start_route(loader, name);
	else
		refuse_section(loader, text, length);
}

/*
 * Headers are read here and not by inih, which keeps 49 bytes of them, takes
 * anything behind the bracket, and tells of a section only with its keys.
 */
static void read_header(struct loader *loader, char *text)
{
	char *close = strchr(text, ']');
	char *rest;

	if (!close) {
		note(loader, loader->line, "no closing ']' in '%s'", text);
		/* Its keys are still read, so that their errors show now. */
		text[strcspn(text, ";#")] = '\0';
	} else {
		rest = close + 1 + strspn(close + 1, " \t");
		if (*rest && *rest != ';' && *rest != '#')
			note(loader, loader->line,
			     "text after the section's header: '%s'", rest);
		*close = '\0';
	}
	start_section(loader, text + 1);
}

/* ---- lines -------------------------------------------------------------------- */

/* inih says nothing about a line that it makes nothing of. */
static void finish_pending(struct loader *loader)
{
	enum key key = first_word(loader->pending);

	if (loader->pending[0] && !loader->is_skipping) {
		if (key < KEY_COUNT)
			note(loader, loader->line, "no '=' after '%s'",
			     keys[key].name);
		else
			note(loader, loader->line,
			     "'%s' is no 'key = value', no [section] and no "
			     "comment",
			     loader->pending);
		mark_meant(loader, key);
	}
	loader->pending[0] = '\0';
}

/* After a line that was not read: what would be blamed on its absence. */
static void skip_line(struct loader *loader, const char *text, size_t length)
{
	char start[32];

	if (length && *text == '[') {
		loader->current = NULL;
		loader->is_skipping = true;
		return;
	}
	snprintf(start, sizeof(start), "%.*s", (int)(length < 31 ? length : 31),
		 text);
	mark_meant(loader, first_word(start));
}

static bool has_bad_bytes(struct loader *loader, const char *text,
			  size_t length)
{
	for (size_t i = 0; i < length; i++) {
		unsigned char c = text[i];

		if ((c >= ' ' || c == '\t') && c != 0x7f)
			continue;
		if (c)
			note(loader, loader->line,
			     "a control character (0x%02x) at byte %zu", c,
			     i + 1);
		else
			note(loader, loader->line,
			     "a NUL byte at byte %zu; this is no text in UTF-8",
			     i + 1);
		return true;
	}
	return false;
}

/* Take one line off the data, without its end (LF or CR LF). */
static size_t take_line(struct loader *loader, const char **text)
{
	static const char mark[] = "\xef\xbb\xbf"; /* byte order, UTF-8 */
	size_t rest = (size_t)(loader->end - loader->cursor);
	const char *newline = memchr(loader->cursor, '\n', rest);
	size_t length = newline ? (size_t)(newline - loader->cursor) : rest;

	*text = loader->cursor;
	loader->cursor += length + (newline ? 1 : 0);
	loader->line++;
	if (length && (*text)[length - 1] == '\r')
		length--;
	if (loader->line == 1 && length >= 3 && !memcmp(*text, mark, 3)) {
		*text += 3;
		length -= 3;
	}
	return length;
}

/*
 * One line for inih, into @buffer: without white space at its ends (an
 * indented line would go on with the last value), and never longer than inih
 * can take (it would read the tail as a line of its own). False if there is
 * nothing in it for inih.
 */
static bool prepare_line(struct loader *loader, const char *text, size_t length,
			 char *buffer, size_t room)
{
	size_t limit = CONFIG_LINE_BYTES_MAX;
	bool is_bad;

	is_bad = has_bad_bytes(loader, text, length);
	while (length && (*text == ' ' || *text == '\t')) {
		text++;
		length--;
	}
	while (length && (text[length - 1] == ' ' || text[length - 1] == '\t'))
		length--;
	if (is_bad)
		skip_line(loader, text, length);
	if (is_bad || !length || *text == ';' || *text == '#')
		return false;
	if (room < limit + 2)
		limit = room - 2;
	if (length > limit) {
		note(loader, loader->line,
		     "the line is %zu bytes long; at most %zu", length, limit);
		skip_line(loader, text, length);
		return false;
	}
	memcpy(buffer, text, length);
	buffer[length] = '\0';
	if (*buffer == '[') {
		read_header(loader, buffer);
		return false;
	}
	strcpy(loader->pending, buffer);
	strcpy(buffer + length, "\n");
	return true;
}

/* ini_reader: like fgets. */
static char *read_line(char *buffer, int room, void *arg)
{
	struct loader *loader = arg;
	const char *text;
	size_t length;

	finish_pending(loader);
	while (loader->cursor < loader->end) {
		length = take_line(loader, &text);
		if (prepare_line(loader, text, length, buffer, (size_t)room))
			return buffer;
	}
	return NULL;
}

static void read_lines(struct loader *loader)
{
	ini_parse_stream(read_line, loader, on_key, loader);
	finish_pending(loader);
}

/* ---- the whole ------------------------------------------------------------------ */

static void inherit(struct loader *loader, struct draft *draft)
{
	for (enum key key = 0; key < KEY_COUNT; key++) {
		char *to = (char *)&draft->route + keys[key].offset;
		const char *from = (char *)&loader->defaults.route +
				   keys[key].offset;

		if (keys[key].bytes && !draft->lines[key])
			memcpy(to, from, keys[key].bytes);
	}
}

/* Where the value in force was given: in the route, or inherited. */
static unsigned int line_of(const struct loader *loader,
			    const struct draft *draft, enum key key)
{
	return draft->lines[key] ? draft->lines[key]
				 : loader->defaults.lines[key];
}

static void check_missing(struct loader *loader, const struct draft *draft)
{
	bool has_listen = draft->lines[KEY_LISTEN] ||
			  draft->is_meant[KEY_LISTEN];
	bool has_connect = draft->lines[KEY_CONNECT] ||
			   draft->is_meant[KEY_CONNECT];
	char title[TITLE_BYTES];

	if (has_listen && has_connect)
		return;
	note(loader, draft->line, "%s needs %s%s%s",
	     title_of(draft, title, sizeof(title)),
	     has_listen ? "" : "'listen'",
	     has_listen || has_connect ? "" : " and ",
	     has_connect ? "" : "'connect'");
}

/* Keys that would promise something without any effect. */
static void check_idle_keys(struct loader *loader, const struct draft *draft)
{
	const struct config_route *route = &draft->route;
	static const enum key of_listen[] = {KEY_SERVICE_NAME,
					     KEY_SERVICE_UUID};
	static const enum key of_either[] = {KEY_ADAPTER, KEY_SECURITY};
	bool is_bluetooth = address_endpoint_is_bluetooth(&route->listen);

	for (size_t i = 0; i < 2 && !is_bluetooth; i++) {
		if (draft->lines[of_listen[i]])
			note(loader, draft->lines[of_listen[i]],
			     "'%s' is for routes that listen on Bluetooth; "
			     "this one does not",
			     keys[of_listen[i]].name);
	}
	if (is_bluetooth || !draft->is_valid[KEY_CONNECT] ||
	    address_endpoint_is_bluetooth(&route->connect))
		return;
	for (size_t i = 0; i < 2; i++) {
		if (draft->lines[of_either[i]])
			note(loader, draft->lines[of_either[i]],
			     "'%s' is for Bluetooth; neither end of this "
			     "route is",
			     keys[of_either[i]].name);
	}
}

static void check_bluetooth(struct loader *loader, const struct draft *draft)
{
	const struct config_route *route = &draft->route;
	struct error error;
	char text[24];

	if (!address_endpoint_is_bluetooth(&route->listen))
		return;
	if (address_endpoint_check_security(&route->listen, route->security,
					    &error) < 0)
		note(loader, line_of(loader, draft, KEY_SECURITY), "%s",
		     error.text);
	if (route->connect_timeout_ms <= BLUETOOTH_CONNECT_TIMEOUT_MS_MAX)
		return;
	address_duration_format(route->connect_timeout_ms, text);
	note(loader, line_of(loader, draft, KEY_CONNECT_TIMEOUT),
	     "connect-timeout '%s' is too long for a route that listens on "
	     "Bluetooth: at most %us, a waiting phone is given up after 25s",
	     text, BLUETOOTH_CONNECT_TIMEOUT_MS_MAX / 1000);
}

/* The end of @draft that is listed under @key, if it was understood. */
static const struct address_endpoint *end_of(const struct draft *draft,
					     enum key key)
{
	if (!draft->is_valid[key])
		return NULL;
	return key == KEY_LISTEN ? &draft->route.listen : &draft->route.connect;
}

static bool ends_conflict(const struct draft *a, enum key a_key,
			  const struct draft *b, enum key b_key)
{
	const struct address_endpoint *a_end = end_of(a, a_key);
	const struct address_endpoint *b_end = end_of(b, b_key);

	return a_end && b_end &&
	       address_endpoint_is_conflict(
		       a_end,
		       a_key == KEY_LISTEN ? ENDPOINT_ROLE_LISTEN
					   : ENDPOINT_ROLE_CONNECT,
		       &a->route.adapter, b_end,
		       b_key == KEY_LISTEN ? ENDPOINT_ROLE_LISTEN
					   : ENDPOINT_ROLE_CONNECT,
		       &b->route.adapter);
}

static void note_conflict(struct loader *loader, const struct draft *draft,
			  enum key key, const struct draft *earlier,
			  enum key earlier_key)
{
	char text[ADDRESS_ENDPOINT_TEXT_BYTES];
	char title[TITLE_BYTES];

	address_endpoint_format(end_of(earlier, earlier_key),
				earlier_key == KEY_LISTEN
					? ENDPOINT_ROLE_LISTEN
					: ENDPOINT_ROLE_CONNECT,
				text);
	note(loader, draft->lines[key],
	     "'%s' is in use already: %s has %s = %s on line %u",
	     keys[key].name, title_of(earlier, title, sizeof(title)),
	     keys[earlier_key].name, text, earlier->lines[earlier_key]);
}

/* What one end of route @index holds, against all earlier routes. */
static void check_conflict(struct loader *loader, size_t index, enum key key)
{
	const struct draft *draft = loader->routes[index];
	static const enum key ends[] = {KEY_LISTEN, KEY_CONNECT};

	for (size_t i = 0; i < index; i++) {
		for (size_t j = 0; j < 2; j++) {
			const struct draft *earlier = loader->routes[i];

			if (!ends_conflict(earlier, ends[j], draft, key))
				continue;
			note_conflict(loader, draft, key, earlier, ends[j]);
			return;
		}
	}
}

static void check_loop(struct loader *loader, const struct draft *draft)
{
	if (!draft->is_valid[KEY_LISTEN] || !draft->is_valid[KEY_CONNECT])
		return;
	if (address_endpoint_is_loop(&draft->route.listen,
				     &draft->route.connect))
		note(loader, draft->lines[KEY_CONNECT],
		     "'connect' leads back to the route's own 'listen'");
}

static void check_route(struct loader *loader, size_t index)
{
	struct draft *draft = loader->routes[index];

	inherit(loader, draft);
	check_missing(loader, draft);
	if (draft->is_valid[KEY_LISTEN]) {
		check_idle_keys(loader, draft);
		check_bluetooth(loader, draft);
	}
	check_loop(loader, draft);
	check_conflict(loader, index, KEY_LISTEN);
	check_conflict(loader, index, KEY_CONNECT);
}

static bool adapter_is_same(const struct address_adapter *a,
			    const struct address_adapter *b)
{
	return a->choice == b->choice && a->index == b->index &&
	       memcmp(&a->address, &b->address, sizeof(a->address)) == 0;
}

/* An adapter has 30 RFCOMM channels, and each listening route needs its own. */
static void check_channels(struct loader *loader)
{
	for (size_t i = 0; i < loader->route_count; i++) {
		const struct draft *draft = loader->routes[i];
		size_t used = 0;

		if (!draft->is_valid[KEY_LISTEN] ||
		    draft->route.listen.kind != ENDPOINT_KIND_RFCOMM)
			continue;
		for (size_t j = 0; j < i; j++) {
			const struct draft *other = loader->routes[j];

			used += other->is_valid[KEY_LISTEN] &&
				other->route.listen.kind ==
					ENDPOINT_KIND_RFCOMM &&
				adapter_is_same(&draft->route.adapter,
						&other->route.adapter);
		}
		if (used < RFCOMM_CHANNELS)
			continue;
		note(loader, draft->lines[KEY_LISTEN],
		     "no RFCOMM channel is left: an adapter has %d, and %zu "
		     "earlier routes listen on the same",
		     RFCOMM_CHANNELS, used);
		return;
	}
}

static void resolve(struct loader *loader)
{
	if (!loader->defaults.lines[KEY_ADAPTER])
		loader->defaults.route.adapter = loader->gateway.route.adapter;
	for (size_t i = 0; i < loader->route_count; i++)
		check_route(loader, i);
	check_channels(loader);
	if (!loader->route_count && !loader->finding_count)
		note(loader, 0,
		     "no routes; add one, like [route echo] with "
		     "'listen = rfcomm' and 'connect = echo'");
}

/* ---- loading ---------------------------------------------------------------------- */

static void clear_route(struct config_route *route)
{
	free(route->name);
	free(route->service_name);
	address_endpoint_clear(&route->listen);
	address_endpoint_clear(&route->connect);
}

void config_free(struct config *config)
{
	if (!config)
		return;
	for (size_t i = 0; i < config->route_count; i++)
		clear_route(&config->routes[i]);
	free(config->routes);
	free(config->gateway.name);
	free(config);
}

/* Move the drafts' contents into a config; NULL when memory is short. */
static struct config *build(struct loader *loader)
{
	struct config *config = calloc(1, sizeof(*config));

	if (!config)
		return NULL;
	config->gateway = loader->gateway.gateway;
	config->gateway.adapter = loader->gateway.route.adapter;
	loader->gateway.gateway.name = NULL;
	config->routes = calloc(loader->route_count, sizeof(*config->routes));
	if (!config->routes)
		goto free_config;
	for (size_t i = 0; i < loader->route_count; i++) {
		struct config_route *route = &config->routes[i];

		*route = loader->routes[i]->route;
		memset(&loader->routes[i]->route, 0, sizeof(*route));
		config->route_count++;
		route->line = loader->routes[i]->line;
		if (!route->service_name)
			route->service_name = strdup(route->name);
		if (!route->service_name)
			goto free_config;
	}
	return config;

free_config:
	config_free(config);
	return NULL;
}

static void loader_init(struct loader *loader, const char *name,
			const char *data, size_t size)
{
	memset(loader, 0, sizeof(*loader));
	loader->name = name;
	loader->cursor = data;
	loader->end = data + size;
	loader->gateway.section = SECTION_GATEWAY;
	loader->gateway.gateway.is_discoverable = true;
	loader->defaults.section = SECTION_DEFAULTS;
	address_uuid_parse("spp", &loader->defaults.route.service_uuid, NULL);
	loader->defaults.route.security = SECURITY_LEVEL_MEDIUM;
	loader->defaults.route.connect_timeout_ms = 10000;
	loader->defaults.route.linger_ms = 2000;
	loader->defaults.route.drain_timeout_ms = 5000;
}

static void loader_clear(struct loader *loader)
{
	for (size_t i = 0; i < loader->route_count; i++) {
		clear_route(&loader->routes[i]->route);
		free(loader->routes[i]);
	}
	free(loader->routes);
	for (size_t i = 0; loader->findings && i < CONFIG_FINDINGS_MAX; i++)
		free(loader->findings[i].text);
	free(loader->findings);
	free(loader->gateway.gateway.name);
}

int config_parse(const char *name, const char *data, size_t size,
		 struct config **out, config_error_cb report, void *arg)
{
	struct loader loader;
	int code = 0;

	*out = NULL;
	loader_init(&loader, name, data, size);
	read_lines(&loader);
	resolve(&loader);
	if (loader.finding_count)
		code = -EINVAL;
	else if (!loader.is_out_of_memory)
		*out = build(&loader);
	if (loader.is_out_of_memory || (!code && !*out)) {
		code = -ENOMEM;
		report_text(report, arg, "%s: out of memory", name);
	} else {
		report_findings(&loader, report, arg);
	}
	loader_clear(&loader);
	return code;
}

/* ---- files ------------------------------------------------------------------------- */

/* A pipe that we were started with, as opposed to a FIFO somewhere. */
static bool is_inherited(const char *path)
{
	return strcmp(path, "/dev/stdin") == 0 ||
	       strncmp(path, "/dev/fd/", 8) == 0 ||
	       strncmp(path, "/proc/self/fd/", 14) == 0;
}

/* @code with what to do about it. */
static int refuse_open(int code, struct error *error)
{
	const char *advice;

	switch (code) {
	case -ENOENT:
		advice = "create it, or name another with -c FILE";
		break;
	case -EACCES:
		advice = "make it readable for the user that runs btgate";
		break;
	default:
		advice = "name another with -c FILE";
		break;
	}
	return error_set(error, code, "cannot read it: %s; %s", strerror(-code),
			 advice);
}

/* Looked at before it is opened: opening some devices does something. */
static int open_file(const char *path, struct error *error)
{
	struct stat status;
	int fd;

	if (stat(path, &status) < 0)
		return refuse_open(-errno, error);
	if (S_ISDIR(status.st_mode))
		return refuse_open(-EISDIR, error);
	if (!S_ISREG(status.st_mode) &&
	    !(S_ISFIFO(status.st_mode) && is_inherited(path)))
		return error_set(error, -ENOTSUP,
				 "is a %s and not a file; name another with "
				 "-c FILE",
				 S_ISFIFO(status.st_mode) ? "FIFO"
							  : "device or socket");
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? refuse_open(-errno, error) : fd;
}

/* read(), but for a pipe wait a while for more. */
static ssize_t read_some(int fd, char *buffer, size_t bytes)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};
	ssize_t got;
	int ready;

	for (;;) {
		got = read(fd, buffer, bytes);
		if (got >= 0)
			return got;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		ready = poll(&poller, 1, CONFIG_PIPE_WAIT_MS);
		if (ready == 0)
			return -ETIMEDOUT;
		if (ready < 0 && errno != EINTR)
			return -errno;
	}
}

/* All of @fd, in a buffer that grows; malloc'd. */
static int read_all(int fd, char **out, size_t *out_bytes, struct error *error)
{
	size_t room = 4096, used = 0;
	char *buffer = malloc(room);
	ssize_t got = buffer ? 1 : -ENOMEM;

	while (got > 0) {
		got = read_some(fd, buffer + used, room - used);
		if (got > 0)
			used += (size_t)got;
		if (used > CONFIG_FILE_BYTES_MAX) {
			got = -EFBIG;
		} else if (used == room) {
			char *larger = realloc(buffer, room * 2);

			if (!larger) {
				got = -ENOMEM;
				break;
			}
			buffer = larger;
			room *= 2;
		}
	}
	if (got == 0) {
		*out = buffer;
		*out_bytes = used;
		return 0;
	}
	free(buffer);
	if (got == -EFBIG)
		return error_set(error, -EFBIG,
				 "is larger than %u MB; that is no "
				 "configuration",
				 CONFIG_FILE_BYTES_MAX >> 20);
	return error_set(error, (int)got, "cannot read it: %s",
			 strerror((int)-got));
}

int config_load(const char *path, struct config **out, config_error_cb report,
		void *arg)
{
	struct error error = {""};
	char *data = NULL;
	size_t size = 0;
	int code, fd;

	*out = NULL;
	fd = open_file(path, &error);
	code = fd < 0 ? fd : read_all(fd, &data, &size, &error);
	if (fd >= 0)
		close(fd);
	if (code < 0) {
		report_text(report, arg, "%s: %s", path, error.text);
		return code;
	}
	code = config_parse(path, data, size, out, report, arg);
	free(data);
	return code;
}

/* ---- printing ------------------------------------------------------------------------ */

static void print_quoted(const char *key, const char *value, FILE *stream)
{
	char text[2 * CONFIG_LINE_BYTES_MAX + 3];

	address_quoted_format(value, text, sizeof(text));
	fprintf(stream, "%s = %s\n", key, text);
}

static void print_adapter(const struct address_adapter *adapter, FILE *stream)
{
	char text[ADDRESS_ADAPTER_TEXT_BYTES];

	address_adapter_format(adapter, text);
	fprintf(stream, "adapter = %s\n", text);
}

static void print_duration(const char *key, unsigned int ms, FILE *stream)
{
	char text[24];

	address_duration_format(ms, text);
	fprintf(stream, "%s = %s\n", key, text);
}

static void print_route(const struct config_route *route, FILE *stream)
{
	bool is_listen = address_endpoint_is_bluetooth(&route->listen);
	bool is_either = is_listen ||
			 address_endpoint_is_bluetooth(&route->connect);
	char text[ADDRESS_ENDPOINT_TEXT_BYTES];
	char uuid[ADDRESS_UUID_TEXT_BYTES];

	fprintf(stream, "\n[route %s]\n", route->name);
	address_endpoint_format(&route->listen, ENDPOINT_ROLE_LISTEN, text);
	fprintf(stream, "listen = %s\n", text);
	address_endpoint_format(&route->connect, ENDPOINT_ROLE_CONNECT, text);
	fprintf(stream, "connect = %s\n", text);
	if (is_listen) {
		address_uuid_format(&route->service_uuid, uuid);
		print_quoted("service-name", route->service_name, stream);
		fprintf(stream, "service-uuid = %s\n", uuid);
	}
	if (is_either) {
		print_adapter(&route->adapter, stream);
		fprintf(stream, "security = %s\n",
			address_security_to_string(route->security));
	}
	if (route->max_sessions)
		fprintf(stream, "max-sessions = %u\n", route->max_sessions);
	else
		fprintf(stream, "max-sessions = unlimited\n");
	print_duration("connect-timeout", route->connect_timeout_ms, stream);
	print_duration("linger", route->linger_ms, stream);
	print_duration("drain-timeout", route->drain_timeout_ms, stream);
}

int config_print(const struct config *config, FILE *stream)
{
	errno = 0;
	fprintf(stream, "[gateway]\n");
	print_adapter(&config->gateway.adapter, stream);
	if (config->gateway.name)
		print_quoted("name", config->gateway.name, stream);
	fprintf(stream, "discoverable = %s\n",
		config->gateway.is_discoverable ? "yes" : "no");
	for (size_t i = 0; i < config->route_count; i++)
		print_route(&config->routes[i], stream);
	if (fflush(stream) != 0 || ferror(stream))
		return errno ? -errno : -EIO;
	return 0;
}
