/* The peer's segments, mapped for reading, and what is read there: the reader's half of
 * shm_blocks.h.
 *
 * What is taken keeps its segment mapped, also when the peer has given that up, or the link is
 * gone.
 *
 * Lock: one, a leaf.  Thread: any for what is in a buffer, the link's serial for the rest. */
#ifndef SHM_VIEWS_H
#define SHM_VIEWS_H

#include "shm_blocks.h"

#define SHM_MAPS_MAX (2 * SHM_POOL_SEGMENTS) /* with those that the peer has given up */

/* A segment of the peer's, mapped for reading. */
struct shm_map {
    struct shm_memory memory;
    uint32_t number;
    uint32_t refs; /* under lock: its slot's, and one each lease's that is not given back */
};

struct shm_views {
    _Atomic uint32_t refs; /* the link's, and one each view's */
    uint32_t process;      /* whose it is: a forked child touches nothing of it */
    _Atomic uint64_t kept; /* bytes of leases that are not given back */
    pthread_mutex_t lock;
    /* under lock */
    bool open; /* our outbox is there */
    struct shm_token_tx tokens;
    uint32_t held; /* leases that are not given back */
    uint32_t nmap; /* also those that the peer has given up and a view needs */
    struct shm_map *map[SHM_POOL_SEGMENTS]; /* by slot */
    uint32_t laps[SHM_POOL_SEGMENTS];       /* segments that came for the slot */
};

struct shm_views *shm_views_new(const struct shm_outbox *ours); /* NULL = no memory */
/* The link is over, our outbox goes; views stay.  NULL is allowed. */
void shm_views_close(struct shm_views *views);

/* The peer's segment of that number.  False: that is not the next one of a free slot, there are too
 * many, or no memory: it is still the caller's. */
bool shm_views_add(struct shm_views *views, uint32_t number, const struct shm_memory *memory);
bool shm_views_has(struct shm_views *views, uint32_t number);
/* The peer has given it up; it is unmapped when its last view is given back. */
void shm_views_retire(struct shm_views *views, uint32_t number); /* it is there */

/* Take a lease over.  @return where the bytes are; NULL: not in that segment, or more are out than
 * can be given back */
const uint8_t *shm_views_take(struct shm_views *views, const struct shm_block *block);
/* Give it back: what was taken and is not in a buffer, while its segment is not retired. */
void shm_views_return(struct shm_views *views, const struct shm_block *block);
/* A buffer over what was taken, whose last unref gives it back.  NULL = no memory */
struct nqt_buf *shm_views_buf(struct shm_views *views, const uint8_t *at,
                              const struct shm_block *block);

#endif
