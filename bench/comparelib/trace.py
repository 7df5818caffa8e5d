"""Reads what strace says of `netqueue bench paced`: which thread made how many calls of what."""
import re

# How the schedule itself waits, which is no work of the library's.
OWN = ("clock_nanosleep", "sched_yield")
STARTED = re.compile(r"^(\d+) +(\w+)\(")
RETURNED = re.compile(r"^(\d+) +(?:<\.\.\. )?(clone3?|v?fork)\b.*\) += (\d+)$")


def count(lines):
    """{"put" | "get" | "others": {call: number}}.  The first process gets; the one that it forks
    puts; both do so on their first threads."""
    calls, threads, getter, putter = {}, {}, None, None
    for line in lines:
        started, returned = STARTED.match(line), RETURNED.match(line)
        if started:
            who, name = started.groups()
            getter = getter or who
            calls.setdefault(who, {}).setdefault(name, 0)
            calls[who][name] += 1
            if name.startswith("clone") or name.endswith("fork"):
                threads[who] = "CLONE_THREAD" in line
        if returned and returned[1] == getter and not threads.get(getter):
            putter = putter or returned[3]
    found = {"put": {}, "get": {}, "others": {}}
    for who, mine in calls.items():
        into = found["put" if who == putter else "get" if who == getter else "others"]
        for name, number in mine.items():
            if name not in OWN:
                into[name] = into.get(name, 0) + number
    return found


def slope(found, messages):
    """The same of each message, from the counts of two runs; what is below 0.005 is left out."""
    fewer, more = found
    each = {thread: {name: (number - fewer[thread].get(name, 0)) / (messages[1] - messages[0])
                     for name, number in calls.items()} for thread, calls in more.items()}
    return {thread: {name: round(number, 4) for name, number in calls.items()
                     if abs(number) >= 0.005} for thread, calls in each.items()}
