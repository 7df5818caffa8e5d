/* The message that is being put together: its memory, and what is set aside for it.
 *
 * Nothing is set aside from an announced length alone: a chunk is at most BODY_CHUNK bytes and at
 * most what the peer may send, and the next one comes when it is full. */
#include "core/session_inside.h"

#include "core/err.h"

#define BODY_CHUNK ((uint64_t)4 << 20) /* bytes of one chunk of a large payload */
#define BODY_RETRY (10 * NQI_NS_PER_MS)

nq_err nqi_session_more_space(struct nqi_session *session)
{
    struct nqi_session_rx *rx = &session->rx;
    uint64_t len = NQI_MIN(rx->total - rx->have, BODY_CHUNK);
    nq_chunk *chunk;
    nq_err err;

    len = NQI_MIN(len, NQI_MAX(session->conf->window_bytes, rx->left));
    err = nqi_stream_reserve(&rx->msg->stream, 1);
    if (!err)
        err = nq_chunk_new((size_t)len, &chunk);
    if (err)
        return err;
    rx->space = nq_chunk_data(chunk);
    rx->room = (size_t)len;
    nqi_stream_push(&rx->msg->stream, chunk, rx->space, (size_t)len);
    return NQ_OK;
}

void nqi_session_drop_msg(struct nqi_session *session)
{
    struct nqi_session_rx *rx = &session->rx;

    if (rx->msg && rx->msg->deadline_ns)
        session->events->unreserve(session->arg, (uint64_t)rx->msg->deadline_ns);
    nqi_msg_unref(rx->msg);
    rx->msg = NULL;
    rx->waiting = false;
    rx->have = rx->total = 0;
    rx->room = 0;
}

static void body_release_view(void *arg, void *data, size_t len)
{
    struct nqt_buf *buf = arg;

    (void)data;
    (void)len;
    buf->ops->unref(buf);
}

bool nqi_session_adopt(struct nqi_session *session, struct nqt_buf *buf)
{
    struct nqi_session_rx *rx = &session->rx;
    size_t len = buf->seg[0].iov_len;
    nq_chunk *chunk;

    if (nqi_stream_reserve(&rx->msg->stream, 1) ||
        nq_chunk_wrap(buf->seg[0].iov_base, len, body_release_view, buf, &chunk))
        return false;
    buf->ops->ref(buf);
    nqi_stream_push(&rx->msg->stream, chunk, nq_chunk_data(chunk), len);
    rx->have += len;
    rx->left -= len;
    session->rx_bytes += len;
    return true;
}

/* ---- what is set aside ------------------------------------------------------------------ */

void nqi_session_reserve(struct nqi_session *session, int64_t now)
{
    struct nqi_session_rx *rx = &session->rx;

    rx->waiting = !session->events->reserve(session->arg, rx->total);
    if (rx->waiting)
        session->retry_at = now + BODY_RETRY;
    else
        rx->msg->deadline_ns = (int64_t)rx->total;
}

void nqi_session_retry_reserve(struct nqi_session *session, int64_t now)
{
    session->retry_at = NQI_NEVER;
    if (!session->rx.waiting)
        return;
    nqi_session_reserve(session, now);
    session->ack_due |= !session->rx.waiting && !session->older;
}
