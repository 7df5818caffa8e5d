/* What the ground costs: messages, pool and copies, in ns and GB/s.
 *
 * One line per figure: the median of five short runs.  No argument, ends by itself after
 * about two seconds. */
#include "core/copy.h"
#include "core/pool.h"
#include <netqueue/msg.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RUNS 5
#define COUNT 500000
#define RING 1024 /* blocks on their way to the other thread */

static double bench_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int bench_order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Median seconds of RUNS calls of `fn`, after one to warm up. */
static double bench_median(void (*fn)(size_t arg), size_t arg)
{
    double seconds[RUNS];

    fn(arg);
    for (int i = 0; i < RUNS; i++) {
        double start = bench_now();

        fn(arg);
        seconds[i] = bench_now() - start;
    }
    qsort(seconds, RUNS, sizeof(seconds[0]), bench_order);
    return seconds[RUNS / 2];
}

static void bench_each(const char *what, void (*fn)(size_t arg), size_t arg, double count)
{
    printf("%-44s %8.1f ns\n", what, bench_median(fn, arg) / count * 1e9);
    fflush(stdout);
}

static void bench_check(nq_err err)
{
    if (err) {
        fprintf(stderr, "bench_leaf: %s\n", nq_error());
        exit(EXIT_FAILURE);
    }
}

/* ---- messages --------------------------------------------------------------------------- */

static unsigned char payload[2 << 20];

static void msg_one(size_t len)
{
    for (int i = 0; i < COUNT; i++) {
        nq_msg *msg;

        bench_check(nq_msg_new(payload, len, &msg));
        nq_msg_free(msg);
    }
}

/* Many alive at once: what a queue that fills and empties does. */
static void msg_burst(size_t len)
{
    static nq_msg *msgs[RING];

    for (int i = 0; i < COUNT; i += RING) {
        for (int k = 0; k < RING; k++)
            bench_check(nq_msg_new(payload, len, &msgs[k]));
        for (int k = 0; k < RING; k++)
            nq_msg_free(msgs[k]);
    }
}

/* ---- pool ------------------------------------------------------------------------------- */

static void pool_one(size_t len)
{
    for (int i = 0; i < COUNT; i++) {
        char *block = nqi_pool_alloc(len);

        __asm__ volatile("" : : "r"(block) : "memory");
        nqi_pool_free(block, len);
    }
}

static void malloc_one(size_t len)
{
    for (int i = 0; i < COUNT; i++) {
        char *block = malloc(len);

        __asm__ volatile("" : : "r"(block) : "memory");
        free(block);
    }
}

struct ring {
    NQI_ALIGNED_LINE _Atomic size_t put;
    NQI_ALIGNED_LINE _Atomic size_t got;
    NQI_ALIGNED_LINE void *slot[RING];
    size_t len;
    void (*free)(void *block, size_t len);
};

static void *ring_drain(void *arg)
{
    struct ring *ring = arg;

    for (size_t i = 0; i < COUNT; i++) {
        while (atomic_load_explicit(&ring->put, memory_order_acquire) == i)
            nqi_relax();
        ring->free(ring->slot[i % RING], ring->len);
        atomic_store_explicit(&ring->got, i + 1, memory_order_release);
    }
    return NULL;
}

static void ring_run(struct ring *ring, void *(*alloc)(size_t len))
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, ring_drain, ring) != 0)
        exit(EXIT_FAILURE);
    for (size_t i = 0; i < COUNT; i++) {
        char *block = alloc(ring->len);

        if (!block)
            exit(EXIT_FAILURE);
        memset(block, (int)i, ring->len);
        while (i - atomic_load_explicit(&ring->got, memory_order_acquire) == RING)
            nqi_relax();
        ring->slot[i % RING] = block;
        atomic_store_explicit(&ring->put, i + 1, memory_order_release);
    }
    pthread_join(thread, NULL);
}

static void plain_free(void *block, size_t len)
{
    (void)len;
    free(block);
}

static void no_free(void *block, size_t len)
{
    (void)block;
    (void)len;
}

static void *no_alloc(size_t len)
{
    return payload + (len & 0);
}

static void pool_cross(size_t len)
{
    static struct ring ring;

    ring = (struct ring){.len = len, .free = nqi_pool_free};
    ring_run(&ring, nqi_pool_alloc);
}

static void malloc_cross(size_t len)
{
    static struct ring ring;

    ring = (struct ring){.len = len, .free = plain_free};
    ring_run(&ring, malloc);
}

static void bare_cross(size_t len)
{
    static struct ring ring;

    ring = (struct ring){.len = len, .free = no_free};
    ring_run(&ring, no_alloc);
}

/* ---- copies ----------------------------------------------------------------------------- */

#define COPY_TOTAL ((size_t)256 << 20) /* bytes in one run */

static unsigned char *copy_src, *copy_dst;

static void copy_ours(size_t len)
{
    for (size_t done = 0; done < COPY_TOTAL; done += len) {
        nqi_copy(copy_dst, copy_src, len);
        __asm__ volatile("" : : : "memory");
    }
}

static void copy_libc(size_t len)
{
    for (size_t done = 0; done < COPY_TOTAL; done += len) {
        memcpy(copy_dst, copy_src, len);
        __asm__ volatile("" : : : "memory");
    }
}

/* GB/s with the destination `skew` bytes after the source modulo the page. */
static void bench_copy(size_t len, size_t skew)
{
    size_t room = len + 8192;
    unsigned char *from = aligned_alloc(4096, room), *to = aligned_alloc(4096, room);
    double ours, libc;

    if (!from || !to)
        exit(EXIT_FAILURE);
    memset(from, 1, room);
    memset(to, 2, room);
    copy_src = from;
    copy_dst = to + skew;
    ours = bench_median(copy_ours, len);
    libc = bench_median(copy_libc, len);
    printf("copy %7zu B, %2zu after the source %14.1f GB/s   memcpy %6.1f\n", len, skew,
           (double)COPY_TOTAL / ours * 1e-9, (double)COPY_TOTAL / libc * 1e-9);
    fflush(stdout);
    free(from);
    free(to);
}

int main(void)
{
    static const size_t lens[] = {4096, 16384, 131072, 1 << 20, 4 << 20};

    bench_each("message of 64 B, new and free", msg_one, 64, COUNT);
    bench_each("message of 1 KiB, new and free", msg_one, 1024, COUNT);
    bench_each("message of 4 KiB, new and free", msg_one, 4096, COUNT);
    bench_each("message of 64 B, 1024 alive", msg_burst, 64, COUNT);
    bench_each("pool, 256 B, same thread", pool_one, 256, COUNT);
    bench_each("pool, 256 KiB, same thread", pool_one, 256 << 10, COUNT);
    bench_each("malloc, 256 B, same thread", malloc_one, 256, COUNT);
    bench_each("pool, 256 B filled, freed on another thread", pool_cross, 256, COUNT);
    bench_each("malloc, 256 B filled, the same", malloc_cross, 256, COUNT);
    bench_each("one static buffer, the same (the ring alone)", bare_cross, 256, COUNT);
    for (size_t i = 0; i < NQI_LEN(lens); i++) {
        bench_copy(lens[i], 0);
        bench_copy(lens[i], 16);
    }
    return EXIT_SUCCESS;
}
