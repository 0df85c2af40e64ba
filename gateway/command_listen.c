/* SPDX-License-Identifier: MIT */
/* listen: this terminal joined to whoever connects. */
#include "command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "bluez.h"
#include "command_netcat.h"
#include "config.h"
#include "config_load.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "pairing.h"
#include "pairing_asked.h"
#include "publish.h"
#include "sdp.h"
#include "terminal.h"
#include "tty.h"

#define SERVICE_NAME "btgate"
/* More than command_netcat.c's LINGER_MS. */
#define PATIENCE_MS 3000

struct listen {
	struct netcat netcat;
	struct listener *listener;
	struct publisher *publisher;
	struct publication *publication;
	struct sdp_service service;
	struct pairing_asked *asked; /* NULL: nobody is */
	const char *forbidden_by; /* the configuration; NULL: pairing is not */
	bool is_config_bad; /* it is, by errors */
	struct stream *held; /* waits for the one who is there to leave */
	struct event *patience; /* how long */
};

static void refuse(struct listen *self, struct stream *client,
		   const char *reason)
{
	if (self->netcat.is_chatty)
		log_say("refused %s: %s", client->peer, reason);
	stream_close(client, STREAM_CLOSE_ABORT);
}

static void take(struct listen *self, struct stream *client)
{
	int code = stream_admit(client);

	if (code) {
		/* Nobody is refused here: this is the one that is waited for. */
		log_warning("%s left before it was connected: %s", client->peer,
			    strerror(-code));
		stream_close(client, STREAM_CLOSE_ABORT);
		return;
	}
	/* Half a PIN is nothing for a client. */
	if (pairing_asked_pause(self->asked, true))
		terminal_drop_line(self->netcat.terminal);
	if (netcat_join(&self->netcat, client))
		netcat_end(&self->netcat, COMMAND_STATUS_FAILED);
}

static void stop_holding(struct listen *self)
{
	self->held = NULL;
	event_del(self->patience);
}

static void patience_is_over(evutil_socket_t fd, short what, void *arg)
{
	struct listen *self = arg;
	struct stream *client = self->held;

	stop_holding(self);
	refuse(self, client, "another client is connected");
}

/* The one who was there has left. */
static void take_held(void *arg)
{
	struct listen *self = arg;
	struct stream *client = self->held;

	/* Another one may have been faster. */
	pairing_asked_pause(self->asked, self->netcat.session != NULL);
	if (!client)
		return;
	stop_holding(self);
	take(self, client);
}

/*
 * The first one wins; the others are refused as long as it is there. The next
 * one may be faster here than the goodbye of the one before it.
 */
static void client_came(struct stream *client, void *arg)
{
	struct listen *self = arg;

	if (!self->netcat.session && !self->held) {
		take(self, client);
	} else if (self->netcat.is_kept_going && !self->held &&
		   loop_start_timer(self->patience, PATIENCE_MS) == 0) {
		self->held = client;
	} else {
		refuse(self, client, "another client is connected");
	}
}

/* ---- who is not paired yet ------------------------------------------------------ */

/* Else the kernel turns them away, and nobody here ever hears of it. */
static void say_who_pairs(const struct listen *self)
{
	const struct netcat *netcat = &self->netcat;

	if (self->asked || netcat->settings.security == SECURITY_LEVEL_LOW ||
	    bluez_is_pairable(netcat->bluez, &netcat->settings.adapter))
		return;
	if (self->is_config_bad)
		log_say("a phone that is not paired with this machine may have "
			"to be first, and nobody is let pair with a "
			"configuration that cannot be read: 'btgate check -c "
			"%s' says why",
			self->forbidden_by);
	else if (self->forbidden_by)
		log_say("a phone that is not paired with this machine may have "
			"to be first, and pairing is 'never' in %s, which is "
			"also what holds without the key",
			self->forbidden_by);
	else
		log_say("a phone that is not paired with this machine may have "
			"to be first: 'btgate pair' lets it");
}

/* A person who sees a question, and can answer it. */
static bool is_somebody_there(const struct netcat *netcat)
{
	return netcat->is_chatty && terminal_is_interactive(netcat->terminal) &&
	       isatty(STDERR_FILENO) && tty_is_foreground(STDIN_FILENO);
}

static void log_finding(const char *text, void *arg)
{
	log_info("%s", text);
}

/* As btgate pair --confirm is: a configuration with errors allows nothing. */
static bool is_asking_allowed(struct listen *self, const char *path)
{
	enum config_pairing pairing = CONFIG_PAIRING_WINDOW;
	struct config *config;

	if (config_load_if_there(path, &config, log_finding, NULL)) {
		self->forbidden_by = path;
		self->is_config_bad = true;
		return false;
	}
	if (config)
		pairing = config->gateway.pairing;
	config_free(config);
	if (pairing == CONFIG_PAIRING_NEVER)
		self->forbidden_by = path;
	return pairing == CONFIG_PAIRING_WINDOW;
}

static int let_pair(struct listen *self, const char *config_path)
{
	struct netcat *netcat = &self->netcat;

	if (!netcat->bluez || netcat->settings.security == SECURITY_LEVEL_LOW ||
	    !is_asking_allowed(self, config_path) || !is_somebody_there(netcat))
		return 0;
	self->asked = pairing_asked_new(netcat->bluez, &netcat->bluez_settings,
					PAIRING_WINDOW_MS);
	return self->asked ? 0 : -errno;
}

/* ---- being found ------------------------------------------------------------ */

static void format_place(const struct listener *listener, char *text,
			 size_t bytes)
{
	switch (listener->protocol) {
	case SERVICE_PROTOCOL_RFCOMM:
		snprintf(text, bytes, "RFCOMM channel %u", listener->port);
		break;
	case SERVICE_PROTOCOL_L2CAP:
		snprintf(text, bytes, "L2CAP PSM 0x%04x", listener->port);
		break;
	case SERVICE_PROTOCOL_NONE:
		snprintf(text, bytes, "%s", listener->name);
		break;
	}
}

static void published(struct publication *publication,
		      enum publication_state state, const char *detail,
		      void *arg)
{
	struct listen *self = arg;
	char place[STREAM_PEER_BYTES];

	if (!self->netcat.is_chatty)
		return;
	format_place(self->listener, place, sizeof(place));
	switch (state) {
	case PUBLICATION_STATE_WAITING:
		/* The publisher has said why. */
		log_say("listening on %s; it can be reached by that number "
			"only",
			place);
		break;
	case PUBLICATION_STATE_ASKED:
		break;
	case PUBLICATION_STATE_UP:
		log_say("listening on %s as \"%s\"", place, self->service.name);
		say_who_pairs(self);
		break;
	}
}

static int publish(struct listen *self, struct error *error)
{
	struct sdp_service *service = &self->service;
	char *record;

	service->protocol = self->listener->protocol;
	service->port = self->listener->port;
	record = sdp_record_to_xml(service, error);
	free(record);
	if (!record)
		return -EINVAL;
	self->publisher = publisher_new(self->netcat.loop, self->netcat.bluez);
	if (self->publisher)
		self->publication = publication_new(self->publisher, service,
						    published, self);
	if (self->publication)
		return 0;
	return error_set(error, -errno, "cannot publish the service: %s",
			 strerror(errno));
}

/* ---- the command --------------------------------------------------------------- */

static int start(struct listen *self, const char *config_path,
		 struct error *error)
{
	struct netcat *netcat = &self->netcat;
	char place[STREAM_PEER_BYTES];
	int code;

	self->patience = evtimer_new(netcat->loop->base, patience_is_over,
				     self);
	if (!self->patience)
		return error_set(error, -ENOMEM, "out of memory");
	code = listener_open(netcat->loop, &netcat->endpoint, &netcat->settings,
			     client_came, self, &self->listener, error);
	if (code)
		return code;
	code = let_pair(self, config_path);
	if (code)
		return error_set(error, code, "cannot ask who may pair: %s",
				 strerror(-code));
	if (self->listener->protocol != SERVICE_PROTOCOL_NONE)
		return publish(self, error);
	format_place(self->listener, place, sizeof(place));
	if (netcat->is_chatty)
		log_say("listening on %s", place);
	return 0;
}

int command_listen(const struct command_options *options)
{
	struct listen self = {
		.service.name = options->name ? options->name : SERVICE_NAME,
	};
	struct error error = {""};
	int status;

	if (address_uuid_parse(options->uuid ? options->uuid : "spp",
			       &self.service.uuid, &error) ||
	    sdp_check_name(self.service.name, &error)) {
		log_error("%s", error.text);
		return COMMAND_STATUS_USAGE;
	}
	status = netcat_open(&self.netcat, options, ENDPOINT_ROLE_LISTEN);
	self.netcat.is_kept_going = options->is_kept_listening;
	self.netcat.next = (struct loop_task){.run = take_held, .arg = &self};
	if (!status && start(&self, options->config_path, &error)) {
		log_error("%s", error.text);
		status = COMMAND_STATUS_FAILED;
	}
	if (status)
		self.netcat.status = status;
	else
		netcat_run(&self.netcat);
	stream_close(self.held, STREAM_CLOSE_ABORT);
	publication_free(self.publication);
	publisher_free(self.publisher);
	listener_close(self.listener);
	pairing_asked_free(self.asked);
	if (self.patience)
		event_free(self.patience);
	return netcat_close(&self.netcat);
}
