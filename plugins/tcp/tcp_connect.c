/* The connecting side: find the addresses, try one after the other.
 *
 * connect_timeout covers the question to the resolver and all tries; each address gets an equal
 * share of what is left, so that one that swallows packets does not hide a good one behind it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tcp.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *connect_hint(int error)
{
    switch (error) {
    case ECONNREFUSED:
        return "; is the server running?";
    case ETIMEDOUT:
        return "; is the address right, and does a firewall let it pass?";
    default:
        return "";
    }
}

static void connect_failed(struct nqtp_link *link)
{
    const struct tcp_opts *opts = &link->ep->opts;
    int error = link->last_errno;
    char named[TCP_HOST_MAX + 32] = "";

    if (link->naddr > 1)
        snprintf(named, sizeof(named), " (the last of %u addresses of %.100s)", link->naddr,
                 opts->host);
    tcp_link_down(link, tcp_code(error), error, "connect to %s%s: %s%s", link->peer, named,
                  strerror(error), connect_hint(error));
}

/* A connection within one machine may meet itself: when nobody listens on a port of the range
 * that the system gives to callers, it can choose that same port for the caller.  Such a socket
 * also would keep the server from its port. */
static bool connect_met_itself(int fd)
{
    struct tcp_addr local = {.len = sizeof(local.u)}, peer = {.len = sizeof(peer.u)};
    const struct linger reset = {.l_onoff = 1};

    if (getsockname(fd, &local.u.sa, &local.len) || getpeername(fd, &peer.u.sa, &peer.len) ||
        !tcp_addr_equal(&local, &peer))
        return false;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    return true;
}

/* Give the present address up. */
static void connect_drop(struct nqtp_link *link, int error)
{
    tcp_link_unwatch(link);
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
    link->last_errno = error;
}

/* The socket says that it is connected.  True: it is, and the link goes on from there. */
static bool connect_made(struct nqtp_link *link)
{
    if (connect_met_itself(link->fd)) {
        connect_drop(link, ECONNREFUSED);
        return false;
    }
    tcp_link_connected(link);
    return true;
}

/* Begin with one address.  True: it is on its way, or the link is up or down. */
static bool connect_begin(struct nqtp_link *link, const struct tcp_addr *addr)
{
    int error;

    tcp_addr_text(addr, link->peer);
    link->fd = socket(addr->u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    error = link->fd < 0 ? errno : 0;
    if (!error)
        error = tcp_opts_early(&link->ep->opts, link->fd, tcp_addr_is_loopback(addr));
    if (!error && connect(link->fd, &addr->u.sa, addr->len))
        error = errno;
    if (!error)
        return connect_made(link);
    if (error == EINPROGRESS || error == EINTR) {
        tcp_link_watch(link);
        return true;
    }
    /* What an unconnected socket answers when no port of its own is free. */
    connect_drop(link, error == EAGAIN ? EADDRNOTAVAIL : error);
    return false;
}

static void connect_next(struct nqtp_link *link)
{
    const struct nqt_host *host = link->ep->mod->host;
    int64_t now, share;

    while (link->next_addr < link->naddr) {
        now = host->now_ns(link->ep->mod->core);
        share = (link->deadline_ns - now) / (link->naddr - link->next_addr);
        host->timer_set(link->timer, now + (share > 0 ? share : 0));
        if (connect_begin(link, &link->addrs[link->next_addr++]))
            return;
    }
    connect_failed(link);
}

void tcp_connect_event(struct nqtp_link *link)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &len))
        error = errno;
    if (error)
        connect_drop(link, error);
    else if (connect_made(link))
        return;
    connect_next(link);
}

static void connect_timeout(void *arg)
{
    struct nqtp_link *link = arg;

    if (link->state == TCP_RESOLVING) {
        tcp_link_down(link, NQT_E_UNREACHABLE, ETIMEDOUT,
                      "resolve %s: no answer within connect_timeout", link->ep->opts.host);
        return;
    }
    connect_drop(link, ETIMEDOUT);
    connect_next(link);
}

/* Keep the addresses that the options allow, and begin. */
static void connect_to(struct nqtp_link *link, const struct tcp_addr *addrs, uint32_t n)
{
    link->addrs =
        n ? nqt_alloc(link->ep->mod->host, link->ep->mod->core, n * sizeof(*addrs)) : NULL;
    if (n && !link->addrs) {
        tcp_link_down(link, NQT_E_NOMEM, 0, "connect to %s: no memory", link->ep->opts.host);
        return;
    }
    if (!n) {
        tcp_link_down(link, NQT_E_UNREACHABLE, 0, "%s has no address of the family asked for",
                      link->ep->opts.host);
        return;
    }
    memcpy(link->addrs, addrs, n * sizeof(*addrs));
    link->naddr = n;
    link->state = TCP_CONNECTING;
    connect_next(link);
}

static void connect_resolved(void *arg, const struct nqt_addr *found, uint32_t n,
                             const struct nqt_error *err)
{
    struct nqtp_link *link = arg;
    const struct tcp_opts *opts = &link->ep->opts;
    struct tcp_addr addrs[TCP_ADDRS_MAX];
    uint32_t naddr = 0;

    link->asked = false;
    if (link->state == TCP_CLOSED && link->finished)
        tcp_link_finish(link);
    else if (link->state == TCP_RESOLVING && err)
        tcp_link_down(link, err->code, 0, "%s", err->text);
    else if (link->state == TCP_RESOLVING) {
        for (uint32_t i = 0; i < n && naddr < TCP_ADDRS_MAX; i++)
            if (tcp_addr_from(found[i].addr, found[i].len, &addrs[naddr]) &&
                (!opts->family || addrs[naddr].u.sa.sa_family == opts->family))
                naddr++;
        connect_to(link, addrs, naddr);
    }
}

static int connect_start(struct nqtp_link *link)
{
    const struct tcp_opts *opts = &link->ep->opts;
    const struct nqt_host *host = link->ep->mod->host;
    struct tcp_addr addrs[2];
    uint32_t n = tcp_addr_known(opts, false, addrs);
    int rc;

    if (n) {
        connect_to(link, addrs, n);
        return NQT_OK;
    }
    rc = host->resolve(link->serial, opts->host, opts->port, 0, connect_resolved, link);
    link->asked = !rc;
    return rc;
}

/* What tcp_close() would do, but silently: the core does not know the link yet. */
static void connect_undo(struct nqtp_link *link)
{
    struct nqtp_ep *ep = link->ep;

    nqt_timer_stop(ep->mod->host, &link->timer);
    nqt_free(ep->mod->host, ep->mod->core, link);
    tcp_ep_unref(ep);
}

int tcp_connect(struct nqtp_ep *ep, nqt_link *cookie, nqt_serial *serial, struct nqtp_link **out,
                struct nqt_error *err)
{
    const struct nqt_host *host = ep->mod->host;
    struct nqtp_link *link;
    int rc;

    if (ep->listen)
        return nqt_fail(err, NQT_E_INVAL, "a listening endpoint does not connect");
    link = tcp_link_new(ep, TCP_RESOLVING);
    if (!link)
        return nqt_fail(err, NQT_E_NOMEM, "connect to %s: no memory", ep->opts.host);
    link->cookie = cookie;
    link->serial = serial;
    link->deadline_ns = host->now_ns(ep->mod->core) + ep->opts.connect_timeout_ns;
    rc = nqt_timer_start(host, ep->mod->core, serial, connect_timeout, link,
                         ep->opts.connect_timeout_ns, &link->timer);
    if (rc) {
        connect_undo(link);
        return nqt_fail(err, rc, "connect to %s: no timer", ep->opts.host);
    }
    snprintf(link->peer, sizeof(link->peer), "%.70s:%u", ep->opts.host, ep->opts.port);
    rc = connect_start(link);
    if (rc) {
        connect_undo(link);
        return nqt_fail(err, rc, "resolve %s: the question was refused", ep->opts.host);
    }
    *out = link;
    return NQT_OK;
}
