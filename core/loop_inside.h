/* The inside of a loop, shared by loop.c, loop_poll.c and loop_watch.c only. */
#ifndef NQ_CORE_LOOP_INSIDE_H
#define NQ_CORE_LOOP_INSIDE_H

#include "core/loop.h"
#include "core/timer.h"
#include <sys/epoll.h>

#define LOOP_BATCH 64
#define LOOP_TIMER_READY 0x80000000u /* in `ready`: the timer is due */

/* Data of the loop's own descriptors: no watch has these generations. */
#define LOOP_DATA_KICK UINT64_MAX
#define LOOP_DATA_TIMER (UINT64_MAX - 1)

struct nqi_watch {
    struct nqi_work work;
    struct nqi_serial *serial;
    struct nqi_timer timer; /* under lock */
    uint32_t ready;         /* under lock: events that the queued work will report */
    bool queued;            /* under lock: `work` is with the strand */
    bool muted;             /* under lock: epoll does not report until `work` ran */
    bool dead;              /* inside the strand */
    uint32_t wanted;        /* inside the strand: POLL*; what was asked for last */
    int fd;                 /* -1: a timer */
    uint32_t slot, gen;     /* fixed by the adding */
    union {
        void (*on_fd)(void *arg, uint32_t events);
        void (*on_time)(void *arg);
    } fn;
    void *arg;
};

struct loop_slot {
    struct nqi_watch *watch; /* NULL = free */
    uint32_t gen;
    uint32_t next_free;
};

struct nqi_loop {
    /* fixed by nqi_loop_new() */
    int epoll, kick, clock, hold;
    nqi_kick_fn on_kick;
    void *kick_arg;
    bool epoll_only; /* no poller is taken */

    struct nqi_hot_set hot;

    /* the token's holder only */
    struct epoll_event events[LOOP_BATCH];

    /* atomic: pushed by any thread, emptied by the token's holder */
    _Atomic(struct nqi_post *) inbox NQI_ALIGNED_LINE;
    _Atomic uint32_t posting; /* threads that have not done with a post: they will kick */

    /* under lock */
    pthread_mutex_t lock NQI_ALIGNED_LINE;
    struct loop_slot *slots;
    int face; /* set of `epoll` and `hold`, for the user's own loop; -1 = nobody asked for it yet */
    uint32_t nslots, free_slot; /* free_slot: head of the free list, nslots = none */
    uint32_t ntimers;           /* watches that are timers: room reserved in `timers` */
    struct nqi_timers timers;
    int64_t armed;       /* when the timerfd will fire; NQI_NEVER = not set */
    _Atomic int64_t due; /* earliest timer, readable without the lock */

    /* atomic; see the head of loop_poll.c */
    _Atomic uint32_t nfds;      /* watches that are descriptors */
    _Atomic bool has_poller;    /* there is a look under poll_lock to take */
    _Atomic int64_t poll_until; /* when the poll that goes on ends by itself; 0 = none goes on */

    pthread_mutex_t poll_lock;
    /* under poll_lock */
    struct nqi_poller poller; /* `poll` NULL = none */
    bool polling;             /* the token's holder is inside of it */
    bool woken;               /* before it got there, or while it was */
};

/* Under lock: have the timerfd fire at `at` at the latest; NQI_NEVER changes nothing. */
void nqi_loop_set_clock(struct nqi_loop *loop, int64_t at);

/* Under lock: set the timerfd to the earliest timer, which also wakes whoever sleeps in the loop,
 * in time. */
void nqi_loop_arm(struct nqi_loop *loop);

/* Under lock, on the loop's thread.  The event is with the strand and its owner has not come to it:
 * no more reports until then, or whoever drives would turn in circles while the owner is inside. */
void nqi_watch_mute(struct nqi_watch *watch);

enum nqi_polled {
    NQI_POLLED_NOT,  /* there is no poller, or descriptors are watched: sleep in epoll */
    NQI_POLLED,      /* nothing is in epoll but perhaps the clock, whose time is known anyway */
    NQI_POLLED_WOKEN /* there may be a kick in epoll */
};

/* Sleep where the poller says.  Thread: the token's holder.  Blocks: up to `timeout_ns`. */
enum nqi_polled nqi_loop_poll(struct nqi_loop *loop, int64_t timeout_ns);

/* This very thread is inside of that sleep: the poller returns by itself. */
bool nqi_loop_polled_here(const struct nqi_loop *loop);

/* End that sleep, or the next one, at once, unless it is this thread's.  Thread: any, not under
 * `lock`. */
void nqi_loop_poll_wake(struct nqi_loop *loop);

#endif
