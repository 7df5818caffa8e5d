"""The peer's own servers and clients against each other, over each transport: so that what a test of
netqueue finds is netqueue's.  Prints TAP.

    self_test.py [--transports tcp,mqtt,grpc]

Each wait is for an event, and bounded; the peers are processes that end with this one."""

import argparse
import collections
import contextlib
import hashlib
import importlib.util
import itertools
import json
import os
import select
import subprocess
import sys
import tempfile
import time
import traceback
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "..", "..", "support"))

# pylint: disable=wrong-import-position
import faults
import mqtt
import payload
from proxy import free_port

WAIT_S = 60
MIB = 1 << 20
SIZES = (0, 1, 7, 8, 15, 16, 17, 255, 4096, 65537, MIB + 1, 64 * MIB)
NEEDS = {"tcp": None, "tls": None, "mqtt": "paho.mqtt.client", "grpc": "grpc"}
PACKAGES = {"mqtt": "python3-paho-mqtt", "grpc": "python3-grpcio"}
TRIPS = 40  # values, in each protocol


class Peer:
    """A process of peer.py."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, "-B", os.path.join(HERE, "peer.py")],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.rest = b""
        self.events = collections.defaultdict(collections.deque)  # of each end

    def say(self, do, end, **members):
        line = json.dumps({"do": do, "end": end, **members}) + "\n"
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()

    def read(self, until, what):
        """More events.  Fails when none comes in time."""
        ready, _, _ = select.select([self.process.stdout], [], [], max(0, until - time.monotonic()))
        some = os.read(self.process.stdout.fileno(), MIB) if ready else b""
        if not some:
            raise AssertionError("the peer has ended" if ready else f"{what} does not come")
        *lines, self.rest = (self.rest + some).split(b"\n")
        for event in map(json.loads, lines):
            if event["event"] == "failed":
                raise AssertionError(event)
            self.events[event.get("end")].append(event)

    def expect(self, event, end, **members):
        """The next event of that kind at that end; what came there before it is dropped."""
        until = time.monotonic() + WAIT_S
        while True:
            while self.events[end]:
                came = self.events[end].popleft()
                if came["event"] == event:
                    wrong = {k: came.get(k) for k, v in members.items() if came.get(k) != v}
                    if wrong:
                        raise AssertionError(f"{came} instead of {members}")
                    return came
            self.read(until, f"{event} at {end}")

    def expect_data(self, end, body, **members):
        """`body` as it is in a command."""
        body = payload.build(body)
        return self.expect("data", end, size=len(body), sha256=hashlib.sha256(body).hexdigest(),
                           **members)

    def end(self):
        self.process.stdin.close()
        self.process.wait(WAIT_S)
        self.process.stdout.close()


class Place:
    """Where a server is to be: what its command and those of its clients have in common."""

    def __init__(self, name, stack):
        self.name = name
        self.spec = {"transport": "tcp" if name == "tls" else name, "host": "127.0.0.1", "port": 0}
        self.server_tls = self.client_tls = None
        if name == "mqtt":
            self.broker = stack.enter_context(mqtt.Broker(free_port()))
            self.spec["port"] = self.broker.port
            self.spec["piece"] = 256 * 1024  # within what the broker queues for a slow client
        if name == "tls":
            self.make_certificate(stack.enter_context(tempfile.TemporaryDirectory()))

    def make_certificate(self, folder):
        cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=test",
                        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
        self.server_tls, self.client_tls = {"cert": cert, "key": key}, {"ca": cert}


class Case:
    """One test: a server and clients in two processes."""

    def __init__(self, place):
        self.place = place
        self.spec = dict(place.spec)
        self.servers, self.clients = Peer(), Peer()

    def server(self, **more):
        tls = {"tls": self.place.server_tls} if self.place.server_tls else {}
        self.servers.say("server", "s", **{**self.spec, **tls, **more})
        self.spec["port"] = self.servers.expect("listening", "s")["port"]

    def client(self, name="c", **more):
        """Returns its id."""
        tls = {"tls": self.place.client_tls} if self.place.client_tls else {}
        own = more.setdefault("id", str(uuid.uuid4()))
        self.clients.say("client", name, **{**self.spec, **tls, **more})
        return own

    def joined(self, name="c", **more):
        own = self.client(name, **more)
        self.servers.expect("ini", "s", peer=own)
        self.clients.expect("ini", name)
        return own

    def pass_up(self, body, name="c"):
        self.clients.say("put", name, **body)
        self.servers.expect_data("s", body)

    def pass_down(self, body, name="c"):
        self.servers.say("put", "s", **body)
        self.clients.expect_data(name, body)

    def parted(self, *names):
        """Close the clients, then the server; all fins pass."""
        for name in names or "c":
            self.clients.say("close", name)
            self.servers.expect("lost", "s", clean=True, rest=0)
            self.clients.expect("lost", name, clean=True, rest=0)
        self.servers.say("close", "s")
        self.servers.expect("closed", "s")

    def end(self):
        self.clients.end()
        self.servers.end()


# ---- what is tested ----

def sizes(case):
    """Payloads of every size pass both ways, whatever is in them"""
    case.server()
    case.joined()
    for size in SIZES:
        case.pass_up({"noise": [size, size]})
        case.pass_down({"noise": [size, size + 1]})
    case.parted()


def cuts(case):
    """Pieces of the stream end anywhere"""
    case.server(piece=1)
    case.joined(piece=1)
    for size in SIZES[:7]:
        case.pass_up({"noise": [size, 1]})
        case.pass_down({"noise": [size, 2]})
    case.parted()


def ragged(case):
    """Pieces have random sizes and many frames"""
    case.server(piece=50, ragged=1)
    case.joined(piece=50, ragged=2)
    bodies = [{"noise": [i * 7 % 41, i]} for i in range(200)]
    for body in bodies:
        case.clients.say("put", "c", **body)
        case.servers.say("put", "s", **body)
    for body in bodies:
        case.servers.expect_data("s", body)
        case.clients.expect_data("c", body)
    case.parted()


def trips(case):
    """Values of every type pass in every protocol"""
    case.server(echo=True)
    case.joined()
    for seed, protocol in itertools.product(range(TRIPS), (2, 3, 4, 5)):
        case.clients.say("trip", "c", value=seed, protocol=protocol, numpy=True)
    for _ in range(TRIPS * 4):
        case.clients.expect("data", "c", same=True)
    case.parted()


def many(case):
    """A server and several clients: to one, to all, and back"""
    case.server()
    names = [f"c{i}" for i in range(8)]
    ids = [case.joined(name) for name in names]
    for name, own in zip(names, ids):
        case.clients.say("put", name, text=name)
        case.servers.expect_data("s", {"text": name}, peer=own)
        case.servers.say("put", "s", peers=[own], text=own)
        case.clients.expect_data(name, {"text": own})
    case.servers.say("put", "s", text="all", tag="told")
    for name in names:
        case.clients.expect_data(name, {"text": "all"})
    for _ in names:
        case.servers.expect("sent", "s", tag="told")
    case.parted(*names)


def close_server_first(case):
    """A server that closes waits for its clients' fins"""
    case.server()
    case.joined("c0")
    case.joined("c1")
    case.servers.say("close", "s")
    case.pass_up({"text": "still there"}, "c0")
    for name in ("c0", "c1"):
        case.clients.say("close", name)
        case.clients.expect("lost", name, clean=True)
    case.servers.expect("closed", "s")


def close_at_once(case):
    """Both close at once, and what was put before arrives"""
    case.server()
    own = case.joined()
    case.servers.say("put", "s", noise=[MIB, 1])
    case.servers.say("close", "s")
    case.clients.say("put", "c", noise=[MIB, 2])
    case.clients.say("close", "c")
    case.servers.expect_data("s", {"noise": [MIB, 2]}, peer=own)
    case.clients.expect_data("c", {"noise": [MIB, 1]})
    case.servers.expect("closed", "s")
    case.clients.expect("closed", "c")


def close_unheard(case):
    """A client closes before the server has said anything"""
    case.server()
    case.client()
    case.clients.say("close", "c")
    case.servers.expect("fin", "s")
    case.servers.expect("lost", "s", clean=True)
    case.clients.expect("closed", "c")


def pieces(case):
    """A message above the receiver's size comes in pieces of it"""
    case.server(message_size=1000)
    case.joined()
    body = payload.noise(2500, 3)
    case.clients.say("put", "c", noise=[2500, 3])
    for part in (body[:1000], body[1000:2000], body[2000:]):
        case.servers.expect_data("s", {"hex": part.hex()})
    case.pass_up({"noise": [1000, 1]})
    case.parted()


def killed(case):
    """A client that is killed in the midst of a frame leaves its rest behind"""
    case.server()
    case.joined()
    case.clients.say("act", "c", script=[["head", 1000], ["raw", {"text": "part"}]])
    case.clients.say("echo", "c")
    case.clients.expect("echo", "c")
    if case.place.name in ("tcp", "tls"):
        case.clients.process.kill()
        case.servers.expect("lost", "s", clean=False)


def heard_of(fault):
    """What a fault's script has the other side hear, which tells of a 16-byte frame: an ini while it
    knows nobody, a fin when it is the same UUID again, else data."""
    heard, known = [], False
    steps = [(step,) if isinstance(step, str) else tuple(step) for step in faults.FAULTS[fault]]
    if any(step[0] == "cut" for step in steps):
        return heard
    for step in itertools.takewhile(lambda step: step[0] not in ("head", "raw", "wait"), steps):
        if step[0] in ("ini", "fin"):
            heard.append("fin" if known else "ini")
            known = True
        elif step[0] == "data":
            is_name = len(payload.build(step[1])) == 16
            heard.append("ini" if is_name and not known else "data")
            known = known or is_name
    return heard


def faulty(case):
    """Each fault's script says what it claims"""
    case.server()
    for fault in faults.FAULTS:
        name = "c-" + fault
        case.client(name, fault=fault)
        for event in heard_of(fault):
            case.servers.expect(event, "s")
        if fault.startswith("end-") and case.place.name in ("tcp", "tls"):
            case.servers.expect("lost", "s", clean=False)


CASES = (sizes, cuts, ragged, trips, many, close_server_first, close_at_once, close_unheard, pieces,
         killed, faulty)


# ---- running them ----

def missing(name):
    """Why a transport cannot be tested here; None = it can."""
    needs = NEEDS[name]
    if needs and not importlib.util.find_spec(needs.partition(".")[0]):
        return f"{PACKAGES[name]} is not installed"
    if name == "mqtt" and not mqtt.mosquitto():
        return "mosquitto is not installed"
    return None


def run(case, place):
    """Returns what went wrong, or nothing."""
    rig = Case(place)
    try:
        case(rig)
        return None
    except (AssertionError, OSError):
        return traceback.format_exc()
    finally:
        rig.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transports", default=",".join(NEEDS))
    parser.add_argument("--case", choices=[case.__name__ for case in CASES])
    args = parser.parse_args()
    count = failed = 0
    for name in args.transports.split(","):
        with contextlib.ExitStack() as stack:
            why = missing(name)
            place = None if why else Place(name, stack)
            for case in CASES:
                if args.case in (None, case.__name__):
                    count += 1
                    wrong = None if why else run(case, place)
                    failed += bool(wrong)
                    print(f"{'not ok' if wrong else 'ok'} {count} - {name}: {case.__doc__}"
                          + (f" # SKIP {why}" if why else ""), flush=True)
                    if wrong:
                        print("# " + wrong.replace("\n", "\n# "), flush=True)
    print(f"1..{count}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
