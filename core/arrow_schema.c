/* A schema's bytes, from the C interface and into the list of fields.  Writing walks the tree
 * twice: to measure it, with all checks, and to write what was measured. */
#include "core/arrow_schema.h"

#include "core/buf.h"
#include "core/err.h"
#include "core/pool.h"

enum { SCHEMA_HAS_DICTIONARY = 1, SCHEMA_HAS_METADATA = 2 };

#define SCHEMA_HEAD 6u /* flags, what it has, children */
#define SCHEMA_TEXT 5u /* length and zero of a text */
#define SCHEMA_FIELD_MIN (SCHEMA_HEAD + 2 * SCHEMA_TEXT)

/* ---- metadata --------------------------------------------------------------------------- */

/* The int32 at `at` of metadata, which has the machine's byte order.  False: it is beyond `limit`,
 * or negative. */
static bool schema_count(const uint8_t *data, size_t limit, size_t at, uint32_t *ret)
{
    if (limit - at < sizeof(*ret))
        return false;
    memcpy(ret, data + at, sizeof(*ret));
    return *ret <= INT32_MAX;
}

/* How long the metadata at `data` is.  False: it is malformed, or longer than `limit`. */
static bool schema_metadata_len(const void *data, size_t limit, size_t *ret)
{
    size_t at = sizeof(uint32_t);
    uint32_t pairs, len;

    if (!schema_count(data, limit, 0, &pairs))
        return false;
    for (uint64_t i = 0; i < (uint64_t)pairs * 2; i++) { /* a key, a value */
        if (!schema_count(data, limit, at, &len) || len > limit - at - sizeof(len))
            return false;
        at += sizeof(len) + len;
    }
    *ret = at;
    return true;
}

/* ---- C interface -> bytes --------------------------------------------------------------- */

/* What the tree takes, added to *size.  The sum also ends trees without end. */
static nq_err schema_measure(const struct ArrowSchema *schema, uint32_t depth, size_t *size)
{
    size_t len = 0;
    nq_err err;

    if (!schema || !schema->release || !schema->format || schema->n_children < 0 ||
        (schema->n_children && !schema->children))
        return nqi_fail(NQ_ERR_INVAL, "a schema that was released, or lacks a format or children");
    if (depth > NQI_ARROW_DEPTH)
        return nqi_fail(NQ_ERR_INVAL, "a schema nested deeper than %u", NQI_ARROW_DEPTH);
    if (schema->metadata && !schema_metadata_len(schema->metadata, NQI_ARROW_SCHEMA_MAX, &len))
        return nqi_fail(NQ_ERR_INVAL, "malformed metadata of a schema");
    *size += SCHEMA_FIELD_MIN + strlen(schema->format) + strlen(schema->name ? schema->name : "") +
             (schema->metadata ? sizeof(uint32_t) + len : 0);
    if (*size > NQI_ARROW_SCHEMA_MAX)
        return nqi_fail(NQ_ERR_TOO_BIG, "a schema of more than %u bytes", NQI_ARROW_SCHEMA_MAX);
    for (int64_t i = 0; i < schema->n_children; i++) {
        err = schema_measure(schema->children[i], depth + 1, size);
        if (err)
            return err;
    }
    return schema->dictionary ? schema_measure(schema->dictionary, depth + 1, size) : NQ_OK;
}

static void schema_put_text(struct nqi_wbuf *out, const char *text)
{
    size_t len = strlen(text);

    nqi_wbuf_u32(out, (uint32_t)len);
    nqi_wbuf_bytes(out, text, len + 1);
}

static void schema_put(struct nqi_wbuf *out, const struct ArrowSchema *schema)
{
    size_t len = 0;

    nqi_wbuf_u8(out, (uint8_t)schema->flags);
    nqi_wbuf_u8(out, (schema->dictionary ? SCHEMA_HAS_DICTIONARY : 0) |
                         (schema->metadata ? SCHEMA_HAS_METADATA : 0));
    nqi_wbuf_u32(out, (uint32_t)schema->n_children);
    schema_put_text(out, schema->format);
    schema_put_text(out, schema->name ? schema->name : "");
    if (schema->metadata && schema_metadata_len(schema->metadata, NQI_ARROW_SCHEMA_MAX, &len)) {
        nqi_wbuf_u32(out, (uint32_t)len);
        nqi_wbuf_bytes(out, schema->metadata, len);
    }
    for (int64_t i = 0; i < schema->n_children; i++)
        schema_put(out, schema->children[i]);
    if (schema->dictionary)
        schema_put(out, schema->dictionary);
}

nq_err nqi_arrow_schema_write(const struct ArrowSchema *schema, nq_chunk **ret)
{
    struct nqi_wbuf out;
    nq_chunk *chunk;
    size_t size = 0;
    nq_err err = schema_measure(schema, 1, &size);

    if (!err)
        err = nq_chunk_new(size, &chunk);
    if (err)
        return err;
    out = nqi_wbuf_over(nq_chunk_data(chunk), size);
    schema_put(&out, schema);
    assert(!out.bad && !nqi_wbuf_left(&out));
    *ret = chunk;
    return NQ_OK;
}

/* ---- bytes -> fields -------------------------------------------------------------------- */

struct schema_reader {
    struct nqi_buf buf;
    struct nqi_arrow_fields *fields;
};

void nqi_arrow_fields_free(struct nqi_arrow_fields *fields)
{
    if (fields)
        nqi_pool_free(fields, fields->size);
}

static void schema_fields_freep(struct nqi_arrow_fields **fields)
{
    nqi_arrow_fields_free(*fields);
}

static nq_err schema_bad(const struct schema_reader *reader, const char *what)
{
    return nqi_fail(reader->fields->blame, "a malformed schema, in field %u: %s",
                    reader->fields->count, what);
}

/* A text that ends with its only zero; NULL = it does not. */
static const char *schema_get_text(struct nqi_buf *buf)
{
    uint64_t len = nqi_buf_u32(buf);
    const uint8_t *at = nqi_buf_span(buf, len + 1);

    return at && memchr(at, 0, (size_t)len + 1) == at + len ? (const char *)at : NULL;
}

static const char *schema_get_metadata(struct nqi_buf *buf)
{
    struct nqi_buf metadata = nqi_buf_sub(buf, nqi_buf_u32(buf));
    size_t len;

    if (metadata.bad || !schema_metadata_len(metadata.at, nqi_buf_left(&metadata), &len) ||
        len != nqi_buf_left(&metadata))
        return NULL;
    return (const char *)metadata.at;
}

/* One field without those below it. */
static nq_err schema_get_field(struct schema_reader *reader, struct nqi_arrow_field *field)
{
    struct nqi_buf *buf = &reader->buf;
    uint8_t has;
    nq_err err;

    field->flags = nqi_buf_u8(buf);
    has = nqi_buf_u8(buf);
    field->nchildren = nqi_buf_u32(buf);
    field->format = schema_get_text(buf);
    field->name = schema_get_text(buf);
    field->metadata = has & SCHEMA_HAS_METADATA ? schema_get_metadata(buf) : NULL;
    field->dictionary = has & SCHEMA_HAS_DICTIONARY;
    if (has & ~(SCHEMA_HAS_DICTIONARY | SCHEMA_HAS_METADATA) || !field->format || !field->name ||
        (has & SCHEMA_HAS_METADATA && !field->metadata))
        return schema_bad(reader, "cut short, or a text that is none");
    err = nqi_arrow_type_read(field->format, reader->fields->blame, &field->type);
    if (err)
        return nqi_fail_in(err, "field %u", reader->fields->count);
    if (!nqi_arrow_may_have(&field->type, field->nchildren))
        return schema_bad(reader, "a wrong number of children");
    if (field->dictionary && !field->type.index)
        return schema_bad(reader, "a dictionary, and no integers for indices");
    return NQ_OK;
}

/* The child of a map is a struct of two. */
static bool schema_map_is_good(const struct nqi_arrow_field *field)
{
    return !field->type.map || (field[1].type.kind == NQI_ARROW_STRUCT && field[1].nchildren == 2);
}

/* A field and all below it.  Each takes SCHEMA_FIELD_MIN bytes and more, for which there is room.
 */
static nq_err schema_get(struct schema_reader *reader, uint32_t depth)
{
    struct nqi_arrow_fields *fields = reader->fields;
    struct nqi_arrow_field *field = &fields->field[fields->count];
    nq_err err;

    if (nqi_buf_left(&reader->buf) < SCHEMA_FIELD_MIN)
        return schema_bad(reader, "cut short");
    if (depth > NQI_ARROW_DEPTH)
        return schema_bad(reader, "nested too deep");
    err = schema_get_field(reader, field);
    if (err)
        return err;
    fields->count++;
    for (uint32_t i = 0; i < field->nchildren + field->dictionary; i++) {
        err = schema_get(reader, depth + 1);
        if (err)
            return err;
    }
    field->span = (uint32_t)(&fields->field[fields->count] - field);
    return schema_map_is_good(field) ? NQ_OK : schema_bad(reader, "a map without entries");
}

nq_err nqi_arrow_schema_read(const void *data, size_t len, nq_err blame,
                             struct nqi_arrow_fields **ret)
{
    NQI_CLEANUP(schema_fields_freep) struct nqi_arrow_fields *fields = NULL;
    size_t most = len / SCHEMA_FIELD_MIN, size;
    struct schema_reader reader;
    nq_err err;

    if (len > NQI_ARROW_SCHEMA_MAX)
        return nqi_fail(blame, "a schema of %zu bytes", len);
    size = sizeof(*fields) + most * sizeof(struct nqi_arrow_field);
    fields = nqi_pool_alloc(size);
    if (!fields)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a schema of %zu bytes", len);
    *fields = (struct nqi_arrow_fields){.size = size, .blame = blame};
    reader = (struct schema_reader){.buf = nqi_buf_over(data, len), .fields = fields};
    err = schema_get(&reader, 1);
    if (err)
        return err;
    if (!nqi_buf_done(&reader.buf))
        return schema_bad(&reader, "something follows");
    *ret = NQI_STEAL(fields);
    return NQ_OK;
}
