"""The chaos test: processes whose links are cut, that are stopped and killed.

    ends (chaos_end)  <--->  proxy (support/proxy, in this process)  <--->  ends
        |                                                                  |
        +------------------------- logs --> chaos_audit -------------------+

    living   a server and eight clients put to each other; the proxy cuts links after random numbers
             of bytes; a client, then the server, is stopped for a while
    killed   no cuts; clients, then the server, are killed with SIGKILL and begin a new life
    lossy    mqtt only: no cuts; publishes get lost between the broker and the clients
    large    one message that is far larger than the credit window loses its link in the middle

Over mqtt the proxy is between the clients and a broker of the stage's own.  Over shm it passes
descriptors, see chaos_unix; over shm+tcp the server listens on both, the clients' lists have both in
turns, and links of both are cut.

Which faults come is decided by the seed, which is printed; when they meet what is the machine's
affair.  Nothing sleeps: faults are due after bytes, cuts, or a time that is part of the fault.
Prints TAP.  Ends what it started, and nothing else."""

import argparse
import collections
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

# pylint: disable=wrong-import-position
import chaos_audit
import chaos_mqtt
import mqtt
from chaos_unix import Both, UnixCut, UnixProxy
from proxy import READ, Cut, Loop, Proxy, free_port

CLIENTS = 8
KILL_CLIENTS = 2
MIB = 1 << 20
SETTLE_S = 90  # for what is queued when the faults are over
SESSIONS = (  # of clients, in turn
    {},
    {"ack": "consumed", "credit": "64KiB", "record": "4KiB"},
    {"coalesce": "off", "credit": "1MiB"},
    {"ack": "consumed", "record": "64KiB", "coalesce": "4KiB"},
)


class Tap:
    def __init__(self):
        self.count = self.failed = 0

    def ok(self, good, name):
        self.count += 1
        self.failed += not good
        print(f"{'' if good else 'not '}ok {self.count} - {name}", flush=True)
        return good

    def note(self, text):
        print(f"# {text}", flush=True)


def uuid_of(number):
    return f"6e710000-0000-4000-8000-{number:012d}"


class End:
    """One process of chaos_end after the other, with one log and one configuration."""

    def __init__(self, stage, number, conf, options=()):
        self.stage, self.number, self.options = stage, number, list(options)
        self.config = os.path.join(stage.folder, f"{number}.json")
        self.log = os.path.join(stage.folder, f"{number}.log")
        self.life = 0
        self.said = b""
        with open(self.config, "w", encoding="ascii") as file:
            json.dump(conf, file)
        self.process = None
        self.start()
        if not stage.loop.wait(lambda: self.has_said(b"open"), 30):
            raise SystemExit(f"{number} does not open its queue: {self.log}.err")

    def start(self):
        self.life += 1
        self.said = b""
        peers = [word for i in range(self.stage.ends) for word in ("-p", uuid_of(i))]
        with open(self.log + ".err", "ab") as errors:
            self.process = subprocess.Popen(
                [self.stage.program, "-c", self.config, "-l", self.log, "-m", str(self.number),
                 "-i", str(self.life), *self.options, *peers],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0)
        self.stage.loop.watch(self.process.stdout, READ, self.hear)

    def hear(self, _):
        data = os.read(self.process.stdout.fileno(), 4096)
        self.said += data
        if not data:
            self.stage.loop.watch(self.process.stdout, 0, None)

    def has_said(self, word):
        return word in self.said

    def signal(self, number):
        if self.process.poll() is None:
            self.process.send_signal(number)

    def say_stop(self):
        try:
            self.process.stdin.write(b"stop\n")
        except OSError:
            pass

    def close(self):
        """Have it close its queue.  Its exit code follows in self.process."""
        self.process.stdin.close()

    def kill(self):
        """Returns when the process is gone."""
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.stage.loop.watch(self.process.stdout, 0, None)
        self.process.stdin.close()
        self.process.stdout.close()


class Stage:
    """A server, clients, and the proxy between them."""

    def __init__(self, options, name, ends):
        self.program, self.ends, self.name = options.program, ends, name
        self.transport = options.transport
        self.folder = os.path.join(options.folder, f"{name}-{options.transport}")
        os.mkdir(self.folder)
        self.loop = Loop()
        self.port = free_port()
        self.sockets = tempfile.mkdtemp(prefix="nqchaos.")  # their paths must be short
        self.path = os.path.join(self.sockets, "server")
        self.proxies = {name: self.make_proxy(name) for name in self.transport.split("+")}
        self.proxy = (Both(*self.proxies.values()) if len(self.proxies) > 1
                      else next(iter(self.proxies.values())))
        self.all = []
        self.broker = mqtt.Broker(self.port) if self.transport == "mqtt" else None

    def make_proxy(self, name):
        if name == "shm":
            return UnixProxy(self.loop, self.path, self.sockets)
        return Proxy(self.loop, self.port)

    def plan_cuts(self, rng):
        numbers = itertools.count()
        for name, proxy in self.proxies.items():
            proxy.plan = ((lambda: UnixCut(rng)) if name == "shm"
                          else lambda: Cut(rng, next(numbers)))

    def conf(self, number, session, **more):
        conf = {"purpose": "client" if number else "server", "id": uuid_of(number),
                "queue": {"bytes": "4MiB", "policy": "block"}, "session": session, **more}
        ways = [self.ways(name, number) for name in self.proxies]
        conf["transports"] = [way for turn in zip(*ways) for way in turn]
        return conf

    def ways(self, name, number):
        """How to listen (0), or to reach the proxy, in the order of a client's list."""
        if name == "shm":
            paths = self.proxies[name].paths if number else [self.path]
            return [{"transport": name, "path": path} for path in paths]
        ports = self.proxies[name].ports if number else [self.port]
        return [{"transport": name, "host": "127.0.0.1", "port": port} for port in ports]

    def add(self, number, session, *options, **more):
        self.all.append(End(self, number, self.conf(number, session, **more), options))
        return self.all[-1]

    def finish(self):
        """Have all ends settle and close.  Returns what went wrong, "" = nothing."""
        alive = lambda: all(end.process.poll() is None for end in self.all)
        for end in self.all:
            end.say_stop()
        settled = lambda: all(end.has_said(b"settled") for end in self.all)
        self.loop.wait(lambda: settled() or not alive(), SETTLE_S)
        if not settled():
            return "no outcome for all puts of " + ", ".join(
                f"{end.number} (exit {end.process.poll()})" for end in self.all
                if not end.has_said(b"settled"))
        for group in (self.all[1:], self.all[:1]):
            for end in group:
                end.close()
            # A process that ends closes its output, so this wakes up by itself.
            self.loop.wait(lambda g=group: all(e.process.stdout not in self.loop.selector.get_map()
                                               for e in g), 60)
        for end in self.all:
            try:
                end.process.wait(5)
            except subprocess.TimeoutExpired:
                return f"{end.number} does not end"
        return ", ".join(f"{end.number}: exit code {end.process.returncode}" for end in self.all
                         if end.process.returncode)

    def logs(self):
        return {end.number: chaos_audit.read(end.log) for end in self.all}

    def close(self):
        for end in self.all:
            if end.process.poll() is None:
                end.signal(signal.SIGCONT)
                end.kill()
        self.proxy.close()
        shutil.rmtree(self.sockets)
        if self.broker:
            self.broker.end()


def report(tap, faults, name):
    tap.ok(not faults, name)
    for fault in faults[:20]:
        tap.note(fault)
    if len(faults) > 20:
        tap.note(f"... and {len(faults) - 20} more")


# ---- the living --------------------------------------------------------------------------------


class Halt:
    """Stops a process at a number of cuts, for a while."""

    def __init__(self, stage, end, at, seconds):
        self.stage, self.end, self.at, self.seconds = stage, end, at, seconds
        self.state = "waits"

    def look(self):
        if self.state == "waits" and self.stage.proxy.cuts["all"] >= self.at:
            self.state = "stopped"
            self.end.signal(signal.SIGSTOP)
            self.stage.loop.after(self.seconds, self.go_on)

    def go_on(self):
        self.end.signal(signal.SIGCONT)
        self.state = "over"


def add_crowd(stage):
    """A server and clients of all kinds."""
    base = {"expiry": "180s", "keepalive": "500ms"}
    server = stage.add(0, {**base, "credit": "2MiB"})
    for i in range(1, CLIENTS + 1):
        stage.add(i, {**base, **SESSIONS[(i - 1) % len(SESSIONS)]})
    return server


def finish_crowd(tap, stage):
    """Nobody was killed: everything must have arrived, in one session each."""
    wrong = stage.finish()
    tap.ok(not wrong, "all ends settle and close" + (f": {wrong}" if wrong else ""))
    audit = chaos_audit.Audit(stage.logs())
    audit.living()
    tap.note(f"{audit.counts['puts']} puts, {audit.counts['arrivals']} arrivals, "
             f"{audit.counts['delivered']} outcomes delivered")
    report(tap, audit.faults, "nothing is lost, doubled, out of order or damaged, and every "
                              "outcome is delivered")
    events = sum((lives[0].events for lives in audit.logs.values()), collections.Counter())
    tap.note(f"{events[chaos_audit.RESUMED_EVENT]} resumes seen, "
             f"{events[chaos_audit.DOWN_EVENT]} losses, "
             f"{events[chaos_audit.REFUSED_EVENT]} attempts that failed")
    tap.ok(events[chaos_audit.UP_EVENT] == 2 * CLIENTS, "each session began once")
    # With BYE each side loses the other once.
    tap.note(f"{events[chaos_audit.GONE_EVENT]} sessions ended, {2 * CLIENTS} by good-bye")


def living(tap, options, rng):
    stage = Stage(options, "living", CLIENTS + 1)
    try:
        cuts = stage.proxy.cuts
        stage.plan_cuts(rng)
        server = add_crowd(stage)
        halts = [Halt(stage, stage.all[1], options.cuts // 4, options.stop),
                 Halt(stage, server, options.cuts // 2, options.stop)]

        def on_cut():
            for halt in halts:
                halt.look()
        stage.proxy.when_cut = on_cut
        began = time.monotonic()
        stage.loop.wait(lambda: (cuts["all"] >= options.cuts and
                                 all(halt.state == "over" for halt in halts)) or
                        any(end.process.poll() is not None for end in stage.all),
                        60 + options.cuts)
        tap.note(f"{time.monotonic() - began:.1f} s, {stage.proxy.taken / 1e6:.0f} MB: " +
                 ", ".join(f"{cuts[key]} {key}" for key in
                           ("greeting", "RST", "FIN", "whole", "half")))
        tap.ok(cuts["all"] >= options.cuts, f"{cuts['all']} links are cut")
        tap.ok(all(halt.state == "over" for halt in halts),
               f"a client and the server are stopped for {options.stop} s")
        stage.proxy.release()
        finish_crowd(tap, stage)
        turns = stage.proxy.first_turns
        tap.note("round trips before a client's first DATA on a link that resumes: " +
                 ", ".join(f"{n}: {turns[n]} times" for n in sorted(turns)))
    finally:
        stage.close()


# ---- the lossy ---------------------------------------------------------------------------------


def lossy(tap, options, rng):
    if options.transport != "mqtt":
        return
    report(tap, chaos_mqtt.blind_spots(), "the sieve leaves out publishes at QoS 0 and no more")
    stage = Stage(options, "lossy", CLIENTS + 1)
    try:
        cuts = stage.proxy.cuts

        def on_loss():
            cuts["publishes"] += 1
            return cuts["publishes"] <= options.losses
        stage.proxy.sieve = lambda _: chaos_mqtt.sieve(chaos_mqtt.Loss(rng, on_loss).drop)
        add_crowd(stage)
        began = time.monotonic()
        stage.loop.wait(lambda: cuts["publishes"] >= options.losses or
                        any(end.process.poll() is not None for end in stage.all),
                        60 + options.losses)
        tap.note(f"{time.monotonic() - began:.1f} s, {stage.proxy.taken / 1e6:.0f} MB")
        tap.ok(cuts["publishes"] >= options.losses, f"{options.losses} publishes are lost")
        finish_crowd(tap, stage)
    finally:
        stage.close()


# ---- the killed --------------------------------------------------------------------------------


def kill_often(stage, rng, victims, times):
    """Each time after a random number of lines in the logs.  Most lives last a second at least, or
    clients would pause ever longer before they connect (see proxy)."""
    for i in range(times):
        victim = victims[i % len(victims)]
        before = chaos_progress(stage)
        want = rng.randrange(1, 60)
        if not stage.loop.wait(lambda: grown(stage, before, want, victim), 60):
            return f"{victim.number} gets nothing in its life {victim.life}"
        if rng.random() < 0.7:
            due = []
            stage.loop.after(1.05, lambda due=due: due.append(True))
            stage.loop.wait(lambda due=due: due, 60)
        victim.kill()
        victim.start()
    return ""


def chaos_progress(stage):
    return {end.number: os.path.getsize(end.log) for end in stage.all}


def grown(stage, before, want, victim):
    """The victim, and all ends that talk with it, logged about `want` lines or more."""
    now = chaos_progress(stage)
    return all(now[end.number] - before[end.number] >= want * 40 for end in stage.all
               if end is victim or victim.number == 0 or end.number == 0)


def killed(tap, options, rng):
    stage = Stage(options, "killed", KILL_CLIENTS + 1)
    stage.proxy.rate = 20e6
    try:
        session = {"ack": "consumed", "expiry": "500ms", "keepalive": "500ms", "credit": "1MiB"}
        server = stage.add(0, session)
        for i in range(1, KILL_CLIENTS + 1):
            stage.add(i, session)
        began = time.monotonic()
        wrong = kill_often(stage, rng, stage.all[1:], options.kills)
        tap.ok(not wrong, f"{options.kills} clients are killed and come back" +
               (f": {wrong}" if wrong else ""))
        wrong = kill_often(stage, rng, [server], options.kills)
        tap.ok(not wrong, f"the server is killed {options.kills} times and comes back" +
               (f": {wrong}" if wrong else ""))
        wrong = stage.finish()
        tap.ok(not wrong, "all ends settle and close" + (f": {wrong}" if wrong else ""))
        audit = chaos_audit.Audit(stage.logs())
        audit.killed()
        tap.note(f"{time.monotonic() - began:.1f} s: {audit.counts['puts']} puts, "
                 f"{audit.counts['arrivals']} arrivals; " +
                 ", ".join(f"{audit.counts[name]} {name}" for name in chaos_audit.NAMES[1:]) +
                 f"; {audit.excused} taken by one that was killed before it could say so")
        report(tap, audit.faults, "no outcome is false, nothing arrives twice or out of order")
    finally:
        stage.close()


# ---- the large ---------------------------------------------------------------------------------


class LargeCut:
    """RST to both sides."""

    def __init__(self, after, up, age):
        self.after, self.up, self.greeting = after, up, not up
        self.reset, self.side, self.age = True, "both", age


def large(tap, options, rng):
    if "shm" in options.transport:
        return  # its bytes do not pass through the proxy
    size = options.large * MIB
    window = min(64, options.large // 4) * MIB
    stage = Stage(options, "large", 2)
    try:
        session = {"credit": window, "expiry": "60s"}
        limits = {"max_message": size, "memory": 2 * size}
        # The first link is lost in the middle of WELCOME, so that the server has a session of
        # which the client knows nothing; the second in the middle of the message.
        cuts = [LargeCut(size // 3 + rng.randrange(size // 3), True, 1.05),
                LargeCut(264 + rng.randrange(168), False, 0)]
        stage.proxy.plan = lambda: cuts.pop() if cuts else None
        counted = []  # from the start: the first cut may come while the client still opens
        stage.proxy.when_cut = lambda: counted.append(stage.proxy.taken)
        # SIZE of all messages is that of the one.
        stage.add(0, session, "-b", str(size), "-q", limits=limits)
        stage.add(1, session, "-b", str(size), limits=limits)
        began = time.monotonic()
        wrong = stage.finish()
        carried = stage.proxy.taken
        tap.ok(not wrong, "a large message settles, though the first welcome was lost" +
               (f": {wrong}" if wrong else ""))
        audit = chaos_audit.Audit(stage.logs())
        audit.living()
        report(tap, audit.faults, "it arrives once and whole, and is delivered")
        again = carried - size
        tap.note(f"{time.monotonic() - began:.1f} s; {size} bytes, cut after "
                 f"{counted[-1] if counted else 0}, carried {carried}: {again} too many, "
                 f"{again / MIB:.2f} MiB; the credit window is {window // MIB} MiB")
        tap.ok(len(counted) == 2 and 0 <= again < window, "a cut costs less than the credit window")
        if options.transport != "tcp":
            return  # the proxy reads the session's records where they are not wrapped
        turns = stage.proxy.first_turns
        tap.note(f"round trips from connect to the first DATA of the resume: {sorted(turns)}")
        tap.ok(turns and max(turns) <= 2, "a resume costs at most two round trips")
    finally:
        stage.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--program", required=True, help="chaos_end")
    parser.add_argument("--folder", default=".", help="where to keep logs meanwhile")
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--stop", type=float, default=10, help="seconds of SIGSTOP")
    parser.add_argument("--kills", type=int, default=20, help="of clients, and of the server")
    parser.add_argument("--losses", type=int, default=500, help="of publishes, over mqtt")
    parser.add_argument("--large", type=int, default=1024, help="MiB")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--transports", default="tcp", metavar="NAME[,NAME]",
                        help="tcp, grpc, mqtt, shm, shm+tcp: one after the other")
    parser.add_argument("--only", choices=("living", "lossy", "killed", "large"))
    options = parser.parse_args()
    tap = Tap()
    folder = options.folder = tempfile.mkdtemp(prefix="tmp.chaos.", dir=options.folder)
    tap.note(f"--seed {options.seed}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    report(tap, chaos_audit.blind_spots(), "the auditor finds what is wrong in made-up logs")
    for options.transport in options.transports.split(","):
        tap.note(f"over {options.transport}")
        for name, run in (("living", living), ("lossy", lossy), ("killed", killed),
                          ("large", large)):
            if options.only in (None, name):
                run(tap, options, random.Random(f"{options.seed} {name}"))
    print(f"1..{tap.count}")
    if tap.failed:
        tap.note(f"the logs are in {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
