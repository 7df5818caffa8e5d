/* The receiving half of a session: a machine over the bytes of the link.
 *
 *     HEAD     collecting 8 or 16 bytes     whole -> META, BODY, CONTROL, or the next HEAD
 *     META     collecting metadata          whole -> BODY or HEAD
 *     BODY     payload into the message     whole record -> HEAD
 *     CONTROL  collecting a small body      whole -> HEAD
 *
 * A small message that lies whole in the input takes a short way past the machine.  The body of a
 * large one has memory of its own, which the link reads into directly (nqi_session_space).
 *
 * The memory of the message that is being put together is session_body.c's. */
#include "core/session_inside.h"

#include "core/copy.h"
#include "core/err.h"
#include "core/pool.h"

enum { RX_HEAD, RX_META, RX_BODY, RX_CONTROL };

/* ---- memory ----------------------------------------------------------------------------- */

static void rx_drop_meta(struct nqi_session_rx *rx)
{
    nqi_pool_free(rx->meta, rx->head.aux);
    rx->meta = NULL;
}

/* The record that comes now begins here. */
static void rx_set_mark(struct nqi_session_rx *rx)
{
    rx->mark.views = nqi_stream_count(&rx->msg->stream);
    rx->mark.have = rx->have;
    rx->mark.space = rx->space;
    rx->mark.room = rx->room;
}

/* It will come again, whole. */
static void rx_rewind(struct nqi_session *session)
{
    struct nqi_session_rx *rx = &session->rx;

    session->rx_bytes -= rx->have - rx->mark.have;
    if (rx->head.flags & NQI_DATA_BEGIN) {
        session->rx_messages--;
        nqi_session_drop_msg(session);
        return;
    }
    nqi_stream_truncate(&rx->msg->stream, rx->mark.views);
    rx->have = rx->mark.have;
    rx->space = rx->mark.space;
    rx->room = rx->mark.room;
}

void nqi_session_rx_down(struct nqi_session *session)
{
    struct nqi_session_rx *rx = &session->rx;

    rx_drop_meta(rx);
    if (session->older)
        nqi_session_drop_msg(session);
    else if (rx->msg && (rx->stage == RX_META || rx->stage == RX_BODY))
        rx_rewind(session);
    rx->stage = RX_HEAD;
    rx->fill = 0;
    rx->left = 0;
}

void nqi_session_rx_reset(struct nqi_session *session)
{
    nqi_session_drop_msg(session);
    nqi_schemas_clear(&session->heard);
    memset(&session->rx, 0, sizeof(session->rx));
    session->received = session->rx_messages = session->rx_bytes = 0;
    session->consumed_seq = session->acked_out = session->acked_bytes = 0;
    session->considered_bytes = 0;
    session->granted_messages = session->granted_bytes = 0;
    session->taken_messages = session->taken_bytes = 0;
}

/* ---- messages --------------------------------------------------------------------------- */

/* A message begins.  @return NQ_OK, NQ_ERR_PROTO, NQ_ERR_NOMEM */
static nq_err rx_begin(struct nqi_session *session, int64_t now)
{
    struct nqi_session_rx *rx = &session->rx;
    nq_err err;

    if (rx->msg)
        return nqi_fail(NQ_ERR_PROTO, "a message begins inside another");
    if (rx->head.total > session->conf->max_message)
        return nqi_fail_too_big("message", rx->head.total, session->conf->max_message);
    if (session->rx_messages >= session->granted_messages)
        return nqi_fail(NQ_ERR_PROTO, "more messages than credit");
    rx->total = rx->head.total;
    rx->have = 0;
    if (rx->total <= NQI_MSG_INSIDE) {
        err = nqi_msg_alloc((size_t)rx->total, &rx->space, &rx->msg);
        rx->room = (size_t)rx->total;
    } else {
        err = nqi_msg_empty(&rx->msg);
        rx->room = 0;
    }
    if (err)
        return err;
    session->rx_messages++;
    rx->msg->sender = session->peer;
    rx->msg->again = rx->head.flags & NQI_DATA_AGAIN;
    if (rx->head.flags & NQI_DATA_BIG)
        nqi_session_reserve(session, now);
    return NQ_OK;
}

/* The record is whole. */
static nq_err rx_end_record(struct nqi_session *session, int64_t now)
{
    struct nqi_session_rx *rx = &session->rx;
    nq_msg *msg = rx->msg;

    session->received++;
    rx->stage = RX_HEAD;
    rx->fill = 0;
    if (rx->head.flags & NQI_DATA_END) {
        if (rx->have != rx->total)
            return nqi_fail(NQ_ERR_PROTO, "a message ends before its announced length");
        if (rx->waiting) { /* it came whole within the credit it had */
            rx->waiting = false;
            session->retry_at = NQI_NEVER;
        }
        rx->msg = NULL;
        rx->have = rx->total = 0;
        nqi_session_deliver(session, msg);
    }
    nqi_session_consider_ack(session, rx->head.flags & NQI_DATA_ACKNOW, now);
    return NQ_OK;
}

/* After a head: where does the record go? */
static nq_err rx_start_body(struct nqi_session *session, int64_t now)
{
    struct nqi_session_rx *rx = &session->rx;
    nq_err err = NQ_OK;

    if (rx->head.type != NQI_DATA) {
        rx->stage = RX_CONTROL;
        rx->fill = 0;
        return NQ_OK;
    }
    if (session->state != NQI_SESSION_UP && session->state != NQI_SESSION_CLOSING)
        return nqi_fail(NQ_ERR_PROTO, "data before the session is up");
    if (rx->head.flags & NQI_DATA_BEGIN)
        err = rx_begin(session, now);
    else if (!rx->msg)
        err = nqi_fail(NQ_ERR_PROTO, "a message goes on that did not begin");
    if (err)
        return err;
    rx->left = rx->head.length - rx->head.aux;
    if (rx->left > rx->total - rx->have)
        return nqi_fail(NQ_ERR_PROTO, "a message exceeds its announced length");
    if (rx->left > session->granted_bytes - session->rx_bytes)
        return nqi_fail(NQ_ERR_PROTO, "more bytes than credit");
    rx->fill = 0;
    rx->stage = rx->head.aux ? RX_META : RX_BODY;
    rx_set_mark(rx);
    if (!rx->head.aux)
        return NQ_OK;
    rx->meta = nqi_pool_alloc(rx->head.aux);
    return rx->meta ? NQ_OK : nqi_fail(NQ_ERR_NOMEM, "no memory for metadata");
}

/* `want` > 0 bytes where they lie in the input, or NULL: they are not all there, or some of them
 * were collected. */
static inline const uint8_t *rx_whole(const struct nqi_session_rx *rx, struct nqi_buf *in,
                                      uint32_t want)
{
    return !rx->fill && nqi_buf_left(in) >= want ? nqi_buf_span(in, want) : NULL;
}

/* Collect until rx->fill reaches `want`.  True: it did. */
static bool rx_collect(struct nqi_session_rx *rx, struct nqi_buf *in, uint8_t *into, uint32_t want)
{
    uint32_t len = (uint32_t)NQI_MIN((size_t)(want - rx->fill), nqi_buf_left(in));

    memcpy(into + rx->fill, nqi_buf_span(in, len), len);
    rx->fill += len;
    return rx->fill == want;
}

static nq_err rx_step_head(struct nqi_session *session, struct nqi_buf *in, int64_t now)
{
    struct nqi_session_rx *rx = &session->rx;
    const uint8_t *raw = NULL;
    nq_err err;

    if (nqi_buf_left(in) >= NQI_HEAD)
        raw = rx_whole(rx, in, (uint32_t)nqi_head_size(in->at[0], in->at[1]));
    if (!raw) {
        if (rx->fill < NQI_HEAD && !rx_collect(rx, in, rx->raw, NQI_HEAD))
            return NQ_OK;
        if (!rx_collect(rx, in, rx->raw, (uint32_t)nqi_head_size(rx->raw[0], rx->raw[1])))
            return NQ_OK;
        raw = rx->raw;
    }
    if (NQI_UNLIKELY(session->state == NQI_SESSION_HELLO) && nqi_older_is_ini(raw)) {
        session->bye_reason = NQ_REASON_WIRE;
        return nqi_fail(NQ_ERR_CLOSED, "the server speaks the wire \"net-queue\": this side would "
                                       "have to say so with \"wire\"");
    }
    err = nqi_head_read(raw, &rx->head);
    if (err && session->state == NQI_SESSION_HELLO)
        return nqi_fail_in(err, "what answers there does not speak netqueue");
    return err ? err : rx_start_body(session, now);
}

/* The metadata is whole. */
static nq_err rx_set_meta(struct nqi_session *session)
{
    struct nqi_session_rx *rx = &session->rx;
    struct nqi_buf meta = nqi_buf_over(rx->meta, rx->head.aux);
    nq_chunk *schema = NULL;
    nq_err err = nqi_schemas_read(&session->heard, &meta, &schema);

    if (!err)
        err = nqi_msg_set_meta_raw(rx->msg, meta.at, nqi_buf_left(&meta));
    if (!err && schema)
        err = nqi_msg_set_schema(rx->msg, schema);
    if (err)
        nq_chunk_unref(schema);
    return err;
}

static nq_err rx_step_meta(struct nqi_session *session, struct nqi_buf *in)
{
    struct nqi_session_rx *rx = &session->rx;
    nq_err err;

    if (!rx_collect(rx, in, rx->meta, rx->head.aux))
        return NQ_OK;
    err = rx_set_meta(session);
    rx_drop_meta(rx);
    rx->stage = RX_BODY;
    return err;
}

static nq_err rx_step_body(struct nqi_session *session, struct nqi_buf *in, int64_t now)
{
    struct nqi_session_rx *rx = &session->rx;

    while (rx->left) {
        size_t len;
        nq_err err = rx->room ? NQ_OK : nqi_session_more_space(session);

        if (err)
            return err;
        len = NQI_MIN(NQI_MIN(rx->left, rx->room), nqi_buf_left(in));
        if (!len)
            return NQ_OK;
        nqi_copy(rx->space, nqi_buf_span(in, len), len);
        nqi_session_advance(session, len);
    }
    return rx_end_record(session, now);
}

static nq_err rx_step_control(struct nqi_session *session, struct nqi_buf *in, int64_t now)
{
    struct nqi_session_rx *rx = &session->rx;
    const uint8_t *body = rx_whole(rx, in, rx->head.length);

    if (!body && !rx_collect(rx, in, rx->control, rx->head.length))
        return NQ_OK;
    rx->stage = RX_HEAD;
    rx->fill = 0;
    return nqi_session_on_control(session, &rx->head, body ? body : rx->control, now);
}

/* ---- the short way ---------------------------------------------------------------------- */

/* One small message, whole in one record and whole in the input.  NQ_AGAIN: it is not that. */
static nq_err rx_quick(struct nqi_session *session, struct nqi_buf *in, bool *acknow)
{
    const uint8_t whole = NQI_DATA_BEGIN | NQI_DATA_END, *at = in->at;
    uint32_t length;
    unsigned char *data;
    nq_msg *msg;
    nq_err err;

    if (nqi_buf_left(in) < NQI_HEAD || at[0] != NQI_DATA || (at[1] & ~NQI_DATA_ACKNOW) != whole ||
        at[2] || at[3])
        return NQ_AGAIN;
    length = nqi_load_u32(at + 4);
    if (length > NQI_MSG_INSIDE || length > nqi_buf_left(in) - NQI_HEAD ||
        length > session->conf->max_message || session->rx.msg ||
        session->rx_messages >= session->granted_messages ||
        length > session->granted_bytes - session->rx_bytes)
        return NQ_AGAIN; /* the long way tells what is wrong, if anything is */
    err = nqi_msg_alloc(length, &data, &msg);
    if (err)
        return err;
    in->at = at + NQI_HEAD + length;
    memcpy(data, at + NQI_HEAD, length);
    msg->sender = session->peer;
    session->rx_messages++;
    session->rx_bytes += length;
    session->received++;
    *acknow |= (at[1] & NQI_DATA_ACKNOW) != 0;
    nqi_session_deliver(session, msg);
    return NQ_OK;
}

static nq_err rx_quick_run(struct nqi_session *session, struct nqi_buf *in, int64_t now)
{
    uint64_t before = session->received;
    bool acknow = false;
    nq_err err;

    if (session->state != NQI_SESSION_UP && session->state != NQI_SESSION_CLOSING)
        return NQ_OK;
    while (!(err = rx_quick(session, in, &acknow)))
        __builtin_prefetch(in->at + 512);
    if (session->received != before)
        nqi_session_consider_ack(session, acknow, now);
    return err < 0 ? err : NQ_OK;
}

/* ---- from the link ---------------------------------------------------------------------- */

static nq_err rx_step(struct nqi_session *session, struct nqi_buf *in, int64_t now)
{
    nq_err err;

    switch (session->rx.stage) {
    case RX_HEAD:
        err = session->rx.fill ? NQ_OK : rx_quick_run(session, in, now);
        return err || !nqi_buf_left(in) ? err : rx_step_head(session, in, now);
    case RX_META:
        return rx_step_meta(session, in);
    case RX_BODY:
        return rx_step_body(session, in, now);
    default:
        return rx_step_control(session, in, now);
    }
}

/* Stages that need no more input: an empty body, an empty control record. */
static bool rx_is_complete(const struct nqi_session_rx *rx)
{
    return (rx->stage == RX_BODY && !rx->left) || (rx->stage == RX_CONTROL && !rx->head.length);
}

/* @param framed  the bytes came in frames */
static inline nq_err rx_records(struct nqi_session *session, const uint8_t *data, size_t len,
                                bool framed, int64_t now)
{
    struct nqi_buf in = nqi_buf_over(data, len);

    while (nqi_buf_left(&in) || rx_is_complete(&session->rx)) {
        nq_err err = rx_step(session, &in, now);

        if (err)
            return err;
        if (!framed && NQI_UNLIKELY(session->guard.on)) /* that was WELCOME */
            return nqi_session_receive_frames(session, in.at, nqi_buf_left(&in), now);
    }
    return NQ_OK;
}

nq_err nqi_session_receive_records(struct nqi_session *session, const uint8_t *data, size_t len,
                                   int64_t now)
{
    return rx_records(session, data, len, true, now);
}

nq_err nqi_session_receive(struct nqi_session *session, const uint8_t *data, size_t len,
                           int64_t now)
{
    if (NQI_UNLIKELY(session->older))
        return nqi_older_receive(session, data, len, now);
    if (NQI_UNLIKELY(session->guard.on))
        return nqi_session_receive_frames(session, data, len, now);
    nqi_session_note(session, now);
    return rx_records(session, data, len, false, now);
}

size_t nqi_session_space(struct nqi_session *session, unsigned char **ret)
{
    struct nqi_session_rx *rx = &session->rx;

    if (NQI_UNLIKELY(session->older))
        return nqi_older_space(session, ret);
    if (rx->stage != RX_BODY || rx->left < NQI_RX_DIRECT || session->guard.on)
        return 0;
    if (!rx->room && nqi_session_more_space(session))
        return 0; /* nqi_session_receive() meets the same and reports it */
    *ret = rx->space;
    return (size_t)NQI_MIN(rx->left, rx->room);
}

nq_err nqi_session_commit(struct nqi_session *session, size_t len, int64_t now)
{
    if (NQI_UNLIKELY(session->older))
        return nqi_older_commit(session, len);
    nqi_session_note(session, now);
    nqi_session_advance(session, len);
    return session->rx.left ? NQ_OK : rx_end_record(session, now);
}

nq_err nqi_session_give(struct nqi_session *session, struct nqt_buf *buf, int64_t now)
{
    const struct nqi_session_rx *rx = &session->rx;
    const struct iovec *seg = &buf->seg[0];

    if (NQI_UNLIKELY(session->older))
        return nqi_older_give(session, buf, now);
    if (session->guard.on || rx->stage != RX_BODY || rx->room || seg->iov_len < NQI_RX_DIRECT ||
        seg->iov_len > rx->left || !nqi_session_adopt(session, buf))
        return nqi_session_receive(session, seg->iov_base, seg->iov_len, now);
    nqi_session_note(session, now);
    return rx->left ? NQ_OK : rx_end_record(session, now);
}
