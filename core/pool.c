/* The pool: magazines of blocks per thread, exchanged whole with one depot per class.
 *
 *     thread's cache            depot of the class           system
 *     loaded <-> spare  <----->  full magazines     <----->  pool_system.c
 *
 * A magazine is an array of pointers, so that taking a block does not touch its memory,
 * which another processor may have written last.  Each thread has two of each class, so
 * that a run of frees after a run of allocations does not bounce on the depot: one lock
 * buys a magazine.  Blocks from POOL_BIG on have no magazines; they would be too much
 * memory in each thread, and a lock is nothing beside filling them.
 *
 * Everything is last in, first out: the block freed last is the warmest.  Every block
 * is the system's own, no slab, so that any of them can go back. */
#include "core/pool.h"

#include "core/pool_system.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define POOL_CLASSES 32                   /* 64, 128, then 192, 256, 384, ... 4 MiB */
#define POOL_SMALL 19                     /* classes below POOL_BIG: 64 B to 48 KiB */
#define POOL_TOP ((size_t)4 << 20)        /* the last class */
#define POOL_MAG_SLOTS 30                 /* a magazine is four cache lines */
#define POOL_MAG_BYTES ((size_t)32 << 10) /* what a magazine of large blocks may hold */
#define POOL_EMPTY 64
#define POOL_LIMIT ((size_t)64 << 20)

/* ---- state ------------------------------------------------------------------------------ */

struct pool_mag {
    uint32_t n, cap; /* blocks held, and at most */
    struct pool_mag *next;
    void *block[POOL_MAG_SLOTS];
};

/* The first bytes of a big block while it lies in its depot. */
struct pool_big {
    struct pool_big *next;
};

struct NQI_ALIGNED_LINE pool_depot {
    /* under mtx */
    pthread_mutex_t mtx;
    struct pool_mag *full;  /* n > 0 */
    struct pool_mag *empty; /* kept to be filled again; at most POOL_EMPTY */
    unsigned nempty;
    struct pool_big *big;
    /* atomic, relaxed: written under mtx, looked at without it to spare a useless lock */
    _Atomic size_t kept; /* bytes */
};

/* One thread's; no other thread looks at it. */
struct pool_cache {
    struct {
        struct pool_mag *loaded; /* both NULL until this thread frees one */
        struct pool_mag *spare;  /* full, or empty */
    } of[POOL_SMALL];
};

enum { POOL_NEW = 1, POOL_OFF = 2, POOL_FAILING = 4 };

/* Anything but the ordinary way: one test on the hot path for all of it. */
static _Atomic unsigned pool_odd = POOL_NEW;
static _Atomic unsigned pool_fail;
static _Atomic size_t pool_limit = POOL_LIMIT;
static _Atomic size_t pool_kept;
static pthread_once_t pool_once = PTHREAD_ONCE_INIT;
static pthread_key_t pool_key;          /* fixed by pool_init() */
static struct pool_cache pool_no_cache; /* empty: of a thread that has none yet */
static NQI_THREAD_LOCAL struct pool_cache *pool_mine = &pool_no_cache;
static struct pool_depot pool_depots[POOL_CLASSES] = {
    [0 ... POOL_CLASSES - 1] = {.mtx = PTHREAD_MUTEX_INITIALIZER}};

/* ---- classes ---------------------------------------------------------------------------- */

/* POOL_CLASSES or more: larger than the last. */
static inline unsigned pool_class(size_t len)
{
    unsigned log2;

    if (len <= 128)
        return len > 64;
    log2 = 63 - (unsigned)__builtin_clzll(len - 1);
    return 2 * log2 - 12 + (unsigned)((len - 1) >> (log2 - 1) & 1);
}

static size_t pool_class_size(unsigned class)
{
    if (class < 2)
        return (size_t)64 << class;
    return (size_t)(3 + (class & 1)) << (class / 2 + 5);
}

static uint32_t pool_mag_cap(unsigned class)
{
    size_t n = POOL_MAG_BYTES / pool_class_size(class);

    return (uint32_t)NQI_MIN(NQI_MAX(n, 2), POOL_MAG_SLOTS);
}

/* ---- depots ----------------------------------------------------------------------------- */

static void pool_count(struct pool_depot *depot, size_t more, size_t less)
{
    size_t kept = atomic_load_explicit(&depot->kept, memory_order_relaxed);

    atomic_store_explicit(&depot->kept, kept + more - less, memory_order_relaxed);
    atomic_fetch_add_explicit(&pool_kept, more - less, memory_order_relaxed);
}

/* Take a magazine with blocks, and leave the empty one (may be NULL) for those who free.
 * NULL: there is none, and `empty` stays the caller's. */
static struct pool_mag *pool_depot_take(unsigned class, struct pool_mag *empty)
{
    struct pool_depot *depot = &pool_depots[class];
    struct pool_mag *mag;

    if (!atomic_load_explicit(&depot->kept, memory_order_relaxed))
        return NULL;
    pthread_mutex_lock(&depot->mtx);
    mag = depot->full;
    if (mag) {
        depot->full = mag->next;
        pool_count(depot, 0, mag->n * pool_class_size(class));
        if (empty && depot->nempty < POOL_EMPTY) {
            empty->next = depot->empty;
            depot->empty = empty;
            depot->nempty++;
            empty = NULL;
        }
    }
    pthread_mutex_unlock(&depot->mtx);
    if (mag)
        free(empty);
    return mag;
}

static void *pool_depot_take_big(unsigned class)
{
    struct pool_depot *depot = &pool_depots[class];
    struct pool_big *big;

    if (!atomic_load_explicit(&depot->kept, memory_order_relaxed))
        return NULL;
    pthread_mutex_lock(&depot->mtx);
    big = depot->big;
    if (big) {
        depot->big = big->next;
        pool_count(depot, 0, pool_class_size(class));
    }
    pthread_mutex_unlock(&depot->mtx);
    return big;
}

/* Give one magazine or big block of `class` back to the system.  False: there is none. */
static bool pool_depot_drop(unsigned class)
{
    size_t size = pool_class_size(class);
    struct pool_mag *mag;
    void *big;

    if (class >= POOL_SMALL) {
        big = pool_depot_take_big(class);
        if (big)
            nqi_pool_system_free(big, size);
        return big;
    }
    mag = pool_depot_take(class, NULL);
    if (!mag)
        return false;
    for (uint32_t i = 0; i < mag->n; i++)
        nqi_pool_system_free(mag->block[i], size);
    free(mag);
    return true;
}

/* Get below the limit again, at the cost of the class that keeps most: what this program
 * needed once must not push out what it needs now. */
static void pool_trim(void)
{
    size_t limit = atomic_load_explicit(&pool_limit, memory_order_relaxed);

    while (atomic_load_explicit(&pool_kept, memory_order_relaxed) > limit) {
        unsigned fattest = 0;
        size_t most = 0;

        for (unsigned i = 0; i < POOL_CLASSES; i++) {
            size_t kept = atomic_load_explicit(&pool_depots[i].kept, memory_order_relaxed);

            if (kept > most) {
                most = kept;
                fattest = i;
            }
        }
        if (!pool_depot_drop(fattest))
            return; /* other threads are at it */
    }
}

static void pool_depot_give_big(unsigned class, void *block)
{
    struct pool_depot *depot = &pool_depots[class];
    struct pool_big *big = block;

    pthread_mutex_lock(&depot->mtx);
    big->next = depot->big;
    depot->big = big;
    pool_count(depot, pool_class_size(class), 0);
    pthread_mutex_unlock(&depot->mtx);
    pool_trim();
}

/* Give `mag`, n > 0, to the depot; an empty one back, if there is one. */
static struct pool_mag *pool_depot_give(unsigned class, struct pool_mag *mag)
{
    struct pool_depot *depot = &pool_depots[class];
    struct pool_mag *empty;

    pthread_mutex_lock(&depot->mtx);
    mag->next = depot->full;
    depot->full = mag;
    pool_count(depot, mag->n * pool_class_size(class), 0);
    empty = depot->empty;
    if (empty) {
        depot->empty = empty->next;
        depot->nempty--;
    }
    pthread_mutex_unlock(&depot->mtx);
    pool_trim();
    return empty;
}

/* ---- one thread's cache ----------------------------------------------------------------- */

static struct pool_mag *pool_mag_new(unsigned class)
{
    struct pool_mag *mag = aligned_alloc(NQI_CACHE_LINE, sizeof(*mag));

    if (!mag)
        return NULL;
    mag->n = 0;
    mag->cap = pool_mag_cap(class);
    return mag;
}

/* Have a cache, which is given back when the thread ends.  Again after that, too: a later
 * destructor of the same thread may use the pool. */
static bool pool_thread_begin(void)
{
    struct pool_cache *cache;

    if (pool_mine != &pool_no_cache)
        return true;
    cache = calloc(1, sizeof(*cache));
    if (!cache || pthread_setspecific(pool_key, cache) != 0) {
        free(cache);
        return false;
    }
    pool_mine = cache;
    return true;
}

static void pool_mag_return(unsigned class, struct pool_mag *mag)
{
    if (mag && mag->n)
        mag = pool_depot_give(class, mag);
    free(mag);
}

static void pool_thread_end(void *arg)
{
    struct pool_cache *cache = arg;

    pool_mine = &pool_no_cache;
    for (unsigned i = 0; i < POOL_SMALL; i++) {
        pool_mag_return(i, NQI_STEAL(cache->of[i].loaded));
        pool_mag_return(i, NQI_STEAL(cache->of[i].spare));
    }
    free(cache);
}

/* The loaded magazine has no block. */
static void *pool_refill(unsigned class)
{
    struct pool_mag *loaded = pool_mine->of[class].loaded;
    struct pool_mag *mag = pool_mine->of[class].spare;

    if (mag && mag->n) {
        pool_mine->of[class].spare = loaded;
    } else {
        if (!pool_thread_begin())
            return nqi_pool_system_alloc(pool_class_size(class));
        mag = pool_depot_take(class, loaded);
        if (!mag)
            return nqi_pool_system_alloc(pool_class_size(class));
    }
    pool_mine->of[class].loaded = mag;
    return mag->block[--mag->n];
}

/* The loaded magazine has no room. */
static void pool_spill(unsigned class, void *block)
{
    struct pool_cache *cache;
    struct pool_mag *mag = NULL;

    if (!pool_thread_begin()) {
        nqi_pool_system_free(block, pool_class_size(class));
        return;
    }
    cache = pool_mine;
    if (cache->of[class].loaded) {
        mag = cache->of[class].spare;
        if (mag && mag->n)
            mag = pool_depot_give(class, mag);
        cache->of[class].spare = cache->of[class].loaded;
    }
    if (!mag)
        mag = pool_mag_new(class);
    cache->of[class].loaded = mag;
    if (mag)
        mag->block[mag->n++] = block;
    else
        nqi_pool_system_free(block, pool_class_size(class));
}

/* ---- the ways that are not ordinary ----------------------------------------------------- */

static void pool_init(void)
{
    const char *mode = getenv("NETQUEUE_POOL");

    if (NQI_ASAN || (mode && strcmp(mode, "off") == 0) ||
        pthread_key_create(&pool_key, pool_thread_end) != 0)
        atomic_fetch_or(&pool_odd, POOL_OFF);
    atomic_fetch_and(&pool_odd, ~(unsigned)POOL_NEW);
}

static NQI_APART bool pool_off(void)
{
    pthread_once(&pool_once, pool_init);
    return atomic_load(&pool_odd) & POOL_OFF;
}

/* True: this allocation is the one that nqi_pool_fail_after() wants to fail. */
static bool pool_fails(void)
{
    unsigned left = atomic_load(&pool_fail);

    while (left && !atomic_compare_exchange_weak(&pool_fail, &left, left - 1))
        continue;
    if (left == 1)
        atomic_fetch_and(&pool_odd, ~(unsigned)POOL_FAILING);
    return left == 1;
}

/* Exactly `len` bytes, so that a tool sees the first one too many. */
static void *pool_off_alloc(size_t len)
{
    void *block;

    if (posix_memalign(&block, len >= NQI_POOL_MAPPED ? NQI_POOL_PAGE : NQI_CACHE_LINE,
                       len ? len : 1))
        return NULL;
    return block;
}

/* Nothing of this class is loaded. */
static NQI_APART void *pool_on_alloc(size_t len, unsigned class)
{
    void *big;

    if (class >= POOL_CLASSES)
        return len > SIZE_MAX - NQI_POOL_PAGE ? NULL : nqi_pool_system_alloc(nqi_pool_pages(len));
    if (class < POOL_SMALL)
        return pool_refill(class);
    big = pool_depot_take_big(class);
    return big ? big : nqi_pool_system_alloc(pool_class_size(class));
}

/* The thread's loaded magazine of `class`, or NULL. */
static inline struct pool_mag *pool_loaded(unsigned class)
{
    return NQI_LIKELY(class < POOL_SMALL) ? pool_mine->of[class].loaded : NULL;
}

static inline void *pool_take(size_t len)
{
    unsigned class = pool_class(len);
    struct pool_mag *mag = pool_loaded(class);

    return NQI_LIKELY(mag && mag->n) ? mag->block[--mag->n] : pool_on_alloc(len, class);
}

static NQI_APART void *pool_odd_alloc(size_t len)
{
    bool off = pool_off();

    if (pool_fails())
        return NULL;
    return off ? pool_off_alloc(len) : pool_take(len);
}

/* What is loaded of this class has no room. */
static NQI_APART void pool_on_free(void *block, size_t len, unsigned class)
{
    if (class >= POOL_CLASSES)
        nqi_pool_system_free(block, nqi_pool_pages(len));
    else if (class >= POOL_SMALL)
        pool_depot_give_big(class, block);
    else
        pool_spill(class, block);
}

static inline void pool_give(void *block, size_t len)
{
    unsigned class = pool_class(len);
    struct pool_mag *mag = pool_loaded(class);

    if (NQI_LIKELY(mag && mag->n < mag->cap))
        mag->block[mag->n++] = block;
    else
        pool_on_free(block, len, class);
}

/* ---- interface -------------------------------------------------------------------------- */

void *nqi_pool_alloc(size_t len)
{
    if (NQI_UNLIKELY(atomic_load_explicit(&pool_odd, memory_order_relaxed)))
        return pool_odd_alloc(len);
    return pool_take(len);
}

void nqi_pool_free(void *block, size_t len)
{
    if (!block)
        return;
    if (NQI_UNLIKELY(atomic_load_explicit(&pool_odd, memory_order_relaxed)) && pool_off())
        free(block);
    else
        pool_give(block, len);
}

size_t nqi_pool_size(size_t len)
{
    if (pool_off())
        return len;
    if (len > POOL_TOP)
        return len > SIZE_MAX - NQI_POOL_PAGE ? len : nqi_pool_pages(len);
    return pool_class_size(pool_class(len));
}

void nqi_pool_set_limit(size_t bytes)
{
    atomic_store(&pool_limit, bytes);
    pool_trim();
}

size_t nqi_pool_kept(void)
{
    return atomic_load_explicit(&pool_kept, memory_order_relaxed);
}

void nqi_pool_fail_after(unsigned n)
{
    atomic_store(&pool_fail, n);
    if (n)
        atomic_fetch_or(&pool_odd, POOL_FAILING);
    else
        atomic_fetch_and(&pool_odd, ~(unsigned)POOL_FAILING);
}
