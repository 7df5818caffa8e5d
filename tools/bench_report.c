/* What `netqueue bench` found, in words and as JSON. */
#include "tools/bench.h"
#include "tools/json.h"

const char *const nqi_bench_jobs[NQI_JOBS] = {"rtt",  "oneway", "paced", "both",
                                              "sync", "async",  "mix"};

struct report_figures {
    double seconds, messages_per_s, bytes_per_s, p50_us, p99_us, p999_us, cpu_us;
    uint64_t count, size, peak_rss_bytes;
};

static int64_t report_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t report_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* From the first start to the last end of what counts for the job. */
static double report_seconds(const struct nqi_bench_run *run, const struct nqi_bench_result *server,
                             const struct nqi_bench_result *client)
{
    int64_t ns;

    switch (run->job) {
    case NQI_JOB_ONEWAY:
    case NQI_JOB_PACED:
        ns = server->end_ns - server->start_ns;
        break;
    case NQI_JOB_RTT:
        ns = client->end_ns - client->start_ns;
        break;
    case NQI_JOB_SYNC:
        ns = client->end_ns - report_min(server->start_ns, client->start_ns);
        break;
    default:
        ns = report_max(server->end_ns, client->end_ns) -
             report_min(server->start_ns, client->start_ns);
    }
    return ns > 0 ? (double)ns / 1e9 : 1e-9;
}

static bool report_is_one_way(const struct nqi_bench_run *run)
{
    return run->job == NQI_JOB_ONEWAY || run->job == NQI_JOB_PACED;
}

/* Of both processes, for each message of both directions, the warm-up included. */
static double report_cpu_us(const struct nqi_bench_run *run, const struct report_figures *report,
                            int64_t cpu_ns)
{
    double messages = (double)(run->warmup + report->count) * (report_is_one_way(run) ? 1 : 2);

    return (double)cpu_ns / 1e3 / messages;
}

static struct report_figures report_make(const struct nqi_bench_run *run,
                                         const struct nqi_bench_result *server,
                                         const struct nqi_bench_result *client)
{
    struct report_figures report = {.count = run->count, .size = run->size};
    const struct nqi_bench_result *timed = run->job == NQI_JOB_PACED ? server : client;
    double ways = report_is_one_way(run) ? 1 : 2;
    struct nqi_load load;
    uint64_t bytes = run->count * run->size;

    if (run->job == NQI_JOB_MIX && nqi_load_init(&load, 0, (unsigned)run->max_exponent) == NQ_OK) {
        report.size = UINT64_C(1) << run->max_exponent;
        report.count = load.count = run->count * load.nexponents;
        bytes = nqi_load_bytes(&load);
        nqi_load_fini(&load);
    }
    report.seconds = report_seconds(run, server, client);
    report.messages_per_s = ways * (double)report.count / report.seconds;
    report.bytes_per_s = ways * (double)bytes / report.seconds;
    report.p50_us = timed->p50_us;
    report.p99_us = timed->p99_us;
    report.p999_us = timed->p999_us;
    report.cpu_us = report_cpu_us(run, &report, server->cpu_ns + client->cpu_ns);
    report.peak_rss_bytes = server->peak_rss_bytes > client->peak_rss_bytes
                                ? server->peak_rss_bytes
                                : client->peak_rss_bytes;
    return report;
}

static void report_print_json(const struct nqi_bench_run *run, const struct report_figures *report)
{
    printf("{\"transport\": ");
    nqi_json_text(stdout, run->conf.transport);
    printf(", \"job\": \"%s\", \"size\": %llu, \"count\": %llu", nqi_bench_jobs[run->job],
           (unsigned long long)report->size, (unsigned long long)report->count);
    if (run->job == NQI_JOB_RTT || run->job == NQI_JOB_PACED)
        printf(", \"p50_us\": %.3f, \"p99_us\": %.3f, \"p999_us\": %.3f", report->p50_us,
               report->p99_us, report->p999_us);
    else
        printf(", \"p50_us\": null, \"p99_us\": null, \"p999_us\": null");
    printf(", \"cpu_us_per_message\": %.4f", report->cpu_us);
    printf(", \"messages_per_s\": %.1f, \"bytes_per_s\": %.1f, \"peak_rss_bytes\": %llu, "
           "\"seconds\": %.6f}\n",
           report->messages_per_s, report->bytes_per_s, (unsigned long long)report->peak_rss_bytes,
           report->seconds);
}

static void report_print(const struct nqi_bench_run *run, const struct report_figures *report)
{
    printf("%s %s, %llu messages of %s%llu B%s: %.3f s\n", run->conf.transport,
           nqi_bench_jobs[run->job], (unsigned long long)report->count,
           run->job == NQI_JOB_MIX ? "up to " : "", (unsigned long long)report->size,
           report_is_one_way(run) ? "" : " each way", report->seconds);
    if (run->job == NQI_JOB_RTT || run->job == NQI_JOB_PACED)
        printf("  %-15s p50 %.1f us, p99 %.1f us, p99.9 %.1f us\n",
               run->job == NQI_JOB_RTT ? "round trip" : "after due", report->p50_us, report->p99_us,
               report->p999_us);
    printf(
        "  messages/s      %.0f\n  throughput      %.3f GB/s\n  processor time  %.3f us/message\n"
        "  peak memory     %.1f MiB\n",
        report->messages_per_s, report->bytes_per_s / 1e9, report->cpu_us,
        (double)report->peak_rss_bytes / (1 << 20));
}

void nqi_bench_report(const struct nqi_bench_run *run, const struct nqi_bench_result *server,
                      const struct nqi_bench_result *client)
{
    struct report_figures figures = report_make(run, server, client);

    if (run->json)
        report_print_json(run, &figures);
    else
        report_print(run, &figures);
}
