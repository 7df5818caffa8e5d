"""What many peers cost a server: the program peers, beside sockets and nothing else."""
from comparelib.job import KIB, Job, words

MANY = {"tcp": (1, 10, 100, 1000, 10000), "shm": (1, 10, 100, 1000)}
QUICK = (1, 100)
RUNS = 6  # the least that has an interval: thousands of peers take seconds to come


def peers_job(transport, job, peers, count, key, size=64):
    said = f"@peers {job} --peers {peers} --count {count} --size {size}"
    programs = {"netqueue": words(f"{said} --transport {transport}")}
    if transport == "tcp":
        programs["raw"] = words(f"{said} --bare")
    return Job(f"{transport} {job}, {peers} peers", key, programs, f"{transport}, many peers",
               {"plot": f"{transport} {job} by number of peers", "x": peers}, runs=RUNS)


def peers_jobs(quick, transport):
    """A message to one of many, and one to all of them."""
    many = QUICK if quick else MANY[transport]
    count = 500 if quick else 5000
    jobs = [peers_job(transport, "spread", peers, count, "cpu_us_per_message") for peers in many]
    jobs += [peers_job(transport, "broadcast", peers, max(10, count // peers), "p50_us", KIB)
             for peers in many]
    return jobs
