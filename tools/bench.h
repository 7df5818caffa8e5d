/* What the parts of `netqueue bench` share.
 *
 *     cmd_bench.c     options, the two processes
 *     bench_conf.c    the configurations of the two queues
 *     bench_jobs.c    what each process puts and gets, and when the clock runs
 *     bench_pace.c    when messages leave that do so by a schedule, and how late they come
 *     bench_report.c  what is printed
 *     bench_samples.c how long each took
 *     bench_putter.c  a thread that puts what another one waits for
 *     bench_load.c    the messages: how large, what is in them, whether they arrived whole */
#ifndef NQ_TOOLS_BENCH_H
#define NQ_TOOLS_BENCH_H

#include "tools/opts.h"
#include "tools/tool.h"
#include <pthread.h>
#include <sys/types.h>

enum nqi_job {
    NQI_JOB_RTT,
    NQI_JOB_ONEWAY,
    NQI_JOB_PACED,
    NQI_JOB_BOTH,
    NQI_JOB_SYNC,
    NQI_JOB_ASYNC,
    NQI_JOB_MIX,
    NQI_JOBS
};

/* ---- configuration --------------------------------------------------------------------- */

/* What decides the configurations of the two queues. */
struct nqi_bench_conf {
    const char *transport, *spin, *policy; /* borrowed; spin NULL = default */
    struct nqi_texts options;              /* "key=value", for the transport */
    uint64_t queue_bytes, credit;          /* 0 = default */
    uint64_t largest;                      /* bytes of the largest message */
    unsigned port;                         /* chosen; 0 = not yet */
    char folder[64], path[96];             /* made; "" = not */
};

/* The JSON text for "server" or "client", where both find each other at an address of this
 * run's own.  @return owned by the caller, ends with free(); NULL = no memory */
char *nqi_bench_config(struct nqi_bench_conf *conf, const struct nq_transport_info *info,
                       const char *purpose);

/* Remove what the configurations made in the file system. */
void nqi_bench_config_fini(struct nqi_bench_conf *conf);

/* ---- messages ------------------------------------------------------------------------- */

/* The messages of one direction, numbered from 0; both sides know them all beforehand.
 * The first `warmup` are not timed. */
struct nqi_load {
    uint64_t warmup, count; /* messages */
    uint64_t size;          /* bytes of each, unless `exponents` */
    uint8_t *exponents;     /* mix: owned; log2 of the sizes of one round */
    size_t nexponents;
    nq_chunk *body; /* what large messages share; owned */
    bool loan;      /* filled in place, at the ends only: it is the transport that is measured */
};

/* Prepare.  max_exponent 0 = all messages have `size` bytes.
 * @return NQ_OK, NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_load_init(struct nqi_load *load, uint64_t size, unsigned max_exponent);
void nqi_load_fini(struct nqi_load *load);

static inline uint64_t nqi_load_total(const struct nqi_load *load)
{
    return load->warmup + load->count;
}

static inline uint64_t nqi_load_size(const struct nqi_load *load, uint64_t number)
{
    return load->exponents ? UINT64_C(1) << load->exponents[number % load->nexponents] : load->size;
}

/* Bytes of the messages that are timed. */
uint64_t nqi_load_bytes(const struct nqi_load *load);

/* Make message `number`.  From 4 KiB on it refers to memory that all messages share; smaller
 * ones are copied.  @return NQ_OK, NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_load_make(const struct nqi_load *load, uint64_t number, nq_msg **ret);

/* The same in memory that the queue lends for `peer` (NULL = the server).
 * @return NQ_OK, or why there is no loan */
NQ_MUST_CHECK nq_err nqi_load_loan(const struct nqi_load *load, nq_queue *queue,
                                   const nq_uuid *peer, uint64_t number, nq_msg **ret);

/* Is this message `number`, whole?  Looks at the number, the size, and the ends of the
 * chunks.  @param keep  the message is sent on: its payload stays */
bool nqi_load_check(const struct nqi_load *load, uint64_t number, nq_msg *msg, bool keep);

/* ---- jobs ----------------------------------------------------------------------------- */

/* What one process found; passes through a pipe. */
struct nqi_bench_result {
    int code;                       /* enum nqi_exit; 0 = the rest holds */
    int64_t start_ns;               /* CLOCK_MONOTONIC; both processes share it */
    int64_t end_ns;                 /* when the last message had been received; 0 = received none */
    double p50_us, p99_us, p999_us; /* rtt: of the client; paced: of the server */
    int64_t cpu_ns;                 /* processor time of all threads, from the meeting on */
    uint64_t peak_rss_bytes;
};

/* Times in ns, each at most 4.29 s. */
struct nqi_samples {
    uint32_t *ns; /* owned */
    uint64_t n, cap;
};

/* @return false: no memory */
NQ_MUST_CHECK bool nqi_samples_init(struct nqi_samples *samples, uint64_t cap);
/* What is more than `cap` is left out. */
void nqi_samples_add(struct nqi_samples *samples, int64_t ns);
/* Set the percentiles of `ret`, and free. */
void nqi_samples_end(struct nqi_samples *samples, struct nqi_bench_result *ret);
void nqi_samples_fini(struct nqi_samples *samples);

/* paced: message `i` is due `i / rate` seconds after the start, whatever became of those before. */
struct nqi_pace {
    uint64_t rate;              /* messages in a second */
    uint64_t warmup;            /* messages that give no sample */
    int64_t start_ns;           /* CLOCK_MONOTONIC; both processes share it */
    struct nqi_samples samples; /* of the server */
};

/* One process of a run. */
struct nqi_bench {
    enum nqi_job job;
    bool server;
    bool block;            /* the queue's policy: put waits for room */
    bool foreign;          /* rtt: another thread puts than the one that waits */
    uint64_t window;       /* oneway: messages that the server has not answered; 0 = it does not */
    int64_t timeout_ns;    /* without any message */
    pid_t partner;         /* the other process */
    struct nqi_pace *pace; /* borrowed; NULL = as fast as it goes */
    nq_queue *queue;
    struct nqi_load load;
    nq_uuid peer; /* server: the client */
};

/* ---- waiting --------------------------------------------------------------------------- */

#define NQI_BENCH_PAUSE_NS NQI_NS_PER_MS /* how long a full queue is left alone */

/* All return 0, or the exit code; the reason has been said. */

/* Nothing came for a slice, and nothing since `since`.  0 = wait on. */
int nqi_bench_idle(const struct nqi_bench *bench, int64_t since);
/* One message or more. */
int nqi_bench_get(const struct nqi_bench *bench, nq_msg **msgs, size_t cap, size_t *n);
/* Put `msg`, which is taken in any case. */
int nqi_bench_put(const struct nqi_bench *bench, nq_msg *msg);
/* Until the server's transport listens: what a client says before that may be lost for ever. */
int nqi_bench_listens(const struct nqi_bench *bench);

/* ---- a schedule ------------------------------------------------------------------------ */

/* Agree on the start.  @return 0, or the exit code; the reason has been said */
int nqi_pace_meet(const struct nqi_bench *bench);
/* Until message `number` is due. */
void nqi_pace_wait(const struct nqi_pace *pace, uint64_t number);
/* `n` messages from `number` on have just come. */
void nqi_pace_arrived(struct nqi_pace *pace, uint64_t number, size_t n);

/* ---- another thread that puts --------------------------------------------------------- */

/* Puts while its owner waits for the answer, and so drives the queue.  It is told each time, and
 * says when it began: what waking it costs is no part of a round trip. */
struct nqi_putter {
    const struct nqi_bench *bench;
    int (*put)(const struct nqi_bench *bench, uint64_t number); /* 0, or the exit code */
    pthread_t thread;
    pthread_mutex_t mtx;
    pthread_cond_t cond;
    /* under mtx */
    uint64_t told, done; /* messages to put, that were put */
    int64_t began_ns;    /* the last one */
    bool end;
};

/* @return false: there is no thread.  A put that fails ends the process, as nobody would answer. */
NQ_MUST_CHECK bool nqi_putter_start(struct nqi_putter *putter, const struct nqi_bench *bench,
                                    int (*put)(const struct nqi_bench *bench, uint64_t number));
void nqi_putter_tell(struct nqi_putter *putter, uint64_t number);
int64_t nqi_putter_began(struct nqi_putter *putter); /* after the answer: ns */
void nqi_putter_end(struct nqi_putter *putter);      /* waits for it */

/* Run this process's half of the job; says what goes wrong and puts the code in
 * ret->code.  Blocks until the job is done and the queue is closed. */
void nqi_bench_run(struct nqi_bench *bench, struct nqi_bench_result *ret);

/* ---- a run ------------------------------------------------------------------------------ */

extern const char *const nqi_bench_jobs[NQI_JOBS]; /* their names */

/* A run: what was asked for, and the processes. */
struct nqi_bench_run {
    /* options */
    struct nqi_bench_conf conf;
    const char *pin;
    uint64_t size, count, warmup, max_exponent, window, rate;
    int64_t timeout_ns;
    bool json, foreign, loan;

    enum nqi_job job;
    int cpu[2]; /* of the server, of the client; -1 = wherever */
    int to_child[2], from_child[2];
    pid_t child;
};

/* Print what the two processes found. */
void nqi_bench_report(const struct nqi_bench_run *run, const struct nqi_bench_result *server,
                      const struct nqi_bench_result *client);

#endif
