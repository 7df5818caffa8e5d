"""Running: everything once in each repetition, in turn."""
import json
import os
import resource
import statistics
import subprocess

from comparelib.programs import OURS, environment, note

TIMEOUT_S = 120  # of one run; the longest takes a few seconds
TRIES = 3  # short runs of each variant, before the best takes part


def cpu_times():
    """Seconds since boot: of all processors, stolen by the host, busy, busy for our runs."""
    with open("/proc/stat", encoding="ascii") as stat:
        ticks = [int(word) for word in stat.readline().split()[1:9]]
    user, nice, system, idle, iowait, irq, softirq, steal = (
        tick / os.sysconf("SC_CLK_TCK") for tick in ticks)
    busy = user + nice + system + irq + softirq
    ours = resource.getrusage(resource.RUSAGE_CHILDREN)
    return busy + idle + iowait + steal, steal, busy, ours.ru_utime + ours.ru_stime


class Runner:
    def __init__(self, programs, cpus, runs):
        self.programs, self.cpus, self.runs = programs, cpus, runs
        self.env = {name: environment(programs[name] if name in OURS else None)
                    for name in programs}
        self.records = []  # every timed run, for the JSON file
        self.failures = {}

    def place(self):
        if self.cpus:
            os.sched_setaffinity(0, self.cpus)

    def once(self, program, args):
        """Run once; the program's JSON as a dict, or None with the reason noted."""
        command = [str(self.programs[program]), *args]
        before = cpu_times()
        try:
            done = subprocess.run(command, env=self.env[program], capture_output=True, text=True,
                                  timeout=TIMEOUT_S, preexec_fn=self.place, check=False)
            lines = done.stdout.strip().splitlines()
            result = json.loads(lines[-1]) if lines else None
            why = f"exit code {done.returncode}: {done.stderr.strip()[-300:]}"
            result = result if done.returncode == 0 else None
        except subprocess.TimeoutExpired:
            result, why = None, f"not finished in {TIMEOUT_S} s"
        except (ValueError, OSError) as error:
            result, why = None, str(error)
        if result is None:
            self.failures[" ".join([program, *args])] = why
            note(f"  failed: {program} {' '.join(args)}: {why}")
            return None
        total, steal, busy, ours = (b - a for a, b in zip(before, cpu_times()))
        result["steal"] = round(steal / max(total, 0.01), 3)
        result["foreign"] = round(max(0, busy - ours) / max(total, 0.01), 3)
        return result

    def shorter(self, args):
        at = args.index("--count") + 1
        return args[:at] + [str(max(100, int(args[at]) // 4))] + args[at + 1:]

    def choose(self, job, program):
        """The arguments that take part: of several, the best in short runs."""
        variants = job.programs[program]
        if len(variants) == 1:
            return variants[0]
        best, chosen = None, None
        for args in variants:
            tries = [self.once(program, self.shorter(args)) for _ in range(TRIES)]
            values = [result[job.key] for result in tries if result]
            if not values:
                continue
            value = statistics.median(values)
            if best is None or job.better(value, best):
                best, chosen = value, args
        return chosen

    def run_all(self, jobs):
        """{(job, program): [figures]}"""
        plan = []
        for job in jobs:
            for program in job.programs:
                if program not in self.programs:
                    continue
                args = self.choose(job, program)
                if args:
                    plan.append((job, program, args))
        figures = {}
        for turn in range(self.runs):
            note(f"repetition {turn + 1} of {self.runs}")
            for job, program, args in plan if turn % 2 == 0 else plan[::-1]:
                result = self.once(program, args)
                if result is None or result.get(job.key) is None:
                    continue
                figures.setdefault((job.name, program), []).append(result[job.key])
                self.records.append(dict(repetition=turn + 1, row=job.name, program=program,
                                         args=args, result=result))
        return figures, {(job.name, program): args for job, program, args in plan}
