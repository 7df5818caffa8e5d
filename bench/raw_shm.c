/* The measure for netqueue over shm: the least that two processes can do with shared memory, and
 * what the ring of the plugin does.
 *
 *   --pattern bare   a ring of slots of 8 + `size` bytes, rounded up to lines: a sequence number,
 *                    stored last, and the payload; the receiver tells every quarter of the ring
 *                    what it is done with.  It checks nothing.  Both spin
 *   --pattern futex  the same; who finds nothing sleeps on a futex, and is woken when somebody
 * sleeps
 *   --pattern ring   plugins/shm/shm_ring.c: `size` bytes and a head of 8, as a record of the
 *                    session.  Both spin
 *
 *   rtt     one message there and back
 *   oneway  one after the other as fast as they go; the receiver copies each out and looks at its
 *           first word, which is its number
 *   paced   the same, each when a schedule says so
 *
 * Clocks cost as much as a message here: a sample is the mean of RAW_ROUNDS round trips. */
#include "plugins/shm/shm_ring.h"
#include "report.h"
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RAW_ROUNDS 16
#define RAW_CELLS 256u
#define RAW_INLINE 65536u
#define RAW_HEAD 8
#define RAW_RECORD_MAX 4096 /* of the pattern ring */
#define RAW_SIZE_MAX (4 << 20)
#define RAW_SLOTS_BYTES (32u << 20) /* of the bare ring; large slots are fewer */

/* ---- the bare ring -------------------------------------------------------------------------- */

struct raw_bare {
    _Alignas(128) _Atomic uint64_t taken; /* the receiver's */
    _Atomic uint32_t wants_room;          /* 1: the sender sleeps, or is about to */
    _Alignas(128) _Atomic uint32_t wants; /* the same of the receiver */
    _Alignas(128) uint8_t slots[];        /* the sender's */
};

struct raw_bare_end {
    struct raw_bare *out, *in;
    size_t stride, slots;
    uint64_t sent, seen, got, told;
    bool sleeps; /* the pattern futex */
};

static long bare_futex(_Atomic uint32_t *word, int op, uint32_t value)
{
    return syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

/* Until `word` is not `old` any more. */
static void bare_await(const struct raw_bare_end *end, _Atomic uint32_t *wants,
                       _Atomic uint64_t *word, uint64_t old)
{
    while (atomic_load_explicit(word, memory_order_acquire) == old) {
        if (!end->sleeps) {
            bench_relax();
            continue;
        }
        atomic_store(wants, 1);
        if (atomic_load(word) == old)
            bare_futex(wants, FUTEX_WAIT, 1);
        atomic_store(wants, 0);
    }
}

/* What somebody may sleep for has been stored. */
static void bare_wake(const struct raw_bare_end *end, _Atomic uint32_t *wants)
{
    if (!end->sleeps)
        return;
    /* Either this sees that it wants, or it sees what was stored. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(wants, memory_order_relaxed) && atomic_exchange(wants, 0))
        bare_futex(wants, FUTEX_WAKE, 1);
}

static void bare_send(struct raw_bare_end *end, const void *data, size_t len)
{
    uint8_t *slot = end->out->slots + end->sent % end->slots * end->stride;

    if (end->sent - end->seen == end->slots)
        end->seen = atomic_load_explicit(&end->out->taken, memory_order_acquire);
    if (end->sent - end->seen == end->slots) {
        bare_await(end, &end->out->wants_room, &end->out->taken, end->seen);
        end->seen = atomic_load_explicit(&end->out->taken, memory_order_acquire);
    }
    memcpy(slot + 8, data, len);
    atomic_store_explicit((_Atomic uint64_t *)(void *)slot, ++end->sent, memory_order_release);
    bare_wake(end, &end->out->wants);
}

static void bare_recv(struct raw_bare_end *end, void *data, size_t len)
{
    uint8_t *slot = end->in->slots + end->got % end->slots * end->stride;

    /* Before the message there stands the one of the turn before, or nothing. */
    bare_await(end, &end->in->wants, (_Atomic uint64_t *)(void *)slot,
               end->got < end->slots ? 0 : end->got + 1 - end->slots);
    memcpy(data, slot + 8, len);
    if (++end->got - end->told >= end->slots / 4) {
        end->told = end->got;
        atomic_store_explicit(&end->in->taken, end->got, memory_order_release);
        bare_wake(end, &end->in->wants_room);
    }
}

/* ---- the plugin's ring ---------------------------------------------------------------------- */

struct raw_ring_end {
    struct shm_tx tx;
    struct shm_rx rx;
    uint64_t ends[RAW_CELLS];
};

static void ring_send(struct raw_ring_end *end, const void *data, size_t len)
{
    static const uint8_t head[RAW_HEAD];
    const struct iovec iov[] = {{(void *)(uintptr_t)head, RAW_HEAD},
                                {(void *)(uintptr_t)data, len}};
    struct shm_source source = {.seg = iov, .nseg = 2, .left = RAW_HEAD + len};

    while (source.left)
        if (shm_tx_put(&end->tx, &source) < 0)
            bench_die("send", "the peer's credit makes no sense");
}

static void ring_recv(struct raw_ring_end *end, void *data, size_t len)
{
    uint8_t record[RAW_HEAD + RAW_RECORD_MAX];
    struct shm_piece piece;

    for (size_t at = 0; at < RAW_HEAD + len; at += piece.len) {
        int rc;

        while (!(rc = shm_rx_next(&end->rx, &piece)))
            bench_relax();
        if (rc < 0 || piece.len > RAW_HEAD + len - at)
            bench_die("receive", "a cell makes no sense");
        shm_piece_copy(&piece, 0, record + at, piece.len);
        shm_rx_done(&end->rx, &piece);
    }
    memcpy(data, record + RAW_HEAD, len);
}

/* ---- all ------------------------------------------------------------------------------------ */

enum raw_pattern { RAW_BARE, RAW_FUTEX, RAW_RING };

struct raw_end {
    enum raw_pattern pattern;
    struct raw_bare_end b;
    struct raw_ring_end r;
};

static void *raw_share(size_t len)
{
    void *mem =
        mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (mem == MAP_FAILED)
        bench_die("mmap", NULL);
    return mem;
}

static const char *const raw_patterns[] = {"bare", "futex", "ring"};

static enum raw_pattern raw_pattern(const char *name)
{
    for (int i = RAW_BARE; name && i <= RAW_RING; i++)
        if (strcmp(raw_patterns[i], name) == 0)
            return (enum raw_pattern)i;
    return RAW_RING;
}

static void raw_setup(struct raw_end ends[2], const struct bench_opts *opts)
{
    const struct shm_sizes sizes = {.ncell = RAW_CELLS, .ntoken = RAW_CELLS, .nbyte = RAW_INLINE};
    size_t stride = (8 + opts->size + 63) / 64 * 64;
    size_t fit = RAW_SLOTS_BYTES / stride, slots = fit < RAW_CELLS ? fit : RAW_CELLS;
    struct raw_bare *bares[2];
    struct shm_outbox boxes[2];

    for (int i = 0; i < 2; i++) {
        bares[i] = raw_share(sizeof(struct raw_bare) + slots * stride);
        boxes[i] = shm_outbox_at(raw_share(shm_outbox_size(&sizes)), &sizes);
    }
    for (int i = 0; i < 2; i++) {
        ends[i].pattern = raw_pattern(opts->pattern);
        ends[i].b = (struct raw_bare_end){.out = bares[i],
                                          .in = bares[!i],
                                          .stride = stride,
                                          .slots = slots,
                                          .sleeps = ends[i].pattern == RAW_FUTEX};
        shm_tx_init(&ends[i].r.tx, &boxes[i], &boxes[!i], ends[i].r.ends);
        shm_rx_init(&ends[i].r.rx, &boxes[i], &boxes[!i]);
    }
}

static void raw_send(struct raw_end *end, const void *data, size_t len)
{
    if (end->pattern == RAW_RING)
        ring_send(&end->r, data, len);
    else
        bare_send(&end->b, data, len);
}

static void raw_recv(struct raw_end *end, void *data, size_t len)
{
    if (end->pattern == RAW_RING)
        ring_recv(&end->r, data, len);
    else
        bare_recv(&end->b, data, len);
}

static void raw_peer(const struct bench_opts *opts, int fd, void *arg)
{
    struct raw_end *end = (struct raw_end *)arg + 1;
    uint64_t total = opts->warmup + opts->count;
    static uint8_t buf[RAW_SIZE_MAX] __attribute__((aligned(4096)));

    (void)fd;
    for (uint64_t i = 0; i < total; i++) {
        if (opts->job == BENCH_RTT)
            raw_recv(end, buf, opts->size);
        else
            memcpy(buf, &i, opts->size < sizeof(i) ? opts->size : sizeof(i));
        bench_due(opts, i, 1);
        raw_send(end, buf, opts->size);
    }
}

static void raw_rtt(const struct bench_opts *opts, struct raw_end *end, struct bench_result *result)
{
    static uint8_t buf[RAW_SIZE_MAX] __attribute__((aligned(4096)));
    int64_t start = 0, last = 0;

    for (uint64_t i = 0; i < opts->warmup + opts->count; i++) {
        if (i == opts->warmup)
            start = last = bench_now_ns();
        raw_send(end, buf, opts->size);
        raw_recv(end, buf, opts->size);
        if (i >= opts->warmup && (i - opts->warmup + 1) % RAW_ROUNDS == 0) {
            int64_t now = bench_now_ns();

            bench_samples_add(result->samples, (now - last) / RAW_ROUNDS);
            last = now;
        }
    }
    result->seconds = (double)(bench_now_ns() - start) / 1e9;
    result->messages = opts->count;
}

static void raw_oneway(const struct bench_opts *opts, struct raw_end *end,
                       struct bench_result *result)
{
    static uint8_t buf[RAW_SIZE_MAX] __attribute__((aligned(4096)));
    int64_t start = 0;

    for (uint64_t i = 0; i < opts->warmup + opts->count; i++) {
        if (i == opts->warmup)
            start = bench_now_ns();
        raw_recv(end, buf, opts->size);
        if (opts->size >= sizeof(i) && memcmp(buf, &i, sizeof(i)) != 0)
            bench_die("oneway", "a message is wrong, lost or doubled");
        bench_arrived(opts, result, i);
    }
    result->seconds = (double)(bench_now_ns() - start) / 1e9;
    result->messages = opts->count;
}

int main(int argc, char **argv)
{
    static struct raw_end ends[2];
    struct bench_opts opts;
    struct bench_samples samples;
    struct bench_result result = {.program = "raw_shm"};
    struct bench_peer peer;

    bench_options(&opts, "raw_shm", BENCH_OPT_PATTERN | BENCH_OPT_PACED, argc, argv);
    if (opts.size > RAW_SIZE_MAX ||
        (raw_pattern(opts.pattern) == RAW_RING && opts.size > RAW_RECORD_MAX))
        bench_die("--size", "at most 4 MiB, of the pattern ring 4096");
    raw_setup(ends, &opts);
    snprintf(result.settings, sizeof(result.settings), "%s", raw_patterns[ends[0].pattern]);
    peer = bench_peer_start(&opts, raw_peer, ends);
    if (opts.job != BENCH_ONEWAY) {
        bench_samples_init(&samples, opts.count);
        result.samples = &samples;
    }
    bench_cpu_start();
    if (opts.job == BENCH_RTT)
        raw_rtt(&opts, &ends[0], &result);
    else
        raw_oneway(&opts, &ends[0], &result);
    bench_peer_wait(&peer);
    bench_print(&opts, &result);
    return 0;
}
