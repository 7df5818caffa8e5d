/* Life of a peer and its links; putting and sending are in peer_put.c and peer_send.c. */
#include "core/peer_inside.h"

#include "core/err.h"
#include "core/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    TODO_FLUSH = 1u << 0,
    TODO_TAKEN = 1u << 1,
    TODO_PURGE = 1u << 2,
    TODO_CLOSE = 1u << 3,
    TODO_ABORT = 1u << 4,
    TODO_DISCONNECT = 1u << 5,
    TODO_DIAL = 1u << 6,
};

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

/* ---- states ----------------------------------------------------------------------------- */

/* The only writer of peer->state. */
static void peer_enter(struct nqi_peer *peer, enum nqi_peer_state next)
{
    assert(peer->state != NQI_PEER_ENDED);
    peer->state = next;
}

/* Without a link the table's reference may be the last: whoever calls this without one of his own
 * does nothing more with the peer. */
static void peer_end(struct nqi_peer *peer, nq_reason reason)
{
    const struct nqi_peer_conf *conf = peer->conf;

    if (peer->state == NQI_PEER_ENDED)
        return;
    peer_enter(peer, NQI_PEER_ENDED);
    /* The last reference may go before the strand is left. */
    nqi_strand_on_settle(peer->serial.strand, NULL, NULL);
    nqi_peer_hand_over(peer);
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
static void peer_set_base(struct nqi_peer *peer)
{
    peer->base_messages = peer->delivered_messages;
    peer->base_bytes = peer->delivered_bytes;
    peer->expires_at = NQI_NEVER;
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

    peer->up = peer->blocked = false;
    nqi_peer_show_link(peer);
    peer_enter(peer, NQI_PEER_IDLE);
    nqi_session_down(&peer->session);
    if (reason == NQ_REASON_PEER_CLOSED || reason == NQ_REASON_DISCONNECTED) /* our last words */
        nqi_link_drain(link);
    else
        nqi_link_close(link);
    if (over && peer->dials) {
        nqi_session_restart(&peer->session, reason);
        peer_set_base(peer);
    } else if (!over && was_up) {
        peer->expires_at = nqi_now() + peer->session.name.expiry_ns;
    }
}

/* Grows with what is final on either side. */
static uint64_t peer_progress(const struct nqi_peer *peer)
{
    return peer->session.received + peer->session.acked;
}

/* @param worked  the link was up  @param useful  and something passed over it */
static void peer_redial(struct nqi_peer *peer, bool worked, bool useful)
{
    if (worked)
        nqi_dialer_worked(&peer->dialer, useful);
    nqi_dialer_failed(&peer->dialer);
}

/* The link is of no more use. */
static void peer_lost(struct nqi_peer *peer, nq_reason reason, const char *text)
{
    bool was_up = peer->up, useful = peer_progress(peer) != peer->came_up, over;

    if (peer->state != NQI_PEER_LINKED)
        return;
    nqi_peer_hand_over(peer);
    over = peer_is_over(peer, reason);
    nqi_peer_event(peer, peer_lost_kind(peer, over), reason, 0, text);
    peer_unlink(peer, over, reason);
    if (over && !peer->dials)
        peer_end(peer, reason);
    else if (peer->closing && nqi_session_flushed(&peer->session))
        peer_end(peer, NQ_REASON_LOCAL_CLOSE);
    else if (peer->dials)
        peer_redial(peer, was_up || reason == NQ_REASON_NO_SESSION, was_up && useful);
}

static nq_reason peer_reason(const struct nqi_peer *peer, nq_err err)
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
static void peer_finish(struct nqi_peer *peer)
{
    nq_reason reason = peer->session.bye_reason;

    if (peer->state == NQI_PEER_LINKED && nqi_session_is_over(&peer->session))
        peer_lost(peer, reason, nq_reason_text(reason));
}

/* What the session's new state means for the peer. */
static void peer_follow_session(struct nqi_peer *peer)
{
    if (peer->state != NQI_PEER_LINKED)
        return;
    if (!peer->up && peer->session.state == NQI_SESSION_UP) {
        bool again = peer->expires_at != NQI_NEVER;

        peer->up = true;
        peer->came_up = peer_progress(peer);
        peer->expires_at = NQI_NEVER;
        nqi_link_settled(peer->link);
        nqi_peer_show_link(peer);
        nqi_peer_event(peer, again ? NQ_EVENT_PEER_RESUMED : NQ_EVENT_PEER_UP, NQ_REASON_NONE, 0,
                       nqi_link_address(peer->link));
    }
    if (peer->session.state == NQI_SESSION_CLOSED) {
        nqi_peer_hand_over(peer);
        nqi_peer_show_counts(peer); /* before they are acknowledged */
        nqi_peer_pump(peer);        /* the last acknowledgement and BYE_ACK */
        peer_finish(peer);
    }
}

/* ---- the link's events ------------------------------------------------------------------ */

static void peer_on_up(void *arg, struct nqi_link *link)
{
    struct nqi_peer *peer = arg;

    uint8_t nonce[NQI_NONCE];

    if (getrandom(nonce, sizeof(nonce), 0) != sizeof(nonce)) {
        peer_lost(peer, NQ_REASON_NO_MEMORY, "no random numbers");
        return;
    }
    (void)link;
    nqi_session_connect(&peer->session, nonce, nqi_now());
}

static nq_err peer_received(struct nqi_peer *peer, nq_err err)
{
    peer->flow.heard = true;
    if (err < 0)
        peer_lost(peer, peer_reason(peer, err), nq_error());
    else
        peer_follow_session(peer);
    return peer->link ? NQ_OK : NQ_ERR_CLOSED;
}

static nq_err peer_on_receive(void *arg, const uint8_t *data, size_t len)
{
    struct nqi_peer *peer = arg;

    if (!peer->link)
        return NQ_ERR_CLOSED;
    return peer_received(peer, nqi_session_receive(&peer->session, data, len, nqi_now()));
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
    return peer_received(peer, nqi_session_commit(&peer->session, len, nqi_now()));
}

static void peer_on_writable(void *arg)
{
    struct nqi_peer *peer = arg;

    peer->blocked = false; /* settling sends */
}

static void peer_on_down(void *arg, struct nqi_link *link, nq_reason reason, const char *text)
{
    struct nqi_peer *peer = arg;

    if (peer->link == link)
        peer_lost(peer, reason, text);
}

static void peer_on_closed(void *arg)
{
    struct nqi_peer *peer = arg;

    peer->conf->events->links(peer->conf->arg, -1);
    nqi_peer_unref(peer); /* the link's reference */
}

static const struct nqi_link_events peer_link_events = {
    .up = peer_on_up,
    .receive = peer_on_receive,
    .space = peer_on_space,
    .commit = peer_on_commit,
    .writable = peer_on_writable,
    .down = peer_on_down,
    .closed = peer_on_closed,
};

/* ---- time ------------------------------------------------------------------------------- */

/* Nobody came back for the session. */
static void peer_expire(struct nqi_peer *peer)
{
    nqi_peer_event(peer, NQ_EVENT_PEER_GONE, NQ_REASON_EXPIRED, 0,
                   nq_reason_text(NQ_REASON_EXPIRED));
    if (!peer->dials || peer->closing) {
        peer_end(peer, NQ_REASON_EXPIRED);
        return;
    }
    if (peer->state == NQI_PEER_LINKED) /* in the midst of an attempt */
        peer_unlink(peer, true, NQ_REASON_EXPIRED);
    nqi_session_fini(&peer->session, NQ_REASON_EXPIRED);
    peer_set_base(peer);
    peer_redial(peer, false, false);
}

static void peer_on_clock(void *arg)
{
    struct nqi_peer *peer = arg;
    int64_t now = nqi_now();
    nq_err err = nqi_session_tick(&peer->session, now);

    peer->clock_at = NQI_NEVER;
    if (err)
        peer_lost(peer, peer_reason(peer, err), nq_error());
    if (now >= peer->expires_at && peer->state != NQI_PEER_ENDED)
        peer_expire(peer);
}

static void peer_set_clock(struct nqi_peer *peer)
{
    int64_t due = NQI_MIN(nqi_session_deadline(&peer->session), peer->expires_at);

    /* It only moves forward when it fires: one system call for many messages. */
    if (due >= peer->clock_at || !peer->clock)
        return;
    nqi_timer_set(peer->clock, due);
    peer->clock_at = due;
}

/* Before the strand is left: hand over, send, and set the clock, once for all that happened. */
static void peer_settle(void *arg)
{
    struct nqi_peer *peer = arg;

    if (peer->state == NQI_PEER_ENDED)
        return;
    nqi_peer_hand_over(peer);
    nqi_peer_report_queue(peer);
    nqi_peer_show_counts(peer); /* before the acknowledgement: who has it may ask at once */
    if (peer->link)
        nqi_peer_pump(peer);
    peer_finish(peer);
    if (peer->state == NQI_PEER_ENDED)
        return;
    peer_set_clock(peer);
    nqi_peer_show_counts(peer);
}

/* ---- dialing ---------------------------------------------------------------------------- */

static void peer_dial(void *arg)
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
    peer_enter(peer, NQI_PEER_LINKED);
}

/* ---- what others ask for ---------------------------------------------------------------- */

static void peer_return_credit(struct nqi_peer *peer)
{
    uint64_t messages = atomic_load(&peer->taken_messages);
    uint64_t bytes = atomic_load(&peer->taken_bytes);

    /* Messages are taken in order: the first ones are of earlier attachments. */
    if (messages <= peer->base_messages)
        return;
    nqi_session_taken_by_user(&peer->session, messages - peer->base_messages,
                              bytes - peer->base_bytes, atomic_load(&peer->taken_seq));
}

static void peer_begin_close(struct nqi_peer *peer)
{
    peer->closing = true;
    peer->force = true;
    nqi_session_close(&peer->session);
    if (peer->state == NQI_PEER_IDLE && nqi_session_flushed(&peer->session))
        peer_end(peer, NQ_REASON_LOCAL_CLOSE);
}

/* The session ends now, and the other side is told when the link takes it at once. */
static void peer_reset_link(struct nqi_peer *peer, nq_reason told)
{
    struct nqi_link *link = NQI_STEAL(peer->link);

    if (!link)
        return;
    if (peer->up && !peer->blocked)
        nqi_link_reject(link, told);
    else
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
    peer_end(peer, reason);
}

void nqi_peer_supersede(struct nqi_peer *peer)
{
    peer_cut(peer, NQ_REASON_NO_SESSION);
}

/* A client's session ends, and another begins with the next link; nothing is kept for it. */
static void peer_start_over(struct nqi_peer *peer, nq_reason reason)
{
    struct nqi_link *link = peer->link;

    if (peer->up && !peer->blocked) /* so that the server need not wait for us to come back */
        nqi_link_reject(link, reason);
    peer_lost(peer, reason, nq_reason_text(reason));
    if (peer->state == NQI_PEER_ENDED)
        return;
    nqi_session_fini(&peer->session, reason);
    peer_set_base(peer);
}

static void peer_run_todo(struct nqi_work *work)
{
    struct nqi_peer *peer = NQI_CONTAINER(work, struct nqi_peer, todo_work);
    uint32_t todo = atomic_exchange(&peer->todo, 0);

    if (peer->state != NQI_PEER_ENDED) {
        if (todo & TODO_DIAL)
            peer_dial(peer);
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
    peer->todo_work.run = peer_run_todo;
    peer->clock_at = peer->expires_at = NQI_NEVER;
    pthread_mutex_init(&peer->shown.lock, NULL);
    nqi_fifo_init(&peer->in);
    nqi_fifo_init(&peer->inbox.messages);
    nqi_list_init(&peer->inbox.ready);
    nqi_list_init(&peer->inbox.all);
    nqi_session_init(&peer->session, &conf->session, &peer_session_events, peer);
    err = nqi_timer_add(&peer->serial, peer_on_clock, peer, &peer->clock);
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

nq_err nqi_peer_accept(const struct nqi_peer_conf *conf, struct nqi_link *link,
                       const struct nqi_attach *attach, struct nqi_peer **ret)
{
    struct nqi_strand *strand = nqi_strand_now(nqi_link_strand(link));
    struct nqi_session_name name = {0};
    struct nqi_peer *peer;
    nq_err err = nq_uuid_random(&name.id);

    if (err || getrandom(name.key, NQI_KEY, 0) != NQI_KEY)
        return nqi_fail(NQ_ERR_SYS, "no random numbers");
    peer = peer_new(conf, strand, nqi_link_loop(link));
    if (!peer)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a peer");
    peer->name = name;
    peer->opening = attach->auth.opening;
    peer->link = link;
    nqi_link_bind(link, &peer_link_events, nqi_peer_ref(peer));
    nqi_strand_on_settle(strand, peer_settle, peer);
    peer_enter(peer, NQI_PEER_LINKED);
    nqi_session_begin(&peer->session, attach, &name.id, name.key, nqi_now());
    *ret = peer;
    return NQ_OK;
}

void nqi_peer_attach(struct nqi_peer *peer, struct nqi_link *link, const struct nqi_attach *attach)
{
    nq_err err = NQ_ERR_CLOSED;

    if (peer->state != NQI_PEER_ENDED && (attach->auth.method == NQI_AUTH_OPEN ||
                                          attach->auth.counter > peer->session.name.counter)) {
        peer_lost(peer, NQ_REASON_LINK_LOST, "another link took its place");
        if (peer->state == NQI_PEER_IDLE)
            err = nqi_session_resume(&peer->session, attach, nqi_now());
    }
    if (err) {
        nqi_link_reject(link, err == NQ_ERR_NOMEM ? NQ_REASON_NO_MEMORY : NQ_REASON_NO_SESSION);
        return;
    }
    peer->link = link;
    nqi_link_bind(link, &peer_link_events, nqi_peer_ref(peer));
    peer_enter(peer, NQI_PEER_LINKED);
    peer_follow_session(peer);
}

void nqi_peer_skip(struct nqi_peer *peer, uint64_t messages, uint64_t bytes)
{
    peer->delivered_messages += messages;
    peer->delivered_bytes += bytes;
    peer_set_base(peer);
}

void nqi_peer_announce(struct nqi_peer *peer)
{
    peer_follow_session(peer);
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
    nqi_dialer_init(&peer->dialer, eps, count, &peer->serial, &peer_link_events, peer);
    nqi_dialer_on_time(&peer->dialer, peer_dial, peer);
    peer->dials = true;
    *ret = peer;
    return NQ_OK;
}

void nqi_peer_start(struct nqi_peer *peer)
{
    peer_ask(peer, TODO_DIAL);
}
