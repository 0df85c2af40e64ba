# SPDX-License-Identifier: MIT
"""A program that is loaded once, and lives as often as it is asked to, each time
short of another allocation (tests/fail_malloc.c)."""

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess


class Lives:
    """routes is how many of them a life begins with; patience_s for how long it
    may be silent while something is expected of it."""

    def __init__(self, preload, command, routes, patience_s, **options):
        self.routes = routes
        self.patience_s = patience_s
        self.socket, theirs = socket.socketpair(socket.AF_UNIX,
                                                socket.SOCK_SEQPACKET)
        self.socket.settimeout(patience_s)
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            env={**os.environ, "LD_PRELOAD": preload,
                 "FAIL_MALLOC_SOCKET": str(theirs.fileno())}, **options)
        theirs.close()
        os.set_blocking(self.process.stderr.fileno(), False)
        self.log, self.seen, self.pid = b"", 0, 0

    def begin(self, at):
        """Whether its routes have begun; else it has ended. None fails at 0."""
        self.log, self.seen = b"", 0
        self.socket.send(struct.pack("i", at))
        self.pid, = struct.unpack("i", self.socket.recv(4))
        return all(self.await_log(b"-> listening", b"-> waiting")
                   for _ in range(self.routes))

    def await_that(self, condition):
        """Looked at whenever it has said something; false: it has ended before."""
        while not condition():
            ready = select.select([self.process.stderr, self.socket], [], [],
                                  self.patience_s)[0]
            said = self.process.stderr in ready and self.process.stderr.read()
            if said:
                self.log += said
            elif said == b"" or self.socket in ready:
                return False
            else:
                raise AssertionError(f"it says nothing of it: {self.log}")
        return True

    def await_log(self, *words):
        """The next that it says of these; false: it has ended before."""
        def find():
            found = [at + len(word) for word in words
                     if (at := self.log.find(word, self.seen)) >= 0]
            self.seen = min(found, default=self.seen)
            return bool(found)
        return self.await_that(find)

    def has_ended(self):
        return bool(select.select([self.socket], [], [], 0)[0])

    def end(self):
        """Its exit status, and whether there was such an allocation."""
        self.kill(signal.SIGTERM)
        status, has_failed = struct.unpack("ii", self.socket.recv(8))
        self.pid = 0
        self.log += self.process.stderr.read() or b""
        return os.waitstatus_to_exitcode(status), bool(has_failed)

    def kill(self, number):
        """It may have ended by itself."""
        if self.pid and not self.has_ended():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def close(self):
        self.kill(signal.SIGKILL)  # where a test has failed
        self.socket.close()
        self.process.wait(self.patience_s)
        self.process.stderr.close()
