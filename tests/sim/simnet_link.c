/* A link of the simulated network, as the core asks for it: connect, attach, send, close. */
#include "tests/sim/simnet_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void nqsim_link_free(struct nqtp_link *link)
{
    struct nqtp_ep *ep = link->ep;

    nqsim_drop_flight(link);
    nqsim_wire_leave(link);
    nqsim_mem(ep->mod, link, 0);
    nqsim_ep_unref(ep);
}

static struct nqtp_link *link_new(struct nqtp_ep *ep, unsigned side)
{
    struct nqtp_link *link = nqsim_mem(ep->mod, NULL, sizeof(*link));

    if (!link)
        return NULL;
    link->ep = ep;
    link->side = side;
    link->serial = ep->serial;
    link->last = &link->first;
    link->down_at = NEVER;
    ep->refs++;
    return link;
}

static int link_up(struct nqtp_link *link)
{
    const struct nqt_host *host = link->ep->mod->host;

    if (host->timer_add(link->serial, nqsim_link_tick, link, &link->timer)) {
        link->timer = NULL;
        link->down_at = 0; /* without a timer it is of no use */
        link->down_code = NQT_E_NOMEM;
    }
    link->state = UP;
    nqsim_emit(link, NQT_EV_LINK_UP, NULL);
    nqsim_poke(link);
    return NQT_OK;
}

static struct nqtp_ep *find_server(const char *node)
{
    struct nqtp_ep *ep = nqsim_state.servers;

    while (ep && strcmp(ep->node, node) != 0)
        ep = ep->next;
    return ep;
}

static bool meet(struct nqtp_link *client)
{
    struct nqtp_ep *server = find_server("server");
    struct nqtp_link *link;

    nqsim_now(client);
    if (!server || nqsim_draw(1000) < nqsim_state.weather.refuse_1000)
        return false;
    link = link_new(server, 1);
    if (!link)
        return false;
    client->wire = link->wire = nqsim_wire_new(client, link);
    if (!client->wire) {
        nqsim_link_free(link);
        return false;
    }
    snprintf(link->peer, sizeof(link->peer), "sim:%s", client->ep->node);
    snprintf(client->peer, sizeof(client->peer), "sim:%s", server->node);
    nqsim_emit(link, NQT_EV_ACCEPT, NULL);
    return true;
}

struct nqtp_link *nqsim_accept_from(const char *node)
{
    struct nqtp_ep *server = find_server("server");
    struct nqtp_link *link = server ? link_new(server, 1) : NULL;

    if (!link)
        return NULL;
    link->wire = nqsim_wire_new(NULL, link);
    if (!link->wire) {
        nqsim_link_free(link);
        return NULL;
    }
    nqsim_now(link);
    snprintf(link->peer, sizeof(link->peer), "sim:%s", node);
    nqsim_emit(link, NQT_EV_ACCEPT, NULL);
    return link;
}

int nqsim_connect(struct nqtp_ep *ep, nqt_link *cookie, nqt_serial *serial, struct nqtp_link **out,
                  struct nqt_error *err)
{
    struct nqtp_link *link = link_new(ep, 0);

    if (!link) {
        err->code = NQT_E_NOMEM;
        return NQT_E_NOMEM;
    }
    link->cookie = cookie;
    link->serial = serial;
    if (meet(link)) {
        link_up(link);
    } else {
        snprintf(link->peer, sizeof(link->peer), "sim:server");
        link->state = UP;
        nqsim_link_down(link, NQT_E_REFUSED, "refused");
    }
    *out = link;
    return NQT_OK;
}

int nqsim_attach(struct nqtp_link *link, nqt_link *cookie, nqt_serial *serial)
{
    link->cookie = cookie;
    link->serial = serial;
    return link_up(link);
}

static void close_now(void *arg)
{
    struct nqtp_link *link = arg;
    bool posted = link->posted;

    link->finished = true;
    if (link->cookie)
        nqsim_emit(link, NQT_EV_LINK_CLOSED, NULL);
    if (!posted)
        nqsim_link_free(link);
}

/* The other end learns of it behind what is under way. */
static void end_flight(struct nqtp_link *link)
{
    struct nqtp_link *other = nqsim_other_end(link);

    if (!other || link->wire->cut || link->mute)
        return;
    other->ended = true;
    nqsim_poke(other);
}

void nqsim_close(struct nqtp_link *link)
{
    const struct nqt_host *host = link->ep->mod->host;

    if (link->state == CLOSED)
        return;
    if (link->timer)
        host->timer_del(link->timer);
    link->timer = NULL;
    end_flight(link);
    link->state = CLOSED;
    if (host->post(link->serial, close_now, link))
        close_now(link);
}

int nqsim_shutdown(struct nqtp_link *link)
{
    if (link->state != UP)
        return NQT_OK;
    link->state = DRAINING;
    end_flight(link);
    link->down_at = nqsim_now(link) + INT64_C(2000000) * US;
    link->down_code = NQT_E_EOF;
    nqsim_set_timer(link);
    return NQT_OK;
}

static struct packet *packet_new(const struct nqt_buf *buf)
{
    struct packet *packet = calloc(1, sizeof(*packet) + (size_t)buf->len);
    size_t at = 0;

    if (!packet)
        return NULL;
    packet->len = (size_t)buf->len;
    for (uint32_t i = 0; i < buf->nseg; i++) {
        memcpy(packet->data + at, buf->seg[i].iov_base, buf->seg[i].iov_len);
        at += buf->seg[i].iov_len;
    }
    return packet;
}

/* Behind what is due earlier: messages overtake each other.  In a stream only what is made to. */
static void join_flight(struct nqtp_link *to, struct packet *packet, bool overtakes)
{
    struct packet **at = to->last;

    if (overtakes && to->first && !to->first->off)
        at = &to->first;
    else if (nqsim_state.lossy)
        for (at = &to->first; *at && (*at)->due <= packet->due; at = &(*at)->next)
            ;
    packet->next = *at;
    *at = packet;
    if (!packet->next)
        to->last = &packet->next;
    to->flying += packet->len;
}

static void launch(struct nqtp_link *from, struct nqtp_link *to, struct packet *packet,
                   bool overtakes)
{
    const struct nqsim_weather *weather = &nqsim_state.weather;

    packet->due = nqsim_now(from) + (int64_t)nqsim_draw((uint64_t)weather->delay_max_us + 1) * US;
    if (nqsim_state.lossy && nqsim_draw(1000) < weather->late_1000)
        packet->due += (int64_t)nqsim_draw((uint64_t)weather->late_us + 1) * US;
    join_flight(to, packet, overtakes);
    nqsim_poke(to);
}

/* Past somebody in the middle. */
static void pass(struct nqtp_link *from, struct nqtp_link *to, struct packet *packet)
{
    enum nqsim_fate fate = nqsim_tamper(packet);
    struct packet *twin = NULL;

    if (fate == NQSIM_IS_LOST) {
        free(packet);
        return;
    }
    if (fate == NQSIM_GOES_TWICE)
        twin = calloc(1, sizeof(*twin) + packet->len);
    if (twin)
        memcpy(twin, packet, sizeof(*twin) + packet->len);
    launch(from, to, packet, fate == NQSIM_OVERTAKES);
    if (twin)
        launch(from, to, twin, false);
}

/* False: no memory. */
static bool fly(struct nqtp_link *from, struct nqtp_link *to, const struct nqt_buf *buf)
{
    struct packet *packet;

    if (from->wire->cut || from->mute || !to || to->state > DRAINING || !buf->len)
        return true; /* it goes nowhere */
    packet = packet_new(buf);
    if (!packet)
        return false;
    pass(from, to, packet);
    return true;
}

/* A message that is lost, or comes twice. */
static bool fly_lossy(struct nqtp_link *from, struct nqtp_link *to, const struct nqt_buf *buf)
{
    if (buf->len > nqsim_state.lossy)
        abort(); /* the core was told */
    if (nqsim_draw(1000) < nqsim_state.weather.lose_1000)
        return true;
    if (nqsim_draw(1000) < nqsim_state.weather.twice_1000)
        (void)fly(from, to, buf);
    return fly(from, to, buf);
}

int nqsim_send(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n, uint32_t flags,
               uint32_t *taken)
{
    struct nqtp_link *other = nqsim_other_end(link);

    (void)flags;
    *taken = 0;
    if (link->state != UP)
        return NQT_E_LOST;
    /* A server's link that is not attached yet keeps what comes. */
    while (*taken < n && (!other || other->flying < nqsim_state.weather.window)) {
        if (!(nqsim_state.lossy ? fly_lossy : fly)(link, other, bufs[*taken]))
            break;
        nqsim_overhear(link, bufs[*taken]);
        bufs[*taken]->ops->unref(bufs[*taken]);
        ++*taken;
    }
    link->wants_room = *taken < n;
    if (link->wants_room)
        nqsim_poke(other ? other : link);
    return NQT_OK;
}

int nqsim_rx_hold(struct nqtp_link *link, int hold)
{
    link->held = hold;
    nqsim_poke(link);
    return NQT_OK;
}

int nqsim_info(struct nqtp_link *link, struct nqt_info *out)
{
    const struct nqt_info info = {.size = out->size,
                                  .caps = nqsim_state.lossy ? NQT_CAP_MESSAGE | NQT_CAP_LOSSY
                                                            : NQT_CAP_STREAM,
                                  .max_message = nqsim_state.lossy,
                                  .local = link->local,
                                  .peer = link->peer};

    memcpy(out, &info, out->size < sizeof(info) ? out->size : sizeof(info));
    return NQT_OK;
}
