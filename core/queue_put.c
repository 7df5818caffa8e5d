/* nq_put: to whom, with or without a future, and waiting for room. */
#include "core/queue.h"

#include "core/err.h"
#include "core/older.h"
#include <stdlib.h>

#define PUT_HELP 64          /* puts to a peer that is behind, for one turn of the loop */
#define LOAN_COPY_BYTES_NS 8 /* bytes that are copied in a nanosecond, in and out */

/* What goes to one peer only: the common case, without any list.  NULL = there is none, or are
 * several.  put_single_end() must follow: the reference is ours, but for a client's server, which
 * lives as long as the queue. */
static struct nqi_peer *put_single(nq_queue *queue, const nq_uuid *peers, size_t n)
{
    if (n == 1)
        return queue->server ? nqi_queue_find(queue, peers) : nqi_queue_find_recent(queue, peers);
    return n == 0 ? queue->server : NULL;
}

static void put_single_end(nq_queue *queue, struct nqi_peer *peer, size_t n)
{
    if (n == 1 && queue->server)
        nqi_peer_unref(peer);
    else if (n == 1)
        nqi_queue_put_back(queue, peer);
}

static NQI_APART nq_err put_no_peer(const nq_uuid *id)
{
    char text[NQ_UUID_TEXT];

    return nqi_fail(NQ_ERR_NO_PEER, "no peer %s", nq_uuid_format(id, text));
}

static nq_err put_check(nq_queue *queue, const nq_msg *msg)
{
    nq_err err = nqi_queue_check_process(queue);

    if (err)
        return err;
    if (atomic_load_explicit(&queue->closing, memory_order_relaxed))
        return nqi_fail(NQ_ERR_CLOSED, "the queue is closed");
    if (msg->stream.nbytes > queue->conf->max_message)
        return nqi_fail_too_big("message", msg->stream.nbytes, queue->conf->max_message);
    if (NQI_UNLIKELY(queue->older) && !nqi_older_carries(&queue->conf->id, msg))
        return nqi_older_refuse();
    return NQ_OK;
}

/* ---- waiting for room ------------------------------------------------------------------- */

struct put_wait {
    nq_queue *queue;
    struct nqi_peer *peer;
    uint64_t bytes;
};

static bool put_has_room(void *arg)
{
    struct put_wait *wait = arg;

    return nqi_peer_has_room(wait->peer, wait->bytes) || atomic_load(&wait->queue->closing);
}

/* The peer is behind: who puts drives a turn now and then.  The keeper would do the same on another
 * processor that the receiver may want, and fight for the strand. */
static void put_help(nq_queue *queue, const struct nqi_peer *peer)
{
    if (atomic_load_explicit(&peer->queued, memory_order_relaxed) &&
        atomic_fetch_add_explicit(&queue->puts, 1, memory_order_relaxed) % PUT_HELP == 0)
        nqi_room_help(nqi_queue_room(queue));
}

/* The queue is full: wait until there is room, where that is the policy. */
static nq_err put_when_room(nq_queue *queue, struct nqi_peer *peer, nq_msg *msg,
                            struct nqi_part *part)
{
    struct put_wait wait = {queue, peer, msg->stream.nbytes};
    nq_err err = NQ_AGAIN;

    while (err == NQ_AGAIN && queue->conf->policy == NQI_POLICY_BLOCK && !nqi_room_in_callback()) {
        nqi_queue_notify(queue);
        nqi_queue_flush(queue);
        err = nqi_room_wait(nqi_queue_room(queue), put_has_room, &wait, NQ_FOREVER);
        if (err)
            return err;
        if (atomic_load(&queue->closing))
            return nqi_fail(NQ_ERR_CLOSED, "the queue was closed while a put waited for room");
        err = nqi_peer_put(peer, msg, part);
    }
    return err;
}

static inline nq_err put_to(nq_queue *queue, struct nqi_peer *peer, nq_msg *msg,
                            struct nqi_part *part)
{
    nq_err err = nqi_peer_put(peer, msg, part);

    if (NQI_UNLIKELY(err == NQ_AGAIN))
        err = put_when_room(queue, peer, msg, part);
    put_help(queue, peer);
    return err;
}

/* Callbacks run in one room, so that there is one at a time. */
static nq_err put_future(nq_queue *queue, size_t n, nq_future **ret)
{
    return nqi_future_new(nqi_queue_room(queue), queue->rooms[0], &nqi_peer_target, n, ret);
}

/* ---- one peer --------------------------------------------------------------------------- */

static nq_err put_one(nq_queue *queue, nq_msg *msg, struct nqi_peer *peer, nq_future **ret)
{
    nq_future *future = NULL;
    nq_uuid id;
    nq_err err = put_future(queue, 1, &future);

    if (err)
        return err;
    id = nqi_peer_known_id(peer);
    err = put_to(queue, peer, msg, nqi_future_part(future, 0, &id, nqi_peer_ref(peer)));
    if (err)
        nqi_future_abandon(future);
    else
        *ret = future;
    return err;
}

/* ---- several peers ---------------------------------------------------------------------- */

/* Nobody to send to: the message is gone at once, and its future says why. */
static nq_err put_nobody(nq_queue *queue, nq_msg *msg, nq_future **ret)
{
    static const nq_uuid nobody;
    nq_future *future;
    nq_err err;

    if (ret) {
        err = put_future(queue, 1, &future);
        if (err)
            return err;
        nqi_part_settle(nqi_future_part(future, 0, &nobody, NULL), NQ_NOT_DELIVERED,
                        NQ_REASON_NO_PEER);
        *ret = future;
    }
    nqi_msg_unref(msg);
    return NQ_OK;
}

/* Why one of several peers did not get it. */
static nq_reason put_reason(nq_err err)
{
    switch (err) {
    case NQ_AGAIN:
        return NQ_REASON_QUEUE_FULL;
    case NQ_ERR_CLOSED:
        return NQ_REASON_LOCAL_CLOSE;
    case NQ_ERR_UNSUPPORTED:
        return NQ_REASON_WIRE;
    default:
        return NQ_REASON_NO_MEMORY;
    }
}

/* The message's chunks are shared; each peer holds a reference on the message. */
static void put_each(nq_queue *queue, nq_msg *msg, struct nqi_peer **peers, size_t n,
                     nq_future *future)
{
    for (size_t i = 0; i < n; i++) {
        struct nqi_part *part = NULL;
        nq_err err;

        if (future)
            part = nqi_future_part(future, i, nqi_peer_id(peers[i]), nqi_peer_ref(peers[i]));
        err = put_to(queue, peers[i], nqi_msg_ref(msg), part);
        if (!err)
            continue;
        nqi_msg_unref(msg);
        nqi_queue_peer_events.settled(queue, 1, NQ_NOT_DELIVERED, put_reason(err));
        if (part)
            nqi_part_settle(part, NQ_NOT_DELIVERED, put_reason(err));
    }
    nqi_msg_unref(msg);
}

static nq_err put_many(nq_queue *queue, nq_msg *msg, struct nqi_peer **peers, size_t n,
                       nq_future **ret)
{
    nq_future *future = NULL;
    nq_err err;

    if (!n)
        return put_nobody(queue, msg, ret);
    if (ret) {
        err = put_future(queue, n, &future);
        if (err)
            return err;
        *ret = future;
    }
    put_each(queue, msg, peers, n, future);
    return NQ_OK;
}

/* References on the named peers.  @return NQ_OK, NQ_ERR_NO_PEER, NQ_ERR_NOMEM */
static nq_err put_find(nq_queue *queue, const nq_uuid *ids, size_t n, struct nqi_peer ***ret)
{
    struct nqi_peer **peers = malloc(n * sizeof(struct nqi_peer *));

    if (!peers)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a list of peers");
    for (size_t i = 0; i < n; i++) {
        peers[i] = nqi_queue_find(queue, &ids[i]);
        if (!peers[i]) {
            nqi_queue_unlist(peers, i);
            return put_no_peer(&ids[i]);
        }
    }
    *ret = peers;
    return NQ_OK;
}

static nq_err put_list(nq_queue *queue, nq_msg *msg, const nq_uuid *ids, size_t n,
                       nq_future **future)
{
    struct nqi_peer **peers;
    nq_err err = n ? put_find(queue, ids, n, &peers) : nqi_queue_list(queue, &peers, &n);

    if (err)
        return err;
    err = put_many(queue, msg, peers, n, future);
    nqi_queue_unlist(peers, n);
    return err;
}

static int64_t put_deadline(int64_t now, int64_t ttl_ns)
{
    return ttl_ns < NQI_NEVER - now ? now + ttl_ns : NQI_NEVER;
}

/* ---- the call --------------------------------------------------------------------------- */

/* Who is not one peer: several, all, nobody. */
static nq_err put_others(nq_queue *queue, nq_msg *msg, const nq_uuid *peers, size_t n,
                         nq_future **future)
{
    if (n == 1 || queue->server)
        return put_no_peer(peers);
    return put_list(queue, msg, peers, n, future);
}

nq_err nq_put(nq_queue *queue, nq_msg *msg, const nq_uuid *peers, size_t n, nq_future **future)
{
    struct nqi_peer *peer;
    nq_err err = put_check(queue, msg);

    if (err)
        return err;
    /* Also 0 again, when an earlier put failed. */
    msg->deadline_ns = msg->ttl_ns ? put_deadline(nqi_now(), msg->ttl_ns) : 0;
    peer = put_single(queue, peers, n);
    if (peer) {
        err = future ? put_one(queue, msg, peer, future) : put_to(queue, peer, msg, NULL);
        put_single_end(queue, peer, n);
    } else {
        err = put_others(queue, msg, peers, n, future);
    }
    nqi_queue_notify(queue);
    /* What was gathered wants somebody who flushes it. */
    if (atomic_load_explicit(&queue->attend, memory_order_relaxed)) {
        atomic_store_explicit(&queue->attend, false, memory_order_relaxed);
        nqi_room_attend(nqi_queue_room(queue));
    }
    return err;
}

/* NQ_AGAIN: every peer is one. */
static nq_err loan_check(nq_queue *queue, const nq_uuid *peers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct nqi_peer *peer = nqi_queue_find(queue, &peers[i]);

        if (!peer)
            return nqi_fail(NQ_ERR_NO_PEER, "no such peer");
        nqi_peer_unref(peer);
    }
    return NQ_AGAIN;
}

static void loan_release(void *arg, void *data, size_t len)
{
    struct nqt_buf *buf = arg;

    (void)data;
    (void)len;
    buf->ops->unref(buf);
}

/* All is lent: what comes back meanwhile is used.  Longer than the copies take that it saves nobody
 * waits, and who waited in vain waits no more until he gets one. */
static nq_err loan_await(nq_queue *queue, struct nqi_peer *peer, size_t size, struct nqt_buf **ret)
{
    int64_t until = nqi_now() + (int64_t)(size / LOAN_COPY_BYTES_NS);
    nq_err err = NQ_AGAIN;

    if (atomic_load_explicit(&peer->loans_short, memory_order_relaxed) || nqi_room_in_callback())
        return err;
    while (err == NQ_AGAIN && nqi_now() < until) {
        nqi_room_help(nqi_queue_room(queue));
        err = nqi_peer_loan(peer, size, ret);
    }
    if (err == NQ_AGAIN)
        atomic_store_explicit(&peer->loans_short, true, memory_order_relaxed);
    return err;
}

static nq_err loan_take(nq_queue *queue, struct nqi_peer *peer, size_t size, struct nqt_buf **ret)
{
    nq_err err = nqi_peer_loan(peer, size, ret);

    if (NQI_UNLIKELY(err == NQ_AGAIN))
        return loan_await(queue, peer, size, ret);
    if (!err && NQI_UNLIKELY(atomic_load_explicit(&peer->loans_short, memory_order_relaxed)))
        atomic_store_explicit(&peer->loans_short, false, memory_order_relaxed);
    return err;
}

/* A message in the transport's memory.  NQ_AGAIN: there is none for it. */
static nq_err loan_lent(nq_queue *queue, struct nqi_peer *peer, size_t size, void **data,
                        nq_msg **msg)
{
    struct nqt_buf *buf;
    nq_err err;

    if (loan_take(queue, peer, size, &buf))
        return NQ_AGAIN;
    err = nq_msg_wrap(buf->seg[0].iov_base, size, loan_release, buf, msg);
    if (err) {
        buf->ops->unref(buf);
        return err;
    }
    (*msg)->lent = true;
    *data = buf->seg[0].iov_base;
    return NQ_OK;
}

nq_err nq_loan(nq_queue *queue, const nq_uuid *peers, size_t n, size_t size, void **data,
               nq_msg **msg)
{
    struct nqi_peer *peer;
    nq_err err = nqi_queue_check_process(queue);

    if (err)
        return err;
    if (atomic_load(&queue->closing))
        return nqi_fail(NQ_ERR_CLOSED, "the queue is closed");
    if (size > queue->conf->max_message)
        return nqi_fail_too_big("loan", size, queue->conf->max_message);
    /* Memory that one peer reads is no other one's: for several it is ours, and each transport
     * copies. */
    peer = put_single(queue, peers, n);
    err = peer ? loan_lent(queue, peer, size, data, msg) : loan_check(queue, peers, n);
    if (peer)
        put_single_end(queue, peer, n);
    nqi_queue_notify(queue); /* what others left with the peer is done */
    return err == NQ_AGAIN ? nq_msg_alloc(size, data, msg) : err;
}
