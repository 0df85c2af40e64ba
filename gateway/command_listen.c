/* SPDX-License-Identifier: MIT */
/* listen: this terminal joined to whoever connects. */
#include "command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command_netcat.h"
#include "error.h"
#include "log.h"
#include "publish.h"
#include "sdp.h"

#define SERVICE_NAME "btgate"

struct listen {
	struct netcat netcat;
	struct listener *listener;
	struct publisher *publisher;
	struct publication *publication;
	struct sdp_service service;
};

static void refuse(struct listen *self, struct stream *client,
		   const char *reason)
{
	if (self->netcat.is_chatty)
		log_say("refused %s: %s", client->peer, reason);
	stream_close(client, STREAM_CLOSE_ABORT);
}

/* The first one wins; the others are refused as long as it is there. */
static void client_came(struct stream *client, void *arg)
{
	struct listen *self = arg;
	struct netcat *netcat = &self->netcat;
	int code;

	if (netcat->session) {
		refuse(self, client, "another client is connected");
		return;
	}
	code = stream_admit(client);
	if (code) {
		refuse(self, client, strerror(-code));
		return;
	}
	if (netcat_join(netcat, client))
		netcat_end(netcat, COMMAND_STATUS_FAILED);
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

static int start(struct listen *self, struct error *error)
{
	struct netcat *netcat = &self->netcat;
	char place[STREAM_PEER_BYTES];
	int code;

	code = listener_open(netcat->loop, &netcat->endpoint, &netcat->settings,
			     client_came, self, &self->listener, error);
	if (code)
		return code;
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
			       &self.service.uuid, &error)) {
		log_error("%s", error.text);
		return COMMAND_STATUS_USAGE;
	}
	status = netcat_open(&self.netcat, options, ENDPOINT_ROLE_LISTEN);
	self.netcat.is_kept_going = options->is_kept_listening;
	if (!status && start(&self, &error)) {
		log_error("%s", error.text);
		status = COMMAND_STATUS_FAILED;
	}
	if (status)
		self.netcat.status = status;
	else
		netcat_run(&self.netcat);
	publication_free(self.publication);
	publisher_free(self.publisher);
	listener_close(self.listener);
	return netcat_close(&self.netcat);
}
