/* What a queue tells of itself: events, peers, counters; and one's own event loop. */
#include "core/queue.h"

#include "core/err.h"
#include "core/log.h"
#include "core/pool.h"
#include <stdio.h>
#include <string.h>

/* ---- events ----------------------------------------------------------------------------- */

struct event_getter {
    nq_queue *queue;
    struct nq_event event;
    bool found, ended;
};

static bool event_ready(void *arg)
{
    struct event_getter *getter = arg;

    /* First the end, then the list: an event of the closing is not missed. */
    getter->ended = atomic_load(&getter->queue->closing);
    getter->found = nqi_events_pop(&getter->queue->events, &getter->event);
    nqi_queue_mark(getter->queue);
    return getter->found || getter->ended;
}

nq_err nq_event_get(nq_queue *queue, int64_t timeout_ns, struct nq_event *ret)
{
    struct event_getter getter = {.queue = queue};
    nq_err err = nqi_queue_check_process(queue);

    if (err)
        return err;
    if (!event_ready(&getter)) {
        nqi_queue_flush(queue);
        err = nqi_room_wait(nqi_queue_room(queue), event_ready, &getter, timeout_ns);
        if (err)
            return err;
    }
    if (!getter.found)
        return NQ_END;
    *ret = getter.event;
    return NQ_OK;
}

void nq_event_callback(nq_queue *queue, nq_event_fn fn, void *arg)
{
    if (queue->process == nqi_process())
        nqi_events_callback(&queue->events, fn, arg);
}

/* ---- peers ------------------------------------------------------------------------------ */

void nqi_queue_show_peer(nq_queue *queue, struct nqi_peer *peer, struct nq_peer_info *ret)
{
    memset(ret, 0, sizeof(*ret));
    nqi_peer_describe(peer, ret);
    pthread_mutex_lock(&queue->lock);
    ret->unread = peer->inbox.unread;
    pthread_mutex_unlock(&queue->lock);
}

nq_err nq_peers(nq_queue *queue, struct nq_peer_info *infos, size_t cap, size_t *count)
{
    struct nqi_peer **peers;
    nq_err err = nqi_queue_check_process(queue);
    size_t n;

    if (!err)
        err = nqi_queue_list(queue, &peers, &n);
    if (err)
        return err;
    for (size_t i = 0; i < NQI_MIN(n, cap); i++)
        nqi_queue_show_peer(queue, peers[i], &infos[i]);
    nqi_queue_unlist(peers, n);
    *count = n;
    return NQ_OK;
}

nq_err nq_disconnect(nq_queue *queue, const nq_uuid *id)
{
    nq_err err = nqi_queue_check_process(queue);
    struct nqi_peer *peer = err ? NULL : nqi_queue_find(queue, id);
    char text[NQ_UUID_TEXT];

    if (err)
        return err;
    if (!peer)
        return nqi_fail(NQ_ERR_NO_PEER, "no peer %s", nq_uuid_format(id, text));
    nqi_peer_disconnect(peer);
    nqi_peer_unref(peer);
    nqi_queue_notify(queue);
    return NQ_OK;
}

/* ---- health ----------------------------------------------------------------------------- */

void nqi_queue_tell_absent(nq_queue *queue, const struct nqi_conf_absent *absent)
{
    struct nq_event event = {.kind = NQ_EVENT_REFUSED, .reason = NQ_REASON_REFUSED};

    snprintf(event.transport, sizeof(event.transport), "%s", absent->name);
    snprintf(event.text, sizeof(event.text), "%s", absent->why);
    nqi_log(NQ_LOG_WARN, "%s", absent->why);
    nqi_queue_on_event(queue, &event);
}

void nqi_queue_show_health(const nq_queue *queue, size_t i, struct nq_health_info *ret)
{
    const struct nqi_conf_absent *absent = queue->conf->transports[i].absent;

    if (!absent) {
        nqi_ep_show_health(queue->eps[i].ep, ret);
        return;
    }
    *ret = (struct nq_health_info){.state = NQ_HEALTH_CLOSED};
    snprintf(ret->transport, sizeof(ret->transport), "%s", absent->name);
    snprintf(ret->text, sizeof(ret->text), "%s", absent->why);
}

/* A client tries its list in order, so all that stand before the one that is ready have failed. */
void nqi_queue_explain(const nq_queue *queue, struct nq_event *event)
{
    size_t len = strlen(event->text);
    struct nq_health_info first;

    if (queue->conf->server || queue->neps < 2)
        return;
    nqi_queue_show_health(queue, 0, &first);
    if (first.state != NQ_HEALTH_READY && first.text[0])
        snprintf(event->text + len, sizeof(event->text) - len, "; not over %s: %s", first.transport,
                 first.text);
}

nq_err nq_health(nq_queue *queue, struct nq_health_info *infos, size_t cap, size_t *count)
{
    nq_err err = nqi_queue_check_process(queue);

    if (err)
        return err;
    for (size_t i = 0; i < NQI_MIN(queue->neps, cap); i++)
        nqi_queue_show_health(queue, i, &infos[i]);
    *count = queue->neps;
    return NQ_OK;
}

/* ---- one's own event loop --------------------------------------------------------------- */

/* Under lock: nothing is there, nor will be. */
static bool queue_is_over(const nq_queue *queue)
{
    return atomic_load(&queue->closing) && !queue->unread && nqi_list_empty(&queue->all);
}

void nqi_queue_mark_locked(nq_queue *queue)
{
    bool readable;

    if (queue->conf->mode != NQI_PROGRESS_MANUAL)
        return;
    readable = queue->unread || nqi_events_any(&queue->events) || queue_is_over(queue);
    if (readable == queue->readable)
        return;
    queue->readable = readable;
    nqi_loop_hold_readable(queue->loops[0], readable);
}

void nqi_queue_mark(nq_queue *queue)
{
    if (queue->conf->mode != NQI_PROGRESS_MANUAL)
        return;
    pthread_mutex_lock(&queue->lock);
    nqi_queue_mark_locked(queue);
    pthread_mutex_unlock(&queue->lock);
}

int nq_fd(nq_queue *queue)
{
    return queue->conf->mode == NQI_PROGRESS_MANUAL ? nqi_loop_fd(queue->loops[0]) : -1;
}

nq_err nq_poll(nq_queue *queue)
{
    nq_err err = nqi_queue_check_process(queue);
    bool over;

    if (err)
        return err;
    if (nqi_room_in_callback())
        return nqi_fail(NQ_ERR_DEADLOCK, "a callback must not poll its queue");
    nqi_queue_flush(queue);
    for (uint32_t i = 0; i < queue->nloops; i++)
        nqi_room_poll(queue->rooms[i]);
    nqi_queue_mark(queue); /* a callback may have taken the events */
    if (!atomic_load(&queue->closing))
        return NQ_OK;
    pthread_mutex_lock(&queue->lock);
    over = queue_is_over(queue);
    pthread_mutex_unlock(&queue->lock);
    return over ? NQ_END : NQ_OK;
}

/* ---- counters --------------------------------------------------------------------------- */

/* At one moment, so that a peer that ends is counted once. */
static void stats_add_peers(nq_queue *queue, struct nq_stats *stats)
{
    pthread_mutex_lock(&queue->lock);
    stats->messages_out = queue->past.messages_out;
    stats->bytes_out = queue->past.bytes_out;
    stats->messages_in = queue->past.messages_in;
    stats->bytes_in = queue->past.bytes_in;
    for (struct nqi_list *at = queue->all.next; at != &queue->all; at = at->next) {
        struct nqi_peer *peer = NQI_CONTAINER(at, struct nqi_peer, inbox.all);

        stats->queued += atomic_load(&peer->queued);
        stats->queued_bytes += atomic_load(&peer->queued_bytes);
        stats->unacked += atomic_load(&peer->shown.unacked);
        stats->messages_out += atomic_load(&peer->shown.messages_out);
        stats->bytes_out += atomic_load(&peer->shown.bytes_out);
        stats->messages_in += atomic_load(&peer->shown.messages_in);
        stats->bytes_in += atomic_load(&peer->shown.bytes_in);
    }
    stats->peers = queue->npeers;
    stats->unread = queue->unread;
    stats->unread_bytes = queue->unread_bytes;
    pthread_mutex_unlock(&queue->lock);
}

static void stats_add_rooms(nq_queue *queue, struct nq_stats *stats)
{
    for (uint32_t i = 0; i < queue->nloops; i++) {
        struct nqi_room_counts counts;

        nqi_room_count(queue->rooms[i], &counts);
        stats->turns += counts.turns;
        stats->sleeps += counts.sleeps;
        stats->kicks += counts.kicks;
        stats->spins_paid += counts.spins_paid;
        stats->spins_lost += counts.spins_lost;
        stats->keeper_ticks += counts.keeper_ticks;
        stats->keeper_turns += counts.keeper_turns;
    }
}

static void stats_add_transports(nq_queue *queue, struct nq_stats *stats)
{
    for (size_t i = 0; i < queue->neps; i++) {
        const nqt_core *core = queue->eps[i].core;
        struct nq_health_info health = {.state = NQ_HEALTH_IDLE};

        nqi_queue_show_health(queue, i, &health);
        stats->health[health.state]++;
        if (!core)
            continue;
        stats->send_calls += nqi_transport_count(core, NQT_COUNT_SEND_CALLS);
        stats->recv_calls += nqi_transport_count(core, NQT_COUNT_RECV_CALLS);
        stats->shared_bytes += nqi_transport_count(core, NQT_COUNT_SHARED_BYTES);
    }
}

nq_err nq_stats_get(nq_queue *queue, struct nq_stats *ret, size_t size)
{
    nq_err err = nqi_queue_check_process(queue);
    struct nq_stats stats = {0};

    if (err)
        return err;
    stats_add_peers(queue, &stats);
    stats_add_rooms(queue, &stats);
    stats.delivered = atomic_load(&queue->outcomes[NQ_DELIVERED]);
    stats.handed = atomic_load(&queue->outcomes[NQ_HANDED]);
    stats.not_delivered = atomic_load(&queue->outcomes[NQ_NOT_DELIVERED]);
    stats.unknown = atomic_load(&queue->outcomes[NQ_UNKNOWN]);
    stats.cancelled = atomic_load(&queue->outcomes[NQ_CANCELLED]);
    stats.dropped = atomic_load(&queue->outcomes[NQ_DROPPED]);
    stats.expired = atomic_load(&queue->outcomes[NQ_EXPIRED]);
    for (int i = 0; i < NQ_REASONS; i++)
        stats.dropped_by[i] = atomic_load(&queue->reasons[i]);
    stats.links = (uint64_t)atomic_load(&queue->links);
    stats.connects = atomic_load(&queue->connects);
    stats.refusals = atomic_load(&queue->refusals);
    stats.events_lost = nqi_events_lost(&queue->events);
    stats_add_transports(queue, &stats);
    stats.pool_bytes = nqi_pool_kept();
    memcpy(ret, &stats, NQI_MIN(size, sizeof(stats)));
    return NQ_OK;
}
