#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""btgate beside what people would use instead, on this machine.

usage: bench.py [--rounds N] [--only PART[,PART]...] [--output FILE]
       bench.py --table FILE      the table of results that there are
       bench.py --plot FILE SVG   their plot

Parts: bulk, ping, churn, idle, stall, calls, pty. All relays run one after
the other in each round, in an order that changes with it; what is printed is the
median of the rounds and, behind it, how far they went from it. Every byte that
went through was compared (see load.c). A relay that is not installed is left out,
and that is said.

BTGATE, LOAD and RELAY name the programs; make bench sets them.
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

BTGATE = os.path.abspath(os.environ.get("BTGATE", "btgate"))
LOAD = os.path.abspath(os.environ.get("LOAD", "build/bench/load"))
RELAY = os.path.abspath(os.environ.get("RELAY", "build/bench/relay"))
PATIENCE_S = 20
TICKS = os.sysconf("SC_CLK_TCK")
MEGABYTE = 1000 * 1000


class Failure(Exception):
    """A relay did not do what it was asked."""


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def await_true(what, is_so):
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {PATIENCE_S} s")
        time.sleep(0.01)


def is_listening(port):
    """Without connecting: a relay would dial its target for that."""
    wanted = f":{port:04X} "
    with open("/proc/net/tcp", encoding="ascii") as table:
        return any(wanted in line and line.split()[3] == "0A" for line in table)


# ---- what a process has cost ---------------------------------------------------


def processes_of(group):
    """The processes of a process group."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.getpgid(int(name)) == group:
                    found.append(int(name))
            except ProcessLookupError:
                pass
    return found


def cpu_s(group):
    """Processor time of a group so far, with the children that have ended."""
    total = 0
    for pid in processes_of(group):
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            total += sum(int(field) for field in fields[11:15])
        except FileNotFoundError:
            pass
    return total / TICKS


def memory_bytes(group):
    """What is the group's own, shared pages in part (Pss)."""
    total = 0
    for pid in processes_of(group):
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
                total += sum(int(line.split()[1]) * 1024 for line in file
                             if line.startswith("Pss:"))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return total


def wakeups(group):
    total = 0
    for pid in processes_of(group):
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            total += sum(int(line.split()[1]) for line in file
                         if line.startswith("voluntary_ctxt_switches"))
    return total


# ---- relays ----------------------------------------------------------------------


class Relay:
    """One of those that are compared: how it is started, and what it can."""

    name = ""
    program = ""  # what it needs; none: nothing
    settings = ""
    slowness = 1  # so many times fewer bytes, to end in time
    most_sessions = 100000
    kinds = ("tcp",)  # of targets

    def __init__(self, directory):
        self.directory = directory
        self.process = None
        self.port = None

    def is_there(self):
        return not self.program or shutil.which(self.program)

    def version(self):
        return ""

    def command(self, port, target):
        """The argument vector that relays port to target."""
        raise NotImplementedError

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def start(self, target):
        self.port = free_port()
        with open(self.path(f"{self.name}.log"), "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                self.command(self.port, target), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True)
        await_true(f"{self.name} listens", lambda: is_listening(self.port))
        kind, _, path = target.partition(":")
        if kind == "pty":
            await_true(f"{self.name} has made {path}",
                       lambda: os.path.exists(path))

    def group(self):
        return self.process.pid

    def stop(self):
        for sent in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, sent)
                self.process.wait(3)
                break
            except subprocess.TimeoutExpired:
                pass
            except ProcessLookupError:
                break
        self.process.wait()
        # What it has forked may take a moment longer, and hold its port.
        await_true(f"{self.name} has gone",
                   lambda: not processes_of(self.process.pid))

    def said(self):
        with open(self.path(f"{self.name}.log"), encoding="utf-8") as log:
            return log.read()[-2000:]


def first_line(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return ((done.stdout or done.stderr).strip().splitlines() or [""])[0]


class Direct(Relay):
    name = "direct"
    settings = "no relay: the limit of this machine and of the generator"

    def start(self, target):
        self.port = int(target.partition(":")[2])

    def group(self):
        return None

    def stop(self):
        pass


class Reference(Relay):
    name = "reference"
    program = RELAY
    settings = "tests/bench/relay.c: libevent events, one 64 KiB buffer"

    def command(self, port, target):
        return [RELAY, str(port), target.partition(":")[2]]


class Btgate(Relay):
    name = "btgate"
    program = BTGATE
    settings = "as shipped"
    kinds = ("tcp", "pty")

    def version(self):
        return first_line(BTGATE, "--version")

    def command(self, port, target):
        return [BTGATE, "run", "-q", "-c", self.write("btgate.conf", f"""
[gateway]
control = unix:{self.path("control")}
[route bench]
listen = tcp:{port}
connect = {target.replace("tcp:", "tcp:127.0.0.1:")}
""")]


class Socat(Relay):
    name = "socat"
    program = "socat"
    settings = "as shipped (8 KiB buffer), a process for each session"
    most_sessions = 1000
    kinds = ("tcp", "pty")

    def version(self):
        return next((line for line in subprocess.run(
            ["socat", "-V"], capture_output=True, text=True,
            check=False).stdout.splitlines() if "version" in line), "")

    def command(self, port, target):
        kind, _, place = target.partition(":")
        other = {"tcp": f"TCP:127.0.0.1:{place},nodelay",
                 "pty": f"PTY,link={place},raw,echo=0"}[kind]
        fork = "" if kind == "pty" else ",fork"
        own = f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,nodelay,backlog=4096"
        # A pty is there before anybody connects only if it comes first.
        return ["socat", other, own] if kind == "pty" else [
            "socat", own + fork, other]


class Haproxy(Relay):
    name = "haproxy"
    program = "haproxy"
    settings = "mode tcp, one thread"

    def version(self):
        return first_line("haproxy", "-v")

    def command(self, port, target):
        return ["haproxy", "-db", "-f", self.write("haproxy.cfg", f"""
global
    nbthread 1
    maxconn {most_sessions()}
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen bench
    bind 127.0.0.1:{port} backlog 4096
    server target 127.0.0.1:{target.partition(":")[2]}
""")]


class Ser2net(Relay):
    name = "ser2net"
    program = "ser2net"
    settings = "as shipped, one connection"
    slowness = 100
    most_sessions = 1
    options = ""

    def version(self):
        return first_line("ser2net", "-v")

    def command(self, port, target):
        return ["ser2net", "-n", "-d", "-c", self.write(self.name + ".yaml", f"""
connection: &bench
    accepter: tcp(nodelay),127.0.0.1,{port}
    connector: tcp,127.0.0.1,{target.partition(":")[2]}
{self.options}
""")]


class Ser2netTuned(Ser2net):
    name = "ser2net-tuned"
    settings = "chardelay: false, 64 KiB buffers"
    slowness = 10
    options = """    options:
        chardelay: false
        net-to-dev-bufsize: 65536
        dev-to-net-bufsize: 65536
"""


RELAYS = (Direct, Reference, Btgate, Haproxy, Socat, Ser2net, Ser2netTuned)


# ---- the generator -----------------------------------------------------------------


class Load:
    def __init__(self, mode, client, target, *options):
        self.process = subprocess.Popen(
            [LOAD, mode, client, target, *map(str, options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)

    def line(self):
        """What it says once it has measured, or holds what was asked for."""
        line = self.process.stdout.readline()
        if not line:
            raise Failure(self.process.communicate()[1].strip())
        return line

    def end(self):
        self.process.communicate()
        if self.process.returncode:
            raise Failure(f"load: exit status {self.process.returncode}")

    def result(self):
        found = json.loads(self.line())
        self.end()
        return found


# ---- what is measured ----------------------------------------------------------------
#
# Each part yields its cases; a case measures one relay once and returns what it
# found by the name of the figure.


class Part:
    def __init__(self, directory):
        self.directory = directory

    def target(self):
        return f"tcp:{free_port()}"

    def with_relay(self, kind, work):
        """work(relay, target) with a fresh one; what it returns, or None."""
        relay = kind(self.directory)
        target = self.target()
        try:
            relay.start(target)
            try:
                return work(relay, target)
            finally:
                relay.stop()
        except Failure as failure:
            print(f"bench: {relay.name}: {failure}\n{relay.said()}"
                  if relay.process else f"bench: {relay.name}: {failure}",
                  file=sys.stderr)
            return None


class Bulk(Part):
    name = "bulk"
    total = 400 * MEGABYTE  # of a direction, by all sessions together

    def cases(self):
        for sessions in (1, 8, 100):
            for way in ("up", "down", "both"):
                yield f"{sessions} {way}", (sessions, way)

    def measure(self, kind, case):
        sessions, way = case
        if sessions > kind.most_sessions:
            return None

        def work(relay, target):
            size = self.total // sessions // kind.slowness
            before = cpu_s(relay.group()) if relay.group() else 0
            got = Load("bulk", f"tcp:{relay.port}", target, "-s", sessions,
                       "-b", size, "-d", way).result()
            spent = cpu_s(relay.group()) - before if relay.group() else 0
            return {"MB/s": got["bytes"] / got["seconds"] / MEGABYTE,
                    "CPU s/GB": spent / (got["bytes"] / 1e9)}

        return self.with_relay(kind, work)


class Ping(Part):
    name = "ping"
    seconds = 1

    def cases(self):
        for size in (1, 20, 100, 1000):
            yield f"{size} B", (size, ())
        # So that a queue shows: what waits counts from when it was due.
        yield "20 B, 2000 a second", (20, ("-r", 2000))

    def measure(self, kind, case):
        size, options = case

        def work(relay, target):
            got = Load("ping", f"tcp:{relay.port}", target, "-s", 1, "-b", size,
                       "-t", self.seconds, *options).result()
            return {"p50 us": got["p50_us"], "p99 us": got["p99_us"]}

        return self.with_relay(kind, work)


class Churn(Part):
    name = "churn"

    def cases(self):
        yield "1 at a time", 1
        yield "16 at a time", 16

    def measure(self, kind, case):
        if kind.most_sessions < 100:
            return None
        return self.with_relay(kind, lambda relay, target: {
            "connections/s": (lambda got: got["connections"] / got["seconds"])(
                Load("churn", f"tcp:{relay.port}", target, "-s", case, "-t",
                     1).result())})


def most_sessions():
    """A session is two descriptors of the generator, and of a relay."""
    return (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 100) // 2


class Idle(Part):
    name = "idle"
    seconds = 2

    def cases(self):
        for count in (1000, min(10000, most_sessions())):
            yield f"{count}", (count, 0)
            yield f"{count} after a burst", (count, 20000)

    def measure(self, kind, case):
        sessions, burst = case
        if sessions > kind.most_sessions or kind is Direct:
            return None

        def work(relay, target):
            before = memory_bytes(relay.group())
            load = Load("idle", f"tcp:{relay.port}", target, "-s", sessions,
                        "-b", burst)
            load.line()
            after = memory_bytes(relay.group())
            woken, spent = wakeups(relay.group()), cpu_s(relay.group())
            time.sleep(self.seconds)  # what is measured is that time
            woken = wakeups(relay.group()) - woken
            spent = cpu_s(relay.group()) - spent
            load.end()
            return {"bytes/session": (after - before) / sessions,
                    "wake-ups/s": woken / self.seconds,
                    "CPU %": 100 * spent / self.seconds}

        return self.with_relay(kind, work)


class Stall(Part):
    name = "stall"

    def cases(self):
        yield "20 targets that never read", 20

    def measure(self, kind, case):
        if case > kind.most_sessions or kind is Direct:
            return None

        def work(relay, target):
            before = memory_bytes(relay.group())
            load = Load("stall", f"tcp:{relay.port}", target, "-s", case, "-b",
                        100 * MEGABYTE)
            taken = json.loads(load.line())["taken"]
            grown = memory_bytes(relay.group()) - before
            load.end()
            return {"KiB/direction": grown / case / 1024,
                    "MB taken": taken / MEGABYTE}

        return self.with_relay(kind, work)


class Calls(Part):
    """System calls for a message, counted by strace."""

    name = "calls"
    seconds = 2

    def cases(self):
        yield "20 B", 20

    def measure(self, kind, case):
        if kind is Direct or not shutil.which("strace"):
            return None

        def work(relay, target):
            output = os.path.join(self.directory, "strace")
            load = Load("ping", f"tcp:{relay.port}", target, "-s", 1, "-b", case,
                        "-t", self.seconds)
            time.sleep(0.3)  # who forks for a connection has done so
            tracer = subprocess.Popen(
                ["strace", "-f", "-qq", "-o", output, *[
                    word for pid in processes_of(relay.group())
                    for word in ("-p", str(pid))]],
                stderr=subprocess.DEVNULL)
            load.result()
            tracer.send_signal(signal.SIGINT)
            tracer.wait()
            with open(output, encoding="utf-8", errors="replace") as file:
                lines = [line.split(None, 1)[1] for line in file
                         if "resumed" not in line]
            # A message passes twice, there and back: two writes.
            writes = sum(line.startswith(("write(", "writev(", "send", "splice("))
                         for line in lines)
            return {"system calls/message": len(lines) / max(writes, 1)}

        return self.with_relay(kind, work)


class Pty(Part):
    name = "pty"

    def target(self):
        return f"pty:{self.directory}/port"

    def cases(self):
        for way in ("up", "down", "both"):
            yield f"TCP to pty, {way}", way

    def measure(self, kind, case):
        if "pty" not in kind.kinds:
            return None

        def work(relay, target):
            got = Load("bulk", f"tcp:{relay.port}", target, "-s", 1, "-b",
                       20 * MEGABYTE, "-d", case).result()
            return {"MB/s": got["bytes"] / got["seconds"] / MEGABYTE}

        return self.with_relay(kind, work)


PARTS = (Bulk, Ping, Churn, Idle, Stall, Calls, Pty)


# ---- the rounds ------------------------------------------------------------------------


def run_rounds(parts, relays, rounds):
    """{part: {case: {relay: {figure: [a value a round]}}}}"""
    results = {}
    with tempfile.TemporaryDirectory(prefix="btgate-bench-") as directory:
        for number in range(rounds):
            for kind in parts:
                part = kind(directory)
                for name, case in part.cases():
                    turn = number % len(relays)
                    for relay in relays[turn:] + relays[:turn]:
                        found = part.measure(relay, case)
                        of_case = results.setdefault(part.name, {}).setdefault(
                            name, {})
                        for figure, value in (found or {}).items():
                            of_case.setdefault(relay.name, {}).setdefault(
                                figure, []).append(value)
                print(f"round {number + 1} of {rounds}: {part.name}",
                      file=sys.stderr, flush=True)
    return results


def machine():
    model = ""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
    return {"kernel": platform.release(), "processors": os.cpu_count(),
            "model": model}


# ---- what is made of it -------------------------------------------------------------------


def spread(values):
    """The median, and how far the middle half is from it."""
    median = statistics.median(values)
    return f"{median:.3g} ±{max(abs(value - median) for value in values):.2g}"


def print_tables(results):
    print(f"{results['machine']['processors']} processors, "
          f"{results['machine']['model']}, Linux {results['machine']['kernel']}; "
          f"{results['rounds']} rounds\n")
    for relay in results["relays"]:
        print(f"- {relay['name']}: {relay['settings']}"
              + (f" ({relay['version']})" if relay["version"] else ""))
    for part, cases in results["parts"].items():
        figures = []
        for by_relay in cases.values():
            for found in by_relay.values():
                figures += [name for name in found if name not in figures]
        names = [relay["name"] for relay in results["relays"]
                 if any(relay["name"] in by_relay for by_relay in cases.values())]
        for figure in figures:
            print(f"\n**{part}**, {figure}\n")
            print("| | " + " | ".join(names) + " |")
            print("| --- " * (len(names) + 1) + "|")
            for case, by_relay in cases.items():
                cells = [spread(by_relay[name][figure])
                         if figure in by_relay.get(name, {}) else ""
                         for name in names]
                if any(cells):
                    print(f"| {case} | " + " | ".join(cells) + " |")


def plot(results, path):
    """Throughput of all relays as an SVG, by gnuplot."""
    cases = results["parts"]["bulk"]
    names = [relay["name"] for relay in results["relays"]
             if relay["name"] in cases["1 up"]]
    rows = [" ".join(['"case"'] + [f'"{name}"' for name in names])]
    for case, by_relay in cases.items():
        cells = [str(statistics.median(by_relay[name]["MB/s"]))
                 if name in by_relay else "NaN" for name in names]
        rows.append(" ".join([f'"{case}"', *cells]))
    script = f"""
set terminal svg size 900,420 font "sans,12" background "white"
set output "{path}"
set title "TCP to TCP through a relay (sessions, direction)"
set ylabel "MB/s"
set yrange [0:*]
set grid ytics
set key outside right
set style data histograms
set style histogram clustered gap 1
set style fill solid 0.8 border -1
$data << END
{chr(10).join(rows)}
END
plot for [i=2:{len(names) + 1}] $data using i:xtic(1) title columnheader(i)
"""
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--only", default=",".join(part.name for part in PARTS))
    parser.add_argument("--output", default="build/bench/results.json")
    parser.add_argument("--table")
    parser.add_argument("--plot", nargs=2)
    options = parser.parse_args()
    if options.table or options.plot:
        with open(options.table or options.plot[0], encoding="utf-8") as file:
            results = json.load(file)
        if options.table:
            print_tables(results)
        else:
            plot(results, options.plot[1])
        return 0
    with contextlib.suppress(ValueError, OSError):  # root may
        resource.setrlimit(resource.RLIMIT_NOFILE, (65536, 65536))
    parts = [part for part in PARTS if part.name in options.only.split(",")]
    relays = []
    for relay in RELAYS:
        if relay("").is_there():
            relays.append(relay)
        else:
            print(f"bench: no {relay.program} here, left out", file=sys.stderr)
    results = {
        "machine": machine(), "rounds": options.rounds,
        "relays": [{"name": relay.name, "settings": relay.settings,
                    "version": relay("").version()} for relay in relays],
        "parts": run_rounds(parts, relays, options.rounds),
    }
    with open(options.output, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
    print_tables(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
