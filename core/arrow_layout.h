/* The head of a payload that carries an array: what the writer and the reader of it share.  The
 * layout is in docs/arrow.md.
 *
 * Pure.  Thread: any. */
#ifndef NQ_CORE_ARROW_LAYOUT_H
#define NQ_CORE_ARROW_LAYOUT_H

#include "core/base.h"
#include "core/buf.h"

#define NQI_ARROW_MAGIC UINT32_C(0x6e714131) /* "nqA1" */
#define NQI_ARROW_HEAD 16u                   /* in front of the entries */
#define NQI_ARROW_ENTRY 8u                   /* of each field */
#define NQI_ARROW_ALIGN 64u                  /* where buffers begin */

struct nqi_arrow_head {
    uint32_t fields;
    uint64_t schema_len; /* bytes of the schema in the payload; 0 = it is attached */
};

/* `size` up to the next place of a buffer; size <= UINT64_MAX - NQI_ARROW_ALIGN. */
static inline uint64_t nqi_arrow_align(uint64_t size)
{
    return (size + NQI_ARROW_ALIGN - 1) & ~(uint64_t)(NQI_ARROW_ALIGN - 1);
}

/* Bytes in front of the schema. */
static inline uint64_t nqi_arrow_head_size(const struct nqi_arrow_head *head)
{
    return NQI_ARROW_HEAD + (uint64_t)head->fields * NQI_ARROW_ENTRY;
}

/* False: the `len` bytes of `payload` do not begin as an array does, or not whole. */
static inline bool nqi_arrow_head_read(const void *payload, size_t len, struct nqi_arrow_head *ret)
{
    struct nqi_buf buf = nqi_buf_over(payload, len);
    bool magic = nqi_buf_u32(&buf) == NQI_ARROW_MAGIC;

    ret->fields = nqi_buf_u32(&buf);
    ret->schema_len = nqi_buf_u64(&buf);
    return magic && !buf.bad;
}

#endif
