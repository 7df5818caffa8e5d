/* What stands behind nq_chunk: counted memory in one of three shapes.
 *
 *   INSIDE  header and bytes in one pool block; the block may begin before the header
 *           (a small message keeps its only chunk behind itself)
 *   APART   header in a block of its own, bytes in another, so that these are page aligned
 *   WRAP    bytes of the caller, given back through a release function
 *
 * The struct is here because a message embeds one.  Thread: ref and unref any, the rest
 * as <netqueue/stream.h> says. */
#ifndef NQ_CORE_CHUNK_H
#define NQ_CORE_CHUNK_H

#include "core/base.h"
#include <netqueue/stream.h>
#include <stdatomic.h>

enum nqi_chunk_kind { NQI_CHUNK_INSIDE, NQI_CHUNK_APART, NQI_CHUNK_WRAP };

/* Bytes before the data of a chunk that lies in one block: data stays 64-byte aligned. */
#define NQI_CHUNK_HEAD 64

/* From this size on the data begins on a page. */
#define NQI_CHUNK_APART_MIN ((size_t)128 << 10)

struct nq_chunk {
    /* fixed when the chunk is made */
    unsigned char *data;
    size_t len;
    uint16_t before; /* INSIDE: bytes from the start of the block to this header */
    uint8_t kind;    /* enum nqi_chunk_kind */
    /* atomic: the last unref must see what every other holder did to the bytes */
    _Atomic uint32_t refs;
};

/* Prepare a chunk that lies `before` bytes into the pool block of (data + len - block)
 * bytes, with `refs` references.  The last unref frees the whole block. */
static inline void nqi_chunk_init_inside(struct nq_chunk *chunk, size_t before, unsigned char *data,
                                         size_t len, uint32_t refs)
{
    chunk->data = data;
    chunk->len = len;
    chunk->before = (uint16_t)before;
    chunk->kind = NQI_CHUNK_INSIDE;
    atomic_init(&chunk->refs, refs);
}

/* Release the memory: nobody holds a reference. */
void nqi_chunk_end(struct nq_chunk *chunk);

static inline void nqi_chunk_ref(struct nq_chunk *chunk)
{
    atomic_fetch_add_explicit(&chunk->refs, 1, memory_order_relaxed);
}

/* A count of one belongs to the caller, and nobody can raise it but a holder: the
 * atomic decrement, a tenth of the cost of a small message, is spared. */
static inline void nqi_chunk_unref(struct nq_chunk *chunk)
{
    if (atomic_load_explicit(&chunk->refs, memory_order_acquire) == 1 ||
        atomic_fetch_sub_explicit(&chunk->refs, 1, memory_order_acq_rel) == 1)
        nqi_chunk_end(chunk);
}

#endif
