#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A gateway that is told something while it runs.

usage: tests/check_operation.py [-v] [NAME...]

As tests/check_gateway.py, which it is built on.
"""

import os
import pty
import random
import signal
import socket
import subprocess
import sys
import threading

import check_gateway as base
from check_gateway import (BTGATE, MEGABYTE, PATIENCE_S, PortEnd,
                           pass_bytes)


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
        self.assertEqual(len(gateway.matches("route kept: .*listening")), 1)

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
        data = random.randbytes(MEGABYTE)
        sender = threading.Thread(target=client.send, args=(data,))
        sender.start()
        start = server.recv_exactly(1000)
        sender.join()
        self.reload(gateway, self.route(f"tcp:{other}", "echo"))
        self.assertEqual(start + server.recv_all(), data)

    def test_whoever_is_held_stays_held(self):
        listener, target_port = self.server()
        port = self.port()
        text = self.route(f"tcp:{port}", f"tcp:127.0.0.1:{target_port}",
                          hold="yes", retry="100ms")
        gateway = self.start(text)
        client = self.dial(port)
        target = self.accept(listener)
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
        gateway.await_line("session 1: ")
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
        before = gateway.fd_count()
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
        self.await_that(lambda: gateway.fd_count() == before)

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


if __name__ == "__main__":
    sys.exit(base.main())
