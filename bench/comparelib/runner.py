"""Running: every program beside netqueue, again and again, in turn."""
import json
import statistics
import subprocess

from comparelib import machine
from comparelib.job import OURS, better
from comparelib.programs import environment, note

TIMEOUT_S = 180  # of one run; the longest takes a few seconds
TRIES = 3  # short runs of each variant, before the best takes part


class Runner:
    def __init__(self, programs, pins, runs):
        """@param pins  two CPUs, or None"""
        self.programs, self.pins, self.runs = programs, pins, runs
        self.daemons = []  # processes that serve the runs, and are no other work
        self.env = {name: environment(programs[name] if name in OURS else programs.get("netqueue"))
                    for name in programs}
        self.records = []  # every timed run
        self.settings = {}  # (row, program): the arguments that take part
        self.failures = {}

    def command(self, program, args):
        place = ["--pin", f"{self.pins[0]},{self.pins[1]}"] if self.pins else []
        if args[0].startswith("@"):
            program, args = args[0][1:], args[1:]
        return [str(self.programs[program]), *args, *place]

    def once(self, program, args):
        """Run once; the program's JSON as a dict, or None with the reason noted."""
        before = machine.times(self.daemons)
        try:
            done = subprocess.run(self.command(program, args), env=self.env[program],
                                  capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
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
        result.update(machine.shares(before, machine.times(self.daemons)))
        return result

    def choose(self, job, program):
        """The arguments that take part: of several, the best in short runs."""
        variants = job.programs[program]
        if len(variants) == 1:
            return variants[0]
        best, chosen = None, None
        for args in variants:
            tries = [self.once(program, shorter(args)) for _ in range(TRIES)]
            values = [result[job.key] for result in tries if result]
            if not values:
                continue
            value = statistics.median(values)
            if best is None or better(job.key, value, best):
                best, chosen = value, args
        return chosen

    def run_all(self, jobs):
        for job in jobs:
            for program in job.programs:
                args = program in self.programs and self.choose(job, program)
                if args:
                    self.settings[job.name, program] = args
        try:
            for turn in range(self.runs):
                note(f"repetition {turn + 1} of {self.runs}")
                for job in jobs if turn % 2 == 0 else jobs[::-1]:
                    if turn < (job.runs or self.runs):
                        self.run_row(job, turn)
        except KeyboardInterrupt:
            note("interrupted: this is what there is")

    def try_all(self, jobs):
        """Each program of each row once, in all variants, with few messages: does it work here?
        @return how many did not"""
        tried = 0
        for job in jobs:
            for program in job.programs:
                for args in job.programs[program] if program in self.programs else []:
                    self.once(program, few(args))
                    tried += 1
        note(f"{tried} commands, {len(self.failures)} of them failed")
        return len(self.failures)

    def run_row(self, job, turn):
        taking_part = [name for name in job.programs if (job.name, name) in self.settings]
        for group, program in job.sequence(taking_part, turn):
            args = self.settings[job.name, program]
            result = self.once(program, args)
            if result and result.get(job.key) is not None:
                self.records.append({"repetition": turn + 1, "row": job.name, "group": group,
                                     "program": program, "args": args, "result": result})


FEW = {"--count": 100, "--peers": 50, "--max-exponent": 12, "--seconds": 1}


def few(args):
    """The same with hardly any messages; nothing that it says of speed is worth anything."""
    return [str(min(int(word), FEW[before])) if before in FEW else word
            for before, word in zip(["", *args], args)]


def shorter(args):
    """The same with a quarter of the messages."""
    if "--count" not in args:
        return args
    at = args.index("--count") + 1
    return args[:at] + [str(max(100, int(args[at]) // 4))] + args[at + 1:]
