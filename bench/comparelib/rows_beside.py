"""What a peer that stands still, is slow or means harm costs another: the program beside."""
from comparelib.job import Job, words

TRANSPORTS = ("tcp", "shm")
KINDS = ("stalled", "slow", "hostile")


def row(transport, kind):
    return f"{transport} round trip beside {kind}"


def beside_jobs(quick, transport):
    count = 4000 if quick else 20000
    return [Job(row(transport, f"a {kind} peer" if kind != "nobody" else kind), "p99_us",
                {"netqueue": words(f"@beside {kind} --count {count} --transport {transport}")},
                "Beside those who behave badly")
            for kind in ("nobody", *KINDS)]
