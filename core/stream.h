/* The inside of nq_stream, for those who embed one or walk its views in place.
 *
 * A ring of views: both ends push and pop in constant time.  The first two views lie in
 * the struct itself, because nearly every message has one or two; more go to a pooled
 * array that doubles.  The struct points into itself: do not copy or move it. */
#ifndef NQ_CORE_STREAM_H
#define NQ_CORE_STREAM_H

#include "core/base.h"
#include "core/chunk.h"
#include <netqueue/stream.h>

#define NQI_STREAM_LOCAL 2

struct nq_stream {
    struct nq_view *views; /* ring of `cap`: `local`, or a pooled array */
    uint32_t cap;          /* a power of two */
    uint32_t head;         /* where the first view is; below cap */
    uint32_t count;
    uint64_t nbytes;
    struct nq_view local[NQI_STREAM_LOCAL];
};

/* Make `stream` an empty stream in the caller's memory; ends with nqi_stream_fini(). */
static inline void nqi_stream_init(struct nq_stream *stream)
{
    stream->views = stream->local;
    stream->cap = NQI_STREAM_LOCAL;
    stream->head = 0;
    stream->count = 0;
    stream->nbytes = 0;
}

/* The same with one view in it: the reference is the caller's, given away.  len > 0. */
static inline void nqi_stream_init_one(struct nq_stream *stream, nq_chunk *chunk,
                                       const unsigned char *data, size_t len)
{
    stream->views = stream->local;
    stream->cap = NQI_STREAM_LOCAL;
    stream->head = 0;
    stream->count = 1;
    stream->nbytes = len;
    stream->local[0] = (struct nq_view){data, len, chunk};
}

/* Release all chunks and the array; the stream is empty and usable afterwards. */
void nqi_stream_fini(struct nq_stream *stream);

static inline size_t nqi_stream_count(const struct nq_stream *stream)
{
    return stream->count;
}

/* The i-th view, i < nqi_stream_count(); borrowed until the stream changes. */
static inline const nq_view *nqi_stream_view(const struct nq_stream *stream, size_t i)
{
    return &stream->views[(stream->head + i) & (stream->cap - 1)];
}

/* Make room for `n` views more, so that the next `n` appends cannot fail.
 * @return NQ_OK, NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_stream_reserve(struct nq_stream *stream, size_t n);

/* Release the last views until `n` are left; nothing when there are not so many. */
void nqi_stream_truncate(struct nq_stream *stream, size_t n);

/* Append [data, data + len) of `chunk` with a reference that the caller gives away.
 * Needs room: after nqi_stream_reserve().  len > 0. */
static inline void nqi_stream_push(struct nq_stream *stream, nq_chunk *chunk,
                                   const unsigned char *data, size_t len)
{
    struct nq_view *view = &stream->views[(stream->head + stream->count++) & (stream->cap - 1)];

    view->data = data;
    view->len = len;
    view->chunk = chunk;
    stream->nbytes += len;
}

/* Append new references on bytes [off, off + len) of `from`; less when `from` is shorter.
 * @return NQ_OK, NQ_ERR_NOMEM (then nothing was appended) */
NQ_MUST_CHECK nq_err nqi_stream_share(struct nq_stream *stream, const struct nq_stream *from,
                                      uint64_t off, uint64_t len);

/* Drop the first `len` bytes, or all when there are fewer. */
void nqi_stream_drop(struct nq_stream *stream, uint64_t len);

/* Move all of `from` into the empty stream `stream`; never fails. */
void nqi_stream_take(struct nq_stream *stream, struct nq_stream *from);

#endif
