/* SPDX-License-Identifier: MIT */
/*
 * Routes that are exchanged for others. RFCOMM listeners are fakes, which the
 * linker takes instead of the real ones; targets are echo, and sessions real.
 */
#include "route_set.h"

#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "bluez.h"
#include "config.h"
#include "config_load.h"
#include "endpoint.h"
#include "error.h"
#include "log_lines.h"
#include "loop.h"
#include "publish.h"
#include "route.h"
#include "sdp.h"
#include "socket.h"

#define DEADLINE_MS 20000
#define CHANNELS 31
#define PHONES 4

/* ---- fakes ------------------------------------------------------------------ */

struct fake_listener {
	struct listener listener;
	bool is_open;
	unsigned int open_count; /* all that there were */
	unsigned int place; /* where it was opened */
	listener_client_cb client_cb;
	void *arg;
};

static struct fake_listener fakes[CHANNELS]; /* by channel */

/* What is meant by the adapter of all now; 0: none is there. */
static unsigned int place;

static int check_place(struct error *error)
{
	return place ? 0 : error_set(error, -ENODEV, "no adapter");
}

static int fake_check(const struct listener *listener, struct error *error)
{
	const struct fake_listener *fake = &fakes[listener->port];

	if (place && fake->place != place)
		return error_set(error, -ENODEV, "another adapter");
	return check_place(error);
}

static void fake_close(struct listener *listener)
{
	struct fake_listener *fake = &fakes[listener->port];

	ck_assert(fake->is_open);
	fake->is_open = false;
}

static unsigned int find_channel(const struct address_endpoint *address,
				 const struct address_ports *reserved)
{
	unsigned int channel = address->rfcomm.channel;

	if (channel)
		return channel;
	for (channel = 1; fakes[channel].is_open ||
			  address_ports_has(reserved, (uint16_t)channel);)
		channel++;
	return channel;
}

static int fake_listen(struct loop *loop,
		       const struct address_endpoint *address,
		       const struct endpoint_settings *settings,
		       listener_client_cb client_cb, void *arg,
		       struct listener **out, struct error *error)
{
	static const struct listener_ops ops = {
		.check = fake_check,
		.close = fake_close,
	};
	unsigned int channel = find_channel(address, &settings->reserved_ports);
	struct fake_listener *fake = &fakes[channel];

	if (check_place(error))
		return -ENODEV;
	if (fake->is_open)
		return error_set(error, -EADDRINUSE, "channel %u is taken",
				 channel);
	fake->listener.ops = &ops;
	fake->listener.protocol = SERVICE_PROTOCOL_RFCOMM;
	fake->listener.port = (uint16_t)channel;
	snprintf(fake->listener.name, sizeof(fake->listener.name), "fake:%u",
		 channel);
	fake->client_cb = client_cb;
	fake->arg = arg;
	fake->is_open = true;
	fake->place = place;
	fake->open_count++;
	*out = &fake->listener;
	return 0;
}

const struct endpoint_ops endpoint_rfcomm_ops = {.listen = fake_listen};

/* What is published, and as what. */
static char published[CHANNELS][64];
static unsigned int publish_count;

struct publication *publication_new(struct publisher *publisher,
				    const struct sdp_service *service,
				    publication_changed_cb changed, void *arg)
{
	char *text = published[service->port];

	ck_assert_str_eq(text, "");
	strcpy(text, service->name);
	publish_count++;
	return (struct publication *)text;
}

void publication_free(struct publication *publication)
{
	if (publication)
		*(char *)publication = '\0';
}

/* ---- what tests are made of --------------------------------------------------- */

static struct loop *loop;
static struct route_set *set;
static bool has_stopped;
static char difference[512]; /* "a same, b changed" */
static int phone_fd[PHONES];
static char a_publisher;

static int do_admit(struct stream *stream)
{
	return send(stream->write_fd, "+", 1, MSG_NOSIGNAL) == 1 ? 0 : -EPIPE;
}

static const struct stream_ops phone_ops = {
	.admit = do_admit,
	.read = socket_read,
	.write = socket_write,
	.close = socket_close,
};

static void on_stopped(void *arg)
{
	ck_assert_ptr_eq(arg, &set);
	has_stopped = true;
}

static void on_error(const char *text, void *arg)
{
	ck_abort_msg("%s", text);
}

static struct config *parse(const char *text)
{
	struct config *config;

	ck_assert_int_eq(config_parse("test", text, strlen(text), &config,
				      on_error, NULL),
			 0);
	return config;
}

static void on_difference(const char *route, enum route_difference kind,
			  void *arg)
{
	size_t used = strlen(difference);

	snprintf(difference + used, sizeof(difference) - used, "%s%s %s",
		 used ? ", " : "", route, route_difference_to_string(kind));
}

static struct route_change *prepare(struct config *config)
{
	struct route_change *change = route_change_new(
		set, config, NULL, (struct publisher *)&a_publisher);

	ck_assert_ptr_nonnull(change);
	difference[0] = '\0';
	route_change_list(change, on_difference, NULL);
	return change;
}

/* From now on the routes are these, and that is the difference. */
static void change_to(const char *text, const char *expected)
{
	struct config *config = parse(text);

	route_change_commit(prepare(config));
	config_free(config);
	ck_assert_str_eq(difference, expected);
}

static void turn(void)
{
	event_base_loop(loop->base, EVLOOP_NONBLOCK);
}

/* Somebody comes to @channel, with an address that ends in @last. */
static void call(unsigned int phone, unsigned int channel, uint8_t last)
{
	struct stream *stream;
	int ends[2];

	ck_assert(fakes[channel].is_open);
	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	phone_fd[phone] = ends[1];
	stream = socket_stream_new(&phone_ops, ends[0], "phone");
	ck_assert_ptr_nonnull(stream);
	stream->has_peer_address = true;
	stream->peer_address = (struct address_bluetooth){
		.octets = {0, 0, 0, 0, 0, last}};
	fakes[channel].client_cb(stream, fakes[channel].arg);
}

static void await_byte(unsigned int phone, char expected)
{
	uint64_t deadline = loop_now_ms() + DEADLINE_MS;
	char byte = '\0';

	while (recv(phone_fd[phone], &byte, 1, 0) < 0) {
		ck_assert_int_eq(errno, EAGAIN);
		ck_assert(loop_now_ms() < deadline);
		turn();
	}
	ck_assert_int_eq(byte, expected);
}

/* The session is there, and what it carries comes back. */
static void expect_echo(unsigned int phone)
{
	ck_assert_int_eq(send(phone_fd[phone], "x", 1, MSG_NOSIGNAL), 1);
	await_byte(phone, 'x');
}

static void call_in(unsigned int phone, unsigned int channel, uint8_t last)
{
	call(phone, channel, last);
	await_byte(phone, '+');
	expect_echo(phone);
}

static void await_end(unsigned int phone)
{
	uint64_t deadline = loop_now_ms() + DEADLINE_MS;
	char bytes[4096];

	while (recv(phone_fd[phone], bytes, sizeof(bytes), 0) != 0) {
		ck_assert(loop_now_ms() < deadline);
		turn();
	}
}

static void await_log(const char *text)
{
	uint64_t deadline = loop_now_ms() + DEADLINE_MS;

	while (!log_has(text)) {
		ck_assert_msg(loop_now_ms() < deadline, "no: %s", text);
		turn();
	}
}

static void setup(void)
{
	memset(fakes, 0, sizeof(fakes));
	memset(published, 0, sizeof(published));
	publish_count = 0;
	place = 1;
	log_line_count = 0;
	has_stopped = false;
	for (unsigned int i = 0; i < PHONES; i++)
		phone_fd[i] = -1;
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	set = route_set_new(loop, on_stopped, &set);
	ck_assert_ptr_nonnull(set);
}

static void teardown(void)
{
	route_set_free(set);
	for (unsigned int i = 0; i < CHANNELS; i++) {
		ck_assert(!fakes[i].is_open);
		ck_assert_str_eq(published[i], "");
	}
	for (unsigned int i = 0; i < PHONES; i++)
		if (phone_fd[i] >= 0)
			close(phone_fd[i]);
	loop_free(loop);
}

#define ROUTE(name, listen, keys) \
	"[route " name "]\nlisten = " listen "\nconnect = echo\n" keys "\n"

/* ---- what stays ------------------------------------------------------------------ */

START_TEST(the_same_again_changes_nothing)
{
	change_to(ROUTE("a", "rfcomm:3", "") ROUTE("b", "rfcomm", ""),
		  "a added, b added");
	call_in(0, 3, 1);
	call_in(1, 1, 1);
	/* Also when it is written otherwise, and stands elsewhere. */
	change_to("[defaults]\nlinger = 2000ms\n" ROUTE("b", "rfcomm:auto", "")
			  ROUTE("a", "rfcomm:3", ""),
		  "b unchanged, a unchanged");
	expect_echo(0);
	expect_echo(1);
	ck_assert_uint_eq(fakes[3].open_count, 1);
	ck_assert_uint_eq(fakes[1].open_count, 1);
	ck_assert_uint_eq(publish_count, 2);
	call_in(2, 3, 2);
}
END_TEST

START_TEST(others_come_and_go_beside_it)
{
	change_to(ROUTE("a", "rfcomm:3", "") ROUTE("b", "rfcomm:4", ""),
		  "a added, b added");
	call_in(0, 3, 1);
	call_in(1, 4, 1);
	change_to(ROUTE("c", "rfcomm:5", "") ROUTE("a", "rfcomm:3", ""),
		  "c added, a unchanged, b removed");
	ck_assert(!fakes[4].is_open);
	await_end(1);
	call_in(2, 5, 1);
	expect_echo(0);
	ck_assert_uint_eq(route_set_count(set), 2);
}
END_TEST

/* Phones know the channel: it is the same, whatever goes before it. */
START_TEST(automatic_channels_stay)
{
	change_to(ROUTE("a", "rfcomm", "") ROUTE("b", "rfcomm", "")
			  ROUTE("c", "rfcomm", ""),
		  "a added, b added, c added");
	change_to(ROUTE("c", "rfcomm", "max-sessions = 1")
			  ROUTE("b", "rfcomm", ""),
		  "c changed, b unchanged, a removed");
	ck_assert(!fakes[1].is_open);
	ck_assert_str_eq(published[2], "b");
	ck_assert_str_eq(published[3], "c");
	ck_assert_uint_eq(fakes[2].open_count, 1);
	ck_assert_uint_eq(fakes[3].open_count, 1);
}
END_TEST

START_TEST(an_automatic_channel_makes_way_for_a_named_one)
{
	change_to(ROUTE("a", "rfcomm", ""), "a added");
	call_in(0, 1, 1);
	change_to(ROUTE("a", "rfcomm", "") ROUTE("b", "rfcomm:1", ""),
		  "a changed, b added");
	await_end(0);
	ck_assert_str_eq(published[1], "b");
	ck_assert_str_eq(published[2], "a");
}
END_TEST

/* ---- what changes ----------------------------------------------------------------- */

START_TEST(a_changed_route_keeps_its_listener)
{
	change_to(ROUTE("a", "rfcomm:3", ""), "a added");
	call_in(0, 3, 1);
	change_to(ROUTE("a", "rfcomm:3", "max-sessions = 1"), "a changed");
	await_end(0);
	ck_assert_uint_eq(fakes[3].open_count, 1);
	ck_assert_uint_eq(publish_count, 1);
	/* The old one's session is none of the new one's. */
	call_in(1, 3, 1);
	call(2, 3, 2);
	await_end(2);
}
END_TEST

START_TEST(a_new_service_name_is_published)
{
	change_to(ROUTE("a", "rfcomm:3", ""), "a added");
	change_to(ROUTE("a", "rfcomm:3", "service-name = B"), "a changed");
	ck_assert_str_eq(published[3], "B");
	ck_assert_uint_eq(fakes[3].open_count, 1);
}
END_TEST

START_TEST(another_channel_is_another_listener)
{
	change_to(ROUTE("a", "rfcomm:3", ""), "a added");
	change_to(ROUTE("a", "rfcomm:4", ""), "a changed");
	ck_assert(!fakes[3].is_open);
	ck_assert(fakes[4].is_open);
	change_to(ROUTE("a", "rfcomm:4", "security = low"), "a changed");
	ck_assert_uint_eq(fakes[4].open_count, 2);
}
END_TEST

/* The old listener is gone before: the fake takes one at a time. */
START_TEST(a_channel_passes_from_one_name_to_another)
{
	change_to(ROUTE("a", "rfcomm:3", "") ROUTE("b", "rfcomm:4", ""),
		  "a added, b added");
	call_in(0, 3, 1);
	change_to(ROUTE("b", "rfcomm:3", "") ROUTE("c", "rfcomm:4", ""),
		  "b changed, c added, a removed");
	ck_assert_str_eq(published[3], "b");
	ck_assert_str_eq(published[4], "c");
	ck_assert_uint_eq(route_set_hopeless(set), 0);
	await_end(0);
}
END_TEST

/* ---- routes behind one listener ---------------------------------------------------- */

#define PEER(last) "peers = 00:00:00:00:00:0" last

START_TEST(the_first_of_some_goes)
{
	change_to(ROUTE("a", "rfcomm:3", PEER("1"))
			  ROUTE("b", "rfcomm:3", PEER("2")),
		  "a added, b added");
	ck_assert_str_eq(published[3], "a");
	call_in(0, 3, 1);
	call_in(1, 3, 2);
	change_to(ROUTE("b", "rfcomm:3", PEER("2")), "b unchanged, a removed");
	await_end(0);
	expect_echo(1);
	ck_assert_uint_eq(fakes[3].open_count, 1);
	ck_assert_str_eq(published[3], "b");
	call(2, 3, 1);
	await_end(2);
	ck_assert(log_has("not among the peers of any route"));
}
END_TEST

START_TEST(one_comes_before_another)
{
	change_to(ROUTE("b", "rfcomm:3", ""), "b added");
	call_in(0, 3, 1);
	change_to(ROUTE("a", "rfcomm:3", PEER("1")) ROUTE("b", "rfcomm:3", ""),
		  "a added, b unchanged");
	expect_echo(0);
	ck_assert_uint_eq(fakes[3].open_count, 1);
	ck_assert_str_eq(published[3], "a");
	call_in(1, 3, 1);
	call_in(2, 3, 2);
	ck_assert(log_has("route a: session 1"));
	ck_assert(log_has("route b: session 2"));
}
END_TEST

START_TEST(their_order_is_the_file_s)
{
	change_to(ROUTE("a", "rfcomm:3", PEER("1"))
			  ROUTE("b", "rfcomm:3", "peers = 00:00:*"),
		  "a added, b added");
	/* b comes first now, without the one that is a's. */
	change_to(ROUTE("b", "rfcomm:3", PEER("2"))
			  ROUTE("a", "rfcomm:3", PEER("1")),
		  "b changed, a unchanged");
	ck_assert_str_eq(published[3], "b");
	call_in(0, 3, 2);
	call_in(1, 3, 1);
	ck_assert(log_has("route b: session 1"));
	ck_assert(log_has("route a: session 1"));
}
END_TEST

/* ---- draining ------------------------------------------------------------------------ */

/* Who reads nothing of what is sent back to it. */
static void stuff(unsigned int phone)
{
	static const char bytes[4096];

	for (unsigned int quiet = 0; quiet < 100;) {
		if (send(phone_fd[phone], bytes, sizeof(bytes), MSG_NOSIGNAL) <
		    0)
			quiet++;
		else
			quiet = 0;
		turn();
	}
}

START_TEST(who_does_not_drain_is_cut_off)
{
	change_to(ROUTE("a", "rfcomm:3", "drain-timeout = 60s"), "a added");
	call_in(0, 3, 1);
	stuff(0);
	change_to(ROUTE("a", "rfcomm:3", "drain-timeout = 0s"), "a changed");
	call_in(1, 3, 1);
	ck_assert(!log_has("with phone ended"));
	/* One that has left does not keep the set from being changed again. */
	change_to(ROUTE("b", "rfcomm:3", ""), "b added, a removed");
	await_end(1);
	ck_assert_uint_eq(log_count("with phone ended"), 1);
	ck_assert_uint_eq(route_set_count(set), 1);
}
END_TEST

START_TEST(the_time_to_drain_is_the_old_route_s)
{
	change_to(ROUTE("a", "rfcomm:3", "drain-timeout = 0s"), "a added");
	call_in(0, 3, 1);
	stuff(0);
	change_to(ROUTE("b", "rfcomm:3", "drain-timeout = 60s"),
		  "b added, a removed");
	await_log("route a: session 1 with phone ended");
	await_log("route a: stopping -> stopped");
}
END_TEST

START_TEST(a_stop_waits_for_those_that_left)
{
	change_to(ROUTE("a", "rfcomm:3", ""), "a added");
	call_in(0, 3, 1);
	stuff(0);
	change_to(ROUTE("b", "rfcomm:4", ""), "b added, a removed");
	route_set_stop(set);
	for (unsigned int i = 0; i < 10; i++)
		turn();
	ck_assert(!has_stopped);
	await_end(0);
	while (!has_stopped)
		turn();
	ck_assert(log_has("route a: stopping -> stopped"));
}
END_TEST

/* ---- what is not done ------------------------------------------------------------------ */

START_TEST(a_change_that_is_not_made)
{
	struct config *config;

	change_to(ROUTE("a", "rfcomm:3", PEER("1")) ROUTE("b", "rfcomm:4", ""),
		  "a added, b added");
	call_in(0, 3, 1);
	config = parse(ROUTE("c", "rfcomm:3", PEER("2"))
			       ROUTE("a", "rfcomm:3", PEER("1"))
				       ROUTE("d", "rfcomm:9", ""));
	route_change_free(prepare(config));
	config_free(config);
	ck_assert_str_eq(difference,
			 "c added, a unchanged, d added, b removed");
	expect_echo(0);
	ck_assert(fakes[4].is_open);
	ck_assert_uint_eq(fakes[9].open_count, 0);
	ck_assert_str_eq(published[3], "a");
	call(1, 3, 2);
	await_end(1);
	call_in(2, 4, 2);
}
END_TEST

START_TEST(what_waits_is_tried_again_when_one_has_drained)
{
	change_to(ROUTE("a", "rfcomm:3", ""), "a added");
	fakes[4].is_open = true;
	change_to(ROUTE("a", "rfcomm:3", "") ROUTE("b", "rfcomm:4", ""),
		  "a unchanged, b added");
	ck_assert_uint_eq(route_set_hopeless(set), 1);
	fakes[4].is_open = false;
	route_set_retry(set);
	ck_assert_uint_eq(route_set_hopeless(set), 0);
	ck_assert(fakes[4].is_open);
}
END_TEST

/* ---- adapters that go and come ----------------------------------------------------------- */

START_TEST(who_listens_follows_the_adapter)
{
	change_to(ROUTE("a", "rfcomm:3", PEER("1"))
			  ROUTE("b", "rfcomm:3", PEER("2"))
				  ROUTE("c", "rfcomm", ""),
		  "a added, b added, c added");
	call_in(0, 3, 1);
	call_in(1, 1, 1);
	route_set_retry(set);
	ck_assert_uint_eq(fakes[3].open_count, 1);
	place = 2;
	route_set_retry(set);
	ck_assert_uint_eq(fakes[3].open_count, 2);
	ck_assert_uint_eq(fakes[3].place, 2);
	ck_assert_uint_eq(fakes[1].place, 2);
	ck_assert_str_eq(published[3], "a");
	ck_assert_uint_eq(log_count("listening -> waiting"), 3);
	ck_assert(log_has("route b: listening -> waiting (lost: another "
			  "adapter)"));
	ck_assert(log_has("route b: waiting -> listening (tried again: "
			  "fake:3 => echo)"));
	/* What the old one had goes on as long as its links do. */
	expect_echo(0);
	expect_echo(1);
	call_in(2, 3, 2);
}
END_TEST

START_TEST(who_listens_waits_for_the_adapter)
{
	change_to(ROUTE("a", "rfcomm:3", "") ROUTE("b", "rfcomm:4", ""),
		  "a added, b added");
	call_in(0, 3, 1);
	place = 0;
	route_set_retry(set);
	ck_assert(!fakes[3].is_open);
	ck_assert_str_eq(published[3], "");
	ck_assert(log_has("route a: listening -> waiting (lost: no adapter)"));
	/* It is said once, and is nothing that will not mend itself. */
	route_set_retry(set);
	ck_assert(!log_has("still waiting"));
	ck_assert_uint_eq(log_count("-> waiting"), 2);
	ck_assert_uint_eq(route_set_hopeless(set), 0);
	ck_assert_str_eq(route_error(route_set_find(set, "a")), "no adapter");
	expect_echo(0);
	place = 1;
	route_set_retry(set);
	ck_assert_uint_eq(log_count("waiting -> listening"), 2);
	call_in(1, 3, 1);
	call_in(2, 4, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("route_set");
	TCase *tests = tcase_create("route_set");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, the_same_again_changes_nothing);
	tcase_add_test(tests, others_come_and_go_beside_it);
	tcase_add_test(tests, automatic_channels_stay);
	tcase_add_test(tests, an_automatic_channel_makes_way_for_a_named_one);
	tcase_add_test(tests, a_changed_route_keeps_its_listener);
	tcase_add_test(tests, a_new_service_name_is_published);
	tcase_add_test(tests, another_channel_is_another_listener);
	tcase_add_test(tests, a_channel_passes_from_one_name_to_another);
	tcase_add_test(tests, the_first_of_some_goes);
	tcase_add_test(tests, one_comes_before_another);
	tcase_add_test(tests, their_order_is_the_file_s);
	tcase_add_test(tests, who_does_not_drain_is_cut_off);
	tcase_add_test(tests, the_time_to_drain_is_the_old_route_s);
	tcase_add_test(tests, a_stop_waits_for_those_that_left);
	tcase_add_test(tests, a_change_that_is_not_made);
	tcase_add_test(tests, what_waits_is_tried_again_when_one_has_drained);
	tcase_add_test(tests, who_listens_follows_the_adapter);
	tcase_add_test(tests, who_listens_waits_for_the_adapter);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
