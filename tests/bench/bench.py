#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""btgate beside what people would use instead, on this machine.

usage: bench.py [--rounds N] [--only PART[,PART]...] [--relays NAME[,NAME]...]
                [--output FILE]
       bench.py --table FILE      the tables of results that there are
       bench.py --summary FILE    what matters most of them
       bench.py --plot FILE SVG   their plot

Parts: bulk, ping, churn, idle, stall, calls, unix-tcp, tcp-pty, pty-tcp,
scale-sessions, scale-routes; "scale" means both of the last two. All relays run
one after the other in each round, in an order that changes with it; what is
printed is the median of the rounds and, behind it, how far they went from it.
Every byte that went through was compared (see load.c). A relay that is not
installed is left out, and that is said.

BTGATE, LOAD and RELAY name the programs; make bench sets them.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

from measure import (BTGATE, MEGABYTE, RELAY, Direct, Failure, Load, Part, Passage,
                     Relay, Target, bulk, cpu_s, first_line, main,
                     memory_bytes, package_version, ping, place_of, processes_of,
                     socat_version, wakeups)
from routes import ScaleRoutes


# ---- relays ----------------------------------------------------------------------


class Reference(Relay):
    name = "reference"
    program = RELAY
    settings = "tests/bench/relay.c: libevent events, one 64 KiB buffer"

    def version(self):
        return package_version("libevent-2.1-7")

    def command(self, listen, connect):
        return [RELAY, place_of(listen), place_of(connect)]


class LargeReference(Reference):
    """What a larger buffer allows, where all of it may be kept for who is slow."""

    name = "reference-512k"
    settings = "the same with 512 KiB"
    parts = ("bulk", "stall")

    def command(self, listen, connect):
        return [*super().command(listen, connect), "512"]


class Btgate(Relay):
    name = "btgate"
    program = BTGATE
    settings = "as shipped"
    ways = (("tcp", "tcp"), ("unix", "tcp"), ("tcp", "pty"), ("pty", "tcp"))

    def version(self):
        return first_line(BTGATE, "--version")

    def command(self, listen, connect):
        return [BTGATE, "run", "-q", "-c", self.write("btgate.conf", f"""
[gateway]
control = unix:{self.path("control")}
[route bench]
listen = {listen}
connect = {connect.replace("tcp:", "tcp:127.0.0.1:")}
""")]


class Socat(Relay):
    name = "socat"
    program = "socat"
    settings = "as shipped (8 KiB buffer), a process for each session, on any processor"
    most_sessions = 1000
    ways = Btgate.ways

    def version(self):
        return socat_version()

    def command(self, listen, connect):
        listens = {
            "tcp": "TCP-LISTEN:{},bind=127.0.0.1,reuseaddr,nodelay,backlog=4096",
            "unix": "UNIX-LISTEN:{},backlog=4096",
            "pty": "PTY,link={},raw,echo=0,wait-slave",
        }
        connects = {"tcp": "TCP:127.0.0.1:{},nodelay",
                    "pty": "PTY,link={},raw,echo=0"}
        kinds = [listen.partition(":")[0], connect.partition(":")[0]]
        own = listens[kinds[0]].format(place_of(listen))
        other = connects[kinds[1]].format(place_of(connect))
        if kinds[1] == "pty":  # there before anybody connects only if it is first
            return ["socat", other, own]
        return ["socat", own if kinds[0] == "pty" else own + ",fork", other]


class Haproxy(Relay):
    name = "haproxy"
    program = "haproxy"
    settings = "mode tcp, one thread"
    ways = (("tcp", "tcp"), ("unix", "tcp"))

    def version(self):
        return first_line("haproxy", "-v")

    def command(self, listen, connect):
        bind = (f"127.0.0.1:{place_of(listen)}" if listen.startswith("tcp:")
                else f"unix@{place_of(listen)}")
        return ["haproxy", "-db", "-f", self.write("haproxy.cfg", f"""
global
    nbthread 1
    maxconn {most_sessions()}
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen bench
    bind {bind} backlog 4096
    server target 127.0.0.1:{place_of(connect)}
""")]


class Ser2net(Relay):
    name = "ser2net"
    program = "ser2net"
    settings = "as shipped, one connection"
    slowness = 250
    most_sessions = 1
    options = ""
    makes_pty_late = True
    ways = (("tcp", "tcp"), ("tcp", "pty"))

    def version(self):
        return first_line("ser2net", "-v")

    def command(self, listen, connect):
        connector = (f"tcp,127.0.0.1,{place_of(connect)}"
                     if connect.startswith("tcp:")
                     else f"pty(raw,link={place_of(connect)})")
        return ["ser2net", "-n", "-d", "-c", self.write(self.name + ".yaml", f"""
connection: &bench
    accepter: tcp(nodelay),127.0.0.1,{place_of(listen)}
    connector: {connector}
{self.options}
""")]


class Ser2netTuned(Ser2net):
    name = "ser2net-tuned"
    settings = "chardelay: false, 64 KiB buffers"
    slowness = 25
    options = """    options:
        chardelay: false
        net-to-dev-bufsize: 65536
        dev-to-net-bufsize: 65536
"""


RELAYS = (Direct, Reference, LargeReference, Btgate, Haproxy, Socat, Ser2net,
          Ser2netTuned)


# ---- what is measured ----------------------------------------------------------------


class Bulk(Part):
    name = "bulk"
    # Whoever is the first with a hundred sessions both ways may come to the kernel's
    # limit for TCP memory, and no one after it.
    warms_up = 1
    # Of a direction, by all sessions together: for about a second, in which the
    # start does not count.
    total = 1000 * MEGABYTE

    def cases(self):
        for sessions in (1, 8, 100):
            for way in ("up", "down", "both"):
                yield f"{sessions} {way}", (sessions, way)

    def measure(self, kind, case):
        sessions, way = case
        if sessions > kind.most_sessions:
            return None
        size = self.total // sessions // kind.slowness
        return self.with_relay(
            kind, lambda relay: bulk(relay, sessions, size, way))


class Ping(Part):
    name = "ping"
    seconds = 1

    def cases(self):
        sizes = (1, 20, 100, 1000)
        for size in sizes:
            yield f"{size} B", (size, ())
        # So that a queue shows: what waits counts from when it was due.
        for size in sizes:
            yield f"{size} B, 2000 a second", (size, ("-r", 2000))

    def measure(self, kind, case):
        size, options = case
        return self.with_relay(
            kind, lambda relay: ping(relay, size, self.seconds, *options))


class Churn(Part):
    name = "churn"

    def cases(self):
        yield "1 at a time", 1
        yield "16 at a time", 16

    def measure(self, kind, case):
        if kind.most_sessions < 100:
            return None
        return self.with_relay(kind, lambda relay: {
            "connections/s": (lambda got: got["connections"] / got["seconds"])(
                Load("churn", relay, "-s", case, "-t",
                     1).result())})


def most_sessions():
    """A session is two descriptors of the generator, and of a relay."""
    return (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 200) // 2


class Idle(Part):
    name = "idle"
    seconds = 2
    burst = 1000 * MEGABYTE  # of a direction, by all sessions together

    def cases(self):
        for count in (1000, min(10000, most_sessions())):
            yield f"{count}", (count, 0)
            yield f"{count} after a burst", (count, self.burst // count)

    def measure(self, kind, case):
        sessions, burst = case
        if sessions > kind.most_sessions or kind is Direct:
            return None

        def work(relay):
            # What a relay has once, such as the one buffer for all, is no session's;
            # one way, so that it is used as far as it goes.
            Load("bulk", relay, "-b", 200 * MEGABYTE, "-d", "up").result()
            before = memory_bytes(relay.group())
            load = Load("idle", relay, "-s", sessions,
                        "-b", burst)
            load.line()
            after = memory_bytes(relay.group())
            woken, spent = wakeups(relay.group()), cpu_s(relay.group())
            time.sleep(self.seconds)  # what is measured is that time
            woken = wakeups(relay.group()) - woken
            spent = cpu_s(relay.group()) - spent
            if relay.process.poll() is not None:
                raise Failure("it ended while it had nothing to do")
            load.end()
            return {"bytes/session": (after - before) / sessions,
                    "wake-ups/s": woken / self.seconds,
                    "CPU %": 100 * spent / self.seconds}

        return self.with_relay(kind, work)


class Stall(Part):
    name = "stall"
    sessions = 20

    def cases(self):
        yield f"{self.sessions} targets that never read", ("up", 1)
        yield f"{self.sessions} clients that never read", ("down", 1)
        yield f"{self.sessions} of both", ("both", 2)

    def measure(self, kind, case):
        way, directions = case
        if self.sessions > kind.most_sessions or kind is Direct:
            return None

        def work(relay):
            before = memory_bytes(relay.group())
            load = Load("stall", relay, "-s", self.sessions, "-b",
                        100 * MEGABYTE, "-d", way)
            taken = json.loads(load.line())["taken"]
            grown = memory_bytes(relay.group()) - before
            load.end()
            return {"KiB/direction":
                    grown / self.sessions / directions / 1024,
                    "MB taken": taken / MEGABYTE}

        return self.with_relay(kind, work)


class Calls(Part):
    """System calls for a message, counted by strace."""

    name = "calls"
    seconds = 2

    def cases(self):
        yield "20 B", 20

    def measure(self, kind, case):
        if kind is Direct or not shutil.which("strace"):
            return None

        def work(relay):
            output = os.path.join(self.directory, "strace")
            load = Load("ping", relay, "-s", 1, "-b", case,
                        "-t", self.seconds)
            time.sleep(0.3)  # who forks for a connection has done so
            tracer = subprocess.Popen(
                ["strace", "-f", "-qq", "-o", output, *[
                    word for pid in processes_of(relay.group())
                    for word in ("-p", str(pid))]],
                stderr=subprocess.DEVNULL)
            load.result()
            tracer.send_signal(signal.SIGINT)
            tracer.wait()
            with open(output, encoding="utf-8", errors="replace") as file:
                lines = [line.split(None, 1)[1] for line in file
                         if "resumed" not in line]
            # A message passes twice, there and back: two writes.
            writes = sum(line.startswith(("write(", "writev(", "send", "splice("))
                         for line in lines)
            return {"system calls/message": len(lines) / max(writes, 1)}

        return self.with_relay(kind, work)


class UnixTcp(Passage):
    name = "unix-tcp"
    kinds = ("unix", "tcp")
    total = Bulk.total


class TcpPty(Passage):
    name = "tcp-pty"
    kinds = ("tcp", "pty")
    total = 100 * MEGABYTE


class PtyTcp(Passage):
    name = "pty-tcp"
    kinds = ("pty", "tcp")
    total = 100 * MEGABYTE


# ---- how it grows ----------------------------------------------------------------------


class ScaleSessions(Part):
    """One session that works, and connections that come and go, beside more and
    more that do nothing."""

    name = "scale-sessions"
    grows_with = "idle sessions"
    seconds = 1

    def cases(self):
        for count in (1, 100, 1000, min(10000, most_sessions() - 1)):
            yield f"{count}", count

    def measure(self, kind, case):
        if kind is Direct or kind.most_sessions < 10000:
            return None
        return self.with_relay(kind, lambda relay: {
            **self.beside(relay, "ping", case), **self.beside(relay, "churn", case)})

    def beside(self, relay, mode, count):
        memory = memory_bytes(relay.group())
        load = Load(mode, relay, "-i", count, "-b", 20, "-t",
                    self.seconds)
        load.line()
        memory = memory_bytes(relay.group()) - memory
        spent = cpu_s(relay.group())
        got = load.go_on()
        spent = 1e6 * (cpu_s(relay.group()) - spent)
        load.end()
        if mode == "churn":
            return {"CPU us/connection": spent / got["connections"]}
        return {"CPU us/message": spent / got["requests"] / 2,
                "round trip us": got["p50_us"], "memory KiB": memory / 1024}


class ScaleTcpRoutes(ScaleRoutes):
    def cases(self):
        for count in (1, 10, 100, 1000):
            yield f"{count}", count

    def listens(self, case):
        """All but the first at an address where nobody else listens."""
        return [f"tcp:127.77.0.1:{20000 + number}" for number in range(1, case)]


PARTS = (Bulk, Ping, Churn, Idle, Stall, Calls, UnixTcp, TcpPty, PtyTcp,
         ScaleSessions, ScaleTcpRoutes)

PLOTTED = ("bulk", "TCP to TCP through a relay (sessions, direction)")
SUMMARY = (
    *((f"{sessions} {way}, MB/s", "bulk", f"{sessions} {way}", "MB/s")
      for sessions in ("1", "8", "100") for way in ("up", "down", "both")),
    *((f"{case}, CPU s/GB", "bulk", case, "CPU s/GB")
      for case in ("1 both", "8 both", "100 both")),
    *((f"{label} {way}, MB/s", part, way, "MB/s")
      for part, label in (("unix-tcp", "unix to TCP"), ("tcp-pty", "TCP to a pty"),
                          ("pty-tcp", "pty to TCP"))
      for way in ("up", "down", "both")),
    ("round trip of 20 bytes, us", "ping", "20 B", "p50 us"),
    *((f"{label}, us", part, "20 B", "p50 us")
      for part, label in (("tcp-pty", "the same to a pty"),
                          ("pty-tcp", "the same from a pty"))),
    ("system calls for a message", "calls", "20 B", "system calls/message"),
    ("connections a second", "churn", "16 at a time", "connections/s"),
    ("an idle session, bytes", "idle", "1000", "bytes/session"),
    ("the same after a burst", "idle", "1000 after a burst", "bytes/session"),
    ("a target that never reads, KiB", "stall", "20 targets that never read",
     "KiB/direction"),
)
TARGETS = (
    Target("bulk", "MB/s", "reference", least=1, limit="direct"),
    # Where the larger buffer allows it.
    Target("bulk", "MB/s", "reference", least=1.2, limit="reference-512k"),
    Target("bulk", "CPU s/GB", "reference", most=1),
    Target("bulk", "MB/s", "haproxy", least=1),
    Target("bulk", "MB/s", "socat", least=2, limit="reference-512k"),
    Target("calls", "system calls/message", most=3),
    Target("idle", "bytes/session", most=1000),
    Target("idle", "wake-ups/s", most=0),
    Target("stall", "KiB/direction", most=64000 / 1024),
)

if __name__ == "__main__":
    sys.exit(main(__doc__, PARTS, RELAYS, PLOTTED, SUMMARY, TARGETS))
