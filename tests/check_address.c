/* SPDX-License-Identifier: MIT */
#include "address_endpoint.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "text.h"

/* Text that parses, and how it prints. */
struct good {
	const char *text;
	const char *printed;
};

/* Text that does not, and the whole error. */
struct bad {
	const char *text;
	const char *error;
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct good good_listen[] = {
	{"rfcomm", "rfcomm:auto"},
	{"rfcomm:auto", "rfcomm:auto"},
	{"rfcomm:1", "rfcomm:1"},
	{"rfcomm:30", "rfcomm:30"},
	{" rfcomm : 022 ", "rfcomm:22"},
	{"tcp:2000", "tcp:127.0.0.1:2000"},
	{"tcp:localhost:2000", "tcp:localhost:2000"},
	{"tcp:LocalHost:2000", "tcp:localhost:2000"},
	{"tcp:192.168.1.5:65535", "tcp:192.168.1.5:65535"},
	{"tcp:*:1", "tcp:*:1"},
	{"tcp:0.0.0.0:80", "tcp:0.0.0.0:80"},
	{"tcp:[::]:80", "tcp:[::]:80"},
	{"tcp:[0:0::1]:80", "tcp:[::1]:80"},
	{"tcp:80,keepalive=60s", "tcp:127.0.0.1:80"},
	{"tcp:80,keepalive=5s", "tcp:127.0.0.1:80,keepalive=5s"},
	{"tcp:80,keepalive=off", "tcp:127.0.0.1:80,keepalive=off"},
	{"tcp:80,keepalive=0s", "tcp:127.0.0.1:80,keepalive=off"},
	{"tcp:80,keepalive=32767s", "tcp:127.0.0.1:80,keepalive=32767s"},
	{"unix:/run/a", "unix:/run/a"},
	{"unix:/run/a,mode=660,owner=root,group=1000",
	 "unix:/run/a,mode=0660,owner=root,group=1000"},
	{"unix:/run/a , mode = 0600", "unix:/run/a,mode=0600"},
	{"unix:\"/run/a,b\"", "unix:\"/run/a,b\""},
	{"unix:\"/run/a;b\",mode=\"0600\"", "unix:\"/run/a\\;b\",mode=0600"},
	{"unix:/run/a b", "unix:/run/a b"},
};

static const struct bad bad_listen[] = {
	{"",
	 "no endpoint kind; use rfcomm, l2cap, tcp, tls, unix, pty or serial"},
	{"rfcomm:", "nothing after 'rfcomm:'; write rfcomm:auto or "
		    "rfcomm:CHANNEL (1 to 30)"},
	{"rfcomm:0", "'0' is not an RFCOMM channel; write 1 to 30, or auto for "
		     "the first free one"},
	{"rfcomm:31", "'31' is not an RFCOMM channel; write 1 to 30, or auto "
		      "for the first free one"},
	{"rfcomm:-1", "'-1' is not an RFCOMM channel; write 1 to 30, or auto "
		      "for the first free one"},
	{"rfcomm:1x", "'1x' is not an RFCOMM channel; write 1 to 30, or auto "
		      "for the first free one"},
	{"rfcomm:99999999999999999999",
	 "'99999999999999999999' is not an RFCOMM channel; write 1 to 30, or "
	 "auto for the first free one"},
	{"rfcomm:Auto", "'Auto' is not an RFCOMM channel; write 1 to 30, or "
			"auto for the first free one"},
	{"rfcomm,", "no option's name after a comma"},
	{"rfcomm,channel=1", "unknown option 'channel' of rfcomm; use "
			     "pack-until, pack-gap or pack-size"},
	{"rfcom", "unknown endpoint kind 'rfcom'; did you mean 'rfcomm'?"},
	{"RFCOMM", "unknown endpoint kind 'RFCOMM'; did you mean 'rfcomm'?"},
	{"bus:/dev/ttyS0", "unknown endpoint kind 'bus'; use rfcomm, l2cap, "
			   "tcp, tls, unix, pty or serial"},
	{"/run/x",
	 "unknown endpoint kind '/run/x'; use rfcomm, l2cap, tcp, tls, "
	 "unix, pty or serial"},
	{"127.0.0.1:80", "unknown endpoint kind '127.0.0.1'; use rfcomm, "
			 "l2cap, tcp, tls, unix, pty or serial"},
	{"file:/run/x", "'file' is for connect only; listen takes rfcomm, "
			"l2cap, tcp, tls, unix, pty or serial"},
	{"echo",
	 "'echo' is for connect only; listen takes rfcomm, l2cap, tcp, tls, "
	 "unix, pty or serial"},
	{"\abad",
	 "unknown endpoint kind '?bad'; use rfcomm, l2cap, tcp, tls, unix, "
	 "pty or serial"},
	{"tcp", "tcp needs more; write tcp:[HOST:]PORT"},
	{"tcp:", "nothing after 'tcp:'; write tcp:[HOST:]PORT"},
	{"tcp:0", "'0' is not a TCP port (1 to 65535); write tcp:[HOST:]PORT, "
		  "with * as HOST for every address"},
	{"tcp:65536", "'65536' is not a TCP port (1 to 65535); write "
		      "tcp:[HOST:]PORT, with * as HOST for every address"},
	{"tcp::80", "no host before the colon in ':80'; write tcp:[HOST:]PORT, "
		    "with * as HOST for every address"},
	{"tcp:host:80", "cannot listen on 'host'; write one of this machine's "
			"addresses, localhost, or * for every address"},
	{"tcp:[::1]", "no port after the bracket in '[::1]'; write "
		      "tcp:[HOST:]PORT, with * as HOST for every address"},
	{"tcp:[::1", "no closing bracket in '[::1'; write tcp:[HOST:]PORT, "
		     "with * as HOST for every address"},
	{"tcp:[::1]80", "no port after the bracket in '[::1]80'; write "
			"tcp:[HOST:]PORT, with * as HOST for every address"},
	{"tcp:[fe80::1%eth0]:80",
	 "cannot listen on 'fe80::1%eth0'; write one of this machine's "
	 "addresses, localhost, or * for every address"},
	{"tcp:::1:80", "'::1' has more than one colon; an IPv6 address goes in "
		       "brackets: [::1]:2000"},
	{"tcp:[zz::]:80", "'zz::' is not an IPv6 address"},
	{"tcp:[::1%]:80", "'::1%' is not an IPv6 address"},
	{"tcp:300.1.1.1:80", "'300.1.1.1' is not an IPv4 address"},
	{"tcp:1.2.3:80", "'1.2.3' is not an IPv4 address"},
	{"tcp:a b:80", "'a b' is not a host name or address"},
	{"tcp:localhost", "'localhost' is not a TCP port (1 to 65535); write "
			  "tcp:[HOST:]PORT, with * as HOST for every address"},
	{"tcp:localhost:", "'' is not a TCP port (1 to 65535); write "
			   "tcp:[HOST:]PORT, with * as HOST for every address"},
	{"tcp:localhost:http",
	 "'http' is not a TCP port (1 to 65535); write tcp:[HOST:]PORT, with * "
	 "as HOST for every address"},
	{"tcp:80,mode=0660", "unknown option 'mode' of tcp; use keepalive, "
			     "pack-until, pack-gap or pack-size"},
	{"tcp:80,keepaliv=5s",
	 "unknown option 'keepaliv' of tcp; did you mean 'keepalive'?"},
	{"tcp:80,keepalive",
	 "option 'keepalive' needs a value, like keepalive=60s"},
	{"tcp:80,keepalive=",
	 "option 'keepalive' needs a value, like keepalive=60s"},
	{"tcp:80,keepalive=60", "keepalive: '60' has no unit; write ms, s, m "
				"or h after it, like 500ms or 5s"},
	{"tcp:80,keepalive=1500ms", "keepalive '1500ms' is not in whole "
				    "seconds from 1s to 32767s, or off"},
	{"tcp:80,keepalive=10h", "keepalive '10h' is not in whole seconds "
				 "from 1s to 32767s, or off"},
	{"tcp:80,keepalive=1s,keepalive=2s",
	 "option 'keepalive' is given twice"},
	{"tcp:80,", "no option's name after a comma"},
	{"tcp:80,=5", "no option's name before '='"},
	{"tcp:80,,keepalive=5s", "no option's name after a comma"},
	{"tcp:80,keepalive=\"5s", "the quote in '\"5s' is never closed (\" ;\" "
				  "starts a comment: write \" \\;\")"},
	{"tcp:80,keepalive=\"5s\"x",
	 "there is more text after the closing quote in '\"5s\"x'"},
	{"unix:", "nothing after 'unix:'; write unix:/PATH"},
	{"unix", "unix needs more; write unix:/PATH"},
	{"unix:run/a", "'run/a' is not an absolute path; write unix:/PATH"},
	{"unix:@abstract",
	 "'@abstract' is an abstract socket, which has no owner and no mode: "
	 "not supported; write unix:/PATH"},
	{"unix:/", "'/' is a directory; add a file's name to it"},
	{"unix:/run/", "'/run/' is a directory; add a file's name to it"},
	{"unix:/run/..", "'/run/..' is a directory; add a file's name to it"},
	{"unix:/run/.", "'/run/.' is a directory; add a file's name to it"},
	{"unix:/run/a\tb", "a control character in the path '/run/a?b'"},
	{"unix:\"/run/a", "the quote in '\"/run/a' is never closed (\" ;\" "
			  "starts a comment: write \" \\;\")"},
	{"unix:/run/\"a\"", "the quotes in '/run/\"a\"' must be around the "
			    "whole value (inside of them, write \\\")"},
	{"unix:/a,mode=0", "mode '0' is not octal 0001 to 0777, like 0660"},
	{"unix:/a,mode=1000",
	 "mode '1000' is not octal 0001 to 0777, like 0660"},
	{"unix:/a,mode=888", "mode '888' is not octal 0001 to 0777, like 0660"},
	{"unix:/a,mode=00660",
	 "mode '00660' is not octal 0001 to 0777, like 0660"},
	{"unix:/a,mode=", "option 'mode' needs a value, like mode=0660"},
	{"unix:/a,owner=-x", "'-x' is not a user; write a name or number, at "
			     "most 64 of A-Z a-z 0-9 . _ - @ $ +"},
	{"unix:/a,owner=a b", "'a b' is not a user; write a name or number, at "
			      "most 64 of A-Z a-z 0-9 . _ - @ $ +"},
	{"unix:/a,group=a:b", "'a:b' is not a group; write a name or number, "
			      "at most 64 of A-Z a-z 0-9 . _ - @ $ +"},
	{"unix:/a,when-closed=keep",
	 "unknown option 'when-closed' of unix; use mode, owner, group, "
	 "seqpacket, pack-until, pack-gap or pack-size"},
	{"unix:/a,grup=x",
	 "unknown option 'grup' of unix; did you mean 'group'?"},
};

static const struct good good_connect[] = {
	{"tcp:localhost:80", "tcp:localhost:80"},
	{"tcp:Example.COM:80", "tcp:example.com:80"},
	{"tcp:my_host-1.lan:443", "tcp:my_host-1.lan:443"},
	{"tcp:[fe80::1%eth0]:80", "tcp:[fe80::1%eth0]:80"},
	{"tcp:[2001:DB8:0:0::1]:80,keepalive=2m",
	 "tcp:[2001:db8::1]:80,keepalive=2m"},
	{"unix:/run/a", "unix:/run/a"},
	{"pty:/run/btgate/gps", "pty:/run/btgate/gps"},
	{"pty:/run/gps,mode=0660,owner=a,group=b,when-closed=discard",
	 "pty:/run/gps,mode=0660,owner=a,group=b,when-closed=discard"},
	{"pty:/run/gps,when-closed=keep", "pty:/run/gps"},
	{"pty:\"/a\\\\b\\\"c\"", "pty:\"/a\\\\b\\\"c\""},
	{"pty:/a\\b", "pty:\"/a\\\\b\""},
	{"echo", "echo"},
	{" echo ", "echo"},
};

static const struct bad bad_connect[] = {
	{"pty:\" /x \",group=tty",
	 "' /x ' is not an absolute path; write pty:/PATH"},
	{"tcp:80", "no host in '80'; write tcp:HOST:PORT"},
	{"tcp:*:80",
	 "'*' is for listening; to connect, write the host's name or address"},
	{"tcp:0.0.0.0:80", "'0.0.0.0' is for listening; to connect, write the "
			   "host's name or address"},
	{"tcp:[::]:80",
	 "'::' is for listening; to connect, write the host's name or address"},
	{"tcp:-a:80", "'-a' is not a host name or address"},
	{"tcp:a..b:80", "'a..b' is not a host name or address"},
	{"echo:", "echo takes no address ('')"},
	{"echo:x", "echo takes no address ('x')"},
	{"echo,mode=1", "unknown option 'mode'; echo takes no options"},
	{"ecoh", "unknown endpoint kind 'ecoh'; did you mean 'echo'?"},
	{"unix:/a,mode=0600", "option 'mode' of unix is for listen only"},
	{"unix:/a,x=1", "unknown option 'x' of unix; use seqpacket, "
			"pack-until, pack-gap or pack-size"},
	{"pty:gps", "'gps' is not an absolute path; write pty:/PATH"},
	{"pty:/x,when-closed=drop",
	 "'drop' is not a choice for when-closed; use keep or discard"},
	{"pty:/x,when-closed=discrad",
	 "'discrad' is not a choice for when-closed; did you mean 'discard'?"},
	{"pty:/x,mod=0660",
	 "unknown option 'mod' of pty; did you mean 'mode'?"},
	{"pty:/x,mode", "option 'mode' needs a value, like mode=0660"},
};

static const struct good good_bluetooth[] = {
	{"00:11:22:AA:BB:CC", "00:11:22:AA:BB:CC"},
	{"aa:bb:cc:dd:ee:ff", "AA:BB:CC:DD:EE:FF"},
};

static const struct bad bad_bluetooth[] = {
	{"", "'' is not a Bluetooth address; write it like "
	     "00:11:22:AA:BB:CC"},
	{"00:11:22:AA:BB", "'00:11:22:AA:BB' is not a Bluetooth address; "
			   "write it like 00:11:22:AA:BB:CC"},
	{"00:11:22:AA:BB:CC:DD", "'00:11:22:AA:BB:CC:DD' is not a Bluetooth "
				 "address; write it like 00:11:22:AA:BB:CC"},
	{"00-11-22-AA-BB-CC", "'00-11-22-AA-BB-CC' is not a Bluetooth "
			      "address; write it like 00:11:22:AA:BB:CC"},
	{"00:11:22:AA:BB:CG", "'00:11:22:AA:BB:CG' is not a Bluetooth "
			      "address; write it like 00:11:22:AA:BB:CC"},
	{"0:11:22:AA:BB:CC:", "'0:11:22:AA:BB:CC:' is not a Bluetooth "
			      "address; write it like 00:11:22:AA:BB:CC"},
	{"00:00:00:00:00:00", "'00:00:00:00:00:00' is no device's Bluetooth "
			      "address"},
};

static const struct good good_uuid[] = {
	{"spp", "0x1101"},
	{"SPP", "0x1101"},
	{"1101", "0x1101"},
	{"0x1101", "0x1101"},
	{"0X110a", "0x110a"},
	{"00001101-0000-1000-8000-00805F9B34FB", "0x1101"},
	{"7d2ea28a-f7bd-485a-bd9d-92ad6ecfe93e",
	 "7d2ea28a-f7bd-485a-bd9d-92ad6ecfe93e"},
	{"00011101-0000-1000-8000-00805f9b34fb",
	 "00011101-0000-1000-8000-00805f9b34fb"},
};

static const struct bad bad_uuid[] = {
	{"", "'' is not a UUID; write spp, four hex digits "
	     "(0x1101) or all 36 characters "
	     "(00001101-0000-1000-8000-00805f9b34fb)"},
	{"0x", "'0x' is not a UUID; write spp, four hex digits "
	       "(0x1101) or all 36 characters "
	       "(00001101-0000-1000-8000-00805f9b34fb)"},
	{"0x110", "'0x110' is not a UUID; write spp, four hex "
		  "digits (0x1101) or all 36 characters "
		  "(00001101-0000-1000-8000-00805f9b34fb)"},
	{"0x11011", "'0x11011' is not a UUID; write spp, four hex "
		    "digits (0x1101) or all 36 characters "
		    "(00001101-0000-1000-8000-00805f9b34fb)"},
	{"110g", "'110g' is not a UUID; write spp, four hex "
		 "digits (0x1101) or all 36 characters "
		 "(00001101-0000-1000-8000-00805f9b34fb)"},
	{"7d2ea28a-f7bd-485a-bd9d-92ad6ecfe93",
	 "'7d2ea28a-f7bd-485a-bd9d-92ad6ecfe93' is not a "
	 "UUID; write spp, four hex digits (0x1101) or "
	 "all 36 characters "
	 "(00001101-0000-1000-8000-00805f9b34fb)"},
	{"7d2ea28a_f7bd-485a-bd9d-92ad6ecfe93e",
	 "'7d2ea28a_f7bd-485a-bd9d-92ad6ecfe93e' is not "
	 "a UUID; write spp, four hex digits (0x1101) or "
	 "all 36 characters "
	 "(00001101-0000-1000-8000-00805f9b34fb)"},
	{"7d2ea28a-f7bd-485a-bd9d-92ad6ecfe93g",
	 "'7d2ea28a-f7bd-485a-bd9d-92ad6ecfe93g' is not "
	 "a UUID; write spp, four hex digits (0x1101) or "
	 "all 36 characters "
	 "(00001101-0000-1000-8000-00805f9b34fb)"},
};

static const struct good good_adapter[] = {
	{"any", "any"},
	{"hci0", "hci0"},
	{"hci65534", "hci65534"},
	{"00:11:22:aa:bb:cc", "00:11:22:AA:BB:CC"},
};

static const struct bad bad_adapter[] = {
	{"hci", "'hci' is not an adapter; write any, hci0 (or "
		"another number), or the adapter's own address "
		"like 00:11:22:AA:BB:CC"},
	{"hci65535", "'hci65535' is not an adapter; write any, hci0 "
		     "(or another number), or the adapter's own "
		     "address like 00:11:22:AA:BB:CC"},
	{"hci-1", "'hci-1' is not an adapter; write any, hci0 (or "
		  "another number), or the adapter's own address "
		  "like 00:11:22:AA:BB:CC"},
	{"Any", "'Any' is not an adapter; write any, hci0 (or "
		"another number), or the adapter's own address "
		"like 00:11:22:AA:BB:CC"},
	{"", "'' is not an adapter; write any, hci0 (or "
	     "another number), or the adapter's own address "
	     "like 00:11:22:AA:BB:CC"},
	{"00:00:00:00:00:00", "'00:00:00:00:00:00' is not an adapter; write "
			      "any, hci0 (or another number), or the "
			      "adapter's own address like 00:11:22:AA:BB:CC"},
};

static const struct good good_security[] = {
	{"low", "low"},
	{"medium", "medium"},
	{"high", "high"},
	{"fips", "fips"},
};

static const struct bad bad_security[] = {
	{"hihg", "'hihg' is not a security level; did you mean "
		 "'high'?"},
	{"none", "'none' is not a security level; use low, "
		 "medium, high or fips"},
	{"", "'' is not a security level; use low, medium, "
	     "high or fips"},
};

static const struct good good_duration[] = {
	{"0s", "0s"},
	{"500ms", "500ms"},
	{"1000ms", "1s"},
	{"5s", "5s"},
	{"60s", "1m"},
	{"90s", "90s"},
	{"2m", "2m"},
	{"1h", "1h"},
	{"4294967295ms", "4294967295ms"},
	{"1193h", "1193h"},
};

static const struct bad bad_duration[] = {
	{"49d", "'49d' is not a duration; write a whole number "
		"and its unit (ms, s, m or h), like 500ms or 5s"},
	{"", "'' is not a duration; write a whole number and "
	     "its unit (ms, s, m or h), like 500ms or 5s"},
	{"5", "'5' has no unit; write ms, s, m or h after it, "
	      "like 500ms or 5s"},
	{"s", "'s' is not a duration; write a whole number "
	      "and its unit (ms, s, m or h), like 500ms or 5s"},
	{"5 s", "'5 s' is not a duration; write a whole number "
		"and its unit (ms, s, m or h), like 500ms or 5s"},
	{"1.5s", "'1.5s' is not a duration; write a whole number "
		 "and its unit (ms, s, m or h), like 500ms or 5s"},
	{"5sec", "'5sec' is not a duration; write a whole number "
		 "and its unit (ms, s, m or h), like 500ms or 5s"},
	{"-1s", "'-1s' is not a duration; write a whole number "
		"and its unit (ms, s, m or h), like 500ms or 5s"},
	{"4294967296ms", "'4294967296ms' is too long"},
	{"1194h", "'1194h' is too long"},
	{"99999999999999999999999999s",
	 "'99999999999999999999999999s' is too long"},
	{"00000000000000000000000001s",
	 "'00000000000000000000000001s' is too long"},
};

static const struct good good_quoted[] = {
	{"plain", "plain"},	      {"\"plain\"", "plain"},
	{"\"a,b\"", "\"a,b\""},	      {"\" a\"", "\" a\""},
	{"\"a\\\"b\"", "\"a\\\"b\""}, {"\"a\\\\b\"", "\"a\\\\b\""},
	{"\"a\\;b\"", "\"a\\;b\""},   {"\"\"", "\"\""},
};

static const struct bad bad_quoted[] = {
	{"\"", "the quote in '\"' is never closed (\" ;\" starts "
	       "a comment: write \" \\;\")"},
	{"\"a", "the quote in '\"a' is never closed (\" ;\" starts "
		"a comment: write \" \\;\")"},
	{"\"a\\", "the quote in '\"a\\' is never closed (\" ;\" "
		  "starts a comment: write \" \\;\")"},
	{"\"a\\\"", "the quote in '\"a\\\"' is never closed (\" ;\" "
		    "starts a comment: write \" \\;\")"},
	{"\"a\"b", "there is more text after the closing quote in "
		   "'\"a\"b'"},
	{"a\"b", "the quotes in 'a\"b' must be around the whole "
		 "value (inside of them, write \\\")"},
};

/* Each value parser as "text to printed text", for the tables above. */
static int print_endpoint(const char *text, enum endpoint_role role, char *out,
			  struct error *error)
{
	struct address_endpoint endpoint;
	int code = address_endpoint_parse(text, role, &endpoint, error);

	if (code == 0) {
		address_endpoint_format(&endpoint, role, out);
		address_endpoint_clear(&endpoint);
	}
	return code;
}

static int print_listen(const char *text, char *out, struct error *error)
{
	return print_endpoint(text, ENDPOINT_ROLE_LISTEN, out, error);
}

static int print_connect(const char *text, char *out, struct error *error)
{
	return print_endpoint(text, ENDPOINT_ROLE_CONNECT, out, error);
}

static int print_bluetooth(const char *text, char *out, struct error *error)
{
	struct address_bluetooth address;
	int code = address_bluetooth_parse(text, &address, error);

	if (code == 0)
		address_bluetooth_format(&address, out);
	return code;
}

static int print_uuid(const char *text, char *out, struct error *error)
{
	struct address_uuid uuid;
	int code = address_uuid_parse(text, &uuid, error);

	if (code == 0)
		address_uuid_format(&uuid, out);
	return code;
}

static int print_adapter(const char *text, char *out, struct error *error)
{
	struct address_adapter adapter;
	int code = address_adapter_parse(text, &adapter, error);

	if (code == 0)
		address_adapter_format(&adapter, out);
	return code;
}

static int print_security(const char *text, char *out, struct error *error)
{
	enum security_level level;
	int code = address_security_parse(text, &level, error);

	if (code == 0)
		strcpy(out, address_security_to_string(level));
	return code;
}

static int print_duration(const char *text, char *out, struct error *error)
{
	unsigned int ms;
	int code = address_duration_parse(text, &ms, error);

	if (code == 0)
		address_duration_format(ms, out);
	return code;
}

static int print_quoted(const char *text, char *out, struct error *error)
{
	char *copy = strdup(text);
	int code = text_parse_quoted(copy, error);

	if (code == 0)
		text_format_quoted(copy, out, ADDRESS_ENDPOINT_TEXT_BYTES);
	free(copy);
	return code;
}

#define TABLE(what)                                                   \
	{                                                             \
#what, print_##what, good_##what, COUNT(good_##what), \
			bad_##what, COUNT(bad_##what)                 \
	}

static const struct table {
	const char *name;
	int (*print)(const char *text, char *out, struct error *error);
	const struct good *good;
	size_t good_count;
	const struct bad *bad;
	size_t bad_count;
} tables[] = {
	TABLE(listen),	TABLE(connect),	 TABLE(bluetooth), TABLE(uuid),
	TABLE(adapter), TABLE(security), TABLE(duration),  TABLE(quoted),
};

START_TEST(parses_and_prints)
{
	const struct table *table = &tables[_i];

	for (size_t i = 0; i < table->good_count; i++) {
		const struct good *good = &table->good[i];
		char out[ADDRESS_ENDPOINT_TEXT_BYTES] = "";
		struct error error = {""};

		ck_assert_msg(table->print(good->text, out, &error) == 0,
			      "%s '%s': %s", table->name, good->text,
			      error.text);
		ck_assert_str_eq(out, good->printed);
		/* What is printed is canonical: it prints as itself. */
		ck_assert_int_eq(table->print(good->printed, out, &error), 0);
		ck_assert_str_eq(out, good->printed);
	}
}
END_TEST

START_TEST(refuses_with_a_sentence)
{
	const struct table *table = &tables[_i];

	for (size_t i = 0; i < table->bad_count; i++) {
		const struct bad *bad = &table->bad[i];
		char out[ADDRESS_ENDPOINT_TEXT_BYTES] = "";
		struct error error = {""};

		ck_assert_msg(table->print(bad->text, out, &error) == -EINVAL,
			      "%s '%s' was taken, as '%s'", table->name,
			      bad->text, out);
		ck_assert_str_eq(error.text, bad->error);
		/* An error that nobody wants is as good. */
		ck_assert_int_eq(table->print(bad->text, out, NULL), -EINVAL);
	}
}
END_TEST

/* @prefix with @count letters after it. */
static const char *grow(const char *prefix, size_t count, const char *suffix)
{
	static char text[2048];
	size_t length = strlen(prefix);

	strcpy(text, prefix);
	memset(text + length, 'p', count);
	strcpy(text + length + count, suffix);
	return text;
}

START_TEST(lengths_have_limits)
{
	char out[ADDRESS_ENDPOINT_TEXT_BYTES];
	struct error error;

	ck_assert_int_eq(print_listen(grow("unix:/", 106, ""), out, NULL), 0);
	ck_assert_int_lt(print_listen(grow("unix:/", 107, ""), out, &error), 0);
	ck_assert_ptr_nonnull(strstr(error.text, "...' is 108 bytes long; "
						 "unix takes at most 107"));
	ck_assert_int_eq(print_connect(grow("pty:/", 254, ""), out, NULL), 0);
	ck_assert_int_lt(print_connect(grow("pty:/", 255, ""), out, &error), 0);
	ck_assert_ptr_nonnull(strstr(error.text, "at most 255"));
	ck_assert_int_eq(print_connect(grow("tcp:", 253, ":1"), out, NULL), 0);
	ck_assert_int_lt(print_connect(grow("tcp:", 254, ":1"), out, NULL), 0);
	ck_assert_int_eq(
		print_connect(grow("pty:/a,owner=", 64, ""), out, NULL), 0);
	ck_assert_int_lt(
		print_connect(grow("pty:/a,owner=", 65, ""), out, NULL), 0);
}
END_TEST

START_TEST(longest_endpoint_fits)
{
	char text[2048] = "pty:\"/";
	char out[ADDRESS_ENDPOINT_TEXT_BYTES];
	char again[ADDRESS_ENDPOINT_TEXT_BYTES];
	struct error error = {""};

	for (size_t i = 0; i < 254; i++)
		strcat(text, "\\;");
	strcat(text, "\",mode=0777,when-closed=discard");
	strcat(text, grow(",owner=", 64, ""));
	strcat(text, grow(",group=", 64, ""));
	ck_assert_int_eq(print_connect(text, out, &error), 0);
	ck_assert_int_eq(print_connect(out, again, &error), 0);
	ck_assert_str_eq(out, again);
}
END_TEST

START_TEST(long_text_is_cut_in_errors)
{
	/* Two bytes for each letter; the cut must not leave half of one. */
	char text[512] = "";
	struct error error;

	for (size_t i = 0; i < 100; i++)
		strcat(text, "\xc3\xa4");
	ck_assert_int_lt(print_adapter(text, text + 300, &error), 0);
	ck_assert_ptr_nonnull(strstr(error.text, "\xa4...' is not"));
	ck_assert_int_lt(print_adapter(text + 1, text + 300, &error), 0);
	ck_assert_ptr_nonnull(strstr(error.text, "\xa4...' is not"));
}
END_TEST

START_TEST(fields_are_filled_in)
{
	struct address_endpoint endpoint;
	unsigned int ms;

	ck_assert_int_eq(address_endpoint_parse("tcp:[::1]:2000,keepalive=2m",
						ENDPOINT_ROLE_CONNECT,
						&endpoint, NULL),
			 0);
	ck_assert_int_eq(endpoint.kind, ENDPOINT_KIND_TCP);
	ck_assert_str_eq(endpoint.tcp.host, "::1");
	ck_assert_uint_eq(endpoint.tcp.port, 2000);
	ck_assert_uint_eq(endpoint.tcp.keepalive_s, 120);
	address_endpoint_clear(&endpoint);
	address_endpoint_clear(&endpoint);

	ck_assert_int_eq(
		address_endpoint_parse("pty:/a,mode=0640,owner=o,group=g,"
				       "when-closed=discard",
				       ENDPOINT_ROLE_CONNECT, &endpoint, NULL),
		0);
	ck_assert_str_eq(endpoint.pty.path, "/a");
	ck_assert_uint_eq(endpoint.pty.access.mode, 0640);
	ck_assert_str_eq(endpoint.pty.access.owner, "o");
	ck_assert_str_eq(endpoint.pty.access.group, "g");
	ck_assert_int_eq(endpoint.pty.when_closed, PTY_WHEN_CLOSED_DISCARD);
	address_endpoint_clear(&endpoint);

	ck_assert_int_eq(address_duration_parse("2m", &ms, NULL), 0);
	ck_assert_uint_eq(ms, 120000);
}
END_TEST

START_TEST(short_uuids)
{
	struct address_uuid uuid, other;

	ck_assert_int_eq(address_uuid_parse("spp", &uuid, NULL), 0);
	ck_assert_int_eq(address_uuid_short(&uuid), 0x1101);
	ck_assert_int_eq(uuid.octets[3], 0x01);
	ck_assert_int_eq(uuid.octets[15], 0xfb);
	/* A 32-bit one over the same base is not short. */
	ck_assert_int_eq(
		address_uuid_parse("00011101-0000-1000-8000-00805f9b34fb",
				   &other, NULL),
		0);
	ck_assert_int_eq(address_uuid_short(&other), -1);
	ck_assert(!address_uuid_is_equal(&uuid, &other));
	ck_assert(address_uuid_is_equal(&uuid, &uuid));
}
END_TEST

#define L ENDPOINT_ROLE_LISTEN
#define C ENDPOINT_ROLE_CONNECT

static const struct conflict {
	enum endpoint_role a_role;
	const char *a;
	const char *a_adapter;
	enum endpoint_role b_role;
	const char *b;
	const char *b_adapter;
	bool is_conflict;
} conflicts[] = {
	{L, "rfcomm:3", "any", L, "rfcomm:3", "any", true},
	{L, "rfcomm:3", "any", L, "rfcomm:4", "any", false},
	{L, "rfcomm", "any", L, "rfcomm", "any", false},
	{L, "rfcomm", "any", L, "rfcomm:1", "any", false},
	{L, "rfcomm:3", "any", L, "rfcomm:3", "hci0", true},
	{L, "rfcomm:3", "hci0", L, "rfcomm:3", "hci0", true},
	{L, "rfcomm:3", "hci0", L, "rfcomm:3", "hci1", false},
	{L, "rfcomm:3", "00:11:22:33:44:55", L, "rfcomm:3", "00:11:22:33:44:55",
	 true},
	{L, "rfcomm:3", "00:11:22:33:44:55", L, "rfcomm:3", "00:11:22:33:44:56",
	 false},
	{L, "rfcomm:3", "hci0", L, "rfcomm:3", "00:11:22:33:44:55", false},
	{L, "tcp:80", "any", L, "tcp:80", "any", true},
	{L, "tcp:80", "any", L, "tcp:81", "any", false},
	{L, "tcp:80", "hci0", L, "tcp:80", "hci1", true},
	{L, "tcp:*:80", "any", L, "tcp:10.0.0.1:80", "any", true},
	{L, "tcp:*:80", "any", L, "tcp:[::1]:80", "any", true},
	{L, "tcp:*:80", "any", L, "tcp:*:80", "any", true},
	{L, "tcp:0.0.0.0:80", "any", L, "tcp:10.0.0.1:80", "any", true},
	{L, "tcp:0.0.0.0:80", "any", L, "tcp:[::1]:80", "any", false},
	{L, "tcp:0.0.0.0:80", "any", L, "tcp:[::]:80", "any", true},
	{L, "tcp:[::]:80", "any", L, "tcp:10.0.0.1:80", "any", true},
	{L, "tcp:10.0.0.1:80", "any", L, "tcp:10.0.0.2:80", "any", false},
	{L, "tcp:localhost:80", "any", L, "tcp:127.0.0.1:80", "any", true},
	{L, "tcp:localhost:80", "any", L, "tcp:[::1]:80", "any", true},
	{L, "tcp:localhost:80", "any", L, "tcp:127.0.0.2:80", "any", false},
	{L, "tcp:localhost:80", "any", L, "tcp:LOCALHOST:80", "any", true},
	{L, "tcp:[0::1]:80", "any", L, "tcp:[::0:1]:80", "any", true},
	{L, "tcp:80", "any", C, "tcp:127.0.0.1:80", "any", false},
	{C, "tcp:h:80", "any", C, "tcp:h:80", "any", false},
	{L, "unix:/a", "any", L, "unix:/a", "any", true},
	{L, "unix:/a/b", "any", L, "unix://a/./b", "any", true},
	{L, "unix:/a/b", "any", L, "unix:/a/bc", "any", false},
	{L, "unix:/a/b", "any", L, "unix:/a/b/c", "any", false},
	{L, "unix:/a", "any", C, "unix:/a", "any", false},
	{C, "unix:/a", "any", C, "unix:/a", "any", false},
	{C, "pty:/a", "any", C, "pty:/a", "any", true},
	{C, "pty:/a", "any", C, "pty:/b", "any", false},
	{L, "unix:/a", "any", C, "pty:/a", "any", true},
	{C, "unix:/a", "any", C, "pty:/a", "any", false},
	{C, "echo", "any", C, "echo", "any", false},
	{L, "rfcomm:3", "any", L, "tcp:3", "any", false},
};

START_TEST(conflicts_are_found)
{
	const struct conflict *row = &conflicts[_i];
	struct address_adapter a_adapter, b_adapter;
	struct address_endpoint a, b;

	ck_assert_int_eq(address_endpoint_parse(row->a, row->a_role, &a, NULL),
			 0);
	ck_assert_int_eq(address_endpoint_parse(row->b, row->b_role, &b, NULL),
			 0);
	address_adapter_parse(row->a_adapter, &a_adapter, NULL);
	address_adapter_parse(row->b_adapter, &b_adapter, NULL);
	ck_assert_msg(address_endpoint_is_conflict(
			      &a, row->a_role, &a_adapter, &b, row->b_role,
			      &b_adapter) == row->is_conflict,
		      "%s with %s", row->a, row->b);
	ck_assert_msg(address_endpoint_is_conflict(
			      &b, row->b_role, &b_adapter, &a, row->a_role,
			      &a_adapter) == row->is_conflict,
		      "%s with %s", row->b, row->a);
	address_endpoint_clear(&a);
	address_endpoint_clear(&b);
}
END_TEST

static const struct loop_case {
	const char *listen;
	const char *connect;
	bool is_loop;
} loops[] = {
	{"tcp:80", "tcp:127.0.0.1:80", true},
	{"tcp:80", "tcp:localhost:80", true},
	{"tcp:80", "tcp:127.0.0.1:81", false},
	{"tcp:80", "tcp:127.0.0.2:80", false},
	{"tcp:*:80", "tcp:127.0.0.2:80", true},
	{"tcp:*:80", "tcp:[::1]:80", true},
	{"tcp:*:80", "tcp:10.0.0.1:80", false},
	{"tcp:0.0.0.0:80", "tcp:[::1]:80", false},
	{"tcp:0.0.0.0:80", "tcp:localhost:80", true},
	{"unix:/a", "unix://a", true},
	{"unix:/a", "unix:/b", false},
	{"unix:/a", "pty:/a", false},
	{"rfcomm", "echo", false},
};

START_TEST(loops_are_found)
{
	const struct loop_case *row = &loops[_i];
	struct address_endpoint listen, connect;

	ck_assert_int_eq(address_endpoint_parse(row->listen, L, &listen, NULL),
			 0);
	ck_assert_int_eq(
		address_endpoint_parse(row->connect, C, &connect, NULL), 0);
	ck_assert_msg(address_endpoint_is_loop(&listen, &connect) ==
			      row->is_loop,
		      "%s to %s", row->listen, row->connect);
	address_endpoint_clear(&listen);
	address_endpoint_clear(&connect);
}
END_TEST

START_TEST(security_depends_on_the_kind)
{
	struct address_endpoint rfcomm, tcp;
	struct error error = {""};

	ck_assert_int_eq(address_endpoint_parse("rfcomm", L, &rfcomm, NULL), 0);
	ck_assert_int_eq(address_endpoint_parse("tcp:80", L, &tcp, NULL), 0);
	ck_assert(address_endpoint_is_bluetooth(&rfcomm));
	ck_assert(!address_endpoint_is_bluetooth(&tcp));
	ck_assert_int_eq(address_endpoint_check_security(
				 &rfcomm, SECURITY_LEVEL_HIGH, &error),
			 0);
	ck_assert_int_eq(address_endpoint_check_security(
				 &rfcomm, SECURITY_LEVEL_FIPS, &error),
			 -EINVAL);
	ck_assert_str_eq(error.text, "security 'fips' is not to be had with "
				     "rfcomm; the most is 'high'");
	ck_assert_int_eq(address_endpoint_check_security(
				 &tcp, SECURITY_LEVEL_FIPS, &error),
			 0);
	address_endpoint_clear(&tcp);
	address_endpoint_clear(&rfcomm);
}
END_TEST

static const struct suggestion {
	const char *text;
	const char *word;
} suggestions[] = {
	{"conect", "connect"},
	{"connnect", "connect"},
	{"Connect", "connect"},
	{"tpc", "tcp"},
	{"tcpp", "tcp"},
	{"cnoenct", "connect"},
	{"listne", "listen"},
	{"lisn", NULL},
	{"listen", "listen"},
	{"", NULL},
	{"t", NULL},
	{"xyz", NULL},
	{"connectconnectconnectconnectconnect", NULL},
};

START_TEST(suggestions_are_near)
{
	static const char *const words[] = {
		"tcp", "listen", "connect",
		"a-word-that-is-longer-than-anything-here", NULL};
	const char *word = text_suggest_word(suggestions[_i].text, words);

	ck_assert_pstr_eq(word, suggestions[_i].word);
}
END_TEST

START_TEST(choices_are_listed)
{
	static const char *const one[] = {"only", NULL};
	static const char *const three[] = {"aa", "bb", "cc", NULL};
	struct error error;

	ck_assert_int_eq(text_refuse_choice(&error, "x", one, "%d", 7),
			 -EINVAL);
	ck_assert_str_eq(error.text, "7; use only");
	text_refuse_choice(&error, "x", three, "no");
	ck_assert_str_eq(error.text, "no; use aa, bb or cc");
}
END_TEST

/* The room that the header promises is enough, to the byte. */
START_TEST(quoting_takes_no_more_room)
{
	char out[2 * 3 + 3];

	text_format_quoted("\"\\;", out, sizeof(out));
	ck_assert_str_eq(out, "\"\\\"\\\\\\;\"");
	text_format_quoted("", out, 3);
	ck_assert_str_eq(out, "\"\"");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("address");
	TCase *test = tcase_create("address");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(test, parses_and_prints, 0, COUNT(tables));
	tcase_add_loop_test(test, refuses_with_a_sentence, 0, COUNT(tables));
	tcase_add_test(test, lengths_have_limits);
	tcase_add_test(test, longest_endpoint_fits);
	tcase_add_test(test, long_text_is_cut_in_errors);
	tcase_add_test(test, fields_are_filled_in);
	tcase_add_test(test, short_uuids);
	tcase_add_loop_test(test, conflicts_are_found, 0, COUNT(conflicts));
	tcase_add_loop_test(test, loops_are_found, 0, COUNT(loops));
	tcase_add_test(test, security_depends_on_the_kind);
	tcase_add_loop_test(test, suggestions_are_near, 0, COUNT(suggestions));
	tcase_add_test(test, choices_are_listed);
	tcase_add_test(test, quoting_takes_no_more_room);
	suite_add_tcase(suite, test);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
