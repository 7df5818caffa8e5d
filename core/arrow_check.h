/* What a consumer of an array relies on and cannot see: bits, offsets, indices, strings.
 *
 * Buffers are whole and aligned for their type; what is in them may be anything.
 *
 * Pure.  Thread: any. */
#ifndef NQ_CORE_ARROW_CHECK_H
#define NQ_CORE_ARROW_CHECK_H

#include "core/arrow_type.h"
#include "core/base.h"

/* Rows among `len` that are null.  @param valid  bitmap of validity; NULL = none is */
uint64_t nqi_arrow_count_nulls(const uint8_t *valid, uint64_t len);

/* `rows` + 1 offsets of `width` bytes begin with 0 and never fall.
 * @param last  [out] the last of them, as it was checked */
bool nqi_arrow_offsets_rise(const void *offsets, uint32_t width, uint64_t rows, uint64_t *last);

/* Valid rows of the integer type `type` are from 0 to below `limit`. */
bool nqi_arrow_indices_fit(const struct nqi_arrow_type *type, const void *data,
                           const uint8_t *valid, uint64_t rows, uint64_t limit);

/* Valid rows are UTF-8, each by itself.
 * @param offsets  checked before; false, too, when they have changed since then
 * @param bytes    `last` of them */
bool nqi_arrow_rows_are_utf8(const void *offsets, uint32_t width, const uint8_t *bytes,
                             uint64_t last, const uint8_t *valid, uint64_t rows);

#endif
