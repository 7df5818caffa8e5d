/* Types of the Arrow C Data Interface: what a format string says of an array's buffers.
 *
 * Pure.  Thread: any. */
#ifndef NQ_CORE_ARROW_TYPE_H
#define NQ_CORE_ARROW_TYPE_H

#include "core/base.h"

enum nqi_arrow_kind {
    NQI_ARROW_NULL,   /* no buffers at all */
    NQI_ARROW_BITS,   /* validity, bits */
    NQI_ARROW_FIXED,  /* validity, values of `width` bytes */
    NQI_ARROW_BINARY, /* validity, offsets of `width` bytes, bytes */
    NQI_ARROW_LIST,   /* validity, offsets of `width` bytes; one child */
    NQI_ARROW_ROWS,   /* validity; one child with `width` items a row */
    NQI_ARROW_STRUCT  /* validity; any children */
};

struct nqi_arrow_type {
    enum nqi_arrow_kind kind;
    uint32_t width;
    bool utf8;        /* BINARY: the bytes of a row are UTF-8 */
    bool map;         /* LIST: of structs of a key and a value */
    bool index, sign; /* FIXED: an integer, which may be an index; with a sign */
};

/* @param blame  what to call a format that Arrow does not know: NQ_ERR_INVAL of a caller's,
 *               NQ_ERR_PROTO of a peer's
 * @return NQ_OK, NQ_ERR_UNSUPPORTED, `blame` */
NQ_MUST_CHECK nq_err nqi_arrow_type_read(const char *format, nq_err blame,
                                         struct nqi_arrow_type *ret);

/* A row takes no bytes, so no number of bytes bounds the number of rows. */
static inline bool nqi_arrow_is_empty(const struct nqi_arrow_type *type)
{
    return type->kind == NQI_ARROW_NULL ||
           ((type->kind == NQI_ARROW_FIXED || type->kind == NQI_ARROW_ROWS) && !type->width);
}

/* Buffers that an array of this type has, the bitmap of validity counted. */
static inline uint32_t nqi_arrow_nbuffers(const struct nqi_arrow_type *type)
{
    static const uint8_t count[] = {
        [NQI_ARROW_NULL] = 0, [NQI_ARROW_BITS] = 2, [NQI_ARROW_FIXED] = 2, [NQI_ARROW_BINARY] = 3,
        [NQI_ARROW_LIST] = 2, [NQI_ARROW_ROWS] = 1, [NQI_ARROW_STRUCT] = 1};

    return count[type->kind];
}

/* `children` are as many as an array of this type has. */
static inline bool nqi_arrow_may_have(const struct nqi_arrow_type *type, uint64_t children)
{
    if (type->kind == NQI_ARROW_STRUCT)
        return true;
    return children == (type->kind == NQI_ARROW_LIST || type->kind == NQI_ARROW_ROWS);
}

#endif
