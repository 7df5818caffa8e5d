/* Deadlines in a binary heap.  Pure: the caller brings the time and the lock. */
#ifndef NQ_CORE_TIMER_H
#define NQ_CORE_TIMER_H

#include "core/base.h"

struct nqi_timer {
    int64_t at;   /* ns on CLOCK_MONOTONIC */
    uint32_t pos; /* 1 + index in the heap; 0 = not in it */
};

struct nqi_timers {
    struct nqi_timer **heap; /* earliest first */
    uint32_t count, cap;
};

void nqi_timers_init(struct nqi_timers *timers);
void nqi_timers_fini(struct nqi_timers *timers);

/* Make room for `count` timers in all, so that setting them cannot fail.
 * @return NQ_OK, NQ_ERR_NOMEM. */
NQ_MUST_CHECK nq_err nqi_timers_reserve(struct nqi_timers *timers, uint32_t count);

/* Set or move; room must be reserved. */
void nqi_timers_set(struct nqi_timers *timers, struct nqi_timer *timer, int64_t at);

/* Take out; harmless when it is not in. */
void nqi_timers_remove(struct nqi_timers *timers, struct nqi_timer *timer);

/* The earliest deadline, or NQI_NEVER. */
static inline int64_t nqi_timers_next(const struct nqi_timers *timers)
{
    return timers->count ? timers->heap[0]->at : NQI_NEVER;
}

/* Take one timer out that is due at `now`, or return NULL. */
struct nqi_timer *nqi_timers_expire(struct nqi_timers *timers, int64_t now);

#endif
