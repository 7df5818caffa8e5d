/* The plain wire: what the Python library net-queue says over gRPC.  A link is a connection, and
 * its bytes go in rounds, each a call:
 *
 *     client   opens it, sends what it has, half-closes
 *     server   sends what it has queued at that moment, reads the client's, ends the call
 *
 * A stream has one round at a time.  When its last operation has completed, the poller that noticed
 * takes the call out of the stream; then a client's serial begins the next one when it is due, and
 * a server's poller goes on with the call that came meanwhile.
 *
 * A server knows whose a call is by its peer's address.  One of a connection that has no link makes
 * one with the first bytes; without any it is told that there is none, so that a client whose
 * session has ended here does not ask for ever. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "grpc_rounds.h"
#include <string.h>

static void round_adopt(struct ngrpc_stream *stream, grpc_call *call);

static void round_turn_away(grpc_call *call, grpc_status_code status, const char *why)
{
    (void)grpc_call_cancel_with_status(call, status, why, NULL);
    grpc_call_unref(call);
}

/* ---- its parts, under the mutex --------------------------------------------------------- */

void ngrpc_round_moved(struct ngrpc_stream *stream)
{
    if (!stream->plain)
        return;
    stream->moved = true;
    stream->moved_ns = ngrpc_now();
}

/* A client's first round waits for its first bytes: that there is a connection is known before. */
static bool round_is_said(const struct ngrpc_stream *stream)
{
    return stream->channel ? stream->filled || stream->closed : stream->rx_ended;
}

bool ngrpc_round_next_op(struct ngrpc_stream *stream, grpc_op *op)
{
    if (stream->end_sent || !round_is_said(stream))
        return false;
    stream->end_sent = true;
    op->op = stream->channel ? GRPC_OP_SEND_CLOSE_FROM_CLIENT : GRPC_OP_SEND_STATUS_FROM_SERVER;
    if (stream->channel || stream->announced || stream->closed)
        return true;
    stream->details = grpc_slice_from_static_string("no session goes on over this connection");
    op->data.send_status_from_server.status = GRPC_STATUS_UNAVAILABLE;
    op->data.send_status_from_server.status_details = &stream->details;
    return true;
}

bool ngrpc_round_announces(struct ngrpc_stream *stream)
{
    if (!stream->plain || stream->channel || stream->announced || !stream->rx_count)
        return false;
    stream->announced = true;
    stream->deadline_ns = 0;
    return true;
}

static void round_start(struct ngrpc_stream *stream, grpc_call *call, uint32_t starts)
{
    stream->call = call;
    stream->round = true;
    stream->over = stream->rx_ended = stream->end_sent = stream->moved = false;
    stream->quota = stream->tx_wait.length;
    stream->filled = !stream->first || stream->quota;
    stream->starts = starts;
    stream->users += starts + 1;
    stream->moved_ns = ngrpc_now();
    grpc_metadata_array_init(&stream->initial);
    grpc_metadata_array_init(&stream->trailing);
    stream->details = grpc_empty_slice();
}

/* ---- the end of one --------------------------------------------------------------------- */

static bool round_is_over(const struct ngrpc_stream *stream)
{
    return stream->round && stream->over && stream->rx_ended && !stream->rx_busy &&
           !stream->tx_busy && !stream->starts;
}

static bool round_was_whole(const struct ngrpc_stream *stream)
{
    return stream->status == GRPC_STATUS_OK && !stream->tx_broken && !stream->quota;
}

/* Under the mutex.  True: nobody has the stream any more but who calls. */
static bool round_end(struct ngrpc_stream *stream)
{
    bool orphan = !stream->channel && !stream->announced && !stream->closed;

    stream->round = false;
    stream->call = NULL;
    stream->deadline_ns = stream->closed ? 0 : stream->deadline_ns;
    if (round_was_whole(stream))
        stream->first = false;
    else
        stream->failed = true;
    stream->closed |= orphan;
    return orphan;
}

void ngrpc_round_settle(struct ngrpc_stream *stream)
{
    grpc_metadata_array initial, trailing;
    grpc_call *call, *next;
    grpc_slice details;
    bool orphan;

    if (!stream->plain)
        return;
    pthread_mutex_lock(&stream->mtx);
    if (!round_is_over(stream)) {
        pthread_mutex_unlock(&stream->mtx);
        return;
    }
    call = stream->call;
    next = stream->next_call;
    initial = stream->initial;
    trailing = stream->trailing;
    details = stream->details;
    stream->next_call = NULL;
    stream->details = grpc_empty_slice();
    grpc_metadata_array_init(&stream->initial);
    grpc_metadata_array_init(&stream->trailing);
    orphan = round_end(stream);
    ngrpc_stream_unlock(stream, true);
    grpc_metadata_array_destroy(&initial);
    grpc_metadata_array_destroy(&trailing);
    grpc_slice_unref(details);
    grpc_call_unref(call);
    if (next)
        round_adopt(stream, next);
    if (orphan)
        ngrpc_stream_put(stream);
}

/* ---- a client's ------------------------------------------------------------------------- */

/* The server's metadata, which say nothing. */
static void round_on_answer(struct ngrpc_tag *tag, bool ok)
{
    struct ngrpc_stream *stream =
        (struct ngrpc_stream *)(void *)((char *)tag - offsetof(struct ngrpc_stream, on_answer));

    (void)ok;
    pthread_mutex_lock(&stream->mtx);
    stream->starts--;
    pthread_mutex_unlock(&stream->mtx);
    ngrpc_round_settle(stream);
    ngrpc_stream_put(stream);
}

void ngrpc_round_begin(struct ngrpc_stream *stream)
{
    const grpc_op open = {.op = GRPC_OP_SEND_INITIAL_METADATA};
    const grpc_op answer = {
        .op = GRPC_OP_RECV_INITIAL_METADATA,
        .data.recv_initial_metadata.recv_initial_metadata = &stream->initial,
    };
    const grpc_op over = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
                          .data.recv_status_on_client = {
                              .trailing_metadata = &stream->trailing,
                              .status = &stream->status,
                              .status_details = &stream->details,
                          }};
    grpc_call *call = grpc_channel_create_call(
        stream->channel, NULL, GRPC_PROPAGATE_DEFAULTS, stream->drive->cq,
        grpc_slice_from_static_string(NGRPC_ROUND), NULL, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);

    stream->on_answer.done = round_on_answer;
    pthread_mutex_lock(&stream->mtx);
    round_start(stream, call, 2);
    pthread_mutex_unlock(&stream->mtx);
    ngrpc_stream_start(stream, &over, 1, &stream->on_close);
    ngrpc_stream_start(stream, &open, 1, &stream->on_open);
    ngrpc_stream_start(stream, &answer, 1, &stream->on_answer);
    ngrpc_stream_pump_tx(stream);
    ngrpc_stream_pump_rx(stream);
}

/* ---- a server's ------------------------------------------------------------------------- */

/* True: the call goes on now, and is the round.  Takes `call`, else it is kept or turned away. */
static bool round_enter(struct ngrpc_stream *stream, grpc_call *call)
{
    bool gone, busy, go;

    pthread_mutex_lock(&stream->mtx);
    gone = stream->closed || stream->failed;
    busy = stream->round && stream->next_call;
    go = !gone && !stream->round;
    if (go)
        round_start(stream, call, 1);
    else if (!gone && !busy)
        stream->next_call = call;
    pthread_mutex_unlock(&stream->mtx);
    if (gone)
        round_turn_away(call, GRPC_STATUS_UNAVAILABLE, "the session of this connection ends");
    else if (!go && busy)
        round_turn_away(call, GRPC_STATUS_RESOURCE_EXHAUSTED,
                        "two calls of this connection go on already");
    return go;
}

static void round_adopt(struct ngrpc_stream *stream, grpc_call *call)
{
    const grpc_op open = {.op = GRPC_OP_SEND_INITIAL_METADATA};
    const grpc_op over = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER,
                          .data.recv_close_on_server.cancelled = &stream->cancelled};

    if (!round_enter(stream, call))
        return;
    ngrpc_stream_start(stream, &open, 1, &stream->on_open);
    ngrpc_stream_start(stream, &over, 1, &stream->on_close);
    ngrpc_stream_pump_tx(stream);
    ngrpc_stream_pump_rx(stream);
}

/* The link of a connection, with a reference; NULL = none. */
static struct ngrpc_stream *round_find(struct ngrpc_room *room, const char *peer,
                                       const char *identity)
{
    struct ngrpc_stream *stream;

    pthread_mutex_lock(&room->mtx);
    for (stream = room->plain; stream; stream = stream->plain_next)
        if (strcmp(stream->peer, peer) == 0 && strcmp(stream->identity, identity) == 0)
            break;
    if (stream)
        atomic_fetch_add_explicit(&stream->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&room->mtx);
    return stream;
}

static void round_join(struct ngrpc_room *room, struct ngrpc_stream *stream)
{
    pthread_mutex_lock(&room->mtx);
    stream->plain_next = room->plain;
    stream->plain_at = &room->plain;
    if (stream->plain_next)
        stream->plain_next->plain_at = &stream->plain_next;
    room->plain = stream;
    pthread_mutex_unlock(&room->mtx);
}

void ngrpc_round_leave(struct ngrpc_stream *stream)
{
    struct ngrpc_room *room = stream->room;

    if (!stream->plain)
        return;
    pthread_mutex_lock(&room->mtx);
    if (stream->plain_at) {
        *stream->plain_at = stream->plain_next;
        if (stream->plain_next)
            stream->plain_next->plain_at = stream->plain_at;
        stream->plain_at = NULL;
    }
    pthread_mutex_unlock(&room->mtx);
}

/* The first call of a connection, and the last one of whom its certificate does not let in.  The
 * texts are arrays, as long as the stream's. */
static struct ngrpc_stream *round_new(struct ngrpc_server *server, const char *peer,
                                      const char *identity, const char *why)
{
    struct ngrpc_stream *stream = ngrpc_stream_new(server->room, &server->opts, NULL, NULL);

    if (!stream)
        return NULL;
    stream->plain = stream->first = true;
    stream->announced = *why;
    memcpy(stream->peer, peer, sizeof(stream->peer));
    memcpy(stream->identity, identity, sizeof(stream->identity));
    memcpy(stream->refused, why, sizeof(stream->refused));
    if (!*why) { /* patience with who sends nothing and ends nothing */
        pthread_mutex_lock(&stream->mtx);
        stream->deadline_ns = ngrpc_now() + server->opts.connect_timeout_ns;
        pthread_mutex_unlock(&stream->mtx);
        ngrpc_drive_late(stream->drive);
    }
    atomic_fetch_add_explicit(&stream->refs, 1, memory_order_relaxed);
    round_join(server->room, stream);
    return stream;
}

void ngrpc_round_arrived(struct ngrpc_server *server, grpc_call *call)
{
    char peer[NGRPC_NAME_MAX] = "", identity[NGRPC_IDENTITY_MAX] = "", why[NGRPC_WHY_MAX] = "";
    struct ngrpc_stream *stream;
    bool admitted = ngrpc_tls_admit(server->tls, call, identity, why);

    ngrpc_peer_name(call, peer);
    stream = admitted ? round_find(server->room, peer, identity) : NULL;
    if (!stream)
        stream = round_new(server, peer, identity, why);
    if (!stream) {
        round_turn_away(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "no memory");
        return;
    }
    if (!admitted)
        (void)grpc_call_cancel_with_status(call, GRPC_STATUS_UNAUTHENTICATED, why, NULL);
    round_adopt(stream, call);
    if (!admitted)
        ngrpc_server_arrived(stream);
    ngrpc_stream_unref(stream);
}

/* Links have left: what is still there is of clients that have brought nothing. */
static struct ngrpc_stream *round_pop(struct ngrpc_room *room)
{
    struct ngrpc_stream *stream;

    pthread_mutex_lock(&room->mtx);
    stream = room->plain;
    if (stream)
        atomic_fetch_add_explicit(&stream->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&room->mtx);
    if (stream)
        ngrpc_round_leave(stream);
    return stream;
}

void ngrpc_round_shut(struct ngrpc_room *room)
{
    struct ngrpc_stream *stream;

    while ((stream = round_pop(room))) {
        ngrpc_stream_cancel(stream);
        ngrpc_stream_unref(stream);
    }
}

/* ---- the end of a link ------------------------------------------------------------------ */

void ngrpc_round_close(struct ngrpc_stream *stream, bool linger)
{
    grpc_call *next;
    bool round;

    ngrpc_round_leave(stream); /* a later call is of a new link */
    pthread_mutex_lock(&stream->mtx);
    stream->link = NULL;
    stream->closed = true;
    stream->owes_post = false;
    round = stream->round;
    next = stream->next_call;
    stream->next_call = NULL;
    stream->deadline_ns = linger && round ? ngrpc_now() + NGRPC_LINGER_NS : 0;
    ngrpc_stream_drop_rx(stream);
    pthread_mutex_unlock(&stream->mtx);
    if (next)
        round_turn_away(next, GRPC_STATUS_UNAVAILABLE, "the session of this connection ends");
    if (round && !linger)
        ngrpc_stream_cancel(stream);
    ngrpc_stream_pump_tx(stream);
    ngrpc_stream_pump_rx(stream); /* what still comes stands before the call's end */
    if (round && linger)
        ngrpc_drive_late(stream->drive);
    ngrpc_stream_put(stream);
}
