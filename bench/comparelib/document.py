"""What a run found, as one object that goes to the JSON file; tables and plots are made of it."""
from comparelib import figures, machine
from comparelib.job import KEYS


def program_figures(results):
    """{key: summary} of the runs of one program in one row."""
    found = {key: [result[key] for result in results if result.get(key) is not None]
             for key in KEYS}
    return {key: figures.summary(values) for key, values in found.items() if values}


def row_of(job, records):
    mine = [record for record in records if record["row"] == job.name]
    programs = list(dict.fromkeys(record["program"] for record in mine))
    row = {"row": job.name, "section": job.section, "key": job.key, "axis": job.axis,
           "published": job.published,
           "programs": {name: program_figures([record["result"] for record in mine
                                               if record["program"] == name])
                        for name in programs}, "ratios": {}}
    for name in programs:
        ratios = figures.pairs(mine, (job.name, "netqueue"), (job.name, name), job.key)
        if name != "netqueue" and ratios:
            row["ratios"][name] = figures.summary(ratios)
    return row


def make(facts, jobs, runner, absent, verdicts):
    """@param facts  of the machine and the run
    @param absent  {program: why}"""
    return {
        "machine": {**facts, "other_work": machine.quiet(runner.records)},
        "absent": absent,
        "settings": [{"row": row, "program": program, "args": args}
                     for (row, program), args in runner.settings.items()],
        "rows": [row_of(job, runner.records) for job in jobs],
        "promises": verdicts,
        "failures": runner.failures,
        "runs": runner.records,
    }
