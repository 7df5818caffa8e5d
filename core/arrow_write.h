/* An array becomes a payload: a head, then its buffers, gathered and cut to the rows that it has.
 *
 * The array is a caller's: its structure and offsets are checked, its buffers are as long as the C
 * interface promises.
 *
 * Pure.  Thread: any. */
#ifndef NQ_CORE_ARROW_WRITE_H
#define NQ_CORE_ARROW_WRITE_H

#include "core/arrow_schema.h"
#include "core/chunk.h"

/* How long the payload is.
 * @param schema  to stand in the payload; NULL = it is attached
 * @return NQ_OK, NQ_ERR_INVAL */
NQ_MUST_CHECK nq_err nqi_arrow_measure(const struct nqi_arrow_fields *fields,
                                       const struct ArrowArray *array, const nq_chunk *schema,
                                       uint64_t *ret);

/* Write it.  @param payload  `size` bytes, as measured, 64-byte aligned
 * @return NQ_OK, NQ_ERR_INVAL (also: the array changed meanwhile) */
NQ_MUST_CHECK nq_err nqi_arrow_write(const struct nqi_arrow_fields *fields,
                                     const struct ArrowArray *array, const nq_chunk *schema,
                                     void *payload, uint64_t size);

#endif
