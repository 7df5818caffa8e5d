/* What the peer may send, and when it is told so.
 *
 *     limit = what the user has taken + the window       told in every ACK; it never shrinks
 *
 * An ACK is due at once when the peer waits for it, when more comes after much did since the last
 * one, or when a quarter of a window is new; else within CREDIT_ACK_DELAY, so that one serves many
 * records.  "More comes": a large message alone is answered often, and then the ACK rides along
 * (nqi_session_ack_rides()) instead of standing in the way of the answer.  With `ack_consumed` only
 * what the user takes is acknowledged.
 *
 * Small messages that come one by one, slower than that, would each cost an ACK of its own, which
 * is as dear as they are, and nobody waits for it: it waits for some more of them, as long as the
 * peer need not keep much for it.  The first one after a pause is acknowledged early. */
#include "core/session_inside.h"

#define CREDIT_ACK_DELAY (10 * NQI_NS_PER_MS)
#define CREDIT_ACK_DELAY_MAX NQI_NS_PER_S
#define CREDIT_ACK_GATHERS 4         /* messages that come one by one */
#define CREDIT_ACK_LITTLE (8u << 10) /* bytes: more of them do not wait longer */
#define CREDIT_ACK_RECORDS 4096u

static uint64_t credit_add(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

void nqi_session_grant(const struct nqi_session *session, uint64_t *messages, uint64_t *bytes)
{
    const struct nqi_session_conf *conf = session->conf;
    /* A message that is being put together does not use the window up, or one larger than the
     * window could never end; its size is bounded by max_message and by events->reserve. */
    uint64_t gone = session->taken_bytes + (session->rx.waiting ? 0 : session->rx.have);

    *messages = NQI_MAX(session->granted_messages,
                        credit_add(session->taken_messages, conf->window_messages));
    *bytes = NQI_MAX(session->granted_bytes, credit_add(gone, conf->window_bytes));
}

/* Announce credit before the peer runs dry: when a quarter of the window is new. */
static bool credit_is_due(const struct nqi_session *session)
{
    uint64_t messages, bytes;

    nqi_session_grant(session, &messages, &bytes);
    return messages - session->granted_messages > session->conf->window_messages / 4 ||
           bytes - session->granted_bytes > session->conf->window_bytes / 4;
}

/* `acked_at` is when the message before these came. */
static int64_t credit_ack_delay(const struct nqi_session *session, int64_t now)
{
    int64_t gap = now - session->acked_at;

    if (gap > CREDIT_ACK_DELAY_MAX || session->rx_bytes - session->acked_bytes > CREDIT_ACK_LITTLE)
        return CREDIT_ACK_DELAY;
    return NQI_MIN(NQI_MAX(CREDIT_ACK_GATHERS * gap, CREDIT_ACK_DELAY), CREDIT_ACK_DELAY_MAX);
}

void nqi_session_consider_ack(struct nqi_session *session, bool wanted, int64_t now)
{
    if (!session->conf->ack_consumed) {
        if (wanted || session->closing ||
            session->received - session->acked_out >= CREDIT_ACK_RECORDS ||
            session->considered_bytes >= session->acked_bytes + NQI_ACK_BYTES)
            session->ack_due = true;
        else if (session->ack_at > now + CREDIT_ACK_DELAY)
            session->ack_at = NQI_MIN(session->ack_at, now + credit_ack_delay(session, now));
        session->considered_bytes = session->rx_bytes;
    }
    /* What the user takes is looked at when he takes it: besides that, only a message that is being
     * put together gives room. */
    if (session->rx.have && !session->ack_due && credit_is_due(session))
        session->ack_due = true;
}

void nqi_session_taken_by_user(struct nqi_session *session, uint64_t messages, uint64_t bytes,
                               uint64_t seq)
{
    session->taken_messages = messages;
    session->taken_bytes = bytes;
    if (session->older)
        return;
    if (seq > session->consumed_seq) {
        session->consumed_seq = seq;
        session->ack_due |= session->conf->ack_consumed;
        nqi_session_answer_bye(session);
    }
    if (credit_is_due(session))
        session->ack_due = true;
}
