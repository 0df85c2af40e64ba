/* SPDX-License-Identifier: MIT */
/*
 * Both ends of a route, whatever their kind: a listener brings clients, a
 * target is dialled, and what either gives is a stream of bytes. One file
 * endpoint_KIND.c per kind fills in these ops; callers never ask the kind.
 *
 * Knows how ends behave; does not know routes, admission or relaying.
 *
 * The contract:
 * - Nothing here blocks. Callbacks run from the loop, never from inside the
 *   call that asked for them, and never after the object was closed.
 * - A stream belongs to exactly one holder, who closes it once. A listener
 *   gives its clients away; closing the listener leaves them alone.
 * - A dial ends by calling back once, or by being cancelled. After either it
 *   is gone. Deadlines are the caller's: a dial may take for ever.
 * - Errors are negative errno with a sentence for the person; nothing here
 *   logs, but for what has no caller: a listener that pauses (socket.h), a phone
 *   that leaves before its link is up, a client with which TLS does not begin, a port that discards or comes back, how a
 *   program ended.
 */
#ifndef BTGATE_ENDPOINT_H
#define BTGATE_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "address.h"
#include "address_endpoint.h"
#include "address_network.h"
#include "address_ports.h"
#include "mishap.h"

struct bluez;
struct error;
struct loop;
struct dial;
struct listener;
struct stream;
struct target;

/*
 * Asked when a client came, before work is done for it that no stranger is to
 * cause (TLS' handshake). False: the callee has turned it away, and closed it.
 */
typedef bool (*listener_let_in_cb)(struct stream *client, void *arg);

/* What a route says that matters to an end of it. */
struct endpoint_settings {
	struct address_adapter adapter;
	enum security_level security;
	struct address_ports reserved_ports; /* not for "auto" */
	struct bluez *bluez; /* to find devices by name; NULL: none to be had */
	/*
	 * The other end is a radio: kernel buffers are to stay small, or what
	 * waits in them is minutes of it.
	 */
	bool is_slow;
	/* The last descriptors are for its clients, too (acceptor_keep_spare). */
	bool keeps_spare;
	/* For a listener, with the argument of its client_cb; NULL: everybody. */
	listener_let_in_cb let_in;
};

/* ---- streams ---------------------------------------------------------- */

enum stream_close {
	STREAM_CLOSE_ORDERLY, /* what was written still goes out */
	STREAM_CLOSE_ABORT, /* the other side is told that it was cut off */
};

struct stream_ops {
	/*
	 * Tell the client that it is connected. 0, or -errno if it left
	 * meanwhile; the holder closes it either way. NULL: it knew already.
	 */
	int (*admit)(struct stream *stream);
	/*
	 * Bytes read, 0 at the orderly end (once; do not read again), -EAGAIN
	 * when there is nothing now, else how the stream broke. Each kind maps
	 * its own goodbyes: RFCOMM's ECONNRESET is an orderly end.
	 */
	ssize_t (*read)(struct stream *stream, void *buffer, size_t bytes);
	/*
	 * As read, but what was seen stays queued until it is skipped, so that
	 * a large piece can be offered to the other side without having to keep
	 * what that does not take. NULL: this kind cannot.
	 */
	ssize_t (*peek)(struct stream *stream, void *buffer, size_t bytes);
	/* Drop @bytes that were peeked at. */
	void (*skip)(struct stream *stream, size_t bytes);
	/*
	 * Bytes taken, -EAGAIN when full, -EPIPE when the other side has closed
	 * in good order, else how it broke. Fewer are taken only by one that is
	 * full now: a kind whose link carries little at a time cuts them, and
	 * goes on.
	 */
	ssize_t (*write)(struct stream *stream, const void *buffer,
			 size_t bytes);
	/*
	 * As write, but the bytes are one record: all of them or none. 0,
	 * -EAGAIN, or -EMSGSIZE where it is longer than the link can carry.
	 * NULL: this stream keeps no boundaries of records. Where it does, a
	 * read gives one record; empty ones are not shown.
	 */
	int (*write_record)(struct stream *stream, const void *buffer,
			    size_t bytes);
	/*
	 * Asked when the stream hangs up while nobody reads from it: 0 if what
	 * is still queued is worth reading, or -errno if the other side has cut
	 * the stream off (a TCP reset). NULL: it never does.
	 */
	int (*check)(struct stream *stream);
	/*
	 * Send the end of stream and go on reading: half-close. NULL: this
	 * kind knows none, its end is the end of both directions.
	 */
	int (*shutdown_write)(struct stream *stream);
	/*
	 * Get on with what must happen before an orderly close, when there is
	 * nothing more to read or write: a program has not read everything yet,
	 * a port has not sent it, a program is to end. 0: close it now. Else ask
	 * again in a while; a number that changes says that it gets on.
	 * @is_stopping: what the stream belongs to is going to be closed too.
	 * What is left when it is closed all the same is lost, and the kind
	 * says how much. NULL: the kernel sees to it.
	 */
	size_t (*finish)(struct stream *stream, bool is_stopping);
	/*
	 * Why it ended or broke, for the log, where that is more than its
	 * closing or an errno say: "client too slow: 300000 bytes behind". The
	 * whole phrase, or NULL: nothing more. NULL: never.
	 */
	const char *(*end_reason)(const struct stream *stream);
	/* Let go of the stream and free it. */
	void (*close)(struct stream *stream, enum stream_close how);
};

#define STREAM_PEER_BYTES 56

struct stream {
	const struct stream_ops *ops;
	/* Who is there, for people; of its own or of what outlives it. */
	const char *peer;
	int read_fd; /* to watch for reading; never -1 */
	int write_fd; /* to watch for writing; often the same */
	/*
	 * What it has thrown away itself, of what came behind a gap: a stream
	 * around another one, whose session does not see that. Bytes.
	 */
	uint64_t lost_bytes;
	/*
	 * Whoever reads must have room for so many bytes (TLS: a record), or
	 * what is left is there without being seen at the descriptor. 0: any.
	 */
	uint32_t read_bytes_min;
	/*
	 * A client's: what it has been kept waiting before it was given to its
	 * route (entrance.c), which counts as its time to be let in.
	 */
	unsigned int waited_ms;
	/* An IP client's, where has_peer_ip; set by the listener that brings it. */
	struct address_ip peer_ip;
	/* A Bluetooth client's, likewise. */
	struct address_bluetooth peer_address;
	bool has_peer_ip : 1;
	bool has_peer_address : 1;
	/*
	 * The other side cannot be slowed down by not reading (L2CAP without
	 * retransmission): what waits for the other end is bounded by ending
	 * the session. A read says -ENOBUFS, once, where something is missing,
	 * and gives what is left then.
	 */
	bool has_no_flow_control : 1;
};

int stream_admit(struct stream *stream);
/* These go on after a signal (-EINTR). */
ssize_t stream_read(struct stream *stream, void *buffer, size_t bytes);
bool stream_can_peek(const struct stream *stream);
ssize_t stream_peek(struct stream *stream, void *buffer, size_t bytes);
void stream_skip(struct stream *stream, size_t bytes);
ssize_t stream_write(struct stream *stream, const void *buffer, size_t bytes);
/*
 * A read has said that something is missing: throw away what has arrived behind
 * the gap, up to 1 MiB; how many bytes it was. @buffer is overwritten.
 */
size_t stream_discard_rest(struct stream *stream, void *buffer, size_t bytes);
bool stream_keeps_records(const struct stream *stream);
int stream_write_record(struct stream *stream, const void *buffer,
			size_t bytes);
bool stream_has_half_close(const struct stream *stream);
int stream_shutdown_write(struct stream *stream);
size_t stream_finish(struct stream *stream, bool is_stopping);
/* NULL: nothing to say. Valid while the stream is. */
const char *stream_end_reason(const struct stream *stream);
/* NULL is legal. */
void stream_close(struct stream *stream, enum stream_close how);
/*
 * Whether the other side has left in both directions, asked without reading
 * (POLLERR, POLLHUP): data may still be queued.
 */
bool stream_is_hung_up(const struct stream *stream);
int stream_check(struct stream *stream);
/*
 * Whether a client that waits for its target has given up. One that is told
 * only when it is admitted has, when it hangs up; one that knew already may
 * have sent all it wants to say and closed, unless it cut the stream off.
 */
bool stream_has_given_up(struct stream *stream);

/* ---- listeners -------------------------------------------------------- */

/* A client came; @client now belongs to the callee. */
typedef void (*listener_client_cb)(struct stream *client, void *arg);

/* What a listener has to offer in a service record, if anything. */
enum service_protocol {
	SERVICE_PROTOCOL_NONE,
	SERVICE_PROTOCOL_RFCOMM,
	SERVICE_PROTOCOL_L2CAP,
};

struct listener_ops {
	/*
	 * Whether it still listens where its settings say: 0, or -ENODEV when
	 * the chosen adapter has gone, or is another one now. NULL: always.
	 */
	int (*check)(const struct listener *listener, struct error *error);
	void (*close)(struct listener *listener);
};

struct listener {
	const struct listener_ops *ops;
	enum service_protocol protocol;
	uint16_t port; /* channel or PSM, once auto has chosen */
	/* Who came and left, or failed, before it was a client to be given away. */
	struct mishap unfinished;
	char name[STREAM_PEER_BYTES]; /* what is listened on, for people */
};

/*
 * Start listening. -EADDRINUSE says who holds it as far as can be known;
 * -ENODEV means that the chosen adapter is not there now and may come;
 * anything else does not mend itself soon.
 */
int listener_open(struct loop *loop, const struct address_endpoint *address,
		  const struct endpoint_settings *settings,
		  listener_client_cb client_cb, void *arg,
		  struct listener **out, struct error *error);
/*
 * Something came or went: 0, or -ENODEV with a sentence when it has to be
 * closed, and opened again as soon as that can be done.
 */
int listener_check(const struct listener *listener, struct error *error);
/* Stop listening; leaves nothing behind. NULL is legal. */
void listener_close(struct listener *listener);
/*
 * Listen at @to instead of at @from, where *@listener does (NULL: nowhere yet). Errors as for
 * listener_open, and then it goes on at @from. *@listener is NULL if even that
 * has failed: where @from was in the way it had to be given up first.
 */
int listener_change(struct loop *loop, const struct address_endpoint *from,
		    const struct address_endpoint *to,
		    const struct endpoint_settings *settings,
		    listener_client_cb client_cb, void *arg,
		    struct listener **listener, struct error *error);

/* ---- targets ---------------------------------------------------------- */

/*
 * The dial ended: @stream belongs to the callee and @error is unset, or
 * @stream is NULL and @error says why.
 */
typedef void (*dial_done_cb)(struct stream *stream, int code,
			     const struct error *error, void *arg);

struct target_ops {
	struct dial *(*dial)(struct target *target, dial_done_cb done,
			     void *arg);
	void (*close)(struct target *target);
};

struct target {
	const struct target_ops *ops;
	/*
	 * Sessions at once that the thing itself can bear: 1 for a port, 0
	 * where each dial makes a new connection.
	 */
	unsigned int sessions_max;
	char name[STREAM_PEER_BYTES];
};

struct dial_ops {
	void (*cancel)(struct dial *dial);
	/*
	 * Why it has not ended yet, for whoever gives up on it: what failed
	 * last, or what it waits for. False: nothing to say. NULL: never.
	 */
	bool (*describe)(const struct dial *dial, struct error *error);
};

struct dial {
	const struct dial_ops *ops;
};

/*
 * Make the target ready: for a pty, its path is there from now on. Errors as
 * for listener_open.
 */
int target_open(struct loop *loop, const struct address_endpoint *address,
		const struct endpoint_settings *settings, struct target **out,
		struct error *error);
/* No dial or stream of it may be left. NULL is legal. */
void target_close(struct target *target);

/*
 * NULL with errno set when this machine is short of something: memory,
 * descriptors, threads. All else that goes wrong comes with the callback.
 */
struct dial *target_dial(struct target *target, dial_done_cb done, void *arg);
/* NULL is legal. */
void dial_cancel(struct dial *dial);
/* Put what the dial has to say of its delay behind the text of @error. */
void dial_explain(const struct dial *dial, struct error *error);

/*
 * Look at what @address needs of this machine, without opening it: for
 * "btgate check". It may be checked elsewhere than it is to run, so what is
 * amiss (-errno with a sentence) is no error in the text.
 */
int endpoint_inspect(const struct address_endpoint *address,
		     enum endpoint_role role, struct error *error);

/* ---- the kinds, one file each ------------------------------------------ */

struct endpoint_ops {
	/*
	 * Whether what it needs of this machine is there, as far as that can be
	 * seen without opening it: 0, or -errno with a sentence. NULL: nothing
	 * is looked at beforehand.
	 */
	int (*inspect)(const struct address_endpoint *address,
		       enum endpoint_role role, struct error *error);
	/* NULL where the kind does not play that role. */
	int (*listen)(struct loop *loop, const struct address_endpoint *address,
		      const struct endpoint_settings *settings,
		      listener_client_cb client_cb, void *arg,
		      struct listener **out, struct error *error);
	int (*open_target)(struct loop *loop,
			   const struct address_endpoint *address,
			   const struct endpoint_settings *settings,
			   struct target **out, struct error *error);
};

extern const struct endpoint_ops endpoint_rfcomm_ops;
extern const struct endpoint_ops endpoint_l2cap_ops;
extern const struct endpoint_ops endpoint_tcp_ops;
extern const struct endpoint_ops endpoint_tls_ops;
extern const struct endpoint_ops endpoint_unix_ops;
extern const struct endpoint_ops endpoint_pty_ops;
extern const struct endpoint_ops endpoint_serial_ops;
extern const struct endpoint_ops endpoint_file_ops;
extern const struct endpoint_ops endpoint_exec_ops;
extern const struct endpoint_ops endpoint_echo_ops;

#endif
