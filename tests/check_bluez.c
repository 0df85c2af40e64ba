/* SPDX-License-Identifier: MIT */
/*
 * bluetoothd followed through everything that can happen to it and to the
 * bus, against a mock of it on a bus of our own; and the management socket's
 * exchange, byte for byte.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/event.h>

#include "bluez.h"
#include "error.h"
#include "log.h"
#include "log_lines.h"
#include "loop.h"
#include "mgmt.h"
#include "mock_bluez.h"

static struct loop *loop;
static struct mock mock;
static struct bluez *bluez;
static struct bluez_watcher watcher;
static unsigned int changes;

static void setup(void)
{
	log_set_level(getenv("V") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	mock_setup(&mock, loop);
	changes = 0;
}

static void stop(void)
{
	bluez_unwatch(&watcher);
	bluez_free(bluez);
	bluez = NULL;
}

static void teardown(void)
{
	stop();
	mock_teardown(&mock);
	loop_free(loop);
}

static void on_changed(struct bluez *changed, void *arg)
{
	ck_assert_ptr_eq(changed, bluez);
	changes++;
}

static void start(const struct bluez_settings *settings)
{
	static const struct bluez_settings any = {
		.is_reachable = true,
		.is_discoverable = true,
	};

	bluez = bluez_new(loop, settings ? settings : &any);
	ck_assert_ptr_nonnull(bluez);
	bluez_watch(bluez, &watcher, on_changed, NULL);
	/* Nothing is known before the loop ran. */
	ck_assert_int_eq(bluez_state(bluez), BLUEZ_STATE_NO_BUS);
	ck_assert_str_eq(bluez_reason(bluez), "");
}

static void run_until_state(enum bluez_state state)
{
	while (bluez_state(bluez) != state || !*bluez_reason(bluez))
		event_base_loop(loop->base, EVLOOP_ONCE);
}

static void start_all(const struct bluez_settings *settings)
{
	mock_bus_start(&mock, "");
	mock_daemon_start(&mock);
	start(settings);
	run_until_state(BLUEZ_STATE_READY);
}

/* ---- coming and going ------------------------------------------------------ */

START_TEST(test_no_bus)
{
	log_line_count = 0;
	start(NULL);
	run_until_state(BLUEZ_STATE_NO_BUS);
	ck_assert_uint_eq(log_count("bluez: starting -> no bus (the system bus "
				    "is not there"),
			  1);
	ck_assert_str_eq(bluez_reason(bluez), "the system bus is not there "
					      "(No such file or directory)");
	errno = 0;
	ck_assert_ptr_null(bluez_record_new(bluez, "<record/>", NULL, NULL));
	ck_assert_int_eq(errno, ENOTCONN);
	/* It is found by itself. */
	mock_bus_start(&mock, "");
	run_until_state(BLUEZ_STATE_NO_DAEMON);
}
END_TEST

static int listen_as_bus(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/bus",
		 mock.directory);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)),
			 0);
	ck_assert_int_eq(listen(fd, 5), 0);
	return fd;
}

/* What listens is no bus: the loop must not hang in its greeting. */
START_TEST(test_mute_bus)
{
	int fd = listen_as_bus();
	uint64_t begin = loop_now_ms();

	start(NULL);
	for (int i = 0; i < 10; i++)
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
	ck_assert_uint_lt(loop_now_ms() - begin, 2000);
	ck_assert_str_eq(bluez_reason(bluez), "");
	stop();
	close(fd);
}
END_TEST

/* As a bus does to a user that its system does not know. */
START_TEST(test_bus_hangs_up)
{
	int client, fd = listen_as_bus();

	start(NULL);
	while ((client = accept(fd, NULL, NULL)) < 0)
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
	/* With something unread: a reset. */
	while (recv(client, &(char){0}, 1, MSG_PEEK | MSG_DONTWAIT) < 1)
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
	close(client);
	run_until_state(BLUEZ_STATE_NO_BUS);
	ck_assert_ptr_nonnull(strstr(bluez_reason(bluez), "hung up on user"));
	ck_assert_ptr_nonnull(strstr(bluez_advice(bluez), "run as a user"));
	stop();
	close(fd);
}
END_TEST

START_TEST(test_no_daemon)
{
	mock_bus_start(&mock, "");
	start(NULL);
	run_until_state(BLUEZ_STATE_NO_DAEMON);
	ck_assert_str_eq(bluez_reason(bluez), "bluetoothd is not running");
	mock_daemon_start(&mock);
	run_until_state(BLUEZ_STATE_READY);
	mock_daemon_stop(&mock);
	run_until_state(BLUEZ_STATE_NO_DAEMON);
	mock_daemon_start(&mock);
	run_until_state(BLUEZ_STATE_READY);
}
END_TEST

START_TEST(test_bus_restart)
{
	start_all(NULL);
	mock_bus_stop(&mock);
	run_until_state(BLUEZ_STATE_NO_BUS);
	ck_assert_str_eq(bluez_reason(bluez),
			 "the system bus closed the connection");
	mock_daemon_stop(&mock);
	mock_bus_start(&mock, "");
	mock_daemon_start(&mock);
	run_until_state(BLUEZ_STATE_READY);
}
END_TEST

static int count_timers(const struct event_base *base,
			const struct event *event, void *arg)
{
	int *count = arg;

	*count += event_pending(event, EV_TIMEOUT, NULL) != 0;
	return 0;
}

START_TEST(test_idle_has_no_timer)
{
	int timers = 0;

	start_all(NULL);
	mock_tell(&mock, "adapter 0 1");
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 1");
	mock_tell(&mock, "power 0 1");
	/* The answers to all that was asked. */
	for (;;) {
		timers = 0;
		event_base_foreach_event(loop->base, count_timers, &timers);
		if (!timers)
			break;
		event_base_loop(loop->base, EVLOOP_ONCE);
	}
}
END_TEST

/* ---- records ---------------------------------------------------------------- */

struct answer {
	int count;
	int code;
	char text[ERROR_TEXT_BYTES];
	struct bluez_record *free_it;
};

static void on_answer(int code, const struct error *error, void *arg)
{
	struct answer *answer = arg;

	answer->count++;
	answer->code = code;
	snprintf(answer->text, sizeof(answer->text), "%s", error->text);
	bluez_record_free(answer->free_it);
	answer->free_it = NULL;
}

static void run_until_answers(const struct answer *answer, int count)
{
	while (answer->count < count)
		event_base_loop(loop->base, EVLOOP_ONCE);
	ck_assert_int_eq(answer->count, count);
}

static struct bluez_record *make_record(struct answer *answer)
{
	struct bluez_record *record = bluez_record_new(bluez, "<record/>",
						       on_answer, answer);

	ck_assert_ptr_nonnull(record);
	ck_assert_int_eq(answer->count, 0);
	return record;
}

START_TEST(test_record)
{
	struct answer first = {0}, second = {0};
	struct bluez_record *records[2];
	char path[2][64], uuid[2][64], rest[64], command[80], *report;
	struct address_uuid parsed;

	start_all(NULL);
	records[0] = make_record(&first);
	records[1] = make_record(&second);
	run_until_answers(&first, 1);
	run_until_answers(&second, 1);
	ck_assert_int_eq(first.code, 0);
	ck_assert_int_eq(second.code, 0);
	for (int i = 0; i < 2; i++) {
		report = mock_await(&mock, "register ");
		ck_assert_int_eq(sscanf(report, "register %63s %63s %63[^\n]",
					path[i], uuid[i], rest),
				 3);
		ck_assert_str_eq(rest, "server <record/>");
		ck_assert_int_eq(address_uuid_parse(uuid[i], &parsed, NULL), 0);
		ck_assert_int_eq(parsed.octets[6] >> 4, 4);
		ck_assert_int_eq(parsed.octets[8] >> 6, 2);
		free(report);
	}
	ck_assert_str_ne(path[0], path[1]);
	ck_assert_str_ne(uuid[0], uuid[1]);
	/* Connections are not bluetoothd's to bring. */
	snprintf(command, sizeof(command), "connect %s", path[0]);
	send(mock.control, command, strlen(command) + 1, 0);
	mock_expect(&mock, "answer org.bluez.Error.Rejected");
	bluez_record_free(records[0]);
	snprintf(command, sizeof(command), "unregister %s", path[0]);
	mock_expect(&mock, command);
	bluez_record_free(records[1]);
	ck_assert_int_eq(first.count, 1);
}
END_TEST

START_TEST(test_record_lost)
{
	struct answer answer = {0};

	start_all(NULL);
	answer.free_it = NULL;
	struct bluez_record *record = make_record(&answer);
	run_until_answers(&answer, 1);
	answer.free_it = record;
	if (_i == 0)
		mock_daemon_stop(&mock);
	else if (_i == 1)
		mock_daemon_quit(&mock);
	else
		mock_bus_stop(&mock);
	run_until_answers(&answer, 2);
	ck_assert_int_eq(answer.code, -ECONNRESET);
	run_until_state(_i == 2 ? BLUEZ_STATE_NO_BUS : BLUEZ_STATE_NO_DAEMON);
	ck_assert_int_eq(answer.count, 2);
}
END_TEST

/* Withdrawn before bluetoothd answered: it must still forget it. */
START_TEST(test_record_freed_early)
{
	struct answer answer = {0};

	start_all(NULL);
	bluez_record_free(make_record(&answer));
	mock_expect(&mock, "register ");
	mock_expect(&mock, "unregister ");
	ck_assert_int_eq(answer.count, 0);
}
END_TEST

START_TEST(test_record_refused)
{
	static const struct {
		const char *error;
		const char *words;
	} table[] = {
		{"org.bluez.Error.NotPermitted",
		 "bluetoothd says NotPermitted: the mock was told so"},
		{"org.freedesktop.DBus.Error.AccessDenied", "policy"},
		{"org.freedesktop.DBus.Error.UnknownMethod", "BlueZ 5"},
		{"org.freedesktop.DBus.Error.NoReply",
		 "bluetoothd does not answer"},
	};
	struct answer answer = {0};
	char command[128];
	struct bluez_record *record;

	start_all(NULL);
	snprintf(command, sizeof(command), "register-error %s",
		 table[_i].error);
	mock_tell(&mock, command);
	record = make_record(&answer);
	run_until_answers(&answer, 1);
	ck_assert_int_lt(answer.code, 0);
	ck_assert_msg(strstr(answer.text, table[_i].words), "%s", answer.text);
	bluez_record_free(record);
}
END_TEST

/* The bus itself says no. */
START_TEST(test_policy)
{
	struct answer answer = {0};

	mock_bus_start(&mock,
		       "<deny send_interface='org.bluez.ProfileManager1'/>");
	mock_daemon_start(&mock);
	start(NULL);
	run_until_state(BLUEZ_STATE_READY);
	answer.free_it = make_record(&answer);
	run_until_answers(&answer, 1);
	ck_assert_int_eq(answer.code, -EACCES);
	ck_assert_ptr_nonnull(strstr(answer.text, "policy forbids it"));
}
END_TEST

START_TEST(test_policy_of_everything)
{
	mock_bus_start(&mock, "<deny send_interface="
			      "'org.freedesktop.DBus.ObjectManager'/>");
	mock_daemon_start(&mock);
	start(NULL);
	run_until_state(BLUEZ_STATE_NO_DAEMON);
	ck_assert_ptr_nonnull(strstr(bluez_reason(bluez), "policy forbids it"));
	ck_assert_uint_le(changes, 1);
	/* Tried again, and the same again: no news. */
	mock_bus_stop(&mock);
	mock_daemon_stop(&mock);
	run_until_state(BLUEZ_STATE_NO_BUS);
}
END_TEST

/* ---- adapters ---------------------------------------------------------------- */

START_TEST(test_adapter_reachable)
{
	struct bluez_settings settings = {
		.is_reachable = true,
		.name = "Workshop",
		.is_discoverable = true,
	};

	mock_bus_start(&mock, "");
	mock_daemon_start(&mock);
	/* One is there already, one comes later. */
	mock_tell(&mock, "adapter 0 1");
	start(&settings);
	run_until_state(BLUEZ_STATE_READY);
	ck_assert_uint_eq(bluez_adapters_powered(bluez), 1);
	mock_expect(&mock, "set /org/bluez/hci0 Alias Workshop");
	mock_expect(&mock, "set /org/bluez/hci0 DiscoverableTimeout 0");
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 1");
	mock_tell(&mock, "adapter 1 0");
	ck_assert_uint_eq(bluez_adapters_powered(bluez), 1);
	mock_tell(&mock, "power 1 1");
	mock_expect(&mock, "set /org/bluez/hci1 Discoverable 1");
	ck_assert_uint_eq(bluez_adapters_powered(bluez), 2);
	/* Off and on again. */
	mock_tell(&mock, "power 0 0");
	mock_tell(&mock, "power 0 1");
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 1");
	/* Unplugged and plugged in again: all of it. */
	mock_tell(&mock, "remove 0");
	while (bluez_adapters_powered(bluez) != 1)
		event_base_loop(loop->base, EVLOOP_ONCE);
	mock_tell(&mock, "adapter 0 1");
	mock_expect(&mock, "set /org/bluez/hci0 Alias Workshop");
	mock_expect(&mock, "set /org/bluez/hci0 DiscoverableTimeout 0");
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 1");
	ck_assert_uint_eq(bluez_adapters_powered(bluez), 2);
	ck_assert_uint_gt(changes, 0);
}
END_TEST

START_TEST(test_adapter_after_restart)
{
	start_all(NULL);
	mock_tell(&mock, "adapter 0 1");
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 1");
	mock_daemon_quit(&mock);
	run_until_state(BLUEZ_STATE_NO_DAEMON);
	ck_assert_uint_eq(bluez_adapters_powered(bluez), 0);
	mock_daemon_start(&mock);
	mock_tell(&mock, "adapter 0 1");
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 1");
}
END_TEST

START_TEST(test_adapter_choice)
{
	struct bluez_settings settings = {
		.is_reachable = true,
		.is_discoverable = true,
	};

	ck_assert_int_eq(address_adapter_parse(_i ? "00:AA:01:01:00:01"
						  : "hci1",
					       &settings.adapter, NULL),
			 0);
	start_all(&settings);
	mock_tell(&mock, "adapter 0 1");
	mock_tell(&mock, "adapter 1 1");
	mock_expect(&mock, "set /org/bluez/hci1 Discoverable 1");
	ck_assert_uint_eq(bluez_adapters_powered(bluez), 1);
	ck_assert_ptr_null(mock_take(&mock, "set /org/bluez/hci0"));
}
END_TEST

static void on_time(evutil_socket_t fd, short what, void *arg)
{
	*(bool *)arg = true;
}

/*
 * What bluetoothd does as it starts is nobody's wish, nor is a limit that ran
 * out; a switch that was turned is.
 */
START_TEST(test_adapter_hidden)
{
	static const struct timeval settled = {.tv_sec = 5, .tv_usec = 100000};
	bool is_over = false;

	start_all(NULL);
	mock_tell(&mock, "adapter 0 1");
	mock_expect(&mock, "set /org/bluez/hci0 DiscoverableTimeout 0");
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 1");
	event_base_once(loop->base, -1, EV_TIMEOUT, on_time, &is_over,
			&settled);
	mock_tell(&mock, "hide 0 0");
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 1");
	while (!is_over)
		event_base_loop(loop->base, EVLOOP_ONCE);
	mock_tell(&mock, "hide 0 30");
	mock_expect(&mock, "set /org/bluez/hci0 DiscoverableTimeout 0");
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 1");
	mock_tell(&mock, "hide 0 0");
	/* Its reaction, if it had one, would be before this one's. */
	mock_tell(&mock, "adapter 1 1");
	mock_expect(&mock, "set /org/bluez/hci1 Discoverable 1");
	ck_assert_ptr_null(mock_take(&mock, "set /org/bluez/hci0"));
	/* What somebody else wished for is not ours to give back. */
	mock_tell(&mock, "show 0 0");
	stop();
	mock_expect(&mock, "set /org/bluez/hci1 Discoverable 0");
	mock_tell(&mock, "rest");
	ck_assert_ptr_null(mock_take(&mock, "set /org/bluez/hci0 Disc"
					    "overable "));
}
END_TEST

START_TEST(test_adapter_refuses)
{
	start_all(NULL);
	mock_tell(&mock, "set-error org.bluez.Error.Busy");
	mock_tell(&mock, "adapter 0 1");
	mock_expect(&mock, "refused /org/bluez/hci0 DiscoverableTimeout");
	mock_tell(&mock, "set-error none");
	mock_expect(&mock, "set /org/bluez/hci0 DiscoverableTimeout 0");
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 1");
}
END_TEST

/* Nothing is touched that nobody asked for. */
START_TEST(test_adapter_not_discoverable)
{
	struct bluez_settings settings = {
		.is_reachable = true,
		.name = "Quiet",
	};

	start_all(&settings);
	mock_tell(&mock, "adapter 0 1");
	mock_expect(&mock, "set /org/bluez/hci0 Alias Quiet");
	mock_tell(&mock, "register-error none");
	ck_assert_ptr_null(mock_take(&mock, "set "));
}
END_TEST

/* Who only dials out leaves this machine hidden. */
START_TEST(test_adapter_not_reachable)
{
	struct bluez_settings settings = {
		.name = "Workshop",
		.is_discoverable = true,
	};

	start_all(&settings);
	mock_tell(&mock, "adapter 0 0");
	mock_tell(&mock, "power 0 1");
	while (bluez_adapters_powered(bluez) != 1)
		event_base_loop(loop->base, EVLOOP_ONCE);
	mock_tell(&mock, "hide 0 30");
	/* An answer to what was asked would be among the reports now. */
	mock_tell(&mock, "set-error none");
	ck_assert_ptr_null(mock_take(&mock, "set "));
}
END_TEST

/* ---- giving back -------------------------------------------------------------- */

/* All that was set since the last time, in this order, each cut to its end. */
static void expect_sets(const char *expected)
{
	char sets[512] = "";
	char *report;

	mock_tell(&mock, "rest");
	while ((report = mock_take(&mock, "set /org/bluez/hci"))) {
		strcat(sets, report + strlen("set /org/bluez/hci"));
		strcat(sets, ", ");
		free(report);
	}
	ck_assert_str_eq(sets, expected);
}

static void start_discoverable(void)
{
	start_all(NULL);
	mock_tell(&mock, "adapter 0 1");
	mock_expect(&mock, "set /org/bluez/hci0 DiscoverableTimeout 0");
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 1");
}

START_TEST(test_given_back)
{
	start_discoverable();
	mock_tell(&mock, "adapter 1 1");
	mock_expect(&mock, "set /org/bluez/hci1 Discoverable 1");
	/* Off, it keeps it; and it is to be hidden when it is on again. */
	if (_i)
		mock_tell(&mock, "power 1 0");
	while (bluez_adapters_powered(bluez) != (_i ? 1 : 2))
		event_base_loop(loop->base, EVLOOP_ONCE);
	expect_sets("1 DiscoverableTimeout 0, ");
	stop();
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 0");
	mock_expect(&mock, "set /org/bluez/hci0 DiscoverableTimeout 180");
	expect_sets(_i ? "1 DiscoverableTimeout 180, "
		       : "1 Discoverable 0, 1 DiscoverableTimeout 180, ");
}
END_TEST

/* bluetoothd keeps over a restart what we changed, and so does a re-plug. */
START_TEST(test_given_back_after_restart)
{
	start_discoverable();
	if (_i) {
		mock_daemon_quit(&mock);
		run_until_state(BLUEZ_STATE_NO_DAEMON);
		mock_daemon_start(&mock);
	} else {
		mock_tell(&mock, "remove 0");
		while (bluez_adapters_powered(bluez))
			event_base_loop(loop->base, EVLOOP_ONCE);
	}
	mock_tell(&mock, "adapter 0 3");
	run_until_state(BLUEZ_STATE_READY);
	while (!bluez_adapters_powered(bluez))
		event_base_loop(loop->base, EVLOOP_ONCE);
	expect_sets("");
	stop();
	expect_sets("0 Discoverable 0, 0 DiscoverableTimeout 180, ");
}
END_TEST

/* What was so before stays; and what another program has changed since. */
START_TEST(test_not_ours_to_give_back)
{
	static const struct bluez_settings hidden = {.is_reachable = true};
	bool is_to_hide = _i == 2;
	char *report;

	start_all(is_to_hide ? &hidden : NULL);
	mock_tell(&mock, _i == 1 ? "adapter 0 1" : "adapter 0 3");
	if (_i == 1) {
		mock_expect(&mock, "set /org/bluez/hci0 Discoverable 1");
		mock_tell(&mock, "show 0 60");
	} else if (is_to_hide) {
		mock_expect(&mock, "set /org/bluez/hci0 Discoverable 0");
		mock_tell(&mock, "show 0 60");
	}
	mock_tell(&mock, "adapter 1 1");
	while (bluez_adapters_powered(bluez) != 2)
		event_base_loop(loop->base, EVLOOP_ONCE);
	mock_tell(&mock, "remove 1");
	while (bluez_adapters_powered(bluez) != 1)
		event_base_loop(loop->base, EVLOOP_ONCE);
	while ((report = mock_take(&mock, "set ")))
		free(report);
	stop();
	/* The limit is theirs, that it is to be seen at all was ours. */
	expect_sets(_i == 1 ? "0 Discoverable 0, " : "");
}
END_TEST

START_TEST(test_hidden_is_given_back)
{
	static const struct bluez_settings hidden = {.is_reachable = true};

	start_all(&hidden);
	mock_tell(&mock, "adapter 0 3");
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 0");
	stop();
	expect_sets("0 Discoverable 1, ");
}
END_TEST

/* What is asked and not answered yet may still be done. */
START_TEST(test_given_back_at_once)
{
	mock_bus_start(&mock, "");
	mock_daemon_start(&mock);
	mock_tell(&mock, "adapter 0 1");
	start(NULL);
	run_until_state(BLUEZ_STATE_READY);
	stop();
	/* How far it came is up to chance. */
	mock_expect(&mock, "set /org/bluez/hci0 DiscoverableTimeout 0");
	mock_tell(&mock, "look 0");
	mock_expect(&mock, "look: discoverable 0, limit 180,");
}
END_TEST

/* ---- other settings ------------------------------------------------------------ */

static void change(const struct bluez_settings *settings)
{
	ck_assert_int_eq(bluez_change(bluez, settings), 0);
	for (int i = 0; i < 20; i++)
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
}

START_TEST(test_changed)
{
	char *report;

	struct bluez_settings settings = {
		.is_reachable = true,
		.is_discoverable = true,
	};

	start_discoverable();
	expect_sets("");
	/* The same is nothing to do. */
	change(&settings);
	expect_sets("");
	settings.name = "Other";
	change(&settings);
	mock_expect(&mock, "set /org/bluez/hci0 Alias Other");
	settings.is_discoverable = false;
	change(&settings);
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 0");
	settings.is_discoverable = true;
	change(&settings);
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 1");
	while ((report = mock_take(&mock, "set ")))
		free(report);
	/* It was hidden before all of that. */
	stop();
	expect_sets("0 Discoverable 0, 0 DiscoverableTimeout 180, ");
}
END_TEST

/* What is not to be reachable any more is as it was. */
START_TEST(test_changed_to_others)
{
	struct bluez_settings settings = {
		.is_reachable = true,
		.is_discoverable = true,
	};

	start_discoverable();
	if (_i)
		settings.is_reachable = false;
	else
		ck_assert_int_eq(address_adapter_parse("hci1",
						       &settings.adapter, NULL),
				 0);
	change(&settings);
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 0");
	mock_expect(&mock, "set /org/bluez/hci0 DiscoverableTimeout 180");
	ck_assert_uint_eq(bluez_adapters_powered(bluez), _i ? 1 : 0);
	/* And back. */
	settings = (struct bluez_settings){
		.is_reachable = true,
		.is_discoverable = true,
	};
	change(&settings);
	mock_expect(&mock, "set /org/bluez/hci0 DiscoverableTimeout 0");
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 1");
	stop();
	expect_sets("0 Discoverable 0, 0 DiscoverableTimeout 180, ");
}
END_TEST

/*
 * It is not waited for long, nor is there an end without bluetoothd; and what
 * stays as it was made is told of.
 */
START_TEST(test_nobody_to_give_back)
{
	static const char *const said[] = {
		"as discoverable as it was before: bluetoothd does not answer",
		"as discoverable as it was before: bluetoothd cannot be asked",
		"the adapter may not be as discoverable as it was before: ",
		"it cannot be made as discoverable as it was before: ",
		"as discoverable as it was before: bluetoothd cannot be asked",
	};
	uint64_t begin_ms;

	log_line_count = 0;
	start_discoverable();
	/* It has answered; whether that was read is all the same. */
	mock_tell(&mock, "rest");
	if (_i == 0)
		kill(mock.daemon, SIGSTOP);
	else if (_i == 1)
		mock_daemon_stop(&mock);
	else if (_i == 2 || _i == 4)
		mock_bus_stop(&mock);
	else
		mock_tell(&mock, "set-error org.bluez.Error.Busy");
	if (_i == 4)
		run_until_state(BLUEZ_STATE_NO_BUS);
	begin_ms = loop_now_ms();
	stop();
	ck_assert(log_has(said[_i]));
	ck_assert_uint_lt(loop_now_ms() - begin_ms, _i == 0 ? 3000 : 900);
	if (_i == 0) {
		kill(mock.daemon, SIGCONT);
		mock_expect(&mock, "set /org/bluez/hci0 Discoverable 0");
	} else if (_i == 3) {
		mock_expect(&mock, "refused /org/bluez/hci0 Discoverable");
		mock_expect(&mock, "refused /org/bluez/hci0 "
				   "DiscoverableTimeout");
	}
}
END_TEST

/* ---- watching --------------------------------------------------------------- */

struct other_watcher {
	struct bluez_watcher watcher;
	unsigned int changes;
	bool is_to_free;
};

static void on_other_changed(struct bluez *changed, void *arg)
{
	struct other_watcher *other = arg;

	other->changes++;
	if (!other->is_to_free)
		return;
	bluez_unwatch(&other->watcher);
	stop();
}

START_TEST(test_watchers)
{
	struct other_watcher others[2] = {{.changes = 0}};

	mock_bus_start(&mock, "");
	start(NULL);
	bluez_watch(bluez, &others[0].watcher, on_other_changed, &others[0]);
	bluez_watch(bluez, &others[1].watcher, on_other_changed, &others[1]);
	bluez_unwatch(&others[1].watcher);
	bluez_unwatch(&others[1].watcher);
	while (!others[0].changes)
		event_base_loop(loop->base, EVLOOP_ONCE);
	ck_assert_int_eq(bluez_state(bluez), BLUEZ_STATE_NO_DAEMON);
	ck_assert_uint_gt(changes, 0);
	/* The last one is told of the next change, and takes all of it away. */
	others[0].is_to_free = true;
	mock_bus_stop(&mock);
	while (bluez)
		event_base_loop(loop->base, EVLOOP_ONCE);
	ck_assert_uint_eq(others[0].changes, 2);
	ck_assert_uint_eq(others[1].changes, 0);
}
END_TEST

/* ---- the management socket ----------------------------------------------------- */

static void on_mgmt(int code, const struct error *error, void *arg)
{
	on_answer(code, error, arg);
}

/* READ_INFO's answer for hci3, with the given settings in byte 22. */
#define INFO(settings)                                                  \
	"\x01\x00\x03\x00\x1b\x01\x04\x00\x00"                          \
	"\x06\x05\x04\x03\x02\x01\x0c\xf1\x05\xff\xff\x00\x00" settings \
	"\x00\x00\x00"
#define READ_INFO "\x04\x00\x03\x00\x00\x00"
#define SET_CONNECTABLE "\x07\x00\x03\x00\x01\x00\x01"
/* News for everybody: index 5 was added; and another's answer. */
#define NOISE "\x04\x00\x05\x00\x00\x00"
#define OTHERS "\x02\x00\x04\x00\x03\x00\x04\x00\x14"

struct exchange {
	const char *text; /* ours if odd, the kernel's if even */
	size_t bytes;
};

#define SAY(literal)                         \
	{                                    \
		literal, sizeof(literal) - 1 \
	}

static const struct {
	struct exchange steps[8];
	int code;
} exchanges[] = {
	{{SAY(READ_INFO), SAY(INFO("\x81")), SAY(SET_CONNECTABLE),
	  SAY("\x01\x00\x03\x00\x07\x00\x07\x00\x00\x83\x00\x00\x00")},
	 0},
	/* Somebody did it already: then it needs no privilege. */
	{{SAY(READ_INFO), SAY(INFO("\x83"))}, 0},
	{{SAY(READ_INFO), SAY(INFO("\x81")), SAY(SET_CONNECTABLE),
	  SAY("\x02\x00\x03\x00\x03\x00\x07\x00\x14")},
	 -EPERM},
	{{SAY(READ_INFO), SAY("\x02\x00\x03\x00\x03\x00\x04\x00\x11")}, -EIO},
	/* Cut short: no settings to be read. */
	{{SAY(READ_INFO), SAY("\x01\x00\x03\x00\x03\x00\x04\x00\x00"),
	  SAY(SET_CONNECTABLE), SAY("\x02\x00\x03\x00\x03\x00\x07\x00\x0c")},
	 -EIO},
};

START_TEST(test_mgmt)
{
	const struct exchange *steps = exchanges[_i].steps;
	struct answer answer = {0};
	struct mgmt_call *call;
	uint8_t got[64];
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0,
				    ends),
			 0);
	call = mgmt_call_new(loop, ends[0], 3, on_mgmt, &answer);
	ck_assert_ptr_nonnull(call);
	for (int i = 0; steps[i].text; i += 2) {
		ck_assert_int_eq(recv(ends[1], got, sizeof(got), 0),
				 (int)steps[i].bytes);
		ck_assert_mem_eq(got, steps[i].text, steps[i].bytes);
		send(ends[1], NOISE, sizeof(NOISE) - 1, 0);
		send(ends[1], OTHERS, sizeof(OTHERS) - 1, 0);
		send(ends[1], steps[i + 1].text, steps[i + 1].bytes, 0);
		for (int turn = 0; turn < 3; turn++)
			event_base_loop(loop->base, EVLOOP_ONCE);
	}
	run_until_answers(&answer, 1);
	ck_assert_int_eq(answer.code, exchanges[_i].code);
	mgmt_call_free(call);
	close(ends[1]);
}
END_TEST

START_TEST(test_mgmt_closed)
{
	struct answer answer = {0};
	struct mgmt_call *call;
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0,
				    ends),
			 0);
	call = mgmt_call_new(loop, ends[0], 0, on_mgmt, &answer);
	ck_assert_ptr_nonnull(call);
	close(ends[1]);
	run_until_answers(&answer, 1);
	ck_assert_int_eq(answer.code, -EIO);
	mgmt_call_free(call);
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

static void on_news(void *arg)
{
	unsigned int *count = arg;

	++*count;
}

static int news_fds[2], refused_opens;

/* In the place of mgmt_open. */
static int open_news(void)
{
	if (refused_opens) {
		refused_opens--;
		return -EMFILE;
	}
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0,
				    news_fds),
			 0);
	return news_fds[0];
}

static int open_nothing(void)
{
	return -EAFNOSUPPORT;
}

START_TEST(test_mgmt_news)
{
	/* Added, removed, switched; and what is of no interest, and half of it. */
	static const struct exchange news[] = {
		SAY(NOISE),
		SAY("\x05\x00\x05\x00\x00\x00"),
		SAY("\x06\x00\x03\x00\x04\x00\x01\x00\x00\x00"),
		SAY(OTHERS),
		SAY("\x04\x00\x05"),
	};
	struct mgmt_watch *watch;
	unsigned int count = 0;

	ck_assert_ptr_null(mgmt_watch_new(loop, open_nothing, on_news, &count));
	ck_assert_int_eq(errno, EAFNOSUPPORT);
	watch = mgmt_watch_new(loop, open_news, on_news, &count);
	ck_assert_ptr_nonnull(watch);
	for (int i = 0; i < COUNT(news); i++) {
		send(news_fds[1], news[i].text, news[i].bytes, 0);
		event_base_loop(loop->base, EVLOOP_ONCE);
	}
	ck_assert_uint_eq(count, 3);
	/* The end is no news; that there is another one is. */
	log_line_count = 0;
	close(news_fds[1]);
	event_base_loop(loop->base, EVLOOP_ONCE);
	ck_assert_uint_eq(count, 3);
	ck_assert(log_has("the kernel's management socket broke"));
	while (count < 4)
		event_base_loop(loop->base, EVLOOP_ONCE);
	ck_assert(log_has("tells of adapters now"));
	send(news_fds[1], news[0].text, news[0].bytes, 0);
	while (count < 5)
		event_base_loop(loop->base, EVLOOP_ONCE);
	ck_assert_int_eq(log_line_count, 2);
	/* It has worked: that it breaks is told again. */
	close(news_fds[1]);
	event_base_loop(loop->base, EVLOOP_ONCE);
	ck_assert_uint_eq(log_count("socket broke"), 2);
	mgmt_watch_free(watch);
}
END_TEST

/* When the only timer there is has its time. */
static int timer_end(const struct event_base *base, const struct event *event,
		     void *arg)
{
	struct timeval end;

	if (event_pending(event, EV_TIMEOUT, &end))
		*(struct timeval *)arg = end;
	return 0;
}

/* None at first, and then one that never says anything. */
START_TEST(test_mgmt_without_news)
{
	struct mgmt_watch *watch;
	struct timeval begin, end = {0};
	unsigned int count = 0;

	log_line_count = 0;
	refused_opens = 1;
	watch = mgmt_watch_new(loop, open_news, on_news, &count);
	ck_assert_ptr_nonnull(watch);
	ck_assert(log_has("the kernel's management socket cannot be had: Too "
			  "many open files"));
	ck_assert_int_eq(log_level_of("cannot be had"), LOG_LEVEL_WARNING);
	while (count < 1)
		event_base_loop(loop->base, EVLOOP_ONCE);
	ck_assert(log_has("tells of adapters now"));
	gettimeofday(&begin, NULL);
	close(news_fds[1]);
	event_base_loop(loop->base, EVLOOP_ONCE);
	/* Not a line each second for as long as that goes on. */
	ck_assert_int_eq(log_level_of("broke again"), LOG_LEVEL_DEBUG);
	event_base_foreach_event(loop->base, timer_end, &end);
	timersub(&end, &begin, &end);
	ck_assert_int_ge(end.tv_sec * 1000 + end.tv_usec / 1000, 1500);
	mgmt_watch_free(watch);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("bluez");
	TCase *tcase = tcase_create("bluez");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_no_bus);
	tcase_add_test(tcase, test_mute_bus);
	tcase_add_test(tcase, test_bus_hangs_up);
	tcase_add_test(tcase, test_no_daemon);
	tcase_add_test(tcase, test_bus_restart);
	tcase_add_test(tcase, test_idle_has_no_timer);
	tcase_add_test(tcase, test_record);
	tcase_add_loop_test(tcase, test_record_lost, 0, 3);
	tcase_add_test(tcase, test_record_freed_early);
	tcase_add_loop_test(tcase, test_record_refused, 0, 4);
	tcase_add_test(tcase, test_policy);
	tcase_add_test(tcase, test_policy_of_everything);
	tcase_add_test(tcase, test_adapter_reachable);
	tcase_add_test(tcase, test_adapter_after_restart);
	tcase_add_loop_test(tcase, test_adapter_choice, 0, 2);
	tcase_add_test(tcase, test_adapter_hidden);
	tcase_add_test(tcase, test_adapter_refuses);
	tcase_add_test(tcase, test_adapter_not_discoverable);
	tcase_add_test(tcase, test_adapter_not_reachable);
	tcase_add_loop_test(tcase, test_given_back, 0, 2);
	tcase_add_loop_test(tcase, test_given_back_after_restart, 0, 2);
	tcase_add_loop_test(tcase, test_not_ours_to_give_back, 0, 3);
	tcase_add_test(tcase, test_hidden_is_given_back);
	tcase_add_test(tcase, test_given_back_at_once);
	tcase_add_test(tcase, test_changed);
	tcase_add_loop_test(tcase, test_changed_to_others, 0, 2);
	tcase_add_loop_test(tcase, test_nobody_to_give_back, 0, 5);
	tcase_add_test(tcase, test_watchers);
	tcase_add_loop_test(tcase, test_mgmt, 0, COUNT(exchanges));
	tcase_add_test(tcase, test_mgmt_closed);
	tcase_add_test(tcase, test_mgmt_news);
	tcase_add_test(tcase, test_mgmt_without_news);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
