/* The hot set: a few links that a spinning driver looks at directly.
 *
 * While a link is hot its transport does not report to epoll (rx_arm 0) but is asked (rx_poll): one
 * system call a look instead of two a message.  Before anybody sleeps in the loop, every hot link
 * is cooled (rx_arm 1).
 *
 *   cold   reports to epoll        leaves by  nqi_hot_touch() while a driver spins -> hot
 *   hot    in a slot, asked        leaves by  nqi_hot_cool() without data, nqi_hot_del() -> cold
 *
 * `hot` changes only inside the link's strand; the slots are under the lock, a leaf. */
#ifndef NQ_CORE_HOT_H
#define NQ_CORE_HOT_H

#include "core/base.h"
#include "core/strand.h"
#include <pthread.h>
#include <stdatomic.h>

#define NQI_HOT_SLOTS 8

/* One link's part.  Embedded in the link; zero-initialised = cold. */
struct nqi_hot {
    int (*poll)(void *arg);        /* receive what is there: 1 = something, 0 = nothing */
    int (*arm)(void *arg, int on); /* 1 = report to epoll; answers 1 when data is there already:
                                    * then it need not report, it stays hot and is asked */
    void *arg;
    struct nqi_strand *strand; /* borrowed */
    bool hot;                  /* inside the strand */
    uint32_t slot;             /* while hot */
};

struct nqi_hot_slot {
    struct nqi_strand *strand;
    /* atomic: written under lock, read without it */
    _Atomic(struct nqi_hot *) item; /* NULL = free */
    _Atomic uint64_t gen; /* counts comings and goings: tells an old look from a new item */
};

/* What a look at a slot found. */
struct nqi_hot_seen {
    struct nqi_hot *item;      /* NULL = it was free */
    struct nqi_strand *strand; /* one reference, or NULL */
    uint64_t gen;
};

struct nqi_hot_set {
    pthread_mutex_t lock;
    _Atomic uint32_t count;
    _Atomic bool open; /* a driver spins: links that receive become hot */
    struct nqi_hot_slot slots[NQI_HOT_SLOTS];

    /* whoever calls nqi_hot_poll() */
    struct nqi_hot_seen seen[NQI_HOT_SLOTS]; /* kept while the slot's `gen` is the same */
    unsigned looks;                          /* at the only hot link, in a row; 0 = 1 */
};

void nqi_hot_init(struct nqi_hot_set *set);
void nqi_hot_fini(struct nqi_hot_set *set);

static inline void nqi_hot_open(struct nqi_hot_set *set, bool open)
{
    atomic_store_explicit(&set->open, open, memory_order_relaxed);
}

static inline bool nqi_hot_any(const struct nqi_hot_set *set)
{
    return atomic_load_explicit(&set->count, memory_order_acquire);
}

/* The link received something: it becomes hot when a driver spins and a slot is free.  Inside the
 * item's strand. */
void nqi_hot_touch(struct nqi_hot_set *set, struct nqi_hot *item);

/* The link ends.  Inside the item's strand. */
void nqi_hot_del(struct nqi_hot_set *set, struct nqi_hot *item);

/* Ask every hot link once.  @return how many received something, or had work that others left in
 * their strand.  Outside of strands.  Thread: one at a time, the driver's. */
unsigned nqi_hot_poll(struct nqi_hot_set *set);

/* How links are after nqi_hot_cool(); of several the worst. */
enum nqi_heat {
    NQI_HEAT_NONE,  /* all are cold: one may sleep */
    NQI_HEAT_TAKEN, /* the strand of one is taken: look again, but give its owner time */
    NQI_HEAT_DATA,  /* one has data: turn again */
};

/* Make every link cold, but those that have data or whose strand is taken.  Outside of strands.
 * Thread: any. */
enum nqi_heat nqi_hot_cool(struct nqi_hot_set *set);

#endif
