/* The rings of shm against a peer that writes anything into its outbox, at any time, also between
 * two looks of ours at the same word.
 *
 *     byte 0     sizes: bits 0-1 cells, 2-3 bytes of the inline ring
 *     then       operations: a byte, and what it needs (enum below)
 *
 * This side sends and receives.  Whatever the peer writes, no byte outside of the two outboxes is
 * touched (each has exactly the memory that it takes), what a cell says was checked on the copy
 * that is used, and the sender never has more under way than there are cells. */
#include "plugins/shm/shm_ring.h"
#include "tests/fuzz/fuzz.h"

#define SEND_MOST 5000u
#define SEGS 5u

enum {
    OP_WRITE,  /* u16 place, u8 length, bytes: into the peer's outbox */
    OP_CELL,   /* u8 kind, u16, u16: the next cell, as a peer that keeps the rules writes it */
    OP_CREDIT, /* u8: so many cells more are done with */
    OP_MUTATE, /* u8 n, u8 bits: the n-th read from now is followed by a change of what was read */
    OP_SEND,   /* u16 bytes */
    OP_BLOCK,  /* send a block */
    OP_RECEIVE,
    OP_TELL,
    OPS
};

void (*shm_peer_mutate)(const void *at, size_t len);

struct ring_fuzz {
    struct nqi_buf in;
    struct shm_sizes sizes;
    uint8_t *mem[2]; /* ours, theirs */
    struct shm_outbox ours, theirs;
    uint64_t *ends;
    struct shm_tx tx;
    struct shm_rx rx;
    uint64_t cells; /* that the peer sent by the rules */
    unsigned mutate_in;
    uint8_t mutate_bits;
    bool over; /* the peer broke a rule, and was caught */
};

static struct ring_fuzz ring;

/* What was just read changes behind the reader's back. */
static void ring_mutate(const void *at, size_t len)
{
    uint8_t *byte = ring.mem[1] + ((const uint8_t *)at - ring.mem[1]);

    MUST(byte >= ring.mem[1] && byte + len <= ring.mem[1] + shm_outbox_size(&ring.sizes));
    if (!ring.mutate_in || --ring.mutate_in)
        return;
    for (size_t i = 0; i < len; i++)
        byte[i] ^= ring.mutate_bits;
}

static struct shm_outbox ring_outbox(uint8_t **mem)
{
    size_t size = shm_outbox_size(&ring.sizes);

    *mem = aligned_alloc(4096, (size + 4095) & ~(size_t)4095);
    MUST(*mem);
    memset(*mem, 0, size);
    return shm_outbox_at(*mem, &ring.sizes);
}

static void ring_open(uint8_t how)
{
    ring.sizes = (struct shm_sizes){.ncell = SHM_CELLS_MIN << (how & 3),
                                    .ntoken = SHM_TOKENS_MIN,
                                    .nbyte = SHM_BYTES_MIN << (how >> 2 & 3)};
    MUST(shm_sizes_ok(&ring.sizes));
    ring.ours = ring_outbox(&ring.mem[0]);
    ring.theirs = ring_outbox(&ring.mem[1]);
    ring.ends = calloc(ring.sizes.ncell, sizeof(*ring.ends));
    MUST(ring.ends);
    shm_tx_init(&ring.tx, &ring.ours, &ring.theirs, ring.ends);
    shm_rx_init(&ring.rx, &ring.ours, &ring.theirs);
    shm_peer_mutate = ring_mutate;
}

static void ring_close(void)
{
    shm_peer_mutate = NULL;
    free(ring.mem[0]);
    free(ring.mem[1]);
    free(ring.ends);
}

/* ---- what the peer does ---- */

static void ring_write(void)
{
    size_t at = nqi_buf_u16(&ring.in), len = nqi_buf_u8(&ring.in);
    size_t size = shm_outbox_size(&ring.sizes);

    at %= size;
    len = NQI_MIN(NQI_MIN(len, size - at), nqi_buf_left(&ring.in));
    if (len)
        memcpy(ring.mem[1] + at, nqi_buf_span(&ring.in, len), len);
}

static void ring_cell(void)
{
    struct shm_cell *cell = &ring.theirs.cells[ring.cells & (ring.sizes.ncell - 1)];
    uint8_t kind = nqi_buf_u8(&ring.in);
    uint16_t a = nqi_buf_u16(&ring.in), b = nqi_buf_u16(&ring.in);

    if (ring.cells - atomic_load(ring.ours.credit) >= ring.sizes.ncell)
        return;
    cell->words = (struct shm_words){.kind = kind % 5};
    if (cell->words.kind == SHM_INLINE)
        cell->words.len = a % (SHM_BODY + 2);
    else if (cell->words.kind == SHM_RING)
        memcpy(cell->words.body, &(struct shm_range){.offset = a, .len = b},
               sizeof(struct shm_range));
    else
        memcpy(cell->words.body, &(struct shm_block){.lease = a, .len = b},
               sizeof(struct shm_block));
    atomic_store(&cell->commit, (uint32_t)(ring.cells / ring.sizes.ncell + 1));
    ring.cells++;
}

static void ring_credit(void)
{
    uint64_t credit = atomic_load(ring.theirs.credit);

    atomic_store(ring.theirs.credit, credit + nqi_buf_u8(&ring.in));
}

/* ---- what this side does ---- */

static void ring_check_tx(void)
{
    const struct shm_tx *tx = &ring.tx;

    MUST(tx->taken <= tx->sent && tx->sent - tx->taken <= tx->ncell);
    MUST(tx->byte_taken <= tx->byte_sent && tx->byte_sent - tx->byte_taken <= tx->nbyte);
}

static void ring_send(void)
{
    size_t len = nqi_buf_u16(&ring.in) % SEND_MOST + SEGS, part = len / SEGS;
    struct iovec iov[SEGS];
    struct shm_source source = {.seg = iov, .nseg = SEGS, .left = len};
    uint8_t *bytes = calloc(1, len);
    int64_t n = 1;

    MUST(bytes);
    for (size_t i = 0; i < SEGS; i++)
        iov[i] = (struct iovec){bytes + i * part, i + 1 < SEGS ? part : len - i * part};
    while (source.left && n > 0) {
        int room = shm_tx_room(&ring.tx, source.left);
        uint64_t before = source.left;

        n = shm_tx_put(&ring.tx, &source);
        MUST(n < 0 || source.left == before - (uint64_t)n);
        MUST(room <= 0 || n != 0);
        ring_check_tx();
    }
    ring.over |= n < 0;
    free(bytes);
}

static void ring_send_block(void)
{
    static const uint8_t bytes[SHM_BLOCK_HEAD];
    const struct iovec seg = {(void *)(uintptr_t)bytes, sizeof(bytes)};
    struct shm_source head = {.seg = &seg, .nseg = 1, .left = ring.tx.sent % (sizeof(bytes) + 1)};

    (void)shm_tx_put_block(&ring.tx, &head, &(struct shm_block){.len = 1});
    ring_check_tx();
}

static void ring_receive(void)
{
    struct shm_piece piece;
    int rc = shm_rx_next(&ring.rx, &piece);

    ring.over |= rc < 0;
    if (rc <= 0)
        return;
    if (piece.kind == SHM_INLINE || piece.kind == SHM_RING) {
        uint8_t *bytes;

        MUST(piece.len && piece.len <= NQI_MAX(ring.sizes.nbyte, SHM_BODY));
        bytes = malloc(piece.len);
        MUST(bytes);
        shm_piece_copy(&piece, 0, bytes, piece.len / 2);
        shm_piece_copy(&piece, piece.len / 2, bytes + piece.len / 2, piece.len - piece.len / 2);
        free(bytes);
    } else {
        uint8_t bytes[SHM_BLOCK_HEAD];

        MUST(piece.head <= sizeof(bytes));
        shm_piece_copy(&piece, 0, bytes, piece.head / 2);
        shm_piece_copy(&piece, piece.head / 2, bytes, piece.head - piece.head / 2);
    }
    shm_rx_done(&ring.rx, &piece);
    MUST(ring.rx.taken - ring.rx.told < ring.sizes.ncell);
}

static void ring_step(void)
{
    switch (nqi_buf_u8(&ring.in) % OPS) {
    case OP_WRITE:
        ring_write();
        break;
    case OP_CELL:
        ring_cell();
        break;
    case OP_CREDIT:
        ring_credit();
        break;
    case OP_MUTATE:
        ring.mutate_in = nqi_buf_u8(&ring.in);
        ring.mutate_bits = nqi_buf_u8(&ring.in);
        break;
    case OP_SEND:
        ring_send();
        break;
    case OP_BLOCK:
        ring_send_block();
        break;
    case OP_RECEIVE:
        ring_receive();
        break;
    default:
        (void)shm_rx_tell(&ring.rx);
        MUST(atomic_load(ring.ours.credit) == ring.rx.taken);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    memset(&ring, 0, sizeof(ring));
    ring.in = nqi_buf_over(data, len);
    ring_open(nqi_buf_u8(&ring.in));
    while (nqi_buf_left(&ring.in) && !ring.over)
        ring_step();
    ring_close();
    return 0;
}

/* ---- seeds ---- */

static void seed_cell(unsigned kind, unsigned a, unsigned b)
{
    fuzz_add_u8(OP_CELL);
    fuzz_add_u8(kind);
    fuzz_add_u16(a);
    fuzz_add_u16(b);
}

static void seed_traffic(unsigned round)
{
    static const uint8_t traffic[] = {OP_SEND,  0,         30, OP_SEND,    4,          0,
                                      OP_BLOCK, OP_CREDIT, 3,  OP_RECEIVE, OP_RECEIVE, OP_TELL};

    seed_cell(SHM_INLINE, SHM_BODY - round % 3, 0);
    seed_cell(SHM_RING, 64 * round, 100);
    seed_cell(SHM_BLOCK, 1, 5);
    fuzz_add(traffic, sizeof(traffic));
}

void fuzz_seeds(void)
{
    for (unsigned how = 0; how < 16; how++)
        for (unsigned n = 0; n < 3; n++) {
            fuzz_add_u8(how);
            for (unsigned round = 0; round < 10; round++) {
                if (n) {
                    fuzz_add_u8(OP_MUTATE);
                    fuzz_add_u8(n + round);
                    fuzz_add_u8(0x11u << n);
                }
                seed_traffic(round);
            }
            fuzz_seed();
        }
}
