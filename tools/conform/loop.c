/* The loop of the hosts of one thread, and waiting in it. */
#include "tools/conform/host_in.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

_Thread_local struct nqtest_host *nqtest_hosts;

/* ---- the loop ------------------------------------------------------------------------- */

static unsigned host_run_posts(struct nqtest_host *host)
{
    struct nqtest_call *call, *next;
    unsigned n = 0;

    pthread_mutex_lock(&host->mtx);
    call = host->posts;
    host->posts = NULL;
    host->posts_tail = &host->posts;
    pthread_mutex_unlock(&host->mtx);
    for (; call; call = next, n++) {
        next = call->next;
        nqtest_enter(host, "a callback of post()");
        call->fn(call->arg);
        nqtest_leave(host);
        free(call);
    }
    return n;
}

static unsigned host_run_questions(struct nqtest_host *host)
{
    struct nqtest_call *call;
    unsigned n = 0;

    while (!host->resolve_held && (call = host->questions)) {
        host->questions = call->next;
        nqtest_enter(host, "a callback of resolve()");
        nqtest_answer(host, call);
        nqtest_leave(host);
        free(call);
        n++;
    }
    return n;
}

static unsigned host_run_timers(struct nqtest_host *host)
{
    unsigned n = 0;

    for (struct nqtest_watch *watch = host->watches; watch; watch = watch->next) {
        if (watch->deleted || watch->fd >= 0 || watch->at < 0 || watch->at > nqtest_now(host))
            continue;
        watch->at = -1;
        nqtest_enter(host, "a callback of a timer");
        watch->on_timer(watch->arg);
        nqtest_leave(host);
        n++;
    }
    return n;
}

/* What came is reported once. */
static bool took_edge(const struct nqtest_watch *watch)
{
    struct epoll_event event;

    return watch->edge < 0 || epoll_wait(watch->edge, &event, 1, 0) == 1;
}

#define HOST_POLL_MAX 512
#define TURN_MOST_MS 1000 /* that a turn counts as, however long it was */

unsigned nqtest_turn(int ms)
{
    struct pollfd pfd[HOST_POLL_MAX];
    struct nqtest_watch *watch_at[HOST_POLL_MAX];
    nfds_t n = 0;
    unsigned done = 0;

    for (struct nqtest_host *host = nqtest_hosts; host; host = host->next) {
        nqtest_sweep(host);
        watch_at[n] = NULL;
        pfd[n++] = (struct pollfd){.fd = host->wake[0], .events = POLLIN};
        if (host->questions && !host->resolve_held)
            ms = 0;
        for (struct nqtest_watch *watch = host->watches; watch; watch = watch->next) {
            if (watch->fd < 0 && watch->at >= 0 && ms > 1)
                ms = 1; /* timers are looked at, not waited for */
            if (watch->fd < 0)
                continue;
            NQTEST_COMPARE(NONE, n, <, HOST_POLL_MAX);
            watch_at[n] = watch;
            pfd[n++] = watch->edge < 0
                           ? (struct pollfd){.fd = watch->fd, .events = (short)watch->events}
                           : (struct pollfd){.fd = watch->edge, .events = POLLIN};
        }
    }
    if (poll(pfd, n, ms) < 0)
        NQTEST_COMPARE(NONE, errno, ==, EINTR);
    for (nfds_t i = 0; i < n; i++) {
        char drain[64];
        struct nqtest_watch *watch = watch_at[i];

        if (!pfd[i].revents)
            continue;
        if (!watch) {
            while (read(pfd[i].fd, drain, sizeof(drain)) > 0)
                continue;
            continue;
        }
        NQTEST_MUST(WATCHES, !(pfd[i].revents & POLLNVAL), "a watched descriptor was closed");
        if (watch->deleted || !took_edge(watch))
            continue;
        done++;
        nqtest_enter(watch->host, "a callback of a descriptor");
        watch->on_fd(watch->arg, (uint32_t)pfd[i].revents);
        nqtest_leave(watch->host);
    }
    for (struct nqtest_host *host = nqtest_hosts; host; host = host->next) {
        nqtest_handle_all(host);
        done += host_run_questions(host) + host_run_timers(host) + host_run_posts(host);
    }
    return done;
}

int64_t nqtest_clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t nqtest_patience = 20000;

static const char *_Atomic running;
const char *_Atomic *nqtest_running = &running;

/* A link waits for WRITABLE, and that is why nothing more comes. */
static bool some_link_is_stuck(void)
{
    for (const struct nqtest_host *host = nqtest_hosts; host; host = host->next)
        for (const struct nqtest_link *link = host->links; link; link = link->next)
            if (link->short_send && link->ups && !link->downs && !link->close_called)
                return true;
    return false;
}

/* Something that went down and was not closed, which may be why nothing comes; "" = none. */
static void say_what_is_down(char *ret, size_t cap)
{
    *ret = '\0';
    for (const struct nqtest_host *host = nqtest_hosts; host; host = host->next) {
        for (const struct nqtest_link *link = host->links; link; link = link->next)
            if (link->downs && !link->close_called)
                snprintf(ret, cap, "; LINK_DOWN came: %s", link->err.text);
        for (const struct nqtest_ep *ep = host->eps; ep; ep = ep->next)
            if (ep->downs && ep->plugin)
                snprintf(ret, cap, "; EP_DOWN came: %s", ep->err.text);
    }
}

bool nqtest_comes(bool (*cond)(const void *arg), const void *arg)
{
    int64_t before = nqtest_clock_ms(), left = nqtest_patience;

    while (!cond(arg)) {
        int64_t now = nqtest_clock_ms();

        /* What passes while the process is stopped does not count. */
        left -= now - before < TURN_MOST_MS ? now - before : TURN_MOST_MS;
        before = now;
        if (left <= 0)
            return false;
        nqtest_turn(5);
    }
    return true;
}

void nqtest_until_or(enum nqtest_rule rule, bool (*cond)(const void *arg), const void *arg,
                     const char *what)
{
    char down[256];

    if (nqtest_comes(cond, arg))
        return;
    say_what_is_down(down, sizeof(down));
    nqtest_broken(rule == NQTEST_RULE_BYTES && some_link_is_stuck() ? NQTEST_RULE_PRESSURE : rule,
                  __FILE__, __LINE__, "in vain waited for %s%s", what, down);
}

static const struct {
    bool (*cond)(const void *arg);
    enum nqtest_rule rule;
    const char *what;
} promises[] = {
    {nqtest_is_up, NQTEST_RULE_UP, "LINK_UP"},
    {nqtest_is_down, NQTEST_RULE_END, "LINK_DOWN"},
    {nqtest_is_closed, NQTEST_RULE_CLOSED, "LINK_CLOSED"},
    {nqtest_is_ep_up, NQTEST_RULE_OPEN, "EP_UP"},
    {nqtest_has_accepted, NQTEST_RULE_UP, "ACCEPT and LINK_UP"},
    {nqtest_has_waiting, NQTEST_RULE_UP, "ACCEPT"},
};

void nqtest_until(bool (*cond)(const void *arg), const void *arg, const char *what)
{
    enum nqtest_rule rule = NQTEST_RULE_NONE;

    for (size_t i = 0; i < sizeof(promises) / sizeof(promises[0]); i++)
        if (promises[i].cond == cond) {
            rule = promises[i].rule;
            what = promises[i].what;
        }
    nqtest_until_or(rule, cond, arg, what);
}

void nqtest_settle(int ms)
{
    int64_t start = nqtest_clock_ms(), end = start + ms;

    while (nqtest_clock_ms() < end) {
        NQTEST_MUST(NONE, end < start + 20000, "it never settles");
        if (nqtest_turn(1))
            end = nqtest_clock_ms() + ms;
    }
}

/* ---- other threads -------------------------------------------------------------------- */

struct errand {
    void (*fn)(void *arg);
    void *arg;
    struct nqtest_host *hosts;
};

static void adopt(struct nqtest_host *hosts)
{
    nqtest_hosts = hosts;
    for (struct nqtest_host *host = hosts; host; host = host->next)
        host->thread = pthread_self();
}

static void *errand_run(void *arg)
{
    struct errand *errand = arg;

    adopt(errand->hosts);
    errand->fn(errand->arg);
    errand->hosts = nqtest_hosts;
    return NULL;
}

void nqtest_on_thread(void (*fn)(void *arg), void *arg)
{
    struct errand errand = {fn, arg, nqtest_hosts};
    pthread_t thread;

    NQTEST_MUST(NONE, !pthread_create(&thread, NULL, errand_run, &errand), "no thread");
    pthread_join(thread, NULL);
    adopt(errand.hosts);
}

/* ---- time ------------------------------------------------------------------------------ */

void nqtest_advance(struct nqtest_host *host, int64_t ns)
{
    host->shift += ns;
}

void nqtest_hold_time(struct nqtest_host *host)
{
    host->shift = nqtest_now(host);
    host->held = true;
}

void nqtest_slow_time(struct nqtest_host *host)
{
    host->slow = nqtest_now(host);
}

/* ---- conditions ----------------------------------------------------------------------- */

bool nqtest_is_up(const void *link)
{
    return ((const struct nqtest_link *)link)->ups;
}

bool nqtest_is_down(const void *link)
{
    return ((const struct nqtest_link *)link)->downs;
}

bool nqtest_is_closed(const void *link)
{
    return ((const struct nqtest_link *)link)->closed;
}

bool nqtest_is_close_called(const void *link)
{
    return ((const struct nqtest_link *)link)->close_called;
}

bool nqtest_is_ep_up(const void *ep)
{
    return ((const struct nqtest_ep *)ep)->ups;
}

bool nqtest_is_ep_down(const void *ep)
{
    return ((const struct nqtest_ep *)ep)->downs;
}

bool nqtest_has_accepted(const void *ep)
{
    const struct nqtest_ep *own = ep;

    return own->naccepted && own->accepted[0]->ups;
}

bool nqtest_has_waiting(const void *ep)
{
    return ((const struct nqtest_ep *)ep)->nwaiting;
}
