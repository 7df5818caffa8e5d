/* epoll, one timerfd and an inbox.
 *
 * A watch can be deleted by one thread while another holds a batch of epoll events that names it.
 * So events carry slot and generation, never a pointer; the turn looks them up under the lock, and
 * a watch that it has queued for its strand is freed by the queued work, not by the deletion.
 *
 *   watch      in the table   queued   dead     leaves by
 *   idle       yes            no       no       event -> queued; del -> freed
 *   queued     yes            yes      no       its work ran -> idle; del -> doomed
 *   doomed     no             yes      yes      its work ran -> freed
 */
#include "core/loop.h"

#include "core/err.h"
#include "core/timer.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define LOOP_BATCH 64
#define LOOP_TIMER_READY 0x80000000u /* in `ready`: the timer is due */

/* Data of the loop's own descriptors: no watch has these generations. */
#define LOOP_DATA_KICK UINT64_MAX
#define LOOP_DATA_TIMER (UINT64_MAX - 1)

struct nqi_watch {
    struct nqi_work work;
    struct nqi_serial *serial;
    struct nqi_timer timer; /* under lock */
    uint32_t ready;         /* under lock: events that the queued work will report */
    bool queued;            /* under lock: `work` is with the strand */
    bool dead;              /* inside the strand */
    uint32_t wanted;        /* inside the strand: POLL*; what was asked for last */
    int fd;                 /* -1: a timer */
    uint32_t slot, gen;     /* fixed by the adding */
    union {
        void (*on_fd)(void *arg, uint32_t events);
        void (*on_time)(void *arg);
    } fn;
    void *arg;
};

struct loop_slot {
    struct nqi_watch *watch; /* NULL = free */
    uint32_t gen;
    uint32_t next_free;
};

struct loop_post {
    struct nqi_work work;
    struct loop_post *next;
    struct nqi_strand *strand; /* one reference */
    void (*fn)(void *arg);
    void *arg;
};

struct nqi_loop {
    /* fixed by nqi_loop_new() */
    int epoll, kick, clock, hold;
    nqi_kick_fn on_kick;
    void *kick_arg;

    struct nqi_hot_set hot;

    /* the token's holder only */
    struct epoll_event events[LOOP_BATCH];

    /* atomic: pushed by any thread, emptied by the token's holder */
    _Atomic(struct loop_post *) inbox NQI_ALIGNED_LINE;

    /* under lock */
    pthread_mutex_t lock NQI_ALIGNED_LINE;
    struct loop_slot *slots;
    int face; /* set of `epoll` and `hold`, for the user's own loop; -1 = nobody asked for it yet */
    uint32_t nslots, free_slot; /* free_slot: head of the free list, nslots = none */
    uint32_t ntimers;           /* watches that are timers: room reserved in `timers` */
    struct nqi_timers timers;
    int64_t armed;       /* when the timerfd will fire; NQI_NEVER = not set */
    _Atomic int64_t due; /* earliest timer, readable without the lock */
};

int64_t nqi_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NQI_NS_PER_S + ts.tv_nsec;
}

/* ---- set-up ------------------------------------------------------------------------------- */

static void loop_close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

void nqi_loop_free(struct nqi_loop *loop)
{
    if (!loop)
        return;
    while (nqi_loop_pending(loop))
        nqi_loop_turn(loop);
    loop_close_fd(loop->face);
    loop_close_fd(loop->epoll);
    loop_close_fd(loop->kick);
    loop_close_fd(loop->clock);
    loop_close_fd(loop->hold);
    nqi_timers_fini(&loop->timers);
    nqi_hot_fini(&loop->hot);
    pthread_mutex_destroy(&loop->lock);
    free(loop->slots);
    free(loop);
}

static void loop_freep(struct nqi_loop **loop)
{
    nqi_loop_free(*loop);
}

static nq_err loop_own(struct nqi_loop *loop, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event event = {.events = events, .data.u64 = data};

    if (fd < 0 || epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event))
        return nqi_fail_errno("cannot set up an event loop");
    return NQ_OK;
}

nq_err nqi_loop_new(struct nqi_loop **ret)
{
    NQI_CLEANUP(loop_freep)
    struct nqi_loop *loop = aligned_alloc(NQI_CACHE_LINE, sizeof(*loop));
    nq_err err;

    if (!loop)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for an event loop");
    memset(loop, 0, sizeof(*loop));
    pthread_mutex_init(&loop->lock, NULL);
    nqi_timers_init(&loop->timers);
    nqi_hot_init(&loop->hot);
    loop->armed = NQI_NEVER;
    loop->face = -1;
    atomic_init(&loop->due, NQI_NEVER);
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->clock = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    loop->hold = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    /* Edge-triggered and never read: a kick costs one system call, not two. */
    err = loop_own(loop, loop->kick, EPOLLIN | EPOLLET, LOOP_DATA_KICK);
    if (!err)
        err = loop_own(loop, loop->clock, EPOLLIN, LOOP_DATA_TIMER);
    if (!err && loop->hold < 0)
        err = nqi_fail_errno("cannot set up an event loop");
    if (err)
        return err;
    *ret = NQI_STEAL(loop);
    return NQ_OK;
}

void nqi_loop_on_kick(struct nqi_loop *loop, nqi_kick_fn kick, void *arg)
{
    loop->on_kick = kick;
    loop->kick_arg = arg;
}

struct nqi_hot_set *nqi_loop_hot(struct nqi_loop *loop)
{
    return &loop->hot;
}

int nqi_loop_epoll(const struct nqi_loop *loop)
{
    return loop->epoll;
}

static int loop_new_face(const struct nqi_loop *loop)
{
    struct epoll_event event = {.events = EPOLLIN};
    int face = epoll_create1(EPOLL_CLOEXEC);

    if (face >= 0 && !epoll_ctl(face, EPOLL_CTL_ADD, loop->epoll, &event) &&
        !epoll_ctl(face, EPOLL_CTL_ADD, loop->hold, &event))
        return face;
    nqi_fail_errno("cannot make a descriptor for an event loop");
    loop_close_fd(face);
    return -1;
}

int nqi_loop_fd(struct nqi_loop *loop)
{
    int face;

    pthread_mutex_lock(&loop->lock);
    if (loop->face < 0)
        loop->face = loop_new_face(loop);
    face = loop->face;
    pthread_mutex_unlock(&loop->lock);
    return face;
}

void nqi_loop_wake(struct nqi_loop *loop)
{
    uint64_t one = 1;
    int cancel;

    /* Who kicks has promised a wake-up already: no cancellation in between. */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    if (write(loop->kick, &one, sizeof(one)) < 0)
        assert(errno == EAGAIN); /* the counter is full: readable all the same */
    pthread_setcancelstate(cancel, NULL);
}

void nqi_loop_hold_readable(struct nqi_loop *loop, bool on)
{
    uint64_t count = 1;
    int cancel;
    ssize_t n;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    n = on ? write(loop->hold, &count, sizeof(count)) : read(loop->hold, &count, sizeof(count));
    pthread_setcancelstate(cancel, NULL);
    (void)n; /* EAGAIN: it is in that state already */
}

/* ---- watches -------------------------------------------------------------------------------- */

static void watch_run(struct nqi_work *work)
{
    struct nqi_watch *watch = NQI_CONTAINER(work, struct nqi_watch, work);
    struct nqi_loop *loop;
    uint32_t ready;

    if (watch->dead) {
        free(watch); /* its serial may be gone */
        return;
    }
    loop = watch->serial->loop;
    pthread_mutex_lock(&loop->lock);
    ready = watch->ready;
    watch->ready = 0;
    watch->queued = false;
    pthread_mutex_unlock(&loop->lock);
    if (ready & LOOP_TIMER_READY)
        watch->fn.on_time(watch->arg);
    else if ((ready &= watch->wanted)) /* it may have changed since the event */
        watch->fn.on_fd(watch->arg, ready);
}

/* Under lock.  A free slot, or nslots when there is no memory. */
static uint32_t loop_take_slot(struct nqi_loop *loop)
{
    uint32_t slot = loop->free_slot, cap = loop->nslots ? loop->nslots * 2 : 16;
    struct loop_slot *slots;

    if (slot < loop->nslots) {
        loop->free_slot = loop->slots[slot].next_free;
        return slot;
    }
    slots = realloc(loop->slots, cap * sizeof(*slots));
    if (!slots)
        return loop->nslots;
    for (uint32_t i = loop->nslots; i < cap; i++)
        slots[i] = (struct loop_slot){.next_free = i + 1};
    slot = loop->nslots;
    loop->slots = slots;
    loop->nslots = cap;
    loop->free_slot = slot + 1;
    return slot;
}

static void loop_give_slot(struct nqi_loop *loop, uint32_t slot)
{
    loop->slots[slot].watch = NULL;
    loop->slots[slot].gen++;
    loop->slots[slot].next_free = loop->free_slot;
    loop->free_slot = slot;
}

static struct nqi_watch *watch_new(struct nqi_serial *serial, int fd, void *arg)
{
    struct nqi_watch *watch = calloc(1, sizeof(*watch));

    if (!watch) {
        nqi_fail(NQ_ERR_NOMEM, "no memory for a watch");
        return NULL;
    }
    watch->work.run = watch_run;
    watch->serial = serial;
    watch->fd = fd;
    watch->arg = arg;
    return watch;
}

static bool watch_take_slot(struct nqi_watch *watch)
{
    struct nqi_loop *loop = watch->serial->loop;
    bool taken;

    pthread_mutex_lock(&loop->lock);
    watch->slot = loop_take_slot(loop);
    taken = watch->slot < loop->nslots;
    if (taken) {
        loop->slots[watch->slot].watch = watch;
        watch->gen = loop->slots[watch->slot].gen;
    }
    pthread_mutex_unlock(&loop->lock);
    return taken;
}

static uint32_t watch_epoll_events(uint32_t events)
{
    return (events & POLLIN ? EPOLLIN | EPOLLRDHUP : 0u) | (events & POLLOUT ? EPOLLOUT : 0u);
}

static int watch_ctl(struct nqi_watch *watch, int op, uint32_t events)
{
    struct epoll_event event = {.events = watch_epoll_events(events),
                                .data.u64 = (uint64_t)watch->gen << 32 | watch->slot};

    watch->wanted = events | POLLERR | POLLHUP;
    return epoll_ctl(watch->serial->loop->epoll, op, watch->fd, &event);
}

/* Out of the loop's tables, and freed unless work of it lies with the strand. */
static void watch_end(struct nqi_watch *watch, bool has_slot)
{
    struct nqi_loop *loop = watch->serial->loop;
    bool queued;

    pthread_mutex_lock(&loop->lock);
    if (has_slot) {
        loop_give_slot(loop, watch->slot);
    } else {
        nqi_timers_remove(&loop->timers, &watch->timer);
        loop->ntimers--;
    }
    queued = watch->queued;
    pthread_mutex_unlock(&loop->lock);
    if (queued)
        watch->dead = true;
    else
        free(watch);
}

nq_err nqi_fd_add(struct nqi_serial *serial, int fd, uint32_t events,
                  void (*fn)(void *arg, uint32_t events), void *arg, struct nqi_watch **ret)
{
    struct nqi_watch *watch = watch_new(serial, fd, arg);

    if (!watch)
        return NQ_ERR_NOMEM;
    watch->fn.on_fd = fn;
    if (!watch_take_slot(watch)) {
        free(watch);
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a watch");
    }
    if (watch_ctl(watch, EPOLL_CTL_ADD, events)) {
        nq_err err = nqi_fail_errno("cannot watch descriptor %d", fd);

        watch->fd = -1; /* it may be another watch's: leave it in epoll */
        watch_end(watch, true);
        return err;
    }
    *ret = watch;
    return NQ_OK;
}

nq_err nqi_fd_mod(struct nqi_watch *watch, uint32_t events)
{
    if (watch_ctl(watch, EPOLL_CTL_MOD, events))
        return nqi_fail_errno("cannot watch descriptor %d", watch->fd);
    return NQ_OK;
}

nq_err nqi_timer_add(struct nqi_serial *serial, void (*fn)(void *arg), void *arg,
                     struct nqi_watch **ret)
{
    struct nqi_loop *loop = serial->loop;
    struct nqi_watch *watch = watch_new(serial, -1, arg);
    nq_err err;

    if (!watch)
        return NQ_ERR_NOMEM;
    watch->fn.on_time = fn;
    pthread_mutex_lock(&loop->lock);
    err = nqi_timers_reserve(&loop->timers, loop->ntimers + 1);
    if (!err)
        loop->ntimers++;
    pthread_mutex_unlock(&loop->lock);
    if (err) {
        free(watch);
        return nqi_fail(err, "no memory for a timer");
    }
    *ret = watch;
    return NQ_OK;
}

/* Under lock.  Setting the timerfd also wakes whoever sleeps in the loop, in time. */
static void loop_arm(struct nqi_loop *loop)
{
    int64_t next = nqi_timers_next(&loop->timers);
    struct itimerspec when = {0};

    atomic_store_explicit(&loop->due, next, memory_order_relaxed);
    if (next >= loop->armed)
        return; /* it fires early, finds nothing and is set again: cheaper than moving it */
    next = NQI_MAX(next, 1); /* zero would stop the timer, less be refused */
    when.it_value.tv_sec = next / NQI_NS_PER_S;
    when.it_value.tv_nsec = next % NQI_NS_PER_S;
    timerfd_settime(loop->clock, TFD_TIMER_ABSTIME, &when, NULL);
    loop->armed = next;
}

void nqi_timer_set(struct nqi_watch *watch, int64_t at)
{
    struct nqi_loop *loop = watch->serial->loop;

    pthread_mutex_lock(&loop->lock);
    watch->ready &= ~LOOP_TIMER_READY; /* what fired before no longer counts */
    if (at == NQI_NEVER)
        nqi_timers_remove(&loop->timers, &watch->timer);
    else
        nqi_timers_set(&loop->timers, &watch->timer, at);
    loop_arm(loop);
    pthread_mutex_unlock(&loop->lock);
}

void nqi_watch_del(struct nqi_watch *watch)
{
    if (!watch)
        return;
    if (watch->fd >= 0)
        watch_ctl(watch, EPOLL_CTL_DEL, 0);
    watch_end(watch, watch->fd >= 0);
}

/* ---- posts --------------------------------------------------------------------------------------
 */

static void post_run(struct nqi_work *work)
{
    struct loop_post *post = NQI_CONTAINER(work, struct loop_post, work);

    post->fn(post->arg);
    free(post);
}

nq_err nqi_post(struct nqi_serial *serial, void (*fn)(void *arg), void *arg)
{
    struct nqi_loop *loop = serial->loop;
    struct loop_post *post = malloc(sizeof(*post));
    struct loop_post *head = atomic_load_explicit(&loop->inbox, memory_order_relaxed);

    if (!post)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a post");
    post->work.run = post_run;
    post->strand = nqi_strand_ref(serial->strand);
    post->fn = fn;
    post->arg = arg;
    do
        post->next = head;
    while (!atomic_compare_exchange_weak_explicit(&loop->inbox, &head, post, memory_order_seq_cst,
                                                  memory_order_relaxed));
    /* A list that was not empty has been kicked for, and nobody has looked since. */
    if (!head && loop->on_kick)
        loop->on_kick(loop->kick_arg);
    return NQ_OK;
}

bool nqi_loop_pending(const struct nqi_loop *loop)
{
    return atomic_load_explicit(&loop->inbox, memory_order_seq_cst) != NULL;
}

static unsigned loop_run_posts(struct nqi_loop *loop)
{
    struct loop_post *newest, *oldest = NULL;
    unsigned count = 0;

    if (!atomic_load_explicit(&loop->inbox, memory_order_relaxed))
        return 0;
    newest = atomic_exchange_explicit(&loop->inbox, NULL, memory_order_acq_rel);
    while (newest) {
        struct loop_post *next = newest->next;

        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct loop_post *next = oldest->next;
        struct nqi_strand *strand = oldest->strand;

        nqi_strand_run(strand, &oldest->work);
        nqi_strand_unref(strand);
        oldest = next;
        count++;
    }
    return count;
}

/* ---- the turn
 * -------------------------------------------------------------------------------------- */

/* What a turn found and brings to the strands.  Each strand is referenced, because its object may
 * end on another thread before its turn comes. */
struct loop_batch {
    struct nqi_watch *watch[LOOP_BATCH];
    struct nqi_strand *strand[LOOP_BATCH];
    unsigned count;
};

/* Under lock. */
static void batch_add(struct loop_batch *batch, struct nqi_watch *watch, uint32_t ready)
{
    watch->ready |= ready;
    if (watch->queued)
        return;
    watch->queued = true;
    batch->watch[batch->count] = watch;
    batch->strand[batch->count++] = nqi_strand_ref(watch->serial->strand);
}

static unsigned batch_run(struct loop_batch *batch)
{
    for (unsigned i = 0; i < batch->count; i++) {
        nqi_strand_run(batch->strand[i], &batch->watch[i]->work);
        nqi_strand_unref(batch->strand[i]);
    }
    return batch->count;
}

int nqi_loop_sleep(struct nqi_loop *loop, int64_t timeout_ns)
{
    struct timespec ts = {.tv_sec = timeout_ns / NQI_NS_PER_S,
                          .tv_nsec = timeout_ns % NQI_NS_PER_S};
    int64_t ms = timeout_ns / NQI_NS_PER_MS + 1;
    int n;

    if (timeout_ns == 0)
        return epoll_wait(loop->epoll, loop->events, LOOP_BATCH, 0);
    if (timeout_ns == NQI_NEVER)
        return epoll_wait(loop->epoll, loop->events, LOOP_BATCH, -1);
    n = epoll_pwait2(loop->epoll, loop->events, LOOP_BATCH, &ts, NULL);
    if (n < 0 && errno == ENOSYS) /* before Linux 5.11 */
        n = epoll_wait(loop->epoll, loop->events, LOOP_BATCH, (int)NQI_MIN(ms, INT32_MAX));
    return n;
}

static uint32_t loop_poll_events(uint32_t events)
{
    return (events & (EPOLLIN | EPOLLRDHUP) ? POLLIN : 0u) | (events & EPOLLOUT ? POLLOUT : 0u) |
           (events & EPOLLERR ? POLLERR : 0u) | (events & EPOLLHUP ? POLLHUP : 0u);
}

static unsigned loop_run_events(struct nqi_loop *loop, int n)
{
    struct loop_batch batch = {.count = 0};

    pthread_mutex_lock(&loop->lock);
    for (int i = 0; i < n; i++) {
        const struct epoll_event *event = &loop->events[i];
        uint32_t slot = (uint32_t)event->data.u64, gen = (uint32_t)(event->data.u64 >> 32);

        if (event->data.u64 == LOOP_DATA_TIMER) {
            loop->armed = NQI_NEVER; /* it fired: loop_run_timers() sets it anew */
            atomic_store_explicit(&loop->due, 0, memory_order_relaxed);
        } else if (slot < loop->nslots && loop->slots[slot].watch && loop->slots[slot].gen == gen) {
            batch_add(&batch, loop->slots[slot].watch, loop_poll_events(event->events));
        }
    }
    pthread_mutex_unlock(&loop->lock);
    return batch_run(&batch);
}

static unsigned loop_run_timers(struct nqi_loop *loop)
{
    int64_t due = atomic_load_explicit(&loop->due, memory_order_relaxed), now;
    struct loop_batch batch = {.count = 0};
    struct nqi_timer *timer;

    if (due == NQI_NEVER)
        return 0;
    now = nqi_now();
    if (due > now)
        return 0;
    pthread_mutex_lock(&loop->lock);
    while (batch.count < LOOP_BATCH && (timer = nqi_timers_expire(&loop->timers, now)))
        batch_add(&batch, NQI_CONTAINER(timer, struct nqi_watch, timer), LOOP_TIMER_READY);
    if (loop->armed <= now)
        loop->armed = NQI_NEVER;
    loop_arm(loop);
    if (loop->armed == NQI_NEVER) { /* nothing left: stop the descriptor being readable */
        struct itimerspec off = {0};

        timerfd_settime(loop->clock, 0, &off, NULL);
    }
    pthread_mutex_unlock(&loop->lock);
    return batch_run(&batch);
}

unsigned nqi_loop_handle(struct nqi_loop *loop, int events)
{
    unsigned handled = 0;

    if (events > 0)
        handled = loop_run_events(loop, events);
    return handled + nqi_loop_turn_hot(loop);
}

unsigned nqi_loop_turn_hot(struct nqi_loop *loop)
{
    unsigned handled = nqi_hot_any(&loop->hot) ? nqi_hot_poll(&loop->hot) : 0;

    handled += loop_run_timers(loop);
    return handled + loop_run_posts(loop);
}
