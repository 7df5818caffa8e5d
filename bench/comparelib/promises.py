"""What the project promises about speed, and whether it holds.

Held against the limit is the median of the pairs netqueue : other of the job's figure, or of `key`;
whether more or less is better follows from the figure."""
import dataclasses
import statistics

from comparelib import figures, rows_beside
from comparelib.job import KIB, MIB, better
from comparelib.rows_shm import SHM_SIZES


@dataclasses.dataclass
class Promise:
    row: str
    other: object  # a program of the row, a row (program, row), or None: the figure itself counts
    limit: float
    text: str
    key: str = None  # of the figure; None = the row's
    reached: bool = True  # is the limit itself good enough?


def ahead(row, rival, text=None, key=None):
    return Promise(row, rival, 1.0, text or f"{row}: ahead of {rival}", key, False)


def tcp_promises():
    for waiting in ("spinning", "sleeping", "default"):
        yield Promise(f"rtt 64 B, {waiting}", "raw", 1.15,
                      f"tcp round trip, {waiting}: at most 1.15 x raw")
    yield Promise("rtt 64 B, spinning", "ucx", 1.0, "tcp round trip: no slower than UCX, both spin")
    for rival in ("zmq", "nng"):
        yield Promise("rtt 64 B, default", rival, 1 / 5,
                      f"tcp round trip, defaults: 5 times faster than {rival}")
    for rival in ("zmq", "nng"):
        yield Promise("rtt 64 B, default", rival, 1.0,
                      f"tcp round trip, defaults: 99.9th percentile no worse than {rival}",
                      "p999_us")
        yield Promise("tcp at 10000/s", rival, 1.0,
                      f"tcp, 10,000 messages/s: 99.9th percentile no worse than {rival}", "p999_us")
    yield Promise("oneway 64 B", None, 5e6, "tcp 64 B one way: at least 5 million/s")
    for rival in ("zmq", "nng"):
        yield Promise("oneway 64 B", rival, 2, f"tcp 64 B one way: at least 2 x {rival}")
    for size in ("64 KiB", "1 MiB"):
        yield Promise(f"oneway {size}", "raw", 0.95, f"tcp {size} one way: at least 0.95 of raw")
        yield Promise(f"tls oneway {size}", "raw_tls", 0.8,
                      f"tls {size} one way: at least 0.8 of OpenSSL")
    for rival in ("zmq", "nng"):
        yield ahead("oneway 1 MiB", rival)


def broker_promises():
    """mqtt and grpc, beside the bare library."""
    for name, library in (("mqtt", "paho"), ("grpc", "raw_grpc")):
        yield Promise(f"{name} oneway 64 B", None, 2e6,
                      f"{name} 64 B one way: at least 2 million/s")
        for size in ("64 KiB", "1 MiB"):
            yield Promise(f"{name} oneway {size}", library, 0.9,
                          f"{name} {size} one way: at least 0.9 of {library}")
    yield Promise("mqtt rtt 64 B", "paho", 1.3, "mqtt round trip: at most 1.3 x paho")
    for waiting in ("sleeping", "spinning"):
        yield Promise(f"grpc rtt 64 B, {waiting}", "raw_grpc", 1.3,
                      f"grpc round trip, {waiting}: at most 1.3 x raw_grpc")


def memory_promises():
    for transport, limit in (("tcp", 48), ("mqtt", 64), ("grpc", 64)):
        for job in ("sync", "async"):
            yield Promise(f"{transport} {job} 2 MiB, 8 MiB granted", None, limit * MIB,
                          f"{transport} 2 MiB {job}: peak memory under {limit} MiB",
                          "peak_rss_bytes", False)


def shm_promises():
    yield Promise("shm rtt 40 B", "raw_shm", 2, "shm 40 B round trip: at most 2 x a bare ring")
    yield Promise("shm rtt 4 MiB, loaned", ("netqueue", "shm rtt 40 B"), 1.5,
                  "shm 4 MiB loaned round trip: at most 1.5 x that of 40 B")
    yield Promise("shm rtt 40 B, sleeping", "unix", 1.3,
                  "shm round trip, sleeping: at most 1.3 x unix sockets")
    yield Promise("shm oneway 40 B", "raw_shm", 0.6,
                  "shm 40 B one way: at least 0.6 of a bare ring")
    for name, size, _, _ in SHM_SIZES:
        for job in ("rtt", "oneway"):
            yield from shm_ahead(f"shm {job} {name}", size, job)


def shm_ahead(row, size, job):
    """Ahead of the rivals in every size; from 64 KiB on with loans, ten times of those who copy
    twice."""
    for rival in ("zmq", "nng"):
        if size < KIB:
            yield ahead(row, rival)
        else:
            yield Promise(f"{row}, loaned", (rival, row), 1 / 10 if job == "rtt" else 10,
                          f"{row}, loaned: 10 times {rival}")
    for rival in ("iceoryx", "ucx"):
        yield (ahead(row, rival) if size < KIB else
               ahead(f"{row}, loaned", (rival, row), f"{row}, loaned: ahead of {rival}"))


def peers_promises():
    most = {"tcp": 10000, "shm": 1000}
    for transport, peers in most.items():
        yield Promise(f"{transport} spread, {peers} peers",
                      ("netqueue", f"{transport} spread, 1 peers"), 1.5,
                      f"{transport}: a message among {peers} peers costs at most 1.5 x that of one")
    yield Promise("tcp broadcast, 10000 peers", "raw", 3,
                  "tcp, 1 KiB to 10,000 peers: at most 3 x bare sockets")
    row = "tcp spread, 10000 peers"
    yield Promise(row, None, 6 * KIB, "10,000 tcp peers: at most 6 KiB of heap each",
                  "heap_bytes_per_peer")
    yield Promise(row, None, 10, "10,000 tcp peers: attached within 10 s", "attach_s")
    yield Promise("tcp idle, 10000 peers, keep-alive 15s", None, 1,
                  "10,000 idle tcp peers: under 1 % of a core with keep-alive", reached=False)
    yield Promise("tcp idle, 10000 peers, keep-alive off", None, 0.01,
                  "10,000 idle tcp peers: under 0.01 % of a core without", reached=False)


def beside_promises():
    for transport in rows_beside.TRANSPORTS:
        for kind in rows_beside.KINDS:
            yield Promise(rows_beside.row(transport, f"a {kind} peer"),
                          ("netqueue", rows_beside.row(transport, "nobody")), 2,
                          f"{transport}: a {kind} peer at most doubles another's 99th percentile")


PROMISES = [*tcp_promises(), *broker_promises(), *memory_promises(), *shm_promises(),
            *peers_promises(), *beside_promises()]


def rows():
    """The names of the rows that promises are about."""
    return {promise.row for promise in PROMISES} | {
        promise.other[1] for promise in PROMISES if isinstance(promise.other, tuple)}


def measured(promise, key, records):
    """The ratios, or the figures themselves."""
    if not promise.other:
        return [record["result"][key] for record in records
                if (record["row"], record["program"]) == (promise.row, "netqueue")
                and record["result"].get(key)]
    program, row = (promise.other if isinstance(promise.other, tuple)
                    else (promise.other, promise.row))
    return figures.pairs(records, (promise.row, "netqueue"), (row, program), key)


def judge_one(promise, key, records):
    values = measured(promise, key, records)
    said = {"text": promise.text, "row": promise.row, "key": key, "limit": promise.limit,
            "absolute": not promise.other, "verdict": "NOT MEASURED"}
    if not values:
        return said
    said.update(figures.summary(values))
    median = statistics.median(values)
    good = better(key, median, promise.limit) or (promise.reached and median == promise.limit)
    said["verdict"] = "PASS" if good else "FALLS SHORT"
    said["settled"] = figures.settled(said, promise.limit)
    return said


def judge(keys, records, promises=None):
    """Of each promise about a row of `keys`, {row: key of its figure}, a dict that says whether it
    holds: verdict PASS, FALLS SHORT or NOT MEASURED, and whether the interval is all on that side.
    """
    return [judge_one(promise, promise.key or keys[promise.row], records)
            for promise in promises or PROMISES if promise.row in keys]
