/* A binary heap is enough: sessions move their deadline lazily, so a set is rare. */
#include "core/timer.h"

#include <stdlib.h>
#include <string.h>

void nqi_timers_init(struct nqi_timers *timers)
{
    memset(timers, 0, sizeof(*timers));
}

void nqi_timers_fini(struct nqi_timers *timers)
{
    free(timers->heap);
    nqi_timers_init(timers);
}

nq_err nqi_timers_reserve(struct nqi_timers *timers, uint32_t count)
{
    uint32_t cap = NQI_MAX(count, 16);
    struct nqi_timer **heap;

    if (count <= timers->cap)
        return NQ_OK;
    if (timers->cap <= UINT32_MAX / 2)
        cap = NQI_MAX(cap, 2 * timers->cap);
    heap = realloc(timers->heap, cap * sizeof(*heap));
    if (!heap)
        return NQ_ERR_NOMEM;
    timers->heap = heap;
    timers->cap = cap;
    return NQ_OK;
}

static void timers_place(struct nqi_timers *timers, uint32_t i, struct nqi_timer *timer)
{
    timers->heap[i] = timer;
    timer->pos = i + 1;
}

static void timers_up(struct nqi_timers *timers, uint32_t i, struct nqi_timer *timer)
{
    while (i) {
        uint32_t parent = (i - 1) / 2;

        if (timers->heap[parent]->at <= timer->at)
            break;
        timers_place(timers, i, timers->heap[parent]);
        i = parent;
    }
    timers_place(timers, i, timer);
}

static void timers_down(struct nqi_timers *timers, uint32_t i, struct nqi_timer *timer)
{
    for (;;) {
        uint32_t child = 2 * i + 1;

        if (child >= timers->count)
            break;
        if (child + 1 < timers->count && timers->heap[child + 1]->at < timers->heap[child]->at)
            child++;
        if (timers->heap[child]->at >= timer->at)
            break;
        timers_place(timers, i, timers->heap[child]);
        i = child;
    }
    timers_place(timers, i, timer);
}

void nqi_timers_set(struct nqi_timers *timers, struct nqi_timer *timer, int64_t at)
{
    uint32_t i = timer->pos ? timer->pos - 1 : timers->count++;
    int64_t was = timer->pos ? timer->at : NQI_NEVER;

    assert(timers->count <= timers->cap);
    timer->at = at;
    if (at < was)
        timers_up(timers, i, timer);
    else
        timers_down(timers, i, timer);
}

void nqi_timers_remove(struct nqi_timers *timers, struct nqi_timer *timer)
{
    struct nqi_timer *last;
    uint32_t i;

    if (!timer->pos)
        return;
    i = timer->pos - 1;
    timer->pos = 0;
    last = timers->heap[--timers->count];
    if (last == timer)
        return;
    if (last->at < timer->at)
        timers_up(timers, i, last);
    else
        timers_down(timers, i, last);
}

struct nqi_timer *nqi_timers_expire(struct nqi_timers *timers, int64_t now)
{
    struct nqi_timer *first;

    if (!timers->count || timers->heap[0]->at > now)
        return NULL;
    first = timers->heap[0];
    nqi_timers_remove(timers, first);
    return first;
}
