/* What the measuring programs share: options, clock, placement, the second process,
 * percentiles, and the one line of JSON that each run prints.
 *
 * Every program has two processes.  The first one measures and prints; the second one
 * answers (rtt) or sends (oneway: as fast as it goes; paced: each message when a schedule says so).
 * Both are single threads as far as this code goes;
 * the rivals start threads of their own.  A failure ends the program with a message:
 * half a measurement is none. */
#ifndef NQ_BENCH_REPORT_H
#define NQ_BENCH_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum bench_job { BENCH_RTT, BENCH_ONEWAY, BENCH_PACED };
enum bench_wait { BENCH_SLEEP, BENCH_SPIN, BENCH_ADAPTIVE };

/* Options; each program says with `allowed` which of the last group it knows. */
struct bench_opts {
    enum bench_job job;
    size_t size;     /* bytes of payload in one message; 1..1 GiB; 64 */
    uint64_t count;  /* messages that are timed; rtt: round trips */
    uint64_t warmup; /* messages before them; count / 10 + 1 */
    int cpu[2];      /* of the measuring process and the other; -1 = wherever */
    uint64_t rate;   /* paced: messages in a second; 1..10^8; 10000 */

    enum bench_wait wait;
    int64_t spin_ns;     /* adaptive: look this long before sleeping; 100 us */
    unsigned batch;      /* messages handed to one write; 1 */
    size_t read_size;    /* bytes asked for by one read; 256 KiB */
    const char *pattern; /* pair of sockets of the rival; NULL = its best for the job */
    int buffer;          /* messages in the rival's queues; -1 = its default */
    unsigned port;       /* of the broker on 127.0.0.1; 1883 */
    const char *path;    /* of a unix socket; NULL = the loopback address */
};

#define BENCH_OPT_WAIT 1u
#define BENCH_OPT_BATCH 2u
#define BENCH_OPT_READ 4u
#define BENCH_OPT_PATTERN 8u
#define BENCH_OPT_BUFFER 16u
#define BENCH_OPT_PORT 32u
#define BENCH_OPT_PATH 64u
#define BENCH_OPT_PACED 128u /* the job */
#define BENCH_PATH_MAX 128u  /* with its NUL */

/* Read the command line into `opts`; on a mistake and for --help print the usage of
 * `program` and exit. */
void bench_options(struct bench_opts *opts, const char *program, unsigned allowed, int argc,
                   char **argv);

/* Print "program: what: why" on stderr and exit with 1.  `why` NULL = errno's text. */
_Noreturn void bench_die(const char *what, const char *why);

/* Nanoseconds on CLOCK_MONOTONIC, the same clock in both processes. */
int64_t bench_now_ns(void);

/* Tell the processor that this is a spin loop. */
void bench_relax(void);

/* `len` bytes that begin on a page and are touched already; never freed. */
void *bench_pages(size_t len);

/* ---- the second process ----------------------------------------------------------- */

struct bench_peer {
    pid_t pid;
    int fd; /* a byte pipe between the two, both directions */
};

typedef void (*bench_peer_fn)(const struct bench_opts *opts, int fd, void *arg);

/* Fork; the child moves to its CPU, runs `fn` and exits with 0.  It dies with its
 * parent.  The parent moves to its own CPU. */
struct bench_peer bench_peer_start(const struct bench_opts *opts, bench_peer_fn fn, void *arg);

/* Wait until the child has ended; anything but exit code 0 is fatal. */
void bench_peer_wait(struct bench_peer *peer);

/* Move `len` (small) bytes through the pipe between the processes, whole. */
void bench_tell(int fd, const void *data, size_t len);
void bench_hear(int fd, void *data, size_t len);

/* From here on the processor time of both processes counts, that of all their threads: call it when
 * they are connected, before the first message. */
void bench_cpu_start(void);

/* ---- a schedule ------------------------------------------------------------------- */

/* Of the job paced message `i` is due `i / rate` seconds after message 0, whether those before it
 * have left or not; how late it arrives counts from there.  So whoever stands still for a while
 * pays for all messages that were due meanwhile. */

/* The sender: wait until message `number` is due.  @return how many are due by now, 1..max; for
 * other jobs `max`, at once */
uint64_t bench_due(const struct bench_opts *opts, uint64_t number, uint64_t max);

struct bench_result;

/* The receiver: message `number` is here; a sample, but for the warm-up and other jobs. */
void bench_arrived(const struct bench_opts *opts, struct bench_result *result, uint64_t number);

/* ---- results ---------------------------------------------------------------------- */

/* Times of round trips, or of one way by schedule, in ns. */
struct bench_samples {
    uint32_t *ns; /* capped at 4.29 s */
    size_t n, cap;
    bool sorted; /* and complete */
};

void bench_samples_init(struct bench_samples *samples, size_t cap);
void bench_samples_add(struct bench_samples *samples, int64_t ns);
void bench_samples_fini(struct bench_samples *samples);

/* Sort, then the value that the share `q` (0..1) of the samples does not exceed, in
 * us. */
double bench_percentile_us(struct bench_samples *samples, double q);

struct bench_result {
    const char *program;
    char settings[160];            /* what was chosen, for people */
    uint64_t messages;             /* that were timed */
    double seconds;                /* they took */
    struct bench_samples *samples; /* not for oneway: NULL */
};

/* One line of JSON on stdout.  Keys: program, job, size, settings, messages, seconds,
 * messages_per_s, bytes_per_s (rtt: both directions added), p50_us, p99_us, p999_us (null for
 * oneway), cpu_us_per_message (of both processes, warm-up and end included; a round trip is two;
 * null without bench_cpu_start()), peak_rss_bytes (the larger of the two processes; the child must
 * have been waited for). */
void bench_print(const struct bench_opts *opts, const struct bench_result *result);

#endif
