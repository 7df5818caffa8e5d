"""The rows over tcp, TLS, mqtt and grpc."""
from comparelib.job import KIB, MIB, Job, words


def rtt_jobs(quick):
    fast, slow = (20000, 4000) if quick else (60000, 15000)
    ours = f"bench rtt --transport tcp --size 64 --json --count {fast}"
    sleepy = f"bench rtt --transport tcp --size 64 --json --count {slow} --spin off"
    return [
        Job("rtt 64 B, spinning", "p50_us", {
            "raw": words(f"rtt --wait spin --count {fast}"),
            "netqueue": words(ours + " --spin 10ms")}),
        Job("rtt 64 B, sleeping", "p50_us", {
            "raw": words(f"rtt --wait sleep --count {slow}"),
            "netqueue": words(sleepy)}),
        Job("rtt 64 B, default", "p50_us", {
            "raw": words(f"rtt --wait adaptive --spin 100 --count {fast}"),
            "netqueue": words(ours),
            "zmq": words(f"rtt --count {slow}"),
            "nng": words(f"rtt --count {slow}")}),
    ]


def oneway_job(name, key, size, counts, raw, zmq, nng):
    """`counts`: messages for raw and netqueue, for zmq, for nng; the rest are variants."""
    def each(count, variants):
        return words(*(f"oneway --size {size} --count {count} {more}" for more in variants))
    ours = f"bench oneway --transport tcp --size {size} --json --count {counts[0]}"
    return Job(name, key, {"raw": each(counts[0], raw), "netqueue": words(ours),
                           "zmq": each(counts[1], zmq), "nng": each(counts[2], nng)})


def oneway_jobs(quick):
    cut = 4 if quick else 1
    patterns = ["--pattern pair", "--pattern push", "--pattern dealer"]
    queues = ["--pattern pair0", "--pattern push", "--pattern pair0 --buffer 1000",
              "--pattern push --buffer 1000"]
    reads = [f"--wait {wait} --read {size * KIB}" for wait in ("sleep", "adaptive", "spin")
             for size in (64, 128, 256, 512, 1024)]
    small = [f"--batch {batch} --read {256 * KIB}" for batch in (16, 64, 256, 1024)]
    alone = f"oneway --size 64 --count {400000 // cut} --batch 1"
    return [
        Job("oneway 64 B, a write each", "messages_per_s", {"raw": words(alone)}),
        oneway_job("oneway 64 B", "messages_per_s", 64,
                   (8000000 // cut, 4000000 // cut, 200000 // cut), small, patterns, queues),
        oneway_job("oneway 64 KiB", "bytes_per_s", 64 * KIB,
                   (60000 // cut, 40000 // cut, 30000 // cut), reads, patterns, queues),
        oneway_job("oneway 1 MiB", "bytes_per_s", MIB,
                   (6000 // cut, 4000 // cut, 4000 // cut), reads, patterns, queues),
    ]


def sync_job(quick):
    count = 100 if quick else 400
    ours = (f"bench sync --transport tcp --size {2 * MIB} --count {count} --json "
            "--queue-bytes 8MiB --credit 8MiB --policy block")
    return Job("sync 2 MiB, 8 MiB granted", "peak_rss_bytes", {"netqueue": words(ours)})


def mqtt_jobs(quick, port):
    """Through an MQTT broker; netqueue and the library that it uses there."""
    cut = 4 if quick else 1
    ours = f"--transport mqtt --option port={port} --json"
    granted = "--queue-bytes 8MiB --credit 8MiB --policy block"

    def oneway(name, key, size, counts, windows):
        return Job(f"mqtt oneway {name}", key, {
            "paho": words(*(f"oneway --port {port} --size {size} --count {counts[0] // cut} "
                            f"--buffer {window}" for window in windows)),
            "netqueue": words(f"bench oneway {ours} --size {size} --count {counts[1] // cut}")})

    def memory(job):
        return Job(f"mqtt {job} 2 MiB, 8 MiB granted", "peak_rss_bytes", {"netqueue": words(
            f"bench {job} {ours} --size {2 * MIB} --count {400 // cut} {granted}")})
    return [
        Job("mqtt rtt 64 B", "p50_us", {
            "paho": words(f"rtt --port {port} --wait adaptive --spin 100 --count {12000 // cut}"),
            "netqueue": words(f"bench rtt {ours} --size 64 --count {12000 // cut}")}),
        oneway("64 B", "messages_per_s", 64, (120000, 4000000), (800, 3000)),
        oneway("64 KiB", "bytes_per_s", 64 * KIB, (12000, 12000), (16, 32, 64)),
        oneway("1 MiB", "bytes_per_s", MIB, (1000, 1000), (2, 4)),
        memory("sync"), memory("async"),
    ]


def grpc_jobs(quick):
    """The same over grpc, beside a C program that uses the gRPC core directly."""
    cut = 4 if quick else 1
    count = 15000 // cut
    rtt = f"bench rtt --transport grpc --size 64 --json --count {count}"
    memory = (f"--transport grpc --size {2 * MIB} --count {400 // cut} --json "
              "--queue-bytes 8MiB --credit 8MiB --policy block")
    jobs = [Job(f"grpc rtt 64 B, {name}", "p50_us", {
                "raw_grpc": words(f"rtt --count {count} --wait {wait}"),
                "netqueue": words(f"{rtt} --spin {spin}")})
            for name, wait, spin in (("sleeping", "sleep", "off"), ("spinning", "spin", "10ms"))]
    for name, key, size, many, few in (
            ("64 B", "messages_per_s", 64, 4000000, 200000),
            ("64 KiB", "bytes_per_s", 64 * KIB, 30000, 30000),
            ("1 MiB", "bytes_per_s", MIB, 2000, 2000)):
        ours = f"bench oneway --transport grpc --size {size} --json --count {many // cut}"
        jobs.append(Job(f"grpc oneway {name}", key, {
            "raw_grpc": words(f"oneway --size {size} --count {few // cut}"),
            "netqueue": words(ours)}))
    return jobs + [Job(f"grpc {job} 2 MiB, 8 MiB granted", "peak_rss_bytes",
                       {"netqueue": words(f"bench {job} {memory}")}) for job in ("sync", "async")]


def tls_jobs(quick, certs):
    """Over tcp with TLS, both sides with certificates, beside a C program that uses OpenSSL."""
    cut = 4 if quick else 1
    files = " ".join(f"--option tls.{key}={certs}/{key}.pem" for key in ("ca", "cert", "key"))
    return [Job(f"tls oneway {name}", "bytes_per_s", {
        "raw_tls": words(*(f"oneway --size {size} --count {count // cut} --read {read * KIB}"
                           for read in (16, 64, 256))),
        "netqueue": words(f"bench oneway --transport tcp --size {size} --json "
                          f"--count {count // cut} {files}")})
            for name, size, count in (("64 KiB", 64 * KIB, 20000), ("1 MiB", MIB, 1200))]
