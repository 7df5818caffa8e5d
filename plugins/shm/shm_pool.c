/* See shm_pool.h.  Blocks are never joined or split: sizes of messages repeat, and a segment that
 * became empty starts anew. */
#include "shm_pool.h"

#include <string.h>

#define POOL_PAGE 4096u
#define POOL_PAGED (64u << 10) /* blocks from this size on begin on a page */
#define POOL_ITEMS 64u         /* room for so many at first */

uint64_t shm_pool_class_size(uint32_t kind)
{
    return ((uint64_t)SHM_POOL_MIN / 4 * (4 + kind % 4)) << (kind / 4);
}

uint32_t shm_pool_class(uint64_t len)
{
    uint32_t octave;

    if (len <= SHM_POOL_MIN)
        return 0;
    if (len > shm_pool_class_size(SHM_POOL_CLASSES - 1))
        return SHM_POOL_NONE;
    /* The octave that begins below `len`, then the first of its four steps that is enough. */
    octave = 63u - (uint32_t)__builtin_clzll((len - 1) / SHM_POOL_MIN);
    for (uint32_t kind = octave * 4;; kind++)
        if (shm_pool_class_size(kind) >= len)
            return kind;
}

void shm_pool_init(struct shm_pool *pool, shm_pool_mem_fn mem, void *arg)
{
    memset(pool, 0, sizeof(*pool));
    pool->mem = mem;
    pool->arg = arg;
}

/* ---- segments ---------------------------------------------------------------------------- */

/* Nothing in it is used. */
static void segment_clear(struct shm_pool_segment *segment)
{
    segment->carved = 0;
    segment->nitem = 0;
    for (uint32_t i = 0; i < SHM_POOL_CLASSES; i++)
        segment->free[i] = SHM_POOL_NONE;
}

uint32_t shm_pool_add(struct shm_pool *pool, uint64_t size)
{
    for (uint32_t i = 0; i < SHM_POOL_SEGMENTS; i++) {
        struct shm_pool_segment *segment = &pool->segment[i];

        if (segment->size)
            continue;
        segment->item = pool->mem(pool->arg, NULL, POOL_ITEMS * sizeof(*segment->item));
        if (!segment->item)
            return SHM_POOL_NONE;
        segment->cap = POOL_ITEMS;
        segment->size = size;
        segment->live = 0;
        segment->holders = 0;
        segment->retiring = false;
        segment_clear(segment);
        return i;
    }
    return SHM_POOL_NONE;
}

bool shm_pool_retire(struct shm_pool *pool, uint32_t segment)
{
    pool->segment[segment].retiring = true;
    return !pool->segment[segment].live;
}

void shm_pool_remove(struct shm_pool *pool, uint32_t segment)
{
    pool->mem(pool->arg, pool->segment[segment].item, 0);
    pool->segment[segment].item = NULL;
    pool->segment[segment].size = 0;
}

void shm_pool_fini(struct shm_pool *pool)
{
    for (uint32_t i = 0; i < SHM_POOL_SEGMENTS; i++)
        if (pool->segment[i].size)
            shm_pool_remove(pool, i);
}

/* ---- blocks ------------------------------------------------------------------------------ */

static bool segment_reserve_item(struct shm_pool *pool, struct shm_pool_segment *segment)
{
    size_t cap = (size_t)segment->cap * 2;
    struct shm_pool_item *item;

    if (segment->nitem < segment->cap)
        return true;
    item = pool->mem(pool->arg, segment->item, cap * sizeof(*item));
    if (!item)
        return false;
    segment->item = item;
    segment->cap = (uint32_t)cap;
    return true;
}

/* A block that was never used before. */
static bool segment_carve(struct shm_pool *pool, struct shm_pool_segment *segment, uint32_t kind,
                          uint32_t *index)
{
    uint64_t size = shm_pool_class_size(kind), at = segment->carved;

    if (size >= POOL_PAGED)
        at = (at + POOL_PAGE - 1) & ~(uint64_t)(POOL_PAGE - 1);
    if (at > segment->size || size > segment->size - at || !segment_reserve_item(pool, segment))
        return false;
    segment->carved = at + size;
    segment->item[segment->nitem] =
        (struct shm_pool_item){.offset = at, .kind = (uint16_t)kind, .next = SHM_POOL_NONE};
    *index = segment->nitem++;
    return true;
}

static bool segment_alloc(struct shm_pool *pool, struct shm_pool_segment *segment, uint32_t kind,
                          uint32_t *index)
{
    if (!segment->size || segment->retiring)
        return false;
    *index = segment->free[kind];
    if (*index != SHM_POOL_NONE)
        segment->free[kind] = segment->item[*index].next;
    else if (!segment_carve(pool, segment, kind, index))
        return false;
    segment->item[*index].holders = 1;
    segment->holders++;
    segment->live++;
    return true;
}

bool shm_pool_alloc(struct shm_pool *pool, uint64_t len, struct shm_pool_ref *ret)
{
    uint32_t kind = shm_pool_class(len);
    struct shm_pool_ref ref;

    for (ref.segment = 0; kind != SHM_POOL_NONE && ref.segment < SHM_POOL_SEGMENTS; ref.segment++)
        if (segment_alloc(pool, &pool->segment[ref.segment], kind, &ref.index)) {
            *ret = ref;
            return true;
        }
    return false;
}

static struct shm_pool_item *pool_item(const struct shm_pool *pool, struct shm_pool_ref ref)
{
    return &pool->segment[ref.segment].item[ref.index];
}

void shm_pool_hold(struct shm_pool *pool, struct shm_pool_ref ref)
{
    pool_item(pool, ref)->holders++;
    pool->segment[ref.segment].holders++;
}

bool shm_pool_drop(struct shm_pool *pool, struct shm_pool_ref ref)
{
    struct shm_pool_segment *segment = &pool->segment[ref.segment];
    struct shm_pool_item *item = pool_item(pool, ref);

    segment->holders--;
    if (--item->holders)
        return false;
    item->next = segment->free[item->kind];
    segment->free[item->kind] = ref.index;
    if (--segment->live)
        return false;
    segment_clear(segment);
    return true;
}

/* Blocks are carved one behind the other, so their places are in order. */
bool shm_pool_find(const struct shm_pool *pool, uint32_t segment, uint64_t offset, uint64_t len,
                   struct shm_pool_ref *ret)
{
    const struct shm_pool_segment *in = &pool->segment[segment];
    uint32_t first = 0, n = in->nitem;
    const struct shm_pool_item *item;

    while (n > 1) { /* the last one that begins at `offset` or before it */
        if (in->item[first + n / 2].offset <= offset)
            first += n / 2;
        n -= n / 2;
    }
    if (!n)
        return false;
    item = &in->item[first];
    if (!item->holders || offset < item->offset ||
        offset - item->offset > shm_pool_class_size(item->kind) ||
        len > shm_pool_class_size(item->kind) - (offset - item->offset))
        return false;
    *ret = (struct shm_pool_ref){.segment = segment, .index = first};
    return true;
}

uint64_t shm_pool_offset(const struct shm_pool *pool, struct shm_pool_ref ref)
{
    return pool_item(pool, ref)->offset;
}

uint64_t shm_pool_size(const struct shm_pool *pool, struct shm_pool_ref ref)
{
    return shm_pool_class_size(pool_item(pool, ref)->kind);
}
