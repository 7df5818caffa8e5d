/* The descriptor ring and the inline ring: a stream of bytes from one sender to one receiver.
 *
 *     source --> shm_tx_put() --> cells [+ inline bytes] --> shm_rx_next() --> piece
 *                     ^                                            |
 *                     +------------ credit: cells taken -----------+
 *
 * Pure: no system call, no clock, no allocation.  README.md has the bytes and the invariants.
 *
 *     who        writes                               reads of the other side
 *     sender     cells, inline bytes, end             credit
 *     receiver   credit                               cells, inline bytes, end
 *
 * Thread: the sender's half on one thread at a time, the receiver's half on one. */
#ifndef SHM_RING_H
#define SHM_RING_H

#include "shm_layout.h"
#include "shm_peer.h"
#include <stdbool.h>
#include <sys/uio.h>

/* ---- what is sent: bytes of several places, in order -------------------------------------- */

struct shm_source {
    const struct iovec *seg; /* borrowed */
    uint32_t nseg;           /* segments that are left, the first one from byte `off` on */
    size_t off;
    uint64_t left; /* bytes in all */
};

/* Take `len` <= left bytes out. */
void shm_source_take(struct shm_source *source, void *dst, size_t len);

/* ---- sender -------------------------------------------------------------------------------- */

struct shm_tx {
    /* fixed by shm_tx_init */
    struct shm_cell *cells;         /* ours */
    uint8_t *bytes;                 /* ours; the inline ring */
    uint64_t *ends;                 /* private, one a cell: `byte_sent` after it */
    const _Atomic uint64_t *credit; /* the peer's */
    uint32_t ncell, nbyte;          /* powers of two */

    uint64_t sent, taken;           /* cells; `taken` as last seen, <= sent */
    uint64_t byte_sent, byte_taken; /* the same in the inline ring, which wraps */
};

/* @param ends  room for ring->ncell numbers, lives as long as *tx
 * @param ours  the outbox that this side writes  @param peer  the other one */
void shm_tx_init(struct shm_tx *tx, const struct shm_outbox *ours, const struct shm_outbox *peer,
                 uint64_t *ends);

/* Is there room for a source of `len` bytes, of a large one for its beginning?
 * @return 1, 0, or negative: the peer's credit makes no sense */
int shm_tx_room(struct shm_tx *tx, uint64_t len);

/* Send one cell's worth of the source, which has something left.
 * @return how many bytes went; 0 = no room; negative: the peer's credit makes no sense */
int64_t shm_tx_put(struct shm_tx *tx, struct shm_source *source);

/* Send `len` > 0 bytes that are few beside the ring, all of them.  False: no room, or the peer's
 * credit makes no sense, as shm_tx_room() then says; nothing was sent. */
bool shm_tx_put_whole(struct shm_tx *tx, const void *data, size_t len);

/* Send a block, and before it what is left of `head`, at most SHM_BLOCK_HEAD bytes, which are taken
 * out.  False: no room, or the peer's credit makes no sense, as shm_tx_room() then says. */
bool shm_tx_put_block(struct shm_tx *tx, struct shm_source *head, const struct shm_block *block);

/* Say that no cell behind this one names that segment.  False: as above. */
bool shm_tx_put_retire(struct shm_tx *tx, uint32_t segment);

/* Look how many cells the peer is done with.  False: its credit makes no sense. */
bool shm_tx_look(struct shm_tx *tx);

/* ---- receiver ------------------------------------------------------------------------------ */

/* What one cell says, checked. */
struct shm_piece {
    struct shm_words words; /* a copy */
    enum shm_kind kind;
    uint32_t len;           /* INLINE, RING: bytes, > 0 */
    uint32_t head;          /* BLOCK: bytes in the cell that come before it; else 0 */
    const uint8_t *peer;    /* RING: where they are; shm_peer_copy() */
    struct shm_block block; /* BLOCK: not checked yet against segments; RETIRE: `segment` alone */
};

/* BLOCK: the bytes before it. */
static inline const uint8_t *shm_piece_head(const struct shm_piece *piece)
{
    return piece->words.body + sizeof(piece->block);
}

/* Copy `len` bytes of a piece, from byte `at` on; a BLOCK's begin with its head. */
static inline void shm_piece_copy(const struct shm_piece *piece, uint32_t at, void *dst, size_t len)
{
    size_t head = 0;

    if (piece->kind == SHM_INLINE) {
        memcpy(dst, piece->words.body + at, len);
        return;
    }
    if (at < piece->head) {
        head = piece->head - at < len ? piece->head - at : len;
        memcpy(dst, shm_piece_head(piece) + at, head);
    }
    if (len > head)
        shm_peer_copy((uint8_t *)dst + head, piece->peer + at + head - piece->head, len - head);
}

struct shm_rx {
    /* fixed by shm_rx_init */
    const struct shm_cell *cells; /* the peer's */
    const uint8_t *bytes;         /* the peer's */
    _Atomic uint64_t *credit;     /* ours */
    uint32_t ncell, nbyte;

    uint64_t taken, told; /* cells that are done with, and what `credit` says */
    uint64_t bytes_due;   /* of the inline ring, done with since then */
};

/* What the commit word of the cell at that position is, once the cell is there.  A shift: to divide
 * takes as long as the look itself. */
static inline uint32_t shm_lap(uint64_t position, uint32_t ncell)
{
    return (uint32_t)((position >> __builtin_ctz(ncell)) + 1);
}

/* The next cell is there. */
static inline bool shm_rx_is_there(const struct shm_rx *rx)
{
    const struct shm_cell *cell = &rx->cells[rx->taken & (rx->ncell - 1)];

    return shm_peer_u32(&cell->commit) == shm_lap(rx->taken, rx->ncell);
}

void shm_rx_init(struct shm_rx *rx, const struct shm_outbox *ours, const struct shm_outbox *peer);

/* Look at the next cell; it stays the next one until shm_rx_done().
 * @return 1 = *ret is set, 0 = nothing is there, -1 = the peer broke a rule */
int shm_rx_next(const struct shm_rx *rx, struct shm_piece *ret);

/* Take the INLINE pieces that come next, while SHM_BODY bytes of room are left.  @return bytes;
 * 0 = the next one is not there, or not of these: shm_rx_next() tells */
size_t shm_rx_gather(struct shm_rx *rx, uint8_t *dst, size_t room);

/* The bytes of that piece are not needed any more.  Tells the sender now and then. */
void shm_rx_done(struct shm_rx *rx, const struct shm_piece *piece);

/* Tell the sender.  @return false: it knew */
bool shm_rx_tell(struct shm_rx *rx);

#endif
