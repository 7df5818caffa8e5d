/**
 * @file
 * Objects in place of messages: a serializer makes a stream of an object, and an object of a
 * stream.
 *
 *     object --dump--> stream --nq_put_object()--> ... --nq_get_object()--> stream --load--> object
 *
 * `"serializer"` in the configuration names the queue's, nq_serializer_set() gives it one of the
 * program's own.  The named ones, and the C type of their objects:
 *
 *     name    object          dump                           load
 *     bytes   nq_chunk        shares it                      ends with nq_chunk_unref()
 *     stream  nq_stream       shares its chunks              ends with nq_stream_free()
 *     json    json_t          jansson's, of any kind         ends with json_decref()
 *     pickle  nq_datum                                       ends with nq_datum_unref()
 *     arrow   struct nq_arrow releases the array             ends with nq_arrow_free()
 *
 * docs/serializers.md has what they carry, and their bounds.
 */
#ifndef NETQUEUE_SERIALIZER_H
#define NETQUEUE_SERIALIZER_H

#include <netqueue/arrow.h>
#include <netqueue/err.h>
#include <netqueue/msg.h>
#include <netqueue/queue.h>
#include <netqueue/stream.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Two functions and what they need; on any thread, several at a time. */
struct nq_serializer {
    const char *name; /* for errors; borrowed */

    /** Append `object` to `stream`, which is empty.  What becomes of the object is the
     *  serializer's to say.  @return NQ_OK, or a failure; then the stream is not looked at */
    nq_err (*dump)(void *arg, void *object, nq_stream *stream);

    /** Make an object of `stream`, which may be read empty; what is left is released.
     *  @param object  [out] owned by the caller, on NQ_OK
     *  @return NQ_OK, or a failure: NQ_ERR_PROTO where the sender is to blame */
    nq_err (*load)(void *arg, nq_stream *stream, void **object);

    /* Borrowed; must outlive the queue.  The named ones have NULL; that of pickle may be a
     * struct nq_pickle_options:
     *     struct nq_serializer mine = *nq_serializer_find("pickle");
     *     mine.arg = &options; */
    void *arg;
};

/** A record batch and its type, as nq_msg_put_arrow() takes them. */
struct nq_arrow {
    struct ArrowSchema schema;
    struct ArrowArray array;
};

/** Release what is not released, and free() it.  NULL is allowed. */
NQ_API void nq_arrow_free(struct nq_arrow *arrow);

/** The serializer of that name; static.  NULL: there is none.  Thread: any. */
NQ_API const struct nq_serializer *nq_serializer_find(const char *name);

/** The queue's; borrowed until it is set or the queue ends.  Thread: any. */
NQ_API const struct nq_serializer *nq_serializer_of(const nq_queue *queue);

/** Have the queue use `serializer` from now on.
 *  @param serializer  copied; NULL = the one that the configuration names
 *  Thread: any, while no other is in nq_put_object() or nq_get_object().  Blocks: no. */
NQ_API void nq_serializer_set(nq_queue *queue, const struct nq_serializer *serializer);

/** A message that carries `object`.
 *  @param ret  [out] owned by the caller, ends with nq_put() or nq_msg_free()
 *  @return NQ_OK, NQ_ERR_NOMEM, or what dump returned.  Thread: any.  Blocks: no. */
NQ_API NQ_MUST_CHECK nq_err nq_msg_dump(const struct nq_serializer *serializer, void *object,
                                        nq_msg **ret);

/** The object that `msg` carries.
 *  @param msg     its payload is as it was afterwards, also on failure; stays the caller's
 *  @param object  [out] owned by the caller
 *  @return NQ_OK, NQ_ERR_NOMEM, or what load returned: NQ_ERR_PROTO, NQ_ERR_UNSUPPORTED,
 *          NQ_ERR_TOO_BIG.  Thread: as the message.  Blocks: no. */
NQ_API NQ_MUST_CHECK nq_err nq_msg_load(const struct nq_serializer *serializer, nq_msg *msg,
                                        void **object);

/** nq_put() of an object, through the queue's serializer.
 *  @return as nq_msg_dump() and nq_put().  Thread: any.  Blocks: as nq_put(). */
NQ_API NQ_MUST_CHECK nq_err nq_put_object(nq_queue *queue, void *object, const nq_uuid *peers,
                                          size_t n, nq_future **future);

/** nq_get() of an object, through the queue's serializer.  A message that is not such an object is
 *  gone: who wants to see it takes nq_get() and nq_msg_load().
 *  @param object  [out] owned by the caller
 *  @param sender  [out] who sent it, also when load failed; NULL when it does not matter
 *  @return as nq_get() and nq_msg_load().  Thread: any.  Blocks: up to `timeout_ns`. */
NQ_API NQ_MUST_CHECK nq_err nq_get_object(nq_queue *queue, const nq_uuid *peers, size_t n,
                                          int64_t timeout_ns, void **object, nq_uuid *sender);

#ifdef __cplusplus
}
#endif
#endif
