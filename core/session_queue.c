/* Messages that are still whole: they can be cancelled, dropped, and expire. */
#include "core/session_inside.h"

void nqi_session_put(struct nqi_session *session, struct nqi_tx *tx)
{
    tx->sent = 0;
    tx->end_seq = 0;
    tx->begun = tx->claimed = tx->again = false;
    if (tx->msg->deadline_ns)
        session->expire_at = NQI_MIN(session->expire_at, tx->msg->deadline_ns);
    nqi_fifo_push(&session->queue[tx->msg->control ? 0 : 1], &tx->node);
}

struct nqi_fifo *nqi_session_next_queue(struct nqi_session *session)
{
    if (!nqi_fifo_empty(&session->queue[0]))
        return &session->queue[0];
    return nqi_fifo_empty(&session->queue[1]) ? NULL : &session->queue[1];
}

static bool tx_expired(const struct nqi_tx *tx, int64_t now)
{
    return tx->msg->deadline_ns && tx->msg->deadline_ns <= now;
}

void nqi_session_expire(struct nqi_session *session, int64_t now)
{
    session->expire_at = NQI_NEVER;
    for (unsigned i = 0; i < 2; i++) {
        struct nqi_fifo old = session->queue[i];
        struct nqi_node *node;

        if (!old.head)
            continue;
        nqi_fifo_init(&session->queue[i]);
        while ((node = nqi_fifo_pop(&old))) {
            struct nqi_tx *tx = nqi_tx_of(node);

            if (tx_expired(tx, now)) {
                session->events->settle(session->arg, tx, nqi_tx_unsent(tx, NQ_EXPIRED),
                                        tx->again ? NQ_REASON_NO_SESSION : NQ_REASON_NONE);
                continue;
            }
            if (tx->msg->deadline_ns)
                session->expire_at = NQI_MIN(session->expire_at, tx->msg->deadline_ns);
            nqi_fifo_push(&session->queue[i], node);
        }
    }
}

struct nqi_tx *nqi_session_take_if(struct nqi_session *session,
                                   bool (*match)(const struct nqi_tx *tx))
{
    for (unsigned i = 0; i < 2; i++)
        for (struct nqi_node *node = session->queue[i].head; node; node = node->next)
            if (match(nqi_tx_of(node))) {
                nqi_fifo_remove(&session->queue[i], node);
                return nqi_tx_of(node);
            }
    return NULL;
}

struct nqi_tx *nqi_session_pop_oldest(struct nqi_session *session)
{
    for (unsigned i = 2; i--;)
        for (struct nqi_node *node = session->queue[i].head; node; node = node->next)
            if (!nqi_tx_of(node)->claimed) {
                nqi_fifo_remove(&session->queue[i], node);
                return nqi_tx_of(node);
            }
    return NULL;
}
