/* What the plugin may call in general, and the checks on the way.  See host_in.h for the rest. */
#include "tools/conform/host_in.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { HOST_SLOWER = 20 }; /* nqtest_slow_time() */

struct nqtest_host *nqtest_core_host(nqt_core *core)
{
    struct nqtest_host *host = (struct nqtest_host *)core;

    NQTEST_MUST(GONE, !host->gone, "the plugin called the host after mod_close()");
    return host;
}

void nqtest_must_be_in_serial(const struct nqtest_host *host)
{
    NQTEST_MUST(GONE, !host->gone, "the plugin called the host after mod_close()");
    NQTEST_MUST(SERIAL, pthread_equal(host->thread, pthread_self()) && host->depth,
                "a call that must be made in the serial was made outside");
}

bool nqtest_fails(_Atomic long *countdown)
{
    return atomic_load(countdown) > 0 && atomic_fetch_sub(countdown, 1) == 1;
}

const char *nqtest_secret;

void nqtest_look_for_secret(const char *text, const char *where)
{
    NQTEST_MUST(SECRETS, !nqtest_secret || !text || !strstr(text, nqtest_secret),
                "the value of a secret option stands in %s", where);
}

/* ---- services that any thread may call ---------------------------------------------- */

static void host_log(nqt_core *core, uint32_t level, const char *text)
{
    struct nqtest_host *host = nqtest_core_host(core);
    size_t len;

    NQTEST_COMPARE(LOG, level, <=, NQT_LOG_DEBUG);
    NQTEST_MUST(LOG, !strchr(text, '\n'), "a line for the log has a newline in it");
    nqtest_look_for_secret(text, "a line for the log");
    pthread_mutex_lock(&host->mtx);
    len = strlen(host->log);
    snprintf(host->log + len, sizeof(host->log) - len, "%s\n", text);
    pthread_mutex_unlock(&host->mtx);
}

static void *host_mem(nqt_core *core, void *old, size_t len)
{
    struct nqtest_host *host = nqtest_core_host(core);
    void *mem;

    if (!len) {
        atomic_fetch_sub(&host->blocks, old ? 1 : 0);
        free(old);
        return NULL;
    }
    if (nqtest_fails(&host->fail_mem))
        return NULL;
    mem = realloc(old, len);
    NQTEST_MUST(NONE, mem, "no memory");
    if (!old) {
        memset(mem, 0xa5, len); /* memory is not zeroed */
        atomic_fetch_add(&host->blocks, 1);
    }
    return mem;
}

static struct nqt_buf *host_buf_new(nqt_core *core, size_t len)
{
    return nqtest_fails(&nqtest_core_host(core)->fail_mem) ? NULL : nqtest_buf_new(len, 1);
}

int64_t nqtest_now(const struct nqtest_host *host)
{
    struct timespec now;
    int64_t ns;

    if (host->held)
        return host->shift;
    clock_gettime(CLOCK_MONOTONIC, &now);
    ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec + host->shift;
    return host->slow ? host->slow + (ns - host->slow) / HOST_SLOWER : ns;
}

static int64_t host_now(nqt_core *core)
{
    return nqtest_now(nqtest_core_host(core));
}

static void host_wake(struct nqtest_host *host)
{
    NQTEST_MUST(NONE, write(host->wake[1], "", 1) == 1 || errno == EAGAIN,
                "the loop cannot be woken");
}

static int host_post(nqt_serial *serial, void (*fn)(void *), void *arg)
{
    struct nqtest_host *host = nqtest_core_host((nqt_core *)((struct nqtest_serial *)serial)->host);
    struct nqtest_call *call;

    if (nqtest_fails(&host->fail_other))
        return NQT_E_NOMEM;
    call = calloc(1, sizeof(*call));
    call->fn = fn;
    call->arg = arg;
    pthread_mutex_lock(&host->mtx);
    *host->posts_tail = call;
    host->posts_tail = &call->next;
    host_wake(host);
    pthread_mutex_unlock(&host->mtx);
    return NQT_OK;
}

static int host_is_in_serial(nqt_serial *serial)
{
    const struct nqtest_host *host = ((struct nqtest_serial *)serial)->host;

    return pthread_equal(host->thread, pthread_self()) && host->depth;
}

static int host_emit(nqt_core *core, const struct nqt_event *events, uint32_t n)
{
    struct nqtest_host *host = nqtest_core_host(core);

    for (uint32_t i = 0; i < n; i++) {
        const struct nqt_event *event = &events[i];
        struct nqtest_queued *queued = calloc(1, sizeof(*queued));

        NQTEST_MUST(EVENT, event->size >= sizeof(*event), "an event of %u bytes", event->size);
        NQTEST_MUST(EVENT, event->ep, "event %u without its endpoint", event->kind);
        if (event->link && ((struct nqtest_link *)event->link)->close_called)
            NQTEST_MUST(CLOSED, event->kind == NQT_EV_LINK_CLOSED, "event %u after close()",
                        event->kind);
        if (event->err)
            nqtest_look_for_secret(event->err->text, "the error of an event");
        nqtest_look_for_secret(event->peer_name, "the name in an event");
        queued->event = *event;
        if (event->err)
            queued->err = *event->err;
        if (event->peer_name)
            snprintf(queued->peer, sizeof(queued->peer), "%s", event->peer_name);
        if (event->nbuf) {
            queued->bufs = calloc(event->nbuf, sizeof(*queued->bufs));
            memcpy(queued->bufs, event->buf, event->nbuf * sizeof(*queued->bufs));
        }
        pthread_mutex_lock(&host->mtx);
        *host->events_tail = queued;
        host->events_tail = &queued->next;
        host_wake(host);
        pthread_mutex_unlock(&host->mtx);
    }
    return NQT_OK;
}

static void host_count(nqt_core *core, uint32_t id, int64_t delta)
{
    struct nqtest_host *host = nqtest_core_host(core);

    if (id == NQT_COUNT_SEND_CALLS)
        atomic_fetch_add(&host->send_calls, delta);
    else if (id == NQT_COUNT_RECV_CALLS)
        atomic_fetch_add(&host->recv_calls, delta);
}

static const void *host_ext(nqt_core *core, const char *id)
{
    (void)nqtest_core_host(core);
    (void)id;
    return NULL;
}

/* ---- watches and timers --------------------------------------------------------------- */

static int watch_add(nqt_serial *serial, struct nqtest_watch init, nqt_watch **out)
{
    struct nqtest_host *host = ((struct nqtest_serial *)serial)->host;
    struct nqtest_watch *watch;

    nqtest_must_be_in_serial(host);
    if (nqtest_fails(&host->fail_other))
        return NQT_E_NOMEM;
    watch = malloc(sizeof(*watch));
    *watch = init;
    watch->host = host;
    watch->next = host->watches;
    host->watches = watch;
    *out = (nqt_watch *)watch;
    return NQT_OK;
}

static int edge_of(int fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    int set = epoll_create1(EPOLL_CLOEXEC);

    NQTEST_COMPARE(NONE, epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), ==, 0);
    return set;
}

static int host_fd_add(nqt_serial *serial, int fd, uint32_t events,
                       void (*fn)(void *arg, uint32_t events), void *arg, nqt_watch **out)
{
    int rc;

    NQTEST_COMPARE(WATCHES, fcntl(fd, F_GETFD), >=, 0);
    rc = watch_add(serial,
                   (struct nqtest_watch){
                       .fd = fd, .edge = -1, .events = events, .on_fd = fn, .arg = arg, .at = -1},
                   out);
    if (!rc && events & NQT_POLL_EDGE)
        ((struct nqtest_watch *)*out)->edge = edge_of(fd);
    return rc;
}

static struct nqtest_watch *watch_of(nqt_watch *opaque)
{
    struct nqtest_watch *watch = (struct nqtest_watch *)opaque;

    nqtest_must_be_in_serial(watch->host);
    NQTEST_MUST(WATCHES, !watch->deleted, "a watch was used after it was deleted");
    return watch;
}

static int host_fd_mod(nqt_watch *opaque, uint32_t events)
{
    struct nqtest_watch *watch = watch_of(opaque);

    NQTEST_COMPARE(WATCHES, watch->fd, >=, 0);
    watch->events = events;
    return NQT_OK;
}

static void host_watch_del(nqt_watch *opaque)
{
    struct nqtest_watch *watch = watch_of(opaque);

    if (watch->fd >= 0)
        NQTEST_MUST(WATCHES, fcntl(watch->fd, F_GETFD) >= 0,
                    "a descriptor was closed before its watch");
    if (watch->fd >= 0 && watch->edge >= 0)
        close(watch->edge);
    watch->deleted = true;
}

static int host_timer_add(nqt_serial *serial, void (*fn)(void *), void *arg, nqt_watch **out)
{
    return watch_add(serial, (struct nqtest_watch){.fd = -1, .on_timer = fn, .arg = arg, .at = -1},
                     out);
}

static void host_timer_set(nqt_watch *opaque, int64_t at_ns)
{
    struct nqtest_watch *watch = watch_of(opaque);

    NQTEST_COMPARE(WATCHES, watch->fd, <, 0);
    watch->at = at_ns;
}

void nqtest_sweep(struct nqtest_host *host)
{
    for (struct nqtest_watch **at = &host->watches; *at;) {
        struct nqtest_watch *watch = *at;

        if (watch->deleted) {
            *at = watch->next;
            free(watch);
        } else {
            at = &watch->next;
        }
    }
}

unsigned nqtest_watched(const struct nqtest_host *host)
{
    unsigned n = 0;

    for (const struct nqtest_watch *watch = host->watches; watch; watch = watch->next)
        n += !watch->deleted && watch->fd >= 0;
    return n;
}

/* ---- the table ------------------------------------------------------------------------ */

void nqtest_serve_in_general(struct nqt_host *table)
{
    table->log = host_log;
    table->mem = host_mem;
    table->buf_new = host_buf_new;
    table->now_ns = host_now;
    table->post = host_post;
    table->in_serial = host_is_in_serial;
    table->emit = host_emit;
    table->count = host_count;
    table->ext = host_ext;
    table->health = nqtest_host_health;
    table->fd_add = host_fd_add;
    table->fd_mod = host_fd_mod;
    table->fd_del = host_watch_del;
    table->timer_add = host_timer_add;
    table->timer_set = host_timer_set;
    table->timer_del = host_watch_del;
}
