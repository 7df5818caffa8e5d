/* Calls of a client: each has a channel, and so a connection, of its own. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "grpc_rounds.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static void connect_late(void *arg)
{
    struct nqtp_link *link = arg;

    ngrpc_link_down(link, NQT_E_UNREACHABLE, 0, "%s: no answer within %lld ms; see connect_timeout",
                    link->peer, (long long)(link->ep->opts.connect_timeout_ns / 1000000));
}

/* Where gRPC finds the server.  Names are its resolver's; it tries all their addresses. */
static void connect_target(const struct ngrpc_opts *opts, char *out, size_t cap)
{
    char name[NGRPC_NAME_MAX];
    unsigned char binary[sizeof(struct in6_addr)];
    const char *host = strcmp(opts->host, "*") == 0 ? "127.0.0.1" : opts->host;
    const char *scheme = "dns:///";

    if (inet_pton(AF_INET, host, binary) == 1)
        scheme = "ipv4:";
    else if (inet_pton(AF_INET6, host, binary) == 1)
        scheme = "ipv6:";
    ngrpc_address(name, host, opts->port);
    snprintf(out, cap, "%s%s", scheme, name);
}

/* NULL = no memory. */
static struct ngrpc_stream *connect_stream(struct nqtp_ep *ep)
{
    char target[NGRPC_NAME_MAX + 16];
    grpc_channel_credentials *creds = ngrpc_tls_channel(ep);
    struct ngrpc_stream *stream;
    bool plain = ep->opts.wire == NQT_WIRE_PLAIN;
    grpc_channel *channel;
    grpc_call *call = NULL;

    if (!creds)
        return NULL;
    connect_target(&ep->opts, target, sizeof(target));
    channel = ngrpc_opts_channel(&ep->opts, target, creds);
    grpc_channel_credentials_release(creds);
    if (!plain)
        call = grpc_channel_create_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS, ep->mod->drive->cq,
                                        grpc_slice_from_static_string(NGRPC_METHOD), NULL,
                                        gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    stream = ngrpc_stream_new(ep->room, &ep->opts, call, channel);
    if (!stream)
        return NULL;
    stream->plain = stream->first = plain;
    stream->tls = ngrpc_tls_ref(ep->tls);
    return stream;
}

static int connect_failed(struct nqtp_link *link, const struct nqtp_ep *ep, struct nqt_error *err)
{
    if (link)
        ngrpc_link_free(link);
    return nqt_fail(err, NQT_E_NOMEM, "connect to %s: no memory", ep->name);
}

int ngrpc_connect(struct nqtp_ep *ep, nqt_link *cookie, nqt_serial *serial, struct nqtp_link **out,
                  struct nqt_error *err)
{
    struct nqtp_link *link;

    if (ep->listen)
        return nqt_fail(err, NQT_E_INVAL, "a listening endpoint does not connect");
    link = ngrpc_link_new(ep, NGRPC_OPENING);
    if (!link)
        return connect_failed(NULL, ep, err);
    link->cookie = cookie;
    link->serial = serial;
    snprintf(link->peer, sizeof(link->peer), "%s", ep->name);
    snprintf(link->local, sizeof(link->local), "a client of %s", ep->opts.host);
    if (nqt_timer_start(link->mod->host, link->mod->core, serial, connect_late, link,
                        ep->opts.connect_timeout_ns, &link->timer))
        return connect_failed(link, ep, err);
    link->stream = connect_stream(ep);
    if (!link->stream)
        return connect_failed(link, ep, err);
    atomic_fetch_add_explicit(&link->stream->refs, 1, memory_order_relaxed);
    link->stream->link = link;
    link->stream->attached = true;
    if (link->stream->plain)
        ngrpc_rounds_connect(link);
    else
        ngrpc_stream_open(link->stream);
    *out = link;
    return NQT_OK;
}
