/* A peer and its link: what the link reports, and how a peer comes to the next one. */
#include "core/peer_inside.h"

#include "core/err.h"
#include "core/random.h"

static void peer_on_up_older(struct nqi_peer *peer, struct nqi_link *link)
{
    nq_uuid proven;
    bool known = nqi_link_identity(link, &proven);

    if (!nq_uuid_is_nil(&peer->session.name.id))
        nqi_peer_begin_anew(peer, "its transport speaks another wire than the session");
    nqi_session_connect_older(&peer->session, known ? &proven : NULL, !nqi_link_can_hold(link));
}

static void peer_on_up(void *arg, struct nqi_link *link)
{
    struct nqi_peer *peer = arg;
    uint8_t nonce[NQI_NONCE];
    struct nqi_psk psk = {0};

    if (nqi_link_is_older(link)) {
        peer_on_up_older(peer, link);
        return;
    }
    if (nqi_random(nonce, sizeof(nonce))) {
        nqi_peer_lost(peer, NQ_REASON_NO_MEMORY, nq_error());
        return;
    }
    if (peer->conf->events->rekey(peer->conf->arg, link, &psk))
        nqi_session_rekey(&peer->session);
    if (!nqi_session_fits(&peer->session.name, psk.circle))
        nqi_peer_begin_anew(peer, "its transport goes by other keys than the session");
    nqi_session_connect(&peer->session, &psk, nonce, nqi_link_features(link), nqi_now());
}

/* The server has said who it is, and its certificate says something else. */
static bool peer_is_misled(const struct nqi_peer *peer)
{
    return peer->session.state == NQI_SESSION_AUTH &&
           !nqi_link_may_be(peer->link, &peer->session.peer);
}

void nqi_peer_follow_hold(struct nqi_peer *peer)
{
    struct nqi_session *session = &peer->session;
    bool hold;

    if (!session->older || peer->state != NQI_PEER_LINKED)
        return;
    hold = nqi_session_wants_hold(session, peer->held);
    if (hold != peer->held)
        nqi_link_hold(peer->link, hold);
    peer->held = hold;
    if (!session->fallen)
        return;
    nqi_peer_event(peer, NQ_EVENT_DROPPED, NQ_REASON_QUEUE_FULL, session->fallen,
                   "received and not kept: the transport cannot be held back");
    session->fallen = 0;
}

static nq_err peer_received(struct nqi_peer *peer, nq_err err)
{
    peer->flow.heard = true;
    if (NQI_LIKELY(!err && peer->up && peer->session.state == NQI_SESSION_UP))
        return NQ_OK; /* nothing has changed between the two */
    if (err < 0) {
        nqi_peer_lost(peer, nqi_peer_reason(peer, err), nq_error());
    } else if (peer_is_misled(peer)) {
        nqi_link_reject(peer->link, NQ_REASON_IDENTITY, NULL);
        nqi_peer_lost(peer, NQ_REASON_IDENTITY, "the server's certificate is for another id");
    } else {
        nqi_peer_follow_session(peer);
        nqi_peer_follow_hold(peer);
    }
    return peer->link ? NQ_OK : NQ_ERR_CLOSED;
}

static nq_err peer_on_receive(void *arg, const uint8_t *data, size_t len)
{
    struct nqi_peer *peer = arg;

    if (!peer->link)
        return NQ_ERR_CLOSED;
    return peer_received(peer, nqi_session_receive(&peer->session, data, len, nqi_now_rough()));
}

static size_t peer_on_space(void *arg, unsigned char **ret)
{
    struct nqi_peer *peer = arg;

    return peer->link ? nqi_session_space(&peer->session, ret) : 0;
}

static nq_err peer_on_commit(void *arg, size_t len)
{
    struct nqi_peer *peer = arg;

    if (!peer->link)
        return NQ_ERR_CLOSED;
    return peer_received(peer, nqi_session_commit(&peer->session, len, nqi_now_rough()));
}

static nq_err peer_on_give(void *arg, struct nqt_buf *buf)
{
    struct nqi_peer *peer = arg;

    if (!peer->link)
        return NQ_ERR_CLOSED;
    return peer_received(peer, nqi_session_give(&peer->session, buf, nqi_now_rough()));
}

static void peer_on_writable(void *arg)
{
    struct nqi_peer *peer = arg;

    peer->blocked = false; /* settling sends */
}

static void peer_on_down(void *arg, struct nqi_link *link, nq_reason reason, const char *text)
{
    struct nqi_peer *peer = arg;

    /* What the transport found broken is the link, not the session: it checks its records
     * itself, and another link may go on with it. */
    if (peer->up && reason == NQ_REASON_PROTOCOL)
        reason = NQ_REASON_LINK_LOST;
    if (peer->link == link)
        nqi_peer_lost(peer, reason, text);
}

static void peer_on_closed(void *arg)
{
    struct nqi_peer *peer = arg;

    peer->conf->events->links(peer->conf->arg, -1);
    nqi_peer_unref(peer); /* the link's reference */
}

const struct nqi_link_events nqi_peer_link_events = {
    .up = peer_on_up,
    .receive = peer_on_receive,
    .space = peer_on_space,
    .commit = peer_on_commit,
    .give = peer_on_give,
    .writable = peer_on_writable,
    .down = peer_on_down,
    .closed = peer_on_closed,
};

/* ---- how it comes to one ---------------------------------------------------------------- */

void nqi_peer_on_dial_time(void *arg)
{
    struct nqi_peer *peer = arg;

    if (peer->state != NQI_PEER_IDLE)
        return;
    nqi_peer_ref(peer); /* the link's, until peer_on_closed() */
    if (nqi_dialer_try(&peer->dialer, &peer->link)) {
        nqi_peer_event(peer, NQ_EVENT_REFUSED, NQ_REASON_REFUSED, 0, nq_error());
        nqi_peer_unref(peer);
        return;
    }
    peer->conf->events->links(peer->conf->arg, 1);
    nqi_peer_enter(peer, NQI_PEER_LINKED);
}

static nq_reason peer_attach_refusal(nq_err err, const struct nqi_attach *attach)
{
    if (err == NQ_ERR_NOMEM)
        return NQ_REASON_NO_MEMORY;
    return err == NQ_ERR_PROTO && attach->auth.method == NQI_AUTH_OPEN ? NQ_REASON_DUPLICATE
                                                                       : NQ_REASON_NO_SESSION;
}

void nqi_peer_attach(struct nqi_peer *peer, struct nqi_link *link, const struct nqi_attach *attach)
{
    nq_err err = peer->state == NQI_PEER_ENDED ? NQ_ERR_CLOSED
                                               : nqi_session_may_resume(&peer->session, attach);

    /* Only then: who repeats what he listened to must not end the link that is there. */
    if (!err) {
        nqi_peer_lost(peer, NQ_REASON_LINK_LOST, "another link took its place");
        err = peer->state == NQI_PEER_IDLE ? nqi_session_resume(&peer->session, attach, nqi_now())
                                           : NQ_ERR_CLOSED;
    }
    if (peer->state == NQI_PEER_ENDED && attach->auth.method == NQI_AUTH_RESUME) {
        nqi_link_tell_end(link, attach, peer->name.key, peer->final); /* since it was looked up */
        return;
    }
    if (err) {
        nqi_link_reject(link, peer_attach_refusal(err, attach), NULL);
        return;
    }
    peer->link = link;
    nqi_link_bind(link, &nqi_peer_link_events, nqi_peer_ref(peer));
    nqi_peer_enter(peer, NQI_PEER_LINKED);
    nqi_peer_follow_session(peer);
}
