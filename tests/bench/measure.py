# SPDX-License-Identifier: MIT
"""What the benchmarks of this directory share: relays that are started one after
the other, the generator (load.c) that is put on them, what a process has cost,
the rounds, and the tables and plots of what was found.

Knows how to measure and to show, and that it is btgate that is looked at; does not
know which other relays, and what of them.
BTGATE, LOAD and RELAY name the programs; the Makefile sets them.
"""

import argparse
import collections
import contextlib
import glob
import json
import math
import operator
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


def place_of(endpoint):
    """What is behind the kind: tcp:PORT, unix:PATH, pty:PATH, rfcomm:CHANNEL,
    rfcomm:ADDRESS/CHANNEL, as load.c has them."""
    return endpoint.partition(":")[2]


def table_has(path, is_it):
    """Whether a line of one of the kernel's tables, as words, is what is sought."""
    with open(path, encoding="utf-8", errors="replace") as table:
        return any(is_it(line.split()) for line in table)


def is_listening(endpoint):
    """Without connecting: a relay would dial its target for that."""
    kind, _, place = endpoint.partition(":")
    if kind == "tcp":
        return table_has("/proc/net/tcp", lambda words: words[3] == "0A" and
                         words[1].endswith(f":{int(place):04X}"))
    if kind == "unix":  # __SO_ACCEPTCON; haproxy binds it by a longer name first
        return os.path.exists(place) and table_has(
            "/proc/net/unix", lambda words: words[-1].startswith(place) and
            words[3] == "00010000")
    if kind == "rfcomm":  # source, destination, state, channel
        return table_has("/sys/kernel/debug/bluetooth/rfcomm",
                         lambda words: words[2:] == ["4", place])
    return os.path.exists(place)


# ---- what a process has cost ---------------------------------------------------


def processes_of(group):
    """The processes of a process group; None has none."""
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
    """Processor time so far of a group's threads, of those that there are: what
    ticks tell of a hundred that have each worked for less than one is nothing."""
    total = 0
    for pid in processes_of(group):
        for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
            try:
                with open(path, encoding="ascii") as file:
                    total += int(file.read().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                pass
    return total / 1e9


class Busy:
    """How busy all processors of the machine are, from one look to the next."""

    def __init__(self):
        self.before = self.look()

    def look(self):
        with open("/proc/stat", encoding="ascii") as file:
            ticks = [int(word) for word in file.readline().split()[1:9]]
        return sum(ticks), ticks[3] + ticks[4]  # idle, and waiting for a disk

    def percent(self):
        total, idle = map(operator.sub, self.look(), self.before)
        return 100 * (total - idle) / max(total, 1)


def tcp_memory_pressures():
    """How often the kernel came to its limit for the memory of all TCP sockets
    (tcp_mem): it takes back and drops what has arrived then."""
    with open("/proc/net/netstat", encoding="ascii") as file:
        lines = [line.split() for line in file if line.startswith("TcpExt:")]
    return int(dict(zip(*lines)).get("TCPMemoryPressures", 0))


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


# The two ends as the relay is told, and as the generator is.
Way = collections.namedtuple("Way", "listen connect client target")


class Relay:
    """One of those that are compared: how it is started, and what it can."""

    name = ""
    program = ""  # what it needs; none: nothing
    settings = ""
    slowness = 1  # so many times fewer bytes, to end in time
    silent_ms = 0  # it may lose or echo what comes before
    most_sessions = 100000
    makes_pty_late = False  # with its client, not at the start
    parts = ()  # for which it is there; none: for all
    ways = (("tcp", "tcp"),)  # kinds of what it listens at and connects to

    def __init__(self, directory):
        self.directory = directory
        self.process = None
        self.client = self.target = ""  # what the generator is told

    def is_there(self):
        return not self.program or shutil.which(self.program)

    def version(self):
        return ""

    def command(self, listen, connect):
        """The argument vector that relays what comes at listen to connect."""
        raise NotImplementedError

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def start(self, way):
        self.client, self.target = way.client, way.target
        with open(self.path(f"{self.name}.log"), "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                self.command(way.listen, way.connect),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)
        await_true(f"{self.name} listens at {way.listen}",
                   lambda: is_listening(way.listen))
        if way.connect.startswith("pty:") and not self.makes_pty_late:
            await_true(f"{self.name} has made {way.connect}",
                       lambda: is_listening(way.connect))

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
        if not self.process:
            return ""
        with open(self.path(f"{self.name}.log"), encoding="utf-8") as log:
            return log.read()[-2000:]


def first_line(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return ((done.stdout or done.stderr).strip().splitlines() or [""])[0]


def package_version(package):
    """Of a Debian package; "" where it has another name."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package],
                          capture_output=True, text=True, check=False)
    return f"{package} {done.stdout}" if done.returncode == 0 else ""


def socat_version():
    return next((line for line in subprocess.run(
        ["socat", "-V"], capture_output=True, text=True,
        check=False).stdout.splitlines() if "version" in line), "")


class Direct(Relay):
    name = "direct"
    settings = "no relay: the limit of this machine and of the generator"

    def start(self, way):
        self.client = self.target = way.target

    def group(self):
        return None

    def stop(self):
        pass


# ---- the generator -----------------------------------------------------------------


class Load:
    def __init__(self, mode, relay, *options):
        self.process = subprocess.Popen(
            [LOAD, mode, relay.client, relay.target, "-w", str(relay.silent_ms),
             *map(str, options)],
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

    def go_on(self):
        """The result, once it held what was asked for (-i), and holds it until
        end: what it costs a relay to close it is not measured."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.line())

    def result(self):
        found = json.loads(self.line())
        self.end()
        return found


# ---- what is measured ----------------------------------------------------------------


class Part:
    """Yields its cases; a case measures one relay once and returns what it found
    by the name of the figure."""

    name = ""
    kinds = ("tcp", "tcp")  # of what the relay listens at, and connects to
    warms_up = 0  # so many of a case are measured beforehand, for nothing
    grows_with = ""  # the cases are numbers of these, and show how it grows

    def __init__(self, directory):
        self.directory = directory

    def end(self, role, kind):
        """A fresh one: what was there before may have left something behind."""
        if kind == "tcp":
            return f"tcp:{free_port()}"
        return f"{kind}:{tempfile.mkdtemp(dir=self.directory)}/{role}"

    def way(self):
        listen = self.end("listen", self.kinds[0])
        connect = self.end("connect", self.kinds[1])
        return Way(listen, connect, listen, connect)

    def cases(self):
        raise NotImplementedError

    def measure(self, kind, case):
        raise NotImplementedError

    def with_relay(self, kind, work):
        """work(relay) with a fresh one; what it returns, or None if it has not such
        ends. Raises Failure, with what the relay said."""
        if self.kinds not in kind.ways:
            return None
        relay = kind(self.directory)
        try:
            try:
                relay.start(self.way())
                return work(relay)
            finally:
                if relay.process:
                    relay.stop()
        except Failure as failure:
            raise Failure(f"{failure}\n{relay.said()}") from None


def bulk(relay, sessions, size, way):
    """Throughput, and what it has cost, of size bytes a session and direction."""
    before, busy, pressures = cpu_s(relay.group()), Busy(), tcp_memory_pressures()
    load = Load("bulk", relay, "-s", sessions, "-b", size, "-d", way)
    got = json.loads(load.line())
    spent, busy = cpu_s(relay.group()) - before, busy.percent()
    load.end()
    found = {"MB/s": got["bytes"] / got["seconds"] / MEGABYTE}
    if relay.group():
        found["CPU s/GB"] = spent / (got["bytes"] / 1e9)
        # At 100 % it is the relay that limits the throughput, if it is one thread;
        # what the sessions' start has cost is in it.
        found["relay busy %"] = 100 * spent / got["seconds"]
    # At 200 % it is the generator's two processes.
    found["generator busy %"] = 100 * got["cpu_seconds"] / got["seconds"]
    found["machine busy %"] = busy
    found["times short of TCP memory"] = tcp_memory_pressures() - pressures
    return found


def ping(relay, size, seconds, *options):
    """Round trips of size bytes."""
    got = Load("ping", relay, "-b", size, "-t", seconds, *options).result()
    return {"p50 us": got["p50_us"], "p99 us": got["p99_us"]}


class Passage(Part):
    """One session that passes by other ends than TCP."""

    total = 0  # a session and direction; each says how much
    seconds = 1

    def cases(self):
        for way in ("up", "down", "both"):
            yield way, way
        yield "20 B", 20

    def measure(self, kind, case):
        if case == 20:
            return self.with_relay(
                kind, lambda relay: ping(relay, 20, self.seconds))
        return self.with_relay(
            kind, lambda relay: bulk(relay, 1, self.total // kind.slowness, case))


# ---- the rounds ------------------------------------------------------------------------


def take_round(of_relay, number, found):
    """Add what was found to {figure: [a value a round]}; None: nothing was."""
    for figure in {**of_relay, **found}:
        values = of_relay.setdefault(figure, [])
        values += [None] * (number - len(values)) + [found.get(figure)]


def in_turn(relays, number):
    """Each is the first once in as many rounds as there are relays, and does not
    always come after the same one: every second round goes backwards."""
    turn = number % max(len(relays), 1)
    if number % 2:
        return relays[turn::-1] + relays[:turn:-1]
    return relays[turn:] + relays[:turn]


def measured(part, relay, name, case, failures):
    """What was found; {}, said and counted, if it failed."""
    try:
        return part.measure(relay, case) or {}
    except Failure as failure:
        print(f"bench: {part.name} {name}, {relay.name}: {failure}", file=sys.stderr)
        failures[relay.name] += 1
        return {}


def run_rounds(parts, relays, rounds, save):
    """save(round, results) after each: {part: {case: {relay: {figure: [a value a
    round]}}}}. Returns how often each relay failed."""
    results, failures = {}, collections.Counter()
    with tempfile.TemporaryDirectory(prefix="btgate-bench-") as directory:
        for number in range(rounds):
            for kind in parts:
                part = kind(directory)
                of_part = [relay for relay in relays
                           if part.name in relay.parts or not relay.parts]
                for name, case in part.cases():
                    order = in_turn(of_part, number)
                    of_case = results.setdefault(part.name, {}).setdefault(name, {})
                    for relay in order[:part.warms_up]:
                        measured(part, relay, name, case, failures)
                    for relay in order:
                        take_round(of_case.setdefault(relay.name, {}), number,
                                   measured(part, relay, name, case, failures))
                print(f"round {number + 1} of {rounds}: {part.name}",
                      file=sys.stderr, flush=True)
            save(number + 1, results)
    return failures


def machine():
    model = ""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
    return {"kernel": platform.release(), "processors": os.cpu_count(),
            "model": model}


# ---- what is made of it -------------------------------------------------------------------


def plain(value, digits):
    """So many digits that matter, and no exponent."""
    return f"{float(f'{value:.{digits}g}'):,.12g}"


def median(values):
    """Of the rounds in which there was one; None: in none."""
    found = [value for value in values or () if value is not None]
    return statistics.median(found) if found else None


def spread(values):
    """The median, and how far they went from it."""
    middle = median(values)
    most = max(abs(value - middle) for value in values if value is not None)
    return f"{plain(middle, 3)} ±{plain(most, 2)}"


def figures_of(cases):
    """The names of all figures, in the order in which they came."""
    figures = []
    for by_relay in cases.values():
        for found in by_relay.values():
            figures += [name for name in found if name not in figures]
    return figures


def print_rows(head, rows):
    print("| " + " | ".join(head) + " |")
    print("| --- " * len(head) + "|")
    for row in rows:
        if any(row[1:]):
            print("| " + " | ".join(row) + " |")


def ratio(values, others):
    """How many times the other one's of the same round it was; None: not known."""
    return median([value / other for value, other in zip(values or (), others or ())
                   if value is not None and other])


def cell(by_relay, name, figure, base):
    values = by_relay.get(name, {}).get(figure)
    if median(values) is None:
        return ""
    others = by_relay.get(base, {}).get(figure)
    times = ratio(values, others) if name != base else None
    return spread(values) + (f" ({times:.2f})" if times is not None else "")


def base_of(names):
    """The relay that the others are measured against."""
    return "reference" if "reference" in names else "direct"


def print_part(part, cases, names):
    names = [name for name in names
             if any(name in by_relay for by_relay in cases.values())]
    base = base_of(names)
    for figure in figures_of(cases):
        print(f"\n**{part}**, {figure}"
              + (f" (times {base})" if base in names else "") + "\n")
        print_rows(["", *names], [
            [case, *(cell(by_relay, name, figure, base) for name in names)]
            for case, by_relay in cases.items()])


def growth(points):
    """What (number, cost) pairs in rising order say of how the cost grows. From the
    least of them on: up to there it is hidden by what is there without any."""
    fixed, first = min((cost, number) for number, cost in points)
    last = points[-1][1]
    if last <= 1.3 * fixed:
        return "constant"
    (number, cost), (most, greatest) = points[-2:]
    if cost <= fixed:
        return f"{last / fixed:.2g} times"
    power = (math.log((greatest - fixed) / (cost - fixed)) /
             math.log((most - first) / (number - first)))
    return "linear" if 0.75 <= power <= 1.25 else f"n^{power:.1f}"


def print_growth(part, cases, names, grows_with):
    print(f"\n**{part}**: how it grows with the number of {grows_with}\n")
    rows = []
    for figure in figures_of(cases):
        for name in names:
            found = {case: by_relay[name][figure]
                     for case, by_relay in cases.items()
                     if median(by_relay.get(name, {}).get(figure)) is not None}
            if len(found) > 1:
                rows.append([f"{name}, {figure}", *(
                    spread(found[case]) if case in found else ""
                    for case in cases), growth(
                        [(int(case), median(values))
                         for case, values in found.items()])])
    print_rows(["", *cases, "growth"], rows)


# What btgate must reach of a figure in all cases of a part: so many times another
# relay's, or so much where there is no other one. With each case that does not, what
# the limit is, who has nothing in between, reaches of it is shown.
Target = collections.namedtuple("Target", "part figure of least most limit",
                                defaults=(None, 0, math.inf, None))


def against(target, name, by_relay):
    values = by_relay.get(name, {}).get(target.figure)
    if target.of:
        return ratio(values, by_relay.get(target.of, {}).get(target.figure))
    return median(values)


def miss(target, case, value, by_relay):
    """The case as it is told if it does not reach the target; or ""."""
    # No finer than it is shown: 3.002 system calls are the start and three each.
    if target.least <= value and round(value, 2) <= target.most:
        return ""
    limit = against(target, target.limit, by_relay)
    return f"{case} {value:.2f}" + (
        f" ({target.limit} {limit:.2f})" if limit is not None else "")


def print_targets(results, targets):
    """Each with the case that is the worst, and those that do not reach it."""
    rows = []
    for target in targets:
        cases = {case: by_relay for case, by_relay
                 in results["parts"].get(target.part, {}).items()
                 if target.figure in by_relay.get("btgate", {})}
        found = {case: against(target, "btgate", by_relay)
                 for case, by_relay in cases.items()}
        unknown = [case for case, value in found.items() if value is None]
        found = {case: value for case, value in found.items() if value is not None}
        if not found:
            continue
        worst = (min if target.least else max)(found, key=found.get)
        said = list(filter(None, (miss(target, case, value, cases[case])
                                  for case, value in found.items())))
        said = ["not by " + ", ".join(said)] if said else ["reached"]
        if unknown:
            said.append("not known of " + ", ".join(unknown))
        bound = (f"at least {target.least:g}" if target.least
                 else f"at most {target.most:g}")
        rows.append([f"{target.part}, {target.figure}",
                     bound + (f" times {target.of}" if target.of else ""),
                     f"{found[worst]:.2f} ({worst})", "; ".join(said)])
    if rows:
        print("\n**what is to be reached**, by the medians of these rounds\n")
        print_rows(["", "target", "the worst case", ""], rows)


def print_tables(results, parts, targets):
    print(f"{results['machine']['processors']} processors, "
          f"{results['machine']['model']}, Linux {results['machine']['kernel']}; "
          f"{results['rounds']} rounds\n")
    for relay in results["relays"]:
        print(f"- {relay['name']}: {relay['settings']}"
              + (f" ({relay['version']})" if relay["version"] else ""))
    names = [relay["name"] for relay in results["relays"]]
    grow = {part.name: part.grows_with for part in parts if part.grows_with}
    for part, cases in results["parts"].items():
        if part in grow:
            print_growth(part, cases, names, grow[part])
        else:
            print_part(part, cases, names)
    print_targets(results, targets)


def print_summary(results, rows):
    """One table of (what it is, part, case, figure) rows."""
    names = [relay["name"] for relay in results["relays"]]
    lines = []
    for label, part, case, figure in rows:
        by_relay = results["parts"].get(part, {}).get(case, {})
        lines.append([label, *(cell(by_relay, name, figure, base_of(names))
                               for name in names)])
    print_rows(["", *names], lines)


def plot(results, path, part, title):
    """Throughput of all relays as an SVG, by gnuplot."""
    cases = {case: by_relay for case, by_relay in results["parts"][part].items()
             if any("MB/s" in found for found in by_relay.values())}
    names = [relay["name"] for relay in results["relays"]
             if any(relay["name"] in by_relay for by_relay in cases.values())]
    rows = [" ".join(['"case"'] + [f'"{name}"' for name in names])]
    for case, by_relay in cases.items():
        medians = [median(by_relay.get(name, {}).get("MB/s")) for name in names]
        cells = ["NaN" if value is None else str(value) for value in medians]
        rows.append(" ".join([f'"{case}"', *cells]))
    script = f"""
set terminal svg size 900,420 font "sans,12" background "white"
set output "{path}"
set title "{title}"
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


def is_wanted(part, only):
    """By its name, or what its name begins with before a dash."""
    return any(part.name == word or part.name.startswith(word + "-")
               for word in only.split(","))


def main(usage, parts, relays, plotted, summary, targets):
    """A benchmark's command line; plotted is a part and the title of its plot,
    summary are the rows of print_summary, targets those of print_targets."""
    parser = argparse.ArgumentParser(usage=usage.split("\n\n")[1])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--only", default=",".join(part.name for part in parts))
    parser.add_argument("--relays", default=",".join(kind.name for kind in relays))
    parser.add_argument("--output", default="build/bench/results.json")
    parser.add_argument("--table")
    parser.add_argument("--summary")
    parser.add_argument("--plot", nargs=2)
    options = parser.parse_args()
    shown = options.table or options.summary or (options.plot or [None])[0]
    if shown:
        with open(shown, encoding="utf-8") as file:
            results = json.load(file)
        if options.table:
            print_tables(results, parts, targets)
        elif options.summary:
            print_summary(results, summary)
        else:
            plot(results, options.plot[1], *plotted)
        return 0
    if not os.path.exists("/proc/self/schedstat"):
        parser.error("this kernel does not tell processor time (CONFIG_SCHED_INFO)")
    with contextlib.suppress(ValueError, OSError):  # root may
        resource.setrlimit(resource.RLIMIT_NOFILE, (65536, 65536))
    wanted = [part for part in parts if is_wanted(part, options.only)]
    if not wanted:
        parser.error(f"no part is called {options.only}")
    chosen = options.relays.split(",")
    unknown = set(chosen) - {relay.name for relay in relays}
    if unknown:
        parser.error("no relay is called " + ", ".join(sorted(unknown)))
    there = []
    for relay in relays:
        if relay.name not in chosen:
            continue
        if relay("").is_there():
            there.append(relay)
        else:
            print(f"bench: no {relay.program} here, left out", file=sys.stderr)
    results = {
        "machine": machine(),
        "relays": [{"name": relay.name, "settings": relay.settings,
                    "version": relay("").version()} for relay in there],
    }

    def save(rounds, found):  # what there is, should it be ended before the end
        results.update(rounds=rounds, parts=found)
        with open(options.output, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)

    failures = run_rounds(wanted, there, options.rounds, save)
    print_tables(results, parts, targets)
    # Of the others it is no more than a gap in the table.
    if failures["btgate"]:
        print(f"bench: btgate failed {failures['btgate']} times, see above",
              file=sys.stderr)
        return 1
    return 0
