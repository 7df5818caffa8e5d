/* epoll, one timerfd and an inbox: set-up, posts and the turn.  Watches are in loop_watch.c,
 * another place to sleep in loop_poll.c. */
#include "core/loop_inside.h"

#include "core/err.h"
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* Shorter time-outs come true more often than they are cut short. */
#define LOOP_CLOCKED_NS (10 * NQI_NS_PER_MS)

int64_t nqi_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NQI_NS_PER_S + ts.tv_nsec;
}

int64_t nqi_now_rough(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    return ts.tv_sec * NQI_NS_PER_S + ts.tv_nsec;
}

/* ---- set-up ----------------------------------------------------------------------------- */

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
    pthread_mutex_destroy(&loop->poll_lock);
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
    pthread_mutex_init(&loop->poll_lock, NULL);
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

    if (nqi_loop_polled_here(loop))
        return;
    /* Who kicks has promised a wake-up already: no cancellation in between. */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    if (write(loop->kick, &one, sizeof(one)) < 0)
        assert(errno == EAGAIN); /* the counter is full: readable all the same */
    nqi_loop_poll_wake(loop);    /* who is woken takes the kick out of epoll */
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

/* ---- posts ------------------------------------------------------------------------------ */

/* The caller's memory is the caller's again, and may go, once the call has begun. */
static void post_run(struct nqi_work *work)
{
    struct nqi_post *post = NQI_CONTAINER(work, struct nqi_post, work);
    void (*fn)(void *arg) = post->fn;
    void *arg = post->arg;

    if (post->own)
        free(post);
    fn(arg);
}

void nqi_post_in(struct nqi_serial *serial, struct nqi_post *post, void (*fn)(void *arg), void *arg)
{
    struct nqi_loop *loop = serial->loop;
    struct nqi_post *head = atomic_load_explicit(&loop->inbox, memory_order_relaxed);

    post->work.run = post_run;
    post->strand = nqi_strand_ref(serial->strand);
    post->fn = fn;
    post->arg = arg;
    atomic_fetch_add_explicit(&loop->posting, 1, memory_order_relaxed);
    do
        post->next = head;
    while (!atomic_compare_exchange_weak_explicit(&loop->inbox, &head, post, memory_order_seq_cst,
                                                  memory_order_relaxed));
    /* A list that was not empty has been kicked for, and nobody has looked since. */
    if (!head && loop->on_kick)
        loop->on_kick(loop->kick_arg);
    atomic_fetch_sub_explicit(&loop->posting, 1, memory_order_release);
}

nq_err nqi_post(struct nqi_serial *serial, void (*fn)(void *arg), void *arg)
{
    struct nqi_post *post = malloc(sizeof(*post));

    if (!post)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a post");
    post->own = true;
    nqi_post_in(serial, post, fn, arg);
    return NQ_OK;
}

void nqi_loop_await_posters(struct nqi_loop *loop)
{
    while (atomic_load_explicit(&loop->posting, memory_order_acquire))
        sched_yield();
}

bool nqi_loop_pending(const struct nqi_loop *loop)
{
    return atomic_load_explicit(&loop->inbox, memory_order_seq_cst) != NULL;
}

static unsigned loop_run_posts(struct nqi_loop *loop)
{
    struct nqi_post *newest, *oldest = NULL;
    unsigned count = 0;

    if (!atomic_load_explicit(&loop->inbox, memory_order_relaxed))
        return 0;
    newest = atomic_exchange_explicit(&loop->inbox, NULL, memory_order_acq_rel);
    while (newest) {
        struct nqi_post *next = newest->next;

        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct nqi_post *next = oldest->next;
        struct nqi_strand *strand = oldest->strand;

        nqi_strand_run(strand, &oldest->work);
        nqi_strand_unref(strand);
        oldest = next;
        count++;
    }
    return count;
}

/* ---- the turn --------------------------------------------------------------------------- */

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
    if (watch->queued) {
        if (watch->fd >= 0)
            nqi_watch_mute(watch);
        return;
    }
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

/* A time-out of its own costs a sleep a timer of the kernel's, as much as a small message.  So the
 * loop's clock is set to its end instead: it is set already when an earlier sleep had a time-out
 * and ended before it.  Then it fires early, once, and is set again. */
static int loop_sleep_by_clock(struct nqi_loop *loop, int64_t timeout_ns)
{
    pthread_mutex_lock(&loop->lock);
    nqi_loop_set_clock(loop, nqi_now() + timeout_ns);
    pthread_mutex_unlock(&loop->lock);
    return epoll_wait(loop->epoll, loop->events, LOOP_BATCH, -1);
}

/* Less than LOOP_CLOCKED_NS.  Before Linux 5.11 that is in whole milliseconds, upwards. */
static int loop_sleep_shortly(struct nqi_loop *loop, int64_t timeout_ns)
{
    static _Atomic bool lacking; /* asked once */
    const struct timespec ts = {.tv_nsec = timeout_ns};
    int n;

    if (!atomic_load_explicit(&lacking, memory_order_relaxed)) {
        n = epoll_pwait2(loop->epoll, loop->events, LOOP_BATCH, &ts, NULL);
        if (n >= 0 || errno != ENOSYS)
            return n;
        atomic_store_explicit(&lacking, true, memory_order_relaxed);
    }
    return epoll_wait(loop->epoll, loop->events, LOOP_BATCH, (int)(timeout_ns / NQI_NS_PER_MS + 1));
}

int nqi_loop_sleep(struct nqi_loop *loop, int64_t timeout_ns)
{
    enum nqi_polled polled = nqi_loop_poll(loop, timeout_ns);

    if (polled == NQI_POLLED && timeout_ns)
        return 0;
    if (polled) /* the keeper would see what is left in epoll, again and again */
        timeout_ns = 0;
    if (timeout_ns == 0)
        return epoll_wait(loop->epoll, loop->events, LOOP_BATCH, 0);
    if (timeout_ns == NQI_NEVER)
        return epoll_wait(loop->epoll, loop->events, LOOP_BATCH, -1);
    if (timeout_ns >= LOOP_CLOCKED_NS)
        return loop_sleep_by_clock(loop, timeout_ns);
    return loop_sleep_shortly(loop, timeout_ns);
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
    nqi_loop_arm(loop);
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
    handled += loop_run_timers(loop);
    return handled + nqi_loop_turn_hot(loop);
}

unsigned nqi_loop_turn_hot(struct nqi_loop *loop)
{
    unsigned handled = nqi_hot_any(&loop->hot) ? nqi_hot_poll(&loop->hot) : 0;

    return handled + loop_run_posts(loop);
}
