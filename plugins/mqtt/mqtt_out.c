/* Sending: buffers are cut and packed into publishes, as many as the other side has room for.
 *
 * paho copies what it is given, into memory that it keeps until the socket took it; so the window
 * is what bounds it.  A buffer that was begun is ours to finish. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "mqtt.h"
#include <string.h>

static uint32_t out_min(uint64_t a, uint64_t b)
{
    return (uint32_t)(a < b ? a : b);
}

/* ---- the window: under mtx -------------------------------------------------------------- */

uint16_t mqtt_credit(const struct nqtp_ep *ep)
{
    uint32_t share = ep->nlinks ? MQTT_CREDIT_ALL / ep->nlinks : MQTT_CREDIT;

    if (!ep->listen || share > MQTT_CREDIT)
        return MQTT_CREDIT;
    return (uint16_t)(share < MQTT_CREDIT_LEAST ? MQTT_CREDIT_LEAST : share);
}

struct mqtt_head mqtt_out_head(const struct nqtp_link *link, enum mqtt_type type)
{
    const struct nqtp_ep *ep = link->ep;

    return (struct mqtt_head){.type = type,
                              .credit = mqtt_credit(ep),
                              .number = link->number,
                              .client = link->client_tag,
                              .server = link->server_tag,
                              .seq = link->tx_seq,
                              .ack = link->rx_up};
}

/* Bytes that may be under way. */
static uint32_t out_limit(const struct nqtp_link *link)
{
    const struct nqtp_ep *ep = link->ep;

    return out_min(link->window, MQTT_EP_FLIGHT / (ep->nlinks ? ep->nlinks : 1));
}

/* Bytes that the body of the next publish may have; 0 = none now. */
static uint32_t out_room(const struct nqtp_link *link)
{
    uint32_t body = out_min(link->ep->packet, link->peer_packet) - MQTT_HEAD;
    uint32_t count = link->tx_seq - link->tx_acked, limit = out_limit(link);

    if (!count)
        return body;
    if (count >= link->credit || link->flight >= limit)
        return 0;
    if (limit - link->flight >= body)
        return body;
    return limit - link->flight >= body / 4 ? (uint32_t)(limit - link->flight) : 0;
}

void mqtt_out_acked(struct nqtp_link *link, const struct mqtt_head *head)
{
    if (head->credit)
        link->credit = out_min(head->credit, MQTT_CREDIT);
    if ((int32_t)(head->ack - link->tx_acked) <= 0 || (int32_t)(link->tx_seq - head->ack) < 0)
        return;
    while (link->tx_acked != head->ack)
        link->flight -= link->sizes[++link->tx_acked % MQTT_CREDIT];
    if (link->waits)
        mqtt_link_poke(link);
    link->waits = false;
}

/* Count a publish of `size` bytes.  Is an acknowledgement due?  Before the room ends, so that
 * sending need not stop. */
static bool out_count(struct nqtp_link *link, uint32_t size)
{
    uint32_t limit = out_limit(link);
    bool mark;

    if (link->tx_seq == link->tx_acked)
        link->mark_count = 0;
    if (link->tx_seq == link->tx_acked)
        link->mark_bytes = 0;
    link->sizes[++link->tx_seq % MQTT_CREDIT] = size;
    link->flight += size;
    link->mark_count++;
    link->mark_bytes += size;
    mark = 4 * link->mark_count >= link->credit || 4 * link->mark_bytes >= limit || !out_room(link);
    if (mark)
        link->mark_count = 0;
    if (mark)
        link->mark_bytes = 0;
    return mark;
}

/* ---- bodies ----------------------------------------------------------------------------- */

/* Copy the next `len` bytes of the buffer that was begun. */
static void out_copy(struct nqtp_link *link, uint8_t *at, size_t len)
{
    while (len) {
        const struct iovec *seg = &link->pending->seg[link->pending_seg];
        size_t part = seg->iov_len - link->pending_off;

        if (part > len)
            part = len;
        if (part)
            memcpy(at, (const uint8_t *)seg->iov_base + link->pending_off, part);
        at += part;
        len -= part;
        link->pending_left -= part;
        link->pending_off += part;
        if (link->pending_off == seg->iov_len) {
            link->pending_seg++;
            link->pending_off = 0;
        }
    }
}

void mqtt_out_drop(struct nqtp_link *link)
{
    if (link->pending)
        link->pending->ops->unref(link->pending);
    link->pending = NULL;
}

/* Fill a body with pieces of what was begun and of `bufs`, which are taken.  @return its length */
static size_t out_fill(struct nqtp_link *link, uint8_t *body, size_t room,
                       struct nqt_buf *const *bufs, uint32_t n, uint32_t *taken)
{
    size_t at = 0;

    while (link->pending || *taken < n) {
        uint64_t left = link->pending ? link->pending_left : bufs[*taken]->len;
        uint32_t len;

        if (room - at < MQTT_PIECE + (left != 0))
            break;
        if (!link->pending) {
            link->pending = bufs[(*taken)++];
            link->pending_seg = 0;
            link->pending_off = 0;
            link->pending_left = left;
        }
        len = out_min(link->pending_left, room - at - MQTT_PIECE);
        mqtt_store_u32(body + at, len | (len == link->pending_left ? MQTT_LAST : 0));
        out_copy(link, body + at + MQTT_PIECE, len);
        at += MQTT_PIECE + len;
        if (!link->pending_left)
            mqtt_out_drop(link);
    }
    return at;
}

/* Bytes that a body for all of it, but the first `from` buffers, takes, up to `most`. */
static size_t out_wanted(const struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t from,
                         uint32_t n, size_t most)
{
    uint64_t want = link->pending ? MQTT_PIECE + link->pending_left : 0;

    for (uint32_t i = from; i < n && want < most; i++)
        want += MQTT_PIECE + bufs[i]->len;
    return want < most ? (size_t)want : most;
}

/* ---- publishing ------------------------------------------------------------------------- */

/* The same for the plain wire: bytes and nothing else. */
static size_t out_fill_plain(struct nqtp_link *link, uint8_t *record, size_t len,
                             struct nqt_buf *const *bufs, uint32_t *taken)
{
    size_t at = 0;

    while (at < len) {
        uint32_t part;

        if (!link->pending) {
            link->pending = bufs[*taken];
            link->pending_left = bufs[(*taken)++]->len;
            link->pending_seg = 0;
            link->pending_off = 0;
        }
        part = out_min(link->pending_left, len - at);
        out_copy(link, record + at, part);
        at += part;
        if (!link->pending_left)
            mqtt_out_drop(link);
    }
    return at;
}

/* As out_publish(). */
static int out_publish_plain(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n,
                             uint32_t *taken)
{
    struct nqtp_ep *ep = link->ep;
    uint64_t want = link->pending ? link->pending_left : 0;
    uint32_t most;
    uint8_t *record;
    int rc;

    pthread_mutex_lock(&ep->mtx);
    most = out_min(ep->packet, MQTT_PLAIN_PIECE);
    link->waits = ep->plain_flight >= MQTT_PLAIN_FLIGHT;
    if (link->waits)
        most = 0;
    pthread_mutex_unlock(&ep->mtx);
    if (!most)
        return 0;
    for (uint32_t i = *taken; i < n && want < most; i++)
        want += bufs[i]->len;
    record = ep->mod->host->mem(ep->mod->core, NULL, out_min(want, most));
    if (!record) {
        mqtt_link_down(link, NQT_E_NOMEM, false, "no memory to send");
        return NQT_E_NOMEM;
    }
    want = out_fill_plain(link, record, out_min(want, most), bufs, taken);
    rc = mqtt_plain_publish(ep, ep->listen ? link->server_tag : link->client_tag, link->topic,
                            record, (size_t)want);
    nqt_free(ep->mod->host, ep->mod->core, record);
    if (!rc)
        return 1;
    mqtt_link_down(link, NQT_E_LOST, false, "the connection to the broker is lost");
    return rc;
}

/* One publish.  @return 1, 0: no room now, NQT_E_*: the link is down */
static int out_publish(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n,
                       uint32_t *taken)
{
    struct nqtp_ep *ep = link->ep;
    struct mqtt_head head;
    uint8_t *record;
    size_t len;
    uint32_t room;
    bool mark;
    int rc;

    if (link->plain)
        return out_publish_plain(link, bufs, n, taken);
    pthread_mutex_lock(&ep->mtx);
    room = out_room(link);
    link->waits = !room;
    pthread_mutex_unlock(&ep->mtx);
    if (!room)
        return 0;
    len = out_wanted(link, bufs, *taken, n, room < 2 * MQTT_PIECE ? 2 * MQTT_PIECE : room);
    record = ep->mod->host->mem(ep->mod->core, NULL, MQTT_HEAD + len);
    if (!record) {
        mqtt_link_down(link, NQT_E_NOMEM, true, "no memory to send");
        return NQT_E_NOMEM;
    }
    len = MQTT_HEAD + out_fill(link, record + MQTT_HEAD, len, bufs, n, taken);
    pthread_mutex_lock(&ep->mtx);
    mark = out_count(link, (uint32_t)len);
    head = mqtt_out_head(link, MQTT_DATA);
    head.ack_now = mark;
    pthread_mutex_unlock(&ep->mtx);
    mqtt_head_write(record, &head);
    rc = mqtt_publish(ep, ep->listen ? link->server_tag : link->client_tag, link->topic, record,
                      len, false);
    nqt_free(ep->mod->host, ep->mod->core, record);
    if (rc) {
        mqtt_link_down(link, NQT_E_LOST, false, "the connection to the broker is lost");
        return rc;
    }
    mqtt_link_watch(link);
    return 1;
}

int mqtt_send(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n, uint32_t flags,
              uint32_t *taken)
{
    uint32_t done = 0;

    (void)flags;
    *taken = 0;
    if (link->state != MQTT_UP)
        return link->state == MQTT_DOWN ? NQT_E_LOST : NQT_E_CLOSED;
    for (uint32_t i = 0; i < n; i++)
        if (bufs[i]->len > MQTT_MESSAGE_MAX) {
            mqtt_link_down(link, NQT_E_INVAL, true, "a buffer above max_message");
            return NQT_E_INVAL;
        }
    while ((done < n || link->pending) && out_publish(link, bufs, n, &done) > 0)
        continue;
    *taken = done;
    link->short_send |= done < n;
    return NQT_OK;
}

void mqtt_out_pump(struct nqtp_link *link)
{
    uint32_t none = 0;
    bool room;

    while (link->pending && out_publish(link, NULL, 0, &none) > 0)
        continue;
    if (link->pending)
        return;
    if (link->state == MQTT_DRAINING && link->plain) { /* nothing will tell that it arrived */
        mqtt_link_down(link, NQT_E_EOF, false, "ended by this side");
        return;
    }
    if (link->state == MQTT_DRAINING && !link->end_sent)
        mqtt_out_control(link, MQTT_END, NQT_E_EOF, "ended");
    if (link->state != MQTT_UP || !link->short_send)
        return;
    pthread_mutex_lock(&link->ep->mtx);
    room = link->plain ? link->ep->plain_flight < MQTT_PLAIN_FLIGHT : out_room(link);
    link->waits = !room;
    pthread_mutex_unlock(&link->ep->mtx);
    if (!room)
        return;
    link->short_send = false;
    (void)NQT_EMIT_LINK(link, NQT_EV_WRITABLE);
}

void mqtt_out_control(struct nqtp_link *link, enum mqtt_type type, int code, const char *text)
{
    struct nqtp_ep *ep = link->ep;
    uint8_t record[MQTT_CONTROL];
    struct mqtt_head head;
    size_t len = MQTT_HEAD;

    if (link->plain) /* it has no such records */
        return;
    pthread_mutex_lock(&ep->mtx);
    head = mqtt_out_head(link, type);
    pthread_mutex_unlock(&ep->mtx);
    mqtt_head_write(record, &head);
    if (type == MQTT_END) {
        link->end_sent = true;
        len += mqtt_reason_write(record + MQTT_HEAD, code, text);
    }
    if (type == MQTT_OPEN) {
        mqtt_store_u32(record + MQTT_HEAD, ep->opts.window);
        mqtt_store_u32(record + MQTT_HEAD + 4, ep->opts.packet);
        len += 8;
    }
    (void)mqtt_publish(ep, ep->listen ? head.server : head.client, link->topic, record, len, false);
}
