/* Endpoints, and the addresses of those that listen.
 *
 * gRPC says of an address that it cannot have no more than that.  So each is bound here first, for
 * the reason, and let go again. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "grpc_rounds.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

struct listen_addr {
    char host[INET6_ADDRSTRLEN];
};

/* ---- listening -------------------------------------------------------------------------- */

/* Can the address be had?  0 or an errno. */
static int listen_probe(const char *host, uint16_t port)
{
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } addr = {.in = {.sin_family = AF_INET, .sin_port = htons(port)}};
    socklen_t len = sizeof(addr.in);
    const int on = 1;
    int fd, error = 0;

    if (inet_pton(AF_INET, host, &addr.in.sin_addr) != 1) {
        addr.in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
        len = sizeof(addr.in6);
        if (inet_pton(AF_INET6, host, &addr.in6.sin6_addr) != 1)
            return EINVAL;
    }
    fd = socket(addr.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, &addr.sa, len) || listen(fd, 1))
        error = errno;
    close(fd);
    return error;
}

/* Addresses that this machine does not have now are no reason to give the others up. */
static bool listen_absent(int error)
{
    return error == EADDRNOTAVAIL || error == EAFNOSUPPORT;
}

static int listen_refused(const char *host, const struct ngrpc_opts *opts, int error,
                          struct nqt_error *err)
{
    char name[NGRPC_NAME_MAX];

    ngrpc_address(name, host, opts->port);
    if (!error && opts->tls.on)
        return nqt_fail(err, NQT_E_CONFIG,
                        "listen on %s: gRPC refuses certificate, key or \"ca\" of \"tls\"; do "
                        "they fit?",
                        name);
    if (!error)
        return nqt_fail(err, NQT_E_SYS, "listen on %s: gRPC cannot have the address", name);
    return nqt_fail_native(err, listen_absent(error) ? NQT_E_UNREACHABLE : NQT_E_SYS, "errno",
                           error, "listen on %s: %s%s", name, strerror(error),
                           error == EADDRINUSE ? "; is another server running?" : "");
}

/* Add all of them; *port becomes the one that the system chose. */
static int listen_add_all(struct nqtp_ep *ep, grpc_server *server, const struct listen_addr *addrs,
                          uint32_t n, struct nqt_error *err)
{
    grpc_server_credentials *creds = ngrpc_tls_server(ep);
    uint32_t added = 0;
    int rc = NQT_OK;

    for (uint32_t i = 0; i < n && !rc; i++) {
        int error = listen_probe(addrs[i].host, ep->opts.port), port = 0;
        char name[NGRPC_NAME_MAX];

        if (error && listen_absent(error) && (i + 1 < n || added))
            continue;
        ngrpc_address(name, addrs[i].host, ep->opts.port);
        if (!error)
            port = grpc_server_add_http2_port(server, name, creds);
        if (port <= 0) {
            rc = listen_refused(addrs[i].host, &ep->opts, error, err);
            continue;
        }
        ep->opts.port = (uint16_t)port;
        if (!added++)
            ngrpc_address(ep->name, addrs[i].host, (unsigned)port);
    }
    grpc_server_credentials_release(creds);
    return rc;
}

static int listen_start(struct nqtp_ep *ep, const struct listen_addr *addrs, uint32_t n,
                        struct nqt_error *err)
{
    struct ngrpc_server *server;
    int rc;

    if (!n)
        return nqt_fail(err, NQT_E_UNREACHABLE, "listen on %s: no such address", ep->opts.host);
    server = ngrpc_server_new(ep);
    if (!server)
        return nqt_fail(err, NQT_E_NOMEM, "listen on %s: no memory", ep->opts.host);
    rc = listen_add_all(ep, server->server, addrs, n, err);
    if (rc) {
        ngrpc_server_shutdown(server);
        return rc;
    }
    grpc_server_start(server->server);
    pthread_mutex_lock(&ep->room->mtx);
    ep->server = server;
    pthread_mutex_unlock(&ep->room->mtx);
    ngrpc_server_ask(server);
    nqt_log(ep->mod->host, ep->mod->core, NQT_LOG_INFO, "listening on %s (%u address%s)", ep->name,
            n, n > 1 ? "es" : "");
    (void)NQT_EMIT_EP(ep, NQT_EV_EP_UP, .peer_name = ep->name);
    return NQT_OK;
}

static uint32_t listen_numeric(const char *host, struct listen_addr *out)
{
    unsigned char binary[sizeof(struct in6_addr)];

    if (inet_pton(AF_INET, host, binary) != 1 && inet_pton(AF_INET6, host, binary) != 1)
        return 0;
    snprintf(out->host, sizeof(out->host), "%s", host);
    return 1;
}

/* The addresses that need no resolver; 0: ask it. */
static uint32_t listen_known(const char *host, struct listen_addr out[2])
{
    bool star = strcmp(host, "*") == 0;

    if (!star && strcasecmp(host, "localhost") != 0)
        return listen_numeric(host, out);
    /* gRPC has one socket for IPv6 and IPv4 on every address, where the system can. */
    if (star && listen_probe("::", 0))
        return listen_numeric("0.0.0.0", &out[0]);
    if (star)
        return listen_numeric("::", &out[0]);
    return listen_numeric("127.0.0.1", &out[0]) + listen_numeric("::1", &out[1]);
}

static bool listen_text(const struct nqt_addr *addr, struct listen_addr *out)
{
    const struct sockaddr *sa = addr->addr;
    const void *bytes = sa->sa_family == AF_INET
                            ? (const void *)&((const struct sockaddr_in *)addr->addr)->sin_addr
                            : (const void *)&((const struct sockaddr_in6 *)addr->addr)->sin6_addr;

    return (sa->sa_family == AF_INET || sa->sa_family == AF_INET6) &&
           inet_ntop(sa->sa_family, bytes, out->host, sizeof(out->host));
}

static void listen_resolved(void *arg, const struct nqt_addr *found, uint32_t n,
                            const struct nqt_error *err)
{
    struct nqtp_ep *ep = arg;
    struct nqt_error failure = {.size = sizeof(failure)};
    struct listen_addr addrs[NGRPC_ADDRS_MAX];
    uint32_t naddr = 0;
    int rc;

    for (uint32_t i = 0; i < n && naddr < NGRPC_ADDRS_MAX; i++)
        naddr += listen_text(&found[i], &addrs[naddr]);
    if (!ep->room->closing) {
        rc = err ? nqt_fail(&failure, err->code, "%s", err->text)
                 : listen_start(ep, addrs, naddr, &failure);
        if (rc && rc != NQT_E_CLOSED) /* the host gave the question up: ep_close() follows */
            (void)NQT_EMIT_EP(ep, NQT_EV_EP_DOWN, .err = &failure);
    }
    ngrpc_room_drop(ep->room);
}

/* ---- slots ------------------------------------------------------------------------------ */

static int listen_open(struct nqtp_ep *ep, struct nqt_error *err)
{
    struct listen_addr addrs[2];
    uint32_t n = listen_known(ep->opts.host, addrs);
    int rc;

    if (n)
        return listen_start(ep, addrs, n, err);
    ngrpc_room_hold(ep->room);
    rc = ep->mod->host->resolve(ep->serial, ep->opts.host, ep->opts.port, NQT_RESOLVE_PASSIVE,
                                listen_resolved, ep);
    if (!rc)
        return NQT_OK;
    ngrpc_room_drop(ep->room); /* not the last one */
    return nqt_fail(err, rc, "resolve %s: the question was refused", ep->opts.host);
}

int ngrpc_ep_open(struct nqtp_mod *mod, nqt_ep *cookie, nqt_serial *serial, nqt_cfg *cfg,
                  int listen, struct nqtp_ep **out, struct nqt_error *err)
{
    struct nqtp_ep *ep = nqt_alloc(mod->host, mod->core, sizeof(*ep));
    int rc;

    if (!ep)
        return nqt_fail(err, NQT_E_NOMEM, "no memory for an endpoint");
    ep->mod = mod;
    ep->cookie = cookie;
    ep->serial = serial;
    ep->listen = listen != 0;
    rc = ngrpc_opts_read(mod->host, cfg, &ep->opts, err);
    if (!rc)
        rc = ngrpc_tls_open(ep, err);
    if (!rc && !listen && !ep->opts.port)
        rc = nqt_fail(err, NQT_E_CONFIG, "port: 0 is only for a server");
    if (!rc && !(ep->room = ngrpc_room_new(ep)))
        rc = nqt_fail(err, NQT_E_NOMEM, "no memory for an endpoint");
    if (ep->room && listen)
        rc = listen_open(ep, err);
    if (rc) {
        if (ep->room)
            ngrpc_room_forget(ep->room);
        ngrpc_tls_unref(ep->tls);
        nqt_free(mod->host, mod->core, ep);
        return rc;
    }
    if (!listen) {
        ngrpc_address(ep->name, ep->opts.host, ep->opts.port);
        (void)NQT_EMIT_EP(ep, NQT_EV_EP_UP);
    }
    *out = ep;
    return NQT_OK;
}

void ngrpc_ep_close(struct nqtp_ep *ep)
{
    struct ngrpc_room *room = ep->room;
    struct ngrpc_server *server;
    bool closing;

    pthread_mutex_lock(&room->mtx);
    closing = room->closing;
    room->closing = true;
    room->deadline_ns = ngrpc_now() + NGRPC_ABANDON_NS;
    server = ep->server;
    ep->server = NULL;
    pthread_mutex_unlock(&room->mtx);
    if (closing)
        return;
    if (server)
        ngrpc_server_shutdown(server);
    ngrpc_round_shut(room);
    ngrpc_drive_late(room->drive);
    ngrpc_poll_recall(room->drive); /* nobody polls an endpoint that closes */
    ngrpc_room_drop(room);          /* may be the end of the endpoint */
}
