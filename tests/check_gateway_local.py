#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The whole program, over the ends that are things of this machine.

usage: tests/check_gateway_local.py [-v] [NAME...]

As check_gateway.py, for ptys that dial, serial ports, files and programs.
"""

import contextlib
import errno
import os
import random
import re
import signal
import subprocess
import sys
import termios
import threading
import time
import tty
import unittest

import check_gateway as base
from check_gateway import (MEGABYTE, PATIENCE_S, PortEnd, pass_bytes,
                           pass_bytes_both_ways)

# Less than a pty holds.
WORDS = random.randbytes(8000)


class Device(PortEnd):
    """What is at the other end of a serial line: a pty's master behind a path
    of its own. Closing it is unplugging it."""

    def __init__(self, path):
        self.path = path
        self.fd, slave = os.openpty()
        os.set_blocking(self.fd, False)
        tty.setraw(slave)
        self.slave = os.ttyname(slave)
        os.close(slave)
        os.symlink(self.slave, path)

    def recv(self, size=65536):
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                return super().recv(size)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                time.sleep(0.01)  # nobody has the port open
        raise TimeoutError("nobody opens the port")

    def settings(self):
        return termios.tcgetattr(self.fd)

    def close(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        super().close()


class LocalTest(base.GatewayTest):
    def check_ends(self):
        """Whoever was killed with its group is ours to reap; but nobody may
        live on."""
        for gateway in self.gateways:
            if gateway.process.returncode is None:
                self.assertEqual(gateway.stop(), 0, gateway.log())

        def are_all_dead():
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
                return False
            return True

        self.await_that(are_all_dead)
        super().check_ends()

    def program(self, path):
        return self.keep(PortEnd(path))

    def device(self, name="tty"):
        return self.keep(Device(os.path.join(self.base, name)))

    def file(self, name="out"):
        return os.path.join(self.base, name)

    def content(self, path):
        with open(path, "rb") as file:
            return file.read()

    def modem(self, target_port, **keys):
        """A route from a pty to a TCP target; the gateway and the path."""
        path = self.path("modem")
        gateway = self.start(
            self.route(f"pty:{path}", f"tcp:127.0.0.1:{target_port}", **keys))
        return gateway, path

    def assert_hung_up(self, program):
        try:
            self.assertEqual(program.recv(), b"")
        except OSError as error:
            self.assertEqual(error.errno, errno.EIO)


# ---- a pty at the listen end -----------------------------------------------------


class Modem(LocalTest):
    def test_a_program_calls(self):
        listener, port = self.server()
        gateway, path = self.modem(port)
        for call in (1, 2):
            program = self.program(path)
            target = self.accept(listener)
            pass_bytes_both_ways(program, target, MEGABYTE)
            program.close()
            self.assertEqual(target.recv_all(), b"")
            target.close()
            gateway.await_line(r"ended: client closed; .*"
                               r"1048576 bytes to target, "
                               r"1048576 bytes to client$", call)
            self.assertTrue(os.path.exists(path))

    def test_a_program_is_held(self):
        """It has its port open for days, and hears nothing of a loss."""
        listener, port = self.server()
        gateway, path = self.modem(port, hold="yes", retry="100ms")
        program = self.program(path)
        for times in (1, 2):
            target = self.accept(listener)
            pass_bytes_both_ways(program, target, 1000)
            target.close()
            gateway.await_line("is lost: it closed; it is dialled again, and "
                               "its client held", times)
        pass_bytes_both_ways(program, self.accept(listener), 1000)
        program.close()
        gateway.await_line("session 1 with .* ended: client closed")

    def test_last_words_of_the_program(self):
        listener, port = self.server()
        _, path = self.modem(port)
        program = self.program(path)
        target = self.accept(listener)
        program.send(WORDS)
        program.close()
        self.assertEqual(target.recv_all(), WORDS)

    def test_last_words_of_the_target(self):
        """The program reads only when the target is long gone."""
        listener, port = self.server()
        gateway, path = self.modem(port)
        program = self.program(path)
        target = self.accept(listener)
        target.send(WORDS)
        target.close()
        self.assertFalse(program.is_silent(PATIENCE_S))
        time.sleep(0.5)
        self.assertEqual(gateway.matches("ended"), [])
        self.assertEqual(program.recv_exactly(len(WORDS)), WORDS)
        self.assert_hung_up(program)
        line = gateway.await_line("ended: target closed")
        self.assertNotIn("could not", line)

    def test_a_program_that_never_reads(self):
        listener, port = self.server()
        gateway, path = self.modem(port, drain_timeout="300ms")
        program = self.program(path)
        target = self.accept(listener)
        target.send(WORDS)
        target.close()
        gateway.await_line("8000 bytes that no program had read are lost")
        self.assert_hung_up(program)

    def test_words_before_the_target_is_reached(self):
        listener, port = self.server()
        _, path = self.modem(port)
        subprocess.run(["sh", "-c", f"echo AT >{path}"], check=True,
                       timeout=PATIENCE_S)
        self.assertEqual(self.accept(listener).recv_all(), b"AT\n")

    def test_a_look_is_no_call(self):
        gateway, path = self.modem(self.port())
        for _ in range(10):
            # On a busy machine it may take its time, and be hung up.
            subprocess.run(["stty", "-F", path, "9600"], check=False,
                           stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, timeout=PATIENCE_S)
        time.sleep(0.2)
        self.assertLess(len(gateway.matches("refused")), 5, gateway.log())

    def test_a_target_that_is_down(self):
        holder, port = base.free_port()
        gateway, path = self.modem(port)
        for call in (1, 2):
            self.assert_hung_up(self.program(path))
            gateway.await_line(f"refused pty:{path}: .*refused the connection",
                               call)
        listener, _ = self.server(port=port)
        holder.close()
        program = self.program(path)
        pass_bytes(program, self.accept(listener), b"at last")

    def test_a_program_that_does_not_wait(self):
        # Of a full queue nobody accepts, and the kernel does not answer.
        listener, port = self.server(backlog=0)
        self.dial(port)
        gateway, path = self.modem(port)
        program = self.program(path)
        time.sleep(0.2)
        program.close()
        gateway.await_line("refused .* the client left before the target was")
        listener.close()

    def test_two_programs_are_one_call(self):
        listener, port = self.server()
        gateway, path = self.modem(port)
        one = self.program(path)
        target = self.accept(listener)
        other = self.program(path)
        one.send(b"one")
        self.assertEqual(target.recv_exactly(3), b"one")
        one.close()
        other.send(b"other")
        self.assertEqual(target.recv_exactly(5), b"other")
        other.close()
        self.assertEqual(target.recv_all(), b"")
        gateway.await_line("ended")
        gateway.await_exactly("connected to", 1)

    def test_a_stop_lets_the_program_read(self):
        listener, port = self.server()
        gateway, path = self.modem(port)
        program = self.program(path)
        target = self.accept(listener)
        target.send(WORDS)
        self.assertFalse(program.is_silent(PATIENCE_S))
        gateway.signal(signal.SIGTERM)
        gateway.await_line("sessions drain")
        self.assertFalse(os.path.lexists(path))
        time.sleep(0.3)
        self.assertEqual(program.recv_exactly(len(WORDS)), WORDS)
        self.assert_hung_up(program)
        self.assertEqual(gateway.wait(), 0)

    def test_a_stop_lets_a_cable_s_program_read(self):
        gateway, client, program = self.pty_pair()
        client.send(WORDS)
        self.assertFalse(program.is_silent(PATIENCE_S))
        gateway.signal(signal.SIGTERM)
        gateway.await_line("sessions drain")
        time.sleep(0.3)
        self.assertEqual(program.recv_exactly(len(WORDS)), WORDS)
        self.assertEqual(gateway.wait(), 0)
        self.assertEqual(gateway.matches("lost"), [])


# ---- serial ports -------------------------------------------------------------------


class Serial(LocalTest):
    def as_target(self, options="", **keys):
        device, port = self.device(), self.port()
        gateway = self.start(self.route(
            f"tcp:{port}", f"serial:{device.path}{options}", **keys))
        return gateway, device, port

    def as_listener(self, path, **keys):
        listener, port = self.server()
        gateway = self.start(self.route(f"serial:{path}",
                                        f"tcp:127.0.0.1:{port}", **keys))
        return gateway, listener

    def test_tcp_to_serial(self):
        gateway, device, port = self.as_target(",19200n82,rtscts")
        client = self.dial(port)
        gateway.await_line("connected to serial:")
        settings = device.settings()
        self.assertEqual(settings[4:6], [termios.B19200] * 2)
        self.assertTrue(settings[2] & termios.CSTOPB)
        self.assertTrue(settings[2] & termios.CRTSCTS)
        pass_bytes_both_ways(client, device, MEGABYTE)
        client.send(WORDS)
        client.close()
        self.assertEqual(device.recv_exactly(len(WORDS)), WORDS)
        gateway.await_line("ended: client closed")

    def test_serial_to_tcp(self):
        device = self.device()
        gateway, listener = self.as_listener(device.path)
        target = self.accept(listener)
        self.assertEqual(device.settings()[4], termios.B115200)
        pass_bytes_both_ways(device, target, MEGABYTE)
        target.close()
        gateway.await_line("ended: target closed")
        # And again, by itself.
        pass_bytes_both_ways(device, self.accept(listener), 1000)

    def test_every_byte_value(self):
        every = bytes(range(256)) + bytes(reversed(range(256)))
        device = self.device()
        _, listener = self.as_listener(device.path)
        target = self.accept(listener)
        pass_bytes(device, target, every)
        pass_bytes(target, device, every)

    def test_one_session_at_a_time(self):
        _, _, port = self.as_target()
        client = self.dial(port)
        client.send(b"x")
        self.assert_turned_away(port)

    def test_a_device_that_is_missing(self):
        gateway, device, port = self.as_target()
        device.close()
        self.assert_turned_away(port)
        gateway.await_line("tty is not there; is the adapter plugged in")
        device = self.device()
        pass_bytes_both_ways(self.dial(port), device, 1000)

    def test_unplugged_and_back(self):
        device = self.device()
        gateway, listener = self.as_listener(device.path)
        for times in (1, 2):
            target = self.accept(listener)
            pass_bytes_both_ways(device, target, 1000)
            device.close()
            self.assertEqual(target.recv_all(), b"")
            target.close()
            gateway.await_line("ended: client broke off: No such device",
                               times)
            gateway.await_line("is not there; .* It is taken when it comes",
                               times)
            device = self.device()
            gateway.await_line("tty: it is there", times)
        pass_bytes_both_ways(device, self.accept(listener), 1000)

    def test_unplugged_from_a_client(self):
        gateway, device, port = self.as_target()
        client = self.dial(port)
        pass_bytes(client, device, b"hello")
        device.close()
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(client.recv_all(), b"")
        gateway.await_line("ended: target broke off: No such device")

    def test_unplugged_from_a_client_that_is_held(self):
        gateway, device, port = self.as_target(hold="yes", retry="100ms")
        client = self.dial(port)
        pass_bytes(client, device, b"hello")
        for times in (1, 2):
            device.close()
            gateway.await_line("is lost: No such device.*; it is dialled again",
                               times)
            gateway.await_line("is not reached again yet: .*tty is not there",
                               times)
            client.send(b"kept")
            device = self.device()
            self.assertEqual(device.recv_exactly(4), b"kept")
            pass_bytes_both_ways(client, device, 1000)

    def test_plugged_in_later(self):
        path = os.path.join(self.base, "tty")
        gateway, listener = self.as_listener(path)
        gateway.await_line("is not there")
        cpu = gateway.cpu_s()
        time.sleep(0.5)
        self.assertLess(gateway.cpu_s() - cpu, 0.1)
        device = self.device()
        pass_bytes_both_ways(device, self.accept(listener), 1000)

    def test_a_target_that_is_down(self):
        """It is not called without a pause, and nothing is lost meanwhile."""
        holder, port = base.free_port()
        device = self.device()
        gateway = self.start(self.route(f"serial:{device.path}",
                                        f"tcp:127.0.0.1:{port}"))
        device.send(b"hello")
        gateway.await_line("refused serial:", 2)
        self.assertLessEqual(len(gateway.matches("refused serial:")), 2)
        listener, _ = self.server(port=port)
        holder.close()
        self.assertEqual(self.accept(listener).recv_exactly(5), b"hello")

    def test_held_by_another_gateway(self):
        device = self.device()
        listener, port = self.server()
        text = self.route(f"serial:{device.path}", f"tcp:127.0.0.1:{port}")
        first = self.start(text)
        self.accept(listener)
        second = self.spawn(["run", "-c", self.config(text, "second.conf")])
        second.await_line(rf"is held by btgate \(pid {first.pid}\)")
        self.assertEqual(second.wait(), 1)
        second.process.returncode = 0  # as it should be here

    def test_two_ports_joined(self):
        one, other = self.device("one"), self.device("other")
        self.start(self.route(f"serial:{one.path}", f"serial:{other.path}"))
        pass_bytes_both_ways(one, other, MEGABYTE)


# ---- files -------------------------------------------------------------------------------


class Files(LocalTest):
    def start_file(self, path, **keys):
        port = self.port()
        return self.start(self.route(f"tcp:{port}", f"file:{path}",
                                     **keys)), port

    def send_to(self, port, data):
        client = self.dial(port)
        client.send(data)
        client.end_writing()
        self.assertEqual(client.recv_all(), b"")
        client.close()

    def test_append(self):
        path = self.file()
        gateway, port = self.start_file(path)
        data = random.randbytes(MEGABYTE)
        self.send_to(port, data)
        self.send_to(port, b"more")
        gateway.await_line("ended: client closed", 2)
        self.assertEqual(self.content(path), data + b"more")
        self.assertEqual(os.stat(path).st_mode & 0o7777, 0o600)

    def test_a_file_that_is_moved(self):
        path = self.file()
        _, port = self.start_file(path)
        self.send_to(port, b"before")
        os.rename(path, path + ".1")
        self.send_to(port, b"after")
        self.await_that(lambda: os.path.exists(path))
        self.await_that(lambda: self.content(path) == b"after")
        self.assertEqual(self.content(path + ".1"), b"before")

    def test_a_full_disk(self):
        gateway, port = self.start_file("/dev/full")
        for times in (1, 2):
            client = self.dial(port)
            client.send(b"hello")
            with contextlib.suppress(ConnectionResetError):
                client.recv_all()
            gateway.await_line("ended: target broke off: No space left on "
                               "device; .*5 bytes could not be delivered",
                               times)

    def test_a_limit(self):
        """SIGXFSZ would end the gateway."""
        path, port = self.file(), self.port()
        config = self.config(self.route(f"tcp:{port}", f"file:{path}"))
        gateway = self.spawn(["run", "-c", config], preexec_fn=lambda:
                             base.resource.setrlimit(
                                 base.resource.RLIMIT_FSIZE, (3, 3)))
        gateway.await_line("-> listening")
        client = self.dial(port)
        client.send(b"hello")
        gateway.await_line("ended: target broke off: File too large")
        self.assertEqual(self.content(path), b"hel")

    def test_shared(self):
        """Opened once; nothing comes from it, and all of it arrives."""
        path = self.file()
        gateway, port = self.start_file(path, when_busy="share")
        clients = [self.dial(port) for _ in range(3)]
        gateway.await_line("connected to file", 3)
        for client in clients:
            client.send(WORDS)
        for client in clients:
            client.end_writing()
            self.assertEqual(client.recv_all(), b"")
        gateway.await_line("ended: client closed; .*8000 bytes to target", 3)
        self.assertEqual(len(self.content(path)), 3 * len(WORDS))

    def test_what_is_no_file(self):
        gateway, port = self.start_file(self.base)
        self.assert_turned_away(port)
        gateway.await_line("refused .*: Is a directory; name a file in it")


# ---- programs ----------------------------------------------------------------------------


class Programs(LocalTest):
    def start_program(self, command, **keys):
        port = self.port()
        return self.start(self.route(f"tcp:{port}", f"exec:{command}",
                                     **keys)), port

    def read_line(self, end):
        line = b""
        while not line.endswith(b"\n"):
            line += end.recv_exactly(1)
        return line.strip().decode()

    def assert_gone(self, pid):
        def is_gone():
            try:
                with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                    return file.read().rsplit(")", 1)[1].split()[0] == "Z"
            except (FileNotFoundError, ProcessLookupError):
                return True

        self.await_that(is_gone)

    def test_on_pipes(self):
        gateway, port = self.start_program("cat,pipe")
        client = self.dial(port)
        data = random.randbytes(MEGABYTE)
        pass_bytes(client, client, data)
        client.end_writing()
        self.assertEqual(client.recv_all(), b"")
        gateway.await_line(r"exec: 'cat' \(pid \d+\) exited with status 0")
        gateway.await_line("ended: client closed; .*1048576 bytes to client")

    def test_one_that_exits_is_run_again(self):
        gateway, port = self.start_program(
            r'"read -r line\; echo \"$line\"\; exit 3",pipe', hold="yes",
            retry="100ms")
        client = self.dial(port)
        for times in range(1, 4):
            client.send(b"run %d\n" % times)
            self.assertEqual(self.read_line(client), f"run {times}")
            gateway.await_line("is lost: .*status 3; it is dialled again",
                               times)

    def test_on_a_pty(self):
        _, port = self.start_program(
            r'"stty raw -echo\; echo ready\; exec cat"')
        client = self.dial(port)
        self.assertEqual(self.read_line(client), "ready")
        pass_bytes(client, client, random.randbytes(MEGABYTE))

    def test_the_end_of_its_input(self):
        _, port = self.start_program("sort,pipe")
        client = self.dial(port)
        client.send(b"b\nc\na\n")
        client.end_writing()
        self.assertEqual(client.recv_all(), b"a\nb\nc\n")

    def test_a_shell(self):
        """As a person at a phone's terminal would."""
        _, port = self.start_program("/bin/sh")
        client = self.dial(port)
        client.send(b"PS1=; echo $((6 * 7)) $(tty)\r")
        answer = b""
        while not re.search(rb"42 /dev/pts/\d+\r\n", answer):
            answer += client.recv_exactly(1)
        client.send(b"sleep 1000 | cat\r")
        time.sleep(0.2)
        client.send(b"\x03echo back\r")
        while b"\nback\r\n" not in answer:
            answer += client.recv_exactly(1)
        client.send(b"exit 7\r")
        client.recv_all()

    def test_statuses(self):
        gateway, port = self.start_program("exit 3")
        self.assertEqual(self.dial(port).recv_all(), b"")
        gateway.await_line(r"exec: 'exit 3' \(pid \d+\) exited with status 3$")
        gateway.stop()
        gateway, port = self.start_program("no-such-program")
        self.assertIn(b"not found", self.dial(port).recv_all())
        gateway.await_line("exited with status 127: command not found")

    def test_it_ends_with_its_session(self):
        gateway, port = self.start_program(
            r'"trap \"\" HUP\; echo $$\; while sleep 1000\; do :\; done"')
        client = self.dial(port)
        pid = self.read_line(client)
        client.reset()
        self.assert_gone(pid)
        gateway.await_line(r"was killed by signal 9 \(Killed\)")

    def test_a_stop_leaves_no_child(self):
        """tearDown looks for what is left."""
        gateway, port = self.start_program(
            r'"trap \"\" HUP TERM\; sleep 1000 & sleep 1001 & echo $$\; wait"',
            drain_timeout="300ms")
        clients = [self.dial(port) for _ in range(3)]
        pids = [self.read_line(client) for client in clients]
        clients[0].close()
        started = time.monotonic()
        self.assertEqual(gateway.stop(), 0)
        self.assertLess(time.monotonic() - started, 5)
        for pid in pids:
            self.assert_gone(pid)

    def test_a_stop_lets_it_end(self):
        path = self.file()
        gateway, port = self.start_program(
            rf'"trap \"echo bye >{path}\; exit 0\" HUP\; echo $$\; '
            r'while :\; do sleep 0.1\; done"')
        client = self.dial(port)
        self.read_line(client)
        self.assertEqual(gateway.stop(), 0)
        self.assertEqual(self.content(path), b"bye\n")
        gateway.await_line("exited with status 0")

    def test_shared_it_is_hung_up_with_the_last(self):
        path = self.file()
        gateway, port = self.start_program(
            rf'"trap \"echo bye >{path}\; exit 0\" HUP\; stty -echo\; '
            r'echo ready\; while :\; do read x\; echo \"<$x>\"\; done"',
            when_busy="share")
        clients = [self.dial(port)]
        self.assertEqual(self.read_line(clients[0]), "ready")
        clients.append(self.dial(port))
        gateway.await_line("connected to exec:", 2)
        clients[0].send(b"one\n")
        for client in clients:
            self.assertEqual(self.read_line(client), "<one>")
        clients[0].close()
        gateway.await_line("ended: client closed")
        clients[1].send(b"two\n")
        self.assertEqual(self.read_line(clients[1]), "<two>")
        self.assertFalse(os.path.exists(path))
        clients[1].close()
        gateway.await_line("exited with status|was killed")
        gateway.await_line("exited with status 0")
        self.assertEqual(self.content(path), b"bye\n")

    def test_what_was_sent_is_read(self):
        path = self.file()
        gateway, port = self.start_program(f"sleep 0.3 && cat >{path},pipe")
        client = self.dial(port)
        client.send(WORDS)
        client.close()
        gateway.await_line("ended: client closed; .*8000 bytes to target")
        self.await_that(lambda: self.content(path) == WORDS)

    def test_a_hundred_programs(self):
        gateway, port = self.start_program("cat,pipe")
        before = self.fds_at_rest(gateway)
        clients = [self.dial(port) for _ in range(100)]
        for i, client in enumerate(clients):
            client.send(b"%d" % i)
        for i, client in enumerate(clients):
            text = b"%d" % i
            self.assertEqual(client.recv_exactly(len(text)), text)
            client.close()
        gateway.await_line("ended", 100, patience_s=60)
        gateway.await_line("exited with status 0", 100, patience_s=60)
        self.await_fds(gateway, before)

    def test_at_once_from_many(self):
        """Programs that end while others are started: each status is told."""
        gateway, port = self.start_program("exit 5,pipe")

        def call():
            for _ in range(10):
                self.assertEqual(self.dial(port).recv_all(), b"")

        callers = [threading.Thread(target=call) for _ in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        gateway.await_line("exited with status 5", 40)


if __name__ == "__main__":
    sys.exit(base.main())
