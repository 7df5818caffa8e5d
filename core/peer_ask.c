/* What others ask of a peer, from any thread; done in its strand, by whoever owns it. */
#include "core/peer_inside.h"

enum {
    TODO_FLUSH = 1u << 0,
    TODO_TAKEN = 1u << 1,
    TODO_PURGE = 1u << 2,
    TODO_CLOSE = 1u << 3,
    TODO_ABORT = 1u << 4,
    TODO_DISCONNECT = 1u << 5,
    TODO_DIAL = 1u << 6,
};

static void peer_return_credit(struct nqi_peer *peer)
{
    uint64_t messages = atomic_load(&peer->taken_messages);
    uint64_t bytes = atomic_load(&peer->taken_bytes);

    /* Messages are taken in order: the first ones are of earlier attachments. */
    if (messages <= peer->base_messages)
        return;
    nqi_session_taken_by_user(&peer->session, messages - peer->base_messages,
                              bytes - peer->base_bytes, atomic_load(&peer->taken_seq));
    nqi_peer_follow_hold(peer);
}

static void peer_begin_close(struct nqi_peer *peer)
{
    peer->closing = true;
    peer->force = true;
    nqi_session_close(&peer->session, nqi_now());
    if (peer->state == NQI_PEER_IDLE && nqi_session_flushed(&peer->session))
        nqi_peer_end(peer, NQ_REASON_LOCAL_CLOSE);
}

/* An acknowledgement that is not sent yet would be missing: the other side could not know that its
 * last messages arrived.  Where more is to be sent it is not: who ends a session now sends nothing
 * that he has put. */
static void peer_tell_received(struct nqi_peer *peer)
{
    struct nqi_session *session = &peer->session;

    if (!peer->up || session->ack_at == NQI_NEVER || session->stage ||
        nqi_session_has_others(session))
        return;
    session->ack_due = true;
    nqi_peer_pump(peer);
}

/* The other side is told that the session ends, when the link takes it at once. */
static bool peer_tell(struct nqi_peer *peer, struct nqi_link *link, nq_reason reason)
{
    if (!peer->up || peer->blocked || nqi_session_is_framing(&peer->session))
        return false;
    if (peer->session.older) { /* it has no words for it */
        nqi_link_drain(link);
        return true;
    }
    nqi_link_reject(link, reason, nqi_session_guard(&peer->session));
    return true;
}

static void peer_reset_link(struct nqi_peer *peer, nq_reason told)
{
    struct nqi_link *link;

    peer_tell_received(peer);
    link = NQI_STEAL(peer->link);
    if (link && !peer_tell(peer, link, told))
        nqi_link_close(link);
}

static void peer_cut(struct nqi_peer *peer, nq_reason reason)
{
    if (peer->state == NQI_PEER_ENDED)
        return;
    if (peer->up || peer->expires_at != NQI_NEVER)
        nqi_peer_event(peer, NQ_EVENT_PEER_GONE, reason, 0, nq_reason_text(reason));
    peer_reset_link(peer, reason == NQ_REASON_LOCAL_CLOSE ? NQ_REASON_PEER_CLOSED : reason);
    peer->up = false;
    nqi_peer_end(peer, reason);
}

void nqi_peer_supersede(struct nqi_peer *peer, uint64_t received)
{
    if (peer->state != NQI_PEER_ENDED)
        nqi_session_know_received(&peer->session, received);
    peer_cut(peer, NQ_REASON_NO_SESSION);
}

/* A client's session ends, and another begins with the next link; nothing is kept for it. */
static void peer_start_over(struct nqi_peer *peer, nq_reason reason)
{
    /* With a link its loss tells; and whoever hears of the end finds the puts settled. */
    bool tell = peer->state != NQI_PEER_LINKED && peer->expires_at != NQI_NEVER;
    struct nq_event event =
        nqi_peer_event_of(peer, NQ_EVENT_PEER_GONE, reason, 0, nq_reason_text(reason));

    peer_tell_received(peer);
    (void)peer_tell(peer, peer->link, reason); /* or the server would wait for us to come back */
    nqi_peer_lost(peer, reason, nq_reason_text(reason));
    if (peer->state != NQI_PEER_ENDED)
        nqi_peer_forget_session(peer, reason);
    if (tell)
        nqi_peer_tell(peer, &event);
}

void nqi_peer_run_todo(struct nqi_work *work)
{
    struct nqi_peer *peer = NQI_CONTAINER(work, struct nqi_peer, todo_work);
    uint32_t todo = atomic_exchange(&peer->todo, 0);

    if (peer->state != NQI_PEER_ENDED) {
        if (todo & TODO_DIAL)
            nqi_peer_on_dial_time(peer);
        if (todo & TODO_FLUSH)
            peer->force = true;
        if (todo & TODO_TAKEN)
            peer_return_credit(peer);
        if (todo & TODO_PURGE)
            nqi_peer_drop_cancelled(peer);
        if (todo & TODO_DISCONNECT && peer->dials)
            peer_start_over(peer, NQ_REASON_DISCONNECTED);
        else if (todo & TODO_DISCONNECT)
            peer_cut(peer, NQ_REASON_DISCONNECTED);
        if (todo & TODO_CLOSE && peer->state != NQI_PEER_ENDED)
            peer_begin_close(peer);
        if (todo & TODO_ABORT)
            peer_cut(peer, NQ_REASON_LOCAL_CLOSE);
    }
    nqi_peer_unref(peer); /* the work's */
}

static void peer_ask(struct nqi_peer *peer, uint32_t what)
{
    if (atomic_fetch_or(&peer->todo, what))
        return; /* on its way */
    nqi_peer_ref(peer);
    nqi_peer_ref(peer); /* the work's may end before the strand is left */
    nqi_strand_run(peer->serial.strand, &peer->todo_work);
    nqi_peer_unref(peer);
}

void nqi_peer_flush(struct nqi_peer *peer)
{
    peer_ask(peer, TODO_FLUSH);
}

void nqi_peer_taken(struct nqi_peer *peer)
{
    peer_ask(peer, TODO_TAKEN);
}

void nqi_peer_purge(struct nqi_peer *peer)
{
    peer_ask(peer, TODO_PURGE);
}

void nqi_peer_close(struct nqi_peer *peer)
{
    peer_ask(peer, TODO_CLOSE);
}

void nqi_peer_abort(struct nqi_peer *peer)
{
    peer_ask(peer, TODO_ABORT);
}

void nqi_peer_disconnect(struct nqi_peer *peer)
{
    peer_ask(peer, TODO_DISCONNECT);
}

static void peer_target_purge(void *target)
{
    nqi_peer_purge(target);
}

static void peer_target_unref(void *target)
{
    nqi_peer_unref(target);
}

const struct nqi_part_target nqi_peer_target = {.purge = peer_target_purge,
                                                .unref = peer_target_unref};

void nqi_peer_start(struct nqi_peer *peer)
{
    peer_ask(peer, TODO_DIAL);
}
