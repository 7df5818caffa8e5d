"""What is printed: tables of a document, for people at a terminal."""
from comparelib.job import MIB, OURS

UNITS = {"p50_us": (1, "us p50"), "p99_us": (1, "us p99"), "p999_us": (1, "us p99.9"),
         "messages_per_s": (1e6, "M messages/s"), "bytes_per_s": (1e9, "GB/s"),
         "heap_bytes_per_peer": (1, "bytes a peer"), "attach_s": (1, "s to attach"),
         "cpu_percent": (1, "% of a core"),
         "peak_rss_bytes": (MIB, "MiB peak"), "cpu_us_per_message": (1, "us CPU/message")}
COLUMNS = ["netqueue", "base", "raw", "raw_tls", "raw_grpc", "raw_shm", "futex", "unix", "ucx",
           "iperf", "zmq", "nng", "nano", "iceoryx", "paho"]


def number(value, scale):
    value /= scale
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f}"


def cell(figure, scale):
    if not figure:
        return "-"
    return (f"{number(figure['median'], scale)} "
            f"[{number(figure['low'], scale)}-{number(figure['high'], scale)}]")


def columns_of(rows):
    return [name for name in COLUMNS if any(name in row["programs"] for row in rows)]


def sections_of(rows):
    """{section: its rows}, in their order."""
    found = {}
    for row in rows:
        if row["programs"]:
            found.setdefault(row["section"], []).append(row)
    return found


def print_columns(lines):
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip())


def print_tables(document):
    for section, rows in sections_of(document["rows"]).items():
        columns = columns_of(rows)
        lines = [[section, "", *columns]]
        for row in rows:
            scale, unit = UNITS[row["key"]]
            lines.append([row["row"], unit, *(cell(row["programs"].get(name, {}).get(row["key"]),
                                                   scale) for name in columns)])
        print_columns(lines)
        print()


PUBLISHED_UNITS = {**UNITS, "messages_per_s": (1, "messages/s")}


def published_lines(document):
    """Figures of other people's machines beside ours: a table of their own, as nothing can be said
    of them but that they are there."""
    units = [(key, *PUBLISHED_UNITS[key])
             for key in ("bytes_per_s", "messages_per_s", "peak_rss_bytes")]
    yield ["netqueue here / net-queue as published", *(unit for _, _, unit in units)]
    for row in document["rows"]:
        ours = row["programs"].get("netqueue")
        if row["published"] and ours:
            yield [row["row"], *(f"{number(ours[key]['median'], scale)} / "
                                 f"{number(row['published'][key], scale)}"
                                 for key, scale, _ in units)]


def print_published(document):
    lines = list(published_lines(document))
    if len(lines) > 1:
        print_columns(lines)
        print()


def shown(promise):
    """The figure of a promise, or the ratio."""
    if promise["verdict"] == "NOT MEASURED":
        return "-"
    if promise["absolute"]:
        scale, unit = UNITS[promise["key"]]
        return f"{number(promise['median'], scale)} {unit}"
    return f"{promise['median']:.3g} x [{promise['low']:.3g}-{promise['high']:.3g}]"


def print_promises(document):
    lines = [[promise["verdict"] + ("" if promise.get("settled", True) else " (not settled)"),
              shown(promise), promise["text"]] for promise in document["promises"]]
    if lines:
        print_columns(lines)
        print("not settled: the limit lies within the interval, or the pairs are too few for one\n")


def print_pairs(document):
    lines = [[f"{ratio['median']:.3f} x [{ratio['low']:.3f}-{ratio['high']:.3f}]",
              f"{ratio['count']} pairs, {100 * ratio['coverage']:.1f} %", f"{row['row']}: {name}"]
             for row in document["rows"] for name, ratio in row["ratios"].items()]
    if lines:
        print("netqueue : other, median of the pairs [interval], and how sure that is:")
        print_columns(lines)
        print()


def print_settings(document):
    print("settings (of several, the best in short runs):")
    for chosen in document["settings"]:
        if chosen["program"] not in OURS:
            print(f"  {chosen['row']}, {chosen['program']}: {' '.join(chosen['args'])}")
    for name, why in document["absent"].items():
        print(f"absent: {name}: {why}")
    print()


def machine_lines(facts):
    """What has to be known about the machine to read the figures."""
    yield (f"Linux {facts['kernel']}, {facts['cpus']} x {facts['cpu']}, "
           f"{facts['memory_bytes'] / (1 << 30):.0f} GiB; hypervisor: {facts['hypervisor']}")
    yield (f"placement: {facts['placement']}; frequency governor: {facts['governor']}; "
           f"loopback, congestion control {facts['congestion']}")
    yield f"{facts['netqueue']}; {facts['compiler']}; {facts['date']}"
    work = facts["other_work"]
    if work:
        shares = [f"{what} took {100 * work[key]['median']:.0f} % of the processors in the median "
                  f"run, {100 * work[key]['worst']:.0f} % in the worst"
                  for key, what in (("foreign", "other work"), ("steal", "the host"))]
        yield (f"load before {facts['load_before']}; {'; '.join(shares)}: "
               f"{'quiet enough' if work['quiet'] else 'NOT QUIET, so nothing is decided'}")


def print_all(document):
    facts = document["machine"]
    for line in machine_lines(facts):
        print(line)
    print(f"medians of {facts['repetitions']} repetitions [95 % interval of the median; below six "
          "repetitions the range]\n")
    print_tables(document)
    print_published(document)
    print_promises(document)
    print_pairs(document)
    print_settings(document)
