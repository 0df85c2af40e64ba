#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What goes wrong around a gateway, one thing at a time, and at random.

usage: tests/check_faults.py [-v] [NAME...]

Beside the route that something happens to there is another with a session that
sends all the time: it must not lose or double a byte. After it memory and
descriptors are what they were before, the log has told of it in one line, and the
gateway sleeps; where what has happened lasts, it sleeps meanwhile, too. The
outcome is printed as a table. SOAK_S is for how many seconds there are faults at
random (120).

Where there are many of them, some of the allocations and system calls of a life
fail in a run, others in the next. All do with ALLOCATIONS=all and SWEEP=all, which
take long: name the test. SWEEP_S is for how many seconds calls fail over each kind
of end (1.5). What a failure says it was is repeated with SWEEP=CALL:ERROR:NUMBER, as
in SWEEP=recvfrom:EIO:5 tests/check_faults.py Sweep.test_tls.
"""

import contextlib
import ctypes
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import unittest
import unittest.mock
import urllib.request

import check_gateway as base
import check_gateway_local as local
import check_gateway_tls as tls
from check_gateway import (BTGATE, MEGABYTE, PATIENCE_S, PortEnd, SocketEnd,
                           digest, free_port, is_sanitized)
from lives import Lives

SOAK_S = float(os.environ.get("SOAK_S", "120"))
# sched.h
CLONE_NEWNET = 0x40000000
SWEEP_S = float(os.environ.get("SWEEP_S", "1.5"))
# A page here and there, and what the allocator keeps: not a leak per event.
GROWN_KB_MOST = 1024
HEADS = ("fault", "passed beside it", "memory", "descriptors", "log lines",
         "asleep")
rows = []


def add_row(*cells):
    """What does not make sense of a fault is left out."""
    rows.append(cells + ("",) * (len(HEADS) - len(cells)))


def once(test):
    """Only with the build that people run: what mostly waits, or counts, has
    nothing for sanitizers to see that the rest does not show them."""
    return None if is_sanitized() else test


class Calm(threading.Thread):
    """A session that sends and compares until it is stopped; a few hundred times a
    second, so that others have the processor."""

    def __init__(self, end):
        super().__init__()
        self.end = end
        self.is_over = False
        self.may_go = threading.Event()
        self.may_go.set()
        self.total = 0
        self.failure = None
        self.start()

    def run(self):
        try:
            while not self.is_over:
                self.may_go.wait()
                data = random.randbytes(random.randrange(1, 20000))
                self.end.send(data)
                if self.end.recv_exactly(len(data)) != data:
                    raise AssertionError("other bytes came back")
                self.total += len(data)
                time.sleep(0.003)
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error

    def finish(self):
        self.is_over = True
        self.join()
        if self.failure:
            raise self.failure


class Ground(base.GatewayTest):
    """Routes: "calm", and "fire", which things happen to."""

    def spawn_by(self, program, *arguments, **options):
        """A gateway, by a program that makes way for it."""
        with unittest.mock.patch.object(base, "BTGATE", program):
            return super().spawn(arguments, **options)

    def prepare(self, target, listen=None, **keys):
        self.fire, self.calm = self.port(), self.port()
        self.gateway = self.start(
            self.route(f"tcp:{self.calm}", "echo", "calm") +
            self.route(listen or f"tcp:{self.fire}", target, "fire", **keys))
        return self.gateway

    def prepare_tcp(self, **keys):
        listener, port = self.server()
        self.prepare(f"tcp:127.0.0.1:{port}", **keys)
        return listener

    def pair(self, listener):
        client = self.dial(self.fire)
        return client, self.accept(listener)

    def assert_sleeps(self):
        """In the middle of a fault: while nothing passes beside it."""
        self.beside.may_go.clear()
        self.await_that(self.gateway.is_asleep)
        self.beside.may_go.set()
        self.has_slept = True

    @contextlib.contextmanager
    def fault(self, name, told=None, lines=1):
        """What happens inside is survived; told is what the log says of it, in
        so many lines (None: some, it is more than one event)."""
        gateway = self.gateway
        end = self.dial(self.calm)
        self.assert_echoes(end)
        self.assert_echoes(self.warm_up())
        fds, rss = self.fds_at_rest(gateway), gateway.status_field("VmRSS")
        before = len(gateway.matches(told)) if told else 0
        self.has_slept = False
        self.beside = Calm(end)
        try:
            yield
        finally:
            self.beside.may_go.set()
            self.beside.finish()
        if told:
            gateway.await_line(told, before + (lines or 1))
        self.await_fds(gateway, fds)
        self.await_that(gateway.is_asleep)
        said = len(gateway.matches(told)) - before if told else 0
        if told and lines:
            self.assertEqual(said, lines, gateway.log())
        grown = gateway.status_field("VmRSS") - rss
        if not is_sanitized():
            self.assertLess(grown, GROWN_KB_MOST)
        add_row(name, f"{self.beside.total // 1024} KiB", f"{grown:+d} KiB",
                f"{gateway.fd_count() - len(fds):+d}", str(said) if told else "",
                "in it and after" if self.has_slept else "after")

    @staticmethod
    def numbers(port):
        """What metrics say, as they write it: {name{labels}: value}."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics",
                                    timeout=PATIENCE_S) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, value in (
            line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    @staticmethod
    def total(numbers, name):
        """Of what there are several of, as of directions, of the route "fire"."""
        return sum(value for key, value in numbers.items()
                   if key.startswith(f'btgate_{name}_total{{route="fire"'))

    @staticmethod
    def has_no_children():
        """Once the gateway has ended: orphans of its programs become ours."""
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            return False
        return True

    def warm_up(self):
        """What is allocated once is not what an event leaves behind."""
        return self.dial(self.calm)


class Faults(Ground):
    def test_target_refuses(self):
        holder, port = free_port()
        self.keep(holder)
        self.prepare(f"tcp:127.0.0.1:{port}")
        with self.fault("target refuses",
                        "route fire: refused .* refused the connection"):
            self.assert_turned_away(self.fire)

    def test_target_black_holes(self):
        port = base.Dialling.black_hole(self)
        self.prepare(f"tcp:127.0.0.1:{port}", connect_timeout="500ms")
        with self.fault("target never answers",
                        "route fire: refused .* did not answer within 500ms"):
            self.assert_turned_away(self.fire)

    def test_target_resets(self):
        listener = self.prepare_tcp()
        with self.fault("target resets in the middle",
                        "route fire: session .* ended: target broke off: "
                        "Connection reset"):
            client, target = self.pair(listener)
            target.send(b"half of it")
            self.assertEqual(client.recv_exactly(10), b"half of it")
            target.reset()
            with contextlib.suppress(ConnectionError):
                self.assertEqual(client.recv_all(), b"")
            client.close()

    @once
    def test_client_half_closes(self):
        listener = self.prepare_tcp(linger="100ms", drain_timeout="100ms")
        with self.fault("client half-closes, the answer comes 2 s later",
                        "route fire: session .* ended: client closed"):
            client, target = self.pair(listener)
            client.send(b"question")
            client.end_writing()
            self.assertEqual(target.recv_all(), b"question")
            time.sleep(2)
            self.assert_sleeps()
            target.send(b"answer")
            target.close()
            self.assertEqual(client.recv_all(), b"answer")

    @once
    def test_target_half_closes(self):
        listener = self.prepare_tcp(linger="100ms", drain_timeout="100ms")
        with self.fault("target half-closes, the client goes on 2 s later",
                        "route fire: session .* ended: target closed"):
            client, target = self.pair(listener)
            target.send(b"banner")
            target.end_writing()
            self.assertEqual(client.recv_all(), b"banner")
            time.sleep(2)
            self.assert_sleeps()
            client.send(b"more")
            client.close()
            self.assertEqual(target.recv_all(), b"more")

    def test_target_never_reads(self):
        listener = self.prepare_tcp()
        with self.fault("target never reads, and leaves when both have waited",
                        "route fire: session .* ended: target broke off: .*"
                        "bytes could not be delivered"):
            client, target = self.pair(listener)
            self.assertGreater(client.offer(), 100000)
            self.assert_sleeps()
            # What it has not read says that it did not want it.
            target.close()
            with contextlib.suppress(ConnectionError):
                self.assertEqual(client.recv_all(), b"")
            client.close()

    def test_a_byte_at_a_time(self):
        listener = self.prepare_tcp()
        data = random.randbytes(3000)
        with self.fault("both write one byte at a time",
                        "route fire: session .* ended: client closed"):
            client, target = self.pair(listener)
            for end in (client, target):
                end.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(len(data)):
                client.send(data[i:i + 1])
                target.send(data[i:i + 1])
            self.assertEqual(target.recv_exactly(len(data)), data)
            self.assertEqual(client.recv_exactly(len(data)), data)
            client.close()
            target.close()

    def test_client_resets_under_back_pressure(self):
        listener = self.prepare_tcp()
        with self.fault("client resets while it is back-pressured",
                        "route fire: session .* ended: client broke off: "
                        "Connection reset by peer; .*could not be delivered"):
            client, target = self.pair(listener)
            client.offer()
            self.assert_sleeps()
            client.reset()
            # Nobody reads, and still it is noticed.
            self.gateway.await_line("client broke off")
            target.close()

    @once
    def test_a_flood_of_clients(self):
        self.prepare("echo")
        with self.fault("a thousand clients, every other one resets"):
            for i in range(1000):
                client = self.dial(self.fire)
                client.send(b"x")
                if i % 2:
                    client.reset()
                else:
                    self.assertEqual(client.recv_exactly(1), b"x")
                    client.close()

    @once
    def test_a_thousand_clients_a_second(self):
        """As fast as they come, up to two hundred at once: each is served, or
        refused and counted with its reason."""
        metrics = self.port()
        self.fire, self.calm = self.port(), self.port()
        self.gateway = self.start(
            f"[gateway]\ncontrol = no\nmetrics = {metrics}\n" +
            self.route(f"tcp:{self.calm}", "echo", "calm") +
            self.route(f"tcp:{self.fire}", "echo", "fire", max_sessions="100"))
        served, refused = [], []

        def come(count):
            for _ in range(count):
                clients = []
                for _ in range(20):
                    # It may be reset before its connect returns.
                    try:
                        clients.append(self.dial(self.fire))
                    except ConnectionError:
                        refused.append(None)
                for client in clients:
                    try:
                        self.assert_echoes(client)
                        served.append(client)
                    except ConnectionError:
                        refused.append(client)
                for client in clients:
                    client.close()

        # They have one address: while one is refused what the other was, that is
        # no news.
        with self.fault("a thousand clients as fast as they come",
                        "route fire: refused .*max-sessions", None):
            crowd = [threading.Thread(target=come, args=(5,))
                     for _ in range(10)]
            begin = time.monotonic()
            for thread in crowd:
                thread.start()
            for thread in crowd:
                thread.join()
            rate = 1000 / (time.monotonic() - begin)
        self.assertEqual(len(served) + len(refused), 1000)
        # Nobody is refused while there is room.
        self.assertGreaterEqual(len(served), 100)
        numbers = self.numbers(metrics)
        self.assertEqual(numbers['btgate_sessions{route="fire"}'], 0)
        self.assertEqual(self.total(numbers, "delivered_bytes"), 2 * 5 * len(served))
        self.assertEqual(self.total(numbers, "lost_bytes"), 0)
        self.assertEqual(numbers['btgate_sessions_total{route="fire"}'],
                         len(served))
        self.assertEqual(
            numbers['btgate_refusals_total{route="fire",reason="busy"}'],
            len(refused))
        print(f"{rate:.0f} a second came, {len(served)} were served, "
              f"{len(refused)} refused with the reason")

    def test_descriptors_run_out(self):
        self.prepare("echo")
        with self.fault("descriptors run out, and nobody is turned away",
                        "no more clients for now: Too many open files"):
            limits = resource.prlimit(self.gateway.pid, resource.RLIMIT_NOFILE)
            few = self.gateway.fd_count() + 20
            resource.prlimit(self.gateway.pid, resource.RLIMIT_NOFILE,
                             (few, limits[1]))
            clients = [self.dial(self.fire) for _ in range(20)]
            for client in clients:
                client.send(b"x")
            self.gateway.await_line("no more clients for now")
            self.assert_sleeps()
            served = [client for client in clients
                      if select.select([client.socket], [], [], 0)[0]]
            self.assertGreater(len(served), 1)
            self.assertLess(len(served), 20)
            resource.prlimit(self.gateway.pid, resource.RLIMIT_NOFILE, limits)
            for client in clients:
                self.assertEqual(client.recv_exactly(1), b"x")
                client.close()
        self.assertEqual(self.gateway.matches("refused"), [])

    @once
    def test_a_log_flood(self):
        holder, port = free_port()
        self.keep(holder)
        self.prepare(f"tcp:127.0.0.1:{port}")
        with self.fault("three thousand refusals in a row",
                        "route fire: refused .*", None):
            for _ in range(3000):
                with contextlib.suppress(ConnectionError), \
                        contextlib.closing(self.dial(self.fire)) as client:
                    client.recv()
        self.assertEqual(self.gateway.stop(), 0)
        self.assertLess(len(self.gateway.lines), 200)

    @once
    def test_stopped_and_continued(self):
        listener = self.prepare_tcp()
        data = random.randbytes(4 * MEGABYTE)
        with self.fault("SIGSTOP, and SIGCONT a second later",
                        "route fire: session .* ended: client closed"):
            client, target = self.pair(listener)
            self.gateway.signal(signal.SIGSTOP)
            sender = threading.Thread(target=client.send, args=(data,))
            sender.start()
            time.sleep(1)
            self.gateway.signal(signal.SIGCONT)
            self.assertEqual(digest(target.recv_exactly(len(data))),
                             digest(data))
            sender.join()
            client.close()
            target.close()

    def test_a_stop_under_load(self):
        listener = self.prepare_tcp()
        ends = [self.pair(listener) for _ in range(20)]
        counts = [[0] for _ in ends]

        def write(client):
            with contextlib.suppress(OSError):
                while True:
                    client.send(bytes(10000))

        def read(target, count):
            with contextlib.suppress(OSError):
                while piece := target.recv():
                    count[0] += len(piece)

        threads = [threading.Thread(target=write, args=(client,))
                   for client, _ in ends]
        threads += [threading.Thread(target=read, args=(target, count))
                    for (_, target), count in zip(ends, counts)]
        for thread in threads:
            thread.start()
        self.await_that(lambda: all(count[0] > MEGABYTE for count in counts))
        self.assertEqual(self.gateway.stop(), 0)
        for thread in threads:
            thread.join()
        # What was read from a client has come out.
        lines = self.gateway.matches(r"route fire: session .* ended")
        self.assertEqual(len(lines), 20)
        logged = sorted(int(line.split(" bytes to target")[0].split()[-1])
                        for line in lines)
        self.assertEqual(logged, sorted(count[0] for count in counts))
        add_row("SIGTERM under load, 20 sessions", f"{sum(logged) // 1024} KiB",
                "", "", "20")

    def test_a_reload_under_load(self):
        """Twenty in a row, each with another route; a line in the log each."""
        self.prepare("echo")
        kept = (self.route(f"tcp:{self.calm}", "echo", "calm") +
                self.route(f"tcp:{self.fire}", "echo", "fire"))
        other = self.port()
        with self.fault("SIGHUP under load, twenty times, 5 sessions",
                        "the new configuration is in force", 20):
            crowd = [Calm(self.dial(self.fire)) for _ in range(5)]
            for turn in range(20):
                self.config(kept + (turn < 19) * self.route(
                    f"tcp:{other}", "echo", f"other{turn}"))
                self.gateway.signal(signal.SIGHUP)
                self.gateway.await_line("in force", turn + 1)
            for calm in crowd:
                calm.finish()
                calm.end.close()

    def test_killed_and_started_again(self):
        path = self.path("port")
        self.prepare(f"pty:{path}")
        self.gateway.kill()
        self.gateways.remove(self.gateway)
        self.prepare(f"pty:{path}")
        program = self.keep(PortEnd(path))
        with self.fault("SIGKILL, and started again: a pty's path"):
            client = self.dial(self.fire)
            client.send(b"hello")
            self.assertEqual(program.recv_exactly(5), b"hello")
            client.close()
            self.gateway.await_line("route fire: session 1 .* ended")

    def test_a_full_log(self):
        self.fire, self.calm = self.port(), self.port()
        with open("/dev/full", "wb") as full:
            process = subprocess.Popen(
                [BTGATE, "run", "-c", self.config(
                    self.route(f"tcp:{self.calm}", "echo", "calm"))],
                stderr=full)
        for _ in range(100):
            with contextlib.suppress(ConnectionRefusedError):
                calm = self.dial(self.calm)
                break
            time.sleep(0.05)
        self.assert_echoes(calm, random.randbytes(100000))
        process.terminate()
        self.assertEqual(process.wait(PATIENCE_S), 0)
        add_row("a full disk under the log", "100 KiB")


class Privileged(Ground):
    """With a mount namespace of its own, where root is at hand."""

    def setUp(self):
        super().setUp()
        if subprocess.run(["unshare", "--mount", "true"], check=False,
                          stderr=subprocess.DEVNULL).returncode:
            self.skipTest("a mount namespace needs root")

    def prepare_with(self, mount, text):
        """A gateway that sees what the shell command has mounted."""
        config = self.config(text)
        gateway = self.spawn_by(
            "unshare", "--mount", "sh", "-c",
            f'{mount} && exec "$0" run -c "$1"', BTGATE, config)
        gateway.await_line(r"-> listening", text.count("[route "))
        self.gateway = gateway

    def prepare_on_small_disk(self, connect, **keys):
        """A route to connect whose {disk} has 256 KiB; where that is."""
        where = os.path.join(self.base, "disk")
        os.mkdir(where)
        self.fire, self.calm = self.port(), self.port()
        self.prepare_with(
            f"mount -t tmpfs -o size=256k tmpfs {where}",
            self.route(f"tcp:{self.calm}", "echo", "calm") +
            self.route(f"tcp:{self.fire}", connect, "fire",
                       **keys).replace("{disk}", where))
        return where

    def test_a_full_disk(self):
        self.prepare_on_small_disk("file:{disk}/log")
        with self.fault("a full disk under a file target",
                        "route fire: session .* ended: .*No space left"):
            client = self.dial(self.fire)
            with contextlib.suppress(ConnectionError):
                client.send(bytes(MEGABYTE))
                client.recv_all()
            client.close()

    def test_a_full_disk_under_a_trace(self):
        where = self.prepare_on_small_disk("echo", trace="{disk}/trace",
                                           trace_format="pcapng")
        with self.fault("a full disk under a trace",
                        "route fire: the trace cannot be written to .*"
                        "No space left"):
            client = self.dial(self.fire)
            for _ in range(3):
                self.assert_echoes(client, random.randbytes(MEGABYTE))
            client.close()
        self.gateway.await_exactly("cannot be written", 1)
        # Somebody makes room; the next session finds it.
        os.unlink(f"/proc/{self.gateway.pid}/root{where}/trace")
        self.await_that(lambda: self.assert_echoes(self.dial(self.fire), b"x")
                        or self.gateway.matches("the trace in .* goes on; "))

    def prepare_with_dns(self, number, code=None):
        """A route to a name, for which a server of ours is asked: it says what
        is the matter (RFC 1035, 4.1.1), or nothing. When it was asked."""
        # Its port is given: the address is this run's own, and this test's.
        host = f"127.{number}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
        server = self.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        server.bind((host, 53))

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    question, peer = server.recvfrom(512)
                    asked.set()
                    if code:
                        # A response, and recursion is available.
                        server.sendto(question[:2] + bytes([0x81, 0x80 + code])
                                      + question[4:], peer)

        asked = threading.Event()
        threading.Thread(target=serve, daemon=True).start()
        resolv = os.path.join(self.base, "resolv.conf")
        hosts = os.path.join(self.base, "nsswitch.conf")
        with open(resolv, "w", encoding="ascii") as file:
            file.write(f"nameserver {host}\n"
                       "options timeout:2 attempts:1\nsearch .\n")
        with open(hosts, "w", encoding="ascii") as file:
            file.write("hosts: files dns\n")
        os.chmod(self.base, 0o755)
        self.fire, self.calm = self.port(), self.port()
        self.prepare_with(
            f"mount --bind {resolv} \"$(readlink -f /etc/resolv.conf)\" && "
            f"mount --bind {hosts} /etc/nsswitch.conf",
            self.route(f"tcp:{self.calm}", "echo", "calm") +
            self.route(f"tcp:{self.fire}", "tcp:somewhere.example:9", "fire",
                       connect_timeout="1s"))
        return asked

    @once
    def test_slow_dns(self):
        asked = self.prepare_with_dns(77)
        with self.fault("a name server that does not answer",
                        "route fire: refused .* did not answer within 1s"):
            client = self.dial(self.fire)
            self.assertTrue(asked.wait(PATIENCE_S))
            before = self.beside.total
            self.assert_reset(client)
            self.assertGreater(self.beside.total, before)

    def test_failing_dns(self):
        self.prepare_with_dns(78, 2)
        with self.fault("a name server that has failed",
                        "route fire: refused .*Temporary failure"):
            self.assert_turned_away(self.fire)

    def test_unknown_name(self):
        self.prepare_with_dns(79, 3)
        with self.fault("a name that is not there",
                        "route fire: refused .*not known"):
            self.assert_turned_away(self.fire)


class Cut(Ground):
    """A link that goes without a word, between two network namespaces: the
    gateway's, and one that this thread has for itself meanwhile."""

    # TEST-NET-1 (RFC 5737): nobody's.
    HERE, THERE = "192.0.2.1", "192.0.2.2"

    def setUp(self):
        super().setUp()
        if subprocess.run(["unshare", "--net", "true"], check=False,
                          stderr=subprocess.DEVNULL).returncode:
            self.skipTest("a network namespace needs root")
        libc = ctypes.CDLL(None, use_errno=True)
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.addCleanup(os.close, before)
        self.assertEqual(libc.unshare(CLONE_NEWNET), 0)
        self.addCleanup(lambda: self.assertEqual(
            libc.setns(before, CLONE_NEWNET), 0))

    def spawn(self, arguments, **options):
        """In a namespace of its own."""
        return self.spawn_by("unshare", "--net", BTGATE, *arguments, **options)

    def lay_cable(self):
        pid = str(self.gateway.pid)
        try:
            self.ip("link", "add", "near", "type", "veth", "peer", "name", "far",
                    "netns", pid)
        except subprocess.CalledProcessError:
            self.skipTest("no virtual Ethernet here")
        self.ip("address", "add", f"{self.HERE}/24", "dev", "near")
        self.ip("link", "set", "near", "up")
        there = ["nsenter", "--net", "--target", pid, "ip"]
        for arguments in (["address", "add", f"{self.THERE}/24", "dev", "far"],
                          ["link", "set", "far", "up"]):
            subprocess.run([*there, *arguments], check=True)

    @staticmethod
    def ip(*arguments):
        subprocess.run(["ip", *arguments], check=True,
                       stderr=subprocess.DEVNULL)

    def listen(self, port):
        """At our end of the cable."""
        listener = self.keep(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.HERE, port))
        listener.listen()
        listener.settimeout(PATIENCE_S)
        return listener

    def test_a_link_that_goes(self):
        """Who was at its other end is given up after twice as long as it may be
        silent; who is held is dialled until it is there again."""
        calm, held = self.path("calm"), self.path("held")
        gateway = self.gateway = self.start(
            self.route(f"unix:{calm}", "echo", "calm") +
            self.route("tcp:*:2000,keepalive=1s", "echo", "fire") +
            self.route(f"unix:{held}", f"tcp:{self.HERE}:2001,keepalive=1s",
                       "held", hold="yes", retry="100ms..200ms",
                       connect_timeout="500ms"))
        self.lay_cable()
        listener = self.listen(2001)
        fds = self.fds_at_rest(gateway)
        beside = Calm(self.dial_unix(calm))
        sock = socket.create_connection((self.THERE, 2000), PATIENCE_S)
        far = self.keep(SocketEnd(sock))
        near = self.dial_unix(held)
        first = self.accept(listener)
        for end in (far, near):
            end.send(b"hello")
        self.assertEqual(far.recv_exactly(5), b"hello")
        self.assertEqual(first.recv_exactly(5), b"hello")
        begin = time.monotonic()
        self.ip("link", "set", "near", "down")
        gateway.await_line("route fire: session 1 .* ended: client broke off: "
                           "(Connection timed out|No route to host)")
        gateway.await_line(f"route held: .*{self.HERE}:2001 is lost: ")
        gone_s = time.monotonic() - begin
        self.assertGreater(gone_s, 1)
        self.ip("link", "set", "near", "up")
        again = self.accept(listener)
        gateway.await_line("route held: .* is reached again")
        near.send(b"there")
        self.assertEqual(again.recv_exactly(5), b"there")
        beside.finish()
        for end in (near, again, beside.end):
            end.close()
        self.await_fds(gateway, fds)
        self.await_that(gateway.is_asleep)
        add_row(f"a link that goes: noticed after {gone_s:.1f} s",
                f"{beside.total // 1024} KiB", "", "+0", "", "after")


# The end of a session, where that is not what it is about.
SOON = {"linger": "50ms", "drain_timeout": "100ms"}
# As strace(1) injects them: each Nth call of these fails so, and so many of four
# sessions are well all the same; who is interrupted or told to wait has lost
# nothing, but for a connection that is not made at all.
SOCKET_CALLS = [
    ("recvfrom,recvmsg", "EINTR", "2+3", 4),
    ("recvfrom,recvmsg", "EAGAIN", "2+3", 4),
    ("sendto,sendmsg", "EINTR", "2+3", 4),
    ("sendto,sendmsg", "EAGAIN", "3+3", 4),
    ("sendto,sendmsg", "ENOBUFS", "5", 3),
    ("accept4,accept", "EINTR", "1+2", 4),
    ("accept4,accept", "ECONNABORTED", "1+2", 4),
    ("accept4,accept", "EMFILE", "1", 4),
    ("connect", "EINTR", "1", 3),
    ("epoll_wait,epoll_pwait", "EINTR", "2+3", 4),
    ("socket", "ENOBUFS", "8", 3),
    ("recvfrom,recvmsg", "EIO", "9", 3),
    ("epoll_ctl", "ENOMEM", "14", 3),
]
# A connect(2) to a full backlog is EAGAIN, and says nothing later.
UNIX_CALLS = SOCKET_CALLS + [("connect", "EAGAIN", "2", 3)]
# Of a pty's master. Not of every write(2): by one libevent's handler says that a
# signal came.
MASTER_CALLS = [
    ("read,readv", "EINTR", "2+3", 4),
    ("read,readv", "EAGAIN", "2+3", 4),
    ("write,writev", "EINTR", "2+3", 4),
    ("write,writev", "EAGAIN", "2+3", 4),
    ("write,writev", "EIO", "9", 3),
]
PTY_CALLS = MASTER_CALLS + [("read,readv", "EIO", "9", 3)]
MASTER = ["/dev/ptmx", "/dev/pts/ptmx"]
EXEC_PTY_CALLS = [MASTER_CALLS[0], MASTER_CALLS[3],
                  ("openat", "EMFILE", "1", 3)]
EXEC_CALLS = [
    ("clone,clone3,vfork", "EAGAIN", "2", 3),
    ("pipe2", "EMFILE", "3", 3),
    ("eventfd2", "EMFILE", "2", 3),
]
# By which a program's exit is told.
EXIT_CALLS = [("write", "EAGAIN", "1", 4)]
EXIT = ["anon_inode:[eventfd]"]


class Traced(Ground):
    def setUp(self):
        super().setUp()
        if not shutil.which("strace") or subprocess.run(
                ["strace", "-o", "/dev/null", "true"], check=False).returncode:
            self.skipTest("nothing can be traced here")

    def spawn_traced(self, options, text):
        """A gateway with this config, by strace(1), which becomes ours."""
        return self.spawn_by("strace", "-D", "-q", *options, BTGATE, "run", "-c",
                             self.config(text))


@once  # a leak check cannot be traced
class SystemCalls(Traced):
    """Each fails in turn: sessions that it does not hit are not touched, and
    what it hits ends with a reason; nothing crashes."""

    def run_with(self, injected, connect, talk, paths):
        """Four clients, each of whom does talk(client); how many could."""
        calls, error, when, least = injected
        port = self.port()
        gateway = self.spawn_traced(
            ["-o", "/dev/null", "-e", f"trace={calls}",
             "-e", f"inject={calls}:error={error}:when={when}",
             *[word for path in paths for word in ("-P", path)]],
            self.route(f"tcp:{port}", connect, **SOON))
        gateway.await_line("-> listening")
        self.gateway = gateway
        fds, survivors = self.fds_at_rest(gateway), 0
        for number in range(4):
            # Who is hit may be reset before connect(2) has seen it through.
            try:
                with contextlib.closing(self.dial(port)) as client:
                    talk(client)
                    survivors += 1
            except (OSError, EOFError):
                pass
            # Where it was hit, the log says so.
            gateway.await_line(" refused |ended: ", number + 1)
        self.await_fds(gateway, fds)
        self.assertEqual(gateway.stop(), 0, gateway.log())
        os.waitpid(-1, 0)  # strace, which has become ours
        self.assertGreaterEqual(survivors, least, gateway.log())
        return survivors

    def each(self, kind, table, connect, talk, paths=()):
        for injected in table:
            with self.subTest(kind=kind, injected=injected):
                survivors = self.run_with(injected, connect, talk, paths)
                calls, error, when, _ = injected
                add_row(f"{kind}, {calls.split(',')[0]}: {error}, call {when}",
                        f"{survivors} of 4 sessions", "", "+0")

    def talk_to(self, listener):
        """What passes between a client and whom the gateway dials for it."""
        listener.settimeout(2)  # for who never comes

        def talk(client):
            with contextlib.closing(SocketEnd(listener.accept()[0])) as target:
                self.pass_both_ways(client, target)
        return talk

    @staticmethod
    def pass_both_ways(client, target):
        data = random.randbytes(20000)
        base.pass_bytes(client, target, data)
        base.pass_bytes(target, client, data)

    def test_tcp(self):
        listener, port = self.server()
        self.each("tcp", SOCKET_CALLS, f"tcp:127.0.0.1:{port}",
                  self.talk_to(listener))

    def test_unix(self):
        listener, path = self.unix_server("target")
        self.each("unix", UNIX_CALLS, f"unix:{path}", self.talk_to(listener))

    def test_pty(self):
        path = self.path("port")

        def talk(client):
            with contextlib.closing(PortEnd(path)) as program:
                program.patience_s = 5
                try:
                    self.pass_both_ways(client, program)
                except (OSError, EOFError):
                    # A cable keeps what was not read.
                    while not program.is_silent(0.2):
                        program.recv()
                    raise
        self.each("pty", PTY_CALLS, f"pty:{path}", talk, MASTER)

    def test_exec(self):
        def talk(client):
            client.socket.settimeout(5)
            base.pass_bytes(client, client, random.randbytes(20000))

        def talk_on_pty(client):
            client.socket.settimeout(5)
            self.assertEqual(client.recv_exactly(6), b"ready\n")
            talk(client)
        self.each("exec", EXEC_CALLS, "exec:cat,pipe", talk)
        self.each("an exit", EXIT_CALLS, "exec:cat,pipe", talk, EXIT)
        self.each("exec on a pty", EXEC_PTY_CALLS,
                  "exec:stty raw -echo; echo ready; exec cat", talk_on_pty,
                  MASTER)


def serve_echo(listener):
    """Until the listener is closed."""
    with contextlib.suppress(OSError):
        while True:
            end = listener.accept()[0]
            with contextlib.suppress(OSError), end:
                while piece := end.recv(65536):
                    end.sendall(piece)


class Kinds(Ground):
    """Kinds of ends, each as the text of its route and what a client does, once for
    each life of a gateway or several times."""

    def setUp(self):
        super().setUp()
        self.fire = self.port()

    def serve(self, serve=serve_echo):
        """A target, served by a thread; its path."""
        listener, path = self.unix_server("target")
        listener.settimeout(None)
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        return path

    def serve_tcp(self, serve=serve_echo):
        """The same; its port."""
        listener, port = self.server()
        listener.settimeout(None)
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        return port

    def to(self, target, **keys):
        return self.route(f"tcp:{self.fire}", target, "fire", **SOON, **keys)

    def talk(self, _lives=None):
        with contextlib.closing(self.dial(self.fire)) as client:
            self.assert_echoes(client, bytes(20000))

    def a_name(self):
        return self.to(f"tcp:localhost:{self.serve_tcp()}"), self.talk

    def a_program(self):
        return self.to("exec:cat,pipe"), self.talk

    def a_program_on_a_pty(self):
        def talk(_lives=None):
            with contextlib.closing(self.dial(self.fire)) as client:
                self.assertEqual(client.recv_exactly(6), b"ready\n")
                self.assert_echoes(client)
        return self.to("exec:stty raw -echo; echo ready; exec cat"), talk

    def a_socket(self):
        path = self.path("socket")

        def talk(_lives=None):
            with contextlib.closing(self.dial_unix(path)) as client:
                self.assert_echoes(client, bytes(20000))
        return self.route(f"unix:{path}", "echo", "fire", **SOON), talk

    def records(self):
        path = self.path("socket")

        def talk(_lives=None):
            client = self.dial_unix(path, socket.SOCK_SEQPACKET)
            with contextlib.closing(client):
                for size in (1, 100, 3000):
                    client.send(bytes(size))
                    piece = client.recv()
                    if not piece:
                        raise EOFError
                    self.assertEqual(len(piece), size)
        return self.route(f"unix:{path},seqpacket", "echo", "fire", **SOON), talk

    def a_modem(self):
        path = self.path("port")

        def talk(_lives=None):
            with contextlib.closing(PortEnd(path)) as program:
                self.assert_echoes(program)
        return self.route(f"pty:{path}", "echo", "fire", **SOON), talk

    def a_port(self):
        """What is at it echoes. A word each time: there may be one in it still, for
        somebody who left."""
        device = self.keep(local.Device(os.path.join(self.base, "tty")))

        def echo():
            while device.fd >= 0:
                try:
                    select.select([device.fd], [], [])
                    os.write(device.fd, os.read(device.fd, 100))
                except (OSError, ValueError):
                    time.sleep(0.01)  # nobody has it open

        def talk(_lives=None):
            with contextlib.closing(self.dial(self.fire)) as client:
                self.assert_echoes(client)
        threading.Thread(target=echo, daemon=True).start()
        return self.to(f"serial:{device.path},local"), talk

    def tls(self):
        certificates = tls.Certificates()
        self.addCleanup(certificates.remove)
        context = ssl.create_default_context(cafile=certificates.path("ca.pem"))

        def talk(_lives=None):
            sock = socket.create_connection(("127.0.0.1", self.fire),
                                            PATIENCE_S)
            with sock, context.wrap_socket(
                    sock, server_hostname="localhost") as end:
                end.sendall(b"hello")
                said = end.recv(5)
                if not said:
                    raise EOFError  # this is what there was no memory for
                self.assertEqual(said, b"hello")
        return self.route(f"tls:{self.fire}," + certificates.pair("server"),
                          "echo", "fire", **SOON), talk

    def a_tls_target(self):
        certificates = tls.Certificates()
        self.addCleanup(certificates.remove)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.path("server.pem"),
                                certificates.path("server.key"))

        def serve(listener):
            with contextlib.suppress(OSError):
                while True:
                    end = listener.accept()[0]
                    with contextlib.suppress(OSError), end, \
                            context.wrap_socket(end, server_side=True) as shell:
                        while piece := shell.recv(65536):
                            shell.sendall(piece)
        return self.to(f"tls:localhost:{self.serve_tcp(serve)},"
                       f"ca={certificates.path('ca.pem')}"), self.talk

    def shared(self):
        """Two clients; each hears what was said to both."""
        def talk(_lives=None):
            with contextlib.closing(self.dial(self.fire)) as first, \
                    contextlib.closing(self.dial(self.fire)) as second:
                self.assert_echoes(first, bytes(20000))
                second.send(b"x")
                second.recv()
        return self.to(f"unix:{self.serve()}", when_busy="share"), talk

    def a_traced_file(self):
        path = os.path.join(self.base, "file")

        def talk(_lives=None):
            words = random.randbytes(3000)
            with contextlib.closing(self.dial(self.fire)) as client:
                client.send(words)
                client.end_writing()
                client.recv_all()
            with open(path, "rb") as file:
                if words not in file.read():
                    raise EOFError
        return self.to(f"file:{path}", trace=f"{self.base}/trace"), talk

    def held(self):
        """What was on its way when the target was lost never comes."""
        def talk(_lives=None):
            def count_lost():
                return len(self.gateway.matches("is lost: "))
            before, left = count_lost(), 20000
            until = time.monotonic() + PATIENCE_S
            with contextlib.closing(self.dial(self.fire)) as client:
                client.send(bytes(left))
                while left:
                    while not select.select([client.socket], [], [], 0.05)[0]:
                        if count_lost() > before:
                            raise EOFError
                        if time.monotonic() > until:
                            raise TimeoutError
                    piece = client.recv()
                    if not piece:
                        raise EOFError
                    left -= len(piece)
        return self.to(f"tcp:127.0.0.1:{self.serve_tcp()}", hold="link",
                       retry="100ms..200ms"), talk

    def packets(self):
        def talk(_lives=None):
            with contextlib.closing(self.dial(self.fire)) as client:
                self.assert_echoes(client, b"one\ntwo\nthree\n" * 100)
        return self.route(f"tcp:{self.fire},pack-until=\\n",
                          f"unix:{self.serve()}", "fire", **SOON), talk

    def newcomers(self):
        def talk(_lives=None):
            with contextlib.closing(self.dial(self.fire)), \
                    contextlib.closing(self.dial(self.fire)) as second:
                self.assert_echoes(second)
        return self.to("echo", max_sessions="1", when_busy="replace"), talk

    def strangers(self):
        """Who is not among the clients, and then who is."""
        def talk(_lives=None):
            stranger = socket.socket()
            with contextlib.suppress(ConnectionError), stranger:
                stranger.bind(("127.0.0.9", 0))
                stranger.connect(("127.0.0.1", self.fire))
                self.assertEqual(stranger.recv(1), b"")
            with contextlib.closing(self.dial(self.fire)) as client:
                self.assert_echoes(client)
        return self.to("echo", clients="127.0.0.1"), talk

    def a_slow_target(self):
        """What it has not taken yet is kept."""
        def serve(listener):
            with contextlib.suppress(OSError):
                while True:
                    end = listener.accept()[0]
                    with contextlib.suppress(OSError), end:
                        time.sleep(0.03)
                        total = 0
                        while piece := end.recv(65536):
                            total += len(piece)
                        end.sendall(b"%d" % total)

        def talk(_lives=None):
            with contextlib.closing(self.dial(self.fire)) as client:
                client.send(bytes(8 * MEGABYTE))
                client.end_writing()
                if client.recv_all() != b"%d" % (8 * MEGABYTE):
                    raise EOFError
        return self.to(f"tcp:127.0.0.1:{self.serve_tcp(serve)}"), talk


# Each of these fails so, somewhere.
ERRORS = {call: errors for calls, errors in (
    ("read recvfrom recvmsg", ("EINTR", "EAGAIN", "EIO", "ENOMEM")),
    ("write writev sendto sendmsg", ("EINTR", "EAGAIN", "ENOBUFS", "EIO")),
    ("accept accept4", ("EINTR", "EMFILE", "ENOBUFS", "ECONNABORTED")),
    ("connect", ("EINTR", "EAGAIN", "ENOBUFS")),
    ("socket socketpair pipe2 eventfd2 epoll_create1 timerfd_create "
     "inotify_init1 dup dup2 dup3", ("EMFILE", "ENOMEM")),
    ("fcntl", ("EMFILE",)),
    ("bind listen", ("EADDRINUSE", "ENOBUFS")),
    ("epoll_ctl", ("ENOMEM", "ENOSPC")),
    ("epoll_wait epoll_pwait", ("EINTR",)),
    ("setsockopt getsockopt getsockname getpeername", ("ENOBUFS", "ENOMEM")),
    ("open openat", ("EMFILE", "EINTR", "EIO")),
    ("ioctl", ("EINTR", "EIO")),
    ("fstat newfstatat lseek ftruncate flock rename symlink chmod fchmod chown "
     "fchownat inotify_add_watch readlink", ("EIO", "ENOMEM")),
    ("shutdown", ("ENOBUFS",)),
    ("clone clone3 vfork", ("EAGAIN",)),
) for call in calls.split()}
# Whom they are not tried on:
NOT_TRIED = re.compile(
    # glibc's getaddrinfo aborts where a socket cannot be set back so (2.36,
    # getaddrinfo.c:2555: its own assertion), which the kernel never refuses;
    r"connect\(\d+, \{sa_family=AF_UNSPEC"
    # libevent says nothing of a signal that it cannot tell itself of (2.1,
    # evsig_handler), which has room for hundreds;
    r'|write\(\d+, "\\(1|17|21)", 1\)'
    # and where the log is lost nobody is told of that.
    r"|writev?\(2,")
# What the log says of who was not served, or not well. A program that was well
# exits too: with status 0, or it is hung up when its client has left (SIGHUP, 1).
REASON = (r"refused |cannot|no more clients|warning: |is lost|"
          r"exited with status [1-9]|was killed by signal (?!1 )|"
          r"ended: (?!client closed;)")


# With these it is found out whether what is there is its own to take away. A lock
# file that could not be locked may be somebody else's.
REMOVAL = re.compile(r"\b(fstat|newfstatat|readlink|rename|flock)\(")


class InVain(Exception):
    """What was hit is none of those that are tried."""


@once  # a leak check cannot be traced
class Sweep(Kinds, Traced):
    """A call of a life fails, whichever: what it hits ends with a reason, the
    others do not notice, and afterwards all is as if it had not been."""

    def attempt(self, act):
        """Whether it could be done; who is not served is never left waiting."""
        try:
            act()
        except TimeoutError as error:
            raise AssertionError("nobody has an answer") from error
        except (OSError, EOFError):
            return False
        return True

    def hits(self):
        with contextlib.suppress(FileNotFoundError), \
                open(self.traced, encoding="ascii", errors="replace") as file:
            return [line for line in file if "(INJECTED)" in line]
        return []

    def await_life(self, condition):
        """Or its end: whether it lives."""
        def is_so():
            if any(NOT_TRIED.search(line) for line in self.hits()):
                raise InVain
            return self.gateway.is_quiet or condition()
        self.await_that(is_so)
        return not self.gateway.is_quiet

    def talk_alone(self, talk):
        """Some targets are one client's at a time, until its session has ended."""
        def count(what):
            return len(self.gateway.matches(f"route fire: session .* {what}"))
        self.await_life(lambda: count("connected to") <= count("ended: "))
        began = count("connected to")
        talk()
        # The next one would not wait for what it has not been told of yet.
        self.await_life(lambda: count("connected to") > began)

    def clients(self, talk):
        """Two, one after the other, with one beside them; who was not served."""
        lost = set()
        with contextlib.ExitStack() as stack:
            beside = []
            if not self.attempt(lambda: beside.append(stack.enter_context(
                    contextlib.closing(self.dial(self.calm))))):
                lost.add("calm")
            for _ in range(2):
                if not self.attempt(lambda: self.talk_alone(talk)):
                    lost.add("fire")
                if beside and not self.attempt(
                        lambda: self.assert_echoes(beside[0])):
                    lost.add("calm")
                    beside.clear()
        return lost

    def live(self, text, talk, options, most_fds=1000):
        """A life; with how many descriptors it was in the end, or None. What it
        made it takes away, except where that is what was hit."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.traced)
        self.gateway = self.spawn_traced(["-o", self.traced, *options], text)
        try:
            fds = self.live_through(talk, "-f" in options, most_fds)
            if not any(REMOVAL.search(line) for line in self.hits()):
                self.assertEqual(os.listdir(self.run_dir), [])
            return fds
        finally:
            self.gateway.kill()
            self.gateways.remove(self.gateway)
            self.await_that(self.has_no_children)
            # Not the next one's.
            for name in os.listdir(self.run_dir):
                os.unlink(self.path(name))

    def live_through(self, talk, has_threads, most_fds):
        gateway, fds, lost = self.gateway, None, {"all"}
        if self.await_life(lambda: len(gateway.matches(
                "-> (listening|waiting)")) >= 2):
            lost = self.clients(talk)
        if has_threads and not gateway.is_quiet:
            # Each has calls of its own, and would be hit again.
            os.kill(gateway.status_field("TracerPid"), signal.SIGTERM)
            self.await_that(lambda: not gateway.status_field("TracerPid"))
        if self.await_life(lambda: self.attempt(
                lambda: self.talk_alone(talk))) and self.await_life(
                    lambda: gateway.fd_count() <= most_fds and
                    gateway.is_asleep()):
            fds = gateway.fd_count()
            # A call is somebody's.
            self.assertLess(len(lost), 2)
        self.assertIn(gateway.stop(), (0, 1, 2))
        self.await_life(lambda: True)
        if lost or gateway.process.returncode:
            self.assertRegex(gateway.log(), REASON)
        return fds

    def find_calls(self):
        """Of the life that was traced: each call's name, and which ones of them.
        Those before it has its configuration are the dynamic linker's."""
        counts, found = {}, {}
        has_begun = False
        with open(self.traced, encoding="ascii", errors="replace") as file:
            for line in file:
                match = re.match(r"(\d+ +)?(\w+)\(", line)
                if not match:
                    continue
                thread, name = match.groups()
                number = counts[thread, name] = counts.get((thread, name), 0) + 1
                has_begun = has_begun or "btgate.conf" in line
                if has_begun and not NOT_TRIED.search(line):
                    found.setdefault(name, {}).setdefault(number, line)
        return found

    @staticmethod
    def choose(found, first):
        """Of each call as often, whichever there are most of; two that have the
        pattern in them come first."""
        wanted = os.environ.get("SWEEP")
        if wanted == "all":
            yield from ((name, error, number) for name, numbers in found.items()
                        for number in numbers for error in ERRORS[name])
        elif wanted:
            yield tuple(wanted.split(":"))
        else:
            until = time.monotonic() + SWEEP_S
            if first:
                yield from random.sample(sorted(
                    (name, error, number) for name, numbers in found.items()
                    for number, line in numbers.items()
                    if re.search(first, line) for error in ERRORS[name]), 2)
            while True:
                for name in random.sample(sorted(found), len(found)):
                    yield (name, random.choice(ERRORS[name]),
                           random.choice(sorted(found[name])))
                    if time.monotonic() >= until:
                        return

    def sweep(self, kind, life, options=(), first=None):
        text, talk = life
        self.calm = self.port()
        self.traced = os.path.join(self.base, "strace")
        text = ("[gateway]\ncontrol = no\n" + text +
                self.route(f"tcp:{self.calm}", "echo", "calm", **SOON))
        names = ",".join("?" + name for name in ERRORS)
        fds = self.live(text, talk, [*options, "-e", f"trace={names}"])
        found, tried = self.find_calls(), 0
        for name, error, number in self.choose(found, first):
            with self.subTest(kind=kind, SWEEP=f"{name}:{error}:{number}"):
                try:
                    self.live(text, talk, [
                        *options, "-e", f"trace={name}", "-e",
                        f"inject={name}:error={error}:when={number}"], fds)
                    tried += 1
                except InVain:
                    pass
                except AssertionError as failure:
                    raise AssertionError(f"{failure}\n{self.hits()}\n"
                                         f"{self.gateway.log()}") from failure
        total = sum(len(numbers) * len(ERRORS[name])
                    for name, numbers in found.items())
        add_row(f"{kind}: {tried} failing calls of {total} in a life")

    def test_tcp(self):
        """By name, which is looked up by a thread."""
        self.sweep("tcp", self.a_name(), ["-f", "-I", "2"])

    def test_exec(self):
        self.sweep("exec", self.a_program())

    def test_exec_on_a_pty(self):
        self.sweep("exec on a pty", self.a_program_on_a_pty())

    def test_tls(self):
        self.sweep("tls", self.tls())

    def test_serial(self):
        self.sweep("serial", self.a_port())

    def test_file(self):
        self.sweep("file, and a trace", self.a_traced_file())

    def test_share(self):
        self.sweep("share", self.shared())

    def test_hold(self):
        self.sweep("hold", self.held())

    def test_pty_listener(self):
        # Else a program gets lines, and its own echo.
        self.sweep("pty listener", self.a_modem(), first="TCSETS")


@once  # sanitizers bring an allocator of their own
class Allocations(Kinds):
    """Each fails in turn, in the whole program, from its start to its end. Some of
    them, from one at random on, where that says enough (ALLOCATIONS=all: each)."""

    def setUp(self):
        super().setUp()
        self.preload = os.path.join(self.base, "fail_malloc.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self.preload,
                        "tests/fail_malloc.c", "-ldl"], check=True)

    def each(self, kind, text, talk, step=1, is_told=True):
        """With a client that does talk(lives) each time; or only each step-th. If
        is_told the log says why one was not served."""
        if os.environ.get("ALLOCATIONS") == "all":
            step = 1
        lives = self.keep(Lives(
            self.preload, [BTGATE, "run", "-c", self.config(text)],
            text.count("[route "), PATIENCE_S))
        at, tried, has_failed = random.randrange(step), -1, True
        while has_failed:
            at += 1 if tried < 0 else step
            tried += 1
            self.config(text)
            is_served = True
            if lives.begin(at):
                try:
                    talk(lives)
                except (OSError, EOFError):
                    is_served = False
            status, has_failed = lives.end()
            if is_told and not is_served:
                self.assertRegex(lives.log, b"memory|cannot", f"{at}")
            # Ended by itself, with a reason, and never by a signal.
            self.assertIn(status, (0, 1, 2), f"{at}: {lives.log}")
            if status:
                self.assertNotEqual(lives.log, b"", f"{at}: nothing was said")
        # With all that it asked for it was well.
        self.assertEqual(status, 0, lives.log)
        self.assertTrue(is_served, lives.log)
        lives.close()
        # A program whose gateway died ends by itself.
        self.await_that(self.has_no_children)
        self.assertIn(b"ended: ", lives.log)
        add_row(f"{kind}: {tried} of {at - 1} allocations fail, in turn")
        return lives.log.decode()

    def each_target(self, kind, target, talk=None):
        self.each(kind, self.route(f"tcp:{self.fire}", target),
                  talk or self.talk)

    def test_echo(self):
        self.each_target("echo", "echo")

    def test_unix(self):
        self.each_target("unix", f"unix:{self.serve()}")

    def test_exec(self):
        self.each_target("exec", "exec:cat,pipe")

    def test_file(self):
        def talk(_lives):
            with contextlib.closing(self.dial(self.fire)) as client:
                client.send(bytes(20000))
                client.end_writing()
                client.recv_all()
        self.each_target("file", f"file:{self.base}/file", talk)

    def test_pty(self):
        path = self.path("port")

        def talk(_lives):
            client = self.dial(self.fire)
            with contextlib.closing(client), \
                 contextlib.closing(PortEnd(path)) as program:
                client.send(b"hello")
                # It may have been refused.
                select.select([program.fd, client.socket], [], [], PATIENCE_S)
                if not program.is_silent(0):
                    self.assertEqual(program.recv_exactly(5), b"hello")
        self.each_target("pty", f"pty:{path}", talk)

    def test_bus(self):
        """Where it is not there, that is said, and it is not given up."""
        def talk(lives):
            if not lives.await_that(
                    lambda: b"bluez: starting -> no bus" in lives.log):
                raise EOFError  # it has ended
            self.talk(lives)
        with unittest.mock.patch.dict(
                os.environ,
                DBUS_SYSTEM_BUS_ADDRESS=f"unix:path={self.base}/no-bus"):
            self.each("bus", self.route(f"tcp:{self.fire}", "echo") +
                      "[route b]\nlisten = rfcomm:5\nconnect = echo\n", talk)

    def test_tls(self):
        """OpenSSL asks for memory some twenty thousand times: a few of them. It may
        make something else of it than that there is none."""
        self.each("tls", *self.tls(), 1000, False)

    def test_tls_target(self):
        self.each("tls target", *self.a_tls_target(), 1000, False)

    def test_share(self):
        self.each("share", *self.shared())

    # What is not asked for elsewhere is little.

    def test_tcp(self):
        self.each("tcp, by name", *self.a_name(), 3)

    def test_exec_on_a_pty(self):
        self.each("exec on a pty", *self.a_program_on_a_pty(), 3)

    def test_unix_listener(self):
        self.each("unix listener", *self.a_socket(), 3)

    def test_seqpacket(self):
        self.each("seqpacket listener", *self.records(), 3)

    def test_pty_listener(self):
        self.each("pty listener", *self.a_modem(), 3)

    def test_serial(self):
        self.each("serial", *self.a_port(), 6)

    def test_serial_listener(self):
        device = self.keep(local.Device(os.path.join(self.base, "tty")))

        def talk(lives):
            if not lives.await_log(b"connected to", b"refused"):
                raise EOFError
            with contextlib.suppress(OSError):
                device.send(b"hello")
            got, until = b"", time.monotonic() + 5
            while len(got) < 5 and time.monotonic() < until and \
                    not lives.has_ended():
                if not device.is_silent(0.05):
                    try:
                        got += os.read(device.fd, 100)
                    except OSError:
                        time.sleep(0.01)  # nobody has it open
            if len(got) < 5:
                raise EOFError
        self.each("serial listener", self.route(
            f"serial:{device.path},local", "echo", **SOON), talk, 6, False)

    def test_packing(self):
        self.each("packets", *self.packets(), 3)

    def test_replace(self):
        self.each("replace", *self.newcomers(), 3)

    def test_clients(self):
        self.each("clients", *self.strangers(), 3)

    def test_backlog(self):
        self.each("back-pressure", *self.a_slow_target(), 3)

    def test_hold(self):
        """The target goes in the middle, and comes back."""
        def serve(listener):
            with contextlib.suppress(OSError):
                while True:
                    with contextlib.suppress(ConnectionError), \
                            listener.accept()[0] as end:
                        end.sendall(end.recv(65536))

        def talk(lives):
            with contextlib.closing(self.dial(self.fire)) as client:
                for _ in range(3):
                    self.assert_echoes(client)
                    lives.await_log(b" is lost: ", b" ended: ")
        log = self.each("hold", self.route(
            f"tcp:{self.fire}", f"unix:{self.serve(serve)}", hold="yes",
            retry="100ms..100ms"), talk, 3)
        self.assertIn("is reached again", log)

    def test_trace(self):
        for form in ("text", "pcapng"):
            log = self.each(f"trace in {form}", self.route(
                f"tcp:{self.fire}", "echo", trace=f"{self.base}/trace",
                trace_format=form), self.talk)
            self.assertNotIn("trace cannot", log)
            self.assertGreater(os.path.getsize(f"{self.base}/trace"), 40000)

    def test_metrics(self):
        port = self.port()

        def talk(lives):
            # Once a client is through, all that there is listens.
            self.talk(lives)
            with contextlib.closing(self.dial(port)) as scraper:
                scraper.send(b"GET /metrics HTTP/1.1\r\n\r\n")
                answer = scraper.recv_all()
            # Short of memory there is none; never half of one.
            is_told.append(answer.startswith(b"HTTP/1.1 200 OK\r\n"))
            if not is_told[-1]:
                self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
            else:
                self.assertIn(b"\nbtgate_lost_bytes_total{", answer)
                self.assertTrue(answer.endswith(b"\n"))
        is_told = []
        self.each("metrics", f"[gateway]\ncontrol = no\nmetrics = {port}\n" +
                  self.route(f"tcp:{self.fire}", "echo"), talk, is_told=False)
        self.assertTrue(is_told[-1])
        # That is few: what asks goes on, and so do most of the rest.
        self.assertLess(is_told.count(False), 10)

    def test_control(self):
        """All that can be asked; each answer is one, or there is none."""
        path = self.path("control")
        requests = [{"command": "status"},
                    {"command": "log-level", "argument": "debug"},
                    {"command": "kick", "argument": "nobody"},
                    {"command": "disable", "argument": "r"},
                    {"command": "enable", "argument": "r"},
                    {"command": "reload"},
                    {"command": "trace", "argument": "r"}]

        def hear(lines):
            """A line; one that there was no memory for is none at all."""
            line = lines.readline()
            if not line:
                raise EOFError
            return json.loads(line)

        def talk(lives):
            is_traced = False
            self.talk(lives)
            asker = self.dial_unix(path)
            with contextlib.closing(asker), \
                    asker.socket.makefile("rb") as lines:
                for request in requests:
                    asker.send(json.dumps(request).encode() + b"\n")
                    is_traced = hear(lines)["ok"]
                self.talk(lives)
                while is_traced and hear(lines)["event"] != "ended":
                    pass
            heard.add(lives.pid)
        heard = set()
        self.each("control", f"[gateway]\ncontrol = unix:{path}\n" +
                  self.route(f"tcp:{self.fire}", "echo"), talk, 2, False)
        # At least the last one, who was short of nothing.
        self.assertTrue(heard)

    def test_reload(self):
        """A session that is there goes on; so does one of a route that goes."""
        kept = self.route(f"tcp:{self.fire}", "echo")
        other, third = self.port(), self.port()

        def talk(lives):
            with contextlib.closing(self.dial(self.fire)) as client, \
                    contextlib.closing(self.dial(other)) as leaver:
                self.assert_echoes(client)
                self.assert_echoes(leaver)
                self.config(kept + self.route(f"tcp:{third}", "echo", "third"))
                os.kill(lives.pid, signal.SIGHUP)
                leaver.send(b"x")
                leaver.recv()
                try:
                    self.assert_echoes(client)
                except OSError as error:
                    raise AssertionError("a reload has cut it off") from error
                self.assertTrue(lives.await_log(b"in force", b"cannot be used"))
        log = self.each("reload", kept + self.route(
            f"tcp:{other}", "echo", "other"), talk)
        self.assertIn("1 added, 0 changed, 1 removed, 1 unchanged", log)


class Soak(Ground):
    """Faults at random, for as long as SOAK_S says: clients, targets and programs
    that each do something else every time, over every kind of end, while the
    gateway is stopped, continued, and told to read its configuration again."""

    KEYS = {"drain_timeout": "200ms", "linger": "100ms",
            "connect_timeout": "300ms"}
    # What a shell runs for each client.
    PROGRAM = """#!/bin/sh
case $(($$ % 6)) in
0) exit 3 ;;
1) cat ;;
2) head -c 100000 /dev/zero ;;
3) exec <&- >&-; sleep 0.05 ;;
4) kill -KILL $$ ;;
5) echo hello; read -r line; echo "$line" ;;
esac
"""

    def prepare_all(self):
        """Targets, how to dial each route, and the file without and with a
        route that is another one each time."""
        targets = [self.server(), self.unix_server("target")]
        for listener, _ in targets:
            listener.settimeout(0.2)
        program = os.path.join(self.base, "program")
        with open(program, "w", encoding="ascii") as file:
            file.write(self.PROGRAM)
        os.chmod(program, 0o755)
        self.calm, self.metrics = self.port(), self.port()
        ports = [self.port() for _ in range(5)]
        path = self.path("socket")
        ends = [(f"tcp:{ports[0]}", f"tcp:127.0.0.1:{targets[0][1]}"),
                (f"unix:{path}", f"unix:{targets[1][1]}"),
                (f"tcp:{ports[1]}", f"pty:{self.path('port')}"),
                (f"tcp:{ports[2]}", f"exec:{program},pipe"),
                (f"tcp:{ports[3]}", f"exec:{program}")]
        text = (f"[gateway]\ncontrol = no\nmetrics = {self.metrics}\n" +
                self.route(f"tcp:{self.calm}", "echo", "calm"))
        for number, (listen, connect) in enumerate(ends):
            text += self.route(listen, connect, f"fire{number}",
                               when_busy="replace", **self.KEYS)
        self.gateway = self.start(text)

        def text_of(turn):
            return text + (turn > 0) * self.route(
                f"tcp:{ports[4]}", f"tcp:127.0.0.1:{targets[0][1]}", "other",
                **{**self.KEYS, "linger": f"{turn}ms"})
        dials = [lambda port=port: self.dial_now(("127.0.0.1", port))
                 for port in ports] + [lambda: self.dial_now(path)]
        return [listener for listener, _ in targets], dials, text_of

    @staticmethod
    def dial_now(address):
        sock = socket.socket(socket.AF_UNIX if isinstance(address, str)
                             else socket.AF_INET)
        end = SocketEnd(sock)
        sock.settimeout(0.3)
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        return end

    @staticmethod
    def be_served(end):
        match random.randrange(5):
            case 0:
                end.reset()
            case 1:
                end.send(b"hello\n")
                end.recv()
            case 2:
                end.offer(MEGABYTE, 0.01)
            case 3:
                end.socket.settimeout(0.3)
                end.end_writing()
                end.recv_all()
            case 4:
                time.sleep(0.01)

    @staticmethod
    def serve(end):
        end.socket.settimeout(1)
        match random.randrange(5):
            case 0:
                end.reset()
            case 1:
                end.send(end.recv())
            case 2:
                end.send(random.randbytes(100000))
                end.end_writing()
                end.recv()
            case 3:
                time.sleep(0.05)
            case 4:
                while piece := end.recv():
                    end.send(piece)

    def be_at_the_port(self):
        with contextlib.closing(PortEnd(self.path("port"))) as program:
            match random.randrange(4):
                case 0:
                    pass
                case 1:
                    program.send(random.randbytes(random.randrange(1, 4000)))
                case 2:
                    if not program.is_silent(0.1):
                        program.recv()
                case 3:
                    while not program.is_silent(0.05) and not self.is_over():
                        program.send(program.recv(4096))

    def hear_the_last(self):
        """What somebody left at the port and went: it is the port's until it has
        been read, and so is the session."""
        with contextlib.closing(PortEnd(self.path("port"))) as program:
            def is_over():
                while not program.is_silent(0.05):
                    program.recv(MEGABYTE)
                return not self.numbers(self.metrics)[
                    'btgate_sessions{route="fire2"}']
            self.await_that(is_over)

    def again_and_again(self, act):
        """Until it is over; how often is counted. The pauses leave the processor
        to others: that it takes minutes is what shows, not how much is in them."""
        while not self.is_over():
            self.events += 1
            with contextlib.suppress(OSError, EOFError):
                act()
            time.sleep(random.random() / 4)

    def is_over(self):
        return time.monotonic() >= self.until

    def reap_orphans(self):
        """What programs leave behind: in hours there would be no room for more."""
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG |
                                      os.WNOWAIT)) and \
                    found.si_pid != self.gateway.process.pid:
                os.waitpid(found.si_pid, 0)

    def disturb(self, text_of):
        """What happens to the gateway itself."""
        reloads = 0
        while not self.is_over():
            time.sleep(random.random() / 5)
            self.reap_orphans()
            if random.randrange(3):
                self.gateway.signal(signal.SIGSTOP)
                time.sleep(random.random() / 50)
                self.gateway.signal(signal.SIGCONT)
            else:
                reloads += 1
                self.reload(text_of(random.randrange(3)), reloads)
        self.reload(text_of(0), reloads + 1)
        return reloads + 1

    def reload(self, text, number):
        self.config(text)
        self.gateway.signal(signal.SIGHUP)
        self.gateway.await_line("in force", number)

    def test_soak(self):
        listeners, dials, text_of = self.prepare_all()
        self.until = time.monotonic() + SOAK_S
        self.events = 0

        def act(end_of, role):
            with contextlib.closing(end_of()) as end:
                role(end)
        acts = [lambda dial=dial: act(dial, self.be_served) for dial in dials]
        acts += 2 * [lambda listener=listener: act(
            lambda: SocketEnd(listener.accept()[0]), self.serve)
            for listener in listeners]
        acts.append(self.be_at_the_port)
        crowd = [threading.Thread(target=self.again_and_again, args=(one,))
                 for one in acts]
        with self.fault(f"faults at random for {SOAK_S:.0f} s",
                        "route fire.: ", None):
            for thread in crowd:
                thread.start()
            try:
                reloads = self.disturb(text_of)
            finally:
                for thread in crowd:
                    thread.join()
                # Who is in the queue of a listener that is gone leaves as well.
                for listener in listeners:
                    listener.close()
            self.hear_the_last()
        self.assertFalse(self.gateway.matches("cannot be used"))
        # Every session that began has ended in some way.
        numbers = self.numbers(self.metrics)
        for name in (f"fire{number}" for number in range(5)):
            began = numbers[f'btgate_sessions_total{{route="{name}"}}']
            ended = sum(value for key, value in numbers.items() if key.startswith(
                f'btgate_session_ends_total{{route="{name}"'))
            self.assertGreater(began, 0)
            self.assertEqual(began, ended, name)
        self.assertEqual(self.gateway.stop(), 0, self.gateway.log())
        self.await_that(self.has_no_children)
        print(f"{self.events} clients, targets and programs and {reloads} "
              f"reloads in {SOAK_S:.0f} s")


def print_table():
    widths = [max(len(row[i]) for row in [HEADS, *rows])
              for i in range(len(HEADS))]
    print()
    for row in [HEADS, *rows]:
        print("  ".join(cell.ljust(width)
                        for cell, width in zip(row, widths)).rstrip())
    print(flush=True)


if __name__ == "__main__":
    # Before the sum, which is the last line.
    unittest.addModuleCleanup(print_table)
    sys.exit(base.main())
