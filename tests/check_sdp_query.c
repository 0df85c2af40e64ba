/* SPDX-License-Identifier: MIT */
/*
 * The transaction with a device, replayed over a socket pair: a good device,
 * one that says too much, one that leaves, one that lies.
 */
#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "error.h"
#include "loop.h"
#include "sdp_query.h"
#include "sdp_transaction.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define BYTES(...) .bytes = __VA_ARGS__, .count = sizeof(__VA_ARGS__) - 1
#define NEVER 1000

struct packet {
	const char *bytes;
	size_t count;
};

static const struct address_bluetooth device = {
	{0x00, 0x11, 0x22, 0x33, 0x44, 0x55}};
static struct loop *loop;
static struct sdp_query *query;

/* The device: how it answers, and what it was asked. */
static struct {
	int fd;
	struct event *event;
	const struct packet *answers; /* to the first request, the second... */
	size_t answer_count;
	unsigned int endless_bytes; /* lists in each of answers without end */
	unsigned int closes_at; /* instead of answering that request */
	unsigned int closes_after; /* right behind that answer */
	unsigned int cancels_at;
	unsigned int requests;
	uint8_t request[SDP_REQUEST_MAX_BYTES + 1]; /* the last one */
	size_t request_bytes;
	bool is_left; /* the query closed its end */
} peer;

static struct {
	unsigned int calls;
	int code;
	char error[ERROR_TEXT_BYTES];
	size_t count;
	struct sdp_service_found first;
} result;

static void on_done(int code, const struct sdp_service_found *list,
		    size_t count, const struct error *error, void *arg)
{
	ck_assert_ptr_eq(arg, &result);
	result.calls++;
	result.code = code;
	strcpy(result.error, error->text);
	result.count = count;
	if (count)
		result.first = list[0];
	query = NULL;
}

/* An answer with so many bytes of lists, and the promise of more. */
static void send_endless(void)
{
	static uint8_t answer[5 + 2 + 65535];
	uint16_t lists = (uint16_t)peer.endless_bytes;
	uint16_t rest = (uint16_t)(2 + lists + 2);
	const uint8_t head[] = {
		0x07,	       peer.request[1], peer.request[2],
		rest >> 8,     (uint8_t)rest,	(uint8_t)(lists >> 8),
		(uint8_t)lists};

	memset(answer, 0, sizeof(answer));
	memcpy(answer, head, sizeof(head));
	answer[5 + 2 + lists] = 1;
	answer[5 + 2 + lists + 1] = 0xcc;
	ck_assert_int_eq(send(peer.fd, answer, 5u + rest, 0), 5 + rest);
}

static void peer_close(void)
{
	event_free(peer.event);
	peer.event = NULL;
	close(peer.fd);
	peer.fd = -1;
}

static void peer_answer(unsigned int index)
{
	const struct packet *answer = &peer.answers[index];

	if (peer.cancels_at == index) {
		sdp_query_cancel(query);
		query = NULL;
		return;
	}
	if (peer.closes_at == index) {
		peer_close();
		return;
	}
	if (peer.endless_bytes) {
		send_endless();
		return;
	}
	ck_assert_uint_lt(index, peer.answer_count);
	ck_assert_int_eq(send(peer.fd, answer->bytes, answer->count, 0),
			 (ssize_t)answer->count);
	if (peer.closes_after == index)
		peer_close();
}

static void peer_readable(evutil_socket_t fd, short what, void *arg)
{
	ssize_t got = recv(fd, peer.request, sizeof(peer.request), 0);

	if (got <= 0) {
		peer.is_left = true;
		event_del(peer.event);
		return;
	}
	ck_assert_int_le(got, SDP_REQUEST_MAX_BYTES);
	peer.request_bytes = (size_t)got;
	peer_answer(peer.requests++);
}

static void setup(void)
{
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	memset(&peer, 0, sizeof(peer));
	memset(&result, 0, sizeof(result));
	peer.closes_at = peer.closes_after = peer.cancels_at = NEVER;
}

static void teardown(void)
{
	sdp_query_cancel(query);
	query = NULL;
	if (peer.event)
		peer_close();
	loop_free(loop);
}

static void ask(const char *uuid_text)
{
	struct address_uuid uuid;
	int fds[2], bytes = 1 << 20;

	if (uuid_text)
		ck_assert_int_eq(address_uuid_parse(uuid_text, &uuid, NULL), 0);
	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds), 0);
	setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	peer.fd = fds[1];
	peer.event = event_new(loop->base, peer.fd, EV_READ | EV_PERSIST,
			       peer_readable, NULL);
	ck_assert_ptr_nonnull(peer.event);
	ck_assert_int_eq(event_add(peer.event, NULL), 0);
	query = sdp_query_new_on_fd(loop, fds[0], &device,
				    uuid_text ? &uuid : NULL, on_done, &result);
	ck_assert_ptr_nonnull(query);
	ck_assert_uint_eq(result.calls, 0);
}

static void run_on(const struct packet *answers, size_t count,
		   const char *uuid_text)
{
	peer.answers = answers;
	peer.answer_count = count;
	ask(uuid_text);
	/* Until nothing is left to wait for. */
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_ptr_null(query);
	ck_assert_uint_eq(result.calls, peer.cancels_at == NEVER);
	ck_assert(peer.is_left || peer.fd < 0);
}

static void assert_fails(int code, const char *words)
{
	ck_assert_int_eq(result.code, code);
	ck_assert_uint_eq(result.count, 0);
	ck_assert_msg(strstr(result.error, "00:11:22:33:44:55: the ") ==
				      result.error &&
			      strstr(result.error, words),
		      "%s", result.error);
}

/* ---- a good device ---------------------------------------------------------- */

#define CLASS_SPP "\x09\x00\x01\x35\x03\x19\x11\x01"
#define CHANNEL_22                                                 \
	"\x09\x00\x04\x35\x0c\x35\x03\x19\x01\x00\x35\x05\x19\x00" \
	"\x03\x08\x16"
#define NAME_GPS "\x09\x01\x00\x25\x03gps"

static const struct packet whole[] = {
	{BYTES("\x07\x00\x01\x00\x28\x00\x25"
	       "\x35\x23\x35\x21" CLASS_SPP CHANNEL_22 NAME_GPS "\x00")},
};
/* The same in three pieces, cut where it hurts. */
static const struct packet pieces[] = {
	{BYTES("\x07\x00\x01\x00\x0c\x00\x05"
	       "\x35\x23\x35\x21\x09"
	       "\x04\x00\x01\x02\x03")},
	{BYTES("\x07\x00\x02\x00\x1e\x00\x0b"
	       "\x00\x01\x35\x03\x19\x11\x01\x09\x00\x04\x35"
	       "\x10"
	       "0123456789abcdef")},
	{BYTES("\x07\x00\x03\x00\x18\x00\x15"
	       "\x0c\x35\x03\x19\x01\x00\x35\x05\x19\x00\x03\x08\x16" NAME_GPS
	       "\x00")},
};

static void assert_gps(void)
{
	ck_assert_int_eq(result.code, 0);
	ck_assert_uint_eq(result.count, 1);
	ck_assert_str_eq(result.first.name, "gps");
	ck_assert_int_eq(result.first.protocol, SDP_FOUND_PROTOCOL_RFCOMM);
	ck_assert_uint_eq(result.first.port, 22);
}

static void assert_request(const char *bytes, size_t count)
{
	ck_assert_uint_eq(peer.request_bytes, count);
	ck_assert_mem_eq(peer.request, bytes, count);
}

START_TEST(test_whole)
{
	static const char request[] = "\x06\x00\x01\x00\x0f\x35\x03\x19\x11\x01"
				      "\xff\xff\x35\x05\x0a\x00\x00\xff\xff";

	run_on(whole, COUNT(whole), "spp");
	assert_gps();
	assert_request(request, sizeof(request)); /* and a zero */
}
END_TEST

START_TEST(test_browse_group)
{
	static const char pattern[] = "\x35\x03\x19\x10\x02\xff\xff";

	run_on(whole, COUNT(whole), NULL);
	assert_gps();
	ck_assert_mem_eq(peer.request + 5, pattern, sizeof(pattern) - 1);
}
END_TEST

START_TEST(test_long_uuid)
{
	static const char request[] =
		"\x06\x00\x01\x00\x1d\x35\x11\x1c"
		"\x8c\xe2\x55\xc0\x20\x0a\x11\xe0\xac\x64\x08\x00\x20\x0c\x9a"
		"\x66\xff\xff\x35\x05\x0a\x00\x00\xff\xff";

	run_on(whole, COUNT(whole), "8ce255c0-200a-11e0-ac64-0800200c9a66");
	assert_gps();
	assert_request(request, sizeof(request));
}
END_TEST

START_TEST(test_continued)
{
	static const char request[] =
		"\x06\x00\x03\x00\x1f\x35\x03\x19\x11\x01\xff\xff\x35\x05\x0a"
		"\x00\x00\xff\xff\x10"
		"0123456789abcdef";

	run_on(pieces, COUNT(pieces), "spp");
	assert_gps();
	ck_assert_uint_eq(peer.requests, 3);
	assert_request(request, sizeof(request) - 1);
}
END_TEST

START_TEST(test_no_records)
{
	static const struct packet none[] = {
		{BYTES("\x07\x00\x01\x00\x05\x00\x02\x35\x00\x00")}};

	run_on(none, COUNT(none), "spp");
	ck_assert_int_eq(result.code, 0);
	ck_assert_uint_eq(result.count, 0);
}
END_TEST

/* Whose answer is queued when it closes has answered. */
START_TEST(test_closes_after_the_answer)
{
	peer.closes_after = 2;
	run_on(pieces, COUNT(pieces), "spp");
	assert_gps();
}
END_TEST

/* ---- one that leaves, and being left --------------------------------------- */

START_TEST(test_closes_instead)
{
	peer.closes_at = (unsigned int)_i;
	run_on(pieces, COUNT(pieces), "spp");
	ck_assert_uint_eq(peer.requests, (unsigned int)_i + 1);
	assert_fails(-ECONNRESET, "closed the connection before");
}
END_TEST

START_TEST(test_closes_halfway)
{
	peer.closes_after = (unsigned int)_i;
	run_on(pieces, COUNT(pieces), "spp");
	assert_fails(-ECONNRESET, "closed the connection before");
}
END_TEST

START_TEST(test_is_gone_at_once)
{
	int fds[2];

	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds), 0);
	close(fds[1]);
	peer.fd = -1;
	query = sdp_query_new_on_fd(loop, fds[0], &device, NULL, on_done,
				    &result);
	ck_assert_ptr_nonnull(query);
	ck_assert_uint_eq(result.calls, 0);
	ck_assert_int_eq(loop_run(loop), 0);
	assert_fails(-ECONNRESET, "closed the connection before");
}
END_TEST

START_TEST(test_cancel)
{
	peer.cancels_at = (unsigned int)_i;
	run_on(pieces, COUNT(pieces), "spp");
	ck_assert(peer.is_left);
}
END_TEST

/* Before the loop ran, and after the answer came but was not told. */
START_TEST(test_cancel_early_and_late)
{
	ask("spp");
	sdp_query_cancel(query);
	peer_close();
	peer.answers = whole;
	peer.answer_count = 1;
	ask("spp");
	event_base_loop(loop->base, EVLOOP_ONCE); /* the request */
	event_base_loop(loop->base, EVLOOP_ONCE); /* the answer */
	ck_assert_uint_eq(peer.requests, 1);
	ck_assert_uint_eq(result.calls, 0);
	sdp_query_cancel(query);
	query = NULL;
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_uint_eq(result.calls, 0);
	ck_assert(peer.is_left);
	sdp_query_cancel(NULL);
}
END_TEST

/* ---- one that lies ---------------------------------------------------------- */

static const struct {
	struct packet answer;
	int code;
	const char *words;
} lies[] = {
	{{BYTES("")}, -EPROTO, "cut short"}, /* an empty packet */
	{{BYTES("\x07")}, -EPROTO, "cut short"},
	{{BYTES("\x07\x00\x01\x00")}, -EPROTO, "cut short"},
	{{BYTES("\x07\x00\x01\x00\x00")}, -EPROTO, "cut short"},
	{{BYTES("\x07\x00\x01\x00\x05\x00\x02\x35\x00")}, -EPROTO, "cut short"},
	{{BYTES("\x07\x00\x01\xff\xff\x00\x02\x35\x00\x00")},
	 -EPROTO,
	 "cut short"},
	{{BYTES("\x07\x00\x01\x00\x04\x00\x02\x35\x00")}, -EPROTO, "cut short"},
	{{BYTES("\x07\x00\x01\x00\x05\xff\xff\x35\x00\x00")},
	 -EPROTO,
	 "cut short"},
	{{BYTES("\x07\x00\x01\x00\x05\x00\x02\x35\x00\x01")},
	 -EPROTO,
	 "cut short"},
	{{BYTES("\x07\x00\x01\x00\x16\x00\x02\x35\x00\x11"
		"0123456789abcdefg")},
	 -EPROTO,
	 "continuation state is too long"},
	{{BYTES("\x07\x00\x02\x00\x05\x00\x02\x35\x00\x00")},
	 -EPROTO,
	 "answers something else"},
	{{BYTES("\x07\x01\x00\x00\x05\x00\x02\x35\x00\x00")},
	 -EPROTO,
	 "answers something else"},
	{{BYTES("\x05\x00\x01\x00\x05\x00\x02\x35\x00\x00")},
	 -EPROTO,
	 "another kind"},
	{{BYTES("\x07\x00\x01\x00\x03\x00\x00\x00")}, -EPROTO, "cut short"},
	{{BYTES("\x07\x00\x01\x00\x05\x00\x02\x35\x01\x00")},
	 -EPROTO,
	 "cut short"},
	{{BYTES("\x01\x00\x01\x00\x02\x00\x05")},
	 -EREMOTEIO,
	 "invalid continuation state (0x0005)"},
	{{BYTES("\x01\x00\x01\x00\x02\x12\x34")},
	 -EREMOTEIO,
	 "unknown reason (0x1234)"},
	{{BYTES("\x01\x00\x01\x00\x00")}, -EREMOTEIO, "unknown reason"},
	{{BYTES("\x01\x00\x07\x00\x02\x00\x05")},
	 -EPROTO,
	 "answers something else"},
};

START_TEST(test_lie)
{
	run_on(&lies[_i].answer, 1, "spp");
	assert_fails(lies[_i].code, lies[_i].words);
	ck_assert_uint_eq(peer.requests, 1);
}
END_TEST

/* The second answer is one to the first request. */
START_TEST(test_answers_twice)
{
	const struct packet twice[] = {pieces[0], pieces[0]};

	run_on(twice, COUNT(twice), "spp");
	assert_fails(-EPROTO, "answers something else");
}
END_TEST

START_TEST(test_refuses_to_continue)
{
	const struct packet refusal[] = {
		pieces[0], {BYTES("\x01\x00\x02\x00\x02\x00\x06")}};

	run_on(refusal, COUNT(refusal), "spp");
	assert_fails(-EREMOTEIO, "insufficient resources (0x0006)");
}
END_TEST

START_TEST(test_oversize)
{
	peer.endless_bytes = 30000;
	run_on(NULL, 0, "spp");
	assert_fails(-EMSGSIZE, "no end: 64 KiB");
	ck_assert_uint_eq(peer.requests, 3);
}
END_TEST

START_TEST(test_endless)
{
	peer.endless_bytes = 1;
	run_on(NULL, 0, "spp");
	assert_fails(-EMSGSIZE, "no end: 256 pieces");
	ck_assert_uint_eq(peer.requests, SDP_ANSWERS_MAX);
}
END_TEST

/* ---- no socket to be had ---------------------------------------------------- */

START_TEST(test_no_bluetooth)
{
	static const struct address_bluetooth any;
	int fd = socket(AF_BLUETOOTH, SOCK_SEQPACKET, 0);

	if (fd >= 0) {
		close(fd);
		return; /* here it would call a real device */
	}
	peer.fd = -1;
	query = sdp_query_new(loop, &any, &device, NULL, on_done, &result);
	ck_assert_ptr_nonnull(query);
	ck_assert_uint_eq(result.calls, 0);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_uint_eq(result.calls, 1);
	ck_assert_int_eq(result.code, -EAFNOSUPPORT);
	ck_assert_ptr_nonnull(
		strstr(result.error, "00:11:22:33:44:55: Bluetooth sockets"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sdp_query");
	TCase *tcase = tcase_create("sdp_query");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_whole);
	tcase_add_test(tcase, test_browse_group);
	tcase_add_test(tcase, test_long_uuid);
	tcase_add_test(tcase, test_continued);
	tcase_add_test(tcase, test_no_records);
	tcase_add_test(tcase, test_closes_after_the_answer);
	tcase_add_loop_test(tcase, test_closes_instead, 0, COUNT(pieces));
	tcase_add_loop_test(tcase, test_closes_halfway, 0, COUNT(pieces) - 1);
	tcase_add_test(tcase, test_is_gone_at_once);
	tcase_add_loop_test(tcase, test_cancel, 0, COUNT(pieces));
	tcase_add_test(tcase, test_cancel_early_and_late);
	tcase_add_loop_test(tcase, test_lie, 0, COUNT(lies));
	tcase_add_test(tcase, test_answers_twice);
	tcase_add_test(tcase, test_refuses_to_continue);
	tcase_add_test(tcase, test_oversize);
	tcase_add_test(tcase, test_endless);
	tcase_add_test(tcase, test_no_bluetooth);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
