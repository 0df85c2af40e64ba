/* SPDX-License-Identifier: MIT */
/*
 * What tls_context.h, tls_link.h and tls_stream.h promise. The other end is
 * OpenSSL itself over a socket pair.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "address_endpoint.h"
#include "endpoint.h"
#include "error.h"
#include "loop.h"
#include "socket.h"
#include "tls_context.h"
#include "tls_link.h"
#include "tls_stream.h"

#define TURNS 5000

static char directory[] = "/tmp/check-tls-XXXXXX";
static char cert_path[64], chain_path[64], key_path[64];
static struct endpoint_tls server_settings, client_settings;
static struct tls_context *context;
static struct tls_link *link_;
static SSL_CTX *peer_ctx;
static SSL *peer;
static int peer_fd, our_fd;
static uint8_t sent[1024 * 1024], got[1024 * 1024];

static const struct stream_ops plain_ops = {
	.read = socket_read,
	.write = socket_write,
	.check = socket_check,
	.shutdown_write = socket_shutdown_write,
	.close = socket_close,
};

/* A certificate for localhost that has signed itself, and its key. */
static void make_certificate(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509_NAME *name = X509_get_subject_name(cert);
	X509_EXTENSION *names = X509V3_EXT_conf_nid(
		NULL, NULL, NID_subject_alt_name, "DNS:localhost");
	FILE *file;

	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -60);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
				   (const unsigned char *)"localhost", -1, -1,
				   0);
	X509_set_issuer_name(cert, name);
	X509_add_ext(cert, names, -1);
	X509_set_pubkey(cert, key);
	ck_assert_int_gt(X509_sign(cert, key, EVP_sha256()), 0);
	file = fopen(cert_path, "w");
	ck_assert_int_eq(PEM_write_X509(file, cert), 1);
	fclose(file);
	umask(077);
	file = fopen(key_path, "w");
	ck_assert_int_eq(
		PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(file);
	X509_EXTENSION_free(names);
	X509_free(cert);
	EVP_PKEY_free(key);
}

static void setup_files(void)
{
	struct error error;

	signal(SIGPIPE, SIG_IGN); /* OpenSSL's own sockets raise it */
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(cert_path, sizeof(cert_path), "%s/cert", directory);
	snprintf(chain_path, sizeof(chain_path), "%s/chain", directory);
	snprintf(key_path, sizeof(key_path), "%s/key", directory);
	make_certificate();
	server_settings = (struct endpoint_tls){.cert = cert_path,
						.key = key_path};
	client_settings = (struct endpoint_tls){.ca = cert_path};
	ck_assert_msg(tls_context_new(&server_settings, true, &context,
				      &error) == 0,
		      "%s", error.text);
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (uint8_t)(i * 31 + i / 251);
}

static void teardown_files(void)
{
	tls_context_free(context);
	unlink(cert_path);
	unlink(key_path);
	ck_assert_int_eq(rmdir(directory), 0);
	strcpy(directory, "/tmp/check-tls-XXXXXX");
}

static struct stream *plain_pair(int *other)
{
	int fds[2];

	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	*other = fds[1];
	our_fd = fds[0];
	return socket_stream_new(&plain_ops, fds[0], "peer");
}

static void make_peer(int version)
{
	peer_ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_max_proto_version(peer_ctx, version);
	SSL_CTX_set_mode(peer_ctx, SSL_MODE_ENABLE_PARTIAL_WRITE);
	peer = SSL_new(peer_ctx);
	SSL_set_fd(peer, peer_fd);
	SSL_set_connect_state(peer);
}

static void connect_to(int version)
{
	struct error error;
	int ours = -EAGAIN, theirs = 0;

	link_ = tls_link_new(context, NULL, plain_pair(&peer_fd));
	make_peer(version);
	for (int i = 0; i < TURNS && (ours || theirs != 1); i++) {
		if (theirs != 1)
			theirs = SSL_do_handshake(peer);
		if (ours)
			ours = tls_link_handshake(link_, &error);
		ck_assert(ours == 0 || ours == -EAGAIN);
	}
	ck_assert_int_eq(ours, 0);
	ck_assert_int_eq(theirs, 1);
}

static void setup(void)
{
	setup_files();
	connect_to(TLS1_3_VERSION);
}

static void setup_1_2(void)
{
	setup_files();
	connect_to(TLS1_2_VERSION);
}

static void drop_peer(void)
{
	SSL_free(peer);
	SSL_CTX_free(peer_ctx);
	if (peer_fd >= 0)
		close(peer_fd);
}

static void teardown(void)
{
	tls_link_free(link_, STREAM_CLOSE_ABORT);
	drop_peer();
	teardown_files();
}

static bool is_readable(int fd)
{
	struct pollfd readable = {.fd = fd, .events = POLLIN};

	return poll(&readable, 1, 0) == 1;
}

/* Write all at the link's end and read it at the peer's, as they can. */
static void pass_to_peer(size_t bytes)
{
	size_t put = 0, taken = 0;

	for (int i = 0; i < TURNS && taken < bytes; i++) {
		ssize_t n = -EAGAIN;
		int m;

		if (put < bytes)
			n = tls_link_write(link_, sent + put, bytes - put);
		else
			tls_link_flush(link_);
		ck_assert(n > 0 || n == -EAGAIN);
		put += n > 0 ? (size_t)n : 0;
		m = SSL_read(peer, got + taken, (int)(bytes - taken));
		taken += m > 0 ? (size_t)m : 0;
	}
	ck_assert_uint_eq(taken, bytes);
	ck_assert_mem_eq(sent, got, bytes);
}

static void pass_from_peer(size_t bytes)
{
	size_t put = 0, taken = 0;

	for (int i = 0; i < TURNS && taken < bytes; i++) {
		ssize_t n;
		int m = 0;

		if (put < bytes)
			m = SSL_write(peer, sent + put, (int)(bytes - put));
		put += m > 0 ? (size_t)m : 0;
		n = tls_link_read(link_, got + taken, bytes - taken);
		ck_assert(n > 0 || n == -EAGAIN);
		taken += n > 0 ? (size_t)n : 0;
	}
	ck_assert_uint_eq(taken, bytes);
	ck_assert_mem_eq(sent, got, bytes);
}

/* ---- bytes -------------------------------------------------------------------- */

START_TEST(bytes_pass_both_ways)
{
	pass_to_peer(1);
	pass_from_peer(1);
	pass_to_peer(sizeof(sent));
	pass_from_peer(sizeof(sent));
	ck_assert_int_eq(tls_link_read(link_, got, TLS_LINK_RECORD_BYTES),
			 -EAGAIN);
	ck_assert_ptr_null(tls_link_trouble(link_));
}
END_TEST

START_TEST(nothing_that_came_is_hidden)
{
	/* Two of the longest and a short one, in the kernel all together. */
	const int sizes[] = {TLS_LINK_RECORD_BYTES, TLS_LINK_RECORD_BYTES, 7};

	for (size_t i = 0; i < 3; i++)
		ck_assert_int_eq(SSL_write(peer, sent, sizes[i]), sizes[i]);
	for (size_t i = 0; i < 3; i++) {
		ck_assert(is_readable(our_fd));
		ck_assert_int_eq(tls_link_read(link_, got,
					       TLS_LINK_RECORD_BYTES),
				 sizes[i]);
	}
	ck_assert(!is_readable(our_fd));
}
END_TEST

START_TEST(what_is_kept_is_bounded)
{
	size_t put = 0, taken = 0;
	ssize_t n;

	while ((n = tls_link_write(link_, sent + put, sizeof(sent) - put)) > 0)
		put += (size_t)n;
	ck_assert_int_eq(n, -EAGAIN);
	ck_assert_uint_lt(put, sizeof(sent));
	ck_assert_uint_gt(tls_link_unsent(link_), 0);
	ck_assert_uint_le(tls_link_unsent(link_), TLS_LINK_RECORD_BYTES + 256);
	/* All that it took arrives, and its goodbye behind it. */
	ck_assert_int_eq(tls_link_end(link_), 0);
	ck_assert_uint_gt(tls_link_unsent(link_), 0);
	for (int i = 0; i < TURNS && taken < put; i++) {
		int m = SSL_read(peer, got + taken, sizeof(got) - (int)taken);

		taken += m > 0 ? (size_t)m : 0;
		tls_link_flush(link_);
	}
	ck_assert_uint_eq(taken, put);
	ck_assert_mem_eq(sent, got, put);
	ck_assert_uint_eq(tls_link_unsent(link_), 0);
	n = SSL_read(peer, got, 1);
	ck_assert_int_eq(SSL_get_error(peer, (int)n), SSL_ERROR_ZERO_RETURN);
	/* The other way is still open. */
	ck_assert_int_eq(SSL_write(peer, "more", 4), 4);
	ck_assert_int_eq(tls_link_read(link_, got, TLS_LINK_RECORD_BYTES), 4);
}
END_TEST

START_TEST(new_keys_in_between)
{
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(SSL_key_update(peer, SSL_KEY_UPDATE_REQUESTED),
				 1);
		pass_from_peer(50000);
		pass_to_peer(50000);
	}
}
END_TEST

START_TEST(renegotiation_is_refused)
{
	ck_assert_int_eq(SSL_renegotiate(peer), 1);
	for (int i = 0; i < 10; i++) {
		ssize_t n;

		SSL_do_handshake(peer);
		n = tls_link_read(link_, got, TLS_LINK_RECORD_BYTES);
		ck_assert(n < 0);
		if (n != -EAGAIN)
			break;
		ck_assert(!is_readable(our_fd));
	}
}
END_TEST

/* ---- ends -------------------------------------------------------------------- */

START_TEST(a_goodbye_is_an_end)
{
	ck_assert_int_eq(SSL_write(peer, "last", 4), 4);
	ck_assert_int_eq(SSL_shutdown(peer), 0);
	ck_assert_int_eq(tls_link_read(link_, got, TLS_LINK_RECORD_BYTES), 4);
	ck_assert_int_eq(tls_link_read(link_, got, TLS_LINK_RECORD_BYTES), 0);
	ck_assert_ptr_null(tls_link_trouble(link_));
	/* An answer may still be given. */
	pass_to_peer(50000);
}
END_TEST

START_TEST(an_end_without_is_a_cut)
{
	ck_assert_int_eq(SSL_write(peer, "last", 4), 4);
	shutdown(peer_fd, SHUT_WR);
	ck_assert_int_eq(tls_link_read(link_, got, TLS_LINK_RECORD_BYTES), 4);
	ck_assert_int_eq(tls_link_read(link_, got, TLS_LINK_RECORD_BYTES),
			 -ECONNABORTED);
	ck_assert_ptr_nonnull(strstr(tls_link_trouble(link_), "was cut off"));
}
END_TEST

START_TEST(forged_bytes_are_no_data)
{
	static const char forged[] = "\x17\x03\x03\x00\x20"
				     "01234567890123456789012345678901";

	ck_assert_int_gt(write(peer_fd, forged, sizeof(forged) - 1), 0);
	ck_assert_int_eq(tls_link_read(link_, got, TLS_LINK_RECORD_BYTES),
			 -EPROTO);
	ck_assert_ptr_nonnull(strstr(tls_link_trouble(link_), "went wrong"));
}
END_TEST

START_TEST(who_is_gone_takes_nothing)
{
	ssize_t n = 0;

	close(peer_fd);
	for (int i = 0; i < 3 && n >= 0; i++)
		n = tls_link_write(link_, sent, 100);
	ck_assert_int_lt(n, 0);
	ck_assert_int_ne(n, -EAGAIN);
	peer_fd = -1;
}
END_TEST

/* ---- on the loop --------------------------------------------------------------- */

static struct loop *loop;
static struct stream *shaken; /* or where the argument says */
static struct error shaken_error;
static int shaken_count;

static void on_shaken(struct stream *stream, int code,
		      const struct error *error, void *arg)
{
	*(arg ? (struct stream **)arg : &shaken) = stream;
	shaken_count++;
	if (!stream)
		shaken_error = *error;
}

static void setup_loop(void)
{
	setup_files();
	loop = loop_new();
	shaken = NULL;
	shaken_count = 0;
}

static void teardown_loop(void)
{
	loop_free(loop);
	teardown_files();
}

static int count_fds(void)
{
	int count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void shake(void)
{
	ck_assert_ptr_nonnull(tls_handshake_new(
		loop, context, NULL, plain_pair(&peer_fd), on_shaken, NULL));
	make_peer(TLS1_3_VERSION);
	for (int i = 0; i < TURNS && !shaken_count; i++) {
		SSL_do_handshake(peer);
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
	}
	ck_assert_int_eq(shaken_count, 1);
}

START_TEST(what_was_taken_goes_by_itself)
{
	const int fds = count_fds();
	size_t put = 0, taken = 0;
	ssize_t n;

	shake();
	ck_assert_ptr_nonnull(shaken);
	ck_assert_uint_eq(shaken->read_bytes_min, TLS_LINK_RECORD_BYTES);
	while ((n = stream_write(shaken, sent + put, sizeof(sent) - put)) > 0)
		put += (size_t)n;
	ck_assert_int_eq(n, -EAGAIN);
	ck_assert_uint_gt(stream_finish(shaken, false), 0);
	for (int i = 0; i < TURNS && taken < put; i++) {
		int m = SSL_read(peer, got + taken, sizeof(got) - (int)taken);

		taken += m > 0 ? (size_t)m : 0;
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
	}
	ck_assert_uint_eq(taken, put);
	ck_assert_mem_eq(sent, got, put);
	ck_assert_uint_eq(stream_finish(shaken, false), 0);
	stream_close(shaken, STREAM_CLOSE_ORDERLY);
	n = SSL_read(peer, got, 1);
	ck_assert_int_eq(SSL_get_error(peer, (int)n), SSL_ERROR_ZERO_RETURN);
	drop_peer();
	ck_assert_int_eq(count_fds(), fds);
}
END_TEST

static double processor_s(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

/* A certificate and so much behind it that no socket's buffer takes it all. */
static struct tls_context *make_long_context(void)
{
	static const struct endpoint_tls settings = {.cert = chain_path,
						     .key = key_path};
	char cert[2048];
	struct tls_context *made;
	struct error error;
	FILE *file = fopen(cert_path, "r");
	const size_t bytes = fread(cert, 1, sizeof(cert), file);

	fclose(file);
	file = fopen(chain_path, "w");
	for (int i = 0; i < 100; i++)
		ck_assert_uint_eq(fwrite(cert, 1, bytes, file), bytes);
	fclose(file);
	ck_assert_msg(tls_context_new(&settings, true, &made, &error) == 0,
		      "%s", error.text);
	return made;
}

START_TEST(who_does_not_read_the_handshake_costs_nothing)
{
	const int send_bytes = 4608;
	const struct timeval wait = {.tv_usec = 400 * 1000};
	struct tls_context *long_context = make_long_context();
	struct stream *under = plain_pair(&peer_fd);
	double used_s;

	setsockopt(our_fd, SOL_SOCKET, SO_SNDBUF, &send_bytes,
		   sizeof(send_bytes));
	ck_assert_ptr_nonnull(tls_handshake_new(loop, long_context, NULL, under,
						on_shaken, NULL));
	make_peer(TLS1_3_VERSION);
	ck_assert_int_lt(SSL_do_handshake(peer), 0);
	event_base_loop(loop->base, EVLOOP_NONBLOCK);
	event_base_loop(loop->base, EVLOOP_NONBLOCK);
	/* For middleboxes; it may come at any time (RFC 8446, appendix D.4). */
	ck_assert_int_eq(write(peer_fd, "\x14\x03\x03\x00\x01\x01", 6), 6);
	used_s = processor_s();
	event_base_loopexit(loop->base, &wait);
	event_base_dispatch(loop->base);
	used_s = processor_s() - used_s;
	ck_assert_msg(used_s < 0.1, "%.3f s of 0.4 were spent", used_s);
	/* It goes on where it was. */
	for (int i = 0; i < TURNS && !shaken_count; i++) {
		SSL_do_handshake(peer);
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
	}
	ck_assert_int_eq(shaken_count, 1);
	ck_assert_ptr_nonnull(shaken);
	stream_close(shaken, STREAM_CLOSE_ORDERLY);
	drop_peer();
	tls_context_free(long_context);
	unlink(chain_path);
}
END_TEST

START_TEST(a_handshake_can_be_given_up)
{
	const int fds = count_fds();
	struct tls_handshake *handshake = tls_handshake_new(
		loop, context, NULL, plain_pair(&peer_fd), on_shaken, NULL);

	ck_assert_ptr_nonnull(handshake);
	event_base_loop(loop->base, EVLOOP_NONBLOCK);
	tls_handshake_free(handshake);
	tls_handshake_free(NULL);
	event_base_loop(loop->base, EVLOOP_NONBLOCK);
	ck_assert_int_eq(shaken_count, 0);
	close(peer_fd);
	ck_assert_int_eq(count_fds(), fds);
}
END_TEST

START_TEST(plain_text_is_no_handshake)
{
	static const char *const words[] = {
		"GET / HTTP/1.0\r\n\r\n", "hello, here is somebody\n", "ATZ\r"};

	for (size_t i = 0; i < 3; i++) {
		const int fds = count_fds();

		shaken_count = 0;
		ck_assert_ptr_nonnull(tls_handshake_new(loop, context, NULL,
							plain_pair(&peer_fd),
							on_shaken, NULL));
		ck_assert_int_gt(write(peer_fd, words[i], strlen(words[i])), 0);
		shutdown(peer_fd, SHUT_WR);
		for (int j = 0; j < TURNS && !shaken_count; j++)
			event_base_loop(loop->base, EVLOOP_NONBLOCK);
		ck_assert_int_eq(shaken_count, 1);
		ck_assert_ptr_null(shaken);
		ck_assert_str_eq(shaken_error.text,
				 "the other end does not speak TLS");
		close(peer_fd);
		ck_assert_int_eq(count_fds(), fds);
	}
}
END_TEST

START_TEST(both_ends_are_ours)
{
	struct tls_context *client;
	struct error error;
	struct stream *ends[2] = {NULL, NULL};
	ssize_t n = -EAGAIN;
	int fds[2];

	ck_assert_int_eq(
		tls_context_new(&client_settings, false, &client, &error), 0);
	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_ptr_nonnull(tls_handshake_new(
			loop, i ? client : context, i ? "localhost" : NULL,
			socket_stream_new(&plain_ops, fds[i], "x"), on_shaken,
			&ends[i]));
	for (int i = 0; i < TURNS && shaken_count < 2; i++)
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
	ck_assert_ptr_nonnull(ends[0]);
	ck_assert_ptr_nonnull(ends[1]);
	ck_assert_int_eq(stream_write(ends[0], "hello", 5), 5);
	for (int i = 0; i < TURNS && n == -EAGAIN; i++)
		n = stream_read(ends[1], got, TLS_LINK_RECORD_BYTES);
	ck_assert_int_eq(n, 5);
	stream_close(ends[0], STREAM_CLOSE_ORDERLY);
	stream_close(ends[1], STREAM_CLOSE_ORDERLY);
	tls_context_free(client);
}
END_TEST

/* ---- files ------------------------------------------------------------------- */

START_TEST(files_are_read_again_when_they_change)
{
	SSL *before = tls_context_make(context, NULL), *same, *after;

	same = tls_context_make(context, NULL);
	ck_assert_ptr_eq(SSL_get_SSL_CTX(before), SSL_get_SSL_CTX(same));
	/* Of no use: what was read goes on. */
	ck_assert_int_eq(truncate(key_path, 0), 0);
	after = tls_context_make(context, NULL);
	ck_assert_ptr_eq(SSL_get_SSL_CTX(before), SSL_get_SSL_CTX(after));
	SSL_free(after);
	make_certificate();
	after = tls_context_make(context, NULL);
	ck_assert_ptr_ne(SSL_get_SSL_CTX(before), SSL_get_SSL_CTX(after));
	SSL_free(after);
	SSL_free(same);
	SSL_free(before);
}
END_TEST

START_TEST(files_that_are_of_no_use)
{
	struct endpoint_tls settings = {.cert = cert_path, .key = cert_path};
	struct tls_context *none;
	struct error error;

	ck_assert_int_eq(tls_context_new(&settings, true, &none, &error),
			 -EINVAL);
	ck_assert_ptr_nonnull(strstr(error.text, "holds no private key"));
	settings = (struct endpoint_tls){.ca = key_path};
	ck_assert_int_eq(tls_context_new(&settings, false, &none, &error),
			 -EINVAL);
	ck_assert_ptr_nonnull(strstr(error.text, "holds no certificate"));
	settings = (struct endpoint_tls){.ca = directory};
	ck_assert_int_eq(tls_context_new(&settings, false, &none, &error),
			 -EINVAL);
	ck_assert_ptr_nonnull(strstr(error.text, "is not a file"));
	settings.ca = (char *)"/nowhere/at-all";
	ck_assert_int_eq(tls_context_new(&settings, false, &none, &error),
			 -ENOENT);
	ck_assert_ptr_nonnull(strstr(error.text, "cannot read ca=/nowhere"));
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("tls");
	TCase *tcase = tcase_create("links");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, bytes_pass_both_ways);
	tcase_add_test(tcase, nothing_that_came_is_hidden);
	tcase_add_test(tcase, what_is_kept_is_bounded);
	tcase_add_test(tcase, new_keys_in_between);
	tcase_add_test(tcase, a_goodbye_is_an_end);
	tcase_add_test(tcase, an_end_without_is_a_cut);
	tcase_add_test(tcase, forged_bytes_are_no_data);
	tcase_add_test(tcase, who_is_gone_takes_nothing);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("links of 1.2");
	tcase_add_checked_fixture(tcase, setup_1_2, teardown);
	tcase_add_test(tcase, bytes_pass_both_ways);
	tcase_add_test(tcase, nothing_that_came_is_hidden);
	tcase_add_test(tcase, what_is_kept_is_bounded);
	tcase_add_test(tcase, renegotiation_is_refused);
	tcase_add_test(tcase, a_goodbye_is_an_end);
	tcase_add_test(tcase, an_end_without_is_a_cut);
	tcase_add_test(tcase, forged_bytes_are_no_data);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("loop");
	tcase_add_checked_fixture(tcase, setup_loop, teardown_loop);
	tcase_add_test(tcase, what_was_taken_goes_by_itself);
	tcase_add_test(tcase, who_does_not_read_the_handshake_costs_nothing);
	tcase_add_test(tcase, a_handshake_can_be_given_up);
	tcase_add_test(tcase, plain_text_is_no_handshake);
	tcase_add_test(tcase, both_ends_are_ours);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("files");
	tcase_add_checked_fixture(tcase, setup_files, teardown_files);
	tcase_add_test(tcase, files_are_read_again_when_they_change);
	tcase_add_test(tcase, files_that_are_of_no_use);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(make_suite());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
