/* nq_get: the inboxes of the peers, and who is next.
 *
 * A peer with messages is in the ready list once; each look takes one message of the first peer and
 * moves it to the end, so that a busy peer does not hide the others.  A peer that is alone there
 * gives all that is asked for at once.  Named peers are looked up and
 * served in the order that they were named.
 *
 * What arrives on a thread that waits for it goes straight to it, past the ready list, unless
 * something was there before. */
#include "core/queue.h"

#include "core/err.h"
#include <stdlib.h>

#define GET_PEERS 8 /* peers that one look may return credit to */

struct getter {
    nq_queue *queue;
    const nq_uuid *peers;
    size_t npeers;
    nq_msg **msgs;
    size_t cap;
    _Atomic size_t count; /* written under lock, or in get_hand(); read without it, too */
    bool ended;
    struct nqi_peer *told[GET_PEERS]; /* credit is due: one reference each */
    size_t ntold;
};

/* This thread's, while it waits for messages of anybody; NULL = it does not. */
static NQI_THREAD_LOCAL struct getter *get_here;

static nq_msg *msg_of(struct nqi_node *node)
{
    return NQI_CONTAINER(node, nq_msg, node);
}

/* Under lock.  Release: for get_hand(). */
static void queue_set_unread(nq_queue *queue, uint64_t count)
{
    atomic_store_explicit(&queue->unread, count, memory_order_release);
}

static uint64_t queue_unread(const nq_queue *queue)
{
    return atomic_load_explicit(&queue->unread, memory_order_relaxed);
}

/* ---- under lock ------------------------------------------------------------------------- */

/* The peer may send more: tell it before it runs out, not for each message. */
static void get_tell(struct getter *getter, struct nqi_peer *peer, uint64_t messages,
                     uint64_t bytes)
{
    const struct nqi_session_conf *conf = &getter->queue->peer_conf.session;
    struct nqi_peer_inbox *inbox = &peer->inbox;

    if (!conf->ack_consumed && messages - inbox->told_messages <= conf->window_messages / 4 &&
        bytes - inbox->told_bytes <= conf->window_bytes / 4)
        return;
    inbox->told_messages = messages;
    inbox->told_bytes = bytes;
    for (size_t i = 0; i < getter->ntold; i++)
        if (getter->told[i] == peer)
            return;
    getter->told[getter->ntold++] = nqi_peer_ref(peer);
}

static void get_unlist(struct nqi_peer *peer)
{
    nqi_list_remove(&peer->inbox.ready);
    peer->inbox.listed = false;
}

/* Under lock: a peer of this id that has ended, and has messages that nobody took. */
static struct nqi_peer *get_find_ended(nq_queue *queue, const nq_uuid *id)
{
    for (struct nqi_list *at = queue->ready.next; at != &queue->ready; at = at->next) {
        struct nqi_peer *peer = NQI_CONTAINER(at, struct nqi_peer, inbox.ready);

        if (nq_uuid_equal(nqi_peer_id(peer), id))
            return peer;
    }
    return NULL;
}

struct nqi_peer *nqi_queue_inherit(nq_queue *queue, struct nqi_peer *heir)
{
    struct nqi_peer *old = get_find_ended(queue, nqi_peer_id(heir));
    struct nqi_peer_inbox *from, *to = &heir->inbox;

    if (!old)
        return NULL;
    from = &old->inbox;
    to->messages = from->messages;
    to->unread = from->unread;
    to->unread_bytes = from->unread_bytes;
    nqi_fifo_init(&from->messages);
    from->unread = from->unread_bytes = 0;
    nqi_peer_skip(heir, to->unread, to->unread_bytes);
    to->listed = true;
    nqi_peer_ref(heir); /* the ready list's */
    nqi_list_add_tail(&from->ready, &to->ready);
    get_unlist(old);
    return old;
}

/* Messages that a getter takes. */
struct get_tally {
    uint64_t count, bytes, aside; /* aside: bytes that the sessions set aside for them */
    uint64_t seq;                 /* of the last one */
};

/* They are the user's.  One thread at a time: see get_hand(). */
static void get_account(struct getter *getter, struct nqi_peer *peer, const struct get_tally *tally)
{
    uint64_t messages, bytes;

    if (NQI_UNLIKELY(tally->aside))
        atomic_fetch_sub(&getter->queue->set_aside, tally->aside);
    messages = tally->count + atomic_load_explicit(&peer->taken_messages, memory_order_relaxed);
    bytes = tally->bytes + atomic_load_explicit(&peer->taken_bytes, memory_order_relaxed);
    atomic_store_explicit(&peer->taken_bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&peer->taken_seq, tally->seq, memory_order_relaxed);
    atomic_store_explicit(&peer->taken_messages, messages, memory_order_release);
    get_tell(getter, peer, messages, bytes);
}

/* They were in the peer's inbox.  The count falls last: who sees that nothing is unread goes past
 * the lock. */
static void get_remove(nq_queue *queue, struct nqi_peer *peer, const struct get_tally *tally)
{
    peer->inbox.unread -= tally->count;
    peer->inbox.unread_bytes -= tally->bytes;
    queue->unread_bytes -= tally->bytes;
    queue_set_unread(queue, queue_unread(queue) - tally->count);
    nqi_queue_mark_locked(queue);
}

static size_t getter_count(const struct getter *getter)
{
    return atomic_load_explicit(&getter->count, memory_order_relaxed);
}

/* All but the list of who is told, which is empty.  For messages of anybody. */
static void getter_init(struct getter *getter, nq_queue *queue, nq_msg **msgs, size_t cap)
{
    getter->queue = queue;
    getter->peers = NULL;
    getter->npeers = 0;
    getter->msgs = msgs;
    getter->cap = cap;
    atomic_init(&getter->count, 0);
    getter->ended = false;
    getter->ntold = 0;
}

static size_t getter_room(const struct getter *getter)
{
    return getter->cap - getter_count(getter);
}

static void getter_add(struct getter *getter, nq_msg *msg)
{
    size_t count = getter_count(getter);

    getter->msgs[count] = msg;
    atomic_store_explicit(&getter->count, count + 1, memory_order_relaxed);
}

/* Move the first messages, at most `most`, to the getter. */
static struct get_tally get_move(struct getter *getter, struct nqi_fifo *messages, size_t most)
{
    struct get_tally tally = {0};

    while (tally.count < most && !nqi_fifo_empty(messages)) {
        nq_msg *msg = msg_of(nqi_fifo_pop(messages));

        getter_add(getter, msg);
        tally.count++;
        tally.bytes += msg->stream.nbytes;
        tally.seq = msg->seq;
        tally.aside += (uint64_t)msg->deadline_ns;
        msg->deadline_ns = 0;
    }
    return tally;
}

/* Take the first messages, at most `most` > 0, of a peer that has some.  True: it has no more. */
static bool get_take(struct getter *getter, struct nqi_peer *peer, size_t most)
{
    struct nqi_fifo *messages = &peer->inbox.messages;
    struct get_tally tally = get_move(getter, messages, most);

    get_account(getter, peer, &tally);
    get_remove(getter->queue, peer, &tally);
    return nqi_fifo_empty(messages);
}

/* ---- from the peers --------------------------------------------------------------------- */

/* Under lock: this thread waits for what comes now, and nothing came before it. */
static bool get_is_awaited(const nq_queue *queue)
{
    const struct getter *getter = get_here;

    return getter && getter->queue == queue && nqi_list_empty(&queue->ready) &&
           getter_room(getter) && getter->ntold < GET_PEERS;
}

static void get_list(nq_queue *queue, struct nqi_peer *peer)
{
    if (peer->inbox.listed)
        return;
    peer->inbox.listed = true;
    nqi_peer_ref(peer); /* the ready list's: unread messages outlive the session */
    nqi_list_add_tail(&queue->ready, &peer->inbox.ready);
}

/* The shortest way, without the lock: this thread waits for what comes and has room for all of it,
 * and nothing is unread.  So nobody takes messages of this peer, whose strand we are in, and who
 * took the last ones has accounted for them before the count fell.  Nor does anybody claim for this
 * getter: it is not among those that wait to be told, because there are none. */
static bool get_hand(nq_queue *queue, struct nqi_peer *peer, struct nqi_fifo *messages,
                     uint64_t count)
{
    struct getter *getter = get_here;
    struct get_tally tally;

    if (!getter || getter->queue != queue || getter_room(getter) < count ||
        getter->ntold == GET_PEERS || queue->nloops > 1 ||
        atomic_load_explicit(&queue->unread, memory_order_acquire) ||
        nqi_room_anybody(queue->rooms[0]))
        return false;
    tally = get_move(getter, messages, count);
    get_account(getter, peer, &tally);
    return true;
}

/* Under lock.  @return nothing is left for others */
static bool get_deliver(nq_queue *queue, struct nqi_peer *peer, struct nqi_fifo *messages,
                        uint64_t count, uint64_t bytes)
{
    struct nqi_peer_inbox *inbox = &peer->inbox;

    *inbox->messages.tail = messages->head;
    inbox->messages.tail = messages->tail;
    inbox->unread += count;
    inbox->unread_bytes += bytes;
    queue_set_unread(queue, queue_unread(queue) + count);
    queue->unread_bytes += bytes;
    if (get_is_awaited(queue) && get_take(get_here, peer, getter_room(get_here)))
        return true;
    get_list(queue, peer);
    nqi_queue_mark_locked(queue);
    return false;
}

void nqi_queue_deliver(nq_queue *queue, struct nqi_peer *peer, struct nqi_fifo *messages,
                       uint64_t count, uint64_t bytes)
{
    bool all = get_hand(queue, peer, messages, count);

    if (!all) {
        pthread_mutex_lock(&queue->lock);
        all = get_deliver(queue, peer, messages, count, bytes);
        pthread_mutex_unlock(&queue->lock);
    }
    if (queue->nloops > 1)
        for (uint32_t i = 0; i < queue->nloops; i++)
            if (queue->loops[i] == peer->serial.loop)
                atomic_store_explicit(&queue->last_loop, i, memory_order_relaxed);
    if (!all)
        atomic_store_explicit(&queue->changed, true, memory_order_release);
}

/* ---- whose turn it is: under lock ------------------------------------------------------- */

/* From the peer whose turn it is: one message, or all there is room for when no other peer has
 * any.  Sets *gone to a peer whose reference is free. */
static bool get_any(struct getter *getter, struct nqi_peer **gone)
{
    nq_queue *queue = getter->queue;
    struct nqi_list *first = nqi_list_first(&queue->ready);
    struct nqi_peer *peer;
    bool alone = queue->ready.prev == first;

    if (!first)
        return false;
    peer = NQI_CONTAINER(first, struct nqi_peer, inbox.ready);
    if (get_take(getter, peer, alone ? getter_room(getter) : 1)) {
        get_unlist(peer);
        *gone = peer;
    } else if (!alone) {
        nqi_list_remove(first);
        nqi_list_add_tail(&queue->ready, first);
    }
    return true;
}

static bool get_named(struct getter *getter, struct nqi_peer **gone)
{
    nq_queue *queue = getter->queue;

    for (struct nqi_list *at = queue->ready.next; at != &queue->ready; at = at->next) {
        struct nqi_peer *peer = NQI_CONTAINER(at, struct nqi_peer, inbox.ready);
        const nq_msg *first = msg_of(peer->inbox.messages.head);

        for (size_t i = 0; i < getter->npeers; i++) {
            /* The sender: a client's server may be another one by now. */
            if (!nq_uuid_equal(&first->sender, &getter->peers[i]))
                continue;
            if (get_take(getter, peer, 1)) {
                get_unlist(peer);
                *gone = peer;
            }
            return true;
        }
    }
    return false;
}

/* ---- the condition ---------------------------------------------------------------------- */

/* Take what there is. */
static void getter_take(struct getter *getter)
{
    nq_queue *queue = getter->queue;
    struct nqi_peer *gone[GET_PEERS], **next = gone;
    bool found = true;

    pthread_mutex_lock(&queue->lock);
    while (found && getter_room(getter) && next < gone + GET_PEERS && getter->ntold < GET_PEERS) {
        *next = NULL;
        found = getter->npeers ? get_named(getter, next) : get_any(getter, next);
        next += found && *next;
    }
    pthread_mutex_unlock(&queue->lock);
    while (next > gone)
        nqi_peer_unref(*--next);
}

/* Who delivers counts first and looks for waiters then, who waits the other way round: what is not
 * counted here is announced. */
static bool getter_ready(void *arg)
{
    struct getter *getter = arg;
    bool closing = atomic_load(&getter->queue->closing); /* before the count: what came is taken */

    if (queue_unread(getter->queue))
        getter_take(getter);
    getter->ended = closing && !getter_count(getter);
    return getter_count(getter) || getter->ended;
}

/* A callback that runs meanwhile may get as well. */
static nq_err get_wait(struct getter *getter, int64_t timeout_ns)
{
    nq_queue *queue = getter->queue;
    struct getter *before = get_here;
    nq_err err;

    nqi_queue_flush(queue);
    get_here = getter->npeers ? NULL : getter;
    err = nqi_room_wait(nqi_queue_room(queue), getter_ready, getter, timeout_ns);
    get_here = before;
    return err;
}

static nq_err queue_get(struct getter *getter, int64_t timeout_ns)
{
    nq_queue *queue = getter->queue;
    nq_err err = nqi_queue_check_process(queue);

    if (err)
        return err;
    if (!getter_ready(getter))
        err = get_wait(getter, timeout_ns);
    for (size_t i = 0; i < getter->ntold; i++) {
        nqi_peer_taken(getter->told[i]);
        nqi_peer_unref(getter->told[i]);
    }
    if (getter->ntold)
        nqi_queue_notify(queue);
    if (getter_count(getter)) /* also what came when the time was over */
        return NQ_OK;
    return err ? err : NQ_END;
}

/* ---- the calls -------------------------------------------------------------------------- */

nq_err nq_get(nq_queue *queue, const nq_uuid *peers, size_t n, int64_t timeout_ns, nq_msg **ret)
{
    nq_msg *msg = NULL;
    struct getter getter;
    nq_err err;

    getter_init(&getter, queue, &msg, 1);
    getter.peers = peers;
    getter.npeers = n;
    err = queue_get(&getter, timeout_ns);

    if (!err)
        *ret = msg;
    return err;
}

nq_err nq_get_many(nq_queue *queue, nq_msg **msgs, size_t cap, int64_t timeout_ns, size_t *count)
{
    struct getter getter;
    nq_err err;

    if (!cap)
        return nqi_fail(NQ_ERR_INVAL, "room for no message");
    getter_init(&getter, queue, msgs, cap);
    err = queue_get(&getter, timeout_ns);
    if (!err)
        *count = getter_count(&getter);
    return err;
}

/* Messages that nobody took. */
void nqi_queue_fini_peers(nq_queue *queue)
{
    struct nqi_list *first;

    while ((first = nqi_list_first(&queue->ready))) {
        struct nqi_peer *peer = NQI_CONTAINER(first, struct nqi_peer, inbox.ready);
        struct nqi_node *node;

        while ((node = nqi_fifo_pop(&peer->inbox.messages)))
            nqi_msg_unref(msg_of(node));
        get_unlist(peer);
        nqi_peer_unref(peer);
    }
    nqi_queue_put_back(queue, NULL);
    nqi_peer_unref(queue->server);
    free(queue->buckets);
}
