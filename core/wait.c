/* The token and the waiters.  The keeper is in wait_keeper.c, the spinning in wait_spin.c.
 *
 *   token    meaning                                        leaves by
 *   FREE     nobody drives                                  CAS of a comer -> RUN
 *   RUN      a thread drives and will look at the inbox     store of its holder -> SLEEP, FREE
 *   SLEEP    its holder waits in epoll                      CAS of a kicker -> KICKED,
 *                                                           exchange of its holder -> RUN
 *   KICKED   the same, and somebody wrote the eventfd       exchange of its holder -> RUN
 *
 * No wake-up is lost because every pair that must meet stores first and then looks at the other's
 * word, both in sequentially consistent order:
 *   - who leaves work (inbox, callback, claim) publishes it, then reads the token;
 *     who goes to sleep stores SLEEP, then looks for work;
 *   - who leaves the token stores FREE, then reads the number of waiters and the keeper's state;
 *     who becomes a waiter counts itself, then tries the token again.
 *
 * Lock order: `lock` (waiters), then whatever a condition takes.  `keeper_lock` and `callback_lock`
 * are leaves.  The token is no lock: nobody waits for it. */
#include "core/wait_room.h"

#include "core/err.h"
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---- waiters ---------------------------------------------------------------------------- */

/* `word` of a waiter. */
enum { WAITER_ASLEEP, WAITER_READY, WAITER_PROMOTED };

struct waiter {
    struct nqi_list link; /* under lock */
    nqi_ready_fn ready;
    void *arg;
    int64_t timeout_ns;    /* fixed */
    int64_t deadline;      /* once it is timed */
    bool timed;            /* who has an answer at once is not */
    bool driving;          /* asleep in the loop, not on its word */
    _Atomic uint32_t word; /* written under lock; WAITER_* */
};

/* The clock of a wait starts with the first look at it. */
static int64_t waiter_deadline(struct waiter *waiter, int64_t now)
{
    if (!waiter->timed)
        waiter->deadline =
            waiter->timeout_ns < 0 ? NQI_NEVER : now + NQI_MIN(waiter->timeout_ns, NQI_NEVER / 2);
    waiter->timed = true;
    return waiter->deadline;
}

static bool waiter_is_late(const struct waiter *waiter)
{
    return waiter->timed && waiter->deadline != NQI_NEVER && nqi_now() >= waiter->deadline;
}

static void wait_futex(_Atomic uint32_t *word, uint32_t value, int64_t timeout_ns)
{
    struct timespec ts = {.tv_sec = timeout_ns / NQI_NS_PER_S,
                          .tv_nsec = timeout_ns % NQI_NS_PER_S};

    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout_ns == NQI_NEVER ? NULL : &ts, NULL,
            0);
}

static void wake_futex(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Under lock, so that the waiter's stack is still there. */
static void waiter_wake(struct nqi_room *room, struct waiter *waiter, uint32_t word)
{
    nqi_list_remove(&waiter->link);
    atomic_fetch_sub(&room->nwaiters, 1);
    atomic_store(&waiter->word, word);
    if (waiter->driving)
        nqi_room_kick(room);
    else
        wake_futex(&waiter->word);
}

/* Become a waiter, unless the condition holds already. */
static bool waiter_enlist(struct nqi_room *room, struct waiter *waiter, bool driving)
{
    bool ready;

    pthread_mutex_lock(&room->lock);
    waiter->driving = driving;
    atomic_store(&waiter->word, WAITER_ASLEEP);
    atomic_fetch_add(&room->nwaiters, 1);
    atomic_thread_fence(memory_order_seq_cst); /* after the count, before the condition */
    ready = waiter->ready(waiter->arg);
    if (ready)
        atomic_fetch_sub(&room->nwaiters, 1);
    else
        nqi_list_add_tail(&room->waiters, &waiter->link);
    pthread_mutex_unlock(&room->lock);
    return ready;
}

/* Be a waiter no longer.  @return what came meanwhile, or WAITER_ASLEEP: nothing. */
static uint32_t waiter_delist(struct nqi_room *room, struct waiter *waiter)
{
    uint32_t word;

    pthread_mutex_lock(&room->lock);
    word = atomic_load(&waiter->word);
    if (word == WAITER_ASLEEP) {
        nqi_list_remove(&waiter->link);
        atomic_fetch_sub(&room->nwaiters, 1);
    }
    pthread_mutex_unlock(&room->lock);
    return word;
}

static void room_notify(struct nqi_room *room)
{
    struct nqi_list *next;

    if (!atomic_load(&room->nwaiters))
        return;
    pthread_mutex_lock(&room->lock);
    for (struct nqi_list *at = room->waiters.next; at != &room->waiters; at = next) {
        struct waiter *waiter = NQI_CONTAINER(at, struct waiter, link);

        next = at->next;
        if (waiter->ready(waiter->arg))
            waiter_wake(room, waiter, WAITER_READY);
    }
    pthread_mutex_unlock(&room->lock);
}

void nqi_room_notify(struct nqi_room *room)
{
    struct nqi_room *at = room;

    atomic_thread_fence(memory_order_seq_cst); /* after the change, before the count */
    do {
        room_notify(at);
        at = at->sibling;
    } while (at != room);
}

/* Acquire: what a claim wrote is seen by the waiter whom it took out of the count. */
bool nqi_room_anybody(const struct nqi_room *room)
{
    return atomic_load_explicit(&room->nwaiters, memory_order_acquire);
}

void nqi_room_promote(struct nqi_room *room)
{
    struct nqi_list *first;

    if (!atomic_load(&room->nwaiters))
        return;
    pthread_mutex_lock(&room->lock);
    first = nqi_list_first(&room->waiters);
    if (first && !NQI_CONTAINER(first, struct waiter, link)->driving)
        waiter_wake(room, NQI_CONTAINER(first, struct waiter, link), WAITER_PROMOTED);
    pthread_mutex_unlock(&room->lock);
}

/* ---- the token -------------------------------------------------------------------------- */

bool nqi_token_try(struct nqi_room *room)
{
    uint32_t expected = TOKEN_FREE;

    return atomic_compare_exchange_strong(&room->token, &expected, TOKEN_RUN);
}

/* The keeper learns of events through epoll only, and a post is none: who left it saw a driver and
 * kicked nobody.  (Callbacks are run by the leaver itself.) */
static void room_leave_to_keeper(struct nqi_room *room)
{
    enum nqi_heat heat = nqi_room_cool(room);

    if (!nqi_keeper_arm(room))
        nqi_room_promote(room); /* its callback may wait for a lock that a waiter holds */
    if (heat || nqi_loop_pending(room->loop))
        nqi_loop_wake(room->loop);
}

/* There is no keeper, and the program's own loop watches epoll. */
static void room_leave_manual(struct nqi_room *room)
{
    if (nqi_room_cool(room) || nqi_loop_pending(room->loop))
        nqi_loop_wake(room->loop);
    nqi_room_promote(room);
}

/* The library's thread either runs callbacks now or waits for the token. */
static void room_leave_to_thread(struct nqi_room *room)
{
    nqi_room_promote(room);
    wake_futex(&room->token);
}

void nqi_token_await(struct nqi_room *room)
{
    uint32_t token = atomic_load(&room->token);

    if (token != TOKEN_FREE)
        wait_futex(&room->token, token, NQI_NEVER);
}

void nqi_token_leave(struct nqi_room *room)
{
    atomic_store(&room->token, TOKEN_FREE);
    if (room->mode == NQI_ROOM_MANUAL)
        room_leave_manual(room);
    else if (room->mode == NQI_ROOM_THREAD)
        room_leave_to_thread(room);
    else if (atomic_load(&room->nwaiters) || nqi_room_has_work(room))
        room_leave_to_keeper(room);
    else if (atomic_load(&room->keeper) == KEEPER_OFF)
        nqi_keeper_tick(room);
}

bool nqi_room_has_work(const struct nqi_room *room)
{
    return nqi_loop_pending(room->loop) || nqi_room_callbacks_due(room) || atomic_load(&room->stop);
}

void nqi_room_kick(struct nqi_room *room)
{
    uint32_t token = atomic_load(&room->token);

    if (token == TOKEN_SLEEP &&
        atomic_compare_exchange_strong(&room->token, &token, TOKEN_KICKED)) {
        atomic_fetch_add_explicit(&room->kicks, 1, memory_order_relaxed);
        nqi_loop_wake(room->loop);
    } else if (token == TOKEN_FREE) {
        nqi_loop_wake(room->loop);
        nqi_keeper_arm(room);
    }
}

enum nqi_heat nqi_room_cool(struct nqi_room *room)
{
    struct nqi_hot_set *hot = room->hot;
    enum nqi_heat heat;

    if (!nqi_hot_any(hot))
        return NQI_HEAT_NONE;
    heat = nqi_hot_cool(hot);
    nqi_room_notify(room);
    return heat;
}

static void room_after_turn(struct nqi_room *room)
{
    uint64_t turn = atomic_load_explicit(&room->turn, memory_order_relaxed);

    atomic_store_explicit(&room->turn, turn + 1, memory_order_relaxed);
    nqi_room_notify(room);
}

unsigned nqi_room_turn(struct nqi_room *room, bool hot_only)
{
    unsigned handled = hot_only ? nqi_loop_turn_hot(room->loop) : nqi_loop_turn(room->loop);

    if (handled)
        room_after_turn(room);
    return handled;
}

unsigned nqi_room_sleep(struct nqi_room *room, const _Atomic uint32_t *word, int64_t timeout_ns)
{
    unsigned handled;
    int events;

    atomic_store(&room->token, TOKEN_SLEEP);
    /* Work and claims that came before SLEEP was seen found a driver and did not kick. */
    if (nqi_room_has_work(room) || (word && atomic_load(word) != WAITER_ASLEEP))
        timeout_ns = 0;
    atomic_fetch_add_explicit(&room->sleeps, 1, memory_order_relaxed);
    events = nqi_loop_sleep(room->loop, timeout_ns);
    atomic_exchange(&room->token, TOKEN_RUN);
    handled = nqi_loop_handle(room->loop, events);
    room_after_turn(room);
    return handled;
}

/* ---- driving ---------------------------------------------------------------------------- */

enum drive { DRIVE_READY, DRIVE_TIME, DRIVE_CALLBACKS };

/* Sleep in the loop as a waiter whose condition others may claim.  True: they did.  Cooling comes
 * first, for it may make the condition hold. */
static bool drive_sleep(struct nqi_room *room, struct waiter *self, int64_t deadline)
{
    int64_t timeout_ns = NQI_NEVER;

    switch (nqi_room_cool(room)) {
    case NQI_HEAT_TAKEN:
        sched_yield(); /* its owner may want this very processor */
        return false;
    case NQI_HEAT_DATA:
        return false;
    default:
        break;
    }
    if (waiter_enlist(room, self, true))
        return true;
    if (deadline != NQI_NEVER)
        timeout_ns = NQI_MAX(deadline - nqi_now(), 0);
    nqi_room_sleep(room, &self->word, timeout_ns);
    return waiter_delist(room, self) == WAITER_READY;
}

/* Holding the token.  Returns with it.  Traffic of others and callbacks may come without end: they
 * keep nobody from his time-out, hot links nobody from epoll, callbacks nobody from a turn. */
static enum drive room_drive(struct nqi_room *room, struct waiter *self)
{
    struct nqi_hot_set *hot = room->hot;
    unsigned handled = 0;

    for (bool first = true;; first = false) {
        /* First: it may make the condition hold, and is nothing beside asking twice. */
        bool glimpsed = !handled && nqi_room_glance(room), claimed = false;
        int64_t now, deadline, found;

        handled = 0;
        if (self->ready(self->arg)) {
            if (glimpsed)
                nqi_spin_learn(&room->spin, 0, 0);
            return DRIVE_READY;
        }
        /* Who never spins has the sleep look: it ends at once when something is there. */
        if (!first || room->spin.budget || nqi_hot_any(hot) || waiter_is_late(self))
            handled = nqi_room_look(room);
        now = nqi_now();
        deadline = waiter_deadline(self, now);
        if (now >= deadline)
            return handled && self->ready(self->arg) ? DRIVE_READY : DRIVE_TIME;
        if (nqi_room_callbacks_due(room))
            return DRIVE_CALLBACKS;
        if (handled)
            continue;
        found = nqi_room_spin(room, self->ready, self->arg, now, deadline, &claimed);
        if (!found)
            claimed = drive_sleep(room, self, deadline);
        nqi_spin_learn(&room->spin, now, found ? found : nqi_now());
        if (claimed)
            return DRIVE_READY;
    }
}

enum follow { FOLLOW_READY, FOLLOW_TIME, FOLLOW_AGAIN };

/* Wait on one's own word while another thread drives. */
static enum follow room_follow(struct nqi_room *room, struct waiter *self)
{
    int64_t now = nqi_now(), deadline = waiter_deadline(self, now);
    uint32_t word;

    if (waiter_enlist(room, self, false))
        return FOLLOW_READY;
    if (atomic_load(&room->token) != TOKEN_FREE)
        while (atomic_load(&self->word) == WAITER_ASLEEP && now < deadline) {
            wait_futex(&self->word, WAITER_ASLEEP,
                       deadline == NQI_NEVER ? NQI_NEVER : deadline - now);
            now = deadline == NQI_NEVER ? now : nqi_now();
        }
    word = waiter_delist(room, self);
    if (word == WAITER_READY)
        return FOLLOW_READY;
    if (now < deadline)
        return FOLLOW_AGAIN;
    if (word == WAITER_PROMOTED) /* too late for this one */
        nqi_room_promote(room);
    return FOLLOW_TIME;
}

static nq_err room_wait(struct nqi_room *room, struct waiter *self)
{
    for (;;) {
        enum drive drive;

        if (!nqi_token_try(room)) {
            enum follow follow = room_follow(room, self);

            if (follow != FOLLOW_AGAIN)
                return follow == FOLLOW_READY ? NQ_OK : NQ_AGAIN;
            continue;
        }
        nqi_keeper_stand_down(room);
        drive = room_drive(room, self);
        nqi_token_leave(room);
        nqi_room_run_callbacks(room);
        if (drive != DRIVE_CALLBACKS)
            return drive == DRIVE_READY ? NQ_OK : NQ_AGAIN;
    }
}

/* For who does not want to wait, or may not. */
static nq_err room_ask(struct nqi_room *room, nqi_ready_fn ready, void *arg, int64_t timeout_ns)
{
    if (ready(arg))
        return NQ_OK;
    if (timeout_ns)
        return nqi_fail(NQ_ERR_DEADLOCK, "a callback must not wait");
    if (nqi_room_in_callback())
        return NQ_AGAIN;
    nqi_room_poll(room);
    return ready(arg) ? NQ_OK : NQ_AGAIN;
}

nq_err nqi_room_wait(struct nqi_room *room, nqi_ready_fn ready, void *arg, int64_t timeout_ns)
{
    struct waiter self = {.ready = ready, .arg = arg, .timeout_ns = timeout_ns};
    int cancel;
    nq_err err;

    if (timeout_ns == 0 || nqi_room_in_callback())
        return room_ask(room, ready, arg, timeout_ns);
    nqi_list_init(&self.link);
    /* A thread that is cancelled while it drives would keep the token for ever. */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    err = room_wait(room, &self);
    pthread_setcancelstate(cancel, NULL);
    return err;
}

/* A turn, if nobody drives. */
static void room_turn_once(struct nqi_room *room)
{
    int cancel;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel); /* as above */
    if (nqi_token_try(room)) {
        nqi_keeper_stand_down(room);
        nqi_room_turn(room, false);
        nqi_token_leave(room);
    }
    pthread_setcancelstate(cancel, NULL);
}

void nqi_room_help(struct nqi_room *room)
{
    room_turn_once(room);
    if (nqi_room_callbacks_due(room))
        nqi_room_kick(room);
}

void nqi_room_attend(struct nqi_room *room)
{
    nqi_room_help(room);
    nqi_keeper_hurry(room);
}

void nqi_room_poll(struct nqi_room *room)
{
    int cancel;

    room_turn_once(room);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    nqi_room_run_callbacks(room);
    pthread_setcancelstate(cancel, NULL);
}
