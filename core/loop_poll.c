/* Another place to sleep than epoll: a queue of the transport's, where its events come without a
 * descriptor.  Who waits there handles them himself; in epoll he would wait for a thread of the
 * transport's that waits there, and waking a thread costs more than the network.
 *
 * One cannot wait in two places, so the poller is used only while no descriptor is watched.  What
 * else ends a sleep in epoll must end it here:
 *
 *   who has something                             who goes to sleep
 *   kick, watch: publish it, then `woken`         takes `woken`, then looks once only
 *   timer: store `due`, then read `poll_until`    store `poll_until` (for ever), then read `due`
 *
 * tests/model/poll.pml tries every order of these steps.
 *
 * Lock: `poll_lock`, a leaf but for wake(), which takes no lock of the core's. */
#include "core/loop_inside.h"

/* The loop that this thread polls for. */
static NQI_THREAD_LOCAL const struct nqi_loop *poll_inside;

void nqi_loop_keep_epoll(struct nqi_loop *loop)
{
    loop->epoll_only = true;
}

void nqi_loop_set_poller(struct nqi_loop *loop, const struct nqi_poller *poller)
{
    if (loop->epoll_only)
        return;
    pthread_mutex_lock(&loop->poll_lock);
    if (!loop->poller.poll)
        loop->poller = *poller;
    atomic_store(&loop->has_poller, true);
    pthread_mutex_unlock(&loop->poll_lock);
    nqi_loop_wake(loop); /* whoever sleeps in epoll */
}

/* Under poll_lock. */
static void poll_end(struct nqi_loop *loop)
{
    loop->woken = true;
    if (loop->polling)
        loop->poller.wake(loop->poller.arg);
}

bool nqi_loop_drop_poller(struct nqi_loop *loop, const void *arg)
{
    bool dropped = true;

    pthread_mutex_lock(&loop->poll_lock);
    if (loop->poller.poll && loop->poller.arg == arg) {
        dropped = !loop->polling;
        if (!dropped) {
            poll_end(loop);
        } else {
            loop->poller = (struct nqi_poller){0};
            atomic_store(&loop->has_poller, false);
        }
    }
    pthread_mutex_unlock(&loop->poll_lock);
    return dropped;
}

bool nqi_loop_polled_here(const struct nqi_loop *loop)
{
    return poll_inside == loop;
}

void nqi_loop_poll_wake(struct nqi_loop *loop)
{
    int cancel;

    if (nqi_loop_polled_here(loop) || !atomic_load(&loop->has_poller))
        return; /* a new one begins with a wake */
    /* The transport's wake() may write to a descriptor, where a thread can be cancelled. */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    pthread_mutex_lock(&loop->poll_lock);
    poll_end(loop);
    pthread_mutex_unlock(&loop->poll_lock);
    pthread_setcancelstate(cancel, NULL);
}

/* True: it is this thread's now, until poll_leave(). */
static bool poll_enter(struct nqi_loop *loop, struct nqi_poller *ret, bool *woken)
{
    bool entered;

    pthread_mutex_lock(&loop->poll_lock);
    entered = loop->poller.poll && !atomic_load(&loop->nfds);
    *ret = loop->poller;
    *woken = loop->woken;
    loop->woken = false;
    loop->polling = entered;
    pthread_mutex_unlock(&loop->poll_lock);
    return entered;
}

/* True: it was woken, before or meanwhile; who polled looks at everything now. */
static bool poll_leave(struct nqi_loop *loop)
{
    bool woken;

    atomic_store(&loop->poll_until, 0);
    pthread_mutex_lock(&loop->poll_lock);
    loop->polling = false;
    woken = loop->woken;
    loop->woken = false;
    pthread_mutex_unlock(&loop->poll_lock);
    return woken;
}

/* How long: until the earliest timer at the most. */
static int64_t poll_time(struct nqi_loop *loop, int64_t timeout_ns)
{
    int64_t due, now, until;

    atomic_store(&loop->poll_until, NQI_NEVER);
    due = atomic_load(&loop->due);
    if (due == NQI_NEVER && timeout_ns == NQI_NEVER)
        return NQI_NEVER;
    now = nqi_now();
    until = timeout_ns == NQI_NEVER ? NQI_NEVER : now + timeout_ns;
    until = NQI_MIN(until, due);
    atomic_store(&loop->poll_until, until);
    return NQI_MAX(until - now, 0);
}

enum nqi_polled nqi_loop_poll(struct nqi_loop *loop, int64_t timeout_ns)
{
    struct nqi_poller poller;
    bool woken;

    if (!atomic_load(&loop->has_poller) || atomic_load(&loop->nfds) ||
        !poll_enter(loop, &poller, &woken))
        return NQI_POLLED_NOT;
    timeout_ns = woken || !timeout_ns ? 0 : poll_time(loop, timeout_ns);
    poll_inside = loop;
    poller.poll(poller.arg, timeout_ns);
    poll_inside = NULL;
    woken |= poll_leave(loop);
    return woken ? NQI_POLLED_WOKEN : NQI_POLLED;
}
