/* Who owns which bytes: the pool, the leases, and what a peer says it gives back.
 *
 *     operations: a byte, and what it needs (enum below)
 *
 * Beside them stands a plain list of what was lent.  A lease ends when exactly its pair came, and
 * once; a block is nobody else's while somebody holds it, and no two of them overlap. */
#include "plugins/shm/shm_lease.h"
#include "plugins/shm/shm_pool.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

#define LEASES 16u
#define BLOCKS 64u

enum {
    OP_SEGMENT, /* u8: one more, of so many times 64 KiB */
    OP_ALLOC,   /* u16: a block of that many times 16 bytes */
    OP_LEND,    /* u8: that block, under a lease */
    OP_LET_GO,  /* u8: the program's hold of that block */
    OP_RETURN,  /* u8: the peer gives that lease back */
    OP_FORGE,   /* u8 index, u8 nonce: the peer gives back what it likes */
    OP_WRITE,   /* u8 place, u8 length, bytes: into the peer's outbox */
    OP_MUTATE,  /* u8 n, u8 bits: the n-th read from now is followed by a change */
    OP_TAKE,    /* what the peer has given back */
    OP_RETIRE,  /* u8: a segment */
    OP_GONE,    /* the peer is: every lease ends */
    OPS
};

void (*shm_peer_mutate)(const void *at, size_t len);

struct lease_block {
    struct shm_pool_ref ref;
    unsigned holders; /* 0 = there is none here */
    bool program;     /* one of them is the program */
};

struct lease_fuzz {
    struct nqi_buf in;
    struct shm_pool pool;
    struct shm_leases leases;
    struct shm_lease table[LEASES];
    struct shm_sizes sizes;
    uint8_t *mem;
    struct shm_outbox theirs;
    struct shm_token_tx give; /* of a peer that keeps the rules */
    struct shm_token_rx take;
    struct lease_block block[BLOCKS];
    struct {
        struct shm_lease_id id;
        unsigned block;
        bool live;
    } lent[LEASES]; /* by index */
    unsigned mutate_in;
    uint8_t mutate_bits;
    bool over;
};

static struct lease_fuzz fuzz;

static void lease_mutate(const void *at, size_t len)
{
    uint8_t *byte = fuzz.mem + ((const uint8_t *)at - fuzz.mem);

    MUST(byte >= fuzz.mem && byte + len <= fuzz.mem + shm_outbox_size(&fuzz.sizes));
    if (!fuzz.mutate_in || --fuzz.mutate_in)
        return;
    for (size_t i = 0; i < len; i++)
        byte[i] ^= fuzz.mutate_bits;
}

static void *lease_mem(void *arg, void *old, size_t size)
{
    (void)arg;
    if (size)
        return realloc(old, size);
    free(old);
    return NULL;
}

/* ---- blocks ---- */

static void block_check_alone(const struct lease_block *block)
{
    uint64_t from = shm_pool_offset(&fuzz.pool, block->ref);
    uint64_t to = from + shm_pool_size(&fuzz.pool, block->ref);

    MUST(to <= fuzz.pool.segment[block->ref.segment].size);
    for (unsigned i = 0; i < BLOCKS; i++) {
        const struct lease_block *other = &fuzz.block[i];

        if (other == block || !other->holders || other->ref.segment != block->ref.segment)
            continue;
        MUST(shm_pool_offset(&fuzz.pool, other->ref) >= to ||
             shm_pool_offset(&fuzz.pool, other->ref) + shm_pool_size(&fuzz.pool, other->ref) <=
                 from);
    }
}

static void block_alloc(uint64_t len)
{
    struct lease_block *block = NULL;
    struct shm_pool_ref found;

    for (unsigned i = 0; i < BLOCKS && !block; i++)
        block = fuzz.block[i].holders ? NULL : &fuzz.block[i];
    if (!block || !shm_pool_alloc(&fuzz.pool, len, &block->ref))
        return;
    MUST(shm_pool_size(&fuzz.pool, block->ref) >= len);
    block->holders = 1;
    block->program = true;
    block_check_alone(block);
    MUST(shm_pool_find(&fuzz.pool, block->ref.segment, shm_pool_offset(&fuzz.pool, block->ref), len,
                       &found));
    MUST(found.segment == block->ref.segment && found.index == block->ref.index);
}

static void block_drop(struct lease_block *block)
{
    struct shm_pool_segment *segment = &fuzz.pool.segment[block->ref.segment];
    bool empty = shm_pool_drop(&fuzz.pool, block->ref);

    block->holders--;
    MUST(empty == !segment->live);
    if (empty && segment->retiring)
        shm_pool_remove(&fuzz.pool, block->ref.segment);
}

static struct lease_block *block_at(uint8_t i)
{
    struct lease_block *block = &fuzz.block[i % BLOCKS];

    return block->holders ? block : NULL;
}

/* ---- leases ---- */

static void lease_lend(struct lease_block *block)
{
    unsigned number = (unsigned)(block - fuzz.block);
    struct shm_lease_id id;
    bool room = fuzz.leases.used < LEASES;

    MUST(shm_lease_grant(&fuzz.leases, number, &id) == room);
    if (!room)
        return;
    MUST(id.index < LEASES && !fuzz.lent[id.index].live);
    fuzz.lent[id.index].id = id;
    fuzz.lent[id.index].block = number;
    fuzz.lent[id.index].live = true;
    shm_pool_hold(&fuzz.pool, block->ref);
    block->holders++;
}

static void lease_end(struct shm_lease_id id)
{
    bool live =
        id.index < LEASES && fuzz.lent[id.index].live && fuzz.lent[id.index].id.nonce == id.nonce;
    uint32_t block;

    MUST(shm_lease_end(&fuzz.leases, id, &block) == live);
    fuzz.over = !live;
    if (!live)
        return;
    MUST(block == fuzz.lent[id.index].block);
    fuzz.lent[id.index].live = false;
    block_drop(&fuzz.block[block]);
}

static void lease_take(void)
{
    struct shm_lease_id id;
    int rc = 0;

    while (!fuzz.over && (rc = shm_token_take(&fuzz.take, &id)) > 0)
        lease_end(id);
    fuzz.over |= rc < 0;
}

static void lease_gone(void)
{
    uint32_t block;

    while (shm_lease_drop(&fuzz.leases, &block)) {
        MUST(block < BLOCKS && fuzz.block[block].holders);
        block_drop(&fuzz.block[block]);
    }
    MUST(!fuzz.leases.used);
    for (unsigned i = 0; i < LEASES; i++)
        fuzz.lent[i].live = false;
}

/* ---- the peer ---- */

static void peer_give(struct shm_lease_id id)
{
    if (fuzz.give.sent - fuzz.take.taken < fuzz.sizes.ntoken)
        shm_token_put(&fuzz.give, id);
}

static void peer_write(void)
{
    size_t at = (size_t)nqi_buf_u8(&fuzz.in) * 4, len = nqi_buf_u8(&fuzz.in);
    size_t size = (size_t)fuzz.sizes.ntoken * SHM_TOKEN;
    uint8_t *tokens = (uint8_t *)fuzz.theirs.tokens;

    at %= size;
    len = NQI_MIN(NQI_MIN(len, size - at), nqi_buf_left(&fuzz.in));
    if (len)
        memcpy(tokens + at, nqi_buf_span(&fuzz.in, len), len);
}

static void fuzz_step_peer(uint8_t op)
{
    uint8_t a, b;

    switch (op) {
    case OP_RETURN:
        peer_give(fuzz.lent[nqi_buf_u8(&fuzz.in) % LEASES].id);
        break;
    case OP_FORGE:
        a = nqi_buf_u8(&fuzz.in);
        b = nqi_buf_u8(&fuzz.in);
        peer_give((struct shm_lease_id){.index = a % (LEASES + 1), .nonce = b});
        break;
    case OP_WRITE:
        peer_write();
        break;
    case OP_MUTATE:
        fuzz.mutate_in = nqi_buf_u8(&fuzz.in);
        fuzz.mutate_bits = nqi_buf_u8(&fuzz.in);
        break;
    default:
        break;
    }
}

static void fuzz_retire(uint32_t segment)
{
    if (fuzz.pool.segment[segment].size && shm_pool_retire(&fuzz.pool, segment))
        shm_pool_remove(&fuzz.pool, segment);
}

static void fuzz_step(void)
{
    uint8_t op = nqi_buf_u8(&fuzz.in) % OPS;
    struct lease_block *block;

    switch (op) {
    case OP_SEGMENT:
        (void)shm_pool_add(&fuzz.pool, (nqi_buf_u8(&fuzz.in) + UINT64_C(1)) << 16);
        break;
    case OP_ALLOC:
        block_alloc(UINT64_C(16) * nqi_buf_u16(&fuzz.in) + 1);
        break;
    case OP_LEND:
        block = block_at(nqi_buf_u8(&fuzz.in));
        if (block)
            lease_lend(block);
        break;
    case OP_LET_GO:
        block = block_at(nqi_buf_u8(&fuzz.in));
        if (block && block->program) {
            block->program = false;
            block_drop(block);
        }
        break;
    case OP_TAKE:
        lease_take();
        break;
    case OP_RETIRE:
        fuzz_retire(nqi_buf_u8(&fuzz.in) % SHM_POOL_SEGMENTS);
        break;
    case OP_GONE:
        lease_gone();
        break;
    default:
        fuzz_step_peer(op);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    size_t size;

    memset(&fuzz, 0, sizeof(fuzz));
    fuzz.in = nqi_buf_over(data, len);
    fuzz.sizes =
        (struct shm_sizes){.ncell = SHM_CELLS_MIN, .ntoken = LEASES, .nbyte = SHM_BYTES_MIN};
    size = (shm_outbox_size(&fuzz.sizes) + 4095) & ~(size_t)4095;
    fuzz.mem = aligned_alloc(4096, size);
    MUST(fuzz.mem && shm_sizes_ok(&fuzz.sizes));
    memset(fuzz.mem, 0, size);
    fuzz.theirs = shm_outbox_at(fuzz.mem, &fuzz.sizes);
    shm_token_tx_init(&fuzz.give, &fuzz.theirs);
    shm_token_rx_init(&fuzz.take, &fuzz.theirs);
    shm_leases_init(&fuzz.leases, fuzz.table, LEASES);
    shm_pool_init(&fuzz.pool, lease_mem, NULL);
    shm_peer_mutate = lease_mutate;
    while (nqi_buf_left(&fuzz.in) && !fuzz.over)
        fuzz_step();
    shm_peer_mutate = NULL;
    lease_gone();
    for (unsigned i = 0; i < BLOCKS; i++) {
        MUST(fuzz.block[i].holders == fuzz.block[i].program);
        if (fuzz.block[i].holders)
            block_drop(&fuzz.block[i]);
    }
    for (unsigned i = 0; i < SHM_POOL_SEGMENTS; i++)
        MUST(!fuzz.pool.segment[i].live);
    shm_pool_fini(&fuzz.pool);
    free(fuzz.mem);
    return 0;
}

void fuzz_seeds(void)
{
    static const uint8_t begin[] = {OP_SEGMENT, 31,      OP_ALLOC, 1,       0, OP_ALLOC, 16,
                                    0,          OP_LEND, 0,        OP_LEND, 1, OP_LEND,  0};
    static const uint8_t honest[] = {OP_RETURN, 0,       OP_TAKE,   OP_RETURN, 1,       OP_RETURN,
                                     2,         OP_TAKE, OP_LET_GO, 0,         OP_LEND, 1};
    static const uint8_t hostile[][6] = {{OP_FORGE, 1, 1, OP_TAKE},
                                         {OP_RETURN, 0, OP_RETURN, 0, OP_TAKE},
                                         {OP_MUTATE, 2, 1, OP_RETURN, 1, OP_TAKE},
                                         {OP_RETIRE, 0, OP_GONE, OP_SEGMENT, 3, OP_GONE}};

    for (unsigned rounds = 0; rounds < 30; rounds += 7)
        for (size_t i = 0; i < NQI_LEN(hostile); i++) {
            fuzz_add(begin, sizeof(begin));
            for (unsigned k = 0; k < rounds; k++)
                fuzz_add(honest, sizeof(honest));
            fuzz_add(hostile[i], sizeof(hostile[i]));
            fuzz_seed();
        }
}
