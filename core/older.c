/* Frames of the older wire, in and out.  What is sent goes through the queue, the stage and the
 * buffers of core/session_tx.c, which has other heads for it.
 *
 *     HEAD   collecting 8 bytes            whole -> NAME or BODY
 *     NAME   collecting 16 bytes           ini, fin, or a message of 16 bytes
 *     BODY   payload into the message, or nowhere
 *
 * Small messages that lie whole in the input take a short way past the machine. */
#include "core/older.h"

#include "core/copy.h"
#include "core/err.h"
#include "core/session_inside.h"

#define OLDER_BLOCK_KEPT 8192u /* an idle session keeps a block of so many bytes */

enum { OLDER_HEAD, OLDER_NAME, OLDER_BODY };

static_assert(sizeof(nq_uuid) == 16, "what ini and fin consist of");

/* ---- life ------------------------------------------------------------------------------- */

bool nqi_older_is_reserved(const nq_uuid *id)
{
    nq_uuid ones;

    memset(&ones, 0xff, sizeof(ones));
    return nq_uuid_is_nil(id) || nq_uuid_equal(id, &ones);
}

static void older_up(struct nqi_session *session, const nq_uuid *id)
{
    session->peer = *id;
    session->peer_max_message = NQI_LENGTH_MAX;
    session->credit_messages = session->credit_bytes = UINT64_MAX;
    session->bye_due = session->closing && !session->serves;
    nqi_session_enter(session, NQI_SESSION_UP);
}

void nqi_session_connect_older(struct nqi_session *session, const nq_uuid *proven, bool drops)
{
    assert(nq_uuid_is_nil(&session->name.id));
    nqi_session_on_credit(session, 0, 0); /* records of the other wire */
    session->older = true;
    session->drops = drops;
    session->proven = proven ? *proven : (nq_uuid){{0}};
    session->bye_reason = NQ_REASON_NONE;
    session->greeting_due = true;
    nqi_session_enter(session, NQI_SESSION_HELLO);
}

void nqi_session_begin_older(struct nqi_session *session, const nq_uuid *id, bool drops)
{
    session->older = true;
    session->drops = drops;
    session->serves = true;
    session->greeting_due = true;
    older_up(session, id);
}

void nqi_older_write_name(const struct nqi_session *session, uint8_t *at)
{
    memcpy(at + nqi_older_write_head(at, sizeof(nq_uuid)), session->conf->id.bytes,
           sizeof(nq_uuid));
}

void nqi_older_close(struct nqi_session *session)
{
    session->closing = true;
    session->bye_due = !session->serves || session->bye_waits;
}

void nqi_older_fin_out(struct nqi_session *session)
{
    if (session->bye_waits)
        nqi_session_enter(session, NQI_SESSION_CLOSED);
}

/* The peer says nothing more: what is queued still goes, then our fin. */
static void older_on_fin(struct nqi_session *session)
{
    session->bye_waits = true;
    session->bye_reason =
        session->state == NQI_SESSION_CLOSING ? NQ_REASON_LOCAL_CLOSE : NQ_REASON_PEER_CLOSED;
    if (session->state == NQI_SESSION_UP)
        session->bye_due = true;
    else if (!session->ready.head)
        nqi_session_enter(session, NQI_SESSION_CLOSED);
}

static nq_err older_on_ini(struct nqi_session *session, const nq_uuid *id)
{
    if (nqi_older_is_reserved(id))
        return nqi_fail(NQ_ERR_PROTO, "the server's UUID is a reserved one");
    if (nq_uuid_equal(id, &session->conf->id)) {
        session->bye_reason = NQ_REASON_DUPLICATE;
        return nqi_fail(NQ_ERR_CLOSED, "the server has the UUID of this side");
    }
    if (!nq_uuid_is_nil(&session->proven) && !nq_uuid_equal(id, &session->proven)) {
        session->bye_reason = NQ_REASON_IDENTITY;
        return nqi_fail(NQ_ERR_CLOSED, "the server's certificate is for another id");
    }
    older_up(session, id);
    return NQ_OK;
}

/* ---- out -------------------------------------------------------------------------------- */

/* @param msg  16 bytes */
static bool older_is_name(const nq_uuid *own, const nq_msg *msg)
{
    uint8_t name[sizeof(nq_uuid)], *at = name;

    for (size_t i = 0; i < nqi_stream_count(&msg->stream); i++) {
        const nq_view *view = nqi_stream_view(&msg->stream, i);

        if (view->len)
            memcpy(at, view->data, view->len);
        at += view->len;
    }
    return memcmp(name, own->bytes, sizeof(name)) == 0;
}

bool nqi_older_carries(const nq_uuid *own, const nq_msg *msg)
{
    return !nqi_msg_meta_len(msg) && !nqi_msg_schema(msg) &&
           (msg->stream.nbytes != sizeof(*own) || !older_is_name(own, msg));
}

nq_err nqi_older_refuse(void)
{
    return nqi_fail(
        NQ_ERR_UNSUPPORTED,
        "the wire \"net-queue\" carries neither metadata nor a message of 16 bytes that "
        "is this side's UUID");
}

/* A session is idle here after each send that the link took whole, also between those of a burst.
 * Its block serves again, unless a smaller one would have done and it has not just been made
 * larger.
 */
static void older_on_idle(struct nqi_session *session)
{
    struct nqi_block *block = session->block;
    bool grew = session->block_grew;
    uint32_t ours;

    if (!block || session->stage || session->ready.head)
        return;
    session->block_grew = false;
    ours = session->spare && session->spare->block == block ? 2 : 1;
    if (atomic_load_explicit(&block->refs, memory_order_acquire) == ours &&
        (block->cap <= OLDER_BLOCK_KEPT || grew || block->fill >= block->cap / 8)) {
        block->fill = 0;
        return;
    }
    nqi_session_drop_block(session);
    if (!grew)
        session->block_size /= 2;
}

void nqi_older_handed(struct nqi_session *session, struct nqi_txbuf *txbuf)
{
    uint64_t untracked = txbuf->untracked;
    struct nqi_node *node;

    session->handed = session->reached = session->acked = txbuf->last_seq;
    session->in_flight -= txbuf->ends;
    if (!session->spare && txbuf->block && txbuf->block == session->block && nqi_txbuf_clear(txbuf))
        session->spare = txbuf;
    else
        nqi_txbuf_unref(txbuf);
    nqi_session_settle_untracked(session, untracked, NQ_HANDED, NQ_REASON_TRANSPORT);
    while ((node = session->await.head) && nqi_tx_of(node)->end_seq <= session->handed) {
        nqi_fifo_pop(&session->await);
        session->events->settle(session->arg, nqi_tx_of(node), NQ_HANDED, NQ_REASON_TRANSPORT);
    }
    older_on_idle(session);
}

/* ---- in: room --------------------------------------------------------------------------- */

/* What the user has not taken fills a share of the window; a message that is not whole does not
 * count, or one larger than the window could never end. */
static bool older_fills(const struct nqi_session *session, uint64_t share)
{
    const struct nqi_session_conf *conf = session->conf;

    return session->received - session->taken_messages > conf->window_messages / share ||
           session->rx_bytes - session->rx.have - session->taken_bytes > conf->window_bytes / share;
}

bool nqi_session_wants_hold(const struct nqi_session *session, bool held)
{
    return session->older && !session->drops &&
           (session->rx.waiting || older_fills(session, held ? 2 : 1));
}

/* A message that there is no room for, over a link that goes on all the same. */
static void older_skip(struct nqi_session *session)
{
    nqi_session_drop_msg(session);
    session->retry_at = NQI_NEVER;
    session->rx.skips = true;
    session->fallen++;
}

/* ---- in: frames ------------------------------------------------------------------------- */

static nq_err older_check_length(const struct nqi_session *session, uint64_t length)
{
    uint64_t most = NQI_MIN(session->conf->max_message, NQI_LENGTH_MAX);

    if (session->state == NQI_SESSION_HELLO && length != sizeof(nq_uuid))
        return nqi_fail(NQ_ERR_PROTO, "the server's first frame has %llu bytes and is no ini",
                        (unsigned long long)length);
    if (length > most)
        return nqi_fail_too_big("message", length, most);
    return NQ_OK;
}

/* A message begins whose payload is not there yet. */
static nq_err older_begin(struct nqi_session *session, uint64_t length, int64_t now)
{
    struct nqi_session_rx *rx = &session->rx;
    nq_err err;

    rx->stage = OLDER_BODY;
    rx->left = length;
    rx->have = rx->room = 0;
    rx->total = length;
    rx->skips = false;
    if (session->drops && older_fills(session, 1)) {
        older_skip(session);
        return NQ_OK;
    }
    if (length <= NQI_MSG_INSIDE) {
        err = nqi_msg_alloc((size_t)length, &rx->space, &rx->msg);
        rx->room = err ? 0 : (size_t)length;
    } else {
        err = nqi_msg_empty(&rx->msg);
    }
    if (err)
        return err;
    rx->msg->sender = session->peer;
    if (length > session->conf->record)
        nqi_session_reserve(session, now);
    if (rx->waiting && session->drops)
        older_skip(session);
    return NQ_OK;
}

static void older_end(struct nqi_session *session)
{
    struct nqi_session_rx *rx = &session->rx;
    nq_msg *msg = NQI_STEAL(rx->msg);

    rx->stage = OLDER_HEAD;
    rx->fill = 0;
    rx->have = rx->total = rx->left = 0;
    if (rx->waiting) { /* it came whole before the link was held */
        rx->waiting = false;
        session->retry_at = NQI_NEVER;
    }
    if (!msg)
        return;
    session->received++;
    nqi_session_deliver(session, msg);
}

/* 16 bytes are there. */
static nq_err older_on_name(struct nqi_session *session, int64_t now)
{
    struct nqi_session_rx *rx = &session->rx;
    nq_uuid name;
    nq_err err;

    memcpy(name.bytes, rx->control, sizeof(name.bytes));
    rx->stage = OLDER_HEAD;
    rx->fill = 0;
    if (session->state == NQI_SESSION_HELLO)
        return older_on_ini(session, &name);
    if (nq_uuid_equal(&name, &session->peer)) {
        older_on_fin(session);
        return NQ_OK;
    }
    err = older_begin(session, sizeof(name), now);
    if (err)
        return err;
    if (!rx->skips)
        memcpy(rx->space, rx->control, sizeof(name));
    if (!rx->skips)
        nqi_session_advance(session, sizeof(name));
    older_end(session);
    return NQ_OK;
}

/* Collect until rx->fill reaches `want`.  True: it did. */
static bool older_collect(struct nqi_session_rx *rx, struct nqi_buf *in, uint8_t *into,
                          uint32_t want)
{
    uint32_t len = (uint32_t)NQI_MIN((size_t)(want - rx->fill), nqi_buf_left(in));

    memcpy(into + rx->fill, nqi_buf_span(in, len), len);
    rx->fill += len;
    return rx->fill == want;
}

static nq_err older_step_head(struct nqi_session *session, struct nqi_buf *in, int64_t now)
{
    struct nqi_session_rx *rx = &session->rx;
    uint64_t length;
    nq_err err;

    if (!older_collect(rx, in, rx->raw, NQI_OLDER_HEAD))
        return NQ_OK;
    length = nqi_load_u64(rx->raw);
    err = older_check_length(session, length);
    if (err)
        return err;
    rx->fill = 0;
    if (length != sizeof(nq_uuid))
        return older_begin(session, length, now);
    rx->stage = OLDER_NAME;
    return NQ_OK;
}

static nq_err older_step_body(struct nqi_session *session, struct nqi_buf *in)
{
    struct nqi_session_rx *rx = &session->rx;

    while (rx->left) {
        nq_err err = rx->room || rx->skips ? NQ_OK : nqi_session_more_space(session);
        size_t len = NQI_MIN(rx->left, nqi_buf_left(in));

        if (err || !len)
            return err;
        if (rx->skips) {
            (void)nqi_buf_span(in, len);
            rx->left -= len;
            continue;
        }
        len = NQI_MIN(len, rx->room);
        nqi_copy(rx->space, nqi_buf_span(in, len), len);
        nqi_session_advance(session, len);
    }
    older_end(session);
    return NQ_OK;
}

/* One small message, whole in the input.  NQ_AGAIN: it is not that. */
static nq_err older_quick(struct nqi_session *session, struct nqi_buf *in)
{
    const uint8_t *at = in->at;
    unsigned char *data;
    uint64_t length;
    nq_msg *msg;
    nq_err err;

    if (nqi_buf_left(in) < NQI_OLDER_HEAD)
        return NQ_AGAIN;
    length = nqi_load_u64(at);
    if (length > NQI_MSG_INSIDE || length > nqi_buf_left(in) - NQI_OLDER_HEAD ||
        length == sizeof(nq_uuid) || length > session->conf->max_message)
        return NQ_AGAIN;
    err = nqi_msg_alloc((size_t)length, &data, &msg);
    if (err)
        return err;
    in->at = at + NQI_OLDER_HEAD + length;
    memcpy(data, at + NQI_OLDER_HEAD, (size_t)length);
    msg->sender = session->peer;
    session->rx_bytes += length;
    session->received++;
    nqi_session_deliver(session, msg);
    return NQ_OK;
}

static nq_err older_quick_run(struct nqi_session *session, struct nqi_buf *in)
{
    nq_err err = NQ_OK;

    if (session->state == NQI_SESSION_HELLO || session->bye_waits || session->drops)
        return NQ_OK;
    while (!(err = older_quick(session, in)))
        __builtin_prefetch(in->at + 512);
    return err < 0 ? err : NQ_OK;
}

static nq_err older_step(struct nqi_session *session, struct nqi_buf *in, int64_t now)
{
    nq_err err;

    switch (session->rx.stage) {
    case OLDER_HEAD:
        err = session->rx.fill ? NQ_OK : older_quick_run(session, in);
        return err || !nqi_buf_left(in) ? err : older_step_head(session, in, now);
    case OLDER_NAME:
        if (!older_collect(&session->rx, in, session->rx.control, sizeof(nq_uuid)))
            return NQ_OK;
        return older_on_name(session, now);
    default:
        return older_step_body(session, in);
    }
}

nq_err nqi_older_receive(struct nqi_session *session, const uint8_t *data, size_t len, int64_t now)
{
    struct nqi_buf in = nqi_buf_over(data, len);

    session->last_rx = now;
    if (session->bye_waits) /* behind fin nothing counts */
        return NQ_OK;
    while (nqi_buf_left(&in) || (session->rx.stage == OLDER_BODY && !session->rx.left)) {
        nq_err err = older_step(session, &in, now);

        if (err)
            return err;
        if (session->bye_waits)
            break;
    }
    return NQ_OK;
}

size_t nqi_older_space(struct nqi_session *session, unsigned char **ret)
{
    struct nqi_session_rx *rx = &session->rx;

    if (rx->stage != OLDER_BODY || rx->left < NQI_RX_DIRECT || rx->skips)
        return 0;
    if (!rx->room && nqi_session_more_space(session))
        return 0; /* nqi_older_receive() meets the same and reports it */
    *ret = rx->space;
    return (size_t)NQI_MIN(rx->left, rx->room);
}

nq_err nqi_older_commit(struct nqi_session *session, size_t len)
{
    nqi_session_advance(session, len);
    if (!session->rx.left)
        older_end(session);
    return NQ_OK;
}

nq_err nqi_older_give(struct nqi_session *session, struct nqt_buf *buf, int64_t now)
{
    const struct nqi_session_rx *rx = &session->rx;
    const struct iovec *seg = &buf->seg[0];

    if (rx->stage != OLDER_BODY || rx->room || rx->skips || seg->iov_len < NQI_RX_DIRECT ||
        seg->iov_len > rx->left || !nqi_session_adopt(session, buf))
        return nqi_older_receive(session, seg->iov_base, seg->iov_len, now);
    if (!rx->left)
        older_end(session);
    return NQ_OK;
}
