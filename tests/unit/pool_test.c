/* core/pool.c and core/pool_system.c: blocks are whole, warm, bounded, and survive any mix of
 * threads.
 *
 * Where a tool switches the pool off, the tests of what it keeps have nothing to see. */
#include "core/pool.h"
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define BIG ((size_t)256 << 10)
#define TOP ((size_t)4 << 20)

/* By a tool, or by the environment of the whole run. */
static bool off(void)
{
    return nqi_pool_size(1) == 1;
}

static const size_t lens[] = {0,      1,      63,     64,      65,      128,     129,
                              192,    193,    256,    257,     384,     385,     1000,
                              1024,   1025,   4096,   4097,    49152,   49153,   65536,
                              131071, 131072, 196609, 1048576, 4194304, 4194305, 10000000};

START_TEST(block_is_aligned_and_as_large_as_it_says)
{
    size_t len = lens[_i], size = nqi_pool_size(len);
    unsigned char *block = nqi_pool_alloc(len);

    ck_assert_ptr_nonnull(block);
    ck_assert_uint_ge(size, len);
    ck_assert_uint_eq((uintptr_t)block % 64, 0);
    if (len >= (size_t)128 << 10)
        ck_assert_uint_eq((uintptr_t)block % 4096, 0);
    memset(block, 0xa5, size);
    nqi_pool_free(block, len);
}
END_TEST

START_TEST(sizes_waste_at_most_a_half)
{
    size_t before = 0;

    for (size_t len = 1; len < TOP && !off(); len += 1 + len / 100) {
        size_t size = nqi_pool_size(len);

        ck_assert_uint_ge(size, before);
        ck_assert_uint_eq(size % 64, 0);
        ck_assert_uint_eq(nqi_pool_size(size), size);
        if (len > 64)
            ck_assert_uint_lt(size, len * 2 - len / 2 + 64);
        before = size;
    }
}
END_TEST

START_TEST(blocks_do_not_overlap)
{
    enum { N = 500 };
    static unsigned char *blocks[N];
    size_t wrong = 0; /* an assertion for each byte would take seconds */

    for (size_t i = 0; i < N; i++) {
        blocks[i] = nqi_pool_alloc(lens[i % 20]);
        ck_assert_ptr_nonnull(blocks[i]);
        memset(blocks[i], (int)i, lens[i % 20]);
    }
    for (size_t i = 0; i < N; i++) {
        for (size_t k = 0; k < lens[i % 20]; k++)
            wrong += blocks[i][k] != (i & 255);
        nqi_pool_free(blocks[i], lens[i % 20]);
    }
    ck_assert_uint_eq(wrong, 0);
}
END_TEST

static const size_t warm[] = {64, 256, 49152, 65536, BIG, TOP};

START_TEST(last_block_freed_is_the_first_used_again)
{
    size_t len = warm[_i];
    void *a = nqi_pool_alloc(len), *b = nqi_pool_alloc(len);

    ck_assert(a && b);
    nqi_pool_free(a, len);
    nqi_pool_free(b, len);
    if (off())
        return;
    ck_assert_ptr_eq(nqi_pool_alloc(len), b);
    ck_assert_ptr_eq(nqi_pool_alloc(len), a);
    nqi_pool_free(a, len);
    nqi_pool_free(b, len);
}
END_TEST

START_TEST(impossible_lengths_fail)
{
    nqi_pool_free(NULL, 64);
    nqi_pool_free(NULL, SIZE_MAX);
    if (NQI_ASAN) /* it ends the process for such a question */
        return;
    ck_assert_ptr_null(nqi_pool_alloc(SIZE_MAX));
    ck_assert_ptr_null(nqi_pool_alloc(SIZE_MAX - 4096));
    ck_assert_ptr_null(nqi_pool_alloc(SIZE_MAX / 2));
}
END_TEST

START_TEST(chosen_allocation_fails_and_no_other)
{
    void *block[4];

    nqi_pool_fail_after(3);
    for (int i = 0; i < 4; i++)
        block[i] = nqi_pool_alloc(100);
    ck_assert(block[0] && block[1] && !block[2] && block[3]);
    for (int i = 0; i < 4; i++)
        nqi_pool_free(block[i], 100);
    nqi_pool_fail_after(1);
    nqi_pool_fail_after(0);
    block[0] = nqi_pool_alloc(TOP + 1);
    ck_assert_ptr_nonnull(block[0]);
    nqi_pool_free(block[0], TOP + 1);
}
END_TEST

/* ---- what is kept ------------------------------------------------------------------------ */

static void alloc_and_free(size_t len, size_t n)
{
    void **blocks = calloc(n, sizeof(*blocks));
    size_t have = 0;

    ck_assert_ptr_nonnull(blocks);
    for (size_t i = 0; i < n; i++) {
        blocks[i] = nqi_pool_alloc(len);
        have += blocks[i] != NULL;
    }
    ck_assert_uint_eq(have, n);
    for (size_t i = 0; i < n; i++)
        nqi_pool_free(blocks[i], len);
    free(blocks);
}

START_TEST(kept_memory_stays_below_the_limit)
{
    nqi_pool_set_limit((size_t)1 << 20);
    for (size_t i = 0; i < NQI_LEN(lens); i++) {
        alloc_and_free(lens[i], lens[i] > BIG ? 10 : 200);
        ck_assert_uint_le(nqi_pool_kept(), (size_t)1 << 20);
    }
    if (!off())
        ck_assert_uint_gt(nqi_pool_kept(), 0);
    nqi_pool_set_limit(0);
    ck_assert_uint_eq(nqi_pool_kept(), 0);
    alloc_and_free(1000, 1000);
    alloc_and_free(BIG, 3);
    ck_assert_uint_eq(nqi_pool_kept(), 0);
}
END_TEST

START_TEST(blocks_beyond_the_classes_are_not_kept)
{
    alloc_and_free(TOP + 1, 3);
    ck_assert_uint_eq(nqi_pool_kept(), 0);
}
END_TEST

START_TEST(yesterdays_large_blocks_make_room_for_todays_small_ones)
{
    size_t limit = 2 * TOP;

    nqi_pool_set_limit(limit);
    alloc_and_free(TOP, 2);
    if (off())
        return;
    ck_assert_uint_eq(nqi_pool_kept(), limit);
    alloc_and_free(1024, 1000);
    ck_assert_uint_le(nqi_pool_kept(), limit);
    /* One large block went, and all magazines but the thread's two came. */
    ck_assert_uint_gt(nqi_pool_kept(), TOP + (size_t)900 * 1024);
}
END_TEST

START_TEST(freed_magazines_are_used_again)
{
    size_t kept;

    alloc_and_free(256, 3000);
    kept = nqi_pool_kept();
    for (int i = 0; i < 10; i++) {
        alloc_and_free(256, 3000);
        ck_assert_uint_eq(nqi_pool_kept(), kept);
    }
}
END_TEST

START_TEST(environment_switches_the_pool_off)
{
    setenv("NETQUEUE_POOL", "off", 1);
    alloc_and_free(64, 200);
    alloc_and_free(BIG, 2);
    alloc_and_free(TOP + 5, 2);
    ck_assert_uint_eq(nqi_pool_kept(), 0);
    ck_assert_uint_eq(nqi_pool_size(65), 65);
    nqi_pool_fail_after(1);
    ck_assert_ptr_null(nqi_pool_alloc(8));
    alloc_and_free(0, 2);
}
END_TEST

/* ---- threads ------------------------------------------------------------------------------ */

static void *thread_one_block(void *arg)
{
    void **block = arg;

    *block = nqi_pool_alloc(512);
    ck_assert_ptr_nonnull(*block);
    nqi_pool_free(*block, 512);
    return NULL;
}

START_TEST(thread_gives_its_cache_back_when_it_ends)
{
    void *block = NULL, *mine;
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, thread_one_block, &block), 0);
    pthread_join(thread, NULL);
    if (off())
        return;
    ck_assert_uint_eq(nqi_pool_kept(), 512);
    mine = nqi_pool_alloc(512);
    ck_assert_ptr_eq(mine, block);
    ck_assert_uint_eq(nqi_pool_kept(), 0);
    nqi_pool_free(mine, 512);
}
END_TEST

static pthread_key_t late_key;

static void late_use(void *arg)
{
    int *left = arg;

    alloc_and_free(512, 100);
    if (--*left)
        pthread_setspecific(late_key, left);
}

static void *thread_late(void *arg)
{
    pthread_setspecific(late_key, arg);
    alloc_and_free(512, 1);
    return NULL;
}

START_TEST(pool_may_be_used_while_a_thread_ends)
{
    pthread_t thread;
    int left = 2;

    ck_assert_int_eq(pthread_key_create(&late_key, late_use), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, thread_late, &left), 0);
    pthread_join(thread, NULL);
    ck_assert_int_eq(left, 0);
    alloc_and_free(512, 200);
    pthread_key_delete(late_key);
}
END_TEST

/* One thread allocates and fills, the other checks and frees. */
#define SLOTS 64
#define PASSED 100000

static _Atomic size_t put, got;
static unsigned char *slots[SLOTS];
static _Atomic size_t wrong; /* told once at the end: an assertion each is slow */

static size_t pass_len(size_t i)
{
    return i % 100 == 99 ? 70000 : 64 + i % 3 * 200;
}

static void *thread_checks_and_frees(void *arg)
{
    for (size_t i = 0; i < PASSED; i++) {
        unsigned char *block;

        while (atomic_load_explicit(&put, memory_order_acquire) == i)
            sched_yield(); /* both may be on one processor */
        block = slots[i % SLOTS];
        if (block[0] != (i & 255) || block[pass_len(i) - 1] != (i & 255))
            atomic_fetch_add(&wrong, 1);
        nqi_pool_free(block, pass_len(i));
        atomic_store_explicit(&got, i + 1, memory_order_release);
    }
    return arg;
}

START_TEST(blocks_pass_from_one_thread_to_another)
{
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, thread_checks_and_frees, NULL), 0);
    for (size_t i = 0; i < PASSED; i++) {
        unsigned char *block = nqi_pool_alloc(pass_len(i));

        if (!block)
            ck_abort_msg("no memory");
        block[0] = block[pass_len(i) - 1] = (unsigned char)i;
        while (i - atomic_load_explicit(&got, memory_order_acquire) == SLOTS)
            sched_yield(); /* both may be on one processor */
        slots[i % SLOTS] = block;
        atomic_store_explicit(&put, i + 1, memory_order_release);
    }
    pthread_join(thread, NULL);
    ck_assert_uint_eq(atomic_load(&wrong), 0);
    /* What travels is bounded by what was alive, not by how much has passed. */
    ck_assert_uint_lt(nqi_pool_kept(), (size_t)16 << 20);
}
END_TEST

/* Everybody allocates, fills, and swaps blocks with everybody through one table. */
#define TABLE 61
#define ROUNDS 20000

struct stamped { /* what a block begins with while it is alive */
    size_t len;
    unsigned char mark;
};

static struct stamped *_Atomic table[TABLE];

static void stamped_free(struct stamped *block)
{
    unsigned char *bytes = (unsigned char *)block;

    if (!block)
        return;
    if (bytes[block->len - 1] != block->mark)
        atomic_fetch_add(&wrong, 1);
    nqi_pool_free(block, block->len);
}

static void *thread_swaps(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;

    for (int i = 0; i < ROUNDS; i++) {
        size_t len = lens[3 + (size_t)rand_r(&seed) % 20];
        struct stamped *block = nqi_pool_alloc(len);

        if (!block)
            ck_abort_msg("no memory");
        block->len = len;
        block->mark = (unsigned char)i;
        ((unsigned char *)block)[len - 1] = (unsigned char)i;
        stamped_free(atomic_exchange(&table[(size_t)rand_r(&seed) % TABLE], block));
        if (i % 500 == 0)
            nqi_pool_set_limit((size_t)rand_r(&seed) % (1u << 20));
    }
    return NULL;
}

START_TEST(threads_swap_blocks_under_a_moving_limit)
{
    pthread_t threads[4];

    for (size_t i = 0; i < NQI_LEN(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, thread_swaps, (void *)(i + 1)), 0);
    for (size_t i = 0; i < NQI_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < TABLE; i++)
        stamped_free(atomic_exchange(&table[i], NULL));
    ck_assert_uint_eq(atomic_load(&wrong), 0);
    nqi_pool_set_limit(0);
    ck_assert_uint_eq(nqi_pool_kept(), 0);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("pool");
    TCase *tc = tcase_create("pool");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, block_is_aligned_and_as_large_as_it_says, 0, NQI_LEN(lens));
    tcase_add_test(tc, sizes_waste_at_most_a_half);
    tcase_add_test(tc, blocks_do_not_overlap);
    tcase_add_loop_test(tc, last_block_freed_is_the_first_used_again, 0, NQI_LEN(warm));
    tcase_add_test(tc, impossible_lengths_fail);
    tcase_add_test(tc, chosen_allocation_fails_and_no_other);
    tcase_add_test(tc, kept_memory_stays_below_the_limit);
    tcase_add_test(tc, blocks_beyond_the_classes_are_not_kept);
    tcase_add_test(tc, yesterdays_large_blocks_make_room_for_todays_small_ones);
    tcase_add_test(tc, freed_magazines_are_used_again);
    tcase_add_test(tc, environment_switches_the_pool_off);
    tcase_add_test(tc, thread_gives_its_cache_back_when_it_ends);
    tcase_add_test(tc, pool_may_be_used_while_a_thread_ends);
    tcase_add_test(tc, blocks_pass_from_one_thread_to_another);
    tcase_add_test(tc, threads_swap_blocks_under_a_moving_limit);
    suite_add_tcase(suite, tc);
    return suite;
}
