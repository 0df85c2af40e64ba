/* SPDX-License-Identifier: MIT */
/*
 * Devices by name and by search, through everything that bluetoothd can do
 * meanwhile: against a mock of it on a bus of our own.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "address_device.h"
#include "bluez.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "mock_bluez.h"

static struct loop *loop;
static struct mock mock;
static struct bluez *bluez;
static struct address_adapter choice; /* whose devices are meant */

static void setup(void)
{
	log_set_level(getenv("V") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	mock_setup(&mock, loop);
}

static void teardown(void)
{
	bluez_free(bluez);
	bluez = NULL;
	mock_teardown(&mock);
	loop_free(loop);
}

static void turn(void)
{
	event_base_loop(loop->base, EVLOOP_ONCE);
}

static void start(const char *adapter)
{
	struct bluez_settings settings = {0};

	if (adapter)
		ck_assert_int_eq(address_adapter_parse(adapter,
						       &settings.adapter, NULL),
				 0);
	choice = settings.adapter;
	bluez = bluez_new(loop, &settings);
	ck_assert_ptr_nonnull(bluez);
}

static void choose(const char *adapter)
{
	ck_assert_int_eq(address_adapter_parse(adapter, &choice, NULL), 0);
}

static void run_until_ready(void)
{
	while (bluez_state(bluez) != BLUEZ_STATE_READY)
		turn();
}

/* A bluetoothd with one adapter that is on. */
static void start_daemon(void)
{
	mock_bus_start(&mock, "");
	mock_daemon_start(&mock);
	mock_tell(&mock, "adapter 0 1");
}

static void restart_daemon(void)
{
	mock_daemon_stop(&mock);
	mock_daemon_start(&mock);
	mock_tell(&mock, "adapter 0 1");
}

/* What was reported up to now, and not that something may be one day. */
static bool has_report(const char *prefix)
{
	char *report;
	bool is_there;

	mock_tell(&mock, "rest");
	report = mock_take(&mock, prefix);
	is_there = report;
	free(report);
	return is_there;
}

static void assert_has(const char *text, const char *part)
{
	ck_assert_msg(strstr(text, part), "\"%s\" is not in: %s", part, text);
}

/* ---- looking up ------------------------------------------------------------ */

struct asked {
	struct bluez_lookup *lookup;
	int answers;
	int code;
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES];
	char text[ERROR_TEXT_BYTES];
	bool is_to_free_all;
};

static void on_done(int code, const struct address_bluetooth *address,
		    const struct error *error, void *arg)
{
	struct asked *asked = arg;

	asked->lookup = NULL;
	asked->answers++;
	asked->code = code;
	snprintf(asked->text, sizeof(asked->text), "%s", error->text);
	ck_assert_int_eq(code == 0, address != NULL);
	if (address)
		address_bluetooth_format(address, asked->address);
	else
		ck_assert_str_ne(asked->text, "");
	if (asked->is_to_free_all) {
		bluez_free(bluez);
		bluez = NULL;
	}
}

static void ask(struct asked *asked, const char *text)
{
	struct address_device target = {0};
	char name[256];

	memset(asked, 0, sizeof(*asked));
	if (address_bluetooth_parse(text, &target.address, NULL)) {
		snprintf(name, sizeof(name), "%s", text);
		target.name = name;
	}
	asked->lookup = bluez_lookup_new(bluez, &choice, &target, on_done,
					 asked);
	ck_assert_ptr_nonnull(asked->lookup);
	ck_assert_int_eq(asked->answers, 0);
}

static void run_until_answer(const struct asked *asked)
{
	while (!asked->answers)
		turn();
	ck_assert_int_eq(asked->answers, 1);
}

static void assert_found(const struct asked *asked, const char *address)
{
	run_until_answer(asked);
	ck_assert_msg(asked->code == 0, "%s", asked->text);
	ck_assert_str_eq(asked->address, address);
}

static void assert_failed(const struct asked *asked, int code, const char *text)
{
	run_until_answer(asked);
	ck_assert_msg(asked->code == code, "%d: %s", asked->code, asked->text);
	assert_has(asked->text, text);
}

/* What bluetoothd knows already needs no search. */
START_TEST(test_known)
{
	static const struct {
		const char *name;
		const char *address;
	} table[] = {
		/* Paired comes before a stranger of that name. */
		{"HC-05", "10:00:00:00:00:02"},
		/* And even before one whose name is more alike. */
		{"hc-05", "10:00:00:00:00:02"},
		{"scale", "10:00:00:00:00:04"},
		{"SCALE", "10:00:00:00:00:04"},
		/* The name that it was given here, and its own. */
		{"gate", "10:00:00:00:00:05"},
		{"BT-0815", "10:00:00:00:00:05"},
		/* One that is not the only one but for its case. */
		{"Sensor", "10:00:00:00:00:07"},
	};
	struct asked asked;

	start_daemon();
	mock_tell(&mock, "device 0 1 known HC-05");
	mock_tell(&mock, "device 0 2 paired HC-05");
	mock_tell(&mock, "device 0 3 known hc-05");
	mock_tell(&mock, "device 0 4 known scale");
	mock_tell(&mock, "device 0 5 known BT-0815");
	mock_tell(&mock, "alias 0 5 gate");
	mock_tell(&mock, "device 0 6 known sensor");
	mock_tell(&mock, "device 0 7 known Sensor");
	mock_tell(&mock, "device 0 8 le scale");
	mock_tell(&mock, "device 0 9 known");
	start(NULL);
	/* Asked before bluetoothd was heard of; and after. */
	for (int i = 0; i < 2; i++) {
		ask(&asked, table[_i].name);
		assert_found(&asked, table[_i].address);
	}
	ck_assert(!has_report("start "));
}
END_TEST

START_TEST(test_ambiguous)
{
	char command[64];
	struct asked asked;

	start_daemon();
	mock_tell(&mock, "device 0 1 paired HC-05");
	mock_tell(&mock, "device 0 2 paired HC-05");
	mock_tell(&mock, "device 0 3 known HC-05");
	for (int i = 4; i < 13; i++) {
		snprintf(command, sizeof(command), "device 0 %d known printer",
			 i);
		mock_tell(&mock, command);
	}
	mock_tell(&mock, "device 0 13 paired Lamp");
	mock_tell(&mock, "device 0 14 paired LAMP");
	start(NULL);
	ask(&asked, "HC-05");
	assert_failed(&asked, -ENOTUNIQ,
		      "2 paired devices are called 'HC-05'; use the address of "
		      "one of them: 10:00:00:00:00:0");
	assert_has(asked.text, " 10:00:00:00:00:01");
	assert_has(asked.text, " 10:00:00:00:00:02");
	ck_assert_ptr_null(strstr(asked.text, "00:03"));
	ask(&asked, "printer");
	assert_failed(&asked, -ENOTUNIQ, "9 unpaired devices are called");
	assert_has(asked.text, " and 1 more");
	ask(&asked, "lamp");
	assert_failed(&asked, -ENOTUNIQ, "2 paired devices are called 'lamp'");
	ck_assert(!has_report("start "));
}
END_TEST

/* The same device, known to both adapters, is one. */
START_TEST(test_two_adapters)
{
	struct asked asked;

	start_daemon();
	mock_tell(&mock, "adapter 1 1");
	mock_tell(&mock, "device 1 2 paired there");
	start(_i ? "hci1" : NULL);
	run_until_ready();
	mock_tell(&mock, "crowd 0 1 1");
	mock_tell(&mock, "crowd 1 1 1");
	ask(&asked, "stranger");
	assert_found(&asked, "20:00:00:00:00:01");
	ask(&asked, "there");
	assert_found(&asked, "10:00:00:00:01:02");
}
END_TEST

/*
 * Whatever is made reachable: who dials from an adapter means a device of that
 * one, not the namesake that another is paired with, and searches with it, also
 * when it comes only then.
 */
START_TEST(test_own_adapter)
{
	static const char *const settings[] = {NULL, "hci0", "hci1"};
	struct asked asked;

	start_daemon();
	mock_tell(&mock, "adapter 1 1");
	mock_tell(&mock, "device 0 1 paired HC-05");
	mock_tell(&mock, "device 1 2 known HC-05");
	start(settings[_i]);
	choose("hci1");
	ask(&asked, "HC-05");
	assert_found(&asked, "10:00:00:00:01:02");
	ck_assert(!has_report("start "));
	ask(&asked, "printer");
	mock_expect(&mock, "start /org/bluez/hci1");
	mock_tell(&mock, "device 0 3 known printer");
	mock_tell(&mock, "remove 1");
	mock_tell(&mock, "adapter 1 0");
	mock_tell(&mock, "power 1 1");
	mock_expect(&mock, "start /org/bluez/hci1");
	ck_assert_int_eq(asked.answers, 0);
	mock_tell(&mock, "device 1 4 paired printer");
	assert_found(&asked, "10:00:00:00:01:04");
	ck_assert(has_report("stop /org/bluez/hci1"));
	ck_assert(!has_report("start /org/bluez/hci0"));
	ck_assert(!has_report("set "));
}
END_TEST

/* One search is another's neighbour: each goes on, ends and fails by itself. */
START_TEST(test_adapters_apart)
{
	struct asked first, second, third;

	start_daemon();
	mock_tell(&mock, "adapter 1 1");
	start("hci0");
	run_until_ready();
	ask(&first, "printer");
	mock_expect(&mock, "start /org/bluez/hci0");
	choose("hci1");
	ask(&second, "printer");
	mock_expect(&mock, "start /org/bluez/hci1");
	choose("hci5");
	ask(&third, "printer");
	assert_failed(&third, -ENODEV,
		      "cannot look for 'printer': the adapter hci5 is not "
		      "there");
	mock_tell(&mock, "device 1 2 paired printer");
	assert_found(&second, "10:00:00:00:01:02");
	ck_assert(has_report("stop /org/bluez/hci1"));
	ck_assert(!has_report("stop /org/bluez/hci0"));
	ck_assert_int_eq(first.answers, 0);
	mock_tell(&mock, "device 0 3 paired printer");
	assert_found(&first, "10:00:00:00:00:03");
	ck_assert(has_report("stop /org/bluez/hci0"));
}
END_TEST

/* A device that only an adapter knows that is not to be used. */
START_TEST(test_other_adapter)
{
	struct asked asked;

	start_daemon();
	mock_tell(&mock, "adapter 1 1");
	mock_tell(&mock, "device 0 1 paired HC-05");
	start("hci1");
	run_until_ready();
	ask(&asked, "HC-05");
	mock_expect(&mock, "start /org/bluez/hci1");
	ck_assert(!has_report("start /org/bluez/hci0"));
	mock_tell(&mock, "device 1 2 paired HC-05");
	assert_found(&asked, "10:00:00:00:01:02");
}
END_TEST

/* ---- searching ---------------------------------------------------------------- */

START_TEST(test_search)
{
	struct asked asked;

	start_daemon();
	start(NULL);
	ask(&asked, "HC-05");
	mock_expect(&mock, "filter /org/bluez/hci0 Transport bredr");
	mock_expect(&mock, "start /org/bluez/hci0");
	mock_tell(&mock, "device 0 1 known another");
	mock_tell(&mock, "device 0 2 le HC-05");
	/* Its name is asked for after the inquiry. */
	mock_tell(&mock, _i ? "device 0 3 known" : "device 0 3 known HC-05");
	if (_i) {
		ck_assert_int_eq(asked.answers, 0);
		mock_tell(&mock, "name 0 3 HC-05");
	}
	assert_found(&asked, "10:00:00:00:00:03");
	/* The search was over before the answer. */
	ck_assert(has_report("stop /org/bluez/hci0"));
	ck_assert(!has_report("start "));
}
END_TEST

/* Who answers first is not who is meant, where there are more of that name. */
START_TEST(test_namesakes)
{
	struct asked asked, other;

	start_daemon();
	start(NULL);
	ask(&asked, "HC-05");
	ask(&other, "another");
	mock_expect(&mock, "start /org/bluez/hci0");
	mock_tell(&mock, "device 0 1 known HC-05");
	mock_tell(&mock, "device 0 2 known hc-05");
	mock_tell(&mock, "device 0 3 known");
	mock_tell(&mock, "device 0 4 le HC-05");
	ck_assert_int_eq(asked.answers, 0);
	mock_tell(&mock, "name 0 3 HC-05");
	ck_assert_int_eq(asked.answers, 0);
	ck_assert(!has_report("stop "));
	switch (_i) {
	case 0: /* two of them */
		assert_failed(&asked, -ENOTUNIQ,
			      "2 unpaired devices are called 'HC-05'; use the "
			      "address of one of them: 10:00:00:00:00:0");
		assert_has(asked.text, " 10:00:00:00:00:01");
		assert_has(asked.text, " 10:00:00:00:00:03");
		break;
	case 1: /* gone again */
		mock_tell(&mock, "forget 0 1");
		assert_found(&asked, "10:00:00:00:00:03");
		break;
	case 2: /* nobody can be meant more than one that is paired */
		mock_tell(&mock, "device 0 5 paired hc-05");
		assert_found(&asked, "10:00:00:00:00:05");
		break;
	default: /* all gone again */
		mock_tell(&mock, "forget 0 1");
		mock_tell(&mock, "forget 0 2");
		mock_tell(&mock, "forget 0 3");
		mock_tell(&mock, "forget 0 4");
		assert_failed(&asked, -ENODEV, "no device called 'HC-05'");
	}
	/* The other one is none the wiser. */
	ck_assert_int_eq(other.answers, 0);
	mock_tell(&mock, "device 0 6 paired another");
	assert_found(&other, "10:00:00:00:00:06");
	ck_assert(has_report("stop /org/bluez/hci0"));
}
END_TEST

/* One search is for all; who has found leaves it to the others. */
START_TEST(test_search_together)
{
	struct asked first, second, third;

	start_daemon();
	start(NULL);
	ask(&first, "first");
	ask(&second, "second");
	mock_expect(&mock, "start /org/bluez/hci0");
	ask(&third, "third");
	mock_tell(&mock, "device 0 1 paired first");
	assert_found(&first, "10:00:00:00:00:01");
	bluez_lookup_cancel(third.lookup);
	ck_assert(!has_report("stop "));
	mock_tell(&mock, "device 0 2 paired second");
	assert_found(&second, "10:00:00:00:00:02");
	ck_assert(has_report("stop "));
	ck_assert(!has_report("start "));
	/* The next one begins anew. */
	ask(&third, "third");
	mock_expect(&mock, "start /org/bluez/hci0");
	mock_tell(&mock, "device 0 3 paired third");
	assert_found(&third, "10:00:00:00:00:03");
	ck_assert_int_eq(first.answers + second.answers, 2);
}
END_TEST

/* All the ways to have looked for twenty seconds; together, for that. */
START_TEST(test_search_in_vain)
{
	struct asked nobody, near, le, almost, twice, rude;
	uint64_t begin_ms;

	start_daemon();
	start(NULL);
	run_until_ready();
	begin_ms = loop_now_ms();
	ask(&nobody, "nobody");
	ask(&near, "printre");
	ask(&le, "band");
	ask(&almost, "hc-05");
	ask(&twice, "SCALE");
	ask(&rude, "\x1b[31mred");
	mock_expect(&mock, "start /org/bluez/hci0");
	mock_tell(&mock, "device 0 1 known printer");
	mock_tell(&mock, "device 0 2 le band");
	mock_tell(&mock, "device 0 3 known HC-05");
	mock_tell(&mock, "device 0 4 known Scale");
	mock_tell(&mock, "device 0 5 known scale");
	mock_tell(&mock, "device 0 6 known gone");
	mock_tell(&mock, "forget 0 6");
	assert_failed(&nobody, -ENODEV,
		      "no device called 'nobody' is known or answers nearby: "
		      "switch it on and make it visible");
	ck_assert_uint_ge(loop_now_ms() - begin_ms, 19900);
	assert_failed(&near, -ENODEV, "did you mean 'printer'?");
	assert_failed(&le, -ENODEV, "'band' is a Bluetooth LE device");
	assert_found(&almost, "10:00:00:00:00:03");
	assert_failed(&twice, -ENOTUNIQ, "2 unpaired devices are called");
	assert_failed(&rude, -ENODEV, "[31mred'");
	ck_assert_ptr_null(strchr(rude.text, '\x1b'));
	mock_expect(&mock, "stop /org/bluez/hci0");
}
END_TEST

/* ---- what goes wrong ------------------------------------------------------------- */

START_TEST(test_nothing_there)
{
	static const struct {
		const char *adapter;
		int code;
		const char *text;
	} table[] = {
		{NULL, -ENOTCONN, "cannot look for 'HC-05': the system bus is"},
		{NULL, -ENOTCONN,
		 "bluetoothd is not running; start it with 'systemctl start "
		 "bluetooth'"},
		{NULL, -ENODEV, "there is no Bluetooth adapter"},
		{"hci1", -ENODEV, "the adapter hci1 is not there"},
		{NULL, -ENETDOWN, "the adapter hci0 is powered off"},
	};
	struct asked asked, again;
	uint64_t begin_ms;

	if (_i >= 1)
		mock_bus_start(&mock, "");
	if (_i >= 2)
		mock_daemon_start(&mock);
	if (_i >= 3)
		mock_tell(&mock, _i == 3 ? "adapter 0 1" : "adapter 0 0");
	start(table[_i].adapter);
	begin_ms = loop_now_ms();
	ask(&asked, "HC-05");
	assert_failed(&asked, table[_i].code, table[_i].text);
	/* Asked when that was known already. */
	ask(&again, "HC-05");
	assert_failed(&again, table[_i].code, table[_i].text);
	/* It was so all the time: there is nothing to wait for. */
	ck_assert_uint_lt(loop_now_ms() - begin_ms, 4000);
}
END_TEST

/* bluetoothd puts off what it cannot start now. */
START_TEST(test_start_put_off)
{
	static const char *const errors[] = {
		"start-error org.bluez.Error.InProgress",
		"start-error org.bluez.Error.NotReady",
	};
	struct asked asked;

	start_daemon();
	mock_tell(&mock, errors[_i]);
	start(NULL);
	ask(&asked, "HC-05");
	mock_expect(&mock, "start /org/bluez/hci0");
	mock_expect(&mock, "start /org/bluez/hci0");
	mock_tell(&mock, "start-error none");
	mock_expect(&mock, "start /org/bluez/hci0");
	mock_tell(&mock, "device 0 3 paired HC-05");
	assert_found(&asked, "10:00:00:00:00:03");
	ck_assert(has_report("stop "));
}
END_TEST

START_TEST(test_start_refused)
{
	static const struct {
		const char *command;
		const char *text;
		uint64_t min_ms;
		uint64_t max_ms;
	} table[] = {
		{"start-error org.bluez.Error.InProgress",
		 "cannot look for 'HC-05': bluetoothd is busy", 4000, 15000},
		{"start-error org.freedesktop.DBus.Error.AccessDenied",
		 "policy forbids it", 0, 4000},
		{"start-error org.bluez.Error.Failed",
		 "bluetoothd says Failed: the mock was told so", 0, 4000},
	};
	struct asked asked;
	uint64_t begin_ms, needed_ms;

	start_daemon();
	mock_tell(&mock, table[_i].command);
	start(NULL);
	run_until_ready();
	begin_ms = loop_now_ms();
	ask(&asked, "HC-05");
	run_until_answer(&asked);
	ck_assert_int_lt(asked.code, 0);
	assert_has(asked.text, table[_i].text);
	needed_ms = loop_now_ms() - begin_ms;
	ck_assert_uint_ge(needed_ms, table[_i].min_ms);
	ck_assert_uint_le(needed_ms, table[_i].max_ms);
	/* And the next one may be luckier. */
	mock_tell(&mock, "start-error none");
	ask(&asked, "HC-05");
	mock_tell(&mock, "device 0 3 paired HC-05");
	assert_found(&asked, "10:00:00:00:00:03");
}
END_TEST

/* One adapter that can search is enough. */
START_TEST(test_one_of_two_refuses)
{
	struct asked asked;

	start_daemon();
	mock_tell(&mock, "adapter 1 1");
	start(NULL);
	run_until_ready();
	ask(&asked, "HC-05");
	mock_expect(&mock, "start /org/bluez/hci0");
	mock_expect(&mock, "start /org/bluez/hci1");
	mock_tell(&mock, "start-error org.bluez.Error.Failed");
	mock_tell(&mock, "power 0 0");
	mock_tell(&mock, "power 0 1");
	mock_expect(&mock, "start /org/bluez/hci0");
	mock_tell(&mock, "device 1 1 paired HC-05");
	assert_found(&asked, "10:00:00:00:01:01");
	ck_assert(has_report("stop /org/bluez/hci1"));
}
END_TEST

/* It searches, but does not answer: what is found is as good. */
START_TEST(test_unanswered)
{
	struct asked asked;
	uint64_t begin_ms;

	start_daemon();
	mock_tell(&mock, _i ? "stop-error silence" : "start-error silence");
	start(NULL);
	ask(&asked, "HC-05");
	mock_expect(&mock, "start /org/bluez/hci0");
	begin_ms = loop_now_ms();
	mock_tell(&mock, "device 0 3 paired HC-05");
	assert_found(&asked, "10:00:00:00:00:03");
	ck_assert_uint_ge(loop_now_ms() - begin_ms, 1900);
	ck_assert_uint_lt(loop_now_ms() - begin_ms, 8000);
}
END_TEST

/* Away and back: the time that it took. */
static uint64_t interrupt_daemon(int how)
{
	const uint64_t begin_ms = loop_now_ms();

	switch (how) {
	case 0:
		restart_daemon();
		break;
	case 1:
		mock_tell(&mock, "power 0 0");
		mock_tell(&mock, "power 0 1");
		break;
	case 2:
		mock_tell(&mock, "remove 0");
		mock_tell(&mock, "adapter 0 0");
		mock_tell(&mock, "power 0 1");
		break;
	default:
		mock_daemon_stop(&mock);
		mock_bus_stop(&mock);
		start_daemon();
	}
	return loop_now_ms() - begin_ms;
}

/* Gone in the middle, and back in time. */
START_TEST(test_back_in_time)
{
	struct asked asked;

	start_daemon();
	start(NULL);
	ask(&asked, "HC-05");
	mock_expect(&mock, "start /org/bluez/hci0");
	/* Until the first try to get back to the bus finds it there. */
	while (interrupt_daemon(_i) >= 900) {
		if (asked.lookup)
			bluez_lookup_cancel(asked.lookup);
		run_until_ready();
		ask(&asked, "HC-05");
		mock_expect(&mock, "start /org/bluez/hci0");
	}
	mock_expect(&mock, "start /org/bluez/hci0");
	mock_tell(&mock, "device 0 3 paired HC-05");
	assert_found(&asked, "10:00:00:00:00:03");
}
END_TEST

/* Gone in the middle, and for good. */
START_TEST(test_gone)
{
	static const char *const texts[] = {
		"bluetoothd is not running; start it",
		"the system bus",
		/* While bluetoothd owes an answer: that is not its fault. */
		"the system bus",
	};
	struct asked asked;
	uint64_t begin_ms;

	start_daemon();
	if (_i == 2)
		mock_tell(&mock, "start-error silence");
	start(NULL);
	ask(&asked, "HC-05");
	mock_expect(&mock, "start /org/bluez/hci0");
	begin_ms = loop_now_ms();
	if (_i < 2)
		mock_daemon_stop(&mock);
	if (_i)
		mock_bus_stop(&mock);
	assert_failed(&asked, -ENOTCONN, texts[_i]);
	ck_assert_uint_ge(loop_now_ms() - begin_ms, 4900);
	ck_assert_uint_lt(loop_now_ms() - begin_ms, 12000);
}
END_TEST

/* The same with adapters: one is switched off, one unplugged. */
START_TEST(test_adapters_gone)
{
	struct bluez *first;
	struct asked off, unplugged;
	uint64_t begin_ms;

	start_daemon();
	mock_tell(&mock, "adapter 1 1");
	start("hci0");
	first = bluez;
	ask(&off, "HC-05");
	start("hci1");
	ask(&unplugged, "HC-05");
	mock_expect(&mock, "start /org/bluez/hci0");
	mock_expect(&mock, "start /org/bluez/hci1");
	begin_ms = loop_now_ms();
	mock_tell(&mock, "power 0 0");
	mock_tell(&mock, "remove 1");
	assert_failed(&off, -ENETDOWN, "the adapter hci0 is powered off");
	assert_failed(&unplugged, -ENODEV, "the adapter hci1 is not there");
	ck_assert_uint_ge(loop_now_ms() - begin_ms, 4900);
	ck_assert_uint_lt(loop_now_ms() - begin_ms, 12000);
	bluez_free(first);
}
END_TEST

/* Found, and bluetoothd is gone before it has stopped the search. */
START_TEST(test_gone_while_stopping)
{
	struct asked asked;

	start_daemon();
	mock_tell(&mock, "stop-error silence");
	start(NULL);
	ask(&asked, "HC-05");
	mock_expect(&mock, "start /org/bluez/hci0");
	mock_tell(&mock, "device 0 3 paired HC-05");
	mock_expect(&mock, "stop /org/bluez/hci0");
	ck_assert_int_eq(asked.answers, 0);
	if (_i == 0)
		mock_daemon_stop(&mock);
	else if (_i == 1)
		mock_bus_stop(&mock);
	else
		mock_tell(&mock, "power 0 0");
	assert_found(&asked, "10:00:00:00:00:03");
}
END_TEST

/* At whatever step: @_i turns of the loop after it was asked. */
START_TEST(test_cancel)
{
	struct asked asked, next;

	start_daemon();
	mock_tell(&mock, "device 0 3 known scale");
	start(NULL);
	ask(&asked, _i % 2 ? "HC-05" : "scale");
	for (int i = 0; i < _i / 2; i++)
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
	if (asked.lookup) {
		bluez_lookup_cancel(asked.lookup);
		ck_assert_int_eq(asked.answers, 0);
	}
	ask(&next, "next");
	mock_expect(&mock, "start /org/bluez/hci0");
	mock_tell(&mock, "device 0 4 paired next");
	assert_found(&next, "10:00:00:00:00:04");
	ck_assert_int_le(asked.answers, 1);
	/* Nothing may be left running. */
	mock_expect(&mock, "stop /org/bluez/hci0");
}
END_TEST

START_TEST(test_cancel_while_searching)
{
	struct asked asked;

	start_daemon();
	mock_tell(&mock, "stop-error silence");
	start(NULL);
	ask(&asked, "HC-05");
	mock_expect(&mock, "start /org/bluez/hci0");
	if (_i) {
		mock_tell(&mock, "device 0 3 paired HC-05");
		mock_expect(&mock, "stop /org/bluez/hci0");
	}
	bluez_lookup_cancel(asked.lookup);
	if (!_i)
		mock_expect(&mock, "stop /org/bluez/hci0");
	ck_assert_int_eq(asked.answers, 0);
}
END_TEST

START_TEST(test_cancel_null)
{
	bluez_lookup_cancel(NULL);
	bluez_discovery_free(NULL);
}
END_TEST

START_TEST(test_free_in_callback)
{
	struct asked asked;

	start_daemon();
	start(NULL);
	ask(&asked, "HC-05");
	asked.is_to_free_all = true;
	mock_expect(&mock, "start /org/bluez/hci0");
	mock_tell(&mock, "device 0 3 paired HC-05");
	assert_found(&asked, "10:00:00:00:00:03");
	ck_assert_ptr_null(bluez);
}
END_TEST

/* ---- seeing -------------------------------------------------------------------- */

struct seen {
	struct bluez_discovery *discovery;
	unsigned int count;
	char log[1024]; /* "NAME RSSI, " for each time */
	int code;
	char text[ERROR_TEXT_BYTES];
	bool is_stopped;
	bool is_to_free_all;
};

static void free_all(struct seen *seen)
{
	bluez_discovery_free(seen->discovery);
	seen->discovery = NULL;
	bluez_free(bluez);
	bluez = NULL;
}

static void on_seen(const struct device *device, void *arg)
{
	struct seen *seen = arg;
	size_t used = strlen(seen->log);

	seen->count++;
	if (seen->count < 20)
		snprintf(seen->log + used, sizeof(seen->log) - used, "%s %d, ",
			 device->name ? device->name : "-", device->rssi);
	if (seen->is_to_free_all)
		free_all(seen);
}

static void on_failed(int code, const struct error *error, void *arg)
{
	struct seen *seen = arg;

	ck_assert_int_eq(seen->code, 0);
	seen->code = code;
	snprintf(seen->text, sizeof(seen->text), "%s", error->text);
	if (seen->is_to_free_all)
		free_all(seen);
}

static void on_stopped(void *arg)
{
	struct seen *seen = arg;

	ck_assert(!seen->is_stopped);
	seen->is_stopped = true;
	if (seen->is_to_free_all)
		free_all(seen);
}

static const struct bluez_discovery_ops ops = {
	.seen = on_seen,
	.failed = on_failed,
	.stopped = on_stopped,
};

static void search(struct seen *seen)
{
	memset(seen, 0, sizeof(*seen));
	seen->discovery = bluez_discovery_new(bluez, &choice, &ops, seen);
	ck_assert_ptr_nonnull(seen->discovery);
}

static void run_until_seen(const struct seen *seen, const char *log)
{
	while (!strstr(seen->log, log))
		turn();
}

START_TEST(test_seen)
{
	struct seen seen;

	start_daemon();
	mock_tell(&mock, "device 0 1 paired phone");
	start(NULL);
	run_until_ready();
	search(&seen);
	mock_expect(&mock, "start /org/bluez/hci0");
	ck_assert_uint_eq(seen.count, 0);
	mock_tell(&mock, "device 0 2 known");
	run_until_seen(&seen, "- -60, ");
	mock_tell(&mock, "name 0 2 HC-05");
	run_until_seen(&seen, "- -60, HC-05 -60, ");
	mock_tell(&mock, "rssi 0 1 -71");
	run_until_seen(&seen, "phone -71, ");
	/* bluetoothd takes that back when the search is over. */
	mock_tell(&mock, "rssi 0 1 0");
	run_until_seen(&seen, "phone 0, ");
	bluez_discovery_stop(seen.discovery);
	mock_tell(&mock, "device 0 3 known late");
	while (!seen.is_stopped)
		turn();
	ck_assert(has_report("stop /org/bluez/hci0"));
	ck_assert_ptr_null(strstr(seen.log, "late"));
	bluez_discovery_free(seen.discovery);
}
END_TEST

START_TEST(test_seen_after_restart)
{
	struct seen seen;

	start_daemon();
	start(NULL);
	search(&seen);
	mock_expect(&mock, "start /org/bluez/hci0");
	restart_daemon();
	mock_expect(&mock, "start /org/bluez/hci0");
	mock_tell(&mock, "device 0 2 known HC-05");
	run_until_seen(&seen, "HC-05 -60, ");
	ck_assert_int_eq(seen.code, 0);
	bluez_discovery_free(seen.discovery);
	mock_expect(&mock, "stop /org/bluez/hci0");
}
END_TEST

/* Begun before bluetoothd was heard of, which has no adapter. */
START_TEST(test_search_without_adapter)
{
	struct seen seen;

	mock_bus_start(&mock, "");
	mock_daemon_start(&mock);
	start(NULL);
	search(&seen);
	while (!seen.code)
		turn();
	ck_assert_int_eq(seen.code, -ENODEV);
	bluez_discovery_free(seen.discovery);
}
END_TEST

START_TEST(test_search_fails)
{
	struct seen seen;

	mock_bus_start(&mock, "");
	start(NULL);
	search(&seen);
	seen.is_to_free_all = _i;
	while (!seen.code)
		turn();
	ck_assert_int_eq(seen.code, -ENOTCONN);
	assert_has(seen.text, "bluetoothd is not running; start it");
	/* It stays so. */
	if (!_i) {
		start_daemon();
		mock_tell(&mock, "device 0 2 known HC-05");
		ck_assert(!has_report("start "));
		ck_assert_uint_eq(seen.count, 0);
		/* To stop it is legal all the same. */
		bluez_discovery_stop(seen.discovery);
		while (!seen.is_stopped)
			turn();
	}
	bluez_discovery_free(seen.discovery);
}
END_TEST

START_TEST(test_free_in_seen)
{
	struct seen seen;

	start_daemon();
	start(NULL);
	run_until_ready();
	search(&seen);
	seen.is_to_free_all = true;
	mock_expect(&mock, "start /org/bluez/hci0");
	if (_i) {
		bluez_discovery_stop(seen.discovery);
	} else {
		mock_tell(&mock, "device 0 1 known one");
		mock_tell(&mock, "device 0 2 known two");
	}
	while (seen.discovery)
		turn();
	ck_assert_uint_eq(seen.count, !_i);
}
END_TEST

static void count_device(const struct device *device, void *arg)
{
	unsigned int *counts = arg;

	counts[device->is_paired ? 1 : 0]++;
}

/* However many strangers there are: memory is bounded, the own ones stay. */
START_TEST(test_crowd)
{
	unsigned int counts[2] = {0};
	struct seen seen;
	struct asked asked;

	start_daemon();
	mock_tell(&mock, "device 0 1 paired phone");
	start(NULL);
	run_until_ready();
	search(&seen);
	mock_tell(&mock, "crowd 0 0 400");
	mock_tell(&mock, "device 0 2 paired printer");
	mock_tell(&mock, "crowd 0 400 1000");
	mock_tell(&mock, "device 0 3 known last");
	while (seen.count < 500)
		turn();
	ask(&asked, "last");
	assert_found(&asked, "10:00:00:00:00:03");
	bluez_devices(bluez, &choice, count_device, counts);
	ck_assert_uint_eq(counts[0], 998);
	ck_assert_uint_eq(counts[1], 2);
	bluez_discovery_free(seen.discovery);
}
END_TEST

/* ---- who is paired ---------------------------------------------------------------- */

START_TEST(test_paired_name)
{
	struct address_bluetooth address;

	start_daemon();
	mock_tell(&mock, "device 0 1 paired phone");
	mock_tell(&mock, "device 0 2 known other");
	mock_tell(&mock, "device 0 3 paired");
	start(NULL);
	address_bluetooth_parse("10:00:00:00:00:01", &address, NULL);
	ck_assert_ptr_null(bluez_paired_name(bluez, &choice, &address));
	run_until_ready();
	ck_assert_str_eq(bluez_paired_name(bluez, &choice, &address), "phone");
	mock_tell(&mock, "alias 0 1 Anna");
	mock_tell(&mock, "rest");
	while (strcmp(bluez_paired_name(bluez, &choice, &address), "Anna"))
		turn();
	address_bluetooth_parse("10:00:00:00:00:02", &address, NULL);
	ck_assert_ptr_null(bluez_paired_name(bluez, &choice, &address));
	mock_tell(&mock, "bond 0 2");
	mock_tell(&mock, "rest");
	while (!bluez_paired_name(bluez, &choice, &address))
		turn();
	ck_assert_str_eq(bluez_paired_name(bluez, &choice, &address), "other");
	address_bluetooth_parse("10:00:00:00:00:03", &address, NULL);
	ck_assert_ptr_null(bluez_paired_name(bluez, &choice, &address));
	address_bluetooth_parse("10:00:00:00:00:09", &address, NULL);
	ck_assert_ptr_null(bluez_paired_name(bluez, &choice, &address));
	/* Each adapter has keys of its own. */
	mock_tell(&mock, "adapter 1 1");
	mock_tell(&mock, "device 1 1 paired theirs");
	address_bluetooth_parse("10:00:00:00:01:01", &address, NULL);
	while (!bluez_paired_name(bluez, &choice, &address))
		turn();
	choose("hci0");
	ck_assert_ptr_null(bluez_paired_name(bluez, &choice, &address));
	choose("hci1");
	ck_assert_str_eq(bluez_paired_name(bluez, &choice, &address), "theirs");
}
END_TEST

static bool is_bonded(const char *device)
{
	struct address_bluetooth address;

	address_bluetooth_parse(device, &address, NULL);
	return bluez_is_bonded(bluez, &choice, &address);
}

/* Being paired for one link only is not enough, if bluetoothd tells the two apart. */
START_TEST(test_bonded)
{
	start_daemon();
	mock_tell(&mock, "device 0 1 paired stranger");
	mock_tell(&mock, "device 0 2 bonded phone");
	mock_tell(&mock, "device 0 3 old phone");
	mock_tell(&mock, "device 0 4 known phone");
	start(NULL);
	ck_assert(!bluez_is_settled(bluez));
	ck_assert(!is_bonded("10:00:00:00:00:02"));
	run_until_ready();
	ck_assert(bluez_is_settled(bluez));
	ck_assert(!is_bonded("10:00:00:00:00:01"));
	ck_assert(is_bonded("10:00:00:00:00:02"));
	ck_assert(is_bonded("10:00:00:00:00:03"));
	ck_assert(!is_bonded("10:00:00:00:00:04"));
	ck_assert(!is_bonded("10:00:00:00:00:05"));
	mock_tell(&mock, "bond 0 1");
	mock_tell(&mock, "rest");
	while (!is_bonded("10:00:00:00:00:01"))
		turn();
	choose("hci1");
	ck_assert(!is_bonded("10:00:00:00:00:01"));
	/* It may be back in a moment. */
	mock_daemon_stop(&mock);
	while (bluez_state(bluez) == BLUEZ_STATE_READY)
		turn();
	ck_assert(!bluez_is_settled(bluez));
}
END_TEST

static bool has_adapter(const char *device, const char *expected)
{
	struct address_bluetooth address, adapter;
	char text[ADDRESS_BLUETOOTH_TEXT_BYTES];

	address_bluetooth_parse(device, &address, NULL);
	if (!bluez_adapter_of(bluez, &choice, &address, &adapter))
		return !expected;
	address_bluetooth_format(&adapter, text);
	return expected && !strcmp(text, expected);
}

/* The one that knows the device, and is on. */
START_TEST(test_adapter_of)
{
	start_daemon();
	mock_tell(&mock, "adapter 1 1");
	mock_tell(&mock, "device 0 1 paired phone");
	mock_tell(&mock, "device 1 2 known printer");
	start(NULL);
	ck_assert(has_adapter("10:00:00:00:00:01", NULL));
	run_until_ready();
	ck_assert(has_adapter("10:00:00:00:00:01", "00:AA:01:00:00:00"));
	ck_assert(has_adapter("10:00:00:00:01:02", "00:AA:01:01:00:01"));
	ck_assert(has_adapter("10:00:00:00:01:09", NULL));
	choose("hci0");
	ck_assert(has_adapter("10:00:00:00:01:02", NULL));
	choose("any");
	mock_tell(&mock, "power 1 0");
	mock_tell(&mock, "rest");
	while (!has_adapter("10:00:00:00:01:02", NULL))
		turn();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("devices");
	TCase *tcase = tcase_create("devices");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, test_known, 0, 7);
	tcase_add_test(tcase, test_ambiguous);
	tcase_add_loop_test(tcase, test_two_adapters, 0, 2);
	tcase_add_loop_test(tcase, test_own_adapter, 0, 3);
	tcase_add_test(tcase, test_adapters_apart);
	tcase_add_test(tcase, test_other_adapter);
	tcase_add_loop_test(tcase, test_search, 0, 2);
	tcase_add_loop_test(tcase, test_namesakes, 0, 4);
	tcase_add_test(tcase, test_search_together);
	tcase_add_test(tcase, test_search_in_vain);
	tcase_add_loop_test(tcase, test_nothing_there, 0, 5);
	tcase_add_loop_test(tcase, test_start_put_off, 0, 2);
	tcase_add_loop_test(tcase, test_start_refused, 0, 3);
	tcase_add_test(tcase, test_one_of_two_refuses);
	tcase_add_loop_test(tcase, test_unanswered, 0, 2);
	tcase_add_loop_test(tcase, test_back_in_time, 0, 4);
	tcase_add_loop_test(tcase, test_gone, 0, 3);
	tcase_add_test(tcase, test_adapters_gone);
	tcase_add_loop_test(tcase, test_gone_while_stopping, 0, 3);
	tcase_add_loop_test(tcase, test_cancel, 0, 40);
	tcase_add_loop_test(tcase, test_cancel_while_searching, 0, 2);
	tcase_add_test(tcase, test_cancel_null);
	tcase_add_test(tcase, test_free_in_callback);
	tcase_add_test(tcase, test_seen);
	tcase_add_test(tcase, test_seen_after_restart);
	tcase_add_test(tcase, test_search_without_adapter);
	tcase_add_loop_test(tcase, test_search_fails, 0, 2);
	tcase_add_loop_test(tcase, test_free_in_seen, 0, 2);
	tcase_add_test(tcase, test_crowd);
	tcase_add_test(tcase, test_paired_name);
	tcase_add_test(tcase, test_bonded);
	tcase_add_test(tcase, test_adapter_of);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
