/* nq_stream: a ring of views; see stream.h for the shape.
 *
 * Whatever can fail reserves room first and changes the stream afterwards, so that a
 * failure leaves it as it was. */
#include "core/stream.h"
#include "core/copy.h"
#include "core/err.h"
#include "core/pool.h"

/* A longer array is given back as soon as the stream is empty. */
#define STREAM_IDLE 64
#define STREAM_MOST (UINT32_C(1) << 30) /* views */

/* ---- the ring --------------------------------------------------------------------------- */

static nq_view *stream_at(struct nq_stream *stream, size_t i)
{
    return &stream->views[(stream->head + i) & (stream->cap - 1)];
}

/* Back to the array inside; the stream is empty. */
static void stream_reset(struct nq_stream *stream)
{
    if (stream->cap > NQI_STREAM_LOCAL)
        nqi_pool_free(stream->views, stream->cap * sizeof(nq_view));
    nqi_stream_init(stream);
}

static nq_err stream_grow(struct nq_stream *stream, size_t n)
{
    uint32_t cap = stream->cap;
    nq_view *views;

    if (n > STREAM_MOST - stream->count)
        return nqi_fail(NQ_ERR_NOMEM, "too many chunks in one stream");
    while (cap - stream->count < n)
        cap *= 2;
    views = nqi_pool_alloc(cap * sizeof(*views));
    if (!views)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a stream of %u chunks", cap);
    for (size_t i = 0; i < stream->count; i++)
        views[i] = *stream_at(stream, i);
    if (stream->cap > NQI_STREAM_LOCAL)
        nqi_pool_free(stream->views, stream->cap * sizeof(*views));
    stream->views = views;
    stream->cap = cap;
    stream->head = 0;
    return NQ_OK;
}

nq_err nqi_stream_reserve(struct nq_stream *stream, size_t n)
{
    return NQI_LIKELY(n <= stream->cap - stream->count) ? NQ_OK : stream_grow(stream, n);
}

/* Take the first view out; the stream is not empty. */
static nq_view stream_pop(struct nq_stream *stream)
{
    nq_view view = stream->views[stream->head];

    stream->head = (stream->head + 1) & (stream->cap - 1);
    stream->count--;
    stream->nbytes -= view.len;
    if (!stream->count && stream->cap > STREAM_IDLE)
        stream_reset(stream);
    return view;
}

void nqi_stream_fini(struct nq_stream *stream)
{
    for (size_t i = 0; i < stream->count; i++)
        nqi_chunk_unref(stream_at(stream, i)->chunk);
    stream_reset(stream);
}

void nqi_stream_take(struct nq_stream *stream, struct nq_stream *from)
{
    assert(!stream->count && stream != from);
    stream_reset(stream);
    if (from->cap > NQI_STREAM_LOCAL) {
        *stream = *from;
    } else {
        for (size_t i = 0; i < from->count; i++)
            stream->local[i] = *stream_at(from, i);
        stream->count = from->count;
        stream->nbytes = from->nbytes;
    }
    nqi_stream_init(from);
}

void nqi_stream_drop(struct nq_stream *stream, uint64_t len)
{
    while (len && stream->count) {
        nq_view *first = stream_at(stream, 0);
        nq_view view;

        if (len < first->len) {
            first->data += len;
            first->len -= len;
            stream->nbytes -= len;
            return;
        }
        view = stream_pop(stream);
        len -= view.len;
        nqi_chunk_unref(view.chunk);
    }
}

/* How many views of `from` bytes [off, off + len) touch, and in which they begin. */
static size_t stream_cover(const struct nq_stream *from, uint64_t *off, uint64_t len, size_t *first)
{
    size_t i = 0, n = 0;
    uint64_t room;

    while (i < from->count && *off >= nqi_stream_view(from, i)->len)
        *off -= nqi_stream_view(from, i++)->len;
    *first = i;
    for (room = *off; i < from->count && len; i++, n++) {
        uint64_t part = nqi_stream_view(from, i)->len - room;

        len -= NQI_MIN(len, part);
        room = 0;
    }
    return n;
}

nq_err nqi_stream_share(struct nq_stream *stream, const struct nq_stream *from, uint64_t off,
                        uint64_t len)
{
    size_t first, n = stream_cover(from, &off, len, &first);
    nq_err err = nqi_stream_reserve(stream, n);

    if (err)
        return err;
    for (size_t i = 0; i < n; i++) {
        nq_view view = *nqi_stream_view(from, first + i);
        size_t part = (size_t)NQI_MIN(len, view.len - off);

        nqi_chunk_ref(view.chunk);
        nqi_stream_push(stream, view.chunk, view.data + off, part);
        len -= part;
        off = 0;
    }
    return NQ_OK;
}

void nqi_stream_truncate(struct nq_stream *stream, size_t n)
{
    while (stream->count > n) {
        nq_view *last = &stream->views[(stream->head + stream->count - 1) & (stream->cap - 1)];

        stream->nbytes -= last->len;
        nq_view_release(last);
        stream->count--;
    }
}

/* ---- public ----------------------------------------------------------------------------- */

nq_err nq_stream_new(nq_stream **ret)
{
    nq_stream *stream = nqi_pool_alloc(sizeof(*stream));

    if (!stream)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a stream");
    nqi_stream_init(stream);
    *ret = stream;
    return NQ_OK;
}

void nq_stream_free(nq_stream *stream)
{
    if (!stream)
        return;
    nqi_stream_fini(stream);
    nqi_pool_free(stream, sizeof(*stream));
}

static void stream_freep(nq_stream **stream)
{
    nq_stream_free(*stream);
}

size_t nq_stream_nchunks(const nq_stream *stream)
{
    return stream->count;
}

uint64_t nq_stream_nbytes(const nq_stream *stream)
{
    return stream->nbytes;
}

bool nq_stream_empty(const nq_stream *stream)
{
    return !stream->count;
}

nq_err nq_stream_readchunk(nq_stream *stream, nq_view *ret)
{
    if (!stream->count)
        return NQ_AGAIN;
    *ret = stream_pop(stream);
    return NQ_OK;
}

nq_err nq_stream_unreadchunk(nq_stream *stream, nq_view *view)
{
    nq_err err;

    if (!view->len) {
        nq_view_release(view);
        return NQ_OK;
    }
    err = nqi_stream_reserve(stream, 1);
    if (err)
        return err;
    stream->head = (stream->head - 1) & (stream->cap - 1);
    stream->views[stream->head] = *view;
    stream->count++;
    stream->nbytes += view->len;
    *view = (nq_view){0};
    return NQ_OK;
}

nq_err nq_stream_writechunk(nq_stream *stream, nq_view *view)
{
    return nq_stream_writechunks(stream, view, 1);
}

nq_err nq_stream_unwritechunk(nq_stream *stream, nq_view *ret)
{
    nq_view view;

    if (!stream->count)
        return NQ_AGAIN;
    view = *stream_at(stream, stream->count - 1);
    stream->count--;
    stream->nbytes -= view.len;
    if (!stream->count && stream->cap > STREAM_IDLE)
        stream_reset(stream);
    *ret = view;
    return NQ_OK;
}

nq_err nq_stream_peekchunk(const nq_stream *stream, nq_view *ret)
{
    if (!stream->count)
        return NQ_AGAIN;
    *ret = *nqi_stream_view(stream, 0);
    return NQ_OK;
}

nq_err nq_stream_readchunks(nq_stream *stream, nq_view *views, size_t cap, size_t *ret)
{
    size_t n = NQI_MIN(cap, (size_t)stream->count);

    if (!stream->count)
        return NQ_AGAIN;
    for (size_t i = 0; i < n; i++)
        views[i] = stream_pop(stream);
    *ret = n;
    return NQ_OK;
}

nq_err nq_stream_writechunks(nq_stream *stream, nq_view *views, size_t n)
{
    nq_err err = nqi_stream_reserve(stream, n);

    if (err)
        return err;
    for (size_t i = 0; i < n; i++) {
        if (!views[i].len) {
            nq_view_release(&views[i]);
            continue;
        }
        nqi_stream_push(stream, views[i].chunk, views[i].data, views[i].len);
        views[i] = (nq_view){0};
    }
    return NQ_OK;
}

nq_err nq_stream_update(nq_stream *stream, const struct nq_bytes *bufs, size_t n)
{
    unsigned char *at;
    nq_chunk *chunk;
    size_t total = 0;
    nq_err err;

    for (size_t i = 0; i < n; i++)
        if (__builtin_add_overflow(total, bufs[i].len, &total))
            return nqi_fail(NQ_ERR_NOMEM, "buffers larger than memory");
    if (!total)
        return NQ_OK;
    err = nqi_stream_reserve(stream, 1);
    if (err)
        return err;
    err = nq_chunk_new(total, &chunk);
    if (err)
        return err;
    at = chunk->data;
    for (size_t i = 0; i < n; i++) {
        if (!bufs[i].len)
            continue;
        nqi_copy(at, bufs[i].data, bufs[i].len);
        at += bufs[i].len;
    }
    nqi_stream_push(stream, chunk, chunk->data, total);
    return NQ_OK;
}

nq_err nq_stream_append(nq_stream *stream, nq_stream *from)
{
    nq_err err;

    if (stream == from)
        return NQ_OK;
    if (!stream->count) {
        nqi_stream_take(stream, from);
        return NQ_OK;
    }
    err = nqi_stream_reserve(stream, from->count);
    if (err)
        return err;
    for (size_t i = 0; i < from->count; i++) {
        nq_view view = *stream_at(from, i);

        nqi_stream_push(stream, view.chunk, view.data, view.len);
    }
    stream_reset(from);
    return NQ_OK;
}

size_t nq_stream_tobytes(const nq_stream *stream, void *buf, size_t len)
{
    unsigned char *out = buf;
    size_t done = 0;

    for (size_t i = 0; i < stream->count && done < len; i++) {
        const nq_view *view = nqi_stream_view(stream, i);
        size_t part = NQI_MIN(len - done, view->len);

        nqi_copy(out + done, view->data, part);
        done += part;
    }
    return done;
}

size_t nq_stream_read(nq_stream *stream, void *buf, size_t len)
{
    size_t done = nq_stream_tobytes(stream, buf, len);

    nqi_stream_drop(stream, done);
    return done;
}

nq_err nq_stream_write(nq_stream *stream, const void *data, size_t len)
{
    return nq_stream_update(stream, &(struct nq_bytes){data, len}, 1);
}

void nq_stream_clear(nq_stream *stream)
{
    nqi_stream_fini(stream);
}

nq_err nq_stream_copy(const nq_stream *stream, nq_stream **ret)
{
    NQI_CLEANUP(stream_freep) nq_stream *copy = NULL;
    nq_err err = nq_stream_new(&copy);

    if (err)
        return err;
    err = nqi_stream_share(copy, stream, 0, stream->nbytes);
    if (err)
        return err;
    *ret = NQI_STEAL(copy);
    return NQ_OK;
}

nq_err nq_stream_frombytes(const void *data, size_t len, nq_stream **ret)
{
    NQI_CLEANUP(stream_freep) nq_stream *stream = NULL;
    nq_err err = nq_stream_new(&stream);

    if (err)
        return err;
    err = nq_stream_write(stream, data, len);
    if (err)
        return err;
    *ret = NQI_STEAL(stream);
    return NQ_OK;
}
