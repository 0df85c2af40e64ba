#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""btgate on a radio, beside what people would use instead; in the virtual radio.

usage: bench_radio.py [--rounds N] [--only PART[,PART]...]
                      [--relays NAME[,NAME]...] [--output FILE]
       bench_radio.py --table FILE      the tables of results that there are
       bench_radio.py --summary FILE    what matters most of them
       bench_radio.py --plot FILE SVG   their plot

Parts: rfcomm-tcp, rfcomm-pty, tcp-rfcomm, phones (fifteen of them at once),
scale-adapters. The limit is one RFCOMM link between two adapters, with nothing in
between; packets take the time that EDR takes for them
(scripts/radio/btvirt-handles.c). Rounds and figures are as in bench.py.

BTGATE and LOAD name the programs, HCI0 and HCI1 the adapters' addresses: the
gateway's and the first phone's. make bench-radio sets them.
"""

import os
import subprocess
import sys

from measure import (BTGATE, Direct, Passage, Relay, Target, bulk, first_line,
                     main, package_version, ping, place_of, socat_version)
from routes import ScaleRoutes

HCI0 = os.environ.get("HCI0", "")
HCI1 = os.environ.get("HCI1", "")
PYBLUEZ = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                       "pybluez_relay.py")
PHONES = 15
# One session has a channel for itself.
CHANNEL = 7


# ---- relays ----------------------------------------------------------------------


class Link(Direct):
    settings = "no relay: one RFCOMM link from hci1 to hci0"
    ways = (("rfcomm", "tcp"), ("rfcomm", "pty"), ("tcp", "rfcomm"))

    def version(self):
        return package_version("bluez")

    def start(self, way):
        self.client = f"rfcomm:{HCI0}/{CHANNEL}"
        self.target = f"rfcomm:{CHANNEL}"


class Btgate(Relay):
    name = "btgate"
    program = BTGATE
    settings = "as shipped, security = low as all others"
    ways = Link.ways

    def version(self):
        return first_line(BTGATE, "--version")

    def command(self, listen, connect):
        return [BTGATE, "run", "-q", "-c", self.write("btgate.conf", f"""
[gateway]
adapter = hci0
control = unix:{self.path("control")}
[route bench]
adapter = hci0
security = low
listen = {listen}
connect = {connect.replace("tcp:", "tcp:127.0.0.1:")}
""")]


class Rfcomm(Relay):
    """What the kernel makes a terminal of, by rfcomm(1)."""

    silent_ms = 1000  # what comes before somebody has opened it may be echoed

    def stop(self):
        super().stop()
        subprocess.run(["rfcomm", "release", "all"], check=False,
                       capture_output=True)

    def bind(self, connect):
        address, _, channel = place_of(connect).partition("/")
        subprocess.run(["rfcomm", "-i", "hci0", "bind", "0", address, channel],
                       check=True)


class RfcommSocat(Rfcomm):
    name = "rfcomm+socat"
    program = "socat"
    settings = "rfcomm watch, or bind, and socat on /dev/rfcomm0"
    makes_pty_late = True
    ways = Link.ways

    def version(self):
        return socat_version()

    def command(self, listen, connect):
        if listen.startswith("rfcomm:"):
            other = (f"TCP:127.0.0.1:{place_of(connect)},nodelay"
                     if connect.startswith("tcp:")
                     else f"PTY,link={place_of(connect)},raw,echo=0")
            # rfcomm puts the device where a word is {}, and only there.
            return ["rfcomm", "-i", "hci0", "-r", "watch", "0", place_of(listen), "sh",
                    "-c", f'exec socat "$0,raw,echo=0" {other}', "{}"]
        self.bind(connect)
        return ["socat", f"TCP-LISTEN:{place_of(listen)},bind=127.0.0.1,"
                "reuseaddr,nodelay", "/dev/rfcomm0,raw,echo=0"]


class RfcommSer2net(Rfcomm):
    name = "rfcomm+ser2net"
    program = "ser2net"
    settings = "rfcomm bind, and ser2net on /dev/rfcomm0, as shipped"
    ways = (("tcp", "rfcomm"),)
    slowness = 10

    def version(self):
        return first_line("ser2net", "-v")

    def command(self, listen, connect):
        self.bind(connect)
        return ["ser2net", "-n", "-d", "-c", self.write("ser2net.yaml", f"""
connection: &bench
    accepter: tcp(nodelay),127.0.0.1,{place_of(listen)}
    connector: serialdev,/dev/rfcomm0,115200n81,local
""")]


class PyBluez(Relay):
    name = "pybluez"
    program = PYBLUEZ
    settings = "tests/bench/pybluez_relay.py: a thread for each direction"
    ways = Link.ways

    def is_there(self):
        return subprocess.run(["/usr/bin/python3", "-c", "import bluetooth"],
                              capture_output=True, check=False).returncode == 0

    def version(self):
        return "PyBluez " + first_line(
            "/usr/bin/python3", "-c", "from importlib.metadata import version; "
            "print(version('PyBluez'))")

    def command(self, listen, connect):
        return ["/usr/bin/python3", PYBLUEZ, listen, connect]


RELAYS = (Link, Btgate, RfcommSocat, RfcommSer2net, PyBluez)


# ---- what is measured ----------------------------------------------------------------


class OneLink(Passage):
    total = 500000
    seconds = 3

    def way(self):
        """The radio's end has one address for who listens, and one for who calls."""
        way = super().way()
        if self.kinds[0] == "rfcomm":
            return way._replace(listen=f"rfcomm:{CHANNEL}",
                                client=f"rfcomm:{HCI0}/{CHANNEL}")
        return way._replace(connect=f"rfcomm:{HCI1}/{CHANNEL}",
                            target=f"rfcomm:{CHANNEL}")


class RfcommTcp(OneLink):
    name = "rfcomm-tcp"
    kinds = ("rfcomm", "tcp")


class RfcommPty(OneLink):
    name = "rfcomm-pty"
    kinds = ("rfcomm", "pty")


class TcpRfcomm(OneLink):
    name = "tcp-rfcomm"
    kinds = ("tcp", "rfcomm")


class Phones(RfcommTcp):
    name = "phones"
    total = 30000  # of each

    def cases(self):
        for way in ("up", "down", "both"):
            yield f"{PHONES} {way}", way
        yield f"{PHONES}, 20 B", 20

    def measure(self, kind, case):
        if issubclass(kind, Rfcomm):  # one at a time
            return None
        if case == 20:
            return self.with_relay(
                kind, lambda relay: ping(relay, 20, self.seconds, "-s", PHONES))
        return self.with_relay(
            kind, lambda relay: bulk(relay, PHONES, self.total, case))


class ScaleAdapters(ScaleRoutes):
    """As many routes at each adapter as there are RFCOMM channels, and as many over
    L2CAP: with sixteen adapters nearly a thousand in one file. Without bluetoothd,
    whose time for each record is its own (HACKING, "Measured")."""

    name = "scale-adapters"
    grows_with = "adapters"
    environment = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nowhere"}

    def cases(self):
        for count in (1, 2, 4, 8, 16):
            yield f"{count}", count

    def listens(self, case):
        return [endpoint for adapter in range(case) for number in range(1, 31)
                for endpoint in (f"rfcomm:{number}\nadapter = hci{adapter}",
                                 f"l2cap:{0x1001 + 2 * number:#x}\n"
                                 f"adapter = hci{adapter}")]


PARTS = (RfcommTcp, RfcommPty, TcpRfcomm, Phones, ScaleAdapters)

PLOTTED = ("rfcomm-tcp", "RFCOMM to TCP through a relay (direction)")
SUMMARY = tuple(
    (f"{label}, {what}", part, case, figure)
    for part, label in (("rfcomm-tcp", "RFCOMM to TCP"),
                        ("rfcomm-pty", "RFCOMM to a pty"),
                        ("tcp-rfcomm", "TCP to RFCOMM"))
    for what, case, figure in (("MB/s up", "up", "MB/s"),
                               ("MB/s down", "down", "MB/s"),
                               ("round trip of 20 bytes, us", "20 B", "p50 us"))
) + ((f"{PHONES} phones at once, MB/s up", "phones", f"{PHONES} up", "MB/s"),
     (f"{PHONES} phones at once, round trip of 20 bytes, us", "phones",
      f"{PHONES}, 20 B", "p50 us"))
TARGETS = tuple(
    target for part in PARTS if issubclass(part, OneLink) for target in (
        Target(part.name, "MB/s", "direct", least=0.95),
        Target(part.name, "p50 us", "direct", most=1.15)))

if __name__ == "__main__":
    sys.exit(main(__doc__, PARTS, RELAYS, PLOTTED, SUMMARY, TARGETS))
