/* The inside of a session: what its own files call of each other. */
#ifndef NQ_CORE_SESSION_INSIDE_H
#define NQ_CORE_SESSION_INSIDE_H

#include "core/older.h"
#include "core/session.h"

static inline struct nqi_tx *nqi_tx_of(struct nqi_node *node)
{
    return NQI_CONTAINER(node, struct nqi_tx, node);
}

static inline struct nqi_txbuf *nqi_txbuf_of(struct nqi_node *node)
{
    return NQI_CONTAINER(node, struct nqi_txbuf, node);
}

/* ---- session.c -------------------------------------------------------------------------- */

/* The only writer of session->state. */
void nqi_session_enter(struct nqi_session *session, enum nqi_session_state next);

/* A whole control record.  @return as nqi_session_receive() */
NQ_MUST_CHECK nq_err nqi_session_on_control(struct nqi_session *session,
                                            const struct nqi_head *head, const uint8_t *body,
                                            int64_t now);

/* ---- session_alive.c -------------------------------------------------------------------- */

/* A sign of life came from the peer, or a link that begins counts as one. */
void nqi_session_note(struct nqi_session *session, int64_t now);

/* `ping_at` has come.  @return NQ_OK, NQ_ERR_LINK: the peer is silent for too long */
NQ_MUST_CHECK nq_err nqi_session_tick_alive(struct nqi_session *session, int64_t now);

/* ---- session_end.c ---------------------------------------------------------------------- */

/* A server's that closes and is UP: BYE waits until its client has ended what it began. */
void nqi_session_ask_to_go(struct nqi_session *session, int64_t now);

/* The peer's BYE is answered once everything before it is final. */
void nqi_session_answer_bye(struct nqi_session *session);

/* A client that was told to go away says so once all that it began is acknowledged. */
void nqi_session_answer_goaway(struct nqi_session *session);

/* Records of the end.  @return as nqi_session_receive() */
NQ_MUST_CHECK nq_err nqi_session_on_goaway(struct nqi_session *session, const struct nqi_head *head,
                                           const uint8_t *body, int64_t now);
NQ_MUST_CHECK nq_err nqi_session_on_bye(struct nqi_session *session, const struct nqi_head *head,
                                        const uint8_t *body, int64_t now);
NQ_MUST_CHECK nq_err nqi_session_on_bye_ack(struct nqi_session *session,
                                            const struct nqi_head *head, const uint8_t *body,
                                            int64_t now);

/* ---- session_queue.c -------------------------------------------------------------------- */

/* Where the next message to send stands; NULL = nothing is queued. */
struct nqi_fifo *nqi_session_next_queue(struct nqi_session *session);

/* The client's greeting goes on: nothing else is sent. */
static inline bool nqi_session_is_greeting(const struct nqi_session *session)
{
    return session->state == NQI_SESSION_HELLO || session->state == NQI_SESSION_AUTH;
}

/* ---- session_tx.c ----------------------------------------------------------------------- */

/* Data may be sent. */
static inline bool nqi_session_sending(const struct nqi_session *session)
{
    return session->state == NQI_SESSION_UP;
}

/* Messages may begin. */
static inline bool nqi_session_begins(const struct nqi_session *session)
{
    return nqi_session_sending(session) && (session->serves || !session->going);
}

/* Behind everything that is to be pulled. */
static inline void nqi_session_push_ready(struct nqi_session *session, struct nqi_txbuf *txbuf)
{
    nqi_fifo_push(&session->ready, &txbuf->node);
    session->ready_bytes += txbuf->buf.len;
}

/* The stage goes into `ready`; nothing when there is none. */
void nqi_session_seal(struct nqi_session *session);

/* Let go of the memory that the next stage would write into. */
void nqi_session_drop_block(struct nqi_session *session);

/* Make records of what is queued, while credit and memory last and `ready` is not long. */
void nqi_session_refill(struct nqi_session *session);

/* ---- session_out.c ---------------------------------------------------------------------- */

/* Records up to `seq`, at most session->seq, are final at the peer; its limits are `messages` and
 * `bytes`. */
void nqi_session_on_ack(struct nqi_session *session, uint64_t seq, uint64_t messages,
                        uint64_t bytes);

/* `count` messages of nqi_session_put_now() end; 0 = none. */
void nqi_session_settle_untracked(struct nqi_session *session, uint64_t count, nq_outcome outcome,
                                  nq_reason reason);

/* HELLO as it goes over this link. */
void nqi_session_write_hello(const struct nqi_session *session, uint8_t at[NQI_HELLO_RECORD]);

/* The peer's limits; absolute, so they only grow. */
static inline void nqi_session_raise_credit(struct nqi_session *session, uint64_t messages,
                                            uint64_t bytes)
{
    session->credit_messages = NQI_MAX(session->credit_messages, messages);
    session->credit_bytes = NQI_MAX(session->credit_bytes, bytes);
}

/* Append what is in `fifo` to the `n` buffers in `bufs`.  @return how many there are then */
static inline uint32_t nqi_session_list(const struct nqi_fifo *fifo, struct nqt_buf **bufs,
                                        uint32_t n, uint32_t cap)
{
    for (struct nqi_node *node = fifo->head; node && n < cap; node = node->next) {
        bufs[n] = &nqi_txbuf_of(node)->buf;
        bufs[n]->ops->ref(bufs[n]); /* the transport's */
        n++;
    }
    return n;
}

/* Until both have greeted, records stay back; after the peer's good-bye all of them do. */
static inline bool nqi_session_data_may_go(const struct nqi_session *session)
{
    return !session->greeting_due &&
           (session->state == NQI_SESSION_UP || session->state == NQI_SESSION_CLOSING);
}

/* The last buffer that waits for its acknowledgement, or NULL. */
static inline struct nqi_txbuf *nqi_session_last_unacked(const struct nqi_session *session)
{
    if (nqi_fifo_empty(&session->unacked))
        return NULL;
    return nqi_txbuf_of(NQI_CONTAINER(session->unacked.tail, struct nqi_node, next));
}

/* A link took the records up to `seq`. */
static inline void nqi_session_is_handed(struct nqi_session *session, uint64_t seq)
{
    session->handed = seq;
    session->reached = NQI_MAX(session->reached, seq);
}

/* The link took one of `ready`. */
void nqi_session_hand_over(struct nqi_session *session);

/* ---- session_guard.c -------------------------------------------------------------------- */

/* The greeting is over: from here on in frames, where that must be. */
void nqi_session_guard_begin(struct nqi_session *session, bool server);
void nqi_session_guard_end(struct nqi_session *session);

/* Make frames of what may go; as nqi_session_pull(). */
uint32_t nqi_session_pull_frames(struct nqi_session *session, struct nqt_buf **bufs, uint32_t cap);

/* The link took the first `n` frames. */
void nqi_session_frames_taken(struct nqi_session *session, uint32_t n);

/* Bytes from the link, behind WELCOME.  @return as nqi_session_receive(); bye_reason AUTH: somebody
 * changed them */
NQ_MUST_CHECK nq_err nqi_session_receive_frames(struct nqi_session *session, const uint8_t *data,
                                                size_t len, int64_t now);

/* The records in `ready` go to a peer that was told no schema: their heads say all that is needed.
 * No link ever took them. */
void nqi_session_tell_again(struct nqi_session *session);

/* ---- session_lost.c --------------------------------------------------------------------- */

/* The peer has `received` whole records: what it has not goes before everything that is ready.
 * @return NQ_OK; NQ_ERR_PROTO (no such records), NQ_ERR_NOMEM: nothing changed */
NQ_MUST_CHECK nq_err nqi_session_go_back(struct nqi_session *session, uint64_t received);

/* The peer can have `received` whole records: not less than it acknowledged, not more than left.
 * @return NQ_OK, NQ_ERR_PROTO */
NQ_MUST_CHECK nq_err nqi_session_check_received(const struct nqi_session *session,
                                                uint64_t received);

/* How a message ends that is not sent in this session. */
static inline nq_outcome nqi_tx_unsent(const struct nqi_tx *tx, nq_outcome outcome)
{
    return tx->again ? NQ_UNKNOWN : outcome;
}

/* Settle messages whose records are dropped: not delivered. */
void nqi_session_settle_begun(struct nqi_session *session, nq_reason reason);

/* The limits that a new session begins with. */
void nqi_session_on_credit(struct nqi_session *session, uint64_t messages, uint64_t bytes);

/* The sending half of nqi_session_down(), nqi_session_restart() and nqi_session_fini(). */
void nqi_session_tx_down(struct nqi_session *session);
void nqi_session_tx_restart(struct nqi_session *session, nq_reason reason);
void nqi_session_tx_fini(struct nqi_session *session, nq_reason reason);

/* ---- session_credit.c ------------------------------------------------------------------- */

/* The limits that the peer may be told now, absolute; they never shrink. */
void nqi_session_grant(const struct nqi_session *session, uint64_t *messages, uint64_t *bytes);

/* A record came whole; `wanted`: the peer waits to hear so. */
void nqi_session_consider_ack(struct nqi_session *session, bool wanted, int64_t now);

/* ---- session_rx.c ----------------------------------------------------------------------- */

/* Bytes of records that came in frames.  @return as nqi_session_receive() */
NQ_MUST_CHECK nq_err nqi_session_receive_records(struct nqi_session *session, const uint8_t *data,
                                                 size_t len, int64_t now);

/* The receiving half of nqi_session_down() and nqi_session_restart(). */
void nqi_session_rx_down(struct nqi_session *session);
void nqi_session_rx_reset(struct nqi_session *session);

/* ---- session_body.c --------------------------------------------------------------------- */

#define NQI_RX_DIRECT 4096u /* below this, reading apart costs more than it saves */

/* The next chunk of the message that is being put together.  @return NQ_OK, NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_session_more_space(struct nqi_session *session);

/* That message goes. */
void nqi_session_drop_msg(struct nqi_session *session);

/* Have memory set aside for it; asked again later when there is none now. */
void nqi_session_reserve(struct nqi_session *session, int64_t now);
void nqi_session_retry_reserve(struct nqi_session *session, int64_t now);

/* Make the buffer, of one segment, its next chunk.  False: no memory for that. */
bool nqi_session_adopt(struct nqi_session *session, struct nqt_buf *buf);

/* `len` payload bytes are in place. */
static inline void nqi_session_advance(struct nqi_session *session, size_t len)
{
    struct nqi_session_rx *rx = &session->rx;

    rx->space += len;
    rx->room -= len;
    rx->have += len;
    rx->left -= len;
    session->rx_bytes += len;
}

/* @param msg [take] whole */
static inline void nqi_session_deliver(struct nqi_session *session, nq_msg *msg)
{
    msg->seq = session->received;
    session->stats.messages_in++;
    session->stats.bytes_in += msg->stream.nbytes;
    session->events->deliver(session->arg, msg);
}

/* ---- older.c ---------------------------------------------------------------------------- */

/* nqi_session_receive(), _space(), _commit() and _give() of a session of the older wire. */
NQ_MUST_CHECK nq_err nqi_older_receive(struct nqi_session *session, const uint8_t *data, size_t len,
                                       int64_t now);
size_t nqi_older_space(struct nqi_session *session, unsigned char **ret);
NQ_MUST_CHECK nq_err nqi_older_commit(struct nqi_session *session, size_t len);
NQ_MUST_CHECK nq_err nqi_older_give(struct nqi_session *session, struct nqt_buf *buf, int64_t now);

/* A frame that says our name: ini before everything else, fin behind everything else.
 * @param at [out] NQI_OLDER_NAME bytes */
void nqi_older_write_name(const struct nqi_session *session, uint8_t *at);

/* It is closed: a server waits for its client's fin first. */
void nqi_older_close(struct nqi_session *session);

/* The link took a buffer of records [take]: no more will be known of them. */
void nqi_older_handed(struct nqi_session *session, struct nqi_txbuf *txbuf);
/* The same of our fin. */
void nqi_older_fin_out(struct nqi_session *session);

#endif
