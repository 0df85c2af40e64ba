/* SPDX-License-Identifier: MIT */
/*
 * What a kind of endpoint is to the parser: one struct per kind, filled in by
 * the files address_endpoint_NAME.c, and listed in address_endpoint.c.
 *
 * Private to address_endpoint*.c.
 */
#ifndef BTGATE_ADDRESS_ENDPOINT_KIND_H
#define BTGATE_ADDRESS_ENDPOINT_KIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address_endpoint.h"

#define ROLE_LISTEN (1u << ENDPOINT_ROLE_LISTEN)
#define ROLE_CONNECT (1u << ENDPOINT_ROLE_CONNECT)
#define ROLE_BOTH (ROLE_LISTEN | ROLE_CONNECT)

#define OPTION_VALUE_BYTES 520 /* a path, in quotes */

struct endpoint_option {
	const char *name;
	unsigned int roles;
	const char *example; /* NULL: a flag, which has no value */
	bool is_raw; /* takes the quotes off its value itself */
	/* @value is NULL for a flag. */
	int (*parse)(struct address_endpoint *endpoint, const char *value,
		     struct error *error);
	/* False where it is at its default and need not be written. */
	bool (*format)(const struct address_endpoint *endpoint, char *text,
		       size_t bytes);
};

enum address_need {
	ADDRESS_NEED_NONE,
	ADDRESS_NEED_OPTIONAL,
	ADDRESS_NEED_REQUIRED,
};

#define ENDPOINT_OPTIONS_MAX 8 /* room, with the end mark */

struct address_endpoint_kind {
	const char *name;
	unsigned int roles;
	enum address_need needs[2]; /* an address, by role */
	bool is_bluetooth;
	bool has_packing; /* bytes come from it, without boundaries */
	bool is_shareable; /* two routes may name one path of this kind */
	enum security_level security_max;
	const char *forms[2]; /* by role: what to write */
	/* @address is NULL if none was given; may be written to. */
	int (*parse)(struct address_endpoint *endpoint, enum endpoint_role role,
		     char *address, struct error *error);
	/* What may follow without '=', as it begins with a digit; or NULL. */
	int (*parse_figures)(struct address_endpoint *endpoint,
			     const char *text, struct error *error);
	const char *figures_example;
	const char *comma_hint; /* added where an option is unknown; or NULL */
	/* Whether all of it fits together; NULL: any does. */
	int (*check)(const struct address_endpoint *endpoint,
		     enum endpoint_role role, struct error *error);
	void (*format)(const struct address_endpoint *endpoint,
		       enum endpoint_role role, char *text, size_t bytes);
	void (*clear)(struct address_endpoint *endpoint);
	/* The path that it makes in that role, or NULL. */
	const char *(*held_path)(const struct address_endpoint *endpoint,
				 enum endpoint_role role);
	bool has_next; /* and that it makes PATH.next, if it listens */
	/*
	 * Of two of this kind, or of two kinds that have the same function
	 * here; NULL: never, but for held paths.
	 */
	bool (*is_conflict)(const struct address_endpoint *a,
			    enum endpoint_role a_role,
			    const struct address_adapter *a_adapter,
			    const struct address_endpoint *b,
			    enum endpoint_role b_role,
			    const struct address_adapter *b_adapter);
	/*
	 * What is the same where it says that there is a conflict; not for held
	 * paths. NULL where is_conflict is.
	 */
	uint32_t (*place)(const struct address_endpoint *endpoint,
			  enum endpoint_role role);
	/* Of kinds as for is_conflict. */
	bool (*is_loop)(const struct address_endpoint *listen,
			const struct address_endpoint *connect);
	/* Whether it keeps records instead of a stream; NULL: never. */
	bool (*has_records)(const struct address_endpoint *endpoint);
	struct endpoint_option options[ENDPOINT_OPTIONS_MAX]; /* NULL-ended */
};

extern const struct address_endpoint_kind address_endpoint_rfcomm;
extern const struct address_endpoint_kind address_endpoint_l2cap;
extern const struct address_endpoint_kind address_endpoint_tcp;
extern const struct address_endpoint_kind address_endpoint_tls;
extern const struct address_endpoint_kind address_endpoint_unix;
extern const struct address_endpoint_kind address_endpoint_pty;
extern const struct address_endpoint_kind address_endpoint_serial;
extern const struct address_endpoint_kind address_endpoint_file;
extern const struct address_endpoint_kind address_endpoint_exec;
extern const struct address_endpoint_kind address_endpoint_echo;

/* pack-...: for every kind that has_packing; ended by a NULL name. */
extern const struct endpoint_option address_endpoint_packing[];

#endif
