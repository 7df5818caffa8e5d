/* From the session to the link, and when: at once while that is cheap, together when it is not.
 *
 * A send of one message costs some microseconds.  `credit` is the time that such sends may take: it
 * grows by half of the time that passes, up to FLOW_CREDIT.  While there is some, a put leaves at
 * once; so does the first after something came from the peer, which may be an answer.  When puts
 * come faster than that, they gather in the session's stage for FLOW_FLUSH_NS or FLOW_FLUSH_BYTES;
 * a put that follows such a batch within FLOW_GAP begins the next, because whoever filled one fills
 * another.
 *
 * A transport that copies a few bytes as quickly as the stage does (send_bytes) needs none of this:
 * there each small message leaves at once, until the link is full (nqi_peer_sent_at_once()).
 *
 * Most puts into a batch change nothing else, and are done with (nqi_peer_only_gathers()); one of
 * FLOW_LOOKS asks the clock, which costs as much as a small message. */
#include "core/peer_inside.h"

#define FLOW_CREDIT (25 * NQI_NS_PER_US)
#define FLOW_FLUSH_NS (100 * NQI_NS_PER_US)
#define FLOW_FLUSH_BYTES (48u << 10)
#define FLOW_GAP (5 * NQI_NS_PER_US) /* puts sooner than this after a batch begin the next */
#define FLOW_LOOKS 16
#define FLOW_TIMER_MIN (200 * NQI_NS_PER_US)
#define FLOW_TIMER_MAX (5 * NQI_NS_PER_MS)
/* Sent in one stay, in about a millisecond; what came in wants its turn.  The rest may wake another
 * thread: with 2 MiB a large message takes a tenth longer. */
#define FLOW_TURN_BYTES (8u << 20)
#define FLOW_STARVED_NS (10 * NQI_NS_PER_MS) /* without memory, until the next attempt */
#define SEND_BUFS 64

static void flow_reckon(struct nqi_flow *flow, int64_t now)
{
    flow->credit = NQI_MIN(flow->credit + (now - flow->at) / 2, FLOW_CREDIT);
    flow->at = now;
}

/* A send ended that began at `start`; 0 = when is not known. */
static void flow_charge(struct nqi_flow *flow, int64_t start)
{
    int64_t now = nqi_now();

    if (start)
        flow->credit = NQI_MAX(flow->credit - (now - start), -FLOW_CREDIT);
    flow->at = now;
}

static void flow_set_timer(struct nqi_flow *flow, int64_t now)
{
    if (flow->timer_set || !flow->timer)
        return;
    flow->interval = NQI_MAX(flow->interval, FLOW_TIMER_MIN);
    flow->timer_set = true;
    nqi_timer_set(flow->timer, now + flow->interval);
}

/* The timer is the net under a batch that nobody flushed.  While flushes by size or by age outrun
 * it, it comes less and less often. */
void nqi_peer_on_flush_timer(void *arg)
{
    struct nqi_peer *peer = arg;
    struct nqi_flow *flow = &peer->flow;
    int64_t now = nqi_now();

    flow->timer_set = false;
    if (peer->session.starved || flow->has_rest) {
        peer->session.starved = flow->has_rest = false;
        peer->force = true;
        return;
    }
    if (!nqi_session_staged(&peer->session) || now - flow->batch_at < FLOW_FLUSH_NS) {
        flow->interval = NQI_MIN(flow->interval * 2, FLOW_TIMER_MAX);
        if (nqi_session_staged(&peer->session))
            flow_set_timer(flow, now);
        return;
    }
    flow->interval = FLOW_TIMER_MIN;
    peer->force = true;
}

static void flow_begin_batch(struct nqi_peer *peer, int64_t now)
{
    struct nqi_flow *flow = &peer->flow;

    flow->batching = true;
    flow->batch_at = now;
    flow->looks = 0;
    flow_set_timer(flow, now);
    peer->conf->events->dirty(peer->conf->arg, peer);
}

static bool flow_gathers(const struct nqi_peer *peer)
{
    return peer->flow.batching && !peer->force && !peer->high && !peer->in.head &&
           peer->session.state == NQI_SESSION_UP &&
           nqi_session_staged(&peer->session) < FLOW_FLUSH_BYTES &&
           !nqi_session_has_more(&peer->session);
}

bool nqi_peer_only_gathers(struct nqi_peer *peer)
{
    return flow_gathers(peer) && ++peer->flow.looks % FLOW_LOOKS;
}

/* It counts as a look when it is one: else the settling that follows would find the one that asks
 * the clock already taken. */
bool nqi_peer_put_gathers(struct nqi_peer *peer, const nq_msg *msg)
{
    struct nqi_flow *flow = &peer->flow;

    if (!flow_gathers(peer) || (flow->looks + 1) % FLOW_LOOKS == 0 || peer->session.older ||
        msg->stream.nbytes > peer->session.peer_max_message ||
        !nqi_session_put_now(&peer->session, msg, NULL))
        return false;
    flow->looks++;
    nqi_peer_show_out(peer);
    return true;
}

/* Settling would look at more than what a put can change. */
static bool peer_is_busy(const struct nqi_peer *peer)
{
    return !peer->up || peer->blocked || peer->force || peer->high || peer->in.head ||
           atomic_load_explicit(&peer->dropped, memory_order_relaxed);
}

/* Once for many messages.  False: the link has no room. */
static NQI_APART bool peer_send_ack(struct nqi_peer *peer)
{
    uint8_t ack[NQI_ACK_RECORD];
    size_t len = nqi_session_write_ack(&peer->session, ack);

    if (nqi_link_send_bytes(peer->link, ack, len))
        return true;
    nqi_session_ack_refused(&peer->session);
    return false;
}

/* What is small leaves one by one. */
static bool peer_sends_singly(const struct nqi_peer *peer)
{
    return peer->copies && !peer_is_busy(peer) && !peer->flow.batching;
}

static void peer_has_sent(struct nqi_peer *peer)
{
    peer->flow.heard = false;
    nqi_peer_show_out(peer);
}

bool nqi_peer_put_straight(struct nqi_peer *peer, const nq_msg *msg)
{
    struct nqi_session *session = &peer->session;
    const void *data;
    size_t len;

    if (peer->state != NQI_PEER_LINKED || !peer_sends_singly(peer) || session->ack_due ||
        nqi_session_ack_rides(session) || msg->stream.nbytes > session->peer_max_message)
        return false;
    data = nqi_session_write_straight(session, msg, &len);
    if (!data || !nqi_link_send_bytes(peer->link, data, len))
        return false;
    nqi_session_straight_taken(session, msg, len);
    peer_has_sent(peer);
    return true;
}

bool nqi_peer_sent_at_once(struct nqi_peer *peer)
{
    struct nqi_session *session = &peer->session;
    const void *data;
    size_t len;

    if (!peer_sends_singly(peer))
        return false;
    data = nqi_session_stage_bytes(session, &len);
    if (!data || !nqi_session_is_plain(session))
        return false;
    if (NQI_UNLIKELY(session->ack_due || nqi_session_ack_rides(session)) && !peer_send_ack(peer))
        return false;
    if (!nqi_link_send_bytes(peer->link, data, len))
        return false;
    nqi_session_stage_taken(session);
    peer_has_sent(peer);
    return true;
}

/* An acknowledgement is all that there is to send, and the link has copied it. */
static bool peer_acked_at_once(struct nqi_peer *peer)
{
    const struct nqi_session *session = &peer->session;

    return session->ack_due && !session->stage && nqi_session_is_plain(session) &&
           nqi_link_copies(peer->link) && peer_send_ack(peer);
}

enum flow_answer { FLOW_HOLD, FLOW_SEND, FLOW_SEND_TIMED };

/* May the stage leave now?  `now` is set with FLOW_SEND_TIMED only. */
static enum flow_answer flow_ask(struct nqi_peer *peer, int64_t *now)
{
    struct nqi_flow *flow = &peer->flow;
    uint64_t staged = nqi_session_staged(&peer->session);
    int64_t gap;

    if (!staged || peer->force || staged >= FLOW_FLUSH_BYTES || peer->session.ready.head ||
        peer->session.state != NQI_SESSION_UP)
        return FLOW_SEND;
    if (flow->heard && !flow->batching && !flow->busy)
        return FLOW_SEND; /* an answer, perhaps: not worth the time to ask what time it is */
    *now = nqi_now();
    gap = *now - flow->at;
    flow_reckon(flow, *now);
    if (flow->batching)
        return *now - flow->batch_at >= FLOW_FLUSH_NS ? FLOW_SEND_TIMED : FLOW_HOLD;
    if ((flow->credit > 0 || flow->heard) && !(flow->busy && gap < FLOW_GAP))
        return FLOW_SEND_TIMED;
    flow_begin_batch(peer, *now);
    return FLOW_HOLD;
}

/* Adds the bytes to `*sent`.  False: there is nothing, or the link takes nothing more now. */
static bool peer_send(struct nqi_peer *peer, bool seal, uint64_t *sent)
{
    struct nqt_buf *bufs[SEND_BUFS];
    uint32_t n = nqi_session_pull(&peer->session, seal, bufs, SEND_BUFS), taken;
    nq_err err;

    if (!n)
        return false;
    for (uint32_t i = 0; i < n; i++)
        *sent += bufs[i]->len;
    err = nqi_link_send(peer->link, bufs, n, &taken);
    nqi_session_taken(&peer->session, taken);
    /* After a failure the link reports itself down; until then it is as good as full. */
    peer->blocked = err || taken < n;
    return !peer->blocked;
}

/* A link that takes whatever there is would keep the thread for as long as there is something: the
 * rest leaves in the next turn, after what came in meanwhile. */
static NQI_APART void peer_leave_rest(struct nqi_peer *peer)
{
    peer->flow.has_rest = peer->flow.timer_set = true;
    nqi_timer_set(peer->flow.timer, nqi_now());
}

void nqi_peer_pump(struct nqi_peer *peer)
{
    enum flow_answer answer;
    int64_t start = 0;
    uint64_t sent = 0;

    if (peer->blocked || !peer->link || !nqi_session_has_output(&peer->session))
        return;
    if (peer_acked_at_once(peer)) {
        peer->force = false;
        return;
    }
    answer = flow_ask(peer, &start);
    if (answer == FLOW_HOLD && !nqi_session_has_more(&peer->session))
        return;
    while (peer_send(peer, answer != FLOW_HOLD, &sent) && nqi_session_has_output(&peer->session))
        if (sent >= FLOW_TURN_BYTES) {
            peer_leave_rest(peer);
            break;
        }
    if (peer->session.starved && peer->flow.timer)
        nqi_timer_set(peer->flow.timer, nqi_now() + FLOW_STARVED_NS);
    if (answer == FLOW_HOLD)
        return;
    peer->flow.busy = peer->flow.batching && !peer->force;
    peer->force = peer->flow.heard = false;
    if (peer->flow.busy || (answer == FLOW_SEND_TIMED && sent))
        flow_charge(&peer->flow, answer == FLOW_SEND_TIMED ? start : 0);
    peer->flow.batching = false;
}
