/* Messages of the inner transport between its RX event and the core's space.
 *
 * Only here are messages lost, doubled and swapped.  The queue hands up bytes; of a link that is
 * told to lose messages, whole ones. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault.h"
#include <string.h>

/* Room for `n` more. */
static bool queue_reserve(struct nqtp_link *link, uint32_t n)
{
    const struct nqtp_mod *mod = link->ep->mod;
    struct fault_queue *queue = &link->queue;
    uint32_t cap = queue->cap ? queue->cap : 16;
    struct nqt_buf **ring;

    while (cap - queue->count < n)
        cap *= 2;
    if (cap == queue->cap)
        return true;
    ring = mod->host->mem(mod->core, NULL, cap * sizeof(struct nqt_buf *));
    if (!ring)
        return false;
    for (uint32_t i = 0; queue->cap && i < queue->count; i++)
        ring[i] = queue->ring[(queue->first + i) % queue->cap];
    nqt_free(mod->host, mod->core, queue->ring);
    queue->ring = ring;
    queue->cap = cap;
    queue->first = 0;
    return true;
}

static void queue_push(struct fault_queue *queue, struct nqt_buf *buf)
{
    queue->ring[(queue->first + queue->count++) % queue->cap] = buf;
}

struct nqt_buf *fault_queue_pop(struct fault_queue *queue)
{
    struct nqt_buf *buf = queue->ring[queue->first];

    queue->first = (queue->first + 1) % queue->cap;
    queue->count--;
    queue->off = 0;
    return buf;
}

static void queue_pop(struct fault_queue *queue)
{
    struct nqt_buf *buf = fault_queue_pop(queue);

    buf->ops->unref(buf);
}

/* The next one is in, or late_ns is over.  Its place is reserved. */
void fault_queue_late(struct nqtp_link *link)
{
    struct fault_queue *queue = &link->queue;

    if (queue->late)
        queue_push(queue, queue->late);
    queue->late = NULL;
}

static void queue_add_one(struct nqtp_link *link, struct nqt_buf *buf)
{
    const struct fault_opts *opts = &link->ep->opts;
    struct fault_queue *queue = &link->queue;

    if (fault_hit(&link->rx.rng, opts->drop)) {
        buf->ops->unref(buf);
        return;
    }
    if (fault_hit(&link->rx.rng, opts->duplicate)) {
        buf->ops->ref(buf);
        queue_push(queue, buf);
    }
    if (fault_hit(&link->rx.rng, opts->reorder) && !queue->late) {
        queue->late = buf;
        queue->late_ns = fault_now(link) + FAULT_LATE_NS;
        return;
    }
    queue_push(queue, buf);
    fault_queue_late(link);
}

int fault_queue_add(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n)
{
    if (!queue_reserve(link, 2 * n + 1))
        return NQT_E_NOMEM;
    for (uint32_t i = 0; i < n; i++)
        queue_add_one(link, bufs[i]);
    return NQT_OK;
}

/* Copy from byte `off` of the buffer on; returns how many. */
static size_t queue_copy(const struct nqt_buf *buf, uint64_t off, char *to, size_t len)
{
    size_t done = 0;

    for (uint32_t i = 0; i < buf->nseg && done < len; i++) {
        size_t have = buf->seg[i].iov_len, n;

        if (off >= have) {
            off -= have;
            continue;
        }
        n = have - (size_t)off < len - done ? have - (size_t)off : len - done;
        memcpy(to + done, (const char *)buf->seg[i].iov_base + off, n);
        done += n;
        off = 0;
    }
    return done;
}

size_t fault_queue_take(struct fault_queue *queue, char *to, size_t len)
{
    size_t done = 0, n;

    while (queue->count) {
        const struct nqt_buf *buf = queue->ring[queue->first];

        n = queue_copy(buf, queue->off, to + done, len - done);
        done += n;
        queue->off += n;
        if (queue->off < buf->len)
            break;
        queue_pop(queue);
    }
    return done;
}

void fault_queue_free(struct nqtp_link *link)
{
    struct fault_queue *queue = &link->queue;

    while (queue->count)
        queue_pop(queue);
    if (queue->late)
        queue->late->ops->unref(queue->late);
    nqt_free(link->ep->mod->host, link->ep->mod->core, queue->ring);
    *queue = (struct fault_queue){0};
}
