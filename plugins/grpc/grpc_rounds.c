/* Links of the plain wire, in their serials: when a client's next round begins, and how long a
 * server waits for one.
 *
 * Nothing is pushed outside a round, so a client asks with empty ones, in pauses that grow while
 * nothing comes.  It never keeps one open: a server may have one thread for all of them.  gRPC does
 * not tell a server that a connection is gone: a client that makes no round for idle_timeout is.
 *
 * A channel that lost its connection would find another one by itself, and a server there that
 * knows nothing of the session.  So the channel is looked at before each round. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "grpc_rounds.h"

#define ROUNDS_FIRST_NS (INT64_C(1000000000) >> 10)
#define ROUNDS_LAST_NS (INT64_C(1000000000) >> 1)

/* What the stream has for the serial. */
struct rounds_state {
    bool round, moved, failed;
    bool full; /* what came waits for the core */
    bool waiting;
    int64_t moved_ns;
};

static struct rounds_state rounds_read(struct nqtp_link *link)
{
    struct ngrpc_stream *stream = link->stream;
    struct rounds_state state;

    pthread_mutex_lock(&stream->mtx);
    state = (struct rounds_state){
        .round = stream->round,
        .moved = stream->moved,
        .failed = stream->failed || (stream->over && stream->status != GRPC_STATUS_OK),
        .full = stream->rx_count || link->message,
        .waiting = stream->tx_wait.length,
        .moved_ns = stream->moved_ns,
    };
    pthread_mutex_unlock(&stream->mtx);
    return state;
}

static int64_t rounds_patience(const struct nqtp_link *link)
{
    return link->stream->channel ? link->ep->opts.connect_timeout_ns
                                 : link->ep->opts.idle_timeout_ns;
}

/* `at` is of ngrpc_now(). */
static void rounds_wait(struct nqtp_link *link, int64_t at)
{
    const struct nqt_host *host = link->mod->host;
    int64_t left = at - ngrpc_now();

    if (link->tick)
        host->timer_set(link->tick, host->now_ns(link->mod->core) + (left > 0 ? left : 0));
}

/* ---- a client's ------------------------------------------------------------------------- */

static void rounds_begin(struct nqtp_link *link)
{
    struct ngrpc_stream *stream = link->stream;

    if (!stream->first &&
        grpc_channel_check_connectivity_state(stream->channel, 0) != GRPC_CHANNEL_READY) {
        ngrpc_link_down(link, NQT_E_LOST, GRPC_STATUS_UNAVAILABLE, "%s: the connection broke",
                        link->peer);
        return;
    }
    link->rounding = true;
    link->due_ns = 0;
    ngrpc_round_begin(stream);
    rounds_wait(link, ngrpc_now() + rounds_patience(link));
}

void ngrpc_rounds_connect(struct nqtp_link *link)
{
    link->rounding = true;
    ngrpc_round_begin(link->stream);
}

/* The last one is over: when does the next one begin? */
static void rounds_schedule(struct nqtp_link *link, const struct rounds_state *state)
{
    if (link->rounding || !link->due_ns) {
        link->pause_ns = state->moved ? ROUNDS_FIRST_NS : 2 * link->pause_ns;
        if (link->pause_ns > ROUNDS_LAST_NS)
            link->pause_ns = ROUNDS_LAST_NS;
        link->due_ns = ngrpc_now() + link->pause_ns;
        link->rounding = false;
        rounds_wait(link, link->due_ns);
    }
    /* While the core wants nothing, nothing is asked for; but what waits here goes out. */
    if (state->full || ((link->held || link->paused) && !state->waiting))
        return;
    if (state->waiting || link->due_ns <= ngrpc_now())
        rounds_begin(link);
}

void ngrpc_rounds_sent(struct nqtp_link *link)
{
    struct ngrpc_stream *stream = link->stream;
    struct rounds_state state;

    if (!stream->channel)
        return; /* the client's next round takes it */
    pthread_mutex_lock(&stream->mtx);
    if (stream->round && !stream->filled && stream->tx_wait.length) {
        stream->quota = stream->tx_wait.length;
        stream->filled = true;
    }
    pthread_mutex_unlock(&stream->mtx);
    ngrpc_stream_pump_tx(stream);
    state = rounds_read(link);
    if (!state.round && !state.failed)
        rounds_schedule(link, &state);
}

/* ---- both ------------------------------------------------------------------------------- */

static bool rounds_late(struct nqtp_link *link, const struct rounds_state *state)
{
    return ngrpc_now() - state->moved_ns >= rounds_patience(link) && !state->full;
}

static void rounds_tick(void *arg)
{
    struct nqtp_link *link = arg;
    struct rounds_state state = rounds_read(link);
    bool client = link->stream->channel;

    if (state.failed || !ngrpc_link_open(link))
        return; /* a post is on its way */
    if (client && !state.round)
        rounds_schedule(link, &state);
    else if (rounds_late(link, &state))
        ngrpc_link_down(link, NQT_E_LOST, 0,
                        client ? "%s: the server does not end the call within %lld ms; see "
                                 "connect_timeout"
                               : "%s: no call of the client within %lld ms; see idle_timeout",
                        link->peer, (long long)(rounds_patience(link) / 1000000));
    else if (state.full)
        rounds_wait(link, ngrpc_now() + rounds_patience(link));
    else
        rounds_wait(link, state.moved_ns + rounds_patience(link));
}

void ngrpc_rounds_up(struct nqtp_link *link)
{
    link->pause_ns = ROUNDS_FIRST_NS;
    if (nqt_timer_start(link->mod->host, link->mod->core, link->serial, rounds_tick, link,
                        rounds_patience(link), &link->tick))
        ngrpc_link_down(link, NQT_E_NOMEM, 0, "%s: no memory for a timer", link->peer);
}

void ngrpc_rounds_look(struct nqtp_link *link)
{
    struct rounds_state state = rounds_read(link);
    bool open = ngrpc_link_open(link);

    if (!open && link->state != NGRPC_OPENING)
        return;
    if (state.failed) {
        /* A link that broke is of no use while the core wants nothing. */
        if (!state.full || link->held || link->paused)
            ngrpc_link_status_down(link);
        return;
    }
    if (!open || state.round)
        return;
    if (link->state == NGRPC_DRAINING && !state.waiting)
        ngrpc_link_down(link, NQT_E_EOF, 0, "%s: ended by this side", link->peer);
    else if (link->stream->channel)
        rounds_schedule(link, &state);
}
