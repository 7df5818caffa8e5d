/* Life of a link: everything here runs in its serial. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "grpc_rounds.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LINK_REFUSAL "the server's certificate is refused" /* as transport_x509.h begins it */

static void link_finish(void *arg);

/* ---- memory, events --------------------------------------------------------------------- */

struct nqtp_link *ngrpc_link_new(struct nqtp_ep *ep, enum ngrpc_state state)
{
    struct nqtp_link *link = nqt_alloc(ep->mod->host, ep->mod->core, sizeof(*link));

    if (!link)
        return NULL;
    link->mod = ep->mod;
    link->ep = ep;
    link->room = ep->room;
    link->serial = ep->serial;
    link->state = state;
    link->slice = grpc_empty_slice();
    ngrpc_room_hold(link->room);
    return link;
}

void ngrpc_link_free(struct nqtp_link *link)
{
    struct ngrpc_room *room = link->room;
    struct ngrpc_stream *stream = link->stream;

    nqt_timer_stop(link->mod->host, &link->timer);
    nqt_timer_stop(link->mod->host, &link->tick);
    ngrpc_rx_drop(link);
    nqt_free(link->mod->host, link->mod->core, link);
    if (stream)
        ngrpc_stream_unref(stream);
    ngrpc_room_drop(room);
}

void ngrpc_link_down(struct nqtp_link *link, int code, int status, const char *format, ...)
{
    struct nqt_error err = {.size = sizeof(err)};
    va_list args;

    if (link->state == NGRPC_DOWN || link->state == NGRPC_CLOSED)
        return;
    va_start(args, format);
    (void)nqt_vfail_native(&err, code, "grpc", status, format, args);
    va_end(args);
    nqt_timer_stop(link->mod->host, &link->timer);
    nqt_timer_stop(link->mod->host, &link->tick);
    link->state = NGRPC_DOWN;
    (void)NQT_EMIT_LINK(link, NQT_EV_LINK_DOWN, .err = &err);
}

static void link_up(struct nqtp_link *link)
{
    nqt_timer_stop(link->mod->host, &link->timer);
    link->epoch = atomic_fetch_add(&link->mod->epochs, 1) + 1;
    link->state = NGRPC_UP;
    (void)NQT_EMIT_LINK(link, NQT_EV_LINK_UP);
    if (link->stream->plain)
        ngrpc_rounds_up(link);
    /* What came already must wait until the core has handled that. */
    pthread_mutex_lock(&link->stream->mtx);
    ngrpc_stream_poke(link->stream);
    pthread_mutex_unlock(&link->stream->mtx);
}

/* ---- the end of a call ------------------------------------------------------------------ */

static const char *link_status_name(int status)
{
    static const char *const names[] = {
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    };

    return status >= 0 && (size_t)status < sizeof(names) / sizeof(names[0]) ? names[status] : "?";
}

/* Only the text tells. */
static int link_unavailable_code(const char *reason)
{
    if (strstr(reason, "ertificate") || strstr(reason, "CERTIFICATE"))
        return NQT_E_AUTH;
    if (strstr(reason, "andshake failed"))
        return NQT_E_PROTOCOL;
    return strstr(reason, "refused") ? NQT_E_REFUSED : NQT_E_UNREACHABLE;
}

/* What a person had better look at first. */
static const char *link_hint(const struct nqtp_link *link, int code)
{
    bool tls = link->ep->opts.tls.on;

    if (link->stream->status == GRPC_STATUS_UNAUTHENTICATED)
        return "the server refuses this side: ";
    if (link->stream->status == GRPC_STATUS_UNIMPLEMENTED && link->stream->plain)
        return "the server does not speak the wire \"net-queue\" over grpc: ";
    if (link->stream->status != GRPC_STATUS_UNAVAILABLE)
        return "";
    if (code == NQT_E_REFUSED)
        return "is the server running? ";
    if (code == NQT_E_PROTOCOL)
        return "does the server speak TLS? ";
    if (code == NQT_E_UNREACHABLE && strstr(link->stream->reason, "closed"))
        return tls ? "does the server accept \"cert\" and \"key\"? " : "does the server want TLS? ";
    return "";
}

static int link_code(const struct ngrpc_stream *stream, bool opening)
{
    switch (stream->status) {
    case GRPC_STATUS_UNAUTHENTICATED:
    case GRPC_STATUS_PERMISSION_DENIED:
        return NQT_E_AUTH;
    case GRPC_STATUS_UNIMPLEMENTED:
    case GRPC_STATUS_NOT_FOUND:
    case GRPC_STATUS_INTERNAL:
        return opening ? NQT_E_PROTOCOL : NQT_E_LOST;
    case GRPC_STATUS_RESOURCE_EXHAUSTED:
        return opening ? NQT_E_REFUSED : NQT_E_LOST;
    case GRPC_STATUS_UNAVAILABLE:
        return opening ? link_unavailable_code(stream->reason) : NQT_E_LOST;
    default:
        return NQT_E_LOST;
    }
}

/* The call is over: `status` and `reason` are fixed. */
void ngrpc_link_status_down(struct nqtp_link *link)
{
    struct ngrpc_stream *stream = link->stream;
    bool opening = link->state == NGRPC_OPENING || (stream->channel && stream->first);
    int code = link_code(stream, opening);
    const char *hint = link_hint(link, code), *ours = strstr(stream->reason, LINK_REFUSAL);

    if (opening && code == NQT_E_AUTH && ours) { /* what gRPC put around it says nothing */
        ngrpc_link_down(link, code, (int)stream->status, "%s: %s", link->peer, ours);
        return;
    }
    ngrpc_link_down(link, code, (int)stream->status, "%s: %s%s: %s", link->peer, hint,
                    link_status_name((int)stream->status), stream->reason);
}

/* Has it ended, as far as what came was handed up? */
static void link_check_end(struct nqtp_link *link)
{
    struct ngrpc_stream *stream = link->stream;
    bool fin, over, ended, waiting, failed;

    if (!ngrpc_link_open(link) && link->state != NGRPC_OPENING)
        return;
    pthread_mutex_lock(&stream->mtx);
    fin = stream->rx_fin;
    over = stream->over;
    ended = stream->rx_ended;
    waiting = stream->rx_count || link->message;
    failed = over && !fin;
    pthread_mutex_unlock(&stream->mtx);
    /* A link that broke is of no use while the core wants nothing. */
    if (waiting && !(failed && (link->held || link->paused)))
        return;
    if (fin)
        ngrpc_link_down(link, NQT_E_EOF, 0, "%s: closed by the other side", link->peer);
    else if (over)
        ngrpc_link_status_down(link);
    else if (ended && !stream->channel) /* a client's call has a status that tells more */
        ngrpc_link_down(link, NQT_E_LOST, 0, "%s: the call ended without its last message",
                        link->peer);
}

/* ---- entering and leaving --------------------------------------------------------------- */

static void link_enter(struct nqtp_link *link)
{
    link->inside++;
}

/* May free the link. */
static void link_leave(struct nqtp_link *link)
{
    if (--link->inside || !link->finish_late)
        return;
    link->finish_late = false;
    link_finish(link);
}

/* Look at what came to pass, in order. */
static void link_look(struct nqtp_link *link)
{
    struct ngrpc_stream *stream = link->stream;
    bool opened, room;

    pthread_mutex_lock(&stream->mtx);
    opened = stream->opened;
    room = stream->tx_room;
    stream->tx_room = false;
    pthread_mutex_unlock(&stream->mtx);
    if (opened && link->state == NGRPC_OPENING) {
        link_up(link);
        return;
    }
    ngrpc_rx(link);
    if (room && link->state == NGRPC_UP)
        (void)NQT_EMIT_LINK(link, NQT_EV_WRITABLE);
    if (stream->plain)
        ngrpc_rounds_look(link);
    else
        link_check_end(link);
}

void ngrpc_link_work(void *arg)
{
    struct nqtp_link *link = arg;

    pthread_mutex_lock(&link->stream->mtx);
    link->stream->posted = false;
    pthread_mutex_unlock(&link->stream->mtx);
    if (link->finished) {
        ngrpc_link_free(link);
        return;
    }
    link_enter(link);
    link_look(link);
    link_leave(link);
}

/* ---- slots ------------------------------------------------------------------------------ */

int ngrpc_attach(struct nqtp_link *link, nqt_link *cookie, nqt_serial *serial)
{
    if (link->state != NGRPC_ACCEPTED)
        return NQT_E_INVAL;
    link->cookie = cookie;
    link->serial = serial;
    pthread_mutex_lock(&link->stream->mtx);
    link->stream->attached = true;
    pthread_mutex_unlock(&link->stream->mtx);
    ngrpc_server_settled(link->stream);
    if (*link->stream->refused)
        ngrpc_link_down(link, NQT_E_AUTH, GRPC_STATUS_UNAUTHENTICATED, "%s: %s", link->peer,
                        link->stream->refused);
    else
        link_up(link);
    return NQT_OK;
}

int ngrpc_send(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n, uint32_t flags,
               uint32_t *taken)
{
    struct ngrpc_stream *stream = link->stream;
    uint32_t done = 0;

    (void)flags;
    *taken = 0;
    if (link->state != NGRPC_UP)
        return link->state == NGRPC_DOWN ? NQT_E_LOST : NQT_E_CLOSED;
    pthread_mutex_lock(&stream->mtx);
    while (done < n && !stream->tx_broken && stream->tx_wait.length < stream->tx_limit)
        ngrpc_stream_take(stream, bufs[done++]);
    if (done < n)
        stream->tx_wanted = true; /* when broken, LINK_DOWN comes instead */
    pthread_mutex_unlock(&stream->mtx);
    *taken = done;
    if (stream->plain)
        ngrpc_rounds_sent(link);
    else
        ngrpc_stream_pump_tx(stream);
    return NQT_OK;
}

int ngrpc_rx_hold(struct nqtp_link *link, int hold)
{
    link->held = hold != 0;
    if (!hold)
        link->paused = false;
    if (!ngrpc_link_open(link))
        return NQT_OK;
    link_enter(link);
    link_look(link);
    link_leave(link);
    return NQT_OK;
}

static void link_drain_over(void *arg)
{
    struct nqtp_link *link = arg;

    ngrpc_link_down(link, NQT_E_EOF, 0, "%s: ended by this side; the other side stayed",
                    link->peer);
}

int ngrpc_shutdown(struct nqtp_link *link)
{
    struct ngrpc_stream *stream = link->stream;

    if (link->state != NGRPC_UP)
        return link->state == NGRPC_DOWN || link->state == NGRPC_DRAINING ? NQT_OK : NQT_E_INVAL;
    link->state = NGRPC_DRAINING;
    pthread_mutex_lock(&stream->mtx);
    stream->fin = true;
    if (stream->plain)
        ngrpc_stream_poke(stream);
    pthread_mutex_unlock(&stream->mtx);
    ngrpc_stream_pump_tx(stream);
    if (nqt_timer_start(link->mod->host, link->mod->core, link->serial, link_drain_over, link,
                        NGRPC_DRAIN_NS, &link->timer))
        link_drain_over(link); /* no memory to wait for the other side */
    return NQT_OK;
}

/* LINK_CLOSED; the memory stays while a post is on its way, and none can follow. */
static void link_finish(void *arg)
{
    struct nqtp_link *link = arg;
    bool posted;

    pthread_mutex_lock(&link->stream->mtx);
    posted = link->stream->posted;
    pthread_mutex_unlock(&link->stream->mtx);
    link->finished = true;
    if (link->cookie) /* else it was never attached, and there is nobody to tell */
        (void)NQT_EMIT_LINK(link, NQT_EV_LINK_CLOSED);
    if (!posted)
        ngrpc_link_free(link);
}

void ngrpc_close(struct nqtp_link *link)
{
    bool opening = link->state == NGRPC_OPENING;

    if (link->state == NGRPC_CLOSED)
        return;
    nqt_timer_stop(link->mod->host, &link->timer);
    nqt_timer_stop(link->mod->host, &link->tick);
    link->state = NGRPC_CLOSED;
    ngrpc_stream_close(link->stream, !opening);
    if (!link->mod->host->post(link->serial, link_finish, link))
        return;
    link->finish_late = true;
    link_enter(link);
    link_leave(link);
}

int ngrpc_info(struct nqtp_link *link, struct nqt_info *out)
{
    const char *identity =
        ngrpc_link_open(link) && *link->stream->identity ? link->stream->identity : NULL;
    uint64_t off = NQT_CAP_LISTEN | NQT_CAP_CONNECT |
                   (link->ep->opts.tls.on ? 0 : NQT_CAP_CONFIDENTIAL) |
                   (identity ? 0 : NQT_CAP_PEER_IDENTITY);
    uint64_t on = 0;
    int rc;

    if (link->stream->plain) { /* nothing tells that a connection between two rounds is gone */
        on = NQT_CAP_PLAIN;
        off |= NQT_CAP_PEER_PRESENCE;
    }
    rc = nqt_info_answer(out, (NGRPC_CAPS & ~off) | on, 0, link->local, link->peer);

    if (!rc)
        out->peer_identity = identity;
    return rc;
}
