"""What the project promises about speed, and whether it holds."""
import statistics

from comparelib.job import KIB, MIB
from comparelib.rows_shm import SHM_SIZES


# (job, other, limit, is the limit itself good enough, text).  Held against the limit is the ratio
# netqueue : other of the job's figure; whether more or less is better follows from the figure.
# `other` is a program of the same row, a row (program, row), or None: the figure itself.
PROMISES = [
    ("rtt 64 B, spinning", "raw", 1.3, True, "round trip, both spinning: at most 1.3 x raw"),
    ("rtt 64 B, sleeping", "raw", 1.3, True, "round trip, both sleeping: at most 1.3 x raw"),
    ("rtt 64 B, default", "raw", 1.3, True, "round trip, both spin then sleep: at most 1.3 x raw"),
    ("rtt 64 B, default", "zmq", 1 / 4, True, "round trip, defaults: 4 times faster than ZeroMQ"),
    ("rtt 64 B, default", "nng", 1 / 4, True, "round trip, defaults: 4 times faster than NNG"),
    ("oneway 64 B", "zmq", 1.5, True, "64 B one way: at least 1.5 x ZeroMQ"),
    ("oneway 64 B", "nng", 1.5, True, "64 B one way: at least 1.5 x NNG"),
    ("oneway 1 MiB", "raw", 0.9, True, "1 MiB one way: at least 0.9 of raw"),
    ("oneway 1 MiB", "zmq", 1.0, False, "1 MiB one way: ahead of ZeroMQ"),
    ("oneway 1 MiB", "nng", 1.0, False, "1 MiB one way: ahead of NNG"),
    ("sync 2 MiB, 8 MiB granted", None, 48 * MIB, False, "2 MiB sync: peak memory under 48 MiB"),
    ("tls oneway 64 KiB", "raw_tls", 0.8, True, "tls 64 KiB one way: at least 0.8 of OpenSSL"),
    ("tls oneway 1 MiB", "raw_tls", 0.8, True, "tls 1 MiB one way: at least 0.8 of OpenSSL"),
    ("mqtt rtt 64 B", "paho", 1.3, True, "mqtt round trip: at most 1.3 x paho"),
    ("mqtt oneway 64 B", "paho", 20, True, "mqtt 64 B one way: at least 20 x paho"),
    ("mqtt oneway 64 KiB", "paho", 0.85, True, "mqtt 64 KiB one way: at least 0.85 of paho"),
    ("mqtt oneway 1 MiB", "paho", 0.85, True, "mqtt 1 MiB one way: at least 0.85 of paho"),
    ("mqtt sync 2 MiB, 8 MiB granted", None, 96 * MIB, False,
     "mqtt 2 MiB sync: peak memory under 96 MiB"),
    ("mqtt async 2 MiB, 8 MiB granted", None, 96 * MIB, False,
     "mqtt 2 MiB async: peak memory under 96 MiB"),
    ("grpc rtt 64 B, sleeping", "raw_grpc", 1.3, True,
     "grpc round trip, both sleeping: at most 1.3 x raw"),
    ("grpc rtt 64 B, spinning", "raw_grpc", 1.3, True,
     "grpc round trip, both spinning: at most 1.3 x raw"),
    ("grpc oneway 64 B", "raw_grpc", 20, True, "grpc 64 B one way: at least 20 x raw"),
    ("grpc oneway 64 KiB", "raw_grpc", 0.85, True, "grpc 64 KiB one way: at least 0.85 of raw"),
    ("grpc oneway 1 MiB", "raw_grpc", 0.85, True, "grpc 1 MiB one way: at least 0.85 of raw"),
    ("grpc sync 2 MiB, 8 MiB granted", None, 96 * MIB, False,
     "grpc 2 MiB sync: peak memory under 96 MiB"),
    ("grpc async 2 MiB, 8 MiB granted", None, 96 * MIB, False,
     "grpc 2 MiB async: peak memory under 96 MiB"),
    ("shm rtt 40 B", "raw_shm", 2.5, True, "shm 40 B round trip: at most 2.5 x a bare ring"),
    ("shm rtt 4 MiB, loaned", ("netqueue", "shm rtt 40 B"), 2, True,
     "shm 4 MiB loaned round trip: at most 2 x that of 40 B"),
    ("shm rtt 40 B, sleeping", "unix", 1.3, True,
     "shm round trip, both sleeping: at most 1.3 x bare sockets"),
    ("shm oneway 40 B", "raw_shm", 0.5, True, "shm 40 B one way: at least 0.5 of a bare ring"),
]


def rival_promises():
    """Ahead of the rivals in every size, from 64 KiB on ten times, with loans."""
    for name, size, _, _ in SHM_SIZES:
        for job in ("rtt", "oneway"):
            row = f"shm {job} {name}"
            for rival in ("zmq", "nng"):
                if size < KIB:
                    yield (row, rival, 1.0, False, f"{row}: ahead of {rival} ipc")
                else:
                    yield (f"{row}, loaned", (rival, row), 1 / 10 if job == "rtt" else 10, True,
                           f"{row}, loaned: 10 times {rival} ipc")
            yield ((row, "iceoryx", 1.0, False, f"{row}: ahead of iceoryx") if size < KIB else
                   (f"{row}, loaned", ("iceoryx", row), 1.0, False,
                    f"{row}, loaned: ahead of iceoryx"))


PROMISES += rival_promises()


def judge(jobs, figures):
    """[(text, value, unit, verdict)] in the order of PROMISES."""
    by_name = {job.name: job for job in jobs}
    verdicts = []
    for name, other, limit, limit_is_good, text in PROMISES:
        if name not in by_name:
            continue
        ours = figures.get((name, "netqueue"))
        program, row = other if isinstance(other, tuple) else (other, name)
        theirs = figures.get((row, program)) if other else [1]
        if not ours or not theirs:
            verdicts.append((text, None, "NOT MEASURED"))
            continue
        value = statistics.median(ours) / statistics.median(theirs)
        good = by_name[name].better(value, limit) or (limit_is_good and value == limit)
        verdicts.append((text, value, "PASS" if good else "FALLS SHORT"))
    return verdicts


def shown(text, value):
    if value is None:
        return "-"
    if "memory" in text:
        return f"{value / MIB:.1f} MiB"
    return f"{1 / value:.2f} times" if "faster" in text else f"{value:.2f} x"
