#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The whole program, over every kind of end that needs no Bluetooth.

usage: tests/check_gateway.py [-v] [NAME...]

Runs $BTGATE (default ./btgate) from the repository's root and talks to it
through real sockets and ptys. Whatever a test looks at, after it the gateway
must have ended well: status 0, no sanitizer's report, no path and no child
process left behind.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import os
import random
import re
import resource
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest

BTGATE = os.path.abspath(os.environ.get("BTGATE", "./btgate"))
# For what takes no time on an idle machine.
PATIENCE_S = 20
MEGABYTE = 1024 * 1024
RESET = struct.pack("ii", 1, 0)
SANITIZER = re.compile(
    r"(Address|Leak|Thread|UndefinedBehavior)Sanitizer|runtime error:")
PR_SET_CHILD_SUBREAPER = 36

# As a shell starts programs: whoever runs the tests in the background or under
# nohup has them ignored, and what is ignored is inherited.
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


def is_sanitized():
    with open(BTGATE, "rb") as program:
        return b"__asan_init" in program.read()


# ---- the other ends ----------------------------------------------------------


def free_port():
    """A bound socket and its port. While it is held nobody else gets the port
    by chance, and with SO_REUSEADDR at both the gateway can listen on it."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder, holder.getsockname()[1]


class SocketEnd:
    """One end of a connection: bytes in, bytes out, with deadlines."""

    def __init__(self, sock):
        self.socket = sock
        sock.settimeout(PATIENCE_S)

    def send(self, data):
        # Not sendall, whose deadline is for all of it. An empty record is sent.
        left = memoryview(data)[self.socket.send(data):]
        while left:
            left = left[self.socket.send(left):]

    def recv(self, size=65536):
        return self.socket.recv(size)

    def recv_exactly(self, size):
        data = bytearray()
        while len(data) < size:
            piece = self.recv(min(65536, size - len(data)))
            if not piece:
                raise EOFError(f"the end after {len(data)} of {size} bytes")
            data += piece
        return bytes(data)

    def recv_all(self):
        data = bytearray()
        while piece := self.recv():
            data += piece
        return bytes(data)

    def end_writing(self):
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.close()

    def offer(self, most=64 * MEGABYTE, quiet_s=0.3):
        """Write until nothing more is taken; how much it was."""
        chunk = bytes(65536)
        total = 0
        self.socket.setblocking(False)
        while total < most:
            if not select.select([], [self.socket], [], quiet_s)[1]:
                break
            with contextlib.suppress(BlockingIOError):
                total += self.socket.send(chunk)
        self.socket.settimeout(PATIENCE_S)
        return total

    def close(self):
        self.socket.close()


class PortEnd(SocketEnd):
    """A program that has a serial port open."""

    patience_s = PATIENCE_S

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)

    def send(self, data):
        while data:
            if not select.select([], [self.fd], [], self.patience_s)[1]:
                raise TimeoutError("the port takes nothing")
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(self.fd, data):]

    def recv(self, size=65536):
        while select.select([self.fd], [], [], self.patience_s)[0]:
            with contextlib.suppress(BlockingIOError):
                return os.read(self.fd, size)
        raise TimeoutError("nothing arrives at the port")

    def is_silent(self, wait_s):
        return not select.select([self.fd], [], [], wait_s)[0]

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


def unsent_bytes(sock):
    """Written, and not yet acknowledged by the other end's kernel."""
    answer = fcntl.ioctl(sock, termios.TIOCOUTQ, struct.pack("i", 0))
    return struct.unpack("i", answer)[0]


def digest(data):
    return hashlib.sha256(data).hexdigest()


def pass_bytes(source, sink, data):
    """Send data at one end while it is taken from the other; compare."""
    failure = []

    def send():
        try:
            source.send(data)
        except OSError as error:
            failure.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    got = sink.recv_exactly(len(data))
    sender.join()
    assert not failure, failure
    assert digest(got) == digest(data), "other bytes came out"


def pass_bytes_both_ways(one, other, size):
    up = random.randbytes(size)
    down = random.randbytes(size)
    failure = []

    def run(*args):
        try:
            pass_bytes(*args)
        except Exception as error:  # pylint: disable=broad-except
            failure.append(error)

    back = threading.Thread(target=run, args=(other, one, down))
    back.start()
    run(one, other, up)
    back.join()
    if failure:
        raise failure[0]


# ---- the gateway ---------------------------------------------------------------


def fds_of(pid):
    """Its descriptors, and what each is."""
    found = {}
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found[int(number)] = os.readlink(f"/proc/{pid}/fd/{number}")
    return found


class Gateway:
    """A running btgate and the lines it logged."""

    def __init__(self, arguments, **options):
        self.lines = []
        self.news = threading.Condition()
        self.is_quiet = False  # its stderr has ended
        self.process = subprocess.Popen(
            [BTGATE, *arguments], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
        self.pid = self.process.pid
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            with self.news:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.is_quiet = True
            self.news.notify_all()

    def matches(self, pattern):
        return [line for line in self.lines if re.search(pattern, line)]

    def await_line(self, pattern, count=1, patience_s=PATIENCE_S):
        """The count-th line that matches; it may have come already."""
        with self.news:
            self.news.wait_for(
                lambda: len(self.matches(pattern)) >= count or self.is_quiet,
                patience_s)
            found = self.matches(pattern)
        if len(found) < count:
            raise AssertionError(f"no line like {pattern!r} in:\n{self.log()}")
        return found[count - 1]

    def await_exactly(self, pattern, count):
        """So many lines and no more; the last may still be on its way."""
        self.await_line(pattern, count)
        found = self.matches(pattern)
        if len(found) != count:
            raise AssertionError(f"{len(found)} lines like {pattern!r}, not "
                                 f"{count}, in:\n{self.log()}")

    def log(self):
        return "\n".join(self.lines)

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, patience_s=PATIENCE_S):
        status = self.process.wait(patience_s)
        self.reader.join(patience_s)
        self.process.stderr.close()
        return status

    def stop(self, patience_s=PATIENCE_S):
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait(patience_s)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.wait()

    def proc(self, name):
        with open(f"/proc/{self.pid}/{name}", encoding="ascii") as file:
            return file.read()

    def status_field(self, name):
        return int(re.search(rf"^{name}:\s+(\d+)", self.proc("status"),
                             re.MULTILINE)[1])

    def cpu_s(self):
        fields = self.proc("stat").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def fds(self):
        return fds_of(self.pid)

    def fd_count(self):
        return len(self.fds())

    def run_marks(self):
        """They change as it runs: time on a processor, and how often it left
        it, by itself or not. What spins changes the first, and never sleeps."""
        state = self.proc("stat").rsplit(")", 1)[1].split()[0]
        return state, self.proc("schedstat"), [
            self.status_field(kind + "voluntary_ctxt_switches")
            for kind in ("", "non")]

    def is_asleep(self):
        before = self.run_marks()
        time.sleep(0.1)
        return before[0] == "S" and self.run_marks() == before


class GatewayTest(unittest.TestCase):
    def setUp(self):
        self.base = tempfile.mkdtemp(prefix="btgate-")
        self.run_dir = os.path.join(self.base, "run")
        os.mkdir(self.run_dir)
        self.gateways = []
        self.killed = []
        self.open = []

    def tearDown(self):
        for thing in self.open:
            with contextlib.suppress(OSError):
                thing.close()
        try:
            self.check_ends()
        finally:
            for gateway in self.gateways:
                gateway.kill()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass  # not this test's fault the next time
            shutil.rmtree(self.base)

    def check_ends(self):
        for gateway in self.gateways:
            if gateway.process.returncode is None:
                self.assertEqual(gateway.stop(), 0, gateway.log())
            self.assertNotRegex(gateway.log(), SANITIZER)
        self.assertEqual(os.listdir(self.run_dir), [])
        # Orphans would have become ours: see PR_SET_CHILD_SUBREAPER.
        with self.assertRaises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    # What tests are made of.

    def keep(self, thing):
        """Close it when the test is over."""
        self.open.append(thing)
        return thing

    def path(self, name):
        return os.path.join(self.run_dir, name)

    def port(self):
        holder, port = free_port()
        self.keep(holder)
        return port

    def config(self, text, name="btgate.conf"):
        path = os.path.join(self.base, name)
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return path

    def spawn(self, arguments, **options):
        gateway = Gateway(arguments, **options)
        self.gateways.append(gateway)
        return gateway

    def start(self, text, routes_up=None, arguments=(), **options):
        """A gateway with this config and so many routes up: all of them."""
        gateway = self.spawn(["run", *arguments, "-c", self.config(text)],
                             **options)
        if routes_up is None:
            routes_up = text.count("[route ")
        gateway.await_line(r"-> listening", routes_up)
        return gateway

    def route(self, listen, connect, name="r", **keys):
        lines = [f"[route {name}]", f"listen = {listen}", f"connect = {connect}"]
        lines += [f"{key.replace('_', '-')} = {value}"
                  for key, value in keys.items()]
        return "\n".join(lines) + "\n"

    def server(self, backlog=128, port=0):
        """A TCP target."""
        listener = self.keep(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(backlog)
        listener.settimeout(PATIENCE_S)
        return listener, listener.getsockname()[1]

    def unix_server(self, name, kind=socket.SOCK_STREAM):
        listener = self.keep(socket.socket(socket.AF_UNIX, kind))
        path = os.path.join(self.base, name)
        listener.bind(path)
        listener.listen(16)
        listener.settimeout(PATIENCE_S)
        return listener, path

    def accept(self, listener):
        return self.keep(SocketEnd(listener.accept()[0]))

    def dial(self, port, small_buffers=False):
        sock = socket.socket()
        if small_buffers:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        sock.settimeout(PATIENCE_S)
        sock.connect(("127.0.0.1", port))
        return self.keep(SocketEnd(sock))

    def dial_unix(self, path, kind=socket.SOCK_STREAM):
        sock = socket.socket(socket.AF_UNIX, kind)
        sock.settimeout(PATIENCE_S)
        sock.connect(path)
        return self.keep(SocketEnd(sock))

    def tcp_pair(self, **keys):
        """A gateway between two TCP ends: it, the client, the target."""
        listener, target_port = self.server()
        port = self.port()
        gateway = self.start(
            self.route(f"tcp:{port}", f"tcp:127.0.0.1:{target_port}", **keys))
        client = self.dial(port)
        target = self.accept(listener)
        # The kernel has accepted it; the gateway may not know yet.
        gateway.await_line("connected to")
        return gateway, client, target

    def pty_pair(self, **keys):
        """A gateway between a TCP client and a program at a serial port."""
        port, path = self.port(), self.path("port")
        gateway = self.start(self.route(f"tcp:{port}", f"pty:{path}", **keys))
        program = self.keep(PortEnd(path))
        client = self.dial(port)
        gateway.await_line("connected to")
        return gateway, client, program

    def assert_reset(self, end):
        with self.assertRaises(ConnectionResetError):
            data = end.recv()
            self.fail(f"not a reset: {data!r}")

    def assert_turned_away(self, port):
        """A client is reset, it may be before its connect returns."""
        with self.assertRaises(ConnectionResetError):
            data = self.dial(port).recv()
            self.fail(f"not a reset: {data!r}")

    def await_that(self, condition):
        """For what nothing tells of."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() >= deadline:
                self.fail("not so after all this time; the last lines:\n" + "\n".join(
                    "\n".join(gateway.lines[-15:]) for gateway in self.gateways))
            time.sleep(0.01)

    def fds_at_rest(self, gateway):
        """Its descriptors once it sleeps: a start has some open for a while, and
        goes on after its routes are listening."""
        self.await_that(gateway.is_asleep)
        return gateway.fds()

    def await_fds(self, gateway, before):
        """As many as there were."""
        try:
            self.await_that(lambda: gateway.fd_count() == len(before))
        except AssertionError as error:
            raise AssertionError(
                f"descriptors {gateway.fds()}, and before {before}") from error

    def await_idleness(self, gateway, most_s=0.2):
        """It sleeps, once it has done what there was to do."""
        def is_idle():
            before = gateway.cpu_s()
            time.sleep(0.5)
            return gateway.cpu_s() - before < most_s

        self.await_that(is_idle)

    def assert_echoes(self, end, text=b"hello"):
        end.send(text)
        self.assertEqual(end.recv_exactly(len(text)), text)


# ---- bytes -----------------------------------------------------------------------


class Bytes(GatewayTest):
    def test_tcp_to_tcp(self):
        _, client, target = self.tcp_pair()
        pass_bytes_both_ways(client, target, MEGABYTE)

    def test_unix_to_tcp(self):
        listener, target_port = self.server()
        path = self.path("socket")
        self.start(self.route(f"unix:{path}", f"tcp:127.0.0.1:{target_port}"))
        client = self.dial_unix(path)
        pass_bytes_both_ways(client, self.accept(listener), MEGABYTE)

    def test_tcp_to_unix(self):
        listener, path = self.unix_server("target")
        port = self.port()
        self.start(self.route(f"tcp:{port}", f"unix:{path}"))
        client = self.dial(port)
        pass_bytes_both_ways(client, self.accept(listener), MEGABYTE)

    def test_tcp_to_pty(self):
        _, client, program = self.pty_pair()
        pass_bytes_both_ways(client, program, MEGABYTE)

    def test_unix_to_echo(self):
        path = self.path("socket")
        self.start(self.route(f"unix:{path}", "echo"))
        client = self.dial_unix(path)
        pass_bytes(client, client, random.randbytes(MEGABYTE))

    def test_every_byte_value(self):
        every = bytes(range(256)) + bytes(reversed(range(256)))
        _, client, target = self.tcp_pair()
        pass_bytes(client, target, every)
        pass_bytes(target, client, every)

    def test_every_byte_value_through_a_pty(self):
        every = bytes(range(256)) + bytes(reversed(range(256)))
        _, client, program = self.pty_pair()
        pass_bytes(client, program, every)
        pass_bytes(program, client, every)

    def test_a_byte_at_a_time(self):
        _, client, target = self.tcp_pair()
        for i in range(500):
            byte = bytes([i % 256])
            client.send(byte)
            self.assertEqual(target.recv_exactly(1), byte)
            target.send(byte)
            self.assertEqual(client.recv_exactly(1), byte)

    def test_a_slow_reader(self):
        listener, target_port = self.server()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        port = self.port()
        self.start(self.route(f"tcp:{port}", f"tcp:127.0.0.1:{target_port}"))
        client = self.dial(port)
        target = self.accept(listener)
        data = random.randbytes(2 * MEGABYTE)
        sender = threading.Thread(target=client.send, args=(data,))
        sender.start()
        got = bytearray()
        while len(got) < len(data):
            got += target.recv_exactly(min(8192, len(data) - len(got)))
            time.sleep(0.001)
        sender.join()
        self.assertEqual(digest(got), digest(data))

    def test_socat_through_echo(self):
        port = self.port()
        self.start(self.route(f"tcp:{port}", "echo"))
        data = random.randbytes(MEGABYTE)
        result = subprocess.run(
            ["socat", "-t", str(PATIENCE_S), "-", f"TCP:127.0.0.1:{port}"],
            input=data, capture_output=True, timeout=60, check=True)
        self.assertEqual(digest(result.stdout), digest(data))

    def test_socat_as_the_serial_program(self):
        port, path = self.port(), self.path("port")
        gateway = self.start(self.route(f"tcp:{port}", f"pty:{path}"))
        socat = subprocess.Popen(["socat", f"{path},raw,echo=0", "PIPE"])
        try:
            client = self.dial(port)
            gateway.await_line("connected to")
            # What comes before socat has it open waits there.
            pass_bytes(client, client, random.randbytes(200000))
        finally:
            socat.terminate()
            socat.wait()

    def test_lines_are_passed_on_at_once(self):
        _, client, target = self.tcp_pair()
        begin = time.monotonic()
        for _ in range(200):
            client.send(b"x")
            target.recv_exactly(1)
            target.send(b"y")
            client.recv_exactly(1)
        # Nagle's algorithm with delayed acknowledgements costs 40 ms each.
        self.assertLess(time.monotonic() - begin, 200 * 0.02)


# ---- records and packets -------------------------------------------------------------


class Pieces(GatewayTest):
    """Ends of SOCK_SEQPACKET show what was one write."""

    NMEA = (b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,,,,*47\r\n",
            b"$GPGSA,A,3,04,05,,09,12,,,24,,,,,2.5,1.3,2.1*39\r\n",
            b"$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,,,A*57\r\n")

    def records(self, listen_options="", connect_options=""):
        """A gateway between two ends of records, the client, the target."""
        listener, path = self.unix_server("target", socket.SOCK_SEQPACKET)
        gateway = self.start(
            self.route(f"unix:{self.path('in')},seqpacket{listen_options}",
                       f"unix:{path},seqpacket{connect_options}"))
        client = self.dial_unix(self.path("in"), socket.SOCK_SEQPACKET)
        return gateway, client, self.accept(listener)

    def to_records(self, client_options):
        """From a TCP client, packed, to a target of records."""
        listener, path = self.unix_server("target", socket.SOCK_SEQPACKET)
        port = self.port()
        gateway = self.start(self.route(f"tcp:{port},{client_options}",
                                        f"unix:{path},seqpacket"))
        client = self.dial(port)
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return gateway, client, self.accept(listener)

    def test_records_stay_records(self):
        gateway, client, target = self.records()
        sizes = [1, 2, 671, 672, 673, 4096, 4097, 32768, 65535, 1]
        records = [random.randbytes(size) for size in sizes * 5]
        for one, other in (client, target), (target, client):
            sender = threading.Thread(
                target=lambda end=one: [end.send(record) for record in records])
            sender.start()
            for record in records:
                self.assertEqual(other.recv(100000), record)
            sender.join()
        # Empty ones say nothing; behind them more comes.
        client.send(b"")
        client.send(b"x")
        self.assertEqual(target.recv(), b"x")
        client.send(b"last")
        client.end_writing()
        self.assertEqual(target.recv(), b"last")
        self.assertEqual(target.recv(), b"")
        target.send(b"the answer")
        self.assertEqual(client.recv(), b"the answer")
        target.close()
        gateway.await_line(
            f"client closed; .*, {sum(sizes) * 5 + 10} bytes to client$")

    def test_a_record_that_the_other_end_cannot_take(self):
        gateway, client, target = self.records()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 212992)
        client.send(b"before")
        client.send(bytes(230000))
        self.assertEqual(target.recv(), b"before")
        self.assertEqual(target.recv(), b"")
        gateway.await_line(
            "ended: a record of 230000 bytes from client is longer than the "
            "link to target can carry; .*, 6 bytes to target, 0 bytes to "
            "client, 230000 bytes could not be delivered")

    def test_records_and_bytes(self):
        port = self.port()
        self.start(self.route(f"unix:{self.path('in')},seqpacket", "echo") +
                   self.route(f"tcp:{port}", f"unix:{self.path('in')},seqpacket",
                              name="s"))
        client = self.dial(port)
        pass_bytes(client, client, random.randbytes(MEGABYTE))

    def test_sentences_from_a_serial_program(self):
        """Written as a receiver does, a few characters at a time."""
        port = self.path("gps")
        gateway = self.start(self.route(f"unix:{self.path('in')},seqpacket",
                                        f"pty:{port},pack-until=\\n"))
        program = self.keep(PortEnd(port))
        client = self.dial_unix(self.path("in"), socket.SOCK_SEQPACKET)
        gateway.await_line("connected to")
        text = b"".join(self.NMEA) * 20
        for at in range(0, len(text), 13):
            program.send(text[at:at + 13])
        for sentence in self.NMEA * 20:
            self.assertEqual(client.recv(), sentence)
        # What is short of a sentence is not lost at the end.
        program.send(b"$GPV")
        gateway.signal(signal.SIGTERM)
        self.assertEqual(client.recv(), b"$GPV")
        self.assertEqual(client.recv(), b"")

    def test_frames_by_the_silence_between_them(self):
        """Modbus has neither lengths nor delimiters."""
        gateway, client, target = self.to_records("pack-gap=300ms")
        for frame in (b"\x01\x03\x00\x00\x00\x02\xc4\x0b", b"\x01\x83\x02\xc0\xf1"):
            for i, byte in enumerate(frame):
                client.send(bytes([byte]))
                if i % 3 == 0:
                    time.sleep(0.01)  # a slow port; far less than the gap
            last = time.monotonic()
            self.assertEqual(target.recv(), frame)
            self.assertGreaterEqual(time.monotonic() - last, 0.29)
        client.send(b"rest")
        client.end_writing()
        # The end does not wait for silence.
        self.assertEqual(target.recv(), b"rest")
        self.assertEqual(target.recv(), b"")
        target.close()
        gateway.await_line("client closed")

    def test_pieces_of_a_size(self):
        gateway, client, target = self.to_records("pack-size=100")
        data = random.randbytes(12345)
        for at in range(0, len(data), 77):
            client.send(data[at:at + 77])
        client.end_writing()
        got = []
        while piece := target.recv():
            got.append(piece)
        self.assertEqual([len(piece) for piece in got], [100] * 123 + [45])
        self.assertEqual(b"".join(got), data)
        target.close()
        gateway.await_line(r"12345 bytes to target, 0 bytes to client$")

    def test_packets_under_back_pressure(self):
        """They wait as they are: no two are merged, and none is cut."""
        gateway, client, target = self.to_records("pack-until=\\n,pack-size=500")
        lines = [b"x" * random.randrange(400) + b"\n" for _ in range(20000)]
        sender = threading.Thread(target=client.send, args=(b"".join(lines),))
        sender.start()
        waits, before = 0, None
        while waits < 3:  # until it stands still
            now = unsent_bytes(client.socket)
            waits = waits + 1 if now == before else 0
            before = now
            time.sleep(0.1)
        for line in lines:
            self.assertEqual(target.recv(), line)
        sender.join()
        client.close()
        self.assertEqual(target.recv(), b"")
        target.close()
        gateway.await_line(rf"{sum(map(len, lines))} bytes to target")


# ---- ends of streams ----------------------------------------------------------------


class HalfClose(GatewayTest):
    def test_up_and_an_answer_later_than_linger(self):
        gateway, client, target = self.tcp_pair(linger="100ms",
                                                drain_timeout="100ms")
        client.send(b"question")
        client.end_writing()
        self.assertEqual(target.recv_all(), b"question")
        time.sleep(0.5)
        target.send(b"answer")
        target.close()
        self.assertEqual(client.recv_all(), b"answer")
        gateway.await_line(r"session 1 with 127.0.0.1:\d+ ended: client "
                           r"closed; .* 8 bytes to target, 6 bytes to client$")

    def test_down_and_more_to_say(self):
        _, client, target = self.tcp_pair(linger="100ms")
        target.send(b"banner")
        target.end_writing()
        self.assertEqual(client.recv_all(), b"banner")
        time.sleep(0.5)
        client.send(b"and another thing")
        client.close()
        self.assertEqual(target.recv_all(), b"and another thing")

    def test_megabytes_and_then_the_end(self):
        _, client, target = self.tcp_pair()
        data = random.randbytes(4 * MEGABYTE)

        def send():
            client.send(data)
            client.close()

        sender = threading.Thread(target=send)
        sender.start()
        got = target.recv_all()
        sender.join()
        self.assertEqual(digest(got), digest(data))

    def test_echo_returns_everything_before_its_end(self):
        port = self.port()
        self.start(self.route(f"tcp:{port}", "echo"))
        client = self.dial(port)
        data = random.randbytes(300000)

        def send():
            client.send(data)
            client.end_writing()

        sender = threading.Thread(target=send)
        sender.start()
        got = client.recv_all()
        sender.join()
        self.assertEqual(digest(got), digest(data))

    def test_through_unix_ends(self):
        listener, target_path = self.unix_server("target")
        path = self.path("socket")
        self.start(self.route(f"unix:{path}", f"unix:{target_path}"))
        client = self.dial_unix(path)
        target = self.accept(listener)
        client.send(b"question")
        client.end_writing()
        self.assertEqual(target.recv_all(), b"question")
        target.send(b"answer")
        target.close()
        self.assertEqual(client.recv_all(), b"answer")

    def test_a_client_that_half_closes_to_a_pty_gets_its_answer(self):
        gateway, client, program = self.pty_pair(linger="2s")
        client.send(b"ATI\r")
        client.end_writing()
        self.assertEqual(program.recv_exactly(4), b"ATI\r")
        time.sleep(0.3)
        program.send(b"ELM327")
        self.assertEqual(client.recv_all(), b"ELM327")
        gateway.await_line(r"ended: client closed; .* 4 bytes to target, "
                           r"6 bytes to client$")

    def test_a_pty_is_free_again_after_linger(self):
        port, path = self.port(), self.path("port")
        gateway = self.start(self.route(f"tcp:{port}", f"pty:{path}",
                                        linger="200ms"))
        program = self.keep(PortEnd(path))
        for i in range(1, 4):
            client = self.dial(port)
            gateway.await_line("connected to", i)
            client.send(b"x")
            client.close()
            self.assertEqual(program.recv_exactly(1), b"x")
            gateway.await_line("ended: client closed", i)

    def test_the_target_s_last_words_reach_the_client(self):
        gateway, client, target = self.tcp_pair()
        data = random.randbytes(MEGABYTE)

        def send():
            target.send(data)
            target.close()

        sender = threading.Thread(target=send)
        sender.start()
        got = client.recv_all()
        sender.join()
        self.assertEqual(digest(got), digest(data))
        client.close()
        gateway.await_line("ended: target closed")

    def test_a_reset_of_the_target_is_told(self):
        gateway, client, target = self.tcp_pair()
        gateway.await_line("connected to")
        target.reset()
        # Once to hear of it; the rest of the session has nowhere to go.
        with contextlib.suppress(ConnectionError):
            client.recv_all()
        client.close()
        gateway.await_line("ended: target broke off: Connection reset by peer")

    def test_a_target_that_breaks_off_its_answer_is_named(self):
        gateway, client, target = self.tcp_pair()
        client.send(b"question")
        client.end_writing()
        self.assertEqual(target.recv_all(), b"question")
        target.send(b"half an ans")
        self.assertEqual(client.recv_exactly(11), b"half an ans")
        target.reset()
        # The client's orderly end is not why this session ended.
        gateway.await_line("ended: target broke off: Connection reset by peer")


# ---- reaching the target --------------------------------------------------------------


class Dialling(GatewayTest):
    def black_hole(self):
        """A port whose listener has a full queue."""
        listener, port = self.server(backlog=0)
        address = ("127.0.0.1", port)
        for _ in range(20):
            filler = self.keep(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
            if not select.select([], [filler], [], 0.2)[1]:
                return port
        self.fail(f"{listener} does not fill up")
        return None

    def test_a_target_that_is_down(self):
        holder, target_port = free_port()
        self.keep(holder)
        port = self.port()
        gateway = self.start(
            self.route(f"tcp:{port}", f"tcp:127.0.0.1:{target_port}"))
        self.assert_turned_away(port)
        gateway.await_line(
            rf"warning: route r: refused 127.0.0.1:\d+: 127.0.0.1 port "
            rf"{target_port} refused the connection: no program listens")
        # It comes up, and the next client is served.
        listener, _ = self.server(port=target_port)
        client = self.dial(port)
        pass_bytes(client, self.accept(listener), b"hello")

    def test_a_unix_target_that_is_down(self):
        port = self.port()
        gateway = self.start(self.route(f"tcp:{port}",
                                        f"unix:{self.path('none')}"))
        self.assert_turned_away(port)
        gateway.await_line(rf"refused .*{self.path('none')}: No such file")

    def test_a_target_that_does_not_answer(self):
        port = self.port()
        gateway = self.start(
            self.route(f"tcp:{port}", f"tcp:127.0.0.1:{self.black_hole()}",
                       connect_timeout="500ms"))
        begin = time.monotonic()
        self.assert_turned_away(port)
        self.assertGreater(time.monotonic() - begin, 0.4)
        gateway.await_line(r"refused .* did not answer within 500ms")

    def test_a_host_without_an_address(self):
        port, echo_port = self.port(), self.port()
        gateway = self.start(
            self.route(f"tcp:{port}", "tcp:no-such-host.invalid:9", "lost",
                       connect_timeout="10s") +
            self.route(f"tcp:{echo_port}", "echo", "echo"))
        client = self.dial(port)
        # Whether there is a resolver or not, others do not wait for it.
        self.assert_echoes(self.dial(echo_port))
        self.assert_reset(client)
        gateway.await_line(
            r"route lost: refused .*: (cannot find the address of host "
            r"'no-such-host.invalid'|tcp:no-such-host.invalid:9 did not)")
        self.assert_echoes(self.dial(echo_port))

    def test_a_host_name(self):
        listener, target_port = self.server()
        port = self.port()
        self.start(self.route(f"tcp:{port}", f"tcp:localhost:{target_port}"))
        client = self.dial(port)
        pass_bytes_both_ways(client, self.accept(listener), 1000)

    def test_a_client_that_leaves_meanwhile(self):
        port = self.port()
        gateway = self.start(
            self.route(f"tcp:{port}", f"tcp:127.0.0.1:{self.black_hole()}",
                       connect_timeout="10m"))
        before = self.fds_at_rest(gateway)
        for i in range(1, 3):
            self.dial(port).reset()
            gateway.await_line(r"refused .* the client left before the target "
                               r"was reached", i)
            self.await_fds(gateway, before)

    def test_a_unix_client_that_says_all_and_leaves(self):
        listener, port = self.server()
        self.start(self.route(f"unix:{self.path('s')}",
                              f"tcp:127.0.0.1:{port}"))
        for number in range(5):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(self.path("s"))
                client.sendall(b"all I had to say")
            with listener.accept()[0] as server:
                said = b""
                while piece := server.recv(100):
                    said += piece
            self.assertEqual(said, b"all I had to say", number)

    def test_what_the_client_sends_meanwhile_is_not_lost(self):
        listener, target_port = self.server()
        port = self.port()
        self.start(self.route(f"tcp:{port}", f"tcp:localhost:{target_port}"))
        for _ in range(20):
            client = self.dial(port)
            client.send(b"early")
            client.end_writing()
            self.assertEqual(self.accept(listener).recv_all(), b"early")

    def test_stopping_while_a_target_is_dialled(self):
        port, hole = self.port(), self.black_hole()

        def dials():
            """The kernel's, in SYN_SENT; one is what has filled the queue."""
            with open("/proc/net/tcp", encoding="ascii") as table:
                return sum(words[3] == "02" and words[2].endswith(f":{hole:04X}")
                           for words in map(str.split, table))
        gateway = self.start(
            self.route(f"tcp:{port}", f"tcp:127.0.0.1:{hole}",
                       connect_timeout="10m"))
        before = dials()
        client = self.dial(port)
        self.await_that(lambda: dials() > before)
        self.assertEqual(gateway.stop(), 0)
        self.assert_reset(client)


# ---- limits -------------------------------------------------------------------------------


class Limits(GatewayTest):
    def test_a_hundred_sessions(self):
        listener, target_port = self.server()
        port = self.port()
        gateway = self.start(
            self.route(f"tcp:{port}", f"tcp:127.0.0.1:{target_port}"))
        clients = [self.dial(port) for _ in range(100)]
        targets = {}
        for i, client in enumerate(clients):
            client.send(struct.pack("!I", i))
        for _ in clients:
            target = self.accept(listener)
            (i,) = struct.unpack("!I", target.recv_exactly(4))
            targets[i] = target
        self.assertEqual(len(targets), 100)
        for i, client in enumerate(clients):
            payload = random.randbytes(3000)
            pass_bytes(client, targets[i], payload)
            pass_bytes(targets[i], client, payload)
        for i, client in enumerate(clients):
            client.close()
            targets[i].close()
        gateway.await_line("ended: ", 100)

    def test_max_sessions(self):
        port = self.port()
        gateway = self.start(self.route(f"tcp:{port}", "echo", max_sessions=2))
        first, second = self.dial(port), self.dial(port)
        self.assert_echoes(first)
        self.assert_echoes(second)
        self.assert_turned_away(port)
        gateway.await_line("refused .* as many sessions as max-sessions allows")
        self.assert_echoes(second)
        first.close()
        gateway.await_line("session 1 .* ended")
        self.assert_echoes(self.dial(port))

    def test_a_pty_has_one_session(self):
        port, path = self.port(), self.path("port")
        gateway = self.start(self.route(f"tcp:{port}", f"pty:{path}"))
        program = self.keep(PortEnd(path))
        first = self.dial(port)
        gateway.await_line("connected to")
        self.assert_turned_away(port)
        gateway.await_line("refused .*: the target is in use by another client")
        pass_bytes_both_ways(first, program, 1000)

    def test_descriptors_run_out(self):
        port = self.port()
        limit = 40
        gateway = self.start(
            self.route(f"tcp:{port}", "echo"),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE,
                                                  (limit, limit)))
        clients = [self.dial(port) for _ in range(limit)]
        for client in clients:
            client.send(b"x")
        gateway.await_line("no more clients for now: Too many open files")
        served, waiting = [], []
        for client in clients:
            if select.select([client.socket], [], [], 0.2)[0]:
                # Nobody is turned away.
                self.assertEqual(client.recv_exactly(1), b"x")
                served.append(client)
            else:
                waiting.append(client)
        self.assertGreater(len(served), 3)
        self.assertGreater(len(waiting), 3)
        # It sleeps meanwhile.
        before = gateway.cpu_s()
        time.sleep(1)
        self.assertLess(gateway.cpu_s() - before, 0.3)
        # As others leave, all get their turn.
        while waiting:
            for client in served:
                client.close()
            served = []
            ready = select.select([c.socket for c in waiting], [], [],
                                  PATIENCE_S)[0]
            self.assertTrue(ready, gateway.log())
            for client in list(waiting):
                if client.socket in ready:
                    self.assertEqual(client.recv_exactly(1), b"x")
                    waiting.remove(client)
                    served.append(client)
        self.assertEqual(gateway.matches("refused"), [])

    def test_running_out_while_names_are_looked_up(self):
        # The C library's own threads meet the limit too, a second after
        # their last answer; several limits, for descriptors go in pairs.
        _, target_port = self.server()
        gateways = []
        for limit in range(28, 33):
            port = self.port()
            gateways.append(self.start(
                self.route(f"tcp:{port}", f"tcp:localhost:{target_port}"),
                preexec_fn=lambda limit=limit: resource.setrlimit(
                    resource.RLIMIT_NOFILE, (limit, limit))))
            for _ in range(40):
                with contextlib.suppress(ConnectionError):
                    self.dial(port)
        for gateway in gateways:
            gateway.await_line("Too many open files")
        time.sleep(2.5)
        for gateway in gateways:
            self.assertIsNone(gateway.process.poll(), gateway.log())

    def test_running_out_is_said_once(self):
        port = self.port()
        gateway = self.start(
            self.route(f"tcp:{port}", "echo"),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE,
                                                  (30, 30)))
        clients = [self.dial(port) for _ in range(30)]
        gateway.await_line("no more clients for now")
        time.sleep(2.5)
        gateway.await_exactly("no more clients for now", 1)
        for client in clients:
            client.close()


# ---- back-pressure ------------------------------------------------------------------------


class Sharing(GatewayTest):
    """A target that is one thing: who has to go, who sees and who writes."""

    def shared_pty(self, clients, **keys):
        """A gateway, its port, a program at the pty, and so many clients."""
        port, path = self.port(), self.path("port")
        gateway = self.start(self.route(f"tcp:{port}", f"pty:{path}",
                                        linger="50ms", **keys))
        program = self.keep(PortEnd(path))
        return gateway, port, program, [
            self.join(gateway, port, i + 1) for i in range(clients)]

    def join(self, gateway, port, number, small_buffers=False):
        client = self.dial(port, small_buffers)
        gateway.await_line(f"session {number}: .* connected to")
        return client

    def test_the_newcomer_replaces(self):
        gateway, port, program, (first,) = self.shared_pty(
            1, when_busy="replace")
        pass_bytes_both_ways(first, program, 1000)
        second = self.join(gateway, port, 2)
        self.assertEqual(first.recv(), b"")
        own = "%s:%d" % second.socket.getsockname()
        gateway.await_line(f"session 1 .* ended: replaced by {own}; .*"
                           "1000 bytes to target, 1000 bytes to client")
        pass_bytes_both_ways(second, program, 1000)

    def test_many_newcomers_at_once(self):
        gateway, port, program, _ = self.shared_pty(0, when_busy="replace")
        before = self.fds_at_rest(gateway)
        clients = [self.dial(port) for _ in range(30)]
        last = "%s:%d" % clients[-1].socket.getsockname()
        gateway.await_line(f"{last} connected to")
        clients[-1].send(b"the last")
        self.assertEqual(program.recv_exactly(8), b"the last")
        gateway.await_line("replaced by", 29)
        for client in clients:
            client.close()
        gateway.await_line("ended: client closed")
        self.await_fds(gateway, before)

    def test_a_session_that_is_stuck_is_replaced(self):
        gateway, port, program, (first,) = self.shared_pty(
            1, when_busy="replace")
        first.offer()
        second = self.join(gateway, port, 2)
        gateway.await_line("session 1 .* ended: replaced by .* could not be")
        second.close()
        program.recv()

    def test_max_sessions_with_replace(self):
        _, target_port = self.server()
        port = self.port()
        gateway = self.start(self.route(
            f"tcp:{port}", f"tcp:127.0.0.1:{target_port}", max_sessions=2,
            when_busy="replace"))
        for number in (1, 2, 3):
            self.join(gateway, port, number)
        gateway.await_line("session 1 .* ended: replaced by")
        self.assertFalse(gateway.matches("session 2 .* ended"))

    def test_all_see_what_the_port_says(self):
        gateway, port, program, clients = self.shared_pty(
            3, when_busy="share")
        program.send(b"hello all")
        for client in clients:
            self.assertEqual(client.recv_exactly(9), b"hello all")
        late = self.join(gateway, port, 4)
        program.send(b"!")
        for client in [*clients, late]:
            self.assertEqual(client.recv_exactly(1), b"!")
        for client in [*clients, late]:
            client.send(b"a line\n")
            self.assertEqual(program.recv_exactly(7), b"a line\n")

    def test_megabytes_to_all(self):
        _, _, program, clients = self.shared_pty(3, when_busy="share")
        data = random.randbytes(MEGABYTE)
        got = {}

        def take(number):
            got[number] = clients[number].recv_exactly(len(data))

        takers = [threading.Thread(target=take, args=(i,)) for i in range(3)]
        for taker in takers:
            taker.start()
        program.send(data)
        for taker in takers:
            taker.join()
        for number in range(3):
            self.assertEqual(digest(got[number]), digest(data))

    def test_a_slow_client_is_dropped_while_the_others_go_on(self):
        gateway, port, program, (quick,) = self.shared_pty(
            1, when_busy="share", drain_timeout="100ms")
        slow = self.join(gateway, port, 2, small_buffers=True)
        rss = gateway.status_field("VmRSS")
        data = random.randbytes(16 * MEGABYTE)
        pass_bytes(program, quick, data)
        gateway.await_line(
            r"session 2 .* ended: client too slow: \d+ bytes behind")
        self.assertFalse(gateway.matches("session 1 .* ended"))
        self.assertLess(gateway.status_field("VmRSS"),
                        rss + 4096 if not is_sanitized() else 1 << 30)
        pass_bytes_both_ways(quick, program, 1000)
        slow.close()

    def test_all_slow_push_back(self):
        gateway, _, program, clients = self.shared_pty(2, when_busy="share")
        total = 0
        with self.assertRaises(TimeoutError):
            while total < 64 * MEGABYTE:
                if not select.select([], [program.fd], [], 0.5)[1]:
                    raise TimeoutError
                with contextlib.suppress(BlockingIOError):
                    total += os.write(program.fd, bytes(65536))
        self.assertFalse(gateway.matches("ended"))
        piece = 4096
        for _ in range(total // piece):
            for client in clients:
                client.recv_exactly(piece)
        self.assertFalse(gateway.matches("ended"))

    def test_the_first_writes(self):
        gateway, _, program, (first, second) = self.shared_pty(
            2, when_busy="share", share_write="first")
        second.send(b"discarded")
        first.send(b"heard")
        self.assertEqual(program.recv_exactly(5), b"heard")
        self.assertTrue(program.is_silent(0.1))
        program.send(b"answer")
        self.assertEqual(first.recv_exactly(6), b"answer")
        self.assertEqual(second.recv_exactly(6), b"answer")
        first.close()
        gateway.await_line("session 1 .* ended: client closed")
        second.send(b"at last")
        self.assertEqual(program.recv_exactly(7), b"at last")
        second.close()
        gateway.await_line("session 2 .* 7 bytes to target, 6 bytes to client,"
                           " 9 bytes from client discarded")

    def test_last_bytes_of_the_last_client(self):
        gateway, _, program, (client,) = self.shared_pty(1, when_busy="share")
        client.send(bytes(60000))
        client.close()
        self.assertEqual(len(program.recv_exactly(60000)), 60000)
        gateway.await_line("60000 bytes to target")

    def test_the_end_of_a_tcp_target_is_everybody_s(self):
        listener, target_port = self.server()
        port = self.port()
        gateway = self.start(self.route(
            f"tcp:{port}", f"tcp:127.0.0.1:{target_port}",
            when_busy="share", linger="50ms"))
        clients = [self.join(gateway, port, i) for i in (1, 2, 3)]
        target = self.accept(listener)
        for client in clients:
            client.send(b"x")
            self.assertEqual(target.recv_exactly(1), b"x")
        target.send(b"last words")
        target.close()
        for client in clients:
            self.assertEqual(client.recv_all(), b"last words")
            client.close()
        gateway.await_line("ended: target closed", 3)
        # Dialled with the first, let go with the last: now anew.
        again = self.join(gateway, port, 4)
        target = self.accept(listener)
        pass_bytes_both_ways(again, target, 1000)
        again.close()
        self.assertEqual(target.recv(), b"")

    def test_a_shared_target_that_is_down(self):
        holder, target_port = free_port()
        self.keep(holder)
        port = self.port()
        gateway = self.start(self.route(
            f"tcp:{port}", f"tcp:127.0.0.1:{target_port}",
            when_busy="share"))
        for _ in range(3):
            self.assert_turned_away(port)
        gateway.await_line("refused 127.0.0.1:.*", 3)

    def test_max_sessions_bounds_who_shares(self):
        gateway, port, _, _ = self.shared_pty(
            2, when_busy="share", max_sessions=2)
        self.assert_turned_away(port)
        gateway.await_line("refused .* as many sessions as max-sessions")

    def test_descriptors_run_out(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

        port, path = self.port(), self.path("port")
        gateway = self.start(
            self.route(f"tcp:{port}", f"pty:{path}", when_busy="share"),
            preexec_fn=limit)
        program = self.keep(PortEnd(path))
        clients = [self.dial(port) for _ in range(40)]
        gateway.await_line("no more clients for now")
        gateway.await_line("connected to", 6)
        in_now = gateway.matches("connected to")
        program.send(b"!")
        for client in clients[:len(in_now)]:
            self.assertEqual(client.recv_exactly(1), b"!")
        for client in clients[:len(in_now)]:
            client.close()
        gateway.await_line("connected to", len(in_now) + 1)

    def test_a_stop_drains_all_who_share(self):
        gateway, _, program, clients = self.shared_pty(3, when_busy="share")
        for client in clients:
            client.send(b"bye")
        self.assertEqual(len(program.recv_exactly(9)), 9)
        self.assertEqual(gateway.stop(), 0)
        gateway.await_line("ended: stopped", 3)


class BackPressure(GatewayTest):
    SESSIONS = 20

    def test_targets_that_never_read(self):
        listener, target_port = self.server()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        port, echo_port = self.port(), self.port()
        gateway = self.start(
            self.route(f"tcp:{port}", f"tcp:127.0.0.1:{target_port}") +
            self.route(f"tcp:{echo_port}", "echo", "echo"))
        other = self.dial(echo_port)
        clients = [self.dial(port) for _ in range(self.SESSIONS)]
        targets = [self.accept(listener) for _ in clients]
        for client in clients:
            client.send(b"x")
        for target in targets:
            target.recv_exactly(1)
        before_kb = gateway.status_field("VmRSS")
        offered = 0
        for client in clients:
            offered += client.offer(quiet_s=0.2)
        self.assertGreater(offered, 2 * MEGABYTE * self.SESSIONS)
        grown_kb = gateway.status_field("VmRSS") - before_kb
        if not is_sanitized():
            self.assertLess(grown_kb, 4096)
        # It sleeps, and others notice nothing.
        cpu_before = gateway.cpu_s()
        time.sleep(0.5)
        self.assertLess(gateway.cpu_s() - cpu_before, 0.2)
        pass_bytes(other, other, random.randbytes(MEGABYTE))
        # One leaves with a bang, and that is noticed though nobody reads.
        clients[0].reset()
        gateway.await_line(
            r"ended: client broke off: Connection reset by peer; .* bytes "
            r"could not be delivered")
        # And when they do read they get every byte.
        self.assertEqual(gateway.matches(r"ended: (?!client broke)"), [])
        for client, target in list(zip(clients, targets))[1:3]:
            client.end_writing()
            target.recv_all()

    def test_a_stalled_client_comes_back(self):
        _, client, target = self.tcp_pair()
        data = random.randbytes(8 * MEGABYTE)
        sender = threading.Thread(target=target.send, args=(data,))
        sender.start()
        time.sleep(0.5)
        self.assertEqual(digest(client.recv_exactly(len(data))), digest(data))
        sender.join()

    def test_a_pty_that_nobody_reads(self):
        gateway, client, program = self.pty_pair()
        client.offer()
        cpu_before = gateway.cpu_s()
        time.sleep(0.5)
        self.assertLess(gateway.cpu_s() - cpu_before, 0.2)
        # The other way still works.
        program.send(b"still here")
        self.assertEqual(client.recv_exactly(10), b"still here")
        client.reset()
        gateway.await_line("ended: client broke off: Connection reset by peer")

    def test_idle_sessions_cause_no_wake_ups(self):
        port = self.port()
        gateway = self.start(self.route(f"tcp:{port}", "echo"))
        clients = [self.dial(port) for _ in range(50)]
        for client in clients:
            self.assert_echoes(client)
        for _ in range(3):  # whatever settles after the last byte
            before = gateway.status_field("voluntary_ctxt_switches")
            time.sleep(1)
            after = gateway.status_field("voluntary_ctxt_switches")
            if after == before:
                break
        self.assertEqual(after, before)


# ---- paths and ports that others hold ---------------------------------------------------------


class Holding(GatewayTest):
    def two_gateways(self, text):
        first = self.start(text)
        second = self.spawn(["run", "-c", self.config(text)])
        self.assertEqual(second.wait(), 1)
        return first, second

    def test_a_second_instance_says_who_holds_each(self):
        port, unix_path, pty_path = self.port(), self.path("s"), self.path("p")
        text = (self.route(f"tcp:{port}", "echo", "t") +
                self.route(f"unix:{unix_path}", "echo", "u") +
                self.route(f"tcp:{self.port()}", f"pty:{pty_path}", "p"))
        first, second = self.two_gateways(text)
        for route, what in (("t", f"TCP port {port}"), ("u", unix_path),
                            ("p", pty_path)):
            self.assertRegex(
                second.await_line(rf"route {route}: stopped -> waiting"),
                rf"{what} is held by .*\b{first.pid}\b")
        second.await_line("error: no route could be started")
        # It has taken nothing from the first.
        self.assert_echoes(self.dial(port))
        self.assert_echoes(self.dial_unix(unix_path))
        self.assertTrue(os.path.islink(pty_path))

    def test_being_asked_is_not_being_called(self):
        text = self.route(f"unix:{self.path('s')}", "echo")
        first, _ = self.two_gateways(text)
        self.assert_echoes(self.dial_unix(self.path("s")))
        first.await_line("session .* connected to")
        first.await_exactly("session .* connected to", 1)

    def test_two_ports_share_a_directory_that_was_missing(self):
        there = self.path("made")
        gateway = self.start(
            self.route(f"tcp:{self.port()}", f"pty:{there}/one", "one") +
            self.route(f"tcp:{self.port()}", f"pty:{there}/two", "two"))
        self.assertEqual(sorted(os.listdir(there)),
                         ["one", "one.lock", "two", "two.lock"])
        gateway.stop()
        self.assertFalse(os.path.exists(there))

    def test_a_held_port_is_taken_over_when_free(self):
        listener, held_port = self.server()
        port = self.port()
        gateway = self.start(
            self.route(f"tcp:{held_port}", "echo", "held") +
            self.route(f"tcp:{port}", "echo", "free"), routes_up=1)
        gateway.await_line(rf"route held: stopped -> waiting .* held by .*"
                           rf"\b{os.getpid()}\b")
        self.assert_echoes(self.dial(port))
        listener.close()
        gateway.await_line("route held: waiting -> listening")
        self.assert_echoes(self.dial(held_port))

    def test_a_unix_socket_s_mode(self):
        plain, shared = self.path("plain"), self.path("shared")
        self.start(self.route(f"unix:{plain}", "echo", "p") +
                   self.route(f"unix:{shared},mode=0666", "echo", "s"))
        self.assertEqual(stat.S_IMODE(os.lstat(plain).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.lstat(shared).st_mode), 0o666)
        self.assertTrue(stat.S_ISSOCK(os.lstat(plain).st_mode))

    def test_a_killed_gateway_s_paths_are_replaced(self):
        port, unix_path, pty_path = self.port(), self.path("s"), self.path("p")
        text = (self.route(f"unix:{unix_path}", "echo", "u") +
                self.route(f"tcp:{port}", f"pty:{pty_path}", "p"))
        self.start(text).kill()
        self.assertTrue(os.path.lexists(unix_path))
        self.assertTrue(os.path.lexists(pty_path))
        self.start(text)
        self.assert_echoes(self.dial_unix(unix_path))
        program = self.keep(PortEnd(pty_path))
        client = self.dial(port)
        pass_bytes(client, program, b"x")

    def refused_path(self, kind, make):
        """Something that is not the gateway's is left as it is."""
        path = self.path("taken")
        make(path)
        before = os.lstat(path)
        ends = {"unix": (f"unix:{path}", "echo"),
                "pty": (f"tcp:{self.port()}", f"pty:{path}")}[kind]
        gateway = self.start(
            self.route(*ends, name="bad") +
            self.route(f"tcp:{self.port()}", "echo", "good"), routes_up=1)
        gateway.await_line(
            rf"route bad: stopped -> waiting .*{path} is there already")
        self.assertEqual(gateway.stop(), 0)
        after = os.lstat(path)
        self.assertEqual((before.st_ino, before.st_mode, before.st_mtime_ns),
                         (after.st_ino, after.st_mode, after.st_mtime_ns))
        return path

    def make_file(self, path):
        with open(path, "w", encoding="ascii") as file:
            file.write("precious")

    def test_a_file_at_a_path(self):
        for kind in ("unix", "pty"):
            with self.subTest(kind):
                path = self.refused_path(kind, self.make_file)
                with open(path, encoding="ascii") as file:
                    self.assertEqual(file.read(), "precious")
                os.unlink(path)

    def test_a_directory_at_a_path(self):
        for kind in ("unix", "pty"):
            with self.subTest(kind):
                os.rmdir(self.refused_path(kind, os.mkdir))

    def test_a_link_at_a_path(self):
        precious = os.path.join(self.base, "precious")
        self.make_file(precious)
        for kind in ("unix", "pty"):
            for to in (precious, "/nowhere/at/all"):
                with self.subTest(kind=kind, to=to):
                    path = self.refused_path(
                        kind, lambda path, to=to: os.symlink(to, path))
                    self.assertEqual(os.readlink(path), to)
                    os.unlink(path)
        with open(precious, encoding="ascii") as file:
            self.assertEqual(file.read(), "precious")

    def test_a_socket_that_was_replaced_is_not_removed(self):
        path = self.path("s")
        gateway = self.start(self.route(f"unix:{path}", "echo"))
        os.unlink(path)
        other = self.keep(socket.socket(socket.AF_UNIX))
        other.bind(path)
        self.assertEqual(gateway.stop(), 0)
        self.assertTrue(os.path.exists(path))
        os.unlink(path)

    def test_a_pty_s_path(self):
        path = self.path("tty")
        self.start(self.route(f"tcp:{self.port()}", f"pty:{path},mode=0640"))
        slave = os.readlink(path)
        self.assertRegex(slave, "^/dev/pts/[0-9]+$")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o640)
        program = self.keep(PortEnd(path))
        # Raw: no echo, no line editing, no translation, eight bits.
        iflag, oflag, cflag, lflag = termios.tcgetattr(program.fd)[:4]
        self.assertEqual(lflag & (termios.ECHO | termios.ICANON |
                                  termios.ISIG), 0)
        self.assertEqual(iflag & (termios.ICRNL | termios.IXON |
                                  termios.ISTRIP), 0)
        self.assertEqual(oflag & termios.OPOST, 0)
        self.assertEqual(cflag & termios.CSIZE, termios.CS8)

    def test_a_pty_outlives_clients_and_programs(self):
        port, path = self.port(), self.path("tty")
        gateway = self.start(self.route(f"tcp:{port}", f"pty:{path}",
                                        linger="100ms"))
        slave = os.readlink(path)
        program = self.keep(PortEnd(path))
        for i in range(1, 4):
            client = self.dial(port)
            gateway.await_line("connected to", i)
            pass_bytes_both_ways(client, program, 2000)
            client.close()
            gateway.await_line("ended: ", i)
        client = self.dial(port)
        gateway.await_line("connected to", 4)
        for _ in range(3):
            program.close()
            program = self.keep(PortEnd(path))
            pass_bytes(client, program, b"to the next program")
            pass_bytes(program, client, b"from the next program")
        self.assertEqual(os.readlink(path), slave)

    def test_a_pty_without_programs_costs_nothing(self):
        gateway, _, program = self.pty_pair()
        program.close()
        time.sleep(0.5)  # it looks again for a while, endpoint_pty.c
        before = gateway.cpu_s()
        time.sleep(1)
        self.assertLess(gateway.cpu_s() - before, 0.2)


# ---- stopping ---------------------------------------------------------------------------------


class Idling(GatewayTest):
    def test_idle_timeout(self):
        gateway, client, target = self.tcp_pair(idle_timeout="1s")
        client.send(b"last words")
        self.assertEqual(target.recv_exactly(10), b"last words")
        self.assertEqual(client.recv(), b"")
        self.assertEqual(target.recv(), b"")
        gateway.await_line(
            r"nothing passed for 1s \(idle-timeout\).* 10 bytes to target")


class Redialling(GatewayTest):
    """hold: the target goes and comes back, and the client stays."""

    def held(self, **keys):
        """The gateway, its client and target, and the target's port."""
        keys = {"hold": "yes", "retry": "100ms..200ms", **keys}
        listener, target_port = self.server()
        port = self.port()
        gateway = self.start(
            self.route(f"tcp:{port}", f"tcp:127.0.0.1:{target_port}", **keys))
        client = self.dial(port)
        target = self.accept(listener)
        gateway.await_line("connected to")
        listener.close()
        return gateway, client, target, target_port

    def lose(self, gateway, target, count=1):
        target.close()
        gateway.await_line("is lost: .*; it is dialled again", count)

    def come_back(self, target_port):
        listener, _ = self.server(port=target_port)
        target = self.accept(listener)
        listener.close()
        return target

    def test_a_client_stays(self):
        gateway, client, target, target_port = self.held()
        pass_bytes(client, target, b"before")
        for count in range(1, 4):
            self.lose(gateway, target, count)
            gateway.await_line("is not reached again yet: .* refused", count)
            client.send(b"meanwhile")
            target = self.come_back(target_port)
            self.assertEqual(target.recv_exactly(9), b"meanwhile")
            gateway.await_line("is reached again .*; 9 bytes were kept", count)
            pass_bytes_both_ways(client, target, 2 * MEGABYTE)
        client.close()
        gateway.await_line("session 1 with .* ended: client closed")
        self.assertEqual(target.recv(), b"")

    def test_a_reset_is_a_loss_too(self):
        gateway, client, target, target_port = self.held()
        target.send(b"last words")
        self.assertEqual(client.recv_exactly(10), b"last words")
        target.reset()
        gateway.await_line("is lost: Connection reset by peer")
        pass_bytes(client, self.come_back(target_port), b"hello again")

    def test_a_client_that_floods_waits(self):
        gateway, client, target, target_port = self.held(hold_buffer="1000")
        self.lose(gateway, target)
        offered = client.offer()
        # It sleeps meanwhile.
        before = gateway.cpu_s()
        time.sleep(0.5)
        self.assertLess(gateway.cpu_s() - before, 0.2)
        target = self.come_back(target_port)
        self.assertEqual(len(target.recv_exactly(offered)), offered)
        gateway.await_line("; 1000 bytes were kept for it")

    def test_what_is_discarded_is_counted(self):
        gateway, client, target, target_port = self.held(
            hold_buffer="discard")
        self.lose(gateway, target)
        for _ in range(64):
            client.send(bytes(65536))
        client.end_writing()
        gateway.await_line(
            "of what it sent to .* 0 bytes that were kept are lost, and "
            f"{64 * 65536} were discarded")
        self.assertEqual(client.recv(), b"")

    def test_without_its_client_it_is_not_dialled(self):
        gateway, client, target, target_port = self.held(
            drain_timeout="100ms")
        self.lose(gateway, target)
        client.send(b"in vain")
        client.close()
        gateway.await_line("7 bytes that were kept are lost")
        listener, _ = self.server(port=target_port)
        listener.settimeout(0.5)
        with self.assertRaises(TimeoutError):
            listener.accept()

    def test_a_stop_while_it_is_away(self):
        gateway, client, target, _ = self.held(drain_timeout="100ms")
        self.lose(gateway, target)
        client.send(b"in vain")
        self.assertEqual(gateway.stop(), 0)
        gateway.await_line("session 1 with .* ended: stopped")
        self.assertEqual(client.recv(), b"")

    def test_idle_while_it_is_away(self):
        gateway, client, target, _ = self.held(idle_timeout="1s")
        self.lose(gateway, target)
        gateway.await_line("session 1 with .* ended: nothing passed for 1s")
        self.assertEqual(client.recv(), b"")

    def test_always(self):
        target_port, port = self.port(), self.port()
        gateway = self.start(
            self.route(f"tcp:{port}", f"tcp:127.0.0.1:{target_port}",
                       hold="always", retry="100ms"))
        client = self.dial(port)
        client.send(b"early")
        gateway.await_line("is not reached yet: .* refused the connection")
        target = self.come_back(target_port)
        self.assertEqual(target.recv_exactly(5), b"early")

    def test_a_link(self):
        listener, target_port = self.server()
        port = self.port()
        gateway = self.start(
            self.route(f"tcp:{port}", f"tcp:127.0.0.1:{target_port}",
                       hold="link", retry="100ms"))
        target = self.accept(listener)
        for count in range(1, 4):
            client = self.dial(port)
            pass_bytes(client, target, b"there")
            pass_bytes(target, client, b"and back")
            # There is one at a time.
            self.assert_turned_away(port)
            client.close()
            gateway.await_line("ended: client closed", count)
        self.lose(gateway, target)
        target = self.accept(listener)
        pass_bytes(self.dial(port), target, b"the new one")
        self.assertEqual(gateway.stop(), 0)
        self.assertEqual(target.recv(), b"")

    def test_shared(self):
        gateway, client, target, target_port = self.held(when_busy="share")
        port = int(re.search(r"tcp:127.0.0.1:(\d+) =>",
                             gateway.log()).group(1))
        other = self.dial(port)
        gateway.await_line("session 2: .* connected to")
        self.lose(gateway, target)
        target = self.come_back(target_port)
        pass_bytes(target, client, b"both")
        self.assertEqual(other.recv_exactly(4), b"both")
        pass_bytes(other, target, b"other")


class Stopping(GatewayTest):
    def assert_drains(self, client, target, gateway, taken):
        """Stop it, and what it has from the client all reaches the target."""
        offered = client.offer()
        # What is still queued at the client's own end it never had.
        accepted = taken + offered - unsent_bytes(client.socket)
        gateway.signal(signal.SIGTERM)
        gateway.await_line("listening -> stopping")
        delivered = taken + len(target.recv_all())
        self.assertGreaterEqual(delivered, accepted)
        self.assertEqual(gateway.wait(), 0)
        self.assertNotRegex(gateway.log(), "could not be delivered")

    def test_what_was_accepted_is_delivered(self):
        gateway, client, target = self.tcp_pair(drain_timeout="15s")
        self.assert_drains(client, target, gateway, 0)

    def test_what_was_accepted_at_full_speed_is_delivered(self):
        gateway, client, target = self.tcp_pair(drain_timeout="15s")
        # The kernel has learnt to queue megabytes by then.
        size = 64 * MEGABYTE
        sender = threading.Thread(target=client.send, args=(bytes(size),))
        sender.start()
        target.recv_exactly(size)
        sender.join()
        self.assert_drains(client, target, gateway, size)

    def test_what_a_unix_client_sent_is_delivered(self):
        listener, target_port = self.server()
        path = self.path("socket")
        gateway = self.start(
            self.route(f"unix:{path}", f"tcp:127.0.0.1:{target_port}",
                       drain_timeout="15s"))
        client = self.dial_unix(path)
        target = self.accept(listener)
        swallowed = client.offer()
        gateway.signal(signal.SIGTERM)
        self.assertEqual(len(target.recv_all()), swallowed)
        self.assertEqual(gateway.wait(), 0)

    def test_new_clients_are_not_taken_while_stopping(self):
        listener, target_port = self.server()
        port = self.port()
        gateway = self.start(
            self.route(f"tcp:{port}", f"tcp:127.0.0.1:{target_port}",
                       drain_timeout="20s"))
        client = self.dial(port)
        target = self.accept(listener)
        client.offer()
        gateway.signal(signal.SIGTERM)
        gateway.await_line("listening -> stopping")
        with self.assertRaises(ConnectionError):
            self.dial(port).recv()
        client.close()
        target.recv_all()
        self.assertEqual(gateway.wait(), 0)

    def stuck(self, drain_timeout):
        gateway, client, target = self.tcp_pair(drain_timeout=drain_timeout)
        client.offer()
        return gateway, client, target

    def test_a_stuck_target_is_given_up(self):
        gateway, client, _ = self.stuck("1s")
        begin = time.monotonic()
        self.assertEqual(gateway.stop(), 0)
        took_s = time.monotonic() - begin
        self.assertGreater(took_s, 0.8)
        # LeakSanitizer looks at everything at exit.
        self.assertLess(took_s, 6 if is_sanitized() else 3)
        gateway.await_line("bytes could not be delivered")
        with self.assertRaises(ConnectionError):
            client.send(b"x")

    def test_a_target_that_takes_a_little_now_and_then_is_given_up(self):
        gateway, _, target = self.stuck("1s")
        is_over = threading.Event()

        def sip():
            with contextlib.suppress(OSError):
                while not is_over.wait(0.2) and target.recv(65536):
                    pass

        sipper = threading.Thread(target=sip)
        sipper.start()
        begin = time.monotonic()
        self.assertEqual(gateway.stop(), 0)
        took_s = time.monotonic() - begin
        is_over.set()
        sipper.join()
        self.assertLess(took_s, 6 if is_sanitized() else 3)

    def test_a_second_signal_cuts_it_short(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number):
                gateway, _, _ = self.stuck("60s")
                gateway.signal(signal.SIGTERM)
                gateway.await_line("listening -> stopping")
                gateway.signal(number)
                self.assertEqual(gateway.wait(), 0)

    def test_signals_in_quick_succession(self):
        for count in (2, 5):
            with self.subTest(count):
                gateway, _, _ = self.tcp_pair()
                for _ in range(count):
                    gateway.signal(signal.SIGTERM)
                self.assertEqual(gateway.wait(), 0)

    def test_signals_until_it_is_gone(self):
        # Whoever stops it may be impatient: its status tells what happened.
        gateway, client, target = self.tcp_pair()
        pass_bytes_both_ways(client, target, 1000)
        gateway.signal(signal.SIGTERM)
        while gateway.process.poll() is None:
            gateway.signal(signal.SIGTERM)
        self.assertEqual(gateway.wait(), 0)

    def test_interrupt(self):
        gateway, client, target = self.tcp_pair()
        pass_bytes_both_ways(client, target, 1000)
        gateway.signal(signal.SIGINT)
        self.assertEqual(client.recv_all(), b"")
        self.assertEqual(target.recv_all(), b"")
        self.assertEqual(gateway.wait(), 0)

    def test_a_session_ends_in_order(self):
        gateway, client, target = self.tcp_pair()
        client.send(b"up")
        target.send(b"down")
        gateway.signal(signal.SIGTERM)
        self.assertEqual(target.recv_all(), b"up")
        self.assertEqual(client.recv_all(), b"down")
        self.assertEqual(gateway.wait(), 0)
        gateway.await_line("session 1 .* ended: stopped; .* 2 bytes to "
                           "target, 4 bytes to client$")

    def test_a_pty_session_is_stopped(self):
        gateway, client, program = self.pty_pair()
        pass_bytes_both_ways(client, program, 5000)
        client.send(b"last words")
        gateway.await_line("connected to")
        self.assertEqual(gateway.stop(), 0)

    def test_a_broken_pipe_is_no_reason_to_die(self):
        gateway, client, target = self.tcp_pair()
        gateway.await_line("connected to")
        gateway.signal(signal.SIGPIPE)
        for _ in range(50):
            client.send(b"x" * 1000)
        target.reset()
        with contextlib.suppress(OSError):
            for _ in range(50):
                client.send(b"x" * 1000)
                time.sleep(0.001)
        gateway.await_line("ended: target broke off")

    def test_without_standard_descriptors(self):
        for closed in ((2,), (0, 1, 2)):
            with self.subTest(closed):
                port = self.port()
                text = self.route(f"tcp:{port}", "echo")
                redirections = "".join(f" {fd}>&-" for fd in closed)
                process = subprocess.Popen(
                    ["/bin/sh", "-c",
                     f'exec "$0" run -c "$1" {redirections}', BTGATE,
                     self.config(text)])
                try:
                    data = random.randbytes(100000)
                    client = self.dial_patiently(port)
                    pass_bytes(client, client, data)
                    # Not a word of the log in between.
                    client.end_writing()
                    self.assertEqual(client.recv_all(), b"")
                finally:
                    process.terminate()
                    status = process.wait(PATIENCE_S)
                self.assertEqual(status, 0)

    def dial_patiently(self, port):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self.dial(port)
            except ConnectionRefusedError:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.02)


# ---- the service manager and the log ---------------------------------------------------------


class Service(GatewayTest):
    def test_notify(self):
        path = os.path.join(self.base, "notify")
        manager = self.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        manager.bind(path)
        manager.settimeout(PATIENCE_S)
        gateway = self.start(self.route(f"tcp:{self.port()}", "echo"),
                             env={**os.environ, "NOTIFY_SOCKET": path})
        self.assertIn(b"READY=1", manager.recv(1000).split(b"\n"))
        self.assertEqual(gateway.stop(), 0)
        self.assertIn(b"STOPPING=1", manager.recv(1000).split(b"\n"))

    def lines_with(self, stderr_is_journal, journal_stream):
        log_path = os.path.join(self.base, "log")
        text = self.route(f"tcp:{self.port()}", "echo")
        with open(log_path, "wb") as log:
            if stderr_is_journal:
                status = os.fstat(log.fileno())
                journal_stream = f"{status.st_dev}:{status.st_ino}"
            environment = {**os.environ}
            environment.pop("JOURNAL_STREAM", None)
            if journal_stream:
                environment["JOURNAL_STREAM"] = journal_stream
            process = subprocess.Popen(
                [BTGATE, "run", "-c", self.config(text)], stderr=log,
                env=environment)
        self.await_that(lambda: b"listening" in self.read(log_path))
        process.terminate()
        self.assertEqual(process.wait(PATIENCE_S), 0)
        return self.read(log_path).decode().splitlines()

    @staticmethod
    def read(path):
        with open(path, "rb") as file:
            return file.read()

    def test_no_prefix_without_the_journal(self):
        for journal_stream in (None, "1:1", "nonsense", ""):
            for line in self.lines_with(False, journal_stream):
                self.assertRegex(line, r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} ")

    def test_a_prefix_for_the_journal(self):
        lines = self.lines_with(True, None)
        for line in lines:
            self.assertRegex(line, r"^<[346]>[^<]")

    def test_quiet_and_verbose(self):
        holder, target_port = free_port()
        self.keep(holder)
        port = self.port()
        config = self.config(
            self.route(f"tcp:{port}", f"tcp:127.0.0.1:{target_port}"))
        path = os.path.join(self.base, "notify")
        manager = self.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        manager.bind(path)
        manager.settimeout(PATIENCE_S)
        for options, is_refusal_seen in ((["-q"], True), (["-qq"], False)):
            with self.subTest(options):
                gateway = self.spawn(
                    ["run", *options, "-c", config],
                    env={**os.environ, "NOTIFY_SOCKET": path})
                manager.recv(1000)
                self.assert_turned_away(port)
                self.assertEqual(gateway.stop(), 0)
                manager.recv(1000)
                self.assertEqual(len(gateway.lines), int(is_refusal_seen))


# ---- the command line -------------------------------------------------------------------------


class CommandLine(GatewayTest):
    def btgate(self, *arguments, **options):
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                   "stderr": subprocess.PIPE, **options}
        result = subprocess.run([BTGATE, *arguments], timeout=60, check=False,
                                **options)
        out, err = (text.decode(errors="replace") if text else ""
                    for text in (result.stdout, result.stderr))
        self.assertNotRegex(out + err, SANITIZER)
        self.assertGreaterEqual(result.returncode, 0, err)
        return result.returncode, out, err

    def assert_refused(self, config, pattern, **options):
        """Both commands exit with 2 and say what is wrong, and where."""
        for command in ("check", "run"):
            status, out, err = self.btgate(command, "-c", config, **options)
            self.assertEqual((status, out), (2, ""), err)
            self.assertRegex(err, pattern)
        return err

    def test_usage_errors(self):
        for arguments in ([], ["nosuch"], ["--nosuch"], ["run", "--nosuch"],
                          ["check", "-c"], ["check", "surplus"], ["-x", "run"],
                          [""], ["run", "check"], ["--config"]):
            with self.subTest(arguments):
                status, out, err = self.btgate(*arguments)
                self.assertEqual((status, out), (2, ""))
                self.assertNotEqual(err, "")

    def test_services_usage(self):
        address = "00:11:22:33:44:55"
        for arguments, pattern in (
                ([], "DEVICE is missing"),
                ([address, address], "what is"),
                (["00:11:22"], "is not a Bluetooth address"),
                ([""], "."),
                (["-t", "5", address], "timeout: '5' has no unit"),
                (["-t", "0s", address], "timeout: no time"),
                (["-i", "usb0", address], "is not an adapter"),
                (["-u", "spp", address], "takes no option")):
            with self.subTest(arguments):
                status, out, err = self.btgate("services", *arguments)
                self.assertEqual((status, out), (2, ""), err)
                self.assertRegex(err, pattern)

    def test_services_without_bluetooth(self):
        with contextlib.suppress(OSError):
            socket.socket(31, socket.SOCK_SEQPACKET).close()
            self.skipTest("here it would call a device")
        status, out, err = self.btgate("services", "00:11:22:33:44:55")
        self.assertEqual((status, out), (1, ""))
        self.assertRegex(err, "Bluetooth sockets are not to be had here")
        self.assertEqual(err.count("\n"), 1, err)

    def test_help_and_version(self):
        for arguments in (["--help"], ["-h"], ["run", "--help"],
                          ["--help", "check"], ["check", "-h"], ["--version"],
                          ["-V"], ["run", "-V"]):
            with self.subTest(arguments):
                status, out, err = self.btgate(*arguments)
                self.assertEqual((status, err), (0, ""))
                self.assertRegex(out, "(?i)btgate")

    def test_options_before_and_after(self):
        config = self.config(self.route("tcp:7000", "echo"))
        for arguments in (["-c", config, "check"], ["check", "-c", config],
                          ["check", f"--config={config}"],
                          ["-v", "check", "--config", config, "-q"],
                          [f"-c{config}", "--verbose", "check"]):
            with self.subTest(arguments):
                status, out, err = self.btgate(*arguments)
                self.assertEqual((status, err), (0, ""))
                self.assertIn("listen = tcp:127.0.0.1:7000", out)

    def test_what_check_prints_is_a_configuration(self):
        config = self.config(
            self.route("tcp:7000", "echo", "one", max_sessions=3) +
            self.route("unix:/run/x y,mode=0660", "pty:/run/p", "two") +
            self.route("rfcomm:22", "tcp:[::1]:80", "three"))
        status, printed, err = self.btgate("check", "-c", config)
        self.assertEqual((status, err), (0, ""))
        again = self.btgate("check", "-c", self.config(printed, "again"))
        self.assertEqual(again, (0, printed, ""))

    def test_from_standard_input(self):
        text = self.route("tcp:7000", "echo").encode()
        result = subprocess.run([BTGATE, "check", "-c", "/dev/stdin"],
                                input=text, capture_output=True, timeout=60,
                                check=False)
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_nowhere_to_print(self):
        config = self.config(self.route("tcp:7000", "echo"))
        with open("/dev/full", "wb") as full:
            status, _, err = self.btgate("check", "-c", config, stdout=full)
        self.assertEqual(status, 1)
        self.assertRegex(err, "No space left")
        result = subprocess.run(
            ["/bin/sh", "-c", 'exec "$0" check -c "$1" >&-', BTGATE, config],
            stderr=subprocess.PIPE, timeout=60, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, b"Bad file descriptor")

    def test_a_file_that_is_not_there(self):
        self.assert_refused("/nowhere/at/all", "^.*/nowhere/at/all: .*No such")

    def test_things_that_are_no_files(self):
        self.assert_refused(self.base, f"{self.base}: .*Is a directory")
        self.assert_refused("/dev/null", "/dev/null: is a device")
        fifo = os.path.join(self.base, "fifo")
        os.mkfifo(fifo)
        self.assert_refused(fifo, "is a FIFO")
        self.assert_refused("", ".")

    def test_a_file_that_may_not_be_read(self):
        config = self.config(self.route("tcp:7000", "echo"))
        os.chmod(config, 0)
        command = [BTGATE]
        if os.geteuid() == 0:
            os.chmod(self.base, 0o755)
            # A copy that nobody can reach, wherever the tree is.
            copy = os.path.join(self.base, "btgate")
            shutil.copy(BTGATE, copy)
            command = ["setpriv", "--reuid=65534", "--regid=65534",
                       "--clear-groups", "--no-new-privs", copy]
        for name in ("check", "run"):
            result = subprocess.run([*command, name, "-c", config],
                                    capture_output=True, timeout=60,
                                    check=False)
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertRegex(result.stderr, b"Permission denied; make it "
                                            b"readable")

    def test_bytes_that_are_no_text(self):
        for i, text in enumerate((b"[route a]\nlisten = tcp:7000\0\n",
                                  b"\0" * 5000, bytes(range(256)) * 100,
                                  b"[route a]\nlisten = \xff\xfe\n",
                                  b"\xff\xfe[\0r\0o\0u\0t\0e\0 \0a\0]\0")):
            with self.subTest(i):
                config = self.config(text)
                self.assert_refused(config, rf"{config}:\d+: ")

    def test_long_things(self):
        config = self.config(b"[route a]\nlisten = " + b"x" * 10 * MEGABYTE)
        self.assert_refused(config, rf"{config}:2: ")
        config = self.config(b"x" * 10 * MEGABYTE)
        self.assert_refused(config, rf"{config}:1: ")
        config = self.config(b";\n" * 9 * MEGABYTE)
        self.assert_refused(config, "larger than")
        config = self.config("[route " + "n" * 180 + "]\nlisten=tcp:1\n"
                             "connect=echo\n")
        self.assert_refused(config, rf"{config}:1: ")

    def test_empty_files(self):
        for text in ("", "\n", "; nothing\n", "[gateway]\n", "[defaults]\n"):
            with self.subTest(text):
                config = self.config(text)
                self.assert_refused(config, rf"{config}")

    def test_findings_name_file_and_line(self):
        good = "[route a]\nlisten = tcp:7000\nconnect = echo\n"
        cases = (
            ("[route a]\nlisten = rfcomm:31\nconnect = echo\n", 2),
            ("[route a]\nlisten = rfcomm:0\nconnect = echo\n", 2),
            ("[route a]\nlisten = tcp:0\nconnect = echo\n", 2),
            ("[route a]\nlisten = tcp:65536\nconnect = echo\n", 2),
            ("[route a]\nlisten = echo\nconnect = echo\n", 2),
            ("[route a]\nlisten = tcp:7000\nconnect = nosuch:1\n", 3),
            ("[route a]\nlisten = unix:relative\nconnect = echo\n", 2),
            ("[route a]\nlisten = unix:/" + "x" * 120 + "\nconnect = echo\n",
             2),
            (good + "colour = blue\n", 4),
            (good + "connect = echo\n", 4),
            (good + "max-sessions = -1\n", 4),
            (good + "connect-timeout = 5\n", 4),
            (good + "drain-timeout = 1h\n", 4),
            (good + "[route a]\n", 4),
            (good + "[route b]\nlisten = tcp:7000\nconnect = echo\n", 5),
            (good + "[rout b]\n", 4),
            (good + "[route b\n", 4),
            (good + "garbage\n", 4),
            ("listen = tcp:7000\n", 1),
            ("[route a]\nlisten = tcp:7000\n", 1),
            ("[route a/b]\nlisten = tcp:7000\nconnect = echo\n", 1),
        )
        for text, line in cases:
            with self.subTest(text[:70]):
                config = self.config(text)
                self.assert_refused(config, rf"{config}:{line}: ")

    def test_every_finding_in_one_run(self):
        config = self.config("[route a]\nlisten = rfcomm:31\n"
                             "connect = nosuch\n[oops]\n"
                             "[route b]\nlisten = tcp:99999\ncolour = x\n")
        err = self.assert_refused(config, "31")
        for line in (2, 3, 4, 6, 7):
            self.assertIn(f"{config}:{line}: ", err)


# ---- all of it ------------------------------------------------------------------------------------


def main():
    arguments = sys.argv[1:]
    verbosity = 2 if "-v" in arguments else 1
    names = [name for name in arguments if name != "-v"]
    if not os.access(BTGATE, os.X_OK):
        sys.exit(f"{BTGATE} is not there; build it first, or set BTGATE")
    # Processes that a gateway leaves behind become our children.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    loader = unittest.defaultTestLoader
    if names:
        loader.testNamePatterns = [f"*{name}*" for name in names]
    suite = loader.loadTestsFromModule(sys.modules["__main__"])
    result = unittest.TextTestRunner(verbosity=verbosity).run(suite)
    broken = {test.id().split(" ")[0]
              for test, _ in result.failures + result.errors}
    # A subtest's id starts with that of its test.
    skipped = f", {len(result.skipped)} skipped" if result.skipped else ""
    passed = result.testsRun - len(broken) - len(result.skipped)
    sys.stderr.flush()
    print(f"{passed} passed, {len(broken)} failed{skipped}", flush=True)
    return 1 if broken or not result.testsRun else 0


if __name__ == "__main__":
    sys.exit(main())
