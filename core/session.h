/* The protocol of one session.  Pure: bytes and `now` in, buffers, deliveries and deadlines out; no
 * socket, clock, thread or random of its own.
 *
 *     put -> queue[control, bulk] -> stage | large records -> ready --pull--> link
 *                                      control records -> control -^
 *                                                               taken -> unacked --ack--> released
 *     link --bytes--> head, metadata, body -> deliver
 *
 * A session outlives its links.  States of the attachment:
 *
 *     DOWN      no link                            connect -> HELLO; begin, resume -> UP
 *     HELLO     HELLO sent, CHALLENGE awaited      CHALLENGE -> AUTH; REJECT, down -> DOWN
 *     AUTH      AUTH sent, WELCOME awaited         WELCOME -> UP; REJECT, down -> DOWN
 *     UP        data flows; GOAWAY asks to finish  close -> CLOSING; BYE -> CLOSED; down -> DOWN
 *     CLOSING   BYE sent, acks still flow          BYE_ACK, BYE -> CLOSED; down -> DOWN
 *     CLOSED    no data is sent any more           down -> DOWN
 *
 * While DOWN everything is kept: what is queued, what was sent and is not acknowledged, a message
 * that has come in part.  With the next link each side tells how many whole records it has, and the
 * other goes on with the next one.  nqi_session_restart() ends a session that cannot be resumed and
 * keeps what was never handed to a link for the one that follows.
 *
 * Numbers: each direction counts its DATA records from 1 (the sequence), its messages and its
 * payload bytes.  An ACK carries the sequence up to which everything is final at the receiver, and
 * how many messages and bytes the sender may have begun in all: absolute, so a lost or repeated one
 * does no harm.
 *
 * Invariants (session_check):
 *     acked <= handed <= reached <= seq; unacked holds the records acked+1 .. handed, in order
 *     sent_bytes <= credit_bytes, sent_messages <= credit_messages
 *     records of one message are contiguous; a message that has records is never in `queue`
 *     received beyond the credit that was granted = protocol error
 *
 * Guarded: a session whose key was never on a link, over a link that is not confidential by itself.
 * From WELCOME on all bytes travel in the frames of core/guard.h; a buffer in a frame counts as
 * handed to the link, as those do that a LOSSY link takes.
 *
 *     control, ready --nqi_session_pull()--> frames --pull, taken--> link
 *
 * Memory: what was sent stays until its acknowledgement: small messages in the block they were
 * gathered in, large ones in the user's own chunks.  Buffers that follow each other in a block are
 * joined there, once no link holds them, so that messages that leave one by one cost no more than
 * those that leave together. */
#ifndef NQ_CORE_SESSION_H
#define NQ_CORE_SESSION_H

#include "core/attach.h"
#include "core/base.h"
#include "core/guard.h"
#include "core/list.h"
#include "core/msg.h"
#include "core/schemas.h"
#include "core/txbuf.h"
#include <netqueue/future.h>

enum nqi_session_state {
    NQI_SESSION_DOWN,
    NQI_SESSION_HELLO,
    NQI_SESSION_AUTH,
    NQI_SESSION_UP,
    NQI_SESSION_CLOSING,
    NQI_SESSION_CLOSED
};

/* One message on its way to one peer.  The session's from nqi_session_put() until events->settle.
 */
struct nqi_tx {
    struct nqi_node node;
    nq_msg *msg;        /* one reference, the owner's of this struct; outlives the settling */
    uint64_t sent;      /* payload bytes that are in records */
    uint64_t begin_seq; /* of its first record, once begun */
    uint64_t end_seq;   /* of its last record; 0 = not there yet */
    bool begun;         /* its first record exists */
    bool awaited;       /* somebody waits for the outcome: ask for a quick acknowledgement */
    bool claimed;       /* events->begin said yes, in this session or one before */
    bool again;         /* a link took all of it in a session that ended: it may have arrived */
};

/* Calls up, made inside calls down.  `arg` is nqi_session_init()'s. */
struct nqi_session_events {
    /* A whole message arrived; its reference moves up. */
    void (*deliver)(void *arg, nq_msg *msg);
    /* `tx` leaves the queue for the first time and can no longer be cancelled.  False: it was
     * cancelled, and is its owner's again. */
    bool (*begin)(void *arg, struct nqi_tx *tx);
    /* The end of `tx`; the struct is its owner's again. */
    void (*settle)(void *arg, struct nqi_tx *tx, nq_outcome outcome, nq_reason reason);
    /* Messages put with nqi_session_put_now() settled: `count` of them. */
    void (*settle_untracked)(void *arg, uint64_t count, nq_outcome outcome, nq_reason reason);
    /* A message of `bytes` payload begins that is larger than a record: set memory aside for it.
     * False: not now; asked again later, and the peer gets no more credit until then. */
    bool (*reserve)(void *arg, uint64_t bytes);
    /* That message ended before it was whole.  A delivered one carries what was set aside in its
     * deadline_ns, for whoever takes it to give back. */
    void (*unreserve)(void *arg, uint64_t bytes);
};

/* Fixed options. */
struct nqi_session_conf {
    nq_uuid id, incarnation;
    uint64_t max_message;                   /* bytes that one received message may have */
    uint64_t window_bytes, window_messages; /* received and not taken by the user */
    uint32_t record;                        /* payload bytes in one record */
    uint32_t coalesce;                      /* bytes of small messages in one buffer; 0 = off */
    int64_t keepalive_ns;                   /* 0 = off */
    int64_t expiry_ns;                      /* without a link; 0 = it ends with its link */
    bool ack_consumed;                      /* acknowledge what the user took, not what is queued */
    bool resend; /* into the next session goes also what may have arrived in the last one */
};

struct nqi_session_stats {
    uint64_t messages_out, bytes_out, messages_in, bytes_in;
};

struct nqi_session_rx {
    struct nqi_head head;
    uint32_t fill;        /* bytes of the head, metadata or control body that are there */
    uint8_t stage;        /* enum in session_rx.c */
    bool waiting;         /* for events->reserve */
    bool skips;           /* older wire: the payload falls away */
    uint64_t left;        /* payload bytes of this record that are to come */
    nq_msg *msg;          /* being put together */
    uint64_t total, have; /* its payload: announced, received */
    unsigned char *space; /* where the next payload bytes go ... */
    size_t room;          /* ... and how many fit there */
    uint8_t *meta;        /* pooled, head.aux bytes */
    uint8_t raw[NQI_HEAD_BIG];
    uint8_t control[NQI_CONTROL_MAX];

    /* Where the record began that is being received: a lost link takes the part of it away. */
    struct {
        size_t views; /* of msg's stream */
        uint64_t have;
        unsigned char *space;
        size_t room;
    } mark;
};

/* Who a session is, to whoever wants to attach a link to it. */
struct nqi_session_name {
    nq_uuid id; /* nil = it has not begun */
    uint8_t key[NQI_KEY];
    uint32_t circle;   /* of the pre-shared key that `key` is made from; 0 = it was on a link */
    uint64_t counter;  /* of the last attempt to attach a link */
    int64_t expiry_ns; /* the shorter of both sides' */
};

/* What the greeting that goes on needs. */
struct nqi_session_greeting {
    struct nqi_psk psk;       /* of this link; a client's */
    uint8_t nonce[NQI_NONCE]; /* ours; a client's */
    uint8_t transcript[NQI_KEY];
    uint8_t proof[NQI_KEY]; /* of AUTH */
    uint64_t features;      /* in common; until CHALLENGE, ours */
    bool resumes;
};

/* First what every message needs, close together: among thousands of peers each line of memory that
 * one touches has to be fetched. */
struct nqi_session {
    /* fixed by nqi_session_init() */
    const struct nqi_session_conf *conf;
    const struct nqi_session_events *events;
    void *arg;

    enum nqi_session_state state;
    nq_uuid peer; /* known from CHALLENGE, or begin */
    uint64_t peer_max_message;
    union {
        struct {
            bool greeting_due, bye_ack_due, pong_due, ping_due, goaway_due;
        };
        uint64_t any_due; /* one look at all of them */
    };
    bool ack_due, bye_due;
    bool bye_waits; /* BYE came, and what was received is not all consumed */
    bool closing;   /* nqi_session_close() was called: BYE is due on every attachment */
    bool serves;    /* a server's */
    bool older;     /* it speaks the older wire: core/older.h */
    bool drops;     /* and its link cannot be held: what is too much falls away */
    bool going;     /* a client's: GOAWAY came, nothing new begins; a server's: it was answered */
    bool starved;   /* something due found no memory; the owner tries again and clears it */

    /* sending */
    struct nqi_fifo queue[2];               /* struct nqi_tx: control, bulk */
    struct nqi_tx *current;                 /* taken out of `queue`, not all records made */
    struct nqi_txbuf *stage;                /* small records gathered; not in `ready` yet */
    struct nqi_block *block;                /* where `stage` writes */
    struct nqi_txbuf *spare;                /* the next stage, empty; NULL = to be made */
    uint32_t block_size;                    /* of the next block */
    bool block_grew;                        /* it did, since the session was last idle */
    struct nqi_fifo control;                /* struct nqi_txbuf: to be pulled, before `ready` */
    struct nqi_fifo ready;                  /* struct nqi_txbuf: to be pulled */
    uint64_t ready_bytes;                   /* in `ready` */
    struct nqi_fifo frames;                 /* guarded: struct nqi_txbuf: to be pulled instead */
    struct nqi_txbuf *framed;               /* guarded: handed over, and not all in frames: one
                                             * reference; NULL = none */
    struct nqi_fifo unacked;                /* struct nqi_txbuf: pulled and taken */
    struct nqi_fifo await;                  /* struct nqi_tx: all records made, not acknowledged */
    uint64_t seq, handed, acked;            /* DATA records made; taken; acknowledged */
    uint64_t reached;                       /* the highest that any link took */
    uint64_t sent_messages, sent_bytes;     /* begun, made */
    uint64_t credit_messages, credit_bytes; /* the peer's absolute limits */
    uint64_t untracked;                     /* messages of put_now not settled */
    uint64_t in_flight; /* messages whose last record is made and not acknowledged */

    /* receiving */
    uint64_t received;                        /* DATA records that are whole */
    uint64_t rx_messages, rx_bytes;           /* begun; payload received */
    uint64_t taken_messages, taken_bytes;     /* the user took; from nqi_session_taken_by_user() */
    uint64_t consumed_seq;                    /* last record of the last message taken */
    uint64_t granted_messages, granted_bytes; /* credit announced */
    uint64_t acked_out, acked_bytes;          /* `received`, `rx_bytes` at the last ACK */
    uint64_t considered_bytes;                /* `rx_bytes` when one was last thought of */
    int64_t acked_at;                         /* `last_rx` then */

    /* time; NQI_NEVER = not set */
    int64_t ack_at, ping_at, retry_at, expire_at;
    int64_t bye_at; /* a server's BYE waits for the client until then */
    int64_t last_rx;
    uint32_t pings;       /* unanswered */
    nq_reason bye_reason; /* why CLOSED */
    struct nqi_session_stats stats;

    struct nqi_guard guard; /* its first word says whether there is one */
    struct nqi_session_rx rx;

    /* what few messages need: guarded */
    uint32_t nframes;
    bool welcome_due;       /* a server's: WELCOME goes before the first frame */
    uint64_t framed_offset; /* bytes of `framed` that are in frames */
    /* large ones with a schema */
    struct nqi_schemas told;  /* what the peer knows when it has all of `seq` */
    struct nqi_schemas heard; /* what the peer told, up to `received` */
    /* the answer to PING */
    uint64_t pong;
    /* older wire */
    uint64_t fallen; /* messages that fell away, since the owner last looked */
    nq_uuid proven;  /* a client's: who the server must be; nil = anybody */

    /* what attaching a link needs */
    struct nqi_session_name name;
    struct nqi_session_greeting greeting;
    nq_uuid opening; /* a client's: the session that it wants and was not welcomed to; nil = none */
    struct nqi_session_name former; /* a client's: the last one, which the server may still have */
    uint64_t former_received;       /* DATA records of it that were final here */
};

/* @param conf, events, arg  borrowed for the session's life */
void nqi_session_init(struct nqi_session *session, const struct nqi_session_conf *conf,
                      const struct nqi_session_events *events, void *arg);

/* Settle whatever is left (not delivered or unknown, `reason`) and release everything. */
void nqi_session_fini(struct nqi_session *session, nq_reason reason);

/* ---- attachment (session.c, session_end.c) ------------------------------------------------ */

/* May it go on over a link that goes by the keys of `circle`?  What was made from another circle's
 * key, or was once in the clear, proves nothing there. */
bool nqi_session_fits(const struct nqi_session_name *name, uint32_t circle);

/* A client's: a link is there that it fits, HELLO is due.  @param psk  that the link goes by
 * @param nonce  random  @param features  NQI_FEATURE_ bits that this side and the link have */
void nqi_session_connect(struct nqi_session *session, const struct nqi_psk *psk,
                         const uint8_t nonce[NQI_NONCE], uint64_t features, int64_t now);

/* A server's: it begins, over a link whose AUTH was accepted; WELCOME is due, the session is UP.
 * @param id  random  @param key  of PSK: nqi_psk_session_key(); else random
 * @param circle  of PSK; else 0 */
void nqi_session_begin(struct nqi_session *session, const struct nqi_attach *attach,
                       const nq_uuid *id, const uint8_t key[NQI_KEY], uint32_t circle, int64_t now);

/* nqi_session_resume() would not refuse `attach`, whatever link it has now.
 * @return NQ_OK, NQ_ERR_PROTO */
NQ_MUST_CHECK nq_err nqi_session_may_resume(const struct nqi_session *session,
                                            const struct nqi_attach *attach);

/* A server's: it goes on, while DOWN, over a link whose AUTH was proven; or it begins once more,
 * over a link whose AUTH asks for this same session, because WELCOME was lost.
 * @return NQ_OK; NQ_ERR_PROTO (nothing changes: an old attempt, or records that do not exist),
 * NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_session_resume(struct nqi_session *session,
                                        const struct nqi_attach *attach, int64_t now);

/* A client's, without a link: its pre-shared key is another one.  A session that it opened with the
 * former one and was not welcomed to has a key that it does not know: it asks for a new one. */
void nqi_session_rekey(struct nqi_session *session);

/* AUTH in `attach` is from whoever has this session. */
bool nqi_session_is_proven(const struct nqi_session_name *name, const struct nqi_attach *attach);

/* A server's, before it ends: `received` of its DATA records were final at the client. */
void nqi_session_know_received(struct nqi_session *session, uint64_t received);

/* DATA records that are final here: what is acknowledged. */
static inline uint64_t nqi_session_final(const struct nqi_session *session)
{
    return session->conf->ack_consumed ? session->consumed_seq : session->received;
}

/* The link is lost: all is kept. */
void nqi_session_down(struct nqi_session *session);

/* It has begun and not been closed, and both sides want to keep it without a link. */
bool nqi_session_is_resumable(const struct nqi_session *session);

/* While DOWN: the session is over.  What any link took and is not acknowledged settles as unknown,
 * what was begun and cannot be whole as not delivered.  The rest is kept for the next session; with
 * conf->resend all of it is, marked. */
void nqi_session_restart(struct nqi_session *session, nq_reason reason);

/* Say good-bye once everything queued is sent; again on the next link if this one is lost first.  A
 * server asks its client before to finish what it has begun, and waits a second for that. */
void nqi_session_close(struct nqi_session *session, int64_t now);

/* Nothing is queued, staged, unacknowledged. */
bool nqi_session_flushed(const struct nqi_session *session);

/* Do what is due at `now`.  @return NQ_OK, NQ_ERR_LINK: the peer is silent for too long */
NQ_MUST_CHECK nq_err nqi_session_tick(struct nqi_session *session, int64_t now);

/* When nqi_session_tick() has something to do next; NQI_NEVER. */
static inline int64_t nqi_session_deadline(const struct nqi_session *session)
{
    return NQI_MIN(NQI_MIN(NQI_MIN(session->ack_at, session->ping_at), session->bye_at),
                   NQI_MIN(session->retry_at, session->expire_at));
}

/* ---- sending (session_queue.c, session_tx.c, session_out.c) ----------------------------- */

/* Queue `tx`; its fields other than msg and awaited are set here. */
void nqi_session_put(struct nqi_session *session, struct nqi_tx *tx);

/* Copy a small message straight into the stage, when nothing is queued before it and there is
 * credit. True: done; `msg` stays the caller's.  With `tx` its outcome comes through
 * events->settle, and tx->msg is not looked at again; without, it is counted by
 * events->settle_untracked. */
bool nqi_session_put_now(struct nqi_session *session, const nq_msg *msg, struct nqi_tx *tx);

/* Write a small message as the next record, for a link that copies it at once, while nothing else
 * waits to be sent but an acknowledgement.  @param len [out] its bytes  @return where they lie;
 * NULL: not this way.  Nothing has changed, until nqi_session_straight_taken(). */
const void *nqi_session_write_straight(struct nqi_session *session, const nq_msg *msg, size_t *len);

/* The link has copied those `len` bytes.  `msg` stays the caller's; it is counted by
 * events->settle_untracked. */
void nqi_session_straight_taken(struct nqi_session *session, const nq_msg *msg, size_t len);

/* Take the first queued message out that `match` accepts; NULL when there is none. */
struct nqi_tx *nqi_session_take_if(struct nqi_session *session,
                                   bool (*match)(const struct nqi_tx *tx));

/* The oldest queued message that was never begun, taken out; NULL when there is none. */
struct nqi_tx *nqi_session_pop_oldest(struct nqi_session *session);

/* Settle queued messages whose time to live ended. */
void nqi_session_expire(struct nqi_session *session, int64_t now);

/* Bytes in the stage: small messages that leave together. */
static inline uint64_t nqi_session_staged(const struct nqi_session *session)
{
    return session->stage ? session->stage->buf.len : 0;
}

/* The link has not taken all that was put into frames, or has to be. */
static inline bool nqi_session_is_framing(const struct nqi_session *session)
{
    return session->frames.head || session->framed;
}

/* Something besides the stage and an acknowledgement could be pulled now. */
static inline bool nqi_session_has_others(const struct nqi_session *session)
{
    return session->any_due || session->control.head || session->ready.head ||
           nqi_session_is_framing(session) || session->current || session->queue[0].head ||
           session->queue[1].head || (session->bye_due && session->state == NQI_SESSION_UP);
}

/* Something besides the stage could be pulled now. */
static inline bool nqi_session_has_more(const struct nqi_session *session)
{
    return session->ack_due || nqi_session_has_others(session);
}

/* Something could be pulled now. */
static inline bool nqi_session_has_output(const struct nqi_session *session)
{
    return session->state != NQI_SESSION_DOWN && (session->stage || nqi_session_has_more(session));
}

#define NQI_ACK_RECORDS 16
#define NQI_ACK_BYTES ((uint64_t)1 << 20)
#define NQI_ACK_NS (5 * NQI_NS_PER_MS) /* half of the least that one is delayed */

/* An acknowledgement is worth sending along with other output: it spares a send of its own later.
 * When messages go both ways quickly, one for many is enough; a good-bye carries the last. */
static inline bool nqi_session_ack_rides(const struct nqi_session *session)
{
    uint64_t records = session->received - session->acked_out;

    return session->ack_at != NQI_NEVER && records && !session->conf->ack_consumed &&
           (records >= NQI_ACK_RECORDS ||
            session->rx_bytes >= session->acked_bytes + NQI_ACK_BYTES ||
            session->last_rx - session->acked_at >= NQI_ACK_NS || session->state != NQI_SESSION_UP);
}

/* Whatever could be pulled, but for the stage and an acknowledgement, is nothing; these may go as
 * they are.  First the acknowledgement, where it is due or rides along, as nqi_session_write_ack()
 * has it; then nqi_session_stage_bytes(). */
static inline bool nqi_session_is_plain(const struct nqi_session *session)
{
    return session->state == NQI_SESSION_UP && !session->guard.on &&
           !nqi_session_has_others(session);
}

/* Bytes of the stage; NULL = it has none.  They stay the session's: nqi_session_stage_taken() must
 * follow if the link has copied them. */
static inline const void *nqi_session_stage_bytes(const struct nqi_session *session, size_t *len)
{
    if (!session->stage)
        return NULL;
    *len = session->stage->seg[0].iov_len;
    return session->stage->seg[0].iov_base;
}

/* The link has copied the bytes of nqi_session_stage_bytes(). */
void nqi_session_stage_taken(struct nqi_session *session);

/* Write that acknowledgement.  @return its bytes, which the link must copy now, or
 * nqi_session_ack_refused() must follow */
#define NQI_ACK_RECORD (NQI_HEAD + 24)
size_t nqi_session_write_ack(struct nqi_session *session, uint8_t at[NQI_ACK_RECORD]);
static inline void nqi_session_ack_refused(struct nqi_session *session)
{
    session->ack_due = true;
}

/* CLOSED, and all that the other side still waits for was pulled and taken. */
static inline bool nqi_session_is_over(const struct nqi_session *session)
{
    return session->state == NQI_SESSION_CLOSED && !session->control.head &&
           !nqi_session_is_framing(session) && !session->ack_due && !session->pong_due &&
           !session->ping_due && !session->bye_ack_due;
}

/* Buffers to send next, in order, at most `cap`.  They stay the session's; nqi_session_taken() must
 * follow.  @param seal  the stage leaves too  @return how many */
uint32_t nqi_session_pull(struct nqi_session *session, bool seal, struct nqt_buf **bufs,
                          uint32_t cap);

/* What must frame anything else that is said on the link; NULL = nothing must.  Nothing may be said
 * while nqi_session_is_framing(). */
static inline struct nqi_guard *nqi_session_guard(struct nqi_session *session)
{
    return session->guard.on ? &session->guard : NULL;
}

/* The link took the first `n` of them. */
void nqi_session_taken(struct nqi_session *session, uint32_t n);

/* ---- receiving (session_rx.c) ----------------------------------------------------------- */

/* Bytes from the link, any number.  @return NQ_OK; NQ_ERR_PROTO, NQ_ERR_TOO_BIG,
 * NQ_ERR_NOMEM, NQ_ERR_CLOSED (REJECT: bye_reason says why): close the link. */
NQ_MUST_CHECK nq_err nqi_session_receive(struct nqi_session *session, const uint8_t *data,
                                         size_t len, int64_t now);

/* Where payload may be read straight into: the rest of a large body.  @return bytes of room, 0 =
 * none: read elsewhere and call nqi_session_receive() */
size_t nqi_session_space(struct nqi_session *session, unsigned char **ret);

/* `len` bytes, at most the room, were read there.  @return as nqi_session_receive() */
NQ_MUST_CHECK nq_err nqi_session_commit(struct nqi_session *session, size_t len, int64_t now);

/* Bytes from the link that are in memory already: one segment, borrowed.  What is whole payload of
 * a large body becomes part of the message where it lies, and a reference keeps it.
 * @return as nqi_session_receive() */
NQ_MUST_CHECK nq_err nqi_session_give(struct nqi_session *session, struct nqt_buf *buf,
                                      int64_t now);

/* Of what came in this session the user has taken `messages` with `bytes` in all so far, the last
 * one with sequence `seq`. */
void nqi_session_taken_by_user(struct nqi_session *session, uint64_t messages, uint64_t bytes,
                               uint64_t seq);

#endif
