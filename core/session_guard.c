/* The guard of a session's link: what goes out is put into frames, what comes in is taken out of
 * them.  A frame takes what is in `control` first, and then a piece of one buffer of `ready`. */
#include "core/session_inside.h"

#include "core/err.h"

void nqi_session_guard_begin(struct nqi_session *session, bool server)
{
    if (!session->name.circle || session->greeting.features & NQI_FEATURE_SAFE)
        return;
    nqi_guard_begin(&session->guard, session->name.key, session->greeting.transcript, server);
    session->welcome_due = server;
}

static void guard_pop_frame(struct nqi_session *session)
{
    nqi_txbuf_unref(nqi_txbuf_of(nqi_fifo_pop(&session->frames)));
    session->nframes--;
}

static void guard_drop_framed(struct nqi_session *session)
{
    if (session->framed)
        nqi_txbuf_unref(session->framed);
    session->framed = NULL;
    session->framed_offset = 0;
}

void nqi_session_guard_end(struct nqi_session *session)
{
    while (session->frames.head)
        guard_pop_frame(session);
    guard_drop_framed(session);
    nqi_guard_end(&session->guard);
    session->welcome_due = false;
}

/* ---- out -------------------------------------------------------------------------------- */

static void guard_push_frame(struct nqi_session *session, struct nqi_txbuf *frame)
{
    nqi_fifo_push(&session->frames, &frame->node);
    session->nframes++;
}

/* The first of `ready` is to be put into frames.  It counts as handed over from its first byte on,
 * because the records at its beginning may arrive without those at its end. */
static void guard_take_ready(struct nqi_session *session)
{
    struct nqi_txbuf *txbuf = nqi_txbuf_of(session->ready.head);

    txbuf->buf.ops->ref(&txbuf->buf);
    session->framed = txbuf;
    nqi_session_hand_over(session);
}

/* Between two buffers there is the end of a record, so control records may stand there. */
static struct nqi_txbuf *guard_front(const struct nqi_session *session)
{
    return session->framed_offset || !session->control.head ? NULL
                                                            : nqi_txbuf_of(session->control.head);
}

/* @return false: there is nothing for a frame, or no memory */
static bool guard_add_frame(struct nqi_session *session)
{
    struct nqi_txbuf *front = guard_front(session), *body, *frame;
    uint32_t len = NQI_GUARD_PAYLOAD - (front ? (uint32_t)front->buf.len : 0);

    if (!session->framed && session->ready.head && nqi_session_data_may_go(session))
        guard_take_ready(session);
    body = session->framed;
    if (!front && !body)
        return false;
    len = body ? (uint32_t)NQI_MIN(body->buf.len - session->framed_offset, len) : 0;
    frame = nqi_guard_frame(&session->guard, front ? &front->buf : NULL, body ? &body->buf : NULL,
                            session->framed_offset, len);
    session->starved |= !frame;
    if (!frame)
        return false;
    guard_push_frame(session, frame);
    if (front)
        nqi_txbuf_unref(nqi_txbuf_of(nqi_fifo_pop(&session->control)));
    session->framed_offset += len;
    if (body && session->framed_offset == body->buf.len)
        guard_drop_framed(session);
    return true;
}

uint32_t nqi_session_pull_frames(struct nqi_session *session, struct nqt_buf **bufs, uint32_t cap)
{
    if (session->welcome_due && session->control.head) {
        session->welcome_due = false;
        guard_push_frame(session, nqi_txbuf_of(nqi_fifo_pop(&session->control)));
    }
    while (!session->welcome_due && session->nframes < cap && guard_add_frame(session))
        continue;
    return nqi_session_list(&session->frames, bufs, 0, cap);
}

void nqi_session_frames_taken(struct nqi_session *session, uint32_t n)
{
    while (n--)
        guard_pop_frame(session);
}

/* ---- in --------------------------------------------------------------------------------- */

struct guard_input {
    struct nqi_session *session;
    int64_t now;
};

static nq_err guard_on_records(void *arg, const uint8_t *data, size_t len)
{
    const struct guard_input *input = arg;

    nqi_session_note(input->session, input->now); /* only what is proven is a sign of life */
    return nqi_session_receive_records(input->session, data, len, input->now);
}

nq_err nqi_session_receive_frames(struct nqi_session *session, const uint8_t *data, size_t len,
                                  int64_t now)
{
    struct guard_input input = {session, now};
    nq_err err = nqi_guard_receive(&session->guard, data, len, guard_on_records, &input);

    if (session->guard.broken)
        session->bye_reason = NQ_REASON_AUTH;
    return err;
}
