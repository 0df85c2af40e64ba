# SPDX-License-Identifier: MIT
"""What one file with more and more routes costs: its check, the start, a reload,
and a message through one of them while the others wait."""

import os
import socket
import statistics
import subprocess
import time

from measure import (BTGATE, Failure, Load, Part, Relay, cpu_s, free_port,
                     memory_bytes)


# A command begins and ends for longer than it looks at a hundred routes.
COMMANDS_IN_ROUND = 5


class ScaleRoutes(Part):
    name = "scale-routes"
    grows_with = "routes"
    seconds = 1
    environment = {}  # of the gateway

    def listens(self, case):
        """What the routes listen at that are there beside the one that is used."""
        raise NotImplementedError

    def measure(self, kind, case):
        if kind.name != "btgate":
            return None
        routes = Routes(self.directory, self.listens(case), self.environment)
        found = {"check ms": routes.check_ms(), "start ms": routes.start_ms()}
        try:
            found["memory KiB"] = memory_bytes(routes.process.pid) / 1024
            # The others' records, files and ports stay as they are.
            found["reload ms, one route changed"] = routes.reload_ms()
            spent = cpu_s(routes.process.pid)
            got = Load("ping", routes, "-b", 20, "-t", self.seconds).result()
            spent = cpu_s(routes.process.pid) - spent
            found["CPU us/message"] = 1e6 * spent / got["requests"] / 2
        finally:
            routes.stop()
        return found


class Routes(Relay):
    """A gateway with many routes in one file; the first is used."""

    name = "btgate"

    def __init__(self, directory, listens, environment):
        super().__init__(directory)
        self.environment = environment
        port, self.target_port = free_port(), free_port()
        self.listens = [f"tcp:127.0.0.1:{port}", *listens]
        self.client, self.target = f"tcp:{port}", f"tcp:{self.target_port}"
        self.generation = 0
        self.conf = self.path("routes.conf")
        self.write_routes()

    def write_routes(self):
        self.generation += 1
        with open(self.conf, "w", encoding="utf-8") as file:
            file.write(f"[gateway]\ncontrol = unix:{self.directory}/routes\n")
            for number, listen in enumerate(self.listens):
                # What changes is the last one: the first one is measured.
                is_changed = number == len(self.listens) - 1
                seconds = 3600 + (self.generation if is_changed else 0)
                file.write(f"[route route{number}]\n"
                           f"listen = {listen}\n"
                           f"connect = tcp:127.0.0.1:{self.target_port}\n"
                           f"idle-timeout = {seconds}s\n")

    def timed_ms(self, *command):
        begun = time.monotonic()
        done = subprocess.run([BTGATE, *command, "-c", self.conf],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failure(f"{command[0]}: {done.stderr[-500:]}")
        return 1000 * (time.monotonic() - begun)

    def check_ms(self):
        return statistics.median(self.timed_ms("check")
                                 for _ in range(COMMANDS_IN_ROUND))

    def reload_ms(self):
        found = []
        for _ in range(COMMANDS_IN_ROUND):
            self.write_routes()
            found.append(self.timed_ms("reload"))
        return statistics.median(found)

    def start_ms(self):
        """Until it tells the service manager that it is ready."""
        path = f"{self.directory}/notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(path)
            manager.settimeout(1)
            begun = time.monotonic()
            self.process = subprocess.Popen(
                [BTGATE, "run", "-q", "-c", self.conf], start_new_session=True,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self.environment, "NOTIFY_SOCKET": path})
            try:
                while not self.is_ready(manager):
                    if (self.process.poll() is not None or
                            time.monotonic() > begun + 60):
                        raise Failure("it does not become ready")
            except Failure:
                self.stop()
                raise
            finally:
                os.unlink(path)
            return 1000 * (time.monotonic() - begun)

    def is_ready(self, manager):
        try:
            return b"READY=1" in manager.recv(4096)
        except TimeoutError:
            return False
