/* SPDX-License-Identifier: MIT */
#include "address_network.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "error.h"

static struct address_networks networks;

static struct address_ip ip_of(const char *text)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	struct address_ip ip;

	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
		ck_assert(address_ip_of_socket((struct sockaddr *)&v4, &ip));
		return ip;
	}
	ck_assert_int_eq(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
	ck_assert(address_ip_of_socket((struct sockaddr *)&v6, &ip));
	return ip;
}

static void add(const char *text)
{
	struct error error = {""};

	ck_assert_msg(address_networks_add(text, &networks, &error) == 0, "%s",
		      error.text);
}

static bool has(const char *text)
{
	struct address_ip ip = ip_of(text);

	return address_networks_has(&networks, &ip);
}

static void setup(void)
{
	memset(&networks, 0, sizeof(networks));
}

/* What is in and what is just outside. */
START_TEST(who_is_in)
{
	static const struct {
		const char *network, *in[3], *out[3];
	} cases[] = {
		{"192.168.1.0/24",
		 {"192.168.1.0", "192.168.1.255", "::ffff:192.168.1.7"},
		 {"192.168.0.255", "192.168.2.0", "::c0a8:107"}},
		{"10.0.0.0/9", {"10.0.0.1", "10.127.255.255"}, {"10.128.0.0"}},
		{"192.0.2.7", {"192.0.2.7"}, {"192.0.2.6", "192.0.2.8"}},
		{"0.0.0.0/0", {"255.255.255.255", "0.0.0.0"}, {"::1"}},
		{"fd00::/8", {"fd00::1", "fdff::"}, {"fc00::", "fe00::"}},
		{"2001:db8::/33",
		 {"2001:db8:7fff::"},
		 {"2001:db8:8000::", "1.2.3.4"}},
		{"::1", {"::1"}, {"::2", "127.0.0.1"}},
		{"::/0", {"::1", "127.0.0.1"}, {NULL}},
		{"any", {"::1", "127.0.0.1"}, {NULL}},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		setup();
		add(cases[i].network);
		for (size_t j = 0; j < 3 && cases[i].in[j]; j++)
			ck_assert_msg(has(cases[i].in[j]), "%s: %s",
				      cases[i].network, cases[i].in[j]);
		for (size_t j = 0; j < 3 && cases[i].out[j]; j++)
			ck_assert_msg(!has(cases[i].out[j]), "%s: %s",
				      cases[i].network, cases[i].out[j]);
	}
}
END_TEST

START_TEST(lists)
{
	add(" 10.0.0.0/8,fd00::/8 , 192.0.2.1");
	add("192.0.2.2");
	ck_assert_uint_eq(networks.count, 4);
	ck_assert(has("192.0.2.1"));
	ck_assert(has("fd12::"));
	ck_assert(!has("192.0.2.3"));
}
END_TEST

START_TEST(one_spelling)
{
	static const char *const cases[][2] = {
		{"10.0.0.0/8", "10.0.0.0/8"},
		{"192.0.2.7/32", "192.0.2.7"},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"FD00:0::/8", "fd00::/8"},
		{"::1/128", "::1"},
		{"::ffff:10.0.0.0/104", "10.0.0.0/8"},
		{"::/0", "::/0"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[ADDRESS_NETWORK_TEXT_BYTES];

		setup();
		add(cases[i][0]);
		address_network_format(&networks.items[0], text);
		ck_assert_str_eq(text, cases[i][1]);
	}
}
END_TEST

START_TEST(what_is_refused)
{
	static const char *const cases[][2] = {
		{"", "an empty place between the commas"},
		{"10.0.0.1,", "an empty place between the commas"},
		{"10.0.0.1, any", "'any' stands alone; leave out the others"},
		{"10.0.0.1/8", "'10.0.0.1/8' is an address within a network; "
			       "write 10.0.0.0/8 for the network, or leave "
			       "'/8' out"},
		{"10.0.0.1, 10.0.0.1", "10.0.0.1 is in 10.0.0.1 already"},
		{"10.0.0.0/8, 10.1.0.0/16",
		 "10.1.0.0/16 is in 10.0.0.0/8 already"},
	};
	static const char *const nonsense[] = {"localhost",    "10.0.0.0/33",
					       "10.0.0/8",     "::1/129",
					       "10.0.0.0/",    "10.0.0.0/+8",
					       "10.0.0.0/8/8", "[::1]",
					       "/8",	       "fe80::1%eth0"};
	struct error error;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_int_eq(address_networks_add(cases[i][0], &networks,
						      &error),
				 -EINVAL);
		ck_assert_str_eq(error.text, cases[i][1]);
		ck_assert_uint_eq(networks.count, 0);
	}
	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		ck_assert_int_eq(address_networks_add(nonsense[i], &networks,
						      &error),
				 -EINVAL);
		ck_assert_ptr_nonnull(
			strstr(error.text, "is no IP address and no network"));
	}
}
END_TEST

START_TEST(too_many)
{
	struct error error;
	char text[32];

	for (int i = 0; i < ADDRESS_NETWORKS_MAX; i++) {
		snprintf(text, sizeof(text), "10.0.0.%d", i);
		add(text);
	}
	ck_assert_int_eq(address_networks_add("10.1.0.0", &networks, &error),
			 -EINVAL);
	ck_assert_str_eq(error.text, "more than 32 networks");
}
END_TEST

START_TEST(other_sockets)
{
	struct sockaddr local = {.sa_family = AF_UNIX};
	struct address_ip ip;

	ck_assert(!address_ip_of_socket(&local, &ip));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("address_network");
	TCase *tests = tcase_create("address_network");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, setup, NULL);
	tcase_add_test(tests, who_is_in);
	tcase_add_test(tests, lists);
	tcase_add_test(tests, one_spelling);
	tcase_add_test(tests, what_is_refused);
	tcase_add_test(tests, too_many);
	tcase_add_test(tests, other_sockets);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
