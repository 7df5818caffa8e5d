/* The wires of the simulated network: what is under way, what arrives, and what is cut.  Everything
 * that happens to a link happens in its serial, by a post or its timer. */
#include "tests/sim/simnet_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- events ----------------------------------------------------------------------------- */

int nqsim_emit(struct nqtp_link *link, uint32_t kind, const struct nqt_error *err)
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

void nqsim_poke(struct nqtp_link *link)
{
    if (link && link->cookie && !link->posted && !link->finished)
        link->posted = !link->ep->mod->host->post(link->serial, nqsim_link_run, link);
}

/* ---- the wire --------------------------------------------------------------------------- */

struct nqtp_link *nqsim_other_end(const struct nqtp_link *link)
{
    return link->wire ? link->wire->end[!link->side] : NULL;
}

void nqsim_drop_flight(struct nqtp_link *link)
{
    while (link->first) {
        struct packet *packet = link->first;

        link->first = packet->next;
        free(packet);
    }
    link->last = &link->first;
    link->flying = 0;
}

void nqsim_wire_cut(struct wire *wire, bool silent)
{
    if (wire->cut)
        return;
    wire->cut = true;
    nqsim_state.ncuts++;
    for (int i = 0; i < 2; i++) {
        struct nqtp_link *link = wire->end[i];

        if (!link)
            continue;
        nqsim_drop_flight(link);
        if (!silent) {
            link->down_at = nqsim_state.now + (int64_t)nqsim_draw(5000) * US;
            link->down_code = NQT_E_LOST;
        }
        nqsim_poke(link);
    }
}

struct wire *nqsim_wire_new(struct nqtp_link *client, struct nqtp_link *server)
{
    struct wire *wire = calloc(1, sizeof(*wire));

    if (!wire)
        return NULL;
    wire->end[0] = client;
    wire->end[1] = server;
    wire->left = nqsim_state.weather.cut_every
                     ? nqsim_draw(2 * (uint64_t)nqsim_state.weather.cut_every)
                     : UINT64_MAX;
    wire->next = nqsim_state.wires;
    nqsim_state.wires = wire;
    return wire;
}

void nqsim_wire_leave(struct nqtp_link *link)
{
    struct wire *wire = link->wire, **at = &nqsim_state.wires;

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

void nqsim_link_down(struct nqtp_link *link, int code, const char *text)
{
    struct nqt_error err = {.size = sizeof(err), .code = code};

    if (link->state == DOWN || link->state == CLOSED)
        return;
    snprintf(err.text, sizeof(err.text), "%s: %s", link->peer, text);
    nqsim_drop_flight(link);
    link->state = DOWN;
    nqsim_emit(link, NQT_EV_LINK_DOWN, &err);
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
    nqsim_state.bytes += n;
    return host->rx_commit(link->cookie, n) >= 0;
}

static bool is_open(const struct nqtp_link *link)
{
    return link->state == UP || link->state == DRAINING;
}

/* `n` bytes of the first packet are out of the wire. */
static void has_arrived(struct nqtp_link *link, struct packet *packet, size_t n)
{
    struct wire *wire = link->wire;

    packet->off += n;
    link->flying -= n;
    if (packet->off == packet->len) {
        link->first = packet->next;
        if (!link->first)
            link->last = &link->first;
        free(packet);
    }
    if (wire->left != UINT64_MAX)
        wire->left -= n < wire->left ? n : wire->left;
    if (!wire->left)
        nqsim_wire_cut(wire, nqsim_draw(1000) < nqsim_state.weather.silent_1000);
}

static bool deliver_some(struct nqtp_link *link, struct packet *packet)
{
    size_t len = packet->len - packet->off, done;
    struct wire *wire = link->wire;
    bool more;

    if (nqsim_state.weather.pieces)
        len = 1 + nqsim_draw(nqsim_draw(4) ? len : 16) % len;
    if (len > wire->left)
        len = (size_t)wire->left;
    more = !len || hand_up(link, packet->data + packet->off, len, &done);
    if (!len)
        done = 0;
    has_arrived(link, packet, done);
    return more;
}

/* LOSSY: a message arrives whole, or not at all. */
static bool deliver_message(struct nqtp_link *link, struct packet *packet)
{
    const struct nqtp_mod *mod = link->ep->mod;
    size_t len = packet->len;
    struct nqt_buf *buf = link->wire->left < len ? NULL : mod->host->buf_new(mod->core, len);
    const struct nqt_event event = {.size = sizeof(event),
                                    .kind = NQT_EV_RX,
                                    .ep = link->ep->cookie,
                                    .link = link->cookie,
                                    .nbuf = 1,
                                    .buf = &buf};

    if (buf) {
        memcpy(buf->seg[0].iov_base, packet->data, len);
        nqsim_state.bytes += len;
        if (mod->host->emit(mod->core, &event, 1))
            buf->ops->unref(buf); /* lost */
    }
    has_arrived(link, packet, len);
    return true;
}

static void deliver(struct nqtp_link *link)
{
    while (is_open(link) && link->wire && !link->wire->cut && !link->held && link->first &&
           link->first->due <= nqsim_now(link))
        if (!(nqsim_state.lossy ? deliver_message : deliver_some)(link, link->first))
            return;
}

void nqsim_set_timer(struct nqtp_link *link)
{
    int64_t due = link->down_at;

    if (link->first && !link->held && link->first->due < due)
        due = link->first->due;
    if (link->timer)
        link->ep->mod->host->timer_set(link->timer, due == NEVER ? -1 : due);
}

void nqsim_link_tick(void *arg)
{
    struct nqtp_link *link = arg, *other = nqsim_other_end(link);

    deliver(link);
    if (other && other->wants_room && link->flying < nqsim_state.weather.window)
        nqsim_poke(other);
    if (link->state == UP && link->wants_room &&
        (!other || other->flying < nqsim_state.weather.window || link->wire->cut)) {
        link->wants_room = false;
        nqsim_emit(link, NQT_EV_WRITABLE, NULL);
    }
    if (is_open(link) && link->ended && !link->first)
        nqsim_link_down(link, NQT_E_EOF, "closed by the other side");
    if (is_open(link) && link->down_at <= nqsim_now(link))
        nqsim_link_down(link, link->down_code, "the network lost it");
    if (is_open(link))
        nqsim_set_timer(link);
}

/* What was posted runs, also after close(): until then the link stays. */
void nqsim_link_run(void *arg)
{
    struct nqtp_link *link = arg;

    link->posted = false;
    if (link->finished)
        nqsim_link_free(link);
    else
        nqsim_link_tick(link);
}
