"""What is printed."""
import os
import pathlib
import platform
import statistics
import subprocess
import time

from comparelib.job import MIB
from comparelib.programs import OURS

UNITS = {"p50_us": (1, "us p50"), "messages_per_s": (1e6, "M messages/s"),
         "bytes_per_s": (1e9, "GB/s"), "peak_rss_bytes": (MIB, "MiB peak")}
COLUMNS = ["netqueue", "base", "raw", "raw_tls", "raw_grpc", "raw_shm", "unix", "zmq", "nng",
           "iceoryx", "paho"]


def cell(values, scale):
    if not values:
        return "-"
    low, mid, high = min(values), statistics.median(values), max(values)
    digits = 1 if mid / scale >= 10 else 2 if mid / scale >= 1 else 3
    return " ".join([f"{mid / scale:.{digits}f}",
                     f"[{low / scale:.{digits}f}-{high / scale:.{digits}f}]"])


def print_table(jobs, figures):
    columns = [name for name in COLUMNS if any((job.name, name) in figures for job in jobs)]
    rows = [["", "", *columns]]
    for job in jobs:
        scale, unit = UNITS[job.key]
        rows.append([job.name, unit, *(cell(figures.get((job.name, column)), scale)
                                       for column in columns)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        names = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    return names[0] if names else platform.machine()


def head(runner):
    version = "netqueue not found"
    if "netqueue" in runner.programs:
        asked = subprocess.run([str(runner.programs["netqueue"]), "--version"],
                               env=runner.env["netqueue"], capture_output=True, text=True,
                               check=False)
        version = (asked.stdout.strip().splitlines() or ["unknown"])[0]
    congestion = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text("ascii")
    placement = ("CPUs " + ",".join(map(str, sorted(runner.cpus))) if runner.cpus
                 else "wherever the scheduler puts them")
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "kernel": platform.release(), "cpu": cpu_model(), "cpus": os.cpu_count(),
        "congestion": congestion.strip(), "placement": placement,
        "load": round(os.getloadavg()[0], 2), "netqueue": version, "repetitions": runner.runs,
    }


def print_head(facts):
    print(f"Linux {facts['kernel']}, {facts['cpus']} x {facts['cpu']}; loopback, system's "
          f"congestion control {facts['congestion']}")
    print(f"both processes {facts['placement']}; load before: {facts['load']}; "
          f"{facts['netqueue']}")
    print(f"medians of {facts['repetitions']} [min-max]\n")


def print_quiet(records):
    """Say how much of the machine was not ours: figures from a busy one decide nothing."""
    if not records:
        return
    for key, what in (("foreign", "other work"), ("steal", "the host")):
        shares = sorted(record["result"][key] for record in records)
        print(f"{what} took {100 * statistics.median(shares):.0f} % of the processors in the "
              f"median run, {100 * shares[-1]:.0f} % in the worst")


def pair_ratios(jobs, records):
    """{row: sorted ratios netqueue : base, one of each repetition that has both}"""
    ratios = {}
    for job in jobs:
        of = {(record["repetition"], record["program"]): record["result"][job.key]
              for record in records if record["row"] == job.name}
        pairs = [(of[turn, "netqueue"], of[turn, "base"]) for turn, name in of
                 if name == "base" and (turn, "netqueue") in of]
        if pairs:
            ratios[job.name] = sorted(ours / base for ours, base in pairs)
    return ratios


def print_pairs(ratios):
    """Medians of what was measured side by side, and the middle half: moods of the machine that
    last longer than a pair meet both."""
    if ratios:
        print("\nnetqueue : base, median of the pairs [middle half]:")
    for name, pairs in ratios.items():
        n = len(pairs)
        print(f"  {statistics.median(pairs):.3f} x [{pairs[n // 4]:.3f}-{pairs[-1 - n // 4]:.3f}]"
              f"  {name}, {n} pairs")


def print_settings(settings):
    print("\nsettings (of several, the best in short runs):")
    for (name, program), args in settings.items():
        if program not in OURS:
            print(f"  {name}, {program}: {' '.join(args)}")
