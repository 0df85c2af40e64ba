/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "text.h"

void config_route_clear(struct config_route *route)
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
		config_route_clear(&config->routes[i]);
	free(config->routes);
	free(config->gateway.name);
	free(config);
}

/* ---- printing -------------------------------------------------------- */

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
