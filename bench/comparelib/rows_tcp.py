"""The rows over tcp, with and without TLS."""
from comparelib.job import KIB, MIB, Job, ucx, words

SECTION = "tcp"


def rtt_jobs(quick):
    fast, slow = (20000, 4000) if quick else (60000, 15000)
    ours = "bench rtt --transport tcp --size 64 --json"
    asleep = words(f"rtt --count {slow}")
    return [
        Job("rtt 64 B, spinning", "p50_us", {
            "raw": words(f"rtt --wait spin --count {fast}"),
            "unix": words(f"rtt --pattern unix --wait spin --count {fast}"),
            "ucx": ucx("rtt", 64, fast, ("tcp",)),
            "netqueue": words(f"{ours} --count {fast} --spin 10ms")}, SECTION),
        Job("rtt 64 B, sleeping", "p50_us", {
            "raw": words(f"rtt --wait sleep --count {slow}"),
            "unix": words(f"rtt --pattern unix --wait sleep --count {slow}"),
            "netqueue": words(f"{ours} --count {slow} --spin off")}, SECTION),
        Job("rtt 64 B, default", "p50_us", {
            "raw": words(f"rtt --wait adaptive --spin 100 --count {fast}"),
            "unix": words(f"rtt --pattern unix --wait adaptive --spin 100 --count {fast}"),
            "netqueue": words(f"{ours} --count {fast}"),
            "zmq": asleep, "nng": asleep, "nano": asleep}, SECTION),
    ]


PATTERNS = {"zmq": ("--pattern pair", "--pattern push", "--pattern dealer"),
            "nng": ("--pattern pair0", "--pattern push", "--pattern pair0 --buffer 1000",
                    "--pattern push --buffer 1000"),
            "nano": ("--pattern pair", "--pattern push", f"--pattern pair --buffer {4 * MIB}",
                     f"--pattern push --buffer {4 * MIB}")}


def oneway_job(name, key, size, counts, raw):
    """@param counts  messages of the programs, "" = of those that are not named
    @param raw  variants of the bare programs"""
    def each(program, variants):
        count = counts.get(program, counts[""])
        return words(*(f"oneway --size {size} --count {count} {more}" for more in variants))
    ours = f"bench oneway --transport tcp --size {size} --json --count {counts['']}"
    programs = {"raw": each("raw", raw), "netqueue": words(ours),
                "unix": each("unix", [f"{more} --pattern unix" for more in raw]),
                **{rival: each(rival, more) for rival, more in PATTERNS.items()},
                "ucx": ucx("oneway", size, counts["zmq"], ("tcp",))}
    if size > KIB:
        programs["iperf"] = each("iperf", [""])
    return Job(name, key, programs, SECTION)


def oneway_jobs(quick):
    cut = 4 if quick else 1
    reads = [f"--wait {wait} --read {size * KIB}" for wait in ("sleep", "adaptive", "spin")
             for size in (64, 256, 1024)]
    small = [f"--batch {batch} --read {256 * KIB}" for batch in (16, 64, 256, 1024)]
    alone = f"oneway --size 64 --count {400000 // cut} --batch 1"

    def counts(ours, zmq, nng):
        return {"": ours // cut, "zmq": zmq // cut, "nng": nng // cut, "nano": nng // cut}
    return [
        Job("oneway 64 B, a write each", "messages_per_s", {
            "raw": words(alone), "unix": words(f"{alone} --pattern unix")}, SECTION),
        oneway_job("oneway 64 B", "messages_per_s", 64, counts(8000000, 4000000, 200000), small),
        oneway_job("oneway 64 KiB", "bytes_per_s", 64 * KIB, counts(60000, 40000, 30000), reads),
        oneway_job("oneway 1 MiB", "bytes_per_s", MIB, counts(6000, 4000, 4000), reads),
    ]


def tls_jobs(quick, certs):
    """With TLS, both sides with certificates, beside a C program that uses OpenSSL."""
    cut = 4 if quick else 1
    files = " ".join(f"--option tls.{key}={certs}/{key}.pem" for key in ("ca", "cert", "key"))
    return [Job(f"tls oneway {name}", "bytes_per_s", {
        "raw_tls": words(*(f"oneway --size {size} --count {count // cut} --read {read * KIB}"
                           for read in (16, 64, 256))),
        "netqueue": words(f"bench oneway --transport tcp --size {size} --json "
                          f"--count {count // cut} {files}")}, SECTION)
            for name, size, count in (("64 KiB", 64 * KIB, 20000), ("1 MiB", MIB, 1200))]


def memory_jobs(quick, transport, options=""):
    """What the queues of both sides cost at most, of which each was granted 8 MiB."""
    count = 100 if quick else 400
    return [Job(f"{transport} {job} 2 MiB, 8 MiB granted", "peak_rss_bytes", {"netqueue": words(
        f"bench {job} --transport {transport} {options} --size {2 * MIB} --count {count} --json "
        "--queue-bytes 8MiB --credit 8MiB --policy block")}, "Memory")
            for job in ("sync", "async")]
