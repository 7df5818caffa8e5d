/* plugins/shm/shm_blocks.c: which memory there may be, and what a peer was left of it. */
#include "plugins/shm/shm_blocks.h"
#include <check.h>
#include <stdlib.h>
#include <unistd.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))
#define MIB ((size_t)1 << 20)
#define LEASES 64u

static struct shm_blocks *blocks;
static uint64_t cells; /* that told of segments given up */

static void open_blocks(size_t limit)
{
    blocks = shm_blocks_new(LEASES, limit);
    ck_assert_ptr_nonnull(blocks);
    cells = 0;
}

static void teardown(void)
{
    shm_blocks_close(blocks);
    blocks = NULL;
}

/* A segment more, as the link adds one. */
static bool grow(size_t len)
{
    size_t size = shm_blocks_grow(blocks, len);
    struct shm_memory memory;
    int memfd;

    if (!size)
        return false;
    ck_assert_int_eq(shm_memory_make(size, &memory, &memfd), 0);
    close(memfd);
    if (shm_blocks_add(blocks, &memory))
        return true;
    shm_memory_free(&memory);
    return false;
}

static struct nqt_buf *loan(size_t len)
{
    struct nqt_buf *buf = shm_blocks_loan(blocks, len);

    return !buf && grow(len) ? shm_blocks_loan(blocks, len) : buf;
}

/* Fill, send and forget: the peer alone has it. */
static struct shm_block lend(size_t len)
{
    struct nqt_buf *buf = loan(len);
    struct shm_block block;

    ck_assert_ptr_nonnull(buf);
    ck_assert(shm_blocks_lend(blocks, buf->seg[0].iov_base, len, &block));
    buf->ops->unref(buf);
    return block;
}

static void end(const struct shm_block *block)
{
    ck_assert(shm_blocks_end(blocks, (struct shm_lease_id){block->lease, block->nonce}));
}

/* @return as shm_blocks_find_kept(); what was found is given up, and the peer has taken the cell */
static int give_up_kept(void)
{
    uint32_t number;
    int found;

    shm_blocks_sweep_kept(blocks);
    found = shm_blocks_find_kept(blocks, &number);
    if (found > 0) {
        shm_blocks_give_up(blocks, number, cells++);
        shm_blocks_taken(blocks, cells);
    }
    return found;
}

/* ---- segments -------------------------------------------------------------------------------- */

static const struct {
    size_t limit, len;
    unsigned loans, segments;
} pools[] = {
    {4096, 4096, 1, 1},
    {64 << 10, 4096, 16, 1},
    {MIB, 4096, 256, 1},
    {MIB, 64 << 10, 16, 1},
    {MIB, MIB, 1, 1},
    {3 * MIB + 100, 64 << 10, 48, 2}, /* of 2 and 1 MiB */
    {64 * MIB, 64 << 10, 1024, 6},    /* the last one is the rest, of 2 MiB */
    {5 * MIB, 3 * MIB, 1, 1},         /* what is left is too small */
};

START_TEST(all_of_a_pool_can_be_lent)
{
    struct nqt_buf *buf[1024 + 1];
    unsigned n = 0;

    open_blocks(pools[_i].limit);
    while (n <= pools[_i].loans && (buf[n] = loan(pools[_i].len)))
        n++;
    ck_assert_uint_eq(n, pools[_i].loans);
    ck_assert_uint_eq(shm_blocks_count(blocks), pools[_i].segments);
    ck_assert_uint_le(shm_blocks_total(blocks), pools[_i].limit);
    for (unsigned i = 0; i < n; i++)
        buf[i]->ops->unref(buf[i]);
}
END_TEST

START_TEST(what_is_larger_than_a_segment_or_the_pool_has_none)
{
    open_blocks(MIB);
    ck_assert_uint_eq(shm_blocks_grow(blocks, MIB + 1), 0);
    ck_assert_uint_eq(shm_blocks_grow(blocks, SHM_SEGMENT_MAX + 1), 0);
    ck_assert_uint_eq(shm_blocks_grow(blocks, SIZE_MAX), 0);
    ck_assert(!shm_blocks_fits(blocks, MIB + 1));
    ck_assert(shm_blocks_fits(blocks, MIB));
}
END_TEST

static void *refuse(void *arg, void *old, size_t size)
{
    (void)arg;
    (void)old;
    (void)size;
    return NULL;
}

/* The peer has a segment of that number, and would not take another. */
START_TEST(after_a_segment_could_not_be_added_none_is)
{
    shm_pool_mem_fn mem;

    open_blocks(8 * MIB);
    lend(4096);
    mem = blocks->pool.mem;
    blocks->pool.mem = refuse;
    ck_assert(!grow(4 * MIB));
    blocks->pool.mem = mem;
    ck_assert_uint_eq(shm_blocks_grow(blocks, 4096), 0);
    ck_assert_int_eq(give_up_kept(), 1);
    ck_assert_uint_eq(shm_blocks_total(blocks), 0);
    ck_assert_uint_eq(shm_blocks_grow(blocks, 4096), 0);
    ck_assert(!shm_blocks_fits(blocks, 4096));
}
END_TEST

/* ---- what the peer was left ------------------------------------------------------------------ */

START_TEST(what_is_kept_for_ever_counts_once)
{
    open_blocks(8 * MIB);
    lend(4096); /* for ever */
    ck_assert_int_eq(give_up_kept(), 1);
    for (unsigned i = 0; i < 20; i++) {
        struct shm_block late = lend(4096);

        ck_assert_int_eq(give_up_kept(), 1);
        ck_assert_uint_eq(blocks->abandoned, 4 * MIB);
        end(&late);
        ck_assert_uint_eq(blocks->abandoned, 2 * MIB);
    }
    ck_assert_uint_eq(blocks->nabandoned, 1);
}
END_TEST

START_TEST(a_segment_counts_until_its_last_lease_ends)
{
    struct shm_block kept[3];

    open_blocks(8 * MIB);
    for (unsigned i = 0; i < 3; i++)
        kept[i] = lend(4096);
    ck_assert_int_eq(give_up_kept(), 1);
    end(&kept[0]);
    end(&kept[2]);
    ck_assert_uint_eq(blocks->abandoned, 2 * MIB);
    end(&kept[1]);
    ck_assert_uint_eq(blocks->abandoned, 0);
}
END_TEST

START_TEST(a_peer_is_left_as_much_as_the_limit_and_no_more)
{
    struct shm_block first;

    open_blocks(8 * MIB);
    first = lend(4096);
    ck_assert_int_eq(give_up_kept(), 1);
    for (unsigned i = 1; i < 4; i++) {
        lend(4096);
        ck_assert_int_eq(give_up_kept(), 1);
    }
    lend(4096);
    ck_assert_int_eq(give_up_kept(), -1);
    end(&first);
    ck_assert_int_eq(give_up_kept(), 1);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("shm, blocks");
    TCase *tc = tcase_create("blocks");

    tcase_add_checked_fixture(tc, NULL, teardown);
    tcase_add_loop_test(tc, all_of_a_pool_can_be_lent, 0, LEN(pools));
    tcase_add_test(tc, what_is_larger_than_a_segment_or_the_pool_has_none);
    tcase_add_test(tc, after_a_segment_could_not_be_added_none_is);
    tcase_add_test(tc, what_is_kept_for_ever_counts_once);
    tcase_add_test(tc, a_segment_counts_until_its_last_lease_ends);
    tcase_add_test(tc, a_peer_is_left_as_much_as_the_limit_and_no_more);
    suite_add_tcase(suite, tc);
    return suite;
}
