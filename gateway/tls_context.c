/* SPDX-License-Identifier: MIT */
#include "tls_context.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "address_endpoint.h"
#include "error.h"
#include "log.h"

#define FILE_COUNT 3

/* Which file it is, and which contents of it. */
struct stamp {
	dev_t device;
	ino_t number;
	off_t bytes;
	struct timespec modified;
	struct timespec changed;
};

struct tls_context {
	const struct endpoint_tls *settings;
	bool is_server;
	SSL_CTX *ssl_ctx;
	struct stamp stamps[FILE_COUNT]; /* when they were last looked at */
};

/* ---- the files -------------------------------------------------------------- */

static void take_stamp(const char *path, struct stamp *out)
{
	struct stat status;

	memset(out, 0, sizeof(*out));
	if (!path || stat(path, &status) < 0)
		return;
	out->device = status.st_dev;
	out->number = status.st_ino;
	out->bytes = status.st_size;
	out->modified = status.st_mtim;
	out->changed = status.st_ctim;
}

static void take_stamps(const struct endpoint_tls *settings,
			struct stamp stamps[FILE_COUNT])
{
	take_stamp(settings->ca, &stamps[0]);
	take_stamp(settings->cert, &stamps[1]);
	take_stamp(settings->key, &stamps[2]);
}

static bool is_time_same(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool is_stamp_same(const struct stamp *a, const struct stamp *b)
{
	return a->device == b->device && a->number == b->number &&
	       a->bytes == b->bytes &&
	       is_time_same(&a->modified, &b->modified) &&
	       is_time_same(&a->changed, &b->changed);
}

/* OpenSSL says of a file that is not there only that it is of no use. */
static int check_file(const char *option, const char *path, struct error *error)
{
	struct stat status;

	if (stat(path, &status) < 0 || access(path, R_OK) < 0)
		return error_set(error, -errno, "cannot read %s=%s: %s", option,
				 path, strerror(errno));
	/* A FIFO would be waited for. */
	if (!S_ISREG(status.st_mode))
		return error_set(error, -EINVAL, "%s=%s is not a file", option,
				 path);
	return 0;
}

/* Nobody is there to be asked for a passphrase. */
static int refuse_passphrase(char *buffer, int bytes, int is_writing, void *arg)
{
	bool *was_asked = arg;

	*was_asked = true;
	return 0;
}

static int load_key(SSL_CTX *ssl_ctx, const char *path, struct error *error)
{
	bool was_asked = false, is_other;
	struct stat status;
	int code = check_file("key", path, error);

	if (code < 0)
		return code;
	SSL_CTX_set_default_passwd_cb(ssl_ctx, refuse_passphrase);
	SSL_CTX_set_default_passwd_cb_userdata(ssl_ctx, &was_asked);
	code = SSL_CTX_use_PrivateKey_file(ssl_ctx, path, SSL_FILETYPE_PEM);
	is_other = ERR_GET_REASON(ERR_peek_last_error()) ==
			   X509_R_KEY_VALUES_MISMATCH ||
		   (code == 1 && SSL_CTX_check_private_key(ssl_ctx) != 1);
	SSL_CTX_set_default_passwd_cb_userdata(ssl_ctx, NULL);
	SSL_CTX_set_default_passwd_cb(ssl_ctx, NULL);
	if (code != 1 && was_asked)
		return error_set(error, -EINVAL,
				 "key=%s is locked with a passphrase, and "
				 "nobody is there to give it; take it off with "
				 "'openssl pkey -in FILE -out NEW'",
				 path);
	if (is_other)
		return error_set(error, -EINVAL,
				 "key=%s is not the key of the certificate",
				 path);
	if (code != 1)
		return error_set(error, -EINVAL,
				 "key=%s holds no private key in PEM form",
				 path);
	if (stat(path, &status) == 0 && status.st_mode & S_IROTH)
		log_warning("key=%s can be read by everybody on this machine; "
			    "close it: chmod o= '%s'",
			    path, path);
	return 0;
}

static int load_cert(SSL_CTX *ssl_ctx, const char *path, struct error *error)
{
	const X509 *cert;
	int code = check_file("cert", path, error);

	if (code < 0)
		return code;
	if (SSL_CTX_use_certificate_chain_file(ssl_ctx, path) != 1)
		return error_set(error, -EINVAL,
				 ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_SSL
					 ? "cert=%s holds a certificate that "
					   "is of no use here: its key is too "
					   "short, or its signature too weak"
					 : "cert=%s holds no certificate in "
					   "PEM form",
				 path);
	cert = SSL_CTX_get0_certificate(ssl_ctx);
	if (cert && X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
		log_warning("cert=%s has expired: the other end will most "
			    "likely not accept it; put a new one there",
			    path);
	return 0;
}

static int load_ca(SSL_CTX *ssl_ctx, const char *path, bool is_server,
		   struct error *error)
{
	STACK_OF(X509_NAME) * names;
	int code = check_file("ca", path, error);

	if (code < 0)
		return code;
	if (SSL_CTX_load_verify_file(ssl_ctx, path) != 1)
		return error_set(error, -EINVAL,
				 "ca=%s holds no certificate in PEM form",
				 path);
	if (!is_server)
		return 0;
	/* Clients with several certificates choose by these. */
	names = SSL_load_client_CA_file(path);
	if (names)
		SSL_CTX_set_client_CA_list(ssl_ctx, names);
	return 0;
}

static int load_files(SSL_CTX *ssl_ctx, const struct endpoint_tls *settings,
		      bool is_server, struct error *error)
{
	int code = 0;

	if (settings->cert)
		code = load_cert(ssl_ctx, settings->cert, error);
	if (code == 0 && settings->key)
		code = load_key(ssl_ctx, settings->key, error);
	if (code == 0 && settings->ca)
		code = load_ca(ssl_ctx, settings->ca, is_server, error);
	else if (code == 0 && !is_server)
		SSL_CTX_set_default_verify_paths(ssl_ctx);
	ERR_clear_error();
	return code;
}

/* ---- the context -------------------------------------------------------------- */

static void set_options(SSL_CTX *ssl_ctx, bool is_server)
{
	SSL_CTX_set_min_proto_version(ssl_ctx, TLS1_2_VERSION);
	/* Without renegotiation reading never has to write, nor the reverse. */
	SSL_CTX_set_options(ssl_ctx,
			    SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(ssl_ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
					  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					  SSL_MODE_RELEASE_BUFFERS);
	/* What a link that stays needs least is to be resumed. */
	SSL_CTX_set_session_cache_mode(ssl_ctx, SSL_SESS_CACHE_OFF);
	if (!is_server)
		return;
	/* A client that only sends would be reset with tickets unread. */
	SSL_CTX_set_options(ssl_ctx,
			    SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_num_tickets(ssl_ctx, 0);
}

static int read_all(const struct endpoint_tls *settings, bool is_server,
		    SSL_CTX **out, struct error *error)
{
	SSL_CTX *ssl_ctx = SSL_CTX_new(is_server ? TLS_server_method()
						 : TLS_client_method());
	int code;

	if (!ssl_ctx)
		return error_set(error, -ENOMEM, "out of memory");
	set_options(ssl_ctx, is_server);
	code = load_files(ssl_ctx, settings, is_server, error);
	if (code < 0) {
		SSL_CTX_free(ssl_ctx);
		return code;
	}
	/* ca= may name one that is itself signed by somebody. */
	X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ssl_ctx),
				    X509_V_FLAG_PARTIAL_CHAIN);
	if (!is_server)
		SSL_CTX_set_verify(ssl_ctx, SSL_VERIFY_PEER, NULL);
	else if (settings->ca)
		SSL_CTX_set_verify(ssl_ctx,
				   SSL_VERIFY_PEER |
					   SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
				   NULL);
	*out = ssl_ctx;
	return 0;
}

int tls_context_new(const struct endpoint_tls *settings, bool is_server,
		    struct tls_context **out, struct error *error)
{
	struct tls_context *context = calloc(1, sizeof(*context));
	int code;

	if (!context)
		return error_set(error, -ENOMEM, "out of memory");
	context->settings = settings;
	context->is_server = is_server;
	take_stamps(settings, context->stamps);
	code = read_all(settings, is_server, &context->ssl_ctx, error);
	if (code < 0)
		free(context);
	else
		*out = context;
	return code;
}

void tls_context_free(struct tls_context *context)
{
	if (!context)
		return;
	SSL_CTX_free(context->ssl_ctx);
	free(context);
}

bool tls_context_is_server(const struct tls_context *context)
{
	return context->is_server;
}

const char *tls_context_ca(const struct tls_context *context)
{
	return context->settings->ca;
}

static void refresh(struct tls_context *context)
{
	struct stamp now[FILE_COUNT];
	SSL_CTX *ssl_ctx;
	struct error error;
	bool is_same = true;

	take_stamps(context->settings, now);
	for (size_t i = 0; i < FILE_COUNT; i++)
		is_same = is_same &&
			  is_stamp_same(&now[i], &context->stamps[i]);
	if (is_same)
		return;
	/* Before they are read: what changes meanwhile is read again. */
	memcpy(context->stamps, now, sizeof(now));
	if (read_all(context->settings, context->is_server, &ssl_ctx, &error)) {
		log_warning("%s; the certificates that were read before go on "
			    "being used",
			    error.text);
		return;
	}
	SSL_CTX_free(context->ssl_ctx);
	context->ssl_ctx = ssl_ctx;
	log_info("certificates read again: files have changed (%s)",
		 context->settings->cert ? context->settings->cert
					 : context->settings->ca);
}

/* ---- connections ------------------------------------------------------------ */

static bool is_address(const char *name)
{
	struct in6_addr address;

	return inet_pton(AF_INET, name, &address) == 1 ||
	       inet_pton(AF_INET6, name, &address) == 1;
}

static bool expect_name(SSL *ssl, const char *name)
{
	if (is_address(name))
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl),
						     name) == 1;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	/* An address may not be told (RFC 6066, 3). */
	return SSL_set1_host(ssl, name) == 1 &&
	       SSL_set_tlsext_host_name(ssl, name) == 1;
}

SSL *tls_context_make(struct tls_context *context, const char *name)
{
	SSL *ssl;

	refresh(context);
	ERR_clear_error();
	ssl = SSL_new(context->ssl_ctx);
	if (!ssl)
		return NULL;
	if (context->is_server) {
		SSL_set_accept_state(ssl);
		return ssl;
	}
	SSL_set_connect_state(ssl);
	if (expect_name(ssl, name))
		return ssl;
	SSL_free(ssl);
	return NULL;
}
