/* Buffers of the core as slices of gRPC's: what is large is referred to rather than copied, and
 * goes back to the core when the last slice is gone. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "grpc.h"
#include <stdlib.h>

#define LEASE_LEAST 1024u /* bytes of a segment that is referred to */

/* A buffer of the core that slices refer to. */
struct lease {
    struct ngrpc_stream *stream; /* one reference */
    struct nqt_buf *buf;         /* one reference */
    _Atomic uint32_t refs;       /* one a slice */
};

/* Leases: what was written before one was given is seen where it ends; as ngrpc_drive.started. */
static _Atomic uint64_t lease_count;

/* Called by gRPC, on any thread, inside of anything: takes no lock that is held around gRPC. */
static void lease_end(void *arg)
{
    struct lease *lease = arg;
    struct ngrpc_stream *stream;

    (void)atomic_load_explicit(&lease_count, memory_order_acquire);
    stream = lease->stream;
    if (atomic_fetch_sub_explicit(&lease->refs, 1, memory_order_acq_rel) != 1)
        return;
    lease->buf->ops->unref(lease->buf);
    free(lease);
    ngrpc_stream_unref(stream);
}

static void lease_copy(struct ngrpc_stream *stream, const struct iovec *seg)
{
    grpc_slice_buffer_add(&stream->tx_wait,
                          grpc_slice_from_copied_buffer(seg->iov_base, seg->iov_len));
}

/* Under the mutex.  The segments that are referred to; NULL = none, or no memory: copy. */
static struct lease *lease_new(struct ngrpc_stream *stream, struct nqt_buf *buf)
{
    struct lease *lease;
    uint32_t n = 0;

    for (uint32_t i = 0; i < buf->nseg; i++)
        n += buf->seg[i].iov_len >= LEASE_LEAST;
    lease = n && !(buf->flags & NQT_BUF_SCARCE) ? malloc(sizeof(*lease)) : NULL;
    if (!lease)
        return NULL;
    *lease = (struct lease){.stream = stream, .buf = buf};
    atomic_init(&lease->refs, n);
    atomic_fetch_add_explicit(&lease_count, 1, memory_order_release);
    atomic_fetch_add_explicit(&stream->refs, 1, memory_order_relaxed);
    return lease;
}

void ngrpc_stream_take(struct ngrpc_stream *stream, struct nqt_buf *buf)
{
    struct lease *lease = lease_new(stream, buf);

    for (uint32_t i = 0; i < buf->nseg; i++) {
        const struct iovec *seg = &buf->seg[i];

        if (lease && seg->iov_len >= LEASE_LEAST)
            grpc_slice_buffer_add(
                &stream->tx_wait,
                grpc_slice_new_with_user_data(seg->iov_base, seg->iov_len, lease_end, lease));
        else if (seg->iov_len)
            lease_copy(stream, seg);
    }
    if (!lease)
        buf->ops->unref(buf);
}
