/* A peer is made, hands over what came, and settles; its life is in peer_life.c, its links are in
 * peer_link.c, what others ask of it in peer_ask.c, putting and sending in peer_put.c and
 * peer_send.c. */
#include "core/peer_inside.h"

#include "core/err.h"
#include "core/random.h"
#include <stdlib.h>
#include <string.h>

/* ---- events up -------------------------------------------------------------------------- */

static void peer_on_deliver(void *arg, nq_msg *msg)
{
    struct nqi_peer *peer = arg;

    nqi_fifo_push(&peer->in, &msg->node);
    peer->in_count++;
    peer->in_bytes += msg->stream.nbytes;
}

static void peer_on_settle_untracked(void *arg, uint64_t count, nq_outcome outcome,
                                     nq_reason reason)
{
    struct nqi_peer *peer = arg;

    peer->conf->events->settled(peer->conf->arg, count, outcome, reason);
}

static bool peer_on_reserve(void *arg, uint64_t bytes)
{
    struct nqi_peer *peer = arg;

    return peer->conf->events->reserve(peer->conf->arg, bytes);
}

static void peer_on_unreserve(void *arg, uint64_t bytes)
{
    struct nqi_peer *peer = arg;

    peer->conf->events->unreserve(peer->conf->arg, bytes);
}

static const struct nqi_session_events peer_session_events = {
    .deliver = peer_on_deliver,
    .begin = nqi_peer_on_begin,
    .settle = nqi_peer_on_settle,
    .settle_untracked = peer_on_settle_untracked,
    .reserve = peer_on_reserve,
    .unreserve = peer_on_unreserve,
};

void nqi_peer_hand_over(struct nqi_peer *peer)
{
    if (!peer->in.head)
        return;
    peer->delivered_messages += peer->in_count;
    peer->delivered_bytes += peer->in_bytes;
    peer->conf->events->delivered(peer->conf->arg, peer, &peer->in, peer->in_count, peer->in_bytes);
    nqi_fifo_init(&peer->in);
    peer->in_count = peer->in_bytes = 0;
}

/* Before the strand is left: hand over, send, and set the clock, once for all that happened. */
static void peer_settle(void *arg)
{
    struct nqi_peer *peer = arg;

    if (peer->state == NQI_PEER_ENDED)
        return;
    if (nqi_peer_only_gathers(peer)) {
        nqi_peer_show_counts(peer);
        return;
    }
    nqi_peer_hand_over(peer);
    nqi_peer_report_queue(peer);
    nqi_peer_show_counts(peer); /* before the acknowledgement: who has it may ask at once */
    if (nqi_session_has_output(&peer->session)) {
        nqi_peer_pump(peer);
        nqi_peer_show_out(peer);
        if (NQI_UNLIKELY(peer->high)) /* that may have been all: nothing else need come */
            nqi_peer_report_queue(peer);
    }
    if (NQI_UNLIKELY(peer->session.state == NQI_SESSION_CLOSED))
        nqi_peer_finish(peer);
    if (peer->state != NQI_PEER_ENDED)
        nqi_peer_set_clock(peer);
}

/* ---- making and ending ------------------------------------------------------------------ */

void nqi_peer_unref(struct nqi_peer *peer)
{
    struct nqi_strand *strand;

    if (!peer || atomic_fetch_sub_explicit(&peer->refs, 1, memory_order_acq_rel) != 1)
        return;
    assert(peer->state == NQI_PEER_ENDED);
    strand = peer->serial.strand;
    pthread_mutex_destroy(&peer->shown.lock);
    explicit_bzero(&peer->name, sizeof(peer->name));
    explicit_bzero(&peer->session.former, sizeof(peer->session.former));
    free(peer);
    nqi_strand_unref(strand);
}

static struct nqi_peer *peer_new(const struct nqi_peer_conf *conf, struct nqi_strand *strand,
                                 struct nqi_loop *loop)
{
    struct nqi_peer *peer = calloc(1, sizeof(*peer));
    nq_err err;

    if (!peer)
        return NULL;
    atomic_init(&peer->refs, 1);
    peer->conf = conf;
    peer->serial.strand = nqi_strand_ref(strand);
    peer->serial.loop = loop;
    peer->todo_work.run = nqi_peer_run_todo;
    peer->clock_at = peer->expires_at = NQI_NEVER;
    pthread_mutex_init(&peer->shown.lock, NULL);
    nqi_fifo_init(&peer->in);
    nqi_fifo_init(&peer->inbox.messages);
    nqi_list_init(&peer->inbox.ready);
    nqi_list_init(&peer->inbox.all);
    nqi_session_init(&peer->session, &conf->session, &peer_session_events, peer);
    err = nqi_timer_add(&peer->serial, nqi_peer_on_clock, peer, &peer->clock);
    if (!err)
        err = nqi_timer_add(&peer->serial, nqi_peer_on_flush_timer, peer, &peer->flow.timer);
    if (err) {
        nqi_watch_del(peer->clock);
        nqi_strand_unref(strand);
        free(peer);
        return NULL;
    }
    return peer;
}

/* The name of a session that begins over a link with this AUTH. */
static nq_err peer_make_name(const struct nqi_peer_conf *conf, const struct nqi_attach *attach,
                             const struct nqi_psk *psk, struct nqi_session_name *ret)
{
    nq_err err = nq_uuid_random(&ret->id);

    ret->circle = psk->circle;
    if (!err && psk->key)
        nqi_psk_session_key(psk->key, &ret->id, &attach->auth.opening, &attach->hello.id,
                            &conf->session.id, ret->key);
    else if (!err)
        err = nqi_random(ret->key, sizeof(ret->key));
    return err;
}

static void peer_wipe_name(struct nqi_session_name *name)
{
    explicit_bzero(name, sizeof(*name));
}

static void peer_take(struct nqi_peer *peer, struct nqi_link *link)
{
    peer->link = link;
    nqi_link_bind(link, &nqi_peer_link_events, nqi_peer_ref(peer));
    nqi_strand_on_settle(peer->serial.strand, peer_settle, peer);
    nqi_peer_enter(peer, NQI_PEER_LINKED);
}

nq_err nqi_peer_accept_older(const struct nqi_peer_conf *conf, struct nqi_link *link,
                             const nq_uuid *id, struct nqi_peer **ret)
{
    struct nqi_peer *peer =
        peer_new(conf, nqi_strand_now(nqi_link_strand(link)), nqi_link_loop(link));

    if (!peer)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a peer");
    peer->older = true;
    peer_take(peer, link);
    nqi_session_begin_older(&peer->session, id, !nqi_link_can_hold(link));
    *ret = peer;
    return NQ_OK;
}

nq_err nqi_peer_accept(const struct nqi_peer_conf *conf, struct nqi_link *link,
                       const struct nqi_attach *attach, const struct nqi_psk *psk,
                       struct nqi_peer **ret)
{
    NQI_CLEANUP(peer_wipe_name) struct nqi_session_name name = {0};
    struct nqi_strand *strand = nqi_strand_now(nqi_link_strand(link));
    nq_err err = peer_make_name(conf, attach, psk, &name);
    struct nqi_peer *peer;

    if (err)
        return err;
    peer = peer_new(conf, strand, nqi_link_loop(link));
    if (!peer)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a peer");
    peer->name = name;
    peer->opening = attach->auth.opening;
    peer_take(peer, link);
    nqi_session_begin(&peer->session, attach, &name.id, name.key, name.circle, nqi_now());
    *ret = peer;
    return NQ_OK;
}

void nqi_peer_skip(struct nqi_peer *peer, uint64_t messages, uint64_t bytes)
{
    peer->delivered_messages += messages;
    peer->delivered_bytes += bytes;
    nqi_peer_set_base(peer);
}

void nqi_peer_announce(struct nqi_peer *peer)
{
    nqi_peer_follow_session(peer);
}

nq_err nqi_peer_dial(const struct nqi_peer_conf *conf, struct nqi_loop *loop, nqt_ep *const *eps,
                     size_t count, struct nqi_peer **ret)
{
    struct nqi_strand *strand = nqi_strand_new();
    struct nqi_peer *peer = strand ? peer_new(conf, strand, loop) : NULL;

    nqi_strand_unref(strand);
    if (!peer)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a peer");
    nqi_strand_on_settle(peer->serial.strand, peer_settle, peer);
    nqi_dialer_init(&peer->dialer, eps, count, &peer->serial, &nqi_peer_link_events, peer);
    nqi_dialer_on_time(&peer->dialer, nqi_peer_on_dial_time, peer);
    peer->dials = true;
    peer->older = count;
    for (size_t i = 0; i < count; i++)
        peer->older &= nqi_ep_wire(eps[i]) == NQI_WIRE_OLDER;
    *ret = peer;
    return NQ_OK;
}
