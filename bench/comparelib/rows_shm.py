"""The rows over shared memory, beside bare shared memory, sockets and rivals' `ipc`."""
from comparelib.job import KIB, MIB, Job, ucx, words

SECTION = "shm"
SHM_SIZES = [("40 B", 40, 300000, 8000000), ("64 KiB", 64 * KIB, 20000, 40000),
             ("1 MiB", MIB, 3000, 4000), ("4 MiB", 4 * MIB, 1000, 1000)]
# Of those whose payload lies there already, a microsecond each: a thousand were over before both
# sides were awake.
LENT = 50000


def shm_jobs(quick, folder):
    """Between processes of one host.  A row of its own for loans: it is held against the same
    rivals, which copy.  @param folder  for the rivals' sockets"""
    cut = 4 if quick else 1
    jobs = [sleeping_job(15000 // cut)]
    for name, size, trips, many in SHM_SIZES:
        jobs += size_jobs("rtt", name, size, (trips // cut, min(trips, 10000) // cut), folder)
        jobs += size_jobs("oneway", name, size, (many // cut, min(many, 400000) // cut), folder)
    return jobs


def sleeping_job(count):
    return Job("shm rtt 40 B, sleeping", "p50_us", {
        "futex": words(f"rtt --size 40 --count {count} --pattern futex"),
        "unix": words(f"rtt --size 40 --count {count} --pattern unix"),
        "netqueue": words(f"bench rtt --transport shm --size 40 --json --count {count} "
                          "--spin off")}, SECTION)


def size_jobs(job, name, size, counts, folder):
    """@param counts  messages of those that share memory, and of those with system calls"""
    lent = max(counts[1], LENT) if size > KIB else counts[1]
    key = "p50_us" if job == "rtt" else "messages_per_s" if size < KIB else "bytes_per_s"
    spin = " --spin 10ms" if job == "rtt" else ""
    ours = f"bench {job} --transport shm --size {size} --json --count {counts[0]}{spin}"
    bare = f"{job} --size {size} --count {counts[0]}"
    theirs = f"{job} --size {size} --count {counts[1]}"
    yield Job(f"shm {job} {name}", key, {
        "raw_shm": words(f"{bare} --pattern bare"), "netqueue": words(ours),
        "futex": words(f"{theirs} --pattern futex"),
        "unix": words(f"{theirs} --pattern unix --batch 64"),
        "zmq": words(f"{theirs} --path {folder}/zmq"),
        "nng": words(f"{theirs} --path {folder}/nng"),
        "nano": words(f"{theirs} --path {folder}/nano"),
        "ucx": ucx(job, size, counts[0], ("posix", "posix,cma") if size > KIB else ("posix",)),
        "iceoryx": words(f"{job} --size {size} --count {lent}")}, SECTION)
    if size > KIB:
        # No more in flight than the pool has, or what is put is copied after all.
        bounds = "" if job == "rtt" else " --credit 16MiB --queue-bytes 16MiB"
        ours = f"bench {job} --transport shm --size {size} --json --count {lent}{spin} --loan{bounds}"
        yield Job(f"shm {job} {name}, loaned", key, {"netqueue": words(ours)}, SECTION)
