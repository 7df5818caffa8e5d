/* The queue's events: a bounded list, or a callback. */
#ifndef NQ_CORE_EVENT_H
#define NQ_CORE_EVENT_H

#include "core/base.h"
#include "core/list.h"
#include "core/ration.h"
#include "core/wait.h"
#include <netqueue/queue.h>
#include <pthread.h>

#define NQI_EVENTS_MAX 1024
#define NQI_EVENTS_SAID 10 /* refusals in the log within a second */

struct nqi_events {
    struct nqi_room *room; /* fixed */
    pthread_mutex_t lock;  /* a leaf */
    /* under lock */
    struct nqi_fifo list;
    uint32_t count;
    uint64_t lost;
    struct nqi_ration refusals;
    bool deferred; /* `callback` is with the room */
    nq_event_fn fn;
    void *arg;
    struct nqi_callback callback;
};

void nqi_events_init(struct nqi_events *events, struct nqi_room *room);
void nqi_events_fini(struct nqi_events *events);

/* Append a copy, and say it in the log, but no more than NQI_EVENTS_SAID refusals in a second: who
 * floods the queue shall not flood the log as well.  The oldest event goes when there are too many,
 * or no memory.  Thread: any, also inside strands. */
void nqi_events_push(struct nqi_events *events, const struct nq_event *event);

/* Take the oldest.  Thread: any. */
bool nqi_events_pop(struct nqi_events *events, struct nq_event *ret);
void nqi_events_callback(struct nqi_events *events, nq_event_fn fn, void *arg);
uint64_t nqi_events_lost(struct nqi_events *events);
bool nqi_events_any(struct nqi_events *events);

#endif
