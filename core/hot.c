/* Slots are few and looked at without order; the strand of each is referenced by whoever looks at
 * it, because its link may end on another thread.  The driver looks again and again: he keeps what
 * he saw, and the reference, until the slot has changed, so that a look in vain takes no lock. */
#include "core/hot.h"

#include <string.h>

void nqi_hot_init(struct nqi_hot_set *set)
{
    memset(set, 0, sizeof(*set));
    pthread_mutex_init(&set->lock, NULL);
}

void nqi_hot_fini(struct nqi_hot_set *set)
{
    assert(!nqi_hot_any(set));
    for (uint32_t i = 0; i < NQI_HOT_SLOTS; i++)
        nqi_strand_unref(set->seen[i].strand);
    pthread_mutex_destroy(&set->lock);
}

/* Under lock. */
static void hot_next_gen(struct nqi_hot_slot *slot)
{
    uint64_t gen = atomic_load_explicit(&slot->gen, memory_order_relaxed);

    atomic_store_explicit(&slot->gen, gen + 1, memory_order_relaxed);
}

void nqi_hot_touch(struct nqi_hot_set *set, struct nqi_hot *item)
{
    if (item->hot || !item->poll || !atomic_load_explicit(&set->open, memory_order_relaxed))
        return;
    pthread_mutex_lock(&set->lock);
    for (uint32_t i = 0; i < NQI_HOT_SLOTS && !item->hot; i++) {
        if (set->slots[i].item)
            continue;
        set->slots[i].item = item;
        set->slots[i].strand = nqi_strand_ref(item->strand);
        hot_next_gen(&set->slots[i]);
        item->slot = i;
        item->hot = true;
        atomic_fetch_add(&set->count, 1);
    }
    pthread_mutex_unlock(&set->lock);
    if (item->hot)
        item->arm(item->arg, 0);
}

/* Inside the item's strand. */
static void hot_leave(struct nqi_hot_set *set, struct nqi_hot *item)
{
    struct nqi_hot_slot *slot = &set->slots[item->slot];
    struct nqi_strand *strand;

    pthread_mutex_lock(&set->lock);
    strand = slot->strand;
    slot->item = NULL;
    slot->strand = NULL;
    hot_next_gen(slot);
    atomic_fetch_sub(&set->count, 1);
    pthread_mutex_unlock(&set->lock);
    item->hot = false;
    nqi_strand_unref(strand);
}

void nqi_hot_del(struct nqi_hot_set *set, struct nqi_hot *item)
{
    if (item->hot)
        hot_leave(set, item);
    item->poll = NULL;
}

/* Look at a slot.  False: it is free. */
static bool hot_look(struct nqi_hot_set *set, uint32_t i, struct nqi_hot_seen *seen)
{
    struct nqi_hot_slot *slot = &set->slots[i];

    pthread_mutex_lock(&set->lock);
    seen->item = slot->item;
    seen->strand = seen->item ? nqi_strand_ref(slot->strand) : NULL;
    seen->gen = atomic_load_explicit(&slot->gen, memory_order_relaxed);
    pthread_mutex_unlock(&set->lock);
    return seen->item;
}

/* The slot is what was seen.  An item leaves inside its strand only: there this is known for sure,
 * without the lock. */
static bool hot_still(struct nqi_hot_set *set, uint32_t i, const struct nqi_hot_seen *seen)
{
    return atomic_load_explicit(&set->slots[i].gen, memory_order_relaxed) == seen->gen;
}

/* The driver's look, kept while it holds.  False: the slot is free. */
static bool hot_look_again(struct nqi_hot_set *set, uint32_t i)
{
    struct nqi_hot_seen *seen = &set->seen[i];
    struct nqi_strand *before = seen->strand;

    if (hot_still(set, i, seen))
        return seen->item;
    hot_look(set, i, seen);
    nqi_strand_unref(before);
    return seen->item;
}

/* Inside the strand that was seen.  To go in and out takes longer than a look at memory, so one
 * stays for some, unless others want to come in or another link waits for its look. */
static bool hot_poll_one(struct nqi_hot_set *set, uint32_t i, const struct nqi_hot_seen *seen)
{
    unsigned looks =
        atomic_load_explicit(&set->count, memory_order_relaxed) == 1 ? NQI_MAX(set->looks, 1u) : 1;

    for (; looks && hot_still(set, i, seen); looks--) {
        if (seen->item->poll(seen->item->arg) > 0)
            return true;
        if (nqi_strand_is_wanted(seen->strand))
            return false;
        nqi_relax();
    }
    return false;
}

unsigned nqi_hot_poll(struct nqi_hot_set *set)
{
    /* One that comes meanwhile may be left out: there is a next time. */
    uint32_t expected = atomic_load_explicit(&set->count, memory_order_acquire);
    unsigned busy = 0;

    for (uint32_t i = 0; i < NQI_HOT_SLOTS && expected; i++) {
        const struct nqi_hot_seen *seen = &set->seen[i];
        bool received;
        unsigned left;

        if (!hot_look_again(set, i))
            continue;
        expected--;
        if (!nqi_strand_try(seen->strand))
            continue;
        received = hot_poll_one(set, i, seen);
        left = received ? nqi_strand_leave(seen->strand) : nqi_strand_leave_idle(seen->strand);
        busy += left || received;
    }
    return busy;
}

/* Inside the strand that was seen. */
static enum nqi_heat hot_cool_one(struct nqi_hot_set *set, uint32_t i,
                                  const struct nqi_hot_seen *seen)
{
    if (!hot_still(set, i, seen))
        return NQI_HEAT_NONE;
    if (seen->item->arm(seen->item->arg, 1))
        return NQI_HEAT_DATA; /* it stays hot: the next turn asks it */
    hot_leave(set, seen->item);
    return NQI_HEAT_NONE;
}

enum nqi_heat nqi_hot_cool(struct nqi_hot_set *set)
{
    enum nqi_heat worst = NQI_HEAT_NONE;

    for (uint32_t i = 0; i < NQI_HOT_SLOTS && nqi_hot_any(set); i++) {
        enum nqi_heat heat = NQI_HEAT_TAKEN;
        struct nqi_hot_seen seen;

        if (!set->slots[i].item) /* most are free: no lock for them */
            continue;
        if (!hot_look(set, i, &seen))
            continue;
        if (nqi_strand_try(seen.strand)) {
            heat = hot_cool_one(set, i, &seen);
            nqi_strand_leave(seen.strand);
        }
        nqi_strand_unref(seen.strand);
        worst = NQI_MAX(worst, heat);
    }
    return worst;
}
