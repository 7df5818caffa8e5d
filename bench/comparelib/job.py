"""What a row of the table is."""

KIB, MIB = 1 << 10, 1 << 20

LESS_IS_BETTER = ("p50_us", "p99_us", "p999_us", "peak_rss_bytes", "cpu_us_per_message",
                  "heap_bytes_per_peer", "attach_s", "cpu_percent")
KEYS = (*LESS_IS_BETTER, "messages_per_s", "bytes_per_s")

OURS = ("netqueue", "base")  # the library's own command, of this build and of another


def better(key, one, other):
    """Is the figure `one` the better of the two?"""
    return one < other if key in LESS_IS_BETTER else one > other


class Job:
    """One row of the table: a job, the figure that counts, and a command per program.

    A program's value is a list of argument lists.  With more than one, short runs of each
    decide which of them takes part: everybody competes with the best settings.  A first word "@X"
    has another program run than the one that the column is named after.
    """

    def __init__(self, name, key, programs, section=None, axis=None, *, published=None, runs=None):
        """@param axis  where it stands in a plot: {"plot": of which, "x": at which place}
        @param published  {key: figure} that somebody else has measured somewhere else
        @param runs  repetitions at most, of what takes long"""
        self.name, self.key, self.programs = name, key, programs
        self.section, self.axis = section or "Round trips and rates", axis
        self.published, self.runs = published, runs

    def sequence(self, programs, turn):
        """[(group, program)]: who runs after whom in a repetition.  Each other program has a run of
        netqueue right before or after it, every second time the other way round: so both meet the
        same mood of the machine, and neither is always the first."""
        others = [name for name in self.programs if name != "netqueue" and name in programs]
        if "netqueue" not in self.programs or "netqueue" not in programs:
            steps = [(0, name) for name in others]
        elif not others:
            steps = [(0, "netqueue")]
        else:
            steps = [(at // 2, name) for at in range(0, len(others), 2)
                     for name in (others[at], "netqueue", *others[at + 1:at + 2])]
        return steps[::-1] if turn % 2 else steps


def words(*lines):
    return [line.split() for line in lines]


UCX_TESTS = ("tag", "am", "stream")


def ucx(job, size, count, layers):
    """Variants of the program ucx.  @param layers  values of UCX_TLS"""
    return words(*(f"{job} --size {size} --count {count} --tls {tls} --test {test}"
                   for tls in layers for test in UCX_TESTS))
