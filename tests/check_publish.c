/* SPDX-License-Identifier: MIT */
/*
 * Records put up by whichever way is open, and put up again when it closes:
 * a mock bluetoothd on a bus of our own, and a mock of its local SDP server.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/event.h>

#include "bluez.h"
#include "log.h"
#include "loop.h"
#include "mock_bluez.h"
#include "publish.h"
#include "sdp.h"

static struct loop *loop;
static struct mock mock;
static struct bluez *bluez;
static struct bluez_watcher watcher;
static struct publisher *publisher;
static unsigned int adapter_news;

/* ---- the mock of the local SDP server ------------------------------------ */

#define SDP_CLIENTS 8

enum sdp_manner {
	SDP_MANNER_ACCEPT,
	SDP_MANNER_REFUSE,
	SDP_MANNER_SPLIT, /* the answer in two pieces */
	SDP_MANNER_MUTE,
};

static struct {
	char path[64];
	enum sdp_manner manner;
	int listener;
	struct event *accept_event;
	int clients[SDP_CLIENTS];
	struct event *events[SDP_CLIENTS];
	int count; /* ever accepted */
	int requests;
	int gone; /* clients that left */
	uint8_t request[512];
	size_t request_bytes;
	int rest_fd;
	struct event *rest_timer;
} server;

static const uint8_t yes[] = {0x76, 0, 1, 0, 4, 0, 1, 0, 8};

static void on_rest(evutil_socket_t fd, short what, void *arg)
{
	send(server.rest_fd, yes + 3, sizeof(yes) - 3, MSG_NOSIGNAL);
	event_free(server.rest_timer);
}

static void on_request(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval soon = {.tv_usec = 20000};
	static const uint8_t no[] = {0x01, 0, 1, 0, 2, 0, 3};
	struct event *event = server.events[(intptr_t)arg];
	ssize_t bytes = recv(fd, server.request, sizeof(server.request),
			     MSG_DONTWAIT);

	if (bytes <= 0) {
		server.gone++;
		event_del(event);
		return;
	}
	server.requests++;
	server.request_bytes = (size_t)bytes;
	switch (server.manner) {
	case SDP_MANNER_ACCEPT:
		send(fd, yes, sizeof(yes), MSG_NOSIGNAL);
		break;
	case SDP_MANNER_REFUSE:
		send(fd, no, sizeof(no), MSG_NOSIGNAL);
		break;
	case SDP_MANNER_SPLIT:
		send(fd, yes, 3, MSG_NOSIGNAL);
		server.rest_fd = fd;
		server.rest_timer = event_new(loop->base, -1, 0, on_rest, NULL);
		event_add(server.rest_timer, &soon);
		break;
	case SDP_MANNER_MUTE:
		break;
	}
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	int n = server.count++;

	ck_assert_int_lt(n, SDP_CLIENTS);
	server.clients[n] = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(server.clients[n], 0);
	server.events[n] = event_new(loop->base, server.clients[n],
				     EV_READ | EV_PERSIST, on_request,
				     (void *)(intptr_t)n);
	event_add(server.events[n], NULL);
}

static void server_start(enum sdp_manner manner)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	server.manner = manner;
	strcpy(address.sun_path, server.path);
	unlink(server.path);
	server.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(server.listener, (struct sockaddr *)&address,
			      sizeof(address)),
			 0);
	/* As small as bluetoothd's. */
	ck_assert_int_eq(listen(server.listener, 5), 0);
	server.accept_event = event_new(loop->base, server.listener,
					EV_READ | EV_PERSIST, on_accept, NULL);
	event_add(server.accept_event, NULL);
}

/* As bluetoothd does it: its sockets close, the path stays. */
static void server_stop(void)
{
	if (!server.accept_event)
		return;
	event_free(server.accept_event);
	server.accept_event = NULL;
	close(server.listener);
	for (int i = 0; i < server.count; i++) {
		event_free(server.events[i]);
		close(server.clients[i]);
	}
	server.count = 0;
}

/* ---- the tests' own ------------------------------------------------------- */

static void setup(void)
{
	log_set_level(getenv("V") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	mock_setup(&mock, loop);
	memset(&server, 0, sizeof(server));
	snprintf(server.path, sizeof(server.path), "%s/sdp", mock.directory);
	adapter_news = 0;
}

static void teardown(void)
{
	publisher_free(publisher);
	publisher = NULL;
	bluez_unwatch(&watcher);
	bluez_free(bluez);
	bluez = NULL;
	server_stop();
	mock_teardown(&mock);
	loop_free(loop);
}

static void on_bluez(struct bluez *unused, void *arg)
{
	adapter_news++;
}

static void start(void)
{
	static const struct bluez_settings settings = {
		.is_reachable = true,
		.is_discoverable = true,
	};

	bluez = bluez_new(loop, &settings);
	ck_assert_ptr_nonnull(bluez);
	publisher = publisher_new(loop, bluez);
	ck_assert_ptr_nonnull(publisher);
	bluez_watch(bluez, &watcher, on_bluez, NULL);
	publisher_set_sdp_path(publisher, server.path);
}

struct watched {
	struct publication *publication;
	int changes;
	enum publication_state state;
	char detail[1024];
	bool is_to_free;
};

static void on_changed(struct publication *publication,
		       enum publication_state state, const char *detail,
		       void *arg)
{
	struct watched *watched = arg;

	ck_assert_ptr_eq(publication, watched->publication);
	watched->changes++;
	watched->state = state;
	snprintf(watched->detail, sizeof(watched->detail), "%s", detail);
	if (watched->is_to_free) {
		publication_free(publication);
		watched->publication = NULL;
	}
}

static void publish(struct watched *watched, uint16_t channel)
{
	struct sdp_service service = {
		.protocol = SERVICE_PROTOCOL_RFCOMM,
		.port = channel,
		.name = "console",
	};

	ck_assert_int_eq(address_uuid_parse("spp", &service.uuid, NULL), 0);
	watched->publication = publication_new(publisher, &service, on_changed,
					       watched);
	ck_assert_ptr_nonnull(watched->publication);
	ck_assert_int_eq(watched->changes, 0);
}

static void run_until(struct watched *watched, enum publication_state state)
{
	while (watched->state != state || !watched->changes)
		event_base_loop(loop->base, EVLOOP_ONCE);
}

static void assert_has(const char *text, const char *part)
{
	ck_assert_msg(strstr(text, part), "\"%s\" is not in: %s", part, text);
}

/* ---- bluetoothd -------------------------------------------------------------- */

START_TEST(test_bus)
{
	struct watched one = {0}, two = {0};
	char *report;

	mock_bus_start(&mock, "");
	mock_daemon_start(&mock);
	start();
	publish(&one, 22);
	publish(&two, 5);
	run_until(&one, PUBLICATION_STATE_UP);
	run_until(&two, PUBLICATION_STATE_UP);
	assert_has(one.detail, "bluetoothd on D-Bus");
	report = mock_await(&mock, "register ");
	assert_has(report, "<uint8 value=\"0x16\"/>");
	assert_has(report, "<text value=\"console\"/>");
	free(report);
	report = mock_await(&mock, "register ");
	assert_has(report, "<uint8 value=\"0x05\"/>");
	free(report);
	publication_free(one.publication);
	mock_expect(&mock, "unregister ");
	publication_free(two.publication);
	mock_expect(&mock, "unregister ");
}
END_TEST

/* More records than the bus lets one connection have unanswered. */
#define MANY 30

static struct watched many[MANY];

static void publish_many(const char *policy)
{
	char limited[512];

	snprintf(limited, sizeof(limited),
		 "%s</policy><limit name='max_replies_per_connection'>20"
		 "</limit><policy context='default'>",
		 policy);
	mock_bus_start(&mock, limited);
	mock_daemon_start(&mock);
	start();
	memset(many, 0, sizeof(many));
	for (uint16_t i = 0; i < MANY; i++)
		publish(&many[i], (uint16_t)(i + 1));
}

static void free_many(void)
{
	for (int i = 0; i < MANY; i++)
		publication_free(many[i].publication);
}

START_TEST(test_bus_many)
{
	publish_many("");
	run_until(&many[0], PUBLICATION_STATE_ASKED);
	/* One that was asked for, and one that waits for its turn. */
	for (int i = 0; i < MANY; i += MANY - 1) {
		publication_free(many[i].publication);
		many[i].publication = NULL;
	}
	for (int i = 1; i < MANY - 1; i++) {
		run_until(&many[i], PUBLICATION_STATE_UP);
		ck_assert_int_le(many[i].changes, 2); /* asked, and up */
	}
	free_many();
}
END_TEST

START_TEST(test_bus_many_restart)
{
	publish_many("");
	run_until(&many[0], PUBLICATION_STATE_ASKED);
	ck_assert_int_eq(many[MANY - 1].changes, 0); /* has no turn yet */
	mock_daemon_stop(&mock);
	mock_daemon_start(&mock);
	for (int i = 0; i < MANY; i++)
		run_until(&many[i], PUBLICATION_STATE_UP);
	free_many();
}
END_TEST

/* Each is told, also the last one: retries of the first come behind it. */
START_TEST(test_bus_refuses_many)
{
	publish_many("<deny send_interface='org.bluez.ProfileManager1'/>");
	for (int i = 0; i < MANY; i++)
		run_until(&many[i], PUBLICATION_STATE_WAITING);
	free_many();
}
END_TEST

/* bluetoothd restarts, by SIGKILL, by SIGTERM, with the bus. */
START_TEST(test_bus_restart)
{
	struct watched one = {0};

	mock_bus_start(&mock, "");
	mock_daemon_start(&mock);
	start();
	publish(&one, 22);
	run_until(&one, PUBLICATION_STATE_UP);
	if (_i == 1) {
		mock_daemon_quit(&mock);
	} else {
		if (_i == 2)
			mock_bus_stop(&mock);
		mock_daemon_stop(&mock);
	}
	run_until(&one, PUBLICATION_STATE_WAITING);
	if (_i == 2)
		mock_bus_start(&mock, "");
	mock_daemon_start(&mock);
	mock_expect(&mock, "register ");
	run_until(&one, PUBLICATION_STATE_UP);
	publication_free(one.publication);
}
END_TEST

/* Released without ending: a daemon that is not as it should be. */
START_TEST(test_bus_release)
{
	struct watched one = {0};

	mock_bus_start(&mock, "");
	mock_daemon_start(&mock);
	start();
	publish(&one, 22);
	run_until(&one, PUBLICATION_STATE_UP);
	mock_expect(&mock, "register ");
	mock_tell(&mock, "release");
	run_until(&one, PUBLICATION_STATE_WAITING);
	mock_expect(&mock, "register ");
	run_until(&one, PUBLICATION_STATE_UP);
	publication_free(one.publication);
}
END_TEST

/* Refused there, so by the other way; it stays where it is then. */
START_TEST(test_bus_refuses)
{
	struct watched one = {0};

	mock_bus_start(&mock,
		       "<deny send_interface='org.bluez.ProfileManager1'/>");
	mock_daemon_start(&mock);
	server_start(SDP_MANNER_ACCEPT);
	start();
	publish(&one, 22);
	run_until(&one, PUBLICATION_STATE_UP);
	assert_has(one.detail, "local SDP server");
	publication_free(one.publication);
}
END_TEST

START_TEST(test_bus_refuses_and_nothing_else)
{
	struct watched one = {0};
	int changes;

	mock_bus_start(&mock, "");
	mock_daemon_start(&mock);
	mock_tell(&mock, "register-error org.bluez.Error.NotPermitted");
	start();
	publish(&one, 22);
	run_until(&one, PUBLICATION_STATE_WAITING);
	assert_has(one.detail, "bluetoothd says NotPermitted");
	mock_expect(&mock, "register ");
	/* The retry that fails the same way is no news. */
	changes = one.changes;
	mock_expect(&mock, "register ");
	mock_tell(&mock, "register-error none");
	ck_assert_int_eq(one.changes, changes);
	mock_expect(&mock, "register ");
	run_until(&one, PUBLICATION_STATE_UP);
	publication_free(one.publication);
}
END_TEST

/* ---- neither ------------------------------------------------------------------ */

START_TEST(test_neither)
{
	struct watched one = {0};

	start();
	publish(&one, 22);
	run_until(&one, PUBLICATION_STATE_WAITING);
	assert_has(one.detail, "the system bus is not there (No such file or "
			       "directory)");
	assert_has(one.detail, "no local SDP server");
	assert_has(one.detail, "sdp: No such file or directory");
	assert_has(one.detail, "channel 22 by number");
	assert_has(one.detail, "systemctl start");
	ck_assert_int_eq(one.changes, 1);
	/* The bus comes, then bluetoothd. */
	mock_bus_start(&mock, "");
	while (!strstr(one.detail, "bluetoothd is not running"))
		event_base_loop(loop->base, EVLOOP_ONCE);
	assert_has(one.detail, "'systemctl start bluetooth'");
	mock_daemon_start(&mock);
	run_until(&one, PUBLICATION_STATE_UP);
	assert_has(one.detail, "D-Bus");
	publication_free(one.publication);
}
END_TEST

START_TEST(test_stale_socket)
{
	struct watched one = {0};

	server_start(SDP_MANNER_ACCEPT);
	server_stop();
	start();
	publish(&one, 22);
	run_until(&one, PUBLICATION_STATE_WAITING);
	assert_has(one.detail, "has ended");
	assert_has(one.detail, "Connection refused");
	server_start(SDP_MANNER_ACCEPT);
	run_until(&one, PUBLICATION_STATE_UP);
	publication_free(one.publication);
}
END_TEST

START_TEST(test_forbidden_socket)
{
	struct watched one = {0};

	if (geteuid() == 0)
		ck_assert_int_eq(seteuid(65534), 0);
	/* mkdtemp's directory was made by another, or is closed to us. */
	chmod(mock.directory, 0);
	start();
	publish(&one, 22);
	run_until(&one, PUBLICATION_STATE_WAITING);
	assert_has(one.detail, "does not let us in (Permission denied)");
	assert_has(one.detail, "local SDP server is for root only");
	publication_free(one.publication);
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
	chmod(mock.directory, 0700);
}
END_TEST

/* ---- the local SDP server ------------------------------------------------------- */

/* SDP_SVC_REGISTER_REQ, transaction 1, then flags 0 and the record. */
START_TEST(test_local)
{
	static const uint8_t begin[] = {0x75, 0, 1, 0, 0x49, 0, 0x35, 0x46};
	struct watched one = {0};

	server_start(_i ? SDP_MANNER_SPLIT : SDP_MANNER_ACCEPT);
	start();
	publish(&one, 22);
	run_until(&one, PUBLICATION_STATE_UP);
	assert_has(one.detail, "local SDP server");
	assert_has(one.detail, server.path);
	ck_assert_int_eq(server.requests, 1);
	ck_assert_mem_eq(server.request, begin, 4);
	ck_assert_uint_eq(server.request[4], server.request_bytes - 5);
	ck_assert_mem_eq(server.request + 5, begin + 5, 2);
	ck_assert_mem_eq(server.request + server.request_bytes - 7, "console",
			 7);
	publication_free(one.publication);
	while (!server.gone)
		event_base_loop(loop->base, EVLOOP_ONCE);
}
END_TEST

/* More records than the backlog holds, each on its own connection. */
START_TEST(test_local_many)
{
	struct watched all[SDP_CLIENTS] = {{0}};

	server_start(SDP_MANNER_ACCEPT);
	start();
	for (uint16_t i = 0; i < SDP_CLIENTS; i++)
		publish(&all[i], (uint16_t)(i + 1));
	for (int i = 0; i < SDP_CLIENTS; i++) {
		run_until(&all[i], PUBLICATION_STATE_UP);
		ck_assert_int_eq(all[i].changes, 1);
	}
	ck_assert_int_eq(server.requests, SDP_CLIENTS);
	for (int i = 0; i < SDP_CLIENTS; i++)
		publication_free(all[i].publication);
}
END_TEST

START_TEST(test_local_restart)
{
	struct watched one = {0};

	server_start(SDP_MANNER_ACCEPT);
	start();
	publish(&one, 22);
	run_until(&one, PUBLICATION_STATE_UP);
	server_stop();
	run_until(&one, PUBLICATION_STATE_WAITING);
	server_start(SDP_MANNER_ACCEPT);
	run_until(&one, PUBLICATION_STATE_UP);
	ck_assert_int_eq(server.requests, 2);
	publication_free(one.publication);
}
END_TEST

START_TEST(test_local_refuses)
{
	struct watched one = {0};

	server_start(SDP_MANNER_REFUSE);
	start();
	publish(&one, 22);
	run_until(&one, PUBLICATION_STATE_WAITING);
	assert_has(one.detail, "refuses the record");
	publication_free(one.publication);
}
END_TEST

/* bluetoothd appears on the bus: what is up stays, and is not up twice. */
START_TEST(test_local_stays)
{
	struct watched one = {0};
	unsigned int news;

	server_start(SDP_MANNER_ACCEPT);
	mock_bus_start(&mock, "");
	start();
	publish(&one, 22);
	run_until(&one, PUBLICATION_STATE_UP);
	news = adapter_news;
	mock_daemon_start(&mock);
	mock_tell(&mock, "adapter 0 1");
	while (adapter_news == news || !bluez_adapters_powered(bluez))
		event_base_loop(loop->base, EVLOOP_ONCE);
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 1");
	ck_assert_ptr_null(mock_take(&mock, "register "));
	ck_assert_int_eq(one.state, PUBLICATION_STATE_UP);
	/* Lost here, it goes there. */
	server_stop();
	mock_expect(&mock, "register ");
	publication_free(one.publication);
}
END_TEST

/* bluetoothd appears while the other owes its answer, which then is a no. */
START_TEST(test_local_fails_late)
{
	struct watched one = {0};

	server_start(SDP_MANNER_MUTE);
	mock_bus_start(&mock, "");
	start();
	publish(&one, 22);
	while (!server.requests)
		event_base_loop(loop->base, EVLOOP_ONCE);
	mock_daemon_start(&mock);
	while (bluez_state(bluez) != BLUEZ_STATE_READY)
		event_base_loop(loop->base, EVLOOP_ONCE);
	ck_assert_int_eq(one.changes, 0);
	server_stop();
	while (!one.changes)
		event_base_loop(loop->base, EVLOOP_ONCE);
	/* Nor was it said that bluetoothd had refused it. */
	ck_assert_int_ne(one.state, PUBLICATION_STATE_WAITING);
	mock_expect(&mock, "register ");
	run_until(&one, PUBLICATION_STATE_UP);
	publication_free(one.publication);
}
END_TEST

/* ---- lifetimes ------------------------------------------------------------------- */

START_TEST(test_free_in_callback)
{
	struct watched one = {.is_to_free = true}, two = {.is_to_free = true};

	if (_i) {
		mock_bus_start(&mock, "");
		mock_daemon_start(&mock);
	}
	start();
	publish(&one, 22);
	publish(&two, 23);
	while (!one.changes || !two.changes)
		event_base_loop(loop->base, EVLOOP_ONCE);
	ck_assert_ptr_null(one.publication);
}
END_TEST

START_TEST(test_free_at_once)
{
	struct watched one = {0}, two = {0};

	server_start(SDP_MANNER_ACCEPT);
	start();
	publish(&one, 22);
	publish(&two, 23);
	publication_free(one.publication);
	run_until(&two, PUBLICATION_STATE_UP);
	ck_assert_int_eq(one.changes, 0);
	ck_assert_int_eq(server.requests, 1);
	publication_free(two.publication);
}
END_TEST

START_TEST(test_nothing_to_publish)
{
	start();
	while (!adapter_news)
		event_base_loop(loop->base, EVLOOP_ONCE);
}
END_TEST

START_TEST(test_wrong_service)
{
	struct sdp_service service = {
		.protocol = SERVICE_PROTOCOL_RFCOMM,
		.port = 31,
		.name = "x",
	};

	start();
	errno = 0;
	ck_assert_ptr_null(
		publication_new(publisher, &service, on_changed, NULL));
	ck_assert_int_eq(errno, EINVAL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("publish");
	TCase *tcase = tcase_create("publish");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 30);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_bus);
	tcase_add_test(tcase, test_bus_many);
	tcase_add_test(tcase, test_bus_many_restart);
	tcase_add_test(tcase, test_bus_refuses_many);
	tcase_add_loop_test(tcase, test_bus_restart, 0, 3);
	tcase_add_test(tcase, test_bus_release);
	tcase_add_test(tcase, test_bus_refuses);
	tcase_add_test(tcase, test_bus_refuses_and_nothing_else);
	tcase_add_test(tcase, test_neither);
	tcase_add_test(tcase, test_stale_socket);
	tcase_add_test(tcase, test_forbidden_socket);
	tcase_add_loop_test(tcase, test_local, 0, 2);
	tcase_add_test(tcase, test_local_many);
	tcase_add_test(tcase, test_local_restart);
	tcase_add_test(tcase, test_local_refuses);
	tcase_add_test(tcase, test_local_stays);
	tcase_add_test(tcase, test_local_fails_late);
	tcase_add_loop_test(tcase, test_free_in_callback, 0, 2);
	tcase_add_test(tcase, test_free_at_once);
	tcase_add_test(tcase, test_nothing_to_publish);
	tcase_add_test(tcase, test_wrong_service);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
