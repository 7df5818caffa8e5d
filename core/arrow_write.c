/* One walk over fields and array together, done twice: without memory it measures, with memory it
 * writes.  Of each array only rows [first, first + count) are wanted: those of its slice, or those
 * that the rows of its parent point to. */
#include "core/arrow_write.h"

#include "core/arrow_layout.h"
#include "core/copy.h"
#include "core/err.h"

struct arrow_writer {
    const struct nqi_arrow_fields *fields;
    uint32_t next;     /* field that comes */
    uint8_t *payload;  /* NULL = measure */
    uint64_t at, size; /* bytes written; of payload */
    bool beyond;       /* more than that, or than there are numbers */
};

/* Rows of an array, physically: buffers begin at row 0. */
struct arrow_rows {
    uint64_t first, count;
};

static nq_err write_bad(const struct arrow_writer *to, const char *what)
{
    return nqi_fail(NQ_ERR_INVAL, "array of field %u: %s", to->next - 1, what);
}

/* ---- buffers ---------------------------------------------------------------------------- */

/* Room for a buffer of `count` items, and zeros behind it.  NULL: it is only measured, or beyond.
 */
static uint8_t *write_room(struct arrow_writer *to, uint64_t count, uint64_t width)
{
    uint64_t len, end;
    uint8_t *room;

    if (to->beyond || __builtin_mul_overflow(count, width, &len) || len > INT64_MAX ||
        __builtin_add_overflow(to->at, nqi_arrow_align(len), &end) || end > to->size) {
        to->beyond = true;
        return NULL;
    }
    room = to->payload ? to->payload + to->at : NULL;
    to->at = end;
    if (room)
        memset(room + len, 0, (size_t)(nqi_arrow_align(len) - len));
    return room;
}

static void write_bytes(struct arrow_writer *to, const void *data, struct arrow_rows rows,
                        uint64_t width)
{
    uint8_t *room = write_room(to, rows.count, width);

    if (room && rows.count && width)
        nqi_copy(room, (const uint8_t *)data + rows.first * width, (size_t)(rows.count * width));
}

/* Bits [rows.first, ...) from bit 0 on; what is left of the last byte is 0. */
static void write_bits(struct arrow_writer *to, const uint8_t *bits, struct arrow_rows rows)
{
    uint64_t len = rows.count / 8 + (rows.count % 8 != 0);
    unsigned shift = (unsigned)(rows.first % 8);
    uint64_t have = (shift + rows.count + 7) / 8; /* bytes that have these bits */
    uint8_t *room = write_room(to, len, 1);

    if (!room || !len)
        return;
    bits += rows.first / 8;
    if (!shift)
        nqi_copy(room, bits, (size_t)len);
    for (uint64_t i = 0; shift && i < len; i++) {
        unsigned next = i + 1 < have ? bits[i + 1] : 0;

        room[i] = (uint8_t)(bits[i] >> shift | next << (8 - shift));
    }
    if (rows.count % 8)
        room[len - 1] &= (uint8_t)((1u << rows.count % 8) - 1);
}

/* An offset where it may lie on any address. */
static int64_t write_offset(const void *offsets, uint32_t width, uint64_t i)
{
    const uint8_t *at = (const uint8_t *)offsets + i * width;
    int32_t small;
    int64_t large;

    if (width == 4) {
        memcpy(&small, at, sizeof(small));
        return small;
    }
    memcpy(&large, at, sizeof(large));
    return large;
}

/* Have `n` offsets begin with 0.  @param first, last  [out] what they were
 * @return false: they are negative or fall */
#define WRITE_REBASE(name, type)                                            \
    static bool name(type *room, uint64_t n, int64_t *first, int64_t *last) \
    {                                                                       \
        type base = room[0], before = 0;                                    \
        bool good = true;                                                   \
                                                                            \
        for (uint64_t i = 0; i < n; i++) {                                  \
            type now = room[i];                                             \
                                                                            \
            good &= now >= before;                                          \
            before = now;                                                   \
            room[i] = (type)((uint64_t)now - (uint64_t)base);               \
        }                                                                   \
        *first = base;                                                      \
        *last = before;                                                     \
        return good;                                                        \
    }

WRITE_REBASE(write_rebase_32, int32_t)
WRITE_REBASE(write_rebase_64, int64_t)

/* @param below  [out] the items that these rows point to */
static nq_err write_offsets(struct arrow_writer *to, uint32_t width, const void *offsets,
                            struct arrow_rows rows, struct arrow_rows *below)
{
    uint8_t *room = write_room(to, rows.count + 1, width);
    int64_t first, last;
    bool good = true;

    *below = (struct arrow_rows){0};
    if (!rows.count) { /* there may be no offsets at all */
        if (room)
            memset(room, 0, width);
        return NQ_OK;
    }
    first = write_offset(offsets, width, rows.first);
    last = write_offset(offsets, width, rows.first + rows.count);
    if (room) {
        nqi_copy(room, (const uint8_t *)offsets + rows.first * width,
                 (size_t)((rows.count + 1) * width));
        good = width == 4 ? write_rebase_32((void *)room, rows.count + 1, &first, &last)
                          : write_rebase_64((void *)room, rows.count + 1, &first, &last);
    }
    if (!good || first < 0 || last < first)
        return write_bad(to, "offsets are negative or fall");
    *below = (struct arrow_rows){(uint64_t)first, (uint64_t)(last - first)};
    return NQ_OK;
}

/* ---- nodes ------------------------------------------------------------------------------ */

/* What the C interface promises of the struct itself.  @return NULL, or what is wrong */
static const char *write_check(const struct nqi_arrow_field *field, const struct ArrowArray *array,
                               uint64_t first, uint64_t count)
{
    uint64_t end;

    if (!array || !array->release)
        return "released, or not there";
    if (array->length < 0 || array->offset < 0 || array->offset > INT64_MAX - array->length)
        return "a negative or too large length or offset";
    if (__builtin_add_overflow(first, count, &end) || end > (uint64_t)array->length)
        return "shorter than its parent needs";
    if (array->n_buffers < nqi_arrow_nbuffers(&field->type) ||
        (array->n_buffers && !array->buffers))
        return "buffers are missing";
    if (array->n_children != field->nchildren || (array->n_children && !array->children))
        return "another number of children than its schema has";
    if (field->dictionary != (array->dictionary != NULL))
        return "a dictionary on one side only, schema or array";
    if (field->type.kind != NQI_ARROW_NULL && array->null_count > 0 && !array->buffers[0])
        return "nulls without a bitmap of validity";
    if (count && nqi_arrow_nbuffers(&field->type) > 1 && !array->buffers[1] &&
        !nqi_arrow_is_empty(&field->type))
        return "a buffer is missing";
    return NULL;
}

static void write_entry(struct arrow_writer *to, uint64_t length, bool validity)
{
    if (to->payload)
        nqi_store_u64(to->payload + NQI_ARROW_HEAD + (uint64_t)(to->next - 1) * NQI_ARROW_ENTRY,
                      length << 1 | validity);
}

/* The buffers behind the bitmap of validity.  @param below  [out] what rows of the children it
 * needs */
static nq_err write_buffers(struct arrow_writer *to, const struct nqi_arrow_type *type,
                            const struct ArrowArray *array, struct arrow_rows rows,
                            struct arrow_rows *below)
{
    nq_err err;

    *below = rows;
    switch (type->kind) {
    case NQI_ARROW_BITS:
        write_bits(to, array->buffers[1], rows);
        return NQ_OK;
    case NQI_ARROW_FIXED:
        write_bytes(to, array->buffers[1], rows, type->width);
        return NQ_OK;
    case NQI_ARROW_LIST:
        return write_offsets(to, type->width, array->buffers[1], rows, below);
    case NQI_ARROW_BINARY:
        err = write_offsets(to, type->width, array->buffers[1], rows, below);
        if (!err && below->count && !array->buffers[2])
            return write_bad(to, "a buffer is missing");
        if (!err)
            write_bytes(to, array->buffers[2], *below, 1);
        return err;
    case NQI_ARROW_ROWS:
        to->beyond |= __builtin_mul_overflow(rows.first, type->width, &below->first) ||
                      __builtin_mul_overflow(rows.count, type->width, &below->count);
        return NQ_OK;
    default:
        return NQ_OK;
    }
}

static nq_err write_node(struct arrow_writer *to, const struct ArrowArray *array, uint64_t first,
                         uint64_t count)
{
    const struct nqi_arrow_field *field = &to->fields->field[to->next++];
    const char *wrong = write_check(field, array, first, count);
    struct arrow_rows rows, below;
    const uint8_t *valid;
    nq_err err;

    if (wrong)
        return write_bad(to, wrong);
    rows = (struct arrow_rows){(uint64_t)array->offset + first, count};
    valid = field->type.kind == NQI_ARROW_NULL ? NULL : array->buffers[0];
    write_entry(to, count, valid);
    if (valid)
        write_bits(to, valid, rows);
    err = write_buffers(to, &field->type, array, rows, &below);
    if (!err && to->beyond)
        err = write_bad(to, "larger than memory, or it changes while it is copied");
    for (uint32_t i = 0; !err && i < field->nchildren; i++)
        err = write_node(to, array->children[i], below.first, below.count);
    if (!err && field->dictionary)
        err = write_node(to, array->dictionary, 0, (uint64_t)NQI_MAX(array->dictionary->length, 0));
    return err;
}

/* ---- all of it -------------------------------------------------------------------------- */

static void write_head(struct arrow_writer *to, const nq_chunk *schema)
{
    struct nqi_arrow_head head = {to->fields->count, schema ? schema->len : 0};
    uint64_t entries = nqi_arrow_head_size(&head);
    uint8_t *room = write_room(to, entries + head.schema_len, 1);

    if (!room)
        return;
    nqi_store_u32(room, NQI_ARROW_MAGIC);
    nqi_store_u32(room + 4, head.fields);
    nqi_store_u64(room + 8, head.schema_len);
    if (schema)
        nqi_copy(room + entries, schema->data, schema->len);
}

static nq_err write_all(struct arrow_writer *to, const struct ArrowArray *array,
                        const nq_chunk *schema)
{
    /* Without an array it is write_node() that says so. */
    uint64_t count = array ? (uint64_t)NQI_MAX(array->length, 0) : 0;

    write_head(to, schema);
    return write_node(to, array, 0, count);
}

nq_err nqi_arrow_measure(const struct nqi_arrow_fields *fields, const struct ArrowArray *array,
                         const nq_chunk *schema, uint64_t *ret)
{
    struct arrow_writer to = {.fields = fields, .size = INT64_MAX};
    nq_err err = write_all(&to, array, schema);

    if (!err)
        *ret = to.at;
    return err;
}

nq_err nqi_arrow_write(const struct nqi_arrow_fields *fields, const struct ArrowArray *array,
                       const nq_chunk *schema, void *payload, uint64_t size)
{
    struct arrow_writer to = {.fields = fields, .payload = payload, .size = size};
    nq_err err = write_all(&to, array, schema);

    if (!err && to.at != size)
        err = nqi_fail(NQ_ERR_INVAL, "an array changes while it is copied");
    return err;
}
