/* The nodes: queues that are opened and polled, and what the library gets from us in place of the
 * system's clock, sleep and random numbers. */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>

/* The linker leads the library's calls here. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int max, int timeout);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *when,
                           struct itimerspec *old);
int __wrap_epoll_pwait2(int fd, struct epoll_event *events, int max, const struct timespec *timeout,
                        const sigset_t *mask);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
    (void)clock;
    ts->tv_sec = sim.now / S;
    ts->tv_nsec = sim.now % S;
    return 0;
}

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags)
{
    uint8_t *at = buf;

    (void)flags;
    for (size_t i = 0; i < len; i++)
        at[i] = (uint8_t)sim_draw(256);
    return (ssize_t)len;
}

void sim_let_time_pass(int64_t most)
{
    uint64_t bytes = sim_net->bytes();

    sim.pace = bytes == sim.bytes ? NQI_MIN(sim.pace * 2, most) : 1 * MS;
    sim.bytes = bytes;
    sim.now += sim.pace;
}

/* A queue that sleeps: meanwhile the others go on, and so do faults. */
static int sleep_in(void)
{
    if (sim.step <= sim.steps && sim_chance(20))
        sim_net->cut((unsigned)sim_draw(8), sim_chance(250));
    if (!sim.depth) {
        sim.depth++;
        sim_poll_all();
        for (unsigned i = 0; i < sim.nnodes; i++)
            if (!sim.lazy || sim_chance(300))
                sim_get_one(i);
        sim.depth--;
    }
    sim_let_time_pass(16 * MS);
    return 0;
}

/* No descriptor of a queue has anything to say: the network is memory, and timers look at the
 * clock. */
int __wrap_epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
    (void)fd;
    (void)events;
    (void)max;
    return timeout ? sleep_in() : 0;
}

int __wrap_epoll_pwait2(int fd, struct epoll_event *events, int max, const struct timespec *timeout,
                        const sigset_t *mask)
{
    (void)fd;
    (void)events;
    (void)max;
    (void)timeout;
    (void)mask;
    return sleep_in();
}

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *old)
{
    (void)fd;
    (void)flags;
    (void)when;
    (void)old;
    return 0;
}

/* ---- queues ----------------------------------------------------------------------------- */

void sim_node_open(unsigned i)
{
    struct node *node = &sim.node[i];
    char json[2048], id[NQ_UUID_TEXT];
    nq_err err;

    snprintf(json, sizeof(json),
             "{\"purpose\": \"%s\", \"id\": \"%s\", \"transports\": [{\"transport\": \"simnet\", "
             "\"node\": \"%.15s\"}], \"progress\": {\"mode\": \"manual\", \"spin\": \"off\"}, "
             "\"queue\": {\"messages\": %llu, \"policy\": \"%s\"}, %.639s}",
             i ? "client" : "server", nq_uuid_format(&node->id, id), node->name,
             (unsigned long long)(i ? sim.messages : sim.server_messages), sim.policy, sim.options);
    err = nq_open_json(json, strlen(json), &node->queue);
    if (err)
        sim_broken("%s does not open: %s\n%s", node->name, nq_error(), json);
    node->life++;
    node->number = 0;
    node->asleep = false;
    sim_say("%s opens, life %u", node->name, node->life);
}

/* Nothing was corrupted but what a stranger says, or what he says in the middle of a greeting. */
static bool is_of_a_stranger(const struct nq_event *event)
{
    return strstr(event->text, "sim:intruder") || (sim.keyed && event->kind == NQ_EVENT_REFUSED);
}

void sim_node_poll(unsigned i)
{
    struct node *node = &sim.node[i];
    struct nq_event event;

    if (!node->queue || node->asleep)
        return;
    if (nq_poll(node->queue) < 0)
        sim_broken("poll: %s", nq_error());
    while (nq_event_get(node->queue, 0, &event) == NQ_OK) {
        sim.ups += event.kind == NQ_EVENT_PEER_UP;
        sim.resumed += event.kind == NQ_EVENT_PEER_RESUMED;
        sim.downs += event.kind == NQ_EVENT_PEER_DOWN;
        sim.gone += event.kind == NQ_EVENT_PEER_GONE;
        sim_note((uint64_t)event.kind << 8 | (uint64_t)event.reason);
        sim_say("%s: %s (%s) %s", node->name, nq_event_text(event.kind),
                nq_reason_text(event.reason), event.text);
        if (event.reason == NQ_REASON_PROTOCOL && !is_of_a_stranger(&event))
            sim_broken("%s: %s: %s", node->name, nq_event_text(event.kind), event.text);
    }
}

void sim_poll_all(void)
{
    for (unsigned i = 0; i < sim.nnodes; i++)
        sim_node_poll(i);
}
