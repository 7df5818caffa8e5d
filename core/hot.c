/* Slots are few and looked at without order; the strand of each is referenced during a look,
 * because its link may end on another thread. */
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

/* What a look at a slot found. */
struct hot_seen {
    struct nqi_hot *item;
    struct nqi_strand *strand; /* one reference */
    uint64_t gen;
};

static bool hot_look(struct nqi_hot_set *set, uint32_t i, struct hot_seen *seen)
{
    struct nqi_hot_slot *slot = &set->slots[i];

    if (!slot->item) /* most are free: no lock for them */
        return false;
    pthread_mutex_lock(&set->lock);
    seen->item = slot->item;
    if (seen->item) {
        seen->strand = nqi_strand_ref(slot->strand);
        seen->gen = atomic_load_explicit(&slot->gen, memory_order_relaxed);
    }
    pthread_mutex_unlock(&set->lock);
    return seen->item;
}

/* Inside the strand that was seen: the item is still the slot's.  It leaves inside this strand
 * only, so whether it did is known here without the lock. */
static bool hot_still(struct nqi_hot_set *set, uint32_t i, const struct hot_seen *seen)
{
    return atomic_load_explicit(&set->slots[i].gen, memory_order_relaxed) == seen->gen;
}

unsigned nqi_hot_poll(struct nqi_hot_set *set)
{
    unsigned busy = 0;

    for (uint32_t i = 0; i < NQI_HOT_SLOTS && nqi_hot_any(set); i++) {
        struct hot_seen seen;

        if (!hot_look(set, i, &seen))
            continue;
        if (nqi_strand_try(seen.strand)) {
            bool received = hot_still(set, i, &seen) && seen.item->poll(seen.item->arg) > 0;
            unsigned left =
                received ? nqi_strand_leave(seen.strand) : nqi_strand_leave_idle(seen.strand);

            busy += left || received;
        }
        nqi_strand_unref(seen.strand);
    }
    return busy;
}

/* Inside the strand that was seen. */
static enum nqi_heat hot_cool_one(struct nqi_hot_set *set, uint32_t i, const struct hot_seen *seen)
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
        struct hot_seen seen;

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
