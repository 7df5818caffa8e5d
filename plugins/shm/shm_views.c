/* See shm_views.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shm_views.h"

#include <stdlib.h>

struct shm_views *shm_views_new(const struct shm_outbox *ours)
{
    struct shm_views *views = calloc(1, sizeof(*views));

    if (!views)
        return NULL;
    atomic_init(&views->refs, 1);
    views->process = shm_memory_process();
    pthread_mutex_init(&views->lock, NULL);
    views->open = true;
    shm_token_tx_init(&views->tokens, ours);
    return views;
}

/* Under lock.  The one who gives back last unmaps. */
static void map_unref(struct shm_views *views, struct shm_map *map)
{
    if (--map->refs)
        return;
    shm_memory_free(&map->memory);
    free(map);
    views->nmap--;
}

static void views_unref(struct shm_views *views)
{
    if (atomic_fetch_sub_explicit(&views->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&views->lock);
    free(views);
}

void shm_views_close(struct shm_views *views)
{
    if (!views)
        return;
    pthread_mutex_lock(&views->lock);
    views->open = false;
    for (uint32_t i = 0; i < SHM_POOL_SEGMENTS; i++)
        if (views->map[i])
            map_unref(views, views->map[i]);
    pthread_mutex_unlock(&views->lock);
    views_unref(views);
}

/* In the link's serial, where slots change; NULL = none. */
static struct shm_map *views_map(const struct shm_views *views, uint32_t number)
{
    struct shm_map *map = views->map[number & (SHM_POOL_SEGMENTS - 1)];

    return map && map->number == number ? map : NULL;
}

bool shm_views_has(struct shm_views *views, uint32_t number)
{
    return views_map(views, number) != NULL;
}

bool shm_views_add(struct shm_views *views, uint32_t number, const struct shm_memory *memory)
{
    struct shm_map **slot = &views->map[number & (SHM_POOL_SEGMENTS - 1)];
    uint32_t *laps = &views->laps[number & (SHM_POOL_SEGMENTS - 1)];
    struct shm_map *map = NULL;

    if (!*slot && number >> SHM_SLOT_BITS == *laps)
        map = malloc(sizeof(*map));
    if (!map)
        return false;
    *map = (struct shm_map){.memory = *memory, .number = number, .refs = 1};
    pthread_mutex_lock(&views->lock);
    if (views->nmap < SHM_MAPS_MAX) {
        views->nmap++;
        *slot = map;
        *laps = (*laps + 1) & SHM_LAPS_MASK;
    }
    pthread_mutex_unlock(&views->lock);
    if (*slot)
        return true;
    free(map);
    return false;
}

void shm_views_retire(struct shm_views *views, uint32_t number)
{
    struct shm_map *map = views_map(views, number);

    pthread_mutex_lock(&views->lock);
    views->map[number & (SHM_POOL_SEGMENTS - 1)] = NULL;
    map_unref(views, map);
    pthread_mutex_unlock(&views->lock);
}

const uint8_t *shm_views_take(struct shm_views *views, const struct shm_block *block)
{
    struct shm_map *map = views_map(views, block->segment);
    const uint8_t *at = NULL;

    pthread_mutex_lock(&views->lock);
    if (map && block->len && block->len <= UINT32_MAX && block->offset <= map->memory.len &&
        block->len <= map->memory.len - block->offset && views->held < views->tokens.n) {
        at = (const uint8_t *)map->memory.at + block->offset;
        map->refs++;
        views->held++;
        atomic_fetch_add_explicit(&views->kept, block->len, memory_order_relaxed);
    }
    pthread_mutex_unlock(&views->lock);
    return at;
}

/* The map first: once the owner has the token it may give the segment up, and that is counted. */
static void views_return(struct shm_views *views, struct shm_map *map, struct shm_lease_id id,
                         uint64_t len)
{
    pthread_mutex_lock(&views->lock);
    views->held--;
    atomic_fetch_sub_explicit(&views->kept, len, memory_order_relaxed);
    map_unref(views, map);
    if (views->open)
        shm_token_put(&views->tokens, id);
    pthread_mutex_unlock(&views->lock);
}

static struct shm_lease_id views_lease(const struct shm_block *block)
{
    return (struct shm_lease_id){.index = block->lease, .nonce = block->nonce};
}

void shm_views_return(struct shm_views *views, const struct shm_block *block)
{
    views_return(views, views_map(views, block->segment), views_lease(block), block->len);
}

struct views_buf {
    struct nqt_buf buf;
    struct iovec seg;
    _Atomic uint32_t refs;
    struct shm_views *views; /* one reference */
    struct shm_map *map;     /* one reference */
    struct shm_lease_id id;
};

static void view_ref(struct nqt_buf *buf)
{
    struct views_buf *view = (struct views_buf *)(void *)buf;

    atomic_fetch_add_explicit(&view->refs, 1, memory_order_relaxed);
}

static void view_unref(struct nqt_buf *buf)
{
    struct views_buf *view = (struct views_buf *)(void *)buf;

    if (view->views->process != shm_memory_process() ||
        atomic_fetch_sub_explicit(&view->refs, 1, memory_order_acq_rel) != 1)
        return;
    views_return(view->views, view->map, view->id, view->buf.len);
    views_unref(view->views);
    free(view);
}

static const struct nqt_buf_ops view_ops = {
    .size = sizeof(struct nqt_buf_ops), .ref = view_ref, .unref = view_unref};

struct nqt_buf *shm_views_buf(struct shm_views *views, const uint8_t *at,
                              const struct shm_block *block)
{
    /* Not calloc(): that of glibc takes the lock of an arena each time. */
    struct views_buf *view = malloc(sizeof(*view));

    if (!view)
        return NULL;
    atomic_fetch_add_explicit(&views->refs, 1, memory_order_relaxed);
    *view = (struct views_buf){
        .buf = {.size = sizeof(view->buf),
                .nseg = 1,
                .len = block->len,
                .seg = &view->seg,
                .ops = &view_ops},
        .seg = {.iov_base = (void *)(uintptr_t)at, .iov_len = (size_t)block->len},
        .refs = 1,
        .views = views,
        .map = views_map(views, block->segment),
        .id = views_lease(block),
    };
    return &view->buf;
}
