/* netqueue bench: measure a transport between two real processes.
 *
 * The process forks before the library starts anything.  The parent is the server; it finds
 * out where to listen, opens its queue, and then tells the child through a pipe where to
 * connect.  The child's findings come back through another. */
#include "tools/bench.h"
#include "tools/say.h"
#include "tools/signals.h"
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define BENCH_MAX_EXPONENT 40
#define BENCH_RATE 10000
#define BENCH_MAX_RATE 100000000
#define BENCH_JOBS "rtt, oneway, paced, both, sync, async or mix"
#define BENCH_CONFIG 65536 /* bytes of the configuration that passes through the pipe */

/* ---- the two processes --------------------------------------------------------------------- */

static bool bench_write(int fd, const void *data, size_t len)
{
    const char *p = data;

    while (len) {
        ssize_t n = write(fd, p, len);

        if (n < 0 && errno != EINTR)
            return false;
        p += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* Read until `len` bytes or the end came.  @return bytes */
static size_t bench_read(int fd, void *data, size_t len)
{
    char *p = data;
    size_t have = 0;

    while (have < len) {
        ssize_t n = read(fd, p + have, len - have);

        if (n == 0 || (n < 0 && (errno != EINTR || nqi_interrupted())))
            break;
        have += n > 0 ? (size_t)n : 0;
    }
    return have;
}

static void bench_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* All threads that this process has; those that come later are started by one of them. */
static void bench_pin(const struct nqi_bench_run *run, bool server)
{
    int cpu = run->cpu[server ? 0 : 1];
    const struct dirent *thread;
    DIR *threads;
    cpu_set_t set;

    if (cpu < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    threads = opendir("/proc/self/task");
    while (threads && (thread = readdir(threads)))
        if (thread->d_name[0] != '.' && sched_setaffinity(atoi(thread->d_name), sizeof(set), &set))
            nqi_say_errno("--pin", errno);
    if (threads)
        closedir(threads);
}

/* A library that finds a single processor never spins.  So it looks before its process has only
 * one, unless that is the partner's as well. */
static bool bench_pins_first(const struct nqi_bench_run *run)
{
    return run->cpu[0] == run->cpu[1];
}

/* Open the queue and do this side's half.  The child is told to begin with `client_config`
 * once the server listens. */
static void bench_half(struct nqi_bench_run *run, bool server, const char *config,
                       const char *client_config, struct nqi_bench_result *ret)
{
    struct nqi_pace pace = {.rate = run->rate};
    struct nqi_bench bench = {.job = run->job,
                              .server = server,
                              .foreign = run->foreign,
                              .window = run->window,
                              .pace = run->job == NQI_JOB_PACED ? &pace : NULL,
                              .block = strcmp(run->conf.policy, "block") == 0,
                              .timeout_ns = run->timeout_ns,
                              .partner = server ? run->child : getppid()};
    unsigned exponent = run->job == NQI_JOB_MIX ? (unsigned)run->max_exponent : 0;
    nq_err err;

    memset(ret, 0, sizeof(*ret));
    if (bench_pins_first(run))
        bench_pin(run, server);
    err = nqi_load_init(&bench.load, run->size, exponent);
    if (!err)
        err = nq_open_json(config, strlen(config), &bench.queue);
    if (err) {
        ret->code = nqi_say_error(err);
        nqi_load_fini(&bench.load);
        return;
    }
    bench_pin(run, server);
    bench.load.loan = run->loan;
    bench.load.warmup = run->warmup;
    bench.load.count = exponent ? run->count * bench.load.nexponents : run->count;
    ret->code = server ? nqi_bench_listens(&bench) : 0;
    if (client_config && !ret->code)
        bench_write(run->to_child[1], client_config, strlen(client_config));
    bench_close(&run->to_child[1]);
    if (!ret->code)
        nqi_bench_run(&bench, ret);
    nq_free(bench.queue);
    nqi_load_fini(&bench.load);
}

_Noreturn static void bench_child(struct nqi_bench_run *run, pid_t parent)
{
    struct nqi_bench_result result = {0};
    char *config = calloc(1, BENCH_CONFIG + 1);

    nqi_say_command("bench: client");
    /* It may wait in put, which nobody would end any more. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(NQI_EXIT_FAILED);
    bench_close(&run->from_child[0]);
    bench_close(&run->to_child[1]);
    /* An empty pipe: the parent has failed and said so. */
    if (!config || bench_read(run->to_child[0], config, BENCH_CONFIG) == 0)
        _exit(NQI_EXIT_FAILED);
    bench_half(run, false, config, NULL, &result);
    free(config);
    bench_write(run->from_child[1], &result, sizeof(result));
    exit(result.code);
}

static int bench_start(struct nqi_bench_run *run)
{
    pid_t parent = getpid();

    if (pipe(run->to_child) != 0 || pipe(run->from_child) != 0) {
        nqi_say_errno("pipe", errno);
        return NQI_EXIT_FAILED;
    }
    fflush(stdout);
    run->child = fork();
    if (run->child < 0) {
        nqi_say_errno("fork", errno);
        return NQI_EXIT_FAILED;
    }
    if (run->child == 0)
        bench_child(run, parent);
    close(run->to_child[0]);
    close(run->from_child[1]);
    return 0;
}

/* Wait for the child; one that will not be needed any more is ended, as it may wait for
 * this process in put.  @return its exit code */
static int bench_end(struct nqi_bench_run *run, bool failed)
{
    int status = 0;

    bench_close(&run->to_child[1]);
    if (failed)
        kill(run->child, SIGKILL);
    while (waitpid(run->child, &status, 0) < 0)
        if (errno != EINTR)
            return NQI_EXIT_FAILED;
    return WIFEXITED(status) ? WEXITSTATUS(status) : NQI_EXIT_FAILED;
}

/* ---- the run -----------------------------------------------------------------------------------
 */

static int bench_server(struct nqi_bench_run *run, struct nqi_bench_result *ret)
{
    const struct nq_transport_info *info = NULL;
    nq_err err = nq_transport_info(run->conf.transport, &info);
    char *server, *client;

    if (err)
        return nqi_say_error(err);
    server = nqi_bench_config(&run->conf, info, "server");
    client = nqi_bench_config(&run->conf, info, "client");
    if (server && client)
        bench_half(run, true, server, client, ret);
    else
        ret->code = nqi_say_error(NQ_ERR_NOMEM);
    free(server);
    free(client);
    return ret->code;
}

static int bench_all(struct nqi_bench_run *run)
{
    struct nqi_bench_result server = {0}, client = {0};
    bool heard = false;
    int code, child;

    nqi_signals_install();
    code = bench_start(run);
    if (code)
        return code;
    code = bench_server(run, &server);
    if (!code)
        heard = bench_read(run->from_child[0], &client, sizeof(client)) == sizeof(client);
    child = bench_end(run, code != 0);
    if (nqi_interrupted())
        return NQI_EXIT_INTERRUPTED;
    if (!code)
        code = child;
    if (code || !heard)
        return code ? code : NQI_EXIT_FAILED;
    nqi_bench_report(run, &server, &client);
    return NQI_EXIT_OK;
}

/* ---- the command line
 * ---------------------------------------------------------------------------- */

static uint64_t bench_clamp(uint64_t value, uint64_t least, uint64_t most)
{
    return value < least ? least : value > most ? most : value;
}

/* About a gigabyte or a second's worth of small messages. */
static void bench_defaults(struct nqi_bench_run *run)
{
    bool seed = run->job == NQI_JOB_SYNC || run->job == NQI_JOB_ASYNC;
    uint64_t fit;

    if (run->size == UINT64_MAX)
        run->size = seed ? UINT64_C(2) << 20 : 64;
    fit = (UINT64_C(1) << 30) / (run->size ? run->size : 1);
    if (!run->rate)
        run->rate = BENCH_RATE;
    if (!run->count && run->job == NQI_JOB_PACED)
        run->count = run->rate;
    else if (!run->count && run->job == NQI_JOB_RTT)
        run->count = bench_clamp(fit, 50, 20000);
    else if (!run->count && run->job == NQI_JOB_MIX)
        run->count = 1;
    else if (!run->count)
        run->count = bench_clamp(fit, 20, 1000000);
    if (run->warmup == UINT64_MAX)
        run->warmup = seed || run->job == NQI_JOB_MIX ? 0 : run->count / 10 + 1;
    run->conf.largest = run->job == NQI_JOB_MIX ? UINT64_C(1) << run->max_exponent : run->size;
    if (!run->conf.policy)
        run->conf.policy = "block";
}

static int bench_parse_pin(struct nqi_bench_run *run)
{
    char *end;
    long server, client;

    if (!run->pin)
        return -1;
    server = strtol(run->pin, &end, 10);
    if (end == run->pin || *end != ',')
        return nqi_opts_bad("--pin: \"%s\" is not two CPU numbers like 0,1", run->pin);
    client = strtol(end + 1, &end, 10);
    if (*end || server < 0 || client < 0 || server >= CPU_SETSIZE || client >= CPU_SETSIZE)
        return nqi_opts_bad("--pin: \"%s\" is not two CPU numbers like 0,1", run->pin);
    run->cpu[0] = (int)server;
    run->cpu[1] = (int)client;
    return -1;
}

static int bench_parse_job(struct nqi_bench_run *run, const char *word)
{
    for (size_t i = 0; i < NQI_LEN(nqi_bench_jobs); i++) {
        if (strcmp(word, nqi_bench_jobs[i]) == 0) {
            run->job = (enum nqi_job)i;
            return -1;
        }
    }
    return nqi_opts_bad("there is no job \"%s\": " BENCH_JOBS, word);
}

/* Whose peers find each other within one process only, by itself or below another. */
static bool bench_is_one_process(const struct nqi_bench_run *run)
{
    bool one = strcmp(run->conf.transport, "loop") == 0;

    for (size_t i = 0; i < run->conf.options.n; i++)
        one |= strcmp(run->conf.options.items[i], "inner=loop") == 0;
    return one;
}

static int bench_check_options(struct nqi_bench_run *run)
{
    if (!run->conf.transport)
        return nqi_opts_bad("--transport T is missing");
    if (bench_is_one_process(run))
        return nqi_opts_bad("loop works within one process only, and bench measures between two");
    if (run->job == NQI_JOB_SYNC && run->warmup != UINT64_MAX)
        return nqi_opts_bad("sync is timed from its first message on: no --warmup");
    if (run->foreign && run->job != NQI_JOB_RTT)
        return nqi_opts_bad("--foreign is for rtt");
    if (run->window && run->job != NQI_JOB_ONEWAY)
        return nqi_opts_bad("--window is for oneway");
    if (run->rate && run->job != NQI_JOB_PACED)
        return nqi_opts_bad("--rate is for paced");
    if (run->rate > BENCH_MAX_RATE)
        return nqi_opts_bad("--rate: at most %d messages in a second", BENCH_MAX_RATE);
    if (run->job == NQI_JOB_MIX && run->size != UINT64_MAX)
        return nqi_opts_bad("mix has its own sizes: --max-exponent says how large");
    if (run->max_exponent < 8 || run->max_exponent > BENCH_MAX_EXPONENT)
        return nqi_opts_bad("--max-exponent: 8 to %d", BENCH_MAX_EXPONENT);
    if (run->conf.policy && strcmp(run->conf.policy, "block") != 0 &&
        strcmp(run->conf.policy, "fail") != 0)
        return nqi_opts_bad("--policy: \"%s\" is not block or fail", run->conf.policy);
    for (size_t i = 0; i < run->conf.options.n; i++)
        if (!strchr(run->conf.options.items[i], '='))
            return nqi_opts_bad("--option: \"%s\" is not KEY=VALUE", run->conf.options.items[i]);
    if (run->size != UINT64_MAX && run->size > UINT64_C(1) << BENCH_MAX_EXPONENT)
        return nqi_opts_bad("--size: at most 2^%d bytes", BENCH_MAX_EXPONENT);
    return bench_parse_pin(run);
}

static int bench_parse(struct nqi_bench_run *run, int argc, char **argv)
{
    static const struct nqi_usage usage = {
        "bench JOB --transport T [OPTION]...",
        "Measures a transport between two processes on this machine. Jobs:\n"
        "  rtt     one message there and back, again and again\n"
        "  oneway  client to server as fast as it goes\n"
        "  paced   client to server by a schedule: how late each message comes\n"
        "  both    both directions at once\n"
        "  sync    all messages to the server, then as many back (2 MiB each)\n"
        "  async   the same, both directions at once\n"
        "  mix     many small and few large messages in both directions at once",
        NULL,
    };
    const struct nqi_opt opts[] = {
        {"transport", "T", "name of the transport", &run->conf.transport, NQI_OPT_TEXT, 't'},
        {"size", "BYTES", "of each message (64; sync and async 2MiB)", &run->size, NQI_OPT_SIZE,
         's'},
        {"count", "N", "messages that are timed; mix: rounds", &run->count, NQI_OPT_COUNT, 'n'},
        {"warmup", "N", "messages before them (a tenth; sync, async, mix 0)", &run->warmup,
         NQI_OPT_COUNT, 0},
        {"max-exponent", "M", "mix: the largest message has 2^M bytes (28)", &run->max_exponent,
         NQI_OPT_COUNT, 0},
        {"spin", "auto|off|DUR", "how long a waiting thread looks before it sleeps",
         &run->conf.spin, NQI_OPT_TEXT, 0},
        {"option", "KEY=VALUE", "an option of the transport; several times", &run->conf.options,
         NQI_OPT_TEXTS, 'o'},
        {"queue-bytes", "SIZE", "limit of the send queue", &run->conf.queue_bytes, NQI_OPT_SIZE, 0},
        {"credit", "SIZE", "bytes that may be in flight", &run->conf.credit, NQI_OPT_SIZE, 0},
        {"policy", "block|fail",
         "what put does when the queue is full: wait (the default),\n"
         "or say so; both, async and mix then run on one thread in\neach process, else on two",
         &run->conf.policy, NQI_OPT_TEXT, 0},
        {"window", "N", "oneway: the server answers, so that N messages are on their way",
         &run->window, NQI_OPT_COUNT, 0},
        {"rate", "N", "paced: messages in a second (10000)", &run->rate, NQI_OPT_COUNT, 0},
        {"foreign", NULL, "rtt: another thread puts than the one that waits", &run->foreign,
         NQI_OPT_FLAG, 0},
        {"loan", NULL, "fill messages in place, in memory that the transport lends", &run->loan,
         NQI_OPT_FLAG, 0},
        {"pin", "A,B", "run the server on CPU A, the client on CPU B", &run->pin, NQI_OPT_TEXT, 0},
        {"timeout", "DUR", "give up when nothing comes for so long (60s)", &run->timeout_ns,
         NQI_OPT_DURATION, 0},
        {"json", NULL,
         "print one JSON object: transport, job, size, count,\np50_us, p99_us, p999_us, "
         "cpu_us_per_message,\nmessages_per_s, bytes_per_s, peak_rss_bytes, seconds",
         &run->json, NQI_OPT_FLAG, 0},
    };
    int code = nqi_opts_parse(&usage, opts, NQI_LEN(opts), argc, argv);

    if (code >= 0)
        return code;
    if (argc - optind != 1)
        return nqi_opts_bad("one JOB: " BENCH_JOBS);
    code = bench_parse_job(run, argv[optind]);
    if (code >= 0)
        return code;
    code = bench_check_options(run);
    if (code < 0)
        bench_defaults(run);
    return code;
}

int nqi_cmd_bench(int argc, char **argv)
{
    struct nqi_bench_run run = {.size = UINT64_MAX,
                                .warmup = UINT64_MAX,
                                .max_exponent = 28,
                                .timeout_ns = 60 * NQI_NS_PER_S,
                                .cpu = {-1, -1}};
    int code = bench_parse(&run, argc, argv);

    if (code < 0)
        code = bench_all(&run);
    nqi_bench_config_fini(&run.conf);
    return code;
}
