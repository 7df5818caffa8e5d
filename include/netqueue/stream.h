/**
 * @file
 * nq_stream: a non-blocking pipe of memory chunks that never copies them.
 *
 *     writer --writechunk--> [chunk][chunk][chunk] --readchunk--> reader
 *
 * A chunk is a reference-counted piece of memory.  A view is a part of a chunk
 * together with one reference on it.  The writer hands its views over; the reader
 * owns what it reads and ends each view with nq_view_release().  Shallow copies
 * of a stream share the chunks.
 *
 * Thread: a stream belongs to one thread at a time.  Chunks may be shared: ref and
 *         unref are allowed on any thread.  Nothing here blocks.
 */
#ifndef NETQUEUE_STREAM_H
#define NETQUEUE_STREAM_H

#include <netqueue/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nq_chunk nq_chunk;
typedef struct nq_stream nq_stream;

/** Called once, when nobody needs the memory any more.  It may run on any thread,
 *  the library's own included; it must not block and must not call the library. */
typedef void (*nq_release_fn)(void *arg, void *data, size_t len);

/** A part of a chunk and one reference on it. */
typedef struct nq_view {
    const unsigned char *data;
    size_t len;
    nq_chunk *chunk; /* the reference; NULL only in an empty view */
} nq_view;

/* ---- chunks ----------------------------------------------------------------------------- */

/** New writable memory, 64-byte aligned, not initialised, from the library's pool.
 *  @param len  bytes, 0 allowed
 *  @param ret  [out] one reference, owned by the caller, ends with nq_chunk_unref()
 *  @return NQ_OK or NQ_ERR_NOMEM */
NQ_API NQ_MUST_CHECK nq_err nq_chunk_new(size_t len, nq_chunk **ret);

/** Wrap the caller's memory without copying it.  The memory must not change until
 *  `release` runs.
 *  @param data     borrowed until `release` is called
 *  @param release  NULL for memory that lives for ever (static data)
 *  @return NQ_OK or NQ_ERR_NOMEM (then `release` is not called) */
NQ_API NQ_MUST_CHECK nq_err nq_chunk_wrap(void *data, size_t len, nq_release_fn release, void *arg,
                                          nq_chunk **ret);

/** One reference more; returns `chunk`.  Thread: any. */
NQ_API nq_chunk *nq_chunk_ref(nq_chunk *chunk);

/** One reference less; the last one releases the memory.  NULL is allowed.
 *  Thread: any. */
NQ_API void nq_chunk_unref(nq_chunk *chunk);

/** The chunk's memory; writable only while the caller holds the only reference. */
NQ_API void *nq_chunk_data(const nq_chunk *chunk);
NQ_API size_t nq_chunk_size(const nq_chunk *chunk); /* bytes */

/** A view of bytes [off, off+len) of `chunk` that holds one new reference.
 *  The range must lie inside the chunk. */
NQ_API nq_view nq_chunk_view(nq_chunk *chunk, size_t off, size_t len);

/** Drop the view's reference and empty the view.  An empty view is allowed. */
NQ_API void nq_view_release(nq_view *view);

/* ---- streams ---------------------------------------------------------------------------- */

/** A new empty stream; owned by the caller, ends with nq_stream_free().
 *  @return NQ_OK or NQ_ERR_NOMEM */
NQ_API NQ_MUST_CHECK nq_err nq_stream_new(nq_stream **ret);

/** Release all chunks and the stream.  NULL is allowed. */
NQ_API void nq_stream_free(nq_stream *stream);

NQ_API size_t nq_stream_nchunks(const nq_stream *stream);  /* chunks held */
NQ_API uint64_t nq_stream_nbytes(const nq_stream *stream); /* bytes held */
NQ_API bool nq_stream_empty(const nq_stream *stream);      /* a read would find nothing */

/** Take the first view out.
 *  @param ret  [out] owned by the caller, ends with nq_view_release()
 *  @return NQ_OK, or NQ_AGAIN when the stream is empty */
NQ_API NQ_MUST_CHECK nq_err nq_stream_readchunk(nq_stream *stream, nq_view *ret);

/** Put a view back in front, so that it is read next.
 *  @param view  [take] emptied on NQ_OK; empty views are dropped
 *  @return NQ_OK, NQ_ERR_NOMEM */
NQ_API NQ_MUST_CHECK nq_err nq_stream_unreadchunk(nq_stream *stream, nq_view *view);

/** Append a view.  @param view [take] emptied on NQ_OK; empty views are dropped
 *  @return NQ_OK, NQ_ERR_NOMEM */
NQ_API NQ_MUST_CHECK nq_err nq_stream_writechunk(nq_stream *stream, nq_view *view);

/** Take the last view out: the counterpart of writechunk.
 *  @return NQ_OK, or NQ_AGAIN when the stream is empty */
NQ_API NQ_MUST_CHECK nq_err nq_stream_unwritechunk(nq_stream *stream, nq_view *ret);

/** Look at the first view without taking it.
 *  @param ret  [out] borrowed until the stream changes; do not release it
 *  @return NQ_OK, or NQ_AGAIN when the stream is empty */
NQ_API NQ_MUST_CHECK nq_err nq_stream_peekchunk(const nq_stream *stream, nq_view *ret);

/** Take up to `cap` views, in order.
 *  @param views  [out] the first `*ret` are owned by the caller
 *  @return NQ_OK, or NQ_AGAIN when the stream is empty */
NQ_API NQ_MUST_CHECK nq_err nq_stream_readchunks(nq_stream *stream, nq_view *views, size_t cap,
                                                 size_t *ret);

/** Append `n` views.  @param views [take] all emptied on NQ_OK, none on failure
 *  @return NQ_OK, NQ_ERR_NOMEM */
NQ_API NQ_MUST_CHECK nq_err nq_stream_writechunks(nq_stream *stream, nq_view *views, size_t n);

/** A piece of the caller's memory, for nq_stream_update(). */
struct nq_bytes {
    const void *data;
    size_t len;
};

/** Append copies of `n` buffers as one new chunk.
 *  @return NQ_OK, NQ_ERR_NOMEM (then nothing was appended) */
NQ_API NQ_MUST_CHECK nq_err nq_stream_update(nq_stream *stream, const struct nq_bytes *bufs,
                                             size_t n);

/** Move all chunks of `from` to the end of `stream`; `from` is left empty.
 *  @return NQ_OK, NQ_ERR_NOMEM (then both are unchanged) */
NQ_API NQ_MUST_CHECK nq_err nq_stream_append(nq_stream *stream, nq_stream *from);

/** Copy up to `len` bytes out and drop what was copied.
 *  @return bytes copied: 0 when the stream is empty */
NQ_API size_t nq_stream_read(nq_stream *stream, void *buf, size_t len);

/** Append a copy of `len` bytes.  @return NQ_OK, NQ_ERR_NOMEM */
NQ_API NQ_MUST_CHECK nq_err nq_stream_write(nq_stream *stream, const void *data, size_t len);

/** Release all chunks. */
NQ_API void nq_stream_clear(nq_stream *stream);

/** A second stream over the same chunks (shallow).  @param ret owned by the caller
 *  @return NQ_OK, NQ_ERR_NOMEM */
NQ_API NQ_MUST_CHECK nq_err nq_stream_copy(const nq_stream *stream, nq_stream **ret);

/** Copy the first min(len, nbytes) bytes into `buf`; the stream keeps them.
 *  @return bytes copied */
NQ_API size_t nq_stream_tobytes(const nq_stream *stream, void *buf, size_t len);

/** A new stream that holds a copy of `len` bytes.  @param ret owned by the caller
 *  @return NQ_OK, NQ_ERR_NOMEM */
NQ_API NQ_MUST_CHECK nq_err nq_stream_frombytes(const void *data, size_t len, nq_stream **ret);

#ifdef __cplusplus
}
#endif
#endif
