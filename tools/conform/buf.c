/* Buffers of the tests: counted, and in segments that are blocks of their own, so that reading
 * beyond one is seen. */
#include "tools/conform/host_in.h"
#include <stdlib.h>

_Atomic long nqtest_bufs;

struct host_buf {
    struct nqt_buf buf;
    _Atomic unsigned refs;
    struct iovec *seg;
};

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
    for (uint32_t i = 0; i < buf->nseg; i++)
        free(own->seg[i].iov_base);
    free(own->seg);
    free(own);
    atomic_fetch_sub(&nqtest_bufs, 1);
}

struct nqt_buf *nqtest_buf_new(size_t len, uint32_t nseg)
{
    static const struct nqt_buf_ops ops = {.size = sizeof(ops), .ref = buf_ref, .unref = buf_unref};
    struct host_buf *own = calloc(1, sizeof(*own));
    size_t left = len;

    own->seg = calloc(nseg, sizeof(*own->seg));
    for (uint32_t i = 0; i < nseg; i++) {
        size_t share = left / (nseg - i);

        own->seg[i] = (struct iovec){malloc(share ? share : 1), share};
        left -= share;
    }
    own->buf = (struct nqt_buf){
        .size = sizeof(own->buf), .nseg = nseg, .len = len, .seg = own->seg, .ops = &ops};
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
