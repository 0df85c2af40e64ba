/* SPDX-License-Identifier: MIT */
/*
 * One listener and the routes behind it. The listener, bluetoothd's names and
 * the publisher are fakes, which the linker takes instead of the real ones.
 */
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
#include "endpoint.h"
#include "entrance.h"
#include "error.h"
#include "log_lines.h"
#include "loop.h"
#include "mishap.h"
#include "publish.h"
#include "sdp.h"
#include "socket.h"

#define DOORS 3
#define DEADLINE_MS 20000

/* ---- fakes ------------------------------------------------------------------ */

static struct {
	struct listener listener;
	int refusal; /* -errno that the next ones get; 0: a listener */
	bool is_open;
	unsigned int open_count; /* all that there were */
	struct endpoint_settings settings;
	listener_client_cb client_cb;
	void *arg;
} fake;

static void fake_close(struct listener *listener)
{
	ck_assert(fake.is_open);
	fake.is_open = false;
}

static int fake_listen(struct loop *loop,
		       const struct address_endpoint *address,
		       const struct endpoint_settings *settings,
		       listener_client_cb client_cb, void *arg,
		       struct listener **out, struct error *error)
{
	static const struct listener_ops ops = {.close = fake_close};

	ck_assert(!fake.is_open);
	if (fake.refusal)
		return error_set(error, fake.refusal, "the fake is taken");
	fake.listener.ops = &ops;
	fake.listener.protocol = SERVICE_PROTOCOL_RFCOMM;
	fake.listener.port = 7;
	strcpy(fake.listener.name, "fake:7");
	fake.settings = *settings;
	fake.client_cb = client_cb;
	fake.arg = arg;
	fake.is_open = true;
	fake.open_count++;
	*out = &fake.listener;
	return 0;
}

const struct endpoint_ops endpoint_rfcomm_ops = {.listen = fake_listen};
const struct endpoint_ops endpoint_l2cap_ops;
const struct endpoint_ops endpoint_tcp_ops;
const struct endpoint_ops endpoint_tls_ops;
const struct endpoint_ops endpoint_unix_ops;
const struct endpoint_ops endpoint_pty_ops;
const struct endpoint_ops endpoint_serial_ops;
const struct endpoint_ops endpoint_file_ops;
const struct endpoint_ops endpoint_exec_ops;
const struct endpoint_ops endpoint_echo_ops;

static enum bluez_state bluez;
static const char *paired_name;
static struct address_bluetooth paired_address;

const char *bluez_paired_name(const struct bluez *unused,
			      const struct address_adapter *choice,
			      const struct address_bluetooth *address)
{
	if (bluez != BLUEZ_STATE_READY || !paired_name ||
	    memcmp(address, &paired_address, sizeof(*address)) != 0)
		return NULL;
	return paired_name;
}

static bool is_bonded, lets_pair, is_settled;

bool bluez_is_bonded(const struct bluez *unused,
		     const struct address_adapter *choice,
		     const struct address_bluetooth *address)
{
	return is_bonded;
}

bool bluez_lets_pair(const struct bluez *unused)
{
	return lets_pair;
}

bool bluez_is_settled(const struct bluez *unused)
{
	return is_settled;
}

enum bluez_state bluez_state(const struct bluez *unused)
{
	return bluez;
}

const char *bluez_reason(const struct bluez *unused)
{
	return "bluetoothd is not running";
}

static struct {
	bool is_failing;
	unsigned int count; /* now */
	unsigned int total;
	char name[64];
	uint16_t port;
	publication_changed_cb changed;
	void *arg;
} published;

struct publication *publication_new(struct publisher *publisher,
				    const struct sdp_service *service,
				    publication_changed_cb changed, void *arg)
{
	if (published.is_failing) {
		errno = ENOMEM;
		return NULL;
	}
	published.count++;
	published.total++;
	snprintf(published.name, sizeof(published.name), "%s", service->name);
	published.port = service->port;
	published.changed = changed;
	published.arg = arg;
	return (struct publication *)&published;
}

void publication_free(struct publication *publication)
{
	if (publication)
		published.count--;
}

/* ---- what tests are made of --------------------------------------------------- */

static struct loop *loop;
static struct entrance *entrance;
static struct config_route routes[DOORS];
static struct door *doors[DOORS];
static unsigned int taken[DOORS];
static int far_fd = -1;
/* The fakes never look into them. */
static char a_bluez, a_publisher;

static int do_admit(struct stream *stream)
{
	return send(stream->write_fd, "+", 1, MSG_NOSIGNAL) == 1 ? 0 : -EPIPE;
}

static bool is_aborted;

static void do_close(struct stream *stream, enum stream_close how)
{
	is_aborted = how == STREAM_CLOSE_ABORT;
	socket_close(stream, how);
}

static const struct stream_ops phone_ops = {
	.admit = do_admit,
	.read = socket_read,
	.write = socket_write,
	.close = do_close,
};

static unsigned int waited_ms; /* of the last one that was taken */

static void on_client(struct stream *client, void *arg)
{
	waited_ms = client->waited_ms;
	++*(unsigned int *)arg;
	stream_close(client, STREAM_CLOSE_ORDERLY);
}

static void add_route(int index, const char *peers)
{
	static char names[DOORS][8] = {"first", "second", "third"};
	struct error error;

	routes[index].name = names[index];
	routes[index].service_name = names[index];
	routes[index].connect_timeout_ms = 60000;
	routes[index].listen.kind = ENDPOINT_KIND_RFCOMM;
	ck_assert_int_eq(address_peers_add(peers, &routes[index].peers, &error),
			 0);
	if (index == 0)
		entrance = entrance_new(loop, &routes[0],
					(struct bluez *)&a_bluez,
					(struct publisher *)&a_publisher);
	ck_assert_ptr_nonnull(entrance);
	doors[index] = door_new(entrance, &routes[index], on_client,
				&taken[index]);
	ck_assert_ptr_nonnull(doors[index]);
}

static void open_door(int index)
{
	struct error error = {""};

	ck_assert_int_eq(door_open(doors[index], &error), 0);
	ck_assert_str_eq(door_name(doors[index]), "fake:7");
}

static struct address_bluetooth address_of(const char *text)
{
	struct address_bluetooth address;
	struct error error;

	ck_assert_int_eq(address_bluetooth_parse(text, &address, &error), 0);
	return address;
}

/* A device comes to the listener. */
static void come(const char *address)
{
	struct stream *stream;
	int ends[2];

	if (far_fd >= 0)
		close(far_fd);
	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	far_fd = ends[1];
	stream = socket_stream_new(&phone_ops, ends[0],
				   address ? address : "somebody");
	ck_assert_ptr_nonnull(stream);
	stream->has_peer_address = address != NULL;
	if (address)
		stream->peer_address = address_of(address);
	is_aborted = false;
	fake.client_cb(stream, fake.arg);
}

static bool is_decided(void)
{
	unsigned int count = is_aborted;

	for (int i = 0; i < DOORS; i++)
		count += taken[i];
	return count > 0;
}

/* It has to wait until its name is known, or will not be. */
static void await_decision(void)
{
	uint64_t deadline = loop_now_ms() + DEADLINE_MS;

	ck_assert(!is_decided());
	while (!is_decided()) {
		ck_assert_msg(loop_now_ms() < deadline, "it waits for ever");
		event_base_loop(loop->base, EVLOOP_ONCE);
	}
}

static void expect_taken(int by)
{
	for (int i = 0; i < DOORS; i++)
		ck_assert_uint_eq(taken[i], i == by);
	memset(taken, 0, sizeof(taken));
}

/* Refused before it was told that it is connected. */
static void expect_refused(void)
{
	char byte;

	expect_taken(-1);
	ck_assert(is_aborted);
	ck_assert_int_eq(recv(far_fd, &byte, 1, 0), 0);
}

static void expect_last_refusal(int door, unsigned int count, const char *who,
				const char *why)
{
	const struct mishap *refused = door_last_refusal(doors[door]);

	ck_assert_uint_eq(refused->count, count);
	ck_assert_str_eq(refused->who, who);
	ck_assert_str_eq(refused->why, why);
}

static void setup(void)
{
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	memset(&fake, 0, sizeof(fake));
	memset(&published, 0, sizeof(published));
	memset(routes, 0, sizeof(routes));
	memset(taken, 0, sizeof(taken));
	log_line_count = 0;
	bluez = BLUEZ_STATE_READY;
	paired_name = NULL;
	is_bonded = false;
	lets_pair = false;
	is_settled = true;
	is_aborted = false;
}

static void teardown(void)
{
	for (int i = DOORS; i--;) {
		door_free(doors[i]);
		doors[i] = NULL;
		address_peers_clear(&routes[i].peers);
	}
	entrance_free(entrance);
	entrance = NULL;
	ck_assert(!fake.is_open);
	ck_assert_uint_eq(published.count, 0);
	if (far_fd >= 0)
		close(far_fd);
	far_fd = -1;
	loop_free(loop);
}

/* ---- opening and closing --------------------------------------------------------- */

START_TEST(open_with_the_first_closed_with_the_last)
{
	add_route(0, "00:00:00:00:00:01");
	add_route(1, "00:00:00:00:00:02");
	add_route(2, "any");
	ck_assert(!fake.is_open);
	open_door(1);
	open_door(0);
	open_door(0);
	ck_assert_uint_eq(fake.open_count, 1);
	door_close(doors[1]);
	door_close(doors[1]);
	ck_assert(fake.is_open);
	open_door(2);
	door_close(doors[0]);
	door_close(doors[2]);
	ck_assert(!fake.is_open);
	open_door(1);
	ck_assert_uint_eq(fake.open_count, 2);
}
END_TEST

START_TEST(each_is_told_why_it_cannot_be_opened)
{
	struct error error;

	add_route(0, "00:00:00:00:00:01");
	add_route(1, "any");
	fake.refusal = -EADDRINUSE;
	for (int i = 0; i < 2; i++) {
		error.text[0] = '\0';
		ck_assert_int_eq(door_open(doors[i], &error), -EADDRINUSE);
		ck_assert_str_eq(error.text, "the fake is taken");
	}
	fake.refusal = 0;
	open_door(1);
	open_door(0);
	ck_assert_uint_eq(fake.open_count, 1);
}
END_TEST

START_TEST(the_listener_is_the_first_route_s)
{
	add_route(0, "any");
	routes[0].security = SECURITY_LEVEL_HIGH;
	address_ports_add(&routes[0].reserved_ports, 5);
	routes[0].adapter.choice = ADAPTER_CHOICE_INDEX;
	routes[0].adapter.index = 3;
	open_door(0);
	ck_assert_int_eq(fake.settings.security, SECURITY_LEVEL_HIGH);
	ck_assert(address_ports_has(&fake.settings.reserved_ports, 5));
	ck_assert_uint_eq(fake.settings.adapter.index, 3);
	ck_assert_ptr_eq(fake.settings.bluez, &a_bluez);
	ck_assert(fake.settings.is_slow);
}
END_TEST

/* ---- whom to take ------------------------------------------------------------------ */

static void open_three(const char *first, const char *second, const char *third)
{
	add_route(0, first);
	add_route(1, second);
	add_route(2, third);
	for (int i = 0; i < DOORS; i++)
		open_door(i);
}

START_TEST(the_first_that_matches_takes_the_client)
{
	open_three("00:AA:01:01:00:01, 00:AA:01:01:00:09", "00:AA:*", "any");
	come("00:AA:01:01:00:01");
	expect_taken(0);
	come("00:AA:01:01:00:09");
	expect_taken(0);
	come("00:AA:01:01:00:02");
	expect_taken(1);
	come("00:AB:01:01:00:02");
	expect_taken(2);
	/* One without a Bluetooth address is nobody's peer. */
	come(NULL);
	expect_taken(2);
}
END_TEST

START_TEST(names_of_paired_devices)
{
	open_three("HC-05", "00:AA:*", "Printer");
	paired_name = "HC-05";
	paired_address = address_of("00:AA:01:01:00:01");
	come("00:AA:01:01:00:01");
	expect_taken(0);
	/* A name is as good as its pairing. */
	come("00:AA:01:01:00:02");
	await_decision();
	expect_taken(1);
	paired_name = "Printer";
	paired_address = address_of("00:BB:01:01:00:01");
	come("00:BB:01:01:00:01");
	expect_taken(2);
	paired_name = "printer";
	come("00:BB:01:01:00:01");
	expect_refused();
	ck_assert(log_has("fake:7: refused 00:BB:01:01:00:01: it is not among "
			  "the peers of any route (to let it in, add it to "
			  "one's); its name is \"printer\""));
}
END_TEST

START_TEST(nobody_s_peer_is_refused)
{
	open_three("00:AA:01:01:00:01", "00:AA:01:01:00:02", "00:AA:01:*");
	come("00:AA:02:01:00:01");
	expect_refused();
	ck_assert(log_has("fake:7: refused 00:AA:02:01:00:01: it is not among "
			  "the peers of any route (to let it in, add it to "
			  "one's); it is not mentioned again"));
	come(NULL);
	expect_refused();
	ck_assert(log_has("fake:7: refused somebody: it is not among"));
	ck_assert_uint_eq(door_refusals(doors[0], DOOR_REFUSAL_STRANGER), 2);
	ck_assert_uint_eq(door_refusals(doors[1], DOOR_REFUSAL_STRANGER), 0);
	ck_assert_uint_eq(door_last_refusal(doors[1])->count, 0);
	expect_last_refusal(0, 2, "somebody",
			    "it is not among the peers of any route (to let it "
			    "in, add it to one's)");
}
END_TEST

/* They are the listener's to tell, and the first door's to keep. */
START_TEST(who_was_not_finished)
{
	add_route(0, "00:AA:01:01:00:01");
	open_door(0);
	mishap_note(&fake.listener.unfinished, "a phone", "it left");
	expect_last_refusal(0, 1, "a phone", "it left");
	come("00:AA:01:01:00:02");
	expect_refused();
	ck_assert_uint_eq(door_last_refusal(doors[0])->count, 2);
	ck_assert_str_eq(door_last_refusal(doors[0])->who, "00:AA:01:01:00:02");
	mishap_note(&fake.listener.unfinished, "a phone", "it left");
	mishap_note(&fake.listener.unfinished, "a phone", "it left again");
	door_close(doors[0]);
	expect_last_refusal(0, 4, "a phone", "it left again");
	ck_assert_uint_eq(door_refusals(doors[0], DOOR_REFUSAL_UNFINISHED), 3);
}
END_TEST

START_TEST(peers_of_a_single_route)
{
	add_route(0, "00:AA:01:01:00:01");
	open_door(0);
	come("00:AA:01:01:00:01");
	expect_taken(0);
	come("00:AA:01:01:00:02");
	expect_refused();
}
END_TEST

START_TEST(why_no_name_is_known)
{
	add_route(0, "HC-05");
	open_door(0);
	come("00:AA:01:01:00:01");
	await_decision();
	expect_refused();
	ck_assert(log_has("; it is not paired, and goes by its address alone"));
	bluez = BLUEZ_STATE_NO_DAEMON;
	come("00:AA:01:01:00:02");
	expect_refused();
	ck_assert(log_has("; names of devices are not known: bluetoothd is not "
			  "running"));
}
END_TEST

START_TEST(one_that_has_just_paired_is_waited_for)
{
	open_three("HC-05", "Printer", "any");
	come("00:AA:01:01:00:01");
	paired_name = "Printer";
	paired_address = address_of("00:AA:01:01:00:01");
	await_decision();
	expect_taken(1);
}
END_TEST

/* A name decides: whichever route that will be, its target has a quarter left. */
START_TEST(who_waits_for_a_name_leaves_time_for_the_target)
{
	uint64_t begin_ms = loop_now_ms();

	add_route(0, "HC-05");
	add_route(1, "Printer");
	add_route(2, _i ? "any" : "Scale");
	for (int i = 0; i < DOORS; i++)
		open_door(i);
	routes[1].connect_timeout_ms = 200;
	come("00:AA:01:01:00:01");
	await_decision();
	/* It would wait for three seconds. */
	ck_assert_uint_lt(loop_now_ms() - begin_ms, 3000);
	if (!_i) {
		expect_refused();
		return;
	}
	expect_taken(2);
	ck_assert_uint_ge(waited_ms, 150);
}
END_TEST

START_TEST(nobody_waits_for_a_name_that_changes_nothing)
{
	open_three("00:AA:*", "HC-05", "any");
	come("00:AA:01:01:00:01");
	expect_taken(0);
}
END_TEST

/* It may be HC-05 itself: the last route is not to have it. */
START_TEST(who_may_have_a_name_is_not_taken_for_another)
{
	open_three("00:AA:*", "HC-05", "any");
	bluez = BLUEZ_STATE_NO_DAEMON;
	come("00:AA:01:01:00:01");
	expect_taken(0);
	come("00:BB:01:01:00:01");
	expect_refused();
	ck_assert(log_has("; names of devices are not known: bluetoothd is not "
			  "running"));
	bluez = BLUEZ_STATE_READY;
	come("00:BB:01:01:00:01");
	await_decision();
	expect_taken(2);
}
END_TEST

START_TEST(who_waits_when_it_is_closed_is_refused)
{
	add_route(0, "HC-05");
	open_door(0);
	come("00:AA:01:01:00:01");
	ck_assert(!is_decided());
	door_close(doors[0]);
	expect_refused();
}
END_TEST

/* It is for the first one, which is not up: not for any other. */
START_TEST(a_closed_door_is_no_reason_to_take_the_next)
{
	add_route(0, "00:AA:01:01:00:01");
	add_route(1, "any");
	open_door(1);
	come("00:AA:01:01:00:01");
	expect_refused();
	ck_assert(log_has("route first: refused 00:AA:01:01:00:01: the route "
			  "is not up"));
	come("00:AA:01:01:00:02");
	expect_taken(1);
	open_door(0);
	come("00:AA:01:01:00:01");
	expect_taken(0);
	ck_assert_uint_eq(door_refusals(doors[0], DOOR_REFUSAL_DOWN), 1);
	expect_last_refusal(0, 1, "00:AA:01:01:00:01", "the route is not up");
	ck_assert_uint_eq(door_refusals(doors[1], DOOR_REFUSAL_DOWN), 0);
}
END_TEST

START_TEST(each_device_is_mentioned_once)
{
	char address[] = "00:AA:01:01:00:00";

	add_route(0, "00:AA:01:01:00:01");
	open_door(0);
	for (int i = 0; i < 3; i++) {
		come("00:AA:01:01:00:02");
		expect_refused();
	}
	ck_assert_uint_eq(log_count("refused 00:AA:01:01:00:02: it is"), 1);
	/* What is remembered is bounded: 64 others push it out. */
	for (int i = 0; i < 63; i++) {
		snprintf(address, sizeof(address), "00:AA:01:02:00:%02X",
			 (unsigned int)i & 0xff);
		come(address);
		expect_refused();
	}
	come("00:AA:01:01:00:02");
	ck_assert_uint_eq(log_count("refused 00:AA:01:01:00:02: it is"), 1);
	come("00:AA:01:03:00:00");
	come("00:AA:01:01:00:02");
	ck_assert_uint_eq(log_count("refused 00:AA:01:01:00:02: it is"), 2);
}
END_TEST

START_TEST(after_it_was_taken_a_refusal_is_news)
{
	add_route(0, "HC-05");
	open_door(0);
	come("00:AA:01:01:00:01");
	await_decision();
	expect_refused();
	paired_name = "HC-05";
	paired_address = address_of("00:AA:01:01:00:01");
	come("00:AA:01:01:00:01");
	expect_taken(0);
	paired_name = NULL;
	come("00:AA:01:01:00:01");
	await_decision();
	expect_refused();
	ck_assert_uint_eq(log_count("refused 00:AA:01:01:00:01: it is"), 2);
}
END_TEST

/* ---- pairings that are kept --------------------------------------------------------- */

static void open_at(enum security_level security)
{
	add_route(0, "00:AA:*");
	routes[0].security = security;
	open_door(0);
}

/* What @phone is told would make a difference, and it waits for that. */
static void come_and_wait(const char *phone)
{
	come(phone);
	for (int turn = 0; turn < 3; turn++)
		event_base_loop(loop->base, EVLOOP_ONCE);
	ck_assert(!is_decided());
}

START_TEST(medium_is_for_who_is_bonded)
{
	open_at(SECURITY_LEVEL_MEDIUM);
	is_bonded = true;
	come("00:AA:01:01:00:01");
	expect_taken(0);
	ck_assert_uint_eq(waited_ms, 0);
	/* It pairs on its way in: bluetoothd tells in a moment. */
	is_bonded = false;
	come_and_wait("00:AA:01:01:00:02");
	is_bonded = true;
	await_decision();
	expect_taken(0);
	ck_assert_uint_ge(waited_ms, 3 * 50);
}
END_TEST

START_TEST(who_is_not_bonded_is_refused)
{
	uint64_t begin_ms = loop_now_ms();

	open_at(SECURITY_LEVEL_MEDIUM);
	/* It is to be let in within that, and the target needs some of it. */
	routes[0].connect_timeout_ms = 1000;
	paired_name = "Stranger"; /* for this one link */
	paired_address = address_of("00:AA:01:01:00:01");
	come("00:AA:01:01:00:01");
	await_decision();
	expect_refused();
	ck_assert_uint_ge(loop_now_ms() - begin_ms, 750);
	ck_assert_uint_lt(loop_now_ms() - begin_ms, 10000);
	ck_assert(log_has("route first: refused 00:AA:01:01:00:01: it is not "
			  "paired with this machine, or not for longer than "
			  "this one link; 'btgate pair --for 2m' lets it"));
	/* Who would not be taken anyway has nothing to wait for. */
	come("00:BB:01:01:00:01");
	expect_refused();
	ck_assert(log_has("not among the peers"));
}
END_TEST

/* Anybody is let pair, or encryption is enough, or a number was compared. */
START_TEST(others_need_no_bond)
{
	static const struct {
		enum security_level security;
		bool lets_pair;
	} cases[] = {
		{SECURITY_LEVEL_MEDIUM, true},
		{SECURITY_LEVEL_LOW, false},
		{SECURITY_LEVEL_HIGH, false},
		{SECURITY_LEVEL_FIPS, false},
	};

	open_at(cases[_i].security);
	lets_pair = cases[_i].lets_pair;
	come("00:AA:01:01:00:01");
	expect_taken(0);
}
END_TEST

START_TEST(without_bluetoothd_nobody_is_told_apart)
{
	open_at(SECURITY_LEVEL_MEDIUM);
	bluez = BLUEZ_STATE_NO_DAEMON;
	come("00:AA:01:01:00:01");
	expect_taken(0);
}
END_TEST

START_TEST(a_restart_of_bluetoothd_is_waited_for)
{
	open_at(SECURITY_LEVEL_MEDIUM);
	is_settled = false;
	for (int state = BLUEZ_STATE_NO_BUS; state <= BLUEZ_STATE_NO_DAEMON;
	     state++) {
		bluez = (enum bluez_state)state;
		come_and_wait("00:AA:01:01:00:01");
		bluez = BLUEZ_STATE_READY;
		is_bonded = true;
		await_decision();
		expect_taken(0);
		is_bonded = false;
	}
	bluez = BLUEZ_STATE_NO_DAEMON;
	come_and_wait("00:AA:01:01:00:01");
	is_settled = true;
	await_decision();
	expect_taken(0);
}
END_TEST

START_TEST(who_waits_for_its_bond_leaves_with_the_door)
{
	open_at(SECURITY_LEVEL_MEDIUM);
	come_and_wait("00:AA:01:01:00:01");
	door_close(doors[0]);
	expect_refused();
}
END_TEST

/* ---- the service record -------------------------------------------------------------- */

START_TEST(one_record_for_all)
{
	add_route(0, "00:AA:01:01:00:01");
	add_route(1, "any");
	open_door(1);
	ck_assert_uint_eq(published.count, 1);
	ck_assert_str_eq(published.name, "first");
	ck_assert_uint_eq(published.port, 7);
	published.changed((struct publication *)&published,
			  PUBLICATION_STATE_WAITING, "", published.arg);
	ck_assert(log_has("route first: service record waits; phones can still "
			  "connect to fake:7 by number"));
	/* Its adapter goes, and bluetoothd as well: once is enough. */
	published.changed((struct publication *)&published,
			  PUBLICATION_STATE_WAITING, "", published.arg);
	ck_assert_uint_eq(log_count("service record waits"), 1);
	published.changed((struct publication *)&published,
			  PUBLICATION_STATE_UP, "published", published.arg);
	ck_assert(log_has("route first: service record up: published"));
	published.changed((struct publication *)&published,
			  PUBLICATION_STATE_WAITING, "", published.arg);
	ck_assert_uint_eq(log_count("service record waits"), 2);
	open_door(0);
	ck_assert_uint_eq(published.total, 1);
	door_close(doors[1]);
	ck_assert_uint_eq(published.count, 1);
	door_close(doors[0]);
	ck_assert_uint_eq(published.count, 0);
}
END_TEST

START_TEST(a_record_that_cannot_be_made)
{
	add_route(0, "any");
	published.is_failing = true;
	open_door(0);
	ck_assert(log_has("route first: cannot publish its service record"));
	come("00:AA:01:01:00:01");
	expect_taken(0);
}
END_TEST

/* Closed doors, and phones that come meanwhile: it is not given up. */
START_TEST(held_while_doors_are_exchanged)
{
	add_route(0, "any");
	entrance_hold(entrance);
	entrance_let_go(entrance);
	open_door(0);
	entrance_hold(entrance);
	entrance_hold(entrance);
	door_close(doors[0]);
	ck_assert(fake.is_open);
	ck_assert_uint_eq(entrance_port(entrance), 7);
	come("00:AA:01:01:00:01");
	expect_refused();
	open_door(0);
	entrance_let_go(entrance);
	ck_assert(fake.is_open);
	door_close(doors[0]);
	ck_assert(!fake.is_open);
	ck_assert_uint_eq(entrance_port(entrance), 0);
	ck_assert_uint_eq(fake.open_count, 1);
}
END_TEST

START_TEST(another_first_route_s_record)
{
	struct config_route other;

	add_route(0, "any");
	other = routes[0];
	entrance_set_first(entrance, &other);
	ck_assert_uint_eq(published.total, 0);
	open_door(0);
	entrance_set_first(entrance, &routes[0]);
	ck_assert_uint_eq(published.total, 1);
	other.service_name = (char *)"other";
	entrance_set_first(entrance, &other);
	ck_assert_uint_eq(published.total, 2);
	ck_assert_uint_eq(published.count, 1);
	ck_assert_str_eq(published.name, "other");
}
END_TEST

START_TEST(doors_in_another_order)
{
	add_route(0, "any");
	add_route(1, "any");
	open_door(0);
	open_door(1);
	door_move_last(doors[0]);
	come("00:AA:01:01:00:01");
	expect_taken(1);
	door_free(doors[1]);
	doors[1] = NULL;
	come("00:AA:01:01:00:01");
	expect_taken(0);
	ck_assert(!entrance_is_empty(entrance));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("entrance");
	TCase *tests = tcase_create("entrance");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, open_with_the_first_closed_with_the_last);
	tcase_add_test(tests, each_is_told_why_it_cannot_be_opened);
	tcase_add_test(tests, the_listener_is_the_first_route_s);
	tcase_add_test(tests, the_first_that_matches_takes_the_client);
	tcase_add_test(tests, names_of_paired_devices);
	tcase_add_test(tests, nobody_s_peer_is_refused);
	tcase_add_test(tests, who_was_not_finished);
	tcase_add_test(tests, peers_of_a_single_route);
	tcase_add_test(tests, why_no_name_is_known);
	tcase_add_test(tests, one_that_has_just_paired_is_waited_for);
	tcase_add_loop_test(
		tests, who_waits_for_a_name_leaves_time_for_the_target, 0, 2);
	tcase_add_test(tests, nobody_waits_for_a_name_that_changes_nothing);
	tcase_add_test(tests, who_may_have_a_name_is_not_taken_for_another);
	tcase_add_test(tests, who_waits_when_it_is_closed_is_refused);
	tcase_add_test(tests, a_closed_door_is_no_reason_to_take_the_next);
	tcase_add_test(tests, each_device_is_mentioned_once);
	tcase_add_test(tests, after_it_was_taken_a_refusal_is_news);
	tcase_add_test(tests, one_record_for_all);
	tcase_add_test(tests, a_record_that_cannot_be_made);
	tcase_add_test(tests, held_while_doors_are_exchanged);
	tcase_add_test(tests, another_first_route_s_record);
	tcase_add_test(tests, doors_in_another_order);
	tcase_add_test(tests, medium_is_for_who_is_bonded);
	tcase_add_test(tests, who_is_not_bonded_is_refused);
	tcase_add_loop_test(tests, others_need_no_bond, 0, 4);
	tcase_add_test(tests, without_bluetoothd_nobody_is_told_apart);
	tcase_add_test(tests, a_restart_of_bluetoothd_is_waited_for);
	tcase_add_test(tests, who_waits_for_its_bond_leaves_with_the_door);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
