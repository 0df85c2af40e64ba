/* SPDX-License-Identifier: MIT */
/*
 * btgate scan: the table of devices, and the program itself against a mock of
 * bluetoothd on a bus of our own.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device.h"
#include "device_table.h"
#include "loop.h"
#include "mock_bluez.h"
#include "mock_command.h"

/* ---- classes ---------------------------------------------------------------- */

static const struct {
	uint32_t class;
	const char *name;
} classes[] = {
	{0, ""},
	{0x001f00, ""}, /* uncategorized, as many serial adapters are */
	{0x5a020c, "smartphone"},
	{0x000200, "phone"},
	{0x000208, "cordless phone"},
	{0x1c010c, "laptop"},
	{0x0c0104, "desktop"},
	{0x0001fc, "computer"},
	{0x020300, "access point"},
	{0x0203e0, "access point"},
	{0x240404, "headset"},
	{0x240418, "headphones"},
	{0x24040c, "audio"},
	{0x2404fc, "audio"},
	{0x002540, "keyboard"},
	{0x002580, "mouse"},
	{0x0025c0, "keyboard"},
	{0x002508, "gamepad"},
	{0x040680, "printer"},
	{0x0406c0, "printer"},
	{0x040640, "scanner"},
	{0x040620, "camera"},
	{0x040600, "imaging"},
	{0x000704, "watch"},
	{0x00080c, "doll"},
	{0x00090c, "scale"},
	{0x000a00, ""},
	{0xffffffff, ""},
};

START_TEST(test_class)
{
	ck_assert_str_eq(device_class_name(classes[_i].class),
			 classes[_i].name);
}
END_TEST

START_TEST(test_any_class)
{
	for (uint32_t class = 0; class <= 0x1fff; class += 4)
		ck_assert_ptr_nonnull(device_class_name(class));
}
END_TEST

/* ---- the table ---------------------------------------------------------------- */

static const struct device devices[] = {
	{.address = {{0x10, 0, 0, 0, 0, 1}},
	 .adapter = "hci0",
	 .name = "far",
	 .alias = "far",
	 .class = 0x1f00,
	 .rssi = -90},
	{.address = {{0x10, 0, 0, 0, 0, 2}},
	 .adapter = "hci0",
	 .name = "Pixel",
	 .alias = "Anna",
	 .class = 0x5a020c,
	 .is_paired = true,
	 .is_connected = true},
	{.address = {{0x10, 0, 0, 0, 0, 3}}, .adapter = "hci0", .rssi = -40},
	{.address = {{0x10, 0, 0, 0, 0, 4}},
	 .adapter = "hci0",
	 .name = "\x1b[31m\"red\"\xff\n",
	 .rssi = -50},
	{.address = {{0x10, 0, 0, 0, 0, 5}},
	 .adapter = "hci0",
	 .name = "band",
	 .is_le_only = true},
	{.address = {{0x10, 0, 0, 0, 0, 6}},
	 .adapter = "hci0",
	 .name = "known",
	 .is_trusted = true},
	/* The first one again, as another adapter has it. */
	{.address = {{0x10, 0, 0, 0, 0, 1}},
	 .adapter = "hci1",
	 .is_paired = true},
};

#define DEVICES (sizeof(devices) / sizeof(devices[0]))

static char *print(void (*how)(const struct device_table *table, FILE *stream),
		   const struct device_table *table)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *stream = open_memstream(&text, &bytes);

	how(table, stream);
	fclose(stream);
	return text;
}

START_TEST(test_table)
{
	struct device_table *table = device_table_new();
	char *text;

	for (size_t i = 0; i < DEVICES; i++)
		ck_assert_int_eq(device_table_take(table, &devices[i]), 0);
	ck_assert_uint_eq(device_table_count(table), 5);
	ck_assert_uint_eq(device_table_count_le(table), 1);
	ck_assert_uint_eq(device_table_count_nameless(table), 1);
	text = print(device_table_print, table);
	ck_assert_str_eq(
		text,
		"ADDRESS            STATE              RSSI  CLASS       NAME\n"
		"10:00:00:00:00:01  paired              -90              far\n"
		"10:00:00:00:00:02  paired, connected        smartphone  Anna\n"
		"10:00:00:00:00:03                      -40              "
		"(no name)\n"
		"10:00:00:00:00:04                      -50              "
		"?[31m\"red\"??\n"
		"10:00:00:00:00:06                                       "
		"known\n");
	free(text);
	device_table_free(table);
}
END_TEST

START_TEST(test_table_json)
{
	struct device_table *table = device_table_new();
	char *text;

	text = print(device_table_print_json, table);
	ck_assert_str_eq(text, "[]\n");
	free(text);
	for (size_t i = 1; i < 5; i++)
		ck_assert_int_eq(device_table_take(table, &devices[i]), 0);
	text = print(device_table_print_json, table);
	ck_assert_str_eq(
		text,
		"[\n"
		"{\"address\": \"10:00:00:00:00:02\", \"name\": \"Pixel\", "
		"\"alias\": \"Anna\", \"class\": 5898764, "
		"\"kind\": \"smartphone\", \"paired\": true, "
		"\"trusted\": false, \"connected\": true, "
		"\"le_only\": false, \"rssi\": null},\n"
		"{\"address\": \"10:00:00:00:00:03\", \"name\": null, "
		"\"alias\": null, \"class\": 0, \"kind\": null, "
		"\"paired\": false, \"trusted\": false, "
		"\"connected\": false, \"le_only\": false, \"rssi\": -40},\n"
		"{\"address\": \"10:00:00:00:00:04\", "
		"\"name\": \"\\u001b[31m\\\"red\\\"\\ufffd\\u000a\", "
		"\"alias\": null, \"class\": 0, \"kind\": null, "
		"\"paired\": false, \"trusted\": false, "
		"\"connected\": false, \"le_only\": false, \"rssi\": -50},\n"
		"{\"address\": \"10:00:00:00:00:05\", \"name\": \"band\", "
		"\"alias\": null, \"class\": 0, \"kind\": null, "
		"\"paired\": false, \"trusted\": false, "
		"\"connected\": false, \"le_only\": true, \"rssi\": null}\n"
		"]\n");
	free(text);
	device_table_free(table);
}
END_TEST

START_TEST(test_table_full)
{
	struct device_table *table = device_table_new();
	struct device device = {.adapter = "hci0", .name = "x"};

	for (unsigned int i = 0; i < 1000; i++) {
		device.address.octets[4] = (uint8_t)(i >> 8);
		device.address.octets[5] = (uint8_t)i;
		ck_assert_int_eq(device_table_take(table, &device), 0);
	}
	/* Those that are in it can still tell more. */
	device.is_paired = true;
	ck_assert_int_eq(device_table_take(table, &device), 0);
	device.address.octets[0] = 1;
	ck_assert_int_eq(device_table_take(table, &device), -ENOSPC);
	ck_assert_uint_eq(device_table_count(table), 1000);
	device_table_free(table);
	device_table_free(NULL);
}
END_TEST

/* ---- the program ---------------------------------------------------------------- */

static struct loop *loop;
static struct mock mock;

static void setup(void)
{
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	mock_setup(&mock, loop);
}

static void teardown(void)
{
	mock_teardown(&mock);
	loop_free(loop);
}

static void scan(bool is_terminal, const char *const *options)
{
	run_command("scan", is_terminal, options);
}

static void start_daemon(void)
{
	mock_bus_start(&mock, "");
	mock_daemon_start(&mock);
	mock_tell(&mock, "adapter 0 1");
}

START_TEST(test_scan)
{
	const char *options[] = {"-t", "3s", NULL};

	start_daemon();
	mock_tell(&mock, "device 0 1 paired phone");
	mock_tell(&mock, "device 0 2 le band");
	mock_tell(&mock, "device 0 3 known");
	scan(false, options);
	mock_expect(&mock, "filter /org/bluez/hci0 Transport bredr");
	mock_expect(&mock, "start /org/bluez/hci0");
	mock_tell(&mock, "device 0 4 known HC-05");
	mock_tell(&mock, "device 0 5 known \x1b[31mred");
	run_to_the_end(0);
	ck_assert_str_eq(program.out_text,
			 "ADDRESS            STATE   RSSI  CLASS  NAME\n"
			 "10:00:00:00:00:01  paired               phone\n"
			 "10:00:00:00:00:03           -60         (no name)\n"
			 "10:00:00:00:00:04           -60         HC-05\n"
			 "10:00:00:00:00:05           -60         ?[31mred\n");
	ck_assert_str_eq(
		program.err_text,
		"btgate: 1 of them has not said its name yet; a longer search "
		"may bring it: -t 30s\n"
		"btgate: 1 device is left out that knows only Bluetooth LE, "
		"which has no serial ports\n");
	/* Nothing was made reachable for it. */
	ck_assert_ptr_null(mock_take(&mock, "set "));
}
END_TEST

START_TEST(test_scan_json)
{
	const char *options[] = {"--json", "-t", "3s", NULL};

	start_daemon();
	mock_tell(&mock, "device 0 1 paired phone");
	scan(false, options);
	mock_expect(&mock, "start /org/bluez/hci0");
	mock_tell(&mock, "device 0 2 le band");
	run_to_the_end(0);
	assert_has(program.out_text, "[\n{\"address\": \"10:00:00:00:00:01\", "
				     "\"name\": \"phone\"");
	assert_has(program.out_text, "\"name\": \"band\"");
	ck_assert_str_eq(program.err_text, "");
}
END_TEST

START_TEST(test_scan_empty)
{
	const char *options[] = {"-t", "1s", _i ? "--json" : NULL, NULL};

	start_daemon();
	scan(false, options);
	run_to_the_end(0);
	ck_assert_str_eq(program.out_text, _i ? "[]\n" : "");
	if (!_i)
		assert_has(program.err_text, "no device was found; switch");
}
END_TEST

/* One line that comes and goes; and Ctrl-C when there is enough. */
START_TEST(test_scan_terminal)
{
	const char *options[] = {"-t", "60s", NULL};

	start_daemon();
	scan(true, options);
	wait_for_stderr("Searching, 60 s left: 0 found");
	mock_expect(&mock, "start /org/bluez/hci0");
	mock_tell(&mock, "device 0 4 known \x1b[31mred");
	wait_for_stderr(": 1 found, ?[31mred");
	mock_tell(&mock,
		  "device 0 5 known a name of more than so many letters");
	wait_for_stderr(": 2 found, a name of more than so m\r\x1b[K");
	kill(program.pid, _i ? SIGTERM : SIGINT);
	run_to_the_end(0);
	assert_has(program.out_text, "10:00:00:00:00:04");
	/* The last thing to be said about it is that it is gone. */
	ck_assert_ptr_null(strchr(program.err_text, '\n'));
	ck_assert_str_eq(program.err_text + strlen(program.err_text) - 4,
			 "\r\x1b[K");
}
END_TEST

START_TEST(test_scan_cannot)
{
	run_without(&mock, _i, "scan", NULL,
		    "btgate: cannot search for devices: ");
}
END_TEST

/* A restart is survived; without one what was found is shown. */
START_TEST(test_scan_restart)
{
	const char *options[] = {"-t", "60s", NULL};

	start_daemon();
	scan(true, options);
	mock_expect(&mock, "start /org/bluez/hci0");
	mock_tell(&mock, "device 0 1 known before");
	wait_for_stderr(": 1 found, before");
	mock_daemon_stop(&mock);
	wait_for_stderr("Waiting, ");
	if (_i) {
		run_to_the_end(1);
		assert_has(program.out_text, "before");
		assert_has(program.err_text,
			   "the search ended early: bluetoothd is not running");
		return;
	}
	mock_daemon_start(&mock);
	mock_tell(&mock, "adapter 0 1");
	mock_expect(&mock, "start /org/bluez/hci0");
	mock_tell(&mock, "device 0 2 known after");
	wait_for_stderr(": 2 found, after");
	kill(program.pid, SIGINT);
	run_to_the_end(0);
	assert_has(program.out_text, "before");
	assert_has(program.out_text, "after");
}
END_TEST

START_TEST(test_scan_wrong)
{
	static const char *const table[][3] = {
		{"-t", "soon", "timeout: "},
		{"-t", "0s", "timeout: no time at all"},
		{"-i", "usb", "usb"},
	};
	const char *options[] = {table[_i][0], table[_i][1], NULL};

	scan(false, options);
	run_to_the_end(2);
	assert_has(program.err_text, table[_i][2]);
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

int main(void)
{
	Suite *suite = suite_create("scan");
	TCase *table = tcase_create("table");
	TCase *tcase = tcase_create("program");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(table, test_class, 0, COUNT(classes));
	tcase_add_test(table, test_any_class);
	tcase_add_test(table, test_table);
	tcase_add_test(table, test_table_json);
	tcase_add_test(table, test_table_full);
	suite_add_tcase(suite, table);
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_scan);
	tcase_add_test(tcase, test_scan_json);
	tcase_add_loop_test(tcase, test_scan_empty, 0, 2);
	tcase_add_loop_test(tcase, test_scan_terminal, 0, 2);
	tcase_add_loop_test(tcase, test_scan_cannot, 0, MISSING_COUNT);
	tcase_add_loop_test(tcase, test_scan_restart, 0, 2);
	tcase_add_loop_test(tcase, test_scan_wrong, 0, 3);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
