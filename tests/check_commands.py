#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""connect and listen, with everything that standard input and output can be.

usage: tests/check_commands.py [-v] [NAME...]

Runs $BTGATE (default ./btgate) from the repository's root; needs no Bluetooth.
Whatever a test looks at, after it every command must have ended as the test
says, without a sanitizer's report, a path or a process left
behind.
"""

import contextlib
import fcntl
import os
import pty
import random
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest

import check_gateway
import check_gateway_local
from check_gateway import (BTGATE, MEGABYTE, PATIENCE_S, PortEnd, SANITIZER,
                           SocketEnd, digest, free_port, is_sanitized)

ESCAPE = b"\x1d"
NOBODY = 65534
# As they are said on the way in and out of a session.
CONNECTED = r"btgate: connected"
ENDED = r"bytes sent, \d+ received"


class Command(check_gateway.Gateway):
    """A running command, and the lines that it says."""

    def __init__(self, arguments, stdin, stdout, **options):
        # pylint: disable=super-init-not-called
        self.lines = []
        self.news = threading.Condition()
        self.is_quiet = False
        self.is_checked = False
        self.process = subprocess.Popen(
            [BTGATE, *arguments], stdin=stdin, stdout=stdout,
            stderr=subprocess.PIPE, **options)
        self.pid = self.process.pid
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def wait(self, patience_s=PATIENCE_S):
        self.is_checked = True
        return super().wait(patience_s)


class PipeEnd(SocketEnd):
    """Our end of a pipe; what the command has is the other one."""

    def __init__(self, is_input):
        # pylint: disable=super-init-not-called
        ends = os.pipe2(os.O_CLOEXEC)
        self.theirs, self.fd = ends if is_input else reversed(ends)

    def send(self, data):
        view = memoryview(data)
        while view:
            view = view[os.write(self.fd, view):]

    def recv(self, size=65536):
        if not select.select([self.fd], [], [], PATIENCE_S)[0]:
            raise TimeoutError("nothing arrives")
        return os.read(self.fd, size)

    def end_writing(self):
        self.close()

    def given(self):
        """The command has its copy: without this there would be no end."""
        os.close(self.theirs)
        self.theirs = -1

    def close(self):
        for name in ("fd", "theirs"):
            if getattr(self, name) >= 0:
                os.close(getattr(self, name))
            setattr(self, name, -1)


class Terminal(PortEnd):
    """A terminal: the person's side of a pty, and its modes."""

    def __init__(self):
        # pylint: disable=super-init-not-called
        self.fd, self.slave = pty.openpty()
        os.set_blocking(self.fd, False)
        # Not the modes that a person's has, but none that look raw.
        self.modes = self.get_modes()
        self.output = b""

    def get_modes(self):
        return termios.tcgetattr(self.slave)

    def is_raw(self):
        return not self.get_modes()[3] & (termios.ICANON | termios.ECHO |
                                          termios.ISIG)

    def take_over(self):
        """For a child: its controlling terminal. As preexec_fn."""
        os.setsid()
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

    def await_output(self, pattern):
        deadline = time.monotonic() + PATIENCE_S
        while not re.search(pattern, self.output):
            left_s = deadline - time.monotonic()
            if not select.select([self.fd], [], [], max(0, left_s))[0]:
                raise AssertionError(f"no {pattern} in {self.output}")
            with contextlib.suppress(BlockingIOError):
                self.output += os.read(self.fd, 65536)
        found = re.search(pattern, self.output)
        self.output = self.output[found.end():]
        return found

    def shows(self, pattern):
        with contextlib.suppress(BlockingIOError):
            self.output += os.read(self.fd, 65536)
        return re.search(pattern, self.output)

    def close(self):
        super().close()
        if self.slave >= 0:
            os.close(self.slave)
        self.slave = -1


class CommandTest(unittest.TestCase):
    def setUp(self):
        self.base = tempfile.mkdtemp(prefix="btgate-")
        self.run_dir = os.path.join(self.base, "run")
        os.mkdir(self.run_dir)
        self.commands = []
        self.open = []

    def tearDown(self):
        try:
            self.check_ends()
        finally:
            for thing in self.open:
                with contextlib.suppress(OSError):
                    thing.close()
            for command in self.commands:
                command.kill()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            shutil.rmtree(self.base)

    def check_ends(self):
        for command in self.commands:
            self.assertTrue(command.is_checked, "its end was not looked at")
            self.assertNotRegex(command.log(), SANITIZER)
        self.assertEqual(os.listdir(self.run_dir), [])
        with self.assertRaises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    # What tests are made of.

    keep = check_gateway.GatewayTest.keep
    path = check_gateway.GatewayTest.path
    port = check_gateway.GatewayTest.port
    server = check_gateway.GatewayTest.server
    accept = check_gateway.GatewayTest.accept
    dial_port = check_gateway.GatewayTest.dial
    dial_unix = check_gateway.GatewayTest.dial_unix
    await_that = check_gateway.GatewayTest.await_that
    assert_reset = check_gateway.GatewayTest.assert_reset

    def file(self, data=b"", name="file"):
        path = os.path.join(self.base, name)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def opened(self, path, mode):
        return self.keep(open(path, mode, buffering=0))

    def spawn(self, *arguments, stdin=subprocess.DEVNULL,
              stdout=subprocess.DEVNULL, **options):
        """Standard input and output are ends, files, or DEVNULL."""
        command = Command(arguments, getattr(stdin, "theirs", stdin),
                          getattr(stdout, "theirs", stdout), **options)
        self.commands.append(command)
        for end in (stdin, stdout):
            if isinstance(end, PipeEnd):
                end.given()
        return command

    def pipes(self):
        return self.keep(PipeEnd(True)), self.keep(PipeEnd(False))

    def connect(self, *arguments, **options):
        """To a server of ours, and what it accepted."""
        listener, port = self.server()
        command = self.spawn("connect", *arguments, f"tcp:127.0.0.1:{port}",
                             **options)
        return command, self.accept(listener)

    def listen(self, *arguments, **options):
        """On a port, and that port; it listens when this returns."""
        port = self.port()
        command = self.spawn("listen", "-v", *arguments, f"tcp:{port}",
                             **options)
        command.await_line("listening on")
        return command, port

    def run_command(self, *arguments, data=b"", **options):
        """To its end: the status, what it wrote, and what it said."""
        result = subprocess.run([BTGATE, *arguments], input=data,
                                capture_output=True, timeout=60, check=False,
                                **options)
        said = result.stderr.decode()
        self.assertNotRegex(said, SANITIZER)
        return result.returncode, result.stdout, said

    def assert_ends(self, command, status, pattern=None):
        self.assertEqual(command.wait(), status, command.log())
        if pattern is None:
            self.assertEqual(command.log(), "")
        else:
            self.assertRegex(command.log(), pattern)


def pass_in_background(source, data):
    def send():
        with contextlib.suppress(OSError):
            source.send(data)
            source.end_writing()

    thread = threading.Thread(target=send)
    thread.start()
    return thread


# ---- bytes ---------------------------------------------------------------------


class Bytes(CommandTest):
    def test_a_pipe_through_echo(self):
        self.assertEqual(self.run_command("connect", "echo", data=b"hello\n"),
                         (0, b"hello\n", ""))

    def test_every_byte_value(self):
        every = bytes(range(256)) * 3
        self.assertEqual(self.run_command("connect", "echo", data=every),
                         (0, every, ""))

    def test_a_file_to_a_file(self):
        data = random.randbytes(10 * MEGABYTE)
        source = self.opened(self.file(data), "rb")
        sink = self.file(name="sink")
        command = self.spawn("connect", "echo", stdin=source,
                             stdout=self.opened(sink, "wb"))
        self.assert_ends(command, 0)
        with open(sink, "rb") as file:
            self.assertEqual(digest(file.read()), digest(data))

    def assert_both_ways(self, command, stdin, stdout, end):
        up = random.randbytes(10 * MEGABYTE)
        down = random.randbytes(10 * MEGABYTE)
        senders = [pass_in_background(stdin, up), pass_in_background(end, down)]
        got = []
        reader = threading.Thread(
            target=lambda: got.append(digest(end.recv_all())))
        reader.start()
        self.assertEqual(digest(stdout.recv_all()), digest(down))
        reader.join()
        self.assertEqual(got, [digest(up)])
        for sender in senders:
            sender.join()

    def test_megabytes_both_ways_when_connecting(self):
        stdin, stdout = self.pipes()
        command, end = self.connect(stdin=stdin, stdout=stdout)
        self.assert_both_ways(command, stdin, stdout, end)
        self.assert_ends(command, 0)

    def test_megabytes_both_ways_when_listening(self):
        stdin, stdout = self.pipes()
        command, port = self.listen(stdin=stdin, stdout=stdout)
        self.assert_both_ways(command, stdin, stdout, self.dial_port(port))
        self.assert_ends(command, 0, ENDED)

    def test_megabytes_both_ways_over_sockets(self):
        """As a super-server or a shell in an editor starts it: one socket."""
        ours, theirs = socket.socketpair()
        end = self.keep(SocketEnd(ours))
        command, server = self.connect(stdin=theirs, stdout=theirs)
        flags = fcntl.fcntl(theirs, fcntl.F_GETFL)
        up, down = random.randbytes(MEGABYTE), random.randbytes(MEGABYTE)
        check_gateway.pass_bytes(end, server, up)
        check_gateway.pass_bytes(server, end, down)
        server.close()
        # Input is a socket of ours that stays open: it is not waited for.
        self.assert_ends(command, 0)
        self.assertEqual(fcntl.fcntl(theirs, fcntl.F_GETFL), flags)
        theirs.close()
        self.assertEqual(end.recv(), b"")

    def test_a_slow_reader_of_the_output(self):
        _, stdout = self.pipes()
        command, end = self.connect(stdout=stdout)
        data = random.randbytes(2 * MEGABYTE)
        sender = pass_in_background(end, data)
        got = bytearray()
        while piece := stdout.recv(8192):
            got += piece
            time.sleep(0.0005)
        sender.join()
        self.assertEqual(digest(got), digest(data))
        self.assert_ends(command, 0)

    def test_text_shows_at_once(self):
        stdin, stdout = self.pipes()
        command, end = self.connect(stdin=stdin, stdout=stdout)
        begin = time.monotonic()
        for _ in range(100):
            end.send(b"x")
            stdout.recv_exactly(1)
            stdin.send(b"y")
            end.recv_exactly(1)
        self.assertLess(time.monotonic() - begin, 100 * 0.02)
        end.close()
        self.assert_ends(command, 0)

    def test_a_user_who_may_not_open_the_descriptors_anew(self):
        """As after su: /proc/self/fd/0 is somebody else's."""
        if os.geteuid() != 0:
            self.skipTest("only root can become somebody else")
        if subprocess.run([BTGATE, "-V"], user=NOBODY, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False).returncode:
            self.skipTest("nobody may not run the program where it is")
        stdin, stdout = self.pipes()
        command, end = self.connect(stdin=stdin, stdout=stdout, user=NOBODY)
        self.assert_both_ways(command, stdin, stdout, end)
        self.assert_ends(command, 0)

    def test_exec_and_unix(self):
        self.assertEqual(
            self.run_command("connect", "exec:tr a-z A-Z,pipe", data=b"loud\n"),
            (0, b"LOUD\n", ""))
        path = self.path("socket")
        _, stdout = self.pipes()
        command = self.spawn("listen", "-v", f"unix:{path}", stdout=stdout)
        command.await_line("listening on")
        client = self.dial_unix(path)
        client.send(b"through a path")
        client.close()
        self.assertEqual(stdout.recv_all(), b"through a path")
        self.assert_ends(command, 0, ENDED)


# ---- the end of input and of output -------------------------------------------------


class Ends(CommandTest):
    def test_the_end_of_input_is_passed_on_and_the_answer_comes(self):
        stdin, stdout = self.pipes()
        command, end = self.connect(stdin=stdin, stdout=stdout)
        stdin.send(b"question")
        stdin.end_writing()
        self.assertEqual(end.recv_all(), b"question")
        end.send(b"answer")
        end.close()
        self.assertEqual(stdout.recv_all(), b"answer")
        self.assert_ends(command, 0)

    def test_dev_null_is_an_end_of_input_too(self):
        command, end = self.connect()
        self.assertEqual(end.recv_all(), b"")
        end.close()
        self.assert_ends(command, 0)

    def test_a_server_that_has_said_all_still_gets_a_file(self):
        data = random.randbytes(4 * MEGABYTE)
        command, end = self.connect(stdin=self.opened(self.file(data), "rb"))
        end.end_writing()
        self.assertEqual(digest(end.recv_all()), digest(data))
        self.assert_ends(command, 0)

    def test_a_server_that_has_said_all_ends_a_silent_pipe(self):
        stdin, stdout = self.pipes()
        command, end = self.connect(stdin=stdin, stdout=stdout)
        end.send(b"goodbye")
        end.end_writing()
        self.assertEqual(stdout.recv_all(), b"goodbye")
        self.assert_ends(command, 0)
        self.assertEqual(end.recv_all(), b"")

    def port_end(self, *arguments, **options):
        """Connected to a pty, which cannot be told of an end."""
        path = self.path("port")
        command = self.spawn("connect", *arguments, f"pty:{path}", **options)
        self.await_that(lambda: os.path.exists(path))
        return command, self.keep(PortEnd(path))

    def test_where_no_end_can_be_told_an_answer_is_awaited(self):
        stdin, stdout = self.pipes()
        command, program = self.port_end("--linger", "500ms", stdin=stdin,
                                         stdout=stdout)
        stdin.send(b"ATI\r")
        stdin.end_writing()
        self.assertEqual(program.recv_exactly(4), b"ATI\r")
        program.send(b"ELM327")
        self.assertEqual(stdout.recv_all(), b"ELM327")
        self.assert_ends(command, 0)

    def test_without_any_input_nothing_ends(self):
        """stdin is /dev/null, as under cron: what comes is for the file."""
        _, stdout = self.pipes()
        command, program = self.port_end(stdout=stdout)
        time.sleep(2.5)  # longer than an answer would be awaited
        program.send(b"$GPGGA\r\n")
        self.assertEqual(stdout.recv_exactly(8), b"$GPGGA\r\n")
        command.signal(signal.SIGTERM)
        self.assert_ends(command, -signal.SIGTERM)

    def test_listening_without_input_receives(self):
        for stdin in (subprocess.DEVNULL, "closed"):
            with self.subTest(stdin):
                _, stdout = self.pipes()
                options = {"stdin": stdin}
                if stdin == "closed":
                    options = {"preexec_fn": lambda: os.close(0)}
                command, port = self.listen(stdout=stdout, **options)
                end = self.dial_port(port)
                command.await_line(CONNECTED)
                # And nobody tells the client that we had nothing to say.
                self.assertFalse(select.select([end.socket], [], [], 0.1)[0])
                end.send(b"still here")
                self.assertEqual(stdout.recv_exactly(10), b"still here")
                end.close()
                self.assertEqual(stdout.recv_all(), b"")
                self.assert_ends(command, 0, ENDED)

    def test_listening_the_end_of_input_does_not_end_it(self):
        stdin, stdout = self.pipes()
        command, port = self.listen(stdin=stdin, stdout=stdout)
        stdin.send(b"page")
        stdin.end_writing()
        end = self.dial_port(port)
        self.assertEqual(end.recv_all(), b"page")
        end.send(b"thanks")
        self.assertEqual(stdout.recv_exactly(6), b"thanks")
        end.close()
        self.assert_ends(command, 0, ENDED)

    def test_a_reader_of_the_output_that_leaves(self):
        _, stdout = self.pipes()
        command, _ = self.connect(stdout=stdout)
        stdout.close()
        # Nothing has to come for this to be noticed.
        self.assert_ends(command, 1, "standard output was closed")

    def test_a_reader_of_the_output_that_leaves_in_the_middle(self):
        stdin, stdout = self.pipes()
        command = self.spawn("connect", "echo", stdin=stdin, stdout=stdout)
        sender = pass_in_background(stdin, bytes(10 * MEGABYTE))
        stdout.recv(10)
        stdout.close()
        self.assert_ends(command, 1, "standard output was closed")
        sender.join()

    def test_a_reader_that_leaves_before_anybody_came(self):
        _, stdout = self.pipes()
        command, _ = self.listen("-k", stdout=stdout)
        stdout.close()
        self.assert_ends(command, 1, "standard output was closed")

    def test_what_was_not_sent_is_left_to_the_next_program(self):
        """(btgate connect ...; cat) <pipe"""
        stdin, stdout = self.pipes()
        copy = os.dup(stdin.theirs)
        command, end = self.connect("--linger", "100ms", stdin=stdin,
                                    stdout=stdout)
        end.reset()
        stdout.recv_all()
        self.assert_ends(command, 1, "Connection reset")
        stdin.send(b"for cat")
        self.assertEqual(os.read(copy, 100), b"for cat")
        os.close(copy)

    def test_a_full_disk(self):
        command, end = self.connect(stdout=self.opened("/dev/full", "wb"))
        end.send(b"too much")
        self.assert_ends(command, 1, "No space left on device")

    def test_a_file_that_may_grow_no_more(self):
        sink = self.file(name="sink")
        command, end = self.connect(
            stdout=self.opened(sink, "wb"),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE,
                                                  (3, 3)))
        end.send(b"too much")
        self.assert_ends(command, 1, "File too large")
        with open(sink, "rb") as file:
            self.assertEqual(file.read(), b"too")

    def test_a_closed_output(self):
        command, end = self.connect(preexec_fn=lambda: os.close(1))
        end.send(b"for nobody")
        self.assert_ends(command, 1, "cannot write to standard output")

    def test_input_that_cannot_be_read(self):
        fd = os.open(self.base, os.O_RDONLY)
        command, _ = self.connect(stdin=fd)
        os.close(fd)
        self.assert_ends(command, 1, "cannot read standard input")

    def test_endless_input(self):
        command, end = self.connect(stdin=self.opened("/dev/zero", "rb"))
        self.assertEqual(end.recv_exactly(MEGABYTE), bytes(MEGABYTE))
        end.reset()
        self.assert_ends(command, 1, "127.0.0.1.*(reset|Broken pipe)")

    def test_the_flags_of_descriptors_are_left_alone(self):
        terminal = self.keep(Terminal())
        fifo = self.path("fifo")
        os.mkfifo(fifo)
        both = os.open(fifo, os.O_RDWR)
        ends = {"terminal": (terminal.slave, terminal.slave),
                "FIFO": (both, both),
                "file": (os.open(self.file(b"x"), os.O_RDONLY),
                         os.open(self.file(name="out"), os.O_WRONLY))}
        for name, (stdin, stdout) in ends.items():
            with self.subTest(name):
                flags = [fcntl.fcntl(fd, fcntl.F_GETFL)
                         for fd in (stdin, stdout)]
                command, end = self.connect(
                    stdin=stdin, stdout=stdout, start_new_session=True)
                end.send(b"a line\n")
                if name == "terminal":
                    terminal.await_output(b"a line")
                self.assertEqual([fcntl.fcntl(fd, fcntl.F_GETFL)
                                  for fd in (stdin, stdout)], flags)
                command.signal(signal.SIGTERM)
                self.assertEqual(command.wait(), -signal.SIGTERM)
                self.assertEqual([fcntl.fcntl(fd, fcntl.F_GETFL)
                                  for fd in (stdin, stdout)], flags)
        os.close(both)
        os.unlink(fifo)
        for fd in ends["file"]:
            os.close(fd)


# ---- how it ends -----------------------------------------------------------------------


class Status(CommandTest):
    def test_nobody_listens_there(self):
        status, out, said = self.run_command("connect", "tcp:127.0.0.1:1")
        self.assertEqual((status, out), (1, b""))
        self.assertRegex(said, "^btgate: 127.0.0.1.* refused .*\n$")

    def test_the_cause_is_told_however_quiet(self):
        status, _, said = self.run_command("connect", "-qq", "tcp:127.0.0.1:1")
        self.assertEqual(status, 1)
        self.assertIn("refused", said)

    def test_nobody_answers(self):
        listener, port = self.server(backlog=0)
        waiting = []
        # Linux keeps two connections for a backlog of 0, and then is silent.
        for _ in range(3):
            sock = self.keep(socket.socket())
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(("127.0.0.1", port))
            waiting.append(sock)
        begin = time.monotonic()
        status, _, said = self.run_command("connect", "-t", "300ms",
                                           f"tcp:127.0.0.1:{port}")
        self.assertEqual(status, 1)
        self.assertRegex(said, "did not answer within 300ms")
        self.assertGreaterEqual(time.monotonic() - begin, 0.3)
        listener.close()

    def test_a_reset(self):
        stdin, _ = self.pipes()
        command, end = self.connect("-v", stdin=stdin)
        command.await_line(CONNECTED)
        end.reset()
        self.assert_ends(command, 1, "127.0.0.1.* broke off: Connection reset")

    def test_a_port_that_is_taken(self):
        _, port = self.server()
        status, _, said = self.run_command("listen", f"tcp:{port}")
        self.assertEqual(status, 1)
        self.assertRegex(said, f"{port}")

    def test_bytes_that_could_not_be_delivered(self):
        _, stdout = self.pipes()
        command, end = self.connect("-v", stdout=stdout)
        end.offer()
        # Nobody reads: the second one cuts it short.
        command.signal(signal.SIGTERM)
        command.signal(signal.SIGINT)
        self.assertIn(command.wait(), (-signal.SIGTERM, -signal.SIGINT))
        self.assertRegex(command.log(), r"\d+ bytes could not be delivered")

    def test_signals_end_it_in_order(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(number):
                sink = self.file(name="sink")
                command, port = self.listen("-k",
                                            stdout=self.opened(sink, "wb"))
                end = self.dial_port(port)
                end.send(bytes(MEGABYTE))
                command.await_line(CONNECTED)
                command.signal(number)
                end.recv_all()
                self.assert_ends(command, -number, ENDED)
                # What was taken from the client is in the file.
                match = re.search(r"(\d+) received", command.log())
                self.assertEqual(os.stat(sink).st_size, int(match[1]))

    def test_signals_while_nobody_is_there(self):
        command, _ = self.listen()
        command.signal(signal.SIGINT)
        self.assert_ends(command, -signal.SIGINT, "listening")

    def test_a_signal_that_is_ignored(self):
        """nohup"""
        command, end = self.connect(
            stdin=self.pipes()[0],
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        command.signal(signal.SIGHUP)
        end.send(b"x")
        end.close()
        self.assert_ends(command, 0)


class Listening(CommandTest):
    def test_clients_one_after_the_other(self):
        _, stdout = self.pipes()
        command, port = self.listen("-k", stdout=stdout)
        # The next may be there before the last one's goodbye.
        for text in (b"one", b"two", b"three", b"four", b"five"):
            end = self.dial_port(port)
            end.send(text)
            self.assertEqual(stdout.recv_exactly(len(text)), text)
            end.close()
        command.await_line(ENDED, 5)
        command.signal(signal.SIGTERM)
        self.assert_ends(command, -signal.SIGTERM, CONNECTED)

    def test_one_client_without_k(self):
        command, port = self.listen()
        self.dial_port(port).close()
        self.assert_ends(command, 0, ENDED)
        with self.assertRaises(ConnectionRefusedError):
            self.dial_port(port)

    def test_others_are_refused_while_one_is_there(self):
        _, stdout = self.pipes()
        command, port = self.listen("-k", stdout=stdout)
        first = self.dial_port(port)
        command.await_line(CONNECTED)
        with self.assertRaises(ConnectionResetError):
            self.dial_port(port).recv()
        command.await_line("refused 127.0.0.1.*another client is connected")
        first.send(b"undisturbed")
        self.assertEqual(stdout.recv_exactly(11), b"undisturbed")
        first.close()
        command.await_line(ENDED)
        second = self.dial_port(port)
        second.send(b"my turn")
        self.assertEqual(stdout.recv_exactly(7), b"my turn")
        command.signal(signal.SIGTERM)
        self.assert_ends(command, -signal.SIGTERM, ENDED)

    def test_input_is_for_the_first_and_its_end_too(self):
        stdin, stdout = self.pipes()
        command, port = self.listen("-k", stdin=stdin, stdout=stdout)
        stdin.send(b"only one")
        stdin.end_writing()
        first = self.dial_port(port)
        self.assertEqual(first.recv_all(), b"only one")
        first.close()
        command.await_line(ENDED)
        second = self.dial_port(port)
        command.await_line(CONNECTED, 2)
        self.assertFalse(select.select([second.socket], [], [], 0.1)[0])
        second.send(b"heard")
        self.assertEqual(stdout.recv_exactly(5), b"heard")
        second.close()
        command.await_line(ENDED, 2)
        command.signal(signal.SIGINT)
        self.assert_ends(command, -signal.SIGINT, CONNECTED)

    def test_a_full_disk_ends_it_for_good(self):
        command, port = self.listen("-k",
                                    stdout=self.opened("/dev/full", "wb"))
        self.dial_port(port).send(b"too much")
        self.assert_ends(command, 1, "No space left on device")

    def test_quiet_without_a_person(self):
        _, stdout = self.pipes()
        port = self.port()
        command = self.spawn("listen", f"tcp:{port}", stdout=stdout)

        def is_listening():
            with contextlib.suppress(ConnectionRefusedError):
                end.append(self.dial_port(port))
            return bool(end)

        end = []
        self.await_that(is_listening)
        end[0].send(b"quietly")
        end[0].close()
        self.assertEqual(stdout.recv_all(), b"quietly")
        self.assert_ends(command, 0)

    def test_a_port_that_programs_open(self):
        path = self.path("port")
        _, stdout = self.pipes()
        command = self.spawn("listen", "-v", f"pty:{path}", stdout=stdout)
        command.await_line("listening on")
        program = self.keep(PortEnd(path))
        program.send(b"from a program")
        self.assertEqual(stdout.recv_exactly(14), b"from a program")
        program.close()
        self.assert_ends(command, 0, ENDED)


# ---- files and serial ports -------------------------------------------------------------------


class Local(CommandTest):
    def device(self):
        path = os.path.join(self.base, "tty")
        return self.keep(check_gateway_local.Device(path))

    def content(self, path):
        with open(path, "rb") as file:
            return file.read()

    def test_a_file_is_appended_to(self):
        path = self.file(b"was there\n")
        for _ in range(2):
            self.assertEqual(
                self.run_command("connect", f"file:{path}", data=b"new\n"),
                (0, b"", ""))
        self.assertEqual(self.content(path), b"was there\nnew\nnew\n")

    def test_a_file_that_is_made(self):
        path = os.path.join(self.base, "made")
        data = random.randbytes(MEGABYTE)
        self.assertEqual(
            self.run_command("connect", f"file:{path},mode=0600", data=data),
            (0, b"", ""))
        self.assertEqual(digest(self.content(path)), digest(data))
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)

    def test_a_file_that_cannot_be_opened(self):
        path = os.path.join(self.base, "nowhere", "file")
        status, output, said = self.run_command("connect", f"file:{path}")
        self.assertEqual((status, output), (1, b""))
        self.assertRegex(said, f"{path}.*(No such file|is not there)")

    def test_a_file_on_a_full_disk(self):
        status, output, said = self.run_command(
            "connect", f"file:{self.file()}", data=bytes(MEGABYTE),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE,
                                                  (1000, 1000)))
        self.assertEqual((status, output), (1, b""))
        self.assertIn("File too large", said)

    def test_to_a_serial_port(self):
        stdin, stdout = self.pipes()
        device = self.device()
        command = self.spawn("connect", "-v",
                             f"serial:{device.path},9600n82,xonxoff",
                             stdin=stdin, stdout=stdout)
        command.await_line(CONNECTED)
        settings = device.settings()
        self.assertEqual(settings[4:6], [termios.B9600] * 2)
        self.assertTrue(settings[0] & termios.IXON)
        self.assertTrue(settings[2] & termios.CSTOPB)
        stdin.send(b"ATI\r")
        self.assertEqual(device.recv_exactly(4), b"ATI\r")
        device.send(b"a modem\r\n")
        self.assertEqual(stdout.recv_exactly(9), b"a modem\r\n")
        stdin.end_writing()
        self.assertEqual(stdout.recv_all(), b"")
        self.assert_ends(command, 0, ENDED)

    def test_a_serial_port_that_cannot_do_it(self):
        """The kernel keeps a pty at eight bits."""
        status, output, said = self.run_command(
            "connect", f"serial:{self.device().path},9600e71")
        self.assertEqual((status, output), (1, b""))
        self.assertIn("does not know the number of data bits", said)

    def test_a_serial_port_that_is_unplugged(self):
        stdin, stdout = self.pipes()
        device = self.device()
        command = self.spawn("connect", f"serial:{device.path}", stdin=stdin,
                             stdout=stdout)
        stdin.send(b"x")
        device.recv_exactly(1)
        device.close()
        self.assert_ends(command, 1, "No such device")

    def test_a_serial_port_that_is_not_there(self):
        path = os.path.join(self.base, "tty")
        status, output, said = self.run_command("connect", f"serial:{path}")
        self.assertEqual((status, output), (1, b""))
        self.assertIn("is not there; is the adapter plugged in", said)

    def test_listening_on_a_serial_port(self):
        stdin, stdout = self.pipes()
        device = self.device()
        command = self.spawn("listen", "-v", f"serial:{device.path}",
                             stdin=stdin, stdout=stdout)
        command.await_line("listening on")
        stdin.send(b"welcome")
        self.assertEqual(device.recv_exactly(7), b"welcome")
        device.send(b"from the line")
        self.assertEqual(stdout.recv_exactly(13), b"from the line")
        command.signal(signal.SIGTERM)
        self.assert_ends(command, -signal.SIGTERM, "7 bytes sent, 13 received")

    def test_listening_on_a_serial_port_that_comes_and_goes(self):
        _, stdout = self.pipes()
        path = os.path.join(self.base, "tty")
        command = self.spawn("listen", "-v", "-k", f"serial:{path}",
                             stdout=stdout)
        command.await_line("is not there; .* It is taken when it comes")
        for times in (1, 2):
            device = self.device()
            command.await_line(CONNECTED, times)
            device.send(b"here")
            self.assertEqual(stdout.recv_exactly(4), b"here")
            device.close()
            command.await_line("No such device", times)
        command.signal(signal.SIGTERM)
        self.assert_ends(command, -signal.SIGTERM, "4 received")


# ---- a person at the terminal ----------------------------------------------------------------


class Terminals(CommandTest):
    def setUp(self):
        super().setUp()
        self.terminal = self.keep(Terminal())

    def at_terminal(self, *arguments, stdout=None):
        """A server's end of "btgate connect", typed at the terminal."""
        if stdout is None:
            stdout = self.terminal.slave
        command, end = self.connect(
            *arguments, stdin=self.terminal.slave, stdout=stdout,
            preexec_fn=self.terminal.take_over)
        command.await_line(CONNECTED)
        return command, end

    def assert_as_it_was(self):
        self.assertEqual(self.terminal.get_modes(), self.terminal.modes)

    def leave(self, command, pattern=ENDED):
        self.terminal.send(ESCAPE + b"q")
        self.assert_ends(command, 0, pattern)
        self.assert_as_it_was()

    def test_the_modes_while_it_is_connected(self):
        for arguments, is_raw, has_post in (((), True, True),
                                            (("--raw",), True, False),
                                            (("--line",), False, True)):
            with self.subTest(arguments):
                command, end = self.at_terminal(*arguments)
                self.assertEqual(self.terminal.is_raw(), is_raw)
                self.assertEqual(
                    bool(self.terminal.get_modes()[1] & termios.OPOST),
                    has_post)
                end.close()
                self.assert_ends(command, 0, ENDED)
                self.assert_as_it_was()

    def test_what_a_person_is_told(self):
        command, end = self.at_terminal()
        command.await_line(r"connecting to tcp:127\.0\.0\.1")
        command.await_line(r"connected to 127\.0\.0\.1.*Ctrl-\] and then q")
        end.close()
        self.assert_ends(command, 0, r"127\.0\.0\.1.* closed; 0 bytes sent, 0 ")

    def test_quiet_all_the_same(self):
        command, end = self.connect(
            "-q", stdin=self.terminal.slave, stdout=self.terminal.slave,
            preexec_fn=self.terminal.take_over)
        self.await_that(self.terminal.is_raw)
        end.close()
        self.assert_ends(command, 0)

    def test_every_key_is_passed_on(self):
        command, end = self.at_terminal()
        keys = bytes(i for i in range(256) if i != ESCAPE[0])
        self.terminal.send(keys)
        self.assertEqual(end.recv_exactly(255), keys)
        self.leave(command)

    def test_what_comes_is_shown(self):
        command, end = self.at_terminal()
        end.send(b"one\ntwo\r\n")
        self.terminal.await_output(b"one\r\ntwo\r\r\n$")
        self.leave(command)

    def test_raw_what_comes_is_shown_as_it_is(self):
        command, end = self.at_terminal("--raw")
        every = bytes(range(256))
        end.send(every)
        self.terminal.await_output(re.escape(every) + b"$")
        self.leave(command)

    def test_nothing_is_echoed(self):
        command, end = self.at_terminal()
        self.terminal.send(b"secret")
        self.assertEqual(end.recv_exactly(6), b"secret")
        end.send(b"mark")
        self.terminal.await_output(b"^mark$")
        self.leave(command)

    def test_the_escape(self):
        for leave in (b"q", b"."):
            with self.subTest(leave):
                command, end = self.at_terminal()
                self.terminal.send(b"last words" + ESCAPE + leave + b"not this")
                self.assertEqual(end.recv_all(), b"last words")
                self.assert_ends(command, 0, ENDED)
                self.assert_as_it_was()
                termios.tcflush(self.terminal.slave, termios.TCIFLUSH)

    def test_the_escape_twice_sends_one(self):
        command, end = self.at_terminal()
        self.terminal.send(b"a" + ESCAPE)
        self.assertEqual(end.recv_exactly(1), b"a")
        self.terminal.send(ESCAPE + b"b")
        self.assertEqual(end.recv_exactly(2), ESCAPE + b"b")
        self.leave(command)

    def test_another_key_after_the_escape(self):
        command, end = self.at_terminal()
        self.terminal.send(b"a" + ESCAPE)
        self.assertEqual(end.recv_exactly(1), b"a")
        self.terminal.send(b"xb")
        self.assertEqual(end.recv_exactly(3), ESCAPE + b"xb")
        self.leave(command)

    def test_the_escapes_are_explained(self):
        command, _ = self.at_terminal()
        self.terminal.send(ESCAPE + b"?")
        command.await_line("z suspends")
        self.leave(command)

    def test_leaving_while_the_other_end_takes_nothing(self):
        command, end = self.at_terminal("--line")
        command.signal(signal.SIGINT)
        self.assertEqual(end.recv_all(), b"")
        self.assert_ends(command, -signal.SIGINT, ENDED)

    def test_signals_give_the_modes_back(self):
        numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP,
                   signal.SIGQUIT, signal.SIGABRT, signal.SIGALRM,
                   signal.SIGIO, signal.SIGPROF, signal.SIGPWR,
                   signal.SIGSTKFLT, signal.SIGSYS, signal.SIGTRAP,
                   signal.SIGUSR1, signal.SIGUSR2, signal.SIGVTALRM,
                   signal.SIGXCPU]
        if not is_sanitized():  # it reports them itself
            numbers += [signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE]
        for number in numbers:
            with self.subTest(number):
                command, _ = self.at_terminal()
                self.assertTrue(self.terminal.is_raw())
                command.signal(number)
                self.assertEqual(command.wait(), -number)
                self.assert_as_it_was()

    def test_signals_that_are_errors_elsewhere(self):
        """Of the output, which says so itself."""
        command, end = self.at_terminal()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            command.signal(number)
        end.send(b"still here")
        self.terminal.await_output(b"still here")
        self.leave(command)

    def test_a_terminal_that_hangs_up(self):
        command, end = self.at_terminal()
        os.close(self.terminal.slave)
        self.terminal.slave = -1
        os.close(self.terminal.fd)
        self.terminal.fd = -1
        self.assertEqual(end.recv_all(), b"")
        self.assertEqual(command.wait(), -signal.SIGHUP)

    def test_a_redirected_output_leaves_the_terminal_alone(self):
        """btgate listen >file: Ctrl-C is to work."""
        sink = self.file(name="sink")
        command, end = self.at_terminal(stdout=self.opened(sink, "wb"))
        self.assertFalse(self.terminal.is_raw())
        self.terminal.send(b"a line\n")
        self.assertEqual(end.recv_exactly(7), b"a line\n")
        end.send(b"kept")
        self.await_that(lambda: os.stat(sink).st_size == 4)
        self.terminal.send(b"\x03")
        self.assert_ends(command, -signal.SIGINT, ENDED)

    def test_lines(self):
        command, end = self.at_terminal("--line")
        self.terminal.send(b"a line\n")
        self.assertEqual(end.recv_exactly(7), b"a line\n")
        self.terminal.await_output(b"a line\r\n")  # the echo
        self.terminal.send(b"\x04")
        self.assertEqual(end.recv_all(), b"")
        end.send(b"answer")
        end.close()
        self.terminal.await_output(b"answer")
        self.assert_ends(command, 0, ENDED)

    def test_listening_ctrl_c_works_while_nobody_is_there(self):
        port = self.port()
        command = self.spawn(
            "listen", "-k", f"tcp:{port}", stdin=self.terminal.slave,
            stdout=self.terminal.slave, preexec_fn=self.terminal.take_over)
        command.await_line("listening on")
        self.assert_as_it_was()
        end = self.dial_port(port)
        command.await_line("connected: 127.0.0.1")
        self.assertTrue(self.terminal.is_raw())
        end.send(b"hello\n")
        self.terminal.await_output(b"hello")
        end.close()
        command.await_line(ENDED)
        self.assert_as_it_was()
        self.terminal.send(b"\x03")
        self.assert_ends(command, -signal.SIGINT, ENDED)

    def test_leaving_with_k_ends_it(self):
        port = self.port()
        command = self.spawn(
            "listen", "-k", f"tcp:{port}", stdin=self.terminal.slave,
            stdout=self.terminal.slave, preexec_fn=self.terminal.take_over)
        command.await_line("listening on")
        end = self.dial_port(port)
        command.await_line(CONNECTED)
        self.leave(command)
        self.assertEqual(end.recv_all(), b"")

    def test_what_was_typed_ahead_is_sent(self):
        self.terminal.send(b"ahead\n")
        command, end = self.at_terminal()
        self.assertEqual(end.recv_exactly(6), b"ahead\n")
        self.leave(command)

    def test_a_terminal_of_somebody_else(self):
        """As after su: it cannot be opened anew."""
        if os.geteuid() != 0:
            self.skipTest("only root can become somebody else")
        if subprocess.run([BTGATE, "-V"], user=NOBODY, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False).returncode:
            self.skipTest("nobody may not run the program where it is")
        listener, port = self.server()
        command = self.spawn(
            "connect", f"tcp:127.0.0.1:{port}", stdin=self.terminal.slave,
            stdout=self.terminal.slave, user=NOBODY,
            preexec_fn=self.terminal.take_over)
        end = self.accept(listener)
        command.await_line(CONNECTED)
        keys = bytes(i for i in range(256) if i != ESCAPE[0])
        self.terminal.send(keys)
        self.assertEqual(end.recv_exactly(255), keys)
        text = b"0123456789abcdef" * 4096
        sender = pass_in_background(end, text)
        got = bytearray()
        while len(got) < len(text):
            got += self.terminal.recv()
        self.assertEqual(digest(got), digest(text))
        sender.join()
        self.assert_ends(command, 0, ENDED)
        self.assert_as_it_was()


class Jobs(CommandTest):
    """Under a shell, which has modes of its own."""

    def setUp(self):
        super().setUp()
        self.terminal = self.keep(Terminal())
        self.shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "--noediting", "-i"],
            stdin=self.terminal.slave, stdout=self.terminal.slave,
            stderr=self.terminal.slave, preexec_fn=self.terminal.take_over,
            env={**os.environ, "PS1": "ready> ", "HISTFILE": ""})
        self.terminal.await_output(b"ready> ")
        listener, port = self.server()
        self.type(f"{BTGATE} connect tcp:127.0.0.1:{port}")
        self.end = self.accept(listener)
        self.terminal.await_output(b"connected to")
        self.await_that(self.terminal.is_raw)

    def tearDown(self):
        self.end.close()
        self.type("")
        self.type("exit 0")
        try:
            self.assertEqual(self.shell.wait(PATIENCE_S), 0)
        finally:
            self.shell.kill()
            self.shell.wait()
            super().tearDown()

    def type(self, line):
        self.terminal.send(line.encode() + b"\n")

    def job(self):
        """The process that is connected."""
        with open(f"/proc/{self.shell.pid}/task/{self.shell.pid}/children",
                  encoding="ascii") as file:
            return int(file.read().split()[0])

    def assert_stopped(self):
        self.terminal.await_output(b"Stopped")
        self.terminal.await_output(b"ready> ")
        self.assertFalse(self.terminal.is_raw())

    def assert_goes_on(self):
        self.type("fg")
        self.await_that(self.terminal.is_raw)
        self.assert_talks()

    def assert_talks(self):
        self.terminal.send(b"back")
        self.assertEqual(self.end.recv_exactly(4), b"back")
        self.end.send(b"welcome")
        self.terminal.await_output(b"welcome")
        self.end.close()
        self.terminal.await_output(b"ready> ")
        self.assertFalse(self.terminal.is_raw())

    def test_suspended_by_the_escape(self):
        self.terminal.send(ESCAPE + b"z")
        self.assert_stopped()
        self.assert_goes_on()

    def test_suspended_from_outside(self):
        os.kill(self.job(), signal.SIGTSTP)
        self.assert_stopped()
        self.assert_goes_on()

    def test_stopped_without_being_asked(self):
        os.kill(self.job(), signal.SIGSTOP)
        self.terminal.await_output(b"Stopped")
        self.terminal.await_output(b"ready> ")
        self.assert_goes_on()

    def test_in_the_background_and_back(self):
        self.terminal.send(ESCAPE + b"z")
        self.assert_stopped()
        self.type("bg")
        self.terminal.await_output(b"ready> ")
        self.end.send(b"from the background")
        self.terminal.await_output(b"from the background")
        self.assertFalse(self.terminal.is_raw())
        # It is stopped if it sees what is typed before the shell does.
        self.type("fg")
        self.terminal.await_output(b"connect tcp.*")
        self.await_that(lambda: self.terminal.is_raw() or
                        self.terminal.shows(b"Stopped"))
        if not self.terminal.is_raw():
            self.type("fg")
            self.await_that(self.terminal.is_raw)
        self.assert_talks()


# ---- argv ----------------------------------------------------------------------------------------


class Usage(CommandTest):
    def assert_refused(self, arguments, pattern):
        with self.subTest(arguments):
            status, out, said = self.run_command(*arguments)
            self.assertEqual((status, out), (2, b""), said)
            self.assertRegex(said, pattern)

    def test_what_is_wrong(self):
        for arguments, pattern in (
                (["conect", "echo"], "did you mean 'connect'"),
                (["connect"], "ENDPOINT is missing"),
                (["connect", "echo", "echo"], "only one ENDPOINT"),
                (["connect", "nosuch:1"], "unknown endpoint kind 'nosuch'"),
                (["connect", "00:11:22:33:44:55"],
                 "write rfcomm:00:11:22:33:44:55"),
                (["connect", "-k", "echo"],
                 r"no option -k \(--keep-open\); it is for listen"),
                (["connect", "--name", "x", "echo"], "no option -n"),
                (["listen", "-t", "1s", "tcp:1"], "no option -t"),
                (["listen", "echo"], "echo"),
                (["listen", "--nmae", "x", "rfcomm"], "did you mean '--name'"),
                (["listen", "-n"], "-n .*needs a value"),
                (["listen", "--keep-open=1", "tcp:1"], "takes no value"),
                (["listen", "--uuid", "zz", "rfcomm"], "zz"),
                (["listen", "-n", "", "rfcomm"], "needs a name"),
                (["listen", "-n", 256 * "x", "l2cap"], "more than 255 bytes"),
                (["listen", "-n", "two\nlines", "rfcomm"],
                 "control character"),
                (["listen", "-n", b"\xff", "rfcomm"], "not UTF-8"),
                (["listen", "-s", "fips", "rfcomm"], "fips"),
                (["listen", "-n", "x", "tcp:7000"], "for Bluetooth endpoints"),
                (["connect", "-i", "hci0", "echo"], "for Bluetooth endpoints"),
                (["connect", "-i", "nosuch", "rfcomm:00:11:22:33:44:55"],
                 "nosuch"),
                (["connect", "-t", "5", "echo"], "5"),
                (["connect", "--linger", "long", "echo"], "long"),
                (["connect", "--raw", "--line", "echo"], "exclude each other"),
                (["check", "-i", "hci0"], "it is for .*connect, listen"),
                (["help", "lsiten"], "did you mean 'listen'")):
            self.assert_refused(arguments, pattern)

    def test_help(self):
        for arguments in (["help", "connect"], ["connect", "--help"],
                          ["connect", "-h", "echo"], ["-h", "connect"]):
            with self.subTest(arguments):
                status, out, said = self.run_command(*arguments)
                self.assertEqual((status, said), (0, ""))
                self.assertIn(b"Usage: btgate connect [OPTION]... ENDPOINT", out)
                self.assertIn(b"--timeout", out)
                self.assertNotIn(b"--keep-open", out)

    def test_every_command_is_in_the_help_and_the_manual(self):
        status, out, _ = self.run_command("help")
        self.assertEqual(status, 0)
        commands = re.findall(r"^  ([a-z]+) ", out.decode(), re.MULTILINE)
        self.assertIn("listen", commands)
        with open("scripts/btgate.8", encoding="utf-8") as file:
            manual = file.read().replace("\\-", "-")
        for command in commands:
            _, out, _ = self.run_command("help", command)
            self.assertRegex(manual, rf"(?m)^\.(BI?|IB) {command}\b")
            for option in re.findall(r"--[a-z-]+", out.decode()):
                self.assertIn(option, manual)

    def test_options_before_the_command(self):
        self.assertEqual(
            self.run_command("-t", "5s", "connect", "--", "echo", data=b"x"),
            (0, b"x", ""))


if __name__ == "__main__":
    sys.exit(check_gateway.main())
