#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A relay as one writes it with PyBluez in an afternoon: a thread for each
direction of a session. For the benchmark, to be measured beside.

usage: pybluez_relay.py LISTEN CONNECT

  LISTEN   rfcomm:CHANNEL tcp:PORT
  CONNECT  tcp:PORT pty:PATH rfcomm:ADDRESS/CHANNEL
"""
import os
import pty
import socket
import sys
import threading
import tty

import bluetooth


class Port:
    """A pty that speaks like a socket."""

    def __init__(self, path):
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        os.symlink(os.ttyname(self.slave), path)

    def recv(self, size):
        return os.read(self.master, size)

    def send(self, data):
        return os.write(self.master, data)

    def close(self):
        pass


def listen(endpoint):
    kind, _, place = endpoint.partition(":")
    if kind == "rfcomm":
        server = bluetooth.BluetoothSocket(bluetooth.RFCOMM)
        server.bind(("", int(place)))
        server.listen(16)
        return server
    return socket.create_server(("127.0.0.1", int(place)))


def connect(endpoint):
    kind, _, place = endpoint.partition(":")
    if kind == "rfcomm":
        address, _, channel = place.partition("/")
        target = bluetooth.BluetoothSocket(bluetooth.RFCOMM)
        target.connect((address, int(channel)))
        return target
    return socket.create_connection(("127.0.0.1", int(place)))


def pump(source, sink):
    try:
        while data := source.recv(4096):
            while data:
                data = data[sink.send(data):]
    except OSError:
        pass  # how RFCOMM says end of stream
    source.close()
    sink.close()


def main(listen_endpoint, connect_endpoint):
    port = (Port(connect_endpoint.partition(":")[2])
            if connect_endpoint.startswith("pty:") else None)
    server = listen(listen_endpoint)
    while True:
        client = server.accept()[0]
        target = port or connect(connect_endpoint)
        for ends in ((client, target), (target, client)):
            threading.Thread(target=pump, args=ends, daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
