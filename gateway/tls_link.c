/* SPDX-License-Identifier: MIT */
#include "tls_link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "backlog.h"
#include "error.h"
#include "text.h"
#include "tls_context.h"

/* Names of a certificate that a message shows. */
#define NAMES_MAX 4
#define NAMES_BYTES 120
/* TLS' records begin with 20 to 23 (RFC 8446, 5.1). */
#define RECORD_TYPE_FIRST 20
#define RECORD_TYPE_LAST 23

struct tls_link {
	SSL *ssl;
	BIO_METHOD *method;
	struct stream *under;
	const char *name;
	const char *ca;
	bool is_server;
	struct backlog unsent;
	int read_code; /* how the stream under it broke, or 0 */
	int write_code;
	int first_byte; /* that came in; -1: none yet */
	bool has_read_end; /* the stream's */
	bool has_said_end; /* tls_link_end */
	bool has_shut; /* the stream's writing, after that */
	struct error trouble; /* "" while all is well */
};

/* ---- the stream under it ------------------------------------------------------ */

static int bio_read(BIO *bio, char *buffer, int bytes)
{
	struct tls_link *link = BIO_get_data(bio);
	ssize_t got;

	BIO_clear_retry_flags(bio);
	if (link->has_read_end || link->read_code)
		return 0;
	got = stream_read(link->under, buffer, (size_t)bytes);
	if (got > 0) {
		if (link->first_byte < 0)
			link->first_byte = (unsigned char)*buffer;
		return (int)got;
	}
	if (got == 0) {
		link->has_read_end = true;
	} else if (got == -EAGAIN) {
		BIO_set_retry_read(bio);
		return -1;
	} else {
		link->read_code = (int)got;
	}
	return 0;
}

/* Takes everything: what the stream does not take is kept. */
static int bio_write(BIO *bio, const char *data, int bytes)
{
	struct tls_link *link = BIO_get_data(bio);
	ssize_t put = 0;

	BIO_clear_retry_flags(bio);
	if (link->write_code)
		return -1;
	if (!link->unsent.bytes)
		put = stream_write(link->under, data, (size_t)bytes);
	if (put == -EAGAIN)
		put = 0;
	if (put >= 0 && put < bytes &&
	    backlog_add(&link->unsent, (const uint8_t *)data + put,
			(size_t)(bytes - put)))
		put = -ENOMEM;
	if (put >= 0)
		return bytes;
	link->write_code = (int)put;
	return -1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	const struct tls_link *link = BIO_get_data(bio);

	switch (command) {
	case BIO_CTRL_FLUSH:
		return 1;
	case BIO_CTRL_EOF:
		return link->has_read_end;
	default:
		return 0;
	}
}

static bool link_set_bio(struct tls_link *link)
{
	BIO *bio = NULL;

	link->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "stream");
	if (link->method && BIO_meth_set_read(link->method, bio_read) &&
	    BIO_meth_set_write(link->method, bio_write) &&
	    BIO_meth_set_ctrl(link->method, bio_ctrl))
		bio = BIO_new(link->method);
	if (!bio)
		return false;
	BIO_set_data(bio, link);
	BIO_set_init(bio, 1);
	SSL_set_bio(link->ssl, bio, bio);
	return true;
}

/* ---- what is wrong with a certificate ------------------------------------------ */

static void append_name(char *list, const char *name, int number)
{
	char quoted[TEXT_QUOTED_BYTES];

	if (number < NAMES_MAX)
		text_append(list, NAMES_BYTES, "%s%s", number ? ", " : "",
			    text_printable(name, quoted));
	else if (number == NAMES_MAX)
		text_append(list, NAMES_BYTES, ", ...");
}

static void common_name(const X509_NAME *subject, char *out, size_t bytes)
{
	int index = X509_NAME_get_index_by_NID((X509_NAME *)subject,
					       NID_commonName, -1);
	unsigned char *text = NULL;
	char quoted[TEXT_QUOTED_BYTES];

	snprintf(out, bytes, "one without a name");
	if (index >= 0 &&
	    ASN1_STRING_to_UTF8(
		    &text, X509_NAME_ENTRY_get_data(
				   X509_NAME_get_entry(subject, index))) >= 0)
		snprintf(out, bytes, "%s",
			 text_printable((const char *)text, quoted));
	OPENSSL_free(text);
}

static bool format_address(const ASN1_OCTET_STRING *address, char *out,
			   size_t bytes)
{
	const int length = ASN1_STRING_length(address);

	/* As long as whoever made the certificate wanted it. */
	return (length == 4 || length == 16) &&
	       inet_ntop(length == 4 ? AF_INET : AF_INET6,
			 ASN1_STRING_get0_data(address), out, (socklen_t)bytes);
}

/* Whom the certificate is for, as people write it. */
static void list_names(X509 *cert, char list[NAMES_BYTES])
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name,
						NULL, NULL);
	int shown = 0;

	*list = '\0';
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		char address[INET6_ADDRSTRLEN];
		const int type = name->type;

		if (type == GEN_DNS)
			append_name(list,
				    (const char *)ASN1_STRING_get0_data(
					    name->d.dNSName),
				    shown++);
		else if (type == GEN_IPADD &&
			 format_address(name->d.iPAddress, address,
					sizeof(address)))
			append_name(list, address, shown++);
	}
	GENERAL_NAMES_free(names);
	if (!shown)
		common_name(X509_get_subject_name(cert), list, NAMES_BYTES);
}

static void format_time(const ASN1_TIME *time, char *out, size_t bytes)
{
	struct tm parts;

	if (!ASN1_TIME_to_tm(time, &parts) ||
	    !strftime(out, bytes, "%Y-%m-%d %H:%M:%S UTC", &parts))
		snprintf(out, bytes, "an unknown time");
}

static void explain_name(struct tls_link *link, X509 *cert)
{
	char names[NAMES_BYTES];

	list_names(cert, names);
	error_set(&link->trouble, -EPROTO,
		  "the other end's certificate is for %s, not for %s; connect "
		  "by a name that it has, or tell the one to expect with name=",
		  names, link->name);
}

static void explain_issuer(struct tls_link *link, X509 *cert)
{
	char issuer[TEXT_QUOTED_BYTES];

	common_name(X509_get_issuer_name(cert), issuer, sizeof(issuer));
	if (link->ca)
		error_set(&link->trouble, -EPROTO,
			  "the other end's certificate was issued by '%s', "
			  "which %s does not have",
			  issuer, link->ca);
	else
		error_set(&link->trouble, -EPROTO,
			  "the other end's certificate was issued by '%s', "
			  "which this machine does not know; to trust it, give "
			  "its certificate with ca=FILE",
			  issuer);
}

static void explain_self_signed(struct tls_link *link)
{
	if (link->is_server)
		error_set(&link->trouble, -EPROTO,
			  "the other end's certificate is self-signed, and not "
			  "in %s",
			  link->ca);
	else
		error_set(&link->trouble, -EPROTO,
			  "the other end's certificate is self-signed; if it "
			  "is the right one, get a copy and give it with "
			  "ca=FILE");
}

static void explain_certificate(struct tls_link *link, X509 *cert, int code)
{
	char when[40];

	switch (code) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		format_time(X509_get0_notAfter(cert), when, sizeof(when));
		error_set(&link->trouble, -EPROTO,
			  "the other end's certificate has expired (%s)", when);
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		format_time(X509_get0_notBefore(cert), when, sizeof(when));
		error_set(&link->trouble, -EPROTO,
			  "the other end's certificate is not valid before "
			  "%s; is this machine's clock right?",
			  when);
		break;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		explain_name(link, cert);
		break;
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		explain_self_signed(link);
		break;
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		explain_issuer(link, cert);
		break;
	case X509_V_ERR_INVALID_PURPOSE:
		error_set(&link->trouble, -EPROTO,
			  "the other end's certificate is not one for %s",
			  link->is_server ? "clients" : "servers");
		break;
	default:
		error_set(&link->trouble, -EPROTO,
			  "the other end's certificate is not accepted: %s",
			  X509_verify_cert_error_string(code));
		break;
	}
}

static int verified(int is_good, X509_STORE_CTX *store)
{
	const SSL *ssl = X509_STORE_CTX_get_ex_data(
		store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_link *link = SSL_get_app_data(ssl);

	/* The first thing that is wrong is the one to mend first. */
	if (!is_good && !*link->trouble.text)
		explain_certificate(link,
				    X509_STORE_CTX_get_current_cert(store),
				    X509_STORE_CTX_get_error(store));
	return is_good;
}

/* ---- what went wrong ---------------------------------------------------------- */

/* The other end's alerts, which say what it has against us (RFC 8446, 6.2). */
static const char *alert_sentence(int alert)
{
	switch (alert) {
	case SSL_AD_CERTIFICATE_REQUIRED:
		return "the other end asks for a certificate; give it one with "
		       "cert=FILE,key=FILE";
	case SSL_AD_UNKNOWN_CA:
		return "the other end does not know who issued this end's "
		       "certificate";
	case SSL_AD_CERTIFICATE_EXPIRED:
		return "the other end says that this end's certificate has "
		       "expired";
	case SSL_AD_BAD_CERTIFICATE:
	case SSL_AD_UNSUPPORTED_CERTIFICATE:
	case SSL_AD_CERTIFICATE_REVOKED:
	case SSL_AD_CERTIFICATE_UNKNOWN:
	case SSL_AD_ACCESS_DENIED:
		return "the other end does not accept this end's certificate";
	case SSL_AD_PROTOCOL_VERSION:
		return "the other end speaks no version of TLS that this one "
		       "does (1.2 and 1.3)";
	case SSL_AD_HANDSHAKE_FAILURE:
		return "the other end refused the handshake: it may ask for a "
		       "certificate (cert=FILE,key=FILE), or have no cipher in "
		       "common with this one";
	case SSL_AD_UNRECOGNIZED_NAME:
		return "the other end does not know itself by that name; tell "
		       "the right one with name=";
	default:
		return NULL;
	}
}

static const char *reason_sentence(int reason)
{
	switch (reason) {
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
		return "the other end showed no certificate, which ca= asks "
		       "for";
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_WRONG_SSL_VERSION:
		return "the other end speaks no version of TLS that this one "
		       "does (1.2 and 1.3)";
	case SSL_R_NO_SHARED_CIPHER:
		return "the other end has no cipher in common with this one";
	default:
		return NULL;
	}
}

static bool speaks_tls(const struct tls_link *link)
{
	return link->first_byte < 0 || (link->first_byte >= RECORD_TYPE_FIRST &&
					link->first_byte <= RECORD_TYPE_LAST);
}

/* Say what OpenSSL has against what came in. */
static int explain_protocol(struct tls_link *link)
{
	const unsigned long code = ERR_peek_error();
	const int reason = ERR_GET_REASON(code);
	const char *sentence;

	if (!speaks_tls(link))
		return error_set(&link->trouble, -EPROTO,
				 "the other end does not speak TLS");
	if (reason >= SSL_AD_REASON_OFFSET)
		sentence = alert_sentence(reason - SSL_AD_REASON_OFFSET);
	else
		sentence = reason_sentence(reason);
	if (sentence)
		return error_set(&link->trouble, -EPROTO, "%s", sentence);
	sentence = ERR_reason_error_string(code);
	return error_set(&link->trouble, -EPROTO, "TLS went wrong: %s",
			 sentence ? sentence : "for an unknown reason");
}

/*
 * Why an operation that returned @result did not do its work: -EAGAIN, 0 at the
 * other end's goodbye, or what is wrong, as -errno with the trouble set where
 * that does not say all.
 */
static int link_failed(struct tls_link *link, int result, bool is_writing)
{
	int code = is_writing ? link->write_code : link->read_code;

	switch (SSL_get_error(link->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		break;
	}
	/* A verdict on the certificate is there already, and says more. */
	if (*link->trouble.text)
		return -EPROTO;
	if (link->write_code == -ENOMEM)
		return -ENOMEM;
	if (code)
		return code;
	/* A reset is told once: here, the one who wrote has taken it. */
	if (link->has_read_end && link->write_code &&
	    link->write_code != -EPIPE)
		return link->write_code;
	if (link->has_read_end)
		return error_set(&link->trouble, -ECONNABORTED,
				 "the other end was cut off: its stream ended "
				 "without TLS' goodbye (close_notify), so some "
				 "of it may be missing");
	return explain_protocol(link);
}

/* ---- from outside --------------------------------------------------------------- */

struct tls_link *tls_link_new(struct tls_context *context, const char *name,
			      struct stream *under)
{
	struct tls_link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	link->name = name;
	link->ca = tls_context_ca(context);
	link->is_server = tls_context_is_server(context);
	link->first_byte = -1;
	link->ssl = tls_context_make(context, name);
	if (!link->ssl || !link_set_bio(link)) {
		tls_link_free(link, STREAM_CLOSE_ABORT);
		errno = ENOMEM;
		return NULL;
	}
	SSL_set_app_data(link->ssl, link);
	SSL_set_verify(link->ssl, SSL_get_verify_mode(link->ssl), verified);
	link->under = under;
	return link;
}

void tls_link_free(struct tls_link *link, enum stream_close how)
{
	if (!link)
		return;
	SSL_free(link->ssl);
	BIO_meth_free(link->method);
	backlog_clear(&link->unsent);
	stream_close(link->under, how);
	ERR_clear_error();
	free(link);
}

int tls_link_handshake(struct tls_link *link, struct error *error)
{
	int code = tls_link_flush(link);
	int result;

	if (code == -EAGAIN)
		return code;
	ERR_clear_error();
	result = SSL_do_handshake(link->ssl);
	if (result == 1)
		return 0;
	code = link_failed(link, result, link->write_code != 0);
	if (code == -EAGAIN)
		return code;
	if (code == -ECONNABORTED || code == 0)
		return error_set(error, -ECONNRESET, "the other end %s",
				 speaks_tls(link)
					 ? "closed during the handshake; does "
					   "it speak TLS?"
					 : "does not speak TLS");
	if (*link->trouble.text)
		*error = link->trouble;
	else
		error_set(error, code,
			  "the other end broke off during the handshake: %s",
			  strerror(-code));
	/* For an alert: it tells the other end what is wrong. */
	tls_link_flush(link);
	return code;
}

ssize_t tls_link_read(struct tls_link *link, void *buffer, size_t bytes)
{
	int got;

	ERR_clear_error();
	got = SSL_read(link->ssl, buffer,
		       bytes > INT32_MAX ? INT32_MAX : (int)bytes);
	return got > 0 ? got : link_failed(link, got, false);
}

ssize_t tls_link_write(struct tls_link *link, const void *data, size_t bytes)
{
	size_t put = 0;
	int code = tls_link_flush(link);

	/* Whatever is kept is kept once: no more until it is gone. */
	while (code == 0 && put < bytes && !link->unsent.bytes) {
		size_t piece = bytes - put;
		int result;

		if (piece > TLS_LINK_RECORD_BYTES)
			piece = TLS_LINK_RECORD_BYTES;
		ERR_clear_error();
		result = SSL_write(link->ssl, (const char *)data + put,
				   (int)piece);
		if (result > 0)
			put += (size_t)result;
		else
			code = link_failed(link, result, true);
	}
	/* If it broke, the next call says so. */
	if (put)
		return (ssize_t)put;
	return code ? code : -EPIPE;
}

int tls_link_check(const struct tls_link *link)
{
	return link->write_code ? link->write_code : stream_check(link->under);
}

size_t tls_link_unsent(const struct tls_link *link)
{
	return link->unsent.bytes;
}

int tls_link_flush(struct tls_link *link)
{
	const uint8_t *data;
	size_t bytes;

	while (!link->write_code &&
	       (bytes = backlog_first(&link->unsent, &data)) > 0) {
		ssize_t put = stream_write(link->under, data, bytes);

		if (put == -EAGAIN || put == 0)
			return -EAGAIN;
		if (put < 0) {
			link->write_code = (int)put;
			backlog_clear(&link->unsent);
		} else {
			backlog_take(&link->unsent, (size_t)put);
		}
	}
	if (!link->write_code && link->has_said_end && !link->has_shut) {
		link->has_shut = true;
		if (stream_has_half_close(link->under))
			link->write_code = stream_shutdown_write(link->under);
	}
	return link->write_code;
}

int tls_link_end(struct tls_link *link)
{
	int code;

	if (!link->has_said_end) {
		link->has_said_end = true;
		ERR_clear_error();
		/* One that broke has no goodbye: it does nothing then. */
		SSL_shutdown(link->ssl);
	}
	code = tls_link_flush(link);
	return code == -EAGAIN ? 0 : code;
}

const char *tls_link_trouble(const struct tls_link *link)
{
	return *link->trouble.text ? link->trouble.text : NULL;
}
