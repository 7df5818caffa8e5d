/* One call: its operations, and what waits before and behind them.
 *
 * Operations are started outside the mutex: gRPC may write to the socket there and then, and free
 * slices.  Before that, under the mutex, `users` is raised and the operation's flag set. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "grpc_rounds.h"
#include <grpc/support/alloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAM_OF(tag, member) \
    ((struct ngrpc_stream *)(void *)((char *)(tag)-offsetof(struct ngrpc_stream, member)))

/* ---- references ------------------------------------------------------------------------- */

void ngrpc_stream_unref(struct ngrpc_stream *stream)
{
    struct ngrpc_room *room = stream->room;

    if (atomic_fetch_sub_explicit(&stream->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&stream->mtx);
    ngrpc_tls_unref(stream->tls);
    free(stream);
    ngrpc_room_leave(room);
}

void ngrpc_stream_drop_rx(struct ngrpc_stream *stream)
{
    for (; stream->rx_count; stream->rx_count--)
        grpc_byte_buffer_destroy(stream->rx[stream->rx_first++ % NGRPC_RX_SLOTS]);
    stream->rx_bytes = 0;
}

static void stream_on_watch(struct ngrpc_tag *tag, bool ok)
{
    (void)ok;
    ngrpc_stream_put(STREAM_OF(tag, on_watch));
}

/* An attempt to connect that is given up keeps its socket until somebody waits in a completion
 * queue, and that may be never.  So it goes on for a while, and the stream with it. */
static bool stream_is_connecting(struct ngrpc_stream *stream)
{
    grpc_connectivity_state state;

    if (!stream->channel || stream->opened || stream->watched)
        return false;
    state = grpc_channel_check_connectivity_state(stream->channel, 0);
    if (state != GRPC_CHANNEL_CONNECTING)
        return false;
    stream->watched = true;
    pthread_mutex_lock(&stream->mtx);
    stream->users++;
    pthread_mutex_unlock(&stream->mtx);
    grpc_channel_watch_connectivity_state(
        stream->channel, state,
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                     gpr_time_from_nanos(NGRPC_LINGER_NS, GPR_TIMESPAN)),
        stream->drive->cq, &stream->on_watch);
    return true;
}

void ngrpc_stream_put(struct ngrpc_stream *stream)
{
    bool last;

    pthread_mutex_lock(&stream->mtx);
    last = --stream->users == 0;
    pthread_mutex_unlock(&stream->mtx);
    if (!last || stream_is_connecting(stream))
        return;
    ngrpc_drive_del_stream(stream);
    ngrpc_round_leave(stream);
    ngrpc_stream_drop_rx(stream);
    grpc_slice_buffer_destroy(&stream->tx_wait);
    grpc_metadata_array_destroy(&stream->initial);
    grpc_metadata_array_destroy(&stream->trailing);
    grpc_slice_unref(stream->details);
    if (stream->call)
        grpc_call_unref(stream->call);
    if (stream->channel)
        grpc_channel_destroy(stream->channel);
    ngrpc_server_settled(stream);
    ngrpc_stream_unref(stream);
}

void ngrpc_stream_poke(struct ngrpc_stream *stream)
{
    struct nqtp_link *link = stream->link;

    if (!link || !stream->attached || stream->posted)
        return;
    stream->posted = !link->mod->host->post(link->serial, ngrpc_link_work, link);
    stream->owes_post = !stream->posted;
    ngrpc_drive_news(stream->drive);
}

void ngrpc_stream_unlock(struct ngrpc_stream *stream, bool poke)
{
    bool owes;

    if (poke)
        ngrpc_stream_poke(stream);
    owes = stream->owes_post;
    pthread_mutex_unlock(&stream->mtx);
    if (owes)
        ngrpc_drive_late(stream->drive);
}

void ngrpc_stream_start(struct ngrpc_stream *stream, const grpc_op *ops, size_t n,
                        struct ngrpc_tag *tag)
{
    grpc_call *call = stream->call; /* who ends the round may take it away after the batch */

    atomic_fetch_add_explicit(&stream->drive->started, 1, memory_order_release);
    if (grpc_call_start_batch(call, ops, n, tag, NULL) != GRPC_CALL_OK)
        tag->done(tag, false);
}

/* ---- the call's ends -------------------------------------------------------------------- */

static bool stream_is_marked(const grpc_metadata_array *metadata)
{
    for (size_t i = 0; i < metadata->count; i++)
        if (!grpc_slice_str_cmp(metadata->metadata[i].key, NGRPC_MARK) &&
            !grpc_slice_str_cmp(metadata->metadata[i].value, NGRPC_MARK_VALUE))
            return true;
    return false;
}

static void stream_on_open(struct ngrpc_tag *tag, bool ok)
{
    struct ngrpc_stream *stream = STREAM_OF(tag, on_open);
    bool stranger = ok && stream->channel && !stream->opened &&
                    ((!stream->plain && !stream_is_marked(&stream->initial)) ||
                     !ngrpc_tls_recognize(stream->tls, stream->call, stream->identity));

    pthread_mutex_lock(&stream->mtx);
    stream->opened |= ok && !stranger;
    stream->starts -= stream->plain;
    ngrpc_stream_unlock(stream, !stream->plain || stream->first);
    if (stranger)
        (void)grpc_call_cancel_with_status(stream->call, GRPC_STATUS_UNIMPLEMENTED,
                                           "this is no netqueue server", NULL);
    ngrpc_round_settle(stream);
    ngrpc_stream_put(stream);
}

/* The details are bytes of the other side's. */
static void stream_keep_reason(struct ngrpc_stream *stream)
{
    const uint8_t *bytes = GRPC_SLICE_START_PTR(stream->details);
    size_t len = GRPC_SLICE_LENGTH(stream->details);

    if (len >= sizeof(stream->reason))
        len = sizeof(stream->reason) - 1;
    for (size_t i = 0; i < len; i++)
        stream->reason[i] = bytes[i] < ' ' || bytes[i] > '~' ? '?' : (char)bytes[i];
    stream->reason[len] = '\0';
}

static void stream_on_close(struct ngrpc_tag *tag, bool ok)
{
    struct ngrpc_stream *stream = STREAM_OF(tag, on_close);

    (void)ok;
    pthread_mutex_lock(&stream->mtx);
    stream->over = true;
    if (stream->channel) {
        stream_keep_reason(stream);
    } else {
        stream->status = stream->cancelled ? GRPC_STATUS_UNAVAILABLE : GRPC_STATUS_OK;
        snprintf(stream->reason, sizeof(stream->reason), "the connection broke");
    }
    ngrpc_stream_unlock(stream, !stream->plain || stream->status != GRPC_STATUS_OK);
    ngrpc_round_settle(stream);
    ngrpc_stream_put(stream);
}

/* ---- receiving -------------------------------------------------------------------------- */

/* Under the mutex.  True: a receive is to be started, by this thread. */
static bool stream_next_receive(struct ngrpc_stream *stream)
{
    if (!stream->call || stream->rx_busy || stream->rx_ended ||
        stream->rx_count == NGRPC_RX_SLOTS || stream->rx_bytes >= NGRPC_RX_BYTES)
        return false;
    stream->rx_busy = true;
    stream->users++;
    return true;
}

void ngrpc_stream_receive(struct ngrpc_stream *stream)
{
    const grpc_op receive = {.op = GRPC_OP_RECV_MESSAGE,
                             .data.recv_message.recv_message = &stream->rx_out};

    ngrpc_stream_start(stream, &receive, 1, &stream->on_recv);
}

void ngrpc_stream_pump_rx(struct ngrpc_stream *stream)
{
    bool go;

    pthread_mutex_lock(&stream->mtx);
    go = stream_next_receive(stream);
    pthread_mutex_unlock(&stream->mtx);
    if (go)
        ngrpc_stream_receive(stream);
}

/* Under the mutex: true when the message was kept. */
static bool stream_keep_message(struct ngrpc_stream *stream, grpc_byte_buffer *message)
{
    size_t len = grpc_byte_buffer_length(message);

    if (!len && !stream->plain)
        stream->rx_fin = true;
    if (!len || stream->closed || stream->rx_fin)
        return false;
    stream->rx[(stream->rx_first + stream->rx_count++) % NGRPC_RX_SLOTS] = message;
    stream->rx_bytes += len;
    return true;
}

static void stream_on_recv(struct ngrpc_tag *tag, bool ok)
{
    struct ngrpc_stream *stream = STREAM_OF(tag, on_recv);
    grpc_byte_buffer *message = stream->rx_out;
    bool go, ended, announces;

    stream->rx_out = NULL;
    pthread_mutex_lock(&stream->mtx);
    stream->rx_busy = false;
    if (!ok || !message)
        stream->rx_ended = true;
    if (message && stream_keep_message(stream, message))
        message = NULL;
    announces = ngrpc_round_announces(stream);
    if (!stream->rx_ended)
        ngrpc_round_moved(stream);
    ended = stream->plain && stream->rx_ended;
    if (stream->link)
        stream->link->mod->host->count(stream->link->mod->core, NQT_COUNT_RECV_CALLS, 1);
    go = stream_next_receive(stream);
    ngrpc_stream_unlock(stream, true);
    if (message)
        grpc_byte_buffer_destroy(message);
    if (announces)
        ngrpc_server_arrived(stream);
    if (ended)
        ngrpc_stream_pump_tx(stream); /* a server's status is due */
    if (go)
        ngrpc_poll_owe(stream);
    ngrpc_round_settle(stream);
    ngrpc_stream_put(stream);
}

/* ---- sending ---------------------------------------------------------------------------- */

/* Under the mutex: the next message, at most `message` bytes of what waits; its slices move. */
static grpc_byte_buffer *stream_next_message(struct ngrpc_stream *stream)
{
    size_t most = stream->plain ? stream->quota : stream->tx_wait.length;
    size_t len = most < stream->message ? most : stream->message;
    grpc_byte_buffer *message;
    grpc_slice_buffer part;

    grpc_slice_buffer_init(&part);
    grpc_slice_buffer_move_first(&stream->tx_wait, len, &part);
    stream->quota -= stream->plain ? len : 0;
    message = grpc_raw_byte_buffer_create(part.slices, part.count);
    grpc_slice_buffer_destroy(&part); /* the message has references of its own */
    return message;
}

/* Under the mutex: what is to be sent next. */
static bool stream_next_op(struct ngrpc_stream *stream, grpc_op *op)
{
    grpc_slice none = grpc_empty_slice();

    if (stream->plain ? stream->quota : stream->tx_wait.length) {
        stream->tx_out = stream_next_message(stream);
    } else if (stream->plain) {
        return ngrpc_round_next_op(stream, op);
    } else if (stream->fin && !stream->fin_sent) {
        stream->fin_sent = true;
        stream->tx_out = grpc_raw_byte_buffer_create(&none, 1);
    } else if (stream->end && !stream->end_sent) {
        stream->end_sent = true;
        op->op = stream->channel ? GRPC_OP_SEND_CLOSE_FROM_CLIENT : GRPC_OP_SEND_STATUS_FROM_SERVER;
        return true;
    } else {
        return false;
    }
    op->op = GRPC_OP_SEND_MESSAGE;
    op->data.send_message.send_message = stream->tx_out;
    return true;
}

void ngrpc_stream_pump_tx(struct ngrpc_stream *stream)
{
    grpc_op next = {.op = GRPC_OP_SEND_MESSAGE};
    bool go;

    pthread_mutex_lock(&stream->mtx);
    go = stream->call && !stream->tx_busy && !stream->tx_broken && stream_next_op(stream, &next);
    if (go) {
        stream->tx_busy = true;
        stream->users++;
        if (stream->link)
            stream->link->mod->host->count(stream->link->mod->core, NQT_COUNT_SEND_CALLS, 1);
    }
    pthread_mutex_unlock(&stream->mtx);
    if (go)
        ngrpc_stream_start(stream, &next, 1, &stream->on_send);
}

static void stream_on_send(struct ngrpc_tag *tag, bool ok)
{
    struct ngrpc_stream *stream = STREAM_OF(tag, on_send);
    grpc_byte_buffer *sent = stream->tx_out;
    grpc_slice_buffer lost;

    grpc_slice_buffer_init(&lost);
    stream->tx_out = NULL;
    pthread_mutex_lock(&stream->mtx);
    stream->tx_busy = false;
    if (!ok) {
        stream->tx_broken = true; /* why is in the call's status, which comes */
        grpc_slice_buffer_swap(&lost, &stream->tx_wait);
    } else if (stream->tx_wanted && stream->tx_wait.length <= stream->tx_limit / 2) {
        stream->tx_wanted = false;
        stream->tx_room = true;
    }
    if (ok)
        ngrpc_round_moved(stream);
    ngrpc_stream_unlock(stream, stream->tx_room);
    if (sent)
        grpc_byte_buffer_destroy(sent);
    grpc_slice_buffer_destroy(&lost);
    ngrpc_stream_pump_tx(stream);
    ngrpc_round_settle(stream);
    ngrpc_stream_put(stream);
}

/* ---- life ------------------------------------------------------------------------------- */

struct ngrpc_stream *ngrpc_stream_new(struct ngrpc_room *room, const struct ngrpc_opts *opts,
                                      grpc_call *call, grpc_channel *channel)
{
    struct ngrpc_stream *stream = calloc(1, sizeof(*stream));

    if (!stream) {
        if (call) {
            (void)grpc_call_cancel_with_status(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "no memory",
                                               NULL);
            grpc_call_unref(call);
        }
        if (channel)
            grpc_channel_destroy(channel);
        return NULL;
    }
    stream->drive = room->drive;
    stream->room = room;
    stream->call = call;
    stream->channel = channel;
    stream->message = opts->message;
    stream->tx_limit = opts->send_queue;
    stream->users = 1;
    stream->details = grpc_empty_slice();
    stream->on_open.done = stream_on_open;
    stream->on_close.done = stream_on_close;
    stream->on_recv.done = stream_on_recv;
    stream->on_send.done = stream_on_send;
    stream->on_watch.done = stream_on_watch;
    atomic_init(&stream->refs, 1);
    pthread_mutex_init(&stream->mtx, NULL);
    grpc_slice_buffer_init(&stream->tx_wait);
    ngrpc_room_enter(room);
    ngrpc_drive_add_stream(stream);
    return stream;
}

static void stream_raise_users(struct ngrpc_stream *stream, uint32_t by)
{
    pthread_mutex_lock(&stream->mtx);
    stream->users += by;
    pthread_mutex_unlock(&stream->mtx);
}

/* A server answers at once, so that the client knows whom it talks to. */
static void stream_open_server(struct ngrpc_stream *stream)
{
    grpc_metadata mark = {.key = grpc_slice_from_static_string(NGRPC_MARK),
                          .value = grpc_slice_from_static_string(NGRPC_MARK_VALUE)};
    const grpc_op open = {.op = GRPC_OP_SEND_INITIAL_METADATA,
                          .data.send_initial_metadata = {.count = 1, .metadata = &mark}};
    const grpc_op over = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER,
                          .data.recv_close_on_server.cancelled = &stream->cancelled};

    ngrpc_stream_start(stream, &open, 1, &stream->on_open);
    ngrpc_stream_start(stream, &over, 1, &stream->on_close);
}

static void stream_open_client(struct ngrpc_stream *stream)
{
    const grpc_op open[] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA},
        {.op = GRPC_OP_RECV_INITIAL_METADATA,
         .data.recv_initial_metadata.recv_initial_metadata = &stream->initial},
    };
    const grpc_op over = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
                          .data.recv_status_on_client = {
                              .trailing_metadata = &stream->trailing,
                              .status = &stream->status,
                              .status_details = &stream->details,
                          }};

    ngrpc_stream_start(stream, &over, 1, &stream->on_close);
    ngrpc_stream_start(stream, open, 2, &stream->on_open);
}

void ngrpc_stream_open(struct ngrpc_stream *stream)
{
    grpc_metadata_array_init(&stream->initial);
    grpc_metadata_array_init(&stream->trailing);
    stream_raise_users(stream, 2);
    if (stream->channel)
        stream_open_client(stream);
    else
        stream_open_server(stream);
    ngrpc_stream_pump_rx(stream);
}

void ngrpc_stream_close(struct ngrpc_stream *stream, bool linger)
{
    bool over;

    if (stream->plain) {
        ngrpc_round_close(stream, linger);
        return;
    }
    pthread_mutex_lock(&stream->mtx);
    stream->link = NULL;
    stream->closed = true;
    stream->owes_post = false;
    stream->fin = stream->end = true;
    over = stream->over;
    if (linger && !over)
        stream->deadline_ns = ngrpc_now() + NGRPC_LINGER_NS;
    ngrpc_stream_drop_rx(stream);
    pthread_mutex_unlock(&stream->mtx);
    if (!linger && !over)
        (void)grpc_call_cancel(stream->call, NULL);
    else
        ngrpc_stream_pump_tx(stream);
    ngrpc_stream_pump_rx(stream); /* what still comes stands before the call's end */
    if (linger && !over)
        ngrpc_drive_late(stream->drive);
    ngrpc_stream_put(stream);
}

/* A round's call may end meanwhile. */
void ngrpc_stream_cancel(struct ngrpc_stream *stream)
{
    grpc_call *call;

    pthread_mutex_lock(&stream->mtx);
    call = stream->call;
    if (call)
        grpc_call_ref(call);
    pthread_mutex_unlock(&stream->mtx);
    if (!call)
        return;
    (void)grpc_call_cancel(call, NULL);
    grpc_call_unref(call);
}

/* Under the drive's mutex. */
bool ngrpc_stream_look(struct ngrpc_stream *stream, int64_t now, bool *cancel)
{
    bool again;

    pthread_mutex_lock(&stream->mtx);
    if (stream->owes_post)
        ngrpc_stream_poke(stream);
    if (stream->users && stream->deadline_ns && stream->deadline_ns <= now) {
        stream->deadline_ns = 0;
        stream->users++;
        *cancel = true;
    }
    again = stream->deadline_ns || stream->owes_post;
    pthread_mutex_unlock(&stream->mtx);
    return again;
}
