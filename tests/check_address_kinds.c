/* SPDX-License-Identifier: MIT */
/* The kinds of endpoints beside rfcomm's listen, tcp and unix; and peers. */
#include "address_endpoint.h"
#include "address_peer.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address_serial.h"
#include "error.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Text that parses, and how it prints; or text that does not, and the error. */
struct row {
	const char *text;
	const char *result;
};

static const struct row good_listen[] = {
	{"l2cap", "l2cap:auto"},
	{"l2cap:auto", "l2cap:auto"},
	{"l2cap:4097", "l2cap:0x1001"},
	{"l2cap:0x1001", "l2cap:0x1001"},
	{"l2cap:0X19", "l2cap:0x0019"},
	{"l2cap:auto,seqpacket,mode=basic,mtu=65535,flush-timeout=1279ms",
	 "l2cap:auto,mode=basic,mtu=65535,flush-timeout=1279ms,seqpacket"},
	{"l2cap:0xfeff,mode=ertm,mtu=48", "l2cap:0xfeff,mtu=48"},
	{"l2cap,mode=streaming,flush-timeout=1ms",
	 "l2cap:auto,mode=streaming,flush-timeout=1ms"},
	{"rfcomm:3,pack-until=\\n,pack-gap=10s,pack-size=65536",
	 "rfcomm:3,pack-until=\\n,pack-gap=10s,pack-size=65536"},
	{"tls:443,cert=/a,key=/b", "tls:127.0.0.1:443,cert=/a,key=/b"},
	{"tls:*:443,keepalive=20s,ca=\"/c,d\",key=/a,cert=/a,pack-size=1",
	 "tls:*:443,cert=/a,key=/a,ca=\"/c,d\",keepalive=20s,pack-size=1"},
	{"unix:/run/a,seqpacket", "unix:/run/a,seqpacket"},
	{"unix:/run/a,pack-size=1", "unix:/run/a,pack-size=1"},
	{"pty:/run/a,mode=600,owner=root,group=tty",
	 "pty:/run/a,mode=0600,owner=root,group=tty"},
	{"serial:/dev/ttyS0", "serial:/dev/ttyS0,115200n81"},
	{"serial:/dev/ttyS0,9600", "serial:/dev/ttyS0,9600n81"},
	{"serial:/dev/ttyS0,local,50O52,xonxoff,rtscts",
	 "serial:/dev/ttyS0,50o52,rtscts,xonxoff,local"},
	{"serial:\"/dev/serial/by-id/a,b\",4000000n81,pack-gap=5ms",
	 "serial:\"/dev/serial/by-id/a,b\",4000000n81,pack-gap=5ms"},
	{"tcp:80,pack-until=;", "tcp:127.0.0.1:80,pack-until=\\x3B"},
	{"tcp:80,pack-until=x", "tcp:127.0.0.1:80,pack-until=x"},
	{"tcp:80,pack-until=\",\"", "tcp:127.0.0.1:80,pack-until=\\x2C"},
	{"tcp:80,pack-until=\"\\n\"", "tcp:127.0.0.1:80,pack-until=\\n"},
	{"tcp:80,pack-until=\" \"", "tcp:127.0.0.1:80,pack-until=\\x20"},
	{"tcp:80,pack-until=\\r", "tcp:127.0.0.1:80,pack-until=\\r"},
	{"tcp:80,pack-until=\\t", "tcp:127.0.0.1:80,pack-until=\\t"},
	{"tcp:80,pack-until=\\0", "tcp:127.0.0.1:80,pack-until=\\0"},
	{"tcp:80,pack-until=\\x00", "tcp:127.0.0.1:80,pack-until=\\0"},
	{"tcp:80,pack-until=\\xFf", "tcp:127.0.0.1:80,pack-until=\\xFF"},
	{"tcp:80,pack-until=\\x41", "tcp:127.0.0.1:80,pack-until=A"},
	{"tcp:80,pack-until=\\\\", "tcp:127.0.0.1:80,pack-until=\\x5C"},
	{"tcp:80,pack-until=\"\\\"\"", "tcp:127.0.0.1:80,pack-until=\\x22"},
};

static const struct row bad_listen[] = {
	{"l2cap:0x1002", "'0x1002' is not a PSM: those are odd, and bit 8 "
			 "(0x0100) is clear; the next one is 0x1003"},
	{"l2cap:0x1101", "'0x1101' is not a PSM: those are odd, and bit 8 "
			 "(0x0100) is clear; the next one is 0x1201"},
	{"l2cap:0xff00", "'0xff00' is not a PSM; write 0x0001 to 0xFEFF (or "
			 "decimal), or auto for the first free one"},
	{"l2cap:65535", "'65535' is not a PSM; write 0x0001 to 0xFEFF (or "
			"decimal), or auto for the first free one"},
	{"l2cap:65536", "'65536' is not a PSM; write 0x0001 to 0xFEFF (or "
			"decimal), or auto for the first free one"},
	{"l2cap:0", "'0' is not a PSM; write 0x0001 to 0xFEFF (or decimal), or "
		    "auto for the first free one"},
	{"l2cap:0x", "'0x' is not a PSM; write 0x0001 to 0xFEFF (or decimal), "
		     "or auto for the first free one"},
	{"l2cap:0x10001", "'0x10001' is not a PSM; write 0x0001 to 0xFEFF (or "
			  "decimal), or auto for the first free one"},
	{"l2cap:1101h", "'1101h' is not a PSM; write 0x0001 to 0xFEFF (or "
			"decimal), or auto for the first free one"},
	{"l2cap:00:11:22:33:44:55/0x1001",
	 "'00:11:22:33:44:55/0x1001' is not a PSM; write 0x0001 to 0xFEFF (or "
	 "decimal), or auto for the first free one"},
	{"l2cap,mode=stream",
	 "'stream' is not a mode of l2cap; use ertm, streaming or basic"},
	{"l2cap,mode=etrm",
	 "'etrm' is not a mode of l2cap; did you mean 'ertm'?"},
	{"l2cap,mode", "option 'mode' needs a value, like mode=basic"},
	{"l2cap,mtu=47", "mtu '47' is not a number of bytes, 48 to 65535"},
	{"l2cap,mtu=65536",
	 "mtu '65536' is not a number of bytes, 48 to 65535"},
	{"l2cap,mode=basic,flush-timeout=0ms",
	 "flush-timeout '0ms' is not 1ms to 1279ms, which is what an adapter "
	 "can do; without it nothing is dropped"},
	{"l2cap,mode=basic,flush-timeout=1280ms",
	 "flush-timeout '1280ms' is not 1ms to 1279ms, which is what an "
	 "adapter can do; without it nothing is dropped"},
	{"l2cap,mode=basic,flush-timeout=100",
	 "flush-timeout: '100' has no unit; write ms, s, m or h after it, like "
	 "500ms or 5s"},
	{"l2cap,flush-timeout=100ms",
	 "flush-timeout needs mode=streaming or mode=basic: ertm would send "
	 "again what was dropped"},
	{"l2cap,seqpacket=yes", "option 'seqpacket' takes no value ('yes'); "
				"write seqpacket alone, or leave it out"},
	{"l2cap,seqpackte",
	 "unknown option 'seqpackte' of l2cap; did you mean 'seqpacket'?"},
	{"l2cap,seqpacket=", "option 'seqpacket' takes no value (''); write "
			     "seqpacket alone, or leave it out"},
	{"l2cap,seqpacket,seqpacket", "option 'seqpacket' is given twice"},
	{"l2cap,seqpacket,pack-until=\\n",
	 "pack-until is for a stream of bytes; with seqpacket, what arrives is "
	 "in packets already"},
	{"l2cap,pack-gap=1ms,seqpacket",
	 "pack-gap is for a stream of bytes; with seqpacket, what arrives is "
	 "in packets already"},
	{"unix:/run/a,pack-size=1,seqpacket",
	 "pack-size is for a stream of bytes; with seqpacket, what arrives is "
	 "in packets already"},
	{"pty:/run/a,when-closed=keep",
	 "option 'when-closed' of pty is for connect only"},
	{"serial", "serial needs more; write serial:/dev/TTY[,115200n81]"},
	{"serial:ttyS0", "'ttyS0' is not an absolute path; write serial:/PATH"},
	{"serial:/dev/ttyS0,115200,8n1",
	 "'8n1' is not the speed and form of a serial line; write the speed, "
	 "then n, e or o (parity), 5 to 8 data bits, 1 or 2 stop bits: "
	 "115200n81 for 115200 8N1"},
	{"serial:/dev/ttyS0,115000",
	 "'115000' has no speed of a serial port in it; the nearest is 115200"},
	{"serial:/dev/ttyS0,0",
	 "'0' has no speed of a serial port in it; the nearest is 50"},
	{"serial:/dev/ttyS0,99999999999",
	 "'99999999999' has no speed of a serial port in it; the nearest is "
	 "4000000"},
	{"serial:/dev/ttyS0,9600n8",
	 "'9600n8' is not the speed and form of a serial line; write the "
	 "speed, then n, e or o (parity), 5 to 8 data bits, 1 or 2 stop bits: "
	 "115200n81 for 115200 8N1"},
	{"serial:/dev/ttyS0,9600n91",
	 "'9600n91' is not the speed and form of a serial line; write the "
	 "speed, then n, e or o (parity), 5 to 8 data bits, 1 or 2 stop bits: "
	 "115200n81 for 115200 8N1"},
	{"serial:/dev/ttyS0,9600n83",
	 "'9600n83' is not the speed and form of a serial line; write the "
	 "speed, then n, e or o (parity), 5 to 8 data bits, 1 or 2 stop bits: "
	 "115200n81 for 115200 8N1"},
	{"serial:/dev/ttyS0,9600m81",
	 "'9600m81' is not the speed and form of a serial line; write the "
	 "speed, then n, e or o (parity), 5 to 8 data bits, 1 or 2 stop bits: "
	 "115200n81 for 115200 8N1"},
	{"serial:/dev/ttyS0,9600n811",
	 "'9600n811' is not the speed and form of a serial line; write the "
	 "speed, then n, e or o (parity), 5 to 8 data bits, 1 or 2 stop bits: "
	 "115200n81 for 115200 8N1"},
	{"serial:/dev/ttyS0,9600,9600", "option '9600' is given twice"},
	{"serial:/dev/ttyS0,rtscts=no",
	 "option 'rtscts' takes no value ('no'); write rtscts alone, or leave "
	 "it out"},
	{"serial:/dev/ttyS0,n81",
	 "unknown option 'n81' of serial; use 115200n81, rtscts, xonxoff, "
	 "local, pack-until, pack-gap or pack-size"},
	{"file:/a", "'file' is for connect only; listen takes rfcomm, l2cap, "
		    "tcp, tls, unix, pty or serial"},
	{"exec:/bin/true", "'exec' is for connect only; listen takes rfcomm, "
			   "l2cap, tcp, tls, unix, pty or serial"},
	{"tls", "tls needs more; write tls:[HOST:]PORT,cert=FILE,key=FILE"},
	{"tls:0", "'0' is not a TCP port (1 to 65535); write tls:[HOST:]PORT, "
		  "with * as HOST for every address"},
	{"tls:443", "who listens needs a certificate: add cert=FILE,key=FILE"},
	{"tls:443,ca=/a",
	 "who listens needs a certificate: add cert=FILE,key=FILE"},
	{"tls:443,cert=/a",
	 "cert needs key=FILE beside it, which may be the same file"},
	{"tls:443,key=/a",
	 "key needs cert=FILE beside it, which may be the same file"},
	{"tls:443,cert=a,key=/a",
	 "cert 'a' is not an absolute path; write cert=/PATH"},
	{"tls:443,cert=/a,key=/\ab", "a control character in key '/?b'"},
	{"tls:443,cert=/a,key=/a,name=b",
	 "option 'name' of tls is for connect only"},
	{"tls:443,ca", "option 'ca' needs a value, like ca=/etc/btgate/ca.pem"},
	{"tls:443,crt=/a", "unknown option 'crt' of tls; did you mean 'cert'?"},
	{"tcp:80,pack-until=",
	 "option 'pack-until' needs a value, like pack-until=\\n"},
	{"tcp:80,pack-until=ab",
	 "pack-until 'ab' is not one character; write it as it is (a comma in "
	 "double quotes), or \\n, \\r, \\t, \\0 or, in hex, \\x1B"},
	{"tcp:80,pack-until=\\r\\n",
	 "pack-until takes one character; for lines that end in \\r\\n write "
	 "pack-until=\\n"},
	{"tcp:80,pack-until=\\",
	 "pack-until '\\' is not one character; write it as it is (a comma in "
	 "double quotes), or \\n, \\r, \\t, \\0 or, in hex, \\x1B"},
	{"tcp:80,pack-until=\\q",
	 "pack-until '\\q' is not one character; write it as it is (a comma in "
	 "double quotes), or \\n, \\r, \\t, \\0 or, in hex, \\x1B"},
	{"tcp:80,pack-until=\\x1",
	 "pack-until '\\x1' is not one character; write it as it is (a comma "
	 "in double quotes), or \\n, \\r, \\t, \\0 or, in hex, \\x1B"},
	{"tcp:80,pack-until=\\x1g",
	 "pack-until '\\x1g' is not one character; write it as it is (a comma "
	 "in double quotes), or \\n, \\r, \\t, \\0 or, in hex, \\x1B"},
	{"tcp:80,pack-until=\\x123",
	 "pack-until '\\x123' is not one character; write it as it is (a comma "
	 "in double quotes), or \\n, \\r, \\t, \\0 or, in hex, \\x1B"},
	{"tcp:80,pack-until=\"\"",
	 "pack-until '\"\"' is not one character; write it as it is (a comma "
	 "in double quotes), or \\n, \\r, \\t, \\0 or, in hex, \\x1B"},
	{"tcp:80,pack-until=ä",
	 "pack-until 'ä' is not one character; write it as it is (a comma in "
	 "double quotes), or \\n, \\r, \\t, \\0 or, in hex, \\x1B"},
	{"tcp:80,pack-gap=0ms", "pack-gap '0ms' is not 1ms to 10s"},
	{"tcp:80,pack-gap=10001ms", "pack-gap '10001ms' is not 1ms to 10s"},
	{"tcp:80,pack-size=0",
	 "pack-size '0' is not a number of bytes, 1 to 65536"},
	{"tcp:80,pack-size=65537",
	 "pack-size '65537' is not a number of bytes, 1 to 65536"},
	{"tcp:80,pack-until=a,pack-until=a",
	 "option 'pack-until' is given twice"},
};

static const struct row good_connect[] = {
	{"tls:Host:443", "tls:host:443"},
	{"tls:[::1]:443,name=a-b.example,ca=/c",
	 "tls:[::1]:443,ca=/c,name=a-b.example"},
	{"tls:host:1,name=2001:db8::1", "tls:host:1,name=2001:db8::1"},
	{"rfcomm:00:11:22:33:44:55", "rfcomm:00:11:22:33:44:55/spp"},
	{"rfcomm:00:11:22:aa:bb:cc/spp", "rfcomm:00:11:22:AA:BB:CC/spp"},
	{"rfcomm:00:11:22:33:44:55/1", "rfcomm:00:11:22:33:44:55/1"},
	{"rfcomm:00:11:22:33:44:55/30", "rfcomm:00:11:22:33:44:55/30"},
	{"rfcomm:00:11:22:33:44:55/1101", "rfcomm:00:11:22:33:44:55/spp"},
	{"rfcomm:00:11:22:33:44:55/0x1105",
	 "rfcomm:00:11:22:33:44:55/uuid:1105"},
	{"rfcomm:00:11:22:33:44:55/uuid:1105",
	 "rfcomm:00:11:22:33:44:55/uuid:1105"},
	{"rfcomm:00:11:22:33:44:55/00001101-0000-1000-8000-00805f9b34fb",
	 "rfcomm:00:11:22:33:44:55/spp"},
	{"rfcomm:00:11:22:33:44:55/7D2EA28A-f7bd-485a-bd9d-92ad6ecfe93e",
	 "rfcomm:00:11:22:33:44:55/7d2ea28a-f7bd-485a-bd9d-92ad6ecfe93e"},
	{"rfcomm:HC-05", "rfcomm:\"HC-05\"/spp"},
	{"rfcomm:\"HC-05\"/spp", "rfcomm:\"HC-05\"/spp"},
	{"rfcomm: Café / 5", "rfcomm:\"Café\"/5"},
	{"rfcomm:\"a/b, \\\"c\\\" \\; \\\\\"/7,pack-size=9",
	 "rfcomm:\"a/b, \\\"c\\\" \\; \\\\\"/7,pack-size=9"},
	{"rfcomm:\"00:11:22:33:44:55\"", "rfcomm:\"00:11:22:33:44:55\"/spp"},
	{"rfcomm:\"22\"", "rfcomm:\"22\"/spp"},
	{"l2cap:HC-05/0x1003", "l2cap:\"HC-05\"/0x1003"},
	{"l2cap:HC-05/4099,seqpacket", "l2cap:\"HC-05\"/0x1003,seqpacket"},
	{"l2cap:HC-05/1203", "l2cap:\"HC-05\"/0x04b3"},
	{"l2cap:HC-05/uuid:1203", "l2cap:\"HC-05\"/uuid:1203"},
	{"l2cap:HC-05/uuid:7d2ea28a-f7bd-485a-bd9d-92ad6ecfe93e",
	 "l2cap:\"HC-05\"/7d2ea28a-f7bd-485a-bd9d-92ad6ecfe93e"},
	{"l2cap:HC-05/7d2ea28a-f7bd-485a-bd9d-92ad6ecfe93e",
	 "l2cap:\"HC-05\"/7d2ea28a-f7bd-485a-bd9d-92ad6ecfe93e"},
	{"l2cap:HC-05/spp,mode=streaming,mtu=100",
	 "l2cap:\"HC-05\"/spp,mode=streaming,mtu=100"},
	{"unix:/a,seqpacket", "unix:/a,seqpacket"},
	{"pty:/a,when-closed=discard,pack-gap=20ms",
	 "pty:/a,when-closed=discard,pack-gap=20ms"},
	{"serial:/dev/ttyUSB0,19200e71,rtscts",
	 "serial:/dev/ttyUSB0,19200e71,rtscts"},
	{"file:/var/log/scale", "file:/var/log/scale"},
	{"file:\"/a,b\",mode=640,owner=root,group=adm",
	 "file:\"/a,b\",mode=0640,owner=root,group=adm"},
	{"exec:/sbin/agetty - vt100", "exec:/sbin/agetty - vt100"},
	{"exec: true ", "exec:true"},
	{"exec:\"true\",pipe", "exec:true,pipe"},
	{"exec:sh -c \"echo a, b\",pipe",
	 "exec:\"sh -c \\\"echo a, b\\\"\",pipe"},
	{"exec:sh -c 'a; b:c=d'", "exec:\"sh -c 'a\\; b:c=d'\""},
	{"exec:\"a \\; b, c\"", "exec:\"a \\; b, c\""},
	{"exec:\" a\"", "exec:\" a\""},
	{"exec:echo \\\\", "exec:\"echo \\\\\\\\\""},
};

static const struct row bad_connect[] = {
	{"tls:443", "no host in '443'; write tls:HOST:PORT"},
	{"tls:host:1,name=a b", "name 'a b' is not a host's name or address"},
	{"tls:host:1,cert=/a",
	 "cert needs key=FILE beside it, which may be the same file"},
	{"rfcomm", "rfcomm needs more; write rfcomm:DEVICE, "
		   "rfcomm:DEVICE/CHANNEL or rfcomm:DEVICE/SERVICE"},
	{"rfcomm:22",
	 "'22' is no device; write rfcomm:DEVICE, rfcomm:DEVICE/CHANNEL or "
	 "rfcomm:DEVICE/SERVICE, with its address or name (a name like that in "
	 "double quotes)"},
	{"rfcomm:auto",
	 "'auto' is no device; write rfcomm:DEVICE, rfcomm:DEVICE/CHANNEL or "
	 "rfcomm:DEVICE/SERVICE, with its address or name (a name like that in "
	 "double quotes)"},
	{"rfcomm:spp",
	 "'spp' is no device; write rfcomm:DEVICE, rfcomm:DEVICE/CHANNEL or "
	 "rfcomm:DEVICE/SERVICE, with its address or name (a name like that in "
	 "double quotes)"},
	{"rfcomm:0x1101",
	 "'0x1101' is no device; write rfcomm:DEVICE, rfcomm:DEVICE/CHANNEL or "
	 "rfcomm:DEVICE/SERVICE, with its address or name (a name like that in "
	 "double quotes)"},
	{"rfcomm:/5", "no device before the slash; write rfcomm:DEVICE, "
		      "rfcomm:DEVICE/CHANNEL or rfcomm:DEVICE/SERVICE"},
	{"rfcomm:HC-05/",
	 "nothing after the slash behind 'HC-05'; write rfcomm:DEVICE, "
	 "rfcomm:DEVICE/CHANNEL or rfcomm:DEVICE/SERVICE"},
	{"rfcomm:HC-05/0", "'0' is not an RFCOMM channel; write 1 to 30, or a "
			   "service: spp or a UUID"},
	{"rfcomm:HC-05/31", "'31' is not an RFCOMM channel; write 1 to 30, or "
			    "a service: spp or a UUID"},
	{"rfcomm:HC-05/0x16", "'0x16' is not an RFCOMM channel; write 1 to 30, "
			      "or a service: spp or a UUID"},
	{"rfcomm:HC-05/SPPP", "'SPPP' is not an RFCOMM channel; write 1 to 30, "
			      "or a service: spp or a UUID"},
	{"rfcomm:HC-05/5/6", "'5/6' is not an RFCOMM channel; write 1 to 30, "
			     "or a service: spp or a UUID"},
	{"rfcomm:HC-05/uuid:",
	 "'' is not a UUID; write spp, four hex digits (0x1101) or all 36 "
	 "characters (00001101-0000-1000-8000-00805f9b34fb)"},
	{"rfcomm:HC-05/7d2ea28a-f7bd-485a-bd9d-92ad6ecfe93",
	 "'7d2ea28a-f7bd-485a-bd9d-92ad6ecfe93' is not a UUID; write spp, four "
	 "hex digits (0x1101) or all 36 characters "
	 "(00001101-0000-1000-8000-00805f9b34fb)"},
	{"rfcomm:00:11:22:33:44",
	 "'00:11:22:33:44' is not a Bluetooth address; write it like "
	 "00:11:22:AA:BB:CC (if it is a name, in double quotes)"},
	{"rfcomm:00:11:22:33:44:5g/1",
	 "'00:11:22:33:44:5g' is not a Bluetooth address; write it like "
	 "00:11:22:AA:BB:CC (if it is a name, in double quotes)"},
	{"rfcomm:00-11-22-33-44-55",
	 "'00-11-22-33-44-55' is not a Bluetooth address; write it like "
	 "00:11:22:AA:BB:CC (if it is a name, in double quotes)"},
	{"rfcomm:001122334455",
	 "'001122334455' is no device; write rfcomm:DEVICE, "
	 "rfcomm:DEVICE/CHANNEL or rfcomm:DEVICE/SERVICE, with its address or "
	 "name (a name like that in double quotes)"},
	{"rfcomm:\"HC-05", "the quote in '\"HC-05' is never closed (\" ;\" "
			   "starts a comment: write \" \\;\")"},
	{"rfcomm:\"HC-05\"x/1",
	 "there is more text after the closing quote in '\"HC-05\"x'"},
	{"rfcomm:\"\"/1", "the device's name '': empty"},
	{"rfcomm:a\tb", "the device's name 'a?b': a control character in it"},
	{"rfcomm:HC-05,mode=basic", "unknown option 'mode' of rfcomm; use "
				    "pack-until, pack-gap or pack-size"},
	{"l2cap",
	 "l2cap needs more; write l2cap:DEVICE/PSM or l2cap:DEVICE/SERVICE"},
	{"l2cap:HC-05", "'HC-05' says the device only; write l2cap:DEVICE/PSM "
			"or l2cap:DEVICE/SERVICE, like l2cap:HC-05/0x1003"},
	{"l2cap:\"HC-05\"",
	 "'\"HC-05\"' says the device only; write l2cap:DEVICE/PSM or "
	 "l2cap:DEVICE/SERVICE, like l2cap:\"HC-05\"/0x1003"},
	{"l2cap:0x1003", "'0x1003' is no device; write l2cap:DEVICE/PSM or "
			 "l2cap:DEVICE/SERVICE, with its address or name (a "
			 "name like that in double quotes)"},
	{"l2cap:HC-05/auto",
	 "'auto' is not a PSM; write 0x0001 to 0xFEFF (or decimal), or a "
	 "service: spp, uuid:1203, or a UUID's 36 characters"},
	{"l2cap:HC-05/1202", "'1202' is not a PSM: those are odd, and bit 8 "
			     "(0x0100) is clear; the next one is 0x04B3"},
	{"l2cap:HC-05/0x1203x",
	 "'0x1203x' is not a PSM; write 0x0001 to 0xFEFF (or decimal), or a "
	 "service: spp, uuid:1203, or a UUID's 36 characters"},
	{"l2cap:HC-05/uuid:0x120",
	 "'0x120' is not a UUID; write spp, four hex digits (0x1101) or all 36 "
	 "characters (00001101-0000-1000-8000-00805f9b34fb)"},
	{"l2cap:HC-05/1,mode=basic,flush-timeout=2s",
	 "flush-timeout '2s' is not 1ms to 1279ms, which is what an adapter "
	 "can do; without it nothing is dropped"},
	{"file:log", "'log' is not an absolute path; write file:/PATH"},
	{"file:/a,append",
	 "unknown option 'append' of file; use mode, owner or group"},
	{"file:/a,pack-size=1",
	 "unknown option 'pack-size' of file; use mode, owner or group"},
	{"file:/a/", "'/a/' is a directory; add a file's name to it"},
	{"exec", "exec needs more; write exec:COMMAND"},
	{"exec:", "nothing after 'exec:'; write exec:COMMAND"},
	{"exec:\"\"", "no command between the quotes; write exec:COMMAND"},
	{"exec:\"  \"", "no command between the quotes; write exec:COMMAND"},
	{"exec:\"a", "the quote in '\"a' is never closed (\" ;\" starts a "
		     "comment: write \" \\;\")"},
	{"exec:a \"b",
	 "a quote in 'a \"b' is never closed (\" ;\" starts a comment: put the "
	 "whole command in double quotes, and write \\\" and \\; in it)"},
	{"exec:a \"b\\\"",
	 "a quote in 'a \"b\\\"' is never closed (\" ;\" starts a comment: put "
	 "the whole command in double quotes, and write \\\" and \\; in it)"},
	{"exec:\"a\" b",
	 "there is more text after the closing quote in '\"a\" b'"},
	{"exec:a,b",
	 "unknown option 'b' of exec; a command with a comma goes in double "
	 "quotes; use pipe, pack-until, pack-gap or pack-size"},
	{"exec:true,pipe=yes", "option 'pipe' takes no value ('yes'); write "
			       "pipe alone, or leave it out"},
	{"echo,pack-size=1",
	 "unknown option 'pack-size'; echo takes no options"},
};

static const struct row good_peers[] = {
	{"any", "any"},
	{" any ", "any"},
	{"00:11:22:aa:bb:cc", "00:11:22:AA:BB:CC"},
	{"00:11:22:*", "00:11:22:*"},
	{"aa:*", "AA:*"},
	{"00:11:22:33:44:*", "00:11:22:33:44:*"},
	{"\"HC-05\"", "\"HC-05\""},
	{"HC-05", "\"HC-05\""},
	{"Phone of A, \"B, C\" ,00:11:22:33:44:55",
	 "\"Phone of A\", \"B, C\", 00:11:22:33:44:55"},
	{"\"any\"", "\"any\""},
	{"\"00:11:22:*\"", "\"00:11:22:*\""},
	{"\"AABBCCDDEEFF\"", "\"AABBCCDDEEFF\""},
	{"00:11:22:33:44:55, 00:11:22:*", "00:11:22:33:44:55, 00:11:22:*"},
	{"\"a\\\"b\\\\c\\;d\"", "\"a\\\"b\\\\c\\;d\""},
};

static const struct row bad_peers[] = {
	{"*", "'*' is not the beginning of an address; write whole octets, "
	      "like 00:11:22:* (if it is a name, in double quotes)"},
	{"", "an empty place between the commas"},
	{"a,", "an empty place between the commas"},
	{",a", "an empty place between the commas"},
	{"a,,b", "an empty place between the commas"},
	{"any, a", "'any' stands alone; leave out the others (if it is a name, "
		   "write it in double quotes)"},
	{"a, any", "'any' stands alone; leave out the others (if it is a name, "
		   "write it in double quotes)"},
	{"00:11:22", "'00:11:22' is not a Bluetooth address; write it like "
		     "00:11:22:AA:BB:CC (if it is a name, in double quotes)"},
	{"00:11:22:33:44:55:*",
	 "'00:11:22:33:44:55:*' is not the beginning of an address; write "
	 "whole octets, like 00:11:22:* (if it is a name, in double quotes)"},
	{"00:11:2*",
	 "'00:11:2*' is not the beginning of an address; write whole octets, "
	 "like 00:11:22:* (if it is a name, in double quotes)"},
	{"00:11:22*",
	 "'00:11:22*' is not the beginning of an address; write whole octets, "
	 "like 00:11:22:* (if it is a name, in double quotes)"},
	{"00:*:22",
	 "'00:*:22' is not the beginning of an address; write whole octets, "
	 "like 00:11:22:* (if it is a name, in double quotes)"},
	{"*:00", "'*:00' is not the beginning of an address; write whole "
		 "octets, like 00:11:22:* (if it is a name, in double quotes)"},
	{"001122334455",
	 "'001122334455' is not a Bluetooth address; write it like "
	 "00:11:22:AA:BB:CC (if it is a name, in double quotes)"},
	{"00-11-22-33-44-55",
	 "'00-11-22-33-44-55' is not a Bluetooth address; write it like "
	 "00:11:22:AA:BB:CC (if it is a name, in double quotes)"},
	{"00:11:22:*, 00:11:22:33:44:55",
	 "'00:11:22:33:44:55' is among those before it already"},
	{"a, b, a", "'a' is among those before it already"},
	{"\"a", "the quote in '\"a' is never closed (\" ;\" starts a comment: "
		"write \" \\;\")"},
	{"\"a\"b", "there is more text after the closing quote in '\"a\"b'"},
	{"\"\"", "the device's name '': empty"},
	{"00:00:00:00:00:00",
	 "'00:00:00:00:00:00' is not a Bluetooth address; write it like "
	 "00:11:22:AA:BB:CC (if it is a name, in double quotes)"},
};

/* ---- tables ---------------------------------------------------------- */

#define TEXT_BYTES (4 * ADDRESS_ENDPOINT_TEXT_BYTES)

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

static int print_peers(const char *text, char *out, struct error *error)
{
	struct address_peers peers = {NULL, 0};
	int code = address_peers_add(text, &peers, error);

	ck_assert(code == 0 || (!peers.items && !peers.count));
	strcpy(out, code == 0 && !peers.count ? "any" : "");
	for (size_t i = 0; i < peers.count; i++) {
		if (i)
			strcat(out, ", ");
		address_peer_format(&peers.items[i], out + strlen(out));
	}
	address_peers_clear(&peers);
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
	const struct row *good;
	size_t good_count;
	const struct row *bad;
	size_t bad_count;
} tables[] = {TABLE(listen), TABLE(connect), TABLE(peers)};

START_TEST(parses_and_prints)
{
	const struct table *table = &tables[_i];

	for (size_t i = 0; i < table->good_count; i++) {
		const struct row *row = &table->good[i];
		char out[TEXT_BYTES] = "";
		struct error error = {""};

		ck_assert_msg(table->print(row->text, out, &error) == 0,
			      "%s '%s': %s", table->name, row->text,
			      error.text);
		ck_assert_str_eq(out, row->result);
		ck_assert_msg(table->print(row->result, out, &error) == 0,
			      "%s '%s': %s", table->name, row->result,
			      error.text);
		ck_assert_str_eq(out, row->result);
	}
}
END_TEST

START_TEST(refuses_with_a_sentence)
{
	const struct table *table = &tables[_i];

	for (size_t i = 0; i < table->bad_count; i++) {
		const struct row *row = &table->bad[i];
		char out[TEXT_BYTES] = "";
		struct error error = {""};

		ck_assert_msg(table->print(row->text, out, &error) == -EINVAL,
			      "%s '%s' was taken, as '%s'", table->name,
			      row->text, out);
		ck_assert_str_eq(error.text, row->result);
		ck_assert_int_eq(table->print(row->text, out, NULL), -EINVAL);
	}
}
END_TEST

/* ---- fields ---------------------------------------------------------- */

#define L ENDPOINT_ROLE_LISTEN
#define C ENDPOINT_ROLE_CONNECT

static struct address_endpoint parse(const char *text, enum endpoint_role role)
{
	struct address_endpoint endpoint;
	struct error error = {""};

	ck_assert_msg(address_endpoint_parse(text, role, &endpoint, &error) ==
			      0,
		      "%s: %s", text, error.text);
	return endpoint;
}

START_TEST(rfcomm_fields)
{
	struct address_endpoint e = parse("rfcomm:00:11:22:33:44:55/7", C);

	ck_assert_int_eq(e.kind, ENDPOINT_KIND_RFCOMM);
	ck_assert_ptr_null(e.rfcomm.device.name);
	ck_assert_uint_eq(e.rfcomm.device.address.octets[0], 0x00);
	ck_assert_uint_eq(e.rfcomm.device.address.octets[5], 0x55);
	ck_assert_uint_eq(e.rfcomm.channel, 7);
	ck_assert_ptr_eq(address_endpoint_device(&e), &e.rfcomm.device);
	address_endpoint_clear(&e);

	e = parse("rfcomm:\"HC-05\"/0x1105", C);
	ck_assert_str_eq(e.rfcomm.device.name, "HC-05");
	ck_assert_uint_eq(e.rfcomm.channel, 0);
	ck_assert_int_eq(address_uuid_short(&e.rfcomm.service), 0x1105);
	address_endpoint_clear(&e);
	ck_assert_ptr_null(e.rfcomm.device.name);
}
END_TEST

START_TEST(l2cap_fields)
{
	struct address_endpoint e = parse("l2cap:HC-05/0x1003,mode=streaming,"
					  "mtu=1000,flush-timeout=20ms,"
					  "seqpacket",
					  C);

	ck_assert_str_eq(e.l2cap.device.name, "HC-05");
	ck_assert_uint_eq(e.l2cap.psm, 0x1003);
	ck_assert_int_eq(e.l2cap.mode, L2CAP_LINK_MODE_STREAMING);
	ck_assert_uint_eq(e.l2cap.mtu, 1000);
	ck_assert_uint_eq(e.l2cap.flush_timeout_ms, 20);
	ck_assert(e.l2cap.is_seqpacket);
	ck_assert(address_endpoint_has_records(&e));
	ck_assert_ptr_eq(address_endpoint_device(&e), &e.l2cap.device);
	address_endpoint_clear(&e);

	e = parse("l2cap", L);
	ck_assert_uint_eq(e.l2cap.psm, 0);
	ck_assert_int_eq(e.l2cap.mode, L2CAP_LINK_MODE_ERTM);
	ck_assert_uint_eq(e.l2cap.mtu, 0);
	ck_assert(!e.l2cap.is_seqpacket);
	ck_assert(!address_endpoint_has_records(&e));
	address_endpoint_clear(&e);

	e = parse("l2cap:HC-05/spp", C);
	ck_assert_uint_eq(e.l2cap.psm, 0);
	ck_assert_int_eq(address_uuid_short(&e.l2cap.service), 0x1101);
	address_endpoint_clear(&e);
}
END_TEST

START_TEST(serial_fields)
{
	struct address_endpoint e = parse("serial:/dev/ttyS1,9600o72,rtscts",
					  L);

	ck_assert_str_eq(e.serial.path, "/dev/ttyS1");
	ck_assert_uint_eq(e.serial.baud, 9600);
	ck_assert_int_eq(e.serial.parity, SERIAL_PARITY_ODD);
	ck_assert_uint_eq(e.serial.data_bits, 7);
	ck_assert_uint_eq(e.serial.stop_bits, 2);
	ck_assert(e.serial.has_rtscts);
	ck_assert(!e.serial.has_xonxoff);
	ck_assert(!e.serial.is_local);
	ck_assert_ptr_null(address_endpoint_device(&e));
	address_endpoint_clear(&e);

	e = parse("serial:/dev/ttyS1,local,xonxoff", C);
	ck_assert_uint_eq(e.serial.baud, 115200);
	ck_assert_int_eq(e.serial.parity, SERIAL_PARITY_NONE);
	ck_assert_uint_eq(e.serial.data_bits, 8);
	ck_assert_uint_eq(e.serial.stop_bits, 1);
	ck_assert(!e.serial.has_rtscts);
	ck_assert(e.serial.has_xonxoff);
	ck_assert(e.serial.is_local);
	address_endpoint_clear(&e);
}
END_TEST

START_TEST(other_fields)
{
	struct address_endpoint e = parse("exec:sh -c \"a, b\",pipe", C);

	ck_assert_str_eq(e.exec.command, "sh -c \"a, b\"");
	ck_assert(e.exec.is_pipe);
	address_endpoint_clear(&e);

	e = parse("exec:\"a \\; b\"", C);
	ck_assert_str_eq(e.exec.command, "a ; b");
	ck_assert(!e.exec.is_pipe);
	address_endpoint_clear(&e);

	e = parse("file:/a,mode=640,owner=o,group=g", C);
	ck_assert_str_eq(e.file.path, "/a");
	ck_assert_uint_eq(e.file.access.mode, 0640);
	ck_assert_str_eq(e.file.access.owner, "o");
	ck_assert_str_eq(e.file.access.group, "g");
	address_endpoint_clear(&e);

	e = parse("unix:/a,seqpacket", C);
	ck_assert(e.local.is_seqpacket);
	ck_assert(address_endpoint_has_records(&e));
	address_endpoint_clear(&e);
}
END_TEST

START_TEST(packing_fields)
{
	struct address_endpoint e = parse("pty:/a,pack-until=\\0,pack-size=8",
					  C);

	ck_assert(e.packing.has_delimiter);
	ck_assert_uint_eq(e.packing.delimiter, 0);
	ck_assert_uint_eq(e.packing.bytes, 8);
	ck_assert_uint_eq(e.packing.gap_ms, 0);
	address_endpoint_clear(&e);

	e = parse("pty:/a,pack-gap=20ms", C);
	ck_assert(!e.packing.has_delimiter);
	ck_assert_uint_eq(e.packing.gap_ms, 20);
	ck_assert_uint_eq(e.packing.bytes, 0);
	address_endpoint_clear(&e);
}
END_TEST

START_TEST(speeds_have_constants)
{
	speed_t speed;

	ck_assert(address_serial_find_speed(9600, &speed));
	ck_assert_uint_eq(speed, B9600);
	ck_assert(address_serial_find_speed(4000000, &speed));
	ck_assert_uint_eq(speed, B4000000);
	ck_assert(!address_serial_find_speed(0, &speed));
	ck_assert(!address_serial_find_speed(14400, &speed));
	ck_assert_uint_eq(address_serial_nearest_baud(15000), 19200);
	ck_assert_uint_eq(address_serial_nearest_baud(1), 50);
	ck_assert_uint_eq(address_serial_nearest_baud(4294967295), 4000000);
}
END_TEST

/* The longest text of each kind, printed, parses again. */
static const struct longest {
	const char *before;
	char letter;
	size_t count;
	const char *after;
} longest[] = {
	{"rfcomm:\"", '\\', 248, "\"/uuid:1234"},
	{"l2cap:\"", '"', 248,
	 "\"/7d2ea28a-f7bd-485a-bd9d-92ad6ecfe93e,mode=streaming,mtu=65535,"
	 "flush-timeout=1279ms,seqpacket"},
	{"serial:\"/", ';', 254, "\",4000000n81,rtscts,xonxoff,local"},
	{"file:\"/", ';', 254, "\",mode=0777,owner=root,group=root"},
	{"tls:localhost:1,cert=/a,key=/a,ca=\"/", ';', 254, "\""},
	{"exec:\"", '"', 400,
	 "\",pipe,pack-until=\\x07,pack-gap=9999ms,pack-size=65536"},
};

START_TEST(longest_fits)
{
	const struct longest *row = &longest[_i];
	char text[2048], out[ADDRESS_ENDPOINT_TEXT_BYTES];
	char again[ADDRESS_ENDPOINT_TEXT_BYTES];
	struct error error = {""};

	/* One more than the longest is refused. */
	for (size_t more = 0; more < 2; more++) {
		size_t used = (size_t)sprintf(text, "%s", row->before);

		for (size_t i = 0; i < row->count + more; i++)
			used += (size_t)sprintf(text + used, "\\%c",
						row->letter);
		strcpy(text + used, row->after);
		if (more) {
			ck_assert_int_eq(print_connect(text, out, &error),
					 -EINVAL);
			ck_assert_ptr_nonnull(
				strstr(error.text, " bytes long; "));
			continue;
		}
		ck_assert_msg(print_connect(text, out, &error) == 0, "%s",
			      error.text);
		ck_assert_int_eq(print_connect(out, again, &error), 0);
		ck_assert_str_eq(out, again);
	}
}
END_TEST

/* ---- conflicts ------------------------------------------------------- */

static const struct conflict {
	enum endpoint_role a_role;
	const char *a;
	enum endpoint_role b_role;
	const char *b;
	bool is_conflict;
} conflicts[] = {
	{L, "l2cap:0x1003", L, "l2cap:4099,seqpacket", true},
	{L, "l2cap:0x1003", L, "l2cap:0x1005", false},
	{L, "l2cap", L, "l2cap", false},
	{L, "l2cap:5", L, "rfcomm:5", false},
	{C, "l2cap:HC-05/0x1003", L, "l2cap:0x1003", false},
	{C, "rfcomm:HC-05/3", C, "rfcomm:HC-05/3", false},
	{C, "rfcomm:HC-05/3", L, "rfcomm:3", false},
	{L, "pty:/a", C, "pty:/a", true},
	{L, "pty:/a", L, "pty://a", true},
	{L, "pty:/a", L, "unix:/a", true},
	{L, "pty:/a", C, "unix:/a", false},
	{L, "pty:/a", C, "pty://a.next", true},
	{L, "pty:/a", L, "unix:/a.next", true},
	{L, "pty:/a", C, "file:/a.next", true},
	{L, "pty:/a", L, "pty:/a.next.next", false},
	{L, "pty:/a", L, "pty:/b/a.next", false},
	{C, "pty:/a", C, "pty:/a.next", false},
	{L, "unix:/a", L, "unix:/a.next", false},
	{L, "serial:/dev/ttyS0", L, "serial:/dev/ttyS0,9600", true},
	{L, "serial:/dev/ttyS0", C, "serial:/dev/ttyS0", true},
	{C, "serial:/dev/ttyS0", C, "serial:/dev/./ttyS0", true},
	{C, "serial:/dev/ttyS0", C, "serial:/dev/ttyS1", false},
	{C, "serial:/run/a", C, "pty:/run/a", false},
	{C, "file:/a", C, "file:/a", false},
	{C, "file:/a", C, "pty:/a", true},
	{C, "file:/a", L, "unix:/a", true},
	{C, "exec:a", C, "exec:a", false},
	{L, "tls:1,cert=/a,key=/a", L, "tls:1,cert=/b,key=/b", true},
	{L, "tls:1,cert=/a,key=/a", L, "tcp:*:1", true},
	{L, "tls:1,cert=/a,key=/a", L, "tcp:2", false},
	{L, "tls:1,cert=/a,key=/a", C, "tls:localhost:1", false},
};

START_TEST(conflicts_are_found)
{
	const struct conflict *row = &conflicts[_i];
	struct address_adapter any = {.choice = ADAPTER_CHOICE_ANY};
	struct address_endpoint a = parse(row->a, row->a_role);
	struct address_endpoint b = parse(row->b, row->b_role);

	ck_assert_msg(address_endpoint_is_conflict(&a, row->a_role, &any, &b,
						   row->b_role,
						   &any) == row->is_conflict,
		      "%s with %s", row->a, row->b);
	ck_assert_msg(address_endpoint_is_conflict(&b, row->b_role, &any, &a,
						   row->a_role,
						   &any) == row->is_conflict,
		      "%s with %s", row->b, row->a);
	ck_assert_msg(!row->is_conflict ||
			      address_endpoint_place(&a, row->a_role) ==
				      address_endpoint_place(&b, row->b_role),
		      "%s is not where %s is", row->a, row->b);
	address_endpoint_clear(&a);
	address_endpoint_clear(&b);
}
END_TEST

START_TEST(psms_conflict_where_adapters_overlap)
{
	struct address_adapter any = {.choice = ADAPTER_CHOICE_ANY};
	struct address_adapter hci0 = {.choice = ADAPTER_CHOICE_INDEX};
	struct address_adapter hci1 = {.choice = ADAPTER_CHOICE_INDEX,
				       .index = 1};
	struct address_endpoint a = parse("l2cap:0x1003", L);

	ck_assert(address_endpoint_is_conflict(&a, L, &any, &a, L, &hci0));
	ck_assert(!address_endpoint_is_conflict(&a, L, &hci1, &a, L, &hci0));
	address_endpoint_clear(&a);
}
END_TEST

START_TEST(security_of_bluetooth_kinds)
{
	struct address_endpoint l2cap = parse("l2cap:HC-05/3", C);
	struct address_endpoint rfcomm = parse("rfcomm:HC-05", C);
	struct error error;

	ck_assert(address_endpoint_is_bluetooth(&l2cap));
	ck_assert(address_endpoint_is_bluetooth(&rfcomm));
	ck_assert_int_eq(address_endpoint_check_security(
				 &l2cap, SECURITY_LEVEL_FIPS, &error),
			 0);
	ck_assert_int_eq(address_endpoint_check_security(
				 &rfcomm, SECURITY_LEVEL_HIGH, &error),
			 0);
	ck_assert_int_eq(address_endpoint_check_security(
				 &rfcomm, SECURITY_LEVEL_FIPS, &error),
			 -EINVAL);
	address_endpoint_clear(&l2cap);
	address_endpoint_clear(&rfcomm);
}
END_TEST

/* ---- peers ----------------------------------------------------------- */

static const struct membership {
	const char *peers;
	const char *address;
	const char *name;
	bool is_member;
} memberships[] = {
	{"any", "00:11:22:33:44:55", NULL, true},
	{"00:11:22:33:44:55", "00:11:22:33:44:55", NULL, true},
	{"00:11:22:33:44:55", "00:11:22:33:44:56", NULL, false},
	{"00:11:22:*", "00:11:22:FF:FF:FF", NULL, true},
	{"00:11:22:*", "00:11:23:33:44:55", NULL, false},
	{"01:*", "01:00:00:00:00:01", NULL, true},
	{"01:*", "00:00:00:00:00:01", NULL, false},
	{"HC-05", "00:11:22:33:44:55", "HC-05", true},
	{"HC-05", "00:11:22:33:44:55", "hc-05", false},
	{"HC-05", "00:11:22:33:44:55", "HC-055", false},
	{"HC-05", "00:11:22:33:44:55", NULL, false},
	{"HC-05, 00:11:*", "00:11:22:33:44:55", NULL, true},
	{"AA:*, HC-05", "00:11:22:33:44:55", "HC-05", true},
	/* A device that calls itself like an address does not have it. */
	{"00:11:22:33:44:55", "00:00:00:00:00:01", "00:11:22:33:44:55", false},
	{"\"00:11:22:33:44:55\"", "00:11:22:33:44:55", NULL, false},
};

START_TEST(peers_are_recognised)
{
	const struct membership *row = &memberships[_i];
	struct address_peers peers = {NULL, 0}, copy;
	struct address_bluetooth address;

	ck_assert_int_eq(address_peers_add(row->peers, &peers, NULL), 0);
	ck_assert_int_eq(address_bluetooth_parse(row->address, &address, NULL),
			 0);
	ck_assert_int_eq(address_peers_copy(&peers, &copy), 0);
	ck_assert(address_peers_has(&peers, &address, row->name) ==
		  row->is_member);
	address_peers_clear(&peers);
	ck_assert(address_peers_has(&copy, &address, row->name) ==
		  row->is_member);
	ck_assert(address_peers_has_names(&copy) ==
		  (strstr(row->peers, "HC-05") || row->peers[0] == '"'));
	address_peers_clear(&copy);
	address_peers_clear(&copy);
}
END_TEST

static const struct cover {
	const char *peers;
	const char *peer;
	bool is_covered;
} covers[] = {
	{"any", "a", true},
	{"00:11:*", "00:11:22:33:44:55", true},
	{"00:11:*", "00:11:*", true},
	{"00:11:*", "00:11:22:*", true},
	{"00:11:22:*", "00:11:*", false},
	{"00:11:22:33:44:55", "00:11:22:33:44:*", false},
	{"a, b", "b", true},
	{"a", "A", false},
	{"a, 00:11:22:33:44:55", "00:11:22:33:44:55", true},
};

START_TEST(peers_cover_peers)
{
	const struct cover *row = &covers[_i];
	struct address_peers peers = {NULL, 0}, peer = {NULL, 0};

	ck_assert_int_eq(address_peers_add(row->peers, &peers, NULL), 0);
	ck_assert_int_eq(address_peers_add(row->peer, &peer, NULL), 0);
	ck_assert(address_peers_covers(&peers, &peer.items[0]) ==
		  row->is_covered);
	address_peers_clear(&peers);
	address_peers_clear(&peer);
}
END_TEST

START_TEST(peers_are_added_or_left_alone)
{
	struct address_peers peers = {NULL, 0};
	char text[32];
	struct error error;

	ck_assert_int_eq(address_peers_add("a, b", &peers, NULL), 0);
	ck_assert_int_eq(address_peers_add("c", &peers, NULL), 0);
	ck_assert_uint_eq(peers.count, 3);
	ck_assert_int_eq(address_peers_add("d, b", &peers, &error), -EINVAL);
	ck_assert_str_eq(error.text, "'b' is among those before it already");
	ck_assert_int_eq(address_peers_add("any", &peers, NULL), -EINVAL);
	ck_assert_uint_eq(peers.count, 3);
	ck_assert_str_eq(peers.items[2].name, "c");
	for (unsigned int i = 3; i < 1000; i++) {
		snprintf(text, sizeof(text), "n%u", i);
		ck_assert_int_eq(address_peers_add(text, &peers, NULL), 0);
	}
	ck_assert_int_eq(address_peers_add("last", &peers, &error), -EINVAL);
	ck_assert_str_eq(error.text,
			 "more than 1000 devices; write the beginning that "
			 "their addresses share, like 00:11:22:*");
	address_peers_clear(&peers);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("address_kinds");
	TCase *test = tcase_create("address_kinds");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(test, parses_and_prints, 0, COUNT(tables));
	tcase_add_loop_test(test, refuses_with_a_sentence, 0, COUNT(tables));
	tcase_add_test(test, rfcomm_fields);
	tcase_add_test(test, l2cap_fields);
	tcase_add_test(test, serial_fields);
	tcase_add_test(test, other_fields);
	tcase_add_test(test, packing_fields);
	tcase_add_test(test, speeds_have_constants);
	tcase_add_loop_test(test, longest_fits, 0, COUNT(longest));
	tcase_add_loop_test(test, conflicts_are_found, 0, COUNT(conflicts));
	tcase_add_test(test, psms_conflict_where_adapters_overlap);
	tcase_add_test(test, security_of_bluetooth_kinds);
	tcase_add_loop_test(test, peers_are_recognised, 0, COUNT(memberships));
	tcase_add_loop_test(test, peers_cover_peers, 0, COUNT(covers));
	tcase_add_test(test, peers_are_added_or_left_alone);
	suite_add_tcase(suite, test);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
