"""The rows over mqtt and grpc, each beside the library that it stands on."""
from comparelib.job import KIB, MIB, Job, words
from comparelib.rows_tcp import memory_jobs


def mqtt_jobs(quick, port):
    """Through an MQTT broker; netqueue and the library that it uses there."""
    cut = 4 if quick else 1
    ours = f"--transport mqtt --option port={port} --json"

    def oneway(name, key, size, counts, windows):
        return Job(f"mqtt oneway {name}", key, {
            "paho": words(*(f"oneway --port {port} --size {size} --count {counts[0] // cut} "
                            f"--buffer {window}" for window in windows)),
            "netqueue": words(f"bench oneway {ours} --size {size} --count {counts[1] // cut}")},
            "mqtt")
    return [
        Job("mqtt rtt 64 B", "p50_us", {
            "paho": words(f"rtt --port {port} --wait adaptive --spin 100 --count {12000 // cut}"),
            "netqueue": words(f"bench rtt {ours} --size 64 --count {12000 // cut}")}, "mqtt"),
        oneway("64 B", "messages_per_s", 64, (120000, 4000000), (800, 3000)),
        oneway("64 KiB", "bytes_per_s", 64 * KIB, (12000, 12000), (16, 32, 64)),
        oneway("1 MiB", "bytes_per_s", MIB, (1000, 1000), (2, 4)),
        *memory_jobs(quick, "mqtt", f"--option port={port}"),
    ]


def grpc_jobs(quick):
    """The same over grpc, beside a C program that uses the gRPC core directly."""
    cut = 4 if quick else 1
    count = 15000 // cut
    rtt = f"bench rtt --transport grpc --size 64 --json --count {count}"
    jobs = [Job(f"grpc rtt 64 B, {name}", "p50_us", {
                "raw_grpc": words(f"rtt --count {count} --wait {wait}"),
                "netqueue": words(f"{rtt} --spin {spin}")}, "grpc")
            for name, wait, spin in (("sleeping", "sleep", "off"), ("spinning", "spin", "10ms"))]
    for name, key, size, many, few in (
            ("64 B", "messages_per_s", 64, 4000000, 200000),
            ("64 KiB", "bytes_per_s", 64 * KIB, 30000, 30000),
            ("1 MiB", "bytes_per_s", MIB, 2000, 2000)):
        ours = f"bench oneway --transport grpc --size {size} --json --count {many // cut}"
        jobs.append(Job(f"grpc oneway {name}", key, {
            "raw_grpc": words(f"oneway --size {size} --count {few // cut}"),
            "netqueue": words(ours)}, "grpc"))
    return jobs + memory_jobs(quick, "grpc")
