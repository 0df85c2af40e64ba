/* SPDX-License-Identifier: MIT */
/* One end of a TCP connection over loopback as a stream, for suites of sessions. */
#ifndef BTGATE_TESTS_TCP_END_H
#define BTGATE_TESTS_TCP_END_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <check.h>

#include "socket.h"

/* The far end, which is the caller's to close, does not block. */
static inline struct stream *tcp_end(const struct stream_ops *ops,
				     const char *peer, int *far)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t bytes = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int near;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, bytes), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	getsockname(listener, (struct sockaddr *)&address, &bytes);
	*far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(*far, (struct sockaddr *)&address, bytes), 0);
	fcntl(*far, F_SETFL, O_NONBLOCK);
	near = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	close(listener);
	return socket_stream_new(ops, near, peer);
}

#endif
