/* The jobs of `netqueue bench`: what each process puts and gets, and when the clock runs.
 *
 * The loops are those of a plain user of the library.  A process that sends and receives
 * at once does so on one thread when put can say "not now" (policy `fail`), and on two when
 * put waits (policy `block`): a single thread that waits in put on both sides would wait
 * for ever. */
#include "tools/bench.h"
#include "tools/say.h"
#include "tools/signals.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define JOBS_BATCH 64

/* ---- one direction ------------------------------------------------------------------------ */

static nq_err jobs_make(const struct nqi_bench *bench, uint64_t number, nq_msg **ret)
{
    const nq_uuid *peer = bench->server ? &bench->peer : NULL;

    return bench->load.loan ? nqi_load_loan(&bench->load, bench->queue, peer, number, ret)
                            : nqi_load_make(&bench->load, number, ret);
}

static int jobs_send(const struct nqi_bench *bench, uint64_t number)
{
    nq_msg *msg = NULL;
    nq_err err;

    if (nqi_interrupted())
        return NQI_EXIT_INTERRUPTED;
    err = jobs_make(bench, number, &msg);
    return err ? nqi_say_error(err) : nqi_bench_put(bench, msg);
}

/* With a window an empty message answers so many. */
static uint64_t jobs_answered_by_one(const struct nqi_bench *bench)
{
    return bench->window > 1 ? bench->window / 2 : 1;
}

static int jobs_say(const struct nqi_bench *bench)
{
    nq_msg *msg = NULL;

    return nq_msg_new("", 0, &msg) ? nqi_say_error(NQ_ERR_NOMEM) : nqi_bench_put(bench, msg);
}

static int jobs_hear(const struct nqi_bench *bench)
{
    nq_msg *msg = NULL;
    size_t n;
    int code = nqi_bench_get(bench, &msg, 1, &n);

    nq_msg_free(msg);
    return code;
}

static int jobs_send_all(const struct nqi_bench *bench)
{
    uint64_t total = nqi_load_total(&bench->load), step = jobs_answered_by_one(bench);
    uint64_t answered = 0;
    int code = 0;

    for (uint64_t i = 0; i < total && !code; i++) {
        if (bench->window && i - answered >= bench->window) {
            code = jobs_hear(bench);
            answered += step;
        }
        if (bench->pace)
            nqi_pace_wait(bench->pace, i);
        code = code ? code : jobs_send(bench, i);
    }
    for (; bench->window && total - answered >= step && !code; answered += step)
        code = jobs_hear(bench);
    return code;
}

static int jobs_bad(uint64_t number)
{
    nqi_say("message %llu did not arrive as it was sent", (unsigned long long)number);
    return NQI_EXIT_FAILED;
}

/* Check and free messages from `number` on. */
static int jobs_take(const struct nqi_bench *bench, uint64_t number, nq_msg **msgs, size_t n)
{
    int code = 0;

    for (size_t i = 0; i < n; i++) {
        if (!code && !nqi_load_check(&bench->load, number + i, msgs[i], false))
            code = jobs_bad(number + i);
        nq_msg_free(msgs[i]);
    }
    return code;
}

/* Account for `n` messages that follow the first `got`.  The clock starts with the last that
 * is not timed, so that each timed one has its whole time in it. */
static void jobs_stamp(const struct nqi_bench *bench, struct nqi_bench_result *ret, uint64_t got,
                       size_t n)
{
    const struct nqi_load *load = &bench->load;

    if (got < load->warmup && got + n >= load->warmup)
        ret->start_ns = nqi_now_ns();
    if (got + n == nqi_load_total(load))
        ret->end_ns = nqi_now_ns();
}

/* What `n` messages after the first `got` answer. */
static int jobs_say_so(const struct nqi_bench *bench, uint64_t got, size_t n)
{
    uint64_t step = jobs_answered_by_one(bench), due = (got + n) / step - got / step;
    int code = 0;

    while (due-- && !code)
        code = jobs_say(bench);
    return code;
}

static int jobs_receive_all(const struct nqi_bench *bench, struct nqi_bench_result *ret)
{
    uint64_t total = nqi_load_total(&bench->load);
    nq_msg *msgs[JOBS_BATCH];
    int code = 0;
    size_t n = 0;

    for (uint64_t got = 0; got < total && !code; got += n) {
        /* What is not timed does not share a batch with what is. */
        uint64_t end = got < bench->load.warmup ? bench->load.warmup : total;

        code = nqi_bench_get(bench, msgs, end - got < JOBS_BATCH ? (size_t)(end - got) : JOBS_BATCH,
                             &n);
        if (code)
            break;
        if (bench->pace)
            nqi_pace_arrived(bench->pace, got, n);
        code = jobs_take(bench, got, msgs, n);
        jobs_stamp(bench, ret, got, n);
        if (bench->window && !code)
            code = jobs_say_so(bench, got, n);
    }
    return code;
}

/* ---- both directions ------------------------------------------------------------------------ */

struct jobs_sender {
    const struct nqi_bench *bench;
    int code;
};

static void *jobs_sender(void *arg)
{
    struct jobs_sender *sender = arg;

    sender->code = jobs_send_all(sender->bench);
    return NULL;
}

static int jobs_two_threads(const struct nqi_bench *bench, struct nqi_bench_result *ret)
{
    struct jobs_sender sender = {.bench = bench};
    pthread_t thread;
    int code;

    if (pthread_create(&thread, NULL, jobs_sender, &sender) != 0) {
        nqi_say("cannot start a thread");
        return NQI_EXIT_FAILED;
    }
    code = jobs_receive_all(bench, ret);
    if (code) /* the sender may wait in put for ever */
        _exit(code);
    pthread_join(thread, NULL);
    return sender.code;
}

/* Put until the queue is full, at most a batch.  @param next [in,out] made and not yet put
 * @return NQ_OK, NQ_AGAIN (full) or a failure */
static nq_err jobs_put_some(const struct nqi_bench *bench, uint64_t *sent, nq_msg **next)
{
    const nq_uuid *peer = bench->server ? &bench->peer : NULL;
    uint64_t total = nqi_load_total(&bench->load);
    nq_err err = NQ_OK;

    for (int i = 0; i < JOBS_BATCH && *sent < total && !err; i++) {
        if (!*next)
            err = jobs_make(bench, *sent, next);
        if (err)
            break;
        err = nq_put(bench->queue, *next, peer, peer ? 1 : 0, NULL);
        if (err)
            break;
        *next = NULL;
        ++*sent;
    }
    return err;
}

static int jobs_one_thread(const struct nqi_bench *bench, struct nqi_bench_result *ret)
{
    NQI_CLEANUP(nqi_msg_freep) nq_msg *next = NULL;
    uint64_t total = nqi_load_total(&bench->load);
    uint64_t sent = 0, got = 0;
    int64_t since = nqi_now_ns();
    int code = 0;

    while ((sent < total || got < total) && !code) {
        nq_msg *msgs[JOBS_BATCH];
        nq_err put = jobs_put_some(bench, &sent, &next);
        int64_t wait = sent == total ? NQI_SLICE_NS : put == NQ_AGAIN ? NQI_BENCH_PAUSE_NS : 0;
        size_t n = 0;
        nq_err err;

        if (put < 0)
            return nqi_say_error(put);
        err = nq_get_many(bench->queue, msgs, JOBS_BATCH, wait, &n);
        if (err < 0 || err == NQ_END)
            return nqi_say_error(err);
        if (err == NQ_OK) {
            code = jobs_take(bench, got, msgs, n);
            jobs_stamp(bench, ret, got, n);
            got += n;
        }
        if (err == NQ_OK || put == NQ_OK)
            since = nqi_now_ns();
        else
            code = nqi_bench_idle(bench, since);
    }
    return code;
}

/* ---- round trips ------------------------------------------------------------------------------
 */

/* What came goes back; a loan cannot, it is the other side's memory: another one goes. */
static int jobs_reply(const struct nqi_bench *bench, uint64_t number, nq_msg *msg)
{
    if (!bench->load.loan)
        return nqi_bench_put(bench, msg);
    nq_msg_free(msg);
    return jobs_send(bench, number);
}

static int jobs_echo(const struct nqi_bench *bench)
{
    uint64_t total = nqi_load_total(&bench->load);
    int code = 0;

    for (uint64_t i = 0; i < total && !code; i++) {
        nq_msg *msg = NULL;
        size_t n;

        code = nqi_bench_get(bench, &msg, 1, &n);
        if (code)
            break;
        if (nqi_load_check(&bench->load, i, msg, true)) {
            code = jobs_reply(bench, i, msg);
        } else {
            nq_msg_free(msg);
            code = jobs_bad(i);
        }
    }
    return code;
}

/* The answer to message `number`.  @param ret [out] when it came, in ns */
static int jobs_answer(const struct nqi_bench *bench, uint64_t number, int64_t *ret)
{
    nq_msg *msg = NULL;
    size_t n;
    int code = nqi_bench_get(bench, &msg, 1, &n);

    *ret = nqi_now_ns();
    return code ? code : jobs_take(bench, number, &msg, 1);
}

static int jobs_trip_foreign(struct nqi_putter *putter, uint64_t number, int64_t *took,
                             int64_t *end)
{
    int code;

    nqi_putter_tell(putter, number);
    code = jobs_answer(putter->bench, number, end);
    *took = *end - nqi_putter_began(putter);
    return code;
}

/* @param end [in,out] when the last trip ended, and this one */
static int jobs_trip(struct nqi_putter *putter, const struct nqi_bench *bench, uint64_t number,
                     int64_t *took, int64_t *end)
{
    int64_t before = *end;
    int code;

    if (bench->foreign)
        return jobs_trip_foreign(putter, number, took, end);
    code = jobs_send(bench, number);
    if (!code)
        code = jobs_answer(bench, number, end);
    *took = *end - before;
    return code;
}

static int jobs_trips(const struct nqi_bench *bench, struct nqi_bench_result *ret)
{
    const struct nqi_load *load = &bench->load;
    struct nqi_putter putter = {.told = 0};
    struct nqi_samples samples;
    int64_t took = 0;
    int code = 0;

    if (!nqi_samples_init(&samples, load->count) ||
        (bench->foreign && !nqi_putter_start(&putter, bench, jobs_send))) {
        nqi_samples_fini(&samples);
        return nqi_say_error(NQ_ERR_NOMEM);
    }
    for (uint64_t i = 0; i < load->warmup && !code; i++)
        code = jobs_trip(&putter, bench, i, &took, &ret->end_ns);
    ret->start_ns = ret->end_ns = nqi_now_ns();
    for (uint64_t i = 0; i < load->count && !code; i++) {
        code = jobs_trip(&putter, bench, load->warmup + i, &took, &ret->end_ns);
        nqi_samples_add(&samples, took);
    }
    if (bench->foreign)
        nqi_putter_end(&putter);
    nqi_samples_end(&samples, ret);
    return code;
}

/* ---- a whole run --------------------------------------------------------------------------------
 */

/* One empty message each way: both sides are connected and ready, and the server knows
 * whom to answer. */
static int jobs_meet(struct nqi_bench *bench)
{
    nq_msg *msg = NULL;
    size_t n;
    int code = 0;

    if (!bench->server && nq_msg_new("", 0, &msg) != NQ_OK)
        return nqi_say_error(NQ_ERR_NOMEM);
    if (!bench->server)
        code = nqi_bench_put(bench, msg);
    if (!code)
        code = nqi_bench_get(bench, &msg, 1, &n);
    if (code)
        return code;
    bench->peer = *nq_msg_sender(msg);
    if (bench->server)
        return nqi_bench_put(bench, msg);
    nq_msg_free(msg);
    return 0;
}

static int jobs_sync(const struct nqi_bench *bench, struct nqi_bench_result *ret)
{
    int code;

    if (!bench->server) {
        code = jobs_send_all(bench);
        return code ? code : jobs_receive_all(bench, ret);
    }
    code = jobs_receive_all(bench, ret);
    return code ? code : jobs_send_all(bench);
}

/* By a schedule, from the client to the server. */
static int jobs_paced(struct nqi_bench *bench, struct nqi_bench_result *ret)
{
    struct nqi_pace *pace = bench->pace;
    int code = nqi_pace_meet(bench);

    if (code || !bench->server)
        return code ? code : jobs_send_all(bench);
    pace->warmup = bench->load.warmup;
    if (!nqi_samples_init(&pace->samples, bench->load.count))
        return nqi_say_error(NQ_ERR_NOMEM);
    code = jobs_receive_all(bench, ret);
    nqi_samples_end(&pace->samples, ret);
    return code;
}

static int jobs_job(struct nqi_bench *bench, struct nqi_bench_result *ret)
{
    switch (bench->job) {
    case NQI_JOB_RTT:
        return bench->server ? jobs_echo(bench) : jobs_trips(bench, ret);
    case NQI_JOB_ONEWAY:
        return bench->server ? jobs_receive_all(bench, ret) : jobs_send_all(bench);
    case NQI_JOB_PACED:
        return jobs_paced(bench, ret);
    case NQI_JOB_SYNC:
        return jobs_sync(bench, ret);
    default:
        return bench->block ? jobs_two_threads(bench, ret) : jobs_one_thread(bench, ret);
    }
}

static int jobs_close(const struct nqi_bench *bench)
{
    nq_err err = nq_close(bench->queue, bench->timeout_ns, NULL);

    if (err < 0)
        return nqi_say_error(err);
    if (err == NQ_OK || nqi_interrupted())
        return 0;
    nqi_say("time-out: not everything was acknowledged");
    return NQI_EXIT_LINK;
}

/* The most memory this process had.  Not getrusage(): that still counts the program that
 * started this one. */
static uint64_t jobs_peak_rss(void)
{
    FILE *status = fopen("/proc/self/status", "re");
    struct rusage usage = {0};
    unsigned long long kib = 0;
    char line[256];

    while (status && kib == 0 && fgets(line, sizeof(line), status))
        if (sscanf(line, "VmHWM: %llu", &kib) != 1)
            kib = 0;
    if (status)
        fclose(status);
    if (kib == 0 && getrusage(RUSAGE_SELF, &usage) == 0)
        kib = (unsigned long long)usage.ru_maxrss;
    return kib * 1024;
}

/* Processor time that this process has used, with all its threads. */
static int64_t jobs_cpu_ns(void)
{
    struct timespec ts = {0};

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return ts.tv_sec * NQI_NS_PER_S + ts.tv_nsec;
}

void nqi_bench_run(struct nqi_bench *bench, struct nqi_bench_result *ret)
{
    int64_t cpu_ns;

    memset(ret, 0, sizeof(*ret));
    ret->code = jobs_meet(bench);
    ret->start_ns = nqi_now_ns();
    cpu_ns = jobs_cpu_ns();
    if (!ret->code)
        ret->code = jobs_job(bench, ret);
    if (!ret->code)
        ret->code = jobs_close(bench);
    ret->cpu_ns = jobs_cpu_ns() - cpu_ns;
    ret->peak_rss_bytes = jobs_peak_rss();
}
