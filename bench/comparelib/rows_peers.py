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


def idle_job(peers, keepalive, seconds):
    said = f"@peers idle --peers {peers} --keepalive {keepalive} --seconds {seconds}"
    return Job(f"tcp idle, {peers} peers, keep-alive {keepalive}", "cpu_percent",
               {"netqueue": words(said)}, "tcp, many peers", runs=RUNS)


def peers_jobs(quick, transport):
    """A message to one of many, one to all of them, and none at all."""
    many = QUICK if quick else MANY[transport]
    count = 500 if quick else 20000
    jobs = [peers_job(transport, "spread", peers, count, "cpu_us_per_message") for peers in many]
    jobs += [peers_job(transport, "broadcast", peers, max(10, count // peers), "p50_us", KIB)
             for peers in many]
    if transport == "tcp":  # with keep-alive for two of its intervals
        jobs += [idle_job(many[-1], "15s", 30), idle_job(many[-1], "off", 10)]
    return jobs
