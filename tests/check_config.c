/* SPDX-License-Identifier: MIT */
/* Run from the root of the source tree: tests/config and conf are read. */
#include "config_load.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "command.h"

/* What one run said: the printed config, or the errors, a line each. */
struct outcome {
	int code;
	unsigned int errors;
	char *text;
	size_t bytes;
	FILE *stream;
};

static void on_error(const char *text, void *arg)
{
	struct outcome *outcome = arg;

	outcome->errors++;
	fprintf(outcome->stream, "%s\n", text);
}

static void outcome_open(struct outcome *outcome)
{
	memset(outcome, 0, sizeof(*outcome));
	outcome->stream = open_memstream(&outcome->text, &outcome->bytes);
	ck_assert_ptr_nonnull(outcome->stream);
}

static void outcome_close(struct outcome *outcome, int code,
			  struct config *config)
{
	outcome->code = code;
	ck_assert_int_eq(code == 0, config != NULL);
	ck_assert_int_eq(code == 0, outcome->errors == 0);
	if (config)
		ck_assert_int_eq(config_print(config, outcome->stream), 0);
	config_free(config);
	fclose(outcome->stream);
}

static struct outcome parse(const char *name, const char *data, size_t size)
{
	struct outcome outcome;
	struct config *config;
	int code;

	outcome_open(&outcome);
	code = config_parse(name, data, size, &config, on_error, &outcome);
	outcome_close(&outcome, code, config);
	return outcome;
}

static struct outcome load(const char *path)
{
	struct outcome outcome;
	struct config *config;
	int code;

	outcome_open(&outcome);
	code = config_load(path, &config, on_error, &outcome);
	outcome_close(&outcome, code, config);
	return outcome;
}

static struct config *parse_good(const char *data)
{
	struct outcome outcome;
	struct config *config;
	int code;

	outcome_open(&outcome);
	code = config_parse("test", data, strlen(data), &config, on_error,
			    &outcome);
	fclose(outcome.stream);
	ck_assert_msg(code == 0, "%s", outcome.text);
	free(outcome.text);
	return config;
}

static char *read_file(const char *path, size_t *bytes)
{
	FILE *file = fopen(path, "r");
	char *data = malloc(1 << 20);

	ck_assert_msg(file != NULL, "no %s", path);
	*bytes = fread(data, 1, (1 << 20) - 1, file);
	data[*bytes] = '\0';
	fclose(file);
	return data;
}

/* ---- goldens -------------------------------------------------------------- */

static void check_golden(const char *path)
{
	char expected_path[256];
	const char *name = strrchr(path, '/') + 1;
	size_t stem = strlen(path) - strlen("in");
	size_t bytes, expected_bytes;
	char *data = read_file(path, &bytes), *expected;
	struct outcome outcome = parse(name, data, bytes), again;

	snprintf(expected_path, sizeof(expected_path), "%.*s%s", (int)stem,
		 path, outcome.code ? "err" : "ok");
	if (access(expected_path, R_OK) < 0)
		ck_abort_msg("no %s; it would be:\n%s", expected_path,
			     outcome.text);
	expected = read_file(expected_path, &expected_bytes);
	ck_assert_msg(strcmp(outcome.text, expected) == 0,
		      "%s is not as expected, but:\n%s", path, outcome.text);
	ck_assert(outcome.code == 0 || outcome.code == -EINVAL);
	if (outcome.code == 0) {
		again = parse("again", outcome.text, outcome.bytes);
		ck_assert_int_eq(again.code, 0);
		ck_assert_str_eq(again.text, outcome.text);
		free(again.text);
	}
	free(expected);
	free(outcome.text);
	free(data);
}

START_TEST(goldens)
{
	glob_t found;

	ck_assert_int_eq(glob("tests/config/*.in", 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++)
		check_golden(found.gl_pathv[i]);
	globfree(&found);
}
END_TEST

/* A golden whose input is gone would never be looked at again. */
START_TEST(goldens_have_inputs)
{
	glob_t found;
	char path[256];

	ck_assert_int_eq(glob("tests/config/*.ok", 0, NULL, &found), 0);
	ck_assert_int_eq(glob("tests/config/*.err", GLOB_APPEND, NULL, &found),
			 0);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		const char *name = found.gl_pathv[i];

		snprintf(path, sizeof(path), "%.*s.in",
			 (int)(strrchr(name, '.') - name), name);
		ck_assert_msg(access(path, R_OK) == 0, "no %s", path);
	}
	globfree(&found);
}
END_TEST

/* @text with the comment signs of commented-out examples taken off. */
static char *uncomment(const char *text)
{
	char *out = malloc(strlen(text) + 1), *to = out;
	bool is_line_start = true;

	for (; *text; text++) {
		bool is_example = is_line_start && *text == ';' &&
				  text[1] != ' ' && text[1] != '\n';

		if (!is_example)
			*to++ = *text;
		is_line_start = *text == '\n';
	}
	*to = '\0';
	return out;
}

START_TEST(shipped_examples)
{
	glob_t found;

	ck_assert_int_eq(glob("conf/*.conf", 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		struct outcome outcome = load(found.gl_pathv[i]), again;
		size_t bytes;
		char *data, *whole;

		ck_assert_msg(outcome.code == 0, "%s", outcome.text);
		again = parse("again", outcome.text, outcome.bytes);
		ck_assert_str_eq(again.text, outcome.text);
		free(again.text);
		free(outcome.text);
		/* What is commented out must work for whoever turns it on. */
		data = read_file(found.gl_pathv[i], &bytes);
		whole = uncomment(data);
		outcome = parse(found.gl_pathv[i], whole, strlen(whole));
		ck_assert_msg(outcome.code == 0, "%s", outcome.text);
		free(outcome.text);
		free(whole);
		free(data);
	}
	globfree(&found);
}
END_TEST

/* ---- contents ---------------------------------------------------------------- */

START_TEST(defaults_are_as_documented)
{
	struct config *config = parse_good("; one\n[route a]\n"
					   "listen = rfcomm\nconnect = echo\n");
	const struct config_route *route = &config->routes[0];

	ck_assert_int_eq(config->gateway.adapter.choice, ADAPTER_CHOICE_ANY);
	ck_assert_ptr_null(config->gateway.name);
	ck_assert(config->gateway.is_discoverable);
	ck_assert(config->gateway.has_control);
	ck_assert_str_eq(config->gateway.control.local.path,
			 CONFIG_CONTROL_PATH);
	ck_assert_uint_eq(config->route_count, 1);
	ck_assert_str_eq(route->name, "a");
	ck_assert_uint_eq(route->line, 2);
	ck_assert_int_eq(route->listen.kind, ENDPOINT_KIND_RFCOMM);
	ck_assert_uint_eq(route->listen.rfcomm.channel, 0);
	ck_assert_int_eq(route->connect.kind, ENDPOINT_KIND_ECHO);
	ck_assert_str_eq(route->service_name, "a");
	ck_assert_int_eq(address_uuid_short(&route->service_uuid), 0x1101);
	ck_assert_int_eq(route->security, SECURITY_LEVEL_MEDIUM);
	ck_assert_uint_eq(route->max_sessions, 0);
	ck_assert_uint_eq(route->connect_timeout_ms, 10000);
	ck_assert_uint_eq(route->linger_ms, 2000);
	ck_assert_uint_eq(route->drain_timeout_ms, 5000);
	config_free(config);
	config_free(NULL);
}
END_TEST

START_TEST(values_are_understood)
{
	struct config *config = parse_good("[gateway]\nadapter = hci3\n"
					   "name = \"N \\; n\"\n"
					   "discoverable = no\n"
					   "control = no\n"
					   "[defaults]\nlinger = 1h\n"
					   "[route a]\nlisten = rfcomm:9\n"
					   "connect = tcp:h:1\n"
					   "service-name = S\n"
					   "service-uuid = 0x1105\n"
					   "adapter = 00:11:22:33:44:55\n"
					   "security = low\n"
					   "max-sessions = 10000\n"
					   "connect-timeout = 24s\n"
					   "drain-timeout = 0s\n");
	const struct config_route *route = &config->routes[0];

	ck_assert_int_eq(config->gateway.adapter.choice, ADAPTER_CHOICE_INDEX);
	ck_assert_uint_eq(config->gateway.adapter.index, 3);
	ck_assert_str_eq(config->gateway.name, "N ; n");
	ck_assert(!config->gateway.is_discoverable);
	ck_assert(!config->gateway.has_control);
	ck_assert_uint_eq(route->listen.rfcomm.channel, 9);
	ck_assert_str_eq(route->connect.tcp.host, "h");
	ck_assert_str_eq(route->service_name, "S");
	ck_assert_int_eq(address_uuid_short(&route->service_uuid), 0x1105);
	ck_assert_int_eq(route->adapter.choice, ADAPTER_CHOICE_ADDRESS);
	ck_assert_int_eq(route->adapter.address.octets[5], 0x55);
	ck_assert_int_eq(route->security, SECURITY_LEVEL_LOW);
	ck_assert_uint_eq(route->max_sessions, 10000);
	ck_assert_uint_eq(route->connect_timeout_ms, 24000);
	ck_assert_uint_eq(route->linger_ms, 3600000);
	ck_assert_uint_eq(route->drain_timeout_ms, 0);
	config_free(config);
}
END_TEST

static char *many_routes(unsigned int count, const char *listen)
{
	char *data = malloc((size_t)count * 128);
	size_t used = 0;

	for (unsigned int i = 0; i < count; i++)
		used += (size_t)sprintf(data + used,
					"[route r%u]\nlisten = %s%u\n"
					"connect = pty:/run/btgate/p%u\n",
					i, listen, i + 1, i);
	return data;
}

static void check_entrances(const char *data, const size_t *expected)
{
	struct config *config = parse_good(data);

	for (size_t i = 0; i < config->route_count; i++)
		ck_assert_msg(config->routes[i].entrance == expected[i],
			      "route %s has %zu", config->routes[i].name,
			      config->routes[i].entrance);
	config_free(config);
}

#define ROUTE(name, listen, peers) \
	"[route " name "]\nlisten = " listen "\nconnect = echo\n" peers "\n"

START_TEST(entrances_are_found)
{
	static const size_t expected[] = {0, 1, 1, 3, 1, 5, 6, 5, 5, 9};

	check_entrances(
		ROUTE("echo", "tcp:1", "") ROUTE("a", "rfcomm:3",
						 "peers = 00:11:*")
			ROUTE("b", "rfcomm:3,pack-gap=5ms", "peers = HC-05")
				ROUTE("other", "rfcomm:4", "")
					ROUTE("c", "rfcomm:3", "")
						ROUTE("auto", "rfcomm",
						      "peers = HC-05, HC-06")
		/* Nobody would be left: a service of its own. */
		ROUTE("auto-same", "rfcomm", "peers = HC-06")
			ROUTE("auto-other", "rfcomm", "peers = HC-07")
				ROUTE("auto-rest", "rfcomm", "")
					ROUTE("auto-uuid", "rfcomm",
					      "service-uuid = 0x1105"),
		expected);
}
END_TEST

START_TEST(entrances_of_psms_and_adapters)
{
	static const size_t expected[] = {0, 0, 2, 2, 4, 5};

	check_entrances(
		ROUTE("a", "l2cap:0x1001,mode=basic",
		      "peers = HC-05") ROUTE("b", "l2cap:4097,mode=basic", "")
			ROUTE("c", "rfcomm:1", "peers = HC-05\nadapter = hci0")
				ROUTE("d", "rfcomm:1", "adapter = hci0") ROUTE(
					"e", "rfcomm:1", "adapter = hci1")
					ROUTE("f", "l2cap", "peers = HC-05"),
		expected);
}
END_TEST

/* These and no others; 0-ended, from the lowest on. */
static void assert_reserved(const struct config_route *route,
			    const uint16_t *ports)
{
	for (unsigned int port = 0; port <= UINT16_MAX; port++) {
		bool is_reserved = *ports && port == *ports;

		ck_assert_msg(address_ports_has(&route->reserved_ports,
						(uint16_t)port) == is_reserved,
			      "port 0x%04x", port);
		ports += is_reserved;
	}
}

/* Channels that other routes name are not for "auto"; who names one needs none. */
START_TEST(channels_are_reserved)
{
	struct config *config = parse_good(
		ROUTE("a", "rfcomm:3", "peers = HC-05")
			ROUTE("b", "rfcomm:3", "") ROUTE("c", "rfcomm", "")
				ROUTE("d", "rfcomm:7", "adapter = hci0"));

	assert_reserved(&config->routes[0], (uint16_t[]){0});
	assert_reserved(&config->routes[1], (uint16_t[]){0});
	assert_reserved(&config->routes[2], (uint16_t[]){3, 7, 0});
	assert_reserved(&config->routes[3], (uint16_t[]){0});
	config_free(config);
}
END_TEST

/* PSMs likewise, of those that "auto" chooses from; and no kind is the other's. */
START_TEST(psms_are_reserved)
{
	struct config *config = parse_good(
		ROUTE("a", "l2cap:0x1001", "") ROUTE("b", "l2cap:0x10ff", "")
			ROUTE("c", "l2cap:0x1201", "") ROUTE("d", "l2cap", "")
				ROUTE("e", "rfcomm:17", "")
					ROUTE("f", "rfcomm", ""));

	assert_reserved(&config->routes[0], (uint16_t[]){0});
	assert_reserved(&config->routes[2], (uint16_t[]){0});
	assert_reserved(&config->routes[3], (uint16_t[]){0x1001, 0x10ff, 0});
	assert_reserved(&config->routes[5], (uint16_t[]){17, 0});
	config_free(config);
}
END_TEST

/* 31 routes on 30 channels: two share one. */
START_TEST(shared_channels_count_once)
{
	char *data = many_routes(30, "rfcomm:");
	char *more = malloc(strlen(data) + 256);
	struct config *config;

	strcpy(more, ROUTE("first", "rfcomm:30", "peers = HC-05"));
	strcat(more, data);
	config = parse_good(more);
	ck_assert_uint_eq(config->route_count, 31);
	ck_assert_uint_eq(config->routes[30].entrance, 0);
	config_free(config);
	free(more);
	free(data);
}
END_TEST

START_TEST(peers_are_inherited_and_own_their_memory)
{
	struct config *config = parse_good(
		"[defaults]\npeers = HC-05, 00:11:*\nwhen-busy = share\n" ROUTE(
			"a", "rfcomm:1", "") ROUTE("b", "rfcomm:2",
						   "peers = HC-06")
			ROUTE("c", "rfcomm:3", "peers = any")
				ROUTE("d", "tcp:1", "when-busy = replace"));

	ck_assert_uint_eq(config->routes[0].peers.count, 2);
	ck_assert_str_eq(config->routes[0].peers.items[0].name, "HC-05");
	ck_assert_uint_eq(config->routes[1].peers.count, 1);
	ck_assert_str_eq(config->routes[1].peers.items[0].name, "HC-06");
	ck_assert_uint_eq(config->routes[2].peers.count, 0);
	ck_assert_uint_eq(config->routes[3].peers.count, 0);
	ck_assert_int_eq(config->routes[0].when_busy, WHEN_BUSY_SHARE);
	ck_assert_int_eq(config->routes[0].share_write, SHARE_WRITE_ALL);
	ck_assert_int_eq(config->routes[3].when_busy, WHEN_BUSY_REPLACE);
	config_free(config);
}
END_TEST

/* ---- size and time ------------------------------------------------------------- */

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

START_TEST(a_thousand_routes)
{
	char *data = many_routes(1000, "tcp:");
	double start = seconds_now();
	struct outcome outcome = parse("many", data, strlen(data));

	ck_assert_int_eq(outcome.code, 0);
	/* 0.05 s here; the bound is for valgrind on a slow machine. */
	ck_assert_double_lt(seconds_now() - start, 60);
	free(outcome.text);
	free(data);
}
END_TEST

/* Whoever is in its way is found among more than there are lists. */
START_TEST(conflicts_among_thousands)
{
	char *data = many_routes(3000, "tcp:");
	char *more = malloc(strlen(data) + 256);
	struct outcome outcome;

	strcpy(more, data);
	strcat(more, "[route r7]\nlisten = tcp:2999\n"
		     "connect = pty:/run/btgate/p5\n"
		     "[route late]\nlisten = tcp:1\n"
		     "connect = pty:/run/btgate/p2999\n");
	outcome = parse("many", more, strlen(more));
	ck_assert_int_eq(outcome.code, -EINVAL);
	ck_assert_str_eq(
		outcome.text,
		"many:9001: [route r7] is already there on line 22\n"
		"many:9002: 'listen' is in use already: [route r2998] has "
		"listen = tcp:127.0.0.1:2999 on line 8996\n"
		"many:9003: 'connect' is in use already: [route r5] has "
		"connect = pty:/run/btgate/p5 on line 18\n"
		"many:9005: 'listen' is in use already: [route r0] has listen "
		"= tcp:127.0.0.1:1 on line 2\n"
		"many:9006: 'connect' is in use already: [route r2999] has "
		"connect = pty:/run/btgate/p2999 on line 9000\n");
	free(outcome.text);
	free(more);
	free(data);
}
END_TEST

START_TEST(too_many_routes)
{
	char *data = many_routes(5000, "tcp:");
	struct outcome outcome = parse("many", data, strlen(data));

	ck_assert_int_eq(outcome.code, -EINVAL);
	ck_assert_str_eq(outcome.text, "many:12289: more than 4096 routes\n");
	free(outcome.text);
	free(data);
}
END_TEST

START_TEST(too_many_errors)
{
	enum {
		LINES = 3000
	};
	char *data = malloc(LINES * 2 + 1);
	struct outcome outcome;

	for (size_t i = 0; i < LINES; i++)
		memcpy(data + 2 * i, "x\n", 3);
	outcome = parse("x", data, 2 * LINES);
	ck_assert_int_eq(outcome.code, -EINVAL);
	ck_assert_uint_eq(outcome.errors, 1001);
	ck_assert_ptr_nonnull(
		strstr(outcome.text, "x: 2000 more errors are not shown\n"));
	free(outcome.text);
	free(data);
}
END_TEST

START_TEST(one_line_of_ten_megabytes)
{
	size_t size = 10 << 20;
	char *data = malloc(size);
	struct outcome outcome;

	memset(data, 'a', size);
	outcome = parse("x", data, size);
	ck_assert_str_eq(outcome.text,
			 "x:1: the line is 10485760 bytes long; at most 198\n");
	free(outcome.text);
	free(data);
}
END_TEST

/* The tail of a long line must not become a line of its own (inih would). */
START_TEST(long_lines_have_no_tail)
{
	for (size_t length = 190; length < 210; length++) {
		char data[512] = "[route a]\nlisten = rfcomm\n"
				 "connect = echo\nservice-name = ";
		struct outcome outcome;
		size_t used = strlen(data) - strlen("service-name = ");

		for (size_t i = strlen(data); i < used + length; i++)
			data[i] = (i - used) % 20 ? 'n' : ' ';
		strcpy(data + used + length, "\nlinger = 1s\n");
		outcome = parse("x", data, strlen(data));
		ck_assert_uint_eq(outcome.errors, 1);
		if (length <= 198)
			ck_assert_ptr_nonnull(strstr(
				outcome.text, " bytes long; at most 128\n"));
		else
			ck_assert_ptr_nonnull(strstr(
				outcome.text, " bytes long; at most 198\n"));
		free(outcome.text);
	}
}
END_TEST

/* ---- files -------------------------------------------------------------------------- */

static char directory[64];

static void make_directory(void)
{
	strcpy(directory, "/tmp/check_config.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
}

static void remove_directory(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	ck_assert_int_eq(system(command), 0);
}

static const char *in_directory(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static const char *write_file(const char *name, const char *data)
{
	const char *path = in_directory(name);
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	fputs(data, file);
	fclose(file);
	return path;
}

/* That loading @path gives @code and one error, "PATH: TEXT". */
static void check_unreadable(const char *path, int code, const char *text)
{
	struct outcome outcome = load(path);
	char expected[512];

	snprintf(expected, sizeof(expected), "%s: %s\n", path, text);
	ck_assert_str_eq(outcome.text, expected);
	ck_assert_int_eq(outcome.code, code);
	free(outcome.text);
}

START_TEST(files_that_are_none)
{
	const char *path = in_directory("fifo");

	check_unreadable(in_directory("missing"), -ENOENT,
			 "cannot read it: No such file or directory; create "
			 "it, or name another with -c FILE");
	check_unreadable(directory, -EISDIR,
			 "cannot read it: Is a directory; name another with "
			 "-c FILE");
	check_unreadable("/dev/zero", -ENOTSUP,
			 "is a device or socket and not a file; name another "
			 "with -c FILE");
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	check_unreadable(path, -ENOTSUP,
			 "is a FIFO and not a file; name another with -c FILE");
}
END_TEST

START_TEST(file_without_permission)
{
	const char *path = write_file("secret", "");
	/* Root reads everything; the sentence is the same for all. */
	const bool is_root = geteuid() == 0;

	chmod(path, 0);
	chmod(directory, 0755);
	if (is_root)
		ck_assert_int_eq(seteuid(65534), 0);
	check_unreadable(path, -EACCES,
			 "cannot read it: Permission denied; make it readable "
			 "for the user that runs btgate");
	if (is_root)
		ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

START_TEST(file_that_is_too_large)
{
	const char *path = write_file("large", "[gateway]\n");
	struct outcome outcome;

	ck_assert_int_eq(truncate(path, (16 << 20) + 1), 0);
	check_unreadable(path, -EFBIG,
			 "is larger than 16 MB; that is no configuration");
	/* One byte less is read, and is bad for what is in it. */
	ck_assert_int_eq(truncate(path, 16 << 20), 0);
	outcome = load(path);
	ck_assert_int_eq(outcome.code, -EINVAL);
	free(outcome.text);
}
END_TEST

static void *write_slowly(void *arg)
{
	static const char *const parts[] = {
		"[route a]\nlis", "ten = rfcomm\nconn", "ect = echo\n"};
	int fd = *(int *)arg;

	for (size_t i = 0; i < 3; i++) {
		usleep(50000);
		if (write(fd, parts[i], strlen(parts[i])) < 0)
			break;
	}
	close(fd);
	return NULL;
}

START_TEST(pipe_on_standard_input)
{
	struct outcome outcome;
	pthread_t writer;
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(dup2(ends[0], 0), 0);
	pthread_create(&writer, NULL, write_slowly, &ends[1]);
	outcome = load("/dev/stdin");
	pthread_join(writer, NULL);
	ck_assert_msg(outcome.code == 0, "%s", outcome.text);
	ck_assert_ptr_nonnull(strstr(outcome.text, "[route a]"));
	free(outcome.text);
	close(ends[0]);
}
END_TEST

START_TEST(print_reports_a_full_disk)
{
	struct config *config = parse_good(
		"[route a]\nlisten = rfcomm\nconnect = echo\n");
	FILE *full = fopen("/dev/full", "w");

	ck_assert_ptr_nonnull(full);
	ck_assert_int_eq(config_print(config, full), -ENOSPC);
	fclose(full);
	config_free(config);
}
END_TEST

/* ---- conf.d -------------------------------------------------------------------------- */

/* A directory of its own, with conf.d and a main file that has @main in it. */
static const char *make_tree(const char *main)
{
	make_directory();
	ck_assert_int_eq(mkdir(in_directory("conf.d"), 0755), 0);
	return write_file("btgate.conf", main);
}

/* That the files of the tree give @expected, in which '@' is the directory. */
static void check_tree(int code, const char *expected)
{
	struct outcome outcome = load(in_directory("btgate.conf"));
	char *text = malloc(strlen(expected) * 32 + 1), *to = text;

	for (const char *from = expected; *from; from++) {
		if (*from == '@')
			to = stpcpy(to, directory);
		else
			*to++ = *from;
	}
	*to = '\0';
	ck_assert_str_eq(outcome.text, text);
	ck_assert_int_eq(outcome.code, code);
	free(text);
	free(outcome.text);
}

/* By bytes ("B" before "a"), and nothing else that may lie about there. */
START_TEST(directory_is_read_in_order)
{
	static const char *const names[] = {"B", "10-b", "a", "10-a", "main"};
	static const char *const expected[] = {"main", "10-a", "10-b", "B",
					       "a"};
	const char *path = make_tree(ROUTE("main", "rfcomm:1", ""));
	struct config *config;

	for (unsigned int i = 0; i < 4; i++) {
		char name[64], data[128];

		snprintf(name, sizeof(name), "conf.d/%s.conf", names[i]);
		snprintf(data, sizeof(data),
			 "[route %s]\nlisten = rfcomm:%u\nconnect = echo",
			 names[i], i + 2);
		write_file(name, data);
	}
	write_file("conf.d/x.conf.bak", "rubbish");
	write_file("conf.d/x.conf~", "rubbish");
	write_file("conf.d/.hidden.conf", "rubbish");
	write_file("conf.d/.conf", "rubbish");
	path = in_directory("btgate.conf");
	ck_assert_int_eq(config_load(path, &config, on_error, NULL), 0);
	ck_assert_uint_eq(config->route_count, 5);
	ck_assert_uint_eq(config->file_count, 5);
	for (unsigned int i = 0; i < 5; i++) {
		ck_assert_str_eq(config->routes[i].name, expected[i]);
		ck_assert_uint_eq(config->routes[i].line, 1);
		ck_assert_ptr_nonnull(strstr(config->files[i],
					     i ? expected[i] : "/btgate.conf"));
	}
	config_free(config);
}
END_TEST

START_TEST(directory_may_have_all_of_it)
{
	make_tree("; routes are in conf.d\n");
	write_file("conf.d/1.conf",
		   "[gateway]\nname = N\n[defaults]\nlinger = 1s\n");
	write_file("conf.d/2.conf",
		   "\xef\xbb\xbf[gateway]\ndiscoverable = no\n"
		   "[defaults]\ndrain-timeout = 1s\n"
		   "[route a]\nlisten = tcp:1\nconnect = echo\n");
	check_tree(0, "[gateway]\nadapter = any\nname = N\n"
		      "discoverable = no\n"
		      "control = unix:/run/btgate/control\n"
		      "pairing = never\n\n[route a]\n"
		      "listen = tcp:127.0.0.1:1\nconnect = echo\n"
		      "clients = any\n"
		      "max-sessions = unlimited\nwhen-busy = refuse\n"
		      "connect-timeout = 10s\nlinger = 1s\n"
		      "drain-timeout = 1s\n"
		      "idle-timeout = off\nhold = no\n");
}
END_TEST

/* Each with its own file and line, in order; and who was there before. */
START_TEST(errors_name_their_files)
{
	make_tree("[gateway]\nname = N\n[defaults]\nlinger = 1s\n" ROUTE(
		"a", "tcp:1", ""));
	write_file("conf.d/1.conf",
		   "linger = 1s\n[gateway]\nname = N\n[gateway]\n" ROUTE(
			   "a", "tcp:2", "") "lingr = 1s\n");
	write_file("conf.d/2.conf",
		   "\n" ROUTE("b", "tcp:1", "") "[defaults]\nlinger = 2s");
	check_tree(-EINVAL,
		   "@/conf.d/1.conf:1: 'linger' is outside of a section; start "
		   "one above it, like [route NAME]\n"
		   "@/conf.d/1.conf:3: 'name' is already set on line 2 of "
		   "@/btgate.conf\n"
		   "@/conf.d/1.conf:4: [gateway] is already there on line 2\n"
		   "@/conf.d/1.conf:5: [route a] is already there on line 5 of "
		   "@/btgate.conf\n"
		   "@/conf.d/1.conf:9: unknown key 'lingr' in this [route]; "
		   "did you mean 'linger'?\n"
		   "@/conf.d/2.conf:3: 'listen' is in use already: [route a] "
		   "has listen = tcp:127.0.0.1:1 on line 6 of @/btgate.conf\n"
		   "@/conf.d/2.conf:7: 'linger' is already set on line 4 of "
		   "@/btgate.conf\n");
}
END_TEST

/* Of a gateway that may run with what the file said before. */
START_TEST(control_path_in_spite_of_errors)
{
	char path[108], expected[108];

	make_tree("[gateway]\nnme = N\ncontrol = unix:/a/b,mode=0660\n[rout\n");
	strcpy(expected, in_directory("btgate.conf"));
	ck_assert_int_eq(config_load_control(expected, path, sizeof(path)), 0);
	ck_assert_str_eq(path, "/a/b");
	write_file("btgate.conf", "[gateway]\ncontrol = unix:relative\n");
	ck_assert_int_eq(config_load_control(expected, path, sizeof(path)), 0);
	ck_assert_str_eq(path, CONFIG_CONTROL_PATH);
	write_file("conf.d/a.conf", "[gateway]\ncontrol = no\n");
	write_file("btgate.conf", "");
	ck_assert_int_eq(config_load_control(expected, path, sizeof(path)),
			 -ENOTSUP);
	ck_assert_int_eq(config_load_control("/nowhere", path, sizeof(path)),
			 0);
	ck_assert_str_eq(path, CONFIG_CONTROL_PATH);
}
END_TEST

START_TEST(directory_that_cannot_be_read)
{
	make_tree(ROUTE("a", "tcp:1", ""));
	ck_assert_int_eq(symlink("/nowhere", in_directory("conf.d/1.conf")), 0);
	ck_assert_int_eq(mkdir(in_directory("conf.d/2.conf"), 0755), 0);
	check_tree(-ENOENT,
		   "@/conf.d/1.conf: cannot read it: No such file or "
		   "directory; create it, or name another with -c FILE\n"
		   "@/conf.d/2.conf: cannot read it: Is a directory; name "
		   "another with -c FILE\n");
	unlink(in_directory("conf.d/1.conf"));
	rmdir(in_directory("conf.d/2.conf"));
	rmdir(in_directory("conf.d"));
	write_file("conf.d", "");
	check_tree(-ENOTDIR,
		   "@/conf.d: cannot read the directory: Not a directory\n");
}
END_TEST

/* ---- the command ------------------------------------------------------------------- */

/* btgate check on @path, with its outputs in files @out_path and "err". */
static int run_check_into(const char *out_path, const char *path)
{
	struct command_options options = {.config_path = path};
	int status, out = dup(1), err = dup(2);

	fflush(stdout);
	ck_assert_ptr_nonnull(freopen(out_path, "w", stdout));
	ck_assert_ptr_nonnull(freopen(in_directory("err"), "w", stderr));
	status = command_check(&options);
	fflush(stdout);
	/* What a full disk did not take. */
	__fpurge(stdout);
	clearerr(stdout);
	fflush(stderr);
	dup2(out, 1);
	dup2(err, 2);
	close(out);
	close(err);
	return status;
}

static int run_check(const char *path)
{
	char out_path[128];

	strcpy(out_path, in_directory("out"));
	return run_check_into(out_path, path);
}

static void check_output(const char *name, const char *expected)
{
	size_t bytes;
	char *text = read_file(in_directory(name), &bytes);

	ck_assert_str_eq(text, expected);
	free(text);
}

START_TEST(command_prints_what_it_understood)
{
	size_t bytes;
	char *expected;

	ck_assert_int_eq(run_check("tests/config/minimal.in"),
			 COMMAND_STATUS_OK);
	expected = read_file("tests/config/minimal.ok", &bytes);
	check_output("out", expected);
	check_output("err", "");
	free(expected);
}
END_TEST

START_TEST(command_names_the_files)
{
	char path[128], expected[512];
	size_t bytes;
	char *printed;
	struct outcome again;

	strcpy(path, write_file("btgate.conf", ROUTE("a", "tcp:1", "")));
	mkdir(in_directory("conf.d"), 0755);
	write_file("conf.d/b.conf", ROUTE("b", "tcp:2", ""));
	ck_assert_int_eq(run_check(path), COMMAND_STATUS_OK);
	printed = read_file(in_directory("out"), &bytes);
	snprintf(expected, sizeof(expected),
		 "; from %s/btgate.conf\n; from %s/conf.d/b.conf\n[gateway]\n",
		 directory, directory);
	ck_assert_int_eq(strncmp(printed, expected, strlen(expected)), 0);
	again = parse("again", printed, bytes);
	ck_assert_int_eq(again.code, 0);
	free(again.text);
	free(printed);
}
END_TEST

START_TEST(command_counts_errors)
{
	ck_assert_int_eq(run_check("tests/config/missing.in"),
			 COMMAND_STATUS_USAGE);
	check_output("out", "");
	check_output("err",
		     "tests/config/missing.in:1: [route a] needs 'listen' and "
		     "'connect'\n"
		     "tests/config/missing.in:2: [route b] needs 'connect'\n"
		     "tests/config/missing.in:4: [route c] needs 'listen'\n"
		     "tests/config/missing.in:7: 'listen' has no value\n"
		     "tests/config/missing.in:8: 'connect' has no value\n"
		     "tests/config/missing.in: 5 errors; it cannot be used\n");
	ck_assert_int_eq(run_check("tests/config/empty.in"),
			 COMMAND_STATUS_USAGE);
	check_output("err",
		     "tests/config/empty.in: no routes; add one, like [route "
		     "echo] with 'listen = rfcomm' and 'connect = echo'\n"
		     "tests/config/empty.in: 1 error; it cannot be used\n");
}
END_TEST

START_TEST(command_says_what_to_do_without_a_file)
{
	ck_assert_int_eq(run_check("/nonexistent/btgate.conf"),
			 COMMAND_STATUS_USAGE);
	check_output("err", "/nonexistent/btgate.conf: cannot read it: No such "
			    "file or directory; create it, or name another "
			    "with -c FILE\n");
}
END_TEST

START_TEST(command_reports_a_full_disk)
{
	ck_assert_int_eq(run_check_into("/dev/full", "tests/config/minimal.in"),
			 COMMAND_STATUS_FAILED);
	check_output("err", "cannot write to standard output: No space left "
			    "on device\n");
}
END_TEST

static TCase *contents_tests(void)
{
	TCase *test = tcase_create("contents");

	tcase_set_timeout(test, 240);
	tcase_add_test(test, goldens);
	tcase_add_test(test, goldens_have_inputs);
	tcase_add_test(test, shipped_examples);
	tcase_add_test(test, defaults_are_as_documented);
	tcase_add_test(test, values_are_understood);
	tcase_add_test(test, entrances_are_found);
	tcase_add_test(test, entrances_of_psms_and_adapters);
	tcase_add_test(test, channels_are_reserved);
	tcase_add_test(test, psms_are_reserved);
	tcase_add_test(test, shared_channels_count_once);
	tcase_add_test(test, peers_are_inherited_and_own_their_memory);
	tcase_add_test(test, a_thousand_routes);
	tcase_add_test(test, conflicts_among_thousands);
	tcase_add_test(test, too_many_routes);
	tcase_add_test(test, too_many_errors);
	tcase_add_test(test, one_line_of_ten_megabytes);
	tcase_add_test(test, long_lines_have_no_tail);
	return test;
}

static TCase *directory_tests(void)
{
	TCase *test = tcase_create("conf.d");

	tcase_set_timeout(test, 240);
	tcase_add_checked_fixture(test, NULL, remove_directory);
	tcase_add_test(test, directory_is_read_in_order);
	tcase_add_test(test, directory_may_have_all_of_it);
	tcase_add_test(test, errors_name_their_files);
	tcase_add_test(test, control_path_in_spite_of_errors);
	tcase_add_test(test, directory_that_cannot_be_read);
	return test;
}

static TCase *file_tests(void)
{
	TCase *test = tcase_create("files");

	tcase_set_timeout(test, 240);
	tcase_add_unchecked_fixture(test, make_directory, remove_directory);
	tcase_add_test(test, files_that_are_none);
	tcase_add_test(test, file_without_permission);
	tcase_add_test(test, file_that_is_too_large);
	tcase_add_test(test, pipe_on_standard_input);
	tcase_add_test(test, print_reports_a_full_disk);
	tcase_add_test(test, command_prints_what_it_understood);
	tcase_add_test(test, command_names_the_files);
	tcase_add_test(test, command_counts_errors);
	tcase_add_test(test, command_says_what_to_do_without_a_file);
	tcase_add_test(test, command_reports_a_full_disk);
	return test;
}

int main(void)
{
	Suite *suite = suite_create("config");
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, contents_tests());
	suite_add_tcase(suite, directory_tests());
	suite_add_tcase(suite, file_tests());
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
