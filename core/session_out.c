/* What goes to the link, and what comes back for it.
 *
 *     pull     `control`, then `ready`; both stay the session's
 *     taken    ready -> unacked; control records end here
 *     ack      unacked -> released; await -> settled */
#include "core/session_inside.h"

/* ---- control records -------------------------------------------------------------------- */

static uint8_t *control_write(uint8_t *at, enum nqi_record_type type, uint16_t aux,
                              const uint64_t *numbers, uint32_t count)
{
    at += nqi_head_write(at, (uint8_t)type, 0, aux, count * 8, 0);
    for (uint32_t i = 0; i < count; i++, at += 8)
        nqi_store_u64(at, numbers[i]);
    return at;
}

void nqi_session_write_hello(const struct nqi_session *session, uint8_t at[NQI_HELLO_RECORD])
{
    const struct nqi_session_conf *conf = session->conf;
    struct nqi_hello hello = {.version_min = NQI_VERSION_MIN,
                              .version_max = NQI_VERSION_MAX,
                              .features = session->greeting.features,
                              .id = conf->id,
                              .incarnation = conf->incarnation,
                              .session =
                                  session->greeting.resumes ? session->name.id : session->former.id,
                              .max_message = conf->max_message,
                              .keepalive_ns = conf->keepalive_ns,
                              .expiry_ns = conf->expiry_ns};

    memcpy(hello.nonce, session->greeting.nonce, NQI_NONCE);
    nqi_hello_write(at, NQI_HELLO, &hello);
}

/* What the other side may send from now on, to be told in this record. */
static void control_grant(struct nqi_session *session, uint64_t *messages, uint64_t *bytes)
{
    nqi_session_grant(session, messages, bytes);
    session->granted_messages = *messages;
    session->granted_bytes = *bytes;
}

static uint16_t control_method(const struct nqi_session *session)
{
    if (session->greeting.resumes)
        return NQI_AUTH_RESUME;
    return session->greeting.psk.key ? NQI_AUTH_PSK : NQI_AUTH_OPEN;
}

static uint8_t *control_write_auth(struct nqi_session *session, uint8_t *at)
{
    struct nqi_session_greeting *greeting = &session->greeting;
    struct nqi_auth auth = {.method = control_method(session),
                            .opening = session->opening,
                            .counter = ++session->name.counter,
                            .received =
                                greeting->resumes ? session->received : session->former_received};

    control_grant(session, &auth.credit_messages, &auth.credit_bytes);
    nqi_auth_write(at, &auth, session->greeting.psk.key,
                   greeting->resumes ? session->name.key : session->former.key,
                   greeting->transcript);
    memcpy(greeting->proof, at + NQI_AUTH_RECORD - NQI_KEY, NQI_KEY);
    return at + NQI_AUTH_RECORD;
}

static uint8_t *control_write_welcome(struct nqi_session *session, uint8_t *at)
{
    const struct nqi_session_greeting *greeting = &session->greeting;
    struct nqi_welcome welcome = {.kind = greeting->resumes ? NQI_WELCOME_RESUMED : NQI_WELCOME_NEW,
                                  .session = session->name.id,
                                  .received = session->received,
                                  .expiry_ns = session->name.expiry_ns};

    if (!greeting->resumes && !session->name.circle)
        memcpy(welcome.key, session->name.key, NQI_KEY);
    control_grant(session, &welcome.credit_messages, &welcome.credit_bytes);
    nqi_welcome_write(at, &welcome, session->name.key, greeting->transcript, greeting->proof);
    explicit_bzero(&welcome, sizeof(welcome));
    return at + NQI_WELCOME_RECORD;
}

static uint8_t *control_write_greeting(struct nqi_session *session, uint8_t *at)
{
    if (session->older) {
        nqi_older_write_name(session, at);
        return at + NQI_OLDER_NAME;
    }
    if (session->state == NQI_SESSION_AUTH)
        return control_write_auth(session, at);
    if (session->state != NQI_SESSION_HELLO)
        return control_write_welcome(session, at);
    nqi_session_write_hello(session, at);
    return at + NQI_HELLO_RECORD;
}

static uint8_t *control_write_ack(struct nqi_session *session, uint8_t *at)
{
    uint64_t numbers[3] = {nqi_session_final(session)};

    control_grant(session, &numbers[1], &numbers[2]);
    session->acked_out = session->received;
    session->acked_bytes = session->rx_bytes;
    session->acked_at = session->last_rx;
    session->ack_at = NQI_NEVER;
    return control_write(at, NQI_ACK, 0, numbers, 3);
}

size_t nqi_session_write_ack(struct nqi_session *session, uint8_t at[NQI_ACK_RECORD])
{
    session->ack_due = false;
    return (size_t)(control_write_ack(session, at) - at);
}

static bool control_due(const struct nqi_session *session)
{
    if (nqi_session_is_greeting(session))
        return session->greeting_due;
    return session->any_due || session->ack_due;
}

static void tx_push_control(struct nqi_session *session, struct nqi_txbuf *txbuf,
                            const uint8_t *end)
{
    nqi_txbuf_add(txbuf, txbuf->room, (size_t)(end - txbuf->room));
    nqi_fifo_push(&session->control, &txbuf->node);
}

/* All that is due, in one buffer, behind the control records that wait.  No memory: it stays due.
 */
static void tx_control(struct nqi_session *session)
{
    struct nqi_txbuf *txbuf =
        nqi_txbuf_new(1, session->greeting_due ? NQI_HELLO_RECORD + 128 : 128);
    uint8_t *at;

    session->starved |= !txbuf;
    if (!txbuf)
        return;
    at = txbuf->room;
    if (session->greeting_due)
        at = control_write_greeting(session, at);
    if (nqi_session_is_greeting(session) || (session->greeting_due && session->guard.on)) {
        tx_push_control(session, txbuf, at);
        session->greeting_due = false;
        return;
    }
    if (session->ack_due || nqi_session_ack_rides(session))
        at = control_write_ack(session, at);
    if (session->pong_due)
        at = control_write(at, NQI_PONG, 0, &session->pong, 1);
    if (session->ping_due)
        at = control_write(at, NQI_PING, 0, &session->stats.messages_in, 1);
    if (session->goaway_due)
        at = control_write(at, NQI_GOAWAY, 0, NULL, 0);
    if (session->bye_ack_due)
        at = control_write(at, NQI_BYE_ACK, 0, NULL, 0);
    session->any_due = 0;
    session->ack_due = false;
    tx_push_control(session, txbuf, at);
}

/* BYE is the last record: it goes when all is acknowledged, because it ends the session on the
 * other side, which may acknowledge only what is consumed. */
static void tx_bye(struct nqi_session *session)
{
    struct nqi_txbuf *txbuf;

    if (!session->bye_due || session->bye_at != NQI_NEVER || session->state != NQI_SESSION_UP ||
        session->current || nqi_session_next_queue(session))
        return;
    txbuf = nqi_txbuf_new(1, NQI_OLDER_NAME);
    session->starved |= !txbuf;
    if (!txbuf)
        return;
    if (session->older)
        nqi_older_write_name(session, txbuf->room);
    else
        control_write(txbuf->room, NQI_BYE, 0, &session->seq, 1);
    nqi_txbuf_add(txbuf, txbuf->room, session->older ? NQI_OLDER_NAME : NQI_HEAD + 8);
    nqi_session_seal(session);
    nqi_session_push_ready(session, txbuf);
    session->bye_due = false;
    nqi_session_enter(session, NQI_SESSION_CLOSING);
}

/* ---- to the link ------------------------------------------------------------------------ */

uint32_t nqi_session_pull(struct nqi_session *session, bool seal, struct nqt_buf **bufs,
                          uint32_t cap)
{
    bool had_output = session->ready.head;
    uint32_t n;

    if (session->state == NQI_SESSION_DOWN)
        return 0;
    if (nqi_session_sending(session)) {
        nqi_session_refill(session);
        if (seal)
            nqi_session_seal(session);
        tx_bye(session);
    }
    if (control_due(session) ||
        (session->ready.head && !had_output && nqi_session_ack_rides(session)))
        tx_control(session);
    if (NQI_UNLIKELY(session->guard.on))
        return nqi_session_pull_frames(session, bufs, cap);
    n = nqi_session_list(&session->control, bufs, 0, cap);
    return nqi_session_data_may_go(session) ? nqi_session_list(&session->ready, bufs, n, cap) : n;
}

/* It becomes a part of the last buffer that waits for its acknowledgement, where that goes. */
static bool out_joins_last(const struct nqi_session *session, struct nqi_txbuf *txbuf)
{
    struct nqi_txbuf *last = nqi_session_last_unacked(session);

    return last && nqi_txbuf_join(last, txbuf);
}

/* Behind what waits for its acknowledgement; so that many small messages cost one buffer. */
static void out_keep(struct nqi_session *session, struct nqi_txbuf *txbuf)
{
    if (NQI_UNLIKELY(session->older)) {
        nqi_older_handed(session, txbuf);
        return;
    }
    nqi_session_is_handed(session, txbuf->last_seq);
    if (!out_joins_last(session, txbuf))
        nqi_fifo_push(&session->unacked, &txbuf->node);
    else if (session->spare)
        nqi_txbuf_unref(txbuf);
    else
        session->spare = txbuf;
}

void nqi_session_hand_over(struct nqi_session *session)
{
    struct nqi_txbuf *txbuf = nqi_txbuf_of(nqi_fifo_pop(&session->ready));

    session->ready_bytes -= txbuf->buf.len;
    if (txbuf->last_seq)
        out_keep(session, txbuf);
    else /* BYE */
        nqi_txbuf_unref(txbuf);
    if (NQI_UNLIKELY(session->older) && session->state == NQI_SESSION_CLOSING &&
        !session->ready.head)
        nqi_older_fin_out(session);
}

void nqi_session_stage_taken(struct nqi_session *session)
{
    out_keep(session, NQI_STEAL(session->stage));
}

void nqi_session_taken(struct nqi_session *session, uint32_t n)
{
    struct nqi_node *node;

    if (NQI_UNLIKELY(session->guard.on)) {
        nqi_session_frames_taken(session, n);
        return;
    }
    for (; n && (node = nqi_fifo_pop(&session->control)); n--)
        nqi_txbuf_unref(nqi_txbuf_of(node));
    while (n--)
        nqi_session_hand_over(session);
}

/* ---- acknowledged ----------------------------------------------------------------------- */

void nqi_session_settle_untracked(struct nqi_session *session, uint64_t count, nq_outcome outcome,
                                  nq_reason reason)
{
    if (!count)
        return;
    session->untracked -= count;
    session->events->settle_untracked(session->arg, count, outcome, reason);
}

/* Memory for the next burst is small again once all is acknowledged: an idle peer costs little. */
static void tx_on_idle(struct nqi_session *session)
{
    if (session->stage || session->unacked.head || session->ready.head)
        return;
    nqi_session_drop_block(session);
    session->block_size /= 2;
}

void nqi_session_on_ack(struct nqi_session *session, uint64_t seq, uint64_t messages,
                        uint64_t bytes)
{
    uint64_t untracked = 0;
    struct nqi_node *node;

    nqi_session_raise_credit(session, messages, bytes);
    if (seq <= session->acked)
        return;
    session->acked = seq;
    while ((node = session->unacked.head) && nqi_txbuf_of(node)->last_seq <= seq) {
        nqi_fifo_pop(&session->unacked);
        untracked += nqi_txbuf_of(node)->untracked;
        session->in_flight -= nqi_txbuf_of(node)->ends;
        nqi_txbuf_unref(nqi_txbuf_of(node));
    }
    nqi_session_settle_untracked(session, untracked, NQ_DELIVERED, NQ_REASON_NONE);
    while ((node = session->await.head) && nqi_tx_of(node)->end_seq <= seq) {
        nqi_fifo_pop(&session->await);
        session->events->settle(session->arg, nqi_tx_of(node), NQ_DELIVERED, NQ_REASON_NONE);
    }
    tx_on_idle(session);
    nqi_session_answer_goaway(session);
}

bool nqi_session_flushed(const struct nqi_session *session)
{
    return !session->queue[0].head && !session->queue[1].head && !session->current &&
           !session->stage && !session->ready.head && !session->unacked.head;
}
