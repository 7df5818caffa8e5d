/* An array of a stranger's: its schema and its payload.
 *
 *     u16 length, bytes: the schema that is attached; 0 = none
 *     then       the payload
 *
 * What is handed out is walked by the tests' own consumer, which relies on the rules of Arrow and
 * on nothing else, goes into another message and comes out of it the same.  Everything is released
 * once, in whatever order. */
#include "core/msg.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/arrow.h"
#include <string.h>

#define ROWS_MOST 100000 /* rows without memory (of nulls, say) may be any number: not walked */

struct arrow_pair {
    struct ArrowSchema schema;
    struct ArrowArray array;
};

static void arrow_free(void *arg, void *data, size_t len)
{
    (void)arg;
    (void)len;
    free(data);
}

/* A chunk with exactly these bytes, aligned as a message's are. */
static nq_chunk *arrow_chunk(struct nqi_buf *in, size_t len)
{
    void *bytes = NULL;
    nq_chunk *chunk;

    len = NQI_MIN(len, nqi_buf_left(in));
    MUST(!posix_memalign(&bytes, 64, len ? len : 1));
    if (len)
        memcpy(bytes, nqi_buf_span(in, len), len);
    MUST(!nq_chunk_wrap(bytes, len, arrow_free, NULL, &chunk));
    return chunk;
}

static nq_msg *arrow_message(const uint8_t *data, size_t len)
{
    struct nqi_buf in = nqi_buf_over(data, len);
    size_t schema_len = nqi_buf_u16(&in);
    nq_chunk *schema = arrow_chunk(&in, schema_len);
    nq_chunk *payload = arrow_chunk(&in, nqi_buf_left(&in));
    nq_view view = nq_chunk_view(payload, 0, nq_chunk_size(payload));
    nq_msg *msg;

    MUST(!nq_msg_new(NULL, 0, &msg));
    MUST(!nq_stream_writechunk(&msg->stream, &view));
    nq_chunk_unref(payload);
    if (nq_chunk_size(schema))
        MUST(!nqi_msg_set_schema(msg, nq_chunk_ref(schema)));
    nq_chunk_unref(schema);
    return msg;
}

static bool arrow_is_long(const struct ArrowArray *array)
{
    bool is_long =
        array->length > ROWS_MOST || (array->dictionary && arrow_is_long(array->dictionary));

    for (int64_t i = 0; i < array->n_children; i++)
        is_long |= arrow_is_long(array->children[i]);
    return is_long;
}

static void arrow_release(struct arrow_pair *pair)
{
    pair->schema.release(&pair->schema);
    pair->array.release(&pair->array);
}

/* It can be sent on, and is the same behind that. */
static void arrow_send_on(const struct arrow_pair *first, struct arrow_pair *moved)
{
    struct arrow_pair second;
    nq_msg *msg;

    MUST(!nq_msg_put_arrow(NULL, NULL, 0, &moved->schema, &moved->array, &msg));
    moved->schema.release(&moved->schema);
    MUST(!nq_msg_get_arrow(msg, &second.schema, &second.array));
    nq_msg_free(msg);
    nqtest_same_schema(&first->schema, &second.schema);
    nqtest_same_rows(&first->schema, &first->array, &second.array);
    arrow_release(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    nq_msg *msg = arrow_message(data, len);
    struct arrow_pair first, again;
    nq_err err = nq_msg_get_arrow(msg, &first.schema, &first.array);

    if (!err) {
        MUST(!nq_msg_get_arrow(msg, &again.schema, &again.array));
        nq_msg_free(msg);
        if (arrow_is_long(&first.array)) {
            arrow_release(&again);
        } else {
            nqtest_same_rows(&first.schema, &first.array, &first.array);
            arrow_send_on(&first, &again);
        }
        arrow_release(&first);
        return 0;
    }
    MUST(err == NQ_AGAIN || err == NQ_ERR_PROTO || err == NQ_ERR_UNSUPPORTED);
    nq_msg_free(msg);
    return 0;
}

/* ---- seeds ---- */

static void seed_message(nq_msg *msg)
{
    nq_chunk *schema = nqi_msg_schema(msg);
    const void *data;
    size_t len, from = fuzz_added();

    MUST(!nqi_msg_data_aligned(msg, 64, &data, &len));
    if (schema)
        fuzz_add(nq_chunk_data(schema), nq_chunk_size(schema));
    fuzz_add_length(from);
    fuzz_add(data, len);
    fuzz_seed();
    nq_msg_free(msg);
}

void fuzz_seeds(void)
{
    for (unsigned i = 0; i < nqtest_schemas(); i++)
        for (unsigned rows = 0; rows < NQTEST_ROWS_KINDS; rows++) {
            struct ArrowSchema *schema = nqtest_schema_of(i);
            struct ArrowArray array;
            nq_msg *msg;

            nqtest_array(schema, rows * 9, (enum nqtest_rows)rows, i, &array);
            MUST(!nq_msg_put_arrow(NULL, NULL, 0, schema, &array, &msg));
            seed_message(msg);
            nqtest_schema_free(schema);
        }
}
