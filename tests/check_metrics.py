#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The numbers that the gateway tells Prometheus.

usage: tests/check_metrics.py [-v] [NAME...]

As tests/check_gateway.py, which it is built on. What is told is read by the
parser of Prometheus' own client library.
"""

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

import check_gateway as base
from check_gateway import PATIENCE_S, SocketEnd
from check_gateway_tls import Certificates


class MetricsTest(base.GatewayTest):
    def setUp(self):
        super().setUp()
        self.metrics_port = self.port()

    def gateway_section(self):
        return f"[gateway]\ncontrol = no\nmetrics = {self.metrics_port}\n"

    def begin(self, routes, **options):
        gateway = self.start(self.gateway_section() + routes, **options)
        gateway.await_line("metrics at http://127.0.0.1:")
        return gateway

    def get(self, path="/metrics", method="GET"):
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.metrics_port, timeout=PATIENCE_S)
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response, body.decode()

    @staticmethod
    def children(gateway):
        return [int(pid) for pid in
                gateway.proc(f"task/{gateway.pid}/children").split()]

    def server_of(self, gateway):
        """Who speaks HTTP, its only child."""
        self.await_that(lambda: len(self.children(gateway)) == 1)
        return self.children(gateway)[0]

    def numbers(self):
        """{(name, labels): value}, after a look at the conventions."""
        _, body = self.get()
        found = {}
        for family in text_string_to_metric_families(body):
            self.assertTrue(family.documentation, family.name)
            self.assertIn(family.type, ("counter", "gauge"), family.name)
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                self.assertNotIn(key, found)
                self.assertEqual(sample.name.endswith("_total"),
                                 family.type == "counter")
                found[key] = sample.value
        return found

    def number(self, name, **labels):
        return self.numbers()[(name, frozenset(labels.items()))]

    def await_number(self, value, name, **labels):
        self.await_that(lambda: self.number(name, **labels) == value)


class NumberTests(MetricsTest):
    def test_what_passes_is_counted(self):
        port = self.port()
        self.begin(self.route(f"tcp:{port}", "echo"))
        self.assertEqual(self.number("btgate_route_state", route="r",
                                     state="listening"), 1)
        self.assertEqual(self.number("btgate_sessions", route="r"), 0)
        client = self.dial(port)
        self.assert_echoes(client, b"hello")
        # While the session is open, too.
        self.assertEqual(self.number("btgate_sessions", route="r"), 1)
        for end in ("target", "client"):
            self.await_number(5, "btgate_delivered_bytes_total", route="r",
                              to=end)
        client.close()
        self.await_number(0, "btgate_sessions", route="r")
        self.assertEqual(self.number("btgate_sessions_total", route="r"), 1)
        self.assertEqual(self.number("btgate_session_ends_total", route="r",
                                     reason="closed"), 1)
        self.assertEqual(self.number("btgate_delivered_bytes_total", route="r",
                                     to="client"), 5)

    def test_what_goes_wrong_is_counted(self):
        listener, target_port = self.server()
        closed, one, broken = self.port(), self.port(), self.port()
        gateway = self.begin(
            self.route(f"tcp:{closed}", f"tcp:127.0.0.1:{self.port()}", "away")
            + self.route(f"tcp:{one}", "echo", "one", max_sessions="1")
            + self.route(f"tcp:{broken}", f"tcp:127.0.0.1:{target_port}",
                         "broken"))
        self.assert_turned_away(closed)
        self.await_number(1, "btgate_refusals_total", route="away",
                          reason="target")
        first = self.dial(one)
        self.assert_echoes(first)
        self.assert_turned_away(one)
        self.await_number(1, "btgate_refusals_total", route="one",
                          reason="busy")
        self.dial(broken)
        target = self.accept(listener)
        # Before that a reset is a target that was not reached.
        gateway.await_line("route broken: session 1")
        target.reset()
        self.await_number(1, "btgate_session_ends_total", route="broken",
                          reason="broken")

    def test_who_is_not_let_in_is_counted(self):
        certificates = Certificates()
        self.addCleanup(certificates.remove)
        port, tls = self.port(), self.port()
        gateway = self.begin(
            self.route(f"tcp:{port}", "echo", "tcp", clients="192.0.2.0/24")
            + self.route(f"tls:{tls}," + certificates.pair("server"), "echo",
                         "tls"))
        for _ in range(3):
            self.assert_turned_away(port)
        gateway.await_exactly("refused 127.0.0.1.* not among the clients of any "
                              "route", 1)
        end = self.dial(tls)
        end.send(b"this is not TLS\r\n")
        with contextlib.suppress(ConnectionResetError):
            end.recv_all()
        gateway.await_line("turned 127.0.0.1.* away")
        for route, reason, count in (("tcp", "stranger", 3),
                                     ("tcp", "unfinished", 0),
                                     ("tls", "stranger", 0),
                                     ("tls", "unfinished", 1)):
            self.assertEqual(self.number("btgate_refusals_total", route=route,
                                         reason=reason), count)

    def test_prometheus_own_lint(self):
        promtool = shutil.which("promtool")
        if not promtool:
            self.skipTest("promtool (package prometheus) is not here to look at it")
        self.begin(self.route(f"tcp:{self.port()}", "tcp:127.0.0.1:1",
                              hold="yes"))
        result = subprocess.run([promtool, "check", "metrics"], text=True,
                                input=self.get()[1], capture_output=True,
                                check=False, timeout=PATIENCE_S)
        self.assertEqual((result.returncode, result.stdout, result.stderr),
                         (0, "", ""))

    def test_links_that_are_held(self):
        listener, target_port = self.server()
        gateway = self.begin(
            self.route(f"tcp:{self.port()}", f"tcp:127.0.0.1:{target_port}",
                       hold="link", retry="100ms")
            + self.route(f"tcp:{self.port()}", "echo", "other"))
        target = self.accept(listener)
        gateway.await_line("is reached")
        self.assertEqual(self.number("btgate_held_links", route="r",
                                     state="up"), 1)
        self.assertEqual(self.number("btgate_held_link_redials_total",
                                     route="r"), 0)
        listener.close()
        target.close()
        gateway.await_line("is lost")
        for state, count in (("up", 0), ("away", 1)):
            self.assertEqual(self.number("btgate_held_links", route="r",
                                         state=state), count)
        # They are no retries of a route that is up.
        self.await_that(lambda: self.number("btgate_held_link_redials_total",
                                            route="r") >= 2)
        self.assertEqual(self.number("btgate_route_retries_total", route="r"), 0)
        self.assertFalse([labels for name, labels in self.numbers()
                          if name.startswith("btgate_held_link")
                          and ("route", "other") in labels])

    def test_a_route_that_waits(self):
        holder = self.keep(socket.socket())
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        other = self.port()
        gateway = self.start(
            self.gateway_section() + self.route(f"tcp:{port}", "echo", "taken")
            + self.route(f"tcp:{other}", "echo", "free"), 1)
        gateway.await_line("metrics at")
        self.assertEqual(self.number("btgate_route_state", route="taken",
                                     state="waiting"), 1)
        self.await_that(lambda: self.number("btgate_route_retries_total",
                                            route="taken") >= 1)
        self.assertEqual(self.number("btgate_route_retries_total",
                                     route="free"), 0)

    def test_who_may_ask(self):
        route = self.route(f"tcp:{self.port()}", "echo")
        gateway = self.start(self.gateway_section()
                             + "metrics-clients = 192.0.2.0/24, ::1\n" + route)
        gateway.await_line("metrics at")
        for _ in range(3):
            with self.assertRaises((ConnectionError,
                                    http.client.BadStatusLine)):
                self.get()
        gateway.await_exactly(
            "metrics: refused 127.0.0.1.* not among metrics-clients", 1)
        # Another choice at the same port.
        self.config(self.gateway_section()
                    + "metrics-clients = 127.0.0.0/8\n" + route)
        gateway.signal(signal.SIGHUP)
        gateway.await_line("in force")
        self.assertEqual(self.get()[0].status, 200)

    def test_a_port_that_cannot_be_had(self):
        """What there is stays, and it is tried again, by a reload at once."""
        route = self.route(f"tcp:{self.port()}", "echo")
        gateway = self.begin(route)
        old = self.metrics_port
        taken, port = self.server()
        self.config(f"[gateway]\ncontrol = no\nmetrics = {port}\n" + route)
        gateway.signal(signal.SIGHUP)
        gateway.await_line(
            f"metrics stay at http://127.0.0.1:{old}/metrics: .*{port}")
        self.assertEqual(self.get()[0].status, 200)
        taken.close()
        gateway.signal(signal.SIGHUP)
        gateway.await_line(f"metrics at http://127.0.0.1:{port}/")
        self.metrics_port = port
        self.assertEqual(self.get()[0].status, 200)
        # The same port on all addresses: the old one is in its way.
        self.config(f"[gateway]\ncontrol = no\nmetrics = *:{port}\n" + route)
        gateway.signal(signal.SIGHUP)
        gateway.await_line(f"metrics at http://.*\\*:{port}/")
        self.assertEqual(self.get()[0].status, 200)

    def test_unchanged_routes_keep_their_numbers(self):
        port, other = self.port(), self.port()
        gateway = self.begin(self.route(f"tcp:{port}", "echo", "kept"))
        client = self.dial(port)
        self.assert_echoes(client)
        self.config(self.gateway_section()
                    + self.route(f"tcp:{port}", "echo", "kept")
                    + self.route(f"tcp:{other}", "echo", "new"))
        gateway.signal(signal.SIGHUP)
        gateway.await_line("in force")
        self.assertEqual(self.number("btgate_sessions_total", route="kept"), 1)
        self.assertEqual(self.number("btgate_sessions_total", route="new"), 0)
        # A reload without metrics ends them; with them again, they are back.
        self.config(self.route(f"tcp:{port}", "echo", "kept"))
        gateway.signal(signal.SIGHUP)
        gateway.await_line("in force", 2)
        with self.assertRaises(ConnectionRefusedError):
            self.get()
        self.config(self.gateway_section()
                    + self.route(f"tcp:{port}", "echo", "kept"))
        gateway.signal(signal.SIGHUP)
        gateway.await_line("in force", 3)
        self.assertEqual(self.number("btgate_sessions_total", route="kept"), 1)
        self.assert_echoes(client)

    def test_off_by_default(self):
        gateway = self.start(self.route(f"tcp:{self.port()}", "echo"))
        self.assertFalse(gateway.matches("metrics"))

    def test_a_port_that_is_taken(self):
        """It is tried again by itself, and said once."""
        holder, self.metrics_port = self.server()
        port = self.port()
        gateway = self.start(
            self.gateway_section() + self.route(f"tcp:{port}", "echo"),
            arguments=["-v"])
        gateway.await_line("warning: no metrics: TCP port .* is held by .*; "
                           "it is tried again")
        self.assert_echoes(self.dial(port))
        gateway.await_line("metrics: still not at tcp:", 2)
        holder.close()
        gateway.await_line("metrics at http://127.0.0.1:")
        self.assertEqual(self.get()[0].status, 200)
        gateway.await_exactly("no metrics: ", 1)

    def test_a_port_that_is_no_longer_wanted(self):
        """Another one, or none: the old one is not tried any more."""
        holder, taken = self.server()
        route = self.route(f"tcp:{self.port()}", "echo")
        gateway = self.start(
            f"[gateway]\ncontrol = no\nmetrics = {taken}\n" + route)
        gateway.await_line("no metrics: ")
        self.config(self.gateway_section() + route)
        gateway.signal(signal.SIGHUP)
        gateway.await_line("metrics at ")
        before = self.fds_at_rest(gateway)
        self.config("[gateway]\ncontrol = no\n"
                    f"metrics = {taken}\n" + route)
        gateway.signal(signal.SIGHUP)
        gateway.await_line("metrics stay at ")
        self.config("[gateway]\ncontrol = no\n" + route)
        gateway.signal(signal.SIGHUP)
        gateway.await_line("in force", 3)
        holder.close()
        self.await_that(lambda: gateway.fd_count() == len(before) - 2)
        gateway.await_exactly("metrics at ", 1)
        self.await_that(lambda: self.children(gateway) == [])


class HttpTests(MetricsTest):
    def setUp(self):
        super().setUp()
        self.echo_port = self.port()
        self.gateway = self.begin(self.route(f"tcp:{self.echo_port}", "echo"))

    def test_as_prometheus_asks(self):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.metrics_port}/metrics?x=y",
            headers={"Accept": "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            self.assertEqual(answer.headers["Content-Type"],
                             "text/plain; version=0.0.4; charset=utf-8")
            self.assertTrue(answer.read().endswith(b"\n"))

    def test_what_is_no_question(self):
        for method, path, status in (("GET", "/", 404),
                                     ("GET", "/metricsx", 404),
                                     ("HEAD", "/metrics", 200),
                                     ("POST", "/metrics", 501)):
            with self.subTest(method + path):
                self.assertEqual(self.get(path, method)[0].status, status)
        for words, status in ((b"hello\r\n\r\n", b"400"),
                              (b"GET /metrics\0 HTTP/1.1\r\n\r\n", b"400"),
                              (b"GET /" + b"x" * 9000, b"400")):
            with self.subTest(words[:20]):
                end = self.dial(self.metrics_port)
                end.send(words)
                answer = bytearray()
                with contextlib.suppress(ConnectionResetError):
                    while piece := end.recv():
                        answer += piece
                self.assertTrue(answer.startswith(b"HTTP/1.1 " + status),
                                answer)

    def test_a_question_in_pieces(self):
        end = self.dial(self.metrics_port)
        for byte in b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n":
            end.send(bytes([byte]))
        self.assertIn(b"btgate_build_info", end.recv_all())

    def test_who_says_nothing_keeps_nobody_out(self):
        before = self.fds_at_rest(self.gateway)
        silent = [self.dial(self.metrics_port) for _ in range(50)]
        self.assertEqual(self.get()[0].status, 200)
        self.assertLessEqual(self.gateway.fd_count(), len(before))
        server = self.server_of(self.gateway)
        self.assertLessEqual(len(os.listdir(f"/proc/{server}/fd")), 20)
        self.assert_echoes(self.dial(self.echo_port))
        # Meanwhile it is the gateway that says nothing.
        self.gateway.signal(signal.SIGSTOP)
        self.assertEqual(self.get()[0].status, 503)
        self.gateway.signal(signal.SIGCONT)
        self.await_number(1, "btgate_sessions_total", route="r")
        # And its time is over some day.
        self.assert_reset(silent[-1])

    def test_who_does_not_read_is_let_go(self):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect(("127.0.0.1", self.metrics_port))
        end = self.keep(SocketEnd(sock))
        end.send(b"GET /metrics HTTP/1.1\r\n\r\n")
        self.assertEqual(self.get()[0].status, 200)
        self.assert_echoes(self.dial(self.echo_port))

    def test_a_question_under_way_at_the_end(self):
        self.dial(self.metrics_port).send(b"GET /met")
        self.assertEqual(self.gateway.stop(), 0)


class ServerTests(MetricsTest):
    """The process that speaks HTTP."""

    def test_it_is_killed(self):
        port = self.port()
        gateway = self.begin(self.route(f"tcp:{port}", "echo"),
                             arguments=["-v"])
        client = self.dial(port)
        self.assertEqual(self.get()[0].status, 200)
        before = self.fds_at_rest(gateway)
        for _ in range(2):
            os.kill(self.server_of(gateway), signal.SIGKILL)
            # It waits for the next one.
            self.assertEqual(self.get()[0].status, 200)
        gateway.await_line("debug: metrics: their server was killed .* again")
        gateway.await_exactly(r"metrics: their server was killed by signal 9 "
                              r"\(Killed\); it is started again", 1)
        self.assert_echoes(client)
        self.assertEqual(len(self.fds_at_rest(gateway)), len(before))
        self.server_of(gateway)

    def test_what_is_for_the_gateway(self):
        """Signals that are sent to all of a service; they are not its own."""
        gateway = self.begin(self.route(f"tcp:{self.port()}", "echo"))
        self.assertEqual(self.get()[0].status, 200)
        server = self.server_of(gateway)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(server, number)
        self.assertEqual(self.get()[0].status, 200)
        self.assertEqual(self.server_of(gateway), server)
        # As everybody sees it, and without any privilege.
        with open(f"/proc/{server}/status", encoding="ascii") as file:
            status = dict(re.findall(r"^(\w+):\t(.*)$", file.read(), re.M))
        self.assertEqual(status["Name"], "btgate-metrics")
        self.assertEqual(status["NoNewPrivs"], "1")
        self.assertEqual(int(status["CapPrm"], 16), 0)

    def test_the_gateway_is_killed(self):
        gateway = self.begin(self.route(f"tcp:{self.port()}", "echo"))
        self.assertEqual(self.get()[0].status, 200)
        server = self.server_of(gateway)
        gateway.kill()
        self.gateways.remove(gateway)
        # It has become ours.
        self.await_that(lambda: os.waitpid(server, os.WNOHANG)[0] == server)

    def test_who_has_what(self):
        """No descriptor of the gateway's but its own two and stderr; and no other
        program is left any."""
        gateway = self.begin(self.route(f"tcp:{self.port()}", "echo"))
        self.assertEqual(self.get()[0].status, 200)
        for number in gateway.fds():
            flags = re.search(r"^flags:\t(\d+)", gateway.proc(f"fdinfo/{number}"),
                              re.M)[1]
            self.assertTrue(number <= 2 or int(flags, 8) & os.O_CLOEXEC, number)
        server = self.server_of(gateway)
        log = os.readlink(f"/proc/{gateway.pid}/fd/2")

        def has_its_own():
            """Once that client's socket is closed."""
            kinds = sorted(target.split("[")[0]
                           for target in base.fds_of(server).values()
                           if target != log)
            return kinds == ["anon_inode:", "pipe:", "pipe:", "socket:",
                             "socket:"]
        self.await_that(has_its_own)


if __name__ == "__main__":
    sys.exit(base.main())
