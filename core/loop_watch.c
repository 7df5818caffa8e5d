/* Descriptors and timers that a loop watches.
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
#include "core/loop_inside.h"

#include "core/err.h"
#include <netqueue/transport.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/timerfd.h>

static uint32_t watch_epoll_events(uint32_t events)
{
    return (events & POLLIN ? EPOLLIN | EPOLLRDHUP : 0u) | (events & POLLOUT ? EPOLLOUT : 0u) |
           (events & NQT_POLL_EDGE ? (uint32_t)EPOLLET : 0u);
}

static uint64_t watch_data(const struct nqi_watch *watch)
{
    return (uint64_t)watch->gen << 32 | watch->slot;
}

/* Inside the strand. */
static int watch_ctl(struct nqi_watch *watch, int op, uint32_t events)
{
    struct epoll_event event = {.events = watch_epoll_events(events),
                                .data.u64 = watch_data(watch)};

    watch->wanted = events | POLLERR | POLLHUP;
    return epoll_ctl(watch->serial->loop->epoll, op, watch->fd, &event);
}

void nqi_watch_mute(struct nqi_watch *watch)
{
    struct epoll_event event = {.events = EPOLLONESHOT, .data.u64 = watch_data(watch)};

    watch->muted = true;
    epoll_ctl(watch->serial->loop->epoll, EPOLL_CTL_MOD, watch->fd, &event);
}

static void watch_run(struct nqi_work *work)
{
    struct nqi_watch *watch = NQI_CONTAINER(work, struct nqi_watch, work);
    struct nqi_loop *loop;
    uint32_t ready;
    bool muted;

    if (watch->dead) {
        free(watch); /* its serial may be gone */
        return;
    }
    loop = watch->serial->loop;
    pthread_mutex_lock(&loop->lock);
    ready = watch->ready;
    muted = watch->muted;
    watch->ready = 0;
    watch->queued = watch->muted = false;
    pthread_mutex_unlock(&loop->lock);
    if (muted)
        watch_ctl(watch, EPOLL_CTL_MOD, watch->wanted);
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

/* Out of the loop's tables, and freed unless work of it lies with the strand. */
static void watch_end(struct nqi_watch *watch, bool has_slot)
{
    struct nqi_loop *loop = watch->serial->loop;
    bool queued;

    pthread_mutex_lock(&loop->lock);
    if (has_slot) {
        loop_give_slot(loop, watch->slot);
        atomic_fetch_sub(&loop->nfds, 1);
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
    /* Whoever sleeps in a poller comes back, and into epoll. */
    if (!atomic_fetch_add(&serial->loop->nfds, 1))
        nqi_loop_poll_wake(serial->loop);
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

void nqi_loop_set_clock(struct nqi_loop *loop, int64_t at)
{
    struct itimerspec when = {0};

    if (at >= loop->armed)
        return; /* it fires early, finds nothing and is set again: cheaper than moving it */
    at = NQI_MAX(at, 1); /* zero would stop the timer, less be refused */
    when.it_value.tv_sec = at / NQI_NS_PER_S;
    when.it_value.tv_nsec = at % NQI_NS_PER_S;
    timerfd_settime(loop->clock, TFD_TIMER_ABSTIME, &when, NULL);
    loop->armed = at;
}

void nqi_loop_arm(struct nqi_loop *loop)
{
    int64_t next = nqi_timers_next(&loop->timers);

    atomic_store(&loop->due, next); /* before a look at `poll_until` */
    nqi_loop_set_clock(loop, next);
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
    nqi_loop_arm(loop);
    pthread_mutex_unlock(&loop->lock);
    if (at < atomic_load(&loop->poll_until))
        nqi_loop_poll_wake(loop);
}

void nqi_watch_del(struct nqi_watch *watch)
{
    if (!watch)
        return;
    if (watch->fd >= 0)
        watch_ctl(watch, EPOLL_CTL_DEL, 0);
    watch_end(watch, watch->fd >= 0);
}
