/* The life of a peer: what its session's state, the loss of a link and time mean for it. */
#include "core/peer_inside.h"

#include "core/err.h"
#include <stdio.h>

/* The only writer of peer->state. */
void nqi_peer_enter(struct nqi_peer *peer, enum nqi_peer_state next)
{
    assert(peer->state != NQI_PEER_ENDED);
    peer->state = next;
}

/* Without a link the table's reference may be the last: whoever calls this without one of his own
 * does nothing more with the peer. */
void nqi_peer_end(struct nqi_peer *peer, nq_reason reason)
{
    const struct nqi_peer_conf *conf = peer->conf;

    if (peer->state == NQI_PEER_ENDED)
        return;
    nqi_peer_enter(peer, NQI_PEER_ENDED);
    /* The last reference may go before the strand is left. */
    nqi_strand_on_settle(peer->serial.strand, NULL, NULL);
    nqi_peer_hand_over(peer);
    peer->final = nqi_session_final(&peer->session);
    if (peer->session.older) /* nobody will ask */
        peer->final = 0;
    nqi_session_fini(&peer->session, reason);
    if (peer->dials)
        nqi_dialer_fini(&peer->dialer);
    nqi_watch_del(NQI_STEAL(peer->clock));
    nqi_watch_del(NQI_STEAL(peer->flow.timer));
    atomic_store(&peer->ended, true);
    conf->events->ended(conf->arg, peer);
    conf->events->changed(conf->arg);
}

/* The next session counts what the user takes from here on. */
void nqi_peer_set_base(struct nqi_peer *peer)
{
    peer->base_messages = peer->delivered_messages;
    peer->base_bytes = peer->delivered_bytes;
    peer->expires_at = NQI_NEVER;
}

void nqi_peer_forget_session(struct nqi_peer *peer, nq_reason reason)
{
    nqi_session_fini(&peer->session, reason);
    nqi_peer_set_base(peer);
}

/* No link can go on with the session that had this one. */
static bool peer_is_over(const struct nqi_peer *peer, nq_reason reason)
{
    if (!nqi_session_is_resumable(&peer->session) || reason == NQ_REASON_NO_SESSION)
        return true;
    if (!peer->up) /* one more attempt failed */
        return false;
    return reason == NQ_REASON_PROTOCOL || reason == NQ_REASON_LIMIT ||
           reason == NQ_REASON_DISCONNECTED || reason == NQ_REASON_PEER_CLOSED;
}

static nq_event_kind peer_lost_kind(const struct nqi_peer *peer, bool over)
{
    if (peer->up)
        return over ? NQ_EVENT_PEER_GONE : NQ_EVENT_PEER_DOWN;
    return over && peer->expires_at != NQI_NEVER ? NQ_EVENT_PEER_GONE : NQ_EVENT_REFUSED;
}

/* The link goes; the session is kept, or is over. */
static void peer_unlink(struct nqi_peer *peer, bool over, nq_reason reason)
{
    struct nqi_link *link = NQI_STEAL(peer->link);
    bool was_up = peer->up;

    peer->up = peer->blocked = peer->held = false;
    nqi_peer_show_link(peer);
    nqi_peer_enter(peer, NQI_PEER_IDLE);
    nqi_session_down(&peer->session);
    if (reason == NQ_REASON_PEER_CLOSED || reason == NQ_REASON_DISCONNECTED) /* our last words */
        nqi_link_drain(link);
    else
        nqi_link_close(link);
    if (over && was_up && peer->session.older && peer->dials) {
        nqi_peer_forget_session(peer, reason); /* no later one goes on with it */
    } else if (over && peer->dials) {
        nqi_session_restart(&peer->session, reason);
        nqi_peer_set_base(peer);
    } else if (!over && was_up) {
        peer->expires_at = nqi_now() + peer->session.name.expiry_ns;
    }
}

void nqi_peer_begin_anew(struct nqi_peer *peer, const char *text)
{
    struct nq_event event =
        nqi_peer_event_of(peer, NQ_EVENT_PEER_GONE, NQ_REASON_NO_SESSION, 0, text);

    nqi_peer_hand_over(peer);
    nqi_session_restart(&peer->session, NQ_REASON_NO_SESSION);
    nqi_peer_set_base(peer);
    nqi_peer_tell(peer, &event);
}

/* Grows with what is final on either side. */
static uint64_t peer_progress(const struct nqi_peer *peer)
{
    return peer->session.received + peer->session.acked;
}

/* @param worked  the link was up  @param useful  and something passed over it */
static void peer_redial(struct nqi_peer *peer, bool worked, bool useful, const char *why)
{
    if (worked)
        nqi_dialer_worked(&peer->dialer, useful);
    nqi_dialer_failed(&peer->dialer, why);
}

/* The link is of no more use. */
void nqi_peer_lost(struct nqi_peer *peer, nq_reason reason, const char *text)
{
    bool was_up = peer->up, useful = peer_progress(peer) != peer->came_up, over;
    struct nq_event event;

    if (peer->state != NQI_PEER_LINKED)
        return;
    nqi_peer_hand_over(peer);
    over = peer_is_over(peer, reason);
    event = nqi_peer_event_of(peer, peer_lost_kind(peer, over), reason, 0, text);
    peer_unlink(peer, over, reason);
    nqi_peer_tell(peer, &event); /* whoever hears that a session is over finds its puts settled */
    if (over && !peer->dials)
        nqi_peer_end(peer, reason);
    else if (peer->closing && nqi_session_flushed(&peer->session))
        nqi_peer_end(peer, NQ_REASON_LOCAL_CLOSE);
    else if (peer->dials)
        peer_redial(peer, was_up || reason == NQ_REASON_NO_SESSION, was_up && useful, text);
}

nq_reason nqi_peer_reason(const struct nqi_peer *peer, nq_err err)
{
    switch (err) {
    case NQ_ERR_TOO_BIG:
        return NQ_REASON_LIMIT;
    case NQ_ERR_NOMEM:
        return NQ_REASON_NO_MEMORY;
    case NQ_ERR_LINK:
        return NQ_REASON_TIMED_OUT;
    case NQ_ERR_CLOSED:
        return peer->session.bye_reason ? peer->session.bye_reason : NQ_REASON_REFUSED;
    default:
        return NQ_REASON_PROTOCOL;
    }
}

/* The session is over: go, once the answer to the good-bye is with the link. */
void nqi_peer_finish(struct nqi_peer *peer)
{
    nq_reason reason = peer->session.bye_reason;

    if (peer->state == NQI_PEER_LINKED && nqi_session_is_over(&peer->session))
        nqi_peer_lost(peer, reason, nq_reason_text(reason));
}

static const char *peer_up_text(const struct nqi_peer *peer, char text[192])
{
    snprintf(text, 192, "%s%s", nqi_link_address(peer->link),
             peer->session.older ? ", wire net-queue" : "");
    return text;
}

/* What the session's new state means for the peer. */
void nqi_peer_follow_session(struct nqi_peer *peer)
{
    if (peer->state != NQI_PEER_LINKED)
        return;
    if (!peer->up && peer->session.state == NQI_SESSION_UP) {
        bool again = peer->expires_at != NQI_NEVER;
        char text[192];

        peer->up = true;
        peer->copies = nqi_link_copies(peer->link);
        peer->came_up = peer_progress(peer);
        peer->expires_at = NQI_NEVER;
        nqi_link_settled(peer->link);
        nqi_peer_show_link(peer);
        nqi_peer_event(peer, again ? NQ_EVENT_PEER_RESUMED : NQ_EVENT_PEER_UP, NQ_REASON_NONE, 0,
                       peer_up_text(peer, text));
    }
    if (peer->session.state == NQI_SESSION_CLOSED) {
        nqi_peer_hand_over(peer);
        nqi_peer_show_counts(peer); /* before they are acknowledged */
        nqi_peer_pump(peer);        /* the last acknowledgement and BYE_ACK */
        nqi_peer_finish(peer);
    }
}

/* ---- time ------------------------------------------------------------------------------- */

/* Nobody came back for the session. */
static void peer_expire(struct nqi_peer *peer)
{
    nqi_peer_event(peer, NQ_EVENT_PEER_GONE, NQ_REASON_EXPIRED, 0,
                   nq_reason_text(NQ_REASON_EXPIRED));
    if (!peer->dials || peer->closing) {
        nqi_peer_end(peer, NQ_REASON_EXPIRED);
        return;
    }
    if (peer->state == NQI_PEER_LINKED) /* in the midst of an attempt */
        peer_unlink(peer, true, NQ_REASON_EXPIRED);
    nqi_peer_forget_session(peer, NQ_REASON_EXPIRED);
    peer_redial(peer, false, false, nq_reason_text(NQ_REASON_EXPIRED));
}

void nqi_peer_on_clock(void *arg)
{
    struct nqi_peer *peer = arg;
    int64_t now = nqi_now();
    nq_err err = nqi_session_tick(&peer->session, now);

    peer->clock_at = NQI_NEVER;
    if (err)
        nqi_peer_lost(peer, nqi_peer_reason(peer, err), nq_error());
    nqi_peer_follow_hold(peer);
    if (now >= peer->expires_at && peer->state != NQI_PEER_ENDED)
        peer_expire(peer);
}

void nqi_peer_set_clock(struct nqi_peer *peer)
{
    int64_t due = NQI_MIN(nqi_session_deadline(&peer->session), peer->expires_at);

    /* It only moves forward when it fires: one system call for many messages. */
    if (due >= peer->clock_at || !peer->clock)
        return;
    nqi_timer_set(peer->clock, due);
    peer->clock_at = due;
}
