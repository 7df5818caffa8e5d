/* The host that an inner transport sees.
 *
 * Serials, watches, timers, posts, names and options are the core's own functions.  What takes one
 * of our cookies is here: it finds ours, does harm, and goes on to the core's.  The inner transport
 * is on the stack in all of it, so none of its slots may be called from here. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault.h"
#include <stdio.h>
#include <string.h>

static struct fault_use *host_use(nqt_core *core)
{
    return (struct fault_use *)core;
}

static void host_log(nqt_core *core, uint32_t level, const char *text)
{
    const struct nqtp_mod *mod = host_use(core)->mod;

    mod->host->log(mod->core, level, text);
}

static void *host_mem(nqt_core *core, void *old, size_t len)
{
    const struct nqtp_mod *mod = host_use(core)->mod;

    return mod->host->mem(mod->core, old, len);
}

static struct nqt_buf *host_buf_new(nqt_core *core, size_t len)
{
    const struct nqtp_mod *mod = host_use(core)->mod;

    return mod->host->buf_new(mod->core, len);
}

static int64_t host_now(nqt_core *core)
{
    const struct nqtp_mod *mod = host_use(core)->mod;

    return mod->host->now_ns(mod->core);
}

static void host_count(nqt_core *core, uint32_t id, int64_t delta)
{
    const struct nqtp_mod *mod = host_use(core)->mod;

    mod->host->count(mod->core, id, delta);
}

static const void *host_ext(nqt_core *core, const char *id)
{
    const struct nqtp_mod *mod = host_use(core)->mod;

    return mod->host->ext(mod->core, id);
}

/* ---- events of links, in serial --------------------------------------------------------- */

static int host_pass(const struct nqtp_mod *mod, const struct nqt_event *event, nqt_ep *ep,
                     nqt_link *link, struct nqtp_link *plink)
{
    struct nqt_event own = {.size = 0};

    memcpy(&own, event, event->size < sizeof(own) ? event->size : sizeof(own));
    own.size = sizeof(own);
    own.ep = ep;
    own.link = link;
    own.plink = plink;
    return mod->host->emit(mod->core, &own, 1);
}

static int link_pass(struct nqtp_link *link, const struct nqt_event *event)
{
    return host_pass(link->ep->mod, event, link->ep->cookie, link->cookie, link);
}

static void link_up(struct nqtp_link *link, const struct nqt_event *event)
{
    if (link->state != FAULT_OPENING)
        return;
    link->state = FAULT_UP;
    link->epoch = event->epoch;
    if (event->peer_name)
        snprintf(link->peer, sizeof(link->peer), "%s", event->peer_name);
    (void)link_pass(link, event);
}

static void link_writable(struct nqtp_link *link)
{
    link->tx_full = false;
    if (link->state != FAULT_UP || !link->tx_owed || link->due)
        return;
    if (!fault_tx_open(link)) {
        fault_arm(link);
        return;
    }
    link->tx_owed = false;
    (void)NQT_EMIT_LINK(link, NQT_EV_WRITABLE);
}

static int link_rx(struct nqtp_link *link, const struct nqt_event *event)
{
    if (!fault_open(link)) {
        for (uint32_t i = 0; i < event->nbuf; i++)
            event->buf[i]->ops->unref(event->buf[i]);
        return NQT_OK;
    }
    /* Without memory the inner transport keeps them, and ends the link. */
    if (!fault_kick(link))
        return NQT_E_NOMEM;
    return fault_queue_add(link, event->buf, event->nbuf);
}

static void link_down(struct nqtp_link *link, const struct nqt_event *event)
{
    link->inner_down = true;
    if (link->state == FAULT_DOWN || link->state == FAULT_CLOSED) {
        if (!link->inner_closing)
            (void)fault_kick(link); /* to close it, after a cut; there is a timer then */
        return;
    }
    if (link->queue.count || link->queue.late) {
        fault_queue_late(link);
        link->end_due = true;
        link->end.size = sizeof(link->end);
        nqt_fail(&link->end, event->err ? event->err->code : NQT_E_LOST, "%s",
                 event->err ? event->err->text : "the link went down");
        (void)fault_kick(link); /* else held, or on its way: what hands the queue up goes on */
        return;
    }
    link->state = FAULT_DOWN;
    (void)link_pass(link, event);
}

/* The inner link is no more.  Its close() was called: by us, or by the core through us. */
static void link_closed(struct nqtp_link *link)
{
    link->inner_closed = true;
}

static int link_event(struct nqtp_link *link, const struct nqt_event *event)
{
    int rc = NQT_OK;

    fault_enter(link);
    switch (event->kind) {
    case NQT_EV_LINK_UP:
        link_up(link, event);
        break;
    case NQT_EV_WRITABLE:
        link_writable(link);
        break;
    case NQT_EV_RX:
        rc = link_rx(link, event);
        break;
    case NQT_EV_LINK_DOWN:
        link_down(link, event);
        break;
    case NQT_EV_LINK_CLOSED:
        link_closed(link);
        break;
    default:
        rc = link_pass(link, event); /* the core says what it thinks of it */
    }
    fault_leave(link); /* may free the link */
    return rc;
}

/* ---- events from other threads ---------------------------------------------------------- */

struct host_letter {
    struct nqtp_link *link; /* LINK_CLOSED is its last letter */
    struct nqt_event event;
    struct nqt_error err;
    char name[FAULT_NAME_MAX];
    struct nqt_buf *bufs[];
};

static void letter_open(void *arg)
{
    struct host_letter *letter = arg;
    struct nqtp_ep *ep = letter->link->ep;
    const struct nqt_event *event = &letter->event;

    fault_ep_ref(ep); /* the event may be the link's last */
    if (link_event(letter->link, event) && event->kind == NQT_EV_RX)
        for (uint32_t i = 0; i < event->nbuf; i++)
            event->buf[i]->ops->unref(event->buf[i]);
    nqt_free(ep->mod->host, ep->mod->core, letter);
    fault_ep_unref(ep);
}

static int letter_send(struct nqtp_link *link, const struct nqt_event *event)
{
    const struct nqtp_mod *mod = link->ep->mod;
    uint32_t nbuf = event->kind == NQT_EV_RX ? event->nbuf : 0;
    struct host_letter *letter =
        nqt_alloc(mod->host, mod->core, sizeof(*letter) + nbuf * sizeof(struct nqt_buf *));

    if (!letter)
        return NQT_E_NOMEM;
    letter->link = link;
    memcpy(&letter->event, event,
           event->size < sizeof(*event) ? event->size : sizeof(letter->event));
    letter->event.size = sizeof(letter->event);
    if (nbuf)
        memcpy(letter->bufs, event->buf, nbuf * sizeof(struct nqt_buf *));
    letter->event.buf = letter->bufs;
    if (event->err) {
        memcpy(&letter->err, event->err,
               event->err->size < sizeof(letter->err) ? event->err->size : sizeof(letter->err));
        letter->err.size = sizeof(letter->err);
        letter->event.err = &letter->err;
    }
    if (event->peer_name) {
        snprintf(letter->name, sizeof(letter->name), "%s", event->peer_name);
        letter->event.peer_name = letter->name;
    }
    if (!mod->host->post(link->serial, letter_open, letter))
        return NQT_OK;
    nqt_free(mod->host, mod->core, letter);
    return NQT_E_NOMEM;
}

/* ---- events of endpoints, any thread ---------------------------------------------------- */

static void accept_refuse(void *arg)
{
    struct nqtp_link *link = arg;

    link->ep->ops->close(link->inner);
    fault_link_free(link);
}

/* A link for what was accepted, from the spare when there is no memory. */
static struct nqtp_link *accept_link(struct nqtp_ep *ep)
{
    struct nqtp_link *link = fault_link_new(ep);

    return link ? link : fault_link_begin(ep, atomic_exchange(&ep->spare, NULL));
}

static int host_accept(struct nqtp_ep *ep, const struct nqt_event *event)
{
    struct nqtp_link *link = accept_link(ep);
    int rc;

    if (!link)
        return NQT_E_NOMEM;
    link->inner = event->plink;
    if (event->peer_name)
        snprintf(link->peer, sizeof(link->peer), "%s", event->peer_name);
    if (fault_plan_draw(link) && !ep->mod->host->post(ep->serial, accept_refuse, link))
        return NQT_OK;
    rc = host_pass(ep->mod, event, ep->cookie, NULL, link);
    if (rc)
        fault_link_free(link);
    return rc;
}

static int host_ep_event(struct nqtp_ep *ep, const struct nqt_event *event)
{
    switch (event->kind) {
    case NQT_EV_ACCEPT:
        return host_accept(ep, event);
    case NQT_EV_EP_CLOSED:
        fault_ep_unref(ep);
        return NQT_OK;
    default:
        return host_pass(ep->mod, event, ep->cookie, NULL, NULL);
    }
}

static int host_emit_one(const struct nqt_event *event)
{
    struct nqtp_link *link = (struct nqtp_link *)event->link;

    if (!link)
        return host_ep_event((struct nqtp_ep *)event->ep, event);
    if (link->ep->mod->host->in_serial(link->serial))
        return link_event(link, event);
    return letter_send(link, event);
}

static int host_emit(nqt_core *core, const struct nqt_event *events, uint32_t n)
{
    const char *at = (const char *)events;
    uint32_t size = n ? events->size : 0;
    int rc = NQT_OK;

    (void)core;
    for (uint32_t i = 0; i < n && !rc; i++, at += size)
        rc = host_emit_one((const struct nqt_event *)(const void *)at);
    return rc;
}

/* ---- reading: STREAM -------------------------------------------------------------------- */

static int host_rx_space(nqt_link *opaque, size_t want, struct iovec *iov, uint32_t *niov)
{
    struct nqtp_link *link = (struct nqtp_link *)opaque;
    const struct nqt_host *host = link->ep->mod->host;
    uint64_t limit;
    int rc;

    if (link->sinking) {
        iov[0] = (struct iovec){.iov_base = link->sink, .iov_len = sizeof(link->sink)};
        *niov = 1;
        return NQT_OK;
    }
    if (!fault_open(link))
        return NQT_E_CLOSED;
    limit = fault_rx_limit(link);
    if (!limit) {
        link->rx_refused = true;
        fault_arm(link);
        return NQT_E_CLOSED;
    }
    if (limit < SIZE_MAX && (!want || limit < want))
        want = (size_t)limit;
    rc = host->rx_space(link->cookie, want, iov, niov);
    if (rc)
        return rc;
    link->ngiven = *niov < 8 ? *niov : 8;
    memcpy(link->given, iov, link->ngiven * sizeof(*iov));
    return NQT_OK;
}

/* The core may close the link inside its rx_commit(). */
static int host_rx_commit(nqt_link *opaque, size_t n)
{
    struct nqtp_link *link = (struct nqtp_link *)opaque;
    const struct nqt_host *host = link->ep->mod->host;
    int rc;

    if (link->sinking)
        return NQT_OK;
    fault_enter(link);
    if (n)
        fault_corrupt(link, n);
    rc = host->rx_commit(link->cookie, n);
    if (n && fault_open(link) && fault_plan_count(link, false, n))
        rc = NQT_E_CLOSED;
    fault_leave(link);
    return rc;
}

/* ---- health ----------------------------------------------------------------------------- */

static void host_health(nqt_ep *opaque, const struct nqt_health *health)
{
    struct nqtp_ep *ep = (struct nqtp_ep *)opaque;

    ep->mod->host->health(ep->cookie, health);
}

/* ---- the table -------------------------------------------------------------------------- */

struct nqt_host fault_host_table(const struct nqt_host *host)
{
    struct nqt_host table = {.size = 0};

    memcpy(&table, host, host->size < sizeof(table) ? host->size : sizeof(table));
    if (table.size > sizeof(table))
        table.size = sizeof(table);
    table.log = host_log;
    table.mem = host_mem;
    table.buf_new = host_buf_new;
    table.now_ns = host_now;
    table.emit = host_emit;
    table.count = host_count;
    table.ext = host_ext;
    table.rx_space = host_rx_space;
    table.rx_commit = host_rx_commit;
    if (table.health)
        table.health = host_health;
    table.rx_give = NULL; /* what has faults passes through rx_space() */
    table.rx_bytes = NULL;
    return table;
}
