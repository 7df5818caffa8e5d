/* From nq_put() to the session: limits, policies, and the way into a strand that is taken. */
#include "core/peer_inside.h"

#include "core/err.h"
#include "core/pool.h"
#include <string.h>

#define LOAN_TRIES 256u /* to get inside, some microseconds */

/* A message on its way to one peer. */
struct nqi_put {
    struct nqi_work work; /* how it reaches a strand that is taken */
    struct nqi_tx tx;
    struct nqi_peer *peer; /* borrowed: the putter holds a reference, or `work` does on its way,
                            * then the queue does */
    struct nqi_part *part; /* NULL = nobody asks */
    uint64_t bytes;
    bool reserved; /* counted in peer->queued */
};

static struct nqi_put *put_of(struct nqi_tx *tx)
{
    return NQI_CONTAINER(tx, struct nqi_put, tx);
}

/* ---- limits ----------------------------------------------------------------------------- */

static void put_unreserve(struct nqi_peer *peer, uint64_t bytes)
{
    atomic_fetch_sub_explicit(&peer->queued, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&peer->queued_bytes, bytes, memory_order_relaxed);
}

/* A message larger than the limit in bytes is admitted when it is alone. */
static bool put_fits(const struct nqi_peer_conf *conf, uint64_t queued, uint64_t queued_bytes,
                     uint64_t bytes)
{
    return queued < conf->queue_messages &&
           (!queued_bytes ||
            (bytes <= conf->queue_bytes && queued_bytes <= conf->queue_bytes - bytes));
}

bool nqi_peer_has_room(const struct nqi_peer *peer, uint64_t bytes)
{
    return atomic_load(&peer->ended) || put_fits(peer->conf, atomic_load(&peer->queued),
                                                 atomic_load(&peer->queued_bytes), bytes);
}

/* Before the strand, so that the policy answers at once; drop_oldest makes room inside it. */
static bool put_reserve(struct nqi_peer *peer, uint64_t bytes)
{
    uint64_t queued = atomic_fetch_add_explicit(&peer->queued, 1, memory_order_relaxed);
    uint64_t queued_bytes =
        atomic_fetch_add_explicit(&peer->queued_bytes, bytes, memory_order_relaxed);

    if (peer->conf->policy == NQI_POLICY_DROP_OLDEST ||
        put_fits(peer->conf, queued, queued_bytes, bytes))
        return true;
    put_unreserve(peer, bytes);
    return false;
}

/* ---- puts ------------------------------------------------------------------------------- */

static struct nqi_put *put_new(struct nqi_peer *peer, nq_msg *msg, struct nqi_part *part)
{
    struct nqi_put *put = nqi_pool_alloc(sizeof(*put));

    if (!put) {
        nqi_fail(NQ_ERR_NOMEM, "no memory for a put");
        return NULL;
    }
    memset(put, 0, sizeof(*put));
    put->tx.msg = msg;
    put->tx.awaited = part;
    put->peer = peer;
    put->part = part;
    put->bytes = msg->stream.nbytes;
    return put;
}

static void put_free(struct nqi_put *put)
{
    if (put->reserved)
        put_unreserve(put->peer, put->bytes);
    nqi_msg_unref(put->tx.msg);
    nqi_pool_free(put, sizeof(*put));
}

/* Tell the future and the counters; a put without a future is counted only. */
static void put_report(struct nqi_peer *peer, struct nqi_part *part, nq_outcome outcome,
                       nq_reason reason)
{
    if (part)
        nqi_part_settle(part, outcome, reason);
    peer->conf->events->settled(peer->conf->arg, 1, outcome, reason);
}

static void put_settle(struct nqi_put *put, nq_outcome outcome, nq_reason reason)
{
    struct nqi_peer *peer = put->peer;
    struct nqi_part *part = put->part;

    put_free(put); /* first: who is told may look at the room in the queue */
    put_report(peer, part, outcome, reason);
}

static bool put_is_carried(const struct nqi_peer *peer, const nq_msg *msg)
{
    return !peer->session.older || nqi_older_carries(&peer->conf->session.id, msg);
}

bool nqi_peer_on_begin(void *arg, struct nqi_tx *tx)
{
    struct nqi_put *put = put_of(tx);

    (void)arg;
    if (put->part && !nqi_part_begin(put->part)) {
        put_settle(put, NQ_CANCELLED, NQ_REASON_NONE);
        return false;
    }
    if (!put_is_carried(put->peer, tx->msg)) {
        put_settle(put, NQ_NOT_DELIVERED, NQ_REASON_WIRE);
        return false;
    }
    if (put->bytes > put->peer->session.peer_max_message) { /* the peer would end the link */
        put_settle(put, NQ_NOT_DELIVERED, NQ_REASON_LIMIT);
        return false;
    }
    if (put->reserved) {
        put->reserved = false;
        put_unreserve(put->peer, put->bytes);
        put->peer->conf->events->changed(put->peer->conf->arg);
    }
    return true;
}

void nqi_peer_on_settle(void *arg, struct nqi_tx *tx, nq_outcome outcome, nq_reason reason)
{
    (void)arg;
    put_settle(put_of(tx), outcome, reason);
}

/* ---- into the session ------------------------------------------------------------------- */

static void put_drop_oldest(struct nqi_peer *peer)
{
    while (atomic_load(&peer->queued) > 1 &&
           (atomic_load(&peer->queued) > peer->conf->queue_messages ||
            atomic_load(&peer->queued_bytes) > peer->conf->queue_bytes)) {
        struct nqi_tx *oldest = nqi_session_pop_oldest(&peer->session);

        if (!oldest)
            return; /* the rest is on its way into the strand and drops for itself */
        atomic_fetch_add(&peer->dropped, 1);
        put_settle(put_of(oldest), NQ_DROPPED, NQ_REASON_QUEUE_FULL);
    }
}

/* In strand, reserved. */
static void put_enqueue(struct nqi_put *put)
{
    struct nqi_peer *peer = put->peer;

    if (peer->state == NQI_PEER_ENDED) {
        put_settle(put, NQ_NOT_DELIVERED, NQ_REASON_NO_PEER);
        return;
    }
    if (peer->session.older && peer->session.bye_waits) { /* its fin came: it will not be awaited */
        put_settle(put, NQ_NOT_DELIVERED, NQ_REASON_PEER_CLOSED);
        return;
    }
    nqi_session_put(&peer->session, &put->tx);
    if (peer->conf->policy == NQI_POLICY_DROP_OLDEST)
        put_drop_oldest(peer);
}

static void put_run(struct nqi_work *work)
{
    struct nqi_put *put = NQI_CONTAINER(work, struct nqi_put, work);
    struct nqi_peer *peer = put->peer;

    put_enqueue(put);
    nqi_peer_unref(peer); /* the work's: the putter may have gone, and the peer have ended */
}

/* The queue is full. */
static nq_err put_refuse(struct nqi_peer *peer, nq_msg *msg, struct nqi_part *part)
{
    if (peer->conf->policy != NQI_POLICY_DROP_NEWEST)
        return NQ_AGAIN;
    atomic_fetch_add(&peer->dropped, 1);
    nqi_msg_unref(msg);
    put_report(peer, part, NQ_DROPPED, NQ_REASON_QUEUE_FULL);
    return NQ_OK;
}

/* With room reserved for it.  @return NULL: *err is what the put comes to; else that is NQ_OK */
static struct nqi_put *put_admit(struct nqi_peer *peer, nq_msg *msg, struct nqi_part *part,
                                 nq_err *err)
{
    struct nqi_put *put;

    if (!put_reserve(peer, msg->stream.nbytes)) {
        *err = put_refuse(peer, msg, part);
        return NULL;
    }
    put = put_new(peer, msg, part);
    if (!put) {
        put_unreserve(peer, msg->stream.nbytes);
        *err = NQ_ERR_NOMEM;
        return NULL;
    }
    put->reserved = true;
    *err = NQ_OK;
    return put;
}

/* Straight into the stage: nothing is before it. */
static bool put_at_once(struct nqi_peer *peer, nq_msg *msg, struct nqi_part *part, nq_err *err)
{
    struct nqi_put *put = NULL;

    *err = NQ_OK;
    if (msg->stream.nbytes > peer->session.peer_max_message || !put_is_carried(peer, msg))
        return false;
    if (part) {
        put = put_new(peer, msg, part);
        if (!put) {
            *err = NQ_ERR_NOMEM;
            return true;
        }
    }
    if (!nqi_session_put_now(&peer->session, msg, put ? &put->tx : NULL)) {
        if (put)
            nqi_pool_free(put, sizeof(*put)); /* the message stays the caller's */
        return false;
    }
    if (put) {
        nqi_part_begin(part);
        put->tx.msg = NULL;
    }
    nqi_msg_unref(msg);
    return true;
}

/* In strand. */
static nq_err put_inside(struct nqi_peer *peer, nq_msg *msg, struct nqi_part *part)
{
    struct nqi_put *put;
    nq_err err;

    if (peer->state != NQI_PEER_ENDED && put_at_once(peer, msg, part, &err))
        return err;
    put = put_admit(peer, msg, part, &err);
    if (put)
        put_enqueue(put);
    return err;
}

/* In strand, which is left.  As nqi_strand_run(): what is dropped is the user's, and to send is a
 * system call. */
static NQI_APART nq_err put_inside_and_leave(struct nqi_peer *peer, nq_msg *msg,
                                             struct nqi_part *part)
{
    struct nqi_strand *strand = peer->serial.strand;
    int cancel;
    nq_err err;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    err = put_inside(peer, msg, part);
    if (nqi_peer_sent_at_once(peer))
        nqi_strand_leave_idle(strand);
    else
        nqi_strand_leave(strand);
    pthread_setcancelstate(cancel, NULL);
    return err;
}

nq_err nqi_peer_put(struct nqi_peer *peer, nq_msg *msg, struct nqi_part *part)
{
    struct nqi_strand *strand = peer->serial.strand;
    struct nqi_put *put;
    nq_err err;

    if (NQI_UNLIKELY(peer->older) && !nqi_older_carries(&peer->conf->session.id, msg))
        return nqi_older_refuse();
    if (nqi_strand_try(strand)) {
        if (part || !(nqi_peer_put_straight(peer, msg) || nqi_peer_put_gathers(peer, msg)))
            return put_inside_and_leave(peer, msg, part);
        nqi_strand_leave_idle(strand);
        nqi_msg_unref(msg);
        return NQ_OK;
    }
    put = put_admit(peer, msg, part, &err);
    if (put) {
        put->work.run = put_run;
        nqi_peer_ref(peer);
        nqi_strand_run(strand, &put->work);
    }
    return err;
}

/* A thread is inside for some microseconds, and the copy that a loan saves takes longer; but nobody
 * waits for a strand. */
static bool loan_enter(struct nqi_strand *strand)
{
    for (unsigned i = 0; i < LOAN_TRIES; i++) {
        if (nqi_strand_try(strand))
            return true;
        nqi_relax();
    }
    return false;
}

nq_err nqi_peer_loan(struct nqi_peer *peer, size_t len, struct nqt_buf **ret)
{
    struct nqi_strand *strand = peer->serial.strand;
    nq_err err = NQ_ERR_UNSUPPORTED;
    int cancel;

    if (!loan_enter(strand))
        return NQ_AGAIN;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel); /* it may ask the system for memory */
    if (peer->link)
        err = nqi_link_loan(peer->link, len, ret);
    pthread_setcancelstate(cancel, NULL);
    nqi_strand_leave_idle(strand); /* the session knows nothing of it */
    return err;
}

/* ---- leaving the queue early ------------------------------------------------------------ */

static bool put_is_cancelled(const struct nqi_tx *tx)
{
    const struct nqi_put *put = NQI_CONTAINER((struct nqi_tx *)(uintptr_t)tx, struct nqi_put, tx);

    return put->part && nqi_part_cancelled(put->part);
}

void nqi_peer_drop_cancelled(struct nqi_peer *peer)
{
    struct nqi_tx *tx;

    while ((tx = nqi_session_take_if(&peer->session, put_is_cancelled)))
        put_settle(put_of(tx), NQ_CANCELLED, NQ_REASON_NONE);
    peer->conf->events->changed(peer->conf->arg);
}

void nqi_peer_report_queue(struct nqi_peer *peer)
{
    uint64_t queued = atomic_load_explicit(&peer->queued, memory_order_relaxed);
    uint64_t bytes = atomic_load_explicit(&peer->queued_bytes, memory_order_relaxed);
    uint64_t messages_max, bytes_max;
    uint32_t dropped;

    if (!queued && !peer->high && !atomic_load_explicit(&peer->dropped, memory_order_relaxed))
        return;
    messages_max = peer->conf->queue_messages;
    bytes_max = peer->conf->queue_bytes;
    if (!peer->high &&
        (queued > messages_max - messages_max / 4 || bytes > bytes_max - bytes_max / 4)) {
        peer->high = true;
        nqi_peer_event(peer, NQ_EVENT_HIGH_MARK, NQ_REASON_NONE, 0, "");
    } else if (peer->high && queued < messages_max / 4 + 1 && bytes < bytes_max / 4 + 1) {
        peer->high = false;
        nqi_peer_event(peer, NQ_EVENT_LOW_MARK, NQ_REASON_NONE, 0, "");
    }
    if (!atomic_load_explicit(&peer->dropped, memory_order_relaxed))
        return;
    dropped = atomic_exchange(&peer->dropped, 0);
    nqi_peer_event(peer, NQ_EVENT_DROPPED, NQ_REASON_QUEUE_FULL, dropped, "");
}
