/* See future.h for the states.  A future outlives its queue: once it is settled it touches the room
 * no more. */
#include "core/future.h"

#include "core/err.h"
#include "core/pool.h"
#include "core/process.h"
#include <string.h>

enum { PART_QUEUED, PART_BEGUN, PART_SETTLED };
enum { THEN_NONE, THEN_SET, THEN_TAKEN };

struct nq_future {
    /* fixed by nqi_future_new() */
    struct nqi_room *room, *calls;
    const struct nqi_part_target *ops;
    size_t n;
    uint32_t process; /* that may wait for it, as nqi_process() says */

    _Atomic uint32_t refs;  /* the user's, the put's, a deferred callback's */
    _Atomic size_t pending; /* parts not settled */
    _Atomic uint32_t then;  /* THEN_*; who makes it TAKEN runs the callback */
    _Atomic bool forgotten; /* nq_future_free() was called */
    nq_future_fn fn;        /* written before THEN_SET */
    void *arg;
    struct nqi_callback callback;
    struct nqi_part parts[];
};

/* ---- texts ------------------------------------------------------------------------------ */

const char *nq_outcome_text(nq_outcome outcome)
{
    static const char *const text[] = {
        [NQ_PENDING] = "pending",     [NQ_DELIVERED] = "delivered",
        [NQ_CANCELLED] = "cancelled", [NQ_EXPIRED] = "expired",
        [NQ_DROPPED] = "dropped",     [NQ_NOT_DELIVERED] = "not delivered",
        [NQ_UNKNOWN] = "unknown",     [NQ_HANDED] = "handed to the transport",
    };

    return (size_t)outcome < NQI_LEN(text) ? text[outcome] : "no such outcome";
}

const char *nq_reason_text(nq_reason reason)
{
    static const char *const text[NQ_REASONS] = {
        [NQ_REASON_NONE] = "no reason",
        [NQ_REASON_QUEUE_FULL] = "the send queue is full",
        [NQ_REASON_NO_PEER] = "there is no such peer",
        [NQ_REASON_PEER_CLOSED] = "the peer closed",
        [NQ_REASON_LINK_LOST] = "the connection was lost",
        [NQ_REASON_TIMED_OUT] = "timed out",
        [NQ_REASON_LOCAL_CLOSE] = "this queue was closed",
        [NQ_REASON_PROTOCOL] = "the peer broke the protocol",
        [NQ_REASON_REFUSED] = "refused",
        [NQ_REASON_DUPLICATE] = "the id is in use by another session",
        [NQ_REASON_VERSION] = "no protocol version in common",
        [NQ_REASON_LIMIT] = "a limit of the configuration",
        [NQ_REASON_NO_MEMORY] = "out of memory",
        [NQ_REASON_DISCONNECTED] = "disconnected",
        [NQ_REASON_TRANSPORT] = "the wire has no acknowledgements",
        [NQ_REASON_NO_SESSION] = "no such session",
        [NQ_REASON_EXPIRED] = "the session expired",
        [NQ_REASON_IDENTITY] = "the certificate is for another id",
        [NQ_REASON_AUTH] = "not authenticated",
        [NQ_REASON_WIRE] = "the wire does not allow it",
    };

    return (size_t)reason < NQI_LEN(text) ? text[reason] : "no such reason";
}

/* ---- life ------------------------------------------------------------------------------- */

static uint32_t part_word(uint32_t state, nq_outcome outcome, nq_reason reason)
{
    return state | (uint32_t)outcome << 8 | (uint32_t)reason << 16;
}

static nq_outcome part_outcome(uint32_t word)
{
    return (nq_outcome)(word >> 8 & 0xff);
}

static nq_reason part_reason(uint32_t word)
{
    return (nq_reason)(word >> 16 & 0xff);
}

static uint32_t part_state(uint32_t word)
{
    return word & 0xff;
}

static size_t future_size(size_t n)
{
    return sizeof(struct nq_future) + n * sizeof(struct nqi_part);
}

nq_err nqi_future_new(struct nqi_room *room, struct nqi_room *calls,
                      const struct nqi_part_target *ops, size_t n, nq_future **ret)
{
    nq_future *future = nqi_pool_alloc(future_size(n));

    if (!future)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a future");
    memset(future, 0, future_size(n));
    future->room = room;
    future->calls = calls;
    future->ops = ops;
    future->n = n;
    future->process = nqi_process();
    atomic_init(&future->refs, 2);
    atomic_init(&future->pending, n);
    *ret = future;
    return NQ_OK;
}

static void future_unref(nq_future *future)
{
    if (atomic_fetch_sub_explicit(&future->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < future->n; i++)
        if (future->parts[i].target)
            future->ops->unref(future->parts[i].target);
    nqi_pool_free(future, future_size(future->n));
}

void nqi_future_abandon(nq_future *future)
{
    if (!future)
        return;
    atomic_store(&future->refs, 1);
    future_unref(future);
}

struct nqi_part *nqi_future_part(nq_future *future, size_t i, const nq_uuid *peer, void *target)
{
    struct nqi_part *part = &future->parts[i];

    part->future = future;
    part->peer = *peer;
    part->target = target;
    return part;
}

/* ---- settling --------------------------------------------------------------------------- */

static void future_run_callback(struct nqi_callback *callback)
{
    nq_future *future = NQI_CONTAINER(callback, nq_future, callback);

    if (!atomic_load(&future->forgotten))
        future->fn(future->arg, future);
    future_unref(future);
}

/* The one who finds it set takes it. */
static bool future_take_then(nq_future *future)
{
    uint32_t expected = THEN_SET;

    return atomic_compare_exchange_strong(&future->then, &expected, THEN_TAKEN);
}

bool nqi_part_begin(struct nqi_part *part)
{
    uint32_t expected = PART_QUEUED;

    return atomic_compare_exchange_strong(&part->word, &expected, PART_BEGUN) ||
           part_state(expected) == PART_BEGUN;
}

bool nqi_part_cancelled(const struct nqi_part *part)
{
    return part_outcome(atomic_load(&part->word)) == NQ_CANCELLED;
}

/* A part got its word. */
static bool future_count_down(nq_future *future)
{
    if (atomic_fetch_sub(&future->pending, 1) != 1)
        return false;
    if (future_take_then(future)) {
        atomic_fetch_add(&future->refs, 1);
        future->callback.run = future_run_callback;
        nqi_room_defer(future->calls, &future->callback);
    }
    future_unref(future); /* the put's */
    return true;
}

bool nqi_part_settle(struct nqi_part *part, nq_outcome outcome, nq_reason reason)
{
    uint32_t word = atomic_load(&part->word);

    do
        if (part_state(word) == PART_SETTLED) {
            if (part_outcome(word) == NQ_CANCELLED) /* the put lets go of it now */
                future_unref(part->future);
            return false;
        }
    while (!atomic_compare_exchange_weak(&part->word, &word,
                                         part_word(PART_SETTLED, outcome, reason)));
    return future_count_down(part->future);
}

/* What a forked child may not do: its copy never settles, and to drive the queue would take the
 * parent's bytes. */
static nq_err future_check_process(const nq_future *future)
{
    if (future->process == nqi_process())
        return NQ_OK;
    return nqi_fail(NQ_ERR_CLOSED, "the put was made before the fork: its future is the parent's");
}

nq_err nq_future_cancel(nq_future *future)
{
    bool late = false, purged = false;
    nq_err err = future_check_process(future);

    if (err)
        return err;
    /* One reference for the walk: settling the last part ends the put's. */
    atomic_fetch_add(&future->refs, 1);
    for (size_t i = 0; i < future->n; i++) {
        struct nqi_part *part = &future->parts[i];
        uint32_t word = PART_QUEUED;

        /* For the put, which looks at its part until its strand comes to it. */
        atomic_fetch_add(&future->refs, 1);
        if (atomic_compare_exchange_strong(&part->word, &word,
                                           part_word(PART_SETTLED, NQ_CANCELLED, NQ_REASON_NONE))) {
            future_count_down(future);
            future->ops->purge(part->target);
            purged = true;
        } else {
            atomic_fetch_sub(&future->refs, 1);
            late |= part_outcome(word) != NQ_CANCELLED;
        }
    }
    if (purged) /* there is room in a queue; and whatever else the strand had to do is done */
        nqi_room_notify(future->room);
    future_unref(future);
    return late ? NQ_AGAIN : NQ_OK;
}

/* ---- the user's calls ------------------------------------------------------------------- */

static bool future_ready(void *arg)
{
    nq_future *future = arg;

    return !atomic_load(&future->pending);
}

nq_err nq_future_wait(nq_future *future, int64_t timeout_ns)
{
    nq_err err;

    if (future_ready(future))
        return NQ_OK;
    err = future_check_process(future);
    return err ? err : nqi_room_wait(future->room, future_ready, future, timeout_ns);
}

nq_err nq_future_poll(const nq_future *future)
{
    return atomic_load(&future->pending) ? NQ_AGAIN : NQ_OK;
}

nq_outcome nq_future_outcome(const nq_future *future, nq_reason *reason)
{
    uint32_t worst = part_word(PART_SETTLED, NQ_DELIVERED, NQ_REASON_NONE);

    if (atomic_load(&future->pending))
        return NQ_PENDING;
    for (size_t i = 0; i < future->n; i++) {
        uint32_t word = atomic_load(&future->parts[i].word);

        if (part_outcome(word) > part_outcome(worst))
            worst = word;
    }
    if (reason)
        *reason = part_reason(worst);
    return part_outcome(worst);
}

size_t nq_future_peers(const nq_future *future, nq_uuid *peers, size_t cap)
{
    for (size_t i = 0; i < NQI_MIN(cap, future->n); i++)
        peers[i] = future->parts[i].peer;
    return future->n;
}

nq_err nq_future_peer_outcome(const nq_future *future, const nq_uuid *peer, nq_outcome *outcome,
                              nq_reason *reason)
{
    for (size_t i = 0; i < future->n; i++) {
        uint32_t word = atomic_load(&future->parts[i].word);

        if (!nq_uuid_equal(&future->parts[i].peer, peer))
            continue;
        *outcome = part_outcome(word);
        if (reason)
            *reason = part_reason(word);
        return NQ_OK;
    }
    return nqi_fail(NQ_ERR_NO_PEER, "this put did not go to that peer");
}

nq_err nq_future_then(nq_future *future, nq_future_fn fn, void *arg)
{
    uint32_t none = THEN_NONE;
    nq_err err = NQ_OK;

    if (atomic_load(&future->then) != THEN_NONE)
        return nqi_fail(NQ_ERR_INVAL, "the future has a callback already");
    atomic_fetch_add(&future->refs, 1); /* another thread's callback may free it at once */
    future->fn = fn;
    future->arg = arg;
    if (!atomic_compare_exchange_strong(&future->then, &none, THEN_SET))
        err = nqi_fail(NQ_ERR_INVAL, "the future has a callback already");
    else if (!atomic_load(&future->pending) && future_take_then(future))
        fn(arg, future);
    future_unref(future);
    return err;
}

void nq_future_free(nq_future *future)
{
    if (!future)
        return;
    atomic_store(&future->forgotten, true);
    future_take_then(future);
    future_unref(future);
}
