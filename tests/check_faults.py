#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What goes wrong around a gateway, one thing at a time, and at random.

usage: tests/check_faults.py [-v] [NAME...]

Beside the route that something happens to there is another with a session that
sends all the time: it must not lose or double a byte. After it memory and
descriptors are what they were before, the log has told of it, and the gateway
sleeps. The outcome is printed as a table. SOAK_S is for how many seconds there
are faults at random (20).
"""

import contextlib
import os
import random
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import unittest

import check_gateway as base
import check_gateway_tls as tls
from check_gateway import (BTGATE, MEGABYTE, PATIENCE_S, PortEnd, SocketEnd,
                           digest, free_port, is_sanitized)

SOAK_S = float(os.environ.get("SOAK_S", "20"))
# A page here and there, and what the allocator keeps: not a leak per event.
GROWN_KB_MOST = 1024
rows = []


def once(test):
    """Only with the build that people run: what mostly waits, or counts, has
    nothing for sanitizers to see that the rest does not show them."""
    return None if is_sanitized() else test


class Calm(threading.Thread):
    """A session that sends and compares until it is stopped."""

    def __init__(self, end):
        super().__init__()
        self.end = end
        self.is_over = False
        self.total = 0
        self.failure = None
        self.start()

    def run(self):
        try:
            while not self.is_over:
                data = random.randbytes(random.randrange(1, 20000))
                self.end.send(data)
                if self.end.recv_exactly(len(data)) != data:
                    raise AssertionError("other bytes came back")
                self.total += len(data)
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error

    def finish(self):
        self.is_over = True
        self.join()
        if self.failure:
            raise self.failure


class Ground(base.GatewayTest):
    """Routes: "calm", and "fire", which things happen to."""

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

    def is_asleep(self):
        before = self.gateway.status_field("voluntary_ctxt_switches")
        time.sleep(0.1)
        return self.gateway.status_field("voluntary_ctxt_switches") == before

    @contextlib.contextmanager
    def fault(self, name, told=None):
        """What happens inside is survived; told is what the log says of it."""
        gateway = self.gateway
        end = self.dial(self.calm)
        self.assert_echoes(end)
        self.assert_echoes(self.warm_up())
        self.await_that(self.is_asleep)
        fds, rss = gateway.fd_count(), gateway.status_field("VmRSS")
        calm = Calm(end)
        try:
            yield
        finally:
            calm.finish()
        if told:
            gateway.await_line(told)
        self.await_that(lambda: gateway.fd_count() == fds)
        self.await_that(self.is_asleep)
        grown = gateway.status_field("VmRSS") - rss
        if not is_sanitized():
            self.assertLess(grown, GROWN_KB_MOST)
        rows.append((name, f"{calm.total // 1024} KiB", f"{grown:+d} KiB",
                     f"{gateway.fd_count() - fds:+d}",
                     str(len(gateway.matches(told))) if told else ""))

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
    def test_clients_that_come_together(self):
        self.prepare("echo")
        begin = time.monotonic()
        with self.fault("a thousand connections as fast as they come"):
            clients = [self.dial(self.fire) for _ in range(500)]
            for client in clients:
                client.send(b"hello")
            for client in clients:
                self.assertEqual(client.recv_exactly(5), b"hello")
                client.close()
            for _ in range(500):
                client = self.dial(self.fire)
                self.assert_echoes(client)
                client.close()
        print(f"{1000 / (time.monotonic() - begin):.0f} connections a second, "
              "with all around it")

    @once
    def test_a_log_flood(self):
        holder, port = free_port()
        self.keep(holder)
        self.prepare(f"tcp:127.0.0.1:{port}")
        with self.fault("three thousand refusals in a row",
                        "route fire: refused .*"):
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
        rows.append(("SIGTERM under load, 20 sessions", "", "", "", "20"))

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
        rows.append(("a full disk under the log", "100 KiB", "", "", ""))


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
        gateway = base.Gateway.__new__(base.Gateway)
        command = ["unshare", "--mount", "sh", "-c",
                   f'{mount} && exec "$0" run -c "$1"', BTGATE, config]
        program, base.BTGATE = base.BTGATE, command[0]
        try:
            gateway = self.spawn(command[1:])
        finally:
            base.BTGATE = program
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
        self.assertEqual(len(self.gateway.matches("cannot be written")), 1)
        # Somebody makes room; the next session finds it.
        os.unlink(f"/proc/{self.gateway.pid}/root{where}/trace")
        self.await_that(lambda: self.assert_echoes(self.dial(self.fire), b"x")
                        or self.gateway.matches("the trace in .* goes on; "))

    @once
    def test_slow_dns(self):
        mute = self.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        mute.bind(("127.0.0.77", 53))
        resolv = os.path.join(self.base, "resolv.conf")
        hosts = os.path.join(self.base, "nsswitch.conf")
        with open(resolv, "w", encoding="ascii") as file:
            file.write("nameserver 127.0.0.77\noptions timeout:30\n")
        with open(hosts, "w", encoding="ascii") as file:
            file.write("hosts: files dns\n")
        os.chmod(self.base, 0o755)
        self.fire, self.calm = self.port(), self.port()
        self.prepare_with(
            f"mount --bind {resolv} \"$(readlink -f /etc/resolv.conf)\" && "
            f"mount --bind {hosts} /etc/nsswitch.conf",
            self.route(f"tcp:{self.calm}", "echo", "calm") +
            self.route(f"tcp:{self.fire}", "tcp:slow.example:9", "fire",
                       connect_timeout="2s"))
        # The look-up itself cannot be ended, and has a socket until it gives up.
        end = self.dial(self.calm)
        calm = Calm(end)
        client = self.dial(self.fire)
        self.assertTrue(select.select([mute], [], [], PATIENCE_S)[0])
        before = calm.total
        self.assert_reset(client)
        calm.finish()
        self.assertGreater(calm.total - before, 100000)
        self.gateway.await_line("route fire: refused .* did not answer")
        self.gateway.signal(signal.SIGTERM)
        self.assertEqual(self.gateway.wait(), 0)
        rows.append(("a name server that does not answer",
                     f"{calm.total // 1024} KiB", "", "", "1"))


# As strace(1) injects them: each Nth call of these fails so.
INTERRUPTIONS = [
    ("recvfrom,recvmsg", "EINTR", "2+3"),
    ("recvfrom,recvmsg", "EAGAIN", "2+3"),
    # Not write(2): by it libevent's handler says that a signal came.
    ("sendto,sendmsg", "EINTR", "2+3"),
    ("sendto,sendmsg", "EAGAIN", "3+3"),
    ("sendto,sendmsg", "ENOBUFS", "5"),
    ("accept4,accept", "EINTR", "1+2"),
    ("accept4,accept", "ECONNABORTED", "1+2"),
    ("accept4,accept", "EMFILE", "1"),
    ("connect", "EINTR", "1"),
    ("epoll_wait,epoll_pwait", "EINTR", "2+3"),
    ("socket", "ENOBUFS", "8"),
    ("recvfrom,recvmsg", "EIO", "9"),
    ("epoll_ctl", "ENOMEM", "14"),
]


@once  # a leak check cannot be traced
class SystemCalls(Ground):
    """Each fails in turn: sessions that it does not hit are not touched, and
    what it hits ends with a reason; nothing crashes."""

    def setUp(self):
        super().setUp()
        if not shutil.which("strace") or subprocess.run(
                ["strace", "-o", "/dev/null", "true"], check=False).returncode:
            self.skipTest("nothing can be traced here")

    def run_with(self, calls, error, when):
        listener, target_port = self.server()
        listener.settimeout(2)  # for who never comes
        port = self.port()
        program, base.BTGATE = base.BTGATE, shutil.which("strace")
        try:
            gateway = self.spawn([
                "-D", "-q", "-o", "/dev/null", "-e", f"trace={calls}",
                "-e", f"inject={calls}:error={error}:when={when}",
                program, "run", "-c", self.config(
                    self.route(f"tcp:{port}",
                               f"tcp:127.0.0.1:{target_port}"))])
        finally:
            base.BTGATE = program
        gateway.await_line("-> listening")
        survivors = 0
        for _ in range(4):
            data = random.randbytes(50000)
            try:
                client = self.dial(port)
                target = self.accept(listener)
                base.pass_bytes(client, target, data)
                base.pass_bytes(target, client, data)
                survivors += 1
            except (OSError, EOFError):
                # It was hit; the log says so.
                gateway.await_line(r"refused |broke off|no more clients")
            client.close()
            with contextlib.suppress(UnboundLocalError):
                target.close()
        self.assertEqual(gateway.stop(), 0, gateway.log())
        os.waitpid(-1, 0)  # strace, which has become ours
        self.assertGreaterEqual(survivors, 2, gateway.log())
        return survivors

    def test_each(self):
        for calls, error, when in INTERRUPTIONS:
            with self.subTest(calls=calls, error=error, when=when):
                survivors = self.run_with(calls, error, when)
                rows.append((f"{calls.split(',')[0]}: {error}, call {when}",
                             f"{survivors} of 4 sessions", "", "", ""))


class Lives:
    """A program that is loaded once, and lives as often as it is asked to, each
    time short of another allocation (tests/fail_malloc.c)."""

    def __init__(self, preload, config):
        self.socket, theirs = socket.socketpair(socket.AF_UNIX,
                                                socket.SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE_S)
        self.process = subprocess.Popen(
            [BTGATE, "run", "-c", config], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            env={**os.environ, "LD_PRELOAD": preload,
                 "FAIL_MALLOC_SOCKET": str(theirs.fileno())})
        theirs.close()
        os.set_blocking(self.process.stderr.fileno(), False)
        self.log, self.pid = b"", 0

    def begin(self, at):
        """Whether it listens; else it has ended."""
        self.log = b""
        self.socket.send(struct.pack("i", at))
        self.pid, = struct.unpack("i", self.socket.recv(4))
        while b"-> listening" not in self.log:
            ready = select.select([self.process.stderr, self.socket], [], [],
                                  PATIENCE_S)[0]
            if self.process.stderr in ready:
                self.log += self.process.stderr.read()
            elif ready:
                return False
            else:
                raise TimeoutError(f"it stands still: {self.log}")
        return True

    def end(self):
        """Its exit status, and whether there was such an allocation."""
        if not select.select([self.socket], [], [], 0)[0]:
            os.kill(self.pid, signal.SIGTERM)
        status, has_failed = struct.unpack("ii", self.socket.recv(8))
        self.log += self.process.stderr.read() or b""
        return os.waitstatus_to_exitcode(status), bool(has_failed)

    def close(self):
        self.socket.close()
        self.process.wait(PATIENCE_S)
        self.process.stderr.close()


def serve_echo(listener):
    """Until the listener is closed."""
    with contextlib.suppress(OSError):
        while True:
            end = listener.accept()[0]
            with contextlib.suppress(OSError), end:
                while piece := end.recv(65536):
                    end.sendall(piece)


@once  # sanitizers bring an allocator of their own
class Allocations(Ground):
    """Each fails in turn, in the whole program, from its start to its end."""

    def setUp(self):
        super().setUp()
        self.preload = os.path.join(self.base, "fail_malloc.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self.preload,
                        "tests/fail_malloc.c", "-ldl"], check=True)

    def each(self, kind, target, talk, listen="tcp:{}", step=1):
        """With a client that does talk(port) each time; or only each
        step-th."""
        port = self.port()
        lives = self.keep(Lives(self.preload, self.config(
            self.route(listen.format(port), target))))
        at, tried, has_failed = random.randrange(step), -1, True
        while has_failed:
            at += 1 if tried < 0 else step
            tried += 1
            if lives.begin(at):
                with contextlib.suppress(OSError, EOFError):
                    talk(port)
            status, has_failed = lives.end()
            # Ended by itself, with a reason, and never by a signal.
            self.assertIn(status, (0, 1, 2), f"{at}: {lives.log}")
            if status:
                self.assertNotEqual(lives.log, b"", f"{at}: nothing was said")
        # With all that it asked for it was well.
        self.assertEqual(status, 0, lives.log)
        lives.close()
        # A program whose gateway died ends by itself.
        self.await_that(self.has_no_children)
        self.assertIn(b"ended: ", lives.log)
        rows.append((f"{kind}: {tried} of {at - 1} allocations fail, in turn",
                     "", "", "", ""))

    @staticmethod
    def has_no_children():
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            return False
        return True

    def talk(self, port):
        client = self.dial(port)
        with contextlib.closing(client):
            self.assert_echoes(client, bytes(20000))

    def test_echo(self):
        self.each("echo", "echo", self.talk)

    def test_unix(self):
        path = os.path.join(self.base, "target")
        listener = self.keep(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen()
        threading.Thread(target=serve_echo, args=(listener,), daemon=True).start()
        self.each("unix", f"unix:{path}", self.talk)

    def test_exec(self):
        self.each("exec", "exec:cat,pipe", self.talk)

    def test_file(self):
        def talk(port):
            with contextlib.closing(self.dial(port)) as client:
                client.send(bytes(20000))
                client.end_writing()
                client.recv_all()
        self.each("file", f"file:{self.base}/file", talk)

    def test_pty(self):
        path = self.path("port")

        def talk(port):
            client = self.dial(port)
            with contextlib.closing(client), \
                 contextlib.closing(PortEnd(path)) as program:
                client.send(b"hello")
                # It may have been refused.
                select.select([program.fd, client.socket], [], [], PATIENCE_S)
                if not program.is_silent(0):
                    self.assertEqual(program.recv_exactly(5), b"hello")
        self.each("pty", f"pty:{path}", talk)

    def test_tls(self):
        """OpenSSL asks for memory some twenty thousand times: a few of them."""
        certificates = tls.Certificates()
        self.addCleanup(certificates.remove)
        context = ssl.create_default_context(cafile=certificates.path("ca.pem"))

        def talk(port):
            sock = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
            with sock, context.wrap_socket(
                    sock, server_hostname="localhost") as end:
                end.sendall(b"hello")
                self.assertEqual(end.recv(5), b"hello")
        self.each("tls", "echo", talk,
                  "tls:{}," + certificates.pair("server"), 1000)


class Soak(Ground):
    """Faults at random, for as long as SOAK_S says."""

    def test_soak(self):
        listener = self.prepare_tcp(drain_timeout="200ms", linger="100ms",
                                    connect_timeout="300ms")
        listener.settimeout(0.5)
        until = time.monotonic() + SOAK_S
        events = 0

        def serve():
            """A target that does something else each time."""
            while time.monotonic() < until:
                with contextlib.suppress(OSError):
                    end = SocketEnd(listener.accept()[0])
                    end.socket.settimeout(1)
                    match random.randrange(5):
                        case 0:
                            end.reset()
                        case 1:
                            end.send(end.recv())
                            end.close()
                        case 2:
                            end.send(random.randbytes(100000))
                            end.end_writing()
                            end.recv()
                            end.close()
                        case 3:
                            time.sleep(0.05)
                            end.close()
                        case 4:
                            while piece := end.recv():
                                end.send(piece)
                            end.close()

        servers = [threading.Thread(target=serve) for _ in range(4)]
        with self.fault(f"faults at random for {SOAK_S:.0f} s",
                        "route fire: session"):
            for server in servers:
                server.start()
            while time.monotonic() < until:
                events += 1
                with contextlib.suppress(OSError):
                    with socket.create_connection(
                            ("127.0.0.1", self.fire), 0.5) as sock:
                        client = SocketEnd(sock)
                        sock.settimeout(0.2)
                        match random.randrange(5):
                            case 0:
                                client.reset()
                            case 1:
                                client.send(b"hello")
                                client.recv()
                            case 2:
                                client.offer(MEGABYTE, 0.01)
                            case 3:
                                client.end_writing()
                                client.recv_all()
                            case 4:
                                self.gateway.signal(signal.SIGSTOP)
                                try:
                                    client.send(b"x")
                                finally:
                                    self.gateway.signal(signal.SIGCONT)
                                client.recv()
            for server in servers:
                server.join()
            # Who is in the queue of a listener that is gone leaves as well.
            listener.close()
        print(f"{events} clients in {SOAK_S:.0f} s")


def print_table():
    heads = ("fault", "passed beside it", "memory", "descriptors", "log lines")
    widths = [max(len(row[i]) for row in [heads, *rows])
              for i in range(len(heads))]
    print()
    for row in [heads, *rows]:
        print("  ".join(cell.ljust(width)
                        for cell, width in zip(row, widths)).rstrip())
    print(flush=True)


if __name__ == "__main__":
    # Before the sum, which is the last line.
    unittest.addModuleCleanup(print_table)
    sys.exit(base.main())
