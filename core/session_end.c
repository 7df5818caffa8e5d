/* How a session ends when one side wants it to.
 *
 *     server   close                            -> GOAWAY
 *     client   GOAWAY came                      begins nothing more
 *              all it began is acknowledged     -> GOAWAY
 *     server   that came, or a second is over   -> BYE, CLOSING
 *     client   close                            -> BYE, CLOSING
 *     either   BYE, and all before it is final  -> BYE_ACK, CLOSED
 *              BYE_ACK                          CLOSED
 *
 * BYE ends both directions; GOAWAY gives the client the time to end what it has begun, which would
 * be cut in two.  Only that: what it has not begun goes to the next server. */
#include "core/session_inside.h"

#include "core/err.h"

#define END_GOAWAY_NS NQI_NS_PER_S /* for a client to finish what it has begun */

void nqi_session_ask_to_go(struct nqi_session *session, int64_t now)
{
    if (!session->serves || session->going || session->state != NQI_SESSION_UP)
        return;
    session->bye_at = now + END_GOAWAY_NS;
    session->goaway_due = true;
    session->ack_due |= session->ack_at != NQI_NEVER; /* the client waits for it */
}

void nqi_session_close(struct nqi_session *session, int64_t now)
{
    if (session->older) {
        nqi_older_close(session);
        return;
    }
    if (!session->closing)
        nqi_session_ask_to_go(session, now);
    session->closing = session->bye_due = true;
}

void nqi_session_answer_goaway(struct nqi_session *session)
{
    if (session->going && !session->serves && session->state == NQI_SESSION_UP &&
        !session->current && !session->stage && !session->ready.head && !session->unacked.head)
        session->goaway_due = true;
}

nq_err nqi_session_on_goaway(struct nqi_session *session, const struct nqi_head *head,
                             const uint8_t *body, int64_t now)
{
    (void)head;
    (void)body;
    (void)now;
    if (session->serves && !session->closing)
        return nqi_fail(NQ_ERR_PROTO, "an answer that nobody asked for");
    session->going = true;
    if (session->serves)
        session->bye_at = NQI_NEVER; /* it has waited for this */
    else
        nqi_session_answer_goaway(session);
    return NQ_OK;
}

void nqi_session_answer_bye(struct nqi_session *session)
{
    if (!session->bye_waits ||
        (session->conf->ack_consumed && session->consumed_seq < session->received))
        return;
    session->bye_waits = false;
    session->bye_reason = NQ_REASON_PEER_CLOSED;
    session->ack_due = true;
    session->bye_ack_due = true;
    nqi_session_enter(session, NQI_SESSION_CLOSED);
}

nq_err nqi_session_on_bye(struct nqi_session *session, const struct nqi_head *head,
                          const uint8_t *body, int64_t now)
{
    (void)head;
    (void)now;
    if (nqi_load_u64(body) != session->received || session->rx.msg)
        return nqi_fail(NQ_ERR_PROTO, "good-bye before the last record");
    session->bye_waits = true;
    nqi_session_answer_bye(session);
    return NQ_OK;
}

nq_err nqi_session_on_bye_ack(struct nqi_session *session, const struct nqi_head *head,
                              const uint8_t *body, int64_t now)
{
    (void)head;
    (void)body;
    (void)now;
    session->bye_reason = NQ_REASON_LOCAL_CLOSE;
    nqi_session_enter(session, NQI_SESSION_CLOSED);
    return NQ_OK;
}
