"""The rows over shared memory, beside bare shared memory, sockets and rivals' `ipc`."""
from comparelib.job import KIB, MIB, Job, words


SHM_SIZES = [("40 B", 40, 300000, 8000000), ("64 KiB", 64 * KIB, 20000, 40000),
             ("1 MiB", MIB, 3000, 4000), ("4 MiB", 4 * MIB, 1000, 1000)]


def shm_jobs(quick, folder):
    """Between processes of one host, beside bare shared memory, sockets and rivals' `ipc`.

    A row of its own for loans: the same rivals, which it is judged against, copy.
    """
    cut = 4 if quick else 1
    jobs = [Job("shm rtt 40 B, sleeping", "p50_us", {
        "unix": words(f"rtt --size 40 --count {15000 // cut} --pattern unix"),
        "netqueue": words(f"bench rtt --transport shm --size 40 --json --count {15000 // cut} "
                          "--spin off")})]
    for name, size, trips, many in SHM_SIZES:
        for job, key, count, few in (
                ("rtt", "p50_us", trips // cut, min(trips, 10000) // cut),
                ("oneway", "messages_per_s" if size < KIB else "bytes_per_s", many // cut,
                 min(many, 400000) // cut)):
            spin = " --spin 10ms" if job == "rtt" else ""
            ours = f"bench {job} --transport shm --size {size} --json --count {count}{spin}"
            theirs = f"{job} --size {size} --count {few}"
            rivals = {
                "raw_shm": words(f"{job} --size {size} --count {count} --pattern bare"),
                "zmq": words(f"{theirs} --path {folder}/zmq"),
                "nng": words(f"{theirs} --path {folder}/nng"),
                "iceoryx": words(theirs)}
            jobs.append(Job(f"shm {job} {name}", key, {"netqueue": words(ours), **rivals}))
            if size > KIB:
                # No more in flight than the pool has, or what is put is copied after all.
                bounds = "" if job == "rtt" else " --credit 16MiB --queue-bytes 16MiB"
                jobs.append(Job(f"shm {job} {name}, loaned", key,
                                {"netqueue": words(f"{ours} --loan{bounds}")}))
    return jobs
