"""Rivals that are programs of other people: started as two processes, with the options and the
line of JSON that the programs of bench/ have."""
import argparse
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time

WAIT_S = 150  # for both of them
PERFTEST = ("iterations", "p50", "average", "overall_latency", "average_MBps", "overall_MBps",
            "average_rate", "overall_rate")


@dataclasses.dataclass
class Ended:
    """A process that has ended well."""
    out: str
    cpu_s: float


def arguments(name, jobs, **more):
    """@param more  further options and their defaults"""
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("job", choices=jobs)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--pin", default="")
    for option, default in more.items():
        parser.add_argument(f"--{option}", default=default)
    given = parser.parse_args()
    given.cpus = given.pin.split(",") if given.pin else [None, None]
    return given


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def listens(port):
    """Does somebody listen on the port?  Asked of the kernel: a connection would be taken for the
    client's."""
    wanted = f":{port:04X}"
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(path, encoding="ascii") as lines:
            for line in lines:
                fields = line.split()
                if fields[1].endswith(wanted) and fields[3] == "0A":
                    return True
    return False


def start(command, env=None):
    return subprocess.Popen(command, env=dict(os.environ, **(env or {})), text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def end(process):
    """Wait for it.  Ends this program when it failed."""
    out = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{process.args[0]}: exit code {process.returncode}: {out[-300:]}")
    return Ended(out, used.ru_utime + used.ru_stime)


def run_pair(server, client, port, env=None):
    """Both, to their ends.  @return server, client: Ended"""
    def overdue(*_):
        raise TimeoutError(f"not finished in {WAIT_S} s")
    signal.signal(signal.SIGALRM, overdue)
    signal.alarm(WAIT_S)
    processes = [start(server, env)]
    try:
        while not listens(port) and processes[0].poll() is None:
            time.sleep(0.005)
        processes.append(start(client, env))
        client_ended = end(processes[1])
        return end(processes[0]), client_ended
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()


def print_result(given, ended, messages, **figures):
    """Without its peak memory: what the kernel has of a program that Python started counts Python.
    @param messages  all that were sent, warm-up and answers included"""
    result = {"program": given.program, "job": given.job, "size": given.size,
              "messages": given.count, "p50_us": None, "p99_us": None, "p999_us": None, **figures}
    result["cpu_us_per_message"] = round(sum(one.cpu_s for one in ended) * 1e6 / messages, 4)
    result["peak_rss_bytes"] = None
    print(json.dumps(result))


def perftest(text):
    """The figures of the last line of CSV of ucx_perftest, by name."""
    rows = [line.split(",") for line in text.splitlines() if line.strip()[:1].isdigit()]
    if not rows or len(rows[-1]) < len(PERFTEST):
        sys.exit("ucx: no figures in: " + text[-300:])
    return dict(zip(PERFTEST, map(float, rows[-1])))
