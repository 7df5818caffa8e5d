/* What a peer tells of itself: events, and what nq_peers() shows. */
#include "core/peer_inside.h"

#include <stdio.h>
#include <string.h>

struct nq_event nqi_peer_event_of(const struct nqi_peer *peer, nq_event_kind kind, nq_reason reason,
                                  uint64_t count, const char *text)
{
    struct nq_event event = {
        .kind = kind, .reason = reason, .peer = peer->session.peer, .count = count};

    if (peer->link)
        snprintf(event.transport, sizeof(event.transport), "%s", nqi_link_transport(peer->link));
    snprintf(event.text, sizeof(event.text), "%s", text);
    return event;
}

void nqi_peer_tell(struct nqi_peer *peer, const struct nq_event *event)
{
    peer->conf->events->event(peer->conf->arg, event);
    peer->conf->events->changed(peer->conf->arg);
}

void nqi_peer_event(struct nqi_peer *peer, nq_event_kind kind, nq_reason reason, uint64_t count,
                    const char *text)
{
    struct nq_event event = nqi_peer_event_of(peer, kind, reason, count, text);

    nqi_peer_tell(peer, &event);
}

void nqi_peer_show_link(struct nqi_peer *peer)
{
    struct nqi_peer_shown *shown = &peer->shown;

    pthread_mutex_lock(&shown->lock);
    shown->id = peer->session.peer;
    shown->up = peer->up;
    shown->wire = nq_uuid_is_nil(&shown->id) ? "" : peer->session.older ? "net-queue" : "netqueue";
    snprintf(shown->transport, sizeof(shown->transport), "%s",
             peer->up ? nqi_link_transport(peer->link) : "");
    snprintf(shown->address, sizeof(shown->address), "%s",
             peer->up ? nqi_link_address(peer->link) : "");
    pthread_mutex_unlock(&shown->lock);
}

void nqi_peer_show_out(struct nqi_peer *peer)
{
    const struct nqi_session_stats *stats = &peer->session.stats;
    struct nqi_peer_shown *shown = &peer->shown;

    atomic_store_explicit(&shown->messages_out, stats->messages_out, memory_order_relaxed);
    atomic_store_explicit(&shown->bytes_out, stats->bytes_out, memory_order_relaxed);
    atomic_store_explicit(&shown->unacked, peer->session.in_flight, memory_order_relaxed);
}

void nqi_peer_show_counts(struct nqi_peer *peer)
{
    const struct nqi_session_stats *stats = &peer->session.stats;
    struct nqi_peer_shown *shown = &peer->shown;

    nqi_peer_show_out(peer);
    atomic_store_explicit(&shown->messages_in, stats->messages_in, memory_order_relaxed);
    atomic_store_explicit(&shown->bytes_in, stats->bytes_in, memory_order_relaxed);
}

nq_uuid nqi_peer_known_id(struct nqi_peer *peer)
{
    nq_uuid id;

    if (!peer->dials)
        return *nqi_peer_id(peer);
    pthread_mutex_lock(&peer->shown.lock);
    id = peer->shown.id;
    pthread_mutex_unlock(&peer->shown.lock);
    return id;
}

void nqi_peer_describe(struct nqi_peer *peer, struct nq_peer_info *ret)
{
    struct nqi_peer_shown *shown = &peer->shown;

    ret->queued = atomic_load(&peer->queued);
    ret->queued_bytes = atomic_load(&peer->queued_bytes);
    ret->unacked = atomic_load(&shown->unacked);
    ret->messages_out = atomic_load(&shown->messages_out);
    ret->bytes_out = atomic_load(&shown->bytes_out);
    ret->messages_in = atomic_load(&shown->messages_in);
    ret->bytes_in = atomic_load(&shown->bytes_in);
    pthread_mutex_lock(&shown->lock);
    ret->id = shown->id;
    ret->up = shown->up;
    ret->wire = shown->wire ? shown->wire : "";
    memcpy(ret->transport, shown->transport, sizeof(ret->transport));
    memcpy(ret->address, shown->address, sizeof(ret->address));
    pthread_mutex_unlock(&shown->lock);
}
