/* SPDX-License-Identifier: MIT */
/*
 * The trace of a route: what its formats look like, byte for byte, its files, a
 * client of the control socket that is slow, and what a session tells.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "config.h"
#include "control.h"
#include "error.h"
#include "log_lines.h"
#include "loop.h"
#include "session.h"
#include "socket.h"
#include "tcp_end.h"
#include "trace.h"
#include "trace_feed.h"
#include "trace_file.h"
#include "trace_format.h"
#include "trace_json.h"

#define DEADLINE_MS 20000
#define KIB 1024u

static char directory[32];
static char path[64];

/* ---- what was put ------------------------------------------------------------- */

static char got[512 * KIB + 2];
static size_t got_bytes;

static void keep(const void *data, size_t bytes, void *arg)
{
	ck_assert_uint_le(got_bytes + bytes, sizeof(got));
	memcpy(got + got_bytes, data, bytes);
	got_bytes += bytes;
}

static void put_event(enum trace_format format, const struct trace_event *event)
{
	trace_format_event(format, "gps", event, keep, NULL);
}

static struct trace_event event_of(enum trace_kind kind, const char *text)
{
	return (struct trace_event){
		.kind = kind,
		.time_us = 1700000000123456,
		.session = 3,
		.peer = "00:11:22:33:44:55",
		.text = text,
	};
}

static struct trace_event data_of(const void *data, size_t bytes,
				  bool is_from_client)
{
	struct trace_event event = event_of(TRACE_KIND_DATA, NULL);

	event.data = data;
	event.bytes = bytes;
	event.is_from_client = is_from_client;
	return event;
}

static struct trace_event missed_of(uint64_t events, uint64_t bytes)
{
	struct trace_event event = event_of(TRACE_KIND_MISSED, "No space left");

	event.missed_events = events;
	event.missed_bytes = bytes;
	return event;
}

static void expect_text(const char *text)
{
	ck_assert_uint_lt(got_bytes, sizeof(got));
	got[got_bytes] = '\0';
	ck_assert_str_eq(got, text);
	got_bytes = 0;
}

static void setup(void)
{
	setenv("TZ", "UTC", 1);
	tzset();
	got_bytes = 0;
	log_line_count = 0;
	strcpy(directory, "/tmp/check_trace.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/trace", directory);
}

static void teardown(void)
{
	char command[80];

	snprintf(command, sizeof(command), "rm -rf %s", directory);
	ck_assert_int_eq(system(command), 0);
}

/* ---- lines ---------------------------------------------------------------------- */

#define HEAD "2023-11-14 22:13:20.123456 gps/3 00:11:22:33:44:55"

START_TEST(hex_is_a_dump)
{
	static const uint8_t bytes[] = "$GPGGA,1\r\n\0\x7f\xff\x80~ abcd";
	struct trace_event event = data_of(bytes, sizeof(bytes) - 1, true);

	put_event(TRACE_FORMAT_HEX, &event);
	expect_text(HEAD
		    " to target, 20 bytes:\n"
		    "  0000  24 47 50 47 47 41 2c 31  0d 0a 00 7f ff 80 7e 20  "
		    "|$GPGGA,1......~ |\n"
		    "  0010  61 62 63 64                                       "
		    "|abcd|\n");
	event = data_of("x", 1, false);
	put_event(TRACE_FORMAT_HEX, &event);
	expect_text(HEAD
		    " to client, 1 byte:\n"
		    "  0000  78                                                "
		    "|x|\n");
}
END_TEST

START_TEST(text_has_a_line_for_each_that_it_has)
{
	static const char data[] = "AT\rOK\r\n\nx\\\t\x01\xc3\xbc";
	struct trace_event event = data_of(data, sizeof(data) - 1, false);

	put_event(TRACE_FORMAT_TEXT, &event);
	expect_text(HEAD " to client: AT\\r\n" HEAD
			 " to client: OK\\r\\n\n" HEAD " to client: \\n\n" HEAD
			 " to client: x\\\\\\t\\x01\\xc3\\xbc\n");
}
END_TEST

START_TEST(a_long_line_of_text_is_cut)
{
	char data[300], cut[257];
	char want[2000];
	struct trace_event event = data_of(data, sizeof(data), true);

	memset(data, 'a', sizeof(data));
	memset(cut, 'a', sizeof(cut));
	cut[256] = '\0';
	put_event(TRACE_FORMAT_TEXT, &event);
	snprintf(want, sizeof(want),
		 HEAD " to target: %s\n" HEAD " to target: %.44s\n", cut, cut);
	expect_text(want);
}
END_TEST

START_TEST(notes_are_lines)
{
	struct trace_event event = event_of(TRACE_KIND_STARTED,
					    "tcp:\x1b[2J\n");

	put_event(TRACE_FORMAT_HEX, &event);
	expect_text(HEAD " connected to tcp:\\x1b[2J\\x0a\n");
	event = event_of(TRACE_KIND_ENDED, "client closed");
	put_event(TRACE_FORMAT_TEXT, &event);
	expect_text(HEAD " ended: client closed\n");
	event = missed_of(12, 3456);
	put_event(TRACE_FORMAT_HEX, &event);
	expect_text("2023-11-14 22:13:20.123456 gps 12 pieces with 3456 bytes "
		    "are missing here: No space left\n");
}
END_TEST

/* ---- pcapng --------------------------------------------------------------------- */

/* What is to come: numbers in this machine's order, as in the file. */
static uint8_t want[512];
static size_t want_bytes;

static void want_add(const void *data, size_t bytes)
{
	ck_assert_uint_le(want_bytes + bytes, sizeof(want));
	memcpy(want + want_bytes, data, bytes);
	want_bytes += bytes;
}

static void want_u16(uint16_t number)
{
	want_add(&number, sizeof(number));
}

static void want_u32(uint32_t number)
{
	want_add(&number, sizeof(number));
}

static void want_text(const char *text)
{
	want_add(text, strlen(text));
	want_add("\0\0\0", (4 - strlen(text) % 4) % 4);
}

static void expect_wanted(void)
{
	ck_assert_uint_eq(got_bytes, want_bytes);
	ck_assert_mem_eq(got, want, want_bytes);
	got_bytes = 0;
	want_bytes = 0;
}

/* draft-ietf-opsawg-pcapng, 4.1 and 4.2 */
START_TEST(pcapng_starts_with_a_section_and_an_interface)
{
	static const char program[] = "btgate " BTGATE_VERSION;
	const uint16_t length = (uint16_t)strlen(program);
	const uint32_t bytes = 24 + 4 + (length + 3u) / 4 * 4 + 8;

	want_u32(0x0a0d0d0a);
	want_u32(bytes);
	want_u32(0x1a2b3c4d);
	want_u16(1);
	want_u16(0);
	want_u32(0xffffffff);
	want_u32(0xffffffff);
	want_u16(4);
	want_u16(length);
	want_text(program);
	want_u32(0);
	want_u32(bytes);

	want_u32(1);
	want_u32(32);
	want_u16(252);
	want_u16(0);
	want_u32(0);
	want_u16(2);
	want_u16(3);
	want_text("gps");
	want_u32(0);
	want_u32(32);
	trace_format_start(TRACE_FORMAT_PCAPNG, "gps", keep, NULL);
	expect_wanted();
	trace_format_start(TRACE_FORMAT_HEX, "gps", keep, NULL);
	expect_wanted();
}
END_TEST

static void want_tag(uint8_t tag, const char *text)
{
	const uint8_t head[] = {0, tag, 0, (uint8_t)((strlen(text) + 3) & ~3u)};

	want_add(head, sizeof(head));
	want_text(text);
}

/* 4.3; the tags, in the network's order, are exported_pdu_tlvs.h's. */
static void want_packet(const struct trace_event *event, uint32_t bytes,
			uint32_t captured)
{
	want_u32(6);
	want_u32(bytes);
	want_u32(0);
	want_u32((uint32_t)(event->time_us >> 32));
	want_u32((uint32_t)event->time_us);
	want_u32(captured);
	want_u32(captured);
	want_tag(12, "data");
	want_tag(33, "gps/3");
}

static void check_direction(bool is_from_client, const char *info)
{
	static const uint8_t tag[] = {0, 35, 0, 4, 0, 0, 0};
	const uint8_t is_received = is_from_client;
	struct trace_event event = data_of("hello", 5, is_from_client);

	ck_assert_uint_eq(strlen(info), 36);
	want_packet(&event, 28 + 72 + 8 + 8 + 8, 72 + 5);
	want_add(tag, sizeof(tag));
	want_add(&is_received, 1);
	want_tag(36, info);
	want_u32(0);
	want_text("hello");
	want_u16(2);
	want_u16(4);
	want_u32(is_from_client ? 1 : 2);
	want_u32(0);
	want_u32(28 + 72 + 8 + 8 + 8);
	put_event(TRACE_FORMAT_PCAPNG, &event);
	expect_wanted();
}

START_TEST(pcapng_has_a_packet_for_each_piece)
{
	check_direction(true, "00:11:22:33:44:55 to target, 5 bytes");
	check_direction(false, "00:11:22:33:44:55 to client, 5 bytes");
}
END_TEST

START_TEST(pcapng_has_notes_as_comments)
{
	static const char info[] = "00:11:22:33:44:55 ended: closed";
	struct trace_event event = event_of(TRACE_KIND_ENDED, "closed");

	ck_assert_uint_eq(strlen(info), 31);
	want_packet(&event, 28 + 60 + 4 + 32 + 8, 60);
	want_tag(36, info);
	want_u32(0);
	want_u16(1);
	want_u16(31);
	want_text(info);
	want_u32(0);
	want_u32(28 + 60 + 4 + 32 + 8);
	put_event(TRACE_FORMAT_PCAPNG, &event);
	expect_wanted();
}
END_TEST

/* ---- JSON ----------------------------------------------------------------------- */

static void check_json(const struct trace_event *event)
{
	uint8_t data[TRACE_DATA_BYTES_MAX];
	struct trace_event back;
	json_t *json = trace_json(event);

	ck_assert_ptr_nonnull(json);
	ck_assert(trace_json_parse(json, &back, data));
	ck_assert_int_eq(back.kind, event->kind);
	ck_assert_uint_eq(back.time_us, event->time_us);
	ck_assert_uint_eq(back.missed_events, event->missed_events);
	ck_assert_uint_eq(back.missed_bytes, event->missed_bytes);
	ck_assert_uint_eq(back.bytes, event->bytes);
	if (event->bytes)
		ck_assert_mem_eq(back.data, event->data, event->bytes);
	ck_assert_int_eq(back.is_from_client, event->is_from_client);
	if (event->kind != TRACE_KIND_MISSED) {
		ck_assert_uint_eq(back.session, 3);
		ck_assert_str_eq(back.peer, event->peer);
	}
	if (event->kind != TRACE_KIND_DATA)
		ck_assert_str_eq(back.text, event->text);
	json_decref(json);
}

START_TEST(json_says_the_same)
{
	uint8_t all[256];
	struct trace_event events[] = {
		event_of(TRACE_KIND_STARTED, "echo"),
		event_of(TRACE_KIND_ENDED, "client closed"),
		missed_of(7, UINT64_C(1) << 40),
		data_of(all, sizeof(all), true),
		data_of(all, 1, false),
	};
	json_t *json;

	for (int i = 0; i < 256; i++)
		all[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		check_json(&events[i]);
	/* A stranger's name need not be UTF-8. */
	events[0].peer = "\xff";
	json = trace_json(&events[0]);
	ck_assert_str_eq(json_string_value(json_object_get(json, "peer")), "?");
	json_decref(json);
}
END_TEST

START_TEST(json_that_is_no_event)
{
	static const char *const texts[] = {
		"{}",
		"{\"event\":1}",
		"{\"event\":\"fly\"}",
		"{\"event\":\"data\",\"data\":\"0\"}",
		"{\"event\":\"data\",\"data\":\"0g\"}",
	};
	uint8_t data[TRACE_DATA_BYTES_MAX];
	struct trace_event event;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		json_t *json = json_loads(texts[i], 0, NULL);

		ck_assert(!trace_json_parse(json, &event, data));
		json_decref(json);
	}
}
END_TEST

/* ---- files ---------------------------------------------------------------------- */

static struct config_trace config_of(enum trace_format format,
				     unsigned int files)
{
	return (struct config_trace){
		.path = path,
		.format = format,
		.size_bytes = 512 * KIB,
		.files = files,
	};
}

/* As much of PATH or PATH.N as there is, in @got; its bytes, or -1. */
static ssize_t slurp(unsigned int number)
{
	char name[80];
	ssize_t bytes;
	int fd;

	snprintf(name, sizeof(name), number ? "%s.%u" : "%s", path, number);
	fd = open(name, O_RDONLY);
	if (fd < 0)
		return -1;
	bytes = read(fd, got, sizeof(got) - 1);
	close(fd);
	got[bytes < 0 ? 0 : bytes] = '\0';
	return bytes;
}

static mode_t mode_of(const char *name)
{
	struct stat st;

	ck_assert_int_eq(stat(name, &st), 0);
	return st.st_mode & 07777;
}

START_TEST(a_file_is_for_its_owner_and_goes_on)
{
	struct config_trace config = config_of(TRACE_FORMAT_TEXT, 2);
	struct trace_event event = data_of("one\n", 4, true);
	struct trace_file *file;

	umask(0);
	file = trace_file_new("gps", &config);
	ck_assert_int_eq(mode_of(path), 0600);
	trace_file_add(file, &event);
	ck_assert_int_gt(slurp(0), 0);
	ck_assert_str_eq(got, HEAD " to target: one\\n\n");
	trace_file_free(file);
	/* Also one that was there before. */
	chmod(path, 0644);
	file = trace_file_new("gps", &config);
	ck_assert_int_eq(mode_of(path), 0600);
	event.data = (const uint8_t *)"two\n";
	trace_file_add(file, &event);
	slurp(0);
	ck_assert_str_eq(got, HEAD " to target: one\\n\n" HEAD
				   " to target: two\\n\n");
	ck_assert_int_eq(slurp(1), -1);
	trace_file_free(file);
}
END_TEST

/* The numbers that are in the lines of PATH.N; they must be in a row. */
static unsigned int check_row(unsigned int number, unsigned int *first)
{
	unsigned int count = 0, value;
	ssize_t bytes = slurp(number);
	bool is_row = true;

	ck_assert_int_gt(bytes, 0);
	ck_assert_int_le(bytes, 512 * KIB);
	for (char *line = got; *line; line = strchr(line, '\n') + 1) {
		const char *text = strstr(line, "number ");

		if (!text || sscanf(text, "number %u", &value) != 1)
			value = UINT_MAX;
		if (!count)
			*first = value;
		is_row = is_row && value == *first + count;
		count++;
	}
	/* Not in each turn: Check writes to a file what it is at. */
	ck_assert(is_row);
	return count;
}

START_TEST(full_files_take_turns)
{
	struct config_trace config = config_of(TRACE_FORMAT_TEXT, 3);
	struct trace_file *file;
	unsigned int first, count, next = 8000;
	char data[240];

	/* More than there are to be, from before. */
	for (unsigned int i = 2; i < 6; i++) {
		snprintf(data, sizeof(data), "%s.%u", path, i);
		close(open(data, O_CREAT | O_WRONLY, 0600));
	}
	file = trace_file_new("gps", &config);
	for (unsigned int i = 0; i < next; i++) {
		struct trace_event event = data_of(data, 0, true);

		event.bytes = (size_t)snprintf(data, sizeof(data),
					       "number %u %200s", i, ".");
		trace_file_add(file, &event);
	}
	trace_file_free(file);
	for (unsigned int i = 0; i < 3; i++) {
		count = check_row(i, &first);
		ck_assert_uint_eq(first + count, next);
		next = first;
		/* Full, but for less than a line. */
		if (i)
			ck_assert_uint_gt(strlen(got), 512 * KIB - 400);
	}
	ck_assert_uint_gt(next, 0);
	for (unsigned int i = 3; i < 6; i++)
		ck_assert_int_eq(slurp(i), -1);
	ck_assert_uint_eq(log_line_count, 0);
}
END_TEST

/* The largest pieces, in the form that takes most. */
START_TEST(no_file_is_larger_than_it_may_be)
{
	static uint8_t zeros[TRACE_DATA_BYTES_MAX];
	struct config_trace config = config_of(TRACE_FORMAT_HEX, 1);
	struct trace_event event = data_of(zeros, sizeof(zeros), true);
	struct trace_file *file = trace_file_new("gps", &config);

	for (int i = 0; i < 5; i++) {
		trace_file_add(file, &event);
		ck_assert_int_gt(slurp(0), 64 * KIB);
		ck_assert_int_le(slurp(0), 512 * KIB);
	}
	ck_assert_int_eq(slurp(1), -1);
	trace_file_free(file);
	ck_assert_uint_eq(log_line_count, 0);
}
END_TEST

START_TEST(each_pcapng_file_has_its_beginning)
{
	static uint8_t zeros[TRACE_DATA_BYTES_MAX];
	struct config_trace config = config_of(TRACE_FORMAT_PCAPNG, 2);
	struct trace_event event = data_of(zeros, sizeof(zeros), true);
	struct trace_file *file = trace_file_new("gps", &config);

	for (int i = 0; i < 10; i++)
		trace_file_add(file, &event);
	trace_file_free(file);
	for (unsigned int i = 0; i < 2; i++) {
		ck_assert_int_gt(slurp(i), 64 * KIB);
		ck_assert_mem_eq(got, "\x0a\x0d\x0d\x0a", 4);
	}
}
END_TEST

/* Whether what is there was gone on with, and not put aside. */
static bool is_continued(const void *data, size_t bytes,
			 enum trace_format format)
{
	struct config_trace config = config_of(format, 2);
	char name[80];
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	snprintf(name, sizeof(name), "%s.1", path);
	unlink(name);
	ck_assert_int_eq(write(fd, data, bytes), (ssize_t)bytes);
	close(fd);
	trace_file_free(trace_file_new("gps", &config));
	return access(name, F_OK) < 0;
}

START_TEST(what_is_of_another_format_or_broken_is_put_aside)
{
	static char whole[512];
	struct trace_event event = data_of("hello", 5, true);
	size_t bytes;

	trace_format_start(TRACE_FORMAT_PCAPNG, "gps", keep, NULL);
	put_event(TRACE_FORMAT_PCAPNG, &event);
	memcpy(whole, got, got_bytes);
	bytes = got_bytes;
	ck_assert(is_continued(whole, bytes, TRACE_FORMAT_PCAPNG));
	ck_assert(!is_continued(whole, bytes - 1, TRACE_FORMAT_PCAPNG));
	ck_assert(!is_continued(whole, bytes - 4, TRACE_FORMAT_PCAPNG));
	ck_assert(!is_continued(whole, bytes, TRACE_FORMAT_TEXT));
	ck_assert(!is_continued("a line\n", 7, TRACE_FORMAT_PCAPNG));
	ck_assert(!is_continued("a", 1, TRACE_FORMAT_PCAPNG));
	ck_assert(is_continued("a line\n", 7, TRACE_FORMAT_HEX));
	ck_assert(!is_continued("a lin", 5, TRACE_FORMAT_HEX));
	ck_assert(is_continued("", 0, TRACE_FORMAT_PCAPNG));
}
END_TEST

START_TEST(a_file_that_was_moved_is_left_alone_from_the_next_session_on)
{
	struct config_trace config = config_of(TRACE_FORMAT_TEXT, 2);
	struct trace_event start = event_of(TRACE_KIND_STARTED, "echo");
	struct trace_file *file = trace_file_new("gps", &config);

	trace_file_add(file, &start);
	ck_assert_int_eq(unlink(path), 0);
	trace_file_add(file, &start);
	ck_assert_int_gt(slurp(0), 0);
	ck_assert_str_eq(got, HEAD " connected to echo\n");
	trace_file_free(file);
}
END_TEST

/* ---- a full disk ------------------------------------------------------------------ */

static void set_limit(rlim_t bytes)
{
	const struct rlimit limit = {bytes, RLIM_INFINITY};

	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
		abort();
}

/* Until it says that it goes on: in a second. */
static void await_recovery(struct trace_file *file,
			   const struct trace_event *event)
{
	uint64_t deadline = loop_now_ms() + DEADLINE_MS;

	while (!log_has("goes on")) {
		ck_assert(loop_now_ms() < deadline);
		usleep(10000);
		trace_file_add(file, event);
	}
}

START_TEST(a_full_disk_is_said_once_and_then_it_goes_on)
{
	struct config_trace config = config_of(_i, 2);
	struct trace_event event = data_of("some data", 9, true);
	struct trace_file *file = trace_file_new("gps", &config);
	const char *line = log_lines[1];
	unsigned long long events, bytes;
	ssize_t whole;

	trace_file_add(file, &event);
	whole = slurp(0);
	/* Room for the half of one more. Check's own file cannot grow either. */
	set_limit((rlim_t)whole + 20);
	for (int i = 0; i < 100; i++)
		trace_file_add(file, &event);
	set_limit(RLIM_INFINITY);
	ck_assert_int_eq(slurp(0), whole);
	ck_assert_uint_eq(log_line_count, 1);
	ck_assert(log_has("cannot be written to /tmp/check_trace."));
	ck_assert(log_has("File too large"));
	await_recovery(file, &event);
	ck_assert_uint_eq(log_line_count, 2);
	ck_assert_int_eq(sscanf(strstr(line, "on; "),
				"on; %llu pieces with %llu bytes", &events,
				&bytes),
			 2);
	ck_assert_uint_ge(events, 100);
	ck_assert_uint_eq(bytes, 9 * events);
	ck_assert_int_gt(slurp(0), whole);
	if (config.format == TRACE_FORMAT_TEXT)
		ck_assert_ptr_nonnull(strstr(got,
					     "bytes are missing here: File "
					     "too large\n"));
	trace_file_free(file);
	/* It is still one that can be gone on with. */
	trace_file_free(trace_file_new("gps", &config));
	ck_assert_int_eq(slurp(1), -1);
}
END_TEST

/* A note of what is missing fits, and no event: that is no recovery. */
START_TEST(a_full_disk_that_takes_a_note_is_full)
{
	static char data[4096];
	struct config_trace config = config_of(TRACE_FORMAT_PCAPNG, 2);
	struct trace_event event = data_of(data, sizeof(data), true);
	struct trace_file *file = trace_file_new("gps", &config);
	uint64_t until = loop_now_ms() + 1300;
	ssize_t whole;

	trace_file_add(file, &event);
	whole = slurp(0);
	set_limit((rlim_t)whole + 1000);
	/* It is tried again after a second. */
	while (loop_now_ms() < until) {
		trace_file_add(file, &event);
		usleep(10000);
	}
	set_limit(RLIM_INFINITY);
	ck_assert_int_gt(slurp(0), whole);
	ck_assert_uint_eq(log_line_count, 1);
	await_recovery(file, &event);
	ck_assert_uint_eq(log_line_count, 2);
	trace_file_free(file);
}
END_TEST

START_TEST(a_directory_that_is_missing_may_come)
{
	struct config_trace config = config_of(TRACE_FORMAT_PCAPNG, 2);
	struct trace_event event = data_of("some data", 9, true);
	struct trace_file *file;

	ck_assert_int_eq(rmdir(directory), 0);
	file = trace_file_new("gps", &config);
	ck_assert(log_has("make it first"));
	trace_file_add(file, &event);
	ck_assert_uint_eq(log_line_count, 1);
	ck_assert_int_eq(mkdir(directory, 0700), 0);
	await_recovery(file, &event);
	ck_assert_int_gt(slurp(0), 0);
	ck_assert_mem_eq(got, "\x0a\x0d\x0d\x0a", 4);
	trace_file_free(file);
}
END_TEST

#define await_that(condition)                                    \
	do {                                                     \
		uint64_t deadline = loop_now_ms() + DEADLINE_MS; \
		while (!(condition)) {                           \
			ck_assert(loop_now_ms() < deadline);     \
			usleep(10000);                           \
		}                                                \
	} while (0)

static bool keeps_failing(struct trace_file *file, const char *words)
{
	struct error error = {""};

	return trace_file_is_failing(file, trace_now_us(), &error) &&
	       strstr(error.text, words);
}

/* Whoever asks need not wait for an event, but for its next try. */
START_TEST(what_keeps_it_from_being_written)
{
	struct config_trace config = config_of(TRACE_FORMAT_TEXT, 2);
	struct trace_event event = data_of("some data", 9, true);
	struct trace_file *file;
	struct error error = {""};

	ck_assert_int_eq(rmdir(directory), 0);
	file = trace_file_new("gps", &config);
	ck_assert_str_eq(trace_file_path(file), path);
	trace_file_add(file, &event);
	ck_assert(trace_file_is_failing(file, trace_now_us(), &error));
	ck_assert_str_eq(error.text,
			 "No such file or directory (its directory is not "
			 "there, make it first)");
	/* Another reason by now. */
	ck_assert_int_eq(mkdir(directory, 0700), 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert(keeps_failing(file, "(its directory is not there"));
	await_that(keeps_failing(file, " (it is no file)"));
	unlink(path);
	await_that(!trace_file_is_failing(file, trace_now_us(), &error));
	ck_assert(log_has("goes on; 1 pieces with 9 bytes are missing"));
	ck_assert_uint_eq(log_line_count, 2);
	ck_assert_int_gt(slurp(0), 0);
	ck_assert_ptr_nonnull(strstr(got, "9 bytes are missing here"));
	trace_file_free(file);
}
END_TEST

START_TEST(only_a_file_is_written_to)
{
	struct config_trace config = config_of(TRACE_FORMAT_HEX, 2);
	char other[80];

	ck_assert_int_eq(mkfifo(path, 0600), 0);
	trace_file_free(trace_file_new("gps", &config));
	ck_assert(log_has("it is no file"));
	unlink(path);
	snprintf(other, sizeof(other), "%s.other", path);
	ck_assert_int_eq(symlink(other, path), 0);
	trace_file_free(trace_file_new("gps", &config));
	ck_assert(log_has("it is a link"));
	ck_assert_int_lt(access(other, F_OK), 0);
}
END_TEST

/* ---- a client of the control socket --------------------------------------------- */

static struct loop *loop;
static struct trace *trace;
static struct control *control;
static int client_fd;

static json_t *answer(struct control_client *client, json_t *request, void *arg)
{
	ck_assert_int_eq(trace_feed_start(trace, client), 0);
	return json_pack("{s:b}", "ok", 1);
}

static void turn(void)
{
	for (int i = 0; i < 20; i++)
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
}

static void follow(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memcpy(address.sun_path, path, sizeof(path));
	client_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			   0);
	ck_assert_int_eq(connect(client_fd, (struct sockaddr *)&address,
				 sizeof(address)),
			 0);
	ck_assert_int_eq(send(client_fd, "{}\n", 3, 0), 3);
	turn();
}

static void setup_feed(void)
{
	struct address_endpoint address;
	struct error error;
	char text[80];

	setup();
	loop = loop_new();
	trace = trace_new("gps");
	snprintf(text, sizeof(text), "unix:%s", path);
	ck_assert_int_eq(address_endpoint_parse(text, ENDPOINT_ROLE_LISTEN,
						&address, &error),
			 0);
	ck_assert_int_eq(control_open(loop, &address, answer, NULL, &control,
				      &error),
			 0);
	address_endpoint_clear(&address);
	follow();
}

static void teardown_feed(void)
{
	close(client_fd);
	control_close(control);
	trace_free(trace);
	loop_flush(loop);
	loop_free(loop);
	teardown();
}

/* What there is to read now, in @got; 0 at its end too. */
static bool read_feed(void)
{
	ssize_t n;

	got_bytes = 0;
	while (got_bytes < sizeof(got) - 1 &&
	       (n = recv(client_fd, got + got_bytes,
			 sizeof(got) - 1 - got_bytes, 0)) > 0)
		got_bytes += (size_t)n;
	got[got_bytes] = '\0';
	return got_bytes > 0;
}

static void tell(const void *data, size_t bytes)
{
	struct trace_event event = data_of(data, bytes, true);

	trace_tell(trace, &event);
}

static const char *const ok_line = "{\"ok\":true}\n";

START_TEST(a_client_is_told_what_passes)
{
	json_t *json;

	ck_assert(trace_is_on(trace));
	tell("hello", 5);
	turn();
	ck_assert(read_feed());
	ck_assert_int_eq(strncmp(got, ok_line, strlen(ok_line)), 0);
	json = json_loads(got + strlen(ok_line), 0, NULL);
	ck_assert_ptr_nonnull(json);
	ck_assert_str_eq(json_string_value(json_object_get(json, "data")),
			 "68656c6c6f");
	ck_assert_str_eq(json_string_value(json_object_get(json, "to")),
			 "target");
	json_decref(json);
	close(client_fd);
	client_fd = -1;
	turn();
	ck_assert(!trace_is_on(trace));
	tell("hello", 5);
}
END_TEST

/* Of all lines of JSON that are there: what they have, and what they miss. */
static void add_lines(char *rest, size_t *rest_bytes, uint64_t *had,
		      uint64_t *missed, unsigned int *gaps)
{
	static char text[2 * sizeof(got)];
	size_t bytes = *rest_bytes + got_bytes;
	char *line = text, *end;

	memcpy(text, rest, *rest_bytes);
	memcpy(text + *rest_bytes, got, got_bytes);
	while ((end = memchr(line, '\n', bytes - (size_t)(line - text)))) {
		json_t *json = json_loadb(line, (size_t)(end - line), 0, NULL);
		json_t *data = json_object_get(json, "data");

		ck_assert_ptr_nonnull(json);
		*had += json_string_length(data) / 2;
		if (json_object_get(json, "events")) {
			*missed += (uint64_t)json_integer_value(
				json_object_get(json, "bytes"));
			(*gaps)++;
		}
		json_decref(json);
		line = end + 1;
	}
	*rest_bytes = bytes - (size_t)(line - text);
	memcpy(rest, line, *rest_bytes);
}

/* What it says then is nobody's business. */
START_TEST(a_client_that_asks_again_is_not_heard)
{
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(send(client_fd, "{}\n", 3, 0), 3);
		turn();
	}
	ck_assert(read_feed());
	ck_assert_str_eq(got, ok_line);
	close(client_fd);
	client_fd = -1;
	turn();
	ck_assert(!trace_is_on(trace));
	tell("hello", 5);
}
END_TEST

START_TEST(a_slow_client_is_told_what_it_missed)
{
	static uint8_t data[1000];
	static char rest[sizeof(got)];
	size_t rest_bytes = 0, in_memory;
	uint64_t had = 0, missed = 0;
	unsigned int gaps = 0;

	/* Nobody reads: 20 MB pass, and a bounded part of it waits. */
	for (int i = 0; i < 20000; i++) {
		tell(data, sizeof(data));
		if (i % 100 == 0)
			turn();
	}
	in_memory = 0;
	while (read_feed()) {
		in_memory += got_bytes;
		add_lines(rest, &rest_bytes, &had, &missed, &gaps);
		turn();
	}
	ck_assert_uint_ge(in_memory, 512 * KIB);
	ck_assert_uint_le(in_memory, 1536 * KIB);
	ck_assert_uint_eq(gaps, 1);
	ck_assert_uint_eq(had + missed, 20000000);
	/* From here on it has all again. */
	tell(data, sizeof(data));
	turn();
	ck_assert(read_feed());
	add_lines(rest, &rest_bytes, &had, &missed, &gaps);
	ck_assert_uint_eq(had + missed, 20001000);
	ck_assert_uint_eq(gaps, 1);
	ck_assert_uint_eq(rest_bytes, 0);
}
END_TEST

START_TEST(a_client_of_a_trace_that_goes_has_all_of_it)
{
	tell("hello", 5);
	trace_free(trace);
	trace = NULL;
	turn();
	ck_assert(read_feed());
	ck_assert_ptr_nonnull(strstr(got, "68656c6c6f"));
	ck_assert_int_eq(recv(client_fd, got, 1, 0), 0);
}
END_TEST

START_TEST(clients_that_come_and_go)
{
	for (int i = 0; i < 100; i++) {
		tell("hello", 5);
		close(client_fd);
		follow();
	}
	/* More than there is room for: the first ones go. */
	for (int i = 0; i < 40; i++) {
		follow();
		tell("hello", 5);
	}
	turn();
	ck_assert(read_feed());
}
END_TEST

/* ---- a session ------------------------------------------------------------------ */

static const struct stream_ops peek_ops = {
	.read = socket_read,
	.peek = socket_peek,
	.skip = socket_skip,
	.write = socket_write,
	.check = socket_check,
	.shutdown_write = socket_shutdown_write,
	.close = socket_close,
};

static uint64_t sums[2], counts[2];
static unsigned int told;

/* What each direction had, position and all. */
static void add_up(const struct trace_event *event, void *arg)
{
	bool way = event->is_from_client;

	ck_assert_int_eq(event->kind, TRACE_KIND_DATA);
	ck_assert_uint_eq(event->session, 7);
	ck_assert_str_eq(event->peer, "phone");
	ck_assert_uint_le(event->bytes, TRACE_DATA_BYTES_MAX);
	for (size_t i = 0; i < event->bytes; i++)
		sums[way] += ++counts[way] * event->data[i];
	told++;
}

static void unexpected(void *arg)
{
	ck_abort_msg("the trace is gone");
}

static void ended(struct session *session, void *arg)
{
	*(bool *)arg = true;
}

static int far_fds[2];

/* Send from one end, with a reader that is slow at first; the sum of it. */
static uint64_t pass(int from, int to, size_t bytes)
{
	static uint8_t block[100000];
	size_t sent = 0, read_bytes = 0;
	uint64_t sum = 0;
	ssize_t n;

	while (read_bytes < bytes) {
		size_t left = bytes - sent;

		for (size_t i = 0; i < sizeof(block); i++)
			block[i] = (uint8_t)((sent + i) * 31 >> 3);
		n = left ? send(from, block,
				left < sizeof(block) ? left : sizeof(block),
				MSG_NOSIGNAL)
			 : 0;
		for (ssize_t i = 0; i < n; i++)
			sum += ++sent * block[i];
		turn();
		if (n > 0)
			continue;
		n = recv(to, got, sizeof(got), 0);
		read_bytes += n > 0 ? (size_t)n : 0;
	}
	return sum;
}

START_TEST(a_session_tells_all_that_it_reads_once)
{
	struct trace_watcher watcher = {.tell = add_up, .gone = unexpected};
	struct session_settings settings = {
		.linger_ms = 100,
		.drain_timeout_ms = 1000,
		.ended = ended,
	};
	uint64_t want_sums[2];
	bool is_ended = false;
	struct session *session;

	loop = loop_new();
	settings.trace = trace_new("gps");
	session = session_new(loop, tcp_end(&peek_ops, "phone", &far_fds[0]),
			      tcp_end(&peek_ops, "server", &far_fds[1]),
			      &settings, 7, &is_ended);
	pass(far_fds[0], far_fds[1], 1000);
	ck_assert_uint_eq(told, 0);
	trace_watch(settings.trace, &watcher);
	want_sums[1] = pass(far_fds[0], far_fds[1], 20000000);
	want_sums[0] = pass(far_fds[1], far_fds[0], 1234567);
	ck_assert_uint_eq(counts[1], 20000000);
	ck_assert_uint_eq(counts[0], 1234567);
	ck_assert_uint_eq(sums[1], want_sums[1]);
	ck_assert_uint_eq(sums[0], want_sums[0]);
	trace_unwatch(settings.trace, &watcher);
	told = 0;
	pass(far_fds[0], far_fds[1], 1000);
	ck_assert_uint_eq(told, 0);
	session_abort(session);
	loop_flush(loop);
	ck_assert(is_ended);
	trace_free(settings.trace);
	close(far_fds[0]);
	close(far_fds[1]);
	loop_free(loop);
}
END_TEST

static TCase *add_case(Suite *suite, const char *name, void (*start)(void),
		       void (*end)(void))
{
	TCase *test = tcase_create(name);

	tcase_add_checked_fixture(test, start, end);
	tcase_set_timeout(test, 60);
	suite_add_tcase(suite, test);
	return test;
}

int main(void)
{
	Suite *suite = suite_create("trace");
	SRunner *runner = srunner_create(suite);
	TCase *test = add_case(suite, "formats", setup, teardown);
	int failed;

	tcase_add_test(test, hex_is_a_dump);
	tcase_add_test(test, text_has_a_line_for_each_that_it_has);
	tcase_add_test(test, a_long_line_of_text_is_cut);
	tcase_add_test(test, notes_are_lines);
	tcase_add_test(test, pcapng_starts_with_a_section_and_an_interface);
	tcase_add_test(test, pcapng_has_a_packet_for_each_piece);
	tcase_add_test(test, pcapng_has_notes_as_comments);
	tcase_add_test(test, json_says_the_same);
	tcase_add_test(test, json_that_is_no_event);
	test = add_case(suite, "files", setup, teardown);
	tcase_add_test(test, a_file_is_for_its_owner_and_goes_on);
	tcase_add_test(test, full_files_take_turns);
	tcase_add_test(test, no_file_is_larger_than_it_may_be);
	tcase_add_test(test, each_pcapng_file_has_its_beginning);
	tcase_add_test(test, what_is_of_another_format_or_broken_is_put_aside);
	tcase_add_test(
		test,
		a_file_that_was_moved_is_left_alone_from_the_next_session_on);
	tcase_add_test(test, a_full_disk_that_takes_a_note_is_full);
	tcase_add_loop_test(test, a_full_disk_is_said_once_and_then_it_goes_on,
			    TRACE_FORMAT_HEX, TRACE_FORMAT_PCAPNG + 1);
	tcase_add_test(test, a_directory_that_is_missing_may_come);
	tcase_add_test(test, what_keeps_it_from_being_written);
	tcase_add_test(test, only_a_file_is_written_to);
	test = add_case(suite, "feed", setup_feed, teardown_feed);
	tcase_add_test(test, a_client_is_told_what_passes);
	tcase_add_test(test, a_client_that_asks_again_is_not_heard);
	tcase_add_test(test, a_slow_client_is_told_what_it_missed);
	tcase_add_test(test, a_client_of_a_trace_that_goes_has_all_of_it);
	tcase_add_test(test, clients_that_come_and_go);
	test = add_case(suite, "session", setup, teardown);
	tcase_add_test(test, a_session_tells_all_that_it_reads_once);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
