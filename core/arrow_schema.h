/* A schema as bytes that travel, as a list of fields that the code walks, and as the C interface's
 * tree.
 *
 *     ArrowSchema --write--> bytes --read--> fields --export--> ArrowSchema
 *                                              +--> core/arrow_write.h, core/arrow_read.h
 *
 * Fields stand in pre-order: a field, its children, its dictionary.  The layout of the bytes is in
 * docs/arrow.md.
 *
 * Pure.  Thread: any. */
#ifndef NQ_CORE_ARROW_SCHEMA_H
#define NQ_CORE_ARROW_SCHEMA_H

#include "core/arrow_type.h"
#include "core/base.h"
#include <netqueue/arrow.h>

#define NQI_ARROW_DEPTH 64u             /* of fields in fields */
#define NQI_ARROW_SCHEMA_MAX (4u << 20) /* bytes of a schema that stands in a payload */

struct nqi_arrow_field {
    struct nqi_arrow_type type;
    uint8_t flags; /* ARROW_FLAG_ */
    bool dictionary;
    uint32_t nchildren;
    uint32_t span;                        /* fields of this one and all below it */
    const char *format, *name, *metadata; /* in the bytes that were read; metadata may be NULL */
};

struct nqi_arrow_fields {
    size_t size;  /* of this pooled block */
    nq_err blame; /* what is wrong with a field, or an array of it, is this error */
    uint32_t count;
    struct nqi_arrow_field field[];
};

/* @param ret  [out] one reference on 1 to NQI_ARROW_SCHEMA_MAX bytes
 * @return NQ_OK, NQ_ERR_INVAL, NQ_ERR_TOO_BIG, NQ_ERR_NOMEM; that the types exist and fit is left
 * to who reads it */
NQ_MUST_CHECK nq_err nqi_arrow_schema_write(const struct ArrowSchema *schema, nq_chunk **ret);

/* Check `len` bytes from anywhere.
 * @param data   borrowed as long as the fields are used
 * @param blame  NQ_ERR_PROTO of a peer's bytes, NQ_ERR_INVAL of what a caller's schema became
 * @param ret    [out] ends with nqi_arrow_fields_free()
 * @return NQ_OK, `blame`, NQ_ERR_UNSUPPORTED, NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_arrow_schema_read(const void *data, size_t len, nq_err blame,
                                           struct nqi_arrow_fields **ret);
void nqi_arrow_fields_free(struct nqi_arrow_fields *fields);

/* The tree; its texts are those that `fields` points to.
 * @param memory  where they lie: shared, not taken
 * @return NQ_OK, NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_arrow_schema_export(const struct nqi_arrow_fields *fields,
                                             const nq_stream *memory, struct ArrowSchema *ret);

/* The field behind this one and all below it: the next child of its parent, or the dictionary. */
static inline const struct nqi_arrow_field *nqi_arrow_skip(const struct nqi_arrow_field *field)
{
    return field + field->span;
}

#endif
