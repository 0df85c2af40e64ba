#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A gateway that is told something while it runs.

usage: tests/check_operation.py [-v] [NAME...]

As tests/check_gateway.py, which it is built on.
"""

import json
import os
import pty
import random
import re
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import check_gateway as base
from check_gateway import (BTGATE, MEGABYTE, PATIENCE_S, PortEnd, SocketEnd,
                           pass_bytes, unsent_bytes)


class Following:
    """A command that goes on printing."""

    def __init__(self, arguments):
        self.process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True)

    def read_lines(self, count):
        return "".join(self.process.stdout.readline() for _ in range(count))

    def close(self):
        self.process.kill()
        self.process.communicate()


def read_pcapng(data):
    """Its packets: session, info, direction and payload; see trace_format.c."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from("=II", data, at)
        assert struct.unpack_from("=I", data, at + size - 4)[0] == size
        if kind == 6:
            captured, original = struct.unpack_from("=II", data, at + 20)
            assert captured == original
            payload = data[at + 28:at + 28 + captured]
            tags, tag = {}, None
            while tag != 0:
                tag, length = struct.unpack_from(">HH", payload)
                tags[tag] = payload[4:4 + length]
                payload = payload[4 + length:]
            assert tags[12] == b"data"
            yield (tags[33].rstrip(b"\0").decode(),
                   tags[36].rstrip(b"\0").decode(),
                   struct.unpack(">I", tags[35])[0] if 35 in tags else None,
                   payload)
        else:
            assert kind in (0x0a0d0d0a, 1)
        at += size


def mode_of(path):
    """None while there is nothing: what is exchanged may be away in between."""
    try:
        return os.stat(path).st_mode & 0o7777
    except FileNotFoundError:
        return None


class Reload(base.GatewayTest):
    def reload(self, gateway, text, expected=None, name="btgate.conf"):
        """Another configuration; what differs, as "added a", or the errors."""
        before = len(gateway.matches("in force|cannot be used"))
        start = len(gateway.lines)
        self.config(text, name)
        gateway.signal(signal.SIGHUP)
        gateway.await_line("in force|cannot be used", before + 1)
        if expected is not None:
            self.assertIn(f"in force; routes: {expected}",
                          "\n".join(gateway.lines[start:]))

    def test_unchanged_routes_keep_their_sessions(self):
        kept, other, third = self.port(), self.port(), self.port()
        gateway = self.start(self.route(f"tcp:{kept}", "echo", "kept")
                             + self.route(f"tcp:{other}", "echo", "other"))
        client, leaver = self.dial(kept), self.dial(other)
        self.assert_echoes(client)
        self.assert_echoes(leaver)
        self.reload(gateway,
                    "; a comment\n" + self.route(f"tcp:{third}", "echo", "new")
                    + self.route(f"tcp:127.0.0.1:{kept}", "echo", "kept",
                                 linger="2s"),
                    "1 added, 0 changed, 1 removed, 1 unchanged")
        self.assert_echoes(client)
        self.assertEqual(leaver.recv_all(), b"")
        self.assert_echoes(self.dial(third))
        self.assert_echoes(self.dial(kept))
        with self.assertRaises(ConnectionRefusedError):
            self.dial(other)
        gateway.await_exactly("route kept: .*listening", 1)

    def test_a_bad_file_changes_nothing(self):
        port = self.port()
        gateway = self.start(self.route(f"tcp:{port}", "echo"))
        client = self.dial(port)
        self.assert_echoes(client)
        self.reload(gateway, "[route r]\nlisten = tcp:1\nconect = echo\n")
        gateway.await_line(r"btgate.conf:3: unknown key 'conect'")
        gateway.await_line("cannot be used; everything goes on as before")
        os.unlink(os.path.join(self.base, "btgate.conf"))
        gateway.signal(signal.SIGHUP)
        gateway.await_line("No such file or directory; create it")
        gateway.await_line("cannot be used", 2)
        self.assert_echoes(client)
        self.assert_echoes(self.dial(port))

    def test_a_changed_route_is_another_one(self):
        listener, target = self.server()
        port = self.port()
        gateway = self.start(self.route(f"tcp:{port}", "echo"))
        client = self.dial(port)
        self.assert_echoes(client)
        self.reload(gateway, self.route(f"tcp:{port}", f"tcp:localhost:{target}"),
                    "0 added, 1 changed, 0 removed, 0 unchanged")
        self.assertEqual(client.recv_all(), b"")
        client = self.dial(port)
        pass_bytes(client, self.accept(listener), b"to the new one")

    def test_what_was_accepted_is_delivered(self):
        listener, target = self.server()
        port, other = self.port(), self.port()
        gateway = self.start(self.route(f"tcp:{port}", f"tcp:localhost:{target}"))
        client = self.dial(port)
        server = self.accept(listener)
        gateway.await_line("connected to")
        data = random.randbytes(30000)
        client.send(data)
        self.await_that(lambda: not unsent_bytes(client.socket))
        self.reload(gateway, self.route(f"tcp:{other}", "echo"))
        self.assertEqual(server.recv_all(), data)

    def test_whoever_is_held_stays_held(self):
        listener, target_port = self.server()
        port = self.port()
        text = self.route(f"tcp:{port}", f"tcp:127.0.0.1:{target_port}",
                          hold="yes", retry="100ms")
        gateway = self.start(text)
        client = self.dial(port)
        target = self.accept(listener)
        gateway.await_line("connected to")
        listener.close()
        target.close()
        gateway.await_line("is lost: .*; it is dialled again")
        client.send(b"kept")
        self.reload(gateway, "; the same\n" + text,
                    "0 added, 0 changed, 0 removed, 1 unchanged")
        listener, _ = self.server(port=target_port)
        self.assertEqual(self.accept(listener).recv_exactly(4), b"kept")

    def test_a_link_of_a_changed_route_is_made_anew(self):
        listener, target_port = self.server()
        port = self.port()
        keys = {"hold": "link", "retry": "100ms"}
        ends = f"tcp:{port}", f"tcp:127.0.0.1:{target_port}"
        gateway = self.start(self.route(*ends, **keys))
        old = self.accept(listener)
        client = self.dial(port)
        pass_bytes(client, old, b"before")
        self.reload(gateway, self.route(*ends, linger="3s", **keys),
                    "0 added, 1 changed, 0 removed, 0 unchanged")
        new = self.accept(listener)
        self.assertEqual(old.recv_all(), b"")
        self.assertEqual(client.recv_all(), b"")
        pass_bytes(self.dial(port), new, b"after")

    def test_a_pty_passes_to_another_route(self):
        port, other, path = self.port(), self.port(), self.path("port")
        gateway = self.start(self.route(f"tcp:{port}", f"pty:{path}", "a"))
        self.reload(gateway, self.route(f"tcp:{other}", f"pty:{path}", "b"))
        self.assertEqual(len(gateway.matches("waiting")), 0)
        client, program = self.dial(other), self.keep(PortEnd(path))
        pass_bytes(client, program, b"through")

    def test_a_pty_that_is_still_in_use_passes_on_later(self):
        port, path = self.port(), self.path("port")
        gateway = self.start(self.route(f"tcp:{port}", f"pty:{path}"))
        client = self.dial(port)
        gateway.await_line("connected to")
        program = self.keep(PortEnd(path))
        client.send(b"not read yet")
        self.assertFalse(program.is_silent(PATIENCE_S))
        self.reload(gateway, self.route(f"tcp:{port}", f"pty:{path}",
                                        max_sessions="1"))
        self.assertEqual(program.recv(), b"not read yet")
        gateway.await_line("-> listening", 2)
        program = self.keep(PortEnd(path))
        pass_bytes(self.dial(port), program, b"through")

    def test_a_file_that_was_added(self):
        port, other = self.port(), self.port()
        gateway = self.start(self.route(f"tcp:{port}", "echo"))
        os.mkdir(os.path.join(self.base, "conf.d"))
        self.config(self.route(f"tcp:{other}", "echo", "x"), "conf.d/x.conf")
        self.reload(gateway, self.route(f"tcp:{port}", "echo"),
                    "1 added, 0 changed, 0 removed, 1 unchanged")
        self.assert_echoes(self.dial(other))
        self.config("[route x]\n", "conf.d/x.conf")
        gateway.signal(signal.SIGHUP)
        gateway.await_line(r"conf.d/x.conf:1: \[route x\] needs 'listen' and")
        self.assert_echoes(self.dial(other))

    def test_under_load(self):
        """Bytes of a route that stays, while others change many times."""
        listener, target = self.server()
        kept, ports = self.port(), [self.port() for _ in range(8)]
        kept_text = self.route(f"tcp:{kept}", f"tcp:localhost:{target}", "kept")
        gateway = self.start(kept_text)
        client = self.dial(kept)
        server = self.accept(listener)
        gateway.await_line("connected to")
        before = self.fds_at_rest(gateway)
        data = random.randbytes(16 * MEGABYTE)
        failure = []

        def run():
            try:
                pass_bytes(client, server, data)
            except Exception as error:  # pylint: disable=broad-except
                failure.append(error)

        def stir(port):
            """Somebody on a route that is there now and then."""
            while not is_over.is_set():
                try:
                    with socket.create_connection(("127.0.0.1", port)) as one:
                        one.settimeout(PATIENCE_S)
                        one.sendall(b"x" * 1000)
                        one.recv(1000)
                except OSError:
                    is_over.wait(0.01)

        is_over = threading.Event()
        stirrers = [threading.Thread(target=stir, args=(port,))
                    for port in ports]
        mover = threading.Thread(target=run)
        for thread in (mover, *stirrers):
            thread.start()
        try:
            for turn in range(40):
                text = kept_text
                for port in random.sample(ports, 4):
                    text += self.route(f"tcp:{port}", "echo", f"p{port}",
                                       max_sessions=str(1 + turn % 3))
                self.reload(gateway, text)
        finally:
            is_over.set()
            for thread in (mover, *stirrers):
                thread.join()
        self.assertEqual(failure, [])
        self.assertEqual(gateway.matches("cannot be used"), [])
        self.reload(gateway, kept_text)
        pass_bytes(server, client, data[:MEGABYTE])
        self.await_fds(gateway, before)

    def test_many_at_once(self):
        """Signals merge; what counts is what the file says at the end."""
        port, other = self.port(), self.port()
        gateway = self.start(self.route(f"tcp:{port}", "echo", "a"))
        client = self.dial(port)
        self.assert_echoes(client)
        for _ in range(200):
            gateway.signal(signal.SIGHUP)
        self.config(self.route(f"tcp:{port}", "echo", "a")
                    + self.route(f"tcp:{other}", "echo", "b"))
        gateway.signal(signal.SIGHUP)
        gateway.await_line("route b: .*-> listening")
        self.assert_echoes(client)
        # In the middle of it.
        gateway.signal(signal.SIGHUP)
        self.assertEqual(gateway.stop(), 0)

    def test_the_service_manager_is_told(self):
        path = os.path.join(self.base, "notify")
        manager = self.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        manager.bind(path)
        manager.settimeout(PATIENCE_S)
        port = self.port()
        text = self.route(f"tcp:{port}", "echo")
        gateway = self.start(text, env={**os.environ, "NOTIFY_SOCKET": path})
        self.assertIn(b"READY=1", manager.recv(1000).split(b"\n"))
        for change in (text, "nonsense"):
            self.reload(gateway, change)
            lines = manager.recv(1000).split(b"\n")
            self.assertIn(b"RELOADING=1", lines)
            self.assertTrue(lines[1].startswith(b"MONOTONIC_USEC="))
            lines = manager.recv(1000).split(b"\n")
            self.assertEqual(lines, [b"READY=1", b"STATUS=1 of 1 routes up"])

    def test_a_terminal_that_is_closed_ends_it(self):
        """Else it would go on for ever without anybody to see it."""
        master, slave = pty.openpty()
        port = self.port()
        process = subprocess.Popen(
            [BTGATE, "run", "-c", self.config(self.route(f"tcp:{port}", "echo"))],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)))
        os.close(slave)
        try:
            text = b""
            while b"listening" not in text:
                text += os.read(master, 1000)
            process.send_signal(signal.SIGHUP)
            while b"in force" not in text:
                text += os.read(master, 1000)
            self.assert_echoes(self.dial(port))
            os.close(master)
            master = -1
            self.assertEqual(process.wait(PATIENCE_S), 0)
        finally:
            process.kill()
            process.wait()
            if master >= 0:
                os.close(master)


class Controlled(base.GatewayTest):
    """A gateway with a control socket, and the commands that ask it."""

    def setUp(self):
        super().setUp()
        self.control = self.path("control")
        self.head = f"[gateway]\ncontrol = unix:{self.control}\n"

    def start(self, text, *args, **options):
        gateway = super().start(self.head + text, *args, **options)
        self.await_that(self.answers)
        return gateway

    def answers(self):
        """Whether somebody listens at the socket: its file is there before."""
        with socket.socket(socket.AF_UNIX) as one:
            return one.connect_ex(self.control) == 0

    def ask(self, *arguments, status=0):
        """A command's standard output, or its errors if it is to fail."""
        path = os.path.join(self.base, "btgate.conf")
        result = subprocess.run([BTGATE, *arguments, "-c", path], text=True,
                                capture_output=True, check=False,
                                timeout=PATIENCE_S)
        self.assertEqual(result.returncode, status, result)
        self.assertNotRegex(result.stderr, base.SANITIZER)
        if not status:
            self.assertEqual(result.stderr, "")
        return result.stderr if status and result.stderr else result.stdout

    def status(self, status=0):
        return json.loads(self.ask("status", "--json", status=status))

    def status_of(self, text):
        self.start(text)
        return self.status()

    def connection(self):
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(PATIENCE_S)
        one.connect(self.control)
        return self.keep(SocketEnd(one))


class Control(Controlled):
    def test_status(self):
        port, other = self.port(), self.port()
        gateway = self.start(self.route(f"tcp:{port}", "echo", "a")
                             + self.route(f"tcp:{other}", "tcp:localhost:1", "b"))
        client = self.dial(port)
        client.send(b"x" * 1234)
        client.recv_exactly(1234)
        self.assert_turned_away(other)
        gateway.await_line("route b: refused")
        status = self.status()
        self.assertEqual(status["pid"], gateway.pid)
        self.assertIsNone(status["bluetooth"])
        self.assertIsNone(status["metrics"])
        first, second = status["routes"]
        self.assertEqual((first["name"], first["state"], first["error"]),
                         ("a", "listening", None))
        self.assertEqual(first["listening_on"], f"tcp:127.0.0.1:{port}")
        session = first["sessions"][0]
        here = "%s:%u" % client.socket.getsockname()
        self.assertEqual((session["number"], session["peer"]), (1, here))
        self.assertEqual((session["bytes_to_target"],
                          session["bytes_to_client"]), (1234, 1234))
        self.assertEqual(second["sessions"], [])
        self.assertEqual(second["last_refusal"]["count"], 1)
        self.assertIn("no program listens there",
                      second["last_refusal"]["reason"])
        text = self.ask("status")
        self.assertIn("2 of 2 routes up, 1 session\n", text)
        self.assertIn(f"a: listening, tcp:127.0.0.1:{port} => echo\n", text)
        self.assertRegex(text, f"    a/1  {here} with echo, \\d+s, 1.2 kB to "
                               r"target \(.*/s\), 1.2 kB to client \(.*/s\)")
        self.assertEqual(self.ask("status", "-q"), "")

    def test_a_route_that_is_not_up(self):
        listener, port = self.server()
        gateway = self.start(self.route(f"tcp:{self.port()}", "echo", "a")
                             + self.route(f"tcp:{port}", "echo", "b"), 1)
        gateway.await_line("route b: .*-> waiting")
        self.assertIn("    error: ", self.ask("status", status=1))
        self.assertEqual(self.ask("status", "-q", status=1), "")
        self.assertIn("route b waits: ", self.ask("disable", "b")
                      + self.ask("enable", "b", status=1))
        self.ask("disable", "b")
        self.ask("status", "-q")
        listener.close()
        self.ask("enable", "b")
        self.assert_echoes(self.dial(port))

    def test_a_held_link_that_is_away(self):
        listener, target_port = self.server()
        port = self.port()
        gateway = self.start(
            self.route(f"tcp:{port}", f"tcp:127.0.0.1:{target_port}", "a",
                       hold="link", retry="100ms")
            + self.route(f"tcp:{self.port()}", "echo", "b"))
        target = self.accept(listener)
        gateway.await_line("is reached")
        first, second = self.status()["routes"]
        self.assertEqual(first["held"], {"up": 1, "away": 0, "away_ms": None,
                                         "error": None})
        self.assertIsNone(second["held"])
        self.ask("status", "-q", "--links")
        listener.close()
        target.close()
        gateway.await_line("is not reached again yet")
        held = self.status()["routes"][0]["held"]
        self.assertEqual((held["up"], held["away"]), (0, 1))
        self.assertGreaterEqual(held["away_ms"], 0)
        self.assertIn("no program listens there", held["error"])
        self.assertRegex(self.ask("status"),
                         r"a: .*\n    1 of 1 held links away, for \d+s: "
                         "127.0.0.1 port .* no program listens there\n")
        # The gateway does what it can; who asks for more is told.
        self.ask("status", "-q")
        self.assertEqual(self.ask("status", "-q", "--links", status=1), "")
        listener, _ = self.server(port=target_port)
        self.accept(listener)
        gateway.await_line("is reached again")
        self.ask("status", "-q", "--links")

    def test_whose_held_link_is_away(self):
        """With hold=yes each client has its own, and only once it had one."""
        listener, target_port = self.server()
        port = self.port()
        gateway = self.start(
            self.route(f"tcp:{port}", f"tcp:127.0.0.1:{target_port}", "a",
                       hold="yes", retry="60s"))
        self.assertEqual(self.status()["routes"][0]["held"]["up"], 0)
        clients = [self.dial(port) for _ in range(2)]
        targets = [self.accept(listener) for _ in clients]
        gateway.await_line("connected to", 2)
        targets[0].close()
        gateway.await_line("is lost")
        held = self.status()["routes"][0]["held"]
        self.assertEqual((held["up"], held["away"], held["error"]),
                         (1, 1, "it closed"))
        for client in clients:
            client.close()
        gateway.await_line("session .* ended|left", 2)
        self.await_that(lambda: self.status()["routes"][0]["held"] == {
            "up": 0, "away": 0, "away_ms": None, "error": None})

    def test_metrics_that_cannot_be_told(self):
        holder, taken = self.server()
        routes = self.route(f"tcp:{self.port()}", "echo")
        self.assertIsNone(self.status_of(routes)["metrics"])
        self.config(self.head + f"metrics = {taken}\n" + routes)
        self.ask("reload")
        metrics = self.status(1)["metrics"]
        self.assertIsNone(metrics["listening_on"])
        self.assertIn(f"TCP port {taken} is held by", metrics["error"])
        self.assertIn("1 of 1 routes up, 0 sessions\n    metrics: TCP port ",
                      self.ask("status", status=1))
        self.assertEqual(self.ask("status", "-q", status=1), "")
        holder.close()
        self.ask("reload")
        self.assertEqual(
            self.status()["metrics"],
            {"listening_on": f"tcp:127.0.0.1:{taken}", "error": None})
        self.assertNotIn("metrics", self.ask("status"))
        self.ask("status", "-q")

        def is_told():
            """Until there is none for long enough to be asked."""
            pid = self.gateways[0].pid
            for server in self.gateways[0].proc(f"task/{pid}/children").split():
                os.kill(int(server), signal.SIGKILL)
            one, answer = self.connection(), b""
            one.send(b'{"command": "status"}\n')
            while not answer.endswith(b"\n"):
                answer += one.recv()
            error = json.loads(answer)["metrics"]["error"]
            return error and "was killed by signal 9" in error
        self.await_that(is_told)

    def test_a_trace_that_cannot_be_written(self):
        """It is shown, and no session is the worse for it."""
        where = os.path.join(self.base, "traces")
        path = os.path.join(where, "r")
        port = self.port()
        route, = self.status_of(self.route(f"tcp:{port}", "echo",
                                           trace=path))["routes"]
        why = "No such file or directory (its directory is not there, make it " \
              "first)"
        self.assertEqual(route["trace"], {"path": path, "error": why})
        self.assertIn(f"\n    trace cannot be written to {path}: {why}\n",
                      self.ask("status"))
        self.ask("status", "-q")
        os.mkdir(where)
        # It is tried again once a second, whoever asks.
        self.await_that(lambda: "trace" not in self.ask("status"))
        route, = self.status()["routes"]
        self.assertEqual(route["trace"], {"path": path, "error": None})

    def test_a_session_that_failed(self):
        listener, target_port = self.server()
        port = self.port()
        gateway = self.start(self.route(f"tcp:{port}",
                                        f"tcp:127.0.0.1:{target_port}"))
        for end in (self.dial(port), self.accept(listener)):
            end.close()
        gateway.await_line("session 1 .* ended: .* closed")
        self.assertIsNone(self.status()["routes"][0]["last_failure"])
        client = self.dial(port)
        target = self.accept(listener)
        gateway.await_line("session 2: .* connected to")
        target.reset()
        gateway.await_line("session 2 .* ended: target broke off")
        here = "%s:%u" % client.socket.getsockname()
        failure = self.status()["routes"][0]["last_failure"]
        self.assertGreaterEqual(failure.pop("age_ms"), 0)
        why = "target broke off: Connection reset by peer"
        self.assertEqual(failure, {"count": 1, "peer": here, "reason": why})
        self.assertRegex(self.ask("status"),
                         rf"\n    failed sessions 1, last \d+s ago {here}: {why}\n")

    def test_kick(self):
        port, other = self.port(), self.port()
        self.start(self.route(f"tcp:{port}", "echo", "a")
                   + self.route(f"tcp:{other}", "echo", "b"))
        clients = [self.dial(port) for _ in range(4)] + [self.dial(other)]
        for client in clients:
            self.assert_echoes(client)
        self.assertEqual(self.ask("kick", "a/2"), "1 session ended\n")
        self.assert_reset(clients[1])
        self.assertEqual(
            self.ask("kick", "%s:%u" % clients[0].socket.getsockname()),
            "1 session ended\n")
        self.assert_reset(clients[0])
        self.assertEqual(self.ask("kick", "a"), "2 sessions ended\n")
        self.assert_reset(clients[2])
        self.assert_echoes(clients[4])
        self.assertEqual(self.ask("kick", "127.0.0.1"), "1 session ended\n")
        self.assertIn("the route 'a' has no session",
                      self.ask("kick", "a", status=1))
        self.assertIn("is no route, session (ROUTE/NUMBER) or peer",
                      self.ask("kick", "127.0.0", status=1))

    def test_nothing_is_started_while_it_stops(self):
        listener, target = self.server()
        port, other = self.port(), self.port()
        text = self.route(f"tcp:{port}", f"tcp:127.0.0.1:{target}",
                          drain_timeout="60s")
        gateway = self.start(text)
        client, server = self.dial(port), self.accept(listener)
        # More than all buffers: until a gateway that had its turn takes no more.
        while client.offer():
            self.status()
        gateway.signal(signal.SIGTERM)
        gateway.await_line("stopping: ")
        self.config(self.head + text + self.route(f"tcp:{other}", "echo", "x"))
        for command in (["reload"], ["enable", "r"]):
            self.assertIn("the gateway is stopping",
                          self.ask(*command, status=1))
        with self.assertRaises(ConnectionRefusedError):
            self.dial(other)
        client.reset()
        server.recv_all()
        self.assertEqual(gateway.wait(), 0)

    def test_a_disabled_route_lets_go(self):
        port, path = self.port(), self.path("port")
        gateway = self.start(self.route(f"tcp:{port}", f"pty:{path}"))
        client = self.dial(port)
        gateway.await_line("connected to")
        self.ask("disable", "r")
        self.assertEqual(client.recv_all(), b"")
        self.await_that(lambda: not os.path.lexists(path))
        with self.assertRaises(ConnectionRefusedError):
            self.dial(port)
        # A reload leaves it so, also if it is another one then.
        self.assertIn("1 unchanged", self.ask("reload"))
        self.config(self.head + self.route(f"tcp:{port}", f"pty:{path}",
                                           max_sessions="1"))
        self.assertIn("route r: changed", self.ask("reload"))
        self.assertEqual(self.status()["routes"][0]["state"], "disabled")
        self.ask("enable", "r")
        self.ask("enable", "r")
        client, program = self.dial(port), self.keep(PortEnd(path))
        pass_bytes(client, program, b"through")
        self.assertIn("there is no route 'x'", self.ask("disable", "x", status=1))

    def test_reload(self):
        port, other = self.port(), self.port()
        self.start(self.route(f"tcp:{port}", "echo", "a"))
        client = self.dial(port)
        self.assert_echoes(client)
        self.config(self.head + self.route(f"tcp:{port}", "echo", "a")
                    + self.route(f"tcp:{other}", "echo", "b"))
        self.assertEqual(
            self.ask("reload"),
            "route b: added\nthe new configuration is in force; routes: "
            "1 added, 0 changed, 0 removed, 1 unchanged\n")
        self.config(self.head + "[rout a]\n")
        text = self.ask("reload", status=1)
        self.assertIn("btgate.conf:3: unknown section [rout a]", text)
        self.assertIn("everything goes on as before", text)
        self.assert_echoes(client)

    def test_another_socket(self):
        """Also that one which the reload was asked for by."""
        self.start(self.route(f"tcp:{self.port()}", "echo"))
        first, connection = self.control, self.connection()
        self.control = self.path("other")
        self.config(f"[gateway]\ncontrol = unix:{self.control},mode=0666\n"
                    + self.route(f"tcp:{self.port()}", "echo"))
        connection.send(b'{"command":"reload"}\n')
        self.assertIn(b'"ok":true', connection.recv_all())
        self.assertFalse(os.path.exists(first))
        self.await_that(self.answers)
        self.assertEqual(mode_of(self.control), 0o666)
        self.ask("status")
        self.config("[gateway]\ncontrol = no\n"
                    + self.route(f"tcp:{self.port()}", "echo"))
        self.assertIn("'control = no'", self.ask("status", status=1))
        self.gateways[0].signal(signal.SIGHUP)
        self.await_that(lambda: not os.path.exists(self.control))

    def test_a_socket_that_cannot_be_had(self):
        """The one that there is stays, until the other one can be had."""
        route = self.route(f"tcp:{self.port()}", "echo")
        gateway = self.start(route)
        first, where = self.control, self.path("later")
        self.control = os.path.join(where, "control")
        self.config(f"[gateway]\ncontrol = unix:{self.control}\n" + route)
        gateway.signal(signal.SIGHUP)
        gateway.await_line(f"the control socket stays at {first}: .*later")
        self.control = first
        self.assertTrue(self.answers())
        # Another mode at the same path, and a group that there is not.
        gateway.signal(signal.SIGHUP)
        gateway.await_line("the control socket stays", 2)
        self.config(f"[gateway]\ncontrol = unix:{first},group=btgate-none\n"
                    + route)
        gateway.signal(signal.SIGHUP)
        gateway.await_line("the control socket stays", 3)
        self.assertTrue(self.answers())
        self.config(f"[gateway]\ncontrol = unix:{first},mode=0660\n" + route)
        self.ask("reload")
        self.await_that(lambda: mode_of(first) == 0o660 and self.answers())
        self.ask("status")
        # What it lacked comes: it is tried again without being told.
        self.control = os.path.join(where, "control")
        self.config(f"[gateway]\ncontrol = unix:{self.control}\n" + route)
        gateway.signal(signal.SIGHUP)
        gateway.await_line("the control socket stays", 4)
        os.mkdir(where)
        self.await_that(self.answers)
        self.await_that(lambda: not os.path.exists(first))
        gateway.await_line(f"the control socket is at {self.control} now")
        gateway.stop()
        os.rmdir(where)

    def test_a_socket_that_cannot_be_had_at_first(self):
        where = self.path("later")
        self.control = os.path.join(where, "control")
        gateway = base.GatewayTest.start(
            self, f"[gateway]\ncontrol = unix:{self.control}\n"
            + self.route(f"tcp:{self.port()}", "echo"))
        gateway.await_line("no control socket, .*it is tried again")
        os.mkdir(where)
        self.await_that(self.answers)
        self.ask("status")
        gateway.await_exactly("control socket", 2)
        gateway.stop()
        os.rmdir(where)

    def test_log_level(self):
        gateway = self.start(self.route(f"tcp:{self.port()}", "echo"))
        self.ask("log-level", "warning")
        self.ask("disable", "r")
        self.assertEqual(gateway.matches("disabled"), [])
        self.assertEqual(self.status()["log_level"], "warning")
        self.assertIn("did you mean 'debug'?",
                      self.ask("log-level", "debgu", status=1))

    def test_no_gateway(self):
        self.config(self.head + self.route(f"tcp:{self.port()}", "echo"))
        text = self.ask("status", status=1)
        self.assertIn(f"no gateway runs here (nothing answers at {self.control})",
                      text)
        self.assertEqual(self.ask("status", "-q", status=1), "")

    def test_doctor(self):
        """What the gateway holds is told from what stands in its way."""
        _, held = self.server()
        tcp, metrics = self.port(), self.port()
        paths = [self.path(name) for name in ("modem", "cable", "socket")]
        self.head += f"metrics = {metrics}\n"
        gateway = self.start(
            self.route(f"tcp:{tcp}", f"pty:{paths[1]}", "a")
            + self.route(f"pty:{paths[0]}", "echo", "b")
            + self.route(f"unix:{paths[2]}", "echo", "c")
            + self.route(f"tcp:{held}", "echo", "d"), 3)
        gateway.await_line("route d: .*-> waiting")
        gateway.await_line("metrics at")
        status = json.loads(self.ask("status", "--json", status=1))
        self.assertEqual(status["metrics"]["listening_on"],
                         f"tcp:127.0.0.1:{metrics}")
        own = [f"metrics: TCP port {metrics}", f"route a: TCP port {tcp}",
               f"route a: {paths[1]}", f"route b: {paths[0]}",
               f"route c: {paths[2]}"]
        said = self.ask("doctor", status=1)
        for thing in own:
            self.assertIn(f"ok       {thing} is held by the gateway that runs\n",
                          said)
        self.assertRegex(said, f"ok       gateway: process {gateway.pid} is "
                               f"running, and answers at {self.control}\n")
        self.assertIn(f"problem  route d: TCP port {held} is held by ", said)
        # One that hangs: doctor waits a little, and calls nothing well.
        gateway.signal(signal.SIGSTOP)
        try:
            said = self.ask("doctor", status=1)
        finally:
            gateway.signal(signal.SIGCONT)
        self.assertRegex(said, f"problem  gateway: {self.control} is held by "
                               r".*\d\), which does not answer\n")
        for thing in own:
            self.assertRegex(said, f"note     {thing} is held by .*, which may "
                                   "be the gateway that runs\n")
        self.assertIn(f"problem  route d: TCP port {held} is held by ", said)
        # Asked elsewhere.
        self.config(f"[gateway]\ncontrol = unix:{self.path('other')}\n"
                    + self.route(f"tcp:{tcp}", "echo", "a"))
        said = self.ask("doctor", status=1)
        self.assertIn("note     gateway: one is running, and nothing answers at "
                      f"{self.path('other')}\n", said)
        self.assertRegex(said, f"note     {own[1]} is held by .*, which may be ")

    def test_watch(self):
        port = self.port()
        gateway = self.start(self.route(f"tcp:{port}", "echo"))
        self.assert_echoes(self.dial(port))
        with subprocess.Popen(
                [BTGATE, "status", "--watch", "-c",
                 os.path.join(self.base, "btgate.conf")], text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watch:
            seen = 0
            while seen < 3:
                seen += "1 session" in watch.stdout.readline()
            self.assertEqual(gateway.stop(), 0)
            self.assertIn("did not answer", watch.communicate()[1])
            self.assertEqual(watch.returncode, 1)

    def test_watch_on_a_terminal(self):
        """Drawn over what was there, with the rates of that second."""
        port = self.port()
        self.start(self.route(f"tcp:{port}", "echo"))
        client = self.dial(port)
        client.send(b"x" * 1234)
        client.recv_exactly(1234)
        master, slave = pty.openpty()
        with subprocess.Popen(
                [BTGATE, "status", "--watch", "-c",
                 os.path.join(self.base, "btgate.conf")],
                stdin=slave, stdout=slave, stderr=slave) as watch:
            os.close(slave)
            seen = b""

            def next_screen(*words):
                """One that has them all, from the top to the rest."""
                nonlocal seen
                deadline = time.monotonic() + PATIENCE_S
                while True:
                    while b"\x1b[J" not in seen:
                        self.assertTrue(select.select([master], [], [],
                                                      PATIENCE_S)[0])
                        seen += os.read(master, 10000)
                        self.assertLess(time.monotonic(), deadline, seen)
                    screen, _, seen = seen.partition(b"\x1b[J")
                    if all(word in screen for word in words):
                        return screen
            try:
                self.assertEqual(next_screen(), b"\x1b[H")
                # At first since the session began; then nothing passes.
                screen = next_screen()
                self.assertIn(b"1.2 kB to target (", screen)
                self.assertNotIn(b"1.2 kB to target (0 B/s)", screen)
                screen = next_screen(b", 1.2 kB to target (0 B/s), 1.2 kB to "
                                     b"client (0 B/s)\x1b[K\r\n")
                self.assertTrue(screen.startswith(b"\x1b[Hbtgate "), screen)
                self.assertEqual(screen.count(b"\x1b[K\r\n"),
                                 screen.count(b"\n"))
                client.send(b"x" * 100000)
                client.recv_exactly(100000)
                screen = next_screen(b", 101.2 kB to target (")
                self.assertNotIn(b"to target (0 B/s)", screen)
            finally:
                watch.kill()
                os.close(master)

    def test_nonsense(self):
        self.start(self.route(f"tcp:{self.port()}", "echo"))
        one = self.connection()
        for line in (b"", b"nonsense", b"[]", b"{}", b'{"command":1}', b"\xff",
                     b'{"command":"fly"}', b'{"command":"kick"}',
                     b'{"command":"kick","argument":""}',
                     b'{"command":"enable","argument":"\\u0000"}',
                     b"[" * 4000):
            one.send(line + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                answer += one.recv()
            answer = json.loads(answer)
            self.assertIs(answer["ok"], False)
            self.assertTrue(answer["error"])
        one.send(b"x" * 5000)
        with self.assertRaises(ConnectionResetError):
            self.assertEqual(one.recv_all(), b"")
            raise ConnectionResetError

    def test_it_is_asked_when_descriptors_run_out(self):
        port = self.port()
        gateway = self.start(self.route(f"tcp:{port}", "echo", "a"))
        clients = [self.dial(port) for _ in range(20)]
        for client in clients:
            self.assert_echoes(client)
        # Not one more than it has open.
        numbers = os.listdir(f"/proc/{gateway.pid}/fd")
        limit = next(n for n in range(1000) if str(n) not in numbers)
        before = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE,
                         (limit, before[1]))
        self.dial(port)
        gateway.await_line("tcp:.*no more clients for now")
        for _ in range(5):
            self.assertEqual(len(self.status()["routes"][0]["sessions"]), 20)
        self.assertFalse(gateway.matches("unix:.*no more clients"))
        # Its own can run out, and is there again when it is given back.
        first, second = self.connection(), self.connection()
        first.send(b'{"command": "status"}\n')
        first.recv(1)
        gateway.await_line("unix:.*no more clients for now")
        first.close()
        second.send(b'{"command": "status"}\n')
        second.recv(1)
        second.close()
        self.ask("kick", "a")
        self.assert_reset(clients[0])
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, before)
        # Who waited may have been among them by then, or refused for its target.
        self.assert_echoes(self.dial(port))

    def test_slow_and_hostile_clients(self):
        """They cost neither memory nor the others' time."""
        ports = [self.port() for _ in range(20)]
        gateway = self.start("".join(
            self.route(f"tcp:{port}", "echo", f"r{port}") for port in ports))
        self.ask("status")
        before = self.fds_at_rest(gateway)
        before_kb = gateway.status_field("VmRSS")
        request = b'{"command":"status"}\n' * 1000
        # Sanitizers make each answer slow, and have seen it all in a few.
        for _ in range(20 if base.is_sanitized() else 100):
            one = self.connection()
            one.socket.setblocking(False)
            try:
                while True:
                    one.socket.send(request)
            except OSError:
                pass
        client = self.dial(ports[0])
        self.assert_echoes(client)
        self.assertEqual(len(self.status()["routes"]), 20)
        self.assertLess(gateway.fd_count(), len(before) + 40)
        if not base.is_sanitized():
            self.assertLess(gateway.status_field("VmRSS") - before_kb, 4096)
        # What nobody reads is not made again and again.
        self.await_idleness(gateway)


class Trace(Controlled):
    """What passes through a route, live and in files."""

    def follow(self, gateway, *arguments):
        """btgate trace, from when it is told what passes."""
        before = len(gateway.matches("is shown to a client"))
        process = self.keep(Following(
            [BTGATE, "trace", *arguments, "-c",
             os.path.join(self.base, "btgate.conf")]))
        gateway.await_line("is shown to a client", before + 1)
        return process

    def trace_path(self, name):
        """They stay when the gateway ends: not where all is to be gone."""
        where = os.path.join(self.base, "traces")
        os.makedirs(where, exist_ok=True)
        return os.path.join(where, name)

    def pass_one(self, gateway, port):
        """A session with an echo, of 4 bytes each way."""
        before = len(gateway.matches("session .* ended"))
        client = self.dial(port)
        client.send(b"AT\r\n")
        client.recv_exactly(4)
        name = "%s:%u" % client.socket.getsockname()
        client.close()
        gateway.await_line("session .* ended", before + 1)
        return name

    def test_live(self):
        port = self.port()
        gateway = self.start(self.route(f"tcp:{port}", "echo", "gps"))
        dump = self.follow(gateway, "gps")
        text = self.follow(gateway, "gps", "--format", "text")
        lines = self.follow(gateway, "gps", "--json")
        peer = re.escape(self.pass_one(gateway, port))
        stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}"
        head = f"{stamp} gps/1 {peer} "
        hexes = r"  0000  41 54 0d 0a {39}\|AT\.\.\|\n"
        self.assertRegex(
            dump.read_lines(6),
            f"^{head}connected to echo\n{head}to target, 4 bytes:\n{hexes}"
            f"{head}to client, 4 bytes:\n{hexes}{head}ended: client closed\n$")
        self.assertRegex(
            text.read_lines(4),
            f"^{head}connected to echo\n{head}to target: AT\\\\r\\\\n\n"
            f"{head}to client: AT\\\\r\\\\n\n{head}ended: client closed\n$")
        events = [json.loads(line) for line in
                  lines.read_lines(4).splitlines()]
        self.assertEqual([one["event"] for one in events],
                         ["started", "data", "data", "ended"])
        self.assertEqual([(one["to"], one["data"], one["session"])
                          for one in events[1:3]],
                         [("target", "41540d0a", 1), ("client", "41540d0a", 1)])
        self.assertLess(abs(events[0]["time_us"] / 1e6 - time.time()), 60)
        dump.process.send_signal(signal.SIGINT)
        self.assertEqual(dump.process.wait(PATIENCE_S), -signal.SIGINT)
        self.assertEqual(gateway.stop(), 0)
        # Both: one that is killed as it ends may leave its leak checker behind.
        self.assertEqual(lines.process.wait(PATIENCE_S), 1)
        self.assertEqual(text.process.wait(PATIENCE_S), 1)
        self.assertIn("the gateway tells no more", text.process.stderr.read())

    def test_mistakes(self):
        self.start(self.route(f"tcp:{self.port()}", "echo"))
        self.assertIn("there is no route 'x'", self.ask("trace", "x", status=1))
        self.assertIn("ROUTE is missing", self.ask("trace", status=2))
        self.assertIn("'fly' is not a format; use hex, text or pcapng",
                      self.ask("trace", "r", "--format", "fly", status=2))
        self.assertIn("two formats", self.ask("trace", "r", "--json",
                                              "--format", "hex", status=2))
        main, end = pty.openpty()
        with open(main, "rb", closefd=True), open(end, "wb") as terminal:
            result = subprocess.run(
                [BTGATE, "trace", "r", "--format", "pcapng"], check=False,
                stdout=terminal, stderr=subprocess.PIPE, timeout=PATIENCE_S)
        self.assertEqual(result.returncode, 2)
        self.assertIn(b"not for a terminal", result.stderr)

    def test_a_reader_that_stops_costs_nobody_anything(self):
        port = self.port()
        gateway = self.start(self.route(f"tcp:{port}", "echo"))
        self.pass_one(gateway, port)
        lines = self.follow(gateway, "r", "--json")
        lines.process.send_signal(signal.SIGSTOP)
        before_kb = gateway.status_field("VmRSS")
        client = self.dial(port)
        for _ in range(20):
            self.assert_echoes(client, random.randbytes(MEGABYTE))
        if not base.is_sanitized():
            self.assertLess(gateway.status_field("VmRSS") - before_kb, 4096)
        lines.process.send_signal(signal.SIGCONT)
        total, missed = 0, 0
        while total + missed < 40 * MEGABYTE:
            event = json.loads(lines.read_lines(1))
            total += len(event.get("data", "")) // 2
            missed += event.get("bytes", 0)
        self.assertEqual(total + missed, 40 * MEGABYTE)
        self.assertGreater(missed, 10 * MEGABYTE)

    def test_files_that_wireshark_reads(self):
        port, path = self.port(), self.trace_path("gps.pcapng")
        gateway = self.start(self.route(
            f"tcp:{port}", "echo", "gps", trace=path, trace_format="pcapng"))
        live = self.follow(gateway, "gps", "--format", "pcapng")
        peers = [self.pass_one(gateway, port) for _ in range(2)]
        self.assertEqual(os.stat(path).st_mode & 0o7777, 0o600)
        with open(path, "rb") as file:
            data = file.read()
        self.assertEqual(live.process.stdout.buffer.read(len(data)), data)
        packets = list(read_pcapng(data))
        self.assertEqual(len(packets), 8)
        for number, peer in enumerate(peers):
            self.assertEqual(
                packets[4 * number:4 * number + 4],
                [(f"gps/{number + 1}", f"{peer} {info}", direction, payload)
                 for info, direction, payload in
                 (("connected to echo", None, b""),
                  ("to target, 4 bytes", 1, b"AT\r\n"),
                  ("to client, 4 bytes", 0, b"AT\r\n"),
                  ("ended: client closed", None, b""))])
        gateway.stop()
        # Another run goes on in it, with a section of its own.
        gateway = self.start(self.route(
            f"tcp:{port}", "echo", "gps", trace=path, trace_format="pcapng"))
        self.pass_one(gateway, port)
        self.check_with_tshark(path, 12)

    def check_with_tshark(self, path, count):
        if not shutil.which("tshark"):
            self.skipTest("tshark is not here to look at it, too")
        result = subprocess.run(
            ["tshark", "-r", path, "-T", "fields", "-e", "_ws.col.Protocol",
             "-e", "frame.comment", "-e", "frame.packet_flags_direction",
             "-e", "data.data"], text=True, capture_output=True, check=True,
            timeout=PATIENCE_S)
        lines = result.stdout.splitlines()
        self.assertEqual(len(lines), count)
        self.assertRegex(lines[0], r"^gps/1\t127\.0\.0\.1:\d+ connected to "
                                   r"echo\t\t$")
        self.assertRegex(lines[1], r"^gps/1\t\t0x0*1\t41540d0a$")
        self.assertRegex(lines[2], r"^gps/1\t\t0x0*2\t41540d0a$")
        self.assertRegex(lines[11], r"^gps/1\t127.*ended: client closed\t\t$")
        self.assertNotIn("Malformed", result.stdout + result.stderr)

    def test_files_take_turns(self):
        port, path = self.port(), self.trace_path("trace")
        gateway = self.start(self.route(
            f"tcp:{port}", "echo", trace=path, trace_size="512K",
            trace_files="2"))
        client = self.dial(port)
        self.assert_echoes(client, random.randbytes(MEGABYTE))
        # Written after it was passed on, and before anything is answered.
        self.status()
        self.assertEqual(sorted(os.listdir(os.path.dirname(path))),
                         ["trace", "trace.1"])
        for name in (path, path + ".1"):
            self.assertLessEqual(os.stat(name).st_size, 512 * 1024)
            self.assertEqual(os.stat(name).st_mode & 0o7777, 0o600)
        self.assertEqual(gateway.matches("cannot"), [])

    def test_a_reload_traces_sessions_that_are_there(self):
        port, path = self.port(), self.trace_path("trace")
        route = self.route(f"tcp:{port}", "echo", "gps")
        gateway = self.start(route)
        client = self.dial(port)
        self.assert_echoes(client, b"before")
        lines = self.follow(gateway, "gps", "--format", "text")
        self.config(self.head + route + f"trace = {path}\ntrace-format=text\n")
        told = self.ask("reload")
        self.assertIn("route gps: unchanged, with another trace", told)
        self.assertIn("0 added, 0 changed, 0 removed, 1 unchanged", told)
        self.assert_echoes(client, b"during")
        self.config(self.head + route)
        told = self.ask("reload")
        self.assertIn("route gps: unchanged, with another trace", told)
        gateway.await_line("route gps: no longer traced to a file")
        self.assert_echoes(client, b"after")
        with open(path, encoding="ascii") as file:
            self.assertEqual([line.split(": ")[1] for line in file],
                             ["during\n", "during\n"])
        # Who looks on goes on with a route that has changed, and with both.
        self.config(self.head + route + "linger = 3s\n")
        self.assertIn("1 changed", self.ask("reload"))
        self.assertEqual(client.recv_all(), b"")
        self.assert_echoes(self.dial(port), b"another")
        seen = lines.read_lines(8)
        for word in ("during", "after", "ended: ", "connected to echo",
                     "another"):
            self.assertIn(word, seen)
        # With the route it ends.
        self.config(self.head + self.route(f"tcp:{port}", "echo", "other"))
        self.ask("reload")
        self.assertEqual(lines.process.wait(PATIENCE_S), 1)


class Refusals(Controlled):
    """Whom a route that listens on TCP takes, and what is said of the others."""

    def dial_from(self, address, port):
        one = socket.socket()
        one.settimeout(PATIENCE_S)
        one.bind((address, 0))
        one.connect(("127.0.0.1", port))
        return self.keep(SocketEnd(one))

    def assert_refused_from(self, address, port):
        with self.assertRaises(ConnectionResetError):
            data = self.dial_from(address, port).recv()
            self.fail(f"not a reset: {data!r}")

    def test_networks(self):
        port = self.port()
        gateway = self.start(self.route(f"tcp:*:{port}", "echo",
                                        clients="127.0.1.0/24, ::1"))
        self.assert_echoes(self.dial_from("127.0.1.9", port))
        six = socket.create_connection(("::1", port), PATIENCE_S)
        self.assert_echoes(self.keep(SocketEnd(six)))
        for _ in range(5):
            self.assert_refused_from("127.0.0.1", port)
        self.assert_refused_from("127.0.2.1", port)
        gateway.await_line(r"refused 127.0.2.1:\d+: it is not among the clients "
                           "of any route \\(.*\\); it is not mentioned again")
        gateway.await_exactly("refused 127.0.0.1:", 1)
        gateway.await_exactly("refused", 2)

    def test_the_last_one_in_status(self):
        """At the door or behind it, whichever was later."""
        port, target = self.port(), self.port()
        self.start(self.route(f"tcp:{port}", f"tcp:127.0.0.1:{target}",
                              clients="127.0.0.1"))

        def last_refusal():
            return self.status()["routes"][0]["last_refusal"]
        for count, address, reason in (
                (1, "127.0.0.2", "not among the clients of any route"),
                (2, "127.0.0.1", "no program listens there"),
                (3, "127.0.0.3", "not among the clients of any route")):
            self.assert_refused_from(address, port)
            self.await_that(lambda: (last_refusal() or {}).get("count") == count)
            last = last_refusal()
            self.assertRegex(last["peer"], rf"^{address}:\d+$")
            self.assertIn(reason, last["reason"])
            self.assertGreaterEqual(last["age_ms"], 0)
        self.assertRegex(self.ask("status"),
                         r"\n    refused 3, last \d+s ago 127.0.0.3:\d+: it is "
                         r"not among the clients of any route \(to let it in, "
                         r"add it to one's\)\n")

    def test_want_of_room_is_said_once(self):
        port = self.port()
        gateway = self.start(self.route(f"tcp:{port}", "echo", max_sessions=1))
        first = self.dial_from("127.0.0.1", port)
        self.assert_echoes(first)
        for _ in range(20):
            self.assert_refused_from("127.0.0.2", port)
        self.assert_refused_from("127.0.0.3", port)
        gateway.await_line("refused 127.0.0.3:.* max-sessions")
        gateway.await_exactly("refused 127.0.0.2:", 1)
        # Once it was in, it is news again.
        first.close()
        gateway.await_line("ended")
        second = self.dial_from("127.0.0.2", port)
        self.assert_echoes(second)
        self.assert_refused_from("127.0.0.2", port)
        gateway.await_line("refused 127.0.0.2:.* max-sessions", 2)

    def test_other_clients_after_a_reload(self):
        port = self.port()
        gateway = self.start(self.route(f"tcp:{port}", "echo"))
        client = self.dial_from("127.0.0.2", port)
        self.assert_echoes(client)
        self.config(self.head + self.route(f"tcp:{port}", "echo", clients="127.0.0.3"))
        gateway.signal(signal.SIGHUP)
        self.assertEqual(client.recv_all(), b"")
        self.assert_refused_from("127.0.0.2", port)
        self.assert_echoes(self.dial_from("127.0.0.3", port))


if __name__ == "__main__":
    sys.exit(base.main())
