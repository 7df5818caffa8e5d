"""Reads the logs of chaos_end and says what is wrong in them.

What can be proven.  An end writes "P" before a put, "O" when its outcome is there, and "A" after
the get that returned the message and before its next get.  Each line is one write(), so after a
SIGKILL the log holds everything up to some moment in the life of each thread.

    among the living   a log is complete: each message that was put arrived once, in order, with
                       the right bytes, and its outcome is `delivered`
    `not delivered`    (cancelled, expired, dropped as well) is refuted by any arrival
    twice              by two lines "A" of one message, whatever its outcome
    order              of one sender's life, as its arrivals are logged, through all lives of the
                       receiver
    `delivered`        with "ack": "consumed" at the receiver, a message is acknowledged when get
                       has returned it.  A receiver that is killed between that and its "A" leaves
                       at most one message, the only one that its only getter had in hand:
                       delivered and not logged.  So such a message is excused once for each life
                       of the receiver that was killed, and only when no later message of its
                       sender was logged in that life.  All others refute the outcome.

An outcome that a killed sender did not log says nothing; the message may have arrived or not."""

import collections

DELIVERED, UNKNOWN = 1, 7
REFUSED_EVENT, GONE_EVENT, UP_EVENT, RESUMED_EVENT, DOWN_EVENT = 5, 4, 1, 2, 3
NAMES = ("pending", "delivered", "handed", "cancelled", "expired", "dropped", "not delivered",
         "unknown")


class Life:
    def __init__(self, number):
        self.number = number
        self.puts = collections.defaultdict(dict)  # to -> number -> tracked
        self.refused = set()  # (to, number)
        self.outcomes = {}  # (to, number) -> (outcome, reason)
        self.twice = []  # outcomes that were logged twice
        self.arrivals = []  # (from, life, number, good)
        self.events = collections.Counter()
        self.lines = []  # of events
        self.closed = None


def read(path):
    """The lives of the end that wrote the file at `path`, in order."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return parse(file)


def parse(file):
    lives = []
    for line in file:
        kind, *words = line.rstrip("\n").split(" ")
        if not line.endswith("\n"):
            break
        if kind == "L":
            lives.append(Life(int(words[0])))
            continue
        life = lives[-1]
        if kind == "P":
            life.puts[int(words[0])][int(words[1])] = words[3] == "1"
        elif kind == "R":
            life.refused.add((int(words[0]), int(words[1])))
        elif kind == "O":
            key = int(words[0]), int(words[1])
            if key in life.outcomes:
                life.twice.append(key)
            life.outcomes[key] = int(words[2]), " ".join(words[3:])
        elif kind == "A":
            life.arrivals.append((*map(int, words[:3]), words[3] == "1"))
        elif kind == "E":
            life.events[int(words[0])] += 1
            life.lines.append(line)
        elif kind == "C":
            life.closed = tuple(map(int, words))
    return lives


class Audit:
    """`logs`: end's number -> its lives.  `faults`: what is wrong, as lines for people."""

    def __init__(self, logs):
        self.logs = logs
        self.faults = []
        self.counts = collections.Counter()
        self.excused = 0

    def fault(self, text):
        self.faults.append(text)

    def arrivals(self, sender, life, receiver):
        """[(index of the receiver's life, number, good)] as they were logged."""
        return [(index, number, good)
                for index, own in enumerate(self.logs[receiver])
                for origin, of, number, good in own.arrivals
                if origin == sender and of == life]

    def pairs(self):
        for sender, lives in self.logs.items():
            for index, life in enumerate(lives):
                for receiver in life.puts:
                    yield sender, index, life, receiver
        for receiver, lives in self.logs.items():
            for own in lives:
                for origin, of, number, _ in own.arrivals:
                    if not any(life.number == of and number in life.puts[receiver]
                               for life in self.logs.get(origin, ())):
                        self.fault(f"{receiver} got {origin}.{of} #{number}, which was never put")

    def check_arrivals(self, sender, life, receiver):
        """What holds for all: once, in order, right.  Returns {number: receiver's life}."""
        where = f"{sender}.{life.number} -> {receiver}"
        got, last = {}, 0
        for index, number, good in self.arrivals(sender, life.number, receiver):
            self.counts["arrivals"] += 1
            if not good:
                self.fault(f"{where}: #{number} has wrong bytes")
            if number in got:
                self.fault(f"{where}: #{number} arrived twice")
            elif number < last:
                self.fault(f"{where}: #{number} arrived behind #{last}")
            if (receiver, number) in life.refused:
                self.fault(f"{where}: #{number} was refused and arrived")
            got[number] = index
            last = max(last, number)
        return got

    def living(self):
        for sender, _, life, receiver in self.pairs():
            where = f"{sender} -> {receiver}"
            got = self.check_arrivals(sender, life, receiver)
            self.counts["puts"] += len(life.puts[receiver])
            lost = [n for n in life.puts[receiver] if n not in got]
            if lost:
                self.fault(f"{where}: {len(lost)} of {len(life.puts[receiver])} never arrived, "
                           f"the first is #{lost[0]}")
            for number, tracked in life.puts[receiver].items():
                if tracked:
                    self.check_delivered(where, number, life.outcomes.get((receiver, number)))
        for end, lives in self.logs.items():
            if lives[0].twice:
                self.fault(f"{end}: outcomes that came twice: {lives[0].twice[:5]}")

    def check_delivered(self, where, number, found):
        outcome, reason = found or (0, "")
        self.counts[NAMES[outcome]] += 1
        if outcome != DELIVERED:
            self.fault(f"{where}: #{number} is {NAMES[outcome]} ({reason})")

    def killed(self):
        used = set()  # (receiver, life) whose excuse was taken
        for sender, index, life, receiver in self.pairs():
            where = f"{sender}.{life.number} -> {receiver}"
            got = self.check_arrivals(sender, life, receiver)
            self.counts["puts"] += len(life.puts[receiver])
            for number, tracked in life.puts[receiver].items():
                outcome, reason = life.outcomes.get((receiver, number), (0, ""))
                if tracked and outcome:
                    self.counts[NAMES[outcome]] += 1
                if outcome == DELIVERED and number not in got:
                    self.excuse(where, receiver, got, number, used)
                elif outcome not in (0, DELIVERED, UNKNOWN) and number in got:
                    self.fault(f"{where}: #{number} arrived and is {NAMES[outcome]} ({reason})")
                elif (tracked and not outcome and index == len(self.logs[sender]) - 1 and
                      (receiver, number) not in life.refused):
                    self.fault(f"{where}: #{number} has no outcome")
            if life.twice:
                self.fault(f"{where}: outcomes that came twice: {life.twice[:5]}")

    def excuse(self, where, receiver, got, number, used):
        before = [n for n in got if n < number]
        after = [n for n in got if n > number]
        # The lives that can have taken it: not one that logged a later message of this sender, and
        # the last never was killed.
        first = got[max(before)] if before else 0
        last = min(got[min(after)] if after else len(self.logs[receiver]),
                   len(self.logs[receiver]) - 1)
        for index in range(first, last):
            if (receiver, index) not in used:
                used.add((receiver, index))
                self.excused += 1
                return
        self.fault(f"{where}: #{number} is delivered and was never got")


# ---- does the auditor see? -------------------------------------------------------------------

# What an end 0 put to an end 1, what that logged, and words of the fault that must be found; None:
# there is none.  Of the living, then of the killed.
LIVING = (
    ("P 1 1 9 1;P 1 2 9 0;O 1 1 1 no reason", "A 0 1 1 1;A 0 1 2 1", None),
    ("P 1 1 9 1;P 1 2 9 0;O 1 1 1 no reason", "A 0 1 1 1", "never arrived"),
    ("P 1 1 9 1;O 1 1 1 no reason", "A 0 1 1 1;A 0 1 1 1", "arrived twice"),
    ("P 1 1 9 0;P 1 2 9 0", "A 0 1 2 1;A 0 1 1 1", "arrived behind"),
    ("P 1 1 9 0", "A 0 1 1 0", "wrong bytes"),
    ("P 1 1 9 1", "A 0 1 1 1", "is pending"),
    ("P 1 1 9 1;O 1 1 7 link", "A 0 1 1 1", "is unknown"),
    ("P 1 1 9 1;O 1 1 1 no;O 1 1 1 no", "A 0 1 1 1", "came twice"),
    ("P 1 1 9 0", "A 0 1 1 1;A 0 1 2 1", "never put"),
)
KILLED = (
    ("P 1 1 9 1;O 1 1 7 link", "", None),
    ("P 1 1 9 1;O 1 1 7 link", "A 0 1 1 1", None),
    ("P 1 1 9 1;O 1 1 7 link", "A 0 1 1 1;L 2;A 0 1 1 1", "arrived twice"),
    ("P 1 1 9 1;O 1 1 6 link", "A 0 1 1 1", "arrived and is not delivered"),
    ("P 1 1 9 1;R 1 1", "A 0 1 1 1", "was refused"),
    ("P 1 1 9 1", "", "no outcome"),
    ("P 1 1 9 1;O 1 1 1 no", "", "never got"),
    ("P 1 1 9 1;O 1 1 1 no", "L 2", None),
    ("P 1 1 9 1;P 1 2 9 1;O 1 1 1 no;O 1 2 1 no", "L 2", "never got"),
    ("P 1 1 9 1;P 1 2 9 1;O 1 1 1 no;O 1 2 1 no", "A 0 1 2 1;L 2", "never got"),
    ("P 1 1 9 1;P 1 2 9 1;O 1 1 1 no;O 1 2 1 no", "A 0 1 1 1;L 2", None),
)


def blind_spots():
    """Cases that an Audit judges wrongly, as lines for people."""
    found = []
    for cases, method in ((LIVING, Audit.living), (KILLED, Audit.killed)):
        for sender, receiver, fault in cases:
            audit = Audit({0: parse(f"L 1;{sender};".replace(";", "\n").splitlines(True)),
                           1: parse(f"L 1;{receiver};".replace(";;", ";").replace(";", "\n")
                                    .splitlines(True))})
            method(audit)
            if not (any(fault in line for line in audit.faults) if fault else not audit.faults):
                found.append(f"{sender} | {receiver}: {fault or 'no fault'} expected, "
                             f"{audit.faults or 'none'} found")
    return found
