/* SPDX-License-Identifier: MIT */
/*
 * One end of a route as a person writes it, KIND[:ADDRESS][,OPTION=VALUE]...:
 * text to validated struct and back; the printed form parses to the same
 * struct.
 *
 * Knows which kinds, forms and options there are and which ends exclude each
 * other; opens nothing, never logs, knows neither libevent nor BlueZ. Parsers
 * as in address.h; on an error the output owns nothing.
 */
#ifndef BTGATE_ADDRESS_ENDPOINT_H
#define BTGATE_ADDRESS_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "address.h"
#include "address_device.h"
#include "address_path.h"

struct error;

enum endpoint_kind {
	ENDPOINT_KIND_RFCOMM,
	ENDPOINT_KIND_L2CAP,
	ENDPOINT_KIND_TCP,
	ENDPOINT_KIND_TLS,
	ENDPOINT_KIND_UNIX,
	ENDPOINT_KIND_PTY,
	ENDPOINT_KIND_SERIAL,
	ENDPOINT_KIND_FILE,
	ENDPOINT_KIND_EXEC,
	ENDPOINT_KIND_ECHO,
};

enum endpoint_role {
	ENDPOINT_ROLE_LISTEN,
	ENDPOINT_ROLE_CONNECT,
};

/* What a pty does with bytes that arrive while no program has it open. */
enum pty_when_closed {
	PTY_WHEN_CLOSED_KEEP, /* as many as the kernel holds, then push back */
	PTY_WHEN_CLOSED_DISCARD, /* drop them, count them, say so */
};

struct endpoint_rfcomm {
	uint8_t channel; /* 1..30; 0: listen: "auto", connect: by service */
	/* connect only */
	struct address_device device;
	struct address_uuid service; /* where channel is 0 */
};

/* L2CAP_OPTIONS' mode (bluetooth/l2cap.h). */
enum l2cap_mode {
	L2CAP_LINK_MODE_ERTM, /* retransmits until the link fails */
	L2CAP_LINK_MODE_STREAMING, /* never retransmits */
	L2CAP_LINK_MODE_BASIC, /* no flow control of its own */
};

struct endpoint_l2cap {
	uint16_t psm; /* 0: listen: "auto", connect: by service */
	/* connect only */
	struct address_device device;
	struct address_uuid service; /* where psm is 0 */
	/* both */
	enum l2cap_mode mode;
	uint16_t mtu; /* incoming, 48..65535; 0: the kernel's, 672 */
	unsigned int flush_timeout_ms; /* 0: never flushed */
	bool is_seqpacket; /* keeps the boundaries of records */
};

struct endpoint_tcp {
	char *host; /* name or address without brackets; "*": every */
	uint16_t port; /* 1..65535 */
	unsigned int keepalive_s; /* 0: off; at most 32767 (tcp(7)) */
};

/* Paths are absolute; NULL where not given. */
struct endpoint_tls {
	struct endpoint_tcp tcp; /* first: read and written as tcp's */
	char *ca; /* who may have signed the other end's certificate */
	char *cert; /* ours, with those that lead to its root; with key only */
	char *key;
	/* connect only */
	char *name; /* what the certificate must be for; NULL: tcp.host */
};

struct endpoint_unix {
	char *path; /* absolute, at most 107 bytes: sun_path */
	bool is_seqpacket; /* SOCK_SEQPACKET: keeps records */
	struct address_access access; /* listen only */
};

struct endpoint_pty {
	char *path; /* absolute */
	struct address_access access;
	enum pty_when_closed when_closed;
};

enum serial_parity {
	SERIAL_PARITY_NONE,
	SERIAL_PARITY_EVEN,
	SERIAL_PARITY_ODD,
};

struct endpoint_serial {
	char *path; /* absolute, of a tty */
	unsigned int baud; /* one that termios has a constant for */
	uint8_t data_bits; /* 5..8 */
	enum serial_parity parity;
	uint8_t stop_bits; /* 1 or 2 */
	bool has_rtscts;
	bool has_xonxoff;
	bool is_local; /* CLOCAL: the modem's carrier does not matter */
};

struct endpoint_file {
	char *path; /* absolute */
	struct address_access access;
};

struct endpoint_exec {
	char *command; /* for /bin/sh -c */
	bool is_pipe; /* on pipes; else on a pty of its own */
};

/*
 * How bytes that come from this end are put together into one write to the
 * other. Off where all three are unset; the first that applies sends.
 */
struct endpoint_packing {
	bool has_delimiter;
	uint8_t delimiter; /* ends a packet, and belongs to it */
	unsigned int gap_ms; /* 0: off; silence that ends a packet */
	unsigned int bytes; /* 0: off; a packet of that size is sent */
};

/* KIND[:ADDRESS][,OPTION[=VALUE]]... */
struct address_endpoint {
	enum endpoint_kind kind;
	struct endpoint_packing packing;
	union {
		struct endpoint_rfcomm rfcomm;
		struct endpoint_l2cap l2cap;
		struct endpoint_tcp tcp;
		struct endpoint_tls tls;
		struct endpoint_unix local;
		struct endpoint_pty pty;
		struct endpoint_serial serial;
		struct endpoint_file file;
		struct endpoint_exec exec;
	};
};

/* Room for any endpoint that address_endpoint_parse accepts, printed. */
#define ADDRESS_ENDPOINT_TEXT_BYTES 2560

/*
 * Parse @text for the given role: a kind that cannot play that role is an
 * error, as is an option that belongs to the other one. On success @out owns
 * strings until address_endpoint_clear.
 */
int address_endpoint_parse(const char *text, enum endpoint_role role,
			   struct address_endpoint *out, struct error *error);
/*
 * The canonical text, NUL-ended. Options left to default are left out; the
 * host and "auto" are shown, because a reader wants to know them.
 */
void address_endpoint_format(const struct address_endpoint *endpoint,
			     enum endpoint_role role,
			     char text[ADDRESS_ENDPOINT_TEXT_BYTES]);
/* Free what @endpoint owns and zero it. Legal on a zeroed one. */
void address_endpoint_clear(struct address_endpoint *endpoint);

/*
 * Whether two endpoints of the given roles cannot both be held by gateways at
 * the same time: one channel (a fixed one, on adapters that overlap), one TCP
 * port (a wildcard host takes every address of its family), one path, or the
 * PATH.next of a pty that listens. Only what the text can tell: hci0 may or may
 * not be the adapter with a given address, and a host name may stand for any
 * address but localhost's.
 */
bool address_endpoint_is_conflict(const struct address_endpoint *a,
				  enum endpoint_role a_role,
				  const struct address_adapter *a_adapter,
				  const struct address_endpoint *b,
				  enum endpoint_role b_role,
				  const struct address_adapter *b_adapter);

/* Whether @other has the PATH.next of @endpoint, a pty that listens. */
bool address_endpoint_needs_next(const struct address_endpoint *endpoint,
				 enum endpoint_role role,
				 const struct address_endpoint *other,
				 enum endpoint_role other_role);

/*
 * What an endpoint of that role holds, as a number: two with different ones are
 * never in conflict, and 0 is with nobody.
 */
uint32_t address_endpoint_place(const struct address_endpoint *endpoint,
				enum endpoint_role role);

/* Whether dialling @connect reaches @listen: a route that feeds itself. */
bool address_endpoint_is_loop(const struct address_endpoint *listen,
			      const struct address_endpoint *connect);

/* Whether it is a socket of IP: tcp or tls. */
bool address_endpoint_is_ip(const struct address_endpoint *endpoint);
bool address_endpoint_is_bluetooth(const struct address_endpoint *endpoint);
/* Its channel or PSM; 0: "auto", by service, or not over Bluetooth. */
uint16_t address_endpoint_port(const struct address_endpoint *endpoint);
/* The device that a connect endpoint dials; NULL where it is none. */
const struct address_device *address_endpoint_device(
	const struct address_endpoint *endpoint);
/* Whether what arrives keeps its boundaries: SOCK_SEQPACKET. */
bool address_endpoint_has_records(const struct address_endpoint *endpoint);

/* 0, or -EINVAL where that kind's sockets do not know that level. */
int address_endpoint_check_security(const struct address_endpoint *endpoint,
				    enum security_level level,
				    struct error *error);

#endif
