/* The life of a waiting room, and the ring of rooms whose threads wait for conditions in common. */
#include "core/wait_room.h"

#include "core/err.h"
#include <stdlib.h>
#include <string.h>

static void room_on_kick(void *arg)
{
    nqi_room_kick(arg);
}

static void room_freep(struct nqi_room **room)
{
    nqi_room_free(*room);
}

nq_err nqi_room_new(struct nqi_loop *loop, enum nqi_room_mode mode, int64_t spin_ns,
                    struct nqi_room **ret)
{
    NQI_CLEANUP(room_freep)
    struct nqi_room *room = aligned_alloc(NQI_CACHE_LINE, sizeof(*room));
    nq_err err;

    if (!room)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a waiting room");
    memset(room, 0, sizeof(*room));
    room->loop = loop;
    room->hot = nqi_loop_hot(loop);
    room->mode = mode;
    room->sibling = room;
    room->outer = room->tick = -1;
    pthread_mutex_init(&room->lock, NULL);
    pthread_mutex_init(&room->keeper_lock, NULL);
    pthread_mutex_init(&room->callback_lock, NULL);
    nqi_list_init(&room->waiters);
    nqi_fifo_init(&room->callbacks);
    nqi_spin_init(&room->spin, spin_ns);
    nqi_loop_on_kick(loop, room_on_kick, room);
    if (mode == NQI_ROOM_MANUAL)
        nqi_loop_keep_epoll(loop);
    err = mode == NQI_ROOM_MANUAL ? NQ_OK : nqi_keeper_start(room);
    if (err)
        return err;
    *ret = NQI_STEAL(room);
    return NQ_OK;
}

/* Take the room out of its ring.  The keepers of the others walk the ring, so they end first. */
static void room_part(struct nqi_room *room)
{
    struct nqi_room *before = room;

    do {
        nqi_loop_await_posters(before->loop);
        nqi_keeper_stop(before);
        before = before->sibling;
    } while (before != room);
    while (before->sibling != room)
        before = before->sibling;
    before->sibling = room->sibling;
}

void nqi_room_free(struct nqi_room *room)
{
    if (!room)
        return;
    room_part(room);
    nqi_loop_on_kick(room->loop, NULL, NULL);
    assert(nqi_list_empty(&room->waiters));
    pthread_mutex_destroy(&room->lock);
    pthread_mutex_destroy(&room->keeper_lock);
    pthread_mutex_destroy(&room->callback_lock);
    free(room);
}

void nqi_room_join(struct nqi_room *room, struct nqi_room *other)
{
    struct nqi_room *next = room->sibling;

    for (struct nqi_room *at = next; at != room; at = at->sibling)
        if (at == other)
            return; /* once more would part them */
    room->sibling = other->sibling;
    other->sibling = next;
}

void nqi_room_count(const struct nqi_room *room, struct nqi_room_counts *ret)
{
    ret->turns = atomic_load_explicit(&room->turn, memory_order_relaxed);
    ret->sleeps = atomic_load_explicit(&room->sleeps, memory_order_relaxed);
    ret->kicks = atomic_load_explicit(&room->kicks, memory_order_relaxed);
    ret->spins_paid = atomic_load_explicit(&room->spin.paid, memory_order_relaxed);
    ret->spins_lost = atomic_load_explicit(&room->spin.lost, memory_order_relaxed);
    ret->keeper_ticks = atomic_load_explicit(&room->keeper_ticks, memory_order_relaxed);
    ret->keeper_turns = atomic_load_explicit(&room->keeper_turns, memory_order_relaxed);
}
