/* The drive: one completion queue, and the thread that waits in it when no caller does.
 *
 * It is also the clock of what no serial looks after any more: streams that linger behind their
 * links, posts that were refused, endpoints whose peers do not read.  While there is such a thing
 * it looks at everything every NGRPC_TICK_NS; otherwise it sleeps until gRPC has something. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "grpc.h"
#include <errno.h>
#include <netqueue/transport_thread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* gRPC does not survive being used in a child while the parent uses it: both wait in one epoll set,
 * and the parent crashes. */
static _Atomic long drive_pid;

/* gRPC stays from its first use to the end of the process.  Its threads would end some time after
 * grpc_shutdown(), in the midst of the process's end perhaps, where leak checkers trip over them;
 * and grpc_shutdown_blocking() waits ten seconds for connections that nobody looks after any more.
 * False: it was used before this process was forked. */
static bool drive_hold_grpc(void)
{
    long pid = 0;

    if (atomic_compare_exchange_strong(&drive_pid, &pid, getpid()))
        grpc_init();
    else if (pid != getpid())
        return false;
    grpc_init();
    return true;
}

/* A call that leads nowhere: an empty batch of it completes at once. */
static void drive_on_wake(struct ngrpc_tag *tag, bool ok)
{
    struct ngrpc_drive *drive =
        (struct ngrpc_drive *)(void *)((char *)tag - offsetof(struct ngrpc_drive, on_wake));

    (void)ok;
    ngrpc_drive_news(drive);
}

static void drive_add_waker(struct ngrpc_drive *drive)
{
    drive->on_wake.done = drive_on_wake;
    drive->lame = grpc_lame_client_channel_create("netqueue", GRPC_STATUS_UNAVAILABLE, "none");
    drive->waker =
        grpc_channel_create_call(drive->lame, NULL, GRPC_PROPAGATE_DEFAULTS, drive->cq,
                                 grpc_slice_from_static_string("/netqueue.Transport/None"), NULL,
                                 gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
}

void ngrpc_drive_wake(struct ngrpc_drive *drive)
{
    (void)grpc_call_start_batch(drive->waker, NULL, 0, &drive->on_wake, NULL);
}

void ngrpc_drive_late(struct ngrpc_drive *drive)
{
    if (!atomic_exchange(&drive->late, true))
        ngrpc_drive_wake(drive);
}

/* ---- looking ---------------------------------------------------------------------------- */

/* One stream that must be cancelled now, with one user more. */
static struct ngrpc_stream *drive_look_streams(struct ngrpc_drive *drive, int64_t now, bool *again)
{
    bool cancel = false;

    for (struct ngrpc_stream *stream = drive->streams; stream; stream = stream->next) {
        if (ngrpc_stream_look(stream, now, &cancel))
            *again = true;
        if (cancel)
            return stream;
    }
    return NULL;
}

/* One room that need not wait longer, with one more in it. */
static struct ngrpc_room *drive_look_rooms(struct ngrpc_drive *drive, int64_t now, bool *again)
{
    bool pinned = false;

    for (struct ngrpc_room *room = drive->rooms; room; room = room->next) {
        if (ngrpc_room_look(room, now, &pinned))
            *again = true;
        if (pinned)
            return room;
    }
    return NULL;
}

/* One round; false: nothing had to be done that could not be done inside. */
static bool drive_look_once(struct ngrpc_drive *drive, int64_t now)
{
    struct ngrpc_stream *stream;
    struct ngrpc_room *room = NULL;
    bool again = false, stop;

    atomic_store(&drive->late, false); /* whoever is late from now on sets it again */
    pthread_mutex_lock(&drive->mtx);
    stream = drive_look_streams(drive, now, &again);
    if (!stream)
        room = drive_look_rooms(drive, now, &again);
    stop = drive->left && !drive->stopping && !drive->streams && !drive->rooms;
    if (stop)
        drive->stopping = true;
    if (again || drive->left)
        atomic_store(&drive->late, true);
    pthread_mutex_unlock(&drive->mtx);
    if (stop)
        grpc_completion_queue_shutdown(drive->cq);
    if (stream) {
        ngrpc_stream_cancel(stream);
        ngrpc_stream_put(stream);
    }
    if (room)
        ngrpc_room_leave(room);
    return stream || room;
}

void ngrpc_drive_look(struct ngrpc_drive *drive)
{
    int64_t now = ngrpc_now();

    if (pthread_mutex_trylock(&drive->look_mtx))
        return;
    if (now - drive->looked_ns >= NGRPC_TICK_NS) {
        drive->looked_ns = now;
        while (drive_look_once(drive, now))
            continue;
    }
    pthread_mutex_unlock(&drive->look_mtx);
}

/* ---- life ------------------------------------------------------------------------------- */

static void drive_free(struct ngrpc_drive *drive)
{
    grpc_call_unref(drive->waker);
    grpc_channel_destroy(drive->lame);
    grpc_completion_queue_destroy(drive->cq);
    ngrpc_poll_fini(drive);
    pthread_mutex_destroy(&drive->look_mtx);
    pthread_mutex_destroy(&drive->mtx);
    free(drive);
    grpc_shutdown();
}

static void *drive_run(void *arg)
{
    struct ngrpc_drive *drive = arg;
    bool left;

    ngrpc_poll_run(drive);
    pthread_mutex_lock(&drive->mtx);
    left = drive->left;
    pthread_mutex_unlock(&drive->mtx);
    if (left)
        drive_free(drive);
    return NULL;
}

int ngrpc_drive_new(struct ngrpc_drive **out, struct nqt_error *err)
{
    struct ngrpc_drive *drive = calloc(1, sizeof(*drive));
    int error;

    if (!drive)
        return nqt_fail(err, NQT_E_NOMEM, "no memory for the transport grpc");
    if (!drive_hold_grpc()) {
        free(drive);
        return nqt_fail(err, NQT_E_UNSUPPORTED,
                        "gRPC was in use when this process was forked, and cannot be used in "
                        "both; open the queue after exec, or fork before the first queue");
    }
    pthread_mutex_init(&drive->mtx, NULL);
    pthread_mutex_init(&drive->look_mtx, NULL);
    ngrpc_poll_init(drive);
    drive->cq = grpc_completion_queue_create_for_next(NULL);
    drive_add_waker(drive);
    error = nqt_thread_start(&drive->thread, NULL, drive_run, drive);
    if (error) {
        grpc_completion_queue_shutdown(drive->cq);
        (void)grpc_completion_queue_next(drive->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        drive_free(drive);
        return nqt_fail_native(err, NQT_E_SYS, "errno", error, "no thread for gRPC's events: %s",
                               strerror(error));
    }
    *out = drive;
    return NQT_OK;
}

void ngrpc_drive_leave(struct ngrpc_drive *drive)
{
    pthread_t thread = drive->thread;
    bool idle;

    ngrpc_poll_recall(drive);
    pthread_mutex_lock(&drive->mtx);
    idle = !drive->streams && !drive->rooms;
    if (idle)
        drive->stopping = true;
    else
        drive->left = true; /* its rooms are overdue, so it looks every tick */
    pthread_mutex_unlock(&drive->mtx);
    if (!idle) {
        pthread_detach(thread);
        return;
    }
    grpc_completion_queue_shutdown(drive->cq);
    pthread_join(thread, NULL);
    drive_free(drive);
}

/* ---- lists ------------------------------------------------------------------------------ */

void ngrpc_drive_add_stream(struct ngrpc_stream *stream)
{
    struct ngrpc_drive *drive = stream->drive;

    pthread_mutex_lock(&drive->mtx);
    stream->next = drive->streams;
    stream->at = &drive->streams;
    if (stream->next)
        stream->next->at = &stream->next;
    drive->streams = stream;
    pthread_mutex_unlock(&drive->mtx);
}

void ngrpc_drive_del_stream(struct ngrpc_stream *stream)
{
    struct ngrpc_drive *drive = stream->drive;

    pthread_mutex_lock(&drive->mtx);
    *stream->at = stream->next;
    if (stream->next)
        stream->next->at = stream->at;
    pthread_mutex_unlock(&drive->mtx);
}

void ngrpc_drive_add_room(struct ngrpc_room *room)
{
    struct ngrpc_drive *drive = room->drive;

    pthread_mutex_lock(&drive->mtx);
    room->next = drive->rooms;
    room->at = &drive->rooms;
    if (room->next)
        room->next->at = &room->next;
    drive->rooms = room;
    pthread_mutex_unlock(&drive->mtx);
}

void ngrpc_drive_del_room(struct ngrpc_room *room)
{
    struct ngrpc_drive *drive = room->drive;

    pthread_mutex_lock(&drive->mtx);
    *room->at = room->next;
    if (room->next)
        room->next->at = room->at;
    pthread_mutex_unlock(&drive->mtx);
}
