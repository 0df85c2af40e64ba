/* SPDX-License-Identifier: MIT */
/*
 * tls: tcp with TLS on it, certificates checked; at both ends the connection is
 * tcp's.
 *
 * Who listens does the handshake before it gives a client away: a client that
 * says nothing is nobody's yet, and keeps no other one out. Whom no route takes
 * by its address is not worth one.
 */
#include "endpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "address_endpoint.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "tls_context.h"
#include "tls_stream.h"

/* For a client to get through the handshake. */
#define HANDSHAKE_MS 10000
/* In the handshake at once; the oldest has to go for more. */
#define GUESTS_MAX 64
/* Between two lines in the log about clients that did not get through it. */
#define QUIET_MS 10000

/* The strings of an endpoint's address, kept. */
static int copy_settings(struct endpoint_tls *out,
			 const struct endpoint_tls *from, struct error *error)
{
	*out = *from;
	out->tcp.host = strdup(from->tcp.host);
	out->ca = from->ca ? strdup(from->ca) : NULL;
	out->cert = from->cert ? strdup(from->cert) : NULL;
	out->key = from->key ? strdup(from->key) : NULL;
	out->name = from->name ? strdup(from->name) : NULL;
	if (out->tcp.host && !out->ca == !from->ca &&
	    !out->cert == !from->cert && !out->key == !from->key &&
	    !out->name == !from->name)
		return 0;
	return error_set(error, -ENOMEM, "out of memory");
}

static void clear_settings(struct endpoint_tls *settings)
{
	free(settings->tcp.host);
	free(settings->ca);
	free(settings->cert);
	free(settings->key);
	free(settings->name);
}

/* The tcp that is under it. */
static struct address_endpoint tcp_of(const struct address_endpoint *address)
{
	return (struct address_endpoint){
		.kind = ENDPOINT_KIND_TCP,
		.tcp = address->tls.tcp,
	};
}

static void format_name(const struct endpoint_tls *settings, char *text)
{
	const char *host = settings->tcp.host;

	snprintf(text, STREAM_PEER_BYTES,
		 strchr(host, ':') ? "tls:[%s]:%u" : "tls:%s:%u", host,
		 settings->tcp.port);
}

static int tls_inspect(const struct address_endpoint *address,
		       enum endpoint_role role, struct error *error)
{
	struct tls_context *context = NULL;
	int code = tls_context_new(&address->tls, role == ENDPOINT_ROLE_LISTEN,
				   &context, error);

	tls_context_free(context);
	return code;
}

/* ---- listening ------------------------------------------------------------------ */

TAILQ_HEAD(guest_list, guest);

struct tls_listener {
	struct listener listener;
	struct loop *loop;
	struct listener *under;
	struct endpoint_tls settings;
	struct tls_context *context;
	struct guest_list guests; /* the one longest there first */
	unsigned int guest_count;
	uint64_t said_ms; /* loop_now_ms of the last line about one */
	unsigned int unsaid; /* how many it was not said of since */
	listener_let_in_cb let_in;
	listener_client_cb client_cb;
	void *arg;
};

/* A client until the handshake is done. */
struct guest {
	TAILQ_ENTRY(guest) link;
	struct tls_listener *listener;
	struct tls_handshake *handshake;
	struct event *deadline;
	char peer[STREAM_PEER_BYTES];
	bool has_peer_ip;
	struct address_ip peer_ip;
};

static void guest_free(struct guest *guest)
{
	TAILQ_REMOVE(&guest->listener->guests, guest, link);
	guest->listener->guest_count--;
	tls_handshake_free(guest->handshake);
	if (guest->deadline)
		event_free(guest->deadline);
	free(guest);
}

/* Anybody can fail as often as he likes: a line each would fill the log. */
static void say_turned_away(struct tls_listener *listener, const char *peer,
			    const char *why)
{
	const uint64_t now_ms = loop_now_ms();
	char more[48] = "";

	mishap_note(&listener->listener.unfinished, peer, why);
	if (listener->said_ms && now_ms - listener->said_ms < QUIET_MS) {
		listener->unsaid++;
		return;
	}
	if (listener->unsaid)
		snprintf(more, sizeof(more), " (and %u others before)",
			 listener->unsaid);
	log_warning("%s: turned %s away: %s%s", listener->listener.name, peer,
		    why, more);
	listener->said_ms = now_ms;
	listener->unsaid = 0;
}

static void guest_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct guest *guest = arg;

	say_turned_away(guest->listener, guest->peer,
			"it did not finish the TLS handshake in time; does it "
			"speak TLS?");
	guest_free(guest);
}

static void guest_done(struct stream *stream, int code,
		       const struct error *error, void *arg)
{
	struct guest *guest = arg;
	struct tls_listener *listener = guest->listener;

	guest->handshake = NULL;
	if (stream) {
		stream->has_peer_ip = guest->has_peer_ip;
		stream->peer_ip = guest->peer_ip;
	} else {
		say_turned_away(listener, guest->peer, error->text);
	}
	guest_free(guest);
	if (stream)
		listener->client_cb(stream, listener->arg);
}

static void tls_came(struct stream *client, void *arg)
{
	struct tls_listener *listener = arg;
	struct guest *guest;

	if (listener->let_in && !listener->let_in(client, listener->arg))
		return;
	guest = calloc(1, sizeof(*guest));
	if (!guest) {
		stream_close(client, STREAM_CLOSE_ABORT);
		return;
	}
	guest->listener = listener;
	snprintf(guest->peer, sizeof(guest->peer), "%s", client->peer);
	guest->has_peer_ip = client->has_peer_ip;
	guest->peer_ip = client->peer_ip;
	TAILQ_INSERT_TAIL(&listener->guests, guest, link);
	guest->deadline = evtimer_new(listener->loop->base, guest_timeout,
				      guest);
	errno = ENOMEM;
	if (guest->deadline &&
	    loop_start_timer(guest->deadline, HANDSHAKE_MS) == 0)
		guest->handshake = tls_handshake_new(listener->loop,
						     listener->context, NULL,
						     client, guest_done, guest);
	listener->guest_count++;
	if (!guest->handshake) {
		say_turned_away(listener, guest->peer, strerror(errno));
		stream_close(client, STREAM_CLOSE_ABORT);
		guest_free(guest);
	} else if (listener->guest_count > GUESTS_MAX) {
		struct guest *oldest = TAILQ_FIRST(&listener->guests);

		say_turned_away(listener, oldest->peer,
				"too many clients are in the TLS handshake, "
				"and it is the one that takes longest");
		guest_free(oldest);
	}
}

static void tls_listener_close(struct listener *base)
{
	struct tls_listener *listener = (struct tls_listener *)base;

	listener_close(listener->under);
	while (!TAILQ_EMPTY(&listener->guests))
		guest_free(TAILQ_FIRST(&listener->guests));
	tls_context_free(listener->context);
	clear_settings(&listener->settings);
	free(listener);
}

static int tls_listen(struct loop *loop, const struct address_endpoint *address,
		      const struct endpoint_settings *settings,
		      listener_client_cb client_cb, void *arg,
		      struct listener **out, struct error *error)
{
	static const struct listener_ops ops = {.close = tls_listener_close};
	const struct address_endpoint tcp = tcp_of(address);
	struct tls_listener *listener = calloc(1, sizeof(*listener));
	int code;

	if (!listener)
		return error_set(error, -ENOMEM, "out of memory");
	listener->listener.ops = &ops;
	listener->loop = loop;
	listener->let_in = settings->let_in;
	listener->client_cb = client_cb;
	listener->arg = arg;
	TAILQ_INIT(&listener->guests);
	code = copy_settings(&listener->settings, &address->tls, error);
	if (code == 0)
		code = tls_context_new(&listener->settings, true,
				       &listener->context, error);
	if (code == 0)
		code = listener_open(loop, &tcp, settings, tls_came, listener,
				     &listener->under, error);
	if (code) {
		tls_listener_close(&listener->listener);
		return code;
	}
	format_name(&listener->settings, listener->listener.name);
	*out = &listener->listener;
	return 0;
}

/* ---- connecting ------------------------------------------------------------------ */

struct tls_target {
	struct target target;
	struct loop *loop;
	struct target *under;
	struct endpoint_tls settings;
	struct tls_context *context;
};

struct tls_dial {
	struct dial dial;
	struct tls_target *target;
	struct dial *under; /* then the handshake */
	struct tls_handshake *handshake;
	dial_done_cb done;
	void *arg;
};

static const char *expected_name(const struct tls_target *target)
{
	const struct endpoint_tls *settings = &target->settings;

	return settings->name ? settings->name : settings->tcp.host;
}

static void tls_dial_free(struct tls_dial *dial)
{
	dial_cancel(dial->under);
	tls_handshake_free(dial->handshake);
	free(dial);
}

static void tls_dial_cancel(struct dial *base)
{
	tls_dial_free((struct tls_dial *)base);
}

static bool tls_dial_describe(const struct dial *base, struct error *error)
{
	const struct tls_dial *dial = (const struct tls_dial *)base;

	if (dial->handshake)
		error_set(error, -ETIMEDOUT,
			  "it took the connection, and does not finish the "
			  "TLS handshake; does it speak TLS?");
	return dial->handshake;
}

static void tls_dial_end(struct tls_dial *dial, struct stream *stream, int code,
			 const struct error *error)
{
	dial_done_cb done = dial->done;
	void *arg = dial->arg;

	tls_dial_free(dial);
	done(stream, code, error, arg);
}

static void tls_dial_shaken(struct stream *stream, int code,
			    const struct error *error, void *arg)
{
	struct tls_dial *dial = arg;
	struct error why;

	dial->handshake = NULL;
	if (!stream) {
		why = *error;
		error_prefix(&why, code, "no TLS with %s port %u",
			     dial->target->settings.tcp.host,
			     dial->target->settings.tcp.port);
	}
	tls_dial_end(dial, stream, code, &why);
}

static void tls_dialled(struct stream *stream, int code,
			const struct error *error, void *arg)
{
	struct tls_dial *dial = arg;
	const struct tls_target *target = dial->target;
	struct error why;

	dial->under = NULL;
	if (!stream) {
		tls_dial_end(dial, NULL, code, error);
		return;
	}
	dial->handshake = tls_handshake_new(target->loop, target->context,
					    expected_name(target), stream,
					    tls_dial_shaken, dial);
	if (dial->handshake)
		return;
	code = -errno;
	error_set(&why, code, "cannot begin TLS with %s port %u: %s",
		  target->settings.tcp.host, target->settings.tcp.port,
		  strerror(-code));
	stream_close(stream, STREAM_CLOSE_ABORT);
	tls_dial_end(dial, NULL, code, &why);
}

static struct dial *tls_dial(struct target *base, dial_done_cb done, void *arg)
{
	static const struct dial_ops ops = {
		.cancel = tls_dial_cancel,
		.describe = tls_dial_describe,
	};
	struct tls_target *target = (struct tls_target *)base;
	struct tls_dial *dial = calloc(1, sizeof(*dial));
	int code;

	if (!dial)
		return NULL;
	dial->dial.ops = &ops;
	dial->target = target;
	dial->done = done;
	dial->arg = arg;
	dial->under = target_dial(target->under, tls_dialled, dial);
	if (dial->under)
		return &dial->dial;
	code = errno;
	free(dial);
	errno = code;
	return NULL;
}

static void tls_target_close(struct target *base)
{
	struct tls_target *target = (struct tls_target *)base;

	target_close(target->under);
	tls_context_free(target->context);
	clear_settings(&target->settings);
	free(target);
}

static int tls_open_target(struct loop *loop,
			   const struct address_endpoint *address,
			   const struct endpoint_settings *settings,
			   struct target **out, struct error *error)
{
	static const struct target_ops ops = {
		.dial = tls_dial,
		.close = tls_target_close,
	};
	const struct address_endpoint tcp = tcp_of(address);
	struct tls_target *target = calloc(1, sizeof(*target));
	int code;

	if (!target)
		return error_set(error, -ENOMEM, "out of memory");
	target->target.ops = &ops;
	target->loop = loop;
	code = copy_settings(&target->settings, &address->tls, error);
	if (code == 0)
		code = tls_context_new(&target->settings, false,
				       &target->context, error);
	if (code == 0)
		code = target_open(loop, &tcp, settings, &target->under, error);
	if (code) {
		tls_target_close(&target->target);
		return code;
	}
	format_name(&target->settings, target->target.name);
	*out = &target->target;
	return 0;
}

const struct endpoint_ops endpoint_tls_ops = {
	.inspect = tls_inspect,
	.listen = tls_listen,
	.open_target = tls_open_target,
};
