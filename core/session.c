/* Attachment, control records and time; the picture and the states are in session.h. */
#include "core/session_inside.h"

#include "core/err.h"

#define SESSION_PINGS 2 /* unanswered ones, so that silence ends the link after 3 keepalives */

/* What each control record does in each state; an empty cell is a protocol error. */
typedef nq_err (*session_fn)(struct nqi_session *session, const struct nqi_head *head,
                             const uint8_t *body, int64_t now);

/* ---- life ------------------------------------------------------------------------------- */

void nqi_session_init(struct nqi_session *session, const struct nqi_session_conf *conf,
                      const struct nqi_session_events *events, void *arg)
{
    memset(session, 0, sizeof(*session));
    session->conf = conf;
    session->events = events;
    session->arg = arg;
    nqi_fifo_init(&session->queue[0]);
    nqi_fifo_init(&session->queue[1]);
    nqi_fifo_init(&session->control);
    nqi_fifo_init(&session->ready);
    nqi_fifo_init(&session->unacked);
    nqi_fifo_init(&session->await);
    session->ack_at = session->ping_at = session->retry_at = session->expire_at = NQI_NEVER;
}

void nqi_session_fini(struct nqi_session *session, nq_reason reason)
{
    nqi_session_down(session, reason);
    nqi_session_tx_fini(session, reason);
}

static void session_check(const struct nqi_session *session)
{
    assert(session->acked <= session->handed && session->handed <= session->seq);
    assert(session->state != NQI_SESSION_UP || session->sent_bytes <= session->credit_bytes);
    assert(session->state != NQI_SESSION_UP || session->sent_messages <= session->credit_messages);
    (void)session;
}

/* Edges that exist, as bits of the states that may follow. */
static const unsigned session_edges[] = {
    [NQI_SESSION_DOWN] = 1u << NQI_SESSION_GREETING | 1u << NQI_SESSION_UP,
    [NQI_SESSION_GREETING] = 1u << NQI_SESSION_UP | 1u << NQI_SESSION_DOWN,
    [NQI_SESSION_UP] =
        1u << NQI_SESSION_CLOSING | 1u << NQI_SESSION_CLOSED | 1u << NQI_SESSION_DOWN,
    [NQI_SESSION_CLOSING] = 1u << NQI_SESSION_CLOSED | 1u << NQI_SESSION_DOWN,
    [NQI_SESSION_CLOSED] = 1u << NQI_SESSION_DOWN,
};

void nqi_session_enter(struct nqi_session *session, enum nqi_session_state next)
{
    assert(session_edges[session->state] & 1u << next);
    session->state = next;
    session_check(session);
}

static void session_heard(struct nqi_session *session, int64_t now)
{
    session->last_rx = now;
    session->pings = 0;
    if (session->conf->keepalive_ns && session->ping_at == NQI_NEVER)
        session->ping_at = now + session->conf->keepalive_ns;
}

/* ---- attachment ------------------------------------------------------------------------- */

void nqi_session_connect(struct nqi_session *session, int64_t now)
{
    session->bye_reason = NQ_REASON_NONE;
    session->hello_due = true;
    nqi_session_enter(session, NQI_SESSION_GREETING);
    session_heard(session, now);
}

static void session_learn(struct nqi_session *session, const struct nqi_hello *hello)
{
    session->peer = hello->id;
    session->peer_max_message = hello->max_message;
    nqi_session_on_credit(session, hello->credit_messages, hello->credit_bytes);
}

void nqi_session_accept(struct nqi_session *session, const struct nqi_hello *hello, int64_t now)
{
    session_learn(session, hello);
    session->hello_due = true;
    nqi_session_enter(session, NQI_SESSION_UP);
    session_heard(session, now);
}

void nqi_session_down(struct nqi_session *session, nq_reason reason)
{
    nqi_session_tx_down(session, reason);
    nqi_session_rx_reset(session);
    session->ack_at = session->ping_at = session->retry_at = NQI_NEVER;
    session->pings = 0;
    if (session->state != NQI_SESSION_DOWN)
        nqi_session_enter(session, NQI_SESSION_DOWN);
}

void nqi_session_close(struct nqi_session *session)
{
    session->closing = session->bye_due = true;
}

/* ---- control records -------------------------------------------------------------------- */

static nq_err session_on_welcome(struct nqi_session *session, const struct nqi_head *head,
                                 const uint8_t *body, int64_t now)
{
    struct nqi_hello hello;
    nq_err err = nqi_hello_read(body, &hello);

    (void)head;
    (void)now;
    if (err)
        return err;
    if (hello.version_min > NQI_VERSION_MAX || hello.version_max < NQI_VERSION_MIN) {
        session->bye_reason = NQ_REASON_VERSION;
        return nqi_fail(NQ_ERR_CLOSED,
                        "the server speaks protocol versions %u to %u, this library "
                        "%u to %u",
                        hello.version_min, hello.version_max, NQI_VERSION_MIN, NQI_VERSION_MAX);
    }
    session_learn(session, &hello);
    nqi_session_enter(session, NQI_SESSION_UP);
    return NQ_OK;
}

static nq_err session_on_reject(struct nqi_session *session, const struct nqi_head *head,
                                const uint8_t *body, int64_t now)
{
    (void)now;
    session->bye_reason =
        head->aux && head->aux < NQ_REASONS ? (nq_reason)head->aux : NQ_REASON_REFUSED;
    return nqi_fail(NQ_ERR_CLOSED, "refused: %s%s%.*s", nq_reason_text(session->bye_reason),
                    head->length ? ": " : "", (int)head->length, (const char *)body);
}

static nq_err session_on_ack(struct nqi_session *session, const struct nqi_head *head,
                             const uint8_t *body, int64_t now)
{
    uint64_t seq = nqi_load_u64(body);

    (void)head;
    (void)now;
    if (seq > session->handed)
        return nqi_fail(NQ_ERR_PROTO, "acknowledgement of records that were not sent");
    nqi_session_on_ack(session, seq, nqi_load_u64(body + 8), nqi_load_u64(body + 16));
    session_check(session);
    return NQ_OK;
}

static nq_err session_on_ping(struct nqi_session *session, const struct nqi_head *head,
                              const uint8_t *body, int64_t now)
{
    (void)head;
    (void)now;
    session->pong = nqi_load_u64(body);
    session->pong_due = true;
    return NQ_OK;
}

static nq_err session_on_pong(struct nqi_session *session, const struct nqi_head *head,
                              const uint8_t *body, int64_t now)
{
    (void)session; /* any record is a sign of life; session_heard() has seen it */
    (void)head;
    (void)body;
    (void)now;
    return NQ_OK;
}

static nq_err session_on_bye(struct nqi_session *session, const struct nqi_head *head,
                             const uint8_t *body, int64_t now)
{
    (void)head;
    (void)now;
    if (nqi_load_u64(body) != session->received || session->rx.msg)
        return nqi_fail(NQ_ERR_PROTO, "good-bye before the last record");
    session->bye_reason = NQ_REASON_PEER_CLOSED;
    session->ack_due = true;
    session->bye_ack_due = true;
    nqi_session_enter(session, NQI_SESSION_CLOSED);
    return NQ_OK;
}

static nq_err session_on_bye_ack(struct nqi_session *session, const struct nqi_head *head,
                                 const uint8_t *body, int64_t now)
{
    (void)head;
    (void)body;
    (void)now;
    session->bye_reason = NQ_REASON_LOCAL_CLOSE;
    nqi_session_enter(session, NQI_SESSION_CLOSED);
    return NQ_OK;
}

static const session_fn session_rx[][NQI_RECORD_TYPES] = {
    [NQI_SESSION_GREETING] = {[NQI_WELCOME] = session_on_welcome, [NQI_REJECT] = session_on_reject},
    [NQI_SESSION_UP] = {[NQI_ACK] = session_on_ack,
                        [NQI_PING] = session_on_ping,
                        [NQI_PONG] = session_on_pong,
                        [NQI_BYE] = session_on_bye},
    [NQI_SESSION_CLOSING] = {[NQI_ACK] = session_on_ack,
                             [NQI_PING] = session_on_ping,
                             [NQI_PONG] = session_on_pong,
                             [NQI_BYE] = session_on_bye,
                             [NQI_BYE_ACK] = session_on_bye_ack},
    /* Both said good-bye at once: the other side still answers ours. */
    [NQI_SESSION_CLOSED] = {[NQI_ACK] = session_on_ack,
                            [NQI_PING] = session_on_pong,
                            [NQI_PONG] = session_on_pong,
                            [NQI_BYE_ACK] = session_on_pong},
};

nq_err nqi_session_on_control(struct nqi_session *session, const struct nqi_head *head,
                              const uint8_t *body, int64_t now)
{
    session_fn fn =
        session->state < NQI_LEN(session_rx) ? session_rx[session->state][head->type] : NULL;

    if (!fn)
        return nqi_fail(NQ_ERR_PROTO, "record of type %u in state %d", head->type,
                        (int)session->state);
    return fn(session, head, body, now);
}

/* ---- time ------------------------------------------------------------------------------- */

/* Each PING has the whole time for its answer, however late we are: a process that was stopped for
 * a minute does not lose its links. */
static nq_err session_tick_ping(struct nqi_session *session, int64_t now)
{
    int64_t due = session->last_rx + session->conf->keepalive_ns;

    if (!session->pings && now < due) { /* something came meanwhile: the timer moves lazily */
        session->ping_at = due;
        return NQ_OK;
    }
    if (session->pings >= SESSION_PINGS)
        return nqi_fail(NQ_ERR_LINK, "no sign of life for %lld ms",
                        (long long)((now - session->last_rx) / NQI_NS_PER_MS));
    session->pings++;
    session->ping_due = true;
    session->ping_at = now + session->conf->keepalive_ns;
    return NQ_OK;
}

nq_err nqi_session_tick(struct nqi_session *session, int64_t now)
{
    if (now >= session->expire_at)
        nqi_session_expire(session, now);
    if (now >= session->ack_at) {
        session->ack_due = true;
        session->ack_at = NQI_NEVER;
    }
    if (now >= session->retry_at)
        nqi_session_retry_reserve(session, now);
    if (now >= session->ping_at)
        return session_tick_ping(session, now);
    return NQ_OK;
}

int64_t nqi_session_deadline(const struct nqi_session *session)
{
    return NQI_MIN(NQI_MIN(session->ack_at, session->ping_at),
                   NQI_MIN(session->retry_at, session->expire_at));
}

void nqi_session_note(struct nqi_session *session, int64_t now)
{
    session_heard(session, now);
}
