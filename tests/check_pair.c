/* SPDX-License-Identifier: MIT */
/*
 * btgate pair: the program itself against a mock of bluetoothd on a bus of our
 * own. What the mock asks its agent is what bluetoothd asks.
 */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-bus.h>

#include "agent.h"
#include "bus.h"
#include "log.h"
#include "loop.h"
#include "mock_bluez.h"
#include "mock_command.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define OPENED "devices can pair with \"BlueZ 5.66\" (hci0, 00:AA:01:00:00:00)"

static struct loop *loop;
static struct mock mock;
static char config_path[64];

static void setup(void)
{
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	mock_setup(&mock, loop);
	snprintf(config_path, sizeof(config_path), "%s/none", mock.directory);
}

static void teardown(void)
{
	unlink(config_path);
	mock_teardown(&mock);
	loop_free(loop);
}

static void start_daemon(void)
{
	mock_bus_start(&mock, "");
	mock_daemon_start(&mock);
	mock_tell(&mock, "adapter 0 1");
}

/* With the configuration of this test, or none. */
static void run_pair(const char *const *options)
{
	const char *all[10] = {"-c", config_path};

	for (int i = 0; options && options[i]; i++)
		all[2 + i] = options[i];
	run_command("pair", false, all);
}

static void write_config(const char *pairing)
{
	FILE *file;

	snprintf(config_path, sizeof(config_path), "%s/btgate.conf",
		 mock.directory);
	file = fopen(config_path, "w");
	ck_assert_ptr_nonnull(file);
	fprintf(file,
		"[gateway]\ncontrol = no\n%s\n"
		"[route near]\nlisten = rfcomm:1\nconnect = echo\n"
		"service-uuid = 0x1105\npeers = 10:00:00:00:00:02, \"Anna\"\n"
		"[route out]\nlisten = unix:%s/socket\nconnect = echo\n",
		pairing, mock.directory);
	fclose(file);
}

/* Up to the moment when devices can pair. */
static void open_window(const char *const *options)
{
	run_pair(options);
	wait_for_stdout("Ctrl-C ends that\n");
	assert_has(program.out_text, OPENED);
}

static void close_window(int status)
{
	kill(program.pid, SIGINT);
	run_to_the_end(status);
	mock_expect(&mock, "agent gone");
}

static void expect_before(const char *text)
{
	mock_tell(&mock, "look 0");
	mock_expect(&mock, text);
}

/* A device that comes and pairs. */
static void pair(int number, const char *name)
{
	char command[64];

	snprintf(command, sizeof(command), "device 0 %d known %s", number,
		 name);
	mock_tell(&mock, command);
	snprintf(command, sizeof(command), "bond 0 %d", number);
	mock_tell(&mock, command);
}

/* ---- the window -------------------------------------------------------------- */

START_TEST(test_pair)
{
	start_daemon();
	mock_tell(&mock, "device 0 1 paired old");
	open_window(NULL);
	/* Somebody is there to answer before anybody can come. */
	mock_expect(&mock, "agent /btgate/agent NoInputNoOutput");
	mock_expect(&mock, "set /org/bluez/hci0 DiscoverableTimeout 130");
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 1");
	/* Also for a btgate pair that is stopped, or killed. */
	mock_expect(&mock, "set /org/bluez/hci0 PairableTimeout 130");
	mock_tell(&mock, "device 0 2 known \x1b[31mred\n");
	mock_tell(&mock, "bond 0 2");
	wait_for_stdout("paired: 10:00:00:00:00:02 \"?[31mred\" (just "
			"works)\n");
	pair(3, "");
	wait_for_stdout("paired: 10:00:00:00:00:03 (no name) (just works)\n");
	mock_tell(&mock, "device 0 4 bonded quick");
	wait_for_stdout("paired: 10:00:00:00:00:04 \"quick\" (just works)\n");
	close_window(0);
	assert_has(program.out_text,
		   "(just works)\nclosed; 3 devices paired\n");
	ck_assert_ptr_null(strstr(program.out_text, "old"));
	ck_assert_str_eq(program.err_text, "");
	expect_before("look: discoverable 0, limit 180, pairable 0, limit 0");
}
END_TEST

/* Another program's agent is asked, and stays; so does what it has set. */
START_TEST(test_other_agent)
{
	start_daemon();
	mock_tell(&mock, "other-agent");
	mock_tell(&mock, "show 0 0");
	open_window(NULL);
	mock_expect(&mock, "set /org/bluez/hci0 Pairable 1");
	close_window(1);
	mock_expect(&mock, "set /org/bluez/hci0 Pairable 0");
	ck_assert_ptr_null(mock_take(&mock, "set /org/bluez/hci0 Disc"));
	expect_before("look: discoverable 1, limit 0, pairable 0, limit 0");
}
END_TEST

/* Who lets devices pair without a limit has none by us. */
START_TEST(test_pairable_before)
{
	start_daemon();
	mock_tell(&mock, "other-agent");
	mock_tell(&mock, "pairable 0 1");
	open_window(NULL);
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 1");
	close_window(1);
	ck_assert_ptr_null(mock_take(&mock, "set /org/bluez/hci0 Pairable"));
	expect_before("look: discoverable 0, limit 180, pairable 1, limit 0");
}
END_TEST

/* Who makes it discoverable for good meanwhile keeps it. */
START_TEST(test_taken_over)
{
	start_daemon();
	open_window(NULL);
	mock_tell(&mock, "show 0 0");
	/* After the signal that it sent. */
	pair(3, "phone");
	wait_for_stdout("paired: 10:00:00:00:00:03");
	close_window(0);
	expect_before("look: discoverable 1, limit 0, pairable 0, limit 0");
}
END_TEST

START_TEST(test_time_is_over)
{
	const char *options[] = {"--for", "1s", NULL};

	start_daemon();
	open_window(options);
	assert_has(program.out_text, " for 1s; ");
	run_to_the_end(1);
	assert_has(program.out_text, "closed; nothing was paired\n");
	mock_expect(&mock, "agent gone");
	expect_before("look: discoverable 0, limit 180, pairable 0, limit 0");
}
END_TEST

START_TEST(test_once)
{
	const char *options[] = {"-1", NULL};

	start_daemon();
	open_window(options);
	pair(3, "phone");
	run_to_the_end(0);
	assert_has(program.out_text, "(just works)\nclosed; 1 device paired\n");
}
END_TEST

/* The signals that end it as Ctrl-C does, and who reads along leaving. */
START_TEST(test_ends)
{
	static const int signals[] = {SIGTERM, SIGHUP, 0};

	start_daemon();
	open_window(NULL);
	if (signals[_i]) {
		kill(program.pid, signals[_i]);
		run_to_the_end(1);
	} else {
		close(program.out);
		pair(3, "phone");
		wait_for_stderr("cannot write to standard output: Broken pipe");
		program.out = open("/dev/null", O_RDONLY);
		run_to_the_end(1);
	}
	mock_expect(&mock, "agent gone");
	expect_before("look: discoverable 0, limit 180, pairable 0, limit 0");
}
END_TEST

START_TEST(test_json)
{
	const char *options[] = {"--json", "-1", NULL};

	start_daemon();
	run_pair(options);
	wait_for_stdout("\n");
	mock_tell(&mock, "device 0 2 known HC-05");
	mock_tell(&mock, "ask 0 2 RequestPinCode");
	mock_expect(&mock, "answer org.bluez.Error.Rejected");
	pair(3, "\"\x1b[31m");
	run_to_the_end(0);
	ck_assert_str_eq(
		program.out_text,
		"{\"event\": \"open\", \"adapter\": \"hci0\", \"address\": "
		"\"00:AA:01:00:00:00\", \"name\": \"BlueZ 5.66\", \"seconds\": "
		"120}\n"
		"{\"event\": \"refused\", \"address\": \"10:00:00:00:00:02\", "
		"\"name\": \"HC-05\", \"adapter\": \"hci0\", \"why\": \"it "
		"asks for a PIN\"}\n"
		"{\"event\": \"paired\", \"address\": \"10:00:00:00:00:03\", "
		"\"name\": \"\\\"\\u001b[31m\", \"adapter\": \"hci0\", "
		"\"how\": \"just works\"}\n"
		"{\"event\": \"closed\", \"paired\": 1}\n");
}
END_TEST

/* bluetoothd comes back: the window is open again, and old news stays old. */
START_TEST(test_restart)
{
	start_daemon();
	open_window(NULL);
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 1");
	pair(3, "phone");
	wait_for_stdout("paired: 10:00:00:00:00:03");
	if (_i)
		mock_daemon_quit(&mock);
	else
		mock_daemon_stop(&mock);
	mock_daemon_start(&mock);
	mock_tell(&mock, "device 0 3 paired phone");
	mock_tell(&mock, "adapter 0 1");
	mock_expect(&mock, "agent /btgate/agent NoInputNoOutput");
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 1");
	pair(4, "phone");
	wait_for_stdout("paired: 10:00:00:00:00:04");
	close_window(0);
	assert_has(program.out_text, "closed; 2 devices paired\n");
	expect_before("look: discoverable 0, limit 180, pairable 0, limit 0");
}
END_TEST

START_TEST(test_cannot)
{
	run_without(&mock, _i, "pair", NULL,
		    "btgate: cannot let devices pair: ");
}
END_TEST

START_TEST(test_no_agent)
{
	start_daemon();
	mock_tell(&mock, "agent-error org.freedesktop.DBus.Error.AccessDenied");
	run_pair(NULL);
	run_to_the_end(1);
	ck_assert_str_eq(program.out_text, "");
	assert_has(program.err_text,
		   "btgate: cannot let devices pair: bluetoothd takes no "
		   "agent: the system bus's policy");
	ck_assert_ptr_null(mock_take(&mock, "set "));
}
END_TEST

START_TEST(test_wrong)
{
	static const struct {
		const char *options[5];
		const char *text;
	} table[] = {
		{{"--for", "soon"}, "--for: "},
		{{"--for", "0s"}, "--for: '0s' is not 1s to 1h"},
		{{"--for", "2h"}, "--for: '2h' is not 1s to 1h"},
		{{"-i", "usb"}, "usb"},
		{{"--pin", ""}, "--pin: a PIN has 1 to 16 bytes"},
		{{"--pin", "12345678901234567"}, "a PIN has 1 to 16 bytes"},
		{{"--pin", "\x01"}, "--pin: a PIN is digits, or"},
		{{"--pin", "1", "--confirm"}, "only one of --pin"},
		{{"--one-time-pin", "--confirm"}, "only one of --pin"},
		{{"--one-time-pin", "--pin", "1"}, "only one of --pin"},
		{{"00:11:22:33:44"}, "00:11:22:33:44"},
		{{"phone", "--for", "0s"}, "--for: '0s' is not"},
		{{"phone", "other"}, "what is 'other'?"},
	};

	run_pair(table[_i].options);
	run_to_the_end(2);
	assert_has(program.err_text, table[_i].text);
}
END_TEST

/* ---- what is asked -------------------------------------------------------------- */

START_TEST(test_free_refuses)
{
	static const char *const requests[] = {"RequestPinCode",
					       "RequestPasskey"};
	static const char *const whys[] = {
		"it asks for a PIN; ", "it shows a number to be typed here; "};
	char command[64];

	start_daemon();
	open_window(NULL);
	mock_tell(&mock, "device 0 2 known HC-05");
	snprintf(command, sizeof(command), "ask 0 2 %s", requests[_i]);
	for (int i = 0; i < 3; i++) {
		mock_tell(&mock, command);
		mock_expect(&mock, "answer org.bluez.Error.Rejected");
	}
	close_window(1);
	assert_has(program.out_text, "refused: 10:00:00:00:00:02 \"HC-05\": ");
	assert_has(program.out_text, whys[_i]);
	/* Once. */
	ck_assert_ptr_null(
		strstr(strstr(program.out_text, "refused") + 1, "refused"));
}
END_TEST

/* bluetoothd has one agent for all adapters, and makes all of them pairable. */
START_TEST(test_other_adapter)
{
	const char *options[] = {"-i", "hci0", NULL};

	start_daemon();
	mock_tell(&mock, "adapter 1 1");
	run_pair(options);
	wait_for_stdout("Ctrl-C ends that\n");
	mock_tell(&mock, "device 1 2 known neighbour");
	mock_tell(&mock, "ask 1 2 RequestAuthorization");
	mock_expect(&mock, "answer org.bluez.Error.Rejected");
	mock_tell(&mock, "device 0 3 known phone");
	mock_tell(&mock, "ask 0 3 RequestAuthorization");
	mock_expect(&mock, "answer yes");
	close_window(1);
	assert_has(program.out_text,
		   "refused: 10:00:00:00:01:02 \"neighbour\": it came to an "
		   "adapter that is not to be paired with\n");
}
END_TEST

/* Who could pair without the PIN does not get in, and nobody reads the PIN. */
START_TEST(test_pin)
{
	const char *options[] = {"--pin", "471108", "-v", "-v", NULL};
	char path[64], line[256] = "";
	FILE *file;

	start_daemon();
	open_window(options);
	mock_expect(&mock, "agent /btgate/agent DisplayYesNo");
	mock_tell(&mock, "device 0 2 known phone");
	mock_tell(&mock, "ask 0 2 RequestConfirmation 123456");
	mock_expect(&mock, "answer org.bluez.Error.Rejected");
	mock_tell(&mock, "ask 0 2 RequestAuthorization");
	mock_expect(&mock, "answer org.bluez.Error.Rejected");
	mock_tell(&mock, "device 0 3 known HC-05");
	mock_tell(&mock, "ask 0 3 RequestPinCode");
	mock_expect(&mock, "answer 471108");
	mock_tell(&mock, "bond 0 3");
	wait_for_stdout("paired: 10:00:00:00:00:03 \"HC-05\" (PIN)\n");
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)program.pid);
	file = fopen(path, "r");
	ck_assert_uint_gt(fread(line, 1, sizeof(line) - 1, file), 0);
	for (size_t i = 0; i < sizeof(line) - 6; i++)
		ck_assert_int_ne(memcmp(line + i, "471108", 6), 0);
	fclose(file);
	close_window(0);
	assert_has(program.out_text, "\"phone\": it wants to pair without a "
				     "PIN; --pin is there to keep it out");
	ck_assert_ptr_null(strstr(program.out_text, "471108"));
	ck_assert_ptr_null(strstr(program.err_text, "471108"));
}
END_TEST

/* What is to be typed on the next device, which is told before it comes. */
static void read_next_pin(char pin[7])
{
	static const char before[] = "the PIN to type on the next device: ";
	const char *at;

	wait_for_stdout(before);
	at = strstr(program.out_text, before) + strlen(before);
	while (strlen(at) < 7)
		ck_assert(read_some(program.out, program.out_text,
				    sizeof(program.out_text)));
	ck_assert_int_eq(strspn(at, "0123456789"), 6);
	memcpy(pin, at, 6);
	pin[6] = '\0';
}

/* A new one each time. */
START_TEST(test_one_time_pin)
{
	const char *options[] = {"--one-time-pin", "-v", "-v", NULL};
	char pins[3][7], expected[32], *answer;

	start_daemon();
	open_window(options);
	read_next_pin(pins[0]);
	mock_tell(&mock, "device 0 2 known old");
	for (int i = 0; i < 2; i++) {
		program.out_text[0] = '\0';
		mock_tell(&mock, "ask 0 2 RequestPinCode");
		snprintf(expected, sizeof(expected), "answer %s", pins[i]);
		answer = mock_await(&mock, "answer");
		ck_assert_str_eq(answer, expected);
		free(answer);
		read_next_pin(pins[i + 1]);
		ck_assert_str_ne(pins[i], pins[i + 1]);
	}
	mock_tell(&mock, "bond 0 2");
	wait_for_stdout("\"old\" (PIN)\n");
	close_window(0);
	for (int i = 0; i < 3; i++)
		ck_assert_ptr_null(strstr(program.err_text, pins[i]));
}
END_TEST

START_TEST(test_one_time_pin_json)
{
	const char *options[] = {"--one-time-pin", "--json", NULL};

	start_daemon();
	run_pair(options);
	wait_for_stdout("{\"event\": \"open\"");
	wait_for_stdout("{\"event\": \"show\", \"type\": \"");
	close_window(1);
}
END_TEST

static const struct {
	const char *request;
	const char *prompt;
	const char *typed;
	const char *answer;
	const char *how; /* NULL: it does not pair */
} questions[] = {
	{"RequestConfirmation 123",
	 "wants to pair; does it show 000123 (yes, "
	 "no)? ",
	 "yes\n", "answer yes", "number compared"},
	{"RequestConfirmation 123", "does it show 000123", " y \n",
	 "answer yes", "number compared"},
	{"RequestConfirmation 123", "does it show 000123", "no\n",
	 "answer org.bluez.Error.Rejected", NULL},
	{"RequestAuthorization", "wants to pair, without a number", "yes\n",
	 "answer yes", "allowed"},
	{"RequestAuthorization", "wants to pair, without a number", "n\n",
	 "answer org.bluez.Error.Rejected", NULL},
	{"RequestPinCode", "wants a PIN; which one? ", "47 11\n",
	 "answer 47 11", "PIN"},
	{"RequestPasskey", "shows a number; which one? ", "012345\n",
	 "answer 12345", "number typed"},
};

START_TEST(test_confirm)
{
	const char *options[] = {"--confirm", NULL};
	char text[64];

	start_daemon();
	open_window(options);
	mock_expect(&mock, "agent /btgate/agent KeyboardDisplay");
	mock_tell(&mock, "device 0 2 known phone");
	snprintf(text, sizeof(text), "ask 0 2 %s", questions[_i].request);
	mock_tell(&mock, text);
	wait_for_stdout(questions[_i].prompt);
	type_line(questions[_i].typed);
	mock_expect(&mock, questions[_i].answer);
	if (questions[_i].how) {
		mock_tell(&mock, "bond 0 2");
		snprintf(text, sizeof(text), "\"phone\" (%s)\n",
			 questions[_i].how);
		wait_for_stdout(text);
	}
	close_window(questions[_i].how ? 0 : 1);
	ck_assert_str_eq(program.err_text, "");
}
END_TEST

/* What a person types is not in the log, whatever that has to say. */
START_TEST(test_confirm_in_private)
{
	static const char *const secrets[][3] = {
		{"RequestPinCode", "471108\n", "answer 471108"},
		{"RequestPasskey", "471108\n", "answer 471108"},
		{"RequestPinCode", "471108471108471108\n", NULL},
	};
	const char *options[] = {"--confirm", "-v", "-v", NULL};
	char text[64];

	start_daemon();
	open_window(options);
	mock_tell(&mock, "device 0 2 known phone");
	snprintf(text, sizeof(text), "ask 0 2 %s", secrets[_i][0]);
	mock_tell(&mock, text);
	wait_for_stdout("? ");
	type_line(secrets[_i][1]);
	if (secrets[_i][2]) {
		mock_expect(&mock, secrets[_i][2]);
		mock_tell(&mock, "bond 0 2");
		wait_for_stdout("paired: ");
	} else {
		wait_for_stderr("1 to 16 bytes");
		mock_tell(&mock, "ask 0 2 Cancel");
		wait_for_stdout("no longer asked\n");
		mock_expect(&mock, "answer yes"); /* to Cancel */
	}
	close_window(secrets[_i][2] ? 0 : 1);
	ck_assert_ptr_null(strstr(program.out_text, "471108"));
	ck_assert_ptr_null(strstr(program.err_text, "471108"));
}
END_TEST

/* What is no answer is asked again, and what is called off is not. */
START_TEST(test_confirm_again)
{
	static const char *const wrong[][3] = {
		{"RequestConfirmation 123", "maybe\n", "answer yes or no"},
		{"RequestPasskey", "1234567\n", "six digits"},
		{"RequestPinCode", "12345678901234567\n", "1 to 16 bytes"},
	};
	const char *options[] = {"--confirm", NULL};
	char text[64];

	start_daemon();
	open_window(options);
	mock_tell(&mock, "device 0 2 known phone");
	snprintf(text, sizeof(text), "ask 0 2 %s", wrong[_i][0]);
	mock_tell(&mock, text);
	wait_for_stdout("? ");
	type_line(wrong[_i][1]);
	wait_for_stderr(wrong[_i][2]);
	mock_tell(&mock, "ask 0 2 Cancel");
	wait_for_stdout("no longer asked\n");
	/* The next device is not let in by an answer that comes late. */
	type_line("yes\n");
	mock_tell(&mock, "device 0 3 known other");
	mock_tell(&mock, "ask 0 3 RequestAuthorization");
	wait_for_stdout("10:00:00:00:00:03 \"other\" wants to pair");
	type_line("no\n");
	mock_expect(&mock, "answer yes"); /* to Cancel */
	mock_expect(&mock, "answer org.bluez.Error.Rejected");
	close_window(1);
}
END_TEST

START_TEST(test_confirm_nobody)
{
	const char *options[] = {"--confirm", NULL};

	start_daemon();
	open_window(options);
	mock_tell(&mock, "device 0 2 known phone");
	mock_tell(&mock, "ask 0 2 RequestAuthorization");
	wait_for_stdout("? ");
	close(program.in);
	mock_expect(&mock, "answer org.bluez.Error.Rejected");
	wait_for_stderr("nobody can confirm any more");
	mock_tell(&mock, "ask 0 2 RequestAuthorization");
	mock_expect(&mock, "answer org.bluez.Error.Rejected");
	program.in = open("/dev/null", O_RDONLY);
	close_window(1);
}
END_TEST

/* It is closed in the middle of a question: the device hears of it. */
START_TEST(test_confirm_closed)
{
	const char *options[] = {"--confirm", NULL};

	start_daemon();
	open_window(options);
	mock_tell(&mock, "device 0 2 known phone");
	mock_tell(&mock, "ask 0 2 RequestAuthorization");
	wait_for_stdout("? ");
	kill(program.pid, SIGINT);
	mock_expect(&mock, "answer org.bluez.Error.Rejected");
	run_to_the_end(1);
}
END_TEST

START_TEST(test_shows)
{
	static const char *const table[][3] = {
		{"DisplayPasskey 42", "\"keys\": type 000042 on it\n",
		 "\"keys\" (number typed)\n"},
		{"DisplayPinCode 0042", "\"keys\": type 0042 on it\n",
		 "\"keys\" (PIN)\n"},
	};
	const char *options[] = {"--confirm", NULL};
	char text[64];

	start_daemon();
	open_window(options);
	mock_tell(&mock, "device 0 2 known keys");
	snprintf(text, sizeof(text), "ask 0 2 %s", table[_i][0]);
	mock_tell(&mock, text);
	wait_for_stdout(table[_i][1]);
	mock_expect(&mock, "answer yes");
	mock_tell(&mock, "bond 0 2");
	wait_for_stdout(table[_i][2]);
	close_window(0);
}
END_TEST

/* What another device is to show is no answer to what is being asked. */
START_TEST(test_shows_other)
{
	static const char *const table[] = {
		"ask 1 3 DisplayPasskey 42",
		"ask 1 3 DisplayPinCode 0042",
	};
	const char *options[] = {"--confirm", "-i", "hci0", NULL};

	start_daemon();
	mock_tell(&mock, "adapter 1 1");
	open_window(options);
	mock_tell(&mock, "device 0 2 known phone");
	mock_tell(&mock, "device 1 3 known neighbour");
	mock_tell(&mock, "ask 0 2 RequestAuthorization");
	wait_for_stdout("\"phone\" wants to pair");
	mock_tell(&mock, table[_i]);
	mock_expect(&mock, "answer org.bluez.Error.Rejected");
	wait_for_stdout("\"neighbour\": it came to an adapter that is not");
	type_line("yes\n");
	mock_expect(&mock, "answer yes");
	close_window(1);
	ck_assert_ptr_null(strstr(program.out_text, "0042"));
}
END_TEST

/* Nobody reads what would be shown: who has to type it cannot pair. */
START_TEST(test_shows_nobody)
{
	static const char *const whys[] = {"it asks for a PIN",
					   "it wants to pair without a PIN"};
	const char *options[] = {_i ? "--pin" : NULL, "1234", NULL};

	start_daemon();
	open_window(options);
	mock_tell(&mock, "device 0 2 known keys");
	mock_tell(&mock, "ask 0 2 DisplayPinCode 0042");
	mock_expect(&mock, "answer org.bluez.Error.Rejected");
	wait_for_stdout(whys[_i]);
	close_window(1);
}
END_TEST

/* Against what was wanted, and not in silence. */
START_TEST(test_unasked)
{
	const char *options[][3] = {{"--confirm"}, {"--pin", "1234"}};

	start_daemon();
	open_window(options[_i]);
	mock_tell(&mock, "device 0 2 known mute");
	mock_tell(&mock, "bond 0 2");
	wait_for_stdout("paired: 10:00:00:00:00:02 \"mute\" (unasked)\n");
	wait_for_stderr("'bluetoothctl remove 10:00:00:00:00:02' undoes it");
	close_window(0);
}
END_TEST

/* Those of our routes, for the devices that they are for. */
static const struct {
	const char *uuid;
	const char *device;
	const char *answer;
} services[] = {
	{"00001105-0000-1000-8000-00805f9b34fb", "2 known phone", "answer yes"},
	{"00001105-0000-1000-8000-00805f9b34fb", "3 paired Anna", "answer yes"},
	{"00001105-0000-1000-8000-00805f9b34fb", "3 known Anna",
	 "answer org.bluez.Error.Rejected"},
	{"0000110d-0000-1000-8000-00805f9b34fb", "2 known phone",
	 "answer org.bluez.Error.Rejected"},
	{"spam", "2 known phone", "answer org.bluez.Error.Rejected"},
};

START_TEST(test_services)
{
	char text[128];

	write_config("pairing = window");
	start_daemon();
	open_window(NULL);
	snprintf(text, sizeof(text), "device 0 %s", services[_i].device);
	mock_tell(&mock, text);
	snprintf(text, sizeof(text), "ask 0 %c AuthorizeService %s",
		 *services[_i].device, services[_i].uuid);
	mock_tell(&mock, text);
	mock_expect(&mock, services[_i].answer);
	if (strstr(services[_i].answer, "Rejected"))
		wait_for_stdout(
			"it wants a service that no route has for it\n");
	close_window(1);
}
END_TEST

START_TEST(test_no_routes)
{
	start_daemon();
	open_window(NULL);
	mock_tell(&mock, "device 0 2 known phone");
	mock_tell(&mock, "ask 0 2 AuthorizeService "
			 "00001101-0000-1000-8000-00805f9b34fb");
	mock_expect(&mock, "answer org.bluez.Error.Rejected");
	close_window(1);
}
END_TEST

/* ---- one device -------------------------------------------------------------------- */

#define PHONE "10:00:00:00:00:02"
#define PHONE_PATH "/org/bluez/hci0/dev_10_00_00_00_00_02"

/* Up to the moment when bluetoothd is asked to. */
static void pair_with(const char *const *options)
{
	run_pair(options);
	mock_expect(&mock, "pair " PHONE_PATH);
}

/* Who is known, by either, and without being shown to anybody. */
START_TEST(test_device)
{
	static const char *const names[] = {PHONE, "phone"};
	const char *options[] = {names[_i], NULL};

	start_daemon();
	mock_tell(&mock, "device 0 2 known phone");
	pair_with(options);
	mock_expect(&mock, "agent /btgate/agent NoInputNoOutput");
	mock_tell(&mock, "bond 0 2");
	mock_tell(&mock, "pair-end");
	run_to_the_end(0);
	ck_assert_str_eq(program.out_text,
			 "paired: " PHONE " \"phone\" (just works)\n");
	ck_assert_str_eq(program.err_text, "");
	mock_expect(&mock, "agent gone");
	ck_assert_ptr_null(mock_take(&mock, "start "));
	ck_assert_ptr_null(mock_take(&mock, "set "));
}
END_TEST

/* Who is not known is searched for, and the search over before it is paired. */
START_TEST(test_device_found)
{
	const char *options[] = {PHONE, "--json", NULL};

	start_daemon();
	run_pair(options);
	mock_expect(&mock, "start /org/bluez/hci0");
	mock_tell(&mock, "device 0 3 known other");
	ck_assert_ptr_null(mock_take(&mock, "stop "));
	mock_tell(&mock, "device 0 2 known phone");
	mock_expect(&mock, "stop /org/bluez/hci0");
	mock_expect(&mock, "pair " PHONE_PATH);
	mock_tell(&mock, "bond 0 2");
	mock_tell(&mock, "pair-end");
	run_to_the_end(0);
	ck_assert_str_eq(program.out_text,
			 "{\"event\": \"paired\", \"address\": \"" PHONE
			 "\", \"name\": \"phone\", \"adapter\": \"hci0\", "
			 "\"how\": \"just works\"}\n");
}
END_TEST

/* Also where bluetoothd tells of it late. */
START_TEST(test_device_already)
{
	const char *options[] = {PHONE, _i == 1 ? "--json" : NULL, NULL};

	start_daemon();
	mock_tell(&mock, _i == 2 ? "device 0 2 known phone"
				 : "device 0 2 paired phone");
	if (_i == 2) {
		pair_with(options);
		mock_tell(&mock, "pair-end org.bluez.Error.AlreadyExists");
	} else {
		run_pair(options);
	}
	run_to_the_end(0);
	ck_assert_str_eq(program.out_text,
			 _i == 1 ? "{\"event\": \"paired\", \"address\": "
				   "\"" PHONE "\", \"name\": \"phone\", "
				   "\"adapter\": \"hci0\", \"how\": "
				   "\"already\"}\n"
				 : "paired already: " PHONE " \"phone\"\n");
	if (_i < 2)
		ck_assert_ptr_null(mock_take(&mock, "agent"));
}
END_TEST

/* Whatever the configuration says: that is about who comes. */
START_TEST(test_device_pin)
{
	const char *options[] = {PHONE, "--pin", "471108", "-v", "-v", NULL};

	write_config("pairing = never");
	start_daemon();
	mock_tell(&mock, "device 0 2 known HC-05");
	pair_with(options);
	mock_expect(&mock, "agent /btgate/agent DisplayYesNo");
	mock_tell(&mock, "ask 0 2 RequestPinCode");
	mock_expect(&mock, "answer 471108");
	if (_i) {
		mock_tell(&mock, "pair-end "
				 "org.bluez.Error.AuthenticationFailed");
		run_to_the_end(1);
		ck_assert_str_eq(program.out_text, "");
		assert_has(program.err_text, "btgate: cannot pair with " PHONE
					     ": it, or this machine, did not "
					     "agree: a wrong PIN");
	} else {
		mock_tell(&mock, "bond 0 2");
		mock_tell(&mock, "pair-end");
		run_to_the_end(0);
		ck_assert_str_eq(program.out_text,
				 "paired: " PHONE " \"HC-05\" (PIN)\n");
	}
	ck_assert_ptr_null(strstr(program.err_text, "471108"));
}
END_TEST

START_TEST(test_device_one_time_pin)
{
	const char *options[] = {"phone", "--one-time-pin", NULL};

	start_daemon();
	mock_tell(&mock, "device 0 2 known phone");
	pair_with(options);
	mock_tell(&mock, "ask 0 2 RequestPinCode");
	wait_for_stdout(PHONE " \"phone\": type ");
	wait_for_stdout(" on it\n");
	mock_expect(&mock, "answer ");
	mock_tell(&mock, "bond 0 2");
	mock_tell(&mock, "pair-end");
	run_to_the_end(0);
	assert_has(program.out_text, "paired: " PHONE " \"phone\" (PIN)\n");
}
END_TEST

START_TEST(test_device_confirm)
{
	const char *options[] = {"phone", "--confirm", NULL};

	start_daemon();
	mock_tell(&mock, "device 0 2 known phone");
	pair_with(options);
	mock_tell(&mock, "ask 0 2 RequestConfirmation 123");
	wait_for_stdout("does it show 000123 (yes, no)? ");
	type_line(_i ? "no\n" : "yes\n");
	if (_i) {
		mock_expect(&mock, "answer org.bluez.Error.Rejected");
		mock_tell(&mock, "pair-end "
				 "org.bluez.Error.AuthenticationFailed");
		run_to_the_end(1);
		assert_has(program.err_text, "cannot pair with \"phone\": ");
	} else {
		mock_expect(&mock, "answer yes");
		mock_tell(&mock, "bond 0 2");
		mock_tell(&mock, "pair-end");
		run_to_the_end(0);
		assert_has(program.out_text, "\"phone\" (number compared)\n");
	}
}
END_TEST

/* What we refuse is the reason, and not what bluetoothd makes of it. */
START_TEST(test_device_refused)
{
	static const char *const requests[] = {"RequestPinCode",
					       "RequestPasskey"};
	static const char *const whys[] = {
		"it asks for a PIN; an old device has one built in (--pin)",
		"it shows a number to be typed here; with --confirm you can",
	};
	const char *options[] = {PHONE, NULL};
	char command[64];

	start_daemon();
	mock_tell(&mock, "device 0 2 known HC-05");
	pair_with(options);
	snprintf(command, sizeof(command), "ask 0 2 %s", requests[_i]);
	mock_tell(&mock, command);
	mock_expect(&mock, "answer org.bluez.Error.Rejected");
	mock_tell(&mock, "pair-end org.bluez.Error.AuthenticationCanceled");
	run_to_the_end(1);
	assert_has(program.err_text, "cannot pair with " PHONE ": ");
	assert_has(program.err_text, whys[_i]);
}
END_TEST

/* Nobody else pairs with it, by a question, and not in silence. */
START_TEST(test_device_other)
{
	const char *options[] = {PHONE, "--confirm", NULL};

	start_daemon();
	mock_tell(&mock, "device 0 2 known phone");
	mock_tell(&mock, "device 0 3 known other");
	pair_with(options);
	mock_tell(&mock, "ask 0 3 RequestAuthorization");
	mock_expect(&mock, "answer org.bluez.Error.Rejected");
	mock_tell(&mock, "bond 0 3");
	wait_for_stderr("10:00:00:00:00:03 paired meanwhile, too; "
			"'bluetoothctl remove 10:00:00:00:00:03' undoes it");
	mock_tell(&mock, "pair-end org.bluez.Error.AuthenticationRejected");
	run_to_the_end(1);
	ck_assert_str_eq(program.out_text, "");
	assert_has(program.err_text, "it was rejected; make the device ready");
}
END_TEST

static const struct {
	const char *name;
	const char *text;
} failures[] = {
	{"org.bluez.Error.ConnectionAttemptFailed", "it does not answer; "},
	{"org.bluez.Error.AuthenticationTimeout", "nobody confirmed it on"},
	{"org.bluez.Error.AuthenticationCanceled", "it was cancelled"},
};

START_TEST(test_device_fails)
{
	const char *options[] = {PHONE, NULL};
	char command[64];

	start_daemon();
	mock_tell(&mock, "device 0 2 known phone");
	pair_with(options);
	snprintf(command, sizeof(command), "pair-end %s", failures[_i].name);
	mock_tell(&mock, command);
	run_to_the_end(1);
	assert_has(program.err_text, failures[_i].text);
}
END_TEST

/* What ends it before bluetoothd does; then it calls it off itself. */
START_TEST(test_device_ends)
{
	const char *options[] = {PHONE, "--for", "1s", NULL};

	start_daemon();
	mock_tell(&mock, "device 0 2 known phone");
	options[1] = _i == 1 ? "--for" : NULL;
	pair_with(options);
	if (_i == 0)
		kill(program.pid, SIGINT);
	else if (_i == 2)
		mock_daemon_stop(&mock);
	run_to_the_end(1);
	assert_has(program.err_text,
		   _i == 0   ? PHONE " was not paired: called off"
		   : _i == 1 ? PHONE " was not paired within 1s"
			     : "bluetoothd went away meanwhile");
	if (_i < 2)
		mock_expect(&mock, "agent gone");
}
END_TEST

START_TEST(test_device_cannot)
{
	run_without(&mock, _i, "pair", PHONE,
		    "btgate: cannot look for '" PHONE "': ");
}
END_TEST

/* It is known, but of no use so. */
START_TEST(test_device_off)
{
	const char *options[] = {PHONE, NULL};

	start_daemon();
	mock_tell(&mock, "device 0 2 known phone");
	if (_i)
		mock_tell(&mock, "agent-error "
				 "org.freedesktop.DBus.Error.AccessDenied");
	else
		mock_tell(&mock, "power 0 0");
	run_pair(options);
	run_to_the_end(1);
	assert_has(program.err_text,
		   _i ? "cannot pair with " PHONE ": bluetoothd takes no "
			"agent: the system bus's policy"
		      : "cannot pair with " PHONE ": the adapter hci0 is "
			"powered off: 'bluetoothctl power");
	ck_assert_ptr_null(mock_take(&mock, "pair "));
}
END_TEST

/* ---- what the configuration says --------------------------------------------------- */

START_TEST(test_forbidden)
{
	static const struct {
		const char *pairing;
		const char *options[3];
		int status;
		const char *text;
	} table[] = {
		{"pairing = never", {NULL}, 1, "pairing is 'never' in "},
		{"",
		 {NULL},
		 1,
		 "'pairing = window' in its [gateway] allows it"},
		{"pairing = always", {"--confirm"}, 1, "pairing is 'always'"},
		{"pairing = always", {"--pin", "1"}, 1, "pairing is 'always'"},
		{"pairing = sometimes", {NULL}, 2, "'sometimes' is not"},
	};

	write_config(table[_i].pairing);
	start_daemon();
	run_pair(table[_i].options);
	run_to_the_end(table[_i].status);
	assert_has(program.err_text, table[_i].text);
	ck_assert_ptr_null(mock_take(&mock, "agent"));
}
END_TEST

/* The gateway itself, until a reload says otherwise. */
START_TEST(test_always)
{
	const char *options[] = {"-c", config_path, NULL};

	write_config("pairing = always");
	start_daemon();
	if (_i)
		mock_tell(&mock, "other-agent");
	run_command("run", false, options);
	mock_expect(&mock, "agent /btgate/agent NoInputNoOutput");
	if (_i)
		mock_expect(&mock, "set /org/bluez/hci0 Pairable 1");
	wait_for_stderr("pairing: devices can pair, as pairing = always says");
	pair(2, "\x1b[31mred");
	wait_for_stderr(
		"pairing: 10:00:00:00:00:02 \"?[31mred\" is paired with "
		"hci0 (just works)\n");
	mock_tell(&mock, "device 0 3 known HC-05");
	mock_tell(&mock, "ask 0 3 RequestPinCode");
	mock_expect(&mock, "answer org.bluez.Error.Rejected");
	wait_for_stderr("pairing: refused 10:00:00:00:00:03 \"HC-05\": it asks "
			"for a PIN; ");
	mock_tell(&mock, "ask 0 2 AuthorizeService "
			 "00001105-0000-1000-8000-00805f9b34fb");
	mock_expect(&mock, "answer yes");
	write_config("pairing = never");
	kill(program.pid, SIGHUP);
	mock_expect(&mock, "agent gone");
	if (_i)
		mock_expect(&mock, "set /org/bluez/hci0 Pairable 0");
	write_config("pairing = always");
	kill(program.pid, SIGHUP);
	mock_expect(&mock, "agent /btgate/agent NoInputNoOutput");
	if (_i)
		mock_expect(&mock, "set /org/bluez/hci0 Pairable 1");
	kill(program.pid, SIGTERM);
	run_to_the_end(0);
	mock_expect(&mock, "agent gone");
	expect_before("look: discoverable 0, limit 180, pairable 0, limit 0");
}
END_TEST

/* Without it nobody answers, and nobody is let in. */
START_TEST(test_never)
{
	const char *options[] = {"-c", config_path, NULL};

	write_config(_i ? "pairing = window" : "");
	start_daemon();
	run_command("run", false, options);
	mock_expect(&mock, "set /org/bluez/hci0 Discoverable 1");
	kill(program.pid, SIGTERM);
	run_to_the_end(0);
	ck_assert_ptr_null(mock_take(&mock, "agent"));
	ck_assert_ptr_null(mock_take(&mock, "set /org/bluez/hci0 Pairable"));
}
END_TEST

/* ---- the agent alone ------------------------------------------------------------------ */

static sd_bus *handle;

static int on_opened(sd_bus *opened, void *arg)
{
	handle = opened;
	return 0;
}

static void on_closed(const char *reason, void *arg)
{
	ck_abort_msg("%s", reason);
}

static void on_registered(int code, const struct error *error, void *arg)
{
	*(int *)arg = code;
}

static int on_call(sd_bus_message *call, void *arg, sd_bus_error *error)
{
	return 0;
}

/* In the agent's place: a path is either a fallback's or an object's. */
static const sd_bus_vtable nobody[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("Release", "", "", on_call, 0),
	SD_BUS_VTABLE_END,
};

/* What could not even be asked is asked again. */
START_TEST(test_late_agent)
{
	static const struct agent_ops ops = {.registered = on_registered};
	struct agent *agent;
	sd_bus_slot *taken;
	struct bus *bus;
	int code = 1;

	start_daemon();
	log_set_level(LOG_LEVEL_ERROR);
	bus = bus_new(loop, on_opened, on_closed, NULL);
	while (!handle)
		event_base_loop(loop->base, EVLOOP_ONCE);
	ck_assert_int_ge(sd_bus_add_fallback_vtable(
				 handle, &taken, "/btgate/agent",
				 "org.bluez.Agent1", nobody, NULL, NULL),
			 0);
	agent = agent_new(loop, bus, AGENT_CAPABILITY_NONE, &ops, &code);
	agent_attach(agent, handle, "org.bluez");
	sd_bus_slot_unref(taken);
	ck_assert_ptr_null(mock_take(&mock, "agent"));
	mock_expect(&mock, "agent /btgate/agent NoInputNoOutput");
	while (code)
		event_base_loop(loop->base, EVLOOP_ONCE);
	ck_assert(agent_is_registered(agent));
	agent_free(agent);
	mock_expect(&mock, "agent gone");
	bus_free(bus);
}
END_TEST

/* ---- strangers ------------------------------------------------------------------------ */

/* Only bluetoothd may ask: anybody on the bus can call. */
START_TEST(test_stranger)
{
	static const char *const table[][2] = {
		{"RequestPinCode", "o"},
		{"Cancel", ""},
		{"Release", ""},
	};
	const char *options[] = {"--pin", "1234", NULL};
	sd_bus_error error = SD_BUS_ERROR_NULL;
	char *report, client[32];
	sd_bus *bus = NULL;

	start_daemon();
	open_window(options);
	report = mock_await(&mock, "agent /btgate/agent");
	ck_assert_int_eq(sscanf(report, "agent %*s %*s %31s", client), 1);
	free(report);
	ck_assert_int_ge(sd_bus_open_system(&bus), 0);
	ck_assert_int_lt(sd_bus_call_method(bus, client, "/btgate/agent",
					    "org.bluez.Agent1", table[_i][0],
					    &error, NULL, table[_i][1],
					    "/org/bluez/hci0/dev_1"),
			 0);
	ck_assert_str_eq(error.name, SD_BUS_ERROR_ACCESS_DENIED);
	sd_bus_error_free(&error);
	sd_bus_flush_close_unref(bus);
	close_window(1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pair");
	TCase *window = tcase_create("window"), *asked = tcase_create("asked");
	TCase *device = tcase_create("device");
	SRunner *runner;
	int failed;

	tcase_set_timeout(window, 60);
	tcase_add_checked_fixture(window, setup, teardown);
	tcase_add_test(window, test_pair);
	tcase_add_test(window, test_other_agent);
	tcase_add_test(window, test_pairable_before);
	tcase_add_test(window, test_taken_over);
	tcase_add_test(window, test_time_is_over);
	tcase_add_test(window, test_once);
	tcase_add_loop_test(window, test_ends, 0, 3);
	tcase_add_test(window, test_json);
	tcase_add_loop_test(window, test_restart, 0, 2);
	tcase_add_loop_test(window, test_cannot, 0, MISSING_COUNT);
	tcase_add_test(window, test_no_agent);
	tcase_add_loop_test(window, test_wrong, 0, 13);
	suite_add_tcase(suite, window);
	tcase_set_timeout(asked, 60);
	tcase_add_checked_fixture(asked, setup, teardown);
	tcase_add_loop_test(asked, test_free_refuses, 0, 2);
	tcase_add_test(asked, test_other_adapter);
	tcase_add_test(asked, test_pin);
	tcase_add_test(asked, test_one_time_pin);
	tcase_add_test(asked, test_one_time_pin_json);
	tcase_add_loop_test(asked, test_confirm, 0, COUNT(questions));
	tcase_add_loop_test(asked, test_confirm_again, 0, 3);
	tcase_add_loop_test(asked, test_confirm_in_private, 0, 3);
	tcase_add_test(asked, test_confirm_nobody);
	tcase_add_test(asked, test_confirm_closed);
	tcase_add_loop_test(asked, test_shows, 0, 2);
	tcase_add_loop_test(asked, test_shows_other, 0, 2);
	tcase_add_loop_test(asked, test_shows_nobody, 0, 2);
	tcase_add_loop_test(asked, test_unasked, 0, 2);
	tcase_add_loop_test(asked, test_services, 0, COUNT(services));
	tcase_add_test(asked, test_no_routes);
	tcase_add_loop_test(asked, test_forbidden, 0, 5);
	tcase_add_loop_test(asked, test_always, 0, 2);
	tcase_add_loop_test(asked, test_never, 0, 2);
	tcase_add_test(asked, test_late_agent);
	tcase_add_loop_test(asked, test_stranger, 0, 3);
	suite_add_tcase(suite, asked);
	tcase_set_timeout(device, 60);
	tcase_add_checked_fixture(device, setup, teardown);
	tcase_add_loop_test(device, test_device, 0, 2);
	tcase_add_test(device, test_device_found);
	tcase_add_loop_test(device, test_device_already, 0, 3);
	tcase_add_loop_test(device, test_device_pin, 0, 2);
	tcase_add_test(device, test_device_one_time_pin);
	tcase_add_loop_test(device, test_device_confirm, 0, 2);
	tcase_add_loop_test(device, test_device_refused, 0, 2);
	tcase_add_test(device, test_device_other);
	tcase_add_loop_test(device, test_device_fails, 0, COUNT(failures));
	tcase_add_loop_test(device, test_device_ends, 0, 3);
	tcase_add_loop_test(device, test_device_cannot, 0, MISSING_COUNT);
	tcase_add_loop_test(device, test_device_off, 0, 2);
	suite_add_tcase(suite, device);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
