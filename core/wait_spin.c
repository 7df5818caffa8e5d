/* Spin a little, then sleep.
 *
 * A sleeper costs tens of microseconds to wake on virtual machines.  Spinning for about that long
 * is worth it when what is waited for usually comes sooner: the moving average of the waits says
 * so. While it does not, 1 wait in 64 is spun to find out whether times have changed.  With one
 * processor the thread that is waited for could not run, so spinning is off, unless the user says
 * for how long: whoever gives a process a processor of its own knows where the other one runs. */
#include "core/quota.h"
#include "core/wait_room.h"

#include <sched.h>
#include <string.h>
#include <sys/resource.h>

#define SPIN_AUTO_NS (100 * NQI_NS_PER_US)
#define SPIN_PROBE 64
#define SPIN_GLANCES 4
#define SPIN_PACE_MIN 4u /* looks at hot links only, in a row */
#define SPIN_PACE_MAX 256u
#define SPIN_PACE_ROW 8u                    /* that part of them is one row */
#define SPIN_PACE_NS (8 * NQI_NS_PER_US)    /* they take at least so long, and at most four times */
#define SPIN_PAUSE_NS (100 * NQI_NS_PER_MS) /* after others wanted the processor */

static _Atomic int spin_active; /* threads of this process that spin now */
static int spin_cpus;           /* fixed by the first nqi_spin_init() */
static pthread_once_t spin_once = PTHREAD_ONCE_INIT;

static void spin_count_cpus(void)
{
    cpu_set_t set;

    spin_cpus = sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);
    spin_cpus = NQI_MIN(spin_cpus, nqi_quota_cpus(""));
}

void nqi_spin_init(struct nqi_spin *spin, int64_t spin_ns)
{
    pthread_once(&spin_once, spin_count_cpus);
    memset(spin, 0, sizeof(*spin));
    spin->adaptive = spin_ns == NQI_SPIN_AUTO;
    spin->budget = spin->adaptive ? SPIN_AUTO_NS : spin_ns;
    spin->pace = SPIN_PACE_MIN;
    if (spin->adaptive && spin_cpus < 2)
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

/* ---- looks ------------------------------------------------------------------------------ */

/* Most answers come from hot links.  Everything else (other links, timers) costs a system call: as
 * much as a look at a link that is a socket, twenty times one at memory.  So it is looked at after
 * `pace` looks at hot links, whoever waited then, and the pace follows from what they take. */
static bool spin_is_whole(struct nqi_room *room)
{
    struct nqi_spin *spin = &room->spin;

    if (nqi_hot_any(room->hot) && ++spin->looks < spin->pace)
        return false;
    spin->looks = 0;
    return true;
}

unsigned nqi_room_look(struct nqi_room *room)
{
    return nqi_room_turn(room, !spin_is_whole(room));
}

unsigned nqi_room_glance(struct nqi_room *room)
{
    const struct nqi_hot_set *hot = room->hot;
    unsigned handled = 0;

    if (!room->spin.budget)
        return 0;
    for (int i = 0; i < SPIN_GLANCES && !handled && nqi_hot_any(hot); i++)
        handled = nqi_room_look(room);
    return handled;
}

/* ---- spinning --------------------------------------------------------------------------- */

struct spin_wait {
    struct nqi_room *room;
    nqi_ready_fn ready;
    void *arg;
    bool *claimed;
    int64_t now; /* the last look at the clock */
};

/* From one look at everything to the next.  Looks that cost little come in rows. */
static void spin_keep_pace(struct spin_wait *wait)
{
    struct nqi_hot_set *hot = wait->room->hot;
    struct nqi_spin *spin = &wait->room->spin;
    int64_t before = wait->now;

    wait->now = nqi_now();
    if (!nqi_hot_any(hot))
        return;
    if (wait->now - before < SPIN_PACE_NS)
        spin->pace = NQI_MIN(spin->pace * 2, SPIN_PACE_MAX);
    else if (wait->now - before > 4 * SPIN_PACE_NS)
        spin->pace = NQI_MAX(spin->pace / 2, SPIN_PACE_MIN);
    hot->looks = spin->pace / SPIN_PACE_ROW;
}

static int64_t spin_turns(struct spin_wait *wait, int64_t until)
{
    for (;;) {
        bool whole = spin_is_whole(wait->room);

        if (nqi_room_turn(wait->room, !whole))
            return wait->now;
        if (!whole)
            continue;
        nqi_relax();
        spin_keep_pace(wait);
        /* Another thread may deliver, when it was inside the strand. */
        *wait->claimed = wait->ready(wait->arg);
        if (*wait->claimed)
            return wait->now;
        if (wait->now >= until || nqi_room_callbacks_due(wait->room))
            return 0;
    }
}

/* Most answers come in the first part, which asks the system nothing else. */
static int64_t spin_for(struct spin_wait *wait, int64_t until)
{
    int64_t found = spin_turns(wait, wait->now + (until - wait->now) / 4);
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
    struct spin_wait wait = {room, ready, arg, claimed, now};
    int64_t budget = spin_budget(&room->spin, now), found = 0;

    if (!budget)
        return 0;
    if (atomic_fetch_add(&spin_active, 1) < NQI_MAX(spin_cpus - 1, 1)) {
        nqi_hot_open(room->hot, true);
        found = spin_for(&wait, NQI_MIN(now + budget, deadline));
        nqi_hot_open(room->hot, false);
        spin_count(found ? &room->spin.paid : &room->spin.lost);
    }
    atomic_fetch_sub(&spin_active, 1);
    return found;
}
