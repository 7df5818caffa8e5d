/* Bodies into buffers, without a copy: a buffer's segments lie in paho's messages, which live as
 * long as one of their buffers does.
 *
 * Buffers outlive the link, and may outlive the queue, so they are libc's memory and no host's. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "mqtt.h"
#include <stdlib.h>
#include <string.h>

struct rx_buf {
    struct nqt_buf buf;
    _Atomic uint32_t refs;
    struct mqtt_rx **rx; /* of each segment, one reference */
    struct iovec seg[];  /* then the list of rx */
};

static void rx_buf_ref(struct nqt_buf *buf)
{
    atomic_fetch_add_explicit(&((struct rx_buf *)(void *)buf)->refs, 1, memory_order_relaxed);
}

static void rx_buf_unref(struct nqt_buf *buf)
{
    struct rx_buf *own = (struct rx_buf *)(void *)buf;

    if (atomic_fetch_sub_explicit(&own->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < buf->nseg; i++)
        mqtt_rx_unref(own->rx[i]);
    free(own);
}

static const struct nqt_buf_ops rx_buf_ops = {
    .size = sizeof(struct nqt_buf_ops), .ref = rx_buf_ref, .unref = rx_buf_unref};

/* The references of `n` segments move into it. */
static struct nqt_buf *rx_buf_new(const struct iovec *seg, struct mqtt_rx *const *rx, uint32_t n,
                                  uint64_t len)
{
    struct rx_buf *own = malloc(sizeof(*own) + n * (sizeof(*seg) + sizeof(struct mqtt_rx *)));

    if (!own)
        return NULL;
    *own = (struct rx_buf){.rx = (struct mqtt_rx **)(void *)(own->seg + n)};
    atomic_init(&own->refs, 1);
    memcpy(own->seg, seg, n * sizeof(*seg));
    memcpy(own->rx, rx, n * sizeof(*rx));
    own->buf = (struct nqt_buf){
        .size = sizeof(own->buf), .nseg = n, .len = len, .seg = own->seg, .ops = &rx_buf_ops};
    return &own->buf;
}

struct nqt_buf *mqtt_whole(struct mqtt_rx *rx)
{
    const struct iovec seg = {.iov_base = (void *)(uintptr_t)rx->body, .iov_len = rx->len};
    struct nqt_buf *buf = rx_buf_new(&seg, &rx, 1, rx->len);

    if (buf)
        atomic_fetch_add_explicit(&rx->refs, 1, memory_order_relaxed);
    return buf;
}

void mqtt_part_drop(struct nqtp_link *link)
{
    struct mqtt_part *part = &link->part;

    for (uint32_t i = 0; i < part->n; i++)
        mqtt_rx_unref(part->rx[i]);
    nqt_free(link->ep->mod->host, link->ep->mod->core, part->seg);
    nqt_free(link->ep->mod->host, link->ep->mod->core, part->rx);
    *part = (struct mqtt_part){.n = 0};
}

static bool part_grow(struct nqtp_link *link)
{
    const struct nqtp_mod *mod = link->ep->mod;
    struct mqtt_part *part = &link->part;
    uint32_t cap = part->cap ? 2 * part->cap : 8;
    void *seg, *rx;

    if (part->n < part->cap)
        return true;
    seg = mod->host->mem(mod->core, part->seg, cap * sizeof(*part->seg));
    if (seg)
        part->seg = seg;
    rx = seg ? mod->host->mem(mod->core, part->rx, cap * sizeof(*part->rx)) : NULL;
    if (!rx)
        return false;
    part->rx = rx;
    part->cap = cap;
    return true;
}

static int part_add(struct nqtp_link *link, struct mqtt_rx *rx, const uint8_t *data, uint32_t len)
{
    struct mqtt_part *part = &link->part;

    if (part->len + len > MQTT_MESSAGE_MAX || part->n == MQTT_PIECES)
        return NQT_E_PROTOCOL;
    if (!part_grow(link))
        return NQT_E_NOMEM;
    atomic_fetch_add_explicit(&rx->refs, 1, memory_order_relaxed);
    part->seg[part->n] = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    part->rx[part->n++] = rx;
    part->len += len;
    part->cost += mqtt_rx_cost(rx);
    return NQT_OK;
}

/* A whole buffer: the pieces so far. */
static int part_take(struct nqtp_link *link, struct nqt_buf **ret)
{
    struct mqtt_part *part = &link->part;
    struct nqt_buf *buf = rx_buf_new(part->seg, part->rx, part->n, part->len);

    if (!buf)
        return NQT_E_NOMEM;
    part->n = 0;
    part->len = part->cost = 0;
    *ret = buf;
    return NQT_OK;
}

/* The next piece.  @param last [out] it ends a buffer; else it has bytes and ends its publish, so
 * that pieces of no use cost nothing */
static int unpack_piece(struct nqtp_link *link, struct mqtt_rx *rx, size_t *at, bool *last)
{
    uint32_t len;
    int rc;

    if (rx->len - *at < MQTT_PIECE)
        return NQT_E_PROTOCOL;
    len = mqtt_load_u32(rx->body + *at);
    *last = len & MQTT_LAST;
    len &= ~MQTT_LAST;
    if (len > rx->len - *at - MQTT_PIECE || (!*last && (!len || len != rx->len - *at - MQTT_PIECE)))
        return NQT_E_PROTOCOL;
    rc = part_add(link, rx, rx->body + *at + MQTT_PIECE, len);
    if (!rc)
        *at += MQTT_PIECE + len;
    return rc;
}

int mqtt_unpack(struct nqtp_link *link, struct mqtt_rx *rx, size_t *at, struct nqt_buf **out,
                int cap)
{
    int n = 0, rc = NQT_OK;

    while (*at < rx->len && n < cap && !rc) {
        bool last;

        rc = unpack_piece(link, rx, at, &last);
        if (!rc && last)
            rc = part_take(link, &out[n]);
        n += !rc && last;
    }
    for (int i = 0; rc && i < n; i++)
        out[i]->ops->unref(out[i]);
    return rc ? rc : n;
}
