/* Spin a little, then sleep.
 *
 * A sleeper costs tens of microseconds to wake on virtual machines.  Spinning for about that long
 * is worth it when what is waited for usually comes sooner: the moving average of the waits says
 * so. While it does not, 1 wait in 64 is spun to find out whether times have changed.  With one
 * processor the thread that is waited for could not run, so spinning is off. */
#include "core/wait_room.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define SPIN_AUTO_NS (100 * NQI_NS_PER_US)
#define SPIN_PROBE 64
#define SPIN_WHOLE 4 /* one look in so many, while links are hot, is at everything */
#define SPIN_PAUSE_NS (100 * NQI_NS_PER_MS) /* after others wanted the processor */

static _Atomic int spin_active; /* threads of this process that spin now */
static int spin_cpus;           /* fixed by the first nqi_spin_init() */
static pthread_once_t spin_once = PTHREAD_ONCE_INIT;

/* Processors that the control group's quota pays for, rounded down; a large number without one. */
static int spin_quota(void)
{
    int fd = open("/sys/fs/cgroup/cpu.max", O_RDONLY | O_CLOEXEC), cpus = 1 << 16;
    long quota, period;
    char text[64];
    ssize_t n;

    if (fd < 0)
        return cpus;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return cpus;
    text[n] = '\0';
    if (sscanf(text, "%ld %ld", &quota, &period) == 2 && period > 0)
        cpus = (int)(quota / period);
    return cpus;
}

static void spin_count_cpus(void)
{
    cpu_set_t set;

    spin_cpus = sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);
    spin_cpus = NQI_MIN(spin_cpus, spin_quota());
}

void nqi_spin_init(struct nqi_spin *spin, int64_t spin_ns)
{
    pthread_once(&spin_once, spin_count_cpus);
    memset(spin, 0, sizeof(*spin));
    spin->adaptive = spin_ns == NQI_SPIN_AUTO;
    spin->budget = spin->adaptive ? SPIN_AUTO_NS : spin_ns;
    if (spin_cpus < 2)
        spin->budget = 0;
}

static int64_t spin_budget(struct nqi_spin *spin, int64_t now)
{
    if (!spin->adaptive)
        return spin->budget;
    if (now < spin->off_until)
        return 0;
    if (spin->gap <= spin->budget)
        return spin->budget;
    spin->probe = ++spin->refused >= SPIN_PROBE;
    if (!spin->probe)
        return 0;
    spin->refused = 0;
    return spin->budget;
}

void nqi_spin_learn(struct nqi_spin *spin, int64_t start, int64_t end)
{
    /* Long waits count as a few budgets, so that one pause does not outweigh many quick answers. */
    int64_t gap = NQI_MIN(end - start, 4 * spin->budget);

    /* Two peers that sleep both measure each other's wake-ups as well.  So a probe that pays counts
     * alone: from now on both may find that the answer itself is quick. */
    if (spin->probe && gap <= spin->budget)
        spin->gap = gap;
    else
        spin->gap += (gap - spin->gap) / 8;
    spin->probe = false;
}

static void spin_count(_Atomic uint64_t *count)
{
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

static long spin_preemptions(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_THREAD, &usage) ? 0 : usage.ru_nivcsw;
}

struct spin_wait {
    struct nqi_room *room;
    nqi_ready_fn ready;
    void *arg;
    bool *claimed;
    unsigned look;
};

static int64_t spin_turns(struct spin_wait *wait, int64_t until)
{
    struct nqi_hot_set *hot = nqi_loop_hot(wait->room->loop);

    for (;;) {
        /* Most answers come from hot links.  Everything else (other links, timers, the clock) is
         * looked at now and then: each costs as much as a hot link. */
        bool whole = !nqi_hot_any(hot) || ++wait->look % SPIN_WHOLE == 0;
        int64_t now;

        if (nqi_room_turn(wait->room, !whole))
            return nqi_now();
        if (!whole)
            continue;
        nqi_relax();
        now = nqi_now();
        /* Another thread may deliver, when it was inside the strand. */
        *wait->claimed = wait->ready(wait->arg);
        if (*wait->claimed)
            return now;
        if (now >= until || nqi_room_callbacks_due(wait->room))
            return 0;
    }
}

/* Most answers come in the first part, which asks the system nothing else. */
static int64_t spin_for(struct spin_wait *wait, int64_t now, int64_t until)
{
    int64_t found = spin_turns(wait, now + (until - now) / 4);
    long before;

    if (found)
        return found;
    before = spin_preemptions();
    found = spin_turns(wait, until);
    if (!found && spin_preemptions() != before)
        wait->room->spin.off_until = until + SPIN_PAUSE_NS;
    return found;
}

int64_t nqi_room_spin(struct nqi_room *room, nqi_ready_fn ready, void *arg, int64_t now,
                      int64_t deadline, bool *claimed)
{
    struct spin_wait wait = {room, ready, arg, claimed, 0};
    int64_t budget = spin_budget(&room->spin, now), found = 0;

    if (!budget)
        return 0;
    if (atomic_fetch_add(&spin_active, 1) < spin_cpus - 1) {
        nqi_hot_open(nqi_loop_hot(room->loop), true);
        found = spin_for(&wait, now, NQI_MIN(now + budget, deadline));
        nqi_hot_open(nqi_loop_hot(room->loop), false);
        spin_count(found ? &room->spin.paid : &room->spin.lost);
    }
    atomic_fetch_sub(&spin_active, 1);
    return found;
}
