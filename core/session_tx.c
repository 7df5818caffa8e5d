/* The sending half of a session.
 *
 *     put      queue: a message is still whole, can be cancelled, dropped, expired
 *     refill   queue -> records, while credit lasts and `ready` is not long
 *     stage    small records are copied behind each other into a block; sealed when full or asked
 * for large    one buffer a record: its head, then the user's own memory taken    ready -> unacked;
 * control records end here ack      unacked -> released; await -> settled
 *
 * A message with a time to live, or more than NQI_TX_COPY bytes, goes through the queue; others may
 * go straight into the stage when nothing is before them. */
#include "core/session.h"

#include "core/copy.h"

#define TX_COPY 2048u           /* payload up to this is copied into the stage */
#define TX_READY_MAX (1u << 20) /* bytes of records made ahead of the link */
#define TX_BLOCK_MIN 2048u      /* blocks double from here to `coalesce` while traffic lasts */
#define TX_SEGMENTS 64u         /* of one large record */

static bool tx_sending(const struct nqi_session *session)
{
    return session->state == NQI_SESSION_UP;
}

static struct nqi_tx *tx_of(struct nqi_node *node)
{
    return NQI_CONTAINER(node, struct nqi_tx, node);
}

static struct nqi_txbuf *txbuf_of(struct nqi_node *node)
{
    return NQI_CONTAINER(node, struct nqi_txbuf, node);
}

static void tx_push_ready(struct nqi_session *session, struct nqi_txbuf *txbuf)
{
    nqi_fifo_push(&session->ready, &txbuf->node);
    session->ready_bytes += txbuf->buf.len;
}

/* ---- the stage --------------------------------------------------------------------------- */

static void tx_seal(struct nqi_session *session)
{
    struct nqi_txbuf *stage = session->stage;

    if (!stage)
        return;
    session->stage = NULL;
    tx_push_ready(session, stage);
}

static void tx_drop_block(struct nqi_session *session)
{
    nqi_block_unref(session->block);
    session->block = NULL;
}

/* A block with `size` bytes free; NULL = no memory. */
static struct nqi_block *tx_block(struct nqi_session *session, uint32_t size)
{
    uint32_t most = NQI_MAX(session->conf->coalesce, TX_BLOCK_MIN);
    uint32_t next = NQI_MIN(NQI_MAX(session->block_size, TX_BLOCK_MIN), most);

    if (session->block && session->block->cap - session->block->fill >= size)
        return session->block;
    tx_seal(session);
    if (session->block) { /* filled in one go: the next may be larger */
        session->block_size = NQI_MIN(next * 2, most);
        tx_drop_block(session);
    }
    /* The header of the block is in the same pooled memory: stay inside the size class. */
    next = NQI_MAX(next - (uint32_t)sizeof(struct nqi_block), size);
    session->block = nqi_block_new(next);
    return session->block;
}

/* `size` contiguous bytes at the end of the stage, or NULL = no memory. */
static uint8_t *tx_stage(struct nqi_session *session, uint32_t size)
{
    struct nqi_block *block = tx_block(session, size);
    struct nqi_txbuf *stage = session->stage;
    uint8_t *at;

    if (!block)
        return NULL;
    if (!stage) {
        stage = nqi_txbuf_new(1, 0);
        if (!stage)
            return NULL;
        atomic_fetch_add_explicit(&block->refs, 1, memory_order_relaxed);
        stage->block = block;
        nqi_txbuf_add(stage, block->data + block->fill, 0);
        session->stage = stage;
    }
    at = block->data + block->fill;
    block->fill += size;
    stage->seg[0].iov_len += size;
    stage->buf.len += size;
    return at;
}

static bool tx_has_credit(const struct nqi_session *session, uint64_t bytes)
{
    return session->sent_messages < session->credit_messages &&
           bytes <= session->credit_bytes - session->sent_bytes;
}

/* Bytes that a record for the whole message takes, or 0: too many for the stage. */
static uint32_t tx_small_size(const struct nqi_session *session, const nq_msg *msg)
{
    uint64_t size = msg->stream.nbytes;
    size_t meta = nqi_msg_meta_len(msg);

    if (size > TX_COPY || meta > TX_COPY || !session->conf->coalesce)
        return 0;
    return (uint32_t)(NQI_HEAD + meta + size);
}

static void tx_copy_payload(uint8_t *at, const nq_msg *msg)
{
    for (size_t i = 0; i < nqi_stream_count(&msg->stream); i++) {
        const nq_view *view = nqi_stream_view(&msg->stream, i);

        memcpy(at, view->data, view->len);
        at += view->len;
    }
}

/* Account for the first record of a message. */
static void tx_begin(struct nqi_session *session, const nq_msg *msg)
{
    session->sent_messages++;
    session->stats.messages_out++;
    session->stats.bytes_out += msg->stream.nbytes;
}

/* Write a message as one record at the end of the stage.  False: no memory, nothing changed. */
static bool tx_write_small(struct nqi_session *session, const nq_msg *msg, uint32_t size,
                           bool awaited)
{
    uint8_t flags = NQI_DATA_BEGIN | NQI_DATA_END | (awaited ? NQI_DATA_ACKNOW : 0);
    uint8_t *at = tx_stage(session, size);
    size_t meta_len = nqi_msg_meta_len(msg);

    if (!at)
        return false;
    at += nqi_head_write(at, NQI_DATA, flags, (uint16_t)meta_len, size - NQI_HEAD, 0);
    if (meta_len)
        memcpy(at, nqi_msg_meta_raw(msg, &meta_len), meta_len);
    tx_copy_payload(at + meta_len, msg);
    tx_begin(session, msg);
    session->sent_bytes += msg->stream.nbytes;
    session->stage->last_seq = ++session->seq;
    session->stage->records++;
    session->stage->begins++;
    session->stage->ends++;
    session->in_flight++;
    session->stage->payload += msg->stream.nbytes;
    return true;
}

bool nqi_session_put_now(struct nqi_session *session, const nq_msg *msg, struct nqi_tx *tx)
{
    uint32_t size;

    if (!tx_sending(session) || session->ready.head || session->queue[0].head ||
        session->queue[1].head || session->current || msg->ttl_ns)
        return false;
    size = tx_small_size(session, msg);
    if (!size || !tx_has_credit(session, msg->stream.nbytes) ||
        !tx_write_small(session, msg, size, tx && tx->awaited))
        return false;
    if (!tx) {
        session->untracked++;
        session->stage->untracked++;
        return true;
    }
    tx->begun = true;
    tx->sent = msg->stream.nbytes;
    tx->end_seq = session->seq;
    nqi_fifo_push(&session->await, &tx->node);
    return true;
}

/* ---- large records -------------------------------------------------------------------------- */

/* Append bytes [off, off + len) of the payload as segments. */
static void tx_add_payload(struct nqi_txbuf *txbuf, const nq_msg *msg, uint64_t off, uint64_t len)
{
    for (size_t i = 0; len && i < nqi_stream_count(&msg->stream); i++) {
        const nq_view *view = nqi_stream_view(&msg->stream, i);
        uint64_t n;

        if (off >= view->len) {
            off -= view->len;
            continue;
        }
        n = NQI_MIN(view->len - off, len);
        nqi_txbuf_add(txbuf, view->data + off, (size_t)n);
        len -= n;
        off = 0;
    }
}

/* How many bytes from `off` on fit into TX_SEGMENTS segments, at most `len`; the number of
 * segments. */
static uint64_t tx_measure(const nq_msg *msg, uint64_t off, uint64_t len, uint32_t *nseg)
{
    uint64_t got = 0;

    *nseg = 0;
    for (size_t i = 0; got < len && *nseg < TX_SEGMENTS && i < nqi_stream_count(&msg->stream);
         i++) {
        const nq_view *view = nqi_stream_view(&msg->stream, i);

        if (off >= view->len) {
            off -= view->len;
            continue;
        }
        got += NQI_MIN(view->len - off, len - got);
        off = 0;
        ++*nseg;
    }
    return got;
}

/* Make the next record of `tx`.  False: no credit or no memory; nothing changed. */
static bool tx_write_large(struct nqi_session *session, struct nqi_tx *tx)
{
    uint64_t size = tx->msg->stream.nbytes, left = size - tx->sent, len;
    size_t meta_len = 0;
    const unsigned char *meta = tx->begun ? NULL : nqi_msg_meta_raw(tx->msg, &meta_len);
    struct nqi_txbuf *txbuf;
    uint8_t flags = 0;
    uint32_t nseg;

    len = NQI_MIN(left, session->conf->record);
    len = NQI_MIN(len, session->credit_bytes - session->sent_bytes);
    if ((left && !len) || (!tx->begun && session->sent_messages >= session->credit_messages))
        return false;
    len = tx_measure(tx->msg, tx->sent, len, &nseg);
    txbuf = nqi_txbuf_new(nseg + 1, NQI_HEAD_BIG + (uint32_t)meta_len);
    if (!txbuf)
        return false;
    if (!tx->begun)
        flags |= NQI_DATA_BEGIN;
    if (len == left)
        flags |= NQI_DATA_END | (tx->awaited ? NQI_DATA_ACKNOW : 0);
    else if (!tx->begun)
        flags |= NQI_DATA_BIG;
    txbuf->head_len = (uint32_t)nqi_head_write(txbuf->room, NQI_DATA, flags, (uint16_t)meta_len,
                                               (uint32_t)(meta_len + len), size);
    if (meta_len)
        nqi_copy(txbuf->room + txbuf->head_len, meta, meta_len);
    nqi_txbuf_add(txbuf, txbuf->room, txbuf->head_len + meta_len);
    tx_add_payload(txbuf, tx->msg, tx->sent, len);
    txbuf->msg = nqi_msg_ref(tx->msg);
    txbuf->tx = tx;
    txbuf->records = 1;
    txbuf->begins = !tx->begun;
    txbuf->ends = len == left;
    session->in_flight += txbuf->ends;
    txbuf->payload = len;
    txbuf->last_seq = ++session->seq;

    if (!tx->begun)
        tx_begin(session, tx->msg);
    session->sent_bytes += len;
    tx->sent += len;
    tx_seal(session); /* what was put before leaves before */
    tx_push_ready(session, txbuf);
    return true;
}

/* ---- the queue ---------------------------------------------------------------------------------
 */

void nqi_session_put(struct nqi_session *session, struct nqi_tx *tx)
{
    tx->sent = 0;
    tx->end_seq = 0;
    tx->begun = false;
    if (tx->msg->deadline_ns)
        session->expire_at = NQI_MIN(session->expire_at, tx->msg->deadline_ns);
    nqi_fifo_push(&session->queue[tx->msg->control ? 0 : 1], &tx->node);
}

static struct nqi_fifo *tx_next_queue(struct nqi_session *session)
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
            struct nqi_tx *tx = tx_of(node);

            if (tx_expired(tx, now)) {
                session->events->settle(session->arg, tx, NQ_EXPIRED, NQ_REASON_NONE);
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
            if (match(tx_of(node))) {
                nqi_fifo_remove(&session->queue[i], node);
                return tx_of(node);
            }
    return NULL;
}

struct nqi_tx *nqi_session_pop_oldest(struct nqi_session *session)
{
    struct nqi_node *node = nqi_fifo_pop(&session->queue[1]);

    if (!node)
        node = nqi_fifo_pop(&session->queue[0]);
    return node ? tx_of(node) : NULL;
}

/* The last record of `tx` is made. */
static void tx_finish(struct nqi_session *session, struct nqi_tx *tx)
{
    tx->end_seq = session->seq;
    nqi_fifo_push(&session->await, &tx->node);
}

/* There is credit for the first record. */
static bool tx_may_start(const struct nqi_session *session, const struct nqi_tx *tx)
{
    uint64_t size = tx->msg->stream.nbytes;

    if (tx_small_size(session, tx->msg))
        return tx_has_credit(session, size);
    return session->sent_messages < session->credit_messages &&
           (!size || session->sent_bytes < session->credit_bytes);
}

/* Make the first records of a message.  False: no memory, it stays in the queue. */
static bool tx_start(struct nqi_session *session, struct nqi_tx *tx)
{
    uint32_t size = tx_small_size(session, tx->msg);

    if (size) {
        if (!tx_write_small(session, tx->msg, size, tx->awaited))
            return false;
        tx->sent = tx->msg->stream.nbytes;
    } else if (!tx_write_large(session, tx)) {
        return false;
    }
    tx->begun = true;
    return true;
}

/* queue -> records, while it lasts. */
static void tx_refill(struct nqi_session *session)
{
    struct nqi_fifo *queue;

    while (session->ready_bytes + nqi_session_staged(session) < TX_READY_MAX) {
        struct nqi_tx *tx = session->current;

        if (tx) {
            if (!tx_write_large(session, tx))
                return;
        } else {
            queue = tx_next_queue(session);
            if (!queue)
                return;
            tx = tx_of(queue->head);
            if (!tx_may_start(session, tx))
                return;
            nqi_fifo_pop(queue);
            if (!session->events->begin(session->arg, tx))
                continue;
            if (!tx_start(session, tx)) {
                nqi_fifo_push_front(queue, &tx->node);
                return;
            }
        }
        session->current = tx->sent < tx->msg->stream.nbytes ? tx : NULL;
        if (!session->current)
            tx_finish(session, tx);
    }
}

/* ---- control records
 * ------------------------------------------------------------------------------ */

static uint8_t *control_write(uint8_t *at, enum nqi_record_type type, uint16_t aux,
                              const uint64_t *numbers, uint32_t count)
{
    at += nqi_head_write(at, (uint8_t)type, 0, aux, count * 8, 0);
    for (uint32_t i = 0; i < count; i++, at += 8)
        nqi_store_u64(at, numbers[i]);
    return at;
}

static uint8_t *control_write_hello(struct nqi_session *session, uint8_t *at)
{
    const struct nqi_session_conf *conf = session->conf;
    struct nqi_hello hello = {.version_min = NQI_VERSION_MIN,
                              .version_max = NQI_VERSION_MAX,
                              .id = conf->id,
                              .incarnation = conf->incarnation,
                              .max_message = conf->max_message,
                              .keepalive_ns = conf->keepalive_ns,
                              .received = session->received};
    enum nqi_record_type type = session->state == NQI_SESSION_GREETING ? NQI_HELLO : NQI_WELCOME;

    nqi_session_grant(session, &hello.credit_messages, &hello.credit_bytes);
    session->granted_messages = hello.credit_messages;
    session->granted_bytes = hello.credit_bytes;
    nqi_hello_write(at, type, &hello);
    return at + NQI_HEAD + NQI_HELLO_SIZE;
}

static uint8_t *control_write_ack(struct nqi_session *session, uint8_t *at)
{
    uint64_t numbers[3] = {session->conf->ack_consumed ? session->consumed_seq : session->received};

    nqi_session_grant(session, &numbers[1], &numbers[2]);
    session->granted_messages = numbers[1];
    session->granted_bytes = numbers[2];
    session->acked_out = session->received;
    session->acked_bytes = session->rx_bytes;
    session->ack_at = NQI_NEVER;
    return control_write(at, NQI_ACK, 0, numbers, 3);
}

static bool control_due(const struct nqi_session *session)
{
    return session->hello_due || session->bye_ack_due || session->pong_due || session->ping_due ||
           session->ack_due;
}

/* An acknowledgement is worth sending along with other output. */
static bool control_rides_along(const struct nqi_session *session)
{
    return session->ack_at != NQI_NEVER && session->received != session->acked_out &&
           !session->conf->ack_consumed;
}

/* All that is due, in one buffer in front of everything else.  No memory: it stays due. */
static void tx_control(struct nqi_session *session)
{
    struct nqi_txbuf *txbuf =
        nqi_txbuf_new(1, session->hello_due ? NQI_HEAD + NQI_HELLO_SIZE + 128 : 128);
    uint8_t *at;

    if (!txbuf)
        return;
    at = txbuf->room;
    if (session->hello_due)
        at = control_write_hello(session, at);
    if (session->ack_due || control_rides_along(session))
        at = control_write_ack(session, at);
    if (session->pong_due)
        at = control_write(at, NQI_PONG, 0, &session->pong, 1);
    if (session->ping_due)
        at = control_write(at, NQI_PING, 0, &session->stats.messages_in, 1);
    if (session->bye_ack_due)
        at = control_write(at, NQI_BYE_ACK, 0, NULL, 0);
    session->hello_due = session->ack_due = session->pong_due = session->ping_due =
        session->bye_ack_due = false;
    nqi_txbuf_add(txbuf, txbuf->room, (size_t)(at - txbuf->room));
    nqi_fifo_push_front(&session->ready, &txbuf->node);
    session->ready_bytes += txbuf->buf.len;
}

/* BYE is the last record: it goes behind everything. */
static void tx_bye(struct nqi_session *session)
{
    struct nqi_txbuf *txbuf;

    if (!session->bye_due || session->state != NQI_SESSION_UP || session->current ||
        tx_next_queue(session))
        return;
    txbuf = nqi_txbuf_new(1, NQI_HEAD + 8);
    if (!txbuf)
        return;
    control_write(txbuf->room, NQI_BYE, 0, &session->seq, 1);
    nqi_txbuf_add(txbuf, txbuf->room, NQI_HEAD + 8);
    tx_seal(session);
    tx_push_ready(session, txbuf);
    session->bye_due = false;
    nqi_session_enter(session, NQI_SESSION_CLOSING);
}

/* ---- to the link
 * ----------------------------------------------------------------------------------- */

uint32_t nqi_session_pull(struct nqi_session *session, bool seal, struct nqt_buf **bufs,
                          uint32_t cap)
{
    bool had_output = session->ready.head;
    struct nqi_node *node;
    uint32_t n = 0;

    if (session->state == NQI_SESSION_DOWN)
        return 0;
    if (tx_sending(session)) {
        tx_refill(session);
        if (seal)
            tx_seal(session);
        tx_bye(session);
    }
    if (control_due(session) ||
        (session->ready.head && !had_output && control_rides_along(session)))
        tx_control(session);
    for (node = session->ready.head; node && n < cap; node = node->next) {
        /* Until the peer answered, records of an earlier attachment stay back. */
        if (session->state == NQI_SESSION_GREETING && txbuf_of(node)->last_seq)
            break;
        bufs[n] = &txbuf_of(node)->buf;
        bufs[n]->ops->ref(bufs[n]); /* the transport's */
        n++;
    }
    return n;
}

void nqi_session_taken(struct nqi_session *session, uint32_t n)
{
    while (n--) {
        struct nqi_txbuf *txbuf = txbuf_of(nqi_fifo_pop(&session->ready));

        session->ready_bytes -= txbuf->buf.len;
        if (txbuf->last_seq)
            nqi_fifo_push(&session->unacked, &txbuf->node);
        else
            nqi_txbuf_unref(txbuf);
    }
}

static void tx_settle_untracked(struct nqi_session *session, uint64_t count, nq_outcome outcome,
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
    tx_drop_block(session);
    session->block_size /= 2;
}

void nqi_session_on_ack(struct nqi_session *session, uint64_t seq, uint64_t messages,
                        uint64_t bytes)
{
    uint64_t untracked = 0;
    struct nqi_node *node;

    /* Absolute limits only grow. */
    session->credit_messages = NQI_MAX(session->credit_messages, messages);
    session->credit_bytes = NQI_MAX(session->credit_bytes, bytes);
    if (seq <= session->acked)
        return;
    session->acked = seq;
    while ((node = session->unacked.head) && txbuf_of(node)->last_seq <= seq) {
        nqi_fifo_pop(&session->unacked);
        untracked += txbuf_of(node)->untracked;
        session->in_flight -= txbuf_of(node)->ends;
        nqi_txbuf_unref(txbuf_of(node));
    }
    tx_settle_untracked(session, untracked, NQ_DELIVERED, NQ_REASON_NONE);
    while ((node = session->await.head) && tx_of(node)->end_seq <= seq) {
        nqi_fifo_pop(&session->await);
        session->events->settle(session->arg, tx_of(node), NQ_DELIVERED, NQ_REASON_NONE);
    }
    tx_on_idle(session);
}

bool nqi_session_flushed(const struct nqi_session *session)
{
    return !session->queue[0].head && !session->queue[1].head && !session->current &&
           !session->stage && !session->ready.head && !session->unacked.head;
}

/* ---- the link is lost
 * ---------------------------------------------------------------------------------- */

/* The last sequence that was handed to the lost link. */
static uint64_t tx_handed_over(const struct nqi_session *session)
{
    uint64_t last = session->acked;

    for (struct nqi_node *node = session->unacked.head; node; node = node->next)
        last = txbuf_of(node)->last_seq;
    return last;
}

static uint64_t tx_drop_all(struct nqi_session *session, struct nqi_fifo *fifo)
{
    uint64_t untracked = 0;
    struct nqi_node *node;

    while ((node = nqi_fifo_pop(fifo))) {
        untracked += txbuf_of(node)->untracked;
        session->in_flight -= txbuf_of(node)->ends;
        nqi_txbuf_unref(txbuf_of(node));
    }
    return untracked;
}

/* Large records that are not handed over go back to being messages: the last thing in `ready` at
 * most, since each of them is followed by nothing but later ones. */
static bool tx_is_cut(const struct nqi_session *session, const struct nqi_tx *tx, uint64_t handed)
{
    for (struct nqi_node *node = session->unacked.head; node; node = node->next)
        if (txbuf_of(node)->tx == tx)
            return tx->end_seq == 0 || tx->end_seq > handed;
    return false;
}

/* Drop control records and the records of the message that is cut in two from `ready`; number the
 * rest anew from 1. */
static void tx_renumber(struct nqi_session *session, const struct nqi_tx *cut)
{
    struct nqi_fifo old = session->ready;
    struct nqi_node *node;

    nqi_fifo_init(&session->ready);
    session->ready_bytes = 0;
    session->seq = session->acked = 0;
    session->sent_messages = session->sent_bytes = 0;
    while ((node = nqi_fifo_pop(&old))) {
        struct nqi_txbuf *txbuf = txbuf_of(node);

        if (!txbuf->last_seq || (cut && txbuf->tx == cut)) {
            session->in_flight -= txbuf->ends;
            nqi_txbuf_unref(txbuf);
            continue;
        }
        session->seq += txbuf->records;
        session->sent_messages += txbuf->begins;
        session->sent_bytes += txbuf->payload;
        txbuf->last_seq = session->seq;
        tx_push_ready(session, txbuf);
    }
}

/* Messages whose records are dropped. */
static void tx_settle_begun(struct nqi_session *session, nq_reason reason)
{
    struct nqi_tx *current = session->current;
    struct nqi_node *node;

    session->current = NULL;
    while ((node = nqi_fifo_pop(&session->await)))
        session->events->settle(session->arg, tx_of(node), NQ_NOT_DELIVERED, reason);
    if (current)
        session->events->settle(session->arg, current, NQ_NOT_DELIVERED, reason);
}

void nqi_session_on_credit(struct nqi_session *session, uint64_t messages, uint64_t bytes)
{
    session->credit_messages = messages;
    session->credit_bytes = bytes;
    if (session->sent_messages <= messages && session->sent_bytes <= bytes)
        return;
    /* Made for a peer that granted more: the new one would call it a breach. */
    tx_settle_untracked(session, tx_drop_all(session, &session->ready), NQ_NOT_DELIVERED,
                        NQ_REASON_LIMIT);
    tx_settle_begun(session, NQ_REASON_LIMIT);
    session->ready_bytes = 0;
    session->sent_messages = session->sent_bytes = session->seq = 0;
}

void nqi_session_tx_down(struct nqi_session *session, nq_reason reason)
{
    uint64_t handed = tx_handed_over(session), before, dropped;
    struct nqi_tx *cut = NULL;
    struct nqi_fifo await = session->await;
    struct nqi_node *node;

    tx_seal(session);
    if (session->current && tx_is_cut(session, session->current, handed))
        cut = session->current;
    nqi_fifo_init(&session->await);
    if (!await.head)
        nqi_fifo_init(&await);
    /* What was wholly handed over may have arrived; of what was cut the end never left. */
    while ((node = nqi_fifo_pop(&await))) {
        struct nqi_tx *tx = tx_of(node);

        if (tx->end_seq <= handed) {
            session->events->settle(session->arg, tx, NQ_UNKNOWN, reason);
        } else if (!cut && tx_is_cut(session, tx, handed)) {
            cut = tx;
        } else {
            nqi_fifo_push(&session->await, node);
        }
    }
    before = session->seq;
    dropped = tx_drop_all(session, &session->unacked);
    tx_settle_untracked(session, dropped, NQ_UNKNOWN, reason);
    tx_renumber(session, cut);
    for (node = session->await.head; node; node = node->next)
        tx_of(node)->end_seq = tx_of(node)->end_seq + session->seq - before;
    if (cut) {
        if (cut == session->current)
            session->current = NULL;
        session->events->settle(session->arg, cut, NQ_NOT_DELIVERED, reason);
    }
    session->hello_due = session->ack_due = session->pong_due = session->ping_due =
        session->bye_ack_due = false;
}

void nqi_session_tx_fini(struct nqi_session *session, nq_reason reason)
{
    struct nqi_node *node;

    tx_seal(session);
    tx_settle_untracked(session, tx_drop_all(session, &session->ready), NQ_NOT_DELIVERED, reason);
    session->ready_bytes = 0;
    tx_settle_untracked(session, tx_drop_all(session, &session->unacked), NQ_UNKNOWN, reason);
    tx_settle_begun(session, reason);
    for (unsigned i = 0; i < 2; i++)
        while ((node = nqi_fifo_pop(&session->queue[i])))
            session->events->settle(session->arg, tx_of(node), NQ_NOT_DELIVERED, reason);
    tx_drop_block(session);
}
