/* Blocks of memory in segments that one side owns: who may have which bytes.
 *
 * All of it is private: the segments hold nothing but the payload of messages, so whoever can read
 * or write them can mislead nothing here.
 *
 *     segment   one memfd; blocks are carved from it in order, and when none of
 *               them is used any more it is empty again
 *     block     bytes of one size class: four classes an octave from 4 KiB on,
 *               so at most a fifth is unused; on a line, from 64 KiB on a page
 *     holder    whoever still needs the block: the program that fills it, each
 *               lease
 *
 * A free block waits in its segment's list of its class, the last one freed first, which the cache
 * still has.  A message larger than the largest class fits no segment: it is not for here.
 *
 * Pure: memory for the tables comes from the caller.  Thread: one at a time. */
#ifndef SHM_POOL_H
#define SHM_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHM_POOL_SEGMENTS 16u
#define SHM_POOL_MIN 4096u /* bytes of the smallest block */
#define SHM_POOL_CLASSES 80u
#define SHM_POOL_NONE UINT32_MAX

/* Four classes an octave: 4, 5, 6, 7, 8, 10, 12, ... KiB.  @return SHM_POOL_NONE: too large */
uint32_t shm_pool_class(uint64_t len);
uint64_t shm_pool_class_size(uint32_t kind);

/* As realloc(); size 0 frees. */
typedef void *(*shm_pool_mem_fn)(void *arg, void *old, size_t size);

struct shm_pool_item {
    uint64_t offset;
    uint32_t holders; /* 0 = free */
    uint16_t kind;    /* its size class */
    uint32_t next;    /* free: in the class's list; SHM_POOL_NONE = the last */
};

struct shm_pool_segment {
    uint64_t size;   /* 0 = there is none in this slot */
    uint64_t carved; /* bytes */
    uint32_t nitem, cap, live;
    uint32_t holders; /* of all its blocks */
    bool retiring;    /* nothing is allocated from it any more */
    struct shm_pool_item *item;
    uint32_t free[SHM_POOL_CLASSES]; /* heads of the lists */
};

struct shm_pool {
    shm_pool_mem_fn mem;
    void *arg;
    struct shm_pool_segment segment[SHM_POOL_SEGMENTS];
};

/* A block by name; `index` counts within its segment. */
struct shm_pool_ref {
    uint32_t segment, index;
};

void shm_pool_init(struct shm_pool *pool, shm_pool_mem_fn mem, void *arg);
void shm_pool_fini(struct shm_pool *pool); /* blocks that are held are forgotten */

/* A new segment of `size` bytes.  @return its slot, SHM_POOL_NONE: no slot or no memory */
uint32_t shm_pool_add(struct shm_pool *pool, uint64_t size);

/* Allocate nothing from it any more.  @return true: it is empty, shm_pool_remove() may follow */
bool shm_pool_retire(struct shm_pool *pool, uint32_t segment);
/* It is empty, or whoever holds its blocks never says so. */
void shm_pool_remove(struct shm_pool *pool, uint32_t segment);

/* A block of at least `len` bytes with one holder.  False: no segment has one, or no memory. */
bool shm_pool_alloc(struct shm_pool *pool, uint64_t len, struct shm_pool_ref *ret);
void shm_pool_hold(struct shm_pool *pool, struct shm_pool_ref ref);
/* One holder less.  @return true: the segment became empty */
bool shm_pool_drop(struct shm_pool *pool, struct shm_pool_ref ref);

/* The held block that has all of [offset, offset + len) of a segment.  False: there is none. */
bool shm_pool_find(const struct shm_pool *pool, uint32_t segment, uint64_t offset, uint64_t len,
                   struct shm_pool_ref *ret);

uint64_t shm_pool_offset(const struct shm_pool *pool, struct shm_pool_ref ref);
uint64_t shm_pool_size(const struct shm_pool *pool, struct shm_pool_ref ref); /* of its class */

#endif
