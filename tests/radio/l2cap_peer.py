#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Other ends for tests/radio/l2cap, on the kernel's own sockets.

usage: l2cap_peer.py unix-records PATH | unix-silent PATH | unix-client PATH
       l2cap_peer.py frames COUNT BYTES
       l2cap_peer.py unix-frames PATH COUNT BYTES
       l2cap_peer.py unix-send-frames PATH COUNT BYTES
       l2cap_peer.py echo OWN PEER PSM MODE COUNT BYTES
       l2cap_peer.py lossy OWN PEER PSM MODE COUNT
       l2cap_peer.py records OWN PEER PSM | flood OWN PEER PSM MODE
       l2cap_peer.py hear OWN PEER PSM | unix-send PATH SIZE...
       l2cap_peer.py record-server OWN PSM | stream-server OWN PSM MODE
       l2cap_peer.py silent-server OWN PSM | pulse PORT
       l2cap_peer.py burst OWN PEER PSM PID COUNT BYTES | held OWN
       l2cap_peer.py burst-server OWN PSM PID COUNT BYTES | poke PORT
       l2cap_peer.py flood-server OWN PSM | late-server OWN PSM
"""

import contextlib
import errno
import os
import signal
import socket
import struct
import sys
import threading
import time

SOL_L2CAP = 6
SOL_BLUETOOTH = 274
BT_DEFER_SETUP = 7
L2CAP_OPTIONS = 1
OPTIONS = "HHHBBBxH"
MODES = {"basic": 0, "ertm": 3, "streaming": 4}
# One byte, the odd, what just fits the default MTU, and more.
SIZES = [1, 2, 3, 48, 671, 672, 673, 1000, 1, 4000, 17]


def l2cap_socket():
    return socket.socket(socket.AF_BLUETOOTH, socket.SOCK_SEQPACKET,
                         socket.BTPROTO_L2CAP)


def l2cap(own, mode="ertm", mtu=8192, psm=0):
    sock = l2cap_socket()
    sock.bind((own, psm))
    size = struct.calcsize(OPTIONS)
    omtu, _, flush, _, fcs, tries, window = struct.unpack(
        OPTIONS, sock.getsockopt(SOL_L2CAP, L2CAP_OPTIONS, size))
    sock.setsockopt(SOL_L2CAP, L2CAP_OPTIONS, struct.pack(
        OPTIONS, omtu, mtu, flush, MODES[mode], fcs, tries, window))
    if not psm: # a server waits for as long as it takes
        sock.settimeout(60)
    return sock


def frames(count, size):
    """What l2test sends and looks for."""
    for number in range(int(count)):
        yield struct.pack("<IH", number, int(size)) + (int(size) - 6) * b"\x7f"


def records():
    return [bytes((size + i) & 255 for i in range(size)) for size in SIZES]


def talk(sock):
    """Each record is to come back as it was."""
    for record in records():
        sock.send(record)
        back = sock.recv(65536)
        assert back == record, (len(record), len(back))
    for record in records():
        sock.send(record)
    for record in records():
        back = sock.recv(65536)
        assert back == record, (len(record), len(back))
    sock.close()


def echo(client):
    client.settimeout(60)
    with client, contextlib.suppress(OSError):
        while data := client.recv(65536):
            client.send(data)


def echo_each(sock):
    sock.settimeout(None)  # the next client may take its time
    while True:
        threading.Thread(target=echo, args=(sock.accept()[0],),
                         daemon=True).start()


def unix_server(path, kind):
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(path)
    sock.listen(5)
    return sock


def server(own, psm, mode="ertm"):
    sock = l2cap(own, mode, 672, int(psm, 0))
    sock.listen(5)
    print("Waiting for connection", flush=True)
    return sock


def burst(sock, pid, count, size):
    """All of it arrives while that process does nothing."""
    # Closed only when the other side has said so, behind all that was sent.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                    struct.pack("ii", 1, 60))
    sock.setblocking(True)
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(count):
            sock.send(bytes(size))
        sock.close()
    finally:
        os.kill(pid, signal.SIGCONT)


def pulse(port):
    """How long the longest of many round trips took, when it is ended, in ms."""
    longest = begun = 0

    def say(*_):
        print(round(1000 * max(longest, time.monotonic() - begun)))
        sys.exit()

    with socket.create_connection(("127.0.0.1", port), 60) as sock:
        begun = time.monotonic()
        signal.signal(signal.SIGTERM, say)
        while True:
            sock.sendall(b".")
            assert sock.recv(1) == b"."
            now = time.monotonic()
            longest, begun = max(longest, now - begun), now


def main(what, *args):
    if what == "unix-records":
        echo_each(unix_server(args[0], socket.SOCK_SEQPACKET))
    elif what == "unix-silent":
        clients = []
        sock = unix_server(args[0], socket.SOCK_STREAM)
        while True:
            clients.append(sock.accept()[0])
    elif what == "unix-client":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(60)
        sock.connect(args[0])
        talk(sock)
    elif what == "echo":
        own, peer, psm, mode, count, size = args
        sock = l2cap(own, mode, 672)
        sock.connect((peer, int(psm, 0)))
        data = bytes(i & 255 for i in range(int(size)))
        for _ in range(int(count)):
            sock.send(data)
            back = b""
            while len(back) < len(data):
                back += sock.recv(65536)
            assert back == data
        sock.close()
    elif what == "lossy":
        # Without retransmission over a link that loses frames: what comes back is
        # whole and in order, and the rest is missing.
        own, peer, psm, mode, count = args
        sock = l2cap(own, mode, 2000)
        sock.connect((peer, int(psm, 0)))
        sock.settimeout(0.3) # what comes later is met by the next one's
        back = []
        for number in range(int(count)):
            sock.send(struct.pack("<H", number) * 300)
            with contextlib.suppress(TimeoutError):
                back.append(sock.recv(65536))
        numbers = [struct.unpack_from("<H", record)[0] for record in back]
        assert back == [struct.pack("<H", number) * 300 for number in numbers]
        assert numbers == sorted(set(numbers)), numbers
        print(int(count) - len(numbers), "lost")
        # How many it is depends on where in a record each loss comes.
        assert 0 < len(numbers) < int(count)
        sock.close()
    elif what == "records":
        own, peer, psm = args
        sock = l2cap(own)
        sock.connect((peer, int(psm, 0)))
        talk(sock)
    elif what == "hear":
        own, peer, psm = args
        sock = l2cap(own)
        sock.connect((peer, int(psm, 0)))
        print(sock.recv(65536).decode(), end="")
        sock.close()
    elif what == "frames":
        sys.stdout.buffer.write(b"".join(frames(*args)))
    elif what == "unix-frames":
        sock = unix_server(args[0], socket.SOCK_SEQPACKET)
        clients = []
        while True:
            clients.append(sock.accept()[0])
            for frame in frames(*args[1:]):
                clients[-1].send(frame)
    elif what in ("unix-send", "unix-send-frames"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(args[0])
        for record in (frames(*args[1:]) if what == "unix-send-frames" else
                       [bytes(int(size)) for size in args[1:]]):
            sock.send(record)
        sock.recv(1) # until the other one has read them, and leaves
    elif what == "flood":
        own, peer, psm, mode = args
        sock = l2cap(own, mode, 672)
        sock.connect((peer, int(psm, 0)))
        deadline = time.monotonic() + 60
        try:
            while time.monotonic() < deadline:
                sock.send(bytes(600))
        except OSError:
            return # cut off, as it should be
        raise SystemExit("nobody minded the flood")
    elif what == "record-server":
        own, psm = args
        sock = l2cap(own, psm=int(psm, 0))
        sock.listen(5)
        echo_each(sock)
    elif what == "late-server":
        # Lets its first client in once it is told so, and then it is too late.
        sock = l2cap(args[0], "basic", psm=int(args[1], 0))
        sock.setsockopt(SOL_BLUETOOTH, BT_DEFER_SETUP, 1)
        sock.listen(5)
        first = sock.accept()[0]
        sys.stdin.readline()
        first.recv(1) # which lets it in
        while True:
            client = sock.accept()[0]
            client.recv(1)
            threading.Thread(target=echo, args=(client,), daemon=True).start()
    elif what == "silent-server":
        sock = server(*args)
        clients = []
        while True:
            clients.append(sock.accept()[0])
    elif what == "burst":
        own, peer, psm, pid, count, size = args
        sock = l2cap(own, "basic", 672)
        sock.connect((peer, int(psm, 0)))
        burst(sock, int(pid), int(count), int(size))
    elif what == "burst-server":
        sock = server(args[0], args[1], "basic")
        while True:
            client = sock.accept()[0]
            if client.recv(1): # it is there for good
                burst(client, *map(int, args[2:]))
    elif what == "poke":
        with socket.create_connection(("127.0.0.1", int(args[0]))) as sock:
            sock.sendall(b".")
            with contextlib.suppress(ConnectionResetError):
                while sock.recv(65536):
                    pass
    elif what == "flood-server":
        sock = server(*args, "basic")
        client = sock.accept()[0]
        with contextlib.suppress(OSError):
            while True:
                client.send(bytes(600))
    elif what == "held":
        for psm in range(0x1001, 0x1100, 2):
            with l2cap_socket() as sock:
                try:
                    sock.bind((args[0], psm))
                except OSError as error:
                    assert error.errno == errno.EADDRINUSE, error
                    print(f"0x{psm:04x}")
    elif what == "pulse":
        pulse(int(args[0]))
    elif what == "stream-server":
        own, psm, mode = args
        echo_each(server(own, psm, mode))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
