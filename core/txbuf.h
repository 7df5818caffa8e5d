/* What a session hands to a link: an nqt_buf, and what must live until it is acknowledged.
 *
 *     stage     one segment in a block, into which small records are gathered
 *     large     a head of its own, then segments of the user's chunks
 *     control   one segment in `head`'s place
 *
 * Reference-counted: one reference is the session's, one each transport's that took it. */
#ifndef NQ_CORE_TXBUF_H
#define NQ_CORE_TXBUF_H

#include "core/base.h"
#include "core/list.h"
#include "core/msg.h"
#include <netqueue/transport.h>
#include <stdatomic.h>

/* Memory that small records are copied into. */
struct nqi_block {
    _Atomic uint32_t refs;
    uint32_t cap, fill; /* bytes of data; the session's only */
    _Alignas(64) uint8_t data[];
};

struct nqi_txbuf {
    struct nqt_buf buf; /* first: transports see only this */
    struct nqi_node node;
    _Atomic uint32_t refs;
    uint32_t size;           /* of the pooled memory */
    uint32_t records;        /* DATA records */
    uint32_t begins, ends;   /* messages that begin, that end in them */
    uint64_t payload;        /* bytes of payload in them */
    uint32_t untracked;      /* of those, without an nqi_tx */
    uint64_t last_seq;       /* of its last DATA record; 0 = control only */
    struct nqi_block *block; /* one reference; NULL = none */
    nq_msg *msg;             /* one reference; NULL = none */
    struct nqt_buf *inner;   /* whose bytes it carries on: one reference; NULL = none */
    struct nqi_tx *tx;       /* large: whose records these are, for comparison only */
    uint32_t head_len;       /* bytes used in room */
    struct iovec *seg;       /* in this block of memory */
    uint8_t *room;           /* in this block of memory: heads and control records */
};

/* A buffer with room for `nseg` segments and `room` bytes of its own; NULL = no memory. */
struct nqi_txbuf *nqi_txbuf_new(uint32_t nseg, uint32_t room);
void nqi_txbuf_unref(struct nqi_txbuf *txbuf);

/* Append a segment; there must be room. */
static inline void nqi_txbuf_add(struct nqi_txbuf *txbuf, const void *data, size_t len)
{
    txbuf->seg[txbuf->buf.nseg++] =
        (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    txbuf->buf.len += len;
}

/* The segments of `buf` that have bytes of the `len` from `offset` on: appended to `txbuf`, or only
 * counted.  @param txbuf  NULL = count; else there is room, and it keeps a reference by `inner`
 * @return how many */
uint32_t nqi_txbuf_slice(const struct nqt_buf *buf, uint64_t offset, uint64_t len,
                         struct nqi_txbuf *txbuf);

#define NQI_TXBUF_JOIN 64u /* records in one buffer, which is acknowledged as a whole */

/* Records that are written at `at` in `block` may become records of `txbuf`: they follow on its
 * own, and no transport reads it. */
static inline bool nqi_txbuf_ends_at(const struct nqi_txbuf *txbuf, const struct nqi_block *block,
                                     const uint8_t *at)
{
    const struct iovec *seg = &txbuf->seg[0];

    return txbuf->block == block && txbuf->records < NQI_TXBUF_JOIN &&
           atomic_load_explicit(&txbuf->refs, memory_order_acquire) == 1 &&
           (const uint8_t *)seg->iov_base + seg->iov_len == at;
}

/* Make the records of `more`, which follow in the same block, records of `txbuf`; `more` is empty
 * then, with its block.  False: they lie elsewhere, or a transport still reads one of the two. */
bool nqi_txbuf_join(struct nqi_txbuf *txbuf, struct nqi_txbuf *more);

/* Make it empty, with its block, when nobody else holds it.  False: nothing changed. */
bool nqi_txbuf_clear(struct nqi_txbuf *txbuf);

/* A block with `cap` bytes; NULL = no memory. */
struct nqi_block *nqi_block_new(uint32_t cap);
void nqi_block_unref(struct nqi_block *block);

#endif
