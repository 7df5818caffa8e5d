/* The rival iceoryx 2: messages in chunks of shared memory that a daemon, RouDi, deals out.
 *
 * RouDi must run, with pools of chunks for the size that is measured; bench/compare starts one.  A
 * publisher waits for its subscriber, so nothing is dropped.  A chunk is written at its two ends,
 * like a loan of `netqueue bench --loan`; both sides spin on iox_sub_take_chunk(), which is the
 * fastest that iceoryx has. */
#include "report.h"
#include <iceoryx_binding_c/log.h>
#include <iceoryx_binding_c/publisher.h>
#include <iceoryx_binding_c/runtime.h>
#include <iceoryx_binding_c/subscriber.h>
#include <stdio.h>

#define RIVAL_QUEUE 256 /* chunks that may wait for a subscriber; the most that iceoryx allows */
#define RIVAL_QUEUE_LARGE 16 /* of large ones, of which there are fewer */

/* Names of the two topics, each from one process to the other. */
static const char *const rival_topics[] = {"there", "back"};

struct rival_end {
    iox_pub_storage_t pub_storage;
    iox_sub_storage_t sub_storage;
    iox_pub_t pub;
    iox_sub_t sub;
};

/* ---- messages --------------------------------------------------------------------------- */

static void rival_open(struct rival_end *end, const char *name, int own, size_t size)
{
    iox_pub_options_t out;
    iox_sub_options_t in;

    iox_set_loglevel(Iceoryx_LogLevel_Error);
    iox_runtime_init(name); /* waits for the daemon */
    iox_pub_options_init(&out);
    out.subscriberTooSlowPolicy = ConsumerTooSlowPolicy_WAIT_FOR_CONSUMER;
    iox_sub_options_init(&in);
    in.queueCapacity = size > 64 << 10 ? RIVAL_QUEUE_LARGE : RIVAL_QUEUE;
    in.queueFullPolicy = QueueFullPolicy_BLOCK_PRODUCER;
    end->pub = iox_pub_init(&end->pub_storage, "bench", "pair", rival_topics[own], &out);
    end->sub = iox_sub_init(&end->sub_storage, "bench", "pair", rival_topics[!own], &in);
    while (iox_sub_get_subscription_state(end->sub) != SubscribeState_SUBSCRIBED ||
           !iox_pub_has_subscribers(end->pub))
        bench_relax();
}

static void rival_close(struct rival_end *end)
{
    iox_sub_deinit(end->sub);
    iox_pub_deinit(end->pub);
    iox_runtime_shutdown();
}

static void rival_send(struct rival_end *end, size_t size, uint64_t number)
{
    unsigned char *chunk;

    while (iox_pub_loan_chunk(end->pub, (void **)&chunk, (uint32_t)size) !=
           AllocationResult_SUCCESS)
        bench_relax(); /* all of them are on their way */
    chunk[0] = (unsigned char)number;
    chunk[size - 1] = (unsigned char)number;
    iox_pub_publish_chunk(end->pub, chunk);
}

static void rival_recv(struct rival_end *end, size_t size, uint64_t number)
{
    const unsigned char *chunk;

    while (iox_sub_take_chunk(end->sub, (const void **)&chunk) != ChunkReceiveResult_SUCCESS)
        bench_relax();
    if (chunk[0] != (unsigned char)number || chunk[size - 1] != (unsigned char)number)
        bench_die("message", "is not the one that was sent");
    iox_sub_release_chunk(end->sub, chunk);
}

/* ---- the two processes ------------------------------------------------------------------ */

static void rival_peer(const struct bench_opts *opts, int fd, void *arg)
{
    struct rival_end end;
    char done;

    (void)arg;
    rival_open(&end, "bench-peer", 1, opts->size);
    for (uint64_t i = 0; i < opts->warmup + opts->count; i++) {
        if (opts->job == BENCH_RTT)
            rival_recv(&end, opts->size, i);
        bench_due(opts, i, 1);
        rival_send(&end, opts->size, i);
    }
    bench_hear(fd, &done, 1); /* all of it has arrived */
    rival_close(&end);
}

static void rival_measure(const struct bench_opts *opts, struct rival_end *end,
                          struct bench_result *result)
{
    int64_t start = 0, last = 0;

    for (uint64_t i = 0; i < opts->warmup + opts->count; i++) {
        int64_t now;

        if (i == opts->warmup)
            start = last = bench_now_ns();
        if (opts->job == BENCH_RTT)
            rival_send(end, opts->size, i);
        rival_recv(end, opts->size, i);
        bench_arrived(opts, result, i);
        if (opts->job != BENCH_RTT || i < opts->warmup)
            continue;
        now = bench_now_ns();
        bench_samples_add(result->samples, now - last);
        last = now;
    }
    result->seconds = (double)(bench_now_ns() - start) / 1e9;
    result->messages = opts->count;
}

int main(int argc, char **argv)
{
    struct bench_opts opts;
    struct bench_samples samples;
    struct bench_result result = {.program = "iceoryx"};
    struct bench_peer peer;
    struct rival_end end;

    bench_options(&opts, "iceoryx", BENCH_OPT_PACED, argc, argv);
    peer = bench_peer_start(&opts, rival_peer, NULL);
    rival_open(&end, "bench", 0, opts.size);
    if (opts.job != BENCH_ONEWAY) {
        bench_samples_init(&samples, opts.count);
        result.samples = &samples;
    }
    snprintf(result.settings, sizeof(result.settings), "both spin, chunks written at their ends");
    bench_cpu_start();
    rival_measure(&opts, &end, &result);
    bench_tell(peer.fd, "d", 1);
    bench_peer_wait(&peer);
    rival_close(&end);
    bench_print(&opts, &result);
    return 0;
}
