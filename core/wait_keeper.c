/* The keeper: the library's one thread a loop.  It drives when no caller has for a while, so that
 * acknowledgements, pings and flushes go on, and gives way when one comes.
 *
 *   state   who drives             what wakes the keeper      leaves by
 *   OFF     a caller, asleep       nothing                    token left -> TICK, ARMED
 *   TICK    callers, now and then  its timer, every 5 ms      no turn since -> BUSY
 *                                                             token's holder asleep -> OFF
 *                                                             left with waiters -> ARMED
 *   ARMED   nobody                 the loop has work, or its  caller comes -> TICK, event -> BUSY
 *                                  timer while a link is hot
 *   BUSY    the keeper (a turn)    -                          done -> ARMED, TICK, OFF
 *
 * The keeper waits on an outer epoll set that holds the loop's own set (one-shot) and the timer; it
 * never sleeps with the token.  In mode `thread` it is a plain driver instead and the state stays
 * OFF. */
#include "core/wait_room.h"

#include "core/err.h"
#include <errno.h>
#include <netqueue/transport_thread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define KEEPER_TICK_NS (5 * NQI_NS_PER_MS)
#define KEEPER_HURRY_NS (1 * NQI_NS_PER_MS)

enum { KEEPER_DATA_LOOP, KEEPER_DATA_TICK };

static void keeper_watch_loop(struct nqi_room *room, uint32_t events)
{
    struct epoll_event event = {.events = events | EPOLLONESHOT, .data.u32 = KEEPER_DATA_LOOP};

    epoll_ctl(room->outer, EPOLL_CTL_MOD, nqi_loop_epoll(room->loop), &event);
}

static void keeper_set_timer(struct nqi_room *room, int64_t ns)
{
    struct itimerspec when = {.it_value.tv_nsec = ns};

    timerfd_settime(room->tick, 0, &when, NULL);
}

/* Under keeper_lock. */
static void keeper_start_ticking(struct nqi_room *room)
{
    atomic_store(&room->keeper, KEEPER_TICK);
    keeper_set_timer(room, room->hurried ? KEEPER_HURRY_NS : KEEPER_TICK_NS);
}

/* Under keeper_lock.  ARMED first, then the token: a driver takes the token first and then looks
 * here, so one of the two sees the other.  A hot link does not report to epoll: a driver who came
 * and went while the keeper was BUSY may have left it, or its strand is taken; it is looked at
 * after a tick, which leaves the processor to that strand's owner. */
static void keeper_arm(struct nqi_room *room)
{
    atomic_store(&room->keeper, KEEPER_ARMED);
    if (atomic_load(&room->token) != TOKEN_FREE) {
        keeper_start_ticking(room);
        return;
    }
    keeper_watch_loop(room, EPOLLIN);
    if (nqi_hot_any(room->hot))
        keeper_set_timer(room, KEEPER_TICK_NS);
}

bool nqi_keeper_arm(struct nqi_room *room)
{
    uint32_t state = atomic_load(&room->keeper);

    if (room->mode != NQI_ROOM_AUTO || state == KEEPER_ARMED)
        return true;
    pthread_mutex_lock(&room->keeper_lock);
    state = atomic_load(&room->keeper);
    if (state == KEEPER_OFF || state == KEEPER_TICK)
        keeper_arm(room);
    pthread_mutex_unlock(&room->keeper_lock);
    return state != KEEPER_BUSY;
}

void nqi_keeper_disarm(struct nqi_room *room)
{
    pthread_mutex_lock(&room->keeper_lock);
    if (atomic_load(&room->keeper) == KEEPER_ARMED) {
        keeper_watch_loop(room, 0);
        keeper_start_ticking(room);
    }
    pthread_mutex_unlock(&room->keeper_lock);
}

void nqi_keeper_tick(struct nqi_room *room)
{
    if (room->mode != NQI_ROOM_AUTO)
        return;
    pthread_mutex_lock(&room->keeper_lock);
    if (atomic_load(&room->keeper) == KEEPER_OFF)
        keeper_start_ticking(room);
    pthread_mutex_unlock(&room->keeper_lock);
}

void nqi_keeper_hurry(struct nqi_room *room)
{
    uint32_t state;

    if (room->mode != NQI_ROOM_AUTO)
        return;
    pthread_mutex_lock(&room->keeper_lock);
    state = atomic_load(&room->keeper);
    if (state == KEEPER_OFF || (state == KEEPER_TICK && !room->hurried)) {
        room->hurried = true;
        keeper_start_ticking(room);
    }
    pthread_mutex_unlock(&room->keeper_lock);
}

static bool keeper_enter(struct nqi_room *room, uint32_t from)
{
    bool entered;

    pthread_mutex_lock(&room->keeper_lock);
    entered = atomic_load(&room->keeper) == from;
    if (entered)
        atomic_store(&room->keeper, KEEPER_BUSY);
    pthread_mutex_unlock(&room->keeper_lock);
    return entered;
}

/* BUSY -> TICK: callers drive now and then.  After a hurried tick one more is short: a turn ended
 * before the bytes were left that it is about. */
static void keeper_rest_ticking(struct nqi_room *room)
{
    pthread_mutex_lock(&room->keeper_lock);
    keeper_start_ticking(room);
    room->hurried = false;
    pthread_mutex_unlock(&room->keeper_lock);
    /* Who left work or waiters meanwhile saw BUSY and relied on us. */
    if (atomic_load(&room->token) == TOKEN_FREE &&
        (atomic_load(&room->nwaiters) || nqi_room_has_work(room)))
        nqi_keeper_arm(room);
}

/* BUSY -> ARMED when nobody drives, else TICK.  Then the inbox: who posted during the keeper's own
 * turn saw a driver and kicked nobody. */
static void keeper_rest(struct nqi_room *room, enum nqi_heat heat)
{
    pthread_mutex_lock(&room->keeper_lock);
    keeper_arm(room);
    pthread_mutex_unlock(&room->keeper_lock);
    if (heat == NQI_HEAT_DATA || nqi_room_has_work(room))
        nqi_loop_wake(room->loop);
}

static void keeper_drive(struct nqi_room *room)
{
    enum nqi_heat heat = NQI_HEAT_NONE;

    if (nqi_token_try(room)) {
        atomic_fetch_add_explicit(&room->keeper_turns, 1, memory_order_relaxed);
        nqi_room_turn(room, false);
        heat = nqi_room_cool(room);
        /* keeper_rest() does the rest of nqi_token_leave() */
        atomic_store(&room->token, TOKEN_FREE);
        nqi_room_promote(room);
    }
    nqi_room_run_callbacks(room);
    keeper_rest(room, heat);
}

/* Nothing drove for a tick: drive.  A caller sleeps in the loop: go away.  Else: tick on. */
static void keeper_on_tick(struct nqi_room *room, uint64_t *last_turn)
{
    uint64_t turn = atomic_load(&room->turn);
    uint32_t token = atomic_load(&room->token);

    atomic_fetch_add_explicit(&room->keeper_ticks, 1, memory_order_relaxed);
    /* ARMED: only a hot link that is left, see keeper_arm() */
    if (nqi_hot_any(room->hot) && keeper_enter(room, KEEPER_ARMED)) {
        keeper_drive(room);
        return;
    }
    if (!keeper_enter(room, KEEPER_TICK))
        return;
    if (turn == *last_turn && token == TOKEN_FREE) {
        keeper_drive(room);
    } else if (turn == *last_turn && token == TOKEN_SLEEP) {
        atomic_store(&room->keeper, KEEPER_OFF);
        if (atomic_load(&room->token) == TOKEN_FREE) /* it left, and saw BUSY */
            nqi_keeper_tick(room);
    } else {
        *last_turn = turn;
        keeper_rest_ticking(room);
    }
}

static void keeper_auto(struct nqi_room *room)
{
    uint64_t last_turn = 0, expirations;

    while (!atomic_load(&room->stop)) {
        struct epoll_event events[2];
        int n = epoll_wait(room->outer, events, 2, -1);

        for (int i = 0; i < n && !atomic_load(&room->stop); i++) {
            if (events[i].data.u32 == KEEPER_DATA_TICK) {
                if (read(room->tick, &expirations, sizeof(expirations)) > 0)
                    keeper_on_tick(room, &last_turn);
            } else if (keeper_enter(room, KEEPER_ARMED)) {
                keeper_drive(room);
            }
        }
    }
}

/* Mode `thread`: the token is this thread's from the start, but for the time of callbacks.  They
 * may wait for a lock that a waiter holds, so meanwhile a waiter drives, and goes on until its own
 * condition holds. */
static void keeper_call_back(struct nqi_room *room)
{
    nqi_token_leave(room);
    nqi_room_run_claimed(room);
    while (!nqi_token_try(room))
        nqi_token_await(room);
}

static void keeper_thread(struct nqi_room *room)
{
    while (!atomic_load(&room->stop)) {
        enum nqi_heat heat;

        if (!nqi_room_turn(room, false)) {
            heat = nqi_room_cool(room);
            if (heat == NQI_HEAT_TAKEN)
                sched_yield();
            else if (heat == NQI_HEAT_NONE)
                nqi_room_sleep(room, NULL, NQI_NEVER);
        }
        if (nqi_room_claim_callbacks(room)) /* first, so that they run on this thread */
            keeper_call_back(room);
    }
    atomic_store(&room->token, TOKEN_FREE);
}

static void *keeper_main(void *arg)
{
    struct nqi_room *room = arg;

    if (room->mode == NQI_ROOM_THREAD)
        keeper_thread(room);
    else
        keeper_auto(room);
    return NULL;
}

static nq_err keeper_open(struct nqi_room *room)
{
    struct epoll_event loop = {.events = EPOLLONESHOT, .data.u32 = KEEPER_DATA_LOOP};
    struct epoll_event tick = {.events = EPOLLIN, .data.u32 = KEEPER_DATA_TICK};

    room->outer = epoll_create1(EPOLL_CLOEXEC);
    room->tick = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (room->outer < 0 || room->tick < 0 ||
        epoll_ctl(room->outer, EPOLL_CTL_ADD, nqi_loop_epoll(room->loop), &loop) ||
        epoll_ctl(room->outer, EPOLL_CTL_ADD, room->tick, &tick))
        return nqi_fail_errno("cannot set up the keeper");
    keeper_watch_loop(room, EPOLLIN);
    atomic_store(&room->keeper, KEEPER_ARMED);
    return NQ_OK;
}

nq_err nqi_keeper_start(struct nqi_room *room)
{
    nq_err err;
    int rc;

    if (room->mode == NQI_ROOM_THREAD)
        atomic_store(&room->token, TOKEN_RUN); /* on behalf of the thread */
    else if ((err = keeper_open(room)))
        return err;
    rc = nqt_thread_start(&room->thread, NULL, keeper_main, room);
    if (rc) {
        errno = rc;
        return nqi_fail_errno("cannot start the keeper thread");
    }
    room->has_thread = true;
    pthread_setname_np(room->thread, "netqueue");
    return NQ_OK;
}

static void keeper_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void nqi_keeper_stop(struct nqi_room *room)
{
    atomic_store(&room->stop, true);
    if (room->has_thread) {
        if (room->mode == NQI_ROOM_AUTO)
            keeper_set_timer(room, 1);
        nqi_room_kick(room);
        pthread_join(room->thread, NULL);
    }
    room->has_thread = false;
    keeper_close(&room->outer);
    keeper_close(&room->tick);
}
