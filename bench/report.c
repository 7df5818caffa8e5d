/* The part of the measuring programs that is the same in all of them.
 *
 * Relies on Linux for placement and for the child's death with its parent.  Keeps all
 * samples instead of a histogram: a run has some 100,000 of them, sorting is exact and
 * happens after the clock has stopped. */
#include "report.h"
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *report_program = "bench"; /* for messages; set once by bench_options() */
static pid_t report_peer;                    /* set once by bench_peer_start() */
static double report_cpu_before = -1;        /* seconds; set once by bench_cpu_start() */
static _Atomic int64_t *report_schedule;     /* when message 0 is due; shared by both processes */

_Noreturn void bench_die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s: %s\n", report_program, what, why ? why : strerror(errno));
    exit(1);
}

int64_t bench_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

void bench_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void *bench_pages(size_t len)
{
    void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (mem == MAP_FAILED)
        bench_die("memory", NULL);
    memset(mem, 7, len);
    return mem;
}

/* ---- options ---------------------------------------------------------------------- */

static _Noreturn void report_usage(unsigned allowed, int code)
{
    FILE *out = code ? stderr : stdout;

    fprintf(out, "usage: %s rtt|oneway%s [--size BYTES] [--count N] [--warmup N] [--pin CPU,CPU]\n",
            report_program, allowed & BENCH_OPT_PACED ? "|paced" : "");
    if (allowed & BENCH_OPT_PACED)
        fprintf(out, "    --rate N                    paced: messages in a second (10000)\n");
    if (allowed & BENCH_OPT_WAIT)
        fprintf(out, "    --wait sleep|spin|adaptive  how to wait for bytes (sleep)\n"
                     "    --spin US                   adaptive: before sleeping (100)\n");
    if (allowed & BENCH_OPT_BATCH)
        fprintf(out, "    --batch N                   messages in one write (1)\n");
    if (allowed & BENCH_OPT_READ)
        fprintf(out, "    --read BYTES                asked for by one read (262144)\n");
    if (allowed & BENCH_OPT_PATTERN)
        fprintf(out, "    --pattern NAME              kind of sockets\n");
    if (allowed & BENCH_OPT_BUFFER)
        fprintf(out, "    --buffer N                  messages in the library's queues\n");
    if (allowed & BENCH_OPT_PORT)
        fprintf(out, "    --port N                    of the broker (1883)\n");
    if (allowed & BENCH_OPT_PATH)
        fprintf(out, "    --path PATH                 of a unix socket, instead of tcp\n");
    exit(code);
}

static uint64_t report_number(const char *name, const char *text, uint64_t min, uint64_t max)
{
    char *end = NULL;
    uint64_t value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || end == text || *end || text[0] == '-' || value < min || value > max)
        bench_die(name, "not a number in its range");
    return value;
}

static void report_cpus(const char *text, int cpu[2])
{
    char *end = NULL;

    cpu[0] = (int)strtol(text, &end, 10);
    if (*end != ',')
        bench_die("--pin", "two CPU numbers are needed, as 0,1");
    cpu[1] = (int)report_number("--pin", end + 1, 0, CPU_SETSIZE - 1);
    if (cpu[0] < 0 || cpu[0] >= CPU_SETSIZE)
        bench_die("--pin", "no such CPU");
}

static enum bench_wait report_wait(const char *text)
{
    if (strcmp(text, "sleep") == 0)
        return BENCH_SLEEP;
    if (strcmp(text, "spin") == 0)
        return BENCH_SPIN;
    if (strcmp(text, "adaptive") == 0)
        return BENCH_ADAPTIVE;
    bench_die("--wait", "neither sleep, spin nor adaptive");
}

static const struct {
    struct option opt;
    unsigned need; /* bit of `allowed`; 0 = always known */
} report_table[] = {
    {{"size", required_argument, NULL, 's'}, 0},
    {{"count", required_argument, NULL, 'n'}, 0},
    {{"warmup", required_argument, NULL, 'u'}, 0},
    {{"pin", required_argument, NULL, 'p'}, 0},
    {{"help", no_argument, NULL, 'h'}, 0},
    {{"wait", required_argument, NULL, 'w'}, BENCH_OPT_WAIT},
    {{"spin", required_argument, NULL, 'd'}, BENCH_OPT_WAIT},
    {{"batch", required_argument, NULL, 'b'}, BENCH_OPT_BATCH},
    {{"read", required_argument, NULL, 'r'}, BENCH_OPT_READ},
    {{"pattern", required_argument, NULL, 'k'}, BENCH_OPT_PATTERN},
    {{"buffer", required_argument, NULL, 'q'}, BENCH_OPT_BUFFER},
    {{"port", required_argument, NULL, 'o'}, BENCH_OPT_PORT},
    {{"path", required_argument, NULL, 'a'}, BENCH_OPT_PATH},
    {{"rate", required_argument, NULL, 'e'}, BENCH_OPT_PACED},
};

#define REPORT_OPTIONS (sizeof(report_table) / sizeof(report_table[0]))

static void report_option(struct bench_opts *opts, int key, const char *text, unsigned allowed)
{
    switch (key) {
    case 's':
        opts->size = report_number("--size", text, 1, 1u << 30);
        break;
    case 'n':
        opts->count = report_number("--count", text, 1, 1ull << 40);
        break;
    case 'u':
        opts->warmup = report_number("--warmup", text, 1, 1ull << 40);
        break;
    case 'p':
        report_cpus(text, opts->cpu);
        break;
    case 'w':
        opts->wait = report_wait(text);
        break;
    case 'd':
        opts->spin_ns = (int64_t)report_number("--spin", text, 0, 60000000) * 1000;
        break;
    case 'b':
        opts->batch = (unsigned)report_number("--batch", text, 1, 1024);
        break;
    case 'r':
        opts->read_size = report_number("--read", text, 64, 1u << 30);
        break;
    case 'k':
        opts->pattern = text;
        break;
    case 'q':
        opts->buffer = (int)report_number("--buffer", text, 0, 1u << 30);
        break;
    case 'o':
        opts->port = (unsigned)report_number("--port", text, 1, 65535);
        break;
    case 'a':
        if (strlen(text) >= BENCH_PATH_MAX - 8)
            bench_die("--path", "too long");
        opts->path = text;
        break;
    case 'e':
        opts->rate = report_number("--rate", text, 1, 100000000);
        break;
    default:
        report_usage(allowed, key == 'h' ? 0 : 2);
    }
}

static const char *const report_jobs[] = {"rtt", "oneway", "paced"};

static enum bench_job report_job(const char *name, unsigned allowed)
{
    for (int i = BENCH_RTT; i <= (allowed & BENCH_OPT_PACED ? BENCH_PACED : BENCH_ONEWAY); i++)
        if (strcmp(name, report_jobs[i]) == 0)
            return (enum bench_job)i;
    report_usage(allowed, 2);
}

/* Messages of about a second. */
static uint64_t report_count(const struct bench_opts *opts)
{
    switch (opts->job) {
    case BENCH_RTT:
        return 10000;
    case BENCH_PACED:
        return opts->rate;
    default:
        return opts->size < 4096 ? 1000000 : 2000;
    }
}

void bench_options(struct bench_opts *opts, const char *program, unsigned allowed, int argc,
                   char **argv)
{
    struct option table[REPORT_OPTIONS + 1] = {0};
    size_t n = 0;
    int key;

    report_program = program;
    *opts = (struct bench_opts){
        .size = 64,
        .cpu = {-1, -1},
        .spin_ns = 100000,
        .batch = 1,
        .read_size = 256 * 1024,
        .buffer = -1,
        .port = 1883,
        .rate = 10000,
    };
    for (size_t i = 0; i < REPORT_OPTIONS; i++)
        if ((report_table[i].need & allowed) == report_table[i].need)
            table[n++] = report_table[i].opt;
    while ((key = getopt_long(argc, argv, "", table, NULL)) != -1)
        report_option(opts, key, optarg, allowed);

    if (optind + 1 != argc)
        report_usage(allowed, 2);
    opts->job = report_job(argv[optind], allowed);
    if (opts->count == 0)
        opts->count = report_count(opts);
    if (opts->warmup == 0)
        opts->warmup = opts->count / 10 + 1;
}

/* ---- the second process ------------------------------------------------------------- */

static void report_pin(int cpu)
{
    cpu_set_t set;

    if (cpu < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        bench_die("--pin", NULL);
}

struct bench_peer bench_peer_start(const struct bench_opts *opts, bench_peer_fn fn, void *arg)
{
    struct bench_peer peer;
    pid_t parent = getpid();
    int fds[2];

    signal(SIGPIPE, SIG_IGN);
    report_schedule = mmap(NULL, sizeof(*report_schedule), PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report_schedule == MAP_FAILED)
        bench_die("memory", NULL);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
        bench_die("socketpair", NULL);
    peer.pid = fork();
    if (peer.pid < 0)
        bench_die("fork", NULL);
    if (peer.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        close(fds[0]);
        report_pin(opts->cpu[1]);
        fn(opts, fds[1], arg);
        _exit(0);
    }
    close(fds[1]);
    peer.fd = fds[0];
    report_peer = peer.pid;
    report_pin(opts->cpu[0]);
    return peer;
}

void bench_peer_wait(struct bench_peer *peer)
{
    int status = 0;

    close(peer->fd);
    while (waitpid(peer->pid, &status, 0) < 0)
        if (errno != EINTR)
            bench_die("waitpid", NULL);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        bench_die("second process", "failed");
}

void bench_tell(int fd, const void *data, size_t len)
{
    if (send(fd, data, len, MSG_NOSIGNAL) != (ssize_t)len)
        bench_die("other process", NULL);
}

void bench_hear(int fd, void *data, size_t len)
{
    ssize_t got = recv(fd, data, len, MSG_WAITALL);

    if (got != (ssize_t)len)
        bench_die("other process", got < 0 ? NULL : "has gone");
}

/* ---- processor time -------------------------------------------------------------------- */

static double report_seconds(const struct timespec *ts)
{
    return (double)ts->tv_sec + (double)ts->tv_nsec / 1e9;
}

static double report_used(const struct rusage *use)
{
    return (double)(use->ru_utime.tv_sec + use->ru_stime.tv_sec) +
           (double)(use->ru_utime.tv_usec + use->ru_stime.tv_usec) / 1e6;
}

void bench_cpu_start(void)
{
    struct timespec own, other;
    clockid_t clock;

    if (clock_getcpuclockid(report_peer, &clock) != 0 || clock_gettime(clock, &other) != 0 ||
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own) != 0)
        bench_die("processor time", NULL);
    report_cpu_before = report_seconds(&own) + report_seconds(&other);
}

/* Of a child that has been waited for, the kernel knows what it used in all. */
static double report_cpu(void)
{
    struct rusage children;
    struct timespec own;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    getrusage(RUSAGE_CHILDREN, &children);
    return report_seconds(&own) + report_used(&children) - report_cpu_before;
}

/* ---- a schedule -------------------------------------------------------------------------- */

#define REPORT_NAP_NS 100000 /* a wait that is longer begins asleep */
#define REPORT_WAKE_NS 60000 /* what waking takes, and is left of it */

static int64_t report_due_at(const struct bench_opts *opts, uint64_t number)
{
    return atomic_load_explicit(report_schedule, memory_order_acquire) +
           (int64_t)((double)number * 1e9 / (double)opts->rate);
}

/* Others may need this processor: the rivals have threads of their own. */
static int64_t report_wait_until(int64_t due)
{
    int64_t now;

    while ((now = bench_now_ns()) < due) {
        int64_t until = due - REPORT_WAKE_NS;
        struct timespec ts = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};

        if (due - now > REPORT_NAP_NS)
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
        else
            sched_yield();
    }
    return now;
}

uint64_t bench_due(const struct bench_opts *opts, uint64_t number, uint64_t max)
{
    uint64_t due = 1;
    int64_t now;

    if (opts->job != BENCH_PACED)
        return max;
    if (number == 0)
        atomic_store_explicit(report_schedule, bench_now_ns(), memory_order_release);
    now = report_wait_until(report_due_at(opts, number));
    while (due < max && report_due_at(opts, number + due) <= now)
        due++;
    return due;
}

void bench_arrived(const struct bench_opts *opts, struct bench_result *result, uint64_t number)
{
    if (opts->job == BENCH_PACED && number >= opts->warmup)
        bench_samples_add(result->samples, bench_now_ns() - report_due_at(opts, number));
}

/* ---- results ------------------------------------------------------------------------- */

void bench_samples_init(struct bench_samples *samples, size_t cap)
{
    /* Touched now: a page fault inside the measurement would be one of its samples. */
    samples->ns = bench_pages(cap * sizeof(*samples->ns));
    samples->n = 0;
    samples->cap = cap;
    samples->sorted = false;
}

void bench_samples_add(struct bench_samples *samples, int64_t ns)
{
    if (samples->n < samples->cap)
        samples->ns[samples->n++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

void bench_samples_fini(struct bench_samples *samples)
{
    munmap(samples->ns, samples->cap * sizeof(*samples->ns));
    *samples = (struct bench_samples){0};
}

static int report_order(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

double bench_percentile_us(struct bench_samples *samples, double q)
{
    size_t at = (size_t)(q * (double)samples->n);

    if (samples->n == 0)
        return 0;
    /* Once is enough; the samples are complete now. */
    if (!samples->sorted)
        qsort(samples->ns, samples->n, sizeof(*samples->ns), report_order);
    samples->sorted = true;
    return samples->ns[at < samples->n ? at : samples->n - 1] / 1e3;
}

/* Not getrusage() for this process: that still counts the program that started it. */
static long report_own_peak(void)
{
    FILE *status = fopen("/proc/self/status", "re");
    long kib = 0;
    char line[256];

    while (status && kib == 0 && fgets(line, sizeof(line), status))
        if (sscanf(line, "VmHWM: %ld", &kib) != 1)
            kib = 0;
    if (status)
        fclose(status);
    return kib;
}

static long report_peak_rss(void)
{
    struct rusage child;
    long own = report_own_peak();

    getrusage(RUSAGE_CHILDREN, &child);
    return 1024 * (own > child.ru_maxrss ? own : child.ru_maxrss);
}

static void report_print_samples(struct bench_samples *samples)
{
    if (samples)
        printf("\"p50_us\": %.2f, \"p99_us\": %.2f, \"p999_us\": %.2f, ",
               bench_percentile_us(samples, 0.5), bench_percentile_us(samples, 0.99),
               bench_percentile_us(samples, 0.999));
    else
        printf("\"p50_us\": null, \"p99_us\": null, \"p999_us\": null, ");
}

void bench_print(const struct bench_opts *opts, const struct bench_result *result)
{
    long rss = report_peak_rss(); /* before sorting touches anything */
    double cpu = report_cpu();
    double ways = opts->job == BENCH_RTT ? 2 : 1;
    double all = (double)(opts->warmup + opts->count) * ways;
    double rate = (double)result->messages / result->seconds;

    printf("{\"program\": \"%s\", \"job\": \"%s\", \"size\": %zu, \"settings\": \"%s\", "
           "\"messages\": %" PRIu64 ", \"seconds\": %.6f, \"messages_per_s\": %.1f, "
           "\"bytes_per_s\": %.0f, ",
           result->program, report_jobs[opts->job], opts->size, result->settings, result->messages,
           result->seconds, rate, rate * (double)opts->size * ways);
    report_print_samples(result->samples);
    if (report_cpu_before >= 0)
        printf("\"cpu_us_per_message\": %.4f, ", cpu * 1e6 / all);
    else
        printf("\"cpu_us_per_message\": null, ");
    printf("\"peak_rss_bytes\": %ld}\n", rss);
}
