/* SPDX-License-Identifier: MIT */
/* services: what a device offers, as endpoints ready to paste into a route. */
#include "command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "address_device.h"
#include "bluez.h"
#include "controller.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "sdp_query.h"
#include "service_list.h"

#define ANSWER_MS 15000
/* To find a device by its name first: as long as bluez_lookup takes at most. */
#define LOOKUP_MS 20000
/*
 * A link that is just going down fails a new one; a device that only listens
 * now and then hears the second or third call.
 */
#define ATTEMPTS 3
#define RETRY_MS 500

/*
 * Most devices put their services into the public browse group, many only some
 * of them; but all that can be connected to have L2CAP in their record.
 */
static const uint16_t searches[] = {
	0x0100, /* L2CAP */
	0x1002, /* the public browse group, for what has none */
};

#define SEARCH_COUNT (sizeof(searches) / sizeof(searches[0]))

struct services {
	struct loop *loop;
	struct address_device target; /* as it was asked for */
	struct address_adapter choice;
	struct address_bluetooth adapter; /* all zero: the kernel's choice */
	struct address_bluetooth device;
	struct bluez *bluez; /* to find it by name */
	struct bluez_lookup *lookup;
	struct sdp_query *query;
	struct event *deadline;
	struct event *retry;
	unsigned int timeout_ms;
	size_t search; /* which of them is under way */
	unsigned int attempts;
	struct sdp_service_found *list;
	size_t count;
	int code; /* 0, or why it came to nothing */
	struct error error;
};

static void services_end(struct services *services, int code,
			 const struct error *error)
{
	services->code = code;
	if (error)
		services->error = *error;
	loop_stop(services->loop);
}

/* ---- asking ---------------------------------------------------------------- */

static bool is_known(const struct services *services,
		     const struct sdp_service_found *service)
{
	for (size_t i = 0; i < services->count; i++) {
		if (memcmp(&services->list[i], service, sizeof(*service)) == 0)
			return true;
	}
	return false;
}

/* Add what the searches before have not found. */
static int services_add(struct services *services,
			const struct sdp_service_found *list, size_t count)
{
	struct sdp_service_found *grown;

	if (!count)
		return 0;
	grown = realloc(services->list,
			(services->count + count) * sizeof(*list));
	if (!grown)
		return -ENOMEM;
	services->list = grown;
	for (size_t i = 0; i < count; i++) {
		if (!is_known(services, &list[i]))
			grown[services->count++] = list[i];
	}
	return 0;
}

static void services_ask(struct services *services);

static void services_answered(int code, const struct sdp_service_found *list,
			      size_t count, const struct error *error,
			      void *arg)
{
	struct services *services = arg;

	services->query = NULL;
	if ((code == -EBUSY || code == -EHOSTDOWN) &&
	    ++services->attempts < ATTEMPTS) {
		log_info("%s; trying again", error->text);
		services->error = *error;
		loop_start_timer(services->retry, RETRY_MS);
		return;
	}
	services->error.text[0] = '\0';
	if (code == 0)
		code = services_add(services, list, count);
	if (code == 0 && ++services->search < SEARCH_COUNT) {
		services->attempts = 0;
		services_ask(services);
		return;
	}
	services_end(services, code, error);
}

static void services_ask(struct services *services)
{
	const struct address_uuid uuid = address_uuid_from_short(
		searches[services->search]);

	services->query = sdp_query_new(services->loop, &services->adapter,
					&services->device, &uuid,
					services_answered, services);
	if (!services->query)
		services_end(services, -errno, NULL);
}

static void services_retry(evutil_socket_t fd, short what, void *arg)
{
	services_ask(arg);
}

static void services_expire(evutil_socket_t fd, short what, void *arg)
{
	struct services *services = arg;
	char device[ADDRESS_DEVICE_TEXT_BYTES], timeout[24];
	struct error error;

	address_duration_format(services->timeout_ms, timeout);
	address_device_format(&services->target, device);
	/* What the last attempt said tells more. */
	if (services->error.text[0])
		error = services->error;
	else if (services->lookup)
		error_set(&error, 0, "%s was not found within %s", device,
			  timeout);
	else
		error_set(&error, 0,
			  "%s did not say which services it has within %s",
			  device, timeout);
	services_end(services, -ETIMEDOUT, &error);
}

static void services_found(int code, const struct address_bluetooth *address,
			   const struct error *error, void *arg)
{
	struct services *services = arg;

	services->lookup = NULL;
	if (code) {
		services_end(services, code, error);
		return;
	}
	services->device = *address;
	/* Left to itself the kernel takes the first adapter. */
	if (services->choice.choice == ADAPTER_CHOICE_ANY)
		bluez_adapter_of(services->bluez, &services->choice, address,
				 &services->adapter);
	services_ask(services);
}

/* ---- from the beginning to the end ------------------------------------------ */

static int services_start(struct services *services,
			  const struct bluez_settings *settings)
{
	services->loop = loop_new();
	if (!services->loop)
		return -errno;
	services->deadline = evtimer_new(services->loop->base, services_expire,
					 services);
	services->retry = evtimer_new(services->loop->base, services_retry,
				      services);
	if (!services->deadline || !services->retry ||
	    loop_start_timer(services->deadline, services->timeout_ms))
		return -ENOMEM;
	if (!services->target.name) {
		services->device = services->target.address;
		services_ask(services);
		return services->code;
	}
	services->bluez = bluez_new(services->loop, settings);
	if (!services->bluez)
		return -errno;
	services->lookup = bluez_lookup_new(services->bluez, &settings->adapter,
					    &services->target, services_found,
					    services);
	return services->lookup ? 0 : -errno;
}

static void services_clear(struct services *services)
{
	sdp_query_cancel(services->query);
	bluez_lookup_cancel(services->lookup);
	bluez_free(services->bluez);
	if (services->deadline)
		event_free(services->deadline);
	if (services->retry)
		event_free(services->retry);
	loop_free(services->loop);
	free(services->list);
	address_device_clear(&services->target);
}

/* What was found is worth printing even where it is not all. */
static int services_print(const struct services *services, bool is_json)
{
	if (services->code == 0 || services->count) {
		if (is_json)
			service_list_print_json(stdout, &services->device,
						services->list,
						services->count);
		else
			service_list_print(stdout, &services->device,
					   services->list, services->count);
		if (fflush(stdout) || ferror(stdout)) {
			log_error("cannot write to standard output: %s",
				  strerror(errno));
			return COMMAND_STATUS_FAILED;
		}
	}
	if (services->code) {
		log_error("%s%s",
			  services->error.text[0] ? services->error.text
						  : strerror(-services->code),
			  services->count ? " (there may be more services)"
					  : "");
		return COMMAND_STATUS_FAILED;
	}
	if (!services->count && !is_json)
		log_say("the device shows no services");
	return COMMAND_STATUS_OK;
}

static int parse_options(const struct command_options *options,
			 struct services *services,
			 struct bluez_settings *settings, struct error *error)
{
	int code = address_device_parse(options->arguments[0],
					&services->target, error);

	if (code == 0 && options->adapter)
		code = address_adapter_parse(options->adapter,
					     &settings->adapter, error);
	services->timeout_ms = ANSWER_MS +
			       (services->target.name ? LOOKUP_MS : 0);
	if (code || !options->timeout)
		return code;
	code = address_duration_parse(options->timeout, &services->timeout_ms,
				      error);
	if (code == 0 && !services->timeout_ms)
		code = error_set(error, -EINVAL, "no time at all");
	return code ? error_prefix(error, code, "timeout") : 0;
}

int command_services(const struct command_options *options)
{
	struct bluez_settings settings = {0};
	struct services services = {0};
	struct error error;
	int status = COMMAND_STATUS_USAGE;
	int code;

	if (parse_options(options, &services, &settings, &error)) {
		log_error("%s", error.text);
		goto clear;
	}
	status = COMMAND_STATUS_FAILED;
	services.choice = settings.adapter;
	if (controller_choose(&settings.adapter, &services.adapter, &error)) {
		log_error("%s", error.text);
		goto clear;
	}
	code = services_start(&services, &settings);
	if (code == 0)
		code = loop_run(services.loop);
	if (code < 0)
		services.code = code;
	status = services_print(&services, options->is_json);
clear:
	services_clear(&services);
	return status;
}
