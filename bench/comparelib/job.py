"""What a row of the table is."""

KIB, MIB = 1 << 10, 1 << 20


class Job:
    """One row of the table: a job, the figure that counts, and a command per program.

    A program's value is a list of argument lists.  With more than one, short runs of each
    decide which of them takes part: everybody competes with the best settings.
    """

    def __init__(self, name, key, programs):
        self.name, self.key, self.programs = name, key, programs

    def better(self, a, b):
        return a < b if self.key in ("p50_us", "peak_rss_bytes") else a > b


def words(*lines):
    return [line.split() for line in lines]
