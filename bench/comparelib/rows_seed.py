"""The jobs of net-queue's own benchmark, beside the figures that its README publishes.

Those come from another machine (Debian 13, Intel Core i5-13400, 64 GB): they show where the jobs
come from, and are no rival in a pair.  Its sync and async move 4000 messages of 2 MiB each way, its
mix sizes from 2^8 to 2^32 bytes; here are fewer messages and a mix up to 2^28, and the rates are
what can be set side by side."""
from comparelib.job import Job, words

MB = 1e6


def published(gbps, messages_per_s, megabytes):
    return {"bytes_per_s": gbps * 1e9 / 8, "messages_per_s": messages_per_s,
            "peak_rss_bytes": megabytes * MB}


PUBLISHED = {
    ("sync", "tcp"): published(25.24, 1500.00, 21.94),
    ("sync", "mqtt"): published(3.71, 220.85, 8377.33),
    ("sync", "grpc"): published(5.81, 346.37, 30.68),
    ("async", "tcp"): published(15.77, 939.73, 33.39),
    ("async", "mqtt"): published(4.98, 296.78, 7585.78),
    ("async", "grpc"): published(6.43, 383.04, 41.46),
    ("mix", "tcp"): published(14.91, 1780.00, 8639.32),
    ("mix", "mqtt"): published(5.78, 689.41, 10481.62),
    ("mix", "grpc"): published(6.79, 809.01, 8642.59),
}


def seed_jobs(quick, transport, port):
    """@param port  of the broker, for mqtt"""
    option = f"--option port={port}" if transport == "mqtt" else ""
    bulk = f"--count {50 if quick else 300}"
    how = {"sync": bulk, "async": bulk, "mix": f"--max-exponent {20 if quick else 28}"}
    return [Job(f"seed {job}, {transport}", "bytes_per_s",
                {"netqueue": words(f"bench {job} --transport {transport} {option} --json {more}")},
                "The seed's jobs", published=PUBLISHED.get((job, transport)))
            for job, more in how.items()]
