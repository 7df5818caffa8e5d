/* Schemas that a session told its peer: each direction has one table on both sides.
 *
 *     message's schema --nqi_schemas_write--> entry of its metadata --nqi_schemas_read--> schema
 *
 * The entry is the first of the metadata of a message that has a schema: a slot, and the bytes
 * unless the slot means them already.  The writer chooses the slots and the reader follows, record
 * by record, so the two tables are the same at the same record; to read an entry twice changes
 * nothing.  A new session begins with empty tables.  docs/arrow.md says why this is right.
 *
 * Here a schema is bytes.  Pure.  Thread: one at a time. */
#ifndef NQ_CORE_SCHEMAS_H
#define NQ_CORE_SCHEMAS_H

#include "core/base.h"
#include "core/buf.h"
#include "core/chunk.h"
#include "core/msg.h"

#define NQI_SCHEMA_SLOTS 8u                  /* wire format */
#define NQI_SCHEMA_MAX 30720u                /* with NQ_META_MAX it fits the 16 bits of a record */
#define NQI_SCHEMA_ENTRY (NQI_META_HEAD + 1) /* bytes of an entry in front of the schema */

/* All zero: empty. */
struct nqi_schemas {
    nq_chunk *slot[NQI_SCHEMA_SLOTS]; /* one reference each; NULL = means nothing */
    uint64_t used[NQI_SCHEMA_SLOTS];  /* the writer's: `uses` then */
    uint64_t uses;
};

/* Every slot means nothing. */
void nqi_schemas_clear(struct nqi_schemas *schemas);

/* Write the entry for `schema` at `at`, which has room for NQI_SCHEMA_ENTRY bytes and all of the
 * schema, 1 to NQI_SCHEMA_MAX.  The table keeps a reference.  @return bytes written */
size_t nqi_schemas_write(struct nqi_schemas *schemas, nq_chunk *schema, uint8_t *at);

/* Step over the entry that `meta` begins with, if it does.
 * @param ret  [out] one reference; NULL = no entry
 * @return NQ_OK, NQ_ERR_PROTO, NQ_ERR_NOMEM (the table is as it was) */
NQ_MUST_CHECK nq_err nqi_schemas_read(struct nqi_schemas *schemas, struct nqi_buf *meta,
                                      nq_chunk **ret);

#endif
