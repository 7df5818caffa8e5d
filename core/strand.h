/* A strand: the work of one peer, link or endpoint runs one piece at a time, on
 * whichever thread brings it.  Nobody ever waits for a strand and nobody holds two.
 *
 * One word holds the whole state:
 *
 *     FREE      nobody is inside
 *     OWNED     a thread is inside, nothing was left for it
 *     pointer   a thread is inside; the pointer is a list of work left for it, newest first
 *     JOINED    nobody is inside, nor will be: whoever comes goes to another strand
 *
 *     who               from             to               by
 *     comer             FREE             OWNED            CAS: it is the owner now
 *     comer with work   OWNED, pointer   pointer          CAS: the owner will run it
 *     owner, leaving    OWNED            FREE, JOINED     CAS: gone
 *     owner             pointer          OWNED            exchange: runs the list, oldest first
 *
 * Invariant: work is only ever pushed while somebody is inside, and an owner can only leave a
 * word that says OWNED, so no work is left behind.  Before each attempt to leave the owner calls
 * `settle`, once for everything that ran since the last: one flush for many puts.
 *
 * A strand may end in another (nqi_strand_join): what is left for it goes on there, and once its
 * owner has left, whoever comes to it comes to the other one: in order.  So a link that was
 * accepted in a strand of its own can become part of a peer that has one.
 *
 * A strand is reference-counted; whoever may still bring work holds a reference. */
#ifndef NQ_CORE_STRAND_H
#define NQ_CORE_STRAND_H

#include "core/base.h"
#include <pthread.h>
#include <stdatomic.h>

struct nqi_work {
    struct nqi_work *next;
    void (*run)(struct nqi_work *work); /* inside the strand; may free `work` */
};

struct nqi_strand {
    _Atomic(struct nqi_work *) word;
    _Atomic(uintptr_t) owner; /* nqi_strand_self() of the owner; a hint for others */
    _Atomic uint32_t refs;
    void (*settle)(void *arg); /* inside the strand only; NULL = nothing to settle */
    void *arg;
    _Atomic(struct nqi_strand *) next; /* the one it has joined: one reference; else NULL */
};

/* Names the calling thread, without a call: only its address is used. */
extern NQI_THREAD_LOCAL char nqi_strand_here;

static inline uintptr_t nqi_strand_self(void)
{
    return (uintptr_t)&nqi_strand_here;
}

/* A new strand with one reference; NULL = no memory. */
struct nqi_strand *nqi_strand_new(void);
struct nqi_strand *nqi_strand_ref(struct nqi_strand *strand);
void nqi_strand_unref(struct nqi_strand *strand); /* NULL is allowed */

/* What to do before leaving, from now on.  Only inside the strand, or before it is shared. */
static inline void nqi_strand_on_settle(struct nqi_strand *strand, void (*settle)(void *),
                                        void *arg)
{
    strand->settle = settle;
    strand->arg = arg;
}

/* FREE -> OWNED.  True: the caller is inside and must call nqi_strand_leave().
 * Thread: any.  Blocks: no. */
bool nqi_strand_try(struct nqi_strand *strand);

/* The same for a strand that nobody else knows yet. */
static inline void nqi_strand_enter_new(struct nqi_strand *strand)
{
    bool entered = nqi_strand_try(strand);

    assert(entered);
    (void)entered;
}

/* Settle, run what others left, leave.  The caller holds a reference of its own.
 * @return how much work of others ran: if any, somebody may wait for what it did. */
unsigned nqi_strand_leave(struct nqi_strand *strand);

/* The same for who did nothing inside: settle only when others left work. */
unsigned nqi_strand_leave_idle(struct nqi_strand *strand);

/* Others left work: who has only come to look leaves now.  Inside. */
bool nqi_strand_is_wanted(struct nqi_strand *strand);

/* Go inside and return true, or leave `work` with the owner and return false.  `work` is touched
 * only in the second case. */
bool nqi_strand_enter_or_push(struct nqi_strand *strand, struct nqi_work *work);

/* Run `work` now if nobody is inside, else have the owner run it.  A thread that is inside
 * already has it run before it leaves. */
void nqi_strand_run(struct nqi_strand *strand, struct nqi_work *work);

/* From now on `strand` is `next`, which has joined none.  Inside `strand`, as its last act: from
 * its settle, when nothing else is done inside it.  The work that is left for it, and what is
 * brought until the caller has left it, runs in `next`. */
void nqi_strand_join(struct nqi_strand *strand, struct nqi_strand *next);

/* The strand that `strand` is now; lives as long as `strand`. */
static inline struct nqi_strand *nqi_strand_now(struct nqi_strand *strand)
{
    struct nqi_strand *next = atomic_load_explicit(&strand->next, memory_order_acquire);

    return NQI_UNLIKELY(next != NULL) ? next : strand;
}

/* True when the calling thread is inside. */
static inline bool nqi_strand_inside(struct nqi_strand *strand)
{
    return atomic_load_explicit(&nqi_strand_now(strand)->owner, memory_order_relaxed) ==
           nqi_strand_self();
}

#endif
