/* The inside of a waiting room, shared by the files wait*.c only. */
#ifndef NQ_CORE_WAIT_ROOM_H
#define NQ_CORE_WAIT_ROOM_H

#include "core/wait.h"
#include <pthread.h>
#include <stdatomic.h>

enum { TOKEN_FREE, TOKEN_RUN, TOKEN_SLEEP, TOKEN_KICKED };
enum { KEEPER_OFF, KEEPER_TICK, KEEPER_ARMED, KEEPER_BUSY };

/* Spinning pays when what is waited for comes sooner than a sleeper would wake.  Written by the
 * token's holder only. */
struct nqi_spin {
    int64_t budget;    /* ns; 0 = never */
    bool adaptive;     /* give up while it does not pay */
    bool probe;        /* this wait is spun only to find out */
    int64_t gap;       /* moving average of how long waits took, ns */
    int64_t off_until; /* ns: the processor is wanted by others until then */
    uint32_t refused;  /* waits that were not spun since the last probe */
    uint32_t looks;    /* at hot links only, since the last one at everything */
    uint32_t pace;     /* so many are in a row */
    _Atomic uint64_t paid, lost;
};

struct nqi_room {
    /* fixed by nqi_room_new() */
    struct nqi_loop *loop;
    struct nqi_hot_set *hot; /* the loop's */
    enum nqi_room_mode mode;
    struct nqi_room *sibling; /* ring of rooms with common conditions */
    pthread_t thread;
    bool has_thread;
    int outer, tick; /* the keeper's epoll set and timer */

    /* atomic; see the head of wait.c */
    _Atomic uint32_t token NQI_ALIGNED_LINE;
    _Atomic uint64_t turn; /* written by the token's holder */
    _Atomic uint64_t sleeps;

    /* the token's holder */
    struct nqi_spin spin;

    /* atomic: read by everybody who leaves or changes something */
    _Atomic uint32_t nwaiters NQI_ALIGNED_LINE;
    _Atomic uint32_t ncallbacks;
    _Atomic uint64_t kicks;

    /* under lock */
    pthread_mutex_t lock;
    struct nqi_list waiters;

    /* under keeper_lock; `keeper` is also read without it */
    pthread_mutex_t keeper_lock NQI_ALIGNED_LINE;
    _Atomic uint32_t keeper;
    bool hurried; /* the next tick is a short one */
    _Atomic bool stop;
    _Atomic uint64_t keeper_ticks, keeper_turns;

    /* under callback_lock; `in_callback` is also read without it */
    pthread_mutex_t callback_lock;
    struct nqi_fifo callbacks;
    _Atomic bool in_callback; /* a thread runs callbacks, and goes on to those that come */
};

/* ---- wait.c ----------------------------------------------------------------------------- */

bool nqi_token_try(struct nqi_room *room);   /* FREE -> RUN */
void nqi_token_leave(struct nqi_room *room); /* RUN -> FREE, and see who comes next */
void nqi_token_await(struct nqi_room *room); /* mode `thread`: until it may be FREE */
bool nqi_room_has_work(const struct nqi_room *room);

/* Some wait and nobody runs them.  The count is read first: in_callback falls after the last was
 * taken, so who sees a new one sees that it fell. */
static inline bool nqi_room_callbacks_due(const struct nqi_room *room)
{
    return atomic_load(&room->ncallbacks) && !atomic_load(&room->in_callback);
}

unsigned nqi_room_turn(struct nqi_room *room, bool hot_only); /* holding the token */

/* Make the hot links cold, before one sleeps in epoll: only when none is left.  Goes inside strands
 * and runs what others left there, so it notifies. */
enum nqi_heat nqi_room_cool(struct nqi_room *room);

/* Sleep in the loop, unless `word` (of a waiter that drives, or NULL) says that its condition was
 * claimed.  Holding the token; all links are cold. */
unsigned nqi_room_sleep(struct nqi_room *room, const _Atomic uint32_t *word, int64_t timeout_ns);
void nqi_room_promote(struct nqi_room *room); /* make one waiter drive */

/* Be the one who runs the callbacks that are due.  True: nqi_room_run_claimed() must follow. */
bool nqi_room_claim_callbacks(struct nqi_room *room);
void nqi_room_run_claimed(struct nqi_room *room); /* without the token */
static inline void nqi_room_run_callbacks(struct nqi_room *room)
{
    if (nqi_room_callbacks_due(room) && nqi_room_claim_callbacks(room))
        nqi_room_run_claimed(room);
}

/* ---- wait_keeper.c ---------------------------------------------------------------------- */

NQ_MUST_CHECK nq_err nqi_keeper_start(struct nqi_room *room);
void nqi_keeper_stop(struct nqi_room *room); /* may be repeated */

/* Watch the loop: nobody drives.  @return false: the keeper is busy, with a slow callback for all
 * that is known, and watches only when it has done. */
bool nqi_keeper_arm(struct nqi_room *room);
void nqi_keeper_tick(struct nqi_room *room);  /* look now and then: somebody drives */
void nqi_keeper_hurry(struct nqi_room *room); /* the same, the next two times soon */

/* A driver comes: do not wake for its events. */
void nqi_keeper_disarm(struct nqi_room *room);
static inline void nqi_keeper_stand_down(struct nqi_room *room)
{
    if (atomic_load(&room->keeper) == KEEPER_ARMED)
        nqi_keeper_disarm(room);
}

/* ---- wait_spin.c ------------------------------------------------------------------------ */

void nqi_spin_init(struct nqi_spin *spin, int64_t spin_ns);

/* One look: at hot links while there are any, and now and then at everything.  @return how much was
 * handled.  Holding the token. */
unsigned nqi_room_look(struct nqi_room *room);

/* A few looks at hot links, without a look at the clock: a quick answer comes sooner than that says
 * what time it is.  @return as nqi_room_look() */
unsigned nqi_room_glance(struct nqi_room *room);

/* Turn the loop again and again for the budget, until something was handled or `ready(arg)`: then
 * `claimed` is set.  @return when the clock was looked at before that, or 0.  Holding the token. */
int64_t nqi_room_spin(struct nqi_room *room, nqi_ready_fn ready, void *arg, int64_t now,
                      int64_t deadline, bool *claimed);

/* A wait that began at `start` ended at `end`; one that was not timed: both 0. */
void nqi_spin_learn(struct nqi_spin *spin, int64_t start, int64_t end);

#endif
