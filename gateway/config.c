/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

const char *const config_when_busy_words[] = {
	[WHEN_BUSY_REFUSE] = "refuse",
	[WHEN_BUSY_REPLACE] = "replace",
	[WHEN_BUSY_SHARE] = "share",
	NULL,
};

const char *const config_pairing_words[] = {
	[CONFIG_PAIRING_NEVER] = "never",
	[CONFIG_PAIRING_WINDOW] = "window",
	[CONFIG_PAIRING_ALWAYS] = "always",
	NULL,
};

const char *const config_share_write_words[] = {
	[SHARE_WRITE_ALL] = "all",
	[SHARE_WRITE_FIRST] = "first",
	NULL,
};

const char *const config_hold_words[] = {
	[HOLD_NO] = "no",
	[HOLD_YES] = "yes",
	[HOLD_ALWAYS] = "always",
	[HOLD_LINK] = "link",
	NULL,
};

const char *const config_trace_format_words[] = {
	[TRACE_FORMAT_HEX] = "hex",
	[TRACE_FORMAT_TEXT] = "text",
	[TRACE_FORMAT_PCAPNG] = "pcapng",
	NULL,
};

bool config_route_offers(const struct config_route *route,
			 const struct address_uuid *uuid,
			 const struct address_bluetooth *address,
			 const char *name)
{
	return address_endpoint_is_bluetooth(&route->listen) &&
	       address_uuid_is_equal(&route->service_uuid, uuid) &&
	       address_peers_has(&route->peers, address, name);
}

void config_route_clear(struct config_route *route)
{
	free(route->name);
	free(route->service_name);
	free(route->trace.path);
	address_peers_clear(&route->peers);
	address_endpoint_clear(&route->listen);
	address_endpoint_clear(&route->connect);
}

void config_gateway_clear(struct config_gateway *gateway)
{
	free(gateway->name);
	address_endpoint_clear(&gateway->control);
	address_endpoint_clear(&gateway->metrics);
}

bool config_listens_on_bluetooth(const struct config *config)
{
	for (size_t i = 0; i < config->route_count; i++)
		if (address_endpoint_is_bluetooth(&config->routes[i].listen))
			return true;
	return false;
}

void config_free(struct config *config)
{
	if (!config)
		return;
	for (size_t i = 0; i < config->route_count; i++)
		config_route_clear(&config->routes[i]);
	free(config->routes);
	for (size_t i = 0; i < config->file_count; i++)
		free(config->files[i]);
	free(config->files);
	config_gateway_clear(&config->gateway);
	free(config);
}

/* ---- printing -------------------------------------------------------- */

static void print_quoted(const char *key, const char *value, FILE *stream)
{
	char text[2 * CONFIG_LINE_BYTES_MAX + 3];

	text_format_quoted(value, text, sizeof(text));
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

static void print_limit(const char *key, unsigned int ms, FILE *stream)
{
	if (ms)
		print_duration(key, ms, stream);
	else
		fprintf(stream, "%s = off\n", key);
}

/* As many on a line as can be read again. */
static void print_peers(const struct address_peers *peers, FILE *stream)
{
	static const char key[] = "peers = ";
	size_t used = 0;

	if (!peers->count)
		fprintf(stream, "%sany", key);
	for (size_t i = 0; i < peers->count; i++) {
		char text[ADDRESS_PEER_TEXT_BYTES];

		address_peer_format(&peers->items[i], text);
		used += strlen(", ") + strlen(text);
		if (i && used <= CONFIG_LINE_BYTES_MAX) {
			fprintf(stream, ", %s", text);
		} else {
			fprintf(stream, "%s%s%s", i ? "\n" : "", key, text);
			used = strlen(key) + strlen(text);
		}
	}
	fputc('\n', stream);
}

static void print_networks(const char *key,
			   const struct address_networks *networks,
			   FILE *stream)
{
	if (!networks->count)
		fprintf(stream, "%s = any\n", key);
	for (size_t i = 0; i < networks->count; i++) {
		char text[ADDRESS_NETWORK_TEXT_BYTES];

		address_network_format(&networks->items[i], text);
		fprintf(stream, "%s = %s\n", key, text);
	}
}

static void print_busy(const struct config_route *route, FILE *stream)
{
	fprintf(stream, "when-busy = %s\n",
		config_when_busy_words[route->when_busy]);
	if (route->when_busy == WHEN_BUSY_SHARE)
		fprintf(stream, "share-write = %s\n",
			config_share_write_words[route->share_write]);
}

static void print_hold(const struct config_route *route, FILE *stream)
{
	char least[24], most[24];

	fprintf(stream, "hold = %s\n", config_hold_words[route->hold]);
	if (route->hold == HOLD_NO)
		return;
	if (route->hold_buffer_bytes)
		fprintf(stream, "hold-buffer = %u\n", route->hold_buffer_bytes);
	else
		fprintf(stream, "hold-buffer = discard\n");
	address_duration_format(route->retry_min_ms, least);
	address_duration_format(route->retry_max_ms, most);
	fprintf(stream, "retry = %s..%s\n", least, most);
}

static void print_trace(const struct config_trace *trace, FILE *stream)
{
	if (!trace->path)
		return;
	print_quoted("trace", trace->path, stream);
	fprintf(stream, "trace-format = %s\n",
		config_trace_format_words[trace->format]);
	if (trace->size_bytes % (1024 * 1024) == 0)
		fprintf(stream, "trace-size = %uM\n",
			trace->size_bytes / (1024 * 1024));
	else
		fprintf(stream, "trace-size = %uK\n", trace->size_bytes / 1024);
	fprintf(stream, "trace-files = %u\n", trace->files);
}

static void print_route(const struct config_route *route, bool is_service,
			FILE *stream)
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
		if (is_service)
			print_quoted("service-name", route->service_name,
				     stream);
		fprintf(stream, "service-uuid = %s\n", uuid);
		print_peers(&route->peers, stream);
	}
	if (address_endpoint_is_ip(&route->listen))
		print_networks("clients", &route->clients, stream);
	if (is_either) {
		print_adapter(&route->adapter, stream);
		fprintf(stream, "security = %s\n",
			address_security_to_string(route->security));
	}
	if (route->max_sessions)
		fprintf(stream, "max-sessions = %u\n", route->max_sessions);
	else
		fprintf(stream, "max-sessions = unlimited\n");
	print_busy(route, stream);
	print_duration("connect-timeout", route->connect_timeout_ms, stream);
	print_duration("linger", route->linger_ms, stream);
	print_duration("drain-timeout", route->drain_timeout_ms, stream);
	print_limit("idle-timeout", route->idle_timeout_ms, stream);
	print_hold(route, stream);
}

static void print_control(const struct config_gateway *gateway, FILE *stream)
{
	char text[ADDRESS_ENDPOINT_TEXT_BYTES] = "no";

	if (gateway->has_control)
		address_endpoint_format(&gateway->control, ENDPOINT_ROLE_LISTEN,
					text);
	fprintf(stream, "control = %s\n", text);
}

static void print_metrics(const struct config_gateway *gateway, FILE *stream)
{
	char text[ADDRESS_ENDPOINT_TEXT_BYTES];

	if (!gateway->has_metrics)
		return;
	address_endpoint_format(&gateway->metrics, ENDPOINT_ROLE_LISTEN, text);
	fprintf(stream, "metrics = %s\n", text + strlen("tcp:"));
	print_networks("metrics-clients", &gateway->metrics_clients, stream);
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
	print_control(&config->gateway, stream);
	print_metrics(&config->gateway, stream);
	fprintf(stream, "pairing = %s\n",
		config_pairing_words[config->gateway.pairing]);
	for (size_t i = 0; i < config->route_count; i++) {
		print_route(&config->routes[i], config->routes[i].entrance == i,
			    stream);
		print_trace(&config->routes[i].trace, stream);
	}
	if (fflush(stream) != 0 || ferror(stream))
		return errno ? -errno : -EIO;
	return 0;
}

/* ---- comparing ------------------------------------------------------- */

/* malloc'd; NULL when memory is short. */
static char *print_to_text(const struct config_route *route)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *stream = open_memstream(&text, &bytes);
	bool has_failed;

	if (!stream)
		return NULL;
	print_route(route, true, stream);
	has_failed = ferror(stream);
	if (fclose(stream) == 0 && !has_failed)
		return text;
	free(text);
	return NULL;
}

int config_route_is_same(const struct config_route *a,
			 const struct config_route *b)
{
	char *a_text = print_to_text(a), *b_text = print_to_text(b);
	int result = -ENOMEM;

	if (a_text && b_text)
		result = strcmp(a_text, b_text) == 0;
	free(a_text);
	free(b_text);
	return result;
}

bool config_trace_is_same(const struct config_trace *a,
			  const struct config_trace *b)
{
	if (!a->path || !b->path)
		return !a->path && !b->path;
	return strcmp(a->path, b->path) == 0 && a->format == b->format &&
	       a->size_bytes == b->size_bytes && a->files == b->files;
}

/* Packing is each session's own. */
static void format_listener(const struct address_endpoint *listen,
			    char text[ADDRESS_ENDPOINT_TEXT_BYTES])
{
	struct address_endpoint bare = *listen;

	memset(&bare.packing, 0, sizeof(bare.packing));
	address_endpoint_format(&bare, ENDPOINT_ROLE_LISTEN, text);
}

bool config_listener_is_same(const struct config_route *a,
			     const struct config_route *b)
{
	char a_text[ADDRESS_ENDPOINT_TEXT_BYTES];
	char b_text[ADDRESS_ENDPOINT_TEXT_BYTES];

	format_listener(&a->listen, a_text);
	format_listener(&b->listen, b_text);
	return strcmp(a_text, b_text) == 0 &&
	       address_adapter_is_same(&a->adapter, &b->adapter) &&
	       a->security == b->security &&
	       address_endpoint_is_bluetooth(&a->connect) ==
		       address_endpoint_is_bluetooth(&b->connect);
}
