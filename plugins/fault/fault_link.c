/* Life of a link, and the slots that the core calls.
 *
 * Sending does its harm here: the core's buffers go to the inner send() one to one, fewer than
 * were given, and at the end of a plan a copy of the first bytes of one. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault.h"
#include <stdio.h>
#include <string.h>

#define SEND_BATCH 64u

/* ---- making and ending ------------------------------------------------------------------ */

struct nqtp_link *fault_link_begin(struct nqtp_ep *ep, struct nqtp_link *link)
{
    if (!link)
        return NULL;
    fault_ep_ref(ep);
    link->ep = ep;
    link->serial = ep->serial;
    return link;
}

struct nqtp_link *fault_link_new(struct nqtp_ep *ep)
{
    return fault_link_begin(ep, nqt_alloc(ep->mod->host, ep->mod->core, sizeof(struct nqtp_link)));
}

void fault_link_free(struct nqtp_link *link)
{
    struct nqtp_ep *ep = link->ep;

    fault_queue_free(link);
    nqt_timer_stop(ep->mod->host, &link->timer);
    nqt_free(ep->mod->host, ep->mod->core, link);
    fault_ep_unref(ep);
}

void fault_link_emit_message(struct nqtp_link *link, struct nqt_buf *buf)
{
    if (NQT_EMIT_LINK(link, NQT_EV_RX, .nbuf = 1, .buf = &buf) < 0)
        buf->ops->unref(buf); /* one more that is lost */
}

bool fault_kick(struct nqtp_link *link)
{
    const struct nqt_host *host = link->ep->mod->host;

    if (link->posted || link->hurry)
        return true;
    link->posted = !host->post(link->serial, fault_run, link);
    if (link->posted || !link->timer)
        return link->posted;
    link->hurry = true;
    host->timer_set(link->timer, fault_now(link));
    return true;
}

/* The last event, once nothing can come back to the link. */
static void link_finish(struct nqtp_link *link)
{
    struct nqtp_ep *ep = link->ep;
    const struct nqtp_mod *mod = ep->mod;
    struct nqt_event event = NQT_LINK_EVENT(link, NQT_EV_LINK_CLOSED);

    fault_ep_ref(ep);
    event.peer_name = NULL;
    fault_link_free(link);
    if (event.link)
        mod->host->emit(mod->core, &event, 1);
    fault_ep_unref(ep);
}

void fault_enter(struct nqtp_link *link)
{
    link->inside++;
}

void fault_leave(struct nqtp_link *link)
{
    if (--link->inside || link->state != FAULT_CLOSED || !link->inner_closed || link->posted)
        return;
    link_finish(link);
}

void fault_inner_close(struct nqtp_link *link)
{
    if (link->inner_closing || !link->inner)
        return;
    link->inner_closing = true;
    link->ep->ops->close(link->inner);
}

void fault_close(struct nqtp_link *link)
{
    if (link->state == FAULT_CLOSED)
        return;
    if (link->state == FAULT_ACCEPTED) { /* no cookie: it ends in silence */
        link->ep->ops->close(link->inner);
        fault_link_free(link);
        return;
    }
    fault_enter(link);
    link->state = FAULT_CLOSED;
    fault_queue_free(link);
    if (!link->sinking || link->inner_down)
        fault_inner_close(link);
    if (link->inner_closed)
        (void)fault_kick(link); /* LINK_CLOSED not before this slot is over */
    fault_leave(link);
}

/* ---- up --------------------------------------------------------------------------------- */

/* With any fault on, a link has a timer. */
static int link_timer(struct nqtp_link *link)
{
    int rc = NQT_OK;

    if (link->ep->active)
        rc = link->ep->mod->host->timer_add(link->serial, fault_tick, link, &link->timer);
    if (rc)
        link->timer = NULL;
    return rc;
}

/* As if nobody listened. */
static void link_refuse(struct nqtp_link *link)
{
    struct nqt_error err = {.size = sizeof(err)};

    nqt_log(link->ep->mod->host, link->ep->mod->core, NQT_LOG_DEBUG, "link %llu: refused",
            (unsigned long long)link->number);
    nqt_fail(&err, NQT_E_REFUSED, "fault: link %llu is refused", (unsigned long long)link->number);
    link->state = FAULT_DOWN;
    link->inner_down = link->inner_closed = true;
    (void)NQT_EMIT_LINK(link, NQT_EV_LINK_DOWN, .err = &err);
}

static int link_connect(struct nqtp_link *link, struct nqt_error *err)
{
    struct nqtp_ep *ep = link->ep;
    struct nqtp_link *inner = NULL;
    int rc = link_timer(link);

    if (rc)
        return nqt_fail(err, rc, "connect: no timer");
    rc = ep->ops->connect(ep->inner, (nqt_link *)link, link->serial, &inner, err);
    link->inner = inner;
    return rc;
}

int fault_connect(struct nqtp_ep *ep, nqt_link *cookie, nqt_serial *serial, struct nqtp_link **out,
                  struct nqt_error *err)
{
    struct nqtp_link *link = fault_link_new(ep);
    int rc = NQT_OK;

    if (!link)
        return nqt_fail(err, NQT_E_NOMEM, "connect: no memory");
    link->cookie = cookie;
    link->serial = serial;
    link->state = FAULT_OPENING;
    if (fault_plan_draw(link))
        link_refuse(link);
    else
        rc = link_connect(link, err);
    if (!rc) {
        *out = link;
        return NQT_OK;
    }
    fault_link_free(link);
    return rc;
}

int fault_attach(struct nqtp_link *link, nqt_link *cookie, nqt_serial *serial)
{
    int rc;

    if (link->state != FAULT_ACCEPTED)
        return NQT_E_INVAL;
    link->cookie = cookie;
    link->serial = serial;
    link->state = FAULT_OPENING;
    rc = link_timer(link);
    if (!rc)
        rc = link->ep->ops->attach(link->inner, (nqt_link *)link, serial);
    if (!rc)
        return NQT_OK;
    /* The core closes it in the endpoint's serial. */
    nqt_timer_stop(link->ep->mod->host, &link->timer);
    link->cookie = NULL;
    link->serial = link->ep->serial;
    link->state = FAULT_ACCEPTED;
    return rc;
}

int fault_info(struct nqtp_link *link, struct nqt_info *out)
{
    struct nqt_info info = {.size = sizeof(info)};
    uint32_t size = out->size;

    if (size < sizeof(info))
        return NQT_E_INVAL;
    /* The inner link's texts may end before ours. */
    if (link->inner && !link->inner_closing && !link->ep->ops->info(link->inner, &info)) {
        snprintf(link->local, sizeof(link->local), "%s", info.local ? info.local : "");
        snprintf(link->peer, sizeof(link->peer), "%s", info.peer ? info.peer : "");
    }
    info.size = size;
    info.caps &= FAULT_CAPS & ~(NQT_CAP_STREAM | NQT_CAP_MESSAGE);
    info.caps |= link->ep->lossy ? NQT_CAP_MESSAGE | NQT_CAP_LOSSY : NQT_CAP_STREAM;
    info.local = link->local;
    info.peer = link->peer;
    info.peer_identity = NULL; /* who does harm proves nothing */
    *out = info;
    return NQT_OK;
}

/* ---- sending ---------------------------------------------------------------------------- */

struct send_share {
    uint32_t n;     /* buffers to send whole */
    uint64_t bytes; /* of them */
    bool crossing;  /* the plan strikes within the next one */
    bool slow;      /* the next one must wait for `rate` */
};

/* How much of what the core gives goes on now. */
static struct send_share send_plan(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n)
{
    const struct fault_opts *opts = &link->ep->opts;
    uint64_t left = fault_plan_left(link, true);
    struct send_share share = {0};

    if (opts->short_write) {
        uint64_t most = 1 + fault_below(&link->tx.rng, opts->short_write);

        n = most < n ? (uint32_t)most : n;
    }
    while (share.n < n && !share.crossing && !share.slow) {
        if (share.bytes + bufs[share.n]->len > left)
            share.crossing = true;
        else if (opts->rate && share.n && share.bytes >= opts->rate / FAULT_SLICES)
            share.slow = true;
        else
            share.bytes += bufs[share.n++]->len;
    }
    return share;
}

/* Send a copy of the first `n` bytes of `buf`; it may fail, since the link is as good as gone. */
static void send_prefix(struct nqtp_link *link, const struct nqt_buf *buf, uint64_t n)
{
    const struct nqtp_mod *mod = link->ep->mod;
    struct nqt_buf *copy = n ? mod->host->buf_new(mod->core, (size_t)n) : NULL;
    uint32_t taken = 0;
    size_t done = 0;

    if (!copy)
        return;
    for (uint32_t i = 0; i < buf->nseg && done < n; i++) {
        size_t part = buf->seg[i].iov_len < n - done ? buf->seg[i].iov_len : (size_t)n - done;

        memcpy((char *)copy->seg[0].iov_base + done, buf->seg[i].iov_base, part);
        done += part;
    }
    if (link->ep->ops->send(link->inner, &copy, 1, 0, &taken) || !taken)
        copy->ops->unref(copy);
    else
        link->tx.bytes += n;
}

/* The plan strikes within `buf`.  Of a stream its beginning leaves; a message arrives whole, or not
 * at all.  True: the buffer is ours now. */
static bool send_cross(struct nqtp_link *link, struct nqt_buf *buf)
{
    bool cuts = link->plan.kind == FAULT_CUT || link->plan.kind == FAULT_TRUNCATE;

    if (cuts && !link->ep->lossy)
        send_prefix(link, buf, fault_plan_left(link, true));
    fault_plan_strike(link);
    if (cuts)
        buf->ops->unref(buf);
    return cuts;
}

/* Send `n` buffers whole.  Their sizes are added up before, since they may be gone after. */
static int send_whole(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n,
                      uint32_t flags, uint32_t *taken)
{
    uint64_t lens[SEND_BATCH];
    uint32_t part, got;
    int rc;

    while (*taken < n) {
        part = n - *taken < SEND_BATCH ? n - *taken : SEND_BATCH;
        for (uint32_t i = 0; i < part; i++)
            lens[i] = bufs[*taken + i]->len;
        got = 0;
        rc = link->ep->ops->send(link->inner, bufs + *taken, part,
                                 *taken + part < n ? NQT_SEND_MORE : flags, &got);
        if (rc)
            return *taken ? NQT_OK : rc; /* what was taken is not the core's any more */
        for (uint32_t i = 0; i < got && i < part; i++)
            (void)fault_plan_count(link, true, lens[i]);
        *taken += got;
        if (got < part) {
            link->tx_full = true;
            return NQT_OK;
        }
    }
    return NQT_OK;
}

/* With a fault on. */
static int send_harmed(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n,
                       uint32_t flags, uint32_t *taken)
{
    struct send_share share;
    int rc;

    if (!fault_tx_open(link)) {
        link->tx_owed = n;
        fault_arm(link);
        return NQT_OK;
    }
    share = send_plan(link, bufs, n);
    rc = send_whole(link, bufs, share.n, share.n < n ? 0 : flags, taken);
    if (rc)
        return rc;
    if (share.crossing && *taken == share.n && send_cross(link, bufs[*taken]))
        ++*taken;
    link->tx_owed = *taken < n;
    if (link->tx_owed && !link->tx_full)
        (void)fault_kick(link); /* there is a timer */
    return NQT_OK;
}

int fault_send(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n, uint32_t flags,
               uint32_t *taken)
{
    int rc;

    *taken = 0;
    if (link->state != FAULT_UP)
        return link->state == FAULT_DOWN ? NQT_E_LOST : NQT_E_CLOSED;
    if (link->ep->active)
        return send_harmed(link, bufs, n, flags, taken);
    rc = link->ep->ops->send(link->inner, bufs, n, flags, taken);
    link->tx_owed = link->tx_full = !rc && *taken < n;
    return rc;
}

/* ---- the other slots -------------------------------------------------------------------- */

int fault_rx_hold(struct nqtp_link *link, int hold)
{
    const struct nqt_ops *ops = link->ep->ops;

    link->held = hold != 0;
    if (!fault_open(link))
        return NQT_OK;
    if (!link->held && link->ep->message) {
        link->rx_blocked = false;
        (void)fault_kick(link); /* else what waits goes up with what comes next */
    }
    if (!FAULT_CAN(ops, rx_hold))
        return link->ep->message ? NQT_OK : NQT_E_UNSUPPORTED;
    if (link->inner_closing)
        return NQT_OK;
    return ops->rx_hold(link->inner, hold);
}

int fault_limit_rx(struct nqtp_link *link, size_t len)
{
    const struct nqt_ops *ops = link->ep->ops;

    return fault_open(link) && !link->inner_closing && FAULT_CAN(ops, rx_limit)
               ? ops->rx_limit(link->inner, len)
               : NQT_OK;
}

int fault_shutdown(struct nqtp_link *link)
{
    const struct nqt_ops *ops = link->ep->ops;
    int rc;

    if (link->state == FAULT_ACCEPTED || link->state == FAULT_CLOSED)
        return NQT_E_INVAL;
    if (link->state == FAULT_DOWN || link->due || link->end_due)
        return NQT_OK;
    if (!FAULT_CAN(ops, shutdown))
        return NQT_E_UNSUPPORTED;
    if (link->state == FAULT_UP)
        link->state = FAULT_DRAINING;
    fault_enter(link);
    rc = ops->shutdown(link->inner);
    fault_leave(link);
    return rc;
}

/* Asked for by the core, between its sleeps. */
int fault_rx_poll(struct nqtp_link *link)
{
    const struct nqt_ops *ops = link->ep->ops;
    int rc;

    if (!fault_open(link) || link->due || link->inner_down || !FAULT_CAN(ops, rx_poll))
        return 0;
    fault_enter(link);
    rc = ops->rx_poll(link->inner);
    fault_leave(link);
    return rc;
}

int fault_rx_arm(struct nqtp_link *link, int on)
{
    const struct nqt_ops *ops = link->ep->ops;

    if (!fault_open(link) || link->inner_down || !FAULT_CAN(ops, rx_arm))
        return 0;
    return ops->rx_arm(link->inner, on);
}
