/* The table of schemas.h.  The slot that was used last the longest ago is told anew: whoever sends
 * more kinds than there are slots tells more often, and nothing else happens. */
#include "core/schemas.h"

#include "core/err.h"

static void schemas_set(struct nqi_schemas *schemas, uint32_t slot, nq_chunk *schema)
{
    nq_chunk_unref(schemas->slot[slot]);
    schemas->slot[slot] = nq_chunk_ref(schema);
}

void nqi_schemas_clear(struct nqi_schemas *schemas)
{
    for (uint32_t i = 0; i < NQI_SCHEMA_SLOTS; i++)
        nq_chunk_unref(schemas->slot[i]);
    *schemas = (struct nqi_schemas){0};
}

static bool schemas_equal(const nq_chunk *a, const nq_chunk *b)
{
    return a == b || (a && a->len == b->len && memcmp(a->data, b->data, a->len) == 0);
}

/* The slot that means `schema`, or the one to take for it. */
static uint32_t schemas_find(const struct nqi_schemas *schemas, const nq_chunk *schema)
{
    uint32_t oldest = 0;

    for (uint32_t i = 0; i < NQI_SCHEMA_SLOTS; i++) {
        if (schemas_equal(schemas->slot[i], schema))
            return i;
        if (schemas->used[i] < schemas->used[oldest])
            oldest = i;
    }
    return oldest;
}

size_t nqi_schemas_write(struct nqi_schemas *schemas, nq_chunk *schema, uint8_t *at)
{
    uint32_t slot = schemas_find(schemas, schema);
    bool known = schemas_equal(schemas->slot[slot], schema);
    size_t len = known ? 0 : schema->len;

    assert(schema->len && schema->len <= NQI_SCHEMA_MAX);
    schemas->used[slot] = ++schemas->uses;
    at[0] = NQI_META_SCHEMA;
    nqi_store_u16(at + 1, (uint16_t)(1 + len));
    at[NQI_META_HEAD] = (uint8_t)slot;
    if (known)
        return NQI_SCHEMA_ENTRY;
    memcpy(at + NQI_SCHEMA_ENTRY, schema->data, len);
    schemas_set(schemas, slot, schema);
    return NQI_SCHEMA_ENTRY + len;
}

/* The slot means what is left in `entry` from now on. */
static nq_err schemas_learn(struct nqi_schemas *schemas, uint32_t slot, struct nqi_buf *entry)
{
    size_t len = nqi_buf_left(entry);
    nq_chunk *schema;
    nq_err err;

    if (len > NQI_SCHEMA_MAX)
        return nqi_fail(NQ_ERR_PROTO, "a schema of %zu bytes in metadata", len);
    err = nq_chunk_new(len, &schema);
    if (err)
        return err;
    memcpy(schema->data, entry->at, len);
    schemas_set(schemas, slot, schema);
    nqi_chunk_unref(schema);
    return NQ_OK;
}

nq_err nqi_schemas_read(struct nqi_schemas *schemas, struct nqi_buf *meta, nq_chunk **ret)
{
    struct nqi_buf entry;
    uint32_t slot;
    nq_err err = NQ_OK;

    *ret = NULL;
    if (!nqi_buf_left(meta) || meta->at[0] != NQI_META_SCHEMA)
        return NQ_OK;
    (void)nqi_buf_u8(meta);
    entry = nqi_buf_sub(meta, nqi_buf_u16(meta));
    slot = nqi_buf_u8(&entry);
    if (entry.bad || slot >= NQI_SCHEMA_SLOTS)
        return nqi_fail(NQ_ERR_PROTO, "a malformed schema in metadata");
    if (nqi_buf_left(&entry))
        err = schemas_learn(schemas, slot, &entry);
    else if (!schemas->slot[slot])
        err = nqi_fail(NQ_ERR_PROTO, "a schema that was never told");
    if (!err)
        *ret = nq_chunk_ref(schemas->slot[slot]);
    return err;
}
