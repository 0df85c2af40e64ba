/* SPDX-License-Identifier: MIT */
/*
 * Dialling a remote device without one: what bluetoothd and the device's SDP
 * server would say is said here, by the functions that remote.c calls, and its
 * links are sockets in the file system, or the errors that a test lists.
 */
#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/event.h>

#include "address_endpoint.h"
#include "bluez.h"
#include "endpoint.h"
#include "error.h"
#include "loop.h"
#include "remote.h"
#include "sdp_query.h"
#include "socket.h"

#define DEVICE "00:11:22:33:44:55"

/* ---- the device's SDP server ------------------------------------------------- */

struct sdp_query {
	struct loop_task task;
	sdp_query_done_cb done;
	void *arg;
};

static struct loop *loop;
static struct sdp_service_found records[4];
static size_t record_count;
static int sdp_codes[8]; /* of the first queries; then there is an answer */
static unsigned int sdp_asked;
static bool sdp_is_silent;
static struct sdp_query *sdp_pending;

static void sdp_answer(void *arg)
{
	struct sdp_query *query = arg;
	const struct sdp_query copy = *query;
	struct error error = {"the device said something odd"};
	int code = sdp_codes[sdp_asked - 1];

	sdp_pending = NULL;
	free(query);
	if (code)
		copy.done(code, NULL, 0, &error, copy.arg);
	else
		copy.done(0, records, record_count, NULL, copy.arg);
}

struct sdp_query *sdp_query_new(struct loop *the_loop,
				const struct address_bluetooth *adapter,
				const struct address_bluetooth *device,
				const struct address_uuid *uuid,
				sdp_query_done_cb done, void *arg)
{
	struct sdp_query *query = calloc(1, sizeof(*query));

	ck_assert_ptr_nonnull(query);
	ck_assert_ptr_null(sdp_pending);
	ck_assert_int_eq(address_uuid_short(uuid), 0x1101);
	query->task.run = sdp_answer;
	query->task.arg = query;
	query->done = done;
	query->arg = arg;
	sdp_pending = query;
	sdp_asked++;
	ck_assert_uint_le(sdp_asked, 8);
	if (!sdp_is_silent)
		loop_defer(loop, &query->task);
	return query;
}

void sdp_query_cancel(struct sdp_query *query)
{
	if (!query)
		return;
	loop_cancel(loop, &query->task);
	sdp_pending = NULL;
	free(query);
}

/* ---- bluetoothd ------------------------------------------------------------------- */

struct bluez_lookup {
	struct loop_task task;
	bluez_lookup_cb done;
	void *arg;
};

static struct address_bluetooth device;
static const char *paired_name;
static int lookup_code;
static bool lookup_is_silent;
static struct bluez_lookup *lookup_pending;
static const struct address_adapter *own_adapter; /* the route's */

static void lookup_answer(void *arg)
{
	struct bluez_lookup *lookup = arg;
	const struct bluez_lookup copy = *lookup;
	struct error error = {"nobody is called so"};

	lookup_pending = NULL;
	free(lookup);
	copy.done(lookup_code, lookup_code ? NULL : &device, &error, copy.arg);
}

/* Of the route's own adapter, and not of those that are made reachable. */
struct bluez_lookup *bluez_lookup_new(struct bluez *bluez,
				      const struct address_adapter *choice,
				      const struct address_device *target,
				      bluez_lookup_cb done, void *arg)
{
	struct bluez_lookup *lookup = calloc(1, sizeof(*lookup));

	ck_assert_ptr_nonnull(lookup);
	ck_assert_ptr_eq(choice, own_adapter);
	lookup->task.run = lookup_answer;
	lookup->task.arg = lookup;
	lookup->done = done;
	lookup->arg = arg;
	lookup_pending = lookup;
	if (!lookup_is_silent)
		loop_defer(loop, &lookup->task);
	return lookup;
}

void bluez_lookup_cancel(struct bluez_lookup *lookup)
{
	if (!lookup)
		return;
	loop_cancel(loop, &lookup->task);
	lookup_pending = NULL;
	free(lookup);
}

const char *bluez_paired_name(const struct bluez *bluez,
			      const struct address_adapter *choice,
			      const struct address_bluetooth *address)
{
	ck_assert_ptr_eq(choice, own_adapter);
	return paired_name;
}

static const struct address_bluetooth *adapter_of_device;

bool bluez_adapter_of(const struct bluez *bluez,
		      const struct address_adapter *choice,
		      const struct address_bluetooth *address,
		      struct address_bluetooth *adapter)
{
	ck_assert_ptr_eq(choice, own_adapter);
	ck_assert_mem_eq(address, &device, sizeof(device));
	if (adapter_of_device)
		*adapter = *adapter_of_device;
	return adapter_of_device;
}

static enum bluez_state bluez_is = BLUEZ_STATE_READY;

enum bluez_state bluez_state(const struct bluez *bluez)
{
	return bluez_is;
}

/* ---- the links ---------------------------------------------------------------------- */

static int open_codes[8]; /* of the first attempts; then it connects */
static unsigned int opened;
static uint16_t opened_port;
static struct address_bluetooth opened_adapter;
static struct sockaddr_un listening;
static int listen_fd;

static int link_open(const struct remote *remote,
		     const struct address_bluetooth *adapter,
		     const struct address_bluetooth *to_device, uint16_t port,
		     struct sockaddr_storage *to, socklen_t *to_bytes)
{
	int code = opened < 8 ? open_codes[opened] : 0;

	ck_assert(!memcmp(to_device, &device, sizeof(device)));
	opened++;
	opened_port = port;
	opened_adapter = *adapter;
	if (code)
		return code;
	memcpy(to, &listening, sizeof(listening));
	*to_bytes = sizeof(listening);
	return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static const struct stream_ops link_ops = {
	.read = socket_read,
	.write = socket_write,
	.close = socket_close,
};

static struct stream *link_stream(const struct remote *remote, int fd,
				  const char *peer)
{
	return socket_stream_new(&link_ops, fd, peer);
}

static struct remote_ops remote_ops = {
	.protocol = SDP_FOUND_PROTOCOL_RFCOMM,
	.port_word = "channel",
	.open = link_open,
	.stream = link_stream,
};

/* ---- a dial ---------------------------------------------------------------------------- */

static const struct target_ops target_ops = {.dial = remote_dial};
static struct remote remote;
static struct endpoint_settings settings;
static struct dial *dial;
static struct stream *stream;
static struct error error;
static int code;
static bool is_done;

static void dialled(struct stream *the_stream, int the_code,
		    const struct error *the_error, void *arg)
{
	ck_assert(!is_done);
	ck_assert(!the_stream == !!the_code);
	is_done = true;
	dial = NULL;
	stream = the_stream;
	code = the_code;
	error = *the_error;
}

/* A target for the endpoint as a person writes it. */
static void target_is(const char *text)
{
	struct address_endpoint address;
	struct error why = {""};

	remote_clear(&remote);
	memset(&remote, 0, sizeof(remote));
	ck_assert_msg(address_endpoint_parse(text, ENDPOINT_ROLE_CONNECT,
					     &address, &why) == 0,
		      "%s", why.text);
	ck_assert_int_eq(remote_init(&remote, &remote_ops, loop, &address,
				     &address.rfcomm.device,
				     address.rfcomm.channel,
				     &address.rfcomm.service, &settings, &why),
			 0);
	remote.target.ops = &target_ops;
	own_adapter = &remote.adapter;
	address_endpoint_clear(&address);
}

static void start(const char *text)
{
	target_is(text);
	is_done = false;
	dial = target_dial(&remote.target, dialled, NULL);
	ck_assert_ptr_nonnull(dial);
	ck_assert(!is_done);
}

static void await_done(void)
{
	while (!is_done)
		event_base_loop(loop->base, EVLOOP_ONCE);
}

/* Whatever can happen without time passing has happened. */
static void settle(void)
{
	for (int i = 0; i < 10; i++)
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
}

static void call(const char *text)
{
	start(text);
	await_done();
}

static void expect_stream(const char *peer)
{
	ck_assert_msg(stream != NULL, "%s", error.text);
	ck_assert_str_eq(stream->peer, peer);
	stream_close(stream, STREAM_CLOSE_ORDERLY);
	stream = NULL;
}

static void expect_failure(int the_code, const char *words)
{
	ck_assert_ptr_null(stream);
	ck_assert_int_eq(code, the_code);
	ck_assert_msg(strstr(error.text, words) != NULL, "no '%s' in: %s",
		      words, error.text);
}

static struct sdp_service_found *record(const char *uuid, int protocol,
					uint16_t port)
{
	struct sdp_service_found *found = &records[record_count++];

	found->class_count = 1;
	ck_assert_int_eq(address_uuid_parse(uuid, &found->classes[0], NULL), 0);
	found->protocol = (enum sdp_found_protocol)protocol;
	found->port = port;
	return found;
}

static void setup(void)
{
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	ck_assert_int_eq(address_bluetooth_parse(DEVICE, &device, NULL), 0);
	listening.sun_family = AF_UNIX;
	/* In the abstract namespace: nothing to clean up. */
	snprintf(listening.sun_path + 1, sizeof(listening.sun_path) - 1,
		 "btgate-check-remote-%d", (int)getpid());
	listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(listen_fd, (struct sockaddr *)&listening,
			      sizeof(listening)),
			 0);
	ck_assert_int_eq(listen(listen_fd, 8), 0);
	/* Never looked into: only that there is one. */
	settings.bluez = (struct bluez *)loop;
}

static void teardown(void)
{
	dial_cancel(dial);
	ck_assert_ptr_null(sdp_pending);
	ck_assert_ptr_null(lookup_pending);
	remote_clear(&remote);
	close(listen_fd);
	loop_free(loop);
}

/* ---- what is dialled ---------------------------------------------------------------------- */

START_TEST(a_channel)
{
	call("rfcomm:" DEVICE "/7");
	expect_stream(DEVICE);
	/* It is one thing: who comes second is refused. */
	ck_assert_uint_eq(remote.target.sessions_max, 1);
	ck_assert_uint_eq(opened_port, 7);
	ck_assert_uint_eq(sdp_asked, 0);
	ck_assert_str_eq(remote.target.name, "rfcomm:" DEVICE "/7");
}
END_TEST

START_TEST(a_device_by_name)
{
	call("rfcomm:\"HC-05\"/7");
	expect_stream("HC-05 (" DEVICE ")");
}
END_TEST

START_TEST(a_paired_device_is_called_by_its_name)
{
	paired_name = "Barometer \x1b[31m mit einem sehr langen Namen";
	call("rfcomm:" DEVICE "/7");
	expect_stream("Barometer ?[31m mit einem sehr lan (" DEVICE ")");
	/* Between two characters, not inside one. */
	paired_name = "123456789012345678901234567890123\xc3\xa4";
	call("rfcomm:" DEVICE "/7");
	expect_stream("123456789012345678901234567890123 (" DEVICE ")");
}
END_TEST

/* SDP finds a UUID anywhere: the profile list, another attribute. */
START_TEST(the_service_whose_class_it_is)
{
	record("1105", SDP_FOUND_PROTOCOL_RFCOMM, 5);
	record("1101", SDP_FOUND_PROTOCOL_RFCOMM, 7);
	record("1101", SDP_FOUND_PROTOCOL_RFCOMM, 9);
	call("rfcomm:" DEVICE);
	expect_stream(DEVICE);
	ck_assert_uint_eq(opened_port, 7);
}
END_TEST

START_TEST(a_channel_that_moves_between_dials)
{
	record("1101", SDP_FOUND_PROTOCOL_RFCOMM, 7);
	call("rfcomm:" DEVICE);
	expect_stream(DEVICE);
	records[0].port = 8;
	is_done = false;
	dial = target_dial(&remote.target, dialled, NULL);
	await_done();
	expect_stream(DEVICE);
	ck_assert_uint_eq(opened_port, 8);
	ck_assert_uint_eq(sdp_asked, 2);
}
END_TEST

START_TEST(a_psm_that_stands_beside_a_channel)
{
	remote_ops.protocol = SDP_FOUND_PROTOCOL_L2CAP;
	record("1101", SDP_FOUND_PROTOCOL_RFCOMM, 7)->goep_psm = 0x1003;
	call("rfcomm:" DEVICE);
	expect_stream(DEVICE);
	ck_assert_uint_eq(opened_port, 0x1003);
}
END_TEST

/* ---- what fails at once --------------------------------------------------------------------- */

START_TEST(no_such_service)
{
	record("1105", SDP_FOUND_PROTOCOL_RFCOMM, 5);
	call("rfcomm:" DEVICE);
	expect_failure(-ENOENT, DEVICE " has no service 0x1101 now; 'btgate "
				       "services " DEVICE "'");
	ck_assert_uint_eq(opened, 0);
}
END_TEST

START_TEST(a_service_by_another_protocol)
{
	record("1101", SDP_FOUND_PROTOCOL_L2CAP, 0x1001);
	call("rfcomm:" DEVICE);
	expect_failure(-ENOENT, "but not by a channel");
}
END_TEST

/* Being paired already, or not, is as good a hint as the refusal itself. */
static const struct {
	const char *paired_name;
	enum bluez_state bluez_is;
	const char *by_channel;
	const char *by_service;
} refusals[] = {
	{NULL, BLUEZ_STATE_READY,
	 DEVICE " refuses channel 7: it is not paired, and may want to be "
		"('btgate pair " DEVICE "'); or nothing listens there "
		"('btgate services " DEVICE "' shows what does)",
	 DEVICE " says that its service is on channel 7 and refuses that: it "
		"is not paired, and may want to be ('btgate pair " DEVICE
		"'); or its program is not running"},
	{"HC-05", BLUEZ_STATE_READY,
	 "HC-05 (" DEVICE ") refuses channel 7: nothing listens there ('btgate "
	 "services " DEVICE "' shows what does)",
	 "HC-05 (" DEVICE ") says that its service is on channel 7 and refuses "
	 "that: its program is not running"},
	{NULL, BLUEZ_STATE_NO_DAEMON,
	 DEVICE
	 " refuses channel 7: nothing listens there ('btgate services " DEVICE
	 "' shows what does), or it wants to be paired first "
	 "('btgate pair " DEVICE "')",
	 DEVICE " says that its service is on channel 7 and refuses that: its "
		"program is not running, or it wants to be paired first "
		"('btgate pair " DEVICE "')"},
};

START_TEST(refused)
{
	paired_name = refusals[_i].paired_name;
	bluez_is = refusals[_i].bluez_is;
	open_codes[0] = -ECONNREFUSED;
	call("rfcomm:" DEVICE "/7");
	expect_failure(-ECONNREFUSED, refusals[_i].by_channel);
	ck_assert_uint_eq(opened, 1);
}
END_TEST

START_TEST(refused_where_the_record_said_it_is)
{
	paired_name = refusals[_i].paired_name;
	bluez_is = refusals[_i].bluez_is;
	record("1101", SDP_FOUND_PROTOCOL_RFCOMM, 7);
	open_codes[0] = -ECONNREFUSED;
	call("rfcomm:" DEVICE);
	expect_failure(-ECONNREFUSED, refusals[_i].by_service);
}
END_TEST

/* By its number as an endpoint has it. */
START_TEST(a_psm_that_is_refused)
{
	record("1101", SDP_FOUND_PROTOCOL_L2CAP, 0x1001);
	remote_ops.protocol = SDP_FOUND_PROTOCOL_L2CAP;
	remote_ops.port_word = "PSM";
	open_codes[0] = -ECONNREFUSED;
	call("rfcomm:" DEVICE);
	expect_failure(-ECONNREFUSED, "its service is on PSM 0x1001 and");
}
END_TEST

START_TEST(without_a_common_key)
{
	open_codes[0] = -EACCES;
	open_codes[1] = -EBADE;
	for (unsigned int i = 1; i <= 2; i++) {
		call("rfcomm:" DEVICE "/7");
		expect_failure(-EACCES, "'btgate pair " DEVICE "'");
		ck_assert_uint_eq(opened, i);
	}
	sdp_codes[0] = -EACCES;
	call("rfcomm:" DEVICE);
	expect_failure(-EACCES, "'btgate pair " DEVICE "'");
}
END_TEST

/* Not in the virtual radio: no check here runs where there is an adapter. */
START_TEST(without_an_adapter)
{
	open_codes[0] = -EHOSTUNREACH;
	call("rfcomm:" DEVICE "/7");
	expect_failure(-EADDRNOTAVAIL, "no Bluetooth adapter");
	ck_assert_int_eq(address_adapter_parse("00:AA:00:00:00:99",
					       &settings.adapter, NULL),
			 0);
	call("rfcomm:" DEVICE "/7");
	expect_failure(-EADDRNOTAVAIL, "the adapter 00:AA:00:00:00:99 is not");
	ck_assert_int_eq(address_adapter_parse("hci7", &settings.adapter, NULL),
			 0);
	call("rfcomm:" DEVICE "/7");
	expect_failure(-EADDRNOTAVAIL, "hci7 is not there");
	ck_assert_uint_eq(opened, 1);
}
END_TEST

/* Left to itself the kernel takes the first one, which may not know it. */
START_TEST(a_device_that_one_adapter_knows)
{
	const struct address_bluetooth any = {0};
	struct address_bluetooth second;

	address_bluetooth_parse("00:1A:7D:DA:71:14", &second, NULL);
	adapter_of_device = _i ? &second : NULL;
	call("rfcomm:\"HC-05\"/7");
	expect_stream("HC-05 (" DEVICE ")");
	ck_assert_mem_eq(&opened_adapter, _i ? &second : &any, sizeof(second));
}
END_TEST

START_TEST(a_name_that_nobody_has)
{
	lookup_code = -ENODEV;
	call("rfcomm:\"HC-05\"/7");
	expect_failure(-ENODEV, "nobody is called so");
	settings.bluez = NULL;
	call("rfcomm:\"HC-05\"/7");
	expect_failure(-ENOTCONN, "give the device's address");
}
END_TEST

START_TEST(an_answer_that_cannot_be_read)
{
	sdp_codes[0] = -EPROTO;
	call("rfcomm:" DEVICE);
	expect_failure(-EPROTO, "the device said something odd");
	ck_assert_uint_eq(sdp_asked, 1);
}
END_TEST

START_TEST(no_bluetooth_in_this_kernel)
{
	struct address_endpoint address;
	struct target *target;
	int fd = socket(AF_BLUETOOTH, SOCK_STREAM | SOCK_CLOEXEC, 3);

	if (fd >= 0) {
		close(fd);
		return;
	}
	ck_assert_int_eq(address_endpoint_parse("rfcomm:" DEVICE,
						ENDPOINT_ROLE_CONNECT, &address,
						NULL),
			 0);
	code = target_open(loop, &address, &settings, &target, &error);
	address_endpoint_clear(&address);
	ck_assert(code == -EAFNOSUPPORT || code == -EPROTONOSUPPORT);
	ck_assert_ptr_null(target);
	ck_assert_ptr_nonnull(strstr(error.text, "--network host"));
}
END_TEST

/* ---- what passes ------------------------------------------------------------------------------ */

START_TEST(busy_after_a_close)
{
	record("1101", SDP_FOUND_PROTOCOL_RFCOMM, 7);
	open_codes[0] = open_codes[1] = -EBUSY;
	call("rfcomm:" DEVICE);
	expect_stream(DEVICE);
	ck_assert_uint_eq(opened, 3);
	/* The channel was right; nobody needs to be asked again. */
	ck_assert_uint_eq(sdp_asked, 1);
}
END_TEST

START_TEST(what_is_down_for_a_moment_is_asked_again)
{
	record("1101", SDP_FOUND_PROTOCOL_RFCOMM, 7);
	sdp_codes[0] = -EHOSTDOWN;
	open_codes[0] = -ECONNRESET;
	call("rfcomm:" DEVICE);
	expect_stream(DEVICE);
	ck_assert_uint_eq(sdp_asked, 3);
	ck_assert_uint_eq(opened, 2);
}
END_TEST

START_TEST(pauses_grow)
{
	uint64_t begin_ms = loop_now_ms();

	for (int i = 0; i < 4; i++)
		open_codes[i] = -EHOSTDOWN;
	call("rfcomm:" DEVICE "/7");
	expect_stream(DEVICE);
	/* 50, 100, 200, 400 */
	ck_assert_uint_ge(loop_now_ms() - begin_ms, 745);
	ck_assert_uint_eq(opened, 5);
}
END_TEST

START_TEST(a_permanent_failure_after_a_passing_one)
{
	open_codes[0] = -EBUSY;
	open_codes[1] = -ECONNREFUSED;
	call("rfcomm:" DEVICE "/7");
	expect_failure(-ECONNREFUSED, "refuses channel 7");
}
END_TEST

/* ---- who gives up ------------------------------------------------------------------------------- */

static void expect_delay(const char *text)
{
	struct error delay = {"it is late"};

	dial_explain(dial, &delay);
	ck_assert_str_eq(delay.text, text);
}

START_TEST(why_it_takes_so_long)
{
	for (int i = 0; i < 8; i++)
		open_codes[i] = -EHOSTDOWN;
	start("rfcomm:" DEVICE "/7");
	while (opened < 3)
		event_base_loop(loop->base, EVLOOP_ONCE);
	expect_delay("it is late: " DEVICE
		     " does not answer: it is off, out of range, or talks to "
		     "another machine (tried 3 times)");
}
END_TEST

START_TEST(given_up_while_it_is_looked_for)
{
	lookup_is_silent = true;
	start("rfcomm:\"HC-05\"/7");
	expect_delay("it is late: it was still being looked for");
	settle();
	ck_assert_ptr_nonnull(lookup_pending);
	expect_delay("it is late: it was still being looked for");
}
END_TEST

START_TEST(given_up_while_it_is_asked)
{
	sdp_is_silent = true;
	start("rfcomm:" DEVICE);
	settle();
	ck_assert_ptr_nonnull(sdp_pending);
	expect_delay("it is late: " DEVICE
		     " had not said which services it has");
}
END_TEST

START_TEST(given_up_before_it_began)
{
	start("rfcomm:" DEVICE "/7");
	dial_cancel(dial);
	dial = NULL;
	settle();
	ck_assert_uint_eq(opened, 0);
}
END_TEST

START_TEST(given_up_while_it_connects)
{
	char late[200];

	/* Its queue is full: it says so at once, and that passes. */
	ck_assert_int_eq(listen(listen_fd, 0), 0);
	call("rfcomm:" DEVICE "/7");
	opened = 0;
	start("rfcomm:" DEVICE "/7");
	settle();
	ck_assert(!is_done);
	/* On a slow machine the first pause may be over already. */
	snprintf(late, sizeof(late),
		 "it is late: cannot connect to " DEVICE
		 ", channel 7: Resource temporarily unavailable (tried %u "
		 "time%s)",
		 opened, opened == 1 ? "" : "s");
	expect_delay(late);
	dial_cancel(dial);
	dial = NULL;
	settle();
	ck_assert(!is_done);
	stream_close(stream, STREAM_CLOSE_ORDERLY);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("remote");
	TCase *tests = tcase_create("dial");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, a_channel);
	tcase_add_test(tests, a_device_by_name);
	tcase_add_test(tests, a_paired_device_is_called_by_its_name);
	tcase_add_test(tests, the_service_whose_class_it_is);
	tcase_add_test(tests, a_channel_that_moves_between_dials);
	tcase_add_test(tests, a_psm_that_stands_beside_a_channel);
	tcase_add_test(tests, no_such_service);
	tcase_add_test(tests, a_service_by_another_protocol);
	tcase_add_loop_test(tests, refused, 0, 3);
	tcase_add_loop_test(tests, refused_where_the_record_said_it_is, 0, 3);
	tcase_add_test(tests, a_psm_that_is_refused);
	tcase_add_test(tests, without_a_common_key);
	tcase_add_test(tests, without_an_adapter);
	tcase_add_loop_test(tests, a_device_that_one_adapter_knows, 0, 2);
	tcase_add_test(tests, a_name_that_nobody_has);
	tcase_add_test(tests, an_answer_that_cannot_be_read);
	tcase_add_test(tests, no_bluetooth_in_this_kernel);
	tcase_add_test(tests, busy_after_a_close);
	tcase_add_test(tests, what_is_down_for_a_moment_is_asked_again);
	tcase_add_test(tests, pauses_grow);
	tcase_add_test(tests, a_permanent_failure_after_a_passing_one);
	tcase_add_test(tests, why_it_takes_so_long);
	tcase_add_test(tests, given_up_while_it_is_looked_for);
	tcase_add_test(tests, given_up_while_it_is_asked);
	tcase_add_test(tests, given_up_before_it_began);
	tcase_add_test(tests, given_up_while_it_connects);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
