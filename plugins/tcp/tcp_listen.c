/* Endpoints: listen and accept.
 *
 * Addresses that need no resolver are bound inside ep_open, so that a port in use is an error of
 * that call; another name is resolved first, and what goes wrong then is EP_DOWN. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tcp.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LISTEN_ACCEPTS 16   /* in one callback; others want their turn */
#define LISTEN_PORT_TRIES 8 /* to find one port that is free on every address */

void tcp_ep_ref(struct nqtp_ep *ep)
{
    atomic_fetch_add_explicit(&ep->refs, 1, memory_order_relaxed);
}

void tcp_ep_unref(struct nqtp_ep *ep)
{
    const struct nqtp_mod *mod = ep->mod;
    nqt_ep *cookie = ep->cookie;

    if (atomic_fetch_sub_explicit(&ep->refs, 1, memory_order_acq_rel) != 1)
        return;
    tcp_tls_store_close(ep);
    /* The memory first: mod_close() may follow the event at once. */
    nqt_free(mod->host, mod->core, ep);
    nqt_emit_ep_closed(mod->host, mod->core, cookie);
}

/* ---- accepting -------------------------------------------------------------------------- */

static void listen_watch_all(void *arg, int on)
{
    struct nqtp_ep *ep = arg;

    for (uint32_t i = 0; i < ep->nlistener; i++)
        (void)ep->mod->host->fd_mod(ep->listener[i].watch, on ? POLLIN : 0);
}

/* False: the system is short of something. */
static bool listen_take(struct nqtp_ep *ep, int fd, const struct tcp_addr *peer)
{
    struct nqtp_link *link = tcp_link_new(ep, TCP_ACCEPTED);

    if (!link) {
        close(fd);
        return false;
    }
    link->fd = fd;
    tcp_opts_accepted(&ep->opts, fd, tcp_addr_is_loopback(peer));
    tcp_addr_text(peer, link->peer);
    (void)NQT_EMIT_LINK(link, NQT_EV_ACCEPT);
    return true;
}

/* True: try another one. */
static bool listen_accept(struct tcp_listener *listener)
{
    struct nqtp_ep *ep = listener->ep;
    struct tcp_addr peer = {.len = sizeof(peer.u)};
    int fd = accept4(listener->fd, &peer.u.sa, &peer.len, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd >= 0 && listen_take(ep, fd, &peer))
        return true;
    if (fd < 0)
        return nqt_door_failed(&ep->door, listener->fd, errno);
    nqt_door_rest(&ep->door, "no memory");
    return false;
}

static void listen_event(void *arg, uint32_t events)
{
    struct tcp_listener *listener = arg;

    (void)events;
    if (listener->ep->closed || listener->ep->door.resting)
        return;
    for (int i = 0; i < LISTEN_ACCEPTS && listen_accept(listener); i++)
        continue;
}

/* ---- binding ---------------------------------------------------------------------------- */

static void listen_stop(struct nqtp_ep *ep)
{
    const struct nqt_host *host = ep->mod->host;

    while (ep->nlistener) {
        struct tcp_listener *last = &ep->listener[--ep->nlistener];

        if (last->watch)
            host->fd_del(last->watch);
        close(last->fd);
        *last = (struct tcp_listener){.fd = -1};
    }
}

/* A listening socket on `addr`; a negative errno. */
static int listen_socket(const struct tcp_opts *opts, const struct tcp_addr *addr)
{
    bool near = tcp_addr_is_loopback(addr) || tcp_addr_is_any(addr);
    int fd = socket(addr->u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    int error;

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (addr->u.sa.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    error = tcp_opts_early(opts, fd, near);
    if (!error && opts->reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)))
        error = errno;
    if (!error && (bind(fd, &addr->u.sa, addr->len) || listen(fd, opts->backlog)))
        error = errno;
    if (error)
        close(fd);
    return error ? -error : fd;
}

static int listen_failed(const struct tcp_addr *addr, int error, struct nqt_error *err)
{
    char name[TCP_NAME_MAX];

    tcp_addr_text(addr, name);
    return nqt_fail_native(err, tcp_code(error), "errno", error, "listen on %s: %s%s", name,
                           strerror(error),
                           error == EADDRINUSE ? "; is another server running?" : "");
}

/* Addresses that this machine does not have now are no reason to give the others up. */
static bool listen_absent(int error)
{
    return error == EADDRNOTAVAIL || error == EAFNOSUPPORT;
}

static int listen_add(struct nqtp_ep *ep, int fd)
{
    struct tcp_listener *listener = &ep->listener[ep->nlistener];
    int rc;

    *listener = (struct tcp_listener){.ep = ep, .fd = fd};
    rc = ep->mod->host->fd_add(ep->serial, fd, POLLIN, listen_event, listener, &listener->watch);
    if (rc)
        close(fd);
    else
        ep->nlistener++;
    return rc;
}

static uint16_t listen_port(const struct nqtp_ep *ep)
{
    struct tcp_addr addr = {.len = sizeof(addr.u)};

    if (getsockname(ep->listener[0].fd, &addr.u.sa, &addr.len))
        return 0;
    return tcp_addr_port(&addr);
}

/* Bind all of them once; on failure none. */
static int listen_try(struct nqtp_ep *ep, const struct tcp_addr *addrs, uint32_t n,
                      struct nqt_error *err)
{
    int rc = NQT_E_UNREACHABLE;

    for (uint32_t i = 0; i < n && ep->nlistener < TCP_LISTENERS_MAX; i++) {
        struct tcp_addr addr = addrs[i];
        int fd;

        if (!ep->opts.port && ep->nlistener)
            tcp_addr_set_port(&addr, listen_port(ep)); /* one port for all of them */
        fd = listen_socket(&ep->opts, &addr);
        if (fd < 0 && listen_absent(-fd) && (i + 1 < n || ep->nlistener))
            continue;
        if (fd < 0)
            rc = listen_failed(&addr, -fd, err);
        else if ((rc = listen_add(ep, fd)))
            nqt_fail(err, rc, "listen on %s: the socket cannot be watched", ep->opts.host);
        if (rc) {
            listen_stop(ep);
            return rc;
        }
    }
    return ep->nlistener ? NQT_OK : rc;
}

static int listen_bind(struct nqtp_ep *ep, const struct tcp_addr *addrs, uint32_t n,
                       struct nqt_error *err)
{
    struct tcp_addr first = {.len = sizeof(first.u)};
    char name[TCP_NAME_MAX];
    int rc = NQT_E_UNREACHABLE;

    if (!n)
        return nqt_fail(err, rc, "listen on %s: no address of the family asked for", ep->opts.host);
    for (int i = 0; i < LISTEN_PORT_TRIES; i++) {
        rc = listen_try(ep, addrs, n, err);
        /* Only a port that the system chose may be tried again. */
        if (!rc || ep->opts.port || n == 1)
            break;
    }
    if (rc)
        return rc;
    getsockname(ep->listener[0].fd, &first.u.sa, &first.len);
    tcp_addr_text(&first, name);
    nqt_log(ep->mod->host, ep->mod->core, NQT_LOG_INFO, "listening on %s (%u address%s)", name,
            ep->nlistener, ep->nlistener > 1 ? "es" : "");
    (void)NQT_EMIT_EP(ep, NQT_EV_EP_UP, .peer_name = name);
    return NQT_OK;
}

static void listen_resolved(void *arg, const struct nqt_addr *found, uint32_t n,
                            const struct nqt_error *err)
{
    struct nqtp_ep *ep = arg;
    struct nqt_error failure = {.size = sizeof(failure)};
    struct tcp_addr addrs[TCP_ADDRS_MAX];
    uint32_t naddr = 0;
    int rc;

    for (uint32_t i = 0; i < n && naddr < TCP_ADDRS_MAX; i++)
        if (tcp_addr_from(found[i].addr, found[i].len, &addrs[naddr]) &&
            (!ep->opts.family || addrs[naddr].u.sa.sa_family == ep->opts.family))
            naddr++;
    if (!ep->closed) {
        rc = err ? nqt_fail(&failure, err->code, "%s", err->text)
                 : listen_bind(ep, addrs, naddr, &failure);
        if (rc && rc != NQT_E_CLOSED) /* the host gave the question up: ep_close() follows */
            (void)NQT_EMIT_EP(ep, NQT_EV_EP_DOWN, .err = &failure);
    }
    tcp_ep_unref(ep);
}

/* ---- slots ------------------------------------------------------------------------------ */

static int listen_start(struct nqtp_ep *ep, struct nqt_error *err)
{
    const struct nqt_host *host = ep->mod->host;
    struct tcp_addr addrs[2];
    uint32_t n;
    int rc = nqt_door_open(&ep->door, host, ep->mod->core, ep->serial, listen_watch_all, ep);

    if (rc)
        return nqt_fail(err, rc, "listen on %s: no timer", ep->opts.host);
    n = tcp_addr_known(&ep->opts, true, addrs);
    if (n)
        return listen_bind(ep, addrs, n, err);
    tcp_ep_ref(ep);
    rc = host->resolve(ep->serial, ep->opts.host, ep->opts.port, NQT_RESOLVE_PASSIVE,
                       listen_resolved, ep);
    if (!rc)
        return NQT_OK;
    atomic_fetch_sub(&ep->refs, 1);
    return nqt_fail(err, rc, "resolve %s: the question was refused", ep->opts.host);
}

/* Give back all but the memory. */
static void listen_release(struct nqtp_ep *ep)
{
    listen_stop(ep);
    nqt_door_close(&ep->door);
}

int tcp_ep_open(struct nqtp_mod *mod, nqt_ep *cookie, nqt_serial *serial, nqt_cfg *cfg, int listen,
                struct nqtp_ep **out, struct nqt_error *err)
{
    struct nqtp_ep *ep = nqt_alloc(mod->host, mod->core, sizeof(*ep));
    int rc;

    if (!ep)
        return nqt_fail(err, NQT_E_NOMEM, "no memory for an endpoint");
    ep->mod = mod;
    ep->cookie = cookie;
    ep->serial = serial;
    ep->listen = listen != 0;
    atomic_init(&ep->refs, 1);
    rc = tcp_opts_read(mod->host, cfg, &ep->opts, err);
    if (!rc && !listen && !ep->opts.port)
        rc = nqt_fail(err, NQT_E_CONFIG, "port: 0 is only for a server");
    if (!rc)
        rc = tcp_tls_store_open(ep, err);
    if (!rc && listen)
        rc = listen_start(ep, err);
    if (rc) {
        listen_release(ep);
        tcp_tls_store_close(ep);
        nqt_free(mod->host, mod->core, ep);
        return rc;
    }
    if (!listen)
        (void)NQT_EMIT_EP(ep, NQT_EV_EP_UP);
    *out = ep;
    return NQT_OK;
}

void tcp_ep_close(struct nqtp_ep *ep)
{
    if (ep->closed)
        return;
    ep->closed = true;
    listen_release(ep);
    tcp_ep_unref(ep);
}
