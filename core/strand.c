/* The picture, the states and the invariant are in strand.h.
 *
 * Orders: the CAS that enters acquires and the CAS that leaves releases, so the next owner sees
 * what the last one wrote.  A push releases the work's fields; the exchange that takes the list
 * acquires them.  `owner` is only ever compared with one's own id, so relaxed is enough: a
 * thread reads its own last write. */
#include "core/strand.h"

#include <stdlib.h>

#define STRAND_FREE NULL
#define STRAND_OWNED (&strand_owned)
#define STRAND_JOINED (&strand_joined)

static struct nqi_work strand_owned, strand_joined; /* only their addresses are used */

NQI_THREAD_LOCAL char nqi_strand_here;

struct nqi_strand *nqi_strand_new(void)
{
    struct nqi_strand *strand = calloc(1, sizeof(*strand));

    if (!strand)
        return NULL;
    atomic_init(&strand->word, STRAND_FREE);
    atomic_init(&strand->refs, 1);
    return strand;
}

struct nqi_strand *nqi_strand_ref(struct nqi_strand *strand)
{
    atomic_fetch_add_explicit(&strand->refs, 1, memory_order_relaxed);
    return strand;
}

void nqi_strand_unref(struct nqi_strand *strand)
{
    if (!strand)
        return;
    if (atomic_fetch_sub_explicit(&strand->refs, 1, memory_order_acq_rel) != 1)
        return;
    nqi_strand_unref(atomic_load_explicit(&strand->next, memory_order_relaxed));
    free(strand);
}

static void strand_own(struct nqi_strand *strand)
{
    atomic_store_explicit(&strand->owner, nqi_strand_self(), memory_order_relaxed);
}

/* The strand that a comer to `strand` comes to. */
static struct nqi_strand *strand_of_comer(struct nqi_strand *strand)
{
    struct nqi_strand *next = atomic_load_explicit(&strand->next, memory_order_acquire);

    /* Until the one who joined has left, what was brought before goes first. */
    if (NQI_UNLIKELY(next != NULL) &&
        atomic_load_explicit(&strand->word, memory_order_acquire) == STRAND_JOINED)
        return next;
    return strand;
}

bool nqi_strand_try(struct nqi_strand *strand)
{
    struct nqi_work *expected = STRAND_FREE;

    strand = strand_of_comer(strand);
    if (!atomic_compare_exchange_strong_explicit(&strand->word, &expected, STRAND_OWNED,
                                                 memory_order_acquire, memory_order_acquire))
        return expected == STRAND_JOINED && nqi_strand_try(strand);
    strand_own(strand);
    return true;
}

/* @return the strand that the caller is inside now; NULL = its owner has the work */
static struct nqi_strand *strand_enter_or_push(struct nqi_strand *strand, struct nqi_work *work)
{
    struct nqi_work *word = STRAND_FREE;

    strand = strand_of_comer(strand);
    for (;;) {
        if (word == STRAND_FREE) {
            if (atomic_compare_exchange_weak_explicit(&strand->word, &word, STRAND_OWNED,
                                                      memory_order_acquire, memory_order_acquire)) {
                strand_own(strand);
                return strand;
            }
            continue;
        }
        if (word == STRAND_JOINED) {
            strand = strand_of_comer(strand);
            word = STRAND_FREE;
            continue;
        }
        work->next = word == STRAND_OWNED ? NULL : word;
        if (atomic_compare_exchange_weak_explicit(&strand->word, &word, work, memory_order_release,
                                                  memory_order_acquire))
            return NULL;
    }
}

bool nqi_strand_enter_or_push(struct nqi_strand *strand, struct nqi_work *work)
{
    return strand_enter_or_push(strand, work);
}

/* The owner looks whether it has joined another meanwhile. */
static bool strand_has_joined(struct nqi_strand *strand)
{
    return NQI_UNLIKELY(atomic_load_explicit(&strand->next, memory_order_relaxed) != NULL);
}

static struct nqi_work *strand_reverse(struct nqi_work *newest)
{
    struct nqi_work *oldest = NULL;

    while (newest) {
        struct nqi_work *next = newest->next;

        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

static unsigned strand_drain(struct nqi_strand *strand)
{
    struct nqi_work *work =
        atomic_exchange_explicit(&strand->word, STRAND_OWNED, memory_order_acquire);
    unsigned count = 0;

    for (work = strand_reverse(work); work;) {
        struct nqi_work *next = work->next; /* run() may free the work */

        if (strand_has_joined(strand))
            nqi_strand_run(nqi_strand_now(strand), work);
        else
            work->run(work);
        work = next;
        count++;
    }
    return count;
}

static bool strand_leave(struct nqi_strand *strand)
{
    struct nqi_work *expected = STRAND_OWNED;
    struct nqi_work *gone = strand_has_joined(strand) ? STRAND_JOINED : STRAND_FREE;

    atomic_store_explicit(&strand->owner, 0, memory_order_relaxed);
    if (atomic_compare_exchange_strong_explicit(&strand->word, &expected, gone,
                                                memory_order_release, memory_order_relaxed))
        return true;
    strand_own(strand);
    return false;
}

static unsigned strand_settle_and_leave(struct nqi_strand *strand)
{
    unsigned count = 0;

    for (;;) {
        if (atomic_load_explicit(&strand->word, memory_order_relaxed) != STRAND_OWNED)
            count += strand_drain(strand);
        if (strand->settle)
            strand->settle(strand->arg);
        if (strand_leave(strand))
            return count;
    }
}

/* The thread is inside `strand` itself, and not inside the one that it has joined. */
static bool strand_is_mine(struct nqi_strand *strand)
{
    return atomic_load_explicit(&strand->owner, memory_order_relaxed) == nqi_strand_self();
}

unsigned nqi_strand_leave(struct nqi_strand *strand)
{
    if (strand_has_joined(strand) && !strand_is_mine(strand))
        strand = nqi_strand_now(strand);
    return strand_settle_and_leave(strand);
}

/* A thread that is cancelled inside would keep the strand for ever, and work of others may come to
 * where that happens: a system call, a function of the user's. */
static NQI_APART unsigned strand_leave_uncancelled(struct nqi_strand *strand)
{
    unsigned count;
    int cancel;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    count = nqi_strand_leave(strand);
    pthread_setcancelstate(cancel, NULL);
    return count;
}

unsigned nqi_strand_leave_idle(struct nqi_strand *strand)
{
    if (!strand_has_joined(strand) && strand_leave(strand))
        return 0;
    return strand_leave_uncancelled(strand);
}

bool nqi_strand_is_wanted(struct nqi_strand *strand)
{
    return atomic_load_explicit(&nqi_strand_now(strand)->word, memory_order_relaxed) !=
           STRAND_OWNED;
}

void nqi_strand_run(struct nqi_strand *strand, struct nqi_work *work)
{
    int cancel;

    strand = strand_enter_or_push(strand, work); /* the one to leave, whatever it joins meanwhile */
    if (!strand)
        return;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel); /* as above */
    work->run(work);
    strand_settle_and_leave(strand);
    pthread_setcancelstate(cancel, NULL);
}

void nqi_strand_join(struct nqi_strand *strand, struct nqi_strand *next)
{
    assert(strand_is_mine(strand) && !strand_has_joined(strand) && !strand_has_joined(next));
    nqi_strand_on_settle(strand, NULL, NULL);
    atomic_store_explicit(&strand->next, nqi_strand_ref(next), memory_order_release);
}
