/* Who waits in the completion queue: callers of the library, or the drive's thread.
 *
 * A caller that waits for a message had better wait there himself: what comes is handled where it
 * is wanted, and no thread has to be woken for it.  But gRPC must go on when no caller waits, and
 * two that wait in one queue cost each other more than they gain.  So the thread parks in the queue
 * only while no caller has been there for a tick:
 *
 *   state    the thread             leaves by
 *   PARKED   waits in the queue     a caller comes, and sends it away -> TICK
 *   TICK     sleeps until a tick    nobody was there since the last one -> PARKED;
 *                                   the same caller is still there -> OFF
 *   OFF      sleeps                 that caller leaves -> TICK
 *
 * A caller counts himself in `inside` and then looks at `parked`; the thread sets `parked` and then
 * looks at `inside`: one of them sees the other and gives way.  Who looks now and then does not
 * send it away: it handles what comes, and for the next one nobody would be there until a tick is
 * over. Who looks POLL_LOOKS times for each that comes spins, and does.
 *
 * A receive that follows another is started by who waits next: to start one costs as much as to
 * handle a message, and whoever has one in hand would handle it that much later.
 *
 * What wakes a caller goes through the queue, and the thread may take it there before it has left:
 * so it is also written down, in the endpoint's `woken`. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "grpc.h"
#include <errno.h>
#include <time.h>

#define POLL_TICK_NS INT64_C(5000000)
#define POLL_BATCH 32 /* events that one look takes */
#define POLL_LOOKS 16u

enum { POLL_PARKED, POLL_TICK, POLL_OFF };

/* ---- receives that are owed ------------------------------------------------------------- */

static void poll_start_receives(struct ngrpc_drive *drive)
{
    struct ngrpc_stream *stream, *next;

    if (!atomic_load(&drive->owed))
        return;
    for (stream = atomic_exchange(&drive->owed, NULL); stream; stream = next) {
        next = stream->owed;
        ngrpc_stream_receive(stream);
    }
}

/* Who pushes one and then finds another waiting starts it; who waits has first counted himself. */
void ngrpc_poll_owe(struct ngrpc_stream *stream)
{
    struct ngrpc_drive *drive = stream->drive;

    stream->owed = atomic_load(&drive->owed);
    while (!atomic_compare_exchange_weak(&drive->owed, &stream->owed, stream))
        continue;
    if (atomic_load(&drive->inside) > 1)
        poll_start_receives(drive);
}

/* ---- one event -------------------------------------------------------------------------- */

static gpr_timespec poll_deadline(struct ngrpc_drive *drive, int64_t timeout_ns)
{
    if (atomic_load(&drive->late) && (timeout_ns < 0 || timeout_ns > NGRPC_TICK_NS))
        timeout_ns = NGRPC_TICK_NS;
    if (timeout_ns < 0)
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    if (timeout_ns == 0)
        return gpr_inf_past(GPR_CLOCK_MONOTONIC);
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                        gpr_time_from_nanos(timeout_ns, GPR_TIMESPAN));
}

/* Negative = for ever. */
static grpc_completion_type poll_next(struct ngrpc_drive *drive, int64_t timeout_ns)
{
    grpc_event event;

    poll_start_receives(drive);
    event = grpc_completion_queue_next(drive->cq, poll_deadline(drive, timeout_ns), NULL);
    if (event.type == GRPC_OP_COMPLETE) {
        struct ngrpc_tag *tag = event.tag;

        (void)atomic_load_explicit(&drive->started, memory_order_acquire);
        tag->done(tag, event.success);
    }
    if (event.type != GRPC_QUEUE_SHUTDOWN && atomic_load(&drive->late))
        ngrpc_drive_look(drive);
    return event.type;
}

/* ---- the thread ------------------------------------------------------------------------- */

/* True: it waits in the queue no longer. */
static bool poll_unpark(struct ngrpc_drive *drive)
{
    pthread_mutex_lock(&drive->mtx);
    atomic_store(&drive->parked, false);
    pthread_cond_broadcast(&drive->unparked);
    pthread_mutex_unlock(&drive->mtx);
    return true;
}

/* Wait in the queue until a caller comes; false: the queue has ended. */
static bool poll_park(struct ngrpc_drive *drive)
{
    do {
        atomic_store(&drive->looks, 0);
        if (poll_next(drive, -1) == GRPC_QUEUE_SHUTDOWN)
            return false;
    } while (atomic_load(&drive->watch) == POLL_PARKED);
    return poll_unpark(drive);
}

/* Ticks again. */
static bool poll_tick_on(struct ngrpc_drive *drive)
{
    atomic_store(&drive->watch, POLL_TICK);
    return false;
}

/* A tick: is it the thread's turn to wait in the queue? */
static bool poll_on_tick(struct ngrpc_drive *drive, uint64_t *last)
{
    uint64_t polls = atomic_load(&drive->polls);
    bool hurry = atomic_exchange(&drive->hurry, false);

    if (polls != *last && !hurry) {
        *last = polls;
        return poll_tick_on(drive);
    }
    if (atomic_load(&drive->inside)) {
        atomic_store(&drive->watch, POLL_OFF);
        /* When the caller left before he could see that, nobody would start the clock. */
        return atomic_load(&drive->inside) ? false : poll_tick_on(drive);
    }
    atomic_store(&drive->parked, true);
    atomic_store(&drive->watch, POLL_PARKED);
    if (!atomic_load(&drive->inside))
        return true;
    poll_unpark(drive);
    return poll_tick_on(drive);
}

static void poll_await_tick(struct ngrpc_drive *drive)
{
    int64_t until;
    struct timespec at;

    pthread_mutex_lock(&drive->mtx);
    while (atomic_load(&drive->watch) == POLL_OFF && !atomic_load(&drive->hurry))
        pthread_cond_wait(&drive->rest, &drive->mtx);
    until = ngrpc_now() + POLL_TICK_NS;
    at = (struct timespec){.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
    while (!atomic_load(&drive->hurry) &&
           pthread_cond_timedwait(&drive->rest, &drive->mtx, &at) != ETIMEDOUT)
        continue;
    pthread_mutex_unlock(&drive->mtx);
}

static void poll_rest(struct ngrpc_drive *drive)
{
    uint64_t last = atomic_load(&drive->polls);

    do
        poll_await_tick(drive);
    while (!poll_on_tick(drive, &last));
}

/* Under no lock: the thread is to look at its state. */
static void poll_rouse(struct ngrpc_drive *drive)
{
    pthread_mutex_lock(&drive->mtx);
    pthread_cond_signal(&drive->rest);
    pthread_mutex_unlock(&drive->mtx);
}

void ngrpc_poll_run(struct ngrpc_drive *drive)
{
    while (poll_park(drive))
        poll_rest(drive);
}

void ngrpc_poll_recall(struct ngrpc_drive *drive)
{
    if (atomic_load(&drive->watch) == POLL_PARKED)
        return;
    atomic_store(&drive->hurry, true);
    poll_rouse(drive);
}

/* ---- callers ---------------------------------------------------------------------------- */

/* Send the thread away, and wait until it has gone. */
static void poll_evict(struct ngrpc_drive *drive)
{
    bool first;

    pthread_mutex_lock(&drive->mtx);
    first = atomic_load(&drive->watch) == POLL_PARKED;
    if (first)
        (void)poll_tick_on(drive);
    pthread_mutex_unlock(&drive->mtx);
    if (first)
        ngrpc_drive_wake(drive);
    pthread_mutex_lock(&drive->mtx);
    while (atomic_load(&drive->parked))
        pthread_cond_wait(&drive->unparked, &drive->mtx);
    pthread_mutex_unlock(&drive->mtx);
}

/* Until something was left for a serial, or the time is over. */
static void poll_wait(struct nqtp_ep *ep, int64_t timeout_ns)
{
    struct ngrpc_drive *drive = ep->mod->drive;
    uint64_t news = atomic_load(&drive->news);
    int64_t until;

    if (atomic_exchange(&ep->woken, false))
        timeout_ns = 0;
    until = timeout_ns > 0 ? ngrpc_now() + timeout_ns : 0;
    for (int n = 0; timeout_ns || n < POLL_BATCH; n++) {
        grpc_completion_type type = poll_next(drive, timeout_ns);

        if (atomic_load(&drive->news) != news || type == GRPC_QUEUE_SHUTDOWN)
            return;
        if (type == GRPC_QUEUE_TIMEOUT && !timeout_ns)
            return;
        if (timeout_ns > 0) {
            timeout_ns = until - ngrpc_now();
            if (timeout_ns <= 0)
                return;
        }
    }
}

int ngrpc_poll(struct nqtp_ep *ep, int64_t timeout_ns)
{
    struct ngrpc_drive *drive = ep->mod->drive;
    uint32_t off = POLL_OFF;

    if (!timeout_ns && atomic_load(&drive->parked) &&
        atomic_fetch_add(&drive->looks, 1) < POLL_LOOKS)
        return NQT_OK;
    atomic_fetch_add(&drive->inside, 1);
    atomic_fetch_add(&drive->polls, 1);
    if (atomic_load(&drive->parked))
        poll_evict(drive);
    poll_wait(ep, timeout_ns);
    atomic_fetch_sub(&drive->inside, 1);
    if (atomic_load(&drive->watch) == POLL_OFF &&
        atomic_compare_exchange_strong(&drive->watch, &off, POLL_TICK))
        poll_rouse(drive);
    return NQT_OK;
}

void ngrpc_poll_wake(struct nqtp_ep *ep)
{
    atomic_store(&ep->woken, true);
    ngrpc_drive_wake(ep->mod->drive);
}

/* ---- life ------------------------------------------------------------------------------- */

void ngrpc_poll_init(struct ngrpc_drive *drive)
{
    pthread_condattr_t attr;

    atomic_init(&drive->watch, POLL_PARKED);
    atomic_init(&drive->parked, true);
    pthread_cond_init(&drive->unparked, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&drive->rest, &attr);
    pthread_condattr_destroy(&attr);
}

void ngrpc_poll_fini(struct ngrpc_drive *drive)
{
    pthread_cond_destroy(&drive->rest);
    pthread_cond_destroy(&drive->unparked);
}
