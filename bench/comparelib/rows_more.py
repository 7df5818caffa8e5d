"""The rows that plots are made of: latency and throughput by size, latency at fixed rates.

No settings are tried here: each program has those that are good in the middle of the range, and
waits as it does by default, but for UCX, iceoryx and bare shared memory, which always spin."""
from comparelib.job import KIB, MIB, Job, words

SIZES = [("64 B", 64), ("256 B", 256), ("1 KiB", KIB), ("4 KiB", 4 * KIB), ("16 KiB", 16 * KIB),
         ("64 KiB", 64 * KIB), ("256 KiB", 256 * KIB), ("1 MiB", MIB), ("4 MiB", 4 * MIB)]
QUICK_SIZES = ("64 B", "64 KiB", "1 MiB")
RATES = (1000, 10000, 100000)  # messages in a second
RUN_S = 0.25  # about so long is each timed part

# (us of a round trip, messages/s, bytes/s): what a program is about capable of, so that its runs
# take about the same time.  Only the count of messages depends on it.
FAST, BATCHED, SLOW = (20, 4e6, 2.5e9), (100, 2e6, 2e9), (120, 150e3, 1.5e9)
SHARED = (1, 8e6, 8e9)
ABLE = {"netqueue": FAST, "raw": FAST, "unix": FAST, "ucx": FAST, "zmq": BATCHED, "nng": SLOW,
        "nano": (150, 400e3, 1.5e9), "iperf": FAST, "raw_grpc": (150, 80e3, 1.5e9),
        "paho": (250, 40e3, 600e6)}
ABLE_SHM = {**ABLE, "netqueue": SHARED, "raw_shm": SHARED, "futex": (80, 2e6, 4e9),
            "iceoryx": (3, 700e3, 5e9), "ucx": SHARED}
ABLE_MQTT = {**ABLE, "netqueue": (250, 800e3, 600e6)}
ABLE_GRPC = {**ABLE, "netqueue": (100, 2e6, 1.5e9)}


def count_of(job, size, able):
    """Messages that take about RUN_S, at least 40."""
    trip_us, rate, bandwidth = able
    each_s = (trip_us / 1e6 + 2 * size / bandwidth if job == "rtt"
              else max(1 / rate, size / bandwidth))
    return max(40, int(RUN_S / each_s))


def ways(folder, port):
    """{transport: (its programs with their options, what they are capable of)}"""
    return {
        "tcp": ({"raw": "--wait adaptive --batch 64", "unix": "--wait adaptive --pattern unix "
                 "--batch 64", "zmq": "", "nng": "", "nano": "", "ucx": "--tls tcp"}, ABLE),
        "shm": ({"raw_shm": "--pattern bare", "futex": "--pattern futex", "unix": "--wait adaptive "
                 "--pattern unix --batch 64", "iceoryx": "", "ucx": "--tls posix",
                 "zmq": f"--path {folder}/zmq", "nng": f"--path {folder}/nng",
                 "nano": f"--path {folder}/nano"}, ABLE_SHM),
        "mqtt": ({"paho": f"--port {port} --wait adaptive"}, ABLE_MQTT),
        "grpc": ({"raw_grpc": "--wait adaptive"}, ABLE_GRPC),
    }


def size_job(transport, job, name, size, way, ours):
    others, able = way
    programs = {program: words(f"{job} --size {size} --count {count_of(job, size, able[program])} "
                               f"{options}") for program, options in others.items()}
    count = count_of(job, size, able["netqueue"])
    programs["netqueue"] = words(f"bench {job} --transport {transport} {ours} --json "
                                 f"--size {size} --count {count}")
    key, what = ("p50_us", "round trip") if job == "rtt" else ("bytes_per_s", "one way")
    return Job(f"{transport} {what}, {name}", key, programs, f"{transport}, {what} by size",
               {"plot": f"{transport} {what} by size", "x": size})


def size_jobs(quick, transport, folder, port):
    ours = f"--option port={port}" if transport == "mqtt" else ""
    return [size_job(transport, job, name, size, ways(folder, port)[transport], ours)
            for job in ("rtt", "oneway") for name, size in SIZES
            if not quick or name in QUICK_SIZES]


def paced_jobs(quick, transport, folder, port):
    """Latency at fixed rates, each message counted from when it was due."""
    others, _ = ways(folder, port)[transport]
    option = f"--option port={port}" if transport == "mqtt" else ""
    jobs = []
    for rate in RATES:
        count = max(500, rate // (8 if quick else 2))
        programs = {program: words(f"paced --rate {rate} --count {count} {options}")
                    for program, options in others.items() if program != "ucx"}
        programs["netqueue"] = words(f"bench paced --transport {transport} {option} --json "
                                     f"--size 64 --rate {rate} --count {count}")
        jobs.append(Job(f"{transport} at {rate}/s", "p99_us", programs,
                        f"{transport}, 64 B one way at fixed rates",
                        {"plot": f"{transport} latency at fixed rates", "x": rate}))
    return jobs
