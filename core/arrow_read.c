/* One walk over fields, entries and buffers.  Where a buffer lies follows from all before it, so
 * there is one place where the payload's end is looked at: read_room().
 *
 * The structs are written into one block while what they say is checked; until all of it is, the
 * block has one reference and nobody else knows of it. */
#include "core/arrow_read.h"

#include "core/arrow_check.h"
#include "core/arrow_hold.h"
#include "core/arrow_layout.h"
#include "core/err.h"

#define READ_BUFFERS 3u          /* of a node at most */
#define READ_EMPTY_MAX INT32_MAX /* rows that take no bytes */
#define READ_ANY UINT64_MAX      /* no length is expected */

struct arrow_reader {
    const struct nqi_arrow_fields *fields;
    const uint8_t *payload;
    uint64_t at, size; /* bytes that are read; of payload */
    uint32_t next;     /* field that comes */
    struct nqi_arrow_hold *hold;
    /* the next free ones in the hold's room */
    struct ArrowArray *node;
    struct ArrowArray **list;
    const void **buffers;
};

static nq_err read_bad(const struct arrow_reader *from, const char *what)
{
    return nqi_fail(from->fields->blame, "a malformed array, at field %u: %s", from->next - 1,
                    what);
}

/* ---- buffers ---------------------------------------------------------------------------- */

/* The buffer of `count` items that comes, with the zeros behind it; NULL = it is not whole. */
static const void *read_room(struct arrow_reader *from, uint64_t count, uint64_t width)
{
    uint64_t start = from->at, len;

    if (__builtin_mul_overflow(count, width, &len) || len > INT64_MAX ||
        nqi_arrow_align(len) > from->size - start)
        return NULL;
    from->at = start + nqi_arrow_align(len);
    return from->payload + start;
}

/* The next buffer of `ret`, likewise. */
static const void *read_buffer(struct arrow_reader *from, struct ArrowArray *ret, uint64_t count,
                               uint64_t width)
{
    const void *room = read_room(from, count, width);

    ret->buffers[ret->n_buffers++] = room;
    return room;
}

static const void *read_bits(struct arrow_reader *from, struct ArrowArray *ret)
{
    uint64_t rows = (uint64_t)ret->length;

    return read_buffer(from, ret, rows / 8 + (rows % 8 != 0), 1);
}

static nq_err read_validity(struct arrow_reader *from, bool there, struct ArrowArray *ret)
{
    const uint8_t *valid;

    if (!there) {
        ret->buffers[ret->n_buffers++] = NULL;
        return NQ_OK;
    }
    valid = read_bits(from, ret);
    if (!valid)
        return read_bad(from, "cut short");
    ret->null_count = (int64_t)nqi_arrow_count_nulls(valid, (uint64_t)ret->length);
    return NQ_OK;
}

/* @param last  [out] the last offset */
static nq_err read_offsets(struct arrow_reader *from, uint32_t width, struct ArrowArray *ret,
                           uint64_t *last)
{
    uint64_t rows = (uint64_t)ret->length;
    const void *offsets = read_buffer(from, ret, rows + 1, width);

    if (!offsets)
        return read_bad(from, "cut short");
    return nqi_arrow_offsets_rise(offsets, width, rows, last)
               ? NQ_OK
               : read_bad(from, "offsets that do not begin with 0, or fall");
}

static nq_err read_binary(struct arrow_reader *from, const struct nqi_arrow_type *type,
                          struct ArrowArray *ret)
{
    uint64_t last;
    const uint8_t *bytes;
    nq_err err = read_offsets(from, type->width, ret, &last);

    if (err)
        return err;
    bytes = read_buffer(from, ret, last, 1);
    if (!bytes)
        return read_bad(from, "offsets beyond what they point to");
    if (type->utf8 && !nqi_arrow_rows_are_utf8(ret->buffers[1], type->width, bytes, last,
                                               ret->buffers[0], (uint64_t)ret->length))
        return read_bad(from, "a string that is not UTF-8");
    return NQ_OK;
}

/* The buffers behind the bitmap of validity.  @param below  [out] the length of the children */
static nq_err read_buffers(struct arrow_reader *from, const struct nqi_arrow_type *type,
                           struct ArrowArray *ret, uint64_t *below)
{
    uint64_t rows = (uint64_t)ret->length;

    *below = rows;
    switch (type->kind) {
    case NQI_ARROW_BITS:
        return read_bits(from, ret) ? NQ_OK : read_bad(from, "cut short");
    case NQI_ARROW_FIXED:
        return read_buffer(from, ret, rows, type->width) ? NQ_OK : read_bad(from, "cut short");
    case NQI_ARROW_BINARY:
        return read_binary(from, type, ret);
    case NQI_ARROW_LIST:
        return read_offsets(from, type->width, ret, below);
    case NQI_ARROW_ROWS:
        return __builtin_mul_overflow(rows, type->width, below) ? read_bad(from, "too long")
                                                                : NQ_OK;
    default:
        return NQ_OK;
    }
}

/* ---- nodes ------------------------------------------------------------------------------ */

static nq_err read_node(struct arrow_reader *from, uint64_t expected, struct ArrowArray *ret);

static nq_err read_children(struct arrow_reader *from, const struct nqi_arrow_field *field,
                            uint64_t length, struct ArrowArray *ret)
{
    nq_err err = NQ_OK;

    if (!field->nchildren)
        return NQ_OK;
    ret->n_children = field->nchildren;
    ret->children = from->list;
    from->list += field->nchildren;
    for (uint32_t i = 0; !err && i < field->nchildren; i++) {
        ret->children[i] = from->node++;
        err = read_node(from, length, ret->children[i]);
    }
    return err;
}

/* What the indices point to; it stands behind them. */
static nq_err read_dictionary(struct arrow_reader *from, const struct nqi_arrow_type *type,
                              struct ArrowArray *ret)
{
    nq_err err;

    ret->dictionary = from->node++;
    err = read_node(from, READ_ANY, ret->dictionary);
    if (err)
        return err;
    return nqi_arrow_indices_fit(type, ret->buffers[1], ret->buffers[0], (uint64_t)ret->length,
                                 (uint64_t)ret->dictionary->length)
               ? NQ_OK
               : read_bad(from, "an index in front of it that is not in the dictionary");
}

/* The length of the field that comes, and whether it has a bitmap of validity. */
static nq_err read_entry(struct arrow_reader *from, const struct nqi_arrow_field *field,
                         uint64_t expected, struct ArrowArray *ret, bool *validity)
{
    uint64_t entry = nqi_load_u64(from->payload + NQI_ARROW_HEAD +
                                  (uint64_t)(field - from->fields->field) * NQI_ARROW_ENTRY);
    uint64_t length = entry >> 1;
    bool empty = nqi_arrow_is_empty(&field->type) ||
                 (field->type.kind == NQI_ARROW_STRUCT && !field->nchildren);

    if (expected != READ_ANY && length != expected)
        return read_bad(from, "another length than its parent needs");
    if (empty && length > READ_EMPTY_MAX)
        return read_bad(from, "more rows than may take no bytes");
    *validity = entry & 1;
    if (*validity && field->type.kind == NQI_ARROW_NULL)
        return read_bad(from, "nulls with a bitmap");
    ret->length = (int64_t)length;
    return NQ_OK;
}

/* A field and all below it.  @param expected  its length; READ_ANY = as it says */
static nq_err read_node(struct arrow_reader *from, uint64_t expected, struct ArrowArray *ret)
{
    const struct nqi_arrow_field *field = &from->fields->field[from->next++];
    bool validity = false;
    uint64_t below = 0;
    nq_err err;

    *ret = (struct ArrowArray){
        .buffers = from->buffers, .release = nqi_arrow_release_array, .private_data = from->hold};
    from->buffers += READ_BUFFERS;
    err = read_entry(from, field, expected, ret, &validity);
    if (err)
        return err;
    if (field->type.kind == NQI_ARROW_NULL)
        ret->null_count = ret->length;
    else
        err = read_validity(from, validity, ret);
    if (!err)
        err = read_buffers(from, &field->type, ret, &below);
    if (!err)
        err = read_children(from, field, below, ret);
    if (!err && field->dictionary)
        err = read_dictionary(from, &field->type, ret);
    return err;
}

/* ---- all of it -------------------------------------------------------------------------- */

/* The block for `count` nodes, of which the first is the caller's. */
static nq_err read_make_hold(struct arrow_reader *from, uint32_t count)
{
    size_t nodes = (count - 1) * sizeof(struct ArrowArray);
    size_t list = (count - 1) * sizeof(struct ArrowArray *);
    nq_err err =
        nqi_arrow_hold_new(nodes + list + count * READ_BUFFERS * sizeof(void *), &from->hold);

    if (err)
        return err;
    from->node = (struct ArrowArray *)(void *)from->hold->room;
    from->list = (struct ArrowArray **)(void *)(from->hold->room + nodes);
    from->buffers = (const void **)(void *)(from->hold->room + nodes + list);
    return NQ_OK;
}

/* The head fits the fields, and its entries and schema are there. */
static nq_err read_head(struct arrow_reader *from)
{
    struct nqi_arrow_head head;

    from->next = 1; /* for read_bad() */
    if (!nqi_arrow_head_read(from->payload, from->size, &head) ||
        head.fields != from->fields->count)
        return read_bad(from, "its head does not fit the schema");
    if (head.schema_len > NQI_ARROW_SCHEMA_MAX ||
        !read_room(from, nqi_arrow_head_size(&head) + head.schema_len, 1))
        return read_bad(from, "cut short");
    from->next = 0;
    return NQ_OK;
}

static nq_err read_all(struct arrow_reader *from, const nq_stream *memory, struct ArrowArray *root)
{
    nq_err err = read_node(from, READ_ANY, root);

    if (!err && from->at != from->size)
        err = read_bad(from, "bytes are left over");
    return err ? err : nqi_stream_share(&from->hold->memory, memory, 0, memory->nbytes);
}

nq_err nqi_arrow_read(const struct nqi_arrow_fields *fields, const void *payload, size_t len,
                      const nq_stream *memory, struct ArrowArray *ret)
{
    struct arrow_reader from = {.fields = fields, .payload = payload, .size = len};
    struct ArrowArray root;
    nq_err err = read_head(&from);

    if (!err)
        err = read_make_hold(&from, fields->count);
    if (err)
        return err;
    err = read_all(&from, memory, &root);
    if (err) {
        nqi_arrow_hold_unref(from.hold);
        return err;
    }
    nqi_arrow_hold_ref(from.hold, fields->count - 1);
    *ret = root;
    return NQ_OK;
}
