/* Endpoints, and the servers of those that listen.
 *
 * gRPC says of an address that it cannot have no more than that.  So each is bound here first, for
 * the reason, and let go again. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "grpc.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

/* gRPC's server and our request for the next call; lives until its shutdown has completed. */
struct ngrpc_server {
    struct ngrpc_room *room; /* one `busy` */
    grpc_server *server;
    const struct ngrpc_opts opts;
    _Atomic uint32_t refs; /* the endpoint or the shutdown; the request */
    struct ngrpc_tag on_call, on_shutdown;
    /* the request's outputs */
    grpc_call *call;
    grpc_call_details details;
    grpc_metadata_array metadata;
};

struct listen_addr {
    char host[INET6_ADDRSTRLEN];
};

static void listen_emit(struct nqtp_ep *ep, uint32_t kind, struct nqtp_link *link, const char *name,
                        const struct nqt_error *err)
{
    const struct nqt_event event = {.size = sizeof(event),
                                    .kind = kind,
                                    .ep = ep->cookie,
                                    .plink = link,
                                    .peer_name = name,
                                    .err = err};

    ep->mod->host->emit(ep->mod->core, &event, 1);
}

/* ---- calls that come -------------------------------------------------------------------- */

static void server_unref(struct ngrpc_server *server)
{
    struct ngrpc_room *room = server->room;

    if (atomic_fetch_sub(&server->refs, 1) != 1)
        return;
    grpc_call_details_destroy(&server->details);
    grpc_metadata_array_destroy(&server->metadata);
    grpc_server_destroy(server->server);
    free(server);
    ngrpc_room_leave(room);
}

/* Have the next call come, unless enough wait. */
static void server_ask(struct ngrpc_server *server)
{
    struct ngrpc_room *room = server->room;
    bool ask;

    pthread_mutex_lock(&room->mtx);
    ask = !room->closing && !room->asked && room->waiting < server->opts.backlog;
    if (ask) {
        room->asked = true;
        atomic_fetch_add(&server->refs, 1);
    }
    pthread_mutex_unlock(&room->mtx);
    atomic_fetch_add_explicit(&room->drive->started, 1, memory_order_release);
    if (ask && grpc_server_request_call(server->server, &server->call, &server->details,
                                        &server->metadata, room->drive->cq, room->drive->cq,
                                        &server->on_call) != GRPC_CALL_OK)
        server->on_call.done(&server->on_call, false);
}

/* Another service's client, or a wrong path. */
static void server_turn_away(grpc_call *call)
{
    (void)grpc_call_cancel_with_status(call, GRPC_STATUS_UNIMPLEMENTED,
                                       "netqueue serves " NGRPC_METHOD " only", NULL);
    grpc_call_unref(call);
}

void ngrpc_listen_poke(struct ngrpc_room *room);

/* In the room's list, for the endpoint's serial to announce; false: the endpoint is closing. */
static bool server_arrived(struct ngrpc_room *room, struct ngrpc_stream *stream)
{
    bool open, owes;

    pthread_mutex_lock(&room->mtx);
    open = !room->closing;
    if (open) {
        *room->arrived_tail = stream;
        room->arrived_tail = &stream->arrived;
        stream->counted = true;
        room->waiting++;
        ngrpc_listen_poke(room);
    }
    owes = room->owes_post;
    pthread_mutex_unlock(&room->mtx);
    if (owes)
        ngrpc_drive_late(room->drive);
    return open;
}

static void server_take(struct ngrpc_server *server, grpc_call *call)
{
    struct ngrpc_stream *stream = ngrpc_stream_new(server->room, &server->opts, call, NULL);

    if (!stream)
        return;
    ngrpc_stream_open(stream);
    if (!server_arrived(server->room, stream))
        ngrpc_stream_close(stream, false);
}

static void server_on_call(struct ngrpc_tag *tag, bool ok)
{
    struct ngrpc_server *server =
        (struct ngrpc_server *)(void *)((char *)tag - offsetof(struct ngrpc_server, on_call));
    struct ngrpc_room *room = server->room;
    bool ours = ok && !grpc_slice_str_cmp(server->details.method, NGRPC_METHOD);

    if (ours)
        server_take(server, server->call);
    else if (ok)
        server_turn_away(server->call);
    if (ok) {
        grpc_slice_unref(server->details.method);
        grpc_slice_unref(server->details.host);
        grpc_call_details_init(&server->details);
        server->metadata.count = 0;
    }
    pthread_mutex_lock(&room->mtx);
    room->asked = false;
    pthread_mutex_unlock(&room->mtx);
    if (ok)
        server_ask(server);
    server_unref(server);
}

static void server_on_shutdown(struct ngrpc_tag *tag, bool ok)
{
    (void)ok;
    server_unref(
        (struct ngrpc_server *)(void *)((char *)tag - offsetof(struct ngrpc_server, on_shutdown)));
}

/* ---- announcing them -------------------------------------------------------------------- */

static struct ngrpc_stream *listen_next(struct ngrpc_room *room)
{
    struct ngrpc_stream *stream;

    pthread_mutex_lock(&room->mtx);
    stream = room->arrived;
    if (stream) {
        room->arrived = stream->arrived;
        if (!room->arrived)
            room->arrived_tail = &room->arrived;
        stream->arrived = NULL;
    }
    pthread_mutex_unlock(&room->mtx);
    return stream;
}

static void listen_announce(struct nqtp_ep *ep, struct ngrpc_stream *stream)
{
    struct nqtp_link *link = ep->server ? ngrpc_link_new(ep, NGRPC_ACCEPTED) : NULL;

    if (!link) {
        ngrpc_stream_close(stream, false);
        return;
    }
    link->stream = stream;
    atomic_fetch_add_explicit(&stream->refs, 1, memory_order_relaxed);
    ngrpc_peer_name(stream->call, link->peer);
    snprintf(link->local, sizeof(link->local), "%s", ep->name);
    pthread_mutex_lock(&stream->mtx);
    stream->link = link;
    pthread_mutex_unlock(&stream->mtx);
    listen_emit(ep, NQT_EV_ACCEPT, link, link->peer, NULL);
}

/* In the endpoint's serial. */
static void listen_work(void *arg)
{
    struct nqtp_ep *ep = arg;
    struct ngrpc_room *room = ep->room;
    struct ngrpc_stream *stream;

    pthread_mutex_lock(&room->mtx);
    room->posted = false;
    pthread_mutex_unlock(&room->mtx);
    while ((stream = listen_next(room)))
        listen_announce(ep, stream);
    ngrpc_room_drop(room);
}

void ngrpc_listen_poke(struct ngrpc_room *room)
{
    struct nqtp_ep *ep = room->ep;

    if (!ep || room->posted || !room->arrived)
        return;
    room->posted = !room->mod->host->post(ep->serial, listen_work, ep);
    room->owes_post = !room->posted;
    if (room->posted) {
        room->holds++;
        ngrpc_drive_news(room->drive);
    }
}

void ngrpc_listen_settled(struct ngrpc_stream *stream)
{
    struct ngrpc_room *room = stream->room;
    struct ngrpc_server *server = NULL;

    pthread_mutex_lock(&room->mtx);
    if (stream->counted) {
        stream->counted = false;
        room->waiting--;
        if (room->ep && !room->closing && room->ep->server) {
            server = room->ep->server;
            atomic_fetch_add(&server->refs, 1);
        }
    }
    pthread_mutex_unlock(&room->mtx);
    if (!server)
        return;
    server_ask(server);
    server_unref(server);
}

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
    if (!error && ngrpc_tls_is_on(opts))
        return ngrpc_fail(err, NQT_E_CONFIG, NULL, 0,
                          "listen on %s: gRPC refuses certificate, key or \"ca\" of \"tls\"; do "
                          "they fit?",
                          name);
    if (!error)
        return ngrpc_fail(err, NQT_E_SYS, NULL, 0, "listen on %s: gRPC cannot have the address",
                          name);
    return ngrpc_fail(err, listen_absent(error) ? NQT_E_UNREACHABLE : NQT_E_SYS, "errno", error,
                      "listen on %s: %s%s", name, strerror(error),
                      error == EADDRINUSE ? "; is another server running?" : "");
}

/* Add all of them; *port becomes the one that the system chose. */
static int listen_add_all(struct nqtp_ep *ep, grpc_server *server, const struct listen_addr *addrs,
                          uint32_t n, struct nqt_error *err)
{
    grpc_server_credentials *creds;
    uint32_t added = 0;
    int rc = ngrpc_tls_server(&ep->opts, &creds, err);

    if (rc)
        return rc;
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

static struct ngrpc_server *server_new(struct nqtp_ep *ep)
{
    struct ngrpc_server *server = calloc(1, sizeof(*server));

    if (!server)
        return NULL;
    memcpy((void *)(uintptr_t)&server->opts, &ep->opts, sizeof(server->opts));
    server->room = ep->room;
    server->server = ngrpc_opts_server(&ep->opts);
    server->on_call.done = server_on_call;
    server->on_shutdown.done = server_on_shutdown;
    atomic_init(&server->refs, 1);
    grpc_call_details_init(&server->details);
    grpc_metadata_array_init(&server->metadata);
    grpc_server_register_completion_queue(server->server, ep->mod->drive->cq, NULL);
    ngrpc_room_enter(server->room);
    return server;
}

/* Its reference is the shutdown's now.  Streams that linger end first. */
static void server_shutdown(struct ngrpc_server *server)
{
    atomic_fetch_add_explicit(&server->room->drive->started, 1, memory_order_release);
    grpc_server_shutdown_and_notify(server->server, server->room->drive->cq, &server->on_shutdown);
}

static int listen_start(struct nqtp_ep *ep, const struct listen_addr *addrs, uint32_t n,
                        struct nqt_error *err)
{
    struct ngrpc_server *server;
    int rc;

    if (!n)
        return ngrpc_fail(err, NQT_E_UNREACHABLE, NULL, 0, "listen on %s: no such address",
                          ep->opts.host);
    server = server_new(ep);
    if (!server)
        return ngrpc_fail(err, NQT_E_NOMEM, NULL, 0, "listen on %s: no memory", ep->opts.host);
    rc = listen_add_all(ep, server->server, addrs, n, err);
    if (rc) {
        server_shutdown(server);
        return rc;
    }
    grpc_server_start(server->server);
    pthread_mutex_lock(&ep->room->mtx);
    ep->server = server;
    pthread_mutex_unlock(&ep->room->mtx);
    server_ask(server);
    ngrpc_log(ep->mod, NQT_LOG_INFO, "grpc: listening on %s (%u address%s)", ep->name, n,
              n > 1 ? "es" : "");
    listen_emit(ep, NQT_EV_EP_UP, NULL, ep->name, NULL);
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
        rc = err ? ngrpc_fail(&failure, err->code, NULL, 0, "%s", err->text)
                 : listen_start(ep, addrs, naddr, &failure);
        if (rc && rc != NQT_E_CLOSED) /* the host gave the question up: ep_close() follows */
            listen_emit(ep, NQT_EV_EP_DOWN, NULL, NULL, &failure);
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
    return ngrpc_fail(err, rc, NULL, 0, "resolve %s: the question was refused", ep->opts.host);
}

int ngrpc_ep_open(struct nqtp_mod *mod, nqt_ep *cookie, nqt_serial *serial, nqt_cfg *cfg,
                  int listen, struct nqtp_ep **out, struct nqt_error *err)
{
    struct nqtp_ep *ep = ngrpc_alloc(mod, sizeof(*ep));
    int rc;

    if (!ep)
        return ngrpc_fail(err, NQT_E_NOMEM, NULL, 0, "no memory for an endpoint");
    ep->mod = mod;
    ep->cookie = cookie;
    ep->serial = serial;
    ep->listen = listen != 0;
    rc = ngrpc_opts_read(mod->host, cfg, &ep->opts, err);
    if (!rc)
        rc = ngrpc_tls_check(&ep->opts, err);
    if (!rc && !listen)
        rc = ngrpc_tls_check_client(&ep->opts, err);
    if (!rc && !listen && !ep->opts.port)
        rc = ngrpc_fail(err, NQT_E_CONFIG, NULL, 0, "port: 0 is only for a server");
    if (!rc && !(ep->room = ngrpc_room_new(ep)))
        rc = ngrpc_fail(err, NQT_E_NOMEM, NULL, 0, "no memory for an endpoint");
    if (ep->room && listen)
        rc = listen_open(ep, err);
    if (rc) {
        if (ep->room)
            ngrpc_room_forget(ep->room);
        ngrpc_free(mod, ep);
        return rc;
    }
    if (!listen) {
        ngrpc_address(ep->name, ep->opts.host, ep->opts.port);
        listen_emit(ep, NQT_EV_EP_UP, NULL, NULL, NULL);
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
        server_shutdown(server);
    ngrpc_drive_late(room->drive);
    ngrpc_poll_recall(room->drive); /* nobody polls an endpoint that closes */
    ngrpc_room_drop(room);          /* may be the end of the endpoint */
}
