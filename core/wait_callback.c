/* The user's callbacks: one at a time in a room, outside of strand and token, on whichever thread
 * has claimed them. */
#include "core/wait_room.h"

#define CALLBACKS_AT_ONCE 64

static NQI_THREAD_LOCAL bool wait_in_callback;

bool nqi_room_in_callback(void)
{
    return wait_in_callback;
}

void nqi_room_defer(struct nqi_room *room, struct nqi_callback *callback)
{
    bool running;

    pthread_mutex_lock(&room->callback_lock);
    nqi_fifo_push(&room->callbacks, &callback->node);
    atomic_fetch_add(&room->ncallbacks, 1);
    running = atomic_load(&room->in_callback);
    pthread_mutex_unlock(&room->callback_lock);
    if (!running)
        nqi_room_kick(room);
}

static void room_run_callback(struct nqi_callback *callback)
{
    wait_in_callback = true;
    callback->run(callback);
    wait_in_callback = false;
}

/* Run what is there, but not without end: a caller has its own condition. */
static void room_run_some_callbacks(struct nqi_room *room)
{
    struct nqi_node *node;

    for (int i = 0; i < CALLBACKS_AT_ONCE && (node = nqi_fifo_pop(&room->callbacks)); i++) {
        atomic_fetch_sub(&room->ncallbacks, 1);
        pthread_mutex_unlock(&room->callback_lock);
        room_run_callback(NQI_CONTAINER(node, struct nqi_callback, node));
        pthread_mutex_lock(&room->callback_lock);
    }
}

bool nqi_room_claim_callbacks(struct nqi_room *room)
{
    bool claimed = false;

    if (!nqi_room_callbacks_due(room))
        return false;
    if (wait_in_callback) { /* of another room: not one inside the other */
        nqi_room_kick(room);
        return false;
    }
    pthread_mutex_lock(&room->callback_lock);
    if (!atomic_load(&room->in_callback) && !nqi_fifo_empty(&room->callbacks)) {
        atomic_store(&room->in_callback, true);
        claimed = true;
    }
    pthread_mutex_unlock(&room->callback_lock);
    return claimed;
}

void nqi_room_run_claimed(struct nqi_room *room)
{
    bool left;

    pthread_mutex_lock(&room->callback_lock);
    room_run_some_callbacks(room);
    atomic_store(&room->in_callback, false);
    left = !nqi_fifo_empty(&room->callbacks);
    pthread_mutex_unlock(&room->callback_lock);
    if (left)
        nqi_room_kick(room);
}
