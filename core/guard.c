/* nettle counts the frames: poly1305_aes_digest() goes on to the next nonce. */
#include "core/guard.h"

#include "core/err.h"
#include "core/mac.h"
#include "core/pool.h"
#include <nettle/memops.h>
#include <string.h>

static_assert(POLY1305_AES_KEY_SIZE == NQI_MAC, "a key is what nqi_mac() gives");

#define GUARD_FRAME_MAX (NQI_GUARD_HEAD + NQI_GUARD_PAYLOAD + NQI_GUARD_TAG)

/* ---- keys ------------------------------------------------------------------------------- */

static void guard_set_key(struct poly1305_aes_ctx *ctx, const char *label, const uint8_t *key,
                          const uint8_t *transcript)
{
    const struct nqi_mac_part part = {transcript, NQI_KEY};
    uint8_t own[NQI_MAC];

    nqi_mac(key, NQI_KEY, label, &part, 1, own);
    poly1305_aes_set_key(ctx, own);
    explicit_bzero(own, sizeof(own));
}

void nqi_guard_begin(struct nqi_guard *guard, const uint8_t *key, const uint8_t *transcript,
                     bool server)
{
    guard_set_key(server ? &guard->in : &guard->out, "nq1 from client", key, transcript);
    guard_set_key(server ? &guard->out : &guard->in, "nq1 from server", key, transcript);
    guard->on = true;
}

static void guard_drop_frame(struct nqi_guard *guard)
{
    nqi_pool_free(guard->frame, GUARD_FRAME_MAX);
    guard->frame = NULL;
    guard->fill = 0;
}

void nqi_guard_end(struct nqi_guard *guard)
{
    guard_drop_frame(guard);
    if (guard->on)
        explicit_bzero(guard, sizeof(*guard));
}

/* ---- out -------------------------------------------------------------------------------- */

/* @return behind the copy */
static uint8_t *guard_copy(uint8_t *at, const struct nqt_buf *buf)
{
    for (uint32_t i = 0; i < buf->nseg; i++) {
        memcpy(at, buf->seg[i].iov_base, buf->seg[i].iov_len);
        at += buf->seg[i].iov_len;
    }
    return at;
}

/* Over all segments that are there; the tag becomes the last one. */
static void guard_add_tag(struct nqi_guard *guard, struct nqi_txbuf *frame, uint8_t *tag)
{
    for (uint32_t i = 0; i < frame->buf.nseg; i++)
        poly1305_aes_update(&guard->out, frame->seg[i].iov_len, frame->seg[i].iov_base);
    poly1305_aes_digest(&guard->out, NQI_GUARD_TAG, tag);
    nqi_txbuf_add(frame, tag, NQI_GUARD_TAG);
}

struct nqi_txbuf *nqi_guard_frame(struct nqi_guard *guard, const struct nqt_buf *front,
                                  struct nqt_buf *body, uint64_t offset, uint32_t len)
{
    uint32_t front_len = front ? (uint32_t)front->len : 0;
    uint32_t segs = body ? nqi_txbuf_slice(body, offset, len, NULL) : 0;
    struct nqi_txbuf *frame = nqi_txbuf_new(segs + 2, NQI_GUARD_HEAD + front_len + NQI_GUARD_TAG);
    uint8_t *at;

    assert(front_len + len && front_len + len <= NQI_GUARD_PAYLOAD);
    if (!frame)
        return NULL;
    at = frame->room;
    nqi_store_u32(at, front_len + len);
    at += NQI_GUARD_HEAD;
    if (front)
        at = guard_copy(at, front);
    nqi_txbuf_add(frame, frame->room, NQI_GUARD_HEAD + front_len);
    if (body) {
        nqi_txbuf_slice(body, offset, len, frame);
        body->ops->ref(body);
        frame->inner = body;
    }
    guard_add_tag(guard, frame, at);
    return frame;
}

/* ---- in --------------------------------------------------------------------------------- */

static nq_err guard_break(struct nqi_guard *guard, const char *what)
{
    guard->broken = true;
    return nqi_fail(NQ_ERR_CLOSED, "%s: somebody on the way changes what is sent", what);
}

/* Bytes of the whole frame that begins with `head`.  @return NQ_OK, NQ_ERR_CLOSED */
static nq_err guard_measure(struct nqi_guard *guard, const uint8_t *head, uint32_t *ret)
{
    uint32_t len = nqi_load_u32(head);

    if (!len || len > NQI_GUARD_PAYLOAD)
        return guard_break(guard, "records without a proof");
    *ret = NQI_GUARD_HEAD + len + NQI_GUARD_TAG;
    return NQ_OK;
}

/* A frame is whole. */
static nq_err guard_open(struct nqi_guard *guard, const uint8_t *frame, uint32_t len,
                         nqi_guard_deliver_fn deliver, void *arg)
{
    uint8_t tag[NQI_GUARD_TAG];

    poly1305_aes_update(&guard->in, len - NQI_GUARD_TAG, frame);
    poly1305_aes_digest(&guard->in, NQI_GUARD_TAG, tag);
    if (!memeql_sec(tag, frame + len - NQI_GUARD_TAG, NQI_GUARD_TAG))
        return guard_break(guard, "records with a wrong proof");
    return deliver(arg, frame + NQI_GUARD_HEAD, len - NQI_GUARD_HEAD - NQI_GUARD_TAG);
}

/* The part of a head that came is kept until the rest is there. */
static nq_err guard_collect_head(struct nqi_guard *guard, const uint8_t **at, size_t *len)
{
    size_t n = NQI_MIN(*len, (size_t)(NQI_GUARD_HEAD - guard->fill));

    memcpy(guard->head + guard->fill, *at, n);
    guard->fill += (uint32_t)n;
    *at += n;
    *len -= n;
    if (guard->fill < NQI_GUARD_HEAD)
        return NQ_OK;
    guard->frame = nqi_pool_alloc(GUARD_FRAME_MAX);
    if (!guard->frame)
        return nqi_fail(NQ_ERR_NOMEM, "no memory to receive into");
    memcpy(guard->frame, guard->head, NQI_GUARD_HEAD);
    return NQ_OK;
}

/* More of a frame that comes in parts. */
static nq_err guard_collect(struct nqi_guard *guard, const uint8_t **at, size_t *len,
                            nqi_guard_deliver_fn deliver, void *arg)
{
    uint32_t want = 0, n;
    nq_err err;

    if (guard->fill < NQI_GUARD_HEAD)
        return guard_collect_head(guard, at, len);
    err = guard_measure(guard, guard->frame, &want);
    if (err)
        return err;
    n = (uint32_t)NQI_MIN(*len, (size_t)(want - guard->fill));
    memcpy(guard->frame + guard->fill, *at, n);
    guard->fill += n;
    *at += n;
    *len -= n;
    if (guard->fill < want)
        return NQ_OK;
    err = guard_open(guard, guard->frame, want, deliver, arg);
    guard_drop_frame(guard);
    return err;
}

nq_err nqi_guard_receive(struct nqi_guard *guard, const uint8_t *data, size_t len,
                         nqi_guard_deliver_fn deliver, void *arg)
{
    uint32_t whole = 0;
    nq_err err = NQ_OK;

    while (len && !err) {
        if (!guard->fill && len >= NQI_GUARD_HEAD)
            err = guard_measure(guard, data, &whole);
        if (err)
            return err;
        if (guard->fill || len < NQI_GUARD_HEAD || len < whole) {
            err = guard_collect(guard, &data, &len, deliver, arg);
            continue;
        }
        err = guard_open(guard, data, whole, deliver, arg);
        data += whole;
        len -= whole;
    }
    return err;
}
