/* Events are rare and small: each is one pooled block in a list. */
#include "core/event.h"

#include "core/log.h"
#include "core/loop.h"
#include "core/pool.h"
#include <inttypes.h>

struct event_node {
    struct nqi_node node;
    struct nq_event event;
};

const char *nq_event_text(nq_event_kind kind)
{
    static const char *const text[] = {
        [NQ_EVENT_PEER_UP] = "peer up",     [NQ_EVENT_PEER_RESUMED] = "peer resumed",
        [NQ_EVENT_PEER_DOWN] = "peer down", [NQ_EVENT_PEER_GONE] = "peer gone",
        [NQ_EVENT_REFUSED] = "refused",     [NQ_EVENT_DROPPED] = "dropped",
        [NQ_EVENT_HIGH_MARK] = "high mark", [NQ_EVENT_LOW_MARK] = "low mark",
    };

    return (size_t)kind < NQI_LEN(text) && text[kind] ? text[kind] : "no such event";
}

/* Under lock. */
static struct nqi_node *events_take(struct nqi_events *events)
{
    struct nqi_node *node = nqi_fifo_pop(&events->list);

    events->count -= node != NULL;
    return node;
}

/* What was taken, if anything. */
static bool events_open(struct nqi_node *node, struct nq_event *ret)
{
    struct event_node *own;

    if (!node)
        return false;
    own = NQI_CONTAINER(node, struct event_node, node);
    *ret = own->event;
    nqi_pool_free(own, sizeof(*own));
    return true;
}

bool nqi_events_pop(struct nqi_events *events, struct nq_event *ret)
{
    struct nqi_node *node;

    pthread_mutex_lock(&events->lock);
    node = events_take(events);
    pthread_mutex_unlock(&events->lock);
    return events_open(node, ret);
}

/* Under lock.  True: the callback must be deferred, after unlocking. */
static bool events_want_run(struct nqi_events *events)
{
    if (!events->fn || events->deferred || !events->count)
        return false;
    events->deferred = true;
    return true;
}

/* Gives the user's function one event.  The next is a callback of its own, so that others get their
 * turn, and whoever has run some of them may go, also when events come faster than they are taken.
 */
static void events_run(struct nqi_callback *callback)
{
    struct nqi_events *events = NQI_CONTAINER(callback, struct nqi_events, callback);
    struct nqi_node *node;
    struct nq_event event;
    nq_event_fn fn;
    void *arg;
    bool more;

    pthread_mutex_lock(&events->lock);
    events->deferred = false;
    fn = events->fn;
    arg = events->arg;
    node = fn ? events_take(events) : NULL;
    more = events_want_run(events);
    pthread_mutex_unlock(&events->lock);
    if (more)
        nqi_room_defer(events->room, callback);
    if (events_open(node, &event))
        fn(arg, &event);
}

void nqi_events_init(struct nqi_events *events, struct nqi_room *room)
{
    *events = (struct nqi_events){.room = room, .callback = {.run = events_run}};
    pthread_mutex_init(&events->lock, NULL);
    nqi_fifo_init(&events->list);
}

static void events_say_left_out(uint64_t left_out)
{
    if (left_out)
        nqi_log(NQ_LOG_INFO, "%s: %" PRIu64 " more were not logged",
                nq_event_text(NQ_EVENT_REFUSED), left_out);
}

void nqi_events_fini(struct nqi_events *events)
{
    struct nq_event event;

    events_say_left_out(events->refusals.left_out);
    while (nqi_events_pop(events, &event))
        ;
    pthread_mutex_destroy(&events->lock);
}

/* False: there were too many of these lately. */
static bool events_may_say(struct nqi_events *events, const struct nq_event *event)
{
    uint64_t left_out = 0;
    bool may;

    if (event->kind != NQ_EVENT_REFUSED)
        return true;
    pthread_mutex_lock(&events->lock);
    may = nqi_ration_take(&events->refusals, NQI_EVENTS_SAID, nqi_now(), &left_out);
    pthread_mutex_unlock(&events->lock);
    events_say_left_out(left_out);
    return may;
}

static void events_log(struct nqi_events *events, const struct nq_event *event)
{
    bool why = event->reason != NQ_REASON_NONE;
    char id[NQ_UUID_TEXT];

    if (!nqi_log_on(NQ_LOG_INFO) || !events_may_say(events, event))
        return;
    if (nq_uuid_is_nil(&event->peer))
        id[0] = '\0';
    else
        nq_uuid_format(&event->peer, id);
    nqi_log(NQ_LOG_INFO, "%s: %s%s%s%s%s%s %s", nq_event_text(event->kind), id,
            event->transport[0] && id[0] ? " over " : "", event->transport, why ? " (" : "",
            why ? nq_reason_text(event->reason) : "", why ? ")" : "", event->text);
}

void nqi_events_push(struct nqi_events *events, const struct nq_event *event)
{
    struct event_node *own = nqi_pool_alloc(sizeof(*own));
    struct nqi_node *old = NULL;
    bool run;

    events_log(events, event);
    if (own)
        own->event = *event;
    pthread_mutex_lock(&events->lock);
    if (own) {
        nqi_fifo_push(&events->list, &own->node);
        events->count++;
    }
    if (!own || events->count > NQI_EVENTS_MAX)
        events->lost++;
    if (events->count > NQI_EVENTS_MAX) {
        old = nqi_fifo_pop(&events->list);
        events->count--;
    }
    run = events_want_run(events);
    pthread_mutex_unlock(&events->lock);
    if (old)
        nqi_pool_free(NQI_CONTAINER(old, struct event_node, node), sizeof(*own));
    if (run)
        nqi_room_defer(events->room, &events->callback);
}

void nqi_events_callback(struct nqi_events *events, nq_event_fn fn, void *arg)
{
    bool run;

    pthread_mutex_lock(&events->lock);
    events->fn = fn;
    events->arg = arg;
    run = events_want_run(events);
    pthread_mutex_unlock(&events->lock);
    if (run)
        nqi_room_defer(events->room, &events->callback);
}

uint64_t nqi_events_lost(struct nqi_events *events)
{
    uint64_t lost;

    pthread_mutex_lock(&events->lock);
    lost = events->lost;
    pthread_mutex_unlock(&events->lock);
    return lost;
}

bool nqi_events_any(struct nqi_events *events)
{
    bool any;

    pthread_mutex_lock(&events->lock);
    any = events->count;
    pthread_mutex_unlock(&events->lock);
    return any;
}
