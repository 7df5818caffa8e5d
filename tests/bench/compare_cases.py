"""Cases for compare_test.sh: the parts of bench/compare that run no program.  Prints TAP.

    compare_cases.py TOP_OF_THE_TREE"""
import contextlib
import io
import itertools
import pathlib
import sys
import traceback

TREE = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
sys.path.insert(0, str(TREE / "bench"))

# pylint: disable=wrong-import-position
from comparelib import document, figures, machine, markdown, plot  # noqa: E402
from comparelib import outside, programs, promises, report, runner  # noqa: E402
from comparelib import rows_beside, rows_broker, rows_more, rows_peers  # noqa: E402
from comparelib import rows_seed, rows_shm, rows_tcp, trace  # noqa: E402
from comparelib.job import Job, better  # noqa: E402


def record(row, program, value, turn=1, group=0, key="p50_us", **more):
    return {"row": row, "program": program, "repetition": turn, "group": group, "args": [],
            "result": {key: value, "foreign": 0.0, "steal": 0.0, **more}}


def close(one, other):
    return abs(one - other) < 1e-9


def all_jobs(quick):
    return [*rows_tcp.rtt_jobs(quick), *rows_tcp.oneway_jobs(quick),
            *rows_tcp.memory_jobs(quick, "tcp"), *rows_tcp.tls_jobs(quick, "/certs"),
            *rows_broker.mqtt_jobs(quick, 1883), *rows_broker.grpc_jobs(quick),
            *rows_shm.shm_jobs(quick, "/sockets"),
            *(job for transport in ("tcp", "mqtt", "grpc", "shm") for job in (
                *rows_more.size_jobs(quick, transport, "/sockets", 1883),
                *rows_more.paced_jobs(quick, transport, "/sockets", 1883),
                *rows_seed.seed_jobs(quick, transport, 1883))),
            *(job for transport in ("tcp", "shm")
              for job in (*rows_peers.peers_jobs(quick, transport),
                          *rows_beside.beside_jobs(quick, transport)))]


# ---- statistics ------------------------------------------------------------

def interval_is_that_of_the_books():
    """the ranks of the interval are those that tables of order statistics have"""
    for count, rank in ((6, 1), (8, 1), (9, 2), (15, 4), (20, 6), (25, 8), (50, 18)):
        assert figures.interval_rank(count) == rank, (count, figures.interval_rank(count))
    assert close(figures.coverage(15, 4), 0.96484375)
    assert close(figures.coverage(6, 1), 0.96875)


def interval_covers_what_it_says():
    """every interval has its probability: counted over all ways to fall around the median"""
    for count in (5, 6, 9, 12):
        rank = figures.interval_rank(count)
        inside = sum(rank <= sum(sides) <= count - rank
                     for sides in itertools.product((0, 1), repeat=count))
        assert close(inside / 2 ** count, figures.coverage(count, rank)), count


def few_figures_have_no_interval():
    """below six figures the interval is the range, and says how little that is"""
    for count in range(1, 6):
        said = figures.summary([float(i) for i in range(count)])
        assert (said["low"], said["high"]) == (0.0, count - 1.0)
        assert said["coverage"] < figures.WANTED
        assert not figures.settled(said, 100.0)


def summary_takes_any_order():
    """a summary does not depend on the order of the figures"""
    ordered = [float(i) for i in range(15)]
    said = figures.summary(ordered)
    assert said == figures.summary(ordered[::-1])
    assert (said["median"], said["low"], said["high"]) == (7.0, 3.0, 11.0)
    assert figures.settled(said, 11.5) and figures.settled(said, 2.5)
    assert not figures.settled(said, 11.0) and not figures.settled(said, 7.0)


def pairs_are_neighbours():
    """each run is held against the run of netqueue beside it, and no other"""
    records = [record("a", "raw", 2.0, group=0), record("a", "netqueue", 4.0, group=0),
               record("a", "zmq", 8.0, group=1), record("a", "netqueue", 2.0, group=1),
               record("a", "raw", 1.0, turn=2), record("a", "netqueue", 3.0, turn=2)]
    assert figures.pairs(records, ("a", "netqueue"), ("a", "raw"), "p50_us") == [2.0, 3.0]
    assert figures.pairs(records, ("a", "netqueue"), ("a", "zmq"), "p50_us") == [0.25]


def lone_runs_make_no_pair():
    """a run whose neighbour failed, or whose figure is missing, is in no pair"""
    records = [record("a", "raw", 2.0), record("a", "netqueue", 4.0, turn=2),
               record("a", "raw", None, turn=2)]
    assert not figures.pairs(records, ("a", "netqueue"), ("a", "raw"), "p50_us")
    assert not figures.pairs([], ("a", "netqueue"), ("a", "raw"), "p50_us")


def rows_are_paired_by_repetition():
    """figures of two rows are held against each other within a repetition"""
    records = [record("a", "netqueue", 6.0, turn=1), record("b", "netqueue", 3.0, turn=1),
               record("a", "netqueue", 8.0, turn=2), record("b", "netqueue", 2.0, turn=2, group=1)]
    assert figures.pairs(records, ("a", "netqueue"), ("b", "netqueue"), "p50_us") == [2.0, 4.0]


# ---- who runs after whom ------------------------------------------------------------

def everybody_stands_beside_us():
    """in every order each rival has a run of netqueue right before or after it"""
    names = ["raw", "unix", "zmq", "nng", "iceoryx"]
    for count in range(1, 6):
        job = Job("row", "p50_us", {"netqueue": [], **{name: [] for name in names[:count]}})
        for turn in (0, 1):
            steps = job.sequence([*names[:count], "netqueue"], turn)
            for at, (group, name) in enumerate(steps):
                assert name == "netqueue" or (group, "netqueue") in steps[max(0, at - 1):at + 2]
            assert sorted(name for _, name in steps if name != "netqueue") == sorted(names[:count])


def order_alternates():
    """every second repetition runs the other way round"""
    job = Job("row", "p50_us", {"raw": [], "netqueue": []})
    one, other = (job.sequence(["raw", "netqueue"], turn) for turn in (0, 1))
    assert one == other[::-1] and one != other


def other_programs_run():
    """a row may have another program run for a column, on the same processors"""
    run = runner.Runner({"netqueue": pathlib.Path("/ours"), "peers": pathlib.Path("/peers")},
                        (2, 3), 1)
    assert run.command("netqueue", ["bench", "rtt"]) == ["/ours", "bench", "rtt", "--pin", "2,3"]
    assert run.command("netqueue", ["@peers", "spread"]) == ["/peers", "spread", "--pin", "2,3"]


def trying_takes_few_messages():
    """a try has few messages, peers, bytes and seconds, and leaves all else as it is"""
    args = "spread --count 5000 --peers 9 --seconds 30 --count 7".split()
    assert runner.few(args) == "spread --count 100 --peers 9 --seconds 1 --count 7".split()
    assert runner.shorter(["rtt", "--count", "4000"]) == ["rtt", "--count", "1000"]
    assert runner.shorter(["mix"]) == ["mix"]


def absent_ones_do_not_run():
    """a program that is absent is in no sequence, and nobody waits for it"""
    job = Job("row", "p50_us", {"raw": [], "netqueue": [], "zmq": []})
    assert job.sequence(["raw"], 0) == [(0, "raw")]
    assert job.sequence(["netqueue"], 1) == [(0, "netqueue")]
    assert not job.sequence([], 0)


def rows_are_whole():
    """every row has a name of its own, and only programs that are known"""
    for quick in (False, True):
        jobs = all_jobs(quick)
        names = [job.name for job in jobs]
        assert len(names) == len(set(names)), names
        for job in jobs:
            assert set(job.programs) <= {"netqueue", *programs.RIVALS}, job.name
            for variants in job.programs.values():
                assert all("--count" in args for args in variants) or len(variants) == 1, job.name
            assert set(job.programs) <= set(report.COLUMNS) and job.key in report.UNITS


def counts_fit_the_time():
    """the faster a program is and the smaller its messages, the more of them it gets"""
    slow, fast = (100, 1e5, 1e9), (10, 1e6, 1e10)
    for job in ("rtt", "oneway"):
        assert rows_more.count_of(job, 64, slow) < rows_more.count_of(job, 64, fast)
        assert rows_more.count_of(job, 1 << 26, slow) == 40
        assert rows_more.count_of(job, 1 << 20, slow) < rows_more.count_of(job, 1 << 10, slow)


def published_figures_agree():
    """bytes and messages of what the seed published belong together, as far as it rounded them"""
    for (job, transport), figures_of in rows_seed.PUBLISHED.items():
        if job != "mix":
            size = figures_of["bytes_per_s"] / figures_of["messages_per_s"]
            assert 2.0e6 < size < 2.2e6, (job, transport, size)


# ---- the machine ------------------------------------------------------------

def pins_are_two_cores():
    """the two processes get two cores, two threads of one if there is no other, or one CPU"""
    pair = {0: {0, 1}, 1: {0, 1}, 2: {2, 3}, 3: {2, 3}}
    assert machine.choose_pins({0, 1, 2, 3}, pair.get) == (0, 2)
    assert machine.choose_pins({0, 1}, pair.get) == (0, 1)
    assert machine.choose_pins({3}, pair.get) == (3, 3)
    assert machine.cpu_list("0-2,5\n") == {0, 1, 2, 5}


def busy_machine_is_called_so():
    """a machine is quiet only if neither the host nor other work took much of it"""
    calm = [record("a", "raw", 1.0) for _ in range(3)]
    assert machine.quiet(calm)["quiet"] and machine.quiet([]) is None
    for key in ("foreign", "steal"):
        busy = [record("a", "raw", 1.0, **{key: 0.2}) for _ in range(3)]
        assert not machine.quiet(busy)["quiet"]
    assert machine.shares((0, 0, 0, 0), (10.0, 1.0, 6.0, 4.0)) == {"steal": 0.1, "foreign": 0.2}


# ---- verdicts ------------------------------------------------------------

def one_verdict(values, limit, other="raw", **more):
    promise = promises.Promise("a", other, limit, "text", **more)
    records = [one for turn, value in enumerate(values)
               for one in (record("a", "netqueue", value, turn), record("a", "raw", 1.0, turn))]
    return promises.judge({"a": "p50_us"}, records, [promise])[0]


def promises_hold_or_not():
    """less is better for times, more for rates; the limit itself counts as the promise says"""
    assert one_verdict([1.0] * 15, 1.15)["verdict"] == "PASS"
    assert one_verdict([1.2] * 15, 1.15)["verdict"] == "FALLS SHORT"
    assert one_verdict([1.0] * 15, 1.0)["verdict"] == "PASS"
    assert one_verdict([1.0] * 15, 1.0, reached=False)["verdict"] == "FALLS SHORT"
    assert better("messages_per_s", 2, 1) and better("p999_us", 1, 2)
    assert one_verdict([5.0] * 15, 6.0, other=None)["verdict"] == "PASS"
    assert one_verdict([5.0] * 15, 6.0, other=None)["absolute"]


def doubtful_is_called_so():
    """a promise is settled only if the whole interval lies on one side of the limit"""
    values = [1.0 + i / 10 for i in range(15)]
    assert not one_verdict(values, 1.65)["settled"]
    assert one_verdict(values, 5.0)["settled"]
    assert not one_verdict(values[:4], 5.0)["settled"]


def unmeasured_is_called_so():
    """what was not measured is neither kept nor broken, a row that was not asked for not there"""
    promise = promises.Promise("a", "zmq", 1.0, "text")
    assert promises.judge({"a": "p50_us"}, [], [promise])[0]["verdict"] == "NOT MEASURED"
    assert not promises.judge({"b": "p50_us"}, [], [promise])


def promises_are_about_rows():
    """every promise is about a row that there is, and a program or a row to hold it against"""
    jobs = {job.name: job for job in all_jobs(False)}
    for promise in promises.PROMISES:
        assert promise.row in jobs, promise
        if isinstance(promise.other, tuple):
            program, row = promise.other
            assert program in jobs[row].programs, promise
        elif promise.other:
            assert promise.other in jobs[promise.row].programs, promise
    assert promises.rows() <= set(jobs) and len(promises.rows()) < len(jobs)


# ---- calls -----------------------------------------------------------------

STRACE = """\
7 execve("netqueue", ...) = 0
7 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD, child_tidptr=0x7f) = 8
8 clone3({flags=CLONE_VM|CLONE_THREAD, stack=0x7f <unfinished ...>
7 clone3({flags=CLONE_VM|CLONE_THREAD, stack=0x7f}, 88) = 9
8 <... clone3 resumed> => {parent_tid=[10]}, 88) = 10
8 sendto(5, "a", 1, 0, NULL, 0) = 1
8 clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, {tv_sec=1}, NULL) = 0
7 recvfrom(6,  <unfinished ...>
10 epoll_wait(3,  <unfinished ...>
7 <... recvfrom resumed>"a", 1, 0, NULL, NULL) = 1
9 read(4, "", 8) = 0
+++ exited with 0 +++
""".splitlines()


def calls_are_of_their_threads():
    """the first process gets, the one that it forks puts, and threads of both are others"""
    found = trace.count(STRACE)
    assert found["put"] == {"clone3": 1, "sendto": 1}, found
    assert found["get"] == {"execve": 1, "clone": 1, "clone3": 1, "recvfrom": 1}, found
    assert found["others"] == {"epoll_wait": 1, "read": 1}, found


def figures_of_ucx_are_the_last():
    """of what ucx_perftest prints the last line counts, however it is set out"""
    said = ("iterations,50.0_percentile_lat,avg_lat,overall_lat,avg_bw,overall_bw,avg_mr,overall\n"
            "9,1,1,1,1,1,1,1\n   100,0.446,0.968,0.970,1008.87,1009.00,1033080,1033090\n")
    found = outside.perftest(said)
    assert (found["iterations"], found["p50"], found["overall_latency"]) == (100, 0.446, 0.97)
    assert (found["overall_MBps"], found["overall_rate"]) == (1009.0, 1033090)


def calls_of_a_message_are_a_difference():
    """what each run does once is no part of a message"""
    fewer = {"put": {"sendto": 10, "open": 5}, "get": {}}
    more = {"put": {"sendto": 110, "open": 5}, "get": {"read": 50}}
    assert trace.slope((fewer, more), (10, 110)) == {"put": {"sendto": 1.0}, "get": {"read": 0.5}}


# ---- what is written ------------------------------------------------------------

class Ran:
    """A runner that has run."""
    records = [one for turn in range(15) for one in (
        record("rtt", "netqueue", 10.0 + turn / 10, turn, p999_us=99.0),
        record("rtt", "raw", 10.0, turn),
        record("tcp one way, 64 B", "netqueue", 2e9, turn, key="bytes_per_s",
               cpu_us_per_message=0.5, messages_per_s=3e6))]
    settings = {("rtt", "raw"): ["rtt", "--count", "5"]}
    failures = {"zmq rtt": "exit code 1"}


def made():
    jobs = [Job("rtt", "p50_us", {"netqueue": [], "raw": []}, "tcp"),
            Job("nobody ran", "p50_us", {"netqueue": []}, "tcp"),
            Job("tcp one way, 64 B", "bytes_per_s", {"netqueue": []}, "by size",
                {"plot": "tcp one way by size", "x": 64})]
    facts = {"kernel": "6.1", "cpus": 2, "cpu": "Some CPU", "memory_bytes": 1 << 34,
             "hypervisor": "none", "placement": "both on CPU 0", "governor": "performance",
             "congestion": "cubic", "netqueue": "netqueue 0.1.0", "compiler": "cc 12",
             "date": "2026-01-01T00:00:00Z", "load_before": 0.1, "repetitions": 15}
    promise = promises.Promise("rtt", "raw", 1.15, "round trip: at most 1.15 x raw")
    verdicts = promises.judge({"rtt": "p50_us"}, Ran.records, [promise])
    return document.make(facts, jobs, Ran, {"nng": "not installed"}, verdicts)


def document_has_everything():
    """the document has figures, ratios and verdicts, and names who was absent or failed"""
    found = made()
    rtt = found["rows"][0]
    assert close(rtt["programs"]["netqueue"]["p50_us"]["median"], 10.7)
    assert rtt["programs"]["netqueue"]["p999_us"]["count"] == 15
    assert close(rtt["ratios"]["raw"]["median"], 1.07)
    assert found["promises"][0]["verdict"] == "PASS" and found["promises"][0]["settled"]
    assert "nng" in found["absent"] and "zmq rtt" in found["failures"]
    assert not found["rows"][1]["programs"] and found["machine"]["other_work"]["quiet"]


def print_says_it_all():
    """what is printed has the table, the verdicts, the machine and who was absent"""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        report.print_all(made())
    said = out.getvalue()
    for words in ("10.7 [10.3-11.1]", "PASS", "both on CPU 0", "Some CPU", "hypervisor: none",
                  "absent: nng: not installed", "1.070 x", "15 pairs", "quiet enough"):
        assert words in said, (words, said)
    assert "nobody ran" not in said


def page_gets_its_tables():
    """the tables go between the marks of a page, and the rest of it stays"""
    page = f"# Title\n\n{markdown.BEGIN}, --markdown -->\nold\n{markdown.END}\n\nmore\n"
    found = markdown.insert(page, markdown.text(made()))
    assert found.startswith("# Title\n\n" + markdown.BEGIN) and found.endswith("\n\nmore\n")
    assert "\nold\n" not in found and markdown.insert(found, markdown.text(made())) == found
    for words in ("| rtt | us p50 | 10.7 | 10.0 (1.07 x, 1.03-1.11) |", "| pass |",
                  "### 99.9th percentiles", "| 99.0 |", "- nng: not installed",
                  "### Processor time", "| 0.500 |", "- `zmq rtt`: exit code 1"):
        assert words in found, (words, found)


def page_without_marks_is_refused():
    """a page that has no marks, or has them the wrong way round, is left alone"""
    for page in ("", markdown.BEGIN, f"{markdown.END}\n{markdown.BEGIN}\n"):
        try:
            markdown.insert(page, "text")
        except ValueError:
            continue
        raise AssertionError(page)


def tables_are_tables():
    """every line of a table has as many cells as its head"""
    for block in markdown.text(made()).split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1, block


def plots_have_points():
    """a plot has a line of each program that was measured, with its interval"""
    found = plot.files(made(), pathlib.Path("plots"))
    assert {path.name for path in found} == {"tcp-one-way-by-size-bytes_per_s.svg",
                                             "tcp-one-way-by-size-messages_per_s.svg"}
    told = found[pathlib.Path("plots/tcp-one-way-by-size-bytes_per_s.svg")]
    assert "64 2 2 2\n" in told and 'title "netqueue"' in told and 'title "raw"' not in told
    for job in all_jobs(False):
        assert not job.axis or job.key in plot.DRAWN, job.name


def parts_are_in_the_release():
    """every part of compare, and every program that it runs, is in a list of the build"""
    listed = (TREE / "bench/bench.am").read_text("ascii")
    parts = [f"comparelib/{path.name}" for path in (TREE / "bench/comparelib").glob("*.py")]
    for name in (*parts, *(rival.source for rival in programs.RIVALS.values()),
                 *(f"{name}.c" for name in programs.OWN)):
        assert f"%D%/{name}" in listed, name


CASES = [case for case in list(globals().values()) if callable(case) and case.__doc__
         and getattr(case, "__module__", "") == "__main__" and not isinstance(case, type)]


def main():
    failed = 0
    for count, case in enumerate(CASES, 1):
        why = None
        try:
            case()
        except Exception:  # pylint: disable=broad-exception-caught
            why = traceback.format_exc()
        failed += why is not None
        print(f"{'not ok' if why else 'ok'} {count} - {' '.join(case.__doc__.split())}")
        if why:
            print("# " + why.strip().replace("\n", "\n# "))
    print(f"1..{len(CASES)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
