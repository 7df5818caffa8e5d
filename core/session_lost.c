/* What becomes of messages when a link is lost, when the session goes on over another one, and when
 * it cannot.
 *
 *     down      all is kept
 *     go_back   unacked -> ready, from the first record on that the peer does not have
 *     restart   what any link took ends as unknown, or goes back to the queue (conf->resend); the
 *               rest is numbered anew for the next session
 *     fini      everything ends */
#include "core/session_inside.h"

#include "core/err.h"

static uint64_t tx_drop_all(struct nqi_session *session, struct nqi_fifo *fifo)
{
    uint64_t untracked = 0;
    struct nqi_node *node;

    while ((node = nqi_fifo_pop(fifo))) {
        untracked += nqi_txbuf_of(node)->untracked;
        session->in_flight -= nqi_txbuf_of(node)->ends;
        nqi_txbuf_unref(nqi_txbuf_of(node));
    }
    return untracked;
}

/* ---- the link is lost ------------------------------------------------------------------- */

/* BYE is the last in `ready`; it is made anew on the next link, behind what was put meanwhile. */
static void tx_drop_bye(struct nqi_session *session)
{
    struct nqi_fifo old = session->ready;
    struct nqi_node *node;

    nqi_fifo_init(&session->ready);
    while ((node = nqi_fifo_pop(&old))) {
        struct nqi_txbuf *txbuf = nqi_txbuf_of(node);

        if (txbuf->last_seq) {
            nqi_fifo_push(&session->ready, node);
            continue;
        }
        session->ready_bytes -= txbuf->buf.len;
        nqi_txbuf_unref(txbuf);
    }
}

void nqi_session_tx_down(struct nqi_session *session)
{
    if (session->state == NQI_SESSION_CLOSING)
        tx_drop_bye(session);
    tx_drop_all(session, &session->control);
    session->any_due = 0;
    session->ack_due = false;
    session->bye_due = session->closing;
}

/* ---- the next link ---------------------------------------------------------------------- */

/* The number of the first record in a buffer, less one. */
static uint64_t tx_before(const struct nqi_txbuf *txbuf)
{
    return txbuf->last_seq - txbuf->records;
}

/* A buffer without the first `skip` of the records that were gathered in `txbuf`; NULL = no memory.
 * The lost link may still read the old one, so that one stays as it is. */
static struct nqi_txbuf *tx_trim(const struct nqi_txbuf *txbuf, uint64_t skip)
{
    const uint8_t *at = txbuf->seg[0].iov_base;
    struct nqi_txbuf *rest = nqi_txbuf_new(1, 0);

    if (!rest)
        return NULL;
    for (uint64_t i = 0; i < skip; i++)
        at += nqi_head_size(at[0], at[1]) + nqi_load_u32(at + 4);
    nqi_txbuf_add(rest, at,
                  txbuf->seg[0].iov_len - (size_t)(at - (const uint8_t *)txbuf->seg[0].iov_base));
    rest->records = txbuf->records - (uint32_t)skip;
    /* The acknowledgement of the last record settles all of them. */
    rest->begins = txbuf->begins;
    rest->ends = txbuf->ends;
    rest->payload = txbuf->payload;
    rest->untracked = txbuf->untracked;
    rest->last_seq = txbuf->last_seq;
    rest->block = txbuf->block;
    atomic_fetch_add_explicit(&rest->block->refs, 1, memory_order_relaxed);
    return rest;
}

/* The buffer that the peer has a part of, less that part.  @return NQ_OK, NQ_ERR_NOMEM */
static nq_err tx_trim_first(struct nqi_fifo *again, uint64_t received)
{
    struct nqi_txbuf *first = again->head ? nqi_txbuf_of(again->head) : NULL, *rest;

    if (!first || tx_before(first) >= received)
        return NQ_OK;
    rest = tx_trim(first, received - tx_before(first));
    if (!rest)
        return nqi_fail(NQ_ERR_NOMEM, "no memory to send records again");
    nqi_fifo_pop(again);
    nqi_txbuf_unref(first);
    nqi_fifo_push_front(again, &rest->node);
    return NQ_OK;
}

/* Put `more` behind `fifo`. */
static void tx_append(struct nqi_fifo *fifo, struct nqi_fifo *more)
{
    struct nqi_node *node;

    while ((node = nqi_fifo_pop(more)))
        nqi_fifo_push(fifo, node);
}

nq_err nqi_session_check_received(const struct nqi_session *session, uint64_t received)
{
    if (received < session->acked || received > session->handed)
        return nqi_fail(NQ_ERR_PROTO, "the peer has %llu records of %llu",
                        (unsigned long long)received, (unsigned long long)session->handed);
    return NQ_OK;
}

nq_err nqi_session_go_back(struct nqi_session *session, uint64_t received)
{
    struct nqi_fifo old = session->unacked, again;
    struct nqi_node *node;
    nq_err err = nqi_session_check_received(session, received);

    if (err)
        return err;
    nqi_fifo_init(&session->unacked);
    nqi_fifo_init(&again);
    while ((node = nqi_fifo_pop(&old)))
        nqi_fifo_push(nqi_txbuf_of(node)->last_seq <= received ? &session->unacked : &again, node);
    err = tx_trim_first(&again, received);
    if (err) {
        tx_append(&session->unacked, &again);
        return err;
    }
    for (node = again.head; node; node = node->next)
        session->ready_bytes += nqi_txbuf_of(node)->buf.len;
    tx_append(&again, &session->ready);
    session->ready = again;
    if (!session->ready.head)
        nqi_fifo_init(&session->ready);
    session->handed = received;
    return NQ_OK;
}

void nqi_session_on_credit(struct nqi_session *session, uint64_t messages, uint64_t bytes)
{
    session->credit_messages = messages;
    session->credit_bytes = bytes;
    if (session->sent_messages <= messages && session->sent_bytes <= bytes)
        return;
    nqi_schemas_clear(&session->told);
    /* Made for a peer that granted more: the new one would call it a breach. */
    nqi_session_settle_untracked(session, tx_drop_all(session, &session->ready), NQ_NOT_DELIVERED,
                                 NQ_REASON_LIMIT);
    nqi_session_settle_begun(session, NQ_REASON_LIMIT);
    session->ready_bytes = 0;
    session->sent_messages = session->sent_bytes = session->seq = 0;
}

/* ---- the session is over ---------------------------------------------------------------- */

/* A part of it was handed to a link, and its end was not. */
static bool tx_is_cut(const struct nqi_session *session, const struct nqi_tx *tx)
{
    return tx->begun && tx->begin_seq <= session->reached &&
           (!tx->end_seq || tx->end_seq > session->reached);
}

/* Drop the records of the message that is cut in two from `ready`, and what any link took; number
 * the rest anew from 1.  @return messages without a tx that a link took */
static uint64_t tx_renumber(struct nqi_session *session, const struct nqi_tx *cut)
{
    struct nqi_fifo old = session->ready;
    uint64_t reached = session->reached, untracked = 0;
    struct nqi_node *node;

    nqi_fifo_init(&session->ready);
    session->ready_bytes = 0;
    session->seq = session->reached = session->handed = session->acked = 0;
    session->sent_messages = session->sent_bytes = 0;
    while ((node = nqi_fifo_pop(&old))) {
        struct nqi_txbuf *txbuf = nqi_txbuf_of(node);

        if (txbuf->last_seq <= reached || (cut && txbuf->tx == cut)) {
            untracked += txbuf->untracked;
            session->in_flight -= txbuf->ends;
            nqi_txbuf_unref(txbuf);
            continue;
        }
        session->seq += txbuf->records;
        session->sent_messages += txbuf->begins;
        session->sent_bytes += txbuf->payload;
        txbuf->last_seq = session->seq;
        nqi_session_push_ready(session, txbuf);
    }
    return untracked;
}

/* Messages whose records are dropped. */
void nqi_session_settle_begun(struct nqi_session *session, nq_reason reason)
{
    struct nqi_tx *current = session->current;
    struct nqi_node *node;

    while ((node = nqi_fifo_pop(&session->await)))
        session->events->settle(session->arg, nqi_tx_of(node), NQ_NOT_DELIVERED, reason);
    if (!current || !current->begun)
        return;
    session->current = NULL;
    session->events->settle(session->arg, current, NQ_NOT_DELIVERED, reason);
}

/* Settle what a link took whole: it may have arrived.  @return the message that is cut */
static struct nqi_tx *tx_settle_reached(struct nqi_session *session, nq_reason reason)
{
    struct nqi_fifo *await = &session->await;

    while (await->head && nqi_tx_of(await->head)->end_seq <= session->reached) {
        struct nqi_tx *tx = nqi_tx_of(nqi_fifo_pop(await));

        session->events->settle(session->arg, tx, NQ_UNKNOWN, reason);
    }
    if (await->head && tx_is_cut(session, nqi_tx_of(await->head)))
        return nqi_tx_of(nqi_fifo_pop(await));
    return session->current && tx_is_cut(session, session->current) ? NQI_STEAL(session->current)
                                                                    : NULL;
}

/* Put `tx` behind what is in `queues`, as if it was never begun. */
static void tx_requeue(struct nqi_session *session, struct nqi_fifo queues[2], struct nqi_tx *tx)
{
    tx->again |= tx->end_seq && tx->end_seq <= session->reached;
    tx->begun = false;
    tx->sent = tx->end_seq = 0;
    nqi_fifo_push(&queues[tx->msg->control ? 0 : 1], &tx->node);
    if (tx->msg->deadline_ns)
        session->expire_at = NQI_MIN(session->expire_at, tx->msg->deadline_ns);
}

/* conf->resend: all that is not acknowledged goes back to the front of the queue, in order. */
static void tx_restart_again(struct nqi_session *session)
{
    struct nqi_fifo queues[2];
    struct nqi_node *node;

    assert(!session->untracked);
    nqi_fifo_init(&queues[0]);
    nqi_fifo_init(&queues[1]);
    while ((node = nqi_fifo_pop(&session->await)))
        tx_requeue(session, queues, nqi_tx_of(node));
    if (session->current)
        tx_requeue(session, queues, NQI_STEAL(session->current));
    tx_drop_all(session, &session->unacked);
    tx_drop_all(session, &session->ready);
    session->ready_bytes = 0;
    for (unsigned i = 0; i < 2; i++) {
        tx_append(&queues[i], &session->queue[i]);
        nqi_fifo_init(&session->queue[i]);
        tx_append(&session->queue[i], &queues[i]);
    }
    session->seq = session->reached = session->handed = session->acked = 0;
    session->sent_messages = session->sent_bytes = 0;
}

void nqi_session_tx_restart(struct nqi_session *session, nq_reason reason)
{
    uint64_t before, gone;
    struct nqi_tx *cut;

    nqi_session_seal(session);
    nqi_schemas_clear(&session->told);
    if (session->conf->resend) {
        tx_restart_again(session);
        return;
    }
    before = session->seq;
    cut = tx_settle_reached(session, reason);
    gone = tx_drop_all(session, &session->unacked);
    gone += tx_renumber(session, cut);
    nqi_session_tell_again(session);
    nqi_session_settle_untracked(session, gone, NQ_UNKNOWN, reason);
    for (struct nqi_node *node = session->await.head; node; node = node->next) {
        nqi_tx_of(node)->begin_seq += session->seq - before;
        nqi_tx_of(node)->end_seq += session->seq - before;
    }
    if (session->current)
        session->current->begin_seq += session->seq - before;
    if (cut)
        session->events->settle(session->arg, cut, NQ_NOT_DELIVERED, reason);
}

void nqi_session_tx_fini(struct nqi_session *session, nq_reason reason)
{
    struct nqi_node *node;

    nqi_session_settle_untracked(session, tx_drop_all(session, &session->ready), NQ_NOT_DELIVERED,
                                 reason);
    session->ready_bytes = 0;
    nqi_session_settle_begun(session, reason);
    if (session->current)
        session->events->settle(session->arg, NQI_STEAL(session->current), NQ_NOT_DELIVERED,
                                reason);
    for (unsigned i = 0; i < 2; i++)
        while ((node = nqi_fifo_pop(&session->queue[i])))
            session->events->settle(session->arg, nqi_tx_of(node),
                                    nqi_tx_unsent(nqi_tx_of(node), NQ_NOT_DELIVERED), reason);
    nqi_session_drop_block(session);
    nqi_schemas_clear(&session->told);
    session->seq = session->reached = session->handed = session->acked = 0;
    session->sent_messages = session->sent_bytes = 0;
}
