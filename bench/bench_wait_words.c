/* Row of bench_wait: what the state words of strand, token and room cost by themselves. */
#include "bench/bench_wait.h"

#include "core/wait_room.h"
#include <netqueue/future.h>
#include <stdio.h>
#include <stdlib.h>

static struct nqi_loop *words_loop;
static struct nqi_room *words_room;
static struct nqi_strand *words_strand;

static void word_nothing(struct nqi_work *work)
{
    (void)work;
}

static bool word_ready(void *arg)
{
    (void)arg;
    return true;
}

static void word_strand(void)
{
    if (nqi_strand_try(words_strand))
        nqi_strand_leave(words_strand);
}

static void word_run(void)
{
    struct nqi_work work = {.run = word_nothing};

    nqi_strand_run(words_strand, &work);
}

static void word_push(void)
{
    struct nqi_work work = {.run = word_nothing};

    if (!nqi_strand_try(words_strand))
        return;
    nqi_strand_run(words_strand, &work);
    nqi_strand_leave(words_strand);
}

static void word_token(void)
{
    if (!nqi_token_try(words_room))
        return;
    nqi_keeper_stand_down(words_room);
    nqi_token_leave(words_room);
}

static void word_notify(void)
{
    nqi_room_notify(words_room);
}

static void word_wait(void)
{
    wait_need(nqi_room_wait(words_room, word_ready, NULL, NQ_FOREVER));
}

static void word_poll(void)
{
    nqi_room_poll(words_room);
}

static int double_order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Median of nine runs. */
static double word_ns(void (*fn)(void))
{
    enum { RUNS = 9, CALLS = 100000 };
    double ns[RUNS];

    for (int i = 0; i < RUNS; i++) {
        int64_t start = bench_now_ns();

        for (int n = 0; n < CALLS; n++)
            fn();
        ns[i] = (double)(bench_now_ns() - start) / CALLS;
    }
    qsort(ns, RUNS, sizeof(ns[0]), double_order);
    return ns[RUNS / 2];
}

void wait_run_words(void *arg)
{
    (void)arg;
    wait_need(nqi_loop_new(&words_loop));
    wait_need(nqi_room_new(words_loop, NQI_ROOM_AUTO, 0, &words_room));
    words_strand = nqi_strand_new();
    if (!words_strand)
        bench_die("strand", NULL);
    printf("{\"bench\":\"wait\",\"row\":\"words\",\"strand_ns\":%.1f,\"strand_run_ns\":%.1f,"
           "\"strand_push_ns\":%.1f,\"token_ns\":%.1f,\"notify_ns\":%.1f,\"wait_ready_ns\":%.1f,"
           "\"poll_ns\":%.1f}\n",
           word_ns(word_strand), word_ns(word_run), word_ns(word_push), word_ns(word_token),
           word_ns(word_notify), word_ns(word_wait), word_ns(word_poll));
    nqi_strand_unref(words_strand);
    nqi_room_free(words_room);
    nqi_loop_free(words_loop);
}
