/* A payload becomes an array that points into it.
 *
 * The bytes are a stranger's: nothing in them is believed, and what is handed out holds what a
 * consumer relies on by the rules of Arrow.
 *
 * Pure.  Thread: any. */
#ifndef NQ_CORE_ARROW_READ_H
#define NQ_CORE_ARROW_READ_H

#include "core/arrow_schema.h"
#include "core/stream.h"

/* @param payload  `len` bytes, 64-byte aligned
 * @param memory   where they lie: shared until the array is released
 * @param ret      [out] owned by the caller; each node has its own release
 * @return NQ_OK, fields->blame, NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_arrow_read(const struct nqi_arrow_fields *fields, const void *payload,
                                    size_t len, const nq_stream *memory, struct ArrowArray *ret);

#endif
