/* Messages become records.
 *
 *     refill   queue -> records, while credit lasts and `ready` is not long
 *     stage    small records, copied behind each other into a block; sealed when full or asked for
 *     large    one buffer a record: its head, then the user's own memory
 *
 * A message with a time to live, a schema, or more than TX_COPY bytes, goes through the queue;
 * others may go straight into the stage when nothing is before them. */
#include "core/session_inside.h"

#include "core/copy.h"

#define TX_COPY 2048u           /* payload up to this is copied into the stage */
#define TX_AHEAD (256u << 10)   /* bytes that puts may stage while the link is busy */
#define TX_READY_MAX (1u << 20) /* bytes of records made ahead of the link */
#define TX_BLOCK_MIN 2048u      /* blocks double from here to `coalesce` while traffic lasts */
#define TX_SEGMENTS 64u         /* of one large record */
#define TX_LENT_RECORD (16u << 20)

/* ---- the stage -------------------------------------------------------------------------- */

void nqi_session_seal(struct nqi_session *session)
{
    struct nqi_txbuf *stage = session->stage;

    if (!stage)
        return;
    session->stage = NULL;
    nqi_session_push_ready(session, stage);
}

void nqi_session_drop_block(struct nqi_session *session)
{
    if (session->spare)
        nqi_txbuf_unref(NQI_STEAL(session->spare));
    nqi_block_unref(NQI_STEAL(session->block));
}

/* A block with `size` bytes free; NULL = no memory. */
static struct nqi_block *tx_block(struct nqi_session *session, uint32_t size)
{
    uint32_t most, next;

    if (session->block && session->block->cap - session->block->fill >= size)
        return session->block;
    most = NQI_MAX(session->conf->coalesce, TX_BLOCK_MIN);
    next = NQI_MIN(NQI_MAX(session->block_size, TX_BLOCK_MIN), most);
    nqi_session_seal(session);
    if (session->block) { /* filled in one go: the next may be larger */
        session->block_size = NQI_MIN(next * 2, most);
        session->block_grew = true;
        nqi_session_drop_block(session);
    }
    /* The header of the block is in the same pooled memory: stay inside the size class. */
    next = NQI_MAX(next - (uint32_t)sizeof(struct nqi_block), size);
    session->block = nqi_block_new(next);
    session->starved |= !session->block;
    return session->block;
}

/* An empty stage that goes on where `block` is filled; NULL = no memory. */
static struct nqi_txbuf *tx_new_stage(struct nqi_session *session, struct nqi_block *block)
{
    struct nqi_txbuf *stage = NQI_STEAL(session->spare);

    if (stage && stage->block != block) {
        nqi_txbuf_unref(stage);
        stage = NULL;
    }
    if (!stage) {
        stage = nqi_txbuf_new(1, 0);
        session->starved |= !stage;
        if (!stage)
            return NULL;
        atomic_fetch_add_explicit(&block->refs, 1, memory_order_relaxed);
        stage->block = block;
    }
    nqi_txbuf_add(stage, block->data + block->fill, 0);
    return stage;
}

/* `size` contiguous bytes at the end of the stage, or NULL = no memory. */
static uint8_t *tx_stage(struct nqi_session *session, uint32_t size)
{
    struct nqi_block *block = tx_block(session, size);
    struct nqi_txbuf *stage;
    uint8_t *at;

    if (!block)
        return NULL;
    if (!session->stage)
        session->stage = tx_new_stage(session, block);
    stage = session->stage;
    if (!stage)
        return NULL;
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

/* Bytes that a record for the whole message takes, or 0: too many for the stage, or its head may
 * have to be written again. */
static uint32_t tx_small_size(const struct nqi_session *session, const nq_msg *msg)
{
    uint64_t size = msg->stream.nbytes;
    size_t meta = nqi_msg_meta_len(msg);

    if (size > TX_COPY || meta > TX_COPY || !session->conf->coalesce || nqi_msg_schema(msg))
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
static void tx_begin(struct nqi_session *session)
{
    session->sent_messages++;
    session->stats.messages_out++;
}

/* Flags of the first and of the last record.  @param tx  NULL = nobody waits for it */
static uint8_t tx_first(const struct nqi_tx *tx)
{
    return NQI_DATA_BEGIN | (tx && tx->again ? NQI_DATA_AGAIN : 0);
}

static uint8_t tx_last(const struct nqi_tx *tx)
{
    return NQI_DATA_END | (tx && tx->awaited ? NQI_DATA_ACKNOW : 0);
}

/* The record of a message as a whole.  @param size  tx_small_size()'s */
static void tx_write_record(const struct nqi_session *session, uint8_t *at, const nq_msg *msg,
                            uint32_t size, uint8_t flags)
{
    size_t meta_len = size - NQI_HEAD - (size_t)msg->stream.nbytes;

    if (NQI_UNLIKELY(session->older))
        at += nqi_older_write_head(at, size - NQI_HEAD);
    else
        at += nqi_head_write(at, NQI_DATA, flags, (uint16_t)meta_len, size - NQI_HEAD, 0);
    if (meta_len)
        memcpy(at, nqi_msg_meta_raw(msg, &meta_len), meta_len);
    tx_copy_payload(at + meta_len, msg);
}

/* Account for such a record, which is now the last of `txbuf`. */
static void tx_account_small(struct nqi_session *session, struct nqi_txbuf *txbuf, uint64_t payload)
{
    tx_begin(session);
    session->sent_bytes += payload;
    session->stats.bytes_out += payload;
    session->in_flight++;
    txbuf->last_seq = ++session->seq;
    txbuf->records++;
    txbuf->begins++;
    txbuf->ends++;
    txbuf->payload += payload;
}

/* Write a message as one record at the end of the stage.  False: no memory, nothing changed.
 * @param tx  NULL = it is counted only */
static bool tx_write_small(struct nqi_session *session, const nq_msg *msg, uint32_t size,
                           const struct nqi_tx *tx)
{
    uint8_t *at = tx_stage(session, size);

    if (!at)
        return false;
    tx_write_record(session, at, msg, size, tx_first(tx) | tx_last(tx));
    tx_account_small(session, session->stage, msg->stream.nbytes);
    return true;
}

/* A message without a time to live may begin, and none is before it. */
static bool tx_may_pass(const struct nqi_session *session, const nq_msg *msg)
{
    return nqi_session_begins(session) && !session->bye_waits && !session->queue[0].head &&
           !session->queue[1].head && !session->current && !msg->ttl_ns && !session->conf->resend;
}

bool nqi_session_put_now(struct nqi_session *session, const nq_msg *msg, struct nqi_tx *tx)
{
    uint32_t size;

    if (!tx_may_pass(session, msg) || session->ready_bytes > TX_AHEAD)
        return false;
    size = tx_small_size(session, msg);
    if (!size || !tx_has_credit(session, msg->stream.nbytes) ||
        !tx_write_small(session, msg, size, tx))
        return false;
    if (!tx) {
        session->untracked++;
        session->stage->untracked++;
        return true;
    }
    tx->begun = true;
    tx->sent = msg->stream.nbytes;
    tx->begin_seq = tx->end_seq = session->seq;
    nqi_fifo_push(&session->await, &tx->node);
    return true;
}

/* ---- straight ---------------------------------------------------------------------------- */

/* The record lies behind the last that waits for its acknowledgement, and is made a part of the
 * same buffer once the link has copied it: no stage in between. */
const void *nqi_session_write_straight(struct nqi_session *session, const nq_msg *msg, size_t *len)
{
    struct nqi_txbuf *last = nqi_session_last_unacked(session);
    struct nqi_block *block = session->block;
    uint32_t size;
    uint8_t *at;

    if (!last || session->stage || session->older || !nqi_session_is_plain(session) ||
        !tx_may_pass(session, msg))
        return NULL;
    size = tx_small_size(session, msg);
    if (!size || !tx_has_credit(session, msg->stream.nbytes) || !block ||
        block->cap - block->fill < size)
        return NULL;
    at = block->data + block->fill;
    if (!nqi_txbuf_ends_at(last, block, at))
        return NULL;
    tx_write_record(session, at, msg, size, NQI_DATA_BEGIN | NQI_DATA_END);
    *len = size;
    return at;
}

void nqi_session_straight_taken(struct nqi_session *session, const nq_msg *msg, size_t len)
{
    struct nqi_txbuf *last = nqi_session_last_unacked(session);

    session->block->fill += (uint32_t)len;
    last->seg[0].iov_len += len;
    last->buf.len += len;
    tx_account_small(session, last, msg->stream.nbytes);
    session->untracked++;
    last->untracked++;
    nqi_session_is_handed(session, last->last_seq);
}

/* ---- large records ---------------------------------------------------------------------- */

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

/* How long a record of it may be.  Cutting is for the sake of what must pass between the pieces,
 * and what is not copied takes no time. */
static uint64_t tx_record(const struct nqi_session *session, const nq_msg *msg)
{
    return msg->lent ? NQI_MAX(session->conf->record, TX_LENT_RECORD) : session->conf->record;
}

/* Bytes that the metadata of `msg` takes at most, whatever the peer was told. */
static uint32_t tx_meta_room(const nq_msg *msg)
{
    const nq_chunk *schema = nqi_msg_schema(msg);

    return (uint32_t)(nqi_msg_meta_len(msg) + (schema ? NQI_SCHEMA_ENTRY + schema->len : 0));
}

/* Write the head of a record of `len` payload bytes into its buffer's room, and the metadata when
 * it is the first one.  @return bytes written */
static size_t tx_write_head(struct nqi_session *session, struct nqi_txbuf *txbuf, const nq_msg *msg,
                            uint8_t flags, uint64_t len)
{
    size_t head = nqi_head_size(NQI_DATA, flags), aux = 0, meta_len;
    const unsigned char *meta;

    if (session->older) /* the first has the length of all, the others nothing */
        return flags & NQI_DATA_BEGIN ? nqi_older_write_head(txbuf->room, msg->stream.nbytes) : 0;
    if (flags & NQI_DATA_BEGIN) {
        if (nqi_msg_schema(msg))
            aux = nqi_schemas_write(&session->told, nqi_msg_schema(msg), txbuf->room + head);
        meta = nqi_msg_meta_raw(msg, &meta_len);
        if (meta_len)
            nqi_copy(txbuf->room + head + aux, meta, meta_len);
        aux += meta_len;
    }
    txbuf->head_len = (uint32_t)nqi_head_write(txbuf->room, NQI_DATA, flags, (uint16_t)aux,
                                               (uint32_t)(aux + len), msg->stream.nbytes);
    return head + aux;
}

static void tx_tell_again(struct nqi_session *session, struct nqi_txbuf *txbuf)
{
    size_t before = txbuf->seg[0].iov_len;

    txbuf->seg[0].iov_len =
        tx_write_head(session, txbuf, txbuf->msg, txbuf->room[1], txbuf->payload);
    txbuf->buf.len += txbuf->seg[0].iov_len - before;
    session->ready_bytes += txbuf->seg[0].iov_len - before;
}

void nqi_session_tell_again(struct nqi_session *session)
{
    for (struct nqi_node *node = session->ready.head; node; node = node->next) {
        struct nqi_txbuf *txbuf = nqi_txbuf_of(node);

        if (txbuf->msg && txbuf->begins && nqi_msg_schema(txbuf->msg))
            tx_tell_again(session, txbuf);
    }
}

/* Make the next record of `tx`.  False: no credit or no memory; nothing changed. */
static bool tx_write_large(struct nqi_session *session, struct nqi_tx *tx)
{
    uint64_t left = tx->msg->stream.nbytes - tx->sent, len;
    struct nqi_txbuf *txbuf;
    uint8_t flags = 0;
    uint32_t nseg;
    size_t head;

    len = NQI_MIN(left, tx_record(session, tx->msg));
    len = NQI_MIN(len, session->credit_bytes - session->sent_bytes);
    if ((left && !len) || (!tx->begun && session->sent_messages >= session->credit_messages))
        return false;
    len = tx_measure(tx->msg, tx->sent, len, &nseg);
    txbuf = nqi_txbuf_new(nseg + 1, NQI_HEAD_BIG + (tx->begun ? 0 : tx_meta_room(tx->msg)));
    session->starved |= !txbuf;
    if (!txbuf)
        return false;
    if (!tx->begun)
        flags |= tx_first(tx);
    if (len == left)
        flags |= tx_last(tx);
    else if (!tx->begun)
        flags |= NQI_DATA_BIG;
    head = tx_write_head(session, txbuf, tx->msg, flags, len);
    if (head)
        nqi_txbuf_add(txbuf, txbuf->room, head);
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
        tx_begin(session);
    session->sent_bytes += len;
    session->stats.bytes_out += len;
    tx->sent += len;
    nqi_session_seal(session); /* what was put before leaves before */
    nqi_session_push_ready(session, txbuf);
    return true;
}

/* ---- queue -> records ------------------------------------------------------------------- */

/* The last record of `tx` is made. */
static void tx_finish(struct nqi_session *session, struct nqi_tx *tx)
{
    tx->end_seq = session->seq;
    nqi_fifo_push(&session->await, &tx->node);
}

/* There is credit for a first record. */
static bool tx_may_start(const struct nqi_session *session, const struct nqi_tx *tx)
{
    return session->sent_messages < session->credit_messages &&
           (!tx->msg->stream.nbytes || session->sent_bytes < session->credit_bytes);
}

/* Make the first record of a message.  False: no credit or no memory; nothing changed. */
static bool tx_start(struct nqi_session *session, struct nqi_tx *tx)
{
    uint32_t size = tx_small_size(session, tx->msg);

    /* A small message that the credit ends in goes out in pieces: the peer may have no more to
     * give before it has this one. */
    if (size && tx_has_credit(session, tx->msg->stream.nbytes)) {
        if (!tx_write_small(session, tx->msg, size, tx))
            return false;
        tx->sent = tx->msg->stream.nbytes;
    } else if (!tx_write_large(session, tx)) {
        return false;
    }
    tx->begun = true;
    tx->begin_seq = session->seq;
    return true;
}

/* It can be sent.  False: it is its owner's again. */
static bool tx_claim(struct nqi_session *session, struct nqi_tx *tx)
{
    if (!tx->claimed)
        return session->events->begin(session->arg, tx) && (tx->claimed = true);
    if (tx->msg->stream.nbytes <= session->peer_max_message)
        return true;
    /* The last session's peer took it; this one would end the link. */
    session->events->settle(session->arg, tx, nqi_tx_unsent(tx, NQ_NOT_DELIVERED), NQ_REASON_LIMIT);
    return false;
}

/* The next message out of the queue that is not cancelled; NULL = none, or no credit. */
static struct nqi_tx *tx_next(struct nqi_session *session)
{
    struct nqi_fifo *queue;

    while ((queue = nqi_session_next_queue(session))) {
        struct nqi_tx *tx = nqi_tx_of(queue->head);

        if (!tx_may_start(session, tx))
            return NULL;
        nqi_fifo_pop(queue);
        if (tx_claim(session, tx))
            return tx;
    }
    return NULL;
}

void nqi_session_refill(struct nqi_session *session)
{
    while (session->ready_bytes + nqi_session_staged(session) < TX_READY_MAX) {
        struct nqi_tx *tx;

        if (!session->current && nqi_session_begins(session))
            session->current = tx_next(session);
        tx = session->current;
        if (!tx || !(tx->begun ? tx_write_large(session, tx) : tx_start(session, tx)))
            return;
        if (tx->sent == tx->msg->stream.nbytes) {
            session->current = NULL;
            tx_finish(session, tx);
        }
    }
}
