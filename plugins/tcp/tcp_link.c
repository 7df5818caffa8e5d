/* Life of a link: what brings it up, holds it, takes it down and frees it.
 *
 * rx_commit() is the one call of the host that may come back here with close(), so nothing is
 * freed inside close(): a post does that, when no frame of ours is left on the stack. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tcp.h"
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct nqtp_link *tcp_link_new(struct nqtp_ep *ep, enum tcp_state state)
{
    struct nqtp_link *link = nqt_alloc(ep->mod->host, ep->mod->core, sizeof(*link));

    if (!link)
        return NULL;
    tcp_ep_ref(ep);
    link->ep = ep;
    link->serial = ep->serial;
    link->state = state;
    link->fd = -1;
    return link;
}

/* ---- watching --------------------------------------------------------------------------- */

static void link_event(void *arg, uint32_t events)
{
    struct nqtp_link *link = arg;

    tcp_link_enter(link);
    if (link->state == TCP_CONNECTING)
        tcp_connect_event(link);
    else if (link->state == TCP_SECURING)
        tcp_tls_handshake(link);
    else if (tcp_link_open(link))
        tcp_io_event(link, events);
    tcp_link_leave(link);
}

static uint32_t link_wants(const struct nqtp_link *link)
{
    uint32_t events = 0;

    if (link->state == TCP_CONNECTING)
        return POLLOUT;
    if (link->state == TCP_SECURING)
        return tcp_tls_is_full(link) ? POLLIN | POLLOUT : POLLIN;
    if (!link->held && !link->rx_paused && !link->asked_only)
        events |= POLLIN;
    if (link->blocked && !link->tx_errno)
        events |= POLLOUT;
    return events;
}

/* Also without interest in data the watch stays, since it tells of a reset.  Not so of a socket
 * that has hung up in good order and may not be read: it would fire for ever.  Nor of one that the
 * core asks by rx_poll(), which learns of a reset by itself: whoever sends to a socket in epoll
 * pays some hundred nanoseconds for each packet, also when nobody is told. */
static bool link_needs_watch(const struct nqtp_link *link, uint32_t events)
{
    if (events)
        return true;
    return !link->hung_up && (!link->asked_only || link->held || link->rx_paused);
}

void tcp_link_watch(struct nqtp_link *link)
{
    const struct nqt_host *host = link->ep->mod->host;
    uint32_t events = link_wants(link);
    int rc = NQT_OK;

    if (link->state != TCP_CONNECTING && link->state != TCP_SECURING && !tcp_link_open(link))
        return;
    if (!link_needs_watch(link, events)) {
        tcp_link_unwatch(link);
        return;
    }
    if (!link->watch)
        rc = host->fd_add(link->serial, link->fd, events, link_event, link, &link->watch);
    else if (events != link->watched)
        rc = host->fd_mod(link->watch, events);
    link->watched = events;
    if (rc)
        tcp_link_down(link, rc, 0, "%s: the socket cannot be watched", link->peer);
}

void tcp_link_unwatch(struct nqtp_link *link)
{
    if (link->watch)
        link->ep->mod->host->fd_del(link->watch);
    link->watch = NULL;
    link->watched = 0;
}

void tcp_link_enter(struct nqtp_link *link)
{
    link->inside++;
}

void tcp_link_leave(struct nqtp_link *link)
{
    if (--link->inside == 0 && link->finish_late)
        tcp_link_finish(link);
}

/* ---- up and down ------------------------------------------------------------------------ */

static void link_names(struct nqtp_link *link)
{
    struct tcp_addr addr = {.len = sizeof(addr.u)};

    if (!getsockname(link->fd, &addr.u.sa, &addr.len))
        tcp_addr_text(&addr, link->local);
}

bool tcp_link_set_timer(struct nqtp_link *link, void (*fn)(void *), int64_t after_ns)
{
    const struct nqtp_mod *mod = link->ep->mod;

    nqt_timer_stop(mod->host, &link->timer);
    if (!nqt_timer_start(mod->host, mod->core, link->serial, fn, link, after_ns, &link->timer))
        return true;
    tcp_link_down(link, NQT_E_NOMEM, 0, "%s: no timer", link->peer);
    return false;
}

void tcp_link_connected(struct nqtp_link *link)
{
    link->fresh = !link->ep->store;
    if (link->fresh)
        tcp_link_up(link);
    else
        tcp_tls_begin(link);
}

void tcp_link_up(struct nqtp_link *link)
{
    nqt_timer_stop(link->ep->mod->host, &link->timer);
    nqt_free(link->ep->mod->host, link->ep->mod->core, link->addrs);
    link->addrs = NULL;
    link_names(link);
    link->epoch = atomic_fetch_add(&link->ep->mod->epochs, 1) + 1;
    link->state = TCP_UP;
    (void)NQT_EMIT_LINK(link, NQT_EV_LINK_UP);
    tcp_link_watch(link);
}

/* Give back all but the memory. */
static void link_release(struct nqtp_link *link)
{
    tcp_link_unwatch(link);
    nqt_timer_stop(link->ep->mod->host, &link->timer);
    if (link->tls)
        tcp_tls_release(link);
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
    if (link->left)
        link->left->ops->unref(link->left);
    link->left = NULL;
    nqt_free(link->ep->mod->host, link->ep->mod->core, link->addrs);
    link->addrs = NULL;
}

void tcp_link_down(struct nqtp_link *link, int code, int native, const char *format, ...)
{
    struct nqt_error err = {.size = sizeof(err)};
    va_list args;

    if (link->state == TCP_DOWN || link->state == TCP_CLOSED)
        return;
    va_start(args, format);
    (void)nqt_vfail_native(&err, code, "errno", native, format, args);
    va_end(args);
    link_release(link);
    link->state = TCP_DOWN;
    (void)NQT_EMIT_LINK(link, NQT_EV_LINK_DOWN, .err = &err);
}

/* ---- slots ------------------------------------------------------------------------------ */

int tcp_attach(struct nqtp_link *link, nqt_link *cookie, nqt_serial *serial)
{
    if (link->state != TCP_ACCEPTED)
        return NQT_E_INVAL;
    link->cookie = cookie;
    link->serial = serial;
    tcp_link_connected(link);
    return NQT_OK;
}

int tcp_rx_hold(struct nqtp_link *link, int hold)
{
    link->held = hold != 0;
    if (!link->held)
        link->rx_paused = false;
    if (!tcp_link_open(link))
        return NQT_OK;
    tcp_link_watch(link);
    if (link->tls && tcp_link_open(link))
        tcp_tls_resume(link);
    return NQT_OK;
}

static void link_drain_over(void *arg)
{
    struct nqtp_link *link = arg;

    tcp_link_down(link, NQT_E_EOF, 0, "%s: ended by this side; the other side still sends",
                  link->peer);
}

void tcp_link_drained(struct nqtp_link *link)
{
    const struct nqtp_mod *mod = link->ep->mod;

    if (link->timer) /* done: a socket that was full when it was shut down has room at once */
        return;
    if (link->tls && !tcp_tls_goodbye(link)) {
        link->blocked = true; /* tried again when the socket has room */
        tcp_link_watch(link);
        return;
    }
    if (shutdown(link->fd, SHUT_WR)) {
        tcp_link_down(link, NQT_E_LOST, errno, "%s: %s", link->peer, strerror(errno));
        return;
    }
    if (nqt_timer_start(mod->host, mod->core, link->serial, link_drain_over, link, TCP_DRAIN_NS,
                        &link->timer))
        link_drain_over(link); /* no memory to wait for the other side */
}

int tcp_shutdown(struct nqtp_link *link)
{
    if (link->state == TCP_CLOSED || link->state == TCP_ACCEPTED)
        return NQT_E_INVAL;
    if (link->state == TCP_DOWN || link->state == TCP_DRAINING)
        return NQT_OK;
    if (link->state != TCP_UP) {
        tcp_link_down(link, NQT_E_EOF, 0, "%s: ended before it was connected", link->ep->opts.host);
        return NQT_OK;
    }
    link->state = TCP_DRAINING;
    if (!link->left && !link->tx_errno)
        tcp_link_drained(link);
    return NQT_OK;
}

void tcp_link_finish(void *arg)
{
    struct nqtp_link *link = arg;
    struct nqtp_ep *ep = link->ep;
    const struct nqtp_mod *mod = ep->mod;
    struct nqt_event event = NQT_LINK_EVENT(link, NQT_EV_LINK_CLOSED);
    /* A link that was never attached has no cookie, and nobody to tell. */
    bool emit = link->cookie && !link->finished, last = !link->asked;

    link->finished = true;
    link->finish_late = false;
    event.peer_name = NULL; /* it may end now */
    if (last) {
        nqt_free(mod->host, mod->core, link->tls);
        nqt_free(mod->host, mod->core, link);
    }
    if (emit)
        mod->host->emit(mod->core, &event, 1);
    if (last)
        tcp_ep_unref(ep);
}

void tcp_close(struct nqtp_link *link)
{
    if (link->state == TCP_CLOSED)
        return;
    if (link->tls && tcp_link_open(link))
        (void)tcp_tls_goodbye(link);
    link_release(link);
    link->state = TCP_CLOSED;
    if (!link->ep->mod->host->post(link->serial, tcp_link_finish, link))
        return;
    /* No memory to post: when it is known that nobody is inside, that is as good. */
    if (link->inside)
        link->finish_late = true;
    else
        tcp_link_finish(link);
}

int tcp_info(struct nqtp_link *link, struct nqt_info *out)
{
    const char *identity = link->tls ? tcp_tls_identity(link) : NULL;
    uint64_t caps = NQT_CAP_STREAM | NQT_CAP_PEER_PRESENCE | NQT_CAP_GATHER | NQT_CAP_RX_HOLD |
                    NQT_CAP_DRAIN | (link->tls ? NQT_CAP_CONFIDENTIAL : 0) |
                    (identity ? NQT_CAP_PEER_IDENTITY : 0) |
                    (link->tls && tcp_tls_chose(link) ? 0 : NQT_CAP_PLAIN);
    int rc = nqt_info_answer(out, caps, 0, link->local, link->peer);

    if (!rc)
        out->peer_identity = identity;
    return rc;
}
