/* Opening and closing a queue. */
#include "core/queue.h"

#include "core/err.h"
#include "core/log.h"
#include "core/plugin.h"
#include "core/pool.h"
#include "core/process.h"
#include "core/random.h"
#include <netqueue/netqueue.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_ABORT_NS (1 * NQI_NS_PER_S) /* for threads inside of peers to leave them */
#define QUEUE_FREE_NS (10 * NQI_NS_PER_S) /* most that nq_free() waits for transports to let go */

const char *nq_version(void)
{
    return PACKAGE_VERSION;
}

const nq_uuid *nq_id(const nq_queue *queue)
{
    return &queue->conf->id;
}

/* ---- waking and flushing ---------------------------------------------------------------- */

struct nqi_room *nqi_queue_room(nq_queue *queue)
{
    return queue->rooms[atomic_load_explicit(&queue->last_loop, memory_order_relaxed)];
}

void nqi_queue_notify(nq_queue *queue)
{
    if (!atomic_load_explicit(&queue->changed, memory_order_acquire))
        return;
    atomic_store(&queue->changed, false);
    nqi_room_notify(queue->rooms[0]);
}

void nqi_queue_flush(nq_queue *queue)
{
    struct nqi_peer *peer;

    if (!atomic_load_explicit(&queue->dirty, memory_order_relaxed))
        return;
    peer = atomic_exchange(&queue->dirty, NULL);
    while (peer) {
        struct nqi_peer *next = peer->dirty_next;

        atomic_store(&peer->dirty_listed, false);
        nqi_peer_flush(peer);
        nqi_peer_unref(peer);
        peer = next;
    }
    nqi_queue_notify(queue);
}

/* ---- opening ---------------------------------------------------------------------------- */

static void queue_freep(nq_queue **queue)
{
    nq_free(*queue);
}

static enum nqi_room_mode queue_room_mode(enum nqi_progress mode)
{
    switch (mode) {
    case NQI_PROGRESS_THREAD:
        return NQI_ROOM_THREAD;
    case NQI_PROGRESS_MANUAL:
        return NQI_ROOM_MANUAL;
    default:
        return NQI_ROOM_AUTO;
    }
}

static nq_err queue_open_loops(nq_queue *queue)
{
    const struct nqi_conf *conf = queue->conf;
    /* A client has one link; in manual mode there is one descriptor to watch. */
    uint32_t count = conf->server && conf->mode != NQI_PROGRESS_MANUAL ? conf->workers : 1;

    queue->loops = calloc(count, sizeof(struct nqi_loop *));
    queue->rooms = calloc(count, sizeof(struct nqi_room *));
    if (!queue->loops || !queue->rooms)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a queue");
    for (uint32_t i = 0; i < count; i++) {
        nq_err err = nqi_loop_new(&queue->loops[i]);

        if (err)
            return err;
        queue->nloops = i + 1;
        err = nqi_room_new(queue->loops[i], queue_room_mode(conf->mode), conf->spin_ns,
                           &queue->rooms[i]);
        if (err)
            return err;
        if (i)
            nqi_room_join(queue->rooms[0], queue->rooms[i]);
    }
    return NQ_OK;
}

static nq_err queue_open_ep(nq_queue *queue, const struct nqi_conf_transport *entry,
                            struct nqi_queue_ep *ep)
{
    nq_err err;

    ep->queue = queue;
    ep->entry = entry;
    queue->older &= entry->absent || entry->wire == NQI_WIRE_OLDER;
    if (entry->absent) {
        nqi_queue_tell_absent(queue, entry->absent);
        return NQ_OK;
    }
    err = nqi_transport_open(entry->module, entry->options, &ep->core);
    if (!err)
        err = nqi_ep_open(ep->core, queue->loops[0], queue->conf->server, &nqi_queue_ep_events, ep,
                          &ep->ep);
    if (err)
        return err;
    atomic_fetch_add(&queue->open_eps, 1);
    queue->ep_list[queue->ndial++] = ep->ep;
    return NQ_OK;
}

static nq_err queue_open_eps(nq_queue *queue)
{
    const struct nqi_conf *conf = queue->conf;
    nq_err err = NQ_OK;

    queue->eps = calloc(conf->ntransports, sizeof(*queue->eps));
    queue->ep_list = calloc(conf->ntransports, sizeof(nqt_ep *));
    if (!queue->eps || !queue->ep_list)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a queue");
    while (!err && queue->neps < conf->ntransports) {
        size_t i = queue->neps++;

        err = queue_open_ep(queue, &conf->transports[i], &queue->eps[i]);
    }
    return err;
}

static nq_err queue_fill_peer_conf(nq_queue *queue)
{
    const struct nqi_conf *conf = queue->conf;
    struct nqi_peer_conf *peer = &queue->peer_conf;

    peer->session.id = conf->id;
    peer->session.max_message = NQI_MIN(conf->max_message, conf->memory);
    peer->session.window_bytes = conf->credit;
    peer->session.window_messages = conf->queue_messages;
    peer->session.record = (uint32_t)conf->record;
    peer->session.coalesce = (uint32_t)conf->coalesce;
    peer->session.keepalive_ns = conf->keepalive_ns;
    peer->session.expiry_ns = conf->expiry_ns;
    peer->session.ack_consumed = conf->ack == NQI_ACK_CONSUMED;
    peer->session.resend = conf->resend && !conf->server; /* a server's peer is one session */
    peer->queue_messages = conf->queue_messages;
    peer->queue_bytes = conf->queue_bytes;
    peer->policy = conf->policy;
    peer->room = queue->rooms[0];
    peer->events = &nqi_queue_peer_events;
    peer->arg = queue;
    return nq_uuid_random(&peer->session.incarnation);
}

static void queue_fill_hello(nq_queue *queue)
{
    const struct nqi_session_conf *session = &queue->peer_conf.session;

    queue->hello = (struct nqi_hello){.id = session->id,
                                      .incarnation = session->incarnation,
                                      .max_message = session->max_message,
                                      .keepalive_ns = session->keepalive_ns,
                                      .expiry_ns = session->expiry_ns};
}

static nq_err queue_start(nq_queue *queue)
{
    nq_err err = queue_open_loops(queue);

    if (!err)
        err = queue_fill_peer_conf(queue);
    if (err)
        return err;
    queue_fill_hello(queue);
    nqi_events_init(&queue->events, queue->rooms[0]);
    err = queue_open_eps(queue);
    if (!err)
        err = nqi_queue_stats_open(queue);
    if (err || queue->conf->server)
        return err;
    return nqi_peer_dial(&queue->peer_conf, queue->loops[0], queue->ep_list, queue->ndial,
                         &queue->server);
}

/* Takes `conf`. */
static nq_err queue_open(struct nqi_conf *conf, nq_queue **ret)
{
    NQI_CLEANUP(queue_freep) nq_queue *queue = calloc(1, sizeof(*queue));
    nq_err err;

    if (!queue) {
        nqi_conf_free(conf);
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a queue");
    }
    nqi_process_watch();
    queue->process = nqi_process();
    queue->older = true;
    queue->conf = conf;
    pthread_mutex_init(&queue->lock, NULL);
    nqi_list_init(&queue->all);
    nqi_list_init(&queue->ready);
    nqi_list_init(&queue->greetings);
    nqi_list_init(&queue->leaving);
    nqi_tombs_init(&queue->tombs);
    err = nqi_random(&queue->seed, sizeof(queue->seed));
    nqi_sources_init(&queue->sources, queue->seed, conf->source_failures);
    if (!err)
        err = queue_start(queue);
    if (err)
        return err;
    if (queue->server) {
        nqi_queue_add(queue, queue->server);
        nqi_peer_start(queue->server);
    }
    *ret = NQI_STEAL(queue);
    return NQ_OK;
}

nq_err nq_open_json(const char *text, size_t len, nq_queue **ret)
{
    struct nqi_conf *conf;
    nq_err err = nqi_conf_load(NULL, text, len, nqi_plugin_load, NULL, NULL, &conf);

    return err ? err : queue_open(conf, ret);
}

nq_err nq_open(const char *path, nq_queue **ret)
{
    struct nqi_conf *conf;
    nq_err err = nqi_conf_load(path, NULL, 0, nqi_plugin_load, NULL, NULL, &conf);

    return err ? err : queue_open(conf, ret);
}

/* ---- closing ---------------------------------------------------------------------------- */

typedef void (*queue_peer_fn)(struct nqi_peer *peer);

/* Under lock: the first one with a reference, moved to the end; NULL = there is none. */
static struct nqi_peer *queue_turn(nq_queue *queue)
{
    struct nqi_list *first = nqi_list_first(&queue->all);

    if (!first)
        return NULL;
    nqi_list_remove(first);
    nqi_list_add_tail(&queue->all, first);
    return nqi_peer_ref(NQI_CONTAINER(first, struct nqi_peer, inbox.all));
}

/* One by one: to close needs no memory.  Some may end meanwhile; then others have a second turn,
 * which does no harm. */
static void queue_for_each(nq_queue *queue, queue_peer_fn fn)
{
    struct nqi_peer *peer;
    size_t left;

    pthread_mutex_lock(&queue->lock);
    for (left = queue->npeers; left && (peer = queue_turn(queue)); left--) {
        pthread_mutex_unlock(&queue->lock);
        fn(peer);
        nqi_peer_unref(peer);
        pthread_mutex_lock(&queue->lock);
    }
    pthread_mutex_unlock(&queue->lock);
    nqi_queue_notify(queue); /* of what others left with them, too */
}

static bool queue_no_peers(void *arg)
{
    nq_queue *queue = arg;
    bool none;

    pthread_mutex_lock(&queue->lock);
    none = nqi_list_empty(&queue->all);
    pthread_mutex_unlock(&queue->lock);
    return none;
}

static bool queue_claim_closer(void *arg)
{
    nq_queue *queue = arg;
    bool mine;

    pthread_mutex_lock(&queue->lock);
    mine = !queue->closer;
    queue->closer = true;
    pthread_mutex_unlock(&queue->lock);
    return mine;
}

static void queue_release_closer(nq_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->closer = false;
    pthread_mutex_unlock(&queue->lock);
    nqi_room_notify(queue->rooms[0]);
}

static void queue_report(nq_queue *queue, struct nq_close_report *report)
{
    if (!report)
        return;
    memset(report, 0, sizeof(*report));
    report->delivered = atomic_load(&queue->outcomes[NQ_DELIVERED]);
    report->unknown = atomic_load(&queue->outcomes[NQ_UNKNOWN]);
    report->handed = atomic_load(&queue->outcomes[NQ_HANDED]);
    for (int i = NQ_CANCELLED; i < NQ_UNKNOWN; i++)
        report->not_delivered += atomic_load(&queue->outcomes[i]);
    pthread_mutex_lock(&queue->lock);
    report->unread = queue->unread;
    pthread_mutex_unlock(&queue->lock);
}

/* From here on puts are refused, getters see the end, and new peers are turned away. */
static void queue_begin_close(nq_queue *queue)
{
    if (!atomic_exchange(&queue->closing, true))
        nqi_queue_send_strangers_away(queue);
    atomic_store(&queue->changed, true);
    nqi_queue_notify(queue);
    nqi_queue_mark(queue);
}

/* Puts that did not end well so far. */
static uint64_t queue_failures(nq_queue *queue)
{
    struct nq_close_report report;

    queue_report(queue, &report);
    return report.not_delivered + report.unknown;
}

/* A peer of the older wire whose fin did not come may have had more to say. */
static bool queue_has_older(nq_queue *queue)
{
    bool any = false;

    pthread_mutex_lock(&queue->lock);
    for (struct nqi_list *at = queue->all.next; at != &queue->all; at = at->next)
        any |= NQI_CONTAINER(at, struct nqi_peer, inbox.all)->older;
    pthread_mutex_unlock(&queue->lock);
    return any;
}

static nq_err queue_close(nq_queue *queue, int64_t timeout_ns)
{
    bool cut;
    uint64_t before = queue_failures(queue);
    nq_err err = NQ_OK;

    if (timeout_ns) {
        queue_for_each(queue, nqi_peer_close);
        err = nqi_room_wait(queue->rooms[0], queue_no_peers, queue, timeout_ns);
    }
    if (queue_no_peers(queue))
        return NQ_OK;
    cut = timeout_ns && queue_has_older(queue);
    queue_for_each(queue, nqi_peer_abort);
    if (err < 0)
        return err;
    /* A strand that is taken aborts in a moment: nobody inside waits for the network. */
    if (nqi_room_wait(queue->rooms[0], queue_no_peers, queue, QUEUE_ABORT_NS))
        nqi_log(NQ_LOG_WARN, "a closing queue could not settle all of its puts");
    return queue_failures(queue) == before && !cut ? NQ_OK : NQ_AGAIN;
}

nq_err nq_close(nq_queue *queue, int64_t timeout_ns, struct nq_close_report *report)
{
    int64_t linger = queue->conf->linger_ns, deadline;
    nq_err err = nqi_queue_check_process(queue);

    if (err)
        return err;
    if (timeout_ns < 0 && linger) /* a peer that never answers must not hang a close */
        timeout_ns = linger;
    deadline = timeout_ns > 0 ? nqi_now() + NQI_MIN(timeout_ns, NQI_NEVER / 2) : 0;
    queue_begin_close(queue);
    if (nqi_room_in_callback()) {
        queue_for_each(queue, nqi_peer_close);
        queue_report(queue, report);
        return NQ_AGAIN;
    }
    err = nqi_room_wait(queue->rooms[0], queue_claim_closer, queue, timeout_ns);
    if (err) {
        queue_report(queue, report);
        return err;
    }
    if (timeout_ns > 0)
        timeout_ns = NQI_MAX(deadline - nqi_now(), 1);
    err = queue_close(queue, timeout_ns);
    nqi_queue_stats_close(queue);
    queue_release_closer(queue);
    queue_report(queue, report);
    return err;
}

/* ---- ending ----------------------------------------------------------------------------- */

static bool queue_no_links(void *arg)
{
    nq_queue *queue = arg;

    return queue_no_peers(queue) && !atomic_load(&queue->links);
}

static bool queue_no_eps(void *arg)
{
    nq_queue *queue = arg;

    return !atomic_load(&queue->open_eps);
}

/* The last callback of a queue, behind all others. */
struct last_callback {
    struct nqi_callback callback;
    struct nqi_room *room;
    _Atomic bool ran;
};

static void last_callback_run(struct nqi_callback *callback)
{
    struct last_callback *last = NQI_CONTAINER(callback, struct last_callback, callback);
    struct nqi_room *room = last->room;

    atomic_store(&last->ran, true);
    nqi_room_notify(room);
}

static bool last_callback_ran(void *arg)
{
    struct last_callback *last = arg;

    return atomic_load(&last->ran);
}

/* What settled tells its callback, also when the end settled it. */
static void queue_run_callbacks(nq_queue *queue)
{
    struct last_callback last = {.callback = {.run = last_callback_run}, .room = queue->rooms[0]};

    nqi_room_defer(queue->rooms[0], &last.callback);
    if (nqi_room_wait(queue->rooms[0], last_callback_ran, &last, NQ_FOREVER))
        nqi_log(NQ_LOG_ERROR, "callbacks are left: %s", nq_error());
}

static void queue_wait_end(nq_queue *queue, nqi_ready_fn ready, const char *what)
{
    if (nqi_room_wait(queue->rooms[0], ready, queue, QUEUE_FREE_NS))
        nqi_log(NQ_LOG_ERROR, "a transport keeps its %s", what);
}

static void queue_free_eps(nq_queue *queue)
{
    for (size_t i = 0; i < queue->neps; i++)
        if (queue->eps[i].ep)
            nqi_ep_close(queue->eps[i].ep);
    if (queue->neps)
        queue_wait_end(queue, queue_no_eps, "endpoints");
    for (size_t i = 0; i < queue->neps; i++)
        nqi_transport_close(queue->eps[i].core);
    if (queue->eps)
        explicit_bzero(queue->eps, queue->neps * sizeof(*queue->eps));
    free(queue->eps);
    free(queue->ep_list);
}

static void queue_free_loops(nq_queue *queue)
{
    for (uint32_t i = 0; i < queue->nloops; i++)
        nqi_room_free(queue->rooms[i]);
    for (uint32_t i = 0; i < queue->nloops; i++)
        nqi_loop_free(queue->loops[i]);
    free(queue->rooms);
    free(queue->loops);
}

void nq_free(nq_queue *queue)
{
    bool complete;

    if (!queue || queue->process != nqi_process())
        return; /* the parent's, of which this is a copy */
    complete = queue->nloops && queue->rooms[queue->nloops - 1] && queue->events.room;
    if (complete) {
        if (nq_close(queue, 0, NULL) < 0)
            nqi_log(NQ_LOG_ERROR, "%s", nq_error());
        nqi_queue_send_strangers_away(queue); /* that came while it waited for its peers */
        nqi_events_callback(&queue->events, NULL, NULL);
        queue_wait_end(queue, queue_no_links, "links");
        nqi_queue_flush(queue); /* its references; nobody adds to them any more */
        queue_run_callbacks(queue);
    }
    queue_free_eps(queue);
    nqi_queue_fini_peers(queue);
    queue_free_loops(queue);
    if (complete)
        nqi_events_fini(&queue->events);
    nqi_tombs_fini(&queue->tombs);
    nqi_sources_fini(&queue->sources);
    pthread_mutex_destroy(&queue->lock);
    nqi_conf_free(queue->conf);
    free(queue);
}
