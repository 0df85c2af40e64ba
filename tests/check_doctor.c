/* SPDX-License-Identifier: MIT */
/*
 * btgate doctor: each finding is provoked, on a made-up machine below a
 * directory, against a mock of bluetoothd, and with real paths and ports; and
 * the program itself. What takes a radio is in tests/radio/doctor.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include <bluetooth/bluetooth.h>

#include "bluez.h"
#include "config_load.h"
#include "controller.h"
#include "diagnosis.h"
#include "diagnosis_bluez.h"
#include "diagnosis_machine.h"
#include "diagnosis_route.h"
#include "log.h"
#include "loop.h"
#include "mock_bluez.h"

/* ---- a machine of ours ----------------------------------------------------------- */

static int rfcomm_errno, l2cap_errno; /* 0: the kernel has it */
static const struct controller *controllers;
static size_t controller_count;
static const struct passwd *service; /* NULL: there is no such user */

int __real_socket(int family, int type, int protocol);
int __wrap_socket(int family, int type, int protocol);
struct passwd *__real_getpwnam(const char *name);
struct passwd *__wrap_getpwnam(const char *name);
size_t __wrap_controllers_read(struct controller out[CONTROLLERS_MAX]);

int __wrap_socket(int family, int type, int protocol)
{
	if (family != AF_BLUETOOTH)
		return __real_socket(family, type, protocol);
	errno = protocol == BTPROTO_RFCOMM  ? rfcomm_errno
		: protocol == BTPROTO_L2CAP ? l2cap_errno
					    : EAFNOSUPPORT;
	return errno ? -1
		     : __real_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

struct passwd *__wrap_getpwnam(const char *name)
{
	return strcmp(name, "btgate") ? __real_getpwnam(name)
				      : (struct passwd *)service;
}

size_t __wrap_controllers_read(struct controller out[CONTROLLERS_MAX])
{
	for (size_t i = 0; i < controller_count; i++)
		out[i] = controllers[i];
	return controller_count;
}

static char root[] = "/tmp/btgate-doctor-XXXXXX";
static struct loop *loop;
static struct mock mock;
static struct diagnosis diagnosis;
static char *text;
static size_t text_bytes;

static void setup(void)
{
	strcpy(root + sizeof(root) - 7, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	chmod(root, 0755);
	log_set_level(LOG_LEVEL_ERROR);
	/* Whoever runs it: valgrind is another program. */
	prctl(PR_SET_NAME, "check_doctor");
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	mock_setup(&mock, loop);
	rfcomm_errno = 0;
	l2cap_errno = 0;
	controller_count = 0;
	service = NULL;
	memset(&diagnosis, 0, sizeof(diagnosis));
	diagnosis.stream = open_memstream(&text, &text_bytes);
	ck_assert_ptr_nonnull(diagnosis.stream);
}

static void teardown(void)
{
	char command[64];

	fclose(diagnosis.stream);
	free(text);
	mock_teardown(&mock);
	loop_free(loop);
	snprintf(command, sizeof(command), "rm -rf %s", root);
	ck_assert_int_eq(system(command), 0);
}

/* ROOT/PATH with its directories, and what is in it. */
static void put(const char *path, const char *content)
{
	char whole[256];
	FILE *file;

	snprintf(whole, sizeof(whole), "%s%s", root, path);
	for (char *slash = whole + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(whole, 0755);
		*slash = '/';
	}
	file = fopen(whole, "w");
	ck_assert_ptr_nonnull(file);
	fputs(content, file);
	fclose(file);
}

/* A process of the made-up machine: /proc/@pid, with NULs between arguments. */
static void put_process(pid_t pid, const char *name, const char *cmdline,
			size_t bytes)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	put(path, name);
	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	put(path, "");
	snprintf(path, sizeof(path), "%s/proc/%d/cmdline", root, pid);
	file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(cmdline, 1, bytes, file), bytes);
	fclose(file);
}

static const char run_line[] = "/usr/bin/btgate\0-c\0/x\0run";
static const char listen_line[] = "/usr/bin/btgate\0listen\0-k\0tcp:7";

/* What was said until now. */
static void forget(void)
{
	fclose(diagnosis.stream);
	free(text);
	diagnosis.stream = open_memstream(&text, &text_bytes);
	ck_assert_ptr_nonnull(diagnosis.stream);
}

static void assert_said(const char *part)
{
	fflush(diagnosis.stream);
	ck_assert_msg(text && strstr(text, part), "\"%s\" is not in: %s", part,
		      text ? text : "");
}

static void assert_not_said(const char *part)
{
	fflush(diagnosis.stream);
	ck_assert_msg(!text || !strstr(text, part), "\"%s\" is in: %s", part,
		      text);
}

/* ---- how findings look ------------------------------------------------------- */

static void add_three(void)
{
	diagnosis_begin(&diagnosis);
	diagnosis_add(&diagnosis, FINDING_OK, "kernel", NULL, "it is %s",
		      "well");
	diagnosis_add(&diagnosis, FINDING_NOTE, "route a", "do this", "look");
	diagnosis_add_sentence(&diagnosis, FINDING_PROBLEM, "b\x1b",
			       "no; do that; or this");
	diagnosis_end(&diagnosis);
	fflush(diagnosis.stream);
}

START_TEST(test_print)
{
	add_three();
	ck_assert_str_eq(text, "ok       kernel: it is well\n"
			       "note     route a: look\n"
			       "         -> do this\n"
			       "problem  b?: no\n"
			       "         -> do that; or this\n"
			       "1 problem found\n");
	ck_assert_uint_eq(diagnosis.problems, 1);
}
END_TEST

START_TEST(test_print_brief)
{
	diagnosis.is_brief = true;
	add_three();
	assert_not_said("kernel");
	assert_said("route a");
}
END_TEST

START_TEST(test_print_json)
{
	diagnosis.is_json = true;
	add_three();
	ck_assert_str_eq(
		text, "[\n"
		      "  {\"level\": \"ok\", \"subject\": \"kernel\", "
		      "\"finding\": \"it is well\", \"cure\": null},\n"
		      "  {\"level\": \"note\", \"subject\": \"route a\", "
		      "\"finding\": \"look\", \"cure\": \"do this\"},\n"
		      "  {\"level\": \"problem\", \"subject\": \"b\\u001b\", "
		      "\"finding\": \"no\", \"cure\": \"do that; or this\"}\n"
		      "]\n");
}
END_TEST

START_TEST(test_print_nothing)
{
	diagnosis.is_json = _i;
	diagnosis_begin(&diagnosis);
	diagnosis_end(&diagnosis);
	fflush(diagnosis.stream);
	ck_assert_str_eq(text, _i ? "[]\n" : "no problem found\n");
}
END_TEST

/* ---- the machine --------------------------------------------------------------- */

START_TEST(test_container)
{
	static const struct {
		const char *path;
		const char *word;
	} table[] = {
		{"/.dockerenv", "a Docker container"},
		{"/run/.containerenv", "a Podman container"},
		{"/run/systemd/container", "a container"},
	};
	char said[80];

	ck_assert_ptr_null(diagnosis_container(root));
	put(table[_i].path, "");
	ck_assert_str_eq(diagnosis_container(root), table[_i].word);
	diagnosis_machine(&diagnosis, root);
	snprintf(said, sizeof(said),
		 "problem  container: this is %s without the host's system bus",
		 table[_i].word);
	assert_said(said);
	assert_said("-v /run/dbus:/run/dbus:ro");
	put("/run/dbus/system_bus_socket", "");
	diagnosis_machine(&diagnosis, root);
	assert_said("ok       container");
}
END_TEST

START_TEST(test_kernel)
{
	static const struct {
		int rfcomm, l2cap;
		bool is_container;
		const char *said;
	} table[] = {
		{0, 0, false,
		 "ok       kernel: it has RFCOMM and L2CAP sockets\n"},
		{EAFNOSUPPORT, EAFNOSUPPORT, false,
		 "problem  kernel: there are no Bluetooth sockets (CONFIG_BT)\n"
		 "         -> sudo modprobe bluetooth\n"},
		{EAFNOSUPPORT, EAFNOSUPPORT, true,
		 "problem  kernel: there are no Bluetooth sockets in this "
		 "network namespace\n"
		 "         -> docker run --network host ...\n"},
		{EPROTONOSUPPORT, 0, false,
		 "problem  kernel: there are no RFCOMM sockets: Protocol not "
		 "supported\n"
		 "         -> sudo modprobe rfcomm\n"},
		{0, EPROTONOSUPPORT, false,
		 "problem  kernel: there are no L2CAP sockets: Protocol not "
		 "supported\n"
		 "         -> sudo modprobe bluetooth\n"},
	};
	bool is_well = !table[_i].rfcomm && !table[_i].l2cap;

	rfcomm_errno = table[_i].rfcomm;
	l2cap_errno = table[_i].l2cap;
	if (table[_i].is_container)
		put("/.dockerenv", "");
	ck_assert(diagnosis_machine(&diagnosis, root) == is_well);
	assert_said(table[_i].said);
	/* Adapters are not asked for where there is nothing to ask. */
	if (is_well)
		assert_said("problem  adapter: there is no Bluetooth adapter\n"
			    "         -> plug one in; ");
	else
		assert_not_said("adapter");
}
END_TEST

START_TEST(test_adapters)
{
	static const struct controller two[] = {
		{.index = 0, .address = {{0, 1, 2, 3, 4, 5}}, .is_up = true},
		{.index = 2, .address = {{0, 1, 2, 3, 4, 6}}},
	};

	controllers = two;
	controller_count = 2;
	diagnosis_machine(&diagnosis, root);
	assert_said("ok       adapter hci0: 00:01:02:03:04:05, powered on\n"
		    "problem  adapter hci2: 00:01:02:03:04:06 is powered off\n"
		    "         -> bluetoothctl power on\n");
}
END_TEST

START_TEST(test_user)
{
	struct passwd user = {.pw_uid = geteuid() + 1};
	char said[192];

	diagnosis_machine(&diagnosis, root);
	assert_not_said("user: ");
	service = &user;
	diagnosis_machine(&diagnosis, root);
	snprintf(said, sizeof(said),
		 "note     user: the service runs as user btgate; what is said "
		 "here of permissions is about user %u\n"
		 "         -> sudo -u btgate btgate doctor\n",
		 (unsigned int)geteuid());
	assert_said(said);
	forget();
	user.pw_uid = geteuid();
	diagnosis_machine(&diagnosis, root);
	assert_not_said("user: ");
}
END_TEST

START_TEST(test_rfkill)
{
	put("/sys/class/rfkill/rfkill0/type", "wlan\n");
	put("/sys/class/rfkill/rfkill0/soft", "1\n");
	put("/sys/class/rfkill/rfkill1/type", "bluetooth\n");
	put("/sys/class/rfkill/rfkill1/name", "hci0\n");
	put("/sys/class/rfkill/rfkill1/soft", "0\n");
	put("/sys/class/rfkill/rfkill1/hard", "0\n");
	diagnosis_machine(&diagnosis, root);
	assert_not_said("rfkill");
	put("/sys/class/rfkill/rfkill1/soft", "1\n");
	diagnosis_machine(&diagnosis, root);
	assert_said("problem  rfkill: hci0 is blocked\n"
		    "         -> sudo rfkill unblock bluetooth\n");
	put("/sys/class/rfkill/rfkill1/hard", "1\n");
	diagnosis_machine(&diagnosis, root);
	assert_said("problem  rfkill: a switch blocks hci0\n");
}
END_TEST

START_TEST(test_gateway)
{
	ck_assert(!diagnosis_is_gateway_running(root));
	put("/proc/7/comm", "btgate\n");
	put("/proc/7/cmdline", "btgate"); /* NULs do not fit into put() */
	ck_assert(!diagnosis_is_gateway_running(root));
	put_process(8, "btgate\n", listen_line, sizeof(listen_line));
	ck_assert(!diagnosis_is_gateway_running(root));
	put_process(8, "btgate\n", run_line, sizeof(run_line));
	ck_assert(diagnosis_is_gateway_running(root));
	ck_assert(diagnosis_is_gateway(root, 8));
	ck_assert(!diagnosis_is_gateway(root, 7));
	ck_assert(!diagnosis_is_gateway(root, 9));
}
END_TEST

START_TEST(test_modem_manager)
{
	struct stat status;
	char path[64];

	/* Whether it is a serial port is not asked here. */
	ck_assert_int_eq(stat("/dev/null", &status), 0);
	ck_assert(!diagnosis_is_modem_manager_after(root, "/dev/null"));
	put("/proc/9/comm", "ModemManager\n");
	ck_assert(diagnosis_is_modem_manager_after(root, "/dev/null"));
	ck_assert(!diagnosis_is_modem_manager_after(root, "/nothing"));
	snprintf(path, sizeof(path), "/run/udev/data/c%u:%u",
		 major(status.st_rdev), minor(status.st_rdev));
	put(path, "E:ID_BUS=usb\n");
	ck_assert(diagnosis_is_modem_manager_after(root, "/dev/null"));
	put(path, "E:ID_BUS=usb\nE:ID_MM_PORT_IGNORE=1\n");
	ck_assert(!diagnosis_is_modem_manager_after(root, "/dev/null"));
	put(path, "E:ID_MM_DEVICE_IGNORE=1\n");
	ck_assert(!diagnosis_is_modem_manager_after(root, "/dev/null"));
}
END_TEST

/* ---- bluetoothd ------------------------------------------------------------------ */

static struct bluez *bluez;
static struct bluez_watcher watcher;

static void on_changed(struct bluez *changed, void *arg)
{
}

static void start_bluez(void)
{
	static const struct bluez_settings settings = {0};

	bluez = bluez_new(loop, &settings);
	ck_assert_ptr_nonnull(bluez);
	bluez_watch(bluez, &watcher, on_changed, NULL);
	while (!*bluez_reason(bluez))
		event_base_loop(loop->base, EVLOOP_ONCE);
}

static void stop_bluez(void)
{
	bluez_unwatch(&watcher);
	bluez_free(bluez);
}

START_TEST(test_no_bus)
{
	start_bluez();
	diagnosis_bluez(&diagnosis, bluez);
	assert_said("problem  bluetoothd: the system bus is not there");
	assert_said("-> start both with 'systemctl start dbus bluetooth'");
	stop_bluez();
}
END_TEST

/* It takes whoever comes, and says nothing. */
START_TEST(test_mute_bus)
{
	static const struct bluez_settings settings = {0};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/bus",
		 mock.directory);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)),
			 0);
	ck_assert_int_eq(listen(fd, 8), 0);
	bluez = bluez_new(loop, &settings);
	ck_assert_ptr_nonnull(bluez);
	bluez_watch(bluez, &watcher, on_changed, NULL);
	event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	diagnosis_bluez(&diagnosis, bluez);
	assert_said("problem  system bus: it does not answer\n"
		    "         -> systemctl status dbus\n");
	stop_bluez();
	close(fd);
}
END_TEST

START_TEST(test_no_daemon)
{
	mock_bus_start(&mock, "");
	start_bluez();
	diagnosis_bluez(&diagnosis, bluez);
	assert_said("problem  bluetoothd: bluetoothd is not running\n"
		    "         -> start it with 'systemctl start bluetooth'\n");
	stop_bluez();
}
END_TEST

START_TEST(test_bus_policy)
{
	mock_bus_start(&mock, "<deny send_interface="
			      "'org.freedesktop.DBus.ObjectManager'/>");
	mock_daemon_start(&mock);
	start_bluez();
	diagnosis_bluez(&diagnosis, bluez);
	assert_said("the system bus's policy forbids it to this user\n"
		    "         -> allow send_destination=\"org.bluez\"");
	stop_bluez();
}
END_TEST

START_TEST(test_daemon_adapters)
{
	mock_bus_start(&mock, "");
	mock_daemon_start(&mock);
	start_bluez();
	diagnosis_bluez(&diagnosis, bluez);
	assert_said("problem  bluetoothd: it runs, and has no adapter that is "
		    "powered on");
	mock_tell(&mock, "adapter 0 1");
	while (!bluez_adapters_powered(bluez))
		event_base_loop(loop->base, EVLOOP_ONCE);
	diagnosis_bluez(&diagnosis, bluez);
	assert_said("ok       bluetoothd: it runs and answers, with 1 adapter");
	stop_bluez();
}
END_TEST

static struct config *config;

static void fail_config(const char *complaint, void *arg)
{
	ck_abort_msg("%s", complaint);
}

static const struct config_route *route(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

/* The lines of a route; the one at a time that there is. */
static const struct config_route *route(const char *format, ...)
{
	char file[1024] = "[route r]\n";
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(file + strlen(file), sizeof(file) - strlen(file), format,
		  arguments);
	va_end(arguments);
	config_free(config);
	ck_assert_int_eq(config_parse("test", file, strlen(file), &config,
				      fail_config, NULL),
			 0);
	return &config->routes[0];
}

static void clear_route(void)
{
	config_free(config);
	config = NULL;
}

START_TEST(test_devices)
{
	static const struct {
		const char *lines;
		const char *said;
	} table[] = {
		{"listen = tcp:7\nconnect = rfcomm:\"one\"",
		 "ok       route r: \"one\" is paired, not trusted, which no "
		 "route asks for\n"},
		{"listen = tcp:7\nconnect = rfcomm:\"trusty\"",
		 "ok       route r: \"trusty\" is paired, and trusted\n"},
		{"listen = tcp:7\nconnect = rfcomm:\"two\"",
		 "problem  route r: 2 paired devices are called \"two\"\n"
		 "         -> write the address"},
		{"listen = tcp:7\nconnect = rfcomm:\"loose\"",
		 "problem  route r: \"loose\" is not paired, and security = "
		 "medium needs a pairing\n"
		 "         -> btgate pair \"loose\""},
		{"listen = tcp:7\nconnect = rfcomm:\"loose\"\nsecurity = low",
		 "note     route r: \"loose\" is not paired; security = low"},
		{"listen = tcp:7\nconnect = rfcomm:00:11:22:33:44:55",
		 "problem  route r: 00:11:22:33:44:55 is not known, and "
		 "security = medium needs a pairing\n"
		 "         -> btgate pair 00:11:22:33:44:55"},
		{"listen = rfcomm\nconnect = echo\n"
		 "peers = \"one\", \"trusty\", \"loose\"",
		 "ok       route r: peers names \"one\", which is paired, not "
		 "trusted, which no route asks for\n"
		 "ok       route r: peers names \"trusty\", which is paired, "
		 "and trusted\n"
		 "note     route r: peers names \"loose\", which is not "
		 "paired\n"
		 "         -> btgate pair \"loose\", or correct peers\n"},
	};

	mock_bus_start(&mock, "");
	mock_daemon_start(&mock);
	mock_tell(&mock, "adapter 0 1");
	mock_tell(&mock, "device 0 1 paired one");
	mock_tell(&mock, "device 0 2 paired two");
	mock_tell(&mock, "device 0 3 paired two");
	mock_tell(&mock, "device 0 4 known loose");
	mock_tell(&mock, "device 0 5 trusted trusty");
	start_bluez();
	diagnosis_devices(&diagnosis, bluez, route("%s", table[_i].lines));
	assert_said(table[_i].said);
	stop_bluez();
	clear_route();
}
END_TEST

START_TEST(test_device_of_two_adapters)
{
	mock_bus_start(&mock, "");
	mock_daemon_start(&mock);
	mock_tell(&mock, "adapter 0 1");
	mock_tell(&mock, "adapter 1 1");
	mock_tell(&mock, "device 0 1 common one");
	mock_tell(&mock, "device 1 1 common one");
	start_bluez();
	diagnosis_bluez(&diagnosis, bluez);
	assert_said(
		"ok       bluetoothd: it runs and answers, with 2 adapters");
	diagnosis_devices(&diagnosis, bluez,
			  route("listen = tcp:7\n"
				"connect = rfcomm:10:00:00:00:FF:01"));
	assert_said("ok       route r: 10:00:00:00:FF:01 is paired with 2 "
		    "adapters\n");
	stop_bluez();
	clear_route();
}
END_TEST

START_TEST(test_agent)
{
	static const struct {
		const char *pairing;
		bool is_pairable;
		bool has_gateway;
		bool has_window;
		const char *said;
	} table[] = {
		{"always", true, true, false, "ok       pairing: devices can"},
		{"always", false, true, false,
		 "problem  pairing: pairing = always, and nobody can pair"},
		{"always", true, false, false,
		 "note     pairing: pairing = always lets devices pair while"},
		{"window", false, true, false,
		 "ok       pairing: devices cannot pair now"},
		{"window", true, true, true,
		 "ok       pairing: devices can pair, while btgate pair runs"},
		{"window", true, true, false,
		 "which is asked instead of ours, or 'pairable' is on\n"
		 "         -> end that program"},
		{"never", true, true, false,
		 "note     pairing: devices can pair although pairing = never"},
	};
	char file[128];

	mock_bus_start(&mock, "");
	mock_daemon_start(&mock);
	mock_tell(&mock, "adapter 0 1");
	mock_tell(&mock,
		  table[_i].is_pairable ? "pairable 0 1" : "pairable 0 0");
	start_bluez();
	snprintf(file, sizeof(file),
		 "[gateway]\npairing = %s\n[route r]\nlisten = rfcomm\n"
		 "connect = echo\n",
		 table[_i].pairing);
	ck_assert_int_eq(config_parse("test", file, strlen(file), &config,
				      fail_config, NULL),
			 0);
	diagnosis_agent(&diagnosis, bluez, config, table[_i].has_gateway,
			table[_i].has_window);
	assert_said(table[_i].said);
	stop_bluez();
	clear_route();
}
END_TEST

/* ---- what routes need -------------------------------------------------------- */

static struct diagnosis_surroundings around = {.root = root};

/* What a gateway answers that runs as @pid; NULL: it does not. */
static void gateway_says(enum diagnosis_gateway gateway, pid_t pid,
			 const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static json_t *said_status; /* at which the surroundings are */

static void gateway_says(enum diagnosis_gateway gateway, pid_t pid,
			 const char *format, ...)
{
	char answer[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(answer, sizeof(answer), format, arguments);
	va_end(arguments);
	json_decref(said_status);
	said_status = json_loads(answer, 0, NULL);
	around.gateway = gateway;
	around.gateway_pid = pid;
	around.status = said_status;
}

static void gateway_is_gone(void)
{
	gateway_says(GATEWAY_NONE, 0, "%s", "");
}

static void look_at(const struct config_route *looked)
{
	forget();
	diagnosis_route(&diagnosis, loop, looked, &around);
	clear_route();
}

/* What listens, and where. */
static int take_tcp_port(unsigned int *port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t bytes = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, bytes), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &bytes),
			 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	*port = ntohs(address.sin_port);
	return fd;
}

START_TEST(test_tcp)
{
	unsigned int port;
	int fd = take_tcp_port(&port);

	look_at(route("listen = tcp:%u\nconnect = echo", port));
	assert_said("is held by check_doctor (pid ");
	assert_said("problem  route r");
	close(fd);
	look_at(route("listen = tcp:%u\nconnect = echo", port));
	assert_said("is free");
}
END_TEST

/* What its gateway holds is as it should be, and a gateway no excuse for others. */
START_TEST(test_tcp_beside_a_gateway)
{
	static const char routes[] =
		"{\"pid\": 1, \"routes\": [{\"name\": "
		"\"%s\", \"state\": \"%s\", \"listen\": "
		"\"tcp:127.0.0.1:%u\", \"connect\": \"echo\"}]}";
	static const char own[] = "ok       route r: TCP port %u is held by "
				  "the gateway that runs\n";
	static const char other[] = "problem  route r: TCP port %u is held by ";
	static const char either[] =
		"(pid %d), which may be the gateway that runs\n";
	unsigned int port;
	char said[128];
	int fd = take_tcp_port(&port);

	/* It does not answer: by its name, and by what it was started as. */
	gateway_says(GATEWAY_MUTE, 0, "%s", "");
	look_at(route("listen = tcp:%u\nconnect = echo", port));
	snprintf(said, sizeof(said), other, port);
	assert_said(said);
	assert_said("         -> end that program");
	prctl(PR_SET_NAME, "btgate");
	put_process(getpid(), "btgate\n", listen_line, sizeof(listen_line));
	look_at(route("listen = tcp:%u\nconnect = echo", port));
	assert_said(said);
	put_process(getpid(), "btgate\n", run_line, sizeof(run_line));
	look_at(route("listen = tcp:%u\nconnect = echo", port));
	assert_said("note     route r: ");
	snprintf(said, sizeof(said), either, getpid());
	assert_said(said);
	/* It says so. */
	gateway_says(GATEWAY_ANSWERS, 1, routes, "r", "listening", port);
	look_at(route("listen = tcp:%u\nconnect = echo", port));
	snprintf(said, sizeof(said), own, port);
	assert_said(said);
	/* It does not, and it is seen that it is the one. */
	gateway_says(GATEWAY_ANSWERS, getpid(), routes, "q", "listening", port);
	look_at(route("listen = tcp:%u\nconnect = echo", port));
	assert_said(said);
	/* Or that it is not. */
	gateway_says(GATEWAY_ANSWERS, 1, routes, "q", "listening", port);
	look_at(route("listen = tcp:%u\nconnect = echo", port));
	snprintf(said, sizeof(said), other, port);
	assert_said(said);
	/* The one that it waits for. */
	gateway_says(GATEWAY_ANSWERS, 1, routes, "r", "waiting", port);
	look_at(route("listen = tcp:%u\nconnect = echo", port));
	assert_said(said);
	gateway_is_gone();
	look_at(route("listen = tcp:%u\nconnect = echo", port));
	assert_said(said);
	close(fd);
}
END_TEST

/* As somebody who sees that it is held, and not by whom. */
START_TEST(test_tcp_of_somebody)
{
	static const struct {
		enum diagnosis_gateway gateway;
		const char *name; /* of its route there, */
		const char *state; /* and how that is */
		const char *said[2];
	} table[] = {
		{GATEWAY_NONE,
		 "",
		 "",
		 {"problem  route r: ", " is held by another program"}},
		{GATEWAY_MUTE,
		 "",
		 "",
		 {"note     route r: ",
		  "), which may be the gateway that runs\n"
		  "         -> sudo btgate doctor\n"}},
		/* Its configuration was another one. */
		{GATEWAY_ANSWERS,
		 "q",
		 "listening",
		 {"note     route r: ",
		  "), which may be the gateway that runs\n"}},
		{GATEWAY_ANSWERS,
		 "r",
		 "waiting",
		 {"problem  route r: ", " is held by another program"}},
		{GATEWAY_ANSWERS,
		 "r",
		 "listening",
		 {"ok       route r: ", " is held by the gateway that runs\n"}},
	};
	unsigned int port;
	int fd = take_tcp_port(&port);
	pid_t child = fork();

	if (child == 0)
		pause();
	close(fd);
	gateway_says(
		table[_i].gateway, 1,
		"{\"routes\": [{\"name\": \"r\", \"state\": \"leaving\", "
		"\"listen\": \"tcp:127.0.0.1:%u\", \"connect\": \"echo\"}, "
		"{\"name\": \"%s\", \"state\": \"%s\", "
		"\"listen\": \"tcp:127.0.0.1:%u\", \"connect\": \"echo\"}]}",
		port, table[_i].name, table[_i].state, port);
	ck_assert_int_eq(seteuid(65534), 0);
	look_at(route("listen = tcp:%u\nconnect = echo", port));
	ck_assert_int_eq(seteuid(0), 0);
	assert_said(table[_i].said[0]);
	assert_said(table[_i].said[1]);
	gateway_is_gone();
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}
END_TEST

START_TEST(test_pty_room)
{
	look_at(route("listen = tcp:7\nconnect = pty:%s/new/gps", root));
	assert_said("/new/gps can be made");
}
END_TEST

/* As somebody who may do nothing there, where root is at hand. */
START_TEST(test_not_permitted)
{
	static const struct {
		const char *before; /* where, */
		const char *after;
		const char *said[2];
	} table[] = {
		{"connect = pty:",
		 "/new/gps",
		 {"/new/gps cannot be made: Permission denied in ",
		  "         -> sudo install -d -o nobody '/tmp/"}},
		{"connect = serial:",
		 "/there,9600n81",
		 {"/there: Permission denied\n",
		  "         -> sudo adduser nobody dialout"}},
		{"connect = file:",
		 "/there",
		 {"problem  route r: ",
		  "/there cannot be written: Permission denied\n"}},
		{"connect = echo\ntrace = ",
		 "/new",
		 {"/new cannot be made: Permission denied in ",
		  "/btgate', and a path in that\n"}},
		{"connect = echo\ntrace = ",
		 "/there",
		 {"/there cannot be written: it is another user's\n"
		  "         -> sudo chown nobody '",
		  "/there.1 cannot be made: Permission denied in "}},
		/* Its mode is only its owner's to set. */
		{"connect = echo\ntrace = ",
		 "/open",
		 {"/open cannot be written: it is another user's\n"
		  "         -> sudo chown nobody '",
		  "/open', or move it away\n"}},
	};
	char path[64];

	put("/there", "");
	put("/open", "");
	snprintf(path, sizeof(path), "%s/open", root);
	ck_assert_int_eq(chmod(path, 0666), 0);
	ck_assert_int_eq(seteuid(65534), 0);
	look_at(route("listen = tcp:7\n%s%s%s", table[_i].before, root,
		      table[_i].after));
	ck_assert_int_eq(seteuid(0), 0);
	assert_said(table[_i].said[0]);
	assert_said(table[_i].said[1]);
}
END_TEST

/* Where a group may do what is wanted, one has to be in it. */
START_TEST(test_not_in_the_group)
{
	char path[64], said[96];

	snprintf(said, sizeof(said),
		 "         -> sudo adduser nobody %s, and log in again\n",
		 getgrgid(1)->gr_name);
	put("/there", "");
	snprintf(path, sizeof(path), "%s/there", root);
	ck_assert_int_eq(chown(path, 0, 1) | chmod(path, 0660), 0);
	ck_assert_int_eq(chown(root, 0, 1) | chmod(root, 0775), 0);
	ck_assert_int_eq(seteuid(65534), 0);
	look_at(route("listen = tcp:7\nconnect = file:%s", path));
	assert_said("/there cannot be written: Permission denied\n");
	assert_said(said);
	look_at(route("listen = tcp:7\nconnect = pty:%s/gps", root));
	ck_assert_int_eq(seteuid(0), 0);
	assert_said("/gps cannot be made: Permission denied in ");
	assert_said(said);
	assert_not_said("install -d");
}
END_TEST

START_TEST(test_pty_path)
{
	char path[64], lock[80];
	int fd;

	snprintf(path, sizeof(path), "%s/gps", root);
	snprintf(lock, sizeof(lock), "%s.lock", path);
	put("/gps", "a file");
	look_at(route("listen = tcp:7\nconnect = pty:%s", path));
	assert_said("is there already, and is not the gateway's\n");
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(symlink("/dev/pts/999", path), 0);
	look_at(route("listen = pty:%s\nconnect = echo", path));
	assert_said("is there already, and is not the gateway's\n");
	put("/gps.lock", "1\n");
	look_at(route("listen = pty:%s\nconnect = echo", path));
	assert_said("is stale: a gateway that was killed left it\n");
	fd = open(lock, O_RDONLY);
	ck_assert_int_eq(flock(fd, LOCK_EX), 0);
	look_at(route("listen = pty:%s\nconnect = echo", path));
	assert_said("problem  route r: ");
	assert_said(" (pid 1)\n");
	assert_said("         -> end that program, or choose another path\n");
	/* By the number that stands in the lock, or where it listens there. */
	gateway_says(GATEWAY_ANSWERS, 4711, "%s", "{\"pid\": 1}");
	look_at(route("listen = pty:%s\nconnect = echo", path));
	assert_said("ok       route r: ");
	assert_said("/gps is held by the gateway that runs\n");
	look_at(route("listen = tcp:7\nconnect = pty:%s", path));
	assert_said("/gps is held by the gateway that runs\n");
	gateway_says(GATEWAY_ANSWERS, 4711, "%s", "{\"pid\": 2}");
	look_at(route("listen = pty:%s\nconnect = echo", path));
	assert_said("problem  route r: ");
	gateway_says(
		GATEWAY_ANSWERS, 4711,
		"{\"pid\": 2, \"routes\": [{\"name\": \"r\", \"state\": "
		"\"listening\", \"listen\": \"tcp:127.0.0.1:7\", \"connect\": "
		"\"pty:%s\"}]}",
		path);
	look_at(route("listen = tcp:7\nconnect = pty:%s", path));
	assert_said("/gps is held by the gateway that runs\n");
	/* btgate listen, and a gateway that does not answer. */
	put_process(getpid(), "btgate\n", listen_line, sizeof(listen_line));
	prctl(PR_SET_NAME, "btgate");
	gateway_says(GATEWAY_MUTE, 0, "%s", "");
	snprintf(lock, sizeof(lock), "%d\n", getpid());
	put("/gps.lock", lock);
	look_at(route("listen = pty:%s\nconnect = echo", path));
	assert_said("problem  route r: ");
	put_process(getpid(), "btgate\n", run_line, sizeof(run_line));
	look_at(route("listen = pty:%s\nconnect = echo", path));
	assert_said("note     route r: ");
	assert_said("), which may be the gateway that runs\n");
	gateway_is_gone();
	close(fd);
}
END_TEST

/* What is in the way of the link to the next pty. */
START_TEST(test_pty_next)
{
	char path[64], next[80], lock[96];
	int fd;

	snprintf(path, sizeof(path), "%s/gps", root);
	snprintf(next, sizeof(next), "%s.next", path);
	snprintf(lock, sizeof(lock), "%s.lock", next);
	look_at(route("listen = pty:%s\nconnect = echo", path));
	assert_not_said(".next");
	put("/gps.next", "a file");
	look_at(route("listen = pty:%s\nconnect = echo", path));
	assert_said("problem  route r: ");
	assert_said("/gps.next is there already, and is needed for ");
	assert_said("/gps\n         -> sudo mv '");
	/* Not by one that never has another pty. */
	look_at(route("listen = tcp:7\nconnect = pty:%s", path));
	assert_not_said(".next");
	ck_assert_int_eq(unlink(next), 0);
	ck_assert_int_eq(symlink("/dev/pts/999", next), 0);
	look_at(route("listen = pty:%s\nconnect = echo", path));
	assert_said("/gps.next is there already, and is needed for ");
	put("/gps.lock", "99999999\n");
	look_at(route("listen = pty:%s\nconnect = echo", path));
	assert_not_said(".next");
	put("/gps.next.lock", "1\n");
	fd = open(lock, O_RDONLY);
	ck_assert_int_eq(flock(fd, LOCK_EX), 0);
	look_at(route("listen = pty:%s\nconnect = echo", path));
	assert_said("/gps.next is held by ");
	assert_said(" (pid 1), and is needed for ");
	assert_said("         -> another path for one of them\n");
	close(fd);
}
END_TEST

/* Whether it is held cannot be seen. */
START_TEST(test_lock_of_others)
{
	char path[64], lock[80];

	snprintf(path, sizeof(path), "%s/gps", root);
	snprintf(lock, sizeof(lock), "%s.lock", path);
	ck_assert_int_eq(symlink("/dev/pts/999", path), 0);
	put("/gps.lock", "1\n");
	ck_assert_int_eq(chmod(lock, 0), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(seteuid(65534), 0);
	look_at(route("listen = pty:%s\nconnect = echo", path));
	assert_said("note     route r: ");
	assert_said("/gps.lock is not for this user\n"
		    "         -> sudo btgate doctor\n");
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

START_TEST(test_unix)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", root);
	look_at(route("listen = unix:%s/s\nconnect = echo", root));
	assert_said("/s can be made");
	put("/s", "");
	look_at(route("listen = unix:%s/s\nconnect = echo", root));
	assert_said("problem  route r: ");
	assert_said("/s is there already, and is no socket\n");
	ck_assert_int_eq(unlink(address.sun_path), 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)),
			 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	look_at(route("listen = unix:%s/s\nconnect = echo", root));
	assert_said("problem  route r: ");
	assert_said("held by check_doctor (pid ");
	assert_said("         -> end that program, or choose another path\n");
	gateway_says(GATEWAY_ANSWERS, getpid(), "%s", "{}");
	look_at(route("listen = unix:%s/s\nconnect = echo", root));
	assert_said("ok       route r: ");
	assert_said("/s is held by the gateway that runs\n");
	gateway_says(GATEWAY_ANSWERS, 1, "%s", "{}");
	look_at(route("listen = unix:%s/s\nconnect = echo", root));
	assert_said("problem  route r: ");
	gateway_is_gone();
	close(fd);
	look_at(route("listen = unix:%s/s\nconnect = echo", root));
	assert_said("note     route r: ");
	assert_said("/s is there, and no program is seen that listens there\n"
		    "         -> the gateway replaces it when it starts\n");
}
END_TEST

START_TEST(test_serial)
{
	look_at(route("listen = tcp:7\nconnect = serial:/dev/ttyNone,9600n81"));
	assert_said("note     route r: /dev/ttyNone is not there\n");
	look_at(route("listen = tcp:7\nconnect = serial:/dev/null,9600n81"));
	assert_said("route r: /dev/null is ");
	put("/proc/9/comm", "ModemManager\n");
	look_at(route("listen = tcp:7\nconnect = serial:/dev/null,9600n81"));
	assert_said("ModemManager will try whether /dev/null is a modem\n");
}
END_TEST

START_TEST(test_file)
{
	look_at(route("listen = tcp:7\nconnect = file:%s/log", root));
	assert_said("/log can be made");
	put("/log", "");
	look_at(route("listen = tcp:7\nconnect = file:%s/log", root));
	assert_said("/log can be written");
}
END_TEST

START_TEST(test_trace)
{
	look_at(route("listen = tcp:7\nconnect = echo\ntrace = %s/trace",
		      root));
	assert_said("/trace can be made");
	put("/trace", "");
	look_at(route("listen = tcp:7\nconnect = echo\ntrace = %s/trace",
		      root));
	assert_said("/trace can be written");
	assert_said("/trace.1 can be made");
}
END_TEST

/* By another process: it does not ask about its own. */
START_TEST(test_held_serial)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
	const char *path;
	pid_t child, second;

	ck_assert_int_eq(grantpt(master) | unlockpt(master), 0);
	path = ptsname(master);
	slave = open(path, O_RDWR | O_NOCTTY);
	ck_assert_int_ge(slave, 0);
	child = fork();
	if (child == 0)
		pause();
	close(slave);
	look_at(route("listen = tcp:7\nconnect = serial:%s,9600n81", path));
	assert_said("is held by check_doctor (pid ");
	assert_said("         -> end that program\n");
	/* It is the gateway's own, or it is not. */
	gateway_says(GATEWAY_ANSWERS, child, "%s", "{}");
	look_at(route("listen = tcp:7\nconnect = serial:%s,9600n81", path));
	assert_said("ok       route r: /dev/");
	assert_said(" is held by the gateway that runs\n");
	gateway_says(GATEWAY_ANSWERS, getpid(), "%s", "{}");
	look_at(route("listen = tcp:7\nconnect = serial:%s,9600n81", path));
	assert_said("problem  route r: /dev/");
	/* Beside another. */
	second = fork();
	if (second == 0) {
		slave = open(path, O_RDWR | O_NOCTTY);
		kill(getpid(), SIGSTOP);
	}
	waitpid(second, NULL, WUNTRACED);
	gateway_says(GATEWAY_ANSWERS, child, "%s", "{}");
	look_at(route("listen = tcp:7\nconnect = serial:%s,9600n81", path));
	assert_said("problem  route r: /dev/");
	gateway_is_gone();
	kill(second, SIGKILL);
	waitpid(second, NULL, 0);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	look_at(route("listen = tcp:7\nconnect = serial:%s,9600n81", path));
	assert_said("ok       route r: /dev/");
	close(master);
}
END_TEST

START_TEST(test_certificates)
{
	static const char cure[] = "         -> put the file there, readable "
				   "for the user that the "
				   "gateway runs as, or correct the path\n";

	look_at(route("listen = tcp:7\nconnect = tls:host:7,ca=%s/none.pem",
		      root));
	assert_said("problem  route r: cannot read ca=");
	assert_said("/none.pem: No such file or directory\n");
	assert_said(cure);
	put("/ca.pem", "not a certificate");
	look_at(route("listen = tcp:7\nconnect = tls:host:7,ca=%s/ca.pem",
		      root));
	assert_said("/ca.pem holds no certificate in PEM form\n");
	look_at(route("listen = tls:7,cert=%s/none.pem,key=%s/none.key\n"
		      "connect = echo",
		      root, root));
	assert_said("problem  route r: cannot read cert=");
}
END_TEST

START_TEST(test_program)
{
	look_at(route("listen = tcp:7\nconnect = exec:/bin/cat -u"));
	assert_said("ok       route r: /bin/cat is there\n");
	look_at(route("listen = tcp:7\nconnect = exec:/bin/dog | tee"));
	assert_said("problem  route r: /bin/dog cannot be run: No such file");
	/* What a shell finds by itself is not guessed at. */
	look_at(route("listen = tcp:7\nconnect = exec:dog"));
	assert_not_said("dog cannot");
}
END_TEST

/* Under a user who has no capability; seteuid(2) drops them. */
START_TEST(test_capability)
{
	if (geteuid() == 0)
		ck_assert_int_eq(seteuid(65534), 0);
	look_at(route("listen = l2cap\nconnect = echo\n"
		      "security = low"));
	assert_not_said("flush-timeout");
	look_at(route("listen = l2cap,mode=basic,flush-timeout=100ms\nconnect "
		      "= echo"));
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
	assert_said("problem  route r: flush-timeout needs the capability "
		    "CAP_NET_RAW\n");
}
END_TEST

/* Who is not there, for whatever is made. */
START_TEST(test_accounts)
{
	static const struct {
		const char *before; /* where, */
		const char *after;
		const char *said;
	} table[] = {
		{"listen = unix:", "/s,group=no-such\nconnect = echo",
		 "problem  route r: group 'no-such' does not exist\n"
		 "         -> make it with 'sudo addgroup --system no-such'"},
		{"listen = tcp:7\nconnect = pty:", "/p,owner=no-such",
		 "problem  route r: user 'no-such' does not exist\n"
		 "         -> make it with 'sudo adduser --system no-such'"},
		{"listen = tcp:7\nconnect = file:", "/f,group=no-such",
		 "problem  route r: group 'no-such' does not exist\n"},
	};

	look_at(route("%s%s%s", table[_i].before, root, table[_i].after));
	assert_said(table[_i].said);
}
END_TEST

/* ---- what the gateway itself needs ------------------------------------------------ */

/* A line of [gateway]. */
static void look_at_own(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

static void look_at_own(const char *format, ...)
{
	char file[1024] = "[gateway]\n";
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(file + strlen(file), sizeof(file) - strlen(file), format,
		  arguments);
	va_end(arguments);
	strcat(file, "\n[route r]\nlisten = tcp:7\nconnect = echo\n");
	ck_assert_int_eq(config_parse("test", file, strlen(file), &config,
				      fail_config, NULL),
			 0);
	forget();
	diagnosis_gateway(&diagnosis, loop, &config->gateway, &around);
	clear_route();
}

START_TEST(test_control_accounts)
{
	look_at_own("control = unix:%s/c,group=no-such", root);
	assert_said(
		"problem  control: group 'no-such' does not exist\n"
		"         -> make it with 'sudo addgroup --system no-such'");
	look_at_own("control = unix:%s/c,owner=no-such", root);
	assert_said("problem  control: user 'no-such' does not exist\n");
	if (geteuid() == 0) {
		look_at_own("control = unix:%s/c,owner=4711,group=4712", root);
		assert_not_said("control");
		ck_assert_int_eq(seteuid(65534), 0);
	}
	look_at_own("control = unix:%s/c,group=4712", root);
	assert_said("problem  control: cannot give ");
	assert_said("/c to group '4712': the gateway is not a member of it and "
		    "has no CAP_CHOWN\n"
		    "         -> 'sudo adduser ");
	assert_said(" 4712' and log in again, or restart the service; or ");
	look_at_own("control = unix:%s/c,owner=4711", root);
	assert_said("/c to user '4711': the gateway is another user and has no "
		    "CAP_CHOWN\n"
		    "         -> leave owner= out");
	look_at_own("control = unix:%s/c,owner=%u,group=%u", root,
		    (unsigned int)geteuid(), (unsigned int)getegid());
	assert_not_said("control");
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

/* Of another user, or of one who has shut himself out. */
START_TEST(test_control_of_others)
{
	char path[64], said[256];

	put("/c", "");
	snprintf(path, sizeof(path), "%s/c", root);
	look_at_own("control = unix:%s", path);
	assert_not_said("control");
	ck_assert_int_eq(chmod(path, 0400), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(seteuid(65534), 0);
	look_at_own("control = unix:%s,group=0", path);
	assert_said("note     control: ");
	snprintf(said, sizeof(said),
		 "/c is not for this user, nor is what asks a gateway that "
		 "runs, like btgate status\n"
		 "         -> sudo btgate status; or 'control = unix:%s,",
		 path);
	assert_said(said);
	look_at_own("control = unix:%s,mode=0660,group=0", path);
	snprintf(said, sizeof(said),
		 "         -> sudo adduser %s 0, and log in again\n",
		 getpwuid(geteuid())->pw_name);
	assert_said(said);
	look_at_own("control = no");
	assert_not_said("control");
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

START_TEST(test_metrics)
{
	unsigned int port;
	char said[160];
	int fd = take_tcp_port(&port);

	look_at_own("metrics = %u", port);
	snprintf(said, sizeof(said),
		 "problem  metrics: TCP port %u is held by check_doctor (pid ",
		 port);
	assert_said(said);
	snprintf(said, sizeof(said),
		 "         -> end that program ('sudo ss -ltnp sport = :%u' "
		 "shows it), or choose another port\n",
		 port);
	assert_said(said);
	gateway_says(GATEWAY_MUTE, 0, "%s", "");
	look_at_own("metrics = %u", port);
	assert_said("problem  metrics: ");
	prctl(PR_SET_NAME, "btgate-metrics");
	look_at_own("metrics = %u", port);
	assert_said("note     metrics: ");
	assert_said("), which may be the gateway that runs\n");
	gateway_says(GATEWAY_ANSWERS, 1,
		     "{\"metrics\": {\"listening_on\": \"tcp:127.0.0.1:%u\"}}",
		     port);
	look_at_own("metrics = %u", port);
	assert_said("ok       metrics: ");
	assert_said("is held by the gateway that runs\n");
	gateway_says(GATEWAY_ANSWERS, 1, "%s", "{\"metrics\": null}");
	look_at_own("metrics = %u", port);
	assert_said("problem  metrics: ");
	gateway_is_gone();
	close(fd);
	look_at_own("metrics = %u", port);
	snprintf(said, sizeof(said),
		 "ok       metrics: tcp:127.0.0.1:%u is free\n", port);
	assert_said(said);
	look_at_own("metrics = no");
	assert_not_said("metrics");
}
END_TEST

/* ---- the program --------------------------------------------------------------- */

static const char *before = ""; /* what runs it */

static int run(const char *arguments)
{
	char command[512], line[512];
	FILE *pipe;
	int status;

	ck_assert_ptr_nonnull(getenv("BTGATE"));
	snprintf(command, sizeof(command), "exec 2>&1; %s%s doctor %s", before,
		 getenv("BTGATE"), arguments);
	pipe = popen(command, "r");
	while (fgets(line, sizeof(line), pipe))
		fputs(line, diagnosis.stream);
	status = pclose(pipe);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

START_TEST(test_program_config)
{
	char arguments[80];

	snprintf(arguments, sizeof(arguments), "-c %s/none.conf", root);
	ck_assert_int_eq(run(arguments), 1); /* there is no bus */
	assert_said("problem  bluetoothd: the system bus is not there");
	assert_said("note     configuration: there is no ");
	put("/bad.conf", "[route a]\nlisten = tcp\n");
	snprintf(arguments, sizeof(arguments), "-q -c %s/bad.conf", root);
	ck_assert_int_eq(run(arguments), 1);
	assert_said("problem  configuration: ");
	assert_said("bad.conf:2: ");
	put("/good.conf", "[gateway]\ndiscoverable = no\n"
			  "metrics = 192.0.2.1:9\n[route a]\n"
			  "listen = rfcomm\nconnect = exec:/bin/dog\n");
	snprintf(arguments, sizeof(arguments), "-c %s/good.conf", root);
	ck_assert_int_eq(run(arguments), 1);
	assert_said("good.conf is valid, 1 route\n");
	assert_said("problem  metrics: cannot listen on 192.0.2.1: this "
		    "machine has no such address now\n");
	assert_said("problem  route a: /bin/dog cannot be run");
}
END_TEST

/* Root without it, or somebody who has none. */
START_TEST(test_program_capability)
{
	static const char note[] =
		"note     configuration: discoverable = no lets in paired "
		"devices only, and strangers by its address only with "
		"CAP_NET_ADMIN\n"
		"         -> AmbientCapabilities=CAP_NET_ADMIN in a drop-in";
	char arguments[80];

	put("/hidden.conf", "[gateway]\ndiscoverable = no\n[route a]\n"
			    "listen = rfcomm\nconnect = echo\n");
	snprintf(arguments, sizeof(arguments), "-c %s/hidden.conf", root);
	if (geteuid() == 0) {
		run(arguments);
		assert_not_said("CAP_NET_ADMIN");
		forget();
		before = "setpriv --bounding-set=-net_admin ";
	}
	run(arguments);
	before = "";
	assert_said(note);
}
END_TEST

START_TEST(test_program_full)
{
	ck_assert_int_eq(run(">/dev/full"), 1);
	assert_said("btgate: cannot write to standard output: No space left");
}
END_TEST

static void run_asking(const char *control)
{
	char file[256], arguments[80];

	snprintf(file, sizeof(file),
		 "[gateway]\ncontrol = unix:%s\n[route a]\nlisten = tcp:7\n"
		 "connect = echo\n",
		 control);
	put("/asked.conf", file);
	snprintf(arguments, sizeof(arguments), "-c %s/asked.conf", root);
	ck_assert_int_eq(run(arguments), 1);
}

/* It is named as whoever listens, which needs no right to look at it. */
START_TEST(test_program_no_answer)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char said[256];
	pid_t child;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", root);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)),
			 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	child = fork();
	if (child == 0) {
		prctl(PR_SET_NAME, "another");
		for (;;)
			close(accept(fd, NULL, NULL));
	}
	close(fd);
	run_asking(address.sun_path);
	snprintf(said, sizeof(said),
		 "problem  gateway: %s is held by check_doctor (pid %d), which "
		 "does not answer\n",
		 address.sun_path, getpid());
	assert_said(said);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}
END_TEST

/* What keeps us from asking is not another program's. */
START_TEST(test_program_cannot_ask)
{
	char path[64];

	put("/file", "");
	snprintf(path, sizeof(path), "%s/file/s", root);
	run_asking(path);
	assert_said("problem  gateway: it cannot be asked at ");
	assert_said("/file/s: Not a directory\n");
	assert_not_said("does not answer");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("doctor");
	TCase *tcase = tcase_create("doctor");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, test_print);
	tcase_add_test(tcase, test_print_brief);
	tcase_add_test(tcase, test_print_json);
	tcase_add_loop_test(tcase, test_print_nothing, 0, 2);
	tcase_add_loop_test(tcase, test_container, 0, 3);
	tcase_add_loop_test(tcase, test_kernel, 0, 5);
	tcase_add_test(tcase, test_adapters);
	tcase_add_test(tcase, test_user);
	tcase_add_test(tcase, test_rfkill);
	tcase_add_test(tcase, test_gateway);
	tcase_add_test(tcase, test_modem_manager);
	tcase_add_test(tcase, test_no_bus);
	tcase_add_test(tcase, test_mute_bus);
	tcase_add_test(tcase, test_no_daemon);
	tcase_add_test(tcase, test_bus_policy);
	tcase_add_test(tcase, test_daemon_adapters);
	tcase_add_loop_test(tcase, test_devices, 0, 7);
	tcase_add_test(tcase, test_device_of_two_adapters);
	tcase_add_loop_test(tcase, test_agent, 0, 7);
	tcase_add_test(tcase, test_tcp);
	tcase_add_test(tcase, test_tcp_beside_a_gateway);
	tcase_add_test(tcase, test_pty_room);
	tcase_add_test(tcase, test_pty_path);
	tcase_add_test(tcase, test_pty_next);
	tcase_add_test(tcase, test_lock_of_others);
	tcase_add_test(tcase, test_unix);
	tcase_add_test(tcase, test_serial);
	tcase_add_test(tcase, test_file);
	if (geteuid() == 0) {
		tcase_add_loop_test(tcase, test_not_permitted, 0, 6);
		tcase_add_test(tcase, test_not_in_the_group);
		tcase_add_loop_test(tcase, test_tcp_of_somebody, 0, 5);
	} else {
		puts("skipped, needs root: test_not_permitted, "
		     "test_not_in_the_group, test_tcp_of_somebody");
	}
	tcase_add_test(tcase, test_trace);
	tcase_add_test(tcase, test_held_serial);
	tcase_add_test(tcase, test_certificates);
	tcase_add_test(tcase, test_program);
	tcase_add_test(tcase, test_capability);
	tcase_add_loop_test(tcase, test_accounts, 0, 3);
	tcase_add_test(tcase, test_control_accounts);
	tcase_add_test(tcase, test_control_of_others);
	tcase_add_test(tcase, test_metrics);
	tcase_add_test(tcase, test_program_config);
	tcase_add_test(tcase, test_program_capability);
	tcase_add_test(tcase, test_program_full);
	tcase_add_test(tcase, test_program_no_answer);
	tcase_add_test(tcase, test_program_cannot_ask);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
