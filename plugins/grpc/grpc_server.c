/* A server of gRPC's, and the calls that come to it, until the core has attached them.
 *
 *     gRPC -> server_on_call -> room->arrived -> post -> server_announce: ACCEPT -> attach()
 *
 * One request for a call is outstanding at a time, and none while `backlog` calls wait: what comes
 * then waits in the library. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "grpc_rounds.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- calls that come -------------------------------------------------------------------- */

static void server_unref(struct ngrpc_server *server)
{
    struct ngrpc_room *room = server->room;

    if (atomic_fetch_sub(&server->refs, 1) != 1)
        return;
    grpc_call_details_destroy(&server->details);
    grpc_metadata_array_destroy(&server->metadata);
    grpc_server_destroy(server->server);
    ngrpc_tls_unref(server->tls);
    free(server);
    ngrpc_room_leave(room);
}

void ngrpc_server_ask(struct ngrpc_server *server)
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

/* Another service's client, a wrong path, or a wire that is not spoken here. */
static void server_turn_away(const struct ngrpc_server *server, grpc_call *call)
{
    const char *why = server->opts.wire == NQT_WIRE_NATIVE ? "netqueue serves " NGRPC_METHOD " only"
                      : server->opts.wire == NQT_WIRE_PLAIN ? "netqueue serves " NGRPC_ROUND " only"
                                                            : "netqueue serves " NGRPC_METHOD
                                                              " and " NGRPC_ROUND " only";

    (void)grpc_call_cancel_with_status(call, GRPC_STATUS_UNIMPLEMENTED, why, NULL);
    grpc_call_unref(call);
}

void ngrpc_server_arrived(struct ngrpc_stream *stream)
{
    struct ngrpc_room *room = stream->room;
    bool open, owes;

    pthread_mutex_lock(&room->mtx);
    open = !room->closing;
    if (open) {
        *room->arrived_tail = stream;
        room->arrived_tail = &stream->arrived;
        stream->counted = true;
        room->waiting++;
        ngrpc_server_poke(room);
    }
    owes = room->owes_post;
    pthread_mutex_unlock(&room->mtx);
    if (owes)
        ngrpc_drive_late(room->drive);
    if (!open)
        ngrpc_stream_close(stream, false);
}

static void server_take(struct ngrpc_server *server, grpc_call *call)
{
    struct ngrpc_stream *stream = ngrpc_stream_new(server->room, &server->opts, call, NULL);

    if (!stream)
        return;
    /* Nothing of ours goes out to who is refused but why; the core hears of it by LINK_DOWN. */
    if (!ngrpc_tls_admit(server->tls, call, stream->identity, stream->refused))
        (void)grpc_call_cancel_with_status(call, GRPC_STATUS_UNAUTHENTICATED, stream->refused,
                                           NULL);
    ngrpc_stream_open(stream);
    ngrpc_server_arrived(stream);
}

/* Which wire a call is of, its method says. */
static void server_sort(struct ngrpc_server *server, grpc_call *call)
{
    int64_t wire = server->opts.wire;

    if (wire != NQT_WIRE_PLAIN && !grpc_slice_str_cmp(server->details.method, NGRPC_METHOD))
        server_take(server, call);
    else if (wire != NQT_WIRE_NATIVE && !grpc_slice_str_cmp(server->details.method, NGRPC_ROUND))
        ngrpc_round_arrived(server, call);
    else
        server_turn_away(server, call);
}

static void server_on_call(struct ngrpc_tag *tag, bool ok)
{
    struct ngrpc_server *server =
        (struct ngrpc_server *)(void *)((char *)tag - offsetof(struct ngrpc_server, on_call));
    struct ngrpc_room *room = server->room;

    if (ok) {
        server_sort(server, server->call);
        grpc_slice_unref(server->details.method);
        grpc_slice_unref(server->details.host);
        grpc_call_details_init(&server->details);
        server->metadata.count = 0;
    }
    pthread_mutex_lock(&room->mtx);
    room->asked = false;
    pthread_mutex_unlock(&room->mtx);
    if (ok)
        ngrpc_server_ask(server);
    server_unref(server);
}

static void server_on_shutdown(struct ngrpc_tag *tag, bool ok)
{
    (void)ok;
    server_unref(
        (struct ngrpc_server *)(void *)((char *)tag - offsetof(struct ngrpc_server, on_shutdown)));
}

/* ---- announcing them -------------------------------------------------------------------- */

static struct ngrpc_stream *server_next(struct ngrpc_room *room)
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

static void server_announce(struct nqtp_ep *ep, struct ngrpc_stream *stream)
{
    struct nqtp_link *link = ep->server ? ngrpc_link_new(ep, NGRPC_ACCEPTED) : NULL;

    if (!link) {
        ngrpc_stream_close(stream, false);
        return;
    }
    link->stream = stream;
    atomic_fetch_add_explicit(&stream->refs, 1, memory_order_relaxed);
    if (stream->plain) /* its call may be over */
        memcpy(link->peer, stream->peer, sizeof(link->peer));
    else
        ngrpc_peer_name(stream->call, link->peer);
    snprintf(link->local, sizeof(link->local), "%s", ep->name);
    pthread_mutex_lock(&stream->mtx);
    stream->link = link;
    pthread_mutex_unlock(&stream->mtx);
    (void)NQT_EMIT_LINK(link, NQT_EV_ACCEPT);
}

/* In the endpoint's serial. */
static void server_work(void *arg)
{
    struct nqtp_ep *ep = arg;
    struct ngrpc_room *room = ep->room;
    struct ngrpc_stream *stream;

    pthread_mutex_lock(&room->mtx);
    room->posted = false;
    pthread_mutex_unlock(&room->mtx);
    while ((stream = server_next(room)))
        server_announce(ep, stream);
    ngrpc_room_drop(room);
}

void ngrpc_server_poke(struct ngrpc_room *room)
{
    struct nqtp_ep *ep = room->ep;

    if (!ep || room->posted || !room->arrived)
        return;
    room->posted = !room->mod->host->post(ep->serial, server_work, ep);
    room->owes_post = !room->posted;
    if (room->posted) {
        room->holds++;
        ngrpc_drive_news(room->drive);
    }
}

void ngrpc_server_settled(struct ngrpc_stream *stream)
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
    ngrpc_server_ask(server);
    server_unref(server);
}

/* ---- the server itself ------------------------------------------------------------------- */

struct ngrpc_server *ngrpc_server_new(struct nqtp_ep *ep)
{
    struct ngrpc_server *server = calloc(1, sizeof(*server));

    if (!server)
        return NULL;
    memcpy((void *)(uintptr_t)&server->opts, &ep->opts, sizeof(server->opts));
    server->room = ep->room;
    server->tls = ngrpc_tls_ref(ep->tls);
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

void ngrpc_server_shutdown(struct ngrpc_server *server)
{
    atomic_fetch_add_explicit(&server->room->drive->started, 1, memory_order_release);
    grpc_server_shutdown_and_notify(server->server, server->room->drive->cq, &server->on_shutdown);
}
