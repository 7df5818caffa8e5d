/* Where a running queue tells of itself: a unix socket, "stats": {"socket": ...}.
 *
 *     connect --> accept --> is it our user, or root? --> document, piece by piece --> shut down
 *                              no: closed, without a word
 *
 * The queue's own loop brings all of it, in a strand of its own, so whoever drives the queue
 * answers; in mode manual that is the program.  Nothing is read: who connects has asked.  Nothing
 * waits: what the socket does not take is sent when it does, and who does not read is cut off.  A
 * few are served at a time, and while there are so many the rest wait in the system's own list.
 *
 *     reader   free      serving                        free
 *                 accept         all sent, time is up,
 *                                hung up, no memory, close
 *
 * Memory of a reader is there while it is served only, and without the key there is nothing of all
 * this: no descriptor, no watch, no strand.
 *
 * A forked child has copies of the descriptors, which keep the sockets open when the parent closes
 * them: so connections are shut down, and whoever comes to the parent's socket after its death
 * finds out that it is dead (core/local.c). */
#include "core/err.h"
#include "core/local.h"
#include "core/log.h"
#include "core/queue.h"
#include "core/queue_report.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STATS_READERS 4
#define STATS_BACKLOG 16
#define STATS_TIME_NS (5 * NQI_NS_PER_S) /* for all of a document */
#define STATS_REST_NS NQI_NS_PER_S
#define STATS_SYSTEM 4096 /* bytes that the system keeps for one; it takes twice as many */
#define STATS_PIECE (4 * NQI_REPORT_ROOM) /* made and sent in one turn */

struct stats_reader {
    struct nqi_queue_stats *stats;
    int fd;
    struct nqi_watch *watch, *timer; /* NULL = it has not had to wait yet */
    struct nqi_report report;
    bool complete;  /* the report is told to its end */
    size_t at, len; /* of `piece`: sent, and made */
    char piece[STATS_PIECE];
};

struct nqi_queue_stats {
    /* fixed */
    nq_queue *queue;
    int64_t opened;
    struct nqi_serial serial;
    struct nqt_unix_id id;
    struct nqi_work close_work;

    _Atomic bool closed;

    /* inside the strand */
    int fd;
    struct nqi_watch *watch;
    struct nqi_watch *rest;                      /* a timer: listen again */
    struct stats_reader *readers[STATS_READERS]; /* NULL = free */
    unsigned nreaders;
};

/* ---- one reader: inside the strand ------------------------------------------------------ */

/* Who waits in the system's list is taken only while a place is free. */
static void stats_listen(struct nqi_queue_stats *stats, bool on)
{
    if (nqi_fd_mod(stats->watch, on ? POLLIN : 0))
        nqi_log(NQ_LOG_WARN, "%s", nq_error());
}

static void reader_end(struct stats_reader *reader)
{
    struct nqi_queue_stats *stats = reader->stats;

    for (unsigned i = 0; i < STATS_READERS; i++)
        if (stats->readers[i] == reader)
            stats->readers[i] = NULL;
    nqi_watch_del(reader->watch);
    nqi_watch_del(reader->timer);
    shutdown(reader->fd, SHUT_RDWR);
    close(reader->fd);
    nqi_report_fini(&reader->report);
    free(reader);
    if (stats->nreaders-- == STATS_READERS)
        stats_listen(stats, true);
}

static void reader_fill(struct stats_reader *reader)
{
    struct nqi_wbuf out = nqi_wbuf_over(reader->piece, sizeof(reader->piece));

    reader->complete = !nqi_report_fill(&reader->report, &out);
    reader->at = 0;
    reader->len = nqi_wbuf_len(&out);
}

/* One piece at the most: others of the loop have their turn.  @return false: it is over */
static bool reader_send(struct stats_reader *reader)
{
    ssize_t n;

    if (reader->at == reader->len)
        reader_fill(reader);
    n = send(reader->fd, reader->piece + reader->at, reader->len - reader->at,
             MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    reader->at += (size_t)n;
    return reader->at < reader->len || !reader->complete;
}

static void reader_on_ready(void *arg, uint32_t events)
{
    struct stats_reader *reader = arg;

    if (events & (POLLERR | POLLHUP) || !reader_send(reader))
        reader_end(reader);
}

static void reader_on_time(void *arg)
{
    reader_end(arg);
}

/* It did not take all at once. */
static nq_err reader_wait(struct stats_reader *reader)
{
    struct nqi_serial *serial = &reader->stats->serial;
    nq_err err = nqi_timer_add(serial, reader_on_time, reader, &reader->timer);

    if (err)
        return err;
    nqi_timer_set(reader->timer, nqi_now() + STATS_TIME_NS);
    return nqi_fd_add(serial, reader->fd, POLLOUT, reader_on_ready, reader, &reader->watch);
}

/* Takes `fd`. */
static void reader_begin(struct nqi_queue_stats *stats, int fd)
{
    struct stats_reader *reader = calloc(1, sizeof(*reader));
    const int room = STATS_SYSTEM;
    unsigned place = 0;

    if (!reader) {
        close(fd);
        return;
    }
    while (stats->readers[place])
        place++;
    stats->readers[place] = reader;
    if (++stats->nreaders == STATS_READERS)
        stats_listen(stats, false);
    reader->stats = stats;
    reader->fd = fd;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)); /* else: the usual */
    if (nqi_report_open(&reader->report, stats->queue, stats->opened) || !reader_send(reader) ||
        reader_wait(reader))
        reader_end(reader);
}

/* Without descriptors who waits goes on waiting, and the loop must not turn in circles for him. */
static void stats_rest(struct nqi_queue_stats *stats)
{
    stats_listen(stats, false);
    nqi_timer_set(stats->rest, nqi_now() + STATS_REST_NS);
}

static void stats_on_rested(void *arg)
{
    struct nqi_queue_stats *stats = arg;

    if (stats->nreaders < STATS_READERS)
        stats_listen(stats, true);
}

/* One in a turn. */
static void stats_on_ready(void *arg, uint32_t events)
{
    struct nqi_queue_stats *stats = arg;
    int fd;

    (void)events;
    if (stats->nreaders == STATS_READERS) /* the event is older than the last one */
        return;
    fd = nqi_local_accept(stats->fd);
    if (fd >= 0)
        reader_begin(stats, fd);
    else if (errno != EAGAIN)
        stats_rest(stats);
}

/* ---- open and close --------------------------------------------------------------------- */

static void stats_free(struct nqi_queue_stats *stats)
{
    if (stats->fd >= 0)
        close(stats->fd);
    nqi_strand_unref(stats->serial.strand);
    free(stats);
}

static void stats_end(struct nqi_queue_stats *stats)
{
    nqi_watch_del(stats->watch);
    nqi_watch_del(stats->rest);
    nqt_unix_remove(stats->queue->conf->stats_socket, &stats->id);
    shutdown(stats->fd, SHUT_RDWR); /* for those who wait in the system's list, too */
}

static void stats_run_close(struct nqi_work *work)
{
    struct nqi_queue_stats *stats = NQI_CONTAINER(work, struct nqi_queue_stats, close_work);

    for (unsigned i = 0; i < STATS_READERS; i++)
        if (stats->readers[i])
            reader_end(stats->readers[i]);
    stats_end(stats);
    nqi_queue_on_changed(stats->queue);
    atomic_store(&stats->closed, true); /* its memory may go from here on */
}

static bool stats_is_closed(void *arg)
{
    struct nqi_queue_stats *stats = arg;

    return atomic_load(&stats->closed);
}

static nq_err stats_start(struct nqi_queue_stats *stats)
{
    nq_err err =
        nqi_local_listen(stats->queue->conf->stats_socket, STATS_BACKLOG, &stats->id, &stats->fd);

    if (err)
        return err;
    nqi_strand_enter_new(stats->serial.strand);
    err = nqi_timer_add(&stats->serial, stats_on_rested, stats, &stats->rest);
    if (!err)
        err = nqi_fd_add(&stats->serial, stats->fd, POLLIN, stats_on_ready, stats, &stats->watch);
    if (err)
        stats_end(stats);
    nqi_strand_leave(stats->serial.strand);
    return err;
}

nq_err nqi_queue_stats_open(nq_queue *queue)
{
    struct nqi_queue_stats *stats;
    nq_err err;

    if (!queue->conf->stats_socket)
        return NQ_OK;
    stats = calloc(1, sizeof(*stats));
    if (!stats)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for the socket of \"stats\"");
    stats->queue = queue;
    stats->opened = nqi_now();
    stats->fd = -1;
    stats->close_work.run = stats_run_close;
    stats->serial.loop = queue->loops[0];
    stats->serial.strand = nqi_strand_new();
    err = stats->serial.strand ? stats_start(stats)
                               : nqi_fail(NQ_ERR_NOMEM, "no memory for the socket of \"stats\"");
    if (err) {
        stats_free(stats);
        return nqi_fail_in(err, "\"stats\"");
    }
    queue->stats = stats;
    return NQ_OK;
}

void nqi_queue_stats_close(nq_queue *queue)
{
    struct nqi_queue_stats *stats = NQI_STEAL(queue->stats);

    if (!stats)
        return;
    nqi_strand_run(stats->serial.strand, &stats->close_work);
    /* Whoever is inside leaves in a moment. */
    if (nqi_room_wait(queue->rooms[0], stats_is_closed, stats, NQ_FOREVER))
        nqi_log(NQ_LOG_ERROR, "the socket of \"stats\" is left: %s", nq_error());
    else
        stats_free(stats);
}
