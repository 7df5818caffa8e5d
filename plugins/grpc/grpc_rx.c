/* From messages to the core's room: the one copy on the way in.
 *
 * A slice of gRPC's is a part of a large chunk that the socket was read into, at any position; to
 * keep it would keep the chunk. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "grpc.h"
#include <string.h>

#define RX_SEGS 8u                      /* as many as rx_space() may give */
#define RX_TURN_BYTES ((size_t)2 << 20) /* in one turn; others want theirs */
#define RX_COPY 1024u

/* On some processors one large memcpy() is twenty times slower when the destination begins a few
 * bytes behind the source modulo the page size; pieces below 2 KiB are not. */
static void rx_copy(char *dst, const uint8_t *src, size_t len)
{
    for (; len > RX_COPY; dst += RX_COPY, src += RX_COPY, len -= RX_COPY)
        memcpy(dst, src, RX_COPY);
    memcpy(dst, src, len);
}

void ngrpc_rx_drop(struct nqtp_link *link)
{
    if (!link->message)
        return;
    grpc_slice_unref(link->slice);
    link->slice = grpc_empty_slice();
    grpc_byte_buffer_reader_destroy(&link->reader);
    grpc_byte_buffer_destroy(link->message);
    link->message = NULL;
}

/* The next message that came.  False: none. */
static bool rx_next(struct nqtp_link *link)
{
    struct ngrpc_stream *stream = link->stream;
    grpc_byte_buffer *message = NULL;

    pthread_mutex_lock(&stream->mtx);
    if (stream->rx_count) {
        message = stream->rx[stream->rx_first++ % NGRPC_RX_SLOTS];
        stream->rx_count--;
        stream->rx_bytes -= grpc_byte_buffer_length(message);
    }
    pthread_mutex_unlock(&stream->mtx);
    if (!message)
        return false;
    ngrpc_stream_pump_rx(stream);
    if (!grpc_byte_buffer_reader_init(&link->reader, message)) {
        grpc_byte_buffer_destroy(message);
        ngrpc_link_down(link, NQT_E_PROTOCOL, 0, "%s: a message that cannot be read", link->peer);
        return false;
    }
    link->message = message;
    link->left = grpc_byte_buffer_length(message);
    link->used = 0;
    return true;
}

/* Fill `len` bytes; returns how many there were in the message. */
static size_t rx_fill(struct nqtp_link *link, char *dst, size_t len)
{
    size_t done = 0;

    while (done < len && link->left) {
        size_t have = GRPC_SLICE_LENGTH(link->slice) - link->used;
        size_t n = have < len - done ? have : len - done;

        if (!have) {
            grpc_slice_unref(link->slice);
            link->slice = grpc_empty_slice();
            link->used = 0;
            if (!grpc_byte_buffer_reader_next(&link->reader, &link->slice))
                link->left = 0; /* its length says otherwise, but this is what there is */
            continue;
        }
        rx_copy(dst + done, GRPC_SLICE_START_PTR(link->slice) + link->used, n);
        link->used += n;
        link->left -= n;
        done += n;
    }
    return done;
}

/* One piece into the core's room.  False: it takes no more. */
static bool rx_hand_up(struct nqtp_link *link, size_t *total)
{
    const struct nqt_host *host = link->mod->host;
    struct iovec iov[RX_SEGS];
    uint32_t niov = RX_SEGS;
    size_t n = 0;
    int rc = host->rx_space(link->cookie, 0, iov, &niov);

    if (rc == NQT_E_NOMEM)
        ngrpc_link_down(link, rc, 0, "%s: no memory to receive", link->peer);
    if (rc) {
        link->paused = true;
        return false;
    }
    for (uint32_t i = 0; i < niov && link->left; i++)
        n += rx_fill(link, iov[i].iov_base, iov[i].iov_len);
    *total += n;
    if (host->rx_commit(link->cookie, n) < 0 || !n) {
        link->paused = true; /* the core is about to close, or gave no room */
        return false;
    }
    return true;
}

static bool rx_wanted(const struct nqtp_link *link)
{
    return ngrpc_link_open(link) && !link->held && !link->paused;
}

void ngrpc_rx(struct nqtp_link *link)
{
    size_t total = 0;

    while (rx_wanted(link) && total < RX_TURN_BYTES) {
        if (!link->message && !rx_next(link))
            return;
        while (link->left && rx_wanted(link) && rx_hand_up(link, &total))
            continue;
        if (!link->left)
            ngrpc_rx_drop(link);
    }
    if (!rx_wanted(link))
        return;
    pthread_mutex_lock(&link->stream->mtx);
    ngrpc_stream_poke(link->stream); /* the rest has its turn later */
    pthread_mutex_unlock(&link->stream->mtx);
}
