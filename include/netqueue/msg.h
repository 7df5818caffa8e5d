/**
 * @file
 * nq_msg: a payload stream, the id of who sent it, and a little metadata.
 *
 * A message belongs to one thread until nq_put() takes it; nq_get() hands out
 * messages that belong to the caller.  The payload's chunks are shared, never
 * copied, between the message, its shallow copies and the transports.
 *
 * Thread: one at a time.  Nothing here blocks.
 */
#ifndef NETQUEUE_MSG_H
#define NETQUEUE_MSG_H

#include <netqueue/err.h>
#include <netqueue/stream.h>
#include <netqueue/uuid.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nq_msg nq_msg;

#define NQ_META_MAX 32768 /* bytes of all metadata of one message, as encoded */

/** A message with a copy of `len` bytes.  @param ret owned by the caller until put,
 *  ends with nq_msg_free().  @return NQ_OK, NQ_ERR_NOMEM */
NQ_API NQ_MUST_CHECK nq_err nq_msg_new(const void *data, size_t len, nq_msg **ret);

/** A message with `len` bytes of fresh, uninitialised memory to fill in place.
 *  @param data  [out] the memory, 64-byte aligned from 256 bytes on; writable until
 *               the put
 *  @return NQ_OK, NQ_ERR_NOMEM */
NQ_API NQ_MUST_CHECK nq_err nq_msg_alloc(size_t len, void **data, nq_msg **ret);

/** A message over the caller's memory, without a copy; rules as nq_chunk_wrap().
 *  @return NQ_OK, NQ_ERR_NOMEM (then `release` is not called) */
NQ_API NQ_MUST_CHECK nq_err nq_msg_wrap(void *data, size_t len, nq_release_fn release, void *arg,
                                        nq_msg **ret);

/** A message whose payload is the content of `stream`, which is left empty and stays
 *  the caller's.  @return NQ_OK, NQ_ERR_NOMEM (then nothing changed) */
NQ_API NQ_MUST_CHECK nq_err nq_msg_from_stream(nq_stream *stream, nq_msg **ret);

/** A second message with the same payload chunks, metadata and options (shallow).
 *  @return NQ_OK, NQ_ERR_NOMEM */
NQ_API NQ_MUST_CHECK nq_err nq_msg_copy(const nq_msg *msg, nq_msg **ret);

/** End a message that was not put.  NULL is allowed. */
NQ_API void nq_msg_free(nq_msg *msg);

/** Payload bytes. */
NQ_API uint64_t nq_msg_size(const nq_msg *msg);

/** The payload, borrowed until the message ends: read chunks out of it or append. */
NQ_API nq_stream *nq_msg_stream(nq_msg *msg);

/** The whole payload as one piece of memory.  Free of cost for a payload of one chunk
 *  (anything up to 4 MiB that came from nq_get()); else the chunks are joined by one
 *  copy, kept in the message.
 *  @param data  [out] borrowed until the message or its stream changes
 *  @return NQ_OK, NQ_ERR_NOMEM */
NQ_API NQ_MUST_CHECK nq_err nq_msg_data(nq_msg *msg, const void **data, size_t *len);

/** Who sent a message that nq_get() returned; all zero for one of your own. */
NQ_API const nq_uuid *nq_msg_sender(const nq_msg *msg);

/** The sender sent this message before and never heard what became of it (its option
 *  session.resend): it may have been received already. */
NQ_API bool nq_msg_is_redelivered(const nq_msg *msg);

/* ---- metadata: travels with the message ------------------------------------------------- */

/** A number of your own that ties an answer to a question.  0 = none. */
NQ_API void nq_msg_set_correlation(nq_msg *msg, uint64_t id);
NQ_API uint64_t nq_msg_correlation(const nq_msg *msg);

/** Set the metadata value `key`, or replace it.
 *  @param key   1..255 bytes and a NUL; copied
 *  @param data  0..NQ_META_MAX bytes; copied
 *  @return NQ_OK, NQ_ERR_NOMEM, NQ_ERR_INVAL (key), NQ_ERR_TOO_BIG (NQ_META_MAX) */
NQ_API NQ_MUST_CHECK nq_err nq_msg_set_meta(nq_msg *msg, const char *key, const void *data,
                                            size_t len);

/** Look `key` up.  @param data [out] borrowed until the metadata changes
 *  @return NQ_OK, or NQ_AGAIN when there is no such key */
NQ_API NQ_MUST_CHECK nq_err nq_msg_meta(const nq_msg *msg, const char *key, const void **data,
                                        size_t *len);

/* ---- options of the put: stay on this side ---------------------------------------------- */

/** Time to live: a message still undelivered after this many ns from the put is
 *  dropped with the outcome NQ_EXPIRED.  0 = for ever (the default). */
NQ_API void nq_msg_set_ttl(nq_msg *msg, int64_t ttl_ns);
NQ_API int64_t nq_msg_ttl(const nq_msg *msg);

/** A control message overtakes queued ordinary ones; order among control messages
 *  holds.  Off by default. */
NQ_API void nq_msg_set_control(nq_msg *msg, bool control);
NQ_API bool nq_msg_control(const nq_msg *msg);

#ifdef __cplusplus
}
#endif
#endif
