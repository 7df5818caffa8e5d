/* Links of one process: two ends, each with a bounded ring of buffers that wait for it.
 *
 * send() puts buffers into the other end's ring and posts to its serial, where loop_work() hands
 * them up; a buffer is never copied.  One post at a time is on its way to an end, whatever there
 * is to tell: buffers, room, the end.
 *
 * The pair outlives the queue of either end, so it is libc's memory and no host's. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "loop.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOP_BATCH 64u /* buffers in one RX event */

static void loop_work(void *arg);

static _Atomic uint64_t loop_epochs; /* the last one given out, in the process */

/* ---- the pair --------------------------------------------------------------------------- */

static struct loop_pair *pair_new(uint32_t slots0, uint32_t slots1)
{
    struct loop_pair *pair = calloc(1, sizeof(*pair));
    struct nqt_buf **ring = calloc((size_t)slots0 + slots1, sizeof(struct nqt_buf *));

    if (!pair || !ring) {
        free(pair);
        free(ring);
        return NULL;
    }
    atomic_init(&pair->refs, 2);
    pthread_mutex_init(&pair->mtx, NULL);
    pair->end[0].slots = slots0;
    pair->end[0].ring = ring;
    pair->end[1].slots = slots1;
    pair->end[1].ring = ring + slots0;
    return pair;
}

static void pair_unref(struct loop_pair *pair)
{
    if (atomic_fetch_sub_explicit(&pair->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&pair->mtx);
    free(pair->end[0].ring);
    free(pair);
}

/* Under the pair's mutex: have loop_work() run for that end.  While `link` is set its serial
 * lives, and the mutex keeps close() from changing that.  Without memory to post, the end learns
 * of it with whatever comes next. */
static void end_poke(struct loop_end *end)
{
    struct nqtp_link *link = end->link;

    if (link && end->attached && !end->posted)
        end->posted = !link->ep->mod->host->post(link->serial, loop_work, link);
}

/* Under the pair's mutex: take up to `max` buffers out. */
static uint32_t end_take(struct loop_end *end, struct nqt_buf **out, uint32_t max)
{
    uint32_t n = 0;

    for (; n < max && end->count; n++, end->count--) {
        out[n] = end->ring[end->first];
        end->first = (end->first + 1) % end->slots;
    }
    return n;
}

/* Our end is over: drop what waits for it and tell the other. */
static void link_leave_pair(struct nqtp_link *link)
{
    struct loop_pair *pair = link->pair;
    struct loop_end *own = &pair->end[link->side], *other = &pair->end[!link->side];
    struct nqt_buf *buf;

    pthread_mutex_lock(&pair->mtx);
    own->link = NULL;
    while (end_take(own, &buf, 1))
        buf->ops->unref(buf);
    other->ended = true;
    end_poke(other);
    pthread_mutex_unlock(&pair->mtx);
}

/* ---- events ----------------------------------------------------------------------------- */

static void link_down(struct nqtp_link *link, int code, const char *cause)
{
    struct nqt_error err = {.size = sizeof(err)};

    if (link->state == LOOP_DOWN || link->state == LOOP_CLOSED)
        return;
    nqt_fail(&err, code, "%s: %s", link->peer, cause);
    nqt_timer_stop(link->ep->mod->host, &link->timer);
    link_leave_pair(link);
    link->state = LOOP_DOWN;
    (void)NQT_EMIT_LINK(link, NQT_EV_LINK_DOWN, .err = &err);
}

static void link_up(struct nqtp_link *link)
{
    struct loop_end *own = &link->pair->end[link->side];

    pthread_mutex_lock(&link->pair->mtx);
    own->attached = true;
    pthread_mutex_unlock(&link->pair->mtx);
    link->epoch = atomic_fetch_add(&loop_epochs, 1) + 1;
    link->state = LOOP_UP;
    (void)NQT_EMIT_LINK(link, NQT_EV_LINK_UP);
}

/* ---- delivery --------------------------------------------------------------------------- */

static bool link_is_open(const struct nqtp_link *link)
{
    return link->state == LOOP_UP || link->state == LOOP_DRAINING;
}

/* Hand one batch up.  True: there is more. */
static bool link_deliver_some(struct nqtp_link *link)
{
    struct loop_end *own = &link->pair->end[link->side], *other = &link->pair->end[!link->side];
    struct nqt_buf *bufs[LOOP_BATCH];
    uint32_t n = 0;
    bool room, ended, more;

    pthread_mutex_lock(&link->pair->mtx);
    if (!link->held)
        n = end_take(own, bufs, LOOP_BATCH);
    if (n && own->sender_waits) {
        own->sender_waits = false;
        other->room = true;
        end_poke(other);
    }
    room = own->room;
    own->room = false;
    ended = own->ended && !own->count;
    more = own->count && !link->held;
    pthread_mutex_unlock(&link->pair->mtx);

    if (n && NQT_EMIT_LINK(link, NQT_EV_RX, .nbuf = n, .buf = bufs)) {
        for (uint32_t i = 0; i < n; i++)
            bufs[i]->ops->unref(bufs[i]);
        link_down(link, NQT_E_NOMEM, "no memory to hand up what came");
        return false;
    }
    if (room && link->state == LOOP_UP)
        (void)NQT_EMIT_LINK(link, NQT_EV_WRITABLE);
    if (ended)
        link_down(link, NQT_E_EOF, "closed by the other side");
    return more;
}

static void link_deliver(struct nqtp_link *link)
{
    while (link_is_open(link) && link_deliver_some(link))
        continue;
}

/* ---- the end of a link ------------------------------------------------------------------ */

static void link_free(struct nqtp_link *link)
{
    struct nqtp_ep *ep = link->ep;

    pair_unref(link->pair);
    nqt_free(ep->mod->host, ep->mod->core, link);
    loop_ep_unref(ep);
}

static void loop_work(void *arg)
{
    struct nqtp_link *link = arg;

    pthread_mutex_lock(&link->pair->mtx);
    link->pair->end[link->side].posted = false;
    pthread_mutex_unlock(&link->pair->mtx);
    link_deliver(link);
    if (link->finished)
        link_free(link);
}

/* LINK_CLOSED; the memory stays while a post is on its way, and none can follow. */
static void link_finish(void *arg)
{
    struct nqtp_link *link = arg;
    bool posted;

    pthread_mutex_lock(&link->pair->mtx);
    posted = link->pair->end[link->side].posted;
    pthread_mutex_unlock(&link->pair->mtx);
    link->finished = true;
    if (link->cookie) /* else it was never attached, and there is nobody to tell */
        (void)NQT_EMIT_LINK(link, NQT_EV_LINK_CLOSED);
    if (!posted)
        link_free(link);
}

void loop_close(struct nqtp_link *link)
{
    if (link->state == LOOP_CLOSED)
        return;
    nqt_timer_stop(link->ep->mod->host, &link->timer);
    if (link->state != LOOP_DOWN)
        link_leave_pair(link);
    link->state = LOOP_CLOSED;
    /* Without memory to post: no frame of ours is on the stack, so now is as good. */
    if (link->ep->mod->host->post(link->serial, link_finish, link))
        link_finish(link);
}

static void link_drain_over(void *arg)
{
    link_down(arg, NQT_E_EOF, "ended by this side; the other side stayed");
}

int loop_shutdown(struct nqtp_link *link)
{
    const struct nqtp_mod *mod = link->ep->mod;
    struct loop_end *other = &link->pair->end[!link->side];

    if (link->state == LOOP_CLOSED || link->state == LOOP_ACCEPTED)
        return NQT_E_INVAL;
    if (link->state != LOOP_UP)
        return NQT_OK;
    link->state = LOOP_DRAINING;
    pthread_mutex_lock(&link->pair->mtx);
    other->ended = true;
    end_poke(other);
    pthread_mutex_unlock(&link->pair->mtx);
    if (nqt_timer_start(mod->host, mod->core, link->serial, link_drain_over, link, LOOP_DRAIN_NS,
                        &link->timer))
        link_drain_over(link); /* no memory to wait for the other side */
    return NQT_OK;
}

/* ---- sending and holding ---------------------------------------------------------------- */

int loop_send(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n, uint32_t flags,
              uint32_t *taken)
{
    const struct nqtp_mod *mod = link->ep->mod;
    struct loop_end *other = &link->pair->end[!link->side];
    uint32_t done = 0;

    (void)flags;
    *taken = 0;
    if (link->state != LOOP_UP)
        return link->state == LOOP_DOWN ? NQT_E_LOST : NQT_E_CLOSED;
    pthread_mutex_lock(&link->pair->mtx);
    /* When the other end is over, LINK_DOWN is on its way to us. */
    while (other->link && done < n && other->count < other->slots) {
        other->ring[(other->first + other->count) % other->slots] = bufs[done++];
        other->count++;
    }
    if (done < n)
        other->sender_waits = true;
    if (done)
        end_poke(other);
    pthread_mutex_unlock(&link->pair->mtx);
    if (done)
        mod->host->count(mod->core, NQT_COUNT_SEND_CALLS, 1);
    *taken = done;
    return NQT_OK;
}

int loop_rx_hold(struct nqtp_link *link, int hold)
{
    link->held = hold != 0;
    link_deliver(link);
    return NQT_OK;
}

/* ---- up --------------------------------------------------------------------------------- */

/* A link without a pair; refers to the endpoint. */
static struct nqtp_link *link_new(struct nqtp_ep *ep, unsigned side)
{
    struct nqtp_link *link = nqt_alloc(ep->mod->host, ep->mod->core, sizeof(*link));

    if (!link)
        return NULL;
    loop_ep_ref(ep);
    link->ep = ep;
    link->serial = ep->serial;
    link->side = side;
    return link;
}

static void link_names(struct nqtp_link *link, unsigned long long number)
{
    char *client = link->side ? link->peer : link->local;
    char *server = link->side ? link->local : link->peer;

    snprintf(client, LOOP_TEXT_MAX, "loop:%s/client-%llu", link->ep->opts.name, number);
    snprintf(server, LOOP_TEXT_MAX, "loop:%s", link->ep->opts.name);
}

/* Make the server's end and announce it.  Under the registry's mutex, which keeps the server from
 * closing.  Thread: the client's. */
static int link_meet(struct nqtp_ep *server, void *arg)
{
    static _Atomic unsigned long long numbers;
    struct nqtp_link *client = arg;
    struct nqtp_link *link = link_new(server, 1);
    unsigned long long number = atomic_fetch_add(&numbers, 1) + 1;

    if (!link)
        return NQT_E_NOMEM;
    client->pair = pair_new(client->ep->opts.slots, server->opts.slots);
    if (!client->pair) {
        nqt_free(server->mod->host, server->mod->core, link);
        loop_ep_unref(server); /* not the last one */
        return NQT_E_NOMEM;
    }
    link->pair = client->pair;
    link->pair->end[0].link = client;
    link->pair->end[1].link = link;
    link_names(client, number);
    link_names(link, number);
    /* As `link` has no cookie yet, the event has none. */
    (void)NQT_EMIT_LINK(link, NQT_EV_ACCEPT);
    return NQT_OK;
}

/* Nobody is there: a pair whose other end is over already, so that every slot works. */
static int link_alone(struct nqtp_link *link)
{
    link->pair = pair_new(1, 1);
    if (!link->pair)
        return NQT_E_NOMEM;
    link->pair->end[0].link = link;
    atomic_store(&link->pair->refs, 1);
    link_names(link, 0);
    link->state = LOOP_UP; /* for link_down() to leave */
    link_down(link, NQT_E_REFUSED, "no such server in this process; is the server running?");
    return NQT_OK;
}

int loop_connect(struct nqtp_ep *ep, nqt_link *cookie, nqt_serial *serial, struct nqtp_link **out,
                 struct nqt_error *err)
{
    struct nqtp_link *link;
    int rc = NQT_OK;

    if (ep->listen)
        return nqt_fail(err, NQT_E_INVAL, "a listening endpoint does not connect");
    link = link_new(ep, 0);
    if (!link)
        return nqt_fail(err, NQT_E_NOMEM, "connect to loop:%s: no memory", ep->opts.name);
    link->cookie = cookie;
    link->serial = serial;
    if (!loop_with_server(ep->opts.name, link_meet, link, &rc))
        rc = link_alone(link);
    else if (!rc)
        link_up(link);
    if (rc) {
        nqt_free(ep->mod->host, ep->mod->core, link);
        loop_ep_unref(ep); /* not the last one */
        return nqt_fail(err, rc, "connect to loop:%s: no memory", ep->opts.name);
    }
    link_deliver(link); /* what came before it could be posted to */
    *out = link;
    return NQT_OK;
}

int loop_attach(struct nqtp_link *link, nqt_link *cookie, nqt_serial *serial)
{
    if (link->state != LOOP_ACCEPTED)
        return NQT_E_INVAL;
    link->cookie = cookie;
    link->serial = serial;
    link_up(link);
    link_deliver(link);
    return NQT_OK;
}

int loop_info(struct nqtp_link *link, struct nqt_info *out)
{
    return nqt_info_answer(out, LOOP_CAPS & ~(NQT_CAP_LISTEN | NQT_CAP_CONNECT), 0, link->local,
                           link->peer);
}
