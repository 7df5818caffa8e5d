/* simnet: a network in memory that does what the simulation says.
 *
 *     send --> flight of the direction, due later --> rx_space, rx_commit of the other end
 *
 * Two links make a wire.  Each has a flight: what was sent towards it and did not arrive.  A wire
 * that is cut delivers nothing more; its ends go down when `down_at` comes, and when that is never
 * they find out by themselves.  Everything that happens to a link happens in its serial, by a post
 * or its timer. */
#include "tests/sim/simnet.h"

#include <netqueue/transport.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_ 32
#define NEVER INT64_MAX
#define US INT64_C(1000)

struct nqtp_mod {
    const struct nqt_host *host;
    nqt_core *core;
};

struct nqtp_ep {
    struct nqtp_mod *mod;
    nqt_ep *cookie;
    nqt_serial *serial;
    char node[NAME_MAX_];
    bool listen, closed;
    unsigned refs; /* one until ep_close, one a link */
    struct nqtp_ep *next;
};

struct packet {
    struct packet *next;
    int64_t due;
    size_t len, off;
    unsigned char data[];
};

enum state { ACCEPTED, UP, DRAINING, DOWN, CLOSED };

struct wire;

struct nqtp_link {
    struct nqtp_ep *ep;
    struct wire *wire;
    unsigned side; /* 0 the client's end */
    nqt_link *cookie;
    nqt_serial *serial;
    enum state state;
    nqt_watch *timer;
    bool posted, finished, held, wants_room, mute;
    struct packet *first, **last; /* the flight towards this end */
    size_t flying;
    bool ended;      /* the other end sends no more */
    int64_t down_at; /* when this end learns that the wire is cut */
    int down_code;
    char peer[NAME_MAX_ * 2], local[NAME_MAX_ * 2];
};

struct wire {
    struct nqtp_link *end[2]; /* NULL: freed */
    uint64_t left;            /* bytes until it is cut */
    bool cut;
    struct wire *next;
};

static struct {
    uint64_t random, bytes;
    unsigned ncuts;
    int64_t now; /* the last that anybody saw */
    struct nqsim_weather weather;
    struct nqtp_ep *servers;
    struct wire *wires;
} net;

static uint64_t draw(uint64_t n)
{
    net.random ^= net.random << 13;
    net.random ^= net.random >> 7;
    net.random ^= net.random << 17;
    return n ? (net.random >> 11) % n : 0;
}

static int64_t now(const struct nqtp_link *link)
{
    net.now = link->ep->mod->host->now_ns(link->ep->mod->core);
    return net.now;
}

static void *mem(const struct nqtp_mod *mod, void *old, size_t len)
{
    void *at = mod->host->mem(mod->core, old, len);

    if (at && !old)
        memset(at, 0, len);
    return at;
}

/* ---- events ----------------------------------------------------------------------------- */

static int emit(struct nqtp_link *link, uint32_t kind, const struct nqt_error *err)
{
    const struct nqt_event event = {.size = sizeof(event),
                                    .kind = kind,
                                    .ep = link->ep->cookie,
                                    .link = link->cookie,
                                    .plink = link,
                                    .peer_name = link->peer,
                                    .err = err};

    return link->ep->mod->host->emit(link->ep->mod->core, &event, 1);
}

static void link_run(void *arg);

static void poke(struct nqtp_link *link)
{
    if (link && link->cookie && !link->posted && !link->finished)
        link->posted = !link->ep->mod->host->post(link->serial, link_run, link);
}

/* ---- the wire --------------------------------------------------------------------------- */

static struct nqtp_link *other_end(const struct nqtp_link *link)
{
    return link->wire ? link->wire->end[!link->side] : NULL;
}

static void drop_flight(struct nqtp_link *link)
{
    while (link->first) {
        struct packet *packet = link->first;

        link->first = packet->next;
        free(packet);
    }
    link->last = &link->first;
    link->flying = 0;
}

/* Nothing more arrives.  The ends learn of it, at different times, or not. */
static void wire_cut(struct wire *wire, bool silent)
{
    if (wire->cut)
        return;
    wire->cut = true;
    net.ncuts++;
    for (int i = 0; i < 2; i++) {
        struct nqtp_link *link = wire->end[i];

        if (!link)
            continue;
        drop_flight(link);
        if (!silent) {
            link->down_at = net.now + (int64_t)draw(5000) * US;
            link->down_code = NQT_E_LOST;
        }
        poke(link);
    }
}

static struct wire *wire_new(struct nqtp_link *client, struct nqtp_link *server)
{
    struct wire *wire = calloc(1, sizeof(*wire));

    if (!wire)
        return NULL;
    wire->end[0] = client;
    wire->end[1] = server;
    wire->left = net.weather.cut_every ? draw(2 * (uint64_t)net.weather.cut_every) : UINT64_MAX;
    wire->next = net.wires;
    net.wires = wire;
    return wire;
}

static void wire_leave(struct nqtp_link *link)
{
    struct wire *wire = link->wire, **at = &net.wires;

    if (!wire)
        return;
    wire->end[link->side] = NULL;
    link->wire = NULL;
    if (wire->end[0] || wire->end[1])
        return;
    while (*at != wire)
        at = &(*at)->next;
    *at = wire->next;
    free(wire);
}

/* ---- delivery --------------------------------------------------------------------------- */

static void link_down(struct nqtp_link *link, int code, const char *text)
{
    struct nqt_error err = {.size = sizeof(err), .code = code};

    if (link->state == DOWN || link->state == CLOSED)
        return;
    snprintf(err.text, sizeof(err.text), "%s: %s", link->peer, text);
    drop_flight(link);
    link->state = DOWN;
    emit(link, NQT_EV_LINK_DOWN, &err);
}

/* Hand up to `len` bytes up.  False: the core wants no more. */
static bool hand_up(struct nqtp_link *link, const unsigned char *data, size_t len, size_t *done)
{
    const struct nqt_host *host = link->ep->mod->host;
    struct iovec iov[8];
    uint32_t niov = 8;
    size_t n = 0;

    *done = 0;
    if (host->rx_space(link->cookie, 0, iov, &niov))
        return false;
    for (uint32_t i = 0; i < niov && n < len; i++) {
        size_t part = iov[i].iov_len < len - n ? iov[i].iov_len : len - n;

        memcpy(iov[i].iov_base, data + n, part);
        n += part;
    }
    *done = n;
    net.bytes += n;
    return host->rx_commit(link->cookie, n) >= 0;
}

static bool is_open(const struct nqtp_link *link)
{
    return link->state == UP || link->state == DRAINING;
}

static bool deliver_some(struct nqtp_link *link, struct packet *packet)
{
    size_t len = packet->len - packet->off, done;
    struct wire *wire = link->wire;
    bool more;

    if (net.weather.pieces)
        len = 1 + draw(draw(4) ? len : 16) % len;
    if (len > wire->left)
        len = (size_t)wire->left;
    more = !len || hand_up(link, packet->data + packet->off, len, &done);
    if (!len)
        done = 0;
    packet->off += done;
    link->flying -= done;
    if (wire->left != UINT64_MAX)
        wire->left -= done;
    if (packet->off == packet->len) {
        link->first = packet->next;
        if (!link->first)
            link->last = &link->first;
        free(packet);
    }
    if (!wire->left)
        wire_cut(wire, draw(1000) < net.weather.silent_1000);
    return more;
}

static void deliver(struct nqtp_link *link)
{
    while (is_open(link) && link->wire && !link->wire->cut && !link->held && link->first &&
           link->first->due <= now(link))
        if (!deliver_some(link, link->first))
            return;
}

static void set_timer(struct nqtp_link *link)
{
    int64_t due = link->down_at;

    if (link->first && !link->held && link->first->due < due)
        due = link->first->due;
    if (link->timer)
        link->ep->mod->host->timer_set(link->timer, due == NEVER ? -1 : due);
}

static void link_free(struct nqtp_link *link);

static void link_run(void *arg)
{
    struct nqtp_link *link = arg, *other = other_end(link);

    link->posted = false;
    if (link->finished) {
        link_free(link);
        return;
    }
    deliver(link);
    if (other && other->wants_room && link->flying < net.weather.window)
        poke(other);
    if (link->state == UP && link->wants_room &&
        (!other || other->flying < net.weather.window || link->wire->cut)) {
        link->wants_room = false;
        emit(link, NQT_EV_WRITABLE, NULL);
    }
    if (is_open(link) && link->ended && !link->first)
        link_down(link, NQT_E_EOF, "closed by the other side");
    if (is_open(link) && link->down_at <= now(link))
        link_down(link, link->down_code, "the network lost it");
    if (is_open(link))
        set_timer(link);
}

/* ---- life ------------------------------------------------------------------------------- */

static void ep_unref(struct nqtp_ep *ep)
{
    const struct nqtp_mod *mod = ep->mod;
    const struct nqt_event event = {
        .size = sizeof(event), .kind = NQT_EV_EP_CLOSED, .ep = ep->cookie};

    if (--ep->refs)
        return;
    mod->host->mem(mod->core, ep, 0);
    mod->host->emit(mod->core, &event, 1);
}

static void link_free(struct nqtp_link *link)
{
    struct nqtp_ep *ep = link->ep;

    drop_flight(link);
    wire_leave(link);
    mem(ep->mod, link, 0);
    ep_unref(ep);
}

static struct nqtp_link *link_new(struct nqtp_ep *ep, unsigned side)
{
    struct nqtp_link *link = mem(ep->mod, NULL, sizeof(*link));

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

    if (host->timer_add(link->serial, link_run, link, &link->timer)) {
        link->timer = NULL;
        link->down_at = 0; /* without a timer it is of no use */
        link->down_code = NQT_E_NOMEM;
    }
    link->state = UP;
    emit(link, NQT_EV_LINK_UP, NULL);
    poke(link);
    return NQT_OK;
}

static struct nqtp_ep *find_server(const char *node)
{
    struct nqtp_ep *ep = net.servers;

    while (ep && strcmp(ep->node, node) != 0)
        ep = ep->next;
    return ep;
}

static bool meet(struct nqtp_link *client)
{
    struct nqtp_ep *server = find_server("server");
    struct nqtp_link *link;

    now(client);
    if (!server || draw(1000) < net.weather.refuse_1000)
        return false;
    link = link_new(server, 1);
    if (!link)
        return false;
    client->wire = link->wire = wire_new(client, link);
    if (!client->wire) {
        link_free(link);
        return false;
    }
    snprintf(link->peer, sizeof(link->peer), "sim:%s", client->ep->node);
    snprintf(client->peer, sizeof(client->peer), "sim:%s", server->node);
    emit(link, NQT_EV_ACCEPT, NULL);
    return true;
}

static int sim_connect(struct nqtp_ep *ep, nqt_link *cookie, nqt_serial *serial,
                       struct nqtp_link **out, struct nqt_error *err)
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
        link_down(link, NQT_E_REFUSED, "refused");
    }
    *out = link;
    return NQT_OK;
}

static int sim_attach(struct nqtp_link *link, nqt_link *cookie, nqt_serial *serial)
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
        emit(link, NQT_EV_LINK_CLOSED, NULL);
    if (!posted)
        link_free(link);
}

/* The other end learns of it behind what is under way. */
static void end_flight(struct nqtp_link *link)
{
    struct nqtp_link *other = other_end(link);

    if (!other || link->wire->cut || link->mute)
        return;
    other->ended = true;
    poke(other);
}

static void sim_close(struct nqtp_link *link)
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

static int sim_shutdown(struct nqtp_link *link)
{
    if (link->state != UP)
        return NQT_OK;
    link->state = DRAINING;
    end_flight(link);
    link->down_at = now(link) + INT64_C(2000000) * US;
    link->down_code = NQT_E_EOF;
    set_timer(link);
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

/* False: no memory. */
static bool fly(struct nqtp_link *from, struct nqtp_link *to, const struct nqt_buf *buf)
{
    struct packet *packet;

    if (from->wire->cut || from->mute || !to || to->state > DRAINING || !buf->len)
        return true; /* it goes nowhere */
    packet = packet_new(buf);
    if (!packet)
        return false;
    packet->due = now(from) + (int64_t)draw((uint64_t)net.weather.delay_max_us + 1) * US;
    *to->last = packet;
    to->last = &packet->next;
    to->flying += packet->len;
    poke(to);
    return true;
}

static int sim_send(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n, uint32_t flags,
                    uint32_t *taken)
{
    struct nqtp_link *other = other_end(link);

    (void)flags;
    *taken = 0;
    if (link->state != UP)
        return NQT_E_LOST;
    /* A server's link that is not attached yet keeps what comes. */
    while (*taken < n && (!other || other->flying < net.weather.window)) {
        if (!fly(link, other, bufs[*taken]))
            break;
        bufs[*taken]->ops->unref(bufs[*taken]);
        ++*taken;
    }
    link->wants_room = *taken < n;
    if (link->wants_room)
        poke(other ? other : link);
    return NQT_OK;
}

static int sim_rx_hold(struct nqtp_link *link, int hold)
{
    link->held = hold;
    poke(link);
    return NQT_OK;
}

static int sim_info(struct nqtp_link *link, struct nqt_info *out)
{
    const struct nqt_info info = {
        .size = out->size, .caps = NQT_CAP_STREAM, .local = link->local, .peer = link->peer};

    memcpy(out, &info, out->size < sizeof(info) ? out->size : sizeof(info));
    return NQT_OK;
}

/* ---- endpoints and the module ----------------------------------------------------------- */

static int sim_ep_open(struct nqtp_mod *mod, nqt_ep *cookie, nqt_serial *serial, nqt_cfg *cfg,
                       int listen, struct nqtp_ep **out, struct nqt_error *err)
{
    struct nqtp_ep *ep = mem(mod, NULL, sizeof(*ep));
    const struct nqt_event event = {.size = sizeof(event),
                                    .kind = NQT_EV_EP_UP,
                                    .ep = cookie,
                                    .peer_name = listen ? "sim" : NULL};
    const char *node = NULL;

    if (!ep || mod->host->cfg_str(cfg, "node", &node)) {
        err->code = NQT_E_NOMEM;
        return NQT_E_NOMEM;
    }
    ep->mod = mod;
    ep->cookie = cookie;
    ep->serial = serial;
    ep->listen = listen;
    ep->refs = 1;
    snprintf(ep->node, sizeof(ep->node), "%s", node);
    if (listen) {
        ep->next = net.servers;
        net.servers = ep;
    }
    mod->host->emit(mod->core, &event, 1);
    *out = ep;
    return NQT_OK;
}

static void sim_ep_close(struct nqtp_ep *ep)
{
    if (ep->closed)
        return;
    ep->closed = true;
    for (struct nqtp_ep **at = &net.servers; *at; at = &(*at)->next)
        if (*at == ep) {
            *at = ep->next;
            break;
        }
    ep_unref(ep);
}

static int sim_mod_open(const struct nqt_host *host, nqt_core *core, struct nqtp_mod **out,
                        struct nqt_error *err)
{
    struct nqtp_mod *mod = host->mem(core, NULL, sizeof(*mod));

    if (!mod) {
        err->code = NQT_E_NOMEM;
        return NQT_E_NOMEM;
    }
    *mod = (struct nqtp_mod){.host = host, .core = core};
    *out = mod;
    return NQT_OK;
}

static void sim_mod_close(struct nqtp_mod *mod)
{
    mem(mod, mod, 0);
}

/* ---- the simulation's side -------------------------------------------------------------- */

static void net_begin(uint64_t seed)
{
    net.random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    net.bytes = 0;
    net.ncuts = 0;
}

static void net_set_weather(const struct nqsim_weather *weather)
{
    net.weather = *weather;
    for (struct wire *wire = net.wires; wire; wire = wire->next) {
        wire->left = weather->cut_every ? draw(2 * (uint64_t)weather->cut_every) : UINT64_MAX;
        for (int i = 0; i < 2; i++)
            poke(wire->end[i]);
    }
}

static bool net_cut(unsigned n, bool silent)
{
    unsigned count = 0;

    for (struct wire *wire = net.wires; wire; wire = wire->next)
        count++;
    if (!count)
        return false;
    n %= count;
    for (struct wire *wire = net.wires; wire; wire = wire->next)
        if (!n--)
            wire_cut(wire, silent);
    return true;
}

static void net_crash(const char *node)
{
    for (struct wire *wire = net.wires; wire; wire = wire->next)
        for (int i = 0; i < 2; i++)
            if (wire->end[i] && strcmp(wire->end[i]->ep->node, node) == 0) {
                wire->end[i]->mute = true;
                wire_cut(wire, draw(4) == 0);
                break;
            }
}

static uint64_t net_bytes(void)
{
    return net.bytes;
}

static unsigned net_cuts(void)
{
    return net.ncuts;
}

__attribute__((visibility("default"))) extern const struct nqsim_net nqsim_net;
const struct nqsim_net nqsim_net = {.begin = net_begin,
                                    .set_weather = net_set_weather,
                                    .cut = net_cut,
                                    .crash = net_crash,
                                    .bytes = net_bytes,
                                    .cuts = net_cuts};

static const struct nqt_opt sim_options[] = {
    {.name = "node", .def = "server", .type = NQT_OPT_STR, .help = "Who this is"},
};

static const struct nqt_ops sim_ops = {.size = sizeof(struct nqt_ops),
                                       .mod_open = sim_mod_open,
                                       .mod_close = sim_mod_close,
                                       .ep_open = sim_ep_open,
                                       .ep_close = sim_ep_close,
                                       .connect = sim_connect,
                                       .attach = sim_attach,
                                       .send = sim_send,
                                       .rx_hold = sim_rx_hold,
                                       .shutdown = sim_shutdown,
                                       .close = sim_close,
                                       .info = sim_info};

NQT_MODULE(simnet) = {.magic = NQT_MAGIC,
                      .size = sizeof(struct nqt_module),
                      .threading = NQT_THREADING_LOOP,
                      .nopt = 1,
                      .opt_size = sizeof(struct nqt_opt),
                      .caps = NQT_CAP_STREAM | NQT_CAP_LISTEN | NQT_CAP_CONNECT |
                              NQT_CAP_PEER_PRESENCE | NQT_CAP_GATHER | NQT_CAP_RX_HOLD |
                              NQT_CAP_DRAIN,
                      .name = "simnet",
                      .version = "0.1.0",
                      .wire = "simnet",
                      .license = "MIT",
                      .summary = "A network in memory, for the simulation",
                      .opt = sim_options,
                      .ops = &sim_ops};
