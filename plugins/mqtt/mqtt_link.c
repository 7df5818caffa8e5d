/* Life of a link.  README.md has the states.
 *
 * What comes for a link is put into its inbox by paho's thread, which posts mqtt_link_work() to the
 * link's serial; one post at a time is on its way.  The memory stays while one is. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "mqtt.h"
#include <string.h>

#define LINK_BATCH 64 /* buffers in one RX event */

const char mqtt_too_much[] = "more than a greeting before it is known who that is";

/* ---- the end: in serial ----------------------------------------------------------------- */

static void link_set_timer(struct nqtp_link *link, int64_t in_ns)
{
    const struct nqtp_mod *mod = link->ep->mod;

    if (link->timer)
        mod->host->timer_set(link->timer, mod->host->now_ns(mod->core) + in_ns);
}

/* Nothing comes for it any more: drop what is there. */
static void link_leave(struct nqtp_link *link)
{
    struct nqtp_ep *ep = link->ep;
    struct mqtt_rx *rx, *next;

    nqt_timer_stop(link->ep->mod->host, &link->timer);
    pthread_mutex_lock(&ep->mtx);
    mqtt_link_unlist(link);
    link->attached = false;
    rx = link->in_first;
    link->in_first = link->in_last = NULL;
    pthread_mutex_unlock(&ep->mtx);
    for (; rx; rx = next) {
        next = rx->next;
        mqtt_rx_unref(rx);
    }
    mqtt_part_drop(link);
    mqtt_out_drop(link);
}

/* The other side learns of the end, unless it knows or never heard of the link. */
static void link_tell(struct nqtp_link *link, int code, const char *cause)
{
    if (link->state == MQTT_WAITING || link->end_sent)
        return;
    mqtt_out_control(link, MQTT_END, code, cause);
}

void mqtt_link_down(struct nqtp_link *link, int code, bool tell, const char *cause)
{
    struct nqt_error err = {.size = sizeof(err)};

    if (link->state == MQTT_DOWN || link->state == MQTT_CLOSED)
        return;
    if (tell)
        link_tell(link, code, cause);
    nqt_fail(&err, code, "%s: %s%s", link->peer, cause,
             code == NQT_E_REFUSED ? "; is the server running?" : "");
    link_leave(link);
    link->state = MQTT_DOWN;
    (void)NQT_EMIT_LINK(link, NQT_EV_LINK_DOWN, .err = &err);
}

static void link_up(struct nqtp_link *link)
{
    static _Atomic uint64_t epochs; /* the last one given out, in the process */

    link->epoch = atomic_fetch_add(&epochs, 1) + 1;
    link->state = MQTT_UP;
    link->watching = false;
    (void)NQT_EMIT_LINK(link, NQT_EV_LINK_UP);
}

/* ---- delivery --------------------------------------------------------------------------- */

static bool link_is_open(const struct nqtp_link *link)
{
    return link->state == MQTT_UP || link->state == MQTT_DRAINING;
}

static bool link_keeps_more_than(const struct nqtp_link *link, size_t limit)
{
    return limit && link->part.cost > limit;
}

/* Hand a record's buffers up.  @return NQT_OK, NQT_E_* */
static int link_deliver_one(struct nqtp_link *link, struct mqtt_rx *rx)
{
    struct nqt_buf *bufs[LINK_BATCH];
    size_t at = 0;
    int n = 0;

    while (at < rx->len) {
        if (link->plain) {
            bufs[0] = mqtt_whole(rx);
            n = bufs[0] ? 1 : NQT_E_NOMEM;
            at = rx->len;
        } else {
            n = mqtt_unpack(link, rx, &at, bufs, LINK_BATCH);
        }
        if (n < 0)
            return n;
        if (!n || !NQT_EMIT_LINK(link, NQT_EV_RX, .nbuf = (uint32_t)n, .buf = bufs))
            continue;
        for (int i = 0; i < n; i++)
            bufs[i]->ops->unref(bufs[i]);
        return NQT_E_NOMEM;
    }
    return NQT_OK;
}

/* The next record of the inbox, or NULL. */
static struct mqtt_rx *link_take(struct nqtp_link *link)
{
    struct nqtp_ep *ep = link->ep;
    struct mqtt_rx *rx;

    pthread_mutex_lock(&ep->mtx);
    rx = link->held ? NULL : link->in_first;
    if (rx) {
        link->in_first = rx->next;
        if (!rx->next)
            link->in_last = NULL;
        link->in_bytes -= rx->len;
        link->in_cost -= mqtt_rx_cost(rx);
        link->rx_up = rx->seq;
        link->ack_due |= rx->ack_now;
    }
    pthread_mutex_unlock(&ep->mtx);
    return rx;
}

static void link_deliver(struct nqtp_link *link)
{
    struct mqtt_rx *rx;

    while (link_is_open(link) && (rx = link_take(link))) {
        int rc = link_deliver_one(link, rx);

        mqtt_rx_unref(rx);
        if (rc)
            mqtt_link_down(link, rc, true,
                           rc == NQT_E_NOMEM ? "no memory to hand up what came"
                                             : "pieces that make no sense");
        else if (link_keeps_more_than(link, link->rx_limit))
            mqtt_link_down(link, NQT_E_PROTOCOL, true, mqtt_too_much);
    }
}

static void link_acknowledge(struct nqtp_link *link)
{
    bool due;

    pthread_mutex_lock(&link->ep->mtx);
    due = link->ack_due;
    link->ack_due = false;
    pthread_mutex_unlock(&link->ep->mtx);
    if (due && link_is_open(link))
        mqtt_out_control(link, MQTT_ACK, 0, NULL);
}

/* Is the end due?  A lost connection is at once; an end in order comes behind the inbox. */
static void link_check_end(struct nqtp_link *link)
{
    struct nqtp_ep *ep = link->ep;
    char text[MQTT_CAUSE_MAX];
    bool theirs;
    int code;

    pthread_mutex_lock(&ep->mtx);
    code = link->in_first && link->end_code == NQT_E_EOF ? 0 : link->end_code;
    theirs = link->end_theirs;
    memcpy(text, link->end_text, sizeof(text));
    pthread_mutex_unlock(&ep->mtx);
    if (!code)
        return;
    /* Who drains waits for our end, too. */
    mqtt_link_down(link, code, !theirs || code == NQT_E_EOF, text);
}

/* ---- a client's way up ------------------------------------------------------------------ */

static void link_await_server(struct nqtp_link *link)
{
    const struct nqtp_mod *mod = link->ep->mod;

    if (link->state != MQTT_WAITING || link->here_by)
        return;
    link->here_by = mod->host->now_ns(mod->core) + MQTT_HERE_NS;
    link_set_timer(link, MQTT_HERE_NS);
}

/* OPEN, once the broker and the server are there, and again when a server comes. */
static void link_open(struct nqtp_link *link)
{
    struct nqtp_ep *ep = link->ep;
    bool up, there, call;

    pthread_mutex_lock(&ep->mtx);
    up = ep->up && !link->end_code;
    if (up && link->plain)
        link->client_tag = ep->tag;
    there = ep->server_tag || !ep->step_retain;
    call = link->call || link->state == MQTT_WAITING;
    link->call = false;
    if (up && there && call)
        link->client_tag = ep->tag;
    pthread_mutex_unlock(&ep->mtx);
    if (link->plain) { /* nobody is asked: the first bytes of the stream will tell */
        if (up)
            link_up(link);
        return;
    }
    if (up && !there)
        link_await_server(link);
    if (!up || !there || !call)
        return;
    link->state = MQTT_OPENING;
    link_set_timer(link, MQTT_OPEN_NS);
    mqtt_out_control(link, MQTT_OPEN, 0, NULL);
}

static void link_answered(struct nqtp_link *link)
{
    bool accepted;

    pthread_mutex_lock(&link->ep->mtx);
    accepted = link->accepted && !(link->end_code && !link->in_first);
    pthread_mutex_unlock(&link->ep->mtx);
    if (accepted)
        link_up(link);
}

/* ---- the clock -------------------------------------------------------------------------- */

/* Something may have got lost at the end, where no later record tells of it: ask. */
static void link_probe(struct nqtp_link *link)
{
    struct nqtp_ep *ep = link->ep;
    uint32_t acked, sent;
    bool heard;

    pthread_mutex_lock(&ep->mtx);
    acked = link->tx_acked;
    sent = link->tx_seq;
    heard = link->heard;
    link->heard = false;
    pthread_mutex_unlock(&ep->mtx);
    link->watching = acked != sent;
    if (heard || acked != link->seen || !link->watching)
        link->probes = 0;
    if (!link->watching)
        return;
    if (acked == link->seen && link->probes++ >= MQTT_PROBES) {
        mqtt_link_down(link, NQT_E_LOST, true, "no sign of the other side any more");
        return;
    }
    if (acked == link->seen)
        mqtt_out_control(link, MQTT_PROBE, 0, NULL);
    link->seen = acked;
    link_set_timer(link, MQTT_PROBE_NS);
}

/* Nobody answered in time. */
static void link_give_up(struct nqtp_link *link)
{
    struct nqtp_ep *ep = link->ep;
    bool broker, server;

    pthread_mutex_lock(&ep->mtx);
    broker = ep->up;
    server = ep->server_tag || !ep->step_retain;
    pthread_mutex_unlock(&ep->mtx);
    if (!broker)
        mqtt_link_down(link, NQT_E_UNREACHABLE, false, "the broker does not answer");
    else if (!server)
        mqtt_link_down(link, NQT_E_REFUSED, false, "no server has this name on the broker");
    else
        mqtt_link_down(link, NQT_E_UNREACHABLE, true, "no answer; is the server running?");
}

static void link_on_time(void *arg)
{
    struct nqtp_link *link = arg;
    const struct nqtp_mod *mod = link->ep->mod;
    bool here = link->state == MQTT_WAITING && link->here_by && link->here_by < link->deadline;
    int64_t left = (here ? link->here_by : link->deadline) - mod->host->now_ns(mod->core);

    switch (link->state) {
    case MQTT_WAITING:
    case MQTT_OPENING:
        if (left <= 0) {
            link_give_up(link);
            return;
        }
        if (link->state == MQTT_OPENING)
            mqtt_out_control(link, MQTT_OPEN, 0, NULL);
        link_set_timer(link, left < MQTT_OPEN_NS ? left : MQTT_OPEN_NS);
        return;
    case MQTT_UP:
        link_probe(link);
        return;
    case MQTT_DRAINING:
        mqtt_link_down(link, NQT_E_EOF, true, "ended by this side; the other side stayed");
        return;
    default:
        return;
    }
}

void mqtt_link_watch(struct nqtp_link *link)
{
    if (link->watching || link->plain || link->state != MQTT_UP)
        return;
    link->watching = true;
    pthread_mutex_lock(&link->ep->mtx);
    link->seen = link->tx_acked;
    pthread_mutex_unlock(&link->ep->mtx);
    link_set_timer(link, MQTT_PROBE_NS);
}

/* ---- work ------------------------------------------------------------------------------- */

static void link_step(struct nqtp_link *link)
{
    if (link->state == MQTT_WAITING || link->state == MQTT_OPENING)
        link_open(link);
    if (link->state == MQTT_OPENING)
        link_answered(link);
    link_deliver(link);
    link_acknowledge(link);
    if (link_is_open(link))
        mqtt_out_pump(link);
    link_check_end(link);
}

void mqtt_link_work(void *arg)
{
    struct nqtp_link *link = arg;

    pthread_mutex_lock(&link->ep->mtx);
    link->posted = false;
    pthread_mutex_unlock(&link->ep->mtx);
    if (link->finished)
        mqtt_link_free(link);
    else if (link->state != MQTT_CLOSED)
        link_step(link);
}

/* ---- the slots -------------------------------------------------------------------------- */

int mqtt_connect(struct nqtp_ep *ep, nqt_link *cookie, nqt_serial *serial, struct nqtp_link **out,
                 struct nqt_error *err)
{
    const struct nqt_host *host = ep->mod->host;
    struct nqtp_link *link;
    bool fine;
    int rc = NQT_OK;

    if (ep->listen)
        return nqt_fail(err, NQT_E_INVAL, "a listening endpoint does not connect");
    pthread_mutex_lock(&ep->mtx);
    link = mqtt_link_new(ep, ep->id, ++ep->numbers);
    pthread_mutex_unlock(&ep->mtx);
    if (!link)
        return nqt_fail(err, NQT_E_NOMEM, "connect to %s: no memory", ep->place);
    if (ep->opts.wire == NQT_WIRE_PLAIN)
        mqtt_plain_name(link, ep->opts.name);
    link->cookie = cookie;
    link->serial = serial;
    link->state = MQTT_WAITING;
    /* The connection's own time runs out first: it can tell why. */
    link->deadline = host->now_ns(ep->mod->core) + ep->opts.connect_timeout_ns + MQTT_NS_PER_S;
    if (host->timer_add(serial, link_on_time, link, &link->timer))
        rc = NQT_E_NOMEM;
    pthread_mutex_lock(&ep->mtx);
    fine = rc || ep->up || mqtt_broker_want(ep);
    if (!rc && fine) {
        link->attached = true;
        mqtt_link_list(link);
    }
    pthread_mutex_unlock(&ep->mtx);
    if (rc || !fine) {
        if (!rc)
            nqt_timer_stop(link->ep->mod->host, &link->timer);
        nqt_free(ep->mod->host, ep->mod->core, link);
        mqtt_ep_unref(ep); /* not the last one */
        return nqt_fail(err, rc ? rc : NQT_E_SYS, "connect to %s: no %s", ep->place,
                        rc ? "memory" : "thread for the broker");
    }
    link_set_timer(link, ep->opts.connect_timeout_ns + MQTT_NS_PER_S);
    link_step(link);
    *out = link;
    return NQT_OK;
}

int mqtt_attach(struct nqtp_link *link, nqt_link *cookie, nqt_serial *serial)
{
    struct nqtp_ep *ep = link->ep;

    if (link->state != MQTT_ACCEPTED)
        return NQT_E_INVAL;
    if (ep->mod->host->timer_add(serial, link_on_time, link, &link->timer))
        return NQT_E_NOMEM;
    link->cookie = cookie;
    pthread_mutex_lock(&ep->mtx);
    link->serial = serial;
    link->attached = true;
    link->rx_limit = 0; /* the core says if there is to be one */
    link->state = MQTT_UP;
    if (link->listed)
        ep->nstrangers--;
    pthread_mutex_unlock(&ep->mtx);
    link_up(link);
    link_step(link);
    return NQT_OK;
}

int mqtt_rx_hold(struct nqtp_link *link, int hold)
{
    link->held = hold != 0;
    if (!hold && link_is_open(link))
        link_step(link);
    return NQT_OK;
}

int mqtt_rx_limit(struct nqtp_link *link, size_t len)
{
    if (link->plain) /* one piece has a greeting and what follows it */
        return NQT_OK;
    pthread_mutex_lock(&link->ep->mtx);
    link->rx_limit = len;
    if (len && (link->in_cost > len || link_keeps_more_than(link, len)))
        mqtt_link_end(link, NQT_E_PROTOCOL, false, mqtt_too_much);
    pthread_mutex_unlock(&link->ep->mtx);
    return NQT_OK;
}

int mqtt_shutdown(struct nqtp_link *link)
{
    if (link->state == MQTT_CLOSED || link->state == MQTT_ACCEPTED)
        return NQT_E_INVAL;
    if (link->state != MQTT_UP)
        return NQT_OK;
    link->state = MQTT_DRAINING;
    link_set_timer(link, MQTT_DRAIN_NS);
    link_step(link);
    return NQT_OK;
}

/* LINK_CLOSED; the memory stays while a post is on its way, and none can follow. */
static void link_finish(void *arg)
{
    struct nqtp_link *link = arg;
    bool posted;

    pthread_mutex_lock(&link->ep->mtx);
    posted = link->posted;
    pthread_mutex_unlock(&link->ep->mtx);
    link->finished = true;
    if (link->cookie) /* else it was never attached, and there is nobody to tell */
        (void)NQT_EMIT_LINK(link, NQT_EV_LINK_CLOSED);
    if (!posted)
        mqtt_link_free(link);
}

void mqtt_close(struct nqtp_link *link)
{
    if (link->state == MQTT_CLOSED)
        return;
    if (link->state != MQTT_DOWN) {
        link_tell(link, link->state == MQTT_ACCEPTED ? NQT_E_REFUSED : NQT_E_EOF,
                  link->state == MQTT_ACCEPTED ? "refused" : "closed by the other side");
        link_leave(link);
    }
    link->state = MQTT_CLOSED;
    /* Without memory to post: no frame of ours is on the stack, so now is as good. */
    if (link->ep->mod->host->post(link->serial, link_finish, link))
        link_finish(link);
}

int mqtt_info(struct nqtp_link *link, struct nqt_info *out)
{
    uint64_t caps = MQTT_CAPS & ~(NQT_CAP_LISTEN | NQT_CAP_CONNECT);
    int rc;

    if (link->plain)
        caps = NQT_CAP_PLAIN | (caps & ~(NQT_CAP_RX_HOLD | NQT_CAP_PEER_PRESENCE));
    rc = nqt_info_answer(out, caps, MQTT_MESSAGE_MAX, link->local, link->peer);
    if (!rc && link->named[0])
        out->peer_identity = link->named;
    return rc;
}
