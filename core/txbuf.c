/* One pooled piece of memory holds the buffer, its segments and its own bytes. */
#include "core/txbuf.h"

#include "core/pool.h"
#include <string.h>

static void txbuf_on_ref(struct nqt_buf *buf)
{
    struct nqi_txbuf *txbuf = NQI_CONTAINER(buf, struct nqi_txbuf, buf);

    atomic_fetch_add_explicit(&txbuf->refs, 1, memory_order_relaxed);
}

static void txbuf_on_unref(struct nqt_buf *buf)
{
    nqi_txbuf_unref(NQI_CONTAINER(buf, struct nqi_txbuf, buf));
}

static const struct nqt_buf_ops txbuf_ops = {
    .size = sizeof(struct nqt_buf_ops), .ref = txbuf_on_ref, .unref = txbuf_on_unref};

struct nqi_txbuf *nqi_txbuf_new(uint32_t nseg, uint32_t room)
{
    size_t size = sizeof(struct nqi_txbuf) + nseg * sizeof(struct iovec) + room;
    struct nqi_txbuf *txbuf = nqi_pool_alloc(size);

    if (!txbuf)
        return NULL;
    memset(txbuf, 0, sizeof(*txbuf));
    atomic_init(&txbuf->refs, 1);
    txbuf->size = (uint32_t)size;
    txbuf->seg = (struct iovec *)(void *)(txbuf + 1);
    txbuf->room = (uint8_t *)(txbuf->seg + nseg);
    txbuf->buf.size = sizeof(txbuf->buf);
    txbuf->buf.seg = txbuf->seg;
    txbuf->buf.ops = &txbuf_ops;
    return txbuf;
}

void nqi_txbuf_unref(struct nqi_txbuf *txbuf)
{
    if (atomic_load_explicit(&txbuf->refs, memory_order_acquire) != 1 &&
        atomic_fetch_sub_explicit(&txbuf->refs, 1, memory_order_acq_rel) != 1)
        return;
    nqi_block_unref(txbuf->block);
    nqi_msg_unref(txbuf->msg);
    if (NQI_UNLIKELY(txbuf->inner != NULL))
        txbuf->inner->ops->unref(txbuf->inner);
    nqi_pool_free(txbuf, txbuf->size);
}

uint32_t nqi_txbuf_slice(const struct nqt_buf *buf, uint64_t offset, uint64_t len,
                         struct nqi_txbuf *txbuf)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < buf->nseg && len; i++) {
        uint64_t size = buf->seg[i].iov_len, n;

        if (offset >= size) {
            offset -= size;
            continue;
        }
        n = NQI_MIN(size - offset, len);
        if (txbuf)
            nqi_txbuf_add(txbuf, (const uint8_t *)buf->seg[i].iov_base + offset, n);
        count++;
        len -= n;
        offset = 0;
    }
    return count;
}

/* Only we hold it: nobody reads it, nor will. */
static bool txbuf_alone(const struct nqi_txbuf *txbuf)
{
    return atomic_load_explicit(&txbuf->refs, memory_order_acquire) == 1;
}

static void txbuf_empty(struct nqi_txbuf *txbuf)
{
    txbuf->buf.len = 0;
    txbuf->buf.nseg = 0;
    txbuf->records = txbuf->begins = txbuf->ends = txbuf->untracked = 0;
    txbuf->payload = txbuf->last_seq = 0;
}

bool nqi_txbuf_clear(struct nqi_txbuf *txbuf)
{
    if (!txbuf_alone(txbuf))
        return false;
    txbuf_empty(txbuf);
    return true;
}

bool nqi_txbuf_join(struct nqi_txbuf *txbuf, struct nqi_txbuf *more)
{
    struct iovec *seg = &txbuf->seg[0];

    if (!more->block || !txbuf_alone(more) ||
        !nqi_txbuf_ends_at(txbuf, more->block, more->seg[0].iov_base))
        return false;
    seg->iov_len += more->buf.len;
    txbuf->buf.len += more->buf.len;
    txbuf->records += more->records;
    txbuf->begins += more->begins;
    txbuf->ends += more->ends;
    txbuf->payload += more->payload;
    txbuf->untracked += more->untracked;
    txbuf->last_seq = more->last_seq;
    txbuf_empty(more);
    return true;
}

struct nqi_block *nqi_block_new(uint32_t cap)
{
    struct nqi_block *block = nqi_pool_alloc(sizeof(*block) + cap);

    if (!block)
        return NULL;
    atomic_init(&block->refs, 1);
    block->cap = cap;
    block->fill = 0;
    return block;
}

void nqi_block_unref(struct nqi_block *block)
{
    if (!block)
        return;
    if (atomic_load_explicit(&block->refs, memory_order_acquire) == 1 ||
        atomic_fetch_sub_explicit(&block->refs, 1, memory_order_acq_rel) == 1)
        nqi_pool_free(block, sizeof(*block) + block->cap);
}
