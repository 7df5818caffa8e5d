/* See shm_blocks.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shm_blocks.h"

#include <stdlib.h>

#define BLOCKS_PAGE 4096u

/* Bit of a lease's block: it was on a segment that is given up, whose account the rest names. */
#define BLOCKS_LEFT (UINT32_C(1) << 31)

_Static_assert(SHM_POOL_SEGMENTS == 1u << SHM_SLOT_BITS, "a slot is the low part of a number");
_Static_assert(SHM_SEGMENT_MAX / SHM_POOL_MIN << SHM_SLOT_BITS <= BLOCKS_LEFT,
               "no block is called like an account");

static void *blocks_mem(void *arg, void *old, size_t size)
{
    (void)arg;
    if (size)
        return realloc(old, size);
    free(old);
    return NULL;
}

struct shm_blocks *shm_blocks_new(uint32_t nlease, size_t limit)
{
    struct shm_blocks *blocks = calloc(1, sizeof(*blocks) + nlease * sizeof(blocks->place[0]));

    if (!blocks)
        return NULL;
    atomic_init(&blocks->refs, 1);
    blocks->process = shm_memory_process();
    pthread_mutex_init(&blocks->lock, NULL);
    shm_pool_init(&blocks->pool, blocks_mem, NULL);
    shm_leases_init(&blocks->leases, blocks->place, nlease);
    blocks->limit = limit;
    blocks->next = SHM_SEGMENT_FIRST;
    return blocks;
}

static void blocks_unref(struct shm_blocks *blocks)
{
    if (atomic_fetch_sub_explicit(&blocks->refs, 1, memory_order_acq_rel) != 1)
        return;
    shm_pool_fini(&blocks->pool);
    for (uint32_t i = 0; i < SHM_POOL_SEGMENTS; i++)
        shm_memory_free(&blocks->segment[i].memory);
    pthread_mutex_destroy(&blocks->lock);
    free(blocks);
}

static struct shm_pool_ref blocks_ref(uint32_t name)
{
    return (struct shm_pool_ref){.segment = name & (SHM_POOL_SEGMENTS - 1),
                                 .index = name >> SHM_SLOT_BITS};
}

void shm_blocks_close(struct shm_blocks *blocks)
{
    uint32_t name;

    if (!blocks)
        return;
    pthread_mutex_lock(&blocks->lock);
    while (shm_lease_drop(&blocks->leases, &name))
        if (!(name & BLOCKS_LEFT))
            (void)shm_pool_drop(&blocks->pool, blocks_ref(name));
    pthread_mutex_unlock(&blocks->lock);
    blocks_unref(blocks);
}

/* Under lock: the slot of the next segment, as the pool takes them. */
static uint32_t blocks_slot(const struct shm_blocks *blocks)
{
    uint32_t slot = 0;

    while (slot < SHM_POOL_SEGMENTS && blocks->pool.segment[slot].size)
        slot++;
    return slot;
}

static uint32_t blocks_number(const struct shm_blocks *blocks, uint32_t slot)
{
    return blocks->segment[slot].laps << SHM_SLOT_BITS | slot;
}

/* Bytes of a segment that has one such block, in whole pages; UINT64_MAX = that is too large. */
static uint64_t blocks_need(size_t len)
{
    uint32_t kind = shm_pool_class(len);
    uint64_t need = kind == SHM_POOL_NONE ? UINT64_MAX : shm_pool_class_size(kind);

    if (need > SHM_SEGMENT_MAX)
        return UINT64_MAX;
    return (need + BLOCKS_PAGE - 1) & ~(uint64_t)(BLOCKS_PAGE - 1);
}

bool shm_blocks_fits(struct shm_blocks *blocks, size_t len)
{
    bool full;

    pthread_mutex_lock(&blocks->lock);
    full = blocks->full;
    pthread_mutex_unlock(&blocks->lock);
    return !full && blocks_need(len) <= blocks->limit;
}

/* Under lock: of the usual size, larger for a large block, or the rest of the pool; 0 = the rest
 * is too small. */
static size_t blocks_size(const struct shm_blocks *blocks, uint64_t need)
{
    size_t rest = (blocks->limit - blocks->total) & ~(size_t)(BLOCKS_PAGE - 1);

    if (need > rest)
        return 0;
    if (need > blocks->next)
        return (size_t)need;
    return blocks->next < rest ? blocks->next : rest;
}

size_t shm_blocks_grow(struct shm_blocks *blocks, size_t len)
{
    uint64_t need = blocks_need(len);
    size_t size = 0;

    pthread_mutex_lock(&blocks->lock);
    if (!blocks->full && blocks_slot(blocks) < SHM_POOL_SEGMENTS)
        size = blocks_size(blocks, need);
    pthread_mutex_unlock(&blocks->lock);
    return size;
}

bool shm_blocks_has_room(struct shm_blocks *blocks, size_t len)
{
    uint64_t need = blocks_need(len);
    bool room;

    pthread_mutex_lock(&blocks->lock);
    room = blocks_size(blocks, need) > 0;
    pthread_mutex_unlock(&blocks->lock);
    return room;
}

size_t shm_blocks_total(struct shm_blocks *blocks)
{
    size_t total;

    if (!blocks)
        return 0;
    pthread_mutex_lock(&blocks->lock);
    total = blocks->total;
    pthread_mutex_unlock(&blocks->lock);
    return total;
}

uint32_t shm_blocks_next(struct shm_blocks *blocks)
{
    uint32_t number;

    pthread_mutex_lock(&blocks->lock);
    number = blocks_number(blocks, blocks_slot(blocks));
    pthread_mutex_unlock(&blocks->lock);
    return number;
}

bool shm_blocks_add(struct shm_blocks *blocks, const struct shm_memory *memory)
{
    uint32_t slot;

    pthread_mutex_lock(&blocks->lock);
    slot = shm_pool_add(&blocks->pool, memory->len);
    if (slot != SHM_POOL_NONE) {
        blocks->segment[slot].memory = *memory;
        blocks->segment[slot].used = true;
        blocks->nsegment++;
        blocks->total += memory->len;
        if (blocks->next < SHM_SEGMENT_MAX)
            blocks->next *= 2;
    }
    blocks->full |= slot == SHM_POOL_NONE;
    pthread_mutex_unlock(&blocks->lock);
    return slot != SHM_POOL_NONE;
}

/* Under lock: where in our segments that is. */
static bool blocks_find(const struct shm_blocks *blocks, const uint8_t *at, size_t len,
                        struct shm_pool_ref *ref, uint64_t *offset)
{
    for (uint32_t i = 0; i < SHM_POOL_SEGMENTS; i++) {
        const struct shm_memory *memory = &blocks->segment[i].memory;
        uintptr_t base = (uintptr_t)memory->at, place = (uintptr_t)at;

        if (!base || place < base || place - base >= memory->len)
            continue;
        *offset = place - base;
        return shm_pool_find(&blocks->pool, i, *offset, len, ref);
    }
    return false;
}

bool shm_blocks_owns(struct shm_blocks *blocks, const void *at)
{
    struct shm_pool_ref ref;
    uint64_t offset;
    bool owns;

    pthread_mutex_lock(&blocks->lock);
    owns = blocks_find(blocks, at, 1, &ref, &offset);
    pthread_mutex_unlock(&blocks->lock);
    return owns;
}

/* ---- loans ------------------------------------------------------------------------------- */

struct blocks_loan {
    struct nqt_buf buf;
    struct iovec seg;
    _Atomic uint32_t refs;
    struct shm_blocks *blocks; /* one reference */
    struct shm_pool_ref ref;   /* one holder */
};

static void loan_ref(struct nqt_buf *buf)
{
    struct blocks_loan *loan = (struct blocks_loan *)(void *)buf;

    atomic_fetch_add_explicit(&loan->refs, 1, memory_order_relaxed);
}

static void loan_unref(struct nqt_buf *buf)
{
    struct blocks_loan *loan = (struct blocks_loan *)(void *)buf;
    struct shm_blocks *blocks = loan->blocks;

    if (blocks->process != shm_memory_process() ||
        atomic_fetch_sub_explicit(&loan->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_lock(&blocks->lock);
    (void)shm_pool_drop(&blocks->pool, loan->ref);
    pthread_mutex_unlock(&blocks->lock);
    blocks_unref(blocks);
    free(loan);
}

static const struct nqt_buf_ops loan_ops = {
    .size = sizeof(struct nqt_buf_ops), .ref = loan_ref, .unref = loan_unref};

struct nqt_buf *shm_blocks_loan(struct shm_blocks *blocks, size_t len)
{
    /* Not calloc(): that of glibc takes the lock of an arena each time. */
    struct blocks_loan *loan = malloc(sizeof(*loan));
    struct shm_pool_ref ref;
    uint8_t *at = NULL;

    if (!loan)
        return NULL;
    pthread_mutex_lock(&blocks->lock);
    if (shm_pool_alloc(&blocks->pool, len, &ref)) {
        blocks->segment[ref.segment].used = true;
        at =
            (uint8_t *)blocks->segment[ref.segment].memory.at + shm_pool_offset(&blocks->pool, ref);
    }
    pthread_mutex_unlock(&blocks->lock);
    if (!at) {
        free(loan);
        return NULL;
    }
    atomic_fetch_add_explicit(&blocks->refs, 1, memory_order_relaxed);
    *loan = (struct blocks_loan){
        .buf =
            {.size = sizeof(loan->buf), .nseg = 1, .len = len, .seg = &loan->seg, .ops = &loan_ops},
        .seg = {.iov_base = at, .iov_len = len},
        .refs = 1,
        .blocks = blocks,
        .ref = ref,
    };
    return &loan->buf;
}

/* ---- leases ------------------------------------------------------------------------------ */

bool shm_blocks_lend(struct shm_blocks *blocks, const void *at, size_t len, struct shm_block *ret)
{
    struct shm_pool_ref ref;
    struct shm_lease_id id;
    uint32_t number = 0;
    uint64_t offset;
    bool lent;

    pthread_mutex_lock(&blocks->lock);
    lent = blocks_find(blocks, at, len, &ref, &offset) &&
           shm_lease_grant(&blocks->leases, ref.index << SHM_SLOT_BITS | ref.segment, &id);
    if (lent) {
        shm_pool_hold(&blocks->pool, ref);
        blocks->segment[ref.segment].leases++;
        blocks->segment[ref.segment].moved = true;
        number = blocks_number(blocks, ref.segment);
    }
    pthread_mutex_unlock(&blocks->lock);
    if (lent)
        *ret = (struct shm_block){
            .segment = number, .lease = id.index, .nonce = id.nonce, .offset = offset, .len = len};
    return lent;
}

/* Under lock: the last lease on what was left to the peer clears its account. */
static void blocks_end_left(struct shm_blocks *blocks, struct shm_left *left)
{
    if (--left->leases)
        return;
    blocks->nabandoned--;
    blocks->abandoned -= left->len;
}

/* Under lock. */
static void blocks_end(struct shm_blocks *blocks, uint32_t name)
{
    struct shm_pool_ref ref = blocks_ref(name);

    if (name & BLOCKS_LEFT) {
        blocks_end_left(blocks, &blocks->left[name & ~BLOCKS_LEFT]);
        return;
    }
    blocks->segment[ref.segment].leases--;
    blocks->segment[ref.segment].moved = true;
    (void)shm_pool_drop(&blocks->pool, ref);
}

bool shm_blocks_end(struct shm_blocks *blocks, struct shm_lease_id id)
{
    uint32_t name;
    bool found;

    pthread_mutex_lock(&blocks->lock);
    found = shm_lease_end(&blocks->leases, id, &name);
    if (found)
        blocks_end(blocks, name);
    pthread_mutex_unlock(&blocks->lock);
    return found;
}

/* ---- giving segments up ------------------------------------------------------------------ */

bool shm_blocks_find_idle(struct shm_blocks *blocks, uint32_t *number)
{
    bool found = false;

    pthread_mutex_lock(&blocks->lock);
    for (uint32_t i = 0; i < SHM_POOL_SEGMENTS && blocks->nsegment > 1 && !found; i++) {
        const struct shm_segment *segment = &blocks->segment[i];

        found = segment->memory.at && !segment->used && !blocks->pool.segment[i].live;
        if (found)
            *number = blocks_number(blocks, i);
    }
    pthread_mutex_unlock(&blocks->lock);
    return found;
}

/* Under lock: a peer may be left as much as the pool is large, in as many pieces. */
static bool blocks_may_abandon(const struct shm_blocks *blocks, size_t len)
{
    return blocks->nabandoned < SHM_POOL_SEGMENTS && len <= blocks->limit - blocks->abandoned;
}

/* Under lock: nothing is left in it but leases that do not move. */
static bool blocks_is_kept(const struct shm_blocks *blocks, uint32_t slot)
{
    const struct shm_segment *segment = &blocks->segment[slot];

    return segment->memory.at && !segment->moved && segment->leases &&
           segment->leases == blocks->pool.segment[slot].holders;
}

int shm_blocks_find_kept(struct shm_blocks *blocks, uint32_t *number)
{
    int found = 0;

    pthread_mutex_lock(&blocks->lock);
    for (uint32_t i = 0; i < SHM_POOL_SEGMENTS && found <= 0; i++) {
        if (!blocks_is_kept(blocks, i))
            continue;
        found = blocks_may_abandon(blocks, blocks->segment[i].memory.len) ? 1 : -1;
        if (found > 0)
            *number = blocks_number(blocks, i);
    }
    pthread_mutex_unlock(&blocks->lock);
    return found;
}

bool shm_blocks_sweep(struct shm_blocks *blocks)
{
    bool used = false;

    pthread_mutex_lock(&blocks->lock);
    for (uint32_t i = 0; i < SHM_POOL_SEGMENTS; i++) {
        used |= blocks->segment[i].used;
        blocks->segment[i].used = false;
    }
    pthread_mutex_unlock(&blocks->lock);
    return used;
}

void shm_blocks_sweep_kept(struct shm_blocks *blocks)
{
    pthread_mutex_lock(&blocks->lock);
    for (uint32_t i = 0; i < SHM_POOL_SEGMENTS; i++)
        blocks->segment[i].moved = false;
    pthread_mutex_unlock(&blocks->lock);
}

/* Under lock: leases that are out on it are on nothing of ours any more, and count in an account,
 * of which one is free: blocks_may_abandon() said so. */
static void blocks_abandon(struct shm_blocks *blocks, uint32_t slot)
{
    struct shm_segment *segment = &blocks->segment[slot];
    uint32_t account = 0;

    while (blocks->left[account].leases)
        account++;
    for (uint32_t i = 0; i < blocks->leases.n; i++) {
        struct shm_lease *lease = &blocks->leases.at[i];

        if (lease->nonce && !(lease->block & BLOCKS_LEFT) &&
            blocks_ref(lease->block).segment == slot)
            lease->block = BLOCKS_LEFT | account;
    }
    blocks->left[account] = (struct shm_left){segment->memory.len, segment->leases};
    blocks->nabandoned++;
    blocks->abandoned += segment->memory.len;
    segment->leases = 0;
}

void shm_blocks_give_up(struct shm_blocks *blocks, uint32_t number, uint64_t position)
{
    uint32_t slot = number & (SHM_POOL_SEGMENTS - 1);
    struct shm_segment *segment = &blocks->segment[slot];

    pthread_mutex_lock(&blocks->lock);
    (void)shm_pool_retire(&blocks->pool, slot);
    if (segment->leases)
        blocks_abandon(blocks, slot);
    blocks->total -= segment->memory.len;
    blocks->nsegment--;
    blocks->next = SHM_SEGMENT_FIRST;
    shm_memory_free(&segment->memory);
    segment->leaving = true;
    segment->left_at = position;
    pthread_mutex_unlock(&blocks->lock);
}

void shm_blocks_taken(struct shm_blocks *blocks, uint64_t taken)
{
    pthread_mutex_lock(&blocks->lock);
    for (uint32_t i = 0; i < SHM_POOL_SEGMENTS; i++) {
        struct shm_segment *segment = &blocks->segment[i];

        if (!segment->leaving || segment->left_at >= taken)
            continue;
        shm_pool_remove(&blocks->pool, i);
        segment->leaving = false;
        segment->laps = (segment->laps + 1) & SHM_LAPS_MASK;
    }
    pthread_mutex_unlock(&blocks->lock);
}

uint32_t shm_blocks_count(struct shm_blocks *blocks)
{
    uint32_t count;

    pthread_mutex_lock(&blocks->lock);
    count = blocks->nsegment;
    pthread_mutex_unlock(&blocks->lock);
    return count;
}
