/* See shm_ring.h.
 *
 * A piece goes into a cell when it fits, which is one line for the processors to move; else its
 * bytes go into the inline ring, and the cell says where.  Large sources go in pieces of a quarter
 * of that ring, so that the receiver copies one while the next is written. */
#include "shm_ring.h"

#define RING_INLINE 2u /* so many cells are as quick as one and a line of the inline ring */
#define RING_PIECES 4u /* the largest piece is that part of the inline ring */

static size_t ring_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- sender ------------------------------------------------------------------------------ */

void shm_source_take(struct shm_source *source, void *dst, size_t len)
{
    uint8_t *at = dst;

    source->left -= len;
    while (len) {
        size_t n = ring_min(source->seg->iov_len - source->off, len);

        memcpy(at, (const uint8_t *)source->seg->iov_base + source->off, n);
        at += n;
        len -= n;
        source->off += n;
        if (source->off < source->seg->iov_len)
            return;
        source->seg++;
        source->nseg--;
        source->off = 0;
    }
}

void shm_tx_init(struct shm_tx *tx, const struct shm_outbox *ours, const struct shm_outbox *peer,
                 uint64_t *ends)
{
    *tx = (struct shm_tx){
        .cells = ours->cells,
        .bytes = ours->bytes,
        .ends = ends,
        .credit = peer->credit,
        .ncell = ours->sizes.ncell,
        .nbyte = ours->sizes.nbyte,
    };
}

/* Look at the peer's credit.  False: it makes no sense. */
bool shm_tx_look(struct shm_tx *tx)
{
    uint64_t taken = shm_peer_u64(tx->credit);

    if (taken - tx->taken > tx->sent - tx->taken) /* it went back, or past what was sent */
        return false;
    if (taken != tx->taken)
        tx->byte_taken = tx->ends[(taken - 1) & (tx->ncell - 1)];
    tx->taken = taken;
    return true;
}

static bool tx_has_cell(const struct shm_tx *tx)
{
    return tx->sent - tx->taken < tx->ncell;
}

/* How much of `want` fits into the inline ring in one piece now: all, what is left before the end
 * of the ring, or nothing.  What would not go there, but does behind it, is not cut: *skip bytes
 * stay unused. */
static size_t tx_fit(const struct shm_tx *tx, size_t want, size_t *skip)
{
    size_t at = tx->byte_sent & (tx->nbyte - 1), rest = tx->nbyte - at;
    size_t room = tx->nbyte - (size_t)(tx->byte_sent - tx->byte_taken);

    *skip = 0;
    if (want <= ring_min(room, rest))
        return want;
    if (rest < want && room >= rest + want) {
        *skip = rest;
        return want;
    }
    return rest < want && rest <= room ? rest : 0;
}

static void tx_commit(struct shm_tx *tx, struct shm_cell *cell)
{
    tx->ends[tx->sent & (tx->ncell - 1)] = tx->byte_sent;
    atomic_store_explicit(&cell->commit, shm_lap(tx->sent, tx->ncell), memory_order_release);
    tx->sent++;
}

static struct shm_cell *tx_cell(const struct shm_tx *tx)
{
    return &tx->cells[tx->sent & (tx->ncell - 1)];
}

static int64_t tx_put_inline(struct shm_tx *tx, struct shm_source *source)
{
    struct shm_cell *cell = tx_cell(tx);
    size_t len = ring_min((size_t)source->left, SHM_BODY);

    cell->words.kind = SHM_INLINE;
    cell->words.zero = 0;
    cell->words.len = (uint16_t)len;
    shm_source_take(source, cell->words.body, len);
    tx_commit(tx, cell);
    return (int64_t)len;
}

static void tx_put_range(struct shm_tx *tx, struct shm_source *source, size_t len, size_t skip)
{
    struct shm_cell *cell = tx_cell(tx);
    size_t at = (tx->byte_sent + skip) & (tx->nbyte - 1);
    const struct shm_range range = {.offset = (uint32_t)at, .len = (uint32_t)len};

    shm_source_take(source, tx->bytes + at, len);
    cell->words.kind = SHM_RING;
    cell->words.zero = 0;
    cell->words.len = 0;
    memcpy(cell->words.body, &range, sizeof(range));
    tx->byte_sent += skip + ((len + SHM_LINE - 1) & ~(size_t)(SHM_LINE - 1));
    tx_commit(tx, cell);
}

static size_t tx_want(const struct shm_tx *tx, uint64_t left)
{
    return (size_t)(left < tx->nbyte / RING_PIECES ? left : tx->nbyte / RING_PIECES);
}

static bool tx_has_room(const struct shm_tx *tx, uint64_t len)
{
    size_t want = tx_want(tx, len), skip, fit;

    if (want <= RING_INLINE * SHM_BODY)
        return tx->ncell - (tx->sent - tx->taken) >= RING_INLINE;
    fit = tx_fit(tx, want, &skip);
    return tx_has_cell(tx) && (len > want ? fit > 0 : fit == want);
}

int shm_tx_room(struct shm_tx *tx, uint64_t len)
{
    if (tx_has_room(tx, len))
        return 1;
    if (!shm_tx_look(tx))
        return -1;
    return tx_has_room(tx, len);
}

int64_t shm_tx_put(struct shm_tx *tx, struct shm_source *source)
{
    size_t want = tx_want(tx, source->left), skip, len;

    if (!tx_has_cell(tx) && !shm_tx_look(tx))
        return -1;
    if (!tx_has_cell(tx))
        return 0;
    if (want <= RING_INLINE * SHM_BODY)
        return tx_put_inline(tx, source);
    len = tx_fit(tx, want, &skip);
    if (len < want) {
        if (!shm_tx_look(tx))
            return -1;
        len = tx_fit(tx, want, &skip);
    }
    if (len)
        tx_put_range(tx, source, len, skip);
    return (int64_t)len;
}

/* One segment into one cell: the shortest way. */
static void tx_put_bytes(struct shm_tx *tx, const void *data, size_t len)
{
    struct shm_cell *cell = tx_cell(tx);

    cell->words.kind = SHM_INLINE;
    cell->words.zero = 0;
    cell->words.len = (uint16_t)len;
    memcpy(cell->words.body, data, len);
    tx_commit(tx, cell);
}

/* In as many cells as that takes. */
static bool tx_put_pieces(struct shm_tx *tx, const void *data, size_t len)
{
    const struct iovec seg = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct shm_source source = {.seg = &seg, .nseg = 1, .left = len};

    if (len != tx_want(tx, len) || shm_tx_room(tx, len) <= 0)
        return false;
    while (source.left && shm_tx_put(tx, &source) > 0)
        ;
    return true;
}

bool shm_tx_put_whole(struct shm_tx *tx, const void *data, size_t len)
{
    if (len > SHM_BODY || !tx_has_cell(tx))
        return tx_put_pieces(tx, data, len);
    tx_put_bytes(tx, data, len);
    return true;
}

static bool tx_put_about(struct shm_tx *tx, enum shm_kind kind, struct shm_source *head,
                         const struct shm_block *block)
{
    struct shm_cell *cell = tx_cell(tx);

    if (!tx_has_cell(tx) && !(shm_tx_look(tx) && tx_has_cell(tx)))
        return false;
    cell->words.kind = (uint8_t)kind;
    cell->words.zero = 0;
    cell->words.len = (uint16_t)head->left;
    memcpy(cell->words.body, block, sizeof(*block));
    shm_source_take(head, cell->words.body + sizeof(*block), (size_t)head->left);
    tx_commit(tx, cell);
    return true;
}

bool shm_tx_put_block(struct shm_tx *tx, struct shm_source *head, const struct shm_block *block)
{
    return tx_put_about(tx, SHM_BLOCK, head, block);
}

bool shm_tx_put_retire(struct shm_tx *tx, uint32_t segment)
{
    const struct shm_block block = {.segment = segment};
    struct shm_source none = {.left = 0};

    return tx_put_about(tx, SHM_RETIRE, &none, &block);
}

/* ---- receiver ---------------------------------------------------------------------------- */

void shm_rx_init(struct shm_rx *rx, const struct shm_outbox *ours, const struct shm_outbox *peer)
{
    *rx = (struct shm_rx){
        .cells = peer->cells,
        .bytes = peer->bytes,
        .credit = ours->credit,
        .ncell = peer->sizes.ncell,
        .nbyte = peer->sizes.nbyte,
    };
}

static int rx_range(const struct shm_rx *rx, struct shm_piece *piece)
{
    struct shm_range range;

    memcpy(&range, piece->words.body, sizeof(range));
    if (!range.len || range.offset > rx->nbyte || range.len > rx->nbyte - range.offset)
        return -1;
    piece->len = range.len;
    piece->peer = rx->bytes + range.offset;
    return 1;
}

/* What a kind does not use is 0. */
static bool rx_block_ok(const struct shm_piece *piece)
{
    const struct shm_block *block = &piece->block;

    if (piece->kind == SHM_RETIRE &&
        (piece->head || block->lease || block->nonce || block->offset || block->len))
        return false;
    return !block->zero && piece->head <= SHM_BLOCK_HEAD;
}

/* The next cell, or NULL: it is not there. */
static inline const struct shm_cell *rx_cell(const struct shm_rx *rx)
{
    return shm_rx_is_there(rx) ? &rx->cells[rx->taken & (rx->ncell - 1)] : NULL;
}

int shm_rx_next(const struct shm_rx *rx, struct shm_piece *ret)
{
    const struct shm_cell *cell = rx_cell(rx);

    if (!cell)
        return 0;
    shm_peer_copy(&ret->words, &cell->words, sizeof(ret->words));
    ret->kind = (enum shm_kind)ret->words.kind;
    ret->len = ret->words.len;
    ret->head = 0;
    if (ret->words.zero)
        return -1;
    switch (ret->words.kind) {
    case SHM_INLINE:
        return ret->len && ret->len <= SHM_BODY ? 1 : -1;
    case SHM_RING:
        return rx_range(rx, ret);
    case SHM_BLOCK:
    case SHM_RETIRE:
        memcpy(&ret->block, ret->words.body, sizeof(ret->block));
        ret->head = ret->words.len;
        return rx_block_ok(ret) ? 1 : -1;
    default:
        return -1;
    }
}

bool shm_rx_tell(struct shm_rx *rx)
{
    if (rx->told == rx->taken)
        return false;
    atomic_store_explicit(rx->credit, rx->taken, memory_order_release);
    rx->told = rx->taken;
    rx->bytes_due = 0;
    return true;
}

/* Another cell is done with. */
static void rx_advance(struct shm_rx *rx)
{
    rx->taken++;
    if (rx->taken - rx->told >= rx->ncell / RING_PIECES || rx->bytes_due >= rx->nbyte / RING_PIECES)
        (void)shm_rx_tell(rx);
}

void shm_rx_done(struct shm_rx *rx, const struct shm_piece *piece)
{
    if (piece->kind == SHM_RING)
        rx->bytes_due += piece->len;
    rx_advance(rx);
}

/* The bytes of an INLINE cell.  All of its body is copied: that takes a few instructions when its
 * length is known to the compiler.  @return how many they are; 0 = it is not one that makes sense
 */
static size_t rx_copy_inline(const struct shm_cell *cell, uint8_t dst[SHM_BODY])
{
    struct shm_words words;

    shm_peer_copy(&words, &cell->words, offsetof(struct shm_words, body));
    if (words.kind != SHM_INLINE || words.zero || words.len > SHM_BODY)
        return 0;
    shm_peer_copy(dst, cell->words.body, SHM_BODY);
    return words.len;
}

size_t shm_rx_gather(struct shm_rx *rx, uint8_t *dst, size_t room)
{
    const struct shm_cell *cell;
    size_t total = 0, n;

    while (room - total >= SHM_BODY && (cell = rx_cell(rx))) {
        n = rx_copy_inline(cell, dst + total);
        if (!n)
            break;
        total += n;
        rx_advance(rx);
    }
    return total;
}
