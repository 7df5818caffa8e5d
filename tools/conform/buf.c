/* Buffers of the tests: counted, and in segments that are blocks of their own, so that reading
 * beyond one is seen.  What was given back is filled with poison and freed a while later. */
#include "tools/conform/host_in.h"
#include <stdlib.h>
#include <string.h>

/* ---- what was given back ------------------------------------------------------------------ */

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SEES_FREED_MEMORY
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SEES_FREED_MEMORY
#endif

#define POISON 0xdb
#define RETIRED_BLOCKS 64
/* Of a block; a larger one is freed at once, and where the address sanitizer looks after freed
 * memory they all are. */
#ifdef SEES_FREED_MEMORY
#define RETIRED_BYTES 0
#else
#define RETIRED_BYTES (256u << 10)
#endif

static struct {
    pthread_mutex_t mtx;
    unsigned next;
    struct iovec blocks[RETIRED_BLOCKS];
} retired = {.mtx = PTHREAD_MUTEX_INITIALIZER};

static void look_at(const struct iovec *block)
{
    const uint8_t *bytes = block->iov_base;

    for (size_t i = 0; i < block->iov_len; i++)
        NQTEST_MUST(READONLY, bytes[i] == POISON,
                    "memory was written to after it was given back, at byte %zu of %zu", i,
                    block->iov_len);
}

void nqtest_retire(void *mem, size_t len)
{
    struct iovec old;

    memset(mem, POISON, len);
    if (len > RETIRED_BYTES) {
        free(mem);
        return;
    }
    pthread_mutex_lock(&retired.mtx);
    old = retired.blocks[retired.next];
    retired.blocks[retired.next] = (struct iovec){mem, len};
    retired.next = (retired.next + 1) % RETIRED_BLOCKS;
    pthread_mutex_unlock(&retired.mtx);
    look_at(&old);
    free(old.iov_base);
}

void nqtest_check_retired(void)
{
    pthread_mutex_lock(&retired.mtx);
    for (unsigned i = 0; i < RETIRED_BLOCKS; i++)
        look_at(&retired.blocks[i]);
    pthread_mutex_unlock(&retired.mtx);
}

/* ---- buffers ------------------------------------------------------------------------------ */

_Atomic long nqtest_bufs;

struct host_buf {
    struct nqt_buf buf;
    _Atomic unsigned refs;
    bool sealed;
    uint64_t sum; /* of a sealed one */
    struct iovec *seg;
};

/* Different for bytes that are different, nearly always. */
static uint64_t sum_of(const struct nqt_buf *buf)
{
    uint64_t sum = 0, word;

    for (uint32_t s = 0; s < buf->nseg; s++)
        for (size_t i = 0; i < buf->seg[s].iov_len; i += sizeof(word)) {
            size_t left = buf->seg[s].iov_len - i;

            word = 0;
            memcpy(&word, (const char *)buf->seg[s].iov_base + i,
                   left < sizeof(word) ? left : sizeof(word));
            sum = sum * 31 + word;
        }
    return sum;
}

static void buf_ref(struct nqt_buf *buf)
{
    unsigned refs = atomic_fetch_add(&((struct host_buf *)buf)->refs, 1);

    NQTEST_MUST(BUFFERS, refs > 0, "a buffer that nobody owned was referenced");
}

static void buf_unref(struct nqt_buf *buf)
{
    struct host_buf *own = (struct host_buf *)buf;
    unsigned refs = atomic_fetch_sub(&own->refs, 1);

    NQTEST_MUST(BUFFERS, refs > 0, "a buffer was unreferenced too often");
    if (refs > 1)
        return;
    NQTEST_MUST(READONLY, !own->sealed || own->sum == sum_of(buf),
                "a buffer was written to after it was handed to send()");
    for (uint32_t i = 0; i < buf->nseg; i++)
        nqtest_retire(own->seg[i].iov_base, own->seg[i].iov_len);
    free(own->seg);
    free(own);
    atomic_fetch_sub(&nqtest_bufs, 1);
}

static const struct nqt_buf_ops buf_ops = {
    .size = sizeof(buf_ops), .ref = buf_ref, .unref = buf_unref};

void nqtest_buf_seal(struct nqt_buf *buf)
{
    struct host_buf *own = (struct host_buf *)buf;

    if (buf->ops != &buf_ops)
        return; /* a loan */
    own->sum = sum_of(buf);
    own->sealed = true;
}

struct nqt_buf *nqtest_buf_new(size_t len, uint32_t nseg)
{
    struct host_buf *own = calloc(1, sizeof(*own));
    size_t left = len;

    own->seg = calloc(nseg, sizeof(*own->seg));
    for (uint32_t i = 0; i < nseg; i++) {
        size_t share = left / (nseg - i);

        own->seg[i] = (struct iovec){malloc(share ? share : 1), share};
        left -= share;
    }
    own->buf = (struct nqt_buf){
        .size = sizeof(own->buf), .nseg = nseg, .len = len, .seg = own->seg, .ops = &buf_ops};
    own->refs = 1;
    atomic_fetch_add(&nqtest_bufs, 1);
    return &own->buf;
}

uint8_t nqtest_pattern(uint64_t at)
{
    return (uint8_t)(at ^ at >> 7 ^ at >> 15 ^ at >> 23);
}

struct nqt_buf *nqtest_buf(uint64_t at, size_t len, uint32_t nseg)
{
    struct nqt_buf *buf = nqtest_buf_new(len, nseg);

    for (uint32_t s = 0; s < nseg; s++)
        for (size_t i = 0; i < buf->seg[s].iov_len; i++)
            ((uint8_t *)buf->seg[s].iov_base)[i] = nqtest_pattern(at++);
    return buf;
}
