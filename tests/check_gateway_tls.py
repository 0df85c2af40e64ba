#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The whole program, over TLS: tls as listen and as connect.

usage: tests/check_gateway_tls.py [-v] [NAME...]

As check_gateway.py. The other ends are Python's ssl, openssl s_client and
s_server, and socat; the certificates are made by the openssl command.
"""

import contextlib
import os
import random
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import warnings

import check_gateway as base
from check_gateway import (MEGABYTE, PATIENCE_S, SocketEnd, pass_bytes,
                           pass_bytes_both_ways)

WORDS = random.randbytes(40000)


class Certificates:
    """Authorities and what they have signed, in a directory of their own."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="btgate-certificates-")
        for name in ("ca", "other-ca"):
            self.openssl("req", "-x509", *self.new_key(name), "-subj",
                         f"/CN={name}", "-days", "30", "-out",
                         self.path(name + ".pem"))
        self.issue("server", "DNS:server.example,DNS:localhost,IP:127.0.0.1")
        self.issue("other-name", "DNS:a.example,DNS:b.example")
        self.issue("client", "DNS:client.example")
        self.issue("stranger", "DNS:client.example", ca="other-ca")
        self.issue("expired", "DNS:localhost,IP:127.0.0.1", days="-1")
        self.openssl("req", "-x509", *self.new_key("self-signed"), "-subj",
                     "/CN=localhost", "-addext",
                     "subjectAltName=DNS:localhost,IP:127.0.0.1", "-days",
                     "30", "-out", self.path("self-signed.pem"))

    def path(self, name):
        return os.path.join(self.directory, name)

    def pair(self, name):
        return f"cert={self.path(name + '.pem')},key={self.path(name + '.key')}"

    @staticmethod
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE)

    def new_key(self, name):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                "-nodes", "-keyout", self.path(name + ".key")]

    def issue(self, name, names, ca="ca", days="30"):
        request, extensions = self.path("request"), self.path("extensions")
        with open(extensions, "w", encoding="ascii") as file:
            file.write(f"subjectAltName={names}\n")
        self.openssl("req", *self.new_key(name), "-subj", f"/CN={name}",
                     "-out", request)
        self.openssl("x509", "-req", "-in", request, "-CA",
                     self.path(ca + ".pem"), "-CAkey", self.path(ca + ".key"),
                     "-CAcreateserial", "-days", days, "-extfile", extensions,
                     "-out", self.path(name + ".pem"))
        os.chmod(self.path(name + ".key"), 0o600)

    def remove(self):
        shutil.rmtree(self.directory)


class TlsEnd(SocketEnd):
    """One end of a TLS connection; its own end is a close_notify.

    One thread may send while another receives, but OpenSSL allows only one of
    them at a time in a connection, and Python 3.11 does not see to that: the
    socket never blocks here, and each call has the connection for itself."""

    def __init__(self, sock):
        super().__init__(sock)
        sock.setblocking(False)
        self.turn = threading.Lock()

    def _call(self, function, *args):
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                with self.turn:
                    return function(*args)
            except ssl.SSLWantReadError:
                ready = ([self.socket], [])
            except ssl.SSLWantWriteError:
                ready = ([], [self.socket])
            # What it waits for may be taken by the other thread's call.
            select.select(*ready, [], 0.1)
        raise TimeoutError("the TLS connection stands still")

    def send(self, data):
        data = memoryview(data)
        while data:
            data = data[self._call(self.socket.send, data[:65536]):]

    def recv(self, size=65536):
        # Python raises at the other end's goodbye where ours was first.
        with contextlib.suppress(ssl.SSLZeroReturnError):
            return self._call(self.socket.recv, size)
        return b""

    def end_writing(self):
        # unwrap() would also wait for the other end's goodbye.
        with self.turn, contextlib.suppress(ssl.SSLWantReadError):
            self.socket.unwrap()


class TlsTest(base.GatewayTest):
    @classmethod
    def setUpClass(cls):
        cls.certificates = Certificates()

    @classmethod
    def tearDownClass(cls):
        cls.certificates.remove()

    def ca(self, name="ca"):
        return self.certificates.path(name + ".pem")

    def client_context(self, name=None, version=None):
        context = ssl.create_default_context(cafile=self.ca())
        if name:
            context.load_cert_chain(self.certificates.path(name + ".pem"),
                                    self.certificates.path(name + ".key"))
        if version:
            context.minimum_version = context.maximum_version = version
        return context

    def server_context(self, name="server", ca=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificates.path(name + ".pem"),
                                self.certificates.path(name + ".key"))
        if ca:
            context.load_verify_locations(self.ca(ca))
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def dial_tls(self, port, context=None, name="localhost"):
        context = context or self.client_context()
        sock = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        return self.keep(TlsEnd(
            context.wrap_socket(sock, server_hostname=name)))

    def accept_tls(self, listener, context=None):
        sock = listener.accept()[0]
        sock.settimeout(PATIENCE_S)
        return self.keep(TlsEnd((context or self.server_context()).wrap_socket(
            sock, server_side=True)))

    def listen_text(self, port, name="server", options=""):
        return f"tls:{port},{self.certificates.pair(name)}{options}"

    def listener(self, connect="echo", options="", **keys):
        port = self.port()
        gateway = self.start(self.route(self.listen_text(port, options=options),
                                        connect, **keys))
        return gateway, port

    def dialler(self, options=None, host="127.0.0.1", **keys):
        """A gateway that dials a server of ours; it, the server, the port."""
        server, target_port = self.server()
        port = self.port()
        options = f",ca={self.ca()}" if options is None else options
        gateway = self.start(self.route(
            f"tcp:{port}", f"tls:{host}:{target_port}{options}", **keys))
        return gateway, server, port


# ---- as listen ---------------------------------------------------------------


class ListenTests(TlsTest):
    def test_both_versions_and_every_size(self):
        gateway, port = self.listener()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with self.subTest(version):
                end = self.dial_tls(port, self.client_context(version=version))
                for size in (1, 16383, 16384, 16385, 40000):
                    self.assert_echoes(end, WORDS[:size])
                pass_bytes(end, end, random.randbytes(2 * MEGABYTE))
                end.end_writing()
        gateway.await_line("ended: client closed", 2)

    def test_old_versions_are_refused(self):
        gateway, port = self.listener()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context = self.client_context(version=ssl.TLSVersion.TLSv1_1)
        context.set_ciphers("ALL:@SECLEVEL=0")
        with self.assertRaises(ssl.SSLError):
            self.dial_tls(port, context)
        gateway.await_line("speaks no version of TLS that this one does")

    def test_the_session_hears_of_what_ssl_holds(self):
        # With packets the session reads less than a record at a time.
        gateway, port = self.listener(options=",pack-until=;")
        end = self.dial_tls(port)
        self.assert_echoes(end, WORDS[:16000].replace(b";", b".") + b";")
        end.end_writing()
        gateway.await_line("client closed")

    def test_plain_text_is_turned_away(self):
        gateway, port = self.listener()
        end = self.dial(port)
        end.send(b"GET / HTTP/1.0\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            end.recv_all()
        gateway.await_line("turned 127.0.0.1:.* away: "
                           "the other end does not speak TLS")
        self.assert_echoes(self.dial_tls(port))

    def test_who_says_nothing_keeps_nobody_out(self):
        gateway, port = self.listener(max_sessions=1)
        silent = [self.dial(port) for _ in range(80)]
        end = self.dial_tls(port)
        self.assert_echoes(end)
        # More than there is room for: the oldest had to go, the others may.
        self.assert_reset(silent[0])
        gateway.await_line("too many clients are in the TLS handshake")
        self.assertFalse(gateway.matches("refused"))

    def test_who_says_nothing_is_cut_off(self):
        gateway, port = self.listener()
        end = self.dial(port)
        self.assert_reset(end)
        gateway.await_line("did not finish the TLS handshake in time")

    def test_a_flood_of_failures_is_few_lines(self):
        gateway, port = self.listener()
        for _ in range(200):
            end = self.dial(port)
            with contextlib.suppress(OSError):
                end.send(b"hello, hello\n")
                end.recv()
            end.close()
        self.assert_echoes(self.dial_tls(port))
        self.assertLess(len(gateway.matches("turned")), 5)

    def test_an_end_without_goodbye_is_told(self):
        gateway, port = self.listener()
        end = self.dial_tls(port)
        self.assert_echoes(end)
        end.close()  # Python sends no close_notify
        gateway.await_line("ended: 127.0.0.1:.*: the other end was cut off: .*"
                           "without TLS' goodbye")

    def test_a_reset_is_told(self):
        gateway, port = self.listener()
        end = self.dial_tls(port)
        self.assert_echoes(end)
        end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, base.RESET)
        end.close()
        gateway.await_line("ended: client broke off: Connection reset")

    def test_client_certificates(self):
        gateway, port = self.listener(options=f",ca={self.ca()}")
        self.assert_echoes(self.dial_tls(port, self.client_context("client")))
        # In TLS 1.3 a client learns it when it reads.
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            self.dial_tls(port).recv()
        gateway.await_line("turned .* away: the other end showed no "
                           "certificate, which ca= asks for")

    def test_a_certificate_is_locked_out(self):
        """As btgate.conf(5) has it: nothing else is as good as revoking."""
        trusted = os.path.join(self.base, "trusted.pem")
        shutil.copy(self.certificates.path("client.pem"), trusted)
        gateway, port = self.listener(options=f",ca={trusted}")
        self.assert_echoes(self.dial_tls(port, self.client_context("client")))
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            self.dial_tls(port, self.client_context("other-name")).recv()
        gateway.await_line("was issued by 'ca', which .*trusted.pem does not "
                           "have")
        shutil.copy(self.certificates.path("other-name.pem"), trusted)
        self.assert_echoes(self.dial_tls(port,
                                         self.client_context("other-name")))
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            self.dial_tls(port, self.client_context("client")).recv()

    def test_who_is_not_among_the_clients(self):
        gateway, port = self.listener(clients="127.0.0.2")
        # Before it has said anything: it costs no handshake.
        self.assert_turned_away(port)
        gateway.await_line("refused 127.0.0.1:.* not among the clients of any")
        self.assertFalse(gateway.matches("handshake"))
        sock = socket.create_connection(("127.0.0.1", port), PATIENCE_S,
                                        ("127.0.0.2", 0))
        sock = self.client_context().wrap_socket(sock,
                                                 server_hostname="localhost")
        self.assert_echoes(self.keep(TlsEnd(sock)))

    def test_a_stranger_is_named(self):
        gateway, port = self.listener(options=f",ca={self.ca()}")
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            self.dial_tls(port, self.client_context("stranger")).recv()
        gateway.await_line("was issued by 'other-ca', which .*ca.pem does not "
                           "have")

    def test_the_targets_end_is_a_goodbye(self):
        server, target_port = self.server()
        _, port = self.listener(f"tcp:127.0.0.1:{target_port}")
        end = self.dial_tls(port)
        target = self.accept(server)
        target.send(WORDS)
        target.end_writing()
        # Python raises if it was not one.
        end.socket.suppress_ragged_eofs = False
        self.assertEqual(end.recv_all(), WORDS)
        # The other direction is still open.
        end.send(b"and more")
        self.assertEqual(target.recv_exactly(8), b"and more")

    def test_a_client_that_does_not_read_is_waited_for(self):
        server, target_port = self.server()
        gateway, port = self.listener(f"tcp:127.0.0.1:{target_port}")
        end = self.dial_tls(port)
        target = self.accept(server)
        data = bytes(65536)
        target.socket.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < 64 * MEGABYTE:
                sent += target.socket.send(data)
                time.sleep(0)
        target.socket.settimeout(PATIENCE_S)
        self.assertLess(sent, 64 * MEGABYTE)
        before = gateway.cpu_s()
        # The other way goes on, and nothing spins.
        pass_bytes(end, target, WORDS)
        self.assertEqual(len(end.recv_exactly(sent)), sent)
        target.end_writing()
        self.assertEqual(end.recv_all(), b"")
        self.assertLess(gateway.cpu_s() - before, 5)

    def test_a_reset_is_noticed_under_back_pressure(self):
        server, target_port = self.server()
        gateway, port = self.listener(f"tcp:127.0.0.1:{target_port}")
        end = self.dial_tls(port)
        target = self.accept(server)
        target.offer()
        end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, base.RESET)
        end.close()
        gateway.await_line("ended: client broke off: Connection reset")

    def test_both_ways_at_once(self):
        server, target_port = self.server()
        _, port = self.listener(f"tcp:127.0.0.1:{target_port}")
        # Python's ssl sockets take one thread each way; TLS at one end only.
        end = self.dial_tls(port)
        pass_bytes_both_ways(end, self.accept(server), MEGABYTE)

    def test_new_certificates_are_read(self):
        directory = os.path.join(self.base, "certificates")
        shutil.copytree(self.certificates.directory, directory)
        port = self.port()
        pair = [os.path.join(directory, "server" + end)
                for end in (".pem", ".key")]
        gateway = self.start(self.route(
            f"tls:{port},cert={pair[0]},key={pair[1]}", "echo"))
        first = self.dial_tls(port)
        self.assert_echoes(first)
        # The certificate first: for a while they do not fit together.
        shutil.copy(self.certificates.path("other-name.pem"), pair[0])
        self.assert_echoes(self.dial_tls(port))
        gateway.await_line("is not the key of the certificate; the "
                           "certificates that were read before go on")
        shutil.copy(self.certificates.path("other-name.key"), pair[1])
        self.assert_echoes(self.dial_tls(port, name="a.example"))
        gateway.await_line("certificates read again")
        self.assert_echoes(first)

    def test_a_key_for_everybody(self):
        key = os.path.join(self.base, "key")
        shutil.copy(self.certificates.path("server.key"), key)
        os.chmod(key, 0o644)
        cert = self.certificates.path("server.pem")
        gateway = self.start(self.route(
            f"tls:{self.port()},cert={cert},key={key}", "echo"))
        gateway.await_line("key=.* can be read by everybody")

    def test_openssls_client(self):
        _, port = self.listener()
        done = subprocess.run(
            ["openssl", "s_client", "-quiet", "-no_ign_eof", "-CAfile",
             self.ca(), "-verify_return_error", "-connect",
             f"127.0.0.1:{port}"], input=b"hello\nQ\n", timeout=PATIENCE_S,
            capture_output=True, check=True)
        self.assertNotIn(b"error", done.stderr)

    def test_socat(self):
        _, port = self.listener()
        done = subprocess.run(
            ["socat", "-t", str(PATIENCE_S), "-",
             f"OPENSSL:localhost:{port},cafile={self.ca()}"], input=WORDS,
            timeout=PATIENCE_S, stdout=subprocess.PIPE, check=True)
        self.assertEqual(done.stdout, WORDS)

    def test_a_stop_says_goodbye(self):
        gateway, port = self.listener()
        end = self.dial_tls(port)
        end.socket.suppress_ragged_eofs = False
        self.assert_echoes(end)
        silent = self.dial(port)
        gateway.signal(signal.SIGTERM)
        self.assertEqual(end.recv_all(), b"")
        end.close()
        self.assertEqual(gateway.wait(), 0)
        silent.close()


# ---- as connect --------------------------------------------------------------


class ConnectTests(TlsTest):
    def fail(self, why, options=None, server_name="server", host="127.0.0.1"):
        """A client is turned away, and the log says why."""
        gateway, server, port = self.dialler(options, host)
        client = self.dial(port)
        with contextlib.suppress(ssl.SSLError, OSError):
            self.accept_tls(server, self.server_context(server_name))
        with self.assertRaises(ConnectionResetError):
            client.recv()
        gateway.await_line(f"refused 127.0.0.1:.*: no TLS with .*: {why}")

    def test_bytes_both_ways(self):
        gateway, server, port = self.dialler()
        client = self.dial(port)
        target = self.accept_tls(server)
        pass_bytes(client, target, random.randbytes(3 * MEGABYTE))
        pass_bytes(target, client, random.randbytes(3 * MEGABYTE))
        target.end_writing()
        self.assertEqual(client.recv_all(), b"")
        client.end_writing()
        self.assertEqual(target.recv_all(), b"")
        gateway.await_line("ended: target closed")

    def test_a_name_is_checked_and_told(self):
        seen = []
        context = self.server_context("other-name")
        context.sni_callback = lambda _, name, __: seen.append(name)
        _, server, port = self.dialler(f",ca={self.ca()},name=b.example")
        client = self.dial(port)
        target = self.accept_tls(server, context)
        pass_bytes(client, target, WORDS)
        self.assertEqual(seen, ["b.example"])

    def test_another_name(self):
        self.fail("the other end's certificate is for a.example, b.example, "
                  "not for localhost", server_name="other-name",
                  host="localhost")

    def test_another_address(self):
        self.fail("the other end's certificate is for a.example, b.example, "
                  "not for 127.0.0.1", server_name="other-name")

    def test_expired(self):
        self.fail("the other end's certificate has expired",
                  server_name="expired")

    def test_self_signed(self):
        self.fail("the other end's certificate is self-signed",
                  server_name="self-signed")

    def test_self_signed_and_trusted(self):
        _, server, port = self.dialler(f",ca={self.ca('self-signed')}")
        client = self.dial(port)
        target = self.accept_tls(server, self.server_context("self-signed"))
        pass_bytes(client, target, WORDS)

    def test_unknown_authority(self):
        self.fail("the other end's certificate was issued by 'ca', which this "
                  "machine does not know", options="")

    def test_other_authority(self):
        self.fail("the other end's certificate was issued by 'ca', which "
                  ".*other-ca.pem does not have",
                  options=f",ca={self.ca('other-ca')}")

    def test_no_tls_there(self):
        gateway, server, port = self.dialler()
        client = self.dial(port)
        target = self.accept(server)
        target.send(b"220 mail.example ESMTP\r\n")
        self.assert_reset(client)
        gateway.await_line("refused .*: the other end does not speak TLS")

    def test_a_server_that_says_nothing(self):
        gateway, server, port = self.dialler(connect_timeout="1s")
        client = self.dial(port)
        self.accept(server)
        self.assert_reset(client)
        gateway.await_line(r"did not answer within 1s .* does not finish the "
                           "TLS handshake; does it speak TLS")

    def test_a_server_that_closes(self):
        gateway, server, port = self.dialler()
        client = self.dial(port)
        self.accept(server).close()
        self.assert_reset(client)
        gateway.await_line("refused .* (closed|broke off) during the handshake")

    def test_a_client_certificate(self):
        _, server, port = self.dialler(
            f",ca={self.ca()},{self.certificates.pair('client')}")
        client = self.dial(port)
        target = self.accept_tls(server, self.server_context(ca="ca"))
        self.assertIn(("DNS", "client.example"),
                      target.socket.getpeercert()["subjectAltName"])
        pass_bytes(client, target, WORDS)

    def test_no_client_certificate(self):
        gateway, server, port = self.dialler()
        client = self.dial(port)
        with self.assertRaises(ssl.SSLError):
            self.accept_tls(server, self.server_context(ca="ca"))
        with contextlib.suppress(ConnectionResetError):
            client.recv_all()
        gateway.await_line("the other end asks for a certificate|"
                           "broke off during the handshake|"
                           "target broke off")

    def test_a_cut_is_told_and_passed_on(self):
        gateway, server, port = self.dialler()
        client = self.dial(port)
        target = self.accept_tls(server)
        target.send(WORDS)
        self.assertEqual(client.recv_exactly(len(WORDS)), WORDS)
        target.close()
        self.assert_reset(client)
        gateway.await_line("ended: 127.0.0.1:.*: the other end was cut off")

    def test_a_client_that_half_closes_gets_its_answer(self):
        _, server, port = self.dialler()
        client = self.dial(port)
        target = self.accept_tls(server)
        client.send(b"question")
        client.end_writing()
        self.assertEqual(target.recv_all(), b"question")
        target.send(WORDS)
        target.end_writing()
        self.assertEqual(client.recv_all(), WORDS)

    def test_a_target_that_does_not_read(self):
        gateway, server, port = self.dialler()
        client = self.dial(port)
        target = self.accept_tls(server)
        sent = client.offer()
        self.assertLess(sent, 64 * MEGABYTE)
        client.end_writing()
        self.assertEqual(len(target.recv_exactly(sent)), sent)
        self.assertEqual(target.recv_all(), b"")
        target.end_writing()
        gateway.await_line("ended: client closed|ended: target closed")

    def test_a_held_client_outlives_its_server(self):
        # With packets the session reads less than a record at a time.
        gateway, server, port = self.dialler(f",ca={self.ca()},pack-until=;",
                                             hold="yes", retry="100ms..100ms")
        client = self.dial(port)
        packet = WORDS[:16000].replace(b";", b".") + b";"
        for _ in range(2):
            target = self.accept_tls(server)
            pass_bytes(client, target, WORDS)
            pass_bytes(target, client, packet)
            target.close()
        self.accept_tls(server)
        client.close()
        gateway.await_line("route r: session 1 with .* ended")

    def test_openssls_server(self):
        holder, target_port = base.free_port()
        holder.close()
        server = subprocess.Popen(
            ["openssl", "s_server", "-quiet", "-rev", "-accept",
             str(target_port), "-cert", self.certificates.path("server.pem"),
             "-key", self.certificates.path("server.key")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        try:
            port = self.port()
            self.start(self.route(
                f"tcp:{port}",
                f"tls:localhost:{target_port},ca={self.ca()}"))

            def is_there():
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", target_port)).close()
                    return True
                return False
            self.await_that(is_there)
            client = self.dial(port)
            client.send(b"hello\n")
            self.assertEqual(client.recv_exactly(6), b"olleh\n")
        finally:
            server.kill()
            server.wait()


# ---- both, and files -----------------------------------------------------------


class BothTests(TlsTest):
    def test_two_gateways(self):
        far, near = self.port(), self.port()
        server, target_port = self.server()
        mutual = f",ca={self.ca()}"
        gateway = self.start(
            self.route(self.listen_text(far, options=mutual),
                       f"tcp:127.0.0.1:{target_port}", "far")
            + self.route(f"tcp:{near}",
                         f"tls:localhost:{far}{mutual},"
                         + self.certificates.pair("client"), "near"))
        client = self.dial(near)
        target = self.accept(server)
        pass_bytes_both_ways(client, target, 4 * MEGABYTE)
        before = self.fds_at_rest(gateway)
        for _ in range(30):
            one = self.dial(near)
            other = self.accept(server)
            pass_bytes(one, other, WORDS)
            one.close()
            self.assertEqual(other.recv_all(), b"")
            other.close()
        self.await_fds(gateway, before)
        # A half-close goes through both, and so does the answer.
        client.end_writing()
        self.assertEqual(target.recv_all(), b"")
        target.send(WORDS)
        target.close()
        self.assertEqual(client.recv_all(), WORDS)
        gateway.await_line("route far: session 1 with .* ended: client closed")

    def test_files_that_are_missing(self):
        config = self.config(self.route(
            f"tls:{self.port()},cert=/nowhere/cert.pem,key=/nowhere/key.pem",
            "echo"))
        done = subprocess.run([base.BTGATE, "check", "-c", config],
                              capture_output=True, text=True, check=True)
        self.assertIn("warning: route r, listen: cannot read "
                      "cert=/nowhere/cert.pem: No such file", done.stderr)
        gateway = self.spawn(["run", "-c", config])
        gateway.await_line("cannot read cert=/nowhere/cert.pem")
        self.assertNotEqual(gateway.wait(), 0)

    def test_files_of_no_use(self):
        path = os.path.join(self.base, "junk")
        with open(path, "w", encoding="ascii") as file:
            file.write("junk\n")
        cert = self.certificates.path("server.pem")
        key = self.certificates.path("server.key")
        other = self.certificates.path("client.key")
        locked = os.path.join(self.base, "locked")
        Certificates.openssl("pkey", "-in", key, "-aes256", "-passout",
                             "pass:secret", "-out", locked)
        for options, why in (
                (f"cert={path},key={key}", "holds no certificate in PEM"),
                (f"cert={cert},key={path}", "holds no private key in PEM"),
                (f"cert={cert},key={other}", "is not the key of the cert"),
                (f"cert={cert},key={locked}", "is locked with a passphrase"),
                (f"cert={cert},key={key},ca={path}", "holds no certificate"),
                (f"cert={self.base},key={key}", "is not a file")):
            with self.subTest(options):
                done = subprocess.run(
                    [base.BTGATE, "check", "-c", self.config(
                        self.route(f"tls:{self.port()},{options}", "echo"))],
                    capture_output=True, text=True, check=True)
                self.assertIn(why, done.stderr)

    def assert_keeps_secrets(self, said, key):
        """Not a line of the key, nor what clients send."""
        with open(key, encoding="ascii") as file:
            lines = [line.strip() for line in file if "-----" not in line]
        self.assertGreater(len(lines), 1)
        for secret in (*lines, "correct horse"):
            self.assertNotIn(secret, said)

    def test_no_secret_is_said(self):
        """Of a key file as what it is, and as all that it is not, by a gateway
        that says as much as it can, check and doctor."""
        port, plain = self.port(), self.port()
        key = os.path.join(self.base, "key")
        cert = self.certificates.path("server.pem")
        other = self.certificates.path("client.pem")
        shutil.copy(self.certificates.path("server.key"), key)
        routes = "".join(
            self.route(f"tls:{self.port()},{options}", "echo", f"r{number}")
            for number, options in enumerate((
                f"cert={other},key={key}", f"cert={key},key={key}",
                f"cert={cert},key={key},ca={key}")))
        text = routes + self.route(f"tls:{port},cert={cert},key={key}", "echo",
                                   "good") + self.route(
            f"tcp:{plain}", f"tls:localhost:{port},ca={self.ca()}", "plain")
        gateway = self.start(text, 2, ["-v", "-v"])
        for words in (b"correct horse", b"battery staple, correct horse"):
            self.assert_echoes(self.dial(plain), words)
            self.assert_echoes(self.dial_tls(port), words)
            # One who does not speak TLS, and says it all the same.
            end = self.dial(port)
            end.send(words)
            with contextlib.suppress(ConnectionError):
                end.recv_all()
            # The key becomes a wrong one while it runs.
            shutil.copy(self.certificates.path("client.key"), key)
        gateway.await_line("go on being used")
        gateway.signal(signal.SIGHUP)
        gateway.await_line("in force")
        self.assertEqual(gateway.stop(), 0, gateway.log())
        said = gateway.log()
        shutil.copy(self.certificates.path("server.key"), key)
        for command in ("check", "doctor"):
            done = subprocess.run(
                [base.BTGATE, command, "-v", "-v", "-c", self.config(text)],
                capture_output=True, text=True, check=False)
            self.assertIn("is not the key of the cert", done.stdout + done.stderr)
            said += done.stdout + done.stderr
        self.assert_keeps_secrets(said, key)
        self.assert_keeps_secrets(said, self.certificates.path("client.key"))

    def test_the_connect_command(self):
        port = self.port()
        self.start(self.route(self.listen_text(port), "echo"))
        done = subprocess.run(
            [base.BTGATE, "connect", f"tls:localhost:{port},ca={self.ca()}"],
            input=WORDS, timeout=PATIENCE_S, stdout=subprocess.PIPE,
            check=True)
        self.assertEqual(done.stdout, WORDS)


if __name__ == "__main__":
    sys.exit(base.main())
