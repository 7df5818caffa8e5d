/* Serializers: the named ones, and put and get of objects.
 *
 * Each is two functions over streams.  Arrow alone needs the message itself, which its schema is
 * attached to, and the queue, which lends it memory: so it is asked for by name, here and nowhere
 * else. */
#include <netqueue/serializer.h>

#include "core/datum.h"
#include "core/err.h"
#include "core/jsontext.h"
#include "core/msg.h"
#include "core/queue.h"
#include <netqueue/pickle.h>
#include <stdlib.h>
#include <string.h>

static void serializer_msgp(nq_msg **msg)
{
    nq_msg_free(*msg);
}

static void serializer_chunkp(nq_chunk **chunk)
{
    nq_chunk_unref(*chunk);
}

/* ---- one piece --------------------------------------------------------------------------- */

static void serializer_release(void *arg, void *data, size_t len)
{
    (void)data;
    (void)len;
    nq_chunk_unref(arg);
}

/* The only view of a stream as a chunk: its own, or one over a part of it. */
static nq_err serializer_share(const nq_view *view, nq_chunk **ret)
{
    nq_err err;

    if (view->data == view->chunk->data && view->len == view->chunk->len) {
        *ret = nq_chunk_ref(view->chunk);
        return NQ_OK;
    }
    err = nq_chunk_wrap((void *)(uintptr_t)view->data, view->len, serializer_release, view->chunk,
                        ret);
    if (!err)
        nq_chunk_ref(view->chunk);
    return err;
}

/* All of a stream as one chunk, copied when it is in several pieces. */
static nq_err serializer_join(const nq_stream *stream, nq_chunk **ret)
{
    uint64_t len = nq_stream_nbytes(stream);
    nq_err err;

    if (nqi_stream_count(stream) == 1)
        return serializer_share(nqi_stream_view(stream, 0), ret);
    if (len > SIZE_MAX)
        return nqi_fail(NQ_ERR_TOO_BIG, "an object larger than memory");
    err = nq_chunk_new((size_t)len, ret);
    if (!err)
        (void)nq_stream_tobytes(stream, nq_chunk_data(*ret), (size_t)len);
    return err;
}

/* ---- bytes, stream ----------------------------------------------------------------------- */

static nq_err bytes_dump(void *arg, void *object, nq_stream *stream)
{
    nq_view view = nq_chunk_view(object, 0, nq_chunk_size(object));
    nq_err err = nq_stream_writechunk(stream, &view);

    (void)arg;
    nq_view_release(&view);
    return err;
}

static nq_err bytes_load(void *arg, nq_stream *stream, void **object)
{
    nq_chunk *chunk;
    nq_err err = serializer_join(stream, &chunk);

    (void)arg;
    if (!err)
        *object = chunk;
    return err;
}

static nq_err stream_dump(void *arg, void *object, nq_stream *stream)
{
    const nq_stream *from = object;

    (void)arg;
    return nqi_stream_share(stream, from, 0, nq_stream_nbytes(from));
}

static nq_err stream_load(void *arg, nq_stream *stream, void **object)
{
    nq_stream *copy;
    nq_err err = nq_stream_copy(stream, &copy);

    (void)arg;
    if (!err)
        *object = copy;
    return err;
}

/* ---- json -------------------------------------------------------------------------------- */

#define JSON_FLAGS (JSON_COMPACT | JSON_ENCODE_ANY)

static nq_err json_dump_to(void *arg, void *object, nq_stream *stream)
{
    NQI_CLEANUP(serializer_chunkp) nq_chunk *chunk = NULL;
    size_t len = json_dumpb(object, NULL, 0, JSON_FLAGS);
    nq_err err;

    if (!len)
        return nqi_fail(NQ_ERR_INVAL, "JSON that cannot be written: it contains itself, or there "
                                      "is no memory");
    err = nq_chunk_new(len, &chunk);
    if (err)
        return err;
    if (json_dumpb(object, nq_chunk_data(chunk), len, JSON_FLAGS) != len)
        return nqi_fail(NQ_ERR_NOMEM, "no memory to write JSON");
    return bytes_dump(arg, chunk, stream);
}

static nq_err json_load_from(void *arg, nq_stream *stream, void **object)
{
    NQI_CLEANUP(serializer_chunkp) nq_chunk *chunk = NULL;
    nq_err err = serializer_join(stream, &chunk);
    json_t *json;

    (void)arg;
    if (!err)
        err = nqi_json_parse("JSON", nq_chunk_data(chunk), nq_chunk_size(chunk), NQ_DATUM_DEPTH,
                             JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL,
                             NQ_ERR_PROTO, &json);
    if (!err)
        *object = json;
    return err;
}

/* ---- pickle ------------------------------------------------------------------------------ */

static nq_err pickle_dump_to(void *arg, void *object, nq_stream *stream)
{
    return nq_pickle_dump(object, arg, stream);
}

static nq_err pickle_load_from(void *arg, nq_stream *stream, void **object)
{
    NQI_CLEANUP(serializer_chunkp) nq_chunk *chunk = NULL;
    nq_datum *datum;
    nq_err err = serializer_join(stream, &chunk);

    if (!err)
        err = nq_pickle_load(nq_chunk_data(chunk), nq_chunk_size(chunk), arg, &datum);
    if (!err)
        *object = datum;
    return err;
}

/* ---- arrow ------------------------------------------------------------------------------- */

static nq_err arrow_refuse(void)
{
    return nqi_fail(NQ_ERR_UNSUPPORTED, "the serializer arrow works on messages: a stream has no "
                                        "place for a schema");
}

static nq_err arrow_dump_to(void *arg, void *object, nq_stream *stream)
{
    (void)arg;
    (void)object;
    (void)stream;
    return arrow_refuse();
}

static nq_err arrow_load_from(void *arg, nq_stream *stream, void **object)
{
    (void)arg;
    (void)stream;
    (void)object;
    return arrow_refuse();
}

static bool arrow_is(const struct nq_serializer *serializer)
{
    return serializer->dump == arrow_dump_to || serializer->load == arrow_load_from;
}

static nq_err arrow_load(nq_msg *msg, void **object)
{
    struct nq_arrow *arrow = calloc(1, sizeof(*arrow));
    nq_err err;

    if (!arrow)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for an array");
    err = nq_msg_get_arrow(msg, &arrow->schema, &arrow->array);
    if (!err) {
        *object = arrow;
        return NQ_OK;
    }
    free(arrow);
    return err == NQ_AGAIN ? nqi_fail(NQ_ERR_PROTO, "a message that carries no array") : err;
}

void nq_arrow_free(struct nq_arrow *arrow)
{
    if (!arrow)
        return;
    if (arrow->array.release)
        arrow->array.release(&arrow->array);
    if (arrow->schema.release)
        arrow->schema.release(&arrow->schema);
    free(arrow);
}

/* ---- which ------------------------------------------------------------------------------- */

static const struct nq_serializer serializers[] = {
    [NQI_SERIALIZER_BYTES] = {"bytes", bytes_dump, bytes_load, NULL},
    [NQI_SERIALIZER_STREAM] = {"stream", stream_dump, stream_load, NULL},
    [NQI_SERIALIZER_JSON] = {"json", json_dump_to, json_load_from, NULL},
    [NQI_SERIALIZER_PICKLE] = {"pickle", pickle_dump_to, pickle_load_from, NULL},
    [NQI_SERIALIZER_ARROW] = {"arrow", arrow_dump_to, arrow_load_from, NULL},
};

const struct nq_serializer *nq_serializer_find(const char *name)
{
    for (size_t i = 0; i < NQI_LEN(serializers); i++)
        if (!strcmp(serializers[i].name, name))
            return &serializers[i];
    return NULL;
}

const struct nq_serializer *nq_serializer_of(const nq_queue *queue)
{
    return queue->serializer.dump ? &queue->serializer : &serializers[queue->conf->serializer];
}

void nq_serializer_set(nq_queue *queue, const struct nq_serializer *serializer)
{
    queue->serializer = serializer ? *serializer : (struct nq_serializer){0};
}

/* ---- messages ---------------------------------------------------------------------------- */

/* @param queue  and `peers`: whose memory may be lent; NULL = nobody's */
static nq_err serializer_dump(const struct nq_serializer *serializer, void *object, nq_queue *queue,
                              const nq_uuid *peers, size_t n, nq_msg **ret)
{
    NQI_CLEANUP(serializer_msgp) nq_msg *msg = NULL;
    struct nq_arrow *arrow = object;
    nq_err err;

    if (arrow_is(serializer))
        return nq_msg_put_arrow(queue, peers, n, &arrow->schema, &arrow->array, ret);
    err = nqi_msg_empty(&msg);
    if (!err)
        err = serializer->dump(serializer->arg, object, &msg->stream);
    if (!err)
        *ret = NQI_STEAL(msg);
    return err;
}

nq_err nq_msg_dump(const struct nq_serializer *serializer, void *object, nq_msg **ret)
{
    return serializer_dump(serializer, object, NULL, NULL, 0, ret);
}

nq_err nq_msg_load(const struct nq_serializer *serializer, nq_msg *msg, void **object)
{
    NQI_CLEANUP(nqi_stream_fini) struct nq_stream stream;
    nq_err err;

    nqi_stream_init(&stream);
    if (arrow_is(serializer))
        return arrow_load(msg, object);
    err = nqi_stream_share(&stream, &msg->stream, 0, msg->stream.nbytes);
    return err ? err : serializer->load(serializer->arg, &stream, object);
}

nq_err nq_put_object(nq_queue *queue, void *object, const nq_uuid *peers, size_t n,
                     nq_future **future)
{
    NQI_CLEANUP(serializer_msgp) nq_msg *msg = NULL;
    nq_err err = serializer_dump(nq_serializer_of(queue), object, queue, peers, n, &msg);

    if (!err)
        err = nq_put(queue, msg, peers, n, future);
    if (!err)
        msg = NULL;
    return err;
}

nq_err nq_get_object(nq_queue *queue, const nq_uuid *peers, size_t n, int64_t timeout_ns,
                     void **object, nq_uuid *sender)
{
    NQI_CLEANUP(serializer_msgp) nq_msg *msg = NULL;
    nq_err err = nq_get(queue, peers, n, timeout_ns, &msg);

    if (err)
        return err;
    if (sender)
        *sender = *nq_msg_sender(msg);
    return nq_msg_load(nq_serializer_of(queue), msg, object);
}
