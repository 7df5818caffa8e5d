/* Who is there: the table of peers, and what they report. */
#include "core/queue.h"

#include "core/buf.h"
#include "core/err.h"
#include <stdlib.h>
#include <string.h>

/* ---- the table: under lock -------------------------------------------------------------- */

/* A stranger chooses the ids: the seed keeps the chains short. */
static uint64_t table_hash(const nq_queue *queue, const nq_uuid *id)
{
    uint64_t a, b;

    memcpy(&a, id->bytes, sizeof(a));
    memcpy(&b, id->bytes + 8, sizeof(b));
    a = (a ^ queue->seed) * UINT64_C(0x9e3779b97f4a7c15);
    a ^= a >> 32;
    a = (a + b) * (queue->seed | 1);
    return a ^ a >> 29;
}

struct nqi_peer *nqi_queue_find_locked(const nq_queue *queue, const nq_uuid *id)
{
    struct nqi_peer *peer;

    if (!queue->nbuckets)
        return NULL;
    peer = queue->buckets[table_hash(queue, id) & (queue->nbuckets - 1)];
    while (peer && !nq_uuid_equal(nqi_peer_id(peer), id))
        peer = peer->inbox.next;
    return peer;
}

static void table_link(nq_queue *queue, struct nqi_peer *peer)
{
    struct nqi_peer **bucket = &queue->buckets[peer->inbox.hash & (queue->nbuckets - 1)];

    peer->inbox.next = *bucket;
    *bucket = peer;
}

nq_err nqi_queue_grow_locked(nq_queue *queue)
{
    size_t want = queue->nbuckets ? queue->nbuckets * 2 : 64, had = queue->nbuckets;
    struct nqi_peer **old = queue->buckets, **buckets;

    if (queue->npeers < had)
        return NQ_OK;
    buckets = calloc(want, sizeof(*buckets));
    if (!buckets)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for the table of peers");
    queue->buckets = buckets;
    queue->nbuckets = want;
    for (size_t i = 0; i < had; i++)
        for (struct nqi_peer *peer = old[i], *next; peer; peer = next) {
            next = peer->inbox.next;
            table_link(queue, peer);
        }
    free(old);
    return NQ_OK;
}

static void table_remove(nq_queue *queue, struct nqi_peer *peer)
{
    struct nqi_peer **at = &queue->buckets[peer->inbox.hash & (queue->nbuckets - 1)];

    while (*at != peer)
        at = &(*at)->inbox.next;
    *at = peer->inbox.next;
}

static struct nqi_peer *queue_find_server(nq_queue *queue, const nq_uuid *id)
{
    nq_uuid known = nqi_peer_known_id(queue->server);

    if (nq_uuid_is_nil(&known) || !nq_uuid_equal(&known, id))
        return NULL;
    return nqi_peer_ref(queue->server);
}

struct nqi_peer *nqi_queue_find(nq_queue *queue, const nq_uuid *id)
{
    struct nqi_peer *peer;

    if (queue->server)
        return queue_find_server(queue, id);
    pthread_mutex_lock(&queue->lock);
    peer = nqi_queue_find_locked(queue, id);
    if (peer)
        nqi_peer_ref(peer);
    pthread_mutex_unlock(&queue->lock);
    return peer;
}

/* ---- the one that was put to last ------------------------------------------------------- */

static uint64_t recent_id(const nq_uuid *id)
{
    return nqi_load_u64(id->bytes + 8);
}

struct nqi_peer *nqi_queue_find_recent(nq_queue *queue, const nq_uuid *id)
{
    struct nqi_peer *peer;

    if (atomic_load_explicit(&queue->recent_id, memory_order_relaxed) != recent_id(id))
        return nqi_queue_find(queue, id);
    peer = atomic_exchange_explicit(&queue->recent, NULL, memory_order_acquire);
    if (peer && nq_uuid_equal(nqi_peer_id(peer), id) && !atomic_load(&peer->ended))
        return peer;
    nqi_peer_unref(peer);
    return nqi_queue_find(queue, id);
}

void nqi_queue_put_back(nq_queue *queue, struct nqi_peer *peer)
{
    if (peer && !queue->server)
        atomic_store_explicit(&queue->recent_id, recent_id(nqi_peer_id(peer)),
                              memory_order_relaxed);
    nqi_peer_unref(atomic_exchange_explicit(&queue->recent, peer, memory_order_acq_rel));
}

nq_err nqi_queue_list(nq_queue *queue, struct nqi_peer ***ret, size_t *count)
{
    struct nqi_peer **peers;
    size_t n = 0;

    pthread_mutex_lock(&queue->lock);
    peers = malloc((queue->npeers + 1) * sizeof(struct nqi_peer *));
    if (peers)
        for (struct nqi_list *at = queue->all.next; at != &queue->all; at = at->next)
            peers[n++] = nqi_peer_ref(NQI_CONTAINER(at, struct nqi_peer, inbox.all));
    pthread_mutex_unlock(&queue->lock);
    if (!peers)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a list of peers");
    *ret = peers;
    *count = n;
    return NQ_OK;
}

void nqi_queue_unlist(struct nqi_peer **peers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        nqi_peer_unref(peers[i]);
    free(peers);
}

static void queue_add_locked(nq_queue *queue, struct nqi_peer *peer)
{
    nqi_list_add_tail(&queue->all, &peer->inbox.all);
    queue->npeers++;
}

void nqi_queue_add(nq_queue *queue, struct nqi_peer *peer)
{
    pthread_mutex_lock(&queue->lock);
    queue_add_locked(queue, peer);
    pthread_mutex_unlock(&queue->lock);
}

void nqi_queue_admit_locked(nq_queue *queue, struct nqi_peer *peer, const nq_uuid *id)
{
    peer->inbox.hash = table_hash(queue, id);
    table_link(queue, peer);
    queue_add_locked(queue, peer);
}

/* ---- what peers report: in their strands ------------------------------------------------ */

static void queue_on_delivered(void *arg, struct nqi_peer *peer, struct nqi_fifo *msgs,
                               uint64_t count, uint64_t bytes)
{
    nqi_queue_deliver(arg, peer, msgs, count, bytes);
}

void nqi_queue_on_changed(void *arg)
{
    nq_queue *queue = arg;

    atomic_store_explicit(&queue->changed, true, memory_order_release);
}

static void queue_on_settled(void *arg, uint64_t count, nq_outcome outcome, nq_reason reason)
{
    nq_queue *queue = arg;

    atomic_fetch_add_explicit(&queue->outcomes[outcome], count, memory_order_relaxed);
    if (outcome != NQ_DELIVERED && outcome != NQ_HANDED)
        atomic_fetch_add_explicit(&queue->reasons[reason], count, memory_order_relaxed);
    nqi_queue_on_changed(queue);
}

void nqi_queue_on_event(void *arg, const struct nq_event *event)
{
    nq_queue *queue = arg;

    if (event->kind == NQ_EVENT_PEER_UP)
        atomic_fetch_add(&queue->connects, 1);
    else if (event->kind == NQ_EVENT_REFUSED)
        atomic_fetch_add(&queue->refusals, 1);
    nqi_events_push(&queue->events, event);
    nqi_queue_mark(queue);
    nqi_queue_on_changed(queue);
}

static void queue_on_peer_event(void *arg, const struct nq_event *event)
{
    struct nq_event told = *event;

    if (told.kind == NQ_EVENT_PEER_UP || told.kind == NQ_EVENT_PEER_RESUMED)
        nqi_queue_explain(arg, &told);
    nqi_queue_on_event(arg, &told);
}

static void queue_on_dirty(void *arg, struct nqi_peer *peer)
{
    nq_queue *queue = arg;
    struct nqi_peer *head = atomic_load_explicit(&queue->dirty, memory_order_relaxed);

    atomic_store_explicit(&queue->attend, true, memory_order_relaxed);
    if (atomic_exchange(&peer->dirty_listed, true))
        return;
    nqi_peer_ref(peer);
    do
        peer->dirty_next = head;
    while (!atomic_compare_exchange_weak(&queue->dirty, &head, peer));
}

static bool queue_on_reserve(void *arg, uint64_t bytes)
{
    nq_queue *queue = arg;
    uint64_t had = atomic_load(&queue->set_aside);

    do
        if (had && (bytes > queue->conf->memory || had > queue->conf->memory - bytes))
            return false;
    while (!atomic_compare_exchange_weak(&queue->set_aside, &had, had + bytes));
    return true;
}

static void queue_on_unreserve(void *arg, uint64_t bytes)
{
    nq_queue *queue = arg;

    atomic_fetch_sub(&queue->set_aside, bytes);
}

void nqi_queue_on_links(void *arg, int delta)
{
    nq_queue *queue = arg;

    atomic_fetch_add(&queue->links, delta);
    nqi_queue_on_changed(queue);
}

static void queue_on_ended(void *arg, struct nqi_peer *peer)
{
    const struct nqi_session_stats *stats = &peer->session.stats;
    nq_queue *queue = arg;

    pthread_mutex_lock(&queue->lock);
    queue->past.messages_out += stats->messages_out;
    queue->past.bytes_out += stats->bytes_out;
    queue->past.messages_in += stats->messages_in;
    queue->past.bytes_in += stats->bytes_in;
    nqi_list_remove(&peer->inbox.all);
    queue->npeers--;
    if (peer != queue->server) {
        table_remove(queue, peer);
        if (peer->final) /* else there is nothing to know */
            nqi_tombs_add(&queue->tombs, &peer->name.id, peer->name.key, peer->final, nqi_now());
    }
    nqi_queue_mark_locked(queue);
    pthread_mutex_unlock(&queue->lock);
    if (peer == queue->server)
        return;
    if (atomic_load_explicit(&queue->recent, memory_order_relaxed) == peer)
        nqi_queue_put_back(queue, NULL); /* who has it now finds out that it ended */
    nqi_peer_unref(peer);                /* the table's */
}

const struct nqi_peer_events nqi_queue_peer_events = {
    .delivered = queue_on_delivered,
    .settled = queue_on_settled,
    .changed = nqi_queue_on_changed,
    .event = queue_on_peer_event,
    .dirty = queue_on_dirty,
    .reserve = queue_on_reserve,
    .unreserve = queue_on_unreserve,
    .links = nqi_queue_on_links,
    .ended = queue_on_ended,
    .rekey = nqi_queue_rekey,
};
