/* SPDX-License-Identifier: MIT */
/*
 * Devices that pair by a question, beside something else that the terminal is
 * for: against a mock of bluetoothd, with a pty as the terminal.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "bluez.h"
#include "command.h"
#include "endpoint.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "mock_bluez.h"
#include "pairing.h"
#include "pairing_asked.h"
#include "terminal.h"
#include "tty.h"

#define REJECTED "answer org.bluez.Error.Rejected"
#define PHONE "10:00:00:00:00:02 \"phone\""

static struct loop *loop;
static struct mock mock;
static struct bluez *bluez;
static struct pairing_asked *asked;
static int person; /* the master of the terminal */
static struct event *screen_event;
static char screen[8192];
static bool is_background;

/* The test has no controlling terminal, and no jobs. */
pid_t __wrap_tcgetpgrp(int fd);
pid_t __wrap_tcgetpgrp(int fd)
{
	return is_background ? getpgrp() + 1 : getpgrp();
}

/* How long devices may pair: until the test says that it is over. */
static struct event *limit;
int __real_loop_start_timer(struct event *timer, unsigned int delay_ms);
int __wrap_loop_start_timer(struct event *timer, unsigned int delay_ms);
int __wrap_loop_start_timer(struct event *timer, unsigned int delay_ms)
{
	if (delay_ms == PAIRING_WINDOW_MS)
		limit = timer;
	return __real_loop_start_timer(timer, delay_ms);
}

static void on_screen(evutil_socket_t fd, short what, void *arg)
{
	size_t used = strlen(screen);
	ssize_t bytes = read(fd, screen + used, sizeof(screen) - 1 - used);

	ck_assert_int_gt(bytes, 0);
	screen[used + (size_t)bytes] = '\0';
}

static void setup(void)
{
	int terminal;

	log_set_level(LOG_LEVEL_INFO);
	log_set_style(LOG_STYLE_COMMAND);
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	mock_setup(&mock, loop);
	person = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	ck_assert_int_ge(person, 0);
	ck_assert_int_eq(grantpt(person), 0);
	ck_assert_int_eq(unlockpt(person), 0);
	terminal = open(ptsname(person), O_RDWR | O_NOCTTY | O_CLOEXEC);
	ck_assert_int_ge(terminal, 0);
	mock_bus_start(&mock, "");
	mock_daemon_start(&mock);
	mock_tell(&mock, "adapter 0 1");
	dup2(terminal, STDIN_FILENO);
	dup2(terminal, STDERR_FILENO);
	close(terminal);
	screen_event = event_new(loop->base, person, EV_READ | EV_PERSIST,
				 on_screen, NULL);
	event_add(screen_event, NULL);
	screen[0] = '\0';
	is_background = false;
	limit = NULL;
}

static void stop(void)
{
	pairing_asked_free(asked);
	asked = NULL;
	bluez_free(bluez);
	bluez = NULL;
}

static void teardown(void)
{
	stop();
	event_free(screen_event);
	close(person);
	mock_teardown(&mock);
	loop_free(loop);
}

static void assert_not_shown(const char *part)
{
	ck_assert_msg(!strstr(screen, part), "\"%s\" in: %s", part, screen);
}

static void wait_for_screen(const char *part)
{
	while (!strstr(screen, part))
		event_base_loop(loop->base, EVLOOP_ONCE);
}

/* A line, or the beginning of one: it has arrived when it was echoed. */
static void type(const char *text, bool is_line)
{
	size_t bytes = strlen(text);

	screen[0] = '\0';
	ck_assert_int_eq(write(person, text, bytes), (ssize_t)bytes);
	if (is_line)
		ck_assert_int_eq(write(person, "\n", 1), 1);
	wait_for_screen(text);
	if (is_line)
		wait_for_screen("\r\n");
}

/* What is there for whoever reads the terminal now. */
static void assert_input(const char *text)
{
	char got[256] = "";

	fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
	ck_assert_int_lt(read(STDIN_FILENO, got, sizeof(got) - 1), 256);
	ck_assert_str_eq(got, text);
}

/* As btgate listen does. */
static void start(void)
{
	const struct bluez_settings settings = {
		.is_reachable = true,
		.is_discoverable = true,
	};

	bluez = bluez_new(loop, &settings);
	ck_assert_ptr_nonnull(bluez);
	asked = pairing_asked_new(bluez, &settings, PAIRING_WINDOW_MS);
	ck_assert_ptr_nonnull(asked);
}

static void open_window(void)
{
	start();
	wait_for_screen("btgate: phones can pair with this machine for 2m: you "
			"are asked about each that can show or type a "
			"number\r\n");
	mock_expect(&mock, "agent /btgate/agent KeyboardDisplay");
	mock_tell(&mock, "device 0 2 known phone");
}

/* Up to the moment when it can be answered. */
static void ask(const char *what, const char *question)
{
	char command[64];

	screen[0] = '\0';
	snprintf(command, sizeof(command), "ask 0 2 %s", what);
	mock_tell(&mock, command);
	wait_for_screen(question);
}

static void ask_for_pin(void)
{
	ask("RequestPinCode", PHONE " wants a PIN; which one? ");
}

static const struct {
	const char *what;
	const char *text;
	const char *wrong;
	const char *advice;
	const char *typed;
	const char *answer;
	const char *how;
} questions[] = {
	{"RequestPinCode", PHONE " wants a PIN; which one? ",
	 "12345678901234567", "a PIN has 1 to 16 bytes", "4711", "answer 4711",
	 "PIN"},
	{"RequestPasskey", PHONE " shows a number; which one? ", "1234567",
	 "type the number of six digits", "004711", "answer 4711",
	 "number typed"},
	{"RequestConfirmation 4711",
	 PHONE " wants to pair; does it show 004711 (yes, no)? ", "4711",
	 "answer yes or no", "yes", "answer yes", "number compared"},
	{"RequestAuthorization",
	 PHONE " wants to pair, without a number (yes, no)? ", "maybe",
	 "answer yes or no", "y", "answer yes", "allowed"},
};

START_TEST(test_answered)
{
	char paired[64];

	open_window();
	type("1111", true);
	ask(questions[_i].what, questions[_i].text);
	type(questions[_i].wrong, true);
	wait_for_screen(questions[_i].advice);
	type(questions[_i].typed, true);
	mock_expect(&mock, questions[_i].answer);
	mock_tell(&mock, "bond 0 2");
	snprintf(paired, sizeof(paired), "paired: " PHONE " (%s)\r\n",
		 questions[_i].how);
	wait_for_screen(paired);
	/* Nothing of it is for the client, who comes now. */
	pairing_asked_pause(asked, true);
	assert_input("");
	type("for the client", true);
	assert_input("for the client\n");
	stop();
	mock_expect(&mock, "agent gone");
	mock_tell(&mock, "look 0");
	mock_expect(&mock,
		    "look: discoverable 0, limit 180, pairable 0, limit 0");
}
END_TEST

/* What is typed while nothing is asked is the client's, and no answer. */
START_TEST(test_typed_ahead)
{
	open_window();
	type("for the client", true);
	pairing_asked_pause(asked, true);
	assert_input("for the client\n");
}
END_TEST

START_TEST(test_a_client_comes)
{
	open_window();
	ask_for_pin();
	type("47", false);
	ck_assert(pairing_asked_pause(asked, true));
	mock_expect(&mock, REJECTED);
	wait_for_screen("\r\nno longer asked\r\n");
	screen[0] = '\0';
	type("11", true);
	mock_tell(&mock, "ask 0 2 RequestPinCode");
	mock_expect(&mock, REJECTED);
	wait_for_screen("refused 10:00:00:00:00:02, which wanted to pair");
	mock_tell(&mock, "ask 0 2 DisplayPinCode 4711");
	mock_expect(&mock, "answer yes");
	assert_not_shown("4711");
	assert_not_shown("wants");
	assert_input("11\n");
	/* It has left. */
	pairing_asked_pause(asked, false);
	ask_for_pin();
	type("0", true);
	mock_expect(&mock, "answer 0");
}
END_TEST

static void no_leave(void *arg)
{
}

/* What else was typed for the question, after it, is not for the client. */
START_TEST(test_a_line_for_nobody)
{
	struct error error;
	struct terminal *terminal;
	struct stream *stream;
	char got[256] = "";

	terminal = terminal_new(loop, TERMINAL_MODE_LINES, no_leave, NULL,
				&error);
	ck_assert_ptr_nonnull(terminal);
	stream = terminal_stream_new(terminal);
	ck_assert_ptr_nonnull(stream);
	type("11", true);
	type("for the client", true);
	terminal_drop_line(terminal);
	while (stream->ops->read(stream, got, sizeof(got) - 1) == -EAGAIN)
		;
	ck_assert_str_eq(got, "for the client\n");
	stream_close(stream, STREAM_CLOSE_ABORT);
	terminal_free(terminal);
}
END_TEST

/* The screen is the client's: that it was refused is told when that has left. */
START_TEST(test_refused_beside_keys)
{
	open_window();
	ck_assert(!pairing_asked_pause(asked, true));
	ck_assert_int_eq(tty_enter(STDIN_FILENO, TTY_MODE_KEYS), 0);
	mock_tell(&mock, "ask 0 2 RequestPinCode");
	mock_expect(&mock, REJECTED);
	assert_not_shown("refused");
	tty_leave();
	if (_i)
		stop();
	else
		pairing_asked_pause(asked, false);
	wait_for_screen("refused 10:00:00:00:00:02, which wanted to pair");
}
END_TEST

START_TEST(test_called_off)
{
	open_window();
	ask(questions[_i].what, questions[_i].text);
	mock_tell(&mock, "ask 0 2 Cancel");
	wait_for_screen("no longer asked\r\n");
	type(questions[_i].typed, true);
	event_base_loop(loop->base, EVLOOP_NONBLOCK);
	ck_assert_ptr_null(mock_take(&mock, questions[_i].answer));
}
END_TEST

/* It is a no, and no end. */
START_TEST(test_end_of_input)
{
	open_window();
	ask_for_pin();
	ck_assert_int_eq(write(person, "\x04", 1), 1);
	mock_expect(&mock, REJECTED);
	wait_for_screen("no longer asked\r\n");
	ask_for_pin();
	type("0", true);
	mock_expect(&mock, "answer 0");
}
END_TEST

/* Also who goes there while it is asked: the keys are the shell's then. */
START_TEST(test_background)
{
	open_window();
	if (_i)
		ask_for_pin();
	is_background = true;
	if (_i)
		type("ls", true);
	else
		mock_tell(&mock, "ask 0 2 RequestPinCode");
	mock_expect(&mock, REJECTED);
	wait_for_screen(_i ? "no longer asked" : "in the background\r\n");
	if (_i)
		assert_input("ls\n");
}
END_TEST

START_TEST(test_unasked)
{
	open_window();
	mock_tell(&mock, "bond 0 2");
	wait_for_screen("paired: " PHONE " (unasked)\r\n");
	wait_for_screen("btgate: warning: 10:00:00:00:00:02 paired and nobody");
	wait_for_screen("'bluetoothctl remove 10:00:00:00:00:02' undoes it");
}
END_TEST

/* What was answered once is nothing that a later attempt was asked. */
START_TEST(test_unasked_after_a_no)
{
	static const char *const noes[] = {"no", "\x04"};

	open_window();
	mock_tell(&mock, "ask 0 2 RequestConfirmation 4711");
	wait_for_screen("does it show 004711 (yes, no)? ");
	type("yes", true);
	mock_expect(&mock, "answer yes");
	screen[0] = '\0';
	mock_tell(&mock, "ask 0 2 RequestConfirmation 4712");
	wait_for_screen("does it show 004712 (yes, no)? ");
	ck_assert_int_gt(write(person, noes[_i], strlen(noes[_i])), 0);
	if (!_i)
		type("", true);
	mock_expect(&mock, REJECTED);
	mock_tell(&mock, "bond 0 2");
	wait_for_screen("paired: " PHONE " (unasked)\r\n");
}
END_TEST

/* Nobody can come while there is no adapter, or one that is off. */
START_TEST(test_adapter_off)
{
	mock_tell(&mock, "power 0 0");
	start();
	mock_expect(&mock, "agent /btgate/agent KeyboardDisplay");
	mock_tell(&mock, "look 0");
	event_base_loop(loop->base, EVLOOP_NONBLOCK);
	assert_not_shown("phones can");
	ck_assert_ptr_null(limit);
	mock_tell(&mock, "power 0 1");
	wait_for_screen("phones can pair with this machine for 2m");
	ck_assert_ptr_nonnull(limit);
}
END_TEST

/* What is being asked then is a no. */
START_TEST(test_over)
{
	open_window();
	/* What was not yet set would not be given back. */
	mock_expect(&mock, "set /org/bluez/hci0 PairableTimeout 130");
	ask_for_pin();
	event_active(limit, EV_TIMEOUT, 0);
	mock_expect(&mock, REJECTED);
	mock_expect(&mock, "agent gone");
	wait_for_screen("no longer asked\r\n");
	wait_for_screen("the time in which phones could pair is over: 'btgate "
			"pair' lets more of them\r\n");
	mock_expect(&mock, "set /org/bluez/hci0 PairableTimeout 0");
	mock_tell(&mock, "look 0");
	mock_expect(&mock,
		    "look: discoverable 1, limit 0, pairable 0, limit 0");
	/* Clients come and go all the same. */
	pairing_asked_pause(asked, true);
	pairing_asked_pause(asked, false);
}
END_TEST

/* Beside another agent, with an adapter that was not pairable for that. */
START_TEST(test_over_beside_another_agent)
{
	mock_tell(&mock, "other-agent");
	open_window();
	/* bluetoothd ends it if nobody else does. */
	mock_expect(&mock, "set /org/bluez/hci0 PairableTimeout 130");
	mock_expect(&mock, "set /org/bluez/hci0 Pairable 1");
	event_active(limit, EV_TIMEOUT, 0);
	mock_expect(&mock, "agent gone");
	mock_expect(&mock, "set /org/bluez/hci0 PairableTimeout 0");
	mock_expect(&mock, "set /org/bluez/hci0 Pairable 0");
}
END_TEST

/* The screen is the client's: it is told when that has left. */
START_TEST(test_over_beside_a_client)
{
	open_window();
	pairing_asked_pause(asked, true);
	event_active(limit, EV_TIMEOUT, 0);
	mock_expect(&mock, "agent gone");
	assert_not_shown("is over");
	pairing_asked_pause(asked, false);
	wait_for_screen("is over: 'btgate pair' lets");
}
END_TEST

/* ---- btgate listen itself -------------------------------------------------- */

/* Also where there is no Bluetooth. */
static void close_listener(struct listener *listener)
{
}

int __wrap_listener_open(struct loop *its_loop,
			 const struct address_endpoint *address,
			 const struct endpoint_settings *settings,
			 listener_client_cb client_cb, void *arg,
			 struct listener **out, struct error *error);
int __wrap_listener_open(struct loop *its_loop,
			 const struct address_endpoint *address,
			 const struct endpoint_settings *settings,
			 listener_client_cb client_cb, void *arg,
			 struct listener **out, struct error *error)
{
	static const struct listener_ops ops = {.close = close_listener};
	static struct listener listener = {
		.ops = &ops,
		.protocol = SERVICE_PROTOCOL_RFCOMM,
		.port = 22,
	};

	*out = &listener;
	return 0;
}

static pid_t start_listen(const char *config_path, const char *security)
{
	char endpoint[] = "rfcomm", *arguments[] = {endpoint, NULL};
	const struct command_options options = {
		.config_path = config_path,
		.arguments = arguments,
		.argument_count = 1,
		.security = security,
	};
	pid_t child = fork();

	if (child)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(STDIN_FILENO, STDOUT_FILENO);
	_exit(command_listen(&options));
}

static void write_config(const char *path, const char *line)
{
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	fprintf(file,
		"[gateway]\n%s\n[route a]\nlisten = rfcomm\nconnect = echo\n",
		line);
	fclose(file);
}

#define FIRST \
	"a phone that is not paired with this machine may have to be first"

/* Who lets phones pair, and what is said where it does not. */
START_TEST(test_listen)
{
	static const struct {
		const char *config; /* NULL: there is none */
		const char *security;
		const char *said;
		bool is_window;
	} cases[] = {
		{NULL, NULL, "phones can pair with this machine for 2m", true},
		{"pairing = window", NULL,
		 "phones can pair with this machine for 2m", true},
		{"pairing = always", NULL, FIRST ": 'btgate pair' lets it",
		 false},
		{"", NULL, FIRST ", and pairing is 'never' in ", false},
		{"pairing = perhaps", NULL,
		 FIRST ", and nobody is let pair with a configuration that "
		       "cannot be read: 'btgate check -c ",
		 false},
		{"pairing = window", "low", "listening on RFCOMM channel 22 as",
		 false},
	};
	char path[64];
	pid_t child;
	int status;

	snprintf(path, sizeof(path), "%s/btgate.conf", mock.directory);
	if (cases[_i].config)
		write_config(path, cases[_i].config);
	child = start_listen(path, cases[_i].security);
	wait_for_screen(cases[_i].said);
	mock_expect(&mock, "register ");
	wait_for_screen("listening on RFCOMM channel 22 as");
	kill(child, SIGTERM);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	event_base_loop(loop->base, EVLOOP_NONBLOCK);
	unlink(path);
	if (!cases[_i].is_window) {
		ck_assert_ptr_null(mock_take(&mock, "agent"));
		assert_not_shown("phones can");
	}
	if (cases[_i].security)
		assert_not_shown("may have to be first");
}
END_TEST

START_TEST(test_no_agent)
{
	mock_tell(&mock, "agent-error org.freedesktop.DBus.Error.AccessDenied");
	start();
	wait_for_screen("warning: nobody can pair: bluetoothd takes no agent: "
			"the system bus's policy");
	assert_not_shown("phones can");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pairing_asked");
	TCase *tcase = tcase_create("pairing_asked");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, test_answered, 0, 4);
	tcase_add_test(tcase, test_typed_ahead);
	tcase_add_test(tcase, test_a_client_comes);
	tcase_add_test(tcase, test_a_line_for_nobody);
	tcase_add_loop_test(tcase, test_refused_beside_keys, 0, 2);
	tcase_add_loop_test(tcase, test_called_off, 0, 4);
	tcase_add_test(tcase, test_end_of_input);
	tcase_add_loop_test(tcase, test_background, 0, 2);
	tcase_add_test(tcase, test_unasked);
	tcase_add_loop_test(tcase, test_unasked_after_a_no, 0, 2);
	tcase_add_test(tcase, test_adapter_off);
	tcase_add_test(tcase, test_over);
	tcase_add_test(tcase, test_over_beside_another_agent);
	tcase_add_test(tcase, test_over_beside_a_client);
	tcase_add_loop_test(tcase, test_listen, 0, 6);
	tcase_add_test(tcase, test_no_agent);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
