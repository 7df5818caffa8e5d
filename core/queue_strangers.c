/* Strangers: links that have not said who they are.  How many there may be, from one source and in
 * all; who makes room; and whose attempts fail so often that he is not listened to for a while.
 *
 *     accepted --opened--> greetings, oldest first --AUTH--> a peer's, or refused
 *        |                     | one more than there may be, or the queue closes
 *        |                     v
 *        |                 leaving --in its strand--> closed
 *        v
 *     refused unseen: the source is barred, or too many are still leaving
 *
 * Who says hello at once comes in, however many others are silent: one that is too many has the one
 * go that has been silent for longest, of its own source when that has too many.  A link in either
 * list is counted, with its source; so up to twice as many as the limits may be there for the
 * moment that it takes to leave.
 *
 * Lock: the queue's, for the lists and for `sources`. */
#include "core/queue.h"

#include "core/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- failures --------------------------------------------------------------------------- */

/* True: whoever tries knows neither id nor key, or does not speak the protocol.  Not that a
 * connection is lost, nor what this side is the cause of; and not that a session is unknown, which
 * after a restart is every client's first answer. */
static bool stranger_is_to_blame(nq_reason reason)
{
    switch (reason) {
    case NQ_REASON_TIMED_OUT:
    case NQ_REASON_PROTOCOL:
    case NQ_REASON_REFUSED:
    case NQ_REASON_DUPLICATE:
    case NQ_REASON_VERSION:
    case NQ_REASON_IDENTITY:
    case NQ_REASON_AUTH:
    case NQ_REASON_WIRE:
        return true;
    default:
        return false;
    }
}

static void stranger_tell_barred(nq_queue *queue, const struct nqi_link *link)
{
    struct nq_event event = {.kind = NQ_EVENT_REFUSED, .reason = NQ_REASON_LIMIT};
    char source[NQI_SOURCE_TEXT];

    nqi_source_write(nqi_link_source(link), source);
    snprintf(event.transport, sizeof(event.transport), "%s", nqi_link_transport(link));
    snprintf(event.text, sizeof(event.text),
             "%s: too many failed attempts (limits.source_failures): what comes from there is "
             "closed unseen for a while",
             source);
    nqi_queue_on_event(queue, &event);
}

/* A transport's own texts begin with it. */
static bool stranger_is_named(const char *text, const char *address)
{
    size_t len = strlen(address);

    return strncmp(text, address, len) == 0 && text[len] == ':';
}

void nqi_queue_refused(nq_queue *queue, struct nqi_link *link, const nq_uuid *id, nq_reason reason,
                       const char *text)
{
    struct nq_event event = {.kind = NQ_EVENT_REFUSED, .reason = reason};
    const char *address = nqi_link_address(link);
    bool barred = false;

    if (id)
        event.peer = *id;
    snprintf(event.transport, sizeof(event.transport), "%s", nqi_link_transport(link));
    if (stranger_is_named(text, address))
        snprintf(event.text, sizeof(event.text), "%s", text);
    else
        snprintf(event.text, sizeof(event.text), "%s: %s", address, text);
    nqi_queue_on_event(queue, &event);
    if (!stranger_is_to_blame(reason))
        return;
    pthread_mutex_lock(&queue->lock);
    barred = nqi_sources_fail(&queue->sources, nqi_link_source(link), nqi_now());
    pthread_mutex_unlock(&queue->lock);
    if (barred)
        stranger_tell_barred(queue, link);
}

/* ---- leaving ---------------------------------------------------------------------------- */

void nqi_queue_stranger_leave(nq_queue *queue, struct nqi_link *link)
{
    pthread_mutex_lock(&queue->lock);
    if (!nqi_list_empty(nqi_link_list(link))) {
        nqi_list_remove(nqi_link_list(link));
        queue->nstrangers--;
        nqi_sources_leave(&queue->sources, nqi_link_source(link), nqi_now());
    }
    pthread_mutex_unlock(&queue->lock);
}

struct stranger_close {
    nq_queue *queue;
    struct nqi_link *link;
};

/* In the link's strand, if the link has not left by itself. */
static void stranger_run_close(void *arg)
{
    struct stranger_close *close = arg;
    nq_queue *queue = close->queue;
    bool listed = false;

    pthread_mutex_lock(&queue->lock);
    for (struct nqi_list *at = queue->leaving.next; at != &queue->leaving; at = at->next)
        listed |= nqi_link_of_list(at) == close->link;
    pthread_mutex_unlock(&queue->lock);
    if (listed) {
        nqi_queue_stranger_leave(queue, close->link);
        if (!atomic_load(&queue->closing))
            nqi_queue_refused(queue, close->link, NULL, NQ_REASON_LIMIT,
                              "too many connections have not said hello");
        nqi_link_close(close->link);
    }
    free(close);
}

/* Under lock: have a link closed in its own strand.  Without memory the clock of the handshake ends
 * it. */
static void stranger_send_away(nq_queue *queue, struct nqi_link *link)
{
    struct stranger_close *close = malloc(sizeof(*close));

    if (!close)
        return;
    *close = (struct stranger_close){queue, link};
    if (nqi_post(nqi_link_serial(link), stranger_run_close, close)) {
        free(close);
        return;
    }
    nqi_list_remove(nqi_link_list(link));
    nqi_list_add_tail(&queue->leaving, nqi_link_list(link));
}

void nqi_queue_send_strangers_away(nq_queue *queue)
{
    struct nqi_list *next;

    pthread_mutex_lock(&queue->lock);
    for (struct nqi_list *at = queue->greetings.next; at != &queue->greetings; at = next) {
        next = at->next;
        stranger_send_away(queue, nqi_link_of_list(at));
    }
    pthread_mutex_unlock(&queue->lock);
}

/* ---- coming ----------------------------------------------------------------------------- */

/* Under lock.  A queue that closes waits for its peers, and they may have lost their links. */
static bool stranger_is_late(const nq_queue *queue)
{
    return atomic_load(&queue->closing) && !queue->npeers;
}

/* Under lock: the one that is there for longest; NULL = all are leaving.
 * @param source  NULL = of any */
static struct nqi_link *stranger_oldest(nq_queue *queue, const struct nqi_source *source)
{
    for (struct nqi_list *at = queue->greetings.next; at != &queue->greetings; at = at->next) {
        struct nqi_link *link = nqi_link_of_list(at);

        if (!source || nqi_source_equal(nqi_link_source(link), source))
            return link;
    }
    return NULL;
}

/* Under lock: before one more comes from there. */
static void stranger_make_room(nq_queue *queue, const struct nqi_source *source)
{
    struct nqi_link *oldest = NULL;

    if (nqi_sources_strangers(&queue->sources, source) >= queue->conf->source_strangers)
        oldest = stranger_oldest(queue, source);
    else if (queue->nstrangers >= queue->conf->strangers)
        oldest = stranger_oldest(queue, NULL);
    if (oldest)
        stranger_send_away(queue, oldest);
}

bool nqi_queue_stranger_come(nq_queue *queue, struct nqi_link *link)
{
    bool late;

    pthread_mutex_lock(&queue->lock);
    late = stranger_is_late(queue);
    if (!late) {
        stranger_make_room(queue, nqi_link_source(link));
        nqi_list_add_tail(&queue->greetings, nqi_link_list(link));
        queue->nstrangers++;
        nqi_sources_come(&queue->sources, nqi_link_source(link));
    }
    pthread_mutex_unlock(&queue->lock);
    return !late;
}

/* Under lock: those that leave take a moment. */
static const char *stranger_refusal(const nq_queue *queue, const struct nqi_source *source)
{
    uint64_t near = nqi_sources_strangers(&queue->sources, source);

    if (stranger_is_late(queue))
        return "the queue is closing";
    if (nqi_sources_is_barred(&queue->sources, source, nqi_now()))
        return "too many failed attempts from there";
    if (near >= UINT64_C(2) * queue->conf->source_strangers ||
        queue->nstrangers >= UINT64_C(2) * queue->conf->strangers)
        return "too many connections that have not said hello";
    return NULL;
}

const char *nqi_queue_stranger_refusal(nq_queue *queue, const char *address)
{
    const struct nqi_source source = nqi_source_read(address);
    const char *refusal;

    pthread_mutex_lock(&queue->lock);
    refusal = stranger_refusal(queue, &source);
    pthread_mutex_unlock(&queue->lock);
    return refusal;
}
