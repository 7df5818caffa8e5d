"""Plots of a document, as programs for gnuplot, which draws SVG."""
import pathlib
import shutil
import subprocess

from comparelib.report import COLUMNS, UNITS

# What is drawn of a plot whose rows have this figure.
DRAWN = {"p50_us": ("p50_us",), "bytes_per_s": ("bytes_per_s", "messages_per_s"),
         "p99_us": ("p50_us", "p99_us", "p999_us"),
         "cpu_us_per_message": ("cpu_us_per_message", "p50_us")}


def plots(document):
    """{name: its rows}"""
    found = {}
    for row in document["rows"]:
        if row["axis"] and row["programs"]:
            found.setdefault(row["axis"]["plot"], []).append(row)
    return found


def points(rows, program, key):
    """"x median low high" for each row in which the program has that figure."""
    scale = UNITS[key][0]
    said = [(row["axis"]["x"], row["programs"][program][key]) for row in rows
            if key in row["programs"].get(program, {})]
    return [f"{x} {figure['median'] / scale:g} {figure['low'] / scale:g} "
            f"{figure['high'] / scale:g}" for x, figure in sorted(said, key=lambda one: one[0])]


def axis_label(name):
    return ("bytes of a message" if name.endswith("by size") else
            "messages in a second" if name.endswith("rates") else "peers")


def script(name, rows, key, path):
    """What gnuplot is told; "" if there is nothing to draw."""
    series = {who: points(rows, who, key) for who in COLUMNS}
    series = {who: lines for who, lines in series.items() if lines}
    if not series:
        return ""
    blocks = [f"$data{i} << EOD\n" + "\n".join(lines) + "\nEOD"
              for i, lines in enumerate(series.values())]
    drawn = ", ".join(f'$data{i} using 1:2:3:4 with yerrorlines title "{who}"'
                      for i, who in enumerate(series))
    return "\n".join([
        *blocks, 'set terminal svg size 900,540 background "white"', f'set output "{path}"',
        f'set title "{name}, {UNITS[key][1]}"', f'set xlabel "{axis_label(name)}"',
        f'set ylabel "{UNITS[key][1]}"', "set logscale xy", "set grid", "set key outside",
        "set bars small", f"plot {drawn}", ""])


def files(document, folder):
    """{path: what gnuplot is told for it}"""
    found = {}
    for name, rows in plots(document).items():
        for key in DRAWN[rows[0]["key"]]:
            path = folder / f"{name} {key}.svg".replace(" ", "-").replace(",", "")
            told = script(name, rows, key, path)
            if told:
                found[path] = told
    return found


def draw(document, folder):
    """Draw all of them below `folder`.  @return the paths; None: gnuplot is not installed"""
    if not shutil.which("gnuplot"):
        return None
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = files(document, folder)
    for told in wanted.values():
        subprocess.run(["gnuplot"], input=told, text=True, check=True)
    return list(wanted)
