/* Memory of one side that the peer reads where it lies: the owner's half; shm_views.h is the other.
 *
 *     owner                                           reader
 *       shm_blocks_loan()   a block to fill
 *       shm_blocks_lend()   lease + BLOCK cell  --->    shm_views_find(), shm_views_new()
 *       shm_blocks_end()  <--- token ----------------   the view's last unref
 *
 * The owner's half (struct shm_blocks) has segments, the pool that cuts them, and the table of
 * leases. The reader's half (struct shm_views) has the peer's segments, mapped for reading, and the
 * release ring.  Both outlive their link, and the queue, while a block or a view of theirs is held:
 * so they are libc's memory, and what a holder calls from any thread needs nothing of the link.
 *
 * A segment's number is its slot and, above SHM_SLOT_BITS, how many the slot has had before.  Its
 * owner gives it up when it is empty (shm_retire.c says when), or when nothing is left in it but
 * leases that do not move: then the reader alone has it, until he gives them back.
 *
 * Locks: one each, a leaf.  Thread: any, if not said otherwise. */
#ifndef SHM_BLOCKS_H
#define SHM_BLOCKS_H

#include "shm_lease.h"
#include "shm_memory.h"
#include "shm_pool.h"
#include <netqueue/transport.h>
#include <pthread.h>

#define SHM_SEGMENT_FIRST ((size_t)2 << 20)
#define SHM_SEGMENT_MAX ((size_t)64 << 20)
#define SHM_SLOT_BITS 4u
#define SHM_LAPS_MASK (UINT32_MAX >> SHM_SLOT_BITS)
#define SHM_LEND_MIN 4096u /* smaller pieces are copied: that is quicker */

struct shm_segment {
    struct shm_memory memory; /* `at` NULL = there is none, or it was given up */
    uint32_t laps;            /* segments that were in this slot before */
    uint32_t leases;          /* that are out on it */
    bool used;                /* since the last sweep */
    bool moved;               /* a lease began or ended since it was asked for what is kept */
    bool leaving;             /* given up; the slot is free when the peer ... */
    uint64_t left_at;         /* ... has taken that cell */
};

/* A segment that was given up while leases on it were out: the peer has it until the last ends. */
struct shm_left {
    size_t len;
    uint32_t leases; /* still out; 0 = this account is free */
};

struct shm_blocks {
    _Atomic uint32_t refs; /* the link's, and one each loan's */
    uint32_t process;      /* whose it is: a forked child touches nothing of it */
    pthread_mutex_t lock;
    /* under lock */
    struct shm_pool pool;
    struct shm_segment segment[SHM_POOL_SEGMENTS];
    struct shm_leases leases;
    uint32_t nsegment;                       /* that are not given up */
    size_t total;                            /* bytes of those ... */
    size_t limit;                            /* ... which is the most; fixed by shm_blocks_new() */
    size_t next;                             /* bytes of the next one */
    bool full;                               /* there is never a next one */
    struct shm_left left[SHM_POOL_SEGMENTS]; /* what the peer was left ... */
    uint32_t nabandoned;                     /* ... so many of them ... */
    size_t abandoned;                        /* ... and their bytes */
    struct shm_lease place[];
};

/* @param nlease  that may be out  @param limit  bytes of all segments  @return NULL = no memory */
struct shm_blocks *shm_blocks_new(uint32_t nlease, size_t limit);

/* The link is over: all leases end; what is loaned stays until its last unref.  NULL is allowed. */
void shm_blocks_close(struct shm_blocks *blocks);

/* How large a segment for a block of `len` bytes should be; 0 = that exceeds the limit, or every
 * slot is taken. */
size_t shm_blocks_grow(struct shm_blocks *blocks, size_t len);
/* The limit leaves room for such a segment.  Its slot may come later: when the peer has taken the
 * cell that told of an earlier one. */
bool shm_blocks_has_room(struct shm_blocks *blocks, size_t len);
/* A segment for it could be added if nothing else were lent. */
bool shm_blocks_fits(struct shm_blocks *blocks, size_t len);
uint32_t shm_blocks_next(struct shm_blocks *blocks); /* the number that it will have */
/* Add it, which the peer knows already.  False: no memory for its tables: it is still the caller's,
 * and no other one can be added, ever: the peer has one of the number that it would have. */
bool shm_blocks_add(struct shm_blocks *blocks, const struct shm_memory *memory);
size_t shm_blocks_total(struct shm_blocks *blocks); /* bytes of segments; NULL has none */
/* `at` is in a block that is loaned. */
bool shm_blocks_owns(struct shm_blocks *blocks, const void *at);

/* A block of `len` writable bytes.  NULL: no segment has room, or no memory. */
struct nqt_buf *shm_blocks_loan(struct shm_blocks *blocks, size_t len);

/* Let the peer read [at, at + len), which lies in a loaned block.  False: it does not, or as many
 * leases are out as may be. */
bool shm_blocks_lend(struct shm_blocks *blocks, const void *at, size_t len, struct shm_block *ret);

/* ---- giving segments up ------------------------------------------------------------------
 *
 * Each is found, the peer is told by a cell, and then it is given up. */

/* One that is empty, was not used since the last sweep, and is not the only one. */
bool shm_blocks_find_idle(struct shm_blocks *blocks, uint32_t *number);
/* One in which nothing but leases is left, none of which has moved since the last call of
 * shm_blocks_sweep_kept().  @return 1, 0 = there is none, -1 = none of those may be left to the
 * peer, which was left too much already */
int shm_blocks_find_kept(struct shm_blocks *blocks, uint32_t *number);
/* From here on use counts as use.  @return some was used since the last time */
bool shm_blocks_sweep(struct shm_blocks *blocks);
void shm_blocks_sweep_kept(struct shm_blocks *blocks);
/* Unmap it.  Leases on it end when the peer says so, as before, but nothing becomes free by that.
 * @param position  of the cell that told the peer */
void shm_blocks_give_up(struct shm_blocks *blocks, uint32_t number, uint64_t position);
/* So many cells are taken: slots of which the peer knows are free again. */
void shm_blocks_taken(struct shm_blocks *blocks, uint64_t taken);
uint32_t shm_blocks_count(struct shm_blocks *blocks); /* segments that are not given up */

/* A lease ended, by the peer's token or because its cell was not sent.  False: there is none. */
bool shm_blocks_end(struct shm_blocks *blocks, struct shm_lease_id id);

#endif
