/* The bytes of an outbox, as README.md has them: both sides must agree. */
#ifndef SHM_LAYOUT_H
#define SHM_LAYOUT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHM_VERSION 1u

#ifndef SHM_CELL
#define SHM_CELL 64u /* by measurement, see README.md; the benchmark tries others */
#endif
#define SHM_CELL_HEAD 8u
#define SHM_BODY (SHM_CELL - SHM_CELL_HEAD)
#define SHM_TOKEN 16u
#define SHM_LINE 64u /* pieces in the inline ring begin on lines */

#define SHM_AT_CREDIT 0u
#define SHM_AT_WAIT 128u
#define SHM_AT_END 256u
#define SHM_AT_CELLS 512u

#define SHM_CELLS_MIN 8u
#define SHM_CELLS_MAX 65536u
#define SHM_TOKENS_MIN 8u
#define SHM_TOKENS_MAX 65536u
#define SHM_BYTES_MIN 1024u
#define SHM_BYTES_MAX (64u << 20)

#define SHM_ASLEEP UINT64_C(1) /* bits of the wait word */
#define SHM_WANTS_ROOM UINT64_C(2)
#define SHM_HEARS_BELL UINT64_C(4)
#define SHM_EPOCH_SHIFT 3 /* above them: how many sleeps there were */

enum shm_kind { SHM_INLINE = 1, SHM_RING = 2, SHM_BLOCK = 3, SHM_RETIRE = 4 };

/* A cell without its commit word. */
struct shm_words {
    uint8_t kind, zero;
    uint16_t len;
    uint8_t body[SHM_BODY];
};

struct shm_cell {
    _Atomic uint32_t commit;
    struct shm_words words;
};

struct shm_token_words {
    uint32_t lease, nonce, zero;
};

struct shm_token {
    _Atomic uint32_t commit;
    struct shm_token_words words;
};

/* The body of a RING cell. */
struct shm_range {
    uint32_t offset, len;
};

/* The body of a BLOCK cell, behind which are the bytes of the stream that come before the block. */
struct shm_block {
    uint32_t segment, lease, nonce, zero;
    uint64_t offset, len;
};

#define SHM_BLOCK_HEAD (SHM_BODY - sizeof(struct shm_block)) /* so many at most */

_Static_assert(sizeof(struct shm_cell) == SHM_CELL, "a cell is a whole number of lines");
_Static_assert(sizeof(struct shm_token) == SHM_TOKEN, "tokens do not straddle lines");
_Static_assert(sizeof(struct shm_block) <= SHM_BODY, "a block's place fits a cell");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LONG_LOCK_FREE == 2 && sizeof(long) == 8,
               "words in shared memory need no lock");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers lie there as they are");

/* How large the parts are.  As it travels. */
struct shm_sizes {
    uint32_t ncell, ntoken, nbyte; /* powers of two */
};

static inline bool shm_is_size(uint32_t value, uint32_t min, uint32_t max)
{
    return value >= min && value <= max && !(value & (value - 1));
}

static inline bool shm_sizes_ok(const struct shm_sizes *sizes)
{
    return shm_is_size(sizes->ncell, SHM_CELLS_MIN, SHM_CELLS_MAX) &&
           shm_is_size(sizes->ntoken, SHM_TOKENS_MIN, SHM_TOKENS_MAX) &&
           shm_is_size(sizes->nbyte, SHM_BYTES_MIN, SHM_BYTES_MAX);
}

/* Bytes of the whole outbox, without rounding to pages.  `sizes` is checked. */
static inline size_t shm_outbox_size(const struct shm_sizes *sizes)
{
    return SHM_AT_CELLS + (size_t)sizes->ncell * SHM_CELL + (size_t)sizes->ntoken * SHM_TOKEN +
           sizes->nbyte;
}

/* Where the parts of one outbox lie in this process.  Of a peer's, nothing may be written (the
 * kernel sees to it), and everything is read through shm_peer.h. */
struct shm_outbox {
    struct shm_sizes sizes;
    _Atomic uint64_t *credit, *wait, *end;
    struct shm_cell *cells;
    struct shm_token *tokens;
    uint8_t *bytes;
};

/* `at` begins on a page and has shm_outbox_size() bytes. */
static inline struct shm_outbox shm_outbox_at(void *at, const struct shm_sizes *sizes)
{
    uint8_t *base = at;
    uint8_t *tokens = base + SHM_AT_CELLS + (size_t)sizes->ncell * SHM_CELL;

    return (struct shm_outbox){
        .sizes = *sizes,
        .credit = (_Atomic uint64_t *)(void *)(base + SHM_AT_CREDIT),
        .end = (_Atomic uint64_t *)(void *)(base + SHM_AT_END),
        .wait = (_Atomic uint64_t *)(void *)(base + SHM_AT_WAIT),
        .cells = (struct shm_cell *)(void *)(base + SHM_AT_CELLS),
        .tokens = (struct shm_token *)(void *)tokens,
        .bytes = tokens + (size_t)sizes->ntoken * SHM_TOKEN,
    };
}

#endif
