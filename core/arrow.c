/* nq_msg_put_arrow() and nq_msg_get_arrow(): where the schema is kept, and what the checks stand
 * between.  docs/arrow.md has the whole picture. */
#include <netqueue/arrow.h>

#include "core/arrow_layout.h"
#include "core/arrow_read.h"
#include "core/arrow_schema.h"
#include "core/arrow_write.h"
#include "core/err.h"
#include "core/msg.h"
#include "core/schemas.h"

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ARROW_CAN true
#else
#define ARROW_CAN false /* the buffers travel as they are */
#endif

static void arrow_fieldsp(struct nqi_arrow_fields **fields)
{
    nqi_arrow_fields_free(*fields);
}

static void arrow_chunkp(nq_chunk **chunk)
{
    nq_chunk_unref(*chunk);
}

static void arrow_msgp(nq_msg **msg)
{
    nq_msg_free(*msg);
}

static nq_err arrow_cannot(void)
{
    return nqi_fail(NQ_ERR_UNSUPPORTED, "Arrow on a machine that is not little-endian");
}

/* ---- put -------------------------------------------------------------------------------- */

/* What was written is what the other side accepts, or the producer hears of it. */
static nq_err arrow_check_written(const struct nqi_arrow_fields *fields, const void *data,
                                  size_t len)
{
    struct ArrowArray seen;
    nq_stream none;
    nq_err err;

    nqi_stream_init(&none);
    err = nqi_arrow_read(fields, data, len, &none, &seen);
    if (!err)
        seen.release(&seen);
    return err;
}

static nq_err arrow_room(nq_queue *queue, const nq_uuid *peers, size_t n, uint64_t size,
                         void **data, nq_msg **msg)
{
    if (size > SIZE_MAX)
        return nqi_fail(NQ_ERR_TOO_BIG, "an array larger than memory");
    return queue ? nq_loan(queue, peers, n, (size_t)size, data, msg)
                 : nq_msg_alloc((size_t)size, data, msg);
}

/* @param schema  [take] on NQ_OK */
static nq_err arrow_attach(nq_msg *msg, nq_chunk **schema)
{
    nq_err err = nqi_msg_set_schema(msg, *schema);

    if (!err)
        *schema = NULL;
    return err;
}

nq_err nq_msg_put_arrow(nq_queue *queue, const nq_uuid *peers, size_t n,
                        const struct ArrowSchema *schema, struct ArrowArray *array, nq_msg **ret)
{
    NQI_CLEANUP(arrow_chunkp) nq_chunk *bytes = NULL;
    NQI_CLEANUP(arrow_fieldsp) struct nqi_arrow_fields *fields = NULL;
    NQI_CLEANUP(arrow_msgp) nq_msg *msg = NULL;
    const nq_chunk *inside;
    uint64_t size;
    void *data;
    nq_err err = ARROW_CAN ? nqi_arrow_schema_write(schema, &bytes) : arrow_cannot();

    if (!err)
        err = nqi_arrow_schema_read(bytes->data, bytes->len, NQ_ERR_INVAL, &fields);
    if (err)
        return err;
    inside = bytes->len > NQI_SCHEMA_MAX ? bytes : NULL;
    err = nqi_arrow_measure(fields, array, inside, &size);
    if (!err)
        err = arrow_room(queue, peers, n, size, &data, &msg);
    if (!err)
        err = nqi_arrow_write(fields, array, inside, data, size);
    if (!err)
        err = arrow_check_written(fields, data, (size_t)size);
    if (!err && !inside)
        err = arrow_attach(msg, &bytes);
    if (err)
        return err;
    array->release(array);
    *ret = NQI_STEAL(msg);
    return NQ_OK;
}

/* ---- get -------------------------------------------------------------------------------- */

/* The schema's bytes, borrowed from the message.
 * @param memory  what keeps them */
static nq_err arrow_find_schema(nq_msg *msg, const void *data, size_t len,
                                const struct nqi_arrow_head *head, struct nq_bytes *ret,
                                nq_stream *memory)
{
    uint64_t start = nqi_arrow_head_size(head);
    nq_chunk *schema = nqi_msg_schema(msg);

    if (head->schema_len) {
        if (start > len || head->schema_len > len - start)
            return nqi_fail(NQ_ERR_PROTO, "an array whose schema is cut short");
        *ret = (struct nq_bytes){(const uint8_t *)data + start, (size_t)head->schema_len};
        return nqi_stream_share(memory, &msg->stream, 0, msg->stream.nbytes);
    }
    if (!schema)
        return nqi_fail(NQ_ERR_PROTO, "an array without its schema");
    *ret = (struct nq_bytes){schema->data, schema->len};
    nqi_stream_push(memory, nq_chunk_ref(schema), schema->data, schema->len);
    return NQ_OK;
}

/* Hand out both or none. */
static nq_err arrow_export(const struct nqi_arrow_fields *fields, const nq_stream *schema_memory,
                           struct ArrowSchema *schema, const nq_msg *msg, const void *data,
                           size_t len, struct ArrowArray *array)
{
    struct ArrowArray got = {0};
    nq_err err = array ? nqi_arrow_read(fields, data, len, &msg->stream, &got) : NQ_OK;

    if (!err && schema)
        err = nqi_arrow_schema_export(fields, schema_memory, schema);
    if (err && got.release)
        got.release(&got);
    if (!err && array)
        *array = got;
    return err;
}

nq_err nq_msg_get_arrow(nq_msg *msg, struct ArrowSchema *schema, struct ArrowArray *array)
{
    NQI_CLEANUP(nqi_stream_fini) struct nq_stream memory;
    NQI_CLEANUP(arrow_fieldsp) struct nqi_arrow_fields *fields = NULL;
    struct nqi_arrow_head head;
    struct nq_bytes bytes = {0};
    const void *data;
    size_t len;
    nq_err err;

    nqi_stream_init(&memory);
    err = nqi_msg_data_aligned(msg, NQI_ARROW_ALIGN, &data, &len);
    if (err)
        return err;
    if (!nqi_arrow_head_read(data, len, &head))
        return NQ_AGAIN;
    err = ARROW_CAN ? arrow_find_schema(msg, data, len, &head, &bytes, &memory) : arrow_cannot();
    if (!err)
        err = nqi_arrow_schema_read(bytes.data, bytes.len, NQ_ERR_PROTO, &fields);
    return err ? err : arrow_export(fields, &memory, schema, msg, data, len, array);
}
