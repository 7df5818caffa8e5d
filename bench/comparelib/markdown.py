"""The tables of docs/performance.md, made of a document."""
from comparelib import report
from comparelib.report import UNITS, number

BEGIN = "<!-- bench/compare writes from here"
END = "<!-- to here -->"


def table(lines):
    """@param lines  the first is the head"""
    def row(cells):
        return "| " + " | ".join(str(cell) for cell in cells) + " |"
    return "\n".join([row(lines[0]), row(["---"] * len(lines[0])), *map(row, lines[1:])])


def cell(row, name, key):
    """The median, and of a rival the ratio netqueue : rival with its interval."""
    figure = row["programs"].get(name, {}).get(key)
    if not figure:
        return "-"
    said = number(figure["median"], UNITS[key][0])
    ratio = row["ratios"].get(name) if key == row["key"] else None
    if not ratio:
        return said
    return f"{said} ({ratio['median']:.2f} x, {ratio['low']:.2f}-{ratio['high']:.2f})"


def figure_table(rows, key=None):
    """@param key  of another figure than the rows' own"""
    columns = [name for name in report.columns_of(rows)
               if any(row["programs"].get(name, {}).get(key or row["key"]) for row in rows)]
    lines = [["", "", *columns]]
    for row in rows:
        shown = key or row["key"]
        lines.append([row["row"], UNITS[shown][1],
                      *(cell(row, name, shown) for name in columns)])
    return table(lines)


def promise_table(promises):
    lines = [["promise", "measured", "holds"]]
    for promise in promises:
        doubt = "" if promise.get("settled", True) else ", not settled"
        lines.append([promise["text"], report.shown(promise),
                      promise["verdict"].lower() + doubt])
    return table(lines)


def with_figure(rows, key, wanted):
    return [row for row in rows if wanted(row)
            and any(key in figures for figures in row["programs"].values())]


def is_one_way(row):
    return "one way" in row["row"] or "oneway" in row["row"] or " at " in row["row"]


def sections(document):
    """[(title, what it says, in Markdown)], the empty ones left out."""
    rows = document["rows"]
    yield "The machine", "\n".join(f"- {line}" for line in report.machine_lines(
        document["machine"]))
    if document["promises"]:
        yield "What was promised", promise_table(document["promises"])
    for title, mine in report.sections_of(rows).items():
        yield title, figure_table(mine)
    for title, key, wanted in (
            ("99.9th percentiles", "p999_us", lambda row: row["key"] in ("p50_us", "p99_us")),
            ("Processor time of a message, both processes", "cpu_us_per_message", is_one_way),
            ("Peak memory of the larger process", "peak_rss_bytes", is_one_way)):
        mine = with_figure(rows, key, wanted)
        if mine:
            yield title, figure_table(mine, key)
    published = list(report.published_lines(document))
    if len(published) > 1:
        yield "The seed's jobs, and what it publishes of another machine", table(published)
    if document["absent"]:
        yield "Absent", "\n".join(f"- {name}: {why}"
                                  for name, why in document["absent"].items())
    if document["failures"]:
        yield "Failed", "\n".join(f"- `{command}`: {' '.join(why.split())}"
                                  for command, why in document["failures"].items())


def text(document):
    return "\n\n".join(f"### {title}\n\n{body}" for title, body in sections(document))


def insert(page, found):
    """The page with `found` between its marks.  ValueError: it has no such marks."""
    begin, end = page.find(BEGIN), page.find(END)
    if begin < 0 or end < begin:
        raise ValueError(f"there are no lines \"{BEGIN} ...\" and \"{END}\"")
    after = page.index("\n", begin) + 1
    return page[:after] + "\n" + found + "\n\n" + page[end:]
