/* Attachment, control records and time; the picture and the states are in session.h. */
#include "core/session_inside.h"

#include "core/err.h"

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
    nqi_fifo_init(&session->frames);
    session->ack_at = session->ping_at = session->retry_at = session->expire_at = session->bye_at =
        NQI_NEVER;
}

void nqi_session_fini(struct nqi_session *session, nq_reason reason)
{
    nqi_session_down(session);
    nqi_session_restart(session, reason);
    nqi_session_tx_fini(session, reason);
    assert(!session->in_flight && !session->untracked);
}

static void session_check(const struct nqi_session *session)
{
    assert(session->acked <= session->handed && session->handed <= session->reached);
    assert(session->reached <= session->seq);
    assert(session->state != NQI_SESSION_UP || session->sent_bytes <= session->credit_bytes);
    assert(session->state != NQI_SESSION_UP || session->sent_messages <= session->credit_messages);
    (void)session;
}

/* Edges that exist, as bits of the states that may follow. */
static const unsigned session_edges[] = {
    [NQI_SESSION_DOWN] = 1u << NQI_SESSION_HELLO | 1u << NQI_SESSION_UP,
    [NQI_SESSION_HELLO] =
        1u << NQI_SESSION_AUTH | 1u << NQI_SESSION_UP | 1u << NQI_SESSION_DOWN, /* UP: older wire */
    [NQI_SESSION_AUTH] = 1u << NQI_SESSION_UP | 1u << NQI_SESSION_DOWN,
    [NQI_SESSION_UP] =
        1u << NQI_SESSION_CLOSING | 1u << NQI_SESSION_CLOSED | 1u << NQI_SESSION_DOWN,
    [NQI_SESSION_CLOSING] = 1u << NQI_SESSION_CLOSED | 1u << NQI_SESSION_DOWN,
    [NQI_SESSION_CLOSED] = 1u << NQI_SESSION_DOWN,
};

void nqi_session_enter(struct nqi_session *session, enum nqi_session_state next)
{
    assert(session_edges[session->state] & 1u << next);
    session->state = next;
    session->goaway_due &= next == NQI_SESSION_UP; /* BYE says more */
    session_check(session);
}

/* ---- attachment ------------------------------------------------------------------------- */

static bool session_has_begun(const struct nqi_session *session)
{
    return !nq_uuid_is_nil(&session->name.id);
}

/* It was asked for; whether the server knows of it is not known. */
static bool session_is_opening(const struct nqi_session *session)
{
    return !nq_uuid_is_nil(&session->opening);
}

bool nqi_session_is_resumable(const struct nqi_session *session)
{
    return session_has_begun(session) && session->name.expiry_ns &&
           session->state != NQI_SESSION_CLOSED;
}

bool nqi_session_fits(const struct nqi_session_name *name, uint32_t circle)
{
    return !circle || nq_uuid_is_nil(&name->id) || name->circle == circle;
}

void nqi_session_connect(struct nqi_session *session, const struct nqi_psk *psk,
                         const uint8_t nonce[NQI_NONCE], uint64_t features, int64_t now)
{
    assert(nqi_session_fits(&session->name, psk->circle));
    session->older = false;
    session->greeting.psk = *psk;
    session->bye_reason = NQ_REASON_NONE;
    session->greeting_due = true;
    memcpy(session->greeting.nonce, nonce, NQI_NONCE);
    session->greeting.features = features;
    session->greeting.resumes = session_has_begun(session);
    if (!session->greeting.resumes && !session_is_opening(session))
        memcpy(session->opening.bytes, nonce, sizeof(session->opening.bytes));
    nqi_session_enter(session, NQI_SESSION_HELLO);
    nqi_session_note(session, now);
}

void nqi_session_rekey(struct nqi_session *session)
{
    session->opening = (nq_uuid){{0}};
}

/* 0 = one side does not want to keep a session without a link. */
static int64_t session_agree_expiry(const struct nqi_session *session, int64_t theirs)
{
    return NQI_MIN(session->conf->expiry_ns, theirs);
}

static void session_enter_up(struct nqi_session *session, int64_t now)
{
    session->ack_due = true; /* what the last link could not carry any more */
    session->bye_due = session->closing;
    nqi_session_enter(session, NQI_SESSION_UP);
    if (session->closing)
        nqi_session_ask_to_go(session, now);
    if (session->rx.waiting)
        session->retry_at = now;
    nqi_session_note(session, now);
}

/* A server's side of an attachment, new or resumed. */
static void session_admit(struct nqi_session *session, const struct nqi_attach *attach, int64_t now)
{
    session->peer_max_message = attach->hello.max_message;
    session->name.counter = attach->auth.counter;
    session->name.expiry_ns = session_agree_expiry(session, attach->hello.expiry_ns);
    memcpy(session->greeting.transcript, attach->transcript, NQI_KEY);
    memcpy(session->greeting.proof, attach->auth.proof, NQI_KEY);
    session->greeting.features = attach->features;
    session->greeting_due = true; /* WELCOME */
    nqi_session_guard_begin(session, true);
    session_enter_up(session, now);
}

void nqi_session_begin(struct nqi_session *session, const struct nqi_attach *attach,
                       const nq_uuid *id, const uint8_t key[NQI_KEY], uint32_t circle, int64_t now)
{
    session->peer = attach->hello.id; /* other threads read it: once, and never again */
    session->name.id = *id;
    memcpy(session->name.key, key, NQI_KEY);
    session->name.circle = circle;
    session->greeting.resumes = false;
    session->serves = true;
    nqi_session_on_credit(session, attach->auth.credit_messages, attach->auth.credit_bytes);
    session_admit(session, attach, now);
}

void nqi_session_know_received(struct nqi_session *session, uint64_t received)
{
    if (received <= session->handed)
        nqi_session_on_ack(session, received, 0, 0);
}

bool nqi_session_is_proven(const struct nqi_session_name *name, const struct nqi_attach *attach)
{
    return nqi_auth_is_proven(attach->auth_record, name->key, attach->transcript) &&
           nq_uuid_equal(&attach->hello.session, &name->id);
}

nq_err nqi_session_may_resume(const struct nqi_session *session, const struct nqi_attach *attach)
{
    bool resumes = attach->auth.method == NQI_AUTH_RESUME;

    if (attach->auth.counter <= session->name.counter) /* the client has dialed again since */
        return nqi_fail(NQ_ERR_PROTO, "an attempt to attach that is older than the last one");
    if (!resumes && (session->received || session->acked))
        return nqi_fail(NQ_ERR_PROTO, "a session is opened again that was welcomed");
    return nqi_session_check_received(session, resumes ? attach->auth.received : 0);
}

nq_err nqi_session_resume(struct nqi_session *session, const struct nqi_attach *attach, int64_t now)
{
    bool resumes = attach->auth.method == NQI_AUTH_RESUME;
    nq_err err = nqi_session_may_resume(session, attach);

    if (!err)
        err = nqi_session_go_back(session, resumes ? attach->auth.received : 0);
    if (err)
        return err;
    session->greeting.resumes = resumes;
    nqi_session_raise_credit(session, attach->auth.credit_messages, attach->auth.credit_bytes);
    session_admit(session, attach, now);
    return NQ_OK;
}

void nqi_session_down(struct nqi_session *session)
{
    nqi_session_guard_end(session);
    nqi_session_tx_down(session);
    nqi_session_rx_down(session);
    session->ack_at = session->ping_at = session->retry_at = NQI_NEVER;
    session->pings = 0;
    session->bye_waits = false; /* it is said again */
    if (session->state != NQI_SESSION_DOWN)
        nqi_session_enter(session, NQI_SESSION_DOWN);
}

static void session_forget(struct nqi_session_name *name)
{
    explicit_bzero(name->key, NQI_KEY);
    *name = (struct nqi_session_name){0};
}

void nqi_session_restart(struct nqi_session *session, nq_reason reason)
{
    assert(session->state == NQI_SESSION_DOWN);
    nqi_session_tx_restart(session, reason);
    if (session_has_begun(session))
        session->former_received = nqi_session_final(session);
    nqi_session_rx_reset(session);
    if (!session_has_begun(session))
        return; /* attempts to open it are counted on */
    session->former = session->name;
    session->going = false;
    session_forget(&session->name);
}

/* ---- control records -------------------------------------------------------------------- */

static nq_err session_on_challenge(struct nqi_session *session, const struct nqi_head *head,
                                   const uint8_t *body, int64_t now)
{
    uint8_t mine[NQI_HELLO_RECORD], theirs[NQI_HELLO_RECORD];
    struct nqi_hello hello, agreed = {.features = session->greeting.features};
    nq_err err = nqi_hello_read(body, &hello);

    (void)now;
    if (err)
        return err;
    if (hello.version_min != hello.version_max || !nqi_hello_agree(&hello, &agreed)) {
        session->bye_reason = NQ_REASON_VERSION;
        return nqi_fail(NQ_ERR_CLOSED,
                        "the server speaks protocol versions %u to %u, this library %u to %u",
                        hello.version_min, hello.version_max, NQI_VERSION_MIN, NQI_VERSION_MAX);
    }
    session->peer = hello.id;
    session->peer_max_message = hello.max_message;
    nqi_session_write_hello(session, mine);
    session->greeting.features = agreed.features;
    nqi_head_write(theirs, head->type, head->flags, head->aux, head->length, 0);
    memcpy(theirs + NQI_HEAD, body, NQI_HELLO_SIZE); /* as it came */
    nqi_transcript(mine, theirs, session->greeting.transcript);
    session->greeting_due = true;
    nqi_session_enter(session, NQI_SESSION_AUTH);
    return NQ_OK;
}

/* Whose proof this WELCOME must carry; NULL = none could be right. */
static const uint8_t *session_welcome_key(const struct nqi_session *session,
                                          const struct nqi_welcome *welcome)
{
    if (welcome->kind == NQI_WELCOME_UNKNOWN)
        return session->greeting.psk.key;
    return session->greeting.resumes ? session->name.key : welcome->key;
}

static nq_err session_check_welcome(const struct nqi_session *session, const uint8_t *record,
                                    const struct nqi_welcome *welcome)
{
    const struct nqi_session_greeting *greeting = &session->greeting;
    const uint8_t *key = session_welcome_key(session, welcome);

    if (!key || !nqi_welcome_is_proven(record, key, greeting->transcript, greeting->proof))
        return nqi_fail(NQ_ERR_PROTO, "the server does not prove what it says");
    if ((welcome->kind != NQI_WELCOME_NEW) != greeting->resumes ||
        (!greeting->resumes && welcome->received) ||
        (greeting->resumes && !nq_uuid_equal(&welcome->session, &session->name.id)))
        return nqi_fail(NQ_ERR_PROTO, "the server welcomes another session");
    return NQ_OK;
}

/* The server kept of it only how much arrived: that is delivered, of the rest nobody knows. */
static nq_err session_on_ended(struct nqi_session *session, uint64_t received)
{
    nq_err err = nqi_session_check_received(session, received);

    if (err)
        return err;
    nqi_session_on_ack(session, received, 0, 0);
    session->bye_reason = NQ_REASON_NO_SESSION;
    return nqi_fail(NQ_ERR_CLOSED, "the server has ended the session");
}

static nq_err session_on_unknown(struct nqi_session *session)
{
    session->bye_reason = NQ_REASON_NO_SESSION;
    return nqi_fail(NQ_ERR_CLOSED, "the server does not know the session");
}

static void session_wipe_welcome(struct nqi_welcome *welcome)
{
    explicit_bzero(welcome, sizeof(*welcome));
}

static nq_err session_on_welcome(struct nqi_session *session, const struct nqi_head *head,
                                 const uint8_t *body, int64_t now)
{
    NQI_CLEANUP(session_wipe_welcome) struct nqi_welcome welcome = {0};
    uint8_t record[NQI_WELCOME_RECORD];
    nq_err err;

    nqi_head_write(record, head->type, head->flags, head->aux, head->length, 0);
    memcpy(record + NQI_HEAD, body, NQI_WELCOME_SIZE);
    err = nqi_welcome_read(record, &welcome);
    if (!err && session->greeting.psk.key && !session->greeting.resumes)
        nqi_psk_session_key(session->greeting.psk.key, &welcome.session, &session->opening,
                            &session->conf->id, &session->peer, welcome.key);
    if (!err)
        err = session_check_welcome(session, record, &welcome);
    if (!err && welcome.kind == NQI_WELCOME_ENDED)
        return session_on_ended(session, welcome.received);
    if (!err && welcome.kind == NQI_WELCOME_UNKNOWN)
        return session_on_unknown(session);
    if (!err && welcome.kind == NQI_WELCOME_RESUMED)
        err = nqi_session_go_back(session, welcome.received);
    if (err)
        return err;
    if (welcome.kind == NQI_WELCOME_RESUMED) {
        nqi_session_raise_credit(session, welcome.credit_messages, welcome.credit_bytes);
    } else {
        session->name.id = welcome.session;
        memcpy(session->name.key, welcome.key, NQI_KEY);
        session->name.circle = session->greeting.psk.circle;
        nqi_session_on_credit(session, welcome.credit_messages, welcome.credit_bytes);
        session_forget(&session->former);
        session->former_received = 0;
    }
    session->opening = (nq_uuid){{0}};
    session->name.expiry_ns = session_agree_expiry(session, welcome.expiry_ns);
    nqi_session_guard_begin(session, false);
    session_enter_up(session, now);
    return NQ_OK;
}

/* A server that has our key proves that it does not know a session. */
static bool session_is_hearsay(const struct nqi_session *session)
{
    return session->greeting.psk.key && nqi_session_is_greeting(session) &&
           session->bye_reason == NQ_REASON_NO_SESSION;
}

/* A server tells nobody more than the reason; which proof it was this side knows itself. */
static nq_err session_fail_auth(const struct nqi_session *session)
{
    const struct nqi_session_greeting *greeting = &session->greeting;
    const char *text =
        greeting->psk.key
            ? "the server has another key for this side's id, or none (\"psk\")"
            : "the server asks for a pre-shared key, and this side has none (\"psk\")";

    if (greeting->resumes)
        text = "the server does not take the proof of the session that goes on";
    return nqi_fail(NQ_ERR_CLOSED, "%s: %s", nq_reason_text(session->bye_reason), text);
}

static nq_err session_on_reject(struct nqi_session *session, const struct nqi_head *head,
                                const uint8_t *body, int64_t now)
{
    const char *text;

    (void)now;
    session->bye_reason =
        head->aux && head->aux < NQ_REASONS ? (nq_reason)head->aux : NQ_REASON_REFUSED;
    if (session_is_hearsay(session))
        session->bye_reason = NQ_REASON_REFUSED;
    if (session->bye_reason == NQ_REASON_AUTH && session->state == NQI_SESSION_AUTH)
        return session_fail_auth(session);
    text = nq_reason_text(session->bye_reason);
    if (!head->length || (head->length == strlen(text) && memcmp(body, text, head->length) == 0))
        return nqi_fail(NQ_ERR_CLOSED, "%s", text);
    return nqi_fail(NQ_ERR_CLOSED, "%s: %.*s", text, (int)head->length, (const char *)body);
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
    (void)session; /* any record is a sign of life; nqi_session_note() has seen it */
    (void)head;
    (void)body;
    (void)now;
    return NQ_OK;
}

static const session_fn session_rx[][NQI_RECORD_TYPES] = {
    [NQI_SESSION_HELLO] =
        {[NQI_CHALLENGE] = session_on_challenge, [NQI_REJECT] = session_on_reject},
    [NQI_SESSION_AUTH] = {[NQI_WELCOME] = session_on_welcome, [NQI_REJECT] = session_on_reject},
    [NQI_SESSION_UP] = {[NQI_ACK] = session_on_ack,
                        [NQI_PING] = session_on_ping,
                        [NQI_PONG] = session_on_pong,
                        [NQI_REJECT] = session_on_reject,
                        [NQI_BYE] = nqi_session_on_bye,
                        [NQI_GOAWAY] = nqi_session_on_goaway},
    [NQI_SESSION_CLOSING] = {[NQI_ACK] = session_on_ack,
                             [NQI_PING] = session_on_ping,
                             [NQI_PONG] = session_on_pong,
                             [NQI_REJECT] = session_on_reject,
                             [NQI_BYE] = nqi_session_on_bye,
                             [NQI_BYE_ACK] = nqi_session_on_bye_ack,
                             [NQI_GOAWAY] = nqi_session_on_goaway},
    /* Both said good-bye at once: the other side still answers ours, or waits no longer. */
    [NQI_SESSION_CLOSED] = {[NQI_ACK] = session_on_ack,
                            [NQI_PING] = session_on_pong,
                            [NQI_PONG] = session_on_pong,
                            [NQI_REJECT] = session_on_reject,
                            [NQI_BYE_ACK] = session_on_pong,
                            [NQI_GOAWAY] = session_on_pong},
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
    if (now >= session->bye_at)
        session->bye_at = NQI_NEVER;
    if (now >= session->ping_at)
        return nqi_session_tick_alive(session, now);
    return NQ_OK;
}
