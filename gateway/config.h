/* SPDX-License-Identifier: MIT */
/*
 * The route table: a validated, immutable struct, and how it is printed.
 * btgate.conf(5) is the user's description of the same thing.
 *
 * Knows what a route has and the spelling of its keys; not how a file is read
 * (config_load.h), nor the text of single values (address.h). Never logs, knows
 * neither libevent nor BlueZ.
 */
#ifndef BTGATE_CONFIG_H
#define BTGATE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "address.h"
#include "address_endpoint.h"
#include "address_network.h"
#include "address_peer.h"
#include "address_ports.h"

/* Lines longer than this are refused: inih would cut them (INI_MAX_LINE). */
#define CONFIG_LINE_BYTES_MAX 198

/* Where the running gateway is asked, unless the configuration says so. */
#define CONFIG_CONTROL_PATH "/run/btgate/control"
/* Who lets devices pair with this machine. */
enum config_pairing {
	CONFIG_PAIRING_NEVER, /* nothing of btgate */
	CONFIG_PAIRING_WINDOW, /* a person, by btgate pair */
	CONFIG_PAIRING_ALWAYS, /* the gateway, as long as it runs */
};

extern const char *const config_pairing_words[];

struct config_gateway {
	struct address_adapter adapter; /* any */
	char *name; /* NULL: the adapter keeps its own */
	bool is_discoverable; /* yes */
	bool has_control; /* yes */
	struct address_endpoint control; /* CONFIG_CONTROL_PATH */
	bool has_metrics; /* no */
	struct address_endpoint metrics; /* a TCP port */
	struct address_networks metrics_clients; /* who may read them; all */
	enum config_pairing pairing; /* never */
};

/* A client comes, and the target bears no more. */
enum when_busy {
	WHEN_BUSY_REFUSE, /* the newcomer is refused */
	WHEN_BUSY_REPLACE, /* the one who is there longest has to go */
	WHEN_BUSY_SHARE, /* all see what the target says */
};

/* Who may write to a shared target. */
enum share_write {
	SHARE_WRITE_ALL, /* everybody, as it comes */
	SHARE_WRITE_FIRST, /* the one who is there longest */
};

/* What happens to a client when the connect end is lost. */
enum hold_mode {
	HOLD_NO, /* its session ends */
	HOLD_YES, /* it stays, and the end is dialled again */
	HOLD_ALWAYS, /* so it does when the end was never reached */
	HOLD_LINK, /* and the end is dialled without it, from the start */
};

/* What a trace is written as. */
enum trace_format {
	TRACE_FORMAT_HEX, /* lines for people: numbers, and characters beside */
	TRACE_FORMAT_TEXT, /* lines for people, as the data has them */
	TRACE_FORMAT_PCAPNG, /* for Wireshark */
};

/* How they are written; NULL-ended. */
extern const char *const config_trace_format_words[];
extern const char *const config_when_busy_words[];
extern const char *const config_share_write_words[];
extern const char *const config_hold_words[];

/* Where what passes through a route is kept. */
struct config_trace {
	char *path; /* NULL: nowhere */
	enum trace_format format; /* hex */
	unsigned int size_bytes; /* 10 MiB: no file is larger */
	unsigned int files; /* 4, with the one that is written */
};

struct config_route {
	char *name; /* [A-Za-z0-9._-]+, unique */
	unsigned int line; /* of the section's header, in its file */
	struct address_endpoint listen;
	struct address_endpoint connect;
	char *service_name; /* the route's name; only the entrance's is shown */
	struct address_uuid service_uuid; /* Serial Port, 0x1101 */
	struct address_adapter adapter; /* the gateway's */
	enum security_level security; /* medium */
	/* What other routes have for their own; of "auto" only. Not written out. */
	struct address_ports reserved_ports;
	struct address_peers peers; /* whom it takes; all */
	struct address_networks clients; /* the same for TCP and TLS */
	/*
	 * The first route, in file order, with the same Bluetooth listen
	 * endpoint: those take their clients by turns (peers). Its own index
	 * where it is the first. Not written out.
	 */
	size_t entrance;
	unsigned int max_sessions; /* 0: no limit of the route's own */
	enum when_busy when_busy; /* refuse */
	enum share_write share_write; /* all */
	unsigned int connect_timeout_ms; /* 10 s; config_check.c */
	unsigned int linger_ms; /* 2 s: session.h */
	unsigned int drain_timeout_ms; /* 5 s: session.h */
	unsigned int idle_timeout_ms; /* 0: off, the default */
	enum hold_mode hold; /* no */
	unsigned int hold_buffer_bytes; /* 64 KiB; 0: discard */
	unsigned int retry_min_ms; /* 1 s, */
	unsigned int retry_max_ms; /* and 30 s: pauses between dials */
	struct config_trace trace;
};

struct config {
	struct config_gateway gateway;
	struct config_route *routes; /* in file order, and that of the files */
	size_t route_count;
	char **files; /* that it was read from, in that order */
	size_t file_count;
};

/*
 * Whether it offers the service to the device at @address; @name is that of a
 * paired device, or NULL.
 */
bool config_route_offers(const struct config_route *route,
			 const struct address_uuid *uuid,
			 const struct address_bluetooth *address,
			 const char *name);

/* One finding, "FILE:LINE: what is wrong"; @text is gone after the call. */
typedef void (*config_error_cb)(const char *text, void *arg);

/*
 * Print what was understood, defaults included, as a file that parses to the
 * same config. Returns 0 or -errno of the stream.
 */
int config_print(const struct config *config, FILE *stream);

/*
 * Whether both say the same: as far as config_print shows it, which is all but
 * the place in the file and what follows from other routes; and without the
 * trace, which can be another while a route runs. 1, 0, or -ENOMEM.
 */
int config_route_is_same(const struct config_route *a,
			 const struct config_route *b);
bool config_trace_is_same(const struct config_trace *a,
			  const struct config_trace *b);
/* Whether one listener would do for both, whatever its service is called. */
bool config_listener_is_same(const struct config_route *a,
			     const struct config_route *b);

/* Whether some route's listen end is Bluetooth: it has a record, and phones. */
bool config_listens_on_bluetooth(const struct config *config);

void config_free(struct config *config);
/* Free what @gateway owns; not @gateway itself. */
void config_gateway_clear(struct config_gateway *gateway);
/* Free what @route owns; not @route itself. */
void config_route_clear(struct config_route *route);

#endif
