/* What becomes of the messages when the link is lost, or the session ends. */
#include "core/session_inside.h"

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

/* A part of it was handed to the lost link, and its end was not. */
static bool tx_is_cut(const struct nqi_session *session, const struct nqi_tx *tx)
{
    return tx->begun && tx->begin_seq <= session->handed &&
           (!tx->end_seq || tx->end_seq > session->handed);
}

/* Drop BYE and the records of the message that is cut in two from `ready`; number the rest anew
 * from 1. */
static void tx_renumber(struct nqi_session *session, const struct nqi_tx *cut)
{
    struct nqi_fifo old = session->ready;
    struct nqi_node *node;

    nqi_fifo_init(&session->ready);
    session->ready_bytes = 0;
    session->seq = session->handed = session->acked = 0;
    session->sent_messages = session->sent_bytes = 0;
    while ((node = nqi_fifo_pop(&old))) {
        struct nqi_txbuf *txbuf = nqi_txbuf_of(node);

        if (!txbuf->last_seq || (cut && txbuf->tx == cut)) {
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
}

/* Messages whose records are dropped. */
static void tx_settle_begun(struct nqi_session *session, nq_reason reason)
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

void nqi_session_on_credit(struct nqi_session *session, uint64_t messages, uint64_t bytes)
{
    session->credit_messages = messages;
    session->credit_bytes = bytes;
    if (session->sent_messages <= messages && session->sent_bytes <= bytes)
        return;
    /* Made for a peer that granted more: the new one would call it a breach. */
    nqi_session_settle_untracked(session, tx_drop_all(session, &session->ready), NQ_NOT_DELIVERED,
                                 NQ_REASON_LIMIT);
    tx_settle_begun(session, NQ_REASON_LIMIT);
    session->ready_bytes = 0;
    session->sent_messages = session->sent_bytes = session->seq = 0;
}

/* Settle what was wholly handed over: it may have arrived.  @return the message that is cut */
static struct nqi_tx *tx_settle_handed(struct nqi_session *session, nq_reason reason)
{
    struct nqi_fifo *await = &session->await;

    while (await->head && nqi_tx_of(await->head)->end_seq <= session->handed) {
        struct nqi_tx *tx = nqi_tx_of(nqi_fifo_pop(await));

        session->events->settle(session->arg, tx, NQ_UNKNOWN, reason);
    }
    if (await->head && tx_is_cut(session, nqi_tx_of(await->head)))
        return nqi_tx_of(nqi_fifo_pop(await));
    return session->current && tx_is_cut(session, session->current) ? NQI_STEAL(session->current)
                                                                    : NULL;
}

void nqi_session_tx_down(struct nqi_session *session, nq_reason reason)
{
    uint64_t before = session->seq, dropped;
    struct nqi_tx *cut;

    nqi_session_seal(session);
    cut = tx_settle_handed(session, reason);
    dropped = tx_drop_all(session, &session->unacked);
    nqi_session_settle_untracked(session, dropped, NQ_UNKNOWN, reason);
    tx_renumber(session, cut);
    for (struct nqi_node *node = session->await.head; node; node = node->next) {
        nqi_tx_of(node)->begin_seq += session->seq - before;
        nqi_tx_of(node)->end_seq += session->seq - before;
    }
    if (session->current)
        session->current->begin_seq += session->seq - before;
    if (cut)
        session->events->settle(session->arg, cut, NQ_NOT_DELIVERED, reason);
    tx_drop_all(session, &session->control);
    session->hello_due = session->ack_due = session->pong_due = session->ping_due =
        session->bye_ack_due = false;
    session->bye_due = session->closing;
}

void nqi_session_tx_fini(struct nqi_session *session, nq_reason reason)
{
    struct nqi_node *node;

    nqi_session_seal(session);
    nqi_session_settle_untracked(session, tx_drop_all(session, &session->ready), NQ_NOT_DELIVERED,
                                 reason);
    session->ready_bytes = 0;
    nqi_session_settle_untracked(session, tx_drop_all(session, &session->unacked), NQ_UNKNOWN,
                                 reason);
    tx_settle_begun(session, reason);
    if (session->current)
        session->events->settle(session->arg, NQI_STEAL(session->current), NQ_NOT_DELIVERED,
                                reason);
    for (unsigned i = 0; i < 2; i++)
        while ((node = nqi_fifo_pop(&session->queue[i])))
            session->events->settle(session->arg, nqi_tx_of(node), NQ_NOT_DELIVERED, reason);
    nqi_session_drop_block(session);
}
