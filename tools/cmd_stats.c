/* netqueue stats: how a running queue is, once or again and again. */
#include "tools/opts.h"
#include "tools/signals.h"
#include "tools/stats.h"
#include <getopt.h>
#include <unistd.h>

struct stats {
    const char *path;
    bool json, openmetrics, peers;
    int64_t watch_ns; /* 0 = once */
    int64_t timeout_ns;
};

static void stats_show(const struct stats *stats, const json_t *document)
{
    if (stats->openmetrics) {
        nqi_stats_metrics(stdout, document, stats->peers);
    } else if (stats->json) {
        json_dumpf(document, stdout, JSON_ENSURE_ASCII);
        putchar('\n');
    } else {
        if (stats->watch_ns && isatty(STDOUT_FILENO))
            fputs("\033[H\033[2J", stdout); /* in place of the last one */
        nqi_stats_table(stdout, document, stats->peers);
        if (stats->watch_ns)
            putchar('\n');
    }
    fflush(stdout);
}

/* @return false: interrupted */
static bool stats_pause(int64_t ns)
{
    int64_t until = nqi_now_ns() + ns, left;

    while (!nqi_interrupted() && (left = until - nqi_now_ns()) > 0) {
        int64_t slice = left < NQI_SLICE_NS ? left : NQI_SLICE_NS;
        struct timespec ts = {.tv_nsec = slice};

        nanosleep(&ts, NULL);
    }
    return !nqi_interrupted();
}

static int stats_run(const struct stats *stats)
{
    int code;

    nqi_signals_install();
    do {
        json_t *document = NULL;

        code = nqi_stats_ask(stats->path, stats->timeout_ns, &document);
        if (code)
            return code;
        stats_show(stats, document);
        json_decref(document);
        if (ferror(stdout))
            return NQI_EXIT_OK; /* main says so */
    } while (stats->watch_ns && stats_pause(stats->watch_ns));
    return stats->watch_ns ? NQI_EXIT_INTERRUPTED : NQI_EXIT_OK;
}

int nqi_cmd_stats(int argc, char **argv)
{
    static const struct nqi_usage usage = {
        "stats SOCKET [OPTION]...",
        "Shows counters, transports and peers of a running queue whose configuration has\n"
        "\"stats\": {\"socket\": \"SOCKET\"}. Only its own user and root may ask.",
        NULL,
    };
    struct stats stats = {.timeout_ns = 10 * NQI_NS_PER_S};
    const struct nqi_opt opts[] = {
        {"json", NULL, "print the queue's JSON document, in one line", &stats.json, NQI_OPT_FLAG,
         0},
        {"openmetrics", NULL, "print OpenMetrics text", &stats.openmetrics, NQI_OPT_FLAG, 0},
        {"peers", NULL, "each peer, too (JSON always has them)", &stats.peers, NQI_OPT_FLAG, 'p'},
        {"watch", "SECONDS", "ask again after this time, until interrupted", &stats.watch_ns,
         NQI_OPT_DURATION, 'w'},
        {"timeout", "DUR", "give up after this time (10s)", &stats.timeout_ns, NQI_OPT_DURATION, 0},
    };
    int code = nqi_opts_parse(&usage, opts, NQI_LEN(opts), argc, argv);

    if (code >= 0)
        return code;
    if (optind >= argc)
        return nqi_opts_bad("SOCKET is missing");
    if (argc - optind > 1)
        return nqi_opts_bad("unexpected operand \"%s\"", argv[optind + 1]);
    if (stats.json && stats.openmetrics)
        return nqi_opts_bad("--json and --openmetrics are two formats: take one");
    if (stats.openmetrics && stats.watch_ns)
        return nqi_opts_bad("--openmetrics ends with its text: --watch is for the others");
    if (stats.watch_ns < 0)
        return nqi_opts_bad("--watch: \"forever\" is no pause");
    stats.path = argv[optind];
    return stats_run(&stats);
}
